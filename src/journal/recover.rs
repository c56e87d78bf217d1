//! Opening a journal: what lies in its directory becomes the table of segments, or is set aside.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

use crate::metrics::Metrics;
use crate::model::Position;

use super::disk::{Disk, File};
use super::frame::{Header, HeaderRead, SEGMENT_HEAD, Step, Walk};
use super::index::{Growing, Stored};
use super::names::Names;
use super::reader::{Reader, Shared, count_set_aside};
use super::room::{Room, is_full};
use super::segment::{self, Files, Index, Kind, Segment};
use super::{Error, GROUP_BYTES_MAX, KeysOf, KnownEnd, Options, io};

/// How much is written again at once.
const REWRITE_CHUNK: u32 = 1 << 20;

/// What was found when the journal was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes cut from the end of the last segment: a group that was being written, never acknowledged.
    pub torn_bytes: u64,
    /// Pieces of damage met in the last segment, and segments whose header could not be read.
    pub damaged: u64,
    /// Indexes that were missing or damaged, and were made again.
    pub indexes_made: u64,
    /// Where the newest record of the last segment stands, if it has any.
    pub newest: Option<Position>,
}

/// Opens the journal's directory; gives what readers share and the last segment's file.
pub(super) fn open(
    disk: &Disk,
    options: &Options,
    keys_of: KeysOf,
    metrics: Metrics,
    now_ms: u64,
) -> Result<(Shared, File, Recovery), Error> {
    let directory = &options.path;
    disk.create_dir_all(directory)
        .map_err(io("create", directory))?;
    if let Some(parent) = directory
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        disk.sync_dir(parent)
            .map_err(io("sync directory", parent))?;
    }
    let shared = Shared {
        disk: disk.clone(),
        directory: directory.clone(),
        segments: RwLock::new(BTreeMap::new()),
        files: Files::default(),
        keys_of,
        set_aside: AtomicU64::new(count_set_aside(disk, directory)?),
        filters_max: options.filters_max,
        metrics,
        rebuilding: Mutex::new(()),
        names: Names::new(disk, directory),
    };
    let mut recovery = Recovery::default();
    let (headers, unused) = headers(&shared, options.end, &mut recovery)?;
    let last = headers.last().map(|(header, _)| header.number);
    let reader = Reader {
        shared: Arc::new(shared),
    };
    for (header, length) in headers {
        let segment = Segment::new(header, length, Index::Memory(Growing::default()));
        add(&reader, segment);
    }
    let file = match last.filter(|last| last + 1 == unused) {
        Some(number) => match reopen(&reader, number, options.end, &mut recovery)? {
            Some(file) => file,
            None => begin(&reader, options, number + 1, now_ms)?,
        },
        None => begin(&reader, options, unused, now_ms)?,
    };
    // A process before this one may have ended between making or deleting a file and syncing its name.
    reader.shared.names.sync()?;
    let (oldest, newest) = reader.bounds();
    for (age, number) in reader.numbers(oldest, newest - 1).into_iter().enumerate() {
        load_index(&reader, number, age < options.filters_max, &mut recovery)?;
    }
    let shared = Arc::into_inner(reader.shared).expect("no reader was given out yet");
    Ok((shared, file, recovery))
}

fn begin(reader: &Reader, options: &Options, number: u32, now_ms: u64) -> Result<File, Error> {
    let mut room = Room::from(0, options.segment_bytes_max);
    let (header, file) = segment::create(&reader.shared.names, number, now_ms, &mut room)?;
    let index = Index::Memory(Growing::default());
    add(reader, Segment::new(header, SEGMENT_HEAD, index));
    Ok(file)
}

fn add(reader: &Reader, segment: Segment) {
    reader
        .shared
        .segments
        .write()
        .expect("nobody else has it yet")
        .insert(segment.header.number, Arc::new(segment));
}

