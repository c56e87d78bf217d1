//! Changes to webhooks, sending again, and test events: what the API asks for besides intake.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Attempt, AuditEntry, Event, EventId, Outcome, Position, QueueEntry, Trigger, Webhook, WebhookId,
};
use crate::render;
use crate::store::{Requeued, WriteError, Written};
use crate::vault::VaultError;

use super::attempt::Withheld;
use super::unbroken::unbroken;
use super::{Change, Engine, EngineError, Full, Live};

/// Tests under way at once: they are outside of the bound on attempts, and each holds a socket.
pub const TESTS_MAX: usize = 32;
/// … of one account: people try one thing after another, and others must find a place.
pub(super) const TESTS_OWN_MAX: usize = 4;
/// How long a test may take, whatever the webhook's timeout: its client waits for the answer, and others for its place.
const TEST_TIME_MAX: Duration = Duration::from_secs(30);

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Somebody else changed the webhook in between.
    #[error(
        "the webhook was changed by somebody else in between; read it again and repeat the change"
    )]
    Stale,
    /// No such webhook or delivery.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A record of the delivery is damaged.
    #[error(
        "a record of this delivery is damaged, so it is not known whether it has ended; if it has not, it is still \
         sent by its schedule; to be sure, post the event again under a new id"
    )]
    Unclear,
    /// It is being done already.
    #[error("what this webhook holds is being discarded already; wait for that to end")]
    Discarding,
    /// Too many discards are under way.
    #[error("what other webhooks hold is being discarded; wait for that to end")]
    TooManyDiscards,
    /// Nothing is held: the webhook is active.
    #[error(
        "the webhook is active, so nothing is held for it; change it to `\"active\": false` first, then discard"
    )]
    Active,
    /// The delivery is being sent at this moment.
    #[error("the delivery is being sent at this moment")]
    InFlight,
    /// The account has as many webhooks as it may.
    #[error("an account has at most {max} webhooks; remove some first", max = super::WEBHOOKS_MAX)]
    TooManyWebhooks,
    /// The webhook does not fit the live table.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Too many tests are under way.
    #[error(transparent)]
    TooManyTests(#[from] TooManyTests),
    /// It is held, as the config does not fit it.
    #[error("nothing was sent: {0}")]
    Held(String),
    /// A secret cannot be sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store cannot take it.
    #[error(transparent)]
    Store(#[from] WriteError),
}

/// Too many tests are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooManyTests {
    /// Of the same account.
    #[error("{TESTS_OWN_MAX} tests of this account are under way; wait for one of them to end")]
    Own,
    /// Over all accounts.
    #[error(
        "{TESTS_MAX} tests of all accounts together are under way; wait for some of them to end"
    )]
    All,
}

/// What came of a test event.
#[derive(Debug)]
pub struct Tested {
    /// The id that the test event carried.
    pub event: EventId,
    /// The request and the answer.
    pub attempt: Attempt,
    /// The body that was sent, where one could be made.
    pub body: Option<String>,
    /// Whether the profile counts the answer as success.
    pub delivered: bool,
}

impl Engine {
    /// Registers a webhook; noted in the audit log as `by`, as what changes or removes one.
    ///
    /// # Errors
    /// [`ChangeError`] where it cannot be stored; nothing is changed then.
    pub async fn create_webhook(
        self: &Arc<Self>,
        webhook: Webhook,
        by: Option<AuditEntry>,
    ) -> Result<Arc<Live>, ChangeError> {
        let engine = Arc::clone(self);
        let put = async move { engine.put(webhook, None, by).await };
        unbroken(&self.tracker, put).await
    }

    /// Puts `webhook` in the place of the version it was made from; its own version is one more.
    ///
    /// # Errors
    /// [`ChangeError::Stale`] where that version is no longer the newest.
    pub async fn change_webhook(
        self: &Arc<Self>,
        mut webhook: Webhook,
        by: Option<AuditEntry>,
    ) -> Result<Arc<Live>, ChangeError> {
        let from = webhook.version;
        webhook.version += 1;
        let engine = Arc::clone(self);
        let put = async move { engine.put(webhook, Some(from), by).await };
        unbroken(&self.tracker, put).await
    }

    async fn put(
        &self,
        webhook: Webhook,
        from: Option<u64>,
        by: Option<AuditEntry>,
    ) -> Result<Arc<Live>, ChangeError> {
        let (id, account) = (webhook.id, webhook.account.clone());
        let before = from.and_then(|_| self.registry.find(id));
        // One that the live table has not is held for the config, and was no other for its owner.
        let was_active = from.map(|_| before.map_or(webhook.active, |it| it.webhook.active));
        let change = Change::between(was_active, &webhook);
        let writing = self.seals.writing().await;
        let sealed = self.seals.vault().seal(webhook)?;
        match self.writer_for(by).put_webhook(sealed, from).await? {
            Written::Done => {}
            Written::Stale => return Err(ChangeError::Stale),
        }
        drop(writing);
        let live = self.refresh(id).await;
        self.tell_change(&account, id, change);
        let live = live?;
        // It may have been removed again since.
        live.ok_or(ChangeError::NotFound("webhook"))
    }

