//! Each transition, its conditions, and that it lasts.

use super::*;
use crate::model::{DeliveryState, EndReason};

#[test]
fn an_event_is_pending_until_it_is_delivered_and_both_last() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_at(directory.path());
    let (first, second) = runtime().block_on(async {
        register(&opened.writer, [1, 2]).await;
        let answer = opened
            .writer
            .accept(new_event("e1", "{}", &[2, 1, 9, 1]))
            .await
            .unwrap();
        let Accepted::New {
            event,
            due,
            webhooks,
        } = answer
        else {
            panic!("{answer:?}")
        };
        assert_eq!(webhooks, [WebhookId(1), WebhookId(2)]);
        let entry = pending(&opened.reader, 1)[0];
        assert_eq!(entry, QueueEntry::fresh(due, event));
        let done = opened
            .writer
            .finish(finish(1, entry, Next::Delivered))
            .await
            .unwrap();
        assert_eq!(done, Written::Done);
        let again = opened
            .writer
            .finish(finish(1, entry, Next::Delivered))
            .await
            .unwrap();
        assert_eq!(again, Written::Stale);
        let retry = Next::RetryAt(due.plus(60_000));
        assert_eq!(
            opened.writer.finish(finish(2, entry, retry)).await.unwrap(),
            Written::Done
        );
        (pending(&opened.reader, 1), pending(&opened.reader, 2))
    });
    assert_eq!(first, []);
    assert_eq!(
        (second[0].attempts, second[0].run_attempts, second.len()),
        (1, 1, 1)
    );
    opened.handle.stop().unwrap();
    drop(opened.reader);
    let opened = open_at(directory.path());
    assert_eq!(pending(&opened.reader, 1), first);
    assert_eq!(pending(&opened.reader, 2), second);
    assert_eq!(opened.reader.webhooks(), [webhook(1), webhook(2)]);
    let states = opened.reader.deliveries_of(second[0].event).unwrap();
    assert!(matches!(
        states[0],
        (WebhookId(1), DeliveryState::Delivered { .. }, 1)
    ));
    assert_eq!(
        states[1],
        (
            WebhookId(2),
            DeliveryState::Pending {
                due: second[0].due,
                not_before: SteadyMillis(0)
            },
            1
        )
    );
}

#[test]
fn the_same_id_answers_the_first_event_again_and_other_content_conflicts() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_small(directory.path());
    let runtime = runtime();
    runtime.block_on(async {
        register(&opened.writer, [1]).await;
        let (position, _) = accept(&opened.writer, "same", &[1]).await;
        // Across segments: by their filters and indexes.
        for number in 0..200 {
            accept(&opened.writer, &format!("other-{number}"), &[]).await;
        }
        assert!(
            opened.reader.backlog().segments.len() > 3,
            "the test needs sealed segments"
        );
        let duplicate = opened
            .writer
            .accept(new_event("same", "{}", &[]))
            .await
            .unwrap();
        assert_eq!(
            duplicate,
            Accepted::Duplicate {
                event: position,
                deliveries: 1
            }
        );
        let conflict = opened
            .writer
            .accept(new_event("same", "{\"x\":1}", &[1]))
            .await
            .unwrap();
        assert_eq!(conflict, Accepted::Conflict);
        let mut elsewhere = new_event("same", "[]", &[]);
        Arc::make_mut(&mut elsewhere.event).account = AccountName::new("other").unwrap();
        assert!(matches!(
            opened.writer.accept(elsewhere).await.unwrap(),
            Accepted::New { .. }
        ));
    });
    drop((opened, runtime));
    let opened = open_small(directory.path());
    let again = self::runtime()
        .block_on(opened.writer.accept(new_event("same", "{}", &[])))
        .unwrap();
    assert!(matches!(again, Accepted::Duplicate { deliveries: 1, .. }));
}

#[test]
fn of_many_at_once_with_one_id_exactly_one_is_new() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_at(directory.path());
    let answers = runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let writer = opened.writer.clone();
            tasks.spawn(async move { writer.accept(new_event("one", "{}", &[])).await.unwrap() });
        }
        tasks.join_all().await
    });
    let new = answers
        .iter()
        .filter(|answer| matches!(answer, Accepted::New { .. }))
        .count();
    let same = answers
        .iter()
        .filter(|answer| matches!(answer, Accepted::Duplicate { .. }))
        .count();
    assert_eq!((new, same), (1, 63));
}

