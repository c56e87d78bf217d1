// What is done to a webhook in one step: try it out, end what it holds, remove it.

import { at } from "./api.js";
import { busy, dialog, h, put, toast } from "./dom.js";
import { count, hostAndPath, milliseconds, plural } from "./format.js";
import { attemptParts } from "./attempt.js";
import { session } from "./session.js";
import { banner, errorSummary, field, problemBox, sentence, showErrors } from "./widgets.js";

// A discard answers "more" for as long as there is; this many rounds end even the longest queue.
const DISCARD_ROUNDS_MAX = 10_000;

// Sends the profile's example now and shows what came of it.
export async function testDialog(webhook, button) {
  await busy(button, async () => {
    try {
      const tested = await session.api.post(at("webhooks", webhook.id, "test"));
      showTest(webhook, tested);
    } catch (problem) {
      dialog("The test was not sent", problemBox(problem));
    }
  });
}

function showTest(webhook, tested) {
  const words = tested.delivered ? "The receiver took it" : "The receiver did not take it";
  const outcome = tested.attempt.outcome;
  const note = tested.status
    ? `It answered ${tested.status} after ${milliseconds(tested.response_time_ms)}.`
    : `No usable answer: ${outcome.kind.replaceAll("_", " ")}. ${sentence(outcome.detail)}`;
  dialog(
    "Test",
    [
      banner(tested.delivered ? "good" : "bad", tested.delivered ? "check" : "cross", words, note),
      attemptParts(tested.attempt, { body: tested.request_body }),
    ],
    null,
    { wide: true },
  );
}

export function discardDialog(webhook) {
  const until = h("input", { type: "datetime-local", step: "1" });
  const go = h("button", { type: "submit", class: "danger" }, "Discard");
  const told = h("div", { role: "status" });
  const stop = new AbortController();
  const form = h(
    "form",
    { id: "discard-form", novalidate: true },
    errorSummary(),
    h(
      "p",
      null,
      "What this webhook holds ends as cancelled, on record. It is not sent, also when the webhook is active again. It can be replayed as long as it is in the log.",
    ),
    field({
      label: "Only events created until",
      input: until,
      pointer: "/until",
      hint: "Leave it empty to discard all that is held now.",
    }),
    told,
  );
  go.setAttribute("form", "discard-form");
  const box = dialog("Discard what is held", form, go, { onclose: () => stop.abort() });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    showErrors(form, null);
    busy(go, async () => {
      let total = 0;
      try {
        for (let round = 0; round < DISCARD_ROUNDS_MAX; round += 1) {
          const body = until.value ? { until: new Date(until.value).toISOString() } : {};
          const answer = (
            await session.api.whole("POST", at("webhooks", webhook.id, "held", "discard"), {
              body,
              signal: stop.signal,
            })
          ).value;
          total += answer.discarded;
          put(told, `${count(total)} discarded…`);
          if (!answer.more) break;
        }
        toast(`${plural(total, "delivery", "deliveries")} discarded`, "good");
        box.close();
      } catch (problem) {
        if (!stop.signal.aborted) showErrors(form, problem);
      }
    });
  });
}

// Asks for the name to be typed: what waits is cancelled with it.
export function removeDialog(webhook) {
  const word = webhook.name || hostAndPath(webhook.url)[0];
  const typed = h("input", { type: "text", autocomplete: "off", spellcheck: "false" });
  const go = h(
    "button",
    { type: "submit", class: "danger", disabled: true, form: "remove-form" },
    "Remove this webhook",
  );
  typed.addEventListener("input", () => {
    go.disabled = typed.value.trim() !== word.trim();
  });
  const form = h(
    "form",
    { id: "remove-form", novalidate: true },
    errorSummary(),
    h(
      "p",
      null,
      "What waits for it is cancelled, and no further event is sent to it. Its log is kept until retention deletes it, but cannot be looked at here any more. This cannot be undone.",
    ),
    field({ label: ["Type ", h("strong", { class: "break" }, word), " to confirm"], input: typed }),
  );
  const box = dialog("Remove this webhook?", form, [
    h("button", { type: "button", onclick: () => box.close() }, "Keep it"),
    go,
  ]);
  typed.focus();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (go.disabled) return;
    busy(go, async () => {
      try {
        await session.api.remove(at("webhooks", webhook.id));
        box.close();
        toast("Removed", "good");
        location.hash = "#/webhooks";
      } catch (problem) {
        showErrors(form, problem);
      }
    });
  });
}
