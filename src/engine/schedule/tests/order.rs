//! Lanes with an order, by example.

use super::*;

/// A lane and its queue on disk, which answers page reads at once.
struct Lane {
    core: Core<()>,
    disk: Vec<QueueEntry>,
    now: SteadyMillis,
    order: LaneOrder,
    reads: usize,
}

const KEYED: LaneOrder = LaneOrder::Keyed(7);
const NEUTRAL: Verdict = Verdict::Neutral;
const NOTHING: [u32; 0] = [];

impl Lane {
    fn new(order: LaneOrder, disk: Vec<QueueEntry>) -> Self {
        let mut core = Core::new(LIMITS, START);
        core.open_lane(hook(0), true, disk.first().map(|entry| entry.due));
        core.set_order(hook(0), order);
        Self {
            core,
            disk,
            now: START,
            order,
            reads: 0,
        }
    }

    /// Everything that is to be sent now, by its number.
    fn sends(&mut self) -> Vec<u32> {
        let mut sent = Vec::new();
        while let Some(effect) = self.core.next_effect() {
            match effect {
                Effect::Send { entry, payload, .. } => {
                    assert_eq!(payload.is_some(), self.order == LaneOrder::None);
                    assert!(entry.ready_at() <= self.now);
                    assert!(self.disk.contains(&entry), "{entry:?} is not on disk so");
                    sent.push(entry.event.offset);
                }
                Effect::ReadPage {
                    ticket,
                    from,
                    until,
                    limit,
                    ..
                } => {
                    self.reads += 1;
                    let mut page = page_of(&self.disk, from, until, limit);
                    page.order = self.order;
                    self.core.paged(hook(0), ticket, page);
                }
            }
            assert!(self.core.windowed() <= LIMITS.window_max);
        }
        sent
    }

    fn event(&self, number: u32) -> Position {
        entry(number, START).event
    }

    fn delivered(&mut self, number: u32) {
        self.disk.retain(|entry| entry.event.offset != number);
        self.core.finished(hook(0), self.event(number), SUCCESS);
    }

    /// It failed, and waits in its place.
    fn failed(&mut self, number: u32, not_before: SteadyMillis) {
        let mut waits = self.disk.iter_mut();
        let waits = waits.find(|entry| entry.event.offset == number).unwrap();
        waits.attempts += 1;
        waits.run_attempts += 1;
        waits.not_before = not_before;
        let report = Report {
            queued: Some(*waits),
            verdict: NEUTRAL,
        };
        self.core.finished(hook(0), self.event(number), report);
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        self.core.advance(self.now);
    }

    fn switch(&mut self, order: LaneOrder) {
        self.order = order;
        self.core.set_order(hook(0), order);
    }
}

fn queue(numbers: impl Iterator<Item = u32>) -> Vec<QueueEntry> {
    numbers.map(|number| entry(number, START)).collect()
}

#[test]
fn first_in_first_out_sends_the_next_when_the_one_before_has_ended() {
    // More than a window holds, due in the same millisecond.
    let mut lane = Lane::new(LaneOrder::Fifo, queue(1..=1_000));
    for number in 1..=1_000 {
        assert_eq!(lane.sends(), [number]);
        lane.core.taken(hook(0), lane.event(number));
        assert_eq!(lane.sends(), NOTHING, "what is taken is not recorded yet");
        lane.delivered(number);
    }
    assert_eq!((lane.sends(), lane.core.windowed()), (vec![], 0));
    assert!(lane.reads <= 120, "{} page reads", lane.reads);
}

#[test]
fn what_failed_keeps_its_place_and_all_behind_it_waits() {
    let mut lane = Lane::new(LaneOrder::Fifo, queue(1..=5));
    assert_eq!(lane.sends(), [1]);
    lane.failed(1, START.plus(HOUR_MS));
    lane.disk.push(entry(6, START));
    lane.core.arrived(hook(0), entry(6, START), ());
    assert_eq!(lane.sends(), NOTHING);
    while lane.now < START.plus(HOUR_MS) {
        let wake = lane.core.next_wake().expect("it waits for its time");
        lane.pass(wake.since(lane.now));
        if lane.now < START.plus(HOUR_MS) {
            assert_eq!(lane.sends(), NOTHING);
        }
    }
    // The entry that is sent is the one with one attempt more.
    for number in 1..=6 {
        assert_eq!(lane.sends(), [number]);
        lane.delivered(number);
    }
}

