//! What intake tells the scheduler, and what happens when there is no room to tell it.
//!
//! A hint saves a page read; losing one loses nothing. Hints that found the queue full are noted by
//! webhook in [`Missed`], and the scheduler then reads those lanes' pages.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, oneshot};

use crate::model::{Event, Position, QueueEntry, SteadyMillis, WebhookId};

use super::schedule::LaneFigures;

/// A message to the scheduler.
#[derive(Debug)]
pub(crate) enum Hint {
    /// A delivery was stored and is due now.
    Arrived {
        webhook: WebhookId,
        entry: QueueEntry,
        event: Option<Carried>,
    },
    /// A webhook was registered, changed, removed, held or taken back. It carries no state: two such hints
    /// may come in another order than the changes, so the scheduler asks the live table.
    Changed { webhook: WebhookId },
    /// A webhook sends elsewhere now, or was activated again: what its receiver said before is over.
    Unpause { webhook: WebhookId },
    /// A delivery is about to be queued anew: keep it from being sent until [`Hint::Release`].
    Reserve {
        webhook: WebhookId,
        event: Position,
        answer: oneshot::Sender<bool>,
    },
    /// Ends a reservation, with the new queue entry where there is one.
    Release {
        webhook: WebhookId,
        event: Position,
        entry: Option<QueueEntry>,
    },
    /// Somebody asks how lanes do; those that there are none of are left out.
    Figures {
        webhooks: Vec<WebhookId>,
        answer: oneshot::Sender<Vec<(WebhookId, LaneFigures)>>,
    },
}

/// Lanes that one hint asks for, at most: the scheduler does nothing else meanwhile, for some microseconds.
pub(super) const FIGURES_MAX: usize = 256;

/// Webhooks for which a hint was lost, and from which due time on something in their queues is not known.
#[derive(Debug, Default)]
pub(crate) struct Missed {
    webhooks: Mutex<HashMap<WebhookId, SteadyMillis>>,
    pub(crate) notify: Notify,
}

impl Missed {
    pub(crate) fn add(&self, webhook: WebhookId, from: SteadyMillis) {
        let first = {
            let mut webhooks = self.webhooks.lock().expect("no holder of this lock panics");
            let was_empty = webhooks.is_empty();
            let known = webhooks.entry(webhook).or_insert(from);
            *known = from.min(*known);
            was_empty
        };
        if first {
            self.notify.notify_one();
        }
    }

    pub(crate) fn take(&self) -> HashMap<WebhookId, SteadyMillis> {
        let mut webhooks = self.webhooks.lock().expect("no holder of this lock panics");
        std::mem::take(&mut webhooks)
    }
}

/// Bytes of event bodies that hints may hold in memory: room for tens of thousands of usual events, and
/// a bound when bodies are large. Beyond it a hint goes without its body, which is then read back.
const BODIES_MAX: usize = 16 * 1024 * 1024;

/// The budget for bodies carried by hints.
#[derive(Clone, Debug, Default)]
pub(crate) struct BodyBudget {
    used: Arc<AtomicUsize>,
}

/// An event in memory, counted against the budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Carried {
    event: Arc<Event>,
    share: usize,
    used: Arc<AtomicUsize>,
}

impl BodyBudget {
    /// The event with its share of the budget, or `None` when the budget is used up.
    pub(crate) fn carry(&self, event: &Arc<Event>) -> Option<Carried> {
        let share = event.bytes();
        let before = self.used.fetch_add(share, Ordering::Relaxed);
        let carried = Carried {
            event: Arc::clone(event),
            share,
            used: Arc::clone(&self.used),
        };
        // Dropping it gives the share back.
        (before.saturating_add(share) <= BODIES_MAX).then_some(carried)
    }
}

impl Carried {
    pub(crate) fn event(&self) -> Arc<Event> {
        Arc::clone(&self.event)
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.used.fetch_sub(self.share, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountName, EventId, UnixMicros, UnixMillis};

    fn event(bytes: usize) -> Arc<Event> {
        Arc::new(Event {
            account: AccountName::new("acme").unwrap(),
            id: EventId::new("e").unwrap(),
            event_type: "t".to_owned(),
            created_at: UnixMicros(0),
            received_at: UnixMillis(0),
            data: "x".repeat(bytes),
            metadata: None,
            scope: None,
            warning: None,
            trace: None,
        })
    }

    #[test]
    fn bodies_beyond_the_budget_are_not_carried_and_shares_come_back() {
        let budget = BodyBudget::default();
        let half = event(BODIES_MAX / 2);
        let first = budget.carry(&half);
        assert!(first.is_some());
        assert!(
            budget.carry(&half).is_none(),
            "two halves and their overhead are over the budget"
        );
        drop(first);
        assert!(budget.carry(&half).is_some());
    }

    #[test]
    fn a_missed_webhook_is_given_out_once() {
        let missed = Missed::default();
        missed.add(WebhookId(1), SteadyMillis(7));
        missed.add(WebhookId(1), SteadyMillis(5));
        missed.add(WebhookId(1), SteadyMillis(6));
        let taken: Vec<_> = missed.take().into_iter().collect();
        assert_eq!(taken, [(WebhookId(1), SteadyMillis(5))]);
        assert!(missed.take().is_empty());
    }
}
