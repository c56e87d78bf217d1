//! Doubly linked lists over numbered places, for O(1) removal from the middle without `unsafe`.
//!
//! The places themselves (timers, lanes) live elsewhere under the same numbers. Invariant: a place is in at
//! most one [`List`] of its [`Links`] at a time; the caller knows which.

/// No place: the end of a list.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

const LOOSE: Link = Link {
    prev: NONE,
    next: NONE,
};

/// One list's ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    head: u32,
    tail: u32,
}

impl List {
    /// A list of nothing.
    pub(crate) const EMPTY: Self = Self {
        head: NONE,
        tail: NONE,
    };

    /// Whether nothing is in it.
    pub(crate) const fn is_empty(&self) -> bool {
        self.head == NONE
    }
}

/// The links of all places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    links: Vec<Link>,
}

impl Links {
    /// Makes places up to and including `place` exist.
    pub(crate) fn reach(&mut self, place: u32) {
        let len = place as usize + 1;
        if self.links.len() < len {
            self.links.resize(len, LOOSE);
        }
    }

    /// Appends `place`, which is in no list.
    pub(crate) fn push_back(&mut self, list: &mut List, place: u32) {
        *self.at(place) = Link {
            prev: list.tail,
            next: NONE,
        };
        if list.tail == NONE {
            list.head = place;
        } else {
            self.at(list.tail).next = place;
        }
        list.tail = place;
    }

    /// Takes `place` out of `list`, which it is in.
    pub(crate) fn remove(&mut self, list: &mut List, place: u32) {
        let Link { prev, next } = std::mem::replace(self.at(place), LOOSE);
        if prev == NONE {
            list.head = next;
        } else {
            self.at(prev).next = next;
        }
        if next == NONE {
            list.tail = prev;
        } else {
            self.at(next).prev = prev;
        }
    }

    /// Takes the first place out.
    pub(crate) fn pop_front(&mut self, list: &mut List) -> Option<u32> {
        let first = list.head;
        if first == NONE {
            return None;
        }
        self.remove(list, first);
        Some(first)
    }

    fn at(&mut self, place: u32) -> &mut Link {
        self.links
            .get_mut(place as usize)
            .expect("a place is reached before it is linked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_from_front_middle_and_end_and_keeps_the_order() {
        let (mut links, mut list) = (Links::default(), List::EMPTY);
        links.reach(5);
        for place in 0..6 {
            links.push_back(&mut list, place);
        }
        links.remove(&mut list, 3);
        links.remove(&mut list, 5);
        assert_eq!(links.pop_front(&mut list), Some(0));
        links.push_back(&mut list, 3);
        let rest: Vec<u32> = std::iter::from_fn(|| links.pop_front(&mut list)).collect();
        assert_eq!(rest, [1, 2, 4, 3]);
        assert!(list.is_empty());
    }
}
