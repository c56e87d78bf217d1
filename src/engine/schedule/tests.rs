//! The core by example: fairness, shares, concurrency, pages.

mod order;
mod pace;

use super::*;

const HOUR_MS: u64 = 3_600_000;
const START: SteadyMillis = SteadyMillis(1_000_000);

const LIMITS: Limits = Limits {
    in_flight_max: 64,
    lane_in_flight_max: 16,
    window_max: 256,
    page_low: 64,
    pages_max: 8,
    payloads_max: 1_000,
    resume_per_second: 0,
};

const SUCCESS: Report = Report {
    queued: None,
    verdict: Verdict::Success,
};

const fn failure(retry_at: SteadyMillis) -> Report {
    Report {
        queued: Some(entry(0, retry_at)),
        verdict: Verdict::Failure,
    }
}

const fn hook(number: u128) -> WebhookId {
    WebhookId(number)
}

const fn entry(number: u32, due: SteadyMillis) -> QueueEntry {
    QueueEntry {
        due,
        event: Position {
            segment: 1,
            offset: number,
        },
        attempts: 0,
        run_attempts: 0,
        trigger: crate::model::Trigger::Schedule,
        not_before: SteadyMillis(0),
    }
}

/// A page of a queue, as a store reads it; each event's key is the last digit of its number.
fn page_of(disk: &[QueueEntry], from: Spot, until: SteadyMillis, limit: usize) -> Page {
    let mut rest = disk.iter().filter(|e| (e.due, e.event) >= from).peekable();
    let mut page = Page::default();
    while page.entries.len() < limit
        && let Some(entry) = rest.next_if(|entry| entry.due <= until)
    {
        page.entries.push(*entry);
        page.keys.push(u64::from(entry.event.offset % 10));
    }
    page.next_due = rest.next().map(|entry| entry.due);
    page
}

/// Carries out sends until there is none, and gives back which; page reads go to `pages`.
fn sends(core: &mut Core<()>, pages: &mut Vec<Effect<()>>) -> Vec<(WebhookId, QueueEntry)> {
    let mut sent = Vec::new();
    while let Some(effect) = core.next_effect() {
        match effect {
            Effect::Send { webhook, entry, .. } => sent.push((webhook, entry)),
            read @ Effect::ReadPage { .. } => pages.push(read),
        }
    }
    sent
}

fn sent(core: &mut Core<()>) -> Vec<(WebhookId, QueueEntry)> {
    let mut pages = Vec::new();
    let sent = sends(core, &mut pages);
    assert_eq!(pages, []);
    sent
}

fn open(limits: Limits, lanes: u128) -> Core<()> {
    let mut core = Core::new(limits, START);
    for number in 0..lanes {
        core.open_lane(hook(number), true, None);
    }
    core
}

/// Makes a lane proven with one delivery.
fn prove(core: &mut Core<()>, webhook: WebhookId, number: u32) {
    core.arrived(webhook, entry(number, START), ());
    assert_eq!(sent(core), [(webhook, entry(number, START))]);
    core.finished(webhook, entry(number, START).event, SUCCESS);
}

#[test]
fn a_hanging_lane_with_ten_thousand_waiting_delays_no_other() {
    let mut core = open(LIMITS, 2);
    let mut pages = Vec::new();
    prove(&mut core, hook(1), 1);
    for number in 10..10_010 {
        core.arrived(hook(0), entry(number, START), ());
    }
    assert_eq!(
        sends(&mut core, &mut pages).len(),
        2,
        "two probes and no more"
    );
    assert!(core.windowed() <= LIMITS.window_max);
    core.arrived(hook(1), entry(20_000, START), ());
    assert_eq!(
        sends(&mut core, &mut pages),
        [(hook(1), entry(20_000, START))]
    );
}

