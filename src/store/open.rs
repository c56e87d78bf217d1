//! Opening: directory, sled, journal, recovery, and the committer's start.
//!
//! sled is opened first, as its `applied` tells up to where the journal had been synced: a journal that ends
//! earlier has lost something. sled then knows more of what is live than the journal, and is kept.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::journal::{self, IndexKey, Journal, KnownEnd};
use crate::metrics::Metrics;
use crate::model::{Clock, Position, WebhookId};

#[cfg(test)]
use crate::journal::{Disk, ModelDisk};
#[cfg(test)]
use crate::model::ManualTime;

use super::committer::{self, Committer};
use super::directory::{journal_path, prepare};
use super::durable::{SledFiles, sled_is_durable};
use super::flusher::Flusher;
use super::inbox::Inbox;
use super::live::Live;
use super::record::Moment;
use super::recover::{Place, known_end, recover};
use super::space::{Ballast, Space};
#[cfg(test)]
use super::table::model::ModelTable;
use super::{Error, IDS_SEGMENTS_MAX, Options, Reader, WriteError, Writer, codec};

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
    let place = Place::Directory(&options);
    let loaded = place.load()?;
    // Of a new journal: its steady time begins at the wall clock.
    let now_ms = Clock::system().steady().0;
    let journal = journal_options(&options, &loaded);
    let end = journal.end;
    let (journal, recovery) = Journal::open(journal, keys_of, metrics.clone(), now_ms)?;
    let mut report = Report {
        journal: recovery,
        ..Report::default()
    };
    let (mut live, orphans) = recover(&place, loaded, &journal.reader(), &mut report)?;
    ballast.take_back();
    live.hold(lock);
    let files = place.files();
    files.sync_all()?;
    let steady = live.applied().1;
    let clock = match last_moment(&journal.reader(), report.journal.newest)? {
        Some(last) => gone_on(Clock::going_on(last.steady.max(steady), last.wall), last),
        None => Clock::starting_at(steady),
    };
    let parts = Parts {
        journal,
        live,
        orphans,
        files,
        ballast,
        clock,
        end,
    };
    start(assemble(options, metrics, parts), report)
}

fn journal_options(options: &Options, loaded: &Result<Live, String>) -> journal::Options {
    journal::Options {
        path: journal_path(&options.path),
        segment_bytes_max: options.segment_bytes_max,
        segment_age_max_ms: options.segment_age_max_ms,
        filters_max: IDS_SEGMENTS_MAX,
        end: known_end(loaded),
    }
}

struct Parts {
    journal: Journal,
    live: Live,
    orphans: Vec<WebhookId>,
    files: SledFiles,
    ballast: Ballast,
    clock: Clock,
    end: KnownEnd,
}

fn assemble(options: Options, metrics: Metrics, parts: Parts) -> Committer {
    let Parts {
        journal,
        live,
        orphans,
        files,
        ballast,
        clock,
        end,
    } = parts;
    let purging = to_purge(&live, orphans);
    // What sled held when it was opened is on disk by now; what it was made of since may not be.
    let durable = match end {
        KnownEnd::Synced(applied) if applied <= journal.next() => applied,
        _ => Position {
            segment: 0,
            offset: 0,
        },
    };
    Committer {
        flushed: live.applied().0.unwrap_or_else(|| journal.next()),
        reader: journal.reader(),
        live: Arc::new(live),
        inbox: Arc::new(Inbox::new(options.commit_queue_max)),
        space: Arc::new(watch::Sender::new(Space::Enough)),
        ballast,
        held: None,
        late: Vec::new(),
        durable,
        registry_bytes: None,
        disk_checked: None,
        wall_ahead_ms: clock.wall_ahead_ms(),
        clock,
        buffer: Vec::new(),
        journal,
        metrics,
        options,
        files,
        purging,
        flusher: Flusher::Here,
        sync_wanted: false,
    }
}

fn start(mut committer: Committer, report: Report) -> Result<Opened, Error> {
    let (writer, reader) = (committer.writer(), committer.reader());
    let (inbox, clock) = (Arc::clone(&committer.inbox), committer.clock.clone());
    // The registry in the segment that is gone on with may be torn.
    committer.begin_segment()?;
    let (fatal_sender, fatal) = watch::channel(None);
    let suspect = committer.live.suspect();
    suspect.set_alarm(alarm(&inbox, &fatal_sender));
    committer.flusher = Flusher::beside(Arc::clone(&committer.live), committer.files.clone())?;
    let thread = committer::spawn(committer, fatal_sender)?;
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

/// When the newest record was made: the clock goes on from there.
fn last_moment(
    journal: &journal::Reader,
    newest: Option<Position>,
) -> Result<Option<Moment>, Error> {
    let newest = match newest {
        Some(newest) => Some(newest),
        // A process ended between making the segment and its first record.
        None => newest_before(journal)?,
    };
    let newest = newest.map(|position| super::history::record_at(journal, position));
    Ok(newest.transpose()?.map(|record| record.moment()))
}

/// The newest record of the segments before the last one.
fn newest_before(journal: &journal::Reader) -> Result<Option<Position>, Error> {
    let (oldest, last) = journal.bounds();
    for number in journal
        .numbers(oldest, last)
        .into_iter()
        .filter(|number| *number < last)
    {
        let mut newest = None;
        journal.scan::<Error>(journal.start_of(number), |position, _| {
            newest = Some(position);
            Ok(())
        })?;
        if newest.is_some() {
            return Ok(newest);
        }
    }
    Ok(None)
}

/// Tells of a wall clock that is not where it could be expected.
fn gone_on(clock: Clock, last: Moment) -> Clock {
    let (wall, down) = (clock.wall(), clock.steady().since(last.steady));
    if wall.0.saturating_sub(last.wall.0) > down.saturating_add(1_000) || wall.0 < last.wall.0 {
        tracing::warn!(
            last = %last.wall, now = %wall,
            "the wall clock is not where it could be expected: it was set, or the daemon was stopped for more than a \
             day; retries and the age of history go on as if a day had passed at most"
        );
    }
    clock
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
    let place = Place::Model(table);
    let loaded = place.load()?;
    let journal = journal_options(&options, &loaded);
    let end = journal.end;
    let (journal, recovery) =
        Journal::without_indexer(&disk, journal, keys_of, metrics.clone(), now_ms)?;
    let mut report = Report {
        journal: recovery,
        ..Report::default()
    };
    let (live, orphans) = recover(&place, loaded, &journal.reader(), &mut report)?;
    let steady = live.applied().1;
    let clock = match last_moment(&journal.reader(), report.journal.newest)? {
        Some(last) => gone_on(time.going_on(last.steady.max(steady), last.wall), last),
        None => time.clock(steady),
    };
    let parts = Parts {
        clock,
        journal,
        live,
        orphans,
        files: SledFiles::of_a_model(needs_own_sync),
        ballast: Ballast::of_a_model(),
        end,
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
