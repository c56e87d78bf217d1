//! Having a running daemon read its config again, and learning what came of it.
//!
//! Who holds the data directory's lock is the daemon: the system knows its process (`/proc/locks`). It answers a signal
//! by a file beside the lock, which is taken away before the signal, so an old one is never taken for the answer.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

/// What the daemon calls the file.
const NAME: &str = "reload.json";
/// It reads some files and writes some webhooks; a thousand new ones on a slow disk take half a minute.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The answer names a bounded number of webhooks, and each fault of a config.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The daemon that runs on a data directory.
pub(super) struct Daemon {
    pid: Pid,
    directory: PathBuf,
}

/// What came of a reload, as the daemon has written it down.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Came {
    config: PathBuf,
    revision: String,
    taken: bool,
    detail: Option<String>,
    needs_restart: bool,
    created: u64,
    changed: u64,
    disabled: u64,
    unchanged: u64,
    undone: Vec<Undone>,
}

/// A declared webhook that is not as declared yet.
#[derive(Debug, Serialize, Deserialize)]
struct Undone {
    account: String,
    name: String,
    why: String,
}

impl Daemon {
    /// The one that runs on this directory.
    pub(super) fn of(directory: &Path) -> anyhow::Result<Self> {
        let lock = directory.join("lock");
        let found = match std::fs::metadata(&lock) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(
                "no daemon has run on {} yet; start it, and it takes the config over",
                directory.display()
            ),
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "{} cannot be looked at; run this as the daemon's user, or as root",
                        lock.display()
                    )
                });
            }
        };
        let locks = std::fs::read_to_string("/proc/locks")
            .context("the system does not tell who holds locks; send the daemon SIGHUP yourself")?;
        let holders = locks.lines().filter_map(|line| holder(line, found.ino()));
        let pid = holders
            .filter(|pid| serves(*pid) && has_open(*pid, found.dev(), found.ino()))
            .find_map(Pid::from_raw);
        let pid = pid.with_context(|| {
            format!(
                "no daemon of this machine, or none of yours, runs on {}: start it, and it takes the config over; or run \
                 this as its user, or as root",
                directory.display()
            )
        })?;
        Ok(Self {
            pid,
            directory: directory.to_owned(),
        })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Has it read its config again, and waits for what comes of it.
    pub(super) async fn reload(&self) -> anyhow::Result<Came> {
        let path = self.directory.join(NAME);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("{} cannot be taken away", path.display()));
            }
            _ => {}
        }
        kill_process(self.pid, Signal::HUP)
            .with_context(|| format!("the daemon {} cannot be sent SIGHUP", self.pid()))?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if std::fs::metadata(&path).is_ok_and(|file| file.len() <= ANSWER_BYTES_MAX) {
                let text = std::fs::read_to_string(&path)?;
                return serde_json::from_str(&text)
                    .with_context(|| format!("{} is not what a daemon writes", path.display()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!(
            "the daemon {} was sent SIGHUP, and has not said within {} s what came of it; its log says",
            self.pid(),
            PATIENCE.as_secs()
        )
    }
}

/// The process that holds a lock on the file with this inode, by a line of `/proc/locks`:
/// `1: KIND  ADVISORY  WRITE 1234 08:01:5678 0 EOF`.
fn holder(line: &str, inode: u64) -> Option<i32> {
    let mut words = line.split_whitespace().skip(4);
    let pid = words.next()?.parse().ok()?;
    let (_, found) = words.next()?.rsplit_once(':')?;
    (found.parse() == Ok(inode) && pid > 0).then_some(pid)
}

/// Whether a process is a daemon by its command line: a repair or a demo holds such a lock, too, and would end by SIGHUP.
fn serves(pid: i32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"serve")
}

/// Whether a process has this file open: inodes of different disks may be the same, and what disk it is some file
/// systems tell the two in different ways.
fn has_open(pid: i32, device: u64, inode: u64) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    open.flatten().any(|file| {
        std::fs::metadata(file.path()).is_ok_and(|file| (file.dev(), file.ino()) == (device, inode))
    })
}

impl Came {
    /// Whether the config with this revision is in force, all of it.
    pub(super) fn is_good(&self, revision: &str) -> bool {
        self.taken && self.revision == revision && self.undone.is_empty()
    }

    pub(super) fn to_json(&self, revision: &str) -> Value {
        json!({ "in_force": self.is_good(revision), "reload": self })
    }

    /// For the person at the terminal.
    pub(super) fn to_text(&self, path: &Path, revision: &str) -> String {
        if !self.taken {
            let why = self.detail.as_deref().unwrap_or("its log says why");
            return format!(
                "the daemon refused the config, and the old one stays in force:\n\n{why}\n"
            );
        }
        if self.revision != revision {
            return format!(
                "the daemon has read another config: it reads {}, and you have named {}; or that was changed just now\n",
                self.config.display(),
                path.display()
            );
        }
        let mut shown = format!(
            "{} is in force ({revision}); declared webhooks: {} created, {} changed, {} disabled, {} unchanged\n",
            path.display(),
            self.created,
            self.changed,
            self.disabled,
            self.unchanged
        );
        if self.needs_restart {
            shown.push_str("other changes in it wait for a restart of the daemon\n");
        }
        for Undone { account, name, why } in &self.undone {
            let line = format!("not done yet, tried again every 10 s: {account}/{name}: {why}\n");
            shown.push_str(&line);
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_read_from_its_line() {
        let line = "3: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF";
        assert_eq!(holder(line, 5678), Some(1234));
        assert_eq!(holder(line, 567), None);
        for other in [
            "3: -> FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF",
            "3: FLOCK  ADVISORY  WRITE -1 08:01:5678 0 EOF",
            "",
        ] {
            assert_eq!(holder(other, 5678), None, "{other}");
        }
    }
}
