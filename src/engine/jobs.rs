//! Jobs: a great many deliveries sent again, or events delivered to webhooks that want them by now.
//!
//! What a job does next is in the store alone: a step queues deliveries and moves the job in one record, so a process
//! that ends at any instant loses no place and sends nothing twice. Here jobs are started, paused and ended for those who
//! ask; [`run`] makes the steps.

mod course;
mod look;
mod pace;
mod page;
mod patience;
mod run;

use std::sync::Arc;
use std::time::Duration;

use crate::model::{AccountName, AuditEntry, Job, JobFilter, JobId, JobKind, JobState, Position};
use crate::store::{self, SegmentBacklog, WriteError};
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::time::Instant;

use self::patience::Patience;
use super::Engine;
use super::unbroken::unbroken;

/// Jobs of one account that are running or paused: each takes its turn on the one thread that looks for all of them.
pub const OPEN_JOBS_MAX: usize = 10;
/// Jobs that are kept of one account, those that have ended included: all are in memory, and restated in each segment.
pub const KEPT_JOBS_MAX: usize = 100;
/// Dry runs under way at once, over all accounts: each keeps a thread busy.
const COUNTS_MAX: usize = 2;
/// How long a dry run counts. Clients do not wait much longer for an answer.
pub const COUNT_TIME_MAX: Duration = Duration::from_secs(10);
/// Deliveries or events that a dry run looks at in one go.
const COUNT_PAGE: usize = 256;

/// What of jobs is in memory.
#[derive(Debug)]
pub(super) struct Jobs {
    /// Held while a job is admitted, so that two at once do not pass the bound.
    admission: Mutex<()>,
    /// A job is to be taken up, or left alone.
    news: Notify,
    counts: Arc<Semaphore>,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            admission: Mutex::new(()),
            news: Notify::new(),
            counts: Arc::new(Semaphore::new(COUNTS_MAX)),
        }
    }
}

/// A job as it is asked for.
#[derive(Clone, Debug)]
pub struct JobOrder {
    /// Whose it is.
    pub account: AccountName,
    /// What it does.
    pub kind: JobKind,
    /// What it takes.
    pub filter: JobFilter,
    /// Deliveries queued in a second, at most.
    pub per_second: u32,
}

/// What a dry run found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Deliveries that a job would take.
    pub matched: u64,
    /// Whether it has looked at everything; otherwise its time was over.
    pub complete: bool,
}

/// Why nothing came of a request about a job.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The account has as many as may be under way.
    #[error(
        "an account has at most {OPEN_JOBS_MAX} jobs that run or are paused; wait for one to end, or cancel one"
    )]
    TooMany,
    /// Too many dry runs are under way.
    #[error("{COUNTS_MAX} dry runs are under way; try again in some seconds")]
    TooManyCounts,
    /// No such job.
    #[error("there is no such job")]
    NotFound,
    /// It has ended, so nothing can be changed about it.
    #[error("the job has ended ({}); start another one", .0.as_str())]
    Ended(JobState),
    /// The store cannot take it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] store::Error),
    /// A defect of ours.
    #[error("a dry run ended by a defect; the log says where")]
    Defect,
}

impl Engine {
    /// Starts a job over everything that is stored now; noted in the audit log as `by`, with the job's id. When this returns it is on disk, and goes on after a restart.
    ///
    /// # Errors
    /// [`JobError::TooMany`], [`JobError::Write`]; there is no job then.
    pub async fn start_job(
        self: &Arc<Self>,
        order: JobOrder,
        by: Option<AuditEntry>,
    ) -> Result<Job, JobError> {
        let engine = Arc::clone(self);
        unbroken(&self.tracker, async move { engine.admit(order, by).await }).await
    }

    async fn admit(&self, order: JobOrder, by: Option<AuditEntry>) -> Result<Job, JobError> {
        let _alone = self.jobs.admission.lock().await;
        let mut kept = self.jobs(&order.account);
        let open = kept.iter().filter(|job| !job.state.has_ended()).count();
        if open >= OPEN_JOBS_MAX {
            return Err(JobError::TooMany);
        }
        let surplus = (kept.len() + 1).saturating_sub(KEPT_JOBS_MAX);
        kept.retain(|job| job.state.has_ended());
        // They come newest first.
        for job in kept.iter().rev().take(surplus) {
            self.writer.forget_job(job.id).await?;
        }
        let job = self.job_of(order);
        let by = by.map(|entry| AuditEntry {
            subject: Some(job.id.to_string()),
            ..entry
        });
        self.writer_for(by).put_job(job.clone()).await?;
        tracing::info!(job_id = %job.id, account = %job.account, kind = job.kind.as_str(),
            per_second = job.per_second, "job started");
        self.jobs.news.notify_one();
        Ok(job)
    }

