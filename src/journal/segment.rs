//! A segment: what is known of it in memory, its files' names, and a few open files.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::disk::{Disk, File};
use super::filter::Filter;
use super::frame::{Header, SEGMENT_HEAD};
use super::index::{Growing, Stored};
use super::names::Names;
use super::room::{Room, is_full};
use super::{Error, io};

/// Old segments' files held open: enough for the few that a page of history touches, far below any limit.
const OPEN_FILES_MAX: usize = 64;

/// One segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: Header,
    /// Where the synced bytes end.
    end: AtomicU32,
    pub(super) index: RwLock<Index>,
}

/// A segment's index, wherever it is now.
#[derive(Debug)]
pub(super) enum Index {
    /// The segment is being written, or its index file is not written yet.
    Memory(Growing),
    /// Sealed.
    File {
        stored: Stored,
        filter: Option<Filter>,
    },
}

impl Segment {
    pub(super) fn new(header: Header, end: u32, index: Index) -> Self {
        Self {
            header,
            end: AtomicU32::new(end),
            index: RwLock::new(index),
        }
    }

    pub(super) fn end(&self) -> u32 {
        self.end.load(Ordering::Acquire)
    }

    pub(super) fn set_end(&self, end: u32) {
        self.end.store(end, Ordering::Release);
    }
}

/// Which file of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Log,
    Index,
}

/// A segment's file.
pub(super) fn path(directory: &Path, number: u32, kind: Kind) -> PathBuf {
    let extension = match kind {
        Kind::Log => "log",
        Kind::Index => "idx",
    };
    directory.join(format!("{number:010}.{extension}"))
}

/// The segment and kind that a file's name says, if it is one of the journal's.
pub(super) fn parse_name(name: &str) -> Option<(u32, Kind)> {
    let (number, extension) = name.split_once('.')?;
    let kind = match extension {
        "log" => Kind::Log,
        "idx" => Kind::Index,
        _ => return None,
    };
    let digits = number.len() == 10 && number.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| number.parse().ok())
        .flatten()
        // There is always a next one.
        .filter(|number| *number < u32::MAX)
        .map(|number| (number, kind))
}

/// Makes a segment's file with its header, synced, name and all; [`Error::NoRoom`] leaves nothing behind.
pub(super) fn create(
    names: &Names,
    number: u32,
    created_ms: u64,
    room: &mut Room,
) -> Result<(Header, File), Error> {
    let path = path(names.directory(), number, Kind::Log);
    let mut salt = [0; 8];
    getrandom::fill(&mut salt).map_err(|error| io("take random bytes for", &path)(error.into()))?;
    let header = Header {
        number,
        created_ms,
        salt: u64::from_be_bytes(salt),
    };
    let file = names
        .disk()
        .create_new(&path)
        .map_err(|error| match is_full(&error) {
            true => Error::NoRoom { path: path.clone() },
            false => io("create", &path)(error),
        })?;
    let bytes = header.encode();
    debug_assert_eq!(bytes.len(), SEGMENT_HEAD as usize);
    let no_room = match room.reach(u64::from(SEGMENT_HEAD), &file, &path)? {
        false => true,
        true => match file.write_all_at(&bytes, 0) {
            Err(error) if is_full(&error) => true,
            written => written.map(|()| false).map_err(io("write", &path))?,
        },
    };
    if no_room {
        names.disk().remove(&path).map_err(io("delete", &path))?;
        return Err(Error::NoRoom { path });
    }
    file.sync_all().map_err(io("sync", &path))?;
    names.sync()?;
    Ok((header, file))
}

/// The files that were used last, held open. Clones of what it gives stay valid when it closes its own.
#[derive(Debug, Default)]
pub(super) struct Files {
    recent: Mutex<Vec<(u32, Kind, Arc<File>)>>,
}

impl Files {
    /// The file, opened for reading if it is not open.
    pub(super) fn open(
        &self,
        disk: &Disk,
        directory: &Path,
        number: u32,
        kind: Kind,
    ) -> std::io::Result<Arc<File>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = recent
            .iter()
            .position(|(n, k, _)| (*n, *k) == (number, kind))
        {
            let used = recent.remove(at);
            let file = Arc::clone(&used.2);
            recent.push(used);
            return Ok(file);
        }
        let file = Arc::new(disk.open(&path(directory, number, kind))?);
        if recent.len() == OPEN_FILES_MAX {
            recent.remove(0);
        }
        recent.push((number, kind, Arc::clone(&file)));
        Ok(file)
    }

    /// Closes what is held of a segment that is deleted, or of a file that was replaced.
    pub(super) fn forget(&self, number: u32) {
        self.recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(n, ..)| *n != number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let path = path(Path::new("/j"), 42, Kind::Index);
        assert_eq!(path, Path::new("/j/0000000042.idx"));
        assert_eq!(parse_name("0000000042.idx"), Some((42, Kind::Index)));
        for other in [
            "42.log",
            "0000000042.tmp",
            "set-aside",
            "+000000042.log",
            "0000000042",
        ] {
            assert!(parse_name(other).is_none(), "{other}");
        }
    }

    #[test]
    fn holds_few_files_open() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::default();
        let names = Names::new(&Disk::Real, directory.path());
        for number in 1..=100 {
            create(&names, number, 0, &mut Room::from(0, 4096)).unwrap();
            files
                .open(&Disk::Real, directory.path(), number, Kind::Log)
                .unwrap();
        }
        assert_eq!(files.recent.lock().unwrap().len(), OPEN_FILES_MAX);
        files.forget(100);
        assert_eq!(files.recent.lock().unwrap().len(), OPEN_FILES_MAX - 1);
    }
}
