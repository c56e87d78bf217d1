//! Why an event was, or was not, delivered: `GET /api/v1/events/{id}/explain`, in words and for programs.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::engine::schedule::{LaneFigures, Pause};
use crate::engine::{Explained, Hold, KeptOut, Live, Reason, Said, Wait};
use crate::model::{
    Clock, DeliveryState, EndReason, FaultKind, Inactive, InactiveReason, Order, Outcome, Scope,
    UnixMillis, WebhookId,
};
use crate::store::LastAttempt;

use super::Api;
use super::access::Caller;
use super::deliveries::{show_state, state_name};
use super::error::Problem;
use super::events;
use super::page::{Asked, Named, Paging, json_answer, refused};
use super::stats::{show_lane, show_said};

/// Webhooks in one answer where no limit is named, and at most: each may have a filter to be held against the event,
/// and a delivery to be looked up.
pub(super) const WEBHOOKS_MAX: usize = 1_000;
/// Patterns and types that a sentence names.
const NAMED_MAX: usize = 8;
const HINT: &str = "POST /api/v1/events/rematch sends events to the webhooks that match them today";

/// `GET /api/v1/events/{id}/explain`: a row for each webhook of the account, and for each removed one that had a
/// delivery of the event; by id, so oldest first. The cursor is the last id shown.
pub(super) async fn explain(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named<String>,
    Asked(query): Asked<Paging>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let limit = query.limit.unwrap_or(WEBHOOKS_MAX);
    if !(1..=WEBHOOKS_MAX).contains(&limit) {
        let detail = format!("limit is a number from 1 to {WEBHOOKS_MAX}");
        return Err(refused("limit_invalid", detail));
    }
    let after = query.after::<WebhookId>()?;
    let (position, event) = events::find(&api, caller.account(), &id).await?;
    let reader = api.engine.reader().clone();
    let recipients = move || reader.recipients(position);
    let recipients = api.reads.look_up(recipients).await?;
    let registered = api.engine.webhooks(caller.account());
    let mut webhooks: Vec<WebhookId> = registered.iter().map(|live| live.webhook.id).collect();
    let none_registered = webhooks.is_empty();
    webhooks.extend(&recipients);
    webhooks.sort_unstable();
    webhooks.dedup();
    webhooks.retain(|id| after.is_none_or(|after| *id > after));
    let more = webhooks.len() > limit;
    webhooks.truncate(limit);
    let next = webhooks.last().filter(|_| more).map(ToString::to_string);
    let lanes: HashMap<_, _> = api.engine.lanes(&webhooks).await;
    let (engine, count) = (Arc::clone(&api.engine), recipients.len());
    let look = move |_: &_| {
        let rows = engine.explain((position, &event), &webhooks, &recipients, &lanes)?;
        Ok((event, rows))
    };
    let (event, rows) = api.reads.scan(caller.account(), look).await?;
    let clock = api.engine.clock();
    let rows: Vec<Value> = rows.iter().map(|row| show(row, clock)).collect();
    let detail = none_registered.then_some("the account has no webhook, so its events go nowhere");
    let shown = json!({
        "event_id": event.id.as_str(),
        "type": event.event_type,
        "received_at": event.received_at.to_string(),
        "deliveries": count,
        "detail": detail,
        "webhooks": rows,
        "next_cursor": next,
    });
    Ok(json_answer(StatusCode::OK, &shown))
}

/// What is told of one webhook.
struct Told {
    verdict: &'static str,
    reason: String,
    rule: Value,
}

fn show(row: &Explained, clock: &Clock) -> Value {
    let Told {
        verdict,
        reason,
        rule,
    } = tell(row, clock);
    let webhook = row.live.as_ref().map(|live| &live.webhook);
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| {
        shown.insert(name.to_owned(), value);
    };
    put("webhook_id", json!(row.webhook.to_string()));
    put("name", json!(webhook.map(|webhook| &webhook.name)));
    put("url", json!(webhook.map(|webhook| webhook.url.as_str())));
    put("verdict", json!(verdict));
    put("reason", json!(reason));
    put("rule", rule);
    let standing = row.standing.as_ref();
    put("attempts", json!(standing.map_or(0, |s| s.attempts)));
    let last = standing.and_then(|standing| standing.last_attempt.as_ref());
    let last = last.map(
        |last| json!({ "at": last.at.to_string(), "outcome": show_said(said(&last.outcome)) }),
    );
    put("last_attempt", json!(last));
    let sends = row.live.as_ref().is_some_and(|live| live.sends());
    let state = standing.map(|standing| show_state(&standing.state, sends, clock));
    for name in ["next_attempt_at", "ended_at"] {
        let value = state.as_ref().and_then(|state| state.get(name)).cloned();
        put(name, value.unwrap_or(Value::Null));
    }
    let matches = match &row.reason {
        Reason::NotRegisteredThen(today) => Some(today.is_none()),
        Reason::KeptOut { .. } => Some(false),
        Reason::WouldMatchToday { .. } => Some(true),
        _ => None,
    };
    put("matches_today", json!(matches));
    Value::Object(shown)
}

