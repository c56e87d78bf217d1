//! How much one key may ask for: calls that manage in a minute, and events in a second.
//!
//! A minute starts with its first request, so it never holds more than its number; two that follow each
//! other may lie close. Events have a second's worth at once, and then flow at their rate: as a batch may have
//! more than that, it is let in where there is room for one, and what it has too many keeps later ones waiting. What
//! is refused is not counted, but for the first event of a batch, which is counted before the batch is read.
//!
//! Answers say how a key stands in the fields `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers-10).

use std::sync::Mutex;
use std::time::Duration;

use http::header::{HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::error::Problem;

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What a key may ask for at most, where there is a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// Calls that manage, in a minute.
    pub(super) requests: Option<u32>,
    /// Events, in a second.
    pub(super) events: Option<u32>,
}

/// What one key has asked for.
#[derive(Debug, Default)]
pub(super) struct Quota {
    minute: Mutex<Option<Minute>>,
    /// When all events that were let in will have flowed off at the key's rate.
    flowed: Mutex<Option<Instant>>,
}

#[derive(Clone, Copy, Debug)]
struct Minute {
    started: Instant,
    asked: u32,
}

/// How a key stands: what is left, and for how long that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    left: u32,
    wait: Duration,
}

impl Quota {
    /// Counts a call that manages; `max` in a minute.
    ///
    /// # Errors
    /// 429 with `Retry-After` where the minute is used up.
    pub(super) fn take_request(&self, max: u32, now: Instant) -> Result<(), Problem> {
        self.count(max, now).map_err(|wait| {
            let seconds = whole_seconds(wait);
            let detail = format!("a key may make {max} requests in a minute; go on in {seconds} s");
            refusal("too_many_requests", detail, seconds)
        })
    }

    /// Counts an event; `rate` in a second.
    ///
    /// # Errors
    /// 429 with `Retry-After` where there is no room for it.
    pub(super) fn take_event(&self, rate: u32, now: Instant) -> Result<(), Problem> {
        let taken = self.let_in(1, room_for_one(rate), rate, now);
        taken.map_err(|wait| too_many_events(rate, wait))
    }

    /// Counts the rest of a batch, whose first event was counted before.
    ///
    /// # Errors
    /// 429 with `Retry-After` where more was let in meanwhile than there is room for.
    pub(super) fn take_rest(&self, count: u32, rate: u32, now: Instant) -> Result<(), Problem> {
        let taken = self.let_in(count, SECOND, rate, now);
        taken.map_err(|wait| too_many_events(rate, wait))
    }

    /// Writes into an answer how the key stands.
    pub(super) fn show(&self, limits: Limits, now: Instant, headers: &mut HeaderMap) {
        let (mut policy, mut state) = (Vec::new(), Vec::new());
        let mut add = |name: &str, max: u32, window: u64, standing: Standing| {
            policy.push(format!("\"{name}\";q={max};w={window}"));
            let seconds = whole_seconds(standing.wait).max(1);
            state.push(format!("\"{name}\";r={};t={seconds}", standing.left));
        };
        if let Some(max) = limits.requests {
            add("requests", max, MINUTE.as_secs(), self.of_minute(max, now));
        }
        if let Some(rate) = limits.events {
            add("events", rate, SECOND.as_secs(), self.of_second(rate, now));
        }
        for (name, list) in [(RATELIMIT_POLICY, policy), (RATELIMIT, state)] {
            if !list.is_empty() {
                let value = HeaderValue::from_str(&list.join(", "));
                headers.insert(name, value.expect("names and numbers are ASCII"));
            }
        }
    }

    fn count(&self, max: u32, now: Instant) -> Result<(), Duration> {
        let mut minute = self.minute.lock().expect("no holder of this lock panics");
        let mut present = present(*minute, now);
        if present.asked >= max {
            return Err(MINUTE.saturating_sub(now.duration_since(present.started)));
        }
        present.asked += 1;
        *minute = Some(present);
        Ok(())
    }

    fn of_minute(&self, max: u32, now: Instant) -> Standing {
        let minute = self.minute.lock().expect("no holder of this lock panics");
        let present = present(*minute, now);
        Standing {
            left: max.saturating_sub(present.asked),
            wait: MINUTE.saturating_sub(now.duration_since(present.started)),
        }
    }

    /// Lets events in where what has still to flow off takes no longer than `room`.
    fn let_in(&self, count: u32, room: Duration, rate: u32, now: Instant) -> Result<(), Duration> {
        let mut flowed = self.flowed.lock().expect("no holder of this lock panics");
        let behind = behind(*flowed, now);
        if behind > room {
            return Err(behind - room);
        }
        *flowed = Some(now + behind + Duration::from_secs(count.into()) / rate);
        Ok(())
    }

    fn of_second(&self, rate: u32, now: Instant) -> Standing {
        let flowed = self.flowed.lock().expect("no holder of this lock panics");
        let behind = behind(*flowed, now);
        let room = SECOND.saturating_sub(behind);
        let left = room.as_nanos() * u128::from(rate) / SECOND.as_nanos();
        let wait = match left {
            0 => behind.saturating_sub(room_for_one(rate)),
            _ => behind,
        };
        Standing {
            left: u32::try_from(left).unwrap_or(rate),
            wait,
        }
    }
}

/// Room for one more is there if no more than the others of a second's worth have still to flow off.
fn room_for_one(rate: u32) -> Duration {
    SECOND - SECOND / rate
}

