//! What the simulation holds lanes to besides: that an order is kept, and that a receiver that is not there is tried
//! now and then only.

use std::collections::BTreeSet;

use super::store::Store;
use crate::engine::schedule::{LaneOrder, Spot, Verdict};
use crate::model::rng::Rng;
use crate::model::{Position, QueueEntry, SteadyMillis};

/// The order of a webhook.
pub(super) struct Ordered {
    pub(super) order: LaneOrder,
    /// It has had another one before.
    pub(super) switched: bool,
    /// It has, or will have, an order: then what is accepted is due when it is, as in the real store.
    pub(super) ever: bool,
}

impl Ordered {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let order = any_order(rng);
        Self {
            order,
            switched: false,
            ever: order != LaneOrder::None || rng.chance(30),
        }
    }

    pub(super) fn switch(&mut self, rng: &mut Rng) {
        self.switched = true;
        self.order = any_order(rng);
    }
}

fn any_order(rng: &mut Rng) -> LaneOrder {
    match rng.below(5) {
        0..=1 => LaneOrder::None,
        2 => LaneOrder::Fifo,
        _ => LaneOrder::Keyed(1 + rng.below(2)),
    }
}

/// The key that a page tells of an event.
pub(super) fn key_of(order: LaneOrder, event: Position) -> u64 {
    match order {
        LaneOrder::None | LaneOrder::Fifo => 0,
        LaneOrder::Keyed(of) => u64::from(event.offset) / of % (of + 3),
    }
}

/// What was committed and not told to the core yet.
#[derive(Default)]
pub(super) struct Untold(BTreeSet<(usize, Position)>);

impl Untold {
    pub(super) fn committed(&mut self, hook: usize, event: Position) {
        self.0.insert((hook, event));
    }

    pub(super) fn told(&mut self, hook: usize, event: Position) {
        self.0.remove(&(hook, event));
    }

    /// The core looks at the whole queue.
    pub(super) fn all_told(&mut self, hook: usize) {
        self.0.retain(|(of, _)| *of != hook);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Nothing of the same key that comes before it is pending. What sorts before it though it was committed after it
    /// (something sent again in the same millisecond; anything beside what had its time before there was an order)
    /// counts from when the core was told.
    pub(super) fn check(&self, store: &Store, hook: usize, ordered: &Ordered, sent: &QueueEntry) {
        if ordered.order == LaneOrder::None {
            return;
        }
        let place: Spot = (sent.due, sent.event);
        let key = key_of(ordered.order, sent.event);
        for before in store.before(hook, place) {
            let same = key_of(ordered.order, before.event) == key;
            let untold = self.0.contains(&(hook, before.event));
            let late = untold && (ordered.switched || store.was_sent_again(hook, before.event));
            assert!(
                !same || late,
                "{sent:?} was sent before {before:?}, {:?}",
                ordered.order
            );
        }
    }
}

/// What the core has been told of a receiver's absence.
#[derive(Clone, Copy, Default)]
pub(super) struct Silence {
    in_a_row: u32,
    begun: Option<SteadyMillis>,
}

impl Silence {
    /// An attempt begins with so many others in flight; gives whether it is a try.
    pub(super) fn begin(&mut self, now: SteadyMillis, others: usize) -> bool {
        let tries = self.in_a_row >= 5;
        if tries {
            assert_eq!(others, 0, "two tries at once");
            let gap_ms = (1_000 << (self.in_a_row - 5)).min(30_000);
            let since = self.begun.map_or(u64::MAX, |begun| now.since(begun));
            assert!(
                since >= gap_ms,
                "tried again after {since} ms, not {gap_ms}"
            );
        }
        self.begun = Some(now);
        tries
    }

    pub(super) fn ended(&mut self, verdict: Verdict, tried: bool) {
        match verdict {
            Verdict::Absent if tried || self.in_a_row < 5 => {
                self.in_a_row = (self.in_a_row + 1).min(10);
            }
            Verdict::Absent | Verdict::Neutral => {}
            Verdict::Success | Verdict::Failure | Verdict::Refusal => self.in_a_row = 0,
        }
    }

    pub(super) fn waive(&mut self) {
        self.begun = None;
    }
}
