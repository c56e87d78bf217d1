//! Jobs: a step queues deliveries and moves the job in one record, whatever happens in between.

use super::*;
use crate::model::{
    DeliveryState, EndReason, Job, JobFilter, JobId, JobKind, JobState, Next, Trigger,
};
use crate::store::{Found, JobPick, JobStep};

pub(super) fn job(reader: &Reader) -> Job {
    let (next, end) = reader.extent();
    Job {
        id: JobId::generate(),
        account: account(),
        kind: JobKind::Resend {
            from: WebhookId(1),
            to: WebhookId(1),
        },
        filter: JobFilter::default(),
        per_second: 100,
        state: JobState::Running,
        next,
        end,
        matched: 0,
        queued: 0,
        skipped: 0,
        created_at: UnixMillis(1),
        ended_at: None,
    }
}

pub(super) fn pick(webhook: u128, event: Position, attempts: u32, added: bool) -> JobPick {
    JobPick {
        webhook: WebhookId(webhook),
        event,
        attempts,
        added,
    }
}

type Seen = (
    Vec<QueueEntry>,
    Option<Job>,
    Vec<(WebhookId, DeliveryState, u32)>,
);

/// All that a step changes.
fn look(reader: &Reader, job: JobId, event: Position) -> Seen {
    let mut queue = pending(reader, 1);
    queue.extend(pending(reader, 2));
    let deliveries = reader.deliveries_of(event).unwrap();
    (queue, reader.job(job), deliveries)
}

#[test]
fn a_step_queues_what_has_ended_and_leaves_alone_what_has_changed_since_it_was_read() {
    let directory = tempfile::tempdir().unwrap();
    let (runtime, opened) = (runtime(), open_with(options(directory.path())));
    let (reader, writer) = (&opened.reader, &opened.writer);
    let (ended, moved) = runtime.block_on(async {
        register(writer, [1, 2]).await;
        let (first, _) = accept(writer, "a", &[1]).await;
        let (second, _) = accept(writer, "b", &[1]).await;
        for entry in pending(reader, 1) {
            let failed = Next::Failed(EndReason::Exhausted);
            let written = writer.finish(finish(1, entry, failed)).await;
            assert_eq!(written.unwrap(), Written::Done);
        }
        (first, second)
    });
    let (job, read_at) = (job(reader), reader.extent().1);
    runtime.block_on(async {
        assert_eq!(writer.put_job(job.clone()).await.unwrap(), Written::Done);
        assert_eq!(writer.put_job(job.clone()).await.unwrap(), Written::Stale);
        // Somebody sends the second one again by hand, after the job has read where it stands.
        assert!(matches!(
            writer.requeue(WebhookId(1), moved).await.unwrap(),
            Requeued::Now { .. }
        ));
    });
    let step = JobStep {
        job: job.id,
        from: job.next,
        next: moved,
        read_at,
        picks: vec![
            pick(1, ended, 1, false),
            pick(1, moved, 1, false),
            pick(2, ended, 0, true),
            pick(9, ended, 0, true),
            pick(2, ended, 0, true),
        ],
        skipped: 3,
    };
    let stepped = runtime.block_on(writer.step_job(step.clone())).unwrap();
    let stepped = stepped.unwrap();
    assert_eq!(
        (stepped.matched, stepped.queued, stepped.skipped),
        (8, 2, 6)
    );
    assert_eq!((stepped.next, stepped.state), (moved, JobState::Running));
    let again = runtime.block_on(writer.step_job(step)).unwrap();
    assert_eq!(again, Some(stepped), "the job has gone on");
    let look = |reader: &Reader| look(reader, job.id, ended);
    let before = look(reader);
    let replayed: Vec<_> = before
        .0
        .iter()
        .filter(|e| e.trigger == Trigger::Replay)
        .collect();
    assert_eq!((before.0.len(), replayed.len()), (3, 2));
    assert!(replayed.iter().all(|entry| entry.event == ended));
    assert_eq!(
        before.2.len(),
        2,
        "the added delivery is one of the event's"
    );
    let listed = reader.deliveries(WebhookId(2), None, 10).unwrap();
    assert_eq!(listed.len(), 1);
    assert!(matches!(listed[0].state, DeliveryState::Pending { .. }));
    assert!(reader.has_delivery(WebhookId(2), ended).unwrap());
    drop(opened);
    // From sled, and from the journal alone.
    assert_eq!(look(&open_with(options(directory.path())).reader), before);
    std::fs::remove_dir_all(directory.path().join("registry")).unwrap();
    let opened = open_with(options(directory.path()));
    assert_eq!(look(&opened.reader), before);
}

