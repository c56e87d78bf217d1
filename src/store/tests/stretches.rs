//! What a job reads of history, a page at a time: past what retention deletes, past damage, and cut short.

use std::path::PathBuf;

use super::jobs::{job, pick};
use super::*;
use crate::model::Next;
use crate::store::history::trace;
use crate::store::{Found, JobStep};

/// Delivers what is pending of both webhooks.
async fn deliver_all(reader: &Reader, writer: &Writer) {
    for webhook in [1, 2] {
        for entry in pending(reader, webhook) {
            let done = writer.finish(finish(webhook, entry, Next::Delivered)).await;
            assert_eq!(done.unwrap(), Written::Done);
        }
    }
}

/// Events in small segments, all of them added to the second webhook by steps of so many, and delivered.
async fn added_later(opened: &Opened, count: usize, at_once: usize) -> Vec<Position> {
    let (reader, writer) = (&opened.reader, &opened.writer);
    register(writer, [1, 2]).await;
    let mut events = Vec::new();
    for number in 0..count {
        events.push(accept(writer, &format!("e{number:03}"), &[1]).await.0);
    }
    let mut job = job(reader);
    writer.put_job(job.clone()).await.unwrap();
    for some in events.chunks(at_once) {
        let step = JobStep {
            job: job.id,
            from: job.next,
            next: *some.last().unwrap(),
            read_at: reader.extent().1,
            picks: some.iter().map(|event| pick(2, *event, 0, true)).collect(),
            skipped: 0,
        };
        let stepped = writer.step_job(step).await.unwrap().unwrap();
        assert_eq!(stepped.queued - job.queued, some.len() as u64);
        job = stepped;
    }
    deliver_all(reader, writer).await;
    events
}

fn deliveries(reader: &Reader, from: Position, limit: usize) -> Stretch<DeliverySummary> {
    let span = (from, reader.extent().1);
    reader
        .deliveries_from(WebhookId(2), span, limit, |_| true, &mut |_| true)
        .unwrap()
}

fn events_of(rows: &[DeliverySummary]) -> Vec<Position> {
    rows.iter().map(|row| row.event).collect()
}

#[test]
fn what_was_added_is_found_after_a_segment_is_deleted_in_the_middle_of_it() {
    for limit in [1, 2, 5] {
        let directory = tempfile::tempdir().unwrap();
        let (runtime, opened) = (runtime(), open_small(directory.path()));
        let reader = &opened.reader;
        let events = runtime.block_on(added_later(&opened, 60, 60));
        let deleted = events[0].segment;
        let inside = events.iter().filter(|event| event.segment == deleted);
        assert!(inside.count() > limit * 2 + 2, "much of it is ahead");
        let first = deliveries(reader, events[0], limit);
        assert_eq!(events_of(&first.found), events[..limit]);
        let gone = runtime.block_on(opened.writer.delete_through(deleted));
        assert_eq!(gone.unwrap(), 1);
        let (mut from, mut found) = (first.next, Vec::new());
        while let Some(begin) = from {
            let seen = deliveries(reader, begin, limit);
            assert_eq!(seen.lost, []);
            found.extend(events_of(&seen.found));
            from = seen.next;
        }
        let left = events.iter().copied().filter(|at| at.segment > deleted);
        assert_eq!(found, left.collect::<Vec<_>>(), "{limit} at a time");
        // A job that has not begun when all that it was to look at is deleted.
        let none = reader.deliveries_from(
            WebhookId(2),
            (events[0], events[1]),
            5,
            |_| true,
            &mut |_| true,
        );
        assert_eq!(none.unwrap().next, None);
    }
}

#[test]
fn a_look_ends_where_it_stands_or_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let (runtime, opened) = (runtime(), open_small(directory.path()));
    let reader = &opened.reader;
    let events = runtime.block_on(added_later(&opened, 30, 30));
    let span = (events[0], reader.extent().1);
    let rows = |most: usize| {
        let go_on = &mut |looked| looked < most;
        let seen = reader.deliveries_from(WebhookId(2), span, 20, |_| true, go_on);
        let seen = seen.unwrap();
        (events_of(&seen.found), seen.looked, seen.next)
    };
    let shown = |most: usize| {
        let look = |at: EventAt| Ok(Some(at.position));
        let go_on = &mut |looked| looked < most;
        let seen = reader.events_from(&account(), span, 20, look, go_on);
        let seen = seen.unwrap();
        (seen.found, seen.looked, seen.next)
    };
    for most in [1, 7, 19] {
        let wanted = (events[..most].to_vec(), most, Some(events[most]));
        assert_eq!((rows(most), shown(most)), (wanted.clone(), wanted));
    }
    for given_up in [rows(0), shown(0)] {
        assert_eq!(given_up, (Vec::new(), 0, Some(events[0])));
    }
    for whole in [rows(20), shown(20)] {
        assert_eq!((&whole.0[..], whole.1), (&events[..20], 20));
        assert!(whole.2 > Some(events[19]) && whole.2 <= Some(events[20]));
    }
}

