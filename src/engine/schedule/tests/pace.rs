//! How fast a lane may send, by example: receivers that are not there, and backlogs that were held.

use super::*;

const ABSENT: Verdict = Verdict::Absent;

/// Sends one after the other, each ending after `takes` as told; gives when each began, in milliseconds from the
/// first.
fn begun(core: &mut Core<()>, ends: &[(u64, Verdict)]) -> Vec<u64> {
    let mut begun = Vec::new();
    let mut now = core.now;
    for (takes, verdict) in ends {
        let sent = loop {
            if let Some((_, sent)) = sent(core).pop() {
                break sent;
            }
            now = core.next_wake().expect("something waits");
            core.advance(now);
        };
        begun.push(now);
        now = now.plus(*takes);
        core.advance(now);
        let verdict = *verdict;
        let queued = None;
        core.finished(hook(0), sent.event, Report { queued, verdict });
    }
    begun.iter().map(|at| at.since(begun[0])).collect()
}

fn backlog(core: &mut Core<()>, count: u32) {
    for number in 0..count {
        core.arrived(hook(0), entry(number, START), ());
    }
}

/// One attempt at a time.
fn narrow() -> Core<()> {
    let limits = Limits {
        lane_in_flight_max: 1,
        ..LIMITS
    };
    open(limits, 1)
}

#[test]
fn a_receiver_that_is_not_there_is_tried_ever_more_seldom() {
    let mut core = narrow();
    backlog(&mut core, 15);
    let times = begun(&mut core, &[(10, ABSENT); 12]);
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let growing = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000];
    assert_eq!(gaps, [&[10; 4], growing.as_slice()].concat());
    let lane = core.lane(hook(0)).unwrap();
    assert!(lane.probing && lane.concurrency == 1);
    let began = START.plus(times[11]);
    assert_eq!(lane.paused, Some((began.plus(30_000), Pause::Absent)));
    // The first answer ends it, also one that refuses.
    let times = begun(
        &mut core,
        &[(10, Verdict::Refusal), (10, ABSENT), (10, ABSENT)],
    );
    assert_eq!(times, [0, 10, 20]);
    assert!(!core.lane(hook(0)).unwrap().probing);
}

#[test]
fn an_attempt_that_takes_longer_than_the_gap_is_followed_at_once() {
    let mut core = narrow();
    backlog(&mut core, 10);
    let times = begun(&mut core, &[(3_000, ABSENT); 8]);
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps, [3_000, 3_000, 3_000, 3_000, 3_000, 3_000, 4_000]);
}

#[test]
fn failures_that_are_answers_and_attempts_not_made_start_no_gap() {
    let mut core = narrow();
    backlog(&mut core, 20);
    let four = [(10, ABSENT); 4];
    let ends = [&four, [(10, Verdict::Failure)].as_slice(), &four].concat();
    let times = begun(&mut core, &ends);
    assert_eq!(times.last(), Some(&80));
    // What was not made says nothing either way.
    let times = begun(
        &mut core,
        &[(10, Verdict::Neutral), (10, ABSENT), (10, ABSENT)],
    );
    assert_eq!(times, [0, 10, 1_010]);
}

#[test]
fn a_schedule_longer_than_the_gap_is_kept_to_the_millisecond() {
    let mut core = open(LIMITS, 1);
    let mut due = START;
    core.arrived(hook(0), entry(1, due), ());
    for delay in [100, 100, 100, 5_000, 60_000, 600_000, 600_000] {
        core.advance(due);
        let mut pages = Vec::new();
        let granted = sends(&mut core, &mut pages);
        assert_eq!(granted.len(), 1, "not sent at {due:?}");
        due = due.plus(delay);
        let retry = entry(1, due);
        let report = Report {
            queued: Some(retry),
            verdict: ABSENT,
        };
        core.finished(hook(0), retry.event, report);
        // Its page is read a little ahead, or when it is due.
        core.advance(due);
        if let Some(Effect::ReadPage { ticket, .. }) = core.next_effect() {
            let page = Page {
                entries: vec![retry],
                ..Page::default()
            };
            core.paged(hook(0), ticket, page);
        }
    }
    assert!(core.lane(hook(0)).unwrap().probing);
}

