// Sending many deliveries again: asked for, counted, and only then begun.

import { at } from "./api.js";
import { busy, dialog, h, put, toast } from "./dom.js";
import { count, fieldTime, plural } from "./format.js";
import { session } from "./session.js";
import { banner, errorSummary, field, sentence, showErrors, webhookName } from "./widgets.js";

const STATES = [
  ["failed", true],
  ["dropped", true],
  ["expired", true],
  ["cancelled", true],
  ["delivered", false],
];
const WEBHOOKS_MAX = 1000;

// The fields that both kinds of job have, and what they say.
export function jobFields() {
  const since = h("input", { type: "datetime-local", step: "1" });
  const until = h("input", { type: "datetime-local", step: "1" });
  const types = h("input", { type: "text", list: "types-of-job", autocomplete: "off", placeholder: "all" });
  const rate = h("input", { type: "number", min: "1", max: "10000", value: "100", inputmode: "numeric" });
  const known = h(
    "datalist",
    { id: "types-of-job" },
    (session.profile?.event_types ?? []).map((value) => h("option", { value })),
  );
  const boxes = h(
    "div",
    { class: "grid" },
    field({ label: "Created from", input: since, pointer: "/since" }),
    field({ label: "Created until", input: until, pointer: "/until" }),
    field({ label: "Event types", input: types, pointer: "/types", hint: "Separated by commas; empty for all." }),
    field({
      label: "Deliveries a second",
      input: rate,
      pointer: "/per_second",
      hint: "Live traffic does not wait for it.",
    }),
    known,
  );
  const read = () => {
    const body = { per_second: Number(rate.value) };
    if (since.value) body.since = fieldTime(since.value);
    if (until.value) body.until = fieldTime(until.value);
    const named = types.value
      .split(",")
      .map((type) => type.trim())
      .filter(Boolean);
    if (named.length > 0) body.types = named;
    return body;
  };
  return { boxes, read };
}

// Counts first; `Start` begins what was counted, and a change asks for a new count.
export function countThenStart(form, path, read, foot, started) {
  const told = h("div", { role: "status", class: "counted" });
  const dry = h("button", { type: "submit", form: form.id, class: "primary" }, "Count first");
  const go = h("button", { type: "button", hidden: true, class: "primary" }, "Start");
  form.append(told);
  foot.append(dry, go);
  const reset = () => {
    put(told);
    go.hidden = true;
    dry.hidden = false;
  };
  form.addEventListener("input", reset);
  const ask = (button, more, then) =>
    busy(button, async () => {
      showErrors(form, null);
      try {
        then(await session.api.post(path, { ...read(), ...more }));
      } catch (problem) {
        reset();
        showErrors(form, problem);
      }
    });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(dry, { dry_run: true }, ({ matched, complete, note }) => {
      const words =
        matched === 0 && complete
          ? "Nothing fits."
          : `${complete ? "" : "At least "}${plural(matched, "delivery", "deliveries")} would be sent.`;
      put(told, banner(matched === 0 && complete ? "warn" : "info", "send", words, note ? sentence(note) : null));
      if (matched === 0 && complete) return;
      put(go, `Send ${complete ? count(matched) : "them"}`);
      go.hidden = false;
      dry.hidden = true;
      go.focus();
      told.scrollIntoView({ block: "nearest" });
    });
  });
  go.addEventListener("click", () => ask(go, {}, started));
}

export async function replayDialog(webhook) {
  const common = jobFields();
  const states = STATES.map(([state, isOn]) => [state, h("input", { type: "checkbox", checked: isOn, value: state })]);
  const to = h("select", null, h("option", { value: "" }, "this webhook"));
  const form = h(
    "form",
    { id: "replay-form", novalidate: true },
    errorSummary(),
    h("p", null, "Deliveries that have ended are sent again, with new signatures. What waits is left alone."),
    h(
      "fieldset",
      { class: "checks field", "data-pointer": "/states" },
      h("legend", null, "Which"),
      h("label", { class: "offscreen" }, "States"),
      states.map(([state, input]) => h("label", null, input, h("span", null, state))),
      h("p", { class: "field-error", hidden: true }),
    ),
    common.boxes,
    field({ label: "To", input: to, pointer: "/to", hint: "Another webhook gets the same events." }),
  );
  const foot = h("div", { class: "actions" });
  const box = dialog(`Replay to ${webhookName(webhook)}`, form, foot);
  const read = () => {
    const body = { ...common.read(), states: states.filter(([, input]) => input.checked).map(([state]) => state) };
    if (to.value) body.to = to.value;
    return body;
  };
  countThenStart(form, at("webhooks", webhook.id, "replay"), read, foot, (job) => {
    box.close();
    toast("The replay has begun", "good");
    location.hash = `#/jobs/${job.id}`;
  });
  // The list may be long; the dialog does not wait for it.
  try {
    const { rows } = await session.api.all(at("webhooks"), WEBHOOKS_MAX);
    for (const other of rows.filter((row) => row.id !== webhook.id))
      to.append(h("option", { value: other.id }, `${webhookName(other)} (${other.id})`));
  } catch (problem) {
    toast(`Other webhooks could not be listed: ${problem.message}`, "error");
  }
}
