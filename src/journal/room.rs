//! Room on disk before it is needed: blocks are asked for ahead of the writes that fill them.
//!
//! A write into blocks that are there already does not fail for want of space, whoever fills the disk meanwhile.
//! So a full disk is met here, before anything is written, and costs nothing that was synced.
//!
//! Invariant: the file's size is never changed, so what recovery reads ends where it did.

use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::disk::File;
use super::{Error, io};

/// Room is made in steps of this, or of a segment where that is smaller: one call in some megabytes.
const STEP_MAX: u64 = 4 << 20;

/// How far a file's blocks reach.
#[derive(Debug)]
pub(super) struct Room {
    step: u64,
    until: u64,
}

impl Room {
    /// Of a file whose blocks reach to `end`, as far as is known.
    pub(super) fn from(end: u64, segment_bytes_max: u64) -> Self {
        Self {
            step: STEP_MAX.min(segment_bytes_max),
            until: end,
        }
    }

    /// Makes sure that the blocks reach to `end`; says whether they do.
    ///
    /// # Errors
    /// [`Error::Io`] for anything but a full disk. A file system that cannot make room ahead is taken to have it:
    /// then the write itself meets the full disk.
    pub(super) fn reach(&mut self, end: u64, file: &File, path: &Path) -> Result<bool, Error> {
        if end <= self.until {
            return Ok(true);
        }
        for goal in [end.saturating_add(self.step), end] {
            match file.reserve(self.until, goal - self.until) {
                Ok(Reserved::There) => {
                    self.until = goal;
                    return Ok(true);
                }
                Ok(Reserved::Unsupported) => {
                    self.until = u64::MAX;
                    return Ok(true);
                }
                Ok(Reserved::NoRoom) => {}
                Err(error) => return Err(io("make room in", path)(error)),
            }
        }
        Ok(false)
    }
}

/// What became of a request for blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserved {
    /// They are there.
    There,
    /// The disk, or the user's share of it, is full.
    NoRoom,
    /// The file system cannot, or the process may not.
    Unsupported,
}

/// Asks for blocks of a file.
pub(crate) fn reserve(
    file: &std::fs::File,
    flags: FallocateFlags,
    from: u64,
    bytes: u64,
) -> std::io::Result<Reserved> {
    loop {
        return match fallocate(file, flags, from, bytes) {
            Ok(()) => Ok(Reserved::There),
            Err(Errno::INTR) => continue,
            Err(Errno::NOSPC | Errno::DQUOT) => Ok(Reserved::NoRoom),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::INVAL) => {
                Ok(Reserved::Unsupported)
            }
            Err(errno) => Err(errno.into()),
        };
    }
}

/// Whether a call failed because the disk, or the user's share of it, is full.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    let full = [Errno::NOSPC, Errno::DQUOT].map(|errno| Some(errno.raw_os_error()));
    full.contains(&error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::super::disk::Disk;
    use super::*;

    #[test]
    fn room_is_made_in_steps_and_the_size_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = Disk::Real.create(&path).unwrap();
        let mut room = Room::from(0, 1 << 20);
        assert!(room.reach(10, &file, &path).unwrap());
        assert_eq!(file.len().unwrap(), 0);
        if room.until == u64::MAX {
            return;
        }
        assert_eq!(room.until, 10 + (1 << 20));
        assert!(room.reach(room.until, &file, &path).unwrap());
        assert_eq!(room.until, 10 + (1 << 20), "it was there already");
    }

    #[test]
    fn a_full_disk_is_told_from_other_faults() {
        assert!(is_full(&Errno::NOSPC.into()));
        assert!(is_full(&Errno::DQUOT.into()));
        assert!(!is_full(&Errno::IO.into()));
        assert!(!is_full(&std::io::Error::other("else")));
    }
}
