//! Whose queue is looked at when, and whose backlog is high: pure, driven from outside.
//!
//! Each webhook is looked at every ten rounds, a tenth of all in each. A round counts a bounded number of queue keys; a
//! webhook that it does not come to is the first of the next round, so with many great backlogs the looks only become
//! rarer. A backlog is told when it is found over the bound, and again only after it was found below half of it.

use std::collections::{HashSet, VecDeque};

use crate::model::WebhookId;

/// Rounds over which the looks are spread. Rounds are a second apart.
const ROUNDS: u128 = 10;
/// Queue keys that a round counts, but for the last webhook's: some hundredths of a second.
const KEYS_MAX: usize = 50_000;
/// A high backlog is counted up to here, once, for those who read the alert.
const COUNTED_MAX: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Looks {
    round: u128,
    left: VecDeque<WebhookId>,
    high: HashSet<WebhookId>,
}

impl Looks {
    /// Whether a webhook's turn comes in the round that is to begin. Ids are random in their last bits.
    pub(super) fn is_next(&self, webhook: WebhookId) -> bool {
        self.left.is_empty() && webhook.0 % ROUNDS == self.round % ROUNDS
    }

    /// Goes one round. `next` are those for whom [`Looks::is_next`] holds; `waiting` counts a queue up to a limit.
    /// Gives those whose backlog has become higher than `bound`, and how many wait, counted up to a limit.
    ///
    /// # Errors
    /// What `waiting` meets; the round ends there.
    pub(super) fn round<E>(
        &mut self,
        next: impl IntoIterator<Item = WebhookId>,
        bound: usize,
        mut waiting: impl FnMut(WebhookId, usize) -> Result<usize, E>,
    ) -> Result<Vec<(WebhookId, usize)>, E> {
        if self.left.is_empty() {
            self.left.extend(next);
            self.round += 1;
        }
        let (mut found, mut keys) = (Vec::new(), 0);
        while keys < KEYS_MAX
            && let Some(webhook) = self.left.pop_front()
        {
            if self.high.contains(&webhook) {
                let half = bound.div_ceil(2);
                let count = waiting(webhook, half)?;
                keys += count;
                if count < half {
                    self.high.remove(&webhook);
                }
                continue;
            }
            let over = bound.saturating_add(1);
            let count = waiting(webhook, over)?;
            keys += count;
            if count >= over {
                self.high.insert(webhook);
                let all = waiting(webhook, COUNTED_MAX.max(over))?;
                keys += all;
                found.push((webhook, all.max(count)));
            }
        }
        Ok(found)
    }

    /// Forgets the webhooks that there are not any more.
    pub(super) fn keep(&mut self, is_there: impl Fn(WebhookId) -> bool) {
        self.high.retain(|webhook| is_there(*webhook));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn rounds(
        looks: &mut Looks,
        queues: &HashMap<WebhookId, usize>,
        bound: usize,
        count: usize,
    ) -> Vec<(WebhookId, usize)> {
        let mut found = Vec::new();
        for _ in 0..count {
            let next: Vec<WebhookId> = queues
                .keys()
                .copied()
                .filter(|id| looks.is_next(*id))
                .collect();
            let waiting = |id, limit: usize| Ok::<_, ()>(queues[&id].min(limit));
            found.extend(looks.round(next, bound, waiting).unwrap());
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn a_backlog_is_told_once_and_again_after_it_fell_below_half() {
        let mut looks = Looks::default();
        let id = WebhookId(7);
        let mut queues = HashMap::from([(id, 100)]);
        assert_eq!(rounds(&mut looks, &queues, 100, 20), []);
        queues.insert(id, 101);
        assert_eq!(rounds(&mut looks, &queues, 100, 10), [(id, 101)]);
        queues.insert(id, 5_000);
        assert_eq!(rounds(&mut looks, &queues, 100, 20), []);
        queues.insert(id, 50);
        assert_eq!(rounds(&mut looks, &queues, 100, 10), []);
        queues.insert(id, 5_000);
        assert_eq!(
            rounds(&mut looks, &queues, 100, 10),
            [],
            "half is not below half"
        );
        queues.insert(id, 49);
        assert_eq!(rounds(&mut looks, &queues, 100, 10), []);
        queues.insert(id, 5_000);
        assert_eq!(rounds(&mut looks, &queues, 100, 10), [(id, 5_000)]);
    }

    #[test]
    fn the_least_bound_works_too() {
        let mut looks = Looks::default();
        let id = WebhookId(7);
        let mut queues = HashMap::from([(id, 2)]);
        assert_eq!(rounds(&mut looks, &queues, 1, 10), [(id, 2)]);
        queues.insert(id, 0);
        assert_eq!(rounds(&mut looks, &queues, 1, 10), []);
        queues.insert(id, 2);
        assert_eq!(rounds(&mut looks, &queues, 1, 10), [(id, 2)]);
    }

    #[test]
    fn each_is_looked_at_once_in_ten_rounds() {
        let mut looks = Looks::default();
        let mut seen: HashMap<WebhookId, usize> = HashMap::new();
        for _ in 0..10 {
            let all = (0..1_000).map(WebhookId);
            let next: Vec<WebhookId> = all.filter(|id| looks.is_next(*id)).collect();
            assert_eq!(next.len(), 100);
            let mut count = |id, _| {
                *seen.entry(id).or_default() += 1;
                Ok::<_, ()>(0)
            };
            looks.round(next, 10, &mut count).unwrap();
        }
        assert_eq!(seen.len(), 1_000);
        assert!(seen.values().all(|times| *times == 1));
    }

    #[test]
    fn great_backlogs_make_the_looks_rarer_and_not_the_rounds_longer() {
        let mut looks = Looks::default();
        let queues: HashMap<WebhookId, usize> =
            (0..1_000).map(|id| (WebhookId(id), 9_000)).collect();
        let most = std::cell::Cell::new(0);
        let seen = std::cell::RefCell::new(HashSet::new());
        for _ in 0..200 {
            let keys = std::cell::Cell::new(0);
            let next: Vec<WebhookId> = queues
                .keys()
                .copied()
                .filter(|id| looks.is_next(*id))
                .collect();
            let waiting = |id, limit: usize| {
                let count = queues[&id].min(limit);
                keys.set(keys.get() + count);
                seen.borrow_mut().insert(id);
                Ok::<_, ()>(count)
            };
            assert_eq!(looks.round(next, 10_000, waiting), Ok(Vec::new()));
            most.set(most.get().max(keys.get()));
        }
        assert!(most.get() <= KEYS_MAX + 10_000, "{}", most.get());
        assert_eq!(seen.borrow().len(), 1_000, "each has its turn");
    }
}
