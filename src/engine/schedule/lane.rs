//! One webhook's lane: its window on the queue, its concurrency, its gate.
//!
//! The queue is on disk; a lane *knows* those deliveries of it that are in its window, in flight, or
//! reserved. What it does not know it bounds from below by one place in the queue, `unseen`. Invariant: a pending
//! delivery of the lane that has been committed and hinted at is known, or stands at `unseen` or behind it,
//! or came after the open page read was asked for and is noted there, or waits for a later time and was passed
//! over. `None` says that there is none.
//!
//! A page read runs beside commits, so its answer is a picture of some instant since it was asked for.
//! Three rules keep it from bringing a delivery that is not there any more:
//! - what ended or was moved while the page was open is skipped in its answer;
//! - what is known is skipped; where it has another due time it may have been queued anew since, and is looked for
//!   once its end is known;
//! - a hint for an event no later than the latest one that came by a page or was reserved may be a hint
//!   overtaken by that page, for a delivery that has ended since: it is noted, and the next page tells.
//!
//! A lane with an order ([`Sequence`]) knows more exactly what it does not know, as nothing may be overtaken: what
//! arrives is only noted, pages bring everything, and nothing behind `unseen` is sent. After a failed attempt
//! that keeps its place the delivery is put back there at once, so that nothing slips by.
//!
//! A lane never reads a clock and decides nothing about other lanes; the core compares it with them.

mod pages;
mod pauses;
mod sequence;

use std::collections::VecDeque;

use crate::model::{Position, QueueEntry, SteadyMillis, Trigger};

use super::absence::Absence;
use super::messages::{FIRST_SPOT, Spot, spot};
use super::rate::Pace;
use super::turns::Standing;
use super::{Limits, Report, Verdict};
use pages::{OpenPage, PassedOver};
pub use sequence::LaneOrder;
use sequence::{Hold, Sequence};

/// What is due within this time may wait in the window already. One page read then serves a whole second of
/// retries instead of a millisecond, and what is committed while the read runs is in it too.
pub(super) const HORIZON_MS: u64 = 1_000;
/// The concurrency of a lane that has had its first success.
const LIMIT_AT_START: usize = 8;
/// The concurrency of a fresh lane: two attempts tell whether a receiver answers, and cost little if not.
const PROBES: usize = 2;
/// The window holds up to this many waiting deliveries for each attempt that may be in flight: enough for
/// a page read to take as long as several attempts, and little memory for a dead receiver.
const WINDOW_PER_ATTEMPT: usize = 8;
/// The smallest window, so that pages are worth their seek.
const WINDOW_MIN: usize = 16;
/// What receivers have taken is recorded while others are sent: up to this many for each that may be in flight. A
/// group of records takes a sync, which a connection to a receiver is not to wait for.
const RECORDING_PER_ATTEMPT: usize = 4;
/// Sends that may overtake older deliveries on disk, from one page to the next: a page read does not stall
/// a live receiver, and what is older is passed by few.
const OVERTAKES_MAX: usize = 32;
/// An attempt under way for longer puts its lane in doubt: most receivers answer in well under a second.
const LONG_MS: u64 = 3_000;
/// What ended while a page was open is remembered up to this count; beyond it the lane waits for the page.
const ENDED_MAX: usize = 4_096;
/// Retry-now requests under way at once in a lane: each is a request that somebody waits for.
const RESERVED_MAX: usize = 64;

/// Whether the lane sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// It does.
    Open,
    /// The webhook is inactive: what waits is held, on disk.
    Shut,
    /// The webhook was removed: the lane ends with its last attempt.
    Closed,
}

/// A due delivery in the window.
#[derive(Debug)]
pub(super) struct Waiting<B> {
    pub(super) entry: QueueEntry,
    pub(super) payload: Option<B>,
}

