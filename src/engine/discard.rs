//! Discarding what an inactive webhook holds, because its owner asks for it.
//!
//! Only what is held when that is asked for ends: what arrives or is asked for later is left alone, and so is what is
//! being sent. It stops where the webhook is activated meanwhile. When the client hangs up, what was looked at is carried
//! to its end, and no more is looked at. One call at a time discards for a webhook. Every delivery ends on record and can
//! be sent again.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::model::{
    AuditEntry, EndReason, Position, QueueEntry, SteadyMillis, Trigger, UnixMicros, WebhookId,
};
use crate::store::{QueueCursor, Reader, WriteError};

use super::reserve::END_MAX;
use super::unbroken::unbroken;
use super::webhooks::ChangeError;
use super::{Engine, Full, Live};

/// Deliveries that one call discards: some seconds' work. The answer then says that there is more.
const DISCARD_MAX: usize = 100_000;
/// Deliveries that one call looks at: with a time given, each of their events is read.
const LOOK_AT_MAX: usize = 1_000_000;
/// Calls at once, each of another webhook: each reads and writes as fast as the disk lets it, and others want that too.
pub(super) const DISCARDS_MAX: usize = 2;
/// Those looked at in one step, so that readers' lock on the live state is short.
const LOOK_AT: usize = 1_000;

/// What a call has discarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discarded {
    /// How many deliveries.
    pub count: usize,
    /// Whether more may be held that it should have discarded: the call is to be repeated.
    pub more: bool,
}

/// What is discarded.
#[derive(Clone, Copy, Debug)]
struct Scope {
    /// The end of the journal when it was asked for.
    end: Position,
    /// When it was asked for.
    at: SteadyMillis,
    /// Only events that were created up to then.
    until: Option<UnixMicros>,
}

impl Scope {
    fn holds(&self, reader: &Reader, entry: &QueueEntry) -> bool {
        let asked_later = entry.trigger != Trigger::Schedule && entry.due >= self.at;
        if entry.event >= self.end || asked_later {
            return false;
        }
        // One that cannot be read is left to its end as unreadable.
        self.until.is_none_or(|until| {
            let event = reader.event_at(entry.event);
            event.is_ok_and(|event| event.created_at <= until)
        })
    }
}

impl Engine {
    /// Ends what an inactive webhook holds now, of events created up to `until` if that is given.
    ///
    /// # Errors
    /// [`ChangeError::Active`]; [`ChangeError::Discarding`] and [`ChangeError::TooManyDiscards`] where others are at it;
    /// [`ChangeError`] where it could not be written or read: what was ended before stays so.
    pub async fn discard_held(
        self: &Arc<Self>,
        webhook: WebhookId,
        until: Option<UnixMicros>,
        by: Option<AuditEntry>,
    ) -> Result<Discarded, ChangeError> {
        let place = self.discards.take(&webhook).map_err(|full| match full {
            Full::Own => ChangeError::Discarding,
            Full::All => ChangeError::TooManyDiscards,
        })?;
        let engine = Arc::clone(self);
        let gone = CancellationToken::new();
        let _told = gone.clone().drop_guard();
        let work = async move {
            let _place = place;
            let scope = Scope {
                end: engine.reader.end(),
                at: engine.clock.steady(),
                until,
            };
            let live = engine
                .registry
                .find(webhook)
                .ok_or(ChangeError::NotFound("webhook"))?;
            if live.webhook.active {
                return Err(ChangeError::Active);
            }
            // It is written in many records, and may be broken off.
            if let Some(entry) = by {
                engine.note(entry).await?;
            }
            engine.discard(&live, scope, &gone).await
        };
        unbroken(&self.tracker, work).await
    }

    async fn discard(
        &self,
        live: &Live,
        scope: Scope,
        gone: &CancellationToken,
    ) -> Result<Discarded, ChangeError> {
        let (mut discarded, mut from, mut seen) = (Discarded::default(), None, 0);
        let result = loop {
            let (found, looked_at, next) = match self.held(live.webhook.id, from, scope).await {
                Ok(found) => found,
                Err(error) => break Err(error),
            };
            seen += looked_at;
            if let Err(error) = self.discard_these(live, &found, &mut discarded).await {
                break Err(error);
            }
            from = next;
            let full = discarded.count >= DISCARD_MAX || seen >= LOOK_AT_MAX || gone.is_cancelled();
            if from.is_none() || full || !self.still_inactive(live.webhook.id) {
                discarded.more |= full && from.is_some();
                break Ok(discarded);
            }
            if self.stopping.is_cancelled() {
                break Err(WriteError::Stopped.into());
            }
        };
        tracing::info!(webhook_id = %live.webhook.id, account = %live.webhook.account,
            count = discarded.count, more = discarded.more, "held deliveries discarded");
        result
    }

    async fn discard_these(
        &self,
        live: &Live,
        entries: &[QueueEntry],
        discarded: &mut Discarded,
    ) -> Result<(), ChangeError> {
        let room = DISCARD_MAX - discarded.count.min(DISCARD_MAX);
        discarded.more |= entries.len() > room;
        for some in entries.get(..room).unwrap_or(entries).chunks(END_MAX) {
            if !self.still_inactive(live.webhook.id) {
                return Ok(());
            }
            let unsent = self
                .end_unsent(live.webhook.id, some, EndReason::Discarded)
                .await?;
            discarded.count += usize::try_from(unsent.ended).unwrap_or(usize::MAX);
            discarded.more |= unsent.left > 0;
        }
        Ok(())
    }

    fn still_inactive(&self, webhook: WebhookId) -> bool {
        self.registry
            .find(webhook)
            .is_some_and(|live| !live.webhook.active)
    }

    /// The next of what is held and is to be discarded, how many were looked at, and where to go on.
    async fn held(
        &self,
        webhook: WebhookId,
        from: Option<QueueCursor>,
        scope: Scope,
    ) -> Result<(Vec<QueueEntry>, usize, Option<QueueCursor>), ChangeError> {
        let reader = self.reader.clone();
        let look = move || {
            let (mut entries, next) = reader.pending_of(webhook, from, LOOK_AT)?;
            let looked_at = entries.len();
            entries.retain(|entry| scope.holds(&reader, entry));
            Ok((entries, looked_at, next))
        };
        match self.tracker.spawn_blocking(look).await {
            Ok(found) => {
                found.map_err(|error: crate::store::Error| ChangeError::Engine(error.into()))
            }
            Err(_) => Err(WriteError::Stopped.into()),
        }
    }
}
