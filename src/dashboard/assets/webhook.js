// One webhook: its deliveries, its figures, what its receiver is promised, and what can be done to it.

import { at, withQuery } from "./api.js";
import { busy, copyButton, h, icon, put, toast } from "./dom.js";
import { absolute, count, fieldTime, milliseconds, plural, when } from "./format.js";
import { auditTable } from "./audit.js";
import { every, paced, subscribe } from "./live.js";
import { declaredBanner, isWithdrawn, whyNotHere } from "./declared.js";
import { discardDialog, removeDialog, testDialog } from "./actions.js";
import { contractParts, figuresParts } from "./contract.js";
import { replayDialog } from "./replay.js";
import { secretDialog } from "./secret.js";
import { may, session } from "./session.js";
import { verifierParts } from "./verifier.js";
import {
  badge,
  banner,
  empty,
  field,
  guarded,
  inactiveWords,
  outcomeBadge,
  problemBox,
  select,
  sentence,
  suggestions,
  table,
  webhookBadge,
  webhookName,
  webhookState,
} from "./widgets.js";

const STATES = ["waiting", "held", "delivered", "failed", "cancelled", "dropped", "expired"];
const PAGE_ROWS = 50;
const HELD_EVERY_MS = 4000;

export async function webhookPage(context) {
  const { main, params, signal, title, reload } = context;
  const [id, tab = "deliveries"] = params;
  let webhook = await session.api.get(at("webhooks", id), signal);
  title(webhookName(webhook));
  const head = h("div");
  const body = h("section", { "aria-label": tab });
  const tabs = [
    ["deliveries", "Deliveries", ""],
    ["figures", "Figures", "/figures"],
    ["settings", "Contract and settings", "/settings"],
    ["verify", "Verify", "/verify"],
  ];
  if (may("admin")) tabs.push(["audit", "Audit", "/audit"]);
  const links = tabs.map(([own, words, path]) =>
    h("a", { href: `#/webhooks/${id}${path}`, "aria-current": own === tab ? "page" : null }, words),
  );
  const draw = () => put(head, heading(webhook, refresh), banners(webhook, refresh));
  async function refresh(changed) {
    webhook = changed ?? (await session.api.get(at("webhooks", id), signal));
    if (signal.aborted) return;
    draw();
    if (tab === "settings") put(body, contractParts(webhook));
  }
  draw();
  put(
    main,
    h("p", { class: "crumbs" }, h("a", { href: "#/webhooks" }, "Webhooks"), " / ", webhookName(webhook)),
    head,
    h("nav", { class: "tabs", "aria-label": "Of this webhook" }, links),
    body,
  );
  const parts = {
    deliveries: () => deliveries(webhook, body, signal),
    figures: () => figures(webhook, body, signal),
    settings: () => put(body, contractParts(webhook)),
    verify: async () => put(body, await verifierParts(webhook, signal)),
    audit: () => auditTable(body, { webhook: id }, signal),
  };
  const look = await parts[tab]();
  // What comes for it while it is held makes no news.
  if (tab === "deliveries") every(HELD_EVERY_MS, () => (!webhook.active || webhook.held) && look(), signal);
  const again = paced(async () => {
    try {
      await refresh();
    } catch (problem) {
      if (problem.status === 404) reload();
      else throw problem;
    }
  }, signal);
  subscribe((event, data) => {
    if (event === "webhook" && data.webhook_id === id) {
      if (data.change === "removed") {
        toast("This webhook was removed");
        location.hash = "#/webhooks";
      } else {
        again();
      }
    }
    if (["hello", "poll", "missed"].includes(event)) again();
  }, signal);
}

