//! What happens, as it happens: a stream of Server-Sent Events (WHATWG HTML, 9.2) for an account.
//!
//! A stream begins with `hello`; from then on nothing is left out without saying so. It holds a place of its account's,
//! and the connection that it came in on. It ends when the daemon stops, when its key may not read any more, and when
//! the one webhook that it was asked for is removed. An idle one is kept, by a comment line now and then, so that what
//! stands between sees life; where connections run out it may have to give way, and its client comes again.
//!
//! It tells what the delivery log tells, no more: no bodies, no headers, no secrets.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use hyper::body::{Body as HttpBody, Frame};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::engine::{
    Change, Full, Happening, Heard, LISTENERS_MAX, LISTENERS_OWN_MAX, Listener, News, Told,
};
use crate::model::{Scope, WebhookId};
use crate::render::pattern::Pattern;

use super::Api;
use super::access::{Access, Caller};
use super::deliveries::{STATES, show_outcome};
use super::error::Problem;
use super::page::{Asked, refused};
use super::webhooks::{self, status_of};

/// How often an idle stream says that it is alive. Proxies usually close what is silent for a minute.
const BEAT_EVERY: Duration = Duration::from_secs(15);
/// Bytes put together for one write: where news come fast a client gets many at once.
const PART_MAX: usize = 16 << 10;
/// News looked at for one part: of those that are not wanted there may be any number.
const LOOK_AT_MAX: usize = 256;
/// When a client is to come again whose stream has ended, milliseconds; browsers heed it.
const COME_AGAIN_MS: u32 = 2_000;
/// What is asked of proxies that would hold an answer back until it is complete.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LiveQuery {
    webhook: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    state: Option<String>,
}

/// What a stream is asked for.
#[derive(Debug, Default)]
struct Wanted {
    webhook: Option<WebhookId>,
    event_type: Option<Pattern>,
    state: Option<String>,
}

impl Wanted {
    fn read(query: LiveQuery, api: &Api, caller: &Caller) -> Result<Self, Problem> {
        let webhook = match query.webhook {
            Some(id) => {
                let wrong = |_| refused("query_invalid", "webhook is a webhook's id, as `wh_…`");
                id.parse::<WebhookId>().map_err(wrong)?;
                Some(webhooks::find(api, caller.account(), &id)?.webhook.id)
            }
            None => None,
        };
        let event_type = query.event_type.map(|text| {
            Pattern::read(&text).map_err(|why| refused("query_invalid", format!("type: {why}")))
        });
        if let Some(state) = &query.state
            && !STATES.contains(&state.as_str())
        {
            let detail = format!("state is one of: {}", STATES.join(", "));
            return Err(refused("query_invalid", detail));
        }
        Ok(Self {
            webhook,
            event_type: event_type.transpose()?,
            state: query.state,
        })
    }

    /// Changes of webhooks have neither a type nor a state: where one is asked for they are left out.
    fn takes(&self, news: &News) -> bool {
        let (event, state) = match &news.what {
            Happening::Attempt { event, state, .. } => (event, *state),
            Happening::Ended { event, reason } => (event, reason.state()),
            Happening::Webhook(_) => {
                return self.is_of(news) && self.event_type.is_none() && self.state.is_none();
            }
        };
        let fits = |pattern: &Pattern| {
            let event = event.as_ref();
            event.is_some_and(|(_, event_type)| pattern.matches(event_type))
        };
        self.is_of(news)
            && self.event_type.as_ref().is_none_or(fits)
            && self.state.as_deref().is_none_or(|wanted| wanted == state)
    }

    /// What is wanted of `first` and of what is there behind it, and whether nothing can come any more. What was taken
    /// from there is looked at: nothing is asked for that would not fit in here any more.
    fn part(&self, first: Heard, mut at_once: impl FnMut() -> Option<Heard>) -> (String, bool) {
        let (mut part, mut heard, mut looked_at) = (String::new(), Some(first), 0);
        while let Some(one) = heard {
            match &one {
                Heard::Missed(count) => {
                    part.push_str(&frame("missed", &json!({ "missed": count })));
                }
                Heard::News(news) => {
                    if self.takes(news) {
                        part.push_str(&show(news));
                    }
                    if self.ends_with(news) {
                        return (part, true);
                    }
                }
            }
            looked_at += 1;
            let is_full = part.len() >= PART_MAX || looked_at >= LOOK_AT_MAX;
            heard = if is_full { None } else { at_once() };
        }
        (part, false)
    }

    fn is_of(&self, news: &News) -> bool {
        self.webhook.is_none_or(|webhook| webhook == news.webhook)
    }

    /// Whether nothing can come any more that is wanted.
    fn ends_with(&self, news: &News) -> bool {
        let removed = matches!(news.what, Happening::Webhook(Change::Removed));
        removed && self.webhook == Some(news.webhook)
    }
}

