//! The journal's files: the few calls that it makes, on the real file system or, in tests, on a model of a disk.
//!
//! Invariant: the real side is one call of the standard library for each, and nothing else. Whatever decides what
//! is written, synced or deleted stands above, so a simulation on the model runs it as it is.

#[cfg(test)]
pub(crate) mod model;

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use super::room::{Reserved, reserve};

/// Where files are.
#[derive(Clone, Debug)]
pub(crate) enum Disk {
    Real,
    #[cfg(test)]
    Model(model::ModelDisk),
}

/// An open file.
#[derive(Debug)]
pub(super) enum File {
    Real(std::fs::File),
    #[cfg(test)]
    Model(model::ModelFile),
}

impl Disk {
    /// Makes a file that must not exist, for reading and writing.
    pub(super) fn create_new(&self, path: &Path) -> io::Result<File> {
        match self {
            Self::Real => std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(path)
                .map(File::Real),
            #[cfg(test)]
            Self::Model(disk) => disk.create(path, true).map(File::Model),
        }
    }

    /// Makes a file, or empties the one there is.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        match self {
            Self::Real => std::fs::File::create(path).map(File::Real),
            #[cfg(test)]
            Self::Model(disk) => disk.create(path, false).map(File::Model),
        }
    }

    /// Opens a file for reading.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        match self {
            Self::Real => std::fs::File::open(path).map(File::Real),
            #[cfg(test)]
            Self::Model(disk) => disk.open(path).map(File::Model),
        }
    }

    /// Opens a file for reading and writing.
    pub(super) fn open_to_write(&self, path: &Path) -> io::Result<File> {
        match self {
            Self::Real => std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .map(File::Real),
            #[cfg(test)]
            Self::Model(disk) => disk.open(path).map(File::Model),
        }
    }

    /// All that a file holds.
    pub(super) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self {
            Self::Real => std::fs::read(path),
            #[cfg(test)]
            Self::Model(disk) => disk.read(path),
        }
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        match self {
            Self::Real => path.exists(),
            #[cfg(test)]
            Self::Model(disk) => disk.exists(path),
        }
    }

    pub(super) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Real => std::fs::create_dir_all(path),
            // Directories are always there: whoever loses one has lost all that is in it anyway.
            #[cfg(test)]
            Self::Model(_) => Ok(()),
        }
    }

    /// What is in a directory.
    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        match self {
            Self::Real => std::fs::read_dir(path)?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect(),
            #[cfg(test)]
            Self::Model(disk) => disk.list(path),
        }
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Real => std::fs::remove_file(path),
            #[cfg(test)]
            Self::Model(disk) => disk.remove(path),
        }
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self {
            Self::Real => std::fs::rename(from, to),
            #[cfg(test)]
            Self::Model(disk) => disk.rename(from, to),
        }
    }

    /// Syncs a directory, so that the names in it survive a power loss.
    pub(super) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Real => std::fs::File::open(path).and_then(|dir| dir.sync_all()),
            #[cfg(test)]
            Self::Model(disk) => disk.sync_dir(path),
        }
    }
}

impl File {
    pub(super) fn len(&self) -> io::Result<u64> {
        match self {
            Self::Real(file) => Ok(file.metadata()?.len()),
            #[cfg(test)]
            Self::Model(file) => file.len(),
        }
    }

    pub(super) fn read_exact_at(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.read_exact_at(to, offset),
            #[cfg(test)]
            Self::Model(file) => file.read_exact_at(to, offset),
        }
    }

    /// Reads what is in the page cache and waits for nothing; `false`: it is not all there, or cannot be read so.
    pub(super) fn read_cached_at(&self, to: &mut [u8], offset: u64) -> bool {
        match self {
            Self::Real(file) => {
                let wanted = to.len();
                let parts = &mut [io::IoSliceMut::new(to)];
                rustix::io::preadv2(file, parts, offset, rustix::io::ReadWriteFlags::NOWAIT)
                    == Ok(wanted)
            }
            #[cfg(test)]
            Self::Model(file) => file.read_exact_at(to, offset).is_ok(),
        }
    }

    pub(super) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.write_all_at(bytes, offset),
            #[cfg(test)]
            Self::Model(file) => file.write_all_at(bytes, offset),
        }
    }

    pub(super) fn set_len(&self, length: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.set_len(length),
            #[cfg(test)]
            Self::Model(file) => file.set_len(length),
        }
    }

    /// Asks for blocks beyond the end; the length stays.
    pub(super) fn reserve(&self, from: u64, bytes: u64) -> io::Result<Reserved> {
        match self {
            Self::Real(file) => reserve(file, FallocateFlags::KEEP_SIZE, from, bytes),
            // Its full disk is met by the write.
            #[cfg(test)]
            Self::Model(_) => Ok(Reserved::Unsupported),
        }
    }

    pub(super) fn sync_data(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => file.sync_data(),
            #[cfg(test)]
            Self::Model(file) => file.sync(),
        }
    }

    pub(super) fn sync_all(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => file.sync_all(),
            #[cfg(test)]
            Self::Model(file) => file.sync(),
        }
    }

    /// Writes from the file's start on, one piece after the other.
    pub(super) const fn in_order(&self) -> InOrder<'_> {
        InOrder { file: self, at: 0 }
    }
}

/// See [`File::in_order`].
pub(super) struct InOrder<'a> {
    file: &'a File,
    at: u64,
}

impl io::Write for InOrder<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
