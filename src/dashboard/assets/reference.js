// The API's reference, made from the document at /openapi.json. It is the same for everybody, so no key is asked for,
// and no call is made: commands are there to be copied.

import { add, copyButton, h, icon, put, toast } from "./dom.js";
import { plural } from "./format.js";
import { code } from "./json.js";
import { quoted } from "./curl.js";
import { kind, resolved, rows } from "./schema.js";
import { schemeSwitch } from "./scheme.js";

const METHODS = { GET: "info", POST: "good", PATCH: "warn", DELETE: "bad" };
const KEY = "X-API-Key: $HOOKWHEEL_API_KEY";
// A body that is longer than this is laid out.
const LINE_MAX = 60;

const app = document.getElementById("app");

// Text with `code` and **strong** words, as descriptions have them. All of it becomes text nodes.
function words(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`")) return h("code", null, part.slice(1, -1));
    if (part.startsWith("**")) return h("strong", null, part.slice(2, -2));
    return part;
  });
}

// The calls of the document, by their groups, in its order.
function grouped(api) {
  const groups = api.tags.map((tag) => ({ name: tag.name, means: tag.description, calls: [] }));
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, call] of Object.entries(methods)) {
      groups.find((group) => group.name === call.tags[0]).calls.push(described(api, path, method.toUpperCase(), call));
    }
  }
  return groups;
}

function described(api, path, method, call) {
  const parameters = call.parameters ?? [];
  const body = call.requestBody?.content["application/json"];
  const fields = body ? rows(api, body.schema) : [];
  const scope = call["x-scope"] ?? (call.security.length > 0 ? "any key" : "no key");
  const sought = [method, path, call.operationId, call.summary, call.description, scope]
    .concat(parameters.map((parameter) => parameter.name))
    .concat(fields.map((field) => field.name))
    .join(" ")
    .toLowerCase();
  return { api, path, method, call, parameters, body, fields, scope, sought, id: call.operationId };
}

// A call as a command. What stands in its path is an example, where there is one.
function command(one, body) {
  const example = (parameter) => {
    const schema = resolved(one.api, parameter.schema);
    return String(schema.examples?.[0] ?? schema.enum?.[0] ?? parameter.name.toUpperCase());
  };
  const inPath = (found, name) =>
    encodeURIComponent(example(one.parameters.find((parameter) => parameter.in === "path" && parameter.name === name)));
  const asked = one.parameters.filter((parameter) => parameter.in === "query" && parameter.required);
  const query = asked.map((parameter) => `${parameter.name}=${encodeURIComponent(example(parameter))}`).join("&");
  const url = `${location.origin}${one.path.replaceAll(/\{(\w+)\}/g, inPath)}${query ? `?${query}` : ""}`;
  const isStream = Boolean(one.call.responses["200"]?.content?.["text/event-stream"]);
  const method = one.method === "GET" || (one.method === "POST" && body) ? "" : ` -X ${one.method}`;
  const parts = [`curl -sS${isStream ? " -N" : ""}${method}`, quoted(url)];
  if (one.call.security.length > 0) parts.push(`-H "${KEY}"`);
  if (body) {
    const line = JSON.stringify(body);
    const text = line.length > LINE_MAX ? JSON.stringify(body, null, 2) : line;
    parts.push("-H 'Content-Type: application/json'", `-d ${quoted(text)}`);
  }
  return parts.join(" \\\n  ");
}

function commandBox(one) {
  const examples = Object.entries(one.body?.examples ?? {});
  const place = h("div", { class: "command-box" });
  const show = (body) => {
    const text = command(one, body);
    put(
      place,
      code(text, { label: `Command: ${one.call.summary}` }),
      copyButton(text, "Copy", { "aria-label": `Copy the command: ${one.call.summary}` }),
    );
  };
  show(examples[0]?.[1].value);
  const choices =
    examples.length > 1 &&
    h(
      "select",
      {
        "aria-label": `Example: ${one.call.summary}`,
        onchange: (event) => show(examples[event.target.selectedIndex][1].value),
      },
      examples.map(([, example]) => h("option", null, example.summary)),
    );
  return h("section", null, h("h4", null, "As a command"), choices, place);
}

function fieldTable(caption, fields, isGiven) {
  const row = (field) =>
    h(
      "tr",
      null,
      h(
        "th",
        { scope: "row" },
        h("code", { class: "break" }, field.name),
        isGiven && field.isRequired && [" ", h("span", { class: "required" }, "required")],
        field.place && h("span", { class: "sub" }, field.place),
      ),
      h(
        "td",
        null,
        h("span", { class: "kind" }, field.kind),
        field.means && h("span", null, words(field.means)),
        field.value !== undefined && h("span", { class: "sub" }, `If not given: ${JSON.stringify(field.value)}`),
      ),
    );
  const head = h(
    "thead",
    { class: "offscreen" },
    h("tr", null, h("th", { scope: "col" }, "Name"), h("th", { scope: "col" }, "What it is")),
  );
  return h(
    "table",
    { class: "plain-table fields" },
    h("caption", { class: "offscreen" }, caption),
    head,
    h("tbody", null, fields.map(row)),
  );
}

function parameterTable(one) {
  const places = { path: "in the path", query: "in the query", header: "a header" };
  const fields = one.parameters.map((parameter) => ({
    name: parameter.name,
    place: places[parameter.in],
    kind: kind(one.api, parameter.schema),
    isRequired: parameter.required,
    means: parameter.description ?? "",
    value: resolved(one.api, parameter.schema).default,
  }));
  return fields.length > 0 && [h("h4", null, "Parameters"), fieldTable("Parameters", fields, true)];
}

function bodyParts(one) {
  if (!one.body) return null;
  const title = one.call.requestBody.required ? "Body" : "Body, which may be left out";
  const whole = resolved(one.api, one.body.schema);
  return [
    h("h4", null, title),
    whole.description && h("p", { class: "hint" }, words(whole.description)),
    one.fields.length > 0
      ? fieldTable("Fields of the body", one.fields, true)
      : h("p", { class: "kind" }, kind(one.api, one.body.schema)),
  ];
}

// What it answers where nothing is wrong, and below that its refusals.
function answers(one) {
  const all = Object.entries(one.call.responses).map(([status, answer]) => [Number(status), resolved(one.api, answer)]);
  const refusals = all.flatMap(([status, answer]) =>
    [...(answer.description ?? "").matchAll(/^- `(\w+)`: (.*)$/gm)].map(([, name, means]) => ({ status, name, means })),
  );
  const told = all.filter(([, answer]) => !answer.description?.startsWith("- `"));
  return [
    h("h4", null, "Answers"),
    told.map(([status, answer]) => answerPart(one, status, answer)),
    refusals.length > 0 &&
      h(
        "details",
        { class: "more" },
        h("summary", null, `How it is refused: ${plural(refusals.length, "code")}`),
        h(
          "table",
          { class: "plain-table fields" },
          h("caption", { class: "offscreen" }, "Codes of refusals"),
          h(
            "thead",
            { class: "offscreen" },
            h("tr", null, h("th", { scope: "col" }, "Status and code"), h("th", { scope: "col" }, "When")),
          ),
          h(
            "tbody",
            null,
            refusals.map((one) =>
              h(
                "tr",
                null,
                h("th", { scope: "row" }, h("span", { class: "num" }, one.status), " ", h("code", null, one.name)),
                h("td", null, words(one.means)),
              ),
            ),
          ),
        ),
      ),
  ];
}

