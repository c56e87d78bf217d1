//! Keeps the backlog of a rate-limited webhook within its profile's bound, by dropping the oldest.
//!
//! Only deliveries that were never attempted count, and only those are dropped: each ends as over the rate,
//! recorded and counted, and can be sent again. What an inactive webhook holds is left alone. The bound is
//! looked after some times a second, so a burst may be over it for that long. Jobs fill half of it at most, so that what
//! they queue never makes live deliveries be dropped.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{EndReason, QueueEntry, WebhookId};
use crate::profile::Overflow;
use crate::store::{self, CANCEL_MAX, Reader};

use super::reserve::END_MAX;
use super::webhooks::ChangeError;
use super::{Alert, Engine, Live};

/// How often backlogs are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Deliveries of a queue read at once.
const PAGE_MAX: usize = 1_000;
/// Deliveries that were attempted before and are passed in one look, beyond those that count. Few are due at once, unless
/// many were sent again by hand: jobs wait long before. Beyond them the bound holds when some of them have been sent.
const PASSED_MAX: usize = 50_000;

/// The bound on never-attempted deliveries of a webhook, where its profile drops the oldest beyond it.
fn bound(live: &Live) -> Option<usize> {
    let rate = &live.contract.profile.rate;
    let limited = rate.per_second.is_some() || rate.per_hour.is_some();
    (limited && rate.overflow == Overflow::DropOldest).then_some(rate.backlog as usize)
}

/// The bound, where it is looked after.
fn active_bound(live: &Live) -> Option<usize> {
    bound(live).filter(|_| live.webhook.active)
}

/// How many may be pending of a webhook for jobs to add to them; `None`: any number. An inactive webhook's count too, as
/// they are dropped once it is active.
pub(super) fn half(live: &Live) -> Option<usize> {
    bound(live).map(|bound| (bound / 2).max(1))
}

/// The oldest of a webhook's never-attempted deliveries beyond the bound, at most [`CANCEL_MAX`]; at most `passed_max`
/// that were attempted are passed.
fn oldest_over(
    reader: &Reader,
    webhook: WebhookId,
    bound: usize,
    passed_max: usize,
) -> Result<Vec<QueueEntry>, store::Error> {
    let (mut fresh, mut passed, mut from) = (Vec::new(), 0, None);
    let most = bound.saturating_add(CANCEL_MAX);
    loop {
        let (mut entries, next) = reader.pending_of(webhook, from, PAGE_MAX)?;
        let read = entries.len();
        entries.retain(|entry| entry.attempts == 0);
        passed += read - entries.len();
        fresh.append(&mut entries);
        if next.is_none() || fresh.len() >= most || passed >= passed_max {
            break;
        }
        from = next;
    }
    fresh.truncate(fresh.len().saturating_sub(bound).min(CANCEL_MAX));
    Ok(fresh)
}

impl Engine {
    /// Looks after the backlogs until the engine stops.
    pub(super) async fn keep_backlogs(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return,
                _ = ticks.tick() => {}
            }
            for live in self.registry.chosen(|live| active_bound(live).is_some()) {
                let Some(bound) = active_bound(&live) else {
                    continue;
                };
                if let Err(error) = self.trim(live.webhook.id, bound).await {
                    tracing::error!(webhook_id = %live.webhook.id, %error,
                        "the backlog could not be brought within its bound; it is tried again");
                }
            }
        }
    }

    async fn trim(&self, webhook: WebhookId, bound: usize) -> Result<(), ChangeError> {
        let (mut dropped, mut oldest) = (0, None);
        while !self.stopping.is_cancelled() {
            let over = self.over(webhook, bound).await?;
            if over.is_empty() {
                break;
            }
            let mut count = 0;
            for some in over.chunks(END_MAX) {
                let unsent = self.end_unsent(webhook, some, EndReason::OverRate).await?;
                // Not the first of those that are over: that one may be being sent, and arrive.
                oldest = oldest.or(unsent.first);
                count += unsent.ended;
            }
            dropped += count;
            if count == 0 {
                break; // What is over is being sent at this moment.
            }
        }
        if dropped > 0 {
            tracing::warn!(webhook_id = %webhook, dropped, bound,
                "deliveries dropped: more than the bound waited over the webhook's rate");
            self.alert_of(
                webhook,
                Alert::Dropped {
                    event: oldest,
                    count: dropped,
                },
            );
        }
        Ok(())
    }

    /// The oldest never-attempted deliveries beyond the bound, at most as many as are dropped at once.
    async fn over(&self, webhook: WebhookId, bound: usize) -> Result<Vec<QueueEntry>, ChangeError> {
        if self.reader.pending_count(webhook) <= bound {
            return Ok(Vec::new());
        }
        let reader = self.reader.clone();
        let read = move || oldest_over(&reader, webhook, bound, PASSED_MAX);
        match self.tracker.spawn_blocking(read).await {
            Ok(over) => over.map_err(|error| ChangeError::Engine(error.into())),
            Err(_) => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Next, SteadyMillis};
    use crate::store::tests::{accept, finish, open_at, pending, register, runtime};

    #[test]
    fn what_was_attempted_neither_counts_nor_hides_what_was_not() {
        let directory = tempfile::tempdir().unwrap();
        let (opened, of) = (open_at(directory.path()), WebhookId(1));
        let reader = &opened.reader;
        runtime().block_on(async {
            register(&opened.writer, [1]).await;
            for number in 0..1_100 {
                accept(&opened.writer, &format!("e{number:04}"), &[1]).await;
            }
            // Their turn has come again, before all that comes later.
            for entry in pending(reader, 1) {
                let retry = Next::RetryAt(SteadyMillis(entry.due.0));
                opened.writer.finish(finish(1, entry, retry)).await.unwrap();
            }
            for number in 0..30 {
                accept(&opened.writer, &format!("f{number:02}"), &[1]).await;
            }
        });
        let all = pending(reader, 1);
        let fresh: Vec<QueueEntry> = all.into_iter().filter(|one| one.attempts == 0).collect();
        assert_eq!(fresh.len(), 30);
        for (bound, over) in [(30, 0), (29, 1), (10, 20), (1, 29)] {
            let found = oldest_over(reader, of, bound, PASSED_MAX).unwrap();
            assert_eq!(found, fresh[..over], "{bound}");
        }
        assert_eq!(oldest_over(reader, of, 1, 1_000).unwrap(), []);
    }
}