#[test]
fn a_thousand_hanging_receivers_leave_a_live_one_its_slots() {
    let mut core = open(LIMITS, 1_001);
    let live = hook(1_000);
    prove(&mut core, live, 1);
    let mut now = START;
    let mut number = 10;
    // Twice the timeout of 30 s: the hanging ones fail, wait, and are tried again.
    let mut hanging = Vec::new();
    for lane in 0..1_000 {
        number += 1;
        core.arrived(hook(lane), entry(number, START), ());
    }
    for _ in 0..60 {
        for (webhook, entry) in sent(&mut core) {
            hanging.push((now, webhook, entry));
        }
        number += 1;
        core.arrived(live, entry(number, now), ());
        assert_eq!(
            sent(&mut core),
            [(live, entry(number, now))],
            "it waits at {now:?}"
        );
        core.finished(live, entry(number, now).event, SUCCESS);
        now = now.plus(1_000);
        core.advance(now);
        let (ended, rest) = hanging
            .into_iter()
            .partition(|(at, _, _)| now.since(*at) > 30_000);
        hanging = rest;
        for (_, webhook, entry) in ended {
            core.finished(webhook, entry.event, failure(now.plus(HOUR_MS)));
        }
        assert!(core.in_flight() <= LIMITS.in_flight_max * 3 / 4);
    }
    assert!(core.in_flight() > 20, "the others are tried all the same");
}

#[test]
fn lanes_with_work_take_turns_one_send_at_a_time() {
    let mut core = open(
        Limits {
            in_flight_max: 1,
            ..LIMITS
        },
        3,
    );
    for lane in 0..3 {
        prove(&mut core, hook(u128::from(lane)), 100 + lane);
    }
    for number in 0..9 {
        core.arrived(hook(u128::from(number / 3)), entry(number, START), ());
    }
    let mut order = Vec::new();
    for _ in 0..9 {
        let granted = sent(&mut core);
        assert_eq!(granted.len(), 1, "the global bound is one");
        for (webhook, entry) in granted {
            order.push(webhook);
            core.finished(webhook, entry.event, SUCCESS);
        }
    }
    for round in order.chunks(3) {
        assert!((0..3).all(|lane| round.contains(&hook(lane))), "{order:?}");
    }
}

#[test]
fn concurrency_grows_while_it_is_used_and_halves_on_failure() {
    let limits = Limits {
        in_flight_max: 1_000,
        ..LIMITS
    };
    let mut core = open(limits, 1);
    let concurrency = |core: &Core<()>| core.lane(hook(0)).unwrap().concurrency;
    for number in 0..50 {
        prove(&mut core, hook(0), number);
    }
    assert_eq!(concurrency(&core), 8, "one at a time earns nothing");
    for number in 100..164 {
        core.arrived(hook(0), entry(number, START), ());
    }
    let mut ended = 0;
    loop {
        let granted = sent(&mut core);
        if granted.is_empty() {
            break;
        }
        assert!(core.in_flight() <= 16);
        for (webhook, entry) in granted {
            core.finished(webhook, entry.event, SUCCESS);
            ended += 1;
        }
    }
    assert_eq!(ended, 64);
    let grown = concurrency(&core);
    assert!(grown > 8 && grown <= 16, "{grown}");
    for (number, left) in [(200, grown / 2), (201, grown / 4), (202, 1), (203, 1)] {
        core.arrived(hook(0), entry(number, START), ());
        assert_eq!(sent(&mut core).len(), 1);
        core.finished(
            hook(0),
            entry(number, START).event,
            failure(START.plus(HOUR_MS)),
        );
        assert!(concurrency(&core) <= left.max(2));
    }
    assert_eq!(concurrency(&core), 1);
    assert_eq!(core.lane(hook(0)).unwrap().standing, Standing::Doubted);
}

