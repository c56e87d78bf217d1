//! What a lane does not know: where that begins, and the pages that bring it.
//!
//! A page read runs beside commits, so its answer is a picture of some instant since it was asked for. What keeps it
//! from bringing a delivery that is not there any more stands in the lane's description. Each page brings something
//! new, or moves on what is unseen, so no lane reads for ever.

use crate::model::{Position, QueueEntry, SteadyMillis};

use super::super::messages::{FIRST_SPOT, Page, Spot, behind, spot};
use super::super::{LaneOrder, Limits};
use super::{Gate, HORIZON_MS, Lane, Waiting};

/// The wait after a first failed page read, doubled by each further one.
const PAGE_BACKOFF_MS: u64 = 100;
/// The longest wait after failed page reads.
const PAGE_BACKOFF_MAX_MS: u64 = 10_000;

#[derive(Debug)]
pub(super) struct OpenPage {
    ticket: u64,
    pub(super) until: SteadyMillis,
    /// The first place of what came onto the disk unknown since the page was asked for.
    noted: Option<Spot>,
    /// What ended or moved since then and may still be in the answer, and the due time that it had.
    pub(super) ended: Vec<(Position, SteadyMillis)>,
}

/// What of a page's answer is known already.
struct Known {
    /// Sorted: whatever is not to be taken from the page.
    skipped: Vec<Position>,
    /// Sorted: of these what ended meanwhile, with the due time that it had.
    ended: Vec<(Position, SteadyMillis)>,
    /// Nothing due later is taken from it.
    until: SteadyMillis,
}

/// A page read to be made.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine::schedule) struct PageRead {
    pub(in crate::engine::schedule) from: Spot,
    pub(in crate::engine::schedule) until: SteadyMillis,
    pub(in crate::engine::schedule) limit: usize,
}

/// Deliveries that pages have passed over: their places have come, but an order that the webhook no longer has lets
/// them wait there for their retries.
#[derive(Debug)]
pub(super) struct PassedOver {
    /// The first of their places.
    from: Spot,
    /// When the first of them is ready.
    ready_at: SteadyMillis,
}

impl PassedOver {
    /// When to look at them again. A little late, so that they are read through once a second at most.
    const fn look_at(&self) -> SteadyMillis {
        self.ready_at.plus(HORIZON_MS)
    }
}

fn lower(bound: &mut Option<Spot>, place: Spot) {
    *bound = Some(bound.map_or(place, |earlier| earlier.min(place)));
}

/// Where what comes behind a page begins.
fn rest(page: &Page) -> Option<Spot> {
    let due = page.next_due?;
    match page.entries.last() {
        Some(last) if last.due == due => Some(behind(spot(last))),
        Some(_) | None => Some((due, FIRST_SPOT.1)),
    }
}

impl<B> Lane<B> {
    /// Whether what comes before all that is unseen runs low.
    fn low(&self, now: SteadyMillis, limits: &Limits) -> bool {
        let room = self.room(limits);
        let mark = limits.page_low.min(room / 4).max(1);
        let Some(sequence) = &self.sequence else {
            let last = self.window.get(mark - 1);
            return last.is_none_or(|waiting| !self.leads(waiting.entry.due));
        };
        let leading = sequence.leading(self.unseen);
        match sequence.order() {
            LaneOrder::None | LaneOrder::Fifo => leading < mark,
            // It is filled up where nothing in it can go: another key may come next.
            LaneOrder::Keyed(_) => {
                leading < room
                    && (room - leading >= (room / 4).max(1) || !sequence.has_next(self.unseen, now))
            }
        }
    }

    /// When a page is to be read; a time that has passed means now.
    pub(super) fn page_at(&self, now: SteadyMillis, limits: &Limits) -> Option<SteadyMillis> {
        let unseen = self.unseen.map(|(due, _)| due);
        let at = match (unseen, &self.passed_over) {
            (None, None) => return None,
            (Some(due), None) => due,
            (None, Some(passed)) => passed.look_at(),
            (Some(due), Some(passed)) => due.min(passed.look_at()),
        };
        (self.gate == Gate::Open && self.page.is_none() && self.low(now, limits))
            .then(|| at.max(self.page_after).max(self.free_at()))
    }

    pub(in crate::engine::schedule) fn wants_page(
        &self,
        now: SteadyMillis,
        limits: &Limits,
    ) -> bool {
        self.page_at(now, limits).is_some_and(|at| at <= now)
    }

    /// Notes that something unknown is on disk, at that place or behind it.
    pub(in crate::engine::schedule) fn note(&mut self, place: Spot) {
        if let Some(page) = &mut self.page {
            lower(&mut page.noted, place);
            // In an ordered lane nothing behind it is sent before it.
            if self.sequence.is_none() {
                return;
            }
        }
        lower(&mut self.unseen, place);
    }

    /// What page to read now; the page is open from here until its answer.
    pub(in crate::engine::schedule) fn open_page(
        &mut self,
        ticket: u64,
        now: SteadyMillis,
        limits: &Limits,
    ) -> PageRead {
        if let Some(passed) = self.passed_over.take_if(|passed| passed.look_at() <= now) {
            lower(&mut self.unseen, passed.from);
        }
        let mut from = self.unseen.unwrap_or((now, FIRST_SPOT.1));
        let until = now.plus(HORIZON_MS);
        let (leading, again) = match &self.sequence {
            None => (self.window.partition_point(|w| w.entry.due <= from.0), 0),
            Some(sequence) => {
                from = from.min(sequence.shown_to());
                let again = sequence.len() - sequence.leading(Some(from));
                (sequence.leading(self.unseen), again)
            }
        };
        self.page = Some(OpenPage {
            ticket,
            until,
            noted: None,
            ended: Vec::new(),
        });
        PageRead {
            from,
            until: until.max(from.0),
            limit: self.room(limits).saturating_sub(leading).max(1)
                + again
                + self.away.len()
                + self.reserved.len(),
        }
    }

