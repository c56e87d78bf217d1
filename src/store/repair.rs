//! Repair: the whole journal is read, what is derived from it is compared, and made again where it is wrong.
//!
//! The journal itself is never rewritten: a torn tail is cut and damage is copied to `set-aside/`, as an open does.
//! sled is made again where it does not open, stands where the journal does not reach, or differs. Where the journal
//! is damaged, a difference proves nothing: sled may know what the lost record said. Then it is kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use crate::metrics::Metrics;
use crate::model::Position;

use super::directory::{
    format_of, journal_path, lock, refuse_another_owner, refuse_newer, registry_path,
};
use super::error::io;
use super::image::{Difference, Image};
use super::live::Live;
use super::recover::{is_refusal, open_sled, sled_config};
use super::space::is_short;
use super::survey::{Depth, Held, Survey, Surveyor};
use super::suspect::{self, Suspect};
use super::{Error, Options, copy, open};

/// The name of a copy of sled begins so.
const SCRATCH: &str = "registry.check-";

/// What was found of sled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryFound {
    /// It says what the journal says.
    Good,
    /// There is none; the next open makes it.
    Missing,
    /// It does not open, and why.
    Unusable(String),
    /// It stands at a position that the journal does not have.
    Uncovered(Position),
    /// It says something else than the journal.
    Differs(Difference),
    /// It could not be compared, and why.
    NotCompared(String),
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// The journal and its indexes.
    pub survey: Survey,
    /// sled.
    pub registry: RegistryFound,
    /// Pieces in `set-aside/`.
    pub set_aside: u64,
}

impl Findings {
    /// Whether anything is wrong that a repair puts right. Damage that was set aside is known, and stays; so does
    /// what it explains.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.survey.new_damage() > 0
            || self.survey.torn.is_some()
            || !self.survey.indexes.is_empty()
            || self.remakes_registry()
            || matches!(
                self.registry,
                RegistryFound::NotCompared(_) | RegistryFound::Uncovered(_)
            )
    }

    /// Whether sled is to be made again.
    #[must_use]
    pub fn remakes_registry(&self) -> bool {
        match &self.registry {
            RegistryFound::Unusable(_) => true,
            RegistryFound::Differs(_) => self.survey.damaged == 0,
            // Where it stands beyond the journal, that has lost something, which only the registry knows.
            RegistryFound::Uncovered(_)
            | RegistryFound::Good
            | RegistryFound::Missing
            | RegistryFound::NotCompared(_) => false,
        }
    }
}

/// What the copy of sled may take beyond its size, bytes: what sled writes when it opens.
const COPY_SPARE: u64 = 32 << 20;

/// A data directory that is held for a repair: no daemon can start on it.
pub struct Repair {
    options: Options,
    lock: Option<File>,
}

