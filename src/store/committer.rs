//! The committer: one thread through which every write goes.
//!
//! It gathers what waits, commits it as groups, and between groups does what the store itself needs: it gives
//! the overlay to sled, seals segments, cancels what is pending of removed webhooks, and watches the disk.
//!
//! Invariant: after the first failure of an append, a sync or an apply nothing is acknowledged any more, and
//! nothing is tried again; the failure is reported once, and the process is expected to end.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::journal::{self, Journal};
use crate::metrics::Metrics;
use crate::model::{Clock, Position, SteadyMillis, WebhookId};

use super::durable::SledFiles;
use super::group::{Committed, Ground, Group};
use super::inbox::{Answer, Gathered, Inbox, Op, send};
use super::live::Live;
use super::record::{Moment, Row};
use super::writer::CANCEL_MAX;
use super::{Error, Options, Reader, WriteError, Writer};

/// Ops taken at once; more wait for the next group, so that the first ones' answers do not.
const GROUP_OPS_MAX: usize = 4096;
/// A group is committed when it has this many bytes: memory and one write stay bounded.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// The overlay goes to sled at this many keys: about a megabyte of memory, and 50 ms of work (measured).
const OVERLAY_KEYS_MAX: usize = 4096;
/// … or when this much of the journal would have to be applied again after a crash: a fraction of a second.
const UNAPPLIED_BYTES_MAX: u32 = 16 << 20;
/// … or when nothing has come for this long.
const OVERLAY_IDLE: Duration = Duration::from_millis(250);
/// With nothing to do, the committer looks this often whether a segment has come of age.
const IDLE: Duration = Duration::from_secs(10);
/// Free disk space is asked for this often, at most.
const DISK_CHECK_MS: u64 = 1000;
/// Registry rows in one snapshot record: at 400 kB, 50 headers of 8 kB, they still fit into one.
const SNAPSHOT_ROWS_MAX: usize = 16;

/// What the committer works on.
pub(super) struct Committer {
    pub(super) journal: Journal,
    pub(super) reader: journal::Reader,
    pub(super) live: Arc<Live>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) options: Options,
    pub(super) disk_low: Arc<AtomicBool>,
    pub(super) files: SledFiles,
    /// Removed webhooks whose pending deliveries are being cancelled.
    pub(super) purging: BTreeSet<WebhookId>,
    /// Up to where sled is applied for certain, whatever happens: segments before are not needed for recovery.
    pub(super) durable: Position,
    /// Up to where sled is applied.
    pub(super) flushed: Position,
    /// Where the registry ends that the segment being written begins with.
    pub(super) begun_at: u32,
    pub(super) disk_checked: Option<SteadyMillis>,
    pub(super) buffer: Vec<u8>,
}

/// Runs the committer until its inbox is closed; reports the failure that ended it, if one did.
pub(super) fn run(
    mut committer: Committer,
    fatal: &watch::Sender<Option<String>>,
) -> Result<(), String> {
    let inbox = Arc::clone(&committer.inbox);
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| committer.work()));
    let failure = match ended {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the committer panicked".to_owned(),
    };
    tracing::error!(error = %failure, "the store has failed; nothing is written any more");
    inbox.close(WriteError::Failed(failure.clone()));
    fatal.send_replace(Some(failure.clone()));
    Err(failure)
}

impl Committer {
    /// Writes through this committer.
    pub(super) fn writer(&self) -> Writer {
        Writer {
            inbox: Arc::clone(&self.inbox),
            disk_low: Arc::clone(&self.disk_low),
        }
    }

    /// Reads what it has written.
    pub(super) fn reader(&self) -> Reader {
        Reader {
            live: Arc::clone(&self.live),
            journal: self.reader.clone(),
        }
    }

    fn work(&mut self) -> Result<(), Error> {
        self.check_disk()?;
        loop {
            let gathered = self.inbox.gather(GROUP_OPS_MAX, self.patience());
            if !self.round(gathered)? {
                return Ok(());
            }
            self.check_disk()?;
        }
    }

    /// Does what was found to do; `false`: that was the last.
    pub(super) fn round(&mut self, gathered: Gathered) -> Result<bool, Error> {
        match gathered {
            Gathered::Ops(ops) => self.commit(ops)?,
            Gathered::Idle if !self.purging.is_empty() => self.commit(Vec::new())?,
            Gathered::Idle => self.flush()?,
            Gathered::Closed => {
                self.checkpoint()?;
                return Ok(false);
            }
        }
        self.keep_house()?;
        Ok(true)
    }

    fn patience(&self) -> Duration {
        let (_, dirty) = self.live.unflushed();
        match (self.purging.is_empty(), dirty) {
            (false, _) => Duration::ZERO,
            (true, true) => OVERLAY_IDLE,
            (true, false) => IDLE,
        }
    }

