//! What the journal tells afterwards, across many segments.

use super::*;
use crate::model::DeliveryState;

/// Two attempts for each delivery of 90 events, the second after all events: in other segments.
pub(crate) fn write_history(opened: &Opened) -> Vec<Position> {
    runtime().block_on(async {
        register(&opened.writer, [1, 2]).await;
        let mut events = Vec::new();
        for number in 0..90 {
            let (event, due) = accept(&opened.writer, &format!("e{number}"), &[1, 2]).await;
            let entry = QueueEntry {
                due,
                event,
                attempts: 0,
                run_attempts: 0,
                trigger: Trigger::Schedule,
                not_before: SteadyMillis(0),
            };
            let retry = Next::RetryAt(due.plus(1_000_000));
            opened.writer.finish(finish(1, entry, retry)).await.unwrap();
            events.push(event);
        }
        for entry in pending(&opened.reader, 1).into_iter().take(30) {
            opened
                .writer
                .finish(finish(1, entry, Next::Delivered))
                .await
                .unwrap();
        }
        events
    })
}

#[test]
fn pages_go_backwards_through_all_segments_without_gap_or_repeat() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_small(directory.path());
    let events = write_history(&opened);
    let reader = &opened.reader;
    assert!(
        reader.backlog().segments.len() > 5,
        "the test needs sealed segments"
    );
    let (mut before, mut listed, mut accounted) = (None, Vec::new(), Vec::new());
    loop {
        let page = reader.deliveries(WebhookId(1), before, 7).unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.event);
        listed.extend(page);
    }
    before = None;
    loop {
        let page = reader.events(&account(), before, 7).unwrap();
        let Some((last, _)) = page.last() else { break };
        before = Some(*last);
        accounted.extend(page);
    }
    let newest_first: Vec<Position> = events.iter().rev().copied().collect();
    assert_eq!(
        listed.iter().map(|one| one.event).collect::<Vec<_>>(),
        newest_first
    );
    assert_eq!(
        accounted.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        newest_first
    );
    assert_eq!(accounted[0].1, event("e89", "{}"));
    let delivered: Vec<bool> = listed
        .iter()
        .map(|one| matches!(one.state, DeliveryState::Delivered { .. }))
        .collect();
    assert_eq!(delivered.iter().filter(|delivered| **delivered).count(), 30);
    for (one, delivered) in listed.iter().zip(delivered) {
        assert_eq!(one.attempts, if delivered { 2 } else { 1 });
        let last = one.last_attempt.as_ref().unwrap();
        assert_eq!(
            last.outcome,
            Outcome::Status(if delivered { 200 } else { 503 })
        );
        assert_eq!(last.duration_us, 1_500);
    }
    let other = AccountName::new("other").unwrap();
    assert_eq!(reader.events(&other, None, 9).unwrap(), []);
}

#[test]
fn a_delivery_shows_its_attempts_oldest_first() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_small(directory.path());
    let events = write_history(&opened);
    let delivery = opened
        .reader
        .delivery(WebhookId(1), events[3])
        .unwrap()
        .unwrap();
    assert_eq!(delivery.event, event("e3", "{}"));
    let numbers: Vec<u32> = delivery
        .attempts
        .iter()
        .map(|attempt| attempt.number)
        .collect();
    assert_eq!(numbers, [1, 2]);
    assert!(opened.reader.has_delivery(WebhookId(2), events[3]).unwrap());
    assert!(!opened.reader.has_delivery(WebhookId(3), events[3]).unwrap());
    assert_eq!(
        opened.reader.delivery(WebhookId(3), events[3]).unwrap(),
        None
    );
    let (id, missing) = (EventId::new("e3").unwrap(), EventId::new("nope").unwrap());
    let found = opened.reader.find_event(&account(), &id).unwrap();
    assert_eq!(found, Some((events[3], event("e3", "{}"))));
    assert_eq!(
        opened.reader.find_event(&account(), &missing).unwrap(),
        None
    );
}

