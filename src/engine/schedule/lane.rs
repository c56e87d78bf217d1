//! One webhook's lane: its window on the queue, its concurrency, its gate.
//!
//! The queue is on disk; a lane *knows* those deliveries of it that are in its window, in flight, or
//! reserved. What it does not know it bounds from below by one time, `unseen`. Invariant: a pending
//! delivery of the lane that has been committed and hinted at is known, or is due at `unseen` or later,
//! or came after the open page read was asked for and is noted there. `None` says that there is none.
//!
//! A page read runs beside commits, so its answer is a picture of some instant since it was asked for.
//! Three rules keep it from bringing a delivery that is not there any more:
//! - what ended or was moved while the page was open is skipped in its answer;
//! - what is known is skipped;
//! - a hint for an event no later than the latest one that came by a page or was reserved may be a hint
//!   overtaken by that page, for a delivery that has ended since: it is noted, and the next page tells.
//!
//! A lane never reads a clock and decides nothing about other lanes; the core compares it with them.

use std::collections::VecDeque;

use crate::model::{Position, QueueEntry, SteadyMillis};

use super::rate::{Pace, Rates};
use super::turns::Standing;
use super::{Limits, Page, Report, Verdict};

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
/// The wait after a first failed page read, doubled by each further one.
const PAGE_BACKOFF_MS: u64 = 100;
/// The longest wait after failed page reads.
const PAGE_BACKOFF_MAX_MS: u64 = 10_000;

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
    const fn key(&self) -> (SteadyMillis, Position) {
        (self.entry.due, self.entry.event)
    }
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    event: Position,
    due: SteadyMillis,
    started: SteadyMillis,
    /// The receiver has taken it, and that is being recorded.
    taken: bool,
}

#[derive(Debug)]
struct OpenPage {
    ticket: u64,
    until: SteadyMillis,
    /// The earliest due time of what came onto the disk unknown since the page was asked for.
    noted: Option<SteadyMillis>,
    /// What ended or moved since then and may still be in the answer.
    ended: Vec<Position>,
}

/// A page read to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageRead {
    pub(super) from: SteadyMillis,
    pub(super) until: SteadyMillis,
    pub(super) limit: usize,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Lane<B> {
    gate: Gate,
    /// Sorted by due time and event.
    window: VecDeque<Waiting<B>>,
    /// In flight or being recorded, in the order granted, so the first is the oldest.
    away: Vec<Flight>,
    /// How many of them are being recorded.
    recording: usize,
    reserved: Vec<Position>,
    unseen: Option<SteadyMillis>,
    page: Option<OpenPage>,
    page_failures: u32,
    page_after: SteadyMillis,
    /// The latest event that came by a page or was reserved.
    paged_to: Option<Position>,
    overtakes: usize,
    paused_until: SteadyMillis,
    pace: Pace,
    limit: usize,
    verdict: Standing,
    payloads: usize,
}

fn lower(bound: &mut Option<SteadyMillis>, due: SteadyMillis) {
    *bound = Some(bound.map_or(due, |earlier| earlier.min(due)));
}

impl<B> Lane<B> {
    pub(super) fn new(active: bool, unseen: Option<SteadyMillis>, limits: &Limits) -> Self {
        Self {
            gate: if active { Gate::Open } else { Gate::Shut },
            window: VecDeque::new(),
            away: Vec::new(),
            recording: 0,
            reserved: Vec::new(),
            unseen,
            page: None,
            page_failures: 0,
            page_after: SteadyMillis(0),
            paged_to: None,
            overtakes: 0,
            paused_until: SteadyMillis(0),
            pace: Pace::default(),
            limit: LIMIT_AT_START.min(limits.lane_in_flight_max).max(1),
            verdict: Standing::Fresh,
            payloads: 0,
        }
    }

    pub(super) fn windowed(&self) -> usize {
        self.window.len()
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
        (self.limit.saturating_mul(WINDOW_PER_ATTEMPT))
            .max(WINDOW_MIN)
            .min(limits.window_max)
            .max(1)
    }

    /// Whether a delivery due then comes before all that is unseen.
    fn leads(&self, due: SteadyMillis) -> bool {
        self.unseen.is_none_or(|unseen| due <= unseen)
    }

    /// Whether the part of the window that comes before all that is unseen runs low.
    fn low(&self, limits: &Limits) -> bool {
        let mark = limits.page_low.min(self.room(limits) / 4).max(1);
        self.window
            .get(mark - 1)
            .is_none_or(|waiting| !self.leads(waiting.entry.due))
    }

    /// From when on the lane may send, as pause and rates have it.
    fn free_at(&self) -> SteadyMillis {
        self.paused_until.max(self.pace.free_at())
    }