    /// Commits ops, in one group if they are not too large.
    fn commit(&mut self, ops: Vec<Op>) -> Result<(), Error> {
        let (requeues, others): (Vec<Op>, Vec<Op>) = ops
            .into_iter()
            .partition(|op| matches!(op, Op::Requeue { .. }));
        let mut deletions: Vec<(u32, Answer<u32>)> = Vec::new();
        let mut ops = requeues.into_iter().chain(others).peekable();
        let purge = self.purging.first().copied();
        let mut first = true;
        while first || ops.peek().is_some() {
            let now = self.now();
            let mut group = Group::new(self.ground(), now);
            while group.staged_bytes() < GROUP_BYTES_MAX
                && let Some(op) = ops.next()
            {
                match op {
                    Op::DeleteThrough { segment, answer } => deletions.push((segment, answer)),
                    op => group.take(op)?,
                }
            }
            if let Some(webhook) = purge.filter(|_| first) {
                group.purge(webhook, CANCEL_MAX)?;
            }
            let committed = group.commit()?;
            self.note(committed);
            first = false;
        }
        for (segment, answer) in deletions {
            let deleted = self.delete_through(segment)?;
            send(answer, Ok(deleted));
        }
        Ok(())
    }

    fn note(&mut self, committed: Committed) {
        self.purging.extend(committed.removed);
        for webhook in committed.forgotten {
            self.purging.remove(&webhook);
        }
    }

    fn ground(&mut self) -> Ground<'_> {
        Ground {
            journal: &mut self.journal,
            reader: &self.reader,
            live: &self.live,
            buffer: &mut self.buffer,
            metrics: &self.metrics,
        }
    }

    fn now(&self) -> Moment {
        Moment {
            steady: self.clock.steady(),
            wall: self.clock.wall(),
        }
    }

    /// Flushes where a bound is reached, and seals the segment where it is time.
    fn keep_house(&mut self) -> Result<(), Error> {
        let (keys, _) = self.live.unflushed();
        let next = self.journal.next();
        let unapplied = next.segment != self.flushed.segment
            || next.offset - self.flushed.offset >= UNAPPLIED_BYTES_MAX;
        if keys >= OVERLAY_KEYS_MAX || unapplied {
            self.flush()?;
        }
        // At least as much again as the registry takes, so that a large one does not fill the journal.
        let grown = self.journal.next().offset.saturating_sub(self.begun_at) >= self.begun_at;
        if grown && self.journal.wants_roll(self.clock.wall().0) {
            self.journal.roll(self.clock.wall().0)?;
            self.begin_segment()?;
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Writes the registry into the segment that was begun or gone on with, so that those before it can be
    /// deleted: every segment that is sealed later holds the whole registry.
    pub(super) fn begin_segment(&mut self) -> Result<(), Error> {
        let rows: Vec<Row> = self.live.rows(|rows| rows.values().cloned().collect());
        // An empty registry is written too: the time that it carries must outlive the segments before.
        let empty: &[Row] = &[];
        let parts = rows.chunks(SNAPSHOT_ROWS_MAX);
        let mut parts = parts.chain(rows.is_empty().then_some(empty)).peekable();
        while parts.peek().is_some() {
            let now = self.now();
            let mut group = Group::new(self.ground(), now);
            while group.staged_bytes() < GROUP_BYTES_MAX
                && let Some(part) = parts.next()
            {
                group.snapshot(part)?;
            }
            group.commit()?;
        }
        self.begun_at = self.journal.next().offset;
        Ok(())
    }

    /// Gives the overlay to sled.
    fn flush(&mut self) -> Result<(), Error> {
        self.live.flush()?;
        if let (Some(applied), _) = self.live.applied() {
            self.flushed = applied;
        }
        if self.files.needs_own_sync() {
            self.live.sync()?;
            self.files.sync_data()?;
            self.durable = self.flushed;
        }
        Ok(())
    }

    /// Gives the overlay to sled and makes sled's file durable.
    pub(super) fn checkpoint(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.live.sync()?;
        self.files.sync_data()?;
        self.durable = self.flushed;
        Ok(())
    }

    /// Deletes segments up to `last`, as far as recovery does not need them and nothing pending is in them.
    fn delete_through(&mut self, last: u32) -> Result<u32, Error> {
        if self.durable.segment <= last {
            self.checkpoint()?;
        }
        let (oldest, _) = self.reader.bounds();
        let free = self
            .reader
            .numbers(oldest, last.min(self.durable.segment.saturating_sub(1)));
        let deletable = free
            .into_iter()
            .rev()
            .take_while(|segment| self.live.pending_in(*segment) == 0);
        let Some(last) = deletable.last() else {
            return Ok(0);
        };
        let deleted = self.journal.delete_through(last)?;
        tracing::info!(segments = deleted, last, "history deleted");
        Ok(deleted)
    }

    /// Compares free disk space with the reserve: below it sled and the journal must still have room to work.
    fn check_disk(&mut self) -> Result<(), Error> {
        let now = self.clock.steady();
        if self
            .disk_checked
            .is_some_and(|checked| now.since(checked) < DISK_CHECK_MS)
        {
            return Ok(());
        }
        self.disk_checked = Some(now);
        let path = &self.options.path;
        let space = rustix::fs::statvfs(path)
            .map_err(|errno| super::error::io("ask free space of", path)(errno.into()))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let low = free < self.options.disk_reserve_bytes;
        if self.disk_low.swap(low, Ordering::Relaxed) != low {
            if low {
                tracing::error!(
                    free,
                    reserve = self.options.disk_reserve_bytes,
                    "disk space low: new events are refused"
                );
            } else {
                tracing::info!(free, "disk space is back: new events are taken");
            }
        }
        Ok(())
    }
}
