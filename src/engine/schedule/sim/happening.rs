//! What happens in the simulation, from outside and inside.

use crate::engine::schedule::{Page, Report, Spot};
use crate::model::{Outcome, Position, QueueEntry, SteadyMillis};

pub(super) enum Happening {
    Accept {
        hook: usize,
        count: usize,
    },
    Toggle {
        hook: usize,
    },
    Remove {
        hook: usize,
    },
    Ail {
        hook: usize,
    },
    RetryNow {
        hook: usize,
    },
    Reorder {
        hook: usize,
    },
    Crash,
    // What follows is lost in a crash.
    Hint {
        hook: usize,
        entry: QueueEntry,
    },
    Woken {
        hook: usize,
        /// The delivery whose hint was lost; `None`: anything.
        missed: Option<QueueEntry>,
    },
    Close {
        hook: usize,
    },
    Pause {
        hook: usize,
    },
    PageRun {
        hook: usize,
        read: Read,
    },
    PageAnswer {
        hook: usize,
        ticket: u64,
        page: Option<Page>,
    },
    Ended {
        hook: usize,
        entry: QueueEntry,
        outcome: Outcome,
    },
    Commit {
        hook: usize,
        entry: QueueEntry,
        outcome: Outcome,
    },
    Finished {
        hook: usize,
        event: Position,
        report: Report,
    },
    RetryCommit {
        hook: usize,
        event: Position,
    },
    Release {
        hook: usize,
        event: Position,
        entry: Option<QueueEntry>,
    },
}

#[derive(Clone, Copy)]
pub(super) struct Read {
    pub(super) ticket: u64,
    pub(super) from: Spot,
    pub(super) until: SteadyMillis,
    pub(super) limit: usize,
}

impl Happening {
    pub(super) const fn survives_a_crash(&self) -> bool {
        matches!(
            self,
            Self::Accept { .. }
                | Self::Toggle { .. }
                | Self::Remove { .. }
                | Self::Ail { .. }
                | Self::RetryNow { .. }
                | Self::Reorder { .. }
                | Self::Crash
        )
    }
}
