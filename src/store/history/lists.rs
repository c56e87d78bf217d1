//! Lists: which events an account or a webhook has, from the newest on.
//!
//! An event's own segment holds the keys of the deliveries that it was accepted with. Those that were added later stand
//! in later segments, under keys of their own, so that a list need not look for them among all that happened there.

use crate::journal::{self, Direction, Key};
use crate::model::{Position, WebhookId};

use super::super::Error;
use super::super::record::{Record, added_key, added_to_key, delivery_key, position_of};
use super::{DeliverySummary, record_at, summary, traces};

/// Index entries read at once.
const ENTRIES_MAX: usize = 256;

/// The events under keys of one subject (`key_of` gives the key at a position), newest first, that were
/// accepted before `before`.
pub(in crate::store) fn listing(
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
pub(in crate::store) fn deliveries(
    journal: &journal::Reader,
    webhook: WebhookId,
    before: Option<Position>,
    limit: usize,
) -> Result<Vec<DeliverySummary>, Error> {
    let mut events = listing(journal, |event| delivery_key(webhook, event), before, limit)?;
    events.extend(added(journal, webhook, before, limit)?);
    events.sort_unstable_by(|a, b| b.cmp(a));
    events.dedup();
    events.truncate(limit);
    let (Some(high), Some(low)) = (events.first(), events.last()) else {
        return Ok(Vec::new());
    };
    let traces = traces(journal, webhook, (*low, *high), &mut |_| true)?.unwrap_or_default();
    let mut page = Vec::with_capacity(events.len());
    for event in events {
        let trace = traces.get(&event).map_or(&[][..], Vec::as_slice);
        match summary(journal, webhook, event, trace, &|_| true) {
            Ok(summary) => page.extend(summary),
            Err(error) if error.is_lost() => {
                tracing::warn!(event = %event, webhook_id = %webhook, "event cannot be read; left out of the list");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}

/// The newest events before `before` to which a delivery to the webhook was added later, at most `limit`.
fn added(
    journal: &journal::Reader,
    webhook: WebhookId,
    before: Option<Position>,
    limit: usize,
) -> Result<Vec<Position>, Error> {
    let before = before.unwrap_or(Position::from_u64(u64::MAX));
    let oldest = journal.bounds().0;
    let low = added_key(
        webhook,
        Position {
            segment: oldest,
            offset: 0,
        },
    );
    let high = added_key(webhook, before);
    let mut found = Vec::new();
    for segment in journal.numbers(0, u32::MAX) {
        let entries = journal.range(segment, &low, &high, Direction::Descending, limit + 1)?;
        found.extend(entries.iter().map(|entry| position_of(&entry.key)));
    }
    found.retain(|event| *event < before);
    Ok(found)
}

/// The webhooks to which deliveries of an event were added later.
pub(in crate::store) fn added_to(
    journal: &journal::Reader,
    event: Position,
) -> Result<Vec<WebhookId>, Error> {
    let key = added_to_key(event);
    let mut webhooks = Vec::new();
    for segment in journal.numbers(event.segment, u32::MAX) {
        for entry in journal.range(segment, &key, &key, Direction::Ascending, usize::MAX)? {
            let at = Position {
                segment,
                offset: entry.offset,
            };
            match record_at(journal, at) {
                Ok(Record::JobStepped { queued, .. }) => webhooks.extend(
                    queued
                        .iter()
                        .filter(|one| one.added && one.event == event)
                        .map(|one| one.webhook),
                ),
                Ok(_) => {}
                Err(error) if error.is_lost() => {}
                Err(error) => return Err(error),
            }
        }
    }
    webhooks.sort_unstable();
    webhooks.dedup();
    Ok(webhooks)
}
