//! A group: what waits is checked against the live state and what the group itself changes, becomes records,
//! and is answered together once it is synced.
//!
//! Invariant: nothing outside sees a group before [`Group::commit`] has synced it, neither readers nor callers.
//! A group that is dropped instead answers nobody; its callers learn that the committer ended.

mod again;
mod registry;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::journal::{self, Journal, Key};
use crate::metrics::Metrics;
use crate::model::{
    Attempt, AuditEntry, EndReason, Event, Job, JobId, Next, Position, QueueEntry, SteadyMillis,
    WebhookId,
};

use super::apply::{Change, QueueKey, QueueValue, apply};
use super::inbox::{Answer, Op, send};
use super::live::Live;
use super::record::{Cancellation, End, Moment, Record, Row};
use super::writer::{Accepted, NewEvent, Requeued, Written};
use super::{CodecError, Error, IDS_SEGMENTS_MAX, WriteError, codec, history};

/// What a group stands on.
pub(super) struct Ground<'a> {
    pub(super) journal: &'a mut Journal,
    pub(super) reader: &'a journal::Reader,
    pub(super) live: &'a Live,
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) metrics: &'a Metrics,
}

/// A group that is being gathered.
pub(super) struct Group<'a> {
    ground: Ground<'a>,
    staged: Staged,
    /// The entry of the audit log that stands before the next record.
    note: Option<AuditEntry>,
}

/// What a group has gathered. Its records are staged in the journal.
pub(super) struct Staged {
    now: Moment,
    changes: Vec<Change>,
    queue: HashMap<QueueKey, Option<QueueValue>>,
    rows: BTreeMap<WebhookId, Option<Row>>,
    jobs: BTreeMap<JobId, Option<Job>>,
    ids: HashMap<Key, (Position, Arc<Event>, usize)>,
    requeued: HashMap<(WebhookId, Position), QueueEntry>,
    replies: Vec<Reply>,
    tally: Tally,
}

/// An answer that waits for the sync.
enum Reply {
    Accept(Answer<Accepted>, Result<Accepted, WriteError>),
    Write(Answer<Written>, Result<Written, WriteError>),
    Requeue(Answer<Requeued>, Result<Requeued, WriteError>),
    Count(Answer<u32>, Result<u32, WriteError>),
    Job(Answer<Option<Job>>, Result<Option<Job>, WriteError>),
}

/// What is counted once it is synced.
#[derive(Default)]
struct Tally {
    events: u64,
    deliveries: u64,
    ended: HashMap<&'static str, u64>,
    stale: u64,
}

/// What came of a commit.
pub(super) enum Outcome {
    /// It is on disk.
    Committed(Committed),
    /// The disk is full: nothing was written, and the group can be committed later.
    NoRoom(Box<Staged>),
}

/// What a committed group leaves to do.
pub(super) struct Committed {
    /// Webhooks that were removed, and one that needs no purge any more.
    pub(super) removed: Vec<WebhookId>,
    pub(super) forgotten: Vec<WebhookId>,
}

impl<'a> Group<'a> {
    pub(super) fn new(ground: Ground<'a>, now: Moment) -> Self {
        Self {
            ground,
            staged: Staged {
                now,
                changes: Vec::new(),
                queue: HashMap::new(),
                rows: BTreeMap::new(),
                jobs: BTreeMap::new(),
                ids: HashMap::new(),
                requeued: HashMap::new(),
                replies: Vec::new(),
                tally: Tally::default(),
            },
            note: None,
        }
    }

    /// A group that had no room before.
    pub(super) const fn again(ground: Ground<'a>, staged: Staged) -> Self {
        Self {
            ground,
            staged,
            note: None,
        }
    }

    pub(super) fn staged_bytes(&self) -> usize {
        self.ground.journal.staged_bytes()
    }

    /// Checks one op and stages its record, if its conditions hold. `DeleteThrough` is not a group's business.
    pub(super) fn take(&mut self, op: Op) -> Result<(), Error> {
        let reply = match op {
            Op::Accept {
                new,
                id_key,
                answer,
            } => Reply::Accept(answer, self.accept(new, id_key)?),
            Op::Finish {
                webhook,
                entry,
                attempt,
                next,
                answer,
            } => Reply::Write(answer, self.finish(webhook, &entry, *attempt, next)?),
            Op::Requeue {
                webhook,
                event,
                answer,
            } => Reply::Requeue(answer, self.requeue(webhook, event)?),
            Op::PutJob { job, answer } => Reply::Write(answer, self.put_job(*job)?),
            Op::SetJob { job, state, answer } => Reply::Job(answer, self.set_job(job, state)?),
            Op::ForgetJob { job, answer } => Reply::Write(answer, self.forget_job(job)?),
            Op::StepJob { step, answer } => Reply::Job(answer, self.step_job(*step)?),
            Op::Put {
                webhook,
                expected,
                answer,
            } => Reply::Write(answer, self.put(*webhook, expected)?),
            Op::Remove {
                webhook,
                expected,
                answer,
            } => Reply::Write(answer, self.remove(webhook, expected)?),
            Op::Cancel {
                webhook,
                entries,
                reason,
                answer,
            } => Reply::Count(answer, self.cancel(webhook, &entries, reason)?),
            Op::DeleteThrough { answer, .. } => Reply::Count(answer, Ok(0)),
            Op::Note { entry, answer } => Reply::Write(answer, self.note(*entry)?),
            Op::Noted { entry, op } => {
                self.note = Some(*entry);
                let taken = self.take(*op);
                self.note = None;
                return taken;
            }
        };
        self.staged.replies.push(reply);
        Ok(())
    }

