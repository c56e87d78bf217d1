//! Making sled's writes real: a filter on `sync_file_range`, and syncs of its files where that is not enough.
//!
//! sled's flush on Linux is `sync_file_range`, which leaves file metadata and the drive's cache alone: after a
//! power loss, rows that sled called flushed were gone in 48 of 60 trials. When the call answers ENOSYS sled
//! falls back to fsync (0 of 560). So the process takes the call away from itself, before any thread starts.
//!
//! Whether the filter works cannot be tried here, as the call is reachable only through `unsafe`; what is
//! checked is that the kernel took it, and that every thread runs under a filter. `strace -f -e trace=
//! sync_file_range,fsync` shows the rest.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter_all_threads};

use super::Error;
use super::error::io;

/// Set once [`durable_sled`] has installed and checked the filter. It holds for the process's whole life.
static FILTERED: AtomicBool = AtomicBool::new(false);

#[cfg(target_arch = "x86_64")]
const SYNC_FILE_RANGE: i64 = 277;
#[cfg(target_arch = "aarch64")]
const SYNC_FILE_RANGE: i64 = 84;

/// Why the filter could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The architecture is not one we know the call's number for, or the kernel refused.
    #[error("no seccomp filter: {0}")]
    Refused(String),
    /// The kernel took it, but a thread runs without one.
    #[error("a thread runs without the seccomp filter")]
    NotEverywhere,
}

/// Takes `sync_file_range` away from the process, so that sled syncs with fsync. Call it once, at the start of
/// main. Where it fails, the store syncs sled's file itself after each flush.
///
/// # Errors
/// [`FilterError`]; the daemon can go on.
pub fn durable_sled() -> Result<(), FilterError> {
    let refused = |error: String| FilterError::Refused(error);
    let arch = std::env::consts::ARCH
        .try_into()
        .map_err(|_| refused("architecture".to_owned()))?;
    let errno = rustix::io::Errno::NOSYS.raw_os_error();
    let filter = SeccompFilter::new(
        [(SYNC_FILE_RANGE, Vec::new())].into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        arch,
    );
    let program: BpfProgram = filter
        .and_then(TryInto::try_into)
        .map_err(|error| refused(error.to_string()))?;
    apply_filter_all_threads(&program).map_err(|error| refused(error.to_string()))?;
    if !all_threads_filtered() {
        return Err(FilterError::NotEverywhere);
    }
    FILTERED.store(true, Ordering::Release);
    Ok(())
}

/// Whether [`durable_sled`] has done its work.
#[must_use]
pub fn sled_is_durable() -> bool {
    FILTERED.load(Ordering::Acquire)
}

/// Whether each thread of the process runs under a seccomp filter, as the kernel tells.
fn all_threads_filtered() -> bool {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return false;
    };
    let mut seen = 0;
    for task in tasks.flatten() {
        // A thread may end between the listing and the look.
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else {
            continue;
        };
        if !status
            .lines()
            .any(|line| line.split_whitespace().eq(["Seccomp:", "2"]))
        {
            return false;
        }
        seen += 1;
    }
    seen > 0
}

/// sled's directory.
#[derive(Clone)]
pub(super) struct SledFiles {
    path: PathBuf,
    /// A model's flush is durable, unless it is to be taken for one that is not.
    #[cfg(test)]
    model: Option<bool>,
}

impl SledFiles {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            #[cfg(test)]
            model: None,
        }
    }

    /// No files: the table is a model.
    #[cfg(test)]
    pub(super) fn of_a_model(needs_own_sync: bool) -> Self {
        Self {
            path: PathBuf::new(),
            model: Some(needs_own_sync),
        }
    }

    /// Whether sled's own syncs cannot be relied upon.
    pub(super) fn needs_own_sync(&self) -> bool {
        #[cfg(test)]
        if let Some(needs) = self.model {
            return needs;
        }
        !sled_is_durable()
    }

    /// Deletes snapshots that a kill during open left unfinished: sled would read them as finished ones.
    pub(super) fn delete_unfinished(&self) -> Result<(), Error> {
        for path in self.list()? {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if name.starts_with("snap.") && name.ends_with(".generating") {
                std::fs::remove_file(&path).map_err(io("delete", &path))?;
            }
        }
        Ok(())
    }

    /// Syncs every file, the directory and its parent: sled never syncs its `conf`.
    pub(super) fn sync_all(&self) -> Result<(), Error> {
        for path in self.list()? {
            if path.is_file() {
                sync(&path)?;
            }
        }
        sync(&self.path)?;
        self.path.parent().map_or(Ok(()), sync)
    }

    /// Free bytes on the disk of `path`.
    pub(super) fn free_bytes(&self, path: &Path) -> Result<u64, Error> {
        #[cfg(test)]
        if self.model.is_some() {
            return Ok(u64::MAX);
        }
        super::space::free(path)
    }

    /// Whether there is room on the disk for what a flush of so many keys writes. sled must not meet a full disk.
    pub(super) fn make_room(&self, keys: usize) -> Result<bool, Error> {
        #[cfg(test)]
        if self.model.is_some() {
            return Ok(true);
        }
        super::space::for_flush(&self.path.join("db"), keys)
    }

    /// Syncs the file that holds the data.
    pub(super) fn sync_data(&self) -> Result<(), Error> {
        #[cfg(test)]
        if self.model.is_some() {
            return Ok(());
        }
        let path = self.path.join("db");
        File::open(&path)
            .and_then(|file| file.sync_data())
            .map_err(io("sync", &path))
    }

    fn list(&self) -> Result<Vec<PathBuf>, Error> {
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.map_err(io("list", &self.path))?,
        };
        entries
            .map(|entry| {
                entry
                    .map(|entry| entry.path())
                    .map_err(io("list", &self.path))
            })
            .collect()
    }
}

fn sync(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(io("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_snapshots_are_deleted_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "db",
            "conf",
            "snap.0000000000000A1F",
            "snap.0000000000000A20.generating",
        ] {
            std::fs::write(directory.path().join(name), b"x").unwrap();
        }
        let files = SledFiles::new(directory.path());
        files.delete_unfinished().unwrap();
        files.sync_all().unwrap();
        files.sync_data().unwrap();
        let left = files.list().unwrap();
        assert_eq!(left.len(), 3);
        assert!(
            left.iter()
                .all(|path| path.extension().is_none_or(|e| e != "generating"))
        );
        SledFiles::new(Path::new("/nonexistent/registry"))
            .delete_unfinished()
            .unwrap();
    }
}
