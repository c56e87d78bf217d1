// The frame around the pages: who is signed in, where one is, what the server says of its health. A page is named by
// the part of the address behind `#`, so a reload shows the same one, and the server never sees it.

import { add, closeDialogs, dialog, h, icon, put, toast } from "./dom.js";
import { audit } from "./audit.js";
import { deliveryPage } from "./delivery.js";
import { eventPage, events, newEvent } from "./events.js";
import { form } from "./form.js";
import { jobPage, jobs, rematchPage } from "./jobs.js";
import { forget, onStanding, stop } from "./live.js";
import { overview } from "./overview.js";
import { schemeSwitch } from "./scheme.js";
import { may, resume, session, signOut, version, watchHealth } from "./session.js";
import { signInPage } from "./sign-in.js";
import { webhookPage } from "./webhook.js";
import { problemBox } from "./widgets.js";

const ROUTES = [
  [/^\/webhooks$/, overview, "webhooks", "read"],
  [/^\/webhooks\/new$/, form, "webhooks", "admin"],
  [/^\/webhooks\/([^/]+)\/edit$/, form, "webhooks", "admin"],
  [/^\/webhooks\/([^/]+)\/deliveries\/([^/]+)$/, deliveryPage, "webhooks", "read"],
  [/^\/webhooks\/([^/]+)(?:\/(figures|settings|verify|audit))?$/, webhookPage, "webhooks", "read"],
  [/^\/events$/, events, "events", "read"],
  [/^\/events\/new$/, newEvent, "events", "send"],
  [/^\/events\/([^/]+)$/, eventPage, "events", "read"],
  [/^\/jobs$/, jobs, "jobs", "read"],
  [/^\/jobs\/rematch$/, rematchPage, "jobs", "admin"],
  [/^\/jobs\/([^/]+)$/, jobPage, "jobs", "read"],
  [/^\/audit$/, audit, "audit", "admin"],
];

const app = document.getElementById("app");
let leaving = new AbortController();
let isFirst = true;
let main = null;

