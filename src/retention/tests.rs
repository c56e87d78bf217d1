//! What is deleted when: the pure plan, and a sweep over a real store.

use super::*;
use crate::journal::SegmentInfo;
use crate::store::tests::{expired_in_journal, open_small, pending, runtime, write_history};
use crate::store::{Requeued, SegmentBacklog};

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
    let plan = plan(&backlog(pending), limits, UnixMillis(5 * 3_600_000 + 1));
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
fn retention_deletes_what_is_done_and_expires_what_is_held() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_small(directory.path());
    let (reader, writer) = (&opened.reader, &opened.writer);
    let events = write_history(&opened);
    let limits = |age_ms, bytes| Limits { age_ms, bytes };
    let now = opened.clock.wall();
    let runtime = runtime();
    // Everything is young, and all segments have pending deliveries: nothing goes.
    let young = runtime
        .block_on(sweep(reader, writer, limits(u64::MAX, 0), now))
        .unwrap();
    assert_eq!((young.segments, young.expired), (0, 0));
    let pending_before = pending(reader, 1).len() + pending(reader, 2).len();
    let segments = reader.backlog().segments;
    let (newest, last) = (segments[segments.len() - 1], events[89]);
    // An hour later all but the segment being written is too old.
    let later = UnixMillis(now.0 + 3_600_000);
    let swept = runtime
        .block_on(sweep(reader, writer, limits(60_000, u64::MAX), later))
        .unwrap();
    assert_eq!(swept.segments as usize, segments.len() - 1);
    let pending_after = pending(reader, 1).len() + pending(reader, 2).len();
    assert_eq!(
        pending_before - pending_after,
        usize::try_from(swept.expired).unwrap()
    );
    assert!(
        pending(reader, 2)
            .iter()
            .all(|entry| entry.event.segment >= newest.segment.number)
    );
    let gone = reader.event_at(events[0]);
    assert!(matches!(gone, Err(Error::Journal(_))));
    assert_eq!(
        runtime
            .block_on(writer.requeue(WebhookId(1), events[0]))
            .unwrap(),
        Requeued::NotFound
    );
    // The expired ones are in the record.
    assert_eq!(expired_in_journal(reader), swept.expired);
    // What is left is enough to make sled again.
    let (left, webhooks) = (pending(reader, 2), reader.webhooks());
    drop(opened);
    std::fs::remove_dir_all(directory.path().join("registry")).unwrap();
    let opened = open_small(directory.path());
    assert_eq!(pending(&opened.reader, 2), left);
    assert_eq!(opened.reader.webhooks(), webhooks);
    assert!(last.segment <= newest.segment.number);
}
