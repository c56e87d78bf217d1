//! The simulation's webhooks with their receivers, and the numbers everything in it is drawn from.

use crate::engine::schedule::Rates;
use crate::model::{
    GonePolicy, Policy, RetryPolicy, StatusRange, SteadyMillis, SuccessRule, WebhookId,
};

/// SplitMix64.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(super) fn size(&mut self, min: u64, max: u64) -> usize {
        usize::try_from(min + self.below(max - min + 1)).unwrap()
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Mostly short, at times long: messages overtake each other.
    pub(super) fn lag(&mut self) -> u64 {
        match self.below(10) {
            0..=3 => 0,
            4..=7 => self.below(5),
            8 => self.below(60),
            _ => self.below(1_500),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Receiver {
    Well,
    Fails,
    Flaky,
    Hangs,
}

pub(super) struct Hook {
    pub(super) id: WebhookId,
    pub(super) policy: Policy,
    pub(super) receiver: Receiver,
    pub(super) active: bool,
    pub(super) removed: bool,
    /// Whether the core was told of the removal.
    pub(super) closed: bool,
    pub(super) paused_until: SteadyMillis,
    pub(super) rates: Rates,
    /// When attempts were begun since the core was last started.
    pub(super) begun: Vec<SteadyMillis>,
}

impl Receiver {
    pub(super) fn any(rng: &mut Rng) -> Self {
        [Self::Well, Self::Fails, Self::Flaky, Self::Hangs][rng.size(0, 3)]
    }
}

impl Hook {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let delays = (0..rng.size(0, 5))
            .map(|_| [0, 1, 40, 700, 2_000, 9_000][rng.size(0, 5)])
            .collect();
        Self {
            id: WebhookId(u128::from(rng.next())),
            policy: Policy {
                retry: RetryPolicy::new(delays, 20).unwrap(),
                success: SuccessRule(vec![StatusRange { from: 200, to: 299 }]),
                on_gone: GonePolicy::Retry,
            },
            receiver: Receiver::any(rng),
            active: true,
            removed: false,
            closed: false,
            paused_until: SteadyMillis(0),
            rates: Rates {
                per_second: rng.chance(20).then_some(2),
                per_hour: rng.chance(10).then_some(40),
            },
            begun: Vec::new(),
        }
    }

    /// An attempt begins; the rates allow it.
    pub(super) fn check_rates(&mut self, now: SteadyMillis) {
        self.begun.push(now);
        let rates = [
            (self.rates.per_second, 1_000),
            (self.rates.per_hour, 3_600_000),
        ];
        for (max, length_ms) in rates {
            // Two periods may lie close, so a stretch of one period's length sees parts of two.
            let recent = self.begun.iter().rev();
            let recent = recent.take_while(|at| now.since(**at) < length_ms).count();
            let max = max.map_or(usize::MAX, |max| 2 * max as usize);
            assert!(recent <= max, "{recent} attempts in {length_ms} ms");
        }
    }
}
