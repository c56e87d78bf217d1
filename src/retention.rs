//! Retention: which of the oldest history is deleted, and when.
//!
//! Whole segments go, oldest first. Nothing that is pending is deleted under a delivery's feet: a delivery of an
//! event that has outlived the age limit, such as one held for an inactive webhook, first ends as expired, and
//! that is recorded. The limit by size stops at what waits for an active webhook. Where all that it would stop at is
//! held, for its owner or for the config, that ends as expired: a webhook that somebody has forgotten must not make the
//! journal grow for ever. Then the oldest segments go, no more of them than needed.
//!
//! What is being sent is not ended under its attempt: it is left, its segment stays with it, and the next sweep meets
//! it, ended or waiting again.

use std::collections::BTreeMap;

use crate::model::{QueueEntry, SteadyMillis, WebhookId};
use crate::store::{Backlog, Error, Options, QueueCursor, Reader, WriteError, Writer};

/// Queue keys looked at in one step, so that readers' lock on the live state is short.
const LOOK_AT: usize = 4096;
/// Held deliveries ended in one step: before each it is asked whether their webhook still holds them.
const END_AT_ONCE: usize = 48;

/// The queues, as the one has them who sends what waits there.
pub trait Queues: Sync {
    /// Whether what waits for a webhook is held.
    fn is_held(&self, webhook: WebhookId) -> bool;

    /// Ends pending deliveries of a webhook as expired, but for those that are being sent. Gives how many were ended.
    fn expire(
        &self,
        webhook: WebhookId,
        entries: &[QueueEntry],
    ) -> impl Future<Output = Result<u32, WriteError>> + Send;
}

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

