//! Opening: directory, lock, journal, sled, replay; and building sled again where it cannot be used.
//!
//! Recovery is `apply` again, on the records after `applied`. sled is never repaired: where it does not open,
//! panics, or is ahead of the journal, it is moved aside and made from the journal, loudly.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::journal::{self, IndexKey, Journal};
use crate::metrics::Metrics;
use crate::model::{Clock, Position, SteadyMillis, WebhookId};

use super::apply::apply;
use super::committer::{self, Committer};
use super::durable::{SledFiles, sled_is_durable};
use super::error::{io, sled_at};
use super::inbox::Inbox;
use super::live::Live;
use super::{Error, IDS_SEGMENTS_MAX, Options, Reader, WriteError, Writer, codec};

const FORMAT: &str = "hookwheel data 1\n";
/// The overlay is flushed at this many keys while the journal is replayed.
const REPLAY_KEYS_MAX: usize = 4096;
/// sled's own lock is tried this often, with this pause: five seconds in all.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// The name of a registry that was moved aside, before its number.
const BROKEN: &str = "registry.broken-";
/// So many of them are kept: each may be as large as the registry.
const BROKEN_MAX: usize = 3;
/// Bytes of a frame before its payload; the position after a record is so much further.
const FRAME_HEAD: u32 = 8;

/// An open store.
pub struct Opened {
    /// Writes to it.
    pub writer: Writer,
    /// Reads from it.
    pub reader: Reader,
    /// Stops it.
    pub handle: Handle,
    /// What was found.
    pub report: Report,
    /// The process's clock, whose steady time goes on where the last process's ended.
    pub clock: Clock,
    /// Tells when the store has failed, and how; then the process is to end.
    pub fatal: watch::Receiver<Option<String>>,
}

/// What was found when the store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the journal found.
    pub journal: journal::Recovery,
    /// Records applied again.
    pub replayed: u64,
    /// Pieces of damage met while applying them.
    pub damaged: u64,
    /// Where an unusable sled directory was moved to; it was made again from the journal.
    pub moved_aside: Option<PathBuf>,
}

/// The committer's thread. Dropping it stops the store too, but tells nobody what became of it.
pub struct Handle {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Handle {
    /// Stops the store: what waits is still written, then sled is synced. Blocks until that is done.
    ///
    /// # Errors
    /// [`WriteError::Failed`] where the store had failed before, or did now.
    pub fn stop(mut self) -> Result<(), WriteError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), WriteError> {
        self.inbox.close(WriteError::Stopped);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(failure))) => Err(WriteError::Failed(failure)),
            Some(Err(_)) => Err(WriteError::Failed("the committer panicked".to_owned())),
            Some(Ok(Ok(()))) | None => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            tracing::error!(%error, "the store did not stop well");
        }
    }
}

/// Opens the store, or makes an empty one.
///
/// # Errors
/// [`Error`] names the file and the remedy.
pub fn open(options: Options, metrics: Metrics) -> Result<Opened, Error> {
    let lock = prepare(&options.path)?;
    if !sled_is_durable() {
        tracing::warn!(
            "no seccomp filter on sync_file_range: sled's file is synced after each flush instead"
        );
    }
    let journal_options = journal::Options {
        path: options.path.join("journal"),
        segment_bytes_max: options.segment_bytes_max,
        segment_age_max_ms: options.segment_age_max_ms,
        filters_max: IDS_SEGMENTS_MAX,
    };
    // Of a new journal: its steady time begins at the wall clock.
    let now_ms = Clock::system().steady().0;
    let (journal, recovery) = Journal::open(journal_options, keys_of, metrics.clone(), now_ms)?;
    let mut report = Report {
        journal: recovery,
        ..Report::default()
    };
    let (mut live, orphans) = recover(&options, &journal.reader(), &mut report)?;
    live.hold(lock);
    let files = SledFiles::new(&sled_path(&options.path));
    files.sync_all()?;
    start(
        options,
        metrics,
        Parts {
            journal,
            live,
            orphans,
            files,
        },
        report,
    )
}

struct Parts {
    journal: Journal,
    live: Live,
    orphans: Vec<WebhookId>,
    files: SledFiles,
}

