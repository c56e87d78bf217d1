//! History: what the journal tells about deliveries and events, newest first.
//!
//! It costs sled nothing: a delivery's records are found by the segments' indexes. The latest record of a
//! delivery says where it stands.

mod audit;
mod failing;
mod lists;
mod standings;
mod stretches;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::journal::{self, Direction};
use crate::model::{
    Attempt, DeliveryState, Event, EventId, Outcome, Position, SteadyMillis, Trigger, UnixMillis,
    WebhookId,
};

use super::Error;
use super::codec;
use super::record::{End, Record, delivery_key, position_of};

pub(super) use audit::audit;
pub use audit::{AuditPage, Audited};
pub(super) use failing::failing_since;
pub(super) use lists::{added_to, deliveries, listing};
pub use standings::Found;
pub(super) use standings::found;
pub use stretches::{EventAt, GoOn, Stretch};
pub(super) use stretches::{deliveries_from, events_from};

/// Records read of one delivery, at most: a schedule has 100 retries, and each request by hand is one more.
const RECORDS_MAX: usize = 1000;

/// The last attempt of a delivery, for a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAttempt {
    /// When its request began.
    pub at: UnixMillis,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took, microseconds.
    pub duration_us: u32,
}

/// One delivery in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverySummary {
    /// The event's position, which is also the list's cursor.
    pub event: Position,
    /// The event's id.
    pub event_id: EventId,
    /// The event's type.
    pub event_type: String,
    /// The event's time.
    pub created_at: crate::model::UnixMicros,
    /// Where the delivery stands.
    pub state: DeliveryState,
    /// Attempts made.
    pub attempts: u32,
    /// The last one.
    pub last_attempt: Option<LastAttempt>,
    /// Whether a newer record of it is damaged, so that it may stand elsewhere.
    pub doubtful: bool,
    /// Where its newest record stands: what of two deliveries was recorded later, no clock needs to tell.
    pub recorded: Position,
}

/// Which attempts of a delivery are asked for: those before one, the newest of them first, as far as the bounds reach.
#[derive(Clone, Copy, Debug)]
pub struct AttemptsAsked {
    /// Before the attempt that is recorded here; `None`: from the newest on.
    pub before: Option<Position>,
    /// So many at most.
    pub limit: usize,
    /// Of so many bytes in all, though one at least.
    pub bytes_max: usize,
}

/// An attempt without what was sent and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Where it is recorded.
    pub recorded: Position,
    /// What made it.
    pub trigger: Trigger,
    /// When it began.
    pub started_at: UnixMillis,
}

/// One delivery with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The event.
    pub event: Event,
    /// Where the delivery stands.
    pub state: DeliveryState,
    /// How many attempts were made.
    pub attempts_made: u32,
    /// Its attempts as asked for, oldest first.
    pub attempts: Vec<Attempt>,
    /// Whether there are attempts before the first of these.
    pub has_earlier: bool,
    /// Where the record of each attempt stands.
    pub recorded: Vec<Position>,
}

/// Where a delivery stands by its latest record.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) state: DeliveryState,
    pub(super) attempts: u32,
    /// Whether a newer record of it cannot be read, so that this may be out of date.
    pub(super) doubtful: bool,
}

/// Reads records.
pub(super) fn record_at(journal: &journal::Reader, position: Position) -> Result<Record, Error> {
    Ok(codec::decode_record(&journal.read(position)?)?)
}

/// The event accepted at `position`, if it can be read without waiting for a disk.
pub(super) fn cached_event_at(journal: &journal::Reader, position: Position) -> Option<Event> {
    match codec::decode_record(&journal.read_cached(position)?) {
        Ok(Record::Accepted { event, .. } | Record::AcceptedTraced { event, .. }) => {
            Some(std::sync::Arc::unwrap_or_clone(event))
        }
        _ => None,
    }
}

/// The event accepted at `position`, and who gets it.
pub(super) fn event_at(
    journal: &journal::Reader,
    position: Position,
) -> Result<(Event, Vec<WebhookId>), Error> {
    match record_at(journal, position)? {
        Record::Accepted {
            event, webhooks, ..
        }
        | Record::AcceptedTraced {
            event, webhooks, ..
        } => Ok((std::sync::Arc::unwrap_or_clone(event), webhooks)),
        _ => Err(journal::Error::Gone(position).into()),
    }
}

