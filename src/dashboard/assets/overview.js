// All webhooks: how they stand, how the last day went, what waits.

import { copyButton, h, icon, put } from "./dom.js";
import { count, percent, plural, short, when } from "./format.js";
import { at } from "./api.js";
import { isWithdrawn, undone, undoneBanner } from "./declared.js";
import { paced, subscribe } from "./live.js";
import { may, session } from "./session.js";
import {
  choice,
  empty,
  guarded,
  ratioText,
  strip,
  table,
  tile,
  urlText,
  webhookBadge,
  webhookState,
} from "./widgets.js";

// Beyond that a list is no list any more; more are loaded on request.
const ROWS_STEP = 1000;

export async function overview({ main, signal, title }) {
  title("Webhooks");
  const state = {
    webhooks: [],
    figures: new Map(),
    undone: [],
    account: null,
    more: false,
    max: ROWS_STEP,
    text: "",
    only: "all",
  };
  const place = {
    undone: h("div"),
    tiles: h("dl", { class: "tiles" }),
    list: h("div"),
    told: h("p", { class: "muted small-text", role: "status" }),
    choice: h("div"),
  };
  const filter = h("input", {
    type: "search",
    placeholder: "Filter by name, URL, event type or id",
    "aria-label": "Filter webhooks",
    "data-filter": true,
    autocomplete: "off",
    oninput: () => {
      state.text = filter.value.trim().toLowerCase();
      draw(state, place);
    },
  });
  await load(state, signal);
  const create = guarded(
    h(
      "button",
      {
        type: "button",
        class: "primary",
        onclick: () => {
          location.hash = "#/webhooks/new";
        },
      },
      icon("plus"),
      "New webhook",
    ),
    "admin",
  );
  put(
    main,
    h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, "Webhooks"), create),
    place.undone,
    place.tiles,
    state.webhooks.length > 0 &&
      h(
        "div",
        { class: "toolbar" },
        h("div", { class: "search" }, icon("search"), filter, h("kbd", null, "/")),
        place.choice,
      ),
    place.told,
    place.list,
  );
  place.reload = async () => {
    await load(state, signal);
    draw(state, place);
  };
  draw(state, place);
  // Whether a webhook may have changed since the last look, and not its figures only.
  let isChanged = false;
  const look = paced(
    async () => {
      const hadNone = state.webhooks.length === 0;
      const what = isChanged ? "all" : "figures";
      isChanged = false;
      await load(state, signal, what);
      if (signal.aborted) return;
      if (hadNone && state.webhooks.length > 0) dispatchEvent(new HashChangeEvent("hashchange"));
      else draw(state, place);
    },
    signal,
    6000,
  );
  subscribe((event) => {
    isChanged ||= event !== "attempt" && event !== "ended";
    look();
  }, signal);
}

async function load(state, signal, what = "all") {
  const { api } = session;
  const isAll = what === "all";
  const [webhooks, account, open] = await Promise.all([
    isAll ? api.all(at("webhooks"), state.max, signal) : { rows: state.webhooks, more: state.more },
    api.get(at("stats"), signal),
    // No news tells of it: what is open is looked at until it is done.
    isAll || state.undone.length > 0 ? undone(signal) : [],
  ]);
  state.undone = open;
  state.webhooks = webhooks.rows;
  state.more = webhooks.more;
  state.account = account;
  const figures = await api.all(at("stats", "webhooks"), state.max, signal);
  for (const row of figures.rows) state.figures.set(row.webhook_id, row);
}

const words = (webhook) =>
  [webhook.name, webhook.url, webhook.id, webhook.description, ...(webhook.events ?? [])].join(" ").toLowerCase();