#[test]
fn a_paused_job_makes_no_step_and_an_ended_one_stays_so() {
    let directory = tempfile::tempdir().unwrap();
    let (runtime, opened) = (runtime(), open_with(options(directory.path())));
    let job = job(&opened.reader);
    runtime
        .block_on(opened.writer.put_job(job.clone()))
        .unwrap();
    let (writer, reader) = (&opened.writer, &opened.reader);
    runtime.block_on(async {
        let paused = writer.set_job(job.id, JobState::Paused).await.unwrap();
        assert_eq!(paused.unwrap().state, JobState::Paused);
        let step = JobStep {
            job: job.id,
            from: job.next,
            next: job.end,
            read_at: reader.extent().1,
            picks: Vec::new(),
            skipped: 0,
        };
        let held = writer.step_job(step.clone()).await.unwrap().unwrap();
        assert_eq!((held.state, held.next), (JobState::Paused, job.next));
        assert_eq!(writer.forget_job(job.id).await.unwrap(), Written::Stale);
        writer.set_job(job.id, JobState::Running).await.unwrap();
        let done = writer.step_job(step).await.unwrap().unwrap();
        assert_eq!(done.state, JobState::Done);
        let stays = writer.set_job(job.id, JobState::Running).await.unwrap();
        assert_eq!(stays.unwrap().state, JobState::Done);
        assert_eq!(writer.forget_job(job.id).await.unwrap(), Written::Done);
    });
    assert_eq!(reader.job(job.id), None);
}

/// The second webhook's deliveries, some at a time.
fn oldest_first(reader: &Reader, limit: usize) -> Vec<Position> {
    let (mut from, mut found) = (reader.extent().0, Vec::new());
    loop {
        let span = (from, reader.extent().1);
        let seen = reader
            .deliveries_from(WebhookId(2), span, limit, |_| true, &mut |_| true)
            .unwrap();
        assert!(seen.found.len() <= limit);
        found.extend(seen.found.iter().map(|row| row.event));
        match seen.next {
            Some(next) => from = next,
            None => return found,
        }
    }
}

