//! The commands for who looks after a daemon: `init`, `backup`, `restore`, `repair` and `doctor`.
//!
//! What they do to the data is the store's own work (`store::backup` and its like); here they are told as people
//! and scripts need it. Results go to standard output; progress to standard error, and only on a terminal.

mod backup;
mod doctor;
mod init;
mod progress;
mod repair;
mod restore;

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::refuse_config;
use crate::config::Config;
use crate::store::{self, Damage, Survey};

pub use backup::backup;
pub use doctor::doctor;
pub use init::init;
pub use repair::repair;
pub use restore::restore;

/// Pieces of damage that are printed one by one.
const SHOWN_MAX: usize = 20;

/// The config, or the exit code after its errors were told.
fn config(path: &Path, json: bool) -> Result<Config, ExitCode> {
    Config::load(path).map_err(|errors| refuse_config(path, &errors, json))
}

/// A failure of the store with what to do about it, where the store leaves that to whoever knows the caller.
fn remedied(error: store::Error) -> anyhow::Error {
    let cause = match &error {
        store::Error::Io { source, .. } => source.kind(),
        _ => return error.into(),
    };
    let remedy = match cause {
        ErrorKind::PermissionDenied => "run this as the daemon's user, or as root",
        ErrorKind::NotFound => "check the path; something may have removed it meanwhile",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space there, and begin again"
        }
        ErrorKind::ReadOnlyFilesystem => "name a place that can be written to",
        _ => "look at the disk's health and the system's log, and begin again",
    };
    anyhow::anyhow!("{error}; {remedy}")
}

/// Prints lines; whoever closed the output has the exit code all the same.
fn print(lines: &[String]) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    for line in lines {
        if writeln!(out, "{line}").is_err() {
            return;
        }
    }
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" {
                format!("{bytes} B")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// How much was done in a time, for people.
fn pace(bytes: u64, seconds: f64) -> String {
    format!(
        "{seconds:.2} s ({:.0} MB/s)",
        bytes as f64 / 1e6 / seconds.max(1e-6)
    )
}

/// What a journal holds, for people.
fn content(survey: &Survey) -> Vec<String> {
    let end = survey
        .end
        .map_or("nothing".to_owned(), |end| end.to_string());
    vec![
        format!(
            "  events      {} with {} deliveries, of which {} are pending",
            survey.events, survey.deliveries, survey.pending
        ),
        format!("  webhooks    {}", survey.webhooks),
        format!(
            "  journal     {} segments, {}, {} records, up to {end}",
            survey.segments,
            size(survey.bytes),
            survey.records
        ),
    ]
}

/// Damage, each piece with its file and offset.
fn damage(survey: &Survey) -> Vec<String> {
    let mut lines: Vec<String> = survey.damage.iter().take(SHOWN_MAX).map(piece).collect();
    let more = survey.damaged.saturating_sub(lines.len() as u64);
    if more > 0 {
        lines.push(format!("  damage      … and {more} more pieces"));
    }
    lines
}

fn piece(damage: &Damage) -> String {
    let known = if damage.set_aside {
        " (set aside before)"
    } else {
        ""
    };
    format!(
        "  damage      {}: {} bytes at offset {} are no record{known}",
        damage.path.display(),
        damage.bytes,
        damage.position.offset
    )
}

/// What a journal holds, for scripts.
fn as_json(survey: &Survey) -> Value {
    let damage: Vec<Value> = survey
        .damage
        .iter()
        .map(|damage| {
            json!({
                "file": damage.path, "offset": damage.position.offset, "bytes": damage.bytes,
                "set_aside": damage.set_aside,
            })
        })
        .collect();
    json!({
        "events": survey.events, "deliveries": survey.deliveries, "pending": survey.pending,
        "webhooks": survey.webhooks, "segments": survey.segments, "bytes": survey.bytes,
        "records": survey.records, "end": survey.end.map(|end| end.to_string()),
        "newest_record_at": survey.newest.map(|at| at.to_string()),
        "damaged": survey.damaged, "damage": damage,
    })
}

/// The object with more members.
fn with(mut object: Value, more: Value) -> Value {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}
