//! Opening: directory, lock, journal, sled, replay; and building sled again where it cannot be used.
//!
//! Recovery is `apply` again, on the records after `applied`. sled is never repaired: where it does not open,
//! panics, or bears the mark of damage, it is moved aside and made from the journal, loudly.
//!
//! sled is opened first, as its `applied` tells up to where the journal had been synced: a journal that ends
//! earlier has lost something. sled then knows more of what is live than the journal, and is kept.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::journal::{self, IndexKey, Journal};
use crate::metrics::Metrics;
use crate::model::{Clock, Position, WebhookId};

use super::apply::apply;
use super::committer::{self, Committer};
use super::durable::{SledFiles, sled_is_durable};
use super::error::io;
use super::inbox::Inbox;
use super::live::Live;
use super::space::{Ballast, Space, is_short};
use super::suspect::{self, Suspect};
use super::{Error, IDS_SEGMENTS_MAX, Options, Reader, WriteError, Writer, codec};

const FORMAT: &str = "hookwheel data 1\n";
/// The overlay is flushed at this many keys while the journal is replayed.
const REPLAY_KEYS_MAX: usize = 4096;
/// … and at this many while sled is made again: a delivery that ends within as many never touches sled. They
/// take about 20 MB.
const REBUILD_KEYS_MAX: usize = 128 * 1024;
/// A segment number beyond this is no position but garbage: at one a second it takes a century to get there.
const SEGMENT_MAX: u32 = 4_000_000_000;
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
    // sled makes small files of its own when it opens.
    let mut ballast = Ballast::of(&options.path);
    ballast.release(&options.path)?;
    let loaded = load(&options);
    let journal_options = journal::Options {
        path: options.path.join("journal"),
        segment_bytes_max: options.segment_bytes_max,
        segment_age_max_ms: options.segment_age_max_ms,
        filters_max: IDS_SEGMENTS_MAX,
        synced: loaded.as_ref().ok().and_then(synced_to),
    };
    let now_ms = Clock::system().wall().0;
    let (journal, recovery) = Journal::open(journal_options, keys_of, metrics.clone(), now_ms)?;
    let mut report = Report {
        journal: recovery,
        ..Report::default()
    };
    let (mut live, orphans) = recover(&options, loaded, &journal.reader(), &mut report)?;
    ballast.take_back();
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
            ballast,
        },
        report,
    )
}

