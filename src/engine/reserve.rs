//! Deliveries taken out of the scheduler's hands for a moment: to be queued anew, probed, or ended.
//!
//! What is reserved is not sent, and what is being sent cannot be reserved, so a delivery that is ended under a
//! reservation was not on its way. A webhook that is not in the live table, as its account is not in the config, has no
//! lane and so no reservations; what waits for it is ended once its lane and its probe are over.

use tokio::sync::oneshot;

use crate::model::{EndReason, Position, QueueEntry, WebhookId};
use crate::store::WriteError;

use super::Engine;
use super::hints::Hint;

/// Deliveries reserved at once to be ended: below what a lane allows, as requests and a probe may need a place too.
pub(super) const END_MAX: usize = 48;

/// What came of deliveries that were to be ended.
pub(super) struct Unsent {
    /// How many were ended.
    pub(super) ended: u32,
    /// How many were left, as they are being sent.
    pub(super) left: usize,
    /// The first one that was ended.
    pub(super) first: Option<Position>,
}

impl Engine {
    /// Reserves a delivery; `false` if it is being sent, or reserved already. `None`: the scheduler has stopped.
    pub(super) async fn reserve(&self, webhook: WebhookId, event: Position) -> Option<bool> {
        self.ask_to_reserve(webhook, event).await.await.ok()
    }

    async fn ask_to_reserve(&self, webhook: WebhookId, event: Position) -> oneshot::Receiver<bool> {
        let (answer, answered) = oneshot::channel();
        let reserve = Hint::Reserve {
            webhook,
            event,
            answer,
        };
        self.tell(reserve).await;
        answered
    }

    /// Ends a reservation, with the delivery as it stands in the queue now where that is known.
    pub(super) async fn release(
        &self,
        webhook: WebhookId,
        event: Position,
        entry: Option<QueueEntry>,
    ) {
        let release = Hint::Release {
            webhook,
            event,
            entry,
        };
        self.tell(release).await;
    }

    /// Ends these deliveries, at most [`END_MAX`], but for those that are being sent.
    pub(super) async fn end_unsent(
        &self,
        webhook: WebhookId,
        entries: &[QueueEntry],
        reason: EndReason,
    ) -> Result<Unsent, WriteError> {
        let mut asked = Vec::with_capacity(entries.len());
        for entry in entries {
            asked.push((*entry, self.ask_to_reserve(webhook, entry.event).await));
        }
        let mut reserved = Vec::with_capacity(entries.len());
        for (entry, answered) in asked {
            if answered.await.unwrap_or(false) {
                reserved.push(entry);
            }
        }
        let left = entries.len() - reserved.len();
        let events: Vec<_> = reserved.iter().map(|entry| entry.event).collect();
        let ended = match reserved.is_empty() {
            true => Ok(0),
            false => self.writer.cancel(webhook, reserved, reason).await,
        };
        for event in &events {
            self.release(webhook, *event, None).await;
        }
        let (ended, now) = (ended?, self.clock.steady());
        self.stats.ended(webhook, now, reason, ended);
        self.tell_ended(webhook, &events, (reason, ended)).await;
        let first = events.first().copied().filter(|_| ended > 0);
        Ok(Unsent { ended, left, first })
    }

    /// Ends deliveries because history is not kept that long, but for those that are being sent: they are left to their
    /// attempts, and to the next sweep. Gives how many were ended.
    ///
    /// # Errors
    /// [`WriteError`]; what was ended before stays so.
    pub async fn expire(
        &self,
        webhook: WebhookId,
        entries: &[QueueEntry],
    ) -> Result<u32, WriteError> {
        let mut expired = 0;
        for some in entries.chunks(END_MAX) {
            if self.registry.find(webhook).is_some() {
                expired += self
                    .end_unsent(webhook, some, EndReason::Expired)
                    .await?
                    .ended;
            } else if self.is_quiet(webhook).await {
                // A reload that brings it back at this very moment may have one of these sent as it ends.
                let cancel = self
                    .writer
                    .cancel(webhook, some.to_vec(), EndReason::Expired);
                let ended = cancel.await?;
                self.count_expired(webhook, ended);
                expired += ended;
            }
        }
        Ok(expired)
    }

    /// Whether nothing can be under way for a webhook that is not in the live table: a lane that is closed is there
    /// until its last attempt has ended.
    async fn is_quiet(&self, webhook: WebhookId) -> bool {
        let (answer, answered) = oneshot::channel();
        let webhooks = vec![webhook];
        self.tell(Hint::Figures { webhooks, answer }).await;
        let lanes = answered.await;
        lanes.is_ok_and(|lanes| lanes.is_empty()) && !self.probing.is_under_way(webhook)
    }
}