#[test]
fn sending_again_moves_a_pending_delivery_and_revives_an_ended_one_but_never_makes_two() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_at(directory.path());
    let writer = &opened.writer;
    runtime().block_on(async {
        register(writer, [1]).await;
        let (event, due) = accept(writer, "e", &[1]).await;
        let first = pending(&opened.reader, 1)[0];
        let later = Next::RetryAt(due.plus(3_600_000));
        writer.finish(finish(1, first, later)).await.unwrap();
        // Many at once: all get the same answer, and there is one key.
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..32 {
            let writer = writer.clone();
            tasks.spawn(async move { writer.requeue(WebhookId(1), event).await.unwrap() });
        }
        for answer in tasks.join_all().await {
            assert!(
                matches!(answer, Requeued::Now { entry } if (entry.trigger == Trigger::Manual) && entry.attempts == 1)
            );
        }
        let entry = pending(&opened.reader, 1);
        assert_eq!(
            (entry.len(), entry[0].run_attempts, entry[0].trigger == Trigger::Manual),
            (1, 1, true)
        );
        assert!(entry[0].due < due.plus(3_600_000));
        let failed = Next::Failed(EndReason::Exhausted);
        writer.finish(finish(1, entry[0], failed)).await.unwrap();
        assert_eq!(pending(&opened.reader, 1), []);
        let Requeued::Now { entry } = writer.requeue(WebhookId(1), event).await.unwrap() else {
            panic!("an ended delivery was not found");
        };
        assert_eq!(
            (entry.attempts, entry.run_attempts, (entry.trigger == Trigger::Manual)),
            (2, 0, true)
        );
        assert_eq!(pending(&opened.reader, 1), [entry]);
        let nothing = Position {
            segment: 1,
            offset: 1,
        };
        assert_eq!(
            writer.requeue(WebhookId(1), nothing).await.unwrap(),
            Requeued::NotFound
        );
        assert_eq!(
            writer.requeue(WebhookId(2), event).await.unwrap(),
            Requeued::NotFound
        );
    });
}

#[test]
fn a_webhook_changes_only_from_the_version_that_was_read() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_at(directory.path());
    let writer = &opened.writer;
    runtime().block_on(async {
        register(writer, [1]).await;
        assert_eq!(
            writer.put_webhook(webhook(1), None).await.unwrap(),
            Written::Stale
        );
        let large = "x".repeat(9_000);
        let changed = Webhook {
            version: 2,
            description: Some(large),
            ..webhook(1)
        };
        assert_eq!(
            writer.put_webhook(changed.clone(), Some(7)).await.unwrap(),
            Written::Stale
        );
        assert_eq!(
            writer.put_webhook(changed.clone(), Some(1)).await.unwrap(),
            Written::Done
        );
        assert_eq!(opened.reader.webhooks(), [changed]);
        let smaller = Webhook {
            version: 3,
            ..webhook(1)
        };
        assert_eq!(
            writer.put_webhook(smaller, Some(2)).await.unwrap(),
            Written::Done
        );
        assert_eq!(
            writer.remove_webhook(WebhookId(1), 2).await.unwrap(),
            Written::Stale
        );
        assert_eq!(
            writer.remove_webhook(WebhookId(1), 3).await.unwrap(),
            Written::Done
        );
        assert_eq!(
            writer.remove_webhook(WebhookId(1), 3).await.unwrap(),
            Written::Stale
        );
        assert_eq!(opened.reader.webhooks(), []);
    });
}

#[test]
fn a_large_row_is_read_back_whole_from_sled() {
    let directory = tempfile::tempdir().unwrap();
    let large = Webhook {
        description: Some("y".repeat(20_000)),
        ..webhook(5)
    };
    let opened = open_at(directory.path());
    runtime()
        .block_on(opened.writer.put_webhook(large.clone(), None))
        .unwrap();
    opened.handle.stop().unwrap();
    drop(opened.reader);
    let opened = open_at(directory.path());
    assert_eq!(opened.reader.webhook(WebhookId(5)), Some(large));
    assert_eq!(
        opened.report.replayed, 0,
        "it came from the journal, not from sled"
    );
    let small = Webhook {
        version: 2,
        ..webhook(5)
    };
    runtime()
        .block_on(opened.writer.put_webhook(small.clone(), Some(1)))
        .unwrap();
    opened.handle.stop().unwrap();
    drop(opened.reader);
    assert_eq!(open_at(directory.path()).reader.webhooks(), [small]);
}