#[test]
fn an_event_comes_with_all_to_whom_it_was_added() {
    let directory = tempfile::tempdir().unwrap();
    let (runtime, opened) = (runtime(), open_small(directory.path()));
    let (reader, writer) = (&opened.reader, &opened.writer);
    let many: Vec<u128> = (10..700).collect();
    let events = runtime.block_on(async {
        let events = added_later(&opened, 12, 5).await;
        register(writer, many.iter().copied()).await;
        let job = job(reader);
        writer.put_job(job.clone()).await.unwrap();
        // As a slow job does it: a record for each, more than one look at an index gives.
        for webhook in &many {
            let step = JobStep {
                job: job.id,
                from: job.next,
                next: job.next,
                read_at: reader.extent().1,
                picks: vec![pick(*webhook, events[4], 0, true)],
                skipped: 0,
            };
            writer.step_job(step).await.unwrap().unwrap();
        }
        events
    });
    for limit in [1, 4, 100] {
        let (mut from, mut found) = (Some(events[0]), Vec::new());
        while let Some(begin) = from {
            let span = (begin, reader.extent().1);
            let look = |at: EventAt| Ok(Some(at));
            let seen = reader.events_from(&account(), span, limit, look, &mut |_| true);
            let seen = seen.unwrap();
            found.extend(seen.found);
            from = seen.next;
        }
        assert_eq!(found.len(), 12);
        for (at, event) in found.into_iter().zip(&events) {
            let mut webhooks = at.webhooks;
            webhooks.sort_unstable();
            assert_eq!((at.position, at.doubtful), (*event, false));
            assert_eq!(webhooks, reader.recipients(*event).unwrap());
            let more = if *event == events[4] { many.len() } else { 0 };
            assert_eq!(webhooks.len(), 2 + more);
        }
    }
}

/// Where the record of the step stands that added an event to the second webhook.
fn step_of(reader: &Reader, event: Position) -> Position {
    let all = trace(&reader.journal, WebhookId(2), event).unwrap();
    *all.last().unwrap()
}

/// Makes a record of a sealed segment unreadable; `checks`: what stands there is a good frame that means nothing.
fn ruin(reader: &Reader, at: Position, checks: bool) {
    assert!(at.segment < reader.extent().1.segment, "it is sealed");
    let path: PathBuf = reader.journal.path_of(at.segment);
    let mut bytes = std::fs::read(&path).unwrap();
    let offset = at.offset as usize;
    let length = u32::from_be_bytes(bytes[offset..offset + 4].try_into().unwrap());
    let payload = offset + 8..offset + 8 + length as usize;
    bytes[payload.clone()].fill(0xff);
    if checks {
        let mut checked = bytes[24..32].to_vec();
        checked.extend(at.offset.to_be_bytes());
        checked.extend(length.to_be_bytes());
        checked.extend(&bytes[payload]);
        let crc = crc32c::crc32c(&checked);
        bytes[offset + 4..offset + 8].copy_from_slice(&crc.to_be_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_cannot_be_read_is_told_and_passed() {
    for checks in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (runtime, opened) = (runtime(), open_small(directory.path()));
        let (reader, writer) = (&opened.reader, &opened.writer);
        let events = runtime.block_on(async {
            let events = added_later(&opened, 30, 3).await;
            // So that all of it is sealed.
            for number in 0..60 {
                accept(writer, &format!("later{number}"), &[1]).await;
            }
            events
        });
        let end = Position {
            offset: events[29].offset + 1,
            ..events[29]
        };
        let span = (events[0], end);
        let step = step_of(reader, events[12]);
        ruin(reader, events[7], checks);
        ruin(reader, step, checks);
        let undecodable = matches!(reader.event_at(events[7]), Err(Error::Codec(_)));
        assert_eq!(undecodable, checks);
        let seen = reader
            .deliveries_from(WebhookId(2), span, 100, |_| true, &mut |_| true)
            .unwrap();
        assert_eq!((seen.lost, seen.next), (vec![events[7]], None));
        assert_eq!(seen.found.len(), 29, "the end of each delivery is there");
        let look = |at: EventAt| Ok(Some(at));
        let seen = reader
            .events_from(&account(), span, 100, look, &mut |_| true)
            .unwrap();
        assert_eq!((&seen.lost[..], seen.found.len()), (&events[7..8], 29));
        let doubtful: Vec<Position> = seen
            .found
            .iter()
            .filter(|at| at.doubtful)
            .map(|at| at.position)
            .collect();
        assert_eq!(doubtful, events[12..15]);
        // Each is asked for on its own then, and is there.
        let found = reader.found(WebhookId(2), &doubtful).unwrap();
        let ended = found
            .iter()
            .filter(|one| matches!(one, Found::Delivery { .. }));
        assert_eq!(ended.count(), 3);
        // A delivery of which no record can be read any more.
        for at in trace(&reader.journal, WebhookId(2), events[20]).unwrap() {
            ruin(reader, at, checks);
        }
        let seen = reader
            .deliveries_from(WebhookId(2), span, 100, |_| true, &mut |_| true)
            .unwrap();
        assert!(seen.lost.contains(&events[20]) && seen.lost.contains(&events[7]));
        let doubtful = seen.found.iter().filter(|row| row.doubtful).count();
        assert_eq!(doubtful, 0);
        assert_eq!(seen.found.len(), 28);
        let found = reader.found(WebhookId(2), &events[20..21]).unwrap();
        assert_eq!(found, [Found::Unclear]);
        let listed = reader.deliveries(WebhookId(2), None, 100).unwrap();
        assert_eq!(listed.len(), 28);
    }
}