struct Parts {
    journal: Journal,
    live: Live,
    orphans: Vec<WebhookId>,
    files: SledFiles,
    ballast: Ballast,
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
        ballast,
    } = parts;
    let (applied, steady) = live.applied();
    let applied = applied.unwrap_or_else(|| journal.next());
    let clock = Clock::starting_at(steady);
    let inbox = Arc::new(Inbox::new(options.commit_queue_max));
    let space = Arc::new(watch::Sender::new(Space::Enough));
    let purging = to_purge(&live, orphans);
    let journal_reader = journal.reader();
    let live = Arc::new(live);
    let mut committer = Committer {
        reader: journal_reader.clone(),
        live: Arc::clone(&live),
        inbox: Arc::clone(&inbox),
        clock: clock.clone(),
        space: Arc::clone(&space),
        ballast,
        held: None,
        late: Vec::new(),
        durable: Position {
            segment: 0,
            offset: 0,
        },
        flushed: applied,
        registry_bytes: None,
        disk_checked: None,
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
    live.suspect().set_alarm(alarm(&inbox, &fatal_sender));
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
            space,
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

/// Fails the store when sled turns out to be damaged, whoever finds out.
fn alarm(
    inbox: &Arc<Inbox>,
    fatal: &watch::Sender<Option<String>>,
) -> Box<dyn Fn(&str) + Send + Sync> {
    let (inbox, fatal) = (Arc::clone(inbox), fatal.clone());
    Box::new(move |reason| {
        let failure = Error::Suspect(reason.to_owned()).to_string();
        inbox.close(WriteError::Failed(failure.clone()));
        fatal.send_replace(Some(failure));
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
    for webhook_id in &orphans {
        tracing::error!(%webhook_id, "the record of a webhook's registration is lost; what waits for it is cancelled");
    }
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
    let read = std::fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match read {
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

/// Opens sled and applies what it lacks. Gives the live state, and webhooks with deliveries but no row.
fn recover(
    options: &Options,
    loaded: Result<Live, String>,
    journal: &journal::Reader,
    report: &mut Report,
) -> Result<(Live, Vec<WebhookId>), Error> {
    let files = SledFiles::new(&sled_path(&options.path));
    let reason = match loaded.map(|live| (live.applied().0, live)) {
        Ok((applied, live)) => {
            let recovered = match applied {
                Some(applied) if applied <= journal.end() => {
                    catch_up(&live, &files, journal, applied, report)
                }
                Some(applied) => Err(Error::Suspect(format!(
                    "its position {applied} is not in the journal"
                ))),
                None if live.is_empty() => rebuild(&live, options, &files, journal, report),
                None => Err(Error::Suspect(
                    "it does not say how far it is applied".to_owned(),
                )),
            };
            match recovered {
                Ok(orphans) => return Ok((live, orphans)),
                Err(Error::Suspect(reason)) => abandon(live, reason),
                Err(error) => return Err(error),
            }
        }
        // Then nothing is known to be wrong with it, and another one would not open either.
        Err(reason) if is_short(&options.path) => {
            return Err(refused(options, reason, "make room on its disk"));
        }
        Err(reason) => reason,
    };
    move_aside(options, report, &reason)?;
    let live = load(options)
        .map_err(|reason| refused(options, reason, "check the disk's space and health"))?;
    let orphans = rebuild(&live, options, &files, journal, report)?;
    Ok((live, orphans))
}

/// Up to where the journal was synced at least, as sled tells.
fn synced_to(live: &Live) -> Option<Position> {
    let applied = live.applied().0?;
    (1..=SEGMENT_MAX)
        .contains(&applied.segment)
        .then_some(applied)
}

/// Applies what sled lacks. Gives the webhooks that have deliveries but no row.
fn catch_up(
    live: &Live,
    files: &SledFiles,
    journal: &journal::Reader,
    applied: Position,
    report: &mut Report,
) -> Result<Vec<WebhookId>, Error> {
    // Retention leaves what something pending points into.
    for segment in live.segments() {
        if journal.report_missing(segment)? {
            report.journal.damaged += 1;
        }
    }
    let damaged = replay(live, files, journal, applied, report)?;
    // After damage differences cannot be trusted: the record that was lost may have made one.
    let lost = applied.segment < journal.bounds().0;
    if damaged > 0 || report.journal.damaged > 0 || lost {
        live.recount(true)
    } else {
        Ok(Vec::new())
    }
}

/// Closes a sled that is to be moved aside; gives back why.
fn abandon(live: Live, reason: String) -> String {
    if std::panic::catch_unwind(AssertUnwindSafe(|| drop(live))).is_err() {
        tracing::debug!("sled panicked while it was closed");
    }
    reason
}

/// Opens sled, which answers some damage with an error and some with a panic.
fn load(options: &Options) -> Result<Live, String> {
    if let Some(reason) = suspect::found(&options.path) {
        return Err(reason);
    }
    let path = sled_path(&options.path);
    SledFiles::new(&path)
        .delete_unfinished()
        .map_err(|error| error.to_string())?;
    let config = sled::Config::new()
        .path(&path)
        .flush_every_ms(None)
        .mode(sled::Mode::LowSpace)
        .cache_capacity(options.cache_bytes);
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
        open_sled(&config, Suspect::new(&options.path))
    }));
    match opened {
        Ok(loaded) => loaded.map_err(|error| error.to_string()),
        Err(_) => Err("it panicked".to_owned()),
    }
}

/// Opens sled. Its threads hold its own lock a moment longer than the last handle to it; as the data directory
/// is ours, that is the only reason for it to be held, and worth some waiting.
pub(super) fn open_sled(config: &sled::Config, suspect: Suspect) -> Result<Live, Error> {
    let mut tries = 1;
    loop {
        match config.open() {
            Err(sled::Error::Io(error))
                if tries < LOCK_TRIES && error.to_string().contains("could not acquire lock") =>
            {
                tries += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            opened => return Live::load(opened?, suspect),
        }
    }
}

fn refused(options: &Options, reason: String, remedy: &'static str) -> Error {
    Error::Directory {
        path: sled_path(&options.path),
        source: std::io::Error::other(reason),
        remedy,
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
    match std::fs::rename(&from, &free) {
        Ok(()) => report.moved_aside = Some(free),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io("move aside", &from)(error)),
    }
    // What was found so far was found with the sled that is gone.
    suspect::clear(&options.path)
}

/// Makes an empty sled what the whole journal says.
fn rebuild(
    live: &Live,
    options: &Options,
    files: &SledFiles,
    journal: &journal::Reader,
    report: &mut Report,
) -> Result<Vec<WebhookId>, Error> {
    let start = journal.start_of(journal.bounds().0);
    let damaged = replay(live, files, journal, start, report)?;
    if !files.make_room()? {
        return Err(refused(
            options,
            "no room to make it again".to_owned(),
            "make room on its disk",
        ));
    }
    // The oldest segments may be deleted, and with them what these records' differences were made from.
    let orphans = live.recount(damaged > 0 || report.journal.damaged > 0)?;
    live.flush()?;
    live.sync()?;
    Ok(orphans)
}

fn replay(
    live: &Live,
    files: &SledFiles,
    journal: &journal::Reader,
    from: Position,
    report: &mut Report,
) -> Result<u64, Error> {
    let mut replayed = 0;
    // Not so when sled is made again: a crash on the way must not leave a part of it that looks whole.
    let whole = live.applied().0.is_some();
    let keys_max = if whole {
        REPLAY_KEYS_MAX
    } else {
        REBUILD_KEYS_MAX
    };
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
        // Without room for sled what is replayed stays in memory.
        if live.unflushed().0 >= keys_max && files.make_room()? {
            live.flush()?;
        }
        Ok(())
    })?;
    if !whole && files.make_room()? {
        // All but `applied`, in parts: the last batch is small then.
        live.flush()?;
    }
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
