//! The committer: one thread through which every write goes.
//!
//! It gathers what waits, commits it as groups, and between groups does what the store itself needs: it gives
//! the overlay to sled, seals segments, cancels what is pending of removed webhooks, and watches the disk.
//!
//! A full disk is met before anything is written. Then outcomes wait, in the group that had no room and behind
//! it, everything else is refused at once, and room is looked for again and again.
//!
//! Invariant: after the first failure of an append, a sync or an apply nothing is acknowledged any more, and
//! nothing is tried again; the failure is reported once, and the process is expected to end.

mod flush;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::journal::{self, Journal};
use crate::metrics::Metrics;
use crate::model::{Clock, Job, Position, SteadyMillis, WebhookId};

use super::durable::SledFiles;
use super::flusher::Flusher;
use super::group::{Committed, Ground, Group, Outcome, Staged};
use super::inbox::{Answer, Gathered, Inbox, Op, send};
use super::live::Live;
use super::record::{Moment, Row};
use super::space::{Ballast, Space};
use super::writer::CANCEL_MAX;
use super::{Error, Options, Reader, WriteError, Writer};

/// Changes made in one round, about; what would make more waits for the next, so that the first ones' answers do not,
/// and the house is kept. It bounds what is given to sled at once too, and so what sled needs meanwhile: some kilobytes
/// for each key (measured).
const ROUND_CHANGES_MAX: usize = 1024;
/// Outcomes that are kept behind a group that waits for room, before what comes is taken one by one.
const LATE_MAX: usize = 4096;
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
/// On a full disk room is looked for this often.
const ROOM_PAUSE: Duration = Duration::from_millis(200);
/// Room in the journal that intake leaves to outcomes, bytes: some hundreds of the usual ones.
const OUTCOMES_BYTES: usize = 256 << 10;
/// While sled has no room the overlay may grow to this many keys, some tens of megabytes; then all waits.
const OVERLAY_KEYS_FULL: usize = 32 * OVERLAY_KEYS_MAX;
/// A step of the wall clock by more than this is put on record, milliseconds; less is drift or slewing.
const CLOCK_STEP_MS: u64 = 1000;
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
    pub(super) space: Arc<watch::Sender<Space>>,
    pub(super) ballast: Ballast,
    /// A group that waits for room, and outcomes behind it.
    pub(super) held: Option<Box<Staged>>,
    pub(super) late: Vec<Op>,
    pub(super) files: SledFiles,
    /// Removed webhooks whose pending deliveries are being cancelled.
    pub(super) purging: BTreeSet<WebhookId>,
    /// Up to where sled is applied for certain, whatever happens: segments before are not needed for recovery.
    pub(super) durable: Position,
    /// Up to where sled is applied.
    pub(super) flushed: Position,
    /// How many bytes the registry takes in a segment; `None` while the one being written does not hold it
    /// yet, for want of room. Then no segment is sealed or deleted.
    pub(super) registry_bytes: Option<u32>,
    pub(super) disk_checked: Option<SteadyMillis>,
    /// How far the wall clock was ahead of the steady time when it was last looked at.
    pub(super) wall_ahead_ms: i64,
    pub(super) buffer: Vec<u8>,
    pub(super) flusher: Flusher,
    /// Whether sled is to be made durable with the next overlay that it is given.
    pub(super) sync_wanted: bool,
}

/// Starts the committer in a thread of its own.
pub(super) fn spawn(
    committer: Committer,
    fatal: watch::Sender<Option<String>>,
) -> Result<JoinHandle<Result<(), String>>, Error> {
    std::thread::Builder::new()
        .name("hookwheel-commit".to_owned())
        .spawn(move || run(committer, &fatal))
        .map_err(|source| Error::Io {
            action: "start a thread for",
            path: PathBuf::from("the committer"),
            source,
        })
}