    /// Removes a webhook. What waits for it is cancelled and recorded, in the background.
    ///
    /// # Errors
    /// [`ChangeError::Stale`] where it changed in between.
    pub async fn remove_webhook(
        self: &Arc<Self>,
        id: WebhookId,
        version: u64,
        by: Option<AuditEntry>,
    ) -> Result<(), ChangeError> {
        let engine = Arc::clone(self);
        let remove = async move {
            let account = engine
                .registry
                .find(id)
                .map(|it| it.webhook.account.clone());
            let writer = engine.writer_for(by);
            match writer.remove_webhook(id, version).await? {
                Written::Done => {}
                Written::Stale => return Err(ChangeError::Stale),
            }
            engine.refresh(id).await?;
            engine.stats.forget(id);
            if let Some(account) = account {
                engine.tell_change(&account, id, Change::Removed);
            }
            Ok(())
        };
        unbroken(&self.tracker, remove).await
    }

    /// Sends a delivery again now: a waiting one ahead of its time, an ended one with a new run of the
    /// schedule.
    ///
    /// # Errors
    /// [`ChangeError::InFlight`] while an attempt for it runs, [`ChangeError::NotFound`] where the event
    /// was never meant for this webhook or is no longer kept.
    pub async fn send_again(
        self: &Arc<Self>,
        webhook: WebhookId,
        event: Position,
        by: Option<AuditEntry>,
    ) -> Result<(), ChangeError> {
        let engine = Arc::clone(self);
        // A reservation that nobody ended would keep the delivery from ever being sent.
        let requeue = async move { engine.requeue(webhook, event, by).await };
        unbroken(&self.tracker, requeue).await
    }

    async fn requeue(
        &self,
        webhook: WebhookId,
        event: Position,
        by: Option<AuditEntry>,
    ) -> Result<(), ChangeError> {
        match self.reserve(webhook, event).await {
            Some(true) => {}
            Some(false) => return Err(ChangeError::InFlight),
            None => return Err(WriteError::Stopped.into()),
        }
        let requeued = self.writer_for(by).requeue(webhook, event).await;
        let entry: Option<QueueEntry> = match &requeued {
            Ok(Requeued::Now { entry }) => Some(*entry),
            Ok(Requeued::NotFound | Requeued::Unclear) | Err(_) => None,
        };
        self.release(webhook, event, entry).await;
        match requeued? {
            Requeued::Now { .. } => Ok(()),
            Requeued::NotFound => Err(ChangeError::NotFound("delivery")),
            Requeued::Unclear => Err(ChangeError::Unclear),
        }
    }

    /// Sends the profile's example to a webhook now, once, outside of the queue and the log. Who drops the future ends
    /// the attempt.
    ///
    /// # Errors
    /// [`ChangeError::TooManyTests`], [`ChangeError::Held`] where the config has not what the webhook names,
    /// [`ChangeError::Store`] where it cannot be noted; nothing is sent then.
    pub async fn test(&self, live: &Live, by: Option<AuditEntry>) -> Result<Tested, ChangeError> {
        if let Some(why) = live.misfit() {
            return Err(ChangeError::Held(why));
        }
        let place = self.tests.take(&live.webhook.account);
        let _place = place.map_err(|full| match full {
            Full::Own => TooManyTests::Own,
            Full::All => TooManyTests::All,
        })?;
        if let Some(entry) = by {
            self.note(entry).await?;
        }
        let event = self.example(live);
        let timeout = test_timeout(live.timeout);
        let sent = self.send_within(live, &event, 1, timeout).await;
        let (sent, signed) = sent.map_err(|Withheld| {
            let why = "a reload has just taken or replaced the webhook's `tls`; see `held`, or test again";
            ChangeError::Held(why.to_owned())
        })?;
        let delivered = matches!(sent.outcome,
            Outcome::Status(code) if live.policy.success.accepts(code));
        Ok(Tested {
            body: live.body(&event).ok(),
            event: event.id,
            attempt: Attempt {
                number: 1,
                trigger: Trigger::Manual,
                started_at: sent.started_at,
                outcome: sent.outcome,
                phases: sent.phases,
                request_headers: signed,
                response: sent.response,
            },
            delivered,
        })
    }

    fn example(&self, live: &Live) -> Event {
        let (profile, account) = (&live.contract.profile, &live.webhook.account);
        let now = self.clock.wall_micros();
        let mut event = render::example(profile, account, EventId::generate(), now)
            .expect("the contract's envelope was compiled, so the example is JSON");
        if let Some(scope) = &live.webhook.scope {
            event.scope = Some(scope.clone());
        }
        event
    }
}

/// How long a test may take where an attempt may take `own`.
fn test_timeout(own: Duration) -> Duration {
    own.min(TEST_TIME_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_takes_no_longer_than_an_attempt_and_half_a_minute() {
        let seconds = Duration::from_secs;
        assert_eq!(test_timeout(seconds(300)), seconds(30));
        assert_eq!(test_timeout(seconds(10)), seconds(10));
    }
}
