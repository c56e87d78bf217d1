// One attempt: how long each phase took, what was sent, what was answered. All of it is text from outside.

import { copyButton, h, put } from "./dom.js";
import { bytes, milliseconds } from "./format.js";
import { code, pretty } from "./json.js";
import { banner, sentence } from "./widgets.js";

const FAULTS = {
  dns: "The host's name did not resolve. Look at the URL, and at the DNS of the daemon's machine.",
  connect:
    "No connection could be made. Look whether the receiver is up, and whether a firewall lets the daemon through.",
  tls: "The TLS handshake failed, or the certificate did not verify. A private CA is added by the operator ([egress] extra_ca).",
  timeout:
    "No answer came in time. A receiver should answer first and work afterwards; the timeout can be raised in the settings.",
  reset: "The connection ended before the answer was complete.",
  protocol: "The answer was not valid HTTP, or its head was beyond the bounds.",
  address_blocked:
    "The destination's address is refused: private addresses are, unless the operator allows them ([egress] allow).",
  render: "No request could be made of this event: look at the format and at the event's data.",
  token: "No access token could be had from the token endpoint; the receiver was not asked.",
};

// The parts of an attempt; `body` is the request's, where it is not shown elsewhere.
export function attemptParts(attempt, { body = null } = {}) {
  const { response, outcome } = attempt;
  const shown = [phases(attempt.phases_ms)];
  if (attempt.status === null) {
    shown.unshift(banner("bad", "cross", sentence(outcome.detail || outcome.kind), FAULTS[outcome.kind] ?? null));
  }
  if (body !== null) shown.push(part("Request body", bodyBox(body, "Request body")));
  shown.push(
    part(
      "Request headers",
      headers(attempt.request_headers, "Request headers"),
      "Those made for this attempt. The webhook's own headers, whose values are not shown, were sent, too.",
    ),
  );
  if (response) {
    const note = response.truncated ? "Its end was not kept." : null;
    shown.push(
      part("Response headers", headers(response.headers, "Response headers")),
      part("Response body", bodyBox(response.body, "Response body"), note),
    );
  }
  return h("div", { class: "attempt-parts" }, shown);
}

function part(title, content, note) {
  return h("section", { class: "part" }, h("h3", null, title), note && h("p", { class: "hint" }, note), content);
}

export function headers(pairs, label) {
  if (!pairs?.length) return h("p", { class: "muted" }, "None.");
  return h(
    "div",
    { class: "headers", role: "region", "aria-label": label, tabindex: "0" },
    h(
      "dl",
      null,
      pairs.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))),
    ),
  );
}

// A body: as it is, or with its JSON laid out, which changes white space only.
export function bodyBox(text, label) {
  if (text === null || text === undefined)
    return h("p", { class: "muted" }, "It cannot be shown: no request can be made of the event today.");
  if (text === "") return h("p", { class: "muted" }, "Empty.");
  const laidOut = pretty(text);
  const place = h("div");
  const size = h("span", { class: "muted small-text" }, bytes(new TextEncoder().encode(text).length));
  const toggle = h("button", { type: "button", class: "small", "aria-pressed": "true" }, "Pretty");
  const show = (isPretty) => {
    toggle.setAttribute("aria-pressed", String(isPretty));
    put(place, code(isPretty ? laidOut : text, { json: laidOut !== null, label: `${label}, text` }));
  };
  toggle.addEventListener("click", () => show(toggle.getAttribute("aria-pressed") !== "true"));
  show(laidOut !== null);
  return h(
    "div",
    { class: "body-box" },
    h(
      "div",
      { class: "body-bar" },
      laidOut !== null && toggle,
      copyButton(text, "Copy raw", { "aria-label": `Copy raw: ${label.toLowerCase()}` }),
      size,
    ),
    place,
  );
}

const PHASES = [
  ["dns", "DNS"],
  ["connect", "Connect"],
  ["tls", "TLS"],
  ["first_byte", "Wait for the answer"],
  ["rest", "Read the answer"],
];

// The phases one after another, each as long as it took.
function phases(ms) {
  const known = PHASES.slice(0, 4).reduce((sum, [name]) => sum + (ms[name] ?? 0), 0);
  const all = { ...ms, rest: Math.max(0, ms.total - known) };
  const total = Math.max(ms.total, known, 0.001);
  let from = 0;
  const rows = PHASES.map(([name, words]) => {
    const took = all[name];
    const bar = h("span", { class: `phase phase-${name}` });
    if (took !== null && took !== undefined) {
      bar.style.setProperty("left", `${(from / total) * 100}%`);
      bar.style.setProperty("width", `${Math.max(0.6, (took / total) * 100)}%`);
      from += took;
    }
    const text =
      took === null || took === undefined ? (name === "first_byte" ? "not reached" : "–") : milliseconds(took);
    return h(
      "div",
      { class: "phase-row" },
      h("dt", null, words),
      h(
        "dd",
        null,
        h("span", { class: "phase-track", "aria-hidden": "true" }, took !== null && took !== undefined && bar),
        h("span", { class: "num phase-time" }, text),
      ),
    );
  });
  const isReused = ms.dns === null && ms.connect === null && ms.tls === null && ms.first_byte !== null;
  return h(
    "section",
    { class: "part" },
    h("h3", null, "Timing"),
    isReused && h("p", { class: "hint" }, "Over a connection that was open already."),
    h(
      "dl",
      { class: "phases" },
      rows,
      h(
        "div",
        { class: "phase-row total" },
        h("dt", null, "Total"),
        h("dd", null, h("span"), h("span", { class: "num phase-time" }, milliseconds(ms.total))),
      ),
    ),
  );
}
