//! Figures of webhooks: what became of attempts and deliveries over the last hour and the last day, kept in memory.
//!
//! They are for people and dashboards. They begin anew with each start, and say since when they are counted. Time is
//! steady, so a wall clock that is set moves nothing from one hour to another. Counting takes one lock that is shared
//! by a sixteenth of the webhooks, and a fraction of a microsecond.

mod ring;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::{
    EndReason, Event, Next, QueueEntry, SteadyMillis, Trigger, UnixMillis, WebhookId,
};
use crate::sender::Sent;
use crate::store;

use super::named::Weight;
use super::{Engine, Live};
use ring::{DAY_SLOT_MS, DAY_SLOTS, Ending, Ring, Sample, Sum};
pub use ring::{Hour, Percentiles, Said};

/// Webhooks whose figures are kept, at most: then those go that were used least lately. Some kilobytes each.
const WEBHOOKS_MAX: usize = 10_000;
const SHARDS: usize = 16;

/// The figures of all webhooks.
#[derive(Debug)]
pub(super) struct Stats {
    started: SteadyMillis,
    webhooks_max: usize,
    shards: [Mutex<Shard>; SHARDS],
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Shard {
    rings: HashMap<WebhookId, Box<Ring>>,
    /// When figures were last given up here for want of room.
    given_up: Option<SteadyMillis>,
}

impl Stats {
    pub(super) fn new(now: SteadyMillis) -> Self {
        Self {
            started: now,
            webhooks_max: WEBHOOKS_MAX,
            shards: Default::default(),
            count: AtomicUsize::new(0),
        }
    }

    /// Counts an attempt that is on record.
    pub(super) fn attempted(&self, webhook: WebhookId, now: SteadyMillis, sample: &Sample) {
        self.change(webhook, now, |ring| ring.attempted(now, sample));
    }

    /// Counts deliveries that ended without an attempt.
    pub(super) fn ended(&self, webhook: WebhookId, now: SteadyMillis, why: EndReason, count: u32) {
        if count > 0 {
            self.change(webhook, now, |ring| ring.ended(now, Ending::of(why), count));
        }
    }

    /// What a webhook did in the last hour, for who chooses which ones the metrics name.
    pub(super) fn weight(&self, webhook: WebhookId, now: SteadyMillis, pending: usize) -> Weight {
        let mut hour = Sum::default();
        if let Some(ring) = self.shard(webhook).rings.get(&webhook) {
            ring.add_hour(now, &mut hour);
        }
        Weight {
            pending,
            failed: hour.attempts.saturating_sub(hour.succeeded),
            attempts: hour.attempts,
        }
    }

    /// The webhook was removed: nobody asks for its figures any more.
    pub(super) fn forget(&self, webhook: WebhookId) {
        if self.shard(webhook).rings.remove(&webhook).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn shard(&self, webhook: WebhookId) -> MutexGuard<'_, Shard> {
        // The last bits of an id are random.
        let at = usize::try_from(webhook.0 % SHARDS as u128).unwrap_or(0);
        let shard = self
            .shards
            .get(at)
            .expect("a remainder is below its divisor");
        shard.lock().expect("no holder of this lock panics")
    }