fn tell(row: &Explained, clock: &Clock) -> Told {
    let live = row.live.as_deref();
    let last = row.standing.as_ref().and_then(|s| s.last_attempt.as_ref());
    let attempts = row.standing.as_ref().map_or(0, |s| s.attempts);
    match (&row.reason, live) {
        (Reason::Delivered, _) => Told {
            verdict: "delivered",
            reason: match last {
                Some(last) => format!("delivered: attempt {attempts} {}", met(&last.outcome)),
                None => "delivered".to_owned(),
            },
            rule: Value::Null,
        },
        (Reason::Waits(wait), Some(live)) => waits(wait, live, row, clock),
        (Reason::Held(hold), _) => held(hold, live),
        (Reason::Ended(end), _) => ended(*end, attempts, last, live),
        (Reason::NotRegisteredThen(today), Some(live)) => {
            let at = live.webhook.created_at.to_string();
            let today = match today {
                None => format!("it would be sent today; {HINT}"),
                Some(rule) => format!("it would not be sent today either: {}", words(rule, live)),
            };
            Told {
                verdict: "not_registered_then",
                reason: format!(
                    "the webhook was registered at {at}, after the event arrived; {today}"
                ),
                rule: json!({ "kind": "registration", "registered_at": at }),
            }
        }
        (Reason::KeptOut { by, changed_since }, Some(live)) => {
            let since = match changed_since {
                true => " (by its rules of today; the webhook was changed since the event arrived)",
                false => "",
            };
            Told {
                verdict: "not_wanted",
                reason: format!("{}{since}", words(by, live)),
                rule: show_rule(by, live),
            }
        }
        (Reason::WouldMatchToday { changed_since }, Some(_)) => Told {
            verdict: "would_match_today",
            reason: match changed_since {
                true => format!(
                    "it would be sent today; the webhook was changed since the event arrived; {HINT}"
                ),
                false => format!(
                    "it would be sent today; the webhook was registered as the event arrived, or the config of its \
                     profile was changed since; {HINT}"
                ),
            },
            rule: Value::Null,
        },
        (Reason::Unclear, _)
        | (
            Reason::Waits(_)
            | Reason::NotRegisteredThen(_)
            | Reason::KeptOut { .. }
            | Reason::WouldMatchToday { .. },
            None,
        ) => Told {
            verdict: "unclear",
            reason: "a record of this delivery is damaged, so it is not known where it stands"
                .to_owned(),
            rule: json!({ "kind": "record" }),
        },
    }
}

fn waits(wait: &Wait, live: &Live, row: &Explained, clock: &Clock) -> Told {
    let last = row.standing.as_ref().and_then(|s| s.last_attempt.as_ref());
    let Wait {
        attempt,
        attempts_max: of,
        ..
    } = *wait;
    let due = clock.wall_of(wait.due);
    // A new run counts from one, and attempts of other kinds are no part of it.
    let made = row.standing.as_ref().map_or(0, |s| s.attempts);
    let in_all = made.saturating_add(1);
    let (number, before) = match in_all == attempt {
        true => (String::new(), format!("attempt {made}")),
        false => (format!(" ({in_all} in all)"), "the last one".to_owned()),
    };
    let because = match last {
        _ if wait.asked_for => ", as it was asked to be sent".to_owned(),
        Some(last) => format!(", because {before} {}", met(&last.outcome)),
        None => String::new(),
    };
    let since = if wait.is_due { "since " } else { "" };
    let mut reason =
        format!("waits for attempt {attempt} of {of}{number}, due {since}{due}{because}");
    let mut rule = json!({ "kind": "schedule", "attempt": attempt, "of": of });
    if !wait.is_due {
        return Told {
            verdict: "waiting",
            reason,
            rule,
        };
    }
    reason += ": ";
    match row.lane.and_then(|lane| lane.paused) {
        Some((until, why)) => {
            let (words, kept) = paused(clock.wall_of(until), why, live);
            reason += &words;
            rule = kept;
        }
        None => {
            reason += &match row.lane {
                Some(lane) => places(&lane),
                None => "it goes out in its turn".to_owned(),
            };
        }
    }
    if live.webhook.order != Order::None {
        if row.lane.is_none_or(|lane| lane.paused.is_none()) {
            rule = json!({ "kind": "order", "attempt": attempt, "of": of });
        }
        reason += "; its order lets it go only after what came before it";
    }
    if let (Value::Object(rule), Some(lane)) = (&mut rule, &row.lane) {
        rule.extend(show_lane(Some(lane), clock));
    }
    Told {
        verdict: "waiting",
        reason,
        rule,
    }
}

