//! What goes wrong with process, power, disk and clock; restarts, and what must be so after them.

use super::requests::Asked;
use super::told::{Change, Delivery, Registered};
use super::{Core, END_MS, Happening, State, SteadyMillis, TROUBLE_MS, UnixMillis, World};
use crate::journal::Faults;
use crate::model::{DeliveryState, EndReason, EventId, Position, QueueEntry, Trigger};
use crate::store::tests::account;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Down {
    /// It is killed.
    Kill,
    /// The power goes.
    PowerCut,
    /// It is asked to stop.
    Stop,
}

impl World {
    pub(super) fn plan_trouble(&mut self) {
        for _ in 0..self.rng.below(6) {
            let what = match self.rng.below(10) {
                0..=1 => Happening::Down(Down::Kill),
                2..=3 => Happening::Down(Down::PowerCut),
                4 => Happening::Down(Down::Stop),
                5..=6 => Happening::Retention,
                _ => Happening::Fuse {
                    calls: self.rng.below(40),
                },
            };
            let at = self.rng.below(TROUBLE_MS);
            self.at(at, what);
        }
        if self.rng.chance(30) {
            let faults = Faults {
                writes: self.rng.below(30_000),
                reads: self.rng.below(300),
                ..Faults::default()
            };
            self.machine.disk.set_faults(faults);
        }
        if self.rng.chance(5) {
            let at = self.rng.below(TROUBLE_MS);
            self.at(at, Happening::Full { full: true });
            self.at(at + 1_000, Happening::Full { full: false });
        }
    }

    /// From now on syncs do nothing.
    pub(super) fn lie(&mut self) {
        let mut faults = self.machine.disk.faults();
        faults.lying = true;
        self.machine.disk.set_faults(faults);
    }

    /// Does something that is not to meet faults.
    pub(super) fn quietly<T>(&mut self, what: impl FnOnce(&mut Self) -> T) -> T {
        let faults = self.machine.disk.faults();
        self.machine.disk.set_faults(Faults {
            lying: faults.lying,
            ..Faults::default()
        });
        let done = what(self);
        self.machine.disk.set_faults(faults);
        done
    }

    /// The process ends, and another starts.
    pub(super) fn go_down(&mut self, how: Down) {
        let mut power = how == Down::PowerCut;
        match how {
            Down::Kill => self.figures.kills += 1,
            Down::PowerCut => self.figures.power_cuts += 1,
            Down::Stop => {
                self.figures.stops += 1;
                // A stop that fails is a crash; nothing more is answered.
                let stopped = self.store_mut().stop();
                self.take_answers();
                power = stopped.is_err() && self.machine.disk.is_off();
                self.note_time();
            }
        }
        self.figures.cut_off += std::mem::take(&mut self.under_way);
        let unanswered = std::mem::take(&mut self.requests);
        self.doubts.extend(unanswered.into_iter().map(|r| r.asked));
        self.store = None;
        self.machine.gone(power, &mut self.rng);
        if self.rng.chance(10) {
            let wall = self.machine.time.wall().0 + self.rng.below(200_000);
            self.machine
                .time
                .set_wall(UnixMillis(wall.saturating_sub(100_000)));
        }
        let down_for = self.rng.lag();
        self.machine.time.pass(down_for);
        if self.rng.chance(5) {
            self.machine.table.ruin();
            self.ruined = true;
        }
        self.start();
        let steady = self.steady();
        assert!(
            steady >= self.told.steady,
            "steady time went back: {steady:?} {:?}",
            self.told.steady
        );
        self.told.end = self.store().recorded().0;
        self.quietly(Self::check_told);
        self.wake_up();
    }