function heading(webhook, refresh) {
  const active = webhook.active;
  const byConfig = whyNotHere(webhook);
  const withdrawn = isWithdrawn(webhook);
  const button = (words, scope, act, props = {}, forbidden = null) => {
    const own = h("button", { type: "button", ...props }, words);
    own.addEventListener("click", () => act(own));
    return guarded(own, scope, forbidden);
  };
  const item = (words, act, isShown = true, forbidden = null) =>
    isShown && button(words, "admin", act, { class: "plain" }, forbidden);
  const menu = h(
    "details",
    { class: "menu" },
    h("summary", { class: "button", "aria-label": "More" }, icon("more"), "More"),
    h(
      "div",
      { class: "menu-items" },
      item("Replay deliveries…", () => replayDialog(webhook)),
      item("Replace the secret…", () => secretDialog(webhook, refresh), webhook.signed, byConfig),
      item(
        "Discard what is held…",
        () => discardDialog(webhook),
        webhookState(webhook) === "disabled" || Boolean(webhook.held),
      ),
      item("Copy as a new webhook", () => {
        location.hash = `#/webhooks/new?like=${webhook.id}`;
      }),
      item("Remove…", () => removeDialog(webhook), true, withdrawn ? null : byConfig),
    ),
  );
  return h(
    "div",
    { class: "page-head" },
    h(
      "div",
      { class: "grow" },
      h("h1", { tabindex: "-1" }, webhookName(webhook), " ", webhookBadge(webhook)),
      h(
        "p",
        { class: "url-line" },
        h("code", null, webhook.url),
        copyButton(webhook.url, "Copy", { "aria-label": "Copy the URL", class: "small plain" }),
      ),
      h("p", { class: "muted small-text" }, h("code", null, webhook.id), " · registered ", when(webhook.created_at)),
      webhook.description && h("p", { class: "description" }, webhook.description),
    ),
    h(
      "div",
      { class: "actions" },
      button([icon("send"), "Send test"], "admin", (own) => testDialog(webhook, own)),
      button(
        "Edit",
        "admin",
        () => {
          location.hash = `#/webhooks/${webhook.id}/edit`;
        },
        {},
        byConfig,
      ),
      button(
        active ? "Disable" : "Enable",
        "admin",
        (own) => turn(webhook, own, refresh),
        { class: active ? null : "primary" },
        withdrawn ? byConfig : null,
      ),
      menu,
    ),
  );
}

function turn(webhook, button, refresh) {
  return busy(button, async () => {
    try {
      const changed = await session.api.patch(at("webhooks", webhook.id), { active: !webhook.active });
      toast(changed.active ? "Enabled: what was held flows now" : "Disabled: what comes from now on is held", "good");
      await refresh(changed);
    } catch (problem) {
      toast(sentence(problem.message), "error");
    }
  });
}

function banners(webhook, refresh) {
  const { inactive, failing, held, secret_rotation: rotation } = webhook;
  const shown = [declaredBanner(webhook)];
  if (inactive) {
    const [why, what] = inactiveWords(inactive.reason);
    const probe = inactive.next_probe_at && [
      " It is tried out with the oldest held delivery ",
      when(inactive.next_probe_at),
      ", and enabled when that arrives.",
    ];
    shown.push(
      banner(
        "bad",
        "off",
        ["Disabled since ", when(inactive.since), `: ${why}`],
        ["What comes is held, not lost. ", what, probe],
      ),
    );
  } else if (held) {
    shown.push(
      banner("warn", "pause", "Held for the config", [
        sentence(held),
        " What comes is held, not lost. Change the webhook, or have the operator put back into the config what it names.",
      ]),
    );
  } else if (failing) {
    shown.push(
      banner(
        "warn",
        "warn",
        ["Every attempt has failed since ", when(failing.since), "."],
        failing.disables_at ? ["If that goes on, it is disabled ", when(failing.disables_at), "."] : null,
      ),
    );
  }
  if (rotation?.staged) {
    shown.push(
      banner(
        "info",
        "clock",
        "A new secret is staged.",
        "The old one signs until you promote it.",
        guardedButton("Promote or drop it…", () => secretDialog(webhook, refresh), whyNotHere(webhook)),
      ),
    );
  } else if (rotation?.old_until) {
    shown.push(
      banner(
        "info",
        "clock",
        [
          "The secret was replaced; the old one is kept until ",
          h("time", { datetime: rotation.old_until }, absolute(rotation.old_until)),
          ".",
        ],
        null,
      ),
    );
  }
  return shown;
}

const guardedButton = (words, act, forbidden) =>
  guarded(h("button", { type: "button", onclick: act }, words), "admin", forbidden);

async function figures(webhook, body, signal) {
  const look = async () => put(body, figuresParts(await session.api.get(at("webhooks", webhook.id, "stats"), signal)));
  await look();
  const again = paced(look, signal);
  subscribe((event, data) => {
    if (!data?.webhook_id || data.webhook_id === webhook.id) again();
  }, signal);
}

