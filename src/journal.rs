//! The journal: append-only segments of checked frames, synced group by group.
//!
//! It holds what happened, as records whose meaning it does not know: it never decodes a payload. A record's
//! index keys come with it, or from the function that the owner passes to [`Journal::open`].
//!
//! Invariants:
//! - One [`Journal`] appends; any number of [`Reader`]s read what is synced, and nothing else.
//! - [`Journal::commit`] returns only after the group is on disk, file size included. After a failed write
//!   or sync the journal is not used again: a sync that failed once is never trusted by trying it again. A full
//!   disk is no such failure: it is met before anything is written ([`Error::NoRoom`]), and the group waits.
//! - A new segment is used only after its header, and the directory that names it, are synced.
//! - What a start finds is on disk before anything builds on it: the last segment's header and its last group are
//!   written again, and they and the directory are synced. A failed sync, or an end before one, may have left them
//!   readable only.
//! - No byte is skipped in silence. The torn tail of the last segment is cut (nothing after the first bad
//!   frame was acknowledged); bad bytes with good frames after them, or that the owner knows to have been
//!   synced, are damage: they are copied to `set-aside/`, counted and reported, and reading goes on at the
//!   next good frame. A segment that is missing between others leaves an entry there too.
//! - A position names one record for ever: what was lost at the end is followed by a new segment.
//!
//! Layout, all integers big-endian:
//! ```text
//! journal/{number:010}.log   two copies of the header, then frames
//!   header: magic 8, version 4, number 4, created (steady time, ms) 8, salt 8, crc32c of these 4
//!   frame:  payload length 4, crc32c 4 of (salt, offset, length, payload), payload
//! journal/{number:010}.idx   the sorted index of a sealed segment, see `index`
//! journal/set-aside/         bytes that could not be read, named by segment and offset (0: the whole segment)
//! ```
//! The salt is random. It makes a frame inside another frame's payload (a receiver may answer with any bytes
//! it likes) worthless when reading searches for the next good frame; the offset makes a misplaced one so.

mod disk;
mod filter;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod index;
mod names;
pub mod raw;
mod reader;
mod recover;
mod room;
mod search;
mod segment;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::model::Position;

#[cfg(test)]
pub(crate) use disk::Disk;
#[cfg(test)]
pub(crate) use disk::model::{Call, Faults, Figures, ModelDisk};
pub use index::{Entry, IndexKey, KEY_BYTES, Key};
pub use reader::{Direction, Reader, SegmentInfo};
pub use recover::Recovery;
pub(crate) use room::{Reserved, reserve};
pub use writer::Journal;

/// The longest payload, bytes. An event's data is at most 4 MiB, and its metadata is inside the same limit of
/// the request's body; the rest of a record (names, headers, 10,000 webhook ids) stays well under the other half.
pub const PAYLOAD_BYTES_MAX: usize = 8 << 20;

/// The longest group, bytes: what is staged before a commit. After a crash so much of the last segment is written
/// again, so it is bounded; the store's groups are at most 16 MiB and one record.
pub const GROUP_BYTES_MAX: u32 = 32 << 20;

/// What the journal needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its directory; made if missing.
    pub path: PathBuf,
    /// A segment is sealed at this size, bytes. At most 1 GiB, so that an offset always fits 32 bits.
    pub segment_bytes_max: u64,
    /// A segment is sealed at this age, milliseconds.
    pub segment_age_max_ms: u64,
    /// For how many of the newest sealed segments a filter over the filtered keys is held in memory.
    pub filters_max: usize,
    /// What its owner knows of its end.
    pub end: KnownEnd,
}

/// What is known from elsewhere of a journal's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownEnd {
    /// Nothing, because nothing was lost that could tell: what cannot be read at the end is a torn group.
    Unknown,
    /// It was synced up to here at least: what cannot be read before is damage.
    Synced(Position),
    /// What could have told is lost: what cannot be read at the end may have been synced, and is kept as damage.
    Doubtful,
}

impl KnownEnd {
    /// Up to where it was synced at least.
    const fn synced(self) -> Option<Position> {
        match self {
            Self::Synced(position) => Some(position),
            Self::Unknown | Self::Doubtful => None,
        }
    }
}

/// Gives the index keys of the record at a position from its payload.
pub type KeysOf = fn(&[u8], Position) -> Vec<IndexKey>;

/// What can go wrong with the journal; sorted by who is at fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller: a payload over the limit.
    #[error("a record of {0} bytes is over the journal's limit of {PAYLOAD_BYTES_MAX}")]
    TooLong(usize),
    /// Nobody: the segment has been deleted by retention, or the position was never written.
    #[error("the journal does not hold position {0} (any more)")]
    Gone(Position),
    /// The operator: the disk is full. Nothing was written; what is staged can be committed later.
    #[error("there is no room on the disk for {path}")]
    NoRoom {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// The operator: written by a newer version.
    #[error(
        "{path} has format version {version}, which this version cannot read; install the version that wrote it"
    )]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The disk: the bytes at a position do not check.
    #[error("the journal is damaged at position {0}")]
    Damaged(Position),
    /// The disk: a call failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// Makes the mapper from a system's error to [`Error::Io`].
fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
