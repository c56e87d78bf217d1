//! `hookwheel status`: how the daemon does, at a glance: ready or not, what waits, and which webhooks are in trouble.

use std::collections::HashMap;
use std::process::ExitCode;

use clap::Args;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::PageOptions;
use super::fault::Done;
use super::names::called;
use super::session::{Session, count, sum, text, text_if};
use super::table::{Column, Table};
use super::text::{Style, Text};
use super::timeline::outcome;
use super::webhook::standing;
use super::when;

/// Webhooks in trouble that are shown: more are a list of its own.
const SHOWN_MAX: usize = 20;
/// As many webhooks as an account has, about.
const WEBHOOKS_MAX: u32 = 10_000;

/// What is shown.
#[derive(Debug, Args)]
pub struct StatusOptions {
    /// Only whether it is ready; needs no key.
    #[arg(long)]
    ready: bool,
}

pub(super) async fn run(session: &mut Session<'_>, options: StatusOptions) -> Done<ExitCode> {
    let answer = session.ask(Method::GET, "/readyz", String::new()).await?;
    let is_ready = answer.status == StatusCode::OK;
    // Anything but these two is somebody else's answer.
    if !is_ready && answer.status != StatusCode::SERVICE_UNAVAILABLE {
        return Err(session.refused(&answer));
    }
    let faults: Vec<&str> = if is_ready {
        Vec::new()
    } else {
        answer.text.lines().collect()
    };
    let code = if is_ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    let screen = session.screen;
    if !screen.json {
        let word = if is_ready { "ready" } else { "not ready" };
        let head = Text::state(word).put("  ").put(&session.url());
        screen.line(head.with(Style::Dim, &format!("  (from {})", session.url_from())))?;
        for fault in &faults {
            screen.line(Text::from("  ").with(Style::Bad, fault))?;
        }
    }
    if options.ready || !session.has_key() {
        if screen.json {
            screen.json_value(&json!({ "ready": is_ready, "faults": faults }))?;
        } else if !options.ready {
            screen.note(
                "no key was given, so no more is shown; see --key-file, or HOOKWHEEL_API_KEY_FILE",
            )?;
        }
        return Ok(code);
    }
    let stats = session.get("/api/v1/stats").await?.body;
    let webhooks = session.webhooks().await?;
    let figures = figures(session).await?;
    let troubled: Vec<(&Value, String)> = webhooks
        .iter()
        .filter_map(|webhook| {
            let of = figures.get(text(webhook, "id")).unwrap_or(&Value::Null);
            Some((webhook, trouble(session, webhook, of)?))
        })
        .collect();
    if screen.json {
        let rows = troubled.iter().map(|(webhook, why)| {
            json!({ "id": webhook["id"], "name": webhook["name"], "url": webhook["url"], "why": why })
        });
        let rows: Vec<Value> = rows.collect();
        let shown = json!({ "ready": is_ready, "faults": faults, "stats": stats, "trouble": rows });
        screen.json_value(&shown)?;
        return Ok(code);
    }
    overview(session, &stats)?;
    table(session, &troubled, &figures)?;
    Ok(code)
}

/// Each webhook's figures; none where the daemon is older than they are.
async fn figures(session: &mut Session<'_>) -> Done<HashMap<String, Value>> {
    let page = PageOptions {
        limit: WEBHOOKS_MAX,
        cursor: None,
    };
    match session.list("/api/v1/stats/webhooks", &[], &page).await {
        Ok(listed) => {
            let rows = listed.rows.into_iter();
            Ok(rows
                .map(|row| (text(&row, "webhook_id").to_owned(), row))
                .collect())
        }
        Err(fault) if fault.status == Some(StatusCode::NOT_FOUND) => Ok(HashMap::new()),
        Err(fault) => Err(fault),
    }
}

/// What is wrong with a webhook, if anything is.
fn trouble(session: &Session<'_>, webhook: &Value, figures: &Value) -> Option<String> {
    let screen = session.screen;
    let (state, why) = standing(webhook);
    match state {
        // Who disabled it knows; what comes is held all the same.
        "disabled" | "held" => return Some(format!("{state}: {why}")),
        _ => {}
    }
    if let Some(since) = text_if(&webhook["failing"], "since") {
        let end = text_if(&webhook["failing"], "disables_at");
        let end = end.map(|at| {
            format!(
                ", disabled {}",
                when::relative(at, screen.now()).unwrap_or_default()
            )
        });
        return Some(format!(
            "failing since {}{}",
            screen.moment(since),
            end.unwrap_or_default()
        ));
    }
    let until =
        text_if(figures, "paused_until").map(|until| format!(" until {}", screen.moment(until)));
    match text(figures, "paused_because") {
        "absent" => {
            return Some(format!(
                "nobody answers at its receiver{}",
                until.unwrap_or_default()
            ));
        }
        "asked" => {
            return Some(format!(
                "its receiver asked for a pause{}",
                until.unwrap_or_default()
            ));
        }
        _ => {}
    }
    let day = &figures["last_day"];
    let failed = sum(day, &["failed", "dropped", "expired"]);
    if failed > 0 {
        return Some(format!(
            "{} of {} deliveries failed in the last day",
            when::number(failed),
            when::number(failed.saturating_add(count(day, "delivered")))
        ));
    }
    (text(figures, "standing") == "doubted").then(|| "its last attempts failed".to_owned())
}

