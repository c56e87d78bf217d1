//! `Retry-After` (RFC 9110, section 10.2.3): a receiver's word on when to come back.

use std::time::UNIX_EPOCH;

use crate::model::{Outcome, UnixMillis};
use crate::sender::Sent;

use super::schedule::PAUSE_MAX_MS;

/// How long the receiver asks to be left alone from `now` on, milliseconds, at most [`PAUSE_MAX_MS`]: for
/// longer a receiver does not stop its deliveries. `None` where it does not ask, or not in a form of the RFC.
///
/// Only 429 and 503 ask; seconds and all three forms of an HTTP date are read.
pub(super) fn asked_ms(sent: &Sent, now: UnixMillis) -> Option<u64> {
    let Outcome::Status(429 | 503) = sent.outcome else {
        return None;
    };
    let headers = &sent.response.as_ref()?.headers;
    let (_, value) = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    Some(read(value.trim(), now)?.min(PAUSE_MAX_MS))
}

fn read(text: &str, now: UnixMillis) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean longer than any bound.
        let seconds = text.parse::<u64>().unwrap_or(u64::MAX);
        return Some(seconds.saturating_mul(1000));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let at_ms = at.duration_since(UNIX_EPOCH).ok()?.as_millis();
    Some(u64::try_from(at_ms).ok()?.saturating_sub(now.0))
}

/// An answer with this header, for trials.
#[cfg(any(test, fuzzing))]
pub(super) fn answer(status: u16, value: &str) -> Sent {
    Sent {
        started_at: UnixMillis(0),
        outcome: Outcome::Status(status),
        phases: crate::model::Phases::default(),
        response: Some(crate::model::Response {
            headers: vec![("Retry-After".to_owned(), value.to_owned())],
            body: Vec::new(),
            truncated: false,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_seconds_and_every_form_of_date_and_bounds_them() {
        // Sun, 06 Nov 1994 08:49:37 GMT, the RFC's own example, half a minute later.
        let now = UnixMillis(784_111_777_000 - 30_000);
        for (value, expected) in [
            ("120", Some(120_000)),
            ("0", Some(0)),
            (" 7 ", Some(7_000)),
            ("99999999999999999999999", Some(PAUSE_MAX_MS)),
            ("86400", Some(PAUSE_MAX_MS)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30_000)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(30_000)),
            ("Sun Nov  6 08:49:37 1994", Some(30_000)),
            ("Sat, 05 Nov 1994 08:49:37 GMT", Some(0)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("2026-01-01T00:00:00Z", None),
        ] {
            assert_eq!(asked_ms(&answer(429, value), now), expected, "{value:?}");
            assert_eq!(asked_ms(&answer(503, value), now), expected, "{value:?}");
            assert_eq!(asked_ms(&answer(500, value), now), None, "{value:?}");
        }
    }
}
