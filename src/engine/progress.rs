//! Whether work is progressing: what readiness, the watchdog and the level metrics look at.
//!
//! An open port proves nothing. The scheduler has gone round lately, the committer is not held up by the disk,
//! no task that should run for ever has ended: only then is the daemon doing its work.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::model::{InactiveReason, QueueEntry, SteadyMillis, WebhookId};
use crate::store::{Backlog, Pulse};

use super::named::{Level, Weight};
use super::schedule::Standing;
use super::{Engine, Live};

/// When the scheduler last went round.
#[derive(Debug, Default)]
pub(super) struct Heartbeat(AtomicU64);

impl Heartbeat {
    pub(super) fn beat(&self, now: SteadyMillis) {
        self.0.store(now.0, Ordering::Relaxed);
    }

    fn age_ms(&self, now: SteadyMillis) -> u64 {
        now.since(SteadyMillis(self.0.load(Ordering::Relaxed)))
    }
}

/// The queues' heads are looked at no more often than this, however many ask for metrics.
const MEASURE_EVERY_MS: u64 = 200;

/// The scheduler answers within a round, so microseconds; whoever scrapes does not wait for one that hangs.
const LANES_WAIT_MAX: Duration = Duration::from_millis(500);

/// A task ended by a defect of ours, though it should have gone on: the process must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} ended by a defect; the log says where")]
pub struct TaskDied(pub &'static str);

/// Tells which task died first.
#[derive(Debug, Clone)]
pub(super) struct Deaths(watch::Sender<Option<&'static str>>);

impl Default for Deaths {
    fn default() -> Self {
        Self(watch::channel(None).0)
    }
}

impl Deaths {
    /// Dropped by a panic of the task that holds it, it tells so.
    pub(super) fn watch_over(&self, what: &'static str) -> Alive {
        Alive {
            deaths: self.clone(),
            what,
        }
    }
}

/// See [`Deaths::watch_over`].
pub(super) struct Alive {
    deaths: Deaths,
    what: &'static str,
}

impl Drop for Alive {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.deaths.0.send_if_modified(|first| {
                let news = first.is_none();
                first.get_or_insert(self.what);
                news
            });
        }
    }
}

/// What keeps work from progressing, in words.
struct Stalls {
    scheduler_ms: u64,
    pulse: Pulse,
}

impl Stalls {
    /// What has not moved for longer than `patience_ms`.
    fn over(&self, patience_ms: u64) -> Vec<String> {
        let mut faults = Vec::new();
        if self.scheduler_ms > patience_ms {
            let age = self.scheduler_ms;
            faults.push(format!("the scheduler has not gone round for {age} ms"));
        }
        let busy = self.pulse.busy.as_millis();
        if busy > u128::from(patience_ms) {
            let waiting = self.pulse.waiting;
            faults.push(format!(
                "the committer has not finished a round for {busy} ms, and {waiting} more writes wait: the disk \
                 under [storage] path does not answer"
            ));
        }
        faults
    }
}

impl Engine {
    /// What has kept work from progressing for longer than `patience_ms`, in words. Nothing: all is well.
    #[must_use]
    pub fn faults(&self, patience_ms: u64) -> Vec<String> {
        let stalls = Stalls {
            scheduler_ms: self.heartbeat.age_ms(self.clock.steady()),
            pulse: self.writer.pulse(),
        };
        let mut faults = stalls.over(patience_ms);
        faults.extend(self.store_fault());
        faults.extend(
            self.deaths
                .0
                .borrow()
                .map(|what| TaskDied(what).to_string()),
        );
        faults
    }

    /// How long the committer has been at its present round.
    #[must_use]
    pub fn committer_busy(&self) -> Duration {
        self.writer.pulse().busy
    }

