//! The names in the journal's directory, and making them durable.
//!
//! Invariant: after a sync of the directory has failed, none succeeds any more. The system tells each failure once,
//! and takes what it could not write for written: a later sync, by whichever thread, would answer for names that
//! are not on disk.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::disk::Disk;
use super::{Error, io};

/// The journal's directory.
#[derive(Debug)]
pub(super) struct Names {
    disk: Disk,
    directory: PathBuf,
    /// Held over a sync, so that no other one can miss its failure.
    failed: Mutex<bool>,
}

impl Names {
    pub(super) fn new(disk: &Disk, directory: &Path) -> Self {
        Self {
            disk: disk.clone(),
            directory: directory.to_owned(),
            failed: Mutex::new(false),
        }
    }

    /// Where the files are.
    pub(super) const fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes durable which names there are.
    pub(super) fn sync(&self) -> Result<(), Error> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *failed {
            let earlier = std::io::Error::other("an earlier sync of it failed");
            return Err(io("sync directory", &self.directory)(earlier));
        }
        self.disk
            .sync_dir(&self.directory)
            .inspect_err(|_| *failed = true)
            .map_err(io("sync directory", &self.directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_failed_is_not_made_good_by_another_one() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("journal");
        let names = Names::new(&Disk::Real, &directory);
        assert!(names.sync().is_err(), "it is not there");
        std::fs::create_dir(&directory).unwrap();
        let again = names.sync().unwrap_err().to_string();
        assert!(again.contains("earlier"), "{again}");
        Names::new(&Disk::Real, &directory).sync().unwrap();
    }
}
