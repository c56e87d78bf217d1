// Jobs: what replays and rematches have done, and a hand on them.

import { at, withQuery } from "./api.js";
import { busy, h, icon, put, toast } from "./dom.js";
import { absolute, count, exact, plural, span, when } from "./format.js";
import { countThenStart, jobFields } from "./replay.js";
import { session } from "./session.js";
import { badge, empty, errorSummary, facts, field, guarded, sentence, table } from "./widgets.js";

const KINDS = { resend: "Replay", rematch: "Rematch" };
// How often a running job is looked at: as it moves, and well below a limit of 100 calls in a minute.
const LOOK_EVERY_MS = 1500;
const LIST_EVERY_MS = 5000;
const isOpen = (job) => job.state === "running" || job.state === "paused";

export async function jobs({ main, signal, title }) {
  title("Jobs");
  const view = { cursors: [], rows: [], next: null };
  const list = h("div");
  const look = async () => {
    const page = await session.api.get(withQuery(at("jobs"), { limit: 50, cursor: view.cursors.at(-1) }), signal);
    view.rows = page.data;
    view.next = page.next_cursor;
    draw();
  };
  function draw() {
    if (view.rows.length === 0 && view.cursors.length === 0) {
      return put(
        list,
        empty(
          "No job yet",
          h(
            "p",
            null,
            "A replay sends a webhook's deliveries again: open a webhook, then More. A rematch delivers stored events to webhooks that want them by now.",
          ),
        ),
      );
    }
    const columns = [
      { name: "Job", class: "wide" },
      { name: "State" },
      { name: "Progress", class: "progress-cell" },
      { name: "Queued", class: "number" },
      { name: "Begun", class: "nowrap" },
    ];
    const rows = view.rows.map((job) => ({
      key: job.id,
      href: `#/jobs/${job.id}`,
      cells: [
        h(
          "span",
          { class: "two-lines" },
          h("span", { class: "name" }, KINDS[job.kind] ?? job.kind),
          h("span", { class: "sub mono" }, job.id),
        ),
        badge(job.state),
        progress(job),
        count(job.progress.queued),
        when(job.created_at),
      ],
    }));
    return put(
      list,
      table({ caption: "Jobs, newest first", columns, rows }),
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
  const turnTo = (cursors) => {
    view.cursors = cursors;
    return look();
  };
  const rematch = guarded(
    h(
      "button",
      {
        type: "button",
        onclick: () => {
          location.hash = "#/jobs/rematch";
        },
      },
      "Match stored events anew…",
    ),
    "admin",
  );
  await look();
  put(main, h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, "Jobs"), rematch), list);
  every(LIST_EVERY_MS, signal, () => view.rows.some(isOpen) && look());
}

function every(ms, signal, act) {
  const ticks = setInterval(async () => {
    if (document.hidden) return;
    try {
      await act();
    } catch {
      // The next look may succeed.
    }
  }, ms);
  signal.addEventListener("abort", () => clearInterval(ticks));
}

function progress(job) {
  const share = job.state === "done" ? 1 : (job.progress.share ?? 0);
  const of100 = Math.floor(share * 100);
  return h(
    "span",
    { class: "progress" },
    h("progress", { max: "100", value: of100, "aria-label": `Progress of ${job.id}` }),
    h("span", { class: "num" }, `${of100} %`),
  );
}

export async function jobPage({ main, params, signal, title }) {
  const [id] = params;
  const place = h("div");
  let job = await session.api.get(at("jobs", id), signal);
  title(`${KINDS[job.kind] ?? job.kind} ${job.state}`);
  const draw = () => put(place, heading(job, take), details(job));
  const take = (changed) => {
    job = changed;
    title(`${KINDS[job.kind] ?? job.kind} ${job.state}`);
    draw();
  };
  put(
    main,
    h("p", { class: "crumbs" }, h("a", { href: "#/jobs" }, "Jobs"), " / ", h("span", { class: "break" }, id)),
    place,
  );
  draw();
  every(LOOK_EVERY_MS, signal, async () => {
    if (!isOpen(job)) return;
    const changed = await session.api.get(at("jobs", id), signal);
    if (JSON.stringify(changed) !== JSON.stringify(job)) take(changed);
  });
}

