//! The order in which a webhook's deliveries are sent, as the scheduler's core needs it: of each page its entries'
//! keys, read from the events that they name.
//!
//! A key is a hash of a value's text, so two values may share one now and then; then their deliveries wait for each
//! other, which no promise forbids. Keys live in memory only.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use crate::model::{Order, QueueEntry, SteadyMillis, WebhookId};
use crate::render::Pointer;
use crate::store::{Error, Reader};

use super::Live;
use super::schedule::{LaneOrder, Page, Spot};

impl Live {
    /// The order of its lane.
    pub(super) fn lane_order(&self) -> LaneOrder {
        match &self.webhook.order {
            Order::None => LaneOrder::None,
            Order::Fifo => LaneOrder::Fifo,
            Order::ByKey(pointer) => LaneOrder::Keyed(hash(Some(pointer))),
        }
    }
}

/// A page of a webhook's queue, with keys where it is ordered by one. For threads that may block.
pub(super) fn page(
    reader: &Reader,
    live: Option<&Live>,
    (webhook, span): (WebhookId, (Spot, SteadyMillis)),
    limit: usize,
) -> Result<Page, Error> {
    let found = reader.page_from(webhook, span, limit)?;
    let keys = match live.and_then(|live| live.order_key.as_ref()) {
        None => Vec::new(),
        Some(pointer) => found
            .entries
            .iter()
            .map(|entry| key(reader, pointer, entry))
            .collect::<Result<_, _>>()?,
    };
    Ok(Page {
        entries: found.entries,
        next_due: found.next_due,
        order: live.map_or(LaneOrder::None, Live::lane_order),
        keys,
    })
}

/// An event without the value has the key of all of those, as has one that is damaged: that one ends when its turn
/// comes. One that cannot be read at this moment may be another's successor, so then there is no page.
fn key(reader: &Reader, pointer: &Pointer, entry: &QueueEntry) -> Result<u64, Error> {
    let event = match reader.cached_event_at(entry.event) {
        Some(event) => event,
        None => match reader.event_at(entry.event) {
            Ok(event) => event,
            Err(error) if error.is_lost() => return Ok(hash(None)),
            Err(error) => return Err(error),
        },
    };
    Ok(hash(pointer.find(&event.data)))
}

fn hash(value: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
