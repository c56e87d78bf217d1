//! What has happened and is not yet told: pure, driven from outside.
//!
//! What can come in thousands (deliveries that fail, that are dropped) is counted for each webhook and told at most
//! once a minute, with one event as the example; what is rare is told as it comes. Invariant: neither list has more
//! than [`TRACKED_MAX`] entries; what finds no room is counted as left out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::model::{
    AccountName, AlertKind, EndReason, InactiveReason, Position, SteadyMillis, UnixMillis,
    WebhookId,
};

/// Webhooks that are counted for, and things that wait to be told: some megabytes.
const TRACKED_MAX: usize = 10_000;
/// Failed and dropped deliveries of one webhook are told no more often than this.
const TELL_EVERY_MS: u64 = 60_000;

/// Which webhook it is about, as it was when it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    pub(super) account: AccountName,
    pub(super) webhook: WebhookId,
    /// Host and port of its URL. Path and query may hold a token, so they are not told.
    pub(super) host: String,
    pub(super) name: Option<String>,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Disabled {
        reason: InactiveReason,
        since: UnixMillis,
    },
    Recovered,
    Failed(Count),
    Dropped(Count),
    BacklogHigh {
        waiting: usize,
        bound: usize,
    },
}

impl Fact {
    pub(super) const fn kind(&self) -> AlertKind {
        match self {
            Self::Disabled { .. } => AlertKind::WebhookDisabled,
            Self::Recovered => AlertKind::WebhookRecovered,
            Self::Failed(_) => AlertKind::DeliveryFailed,
            Self::Dropped(_) => AlertKind::DeliveriesDropped,
            Self::BacklogHigh { .. } => AlertKind::BacklogHigh,
        }
    }
}

/// Deliveries that ended so since the last telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) count: u64,
    /// Why the last of them ended.
    pub(super) reason: EndReason,
    /// The event of the first of them.
    pub(super) example: Option<Position>,
    pub(super) first_at: UnixMillis,
    pub(super) last_at: UnixMillis,
}

