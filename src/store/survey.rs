//! A look through the whole journal of a data directory, frame by frame: what is in it, and what is wrong.
//!
//! Nothing is changed on disk. The journal may be one that a daemon is writing; what is appended later is not seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::journal::raw::{self, FreshIndex, IndexFound, Log, Piece};
use crate::model::{Position, SteadyMillis, UnixMillis, Webhook};

use super::Error;
use super::codec;
use super::directory::journal_path;
use super::image::{Difference, Image};
use super::record::Record;

/// Pieces of damage and faulty indexes that are named; more are counted only.
const NAMED_MAX: usize = 1000;

/// What a journal amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Its segments.
    pub segments: u64,
    /// Their size, indexes not counted.
    pub bytes: u64,
    /// Records that check.
    pub records: u64,
    /// Events.
    pub events: u64,
    /// Deliveries that were made of them.
    pub deliveries: u64,
    /// Deliveries that are pending.
    pub pending: u64,
    /// Registered webhooks.
    pub webhooks: u64,
    /// The oldest segment; 0 where there is none.
    pub oldest: u32,
    /// Where the last record ends.
    pub end: Option<Position>,
    /// The highest wall clock of a record.
    pub newest: Option<UnixMillis>,
    /// The highest steady time of a record.
    pub steady: SteadyMillis,
    /// How many pieces of damage there are.
    pub damaged: u64,
    /// … and which, the first thousand.
    pub damage: Vec<Damage>,
    /// Bytes after the last record of the last segment: a group that was being written.
    pub torn: Option<Damage>,
    /// Sealed segments whose index is not what it should be, the first thousand.
    pub indexes: Vec<IndexFault>,
}

/// Bytes of a segment that are no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment's file.
    pub path: PathBuf,
    /// From where.
    pub position: Position,
    /// How many bytes.
    pub bytes: u64,
    /// Whether a copy lies in `set-aside/`: it was met before, and reported then.
    pub set_aside: bool,
}

/// An index file that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFault {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub found: IndexFound,
}

impl Survey {
    /// Pieces of damage that were not known before.
    #[must_use]
    pub fn new_damage(&self) -> u64 {
        let known = self.damage.iter().filter(|damage| damage.set_aside).count();
        self.damaged - known as u64
    }
}

/// sled's state, to be held against the journal.
pub(super) struct Held {
    pub(super) applied: Position,
    pub(super) image: Image,
    pub(super) counts: BTreeMap<u32, i64>,
}

/// What is looked at besides the records.
#[derive(Default)]
pub(super) struct Depth {
    /// Indexes are made and compared.
    pub(super) indexes: bool,
    /// Only this many of the newest segments are read; all where it is `None`.
    pub(super) newest: Option<usize>,
    /// This is compared.
    pub(super) held: Option<Held>,
}

/// The look through a journal, under way.
pub(super) struct Surveyor<'a> {
    journal: PathBuf,
    depth: Depth,
    progress: &'a mut dyn FnMut(u64),
    pub(super) survey: Survey,
    pub(super) image: Image,
    /// `None`: sled was not compared, or stands where the journal does not reach.
    pub(super) difference: Option<Difference>,
}

/// The webhooks that are registered, as the journal's newest segments say; a running daemon's, too.
///
/// # Errors
/// [`Error`] names the file.
pub fn registered(directory: &Path) -> Result<(Vec<Webhook>, Survey), Error> {
    let depth = Depth {
        // The newest may have just begun, and not hold the whole registry yet.
        newest: Some(2),
        ..Depth::default()
    };
    let mut ignore = |_| {};
    let surveyor = Surveyor::run(directory, depth, &mut ignore)?;
    Ok((surveyor.image.webhooks(), surveyor.survey))
}

