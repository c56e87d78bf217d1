// Builds elements. What is given as a child becomes a text node or is an element already: no text from outside can
// become markup. Nothing here knows the API.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "open", "indeterminate"]);

// An element: `h("a", { class: "x", href: "#/", onclick: f }, "text", element, null)`.
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

// An SVG element.
export function s(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (PROPERTIES.has(name)) {
      element[name] = value;
    } else if (value === true) {
      element.setAttribute(name, "");
    } else {
      element.setAttribute(name, String(value));
    }
  }
  add(element, children);
  return element;
}

// Adds children: elements, texts, numbers, lists of these; null and false are nothing.
export function add(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

// Puts new children in the place of the old ones. Who had the focus keeps it, where an element of the same `data-key`
// is among the new ones, so a live list can be walked through by keyboard.
export function put(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const fresh = document.createDocumentFragment();
  add(fresh, ...children);
  element.replaceChildren(fresh);
  if (focused) {
    element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }
  return element;
}

const ICONS = {
  check: "M3.5 8.5l3 3 6-7",
  cross: "M4 4l8 8M12 4l-8 8",
  clock: "M8 4.5V8l2.5 1.5M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0z",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  off: "M8 2v5M4.7 4.2a5.3 5.3 0 1 0 6.6 0",
  warn: "M8 2.5L14.5 13.5h-13zM8 6.5v3.2M8 11.6v.1",
  play: "M5 3l8 5-8 5z",
  drop: "M8 2v9M4.5 7.5L8 11l3.5-3.5M3 14h10",
  copy: "M6 6h7.5v7.5H6zM3 10.3H2.5V2.5h7.8V3",
  plus: "M8 3v10M3 8h10",
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM10.7 10.7L14 14",
  back: "M9.5 3L4.5 8l5 5",
  next: "M6.5 3l5 5-5 5",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM8 1v1.6M8 13.4V15M1 8h1.6M13.4 8H15M3 3l1.2 1.2M11.8 11.8L13 13M13 3l-1.2 1.2M4.2 11.8L3 13",
  moon: "M13.5 9.6A6 6 0 0 1 6.4 2.5a6 6 0 1 0 7.1 7.1z",
  half: "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12",
  send: "M2 8l12-5.5L9.5 14 7.5 9z",
  more: "M3.2 8h.1M8 8h.1M12.8 8h.1",
  none: "M4 8h8",
  file: "M4 2h5l3 3v9H4zM9 2v3h3M6.2 8.2h3.6M6.2 10.8h3.6",
};

// A decoration; the word beside it says the same.
export function icon(name) {
  const path = s("path", { d: ICONS[name] });
  return s(
    "svg",
    { viewBox: "0 0 16 16", class: `icon icon-${name}`, "aria-hidden": "true", focusable: "false" },
    path,
  );
}

let toasts = 0;

// Says something for some seconds; errors stay until they are closed.
export function toast(text, kind = "info") {
  const place = document.getElementById("toasts");
  const close = h(
    "button",
    { class: "plain", type: "button", "aria-label": "Close this message", onclick: () => box.remove() },
    icon("cross"),
  );
  const sign = { error: "warn", good: "check" }[kind];
  const box = h(
    "div",
    { class: `toast ${kind}`, role: kind === "error" ? "alert" : null, id: `toast-${(toasts += 1)}` },
    sign && icon(sign),
    h("span", null, text),
    close,
  );
  // Five at most: what is older has been read, or never will be.
  while (place.children.length >= 5) place.firstChild.remove();
  place.append(box);
  if (kind !== "error") setTimeout(() => box.remove(), 5000);
}

// A button that copies; `text` may be a function, asked when it is pressed.
export function copyButton(text, label = "Copy", props = {}) {
  const word = h("span", null, label);
  const button = h("button", { type: "button", class: "small", ...props }, icon("copy"), word);
  button.addEventListener("click", async () => {
    try {
      await copy(typeof text === "function" ? await text() : text);
      word.textContent = "Copied";
      setTimeout(() => {
        word.textContent = label;
      }, 1600);
      toast("Copied", "good");
    } catch (error) {
      toast(`Could not copy: ${error.message}`, "error");
    }
  });
  return button;
}

// Puts text into the clipboard.
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Over plain HTTP beyond this machine, browsers offer the old way only.
  const area = h("textarea", { class: "offscreen", "aria-hidden": "true", value: text });
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser does not allow it");
}

// Runs `work` with the button disabled, so that nothing is done twice.
export async function busy(button, work) {
  if (button.getAttribute("aria-busy") === "true") return undefined;
  button.setAttribute("aria-busy", "true");
  button.disabled = true;
  try {
    return await work();
  } finally {
    button.removeAttribute("aria-busy");
    button.disabled = false;
  }
}

// A modal dialog with a title; gives the element, shown. `foot` are its buttons. Escape closes it, and the focus goes
// back to where it was.
export function dialog(title, body, foot, { wide = false, onclose = null, lasting = false } = {}) {
  const id = `dialog-${(toasts += 1)}`;
  const box = h(
    "dialog",
    { "aria-labelledby": id, class: wide ? "wide" : null },
    h(
      "div",
      { class: "dialog-head" },
      h("h2", { id }, title),
      !lasting &&
        h(
          "button",
          { type: "button", class: "plain", "aria-label": "Close", onclick: () => box.close() },
          icon("cross"),
        ),
    ),
    h("div", { class: "dialog-body" }, body),
    foot && h("div", { class: "dialog-foot" }, foot),
  );
  box.addEventListener("close", () => {
    box.remove();
    onclose?.();
  });
  // A secret that is shown once does not vanish by a slip.
  if (lasting) box.addEventListener("cancel", (event) => event.preventDefault());
  document.body.append(box);
  box.showModal();
  return box;
}

// Closes every dialog, as when the page behind them is left.
export function closeDialogs() {
  for (const box of document.querySelectorAll("dialog[open]")) box.close();
}
