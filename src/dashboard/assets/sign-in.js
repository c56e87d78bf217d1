// The first page: a key, and what it is for.

import { busy, h, put } from "./dom.js";
import { signIn } from "./session.js";
import { errorSummary, field, sentence, showErrors } from "./widgets.js";

export function signInPage(why, onUnauthorized, onDone) {
  const input = h("input", {
    type: "password",
    name: "key",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    class: "mono",
  });
  const button = h("button", { class: "primary", type: "submit" }, "Sign in");
  const told = h("p", { class: "told", role: "status" }, why);
  const show = h("button", { type: "button", class: "small plain", "aria-pressed": "false" }, "Show");
  show.addEventListener("click", () => {
    const isShown = input.type === "text";
    input.type = isShown ? "password" : "text";
    show.setAttribute("aria-pressed", String(!isShown));
    put(show, isShown ? "Show" : "Hide");
  });
  const box = field({
    label: "API key",
    input,
    pointer: "/key",
    aside: show,
    hint: "Kept for this tab only, and forgotten when you close it or sign out.",
  });
  const form = h("form", { novalidate: true }, errorSummary(), box, button);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    put(told);
    const key = input.value.trim();
    if (!key) return refuse(form, "Give a key.");
    // A header holds nothing else, and no key of ours has anything else.
    if (!/^[\x21-\x7e]+$/.test(key)) return refuse(form, "A key has letters, digits and signs only, without spaces.");
    return busy(button, async () => {
      try {
        await signIn(key, onUnauthorized);
        onDone();
      } catch (problem) {
        refuse(
          form,
          problem.status === 401
            ? "This key is not known here. Look for a slip, or whether the config has another one."
            : sentence(problem.message),
        );
      }
    });
  });
  return h(
    "main",
    { class: "alone", id: "main", tabindex: "-1" },
    h("img", { src: "/ui/icon.svg", alt: "", width: "44", height: "44" }),
    h("h1", null, "Hookwheel"),
    h(
      "p",
      { class: "muted" },
      "Sign in with an API key of your account to see its webhooks and what became of each delivery.",
    ),
    told,
    form,
    h(
      "details",
      { class: "more" },
      h("summary", null, "Where do I get a key?"),
      h("p", null, "The operator makes one and puts its hash into the config:"),
      h("pre", { class: "code", tabindex: "0" }, h("code", null, "hookwheel key new --out backend.key >> config.toml")),
      h(
        "p",
        null,
        "The file ",
        h("code", null, "backend.key"),
        " then has the key. A running daemon takes it over on SIGHUP.",
      ),
    ),
  );
}

function refuse(form, text) {
  const problem = { errors: [{ pointer: "/key", detail: text }], message: text };
  showErrors(form, problem);
  form.querySelector("input").focus();
}
