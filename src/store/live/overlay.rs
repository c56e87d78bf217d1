//! What has been applied and is not in sled yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::model::{Job, JobId, Position, SteadyMillis, WebhookId};

use super::super::apply::{Change, QueueKey, QueueValue};
use super::super::record::Row;
use super::Frozen;

#[derive(Debug, Default)]
pub(super) struct Overlay {
    pub(super) queue: BTreeMap<QueueKey, Slot>,
    pub(super) rows: BTreeMap<WebhookId, Row>,
    pub(super) dirty_rows: BTreeSet<WebhookId>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) dirty_jobs: BTreeSet<JobId>,
    pub(super) counts: BTreeMap<u32, i64>,
    pub(super) dirty_counts: BTreeSet<u32>,
    pub(super) waiting: Waiting,
    pub(super) applied: Option<Position>,
    pub(super) steady: SteadyMillis,
    /// Whether anything, `applied` included, is newer than in sled and what was frozen.
    pub(super) dirty: bool,
    /// On its way to sled.
    pub(super) frozen: Option<Arc<Frozen>>,
}

/// How many deliveries are pending of each webhook.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    all: HashMap<WebhookId, i64>,
    /// By how much that differs from what was last frozen. What came and went leaves a zero.
    since: HashMap<WebhookId, i64>,
}

impl Waiting {
    /// What sled holds.
    pub(super) fn load(&mut self, webhook: WebhookId, count: i64) {
        self.all.insert(webhook, count);
    }

    pub(super) fn add(&mut self, webhook: WebhookId, delta: i64) {
        *self.all.entry(webhook).or_default() += delta;
        *self.since.entry(webhook).or_default() += delta;
    }

    pub(super) fn of(&self, webhook: WebhookId) -> usize {
        usize::try_from(self.count(webhook)).unwrap_or_default()
    }

    /// Those that have any.
    pub(super) fn all(&self) -> impl Iterator<Item = (WebhookId, usize)> {
        let all = self.all.keys().map(|webhook| (*webhook, self.of(*webhook)));
        all.filter(|(_, count)| *count > 0)
    }

    /// Below zero only where a record was lost, until all is counted anew.
    fn count(&self, webhook: WebhookId) -> i64 {
        self.all.get(&webhook).copied().unwrap_or_default()
    }

    /// The counts that changed since this was last asked.
    pub(super) fn changed(&mut self) -> Vec<(WebhookId, i64)> {
        let mut changed = Vec::new();
        for (webhook, delta) in std::mem::take(&mut self.since) {
            if delta != 0 {
                changed.push((webhook, self.count(webhook)));
            }
        }
        self.all.retain(|_, count| *count != 0);
        changed
    }

    /// Other counts take the place of all.
    pub(super) fn replace(&mut self, counts: HashMap<WebhookId, i64>) {
        let gone: Vec<WebhookId> = self.all.keys().copied().collect();
        for (webhook, count) in gone.into_iter().map(|webhook| (webhook, 0)).chain(counts) {
            let before = self.count(webhook);
            self.add(webhook, count - before);
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// `None`: gone, while sled still holds it.
    pub(super) value: Option<QueueValue>,
    pub(super) in_sled: bool,
}

impl Overlay {
    /// What is known of a queue key here and in what was frozen; the newer wins.
    pub(super) fn slot(&self, key: &QueueKey) -> Option<Slot> {
        let frozen = || {
            self.frozen
                .as_ref()
                .and_then(|frozen| frozen.queue.get(key))
        };
        self.queue.get(key).or_else(frozen).copied()
    }

    /// What is known of the queue keys from `low` to `high`, in order, as [`Overlay::slot`] has it.
    pub(super) fn range(
        &self,
        low: QueueKey,
        high: QueueKey,
    ) -> impl Iterator<Item = (QueueKey, Slot)> {
        let bounds = (Bound::Included(low), Bound::Included(high));
        let mut newer = self.queue.range(bounds).peekable();
        let frozen = self.frozen.iter();
        let mut older = frozen
            .flat_map(move |frozen| frozen.queue.range(bounds))
            .peekable();
        std::iter::from_fn(move || {
            let (key, slot) = match (newer.peek(), older.peek()) {
                (Some((newer_key, _)), Some((older_key, _))) if older_key < newer_key => {
                    older.next()?
                }
                (Some((newer_key, _)), older_next) => {
                    if older_next.is_some_and(|(older_key, _)| older_key == newer_key) {
                        older.next();
                    }
                    newer.next()?
                }
                (None, _) => older.next()?,
            };
            Some((*key, *slot))
        })
    }

    pub(super) fn change(&mut self, change: Change) {
        match change {
            Change::Queue(key, Some(value)) => {
                self.waiting.add(key.webhook, 1);
                // Without a slot the key is new to sled too: a queue key comes once (each event's position is
                // new, and a moved delivery's old key is removed by the same record).
                let in_sled = self.queue.get(&key).is_some_and(|slot| slot.in_sled);
                self.queue.insert(
                    key,
                    Slot {
                        value: Some(value),
                        in_sled,
                    },
                );
            }
            Change::Queue(key, None) => {
                self.waiting.add(key.webhook, -1);
                let in_sled = self.queue.get(&key).is_none_or(|slot| slot.in_sled);
                if in_sled {
                    self.queue.insert(
                        key,
                        Slot {
                            value: None,
                            in_sled,
                        },
                    );
                } else {
                    self.queue.remove(&key);
                }
            }
            Change::Pending { segment, delta } => {
                *self.counts.entry(segment).or_default() += delta;
                self.dirty_counts.insert(segment);
            }
            Change::Row(row) => {
                self.dirty_rows.insert(row.webhook.id);
                self.rows.insert(row.webhook.id, *row);
            }
            Change::Tombstone(webhook) => {
                if let Some(row) = self.rows.get_mut(&webhook) {
                    row.removed = true;
                    self.dirty_rows.insert(webhook);
                }
            }
            Change::Forget(webhook) => {
                self.rows.remove(&webhook);
                self.dirty_rows.insert(webhook);
            }
            Change::Job(job) => {
                self.dirty_jobs.insert(job.id);
                self.jobs.insert(job.id, *job);
            }
            Change::JobGone(job) => {
                self.jobs.remove(&job);
                self.dirty_jobs.insert(job);
            }
        }
    }
}
