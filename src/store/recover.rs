//! Recovery: `apply` again, on the records that sled lacks; and making sled again where it cannot be used.
//!
//! sled is never repaired: where it does not open, panics, or bears the mark of damage, it is moved aside and
//! made from the journal, loudly. Where it knows more than the journal, which has lost something then, it is kept.

use std::io::ErrorKind;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::journal::{self, KnownEnd};
use crate::model::{Position, WebhookId};

use super::apply::apply;
use super::directory::registry_path;
use super::durable::SledFiles;
use super::error::{io, sled_at};
use super::live::Live;
use super::open::Report;
use super::space::is_short;
use super::suspect::{self, Suspect};
use super::table::Table;
#[cfg(test)]
use super::table::model::ModelTable;
use super::{Error, Options, codec};

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
/// The name of a registry that was moved aside, before its number.
const BROKEN: &str = "registry.broken-";
/// So many of them are kept: each may be as large as the registry.
const BROKEN_MAX: usize = 3;

/// Where the table is that the live state is kept in.
pub(super) enum Place<'a> {
    Directory(&'a Options),
    #[cfg(test)]
    Model(&'a ModelTable),
}

impl Place<'_> {
    /// Opens the table; else gives why it cannot be used.
    ///
    /// # Errors
    /// Where the system refuses what the table needs, which another one would need as well.
    pub(super) fn load(&self) -> Result<Result<Live, String>, Error> {
        match self {
            Self::Directory(options) => load(options),
            #[cfg(test)]
            Self::Model(table) => {
                Ok(table
                    .open()
                    .map_err(|error| error.to_string())
                    .and_then(|()| {
                        let nowhere = Suspect::new(Path::new("model"));
                        Live::load(Table::Model((*table).clone()), nowhere)
                            .map_err(|error| error.to_string())
                    }))
            }
        }
    }

    /// Its files.
    pub(super) fn files(&self) -> SledFiles {
        match self {
            Self::Directory(options) => SledFiles::new(&registry_path(&options.path)),
            #[cfg(test)]
            Self::Model(_) => SledFiles::of_a_model(false),
        }
    }

    fn move_aside(&self, report: &mut Report, reason: &str) -> Result<(), Error> {
        match self {
            Self::Directory(options) => move_aside(options, report, reason),
            #[cfg(test)]
            Self::Model(table) => {
                table.replace().map_err(sled_at(Path::new("model")))?;
                report.moved_aside = Some(PathBuf::from(reason));
                Ok(())
            }
        }
    }

    fn is_short(&self) -> bool {
        match self {
            Self::Directory(options) => is_short(&options.path),
            #[cfg(test)]
            Self::Model(_) => false,
        }
    }

    fn refused(&self, reason: String, remedy: &'static str) -> Error {
        let path = match self {
            Self::Directory(options) => registry_path(&options.path),
            #[cfg(test)]
            Self::Model(_) => PathBuf::from("model"),
        };
        Error::Directory {
            path,
            source: std::io::Error::other(reason),
            remedy,
        }
    }
}

/// Applies to sled what it lacks, or makes it again. Gives the live state, and webhooks with deliveries but no row.
pub(super) fn recover(
    place: &Place<'_>,
    loaded: Result<Live, String>,
    journal: &journal::Reader,
    report: &mut Report,
) -> Result<(Live, Vec<WebhookId>), Error> {
    let reason = match loaded.map(|live| (live.applied().0, live)) {
        Ok((applied, live)) => {
            let recovered = match applied {
                Some(applied) if applied <= journal.end() => {
                    catch_up(&live, &place.files(), journal, applied, report)
                }
                Some(applied) => Err(Error::Suspect(format!(
                    "its position {applied} is not in the journal"
                ))),
                None if live.is_empty() => rebuild(&live, place, journal, report),
                None => Err(Error::Suspect(
                    "it does not say how far it is applied".to_owned(),
                )),
            };
            match recovered {
                Ok(orphans) => return Ok((live, orphans)),
                Err(Error::Suspect(reason)) => reason,
                Err(error) => return Err(error),
            }
        }
        // Then nothing is known to be wrong with it, and another one would not open either.
        Err(reason) if place.is_short() => {
            return Err(place.refused(reason, "make room on its disk"));
        }
        Err(reason) => reason,
    };
    place.move_aside(report, &reason)?;
    let live = place
        .load()?
        .map_err(|reason| place.refused(reason, "check the disk's space and health"))?;
    let orphans = rebuild(&live, place, journal, report)?;
    Ok((live, orphans))
}