/// The readable segments' headers and lengths, oldest first, and the next number. After the loss of the last
/// segment that is not the one after the last that is left: positions in a lost segment must stay unused.
fn headers(
    shared: &Shared,
    end: KnownEnd,
    recovery: &mut Recovery,
) -> Result<(Vec<(Header, u32)>, u32), Error> {
    let directory = &shared.directory;
    let (mut logs, mut indexes) = (Vec::new(), Vec::new());
    let disk = &shared.disk;
    for path in disk.list(directory).map_err(io("list", directory))? {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        match segment::parse_name(name) {
            Some((number, Kind::Log)) => logs.push(number),
            Some((number, Kind::Index)) => indexes.push(number),
            None if name.ends_with(".tmp") => {
                disk.remove(&path).map_err(io("delete", &path))?;
            }
            None => {}
        }
    }
    logs.sort_unstable();
    for number in indexes
        .iter()
        .filter(|number| logs.binary_search(number).is_err())
    {
        let path = segment::path(directory, *number, Kind::Index);
        disk.remove(&path).map_err(io("delete", &path))?;
    }
    let mut unused = logs.first().copied().unwrap_or(1);
    let mut headers = Vec::new();
    for number in &logs {
        // A segment that was synced to has been used, whatever became of its header.
        let may_be_new = Some(number) == logs.last()
            && match end {
                KnownEnd::Unknown => true,
                KnownEnd::Synced(synced) => synced.segment < *number,
                KnownEnd::Doubtful => false,
            };
        match header(shared, *number, may_be_new, recovery)? {
            Found::Segment(header, length) => headers.push((header, length)),
            Found::NeverUsed => continue,
            Found::Lost => {}
        }
        missing(shared, unused..*number, recovery)?;
        unused = number + 1;
    }
    // An index is made once a segment is sealed, and that is once the next one is there.
    if let Some(last) = logs.last()
        && indexes.contains(last)
        && unused == last + 1
    {
        missing(shared, unused..unused + 1, recovery)?;
        unused += 1;
    }
    if let Some(synced) = end.synced()
        && synced.segment >= unused
    {
        let first = if logs.is_empty() {
            synced.segment
        } else {
            unused
        };
        missing(shared, first..synced.segment + 1, recovery)?;
        unused = synced.segment + 1;
    }
    Ok((headers, unused))
}

/// Reports segments that are not there, between others or before what was synced: once, as a note in
/// `set-aside/` that is named by the first of them. One that was set aside itself has its entry already.
fn missing(shared: &Shared, numbers: Range<u32>, recovery: &mut Recovery) -> Result<(), Error> {
    if numbers.is_empty() {
        return Ok(());
    }
    let (first, last) = (numbers.start, numbers.end - 1);
    let note = format!("the journal's segments {first} to {last} are missing\n");
    let place = Position {
        segment: first,
        offset: 0,
    };
    if shared.set_aside(place, note.as_bytes())? {
        recovery.damaged += 1;
        tracing::error!(first, last, "segments of the journal are missing");
    }
    Ok(())
}

/// What a segment's file turned out to be.
enum Found {
    Segment(Header, u32),
    /// Deleted: it was being made when the process ended.
    NeverUsed,
    /// Set aside: without a header nothing in it can be checked.
    Lost,
}

fn header(
    shared: &Shared,
    number: u32,
    may_be_new: bool,
    recovery: &mut Recovery,
) -> Result<Found, Error> {
    let path = segment::path(&shared.directory, number, Kind::Log);
    let disk = &shared.disk;
    let file = disk.open(&path).map_err(io("open", &path))?;
    let length = file.len().map_err(io("read", &path))?;
    let mut bytes = vec![0; usize::try_from(length.min(u64::from(SEGMENT_HEAD))).expect("small")];
    file.read_exact_at(&mut bytes, 0)
        .map_err(io("read", &path))?;
    match Header::decode(&bytes) {
        HeaderRead::Good(header) if header.number == number => Ok(Found::Segment(
            header,
            u32::try_from(length).unwrap_or(u32::MAX),
        )),
        HeaderRead::Newer(version) => Err(Error::NewerVersion { path, version }),
        // A crash while the next segment was being made: its header was not synced, so it holds nothing.
        HeaderRead::Bad if may_be_new && length <= u64::from(SEGMENT_HEAD) => {
            disk.remove(&path).map_err(io("delete", &path))?;
            Ok(Found::NeverUsed)
        }
        HeaderRead::Bad | HeaderRead::Good(_) => {
            recovery.damaged += 1;
            let bytes = disk.read(&path).map_err(io("read", &path))?;
            shared.set_aside(
                Position {
                    segment: number,
                    offset: 0,
                },
                &bytes,
            )?;
            disk.remove(&path).map_err(io("delete", &path))?;
            shared.names.sync()?;
            Ok(Found::Lost)
        }
    }
}

