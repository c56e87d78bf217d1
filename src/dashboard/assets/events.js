// Events: what was posted, where each delivery stands, why a webhook did not want one, and posting one by hand.

import { at, withQuery } from "./api.js";
import { busy, copyButton, h, icon, put, toast } from "./dom.js";
import { exact, plural, when } from "./format.js";
import { bodyBox } from "./attempt.js";
import { exampleEvent } from "./filter.js";
import { member } from "./json.js";
import { paced, subscribe } from "./live.js";
import { may, session } from "./session.js";
import {
  badge,
  banner,
  empty,
  errorSummary,
  facts,
  field,
  guarded,
  showErrors,
  suggestions,
  table,
} from "./widgets.js";

const PAGE_ROWS = 50;

export async function events({ main, signal, title }) {
  title("Events");
  const view = { rows: [], next: null, cursors: [] };
  const list = h("div");
  const look = async () => {
    const page = await session.api.get(
      withQuery(at("events"), { limit: PAGE_ROWS, cursor: view.cursors.at(-1) }),
      signal,
    );
    view.rows = page.data;
    view.next = page.next_cursor;
    draw();
  };
  const turnTo = async (cursors) => {
    view.cursors = cursors;
    await look();
    list.querySelector("a[data-row]")?.focus();
  };
  function draw() {
    if (view.rows.length === 0 && view.cursors.length === 0)
      return put(list, empty("No event yet", h("p", null, "What your product posts appears here.")));
    const columns = [
      { name: "Event", class: "wide" },
      { name: "Id" },
      { name: "Received", class: "nowrap" },
      { name: "Created", class: "nowrap" },
    ];
    const rows = view.rows.map((event) => ({
      key: event.id,
      href: `#/events/${encodeURIComponent(event.id)}`,
      cells: [
        h("span", { class: "name" }, event.type),
        h("code", { class: "break" }, event.id),
        when(event.received_at),
        exact(event.created_at),
      ],
    }));
    return put(
      list,
      table({ caption: "Events, newest first", columns, rows }),
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
  const id = h("input", {
    type: "search",
    placeholder: "Open an event by its id",
    "aria-label": "Event id",
    "data-filter": true,
    autocomplete: "off",
    spellcheck: "false",
  });
  const open = h(
    "form",
    {
      class: "search",
      onsubmit: (event) => {
        event.preventDefault();
        if (id.value.trim()) location.hash = `#/events/${encodeURIComponent(id.value.trim())}`;
      },
    },
    icon("search"),
    id,
    h("kbd", null, "/"),
  );
  const post = guarded(
    h(
      "button",
      {
        type: "button",
        class: "primary",
        onclick: () => {
          location.hash = "#/events/new";
        },
      },
      icon("send"),
      "Post an event",
    ),
    "send",
  );
  await look();
  put(
    main,
    h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, "Events"), post),
    h("div", { class: "toolbar" }, open),
    list,
  );
  const again = paced(look, signal);
  subscribe(() => view.cursors.length === 0 && again(), signal);
}

export async function eventPage({ main, params, signal, title }) {
  const [id] = params;
  const read = () => session.api.whole("GET", at("events", id), { signal });
  const first = await read();
  const event = first.value;
  title(event.type);
  const scope = session.profile?.scope_field;
  const explained = h("section", { class: "section", "aria-labelledby": "explain-title" });
  const metadata = member(first.text, "metadata");
  put(
    main,
    h("p", { class: "crumbs" }, h("a", { href: "#/events" }, "Events"), " / ", h("span", { class: "break" }, event.id)),
    h(
      "div",
      { class: "page-head" },
      h(
        "div",
        { class: "grow" },
        h("h1", { tabindex: "-1" }, event.type),
        facts([
          ["Id", h("code", { class: "break" }, event.id)],
          ["Created", exact(event.created_at)],
          ["Received", exact(event.received_at)],
          scope && [scope, event[scope]],
          event.trace && [
            "Trace",
            h(
              "span",
              { class: "with-copy" },
              h("code", { class: "break", title: event.trace.traceparent }, event.trace.trace_id),
              copyButton(event.trace.trace_id, "Copy", { "aria-label": "Copy the trace's id", class: "small plain" }),
            ),
          ],
        ]),
      ),
      h(
        "div",
        { class: "actions" },
        guarded(
          h("a", { class: "button", href: `#/events/new?like=${encodeURIComponent(event.id)}` }, "Post one like it"),
          "send",
        ),
      ),
    ),
    event.warning && banner("warn", "warn", "A warning from when it was posted", event.warning),
    explained,
    h(
      "section",
      { class: "card", "aria-labelledby": "data-title" },
      h("h2", { id: "data-title" }, "Data"),
      bodyBox(member(first.text, "data") ?? "null", "Data"),
    ),
    metadata &&
      metadata !== "null" &&
      h(
        "section",
        { class: "card", "aria-labelledby": "metadata-title" },
        h("h2", { id: "metadata-title" }, "Metadata"),
        bodyBox(metadata, "Metadata"),
      ),
  );
  const look = async () => put(explained, await explanation(id, signal));
  await look();
  const again = paced(look, signal);
  subscribe((kind, data) => {
    if (!data?.event_id || data.event_id === id) again();
  }, signal);
}

