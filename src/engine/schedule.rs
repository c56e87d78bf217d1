//! The scheduler's core: which delivery is sent when, for all webhooks. Pure: no I/O, no clock, no threads, no
//! randomness; the same calls give the same effects, so a simulation can hold it to its promises.
//!
//! The shell tells it what happened ([`Core::arrived`], [`Core::finished`], [`Core::paged`], …) and what time it
//! is ([`Core::advance`]), and then carries out what [`Core::next_effect`] asks for until that is `None`.
//!
//! What holds, whatever the order of messages, as long as the shell keeps the rules below:
//! - A delivery is in flight at most once, never before it is due, never while its lane's gate is shut, and
//!   only if its queue key was on disk when the attempt before it had been reported.
//! - What is in flight stays within the global bound and each lane's own, as does what is being recorded; windows
//!   within theirs.
//! - Inside a lane the earliest due goes first; a bounded number of newer ones may pass while a page is read.
//! - In a lane with an order ([`LaneOrder`]) nothing is sent while anything of its key that comes before it in the
//!   queue is pending, as far as that has been told.
//! - A lane whose receiver is not there ([`Verdict::Absent`]) sends one at a time, with gaps; one that was shut and is
//!   open again sends what had been due by then at a bounded rate.
//! - Lanes with something to send take turns, one send at a time. Lanes that fail or hang have a bounded share
//!   of the global bound together ([`Standing`]).
//! - Nothing is lost: what is not known here is on disk, and the lane's timer stands at its due time or before.
//!
//! The shell's rules: what is told was committed before; [`Core::finished`] comes once for each send, after its
//! outcome is committed; each page read is answered once, by a read made after it was asked for; a commit is
//! hinted at most once, and a hint that could not be sent is made up for by [`Core::woken`], at any later time.

mod absence;
mod lane;
mod messages;
mod rate;
mod turns;

use std::collections::HashMap;

use crate::model::{Position, QueueEntry, SteadyMillis, WebhookId};
use crate::wheel::Wheel;
use crate::wheel::links::{Links, List};
pub use lane::LaneOrder;
use lane::{Gate, Lane, Waiting};
pub use messages::{Effect, FIRST_SPOT, LaneFigures, Limits, Page, Pause, Report, Spot, Verdict};
pub use rate::Rates;
pub use turns::Standing;
use turns::{Ring, Shares, Turns};

/// The longest pause of one lane: a receiver's `Retry-After` does not hold deliveries back for longer.
pub const PAUSE_MAX_MS: u64 = 3_600_000;

/// What of a lane is counted in the core's totals.
#[derive(Clone, Copy, Debug)]
struct Booked {
    standing: Standing,
    in_flight: usize,
    recording: usize,
    windowed: usize,
    payloads: usize,
}

#[derive(Debug)]
struct Place<B> {
    webhook: WebhookId,
    lane: Lane<B>,
    booked: Booked,
    ring: Option<Ring>,
    wants_page: bool,
    /// Never later than the lane needs it; it may be earlier, and then does nothing.
    timer: Option<SteadyMillis>,
}

/// The scheduler's core; `B` is the payload of a hint. See the module's description.
#[derive(Debug)]
pub struct Core<B> {
    limits: Limits,
    now: SteadyMillis,
    stopped: bool,
    index: HashMap<WebhookId, u32>,
    places: Vec<Option<Place<B>>>,
    free: Vec<u32>,
    wheel: Wheel<u32>,
    fired: Vec<u32>,
    turns: Turns,
    shares: Shares,
    page_links: Links,
    page_turns: List,
    pages_open: usize,
    tickets: u64,
    recording: usize,
    windowed: usize,
    payloads: usize,
}

impl<B> Core<B> {
    /// A core without lanes, at `now`.
    #[must_use]
    pub fn new(limits: Limits, now: SteadyMillis) -> Self {
        Self {
            limits,
            now,
            stopped: false,
            index: HashMap::new(),
            places: Vec::new(),
            free: Vec::new(),
            wheel: Wheel::new(now),
            fired: Vec::new(),
            turns: Turns::new(),
            shares: Shares::new(limits.in_flight_max),
            page_links: Links::default(),
            page_turns: List::EMPTY,
            pages_open: 0,
            tickets: 0,
            recording: 0,
            windowed: 0,
            payloads: 0,
        }
    }

