//! What can go wrong in the store, sorted by who is at fault.

use std::path::PathBuf;

use crate::journal;

use super::codec::CodecError;

/// Opening or reading failed. The text names the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operator: another process has the data directory.
    #[error(
        "{path} is in use by another hookwheel process; stop that one, or set another storage.path"
    )]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// The operator: the data directory cannot be used.
    #[error("cannot use the data directory {path}: {source}; {remedy}")]
    Directory {
        /// The data directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The operator: written by a newer version, or damaged.
    #[error(
        "{path} says `{found}`, which this version of hookwheel cannot read; install the version that wrote it, \
         or, if this one did and the file is damaged, delete the file"
    )]
    Format {
        /// The format file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// The operator: a copy that was cut off.
    #[error(
        "{path} holds a backup or a restore that was cut off; make it again with the same command, or delete the directory"
    )]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// The operator: something cannot be done as asked for.
    #[error("{path}: {problem}; {remedy}")]
    Refused {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A record of the journal that this version does not know: its bytes check, so it is no damage.
    #[error(
        "{path} has a record at offset {offset} that this version of hookwheel cannot read ({source}); install the version that wrote it"
    )]
    Record {
        /// The segment's file.
        path: PathBuf,
        /// Where in it.
        offset: u32,
        /// Why it cannot be read.
        source: CodecError,
    },
    /// The disk or the journal; [`journal::Error::Gone`] where retention has deleted what was asked for.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// A record or row does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The disk or sled.
    #[error("the registry {path}: {source}")]
    Sled {
        /// Its directory.
        path: PathBuf,
        /// sled's answer.
        source: sled::Error,
    },
    /// sled holds what was never written; it is made again from the journal at the next start.
    #[error("sled holds a {0} that makes no sense")]
    Broken(&'static str),
    /// sled's files are damaged, as this call or an earlier one found out.
    #[error("the registry is damaged ({0}); it is made again from the journal at the next start")]
    Suspect(String),
    /// The disk: a call failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether what was asked for is damaged or gone, so that asking again would not help.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        matches!(
            self,
            Self::Codec(_) | Self::Journal(journal::Error::Damaged(_) | journal::Error::Gone(_))
        )
    }
}

/// Why a write was not made, or is not known to have been made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The caller: more than one record can hold.
    #[error("{0}")]
    TooLarge(String),
    /// Too much waits for the disk; try again later.
    #[error("the commit queue is full")]
    Busy,
    /// Free disk space is below the reserve: no new events, while deliveries go on as long as there is room.
    #[error(
        "free disk space is below storage.disk_reserve; try again when there is room on the disk"
    )]
    DiskReserve,
    /// The store has been stopped.
    #[error("the store is stopped")]
    Stopped,
    /// Writing failed, and nothing is written any more; whether this write is on disk is not known.
    #[error("the store has failed: {0}")]
    Failed(String),
}

/// Makes the mapper from a system's error to [`Error::Io`].
pub(super) fn io(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Makes the mapper from sled's error to [`Error::Sled`].
pub(super) fn sled_at(path: &std::path::Path) -> impl Fn(sled::Error) -> Error {
    move |source| Error::Sled {
        path: path.to_owned(),
        source,
    }
}
