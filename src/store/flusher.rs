//! Gives frozen overlays to sled on a thread of its own, so that no group waits for it.
//!
//! sled takes some microseconds for each key. On the committer's thread that held every answer back for tens of
//! milliseconds, again and again. One overlay is given at a time; what is committed meanwhile gathers in the next.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use crate::model::Position;

use super::durable::SledFiles;
use super::live::Live;
use super::{Error, error};

/// What was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    /// Up to where sled is applied now; `None`: as before.
    pub(super) applied: Option<Position>,
    /// Whether that is on disk for certain.
    pub(super) synced: bool,
}

/// Where overlays are given to sled.
pub(super) enum Flusher {
    /// Where [`Flusher::begin`] is called, and at once: the order of things is then the caller's.
    Here,
    Beside(Beside),
}

/// The thread.
pub(super) struct Beside {
    /// Whether to sync, for each overlay that was frozen. `None` while it ends.
    orders: Option<SyncSender<bool>>,
    given: Receiver<Result<Given, Error>>,
    busy: bool,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    /// Starts the thread. It ends when this is dropped.
    pub(super) fn beside(live: Arc<Live>, files: SledFiles) -> Result<Self, Error> {
        let (orders, ordered) = sync_channel(1);
        let (told, given) = sync_channel(1);
        let work = move || {
            while let Ok(sync) = ordered.recv() {
                if told.send(give(&live, &files, sync)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("hookwheel-sled".to_owned())
            .spawn(work)
            .map_err(error::io("start a thread for", "sled".as_ref()))?;
        Ok(Self::Beside(Beside {
            orders: Some(orders),
            given,
            busy: false,
            thread: Some(thread),
        }))
    }

    /// Whether an overlay is being given.
    pub(super) const fn is_busy(&self) -> bool {
        matches!(self, Self::Beside(Beside { busy: true, .. }))
    }

    /// Gives the overlay that was frozen, and makes sled durable if asked. Not while it is busy.
    pub(super) fn begin(
        &mut self,
        live: &Live,
        files: &SledFiles,
        sync: bool,
    ) -> Result<Option<Given>, Error> {
        match self {
            Self::Here => give(live, files, sync).map(Some),
            Self::Beside(beside) => {
                let orders = beside.orders.as_ref().ok_or_else(gone)?;
                orders.send(sync).map_err(|_| gone())?;
                beside.busy = true;
                Ok(None)
            }
        }
    }

    /// What came of the last one, if it was not asked before and is done, or is waited for.
    pub(super) fn ended(&mut self, wait: bool) -> Result<Option<Given>, Error> {
        let Self::Beside(beside) = self else {
            return Ok(None);
        };
        if !beside.busy {
            return Ok(None);
        }
        let given = match beside.given.try_recv() {
            Err(TryRecvError::Empty) if wait => beside.given.recv().map_err(|_| gone())?,
            Err(TryRecvError::Empty) => return Ok(None),
            Err(TryRecvError::Disconnected) => return Err(gone()),
            Ok(given) => given,
        };
        beside.busy = false;
        given.map(Some)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that gives to sled panicked");
        }
    }
}

fn give(live: &Live, files: &SledFiles, sync: bool) -> Result<Given, Error> {
    let applied = live.give()?;
    if sync {
        live.sync()?;
        files.sync_data()?;
    }
    Ok(Given {
        applied,
        synced: sync,
    })
}

fn gone() -> Error {
    Error::Suspect("the thread that writes to it ended; the log says where".to_owned())
}
