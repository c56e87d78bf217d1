// A secret: shown once where it is made, and replaced in the way that the profile rotates.

import { at } from "./api.js";
import { busy, copyButton, dialog, h, toast } from "./dom.js";
import { absolute } from "./format.js";
import { session } from "./session.js";
import { banner, errorSummary, field, select, showErrors } from "./widgets.js";

const KEPT = [
  ["1h", "1 hour"],
  ["24h", "1 day"],
  ["72h", "3 days"],
  ["168h", "1 week"],
  ["720h", "30 days"],
];

// Shows a secret until it is said to be stored.
export function showSecret(answer, { title = "The signing secret", words = null, onDone = () => {} } = {}) {
  const shown = h("code", { class: "secret", "data-secret": true }, answer.secret);
  const done = h("button", { type: "button", class: "primary" }, "I have stored it");
  const publicKey = answer.staged_public_key ?? answer.public_key;
  const box = dialog(
    title,
    [
      banner(
        "warn",
        "warn",
        "It is shown this once.",
        "Put it where the receiver finds it. No later answer has it; it can only be replaced.",
      ),
      words && h("p", null, words),
      h("div", { class: "secret-box" }, shown, copyButton(answer.secret, "Copy the secret")),
      publicKey && [
        h("p", null, "Receivers verify with the public key, which can be looked up later, too:"),
        h(
          "div",
          { class: "secret-box" },
          h("code", { class: "secret" }, publicKey),
          copyButton(publicKey, "Copy the public key"),
        ),
      ],
      answer.hint && banner("info", "warn", "A hint", answer.hint),
    ],
    done,
    { lasting: true, onclose: onDone },
  );
  done.addEventListener("click", () => box.close());
  done.focus();
}

export function secretDialog(webhook, refresh) {
  const isStaged = webhook.contract.secret.rotation.startsWith("staged");
  const steps = isStaged ? staged(webhook) : overlap();
  const form = h("form", { id: "secret-form", novalidate: true }, errorSummary(), steps.body);
  const buttons = steps.verbs.map(([verb, words, kind]) =>
    h("button", { type: "submit", form: "secret-form", value: verb, name: "verb", class: kind }, words),
  );
  const box = dialog("Replace the secret", form, buttons);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const button = event.submitter ?? buttons[0];
    showErrors(form, null);
    busy(button, async () => {
      const verb = button.value;
      const body = {};
      if (["rotate", "promote"].includes(verb)) body.keep_old = steps.keep.value;
      if (["rotate", "stage"].includes(verb) && steps.own.value) body.secret = steps.own.value;
      try {
        const answer = await session.api.post(at("webhooks", webhook.id, "secret", verb), body);
        box.close();
        const { secret, ...changed } = answer;
        await refresh(changed);
        if (secret)
          showSecret(answer, { title: verb === "stage" ? "The staged secret" : "The new secret", words: AFTER[verb] });
        else toast(DONE[verb], "good");
      } catch (problem) {
        showErrors(form, problem);
      }
    });
  });
}

const AFTER = {
  rotate: "Requests carry both signatures until the old secret expires.",
  stage: "The old secret signs on. Give this one to the receiver, then promote it.",
};
const DONE = {
  promote: "Promoted: the new secret signs now",
  abort: "What was staged is dropped",
  rollback: "Rolled back: the old secret signs again",
};

function ownField(own) {
  return field({
    label: "Secret of your own",
    input: own,
    pointer: "/secret",
    hint: "Leave it empty to have one made.",
  });
}

const ownInput = () => h("input", { type: "password", autocomplete: "off", spellcheck: "false", class: "mono" });

function overlap() {
  const own = ownInput();
  const keep = select(KEPT, "24h");
  return {
    own,
    keep,
    verbs: [["rotate", "Replace it now", "primary"]],
    body: [
      h(
        "p",
        null,
        "A new secret signs at once. Requests carry both signatures until the old one expires, so a receiver that knows either accepts them.",
      ),
      field({ label: "Keep the old one for", input: keep, pointer: "/keep_old" }),
      ownField(own),
    ],
  };
}

function staged(webhook) {
  const { staged: isStaged, old_until: oldUntil } = webhook.secret_rotation;
  const own = ownInput();
  const keep = select(KEPT, "24h");
  if (isStaged) {
    return {
      own,
      keep,
      verbs: [
        ["abort", "Drop what is staged", null],
        ["promote", "Promote it", "primary"],
      ],
      body: [
        h(
          "p",
          null,
          "A secret is staged. Once the receiver knows it, promote it: from then on it signs. The old one is kept for a while, so that it can be taken back.",
        ),
        field({ label: "Keep the old one for", input: keep, pointer: "/keep_old" }),
      ],
    };
  }
  const verbs = [["stage", "Stage a new one", "primary"]];
  if (oldUntil) verbs.unshift(["rollback", "Take the old one back", null]);
  return {
    own,
    keep,
    verbs,
    body: [
      h(
        "p",
        null,
        "Its receivers compare with one signature at a time. So a new secret is staged first, while the old one signs on; when the receiver has it, you promote it.",
      ),
      oldUntil &&
        banner("info", "clock", ["The secret before this one can be taken back until ", absolute(oldUntil), "."], null),
      ownField(own),
    ],
  };
}
