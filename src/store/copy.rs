//! What backup and restore share: segments copied piece by piece and synced, a directory that is no store before it
//! is whole, and the list of what a backup holds.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::journal::raw;
use crate::model::{Position, UnixMillis};

use super::Error;
use super::directory::{free_bytes, journal_path, sync};
use super::error::io;
use super::survey::Survey;

/// How much is read and written at once.
const CHUNK: usize = 1 << 20;
/// What is written is synced this often, so that a sync of the daemon's never waits behind more of it.
const SYNC_EVERY: u64 = 16 << 20;
/// A file that becomes shorter while it is copied is copied anew this often.
const CUTS_MAX: u32 = 3;
/// The list of a backup's content.
const LIST: &str = "backup.json";
/// A list has some 50 bytes for each segment.
const LIST_BYTES_MAX: u64 = 64 << 20;

/// What a backup holds, as its `backup.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Of this list: 1.
    pub version: u32,
    /// When the copy was finished, by the wall clock.
    pub taken_at: UnixMillis,
    /// The version of hookwheel that made it.
    pub made_by: String,
    /// Events.
    pub events: u64,
    /// Deliveries pending.
    pub pending: u64,
    /// Registered webhooks.
    pub webhooks: u64,
    /// Pieces of damage that were in the journal.
    pub damaged: u64,
    /// Each segment's number and size.
    pub segments: Vec<(u32, u64)>,
}

impl Listed {
    pub(super) fn of(survey: &Survey, segments: Vec<(u32, u64)>, taken_at: UnixMillis) -> Self {
        Self {
            version: 1,
            taken_at,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            events: survey.events,
            pending: survey.pending,
            webhooks: survey.webhooks,
            damaged: survey.damaged,
            segments,
        }
    }

    pub(super) fn write(&self, directory: &Path) -> Result<(), Error> {
        let path = directory.join(LIST);
        let text = serde_json::to_string_pretty(self).expect("numbers and texts become JSON");
        std::fs::write(&path, text + "\n").map_err(io("write", &path))?;
        sync(&path)
    }

    pub(super) fn read(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(LIST);
        let refused = |problem: String| Error::Refused {
            path: directory.to_owned(),
            problem,
            remedy: "name a directory that `hookwheel backup` has made",
        };
        let length = match std::fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(refused(format!("it is no backup, as it has no {LIST}")));
            }
            found => found.map_err(io("read", &path))?.len(),
        };
        if length > LIST_BYTES_MAX {
            return Err(refused(format!("its {LIST} is too large to be one")));
        }
        let text = std::fs::read(&path).map_err(io("read", &path))?;
        let list: Self = serde_json::from_slice(&text)
            .map_err(|error| refused(format!("its {LIST} cannot be read: {error}")))?;
        if list.version != 1 {
            let found = format!("backup list version {}", list.version);
            return Err(Error::Format { path, found });
        }
        Ok(list)
    }

    /// Holds the files of a backup against the list: what is short or missing was lost after it was made.
    pub(super) fn check(&self, directory: &Path) -> Result<(), Error> {
        for (number, bytes) in &self.segments {
            let path = raw::log_path(&journal_path(directory), *number);
            let length = match std::fs::metadata(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                found => Some(found.map_err(io("read", &path))?.len()),
            };
            if length != Some(*bytes) {
                let found = length.map_or("it is missing".to_owned(), |length| {
                    format!("it has {length} bytes")
                });
                return Err(Error::Refused {
                    path,
                    problem: format!("{found}, and {LIST} says {bytes}"),
                    remedy: "the backup is not whole: use another one",
                });
            }
        }
        Ok(())
    }
}

