//! Keeps the backlog of a rate-limited webhook within its profile's bound, by dropping the oldest.
//!
//! Only deliveries that were never attempted count, and only those are dropped: each ends as over the rate,
//! recorded and counted, and can be sent again. What an inactive webhook holds is left alone. The bound is
//! looked after some times a second, so a burst may be over it for that long.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{EndReason, QueueEntry, SteadyMillis, WebhookId};
use crate::profile::Overflow;
use crate::store::CANCEL_MAX;

use super::reserve::END_MAX;
use super::webhooks::ChangeError;
use super::{Alert, Engine, Live};

/// How often backlogs are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The bound on never-attempted deliveries of a webhook, where its profile drops the oldest beyond it.
fn bound(live: &Live) -> Option<usize> {
    let rate = &live.contract.profile.rate;
    let limited = rate.per_second.is_some() || rate.per_hour.is_some();
    (limited && rate.overflow == Overflow::DropOldest && live.webhook.active)
        .then_some(rate.backlog as usize)
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
            for live in self.registry.chosen(|live| bound(live).is_some()) {
                let Some(bound) = bound(&live) else { continue };
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
            oldest = oldest.or(over.first().map(|entry| entry.event));
            let mut count = 0;
            for some in over.chunks(END_MAX) {
                count += self.end_unsent(webhook, some, EndReason::OverRate).await?.0;
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
        let all = (SteadyMillis(0), SteadyMillis(u64::MAX));
        let read = move || reader.page(webhook, all, bound.saturating_add(CANCEL_MAX));
        let page = match self.tracker.spawn_blocking(read).await {
            Ok(page) => page.map_err(|error| ChangeError::Engine(error.into()))?,
            Err(_) => return Ok(Vec::new()),
        };
        let mut fresh = page.entries;
        fresh.retain(|entry| entry.attempts == 0);
        fresh.truncate(fresh.len().saturating_sub(bound));
        Ok(fresh)
    }
}