/// Where the records of a delivery stand, newest first. Empty: there is no such delivery.
pub(super) fn trace(
    journal: &journal::Reader,
    webhook: WebhookId,
    event: Position,
) -> Result<Vec<Position>, Error> {
    let traces = traces(journal, webhook, (event, event), &mut |_| true)?;
    let mut traces = traces.unwrap_or_default();
    Ok(traces.remove(&event).unwrap_or_default())
}

/// Where the records of a webhook's deliveries of the events from `low` to `high` stand, newest first. `None`: the look
/// was given up.
fn traces(
    journal: &journal::Reader,
    webhook: WebhookId,
    (low, high): (Position, Position),
    go_on: &mut GoOn<'_>,
) -> Result<Option<BTreeMap<Position, Vec<Position>>>, Error> {
    let (first, last) = (delivery_key(webhook, low), delivery_key(webhook, high));
    let mut traces: BTreeMap<Position, Vec<Position>> = BTreeMap::new();
    for number in journal.numbers(low.segment, u32::MAX) {
        if !go_on(0) {
            return Ok(None);
        }
        let entries = journal.range(number, &first, &last, Direction::Descending, usize::MAX)?;
        for entry in entries {
            let trace = traces.entry(position_of(&entry.key)).or_default();
            if trace.len() < RECORDS_MAX {
                trace.push(Position {
                    segment: number,
                    offset: entry.offset,
                });
            }
        }
    }
    Ok(Some(traces))
}

/// Where a delivery stands, by the newest of its records that can be read.
pub(super) fn standing(
    journal: &journal::Reader,
    webhook: WebhookId,
    event: Position,
    trace: &[Position],
) -> Result<Option<Standing>, Error> {
    let mut doubtful = false;
    for position in trace {
        let record = match record_at(journal, *position) {
            Err(error) if error.is_lost() => {
                doubtful = true;
                continue;
            }
            read => read?,
        };
        if let Some(standing) = standing_after(&record, webhook, event) {
            return Ok(Some(Standing {
                doubtful,
                ..standing
            }));
        }
    }
    Ok(None)
}

const fn waiting(due: SteadyMillis) -> DeliveryState {
    DeliveryState::Pending {
        due,
        not_before: SteadyMillis(0),
    }
}

fn standing_after(record: &Record, webhook: WebhookId, event: Position) -> Option<Standing> {
    let (state, attempts) = match record {
        Record::Accepted { due, .. } | Record::AcceptedTraced { due, .. } => (waiting(*due), 0),
        Record::Attempted {
            attempt, next_due, ..
        } => (waiting(*next_due), attempt.number),
        Record::Deferred {
            attempt,
            due,
            not_before,
            ..
        } => {
            let (due, not_before) = (*due, *not_before);
            (DeliveryState::Pending { due, not_before }, attempt.number)
        }
        Record::Requeued { due, attempts, .. } => (waiting(*due), *attempts),
        Record::JobStepped { queued, due, .. } => {
            let one = queued
                .iter()
                .find(|one| one.event == event && one.webhook == webhook)?;
            (waiting(*due), one.attempts)
        }
        Record::Ended {
            attempt, end, at, ..
        } => {
            let state = match end {
                End::Delivered => DeliveryState::Delivered { at: at.wall },
                End::Failed(reason) => DeliveryState::Ended {
                    reason: *reason,
                    at: at.wall,
                },
            };
            (state, attempt.number)
        }
        Record::Cancelled {
            entries,
            reason,
            at,
            ..
        } => {
            let entry = entries.iter().find(|entry| entry.event == event)?;
            (
                DeliveryState::Ended {
                    reason: *reason,
                    at: at.wall,
                },
                entry.attempts,
            )
        }
        Record::WebhookPut { .. }
        | Record::WebhookRemoved { .. }
        | Record::WebhookForgotten { .. }
        | Record::Snapshot { .. }
        | Record::WebhookStored { .. }
        | Record::Registry { .. }
        | Record::WebhookKept { .. }
        | Record::Roster { .. }
        | Record::WebhookSaved { .. }
        | Record::Webhooks { .. }
        | Record::Audited { .. }
        | Record::JobStored { .. }
        | Record::JobForgotten { .. }
        | Record::Jobs { .. } => return None,
    };
    Some(Standing {
        state,
        attempts,
        doubtful: false,
    })
}

