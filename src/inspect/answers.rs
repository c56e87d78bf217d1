//! What the local receiver answers: as it was told, and counted for each event.

use std::collections::{HashMap, VecDeque};

use crate::cli::inspect::ListenOptions;

/// Events whose requests are counted; the oldest is forgotten first. A retry comes long before so many others.
const EVENTS_MAX: usize = 10_000;

/// The rules, and the counts so far.
#[derive(Debug)]
pub(super) struct Answers {
    status: u16,
    fail: u32,
    fail_every: Option<u64>,
    requests: u64,
    seen: HashMap<[u8; 32], u32>,
    oldest_first: VecDeque<[u8; 32]>,
}

/// What one request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// The request's number among all, from 1.
    pub(super) number: u64,
    /// Its number among those of its event, from 1.
    pub(super) of_event: u32,
    /// The status code.
    pub(super) status: u16,
    /// Why it is another one than usual; empty where it is not.
    pub(super) because: &'static str,
}

impl Answers {
    pub(super) fn new(options: &ListenOptions) -> Self {
        Self {
            status: options.status,
            fail: options.fail,
            fail_every: options.fail_every,
            requests: 0,
            seen: HashMap::new(),
            oldest_first: VecDeque::new(),
        }
    }

    /// Counts a request of `event` (what tells its event from others), and says what it is answered; `refused` if its signature is wrong.
    pub(super) fn to(&mut self, event: [u8; 32], refused: bool) -> Decision {
        self.requests += 1;
        let of_event = self.count(event);
        let every = self
            .fail_every
            .is_some_and(|every| self.requests.is_multiple_of(every));
        let (status, because) = if of_event <= self.fail {
            (503, "told to fail the event's first requests")
        } else if every {
            (503, "told to fail every so often")
        } else if refused {
            (401, "it does not verify")
        } else {
            (self.status, "")
        };
        Decision {
            number: self.requests,
            of_event,
            status,
            because,
        }
    }

    fn count(&mut self, event: [u8; 32]) -> u32 {
        if let Some(count) = self.seen.get_mut(&event) {
            *count = count.saturating_add(1);
            return *count;
        }
        if self.oldest_first.len() >= EVENTS_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.seen.remove(&oldest);
        }
        self.oldest_first.push_back(event);
        self.seen.insert(event, 1);
        1
    }
}
