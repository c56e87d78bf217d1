//! The simulation's store: durable, exact, and strict about queue keys.

use std::collections::BTreeMap;

use super::{Hook, Read};
use crate::engine::schedule::Page;
use crate::model::{EndReason, Next, Position, QueueEntry, SteadyMillis};

/// One delivery's life so far.
#[derive(Default)]
struct Row {
    /// Its queue key's due time, while it is pending.
    due: Option<SteadyMillis>,
    attempts: u32,
    run_attempts: u32,
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
        self.of(hook, SteadyMillis(0)).next().map(|entry| entry.due)
    }

    fn of(&self, hook: usize, from: SteadyMillis) -> impl Iterator<Item = &QueueEntry> {
        let first = (hook, from, Position::from_u64(0));
        let last = (hook, SteadyMillis(u64::MAX), Position::from_u64(u64::MAX));
        self.queue.range(first..=last).map(|(_, entry)| entry)
    }

    pub(super) fn page(&self, hook: usize, read: Read) -> Page {
        let mut rest = self.of(hook, read.from).peekable();
        let mut entries = Vec::new();
        while entries.len() < read.limit
            && let Some(entry) = rest.next_if(|entry| entry.due <= read.until)
        {
            entries.push(*entry);
        }
        let next_due = rest.next().map(|entry| entry.due);
        Page { entries, next_due }
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
        if let Next::RetryAt(due) = next {
            let (attempts, run_attempts) = (row.attempts, row.run_attempts);
            let event = entry.event;
            self.put(
                hook,
                QueueEntry {
                    attempts,
                    run_attempts,
                    ..QueueEntry::fresh(due, event)
                },
            );
        } else {
            row.ended = Some(next);
        }
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
    ) -> QueueEntry {
        let row = self.rows.get_mut(&(hook, event)).unwrap();
        if let Some(due) = row.due.take() {
            self.queue.remove(&(hook, due, event));
        }
        row.ended = None;
        row.run_attempts = 0;
        let entry = QueueEntry {
            due: now,
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