impl<B> Waiting<B> {
    const fn spot(&self) -> Spot {
        spot(&self.entry)
    }
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    event: Position,
    due: SteadyMillis,
    started: SteadyMillis,
    /// The receiver has taken it, and that is being recorded.
    taken: bool,
    /// It was made to see whether anybody is there.
    tried: bool,
    /// Its end is on disk, and it has been queued anew since.
    queued_anew: bool,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Lane<B> {
    gate: Gate,
    /// Sorted by place; empty in a lane with an order.
    window: VecDeque<Waiting<B>>,
    /// Of a lane with an order.
    sequence: Option<Box<Sequence>>,
    /// In flight or being recorded, in the order granted, so the first is the oldest.
    away: Vec<Flight>,
    /// How many of them are being recorded.
    recording: usize,
    reserved: Vec<Position>,
    unseen: Option<Spot>,
    passed_over: Option<Box<PassedOver>>,
    page: Option<OpenPage>,
    page_failures: u32,
    page_after: SteadyMillis,
    /// The latest event that came by a page or was reserved.
    paged_to: Option<Position>,
    overtakes: usize,
    paused_until: SteadyMillis,
    pace: Pace,
    absence: Absence,
    limit: usize,
    verdict: Standing,
    payloads: usize,
}

impl<B> Lane<B> {
    pub(super) fn new(active: bool, unseen: Option<SteadyMillis>, limits: &Limits) -> Self {
        Self {
            gate: if active { Gate::Open } else { Gate::Shut },
            window: VecDeque::new(),
            sequence: None,
            away: Vec::new(),
            recording: 0,
            reserved: Vec::new(),
            unseen: unseen.map(|due| (due, FIRST_SPOT.1)),
            passed_over: None,
            page: None,
            page_failures: 0,
            page_after: SteadyMillis(0),
            paged_to: None,
            overtakes: 0,
            paused_until: SteadyMillis(0),
            pace: Pace::default(),
            absence: Absence::default(),
            limit: LIMIT_AT_START.min(limits.lane_in_flight_max).max(1),
            verdict: Standing::Fresh,
            payloads: 0,
        }
    }

