//! History: what the journal tells about deliveries and events, newest first.
//!
//! It costs sled nothing: a delivery's records are found by the segments' indexes. The latest record of a
//! delivery says where it stands.

use std::collections::BTreeMap;

use crate::journal::{self, Direction, Key};
use crate::model::{
    Attempt, DeliveryState, Event, EventId, Outcome, Position, UnixMillis, WebhookId,
};

use super::Error;
use super::codec;
use super::record::{End, Record, delivery_key, position_of};

/// Records read of one delivery, at most: a schedule has 100 retries, and each request by hand is one more.
const RECORDS_MAX: usize = 1000;
/// Index entries read at once.
const ENTRIES_MAX: usize = 256;

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
    /// Where its newest record stands: what of two deliveries was recorded later, no clock needs to tell.
    pub recorded: Position,
}

/// One delivery with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The event.
    pub event: Event,
    /// Where the delivery stands.
    pub state: DeliveryState,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
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
        Ok(Record::Accepted { event, .. }) => Some(std::sync::Arc::unwrap_or_clone(event)),
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
    let mut traces = traces(journal, webhook, event, event)?;
    Ok(traces.remove(&event).unwrap_or_default())
}

/// Where the records of a webhook's deliveries of the events from `low` to `high` stand, newest first.
fn traces(
    journal: &journal::Reader,
    webhook: WebhookId,
    low: Position,
    high: Position,
) -> Result<BTreeMap<Position, Vec<Position>>, Error> {
    let (first, last) = (delivery_key(webhook, low), delivery_key(webhook, high));
    let mut traces: BTreeMap<Position, Vec<Position>> = BTreeMap::new();
    for number in journal.numbers(low.segment, u32::MAX) {
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
    Ok(traces)
}

/// Where a delivery stands, by the newest of its records that can be read.
pub(super) fn standing(
    journal: &journal::Reader,
    event: Position,
    trace: &[Position],
) -> Result<Option<Standing>, Error> {
    let mut doubtful = false;
    for position in trace {
        let record = match record_at(journal, *position) {
            Err(Error::Journal(journal::Error::Damaged(_) | journal::Error::Gone(_))) => {
                doubtful = true;
                continue;
            }
            read => read?,
        };
        if let Some(standing) = standing_after(&record, event) {
            return Ok(Some(Standing {
                doubtful,
                ..standing
            }));
        }
    }
    Ok(None)
}

fn standing_after(record: &Record, event: Position) -> Option<Standing> {
    let (state, attempts) = match record {
        Record::Accepted { due, .. } => (DeliveryState::Pending { due: *due }, 0),
        Record::Attempted {
            attempt, next_due, ..
        } => (DeliveryState::Pending { due: *next_due }, attempt.number),
        Record::Requeued { due, attempts, .. } => (DeliveryState::Pending { due: *due }, *attempts),
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
        | Record::Snapshot { .. } => return None,
    };
    Some(Standing {
        state,
        attempts,
        doubtful: false,
    })
}

/// The attempts among a delivery's records, and where these stand, newest first, at most `limit`.
pub(super) fn attempts(
    journal: &journal::Reader,
    trace: &[Position],
    limit: usize,
) -> Result<Vec<(Position, Attempt)>, Error> {
    let mut attempts = Vec::new();
    for position in trace {
        match record_at(journal, *position) {
            Ok(Record::Attempted { attempt, .. } | Record::Ended { attempt, .. }) => {
                attempts.push((*position, attempt));
            }
            Ok(_) | Err(Error::Journal(journal::Error::Damaged(_) | journal::Error::Gone(_))) => {}
            Err(error) => return Err(error),
        }
        if attempts.len() == limit {
            break;
        }
    }
    Ok(attempts)
}

/// The events under keys of one subject (`key_of` gives the key at a position), newest first, that were
/// accepted before `before`.
pub(super) fn listing(
    journal: &journal::Reader,
    key_of: impl Fn(Position) -> Key,
    before: Option<Position>,
    limit: usize,
) -> Result<Vec<Position>, Error> {
    let Some(newest) = before
        .unwrap_or(Position::from_u64(u64::MAX))
        .to_u64()
        .checked_sub(1)
    else {
        return Ok(Vec::new());
    };
    let newest = Position::from_u64(newest);
    let mut found: Vec<Position> = Vec::new();
    for segment in journal.numbers(0, newest.segment) {
        // An event's own segment always holds its key, so the keys of other segments' events are left out.
        let low = key_of(Position { segment, offset: 0 });
        let mut high = newest.min(Position {
            segment,
            offset: u32::MAX,
        });
        while found.len() < limit {
            let entries = journal.range(
                segment,
                &low,
                &key_of(high),
                Direction::Descending,
                ENTRIES_MAX,
            )?;
            for event in entries.iter().map(|entry| position_of(&entry.key)) {
                if found.last() != Some(&event) && found.len() < limit {
                    found.push(event);
                }
            }
            match entries.last().map(|entry| position_of(&entry.key).to_u64()) {
                Some(lowest) if entries.len() == ENTRIES_MAX && lowest > 0 => {
                    high = Position::from_u64(lowest - 1);
                }
                _ => break,
            }
        }
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}

/// A page of a webhook's deliveries. Those whose event cannot be read are left out.
pub(super) fn deliveries(
    journal: &journal::Reader,
    webhook: WebhookId,
    before: Option<Position>,
    limit: usize,
) -> Result<Vec<DeliverySummary>, Error> {
    let events = listing(journal, |event| delivery_key(webhook, event), before, limit)?;
    let (Some(high), Some(low)) = (events.first(), events.last()) else {
        return Ok(Vec::new());
    };
    let traces = traces(journal, webhook, *low, *high)?;
    let mut page = Vec::with_capacity(events.len());
    for event in events {
        let trace = traces.get(&event).map_or(&[][..], Vec::as_slice);
        match summary(journal, event, trace) {
            Ok(summary) => page.extend(summary),
            Err(Error::Journal(journal::Error::Damaged(_) | journal::Error::Gone(_))) => {
                tracing::warn!(event = %event, webhook_id = %webhook, "event cannot be read; left out of the list");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}

fn summary(
    journal: &journal::Reader,
    position: Position,
    trace: &[Position],
) -> Result<Option<DeliverySummary>, Error> {
    let (event, _) = event_at(journal, position)?;
    let Some(standing) = standing(journal, position, trace)? else {
        return Ok(None);
    };
    let last_attempt = attempts(journal, trace, 1)?
        .pop()
        .map(|(_, attempt)| LastAttempt {
            at: attempt.started_at,
            duration_us: attempt.phases.total_us,
            outcome: attempt.outcome,
        });
    Ok(Some(DeliverySummary {
        event: position,
        event_id: event.id,
        event_type: event.event_type,
        created_at: event.created_at,
        state: standing.state,
        attempts: standing.attempts,
        last_attempt,
        recorded: trace.first().copied().unwrap_or(position),
    }))
}

/// One delivery with all its attempts.
pub(super) fn delivery(
    journal: &journal::Reader,
    webhook: WebhookId,
    event: Position,
) -> Result<Option<Delivery>, Error> {
    let trace = trace(journal, webhook, event)?;
    let Some(standing) = standing(journal, event, &trace)? else {
        return Ok(None);
    };
    let (body, _) = event_at(journal, event)?;
    let mut attempts = attempts(journal, &trace, RECORDS_MAX)?;
    attempts.reverse();
    let (recorded, attempts) = attempts.into_iter().unzip();
    Ok(Some(Delivery {
        event: body,
        state: standing.state,
        attempts,
        recorded,
    }))
}
