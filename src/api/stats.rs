//! Figures over HTTP: of one webhook, and of all of an account together.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::engine::schedule::{LaneFigures, Pause, Standing};
use crate::engine::{Figures, Live, Percentiles, Queued, Said, Window};
use crate::model::{AccountName, Clock, Scope, UnixMillis, WebhookId};

use super::Api;
use super::access::Caller;
use super::error::Problem;
use super::page::{Asked, Named, Paging, json_answer, page, row_limit};
use super::webhooks;

/// An hour, milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// `GET /api/v1/webhooks/{id}/stats`
pub(super) async fn of_webhook(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let live = webhooks::find(&api, caller.account(), &id)?;
    let (id, clock) = (live.webhook.id, api.engine.clock());
    let lane = api.engine.lanes(&[id]).await.remove(&id);
    let (figures, queued) = looked_up(&api, caller.account(), vec![Arc::clone(&live)]).await?;
    let mut shown = Map::new();
    shown.insert("webhook_id".to_owned(), json!(id.to_string()));
    let since = clock.wall_of(figures.since).max(live.webhook.created_at);
    shown.extend(show_figures(&figures, since, clock));
    let mut now = show_queued(&queued, live.sends(), clock);
    now.extend(show_lane(lane.as_ref(), clock));
    shown.insert("now".to_owned(), Value::Object(now));
    Ok(json_answer(StatusCode::OK, &Value::Object(shown)))
}

/// `GET /api/v1/stats/webhooks`: figures of each webhook, in the order and with the cursor of the list of webhooks.
pub(super) async fn of_webhooks(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<Paging>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let (limit, after) = (row_limit(query.limit)?, query.after::<WebhookId>()?);
    let (shown, next) = webhooks::listed(&api, caller.account(), limit, after);
    let ids: Vec<_> = shown.iter().map(|live| live.webhook.id).collect();
    let (lanes, clock) = (api.engine.lanes(&ids).await, api.engine.clock());
    let next_attempts = next_attempts(&api, caller.account(), &shown).await?;
    let rows = shown.iter().map(|live| {
        let id = live.webhook.id;
        // From memory, as all is but for what is next.
        let figures = api.engine.figures(std::slice::from_ref(live));
        let pending = api.engine.reader().pending_count(id);
        let (waiting, held) = match live.sends() {
            true => (pending, 0),
            false => (0, pending),
        };
        let mut row = Map::new();
        row.insert("webhook_id".to_owned(), json!(id.to_string()));
        row.insert("waiting".to_owned(), json!(waiting));
        row.insert("held".to_owned(), json!(held));
        let next_attempt = next_attempts.get(&id).map(ToString::to_string);
        row.insert("next_attempt_at".to_owned(), json!(next_attempt));
        row.extend(show_lane(lanes.get(&id), clock));
        let since = clock.wall_of(figures.since).max(live.webhook.created_at);
        row.extend(show_figures(&figures, since, clock));
        // A list is for a look at a day; the hour is told of one webhook.
        row.shift_remove("last_hour");
        Value::Object(row)
    });
    Ok(page(rows.collect(), next.map(|id| id.to_string())))
}

/// `GET /api/v1/stats`: the same, summed over the account's webhooks, and how many of these there are.
pub(super) async fn of_account(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let all = api.engine.webhooks(caller.account());
    let ids: Vec<_> = all.iter().map(|live| live.webhook.id).collect();
    let lanes = api.engine.lanes(&ids).await;
    let in_flight: usize = lanes.values().map(|lane| lane.in_flight).sum();
    let (figures, queued) = looked_up(&api, caller.account(), all.to_vec()).await?;
    let active = all.iter().filter(|live| live.webhook.active).count();
    let held = all
        .iter()
        .filter(|live| live.webhook.active && !live.sends());
    let clock = api.engine.clock();
    let mut shown = Map::new();
    let counts = json!({
        "total": all.len(), "active": active, "disabled": all.len() - active, "held": held.count(),
    });
    shown.insert("webhooks".to_owned(), counts);
    let since = clock.wall_of(figures.since);
    shown.extend(show_figures(&figures, since, clock));
    let mut now = show_queued(&queued, true, clock);
    now.insert("in_flight".to_owned(), json!(in_flight));
    shown.insert("now".to_owned(), Value::Object(now));
    Ok(json_answer(StatusCode::OK, &Value::Object(shown)))
}

/// When each of these webhooks is sent to next. Where nothing waits for any of them the store is not asked.
async fn next_attempts(
    api: &Api,
    account: &AccountName,
    webhooks: &[Arc<Live>],
) -> Result<HashMap<WebhookId, UnixMillis>, Problem> {
    let reader = api.engine.reader();
    let waits = |live: &&Arc<Live>| live.sends() && reader.pending_count(live.webhook.id) > 0;
    let waiting: Vec<_> = webhooks.iter().filter(waits).cloned().collect();
    if waiting.is_empty() {
        return Ok(HashMap::new());
    }
    let engine = Arc::clone(&api.engine);
    let look = move |_: &_| engine.next_of(&waiting);
    api.reads.scan(account, look).await
}

async fn looked_up(
    api: &Api,
    account: &AccountName,
    webhooks: Vec<Arc<Live>>,
) -> Result<(Figures, Queued), Problem> {
    let engine = Arc::clone(&api.engine);
    let look = move |_: &_| Ok((engine.figures(&webhooks), engine.queued(&webhooks)?));
    api.reads.scan(account, look).await
}