impl Count {
    fn and(self, later: Self) -> Self {
        Self {
            count: self.count.saturating_add(later.count),
            reason: later.reason,
            example: self.example.or(later.example),
            first_at: self.first_at,
            last_at: later.last_at,
        }
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raised {
    pub(super) about: Arc<About>,
    pub(super) fact: Fact,
    pub(super) at: UnixMillis,
}

#[derive(Debug, Default)]
struct Tally {
    count: Option<Count>,
    told: Option<SteadyMillis>,
}

impl Tally {
    fn add(&mut self, later: Count) {
        self.count = Some(match self.count.take() {
            Some(count) => count.and(later),
            None => later,
        });
    }

    fn is_quiet(&self, now: SteadyMillis) -> bool {
        self.told
            .is_none_or(|told| now.since(told) >= TELL_EVERY_MS)
    }

    fn due(&mut self, now: SteadyMillis, at_once: bool) -> Option<Count> {
        if !at_once && !self.is_quiet(now) {
            return None;
        }
        let count = self.count.take()?;
        self.told = Some(now);
        Some(count)
    }
}

#[derive(Debug)]
struct Tallies {
    about: Arc<About>,
    failed: Tally,
    dropped: Tally,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// What is told as it comes.
    single: VecDeque<Raised>,
    counted: HashMap<WebhookId, Tallies>,
    left_out: u64,
}

impl Table {
    /// Notes what has happened to `webhook`; `about` is asked for only where it is needed.
    pub(super) fn note(
        &mut self,
        webhook: WebhookId,
        fact: Fact,
        at: UnixMillis,
        about: impl FnOnce() -> Arc<About>,
    ) {
        let (count, is_failure) = match fact {
            Fact::Failed(count) => (count, true),
            Fact::Dropped(count) => (count, false),
            Fact::Disabled { .. } | Fact::Recovered | Fact::BacklogHigh { .. } => {
                if self.single.len() >= TRACKED_MAX {
                    self.left_out += 1;
                } else {
                    let about = about();
                    self.single.push_back(Raised { about, fact, at });
                }
                return;
            }
        };
        if self.counted.len() >= TRACKED_MAX && !self.counted.contains_key(&webhook) {
            self.left_out += count.count;
            return;
        }
        let tallies = self.counted.entry(webhook).or_insert_with(|| Tallies {
            about: about(),
            failed: Tally::default(),
            dropped: Tally::default(),
        });
        if is_failure {
            tallies.failed.add(count);
        } else {
            tallies.dropped.add(count);
        }
    }

    /// Takes what is to be told now; all there is where nothing comes after it.
    pub(super) fn due(&mut self, now: SteadyMillis, at_once: bool) -> Vec<Raised> {
        let mut due: Vec<Raised> = self.single.drain(..).collect();
        for tallies in self.counted.values_mut() {
            let facts = [
                tallies.failed.due(now, at_once).map(Fact::Failed),
                tallies.dropped.due(now, at_once).map(Fact::Dropped),
            ];
            due.extend(facts.into_iter().flatten().map(|fact| Raised {
                about: Arc::clone(&tallies.about),
                at: match &fact {
                    Fact::Failed(count) | Fact::Dropped(count) => count.last_at,
                    _ => UnixMillis(0),
                },
                fact,
            }));
        }
        // What was told of lately is remembered, so that it is not told again too soon.
        self.counted.retain(|_, tallies| {
            [&tallies.failed, &tallies.dropped]
                .iter()
                .any(|tally| tally.count.is_some() || !tally.is_quiet(now))
        });
        due
    }

    /// Takes back what could not be told, to be told at the next round.
    pub(super) fn take_back(&mut self, raised: Raised) {
        let webhook = raised.about.webhook;
        let about = Arc::clone(&raised.about);
        let (later, is_failure) = match raised.fact {
            Fact::Failed(count) => (count, true),
            Fact::Dropped(count) => (count, false),
            Fact::Disabled { .. } | Fact::Recovered | Fact::BacklogHigh { .. } => {
                if self.single.len() < TRACKED_MAX {
                    self.single.push_front(raised);
                } else {
                    self.left_out += 1;
                }
                return;
            }
        };
        let tallies = self.counted.entry(webhook).or_insert_with(|| Tallies {
            about,
            failed: Tally::default(),
            dropped: Tally::default(),
        });
        let tally = if is_failure {
            &mut tallies.failed
        } else {
            &mut tallies.dropped
        };
        tally.told = None;
        tally.count = Some(match tally.count.take() {
            Some(newer) => later.and(newer),
            None => later,
        });
    }

    /// How much has found no room since this was last asked.
    pub(super) fn left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(webhook: u128) -> Arc<About> {
        Arc::new(About {
            account: AccountName::new("acme").unwrap(),
            webhook: WebhookId(webhook),
            host: "example.com:443".to_owned(),
            name: None,
        })
    }

    fn count(count: u64, segment: u32, at: u64) -> Count {
        Count {
            count,
            reason: EndReason::Exhausted,
            example: Some(Position { segment, offset: 1 }),
            first_at: UnixMillis(at),
            last_at: UnixMillis(at),
        }
    }

    fn fail(table: &mut Table, webhook: u128, at: u64) {
        let fact = Fact::Failed(count(1, u32::try_from(at).unwrap(), at));
        table.note(WebhookId(webhook), fact, UnixMillis(at), || about(webhook));
    }

    fn told(due: &[Raised]) -> Vec<(u128, u64, u64, u64)> {
        let mut told: Vec<_> = due
            .iter()
            .map(|raised| match &raised.fact {
                Fact::Failed(count) | Fact::Dropped(count) => (
                    raised.about.webhook.0,
                    count.count,
                    count.first_at.0,
                    count.last_at.0,
                ),
                _ => (raised.about.webhook.0, 0, raised.at.0, raised.at.0),
            })
            .collect();
        told.sort_unstable();
        told
    }

    #[test]
    fn the_first_failure_is_told_at_once_and_what_follows_once_a_minute() {
        let mut table = Table::default();
        let now = |s: u64| SteadyMillis(1_000_000 + s * 1_000);
        fail(&mut table, 1, 1);
        assert_eq!(told(&table.due(now(0), false)), [(1, 1, 1, 1)]);
        for at in 2..=500 {
            fail(&mut table, 1, at);
        }
        fail(&mut table, 2, 9);
        assert_eq!(told(&table.due(now(1), false)), [(2, 1, 9, 9)]);
        assert_eq!(told(&table.due(now(59), false)), []);
        let due = table.due(now(60), false);
        assert_eq!(told(&due), [(1, 499, 2, 500)]);
        let Fact::Failed(count) = &due[0].fact else {
            panic!("{due:?}");
        };
        assert_eq!(count.example.unwrap().segment, 2, "the first of them");
        assert_eq!(told(&table.due(now(600), false)), []);
        assert!(table.counted.is_empty(), "nothing is kept for ever");
    }

    #[test]
    fn failed_and_dropped_are_counted_apart() {
        let mut table = Table::default();
        fail(&mut table, 1, 5);
        let fact = Fact::Dropped(count(40, 7, 6));
        table.note(WebhookId(1), fact, UnixMillis(6), || about(1));
        let due = table.due(SteadyMillis(0), false);
        assert_eq!(told(&due), [(1, 1, 5, 5), (1, 40, 6, 6)]);
    }

    #[test]
    fn what_is_rare_is_told_as_it_comes_and_at_the_end_all() {
        let mut table = Table::default();
        for webhook in 1..=3 {
            table.note(WebhookId(webhook), Fact::Recovered, UnixMillis(4), || {
                about(webhook)
            });
        }
        let due = table.due(SteadyMillis(0), false);
        assert_eq!(told(&due), [(1, 0, 4, 4), (2, 0, 4, 4), (3, 0, 4, 4)]);
        fail(&mut table, 1, 1);
        table.due(SteadyMillis(0), false);
        fail(&mut table, 1, 2);
        assert_eq!(told(&table.due(SteadyMillis(1), false)), []);
        assert_eq!(told(&table.due(SteadyMillis(1), true)), [(1, 1, 2, 2)]);
    }

    #[test]
    fn what_could_not_be_told_is_told_later_together_with_what_came_since() {
        let mut table = Table::default();
        fail(&mut table, 1, 1);
        table.note(WebhookId(2), Fact::Recovered, UnixMillis(4), || about(2));
        let due = table.due(SteadyMillis(0), false);
        fail(&mut table, 1, 2);
        for raised in due {
            table.take_back(raised);
        }
        let due = table.due(SteadyMillis(1_000), false);
        assert_eq!(told(&due), [(1, 2, 1, 2), (2, 0, 4, 4)]);
    }

    #[test]
    fn more_webhooks_than_are_tracked_are_left_out_and_counted() {
        let mut table = Table::default();
        let all = TRACKED_MAX as u128 + 5;
        for webhook in 0..all {
            fail(&mut table, webhook, 1);
            fail(&mut table, webhook, 2);
            table.note(WebhookId(webhook), Fact::Recovered, UnixMillis(3), || {
                about(webhook)
            });
        }
        assert_eq!(table.left_out(), 5 * 3);
        assert_eq!(table.left_out(), 0);
        assert_eq!(table.due(SteadyMillis(0), false).len(), 2 * TRACKED_MAX);
        fail(&mut table, all, 1);
        assert_eq!(
            table.left_out(),
            1,
            "those told of lately keep their places"
        );
        table.due(SteadyMillis(TELL_EVERY_MS), false);
        fail(&mut table, all, 1);
        assert_eq!(table.left_out(), 0);
    }
}
