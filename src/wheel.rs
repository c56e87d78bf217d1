//! The hierarchical timing wheel: a timer for each key, driven from outside.
//!
//! Eleven levels of 64 slots; a slot of level *n* spans 64ⁿ ms, so every `u64` of milliseconds has its place
//! and nothing is clamped. A timer stands on the level of the highest six-bit digit in which its due time
//! differs from the time the wheel has reached; when that time enters the slot, the slot's timers move to
//! lower levels. A timer moves at most ten times in its life, however far ahead it was set.
//!
//! The wheel is pure: it reads no clock, calls nothing back, and allocates only when more timers are set at once
//! than ever before. It never fires a key early and never loses one. Time never goes back: an earlier `now`
//! counts as the latest one seen.
//!
//! Invariants: each key has at most one timer; on every level all occupied slots are ahead of the time
//! reached (on level 0: at it or ahead), so the lowest occupied level holds the earliest timers.

pub(crate) mod links;

use std::collections::HashMap;
use std::hash::Hash;

use crate::model::SteadyMillis;
use links::{Links, List};

/// Bits of time in one level: 64 slots, so that a level's occupancy is one machine word.
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
/// 11 × 6 bits cover all 64 bits of a time; a level costs half a kilobyte.
const LEVELS: usize = 11;

#[derive(Clone, Debug)]
struct Timer<K> {
    key: K,
    due: u64,
    slot: usize,
}

/// Where the earliest timers are, and the first tick of that slot.
struct First {
    slot: usize,
    level: usize,
    start: u64,
}

/// A timing wheel with a tick of one millisecond. See the module's description.
#[derive(Clone, Debug)]
pub struct Wheel<K> {
    reached: u64,
    occupied: [u64; LEVELS],
    /// Level by level, `LEVELS * SLOTS` lists of timers.
    slots: Vec<List>,
    timers: Vec<Timer<K>>,
    free: Vec<u32>,
    links: Links,
    places: HashMap<K, u32>,
}

impl<K: Copy + Eq + Hash> Wheel<K> {
    /// An empty wheel that has reached `now`.
    #[must_use]
    pub fn new(now: SteadyMillis) -> Self {
        Self {
            reached: now.0,
            occupied: [0; LEVELS],
            slots: vec![List::EMPTY; LEVELS * SLOTS],
            timers: Vec::new(),
            free: Vec::new(),
            links: Links::default(),
            places: HashMap::new(),
        }
    }

    /// Sets the key's timer, in place of one it has. A `due` that has passed fires at the next [`Wheel::expire`].
    pub fn set(&mut self, key: K, due: SteadyMillis) {
        if let Some(place) = self.places.get(&key).copied() {
            self.unhook(place);
            self.timer(place).due = due.0;
            self.hook(place);
            return;
        }
        let timer = Timer {
            key,
            due: due.0,
            slot: 0,
        };
        let place = match self.free.pop() {
            Some(place) => {
                *self.timer(place) = timer;
                place
            }
            None => {
                self.timers.push(timer);
                let place = u32::try_from(self.timers.len() - 1)
                    .expect("four thousand million timers do not fit in memory");
                self.links.reach(place);
                place
            }
        };
        self.places.insert(key, place);
        self.hook(place);
    }

    /// Takes the key's timer away; `false` if it had none.
    pub fn cancel(&mut self, key: &K) -> bool {
        let Some(place) = self.places.remove(key) else {
            return false;
        };
        self.unhook(place);
        self.free.push(place);
        true
    }

    /// Moves time on to `now` and appends to `fired` every key that is due by then, earliest tick first; keys of
    /// one tick, and keys that were set when already due, come in no promised order. What fired has no timer left.
    ///
    /// Costs O(levels) and the timers moved or fired, whatever the distance to `now`.
    pub fn expire(&mut self, now: SteadyMillis, fired: &mut Vec<K>) {
        let now = now.0.max(self.reached);
        while let Some(first) = self.first()
            && first.start <= now
        {
            self.reached = self.reached.max(first.start);
            let mut list = std::mem::replace(self.list(first.slot), List::EMPTY);
            self.mark(first.slot, false);
            while let Some(place) = self.links.pop_front(&mut list) {
                if first.level == 0 {
                    let key = self.timer(place).key;
                    self.places.remove(&key);
                    self.free.push(place);
                    fired.push(key);
                } else {
                    self.hook(place);
                }
            }
        }
        self.reached = now;
    }

    /// When [`Wheel::expire`] is to be called next: never later than the earliest due time, and equal to it when
    /// that is within the running block of 64 ms. Otherwise it is the start of the slot the timer stands in, and
    /// calling then moves it closer. A due time that has passed shows as the time reached. O(levels).
    #[must_use]
    pub fn next_due(&self) -> Option<SteadyMillis> {
        self.first()
            .map(|first| SteadyMillis(first.start.max(self.reached)))
    }

    /// How many timers are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no timer is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn first(&self) -> Option<First> {
        let (level, occupied) = (0..)
            .zip(self.occupied)
            .find(|(_, occupied)| *occupied != 0)?;
        let in_level = occupied.trailing_zeros();
        let shift = LEVEL_BITS * level;
        // The digits above this level are those of the time reached, those below are zero.
        let above = u64::MAX.checked_shl(shift + LEVEL_BITS).unwrap_or(0);
        Some(First {
            slot: level as usize * SLOTS + in_level as usize,
            level: level as usize,
            start: (self.reached & above) | (u64::from(in_level) << shift),
        })
    }

    /// Puts a timer that is in no slot into the one its due time belongs to.
    fn hook(&mut self, place: u32) {
        let due = self.timer(place).due.max(self.reached);
        let differing = (due ^ self.reached).checked_ilog2().unwrap_or(0);
        let level = differing / LEVEL_BITS;
        let digit = (due >> (LEVEL_BITS * level)) & (SLOTS as u64 - 1);
        let slot = level as usize * SLOTS
            + usize::try_from(digit).expect("a digit of six bits fits everywhere");
        self.timer(place).slot = slot;
        self.mark(slot, true);
        let list = self
            .slots
            .get_mut(slot)
            .expect("a level and a digit name a slot");
        self.links.push_back(list, place);
    }

    fn unhook(&mut self, place: u32) {
        let slot = self.timer(place).slot;
        let list = self
            .slots
            .get_mut(slot)
            .expect("a set timer stands in a slot");
        self.links.remove(list, place);
        if list.is_empty() {
            self.mark(slot, false);
        }
    }

    fn mark(&mut self, slot: usize, occupied: bool) {
        let level = self
            .occupied
            .get_mut(slot / SLOTS)
            .expect("a slot is of one of the levels");
        let bit = 1 << (slot % SLOTS);
        if occupied {
            *level |= bit;
        } else {
            *level &= !bit;
        }
    }

    fn list(&mut self, slot: usize) -> &mut List {
        self.slots
            .get_mut(slot)
            .expect("an occupied slot is a slot")
    }

    fn timer(&mut self, place: u32) -> &mut Timer<K> {
        self.timers
            .get_mut(place as usize)
            .expect("places are given out for timers that exist")
    }
}

#[cfg(test)]
mod tests;