fn start(
    options: Options,
    metrics: Metrics,
    parts: Parts,
    report: Report,
) -> Result<Opened, Error> {
    let Parts {
        journal,
        live,
        orphans,
        files,
    } = parts;
    let (applied, steady) = live.applied();
    let applied = applied.unwrap_or_else(|| journal.next());
    let clock = clock(&journal.reader(), report.journal.newest, steady)?;
    let inbox = Arc::new(Inbox::new(options.commit_queue_max));
    let disk_low = Arc::new(AtomicBool::new(false));
    let purging = to_purge(&live, orphans);
    let journal_reader = journal.reader();
    let live = Arc::new(live);
    let mut committer = Committer {
        reader: journal_reader.clone(),
        live: Arc::clone(&live),
        inbox: Arc::clone(&inbox),
        clock: clock.clone(),
        disk_low: Arc::clone(&disk_low),
        durable: Position {
            segment: 0,
            offset: 0,
        },
        flushed: applied,
        begun_at: 0,
        disk_checked: None,
        wall_ahead_ms: clock.wall_ahead_ms(),
        buffer: Vec::new(),
        journal,
        metrics,
        options,
        files,
        purging,
    };
    // The registry in the segment that is gone on with may be torn.
    committer.begin_segment()?;
    let (fatal_sender, fatal) = watch::channel(None);
    let thread = std::thread::Builder::new()
        .name("hookwheel-commit".to_owned())
        .spawn(move || committer::run(committer, &fatal_sender))
        .map_err(|source| Error::Io {
            action: "start a thread for",
            path: PathBuf::from("the committer"),
            source,
        })?;
    tracing::info!(
        replayed = report.replayed,
        damaged = report.damaged,
        "store opened"
    );
    Ok(Opened {
        writer: Writer {
            inbox: Arc::clone(&inbox),
            disk_low,
        },
        reader: Reader {
            live,
            journal: journal_reader,
        },
        handle: Handle {
            inbox,
            thread: Some(thread),
        },
        report,
        clock,
        fatal,
    })
}

/// The process's clock: it goes on from the newest record, and from `steady`, the highest steady time of all.
fn clock(
    journal: &journal::Reader,
    newest: Option<Position>,
    steady: SteadyMillis,
) -> Result<Clock, Error> {
    let last = newest
        .map(|position| super::history::record_at(journal, position))
        .transpose()?
        .map(|record| record.moment());
    let Some(last) = last else {
        return Ok(Clock::starting_at(steady));
    };
    let clock = Clock::going_on(last.steady.max(steady), last.wall);
    let (wall, down) = (clock.wall(), clock.steady().since(last.steady));
    if wall.0.saturating_sub(last.wall.0) > down.saturating_add(1_000) || wall.0 < last.wall.0 {
        tracing::warn!(
            last = %last.wall, now = %wall,
            "the wall clock is not where it could be expected: it was set, or the daemon was stopped for more than a \
             day; retries and the age of history go on as if a day had passed at most"
        );
    }
    Ok(clock)
}

/// Webhooks whose pending deliveries are to be cancelled: the removed ones, and those without a row.
fn to_purge(live: &Live, orphans: Vec<WebhookId>) -> BTreeSet<WebhookId> {
    let removed: Vec<WebhookId> = live.rows(|rows| {
        rows.values()
            .filter(|row| row.removed)
            .map(|row| row.webhook.id)
            .collect()
    });
    removed.into_iter().chain(orphans).collect()
}

/// The keys of a record, for an index that is made again.
fn keys_of(payload: &[u8], position: Position) -> Vec<IndexKey> {
    match codec::decode_record(payload) {
        Ok(record) => record.keys(position),
        Err(error) => {
            tracing::error!(%position, %error, "a record does not decode; history does not show it");
            Vec::new()
        }
    }
}