fn overview(session: &Session<'_>, stats: &Value) -> Done<()> {
    let screen = session.screen;
    let webhooks = &stats["webhooks"];
    let mut told = format!("{} active", when::number(count(webhooks, "active")));
    for (name, words) in [("disabled", "disabled"), ("held", "held for the config")] {
        let some = count(webhooks, name);
        if some > 0 {
            told.push_str(&format!(", {} {words}", when::number(some)));
        }
    }
    screen.line("")?;
    screen.fact("webhooks", told)?;
    let now = &stats["now"];
    let mut told = format!(
        "{} waiting, {} in flight",
        when::number(count(now, "waiting")),
        when::number(count(now, "in_flight"))
    );
    if count(now, "held") > 0 {
        told.push_str(&format!(", {} held", when::number(count(now, "held"))));
    }
    if let Some(next) = text_if(now, "next_attempt_at") {
        told.push_str(&format!(
            "; next due {}",
            when::relative(next, screen.now()).unwrap_or_default()
        ));
    }
    screen.fact("deliveries", told)?;
    for (name, shown) in [("last_hour", "last hour"), ("last_day", "last day")] {
        screen.fact(shown, window(&stats[name]))?;
    }
    if let Some(at) = text_if(stats, "last_success_at") {
        screen.fact("last success", screen.moment(at))?;
    }
    let failure = &stats["last_failure"];
    if let Some(at) = text_if(failure, "at") {
        screen.fact(
            "last failure",
            outcome(failure).put(&format!("  {}", screen.moment(at))),
        )?;
    }
    if let Some(since) = text_if(stats, "since") {
        screen.fact("counted since", screen.moment(since))?;
    }
    Ok(())
}

/// What was delivered in a span of time, and how fast.
fn window(of: &Value) -> Text {
    let (delivered, failed) = (count(of, "delivered"), count(of, "failed"));
    let mut told = Text::from(format!("{} delivered", when::number(delivered)));
    if failed > 0 {
        told = told.with(Style::Bad, &format!(", {} failed", when::number(failed)));
    }
    for name in ["dropped", "expired"] {
        let some = count(of, name);
        if some > 0 {
            told = told.with(Style::Bad, &format!(", {} {name}", when::number(some)));
        }
    }
    if let Some(ratio) = of.get("attempts_success_ratio").and_then(Value::as_f64) {
        told = told.put(&format!(
            "; {} attempts, {:.1}% good",
            when::number(count(of, "attempts")),
            ratio * 100.0
        ));
    }
    let time = &of["response_time_ms"];
    if let (Some(median), Some(slow)) = (time["p50"].as_f64(), time["p95"].as_f64()) {
        told = told.put(&format!(
            "; p50 {}, p95 {}",
            when::measured(median),
            when::measured(slow)
        ));
    }
    told
}

fn table(
    session: &Session<'_>,
    troubled: &[(&Value, String)],
    figures: &HashMap<String, Value>,
) -> Done<()> {
    let screen = session.screen;
    screen.line("")?;
    if troubled.is_empty() {
        return screen.line(Text::styled(Style::Good, "✓ no webhook is in trouble"));
    }
    screen.line(Text::styled(
        Style::Doubt,
        &format!(
            "{} in trouble",
            when::number(u64::try_from(troubled.len()).unwrap_or(0))
        ),
    ))?;
    let mut table = Table::new(&[
        Column::cut("WEBHOOK", 12),
        Column::number("PENDING"),
        Column::cut("LAST FAILURE", 8),
        Column::cut("WHY", 16),
    ]);
    for (webhook, why) in troubled.iter().take(SHOWN_MAX) {
        let of = figures.get(text(webhook, "id"));
        let pending = of.map_or_else(
            || "–".to_owned(),
            |of| when::number(sum(of, &["waiting", "held"])),
        );
        let failure = of
            .map(|of| &of["last_failure"])
            .filter(|failure| failure.is_object());
        table.row(vec![
            called(webhook).into(),
            pending.into(),
            failure.map_or_else(|| "–".into(), outcome),
            why.as_str().into(),
        ]);
    }
    screen.table(&table)?;
    if troubled.len() > SHOWN_MAX {
        screen.note(format!(
            "and {} more; `hookwheel webhook list` shows all",
            troubled.len() - SHOWN_MAX
        ))?;
    }
    Ok(())
}