    /// Starts the process, as often as it takes.
    pub(super) fn start(&mut self) {
        let disk = self.machine.disk.clone();
        for tries in 0.. {
            if !self.calm && tries < 10 && self.rng.chance(20) {
                let fuse = Some(self.rng.below(60));
                disk.set_faults(Faults {
                    fuse,
                    ..disk.faults()
                });
            }
            let unfinished = self.machine.table.is_unfinished();
            let opened = self
                .machine
                .open(&self.options, &self.metrics, self.needs_own_sync);
            let faults = disk.faults();
            let sound = faults.writes + faults.reads == 0 && !faults.full && !disk.is_off();
            let error = match opened {
                Ok(opened) => {
                    let rebuilt = opened.report.moved_aside.is_some();
                    let why = self.ruined || faults.reads > 0 || faults.lying;
                    assert!(!rebuilt || why, "{:?}", opened.report);
                    self.ruined = false;
                    self.figures.rebuilt += u64::from(rebuilt);
                    self.store = Some(opened);
                    disk.set_faults(Faults {
                        fuse: None,
                        ..faults
                    });
                    return;
                }
                Err(error) => error,
            };
            assert!(!sound, "it does not start on a sound disk: {error}");
            self.figures.failed_starts += 1;
            // Making it was cut off, so it is made again.
            self.ruined |= unfinished;
            let power = disk.is_off() && self.rng.chance(60);
            self.machine.gone(power, &mut self.rng);
            if tries > 10 {
                let lying = faults.lying;
                disk.set_faults(Faults {
                    lying,
                    ..Faults::default()
                });
            }
        }
    }

    /// The scheduler of the new process begins with what is on disk.
    fn wake_up(&mut self) {
        let now = self.steady();
        self.core = Core::new(self.limits, now);
        (self.step_planned, self.idle_planned) = (false, false);
        self.in_flight.clear();
        self.taken.clear();
        self.pages_open.clear();
        self.expired.clear();
        self.agenda.retain(|_, what| what.survives());
        for at in 0..self.hooks.len() {
            let (id, told) = (self.ids[at], self.told.hooks[at]);
            let first = self.quietly(|world| world.store().reader.first_due(id));
            self.hooks[at].changing = false;
            let hook = &mut self.hooks[at].hook;
            hook.paused_until = SteadyMillis(0);
            hook.begun.clear();
            hook.closed = told.is_none();
            if let Some(told) = told {
                hook.active = told.active;
                self.core.open_lane(id, told.active, first.unwrap());
                self.core.set_rates(id, hook.rates);
            }
            if self.calm && told.is_some_and(|told| !told.active) {
                self.toggle(at);
            }
        }
        if self.store().has_work() {
            self.plan_step();
        }
    }

    /// What is there is what was told, but for what was asked and not answered.
    fn check_told(&mut self) {
        let doubts = std::mem::take(&mut self.doubts);
        self.check_registry(&doubts);
        self.check_posts(&doubts);
        let queue = self.store().checked_queue();
        let mut pending: std::collections::BTreeMap<(usize, Position), QueueEntry> = queue
            .into_iter()
            .map(|(webhook, entry)| ((self.hook(webhook), entry.event), entry))
            .collect();
        let (oldest, _) = self.bounds();
        let told = self.told.deliveries.clone();
        for ((hook, event), delivery) in told {
            let found = pending.remove(&(hook, event));
            let of = |asked: &Asked| self.change_of(asked, hook, event, found);
            let changes: Vec<Change> = doubts.iter().filter_map(of).collect();
            let now = if event.segment < oldest {
                self.gone_as(&delivery, &changes, hook, event)
            } else {
                self.settled(delivery, &changes, (hook, event), found)
            };
            self.told.deliveries.insert((hook, event), now);
        }
        assert!(pending.is_empty(), "never accepted: {pending:?}");
        self.settle_job(&doubts);
        self.told.forget_before(oldest);
    }

    fn check_registry(&mut self, doubts: &[Asked]) {
        for hook in 0..self.hooks.len() {
            let found = self.store().reader.webhook(self.ids[hook]);
            let found = found.map(|webhook| Registered {
                version: webhook.version,
                active: webhook.active,
            });
            let asked = doubts.iter().filter_map(|asked| match asked {
                Asked::Put { hook: of, now } if *of == hook => Some(Some(*now)),
                Asked::Remove { hook: of } if *of == hook => Some(None),
                _ => None,
            });
            let mut may_be = asked.chain([self.told.hooks[hook]]);
            assert!(
                may_be.any(|one| one == found),
                "what was acknowledged is lost: webhook {hook} is {found:?}"
            );
            self.told.hooks[hook] = found;
        }
    }

