//! How far a long command has come: on standard error, on a terminal only, a few times a second.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::Instant;

const EVERY: Duration = Duration::from_millis(200);

/// The line that tells how far a command has come.
pub(super) struct Progress {
    what: &'static str,
    shown: bool,
    total: u64,
    done: u64,
    told: Option<Instant>,
}

impl Progress {
    pub(super) fn new(what: &'static str, total: u64) -> Self {
        Self {
            what,
            shown: std::io::stderr().is_terminal(),
            total,
            done: 0,
            told: None,
        }
    }

    /// So many bytes more are done.
    pub(super) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if !self.shown || self.told.is_some_and(|told| told.elapsed() < EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        let done = super::size(self.done);
        let line = match (self.done * 100).checked_div(self.total) {
            Some(percent) => format!("{}: {done}, {}%", self.what, percent.min(100)),
            None => format!("{}: {done}", self.what),
        };
        self.write(&format!("\r\x1b[K{line}"));
    }

    fn write(&mut self, text: &str) {
        let mut err = std::io::stderr().lock();
        let written = err.write_all(text.as_bytes()).and_then(|()| err.flush());
        self.shown = written.is_ok();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.told.is_some() {
            self.write("\r\x1b[K");
        }
    }
}
