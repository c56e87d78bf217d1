//! Having a running daemon read its config again, and learning what came of it.
//!
//! Who holds the data directory's lock is the daemon: the system knows its process (`/proc/locks`). The process is held on
//! to from then on, so what begins later under the same number, while somebody thinks about the plan, is never signalled.
//! The daemon answers a signal by a file beside the lock, which is taken away before the signal, so an old one is never
//! taken for the answer. The directory is the daemon's, who may be less than we are: no link is followed in it, nothing
//! but a file is read, and what it says is shown harmless.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::ask::harmless;

/// What the daemon calls the file.
const NAME: &str = "reload.json";
/// It reads some files and writes some webhooks; a thousand new ones on a slow disk take half a minute.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often it is looked whether it is still there: that reads the list of its open files.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// The answer names a bounded number of webhooks, and each fault of a config.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The daemon that runs on a data directory.
pub(super) struct Daemon {
    pid: Pid,
    /// The process itself; `None` where the system has no such handles.
    process: Option<OwnedFd>,
    /// Device and inode of its lock.
    lock: (u64, u64),
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
        let lock = (found.dev(), found.ino());
        let mut holders = holders.filter_map(Pid::from_raw);
        let daemon = holders.find_map(|pid| {
            // Held first and looked at then: what is looked at is what is held, or it has ended.
            let process = match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(process) => Some(process),
                Err(Errno::SRCH) => return None,
                Err(_) => None,
            };
            holds(pid, lock).then_some((pid, process))
        });
        let (pid, process) = daemon.with_context(|| {
            format!(
                "no daemon of this machine, or none of yours, runs on {}: start it, and it takes the config over; or run \
                 this as its user, or as root",
                directory.display()
            )
        })?;
        Ok(Self {
            pid,
            process,
            lock,
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
        self.signal()?;
        let start = Instant::now();
        let mut looked = start;
        while start.elapsed() < PATIENCE {
            let is_there = looked.elapsed() < ALIVE_EVERY || holds(self.pid, self.lock);
            if let Some(text) = answer(&path)? {
                // What a parser says of a text quotes it.
                let came = serde_json::from_str(&text).ok();
                return came
                    .with_context(|| format!("{} is not what a daemon writes", path.display()));
            }
            ensure!(
                is_there,
                "the daemon {} has ended without a word on what came of it; its log says why",
                self.pid()
            );
            if looked.elapsed() >= ALIVE_EVERY {
                looked = Instant::now();
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!(
            "the daemon {} was sent SIGHUP, and has not said within {} s what came of it; its log says",
            self.pid(),
            PATIENCE.as_secs()
        )
    }

    /// Sends SIGHUP to the process that was found, and to no other.
    fn signal(&self) -> anyhow::Result<()> {
        let sent = match &self.process {
            Some(process) => pidfd_send_signal(process, Signal::HUP),
            None if holds(self.pid, self.lock) => kill_process(self.pid, Signal::HUP),
            None => Err(Errno::SRCH),
        };
        let pid = self.pid();
        match sent {
            Ok(()) => Ok(()),
            Err(Errno::SRCH) => bail!(
                "the daemon {pid} has ended meanwhile; the one that starts after it takes the config over"
            ),
            Err(error) => {
                Err(error).with_context(|| format!("the daemon {pid} cannot be sent SIGHUP"))
            }
        }
    }
}

/// What the daemon has left there, once it has.
fn answer(path: &Path) -> anyhow::Result<Option<String>> {
    let unread = || format!("{} cannot be read", path.display());
    // A link is not followed, and a pipe not waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error).with_context(unread),
    };
    ensure!(
        file.metadata().with_context(unread)?.is_file(),
        "{} is no file; take it away",
        path.display()
    );
    let mut text = String::new();
    let read = file.take(ANSWER_BYTES_MAX).read_to_string(&mut text);
    read.with_context(unread)?;
    Ok(Some(text))
}

/// Whether a process is a daemon that has this lock.
fn holds(pid: Pid, (device, inode): (u64, u64)) -> bool {
    let pid = pid.as_raw_nonzero().get();
    serves(pid) && has_open(pid, device, inode)
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
            let lines: Vec<_> = why.lines().map(harmless).collect();
            let why = lines.join("\n");
            return format!(
                "the daemon refused the config, and the old one stays in force:\n\n{why}\n"
            );
        }
        if self.revision != revision {
            return format!(
                "the daemon has read another config: it reads {}, and you have named {}; or that was changed just now\n",
                harmless(&self.config.display().to_string()),
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
            let line = format!("not done yet, tried again every 10 s: {account}/{name}: {why}");
            shown.push_str(&harmless(&line));
            shown.push('\n');
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_file_and_nothing_that_leads_elsewhere_or_waits() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        assert!(answer(&path).unwrap().is_none(), "not there yet");
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(answer(&path).unwrap().as_deref(), Some("{}"));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let said = answer(&link).unwrap_err().to_string();
        assert!(said.contains("cannot be read"), "{said}");
        // Nobody writes to it, and it is not waited for.
        let pipe = directory.path().join("pipe");
        let (kind, mode) = (rustix::fs::FileType::Fifo, Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
        let said = answer(&pipe).unwrap_err().to_string();
        assert!(said.contains("is no file"), "{said}");
    }

    fn of_child(child: &std::process::Child, directory: &Path) -> Daemon {
        let pid = Pid::from_child(child);
        Daemon {
            pid,
            process: Some(pidfd_open(pid, PidfdFlags::empty()).unwrap()),
            lock: (0, 0),
            directory: directory.to_owned(),
        }
    }

    #[tokio::test]
    async fn what_has_ended_is_not_signalled_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let sleep = || {
            std::process::Command::new("sleep")
                .arg("60")
                .spawn()
                .unwrap()
        };
        let mut child = sleep();
        let ended = of_child(&child, directory.path());
        child.kill().unwrap();
        child.wait().unwrap();
        let said = ended.reload().await.unwrap_err().to_string();
        assert!(said.contains("has ended meanwhile"), "{said}");
        // One that ends by the signal says nothing any more.
        let mut child = sleep();
        let ending = of_child(&child, directory.path());
        let begun = Instant::now();
        let said = ending.reload().await.unwrap_err().to_string();
        assert!(said.contains("without a word"), "{said}");
        assert!(begun.elapsed() < PATIENCE / 4);
        child.wait().unwrap();
    }

    #[test]
    fn what_a_daemon_says_does_nothing_to_a_terminal() {
        let came = Came {
            config: PathBuf::new(),
            revision: String::new(),
            taken: false,
            detail: Some("first\n\u{1b}[2Jsecond".to_owned()),
            needs_restart: false,
            created: 0,
            changed: 0,
            disabled: 0,
            unchanged: 0,
            undone: Vec::new(),
        };
        let shown = came.to_text(Path::new("config.toml"), "");
        assert!(shown.contains("first\n\\u{1b}[2Jsecond"), "{shown}");
    }

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