impl<'a> Surveyor<'a> {
    /// Reads the journal of a data directory. `progress` is told the bytes of each segment.
    pub(super) fn run(
        directory: &Path,
        depth: Depth,
        progress: &'a mut dyn FnMut(u64),
    ) -> Result<Self, Error> {
        let mut this = Self {
            journal: journal_path(directory),
            depth,
            progress,
            survey: Survey::default(),
            image: Image::default(),
            difference: None,
        };
        let mut numbers = raw::numbers(&this.journal)?;
        if let Some(newest) = this.depth.newest {
            numbers.drain(..numbers.len().saturating_sub(newest));
        }
        this.survey.oldest = numbers.first().copied().unwrap_or_default();
        let mut before: Option<u32> = None;
        for number in &numbers {
            for missing in before.map_or(*number, |before| before + 1)..*number {
                let offset = 0;
                this.damage(
                    Position {
                        segment: missing,
                        offset,
                    },
                    0,
                );
            }
            before = Some(*number);
            this.segment(*number, Some(number) == numbers.last())?;
        }
        if let (Some(held), Some(end)) = (&this.depth.held, this.survey.end)
            && held.applied <= end
        {
            this.compare();
        }
        this.survey.pending = this.image.queue.len() as u64;
        this.survey.webhooks = this.image.rows.values().filter(|row| !row.removed).count() as u64;
        this.survey.steady = this.image.steady;
        Ok(this)
    }

    fn segment(&mut self, number: u32, last: bool) -> Result<(), Error> {
        let path = raw::log_path(&self.journal, number);
        self.survey.segments += 1;
        let Some(log) = Log::open(&self.journal, number)? else {
            let bytes = std::fs::metadata(&path)
                .map_err(super::error::io("read", &path))?
                .len();
            self.survey.bytes += bytes;
            // Made and never used: the open deletes it.
            if last && bytes <= u64::from(raw::FIRST_OFFSET) {
                return Ok(());
            }
            self.damage(
                Position {
                    segment: number,
                    offset: 0,
                },
                bytes,
            );
            return Ok(());
        };
        self.survey.bytes += log.bytes();
        let mut fresh = FreshIndex::default();
        let offset = log.walk::<Error>(|piece| {
            match piece {
                Piece::Record(position, payload) => {
                    let record = codec::decode_record(payload).map_err(|source| Error::Record {
                        path: path.clone(),
                        offset: position.offset,
                        source,
                    })?;
                    if self.depth.indexes && !last {
                        fresh.add(&record.keys(position), position.offset);
                    }
                    self.record(&record, position);
                }
                Piece::Damage(position, bytes) => self.damage(position, u64::from(bytes)),
                Piece::Rest(position, bytes) if last => {
                    self.survey.torn = Some(Damage {
                        path: path.clone(),
                        position,
                        bytes: u64::from(bytes),
                        set_aside: false,
                    });
                }
                Piece::Rest(position, bytes) => self.damage(position, u64::from(bytes)),
            }
            Ok(())
        })?;
        self.survey.end = Some(Position {
            segment: number,
            offset,
        });
        if self.depth.indexes && !last {
            self.index(&fresh, number)?;
        }
        (self.progress)(log.bytes());
        Ok(())
    }

    fn index(&mut self, fresh: &FreshIndex, number: u32) -> Result<(), Error> {
        let found = fresh.compare(&self.journal, number)?;
        if found != IndexFound::Good && self.survey.indexes.len() < NAMED_MAX {
            let path = raw::index_path(&self.journal, number);
            self.survey.indexes.push(IndexFault { path, found });
        }
        Ok(())
    }

    fn record(&mut self, record: &Record, position: Position) {
        if self
            .depth
            .held
            .as_ref()
            .is_some_and(|held| held.applied <= position)
        {
            self.compare();
        }
        self.survey.records += 1;
        if let Record::Accepted { webhooks, .. } | Record::AcceptedTraced { webhooks, .. } = record
        {
            self.survey.events += 1;
            self.survey.deliveries += webhooks.len() as u64;
        }
        self.survey.newest = self.survey.newest.max(Some(record.moment().wall));
        self.image.take(record, position);
    }

    /// Holds sled's state against the journal's, once.
    fn compare(&mut self) {
        if let Some(held) = self.depth.held.take() {
            let oldest = self.survey.oldest;
            self.difference = Some(self.image.difference(&held.image, &held.counts, oldest));
        }
    }

    fn damage(&mut self, position: Position, bytes: u64) {
        self.survey.damaged += 1;
        if self.survey.damage.len() < NAMED_MAX {
            self.survey.damage.push(Damage {
                path: raw::log_path(&self.journal, position.segment),
                position,
                bytes,
                set_aside: raw::set_aside_path(&self.journal, position).exists(),
            });
        }
    }
}