/// Why nothing goes out to the webhook for a while.
fn paused(until: UnixMillis, why: Pause, live: &Live) -> (String, Value) {
    match why {
        Pause::Asked => (
            format!("its receiver asked for a pause until {until}"),
            json!({ "kind": "pause" }),
        ),
        Pause::Absent => {
            let what = match live.webhook.oauth2 {
                None => "nobody has answered at its receiver lately",
                Some(_) => {
                    "nobody has answered at its receiver lately, or no access token could be had for it"
                }
            };
            (
                format!("{what}, so it is only tried now and then, and next at {until}"),
                json!({ "kind": "absent" }),
            )
        }
        Pause::Rate => match rate_words(live) {
            Some((words, limits)) => (
                format!("its rate of {words} is used up until {until}"),
                limits,
            ),
            None => (
                format!("what was held goes out at a limited rate, and on at {until}"),
                json!({ "kind": "rate" }),
            ),
        },
    }
}

/// Which deliveries of a lane are in flight is the scheduler's alone, so this says what is known of all of them.
fn places(lane: &LaneFigures) -> String {
    match (lane.in_flight, lane.concurrency) {
        (0, _) => "it goes out in its turn; nothing is in flight to the webhook now".to_owned(),
        (some, of) if some >= of => {
            format!("all {of} places of the webhook are in use, by this delivery or by others")
        }
        (some, of) => {
            format!(
                "it is in flight or goes out in its turn; {some} of {of} places of the webhook are in use"
            )
        }
    }
}

fn held(hold: &Hold, live: Option<&Live>) -> Told {
    let (why, rule) = match hold {
        Hold::Inactive(Some(Inactive { reason, since })) => {
            let why = match reason {
                InactiveReason::Request => "at its owner's request",
                InactiveReason::Exhausted => "as a delivery's schedule ended without success",
                InactiveReason::Gone => "as its receiver answered 410",
                InactiveReason::Failing => "as nothing had arrived for too long",
                InactiveReason::Undeclared => "as the config declares it no more",
            };
            let reason = reason.as_str();
            (
                format!("the webhook is disabled since {since} ({reason}), {why}"),
                json!({ "kind": "inactive", "reason": reason, "since": since.to_string() }),
            )
        }
        Hold::Inactive(None) => (
            "the webhook is disabled".to_owned(),
            json!({ "kind": "inactive", "reason": null, "since": null }),
        ),
        Hold::Misfit(why) => {
            let rule = match live {
                Some(live) if !live.lacks_format() => {
                    json!({ "kind": "tls", "tls": live.webhook.tls })
                }
                live => {
                    let format = live.and_then(|live| live.webhook.format.as_ref());
                    json!({ "kind": "format", "format": format })
                }
            };
            (why.clone(), rule)
        }
        Hold::LeftOut => (
            "the config does not fit the webhook any more; the daemon's log says how".to_owned(),
            json!({ "kind": "config" }),
        ),
    };
    Told {
        verdict: "held",
        reason: format!("held: {why}"),
        rule,
    }
}

