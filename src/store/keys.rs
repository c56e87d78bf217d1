//! sled's keys and values as bytes: a tag byte and big-endian fields. No other file builds one.
//!
//! ```text
//! q  webhook 16  due 8  event 8      → attempts, 4; attempts of the run, 4; trigger, 1; not before, 8, where it
//!                                      is not zero. Empty: all zero
//! w  webhook 16  part 2              → the row's bytes, cut into parts
//! j  job 16                          → the job's bytes
//! c  segment 4                       → pending deliveries of the segment's events, 8
//! n  webhook 16                      → pending deliveries of the webhook, 8
//! m                                  → applied position 8, highest steady time seen 8, form of the table 1
//! ```

use crate::model::{JobId, Position, SteadyMillis, Trigger, WebhookId};

use super::apply::{QueueKey, QueueValue};

/// The meta row's key.
pub(super) const META: &[u8] = b"m";
/// The prefix of all pending counts.
pub(super) const COUNTS: &[u8] = b"c";
/// The prefix of all webhooks' pending counts.
pub(super) const WAITING: &[u8] = b"n";
/// The prefix of the registry.
pub(super) const ROWS: &[u8] = b"w";
/// The prefix of the jobs.
pub(super) const JOBS: &[u8] = b"j";
/// The prefix of the queue.
pub(super) const QUEUE: &[u8] = b"q";

/// What the table holds: 1 has counts for each webhook. Without a form it is of a time before them.
const FORM: u8 = 1;

/// A row is cut into values of this size: larger ones become files that sled neither syncs nor collects.
const PART_BYTES: usize = 3800;

pub(super) const QUEUE_KEY_BYTES: usize = 33;

pub(super) fn queue_key(key: &QueueKey) -> [u8; QUEUE_KEY_BYTES] {
    let mut bytes = [0; QUEUE_KEY_BYTES];
    let (tag, rest) = bytes.split_at_mut(1);
    tag.copy_from_slice(QUEUE);
    let (webhook, rest) = rest.split_at_mut(16);
    webhook.copy_from_slice(&key.webhook.0.to_be_bytes());
    let (due, event) = rest.split_at_mut(8);
    due.copy_from_slice(&key.due.0.to_be_bytes());
    event.copy_from_slice(&key.event.to_u64().to_be_bytes());
    bytes
}

pub(super) fn parse_queue_key(bytes: &[u8]) -> Option<QueueKey> {
    let (webhook, rest) = bytes.strip_prefix(QUEUE)?.split_first_chunk()?;
    let (due, event) = rest.split_first_chunk()?;
    Some(QueueKey {
        webhook: WebhookId(u128::from_be_bytes(*webhook)),
        due: SteadyMillis(u64::from_be_bytes(*due)),
        event: Position::from_u64(u64::from_be_bytes(event.try_into().ok()?)),
    })
}

pub(super) fn queue_value(value: &QueueValue) -> Vec<u8> {
    if *value == QueueValue::FRESH {
        return Vec::new();
    }
    let mut bytes = Vec::with_capacity(17);
    bytes.extend_from_slice(&value.attempts.to_be_bytes());
    bytes.extend_from_slice(&value.run_attempts.to_be_bytes());
    bytes.push(match value.trigger {
        Trigger::Schedule => 0,
        Trigger::Manual => 1,
        Trigger::Replay => 2,
        Trigger::Probe => 3,
    });
    if value.not_before != SteadyMillis(0) {
        bytes.extend_from_slice(&value.not_before.0.to_be_bytes());
    }
    bytes
}

pub(super) fn parse_queue_value(bytes: &[u8]) -> Option<QueueValue> {
    if bytes.is_empty() {
        return Some(QueueValue::FRESH);
    }
    let (attempts, rest) = bytes.split_first_chunk()?;
    let (run_attempts, rest) = rest.split_first_chunk()?;
    let (trigger, not_before) = rest.split_first()?;
    Some(QueueValue {
        attempts: u32::from_be_bytes(*attempts),
        run_attempts: u32::from_be_bytes(*run_attempts),
        trigger: match trigger {
            0 => Trigger::Schedule,
            1 => Trigger::Manual,
            2 => Trigger::Replay,
            3 => Trigger::Probe,
            _ => return None,
        },
        not_before: match not_before {
            [] => SteadyMillis(0),
            bytes => SteadyMillis(u64::from_be_bytes(bytes.try_into().ok()?)),
        },
    })
}

/// The prefix of one webhook's row.
pub(super) fn row_prefix(webhook: WebhookId) -> Vec<u8> {
    let mut key = ROWS.to_vec();
    key.extend_from_slice(&webhook.0.to_be_bytes());
    key
}

/// The keys and values that hold a row's bytes.
pub(super) fn row_parts(webhook: WebhookId, row: &[u8]) -> impl Iterator<Item = (Vec<u8>, &[u8])> {
    row.chunks(PART_BYTES)
        .zip(0_u16..)
        .map(move |(part, number)| {
            let mut key = row_prefix(webhook);
            key.extend_from_slice(&number.to_be_bytes());
            (key, part)
        })
}