    fn check_posts(&mut self, doubts: &[Asked]) {
        let (oldest, _) = self.bounds();
        let reader = self.store().reader.clone();
        for (event, post) in &self.told.events {
            if event.segment < oldest {
                continue;
            }
            let post = &self.told.posts[*post];
            let read = reader
                .event_at(*event)
                .unwrap_or_else(|e| panic!("what was acknowledged is lost: {event}: {e}"));
            assert_eq!(read.id.as_str(), post.id);
            assert_eq!(read.data.trim_start(), post.data.trim_start());
        }
        let in_doubt: std::collections::BTreeSet<usize> = doubts
            .iter()
            .filter_map(|asked| match asked {
                Asked::Post { post, .. } => Some(*post),
                _ => None,
            })
            .collect();
        for post in in_doubt {
            let id = EventId::new(&self.told.posts[post].id).unwrap();
            let found = reader.find_event(&account(), &id).unwrap();
            if let Some((at, event)) = found
                && !self.told.events.contains_key(&at)
            {
                self.told.posts[post].data = event.data;
                self.adopt(post, at);
            }
            if self.rng.chance(60) {
                let altered = false;
                self.soon(Happening::Post { post, altered });
            }
        }
    }

    /// An event was stored whose answer nobody got.
    fn adopt(&mut self, post: usize, at: Position) {
        let mut to = Vec::new();
        let mut due = SteadyMillis(0);
        for hook in 0..self.ids.len() {
            let id = self.ids[hook];
            let reader = &self.store().reader;
            if !reader.has_delivery(id, at).unwrap() {
                continue;
            }
            let found = reader.delivery(id, at).unwrap().unwrap();
            assert!(found.attempts.is_empty());
            match found.state {
                DeliveryState::Pending { due: at, .. } => due = at,
                other => assert!(self.told.hooks[hook].is_none(), "{other:?}"),
            }
            to.push(hook);
        }
        self.told.accept(post, at, due, &to);
    }

    /// What an unanswered call may have done to a delivery.
    fn change_of(
        &self,
        asked: &Asked,
        hook: usize,
        event: Position,
        found: Option<QueueEntry>,
    ) -> Option<Change> {
        match asked {
            Asked::Finish {
                hook: of,
                entry,
                serial,
                next,
            } if (*of, entry.event) == (hook, event) => Some(Change::Finish {
                due: entry.due,
                serial: *serial,
                next: *next,
            }),
            Asked::Requeue {
                hook: of,
                event: at,
            } if (*of, *at) == (hook, event) => Some(Change::Requeue {
                due: found.map_or(SteadyMillis(0), |entry| entry.due),
            }),
            Asked::Cancel {
                hook: of,
                entries,
                reason,
                ..
            } if *of == hook => {
                let entry = entries.iter().find(|entry| entry.event == event)?;
                Some(Change::Cancel {
                    due: entry.due,
                    reason: *reason,
                })
            }
            // A step is made as a whole, or not.
            Asked::StepJob { picks } if self.job_moved() && picks.contains(&(hook, event)) => {
                let due = found.map_or(SteadyMillis(0), |entry| entry.due);
                Some(Change::Replay { due })
            }
            _ => None,
        }
    }

    /// All that a delivery may be.
    fn may_be(&self, told: &Delivery, changes: &[Change], hook: usize) -> Vec<Delivery> {
        let mut may_be = told.after_any(changes);
        if self.told.hooks[hook].is_none() {
            let pending = |one: &&Delivery| matches!(one.state, State::Pending { .. });
            let cancelled: Vec<Delivery> = may_be
                .iter()
                .filter(pending)
                .flat_map(|one| {
                    use EndReason::{Expired, OverRate, WebhookRemoved};
                    [WebhookRemoved, Expired, OverRate].map(|reason| Delivery {
                        state: State::Ended(reason),
                        ..one.clone()
                    })
                })
                .collect();
            may_be.extend(cancelled);
        }
        may_be
    }

    /// Its event was deleted: it must have ended.
    fn gone_as(
        &self,
        told: &Delivery,
        changes: &[Change],
        hook: usize,
        event: Position,
    ) -> Delivery {
        let mut may_be = self.may_be(told, changes, hook).into_iter();
        may_be
            .find(|one| !matches!(one.state, State::Pending { .. }))
            .unwrap_or_else(|| panic!("what was acknowledged is lost: {event} was {told:?}"))
    }

