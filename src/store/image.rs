//! The live state in memory, as the journal says it or as sled holds it, so that the two can be compared.
//!
//! It takes about a hundred bytes for each pending delivery: for checks and copies, not for the daemon.

use std::collections::BTreeMap;

use crate::model::{Job, JobId, Position, SteadyMillis, Webhook, WebhookId};

use super::apply::{Change, QueueKey, QueueValue, apply};
use super::record::{Record, Row};

/// What is pending, and the registry.
#[derive(Debug, Default)]
pub(super) struct Image {
    pub(super) queue: BTreeMap<QueueKey, QueueValue>,
    pub(super) rows: BTreeMap<WebhookId, Row>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) steady: SteadyMillis,
}

/// How sled differs from the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Pending deliveries that sled lacks.
    pub missing: u64,
    /// Deliveries that only sled holds for pending.
    pub surplus: u64,
    /// Pending deliveries with other counts of attempts.
    pub changed: u64,
    /// Rows of the registry that one of the two lacks, or that differ.
    pub webhooks: u64,
    /// Segments whose count of pending deliveries is not what is pending.
    pub counts: u64,
}

impl Difference {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Image {
    /// Makes the changes of the record at `position`.
    pub(super) fn take(&mut self, record: &Record, position: Position) {
        self.steady = self.steady.max(record.moment().steady);
        for change in apply(record, position) {
            match change {
                Change::Queue(key, Some(value)) => {
                    self.queue.insert(key, value);
                }
                Change::Queue(key, None) => {
                    self.queue.remove(&key);
                }
                // Counted from the queue where they are asked for.
                Change::Pending { .. } => {}
                Change::Row(row) => {
                    self.rows.insert(row.webhook.id, *row);
                }
                Change::Tombstone(webhook) => {
                    if let Some(row) = self.rows.get_mut(&webhook) {
                        row.removed = true;
                    }
                }
                Change::Forget(webhook) => {
                    self.rows.remove(&webhook);
                }
                Change::Job(job) => {
                    self.jobs.insert(job.id, *job);
                }
                Change::JobGone(job) => {
                    self.jobs.remove(&job);
                }
            }
        }
    }

    /// The registered webhooks.
    pub(super) fn webhooks(&self) -> Vec<Webhook> {
        let rows = self.rows.values().filter(|row| !row.removed);
        rows.map(|row| row.webhook.clone()).collect()
    }

    /// How many deliveries are pending of each segment's events.
    pub(super) fn counts(&self, oldest: u32) -> BTreeMap<u32, i64> {
        let mut counts = BTreeMap::new();
        for key in self.queue.keys().filter(|key| key.event.segment >= oldest) {
            *counts.entry(key.event.segment).or_default() += 1;
        }
        counts
    }

    /// How sled's state (`held`, with its own `counts`) differs from this. What is of segments before `oldest`
    /// is left out: they are deleted, and sled may stand at a position before the records that ended it.
    pub(super) fn difference(
        &self,
        held: &Self,
        counts: &BTreeMap<u32, i64>,
        oldest: u32,
    ) -> Difference {
        let mut difference = Difference::default();
        let kept = |key: &&QueueKey| key.event.segment >= oldest;
        for key in self.queue.keys().filter(kept) {
            match held.queue.get(key) {
                None => difference.missing += 1,
                Some(value) if Some(value) != self.queue.get(key) => difference.changed += 1,
                Some(_) => {}
            }
        }
        let surplus = held.queue.keys().filter(kept);
        let surplus = surplus.filter(|key| !self.queue.contains_key(key)).count();
        difference.surplus = surplus as u64;
        let lacking = held.rows.keys().filter(|id| !self.rows.contains_key(id));
        let differing = self
            .rows
            .iter()
            .filter(|(id, row)| held.rows.get(id) != Some(row));
        difference.webhooks = (lacking.count() + differing.count()) as u64;
        let fresh = held.counts(oldest);
        let stored: BTreeMap<u32, i64> = counts
            .iter()
            .filter(|(segment, count)| **segment >= oldest && **count != 0)
            .map(|(segment, count)| (*segment, *count))
            .collect();
        let segments = fresh.keys().chain(stored.keys());
        let mut wrong: Vec<u32> = segments
            .filter(|segment| fresh.get(segment) != stored.get(segment))
            .copied()
            .collect();
        wrong.dedup();
        wrong.sort_unstable();
        wrong.dedup();
        difference.counts = wrong.len() as u64;
        difference
    }
}
