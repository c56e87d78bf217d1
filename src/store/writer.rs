//! The way to write: async calls that the committer answers when what they ask for is on disk.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::model::{
    Attempt, AuditEntry, EndReason, Event, Job, JobId, JobState, Next, Position, QueueEntry,
    SteadyMillis, Webhook, WebhookId,
};

use super::inbox::{Answer, Inbox, Op};
use super::record::event_id_key;
use super::{Space, WriteError};

/// Deliveries of one event, at most. More would make one record, and one commit, too large: 10,000 ids
/// are 160 kB, and as many queue and index keys.
pub const FAN_OUT_MAX: usize = 10_000;
/// Deliveries cancelled by one record, at most: a page of work between which others get their turn.
pub const CANCEL_MAX: usize = 256;

/// An event to be stored.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The event.
    pub event: Arc<Event>,
    /// Whether the client chose the id: then it is checked against earlier ones.
    pub client_id: bool,
    /// Whether the client gave `created_at`, so that it counts as content.
    pub with_time: bool,
    /// Who is to get it; those that no longer exist are left out.
    pub webhooks: Vec<WebhookId>,
}

/// The answer to a new event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is stored, and its deliveries are pending.
    New {
        /// Its position.
        event: Position,
        /// When its deliveries are due: now.
        due: SteadyMillis,
        /// Who gets it.
        webhooks: Vec<WebhookId>,
    },
    /// It was stored before; nothing was written.
    Duplicate {
        /// The first one's position.
        event: Position,
        /// How many deliveries it had.
        deliveries: u32,
    },
    /// Another event has this id; nothing was written.
    Conflict,
}

/// An attempt that has ended, and what follows.
#[derive(Clone, Debug)]
pub struct Finish {
    /// The webhook it was for.
    pub webhook: WebhookId,
    /// The pending delivery as it was read.
    pub entry: QueueEntry,
    /// The attempt. Its number is set by the store.
    pub attempt: Attempt,
    /// What follows.
    pub next: Next,
}

/// The answer to a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is on disk.
    Done,
    /// What it was made from has changed meanwhile; nothing was written.
    Stale,
}

/// The answer to a request to send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeued {
    /// It is due now.
    Now {
        /// The pending delivery.
        entry: QueueEntry,
    },
    /// There is no such delivery, its webhook has been removed, or its event deleted.
    NotFound,
    /// A record of the delivery is damaged, so where it stands is not known. Nothing was written.
    Unclear,
}

/// A delivery that a job is to queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobPick {
    /// The webhook.
    pub webhook: WebhookId,
    /// The event.
    pub event: Position,
    /// Attempts that the delivery has seen.
    pub attempts: u32,
    /// The event has no delivery to this webhook yet.
    pub added: bool,
}

/// A step of a job: what it queues, and where it goes on.
#[derive(Clone, Debug)]
pub struct JobStep {
    /// The job.
    pub job: JobId,
    /// Where the step begins: the job's `next` before it.
    pub from: Position,
    /// The job's `next` after it; the job's end, or later, ends the job.
    pub next: Position,
    /// The journal's end when the deliveries' states were read, or an earlier one.
    pub read_at: Position,
    /// What is queued, at most [`CANCEL_MAX`].
    pub picks: Vec<JobPick>,
    /// What the filter took besides `picks`, and was left alone.
    pub skipped: u64,
}

/// How the committer does: what readiness, the watchdog and metrics look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Writes that wait to be taken up.
    pub waiting: usize,
    /// For how long the committer has been in one round, or the oldest write has waited to be taken up,
    /// whichever is longer. Zero while it has nothing to do. A round is a sync or two, so this is a
    /// fraction of a second, unless the disk does not answer.
    pub busy: Duration,
}

/// Writes to the store. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    pub(super) inbox: Arc<Inbox>,
    pub(super) space: Arc<watch::Sender<Space>>,
    pub(super) note: Option<Arc<AuditEntry>>,
}