/// Copies files, at a bounded rate if asked for.
pub(super) struct Copier<'a> {
    rate: Option<u64>,
    started: Instant,
    copied: u64,
    buffer: Vec<u8>,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Copier<'a> {
    /// `rate`: bytes a second, at most. `progress` is told the bytes of each piece.
    pub(super) fn new(rate: Option<u64>, progress: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            rate,
            started: Instant::now(),
            copied: 0,
            buffer: vec![0; CHUNK],
            progress,
        }
    }

    pub(super) fn copied(&self) -> u64 {
        self.copied
    }

    pub(super) fn progress(&mut self) -> &mut dyn FnMut(u64) {
        self.progress
    }

    /// Copies a file, up to the length that it has when it is opened, from where a copy that is there already
    /// ends; syncs it. `false`: it is not there (any more).
    pub(super) fn file(&mut self, from: &Path, to: &Path) -> Result<bool, Error> {
        for _ in 1..CUTS_MAX {
            match self.once(from, to) {
                // A daemon that starts cuts a torn tail: what is copied of it is worthless.
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::UnexpectedEof => {
                    std::fs::remove_file(to).map_err(io("delete", to))?;
                }
                done => return done,
            }
        }
        self.once(from, to)
    }

    fn once(&mut self, from: &Path, to: &Path) -> Result<bool, Error> {
        let source = match File::open(from) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(io("open", from))?,
        };
        let length = source.metadata().map_err(io("read", from))?.len();
        let target = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(to)
            .map_err(io("create", to))?;
        let mut at = target.metadata().map_err(io("read", to))?.len();
        let mut unsynced = 0;
        while at < length {
            let size = usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK);
            let Some(part) = self.buffer.get_mut(..size) else {
                break;
            };
            source.read_exact_at(part, at).map_err(io("read", from))?;
            target.write_all_at(part, at).map_err(io("write", to))?;
            at += size as u64;
            unsynced += size as u64;
            if unsynced >= SYNC_EVERY {
                target.sync_data().map_err(io("sync", to))?;
                unsynced = 0;
            }
            self.count(size as u64);
        }
        target.sync_all().map_err(io("sync", to))?;
        Ok(true)
    }

    fn count(&mut self, bytes: u64) {
        self.copied += bytes;
        (self.progress)(bytes);
        let Some(rate) = self.rate else { return };
        let due = Duration::from_secs_f64(self.copied as f64 / rate as f64);
        if let Some(early) = due.checked_sub(self.started.elapsed()) {
            std::thread::sleep(early);
        }
    }
}

/// Makes a directory, for its owner only.
pub(super) fn make(path: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(io("create", path)(error)),
        _ => Ok(()),
    }
}

/// Refuses to begin where `needed` bytes do not fit.
pub(super) fn refuse_without_space(path: &Path, needed: u64) -> Result<(), Error> {
    let free = free_bytes(path)?;
    if free > needed {
        return Ok(());
    }
    Err(Error::Refused {
        path: path.to_owned(),
        problem: format!("{needed} bytes are needed, and {free} are free"),
        remedy: "free some space there, or name another place",
    })
}

/// The size of everything in a journal's directory.
pub(super) fn size_of(journal: &Path) -> Result<u64, Error> {
    let mut bytes = 0;
    for directory in [journal.to_owned(), journal.join("set-aside")] {
        for path in files(&directory)? {
            // Retention may delete one meanwhile.
            bytes += std::fs::metadata(&path).map_or(0, |found| found.len());
        }
    }
    Ok(bytes)
}

/// The files of a directory; none where it is not there.
pub(super) fn files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(io("list", directory))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io("list", directory))?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Copies what was set aside. Gives how many pieces.
pub(super) fn set_aside(copier: &mut Copier<'_>, from: &Path, to: &Path) -> Result<u64, Error> {
    let (from, to) = (from.join("set-aside"), to.join("set-aside"));
    let pieces = files(&from)?;
    if pieces.is_empty() {
        return Ok(0);
    }
    make(&to)?;
    for path in &pieces {
        if let Some(name) = path.file_name() {
            copier.file(path, &to.join(name))?;
        }
    }
    sync(&to)?;
    Ok(pieces.len() as u64)
}

/// The segments of a journal's directory with their sizes.
pub(super) fn sizes(journal: &Path) -> Result<Vec<(u32, u64)>, Error> {
    let mut sizes = Vec::new();
    for number in raw::numbers(journal)? {
        let path = raw::log_path(journal, number);
        let length = std::fs::metadata(&path).map_err(io("read", &path))?.len();
        sizes.push((number, length));
    }
    Ok(sizes)
}

/// Cuts the last segment where its last record ends.
pub(super) fn cut(journal: &Path, end: Position) -> Result<(), Error> {
    let path = raw::log_path(journal, end.segment);
    let file = OpenOptions::new()
        .write(true)
        .open(&path)
        .map_err(io("open", &path))?;
    file.set_len(u64::from(end.offset))
        .and_then(|()| file.sync_all())
        .map_err(io("cut", &path))
}