    /// Whether a send could be granted, as far as this lane alone decides.
    pub(super) fn sendable(&self, now: SteadyMillis) -> bool {
        self.gate == Gate::Open
            && self.free_at() <= now
            && self.in_flight() < self.concurrency()
            && self.recording < self.concurrency() * RECORDING_PER_ATTEMPT
            && self.window.front().is_some_and(|front| {
                front.entry.due <= now
                    && (self.leads(front.entry.due) || self.overtakes < OVERTAKES_MAX)
            })
            && self
                .page
                .as_ref()
                .is_none_or(|page| page.ended.len() < ENDED_MAX)
    }

    /// When a page is to be read; a time that has passed means now.
    fn page_at(&self, limits: &Limits) -> Option<SteadyMillis> {
        let unseen = self.unseen?;
        (self.gate == Gate::Open && self.page.is_none() && self.low(limits))
            .then(|| unseen.max(self.page_after).max(self.free_at()))
    }

    pub(super) fn wants_page(&self, now: SteadyMillis, limits: &Limits) -> bool {
        self.page_at(limits).is_some_and(|at| at <= now)
    }

    /// When to look at this lane again though nothing happens to it.
    pub(super) fn wake_at(&self, now: SteadyMillis, limits: &Limits) -> Option<SteadyMillis> {
        let send_at = match (self.gate, self.window.front()) {
            (Gate::Open, Some(front)) => Some(front.entry.due.max(self.free_at())),
            _ => None,
        };
        [send_at, self.page_at(limits), self.long_at()]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    /// Notes that something unknown is on disk, due then or later.
    pub(super) fn note(&mut self, due: SteadyMillis) {
        match &mut self.page {
            Some(page) => lower(&mut page.noted, due),
            None => lower(&mut self.unseen, due),
        }
    }

    /// A delivery was committed.
    pub(super) fn arrive(&mut self, arrived: Waiting<B>, now: SteadyMillis, limits: &Limits) {
        let entry = arrived.entry;
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
            Err(_) => self.note(entry.due),
        }
    }