#[test]
fn what_is_taken_gives_its_place_to_another_while_it_is_recorded() {
    let limits = Limits {
        in_flight_max: 4,
        lane_in_flight_max: 1,
        ..LIMITS
    };
    let mut core = open(limits, 3);
    for lane in 0..3 {
        prove(&mut core, hook(lane), 0);
    }
    for (lane, number) in (0..3).flat_map(|lane| (1..=10).map(move |number| (lane, number))) {
        core.arrived(hook(lane), entry(number, START), ());
    }
    let mut recording = Vec::new();
    loop {
        let granted = sent(&mut core);
        if granted.is_empty() {
            break;
        }
        for (webhook, entry) in granted {
            core.taken(webhook, entry.event);
            // Told twice it is the same.
            core.taken(webhook, entry.event);
            recording.push((webhook, entry));
        }
        assert_eq!((core.in_flight(), core.under_way()), (0, recording.len()));
        assert!(core.under_way() <= limits.under_way_max());
    }
    // The bound over all lanes; one lane alone may have four for each that may be in flight.
    assert!(recording.len() >= 4 && recording.len() <= limits.under_way_max());
    let (webhook, taken) = recording.remove(0);
    core.arrived(webhook, taken, ());
    assert_eq!(
        sent(&mut core),
        [],
        "it is not sent again before it is recorded"
    );
    for (webhook, entry) in std::iter::once((webhook, taken)).chain(recording) {
        core.finished(webhook, entry.event, SUCCESS);
    }
    assert_eq!(core.under_way(), 0);
    assert_eq!(sent(&mut core).len(), 3, "and the others go on");
}

#[test]
fn an_attempt_under_way_for_long_puts_its_lane_in_doubt() {
    let mut core = open(LIMITS, 1);
    prove(&mut core, hook(0), 1);
    core.arrived(hook(0), entry(2, START), ());
    assert_eq!(sent(&mut core).len(), 1);
    let standing = |core: &Core<()>| core.lane(hook(0)).unwrap().standing;
    assert_eq!(standing(&core), Standing::Proven);
    while let Some(wake) = core.next_wake() {
        core.advance(wake);
    }
    assert_eq!(standing(&core), Standing::Doubted);
    core.finished(hook(0), entry(2, START).event, SUCCESS);
    assert_eq!(standing(&core), Standing::Proven);
}

#[test]
fn a_burst_is_paged_in_order_and_hints_flow_with_payload_again_after_it() {
    let mut core = open(LIMITS, 1);
    prove(&mut core, hook(0), 0);
    // More than a window holds, all due in one millisecond, as a store would keep them.
    let mut disk: Vec<QueueEntry> = (1..=1_000).map(|n| entry(n, START)).collect();
    for entry in &disk {
        core.arrived(hook(0), *entry, ());
    }
    let (mut order, mut reads) = (Vec::new(), 0);
    while let Some(effect) = core.next_effect() {
        match effect {
            Effect::Send { webhook, entry, .. } => {
                order.push(entry.event.offset);
                disk.retain(|kept| kept.event != entry.event);
                core.finished(webhook, entry.event, SUCCESS);
            }
            Effect::ReadPage {
                webhook,
                ticket,
                from,
                until,
                limit,
            } => {
                reads += 1;
                core.paged(webhook, ticket, page_of(&disk, from, until, limit));
            }
        }
        assert!(core.windowed() <= LIMITS.window_max);
    }
    assert_eq!(order, (1..=1_000).collect::<Vec<u32>>());
    assert!(reads <= 30, "{reads} page reads for a thousand deliveries");
    core.arrived(hook(0), entry(2_000, START), ());
    let direct = Effect::Send {
        webhook: hook(0),
        entry: entry(2_000, START),
        payload: Some(()),
    };
    assert_eq!(core.next_effect(), Some(direct));
}