function heading(job, take) {
  const button = (verb, words, kind) => {
    const own = h("button", { type: "button", class: kind, "data-key": verb }, words);
    own.addEventListener("click", () =>
      busy(own, async () => {
        try {
          take(await session.api.post(`${at("jobs", job.id)}/${verb}`));
          toast(
            { pause: "Paused", resume: "It goes on", cancel: "Cancelled: what was queued is sent all the same" }[verb],
            "good",
          );
        } catch (problem) {
          toast(sentence(problem.message), "error");
        }
      }),
    );
    return guarded(own, "admin");
  };
  return h(
    "div",
    { class: "page-head" },
    h(
      "div",
      { class: "grow" },
      h("h1", { tabindex: "-1" }, KINDS[job.kind] ?? job.kind, " ", badge(job.state)),
      h("p", { class: "muted small-text" }, h("code", null, job.id)),
    ),
    h(
      "div",
      { class: "actions" },
      job.state === "running" && button("pause", "Pause"),
      job.state === "paused" && button("resume", "Resume", "primary"),
      isOpen(job) && button("cancel", "Cancel the job", "danger"),
    ),
  );
}

function details(job) {
  const { filter, progress: done } = job;
  const link = (id) => id && h("a", { href: `#/webhooks/${id}`, class: "mono" }, id);
  const left =
    job.state === "running" && done.share > 0.02 && done.share < 1
      ? ((Date.now() - Date.parse(job.created_at)) / done.share) * (1 - done.share)
      : null;
  return h(
    "section",
    { class: "card" },
    h("h2", null, "Progress"),
    progress(job),
    h(
      "dl",
      { class: "tiles inner" },
      [
        ["Found", done.matched],
        ["Queued", done.queued],
        ["Skipped", done.skipped],
      ].map(([words, value]) => h("div", { class: "tile" }, h("dt", null, words), h("dd", null, count(value)))),
    ),
    facts([
      left && ["Left, about", span(left)],
      [job.kind === "resend" ? "From" : "For", link(job.webhook) ?? "every webhook that wants them"],
      job.to && job.to !== job.webhook && ["To", link(job.to)],
      ["States", filter.states?.join(", ")],
      ["Event types", filter.types?.length ? filter.types.join(", ") : "all"],
      ["Created from", filter.since && absolute(filter.since)],
      ["Created until", filter.until && absolute(filter.until)],
      ["Rate", `${plural(job.per_second, "delivery", "deliveries")} a second`],
      ["Begun", exact(job.created_at)],
      ["Ended", job.ended_at && exact(job.ended_at)],
    ]),
  );
}

export async function rematchPage({ main, signal, title }) {
  title("Match stored events anew");
  const { rows } = await session.api.all(at("webhooks"), 1000, signal);
  const common = jobFields();
  const only = h(
    "select",
    null,
    h("option", { value: "" }, "every webhook"),
    rows.map((webhook) => h("option", { value: webhook.id }, `${webhook.name ?? webhook.url} (${webhook.id})`)),
  );
  const form = h(
    "form",
    { id: "rematch-form", class: "form card", novalidate: true, "aria-label": "Match stored events anew" },
    errorSummary(),
    h(
      "p",
      null,
      "Stored events are held against the webhooks' rules of today, and delivered to those that want them and never had them. Use it after a webhook was registered late, or its filter was mended.",
    ),
    field({ label: "Only for", input: only, pointer: "/webhook" }),
    common.boxes,
  );
  const foot = h("div", { class: "form-foot" });
  const read = () => ({ ...common.read(), ...(only.value ? { webhook: only.value } : {}) });
  put(
    main,
    h("p", { class: "crumbs" }, h("a", { href: "#/jobs" }, "Jobs"), " / Match anew"),
    h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, "Match stored events anew")),
    form,
  );
  countThenStart(form, at("events", "rematch"), read, foot, (job) => {
    location.hash = `#/jobs/${job.id}`;
  });
  form.append(foot);
  foot.append(h("a", { class: "button", href: "#/jobs" }, "Leave it"));
}
