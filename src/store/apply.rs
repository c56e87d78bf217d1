//! `apply`: what a record changes in the live state. Pure, and the only origin of what is written to sled.
//!
//! The committer and recovery call the same function, so the state after a crash is the state before it.

use std::collections::BTreeMap;

use crate::model::{Job, JobId, Position, QueueEntry, SteadyMillis, Trigger, Webhook, WebhookId};

use super::record::{Cancellation, Queued, Record, Row};

/// The key of a pending delivery. Its order is the queue's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct QueueKey {
    pub(super) webhook: WebhookId,
    pub(super) due: SteadyMillis,
    pub(super) event: Position,
}

/// What is kept of a pending delivery besides its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueValue {
    pub(super) attempts: u32,
    pub(super) run_attempts: u32,
    pub(super) trigger: Trigger,
    pub(super) not_before: SteadyMillis,
}

impl QueueValue {
    /// Of a delivery that has not been attempted.
    pub(super) const FRESH: Self = Self {
        attempts: 0,
        run_attempts: 0,
        trigger: Trigger::Schedule,
        not_before: SteadyMillis(0),
    };
}

impl QueueKey {
    pub(super) fn entry(self, value: QueueValue) -> QueueEntry {
        QueueEntry {
            due: self.due,
            event: self.event,
            attempts: value.attempts,
            run_attempts: value.run_attempts,
            trigger: value.trigger,
            not_before: value.not_before,
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
    /// A job comes or changes.
    Job(Box<Job>),
    /// A job goes.
    JobGone(JobId),
}

/// The changes that `record`, standing at `position`, makes.
pub(super) fn apply(record: &Record, position: Position) -> Vec<Change> {
    match record {
        Record::Accepted { webhooks, due, .. } | Record::AcceptedTraced { webhooks, due, .. } => {
            accepted(webhooks, *due, position)
        }
        Record::Attempted { .. }
        | Record::Deferred { .. }
        | Record::Ended { .. }
        | Record::Requeued { .. } => moved(record),
        Record::Cancelled {
            webhook, entries, ..
        } => cancelled(*webhook, entries),
        Record::WebhookPut { webhook, .. } => vec![registered(webhook.clone().into())],
        Record::WebhookStored { webhook, .. } => vec![registered(webhook.clone().into())],
        Record::WebhookKept { webhook, .. } => vec![registered(webhook.clone().into())],
        Record::WebhookSaved { webhook, .. } => vec![registered(webhook.clone())],
        Record::WebhookRemoved { webhook, .. } => vec![Change::Tombstone(*webhook)],
        Record::WebhookForgotten { webhook, .. } => vec![Change::Forget(*webhook)],
        Record::Snapshot { rows, .. } => rows
            .iter()
            .map(|row| Change::Row(Box::new(row.clone().into())))
            .collect(),
        Record::Registry { rows, .. } => rows
            .iter()
            .map(|row| Change::Row(Box::new(row.clone().into())))
            .collect(),
        Record::Roster { rows, .. } => rows
            .iter()
            .map(|row| Change::Row(Box::new(row.clone().into())))
            .collect(),
        Record::Webhooks { rows, .. } => rows
            .iter()
            .map(|row| Change::Row(Box::new(row.clone())))
            .collect(),
        Record::Audited { .. } => Vec::new(),
        Record::JobStored { job, .. } => vec![Change::Job(Box::new(job.clone()))],
        Record::JobStepped {
            job, queued, due, ..
        } => stepped(job, queued, *due),
        Record::JobForgotten { job, .. } => vec![Change::JobGone(*job)],
        Record::Jobs { jobs, .. } => jobs
            .iter()
            .map(|job| Change::Job(Box::new(job.clone())))
            .collect(),
    }
}

/// What a record of one delivery that is pending, or becomes so again, changes.
fn moved(record: &Record) -> Vec<Change> {
    match record {
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
                ..QueueValue::FRESH
            };
            shifted((*webhook, *event), *due, *next_due, value)
        }
        Record::Deferred {
            webhook,
            event,
            due,
            attempt,
            run_attempts,
            not_before,
            ..
        } => {
            let value = QueueValue {
                attempts: attempt.number,
                run_attempts: *run_attempts,
                not_before: *not_before,
                ..QueueValue::FRESH
            };
            shifted((*webhook, *event), *due, *due, value)
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
                trigger: Trigger::Manual,
                ..QueueValue::FRESH
            };
            let before = match from {
                Some(from) => gone(*webhook, *from, *event),
                None => pending(event.segment, 1),
            };
            vec![before, here(*webhook, *due, *event, value)]
        }
        _ => Vec::new(),
    }
}

/// The queue key of a delivery goes from `from` to `to`, which may be the same.
fn shifted(
    (webhook, event): (WebhookId, Position),
    from: SteadyMillis,
    to: SteadyMillis,
    value: QueueValue,
) -> Vec<Change> {
    vec![gone(webhook, from, event), here(webhook, to, event, value)]
}

fn registered(webhook: Webhook) -> Change {
    Change::Row(Box::new(Row {
        webhook,
        removed: false,
    }))
}

fn stepped(job: &Job, queued: &[Queued], due: SteadyMillis) -> Vec<Change> {
    let mut changes = vec![Change::Job(Box::new(job.clone()))];
    let mut begun: BTreeMap<u32, i64> = BTreeMap::new();
    for one in queued {
        let value = QueueValue {
            attempts: one.attempts,
            trigger: Trigger::Replay,
            ..QueueValue::FRESH
        };
        changes.push(here(one.webhook, due, one.event, value));
        *begun.entry(one.event.segment).or_default() += 1;
    }
    changes.extend(
        begun
            .into_iter()
            .map(|(segment, delta)| pending(segment, delta)),
    );
    changes
}

fn accepted(webhooks: &[WebhookId], due: SteadyMillis, event: Position) -> Vec<Change> {
    let mut changes: Vec<Change> = webhooks
        .iter()
        .map(|webhook| here(*webhook, due, event, QueueValue::FRESH))
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
