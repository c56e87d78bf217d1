//! An event: what happened, as the product posted it. Stored once, whatever its fan-out.

use serde::{Deserialize, Serialize};

use super::{AccountName, EventId, TraceContext, UnixMicros, UnixMillis};

/// An event as stored. JSON parts are kept as their text, already in the form that survives
/// `JSON.stringify(JSON.parse(text))` (ECMA-262) wherever the values allow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The tenant it belongs to.
    pub account: AccountName,
    /// Its identity inside the account.
    pub id: EventId,
    /// Its type, such as `pipeline.run.completed`.
    pub event_type: String,
    /// When it happened: the client's `created_at`, or the time of arrival.
    pub created_at: UnixMicros,
    /// When it arrived here.
    pub received_at: UnixMillis,
    /// The `data` member: one JSON value as text.
    pub data: String,
    /// The `metadata` member, where one was given: one JSON object as text.
    pub metadata: Option<String>,
    /// The scope it belongs to (the profile names the field, such as `contract_id`).
    pub scope: Option<String>,
    /// Why the body cannot survive a round trip through ECMAScript numbers, where it cannot.
    pub warning: Option<String>,
    /// Where it stands in its product's distributed trace, where it came with that. It is no content: who posts an event
    /// again may do so in another trace. Records hold it beside the event.
    #[serde(skip)]
    pub trace: Option<TraceContext>,
}

impl Event {
    /// Whether `other` says the same: all that the client gave is equal. A client that gave no
    /// `created_at` cannot be told apart by it, so times are compared only where `with_time` is set.
    #[must_use]
    pub fn same_content(&self, other: &Self, with_time: bool) -> bool {
        self.event_type == other.event_type
            && self.data == other.data
            && self.metadata == other.metadata
            && self.scope == other.scope
            && (!with_time || self.created_at == other.created_at)
    }

    /// Bytes this event holds in memory, near enough for a budget.
    #[must_use]
    pub fn bytes(&self) -> usize {
        256 + self.data.len() + self.metadata.as_ref().map_or(0, String::len)
    }
}
