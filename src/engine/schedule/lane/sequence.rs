//! What an ordered lane keeps in its window's place: which delivery waits for which.
//!
//! Deliveries of one key go one after the other, each only when the one before it has ended; those of different keys
//! do not wait for each other. In a lane that is first in, first out all have the same key.
//!
//! Invariants:
//! - An entry is its key's *head* if and only if nothing of its key comes before it in the window, is under way, or is
//!   reserved. Only heads are sent, and only what comes before all that the lane has not seen: the part of the
//!   window that *leads* is a beginning of the queue. So the queue's order is the order.
//! - What is under way, being recorded or reserved holds its key's place until the lane is told that it is over.

use std::collections::{HashSet, VecDeque};

use crate::model::{Position, QueueEntry, SteadyMillis};

use super::super::messages::{FIRST_SPOT, Spot, behind, spot};

/// In which order a lane sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LaneOrder {
    /// As they are due, several at once.
    #[default]
    None,
    /// One after the other.
    Fifo,
    /// One after the other among those of one key. The number stands for what the keys are made of: keys that are
    /// made of something else say nothing beside them.
    Keyed(u64),
}

/// A delivery in the window.
#[derive(Clone, Copy, Debug)]
struct InLine {
    entry: QueueEntry,
    key: u64,
    head: bool,
}

/// What is kept from being sent by something that is under way or reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Those of its key.
    Key(u64),
    /// Its key is not known, as no page has brought it yet: so it comes after all that leads, and holds nothing of it.
    Unseen,
    /// Everything: it was begun when the lane had another order.
    All,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Sequence {
    order: LaneOrder,
    /// Sorted by place.
    window: VecDeque<InLine>,
    held: Vec<(Position, Hold)>,
    /// Behind the last place that a page has shown. Pages are read from here at the latest: hints come in any order,
    /// and what is told of first may be the later one.
    shown_to: Spot,
}

impl Sequence {
    /// Nothing is known yet; `away` was begun under another order.
    pub(super) fn new(order: LaneOrder, away: impl Iterator<Item = Position>) -> Self {
        Self {
            order,
            window: VecDeque::new(),
            held: away.map(|event| (event, Hold::All)).collect(),
            shown_to: FIRST_SPOT,
        }
    }

    pub(super) const fn order(&self) -> LaneOrder {
        self.order
    }

    pub(super) fn len(&self) -> usize {
        self.window.len()
    }

    /// Deliveries that come before all that is unseen.
    pub(super) fn leading(&self, unseen: Option<Spot>) -> usize {
        match unseen {
            Some(unseen) => self
                .window
                .partition_point(|waiting| spot(&waiting.entry) < unseen),
            None => self.window.len(),
        }
    }

    pub(super) const fn shown_to(&self) -> Spot {
        self.shown_to
    }

    pub(super) fn first(&self) -> Option<Spot> {
        self.window.front().map(|waiting| spot(&waiting.entry))
    }

    pub(super) fn events(&self) -> impl Iterator<Item = Position> {
        self.window.iter().map(|waiting| waiting.entry.event)
    }

    pub(super) fn contains(&self, place: Spot) -> bool {
        self.seek(place).is_ok()
    }

    /// Whether something that was ready then waits.
    pub(super) fn any_ready(&self, then: SteadyMillis) -> bool {
        self.window.iter().any(|w| w.entry.ready_at() <= then)
    }

    fn seek(&self, place: Spot) -> Result<usize, usize> {
        self.window
            .binary_search_by_key(&place, |waiting| spot(&waiting.entry))
    }

    fn heads(&self, unseen: Option<Spot>) -> impl Iterator<Item = (usize, &QueueEntry)> {
        let all_held = self.held.iter().any(|(_, hold)| *hold == Hold::All);
        let leading = if all_held { 0 } else { self.leading(unseen) };
        let leading = self.window.iter().take(leading).enumerate();
        leading
            .filter(|(_, waiting)| waiting.head)
            .map(|(at, waiting)| (at, &waiting.entry))
    }

    /// Which one is to be sent now.
    fn next(&self, unseen: Option<Spot>, now: SteadyMillis) -> Option<usize> {
        let mut heads = self.heads(unseen);
        let ready = heads.find(|(_, entry)| entry.ready_at() <= now);
        ready.map(|(at, _)| at)
    }

    /// Whether one could be sent now.
    pub(super) fn has_next(&self, unseen: Option<Spot>, now: SteadyMillis) -> bool {
        self.next(unseen, now).is_some()
    }

