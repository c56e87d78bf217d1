//! What is sent again: one delivery by hand, or a great many by a job.
//!
//! A job reads what it is about to queue away from the committer. What has changed since is told by the records that
//! came after that reading, which are few: so a step costs the committer no look at a delivery's past.

use std::collections::HashSet;

use crate::journal::{self, Direction};
use crate::model::{
    DeliveryState, Job, JobId, JobState, Order, Position, QueueEntry, SteadyMillis, Trigger,
    WebhookId,
};

use super::super::record::{Queued, Record, delivery_key};
use super::super::writer::{JobStep, Requeued, Written};
use super::super::{Error, WriteError, history};
use super::{Group, QueueKey};

impl Group<'_> {
    /// The committer takes requests to send again before all else of a group, so the journal tells the
    /// delivery's present state; a second request for the same one gets the first one's answer.
    pub(super) fn requeue(
        &mut self,
        webhook: WebhookId,
        event: Position,
    ) -> Result<Result<Requeued, WriteError>, Error> {
        if let Some(entry) = self.staged.requeued.get(&(webhook, event)) {
            return Ok(Ok(Requeued::Now { entry: *entry }));
        }
        let kept = match self.ground.reader.read(event) {
            Ok(_) => true,
            Err(journal::Error::Damaged(_) | journal::Error::Gone(_)) => false,
            // That it could not be read does not mean that it is not there.
            Err(error) => return Err(error.into()),
        };
        if !kept || !self.is_registered(webhook) {
            return Ok(Ok(Requeued::NotFound));
        }
        let trace = history::trace(self.ground.reader, webhook, event)?;
        let Some(standing) = history::standing(self.ground.reader, webhook, event, &trace)? else {
            return Ok(Ok(Requeued::NotFound));
        };
        let (mut attempts, mut run_attempts, mut from) = (standing.attempts, 0, None);
        if let DeliveryState::Pending { due, .. } = standing.state {
            let Some(value) = self.pending(&QueueKey {
                webhook,
                due,
                event,
            })?
            else {
                // A record was damaged: the journal says pending, but the queue, which knew that record, does
                // not. Where it stands cannot be known, so no second key is risked.
                return Ok(Ok(Requeued::Unclear));
            };
            (attempts, run_attempts, from) = (value.attempts, value.run_attempts, Some(due));
        } else if standing.doubtful {
            // The record that cannot be read may be the one that brought it back into the queue.
            return Ok(Ok(Requeued::Unclear));
        }
        // What is sent in order keeps its place, and only waits no longer.
        let ordered = self
            .row(webhook)
            .is_some_and(|row| row.webhook.order != Order::None);
        let (now, at) = (self.staged.now.steady, self.staged.now);
        let due = from.filter(|_| ordered).unwrap_or(now);
        let record = Record::Requeued {
            webhook,
            event,
            from,
            due,
            attempts,
            run_attempts,
            at,
        };
        let staged = self.stage(&record)?;
        let entry = QueueEntry {
            due,
            event,
            attempts,
            run_attempts,
            trigger: Trigger::Manual,
            not_before: SteadyMillis(0),
        };
        self.staged.requeued.insert((webhook, event), entry);
        Ok(staged.map(|_| Requeued::Now { entry }))
    }

    pub(super) fn put_job(&mut self, job: Job) -> Result<Result<Written, WriteError>, Error> {
        if self.job(job.id).is_some() {
            return Ok(Ok(Written::Stale));
        }
        let at = self.staged.now;
        let staged = self.stage(&Record::JobStored { job, at })?;
        Ok(staged.map(|_| Written::Done))
    }

    /// `None` where there is no such job; one that has ended stays as it is.
    pub(super) fn set_job(
        &mut self,
        id: JobId,
        state: JobState,
    ) -> Result<Result<Option<Job>, WriteError>, Error> {
        let Some(mut job) = self.job(id) else {
            return Ok(Ok(None));
        };
        if job.state.has_ended() || job.state == state {
            return Ok(Ok(Some(job)));
        }
        let at = self.staged.now;
        job.state = state;
        job.ended_at = state.has_ended().then_some(at.wall);
        let staged = self.stage(&Record::JobStored {
            job: job.clone(),
            at,
        })?;
        Ok(staged.map(|_| Some(job)))
    }

    /// Only a job that has ended is forgotten.
    pub(super) fn forget_job(&mut self, id: JobId) -> Result<Result<Written, WriteError>, Error> {
        if !self.job(id).is_some_and(|job| job.state.has_ended()) {
            return Ok(Ok(Written::Stale));
        }
        let at = self.staged.now;
        let staged = self.stage(&Record::JobForgotten { job: id, at })?;
        Ok(staged.map(|_| Written::Done))
    }

    /// Makes a job's next step, if it still runs and stands where the step begins; gives it as it is then. `None`:
    /// there is no such job.
    pub(super) fn step_job(
        &mut self,
        step: JobStep,
    ) -> Result<Result<Option<Job>, WriteError>, Error> {
        let Some(mut job) = self.job(step.job) else {
            return Ok(Ok(None));
        };
        if job.state != JobState::Running || job.next != step.from {
            return Ok(Ok(Some(job)));
        }
        let (at, due) = (self.staged.now, self.staged.now.steady);
        let (mut queued, mut skipped) = (Vec::with_capacity(step.picks.len()), step.skipped);
        let mut seen = HashSet::new();
        for pick in &step.picks {
            if seen.insert((pick.webhook, pick.event))
                && self.may_queue(pick.webhook, pick.event, step.read_at)?
            {
                queued.push(Queued {
                    webhook: pick.webhook,
                    event: pick.event,
                    attempts: pick.attempts,
                    added: pick.added,
                });
            } else {
                skipped += 1;
            }
        }
        job.next = step.next;
        job.matched += step.picks.len() as u64 + step.skipped;
        job.queued += queued.len() as u64;
        job.skipped += skipped;
        if step.next >= job.end {
            job.state = JobState::Done;
            job.ended_at = Some(at.wall);
        }
        let entries: Vec<_> = queued
            .iter()
            .map(|one| {
                let entry = QueueEntry {
                    attempts: one.attempts,
                    trigger: Trigger::Replay,
                    ..QueueEntry::fresh(due, one.event)
                };
                ((one.webhook, one.event), entry)
            })
            .collect();
        let staged = self.stage(&Record::JobStepped {
            job: job.clone(),
            queued,
            due,
            at,
        })?;
        if staged.is_ok() {
            self.staged.requeued.extend(entries);
        }
        Ok(staged.map(|_| Some(job)))
    }

    /// Whether a delivery that had ended, or did not exist, when everything before `read_at` had been read is so
    /// still, so that a queue key for it would be the only one.
    fn may_queue(
        &self,
        webhook: WebhookId,
        event: Position,
        read_at: Position,
    ) -> Result<bool, Error> {
        if !self.is_registered(webhook) || self.staged.requeued.contains_key(&(webhook, event)) {
            return Ok(false);
        }
        let reader = self.ground.reader;
        if event.segment < reader.bounds().0 {
            return Ok(false);
        }
        let key = delivery_key(webhook, event);
        for number in reader.numbers(read_at.segment, u32::MAX) {
            let newest = reader.range(number, &key, &key, Direction::Descending, 1)?;
            let since = |offset: u32| number > read_at.segment || offset >= read_at.offset;
            if newest.first().is_some_and(|entry| since(entry.offset)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn job(&self, id: JobId) -> Option<Job> {
        match self.staged.jobs.get(&id) {
            Some(job) => job.clone(),
            None => self.ground.live.jobs(|jobs| jobs.get(&id).cloned()),
        }
    }
}