async function deliveries(webhook, body, signal) {
  const asked = { state: "", type: "", since: "", until: "" };
  const view = { rows: [], next: null, cursors: [], seen: new Map(), fresh: new Set(), isFirst: true };
  const list = h("div");
  const told = h("p", { class: "muted small-text", role: "status" });
  const path = () =>
    withQuery(at("webhooks", webhook.id, "deliveries"), {
      limit: PAGE_ROWS,
      state: asked.state,
      type: asked.type,
      since: fieldTime(asked.since),
      until: fieldTime(asked.until),
      cursor: view.cursors.at(-1),
    });
  const look = async () => {
    const page = await session.api.get(path(), signal);
    view.rows = page.data;
    view.next = page.next_cursor;
    view.fresh = new Set();
    for (const row of page.data) {
      const mark = `${row.state}/${row.attempts}`;
      if (!view.isFirst && view.seen.get(row.event_id) !== mark) view.fresh.add(row.event_id);
      view.seen.set(row.event_id, mark);
    }
    view.isFirst = false;
    draw();
  };
  const again = () => {
    Object.assign(view, { cursors: [], seen: new Map(), isFirst: true });
    return look().catch((problem) => !signal.aborted && put(list, problemBox(problem, again)));
  };
  const turnTo = async (cursors) => {
    Object.assign(view, { cursors, seen: new Map(), isFirst: true });
    await look();
    list.querySelector("a[data-row]")?.focus();
  };
  function draw() {
    const isAsked = Object.values(asked).some(Boolean);
    put(
      told,
      isAsked &&
        `${plural(view.rows.length, "delivery", "deliveries")} on this page${view.next ? ", and there may be more" : ""}`,
    );
    if (view.rows.length === 0 && view.cursors.length === 0 && !view.next) {
      return put(
        list,
        isAsked
          ? empty("No delivery fits the filter")
          : empty(
              "No delivery yet",
              h(
                "p",
                null,
                "What is posted from now on, and wanted by this webhook, appears here as it happens. “Send test” shows at once whether its receiver answers.",
              ),
            ),
      );
    }
    return put(
      list,
      deliveryTable(webhook, view),
      h(
        "div",
        { class: "pager" },
        h(
          "button",
          { type: "button", disabled: view.cursors.length === 0, onclick: () => turnTo(view.cursors.slice(0, -1)) },
          icon("back"),
          "Newer",
        ),
        h(
          "button",
          { type: "button", disabled: !view.next, onclick: () => turnTo([...view.cursors, view.next]) },
          "Older",
          icon("next"),
        ),
      ),
    );
  }
  put(body, filters(asked, again), told, list);
  await look();
  const news = paced(look, signal);
  subscribe((event, data) => {
    // Who looks at an older page looks at what does not move.
    if (view.cursors.length === 0 && (!data?.webhook_id || data.webhook_id === webhook.id)) news();
  }, signal);
  return () => view.cursors.length === 0 && news();
}

function filters(asked, again) {
  const types = session.profile?.event_types ?? [];
  const set = (name) => (event) => {
    asked[name] = event.target.value.trim();
    again();
  };
  const part = (label, input) => field({ label, input });
  return h(
    "form",
    { class: "filters", onsubmit: (event) => event.preventDefault(), "aria-label": "Filter deliveries" },
    part(
      "State",
      select([["", "Any state"], ...STATES.map((state) => [state, state])], asked.state, {
        onchange: set("state"),
        "data-filter": true,
      }),
    ),
    part(
      "Event type",
      h("input", { type: "text", list: "types-known", placeholder: "any", autocomplete: "off", onchange: set("type") }),
    ),
    part("Created from", h("input", { type: "datetime-local", step: "1", onchange: set("since") })),
    part("Created until", h("input", { type: "datetime-local", step: "1", onchange: set("until") })),
    suggestions("types-known", types),
  );
}

function deliveryTable(webhook, view) {
  const columns = [
    { name: "Event", class: "wide" },
    { name: "State" },
    { name: "Last answer" },
    { name: "Took", class: "number" },
    { name: "Attempts", class: "number" },
    { name: "Created", class: "nowrap" },
    { name: "Next attempt", class: "nowrap" },
  ];
  const rows = view.rows.map((row) => ({
    key: row.event_id,
    href: `#/webhooks/${webhook.id}/deliveries/${encodeURIComponent(row.event_id)}`,
    cells: [
      h(
        "span",
        { class: "two-lines" },
        h("span", { class: "name" }, row.type),
        h("span", { class: "sub mono" }, row.event_id),
      ),
      h(
        "span",
        { class: "two-lines" },
        badge(row.state),
        row.reason && row.reason !== row.state && h("span", { class: "sub" }, row.reason.replaceAll("_", " ")),
      ),
      outcomeBadge(row.last_attempt?.outcome, row.last_attempt?.status, row.state === "delivered" ? true : undefined),
      row.last_attempt ? milliseconds(row.last_attempt.response_time_ms) : "–",
      count(row.attempts),
      when(row.created_at),
      when(row.next_attempt_at),
    ],
  }));
  return table({ caption: "Deliveries, newest first", columns, rows, isFresh: (key) => view.fresh.has(key) });
}
