//! The simulations' webhooks with their receivers.

use crate::engine::schedule::Rates;
use crate::model::rng::Rng;
use crate::model::{
    GonePolicy, Policy, RetryPolicy, StatusRange, SteadyMillis, SuccessRule, WebhookId,
};

#[derive(Clone, Copy, PartialEq)]
pub(in crate::engine) enum Receiver {
    Well,
    Fails,
    Flaky,
    Hangs,
}

pub(in crate::engine) struct Hook {
    pub(in crate::engine) id: WebhookId,
    pub(in crate::engine) policy: Policy,
    pub(in crate::engine) receiver: Receiver,
    pub(in crate::engine) active: bool,
    pub(in crate::engine) removed: bool,
    /// Whether the core was told of the removal.
    pub(in crate::engine) closed: bool,
    pub(in crate::engine) paused_until: SteadyMillis,
    pub(in crate::engine) rates: Rates,
    /// When attempts were begun since the core was last started.
    pub(in crate::engine) begun: Vec<SteadyMillis>,
}

impl Receiver {
    pub(in crate::engine) fn any(rng: &mut Rng) -> Self {
        [Self::Well, Self::Fails, Self::Flaky, Self::Hangs][rng.size(0, 3)]
    }
}

impl Hook {
    pub(in crate::engine) fn new(rng: &mut Rng) -> Self {
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
    pub(in crate::engine) fn check_rates(&mut self, now: SteadyMillis) {
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
