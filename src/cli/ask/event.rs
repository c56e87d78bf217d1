//! `hookwheel event`: post, list, show, and why an event was or was not delivered.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::PageOptions;
use super::fault::{Done, Fault};
use super::fields::{given_or_file, scope_field};
use super::replay::{self, JobOptions};
use super::session::{Session, count, rows, text, text_if, words};
use super::table::{Column, Table};
use super::text::{Style, Text};
use super::timeline;
use super::when;

/// What the API names where events can be matched anew.
const REMATCH_CALL: &str = "POST /api/v1/events/rematch";
/// How often it is looked at what became of an event that somebody waits for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Below an explanation, the attempts of so many deliveries are told; each is a look-up.
const TIMELINES_MAX: usize = 5;

/// What can be done with events.
#[derive(Debug, Subcommand)]
pub enum EventCommand {
    /// Post an event; once told, it is on disk and will be delivered.
    Send(SendOptions),
    /// List events, newest first.
    #[command(visible_alias = "ls")]
    List(PageOptions),
    /// Show an event, and where each of its deliveries stands.
    Show(Named),
    /// Say for each webhook why it got the event, or did not.
    Explain(Named),
    /// Deliver stored events to webhooks that want them by now.
    Rematch(RematchOptions),
}

/// An event.
#[derive(Debug, Args)]
pub struct Named {
    /// Its id, or the beginning of it.
    event: String,
}

/// A new event.
#[derive(Debug, Args)]
pub struct SendOptions {
    /// Its type, such as order.created.
    #[arg(value_name = "TYPE")]
    event_type: String,
    /// Its data: JSON, @FILE, or - for standard input.
    #[arg(long, short, value_name = "JSON", allow_negative_numbers = true)]
    data: String,
    /// Its id: the same one posted again is not delivered again.
    #[arg(long)]
    id: Option<String>,
    /// When it happened, RFC 3339, or how long ago, such as 5m [default: now].
    #[arg(long, value_name = "TIME")]
    created_at: Option<String>,
    /// More about it, which filters can see: a JSON object, or @FILE.
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// Its scope, whatever the profile calls it.
    #[arg(long)]
    scope: Option<String>,
    /// Wait until each of its deliveries was tried, and show them; exit code 1 if one has not arrived.
    #[arg(long)]
    wait: bool,
    /// How long to wait.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    wait_for: Duration,
}

/// Which stored events are matched anew.
#[derive(Debug, Args)]
pub struct RematchOptions {
    /// Only for this webhook.
    #[arg(long)]
    webhook: Option<String>,
    #[command(flatten)]
    job: JobOptions,
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    crate::model::parse_duration(text).map_err(|error| error.to_string())
}