function answerPart(one, status, answer) {
  const [media] = Object.values(answer.content ?? {});
  const fields = media?.schema ? rows(one.api, media.schema) : [];
  const isText = typeof media?.example === "string";
  const example = media?.example !== undefined && (isText ? media.example : JSON.stringify(media.example, null, 2));
  const label = `Example of ${status}: ${one.call.summary}`;
  return h(
    "div",
    { class: "answer" },
    h("p", null, h("span", { class: "badge num good" }, status), " ", words(answer.description ?? "")),
    example && code(example, { json: !isText, label }),
    fields.length > 0 &&
      h(
        "details",
        { class: "more" },
        h("summary", null, `What is in it: ${plural(fields.length, "field")}`),
        fieldTable("Fields of the answer", fields, false),
      ),
  );
}

function callBox(one) {
  const body = h("div", { class: "call-parts" });
  const scope = { "no key": "no key", "any key": "any key" }[one.scope] ?? `scope ${one.scope}`;
  const box = h(
    "details",
    { class: "call", id: one.id },
    h(
      "summary",
      null,
      h("span", { class: `badge method ${METHODS[one.method] ?? "plain"}` }, one.method),
      h("h3", null, one.call.summary),
      h("code", { class: "break path" }, one.path),
      h("span", { class: "tag" }, scope),
    ),
    body,
  );
  // Made when it is looked at: there are some fifty of them.
  box.addEventListener("toggle", () => {
    if (!box.open || body.childNodes.length > 0) return;
    add(
      body,
      h("p", null, words(one.call.description)),
      h("div", { class: "call-columns" }, [
        h("div", null, parameterTable(one), bodyParts(one), answers(one)),
        h("div", { class: "side" }, commandBox(one)),
      ]),
    );
  });
  box.firstChild.addEventListener("click", () => {
    // The address is one to give away; it is not gone to.
    history.replaceState(null, "", box.open ? location.pathname : `#${one.id}`);
  });
  one.box = box;
  return box;
}

function groupBox(group) {
  const id = `group-${group.name.toLowerCase()}`;
  group.box = h(
    "section",
    { class: "group-calls", "aria-labelledby": id },
    h("h2", { id }, group.name),
    h("p", { class: "hint" }, words(group.means)),
    group.calls.map(callBox),
  );
  return group.box;
}

function contents(groups) {
  const list = groups.map((group) => {
    group.links = h(
      "ul",
      null,
      group.calls.map((one) => {
        one.link = h("li", null, h("a", { href: `#${one.id}` }, one.call.summary));
        return one.link;
      }),
    );
    group.entry = h("div", null, h("h2", null, group.name), group.links);
    return group.entry;
  });
  return h("nav", { class: "contents", "aria-label": "Calls" }, list);
}