#[test]
fn newer_ones_pass_older_ones_on_disk_in_bounded_number() {
    let mut core = open(LIMITS, 1);
    prove(&mut core, hook(0), 1);
    core.woken(hook(0), SteadyMillis(0));
    let mut pages = Vec::new();
    let mut passed = 0;
    for number in 10..200 {
        core.arrived(hook(0), entry(number, START), ());
        for (webhook, entry) in sends(&mut core, &mut pages) {
            passed += 1;
            core.finished(webhook, entry.event, SUCCESS);
        }
    }
    assert_eq!(pages.len(), 1, "one page read open at a time");
    assert!(passed > 0 && passed <= 32, "{passed} passed");
    let Some(Effect::ReadPage { ticket, from, .. }) = pages.pop() else {
        unreachable!("only page reads are kept");
    };
    assert_eq!(from, FIRST_SPOT);
    let old = entry(2, SteadyMillis(START.0 - 500));
    let page = Page {
        entries: vec![old],
        ..Page::default()
    };
    core.paged(hook(0), ticket, page);
    assert_eq!(sends(&mut core, &mut pages).first(), Some(&(hook(0), old)));
}

#[test]
fn a_failed_page_read_is_asked_for_again_later_with_what_came_meanwhile() {
    let mut core = Core::<()>::new(LIMITS, START);
    core.open_lane(hook(0), true, Some(START));
    let mut now = START;
    let mut waits = Vec::new();
    for _ in 0..10 {
        let Some(Effect::ReadPage { ticket, .. }) = core.next_effect() else {
            unreachable!("the lane has something due on disk");
        };
        core.woken(hook(0), SteadyMillis(0));
        core.page_failed(hook(0), ticket);
        assert_eq!(core.next_effect(), None, "not at once");
        let failed = now;
        while core.next_wake().is_some() {
            now = core.next_wake().unwrap();
            core.advance(now);
            if !core.page_turns.is_empty() {
                break;
            }
        }
        waits.push(now.since(failed));
    }
    assert_eq!(waits[..4], [100, 200, 400, 800]);
    assert_eq!(waits[9], 10_000);
    let read = core.next_effect();
    assert!(
        matches!(
            read,
            Some(Effect::ReadPage {
                from: FIRST_SPOT,
                ..
            })
        ),
        "{read:?}"
    );
}

#[test]
fn an_inactive_webhook_holds_what_waits_and_keeps_none_of_it_in_memory() {
    let mut core = open(LIMITS, 1);
    for number in 0..20 {
        core.arrived(hook(0), entry(number, START), ());
    }
    core.set_gate(hook(0), false);
    core.arrived(hook(0), entry(30, START), ());
    assert_eq!((core.windowed(), core.next_effect()), (0, None));
    core.set_gate(hook(0), true);
    let read = core.next_effect();
    assert!(
        matches!(
            read,
            Some(Effect::ReadPage {
                from: (START, _),
                ..
            })
        ),
        "{read:?}"
    );
}

#[test]
fn a_reserved_delivery_is_not_sent_until_it_is_released() {
    let mut core = open(LIMITS, 1);
    core.arrived(hook(0), entry(1, START), ());
    assert!(core.reserve(hook(0), entry(1, START).event));
    assert!(!core.reserve(hook(0), entry(1, START).event));
    assert_eq!(core.next_effect(), None);
    let moved = QueueEntry {
        trigger: crate::model::Trigger::Manual,
        not_before: SteadyMillis(0),
        ..entry(1, START)
    };
    core.release(hook(0), moved.event, Some(moved));
    assert_eq!(sent(&mut core), [(hook(0), moved)]);
    assert!(!core.reserve(hook(0), moved.event), "it is in flight");
    assert!(!core.reserve(hook(9), moved.event), "there is no such lane");
}

#[test]
fn a_removed_webhook_is_forgotten_when_its_last_attempt_has_ended() {
    let mut core = open(LIMITS, 1);
    for number in 0..5 {
        core.arrived(hook(0), entry(number, START), ());
    }
    let granted = sent(&mut core);
    assert_eq!(granted.len(), 2);
    core.close_lane(hook(0));
    assert_eq!(
        (core.windowed(), core.lanes(), core.next_effect()),
        (0, 1, None)
    );
    core.set_gate(hook(0), true);
    for (webhook, entry) in granted {
        assert_eq!(core.next_effect(), None);
        core.finished(webhook, entry.event, failure(START));
    }
    assert_eq!(
        (core.lanes(), core.in_flight(), core.next_wake()),
        (0, 0, None)
    );
    core.open_lane(hook(1), true, None);
    assert_eq!(core.places.len(), 1, "the place is used again");
}

