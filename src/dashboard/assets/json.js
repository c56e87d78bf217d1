// JSON as text. Nothing here turns numbers into doubles and back: what is shown is what was sent, digit by digit.

import { add, h } from "./dom.js";

// Deeper values are not indented further.
const INDENTED_MAX = 40;

// The same JSON, a member on each line. Gives null where the text is no JSON.
export function pretty(text) {
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  let shown = "";
  let depth = 0;
  // Whether nothing stands yet in what was opened last: an empty one stays on its line.
  let isOpened = false;
  const line = () => `\n${"  ".repeat(Math.min(depth, INDENTED_MAX))}`;
  for (const [token, kind] of tokens(text)) {
    if (kind === "close") {
      depth -= 1;
      shown += isOpened ? token : line() + token;
      isOpened = false;
      continue;
    }
    if (isOpened) shown += line();
    isOpened = kind === "open";
    if (isOpened) depth += 1;
    shown += token === ":" ? ": " : token;
    if (token === ",") shown += line();
  }
  return shown;
}

// The tokens of JSON text that is known to be JSON, without its white space.
function* tokens(text) {
  const pattern = /("(?:[^"\\]|\\.)*")|([{[])|([}\]])|([,:])|([^\s{}[\],:"]+)/gs;
  for (const found of text.matchAll(pattern)) {
    const [token, string, open, close, sign] = found;
    yield [token, string ? "string" : open ? "open" : close ? "close" : sign ? "sign" : "word"];
  }
}

// The text of one member of an object, as it stands; null where there is none.
export function member(text, name) {
  let depth = 0;
  let key = null;
  let from = null;
  const pattern = /("(?:[^"\\]|\\.)*")|[{}[\],:]|[^\s{}[\],:"]+/gs;
  for (const found of text.matchAll(pattern)) {
    const [token, string] = found;
    if (depth === 1 && from === null && string && key === null) {
      key = JSON.parse(token);
      continue;
    }
    if (depth === 1 && token === ":" && from === null) {
      from = found.index + 1;
      continue;
    }
    const ends = depth === 1 && (token === "," || token === "}");
    if (ends && from !== null) {
      if (key === name) return text.slice(from, found.index).trim();
      key = null;
      from = null;
    }
    if (token === "{" || token === "[") depth += 1;
    if (token === "}" || token === "]") depth -= 1;
  }
  return null;
}

// Longer texts are shown in one colour: each token is an element.
const COLOURED_MAX = 60_000;

// Text as code, with the kinds of tokens told apart where it is JSON.
export function code(text, { json = false, label = "Code" } = {}) {
  const inner = h("code");
  if (json && text.length <= COLOURED_MAX) {
    let at = 0;
    const pattern = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\d[\d.eE+-]*/gs;
    for (const found of text.matchAll(pattern)) {
      const kind = found[1] ? (found[2] ? "key" : "string") : found[3] ? "word" : "number";
      const token = found[1] ?? found[0];
      add(inner, text.slice(at, found.index), h("span", { class: `tok-${kind}` }, token));
      at = found.index + token.length;
    }
    add(inner, text.slice(at));
  } else {
    add(inner, text);
  }
  // Reachable by keyboard, as it may have to be scrolled.
  return h("pre", { class: "code", tabindex: "0", role: "region", "aria-label": label }, inner);
}
