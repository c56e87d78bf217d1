//! Crashes: kills of a real process under load, tails cut at every byte, flipped bytes, sled in ruins.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;
use crate::journal::{Journal, KEY_BYTES};
use crate::model::{DeliveryState, EndReason};
use crate::store::codec::encode_record;
use crate::store::record::{Moment, Record};

const CHILD: &str = "HOOKWHEEL_TEST_CRASH_CHILD";

/// Not a test by itself: the process that is killed. It works under load, and prints each answer it got.
#[test]
fn child_that_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let opened = open_small(Path::new(&path));
    let run = std::process::id();
    runtime().block_on(async {
        for id in 1..=3 {
            opened.writer.put_webhook(webhook(id), None).await.unwrap();
        }
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8 {
            tasks.spawn(work(opened.writer.clone(), run, task));
        }
        tasks.join_all().await;
    });
}

async fn work(writer: Writer, run: u32, task: u32) {
    for number in 0_u32.. {
        let id = format!("r{run}-{task}-{number}");
        let (event, due) = accept(&writer, &id, &[1, 2]).await;
        println!("accepted {id} {}", event.to_u64());
        let mut entry = QueueEntry {
            due,
            event,
            attempts: 0,
            run_attempts: 0,
            trigger: Trigger::Schedule,
            not_before: SteadyMillis(0),
        };
        if number % 3 == 0 {
            let next_due = due.plus(1_000_000 + u64::from(number));
            assert_eq!(
                writer
                    .finish(finish(1, entry, Next::RetryAt(next_due)))
                    .await,
                Ok(Written::Done)
            );
            println!("moved {} {}", event.to_u64(), next_due.0);
            entry.due = next_due;
        }
        if number % 5 != 0 {
            assert_eq!(
                writer.finish(finish(1, entry, Next::Delivered)).await,
                Ok(Written::Done)
            );
            println!("ended {}", event.to_u64());
        }
    }
}

/// What the killed process was told.
#[derive(Default)]
struct Told {
    accepted: BTreeMap<u64, String>,
    moved: BTreeMap<u64, u64>,
    ended: Vec<u64>,
}

impl Told {
    fn hear(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["accepted", id, event] => {
                drop(self.accepted.insert(event.parse().unwrap(), id.to_owned()))
            }
            ["moved", event, due] => drop(
                self.moved
                    .insert(event.parse().unwrap(), due.parse().unwrap()),
            ),
            ["ended", event] => self.ended.push(event.parse().unwrap()),
            _ => return false,
        }
        true
    }

    /// Everything told is so. What was not told may be or not: the answer may have been on its way.
    fn holds_in(&self, reader: &Reader) {
        let (first, second) = (pending(reader, 1), pending(reader, 2));
        let by_event = |entries: &[QueueEntry]| -> BTreeMap<u64, QueueEntry> {
            let map: BTreeMap<u64, QueueEntry> = entries
                .iter()
                .map(|entry| (entry.event.to_u64(), *entry))
                .collect();
            assert_eq!(map.len(), entries.len(), "two keys for one delivery");
            map
        };
        let (first, second) = (by_event(&first), by_event(&second));
        for (position, id) in &self.accepted {
            let event = reader.event_at(Position::from_u64(*position)).unwrap();
            assert_eq!(event.id.as_str(), id);
            assert!(
                second.contains_key(position),
                "the delivery of {id} is lost"
            );
            if !first.contains_key(position) {
                let states = reader.deliveries_of(Position::from_u64(*position)).unwrap();
                assert!(
                    matches!(states[0].1, DeliveryState::Delivered { .. }),
                    "{id} is neither"
                );
            }
        }
        for ended in &self.ended {
            assert!(
                !first.contains_key(ended),
                "an ended delivery is pending again"
            );
        }
        for (event, due) in &self.moved {
            assert!(
                first
                    .get(event)
                    .is_none_or(|entry| entry.due.0 == *due && entry.attempts == 1)
            );
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    for kill_after in [1, 40, 300, 900, 2_500] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::tests::crash::child_that_is_killed",
                "--nocapture",
            ])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = 0;
        while heard < kill_after {
            let line = lines.next().expect("the child ended by itself").unwrap();
            heard += usize::from(told.hear(&line));
        }
        child.kill().unwrap();
        // What it had printed by then it was told, too; a last line may be cut short.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        for line in rest.iter().take(rest.len().saturating_sub(1)) {
            told.hear(line);
        }
        child.wait().unwrap();
        let opened = open_small(directory.path());
        assert_eq!(
            (opened.report.damaged, opened.report.moved_aside.clone()),
            (0, None)
        );
        told.holds_in(&opened.reader);
    }
    assert!(told.accepted.len() > 500 && told.ended.len() > 300);
}

