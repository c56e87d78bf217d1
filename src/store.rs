//! The store: all of sled and bincode. Events, the queue, the registry, and history, durable.
//!
//! The journal holds what happened and is the truth; sled holds what is live, so that a start reads little.
//! Everything is written by one committer ([`Writer`] asks it) and read by anyone ([`Reader`]).
//!
//! Invariants:
//! - What is answered is on disk, synced. What is not synced is seen by nobody.
//! - A delivery is pending if and only if exactly one queue key names it. Each transition is one record, checked
//!   where nobody else writes; if the old key is gone it is stale and nothing is written.
//! - sled plus the overlay in memory is always the journal up to a position. `apply`, a pure function, makes
//!   the changes from a record, now and at recovery. sled's own batch moves `applied` with them, so a crash
//!   leaves sled at an earlier position, and never in between.
//! - An event's identity in here is the [`Position`](crate::model::Position) of its record.
//! - Steady time never goes back over a restart: each record carries it, and so does `applied`.
//! - Client ids are remembered for the newest 32 sealed segments and the one being written ([`IDS_SEGMENTS_MAX`]);
//!   they are found by the segments' indexes and filters, and cost sled nothing.
//! - A removed webhook stays as a tombstone until the committer has cancelled all its pending deliveries,
//!   some at a time, across restarts.
//! - Any failure of an append, a sync or an apply is final: nothing is acknowledged any more (`fatal`).
//! - A full disk is no failure: it is met before anything is written. Then nothing new is taken, outcomes wait,
//!   and all goes on when there is room (`space`).

mod apply;
mod backup;
mod codec;
mod committer;
mod copy;
mod directory;
mod durable;
mod earlier;
mod error;
mod flusher;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod group;
mod history;
mod image;
mod inbox;
mod keys;
mod live;
mod open;
mod reader;
mod record;
mod recover;
mod repair;
mod restore;
mod space;
mod survey;
mod suspect;
mod table;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::path::PathBuf;

pub use crate::journal::SegmentInfo;
pub use backup::{Backup, BackupOrder, backup};
pub use codec::CodecError;
pub use copy::Listed;
pub use directory::{check_versions, free_bytes, is_held};
pub use durable::{FilterError, durable_sled, sled_is_durable};
pub use error::{Error, WriteError};
pub use history::{
    AttemptsAsked, AuditPage, Audited, Delivery, DeliverySummary, EventAt, Found, GoOn,
    LastAttempt, Stretch, Tried,
};
pub use image::Difference;
pub use open::{Handle, Opened, Report, open};
pub use reader::{Backlog, DeliveryStanding, Page, PendingOf, QueueCursor, Reader, SegmentBacklog};
pub use repair::{Findings, RegistryFound, Repair};
pub use restore::{RestoreOrder, Restored, restore};
pub use space::Space;
pub use survey::{Damage, IndexFault, Survey, registered};
pub use writer::{
    Accepted, CANCEL_MAX, FAN_OUT_MAX, Finish, JobPick, JobStep, NewEvent, Pulse, Requeued, Writer,
    Written,
};

/// For how many of the newest sealed segments client ids are remembered. With segments of 64 MiB that is 2 GiB
/// of events, or a month where a segment is sealed each day; the filters take about 2 MB of memory.
pub const IDS_SEGMENTS_MAX: usize = 32;

/// What the store needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The data directory.
    pub path: PathBuf,
    /// A segment is sealed at this size, bytes.
    pub segment_bytes_max: u64,
    /// A segment is sealed at this age, milliseconds.
    pub segment_age_max_ms: u64,
    /// sled's page cache, bytes. sled's memory is about five times as much when a large backlog comes in
    /// (measured: 4 MiB gave 95 MB at a million waiting deliveries, 32 MiB gave 210 MB).
    pub cache_bytes: u64,
    /// Transitions that may wait for the committer; beyond that intake answers 503.
    pub commit_queue_max: usize,
    /// Delete history older than this, milliseconds.
    pub retention_age_ms: u64,
    /// Delete the oldest history when the journal is over this size, bytes.
    pub retention_bytes: u64,
    /// Below this free disk space intake answers 507, bytes.
    pub disk_reserve_bytes: u64,
}