    fn change(&self, webhook: WebhookId, now: SteadyMillis, change: impl FnOnce(&mut Ring)) {
        let mut shard = self.shard(webhook);
        if let Some(ring) = shard.rings.get_mut(&webhook) {
            return change(ring);
        }
        if self.count.load(Ordering::Relaxed) >= self.webhooks_max {
            self.give_up_one(&mut shard, now);
        }
        let mut ring = Box::new(Ring::new(self.since(&shard)));
        change(&mut ring);
        shard.rings.insert(webhook, ring);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Makes room: of the webhooks of this shard, the one used least lately loses its figures.
    fn give_up_one(&self, shard: &mut Shard, now: SteadyMillis) {
        let oldest = shard.rings.iter().min_by_key(|(_, ring)| ring.used);
        let Some(oldest) = oldest.map(|(webhook, _)| *webhook) else {
            return;
        };
        shard.rings.remove(&oldest);
        self.count.fetch_sub(1, Ordering::Relaxed);
        shard.given_up = Some(now);
    }

    /// From when on all is counted of a webhook of this shard that has no figures.
    fn since(&self, shard: &Shard) -> SteadyMillis {
        shard.given_up.unwrap_or(self.started).max(self.started)
    }
}

/// Figures of one webhook, or of several together.
#[derive(Clone, Debug)]
pub struct Figures {
    /// From when on all is counted.
    pub since: SteadyMillis,
    /// The last hour.
    pub hour: Window,
    /// The last day.
    pub day: Window,
    /// The same hour by hour, the oldest first; an hour in which nothing was counted is all zeros.
    pub hours: [Hour; DAY_SLOTS],
    /// When the last of these begins.
    pub last_hour_from: SteadyMillis,
    /// When something was delivered last.
    pub last_success: Option<UnixMillis>,
    /// When an attempt failed last, at which webhook, and what it met.
    pub last_failure: Option<(UnixMillis, WebhookId, Said)>,
}

/// What happened in a window of time.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// When it begins.
    pub from: SteadyMillis,
    /// Attempts.
    pub attempts: u64,
    /// Of these, the ones that the profile takes for success.
    pub succeeded: u64,
    /// Deliveries that arrived.
    pub delivered: u64,
    /// That failed for good.
    pub failed: u64,
    /// That were dropped over a rate.
    pub dropped: u64,
    /// That expired.
    pub expired: u64,
    /// That were cancelled.
    pub cancelled: u64,
    /// How long attempts took that were answered or timed out.
    pub response: Option<Percentiles>,
    /// From arrival to delivery, of what was delivered by the first attempt.
    pub first_attempt: Option<Percentiles>,
    /// From arrival to delivery.
    pub arrived: Option<Percentiles>,
}

impl Window {
    fn new(from: SteadyMillis, sum: &Sum) -> Self {
        Self {
            from,
            attempts: sum.attempts,
            succeeded: sum.succeeded,
            delivered: sum.ended(Ending::Delivered),
            failed: sum.ended(Ending::Failed),
            dropped: sum.ended(Ending::Dropped),
            expired: sum.ended(Ending::Expired),
            cancelled: sum.ended(Ending::Cancelled),
            response: sum.response(),
            first_attempt: sum.first(),
            arrived: sum.arrived(),
        }
    }
}

/// What waits in the queues of one webhook, or of several.
#[derive(Clone, Debug, Default)]
pub struct Queued {
    /// For webhooks that are sent to.
    pub waiting: usize,
    /// For those that are not.
    pub held: usize,
    /// The first in the queue of those that are sent to, by when it is due; of a single webhook also while it is held.
    pub first: Option<Waiting>,
}

/// A delivery that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// For which webhook.
    pub webhook: WebhookId,
    /// As the queue has it.
    pub entry: QueueEntry,
    /// Its event, where that can be read.
    pub event: Option<Event>,
}

impl Engine {
    /// The figures of webhooks, summed.
    #[must_use]
    pub fn figures(&self, webhooks: &[Arc<Live>]) -> Figures {
        let now = self.clock.steady();
        let (mut hour, mut day) = (Sum::default(), Sum::default());
        let mut hours = [Hour::default(); DAY_SLOTS];
        let mut since = self.stats.started;
        let mut last_success = None;
        let mut last_failure: Option<(UnixMillis, WebhookId, Said)> = None;
        for live in webhooks {
            let id = live.webhook.id;
            let shard = self.stats.shard(id);
            let Some(ring) = shard.rings.get(&id) else {
                since = since.max(self.stats.since(&shard));
                continue;
            };
            since = since.max(ring.since);
            ring.add_hour(now, &mut hour);
            ring.add_day(now, &mut day);
            ring.add_hours(now, &mut hours);
            last_success = last_success.max(ring.last_success);
            let failure = ring.last_failure.map(|(at, said)| (at, id, said));
            last_failure = match (last_failure, failure) {
                (Some(before), Some(failure)) if failure.0 < before.0 => Some(before),
                (before, failure) => failure.or(before),
            };
        }
        Figures {
            since,
            hour: Window::new(ring::hour_from(now), &hour),
            day: Window::new(ring::day_from(now), &day),
            hours,
            last_hour_from: SteadyMillis(now.0 / DAY_SLOT_MS * DAY_SLOT_MS),
            last_success,
            last_failure,
        }
    }

    /// What waits for webhooks. For threads that may block.
    ///
    /// # Errors
    /// [`store::Error`] where a queue cannot be read.
    pub fn queued(&self, webhooks: &[Arc<Live>]) -> Result<Queued, store::Error> {
        let all = (SteadyMillis(0), SteadyMillis(u64::MAX));
        let mut queued = Queued::default();
        let mut first: Option<(QueueEntry, WebhookId)> = None;
        for live in webhooks {
            let id = live.webhook.id;
            let page = self.reader.page(id, all, 1)?;
            let Some(entry) = page.entries.first().copied() else {
                continue;
            };
            if (live.sends() || webhooks.len() == 1) && first.is_none_or(|(first, _)| entry < first)
            {
                first = Some((entry, id));
            }
            let counted = if live.sends() {
                &mut queued.waiting
            } else {
                &mut queued.held
            };
            *counted += self.reader.pending_count(id);
        }
        queued.first = first.map(|(entry, webhook)| Waiting {
            webhook,
            entry,
            event: self.reader.event_at(entry.event).ok(),
        });
        Ok(queued)
    }