/// A store with a few deliveries in each state, cleanly stopped; what it looked like before each record.
fn small_store(path: &Path) {
    let opened = open_at(path);
    runtime().block_on(async {
        register(&opened.writer, [1, 2]).await;
        for id in ["a", "b", "c", "d"] {
            accept(&opened.writer, id, &[1, 2]).await;
        }
        let entries = pending(&opened.reader, 1);
        let writer = &opened.writer;
        writer
            .finish(finish(1, entries[0], Next::Delivered))
            .await
            .unwrap();
        let retry = Next::RetryAt(entries[1].due.plus(9_000));
        writer.finish(finish(1, entries[1], retry)).await.unwrap();
        writer
            .finish(finish(1, entries[2], Next::Failed(EndReason::Gone)))
            .await
            .unwrap();
        writer
            .requeue(WebhookId(1), entries[2].event)
            .await
            .unwrap();
    });
    opened.handle.stop().unwrap();
}

fn log(path: &Path) -> PathBuf {
    path.join("journal/0000000001.log")
}

/// The queue that a journal's whole records make, by `apply` and a plain map.
fn expected(records: &[(Position, Record)]) -> Vec<(WebhookId, QueueEntry)> {
    let mut queue = BTreeMap::new();
    for (position, record) in records {
        for change in apply::apply(record, *position) {
            match change {
                apply::Change::Queue(key, Some(value)) => drop(queue.insert(key, value)),
                apply::Change::Queue(key, None) => drop(queue.remove(&key)),
                _ => {}
            }
        }
    }
    queue
        .into_iter()
        .map(|(key, value)| (key.webhook, key.entry(value)))
        .collect()
}

fn queue(reader: &Reader) -> Vec<(WebhookId, QueueEntry)> {
    reader
        .pending_through(u32::MAX, None, usize::MAX)
        .unwrap()
        .0
}

#[test]
fn a_journal_cut_at_any_byte_opens_as_its_whole_records_say() {
    let directory = tempfile::tempdir().unwrap();
    small_store(directory.path());
    let whole = std::fs::read(log(directory.path())).unwrap();
    let records = {
        let opened = open_at(directory.path());
        open::records(&opened.reader.journal)
    };
    let (last_position, _) = records[records.len() - 5];
    let cuts = last_position.offset as usize..whole.len();
    assert!(cuts.len() > 100);
    // Each with sled as it was, which is ahead of the journal then, and without it. Where sled is ahead, the
    // bytes that are missing had been synced: that is damage, and sled knows best what is live.
    let mut known = expected(&records);
    for cut in cuts {
        let kept: Vec<_> = records
            .iter()
            .filter(|(at, record)| {
                let mut bytes = Vec::new();
                encode_record(record, &mut bytes).unwrap();
                at.offset as usize + 8 + bytes.len() <= cut
            })
            .cloned()
            .collect();
        std::fs::write(log(directory.path()), &whole[..cut]).unwrap();
        let without_sled = cut % 2 == 0;
        if without_sled {
            std::fs::remove_dir_all(directory.path().join("registry")).unwrap();
            known = expected(&kept);
        }
        let opened = open_at(directory.path());
        assert_eq!(queue(&opened.reader), known, "cut at {cut}");
        assert_eq!(opened.report.moved_aside, None);
        assert_eq!(
            opened.report.journal.damaged,
            u64::from(!without_sled),
            "cut at {cut}"
        );
        assert_eq!(opened.reader.backlog().set_aside > 0, !without_sled);
        assert_eq!(opened.reader.webhooks().len(), 2);
        drop(opened);
        std::fs::remove_dir_all(directory.path().join("journal")).unwrap();
        std::fs::create_dir(directory.path().join("journal")).unwrap();
    }
}

