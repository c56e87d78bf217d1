//! Places for work that takes something scarce for a while: so many in all, and so many for one.
//!
//! Nobody waits here: who finds no place is told, and by which of the two bounds. A place is free again when it is
//! dropped, so it is to be moved into the work itself, which may go on after its client has hung up.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

/// Places, counted by key: an account's, or a webhook's.
#[derive(Debug)]
pub struct Places<K: Eq + Hash + Clone> {
    table: Arc<Mutex<Table<K>>>,
    all_max: usize,
    own_max: usize,
}

#[derive(Debug)]
struct Table<K> {
    all: usize,
    /// Never more keys than places are taken.
    own: HashMap<K, usize>,
}

/// Which bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There is no place for anybody.
    All,
    /// There is none for this key.
    Own,
}

/// One place, free again when dropped.
#[derive(Debug)]
pub struct Place<K: Eq + Hash> {
    table: Arc<Mutex<Table<K>>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Places<K> {
    /// `all_max` places, of which one key may take `own_max`.
    #[must_use]
    pub fn new(all_max: usize, own_max: usize) -> Self {
        let (all, own) = (0, HashMap::new());
        Self {
            table: Arc::new(Mutex::new(Table { all, own })),
            all_max,
            own_max,
        }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// Which bound is reached; a key that has taken all of its own is told so first.
    pub fn take(&self, key: &K) -> Result<Place<K>, Full> {
        let mut table = self.table.lock().expect("no holder of this lock panics");
        let own = table.own.get(key).copied().unwrap_or(0);
        if own >= self.own_max {
            return Err(Full::Own);
        }
        if table.all >= self.all_max {
            return Err(Full::All);
        }
        table.all += 1;
        table.own.insert(key.clone(), own + 1);
        Ok(Place {
            table: Arc::clone(&self.table),
            key: key.clone(),
        })
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut table = self.table.lock().expect("no holder of this lock panics");
        table.all -= 1;
        match table.own.get_mut(&self.key) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(table.own.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_for_all_and_so_many_for_one_and_each_comes_back() {
        let places = Places::new(3, 2);
        let first = places.take(&"a").unwrap();
        let second = places.take(&"a").unwrap();
        assert_eq!(places.take(&"a").unwrap_err(), Full::Own);
        let third = places.take(&"b").unwrap();
        assert_eq!(places.take(&"b").unwrap_err(), Full::All);
        assert_eq!(places.take(&"a").unwrap_err(), Full::Own);
        drop(first);
        let again = places.take(&"b").unwrap();
        assert_eq!(places.take(&"b").unwrap_err(), Full::Own);
        assert_eq!(places.take(&"a").unwrap_err(), Full::All);
        drop((second, third, again));
        let table = places.table.lock().unwrap();
        assert!(table.all == 0 && table.own.is_empty(), "{table:?}");
    }
}
