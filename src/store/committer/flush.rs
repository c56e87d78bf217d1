//! When the overlay goes to sled, and when sled's file is made durable.

use super::super::Error;
use super::super::flusher::Given;
use super::{Committer, OVERLAY_KEYS_MAX};

/// While sled takes one overlay the next may grow to this many keys; then the committer waits for it.
const OVERLAY_KEYS_BEHIND: usize = 2 * OVERLAY_KEYS_MAX;

impl Committer {
    /// Begins to give the overlay to sled, if the disk has room for that and the one before has been given. What
    /// gathers meanwhile is bounded: then that one is waited for.
    pub(super) fn begin_flush(&mut self) -> Result<(), Error> {
        let (keys, dirty) = self.live.unflushed();
        self.reap(keys >= OVERLAY_KEYS_BEHIND)?;
        if self.flusher.is_busy() || !(dirty || self.sync_wanted) || !self.files.make_room(keys)? {
            return Ok(());
        }
        self.live.freeze()?;
        let sync = std::mem::take(&mut self.sync_wanted) || self.files.needs_own_sync();
        if let Some(given) = self.flusher.begin(&self.live, &self.files, sync)? {
            self.note_given(given);
        }
        Ok(())
    }

    /// Takes note of what came of the flush that was begun, if it has ended or is to be waited for.
    fn reap(&mut self, wait: bool) -> Result<(), Error> {
        if let Some(given) = self.flusher.ended(wait)? {
            self.note_given(given);
        }
        Ok(())
    }

    fn note_given(&mut self, given: Given) {
        self.flushed = given.applied.unwrap_or(self.flushed);
        if given.synced {
            self.durable = self.flushed;
        }
    }

    /// Gives the overlay to sled, if the disk has room for that; says whether it had.
    fn flush(&mut self) -> Result<bool, Error> {
        self.reap(true)?;
        if !self.files.make_room(self.live.unflushed().0)? {
            return Ok(false);
        }
        self.live.flush()?;
        if let (Some(applied), _) = self.live.applied() {
            self.flushed = applied;
        }
        if self.files.needs_own_sync() {
            self.live.sync()?;
            self.files.sync_data()?;
            self.durable = self.flushed;
        }
        Ok(true)
    }

    /// Gives the overlay to sled and makes sled's file durable, if the disk has room for that. Without it the
    /// journal is applied again at the next start, and nothing is lost.
    pub(super) fn checkpoint(&mut self) -> Result<bool, Error> {
        if !self.flush()? {
            return Ok(false);
        }
        self.live.sync()?;
        self.files.sync_data()?;
        self.durable = self.flushed;
        Ok(true)
    }
}