fn show_figures(figures: &Figures, since: UnixMillis, clock: &Clock) -> Map<String, Value> {
    let window = |window: &Window| {
        json!({
            "from": clock.wall_of(window.from).max(since).to_string(),
            "attempts": window.attempts,
            "succeeded": window.succeeded,
            "attempts_success_ratio": ratio(window.succeeded, window.attempts),
            "delivered": window.delivered,
            "failed": window.failed,
            "dropped": window.dropped,
            "expired": window.expired,
            "cancelled": window.cancelled,
            // What was cancelled was not to be delivered any more.
            "deliveries_success_ratio": ratio(
                window.delivered,
                window.delivered + window.failed + window.dropped + window.expired,
            ),
            "response_time_ms": window.response.map(show_percentiles),
            "delivery_time_ms": {
                "first_attempt": window.first_attempt.map(show_percentiles),
                "all": window.arrived.map(show_percentiles),
            },
        })
    };
    let last_failure = figures.last_failure.map(|(at, webhook, said)| {
        json!({
            "at": at.to_string(), "webhook_id": webhook.to_string(), "outcome": show_said(said),
        })
    });
    let mut shown = Map::new();
    shown.insert("since".to_owned(), json!(since.to_string()));
    shown.insert("last_hour".to_owned(), window(&figures.hour));
    shown.insert("last_day".to_owned(), window(&figures.day));
    shown.insert("hours".to_owned(), show_hours(figures, clock));
    let last_success = figures.last_success.map(|at| at.to_string());
    shown.insert("last_success_at".to_owned(), json!(last_success));
    shown.insert("last_failure".to_owned(), json!(last_failure));
    shown
}

/// The last 24 hours, the oldest first. Their beginnings are those of the counting, not of the clock on the wall.
fn show_hours(figures: &Figures, clock: &Clock) -> Value {
    // To the second, or it would be told a millisecond off now and then.
    let last = clock.wall_of(figures.last_hour_from).0.saturating_add(500) / 1_000 * 1_000;
    let back = (0..figures.hours.len() as u64).rev();
    let rows = back.zip(&figures.hours).map(|(back, hour)| {
        let from = UnixMillis(last.saturating_sub(back * HOUR_MS));
        json!({
            "from": from.to_string(),
            "attempts": hour.attempts,
            "succeeded": hour.succeeded,
            "delivered": hour.delivered,
            "failed": hour.failed,
        })
    });
    Value::Array(rows.collect())
}

/// Four digits; `None` of nothing.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 10_000.0).round() / 10_000.0)
}

fn show_percentiles(of: Percentiles) -> Value {
    let ms = |ms: f64| (ms * 10.0).round() / 10.0;
    json!({ "p50": ms(of.p50_ms), "p95": ms(of.p95_ms), "p99": ms(of.p99_ms) })
}

/// An outcome without its details, which may name what a tenant is not to know.
pub(super) fn show_said(said: Said) -> Value {
    match said {
        Said::Status(status) => json!({ "kind": "status", "status": status }),
        Said::Fault(kind) => json!({ "kind": kind.as_str(), "status": null }),
    }
}

fn show_queued(queued: &Queued, sends: bool, clock: &Clock) -> Map<String, Value> {
    let first = queued.first.as_ref();
    let next = first
        .filter(|_| sends)
        .map(|first| clock.wall_of(first.entry.ready_at()).to_string());
    let first = first.map(|first| {
        json!({
            "webhook_id": first.webhook.to_string(),
            "event_id": first.event.as_ref().map(|event| event.id.as_str()),
            "received_at": first.event.as_ref().map(|event| event.received_at.to_string()),
            "due_at": clock.wall_of(first.entry.due).to_string(),
            "attempts": first.entry.attempts,
        })
    });
    let mut shown = Map::new();
    shown.insert("waiting".to_owned(), json!(queued.waiting));
    shown.insert("held".to_owned(), json!(queued.held));
    shown.insert("first".to_owned(), json!(first));
    shown.insert("next_attempt_at".to_owned(), json!(next));
    shown
}

/// How a lane does, as members of an object. Without one there is nothing in flight.
pub(super) fn show_lane(lane: Option<&LaneFigures>, clock: &Clock) -> Map<String, Value> {
    let standing = lane.map(|lane| match lane.standing {
        Standing::Fresh => "fresh",
        Standing::Proven => "proven",
        Standing::Doubted => "doubted",
    });
    let mut shown = Map::new();
    let in_flight = lane.map_or(0, |lane| lane.in_flight);
    shown.insert("in_flight".to_owned(), json!(in_flight));
    let concurrency = lane.map(|lane| lane.concurrency);
    shown.insert("concurrency".to_owned(), json!(concurrency));
    shown.insert("standing".to_owned(), json!(standing));
    let paused = lane.and_then(|lane| lane.paused);
    let until = paused.map(|(until, _)| clock.wall_of(until).to_string());
    shown.insert("paused_until".to_owned(), json!(until));
    let why = paused.map(|(_, why)| match why {
        Pause::Asked => "asked",
        Pause::Rate => "rate",
        Pause::Absent => "absent",
    });
    shown.insert("paused_because".to_owned(), json!(why));
    shown
}