    /// When the first delivery of each of these webhooks is to be tried; those of which nothing waits are not among
    /// them. For threads that may block: one seek for each of which something waits.
    ///
    /// # Errors
    /// [`store::Error`] where a queue cannot be read.
    pub fn next_of(
        &self,
        webhooks: &[Arc<Live>],
    ) -> Result<HashMap<WebhookId, UnixMillis>, store::Error> {
        let all = (SteadyMillis(0), SteadyMillis(u64::MAX));
        let mut found = HashMap::new();
        for live in webhooks.iter().filter(|live| live.sends()) {
            let id = live.webhook.id;
            if self.reader.pending_count(id) == 0 {
                continue;
            }
            let page = self.reader.page(id, all, 1)?;
            if let Some(entry) = page.entries.first() {
                found.insert(id, self.clock.wall_of(entry.ready_at()));
            }
        }
        Ok(found)
    }

    /// Counts deliveries that retention has ended.
    pub fn count_expired(&self, webhook: WebhookId, count: u32) {
        let now = self.clock.steady();
        self.stats.ended(webhook, now, EndReason::Expired, count);
    }

    /// An attempt as it is counted once it is on record.
    pub(super) fn sample(
        &self,
        sent: &Sent,
        next: Next,
        entry: &QueueEntry,
        event: Option<&Event>,
    ) -> Sample {
        let at = self.clock.wall();
        // What was sent again, or anew, did not arrive just now.
        let by_schedule =
            entry.trigger == Trigger::Schedule && entry.attempts == entry.run_attempts;
        let first = entry.attempts == 0;
        let arrived_ms = match event {
            _ if first => Some(self.clock.steady().since(entry.due)),
            // When it was due at first is not kept, so the wall clock tells.
            Some(event) => Some(at.0.saturating_sub(event.received_at.0)),
            None => None,
        };
        let ending = match next {
            Next::Delivered => Some(Ending::Delivered),
            Next::Failed(reason) => Some(Ending::of(reason)),
            Next::RetryAt(_) | Next::RetryInPlace(_) | Next::Probed => None,
        };
        Sample {
            at,
            outcome: Said::of(&sent.outcome),
            succeeded: next == Next::Delivered,
            took_us: sent.phases.total_us,
            ending,
            arrived_ms: arrived_ms.filter(|_| by_schedule && next == Next::Delivered),
            first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Sample {
        Sample {
            at: UnixMillis(1),
            outcome: Said::Status(200),
            succeeded: true,
            took_us: 1_000,
            ending: Some(Ending::Delivered),
            arrived_ms: Some(3),
            first: true,
        }
    }

    fn attempts(stats: &Stats, webhook: u128, now: u64) -> u64 {
        let mut sum = Sum::default();
        if let Some(ring) = stats
            .shard(WebhookId(webhook))
            .rings
            .get(&WebhookId(webhook))
        {
            ring.add_day(SteadyMillis(now), &mut sum);
        }
        sum.attempts
    }

    #[test]
    fn the_least_lately_used_go_and_what_comes_after_says_since_when() {
        let mut stats = Stats::new(SteadyMillis(1_000));
        stats.webhooks_max = 3;
        // All in one shard.
        let [a, b, c, d] = [16, 32, 48, 64];
        for (webhook, now) in [(a, 2_000), (b, 3_000), (c, 4_000), (a, 5_000), (d, 6_000)] {
            stats.attempted(WebhookId(webhook), SteadyMillis(now), &sample());
        }
        assert_eq!(attempts(&stats, b, 6_000), 0, "b was used least lately");
        assert_eq!([a, c, d].map(|one| attempts(&stats, one, 6_000)), [2, 1, 1]);
        let shard = stats.shard(WebhookId(a));
        assert_eq!(shard.rings[&WebhookId(a)].since, SteadyMillis(1_000));
        assert_eq!(stats.since(&shard), SteadyMillis(6_000));
        assert_eq!(shard.rings[&WebhookId(d)].since, SteadyMillis(6_000));
        drop(shard);
        stats.forget(WebhookId(a));
        stats.forget(WebhookId(a));
        assert_eq!(stats.count.load(Ordering::Relaxed), 2);
        stats.ended(WebhookId(b), SteadyMillis(7_000), EndReason::OverRate, 0);
        assert_eq!(stats.count.load(Ordering::Relaxed), 2, "nothing is nothing");
    }

    #[test]
    fn counting_from_many_threads_loses_nothing() {
        let stats = Stats::new(SteadyMillis(0));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let stats = &stats;
                scope.spawn(move || {
                    for number in 0..1_000_u128 {
                        stats.attempted(
                            WebhookId((number + thread) % 40),
                            SteadyMillis(9),
                            &sample(),
                        );
                    }
                });
            }
        });
        let all: u64 = (0..40).map(|webhook| attempts(&stats, webhook, 9)).sum();
        assert_eq!(all, 4_000);
    }
}
