//! How many deliveries a job may queue now. Pure.
//!
//! It earns its rate evenly, and keeps no more than a quarter of a second's worth: what it could not use, because it
//! was paused, found nothing or waited for the disk, is not made up for by a burst.

use crate::model::SteadyMillis;

/// What is kept of the time that has passed. The runner looks many times within it, so that no look's delay loses
/// anything of the rate.
const KEPT_MS: u64 = 250;

/// One delivery, in the unit of the credit.
const WHOLE: u64 = 1_000;

/// A job's credit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    per_second: u64,
    /// In thousandths of a delivery.
    credit: u64,
    seen: SteadyMillis,
}

impl Pace {
    /// It begins with nothing.
    pub(super) fn new(per_second: u32, now: SteadyMillis) -> Self {
        Self {
            per_second: u64::from(per_second.max(1)),
            credit: 0,
            seen: now,
        }
    }

    /// How many may be queued now.
    pub(super) fn due(&mut self, now: SteadyMillis) -> usize {
        let earned = now.since(self.seen).saturating_mul(self.per_second);
        self.seen = now.max(self.seen);
        // A whole one beside the quarter: at a rate of one in a second what is earned meanwhile must not be lost.
        let most = WHOLE + self.per_second * KEPT_MS;
        self.credit = self.credit.saturating_add(earned).min(most);
        usize::try_from(self.credit / WHOLE).unwrap_or(usize::MAX)
    }

    /// So many were queued.
    pub(super) fn spend(&mut self, count: usize) {
        self.credit = self.credit.saturating_sub(WHOLE * count as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every `step_ms`, takes at most `most` at once, and gives what was queued in `time_ms`.
    fn run(pace: &mut Pace, from: u64, time_ms: u64, step_ms: u64, most: usize) -> usize {
        let mut queued = 0;
        for now in (from..=from + time_ms).step_by(usize::try_from(step_ms).unwrap()) {
            let count = pace.due(SteadyMillis(now)).min(most);
            pace.spend(count);
            queued += count;
        }
        queued
    }

    #[test]
    fn every_rate_is_kept_to_within_a_percent_and_never_passed() {
        for per_second in [1, 3, 7, 100, 333, 2_000, 10_000] {
            for step_ms in [10, 50, 130] {
                let mut pace = Pace::new(per_second, SteadyMillis(5));
                let queued = run(&mut pace, 5, 100_000, step_ms, usize::MAX);
                let wanted = per_second as usize * 100;
                assert!(queued <= wanted, "{queued} of {wanted} at {per_second}");
                assert!(
                    queued + 1 + wanted / 100 >= wanted,
                    "{queued} of {wanted} at {per_second}, looked at every {step_ms} ms"
                );
            }
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let mut pace = Pace::new(1_000, SteadyMillis(0));
        assert_eq!(pace.due(SteadyMillis(0)), 0, "it begins with nothing");
        assert_eq!(pace.due(SteadyMillis(3_600_000)), 251);
        pace.spend(251);
        assert_eq!(pace.due(SteadyMillis(3_600_000)), 0);
        assert_eq!(pace.due(SteadyMillis(3_600_010)), 10);
        // A clock that stands still or goes back earns nothing.
        assert_eq!(pace.due(SteadyMillis(3_000_000)), 10);
        assert_eq!(pace.due(SteadyMillis(3_600_010)), 10);
    }
}
