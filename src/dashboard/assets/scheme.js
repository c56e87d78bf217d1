// The switch between the system's colours, light and dark ones; `theme.js` reads what was chosen before anything is drawn.

import { h, icon, put } from "./dom.js";

export function schemeSwitch() {
  const root = document.documentElement;
  const words = { "": "system", light: "light", dark: "dark" };
  const signs = { "": "half", light: "sun", dark: "moon" };
  const button = h("button", { type: "button", class: "plain" });
  const show = () => {
    const own = root.dataset.theme ?? "";
    put(button, icon(signs[own]));
    button.title = `Colours: ${words[own]}`;
    button.setAttribute("aria-label", `Colours: ${words[own]}. Press for the next.`);
  };
  button.addEventListener("click", () => {
    const next = { "": "light", light: "dark", dark: "" }[root.dataset.theme ?? ""];
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    try {
      if (next) localStorage.setItem("hookwheel.theme", next);
      else localStorage.removeItem("hookwheel.theme");
    } catch {
      // Not kept, then.
    }
    show();
  });
  show();
  return button;
}