    pub(super) fn windowed(&self) -> usize {
        match &self.sequence {
            None => self.window.len(),
            Some(sequence) => sequence.len(),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.away.len() - self.recording
    }

    pub(super) const fn recording(&self) -> usize {
        self.recording
    }

    pub(super) const fn payloads(&self) -> usize {
        self.payloads
    }

    pub(super) const fn gate(&self) -> Gate {
        self.gate
    }

    /// How many attempts may be in flight now.
    pub(super) fn concurrency(&self) -> usize {
        match self.verdict {
            Standing::Doubted if self.absence.probing() => 1,
            Standing::Fresh => self.limit.min(PROBES),
            Standing::Proven | Standing::Doubted => self.limit,
        }
    }

    pub(super) fn standing(&self, now: SteadyMillis) -> Standing {
        if self.long_at().is_some_and(|at| at <= now) {
            Standing::Doubted
        } else {
            self.verdict
        }
    }

    /// When the oldest attempt in flight will have been under way for long.
    fn long_at(&self) -> Option<SteadyMillis> {
        let oldest = self.away.iter().find(|flight| !flight.taken);
        oldest.map(|oldest| oldest.started.plus(LONG_MS))
    }

    /// How much the window is to hold.
    fn room(&self, limits: &Limits) -> usize {
        if let Some(sequence) = &self.sequence
            && matches!(sequence.order(), LaneOrder::Keyed(_))
        {
            // A few keys that wait for their retries are not to keep the others from coming in.
            return limits.window_max.max(1);
        }
        (self.limit.saturating_mul(WINDOW_PER_ATTEMPT))
            .max(WINDOW_MIN)
            .min(limits.window_max)
            .max(1)
    }

    /// Whether a delivery due then comes before all that is unseen.
    fn leads(&self, due: SteadyMillis) -> bool {
        self.unseen.is_none_or(|(unseen, _)| due <= unseen)
    }

    /// Whether a send could be granted, as far as this lane alone decides.
    pub(super) fn sendable(&self, now: SteadyMillis) -> bool {
        self.gate == Gate::Open
            && self.free_at() <= now
            && self.in_flight() < self.concurrency()
            && self.recording < self.concurrency() * RECORDING_PER_ATTEMPT
            && self.has_next(now)
            && self
                .page
                .as_ref()
                .is_none_or(|page| page.ended.len() < ENDED_MAX)
    }

    /// Whether there is something to be sent now.
    fn has_next(&self, now: SteadyMillis) -> bool {
        match &self.sequence {
            None => self.window.front().is_some_and(|front| {
                front.entry.due <= now
                    && (self.leads(front.entry.due) || self.overtakes < OVERTAKES_MAX)
            }),
            Some(sequence) => sequence.has_next(self.unseen, now),
        }
    }

    /// When to look at this lane again though nothing happens to it.
    pub(super) fn wake_at(&self, now: SteadyMillis, limits: &Limits) -> Option<SteadyMillis> {
        let ready_at = match (self.gate, &self.sequence) {
            (Gate::Shut | Gate::Closed, _) => None,
            (Gate::Open, None) => self.window.front().map(|front| front.entry.due),
            (Gate::Open, Some(sequence)) => sequence.ready_at(self.unseen),
        };
        let send_at = ready_at.map(|at| at.max(self.free_at()));
        [send_at, self.page_at(now, limits), self.long_at()]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    /// A delivery was committed.
    pub(super) fn arrive(&mut self, arrived: Waiting<B>, now: SteadyMillis, limits: &Limits) {
        let entry = arrived.entry;
        if let Some(sequence) = &self.sequence {
            if !sequence.contains(spot(&entry)) && !self.is_away(entry.event) {
                self.note(spot(&entry));
            }
            return;
        }
        if self.gate == Gate::Open && self.paged_to.is_none_or(|to| entry.event > to) {
            self.put(arrived, now, limits);
            return;
        }
        match self.seek(&entry) {
            Ok(at) => {
                if let Some(waiting) = self.window.get_mut(at)
                    && waiting.payload.is_none()
                    && arrived.payload.is_some()
                {
                    waiting.payload = arrived.payload;
                    self.payloads += 1;
                }
            }
            Err(_) if self.is_away(entry.event) => {}
            Err(_) => self.note(spot(&entry)),
        }
    }

    /// Puts a delivery that is pending into the window, or notes it.
    fn put(&mut self, waiting: Waiting<B>, now: SteadyMillis, limits: &Limits) {
        let entry = waiting.entry;
        let later = entry.due > now.plus(HORIZON_MS) || entry.not_before > now;
        if later || self.window.len() >= self.room(limits) {
            self.note(spot(&entry));
            return;
        }
        let last = self.window.back().map(Waiting::spot);
        let at = if last.is_none_or(|last| last < waiting.spot()) {
            self.window.len()
        } else {
            match self.seek(&entry) {
                Ok(_) => return,
                Err(at) => at,
            }
        };
        self.payloads += usize::from(waiting.payload.is_some());
        self.window.insert(at, waiting);
    }

    fn seek(&self, entry: &QueueEntry) -> Result<usize, usize> {
        self.window
            .binary_search_by_key(&spot(entry), Waiting::spot)
    }

    /// Whether it is known and not in the window.
    fn is_away(&self, event: Position) -> bool {
        self.away.iter().any(|flight| flight.event == event) || self.reserved.contains(&event)
    }

    /// Takes the delivery that is to be sent now. Ask [`Lane::sendable`] first.
    pub(super) fn grant(&mut self, now: SteadyMillis) -> Option<Waiting<B>> {
        let granted = match &mut self.sequence {
            None => self.window.pop_front()?,
            Some(sequence) => Waiting {
                entry: sequence.grant(self.unseen, now)?,
                payload: None,
            },
        };
        let entry = granted.entry;
        self.payloads -= usize::from(granted.payload.is_some());
        if !self.leads(entry.due) {
            self.overtakes += 1;
        }
        self.pace.count(now);
        if let Some(opened) = self.pace.resumed_at()
            && self.has_caught_up(opened)
        {
            self.pace.caught_up();
        }
        self.away.push(Flight {
            event: entry.event,
            due: entry.due,
            started: now,
            taken: false,
            tried: self.absence.begin(now),
            queued_anew: false,
        });
        self.release_memory();
        Some(granted)
    }

    /// Whether nothing that was due then waits any more.
    fn has_caught_up(&self, then: SteadyMillis) -> bool {
        let waits = match &self.sequence {
            None => self.window.front().is_some_and(|w| w.entry.due <= then),
            Some(sequence) => sequence.any_ready(then),
        };
        !waits && self.unseen.is_none_or(|(due, _)| due > then)
    }

    /// The receiver has taken a delivery, and another may be sent in its place; that it ended is told later.
    pub(super) fn taken(&mut self, event: Position, limits: &Limits) {
        let in_flight = self.in_flight();
        let flight = self.away.iter_mut().find(|flight| flight.event == event);
        if let Some(flight) = flight.filter(|flight| !flight.taken) {
            flight.taken = true;
            self.recording += 1;
            self.judge(Verdict::Success, false, in_flight, limits);
        }
    }

    /// An attempt ended; `false` if none was in flight for that event.
    pub(super) fn finish(
        &mut self,
        event: Position,
        report: Report,
        now: SteadyMillis,
        limits: &Limits,
    ) -> bool {
        let in_flight = self.in_flight();
        let Some(at) = self.away.iter().position(|f| f.event == event) else {
            return false;
        };
        let flight = self.away.remove(at);
        if let Some(page) = &mut self.page
            && flight.due <= page.until
        {
            page.ended.push((event, flight.due));
        }
        if flight.queued_anew {
            self.note(FIRST_SPOT);
        }
        let hold = match &mut self.sequence {
            None => None,
            Some(sequence) => sequence.free(event),
        };
        if let Some(entry) = report.queued {
            self.put_back(entry, hold, now, limits);
        }
        if flight.taken {
            self.recording -= 1;
        } else {
            self.judge(report.verdict, flight.tried, in_flight, limits);
        }
        true
    }

    /// Something that was out of the window is pending: in an ordered lane it takes its place again, if it is known
    /// what it holds up there; otherwise it is noted.
    fn put_back(
        &mut self,
        entry: QueueEntry,
        hold: Option<Hold>,
        now: SteadyMillis,
        limits: &Limits,
    ) {
        let soon = self.gate == Gate::Open && entry.due <= now.plus(HORIZON_MS);
        let (Some(sequence), Some(Hold::Key(key)), true) = (&mut self.sequence, hold, soon) else {
            self.note(spot(&entry));
            return;
        };
        sequence.insert(entry, key);
        if let Some(place) = sequence.trim(limits.window_max.max(1)) {
            self.note(place);
        }
    }

    /// Takes in what an attempt says about the receiver, with so many in flight, itself included. `tried`: it was made
    /// to see whether anybody is there.
    fn judge(&mut self, verdict: Verdict, tried: bool, in_flight: usize, limits: &Limits) {
        match verdict {
            Verdict::Success | Verdict::Failure | Verdict::Refusal => self.absence.over(),
            Verdict::Absent => self.absence.met_nobody(tried),
            Verdict::Neutral => {}
        }
        match verdict {
            Verdict::Success => {
                // It grows only while it is used: else a quiet lane would earn a burst of hundreds.
                if in_flight >= self.limit && self.limit < limits.lane_in_flight_max {
                    self.limit += 1;
                }
                self.verdict = Standing::Proven;
            }
            Verdict::Failure | Verdict::Absent => {
                self.limit = (self.limit / 2).max(1);
                self.verdict = Standing::Doubted;
            }
            Verdict::Refusal | Verdict::Neutral => {}
        }
    }

    /// Opens or shuts the gate. What waits in the window goes back to being on disk only: while it is held,
    /// others may end it. What was held flows again at a bounded rate.
    pub(super) fn turn_gate(&mut self, gate: Gate, now: SteadyMillis, limits: &Limits) {
        if gate == Gate::Open && self.gate != Gate::Open {
            self.pace.resume(limits.resume_per_second, now);
        }
        self.gate = gate;
        if gate != Gate::Open {
            self.pace.caught_up();
            self.put_down();
        }
        if gate == Gate::Closed {
            self.reserved = Vec::new();
            if let Some(sequence) = &mut self.sequence {
                let away = &self.away;
                sequence.keep_held(|event| away.iter().any(|flight| flight.event == event));
            }
        }
    }

    /// What waits in the window goes back to being on disk only.
    fn put_down(&mut self) {
        let first = match &mut self.sequence {
            None => self.window.front().map(Waiting::spot),
            Some(sequence) => sequence.first(),
        };
        if let Some(first) = first {
            self.note(first);
        }
        self.window = VecDeque::new();
        if let Some(sequence) = &mut self.sequence {
            sequence.put_down();
        }
        self.payloads = 0;
    }

    /// Sends in another order from now on. What has been begun holds up everything until it is over: whose turn it
    /// was is not known any more. The queue is looked at from its first key.
    pub(super) fn set_order(&mut self, order: LaneOrder) {
        let before = self
            .sequence
            .as_ref()
            .map_or(LaneOrder::None, |s| s.order());
        if order == before {
            return;
        }
        self.put_down();
        let away = self.away.iter().map(|flight| flight.event);
        let away = away.chain(self.reserved.iter().copied());
        self.sequence = (order != LaneOrder::None).then(|| Box::new(Sequence::new(order, away)));
        self.passed_over = None;
        self.note(FIRST_SPOT);
    }

    /// Takes a delivery out of the scheduler's hands; `false` if it is in flight or reserved already.
    pub(super) fn reserve(&mut self, event: Position) -> bool {
        if self.is_away(event) || self.reserved.len() >= RESERVED_MAX {
            return false;
        }
        if let Some(sequence) = &mut self.sequence {
            sequence.reserve(event);
        } else if let Some(at) = self.window.iter().position(|w| w.entry.event == event)
            && let Some(taken) = self.window.remove(at)
        {
            self.payloads -= usize::from(taken.payload.is_some());
        }
        self.paged_to = self.paged_to.max(Some(event));
        self.reserved.push(event);
        true
    }

    /// Ends a reservation: with the delivery as it now stands in the queue, or `None` to look there.
    pub(super) fn release(
        &mut self,
        event: Position,
        entry: Option<QueueEntry>,
        now: SteadyMillis,
        limits: &Limits,
    ) {
        if entry.is_some_and(|entry| entry.trigger == Trigger::Manual) {
            // Whoever asks for it by hand wants to know now.
            self.absence.waive();
        }
        let Some(at) = self.reserved.iter().position(|held| *held == event) else {
            // The lane was closed and opened again in between; what was committed is on disk all the same.
            self.note(entry.as_ref().map_or(FIRST_SPOT, spot));
            return;
        };
        self.reserved.swap_remove(at);
        if let Some(page) = &mut self.page {
            // Where it stood is not known here.
            page.ended.push((event, SteadyMillis(u64::MAX)));
        }
        let hold = match &mut self.sequence {
            None => None,
            Some(sequence) => sequence.free(event),
        };
        match entry {
            Some(entry) if self.gate == Gate::Open && self.sequence.is_none() => {
                let payload = None;
                self.put(Waiting { entry, payload }, now, limits);
            }
            Some(entry) => self.put_back(entry, hold, now, limits),
            None => self.note(FIRST_SPOT),
        }
    }

    /// Gives back what a burst took, when it is over. Small buffers stay: they are used again at once.
    fn release_memory(&mut self) {
        if self.window.is_empty() && self.window.capacity() > WINDOW_MIN {
            self.window = VecDeque::new();
        }
    }

    /// Whether a closed lane has nothing left to wait for.
    pub(super) fn is_over(&self) -> bool {
        self.gate == Gate::Closed && self.away.is_empty() && self.page.is_none()
    }
}
