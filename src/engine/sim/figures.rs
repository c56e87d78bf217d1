//! What the simulation's runs amounted to.

/// What a run amounted to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) seeds: u64,
    /// What happened: messages, calls, answers, changes from outside.
    pub(super) steps: u64,
    /// Rounds of the committer.
    pub(super) rounds: u64,
    pub(super) answers: u64,
    pub(super) attempts: u64,
    pub(super) recorded: u64,
    pub(super) stale: u64,
    pub(super) cut_off: u64,
    pub(super) duplicates: u64,
    pub(super) requeued: u64,
    pub(super) replayed: u64,
    pub(super) cancelled: u64,
    pub(super) deleted: u64,
    pub(super) kills: u64,
    pub(super) power_cuts: u64,
    pub(super) stops: u64,
    pub(super) store_failures: u64,
    pub(super) failed_starts: u64,
    pub(super) rebuilt: u64,
    pub(super) calls: u64,
    pub(super) failed_calls: u64,
    pub(super) syncs: u64,
}

impl Figures {
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, one) in [
            (&mut self.seeds, other.seeds),
            (&mut self.steps, other.steps),
            (&mut self.rounds, other.rounds),
            (&mut self.answers, other.answers),
            (&mut self.attempts, other.attempts),
            (&mut self.recorded, other.recorded),
            (&mut self.stale, other.stale),
            (&mut self.cut_off, other.cut_off),
            (&mut self.duplicates, other.duplicates),
            (&mut self.requeued, other.requeued),
            (&mut self.replayed, other.replayed),
            (&mut self.cancelled, other.cancelled),
            (&mut self.deleted, other.deleted),
            (&mut self.kills, other.kills),
            (&mut self.power_cuts, other.power_cuts),
            (&mut self.stops, other.stops),
            (&mut self.store_failures, other.store_failures),
            (&mut self.failed_starts, other.failed_starts),
            (&mut self.rebuilt, other.rebuilt),
            (&mut self.calls, other.calls),
            (&mut self.failed_calls, other.failed_calls),
            (&mut self.syncs, other.syncs),
        ] {
            *sum += one;
        }
    }
}
