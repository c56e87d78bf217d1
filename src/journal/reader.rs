//! Reading what is synced: a record at its position, the entries under a key, everything from a position on.
//!
//! Cheap to clone. Never writes, but for an index that is missing or damaged: that is made again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::metrics::Metrics;
use crate::model::Position;

use super::disk::{Disk, File};
use super::filter::Filter;
use super::frame::{self, FRAME_HEAD, SEGMENT_HEAD, Step, Walk};
use super::index::{self, Entry, Growing, Key, Stored};
use super::names::Names;
use super::segment::{self, Files, Index, Kind, Segment};
use super::{Error, KeysOf, io, raw};

/// Which way a range of keys is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Lowest key first.
    Ascending,
    /// Highest key first.
    Descending,
}

/// What is known of a segment from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: u32,
    /// When it was made, in steady time, milliseconds.
    pub created_ms: u64,
    /// Its size, bytes, index not counted.
    pub bytes: u64,
}

/// Reads the journal. All clones share what is known of it.
#[derive(Clone)]
pub struct Reader {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) disk: Disk,
    pub(super) directory: PathBuf,
    pub(super) segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
    pub(super) files: Files,
    pub(super) keys_of: KeysOf,
    pub(super) set_aside: AtomicU64,
    pub(super) filters_max: usize,
    pub(super) metrics: Metrics,
    /// Held while an index is made again, so that two readers do not do it at once.
    pub(super) rebuilding: Mutex<()>,
    pub(super) names: Names,
}

/// The payload of the frame at `position`, with `left` bytes up to the segment's end, by a way to read that says whether
/// it could. `None`: it could not, or the bytes do not check.
fn payload_at(
    segment: &Segment,
    position: Position,
    left: usize,
    mut read: impl FnMut(&mut [u8], u64) -> bool,
) -> Option<Vec<u8>> {
    let offset = u64::from(position.offset);
    // Most records fit the first read; a longer one costs a second.
    let mut bytes = vec![0; left.min(2048)];
    if !read(&mut bytes, offset) {
        return None;
    }
    let length = frame::announced(&bytes)? + FRAME_HEAD;
    if length > left {
        return None;
    }
    if length > bytes.len() {
        bytes.resize(length, 0);
        if !read(&mut bytes, offset) {
            return None;
        }
    }
    frame::payload(segment.header.salt, position.offset, &bytes)?;
    bytes.truncate(length);
    bytes.drain(..FRAME_HEAD);
    Some(bytes)
}

impl Reader {
    /// The payload of the record at `position`.
    ///
    /// # Errors
    /// [`Error::Gone`] where the segment is deleted or the position beyond what is synced,
    /// [`Error::Damaged`] where the bytes do not check, [`Error::Io`].
    pub fn read(&self, position: Position) -> Result<Vec<u8>, Error> {
        let segment = self
            .segment(position.segment)
            .ok_or(Error::Gone(position))?;
        let left = segment.end().saturating_sub(position.offset) as usize;
        if left <= FRAME_HEAD && position.segment == self.bounds().1 {
            return Err(Error::Gone(position));
        }
        let file = self.file(position.segment, Kind::Log)?;
        let path = segment::path(&self.shared.directory, position.segment, Kind::Log);
        if left <= FRAME_HEAD {
            // A sealed segment that was cut short: its file was longer when this position was given out.
            return Err(self.damaged(&segment, &file, position));
        }
        let mut failed = None;
        let payload = payload_at(&segment, position, left, |to, offset| {
            let read = file.read_exact_at(to, offset);
            failed = read.err();
            failed.is_none()
        });
        match (payload, failed) {
            (Some(payload), _) => Ok(payload),
            (None, Some(error)) => Err(io("read", &path)(error)),
            (None, None) => Err(self.damaged(&segment, &file, position)),
        }
    }

    /// The payload of the record at `position`, if it can be read without waiting for a disk. `None` says nothing
    /// else: [`Reader::read`] tells what is wrong, if anything is.
    pub fn read_cached(&self, position: Position) -> Option<Vec<u8>> {
        let segment = self.segment(position.segment)?;
        let left = segment.end().checked_sub(position.offset)? as usize;
        if left <= FRAME_HEAD {
            return None;
        }
        let file = self.file(position.segment, Kind::Log).ok()?;
        payload_at(&segment, position, left, |to, offset| {
            file.read_cached_at(to, offset)
        })
    }

