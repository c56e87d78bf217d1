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
use crate::model::{Clock, Position, WebhookId};

#[cfg(test)]
use crate::journal::{Disk, ModelDisk};
#[cfg(test)]
use crate::model::ManualTime;

use super::apply::apply;
use super::committer::{self, Committer};
use super::durable::{SledFiles, sled_is_durable};
use super::error::io;
use super::inbox::Inbox;
use super::live::Live;
use super::table::Table;
#[cfg(test)]
use super::table::model::ModelTable;
use super::{Error, IDS_SEGMENTS_MAX, Options, Reader, WriteError, Writer, codec};

const FORMAT: &str = "hookwheel data 1\n";
/// The overlay is flushed at this many keys while the journal is replayed.
const REPLAY_KEYS_MAX: usize = 4096;
/// sled's own lock is tried this often, with this pause: five seconds in all.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
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
    let now_ms = Clock::system().wall().0;
    let (journal, recovery) =
        Journal::open(journal_options(&options), keys_of, metrics.clone(), now_ms)?;
    let mut report = Report {
        journal: recovery,
        ..Report::default()
    };
    let place = Place::Directory(&options);
    let (mut live, orphans) = recover(&place, &journal.reader(), &mut report)?;
    live.hold(lock);
    let files = SledFiles::new(&sled_path(&options.path));
    files.sync_all()?;
    let parts = Parts {
        clock: Clock::starting_at(live.applied().1),
        journal,
        live,
        orphans,
        files,
    };
    start(assemble(options, metrics, parts), report)
}

fn journal_options(options: &Options) -> journal::Options {
    journal::Options {
        path: options.path.join("journal"),
        segment_bytes_max: options.segment_bytes_max,
        segment_age_max_ms: options.segment_age_max_ms,
        filters_max: IDS_SEGMENTS_MAX,
    }
}

struct Parts {
    journal: Journal,
    live: Live,
    orphans: Vec<WebhookId>,
    files: SledFiles,
    clock: Clock,
}

fn assemble(options: Options, metrics: Metrics, parts: Parts) -> Committer {
    let Parts {
        journal,
        live,
        orphans,
        files,
        clock,
    } = parts;
    let purging = to_purge(&live, orphans);
    Committer {
        flushed: live.applied().0.unwrap_or_else(|| journal.next()),
        reader: journal.reader(),
        live: Arc::new(live),
        inbox: Arc::new(Inbox::new(options.commit_queue_max)),
        clock,
        disk_low: Arc::new(AtomicBool::new(false)),
        durable: Position {
            segment: 0,
            offset: 0,
        },
        begun_at: 0,
        disk_checked: None,
        buffer: Vec::new(),
        journal,
        metrics,
        options,
        files,
        purging,
    }
}

fn start(mut committer: Committer, report: Report) -> Result<Opened, Error> {
    let (writer, reader) = (committer.writer(), committer.reader());
    let (inbox, clock) = (Arc::clone(&committer.inbox), committer.clock.clone());
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
        writer,
        reader,
        handle: Handle {
            inbox,
            thread: Some(thread),
        },
        report,
        clock,
        fatal,
    })
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
        // Empty: a crash came between making the file and writing it, before there was any data.
        Ok(found) if !found.is_empty() => Err(Error::Format {
            path,
            found: found.trim().chars().take(80).collect(),
        }),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("read", &path)(error)),
        _ => {
            std::fs::write(&path, FORMAT).map_err(io("write", &path))?;
            for path in [path.as_path(), directory] {
                File::open(path)
                    .and_then(|file| file.sync_all())
                    .map_err(io("sync", path))?;
            }
            Ok(())
        }
    }
}

fn sled_path(directory: &Path) -> PathBuf {
    directory.join("registry")
}

/// Where the table is that the live state is kept in.
enum Place<'a> {
    Directory(&'a Options),
    #[cfg(test)]
    Model(&'a ModelTable),
}

impl Place<'_> {
    fn load(&self) -> Result<Live, String> {
        match self {
            Self::Directory(options) => load(options),
            #[cfg(test)]
            Self::Model(table) => {
                table.open().map_err(|error| error.to_string())?;
                Live::load(Table::Model((*table).clone())).map_err(|error| error.to_string())
            }
        }
    }

    fn move_aside(&self, report: &mut Report, reason: &str) -> Result<(), Error> {
        match self {
            Self::Directory(options) => move_aside(options, report, reason),
            #[cfg(test)]
            Self::Model(table) => {
                table.replace()?;
                report.moved_aside = Some(PathBuf::from(reason));
                Ok(())
            }
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Directory(options) => sled_path(&options.path),
            #[cfg(test)]
            Self::Model(_) => PathBuf::from("model"),
        }
    }
}

