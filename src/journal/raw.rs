//! A journal as it lies in its directory, read without opening it: for copies, checks, and the look before an open.
//!
//! Nothing here is changed on disk. A journal that is being written may be read so: what its owner appends after
//! the look at a file's length is not seen, and a group that is only half there reads as a torn tail.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::model::Position;

use super::disk::{Disk, File};
use super::filter::Filter;
use super::frame::{self, FRAME_HEAD, Header, HeaderRead, SEGMENT_HEAD, Step, Walk};
use super::index::{Entry, Growing, IndexKey, Stored};
use super::segment::{self, Kind};
use super::{Error, io};

/// Where the records of a segment begin.
pub const FIRST_OFFSET: u32 = SEGMENT_HEAD;

/// The numbers of the segments in a directory, sorted; none where there is no directory.
///
/// # Errors
/// [`Error::Io`].
pub fn numbers(directory: &Path) -> Result<Vec<u32>, Error> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(io("list", directory))?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(io("list", directory))?.file_name();
        if let Some((number, Kind::Log)) = name.to_str().and_then(segment::parse_name) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A segment's file.
#[must_use]
pub fn log_path(directory: &Path, number: u32) -> PathBuf {
    segment::path(directory, number, Kind::Log)
}

/// A segment's index file.
#[must_use]
pub fn index_path(directory: &Path, number: u32) -> PathBuf {
    segment::path(directory, number, Kind::Index)
}

/// Where damage at a position is kept once it was set aside.
#[must_use]
pub fn set_aside_path(directory: &Path, position: Position) -> PathBuf {
    directory.join("set-aside").join(format!(
        "{:010}-{:010}.bad",
        position.segment, position.offset
    ))
}

/// A segment's file, open for reading, up to the length that it has now.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: PathBuf,
    header: Header,
    length: u32,
}

/// What stands in a segment, in order.
#[derive(Debug)]
pub enum Piece<'a> {
    /// A record that checks.
    Record(Position, &'a [u8]),
    /// So many bytes that are no record, with records after them.
    Damage(Position, u32),
    /// So many bytes at the end with no record after them.
    Rest(Position, u32),
}

impl Log {
    /// Opens a segment. `None`: its header cannot be read, so nothing in it can be checked.
    ///
    /// # Errors
    /// [`Error::NewerVersion`], [`Error::Io`] (also where the file is not there).
    pub fn open(directory: &Path, number: u32) -> Result<Option<Self>, Error> {
        let path = log_path(directory, number);
        let file = Disk::Real.open(&path).map_err(io("open", &path))?;
        let length = file.len().map_err(io("read", &path))?;
        let mut bytes = vec![0; usize::try_from(length.min(u64::from(SEGMENT_HEAD))).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)
            .map_err(io("read", &path))?;
        match Header::decode(&bytes) {
            HeaderRead::Good(header) if header.number == number => Ok(Some(Self {
                file,
                path,
                header,
                length: u32::try_from(length).unwrap_or(u32::MAX).max(SEGMENT_HEAD),
            })),
            HeaderRead::Newer(version) => Err(Error::NewerVersion { path, version }),
            HeaderRead::Bad | HeaderRead::Good(_) => Ok(None),
        }
    }

    /// When the segment was made: wall clock, milliseconds since 1970.
    #[must_use]
    pub const fn created_ms(&self) -> u64 {
        self.header.created_ms
    }

