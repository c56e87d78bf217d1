// Parts that several pages share: states as badges, tables, strips of health, problems, fields.

import { h, icon, put, s } from "./dom.js";
import { count, hostAndPath, percent, plural } from "./format.js";
import { lacks } from "./session.js";

const STATES = {
  delivered: ["good", "check"],
  succeeded: ["good", "check"],
  active: ["good", "check"],
  done: ["good", "check"],
  waiting: ["info", "clock"],
  running: ["info", "play"],
  held: ["warn", "pause"],
  paused: ["warn", "pause"],
  failing: ["warn", "warn"],
  disabled: ["bad", "off"],
  failed: ["bad", "cross"],
  dropped: ["bad", "drop"],
  expired: ["bad", "drop"],
  cancelled: ["plain", "none"],
  not_wanted: ["plain", "none"],
  not_registered_then: ["plain", "none"],
  would_match_today: ["info", "check"],
  unclear: ["warn", "warn"],
};

// A state: sign, word and colour, so that no two of them depend on the third.
export function badge(state) {
  const [kind, sign] = STATES[state] ?? ["plain", "none"];
  return h("span", { class: `badge ${kind}` }, icon(sign), state.replaceAll("_", " "));
}

// A webhook's state. What somebody disabled is no trouble.
export function webhookBadge(webhook) {
  const state = webhookState(webhook);
  const shown = badge(state);
  if (webhook.inactive?.reason === "request") shown.className = "badge plain";
  return shown;
}

// An attempt's outcome: the status code, or the kind of fault.
export function outcomeBadge(outcome, status, isSuccess) {
  if (!outcome) return h("span", { class: "muted" }, "–");
  const words = status ?? outcome.kind.replaceAll("_", " ");
  const good = isSuccess ?? (status >= 200 && status < 300);
  return h("span", { class: `badge num ${good ? "good" : "bad"}` }, icon(good ? "check" : "cross"), words);
}

const INACTIVE = {
  request: ["Somebody disabled it.", "Enable it to let what is held flow."],
  exhausted: [
    "A delivery's schedule ended without success.",
    "See to the receiver, send a test, then enable it: what is held then flows.",
  ],
  gone: [
    "Its receiver answered 410 Gone: it wants no more.",
    "Give it another URL, or enable it again if that was a mistake.",
  ],
  failing: [
    "Every attempt had failed for as long as the profile allows.",
    "See to the receiver, send a test, then enable it: what is held then flows.",
  ],
  undeclared: [
    "The config declares it no more.",
    "Declare it again in [[webhooks]] to let what is held flow, or remove it here.",
  ],
};

export const inactiveWords = (reason) =>
  INACTIVE[reason] ?? [`Reason: ${reason}.`, "Enable it to let what is held flow."];

// Where a webhook stands, in one word.
export function webhookState(webhook) {
  if (!webhook.active) return "disabled";
  if (webhook.held) return "held";
  if (webhook.failing) return "failing";
  return "active";
}

// A webhook's name, or what there is in place of one.
export function webhookName(webhook) {
  return webhook.name || hostAndPath(webhook.url)[0];
}

export function urlText(url) {
  const [host, path] = hostAndPath(url);
  return h(
    "span",
    { class: "url", title: url },
    h("span", { class: "scheme" }, "https://"),
    h("span", { class: "host" }, host),
    path,
  );
}

// A table that becomes a list of cards where it is narrow; the roles say that it stays a table.
// A row is { key, href, label, cells }; its first cell is the link.
export function table({ caption, columns, rows, isFresh = () => false }) {
  const head = h(
    "tr",
    { role: "row" },
    columns.map((column) => h("th", { role: "columnheader", scope: "col", class: column.class }, column.name)),
  );
  const body = h(
    "tbody",
    { role: "rowgroup" },
    rows.map((row) => {
      const cells = row.cells.map((cell, at) => {
        const column = columns[at];
        const inner =
          at === 0 && row.href
            ? h("a", { href: row.href, "data-row": true, "data-key": row.key, class: "row-link" }, cell)
            : cell;
        return h("td", { role: "cell", class: column.class, "data-label": column.name }, inner);
      });
      return h("tr", { role: "row", class: `${row.href ? "linked" : ""}${isFresh(row.key) ? " fresh" : ""}` }, cells);
    }),
  );
  body.addEventListener("click", (event) => {
    const isOwn = event.target.closest("a, button, input, select, label, summary");
    if (isOwn || String(getSelection())) return;
    event.target.closest("tr")?.querySelector("a[data-row]")?.click();
  });
  return h(
    "table",
    { role: "table", class: "rows" },
    h("caption", { class: "offscreen" }, caption),
    h("thead", { role: "rowgroup" }, head),
    body,
  );
}