#[test]
fn a_removed_webhook_has_everything_cancelled_even_across_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_at(directory.path());
    let event = runtime().block_on(async {
        register(&opened.writer, [1, 2]).await;
        let (event, _) = accept(&opened.writer, "first", &[1, 2]).await;
        for number in 0..1_500 {
            accept(&opened.writer, &format!("e{number}"), &[1]).await;
        }
        assert_eq!(
            opened.writer.remove_webhook(WebhookId(1), 1).await.unwrap(),
            Written::Done
        );
        event
    });
    // Stopped in the middle of it, most likely.
    opened.handle.stop().unwrap();
    drop(opened.reader);
    let opened = open_at(directory.path());
    until("the queue of the removed webhook is empty", || {
        pending(&opened.reader, 1).is_empty()
    });
    until("the tombstone has gone", || {
        opened.reader.live.rows(|rows| rows.len()) == 1
    });
    assert_eq!(pending(&opened.reader, 2).len(), 1);
    let states = opened.reader.deliveries_of(event).unwrap();
    let removed = EndReason::WebhookRemoved;
    assert!(matches!(states[0], (_, DeliveryState::Ended { reason, .. }, 0) if reason == removed));
    let answer = runtime()
        .block_on(opened.writer.accept(new_event("late", "{}", &[1])))
        .unwrap();
    assert!(matches!(answer, Accepted::New { webhooks, .. } if webhooks.is_empty()));
}

#[test]
fn cancelling_ends_what_is_still_pending_and_counts_it() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_at(directory.path());
    runtime().block_on(async {
        register(&opened.writer, [1]).await;
        for id in ["a", "b", "c"] {
            accept(&opened.writer, id, &[1]).await;
        }
        let mut entries = pending(&opened.reader, 1);
        opened
            .writer
            .finish(finish(1, entries[0], Next::Delivered))
            .await
            .unwrap();
        entries.push(entries[2]);
        let reason = EndReason::OverRate;
        assert_eq!(
            opened
                .writer
                .cancel(WebhookId(1), entries.clone(), reason)
                .await
                .unwrap(),
            2
        );
        assert_eq!(
            opened
                .writer
                .cancel(WebhookId(1), entries, reason)
                .await
                .unwrap(),
            0
        );
        assert_eq!(opened.reader.backlog().segments[0].pending, 0);
        let many = vec![pending_entry(); CANCEL_MAX + 1];
        let refused = opened.writer.cancel(WebhookId(1), many, reason).await;
        assert!(matches!(refused, Err(WriteError::TooLarge(_))));
    });
}

fn pending_entry() -> QueueEntry {
    let event = Position {
        segment: 1,
        offset: 72,
    };
    QueueEntry {
        due: SteadyMillis(0),
        event,
        attempts: 0,
        run_attempts: 0,
        trigger: Trigger::Schedule,
        not_before: SteadyMillis(0),
    }
}

#[test]
fn a_full_queue_and_a_full_disk_refuse_events_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let inbox = Arc::new(inbox::Inbox::new(1));
    let writer = Writer {
        note: None,
        inbox: Arc::clone(&inbox),
        space: Arc::default(),
    };
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn({
            let writer = writer.clone();
            async move { writer.accept(new_event("a", "{}", &[])).await }
        });
        // Nobody takes what waits here, so the second finds no room.
        while inbox.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            writer.accept(new_event("b", "{}", &[])).await,
            Err(WriteError::Busy)
        );
        inbox.close(WriteError::Failed("test".to_owned()));
        assert_eq!(
            tasks.join_next().await.unwrap().unwrap(),
            Err(WriteError::Failed("test".to_owned()))
        );
        assert_eq!(
            writer
                .requeue(
                    WebhookId(1),
                    Position {
                        segment: 1,
                        offset: 1
                    }
                )
                .await,
            Err(WriteError::Failed("test".to_owned()))
        );
    });
    let full = Options {
        disk_reserve_bytes: u64::MAX,
        ..options(directory.path())
    };
    let opened = open(full, Metrics::new()).unwrap();
    until("the disk is found full", || {
        opened.writer.space() == Space::Low
    });
    runtime().block_on(async {
        let refused = opened.writer.accept(new_event("b", "{}", &[])).await;
        assert_eq!(refused, Err(WriteError::DiskReserve));
        register(&opened.writer, [1]).await;
    });
}

