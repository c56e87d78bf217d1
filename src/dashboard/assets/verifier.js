// The receiver's side: code that verifies what this webhook is sent, in several languages. The server makes it from the
// contract; where it cannot, the page says where to read on.

import { at, withQuery } from "./api.js";
import { copyButton, h, put } from "./dom.js";
import { code } from "./json.js";
import { session } from "./session.js";
import { choice, empty, problemBox } from "./widgets.js";

const LANGUAGES = [
  ["node", "Node"],
  ["python", "Python"],
  ["go", "Go"],
  ["rust", "Rust"],
  ["php", "PHP"],
  ["ruby", "Ruby"],
];
const CHOSEN = "hookwheel.language";

let isOffered = true;

function chosen() {
  try {
    const kept = localStorage.getItem(CHOSEN);
    return LANGUAGES.some(([name]) => name === kept) ? kept : "node";
  } catch {
    return "node";
  }
}

function choose(language) {
  try {
    localStorage.setItem(CHOSEN, language);
  } catch {
    // Not kept, then.
  }
}

export const verifier = (webhook, language, signal) =>
  session.api.get(withQuery(at("webhooks", webhook.id, "verifier"), { language }), signal);

export async function verifierParts(webhook, signal) {
  if (!webhook.signed) {
    return empty(
      "Nothing is signed",
      h("p", null, "This webhook has no secret, so there is nothing to verify. Its receiver cannot tell who sends."),
    );
  }
  const place = h("div", { "aria-live": "polite" });
  let language = chosen();
  const show = async () => {
    try {
      const made = await verifier(webhook, language, signal);
      put(
        place,
        h(
          "div",
          { class: "code-head" },
          h("strong", { class: "mono" }, made.file_name),
          copyButton(made.code, "Copy the code"),
        ),
        code(made.code, { label: `Verification in ${language}` }),
        made.notes?.length > 0 &&
          h(
            "ul",
            { class: "notes" },
            made.notes.map((note) => h("li", null, note)),
          ),
      );
    } catch (problem) {
      if (signal.aborted) return;
      if (problem.status === 404) isOffered = false;
      put(place, problem.status === 404 ? absent(webhook) : problemBox(problem, show));
    }
  };
  await show();
  if (!isOffered) return place;
  return h(
    "section",
    { class: "card" },
    h("h2", null, "Verify what comes"),
    h(
      "p",
      { class: "hint" },
      "Complete code for this webhook's contract. The secret is not in it: give it to the program by its environment.",
    ),
    choice("language", "Language", LANGUAGES, language, (own) => {
      language = own;
      choose(own);
      show();
    }),
    place,
  );
}

function absent(webhook) {
  const rules = webhook.contract?.signatures ?? [];
  return h(
    "section",
    { class: "card" },
    h("h2", null, "Verify what comes"),
    h("p", null, "This server makes no code for receivers. What a receiver has to do:"),
    h(
      "ul",
      { class: "notes" },
      rules.map((rule) =>
        h(
          "li",
          null,
          "Make the ",
          rule.algorithm,
          " of ",
          h("code", null, rule.signed),
          `, and compare it with the header ${rule.header}, which has the form `,
          h("code", null, rule.value),
          ".",
        ),
      ),
    ),
  );
}