impl Repair {
    /// Takes the data directory.
    ///
    /// # Errors
    /// [`Error::Locked`] while a daemon runs; [`Error::Format`] and the like for what a newer version wrote.
    pub fn begin(options: Options) -> Result<Self, Error> {
        let path = &options.path;
        // What cannot be looked into is not taken for what is not there.
        match std::fs::read_dir(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io("look into", path)(error));
            }
            _ => {}
        }
        if format_of(path)?.is_none() && !journal_path(path).is_dir() {
            return Err(Error::Refused {
                path: path.clone(),
                problem: "there is no data directory of hookwheel".to_owned(),
                remedy: "name the config of the daemon whose data is to be looked at",
            });
        }
        let held = lock(path, true)?;
        refuse_newer(path)?;
        delete_scratch(path)?;
        Ok(Self {
            options,
            lock: Some(held),
        })
    }

    /// Whether sled opens and stands where the journal reaches (`end`: where its last record ends), without
    /// reading the journal.
    #[must_use]
    pub fn registry(&self, end: Position) -> RegistryFound {
        match self.held() {
            Ok(None) => RegistryFound::Missing,
            Ok(Some(held)) if held.applied > end => RegistryFound::Uncovered(held.applied),
            Ok(Some(_)) => RegistryFound::Good,
            Err(found) => found,
        }
    }

    /// Looks at everything and changes nothing. `progress` is told the bytes that are read.
    ///
    /// # Errors
    /// [`Error`] names the file and the remedy.
    pub fn look(&self, progress: &mut dyn FnMut(u64)) -> Result<Findings, Error> {
        let path = &self.options.path;
        let (held, found) = match self.held() {
            Ok(Some(held)) => (Some(held), None),
            Ok(None) => (None, Some(RegistryFound::Missing)),
            Err(found) => (None, Some(found)),
        };
        let applied = held.as_ref().map(|held| held.applied);
        let depth = Depth {
            indexes: true,
            held,
            ..Depth::default()
        };
        let surveyor = Surveyor::run(path, depth, progress)?;
        let registry = match (found, surveyor.difference, applied) {
            (Some(found), ..) => found,
            (None, Some(difference), _) if difference.is_none() => RegistryFound::Good,
            (None, Some(difference), _) => RegistryFound::Differs(difference),
            (None, None, Some(applied)) => RegistryFound::Uncovered(applied),
            (None, None, None) => RegistryFound::Missing,
        };
        let set_aside = copy::files(&journal_path(path).join("set-aside"))?.len() as u64;
        Ok(Findings {
            survey: surveyor.survey,
            registry,
            set_aside,
        })
    }

    /// Puts right what was found, by an open of the store. Gives where sled was moved to, if it was.
    ///
    /// # Errors
    /// [`Error`] names the file and the remedy.
    pub fn apply(&mut self, findings: &Findings) -> Result<Option<PathBuf>, Error> {
        let path = self.options.path.clone();
        refuse_another_owner(&path)?;
        if findings.remakes_registry() {
            // The open moves it aside then, and takes nothing at the journal's end for a tear.
            suspect::mark_as(&path, "a repair found it wrong")?;
        }
        for fault in &findings.survey.indexes {
            match std::fs::remove_file(&fault.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io("delete", &fault.path)(error));
                }
                _ => {}
            }
        }
        // The open takes the lock itself, at once.
        self.lock = None;
        let opened = open(self.options.clone(), Metrics::new())?;
        let moved = opened.report.moved_aside.clone();
        // An open reads only what sled lacks; damage elsewhere is set aside by reading all.
        opened.reader.read_through()?;
        drop(opened.reader);
        drop(opened.writer);
        opened.handle.stop().map_err(|error| Error::Refused {
            path: path.clone(),
            problem: error.to_string(),
            remedy: "check the disk, and start the repair again",
        })?;
        self.lock = Some(lock(&path, false)?);
        Ok(moved)
    }

    /// sled's state, read from a copy, as opening it writes to it. `None`: there is none.
    fn held(&self) -> Result<Option<Held>, RegistryFound> {
        let registry = registry_path(&self.options.path);
        let parts = copy::files(&registry)
            .map_err(|error| RegistryFound::NotCompared(error.to_string()))?;
        if parts.is_empty() {
            return Ok(None);
        }
        let not_compared = |error: String| RegistryFound::NotCompared(error);
        let size = copy::size_of(&registry).map_err(|error| not_compared(error.to_string()))?;
        copy::refuse_without_space(&self.options.path, size + COPY_SPARE)
            .map_err(|error| not_compared(error.to_string()))?;
        let scratch = tempfile::Builder::new()
            .prefix(SCRATCH)
            .tempdir_in(&self.options.path)
            .map_err(|error| not_compared(format!("no room for a copy of it: {error}")))?;
        copy_tree(&registry, scratch.path())
            .map_err(|error| not_compared(format!("it could not be copied: {error}")))?;
        // sled answers some damage with a panic, which is told of as a finding.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let read = std::panic::catch_unwind(AssertUnwindSafe(|| self.read(scratch.path())));
        std::panic::set_hook(hook);
        match read {
            Ok(Ok(held)) => held.map(Some).ok_or_else(|| {
                RegistryFound::Unusable("it does not say how far it is applied".to_owned())
            }),
            Ok(Err(error)) if is_refusal(&error) => Err(not_compared(error.to_string())),
            Ok(Err(error)) => Err(RegistryFound::Unusable(error.to_string())),
            Err(_) if is_short(&self.options.path) => {
                Err(not_compared("the disk has too little room".to_owned()))
            }
            Err(_) => Err(RegistryFound::Unusable("opening it panicked".to_owned())),
        }
    }

    fn read(&self, scratch: &Path) -> Result<Option<Held>, Error> {
        let live = open_sled(&sled_config(scratch, &self.options), Suspect::new(scratch))?;
        let (Some(applied), steady) = live.applied() else {
            return Ok(None);
        };
        let (image, counts) = held_image(&live)?;
        Ok(Some(Held {
            applied,
            image: Image { steady, ..image },
            counts,
        }))
    }
}

fn held_image(live: &Live) -> Result<(Image, BTreeMap<u32, i64>), Error> {
    let mut image = Image::default();
    live.each_pending(|key, value| {
        image.queue.insert(key, value);
    })?;
    image.rows = live.rows(Clone::clone);
    image.jobs = live.jobs(Clone::clone);
    Ok((image, live.counts()))
}

/// Deletes the copies of sled that looks left behind which were killed.
fn delete_scratch(directory: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(directory).map_err(io("list", directory))? {
        let entry = entry.map_err(io("list", directory))?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(SCRATCH)) {
            std::fs::remove_dir_all(entry.path()).map_err(io("delete", &entry.path()))?;
        }
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