#[test]
fn large_events_that_wait_are_bounded_by_their_bytes() {
    let inbox = Arc::new(inbox::Inbox::new(100));
    let writer = Writer {
        note: None,
        inbox: Arc::clone(&inbox),
        space: Arc::default(),
    };
    let large = format!("{:?}", "x".repeat(12 << 20));
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 1..=2 {
            let (writer, new) = (
                writer.clone(),
                new_event(&format!("e{number}"), &large, &[]),
            );
            tasks.spawn(async move { writer.accept(new).await });
            while inbox.waiting() < number {
                tokio::task::yield_now().await;
            }
        }
        let third = writer.accept(new_event("e3", &large, &[])).await;
        assert_eq!(third, Err(WriteError::Busy));
        let inbox::Gathered::Ops(taken) = inbox.gather(1, std::time::Duration::ZERO) else {
            panic!("two wait")
        };
        // One was taken: there is room for another, and what was refused has not used it up.
        let new = new_event("e3", &large, &[]);
        tasks.spawn(async move { writer.accept(new).await });
        while inbox.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        drop(taken);
    });
}

#[test]
fn too_wide_a_fan_out_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_at(directory.path());
    let webhooks: Vec<u128> = (0..=FAN_OUT_MAX as u128).collect();
    let refused = runtime().block_on(opened.writer.accept(new_event("wide", "{}", &webhooks)));
    assert!(matches!(refused, Err(WriteError::TooLarge(_))));
}

#[test]
fn the_directory_is_refused_when_it_is_used_newer_or_missing() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_at(directory.path());
    let refused = open(options(directory.path()), Metrics::new())
        .err()
        .unwrap();
    assert!(matches!(&refused, Error::Locked { path } if path == directory.path()));
    opened.handle.stop().unwrap();
    drop(opened.reader);
    std::fs::write(directory.path().join("format"), "hookwheel data 9\n").unwrap();
    let refused = open(options(directory.path()), Metrics::new())
        .err()
        .unwrap();
    assert!(matches!(&refused, Error::Format { found, .. } if found == "hookwheel data 9"));
    let nowhere = directory.path().join("no/where");
    let refused = open(options(&nowhere), Metrics::new())
        .err()
        .unwrap()
        .to_string();
    assert!(
        refused.contains("no/where") && refused.contains("parent"),
        "{refused}"
    );
}

#[test]
fn a_failed_write_ends_everything_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut opened = open_small(directory.path());
    runtime().block_on(async {
        accept(&opened.writer, "before", &[]).await;
        // The next segment cannot be made where a directory has its name.
        std::fs::create_dir(directory.path().join("journal/0000000002.log")).unwrap();
        let mut last = Ok(());
        for number in 0..1_000 {
            last = opened
                .writer
                .accept(new_event(&format!("e{number}"), "{}", &[]))
                .await
                .map(|_| ());
            if last.is_err() {
                break;
            }
        }
        assert!(matches!(last, Err(WriteError::Failed(_))), "{last:?}");
        opened.fatal.wait_for(Option::is_some).await.unwrap();
    });
    assert!(matches!(opened.handle.stop(), Err(WriteError::Failed(_))));
    std::fs::remove_dir(directory.path().join("journal/0000000002.log")).unwrap();
    drop(opened.reader);
    let opened = open_small(directory.path());
    let id = EventId::new("before").unwrap();
    assert!(opened.reader.find_event(&account(), &id).unwrap().is_some());
}

#[test]
fn segments_are_sealed_at_their_size_whatever_the_restarts() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..24 {
        let opened = open_small(directory.path());
        let (id, data) = (format!("e{number}"), format!("{:?}", "x".repeat(1_000)));
        runtime().block_on(async {
            opened
                .writer
                .accept(new_event(&id, &data, &[]))
                .await
                .unwrap()
        });
        opened.handle.stop().unwrap();
    }
    let opened = open_small(directory.path());
    let segments: Vec<_> = opened.reader.backlog().segments;
    assert!(segments.len() >= 4, "{segments:?}");
    let largest = segments.iter().map(|one| one.segment.bytes).max();
    assert!(largest < Some(8_000), "{segments:?}");
}