function path() {
  return location.hash
    .replace(/^#\/?/, "/")
    .split("?")[0]
    .replace(/^\/?$/, may("read") ? "/webhooks" : "/events/new");
}

// The query behind the path, as `#/audit?webhook=…`.
function query() {
  return new URLSearchParams(location.hash.split("?")[1] ?? "");
}

function unauthorized() {
  if (!session.api) return;
  leave("The key is not valid any more. Sign in with another one.");
}

function leave(why) {
  leaving.abort();
  signOut();
  forget();
  closeDialogs();
  welcome(why);
}

// Who goes by himself begins anew; who is sent away by a key that ended comes back to the same page.
function signedOut() {
  history.replaceState(null, "", location.pathname);
  put(document.getElementById("toasts"));
  leave("You are signed out.");
}

function welcome(why) {
  main = null;
  document.title = "Sign in · Hookwheel";
  put(app, signInPage(why, unauthorized, begin));
  app.querySelector("input")?.focus();
}

function begin() {
  put(app, frame());
  main = document.getElementById("main");
  isFirst = true;
  route();
}

async function route() {
  if (!session.api || !main) return;
  leaving.abort();
  leaving = new AbortController();
  closeDialogs();
  const where = path();
  const found = ROUTES.map(([pattern, page, tab, scope]) => [pattern.exec(where), page, tab, scope]).find(
    ([match]) => match,
  );
  const [match, page, tab, scope] = found ?? [null, null, "", null];
  for (const link of document.querySelectorAll(".tabs-main a")) {
    if (link.dataset.tab === tab) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const { signal } = leaving;
  scrollTo(0, 0);
  const title = (text) => {
    document.title = `${text} · Hookwheel`;
  };
  if (!page) {
    title("Not found");
    put(
      main,
      h("h1", { tabindex: "-1" }, "There is no page here"),
      h("p", null, h("a", { href: "#/" }, "To the first page")),
    );
  } else if (!may(scope)) {
    title("Not allowed");
    put(
      main,
      h("h1", { tabindex: "-1" }, "This key may not look here"),
      h("p", null, `It takes a key with the scope “${scope}”. Sign out, and sign in with another one.`),
    );
  } else {
    put(main, h("p", { class: "loading" }, "Loading…"));
    try {
      await page({ main, params: decoded(match), query: query(), signal, title, reload: route });
    } catch (problem) {
      if (signal.aborted) return;
      fault(problem);
    }
  }
  if (signal.aborted) return;
  if (!isFirst) main.querySelector("h1")?.focus({ preventScroll: true });
  isFirst = false;
}

function decoded(match) {
  return match.slice(1).map((part) => {
    try {
      return part === undefined ? undefined : decodeURIComponent(part);
    } catch {
      return part;
    }
  });
}

function fault(problem) {
  const isGone = problem.status === 404;
  document.title = `${isGone ? "Not found" : "Trouble"} · Hookwheel`;
  if (problem.status === undefined) console.error(problem);
  put(
    main,
    h("h1", { tabindex: "-1" }, isGone ? "Not found" : "This could not be shown"),
    problemBox(problem, isGone ? null : route),
    h("p", null, h("a", { href: "#/webhooks" }, "To the webhooks")),
  );
}

function frame() {
  const tabs = [
    ["webhooks", "Webhooks", "read"],
    ["events", "Events", "read"],
    ["jobs", "Jobs", "read"],
    ["audit", "Audit", "admin"],
  ];
  const links = tabs
    .filter(([, , scope]) => may(scope))
    .map(([tab, words]) => h("a", { href: `#/${tab}`, "data-tab": tab }, words));
  if (!may("read")) links.push(h("a", { href: "#/events/new", "data-tab": "events" }, "Post an event"));
  const health = h(
    "span",
    { class: "health", role: "status" },
    h("span", { class: "dot" }),
    h("span", { class: "health-text" }, "…"),
  );
  const trouble = h("div", { id: "trouble", role: "alert" });
  watchOnce(health, trouble);
  const live = h("span", { class: "standing" });
  const words = { live: "Live", polling: "Every 5 s", waiting: "Reconnecting", off: "" };
  const titles = {
    live: "News is shown as it comes",
    polling: "This server has no live stream; it is asked every five seconds",
    waiting: "The live stream broke off and is tried again",
    off: "",
  };
  onStanding((word) => {
    live.className = `standing ${word}`;
    live.title = titles[word];
    put(live, words[word] && h("span", { class: "dot" }), words[word]);
  });
  const scopes = [...session.scopes].join(", ") || "none";
  const profile =
    session.profile && h("span", { class: "tag", title: "The profile of this account" }, session.profile.name);
  return [
    h(
      "header",
      { class: "top" },
      h(
        "div",
        { class: "top-row" },
        h(
          "a",
          { class: "brand", href: "#/" },
          h("img", { src: "/ui/icon.svg", alt: "", width: "22", height: "22" }),
          "Hookwheel",
        ),
        h("nav", { class: "tabs-main", "aria-label": "Main" }, links),
        h(
          "div",
          { class: "top-end" },
          h("a", { class: "top-link", href: "/ui/api.html" }, "API"),
          live,
          health,
          profile,
          schemeSwitch(),
          h(
            "button",
            {
              type: "button",
              class: "plain",
              title: "Keyboard and version",
              "aria-label": "Keyboard and version",
              onclick: about,
            },
            h("kbd", null, "?"),
          ),
          h(
            "button",
            { type: "button", class: "small", title: `Scopes of this key: ${scopes}`, onclick: signedOut },
            "Sign out",
          ),
        ),
      ),
    ),
    trouble,
    h("main", { id: "main", tabindex: "-1" }),
  ];
}

let tellHealth = null;

// One watch for the page's life; it speaks to the frame that is there.
function watchOnce(health, trouble) {
  const isWatched = tellHealth !== null;
  tellHealth = ({ state, text }) => {
    health.className = `health ${state}`;
    const words = { ready: "Ready", troubled: "Troubled", away: "Away" }[state];
    if (health.lastChild.textContent !== words) health.lastChild.textContent = words;
    health.title = text;
    put(
      trouble,
      state !== "ready" &&
        h(
          "div",
          { class: "banner bad flat" },
          icon("warn"),
          h(
            "div",
            null,
            h("p", { class: "strong" }, state === "away" ? "The server does not answer." : "The server is not ready."),
            state === "troubled" && h("p", null, text),
          ),
        ),
    );
  };
  if (!isWatched) watchHealth((said) => tellHealth(said));
}

function about() {
  const keys = [
    ["/", "To the filter of the page"],
    ["↑ ↓", "From row to row"],
    ["Enter", "Open the row"],
    ["Esc", "Close what is open"],
    ["?", "This list"],
  ];
  const place = h("dd", null, "…");
  version().then((text) => put(place, text ?? "not told by this server"));
  dialog("Keyboard and version", [
    h(
      "dl",
      { class: "facts" },
      keys.map(([key, words]) => h("div", null, h("dt", null, h("kbd", null, key)), h("dd", null, words))),
    ),
    h(
      "dl",
      { class: "facts" },
      h("div", null, h("dt", null, "Version"), place),
      h("div", null, h("dt", null, "Scopes of this key"), h("dd", null, [...session.scopes].join(", ") || "none")),
    ),
  ]);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, dialog"))
    return;
  if (event.key === "/") {
    const filter = main?.querySelector("[data-filter]");
    if (!filter) return;
    event.preventDefault();
    filter.focus();
    filter.select?.();
  }
  if (event.key === "?" && main) {
    event.preventDefault();
    about();
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target) || event.target.closest(".menu-items button, .menu-items a")) menu.open = false;
  }
});

// The link would change the page's own address.
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  (main ?? app.querySelector("main"))?.focus();
});

addEventListener("hashchange", route);
addEventListener("pagehide", stop);
addEventListener("unhandledrejection", (event) => {
  if (event.reason?.name === "AbortError") return event.preventDefault();
  if (event.reason?.status === undefined) return undefined;
  event.preventDefault();
  return toast(event.reason.message, "error");
});

try {
  if (await resume(unauthorized)) begin();
  else welcome(null);
} catch (problem) {
  if (problem.status === 401) {
    signOut();
    welcome("The key is not valid any more. Sign in with another one.");
  } else {
    add(
      put(app),
      h(
        "main",
        { class: "alone" },
        h("h1", null, "Not signed in yet"),
        problemBox(problem, () => location.reload()),
      ),
    );
  }
}
