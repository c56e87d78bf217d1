//! The delivery log over HTTP: list, one delivery with its attempts, send again.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::engine::{Live, prepared_body};
use crate::model::{
    Attempt, AuditAction, AuditEntry, BLOCKED_TEXT, Clock, DeliveryState, FaultKind, Outcome,
    Position, Scope, UnixMicros,
};
use crate::store::{AttemptsAsked, Delivery, DeliverySummary};

use super::Api;
use super::access::Caller;
use super::error::Problem;
use super::events;
use super::page::{
    Asked, Named, ROWS_MAX, json_answer, page, read_cursor, refused, row_limit, show_cursor,
    text_answer,
};
use super::webhooks::{self, status_of};

/// Deliveries looked at for one page of a filtered list: bounds the time of a call whose filter fits
/// almost nothing; the answer then has a cursor and fewer rows.
const SCAN_MAX: usize = 10_000;
const SCAN_STEP: usize = 200;
/// What the attempts of one answer hold, about: an answer is held until its client has taken it, and as JSON it may be
/// six times as long. A usual delivery stays far below it.
const ATTEMPTS_BYTES_MAX: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<usize>,
    cursor: Option<String>,
    state: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttemptsQuery {
    limit: Option<usize>,
    cursor: Option<String>,
}

/// What a list is asked for.
struct Filter {
    state: Option<String>,
    event_type: Option<String>,
    since: Option<UnixMicros>,
    until: Option<UnixMicros>,
    active: bool,
}

/// The states of deliveries, as the API names them.
pub(super) const STATES: [&str; 7] = [
    "waiting",
    "held",
    "delivered",
    "failed",
    "cancelled",
    "dropped",
    "expired",
];

impl Filter {
    fn read(query: &ListQuery, active: bool) -> Result<Self, Problem> {
        let bad = |detail: String| refused("query_invalid", detail);
        if let Some(state) = &query.state
            && !STATES.contains(&state.as_str())
        {
            return Err(bad(format!("state is one of: {}", STATES.join(", "))));
        }
        let time = |text: &Option<String>| match text {
            Some(text) => UnixMicros::parse(text)
                .map(Some)
                .map_err(|why| bad(why.to_string())),
            None => Ok(None),
        };
        Ok(Self {
            state: query.state.clone(),
            event_type: query.event_type.clone(),
            since: time(&query.since)?,
            until: time(&query.until)?,
            active,
        })
    }

    fn fits(&self, row: &DeliverySummary) -> bool {
        self.state
            .as_deref()
            .is_none_or(|state| state == state_name(&row.state, self.active))
            && self
                .event_type
                .as_deref()
                .is_none_or(|wanted| wanted == row.event_type)
            && self.since.is_none_or(|since| row.created_at >= since)
            && self.until.is_none_or(|until| row.created_at <= until)
    }
}

/// `GET /api/v1/webhooks/{id}/deliveries`: newest first.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named<String>,
    Asked(query): Asked<ListQuery>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let limit = row_limit(query.limit)?;
    let before = read_cursor(query.cursor.as_deref())?;
    let live = webhooks::find(&api, caller.account(), &id)?;
    let (reader, webhook) = (api.engine.reader().clone(), live.webhook.id);
    let filter = Filter::read(&query, live.sends())?;
    let active = filter.active;
    let read = move |gone: &CancellationToken| {
        let (mut rows, mut before, mut scanned) = (Vec::new(), before, 0);
        loop {
            let found = reader.deliveries(webhook, before, SCAN_STEP)?;
            // Fewer than asked for is not the end: events that cannot be read are left out.
            let more = !found.is_empty();
            for row in found {
                before = Some(row.event);
                scanned += 1;
                if filter.fits(&row) {
                    if rows.len() == limit {
                        // One more than asked for: there is a next page, from the last row shown.
                        let last = rows.last().map(|row: &DeliverySummary| row.event);
                        return Ok((rows, last));
                    }
                    rows.push(row);
                }
            }
            if !more || scanned >= SCAN_MAX || gone.is_cancelled() {
                return Ok((rows, before.filter(|_| more)));
            }
        }
    };
    let (rows, next) = api.reads.scan(caller.account(), read).await?;
    let shown: Vec<Value> = rows
        .iter()
        .map(|row| show_summary(row, active, api.engine.clock()))
        .collect();
    let next = next.map(show_cursor);
    Ok(page(shown, next))
}

fn show_summary(row: &DeliverySummary, active: bool, clock: &Clock) -> Value {
    let mut shown = Map::new();
    shown.insert("event_id".to_owned(), json!(row.event_id.as_str()));
    shown.insert("type".to_owned(), json!(row.event_type));
    shown.insert("created_at".to_owned(), json!(row.created_at.rfc3339(6)));
    shown.extend(show_state(&row.state, active, clock));
    shown.insert("attempts".to_owned(), json!(row.attempts));
    let last = row.last_attempt.as_ref().map(|last| {
        json!({
            "at": last.at.to_string(),
            "status": status_of(&last.outcome),
            "outcome": show_outcome(&last.outcome),
            "response_time_ms": f64::from(last.duration_us) / 1000.0,
        })
    });
    shown.insert("last_attempt".to_owned(), json!(last));
    Value::Object(shown)
}

