//! Appending: records are staged, then written and synced as one group.

#[cfg(test)]
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use crate::metrics::Metrics;
use crate::model::Position;

use super::disk::{Disk, File};
use super::frame::{self, SEGMENT_HEAD};
use super::index::{Growing, IndexKey};
use super::reader::{Reader, Shared};
use super::room::{Room, is_full};
use super::segment::{self, Index, Kind, Segment};
use super::{Error, GROUP_BYTES_MAX, KeysOf, Options, PAYLOAD_BYTES_MAX, Recovery, io, recover};

/// A segment is sealed when its index has this many entries, whatever its size: until then the index is in
/// memory, and a start makes it again from the records. 64 MiB of delivered 1 KiB events have about 180,000.
const ENTRIES_MAX: usize = 256_000;
/// Sealed segments whose index is not written yet; beyond that sealing waits, so memory stays bounded.
const SEALED_WAITING_MAX: usize = 2;
/// The group's buffer is given back to the system when a large group has made it larger than this.
const BUFFER_KEPT: usize = 16 << 20;

/// The one appender. Dropping it waits for the indexes that are being written.
pub struct Journal {
    reader: Reader,
    options: Options,
    file: File,
    room: Room,
    active: Arc<Segment>,
    /// The frames of the group that is being gathered, and where each record is found.
    group: Vec<u8>,
    group_keys: Vec<(u32, Vec<IndexKey>)>,
    sealed: Option<SyncSender<Arc<Segment>>>,
    indexer: Option<JoinHandle<()>>,
    /// Sealed segments whose index is written when a test says so, as there is no indexer.
    #[cfg(test)]
    unindexed: VecDeque<Arc<Segment>>,
    metrics: Metrics,
}

impl Journal {
    /// Opens a journal, or makes an empty one: finds its segments, cuts a torn tail, makes missing indexes.
    /// `now_ms` (steady time) is the creation time of a first segment.
    ///
    /// # Errors
    /// [`Error::NewerVersion`] and [`Error::Io`].
    pub fn open(
        options: Options,
        keys_of: KeysOf,
        metrics: Metrics,
        now_ms: u64,
    ) -> Result<(Self, Recovery), Error> {
        let (mut journal, recovery) =
            Self::without_indexer(&Disk::Real, options, keys_of, metrics, now_ms)?;
        let (sealed, waiting) = sync_channel(SEALED_WAITING_MAX);
        let for_indexer = Arc::clone(&journal.reader.shared);
        let indexer = std::thread::Builder::new()
            .name("hookwheel-index".to_owned())
            .spawn(move || write_indexes(&for_indexer, &waiting))
            .map_err(io("start a thread for", &journal.options.path))?;
        journal.sealed = Some(sealed);
        journal.indexer = Some(indexer);
        Ok((journal, recovery))
    }

    /// As [`Journal::open`], on any disk; until there is an indexer, indexes stay in memory.
    pub(crate) fn without_indexer(
        disk: &Disk,
        options: Options,
        keys_of: KeysOf,
        metrics: Metrics,
        now_ms: u64,
    ) -> Result<(Self, Recovery), Error> {
        let (shared, file, recovery) =
            recover::open(disk, &options, keys_of, metrics.clone(), now_ms)?;
        let reader = Reader {
            shared: Arc::new(shared),
        };
        let (_, newest) = reader.bounds();
        let active = reader
            .segment(newest)
            .expect("recovery leaves at least one segment");
        let room = Room::from(u64::from(active.end()), options.segment_bytes_max);
        let journal = Self {
            reader,
            options,
            file,
            room,
            active,
            metrics,
            group: Vec::new(),
            group_keys: Vec::new(),
            sealed: None,
            indexer: None,
            #[cfg(test)]
            unindexed: VecDeque::new(),
        };
        Ok((journal, recovery))
    }

    /// Writes the index of the segment that was sealed first of those that wait; `false`: none waits.
    #[cfg(test)]
    pub(crate) fn index_next(&mut self) -> bool {
        let next = self.unindexed.pop_front();
        if let Some(segment) = &next {
            write_index(&self.reader.shared, segment);
        }
        next.is_some()
    }

