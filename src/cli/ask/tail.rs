//! `hookwheel tail`: attempts as they are made, from the daemon's live stream.
//!
//! A stream that breaks is opened again, and what was not seen meanwhile is said to be: nothing is left out in silence.
//! It goes on until it is stopped, or refused.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use super::fault::{Done, Fault};
use super::names::called;
use super::screen::Screen;
use super::session::{Session, count, text, text_if, with_query};
use super::sse::{Reader, Told};
use super::text::{Style, Text};
use super::timeline::outcome;
use super::when::{self, measured, of_day};
use crate::cli::client::{Opened, Stream};
use crate::model::WebhookId;

/// A stream that says nothing for so long has gone: it has a line every 15 s at least.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Between two attempts to open the stream again: at first, and at most.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(10);
/// Columns of the words before a line's end, so that lines are in line with each other.
const STATE_COLUMNS: usize = 9;
const OUTCOME_COLUMNS: usize = 8;

/// What is followed.
#[derive(Debug, Args)]
pub struct TailOptions {
    /// Only this webhook.
    #[arg(long)]
    webhook: Option<String>,
    /// Only this event type, or a pattern such as `order.*`.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only what leaves a delivery in this state: delivered, waiting, held, failed, cancelled, dropped or expired.
    #[arg(long)]
    state: Option<String>,
    /// End after so many attempts and other ends of deliveries.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// What has been followed so far.
struct Tail {
    path: String,
    names: HashMap<String, String>,
    /// When the last thing was told, or the stream was seen to begin.
    last_at: Option<String>,
    left: Option<u64>,
    is_first: bool,
}

pub(super) async fn run(session: &mut Session<'_>, options: TailOptions) -> Done<ExitCode> {
    let webhook = match &options.webhook {
        Some(given) => Some(session.webhook_id(given).await?),
        None => None,
    };
    let query = [
        ("webhook", webhook.as_deref()),
        ("type", options.event_type.as_deref()),
        ("state", options.state.as_deref()),
    ];
    let mut tail = Tail {
        path: with_query("/api/v1/live", &query),
        names: HashMap::new(),
        last_at: None,
        left: options.limit,
        is_first: true,
    };
    tail.names = names(session).await?;
    let mut again_after = AGAIN_AFTER;
    loop {
        match session.open(&tail.path).await {
            Ok(Opened::Stream(stream)) => {
                if follow(session, &mut tail, stream).await? {
                    return Ok(ExitCode::SUCCESS);
                }
                again_after = AGAIN_AFTER;
                session.screen.note(Text::styled(
                    Style::Doubt,
                    "the stream broke off; opening it again",
                ))?;
            }
            Ok(Opened::Answer(answer)) => {
                let fault = refusal(session.refused(&answer));
                // What a daemon that starts, stops or is full answers is no refusal.
                let may_pass = answer.status.is_server_error()
                    || answer.status == StatusCode::TOO_MANY_REQUESTS;
                if tail.is_first || !may_pass {
                    return Err(fault);
                }
            }
            Err(fault) if tail.is_first => return Err(fault),
            Err(_) => {}
        }
        sleep(again_after).await;
        again_after = (again_after * 2).min(AGAIN_AFTER_MAX);
    }
}

fn refusal(fault: Fault) -> Fault {
    match fault.status {
        Some(StatusCode::NOT_FOUND) if fault.detail.contains("nothing at this path") => Fault::new(
            "no_live_stream",
            "this daemon is older than the command, and has no live stream",
        )
        .hint("`hookwheel delivery list` shows what has happened"),
        Some(StatusCode::OK) => {
            Fault::new("unexpected_answer", "the answer is no stream of events")
        }
        _ => fault,
    }
}

/// Who may read the stream may list webhooks; where it fails all the same, ids are shown.
async fn names(session: &mut Session<'_>) -> Done<HashMap<String, String>> {
    if session.screen.json {
        Ok(HashMap::new())
    } else {
        session.webhook_names().await
    }
}

/// Takes over what one webhook is called by now. The others' names stay: there may be thousands of them, and each list
/// of them counts against what the key may ask for.
async fn learn_name(session: &mut Session<'_>, tail: &mut Tail, id: &str) {
    let Ok(id) = id.parse::<WebhookId>() else {
        return;
    };
    let path = format!("/api/v1/webhooks/{id}");
    if let Ok(answer) = session.get(&path).await {
        let name = called(&answer.body);
        if !name.is_empty() {
            tail.names.insert(id.to_string(), name.to_owned());
        }
    }
}

/// Prints a stream's events. Gives whether enough was shown; not so where it broke off.
async fn follow(session: &mut Session<'_>, tail: &mut Tail, mut stream: Stream) -> Done<bool> {
    let mut reader = Reader::default();
    while let Ok(Ok(Some(bytes))) = timeout(SILENCE_MAX, stream.next()).await {
        for told in reader.take(&bytes) {
            if show(session, tail, &told).await? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Prints one event. Gives whether that was the last one wanted.
async fn show(session: &mut Session<'_>, tail: &mut Tail, told: &Told) -> Done<bool> {
    let screen = session.screen;
    let Ok(data) = serde_json::from_str::<Value>(&told.data) else {
        screen.note("a line of the stream could not be read")?;
        return Ok(false);
    };
    let since = tail.last_at.clone();
    if let Some(at) = text_if(&data, "at") {
        tail.last_at = Some(at.to_owned());
    }
    if told.name == "hello" {
        begin(session, tail, &data, since.as_deref())?;
        return Ok(false);
    }
    if screen.json {
        screen.json_line(&with_name(&told.name, &data))?;
    } else {
        if told.name == "webhook" && text(&data, "change") != "removed" {
            learn_name(session, tail, text(&data, "webhook_id")).await;
        }
        screen.row(line(screen, &told.name, &data, &tail.names))?;
        if told.name == "webhook" && text(&data, "change") == "removed" {
            tail.names.remove(text(&data, "webhook_id"));
        }
    }
    let is_counted = matches!(told.name.as_str(), "attempt" | "ended");
    if let Some(left) = tail.left.as_mut().filter(|_| is_counted) {
        *left -= 1;
        return Ok(*left == 0);
    }
    Ok(false)
}

/// A stream has begun: the first one, or one more after a gap.
fn begin(session: &Session<'_>, tail: &mut Tail, data: &Value, since: Option<&str>) -> Done<()> {
    let screen = session.screen;
    let at = text(data, "at");
    let is_first = std::mem::replace(&mut tail.is_first, false);
    if screen.json {
        let mut hello = with_name("hello", data);
        if let (false, Some(hello)) = (is_first, hello.as_object_mut()) {
            hello.insert("not_seen_since".to_owned(), json!(since));
        }
        return screen.json_line(&hello);
    }
    if is_first {
        return screen.note(Text::styled(
            Style::Dim,
            &format!("following {}; Ctrl-C ends it", session.url()),
        ));
    }
    let gap = match since {
        Some(since) => format!("from {} to {}", when::plain(since), when::plain(at)),
        None => format!("up to {}", when::plain(at)),
    };
    let hint = "`hookwheel delivery list WEBHOOK --since …` shows it";
    screen.note(Text::styled(
        Style::Doubt,
        &format!("following again; what happened {gap} was not seen here: {hint}"),
    ))
}

/// An event as one object.
fn with_name(name: &str, data: &Value) -> Value {
    let mut object = Map::new();
    object.insert("event".to_owned(), json!(name));
    match data {
        Value::Object(members) => object.extend(members.clone()),
        other => {
            object.insert("data".to_owned(), other.clone());
        }
    }
    Value::Object(object)
}

/// An event on a line: when, what it came to, of which event for which webhook.
fn line(screen: &Screen, name: &str, data: &Value, names: &HashMap<String, String>) -> Text {
    let id = text(data, "webhook_id");
    let webhook = names.get(id).map_or(id, String::as_str);
    let time = Text::styled(Style::Dim, &of_day(text(data, "at"))).put("  ");
    let of = |line: Text| {
        line.put("  ")
            .put(text(data, "type"))
            .put(" → ")
            .with(Style::Bold, webhook)
    };
    let event = text(data, "event_id");
    match name {
        "attempt" => {
            let state = text(data, "state");
            let mark = match state {
                "delivered" => "✓",
                "waiting" | "held" => "…",
                _ => "✗",
            };
            let state = Text::styled(Style::of_state(state), &format!("{mark} {state}"));
            let mut line = time.join(state.fill(STATE_COLUMNS + 2, false)).put("  ");
            line = of(line.join(outcome(data).fill(OUTCOME_COLUMNS, false)));
            if let Some(ms) = data.get("response_time_ms").and_then(Value::as_f64) {
                line = line.put(&format!("  {}", measured(ms)));
            }
            line = line.put(&format!("  attempt {}", count(data, "attempt")));
            if let Some(trigger) = text_if(data, "trigger").filter(|trigger| *trigger != "schedule")
            {
                line = line.put(&format!(" ({trigger})"));
            }
            if let Some(next) = text_if(data, "next_attempt_at") {
                let next = when::relative(next, screen.now()).unwrap_or_else(|| next.to_owned());
                line = line.with(Style::Doubt, &format!("  next {next}"));
            }
            line.with(Style::Dim, &format!("  {event}"))
        }
        "ended" => {
            let state = text(data, "state");
            let state = Text::styled(Style::of_state(state), &format!("✗ {state}"))
                .fill(STATE_COLUMNS + 2, false);
            let line = of(time.join(state).put("  ").put(text(data, "reason")));
            line.with(Style::Dim, &format!("  {event}"))
        }
        "webhook" => {
            let change = text(data, "change");
            let change = Text::styled(Style::of_state(change), &format!("· {change}"))
                .fill(STATE_COLUMNS + 2, false);
            time.join(change)
                .put("  webhook ")
                .with(Style::Bold, webhook)
        }
        "missed" => {
            let missed = format!(
                "{} were not seen here: this reader was too slow",
                when::number(count(data, "missed"))
            );
            Text::styled(Style::Doubt, &missed)
        }
        other => time.put(other).put("  ").put(&data.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_what_happened() {
        let screen = Screen::find(false);
        let names = HashMap::from([("wh_1".to_owned(), "billing".to_owned())]);
        let attempt = json!({
            "at": "2026-01-31T12:00:05.120Z", "webhook_id": "wh_1", "event_id": "evt_1", "type": "order.created",
            "attempt": 2, "trigger": "replay", "status": 503, "outcome": { "kind": "status", "detail": "503" },
            "response_time_ms": 12.6, "state": "failed", "next_attempt_at": null,
        });
        assert_eq!(
            line(&screen, "attempt", &attempt, &names).render(false),
            "12:00:05.120  ✗ failed     503       order.created → billing  13 ms  attempt 2 (replay)  evt_1"
        );
        let ended = json!({ "at": "2026-01-31T12:00:05.120Z", "webhook_id": "wh_2", "event_id": "evt_1",
                            "type": "t\u{1b}", "state": "expired", "reason": "retention" });
        let shown = line(&screen, "ended", &ended, &names).render(false);
        assert_eq!(
            shown,
            "12:00:05.120  ✗ expired    retention  t\\u{1b} → wh_2  evt_1"
        );
        let missed = line(&screen, "missed", &json!({ "missed": 1200 }), &names).render(false);
        assert!(missed.starts_with("1,200 were not seen"), "{missed}");
        assert_eq!(
            with_name("missed", &json!({ "missed": 2 })),
            json!({ "event": "missed", "missed": 2 })
        );
    }
}
