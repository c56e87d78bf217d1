// One delivery: where it stands, each attempt in full, and what can be done with it.

import { at, withQuery } from "./api.js";
import { busy, copy, copyButton, h, icon, put, toast } from "./dom.js";
import { absolute, count, exact, milliseconds, when } from "./format.js";
import { attemptParts, bodyBox } from "./attempt.js";
import { curlCommand } from "./curl.js";
import { paced, subscribe } from "./live.js";
import { may, session } from "./session.js";
import { verifier } from "./verifier.js";
import { badge, banner, facts, guarded, outcomeBadge, sentence, webhookName } from "./widgets.js";

const TRIGGERS = {
  schedule: "by the schedule",
  manual: "by hand",
  replay: "by a replay",
  probe: "a probe",
  test: "a test",
};
const REASONS = {
  exhausted: "Its schedule has ended without success. Mend the receiver, then retry it, or replay all that failed.",
  gone: "The receiver answered 410 Gone.",
  webhook_removed: "The webhook was removed.",
  expired: "It had waited for longer than history is kept.",
  over_rate: "More waited over the webhook's rate than its profile allows.",
  unreadable: "The stored event is damaged or missing, so there is nothing to send.",
  discarded: "It was discarded on request while it was held.",
};
const ENDED = {
  failed: "It failed for good.",
  cancelled: "It was cancelled.",
  dropped: "It was dropped.",
  expired: "It has expired.",
};
const VERIFIERS = [
  ["node", "Node"],
  ["python", "Python"],
  ["go", "Go"],
  ["rust", "Rust"],
];

export async function deliveryPage({ main, params, signal, title }) {
  const [id, event] = params;
  const path = at("webhooks", id, "deliveries", event);
  const [webhook, first] = await Promise.all([
    session.api.get(at("webhooks", id), signal),
    session.api.get(path, signal),
  ]);
  title(`${first.type} to ${webhookName(webhook)}`);
  const view = {
    delivery: first,
    text: JSON.stringify(first),
    earlier: [],
    open: new Set(),
    closed: new Set(),
    cursor: first.next_cursor,
  };
  const place = {
    head: h("div"),
    attempts: h("section", { class: "attempts", "aria-labelledby": "attempts-title" }),
    body: h("section", { class: "card", "aria-labelledby": "body-title" }),
  };
  const look = async () => {
    const delivery = await session.api.get(path, signal);
    const text = JSON.stringify(delivery);
    if (signal.aborted || text === view.text) return;
    const isNew = delivery.attempts_made > view.delivery.attempts_made;
    view.delivery = delivery;
    view.text = text;
    if (view.earlier.length === 0) view.cursor = delivery.next_cursor;
    draw(webhook, view, place, look);
    if (isNew)
      toast(`Attempt ${delivery.attempts_made}: ${delivery.state}`, delivery.state === "delivered" ? "good" : "info");
  };
  put(
    place.body,
    h("h2", { id: "body-title" }, "Request body"),
    h(
      "p",
      { class: "hint" },
      "As the webhook's settings of today make it of the event. What is signed is made anew for each attempt.",
    ),
    bodyBox(first.request_body, "Request body"),
  );
  put(
    main,
    h(
      "p",
      { class: "crumbs" },
      h("a", { href: "#/webhooks" }, "Webhooks"),
      " / ",
      h("a", { href: `#/webhooks/${id}` }, webhookName(webhook)),
      " / ",
      h("span", { class: "break" }, first.event_id),
    ),
    place.head,
    h("div", { class: "two-columns" }, place.attempts, place.body),
  );
  draw(webhook, view, place, look);
  watch(id, event, look, signal, view);
}

function watch(id, event, look, signal, view) {
  const again = paced(look, signal, 1500);
  subscribe((kind, data) => {
    const isOurs = data?.webhook_id === id && (kind === "webhook" || data.event_id === event);
    if (isOurs || ["hello", "poll", "missed"].includes(kind)) again();
  }, signal);
  // Also without a stream the next attempt is not missed.
  const ticks = setInterval(() => {
    const due = view.delivery.next_attempt_at;
    const since = due ? Date.now() - Date.parse(due) : -1;
    if (since > 1000 && since < 6000) again();
  }, 2000);
  signal.addEventListener("abort", () => clearInterval(ticks));
}

function draw(webhook, view, place, look) {
  const { delivery } = view;
  const attempts = [...view.earlier, ...delivery.attempts];
  put(place.head, heading(webhook, delivery, attempts.at(-1), look));
  const newest = delivery.attempts.at(-1)?.attempt;
  const rows = attempts
    .map((attempt) => attemptRow(attempt, newest, view, delivery.state === "delivered" && attempt.attempt === newest))
    .reverse();
  put(
    place.attempts,
    h("h2", { id: "attempts-title" }, "Attempts"),
    delivery.attempts_made === 0 &&
      h("p", { class: "muted" }, delivery.state === "waiting" ? "None yet." : "None was made."),
    h("ol", { class: "timeline", reversed: true }, next(delivery), rows),
    view.cursor &&
      h(
        "button",
        { type: "button", onclick: (event) => earlier(webhook, view, place, look, event.currentTarget) },
        "Earlier attempts",
      ),
  );
}