fn ended(end: EndReason, attempts: u32, last: Option<&LastAttempt>, live: Option<&Live>) -> Told {
    let kind = match end {
        EndReason::Exhausted => "schedule",
        EndReason::Gone => "gone",
        EndReason::WebhookRemoved => "removed",
        EndReason::Expired => "retention",
        EndReason::OverRate => "rate",
        EndReason::Unreadable => "unreadable",
        EndReason::Discarded => "discarded",
    };
    let mut rule = json!({ "kind": kind });
    let why = match end {
        EndReason::Exhausted => {
            rule = json!({ "kind": kind, "attempts": attempts });
            let met = last.map_or_else(|| "failed".to_owned(), |last| met(&last.outcome));
            match attempts {
                1 => format!("its only attempt {met}"),
                _ => format!("its schedule has ended; the last of {attempts} attempts {met}"),
            }
        }
        EndReason::Gone => {
            "the receiver answered 410, and the profile takes it at its word".to_owned()
        }
        EndReason::WebhookRemoved => "the webhook was removed".to_owned(),
        EndReason::Expired => "it had waited for longer than history is kept".to_owned(),
        EndReason::OverRate => match live.and_then(rate_words) {
            Some((words, limits)) => {
                rule = limits;
                let backlog = rule.get("backlog").cloned().unwrap_or_default();
                format!("more than {backlog} deliveries waited over the webhook's rate of {words}")
            }
            None => {
                "more deliveries waited over the webhook's rate than its profile allowed".to_owned()
            }
        },
        EndReason::Unreadable => {
            "the stored event is damaged or missing, so there is nothing to send".to_owned()
        }
        EndReason::Discarded => "discarded on request while it was held".to_owned(),
    };
    let at = UnixMillis::default();
    let verdict = state_name(&DeliveryState::Ended { reason: end, at }, true);
    Told {
        verdict,
        reason: format!("{verdict}: {why}"),
        rule,
    }
}

/// A webhook's rate in words, and as a rule.
fn rate_words(live: &Live) -> Option<(String, Value)> {
    let rate = &live.contract.profile.rate;
    let words: Vec<String> = [(rate.per_second, "second"), (rate.per_hour, "hour")]
        .into_iter()
        .filter_map(|(count, period)| Some(format!("{} per {period}", count?)))
        .collect();
    let rule = json!({
        "kind": "rate", "per_second": rate.per_second, "per_hour": rate.per_hour, "backlog": rate.backlog,
    });
    (!words.is_empty()).then(|| (words.join(" and "), rule))
}

const fn said(outcome: &Outcome) -> Said {
    match outcome {
        Outcome::Status(code) => Said::Status(*code),
        Outcome::Fault { kind, .. } => Said::Fault(*kind),
    }
}

/// What an attempt met, as a predicate. A fault's details stay out: they may name addresses inside the operator's
/// network.
fn met(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Status(code) => format!("got {code}"),
        Outcome::Fault { kind, .. } => match kind {
            FaultKind::Dns => "failed: the host's name did not resolve",
            FaultKind::Connect => "failed: no connection could be made",
            FaultKind::Tls => "failed: the TLS handshake failed, or the certificate did not verify",
            FaultKind::Timeout => "got no answer in time",
            FaultKind::Reset => "failed: the connection ended before an answer was complete",
            FaultKind::Protocol => "failed: the answer was not valid HTTP",
            FaultKind::AddressBlocked => "was not sent: the destination's address is refused",
            FaultKind::Render => "was not sent: no request could be made of the event",
            FaultKind::Token => "was not sent: no access token could be had",
        }
        .to_owned(),
    }
}

/// Some names in quotes, and how many more there are.
fn named(names: &[String]) -> String {
    let quoted = names
        .iter()
        .take(NAMED_MAX)
        .map(|name| format!("\"{name}\""));
    let listed = quoted.collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(NAMED_MAX) {
        None | Some(0) => listed,
        Some(more) => format!("{listed} and {more} more"),
    }
}

/// A rule that keeps an event out, in words.
fn words(rule: &KeptOut, live: &Live) -> String {
    match rule {
        KeptOut::Type { types } => {
            let wanted = named(&live.webhook.events);
            match types.as_slice() {
                [] => format!(
                    "the event names no type where the profile looks for one; the webhook wants {wanted}"
                ),
                types => format!("the event is {}; the webhook wants {wanted}", named(types)),
            }
        }
        KeptOut::Scope { given } => {
            let field = &live.contract.profile.scope_field;
            let wanted = live.webhook.scope.as_deref().unwrap_or_default();
            match given {
                Some(given) => {
                    format!("the event's {field} is \"{given}\"; the webhook wants \"{wanted}\"")
                }
                None => format!("the event has no {field}; the webhook wants \"{wanted}\""),
            }
        }
        KeptOut::Filter { sentence, .. } => sentence.clone(),
    }
}

fn show_rule(rule: &KeptOut, live: &Live) -> Value {
    match rule {
        KeptOut::Type { types } => {
            json!({ "kind": "type", "wanted": live.webhook.events, "found": types })
        }
        KeptOut::Scope { given } => json!({
            "kind": "scope",
            "field": live.contract.profile.scope_field,
            "wanted": live.webhook.scope,
            "found": given,
        }),
        KeptOut::Filter {
            pointer,
            place,
            found,
            wanted,
            ..
        } => json!({
            "kind": "filter", "pointer": pointer, "place": place, "wanted": wanted, "found": found,
        }),
    }
}
