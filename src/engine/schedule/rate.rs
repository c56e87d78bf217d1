//! Rates: how many attempts a lane may begin in a second and in an hour, and how fast a held backlog flows again.
//!
//! Each period starts with its first attempt and ends by the clock, so a period never holds more than its
//! number; two that follow each other may lie close. Nothing is counted over a restart. Pure.

use crate::model::SteadyMillis;

const SECOND_MS: u64 = 1_000;
const SECOND_US: u64 = 1_000_000;
const HOUR_MS: u64 = 3_600_000;
/// How far sends that came late may be made up for: a timer that is late by some milliseconds costs no rate, and a
/// lane that could not send for a while bursts by a tenth of a second's number at most.
const BEHIND_MAX_US: u64 = 100_000;

/// Bounds on the attempts begun for one webhook; `None`: no bound. A zero counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// In a second.
    pub per_second: Option<u32>,
    /// In an hour.
    pub per_hour: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Period {
    started: SteadyMillis,
    begun: u32,
}

impl Period {
    /// From when on another attempt may begin.
    const fn free_at(self, max: Option<u32>, length_ms: u64) -> SteadyMillis {
        match max {
            Some(max) if self.begun > 0 && self.begun >= max => self.started.plus(length_ms),
            Some(_) | None => SteadyMillis(0),
        }
    }

    fn count(&mut self, now: SteadyMillis, length_ms: u64) {
        if self.begun == 0 || self.started.plus(length_ms) <= now {
            *self = Self {
                started: now,
                begun: 0,
            };
        }
        self.begun = self.begun.saturating_add(1);
    }
}

/// A held backlog that flows again: evenly, so that a receiver that was away is not met by a burst.
#[derive(Clone, Copy, Debug)]
struct Resume {
    /// What was due by then is the backlog.
    opened: SteadyMillis,
    interval_us: u64,
    /// When the next attempt may begin.
    next_us: u64,
}

impl Resume {
    fn count(&mut self, now: SteadyMillis) {
        let behind = (now.0.saturating_mul(1_000)).saturating_sub(BEHIND_MAX_US);
        self.next_us = self.next_us.max(behind).saturating_add(self.interval_us);
    }
}

/// A lane's rates with what was begun under them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    rates: Rates,
    second: Period,
    hour: Period,
    resume: Option<Resume>,
}

impl Pace {
    /// Changes the rates; what was begun still counts.
    pub(super) const fn set(&mut self, rates: Rates) {
        self.rates = rates;
    }

    /// From now on at most so many in a second, until [`Pace::caught_up`]; zero: no bound.
    pub(super) fn resume(&mut self, per_second: u32, now: SteadyMillis) {
        self.resume = (per_second > 0).then(|| Resume {
            opened: now,
            interval_us: SECOND_US.div_ceil(u64::from(per_second)),
            next_us: now.0.saturating_mul(1_000),
        });
    }

    /// When the backlog that flows again began to.
    pub(super) fn resumed_at(&self) -> Option<SteadyMillis> {
        self.resume.map(|resume| resume.opened)
    }

    /// Ends the bound on what flows again.
    pub(super) const fn caught_up(&mut self) {
        self.resume = None;
    }

    /// From when on another attempt may begin; a time that has passed means now.
    pub(super) fn free_at(&self) -> SteadyMillis {
        let rated = self
            .second
            .free_at(self.rates.per_second, SECOND_MS)
            .max(self.hour.free_at(self.rates.per_hour, HOUR_MS));
        match self.resume {
            Some(resume) => rated.max(SteadyMillis(resume.next_us / 1_000)),
            None => rated,
        }
    }

    /// An attempt begins.
    pub(super) fn count(&mut self, now: SteadyMillis) {
        self.second.count(now, SECOND_MS);
        self.hour.count(now, HOUR_MS);
        if let Some(resume) = &mut self.resume {
            resume.count(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_period_holds_more_than_its_number() {
        let mut pace = Pace::default();
        pace.set(Rates {
            per_second: Some(3),
            per_hour: Some(7),
        });
        let mut now = SteadyMillis(500);
        let mut begun = Vec::new();
        for _ in 0..10 {
            now = now.max(pace.free_at());
            pace.count(now);
            begun.push(now.0);
        }
        let expected = [[500; 3].as_slice(), &[1_500; 3], &[2_500], &[3_600_500; 3]];
        assert_eq!(begun, expected.concat());
        pace.set(Rates::default());
        assert_eq!(pace.free_at(), SteadyMillis(0));
    }

    #[test]
    fn a_backlog_flows_evenly_and_late_sends_are_made_up_for() {
        let mut pace = Pace::default();
        let opened = SteadyMillis(10_000);
        pace.resume(3_000, opened);
        let mut now = opened;
        for n in 0..9_000 {
            // Whoever sends is late at times, once by a whole second.
            now = now.max(pace.free_at()).plus(match n {
                4_500 => 1_000,
                n if n % 7 == 0 => 1,
                _ => 0,
            });
            assert!(now.since(opened) >= n / 3, "the {n}th was early");
            pace.count(now);
        }
        assert!((3_800..4_000).contains(&now.since(opened)), "{now:?}");
        pace.resume(0, now);
        assert_eq!(pace.free_at(), SteadyMillis(0));
    }
}
