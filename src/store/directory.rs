//! The data directory: its lock, its format, and the refusal of what a newer version wrote.
//!
//! Invariant: a directory that is refused is left as it is, to the byte.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::journal::raw::{self, Log, Piece};
use crate::model::Position;

use super::error::io;
use super::{Error, codec};

/// What the format file of a data directory says.
pub(super) const FORMAT: &str = "hookwheel data 1\n";
/// What it says while a backup or a restore writes there: no version takes that for a store.
pub(super) const UNFINISHED: &str = "hookwheel copy, unfinished\n";

/// A look at a journal is begun anew this often while retention deletes under it.
const RACES_MAX: u32 = 100;

/// The journal's directory.
pub(super) fn journal_path(directory: &Path) -> PathBuf {
    directory.join("journal")
}

/// sled's directory.
pub(super) fn registry_path(directory: &Path) -> PathBuf {
    directory.join("registry")
}

/// The format file.
pub(super) fn format_path(directory: &Path) -> PathBuf {
    directory.join("format")
}

/// Makes the data directory usable and ours. Gives the lock.
pub(super) fn prepare(path: &Path) -> Result<File, Error> {
    format_of(path)?;
    // Without a lock file nobody has the directory open, and none is made in one that is refused.
    if !path.join("lock").exists() && journal_path(path).is_dir() {
        refuse_newer(path)?;
    }
    create(path)?;
    let lock = lock(path, true)?;
    refuse_newer(path)?;
    if format_of(path)?.is_none() {
        sync_name(path)?;
        write_format(path, FORMAT)?;
    }
    Ok(lock)
}

/// Refuses to write in a directory of another user: what is made there could not be read by its daemon.
pub(super) fn refuse_another_owner(path: &Path) -> Result<(), Error> {
    let owner = std::fs::metadata(path)
        .map_err(|error| remedied(path, error))?
        .uid();
    let own = rustix::process::geteuid().as_raw();
    if owner == own {
        return Ok(());
    }
    Err(Error::Refused {
        path: path.to_owned(),
        problem: format!("it belongs to the user {owner}, and this is {own}"),
        remedy: "run this as the daemon's user, or the daemon cannot read what is made here",
    })
}

/// Makes the directory's own name durable: with the format file it counts as begun.
fn sync_name(directory: &Path) -> Result<(), Error> {
    let parent = match directory.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => directory,
    };
    match File::open(parent).and_then(|parent| parent.sync_all()) {
        // Not ours to read: whoever made the directory there answers for its name.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            tracing::warn!(
                path = %parent.display(), %error,
                "cannot sync the directory that the data directory lies in; run `sync` once, or its name may not survive a power loss"
            );
            Ok(())
        }
        synced => synced.map_err(io("sync", parent)),
    }
}

/// Makes the directory, readable by its owner only, if it is not there.
pub(super) fn create(path: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(remedied(path, error)),
        _ => Ok(()),
    }
}

/// Takes the lock on the directory.
pub(super) fn lock(path: &Path, make: bool) -> Result<File, Error> {
    let lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(make)
        .truncate(false)
        .open(path.join("lock"))
        .map_err(|error| remedied(path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(Error::Directory {
            path: path.to_owned(),
            source,
            remedy: "use a file system that supports locks",
        }),
    }
}

fn remedied(path: &Path, source: std::io::Error) -> Error {
    let remedy = match source.kind() {
        ErrorKind::NotFound => "create its parent directory, or set another storage.path",
        ErrorKind::NotADirectory => "it is a file: move it away, or set another storage.path",
        _ => "let the daemon's user write there, or set another storage.path",
    };
    Error::Directory {
        path: path.to_owned(),
        source,
        remedy,
    }
}

/// The format that a directory says it has, where it is ours; `None` where it says nothing, as a new one.
pub(super) fn format_of(directory: &Path) -> Result<Option<()>, Error> {
    let path = format_path(directory);
    let read = std::fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match read {
        Ok(found) if found == FORMAT => Ok(Some(())),
        Ok(found) if found == UNFINISHED => Err(Error::Unfinished {
            path: directory.to_owned(),
        }),
        // Empty: a crash came between making the file and writing it, before there was any data.
        Ok(found) if found.is_empty() => Ok(None),
        Ok(found) => Err(Error::Format {
            path,
            found: found.trim().chars().take(80).collect(),
        }),
        // What is no directory, or cannot be looked into, is told by whoever makes or locks it.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(io("read", &path)(error)),
    }
}

/// Writes the format file: whole or not at all, synced.
pub(super) fn write_format(directory: &Path, text: &str) -> Result<(), Error> {
    let (path, temporary) = (format_path(directory), directory.join("format.tmp"));
    std::fs::write(&temporary, text).map_err(io("write", &temporary))?;
    sync(&temporary)?;
    std::fs::rename(&temporary, &path).map_err(io("rename to", &path))?;
    sync(directory)
}

/// Syncs a file or a directory.
pub(super) fn sync(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(io("sync", path))
}

/// Refuses a journal that a newer version has written to. That one writes records of its own into the segment
/// that it goes on with, and at the beginning of each later one; so the last segment is read through, and of
/// the others the first record. Opening would otherwise cut, set aside or leave out of an index what it
/// cannot read.
pub(super) fn refuse_newer(directory: &Path) -> Result<(), Error> {
    let journal = journal_path(directory);
    let numbers = raw::numbers(&journal)?;
    for number in &numbers {
        raw::check_index_version(&journal, *number)?;
        let Some(log) = Log::open(&journal, *number)? else {
            continue;
        };
        let check = |position: Position, payload: &[u8]| {
            codec::check_known(payload).map_err(|source| Error::Record {
                path: raw::log_path(&journal, position.segment),
                offset: position.offset,
                source,
            })
        };
        if Some(number) == numbers.last() {
            log.walk::<Error>(|piece| match piece {
                Piece::Record(position, payload) => check(position, payload),
                Piece::Damage(..) | Piece::Rest(..) => Ok(()),
            })?;
        } else if let Some(first) = log.first()? {
            let position = Position {
                segment: *number,
                offset: raw::FIRST_OFFSET,
            };
            check(position, &first)?;
        }
    }
    Ok(())
}

/// Whether a daemon, or another command that writes, holds the data directory.
///
/// # Errors
/// [`Error::Directory`] where the lock cannot be looked at.
pub fn is_held(path: &Path) -> Result<bool, Error> {
    if !path.join("lock").exists() {
        return Ok(false);
    }
    match lock(path, false) {
        Ok(_) => Ok(false),
        Err(Error::Locked { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Refuses a data directory that a newer version wrote, or that is unfinished, while a daemon may run on it.
///
/// # Errors
/// [`Error`] names the file and the remedy.
pub fn check_versions(path: &Path) -> Result<(), Error> {
    format_of(path)?;
    for _ in 0..RACES_MAX {
        match refuse_newer(path) {
            // Retention has deleted a segment under the look.
            Err(Error::Journal(crate::journal::Error::Io { source, .. }))
                if source.kind() == ErrorKind::NotFound => {}
            done => return done,
        }
    }
    refuse_newer(path)
}

/// Free space of the file system that holds `path`, for its owner, bytes.
///
/// # Errors
/// [`Error::Io`].
pub fn free_bytes(path: &Path) -> Result<u64, Error> {
    super::space::free(path)
}
