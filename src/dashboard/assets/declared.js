// Webhooks that the config declares: what only the config may do to them, and what of it is not done yet.

import { at } from "./api.js";
import { h, icon } from "./dom.js";
import { session } from "./session.js";
import { banner, sentence } from "./widgets.js";

// Whether the config had declared it, and does so no more.
export const isWithdrawn = (webhook) => Boolean(webhook.declared) && webhook.inactive?.reason === "undeclared";

// Why this page may not change it; null where it may.
export function whyNotHere(webhook) {
  if (!webhook.declared) return null;
  return isWithdrawn(webhook)
    ? `The config had declared it as “${webhook.declared}” and does so no more: declare it again, or remove it.`
    : `The config declares it as “${webhook.declared}”: change its entry in [[webhooks]] there.`;
}

export function declaredBanner(webhook) {
  if (!webhook.declared || isWithdrawn(webhook)) return null;
  return banner(
    "info",
    "file",
    ["Declared in the config as ", h("code", null, webhook.declared)],
    [
      "Its settings and its secret are changed there, in ",
      h("code", null, "[[webhooks]]"),
      ", and taken over by ",
      h("code", null, "hookwheel apply"),
      ". Here it can be disabled and enabled, tried out, and its deliveries be sent again.",
    ],
  );
}

// What of the config could not be done yet.
export async function undone(signal) {
  return (await session.api.get(`${at("declared")}?limit=1`, signal)).undone;
}

export function undoneBanner(rows) {
  if (rows.length === 0) return null;
  const title =
    rows.length === 1
      ? "One webhook of the config is not as it says"
      : `${rows.length} webhooks of the config are not as it says`;
  return h(
    "div",
    { class: "banner warn", role: "status" },
    icon("warn"),
    h(
      "div",
      { class: "grow" },
      h("p", { class: "strong" }, title),
      h(
        "ul",
        { class: "undone" },
        rows.map((row) => h("li", null, h("code", null, row.name), ": ", sentence(row.why))),
      ),
      h("p", null, "It is tried again every 10 seconds."),
    ),
  );
}
