//! The real store without its threads, on a model of a disk: whoever holds it says when the committer works, and
//! when the process or the power goes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::*;
use crate::journal::{Figures, ModelDisk};
use crate::model::rng::Rng;
use crate::model::{Clock, ManualTime};
use crate::store::committer::Committer;
use crate::store::inbox::Gathered;
use crate::store::live::bounds_of;
use crate::store::table::model::ModelTable;

/// What outlives a process.
pub(crate) struct Machine {
    pub(crate) disk: ModelDisk,
    pub(crate) table: ModelTable,
    pub(crate) time: ManualTime,
}

/// A process's store.
pub(crate) struct Stepped {
    committer: Committer,
    pub(crate) writer: Writer,
    pub(crate) reader: Reader,
    pub(crate) clock: Clock,
    pub(crate) report: Report,
    /// Whether it was asked to stop.
    pub(crate) stopped: bool,
}

impl Machine {
    pub(crate) fn new(seed: u64, wall: UnixMillis) -> Self {
        let disk = ModelDisk::new(seed);
        Self {
            table: ModelTable::new(disk.clone()),
            time: ManualTime::new(wall),
            disk,
        }
    }

    pub(crate) fn open(
        &self,
        options: &Options,
        metrics: &Metrics,
        needs_own_sync: bool,
    ) -> Result<Stepped, Error> {
        let place = (&self.disk, &self.table, &self.time);
        let (committer, report) =
            open::open_on(place, options.clone(), metrics.clone(), needs_own_sync)?;
        Ok(Stepped {
            writer: committer.writer(),
            reader: committer.reader(),
            clock: committer.clock.clone(),
            committer,
            report,
            stopped: false,
        })
    }

    /// The process has gone, and with it what only it had; the power too, or not.
    pub(crate) fn gone(&self, power: bool, rng: &mut Rng) {
        if power {
            self.disk.power_gone();
        } else {
            self.disk.process_gone();
        }
        self.table.gone(rng);
    }

    pub(crate) fn figures(&self) -> Figures {
        self.disk.figures()
    }
}

impl Stepped {
    /// The committer takes at most `limit` of what waits, as one round of its thread; an error is its end.
    pub(crate) fn step(&mut self, limit: usize) -> Result<(), String> {
        let gathered = self.committer.inbox.take_now(limit);
        self.round(gathered)
    }

    /// The committer finds that nothing has come for a while.
    pub(crate) fn idle(&mut self) -> Result<(), String> {
        self.round(Gathered::Idle)
    }

    fn round(&mut self, gathered: Gathered) -> Result<(), String> {
        let ended = self.committer.round(gathered).map_err(|e| e.to_string());
        if let Err(failure) = &ended {
            let reason = WriteError::Failed(failure.clone());
            self.committer.inbox.close(reason);
        }
        ended.map(|_| ())
    }

    /// What waits is still written, then it is over.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        self.stopped = true;
        self.committer.inbox.close(WriteError::Stopped);
        while self.committer.inbox.waiting() > 0 {
            self.step(usize::MAX)?;
        }
        self.step(usize::MAX)
    }

    /// Writes the next index that waits; `false`: none does.
    pub(crate) fn index_next(&mut self) -> bool {
        self.committer.journal.index_next()
    }

    /// Whether somebody has found the registry damaged.
    pub(crate) fn is_suspect(&self) -> bool {
        self.committer.live.suspect().reason().is_some()
    }

    /// Whether the committer looks for room on the disk again and again.
    pub(crate) fn waits_for_room(&self) -> bool {
        *self.committer.space.borrow() != Space::Enough
    }

    /// Whether the committer has something to do at once.
    pub(crate) fn has_work(&self) -> bool {
        self.committer.inbox.waiting() > 0 || !self.committer.purging.is_empty()
    }

    /// Where the journal ends, and the steady time that is applied with it.
    pub(crate) fn recorded(&self) -> (Position, SteadyMillis) {
        (self.committer.reader.end(), self.committer.live.applied().1)
    }

    /// Webhooks that are removed and not yet forgotten.
    pub(crate) fn tombstones(&self) -> usize {
        let live = &self.committer.live;
        live.rows(|rows| rows.values().filter(|row| row.removed).count())
    }

    /// Everything pending, after a look at what must hold of it: one key for each delivery, counts that a recount
    /// gives too, every event readable, nothing applied that is not in the journal.
    pub(crate) fn checked_queue(&self) -> Vec<(WebhookId, QueueEntry)> {
        let live = &self.committer.live;
        let (low, high) = (bounds_of(WebhookId(0)).0, bounds_of(WebhookId(u128::MAX)).1);
        let mut queue = Vec::new();
        let walked = live.walk(low, high, |key, value| {
            queue.push((key.webhook, key.entry(value)));
            ControlFlow::Continue(())
        });
        walked.unwrap();
        let mut counts: BTreeMap<u32, i64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (webhook, entry) in &queue {
            assert!(seen.insert((*webhook, entry.event)), "two keys: {entry:?}");
            *counts.entry(entry.event.segment).or_default() += 1;
        }
        let mut waiting: BTreeMap<WebhookId, usize> = BTreeMap::new();
        for (webhook, _) in &queue {
            *waiting.entry(*webhook).or_default() += 1;
        }
        let counted: BTreeMap<_, _> = live.waiting().into_iter().collect();
        assert_eq!(counted, waiting, "of webhooks");
        let journal = &self.committer.reader;
        let (oldest, newest) = journal.bounds();
        for segment in counts.keys().copied().chain(oldest..=newest) {
            let counted = counts.get(&segment).copied().unwrap_or_default();
            assert_eq!(live.pending_in(segment), counted, "of segment {segment}");
            assert!(
                counted == 0 || (oldest..=newest).contains(&segment),
                "segment {segment} was deleted under {counted} pending deliveries"
            );
        }
        let (applied, _) = live.applied();
        assert!(applied.is_none_or(|applied| applied <= journal.end()));
        queue
    }
}
