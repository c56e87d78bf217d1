//! What counts as success, and when to try again.

use serde::{Deserialize, Serialize};

/// No schedule has more retries than this: a longer list is a mistake, and the log keeps each attempt.
pub(crate) const RETRIES_MAX: usize = 100;
/// No delay is longer than 30 days; retention would end the delivery before.
const DELAY_MAX_MS: u64 = 30 * 24 * 3600 * 1000;

/// A retry schedule that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// Too many retries.
    #[error("at most {RETRIES_MAX} retries can be scheduled, not {0}")]
    TooMany(usize),
    /// A delay over the bound.
    #[error("a retry delay is at most 30 days")]
    TooLong,
    /// A multiplier that is not a number from 1 to 100.
    #[error("the multiplier of a retry schedule is a number from 1 to 100")]
    Multiplier,
    /// Jitter over 100 %.
    #[error("jitter is 0 % to 100 %")]
    Jitter,
}

/// The numbers behind an exponential schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first delay, milliseconds.
    pub initial_ms: u64,
    /// Each delay is the one before times this.
    pub multiplier: f64,
    /// No delay is longer than this, milliseconds, where the schedule shows such a bound: its last delays are
    /// the same.
    pub max_delay_ms: Option<u64>,
}

/// When to try again: one delay for each retry, counted from the end of the failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    delays_ms: Vec<u64>,
    jitter_percent: u8,
}

impl RetryPolicy {
    /// A schedule from its delays (milliseconds), with jitter added upward only, as a part of the delay.
    ///
    /// # Errors
    /// Where the list is over 100 long, a delay over 30 days, or jitter over 100 %.
    pub fn new(delays_ms: Vec<u64>, jitter_percent: u8) -> Result<Self, RetryError> {
        if delays_ms.len() > RETRIES_MAX {
            return Err(RetryError::TooMany(delays_ms.len()));
        }
        if delays_ms.iter().any(|delay| *delay > DELAY_MAX_MS) {
            return Err(RetryError::TooLong);
        }
        if jitter_percent > 100 {
            return Err(RetryError::Jitter);
        }
        Ok(Self {
            delays_ms,
            jitter_percent,
        })
    }

    /// A schedule of `max_retries` delays that starts at `initial_ms` and grows by `multiplier`,
    /// no delay over `max_delay_ms`.
    ///
    /// # Errors
    /// As [`RetryPolicy::new`], and for a multiplier outside 1 to 100.
    pub fn exponential(
        max_retries: usize,
        initial_ms: u64,
        multiplier: f64,
        max_delay_ms: u64,
        jitter_percent: u8,
    ) -> Result<Self, RetryError> {
        if !(1.0..=100.0).contains(&multiplier) {
            return Err(RetryError::Multiplier);
        }
        if max_retries > RETRIES_MAX {
            return Err(RetryError::TooMany(max_retries));
        }
        let cap = max_delay_ms.min(DELAY_MAX_MS);
        let mut delays_ms = Vec::with_capacity(max_retries);
        let mut delay = initial_ms as f64;
        for _ in 0..max_retries {
            delays_ms.push(round_ms(delay).min(cap));
            delay *= multiplier;
        }
        Self::new(delays_ms, jitter_percent)
    }

    /// The numbers that [`RetryPolicy::exponential`] makes this schedule's delays from; `None` where there are
    /// none, or fewer than two delays, which tell no multiplier. Where several multipliers fit, as delays are
    /// whole milliseconds, it is the one with the fewest decimals.
    #[must_use]
    pub fn backoff(&self) -> Option<Backoff> {
        let delays = self.delays_ms.as_slice();
        let (initial_ms, max_delay_ms) = match delays {
            [first, second, .., before, last] if before == last && second < last => {
                (*first, Some(*last))
            }
            [first, _, ..] => (*first, None),
            _ => return None,
        };
        let cap = max_delay_ms.unwrap_or(DELAY_MAX_MS);
        // Each delay under the cap leaves a range of multipliers that would have made it.
        let (mut low, mut high) = (1.0_f64, 100.0_f64);
        let under_cap = delays.iter().zip(0_i32..).skip(1);
        for (delay, power) in under_cap.take_while(|(delay, _)| **delay < cap) {
            let root = |ms: f64| (ms / initial_ms as f64).powf(1.0 / f64::from(power));
            low = low.max(root(*delay as f64 - 0.5));
            high = high.min(root(*delay as f64 + 0.5));
        }
        let shortest = |unit: f64| (low * unit).ceil() / unit;
        let decimals = [1.0, 10.0, 100.0, 1000.0].map(shortest);
        let found = decimals.into_iter().chain([f64::midpoint(low, high)]);
        let made = |multiplier: &f64| {
            let count = delays.len();
            let again = Self::exponential(count, initial_ms, *multiplier, cap, 0);
            again.is_ok_and(|again| again.delays_ms == delays)
        };
        let multiplier = found.filter(|number| *number <= high).find(made)?;
        Some(Backoff {
            initial_ms,
            multiplier,
            max_delay_ms,
        })
    }