// Arrow keys go from row to row.
document.addEventListener("keydown", (event) => {
  const row = document.activeElement?.closest?.("a[data-row]");
  if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
  const all = [...document.querySelectorAll("a[data-row]")];
  const place = all.indexOf(row);
  const to = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: all.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  all[to]?.focus();
});

const HOUR_WIDTH = 6;
const UP = 20;
const DOWN = 8;

// The last day as 24 bars: what succeeded stands on the line, what failed hangs from it.
export function strip(hours) {
  if (!hours?.length) return h("span", { class: "muted" }, "–");
  const most = Math.max(1, ...hours.map((hour) => hour.attempts));
  // A tall hour must not make the others vanish.
  const tall = (number, room) => (number === 0 ? 0 : Math.max(2, Math.sqrt(number / most) * room));
  const total = hours.reduce((sum, hour) => sum + hour.attempts, 0);
  const succeeded = hours.reduce((sum, hour) => sum + hour.succeeded, 0);
  const words =
    total === 0
      ? "No attempts in the last 24 hours"
      : `Last 24 hours: ${plural(total, "attempt")}, ${count(total - succeeded)} failed`;
  const bars = hours.map((hour, index) => {
    const x = index * HOUR_WIDTH;
    const failed = hour.attempts - hour.succeeded;
    const from = new Date(hour.from);
    const title = s(
      "title",
      null,
      `${String(from.getHours()).padStart(2, "0")}:00: ${count(hour.succeeded)} succeeded, ${count(failed)} failed`,
    );
    const up = tall(hour.succeeded, UP);
    const down = tall(failed, DOWN);
    return s(
      "g",
      null,
      title,
      s("rect", { class: "hit", x, y: 0, width: HOUR_WIDTH, height: UP + DOWN + 2 }),
      up > 0 && s("rect", { class: "up", x: x + 0.5, y: UP - up, width: HOUR_WIDTH - 1.5, height: up, rx: 1 }),
      hour.attempts === 0 &&
        s("rect", { class: "flat", x: x + 0.5, y: UP - 1, width: HOUR_WIDTH - 1.5, height: 2, rx: 1 }),
      down > 0 && s("rect", { class: "down", x: x + 0.5, y: UP + 2, width: HOUR_WIDTH - 1.5, height: down, rx: 1 }),
    );
  });
  const size = { viewBox: `0 0 ${hours.length * HOUR_WIDTH} ${UP + DOWN + 2}`, preserveAspectRatio: "none" };
  return s("svg", { class: "strip", role: "img", "aria-label": words, ...size }, bars);
}

// The share of attempts that succeeded; a bar as wide, and the number.
export function ratioText(succeeded, attempts) {
  if (!attempts) return h("span", { class: "muted" }, "no attempts");
  const ratio = succeeded / attempts;
  const kind = ratio >= 0.99 ? "good" : ratio >= 0.9 ? "warn" : "bad";
  return h(
    "span",
    {
      class: `ratio ${kind}`,
      title: `${count(succeeded)} of ${plural(attempts, "attempt")} succeeded in the last 24 hours`,
    },
    percent(ratio),
  );
}

export function tile(label, value, note) {
  return h(
    "div",
    { class: "tile" },
    h("dt", null, label),
    h("dd", null, value, note && h("span", { class: "note" }, note)),
  );
}

export function facts(pairs) {
  const shown = pairs.filter((pair) => pair && pair[1] !== null && pair[1] !== undefined && pair[1] !== "");
  return h(
    "dl",
    { class: "facts" },
    shown.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))),
  );
}

// What went wrong, and what can be done.
export function problemBox(problem, retry) {
  const again = retry && h("button", { type: "button", onclick: retry }, "Try again");
  const wait = problem.retryAfterSeconds ? ` Try again in ${problem.retryAfterSeconds} s.` : "";
  return h(
    "div",
    { class: "banner bad", role: "alert" },
    icon("warn"),
    h("div", null, h("p", { class: "strong" }, sentence(problem.message) + wait)),
    again,
  );
}