    fn accept(
        &mut self,
        new: NewEvent,
        id_key: Key,
    ) -> Result<Result<Accepted, WriteError>, Error> {
        if new.client_id
            && let Some(answer) = self.known(&new, &id_key)?
        {
            return Ok(Ok(answer));
        }
        let NewEvent {
            event,
            mut webhooks,
            client_id,
            ..
        } = new;
        webhooks.retain(|webhook| self.is_registered(*webhook));
        let due = self.staged.now.steady;
        let record = accepted(&event, &webhooks, due, client_id);
        let position = match self.stage(&record)? {
            Ok(position) => position,
            Err(refused) => return Ok(Err(refused)),
        };
        self.staged
            .ids
            .insert(id_key, (position, event, webhooks.len()));
        self.staged.tally.events += 1;
        self.staged.tally.deliveries += webhooks.len() as u64;
        Ok(Ok(Accepted::New {
            event: position,
            due,
            webhooks,
        }))
    }

    /// What to answer if an event with this id was accepted before, in this group or a recent segment.
    fn known(&self, new: &NewEvent, id_key: &Key) -> Result<Option<Accepted>, Error> {
        let same_id =
            |event: &Event| event.account == new.event.account && event.id == new.event.id;
        let answer = |stored: &Event, event: Position, deliveries: usize| {
            if stored.same_content(&new.event, new.with_time) {
                let deliveries = u32::try_from(deliveries).expect("a fan-out is bounded");
                Accepted::Duplicate { event, deliveries }
            } else {
                Accepted::Conflict
            }
        };
        if let Some((position, event, deliveries)) = self.staged.ids.get(id_key)
            && same_id(event)
        {
            return Ok(Some(answer(event, *position, *deliveries)));
        }
        for position in self
            .ground
            .reader
            .find_filtered(id_key, IDS_SEGMENTS_MAX + 1)?
        {
            match history::event_at(self.ground.reader, position) {
                Ok((event, webhooks)) if same_id(&event) => {
                    return Ok(Some(answer(&event, position, webhooks.len())));
                }
                Ok(_) => {}
                Err(Error::Journal(journal::Error::Damaged(_) | journal::Error::Gone(_))) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn finish(
        &mut self,
        webhook: WebhookId,
        entry: &QueueEntry,
        mut attempt: Attempt,
        next: Next,
    ) -> Result<Result<Written, WriteError>, Error> {
        let key = QueueKey {
            webhook,
            due: entry.due,
            event: entry.event,
        };
        let Some(value) = self.pending(&key)? else {
            self.staged.tally.stale += 1;
            return Ok(Ok(Written::Stale));
        };
        attempt.number = value.attempts.saturating_add(1);
        let (event, due, at) = (entry.event, entry.due, self.staged.now);
        let end = match next {
            Next::Delivered => End::Delivered,
            Next::Failed(reason) => End::Failed(reason),
            Next::RetryAt(next_due) => {
                let run_attempts = value.run_attempts.saturating_add(1);
                let record = Record::Attempted {
                    webhook,
                    event,
                    due,
                    attempt,
                    run_attempts,
                    next_due,
                    at,
                };
                return Ok(self.stage(&record)?.map(|_| Written::Done));
            }
            Next::RetryInPlace(not_before) => {
                let run_attempts = value.run_attempts.saturating_add(1);
                return self.defer(key, attempt, run_attempts, not_before);
            }
            Next::Probed => {
                return self.defer(key, attempt, value.run_attempts, value.not_before);
            }
        };
        let staged = self.stage(&Record::Ended {
            webhook,
            event,
            due,
            attempt,
            end,
            at,
        })?;
        if staged.is_ok() {
            let state = match end {
                End::Delivered => "delivered",
                End::Failed(reason) => reason.as_str(),
            };
            *self.staged.tally.ended.entry(state).or_default() += 1;
        }
        Ok(staged.map(|_| Written::Done))
    }

    fn defer(
        &mut self,
        key: QueueKey,
        attempt: Attempt,
        run_attempts: u32,
        not_before: SteadyMillis,
    ) -> Result<Result<Written, WriteError>, Error> {
        let record = Record::Deferred {
            webhook: key.webhook,
            event: key.event,
            due: key.due,
            attempt,
            run_attempts,
            not_before,
            at: self.staged.now,
        };
        Ok(self.stage(&record)?.map(|_| Written::Done))
    }

    fn cancel(
        &mut self,
        webhook: WebhookId,
        entries: &[QueueEntry],
        reason: EndReason,
    ) -> Result<Result<u32, WriteError>, Error> {
        let (mut pending, mut seen) = (Vec::with_capacity(entries.len()), BTreeSet::new());
        for entry in entries {
            let key = QueueKey {
                webhook,
                due: entry.due,
                event: entry.event,
            };
            if let Some(value) = self.pending(&key)?
                && seen.insert(key)
            {
                let (due, event) = (entry.due, entry.event);
                pending.push(Cancellation {
                    due,
                    event,
                    attempts: value.attempts,
                });
            }
        }
        let count = u32::try_from(pending.len()).expect("bounded by CANCEL_MAX");
        if count == 0 {
            return Ok(Ok(0));
        }
        let at = self.staged.now;
        let staged = self.stage(&Record::Cancelled {
            webhook,
            entries: pending,
            reason,
            at,
        })?;
        if staged.is_ok() {
            *self.staged.tally.ended.entry(reason.as_str()).or_default() += u64::from(count);
        }
        Ok(staged.map(|_| count))
    }

    /// Cancels the next few pending deliveries of a removed webhook, or forgets it when there are none.
    pub(super) fn purge(&mut self, webhook: WebhookId, limit: usize) -> Result<(), Error> {
        let entries = self.ground.live.first(webhook, limit)?;
        // What this very group adds or moves is met by the next one: forget only what was empty before it.
        let untouched = !self.staged.queue.keys().any(|key| key.webhook == webhook);
        let staged = if !entries.is_empty() {
            self.cancel(webhook, &entries, EndReason::WebhookRemoved)?
                .map(|_| ())
        } else if untouched {
            self.stage(&Record::WebhookForgotten {
                webhook,
                at: self.staged.now,
            })?
            .map(|_| ())
        } else {
            Ok(())
        };
        staged.map_err(|_| Error::Broken("purge"))
    }

    /// Stages a part of the jobs as they are, as [`Group::snapshot`] does for the registry.
    pub(super) fn snapshot_jobs(&mut self, jobs: &[Job]) -> Result<(), Error> {
        let record = Record::Jobs {
            jobs: jobs.to_vec(),
            at: self.staged.now,
        };
        codec::encode_record(&record, self.ground.buffer)?;
        self.ground.journal.stage(self.ground.buffer, Vec::new())?;
        Ok(())
    }

    /// Brings a record into the buffer. The inner error is the caller's: too large to be written.
    fn encode(&mut self, record: &Record) -> Result<Result<(), WriteError>, Error> {
        match codec::encode_record(record, self.ground.buffer) {
            Err(CodecError::Invalid(error)) if matches!(*error, bincode::ErrorKind::SizeLimit) => {
                Ok(Err(WriteError::TooLarge(
                    "more than one journal record can hold".to_owned(),
                )))
            }
            encoded => Ok(Ok(encoded?)),
        }
    }

    /// Stages a record and remembers its changes. The inner error is the caller's: too large to be written.
    ///
    /// What is to be noted of it is staged before it, so that no change stands without its entry after a crash.
    fn stage(&mut self, record: &Record) -> Result<Result<Position, WriteError>, Error> {
        if let Err(refused) = self.encode(record)? {
            return Ok(Err(refused));
        }
        if let Some(entry) = self.note.take() {
            if let Err(refused) = self.note(entry)? {
                return Ok(Err(refused));
            }
            // The note took the buffer.
            codec::encode_record(record, self.ground.buffer)?;
        }
        let keys = record.keys(self.ground.journal.next());
        let position = match self.ground.journal.stage(self.ground.buffer, keys) {
            Err(error @ journal::Error::TooLong(_)) => {
                return Ok(Err(WriteError::TooLarge(error.to_string())));
            }
            staged => staged?,
        };
        for change in apply(record, position) {
            match &change {
                Change::Queue(key, value) => {
                    self.staged.queue.insert(*key, *value);
                }
                Change::Row(row) => {
                    self.staged
                        .rows
                        .insert(row.webhook.id, Some((**row).clone()));
                }
                Change::Tombstone(webhook) => {
                    let row = self.row(*webhook).map(|row| Row {
                        removed: true,
                        ..row
                    });
                    self.staged.rows.insert(*webhook, row);
                }
                Change::Forget(webhook) => {
                    self.staged.rows.insert(*webhook, None);
                }
                Change::Job(job) => {
                    self.staged.jobs.insert(job.id, Some((**job).clone()));
                }
                Change::JobGone(job) => {
                    self.staged.jobs.insert(*job, None);
                }
                Change::Pending { .. } => {}
            }
            self.staged.changes.push(change);
        }
        Ok(Ok(position))
    }

    fn pending(&self, key: &QueueKey) -> Result<Option<QueueValue>, Error> {
        match self.staged.queue.get(key) {
            Some(value) => Ok(*value),
            None => self.ground.live.pending(key),
        }
    }

    fn is_registered(&self, webhook: WebhookId) -> bool {
        match self.staged.rows.get(&webhook) {
            Some(row) => row.as_ref().is_some_and(|row| !row.removed),
            None => self
                .ground
                .live
                .rows(|rows| rows.get(&webhook).is_some_and(|row| !row.removed)),
        }
    }

    fn row(&self, webhook: WebhookId) -> Option<Row> {
        match self.staged.rows.get(&webhook) {
            Some(row) => row.clone(),
            None => self.ground.live.rows(|rows| rows.get(&webhook).cloned()),
        }
    }

    /// Syncs, applies, answers.
    pub(super) fn commit(self) -> Result<Outcome, Error> {
        let Self { ground, staged, .. } = self;
        let writes = ground.journal.staged_bytes() > 0;
        match ground.journal.commit() {
            Err(journal::Error::NoRoom { .. }) => return Ok(Outcome::NoRoom(Box::new(staged))),
            committed => committed?,
        }
        let mut committed = Committed {
            removed: Vec::new(),
            forgotten: Vec::new(),
        };
        for change in &staged.changes {
            match change {
                Change::Tombstone(webhook) => committed.removed.push(*webhook),
                Change::Forget(webhook) => committed.forgotten.push(*webhook),
                Change::Queue(..)
                | Change::Pending { .. }
                | Change::Row(_)
                | Change::Job(_)
                | Change::JobGone(_) => {}
            }
        }
        // What only answers leaves no time on record that a later process would have to go on from.
        if writes {
            let applied = Some(ground.journal.next());
            ground
                .live
                .merge(staged.changes, applied, staged.now.steady);
        }
        staged.tally.count(ground.metrics);
        // Each costs a wake-up, and behind an event's answer a client waits.
        let (clients, others): (Vec<Reply>, Vec<Reply>) = staged
            .replies
            .into_iter()
            .partition(|reply| matches!(reply, Reply::Accept(..)));
        for reply in clients.into_iter().chain(others) {
            reply.send();
        }
        Ok(Outcome::Committed(committed))
    }
}

impl Staged {
    /// Tells who waits that nothing was written.
    pub(super) fn refuse(self, error: &WriteError) {
        for reply in self.replies {
            match reply {
                Reply::Accept(to, _) => send(to, Err(error.clone())),
                Reply::Write(to, _) => send(to, Err(error.clone())),
                Reply::Requeue(to, _) => send(to, Err(error.clone())),
                Reply::Count(to, _) => send(to, Err(error.clone())),
                Reply::Job(to, _) => send(to, Err(error.clone())),
            }
        }
    }
}

impl Reply {
    fn send(self) {
        match self {
            Self::Accept(to, answer) => send(to, answer),
            Self::Write(to, answer) => send(to, answer),
            Self::Requeue(to, answer) => send(to, answer),
            Self::Count(to, answer) => send(to, answer),
            Self::Job(to, answer) => send(to, answer),
        }
    }
}

impl Tally {
    fn count(&self, metrics: &Metrics) {
        metrics.events_accepted.inc_by(self.events);
        metrics.deliveries_created.inc_by(self.deliveries);
        metrics.stale_transitions.inc_by(self.stale);
        for (state, count) in &self.ended {
            metrics
                .deliveries_ended
                .get_or_create(&[("state", *state)])
                .inc_by(*count);
        }
    }
}

/// The record of a new event.
fn accepted(
    event: &Arc<Event>,
    webhooks: &[WebhookId],
    due: SteadyMillis,
    client_id: bool,
) -> Record {
    let (event, webhooks) = (Arc::clone(event), webhooks.to_vec());
    match event.trace.clone() {
        None => Record::Accepted {
            event,
            webhooks,
            due,
            client_id,
        },
        Some(trace) => Record::AcceptedTraced {
            event,
            trace,
            webhooks,
            due,
            client_id,
        },
    }
}