impl Writer {
    /// As this one, but what [`Writer::put_webhook`], [`Writer::remove_webhook`], [`Writer::requeue`],
    /// [`Writer::cancel`], [`Writer::put_job`] and [`Writer::set_job`] of it write stands in the audit log, too.
    /// Where they write nothing, nor does the log.
    #[must_use]
    pub fn noting(&self, entry: AuditEntry) -> Self {
        Self {
            note: Some(Arc::new(entry)),
            ..self.clone()
        }
    }

    /// Adds an entry to the audit log.
    ///
    /// # Errors
    /// [`WriteError::Stopped`], [`WriteError::Failed`], [`WriteError::DiskReserve`].
    pub async fn audit(&self, entry: AuditEntry) -> Result<Written, WriteError> {
        let entry = Box::new(entry);
        self.ask(|answer| Op::Note { entry, answer }).await
    }

    /// Stores an event and its deliveries.
    ///
    /// # Errors
    /// [`WriteError::Busy`] at once when the commit queue is full; [`WriteError::DiskReserve`];
    /// [`WriteError::TooLarge`] over [`FAN_OUT_MAX`]; [`WriteError::Stopped`], [`WriteError::Failed`].
    pub async fn accept(&self, mut new: NewEvent) -> Result<Accepted, WriteError> {
        if self.space() != Space::Enough {
            return Err(WriteError::DiskReserve);
        }
        new.webhooks.sort_unstable();
        new.webhooks.dedup();
        if new.webhooks.len() > FAN_OUT_MAX {
            let fan_out = new.webhooks.len();
            return Err(WriteError::TooLarge(format!(
                "one event can have {FAN_OUT_MAX} deliveries, not {fan_out}"
            )));
        }
        let id_key = event_id_key(&new.event.account, &new.event.id);
        let (answer, answered) = oneshot::channel();
        self.inbox.try_push(Op::Accept {
            new,
            id_key,
            answer,
        })?;
        reply(answered).await
    }

    /// Records an attempt and what follows. [`Written::Stale`] where the delivery is no longer pending under
    /// the entry's due time. On a full disk it waits until there is room.
    ///
    /// # Errors
    /// [`WriteError::Stopped`], [`WriteError::Failed`].
    pub async fn finish(&self, finish: Finish) -> Result<Written, WriteError> {
        let Finish {
            webhook,
            entry,
            attempt,
            next,
        } = finish;
        let (answer, answered) = oneshot::channel();
        let op = Op::Finish {
            webhook,
            entry,
            attempt: Box::new(attempt),
            next,
            answer,
        };
        self.inbox.push(op).await?;
        reply(answered).await
    }

    /// Makes a delivery due now: a pending one earlier, an ended one again, with a new run of the schedule.
    ///
    /// # Errors
    /// [`WriteError::Stopped`], [`WriteError::Failed`].
    pub async fn requeue(
        &self,
        webhook: WebhookId,
        event: Position,
    ) -> Result<Requeued, WriteError> {
        self.ask(|answer| Op::Requeue {
            webhook,
            event,
            answer,
        })
        .await
    }

    /// Registers a webhook (`expected_version`: `None`) or changes it (its version before the change).
    ///
    /// # Errors
    /// [`WriteError::Stopped`], [`WriteError::Failed`].
    pub async fn put_webhook(
        &self,
        webhook: Webhook,
        expected_version: Option<u64>,
    ) -> Result<Written, WriteError> {
        let webhook = Box::new(webhook);
        self.ask(|answer| Op::Put {
            webhook,
            expected: expected_version,
            answer,
        })
        .await
    }

    /// Removes a webhook. Its pending deliveries are cancelled by and by, across restarts.
    ///
    /// # Errors
    /// [`WriteError::Stopped`], [`WriteError::Failed`].
    pub async fn remove_webhook(
        &self,
        webhook: WebhookId,
        expected_version: u64,
    ) -> Result<Written, WriteError> {
        self.ask(|answer| Op::Remove {
            webhook,
            expected: expected_version,
            answer,
        })
        .await
    }