function earlier(webhook, view, place, look, button) {
  return busy(button, async () => {
    try {
      const { delivery } = view;
      const page = await session.api.get(
        withQuery(at("webhooks", webhook.id, "deliveries", delivery.event_id), { cursor: view.cursor }),
      );
      view.earlier = [...page.attempts, ...view.earlier];
      view.cursor = page.next_cursor;
      draw(webhook, view, place, look);
    } catch (problem) {
      toast(sentence(problem.message), "error");
    }
  });
}

function next(delivery) {
  if (!delivery.next_attempt_at) return null;
  return h(
    "li",
    { class: "next" },
    icon("clock"),
    h(
      "span",
      null,
      "Next attempt ",
      h("strong", { class: "num" }, when(delivery.next_attempt_at)),
      h("span", { class: "muted" }, ` (${absolute(delivery.next_attempt_at)})`),
    ),
  );
}

function attemptRow(attempt, newest, view, isSuccess) {
  const { attempt: number } = attempt;
  const isOpen = view.open.has(number) || (number === newest && !view.closed.has(number));
  const body = h("div");
  const fill = () => put(body, attemptParts(attempt));
  if (isOpen) fill();
  const row = h(
    "details",
    { open: isOpen },
    h(
      "summary",
      { "data-key": `attempt-${number}` },
      h("span", { class: "strong num" }, `Attempt ${number}`),
      outcomeBadge(attempt.outcome, attempt.status, isSuccess || undefined),
      h("span", { class: "muted num" }, milliseconds(attempt.response_time_ms)),
      h("span", { class: "muted" }, TRIGGERS[attempt.trigger] ?? attempt.trigger),
      h("span", { class: "muted grow-end" }, exact(attempt.started_at)),
    ),
    body,
  );
  row.addEventListener("toggle", () => {
    const [into, from] = row.open ? [view.open, view.closed] : [view.closed, view.open];
    into.add(number);
    from.delete(number);
    if (row.open && body.childNodes.length === 0) fill();
  });
  return h("li", { value: number }, row);
}

function heading(webhook, delivery, newest, look) {
  const retry = h(
    "button",
    { type: "button", class: delivery.state === "delivered" ? null : "primary", "data-key": "retry" },
    icon("send"),
    delivery.state === "delivered" ? "Send again" : "Retry now",
  );
  retry.addEventListener("click", () =>
    busy(retry, async () => {
      try {
        await session.api.post(`${at("webhooks", webhook.id, "deliveries", delivery.event_id)}/retry`);
        toast("It is sent now", "good");
        await look();
      } catch (problem) {
        toast(sentence(problem.message), "error");
      }
    }),
  );
  guarded(retry, "admin");
  if (delivery.state === "held" && may("admin")) {
    retry.disabled = true;
    retry.title = "The webhook is held: enable it first, and this is sent.";
  }
  const why = delivery.reason && REASONS[delivery.reason];
  return [
    h(
      "div",
      { class: "page-head" },
      h(
        "div",
        { class: "grow" },
        h("h1", { tabindex: "-1" }, delivery.type, " ", badge(delivery.state)),
        facts([
          [
            "Event",
            h(
              "a",
              { href: `#/events/${encodeURIComponent(delivery.event_id)}`, class: "mono break" },
              delivery.event_id,
            ),
          ],
          ["To", h("span", { class: "mono break" }, webhook.url)],
          ["Attempts", count(delivery.attempts_made)],
          delivery.ended_at && ["Ended", exact(delivery.ended_at)],
          delivery.next_attempt_at && ["Next attempt", when(delivery.next_attempt_at)],
        ]),
      ),
      h(
        "div",
        { class: "actions" },
        retry,
        copyButton(() => curlCommand(webhook, newest, delivery.request_body), "Copy as curl", {
          class: null,
          disabled: delivery.request_body === null,
          "data-key": "curl",
        }),
        webhook.signed && verifierMenu(webhook),
      ),
    ),
    why &&
      delivery.state !== "delivered" &&
      banner(
        delivery.state === "failed" ? "bad" : "warn",
        "warn",
        ENDED[delivery.state] ?? `It is ${delivery.state}.`,
        why,
      ),
    delivery.state === "held" &&
      banner(
        "warn",
        "pause",
        "Held: the webhook does not send now.",
        h("a", { href: `#/webhooks/${webhook.id}` }, "See why, and what to do"),
      ),
  ];
}

function verifierMenu(webhook) {
  const item = ([language, words]) => {
    const button = h("button", { type: "button", class: "plain" }, words);
    button.addEventListener("click", () =>
      busy(button, async () => {
        try {
          const made = await verifier(webhook, language);
          await copy(made.code);
          toast(`Copied ${made.file_name}`, "good");
        } catch (problem) {
          if (problem.status === 404) location.hash = `#/webhooks/${webhook.id}/verify`;
          else toast(sentence(problem.message), "error");
        }
      }),
    );
    return button;
  };
  return h(
    "details",
    { class: "menu" },
    h("summary", { class: "button", "data-key": "verifier" }, icon("copy"), "Copy a verifier"),
    h(
      "div",
      { class: "menu-items" },
      VERIFIERS.map(item),
      h("a", { href: `#/webhooks/${webhook.id}/verify` }, "All languages"),
    ),
  );
}
