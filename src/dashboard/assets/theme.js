// Sets the scheme before anything is drawn. A classic script of its own, so that no page flashes in the other scheme.
"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("hookwheel.theme");
  } catch {
    // Storage is switched off: the system's scheme holds.
  }
  if (chosen === "light" || chosen === "dark") {
    document.documentElement.dataset.theme = chosen;
  }
})();