    /// A reader of what is synced.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Adds a record to the group; it is in the journal only after the next [`Journal::commit`].
    ///
    /// # Errors
    /// [`Error::TooLong`]; the group is as it was.
    pub fn stage(&mut self, payload: &[u8], keys: Vec<IndexKey>) -> Result<Position, Error> {
        if payload.is_empty() || payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::TooLong(payload.len()));
        }
        let group = self.group.len() + frame::FRAME_HEAD + payload.len();
        assert!(
            group <= GROUP_BYTES_MAX as usize,
            "a group is bounded by its owner"
        );
        let position = self.next();
        frame::encode(
            self.active.header.salt,
            position.offset,
            payload,
            &mut self.group,
        );
        self.group_keys.push((position.offset, keys));
        Ok(position)
    }

    /// The position that the next staged record will have.
    #[must_use]
    pub fn next(&self) -> Position {
        let staged = u32::try_from(self.group.len()).expect("a group is bounded by its owner");
        Position {
            segment: self.active.header.number,
            offset: self.active.end() + staged,
        }
    }

    /// Whether the segment being written has no record yet.
    #[must_use]
    pub fn is_empty_segment(&self) -> bool {
        self.active.end() == SEGMENT_HEAD
    }

    /// Bytes staged.
    #[must_use]
    pub fn staged_bytes(&self) -> usize {
        self.group.len()
    }

    /// Forgets what is staged.
    pub fn discard(&mut self) {
        self.group.clear();
        self.group_keys.clear();
    }

    /// Makes room for so many bytes besides what is staged; says whether there is.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn make_room(&mut self, bytes: usize) -> Result<bool, Error> {
        let end = u64::from(self.next().offset) + bytes as u64;
        self.room.reach(end, &self.file, &self.path())
    }

    fn path(&self) -> PathBuf {
        segment::path(&self.options.path, self.active.header.number, Kind::Log)
    }

    /// Writes and syncs the group, and lets readers see it. Without a group nothing is done.
    ///
    /// # Errors
    /// [`Error::NoRoom`]: nothing was written, and the group is still staged. [`Error::Io`]: the journal must not
    /// be used any more.
    pub fn commit(&mut self) -> Result<(), Error> {
        if self.group.is_empty() {
            return Ok(());
        }
        let start = self.active.end();
        let path = self.path();
        if !self.make_room(0)? {
            return Err(Error::NoRoom { path });
        }
        match self.file.write_all_at(&self.group, u64::from(start)) {
            Ok(()) => {}
            // Only where no room can be made ahead. What was synced ends before; a part of the group does not stay.
            Err(error) if is_full(&error) => {
                self.file
                    .set_len(u64::from(start))
                    .map_err(io("cut", &path))?;
                // The cut has given back what room there was beyond.
                self.room = Room::from(u64::from(start), self.options.segment_bytes_max);
                return Err(Error::NoRoom { path });
            }
            Err(error) => return Err(io("write", &path)(error)),
        }
        let before = tokio::time::Instant::now();
        // fdatasync: it syncs the file's size too, as the data could not be found without it.
        self.file.sync_data().map_err(io("sync", &path))?;
        self.metrics
            .journal_sync_seconds
            .observe(before.elapsed().as_secs_f64());
        self.metrics.journal_syncs.inc();
        let records = u32::try_from(self.group_keys.len()).unwrap_or(u32::MAX);
        self.metrics.journal_group_records.observe(records.into());
        self.metrics
            .journal_records
            .inc_by(self.group_keys.len() as u64);
        self.metrics.journal_bytes.inc_by(self.group.len() as u64);
        self.active.set_end(self.next().offset);
        if let Index::Memory(growing) = &mut *self
            .active
            .index
            .write()
            .unwrap_or_else(PoisonError::into_inner)
        {
            for (offset, keys) in self.group_keys.drain(..) {
                growing.add(&keys, offset);
            }
        }
        self.group.clear();
        self.group.shrink_to(BUFFER_KEPT);
        Ok(())
    }

    /// Whether the segment has reached its size, its index's size, or its age at `now_ms` (steady time).
    #[must_use]
    pub fn wants_roll(&self, now_ms: u64) -> bool {
        let end = self.active.end();
        let aged =
            now_ms.saturating_sub(self.active.header.created_ms) >= self.options.segment_age_max_ms;
        end > SEGMENT_HEAD
            && (u64::from(end) >= self.options.segment_bytes_max.min(1 << 30)
                || aged
                || self.indexed() >= ENTRIES_MAX)
    }

    fn indexed(&self) -> usize {
        match &*self
            .active
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Index::Memory(growing) => growing.len(),
            Index::File { .. } => 0,
        }
    }

    /// Seals the segment and begins the next. Nothing may be staged.
    ///
    /// # Errors
    /// [`Error::NoRoom`]: the segment is gone on with. [`Error::Io`]: the journal must not be used any more.
    pub fn roll(&mut self, now_ms: u64) -> Result<(), Error> {
        assert!(self.group.is_empty(), "a group belongs to one segment");
        let number = self.active.header.number + 1;
        let mut room = Room::from(0, self.options.segment_bytes_max);
        let names = &self.reader.shared.names;
        let (header, file) = segment::create(names, number, now_ms, &mut room)?;
        let next = Arc::new(Segment::new(
            header,
            SEGMENT_HEAD,
            Index::Memory(Growing::default()),
        ));
        self.reader
            .shared
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, Arc::clone(&next));
        // The room that it did not need goes back to the disk.
        if let Err(error) = self.file.set_len(u64::from(self.active.end())) {
            tracing::warn!(segment = number - 1, %error, "room that is not needed any more was not given back");
        }
        let sealed = std::mem::replace(&mut self.active, next);
        (self.file, self.room) = (file, room);
        #[cfg(test)]
        if self.sealed.is_none() {
            self.unindexed.push_back(Arc::clone(&sealed));
        }
        if let Some(sender) = &self.sealed
            && sender.send(sealed).is_err()
        {
            tracing::error!(
                segment = number - 1,
                "the indexer has gone; the index stays in memory"
            );
        }
        Ok(())
    }

    /// Deletes the segments up to `last`, never the one being written. Gives how many.
    ///
    /// Readers that hold one of them open finish their read; others get [`Error::Gone`].
    ///
    /// # Errors
    /// [`Error::Io`]; what was deleted is gone from the table.
    pub fn delete_through(&mut self, last: u32) -> Result<u32, Error> {
        let last = last.min(self.active.header.number - 1);
        let (oldest, _) = self.reader.bounds();
        let mut deleted = 0;
        for number in self.reader.numbers(oldest, last).into_iter().rev() {
            let shared = &self.reader.shared;
            // An index that is being written now would otherwise be written after its segment has gone.
            let _held = shared
                .rebuilding
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            shared
                .segments
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&number);
            shared.files.forget(number);
            for kind in [Kind::Log, Kind::Index] {
                let path = segment::path(&self.options.path, number, kind);
                match shared.disk.remove(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(io("delete", &path)(error));
                    }
                    _ => {}
                }
            }
            // One at a time, so that a power loss never brings an older segment back without a newer one.
            shared.names.sync()?;
            deleted += 1;
        }
        Ok(deleted)
    }

    /// How many pieces of damage were set aside so far.
    #[must_use]
    pub fn set_aside(&self) -> u64 {
        self.reader.shared.set_aside.load(Ordering::Relaxed)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.sealed = None;
        if let Some(indexer) = self.indexer.take()
            && indexer.join().is_err()
        {
            tracing::error!(
                "the indexer panicked; missing indexes are made again at the next start"
            );
        }
    }
}

/// Writes the indexes of sealed segments, in a thread of its own, so that commits do not wait for it.
fn write_indexes(shared: &Shared, waiting: &Receiver<Arc<Segment>>) {
    while let Ok(segment) = waiting.recv() {
        write_index(shared, &segment);
    }
}

fn write_index(shared: &Shared, segment: &Segment) {
    let number = segment.header.number;
    let _held = shared
        .rebuilding
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let there = shared
        .segments
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .contains_key(&number);
    if there && let Err(error) = install_from_memory(shared, segment) {
        tracing::error!(segment = number, %error, "could not write an index; it stays in memory");
    }
}

fn install_from_memory(shared: &Shared, segment: &Segment) -> Result<(), Error> {
    let path = segment::path(&shared.directory, segment.header.number, Kind::Index);
    // Readers go on reading the same entries while they are written; a sealed segment gets no new ones.
    let filter = match &*segment.index.read().unwrap_or_else(PoisonError::into_inner) {
        Index::Memory(growing) => {
            super::index::write(&shared.disk, growing, segment.header.number, &path)?
        }
        Index::File { .. } => return Ok(()),
    };
    shared.names.sync()?;
    shared.use_file(segment, filter)
}