    /// The delays in milliseconds, without jitter.
    #[must_use]
    pub fn delays_ms(&self) -> &[u64] {
        &self.delays_ms
    }

    /// How much may be added to a delay, percent of it.
    #[must_use]
    pub const fn jitter_percent(&self) -> u8 {
        self.jitter_percent
    }

    /// Attempts in all, the first included.
    #[must_use]
    pub fn attempts_max(&self) -> usize {
        self.delays_ms.len() + 1
    }

    /// The delay after the `made`-th attempt of a run (from 1), jitter included; `None` when the
    /// schedule has ended. `salt` spreads the jitter: the same salt gives the same delay.
    #[must_use]
    pub fn delay_after(&self, made: u32, salt: u64) -> Option<u64> {
        let index = usize::try_from(made).ok()?.checked_sub(1)?;
        let delay = *self.delays_ms.get(index)?;
        let share = u128::from(mix(salt ^ u64::from(made)));
        let span = u128::from(delay) * u128::from(self.jitter_percent) / 100;
        let extra = u64::try_from((span * share) >> 64).unwrap_or(0);
        Some(delay.saturating_add(extra))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and a delay is never negative"
)]
fn round_ms(delay: f64) -> u64 {
    delay.round() as u64
}

/// The finaliser of SplitMix64: spreads every bit of the input over the output.
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A range of status codes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRange {
    /// The first code.
    pub from: u16,
    /// The last code.
    pub to: u16,
}

/// Which status codes mean that the delivery arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuccessRule(pub Vec<StatusRange>);

impl SuccessRule {
    /// Whether `status` means success.
    #[must_use]
    pub fn accepts(&self, status: u16) -> bool {
        self.0
            .iter()
            .any(|range| (range.from..=range.to).contains(&status))
    }
}

/// What 410 Gone means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GonePolicy {
    /// The receiver wants no more: the delivery has failed for good.
    Disable,
    /// A failure like any other.
    Retry,
}

/// All that decides what follows an attempt: the profile's rules with the webhook's own in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// When to try again.
    pub retry: RetryPolicy,
    /// What counts as success.
    pub success: SuccessRule,
    /// What 410 means.
    pub on_gone: GonePolicy,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_exponential_schedule_expands_to_its_delays() {
        let policy = RetryPolicy::exponential(3, 1000, 2.0, u64::MAX, 0).unwrap();
        assert_eq!(policy.delays_ms(), [1000, 2000, 4000]);
        let capped = RetryPolicy::exponential(4, 1000, 10.0, 50_000, 0).unwrap();
        assert_eq!(capped.delays_ms(), [1000, 10_000, 50_000, 50_000]);
        assert_eq!(
            RetryPolicy::exponential(1, 1, f64::NAN, 1, 0),
            Err(RetryError::Multiplier)
        );
        assert_eq!(
            RetryPolicy::new(vec![0; 101], 0),
            Err(RetryError::TooMany(101))
        );
    }

    proptest! {
        #[test]
        fn the_numbers_of_an_exponential_schedule_are_found_again(
            retries in 2_usize..20, initial_ms in 50_u64..100_000, hundredths in 100_u32..1000,
        ) {
            let multiplier = f64::from(hundredths) / 100.0;
            let cap = 30 * 24 * 3600 * 1000;
            let policy = RetryPolicy::exponential(retries, initial_ms, multiplier, cap, 0).unwrap();
            let found = policy.backoff().unwrap();
            let cap = found.max_delay_ms.unwrap_or(cap);
            let again = RetryPolicy::exponential(retries, found.initial_ms, found.multiplier, cap, 0);
            prop_assert_eq!(again.unwrap(), policy);
        }
    }

    #[test]
    fn a_list_has_no_multiplier() {
        let list = |delays: &[u64]| RetryPolicy::new(delays.to_vec(), 0).unwrap().backoff();
        assert_eq!(list(&[60_000, 300_000, 900_000]), None);
        assert_eq!(list(&[5000]), None);
        assert_eq!(list(&[5000, 1000]), None);
        assert_eq!(list(&[0, 0]).unwrap().multiplier, 1.0);
        assert_eq!(list(&[1000, 5000, 5000]), None);
        let capped = list(&[1000, 2000, 4000, 5000, 5000]).unwrap();
        assert_eq!((capped.multiplier, capped.max_delay_ms), (2.0, Some(5000)));
        assert_eq!(list(&[7, 7, 7]).unwrap().multiplier, 1.0);
    }

    #[test]
    fn jitter_only_adds_and_stays_inside_its_share() {
        let policy = RetryPolicy::new(vec![10_000], 20).unwrap();
        let delays: Vec<u64> = (0..1000)
            .map(|salt| policy.delay_after(1, salt).unwrap())
            .collect();
        assert!(delays.iter().all(|delay| (10_000..12_000).contains(delay)));
        let (low, high) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
        assert!(high - low > 1_500, "jitter spreads only over {low}..{high}");
        assert_eq!(policy.delay_after(2, 0), None);
        assert_eq!(policy.delay_after(0, 0), None);
    }
}