#[test]
fn an_attempt_that_was_not_made_goes_back_as_it_was() {
    let mut lane = Lane::new(LaneOrder::Fifo, queue(1..=3));
    assert_eq!(lane.sends(), [1]);
    let report = Report {
        queued: Some(entry(1, START)),
        verdict: NEUTRAL,
    };
    lane.core.finished(hook(0), lane.event(1), report);
    assert_eq!(lane.sends(), [1]);
}

#[test]
fn keys_do_not_wait_for_each_other_also_beyond_what_one_key_fills() {
    // Two hundred of key 1, then some of every key.
    let blocked = (0..200).map(|n| 1 + 10 * n);
    let mut lane = Lane::new(KEYED, queue(blocked.chain(10_000..10_300)));
    let mut free = Vec::new();
    let mut away = lane.sends();
    while let Some(number) = away.pop() {
        if number % 10 == 1 {
            assert_eq!(number, 1, "the others of its key wait for it");
            lane.failed(number, START.plus(HOUR_MS));
        } else {
            free.push(number);
            lane.delivered(number);
        }
        let more = lane.sends();
        assert!(!more.contains(&1));
        away.extend(more);
    }
    // Of those behind, all but what did not fit beside the two hundred that wait.
    assert!(free.len() >= 260, "only {} came through", free.len());
    for key in 0..10 {
        let of_key: Vec<u32> = free.iter().copied().filter(|n| n % 10 == key).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
}

#[test]
fn a_window_full_of_what_waits_reads_no_pages() {
    let mut lane = Lane::new(KEYED, queue((0..2_000).map(|n| 3 + 10 * n)));
    assert_eq!(lane.sends(), [3]);
    lane.failed(3, START.plus(HOUR_MS));
    assert_eq!(lane.sends(), NOTHING);
    let before = lane.reads;
    for number in 0..500 {
        let arrived = entry(30_000 + number, lane.now);
        lane.disk.push(arrived);
        lane.core.arrived(hook(0), arrived, ());
        lane.pass(1_000);
        assert_eq!(lane.sends(), NOTHING);
    }
    assert!(lane.reads - before <= 1, "{} reads", lane.reads - before);
    let wake = lane.core.next_wake().unwrap();
    assert!(wake > lane.now, "it wakes when something is ready");
}

#[test]
fn a_try_by_hand_keeps_its_place_and_goes_at_once() {
    let mut lane = Lane::new(LaneOrder::Fifo, queue(1..=4));
    assert_eq!(lane.sends(), [1]);
    lane.failed(1, START.plus(HOUR_MS));
    assert!(lane.core.reserve(hook(0), lane.event(1)));
    assert!(lane.core.reserve(hook(0), lane.event(3)));
    lane.core
        .release(hook(0), lane.event(3), Some(lane.disk[2]));
    assert_eq!(lane.sends(), NOTHING, "the reserved one keeps its place");
    lane.disk[0].not_before = SteadyMillis(0);
    lane.disk[0].trigger = crate::model::Trigger::Manual;
    lane.core
        .release(hook(0), lane.event(1), Some(lane.disk[0]));
    for number in 1..=4 {
        assert_eq!(lane.sends(), [number]);
        lane.delivered(number);
    }
}

#[test]
fn what_no_page_has_shown_is_reserved_without_harm_to_its_key() {
    let mut lane = Lane::new(KEYED, queue((0..600).map(|n| 5 + 10 * n)));
    assert_eq!(lane.sends(), [5]);
    let deep = 5 + 10 * 400;
    assert!(lane.core.reserve(hook(0), lane.event(deep)));
    // Until a page shows its key nobody waits for it; from then on its key does.
    let mut next = 5;
    loop {
        lane.delivered(next);
        next += 10;
        match lane.sends().as_slice() {
            [] => break,
            sent => assert_eq!(sent, [next]),
        }
    }
    assert!(next > 1_000 && next < deep, "{next}");
    lane.core.release(hook(0), lane.event(deep), None);
    while next < 6_000 {
        assert_eq!(lane.sends(), [next]);
        lane.delivered(next);
        next += 10;
    }
}

#[test]
fn an_order_given_later_waits_for_what_is_under_way() {
    let mut lane = Lane::new(LaneOrder::None, Vec::new());
    for number in 1..=6 {
        lane.disk.push(entry(number, START));
        lane.core.arrived(hook(0), entry(number, START), ());
    }
    assert_eq!(lane.sends(), [1, 2]);
    lane.switch(KEYED);
    assert_eq!(lane.sends(), NOTHING);
    lane.delivered(1);
    assert_eq!(lane.sends(), NOTHING);
    lane.failed(2, START.plus(HOUR_MS));
    assert_eq!(lane.sends(), [3, 4, 5, 6]);
    lane.switch(LaneOrder::Keyed(8));
    lane.delivered(3);
    lane.disk.push(entry(12, START));
    lane.core.arrived(hook(0), entry(12, START), ());
    assert_eq!(lane.sends(), NOTHING, "keys are made of something else now");
    for number in 4..=6 {
        lane.delivered(number);
    }
    assert_eq!(lane.sends(), NOTHING, "it waits for the one of its key");
    lane.pass(HOUR_MS);
    assert_eq!(lane.sends(), [2]);
}

#[test]
fn what_waits_in_its_place_holds_up_nobody_when_its_order_is_taken_away() {
    // Each is the first of its key, and all failed once: more than the window holds, in one millisecond.
    let mut waiting = queue(1..=600);
    for (ms, entry) in (0_u64..).zip(&mut waiting) {
        entry.attempts = 1;
        entry.run_attempts = 1;
        entry.not_before = START.plus(60_000 + ms * 7);
    }
    let mut lane = Lane::new(LaneOrder::None, waiting);
    assert_eq!(lane.sends(), NOTHING);
    let first = lane.reads;
    for number in 1_000..1_100 {
        lane.pass(10);
        lane.disk.push(entry(number, lane.now));
        lane.core.arrived(hook(0), entry(number, lane.now), ());
        // It comes by the hint, at once.
        assert_eq!(lane.sends(), [number]);
        lane.delivered(number);
    }
    assert!(lane.reads - first <= 3, "{} page reads", lane.reads - first);
    lane.order = KEYED; // Only for the check on payloads: from here on all come by pages.
    let mut sent = Vec::new();
    while sent.len() < 600 {
        let wake = lane.core.next_wake().expect("they have their time");
        lane.pass(wake.since(lane.now));
        let mut more = lane.sends();
        while !more.is_empty() {
            for number in more {
                lane.delivered(number);
                sent.push(number);
            }
            more = lane.sends();
        }
    }
    let late = lane.now.since(START.plus(60_000 + 600 * 7));
    assert!(late <= 2_000, "the last of them was {late} ms late");
    assert!(
        lane.reads - first <= 120,
        "{} page reads",
        lane.reads - first
    );
}

#[test]
fn a_page_with_keys_of_another_order_is_read_again() {
    let mut lane = Lane::new(LaneOrder::Fifo, queue(1..=3));
    lane.order = KEYED; // As the live table has it, before the core is told.
    assert_eq!(lane.sends(), NOTHING);
    assert_eq!(lane.reads, 1, "not at once");
    lane.order = LaneOrder::Fifo;
    lane.pass(100);
    assert_eq!(lane.sends(), [1]);
}

#[test]
fn an_order_outlasts_a_gate_that_is_shut_while_an_attempt_runs() {
    let mut lane = Lane::new(LaneOrder::Fifo, queue(1..=3));
    assert_eq!(lane.sends(), [1]);
    lane.core.set_gate(hook(0), false);
    lane.core.set_gate(hook(0), true);
    assert_eq!(lane.sends(), NOTHING, "the first is still under way");
    lane.core.set_gate(hook(0), false);
    lane.failed(1, SteadyMillis(0));
    lane.core.set_gate(hook(0), true);
    assert_eq!(lane.sends(), [1]);
}