/// `GET /api/v1/live`
pub(super) async fn listen(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<LiveQuery>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let wanted = Wanted::read(query, &api, &caller)?;
    // Before the key is looked at again: a reload in between is seen by the one or the other.
    let keys = api.access.subscribe();
    if !caller.may_still_read(&api) {
        return Err(Problem::unauthorized());
    }
    let listener = api.engine.listen(caller.account()).map_err(too_many)?;
    // Removed before there was a listener, it would be listened to for ever.
    if let Some(webhook) = wanted.webhook {
        webhooks::find(&api, caller.account(), &webhook.to_string())?;
    }
    let at = api.engine.clock().wall();
    let hello = format!(
        "retry: {COME_AGAIN_MS}\n{}",
        frame("hello", &json!({ "at": at.to_string() }))
    );
    tracing::debug!(account = %caller.account(), key = caller.key_name(), "a live stream begins");
    let start = tokio::time::Instant::now() + BEAT_EVERY;
    let mut beats = interval_at(start, BEAT_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stream = Stream {
        api,
        caller,
        wanted,
        listener,
        keys,
        beats,
        has_ended: false,
    };
    let body = Unfolded {
        first: Some(Bytes::from(hello)),
        next: Some(Box::pin(stream.step())),
    };
    let mut response = Body::new(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
    Ok(response)
}

fn too_many(full: Full) -> Problem {
    let detail = match full {
        Full::Own => format!(
            "{LISTENERS_OWN_MAX} live streams of this account are open; close one of them, and try again"
        ),
        Full::All => format!(
            "{LISTENERS_MAX} live streams of all accounts together are open; try again when some have ended"
        ),
    };
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail)
        .with(RETRY_AFTER, HeaderValue::from_static("10"))
}

/// One stream: what it needs to make its next part.
struct Stream {
    api: Arc<Api>,
    caller: Caller,
    wanted: Wanted,
    listener: Listener,
    keys: watch::Receiver<Arc<Access>>,
    beats: Interval,
    has_ended: bool,
}

impl Stream {
    /// Makes the next part, and waits for it. Without one the stream has ended.
    async fn step(mut self) -> Option<(Bytes, Self)> {
        if self.has_ended {
            return None;
        }
        loop {
            let heard = tokio::select! {
                biased;
                changed = self.keys.changed() => {
                    if changed.is_ok() && self.caller.may_still_read(&self.api) {
                        continue;
                    }
                    self.has_ended = true;
                    return Some((comment("the key may not read any more"), self));
                }
                // Before the news: where none of them is wanted, they say nothing to the client.
                _ = self.beats.tick() => return Some((comment("alive"), self)),
                heard = self.listener.next() => heard,
            };
            let part = self.part(heard?);
            if !part.is_empty() {
                return Some((Bytes::from(part), self));
            }
            if self.has_ended {
                return None;
            }
        }
    }

    /// What was heard, and what is there behind it, as far as it is wanted.
    fn part(&mut self, first: Heard) -> String {
        let listener = &mut self.listener;
        let (part, has_ended) = self.wanted.part(first, || listener.at_once());
        self.has_ended = has_ended;
        part
    }
}

/// An event of the stream. JSON as it is written here has no line breaks.
fn frame(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

fn comment(text: &str) -> Bytes {
    Bytes::from(format!(": {text}\n\n"))
}

fn show(news: &News) -> String {
    let (at, webhook) = (news.at.to_string(), news.webhook.to_string());
    let id = |event: &Told| event.as_ref().map(|(id, _)| id.as_str().to_owned());
    let event_type = |event: &Told| event.as_ref().map(|(_, event_type)| event_type.clone());
    match &news.what {
        Happening::Attempt {
            event,
            number,
            trigger,
            outcome,
            total_us,
            state,
            reason,
            next_attempt_at,
        } => {
            let data = json!({
                "at": at,
                "webhook_id": webhook,
                "event_id": id(event),
                "type": event_type(event),
                "attempt": number,
                "trigger": trigger.as_str(),
                "status": status_of(outcome),
                "outcome": show_outcome(outcome),
                "response_time_ms": f64::from(*total_us) / 1000.0,
                "state": state,
                "reason": reason.map(|reason| reason.as_str()),
                "next_attempt_at": next_attempt_at.map(|at| at.to_string()),
            });
            frame("attempt", &data)
        }
        Happening::Ended { event, reason } => {
            let data = json!({
                "at": at,
                "webhook_id": webhook,
                "event_id": id(event),
                "type": event_type(event),
                "state": reason.state(),
                "reason": reason.as_str(),
            });
            frame("ended", &data)
        }
        Happening::Webhook(change) => {
            let data = json!({ "at": at, "webhook_id": webhook, "change": change.as_str() });
            frame("webhook", &data)
        }
    }
}

type Step = Pin<Box<dyn Future<Output = Option<(Bytes, Stream)>> + Send>>;

/// A body made step by step; the next part is made when the connection asks for it.
struct Unfolded {
    first: Option<Bytes>,
    next: Option<Step>,
}

impl HttpBody for Unfolded {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(next) = &mut self.next else {
            return Poll::Ready(None);
        };
        match next.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.next = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some((part, stream))) => {
                self.next = Some(Box::pin(stream.step()));
                Poll::Ready(Some(Ok(Frame::data(part))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EndReason, EventId, FaultKind, Outcome, Trigger, UnixMillis};

    fn event(event_type: &str) -> Told {
        Some((EventId::new("e1").unwrap(), event_type.to_owned()))
    }

    fn attempt(webhook: u128, event_type: &str, state: &'static str) -> News {
        News {
            at: UnixMillis(1_000),
            webhook: WebhookId(webhook),
            what: Happening::Attempt {
                event: event(event_type),
                number: 2,
                trigger: Trigger::Schedule,
                outcome: Outcome::Fault {
                    kind: FaultKind::AddressBlocked,
                    detail: "10.1.2.3 is in 10.0.0.0/8".to_owned(),
                },
                total_us: 1_500,
                state,
                reason: None,
                next_attempt_at: Some(UnixMillis(2_000)),
            },
        }
    }

    fn of(webhook: u128, what: Happening) -> News {
        News {
            at: UnixMillis(1_000),
            webhook: WebhookId(webhook),
            what,
        }
    }

    #[test]
    fn a_frame_is_two_lines_and_tells_tenants_nothing_of_addresses() {
        let shown = show(&attempt(1, "a.b", "waiting"));
        let lines: Vec<&str> = shown.split('\n').collect();
        assert_eq!((lines.len(), lines[0], lines[2]), (4, "event: attempt", ""));
        let data: Value = serde_json::from_str(lines[1].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["event_id"], "e1");
        assert_eq!(data["outcome"]["kind"], "address_blocked");
        assert_eq!(data["status"], Value::Null);
        assert_eq!(data["response_time_ms"], 1.5);
        assert_eq!(data["next_attempt_at"], "1970-01-01T00:00:02.000Z");
        assert!(!shown.contains("10.1.2.3"), "{shown}");
        let unread = of(
            1,
            Happening::Ended {
                event: None,
                reason: EndReason::OverRate,
            },
        );
        let shown = show(&unread);
        assert!(shown.contains("\"event_id\":null") && shown.contains("\"state\":\"dropped\""));
    }

    #[test]
    fn nothing_that_was_heard_is_left_out_however_much_is_not_wanted() {
        let wanted = Wanted {
            webhook: Some(WebhookId(1)),
            ..Wanted::default()
        };
        // One in a hundred is wanted, so no part is full of them.
        let heard = |number: usize| {
            let news = attempt(
                u128::from(!number.is_multiple_of(100)) + 1,
                "a.b",
                "waiting",
            );
            Heard::News(Arc::new(news))
        };
        let all = 4 * LOOK_AT_MAX;
        let (mut ring, mut told, mut parts) = ((0..all).map(heard), 0, 0);
        while let Some(first) = ring.next() {
            let (part, has_ended) = wanted.part(first, || ring.next());
            told += part.matches("event: attempt").count();
            parts += 1;
            assert!(!has_ended);
        }
        assert_eq!((told, parts), (all.div_ceil(100), 4));
        let removed = Heard::News(Arc::new(of(1, Happening::Webhook(Change::Removed))));
        assert!(wanted.part(removed, || panic!("behind it is nothing")).1);
    }

    #[test]
    fn what_is_asked_for_is_told_and_the_rest_is_not() {
        let takes = |wanted: &Wanted, news: &News| wanted.takes(news);
        let changed = of(1, Happening::Webhook(Change::Disabled));
        let all = Wanted::default();
        assert!(takes(&all, &attempt(1, "a.b", "waiting")) && takes(&all, &changed));
        let of_one = Wanted {
            webhook: Some(WebhookId(1)),
            ..Wanted::default()
        };
        assert!(takes(&of_one, &attempt(1, "a.b", "waiting")) && takes(&of_one, &changed));
        assert!(!takes(&of_one, &attempt(2, "a.b", "waiting")));
        let of_types = Wanted {
            event_type: Some(Pattern::read("a.*").unwrap()),
            ..Wanted::default()
        };
        assert!(takes(&of_types, &attempt(1, "a.b", "waiting")));
        assert!(!takes(&of_types, &attempt(1, "b", "waiting")) && !takes(&of_types, &changed));
        let dropped = Wanted {
            state: Some("dropped".to_owned()),
            ..Wanted::default()
        };
        let reason = EndReason::OverRate;
        let event = event("a");
        assert!(takes(&dropped, &of(1, Happening::Ended { event, reason })));
        assert!(!takes(&dropped, &attempt(1, "a", "failed")) && !takes(&dropped, &changed));
        let removed = of(1, Happening::Webhook(Change::Removed));
        assert!(of_one.ends_with(&removed) && !all.ends_with(&removed));
        assert!(!of_one.ends_with(&changed));
    }
}