/// `GET /api/v1/webhooks/{id}/deliveries/{event}`: one delivery with its attempts, oldest first: the newest ones, and
/// behind the cursor those before them.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named((id, event)): Named<(String, String)>,
    Asked(query): Asked<AttemptsQuery>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let asked = AttemptsAsked {
        before: read_cursor(query.cursor.as_deref())?,
        // All that a schedule makes, unless fewer are asked for.
        limit: row_limit(query.limit.or(Some(ROWS_MAX)))?,
        bytes_max: ATTEMPTS_BYTES_MAX,
    };
    let live = webhooks::find(&api, caller.account(), &id)?;
    let (position, _) = events::find(&api, caller.account(), &event).await?;
    let engine = Arc::clone(&api.engine);
    // Made where it is read, as it may take a moment, too.
    let read = move || {
        let delivery = engine
            .reader()
            .delivery_page(live.webhook.id, position, asked)?;
        Ok(delivery.map(|it| show_delivery(&it, &live, engine.clock()).to_string()))
    };
    let shown = api.reads.look_up(read).await?;
    let shown = shown.ok_or_else(|| Problem::not_found("delivery"))?;
    Ok(text_answer(StatusCode::OK, shown))
}

fn show_delivery(delivery: &Delivery, live: &Live, clock: &Clock) -> Value {
    let mut shown = Map::new();
    shown.insert("webhook_id".to_owned(), json!(live.webhook.id.to_string()));
    shown.insert("event_id".to_owned(), json!(delivery.event.id.as_str()));
    shown.insert("type".to_owned(), json!(delivery.event.event_type));
    shown.extend(show_state(&delivery.state, live.sends(), clock));
    shown.insert(
        "request_body".to_owned(),
        json!(prepared_body(live, &delivery.event)),
    );
    let attempts: Vec<Value> = delivery.attempts.iter().map(show_attempt).collect();
    shown.insert("attempts".to_owned(), Value::Array(attempts));
    let made = delivery.attempts_made;
    shown.insert("attempts_made".to_owned(), json!(made));
    let first = delivery.recorded.first().copied();
    let earlier = first.filter(|_| delivery.has_earlier).map(show_cursor);
    shown.insert("next_cursor".to_owned(), json!(earlier));
    Value::Object(shown)
}

/// `POST /api/v1/webhooks/{id}/deliveries/{event}/retry`: 202, and it goes out now.
pub(super) async fn retry(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named((id, event)): Named<(String, String)>,
) -> Result<Response, Problem> {
    caller.require(Scope::Admin)?;
    let live = webhooks::find(&api, caller.account(), &id)?;
    let (position, found): (Position, _) = events::find(&api, caller.account(), &event).await?;
    let entry = AuditEntry {
        subject: Some(found.id.as_str().to_owned()),
        ..caller.does_to(AuditAction::DeliveryRetried, live.webhook.id)
    };
    let id = live.webhook.id;
    api.engine.send_again(id, position, Some(entry)).await?;
    let shown = json!({ "event_id": found.id.as_str(), "webhook_id": live.webhook.id.to_string() });
    Ok(json_answer(StatusCode::ACCEPTED, &shown))
}

/// The name of a state in the API. What waits for an inactive webhook is held.
pub(super) fn state_name(state: &DeliveryState, active: bool) -> &'static str {
    match state {
        DeliveryState::Pending { .. } if active => "waiting",
        DeliveryState::Pending { .. } => "held",
        DeliveryState::Delivered { .. } => "delivered",
        DeliveryState::Ended { reason, .. } => reason.state(),
    }
}

pub(super) fn show_state(state: &DeliveryState, active: bool, clock: &Clock) -> Map<String, Value> {
    let (due, ended, reason) = match state {
        DeliveryState::Pending { due, not_before } => {
            (Some(clock.wall_of((*due).max(*not_before))), None, None)
        }
        DeliveryState::Delivered { at } => (None, Some(*at), None),
        DeliveryState::Ended { reason, at } => (None, Some(*at), Some(reason.as_str())),
    };
    let mut shown = Map::new();
    shown.insert("state".to_owned(), json!(state_name(state, active)));
    shown.insert("reason".to_owned(), json!(reason));
    let due = due.filter(|_| active).map(|due| due.to_string());
    shown.insert("next_attempt_at".to_owned(), json!(due));
    shown.insert("ended_at".to_owned(), json!(ended.map(|at| at.to_string())));
    shown
}

pub(super) fn show_outcome(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Status(code) => json!({ "kind": "status", "detail": code.to_string() }),
        // What was recorded before says more.
        Outcome::Fault {
            kind: FaultKind::AddressBlocked,
            ..
        } => {
            json!({ "kind": FaultKind::AddressBlocked.as_str(), "detail": BLOCKED_TEXT })
        }
        Outcome::Fault { kind, detail } => json!({ "kind": kind.as_str(), "detail": detail }),
    }
}

pub(super) fn show_attempt(attempt: &Attempt) -> Value {
    let pairs = |list: &[(String, String)]| -> Value {
        let rows = list.iter().map(|(name, value)| json!([name, value]));
        Value::Array(rows.collect())
    };
    let response = attempt.response.as_ref().map(|response| {
        json!({
            "headers": pairs(&response.headers),
            "body": String::from_utf8_lossy(&response.body),
            "truncated": response.truncated,
        })
    });
    let phases = &attempt.phases;
    let ms = |us: Option<u32>| us.map(|us| f64::from(us) / 1000.0);
    json!({
        "attempt": attempt.number,
        "trigger": attempt.trigger.as_str(),
        "started_at": attempt.started_at.to_string(),
        "status": status_of(&attempt.outcome),
        "outcome": show_outcome(&attempt.outcome),
        "response_time_ms": f64::from(phases.total_us) / 1000.0,
        "phases_ms": {
            "dns": ms(phases.dns_us),
            "connect": ms(phases.connect_us),
            "tls": ms(phases.tls_us),
            "first_byte": ms(phases.first_byte_us),
            "total": ms(Some(phases.total_us)),
        },
        "request_headers": pairs(&attempt.request_headers),
        "response": response,
    })
}
