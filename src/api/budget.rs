//! Memory that clients can make us hold, with a bound for all of it and one for each account.
//!
//! Room is taken as bytes come and given back when what holds them is dropped. Nobody waits for room: who finds none
//! is told, as those who hold some may be waiting themselves.
//!
//! Invariants: what is held is never more than the bound, capacity included; one account's part is at most half, so
//! one that fills it leaves room for others. The one exception: while a buffer grows, the system may have both the old
//! and the new one for the time of a copy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::AccountName;

/// Who holds memory: an account, or all those together who came without a key.
pub(super) type Owner = Option<AccountName>;

/// Which bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// There is no room for anybody.
    All,
    /// There is none for this account.
    Own,
}

/// Memory for one purpose, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    taken: Arc<Mutex<Taken>>,
    all_max: usize,
    own_max: usize,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Never more than hold something: at most one for each connection.
    own: HashMap<Owner, usize>,
}

impl Budget {
    /// So many bytes, of which one account may hold half, or `largest` if that is more.
    pub(super) fn new(bytes: usize, largest: usize) -> Self {
        Self {
            taken: Arc::default(),
            all_max: bytes,
            own_max: (bytes / 2).max(largest).min(bytes),
        }
    }

    /// The most that one account can hold.
    pub(super) const fn own_max(&self) -> usize {
        self.own_max
    }

    /// Whether there is room for so much now.
    ///
    /// # Errors
    /// Which bound is reached.
    pub(super) fn check(&self, owner: &Owner, bytes: usize) -> Result<(), Full> {
        self.after(&self.taken(), owner, bytes).map(|_| ())
    }

    /// Room for nothing yet, which can [grow](Room::grow).
    pub(super) fn room(&self, owner: Owner) -> Room {
        Room {
            budget: self.clone(),
            owner,
            bytes: 0,
        }
    }

    /// How much there is after so much more: in all, and of this account.
    fn after(&self, taken: &Taken, owner: &Owner, more: usize) -> Result<(usize, usize), Full> {
        let own = taken.own.get(owner).copied().unwrap_or(0);
        if more > self.own_max - own {
            return Err(Full::Own);
        }
        if more > self.all_max - taken.all {
            return Err(Full::All);
        }
        Ok((taken.all + more, own + more))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().expect("no holder of this lock panics")
    }
}

/// A part of a budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    budget: Budget,
    owner: Owner,
    bytes: usize,
}

impl Room {
    /// Takes so much more.
    ///
    /// # Errors
    /// Which bound is reached; an account that has all of its own is told so first.
    pub(super) fn grow(&mut self, more: usize) -> Result<(), Full> {
        let mut taken = self.budget.taken();
        let (all, own) = self.budget.after(&taken, &self.owner, more)?;
        taken.all = all;
        if own > 0 {
            taken.own.insert(self.owner.clone(), own);
        }
        self.bytes += more;
        Ok(())
    }

    /// Gives back all but so much.
    fn shrink_to(&mut self, bytes: usize) {
        let mut taken = self.budget.taken();
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        taken.all -= less;
        let own = taken.own.get(&self.owner).map_or(0, |own| *own - less);
        if own == 0 {
            taken.own.remove(&self.owner);
        } else if less > 0 {
            taken.own.insert(self.owner.clone(), own);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// Bytes that have room in a budget, capacity and all.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Vec<u8>,
    room: Room,
}

impl Held {
    /// Nothing yet.
    pub(super) const fn new(room: Room) -> Self {
        let bytes = Vec::new();
        Self { bytes, room }
    }

    /// Adds bytes. The capacity doubles as it grows, but not beyond `expected` for the whole.
    ///
    /// # Errors
    /// Which bound is reached; then nothing was added.
    pub(super) fn extend(&mut self, more: &[u8], expected: usize) -> Result<(), Full> {
        let (needed, capacity) = (self.bytes.len() + more.len(), self.bytes.capacity());
        if needed > capacity {
            let wanted = needed.max(expected.min(capacity * 2));
            self.room.grow(wanted - capacity)?;
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    /// Gives back the capacity that is not needed.
    pub(super) fn fit(&mut self) {
        self.bytes.shrink_to_fit();
        self.room.shrink_to(self.bytes.capacity());
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Owner {
        Some(AccountName::new(name).unwrap())
    }

    #[test]
    fn one_account_holds_half_at_most_and_others_find_room() {
        let budget = Budget::new(1000, 1);
        let (mut first, mut second) = (budget.room(owner("a")), budget.room(owner("a")));
        first.grow(300).unwrap();
        assert_eq!(second.grow(201), Err(Full::Own));
        second.grow(200).unwrap();
        assert_eq!(budget.check(&owner("a"), 1), Err(Full::Own));
        let (mut other, mut nobody) = (budget.room(owner("b")), budget.room(None));
        other.grow(400).unwrap();
        assert_eq!(nobody.grow(101), Err(Full::All));
        nobody.grow(100).unwrap();
        drop((first, other));
        assert_eq!(budget.check(&owner("a"), 300), Ok(()));
        drop((second, nobody));
        let taken = budget.taken();
        assert!(taken.all == 0 && taken.own.is_empty(), "{taken:?}");
    }

    #[test]
    fn one_of_the_largest_always_fits() {
        assert_eq!(Budget::new(1000, 900).check(&None, 900), Ok(()));
        assert_eq!(Budget::new(1000, 900).check(&None, 901), Err(Full::Own));
    }

    #[test]
    fn what_is_held_is_counted_with_its_capacity() {
        let budget = Budget::new(1 << 20, 1);
        let mut held = Held::new(budget.room(None));
        for _ in 0..100 {
            held.extend(&[b'x'; 777], 60_000).unwrap();
            assert_eq!(budget.taken().all, held.bytes.capacity());
            assert!(held.bytes.capacity() <= 60_000.max(held.len()));
        }
        held.fit();
        assert_eq!((held.len(), budget.taken().all), (77_700, 77_700));
        assert_eq!(held.extend(&[0; 1 << 19], 0), Err(Full::Own));
        assert_eq!(held.len(), 77_700);
        drop(held);
        assert_eq!(budget.taken().all, 0);
    }
}
