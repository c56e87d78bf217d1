//! What the scheduler asks for is carried out, and what clients and the daemon's own tasks do is done.

use super::requests::Asked;
use super::told::Registered;
use super::{
    Down, FaultKind, Happening, Outcome, Page, QueueEntry, Read, Receiver, SteadyMillis, World,
};
use crate::engine::schedule::{Effect, Report, Verdict};
use crate::model::{EndReason, Position, WebhookId};

impl World {
    pub(super) fn carry_out(&mut self) {
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
        for target in &self.hooks {
            if let Some(lane) = self.core.lane(target.hook.id) {
                assert!(lane.windowed <= self.limits.window_max);
            }
        }
    }

    fn send(&mut self, webhook: WebhookId, entry: QueueEntry, payload: Option<u64>) {
        let at = self.hook(webhook);
        let now = self.steady();
        if self.store().reader.webhook(webhook).is_none() {
            // Removed in between, as the scheduler's shell finds too.
            let report = Report {
                queued: None,
                verdict: Verdict::Neutral,
            };
            self.core.finished(webhook, entry.event, report);
            return;
        }
        let hook = &self.hooks[at].hook;
        assert!(entry.due <= now, "sent before it was due");
        assert!(hook.active && !hook.closed, "sent through a shut gate");
        assert!(hook.paused_until <= now, "sent in a pause");
        assert!(
            self.told_entry(at, entry.event) == Some(entry) || self.may_be_stale(at, &entry),
            "sent though it is not pending so: {entry:?}"
        );
        assert!(
            payload.is_none_or(|p| p == entry.event.to_u64()),
            "another's payload"
        );
        assert!(
            self.in_flight.insert((at, entry.event)),
            "in flight twice: {entry:?}"
        );
        let of_lane = self
            .in_flight
            .difference(&self.taken)
            .filter(|(hook, _)| *hook == at);
        assert!(of_lane.count() <= self.limits.lane_in_flight_max);
        self.figures.attempts += 1;
        self.under_way += 1;
        let (outcome, takes) = self.receive(at, now);
        let what = Happening::Ended {
            hook: at,
            entry,
            outcome,
        };
        self.at(takes, what);
    }

    /// What a receiver makes of a request, and how long that takes.
    fn receive(&mut self, at: usize, now: SteadyMillis) -> (Outcome, u64) {
        let hook = &mut self.hooks[at].hook;
        hook.check_rates(now);
        let fails = match hook.receiver {
            Receiver::Well => false,
            Receiver::Fails => true,
            Receiver::Flaky => self.rng.chance(50),
            Receiver::Hangs => {
                let (kind, detail) = (FaultKind::Timeout, String::new());
                return (Outcome::Fault { kind, detail }, 5_000);
            }
        };
        let status = if fails { 503 } else { 200 };
        (Outcome::Status(status), self.rng.lag())
    }

    /// The scheduler is told that a webhook changed, and looks at what there is.
    pub(super) fn changed(&mut self, hook: usize) {
        let there = self.store().reader.webhook(self.ids[hook]);
        let target = &mut self.hooks[hook].hook;
        match there {
            Some(webhook) => {
                target.active = webhook.active;
                let looked_from = Some(SteadyMillis(0));
                self.core.open_lane(target.id, webhook.active, looked_from);
                self.core.set_rates(target.id, target.rates);
            }
            None => {
                target.closed = true;
                self.core.close_lane(target.id);
            }
        }
    }

    pub(super) fn may_change(&self, hook: usize) -> bool {
        self.told.hooks[hook].is_some() && !self.hooks[hook].changing
    }

    pub(super) fn toggle(&mut self, hook: usize) {
        if let Some(told) = self.told.hooks[hook]
            && self.may_change(hook)
            && !(self.calm && told.active)
        {
            self.hooks[hook].changing = true;
            let now = Registered {
                version: told.version + 1,
                active: !told.active,
            };
            self.ask(Asked::Put { hook, now });
        }
    }

    pub(super) fn send_again(&mut self, hook: usize) {
        let keys = self.told.deliveries.keys();
        let events: Vec<Position> = keys.filter(|key| key.0 == hook).map(|key| key.1).collect();
        if events.is_empty() {
            return;
        }
        let event = events[self.rng.size(0, events.len() as u64 - 1)];
        let id = self.ids[hook];
        let granted = self.core.reserve(id, event);
        let away = self.in_flight.contains(&(hook, event));
        assert!(!(granted && away), "reserved while in flight");
        if granted {
            assert!(!self.core.reserve(id, event), "reserved twice");
            self.ask(Asked::Requeue { hook, event });
        }
    }

    /// A delivery that was never attempted is over its webhook's backlog.
    pub(super) fn drop_one(&mut self, hook: usize) {
        let told = self.told.deliveries.iter();
        let entry = told
            .filter(|((of, _), delivery)| *of == hook && delivery.attempts.is_empty())
            .find_map(|((_, event), delivery)| delivery.entry(*event));
        if let Some(entry) = entry
            && self.core.reserve(self.ids[hook], entry.event)
        {
            let (entries, reason) = (vec![entry], EndReason::OverRate);
            let reserved = true;
            self.ask(Asked::Cancel {
                hook,
                entries,
                reason,
                reserved,
            });
        }
    }

    /// Retention: what is pending of some first segments expires at times, and then segments are deleted.
    pub(super) fn sweep(&mut self) {
        let (oldest, newest) = self.bounds();
        let through = oldest + u32::try_from(self.rng.size(0, (newest - oldest).into())).unwrap();
        if self.rng.chance(40) {
            for hook in 0..self.hooks.len() {
                let told = self.told.deliveries.iter();
                let entries: Vec<QueueEntry> = told
                    .filter(|((of, event), _)| *of == hook && event.segment <= through)
                    .filter_map(|((_, event), delivery)| delivery.entry(*event))
                    .collect();
                let of = entries.iter().map(|entry| (hook, entry.event));
                self.expired.extend(of);
                if !entries.is_empty() {
                    let (reason, reserved) = (EndReason::Expired, false);
                    self.ask(Asked::Cancel {
                        hook,
                        entries,
                        reason,
                        reserved,
                    });
                }
            }
        }
        self.ask(Asked::Delete);
    }

    pub(super) fn read_page(&mut self, hook: usize, read: Read) {
        let span = (read.from, read.until);
        let reader = &self.store().reader;
        let page = reader.page_from(self.ids[hook], span, read.limit);
        if self.store().is_suspect() {
            // The alarm: whoever finds the registry damaged fails the store.
            self.figures.store_failures += 1;
            self.go_down(Down::Kill);
            return;
        }
        let page = page.ok().filter(|_| !self.rng.chance(5));
        let page = page.map(|page| Page {
            entries: page.entries,
            next_due: page.next_due,
            ..Page::default()
        });
        let ticket = read.ticket;
        self.soon(Happening::PageAnswer { hook, ticket, page });
    }
}
