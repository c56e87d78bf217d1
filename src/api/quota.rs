//! How many requests one key may make in a minute, where its account's profile has such a limit.
//!
//! A minute starts with its first request, so it never holds more than its number; two that follow each
//! other may lie close. What is refused is not counted. A reload of the config begins anew.

use std::sync::Mutex;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use tokio::time::Instant;

use super::error::Problem;

const MINUTE: Duration = Duration::from_secs(60);

/// What one key has asked for in its present minute.
#[derive(Debug, Default)]
pub(super) struct Quota(Mutex<Option<Minute>>);

#[derive(Clone, Copy, Debug)]
struct Minute {
    started: Instant,
    asked: u32,
}

impl Quota {
    /// Counts a request; `max` in a minute.
    ///
    /// # Errors
    /// 429 with `Retry-After` where the minute is used up.
    pub(super) fn take(&self, max: u32, now: Instant) -> Result<(), Problem> {
        self.count(max, now).map_err(|wait| {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let detail = format!("a key may make {max} requests in a minute; go on in {seconds} s");
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
                .with(RETRY_AFTER, HeaderValue::from(seconds))
        })
    }

    fn count(&self, max: u32, now: Instant) -> Result<(), Duration> {
        let mut minute = self.0.lock().expect("no holder of this lock panics");
        let fresh = Minute {
            started: now,
            asked: 0,
        };
        let mut present = minute
            .filter(|minute| now.duration_since(minute.started) < MINUTE)
            .unwrap_or(fresh);
        if present.asked >= max {
            return Err(MINUTE.saturating_sub(now.duration_since(present.started)));
        }
        present.asked += 1;
        *minute = Some(present);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse as _;

    #[test]
    fn a_refusal_says_when_to_go_on_in_whole_seconds() {
        let (quota, start) = (Quota::default(), Instant::now());
        quota.take(1, start).unwrap();
        let later = start + Duration::from_millis(20_500);
        let refused = quota.take(1, later).unwrap_err().into_response();
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
}