#[test]
fn sled_in_ruins_is_moved_aside_and_made_again() {
    let directory = tempfile::tempdir().unwrap();
    small_store(directory.path());
    let good = {
        let opened = open_at(directory.path());
        queue(&opened.reader)
    };
    assert_eq!(good.len(), 7);
    let registry = directory.path().join("registry");
    let garbage =
        |registry: &Path| std::fs::write(registry.join("db"), vec![0xa5; 70_000]).unwrap();
    let no_conf = |registry: &Path| std::fs::write(registry.join("conf"), b"not a conf").unwrap();
    let not_ours = |registry: &Path| {
        std::fs::remove_dir_all(registry).unwrap();
        let db = sled::open(registry).unwrap();
        db.insert(b"m", b"short").unwrap();
        db.flush().unwrap();
    };
    let half_made = |registry: &Path| {
        std::fs::remove_dir_all(registry).unwrap();
        let db = sled::open(registry).unwrap();
        db.insert(keys::count_key(3), &7_i64.to_be_bytes()[..])
            .unwrap();
        db.flush().unwrap();
    };
    let a_file = |registry: &Path| {
        std::fs::remove_dir_all(registry).unwrap();
        std::fs::write(registry, b"what is this").unwrap();
    };
    let ruins: [&dyn Fn(&Path); 5] = [&garbage, &no_conf, &not_ours, &half_made, &a_file];
    for (number, ruin) in ruins.iter().enumerate() {
        ruin(&registry);
        let opened = open_at(directory.path());
        let aside = directory
            .path()
            .join(format!("registry.broken-{}", number + 1));
        assert_eq!(
            opened.report.moved_aside,
            Some(aside.clone()),
            "ruin {number}"
        );
        assert!(aside.exists());
        assert_eq!(queue(&opened.reader), good, "ruin {number}");
        opened.handle.stop().unwrap();
    }
    // The newest three of five are kept.
    let kept = |number: u32| directory.path().join(format!("registry.broken-{number}"));
    assert!(!kept(1).exists() && !kept(2).exists() && kept(3).exists());
    std::fs::remove_dir_all(&registry).unwrap();
    let opened = open_at(directory.path());
    assert_eq!(
        (opened.report.moved_aside, queue(&opened.reader)),
        (None, good)
    );
}

#[test]
fn damage_in_the_journal_costs_one_record_and_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    small_store(directory.path());
    let records = {
        let opened = open_at(directory.path());
        open::records(&opened.reader.journal)
    };
    let whole = std::fs::read(log(directory.path())).unwrap();
    let mut damaged = 0;
    for (position, _) in &records[..records.len() - 1] {
        let mut bytes = whole.clone();
        bytes[position.offset as usize + 20] ^= 0x40;
        std::fs::write(log(directory.path()), bytes).unwrap();
        std::fs::remove_dir_all(directory.path().join("registry")).unwrap();
        let opened = open_at(directory.path());
        assert_eq!(
            (opened.report.damaged, opened.report.journal.damaged),
            (1, 1)
        );
        let left: Vec<_> = records
            .iter()
            .filter(|(at, _)| at != position)
            .cloned()
            .collect();
        let webhooks: Vec<WebhookId> = opened.reader.webhooks().iter().map(|one| one.id).collect();
        // A webhook that is lost has its deliveries cancelled: they could go nowhere.
        let kept = || -> Vec<_> {
            let all = expected(&left);
            let known = all.iter().filter(|(webhook, _)| webhooks.contains(webhook));
            // Where the lost record had ended or moved a delivery that came back later, the newer key stays.
            let newer = |(webhook, entry): &(WebhookId, QueueEntry)| {
                all.iter().any(|(other, another)| {
                    (other, another.event) == (webhook, entry.event)
                        && (another.attempts, another.due) > (entry.attempts, entry.due)
                })
            };
            known.filter(|one| !newer(one)).copied().collect()
        };
        until("only deliveries of known webhooks are left", || {
            queue(&opened.reader) == kept()
        });
        let counted: u64 = opened
            .reader
            .backlog()
            .segments
            .iter()
            .map(|one| one.pending)
            .sum();
        assert_eq!(counted, kept().len() as u64);
        assert!(opened.reader.backlog().set_aside > 0);
        damaged += 1;
        drop(opened);
        std::fs::remove_dir_all(directory.path().join("journal/set-aside")).unwrap();
    }
    assert!(damaged > 5);
}

#[test]
fn steady_time_goes_on_where_it_was_even_if_the_wall_clock_went_back() {
    let directory = tempfile::tempdir().unwrap();
    let future = crate::model::Clock::system().wall().0 + 5_000_000;
    let opened = open_at(directory.path());
    opened.handle.stop().unwrap();
    drop(opened.reader);
    // As if the wall clock had been ahead when this was written.
    let options = crate::journal::Options {
        path: directory.path().join("journal"),
        segment_bytes_max: 1 << 20,
        segment_age_max_ms: u64::MAX,
        filters_max: 1,
        end: crate::journal::KnownEnd::Unknown,
    };
    let (mut journal, _) = Journal::open(options, |_, _| Vec::new(), Metrics::new(), 0).unwrap();
    let at = Moment {
        steady: SteadyMillis(future),
        wall: UnixMillis(1),
    };
    let mut bytes = Vec::new();
    encode_record(
        &Record::WebhookSaved {
            webhook: webhook(1),
            at,
        },
        &mut bytes,
    )
    .unwrap();
    journal
        .stage(
            &bytes,
            vec![crate::journal::IndexKey {
                key: [0; KEY_BYTES],
                filtered: false,
            }],
        )
        .unwrap();
    journal.commit().unwrap();
    drop(journal);
    for _ in 0..2 {
        let opened = open_at(directory.path());
        assert!(opened.clock.steady() >= SteadyMillis(future));
        opened.handle.stop().unwrap();
    }
}
