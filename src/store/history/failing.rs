//! How long a webhook has been failing, by the records of its attempts.
//!
//! What is looked at is the newest so many records of the webhook, whatever deliveries they are of: an old delivery
//! may have arrived later than a new one failed. The bound, a damaged record and a wall clock that was set all end the
//! look: then the failing seems to have begun later than it did, never earlier.

use std::collections::BTreeSet;

use crate::journal::{self, Direction};
use crate::model::{Attempt, FaultKind, Outcome, Position, SteadyMillis, UnixMillis, WebhookId};

use super::super::Error;
use super::super::record::{End, Moment, Record, delivery_key, position_of};
use super::record_at;

/// Index entries read at once: more than a delivery has records, but for one that was sent again that often.
const ENTRIES_MAX: usize = 2_048;
/// A wall clock that is slewed seems to go back by less than this between two records.
const SLEW_MAX_MS: u64 = 1_000;

/// When the earliest failed attempt after the latest success was recorded, among the newest `records_max` records of
/// the webhook; attempts begun before `changed_at` are left out. `None`: the latest attempt was no failure.
pub(in crate::store) fn failing_since(
    journal: &journal::Reader,
    webhook: WebhookId,
    changed_at: UnixMillis,
    records_max: usize,
) -> Result<Option<SteadyMillis>, Error> {
    let (mut since, mut left) = (None, records_max);
    let mut later: Option<UnixMillis> = None;
    for segment in journal.numbers(0, u32::MAX) {
        let Some(offsets) = newest(journal, webhook, segment, left)? else {
            return Ok(since);
        };
        left -= offsets.len();
        for offset in offsets.into_iter().rev() {
            let record = match record_at(journal, Position { segment, offset }) {
                // It may have been a success.
                Err(Error::Journal(journal::Error::Damaged(_) | journal::Error::Gone(_))) => {
                    return Ok(since);
                }
                read => read?,
            };
            let (attempt, at) = match told(&record) {
                Told::Failure(attempt, at) => (attempt, at),
                Told::Success => return Ok(since),
                Told::Nothing => continue,
            };
            // Across a step of the wall clock nothing is known of what was before the change.
            let set = later.is_some_and(|later| at.wall.0 > later.0.saturating_add(SLEW_MAX_MS));
            if set || at.wall < changed_at {
                return Ok(since);
            }
            later = Some(at.wall);
            if attempt.started_at >= changed_at {
                since = Some(at.steady);
            }
        }
        if left == 0 {
            return Ok(since);
        }
    }
    Ok(since)
}

enum Told<'a> {
    Success,
    Failure(&'a Attempt, Moment),
    Nothing,
}

/// What a record tells of the receiver. An attempt that could not be made from its event tells nothing.
fn told(record: &Record) -> Told<'_> {
    let (attempt, at) = match record {
        Record::Ended {
            end: End::Delivered,
            ..
        } => return Told::Success,
        Record::Ended { attempt, at, .. }
        | Record::Attempted { attempt, at, .. }
        | Record::Deferred { attempt, at, .. } => (attempt, *at),
        Record::Accepted { .. }
        | Record::AcceptedTraced { .. }
        | Record::Requeued { .. }
        | Record::Cancelled { .. }
        | Record::WebhookPut { .. }
        | Record::WebhookRemoved { .. }
        | Record::WebhookForgotten { .. }
        | Record::WebhookStored { .. }
        | Record::Snapshot { .. }
        | Record::Registry { .. }
        | Record::WebhookKept { .. }
        | Record::Roster { .. }
        | Record::WebhookSaved { .. }
        | Record::Webhooks { .. }
        | Record::Audited { .. }
        | Record::JobStored { .. }
        | Record::JobStepped { .. }
        | Record::JobForgotten { .. }
        | Record::Jobs { .. } => return Told::Nothing,
    };
    match attempt.outcome {
        Outcome::Fault {
            kind: FaultKind::Render,
            ..
        } => Told::Nothing,
        Outcome::Status(_) | Outcome::Fault { .. } => Told::Failure(attempt, at),
    }
}

/// Where the newest records of a webhook stand in a segment, at most `limit`, the accepted events left out. `None`: the
/// index does not tell.
fn newest(
    journal: &journal::Reader,
    webhook: WebhookId,
    segment: u32,
    limit: usize,
) -> Result<Option<BTreeSet<u32>>, Error> {
    let mut found = BTreeSet::new();
    let low = delivery_key(webhook, Position::from_u64(0));
    let mut high = delivery_key(webhook, Position::from_u64(u64::MAX));
    loop {
        let read = journal.range(segment, &low, &high, Direction::Descending, ENTRIES_MAX);
        let mut entries = match read {
            Err(journal::Error::Damaged(_)) => return Ok(None),
            read => read?,
        };
        let full = entries.len() == ENTRIES_MAX;
        let lowest = entries.last().map(|entry| entry.key);
        if let Some(lowest) = lowest.filter(|_| full) {
            // Of its records there may be more: they are read again, all at once.
            entries.retain(|entry| entry.key != lowest);
            if entries.is_empty() {
                return Ok(None);
            }
            high = lowest;
        }
        for entry in entries {
            let event = position_of(&entry.key);
            if event.segment == segment && event.offset == entry.offset {
                continue;
            }
            found.insert(entry.offset);
            if found.len() > limit {
                found.pop_first();
            }
        }
        if !full {
            return Ok(Some(found));
        }
    }
}