export function banner(kind, sign, title, text, ...actions) {
  return h(
    "div",
    { class: `banner ${kind}` },
    icon(sign),
    h("div", { class: "grow" }, h("p", { class: "strong" }, title), text && h("p", null, text)),
    actions.length > 0 && h("div", { class: "actions" }, actions),
  );
}

export function sentence(text) {
  const begin = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begin) ? begin : `${begin}.`;
}

export function empty(title, ...more) {
  return h("div", { class: "empty" }, h("h2", null, title), more);
}

// Disables a button that the key may not use, or that something else forbids, and says why.
export function guarded(button, scope, forbidden = null) {
  const why = lacks(scope) ?? forbidden;
  if (why) {
    button.disabled = true;
    button.title = why;
    button.setAttribute("aria-label", `${button.textContent}: ${why}`);
  }
  return button;
}

let fields = 0;

// A labelled field. Its `pointer` is where the API says that it is wrong.
export function field({ label, input, hint, pointer, aside }) {
  const id = input.id || `field-${(fields += 1)}`;
  input.id = id;
  const error = h("p", { class: "field-error", id: `${id}-error`, hidden: true });
  const note = hint && h("p", { class: "hint", id: `${id}-hint` }, hint);
  input.setAttribute("aria-describedby", `${note ? `${id}-hint ` : ""}${id}-error`);
  const box = h(
    "div",
    { class: "field", "data-pointer": pointer ?? null },
    h("div", { class: "field-head" }, h("label", { for: id }, label), aside),
    input,
    note,
    error,
  );
  return box;
}

// Shows each error at its field, and all of them above the form; gives whether there were any.
export function showErrors(form, problem) {
  const summary = form.querySelector(".error-summary");
  for (const box of form.querySelectorAll(".field[data-pointer]")) mark(box, null);
  put(summary);
  summary.hidden = !problem;
  if (!problem) return;
  const errors = problem.errors.length > 0 ? problem.errors : [{ pointer: "", detail: problem.message }];
  const rows = errors.map((error) => {
    let below = "";
    const box = [...form.querySelectorAll(".field[data-pointer]")].find((one) => {
      const own = one.dataset.pointer
        .split(" ")
        .find((name) => error.pointer === name || error.pointer.startsWith(`${name}/`));
      if (own !== undefined) below = error.pointer.slice(own.length);
      return own !== undefined;
    });
    if (!box) return h("li", null, sentence(`${error.pointer} ${error.detail}`.trim()));
    // Where it is inside of the field, as in a filter.
    const detail = below ? `${below}: ${error.detail}` : error.detail;
    const before = box.querySelector(".field-error").textContent;
    mark(box, `${before ? `${before} ` : ""}${sentence(detail)}`);
    for (let part = box.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
    const label = box.querySelector("label").textContent;
    const input = box.querySelector("input, textarea, select");
    return h(
      "li",
      null,
      h(
        "a",
        {
          href: `#${input.id}`,
          onclick: (event) => {
            event.preventDefault();
            input.focus();
          },
        },
        label,
      ),
      `: ${detail}`,
    );
  });
  const title = errors.length === 1 ? "One thing is to be mended" : `${errors.length} things are to be mended`;
  put(summary, h("h2", null, title), h("ul", null, rows));
  summary.focus();
}

function mark(box, text) {
  const error = box.querySelector(".field-error");
  error.textContent = text ?? "";
  error.hidden = text === null;
  for (const input of box.querySelectorAll("input, textarea, select")) {
    if (text === null) input.removeAttribute("aria-invalid");
    else input.setAttribute("aria-invalid", "true");
  }
}

export const errorSummary = () => h("div", { class: "error-summary", role: "alert", tabindex: "-1", hidden: true });

// A list of choices, `[value, words]`.
export function select(choices, value, props = {}) {
  return h(
    "select",
    props,
    choices.map(([own, words]) => h("option", { value: own, selected: own === value }, words)),
  );
}

// A row of choices of which one holds, as radio buttons: arrow keys move between them.
export function choice(name, legend, choices, value, onchange) {
  return h(
    "fieldset",
    { class: "choice" },
    h("legend", { class: "offscreen" }, legend),
    choices.map(([own, words]) =>
      h(
        "label",
        null,
        h("input", { type: "radio", name, value: own, checked: own === value, onchange: () => onchange(own) }),
        h("span", null, words),
      ),
    ),
  );
}

// A list of suggestions for a field.
export function suggestions(id, values) {
  return h(
    "datalist",
    { id },
    values.map((value) => h("option", { value })),
  );
}