/// Reads the last segment through: cuts its torn tail, sets damage aside, and makes its index in memory.
/// `None`: it has lost bytes at its end that were synced, so it must not be gone on with.
fn reopen(
    reader: &Reader,
    number: u32,
    known: KnownEnd,
    recovery: &mut Recovery,
) -> Result<Option<File>, Error> {
    let path = segment::path(&reader.shared.directory, number, Kind::Log);
    let disk = &reader.shared.disk;
    let file = disk.open_to_write(&path).map_err(io("open", &path))?;
    remove_index(&reader.shared, number)?;
    let segment = reader.segment(number).expect("added before");
    let length = segment.end();
    let end = length.max(SEGMENT_HEAD);
    let mut walk = Walk::new(&file, segment.header.salt, SEGMENT_HEAD, end);
    let mut growing = Growing::default();
    let (end, lost) = loop {
        match walk.step().map_err(io("read", &path))? {
            Step::Frame { offset, payload } => {
                let position = Position {
                    segment: number,
                    offset,
                };
                growing.add(&(reader.shared.keys_of)(payload, position), offset);
                recovery.newest = Some(position);
            }
            // A tear has nothing good after it. Good frames after bad bytes can also be an unsynced group
            // whose pages were written out of order; keeping those is right too, they are only early.
            Step::Bad { offset, bytes } => {
                recovery.damaged += 1;
                reader.shared.set_aside(
                    Position {
                        segment: number,
                        offset,
                    },
                    &bytes,
                )?;
            }
            Step::End { offset, rest } => {
                let position = Position {
                    segment: number,
                    offset,
                };
                let lost = match known {
                    KnownEnd::Unknown => false,
                    KnownEnd::Synced(synced) => synced.segment == number && synced.offset > offset,
                    // Where nothing is left to tell, no place is used again, and no byte is cut.
                    KnownEnd::Doubtful => true,
                };
                if lost && (rest > 0 || known != KnownEnd::Doubtful) {
                    recovery.damaged += 1;
                    let bytes = walk.rest().map_err(io("read", &path))?;
                    reader.shared.set_aside(position, &bytes)?;
                }
                recovery.torn_bytes = if lost { 0 } else { u64::from(rest) };
                break (offset, lost);
            }
        }
    };
    if recovery.torn_bytes > 0 {
        tracing::warn!(
            segment = number,
            offset = end,
            bytes = recovery.torn_bytes,
            "torn tail cut"
        );
    }
    // Not where it is right already: a cut gives the room beyond the end back, and the disk may be full now.
    if end != length && !lost {
        file.set_len(u64::from(end)).map_err(io("cut", &path))?;
    }
    // Also what was whole but perhaps not synced before the crash is synced before anything builds on it.
    rewrite(&file, end).map_err(io("write", &path))?;
    file.sync_all().map_err(io("sync", &path))?;
    if lost {
        return Ok(None);
    }
    segment.set_end(end);
    *segment.index.write().expect("nobody else has it yet") = Index::Memory(growing);
    Ok(Some(file))
}

/// A segment that is gone on with gets another index when it is sealed; one that is there already is of another life
/// of its number.
fn remove_index(shared: &Shared, number: u32) -> Result<(), Error> {
    let path = segment::path(&shared.directory, number, Kind::Index);
    match shared.disk.remove(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io("delete", &path)(error))
        }
        _ => Ok(()),
    }
}

/// Writes again what may be readable and not on disk. A sync that failed has ended the process before this one;
/// its pages stay readable, but the system takes them for written, and no later sync would write them.
fn rewrite(file: &File, end: u32) -> std::io::Result<()> {
    let last_group = end.saturating_sub(GROUP_BYTES_MAX).max(SEGMENT_HEAD);
    let mut bytes = Vec::new();
    // A file that is not cut may be shorter than a whole header.
    let length = u32::try_from(file.len()?).unwrap_or(u32::MAX);
    for (mut from, to) in [(0, SEGMENT_HEAD), (last_group, end)] {
        let to = to.min(length);
        while from < to {
            let length = (to - from).min(REWRITE_CHUNK);
            bytes.resize(length as usize, 0);
            file.read_exact_at(&mut bytes, u64::from(from))?;
            file.write_all_at(&bytes, u64::from(from))?;
            from += length;
        }
    }
    Ok(())
}

fn load_index(
    reader: &Reader,
    number: u32,
    with_filter: bool,
    recovery: &mut Recovery,
) -> Result<(), Error> {
    let segment = reader.segment(number).expect("listed before");
    match read_index(&reader.shared, number, with_filter) {
        Ok(Some(index)) => *segment.index.write().expect("nobody else has it yet") = index,
        // A bad sector too: what can be made again must not keep the store from opening.
        read => {
            let error = read.err().map(|error| error.to_string());
            tracing::warn!(
                segment = number,
                error,
                "index missing or damaged; making it again"
            );
            recovery.indexes_made += 1;
            let growing = reader.index_of(number)?;
            match reader.shared.install(&segment, &growing) {
                Err(Error::Io { source, .. }) if is_full(&source) => {
                    tracing::warn!(
                        segment = number,
                        "no room for the index; it stays in memory until the next start"
                    );
                    *segment.index.write().expect("nobody else has it yet") =
                        Index::Memory(growing);
                }
                installed => installed?,
            }
        }
    }
    Ok(())
}

fn read_index(shared: &Shared, number: u32, with_filter: bool) -> std::io::Result<Option<Index>> {
    let path = segment::path(&shared.directory, number, Kind::Index);
    let file = match shared.disk.open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let Some(stored) = Stored::open(&file, number)? else {
        return Ok(None);
    };
    if !with_filter {
        return Ok(Some(Index::File {
            stored,
            filter: None,
        }));
    }
    Ok(stored.filter(&file)?.map(|filter| Index::File {
        stored,
        filter: Some(filter),
    }))
}
