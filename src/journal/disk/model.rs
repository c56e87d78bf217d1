//! A model of a disk: what a process sees at once, what a power cut leaves, and calls that fail.
//!
//! What is written is seen at once, and is durable only after a sync. A power cut keeps any part of what is not
//! synced: whole writes or sectors of them, in any order, and names of files likewise. A sync that fails leaves
//! its pages as Linux does: they stay readable, some were written, and some are taken for clean and never will
//! be, whatever sync comes later. The power can be made to go off inside a call, and calls can be made to fail.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::rng::Rng;

/// Small, so that a group of a few records is torn at many places.
const SECTOR: usize = 64;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Calls that write or sync, out of a million, that fail.
    pub(crate) writes: u64,
    /// Calls that read, out of a million, that fail.
    pub(crate) reads: u64,
    /// Every write fails: there is no space.
    pub(crate) full: bool,
    /// After so many calls the power goes off, in the middle of the last one.
    pub(crate) fuse: Option<u64>,
    /// Syncs answer well and do nothing.
    pub(crate) lying: bool,
}

/// What happened to it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    pub(crate) syncs: u64,
}

#[derive(Clone, Debug)]
enum Dirty {
    Bytes { at: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    dirty: Vec<Dirty>,
}

#[derive(Clone, Debug)]
enum Naming {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Debug)]
struct State {
    rng: Rng,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    namings: Vec<Naming>,
    faults: Faults,
    off: bool,
    figures: Figures,
}

/// The disk; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct ModelDisk(Arc<Mutex<State>>);

/// An open file of it.
#[derive(Debug)]
pub(crate) struct ModelFile {
    disk: ModelDisk,
    inode: usize,
}

/// What kind of call it is.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Call {
    Read,
    Write,
    Sync,
}