#[test]
fn a_try_by_hand_and_another_receiver_end_the_wait() {
    let mut core = narrow();
    backlog(&mut core, 20);
    begun(&mut core, &[(10, ABSENT); 12]);
    assert_eq!(sent(&mut core), []);
    let asked = entry(100, core.now);
    assert!(core.reserve(hook(0), asked.event));
    core.release(hook(0), asked.event, None);
    assert_eq!(
        core.next_effect(),
        None,
        "a reservation that came to nothing"
    );

    let mut core = narrow();
    backlog(&mut core, 14);
    begun(&mut core, &[(10, ABSENT); 12]);
    assert!(core.reserve(hook(0), asked.event));
    let manual = QueueEntry {
        trigger: crate::model::Trigger::Manual,
        ..entry(100, core.now)
    };
    core.release(hook(0), manual.event, Some(manual));
    let times = begun(&mut core, &[(10, ABSENT), (10, ABSENT)]);
    assert_eq!(times, [0, 30_000], "for the next send only");
    for number in 200..205 {
        core.arrived(hook(0), entry(number, START), ());
    }
    core.unpause(hook(0));
    let times = begun(&mut core, &[(10, ABSENT); 5]);
    assert_eq!(times, [0, 10, 20, 30, 40]);
}

/// A lane that was shut, with a hundred on disk; gives when each was sent, in milliseconds from its opening.
fn resumed(per_second: u32, rates: Rates) -> Vec<u64> {
    let limits = Limits {
        resume_per_second: per_second,
        ..LIMITS
    };
    let mut core = Core::<()>::new(limits, START);
    let mut disk: Vec<QueueEntry> = (0..100).map(|n| entry(n, START)).collect();
    core.open_lane(hook(0), false, None);
    core.set_rates(hook(0), rates);
    let opened = START.plus(500);
    core.advance(opened);
    core.open_lane(hook(0), true, Some(SteadyMillis(0)));
    let (mut times, mut now, mut more) = (Vec::new(), opened, 100);
    while times.len() < 200 {
        while let Some(effect) = core.next_effect() {
            match effect {
                Effect::Send { entry, .. } => {
                    times.push(now.since(opened));
                    disk.retain(|kept| kept.event != entry.event);
                    core.finished(hook(0), entry.event, SUCCESS);
                }
                Effect::ReadPage {
                    ticket,
                    from,
                    until,
                    limit,
                    ..
                } => core.paged(hook(0), ticket, page_of(&disk, from, until, limit)),
            }
        }
        if times.len() == more {
            more = 200;
            // It has caught up: what comes now is not bound.
            for number in 1_000..1_100 {
                disk.push(entry(number, now));
                core.arrived(hook(0), entry(number, now), ());
            }
        } else if times.len() < 200 {
            now = core.next_wake().expect("something waits");
            core.advance(now);
        }
    }
    times
}

#[test]
fn a_held_backlog_flows_at_its_rate_until_it_is_gone() {
    let times = resumed(50, Rates::default());
    for (number, at) in times[..100].iter().enumerate() {
        assert_eq!(*at, number as u64 * 20);
    }
    assert_eq!(times[199], times[99], "and then without a bound");
    assert_eq!(resumed(0, Rates::default())[199], 0);
    let slower = Rates {
        per_second: Some(10),
        per_hour: None,
    };
    assert!(resumed(50, slower)[99] >= 9_000);
}

#[test]
fn a_start_resumes_nothing() {
    let limits = Limits {
        resume_per_second: 1,
        ..LIMITS
    };
    let mut core = open(limits, 1);
    backlog(&mut core, 2);
    assert_eq!(sent(&mut core).len(), 2);
}
