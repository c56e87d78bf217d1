//! Whose backlog has become high: pure, driven from outside.
//!
//! A backlog is told when it is found over the bound, and again only after it was found below half of it.

use std::collections::HashSet;

use crate::model::WebhookId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Looks {
    high: HashSet<WebhookId>,
}

impl Looks {
    /// Looks once. `waiting` are all webhooks for whom something waits, each once, and how much. Gives those whose backlog
    /// has become higher than `bound`.
    pub(super) fn look(
        &mut self,
        waiting: &[(WebhookId, usize)],
        bound: usize,
    ) -> Vec<(WebhookId, usize)> {
        let half = bound.div_ceil(2);
        let mut still_high = HashSet::new();
        let mut found = Vec::new();
        for &(webhook, count) in waiting {
            let was_high = self.high.contains(&webhook);
            if count > bound && !was_high {
                found.push((webhook, count));
            }
            if count > bound || (was_high && count >= half) {
                still_high.insert(webhook);
            }
        }
        self.high = still_high;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_told_once_and_again_after_it_fell_below_half() {
        let mut looks = Looks::default();
        let id = WebhookId(7);
        let mut look = |count| looks.look(&[(WebhookId(8), 3), (id, count)], 100);
        assert_eq!(look(100), []);
        assert_eq!(look(101), [(id, 101)]);
        assert_eq!(look(5_000), []);
        assert_eq!(look(50), []);
        assert_eq!(look(5_000), [], "half is not below half");
        assert_eq!(look(49), []);
        assert_eq!(look(5_000), [(id, 5_000)]);
    }

    #[test]
    fn nothing_waiting_is_below_half() {
        let mut looks = Looks::default();
        let id = WebhookId(7);
        assert_eq!(looks.look(&[(id, 2)], 1), [(id, 2)]);
        assert_eq!(looks.look(&[], 1), []);
        assert_eq!(looks.look(&[(id, 2)], 1), [(id, 2)]);
    }
}