    /// Opens the lane of a webhook: at start-up with the due time of its first queue key, at registration with
    /// `None`. A lane that is there already takes both as news.
    pub fn open_lane(&mut self, webhook: WebhookId, active: bool, next_due: Option<SteadyMillis>) {
        if self.index.contains_key(&webhook) {
            self.change(webhook, |lane, now, limits| {
                let gate = if active { Gate::Open } else { Gate::Shut };
                lane.turn_gate(gate, now, limits);
                if let Some(due) = next_due {
                    lane.note((due, FIRST_SPOT.1));
                }
            });
            return;
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len() - 1).expect("four thousand million lanes do not fit")
        });
        self.page_links.reach(at);
        if let Some(place) = self.places.get_mut(at as usize) {
            *place = Some(Place {
                webhook,
                lane: Lane::new(active, next_due, &self.limits),
                booked: Booked {
                    standing: Standing::Fresh,
                    in_flight: 0,
                    recording: 0,
                    windowed: 0,
                    payloads: 0,
                },
                ring: None,
                wants_page: false,
                timer: None,
            });
        }
        self.index.insert(webhook, at);
        self.settle(at);
    }

    /// The webhook was made active, or inactive: then nothing more is sent, and what waits is held on disk until
    /// it is active again. Attempts in flight go on.
    pub fn set_gate(&mut self, webhook: WebhookId, active: bool) {
        self.change(webhook, |lane, now, limits| {
            if lane.gate() != Gate::Closed {
                let gate = if active { Gate::Open } else { Gate::Shut };
                lane.turn_gate(gate, now, limits);
            }
        });
    }

    /// The webhook was removed: nothing more is sent, and the lane is forgotten when its last attempt and
    /// page read have ended.
    pub fn close_lane(&mut self, webhook: WebhookId) {
        self.change(webhook, |lane, now, limits| {
            lane.turn_gate(Gate::Closed, now, limits);
        });
    }

    /// Sends nothing to the webhook before `until` (its receiver said `Retry-After`), at
    /// most [`PAUSE_MAX_MS`] from now. An earlier `until` than before shortens the pause.
    pub fn pause(&mut self, webhook: WebhookId, until: SteadyMillis) {
        self.change(webhook, |lane, now, _| {
            lane.pause(until.min(now.plus(PAUSE_MAX_MS)));
        });
    }

    /// Another receiver is in the place of the webhook's, or its owner has activated it again: what the one before
    /// asked for, and that it was not there, is over.
    pub fn unpause(&mut self, webhook: WebhookId) {
        self.change(webhook, |lane, _, _| lane.unpause());
    }

    /// In which order the webhook's deliveries are sent. With another order than before everything waits until
    /// what is under way has ended.
    pub fn set_order(&mut self, webhook: WebhookId, order: LaneOrder) {
        self.change(webhook, |lane, _, _| lane.set_order(order));
    }

    /// Bounds how many attempts are begun for the webhook in a second and in an hour; what is over it waits.
    pub fn set_rates(&mut self, webhook: WebhookId, rates: Rates) {
        self.change(webhook, |lane, _, _| lane.set_rates(rates));
    }

    /// A hint: this delivery was just committed, with the given queue key. It goes straight into the window if
    /// there is room; otherwise only its due time is kept, and a page brings it later.
    pub fn arrived(&mut self, webhook: WebhookId, entry: QueueEntry, payload: B) {
        let payload = (self.payloads < self.limits.payloads_max.max(1)).then_some(payload);
        self.change(webhook, |lane, now, limits| {
            lane.arrive(Waiting { entry, payload }, now, limits);
        });
    }

    /// A hint was lost, or the queue changed in a way not told here: the lane looks at what is due from `from` on. An
    /// ordered lane goes on meanwhile with what comes before that.
    pub fn woken(&mut self, webhook: WebhookId, from: SteadyMillis) {
        self.change(webhook, |lane, _, _| lane.note((from, FIRST_SPOT.1)));
    }

    /// The answer to [`Effect::ReadPage`].
    pub fn paged(&mut self, webhook: WebhookId, ticket: u64, page: Page) {
        let answered = self.change(webhook, |lane, now, limits| {
            lane.take_page(ticket, page, now, limits)
        });
        self.pages_open -= usize::from(answered.unwrap_or(false));
    }

    /// The page could not be read; it is asked for again later, with growing waits.
    pub fn page_failed(&mut self, webhook: WebhookId, ticket: u64) {
        let answered = self.change(webhook, |lane, now, _| lane.fail_page(ticket, now));
        self.pages_open -= usize::from(answered.unwrap_or(false));
    }

    /// An attempt ended and that is committed. An attempt that was not made, or not recorded, is reported too: with
    /// the delivery as it was.
    pub fn finished(&mut self, webhook: WebhookId, event: Position, report: Report) {
        self.change(webhook, |lane, now, limits| {
            lane.finish(event, report, now, limits);
        });
    }

    /// The receiver has taken a delivery: another may be sent in its place while that is recorded. It is not sent
    /// again before [`Core::finished`], which still comes. Telling this is optional.
    pub fn taken(&mut self, webhook: WebhookId, event: Position) {
        self.change(webhook, |lane, _, limits| lane.taken(event, limits));
    }

    /// Takes a delivery out of the scheduler's hands, pending or not: it is not sent until [`Core::release`].
    /// `false` if it is in flight or reserved already, if its lane has too many reservations, or has no lane.
    pub fn reserve(&mut self, webhook: WebhookId, event: Position) -> bool {
        self.change(webhook, |lane, _, _| {
            lane.gate() != Gate::Closed && lane.reserve(event)
        })
        .unwrap_or(false)
    }

    /// Ends a reservation, after whatever was committed meanwhile: with the delivery's queue key as it is now, or
    /// `None` where that is not known or there is none; a page read then tells.
    pub fn release(&mut self, webhook: WebhookId, event: Position, entry: Option<QueueEntry>) {
        self.change(webhook, |lane, now, limits| {
            lane.release(event, entry, now, limits);
        });
    }

    /// Moves time on; an earlier time than before changes nothing. Call it before telling what happened, so that
    /// what is due now is known to be.
    pub fn advance(&mut self, now: SteadyMillis) {
        if now <= self.now {
            return;
        }
        self.now = now;
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.expire(now, &mut fired);
        for at in fired.drain(..) {
            if let Some(Some(place)) = self.places.get_mut(at as usize) {
                place.timer = None;
                self.settle(at);
            }
        }
        self.fired = fired;
    }

    /// The next thing to be carried out; `None` when there is nothing until more is told or time moves on.
    pub fn next_effect(&mut self) -> Option<Effect<B>> {
        if self.stopped {
            return None;
        }
        self.next_page().or_else(|| self.next_send())
    }

    fn next_page(&mut self) -> Option<Effect<B>> {
        if self.pages_open >= self.limits.pages_max.max(1) {
            return None;
        }
        let at = self.page_links.pop_front(&mut self.page_turns)?;
        self.tickets += 1;
        let (ticket, now) = (self.tickets, self.now);
        let place = self.places.get_mut(at as usize)?.as_mut()?;
        place.wants_page = false;
        let (webhook, read) = (
            place.webhook,
            place.lane.open_page(ticket, now, &self.limits),
        );
        self.pages_open += 1;
        self.settle(at);
        Some(Effect::ReadPage {
            webhook,
            ticket,
            from: read.from,
            until: read.until,
            limit: read.limit,
        })
    }

    fn next_send(&mut self) -> Option<Effect<B>> {
        if self.recording >= self.limits.recording_max() {
            return None;
        }
        let at = self.turns.take(&self.shares)?;
        let place = self.places.get_mut(at as usize)?.as_mut()?;
        place.ring = None;
        let (webhook, granted) = (place.webhook, place.lane.grant(self.now));
        self.settle(at);
        let Waiting { entry, payload } = granted?;
        Some(Effect::Send {
            webhook,
            entry,
            payload,
        })
    }

    /// When to call [`Core::advance`] though nothing happens; never too late, sometimes early.
    #[must_use]
    pub fn next_wake(&self) -> Option<SteadyMillis> {
        if self.stopped {
            None
        } else {
            self.wheel.next_due()
        }
    }

    /// From now on nothing is sent and no page is read. What is in flight may still be reported.
    pub const fn stop(&mut self) {
        self.stopped = true;
    }

    /// Attempts in flight.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.shares.total()
    }

    /// Attempts that have not been reported as ended: those in flight, and what is being recorded.
    #[must_use]
    pub const fn under_way(&self) -> usize {
        self.shares.total() + self.recording
    }

    /// Lanes, those included that were closed and have not ended.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.index.len()
    }

    /// Deliveries in windows.
    #[must_use]
    pub const fn windowed(&self) -> usize {
        self.windowed
    }

    /// What a webhook's lane holds; `None` if it has no lane.
    #[must_use]
    pub fn lane(&self, webhook: WebhookId) -> Option<LaneFigures> {
        let at = *self.index.get(&webhook)?;
        let place = self.places.get(at as usize)?.as_ref()?;
        Some(LaneFigures {
            windowed: place.lane.windowed(),
            in_flight: place.lane.in_flight(),
            concurrency: place.lane.concurrency(),
            standing: place.lane.standing(self.now),
            probing: place.lane.probing(),
            paused: place.lane.paused(self.now),
        })
    }

    /// Changes a lane and then brings everything that depends on it into line; `None` if there is no such lane.
    fn change<T>(
        &mut self,
        webhook: WebhookId,
        change: impl FnOnce(&mut Lane<B>, SteadyMillis, &Limits) -> T,
    ) -> Option<T> {
        let at = *self.index.get(&webhook)?;
        let place = self.places.get_mut(at as usize)?.as_mut()?;
        let result = change(&mut place.lane, self.now, &self.limits);
        self.settle(at);
        Some(result)
    }

    /// Brings totals, rings and timer into line with a lane that has changed, and forgets it when it is over.
    fn settle(&mut self, at: u32) {
        let Some(Some(place)) = self.places.get_mut(at as usize) else {
            return;
        };
        let (lane, now, limits) = (&place.lane, self.now, &self.limits);

        let was = place.booked;
        let booked = Booked {
            standing: lane.standing(now),
            in_flight: lane.in_flight(),
            recording: lane.recording(),
            windowed: lane.windowed(),
            payloads: lane.payloads(),
        };
        self.shares.subtract(was.standing, was.in_flight);
        self.shares.add(booked.standing, booked.in_flight);
        self.recording = self.recording - was.recording + booked.recording;
        self.windowed = self.windowed - was.windowed + booked.windowed;
        self.payloads = self.payloads - was.payloads + booked.payloads;
        place.booked = booked;

        let ring = lane
            .sendable(now)
            .then(|| Ring::of(booked.standing, booked.in_flight));
        if ring != place.ring {
            if let Some(ring) = place.ring {
                self.turns.leave(ring, at);
            }
            if let Some(ring) = ring {
                self.turns.join(ring, at);
            }
            place.ring = ring;
        }

        let wants_page = lane.wants_page(now, limits);
        if wants_page != place.wants_page {
            if wants_page {
                self.page_links.push_back(&mut self.page_turns, at);
            } else {
                self.page_links.remove(&mut self.page_turns, at);
            }
            place.wants_page = wants_page;
        }

        // A timer that is too early is left to fire for nothing: that is rare, and moving it for each send is not.
        if let Some(wake) = lane.wake_at(now, limits)
            && place.timer.is_none_or(|timer| wake < timer)
        {
            self.wheel.set(at, wake);
            place.timer = Some(wake);
        }

        if lane.is_over() {
            self.wheel.cancel(&at);
            self.index.remove(&place.webhook);
            self.free.push(at);
            if let Some(place) = self.places.get_mut(at as usize) {
                *place = None;
            }
        }
    }
}

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
