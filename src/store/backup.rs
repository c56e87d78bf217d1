//! Backup: a copy of the journal, beside a running daemon or without one.
//!
//! The journal is the truth and only grows at its end, so a copy needs no word with the daemon. What may happen
//! meanwhile, and why the copy is consistent all the same:
//! - The daemon appends, and rolls. The copy ends at some whole record that was written after the backup began,
//!   so everything acknowledged before is in it. A group that is half there at the end is cut off.
//! - Retention deletes the oldest segments. It deletes one only when nothing is pending of its events any more,
//!   and the records that ended those deliveries are in the journal by then. So the end is read after everything
//!   else, and again where a segment was found deleted: whatever is missing in the copy had ended before its end.
//! - Each segment begins with the whole registry, so the oldest one copied needs none before it.
//!
//! The copy is made in `DIR.partial`, which says that it is unfinished; it gets its name when all of it is synced.

use std::path::{Path, PathBuf};

use crate::journal::raw;
use crate::model::Clock;

use super::Error;
use super::copy::{self, Copier, Listed};
use super::directory::{
    FORMAT, UNFINISHED, check_versions, format_of, format_path, journal_path, lock, sync,
    write_format,
};
use super::error::io;
use super::survey::{Depth, Survey, Surveyor};

/// The end is read anew this often at most while retention deletes what is being copied.
const ROUNDS_MAX: u32 = 100;
/// A segment whose copy seems damaged is copied this often: a read may meet a write, or a start's cut, half way.
const TRIES_MAX: u32 = 3;

/// What is copied, and where to.
#[derive(Clone, Debug)]
pub struct BackupOrder {
    /// The data directory.
    pub from: PathBuf,
    /// The directory to be made.
    pub to: PathBuf,
    /// Bytes a second, at most.
    pub rate: Option<u64>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// What is in the copy.
    pub survey: Survey,
    /// Pieces in `set-aside/`, copied too.
    pub set_aside: u64,
    /// Bytes copied, indexes too.
    pub copied: u64,
}

/// Makes a backup. `progress` is told the bytes that are done, of copying and then of checking; `total` comes first.
///
/// # Errors
/// [`Error`] names the file and the remedy; then there is no `to`.
pub fn backup(
    order: &BackupOrder,
    total: &mut dyn FnMut(u64),
    progress: &mut dyn FnMut(u64),
) -> Result<Backup, Error> {
    let source = journal_path(&order.from);
    if format_of(&order.from)?.is_none() || !source.is_dir() {
        return Err(Error::Refused {
            path: order.from.clone(),
            problem: "there is no data directory of hookwheel".to_owned(),
            remedy: "name the config of the daemon whose data is to be copied",
        });
    }
    check_versions(&order.from)?;
    let partial = begin(&order.from, &order.to)?;
    let size = copy::size_of(&source)?;
    let made = copy::refuse_without_space(&partial, size).and_then(|()| {
        total(size);
        let mut copier = Copier::new(order.rate, progress);
        fill(&source, &partial, &mut copier)
    });
    match made.and_then(|backup| finish(&partial, &order.to).map(|()| backup)) {
        Ok(backup) => Ok(backup),
        Err(error) => {
            // Whoever reads the error need not tidy up; where that fails too, the next backup does it.
            if let Err(left) = std::fs::remove_dir_all(&partial) {
                tracing::debug!(%left, "the unfinished copy stays");
            }
            Err(error)
        }
    }
}

fn partial_of(to: &Path) -> PathBuf {
    // Without a slash at its end.
    let plain: PathBuf = to.components().collect();
    let mut name = plain.into_os_string();
    name.push(".partial");
    PathBuf::from(name)
}

/// Makes `DIR.partial`, marked as unfinished and locked against another backup to the same place.
fn begin(source: &Path, to: &Path) -> Result<PathBuf, Error> {
    if to.symlink_metadata().is_ok() {
        return Err(Error::Refused {
            path: to.to_owned(),
            problem: "it is there already".to_owned(),
            remedy: "name a directory that is not there; a backup overwrites nothing",
        });
    }
    let partial = partial_of(to);
    let parent = partial
        .parent()
        .and_then(|parent| parent.canonicalize().ok());
    if let (Some(parent), Ok(data)) = (parent, source.canonicalize())
        && parent.starts_with(data)
    {
        return Err(Error::Refused {
            path: to.to_owned(),
            problem: "it would lie in the data directory itself".to_owned(),
            remedy: "name a place outside, on another disk if there is one",
        });
    }
    if partial.symlink_metadata().is_ok() {
        let ours = matches!(format_of(&partial), Err(Error::Unfinished { .. }));
        if !ours {
            return Err(Error::Refused {
                path: partial,
                problem: "it is there already, and is no unfinished backup".to_owned(),
                remedy: "move it away, or name another directory",
            });
        }
        // Held by another backup that is under way, it is refused here.
        drop(lock(&partial, true)?);
        std::fs::remove_dir_all(&partial).map_err(io("delete the unfinished", &partial))?;
    }
    copy::make(&partial)?;
    write_format(&partial, UNFINISHED)?;
    copy::make(&journal_path(&partial))?;
    Ok(partial)
}