/// Makes the data directory usable and ours.
fn prepare(path: &Path) -> Result<File, Error> {
    let refused = |remedy: &'static str| {
        move |source: std::io::Error| Error::Directory {
            path: path.to_owned(),
            source,
            remedy,
        }
    };
    let remedied = |error: std::io::Error| {
        let remedy = match error.kind() {
            ErrorKind::NotFound => "create its parent directory, or set another storage.path",
            ErrorKind::NotADirectory => "it is a file: move it away, or set another storage.path",
            _ => "let the daemon's user write there, or set another storage.path",
        };
        refused(remedy)(error)
    };
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(remedied(error)),
        _ => {}
    }
    let lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join("lock"))
        .map_err(remedied)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::Locked {
                path: path.to_owned(),
            });
        }
        Err(TryLockError::Error(source)) => {
            return Err(refused("use a file system that supports locks")(source));
        }
    }
    check_format(path)?;
    Ok(lock)
}

fn check_format(directory: &Path) -> Result<(), Error> {
    let path = directory.join("format");
    match std::fs::read_to_string(&path) {
        Ok(found) if found == FORMAT => Ok(()),
        // Empty: made by an earlier version, and a crash came before it was written and before there was any data.
        Ok(found) if !found.is_empty() => Err(Error::Format {
            path,
            found: found.trim().chars().take(80).collect(),
        }),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("read", &path)(error)),
        _ => begin_format(directory, &path),
    }
}

/// Makes the directory's own name durable, and then the format file, whole under its name or not at all: with it
/// the directory counts as begun.
fn begin_format(directory: &Path, path: &Path) -> Result<(), Error> {
    let parent = match directory.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => directory,
    };
    match sync(parent) {
        // Not ours to read: whoever made the directory there answers for its name.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => tracing::warn!(
            path = %parent.display(), %error,
            "cannot sync the directory that the data directory lies in; run `sync` once, or its name may not survive a power loss"
        ),
        synced => synced.map_err(io("sync", parent))?,
    }
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, FORMAT).map_err(io("write", &temporary))?;
    sync(&temporary).map_err(io("sync", &temporary))?;
    std::fs::rename(&temporary, path).map_err(io("rename to", path))?;
    sync(directory).map_err(io("sync", directory))
}

fn sync(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

fn sled_path(directory: &Path) -> PathBuf {
    directory.join("registry")
}

/// Opens sled and applies what it lacks. Gives the live state, and webhooks with deliveries but no row.
fn recover(
    options: &Options,
    journal: &journal::Reader,
    report: &mut Report,
) -> Result<(Live, Vec<WebhookId>), Error> {
    match load(options)? {
        Ok(live) => match live.applied().0 {
            Some(applied) if journal.covers(applied) => {
                let damaged = replay(&live, journal, applied, report)?;
                // After damage differences cannot be trusted: the record that was lost may have made one.
                let doubtful = damaged > 0 || report.journal.damaged > 0;
                let orphans = if doubtful {
                    live.recount()?
                } else {
                    Vec::new()
                };
                return Ok((live, orphans));
            }
            Some(applied) => move_aside(
                options,
                report,
                &format!("its position {applied} is not in the journal"),
            )?,
            None if live.is_empty() => return rebuild(live, journal, report),
            None => move_aside(options, report, "it does not say how far it is applied")?,
        },
        Err(reason) => move_aside(options, report, &reason)?,
    }
    let live = load(options)?.map_err(|reason| Error::Directory {
        path: sled_path(&options.path),
        source: std::io::Error::other(reason),
        remedy: "check the disk's space and health",
    })?;
    rebuild(live, journal, report)
}

/// Opens sled, which answers some damage with an error and some with a panic: then it gives why sled cannot be used.
///
/// # Errors
/// Where the system refuses what sled needs, which another sled would need as well.
fn load(options: &Options) -> Result<Result<Live, String>, Error> {
    let path = sled_path(&options.path);
    let config = sled::Config::new()
        .path(&path)
        .flush_every_ms(None)
        .mode(sled::Mode::LowSpace)
        .cache_capacity(options.cache_bytes);
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
        SledFiles::new(&path).delete_unfinished()?;
        open_sled(&config, &path)
    }));
    match opened {
        Ok(Ok(live)) => Ok(Ok(live)),
        Ok(Err(error)) if is_refusal(&error) => Err(error),
        Ok(Err(error)) => Ok(Err(error.to_string())),
        Err(_) => Ok(Err("it panicked".to_owned())),
    }
}

