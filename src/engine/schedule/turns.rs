//! Whose turn it is: lanes that could send wait in four rings, and each ring has a share of the global bound.
//!
//! A lane is judged by what its receiver did lately ([`Standing`]). Receivers that fail or hang hold their
//! slots for a whole timeout, so without shares a thousand of them would take every slot. Whether a ring
//! may send is one comparison: a full ring is passed over as a whole, not lane by lane.

use crate::wheel::links::{Links, List};

/// How a lane's receiver did lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No attempt has ended since the lane was opened: nothing is known.
    Fresh,
    /// The last attempt that said something succeeded, and none has been under way for long.
    Proven,
    /// The last attempt failed, or one has been under way for long.
    Doubted,
}

/// One line of lanes that wait for their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    /// Proven lanes with nothing in flight.
    Idle,
    /// Proven lanes with something in flight.
    Busy,
    /// Fresh lanes.
    Fresh,
    /// Doubted lanes.
    Doubted,
}

impl Ring {
    const ALL: [Self; 4] = [Self::Idle, Self::Busy, Self::Fresh, Self::Doubted];

    /// The ring for a lane of this standing.
    pub(super) const fn of(standing: Standing, in_flight: usize) -> Self {
        match (standing, in_flight) {
            (Standing::Proven, 0) => Self::Idle,
            (Standing::Proven, _) => Self::Busy,
            (Standing::Fresh, _) => Self::Fresh,
            (Standing::Doubted, _) => Self::Doubted,
        }
    }
}

/// What is in flight, by standing, and how much of the global bound each may use.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    /// The global bound.
    max: usize,
    /// All but an eighth: that is kept for proven lanes with nothing in flight, so that a busy neighbour
    /// that has just begun to hang does not delay their first send.
    busy_max: usize,
    /// Fresh and doubted lanes together: three quarters, so that proven lanes always have a quarter.
    unproven_max: usize,
    /// Doubted lanes: half, so that fresh ones have a quarter beside them.
    doubted_max: usize,
    total: usize,
    fresh: usize,
    doubted: usize,
}

impl Shares {
    pub(super) fn new(in_flight_max: usize) -> Self {
        let max = in_flight_max.max(1);
        Self {
            max,
            busy_max: max - max / 8,
            unproven_max: (max * 3 / 4).max(1),
            doubted_max: (max / 2).max(1),
            total: 0,
            fresh: 0,
            doubted: 0,
        }
    }

    pub(super) const fn total(&self) -> usize {
        self.total
    }

    pub(super) fn add(&mut self, standing: Standing, count: usize) {
        self.total += count;
        match standing {
            Standing::Proven => {}
            Standing::Fresh => self.fresh += count,
            Standing::Doubted => self.doubted += count,
        }
    }

    pub(super) fn subtract(&mut self, standing: Standing, count: usize) {
        self.total -= count;
        match standing {
            Standing::Proven => {}
            Standing::Fresh => self.fresh -= count,
            Standing::Doubted => self.doubted -= count,
        }
    }

    /// Whether a lane of this ring may send now.
    const fn admit(&self, ring: Ring) -> bool {
        let unproven = self.fresh + self.doubted < self.unproven_max;
        match ring {
            Ring::Idle => self.total < self.max,
            Ring::Busy => self.total < self.busy_max,
            Ring::Fresh => self.total < self.busy_max && unproven,
            Ring::Doubted => {
                self.total < self.busy_max && unproven && self.doubted < self.doubted_max
            }
        }
    }
}

/// The rings. A lane, known by its place, is in at most one; the caller knows in which.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    links: Links,
    rings: [List; 4],
    /// The ring looked at first, one further after each grant: no ring waits for another to empty.
    next: usize,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            links: Links::default(),
            rings: [List::EMPTY; 4],
            next: 0,
        }
    }

    pub(super) fn join(&mut self, ring: Ring, place: u32) {
        self.links.reach(place);
        let list = Self::list(&mut self.rings, ring);
        self.links.push_back(list, place);
    }

    pub(super) fn leave(&mut self, ring: Ring, place: u32) {
        let list = Self::list(&mut self.rings, ring);
        self.links.remove(list, place);
    }

    /// Takes out the lane whose turn it is, of those whose ring has a slot left in its share.
    pub(super) fn take(&mut self, shares: &Shares) -> Option<u32> {
        for step in 0..Ring::ALL.len() {
            let at = (self.next + step) % Ring::ALL.len();
            let ring = *Ring::ALL.get(at)?;
            if !shares.admit(ring) {
                continue;
            }
            let list = Self::list(&mut self.rings, ring);
            if let Some(place) = self.links.pop_front(list) {
                self.next = (at + 1) % Ring::ALL.len();
                return Some(place);
            }
        }
        None
    }

    const fn list(rings: &mut [List; 4], ring: Ring) -> &mut List {
        let [idle, busy, fresh, doubted] = rings;
        match ring {
            Ring::Idle => idle,
            Ring::Busy => busy,
            Ring::Fresh => fresh,
            Ring::Doubted => doubted,
        }
    }
}
