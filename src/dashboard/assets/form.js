// Registering and changing a webhook. The server judges; its errors are shown at the fields that they point to.

import { at } from "./api.js";
import { busy, h, icon, put, toast } from "./dom.js";
import { contractCards } from "./contract.js";
import { filterField } from "./filter.js";
import { session } from "./session.js";
import { showSecret } from "./secret.js";
import { whyNotHere } from "./declared.js";
import { banner, errorSummary, field, select, showErrors, suggestions, webhookName } from "./widgets.js";

const text = (value, props = {}) =>
  h("input", { type: "text", value: value ?? "", autocomplete: "off", spellcheck: "false", ...props });

// What the config declares has no form here.
function refuse(main, title, webhook) {
  const name = webhookName(webhook);
  title(name);
  put(
    main,
    h("p", { class: "crumbs" }, h("a", { href: "#/webhooks" }, "Webhooks"), " / ", name),
    h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, name)),
    banner("info", "file", "It is not changed here", whyNotHere(webhook)),
    h("p", null, h("a", { href: `#/webhooks/${webhook.id}` }, "To the webhook")),
  );
}

export async function form(context) {
  const { main, params, query, signal, title } = context;
  const [id] = params;
  const from = id ?? query.get("like");
  const [webhook, types] = await Promise.all([
    from ? session.api.get(at("webhooks", from), signal) : {},
    session.api.get(at("event-types"), signal).catch(() => ({ data: [] })),
  ]);
  if (id && webhook.declared) return refuse(main, title, webhook);
  const name = id ? `Edit ${webhookName(webhook)}` : "New webhook";
  title(name);
  const parts = fields(webhook, types.data, Boolean(id));
  const save = h("button", { type: "submit", class: "primary" }, id ? "Save changes" : "Register");
  const back = id ? `#/webhooks/${id}` : "#/webhooks";
  const element = h(
    "form",
    { class: "form", novalidate: true, "aria-label": name },
    errorSummary(),
    parts.map((part) => part.box),
    h("div", { class: "form-foot" }, save, h("a", { class: "button", href: back }, "Cancel")),
  );
  const contract = webhook.contract ?? session.profile?.contract;
  put(
    main,
    h("p", { class: "crumbs" }, h("a", { href: "#/webhooks" }, "Webhooks"), " / ", name),
    h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, name)),
    h(
      "div",
      { class: "two-columns form-columns" },
      element,
      h("aside", { "aria-label": "Contract" }, contract && contractCards(contract)),
    ),
  );
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    showErrors(element, null);
    busy(save, async () => {
      try {
        await submit(id, read(parts, Boolean(id)));
      } catch (problem) {
        if (problem.errors === undefined) throw problem;
        showErrors(element, problem);
      }
    });
  });
  if (!id) element.querySelector("input")?.focus();
}

async function submit(id, body) {
  if (id) {
    await session.api.patch(at("webhooks", id), body);
    toast("Saved", "good");
    location.hash = `#/webhooks/${id}`;
    return;
  }
  const created = await session.api.post(at("webhooks"), body);
  toast("Registered", "good");
  const go = () => {
    location.hash = `#/webhooks/${created.id}`;
  };
  if (created.secret) showSecret(created, { title: "Registered. This is its signing secret", onDone: go });
  else go();
}

// A body of what the fields say; of a change only what was changed, so that nothing else is touched.
function read(parts, isChange) {
  const body = {};
  for (const part of parts) {
    for (const [name, value] of Object.entries(part.read())) {
      if (value === undefined) continue;
      if (isChange && JSON.stringify(value) === JSON.stringify(part.before?.[name])) continue;
      body[name] = value;
    }
  }
  return body;
}

function simple(name, label, input, { hint, pointer = `/${name}`, isChange = false, aside } = {}) {
  const value = () => input.value.trim() || (isChange ? null : undefined);
  const part = {
    box: field({ label, input, hint, pointer, aside }),
    read: () => ({ [name]: value() }),
    before: { [name]: value() },
  };
  return part;
}

function fields(webhook, types, isChange) {
  const url = text(webhook.url, { type: "url", placeholder: "https://…", inputmode: "url", required: true });
  const urlPart = simple("url", "URL", url, { hint: "HTTPS only. The receiver's certificate is verified." });
  urlPart.read = () => ({ url: url.value.trim() });
  const main = [
    urlPart,
    eventsPart(webhook, types, isChange),
    simple("name", "Name", text(webhook.name, { maxlength: "200" }), {
      isChange,
      hint: "For people, as it is shown in lists.",
    }),
    simple(
      "description",
      "Description",
      h("textarea", { rows: "2", maxlength: "2000", value: webhook.description ?? "" }),
      { isChange },
    ),
  ];
  const scope = session.profile?.scope_field;
  const what = [formatPart(webhook), filterField(webhook.filter, isChange)];
  if (scope)
    what.push(
      simple(scope, `Scope (${scope})`, text(webhook[scope]), {
        isChange,
        hint: "Only events of this scope; empty for all.",
      }),
    );
  const how = [
    simple(
      "timeout",
      "Timeout",
      text(isChange ? webhook.timeout : null, { placeholder: session.profile?.contract.timeout ?? "20s" }),
      { hint: "For the whole of an attempt, such as 10s. Empty: the profile's." },
    ),
    retryPart(webhook, isChange),
    orderPart(webhook),
  ];
  const access = [
    headersPart(webhook, isChange),
    oauth2Part(webhook, isChange),
    simple("tls", "TLS settings", text(webhook.tls), {
      isChange,
      hint: "The name of a client certificate or CA that the operator has set up ([egress.tls.NAME]).",
    }),
  ];
  if (!isChange)
    access.push(
      simple("secret", "Secret of your own", text(null, { type: "password", class: "mono" }), {
        hint: "Leave it empty to have one made.",
      }),
    );
  const active = activePart(webhook, isChange);
  return [
    group("Where and what", main, true),
    group("Which events, in which form", what, Boolean(webhook.filter || webhook.format)),
    group("How it is tried", how, false),
    group("Credentials", access, Object.keys(webhook.headers ?? {}).length > 0),
    active,
  ];
}

