//! The commit queue: bounded, many writers, one committer that takes all that waits at once.
//!
//! A lock and a condition variable rather than a channel, because the committer takes a whole group in one
//! step, and waits with a time limit that depends on what the group holds.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use crate::journal::Key;
use crate::model::{
    Attempt, AuditEntry, EndReason, Job, JobId, JobState, Next, Position, QueueEntry, Webhook,
    WebhookId,
};

use super::WriteError;
use super::writer::{Accepted, JobPick, JobStep, NewEvent, Pulse, Requeued, Written};

/// A group of outcomes alone waits this long for company: nobody waits for its answer but a lane.
const LINGER: Duration = Duration::from_millis(2);
/// This many outcomes are company enough.
const LINGER_UNTIL: usize = 32;

/// Bytes of events that may wait; beyond that intake answers 503. Their clients may have hung up, so no
/// bound on requests holds them.
const INTAKE_BYTES_MAX: usize = 32 << 20;
/// What an op's record takes in the journal besides bodies, about.
const RECORD_BYTES: usize = 2048;

/// Where an answer goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, WriteError>>;

/// One thing that is asked of the committer.
pub(super) enum Op {
    Accept {
        new: NewEvent,
        id_key: Key,
        answer: Answer<Accepted>,
    },
    Finish {
        webhook: WebhookId,
        entry: QueueEntry,
        attempt: Box<Attempt>,
        next: Next,
        answer: Answer<Written>,
    },
    Requeue {
        webhook: WebhookId,
        event: Position,
        answer: Answer<Requeued>,
    },
    Put {
        webhook: Box<Webhook>,
        expected: Option<u64>,
        answer: Answer<Written>,
    },
    Remove {
        webhook: WebhookId,
        expected: u64,
        answer: Answer<Written>,
    },
    Cancel {
        webhook: WebhookId,
        entries: Vec<QueueEntry>,
        reason: EndReason,
        answer: Answer<u32>,
    },
    PutJob {
        job: Box<Job>,
        answer: Answer<Written>,
    },
    SetJob {
        job: JobId,
        state: JobState,
        answer: Answer<Option<Job>>,
    },
    ForgetJob {
        job: JobId,
        answer: Answer<Written>,
    },
    StepJob {
        step: Box<JobStep>,
        answer: Answer<Option<Job>>,
    },
    DeleteThrough {
        segment: u32,
        answer: Answer<u32>,
    },
    /// An entry of the audit log alone.
    Note {
        entry: Box<AuditEntry>,
        answer: Answer<Written>,
    },
    /// What somebody asked for: where it writes something, the entry stands before it.
    Noted {
        entry: Box<AuditEntry>,
        op: Box<Self>,
    },
}

impl Op {
    /// Answers that the store has failed or stopped.
    pub(super) fn refuse(self, error: WriteError) {
        match self {
            Self::Accept { answer, .. } => send(answer, Err(error)),
            Self::Finish { answer, .. }
            | Self::Put { answer, .. }
            | Self::Remove { answer, .. }
            | Self::PutJob { answer, .. }
            | Self::ForgetJob { answer, .. }
            | Self::Note { answer, .. } => {
                send(answer, Err(error));
            }
            Self::Noted { op, .. } => op.refuse(error),
            Self::Requeue { answer, .. } => send(answer, Err(error)),
            Self::SetJob { answer, .. } | Self::StepJob { answer, .. } => {
                send(answer, Err(error));
            }
            Self::Cancel { answer, .. } | Self::DeleteThrough { answer, .. } => {
                send(answer, Err(error))
            }
        }
    }

