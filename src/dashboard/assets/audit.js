// Who did what, newest first: all of the account's, or what was done to one webhook.

import { at, withQuery } from "./api.js";
import { h, icon, put } from "./dom.js";
import { exact, when } from "./format.js";
import { session } from "./session.js";
import { empty, table } from "./widgets.js";

export async function audit({ main, signal, title }) {
  title("Audit");
  const body = h("div");
  await auditTable(body, {}, signal);
  put(
    main,
    h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, "Audit")),
    h(
      "p",
      { class: "hint" },
      "Every change by a key, by the config, or by the daemon's own rules. On disk before the change is answered.",
    ),
    body,
  );
}

export async function auditTable(place, { webhook = null }, signal) {
  const cursors = [];
  const look = async () => {
    const page = await session.api.get(withQuery(at("audit"), { limit: 50, webhook, cursor: cursors.at(-1) }), signal);
    draw(page);
  };
  const move = async (change) => {
    change();
    await look();
  };
  function draw(page) {
    if (page.data.length === 0 && cursors.length === 0)
      return put(place, empty("Nothing yet", h("p", null, "Changes appear here as they are made.")));
    const columns = [
      { name: "What" },
      { name: "By" },
      { name: "When", class: "nowrap" },
      ...(webhook ? [] : [{ name: "Webhook" }]),
      { name: "Details", class: "wide" },
    ];
    const rows = page.data.map((entry, number) => ({
      key: `${entry.at}-${number}`,
      cells: [
        h("strong", null, entry.action),
        actor(entry.actor),
        h("span", { class: "two-lines" }, exact(entry.at), h("span", { class: "sub" }, when(entry.at))),
        ...(webhook
          ? []
          : [
              entry.webhook_id
                ? h("a", { href: `#/webhooks/${entry.webhook_id}`, class: "mono break" }, entry.webhook_id)
                : "–",
            ]),
        [entry.subject && h("code", { class: "break" }, entry.subject), " ", (entry.details ?? []).join(", ")],
      ],
    }));
    return put(
      place,
      table({ caption: "Audit log, newest first", columns, rows }),
      h(
        "div",
        { class: "pager" },
        h(
          "button",
          { type: "button", disabled: cursors.length === 0, onclick: () => move(() => cursors.pop()) },
          icon("back"),
          "Newer",
        ),
        h(
          "button",
          { type: "button", disabled: !page.next_cursor, onclick: () => move(() => cursors.push(page.next_cursor)) },
          "Older",
          icon("next"),
        ),
      ),
    );
  }
  await look();
}

function actor({ kind, name, address }) {
  if (kind !== "key") return h("span", { class: "tag" }, kind);
  return h("span", { class: "two-lines" }, h("span", null, name), h("span", { class: "sub mono" }, address ?? ""));
}
