//! The trial of `Retry-After`; see `crate::fuzz`.

use std::time::{Duration, UNIX_EPOCH};

use super::retry_after::{answer, asked_ms};
use super::schedule::PAUSE_MAX_MS;
use crate::model::UnixMillis;

/// Whatever a receiver writes, it is waited for no longer than the bound, and exactly where it asks: for its seconds, or
/// until its date, in each of the forms of the RFC. The bytes: the header's value.
pub(crate) fn retry_after(bytes: &[u8]) {
    const NOW: UnixMillis = UnixMillis(784_111_777_000);
    let value = String::from_utf8_lossy(bytes).into_owned();
    let ask = |status, value: &str| asked_ms(&answer(status, value), NOW);
    let asked = ask(429, &value);
    assert_eq!(asked, ask(503, &value));
    assert_eq!(ask(500, &value), None);
    assert!(asked.is_none_or(|ms| ms <= PAUSE_MAX_MS));
    if let Ok(seconds) = value.trim().parse::<u64>()
        && !value.contains('+')
    {
        assert_eq!(asked, Some(seconds.saturating_mul(1000).min(PAUSE_MAX_MS)));
    }
    // A date of ours, at some second that the bytes choose, is waited for to the second.
    if let Some(ahead) = bytes.first_chunk::<2>() {
        let ahead_s = u64::from(u16::from_be_bytes(*ahead));
        let at = UNIX_EPOCH + Duration::from_secs(NOW.seconds() + ahead_s);
        let expected = (ahead_s * 1000).min(PAUSE_MAX_MS);
        assert_eq!(ask(429, &httpdate::fmt_http_date(at)), Some(expected));
    }
}
