//! The simulation's store: durable, exact, and strict about queue keys.

use std::collections::BTreeMap;

use super::{Hook, Read, key_of};
use crate::engine::schedule::{FIRST_SPOT, LaneOrder, Page, Spot};
use crate::model::{EndReason, Next, Position, QueueEntry, SteadyMillis};

/// One delivery's life so far.
#[derive(Default)]
struct Row {
    /// Its queue key's due time, while it is pending.
    due: Option<SteadyMillis>,
    attempts: u32,
    run_attempts: u32,
    sent_again: bool,
    ended: Option<Next>,
    cancelled: bool,
}

#[derive(Default)]
pub(super) struct Store {
    queue: BTreeMap<(usize, SteadyMillis, Position), QueueEntry>,
    rows: BTreeMap<(usize, Position), Row>,
    accepted: u32,
}

impl Store {
    pub(super) fn accept(&mut self, hook: usize, due: SteadyMillis) -> QueueEntry {
        self.accepted += 1;
        let event = Position {
            segment: 1,
            offset: self.accepted,
        };
        let entry = QueueEntry {
            due,
            event,
            attempts: 0,
            run_attempts: 0,
            trigger: crate::model::Trigger::Schedule,
            not_before: SteadyMillis(0),
        };
        self.rows.insert((hook, event), Row::default());
        self.put(hook, entry);
        entry
    }

    fn put(&mut self, hook: usize, entry: QueueEntry) {
        let row = self.rows.get_mut(&(hook, entry.event)).unwrap();
        assert_eq!(row.due.replace(entry.due), None, "two queue keys");
        self.queue.insert((hook, entry.due, entry.event), entry);
    }

    pub(super) fn holds(&self, hook: usize, entry: &QueueEntry) -> bool {
        self.queue.get(&(hook, entry.due, entry.event)) == Some(entry)
    }

    pub(super) fn first_due(&self, hook: usize) -> Option<SteadyMillis> {
        self.of(hook, FIRST_SPOT).next().map(|entry| entry.due)
    }

    /// The queue's entry of a delivery, if it is pending.
    pub(super) fn entry(&self, hook: usize, event: Position) -> Option<QueueEntry> {
        let due = self.rows.get(&(hook, event))?.due?;
        self.queue.get(&(hook, due, event)).copied()
    }

    /// What is pending before a place.
    pub(super) fn before(&self, hook: usize, place: Spot) -> impl Iterator<Item = &QueueEntry> {
        let first = (hook, SteadyMillis(0), Position::from_u64(0));
        let end = (hook, place.0, place.1);
        self.queue.range(first..end).map(|(_, entry)| entry)
    }

    /// Whether it was sent again by hand.
    pub(super) fn was_sent_again(&self, hook: usize, event: Position) -> bool {
        self.rows[&(hook, event)].sent_again
    }

    fn of(&self, hook: usize, from: Spot) -> impl Iterator<Item = &QueueEntry> {
        let first = (hook, from.0, from.1);
        let last = (hook, SteadyMillis(u64::MAX), Position::from_u64(u64::MAX));
        self.queue.range(first..=last).map(|(_, entry)| entry)
    }

    pub(super) fn page(&self, hook: usize, read: Read, order: LaneOrder) -> Page {
        let mut rest = self.of(hook, read.from).peekable();
        let mut entries = Vec::new();
        while entries.len() < read.limit
            && let Some(entry) = rest.next_if(|entry| entry.due <= read.until)
        {
            entries.push(*entry);
        }
        let next_due = rest.next().map(|entry| entry.due);
        let keys = entries.iter().map(|entry| key_of(order, entry.event));
        Page {
            keys: keys.collect(),
            entries,
            next_due,
            order,
        }
    }

    /// Commits an attempt's end; `false` if its queue key is gone.
    pub(super) fn end_attempt(&mut self, hook: usize, entry: &QueueEntry, next: Next) -> bool {
        let key = (hook, entry.due, entry.event);
        if self.queue.remove(&key).is_none() {
            return false;
        }
        let row = self.rows.get_mut(&(hook, entry.event)).unwrap();
        assert_eq!(
            (row.attempts, row.run_attempts),
            (entry.attempts, entry.run_attempts)
        );
        row.due = None;
        row.attempts += 1;
        row.run_attempts += 1;
        let (due, not_before) = match next {
            Next::RetryAt(due) => (due, SteadyMillis(0)),
            Next::RetryInPlace(not_before) => (entry.due, not_before),
            _ => {
                row.ended = Some(next);
                return true;
            }
        };
        let again = QueueEntry {
            attempts: row.attempts,
            run_attempts: row.run_attempts,
            not_before,
            ..QueueEntry::fresh(due, entry.event)
        };
        self.put(hook, again);
        true
    }

    pub(super) fn remove_webhook(&mut self, hook: usize) {
        self.queue.retain(|(of, _, _), _| *of != hook);
        for ((of, _), row) in &mut self.rows {
            if *of == hook {
                row.cancelled |= row.due.take().is_some();
            }
        }
    }

    pub(super) fn events_of(&self, hook: usize) -> Vec<Position> {
        let keys = self.rows.keys();
        keys.filter(|(of, _)| *of == hook)
            .map(|(_, event)| *event)
            .collect()
    }

    pub(super) fn retry_now(
        &mut self,
        hook: usize,
        event: Position,
        now: SteadyMillis,
        keeps_place: bool,
    ) -> QueueEntry {
        let row = self.rows.get_mut(&(hook, event)).unwrap();
        let before = row.due.take();
        if let Some(due) = before {
            self.queue.remove(&(hook, due, event));
        }
        row.sent_again = true;
        row.ended = None;
        row.run_attempts = 0;
        let entry = QueueEntry {
            due: before.filter(|_| keeps_place).unwrap_or(now),
            event,
            attempts: row.attempts,
            run_attempts: 0,
            trigger: crate::model::Trigger::Manual,
            not_before: SteadyMillis(0),
        };
        self.put(hook, entry);
        entry
    }

    /// Nothing is pending, and each delivery ended as its schedule says.
    pub(super) fn check_ended(&self, hooks: &[Hook]) {
        assert_eq!(
            self.queue.len(),
            0,
            "stuck: {:?}",
            self.queue.first_key_value()
        );
        for ((hook, event), row) in &self.rows {
            let all = hooks[*hook].policy.retry.attempts_max();
            let made = usize::try_from(row.run_attempts).unwrap();
            match row.ended {
                Some(Next::Delivered) => assert!((1..=all).contains(&made), "{event}: {made}"),
                Some(Next::Failed(EndReason::Exhausted)) => assert_eq!(made, all, "{event}"),
                other => assert!(row.cancelled, "{event} ended as {other:?}"),
            }
        }
    }
}
