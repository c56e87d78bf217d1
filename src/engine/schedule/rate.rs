//! Rates: how many attempts a lane may begin in a second and in an hour.
//!
//! Each period starts with its first attempt and ends by the clock, so a period never holds more than its
//! number; two that follow each other may lie close. Nothing is counted over a restart. Pure.

use crate::model::SteadyMillis;

const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600_000;

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

/// A lane's rates with what was begun under them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    rates: Rates,
    second: Period,
    hour: Period,
}

impl Pace {
    /// Changes the rates; what was begun still counts.
    pub(super) const fn set(&mut self, rates: Rates) {
        self.rates = rates;
    }

    /// From when on another attempt may begin; a time that has passed means now.
    pub(super) fn free_at(&self) -> SteadyMillis {
        self.second
            .free_at(self.rates.per_second, SECOND_MS)
            .max(self.hour.free_at(self.rates.per_hour, HOUR_MS))
    }

    /// An attempt begins.
    pub(super) fn count(&mut self, now: SteadyMillis) {
        self.second.count(now, SECOND_MS);
        self.hour.count(now, HOUR_MS);
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
}
