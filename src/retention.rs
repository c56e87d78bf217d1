//! Retention: which of the oldest history is deleted, and when.
//!
//! Whole segments go, oldest first. Nothing that is pending is deleted under a delivery's feet: a delivery of an
//! event that has outlived the age limit, such as one held for an inactive webhook, first ends as expired, and
//! that is recorded. The limit by size deletes no pending delivery's event; it stops before it.

use crate::model::{EndReason, QueueEntry, UnixMillis, WebhookId};
use crate::store::{Backlog, CANCEL_MAX, Error, Options, Reader, WriteError, Writer};

/// Queue keys looked at in one step, so that readers' lock on the live state is short.
const LOOK_AT: usize = 4096;

/// What history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Delete what is older, milliseconds.
    pub age_ms: u64,
    /// Delete the oldest while the journal is larger, bytes.
    pub bytes: u64,
}

impl From<&Options> for Limits {
    fn from(options: &Options) -> Self {
        Self {
            age_ms: options.retention_age_ms,
            bytes: options.retention_bytes,
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Pending deliveries of events up to this segment end as expired.
    pub expire_through: Option<u32>,
    /// Segments up to this one are deleted, as far as nothing pending points into them.
    pub delete_through: Option<u32>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Deliveries that ended as expired.
    pub expired: u64,
    /// Segments deleted.
    pub segments: u32,
}

/// A sweep that could not be finished; the next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] Error),
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The runtime is shutting down.
    #[error("the sweep was cut off")]
    CutOff,
}

/// Decides what to do, from what there is and the wall clock. Pure.
///
/// A segment is as old as its newest record, which is not newer than the next segment. The last segment is
/// being written and never goes.
#[must_use]
pub fn plan(backlog: &Backlog, limits: Limits, now: UnixMillis) -> Plan {
    let mut plan = Plan::default();
    let mut bytes = backlog.journal_bytes;
    let mut pending_before = 0;
    for pair in backlog.segments.windows(2) {
        let [one, next] = pair else { break };
        let aged = now.0.saturating_sub(next.segment.created_ms) > limits.age_ms;
        let number = one.segment.number;
        pending_before += one.pending;
        if aged && one.pending > 0 {
            plan.expire_through = Some(number);
        }
        // What is aged goes once its deliveries have expired; what is too much goes if nothing is pending.
        if aged || (bytes > limits.bytes && pending_before == 0) {
            plan.delete_through = Some(number);
        } else {
            break;
        }
        bytes = bytes.saturating_sub(one.segment.bytes);
    }
    plan
}

/// Makes the plan of the moment true. The daemon calls it every minute.
///
/// # Errors
/// [`SweepError`]; nothing is half done, and the next sweep goes on.
pub async fn sweep(
    reader: &Reader,
    writer: &Writer,
    limits: Limits,
    now: UnixMillis,
) -> Result<Swept, SweepError> {
    let plan = plan(&reader.backlog(), limits, now);
    let mut swept = Swept::default();
    if let Some(segment) = plan.expire_through {
        swept.expired = expire(reader, writer, segment).await?;
    }
    if let Some(segment) = plan.delete_through {
        swept.segments = writer.delete_through(segment).await?;
    }
    if swept != Swept::default() {
        tracing::info!(
            segments = swept.segments,
            expired = swept.expired,
            "retention swept"
        );
    }
    Ok(swept)
}

/// Ends the pending deliveries of events up to `segment`.
async fn expire(reader: &Reader, writer: &Writer, segment: u32) -> Result<u64, SweepError> {
    let (mut expired, mut from) = (0, None);
    loop {
        let blocking = reader.clone();
        let looked =
            tokio::task::spawn_blocking(move || blocking.pending_through(segment, from, LOOK_AT));
        let (found, next) = looked.await.map_err(|_| SweepError::CutOff)??;
        for (webhook, entries) in by_webhook(found) {
            for chunk in entries.chunks(CANCEL_MAX) {
                let count = writer
                    .cancel(webhook, chunk.to_vec(), EndReason::Expired)
                    .await?;
                tracing::warn!(webhook_id = %webhook, count, "deliveries expired: older than retention allows");
                expired += u64::from(count);
            }
        }
        match next {
            Some(cursor) => from = Some(cursor),
            None => return Ok(expired),
        }
    }
}

/// Groups what the queue's order has brought together already.
fn by_webhook(found: Vec<(WebhookId, QueueEntry)>) -> Vec<(WebhookId, Vec<QueueEntry>)> {
    let mut grouped: Vec<(WebhookId, Vec<QueueEntry>)> = Vec::new();
    for (webhook, entry) in found {
        match grouped.last_mut() {
            Some((last, entries)) if *last == webhook => entries.push(entry),
            _ => grouped.push((webhook, vec![entry])),
        }
    }
    grouped
}

#[cfg(test)]
mod tests;