pub(super) fn job_key(job: JobId) -> Vec<u8> {
    let mut key = JOBS.to_vec();
    key.extend_from_slice(&job.0.to_be_bytes());
    key
}

pub(super) fn count_key(segment: u32) -> [u8; 5] {
    let mut key = [0; 5];
    let (tag, rest) = key.split_at_mut(1);
    tag.copy_from_slice(COUNTS);
    rest.copy_from_slice(&segment.to_be_bytes());
    key
}

pub(super) fn parse_count(key: &[u8], value: &[u8]) -> Option<(u32, i64)> {
    let segment = u32::from_be_bytes(key.strip_prefix(COUNTS)?.try_into().ok()?);
    Some((segment, i64::from_be_bytes(value.try_into().ok()?)))
}

pub(super) fn waiting_key(webhook: WebhookId) -> [u8; 17] {
    let mut key = [0; 17];
    let (tag, rest) = key.split_at_mut(1);
    tag.copy_from_slice(WAITING);
    rest.copy_from_slice(&webhook.0.to_be_bytes());
    key
}

pub(super) fn parse_waiting(key: &[u8], value: &[u8]) -> Option<(WebhookId, i64)> {
    let webhook = u128::from_be_bytes(key.strip_prefix(WAITING)?.try_into().ok()?);
    Some((
        WebhookId(webhook),
        i64::from_be_bytes(value.try_into().ok()?),
    ))
}

/// The meta row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) applied: Position,
    pub(super) steady: SteadyMillis,
    /// Whether there are counts for each webhook.
    pub(super) counts_webhooks: bool,
}

pub(super) fn meta_value(applied: Position, steady: SteadyMillis) -> [u8; 17] {
    let mut bytes = [FORM; 17];
    let both = (u128::from(applied.to_u64()) << 64) | u128::from(steady.0);
    bytes[..16].copy_from_slice(&both.to_be_bytes());
    bytes
}

pub(super) fn parse_meta(value: &[u8]) -> Option<Meta> {
    let (applied, rest) = value.split_first_chunk()?;
    let (steady, form) = rest.split_first_chunk()?;
    let counts_webhooks = match form {
        [] => false,
        [FORM] => true,
        _ => return None,
    };
    Some(Meta {
        applied: Position::from_u64(u64::from_be_bytes(*applied)),
        steady: SteadyMillis(u64::from_be_bytes(*steady)),
        counts_webhooks,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = QueueKey> {
        (any::<u128>(), any::<u64>(), any::<u64>()).prop_map(|(webhook, due, event)| QueueKey {
            webhook: WebhookId(webhook),
            due: SteadyMillis(due),
            event: Position::from_u64(event),
        })
    }

    proptest! {
        #[test]
        fn queue_keys_read_back_and_sort_as_their_bytes(a in key(), b in key()) {
            prop_assert_eq!(parse_queue_key(&queue_key(&a)), Some(a));
            prop_assert_eq!(a.cmp(&b), queue_key(&a).cmp(&queue_key(&b)));
        }

        #[test]
        fn values_read_back(attempts: u32, run_attempts: u32, manual: bool, not_before: u64, at: u64, steady: u64, count: i64) {
            let trigger = if manual { Trigger::Replay } else { Trigger::Schedule };
            let value = QueueValue { attempts, run_attempts, trigger, not_before: SteadyMillis(not_before) };
            prop_assert_eq!(parse_queue_value(&queue_value(&value)), Some(value));
            let (applied, steady) = (Position::from_u64(at), SteadyMillis(steady));
            let meta = Meta { applied, steady, counts_webhooks: true };
            prop_assert_eq!(parse_meta(&meta_value(applied, steady)), Some(meta));
            let before = Meta { counts_webhooks: false, ..meta };
            prop_assert_eq!(parse_meta(&meta_value(applied, steady)[..16]), Some(before));
            let webhook = WebhookId(u128::from(not_before));
            prop_assert_eq!(parse_waiting(&waiting_key(webhook), &count.to_be_bytes()), Some((webhook, count)));
            prop_assert_eq!(parse_count(&count_key(attempts), &count.to_be_bytes()), Some((attempts, count)));
        }
    }

    #[test]
    fn a_large_row_is_cut_into_values_that_sled_keeps_inline() {
        let row = vec![7; 10_000];
        let parts: Vec<_> = row_parts(WebhookId(9), &row).collect();
        assert_eq!(parts.len(), 3);
        assert!(parts.is_sorted() && parts.iter().all(|(_, part)| part.len() <= 4000));
        assert_eq!(
            parts
                .iter()
                .flat_map(|(_, part)| part.to_vec())
                .collect::<Vec<_>>(),
            row
        );
        assert_eq!(parse_queue_key(b"q"), None);
        assert_eq!(parse_queue_value(&[1, 2]), None);
    }
}