// Several parts as one, under a heading that can be folded away.
function group(title, parts, isOpen) {
  const inner = h(
    "div",
    { class: "group-inner" },
    parts.map((part) => part.box),
  );
  const isFirst = title === "Where and what";
  const box = isFirst
    ? h("section", { class: "group card" }, h("h2", null, title), inner)
    : h("details", { class: "group card", open: isOpen }, h("summary", null, h("h2", null, title)), inner);
  return {
    box,
    read: () => Object.assign({}, ...parts.map((part) => part.read())),
    before: Object.assign({}, ...parts.map((part) => part.before)),
  };
}

function eventsPart(webhook, types, isChange) {
  const chosen = [...(webhook.events ?? [])];
  const chips = h("ul", { class: "chips" });
  const input = text("", {
    list: "types-known",
    placeholder: types.length > 0 ? "Pick or type one, then Enter" : "such as user.created or user.*, then Enter",
  });
  const draw = () =>
    put(
      chips,
      chosen.map((type, at) =>
        h(
          "li",
          { class: "chip" },
          type,
          h(
            "button",
            {
              type: "button",
              class: "plain",
              "aria-label": `Remove ${type}`,
              "data-key": `chip-${at}`,
              onclick: () => {
                chosen.splice(at, 1);
                draw();
                input.focus();
              },
            },
            icon("cross"),
          ),
        ),
      ),
    );
  const take = () => {
    for (const type of input.value.split(/[\s,]+/).filter(Boolean)) if (!chosen.includes(type)) chosen.push(type);
    input.value = "";
    draw();
  };
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === ",") {
      if (!input.value.trim() && event.key === "Enter") return;
      event.preventDefault();
      take();
    } else if (event.key === "Backspace" && input.value === "" && chosen.length > 0) {
      chosen.pop();
      draw();
    }
  });
  input.addEventListener("change", () => types.includes(input.value) && take());
  draw();
  const isNeeded = session.profile?.events_required;
  const box = field({
    label: "Event types",
    input,
    pointer: "/events",
    hint: isNeeded ? "At least one. A * stands for any ending." : "None means every type. A * stands for any ending.",
  });
  box.insertBefore(chips, input);
  box.append(suggestions("types-known", types));
  const value = () => [...chosen];
  return {
    box,
    before: { events: value() },
    read: () => {
      take();
      return { events: chosen.length > 0 || isChange ? value() : undefined };
    },
  };
}

function formatPart(webhook) {
  const known = session.profile?.formats ?? [];
  const names = webhook.format && !known.includes(webhook.format) ? [...known, webhook.format] : known;
  const input = select([["", "The profile's envelope"], ...names.map((name) => [name, name])], webhook.format ?? "");
  const value = () => ({ format: input.value || null });
  return {
    box: field({ label: "Format", input, pointer: "/format", hint: "The body that a chat or another product takes." }),
    read: value,
    before: value(),
  };
}

function retryPart(webhook, isChange) {
  const { delays, jitter } = webhook.retry ?? {};
  const waits = text(isChange ? delays?.join(", ") : null, { placeholder: "5s, 5m, 30m" });
  const spread = text(isChange ? jitter : null, { placeholder: "20%" });
  const value = () => {
    if (!waits.value.trim()) return { retry: isChange ? null : undefined };
    const retry = { delays: waits.value.split(/[\s,]+/).filter(Boolean) };
    if (spread.value.trim()) retry.jitter = spread.value.trim();
    return { retry };
  };
  const box = h(
    "div",
    { class: "grid" },
    field({
      label: "Retry after",
      input: waits,
      pointer: "/retry",
      hint: "The wait before each further attempt. Empty: the profile's.",
    }),
    field({ label: "Jitter", input: spread, pointer: "/retry/jitter", hint: "At most so much is added to each wait." }),
  );
  return { box, read: value, before: value() };
}

