//! `hookwheel audit`: who did what, newest first.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::PageOptions;
use super::fault::Done;
use super::session::{Session, text, text_if, words};
use super::table::{Column, Table};

/// Which entries.
#[derive(Debug, Args)]
pub struct AuditOptions {
    /// Only what was done to this webhook; of a removed one the whole id.
    #[arg(long)]
    webhook: Option<String>,
    #[command(flatten)]
    page: PageOptions,
}

pub(super) async fn run(session: &mut Session<'_>, options: AuditOptions) -> Done<ExitCode> {
    let webhook = match &options.webhook {
        Some(given) => Some(session.webhook_id(given).await?),
        None => None,
    };
    let query = [("webhook", webhook.as_deref())];
    let listed = session.list("/api/v1/audit", &query, &options.page).await?;
    let screen = session.screen;
    if screen.json {
        screen.json_text(&listed.text)?;
        return Ok(ExitCode::SUCCESS);
    }
    if listed.rows.is_empty() {
        screen.note("nothing was done yet")?;
    } else {
        let names = session.webhook_names().await?;
        let mut table = Table::new(&[
            Column::cut("WHEN", 8),
            Column::cut("WHO", 8),
            Column::whole("WHAT"),
            Column::cut("WEBHOOK", 10),
            Column::cut("SUBJECT", 8),
            Column::cut("DETAILS", 8),
        ]);
        for entry in &listed.rows {
            let webhook = text_if(entry, "webhook_id").unwrap_or("–");
            let details = words(entry, "details").collect::<Vec<_>>().join(", ");
            table.row(vec![
                screen.time(text_if(entry, "at")),
                who(&entry["actor"]).into(),
                text(entry, "action").into(),
                names.get(webhook).map_or(webhook, String::as_str).into(),
                text_if(entry, "subject").unwrap_or("–").into(),
                if details.is_empty() {
                    "–".into()
                } else {
                    details.into()
                },
            ]);
        }
        screen.table(&table)?;
    }
    session.tell_of_more(&listed)?;
    Ok(ExitCode::SUCCESS)
}

fn who(actor: &Value) -> String {
    match (
        text(actor, "kind"),
        text_if(actor, "name"),
        text_if(actor, "address"),
    ) {
        ("key", Some(name), Some(address)) => format!("{name} ({address})"),
        ("key", Some(name), None) => name.to_owned(),
        (kind, _, _) => kind.to_owned(),
    }
}
