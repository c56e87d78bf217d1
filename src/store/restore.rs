//! Restore: a backup becomes a data directory.
//!
//! The directory says that it is unfinished from before the first byte until all of it is synced and checked, so
//! a restore that is cut off leaves what no daemon starts on, and what the next restore begins anew.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::journal::raw;

use super::Error;
use super::copy::{self, Copier, Listed};
use super::directory::{
    FORMAT, UNFINISHED, create, format_of, journal_path, lock, refuse_another_owner, refuse_newer,
    sync, write_format,
};
use super::error::io;
use super::survey::{Depth, Survey, Surveyor};

/// Which backup becomes which data directory.
#[derive(Clone, Debug)]
pub struct RestoreOrder {
    /// The backup.
    pub from: PathBuf,
    /// The data directory.
    pub to: PathBuf,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup says of itself.
    pub listed: Listed,
    /// What is in the data directory now.
    pub survey: Survey,
}

/// Restores a backup into a data directory that is absent or empty. `progress` is told the bytes that are done, of
/// copying and then of checking; `total` comes first.
///
/// # Errors
/// [`Error`] names the file and the remedy. What is at `to` then is no store, and may be restored to again.
pub fn restore(
    order: &RestoreOrder,
    total: &mut dyn FnMut(u64),
    progress: &mut dyn FnMut(u64),
) -> Result<Restored, Error> {
    let (from, to) = (&order.from, &order.to);
    format_of(from)?;
    let listed = Listed::read(from)?;
    listed.check(from)?;
    refuse_newer(from)?;
    refuse_used(to)?;
    create(to)?;
    refuse_another_owner(to)?;
    // The registry that will lie there holds secrets.
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o700))
        .map_err(io("keep others out of", to))?;
    let _lock = lock(to, true)?;
    // Somebody may have begun a store here between the look and the lock.
    refuse_used(to)?;
    let source = journal_path(from);
    let size = copy::size_of(&source)?;
    copy::refuse_without_space(to, size)?;
    write_format(to, UNFINISHED)?;
    total(size);
    let target = journal_path(to);
    if target.exists() {
        std::fs::remove_dir_all(&target).map_err(io("delete the unfinished", &target))?;
    }
    copy::make(&target)?;
    let mut copier = Copier::new(None, progress);
    for (number, _) in &listed.segments {
        let log = raw::log_path(&source, *number);
        if !copier.file(&log, &raw::log_path(&target, *number))? {
            return Err(Error::Refused {
                path: log,
                problem: "it is gone while it was to be copied".to_owned(),
                remedy: "restore from a backup that nothing else changes",
            });
        }
        copier.file(
            &raw::index_path(&source, *number),
            &raw::index_path(&target, *number),
        )?;
    }
    copy::set_aside(&mut copier, &source, &target)?;
    sync(&target)?;
    let survey = Surveyor::run(to, Depth::default(), copier.progress())?.survey;
    write_format(to, FORMAT)?;
    if let Some(parent) = to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync(parent)?;
    }
    Ok(Restored { listed, survey })
}

/// Refuses a place that holds anything but a restore that was cut off.
fn refuse_used(to: &Path) -> Result<(), Error> {
    match format_of(to) {
        Err(Error::Unfinished { .. }) => return Ok(()),
        // A store of whatever version: it is told below.
        Ok(_) | Err(Error::Format { .. }) => {}
        Err(error) => return Err(error),
    }
    let entries = match std::fs::read_dir(to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(io("list", to))?,
    };
    for entry in entries {
        let name = entry.map_err(io("list", to))?.file_name();
        // A new file system brings the one, and a restore that was cut off early leaves the others.
        let harmless = ["lost+found", "lock", "format.tmp"];
        if !harmless.iter().any(|harmless| name == *harmless) {
            return Err(Error::Refused {
                path: to.to_owned(),
                problem: format!("it is not empty: it holds {}", name.to_string_lossy()),
                remedy: "stop the daemon, move the directory away, and restore again; a restore overwrites nothing",
            });
        }
    }
    Ok(())
}