fn fill(source: &Path, partial: &Path, copier: &mut Copier<'_>) -> Result<Backup, Error> {
    let _lock = lock(partial, true)?;
    let target = journal_path(partial);
    // First, so that the look at the copy tells damage that is known from damage that is new.
    let set_aside = copy::set_aside(copier, source, &target)?;
    copy_segments(source, &target, copier)?;
    let mut survey = check(partial, copier)?;
    for _ in 1..TRIES_MAX {
        if !copy_damaged_again(source, &target, &survey, copier)? {
            break;
        }
        survey = check(partial, copier)?;
    }
    if let (Some(_), Some(end)) = (&survey.torn, survey.end) {
        copy::cut(&target, end)?;
        survey.torn = None;
    }
    for damage in &mut survey.damage {
        // Whoever reads of it looks at the original.
        damage.path = raw::log_path(source, damage.position.segment);
    }
    let taken_at = Clock::system().wall();
    Listed::of(&survey, copy::sizes(&target)?, taken_at).write(partial)?;
    sync(&target)?;
    Ok(Backup {
        survey,
        set_aside,
        copied: copier.copied(),
    })
}

/// Copies segments anew whose copies seem damaged. `false`: there are none, or they are deleted by now.
fn copy_damaged_again(
    source: &Path,
    target: &Path,
    survey: &Survey,
    copier: &mut Copier<'_>,
) -> Result<bool, Error> {
    let mut again = false;
    let mut names: Vec<_> = survey
        .damage
        .iter()
        .filter(|damage| !damage.set_aside)
        .filter_map(|damage| damage.path.file_name())
        .collect();
    names.dedup();
    for name in names {
        let (from, to) = (source.join(name), target.join(name));
        if from.exists() {
            std::fs::remove_file(&to).map_err(io("delete", &to))?;
            again |= copier.file(&from, &to)?;
        }
    }
    Ok(again)
}

fn check(partial: &Path, copier: &mut Copier<'_>) -> Result<Survey, Error> {
    let surveyor = Surveyor::run(partial, Depth::default(), copier.progress())?;
    Ok(surveyor.survey)
}

/// Copies the segments so that whatever is missing had ended before the copy's end.
fn copy_segments(source: &Path, target: &Path, copier: &mut Copier<'_>) -> Result<(), Error> {
    for _ in 0..ROUNDS_MAX {
        let numbers = raw::numbers(source)?;
        let Some((last, sealed)) = numbers.split_last() else {
            return Err(vanished(source));
        };
        let mut deleted = None;
        for number in sealed {
            if !copy_segment(source, target, *number, true, copier)? {
                deleted = Some(*number);
            }
        }
        if !copy_segment(source, target, *last, false, copier)? {
            deleted = Some(*last);
        }
        let Some(deleted) = deleted else {
            return Ok(());
        };
        // Only the oldest ones are ever deleted. Anything else is not ours to explain.
        if raw::numbers(source)?
            .first()
            .is_none_or(|oldest| *oldest < deleted)
        {
            return Err(vanished(&raw::log_path(source, deleted)));
        }
        drop_through(target, deleted)?;
    }
    Err(Error::Refused {
        path: source.to_owned(),
        problem: "retention deletes segments faster than they are copied".to_owned(),
        remedy: "copy without a --rate, or to a faster disk",
    })
}

fn vanished(path: &Path) -> Error {
    Error::Refused {
        path: path.to_owned(),
        problem: "a segment of the journal is gone that retention does not delete".to_owned(),
        remedy: "look what else changes the data directory, and start the backup again",
    }
}

/// Copies a segment, and its index if it was sealed: one that is sealed meanwhile has an index of more than the
/// copy. `false`: it is deleted.
fn copy_segment(
    source: &Path,
    target: &Path,
    number: u32,
    sealed: bool,
    copier: &mut Copier<'_>,
) -> Result<bool, Error> {
    let there = copier.file(
        &raw::log_path(source, number),
        &raw::log_path(target, number),
    )?;
    if there && sealed {
        // Missing: it is the last one, or its index is being written. It can be made again.
        copier.file(
            &raw::index_path(source, number),
            &raw::index_path(target, number),
        )?;
    }
    Ok(there)
}

/// Takes the segments up to `last` out of the copy: beyond a gap they would be of no use.
fn drop_through(target: &Path, last: u32) -> Result<(), Error> {
    for number in raw::numbers(target)? {
        if number > last {
            break;
        }
        for path in [
            raw::log_path(target, number),
            raw::index_path(target, number),
        ] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io("delete", &path)(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Gives the copy its format and its name.
fn finish(partial: &Path, to: &Path) -> Result<(), Error> {
    let lock = partial.join("lock");
    std::fs::remove_file(&lock).map_err(io("delete", &lock))?;
    write_format(partial, FORMAT)?;
    debug_assert!(format_path(partial).exists());
    if to.symlink_metadata().is_ok() {
        return Err(Error::Refused {
            path: to.to_owned(),
            problem: "it was made by somebody else meanwhile".to_owned(),
            remedy: "name a directory that is not there",
        });
    }
    std::fs::rename(partial, to).map_err(io("rename to", to))?;
    match to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync(parent),
        None => sync(Path::new(".")),
    }
}