/// Goes through the attempts among a delivery's records, newest first, until `look` has seen enough.
fn each_attempt(
    journal: &journal::Reader,
    trace: &[Position],
    mut look: impl FnMut(Position, Attempt) -> ControlFlow<()>,
) -> Result<(), Error> {
    for position in trace {
        match record_at(journal, *position) {
            Ok(
                Record::Attempted { attempt, .. }
                | Record::Deferred { attempt, .. }
                | Record::Ended { attempt, .. },
            ) => {
                if look(*position, attempt).is_break() {
                    break;
                }
            }
            Ok(_) => {}
            Err(error) if error.is_lost() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The attempts that are asked for, and where they are recorded, newest first; and whether there are earlier ones.
fn attempts(
    journal: &journal::Reader,
    trace: &[Position],
    asked: AttemptsAsked,
) -> Result<(Vec<(Position, Attempt)>, bool), Error> {
    let (mut attempts, mut bytes, mut has_earlier) = (Vec::new(), 0, false);
    let is_asked = |position: &&Position| asked.before.is_none_or(|before| **position < before);
    let trace: Vec<Position> = trace.iter().filter(is_asked).copied().collect();
    each_attempt(journal, &trace, |position, attempt| {
        bytes += attempt.bytes();
        let is_full = attempts.len() >= asked.limit || bytes > asked.bytes_max;
        if is_full && !attempts.is_empty() {
            has_earlier = true;
            return ControlFlow::Break(());
        }
        attempts.push((position, attempt));
        ControlFlow::Continue(())
    })?;
    Ok((attempts, has_earlier))
}

/// The attempts of a delivery without what was sent and answered, oldest first. Empty: there is none.
pub(super) fn tries(
    journal: &journal::Reader,
    webhook: WebhookId,
    event: Position,
) -> Result<Vec<Tried>, Error> {
    let mut tries = Vec::new();
    let trace = trace(journal, webhook, event)?;
    each_attempt(journal, &trace, |recorded, attempt| {
        tries.push(Tried {
            recorded,
            trigger: attempt.trigger,
            started_at: attempt.started_at,
        });
        ControlFlow::Continue(())
    })?;
    tries.reverse();
    Ok(tries)
}

/// The newest attempt among a delivery's records.
pub(super) fn last_attempt(
    journal: &journal::Reader,
    trace: &[Position],
) -> Result<Option<LastAttempt>, Error> {
    let mut newest = None;
    each_attempt(journal, trace, |_, attempt| {
        newest = Some(LastAttempt {
            at: attempt.started_at,
            duration_us: attempt.phases.total_us,
            outcome: attempt.outcome,
        });
        ControlFlow::Break(())
    })?;
    Ok(newest)
}

/// One delivery for a list, if its event is `wanted`. It is lost where none of its records tells where it stands.
fn summary(
    journal: &journal::Reader,
    webhook: WebhookId,
    position: Position,
    trace: &[Position],
    wanted: &impl Fn(&Event) -> bool,
) -> Result<Option<DeliverySummary>, Error> {
    let (event, _) = event_at(journal, position)?;
    if !wanted(&event) {
        return Ok(None);
    }
    let Some(standing) = standing(journal, webhook, position, trace)? else {
        return Err(journal::Error::Damaged(position).into());
    };
    let last_attempt = last_attempt(journal, trace)?;
    Ok(Some(DeliverySummary {
        event: position,
        event_id: event.id,
        event_type: event.event_type,
        created_at: event.created_at,
        state: standing.state,
        attempts: standing.attempts,
        last_attempt,
        doubtful: standing.doubtful,
        recorded: trace.first().copied().unwrap_or(position),
    }))
}

/// One delivery with the attempts that are asked for.
pub(super) fn delivery(
    journal: &journal::Reader,
    webhook: WebhookId,
    event: Position,
    asked: AttemptsAsked,
) -> Result<Option<Delivery>, Error> {
    let trace = trace(journal, webhook, event)?;
    let Some(standing) = standing(journal, webhook, event, &trace)? else {
        return Ok(None);
    };
    let (body, _) = event_at(journal, event)?;
    let (mut attempts, has_earlier) = attempts(journal, &trace, asked)?;
    attempts.reverse();
    let (recorded, attempts) = attempts.into_iter().unzip();
    Ok(Some(Delivery {
        event: body,
        state: standing.state,
        attempts_made: standing.attempts,
        attempts,
        has_earlier,
        recorded,
    }))
}
