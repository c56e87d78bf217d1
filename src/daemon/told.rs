//! What came of the last reload, in a file of the data directory, for the person who asked for it: `hookwheel apply`.
//!
//! A reload is asked for by a signal, which has no answer. The file is no data: nothing reads it at a start, a backup
//! leaves it out, and where it cannot be written the log has all of it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::engine::Declared;

/// The file's name, and that of the next one while it is written.
const NAME: &str = "reload.json";
const NEXT: &str = "reload.json.tmp";
/// What could not be done is told of so many webhooks; the log and the API have the others.
const UNDONE_TOLD_MAX: usize = 20;

/// What came of a reload.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Came {
    /// The process, and how many reloads it has made: no two have both.
    pid: u32,
    number: u64,
    /// The config file that it reads.
    config: PathBuf,
    /// The mark of the text that was read; empty where it had errors.
    revision: String,
    /// Whether it is in force.
    taken: bool,
    /// Why not.
    detail: Option<String>,
    /// Whether some of it waits for a restart.
    needs_restart: bool,
    /// What was done of the declared webhooks.
    created: usize,
    changed: usize,
    disabled: usize,
    unchanged: usize,
    /// What could not be done of them yet.
    undone: Vec<Undone>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Undone {
    account: String,
    name: String,
    why: String,
}

impl Came {
    /// The config is in force.
    pub(super) fn taken(revision: &str, needs_restart: bool, declared: &Declared) -> Self {
        let undone = declared.undone.iter().take(UNDONE_TOLD_MAX);
        let undone = undone.map(|one| Undone {
            account: one.account.to_string(),
            name: one.name.clone(),
            why: one.why.clone(),
        });
        Self {
            revision: revision.to_owned(),
            taken: true,
            needs_restart,
            created: declared.created,
            changed: declared.changed,
            disabled: declared.disabled,
            unchanged: declared.unchanged,
            undone: undone.collect(),
            ..Self::default()
        }
    }

    /// It is not, for this reason.
    pub(super) fn refused(revision: &str, detail: String) -> Self {
        Self {
            revision: revision.to_owned(),
            detail: Some(detail),
            ..Self::default()
        }
    }
}

/// Where it is told.
#[derive(Debug)]
pub(super) struct Told {
    directory: PathBuf,
    config: PathBuf,
    number: u64,
}

impl Told {
    /// In this data directory, of this config file.
    pub(super) fn new(directory: &Path, config: &Path) -> Self {
        let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
        Self {
            directory: directory.to_owned(),
            config,
            number: 0,
        }
    }

    /// Tells what came of the next reload.
    pub(super) async fn tell(&mut self, came: Came) {
        self.number += 1;
        let came = Came {
            pid: std::process::id(),
            number: self.number,
            config: self.config.clone(),
            ..came
        };
        let directory = self.directory.clone();
        let written = tokio::task::spawn_blocking(move || write(&directory, &came)).await;
        let written = written.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        if let Err(error) = written {
            tracing::warn!(%error, path = %self.directory.join(NAME).display(),
                "what came of the reload could not be written down; hookwheel apply will not know");
        }
    }
}

/// Whole or not at all. It need not survive a power loss.
fn write(directory: &Path, came: &Came) -> io::Result<()> {
    let text = serde_json::to_string(came).map_err(io::Error::other)?;
    let next = directory.join(NEXT);
    std::fs::write(&next, text + "\n")?;
    std::fs::rename(&next, directory.join(NAME))
}
