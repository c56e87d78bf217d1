//! Deliveries taken out of the scheduler's hands for a moment: to be queued anew, probed, or ended.
//!
//! What is reserved is not sent, and what is being sent cannot be reserved, so a delivery that is ended under a
//! reservation was not on its way.

use tokio::sync::oneshot;

use crate::model::{EndReason, Position, QueueEntry, WebhookId};
use crate::store::WriteError;

use super::Engine;
use super::hints::Hint;

/// Deliveries reserved at once to be ended: below what a lane allows, as requests and a probe may need a place too.
pub(super) const END_MAX: usize = 48;

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

    /// Ends these deliveries, at most [`END_MAX`], but for those that are being sent. Gives how many were ended, and
    /// how many were left.
    pub(super) async fn end_unsent(
        &self,
        webhook: WebhookId,
        entries: &[QueueEntry],
        reason: EndReason,
    ) -> Result<(u32, usize), WriteError> {
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
        for event in events {
            self.release(webhook, event, None).await;
        }
        let (ended, now) = (ended?, self.clock.steady());
        self.stats.ended(webhook, now, reason, ended);
        Ok((ended, left))
    }
}
