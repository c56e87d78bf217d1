//! A seeded simulation of the scheduler's core: virtual time, a durable model store, receivers that succeed, fail
//! and hang, messages that are late or lost, crashes and restarts. Every promise of the core is checked at each step.
//!
//! `HOOKWHEEL_SIM_SEEDS` sets how many seeds are run, `HOOKWHEEL_SIM_SEED` repeats one.

mod happening;
mod lines;
mod store;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::engine::sim::hook::{Hook, Receiver};
use crate::model::rng::Rng;
use crate::model::{FaultKind, Next, Outcome, after};
use happening::{Happening, Read};
use lines::{Ordered, Silence, Untold, key_of};
use store::Store;

/// Seeds run by default: one to two seconds in a debug build.
const SEEDS: u64 = 2_000;
/// The receivers are well, the webhooks active and the daemon up from here on.
const TROUBLE_MS: u64 = 20_000;
/// All must have ended by then: the longest schedule is far shorter, the lowest hourly rate is not.
const END_MS: u64 = 24 * 3_600_000;
const START: SteadyMillis = SteadyMillis(1_700_000_000_123);

struct World {
    rng: Rng,
    now: SteadyMillis,
    limits: Limits,
    core: Core<u64>,
    store: Store,
    hooks: Vec<Hook>,
    orders: Vec<Ordered>,
    untold: Untold,
    silences: Vec<Silence>,
    agenda: BTreeMap<(SteadyMillis, u64, u64), Happening>,
    scheduled: u64,
    /// With whether it is a try of a receiver that was not there.
    in_flight: BTreeMap<(usize, Position), bool>,
    /// Those of them that the core was told of as taken.
    taken: BTreeSet<(usize, Position)>,
    pages_open: BTreeSet<usize>,
    sends: u64,
    pages: u64,
    commits: u64,
    /// Attempts that a crash kept from being committed.
    cut_off: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let window_max = rng.size(1, 24);
        let limits = Limits {
            in_flight_max: rng.size(1, 14),
            lane_in_flight_max: rng.size(1, 12),
            window_max,
            page_low: rng.size(1, 8),
            pages_max: rng.size(1, 3),
            payloads_max: rng.size(1, 20),
            resume_per_second: [0, 5, 200][rng.size(0, 2)],
        };
        let hooks: Vec<Hook> = (0..rng.size(1, 4)).map(|_| Hook::new(&mut rng)).collect();
        let orders = hooks.iter().map(|_| Ordered::new(&mut rng)).collect();
        let mut world = Self {
            rng,
            now: START,
            limits,
            core: Core::new(limits, START),
            store: Store::default(),
            silences: vec![Silence::default(); hooks.len()],
            hooks,
            orders,
            untold: Untold::default(),
            agenda: BTreeMap::new(),
            scheduled: 0,
            in_flight: BTreeMap::new(),
            taken: BTreeSet::new(),
            pages_open: BTreeSet::new(),
            sends: 0,
            pages: 0,
            commits: 0,
            cut_off: 0,
        };
        world.restart();
        world.plan();
        world
    }

    /// What the outside world will do.
    fn plan(&mut self) {
        for _ in 0..self.rng.size(3, 30) {
            let hook = self.any_hook();
            let count = if self.rng.chance(10) {
                self.rng.size(10, 50)
            } else {
                1
            };
            let at = self.rng.below(TROUBLE_MS);
            self.at(at, Happening::Accept { hook, count });
        }
        for _ in 0..self.rng.below(6) {
            let hook = self.any_hook();
            let what = match self.rng.below(10) {
                8..=9 if self.orders[hook].ever => Happening::Reorder { hook },
                0 => Happening::Remove { hook },
                1..=2 => Happening::Toggle { hook },
                3..=4 => Happening::RetryNow { hook },
                5..=6 => Happening::Ail { hook },
                _ => Happening::Crash,
            };
            let at = self.rng.below(TROUBLE_MS);
            self.at(at, what);
        }
    }

    fn any_hook(&mut self) -> usize {
        let last = self.hooks.len() as u64 - 1;
        self.rng.size(0, last)
    }

    fn at(&mut self, delay: u64, what: Happening) {
        self.scheduled += 1;
        // Of the same millisecond, in any order.
        let key = (self.now.plus(delay), self.rng.next(), self.scheduled);
        self.agenda.insert(key, what);
    }

    fn soon(&mut self, what: Happening) {
        let lag = self.rng.lag();
        self.at(lag, what);
    }

    fn restart(&mut self) {
        self.core = Core::new(self.limits, self.now);
        let cut_off =
            |what: &&Happening| matches!(what, Happening::Ended { .. } | Happening::Commit { .. });
        self.cut_off += self.agenda.values().filter(cut_off).count() as u64;
        self.in_flight.clear();
        self.taken.clear();
        self.pages_open.clear();
        self.untold.clear();
        self.silences.fill(Silence::default());
        self.agenda.retain(|_, what| what.survives_a_crash());
        for (at, hook) in self.hooks.iter_mut().enumerate() {
            hook.paused_until = SteadyMillis(0);
            hook.closed = hook.removed;
            hook.begun.clear();
            if !hook.removed {
                self.core
                    .open_lane(hook.id, hook.active, self.store.first_due(at));
                self.core.set_order(hook.id, self.orders[at].order);
                self.core.set_rates(hook.id, hook.rates);
            }
        }
    }

    /// Runs to the end; gives back how many attempts were made, and how many pages were read.
    fn run(&mut self) -> (u64, u64) {
        let mut calm = false;
        for step in 0.. {
            assert!(step < 100_000, "the core is busy with nothing");
            self.carry_out();
            let next = self.agenda.first_key_value().map(|((at, _, _), _)| *at);
            let wake = self.core.next_wake();
            assert!(wake.is_none_or(|at| at > self.now), "a wake in the past");
            let calm_at = (!calm).then(|| START.plus(TROUBLE_MS));
            let Some(at) = [next, wake, calm_at].into_iter().flatten().min() else {
                break;
            };
            self.now = at;
            self.core.advance(at);
            if calm_at == Some(at) {
                calm = true;
                self.calm();
            }
            while let Some(first) = self.agenda.first_entry()
                && first.key().0 == self.now
            {
                let what = first.remove();
                self.happen(what);
            }
        }
        assert!(self.now.since(START) < END_MS, "it took for ever");
        self.store.check_ended(&self.hooks);
        assert_eq!((self.core.under_way(), self.core.windowed()), (0, 0));
        let open = self.hooks.iter().filter(|hook| !hook.closed).count();
        assert_eq!(self.core.lanes(), open, "closed lanes are forgotten");
        assert_eq!(
            self.sends,
            self.commits + self.cut_off,
            "an attempt was made twice"
        );
        (self.sends, self.pages)
    }

    fn calm(&mut self) {
        for at in 0..self.hooks.len() {
            let hook = &mut self.hooks[at];
            hook.receiver = Receiver::Well;
            if !hook.active {
                hook.active = true;
                self.core.set_gate(hook.id, true);
            }
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.core.next_effect() {
            match effect {
                Effect::Send {
                    webhook,
                    entry,
                    payload,
                } => self.send(webhook, entry, payload),
                Effect::ReadPage {
                    webhook,
                    ticket,
                    from,
                    until,
                    limit,
                } => {
                    let hook = self.hook(webhook);
                    assert!(self.pages_open.insert(hook), "two page reads in one lane");
                    assert!(self.pages_open.len() <= self.limits.pages_max);
                    assert!(limit > 0 && from.0 <= until);
                    self.pages += 1;
                    let read = Read {
                        ticket,
                        from,
                        until,
                        limit,
                    };
                    self.soon(Happening::PageRun { hook, read });
                }
            }
        }
        assert_eq!(self.core.under_way(), self.in_flight.len());
        let in_flight = self.in_flight.len() - self.taken.len();
        assert_eq!(self.core.in_flight(), in_flight);
        assert!(in_flight <= self.limits.in_flight_max);
        assert!(self.in_flight.len() <= self.limits.under_way_max());
        for hook in &self.hooks {
            if let Some(lane) = self.core.lane(hook.id) {
                assert!(lane.windowed <= self.limits.window_max);
            }
        }
    }

    fn send(&mut self, webhook: WebhookId, entry: QueueEntry, payload: Option<u64>) {
        let at = self.hook(webhook);
        let hook = &self.hooks[at];
        assert!(entry.ready_at() <= self.now, "sent before it was due");
        assert!(hook.active && !hook.closed, "sent through a shut gate");
        assert!(hook.paused_until <= self.now, "sent in a pause");
        assert!(
            hook.removed || self.store.holds(at, &entry),
            "sent though its key is gone: {entry:?}"
        );
        assert!(
            payload.is_none_or(|p| p == entry.event.to_u64()),
            "another's payload"
        );
        let ordered = &self.orders[at];
        self.untold.check(&self.store, at, ordered, &entry);
        let of_lane = self.in_flight.keys();
        let of_lane = of_lane
            .filter(|away| away.0 == at && !self.taken.contains(away))
            .count();
        assert!(of_lane < self.limits.lane_in_flight_max);
        let tried = self.silences[at].begin(self.now, of_lane);
        assert_eq!(
            self.in_flight.insert((at, entry.event), tried),
            None,
            "in flight twice: {entry:?}"
        );
        self.sends += 1;
        self.hooks[at].check_rates(self.now);
        let fails = match self.hooks[at].receiver {
            Receiver::Well => false,
            Receiver::Fails | Receiver::Hangs => true,
            Receiver::Flaky => self.rng.chance(50),
        };
        let (outcome, takes) = if self.hooks[at].receiver == Receiver::Hangs {
            let (kind, detail) = (FaultKind::Timeout, String::new());
            (Outcome::Fault { kind, detail }, 5_000)
        } else {
            (
                Outcome::Status(if fails { 503 } else { 200 }),
                self.rng.lag(),
            )
        };
        self.at(
            takes,
            Happening::Ended {
                hook: at,
                entry,
                outcome,
            },
        );
    }

    fn hook(&self, webhook: WebhookId) -> usize {
        self.hooks
            .iter()
            .position(|hook| hook.id == webhook)
            .unwrap()
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Accept { hook, count } => self.accept(hook, count),
            Happening::Toggle { hook } => self.toggle(hook),
            Happening::Remove { hook } => {
                self.hooks[hook].removed = true;
                self.store.remove_webhook(hook);
                self.soon(Happening::Close { hook });
            }
            Happening::Ail { hook } => self.hooks[hook].receiver = Receiver::any(&mut self.rng),
            Happening::RetryNow { hook } => self.retry_now(hook),
            Happening::Reorder { hook } => {
                self.orders[hook].switch(&mut self.rng);
                self.core
                    .set_order(self.hooks[hook].id, self.orders[hook].order);
            }
            Happening::Crash => self.restart(),
            what => self.happen_inside(what),
        }
    }

    /// What is lost in a crash.
    fn happen_inside(&mut self, what: Happening) {
        match what {
            Happening::Hint { hook, entry } => {
                let payload = entry.event.to_u64();
                self.untold.told(hook, entry.event);
                self.core.arrived(self.hooks[hook].id, entry, payload);
            }
            Happening::Woken { hook, missed } => {
                match missed {
                    Some(entry) => self.untold.told(hook, entry.event),
                    None => self.untold.all_told(hook),
                }
                let from = missed.map_or(SteadyMillis(0), |entry| entry.due);
                self.core.woken(self.hooks[hook].id, from);
            }
            Happening::Close { hook } => {
                self.hooks[hook].closed = true;
                self.core.close_lane(self.hooks[hook].id);
            }
            Happening::Pause { hook } => self.pause(hook),
            Happening::PageRun { hook, read } => {
                let page = (!self.rng.chance(5))
                    .then(|| self.store.page(hook, read, self.orders[hook].order));
                let ticket = read.ticket;
                self.soon(Happening::PageAnswer { hook, ticket, page });
            }
            Happening::PageAnswer { hook, ticket, page } => self.answer(hook, ticket, page),
            Happening::Ended {
                hook,
                entry,
                outcome,
            } => self.ended(hook, entry, outcome),
            Happening::Commit {
                hook,
                entry,
                outcome,
            } => self.commit(hook, entry, &outcome),
            Happening::Finished {
                hook,
                event,
                report,
            } => {
                let tried = self.in_flight.remove(&(hook, event)).unwrap();
                if !self.taken.remove(&(hook, event)) {
                    self.silences[hook].ended(report.verdict, tried);
                }
                self.core.finished(self.hooks[hook].id, event, report);
            }
            Happening::RetryCommit { hook, event } => self.commit_retry(hook, event),
            Happening::Release { hook, event, entry } => {
                match entry {
                    Some(_) => {
                        self.untold.told(hook, event);
                        self.silences[hook].waive();
                    }
                    None => self.untold.all_told(hook),
                }
                self.core.release(self.hooks[hook].id, event, entry);
            }
            what => unreachable!(
                "this comes from outside: {:?}",
                std::mem::discriminant(&what)
            ),
        }
    }

    fn ended(&mut self, hook: usize, entry: QueueEntry, outcome: Outcome) {
        if outcome == Outcome::Status(200) && self.rng.chance(70) {
            self.taken.insert((hook, entry.event));
            self.silences[hook].ended(Verdict::Success, false);
            self.core.taken(self.hooks[hook].id, entry.event);
        }
        self.soon(Happening::Commit {
            hook,
            entry,
            outcome,
        });
    }

    fn commit_retry(&mut self, hook: usize, event: Position) {
        let unchanged = self.hooks[hook].removed || self.rng.chance(20);
        let keeps_place = self.orders[hook].order != LaneOrder::None;
        let entry = (!unchanged).then(|| self.store.retry_now(hook, event, self.now, keeps_place));
        if entry.is_some() {
            self.untold.committed(hook, event);
        }
        self.soon(Happening::Release { hook, event, entry });
    }

    fn toggle(&mut self, hook: usize) {
        let target = &mut self.hooks[hook];
        target.active = !target.active;
        self.core.set_gate(target.id, target.active);
        if target.active && self.rng.chance(50) {
            target.paused_until = SteadyMillis(0);
            self.silences[hook] = Silence::default();
            self.core.unpause(target.id);
        }
    }

    fn pause(&mut self, hook: usize) {
        let until = self.now.plus(self.rng.below(3_000));
        self.hooks[hook].paused_until = until;
        self.core.pause(self.hooks[hook].id, until);
    }

    fn answer(&mut self, hook: usize, ticket: u64, page: Option<Page>) {
        self.pages_open.remove(&hook);
        for entry in page.iter().flat_map(|page| &page.entries) {
            self.untold.told(hook, entry.event);
        }
        match page {
            Some(page) => self.core.paged(self.hooks[hook].id, ticket, page),
            None => self.core.page_failed(self.hooks[hook].id, ticket),
        }
    }

    fn accept(&mut self, hook: usize, count: usize) {
        if self.hooks[hook].removed {
            return;
        }
        for _ in 0..count {
            let before = self.rng.below(3);
            let ever = self.orders[hook].ever;
            let due = SteadyMillis(self.now.0 - if ever { 0 } else { before });
            let entry = self.store.accept(hook, due);
            self.untold.committed(hook, entry.event);
            if self.rng.chance(90) {
                self.soon(Happening::Hint { hook, entry });
            } else {
                let missed = self.rng.chance(50).then_some(entry);
                self.soon(Happening::Woken { hook, missed });
            }
        }
    }

    fn retry_now(&mut self, hook: usize) {
        let events = self.store.events_of(hook);
        if events.is_empty() || self.hooks[hook].closed {
            return;
        }
        let event = events[self.rng.size(0, events.len() as u64 - 1)];
        let granted = self.core.reserve(self.hooks[hook].id, event);
        let away = self.in_flight.contains_key(&(hook, event));
        assert!(!(granted && away), "reserved while in flight");
        if granted {
            assert!(
                !self.core.reserve(self.hooks[hook].id, event),
                "reserved twice"
            );
            self.soon(Happening::RetryCommit { hook, event });
        }
    }

    fn commit(&mut self, hook: usize, entry: QueueEntry, outcome: &Outcome) {
        self.commits += 1;
        let policy = &self.hooks[hook].policy;
        let salt = entry.event.to_u64();
        let mut next = after(outcome, entry.run_attempts + 1, policy, self.now, salt);
        let ordered = &self.orders[hook];
        let in_place = match ordered.switched {
            true => self.rng.chance(50), // It was begun before, or after.
            false => ordered.order != LaneOrder::None,
        };
        if let Next::RetryAt(due) = next
            && in_place
        {
            next = Next::RetryInPlace(due);
        }
        let written = self.store.end_attempt(hook, &entry, next);
        assert!(
            written || self.hooks[hook].removed,
            "a stale attempt: {entry:?}"
        );
        let queued = self.store.entry(hook, entry.event);
        let verdict = match (written, next, outcome) {
            (false, ..) => Verdict::Neutral,
            (true, Next::Delivered, _) => Verdict::Success,
            (true, _, Outcome::Fault { .. }) => Verdict::Absent,
            (true, ..) => Verdict::Failure,
        };
        if verdict == Verdict::Failure && self.rng.chance(10) {
            self.soon(Happening::Pause { hook });
        }
        let report = Report { queued, verdict };
        let event = entry.event;
        self.soon(Happening::Finished {
            hook,
            event,
            report,
        });
    }
}

#[test]
fn keeps_its_promises_through_delays_losses_and_crashes() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let seeds = match number("HOOKWHEEL_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HOOKWHEEL_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let (mut sends, mut pages, runs) = (0, 0, seeds.end - seeds.start);
    for seed in seeds {
        let run = std::panic::catch_unwind(|| World::new(seed).run());
        let (sent, read) = run.unwrap_or_else(|cause| {
            eprintln!("repeat with HOOKWHEEL_SIM_SEED={seed}");
            std::panic::resume_unwind(cause)
        });
        sends += sent;
        pages += read;
    }
    println!("{runs} seeds, {sends} attempts, {pages} pages");
    assert!(sends >= runs, "the simulation hardly sent anything");
}