/// Decides what to do, from what there is and the steady time. Pure.
///
/// Ages are in steady time: a wall clock that is set ahead makes nothing older.
/// A segment is as old as its newest record, which is not newer than the next segment. The last segment is
/// being written and never goes.
#[must_use]
pub fn plan(backlog: &Backlog, limits: Limits, now: SteadyMillis) -> Plan {
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

/// Up to which segment held deliveries must end, so that the journal comes within its limit by size. `held` has how many
/// are held of each segment's events. Pure.
///
/// What else is pending waits for an active webhook, and there it ends: nothing newer would make room.
#[must_use]
pub fn held_in_the_way(
    backlog: &Backlog,
    held: &BTreeMap<u32, u64>,
    limits: Limits,
) -> Option<u32> {
    let (mut bytes, mut through) = (backlog.journal_bytes, None);
    for pair in backlog.segments.windows(2) {
        let [one, _] = pair else { break };
        let of_it = held.get(&one.segment.number).copied().unwrap_or_default();
        if bytes <= limits.bytes || one.pending > of_it {
            break;
        }
        if one.pending > 0 {
            through = Some(one.segment.number);
        }
        bytes = bytes.saturating_sub(one.segment.bytes);
    }
    through
}

/// Makes the plan of the moment true, but for what is being sent. The daemon calls it every minute.
///
/// # Errors
/// [`SweepError`]; nothing is half done, and the next sweep goes on.
pub async fn sweep(
    reader: &Reader,
    writer: &Writer,
    limits: Limits,
    now: SteadyMillis,
    queues: &impl Queues,
) -> Result<Swept, SweepError> {
    let plan = plan(&reader.backlog(), limits, now);
    let mut swept = Swept::default();
    // What can go at once goes first: on a full disk nothing can be put on record, and this makes room.
    if let Some(segment) = plan.delete_through {
        swept.segments = writer.delete_through(segment).await?;
    }
    if let Some(segment) = plan.expire_through {
        swept.expired = expire(reader, segment, queues).await?;
    }
    if let Some(segment) = plan.delete_through.filter(|_| swept.expired > 0) {
        swept.segments += writer.delete_through(segment).await?;
    }
    let held = expire_held(reader, limits, queues).await?;
    if held > 0 {
        swept.expired += held;
        if let Some(segment) = self::plan(&reader.backlog(), limits, now).delete_through {
            swept.segments += writer.delete_through(segment).await?;
        }
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
async fn expire(reader: &Reader, segment: u32, queues: &impl Queues) -> Result<u64, SweepError> {
    let (mut expired, mut from) = (0, None);
    loop {
        let blocking = reader.clone();
        let looked =
            tokio::task::spawn_blocking(move || blocking.pending_through(segment, from, LOOK_AT));
        let (found, next) = looked.await.map_err(|_| SweepError::CutOff)??;
        for (webhook, entries) in by_webhook(found) {
            let count = queues.expire(webhook, &entries).await?;
            if count > 0 {
                tracing::warn!(webhook_id = %webhook, count, "deliveries expired: older than retention allows");
            }
            expired += u64::from(count);
        }
        match next {
            Some(cursor) => from = Some(cursor),
            None => return Ok(expired),
        }
    }
}

/// Ends what is held of the oldest events, where the journal is over its limit by size for nothing else.
async fn expire_held(
    reader: &Reader,
    limits: Limits,
    queues: &impl Queues,
) -> Result<u64, SweepError> {
    let backlog = reader.backlog();
    let holders = || {
        let webhooks = reader.webhooks().into_iter().map(|webhook| webhook.id);
        webhooks
            .filter(|id| queues.is_held(*id))
            .collect::<Vec<_>>()
    };
    if backlog.journal_bytes <= limits.bytes {
        return Ok(0);
    }
    let mut held: BTreeMap<u32, u64> = BTreeMap::new();
    for webhook in holders() {
        let mut from = None;
        loop {
            let (entries, next) = look_at(reader, webhook, from).await?;
            for entry in entries {
                *held.entry(entry.event.segment).or_default() += 1;
            }
            from = next;
            if from.is_none() {
                break;
            }
        }
    }
    let Some(segment) = held_in_the_way(&backlog, &held, limits) else {
        return Ok(0);
    };
    let mut expired = 0;
    for webhook in holders() {
        let (mut from, mut of_it) = (None, 0);
        loop {
            let (mut entries, next) = look_at(reader, webhook, from).await?;
            entries.retain(|entry| entry.event.segment <= segment);
            for chunk in entries.chunks(END_AT_ONCE) {
                // It may have been activated since.
                if queues.is_held(webhook) {
                    of_it += u64::from(queues.expire(webhook, chunk).await?);
                }
            }
            from = next;
            if from.is_none() {
                break;
            }
        }
        if of_it > 0 {
            tracing::warn!(webhook_id = %webhook, count = of_it,
                "held deliveries expired: the journal is over retention_size, and nothing else could go");
        }
        expired += of_it;
    }
    Ok(expired)
}

/// The next pending deliveries of a webhook, and where to go on.
async fn look_at(
    reader: &Reader,
    webhook: WebhookId,
    from: Option<QueueCursor>,
) -> Result<(Vec<QueueEntry>, Option<QueueCursor>), SweepError> {
    let reader = reader.clone();
    let looked = tokio::task::spawn_blocking(move || reader.pending_of(webhook, from, LOOK_AT));
    Ok(looked.await.map_err(|_| SweepError::CutOff)??)
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
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;

    use super::*;
    use crate::metrics::Metrics;
    use crate::model::{EndReason, Position};
    use crate::store::tests::history::write_history;
    use crate::store::tests::{accept, open_small, open_with, options, pending, runtime};
    use crate::store::{Opened, SegmentBacklog, SegmentInfo, open};

    /// Segments of 100 bytes made at hours 0, 1, 2, …, with these pending counts.
    fn backlog(pending: &[u64]) -> Backlog {
        let segments: Vec<SegmentBacklog> = (1..)
            .zip(pending)
            .map(|(number, pending)| SegmentBacklog {
                segment: SegmentInfo {
                    number,
                    created_ms: u64::from(number - 1) * 3_600_000,
                    bytes: 100,
                },
                pending: *pending,
            })
            .collect();
        Backlog {
            journal_bytes: 100 * segments.len() as u64,
            segments,
            set_aside: 0,
        }
    }

    fn planned(pending: &[u64], age_hours: u64, bytes: u64) -> (Option<u32>, Option<u32>) {
        let limits = Limits {
            age_ms: age_hours * 3_600_000,
            bytes,
        };
        let plan = plan(&backlog(pending), limits, SteadyMillis(5 * 3_600_000 + 1));
        (plan.expire_through, plan.delete_through)
    }

    #[test]
    fn the_aged_go_and_their_deliveries_expire_first() {
        assert_eq!(planned(&[0, 0, 0, 0, 0], 2, 9_999), (None, Some(3)));
        assert_eq!(planned(&[0, 4, 0, 2, 0], 2, 9_999), (Some(2), Some(3)));
        assert_eq!(planned(&[0, 0, 0, 0, 0], 9, 9_999), (None, None));
        assert_eq!(planned(&[], 0, 0), (None, None));
    }

    #[test]
    fn the_size_limit_stops_at_what_is_pending_and_never_takes_the_last() {
        assert_eq!(planned(&[0, 0, 0, 0, 0], 99, 250), (None, Some(3)));
        assert_eq!(planned(&[0, 1, 0, 0, 0], 99, 250), (None, Some(1)));
        assert_eq!(planned(&[1, 0, 0, 0, 0], 99, 250), (None, None));
        assert_eq!(planned(&[0, 0, 0, 0, 7], 0, 0), (None, Some(4)));
    }

    #[test]
    fn what_is_held_gives_way_to_the_limit_by_size_and_what_waits_does_not() {
        let in_the_way = |pending: &[u64], held: &[u64], bytes| {
            let held = (1..).zip(held.iter().copied()).collect();
            let limits = Limits {
                age_ms: u64::MAX,
                bytes,
            };
            held_in_the_way(&backlog(pending), &held, limits)
        };
        // Five segments of 100 bytes each.
        assert_eq!(in_the_way(&[3, 2, 1, 1, 9], &[3, 2, 1, 1, 9], 250), Some(3));
        assert_eq!(in_the_way(&[3, 2, 1, 1, 9], &[3, 2, 1, 1, 9], 500), None);
        assert_eq!(in_the_way(&[3, 2, 0, 1, 9], &[3, 2, 0, 1, 9], 250), Some(2));
        // The last one never goes, whatever is held of it.
        assert_eq!(in_the_way(&[3, 2, 1, 1, 9], &[3, 2, 1, 1, 9], 0), Some(4));
        // An active webhook waits for one of the second segment, or of the first.
        assert_eq!(in_the_way(&[3, 2, 1, 1, 9], &[3, 1, 1, 1, 9], 250), Some(1));
        assert_eq!(in_the_way(&[3, 2, 1, 1, 9], &[2, 2, 1, 1, 9], 250), None);
        assert_eq!(in_the_way(&[0, 0, 0, 0, 0], &[0, 0, 0, 0, 0], 0), None);
    }

    #[test]
    fn over_the_size_what_is_held_expires_as_far_as_needed_and_nothing_that_waits() {
        let directory = tempfile::tempdir().unwrap();
        let opened = open_small(directory.path());
        write_history(&opened);
        let (reader, writer, now) = (&opened.reader, &opened.writer, opened.clock.steady());
        let runtime = runtime();
        let before = reader.backlog();
        let limits = Limits {
            age_ms: u64::MAX,
            bytes: before.journal_bytes / 2,
        };
        let two = [pending(reader, 1), pending(reader, 2)];
        // Of the oldest events only those for the second are pending: the first's are no help, and stop it later.
        for held in [0, 1] {
            let is_held = |id: WebhookId| id == WebhookId(held);
            let queues = Sent::none(writer, is_held);
            let swept = runtime.block_on(sweep(reader, writer, limits, now, &queues));
            assert_eq!(swept.unwrap(), Swept::default());
        }
        let queues = Sent::none(writer, |id| id == WebhookId(2));
        let swept = runtime.block_on(sweep(reader, writer, limits, now, &queues));
        let swept = swept.unwrap();
        assert!(swept.expired > 0 && swept.segments > 0, "{swept:?}");
        assert_eq!(pending(reader, 1), two[0]);
        let segments_of = |entries: &[QueueEntry]| -> Vec<u32> {
            let segments = entries.iter().map(|entry| entry.event.segment);
            segments.collect()
        };
        let oldest = reader.backlog().segments[0].segment.number;
        assert_eq!(segments_of(&two[0]).iter().min(), Some(&oldest));
        let two = [pending(reader, 1), pending(reader, 2)];
        let before = reader.backlog();
        let queues = Sent::none(writer, |_| true);
        let swept = runtime.block_on(sweep(reader, writer, limits, now, &queues));
        let swept = swept.unwrap();
        assert!(swept.expired > 0 && swept.segments > 0, "{swept:?}");
        let left = [pending(reader, 1), pending(reader, 2)];
        let ended = two.concat().len() - left.concat().len();
        assert_eq!(ended as u64, swept.expired);
        let after = reader.backlog();
        let oldest = after.segments[0].segment;
        // What ended is on record in the last segment, which has grown by that.
        let grown = after.segments[after.segments.len() - 1].segment.bytes;
        assert!(after.journal_bytes <= limits.bytes + grown);
        assert!(
            after.journal_bytes + before.segments[0].segment.bytes > limits.bytes,
            "no more than needed"
        );
        for entry in left.concat() {
            assert!(entry.event.segment >= oldest.number);
        }
        // All that was older has ended, all that is newer has stayed.
        for entry in two.concat() {
            let kept = left.concat().contains(&entry);
            assert_eq!(kept, entry.event.segment >= oldest.number, "{entry:?}");
        }
    }

    /// The queues of nobody who sends, but that deliveries of these events are said to be under way.
    struct Sent<'a, F> {
        writer: &'a Writer,
        is_held: F,
        under_way: HashSet<Position>,
        expired: Mutex<u64>,
    }

    impl<'a, F> Sent<'a, F> {
        fn none(writer: &'a Writer, is_held: F) -> Self {
            Self {
                writer,
                is_held,
                under_way: HashSet::new(),
                expired: Mutex::default(),
            }
        }
    }

    impl<F: Fn(WebhookId) -> bool + Sync> Queues for Sent<'_, F> {
        fn is_held(&self, webhook: WebhookId) -> bool {
            (self.is_held)(webhook)
        }

        async fn expire(
            &self,
            webhook: WebhookId,
            entries: &[QueueEntry],
        ) -> Result<u32, WriteError> {
            let mut count = 0;
            let unsent = entries
                .iter()
                .filter(|entry| !self.under_way.contains(&entry.event));
            for some in unsent.copied().collect::<Vec<_>>().chunks(48) {
                let ended = self
                    .writer
                    .cancel(webhook, some.to_vec(), EndReason::Expired);
                count += ended.await?;
            }
            *self.expired.lock().unwrap() += u64::from(count);
            Ok(count)
        }
    }

    #[test]
    fn what_is_being_sent_keeps_its_segment_and_the_next_sweep_goes_on() {
        let limits_by_size = |bytes| Limits {
            age_ms: u64::MAX,
            bytes,
        };
        let by_age = Limits {
            age_ms: 60_000,
            bytes: u64::MAX,
        };
        for by_size in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let opened = open_small(directory.path());
            write_history(&opened);
            let (reader, writer) = (&opened.reader, &opened.writer);
            let runtime = runtime();
            let before = reader.backlog();
            let now = SteadyMillis(opened.clock.steady().0 + 3_600_000);
            let limits = match by_size {
                true => limits_by_size(before.journal_bytes / 2),
                false => by_age,
            };
            // One of the third segment from the oldest that anything waits for.
            let waiting = pending(reader, 2);
            let segments: std::collections::BTreeSet<u32> =
                waiting.iter().map(|entry| entry.event.segment).collect();
            let third = *segments.iter().nth(2).unwrap();
            let away = waiting.iter().find(|entry| entry.event.segment == third);
            let away = *away.unwrap();
            let mut queues = Sent::none(writer, |_| true);
            queues.under_way.insert(away.event);
            let first = runtime.block_on(sweep(reader, writer, limits, now, &queues));
            let first = first.unwrap();
            assert!(first.expired > 0 && first.segments > 0, "{first:?}");
            assert!(pending(reader, 2).contains(&away), "it was ended");
            assert_eq!(reader.backlog().segments[0].segment.number, third);
            let again = runtime.block_on(sweep(reader, writer, limits, now, &queues));
            let again = again.unwrap();
            assert_eq!(again.segments, 0, "it is still there");
            assert!(pending(reader, 2).contains(&away), "it was ended");
            queues.under_way.clear();
            let then = runtime.block_on(sweep(reader, writer, limits, now, &queues));
            let then = then.unwrap();
            assert!(then.expired > 0 && then.segments > 0, "{then:?}");
            assert!(!pending(reader, 2).contains(&away));
            assert!(reader.backlog().segments[0].segment.number > third);
        }
    }

    fn pending_of_all(opened: &Opened) -> usize {
        pending(&opened.reader, 1).len() + pending(&opened.reader, 2).len()
    }

    #[test]
    fn what_is_done_is_deleted_and_what_is_held_expires_on_the_record() {
        let directory = tempfile::tempdir().unwrap();
        let small = Options {
            segment_bytes_max: 4_000,
            ..options(directory.path())
        };
        let metrics = Metrics::new();
        let opened = open(small.clone(), metrics.clone()).unwrap();
        let events = write_history(&opened);
        let (reader, writer, now) = (&opened.reader, &opened.writer, opened.clock.steady());
        let runtime = runtime();
        let (young_event, _) = runtime.block_on(accept(writer, "young", &[2]));
        // Everything is young, and the oldest segment has pending deliveries: nothing goes.
        let young = Limits {
            age_ms: u64::MAX,
            bytes: 0,
        };
        let queues = Sent::none(writer, |_| false);
        let swept = runtime
            .block_on(sweep(reader, writer, young, now, &queues))
            .unwrap();
        assert_eq!(swept, Swept::default());
        let (before, segments) = (pending_of_all(&opened), reader.backlog().segments);
        let newest = segments[segments.len() - 1].segment.number;
        assert!(segments.len() > 5, "the test needs sealed segments");
        // An hour later all but the segment being written is too old.
        let (old, later) = (
            Limits {
                age_ms: 60_000,
                bytes: u64::MAX,
            },
            SteadyMillis(now.0 + 3_600_000),
        );
        let swept = runtime
            .block_on(sweep(reader, writer, old, later, &queues))
            .unwrap();
        let told = *queues.expired.lock().unwrap();
        assert_eq!(told, swept.expired, "each is told of");
        assert_eq!(swept.segments, newest - 1);
        assert_eq!((before - pending_of_all(&opened)) as u64, swept.expired);
        let counted = format!(
            "deliveries_ended_total{{state=\"expired\"}} {}",
            swept.expired
        );
        assert!(
            metrics.render().contains(&counted),
            "not counted: {counted}"
        );
        let kept: Vec<u32> = pending(reader, 2)
            .iter()
            .map(|entry| entry.event.segment)
            .collect();
        assert!(!kept.is_empty() && kept.iter().all(|segment| *segment >= newest));
        assert!(reader.event_at(events[0]).is_err() && reader.event_at(young_event).is_ok());
        // What is left is enough to make the registry again.
        let (left, webhooks) = (pending(reader, 2), reader.webhooks());
        drop(opened);
        std::fs::remove_dir_all(directory.path().join("registry")).unwrap();
        let opened = open_with(small);
        assert_eq!(
            (pending(&opened.reader, 2), opened.reader.webhooks()),
            (left, webhooks)
        );
    }
}
