//! The mark on sled's files: they were found to be damaged, and are to be made anew at the next start.
//!
//! sled checks what it reads, when it reads it, and answers damage with an error or a panic; so damage may be
//! met long after the start, by the committer or by a reader. Going on would meet it again and again, and a
//! restart alone would too. So whoever meets it first writes the mark, a file beside sled's directory, and
//! then the store fails.
//!
//! Invariants:
//! - The mark is on disk, synced, before the store fails.
//! - A full disk, or one that answers too late, leaves no mark: nothing says then that the files are bad.

use std::io::ErrorKind;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::Error;
use super::directory::registry_path;

/// Where the mark is, in the data directory.
fn mark(directory: &Path) -> PathBuf {
    directory.join("registry.suspect")
}

/// Why sled is not to be used, as a mark of an earlier process says.
pub(super) fn found(directory: &Path) -> Option<String> {
    match std::fs::read(mark(directory)) {
        Ok(reason) => Some(String::from_utf8_lossy(&reason).trim().to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some(format!("its mark cannot be read: {error}")),
    }
}

/// Takes the mark away, once what it speaks of has been moved aside.
pub(super) fn clear(directory: &Path) -> Result<(), Error> {
    let path = mark(directory);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(super::error::io("delete", &path)(error))
        }
        _ => Ok(()),
    }
}

/// Marks sled's files by hand: the next open makes them anew.
pub(super) fn mark_as(directory: &Path, reason: &str) -> Result<(), Error> {
    let path = mark(directory);
    std::fs::write(&path, reason).map_err(super::error::io("write", &path))?;
    super::directory::sync(&path)?;
    super::directory::sync(directory)
}

/// What is to happen when sled turns out to be damaged.
type Alarm = Box<dyn Fn(&str) + Send + Sync>;

/// Watches over the calls of sled. Cheap to clone; all clones share.
#[derive(Clone)]
pub(super) struct Suspect {
    shared: Arc<Shared>,
}

struct Shared {
    directory: PathBuf,
    reason: OnceLock<String>,
    alarm: OnceLock<Alarm>,
}

impl Suspect {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            shared: Arc::new(Shared {
                directory: directory.to_owned(),
                reason: OnceLock::new(),
                alarm: OnceLock::new(),
            }),
        }
    }

    /// Where sled's files are.
    pub(super) fn registry(&self) -> PathBuf {
        registry_path(&self.shared.directory)
    }

    /// Why sled is suspect, if it is.
    pub(super) fn reason(&self) -> Option<&str> {
        self.shared.reason.get().map(String::as_str)
    }

    /// What is to be done when sled turns out to be damaged, from now on.
    pub(super) fn set_alarm(&self, alarm: Alarm) {
        if self.shared.alarm.set(alarm).is_err() {
            tracing::error!("the alarm on the registry was set twice");
        }
    }

    /// Makes a call of sled, and raises the alarm where it tells of damage. Once it has, there are no more.
    pub(super) fn watch<T>(&self, call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        if let Some(reason) = self.reason() {
            return Err(Error::Suspect(reason.to_owned()));
        }
        let reason = match std::panic::catch_unwind(AssertUnwindSafe(call)) {
            Ok(Err(error)) if tells_of_damage(&error) => error.to_string(),
            Ok(answer) => return answer,
            Err(_) => "sled panicked; the log says where".to_owned(),
        };
        self.condemn(&reason);
        Err(Error::Suspect(reason))
    }

    fn condemn(&self, reason: &str) {
        if self.shared.reason.set(reason.to_owned()).is_err() {
            return;
        }
        let path = mark(&self.shared.directory);
        tracing::error!(
            reason, mark = %path.display(),
            "the registry is damaged; the next start makes it again from the journal"
        );
        let written = std::fs::write(&path, reason)
            .and_then(|()| std::fs::File::open(&path)?.sync_all())
            .and_then(|()| std::fs::File::open(&self.shared.directory)?.sync_all());
        if let Err(error) = written {
            tracing::error!(%error, mark = %path.display(), "the mark could not be written; move the registry away by hand");
        }
        if let Some(alarm) = self.shared.alarm.get() {
            alarm(reason);
        }
    }
}

/// Whether an error shows that sled's files are bad, rather than that the disk is full or the like.
fn tells_of_damage(error: &Error) -> bool {
    match error {
        Error::Broken(_) | Error::Codec(_) => true,
        Error::Sled {
            source: sled::Error::Io(error),
            ..
        } => !matches!(
            error.kind(),
            ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
                | ErrorKind::Interrupted
                | ErrorKind::TimedOut
        ),
        Error::Sled { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::store::error::sled_at;

    #[test]
    fn damage_and_panics_leave_a_mark_and_raise_the_alarm_once() {
        for what in ["panic", "broken", "eof"] {
            let directory = tempfile::tempdir().unwrap();
            let suspect = Suspect::new(directory.path());
            let alarms = Arc::new(AtomicU32::new(0));
            let counted = Arc::clone(&alarms);
            suspect.set_alarm(Box::new(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
            }));
            assert_eq!(suspect.watch(|| Ok(5)).unwrap(), 5);
            assert_eq!(found(directory.path()), None);
            let answer = suspect.watch(|| -> Result<(), Error> {
                match what {
                    "panic" => panic!("as sled does"),
                    "broken" => Err(Error::Broken("row")),
                    _ => Err(sled_at(Path::new("registry"))(sled::Error::Io(
                        ErrorKind::UnexpectedEof.into(),
                    ))),
                }
            });
            assert!(matches!(answer, Err(Error::Suspect(_))), "{what}");
            let again = suspect.watch(|| -> Result<(), Error> { unreachable!("no more calls") });
            assert!(matches!(again, Err(Error::Suspect(_))));
            assert_eq!(alarms.load(Ordering::Relaxed), 1);
            assert_eq!(found(directory.path()).as_deref(), suspect.reason());
            clear(directory.path()).unwrap();
            assert_eq!(found(directory.path()), None);
        }
    }

    #[test]
    fn a_full_disk_is_no_damage() {
        let directory = tempfile::tempdir().unwrap();
        let suspect = Suspect::new(directory.path());
        let full = || -> Result<(), Error> {
            Err(sled_at(Path::new("registry"))(sled::Error::Io(
                ErrorKind::StorageFull.into(),
            )))
        };
        assert!(matches!(suspect.watch(full), Err(Error::Sled { .. })));
        assert_eq!((found(directory.path()), suspect.reason()), (None, None));
    }
}