function orderPart(webhook) {
  const { order } = webhook;
  const isKeyed = Boolean(order && typeof order === "object");
  const input = select(
    [
      ["none", "None: several at once"],
      ["fifo", "As accepted, one at a time"],
      ["key", "As accepted, for each value of a key"],
    ],
    isKeyed ? "key" : (order ?? "none"),
  );
  const key = text(isKeyed ? order.key : null, { placeholder: "/customer/id" });
  const keyBox = field({
    label: "Key",
    input: key,
    pointer: "/order/key",
    hint: "A JSON pointer into the event's data.",
  });
  const show = () => {
    keyBox.hidden = input.value !== "key";
  };
  input.addEventListener("change", show);
  show();
  const value = () => ({ order: input.value === "key" ? { key: key.value.trim() } : input.value });
  const box = h(
    "div",
    { class: "grid" },
    field({
      label: "Order",
      input,
      pointer: "/order",
      hint: "With an order, a delivery that fails holds up those behind it.",
    }),
    keyBox,
  );
  return { box, read: value, before: value() };
}

function headersPart(webhook, isChange) {
  const rows = h("div", { class: "header-rows" });
  const read = () => {
    const headers = {};
    for (const row of rows.children) {
      const [name, value] = row.querySelectorAll("input");
      if (!name.value.trim()) continue;
      // Null keeps the value that is stored.
      headers[name.value.trim()] = value.value === "" && row.dataset.stored === name.value.trim() ? null : value.value;
    }
    return { headers: Object.keys(headers).length > 0 || isChange ? headers : undefined };
  };
  const addRow = (name = "", isStored = false) => {
    const row = h(
      "div",
      { class: "header-row", "data-stored": isStored ? name : null },
      text(name, { placeholder: "Name", "aria-label": "Header name" }),
      text("", {
        type: "password",
        placeholder: isStored ? "kept as it is" : "Value",
        "aria-label": `Value of ${name || "the header"}`,
      }),
      h(
        "button",
        {
          type: "button",
          class: "plain",
          "aria-label": `Remove ${name || "this header"}`,
          onclick: () => {
            row.remove();
            more.focus();
          },
        },
        icon("cross"),
      ),
    );
    rows.append(row);
    return row;
  };
  const more = h(
    "button",
    { type: "button", class: "small", onclick: () => addRow().querySelector("input").focus() },
    icon("plus"),
    "Add a header",
  );
  // Of another webhook only the names can be taken over.
  for (const name of Object.keys(webhook.headers ?? {})) addRow(name, isChange);
  const error = h("p", { class: "field-error", hidden: true });
  const box = h(
    "fieldset",
    { class: "field", "data-pointer": "/headers /bearer_token /api_key /auth_value" },
    h("legend", null, h("label", null, "Headers")),
    h("p", { class: "hint" }, "Sent with each request, such as Authorization. Values are not shown again."),
    rows,
    more,
    error,
  );
  return { box, read, before: read() };
}

function oauth2Part(webhook, isChange) {
  const { oauth2 } = webhook;
  const isOn = h("input", { type: "checkbox", checked: Boolean(oauth2) });
  const of = (name, label, props = {}) => [
    name,
    field({ label, input: text(oauth2?.[name], props), pointer: `/oauth2/${name}` }),
  ];
  const auth = select(
    [
      ["basic", "In the Authorization header"],
      ["body", "In the body"],
    ],
    oauth2?.client_auth ?? "basic",
  );
  const boxes = [
    of("token_url", "Token URL", { placeholder: "https://…" }),
    of("client_id", "Client id"),
    of("client_secret", "Client secret", { type: "password", placeholder: oauth2 ? "kept as it is" : "" }),
    of("scope", "Scope"),
    of("audience", "Audience"),
    ["client_auth", field({ label: "Credentials go", input: auth, pointer: "/oauth2/client_auth" })],
  ];
  const inner = h(
    "div",
    { class: "grid" },
    boxes.map(([, box]) => box),
  );
  const show = () => {
    inner.hidden = !isOn.checked;
  };
  isOn.addEventListener("change", show);
  show();
  const read = () => {
    if (!isOn.checked) return { oauth2: isChange ? null : undefined };
    const given = boxes
      .map(([name, box]) => [name, box.querySelector("input, select").value.trim()])
      .filter(([, value]) => value !== "");
    return { oauth2: Object.fromEntries(given) };
  };
  const error = h("p", { class: "field-error", hidden: true });
  const box = h(
    "div",
    null,
    h(
      "div",
      { class: "field", "data-pointer": "/oauth2" },
      h("label", { class: "check" }, isOn, h("span", null, "Get OAuth2 access tokens for it")),
      error,
    ),
    inner,
  );
  return { box, read, before: read() };
}

function activePart(webhook, isChange) {
  const input = h("input", { type: "checkbox", checked: isChange ? webhook.active : true });
  const error = h("p", { class: "field-error", hidden: true });
  const box = h(
    "div",
    { class: "field", "data-pointer": "/active" },
    h("label", { class: "check" }, input, h("span", null, "Active: send as events come")),
    h("p", { class: "hint" }, "What comes while it is not is held, and flows once it is."),
    error,
  );
  const value = () => ({ active: input.checked });
  return { box, read: value, before: value() };
}