#[test]
fn payloads_are_kept_within_their_bound() {
    let limits = Limits {
        payloads_max: 3,
        in_flight_max: 1,
        ..LIMITS
    };
    let mut core = open(limits, 1);
    for number in 0..6 {
        core.arrived(hook(0), entry(number, START), ());
    }
    let mut with = 0;
    while let Some(Effect::Send {
        webhook,
        entry,
        payload,
    }) = core.next_effect()
    {
        with += usize::from(payload.is_some());
        core.finished(webhook, entry.event, SUCCESS);
    }
    assert_eq!((with, core.payloads), (3, 0));
}

#[test]
fn after_a_stop_nothing_is_granted_but_ends_are_still_taken() {
    let mut core = open(LIMITS, 1);
    core.arrived(hook(0), entry(1, START), ());
    assert_eq!(sent(&mut core).len(), 1);
    core.arrived(hook(0), entry(2, START), ());
    core.stop();
    assert_eq!((core.next_effect(), core.next_wake()), (None, None));
    core.finished(hook(0), entry(1, START).event, SUCCESS);
    assert_eq!((core.next_effect(), core.in_flight()), (None, 0));
}

#[test]
fn a_page_is_asked_for_with_room_beside_what_is_in_flight() {
    let mut core = open(LIMITS, 1);
    for number in 0..2 {
        core.arrived(hook(0), entry(number, START), ());
    }
    assert_eq!(sent(&mut core).len(), 2);
    core.woken(hook(0), SteadyMillis(0));
    let read = core.next_effect();
    assert!(
        matches!(read, Some(Effect::ReadPage { limit: 66, .. })),
        "{read:?}"
    );
}

#[test]
fn failing_receivers_leave_half_of_the_slots_to_new_ones() {
    let mut core = open(LIMITS, 101);
    for lane in 0..100 {
        core.arrived(hook(u128::from(lane)), entry(lane, START), ());
        assert_eq!(sent(&mut core).len(), 1);
        let later = START.plus(HOUR_MS);
        core.finished(
            hook(u128::from(lane)),
            entry(lane, START).event,
            failure(later),
        );
    }
    for lane in 0..100 {
        core.arrived(hook(u128::from(lane)), entry(1_000 + lane, START), ());
    }
    assert_eq!(sent(&mut core).len(), LIMITS.in_flight_max / 2);
    core.arrived(hook(100), entry(5_000, START), ());
    assert_eq!(sent(&mut core), [(hook(100), entry(5_000, START))]);
}

#[test]
fn a_hint_that_comes_after_its_page_adds_the_payload_and_nothing_else() {
    let mut core = Core::new(
        Limits {
            in_flight_max: 1,
            ..LIMITS
        },
        START,
    );
    core.open_lane(hook(0), true, Some(START));
    let Some(Effect::ReadPage { ticket, .. }) = core.next_effect() else {
        unreachable!("the lane has something due on disk");
    };
    let entries = vec![entry(1, START), entry(2, START)];
    let page = Page {
        entries,
        ..Page::default()
    };
    core.paged(hook(0), ticket, page);
    core.arrived(hook(0), entry(2, START), "two");
    let expected = [(1, None), (2, Some("two"))];
    for (number, expected) in expected {
        let Some(Effect::Send { entry, payload, .. }) = core.next_effect() else {
            unreachable!("two deliveries are in the window");
        };
        assert_eq!((entry.event.offset, payload), (number, expected));
        core.finished(hook(0), entry.event, SUCCESS);
    }
    assert_eq!(
        (core.windowed(), core.payloads, core.next_effect()),
        (0, 0, None)
    );
}