function draw(state, place) {
  const { webhooks, account } = state;
  const day = account.last_day;
  // Drawn anew only where it has changed, as it is read out.
  const open = JSON.stringify(state.undone);
  if (place.undone.dataset.open !== open) {
    place.undone.dataset.open = open;
    put(place.undone, undoneBanner(state.undone));
  }
  put(
    place.tiles,
    tile(
      "Delivered, 24 h",
      short(day.delivered),
      day.failed + day.dropped + day.expired > 0 ? `${short(day.failed + day.dropped + day.expired)} not` : "none lost",
    ),
    tile(
      "Attempts that succeed",
      percent(day.attempts_success_ratio),
      day.attempts > 0 ? `of ${short(day.attempts)}` : "none made yet",
    ),
    tile(
      "Waiting",
      short(account.now.waiting),
      account.now.next_attempt_at ? ["next ", when(account.now.next_attempt_at)] : "nothing due",
    ),
    tile(
      "Held",
      short(account.now.held),
      account.webhooks.disabled > 0 ? `${count(account.webhooks.disabled)} disabled` : "none disabled",
    ),
    tile("Under way", short(account.now.in_flight), "now"),
  );
  if (webhooks.length === 0) return put(place.list, nothingYet());
  const counts = { all: webhooks.length };
  for (const webhook of webhooks) counts[webhookState(webhook)] = (counts[webhookState(webhook)] ?? 0) + 1;
  const choices = [
    ["all", "All"],
    ["active", "Active"],
    ["failing", "Failing"],
    ["disabled", "Disabled"],
    ["held", "Held"],
  ].filter(([own]) => own === "all" || counts[own] || own === state.only);
  // Drawn anew only where a count has changed, so that who is in it stays in it.
  const key = JSON.stringify([choices, counts]);
  if (place.choice.dataset.counts !== key) {
    place.choice.dataset.counts = key;
    const isWithin = place.choice.contains(document.activeElement);
    put(
      place.choice,
      choice(
        "only",
        "State",
        choices.map(([own, text]) => [own, `${text} ${counts[own] ?? 0}`]),
        state.only,
        (own) => {
          state.only = own;
          draw(state, place);
        },
      ),
    );
    if (isWithin) place.choice.querySelector("input:checked")?.focus();
  }
  const shown = webhooks.filter(
    (webhook) => (state.only === "all" || webhookState(webhook) === state.only) && words(webhook).includes(state.text),
  );
  const isFiltered = state.text !== "" || state.only !== "all";
  put(
    place.told,
    isFiltered && `${plural(shown.length, "webhook")} of ${count(webhooks.length)}`,
    state.more && ` (there are more than the ${count(webhooks.length)} loaded)`,
  );
  if (shown.length === 0)
    return put(
      place.list,
      empty("No webhook fits the filter", h("p", null, "Change it, or press Esc in it to empty it.")),
    );
  const columns = [
    { name: "Webhook", class: "wide" },
    { name: "State" },
    { name: "Last 24 hours", class: "strip-cell" },
    { name: "Success", class: "number" },
    { name: "Waiting", class: "number" },
    { name: "Next attempt", class: "nowrap" },
    { name: "Last success", class: "nowrap seldom" },
  ];
  return put(
    place.list,
    table({ caption: "Webhooks", columns, rows: shown.map((webhook) => row(webhook, state.figures.get(webhook.id))) }),
    state.more &&
      h(
        "p",
        { class: "pager" },
        h(
          "button",
          {
            type: "button",
            onclick: async () => {
              state.max += ROWS_STEP;
              await place.reload();
            },
          },
          "Load more",
        ),
      ),
  );
}

function row(webhook, figures) {
  const day = figures?.last_day;
  const waits = figures
    ? figures.held > 0
      ? h("span", { title: "held until it is active again" }, `${short(figures.held)} held`)
      : short(figures.waiting)
    : "–";
  return {
    key: webhook.id,
    href: `#/webhooks/${webhook.id}`,
    cells: [
      h(
        "span",
        { class: "two-lines" },
        h(
          "span",
          { class: "name" },
          webhook.name || urlText(webhook.url),
          webhook.declared &&
            !isWithdrawn(webhook) &&
            h("span", { class: "tag", title: `Declared in the config as ${webhook.declared}` }, "config"),
        ),
        h("span", { class: "sub" }, webhook.name ? urlText(webhook.url) : typesText(webhook)),
      ),
      h("span", { class: "two-lines" }, webhookBadge(webhook), stateNote(webhook)),
      figures?.hours
        ? strip(figures.hours)
        : day
          ? h("span", { class: "muted" }, plural(day.attempts, "attempt"))
          : h("span", { class: "muted" }, "–"),
      day ? ratioText(day.succeeded, day.attempts) : "–",
      waits,
      webhook.active ? when(nextAttempt(figures)) : probeText(webhook),
      when(figures?.last_success_at),
    ],
  };
}

const typesText = (webhook) => (webhook.events?.length ? webhook.events.join(", ") : "every event type");

// What is due waits for the end of a pause.
function nextAttempt(figures) {
  const { next_attempt_at: next, paused_until: paused } = figures ?? {};
  return next && paused && Date.parse(paused) > Date.parse(next) ? paused : next;
}

const probeText = (webhook) =>
  webhook.inactive?.next_probe_at ? ["probe ", when(webhook.inactive.next_probe_at)] : when(null);

// The API's own words, but where one says little by itself.
const REASONS = { request: "on request", undeclared: "not in the config" };

function stateNote(webhook) {
  if (webhook.inactive)
    return h(
      "span",
      { class: "sub" },
      `${REASONS[webhook.inactive.reason] ?? webhook.inactive.reason}, `,
      when(webhook.inactive.since),
    );
  if (webhook.held) return h("span", { class: "sub" }, "by the config");
  if (webhook.failing) return h("span", { class: "sub" }, "since ", when(webhook.failing.since));
  return null;
}

function nothingYet() {
  const origin = location.origin;
  const type = session.profile?.event_types[0] ?? "user.created";
  const register = `curl -sS ${origin}/api/v1/webhooks -H "X-API-Key: $(cat backend.key)" -d '${JSON.stringify({ url: "https://example.com/hook", events: [type] })}'`;
  const command = "hookwheel webhook add https://example.com/hook";
  const post = `curl -sS ${origin}/api/v1/events -H "X-API-Key: $(cat backend.key)" -d '${JSON.stringify({ type, data: { id: 7 } })}'`;
  const step = (words, text) => [
    h("h3", null, words),
    h("div", { class: "command" }, h("pre", { class: "code", tabindex: "0" }, h("code", null, text)), copyButton(text)),
  ];
  return empty(
    "No webhook yet",
    h("p", null, "A webhook is a place that events are sent to. Register one here, or from a shell:"),
    may("admin") &&
      h("p", null, h("a", { class: "button primary", href: "#/webhooks/new" }, icon("plus"), "New webhook")),
    h(
      "div",
      { class: "steps" },
      step("On the command line", command),
      step("Or by the API", register),
      step("Then post an event", post),
      step("No receiver at hand? This one shows what comes", "hookwheel listen"),
    ),
  );
}
