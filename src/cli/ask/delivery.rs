//! `hookwheel delivery`: the log of a webhook, one delivery with its attempts, and sending it again.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::StatusCode;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::PageOptions;
use super::event::duration;
use super::fault::{Done, Fault};
use super::session::{Session, count, text, text_if};
use super::table::{Column, Table};
use super::text::{Style, Text};
use super::timeline;
use super::when;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What can be done with deliveries.
#[derive(Debug, Subcommand)]
pub enum DeliveryCommand {
    /// List a webhook's deliveries, newest first.
    #[command(visible_alias = "ls")]
    List(ListOptions),
    /// Show one delivery with its attempts, the waits between them, and what is next.
    Show(ShowOptions),
    /// Send one delivery again now.
    Retry(RetryOptions),
}

/// Which deliveries.
#[derive(Debug, Args)]
pub struct ListOptions {
    /// The webhook; can be left out where there is only one.
    webhook: Option<String>,
    /// Only those in this state: waiting, held, delivered, failed, cancelled, dropped or expired.
    #[arg(long)]
    state: Option<String>,
    /// Only those of this event type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only events created from this time on: RFC 3339, or how long ago, such as 2h.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events created up to this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    #[command(flatten)]
    page: PageOptions,
}

/// One delivery.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// The webhook.
    webhook: String,
    /// The event: its id, or the beginning of it.
    event: String,
    /// Show what was sent and answered as well: headers, and the body.
    #[arg(long, short)]
    verbose: bool,
}

/// One delivery that is sent again.
#[derive(Debug, Args)]
pub struct RetryOptions {
    /// The webhook.
    webhook: String,
    /// The event: its id, or the beginning of it.
    event: String,
    /// Wait for the attempt and show it; exit code 1 if it has not arrived.
    #[arg(long)]
    wait: bool,
    /// How long to wait.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    wait_for: Duration,
}

pub(super) async fn run(session: &mut Session<'_>, command: DeliveryCommand) -> Done<ExitCode> {
    match command {
        DeliveryCommand::List(options) => list(session, &options).await?,
        DeliveryCommand::Show(options) => show(session, &options).await?,
        DeliveryCommand::Retry(options) => return retry(session, &options).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// A time that somebody gave, as the API takes it.
pub(super) fn time(session: &Session<'_>, given: Option<&str>) -> Done<Option<String>> {
    let read = given
        .map(|given| when::argument(given, session.screen.now()))
        .transpose();
    read.map_err(|why| Fault::usage("time_invalid", why))
}

async fn list(session: &mut Session<'_>, options: &ListOptions) -> Done<()> {
    let since = time(session, options.since.as_deref())?;
    let until = time(session, options.until.as_deref())?;
    let webhook = session
        .webhook_id_or_only(options.webhook.as_deref())
        .await?;
    let query = [
        ("state", options.state.as_deref()),
        ("type", options.event_type.as_deref()),
        ("since", since.as_deref()),
        ("until", until.as_deref()),
    ];
    let path = format!("/api/v1/webhooks/{webhook}/deliveries");
    let listed = session.list(&path, &query, &options.page).await?;
    let screen = session.screen;
    if screen.json {
        return screen.json_text(&listed.text);
    }
    if listed.rows.is_empty() {
        let is_filtered = query.iter().any(|(_, value)| value.is_some());
        screen.note(if is_filtered {
            "no such deliveries"
        } else {
            "no deliveries yet"
        })?;
        return session.tell_of_more(&listed);
    }
    let mut table = Table::new(&[
        Column::cut("EVENT", 12),
        Column::cut("TYPE", 10),
        Column::whole("STATE"),
        Column::number("ATTEMPTS"),
        Column::cut("LAST", 6),
        Column::cut("CREATED", 8),
        Column::cut("NEXT", 6),
    ]);
    for row in &listed.rows {
        let last = &row["last_attempt"];
        let last = if last.is_null() {
            "–".into()
        } else {
            timeline::outcome(last)
        };
        table.row(vec![
            text(row, "event_id").into(),
            text(row, "type").into(),
            Text::state(text(row, "state")),
            when::number(count(row, "attempts")).into(),
            last,
            screen.time(text_if(row, "created_at")),
            screen.time(text_if(row, "next_attempt_at")),
        ]);
    }
    screen.table(&table)?;
    session.tell_of_more(&listed)
}

fn path(webhook: &str, event: &str) -> String {
    format!("/api/v1/webhooks/{webhook}/deliveries/{event}")
}

async fn show(session: &mut Session<'_>, options: &ShowOptions) -> Done<()> {
    let webhook = session.webhook_id(&options.webhook).await?;
    let event = session.event_id(&options.event, Some(&webhook)).await?;
    let answer = session.get(&path(&webhook, &event)).await?;
    let screen = session.screen;
    if screen.json {
        return screen.json_text(&answer.text);
    }
    let names = session.webhook_names().await?;
    let name = names.get(&webhook).map_or(webhook.as_str(), String::as_str);
    let delivery = &answer.body;
    screen.fact(
        "event",
        Text::styled(Style::Bold, text(delivery, "type"))
            .put("  ")
            .put(text(delivery, "event_id")),
    )?;
    screen.fact(
        "webhook",
        if name == webhook {
            webhook.clone()
        } else {
            format!("{name} ({webhook})")
        },
    )?;
    screen.fact("state", timeline::end(screen, delivery))?;
    screen.fact("attempts", when::number(count(delivery, "attempts_made")))?;
    screen.line("")?;
    timeline::delivery(screen, delivery, options.verbose)?;
    let body = text(delivery, "request_body");
    if options.verbose && !body.is_empty() {
        screen.line(Text::styled(Style::Dim, "  body:"))?;
        screen.json_block(body)?;
    }
    Ok(())
}

async fn retry(session: &mut Session<'_>, options: &RetryOptions) -> Done<ExitCode> {
    let webhook = session.webhook_id(&options.webhook).await?;
    let event = session.event_id(&options.event, Some(&webhook)).await?;
    let url = path(&webhook, &event);
    let before = match options.wait {
        true => count(&session.get(&url).await?.body, "attempts_made"),
        false => 0,
    };
    let asked = session.post(&format!("{url}/retry"), None).await;
    let answer = asked.map_err(|fault| match fault.status {
        Some(StatusCode::NOT_FOUND) => fault.hint(format!(
            "hookwheel event explain {event} says where it went"
        )),
        _ => fault,
    })?;
    let screen = session.screen;
    if !options.wait {
        if screen.json {
            screen.json_text(&answer.text)?;
        } else {
            screen.line(
                Text::styled(Style::Good, "queued").put(&format!(" {event}; it goes out now")),
            )?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let start = Instant::now();
    let answer = loop {
        let answer = session.get(&url).await?;
        if count(&answer.body, "attempts_made") > before || start.elapsed() >= options.wait_for {
            break answer;
        }
        sleep(LOOK_EVERY).await;
    };
    let delivery: &Value = &answer.body;
    let is_delivered =
        text(delivery, "state") == "delivered" && count(delivery, "attempts_made") > before;
    if screen.json {
        screen.json_text(&answer.text)?;
    } else {
        if count(delivery, "attempts_made") <= before {
            screen.note("it was not sent yet")?;
        } else if let Some(last) = delivery["attempts"]
            .as_array()
            .and_then(|attempts| attempts.last())
        {
            timeline::attempt(screen, last, &mut String::new(), false)?;
        }
        screen.line(Text::from("  ").join(timeline::end(screen, delivery)))?;
    }
    Ok(if is_delivered {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
