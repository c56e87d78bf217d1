//! What happened to a delivery, in order: each attempt with its phases and its answer, the waits between, what is next.

use serde_json::Value;

use super::fault::Done;
use super::screen::Screen;
use super::session::{count, part, rows, text, text_if};
use super::text::{Style, Text};
use super::when::{self, measured, of_day, span};

/// Of a receiver's answer so much is shown: a screen has some two thousand characters.
const ANSWER_SHOWN_MAX: usize = 1_000;
/// A wait that is shorter is no wait: an attempt follows the one before as fast as it can.
const WAIT_SHOWN_MIN_MS: u64 = 20;
/// Attempts that are told of below one webhook among others.
const BRIEF_MAX: usize = 5;

/// How an attempt ended: `200`, or `503`, or `connect: connection refused`.
pub(super) fn outcome(attempt: &Value) -> Text {
    if let Some(status) = attempt.get("status").and_then(Value::as_u64) {
        let style = if (200..300).contains(&status) {
            Style::Good
        } else {
            Style::Bad
        };
        return Text::styled(style, &status.to_string());
    }
    let outcome = &attempt["outcome"];
    let (kind, detail) = (text(outcome, "kind"), text(outcome, "detail"));
    let shown = match (kind, detail) {
        ("status", detail) => detail.to_owned(),
        (kind, "") => kind.to_owned(),
        (kind, detail) => format!("{kind}: {detail}"),
    };
    // Figures say `status` beside the kind.
    match outcome.get("status").and_then(Value::as_u64) {
        Some(status) => Text::styled(Style::Bad, &status.to_string()),
        None => Text::styled(Style::Bad, &shown),
    }
}

/// `dns 1.2 ms · connect …`, of those phases that there were.
fn phases(attempt: &Value) -> String {
    let phases = &attempt["phases_ms"];
    let named = [
        ("dns", "dns"),
        ("connect", "connect"),
        ("tls", "tls"),
        ("first_byte", "first byte"),
    ];
    let shown = named.iter().filter_map(|(name, words)| {
        let ms = phases.get(name)?.as_f64()?;
        Some(format!("{words} {}", measured(ms)))
    });
    shown.collect::<Vec<_>>().join(" · ")
}

/// The line of an attempt.
fn line(attempt: &Value, day: &mut String) -> Text {
    let at = text(attempt, "started_at");
    let time = when_of(at, day);
    let ms = attempt
        .get("response_time_ms")
        .and_then(Value::as_f64)
        .unwrap_or(0.0);
    let number = attempt.get("attempt").and_then(Value::as_u64).unwrap_or(0);
    let mut shown = Text::from("  ")
        .with(Style::Dim, &time)
        .put(&format!("  attempt {number}  "))
        .join(outcome(attempt))
        .put(&format!("  after {}", measured(ms)));
    match text(attempt, "trigger") {
        "" | "schedule" => {}
        trigger => shown = shown.with(Style::Dim, &format!("  ({trigger})")),
    }
    shown
}

/// The time of the day; with the day where it is another than that of the line before.
fn when_of(at: &str, day: &mut String) -> String {
    let of = at.get(..10).unwrap_or_default();
    if day == of {
        return of_day(at);
    }
    of.clone_into(day);
    format!("{of} {}", of_day(at))
}

fn wait_between(earlier: &Value, later: &Value) -> Option<u64> {
    let ended = |attempt: &Value| {
        let ms = attempt.get("response_time_ms")?.as_f64()?;
        // Far below what a double holds exactly.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a response time in milliseconds"
        )]
        let ms = ms as i64;
        when::millis(text(attempt, "started_at"))?.checked_add(ms)
    };
    let wait = when::millis(text(later, "started_at"))?.checked_sub(ended(earlier)?)?;
    u64::try_from(wait)
        .ok()
        .filter(|ms| *ms >= WAIT_SHOWN_MIN_MS)
}

