//! Every profile's whole schedule, attempt by attempt to its end, on a clock that the test holds.

use hookwheel::model::{EndReason, FaultKind, Next, Outcome, Policy, SteadyMillis, after};
use hookwheel::profile::Profiles;

use super::rows::{ROWS, Row};

fn policy(row: &Row) -> Policy {
    let profiles = Profiles::built_in();
    let profile = profiles.get(row.profile).unwrap();
    Policy {
        retry: profile.retry.clone(),
        success: profile.success.clone(),
        on_gone: profile.on_gone,
    }
}

/// Delays between attempts until the delivery fails, milliseconds; each attempt takes `took_ms`.
fn run(policy: &Policy, outcome: &Outcome, took_ms: u64, salt: u64) -> Vec<u64> {
    let (mut now, mut delays) = (SteadyMillis(1_000_000), Vec::new());
    for attempt in 1..=100 {
        now = now.plus(took_ms);
        match after(outcome, attempt, policy, now, salt) {
            Next::RetryAt(due) => {
                delays.push(due.0 - now.0);
                now = due;
            }
            Next::Failed(reason) => {
                assert_eq!(reason, EndReason::Exhausted);
                return delays;
            }
            Next::Delivered | Next::RetryInPlace(_) | Next::Probed => {
                panic!("{outcome} is a plain failure")
            }
        }
    }
    panic!("the schedule has no end");
}

#[test]
fn every_schedule_runs_as_the_table_says_and_ends() {
    let timeout = Outcome::Fault {
        kind: FaultKind::Timeout,
        detail: String::new(),
    };
    for row in &ROWS {
        let policy = policy(row);
        let failures = [Outcome::Status(503), Outcome::Status(404), timeout.clone()];
        for (failure, salt) in failures.iter().zip([0, 7, u64::MAX]) {
            let delays = run(&policy, failure, 20_000, salt);
            assert_eq!(delays.len(), row.delays_s.len(), "{}", row.profile);
            for (delay, expected_s) in delays.iter().zip(row.delays_s) {
                let least = expected_s * 1000;
                let most = least + least * row.jitter_percent / 100;
                assert!(
                    (least..=most).contains(delay),
                    "{}: {delay} ms is not within {least} to {most}",
                    row.profile
                );
            }
        }
    }
}

#[test]
fn a_success_on_any_attempt_ends_it() {
    for row in &ROWS {
        let policy = policy(row);
        let attempts = u32::try_from(row.delays_s.len()).unwrap() + 1;
        for attempt in 1..=attempts {
            let next = after(&Outcome::Status(200), attempt, &policy, SteadyMillis(0), 0);
            assert_eq!(next, Next::Delivered, "{}, attempt {attempt}", row.profile);
        }
        for status in 100..600 {
            let next = after(&Outcome::Status(status), 1, &policy, SteadyMillis(0), 0);
            let delivered = next == Next::Delivered;
            assert_eq!(
                delivered,
                (row.success)(status),
                "{}, {status}",
                row.profile
            );
        }
    }
}