    /// How many bytes its record will have, about.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Accept { new, .. } => {
                RECORD_BYTES + new.event.bytes() + new.webhooks.len() * size_of::<WebhookId>()
            }
            Self::Finish { attempt, .. } => {
                let response = attempt.response.as_ref();
                let response = response.map_or(0, |response| {
                    let headers = response.headers.iter();
                    let pair = |(name, value): &(String, String)| name.len() + value.len();
                    response.body.len() + headers.map(pair).sum::<usize>()
                });
                RECORD_BYTES + response
            }
            Self::StepJob { step, .. } => RECORD_BYTES + step.picks.len() * size_of::<JobPick>(),
            Self::Noted { op, .. } => RECORD_BYTES + op.bytes(),
            _ => RECORD_BYTES,
        }
    }

    /// How many changes its record makes, about.
    fn changes(&self) -> usize {
        match self {
            Self::Accept { new, .. } => new.webhooks.len().max(1),
            Self::Cancel { entries, .. } => entries.len().max(1),
            Self::StepJob { step, .. } => step.picks.len().max(1),
            Self::Noted { op, .. } => op.changes(),
            _ => 1,
        }
    }

    /// Whether it waits for room on a full disk. Who asks for anything else is told at once.
    pub(super) const fn outlasts_full_disk(&self) -> bool {
        matches!(self, Self::Finish { .. })
    }

    /// Whether it is a request to send again, noted or not.
    pub(super) fn is_requeue(&self) -> bool {
        match self {
            Self::Requeue { .. } => true,
            Self::Noted { op, .. } => op.is_requeue(),
            _ => false,
        }
    }

    const fn is_intake(&self) -> bool {
        matches!(self, Self::Accept { .. })
    }
}

/// Sends an answer. Nobody may wait for it any more: a client that hung up; what was written stays.
pub(super) fn send<T>(to: Answer<T>, answer: Result<T, WriteError>) {
    if to.send(answer).is_err() {
        tracing::debug!("nobody waits for this answer any more");
    }
}

/// What the committer found when it looked.
pub(super) enum Gathered {
    /// What waited, in order.
    Ops(Vec<Op>),
    /// Nothing came in the given time.
    Idle,
    /// Closed, and nothing waits any more.
    Closed,
}

/// The queue.
pub(super) struct Inbox {
    state: Mutex<State>,
    arrived: Condvar,
    room: Semaphore,
}

#[derive(Default)]
struct State {
    ops: VecDeque<Op>,
    intake: usize,
    intake_bytes: usize,
    /// How many ops, or one intake op, the committer sleeps for; 0 when it does not sleep.
    sleeps_for: usize,
    closed: Option<WriteError>,
    /// Since when the oldest op has waited, and since when the committer works on what it has taken.
    waiting_since: Option<Instant>,
    working_since: Option<Instant>,
}

impl State {
    fn ready(&self, count: usize) -> bool {
        self.ops.len() >= count || self.intake > 0 || self.closed.is_some()
    }
}

