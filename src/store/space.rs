//! What the disk has room for, and room kept for the time when there is none.
//!
//! sled takes a failed write for its end, so it must never meet a full disk: it is given a batch only when its
//! file has blocks for it beyond its end ([`SledFiles::make_room`](super::durable::SledFiles::make_room)). When
//! it opens it writes small files of its own; for these a ballast lies beside it, which is given up before sled
//! opens on a disk that is nearly full, and what is left of it is taken back at once.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use crate::journal::{Reserved, reserve};

use super::Error;
use super::error::io;

/// The ballast: more than sled's snapshot of a million waiting deliveries.
const BALLAST_BYTES: u64 = 8 << 20;
/// On a full disk less than this is not worth keeping.
const BALLAST_LEAST: u64 = 1 << 20;
/// Blocks beyond the end of sled's file that a flush may need: a batch of the overlay and what sled moves for it.
const FLUSH_BYTES: u64 = 16 << 20;
/// … and for each key of the batch: 131,072 took 25 MB beside 400,000 others (measured).
const FLUSH_KEY_BYTES: u64 = 400;
/// With less free than this a start gives up the ballast.
const START_BYTES: u64 = 16 << 20;

/// What the disk has room for, as the committer found last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Space {
    /// All.
    #[default]
    Enough,
    /// Deliveries, but no new events: less is free than the reserve.
    Low,
    /// Nothing: the journal cannot grow. Deliveries pause, and what has ended waits to be recorded.
    Full,
}

impl Space {
    /// What an operator is told; `None` where there is enough.
    #[must_use]
    pub const fn complaint(self) -> Option<&'static str> {
        match self {
            Self::Enough => None,
            Self::Low => Some(
                "disk space is low: new events are refused, deliveries go on; make room on the disk of storage.path",
            ),
            Self::Full => Some(
                "the disk is full: new events are refused and deliveries pause; make room on the disk of storage.path",
            ),
        }
    }
}

/// Free bytes on the disk of `path`.
pub(super) fn free(path: &Path) -> Result<u64, Error> {
    let space =
        rustix::fs::statvfs(path).map_err(|errno| io("ask free space of", path)(errno.into()))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Whether sled's file at `path` has blocks for a flush beyond its end. A file system that cannot make room ahead is
/// taken to have it.
pub(super) fn for_flush(path: &Path, keys: usize) -> Result<bool, Error> {
    let file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        // sled makes it with its first batch; there is nothing yet that could be lost.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(io("open", path)(error)),
    };
    let length = file.metadata().map_err(io("read", path))?.len();
    let bytes = FLUSH_BYTES + FLUSH_KEY_BYTES * keys as u64;
    let reserved = reserve(&file, FallocateFlags::KEEP_SIZE, length, bytes);
    reserved
        .map(|reserved| reserved != Reserved::NoRoom)
        .map_err(io("make room in", path))
}

/// The room that is kept for a start on a full disk.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    pub(super) fn of(directory: &Path) -> Self {
        let path = directory.join("ballast");
        let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Self { path, bytes }
    }

    /// None, and none is needed.
    #[cfg(test)]
    pub(super) fn of_a_model() -> Self {
        Self {
            path: PathBuf::new(),
            bytes: BALLAST_BYTES,
        }
    }

    /// Gives it up where the disk is nearly full.
    pub(super) fn release(&mut self, directory: &Path) -> Result<(), Error> {
        if self.bytes > 0 && free(directory)? < START_BYTES {
            tracing::warn!("disk space is low: the ballast is given up for this start");
            std::fs::remove_file(&self.path).map_err(io("delete", &self.path))?;
            self.bytes = 0;
        }
        Ok(())
    }

    /// Makes it again once there is as much to spare.
    pub(super) fn restore(&mut self, spare_bytes: u64) {
        if self.bytes < BALLAST_BYTES && spare_bytes >= BALLAST_BYTES {
            self.take(BALLAST_BYTES);
        }
    }

    /// Takes back what a start has left of it, so that the next one has it too.
    pub(super) fn take_back(&mut self) {
        let mut bytes = BALLAST_BYTES;
        while self.bytes == 0 && bytes >= BALLAST_LEAST {
            self.take(bytes);
            bytes /= 2;
        }
    }

    /// Without it the daemon runs all the same.
    fn take(&mut self, bytes: u64) {
        let mut options = OpenOptions::new();
        let opened = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path);
        match opened.and_then(|file| reserve(&file, FallocateFlags::empty(), 0, bytes)) {
            Ok(Reserved::There) => self.bytes = bytes,
            Ok(Reserved::NoRoom | Reserved::Unsupported) => {}
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the ballast could not be made");
            }
        }
    }
}

/// Whether the disk has too little room for a start to blame anything else for its failure.
pub(super) fn is_short(directory: &Path) -> bool {
    free(directory).is_ok_and(|free| free < START_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ballast_is_made_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut ballast = Ballast::of(directory.path());
        ballast.restore(BALLAST_BYTES - 1);
        assert_eq!(Ballast::of(directory.path()).bytes, 0);
        ballast.restore(BALLAST_BYTES);
        assert_eq!(Ballast::of(directory.path()).bytes, BALLAST_BYTES);
        // There is enough: it stays.
        ballast.release(directory.path()).unwrap();
        assert_eq!(ballast.bytes, BALLAST_BYTES);
        std::fs::remove_file(&ballast.path).unwrap();
        let mut ballast = Ballast::of(directory.path());
        ballast.take_back();
        assert_eq!(Ballast::of(directory.path()).bytes, BALLAST_BYTES);
    }

    #[test]
    fn room_for_a_flush_leaves_the_size_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        assert!(for_flush(&path, 10).unwrap());
        std::fs::write(&path, b"sled").unwrap();
        assert!(for_flush(&path, 10).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 4);
    }
}
