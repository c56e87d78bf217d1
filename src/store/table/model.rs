//! A model of sled, as strict as what is asked of it: a crash leaves a prefix of the batches, and no more.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sled::{Error, IVec, Result};

use crate::journal::{Call, ModelDisk};
use crate::model::rng::Rng;
use crate::store::keys::META;

/// The changes of a batch; `None` removes.
pub(crate) type Changes = Vec<(IVec, Option<IVec>)>;
type Map = BTreeMap<IVec, IVec>;

#[derive(Debug, Default)]
struct State {
    rows: Map,
    durable: Map,
    unflushed: Vec<Changes>,
    /// It does not open.
    ruined: bool,
}

/// The table; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct ModelTable {
    state: Arc<Mutex<State>>,
    /// Where its file is: its calls count, and fail, as the disk's do.
    disk: ModelDisk,
}

fn make(map: &mut Map, changes: &Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(map.insert(key.clone(), value.clone())),
            None => drop(map.remove(key)),
        }
    }
}

impl ModelTable {
    pub(crate) fn new(disk: ModelDisk) -> Self {
        let state = Arc::default();
        Self { state, disk }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, call: Call) -> Result<()> {
        self.disk.call(call).map_err(Error::Io)
    }

    /// The process has gone, with or without the power: some first batches of the unflushed were written.
    pub(crate) fn gone(&self, rng: &mut Rng) {
        let state = &mut *self.lock();
        let kept = rng.size(0, state.unflushed.len() as u64);
        for changes in state.unflushed.drain(..).take(kept) {
            make(&mut state.durable, &changes);
        }
        state.unflushed.clear();
        state.rows.clone_from(&state.durable);
    }

    /// From now on it does not open.
    pub(crate) fn ruin(&self) {
        self.lock().ruined = true;
    }

    /// Whether nothing says how far it is applied: it is empty, or was not yet made whole.
    pub(crate) fn is_unfinished(&self) -> bool {
        !self.lock().rows.contains_key(META)
    }

    /// Whether it opens.
    pub(crate) fn open(&self) -> Result<()> {
        self.call(Call::Read)?;
        if self.lock().ruined {
            return Err(Error::Unsupported("ruined".into()));
        }
        Ok(())
    }

    /// An empty one takes its place.
    pub(crate) fn replace(&self) -> Result<()> {
        self.call(Call::Write)?;
        *self.lock() = State::default();
        Ok(())
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<IVec>> {
        self.call(Call::Read)?;
        Ok(self.lock().rows.get(key).cloned())
    }

    pub(super) fn scan_prefix(&self, prefix: &[u8]) -> Rows {
        let high = [prefix, &[0xff; 40]].concat();
        self.range(prefix, &high)
    }

    pub(super) fn range(&self, low: &[u8], high: &[u8]) -> Rows {
        Rows {
            table: self.clone(),
            from: Bound::Included(low.into()),
            high: high.into(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().rows.is_empty()
    }

    pub(super) fn apply(&self, changes: Changes) -> Result<()> {
        self.call(Call::Write)?;
        let mut state = self.lock();
        make(&mut state.rows, &changes);
        state.unflushed.push(changes);
        Ok(())
    }

    pub(super) fn flush(&self) -> Result<()> {
        self.call(Call::Sync)?;
        let state = &mut *self.lock();
        for changes in state.unflushed.drain(..) {
            make(&mut state.durable, &changes);
        }
        Ok(())
    }
}

/// Rows from one key to another, both included; each is looked up when it is asked for.
pub(crate) struct Rows {
    table: ModelTable,
    from: Bound<IVec>,
    high: IVec,
}

impl Iterator for Rows {
    type Item = Result<(IVec, IVec)>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.table.call(Call::Read) {
            return Some(Err(error));
        }
        let state = self.table.lock();
        let to = Bound::Included(self.high.clone());
        let (key, value) = state.rows.range((self.from.clone(), to)).next()?;
        let row = (key.clone(), value.clone());
        drop(state);
        self.from = Bound::Excluded(row.0.clone());
        Some(Ok(row))
    }
}
