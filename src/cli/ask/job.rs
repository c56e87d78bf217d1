//! `hookwheel job`: what replays and the like have done, and a hand on them.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::PageOptions;
use super::fault::Done;
use super::replay::{follow, summary};
use super::session::{Session, count, part, text, text_if, words};
use super::table::{Column, Table};
use super::text::Text;
use super::when;

/// What can be done with jobs.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// List jobs, newest first.
    #[command(visible_alias = "ls")]
    List(PageOptions),
    /// Show a job.
    Show(Named),
    /// Show how far a job is until it ends; exit code 0 only if it was carried to its end.
    Wait(Named),
    /// Stop a job for a while.
    Pause(Named),
    /// Let a paused job go on.
    Resume(Named),
    /// End a job; what it has queued is sent all the same.
    Cancel(Sure),
}

/// A job.
#[derive(Debug, Args)]
pub struct Named {
    /// Its id, or the beginning of it.
    job: String,
}

/// A job that cannot be taken up again.
#[derive(Debug, Args)]
pub struct Sure {
    /// Its id, or the beginning of it.
    job: String,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn run(session: &mut Session<'_>, command: JobCommand) -> Done<ExitCode> {
    let (given, verb) = match command {
        JobCommand::List(page) => {
            list(session, &page).await?;
            return Ok(ExitCode::SUCCESS);
        }
        JobCommand::Wait(Named { job }) => {
            let id = session.job_id(&job).await?;
            return follow(session, &id).await;
        }
        JobCommand::Show(Named { job }) => {
            let id = session.job_id(&job).await?;
            let answer = session.get(&format!("/api/v1/jobs/{id}")).await?;
            tell(session, &answer.body, &answer.text)?;
            return Ok(ExitCode::SUCCESS);
        }
        JobCommand::Pause(Named { job }) => (job, "pause"),
        JobCommand::Resume(Named { job }) => (job, "resume"),
        JobCommand::Cancel(Sure { job, yes }) => {
            let id = session.job_id(&job).await?;
            let now = session.get(&format!("/api/v1/jobs/{id}")).await?;
            let question = format!("Cancel {id}, {}?", summary(&now.body).render(false));
            session.screen.confirm(&question, yes)?;
            (id, "cancel")
        }
    };
    let id = session.job_id(&given).await?;
    let answer = session
        .post(&format!("/api/v1/jobs/{id}/{verb}"), None)
        .await?;
    if session.screen.json {
        session.screen.json_text(&answer.text)?;
    } else {
        session
            .screen
            .line(summary(&answer.body).put(&format!("  {id}")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The share that is done, in percent.
fn percent(job: &Value) -> String {
    let share = part(part(job, "progress"), "share").as_f64().unwrap_or(0.0);
    format!("{:.0}%", share * 100.0)
}

async fn list(session: &mut Session<'_>, page: &PageOptions) -> Done<()> {
    let listed = session.list("/api/v1/jobs", &[], page).await?;
    let screen = session.screen;
    if screen.json {
        return screen.json_text(&listed.text);
    }
    if listed.rows.is_empty() {
        return screen.note("no jobs; `hookwheel replay WEBHOOK` starts one");
    }
    let names = session.webhook_names().await?;
    let mut table = Table::new(&[
        Column::cut("ID", 12),
        Column::whole("KIND"),
        Column::cut("WEBHOOK", 10),
        Column::whole("STATE"),
        Column::number("DONE"),
        Column::number("QUEUED"),
        Column::cut("CREATED", 8),
    ]);
    for job in &listed.rows {
        let webhook = text_if(job, "webhook").unwrap_or("all");
        table.row(vec![
            text(job, "id").into(),
            text(job, "kind").into(),
            names.get(webhook).map_or(webhook, String::as_str).into(),
            Text::state(text(job, "state")),
            percent(job).into(),
            when::number(count(&job["progress"], "queued")).into(),
            screen.time(text_if(job, "created_at")),
        ]);
    }
    screen.table(&table)?;
    session.tell_of_more(&listed)
}

fn tell(session: &Session<'_>, job: &Value, raw: &str) -> Done<()> {
    let screen = session.screen;
    if screen.json {
        return screen.json_text(raw);
    }
    screen.fact("id", text(job, "id"))?;
    screen.fact("kind", text(job, "kind"))?;
    screen.fact("state", summary(job))?;
    screen.fact("done", percent(job))?;
    for name in ["webhook", "to"] {
        if let Some(value) = text_if(job, name) {
            screen.fact(name, value)?;
        }
    }
    let filter = &job["filter"];
    for name in ["since", "until"] {
        if let Some(at) = text_if(filter, name) {
            screen.fact(name, screen.moment(at))?;
        }
    }
    for name in ["types", "states"] {
        let values: Vec<&str> = words(filter, name).collect();
        if !values.is_empty() {
            screen.fact(name, values.join(", "))?;
        }
    }
    screen.fact(
        "rate",
        format!("{} a second", when::number(count(job, "per_second"))),
    )?;
    screen.fact("created", screen.moment(text(job, "created_at")))?;
    match text_if(job, "ended_at") {
        Some(at) => screen.fact("ended", screen.moment(at)),
        None => Ok(()),
    }
}