pub(super) async fn run(session: &mut Session<'_>, command: EventCommand) -> Done<ExitCode> {
    match command {
        EventCommand::Send(options) => return send(session, options).await,
        EventCommand::List(page) => list(session, &page).await?,
        EventCommand::Show(Named { event }) => show(session, &event).await?,
        EventCommand::Explain(Named { event }) => explain(session, &event).await?,
        EventCommand::Rematch(RematchOptions { webhook, job }) => {
            let mut body = job.body(session.screen)?;
            if let Some(webhook) = webhook {
                let id = session.webhook_id(&webhook).await?;
                body.insert("webhook".to_owned(), json!(id));
            }
            return replay::order(session, "/api/v1/events/rematch", body, &job, "Deliver").await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn send(session: &mut Session<'_>, options: SendOptions) -> Done<ExitCode> {
    let body = body(session, &options).await?;
    let sent = session
        .call_text(Method::POST, "/api/v1/events", body)
        .await;
    let answer = match sent {
        Err(fault) if fault.has_code("event_type_unknown") => {
            return Err(suggest(session, fault, &options.event_type).await);
        }
        sent => sent?,
    };
    let screen = session.screen;
    let id = text(&answer.body, "id").to_owned();
    let deliveries = count(&answer.body, "deliveries");
    if !screen.json {
        let to = match deliveries {
            0 => Text::styled(Style::Doubt, "no webhook wants it"),
            1 => "for 1 webhook".into(),
            some => format!("for {} webhooks", when::number(some)).into(),
        };
        screen.line(
            Text::styled(Style::Good, "accepted")
                .put(" ")
                .with(Style::Bold, &id)
                .put("  ")
                .join(to),
        )?;
        if let Some(warning) = text_if(&answer.body, "warning") {
            screen.note(Text::styled(Style::Doubt, "warning: ").put(warning))?;
        }
        if deliveries == 0 {
            screen.note(format!("hookwheel event explain {id} says why"))?;
        }
    } else if !options.wait {
        screen.json_text(&answer.text)?;
    }
    if options.wait {
        wait(session, &id, options.wait_for).await
    } else {
        Ok(ExitCode::SUCCESS)
    }
}

/// The event as it is posted; data and metadata stay to the letter.
async fn body(session: &mut Session<'_>, options: &SendOptions) -> Done<String> {
    let raw = |given: &str, what: &str| -> Done<String> {
        let text = given_or_file(given)?;
        let value: Result<&RawValue, _> = serde_json::from_str(text.trim());
        match value {
            Ok(value) => Ok(value.get().to_owned()),
            Err(error) => {
                let fault = Fault::usage("json_invalid", format!("{what} is no JSON: {error}"));
                Err(fault.hint("a text is quoted, as '\"text\"'; a file is given as @FILE, standard input as -"))
            }
        }
    };
    let mut members = vec![
        format!("\"type\":{}", json!(options.event_type)),
        format!("\"data\":{}", raw(&options.data, "--data")?),
    ];
    if let Some(metadata) = &options.metadata {
        members.push(format!("\"metadata\":{}", raw(metadata, "--metadata")?));
    }
    if let Some(id) = &options.id {
        members.push(format!("\"id\":{}", json!(id)));
    }
    if let Some(at) = &options.created_at {
        let at = when::argument(at, session.screen.now())
            .map_err(|why| Fault::usage("time_invalid", why))?;
        members.push(format!("\"created_at\":{}", json!(at)));
    }
    if let Some(scope) = &options.scope {
        let field = scope_field(session).await?;
        members.push(format!("{}:{}", json!(field), json!(scope)));
    }
    Ok(format!("{{{}}}", members.join(",")))
}

/// The type that was meant, where one is near.
async fn suggest(session: &mut Session<'_>, fault: Fault, given: &str) -> Fault {
    let Ok(answer) = session.get("/api/v1/event-types").await else {
        return fault;
    };
    let types = words(&answer.body, "data");
    match crate::model::near(given, types).first() {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None => fault,
    }
}

/// Waits until each delivery of the event was tried once, or has ended.
async fn wait(session: &mut Session<'_>, id: &str, patience: Duration) -> Done<ExitCode> {
    let start = Instant::now();
    let url = format!("/api/v1/events/{id}");
    let answer = loop {
        let answer = session.get(&url).await?;
        let rows = rows(&answer.body, "deliveries");
        let is_tried =
            |row: &Value| count(row, "attempts") > 0 || !matches!(text(row, "state"), "waiting");
        if rows.iter().all(is_tried) || start.elapsed() >= patience {
            break answer;
        }
        sleep(LOOK_EVERY).await;
    };
    if session.screen.json {
        session.screen.json_text(&answer.text)?;
    } else {
        deliveries(session, &answer.body).await?;
    }
    let mut rows = rows(&answer.body, "deliveries").iter();
    let all = rows.all(|row| text(row, "state") == "delivered");
    Ok(if all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn list(session: &mut Session<'_>, page: &PageOptions) -> Done<()> {
    let listed = session.list("/api/v1/events", &[], page).await?;
    let screen = session.screen;
    if screen.json {
        return screen.json_text(&listed.text);
    }
    if listed.rows.is_empty() {
        return screen.note("no events; `hookwheel event send TYPE --data JSON` posts one");
    }
    let mut table = Table::new(&[
        Column::cut("ID", 12),
        Column::cut("TYPE", 10),
        Column::cut("CREATED", 8),
        Column::cut("DATA", 8),
    ]);
    for event in &listed.rows {
        // A beginning that tells one from another; the whole is told by `show`.
        let data: String = event["data"].to_string().chars().take(60).collect();
        table.row(vec![
            text(event, "id").into(),
            text(event, "type").into(),
            screen.time(text_if(event, "created_at")),
            data.into(),
        ]);
    }
    screen.table(&table)?;
    session.tell_of_more(&listed)
}

async fn show(session: &mut Session<'_>, event: &str) -> Done<()> {
    let id = session.event_id(event, None).await?;
    let answer = session.get(&format!("/api/v1/events/{id}")).await?;
    let (screen, event) = (session.screen, &answer.body);
    if screen.json {
        return screen.json_text(&answer.text);
    }
    screen.fact("id", text(event, "id"))?;
    screen.fact("type", Text::styled(Style::Bold, text(event, "type")))?;
    screen.fact("created", screen.moment(text(event, "created_at")))?;
    screen.fact("received", screen.moment(text(event, "received_at")))?;
    if let Some(warning) = text_if(event, "warning") {
        screen.fact("warning", Text::styled(Style::Doubt, warning))?;
    }
    // As they were posted: a tree would change what no double holds.
    let members: Result<std::collections::BTreeMap<String, &RawValue>, _> =
        serde_json::from_str(&answer.text);
    let members = members.unwrap_or_default();
    for name in ["data", "metadata"] {
        if let Some(value) = members.get(name).filter(|value| value.get() != "null") {
            screen.line(Text::styled(Style::Dim, name))?;
            screen.json_block(value.get())?;
        }
    }
    screen.line("")?;
    deliveries(session, event).await
}

/// Where each delivery of an event stands.
async fn deliveries(session: &mut Session<'_>, event: &Value) -> Done<()> {
    let rows = rows(event, "deliveries");
    let screen = session.screen;
    if rows.is_empty() {
        return screen.line("no webhook wanted it");
    }
    let names = session.webhook_names().await?;
    let mut table = Table::new(&[
        Column::cut("WEBHOOK", 12),
        Column::whole("STATE"),
        Column::number("ATTEMPTS"),
        Column::cut("NEXT OR ENDED", 8),
        Column::cut("REASON", 8),
    ]);
    for row in rows {
        let id = text(row, "webhook_id");
        let at = text_if(row, "next_attempt_at").or_else(|| text_if(row, "ended_at"));
        table.row(vec![
            names.get(id).map_or(id, String::as_str).into(),
            Text::state(text(row, "state")),
            when::number(count(row, "attempts")).into(),
            screen.time(at),
            text_if(row, "reason").unwrap_or("–").into(),
        ]);
    }
    screen.table(&table)
}

async fn explain(session: &mut Session<'_>, event: &str) -> Done<()> {
    let id = session.event_id(event, None).await?;
    let answer = session.get(&format!("/api/v1/events/{id}/explain")).await?;
    let (screen, told) = (session.screen, &answer.body);
    if screen.json {
        return screen.json_text(&answer.text);
    }
    let head = Text::styled(Style::Bold, text(told, "type"))
        .put("  ")
        .put(text(told, "event_id"));
    screen.line(head.put(&format!(
        "  received {}",
        screen.moment(text(told, "received_at"))
    )))?;
    if let Some(detail) = text_if(told, "detail") {
        screen.line(detail)?;
    }
    let mut timelines = 0;
    for row in rows(told, "webhooks").iter() {
        screen.line("")?;
        let (verdict, webhook) = (text(row, "verdict"), text(row, "webhook_id"));
        let mark = match verdict {
            "delivered" => "✓",
            "not_wanted" => "–",
            "waiting" | "held" | "not_registered_then" | "would_match_today" => "…",
            _ => "✗",
        };
        let style = Style::of_state(verdict);
        let named = match text_if(row, "name") {
            Some(name) => format!("{name} ({webhook})"),
            None => webhook.to_owned(),
        };
        let words = verdict.replace('_', " ");
        screen.line(
            Text::styled(style, &format!("{mark} {words}"))
                .put("  ")
                .with(Style::Bold, &named),
        )?;
        if let Some(url) = text_if(row, "url") {
            screen.line(Text::from("  ").with(Style::Dim, url))?;
        }
        // At a terminal the command is nearer than the call.
        let reason = text(row, "reason").replace(REMATCH_CALL, "`hookwheel event rematch`");
        screen.line(Text::from("  ").put(&reason))?;
        if count(row, "attempts") > 0 && timelines < TIMELINES_MAX {
            timelines += 1;
            let delivery = session
                .get(&format!("/api/v1/webhooks/{webhook}/deliveries/{id}"))
                .await;
            // Of a removed webhook nothing more can be shown.
            if let Ok(delivery) = delivery {
                timeline::brief(screen, &delivery.body)?;
            }
        }
        if let Some(next) = text_if(row, "next_attempt_at") {
            screen.line(Text::from("    next attempt at ").put(&screen.moment(next)))?;
        }
    }
    if told["next_cursor"].is_string() {
        screen.note("there are more webhooks; --json with the API's `cursor` shows them")?;
    }
    Ok(())
}
