// What happens, as it happens: one stream of Server-Sent Events for the whole page, read by fetch so that the key stays
// in a header. A server without it is asked again and again instead. While the tab is hidden nothing is read.

import { at } from "./api.js";
import { session } from "./session.js";

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;
// Without a stream: often enough to watch, and far below a limit of 100 calls in a minute.
const POLL_EVERY_MS = 5000;
// What nobody tries is told by no stream: an event that no webhook wants, a delivery that is held. So the pages look for
// themselves now and then, too.
const GLANCE_EVERY_MS = 15_000;
// A page that is left is followed by another one, which listens too.
const LINGER_MS = 2000;
// The server says something every 15 s. What is silent for longer is dead.
const SILENCE_MAX_MS = 40_000;
// An event is a few hundred bytes; what has no end by then is none.
const EVENT_MAX = 1 << 20;

const listeners = new Set();
const watchers = new Set();
let running = null;
let ending = null;
let hasStream = true;
export let standing = "off";

function stand(word) {
  if (word === standing) return;
  standing = word;
  for (const tell of watchers) tell(word);
}

// Calls `tell` when the way in which the page hears of news changes: "live", "polling", "waiting", "off".
export function onStanding(tell) {
  watchers.add(tell);
  tell(standing);
}

// Calls `tell(event, data)` until `signal` is aborted. `poll` and `hello` mean: look for yourself what is new.
export function subscribe(tell, signal) {
  listeners.add(tell);
  signal.addEventListener("abort", () => {
    listeners.delete(tell);
    // From one page to the next the stream stays.
    clearTimeout(ending);
    ending = setTimeout(() => listeners.size === 0 && stop(), LINGER_MS);
  });
  start();
}

// Calls that fail for these reasons may succeed a little later.
const PASSING = new Set([0, 429, 503]);
const SOON_MS = 350;

// A trigger for `look`: soon after the first news, and then no sooner than `gapMs` after the look before, so that traffic
// without a pause does not use up the limit of a key, which may be 100 calls in a minute.
export function paced(look, signal, gapMs = 3000) {
  let timer = null;
  let free = 0;
  signal.addEventListener("abort", () => clearTimeout(timer));
  const trigger = () => {
    if (timer !== null || signal.aborted) return;
    timer = setTimeout(run, Math.max(SOON_MS, free - Date.now()));
  };
  const run = async () => {
    timer = null;
    free = Date.now() + gapMs;
    try {
      await look();
    } catch (problem) {
      if (!PASSING.has(problem.status)) return;
      free = Date.now() + Math.max(gapMs, (problem.retryAfterSeconds ?? 0) * 1000);
      trigger();
    }
  };
  return trigger;
}

// Calls `look` again and again while the page is seen.
export function every(ms, look, signal) {
  const timer = setInterval(() => document.hidden || look(), ms);
  signal.addEventListener("abort", () => clearInterval(timer));
}

function emit(event, data) {
  for (const tell of [...listeners]) tell(event, data);
}

function start() {
  if (running || listeners.size === 0 || document.hidden || !session.api) return;
  running = new AbortController();
  run(running.signal);
}

export function stop() {
  running?.abort();
  running = null;
  stand("off");
}

// Another server, or a newer one, may have it.
export function forget() {
  stop();
  hasStream = true;
}

document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));

async function run(signal) {
  let wait = FIRST_WAIT_MS;
  let isFirst = true;
  let polled = 0;
  while (!signal.aborted) {
    if (!hasStream) {
      stand("polling");
      await pause(POLL_EVERY_MS, signal);
      if (!signal.aborted) emit("poll", null);
      continue;
    }
    try {
      await read(signal, () => {
        wait = FIRST_WAIT_MS;
        stand("live");
        // Something may have been missed since the last stream, or before the first one.
        if (!isFirst) emit("hello", null);
        isFirst = false;
      });
    } catch (problem) {
      if (signal.aborted) return;
      if (problem.status === 401 || problem.status === 403) return stop();
      if (problem.status === 404) {
        hasStream = false;
        continue;
      }
      if (problem.retryAfterSeconds) wait = Math.max(wait, problem.retryAfterSeconds * 1000);
    }
    if (signal.aborted) return;
    stand("waiting");
    // Until it is back the pages look for themselves, as often as without it.
    if (Date.now() - polled >= POLL_EVERY_MS) {
      polled = Date.now();
      emit("poll", null);
    }
    // Not all tabs at the same instant.
    await pause(wait * (0.75 + Math.random() / 2), signal);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }
}

async function read(signal, opened) {
  const inner = new AbortController();
  const end = () => inner.abort();
  signal.addEventListener("abort", end);
  let silence = setTimeout(end, SILENCE_MAX_MS);
  let glances = null;
  try {
    const response = await session.api.open("GET", at("live"), { accept: "text/event-stream", signal: inner.signal });
    opened();
    glances = setInterval(() => emit("poll", null), GLANCE_EVERY_MS);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parse = parser((event, data) => emit(event, data));
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(end, SILENCE_MAX_MS);
      parse(value);
    }
  } finally {
    clearTimeout(silence);
    clearInterval(glances);
    signal.removeEventListener("abort", end);
    inner.abort();
  }
}

// Takes text in pieces, gives events (the WHATWG's rules, as far as they concern `event` and `data`).
export function parser(tell) {
  let rest = "";
  let event = "";
  let data = [];
  const line = (text) => {
    if (text === "") {
      if (data.length > 0) dispatch();
      event = "";
      data = [];
      return;
    }
    const colon = text.indexOf(":");
    if (colon === 0) return;
    const name = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(colon + 1).replace(/^ /, "");
    if (name === "event") event = value;
    if (name === "data") data.push(value);
  };
  const dispatch = () => {
    let value;
    try {
      value = JSON.parse(data.join("\n"));
    } catch {
      return;
    }
    tell(event || "message", value);
  };
  return (text) => {
    rest += text;
    // A CR at the end may be half of a CRLF.
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    lines.forEach(line);
    if (rest.length > EVENT_MAX) throw new Error("an event has no end");
  };
}

function pause(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        done();
      },
      { once: true },
    );
  });
}