/// One attempt with all that is known of it.
pub(super) fn attempt(
    screen: &Screen,
    attempt: &Value,
    day: &mut String,
    with_headers: bool,
) -> Done<()> {
    let indent = "      ";
    screen.line(line(attempt, day))?;
    let phases = phases(attempt);
    if !phases.is_empty() {
        screen.line(Text::from(indent).with(Style::Dim, &phases))?;
    }
    let pairs = |value: &Value, mark: &str| -> Done<()> {
        for pair in value.as_array().into_iter().flatten() {
            let side = |at: usize| pair.get(at).and_then(Value::as_str).unwrap_or_default();
            screen.line(
                Text::from(indent).with(Style::Dim, &format!("{mark} {}: {}", side(0), side(1))),
            )?;
        }
        Ok(())
    };
    if with_headers {
        pairs(&attempt["request_headers"], ">")?;
        pairs(part(part(attempt, "response"), "headers"), "<")?;
    }
    let body = text(&attempt["response"], "body").trim();
    if !body.is_empty() {
        let shown: String = body.chars().take(ANSWER_SHOWN_MAX).collect();
        let is_cut =
            shown.len() < body.len() || part(part(attempt, "response"), "truncated") == true;
        for (at, line) in shown.lines().enumerate() {
            let mark = if at == 0 { "answer: " } else { "        " };
            screen.line(Text::from(indent).with(Style::Dim, mark).put(line))?;
        }
        if is_cut {
            screen.line(Text::from(indent).with(Style::Dim, "        … (cut)"))?;
        }
    }
    Ok(())
}

/// A delivery's attempts with the waits between, and what comes next.
pub(super) fn delivery(screen: &Screen, delivery: &Value, with_headers: bool) -> Done<()> {
    let attempts = rows(delivery, "attempts");
    let made = count(delivery, "attempts_made");
    let shown = u64::try_from(attempts.len()).unwrap_or(u64::MAX);
    if made > shown {
        screen.line(
            Text::from("  ").with(Style::Dim, &format!("… {} earlier attempts", made - shown)),
        )?;
    }
    let mut day = String::new();
    let mut before: Option<&Value> = None;
    for one in attempts {
        if let Some(wait) = before.and_then(|before| wait_between(before, one)) {
            screen.line(Text::from("  ").with(Style::Dim, &format!("  waited {}", span(wait))))?;
        }
        attempt(screen, one, &mut day, with_headers)?;
        before = Some(one);
    }
    if attempts.is_empty() {
        screen.line(Text::from("  ").with(Style::Dim, "no attempt yet"))?;
    }
    screen.line(Text::from("  ").join(end(screen, delivery)))
}

/// What a delivery has come to, or what is next.
pub(super) fn end(screen: &Screen, delivery: &Value) -> Text {
    let state = Text::state(text(delivery, "state"));
    let reason = match text_if(delivery, "reason") {
        Some(reason) => format!(" ({reason})"),
        None => String::new(),
    };
    let state = state.put(&reason);
    if let Some(at) = text_if(delivery, "next_attempt_at") {
        return state.put(&format!("; next attempt at {}", screen.moment(at)));
    }
    match text_if(delivery, "ended_at") {
        Some(at) => state.put(&format!(" at {}", screen.moment(at))),
        None => state,
    }
}

/// The last attempts of a delivery, a line each.
pub(super) fn brief(screen: &Screen, delivery: &Value) -> Done<()> {
    let attempts = rows(delivery, "attempts");
    let first = attempts.len().saturating_sub(BRIEF_MAX);
    let mut day = String::new();
    for one in attempts.get(first..).unwrap_or_default() {
        screen.line(Text::from("  ").join(line(one, &mut day)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn outcomes_and_waits_are_read_from_attempts() {
        let first = json!({
            "attempt": 1, "started_at": "2026-01-31T12:00:00.000Z", "status": 503, "response_time_ms": 120.4,
            "outcome": { "kind": "status", "detail": "503" }, "trigger": "schedule",
            "phases_ms": { "dns": null, "connect": 0.5, "tls": 12.0, "first_byte": 119.0, "total": 120.4 },
        });
        let second = json!({
            "attempt": 2, "started_at": "2026-01-31T12:00:05.120Z", "status": null, "response_time_ms": 3.0,
            "outcome": { "kind": "connect", "detail": "refused\u{1b}[2J" }, "trigger": "manual",
        });
        assert_eq!(wait_between(&first, &second), Some(5_000));
        // Of an answer that is no daemon's of ours, nothing is told that cannot be.
        let mut odd = first.clone();
        for ms in [1e300, -1e300] {
            odd["response_time_ms"] = json!(ms);
            assert_eq!(
                (wait_between(&odd, &second), wait_between(&odd, &odd)),
                (None, None)
            );
        }
        assert_eq!(
            phases(&first),
            "connect 0.5 ms · tls 12 ms · first byte 119 ms"
        );
        let mut day = String::new();
        assert_eq!(
            line(&first, &mut day).render(false),
            "  2026-01-31 12:00:00.000  attempt 1  503  after 120 ms"
        );
        assert_eq!(
            line(&second, &mut day).render(false),
            "  12:00:05.120  attempt 2  connect: refused\\u{1b}[2J  after 3.0 ms  (manual)"
        );
        let said = json!({ "outcome": { "kind": "status", "status": 500 } });
        assert_eq!(outcome(&said).render(false), "500");
    }
}