/// Runs the committer until its inbox is closed; reports the failure that ended it, if one did.
fn run(mut committer: Committer, fatal: &watch::Sender<Option<String>>) -> Result<(), String> {
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
            note: None,
            inbox: Arc::clone(&self.inbox),
            space: Arc::clone(&self.space),
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
            let mut limit = ROUND_CHANGES_MAX;
            if self.late.len() >= LATE_MAX {
                // What comes now waits in the inbox; there is a bound on attempts under way.
                std::thread::sleep(ROOM_PAUSE);
                limit = 1;
            }
            let gathered = self.inbox.gather(limit, self.patience());
            if !self.round(gathered)? {
                return Ok(());
            }
        }
    }

    /// Does what was found to do; `false`: that was the last.
    pub(super) fn round(&mut self, gathered: Gathered) -> Result<bool, Error> {
        if self.held.is_some() {
            if !self.look_for_room(gathered)? {
                self.give_up()?;
                return Ok(false);
            }
            self.check_disk()?;
            return Ok(true);
        }
        match gathered {
            Gathered::Ops(ops) => self.commit(ops)?,
            Gathered::Idle if !self.purging.is_empty() => self.commit(Vec::new())?,
            Gathered::Idle => self.begin_flush()?,
            Gathered::Closed => {
                self.mark_time()?;
                self.checkpoint()?;
                return Ok(false);
            }
        }
        self.check_disk()?;
        self.check_clock()?;
        self.keep_house()?;
        Ok(true)
    }

    fn patience(&self) -> Duration {
        if *self.space.borrow() != Space::Enough {
            return ROOM_PAUSE;
        }
        let (_, dirty) = self.live.unflushed();
        match (self.purging.is_empty(), dirty) {
            (false, _) => Duration::ZERO,
            (true, true) => OVERLAY_IDLE,
            (true, false) => IDLE,
        }
    }

    /// Commits ops, in one group if they are not too large.
    fn commit(&mut self, ops: Vec<Op>) -> Result<(), Error> {
        let ops = self.refuse_without_room(ops)?;
        let (requeues, others): (Vec<Op>, Vec<Op>) = ops.into_iter().partition(Op::is_requeue);
        let mut deletions: Vec<(u32, Answer<u32>)> = Vec::new();
        let mut ops = requeues.into_iter().chain(others).peekable();
        let full = *self.space.borrow() == Space::Full;
        let purge = self.purging.first().copied().filter(|_| !full);
        let mut first = true;
        while first || ops.peek().is_some() {
            let (now, begun) = (self.now(), tokio::time::Instant::now());
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
            match group.commit()? {
                Outcome::Committed(committed) => {
                    let took = begun.elapsed().as_secs_f64();
                    self.metrics.commit_seconds.observe(took);
                    self.note(committed);
                }
                Outcome::NoRoom(staged) => {
                    self.hold(staged, ops.collect())?;
                    break;
                }
            }
            first = false;
        }
        for (segment, answer) in deletions {
            let deleted = if self.held.is_none() {
                self.delete_through(segment)?
            } else {
                0
            };
            send(answer, Ok(deleted));
        }
        Ok(())
    }

    /// Where the journal has no room for all of these, whoever asks for something new is told so at once.
    fn refuse_without_room(&mut self, ops: Vec<Op>) -> Result<Vec<Op>, Error> {
        let bytes = ops.iter().map(Op::bytes).sum::<usize>();
        let waits = ops.iter().all(Op::outlasts_full_disk);
        if waits
            || self
                .journal
                .make_room(bytes.min(GROUP_BYTES_MAX) + OUTCOMES_BYTES)?
        {
            return Ok(ops);
        }
        self.tell(Space::Full);
        self.refuse_all_but_outcomes(ops)
    }

    /// Gives the outcomes back, refuses what else can wait, and does what makes room.
    fn refuse_all_but_outcomes(&mut self, ops: Vec<Op>) -> Result<Vec<Op>, Error> {
        let (outcomes, others): (Vec<Op>, Vec<Op>) =
            ops.into_iter().partition(Op::outlasts_full_disk);
        for op in others {
            match op {
                Op::DeleteThrough { segment, answer } => {
                    // What is held may name events that nothing else says are pending.
                    let deleted = if self.held.is_none() {
                        self.delete_through(segment)?
                    } else {
                        0
                    };
                    send(answer, Ok(deleted));
                }
                op => op.refuse(WriteError::DiskReserve),
            }
        }
        Ok(outcomes)
    }

    /// Keeps a group that had no room, and the outcomes that came with it.
    fn hold(&mut self, staged: Box<Staged>, rest: Vec<Op>) -> Result<(), Error> {
        self.tell(Space::Full);
        self.held = Some(staged);
        let outcomes = self.refuse_all_but_outcomes(rest)?;
        self.late.extend(outcomes);
        Ok(())
    }

    /// One look for room, and then what waited is committed; `false`: the store is being stopped.
    fn look_for_room(&mut self, gathered: Gathered) -> Result<bool, Error> {
        match gathered {
            Gathered::Closed => return Ok(false),
            Gathered::Idle => {}
            Gathered::Ops(ops) => {
                let outcomes = self.refuse_all_but_outcomes(ops)?;
                self.late.extend(outcomes);
            }
        }
        let Some(staged) = self.held.take() else {
            return Ok(true);
        };
        match Group::again(self.ground(), *staged).commit()? {
            Outcome::NoRoom(staged) => self.held = Some(staged),
            Outcome::Committed(committed) => {
                self.note(committed);
                let late = std::mem::take(&mut self.late);
                self.commit(late)?;
            }
        }
        Ok(true)
    }

    /// The end on a full disk: what waits is not recorded, so those attempts are made again after the start.
    fn give_up(&mut self) -> Result<(), Error> {
        tracing::warn!(
            "stopping on a full disk: attempts that could not be recorded are made again after the start"
        );
        if let Some(staged) = self.held.take() {
            staged.refuse(&WriteError::DiskReserve);
        }
        self.journal.discard();
        for op in std::mem::take(&mut self.late) {
            op.refuse(WriteError::DiskReserve);
        }
        self.checkpoint().map(drop)
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
            self.begin_flush()?;
        }
        if self.held.is_some() || *self.space.borrow() == Space::Full {
            return Ok(());
        }
        let Some(registry) = self.registry_bytes else {
            return self.begin_segment();
        };
        // At least as much again as the registry takes, so that a large one does not fill the journal.
        let grown = self.journal.next().offset / 2 >= registry;
        let now = self.clock.steady().0;
        if grown && self.journal.wants_roll(now) {
            self.check_place()?;
            match self.journal.roll(now) {
                Err(journal::Error::NoRoom { .. }) => {
                    self.tell(Space::Full);
                    return Ok(());
                }
                rolled => rolled?,
            }
            self.begin_segment()?;
            self.sync_wanted = true;
            self.begin_flush()?;
        }
        Ok(())
    }

    /// Writes the registry into the segment that was begun or gone on with, so that those before it can be
    /// deleted: every segment that is sealed later holds the whole registry. Without room it is tried again.
    pub(super) fn begin_segment(&mut self) -> Result<(), Error> {
        self.registry_bytes = None;
        let start = self.journal.next().offset;
        let rows: Vec<Row> = self.live.rows(|rows| rows.values().cloned().collect());
        let jobs: Vec<Job> = self.live.jobs(|jobs| jobs.values().cloned().collect());
        // Without webhooks it begins with the time all the same: the next start goes on from it.
        if self.restate(&rows, |group, part| group.snapshot(part))?
            && (jobs.is_empty() || self.restate(&jobs, |group, part| group.snapshot_jobs(part))?)
        {
            self.registry_bytes = Some(self.journal.next().offset - start);
        }
        Ok(())
    }

    /// Writes what is as records that change nothing, one at least; says whether there was room for all of it.
    fn restate<T>(
        &mut self,
        mut rest: &[T],
        stage: impl Fn(&mut Group<'_>, &[T]) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        loop {
            let now = self.now();
            let mut group = Group::new(self.ground(), now);
            while {
                let (part, after) = rest.split_at(rest.len().min(SNAPSHOT_ROWS_MAX));
                stage(&mut group, part)?;
                rest = after;
                !rest.is_empty() && group.staged_bytes() < GROUP_BYTES_MAX
            } {}
            if let Outcome::NoRoom(_) = group.commit()? {
                self.journal.discard();
                self.tell(Space::Full);
                return Ok(false);
            }
            if rest.is_empty() {
                return Ok(true);
            }
        }
    }

    /// Notices that the wall clock was set, and puts it on record: the next start goes on from the newest record,
    /// and must not take the step for time that has passed.
    fn check_clock(&mut self) -> Result<(), Error> {
        let ahead = self.clock.wall_ahead_ms();
        let step = ahead.saturating_sub(self.wall_ahead_ms);
        if step.unsigned_abs() <= CLOCK_STEP_MS {
            return Ok(());
        }
        self.wall_ahead_ms = ahead;
        tracing::warn!(
            step_ms = step,
            "the wall clock was set, or the machine slept; retries and retention keep to the time that has passed"
        );
        self.mark_time()
    }

    /// Puts on record what both clocks show, if there is room: a part of the registry without a row, which
    /// changes nothing.
    pub(super) fn mark_time(&mut self) -> Result<(), Error> {
        if self.held.is_some() {
            return Ok(());
        }
        self.restate(&[], |group, part| group.snapshot(part))?;
        Ok(())
    }

    /// Deletes segments up to `last`, as far as recovery does not need them and nothing pending is in them.
    fn delete_through(&mut self, last: u32) -> Result<u32, Error> {
        if self.registry_bytes.is_none() {
            return Ok(0);
        }
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

    /// Compares free disk space with the reserve, and asks whether journal and sled can go on.
    fn check_disk(&mut self) -> Result<(), Error> {
        let now = self.clock.steady();
        let pause = match *self.space.borrow() {
            Space::Enough => DISK_CHECK_MS,
            Space::Low | Space::Full => u64::try_from(ROOM_PAUSE.as_millis()).unwrap_or(u64::MAX),
        };
        if self
            .disk_checked
            .is_some_and(|checked| now.since(checked) < pause)
        {
            return Ok(());
        }
        self.disk_checked = Some(now);
        self.check_place()?;
        let free = self.files.free_bytes(&self.options.path)?;
        let shown = i64::try_from(free).unwrap_or(i64::MAX);
        self.metrics.disk_free_bytes.set(shown);
        let low = free < self.options.disk_reserve_bytes;
        let sled = self.files.make_room(self.live.unflushed().0)?;
        let overflowing = !sled && self.live.unflushed().0 >= OVERLAY_KEYS_FULL;
        let found =
            if self.held.is_some() || overflowing || !self.journal.make_room(OUTCOMES_BYTES)? {
                Space::Full
            } else if low || !sled {
                Space::Low
            } else {
                Space::Enough
            };
        self.tell(found);
        self.ballast
            .restore(free.saturating_sub(self.options.disk_reserve_bytes));
        Ok(())
    }

    /// A data directory that was moved away under the daemon must not be gone on with by its name: another one may
    /// be there now.
    fn check_place(&self) -> Result<(), Error> {
        if self.live.is_at(&self.options.path) {
            return Ok(());
        }
        Err(Error::Refused {
            path: self.options.path.clone(),
            problem:
                "the data directory was moved away, or its lock file deleted, while the daemon runs"
                    .to_owned(),
            remedy: "stop the daemon before such changes, and start it again on the directory that it is to use",
        })
    }

    /// Lets everybody know what the disk has room for.
    fn tell(&self, space: Space) {
        let changed = self.space.send_if_modified(|known| {
            let before = std::mem::replace(known, space);
            before != space
        });
        match space.complaint() {
            _ if !changed => {}
            Some(complaint) => {
                tracing::error!(reserve = self.options.disk_reserve_bytes, "{complaint}")
            }
            None => tracing::info!("disk space is back: new events are taken"),
        }
    }
}
