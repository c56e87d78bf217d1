//! The table that the live state is kept in between starts: sled or, in tests, a model of it.
//!
//! Only what [`Live`](super::live::Live) needs of it. Invariant, of both: a batch is there whole or not at all, and
//! what a crash leaves is every batch up to some point and none after it.

#[cfg(test)]
pub(crate) mod model;

use std::ops::{Deref, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind};

use sled::{IVec, Result};

/// An open table.
pub(super) enum Table {
    Sled(Held),
    #[cfg(test)]
    Model(model::ModelTable),
}

/// An open sled. When the last handle to one goes it syncs its file once more, and panics where that fails; what it
/// may lack then is applied from the journal by the next start, so that is no reason to end badly.
pub(super) struct Held(Option<sled::Db>);

impl From<sled::Db> for Held {
    fn from(db: sled::Db) -> Self {
        Self(Some(db))
    }
}

impl Deref for Held {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let db = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::warn!(
                "sled's file could not be synced at the end; the next start goes by the journal"
            );
        }
    }
}

/// Changes that are made together.
pub(super) enum Batch {
    Sled(sled::Batch),
    #[cfg(test)]
    Model(model::Changes),
}

/// Rows in the order of their keys.
pub(super) enum Rows {
    Sled(sled::Iter),
    #[cfg(test)]
    Model(model::Rows),
}

impl Table {
    pub(super) fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<IVec>> {
        match self {
            Self::Sled(db) => db.get(key),
            #[cfg(test)]
            Self::Model(table) => table.get(key.as_ref()),
        }
    }

    pub(super) fn scan_prefix(&self, prefix: impl AsRef<[u8]>) -> Rows {
        match self {
            Self::Sled(db) => Rows::Sled(db.scan_prefix(prefix)),
            #[cfg(test)]
            Self::Model(table) => Rows::Model(table.scan_prefix(prefix.as_ref())),
        }
    }

    pub(super) fn range<const N: usize>(&self, keys: RangeInclusive<[u8; N]>) -> Rows {
        match self {
            Self::Sled(db) => Rows::Sled(db.range(keys)),
            #[cfg(test)]
            Self::Model(table) => Rows::Model(table.range(keys.start(), keys.end())),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Sled(db) => db.is_empty(),
            #[cfg(test)]
            Self::Model(table) => table.is_empty(),
        }
    }

    /// An empty batch for this table.
    pub(super) fn batch(&self) -> Batch {
        match self {
            Self::Sled(_) => Batch::Sled(sled::Batch::default()),
            #[cfg(test)]
            Self::Model(_) => Batch::Model(model::Changes::default()),
        }
    }

    /// Makes a batch's changes; they are in memory until the table writes them.
    pub(super) fn apply_batch(&self, batch: Batch) -> Result<()> {
        match (self, batch) {
            (Self::Sled(db), Batch::Sled(batch)) => db.apply_batch(batch),
            #[cfg(test)]
            (Self::Model(table), Batch::Model(changes)) => table.apply(changes),
            #[cfg(test)]
            _ => Err(sled::Error::Unsupported("a batch of another table".into())),
        }
    }

    /// Writes what is in memory.
    pub(super) fn flush(&self) -> Result<()> {
        match self {
            Self::Sled(db) => db.flush().map(|_| ()),
            #[cfg(test)]
            Self::Model(table) => table.flush(),
        }
    }
}

impl Batch {
    pub(super) fn insert(&mut self, key: impl Into<IVec>, value: impl Into<IVec>) {
        match self {
            Self::Sled(batch) => batch.insert(key, value),
            #[cfg(test)]
            Self::Model(changes) => changes.push((key.into(), Some(value.into()))),
        }
    }

    pub(super) fn remove(&mut self, key: impl Into<IVec>) {
        match self {
            Self::Sled(batch) => batch.remove(key),
            #[cfg(test)]
            Self::Model(changes) => changes.push((key.into(), None)),
        }
    }
}

impl Iterator for Rows {
    type Item = Result<(IVec, IVec)>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Sled(rows) => rows.next(),
            #[cfg(test)]
            Self::Model(rows) => rows.next(),
        }
    }
}
