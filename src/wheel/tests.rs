//! The wheel against a sorted map, and its edges.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn fired(wheel: &mut Wheel<u8>, now: u64) -> Vec<u8> {
    let mut keys = Vec::new();
    wheel.expire(SteadyMillis(now), &mut keys);
    keys
}

#[test]
fn fires_at_the_very_millisecond_across_every_cascade_edge() {
    let edges: Vec<u64> = (0..11)
        .flat_map(|level| {
            let span = 1_u64.checked_shl(6 * level).unwrap_or(1);
            [
                span - 1,
                span,
                span + 1,
                span.saturating_mul(63),
                span.saturating_mul(65),
            ]
        })
        .filter(|delay| *delay > 0)
        .collect();
    assert!(edges.len() > 40);
    for start in [0, 1, 62, 63, 64, 4095, 1_700_000_000_123] {
        for delay in &edges {
            let Some(due) = u64::checked_add(start, *delay) else {
                continue;
            };
            let mut wheel = Wheel::new(SteadyMillis(start));
            wheel.set(7, SteadyMillis(due));
            assert!(wheel.next_due().unwrap().0 <= due);
            assert_eq!(
                fired(&mut wheel, due - 1),
                [0_u8; 0],
                "early: {start} + {delay}"
            );
            assert_eq!(wheel.next_due(), Some(SteadyMillis(due)));
            assert_eq!(fired(&mut wheel, due), [7], "not at all: {start} + {delay}");
            assert_eq!((wheel.len(), wheel.next_due()), (0, None));
        }
    }
}

#[test]
fn waking_at_next_due_alone_reaches_a_far_timer_in_a_few_steps() {
    let start = 1_700_000_000_123;
    let due = start + 30 * 24 * 3_600_000;
    let mut wheel = Wheel::new(SteadyMillis(start));
    wheel.set(1, SteadyMillis(due));
    let mut wakes = 0;
    while let Some(at) = wheel.next_due() {
        wakes += 1;
        let keys = fired(&mut wheel, at.0);
        assert_eq!(keys.is_empty(), at.0 < due);
    }
    assert!(wakes <= 11, "{wakes} wakes for one timer");
}

#[test]
fn a_due_time_that_has_passed_fires_next_and_time_does_not_go_back() {
    let mut wheel = Wheel::new(SteadyMillis(1_000));
    wheel.set(1, SteadyMillis(3));
    assert_eq!(wheel.next_due(), Some(SteadyMillis(1_000)));
    assert_eq!(fired(&mut wheel, 10), [1]);
    wheel.set(2, SteadyMillis(1_001));
    assert_eq!(fired(&mut wheel, 500), [0_u8; 0]);
    assert_eq!(fired(&mut wheel, 1_001), [2]);
    wheel.set(3, SteadyMillis(u64::MAX));
    assert_eq!(fired(&mut wheel, u64::MAX - 1), [0_u8; 0]);
    assert_eq!(fired(&mut wheel, u64::MAX), [3]);
}

#[test]
fn setting_again_replaces_and_the_place_is_used_again() {
    let mut wheel = Wheel::new(SteadyMillis(0));
    for round in 0..10_000_u64 {
        wheel.set((round % 3) as u8, SteadyMillis(round + 100_000));
        if round % 7 == 0 {
            wheel.cancel(&0);
        }
    }
    assert_eq!(wheel.timers.len(), 3);
    assert!(!wheel.cancel(&9));
    assert_eq!(fired(&mut wheel, 109_997), [1]);
    assert!(wheel.len() <= 2);
}

#[derive(Clone, Debug)]
enum Step {
    Set(u8, u64),
    Cancel(u8),
    Expire(u64),
    ExpireAtNext,
}

fn delay() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => 0_u64..200,
        2 => prop::sample::select(vec![63, 64, 65, 4095, 4096, 4097, 262_143, 262_144]),
        2 => 0_u64..1_000_000,
        1 => 0_u64..(40 * 24 * 3_600_000),
        1 => 0_u64..(1 << 45),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u8>(), delay()).prop_map(|(key, delay)| Step::Set(key % 40, delay)),
        1 => any::<u8>().prop_map(|key| Step::Cancel(key % 40)),
        2 => delay().prop_map(Step::Expire),
        2 => Just(Step::ExpireAtNext),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_sorted_map(
        start in prop_oneof![Just(0_u64), 0_u64..(1 << 42)],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut wheel = Wheel::new(SteadyMillis(start));
        let mut model: BTreeMap<u8, u64> = BTreeMap::new();
        let mut now = start;
        for step in steps {
            let until = match step {
                Step::Set(key, delay) => {
                    // Half of the zero delays are already past.
                    let due = if delay % 8 == 1 { now.saturating_sub(delay) } else { now + delay };
                    wheel.set(key, SteadyMillis(due));
                    model.insert(key, due.max(now));
                    None
                }
                Step::Cancel(key) => {
                    prop_assert_eq!(wheel.cancel(&key), model.remove(&key).is_some());
                    None
                }
                Step::Expire(delay) => Some(now + delay),
                Step::ExpireAtNext => wheel.next_due().map(|at| at.0),
            };
            if let Some(until) = until {
                prop_assert!(until >= now, "next_due went back");
                now = until;
                let keys = fired(&mut wheel, now);
                let dues: Vec<u64> = keys.iter().map(|key| model[key]).collect();
                prop_assert!(dues.is_sorted(), "out of order: {:?}", dues);
                prop_assert!(dues.iter().all(|due| *due <= now), "fired early");
                for key in keys {
                    prop_assert!(model.remove(&key).is_some(), "fired twice");
                }
                prop_assert!(model.values().all(|due| *due > now), "not fired");
            }
            prop_assert_eq!(wheel.len(), model.len());
            let earliest = model.values().min().copied();
            let next = wheel.next_due().map(|at| at.0);
            prop_assert_eq!(next.is_some(), earliest.is_some());
            if let (Some(next), Some(earliest)) = (next, earliest) {
                prop_assert!(next >= now && next <= earliest);
                if earliest / 64 == now / 64 {
                    prop_assert_eq!(next, earliest);
                }
            }
        }
    }
}
