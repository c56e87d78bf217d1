//! Where many deliveries of one webhook stand, by few look-ups: what a job asks before it queues them.

use std::collections::BTreeMap;

use crate::journal::{self, Direction};
use crate::model::{DeliveryState, Position, WebhookId};

use super::super::Error;
use super::super::record::{delivery_key, position_of};
use super::{record_at, standing, standing_after, trace};

/// Index entries read at once: a page of events with one record each.
const ENTRIES_MAX: usize = 256;

/// What is known of a delivery that may not be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The event was never to be delivered to this webhook.
    Nothing,
    /// There is one, and a record of it is damaged, so where it stands is not known.
    Unclear,
    /// There is one.
    Delivery {
        /// Where it stands.
        state: DeliveryState,
        /// Attempts made.
        attempts: u32,
    },
}

/// Where the deliveries of these events stand, in their order; `events` go from the oldest to the newest.
pub(in crate::store) fn found(
    journal: &journal::Reader,
    webhook: WebhookId,
    events: &[Position],
) -> Result<Vec<Found>, Error> {
    let newest = newest(journal, webhook, events)?;
    let stands = |event: &Position| match newest.get(event) {
        Some(record) => stands(journal, webhook, *event, *record),
        None => Ok(Found::Nothing),
    };
    events.iter().map(stands).collect()
}

fn stands(
    journal: &journal::Reader,
    webhook: WebhookId,
    event: Position,
    newest: Position,
) -> Result<Found, Error> {
    if let Ok(record) = record_at(journal, newest)
        && let Some(standing) = standing_after(&record, webhook, event)
    {
        let (state, attempts) = (standing.state, standing.attempts);
        return Ok(Found::Delivery { state, attempts });
    }
    // The newest one does not tell; the older ones are looked at one by one.
    let trace = trace(journal, webhook, event)?;
    Ok(match standing(journal, webhook, event, &trace)? {
        Some(standing) if !standing.doubtful => Found::Delivery {
            state: standing.state,
            attempts: standing.attempts,
        },
        _ => Found::Unclear,
    })
}

/// The newest record of each delivery. A segment is read from the newest event down, some entries at once; where the
/// webhook has many more deliveries than these, the next read begins at the next event that is asked for.
fn newest(
    journal: &journal::Reader,
    webhook: WebhookId,
    events: &[Position],
) -> Result<BTreeMap<Position, Position>, Error> {
    let mut newest = BTreeMap::new();
    let Some(oldest) = events.first() else {
        return Ok(newest);
    };
    let low = delivery_key(webhook, *oldest);
    for segment in journal.numbers(oldest.segment, u32::MAX) {
        let mut left = events;
        while let Some(high) = left.last() {
            let high = delivery_key(webhook, *high);
            let entries =
                journal.range(segment, &low, &high, Direction::Descending, ENTRIES_MAX)?;
            for entry in &entries {
                let event = position_of(&entry.key);
                if left.binary_search(&event).is_ok() {
                    let (segment, offset) = (segment, entry.offset);
                    newest.entry(event).or_insert(Position { segment, offset });
                }
            }
            let Some(lowest) = entries.last().map(|entry| position_of(&entry.key)) else {
                break;
            };
            if entries.len() < ENTRIES_MAX {
                break;
            }
            // The first entry of an event is its newest, so `lowest` has been seen.
            let below = left.partition_point(|event| *event < lowest);
            left = left.get(..below).unwrap_or_default();
        }
    }
    Ok(newest)
}