#[test]
fn deliveries_are_read_from_the_oldest_on_with_those_added_later() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options {
        segment_bytes_max: 1_500,
        ..options(directory.path())
    };
    let (runtime, opened) = (runtime(), open_with(small));
    let (reader, writer) = (&opened.reader, &opened.writer);
    let events: Vec<Position> = runtime.block_on(async {
        register(writer, [1, 2]).await;
        let mut events = Vec::new();
        for number in 0..40 {
            // At the end many in a row that are only added later.
            let to: &[u128] = if number % 2 == 0 && number < 20 {
                &[1, 2]
            } else {
                &[1]
            };
            events.push(accept(writer, &format!("e{number}"), to).await.0);
        }
        events
    });
    assert!(
        reader.extent().1.segment > 3,
        "the test needs sealed segments"
    );
    let job = job(reader);
    let later = |number: &usize| number % 2 == 1 || *number >= 20;
    let added: Vec<Position> = (0..40).filter(later).map(|number| events[number]).collect();
    runtime.block_on(async {
        writer.put_job(job.clone()).await.unwrap();
        let step = JobStep {
            job: job.id,
            from: job.next,
            next: job.end,
            read_at: reader.extent().1,
            picks: added.iter().map(|event| pick(2, *event, 0, true)).collect(),
            skipped: 0,
        };
        let done = writer.step_job(step).await.unwrap().unwrap();
        assert_eq!((done.queued, done.state), (30, JobState::Done));
        // Enough for the segment with the step to be sealed.
        for number in 0..40 {
            accept(writer, &format!("later{number}"), &[1]).await;
        }
    });
    for limit in [1, 3, 7, 100] {
        assert_eq!(oldest_first(reader, limit), events, "{limit} at a time");
    }
    let (mut newest_first, mut before) = (Vec::new(), None);
    loop {
        let rows = reader.deliveries(WebhookId(2), before, 6).unwrap();
        let Some(last) = rows.last() else { break };
        before = Some(last.event);
        newest_first.extend(rows.iter().map(|row| row.event));
    }
    newest_first.reverse();
    assert_eq!(newest_first, events);
    assert_eq!(reader.deliveries_of(events[1]).unwrap().len(), 2);
    let look = |at: EventAt| Ok(Some(at));
    let seen = reader
        .events_from(&account(), (events[5], events[9]), 10, look, &mut |_| true)
        .unwrap();
    let found: Vec<Position> = seen.found.iter().map(|at| at.position).collect();
    assert_eq!((found.as_slice(), seen.next), (&events[5..9], None));
}

#[test]
fn where_many_deliveries_stand_is_found_over_all_segments() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options {
        segment_bytes_max: 30_000,
        ..options(directory.path())
    };
    let (runtime, opened) = (runtime(), open_with(small));
    let (reader, writer) = (&opened.reader, &opened.writer);
    // More than one look at an index gives.
    let events: Vec<Position> = runtime.block_on(async {
        register(writer, [1, 2]).await;
        let mut events = Vec::new();
        for number in 0..700 {
            let to: &[u128] = if number % 7 == 0 { &[1, 2] } else { &[1] };
            events.push(accept(writer, &format!("e{number}"), to).await.0);
        }
        for entry in pending(reader, 1).into_iter().step_by(3) {
            let retry = Next::RetryAt(SteadyMillis(entry.due.0 + 1_000_000));
            assert_eq!(
                writer.finish(finish(1, entry, retry)).await.unwrap(),
                Written::Done
            );
        }
        for entry in pending(reader, 2) {
            let done = writer.finish(finish(2, entry, Next::Delivered)).await;
            assert_eq!(done.unwrap(), Written::Done);
        }
        events
    });
    assert!(reader.extent().1.segment > 2, "the test needs segments");
    let even = |event: &Event| {
        let number: Option<u32> = event.id.as_str()[1..].parse().ok();
        number.is_some_and(|number| number.is_multiple_of(2))
    };
    let span = (events[10], events[20]);
    let seen = reader
        .deliveries_from(WebhookId(1), span, 100, even, &mut |_| true)
        .unwrap();
    let wanted: Vec<Position> = seen.found.iter().map(|row| row.event).collect();
    let evens: Vec<Position> = events[10..20].iter().copied().step_by(2).collect();
    assert_eq!((wanted, seen.next), (evens, None), "only what is wanted");
    let few: Vec<Position> = events.iter().copied().step_by(300).collect();
    for (webhook, asked) in [(1, &events), (2, &events), (1, &few), (2, &few), (9, &few)] {
        let found = reader.found(WebhookId(webhook), asked).unwrap();
        assert_eq!(found.len(), asked.len());
        for (event, found) in asked.iter().zip(found) {
            let of_event = reader.deliveries_of(*event).unwrap();
            let one = of_event.iter().find(|one| one.0 == WebhookId(webhook));
            let wanted = one.map_or(Found::Nothing, |(_, state, attempts)| Found::Delivery {
                state: *state,
                attempts: *attempts,
            });
            assert_eq!(found, wanted, "{event} for {webhook}");
        }
    }
    assert_eq!(reader.found(WebhookId(1), &[]).unwrap(), []);
}