    /// Ends pending deliveries without an attempt, at most [`CANCEL_MAX`] of one webhook. Those no longer
    /// pending are left out; gives how many were ended.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`], [`WriteError::Stopped`], [`WriteError::Failed`].
    pub async fn cancel(
        &self,
        webhook: WebhookId,
        entries: Vec<QueueEntry>,
        reason: EndReason,
    ) -> Result<u32, WriteError> {
        if entries.len() > CANCEL_MAX {
            return Err(WriteError::TooLarge(format!(
                "{CANCEL_MAX} deliveries are cancelled at once, not more"
            )));
        }
        self.ask(|answer| Op::Cancel {
            webhook,
            entries,
            reason,
            answer,
        })
        .await
    }

    /// Stores a new job. [`Written::Stale`] where there is one of this id.
    ///
    /// # Errors
    /// [`WriteError::Stopped`], [`WriteError::Failed`], [`WriteError::DiskReserve`].
    pub async fn put_job(&self, job: Job) -> Result<Written, WriteError> {
        let job = Box::new(job);
        self.ask(|answer| Op::PutJob { job, answer }).await
    }

    /// Lets a job go on, wait or end; gives it as it is then. One that has ended stays so. `None`: there is none.
    ///
    /// # Errors
    /// As [`Writer::put_job`].
    pub async fn set_job(&self, job: JobId, state: JobState) -> Result<Option<Job>, WriteError> {
        self.ask(|answer| Op::SetJob { job, state, answer }).await
    }

    /// Forgets a job that has ended; [`Written::Stale`] if it has not.
    ///
    /// # Errors
    /// As [`Writer::put_job`].
    pub async fn forget_job(&self, job: JobId) -> Result<Written, WriteError> {
        self.ask(|answer| Op::ForgetJob { job, answer }).await
    }

    /// Makes a step of a job, if it runs and stands where the step begins; gives it as it is then. What has changed
    /// since it was read is left alone, and counted as skipped. `None`: there is no such job.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`] over [`CANCEL_MAX`]; as [`Writer::put_job`].
    pub async fn step_job(&self, step: JobStep) -> Result<Option<Job>, WriteError> {
        if step.picks.len() > CANCEL_MAX {
            return Err(WriteError::TooLarge(format!(
                "{CANCEL_MAX} deliveries are queued at once, not more"
            )));
        }
        let step = Box::new(step);
        self.ask(|answer| Op::StepJob { step, answer }).await
    }

    /// Deletes the journal's segments up to `segment`, oldest first, as far as nothing pending points into
    /// them and recovery does not need them. Gives how many were deleted.
    ///
    /// # Errors
    /// [`WriteError::Stopped`], [`WriteError::Failed`].
    pub async fn delete_through(&self, segment: u32) -> Result<u32, WriteError> {
        // On a full disk too: it makes room.
        let (answer, answered) = oneshot::channel();
        self.inbox
            .push(Op::DeleteThrough { segment, answer })
            .await?;
        reply(answered).await
    }

    /// What the disk has room for.
    #[must_use]
    pub fn space(&self) -> Space {
        *self.space.borrow()
    }

    /// Waits until the disk is not full: what an attempt finds out could not be recorded before.
    pub async fn room(&self) {
        if self.space() == Space::Full {
            // The sending half is in `self`, so there is no error to come.
            let mut space = self.space.subscribe();
            if space.wait_for(|space| *space != Space::Full).await.is_err() {
                tracing::error!("the committer's word on the disk has gone");
            }
        }
    }

    /// How the committer does.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.inbox.pulse()
    }

    async fn ask<T>(&self, op: impl FnOnce(Answer<T>) -> Op) -> Result<T, WriteError> {
        if self.space() == Space::Full {
            return Err(WriteError::DiskReserve);
        }
        let (answer, answered) = oneshot::channel();
        let op = match &self.note {
            Some(entry) => Op::Noted {
                entry: Box::new(AuditEntry::clone(entry)),
                op: Box::new(op(answer)),
            },
            None => op(answer),
        };
        self.inbox.push(op).await?;
        reply(answered).await
    }
}

async fn reply<T>(answered: oneshot::Receiver<Result<T, WriteError>>) -> Result<T, WriteError> {
    let died = |_| WriteError::Failed("the committer ended without an answer".to_owned());
    answered.await.map_err(died)?
}
