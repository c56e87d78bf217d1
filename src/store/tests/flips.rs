//! Damaged files: bits flipped, sectors zeroed or garbled, files cut, extended, deleted, copied and mixed up.
//!
//! Each round damages a copy of one data directory, as a kill left it (sled lags behind the journal), opens it,
//! reads everything, works with it, and opens it again. Nothing may panic or hang; what is read back is what
//! was written, or is not there; what no damage touched is there and stands where it stood; what is damaged is
//! set aside and counted; and damage in sled is healed by the next start at the latest.
//!
//! `HOOKWHEEL_FLIPS` sets the number of rounds (10,000 take some minutes), `HOOKWHEEL_SEED` the first round's
//! seed, which is printed.

mod last;
mod ruin;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::model::{Clock, DeliveryState, EndReason};
use crate::store::codec::encode_record;
use crate::store::record::Record;
use ruin::{Dice, Hit, Image};

/// Bytes of a frame before its payload.
const FRAME_HEAD: usize = 8;
/// No round takes nearly as long, on any machine.
const ROUND_MAX: Duration = Duration::from_secs(120);
/// A first start may find sled damaged only while it works; the second one has made it again.
const STARTS_MAX: usize = 4;
/// As long as this a directory may be locked by nobody's fault.
const LOCKED_MAX: Duration = Duration::from_secs(20);

/// What the undamaged directory holds.
struct Truth {
    image: Image,
    /// Each record's place, end and content.
    records: Vec<(Position, u32, Record)>,
    events: BTreeMap<Position, Event>,
    queue: BTreeSet<(WebhookId, QueueEntry)>,
    webhooks: BTreeMap<WebhookId, Webhook>,
    deliveries: BTreeMap<(WebhookId, Position), Delivery>,
    set_aside: u64,
}

fn small(path: &Path) -> Options {
    Options {
        segment_bytes_max: 8_000,
        ..options(path)
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")),
    )
}

/// In memory where there is such a file system: a round syncs some dozen times.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

#[test]
fn damaged_files_cost_what_they_hold_and_nothing_else() {
    let rounds = number("HOOKWHEEL_FLIPS").unwrap_or(60);
    let seed = number("HOOKWHEEL_SEED")
        .unwrap_or_else(|| u64::try_from(Clock::system().wall_micros().0).unwrap());
    println!("HOOKWHEEL_SEED={seed} HOOKWHEEL_FLIPS={rounds}");
    let truth = Arc::new(prepare());
    let mut tally = Tally::default();
    for round in 0..rounds {
        let (truth, seed) = (Arc::clone(&truth), seed.wrapping_add(round));
        let (done, ended) = mpsc::channel();
        let thread = std::thread::spawn(move || done.send(one_round(&truth, seed)));
        match ended.recv_timeout(ROUND_MAX) {
            Ok(seen) => tally.add(&seen),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("HOOKWHEEL_SEED={seed} hangs"),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let panic = thread.join().expect_err("it ended without a word");
                let why = panic.downcast_ref::<String>().cloned();
                let why = why.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                panic!("HOOKWHEEL_SEED={seed}: {}", why.unwrap_or_default());
            }
        }
    }
    println!("{tally:?}");
    assert!(rounds < 50 || (tally.set_aside > 0 && tally.sled_made_again > 0));
}

/// What the rounds met, all together.
#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    refused: u64,
    set_aside: u64,
    events_lost: u64,
    sled_made_again: u64,
    sled_failed_at_work: u64,
}

impl Tally {
    fn add(&mut self, one: &Self) {
        self.rounds += one.rounds;
        self.refused += one.refused;
        self.set_aside += one.set_aside;
        self.events_lost += one.events_lost;
        self.sled_made_again += one.sled_made_again;
        self.sled_failed_at_work += one.sled_failed_at_work;
    }
}

