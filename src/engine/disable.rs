//! Disabling a webhook by its profile's rule, when a delivery to it has ended without arriving.
//!
//! The ending and the disabling are two records. A crash between them leaves the webhook active: the next delivery that
//! ends so disables it, or, where the profile has `disable_after`, the next attempt that fails when that time is over,
//! as the failing is read from the log again. Nothing is looked for at the start. What waits for a disabled webhook is
//! held, not dropped.
//!
//! Where a success since the first attempt is to keep a webhook active, what has arrived in this process is known,
//! whatever became of its delivery. What arrived before the start is looked for in the log: there a delivery that
//! arrived and was then queued again counts only when it has arrived again. A webhook that a reload took out of the
//! live table, and another brought back, is as after a start.
//!
//! An attempt under way while the owner gives another URL or `oauth2`, or activates the webhook again, disables
//! nothing: it speaks for what was there before.

use std::sync::Arc;

use crate::model::{
    AuditAction, AuditEntry, DeliveryState, EndReason, InactiveReason, Next, Position,
    SteadyMillis, Trigger, UnixMillis, Webhook, WebhookId,
};
use crate::profile::ExhaustedAction;
use crate::store::{self, DeliverySummary, Reader, Tried};

use super::audit::own;
use super::webhooks::ChangeError;
use super::{Alert, Engine, Live};

/// Deliveries looked at for a success from before the start, newest first: where so many newer ones have failed, an
/// older one's late success then does not count for the webhook's health.
const LOOK_AT_MAX: usize = 10_000;
const LOOK_AT_STEP: usize = 200;
/// A change by somebody else in between is met by trying again.
const TRIES: usize = 5;

impl Engine {
    /// Takes in what an attempt says of the webhook, one that arrived or is on record, and disables the webhook if its
    /// profile says so. `failed_at`: when it failed, where that says something of the receiver.
    pub(super) async fn after_attempt(
        self: &Arc<Self>,
        live: &Arc<Live>,
        (event, run_attempts): (Position, u32),
        next: Next,
        failed_at: Option<SteadyMillis>,
    ) {
        if next == Next::Delivered {
            live.streak.succeeded();
            return;
        }
        if let Next::Failed(end) = next {
            self.after_end(live, event, end, run_attempts).await;
        }
        if let Some(at) = failed_at {
            self.after_failure(live, at).await;
        }
    }

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

    pub(super) async fn disable(self: &Arc<Self>, made_with: &Live, reason: InactiveReason) {
        let fits = || self.disableable(made_with);
        let disable = |webhook: &mut Webhook, now| webhook.set_active(false, reason, now);
        let id = made_with.webhook.id;
        let note = own(
            &made_with.webhook,
            AuditAction::WebhookDisabled,
            reason.as_str(),
        );
        if self.amend(id, fits, disable, note).await {
            tracing::warn!(webhook_id = %id, reason = reason.as_str(),
                "webhook disabled; what waits for it is held until it is activated");
            let inactive = self
                .registry
                .find(id)
                .and_then(|live| live.webhook.inactive);
            let since = inactive.map_or_else(|| self.clock.wall(), |inactive| inactive.since);
            self.alert(made_with, Alert::Disabled { reason, since });
        }
    }

    /// Changes a webhook of our own accord, as it is now, if `fits` still gives it. Gives whether it did.
    pub(super) async fn amend(
        self: &Arc<Self>,
        id: WebhookId,
        fits: impl Fn() -> Option<Arc<Live>>,
        change: impl Fn(&mut Webhook, UnixMillis),
        note: AuditEntry,
    ) -> bool {
        for _ in 0..TRIES {
            let Some(live) = fits() else {
                return false;
            };
            let now = self.clock.wall();
            let mut webhook = live.webhook.clone();
            change(&mut webhook, now);
            webhook.updated_at = now;
            match self.change_webhook(webhook, Some(note.clone())).await {
                Ok(_) => return true,
                Err(ChangeError::Stale) => {}
                Err(error) => {
                    tracing::error!(webhook_id = %id, %error,
                        "the webhook could not be disabled or activated");
                    return false;
                }
            }
        }
        tracing::error!(webhook_id = %id,
            "the webhook could not be disabled or activated: it changes too often");
        false
    }

    /// Whether any delivery to the webhook arrived since the first attempt of this one's run. Where that
    /// cannot be read, it counts as so: a webhook is not disabled on a guess.
    pub(super) async fn succeeded_since(
        &self,
        webhook: WebhookId,
        event: Position,
        run_attempts: u32,
    ) -> bool {
        let (reader, live) = (self.reader.clone(), self.registry.find(webhook));
        let in_memory = move |started_at, recorded| {
            live.is_some_and(|live| live.last_success.is_since(started_at, recorded))
        };
        let look = move || look(&reader, (webhook, event, run_attempts), in_memory);
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

/// Looks for a success since the first attempt of a run: `in_memory` is asked first, with when that one was begun and
/// where it was recorded.
fn look(
    reader: &Reader,
    (webhook, event, run_attempts): (WebhookId, Position, u32),
    in_memory: impl FnOnce(UnixMillis, Position) -> bool,
) -> Result<bool, store::Error> {
    // Probes are no attempts of the run.
    let mut run = reader.tries(webhook, event)?;
    run.retain(|tried| tried.trigger != Trigger::Probe);
    let first = run.len().saturating_sub(run_attempts as usize);
    let Some(Tried {
        recorded,
        started_at,
        ..
    }) = run.get(first).copied()
    else {
        return Ok(true);
    };
    if in_memory(started_at, recorded) {
        return Ok(true);
    }
    // What was recorded after it arrived after it, whatever the wall clock was set to in between.
    let after = |row: &DeliverySummary| match row.state {
        DeliveryState::Delivered { at } => at >= started_at || row.recorded > recorded,
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
