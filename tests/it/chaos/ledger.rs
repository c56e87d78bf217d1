//! What was acknowledged: the other side of the promise, kept in the test's memory.
//!
//! What a client asked for and got no answer to is in doubt: it may have been done or not. Nothing else is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// A request that was made before a secret was replaced may still arrive for this long.
const UNDER_WAY: Duration = Duration::from_secs(5);

/// An event that was answered 202.
#[derive(Clone, Debug)]
pub struct Acked {
    pub event_type: &'static str,
    pub data: Value,
    pub deliveries: u64,
}

/// A delivery that was seen ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub state: String,
    pub attempts: u64,
}

/// A webhook as acknowledged.
#[derive(Clone, Debug)]
pub struct Hook {
    pub id: String,
    /// The URL as acknowledged last, and those in doubt since.
    pub urls: Vec<String>,
    /// The secret as acknowledged last, and those in doubt since.
    pub secrets: Vec<String>,
    /// The one before, until when it may still sign what was under way.
    former: Option<(String, Instant)>,
    /// `None`: it is there. `Some(true)`: it was removed; `Some(false)`: perhaps.
    pub removed: Option<bool>,
}

#[derive(Clone, Debug, Default)]
pub struct Books {
    pub events: BTreeMap<String, Acked>,
    /// The events' ids, in order of their answers.
    pub ids: Vec<String>,
    pub ended: HashMap<(String, String), Ended>,
    /// Deliveries that were asked for again (and perhaps are not, where no answer came), and since when.
    pub retried: HashMap<(String, String), Vec<Instant>>,
    /// How many attempts there must be at least, as sending again was acknowledged.
    pub attempts_min: HashMap<(String, String), u64>,
    /// By the path of its URL.
    pub hooks: BTreeMap<String, Hook>,
    pub kills: BTreeSet<Instant>,
    /// Requests that waited in vain for a daemon that was killed.
    pub unanswered: usize,
}

/// The books, shared by all.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Books>);

impl Ledger {
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }

    pub fn killed(&self) {
        self.books().kills.insert(Instant::now());
    }

    pub fn registered(&self, path: &str, id: &str, secret: &str, url: &str) {
        let hook = Hook {
            id: id.to_owned(),
            urls: vec![url.to_owned()],
            secrets: vec![secret.to_owned()],
            former: None,
            removed: None,
        };
        self.books().hooks.insert(path.to_owned(), hook);
    }

    pub fn change(&self, path: &str, change: impl FnOnce(&mut Hook)) {
        if let Some(hook) = self.books().hooks.get_mut(path) {
            change(hook);
        }
    }

    pub fn acknowledged(&self, id: &str, acked: Acked) {
        let mut books = self.books();
        if let Some(before) = books.events.get(id) {
            assert_eq!(
                before.deliveries, acked.deliveries,
                "{id} was answered differently"
            );
            return;
        }
        books.events.insert(id.to_owned(), acked);
        books.ids.push(id.to_owned());
    }

    /// Holds an event as shown against what was acknowledged and seen of it before.
    pub fn check_event(&self, id: &str, shown: &Value) {
        let mut books = self.books();
        let acked = &books.events[id];
        assert_eq!(shown["data"], acked.data, "{id} has other data");
        assert_eq!(shown["type"], acked.event_type, "{id} has another type");
        let rows = shown["deliveries"].as_array().unwrap();
        assert_eq!(
            u64::try_from(rows.len()).unwrap(),
            acked.deliveries,
            "deliveries of {id}: {shown}"
        );
        for row in rows {
            let webhook = row["webhook_id"].as_str().unwrap().to_owned();
            let now = Ended {
                state: row["state"].as_str().unwrap().to_owned(),
                attempts: row["attempts"].as_u64().unwrap(),
            };
            let pair = (id.to_owned(), webhook);
            if books.retried.contains_key(&pair) {
                books.ended.remove(&pair);
                continue;
            }
            if let Some(before) = books.ended.get(&pair) {
                assert_eq!(before, &now, "{pair:?} had ended, and has changed");
            } else if is_end(&now.state) {
                books.ended.insert(pair, now);
            }
        }
    }
}

/// Whether a delivery in this state has ended.
pub fn is_end(state: &str) -> bool {
    !matches!(state, "waiting" | "held")
}

impl Hook {
    pub fn secret_acknowledged(&mut self, secret: &str) {
        let before = std::mem::replace(&mut self.secrets, vec![secret.to_owned()]);
        self.former = before
            .into_iter()
            .next()
            .map(|secret| (secret, Instant::now() + UNDER_WAY));
    }

    /// The secrets of which one must have signed a request that arrives now.
    pub fn signing(&self) -> Vec<String> {
        let mut all = self.secrets.clone();
        if let Some((secret, until)) = &self.former
            && Instant::now() < *until
        {
            all.push(secret.clone());
        }
        all
    }
}