fn prepare() -> Truth {
    let directory = scratch();
    let runtime = runtime();
    // A piece of damage from earlier: the first event is lost, and set aside.
    let opened = open_with(small(directory.path()));
    let lost = runtime.block_on(async {
        register(&opened.writer, 1..=5).await;
        accept(&opened.writer, "lost", &[1]).await.0
    });
    runtime.block_on(work(&opened, "first", 40));
    opened.handle.stop().unwrap();
    drop(opened.reader);
    let log = directory.path().join("journal/0000000001.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[lost.offset as usize + 30] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    std::fs::remove_file(log.with_extension("idx")).unwrap();
    // Then more work, and a kill: what is on disk at some instant.
    let opened = open_with(small(directory.path()));
    runtime.block_on(work(&opened, "second", 60));
    until("sled has everything", || opened.reader.live.is_at_rest());
    runtime.block_on(async {
        for number in 0..5 {
            accept(&opened.writer, &format!("late-{number}"), &[1]).await;
        }
    });
    let image = ruin::read(directory.path());
    opened.handle.stop().unwrap();
    drop(opened.reader);

    let directory = scratch();
    ruin::write(&image, directory.path());
    let opened = open_with(small(directory.path()));
    assert!(opened.report.replayed > 0, "sled lags behind");
    assert_eq!(opened.report.moved_aside, None);
    let mut truth = Truth {
        image,
        records: Vec::new(),
        events: BTreeMap::new(),
        queue: queue(&opened.reader).into_iter().collect(),
        webhooks: by_id(&opened.reader),
        deliveries: BTreeMap::new(),
        set_aside: opened.reader.backlog().set_aside,
    };
    assert!(truth.set_aside > 0 && opened.reader.backlog().segments.len() >= 4);
    for (position, record) in open::records(&opened.reader.journal) {
        let name = format!("journal/{:010}.log", position.segment);
        if truth.image[&name].len() <= position.offset as usize {
            // What the start has put on record just now.
            continue;
        }
        let mut bytes = Vec::new();
        encode_record(&record, &mut bytes).unwrap();
        let end = position.offset + u32::try_from(FRAME_HEAD + bytes.len()).unwrap();
        if let Record::Accepted {
            event, webhooks, ..
        } = &record
        {
            truth.events.insert(position, (**event).clone());
            for webhook in webhooks {
                let delivery = opened.reader.delivery(*webhook, position).unwrap();
                let delivery = delivery.expect("it was accepted");
                truth.deliveries.insert((*webhook, position), delivery);
            }
        }
        truth.records.push((position, end, record));
    }
    assert!(truth.events.len() > 90 && truth.queue.len() > 20);
    truth
}

/// Deliveries in each state there is.
async fn work(opened: &Opened, run: &str, events: usize) {
    let writer = &opened.writer;
    for number in 0..events {
        let id = format!("{run}-{number}");
        let data = format!("{{\"text\":\"{}\"}}", "abc".repeat(number % 50));
        let webhooks = [1, 2 + number as u128 % 3];
        let new = new_event(&id, &data, &webhooks);
        let Accepted::New { event, due, .. } = writer.accept(new).await.unwrap() else {
            panic!("{id} is new");
        };
        let mut entry = QueueEntry {
            due,
            event,
            attempts: 0,
            run_attempts: 0,
            trigger: Trigger::Schedule,
            not_before: SteadyMillis(0),
        };
        let webhook = webhooks[number % 2];
        if number % 3 == 0 {
            let next_due = due.plus(1_000_000 + number as u64);
            let retry = finish(webhook, entry, Next::RetryAt(next_due));
            assert_eq!(writer.finish(retry).await, Ok(Written::Done));
            entry.due = next_due;
        }
        let end = match number % 5 {
            0 => Next::Delivered,
            1 => Next::Failed(EndReason::Exhausted),
            2 => {
                let cancelled = writer.cancel(WebhookId(webhook), vec![entry], EndReason::Expired);
                assert_eq!(cancelled.await, Ok(1));
                continue;
            }
            3 => {
                writer.requeue(WebhookId(webhook), event).await.unwrap();
                continue;
            }
            _ => continue,
        };
        let ended = finish(webhook, entry, end);
        assert_eq!(writer.finish(ended).await, Ok(Written::Done));
        if number % 10 == 1 {
            writer.requeue(WebhookId(webhook), event).await.unwrap();
        }
    }
    let changed = Webhook {
        version: 2,
        name: Some(format!("changed by {run}")),
        ..webhook(2)
    };
    if run == "first" {
        writer.put_webhook(changed, Some(1)).await.unwrap();
    } else {
        writer.remove_webhook(WebhookId(5), 1).await.unwrap();
    }
}

fn queue(reader: &Reader) -> Vec<(WebhookId, QueueEntry)> {
    reader
        .pending_through(u32::MAX, None, usize::MAX)
        .unwrap()
        .0
}

fn by_id(reader: &Reader) -> BTreeMap<WebhookId, Webhook> {
    let webhooks = reader.webhooks().into_iter();
    webhooks.map(|webhook| (webhook.id, webhook)).collect()
}

fn one_round(truth: &Truth, seed: u64) -> Tally {
    let mut dice = Dice::new(seed);
    let mut image = truth.image.clone();
    let hits: Vec<Hit> = (0..=dice.below(3))
        .map(|_| ruin::ruin(&mut image, &mut dice))
        .collect();
    let directory = scratch();
    ruin::write(&image, directory.path());
    let round = Round::new(truth, &hits);
    let mut seen = Tally {
        rounds: 1,
        ..Tally::default()
    };
    for start in 0..STARTS_MAX {
        let opened = match open_free(directory.path()) {
            Ok(opened) => opened,
            Err(error) => {
                let by_format = hits.iter().any(|hit| hit.file.starts_with("format"));
                assert!(by_format, "does not open: {error}\n{hits:?}");
                let text = error.to_string();
                assert!(text.contains("format") && text.contains(';'), "{text}");
                seen.refused += 1;
                return seen;
            }
        };
        seen.sled_made_again += u64::from(opened.report.moved_aside.is_some());
        assert!(start < 2 || opened.report.moved_aside.is_none(), "{hits:?}");
        match round.look(&opened, start) {
            Ok(lost) => {
                seen.events_lost = lost;
                seen.set_aside = opened.reader.backlog().set_aside - round.set_aside;
                if start > 0 {
                    opened.handle.stop().unwrap();
                    return seen;
                }
                let stopped = opened.handle.stop();
                seen.sled_failed_at_work += u64::from(stopped.is_err());
            }
            Err(Error::Suspect(_)) => {
                seen.sled_failed_at_work += 1;
                assert!(opened.fatal.borrow().is_some(), "the store fails: {hits:?}");
                assert!(opened.handle.stop().is_err());
            }
            Err(error) => panic!("{error}\n{hits:?}"),
        }
    }
    panic!("not healed by {STARTS_MAX} starts: {hits:?}");
}

/// Opens a store whose lock a process that another test has just forked may hold until it runs its own program.
fn open_free(path: &Path) -> Result<Opened, Error> {
    let started = tokio::time::Instant::now();
    loop {
        match open(small(path), Metrics::new()) {
            Err(Error::Locked { .. }) if started.elapsed() < LOCKED_MAX => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

/// What is to be expected of a directory that was damaged so.
struct Round<'a> {
    truth: &'a Truth,
    hits: &'a [Hit],
    /// The records that some damage touched.
    hit: BTreeSet<Position>,
    /// The deliveries of which a record was touched.
    touched: BTreeSet<(WebhookId, Position)>,
    journal_hit: bool,
    registry_hit: bool,
    set_aside: u64,
}

impl<'a> Round<'a> {
    fn new(truth: &'a Truth, hits: &'a [Hit]) -> Self {
        let (mut hit, mut touched) = (BTreeSet::new(), BTreeSet::new());
        for (position, end, record) in &truth.records {
            let name = format!("journal/{:010}.log", position.segment);
            let frame = position.offset as usize..*end as usize;
            let is_hit = hits.iter().any(|one| {
                // The header stands twice in 72 bytes; without it the whole segment is lost.
                let bytes = &one.bytes;
                one.file == name
                    && ((bytes.start < frame.end && frame.start < bytes.end)
                        || (bytes.start < 72 && !bytes.is_empty()))
            });
            if is_hit {
                hit.insert(*position);
                touched.extend(deliveries_in(record, *position));
            }
        }
        // The piece of earlier damage: only sled knows of its delivery.
        let lost = truth.queue.iter().map(|(id, entry)| (*id, entry.event));
        touched.extend(lost.filter(|(_, event)| !truth.events.contains_key(event)));
        let in_journal = |one: &Hit| one.file.ends_with(".log");
        let set_aside_files = hits.iter().any(|one| one.file.contains("set-aside"));
        Self {
            truth,
            hits,
            hit,
            touched,
            journal_hit: hits.iter().any(in_journal),
            registry_hit: hits.iter().any(|one| one.file.starts_with("registry/")),
            set_aside: if set_aside_files { 0 } else { truth.set_aside },
        }
    }

    /// Reads everything and works. Gives how many events are lost; fails where sled turns out to be damaged.
    fn look(&self, opened: &Opened, start: usize) -> Result<u64, Error> {
        let reader = &opened.reader;
        let (truth, hits) = (self.truth, self.hits);
        let webhooks = by_id(reader);
        for (id, found) in &webhooks {
            let known = truth.records.iter().any(|(_, _, record)| match record {
                Record::WebhookSaved { webhook, .. } => webhook == found,
                Record::Webhooks { rows, .. } => rows.iter().any(|row| row.webhook == *found),
                _ => false,
            });
            assert!(known, "{id} was never so: {hits:?}");
        }
        if !self.registry_hit {
            assert_eq!(opened.report.moved_aside, None, "{hits:?}");
        }
        if !self.journal_hit {
            assert_eq!(webhooks, truth.webhooks, "{hits:?}");
        }
        let lost = self.events(opened);
        self.history(reader)?;
        self.queue(reader, &webhooks, start)?;
        if start == 0 {
            self.works_on(opened, &webhooks)?;
        }
        Ok(lost)
    }

    fn events(&self, opened: &Opened) -> u64 {
        let (reader, hits) = (&opened.reader, self.hits);
        let mut lost = 0;
        for (position, event) in &self.truth.events {
            match reader.event_at(*position) {
                // A last segment that is gone together with sled leaves no trace: its number is used again.
                Ok(read) if read != *event => {
                    let gone = self.registry_hit && self.hit.contains(position);
                    assert!(
                        gone && read.id.as_str() == "after",
                        "other bytes at {position}: {hits:?}"
                    );
                    lost += 1;
                }
                Ok(_) => {}
                Err(error) => {
                    assert!(self.hit.contains(position), "{position}: {error} {hits:?}");
                    assert!(error.is_lost(), "{error}");
                    lost += 1;
                }
            }
            let found = reader.find_event(&event.account, &event.id).unwrap();
            match found {
                Some((at, found)) => assert_eq!((at, &found), (*position, event), "{hits:?}"),
                None => assert!(self.hit.contains(position), "{} {hits:?}", event.id),
            }
        }
        // A tear at the very end cannot be told from damage there, unless sled knows better.
        let last = self.truth.records.iter().rev().map(|(at, _, _)| at);
        let torn = last.take_while(|at| self.hit.contains(at)).count();
        // Nor can the oldest segments, where nothing tells of them, from those that retention has deleted.
        let (oldest, _) = reader.journal.bounds();
        let events = self.truth.events.keys();
        let oldest = events.filter(|at| at.segment < oldest && !reader_knows(reader, at.segment));
        if lost > (torn + oldest.count()) as u64 {
            let aside = reader.backlog().set_aside;
            assert!(aside > self.set_aside, "not set aside: {hits:?}");
        }
        lost
    }

    fn history(&self, reader: &Reader) -> Result<(), Error> {
        let hits = self.hits;
        let listed = reader.events(&account(), None, 1_000)?;
        for (at, event) in &listed {
            let known = self.truth.events.get(at);
            let gone = self.registry_hit && self.hit.contains(at);
            assert!(gone || known.is_none_or(|known| known == event), "{hits:?}");
        }
        for webhook in 1..=5 {
            reader.deliveries(WebhookId(webhook), None, 1_000)?;
        }
        for ((webhook, event), known) in &self.truth.deliveries {
            let read = match reader.delivery(*webhook, *event) {
                Err(error) if error.is_lost() && self.hit.contains(event) => continue,
                read => read?,
            };
            reader.deliveries_of(*event).ok();
            let Some(read) = read else {
                assert!(self.touched.contains(&(*webhook, *event)), "{hits:?}");
                continue;
            };
            // See `events`: the place of what is gone was used again.
            if self.registry_hit && self.hit.contains(event) && read.event.id.as_str() == "after" {
                continue;
            }
            assert_eq!(read.event, known.event);
            let all = |attempt| known.attempts.contains(attempt);
            let work_went_on = read.attempts.len() > known.attempts.len();
            assert!(work_went_on || read.attempts.iter().all(all), "{hits:?}");
            if !self.touched.contains(&(*webhook, *event)) && !work_went_on {
                assert_eq!(read.attempts, known.attempts, "{event} {hits:?}");
            }
        }
        Ok(())
    }

    fn queue(
        &self,
        reader: &Reader,
        webhooks: &BTreeMap<WebhookId, Webhook>,
        start: usize,
    ) -> Result<(), Error> {
        let hits = self.hits;
        let found = reader.pending_through(u32::MAX, None, usize::MAX)?.0;
        let pairs: BTreeSet<_> = found.iter().map(|(id, one)| (*id, one.event)).collect();
        assert_eq!(
            pairs.len(),
            found.len(),
            "two keys for a delivery: {hits:?}"
        );
        let found: BTreeSet<_> = found.into_iter().collect();
        if start > 0 {
            return Ok(());
        }
        for missing in self.truth.queue.difference(&found) {
            let (webhook, entry) = missing;
            let excused =
                self.touched.contains(&(*webhook, entry.event)) || !webhooks.contains_key(webhook);
            let instead = found
                .iter()
                .find(|(id, one)| (id, one.event) == (webhook, entry.event));
            assert!(
                excused,
                "{missing:?} is not pending any more, but {instead:?}: {hits:?}"
            );
        }
        for more in found.difference(&self.truth.queue) {
            let known = self.touched.contains(&(more.0, more.1.event));
            assert!(known, "{more:?} is pending again: {hits:?}");
        }
        Ok(())
    }

    /// Accepts, finishes, sends again and changes, as far as there is something to do it with.
    fn works_on(
        &self,
        opened: &Opened,
        webhooks: &BTreeMap<WebhookId, Webhook>,
    ) -> Result<(), Error> {
        let (reader, writer) = (&opened.reader, &opened.writer);
        let failed = |error: WriteError| Error::Suspect(error.to_string());
        let runtime = runtime();
        runtime.block_on(async {
            let new = new_event("after", "{\"after\":1}", &[1, 2]);
            let Accepted::New { event, due, .. } = writer.accept(new).await.map_err(failed)? else {
                panic!("`after` is new: {:?}", self.hits);
            };
            // Where sled is ruined too, nothing tells of a lost end, which is then gone on from as from a tear.
            let unknown = self.registry_hit && self.hit.contains(&event);
            assert!(
                unknown || !self.truth.events.contains_key(&event),
                "a place used twice: {:?}",
                self.hits
            );
            assert_eq!(
                reader.event_at(event)?,
                super::event("after", "{\"after\":1}")
            );
            if !webhooks.contains_key(&WebhookId(1)) {
                return Ok(());
            }
            let page = reader.page(WebhookId(1), (SteadyMillis(0), due), 10_000)?;
            let entry = page.entries.iter().find(|entry| entry.event == event);
            let entry = *entry.expect("it is pending");
            let done = writer.finish(finish(1, entry, Next::Delivered)).await;
            assert_eq!(done.map_err(failed)?, Written::Done);
            let again = writer.requeue(WebhookId(1), event).await.map_err(failed)?;
            assert!(matches!(again, Requeued::Now { .. }), "{again:?}");
            let same = webhooks[&WebhookId(1)].clone();
            let version = same.version;
            let put = writer.put_webhook(same, Some(version)).await;
            assert_eq!(put.map_err(failed)?, Written::Done);
            Ok(())
        })
    }
}

/// Whether deliveries are known to be pending of a segment's events.
fn reader_knows(reader: &Reader, segment: u32) -> bool {
    reader.live.segments().contains(&segment)
}

/// The deliveries that a record speaks of.
fn deliveries_in(record: &Record, position: Position) -> Vec<(WebhookId, Position)> {
    match record {
        Record::Accepted { webhooks, .. } => webhooks
            .iter()
            .map(|webhook| (*webhook, position))
            .collect(),
        Record::Attempted { webhook, event, .. }
        | Record::Deferred { webhook, event, .. }
        | Record::Ended { webhook, event, .. }
        | Record::Requeued { webhook, event, .. } => vec![(*webhook, *event)],
        Record::Cancelled {
            webhook, entries, ..
        } => {
            let events = entries.iter().map(|entry| entry.event);
            events.map(|event| (*webhook, event)).collect()
        }
        Record::JobStepped { queued, .. } => {
            queued.iter().map(|one| (one.webhook, one.event)).collect()
        }
        _ => Vec::new(),
    }
}
