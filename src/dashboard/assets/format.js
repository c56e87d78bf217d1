// Words for times, lengths and counts. Times are shown as they pass: one clock for the whole page moves them.

import { h } from "./dom.js";

const COUNT = new Intl.NumberFormat("en");

export const count = (number) => COUNT.format(number);

// 12_345 as 12.3k, for narrow places.
export function short(number) {
  if (number < 10_000) return count(number);
  if (number < 1_000_000) return `${(number / 1000).toFixed(number < 100_000 ? 1 : 0)}k`;
  return `${(number / 1_000_000).toFixed(1)}M`;
}

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export function percent(ratio) {
  if (ratio === null || ratio === undefined) return "–";
  const of100 = ratio * 100;
  // 99.97 is not 100: a failure stays seen.
  if (of100 > 99.9 && of100 < 100) return `${(Math.floor(of100 * 100) / 100).toFixed(2)} %`;
  return `${of100.toFixed(of100 === 100 || of100 === 0 ? 0 : 1)} %`;
}

export function milliseconds(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

export function bytes(number) {
  if (number < 1024) return `${number} B`;
  if (number < 1024 * 1024) return `${(number / 1024).toFixed(1)} KiB`;
  return `${(number / 1024 / 1024).toFixed(1)} MiB`;
}

// A length of time in its two largest units.
export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return pair(Math.floor(seconds / 60), "m", seconds % 60, "s");
  if (seconds < 86_400) return pair(Math.floor(seconds / 3600), "h", Math.floor((seconds % 3600) / 60), "m");
  return pair(Math.floor(seconds / 86_400), "d", Math.floor((seconds % 86_400) / 3600), "h");
}

const pair = (large, unit, small, part) => (small ? `${large}${unit} ${small}${part}` : `${large}${unit}`);

function relative(at, now) {
  const away = at - now;
  if (Math.abs(away) < 1000) return "now";
  return away > 0 ? `in ${span(away)}` : `${coarse(-away)} ago`;
}

// What is past needs no second unit.
function coarse(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

const two = (number) => String(number).padStart(2, "0");

// The local time, to the second.
export function absolute(text) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return String(text);
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

// A time that passes: "3m ago", "in 12s"; the exact one is its title.
export function when(text, words = "–") {
  if (!text) return h("span", { class: "muted" }, words);
  const element = h("time", { datetime: text, title: `${absolute(text)} here; ${text}`, "data-at": Date.parse(text) });
  element.textContent = relative(Date.parse(text), Date.now());
  return element;
}

// A time as it stands.
export function exact(text, words = "–") {
  if (!text) return h("span", { class: "muted" }, words);
  return h("time", { datetime: text, title: text, class: "num" }, absolute(text));
}

setInterval(() => {
  if (document.hidden) return;
  const now = Date.now();
  for (const element of document.querySelectorAll("time[data-at]")) {
    const words = relative(Number(element.dataset.at), now);
    if (element.textContent !== words) element.textContent = words;
  }
}, 1000);

// What a `datetime-local` field holds, as the API reads times; null where it is empty.
export function fieldTime(value) {
  return value ? new Date(value).toISOString() : null;
}

// A URL in two parts: what tells webhooks apart, and the rest.
export function hostAndPath(url) {
  const at = /^https:\/\/([^/?#]*)(.*)$/s.exec(url);
  return at ? [at[1], at[2]] : [url, ""];
}
