//! `apply`: what a record changes in the live state. Pure, and the only origin of what is written to sled.
//!
//! The committer and recovery call the same function, so the state after a crash is the state before it.

use std::collections::BTreeMap;

use crate::model::{Position, QueueEntry, SteadyMillis, WebhookId};

use super::record::{Cancellation, Record, Row};

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
    Row(Box<Row>),
    /// A registered webhook becomes a tombstone.
    Tombstone(WebhookId),
    /// A registry row goes.
    Forget(WebhookId),
}

/// The changes that `record`, standing at `position`, makes.
pub(super) fn apply(record: &Record, position: Position) -> Vec<Change> {
    match record {
        Record::Accepted { webhooks, due, .. } => accepted(webhooks, *due, position),
        Record::Attempted {
            webhook,
            event,
            due,
            attempt,
            run_attempts,
            next_due,
            ..
        } => {
            let (attempts, run_attempts) = (attempt.number, *run_attempts);
            let value = QueueValue {
                attempts,
                run_attempts,
                manual: false,
            };
            vec![
                gone(*webhook, *due, *event),
                here(*webhook, *next_due, *event, value),
            ]
        }
        Record::Ended {
            webhook,
            event,
            due,
            ..
        } => {
            vec![gone(*webhook, *due, *event), pending(event.segment, -1)]
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
            let (attempts, run_attempts) = (*attempts, *run_attempts);
            let value = QueueValue {
                attempts,
                run_attempts,
                manual: true,
            };
            let before = match from {
                Some(from) => gone(*webhook, *from, *event),
                None => pending(event.segment, 1),
            };
            vec![before, here(*webhook, *due, *event, value)]
        }
        Record::Cancelled {
            webhook, entries, ..
        } => cancelled(*webhook, entries),
        Record::WebhookPut { webhook, .. } => {
            vec![Change::Row(Box::new(Row {
                webhook: webhook.clone(),
                removed: false,
            }))]
        }
        Record::WebhookRemoved { webhook, .. } => vec![Change::Tombstone(*webhook)],
        Record::WebhookForgotten { webhook, .. } => vec![Change::Forget(*webhook)],
        Record::Snapshot { rows, .. } => rows
            .iter()
            .map(|row| Change::Row(Box::new(row.clone())))
            .collect(),
    }
}

fn accepted(webhooks: &[WebhookId], due: SteadyMillis, event: Position) -> Vec<Change> {
    let mut changes: Vec<Change> = webhooks
        .iter()
        .map(|webhook| here(*webhook, due, event, QueueValue::default()))
        .collect();
    if !changes.is_empty() {
        let count = i64::try_from(changes.len()).expect("a fan-out is bounded");
        changes.push(pending(event.segment, count));
    }
    changes
}

fn cancelled(webhook: WebhookId, entries: &[Cancellation]) -> Vec<Change> {
    let mut ended: BTreeMap<u32, i64> = BTreeMap::new();
    for entry in entries {
        *ended.entry(entry.event.segment).or_default() -= 1;
    }
    let queue = entries
        .iter()
        .map(|entry| gone(webhook, entry.due, entry.event));
    queue
        .chain(
            ended
                .into_iter()
                .map(|(segment, delta)| pending(segment, delta)),
        )
        .collect()
}

const fn here(webhook: WebhookId, due: SteadyMillis, event: Position, value: QueueValue) -> Change {
    Change::Queue(
        QueueKey {
            webhook,
            due,
            event,
        },
        Some(value),
    )
}

const fn gone(webhook: WebhookId, due: SteadyMillis, event: Position) -> Change {
    Change::Queue(
        QueueKey {
            webhook,
            due,
            event,
        },
        None,
    )
}

const fn pending(segment: u32, delta: i64) -> Change {
    Change::Pending { segment, delta }
}