    /// Waits until a task has died by a defect.
    pub async fn task_died(&self) -> TaskDied {
        let mut deaths = self.deaths.0.subscribe();
        let died = deaths.wait_for(Option::is_some).await;
        // The sender is ours, so the wait does not end without news.
        TaskDied(died.ok().and_then(|what| *what).unwrap_or("a task"))
    }

    /// Brings the metrics up to date that are levels: measured when somebody asks, not counted. The queue is
    /// asked for one key of each webhook that sends.
    pub async fn measure(self: &Arc<Self>) {
        if !self.claims_measuring() {
            return;
        }
        self.measure_lanes().await;
        let engine = Arc::clone(self);
        let measured = self.tracker.spawn_blocking(move || engine.measure_now());
        if let Err(error) = measured.await {
            tracing::error!(%error, "the metrics could not be brought up to date");
        }
    }

    fn claims_measuring(&self) -> bool {
        let now = self.clock.steady();
        let last = self.measured.load(Ordering::Relaxed);
        now.since(SteadyMillis(last)) >= MEASURE_EVERY_MS
            && self
                .measured
                .compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Asks the scheduler how lanes stand. Where it does not answer, the last figures stay, and metrics are given even so.
    async fn measure_lanes(&self) {
        let all = self.registry.chosen(|_| true);
        let ids: Vec<WebhookId> = all.iter().map(|live| live.webhook.id).collect();
        let Ok(lanes) = tokio::time::timeout(LANES_WAIT_MAX, self.lanes(&ids)).await else {
            tracing::debug!("the scheduler did not tell in time how lanes stand");
            return;
        };
        let standings = [
            ("fresh", Standing::Fresh),
            ("proven", Standing::Proven),
            ("doubted", Standing::Doubted),
        ];
        for (name, standing) in standings {
            let count = lanes.values().filter(|lane| lane.standing == standing);
            let gauge = self
                .metrics
                .lanes
                .get_or_create_owned(&[("standing", name)]);
            gauge.set(level(count.count() as u64));
        }
    }

    fn measure_now(&self) {
        let now = self.clock.steady();
        let metrics = &self.metrics;
        let wall = Duration::from_millis(self.clock.wall().0);
        metrics.clock_seconds.set(wall.as_secs_f64());
        let pulse = self.writer.pulse();
        metrics.commit_queue_depth.set(level(pulse.waiting as u64));
        metrics.store_stalled_seconds.set(pulse.busy.as_secs_f64());
        let Backlog {
            journal_bytes,
            segments,
            set_aside,
        } = self.reader.backlog();
        metrics.journal_size_bytes.set(level(journal_bytes));
        metrics.journal_segments.set(level(segments.len() as u64));
        metrics.set_aside.set(level(set_aside));
        self.measure_webhooks(now);
    }

    fn measure_webhooks(&self, now: SteadyMillis) {
        let pending: HashMap<WebhookId, usize> = self.reader.pending_counts().into_iter().collect();
        let all = self.registry.chosen(|_| true);
        self.count_webhooks(&all);
        if self.named.wants_choice(now) {
            let weighed: Vec<(Arc<Live>, Weight)> = all
                .iter()
                .map(|live| {
                    let waiting = pending.get(&live.webhook.id).copied().unwrap_or_default();
                    (
                        Arc::clone(live),
                        self.stats.weight(live.webhook.id, now, waiting),
                    )
                })
                .collect();
            self.named.choose(&weighed, now);
        }
        let (mut waiting, mut oldest_ms) = (0_usize, 0);
        let mut levels = Vec::with_capacity(all.len());
        for live in all {
            let webhook = live.webhook.id;
            let sends = live.sends();
            let pending = pending.get(&webhook).copied().unwrap_or_default();
            let mut late_ms = 0;
            if sends && pending > 0 {
                waiting += pending;
                // One that waits in its place for its retry is not late.
                match self.reader.page(webhook, (SteadyMillis(0), now), 1) {
                    Ok(page) => {
                        let due = page.entries.first().map(QueueEntry::ready_at);
                        late_ms = due.map_or(0, |due| now.since(due));
                    }
                    Err(error) => {
                        tracing::error!(webhook_id = %webhook, %error, "the queue could not be read");
                        return;
                    }
                }
            }
            oldest_ms = late_ms.max(oldest_ms);
            levels.push(Level {
                webhook,
                pending,
                oldest_due_seconds: Duration::from_millis(late_ms).as_secs_f64(),
                sends,
            });
        }
        let metrics = &self.metrics;
        // What waits for webhooks that the config does not fit any more is held, too.
        let pending = pending.values().sum::<usize>();
        metrics.deliveries_pending.set(level(pending as u64));
        metrics.deliveries_waiting.set(level(waiting as u64));
        let held = pending.saturating_sub(waiting);
        metrics.deliveries_held.set(level(held as u64));
        metrics
            .oldest_due_seconds
            .set(Duration::from_millis(oldest_ms).as_secs_f64());
        self.named.set_levels(&levels);
    }

    /// Counts webhooks by state. Those that the config does not know any more are in no account, and held.
    fn count_webhooks(&self, all: &[Arc<Live>]) {
        const REASONS: [InactiveReason; 5] = [
            InactiveReason::Request,
            InactiveReason::Exhausted,
            InactiveReason::Gone,
            InactiveReason::Failing,
            InactiveReason::Undeclared,
        ];
        let active = all.iter().filter(|live| live.sends()).count();
        let inactive = |reason| {
            let of = move |live: &&Arc<Live>| {
                let inactive = live.webhook.inactive.as_ref();
                inactive.is_some_and(|inactive| inactive.reason == reason)
            };
            all.iter().filter(of).count()
        };
        let counts = REASONS.map(|reason| (reason.as_str(), inactive(reason)));
        let all_inactive: usize = counts.iter().map(|(_, count)| count).sum();
        // Beside those that are here there may be stored ones that do not fit the config.
        let stored = self.reader.webhooks().len().max(all.len());
        let held = stored.saturating_sub(active + all_inactive);
        let set = |state, reason, count: usize| {
            let labels = [("state", state), ("reason", reason)];
            let gauge = self.metrics.webhooks.get_or_create_owned(&labels);
            gauge.set(level(count as u64));
        };
        set("active", "none", active);
        set("held", "none", held);
        for (reason, count) in counts {
            set("inactive", reason, count);
        }
    }
}

fn level(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl fmt::Debug for Alive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Alive").field(&self.what).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stall_is_told_in_words_once_patience_has_ended() {
        let stalls = |scheduler_ms, busy_ms| Stalls {
            scheduler_ms,
            pulse: Pulse {
                waiting: 7,
                busy: Duration::from_millis(busy_ms),
            },
        };
        assert!(stalls(5_000, 5_000).over(5_000).is_empty());
        let slow_disk = stalls(10, 5_001);
        let [only] = &slow_disk.over(5_000)[..] else {
            panic!("one fault");
        };
        assert!(
            only.contains("5001 ms") && only.contains("7 more"),
            "{only}"
        );
        assert!(
            slow_disk.over(20_000).is_empty(),
            "the watchdog waits for longer"
        );
        assert_eq!(stalls(6_000, 6_000).over(5_000).len(), 2);
    }

    #[tokio::test]
    async fn a_panic_is_told_and_an_end_is_not() {
        let deaths = Deaths::default();
        let tracker = tokio_util::task::TaskTracker::new();
        let alive = deaths.watch_over("one that ends");
        tracker.spawn(async move { drop(alive) }).await.unwrap();
        assert_eq!(*deaths.0.borrow(), None);
        let alive = deaths.watch_over("one that panics");
        let died = tracker.spawn(async move {
            let _alive = alive;
            panic!("as a defect does");
        });
        assert!(died.await.is_err());
        assert_eq!(*deaths.0.borrow(), Some("one that panics"));
    }
}