    /// Sets aside what stands where a record was looked for, and gives the error for it. Positions come from
    /// the queue, an index or the journal itself, so a record stood there.
    fn damaged(&self, segment: &Segment, file: &File, position: Position) -> Error {
        let path = segment::path(&self.shared.directory, position.segment, Kind::Log);
        let aside = || {
            if raw::set_aside_path(&self.shared.directory, position).exists() {
                return Ok(false);
            }
            let salt = segment.header.salt;
            let mut walk = Walk::new(file, salt, position.offset, segment.end());
            let bytes = match walk.step().map_err(io("read", &path))? {
                Step::Frame { .. } => return Ok(false),
                Step::Bad { bytes, .. } => bytes,
                Step::End { .. } => walk.rest().map_err(io("read", &path))?,
            };
            self.shared.set_aside(position, &bytes)
        };
        if let Err(error) = aside() {
            tracing::error!(%position, %error, "damaged bytes could not be set aside");
        }
        Error::Damaged(position)
    }

    /// At most `limit` entries of one segment with keys from `low` to `high`; none if it is deleted.
    ///
    /// # Errors
    /// [`Error::Io`], also where a damaged index cannot be made again.
    pub fn range(
        &self,
        number: u32,
        low: &Key,
        high: &Key,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Entry>, Error> {
        let Some(segment) = self.segment(number) else {
            return Ok(Vec::new());
        };
        let descending = direction == Direction::Descending;
        for _ in 0..2 {
            let stored = match &*segment.index.read().unwrap_or_else(PoisonError::into_inner) {
                Index::Memory(growing) => return Ok(growing.range(low, high, descending, limit)),
                Index::File { stored, .. } => *stored,
            };
            let file = match self.file(number, Kind::Index) {
                Ok(file) => file,
                Err(Error::Gone(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let path = segment::path(&self.shared.directory, number, Kind::Index);
            match stored.range(&file, low, high, descending, limit) {
                Ok(Some(found)) => return Ok(found),
                // Shorter than it was: damage as much as a block that does not check.
                Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
                    return Err(io("read", &path)(error));
                }
                Ok(None) | Err(_) => self.rebuild(&segment, stored)?,
            }
        }
        Err(Error::Damaged(Position {
            segment: number,
            offset: 0,
        }))
    }

    /// Where records under exactly `key` stand in the newest `segments_max` segments, newest first. The
    /// segments' filters are asked first, where they are held, so a key that is nowhere costs no read.
    ///
    /// # Errors
    /// As [`Reader::range`].
    pub fn find_filtered(&self, key: &Key, segments_max: usize) -> Result<Vec<Position>, Error> {
        let may_hold = |segment: &Segment| match &*segment
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Index::Memory(growing) => growing.may_hold(key),
            Index::File { filter, .. } => filter.as_ref().is_none_or(|filter| filter.may_hold(key)),
        };
        let numbers: Vec<u32> = self.table(|segments| {
            let newest = segments.iter().rev().take(segments_max);
            newest
                .filter(|(_, segment)| may_hold(segment))
                .map(|(number, _)| *number)
                .collect()
        });
        let mut found = Vec::new();
        for number in numbers {
            let entries = self.range(number, key, key, Direction::Descending, usize::MAX)?;
            found.extend(entries.iter().map(|entry| Position {
                segment: number,
                offset: entry.offset,
            }));
        }
        Ok(found)
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.table(|segments| {
            segments
                .values()
                .map(|segment| SegmentInfo {
                    number: segment.header.number,
                    created_ms: segment.header.created_ms,
                    bytes: u64::from(segment.end()),
                })
                .collect()
        })
    }

    /// The numbers of the segments from `newest` down to `oldest`, both included, newest first.
    #[must_use]
    pub fn numbers(&self, oldest: u32, newest: u32) -> Vec<u32> {
        if oldest > newest {
            return Vec::new();
        }
        self.table(|segments| {
            segments
                .range(oldest..=newest)
                .rev()
                .map(|(number, _)| *number)
                .collect()
        })
    }

    /// The number of the oldest segment, and of the one being written.
    #[must_use]
    pub fn bounds(&self) -> (u32, u32) {
        self.table(|segments| {
            let first = segments.first_key_value().map_or(1, |(number, _)| *number);
            (
                first,
                segments
                    .last_key_value()
                    .map_or(first, |(number, _)| *number),
            )
        })
    }

    /// Where the synced journal ends: the position that the next record will have, unless a segment is sealed.
    #[must_use]
    pub fn end(&self) -> Position {
        self.table(|segments| {
            segments.last_key_value().map_or(
                Position {
                    segment: 1,
                    offset: SEGMENT_HEAD,
                },
                |(number, segment)| Position {
                    segment: *number,
                    offset: segment.end(),
                },
            )
        })
    }

    /// The position of the first record of a segment, if it has any.
    #[must_use]
    pub fn start_of(&self, number: u32) -> Position {
        Position {
            segment: number,
            offset: SEGMENT_HEAD,
        }
    }

    /// Reports a segment that is not there, though its owner needs it: once, as a note in `set-aside/`. Gives
    /// whether it is missing and had not been reported.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn report_missing(&self, number: u32) -> Result<bool, Error> {
        if self.segment(number).is_some() {
            return Ok(false);
        }
        let place = Position {
            segment: number,
            offset: 0,
        };
        let note = format!("the journal's segment {number} is missing\n");
        self.shared.set_aside(place, note.as_bytes())
    }

    /// A segment's file.
    #[must_use]
    pub fn path_of(&self, number: u32) -> PathBuf {
        segment::path(&self.shared.directory, number, Kind::Log)
    }

    /// How many pieces of damage are kept in `set-aside/`.
    #[must_use]
    pub fn set_aside(&self) -> u64 {
        self.shared.set_aside.load(Ordering::Relaxed)
    }

    /// Gives `to` every record from `from` on, in order. Damage is set aside and reading goes on after it;
    /// the answer is how many pieces were met.
    ///
    /// # Errors
    /// What `to` answers, and [`Error::Io`].
    pub fn scan<E: From<Error>>(
        &self,
        from: Position,
        mut to: impl FnMut(Position, &[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let (_, newest) = self.bounds();
        let mut damage = 0;
        for number in self.numbers(from.segment, newest).into_iter().rev() {
            let start = if number == from.segment {
                from.offset
            } else {
                SEGMENT_HEAD
            };
            damage += self.scan_segment(number, start, &mut to)?;
        }
        Ok(damage)
    }

    fn scan_segment<E: From<Error>>(
        &self,
        number: u32,
        start: u32,
        to: &mut impl FnMut(Position, &[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let Some(segment) = self.segment(number) else {
            return Ok(0);
        };
        let file = self.file(number, Kind::Log)?;
        let path = segment::path(&self.shared.directory, number, Kind::Log);
        let mut walk = Walk::new(&file, segment.header.salt, start, segment.end());
        let mut damage = 0;
        loop {
            match walk.step().map_err(io("read", &path))? {
                Step::Frame { offset, payload } => to(
                    Position {
                        segment: number,
                        offset,
                    },
                    payload,
                )?,
                Step::Bad { offset, bytes } => {
                    damage += 1;
                    self.shared.set_aside(
                        Position {
                            segment: number,
                            offset,
                        },
                        &bytes,
                    )?;
                }
                Step::End { rest: 0, .. } => return Ok(damage),
                Step::End { offset, .. } => {
                    let bytes = walk.rest().map_err(io("read", &path))?;
                    self.shared.set_aside(
                        Position {
                            segment: number,
                            offset,
                        },
                        &bytes,
                    )?;
                    return Ok(damage + 1);
                }
            }
        }
    }

    /// Makes a segment's index from its records, in memory.
    pub(super) fn index_of(&self, number: u32) -> Result<Growing, Error> {
        let mut growing = Growing::default();
        self.scan_segment(number, SEGMENT_HEAD, &mut |position, payload| {
            growing.add(&(self.shared.keys_of)(payload, position), position.offset);
            Ok::<(), Error>(())
        })?;
        Ok(growing)
    }

    /// Makes a damaged index file again.
    fn rebuild(&self, segment: &Segment, damaged: Stored) -> Result<(), Error> {
        let number = segment.header.number;
        let _held = self
            .shared
            .rebuilding
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        tracing::error!(
            segment = number,
            entries = damaged.entries(),
            "index damaged; making it again"
        );
        let growing = self.index_of(number)?;
        self.shared.install(segment, &growing)
    }

    pub(super) fn segment(&self, number: u32) -> Option<Arc<Segment>> {
        self.table(|segments| segments.get(&number).cloned())
    }

    fn table<T>(&self, read: impl FnOnce(&BTreeMap<u32, Arc<Segment>>) -> T) -> T {
        read(
            &self
                .shared
                .segments
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn file(&self, number: u32, kind: Kind) -> Result<Arc<File>, Error> {
        let shared = &self.shared;
        match shared
            .files
            .open(&shared.disk, &shared.directory, number, kind)
        {
            Ok(file) => Ok(file),
            // Retention may delete a segment between the look at the table and here.
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound
                    && self.segment(number).is_none() =>
            {
                Err(Error::Gone(Position {
                    segment: number,
                    offset: 0,
                }))
            }
            Err(error) => Err(io(
                "open",
                &segment::path(&self.shared.directory, number, kind),
            )(error)),
        }
    }
}

impl Shared {
    /// Writes a sealed segment's index, and lets readers use it.
    pub(super) fn install(&self, segment: &Segment, growing: &Growing) -> Result<(), Error> {
        let path = segment::path(&self.directory, segment.header.number, Kind::Index);
        let filter = index::write(&self.disk, growing, segment.header.number, &path)?;
        self.names.sync()?;
        self.use_file(segment, filter)
    }

    /// Lets readers use an index file that was just written.
    pub(super) fn use_file(&self, segment: &Segment, filter: Filter) -> Result<(), Error> {
        let number = segment.header.number;
        let path = segment::path(&self.directory, number, Kind::Index);
        self.files.forget(number);
        let file = self
            .files
            .open(&self.disk, &self.directory, number, Kind::Index)
            .map_err(io("open", &path))?;
        let stored = Stored::open(&file, number)
            .map_err(io("read", &path))?
            .ok_or(Error::Damaged(Position {
                segment: number,
                offset: 0,
            }))?;
        *segment
            .index
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Index::File {
            stored,
            filter: Some(filter),
        };
        self.drop_old_filters();
        Ok(())
    }

    /// Keeps the filters of the newest sealed segments only.
    pub(super) fn drop_old_filters(&self) {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        for segment in segments.values().rev().skip(self.filters_max + 1) {
            if let Index::File { filter, .. } = &mut *segment
                .index
                .write()
                .unwrap_or_else(PoisonError::into_inner)
            {
                *filter = None;
            }
        }
    }

    /// Keeps a copy of bytes that could not be read, once; whether this was the first time.
    pub(super) fn set_aside(&self, position: Position, bytes: &[u8]) -> Result<bool, Error> {
        let (disk, path) = (&self.disk, raw::set_aside_path(&self.directory, position));
        if disk.exists(&path) {
            return Ok(false);
        }
        let directory = self.directory.join("set-aside");
        disk.create_dir_all(&directory)
            .map_err(io("create", &directory))?;
        self.names.sync()?;
        // Whole under its name or not at all: what is there is taken for kept.
        let temporary = path.with_extension("tmp");
        let file = disk.create(&temporary).map_err(io("create", &temporary))?;
        file.write_all_at(bytes, 0)
            .map_err(io("write", &temporary))?;
        file.sync_all().map_err(io("sync", &temporary))?;
        disk.rename(&temporary, &path)
            .map_err(io("rename to", &path))?;
        disk.sync_dir(&directory)
            .map_err(io("sync directory", &directory))?;
        self.set_aside.fetch_add(1, Ordering::Relaxed);
        self.metrics.frames_set_aside.inc();
        tracing::error!(
            position = %position, bytes = bytes.len(), copy = %path.display(),
            "journal damaged: unreadable bytes set aside"
        );
        Ok(true)
    }
}

/// How many files lie in `set-aside/`.
pub(super) fn count_set_aside(disk: &Disk, directory: &Path) -> Result<u64, Error> {
    let path = directory.join("set-aside");
    match disk.list(&path) {
        Ok(files) => Ok(files
            .iter()
            .filter(|file| file.extension().is_none_or(|ending| ending != "tmp"))
            .count() as u64),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(io("list", &path)(error)),
    }
}