    /// What the delivery turns out to be.
    fn settled(
        &mut self,
        told: Delivery,
        changes: &[Change],
        (hook, event): (usize, Position),
        found: Option<QueueEntry>,
    ) -> Delivery {
        let may_be = self.may_be(&told, changes, hook);
        let sure = may_be.len() == 1;
        let fits = |one: &Delivery| one.entry(event) == found;
        if sure && fits(&told) && !self.rng.chance(20) {
            return told;
        }
        let (state, attempts) = self.recorded(hook, event);
        let settled = may_be.into_iter().find(|one| {
            fits(one) && one.attempts == *attempts && (found.is_some() || one.state == state)
        });
        let settled = settled.unwrap_or_else(|| {
            panic!(
                "what was acknowledged is lost: {event} of {hook} was {told:?}, asked {changes:?}, \
                 and is {found:?}, on record {state:?} after {attempts:?}"
            )
        });
        self.figures.recorded += (settled.attempts.len() - told.attempts.len()) as u64;
        self.figures.cut_off -= (settled.attempts.len() - told.attempts.len()) as u64;
        settled
    }

    /// What the journal's history says of a delivery; its attempts are numbered without gaps.
    fn recorded(&self, hook: usize, event: Position) -> (State, Vec<u64>) {
        let found = self.store().reader.delivery(self.ids[hook], event);
        let found = found
            .unwrap()
            .unwrap_or_else(|| panic!("what was acknowledged is lost: {event} of {hook}"));
        let mut serials = Vec::new();
        for (attempt, number) in found.attempts.iter().zip(1_u32..) {
            assert_eq!(attempt.number, number, "attempts of {event}");
            serials.push(attempt.started_at.0);
        }
        let state = match found.state {
            DeliveryState::Pending { due, .. } => State::Pending {
                due,
                run_attempts: 0,
                trigger: Trigger::Schedule,
                not_before: SteadyMillis(0),
            },
            DeliveryState::Delivered { .. } => State::Delivered,
            DeliveryState::Ended { reason, .. } => State::Ended(reason),
        };
        (state, serials)
    }

    /// What is on record now has a time that no later process may fall behind.
    pub(super) fn note_time(&mut self) {
        let (end, steady) = self.store().recorded();
        if end > self.told.end {
            (self.told.end, self.told.steady) = (end, steady);
        }
    }

    /// Everything has ended, on record, as its schedule says.
    pub(super) fn check_end(&mut self) {
        assert!(self.now() < END_MS, "it took for ever");
        assert!(self.requests.is_empty() && self.doubts.is_empty());
        assert_eq!(self.store().checked_queue(), [], "stuck");
        assert_eq!(self.store().tombstones(), 0, "never forgotten");
        assert_eq!((self.core.under_way(), self.core.windowed()), (0, 0));
        let open = self.told.hooks.iter().filter(|hook| hook.is_some()).count();
        assert_eq!(self.core.lanes(), open, "closed lanes are forgotten");
        for ((hook, event), told) in &self.told.deliveries {
            let (state, attempts) = self.recorded(*hook, *event);
            assert_eq!(attempts, told.attempts, "of {event}");
            if let State::Pending { .. } = told.state {
                assert!(self.told.hooks[*hook].is_none(), "{event} is {told:?}");
                // Something else may have ended it after the removal, before the store came to it.
                assert!(matches!(state, State::Ended(_)), "{event} is {state:?}");
            } else {
                assert_eq!(state, told.state, "of {event}");
            }
        }
        self.check_posts(&[]);
        for post in &self.told.posts {
            let id = EventId::new(&post.id).unwrap();
            let found = self.store().reader.find_event(&account(), &id).unwrap();
            assert_eq!(found.map(|(at, _)| at), post.at, "{}", post.id);
        }
        let figures = self.figures;
        assert_eq!(
            figures.attempts,
            figures.recorded + figures.stale + figures.cut_off,
            "an attempt was made twice"
        );
    }
}