    /// Puts a delivery that is pending into the window, or notes it.
    fn put(&mut self, waiting: Waiting<B>, now: SteadyMillis, limits: &Limits) {
        let entry = waiting.entry;
        if entry.due > now.plus(HORIZON_MS) || self.window.len() >= self.room(limits) {
            self.note(entry.due);
            return;
        }
        let last = self.window.back().map(Waiting::key);
        let at = if last.is_none_or(|last| last < waiting.key()) {
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
            .binary_search_by_key(&(entry.due, entry.event), Waiting::key)
    }

    /// Whether it is known and not in the window.
    fn is_away(&self, event: Position) -> bool {
        self.away.iter().any(|flight| flight.event == event) || self.reserved.contains(&event)
    }

    /// Takes the first delivery of the window to be sent now. Ask [`Lane::sendable`] first.
    pub(super) fn grant(&mut self, now: SteadyMillis) -> Option<Waiting<B>> {
        let granted = self.window.pop_front()?;
        let entry = granted.entry;
        self.payloads -= usize::from(granted.payload.is_some());
        if !self.leads(entry.due) {
            self.overtakes += 1;
        }
        self.pace.count(now);
        self.away.push(Flight {
            event: entry.event,
            due: entry.due,
            started: now,
            taken: false,
        });
        self.release_memory();
        Some(granted)
    }

    /// The receiver has taken a delivery, and another may be sent in its place; that it ended is told later.
    pub(super) fn taken(&mut self, event: Position, limits: &Limits) {
        let in_flight = self.in_flight();
        let flight = self.away.iter_mut().find(|flight| flight.event == event);
        if let Some(flight) = flight.filter(|flight| !flight.taken) {
            flight.taken = true;
            self.recording += 1;
            self.judge(Verdict::Success, in_flight, limits);
        }
    }

    /// An attempt ended; `false` if none was in flight for that event.
    pub(super) fn finish(&mut self, event: Position, report: Report, limits: &Limits) -> bool {
        let in_flight = self.in_flight();
        let Some(at) = self.away.iter().position(|f| f.event == event) else {
            return false;
        };
        let flight = self.away.remove(at);
        if let Some(page) = &mut self.page
            && flight.due <= page.until
        {
            page.ended.push(event);
        }
        if let Some(due) = report.retry_at {
            self.note(due);
        }
        if flight.taken {
            self.recording -= 1;
        } else {
            self.judge(report.verdict, in_flight, limits);
        }
        true
    }

    /// Takes in what an attempt says about the receiver, with so many in flight, itself included.
    fn judge(&mut self, verdict: Verdict, in_flight: usize, limits: &Limits) {
        match verdict {
            Verdict::Success => {
                // It grows only while it is used: else a quiet lane would earn a burst of hundreds.
                if in_flight >= self.limit && self.limit < limits.lane_in_flight_max {
                    self.limit += 1;
                }
                self.verdict = Standing::Proven;
            }
            Verdict::Failure => {
                self.limit = (self.limit / 2).max(1);
                self.verdict = Standing::Doubted;
            }
            Verdict::Neutral => {}
        }
    }

    /// What page to read now; the page is open from here until its answer.
    pub(super) fn open_page(
        &mut self,
        ticket: u64,
        now: SteadyMillis,
        limits: &Limits,
    ) -> PageRead {
        let unseen = self.unseen.unwrap_or(now);
        let until = now.plus(HORIZON_MS);
        let leading = self
            .window
            .partition_point(|waiting| waiting.entry.due <= unseen);
        self.page = Some(OpenPage {
            ticket,
            until,
            noted: None,
            ended: Vec::new(),
        });
        PageRead {
            from: unseen,
            until,
            limit: self.room(limits).saturating_sub(leading).max(1)
                + self.away.len()
                + self.reserved.len(),
        }
    }

    fn close_page(&mut self, ticket: u64) -> Option<OpenPage> {
        self.page.take_if(|page| page.ticket == ticket)
    }

    /// The answer to the page read with this ticket; `false` if that is not the open one.
    pub(super) fn take_page(&mut self, ticket: u64, page: Page, limits: &Limits) -> bool {
        let Some(open) = self.close_page(ticket) else {
            return false;
        };
        self.page_failures = 0;
        self.overtakes = 0;
        let mut unseen = page.next_due;
        if let Some(due) = open.noted {
            lower(&mut unseen, due);
        }
        let mut skipped = open.ended;
        skipped.extend(self.away.iter().map(|flight| flight.event));
        skipped.extend_from_slice(&self.reserved);
        skipped.extend(self.window.iter().map(|waiting| waiting.entry.event));
        skipped.sort_unstable();
        for entry in page.entries {
            if skipped.binary_search(&entry.event).is_ok() {
                continue;
            }
            if self.gate != Gate::Open || entry.due > open.until {
                lower(&mut unseen, entry.due);
                continue;
            }
            self.paged_to = self.paged_to.max(Some(entry.event));
            self.window.push_back(Waiting {
                entry,
                payload: None,
            });
        }
        self.window
            .make_contiguous()
            .sort_unstable_by_key(Waiting::key);
        // What arrived behind the older ones gives way to them and comes back by a later page.
        for evicted in self
            .window
            .drain(limits.window_max.max(1).min(self.window.len())..)
        {
            self.payloads -= usize::from(evicted.payload.is_some());
            lower(&mut unseen, evicted.entry.due);
        }
        self.unseen = unseen;
        true
    }

    /// The page read with this ticket failed; `false` if that is not the open one.
    pub(super) fn fail_page(&mut self, ticket: u64, now: SteadyMillis) -> bool {
        let Some(open) = self.close_page(ticket) else {
            return false;
        };
        if let Some(due) = open.noted {
            lower(&mut self.unseen, due);
        }
        let wait = PAGE_BACKOFF_MS
            .checked_shl(self.page_failures)
            .map_or(PAGE_BACKOFF_MAX_MS, |wait| wait.min(PAGE_BACKOFF_MAX_MS));
        self.page_after = now.plus(wait);
        self.page_failures = self.page_failures.saturating_add(1).min(16);
        true
    }

    /// Opens or shuts the gate. What waits in the window goes back to being on disk only: while it is held,
    /// others may end it.
    pub(super) fn turn_gate(&mut self, gate: Gate) {
        self.gate = gate;
        if gate != Gate::Open {
            if let Some(front) = self.window.front() {
                self.note(front.entry.due);
            }
            self.window = VecDeque::new();
            self.payloads = 0;
        }
        if gate == Gate::Closed {
            self.reserved = Vec::new();
        }
    }

    /// Sends nothing before `until`.
    pub(super) fn pause(&mut self, until: SteadyMillis) {
        self.paused_until = until;
    }

    /// Sets the lane's rates.
    pub(super) const fn set_rates(&mut self, rates: Rates) {
        self.pace.set(rates);
    }

    /// Takes a delivery out of the scheduler's hands; `false` if it is in flight or reserved already.
    pub(super) fn reserve(&mut self, event: Position) -> bool {
        if self.is_away(event) || self.reserved.len() >= RESERVED_MAX {
            return false;
        }
        if let Some(at) = self.window.iter().position(|w| w.entry.event == event)
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
        let Some(at) = self.reserved.iter().position(|held| *held == event) else {
            // The lane was closed and opened again in between; what was committed is on disk all the same.
            self.note(entry.map_or(SteadyMillis(0), |entry| entry.due));
            return;
        };
        self.reserved.swap_remove(at);
        if let Some(page) = &mut self.page {
            page.ended.push(event);
        }
        match entry {
            Some(entry) if self.gate == Gate::Open => {
                let payload = None;
                self.put(Waiting { entry, payload }, now, limits);
            }
            Some(entry) => self.note(entry.due),
            None => self.note(SteadyMillis(0)),
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
