//! `apply`: what a record changes in the live state. Pure, and the only origin of what is written to sled.
//!
//! The committer and recovery call the same function, so the state after a crash is the state before it.

use std::collections::BTreeMap;

use crate::model::{Position, QueueEntry, SteadyMillis, WebhookId};

use super::record::{Record, Row};

/// The key of a pending delivery. Its order is the queue's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct QueueKey {
    pub(super) webhook: WebhookId,
    pub(super) due: SteadyMillis,
    pub(super) event: Position,
}

/// What is kept of a pending delivery besides its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueValue {
    pub(super) attempts: u32,
    pub(super) run_attempts: u32,
    pub(super) manual: bool,
}

impl QueueKey {
    pub(super) fn entry(self, value: QueueValue) -> QueueEntry {
        QueueEntry {
            due: self.due,
            event: self.event,
            attempts: value.attempts,
            run_attempts: value.run_attempts,
            manual: value.manual,
        }
    }
}

/// One change of the live state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A queue key comes (or its value changes), or goes.
    Queue(QueueKey, Option<QueueValue>),
    /// The deliveries that are pending of events in a segment become more or fewer.
    Pending { segment: u32, delta: i64 },
    /// A registry row comes or changes.
    Row(Row),
    /// A registered webhook becomes a tombstone.
    Tombstone(WebhookId),
    /// A registry row goes.
    Forget(WebhookId),
}

/// The changes that `record`, standing at `position`, makes.
pub(super) fn apply(record: &Record, position: Position) -> Vec<Change> {
    let key = |webhook: &WebhookId, due: &SteadyMillis, event: Position| QueueKey {
        webhook: *webhook,
        due: *due,
        event,
    };
    match record {
        Record::Accepted { webhooks, due, .. } => {
            let value = Some(QueueValue::default());
            let mut changes: Vec<Change> = webhooks
                .iter()
                .map(|webhook| Change::Queue(key(webhook, due, position), value))
                .collect();
            if !changes.is_empty() {
                changes.push(pending(position, changes.len(), 1));
            }
            changes
        }
        Record::Attempted {
            webhook,
            event,
            due,
            attempt,
            run_attempts,
            next_due,
            ..
        } => {
            let value = QueueValue {
                attempts: attempt.number,
                run_attempts: *run_attempts,
                manual: false,
            };
            vec![
                Change::Queue(key(webhook, due, *event), None),
                Change::Queue(key(webhook, next_due, *event), Some(value)),
            ]
        }
        Record::Ended {
            webhook,
            event,
            due,
            ..
        } => {
            vec![
                Change::Queue(key(webhook, due, *event), None),
                pending(*event, 1, -1),
            ]
        }
        Record::Requeued {
            webhook,
            event,
            from,
            due,
            attempts,
            run_attempts,
            ..
        } => {
            let value = QueueValue {
                attempts: *attempts,
                run_attempts: *run_attempts,
                manual: true,
            };
            let before = match from {
                Some(from) => Change::Queue(key(webhook, from, *event), None),
                None => pending(*event, 1, 1),
            };
            vec![
                before,
                Change::Queue(key(webhook, due, *event), Some(value)),
            ]
        }
        Record::Cancelled {
            webhook, entries, ..
        } => {
            let mut changes = Vec::with_capacity(entries.len() * 2);
            let mut ended: BTreeMap<u32, i64> = BTreeMap::new();
            for entry in entries {
                changes.push(Change::Queue(key(webhook, &entry.due, entry.event), None));
                *ended.entry(entry.event.segment).or_default() -= 1;
            }
            changes.extend(
                ended
                    .into_iter()
                    .map(|(segment, delta)| Change::Pending { segment, delta }),
            );
            changes
        }
        Record::WebhookPut { webhook, .. } => {
            vec![Change::Row(Row {
                webhook: webhook.clone(),
                removed: false,
            })]
        }
        Record::WebhookRemoved { webhook, .. } => vec![Change::Tombstone(*webhook)],
        Record::WebhookForgotten { webhook, .. } => vec![Change::Forget(*webhook)],
        Record::Snapshot { rows, .. } => rows.iter().cloned().map(Change::Row).collect(),
    }
}

fn pending(event: Position, count: usize, sign: i64) -> Change {
    let count = i64::try_from(count).expect("a fan-out is bounded");
    Change::Pending {
        segment: event.segment,
        delta: sign * count,
    }
}
