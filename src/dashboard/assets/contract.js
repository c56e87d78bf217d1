// What a webhook's receiver is promised, how the webhook is set up, and its figures, as the API tells them.

import { h } from "./dom.js";
import { absolute, count, milliseconds, percent, when } from "./format.js";
import { code } from "./json.js";
import { facts, outcomeBadge, strip, tile } from "./widgets.js";

const list = (values) =>
  values?.length
    ? h(
        "span",
        { class: "chips" },
        values.map((value) => h("span", { class: "chip" }, value)),
      )
    : null;

function section(title, ...parts) {
  return h("section", { class: "card" }, h("h2", null, title), parts);
}

export function contractParts(webhook) {
  const { contract } = webhook;
  const [promised, schedule] = contract ? contractCards(contract) : [null, null];
  return h("div", { class: "columns even" }, h("div", null, promised), h("div", null, settings(webhook), schedule));
}

// The effective contract, whether of a webhook or as its registration answers it.
export function contractCards(contract) {
  const headers = Object.entries(contract.headers);
  const rate =
    contract.rate &&
    [
      contract.rate.per_second && `${count(contract.rate.per_second)} a second`,
      contract.rate.per_hour && `${count(contract.rate.per_hour)} an hour`,
    ]
      .filter(Boolean)
      .join(", ");
  return [
    section(
      "What its receiver gets",
      facts([
        ["Profile", contract.profile],
        ["Method", contract.method],
        ["Body", contract.body],
        ["Counts as success", contract.success.join(", ")],
        ["Timeout", contract.timeout],
        ["Order", contract.order],
        ["Retry-After", contract.retry_after],
        ["410 Gone", contract.gone],
        ["Rate", rate ? `${rate}; ${contract.rate.over}` : "no limit"],
        ["When a schedule ends", contract.exhausted.means],
      ]),
      h("h3", null, "Headers"),
      h(
        "div",
        { class: "headers", role: "region", "aria-label": "Headers", tabindex: "0" },
        h(
          "dl",
          null,
          headers.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))),
        ),
      ),
      contract.signatures.map((rule) => [
        h("h3", null, `Signature in ${rule.header}`),
        facts([
          ["Algorithm", rule.algorithm],
          ["Key", rule.key],
          ["Signed", h("code", null, rule.signed)],
          ["Value", h("code", null, rule.value)],
          ["Verified with", rule.verified_with],
        ]),
      ]),
    ),
    section(
      "When it is tried again",
      h(
        "table",
        { class: "plain-table" },
        h("caption", { class: "offscreen" }, "The retry schedule"),
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            ["Attempt", "Waits", "In all"].map((words) => h("th", { scope: "col" }, words)),
          ),
        ),
        h(
          "tbody",
          null,
          contract.schedule.map((step) =>
            h("tr", null, h("td", null, step.attempt), h("td", null, step.delay), h("td", null, step.total_wait)),
          ),
        ),
      ),
    ),
  ];
}

function settings(webhook) {
  const { oauth2, order } = webhook;
  const names = Object.keys(webhook.headers ?? {});
  return section(
    "Settings",
    facts([
      ["Event types", list(webhook.events) ?? "every type"],
      ["Name", webhook.name],
      ["Description", webhook.description],
      ["Format", webhook.format ?? "the profile's envelope"],
      ["Order", typeof order === "object" && order ? `by ${order.key}` : order],
      ["Own headers", list(names)],
      ["OAuth2", oauth2 && `tokens for ${oauth2.client_id} from ${oauth2.token_url}`],
      ["TLS settings", webhook.tls],
      ["Timeout", webhook.timeout],
      ["Retries", webhook.retry && `${webhook.retry.delays.join(", ") || "none"} (jitter ${webhook.retry.jitter})`],
      ["Signed", webhook.signed ? "yes" : "no"],
      ["Public key", webhook.public_key && h("code", { class: "break" }, webhook.public_key)],
      ["Rotation", webhook.contract?.secret.rotation],
      ["Changed", absolute(webhook.updated_at)],
    ]),
    webhook.filter && [
      h("h3", null, "Filter"),
      code(JSON.stringify(webhook.filter, null, 2), { json: true, label: "Filter" }),
    ],
  );
}

export function figuresParts(stats) {
  const { now } = stats;
  const window = (name, figures) =>
    section(
      name,
      h(
        "dl",
        { class: "tiles inner" },
        tile("Attempts", count(figures.attempts), `${percent(figures.attempts_success_ratio)} succeed`),
        tile("Delivered", count(figures.delivered)),
        tile("Failed", count(figures.failed)),
        tile("Dropped", count(figures.dropped)),
        tile("Expired", count(figures.expired)),
        tile("Cancelled", count(figures.cancelled)),
      ),
      h(
        "table",
        { class: "plain-table" },
        h("caption", { class: "offscreen" }, `Times, ${name.toLowerCase()}`),
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            ["", "p50", "p95", "p99"].map((words) => (words ? h("th", { scope: "col" }, words) : h("td"))),
          ),
        ),
        h(
          "tbody",
          null,
          [
            ["Answers", figures.response_time_ms],
            ["From arrival to delivery", figures.delivery_time_ms?.all],
          ].map(([words, of]) =>
            h(
              "tr",
              null,
              h("th", { scope: "row" }, words),
              [of?.p50, of?.p95, of?.p99].map((ms) => h("td", { class: "num" }, milliseconds(ms))),
            ),
          ),
        ),
      ),
    );
  const paused = {
    asked: "its receiver asked for it (Retry-After)",
    rate: "of its rate limit",
    absent: "nobody answers there, so it is tried now and then",
  }[now.paused_because];
  const failure = stats.last_failure;
  return h(
    "div",
    { class: "columns" },
    section(
      "Now",
      facts([
        ["Waiting", count(now.waiting)],
        ["Held", count(now.held)],
        ["Under way", count(now.in_flight)],
        ["At once, at most", now.concurrency],
        [
          "Standing",
          now.standing &&
            {
              fresh: "fresh: not tried yet",
              proven: "proven: it answers",
              doubted: "doubted: it has not answered lately",
            }[now.standing],
        ],
        ["Next attempt", now.next_attempt_at && when(now.next_attempt_at)],
        ["Paused", now.paused_until && ["until ", when(now.paused_until), `, as ${paused ?? now.paused_because}`]],
        ["Last success", when(stats.last_success_at, "none since the start")],
        [
          "Last failure",
          failure
            ? [when(failure.at), " ", outcomeBadge(failure.outcome, failure.outcome.status, false)]
            : "none since the start",
        ],
        ["Counted since", absolute(stats.since)],
      ]),
      stats.hours && [
        h("h3", null, "Last 24 hours"),
        h("div", { class: "strip-large" }, strip(stats.hours)),
        h("p", { class: "hint" }, "An hour is a bar: what succeeded stands on the line, what failed hangs from it."),
      ],
    ),
    window("Last hour", stats.last_hour),
    window("Last day", stats.last_day),
  );
}
