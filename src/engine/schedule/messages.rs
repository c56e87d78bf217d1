//! What the core and its shell tell each other.

use crate::model::{Position, QueueEntry, SteadyMillis, WebhookId};

use super::{LaneOrder, Standing};

/// A place in a lane's queue. Places are ordered as the queue is.
pub type Spot = (SteadyMillis, Position);

/// Before every place in a queue.
pub const FIRST_SPOT: Spot = (
    SteadyMillis(0),
    Position {
        segment: 0,
        offset: 0,
    },
);

/// The place of an entry.
pub(super) const fn spot(entry: &QueueEntry) -> Spot {
    (entry.due, entry.event)
}

/// The place right behind another.
pub(super) fn behind((due, event): Spot) -> Spot {
    (due, event.next())
}

/// The bounds of the scheduler. A zero counts as one, but for `resume_per_second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attempts in flight at once, over all lanes.
    pub in_flight_max: usize,
    /// Attempts in flight at once in one lane, when its receiver does well.
    pub lane_in_flight_max: usize,
    /// Waiting deliveries in one lane's window.
    pub window_max: usize,
    /// A window with fewer is low: the lane reads its next page.
    pub page_low: usize,
    /// Page reads open at once, over all lanes; bounds what answers may hold in memory.
    pub pages_max: usize,
    /// Payloads kept in windows, over all lanes; beyond it deliveries wait without and are read back.
    pub payloads_max: usize,
    /// Attempts begun in a second in a lane whose gate was shut, until it has caught up. Zero: no bound.
    pub resume_per_second: u32,
}

impl Limits {
    /// What is recorded at once, over all lanes: what an attempt keeps for it is in memory.
    pub(super) fn recording_max(&self) -> usize {
        self.in_flight_max.max(1)
    }

    /// The most attempts that can be under way: each one in flight may end while as many as may be are recorded.
    #[must_use]
    pub fn under_way_max(&self) -> usize {
        self.in_flight_max.max(1) + self.recording_max()
    }
}

/// Something to be carried out by the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<B> {
    /// Make an attempt, and report its end by [`Core::finished`](super::Core::finished).
    Send {
        /// The lane.
        webhook: WebhookId,
        /// The delivery, as its queue key says.
        entry: QueueEntry,
        /// What came with the hint; `None` when it came from a page, or there was no room for it.
        payload: Option<B>,
    },
    /// Read the lane's queue from `from` on to what is due at `until`, both included, at most `limit` entries;
    /// answer by [`Core::paged`](super::Core::paged) or [`Core::page_failed`](super::Core::page_failed).
    ReadPage {
        /// The lane.
        webhook: WebhookId,
        /// Names the read in its answer.
        ticket: u64,
        /// Nothing before it is wanted.
        from: Spot,
        /// Nothing due later is wanted. It is a little ahead of now.
        until: SteadyMillis,
        /// The most entries to return.
        limit: usize,
    },
}

/// The answer to a page read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries found, in order of due time and event.
    pub entries: Vec<QueueEntry>,
    /// The due time of the first key behind the last entry returned, also if it is after `until`.
    pub next_due: Option<SteadyMillis>,
    /// The order that its webhook had when the page was read.
    pub order: LaneOrder,
    /// Of each entry, in a lane ordered by key: those of the same key wait for each other. Empty in others.
    pub keys: Vec<u64>,
}

/// How an attempt ended, as far as the schedule is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The delivery as it stands in the queue now; `None`: it is not in the queue any more.
    pub queued: Option<QueueEntry>,
    /// What it says about the receiver.
    pub verdict: Verdict,
}

/// What an attempt says about its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes deliveries: more may be in flight.
    Success,
    /// It says that it fails or has too much to do: fewer may be in flight.
    Failure,
    /// Nobody is there, or answers: fewer may be in flight, and after some of these in a row only one, now and then.
    Absent,
    /// It is there, and refused this one: nothing about others.
    Refusal,
    /// Nothing: the attempt was cut off by us, or not made.
    Neutral,
}

/// What one lane holds, for statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneFigures {
    /// Deliveries in its window.
    pub windowed: usize,
    /// Attempts in flight.
    pub in_flight: usize,
    /// Attempts that may be in flight.
    pub concurrency: usize,
    /// How its receiver did lately.
    pub standing: Standing,
    /// Whether its receiver seems not to be there, and is only tried now and then.
    pub probing: bool,
    /// Until when it sends nothing, and why. `None`: it may send now, as far as time decides.
    pub paused: Option<(SteadyMillis, Pause)>,
}

/// Why a lane sends nothing for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Its receiver asked for it (`Retry-After`).
    Asked,
    /// A rate is used up, or what was held flows slowly.
    Rate,
    /// Its receiver is not there, and is only tried now and then.
    Absent,
}