/// Opens sled and applies what it lacks. Gives the live state, and webhooks with deliveries but no row.
fn recover(
    place: &Place<'_>,
    journal: &journal::Reader,
    report: &mut Report,
) -> Result<(Live, Vec<WebhookId>), Error> {
    match place.load() {
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
            Some(applied) => {
                place.move_aside(
                    report,
                    &format!("its position {applied} is not in the journal"),
                )?;
            }
            None if live.is_empty() => return rebuild(live, journal, report),
            None => place.move_aside(report, "it does not say how far it is applied")?,
        },
        Err(reason) => place.move_aside(report, &reason)?,
    }
    let live = place.load().map_err(|reason| Error::Directory {
        path: place.path(),
        source: std::io::Error::other(reason),
        remedy: "check the disk's space and health",
    })?;
    rebuild(live, journal, report)
}

/// Opens sled, which answers some damage with an error and some with a panic.
fn load(options: &Options) -> Result<Live, String> {
    let path = sled_path(&options.path);
    SledFiles::new(&path)
        .delete_unfinished()
        .map_err(|error| error.to_string())?;
    let config = sled::Config::new()
        .path(&path)
        .flush_every_ms(None)
        .mode(sled::Mode::LowSpace)
        .cache_capacity(options.cache_bytes);
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| open_sled(&config)));
    match opened {
        Ok(loaded) => loaded.map_err(|error| error.to_string()),
        Err(_) => Err("it panicked".to_owned()),
    }
}

/// Opens sled. Its threads hold its own lock a moment longer than the last handle to it; as the data directory
/// is ours, that is the only reason for it to be held, and worth some waiting.
pub(super) fn open_sled(config: &sled::Config) -> Result<Live, Error> {
    let mut tries = 1;
    loop {
        match config.open() {
            Err(sled::Error::Io(error))
                if tries < LOCK_TRIES && error.to_string().contains("could not acquire lock") =>
            {
                tries += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            opened => return Live::load(Table::Sled(opened?)),
        }
    }
}

fn move_aside(options: &Options, report: &mut Report, reason: &str) -> Result<(), Error> {
    let from = sled_path(&options.path);
    let free = (1_u32..)
        .map(|number| options.path.join(format!("registry.broken-{number}")))
        .find(|path| !path.exists())
        .expect("numbers do not end");
    tracing::error!(
        reason, moved_to = %free.display(),
        "the registry cannot be used; moved aside, and made again from the journal"
    );
    std::fs::rename(&from, &free).map_err(io("move aside", &from))?;
    report.moved_aside = Some(free);
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
            record.steady(),
        );
        replayed += 1;
        if live.unflushed().0 >= REPLAY_KEYS_MAX {
            live.flush()?;
        }
        Ok(())
    })?;
    // Positions compare by segment first, so the end of the journal is where the next record will stand.
    live.merge(
        Vec::new(),
        Some(journal.end()),
        crate::model::SteadyMillis(0),
    );
    report.replayed = replayed;
    report.damaged = damaged;
    Ok(damaged)
}

/// A store on models, opened as [`open`] opens one, for whoever takes the committer's steps by himself.
#[cfg(test)]
pub(super) fn open_on(
    (disk, table, time): (&ModelDisk, &ModelTable, &ManualTime),
    options: Options,
    metrics: Metrics,
    needs_own_sync: bool,
) -> Result<(Committer, Report), Error> {
    let now_ms = time.wall().0;
    let disk = Disk::Model(disk.clone());
    let (journal, recovery) = Journal::without_indexer(
        &disk,
        journal_options(&options),
        keys_of,
        metrics.clone(),
        now_ms,
    )?;
    let mut report = Report {
        journal: recovery,
        ..Report::default()
    };
    let (live, orphans) = recover(&Place::Model(table), &journal.reader(), &mut report)?;
    let parts = Parts {
        clock: time.clock(live.applied().1),
        journal,
        live,
        orphans,
        files: SledFiles::of_a_model(needs_own_sync),
    };
    let mut committer = assemble(options, metrics, parts);
    committer.begin_segment()?;
    Ok((committer, report))
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