#[test]
fn a_segment_with_pending_deliveries_is_never_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_small(directory.path());
    let events = write_history(&opened);
    let newest = opened.reader.backlog().segments.len();
    let runtime = runtime();
    let writer = &opened.writer;
    assert_eq!(
        runtime.block_on(writer.delete_through(u32::MAX)).unwrap(),
        0
    );
    assert!(opened.reader.event_at(events[0]).is_ok());
    runtime.block_on(async {
        for webhook in [1, 2] {
            for entry in pending(&opened.reader, webhook) {
                writer
                    .finish(finish(webhook, entry, Next::Delivered))
                    .await
                    .unwrap();
            }
        }
        let deleted = writer.delete_through(u32::MAX).await.unwrap();
        assert!(deleted as usize >= newest - 1, "{deleted} of {newest}");
    });
    assert_eq!(opened.reader.backlog().segments.len(), 1);
}

/// A steady time that is later than all records so far, and earlier than all that come.
fn mark(opened: &Opened) -> SteadyMillis {
    let before = opened.clock.steady();
    until("time goes on", || opened.clock.steady() > before.plus(1));
    let mark = opened.clock.steady();
    until("time goes on", || opened.clock.steady() > mark.plus(1));
    mark
}

#[test]
fn failing_begins_with_the_first_failure_after_the_latest_success() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_small(directory.path());
    let (reader, writer, runtime) = (&opened.reader, &opened.writer, runtime());
    let since = |records_max, changed_ms| {
        let changed_at = UnixMillis(changed_ms);
        let found = reader.failing_since(WebhookId(1), changed_at, records_max);
        found.unwrap()
    };
    let attempt = |entry: QueueEntry, next: Next| {
        let written = runtime.block_on(writer.finish(finish(1, entry, next)));
        assert_eq!(written.unwrap(), Written::Done);
    };
    let later = Next::RetryAt(SteadyMillis(opened.clock.steady().0 + 1_000_000));
    runtime.block_on(register(writer, [1, 2]));
    assert_eq!(since(99, 0), None);
    let mut entries = Vec::new();
    for number in 0..90 {
        let (event, due) = runtime.block_on(accept(writer, &format!("e{number}"), &[1, 2]));
        entries.push(QueueEntry::fresh(due, event));
    }
    let (old, others) = entries.split_first().unwrap();
    for entry in others.get(..40).unwrap() {
        attempt(*entry, later);
    }
    let before = mark(&opened);
    assert!(since(99, 0).is_some_and(|since| since < before));
    // The oldest delivery arrives after the newer ones have failed.
    attempt(*old, Next::Delivered);
    assert_eq!(since(99, 0), None);
    let marks = mark(&opened);
    for entry in others.get(40..).unwrap() {
        attempt(*entry, later);
    }
    let between = mark(&opened);
    let again = pending(reader, 1);
    attempt(again[0], Next::Probed);
    attempt(again[1], Next::Failed(crate::model::EndReason::Exhausted));
    assert!(
        reader.backlog().segments.len() > 5,
        "the test needs sealed segments"
    );
    let found = since(9_999, 0).unwrap();
    assert!(
        found > marks && found < between,
        "{marks:?} {found:?} {between:?}"
    );
    // What the bound leaves out makes it later.
    assert!(since(2, 0).unwrap() > between);
    assert!(since(10, 0).unwrap() >= found);
    assert_eq!(since(0, 0), None);
    // Attempts that were begun before the webhook was changed do not count; neither do another webhook's.
    let started = super::attempt(503).started_at.0;
    assert_eq!(since(9_999, started), Some(found));
    assert_eq!(since(9_999, started + 1), None);
    let other = reader.failing_since(WebhookId(2), UnixMillis(0), 9_999);
    assert_eq!(other.unwrap(), None);
}