    fn close_page(&mut self, ticket: u64) -> Option<OpenPage> {
        self.page.take_if(|page| page.ticket == ticket)
    }

    /// The answer to the page read with this ticket; `false` if that is not the open one.
    pub(in crate::engine::schedule) fn take_page(
        &mut self,
        ticket: u64,
        page: Page,
        now: SteadyMillis,
        limits: &Limits,
    ) -> bool {
        let order = self.sequence.as_ref().map(|sequence| sequence.order());
        if order.is_some_and(|order| order != page.order) {
            // Its keys are made of something else.
            return self.fail_page(ticket, now);
        }
        let Some(open) = self.close_page(ticket) else {
            return false;
        };
        self.page_failures = 0;
        self.overtakes = 0;
        self.unseen = rest(&page);
        if let Some(place) = open.noted {
            lower(&mut self.unseen, place);
        }
        let (mut ended, until) = (open.ended, open.until);
        ended.sort_unstable();
        let mut skipped: Vec<Position> = ended.iter().map(|(event, _)| *event).collect();
        skipped.extend(self.away.iter().map(|flight| flight.event));
        skipped.extend_from_slice(&self.reserved);
        match &self.sequence {
            None => skipped.extend(self.window.iter().map(|waiting| waiting.entry.event)),
            Some(sequence) => skipped.extend(sequence.events()),
        }
        skipped.sort_unstable();
        let known = Known {
            skipped,
            ended,
            until,
        };
        self.merge(&page, &known, now);
        self.order_window(page.entries.last(), limits);
        true
    }

    /// Takes in a page's entries but for what is known.
    fn merge(&mut self, page: &Page, known: &Known, now: SteadyMillis) {
        for (at, entry) in page.entries.iter().enumerate() {
            let (entry, place) = (*entry, spot(entry));
            let told = page.keys.get(at).copied();
            if known.skipped.binary_search(&entry.event).is_ok() {
                self.look_out_for(&entry, known);
                if let Some(sequence) = &mut self.sequence {
                    sequence.learn(entry.event, sequence.key(told));
                }
                continue;
            }
            if self.gate != Gate::Open || entry.due > known.until {
                lower(&mut self.unseen, place);
                continue;
            }
            self.paged_to = self.paged_to.max(Some(entry.event));
            if let Some(sequence) = &mut self.sequence {
                sequence.push(entry, sequence.key(told));
                continue;
            }
            if entry.not_before > now {
                self.pass_over(place, entry.not_before);
                continue;
            }
            self.window.push_back(Waiting {
                entry,
                payload: None,
            });
        }
    }

    /// What a page brings though it is known may have been queued anew, by others, after what is known of it had ended:
    /// its due time tells. Then it is looked for again, once that end is known here.
    fn look_out_for(&mut self, entry: &QueueEntry, known: &Known) {
        let mut away = self.away.iter_mut();
        if let Some(flight) = away.find(|flight| flight.event == entry.event) {
            if flight.due != entry.due {
                flight.queued_anew = true;
            }
            return;
        }
        let from = known
            .ended
            .partition_point(|(event, _)| *event < entry.event);
        let ended = known.ended.get(from..).unwrap_or_default();
        let mut ended = ended.iter().take_while(|(event, _)| *event == entry.event);
        if ended.any(|(_, due)| *due != entry.due) {
            lower(&mut self.unseen, spot(entry));
        }
    }

    fn pass_over(&mut self, place: Spot, ready_at: SteadyMillis) {
        let from = place;
        let passed = self
            .passed_over
            .get_or_insert_with(|| Box::new(PassedOver { from, ready_at }));
        passed.from = passed.from.min(from);
        passed.ready_at = passed.ready_at.min(ready_at);
    }

    /// Sorts the window. What arrived behind the older ones gives way to them and comes back by a later page.
    fn order_window(&mut self, last: Option<&QueueEntry>, limits: &Limits) {
        let window_max = limits.window_max.max(1);
        if let Some(sequence) = &mut self.sequence {
            sequence.settle(last);
            if let Some(place) = sequence.trim(window_max) {
                lower(&mut self.unseen, place);
            }
            return;
        }
        self.window
            .make_contiguous()
            .sort_unstable_by_key(Waiting::spot);
        for evicted in self.window.drain(window_max.min(self.window.len())..) {
            self.payloads -= usize::from(evicted.payload.is_some());
            lower(&mut self.unseen, evicted.spot());
        }
    }

    /// The page read with this ticket failed; `false` if that is not the open one.
    pub(in crate::engine::schedule) fn fail_page(
        &mut self,
        ticket: u64,
        now: SteadyMillis,
    ) -> bool {
        let Some(open) = self.close_page(ticket) else {
            return false;
        };
        if let Some(place) = open.noted {
            lower(&mut self.unseen, place);
        }
        let wait = PAGE_BACKOFF_MS
            .checked_shl(self.page_failures)
            .map_or(PAGE_BACKOFF_MAX_MS, |wait| wait.min(PAGE_BACKOFF_MAX_MS));
        self.page_after = now.plus(wait);
        self.page_failures = self.page_failures.saturating_add(1).min(16);
        true
    }
}
