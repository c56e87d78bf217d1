//! Disabling a webhook by its profile's rule, when a delivery to it has ended without arriving.
//!
//! The ending and the disabling are two records. A crash between them leaves the webhook active, and the
//! next delivery that ends so disables it. What waits for a disabled webhook is held, not dropped.
//! An attempt under way while the owner gives another URL or activates the webhook again disables nothing: it
//! speaks for what was there before.

use std::sync::Arc;

use crate::model::{DeliveryState, EndReason, InactiveReason, Position, WebhookId};
use crate::profile::ExhaustedAction;
use crate::store::{self, DeliverySummary, Reader};

use super::webhooks::ChangeError;
use super::{Alert, Engine, Live};

/// Deliveries looked at for a success, newest first: where so many newer ones have failed, an older one's
/// late success does not count for the webhook's health.
const LOOK_AT_MAX: usize = 10_000;
const LOOK_AT_STEP: usize = 200;
/// A change by somebody else in between is met by trying again.
const TRIES: usize = 5;

impl Engine {
    /// Disables the webhook if its profile says so of a delivery that ended for `end` after `run_attempts`
    /// attempts.
    pub(super) async fn after_end(
        self: &Arc<Self>,
        live: &Live,
        event: Position,
        end: EndReason,
        run_attempts: u32,
    ) {
        if self.disableable(live).is_none() {
            return;
        }
        let rule = &live.contract.profile.exhausted;
        let reason = match end {
            // An ending of this kind there is only where the profile takes 410 at its word.
            EndReason::Gone => InactiveReason::Gone,
            EndReason::Exhausted if rule.action == ExhaustedAction::Disable => {
                if rule.unless_succeeded_since
                    && self
                        .succeeded_since(live.webhook.id, event, run_attempts)
                        .await
                {
                    return;
                }
                InactiveReason::Exhausted
            }
            EndReason::Exhausted
            | EndReason::WebhookRemoved
            | EndReason::Expired
            | EndReason::OverRate
            | EndReason::Unreadable
            | EndReason::Discarded => return,
        };
        self.disable(live, reason).await;
    }

    /// The webhook as it is now, if it may be disabled for what came of an attempt that was made with `live`.
    fn disableable(&self, live: &Live) -> Option<Arc<Live>> {
        let now = self.registry.find(live.webhook.id)?;
        (now.webhook.active && live.speaks_for(&now)).then_some(now)
    }

    async fn disable(self: &Arc<Self>, made_with: &Live, reason: InactiveReason) {
        let id = made_with.webhook.id;
        for _ in 0..TRIES {
            let Some(live) = self.disableable(made_with) else {
                return;
            };
            let now = self.clock.wall();
            let mut webhook = live.webhook.clone();
            webhook.set_active(false, reason, now);
            webhook.updated_at = now;
            match self.change_webhook(webhook).await {
                Ok(_) => {
                    tracing::warn!(webhook_id = %id, reason = reason.as_str(),
                        "webhook disabled; what waits for it is held until it is activated");
                    self.alert(&live, Alert::Disabled { reason, since: now });
                    return;
                }
                Err(ChangeError::Stale) => {}
                Err(error) => {
                    tracing::error!(webhook_id = %id, %error, "the webhook could not be disabled");
                    return;
                }
            }
        }
        tracing::error!(webhook_id = %id, "the webhook could not be disabled: it changes too often");
    }

    /// Whether any delivery to the webhook arrived since the first attempt of this one's run. Where that
    /// cannot be read, it counts as so: a webhook is not disabled on a guess.
    async fn succeeded_since(
        &self,
        webhook: WebhookId,
        event: Position,
        run_attempts: u32,
    ) -> bool {
        let reader = self.reader.clone();
        let look = move || look(&reader, webhook, event, run_attempts);
        match self.tracker.spawn_blocking(look).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::error!(webhook_id = %webhook, %error, "the log could not be read");
                true
            }
            Err(error) => {
                tracing::error!(webhook_id = %webhook, %error, "reading the log failed");
                true
            }
        }
    }
}

fn look(
    reader: &Reader,
    webhook: WebhookId,
    event: Position,
    run_attempts: u32,
) -> Result<bool, store::Error> {
    let Some(delivery) = reader.delivery(webhook, event)? else {
        return Ok(true);
    };
    let first = delivery
        .attempts
        .len()
        .saturating_sub(run_attempts as usize);
    let since = delivery
        .attempts
        .get(first)
        .zip(delivery.recorded.get(first));
    let Some((attempt, recorded)) = since else {
        return Ok(true);
    };
    // What was recorded after it arrived after it, whatever the wall clock was set to in between.
    let after = |row: &DeliverySummary| match row.state {
        DeliveryState::Delivered { at } => at >= attempt.started_at || row.recorded > *recorded,
        _ => false,
    };
    let (mut before, mut seen) = (None, 0);
    while seen < LOOK_AT_MAX {
        let rows = reader.deliveries(webhook, before, LOOK_AT_STEP)?;
        if rows.iter().any(after) {
            return Ok(true);
        }
        let Some(last) = rows.last() else {
            return Ok(false);
        };
        before = Some(last.event);
        seen += rows.len();
    }
    Ok(false)
}