impl Inbox {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State::default()),
            arrived: Condvar::new(),
            room: Semaphore::new(capacity.clamp(1, Semaphore::MAX_PERMITS)),
        }
    }

    /// Adds an op if there is room.
    pub(super) fn try_push(&self, op: Op) -> Result<(), WriteError> {
        match self.room.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(tokio::sync::TryAcquireError::NoPermits) => return Err(WriteError::Busy),
            Err(tokio::sync::TryAcquireError::Closed) => return Err(self.closed_as()),
        }
        self.add(op)
    }

    /// Adds an op, waiting for room.
    pub(super) async fn push(&self, op: Op) -> Result<(), WriteError> {
        match self.room.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(self.closed_as()),
        }
        self.add(op)
    }

    fn add(&self, op: Op) -> Result<(), WriteError> {
        let mut state = self.lock();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        if op.is_intake() {
            let bytes = state.intake_bytes.saturating_add(op.bytes());
            // One that is over the bound by itself is taken when nothing else waits.
            if bytes > INTAKE_BYTES_MAX && state.intake > 0 {
                drop(state);
                self.room.add_permits(1);
                return Err(WriteError::Busy);
            }
            state.intake += 1;
            state.intake_bytes = bytes;
        }
        if state.ops.is_empty() {
            state.waiting_since = Some(Instant::now());
        }
        state.ops.push_back(op);
        if state.sleeps_for > 0 && state.ready(state.sleeps_for) {
            // Once is enough: it wakes, and takes everything that has come by then.
            state.sleeps_for = 0;
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Takes ops that make about `limit` changes, one op at least, waiting `patience` for the first. From here until it is called again the
    /// committer counts as working on what it was given.
    pub(super) fn gather(&self, limit: usize, patience: Duration) -> Gathered {
        let mut state = self.lock();
        state.working_since = None;
        if !state.ready(1) {
            state = self.sleep(state, 1, patience);
        }
        if !state.ops.is_empty() && !state.ready(LINGER_UNTIL) {
            state = self.sleep(state, LINGER_UNTIL, LINGER);
        }
        self.take(state, limit)
    }

    /// As [`Inbox::gather`], without waiting for anything.
    #[cfg(test)]
    pub(super) fn take_now(&self, limit: usize) -> Gathered {
        self.take(self.lock(), limit)
    }

    fn take(&self, mut state: MutexGuard<'_, State>, limit: usize) -> Gathered {
        let now = Instant::now();
        state.working_since = Some(now);
        if state.ops.is_empty() {
            return if state.closed.is_some() {
                Gathered::Closed
            } else {
                Gathered::Idle
            };
        }
        let mut changes = 0;
        let fit = state.ops.iter().take_while(|op| {
            let fits = changes < limit;
            changes += op.changes();
            fits
        });
        let count = fit.count();
        let ops: Vec<Op> = state.ops.drain(..count).collect();
        // What is left has waited for less than a round.
        state.waiting_since = (!state.ops.is_empty()).then_some(now);
        for op in ops.iter().filter(|op| op.is_intake()) {
            state.intake -= 1;
            state.intake_bytes -= op.bytes();
        }
        drop(state);
        self.room.add_permits(ops.len());
        Gathered::Ops(ops)
    }

    fn sleep<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        count: usize,
        patience: Duration,
    ) -> MutexGuard<'a, State> {
        state.sleeps_for = count;
        let waited = self
            .arrived
            .wait_timeout_while(state, patience, |state| !state.ready(count));
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.sleeps_for = 0;
        state
    }

    /// Takes no more ops. What waits is still done, unless the reason is a failure: then it is refused.
    pub(super) fn close(&self, reason: WriteError) {
        let failed = matches!(reason, WriteError::Failed(_));
        let mut state = self.lock();
        if state.closed.is_none() || failed {
            state.closed = Some(reason.clone());
        }
        self.room.close();
        self.arrived.notify_one();
        let refused = if failed {
            std::mem::take(&mut state.ops)
        } else {
            VecDeque::new()
        };
        if failed {
            (state.intake, state.intake_bytes) = (0, 0);
            state.waiting_since = None;
        }
        drop(state);
        for op in refused {
            op.refuse(reason.clone());
        }
    }

    /// How the committer does.
    pub(super) fn pulse(&self) -> Pulse {
        let state = self.lock();
        let since = [state.working_since, state.waiting_since];
        let oldest = since.into_iter().flatten().min();
        Pulse {
            waiting: state.ops.len(),
            busy: oldest.map_or(Duration::ZERO, |since| since.elapsed()),
        }
    }

    /// How many ops wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().ops.len()
    }

    fn closed_as(&self) -> WriteError {
        self.lock().closed.clone().unwrap_or(WriteError::Stopped)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op() -> Op {
        let (answer, _) = oneshot::channel();
        Op::DeleteThrough { segment: 0, answer }
    }

    #[test]
    fn a_committer_that_does_not_come_back_is_told_from_one_that_has_nothing_to_do() {
        let inbox = Inbox::new(8);
        let busy = || inbox.pulse().busy;
        assert_eq!((inbox.pulse().waiting, busy()), (0, Duration::ZERO));
        // Nobody takes it up.
        inbox.try_push(op()).unwrap();
        crate::store::tests::until("it has waited", || busy() > Duration::from_millis(5));
        assert_eq!(inbox.pulse().waiting, 1);
        // It is being worked on, and more comes.
        assert!(matches!(inbox.gather(8, Duration::ZERO), Gathered::Ops(_)));
        inbox.try_push(op()).unwrap();
        crate::store::tests::until("the round is long", || busy() > Duration::from_millis(5));
        assert_eq!(inbox.pulse().waiting, 1);
        // The round has ended, and so has the next; while it waits for more, the committer is not busy.
        assert!(matches!(inbox.gather(8, Duration::ZERO), Gathered::Ops(_)));
        std::thread::scope(|scope| {
            scope.spawn(|| inbox.gather(8, Duration::from_secs(60)));
            crate::store::tests::until("it has nothing to do", || busy().is_zero());
            inbox.try_push(op()).unwrap();
        });
    }
}
