//! Times and amounts for people: how long ago, how long yet, and numbers that can be read.

use crate::model::{UnixMicros, UnixMillis, parse_duration};

/// Reads a time as the API writes it.
pub(super) fn millis(text: &str) -> Option<i64> {
    UnixMicros::parse(text).ok().map(|at| at.0.div_euclid(1000))
}

/// A span in its two largest units, or fewer: `3d 4h`, `12m 5s`, `1.2s`, `40ms`.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let two = |whole: u64, unit: &str, rest: u64, small: &str| match rest {
        0 => format!("{whole}{unit}"),
        rest => format!("{whole}{unit} {rest}{small}"),
    };
    match seconds {
        0 => format!("{ms}ms"),
        1..=9 => format!("{}.{}s", seconds, ms % 1000 / 100),
        10..=59 => format!("{seconds}s"),
        60..=3_599 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..=86_399 => two(seconds / 3_600, "h", seconds / 60 % 60, "m"),
        _ => two(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

/// A span in its largest unit, as a list has room for.
fn about(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..=59 => format!("{seconds}s"),
        seconds @ 60..=3_599 => format!("{}m", seconds / 60),
        seconds @ 3_600..=86_399 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// `3m ago`, or `in 5s`.
pub(super) fn relative(at: &str, now: UnixMillis) -> Option<String> {
    let away = millis(at)?.checked_sub(i64::try_from(now.0).ok()?)?;
    let text = about(away.unsigned_abs());
    Some(if away > 0 {
        format!("in {text}")
    } else {
        format!("{text} ago")
    })
}

/// A time to the second, as people read it: `2026-01-31 12:00:00Z`.
pub(super) fn plain(at: &str) -> String {
    match UnixMicros::parse(at) {
        Ok(at) => at.rfc3339(0).replacen('T', " ", 1),
        Err(_) => at.to_owned(),
    }
}

/// A time with how far away it is: `2026-01-31 12:00:00Z (3m ago)`.
pub(super) fn both(at: &str, now: UnixMillis) -> String {
    match relative(at, now) {
        Some(relative) => format!("{} ({relative})", plain(at)),
        None => at.to_owned(),
    }
}

/// The time of the day to the millisecond, for lines that follow each other.
pub(super) fn of_day(at: &str) -> String {
    let text = UnixMicros::parse(at).map(|at| at.rfc3339(3));
    let of_day = text
        .ok()
        .and_then(|text| Some(text.split_once('T')?.1.trim_end_matches('Z').to_owned()));
    of_day.unwrap_or_else(|| at.to_owned())
}

/// Milliseconds as they were measured.
pub(super) fn measured(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else if ms < 10_000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1000.0)
    }
}

/// A number with its thousands apart: `1,234,567`.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Reads an argument that is a time: RFC 3339, or how long ago, such as `2h`.
pub(super) fn argument(text: &str, now: UnixMillis) -> Result<String, String> {
    if let Ok(at) = UnixMicros::parse(text) {
        return Ok(at.rfc3339(6));
    }
    match parse_duration(text) {
        Ok(ago) => {
            let ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
            Ok(UnixMillis(now.0.saturating_sub(ago_ms)).to_string())
        }
        Err(_) => Err(format!(
            "`{text}` is no time; write one such as 2026-01-31T12:00:00Z, or how long ago: 90s, 15m, 2h, 7d"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_distances_read_well() {
        let spans = [
            (40, "40ms"),
            (1_250, "1.2s"),
            (59_000, "59s"),
            (725_000, "12m 5s"),
            (7_200_000, "2h"),
        ];
        for (ms, shown) in spans {
            assert_eq!(span(ms), shown);
        }
        assert_eq!(span(3 * 86_400_000 + 4 * 3_600_000), "3d 4h");
        let now = UnixMillis(1_700_000_000_000);
        assert_eq!(
            relative("2023-11-14T22:10:20Z", now).as_deref(),
            Some("3m ago")
        );
        assert_eq!(
            both("2023-11-14T22:13:25.5Z", now),
            "2023-11-14 22:13:25Z (in 5s)"
        );
        assert_eq!(of_day("2023-11-14T22:13:25.5Z"), "22:13:25.500");
        assert_eq!(relative("soon", now), None);
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(
            (number(0), number(999), number(1_000)),
            ("0".into(), "999".into(), "1,000".into())
        );
    }

    #[test]
    fn times_are_given_as_instants_or_as_how_long_ago() {
        let now = UnixMillis(1_700_000_000_000);
        assert_eq!(argument("2h", now).unwrap(), "2023-11-14T20:13:20.000Z");
        assert_eq!(
            argument("2023-11-14T21:00:00+01:00", now).unwrap(),
            "2023-11-14T20:00:00.000000Z"
        );
        assert!(
            argument("yesterday", now)
                .unwrap_err()
                .contains("how long ago")
        );
    }
}