    /// The length of the file when it was opened.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.length as u64
    }

    /// The first record, if it is whole.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn first(&self) -> Result<Option<Vec<u8>>, Error> {
        let left = usize::try_from(self.length - SEGMENT_HEAD).unwrap_or(0);
        let mut bytes = vec![0; left.min(FRAME_HEAD)];
        self.read(&mut bytes)?;
        let Some(length) = frame::announced(&bytes).map(|length| length + FRAME_HEAD) else {
            return Ok(None);
        };
        if length > left {
            return Ok(None);
        }
        bytes.resize(length, 0);
        self.read(&mut bytes)?;
        let payload = frame::payload(self.header.salt, SEGMENT_HEAD, &bytes);
        Ok(payload.map(<[u8]>::to_vec))
    }

    fn read(&self, bytes: &mut [u8]) -> Result<(), Error> {
        self.file
            .read_exact_at(bytes, u64::from(SEGMENT_HEAD))
            .map_err(io("read", &self.path))
    }

    /// Gives `to` every piece of the segment, in order, and answers where its last record ends.
    ///
    /// # Errors
    /// What `to` answers, and [`Error::Io`].
    pub fn walk<E: From<Error>>(
        &self,
        mut to: impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<u32, E> {
        let at = |offset| Position {
            segment: self.header.number,
            offset,
        };
        let mut walk = Walk::new(&self.file, self.header.salt, SEGMENT_HEAD, self.length);
        loop {
            match walk.step().map_err(io("read", &self.path))? {
                Step::Frame { offset, payload } => to(Piece::Record(at(offset), payload))?,
                Step::Bad { offset, bytes } => {
                    let length = u32::try_from(bytes.len()).expect("inside a segment");
                    to(Piece::Damage(at(offset), length))?;
                }
                Step::End { offset, rest } => {
                    if rest > 0 {
                        to(Piece::Rest(at(offset), rest))?;
                    }
                    return Ok(offset);
                }
            }
        }
    }
}

/// What an index file is, held against a fresh making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexFound {
    /// As a fresh making.
    Good,
    /// Not there.
    Missing,
    /// Its bytes do not check.
    Damaged,
    /// It checks, and holds other entries than the segment's records have.
    Differs,
}

/// The index that a segment's records ask for.
#[derive(Debug, Default)]
pub struct FreshIndex(Growing);

impl FreshIndex {
    /// Adds a record's keys.
    pub fn add(&mut self, keys: &[IndexKey], offset: u32) {
        self.0.add(keys, offset);
    }

    /// Holds the index file of a segment against this.
    ///
    /// # Errors
    /// [`Error::NewerVersion`], [`Error::Io`].
    pub fn compare(&self, directory: &Path, number: u32) -> Result<IndexFound, Error> {
        let path = index_path(directory, number);
        let Some(file) = open_index(&path)? else {
            return Ok(IndexFound::Missing);
        };
        let Some(stored) = Stored::open(&file, number).map_err(io("read", &path))? else {
            return Ok(IndexFound::Damaged);
        };
        let entries = all(&stored, &file).map_err(io("read", &path))?;
        let filter = stored.filter(&file).map_err(io("read", &path))?;
        let (Some(entries), Some(filter)) = (entries, filter) else {
            return Ok(IndexFound::Damaged);
        };
        let same = entries == self.0.sorted() && filter == self.filter();
        Ok(if same {
            IndexFound::Good
        } else {
            IndexFound::Differs
        })
    }

    fn filter(&self) -> Filter {
        self.0.filter()
    }
}

fn all(stored: &Stored, file: &File) -> std::io::Result<Option<Vec<Entry>>> {
    stored.range(file, &[0; 24], &[0xff; 24], false, usize::MAX)
}

/// Refuses an index file of a newer version; one that is missing or damaged is no matter.
///
/// # Errors
/// [`Error::NewerVersion`], [`Error::Io`].
pub fn check_index_version(directory: &Path, number: u32) -> Result<(), Error> {
    open_index(&index_path(directory, number)).map(drop)
}

fn open_index(path: &Path) -> Result<Option<File>, Error> {
    let file = match Disk::Real.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(io("open", path))?,
    };
    match Stored::newer_version(&file).map_err(io("read", path))? {
        Some(version) => Err(Error::NewerVersion {
            path: path.to_owned(),
            version,
        }),
        None => Ok(Some(file)),
    }
}