    fn job_of(&self, order: JobOrder) -> Job {
        let (next, end) = self.reader.extent();
        Job {
            id: JobId::generate(),
            account: order.account,
            kind: order.kind,
            filter: order.filter,
            per_second: order.per_second,
            state: JobState::Running,
            next,
            end,
            matched: 0,
            queued: 0,
            skipped: 0,
            created_at: self.clock.wall(),
            ended_at: None,
        }
    }

    /// Lets a job go on, wait or end.
    ///
    /// # Errors
    /// [`JobError::NotFound`], also for another account's; [`JobError::Ended`]; [`JobError::Write`].
    pub async fn set_job(
        self: &Arc<Self>,
        account: &AccountName,
        id: JobId,
        state: JobState,
        by: Option<AuditEntry>,
    ) -> Result<Job, JobError> {
        let before = self.job(account, id).ok_or(JobError::NotFound)?;
        if before.state.has_ended() {
            return Err(JobError::Ended(before.state));
        }
        let engine = Arc::clone(self);
        // The runner must learn of it though the client hangs up.
        unbroken(
            &self.tracker,
            async move { engine.set(before, state, by).await },
        )
        .await
    }

    async fn set(
        &self,
        before: Job,
        state: JobState,
        by: Option<AuditEntry>,
    ) -> Result<Job, JobError> {
        let set = self.writer_for(by).set_job(before.id, state).await?;
        let job = set.ok_or(JobError::NotFound)?;
        if job.state != state {
            // It came to its end in between.
            return Err(JobError::Ended(job.state));
        }
        if before.state != state {
            let done = match state {
                JobState::Running => "resumed",
                JobState::Paused => "paused",
                JobState::Done => "ended",
                JobState::Cancelled => "cancelled",
            };
            tracing::info!(job_id = %job.id, account = %job.account, matched = job.matched,
                queued = job.queued, skipped = job.skipped, "job {done}");
        }
        self.jobs.news.notify_one();
        Ok(job)
    }

    /// The jobs of an account, newest first.
    #[must_use]
    pub fn jobs(&self, account: &AccountName) -> Vec<Job> {
        let mut jobs = self.reader.jobs();
        jobs.retain(|job| job.account == *account);
        jobs.reverse();
        jobs
    }

    /// A job of this account; another account's is not found.
    #[must_use]
    pub fn job(&self, account: &AccountName, id: JobId) -> Option<Job> {
        self.reader.job(id).filter(|job| job.account == *account)
    }

    /// Counts what a job would take, for `time` at most. Who drops the future ends the counting.
    ///
    /// # Errors
    /// [`JobError::TooManyCounts`], [`JobError::Read`].
    pub async fn count_matches(
        self: &Arc<Self>,
        order: JobOrder,
        time: Duration,
    ) -> Result<Counted, JobError> {
        let counts = Arc::clone(&self.jobs.counts);
        let permit = counts
            .try_acquire_owned()
            .map_err(|_| JobError::TooManyCounts)?;
        let (job, until) = (self.job_of(order), Instant::now() + time);
        let stop = self.stopping.child_token();
        let _given_up = stop.clone().drop_guard();
        let engine = Arc::clone(self);
        let counting = self.tracker.spawn_blocking(move || {
            let _permit = permit;
            engine.count_taken(&job, &mut Patience::until(until, stop))
        });
        Ok(counting.await.map_err(|_| JobError::Defect)??)
    }

    fn count_taken(&self, job: &Job, patience: &mut Patience) -> Result<Counted, store::Error> {
        let (mut from, mut matched) = (job.next, 0);
        loop {
            if !patience.goes_on(0) {
                let complete = false;
                return Ok(Counted { matched, complete });
            }
            let seen = self.look(job, from, COUNT_PAGE, patience)?;
            let of_event = |one: &look::Match| one.picks.len() as u64 + one.skipped;
            matched += seen.matches.iter().map(of_event).sum::<u64>();
            match seen.next {
                Some(next) if next > from => from = next,
                next => {
                    let complete = next.is_none();
                    return Ok(Counted { matched, complete });
                }
            }
        }
    }
}

/// How much of what a job is to look at it has looked at, from 0 to 1, by bytes of the journal. What retention deletes
/// meanwhile counts no more, neither as done nor as left.
#[must_use]
pub fn share_done(job: &Job, segments: &[SegmentBacklog]) -> f64 {
    let before = |place: Position| -> u64 {
        let bytes = segments.iter().map(|one| match one.segment {
            segment if segment.number < place.segment => segment.bytes,
            segment if segment.number == place.segment => {
                segment.bytes.min(u64::from(place.offset))
            }
            _ => 0,
        });
        bytes.sum()
    };
    let all = before(job.end);
    if job.state == JobState::Done || all == 0 {
        return 1.0;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share is shown with three digits"
    )]
    let share = before(job.next) as f64 / all as f64;
    (share * 1000.0).floor().min(1000.0) / 1000.0
}
