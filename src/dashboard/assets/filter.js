// The filter of a webhook: an event pattern as JSON, and a place to try it out before anything is saved.

import { at } from "./api.js";
import { busy, h, put } from "./dom.js";
import { banner, field, sentence } from "./widgets.js";
import { session } from "./session.js";

// An event to try patterns on: the profile's example, where the server tells it.
export function exampleEvent() {
  const profile = session.profile;
  const given = profile?.example;
  const type = given?.type ?? profile?.event_types[0] ?? "user.created";
  return { type, data: given?.data ?? { id: 7, name: "Ada" } };
}

// A part of the form.
export function filterField(filter, isChange) {
  const input = h("textarea", {
    rows: "5",
    spellcheck: "false",
    class: "mono",
    value: filter ? JSON.stringify(filter, null, 2) : "",
    placeholder: '{"data": {"severity": ["High", "Critical"]}}',
  });
  const event = h("textarea", {
    rows: "7",
    spellcheck: "false",
    class: "mono",
    value: JSON.stringify(exampleEvent(), null, 2),
  });
  const told = h("div", { role: "status" });
  const button = h("button", { type: "button", class: "small" }, "Try it out");
  const tried = h(
    "details",
    { class: "more" },
    h("summary", null, "Try it out on an event"),
    field({
      label: "Event",
      input: event,
      pointer: "/event",
      hint: "As filters see it: id, type, created_at, data, metadata and the scope. It is sent to nobody.",
    }),
    button,
    told,
  );
  button.addEventListener("click", () => busy(button, async () => put(told, await tryOut(input.value, event.value))));
  const read = () => {
    const text = input.value.trim();
    if (!text) return { filter: isChange ? null : undefined };
    try {
      return { filter: JSON.parse(text) };
    } catch (error) {
      throw Object.assign(new Error(error.message), {
        errors: [{ pointer: "/filter", detail: `is no JSON: ${error.message}` }],
      });
    }
  };
  const box = h(
    "div",
    null,
    field({
      label: "Filter",
      input,
      pointer: "/filter",
      hint: "An event pattern of Amazon EventBridge's form: exact values, prefix, suffix, anything-but, numeric, exists, wildcard, cidr, $or. Empty: no filter.",
    }),
    tried,
  );
  return { box, read, before: read() };
}

async function tryOut(pattern, event) {
  try {
    // As text, so that numbers are judged as they are written.
    const body = `{"pattern": ${pattern.trim() || "{}"}, "event": ${event}}`;
    JSON.parse(body);
    const answer = (await session.api.whole("POST", at("filters", "test"), { body })).value;
    return answer.matches
      ? banner("good", "check", "It fits: this event would be sent.", null)
      : banner("warn", "cross", "It does not fit: this event would not be sent.", sentence(answer.why.detail));
  } catch (problem) {
    const words = problem.errors?.length
      ? problem.errors.map((error) => `${error.pointer} ${error.detail}`).join("; ")
      : problem.message;
    return banner("bad", "warn", "It could not be tried out", words);
  }
}