/// Whether an error says nothing against the data: a full disk, a file system that may not be written.
fn is_refusal(error: &Error) -> bool {
    let (Error::Io { source, .. }
    | Error::Sled {
        source: sled::Error::Io(source),
        ..
    }) = error
    else {
        return false;
    };
    matches!(
        source.kind(),
        ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
    )
}

/// Opens sled. Its threads hold its own lock a moment longer than the last handle to it; as the data directory
/// is ours, that is the only reason for it to be held, and worth some waiting.
pub(super) fn open_sled(config: &sled::Config, path: &Path) -> Result<Live, Error> {
    let mut tries = 1;
    loop {
        match config.open() {
            Err(sled::Error::Io(error))
                if tries < LOCK_TRIES && error.to_string().contains("could not acquire lock") =>
            {
                tries += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            opened => return Live::load(opened.map_err(sled_at(path))?, path),
        }
    }
}

/// Moves sled's directory away. The newest few that were moved so are kept for whoever wants to know why.
fn move_aside(options: &Options, report: &mut Report, reason: &str) -> Result<(), Error> {
    let from = sled_path(&options.path);
    let mut there = Vec::new();
    for entry in std::fs::read_dir(&options.path).map_err(io("list", &options.path))? {
        let name = entry.map_err(io("list", &options.path))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(BROKEN));
        there.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    there.sort_unstable();
    let numbered = |number: u32| options.path.join(format!("{BROKEN}{number}"));
    let to = numbered(there.last().map_or(1, |last| last.saturating_add(1)));
    tracing::error!(
        reason, moved_to = %to.display(),
        "the registry cannot be used; moved aside, and made again from the journal"
    );
    for number in there.iter().rev().skip(BROKEN_MAX - 1) {
        let old = numbered(*number);
        let deleted = if old.is_dir() {
            std::fs::remove_dir_all(&old)
        } else {
            std::fs::remove_file(&old)
        };
        deleted.map_err(io("delete", &old))?;
    }
    std::fs::rename(&from, &to).map_err(io("move aside", &from))?;
    report.moved_aside = Some(to);
    Ok(())
}

/// Makes an empty sled what the whole journal says.
fn rebuild(
    live: Live,
    journal: &journal::Reader,
    report: &mut Report,
) -> Result<(Live, Vec<WebhookId>), Error> {
    let start = journal.start_of(journal.bounds().0);
    replay(&live, journal, start, report)?;
    // The oldest segments may be deleted, and with them what these records' differences were made from.
    let orphans = live.recount()?;
    live.flush()?;
    live.sync()?;
    Ok((live, orphans))
}

fn replay(
    live: &Live,
    journal: &journal::Reader,
    from: Position,
    report: &mut Report,
) -> Result<u64, Error> {
    let mut replayed = 0;
    // Not so when sled is made again: a crash on the way must not leave a part of it that looks whole.
    let whole = live.applied().0.is_some();
    let damaged = journal.scan::<Error>(from, |position, payload| {
        let record = codec::decode_record(payload)?;
        let length = u32::try_from(payload.len()).expect("bounded by the journal") + FRAME_HEAD;
        let after = Position {
            offset: position.offset + length,
            ..position
        };
        live.merge(
            apply(&record, position),
            whole.then_some(after),
            record.moment().steady,
        );
        replayed += 1;
        if live.unflushed().0 >= REPLAY_KEYS_MAX {
            live.flush()?;
        }
        Ok(())
    })?;
    // Positions compare by segment first, so the end of the journal is where the next record will stand.
    live.merge(Vec::new(), Some(journal.end()), SteadyMillis(0));
    report.replayed = replayed;
    report.damaged = damaged;
    Ok(damaged)
}

/// Used by tests to see what a record says.
#[cfg(test)]
pub(super) fn records(journal: &journal::Reader) -> Vec<(Position, super::record::Record)> {
    let mut records = Vec::new();
    journal
        .scan::<Error>(journal.start_of(journal.bounds().0), |position, payload| {
            records.push((position, codec::decode_record(payload)?));
            Ok(())
        })
        .unwrap();
    records
}