fn apply(bytes: &mut Vec<u8>, change: &Dirty) {
    match change {
        Dirty::Bytes { at, bytes: new } => put(bytes, *at, new),
        Dirty::Length(length) => bytes.resize(*length, 0),
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    if bytes.len() < at + new.len() {
        bytes.resize(at + new.len(), 0);
    }
    bytes[at..at + new.len()].copy_from_slice(new);
}

fn rename(names: &mut BTreeMap<PathBuf, usize>, naming: &Naming) {
    match naming {
        Naming::Link(name, inode) => drop(names.insert(name.clone(), *inode)),
        Naming::Unlink(name) => drop(names.remove(name)),
        Naming::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

impl State {
    fn call(&mut self, call: Call) -> io::Result<()> {
        self.figures.calls += 1;
        if let Some(left) = &mut self.faults.fuse {
            self.off |= *left == 0;
            *left = left.saturating_sub(1);
        }
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        let chance = match call {
            Call::Read => self.faults.reads,
            Call::Write | Call::Sync => self.faults.writes,
        };
        let full = call == Call::Write && self.faults.full;
        if full || (chance > 0 && self.rng.below(1_000_000) < chance) {
            self.figures.failed += 1;
            let errno = match call {
                Call::Write if full || self.rng.chance(50) => rustix::io::Errno::NOSPC,
                _ => rustix::io::Errno::IO,
            };
            return Err(errno.into());
        }
        Ok(())
    }

    fn change(&mut self, inode: usize, change: Dirty) {
        let inode = &mut self.inodes[inode];
        apply(&mut inode.seen, &change);
        inode.dirty.push(change);
    }

    fn name(&mut self, naming: Naming) {
        rename(&mut self.names, &naming);
        self.namings.push(naming);
    }

    fn sync(&mut self, inode: usize) -> io::Result<()> {
        let done = self.call(Call::Sync);
        if self.faults.lying {
            return done;
        }
        let off = self.off;
        let inode = &mut self.inodes[inode];
        if done.is_ok() {
            self.figures.syncs += 1;
            for change in inode.dirty.drain(..) {
                apply(&mut inode.durable, &change);
            }
        } else if !off {
            for change in std::mem::take(&mut inode.dirty) {
                match self.rng.below(3) {
                    0 => apply(&mut inode.durable, &change),
                    1 => {}
                    _ => inode.dirty.push(change),
                }
            }
        }
        done
    }

    /// What is left of one file's unsynced changes.
    fn settle(&mut self, inode: usize) {
        let inode = &mut self.inodes[inode];
        let luck = self.rng.below(4);
        for change in std::mem::take(&mut inode.dirty) {
            let Dirty::Bytes { at, bytes } = &change else {
                if luck == 1 || self.rng.chance(50) {
                    apply(&mut inode.durable, &change);
                }
                continue;
            };
            match luck {
                0 => {}
                1 => apply(&mut inode.durable, &change),
                _ => {
                    // The file's length may be there before its bytes are.
                    if luck == 3 && inode.durable.len() < at + bytes.len() {
                        inode.durable.resize(at + bytes.len(), 0);
                    }
                    let mut from = 0;
                    while from < bytes.len() {
                        let to = ((at + from) / SECTOR + 1) * SECTOR - at;
                        let to = to.min(bytes.len());
                        if self.rng.chance(60) {
                            put(&mut inode.durable, at + from, &bytes[from..to]);
                        }
                        from = to;
                    }
                }
            }
        }
        inode.seen.clone_from(&inode.durable);
    }
}

impl ModelDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: Rng(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            namings: Vec::new(),
            faults: Faults::default(),
            off: false,
            figures: Figures::default(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn figures(&self) -> Figures {
        self.lock().figures
    }

    pub(crate) fn faults(&self) -> Faults {
        self.lock().faults
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Whether the power went off.
    pub(crate) fn is_off(&self) -> bool {
        self.lock().off
    }

    /// A call that somebody else makes to the same disk.
    pub(crate) fn call(&self, call: Call) -> io::Result<()> {
        self.lock().call(call)
    }

    /// The process has gone, and nothing else: what was written is still seen.
    pub(crate) fn process_gone(&self) {
        let mut state = self.lock();
        state.off = false;
        state.faults.fuse = None;
    }

    /// The power has gone, and is back.
    pub(crate) fn power_gone(&self) {
        let state = &mut *self.lock();
        state.off = false;
        state.faults.fuse = None;
        for inode in 0..state.inodes.len() {
            state.settle(inode);
        }
        let all = state.rng.chance(30);
        let mut lost: Vec<PathBuf> = Vec::new();
        for naming in std::mem::take(&mut state.namings) {
            let names = match &naming {
                Naming::Link(name, _) | Naming::Unlink(name) => vec![name.clone()],
                Naming::Rename(from, to) => vec![from.clone(), to.clone()],
            };
            // Changes of one name stay in order.
            let after_lost = names.iter().any(|name| lost.contains(name));
            if !after_lost && (all || state.rng.chance(50)) {
                rename(&mut state.durable_names, &naming);
            } else {
                lost.extend(names);
            }
        }
        state.names.clone_from(&state.durable_names);
    }

    pub(super) fn create(&self, path: &Path, new: bool) -> io::Result<ModelFile> {
        let mut state = self.lock();
        state.call(Call::Write)?;
        let inode = match state.names.get(path) {
            Some(_) if new => return Err(io::ErrorKind::AlreadyExists.into()),
            Some(inode) => {
                let inode = *inode;
                state.change(inode, Dirty::Length(0));
                inode
            }
            None => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.name(Naming::Link(path.to_owned(), inode));
                inode
            }
        };
        drop(state);
        let disk = self.clone();
        Ok(ModelFile { disk, inode })
    }

    pub(super) fn open(&self, path: &Path) -> io::Result<ModelFile> {
        let mut state = self.lock();
        state.call(Call::Read)?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        drop(state);
        let disk = self.clone();
        Ok(ModelFile { disk, inode })
    }

    pub(super) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.lock();
        state.call(Call::Read)?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(state.inodes[inode].seen.clone())
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        self.lock().names.contains_key(path)
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut state = self.lock();
        state.call(Call::Read)?;
        let names = state.names.keys();
        Ok(names
            .filter(|n| n.parent() == Some(path))
            .cloned()
            .collect())
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.call(Call::Write)?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.name(Naming::Unlink(path.to_owned()));
        Ok(())
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.call(Call::Write)?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.name(Naming::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub(super) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.lock();
        state.call(Call::Sync)?;
        if state.faults.lying {
            return Ok(());
        }
        state.figures.syncs += 1;
        let inside = |name: &PathBuf| name.parent() == Some(path);
        for naming in std::mem::take(&mut state.namings) {
            match &naming {
                Naming::Link(name, _) | Naming::Unlink(name) | Naming::Rename(_, name)
                    if inside(name) =>
                {
                    rename(&mut state.durable_names, &naming);
                }
                _ => state.namings.push(naming),
            }
        }
        Ok(())
    }
}

impl ModelFile {
    pub(super) fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.lock();
        state.call(Call::Read)?;
        Ok(state.inodes[self.inode].seen.len() as u64)
    }

    pub(super) fn read_exact_at(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.call(Call::Read)?;
        let from = usize::try_from(offset).unwrap();
        let bytes = state.inodes[self.inode].seen.get(from..from + to.len());
        to.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    pub(super) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let done = state.call(Call::Write);
        let length = match done {
            Ok(()) => bytes.len(),
            // A part of it may have been written.
            Err(_) => state.rng.size(0, bytes.len() as u64),
        };
        if length > 0 {
            let (at, bytes) = (usize::try_from(offset).unwrap(), bytes[..length].to_vec());
            state.change(self.inode, Dirty::Bytes { at, bytes });
        }
        done
    }

    pub(super) fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.call(Call::Write)?;
        let length = usize::try_from(length).unwrap();
        if state.inodes[self.inode].seen.len() != length {
            state.change(self.inode, Dirty::Length(length));
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.disk.lock().sync(self.inode)
    }
}