    /// When the first of those that wait for nothing but their time is ready.
    pub(super) fn ready_at(&self, unseen: Option<Spot>) -> Option<SteadyMillis> {
        self.heads(unseen).map(|(_, entry)| entry.ready_at()).min()
    }

    /// Takes out the one that is to be sent now; it holds its key's place.
    pub(super) fn grant(&mut self, unseen: Option<Spot>, now: SteadyMillis) -> Option<QueueEntry> {
        let granted = self.window.remove(self.next(unseen, now)?)?;
        self.held
            .push((granted.entry.event, Hold::Key(granted.key)));
        Some(granted.entry)
    }

    /// Takes a delivery out of the window, if it is there; it holds its key's place.
    pub(super) fn reserve(&mut self, event: Position) {
        let at = self.events().position(|waiting| waiting == event);
        let hold = match at.and_then(|at| self.window.remove(at)) {
            Some(reserved) => {
                self.demote(0, reserved.key);
                Hold::Key(reserved.key)
            }
            None => Hold::Unseen,
        };
        self.held.push((event, hold));
    }

    /// A page has shown the key of what is under way or reserved.
    pub(super) fn learn(&mut self, event: Position, key: u64) {
        let unseen = |(of, hold): &&mut (Position, Hold)| *of == event && *hold == Hold::Unseen;
        if let Some((_, hold)) = self.held.iter_mut().find(unseen) {
            *hold = Hold::Key(key);
            self.demote(0, key);
        }
    }

    /// What was under way or reserved is over: what comes after it may go.
    pub(super) fn free(&mut self, event: Position) -> Option<Hold> {
        let at = self.held.iter().position(|(held, _)| *held == event)?;
        let (_, hold) = self.held.swap_remove(at);
        if let Hold::Key(key) = hold
            && !self.holds(key)
            && let Some(next) = self.window.iter_mut().find(|waiting| waiting.key == key)
        {
            next.head = true;
        }
        Some(hold)
    }

    /// Puts a delivery at its place.
    pub(super) fn insert(&mut self, entry: QueueEntry, key: u64) {
        let Err(at) = self.seek(spot(&entry)) else {
            return;
        };
        let head = !self.holds(key) && self.window.iter().take(at).all(|before| before.key != key);
        if head {
            self.demote(at, key);
        }
        self.window.insert(at, InLine { entry, key, head });
    }

    /// The key of an entry for which a page tells `told`.
    pub(super) fn key(&self, told: Option<u64>) -> u64 {
        match self.order {
            LaneOrder::None | LaneOrder::Fifo => 0,
            LaneOrder::Keyed(_) => told.unwrap_or_default(),
        }
    }

    /// Appends what a page has brought; [`Sequence::settle`] puts it in its place.
    pub(super) fn push(&mut self, entry: QueueEntry, key: u64) {
        let head = false;
        self.window.push_back(InLine { entry, key, head });
    }

    /// Brings everything in line after a page that ended with `last`.
    pub(super) fn settle(&mut self, last: Option<&QueueEntry>) {
        if let Some(last) = last {
            self.shown_to = self.shown_to.max(behind(spot(last)));
        }
        self.window
            .make_contiguous()
            .sort_unstable_by_key(|waiting| spot(&waiting.entry));
        let keys = self.held.iter().filter_map(|(_, hold)| match hold {
            Hold::Key(key) => Some(*key),
            Hold::Unseen | Hold::All => None,
        });
        let mut taken: HashSet<u64> = keys.collect();
        for waiting in &mut self.window {
            waiting.head = taken.insert(waiting.key);
        }
    }

    /// Drops what the window has no room for, from its end; gives the place of the first of that.
    pub(super) fn trim(&mut self, window_max: usize) -> Option<Spot> {
        let first = self.window.get(window_max).map(|w| spot(&w.entry));
        self.window.truncate(window_max);
        first
    }

    /// What waits goes back to being on disk only.
    pub(super) fn put_down(&mut self) {
        self.window = VecDeque::new();
    }

    /// Holds are kept for these only.
    pub(super) fn keep_held(&mut self, mut away: impl FnMut(Position) -> bool) {
        self.held.retain(|(event, _)| away(*event));
    }

    fn holds(&self, key: u64) -> bool {
        self.held.iter().any(|(_, hold)| *hold == Hold::Key(key))
    }

    /// No entry of this key from `from` on is its head any more.
    fn demote(&mut self, from: usize, key: u64) {
        let mut rest = self.window.iter_mut().skip(from);
        if let Some(head) = rest.find(|waiting| waiting.key == key && waiting.head) {
            head.head = false;
        }
    }
}