fn too_many_events(rate: u32, wait: Duration) -> Problem {
    let seconds = whole_seconds(wait);
    let detail = format!("this key may post {rate} events in a second; go on in {seconds} s");
    refusal("too_many_events", detail, seconds)
}

/// The minute that goes on, or one that begins now.
fn present(minute: Option<Minute>, now: Instant) -> Minute {
    let goes_on = |minute: &Minute| now.duration_since(minute.started) < MINUTE;
    minute.filter(goes_on).unwrap_or(Minute {
        started: now,
        asked: 0,
    })
}

/// How long what was let in still takes to flow off.
fn behind(flowed: Option<Instant>, now: Instant) -> Duration {
    flowed.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn refusal(code: &'static str, detail: String, seconds: u64) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, code, detail)
        .with(RETRY_AFTER, HeaderValue::from(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse as _;

    /// An event of a key that may post ten in a second.
    fn one(quota: &Quota, now: Instant) -> Result<(), Duration> {
        quota.let_in(1, room_for_one(10), 10, now)
    }

    #[test]
    fn a_refusal_says_when_to_go_on_in_whole_seconds() {
        let (quota, start) = (Quota::default(), Instant::now());
        quota.take_request(1, start).unwrap();
        let later = start + Duration::from_millis(20_500);
        let refused = quota.take_request(1, later).unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers()[RETRY_AFTER], "40");
    }

    #[test]
    fn a_minute_holds_its_number_and_then_the_next_one_does() {
        let quota = Quota::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..3 {
            quota.count(3, at(second)).unwrap();
        }
        assert_eq!(quota.count(3, at(10)), Err(Duration::from_secs(50)));
        assert_eq!(quota.count(3, at(59)), Err(Duration::from_secs(1)));
        for _ in 0..3 {
            quota.count(3, at(60)).unwrap();
        }
        assert_eq!(quota.count(3, at(61)), Err(Duration::from_secs(59)));
    }

    #[test]
    fn events_have_a_seconds_worth_at_once_and_then_their_rate() {
        let (quota, start) = (Quota::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        for _ in 0..10 {
            one(&quota, at(0)).unwrap();
        }
        assert_eq!(one(&quota, at(0)), Err(Duration::from_millis(100)));
        assert_eq!(one(&quota, at(60)), Err(Duration::from_millis(40)));
        one(&quota, at(100)).unwrap();
        assert_eq!(one(&quota, at(100)), Err(Duration::from_millis(100)));
        // Over any long time it is the rate.
        let let_in = (100..20_101).filter(|millis| one(&quota, at(*millis)).is_ok());
        assert_eq!(let_in.count(), 200);
    }

    #[test]
    fn a_batch_above_the_rate_is_let_in_and_paid_for_later() {
        let (quota, start) = (Quota::default(), Instant::now());
        one(&quota, start).unwrap();
        quota.let_in(99, SECOND, 10, start).unwrap();
        let wait = Duration::from_millis(9_100);
        assert_eq!(one(&quota, start), Err(wait));
        let standing = quota.of_second(10, start);
        assert_eq!((standing.left, standing.wait), (0, wait));
        one(&quota, start + wait).unwrap();
        assert!(one(&quota, start + wait).is_err());
    }

    #[test]
    fn of_batches_that_come_side_by_side_one_is_let_in_and_one_that_fails_has_cost_an_event() {
        let (quota, start) = (Quota::default(), Instant::now());
        for _ in 0..10 {
            one(&quota, start).unwrap();
        }
        assert!(
            one(&quota, start).is_err(),
            "ten batches that are still read"
        );
        quota.take_rest(999, 10, start).unwrap();
        let refused = quota.take_rest(999, 10, start).unwrap_err();
        assert_eq!(refused.code, "too_many_events");
        // One that is alone is let in, whatever its rate.
        let quota = Quota::default();
        quota.take_event(1, start).unwrap();
        quota.take_rest(0, 1, start).unwrap();
        assert!(quota.take_event(1, start).is_err());
    }

    #[test]
    fn answers_say_how_a_key_stands() {
        let (quota, start) = (Quota::default(), Instant::now());
        let shown = |limits, after| {
            let mut headers = HeaderMap::new();
            quota.show(limits, start + Duration::from_millis(after), &mut headers);
            let text = |name| {
                headers
                    .get(name)
                    .map(|value: &HeaderValue| value.to_str().unwrap().to_owned())
            };
            (text(RATELIMIT_POLICY), text(RATELIMIT))
        };
        assert_eq!(shown(Limits::default(), 0), (None, None));
        let limits = Limits {
            requests: Some(3),
            events: Some(10),
        };
        quota.count(3, start).unwrap();
        quota.let_in(4, room_for_one(10), 10, start).unwrap();
        let policy = "\"requests\";q=3;w=60, \"events\";q=10;w=1";
        let (said, state) = shown(limits, 500);
        assert_eq!(said.as_deref(), Some(policy));
        assert_eq!(
            state.as_deref(),
            Some("\"requests\";r=2;t=60, \"events\";r=10;t=1")
        );
        quota.let_in(25, room_for_one(10), 10, start).unwrap();
        let (_, state) = shown(limits, 20_000);
        assert_eq!(
            state.as_deref(),
            Some("\"requests\";r=2;t=40, \"events\";r=10;t=1")
        );
        let (_, state) = shown(limits, 0);
        assert_eq!(
            state.as_deref(),
            Some("\"requests\";r=2;t=60, \"events\";r=0;t=2")
        );
    }
}