function searchBox(groups) {
  const told = h("p", { class: "muted small-text", role: "status" });
  const all = groups.flatMap((group) => group.calls);
  const input = h("input", {
    type: "search",
    placeholder: "Find a call by path, field or word",
    "aria-label": "Find a call",
    autocomplete: "off",
    spellcheck: "false",
  });
  const seek = () => {
    const asked = input.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    for (const one of all) {
      const fits = asked.every((word) => one.sought.includes(word));
      one.box.hidden = !fits;
      one.link.hidden = !fits;
    }
    for (const group of groups) {
      const isEmpty = group.calls.every((one) => one.box.hidden);
      group.box.hidden = isEmpty;
      group.entry.hidden = isEmpty;
    }
    const found = all.filter((one) => !one.box.hidden).length;
    const none = "No call has all of these words.";
    put(told, asked.length > 0 && (found === 0 ? none : `${plural(found, "call")} of ${all.length}`));
  };
  input.addEventListener("input", seek);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      input.value = "";
      seek();
    }
    const first = all.find((one) => !one.box.hidden);
    if (!first || !["Enter", "ArrowDown"].includes(event.key)) return;
    event.preventDefault();
    if (event.key === "Enter") open(first.id);
    else first.box.firstChild.focus();
  });
  return {
    box: [h("div", { class: "search" }, icon("search"), input, h("kbd", null, "/")), told],
    input,
    clear: () => {
      input.value = "";
      seek();
    },
  };
}

let search = null;

// Opens the call of this name, wherever it is.
function open(id) {
  const box = document.getElementById(id);
  if (!box?.matches("details.call")) return;
  if (box.hidden) search.clear();
  box.open = true;
  box.scrollIntoView({ block: "start" });
  box.firstChild.focus({ preventScroll: true });
}

function opened() {
  try {
    open(decodeURIComponent(location.hash.slice(1)));
  } catch {
    // No name of ours.
  }
}

function header() {
  const brand = h(
    "a",
    { class: "brand", href: "/ui/" },
    h("img", { src: "/ui/icon.svg", alt: "", width: "22", height: "22" }),
    "Hookwheel",
  );
  const links = h(
    "nav",
    { class: "tabs-main", "aria-label": "Main" },
    h("a", { href: "/ui/" }, "Dashboard"),
    h("a", { href: "/ui/api.html", "aria-current": "page" }, "API"),
  );
  return h(
    "header",
    { class: "top" },
    h("div", { class: "top-row" }, brand, links, h("div", { class: "top-end" }, schemeSwitch())),
  );
}

function page(api) {
  const groups = grouped(api);
  const setKey = 'export HOOKWHEEL_API_KEY="$(cat backend.key)"';
  const parts = [contents(groups), groups.map(groupBox)];
  search = searchBox(groups);
  put(
    app,
    header(),
    h(
      "main",
      { id: "main", tabindex: "-1", class: "reference" },
      parts[0],
      h(
        "div",
        { class: "reference-body" },
        h(
          "div",
          { class: "page-head" },
          h("h1", { tabindex: "-1" }, "API reference"),
          h("a", { class: "button", href: "/openapi.json" }, icon("file"), `OpenAPI ${api.info.version}`),
        ),
        h(
          "details",
          { class: "card about" },
          h("summary", null, h("h2", null, "What holds for all calls")),
          api.info.description.split("\n\n").map((text) => h("p", null, words(text))),
          h("p", null, "The commands below take the key from the environment:"),
          h(
            "div",
            { class: "command-box" },
            code(setKey, { label: "Command" }),
            copyButton(setKey, "Copy", { "aria-label": "Copy the command for the key" }),
          ),
        ),
        h("div", { class: "toolbar" }, search.box),
        parts[1],
      ),
    ),
  );
}

function missing() {
  put(
    app,
    header(),
    h(
      "main",
      { id: "main", tabindex: "-1", class: "alone" },
      h("h1", null, "The reference could not be loaded"),
      h(
        "p",
        null,
        h("a", { href: "/openapi.json" }, "/openapi.json"),
        ", which it is made of, was not given by the server.",
      ),
      h("p", null, h("button", { type: "button", class: "primary", onclick: start }, "Try again")),
    ),
  );
}

async function start() {
  try {
    const response = await fetch("/openapi.json", { credentials: "omit" });
    if (!response.ok) throw new Error(`it answered ${response.status}`);
    page(await response.json());
  } catch (error) {
    missing();
    toast(`No reference: ${error.message}`, "error");
    return;
  }
  opened();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select")) return;
  if (event.key === "/" && search) {
    event.preventDefault();
    search.input.focus();
    search.input.select();
  }
  const row = event.target.closest?.("details.call > summary");
  if (!row) return;
  const all = [...document.querySelectorAll("details.call:not([hidden]) > summary")];
  const place = all.indexOf(row);
  const to = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: all.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  all[to]?.focus();
});

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main")?.focus();
});

addEventListener("hashchange", opened);
start();
