//! Damage in the newest record, where little is left to tell what it said.

use super::*;

#[test]
fn damage_in_the_last_frame_is_told_from_a_tear_where_sled_knows_it_was_synced() {
    let directory = scratch();
    let opened = open_with(small(directory.path()));
    let event = runtime().block_on(async {
        register(&opened.writer, [1]).await;
        accept(&opened.writer, "last", &[1]).await.0
    });
    opened.handle.stop().unwrap();
    drop(opened.reader);
    let log = directory.path().join("journal/0000000001.log");
    let mut bytes = std::fs::read(&log).unwrap();
    // The event's frame, and the one behind it, with which the stop put the time on record.
    bytes[event.offset as usize + 20] ^= 1;
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&log, &bytes).unwrap();

    let opened = open_with(small(directory.path()));
    assert_eq!(opened.report.journal.torn_bytes, 0);
    assert_eq!(opened.report.journal.damaged, 1);
    assert_eq!(opened.report.moved_aside, None);
    assert_eq!(opened.reader.backlog().set_aside, 1);
    assert_eq!(std::fs::read(&log).unwrap(), bytes, "nothing is cut");
    // What waits is known, and can end on record; its event cannot be read, and its place is not used again.
    let entries = pending(&opened.reader, 1);
    assert_eq!(entries.len(), 1);
    assert!(opened.reader.event_at(event).unwrap_err().is_lost());
    runtime().block_on(async {
        let (next, _) = accept(&opened.writer, "next", &[1]).await;
        assert!(next.segment > event.segment);
        let end = finish(1, entries[0], Next::Failed(EndReason::Unreadable));
        assert_eq!(opened.writer.finish(end).await, Ok(Written::Done));
    });
    let states = opened.reader.deliveries(WebhookId(1), None, 10).unwrap();
    assert!(matches!(states[0].state, DeliveryState::Pending { .. }));
    opened.handle.stop().unwrap();
}

#[test]
fn a_request_to_send_again_does_not_guess_where_a_damaged_delivery_stands() {
    let directory = scratch();
    let opened = open_with(small(directory.path()));
    let event = runtime().block_on(async {
        register(&opened.writer, [1]).await;
        let (event, _) = accept(&opened.writer, "one", &[1]).await;
        let entry = pending(&opened.reader, 1)[0];
        let end = finish(1, entry, Next::Delivered);
        opened.writer.finish(end).await.unwrap();
        opened.writer.requeue(WebhookId(1), event).await.unwrap();
        event
    });
    let log = directory.path().join("journal/0000000001.log");
    let (last, _) = open::records(&opened.reader.journal).pop().unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[last.offset as usize + 20] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    // By the journal it has ended; in the queue it waits.
    assert_eq!(pending(&opened.reader, 1).len(), 1);
    let again = runtime().block_on(opened.writer.requeue(WebhookId(1), event));
    assert_eq!(again, Ok(Requeued::Unclear));
    assert_eq!(pending(&opened.reader, 1).len(), 1);
    opened.handle.stop().unwrap();
}