/// What sled tells of the journal's end.
pub(super) fn known_end(loaded: &Result<Live, String>) -> KnownEnd {
    let Ok(live) = loaded else {
        return KnownEnd::Doubtful;
    };
    match live.applied().0 {
        Some(applied) if (1..=SEGMENT_MAX).contains(&applied.segment) => KnownEnd::Synced(applied),
        None if live.is_empty() => KnownEnd::Unknown,
        _ => KnownEnd::Doubtful,
    }
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

/// Opens sled, which answers some damage with an error and some with a panic: then it gives why sled cannot be used.
///
/// # Errors
/// Where the system refuses what sled needs, which another sled would need as well.
fn load(options: &Options) -> Result<Result<Live, String>, Error> {
    if let Some(reason) = suspect::found(&options.path) {
        return Ok(Err(reason));
    }
    let path = registry_path(&options.path);
    let config = sled_config(&path, options);
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
        SledFiles::new(&path).delete_unfinished()?;
        open_sled(&config, Suspect::new(&options.path))
    }));
    match opened {
        Ok(Ok(live)) => Ok(Ok(live)),
        Ok(Err(error)) if is_refusal(&error) => Err(error),
        Ok(Err(error)) => Ok(Err(error.to_string())),
        Err(_) => Ok(Err("it panicked".to_owned())),
    }
}

/// Whether an error says nothing against the data: a full disk, a file system that may not be written.
pub(super) fn is_refusal(error: &Error) -> bool {
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

/// How sled is opened.
pub(super) fn sled_config(path: &Path, options: &Options) -> sled::Config {
    sled::Config::new()
        .path(path)
        .flush_every_ms(None)
        .mode(sled::Mode::LowSpace)
        .cache_capacity(options.cache_bytes)
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
            opened => {
                let db = opened.map_err(sled_at(&suspect.registry()))?;
                return Live::load(Table::Sled(db.into()), suspect);
            }
        }
    }
}

/// Where an unusable sled directory is moved to: a name that is free. The newest few that were moved so are kept
/// for whoever wants to know why; the others are deleted.
pub(super) fn free_aside(directory: &Path) -> Result<PathBuf, Error> {
    let mut there = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(io("list", directory))? {
        let name = entry.map_err(io("list", directory))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(BROKEN));
        there.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    there.sort_unstable();
    let numbered = |number: u32| directory.join(format!("{BROKEN}{number}"));
    for number in there.iter().rev().skip(BROKEN_MAX - 1) {
        let old = numbered(*number);
        let deleted = if old.is_dir() {
            std::fs::remove_dir_all(&old)
        } else {
            std::fs::remove_file(&old)
        };
        deleted.map_err(io("delete", &old))?;
    }
    Ok(numbered(
        there.last().map_or(1, |last| last.saturating_add(1)),
    ))
}

fn move_aside(options: &Options, report: &mut Report, reason: &str) -> Result<(), Error> {
    let from = registry_path(&options.path);
    let to = free_aside(&options.path)?;
    tracing::error!(
        reason, moved_to = %to.display(),
        "the registry cannot be used; moved aside, and made again from the journal"
    );
    match std::fs::rename(&from, &to) {
        Ok(()) => report.moved_aside = Some(to),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io("move aside", &from)(error)),
    }
    // What was found so far was found with the sled that is gone.
    suspect::clear(&options.path)
}

/// Makes an empty sled what the whole journal says.
fn rebuild(
    live: &Live,
    place: &Place<'_>,
    journal: &journal::Reader,
    report: &mut Report,
) -> Result<Vec<WebhookId>, Error> {
    let (start, files) = (journal.start_of(journal.bounds().0), place.files());
    let damaged = replay(live, &files, journal, start, report)?;
    if !files.make_room(live.unflushed().0)? {
        let reason = "no room to make it again".to_owned();
        return Err(place.refused(reason, "make room on its disk"));
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
        let record = codec::decode_record(payload).map_err(|source| Error::Record {
            path: journal.path_of(position.segment),
            offset: position.offset,
            source,
        })?;
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
        // Without room for sled what is replayed stays in memory.
        if live.unflushed().0 >= keys_max && files.make_room(live.unflushed().0)? {
            live.flush()?;
        }
        Ok(())
    })?;
    if !whole && files.make_room(live.unflushed().0)? {
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