// What became of it for each webhook, and why.
async function explanation(id, signal) {
  const told = await session.api.get(`${at("events", id)}/explain`, signal);
  const columns = [
    { name: "Webhook", class: "wide" },
    { name: "Verdict" },
    { name: "Why", class: "why" },
    { name: "Attempts", class: "number" },
  ];
  const rows = told.webhooks.map((row) => {
    const hasDelivery = !["not_wanted", "not_registered_then", "would_match_today"].includes(row.verdict);
    const known = row.url !== null;
    return {
      key: row.webhook_id,
      href: known
        ? hasDelivery
          ? `#/webhooks/${row.webhook_id}/deliveries/${encodeURIComponent(id)}`
          : `#/webhooks/${row.webhook_id}`
        : null,
      cells: [
        row.name ?? row.url ?? `removed (${row.webhook_id})`,
        badge(row.verdict),
        row.reason,
        row.attempts || "–",
      ],
    };
  });
  return [
    h("h2", { id: "explain-title" }, "What became of it"),
    h(
      "p",
      { class: "hint" },
      `${plural(told.deliveries, "webhook")} had it sent. Of the others it is said why not, by their rules of today.`,
    ),
    told.detail && h("p", null, told.detail),
    rows.length > 0 && table({ caption: "What became of it for each webhook", columns, rows }),
  ];
}

export async function newEvent({ main, query, signal, title }) {
  title("Post an event");
  const like = query.get("like");
  const example = exampleEvent();
  let { type } = example;
  let data = JSON.stringify(example.data, null, 2);
  if (like && may("read")) {
    const found = await session.api.whole("GET", at("events", like), { signal });
    type = found.value.type;
    data = member(found.text, "data") ?? data;
  }
  const scope = session.profile?.scope_field;
  const line = (value, props) =>
    h("input", { type: "text", value, autocomplete: "off", spellcheck: "false", ...props });
  const typeInput = line(type, { list: "types-to-post", required: true });
  const dataInput = h("textarea", { rows: "12", class: "mono", spellcheck: "false", value: data });
  const idInput = line("", { placeholder: "made for you" });
  const scopeInput = line("");
  const button = h("button", { type: "submit", class: "primary" }, icon("send"), "Post it");
  const told = h("div", { role: "status" });
  const element = h(
    "form",
    { class: "form card", novalidate: true, "aria-label": "Post an event" },
    errorSummary(),
    h("p", null, "It is a real event: every webhook that wants its type gets it."),
    field({ label: "Type", input: typeInput, pointer: "/type" }),
    field({ label: "Data", input: dataInput, pointer: "/data", hint: "Any JSON." }),
    field({ label: "Id", input: idInput, pointer: "/id", hint: "The same id with the same content is posted once." }),
    scope && field({ label: `Scope (${scope})`, input: scopeInput, pointer: `/${scope}` }),
    told,
    h("div", { class: "form-foot" }, button, may("read") && h("a", { class: "button", href: "#/events" }, "Cancel")),
    suggestions("types-to-post", session.profile?.event_types ?? []),
  );
  put(
    main,
    h("p", { class: "crumbs" }, may("read") && h("a", { href: "#/events" }, "Events"), " / Post an event"),
    h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, "Post an event")),
    element,
  );
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    showErrors(element, null);
    busy(button, async () => {
      try {
        const posted = await post({
          type: typeInput.value.trim(),
          id: idInput.value.trim(),
          data: dataInput.value,
          scope: scope && scopeInput.value.trim(),
          scopeField: scope,
        });
        toast(`Posted, for ${plural(posted.deliveries, "webhook")}`, "good");
        if (may("read")) location.hash = `#/events/${encodeURIComponent(posted.id)}`;
        else
          put(
            told,
            banner("good", "check", `Posted as ${posted.id}, for ${plural(posted.deliveries, "webhook")}.`, null),
          );
      } catch (problem) {
        showErrors(element, problem);
      }
    });
  });
}

// The data goes as it is written: parsed here, long numbers would lose digits.
async function post({ type, id, data, scope, scopeField }) {
  try {
    JSON.parse(data);
  } catch (error) {
    throw Object.assign(new Error(error.message), {
      errors: [{ pointer: "/data", detail: `is no JSON: ${error.message}` }],
    });
  }
  const head = { type };
  if (id) head.id = id;
  if (scope) head[scopeField] = scope;
  const body = `${JSON.stringify(head).slice(0, -1)},"data":${data}}`;
  return (await session.api.whole("POST", at("events"), { body })).value;
}
