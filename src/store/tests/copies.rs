//! Copies of a store that lives: whatever retention deletes and the committer appends meanwhile, a copy opens and
//! every delivery that waits in it has its event; and the look before an open refuses what is newer.
//!
//! `HOOKWHEEL_BACKUP_ROUNDS` sets how many copies are made beside the load (3 by default).

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::store::directory::{journal_path, registry_path};

/// Accepts events, lets most of them end, and deletes what has ended, as fast as it goes.
async fn churn(store: &Opened, stop: &AtomicBool, acknowledged: &std::sync::Mutex<Vec<String>>) {
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let id = format!("e{number}");
        accept(&store.writer, &id, &[1, 2]).await;
        acknowledged.lock().unwrap().push(id);
        number += 1;
        if !number.is_multiple_of(20) {
            continue;
        }
        for webhook in [1, 2] {
            for entry in pending(&store.reader, webhook) {
                // A few are tried again, so that records about an event lie in later segments than it.
                let next = if entry.attempts == 0 && entry.event.offset.is_multiple_of(3) {
                    Next::RetryAt(entry.due.plus(1))
                } else {
                    Next::Delivered
                };
                store
                    .writer
                    .finish(finish(webhook, entry, next))
                    .await
                    .unwrap();
            }
        }
        let (_, newest) = store.reader.journal.bounds();
        store
            .writer
            .delete_through(newest.saturating_sub(3))
            .await
            .unwrap();
    }
}

/// A copy opens without a word, and each delivery that waits in it has its event.
fn check_copy(path: &Path, before: &[String]) -> usize {
    let copy = open_small(path);
    assert_eq!(copy.report.damaged, 0);
    assert_eq!(copy.report.moved_aside, None);
    assert_eq!(copy.reader.webhooks().len(), 2, "the registry is whole");
    let mut waiting = 0;
    for webhook in [1, 2] {
        for entry in pending(&copy.reader, webhook) {
            let event = copy.reader.event_at(entry.event);
            assert!(event.is_ok(), "{} has no event: {event:?}", entry.event);
            waiting += 1;
        }
    }
    // What was acknowledged before the copy began is there, unless it had ended and was deleted.
    let (oldest, _) = copy.reader.journal.bounds();
    let newest_before = before.last().unwrap();
    let found = copy
        .reader
        .find_event(&account(), &EventId::new(newest_before).unwrap())
        .unwrap();
    assert!(
        found.is_some() || oldest > 1,
        "{newest_before} is not in the copy, and nothing was deleted"
    );
    copy.handle.stop().unwrap();
    waiting
}

#[test]
fn a_copy_beside_appends_rolls_and_deletions_is_a_whole_store() {
    let rounds = std::env::var("HOOKWHEEL_BACKUP_ROUNDS").map_or(3, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let store = open_small(&data);
    let runtime = runtime();
    runtime.block_on(register(&store.writer, [1, 2]));
    let stop = AtomicBool::new(false);
    let acknowledged = std::sync::Mutex::new(Vec::new());
    let (mut waiting, mut dropped) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| runtime.block_on(churn(&store, &stop, &acknowledged)));
        for round in 0..rounds {
            let wanted = 60 * (round + 1);
            until("there is some history", || {
                acknowledged.lock().unwrap().len() >= wanted
            });
            let before = acknowledged.lock().unwrap().clone();
            let order = BackupOrder {
                from: data.clone(),
                to: directory.path().join(format!("copy-{round}")),
                // So that the load deletes what is being copied.
                rate: Some(400_000),
            };
            let made = backup(&order, &mut |_| {}, &mut |_| {});
            let made = match made {
                Ok(made) => made,
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    panic!("round {round}: {error}");
                }
            };
            assert_eq!(made.survey.damaged, 0, "{:?}", made.survey.damage);
            dropped += u32::from(made.survey.oldest > 1);
            waiting += check_copy(&order.to, &before);
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!(
        "{rounds} copies, {dropped} of them after deletions, {waiting} deliveries waiting in them"
    );
    assert!(waiting > 0 && dropped > 0, "the load did what it is for");
    store.handle.stop().unwrap();
}

/// Retention at its worst: the first segment is copied, and before the second one is, everything of the first ones
/// ends and they are deleted, while what ended them stands in segments that the copy did not know of.
#[test]
fn what_is_deleted_under_a_copy_had_ended_before_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let store = open_small(&data);
    let runtime = runtime();
    runtime.block_on(async {
        register(&store.writer, [1, 2]).await;
        for number in 0..200 {
            accept(&store.writer, &format!("e{number}"), &[1]).await;
        }
        // So that records about the events stand in later segments than they do.
        for entry in pending(&store.reader, 1) {
            let next = Next::RetryAt(entry.due.plus(1));
            store.writer.finish(finish(1, entry, next)).await.unwrap();
        }
    });
    let (oldest, newest) = store.reader.journal.bounds();
    assert!(oldest == 1 && newest >= 6, "segments {oldest} to {newest}");
    let mut deleted = false;
    let order = BackupOrder {
        from: data,
        to: directory.path().join("copy"),
        rate: None,
    };
    let mut delete = |_| {
        if std::mem::replace(&mut deleted, true) {
            return;
        }
        runtime.block_on(async {
            for entry in pending(&store.reader, 1) {
                if entry.event.segment <= 3 {
                    let ended = finish(1, entry, Next::Delivered);
                    store.writer.finish(ended).await.unwrap();
                }
            }
            assert_eq!(store.writer.delete_through(3).await.unwrap(), 3);
        });
    };
    let made = backup(&order, &mut |_| {}, &mut delete).unwrap();
    assert_eq!(made.survey.oldest, 4, "what lies before a gap is left out");
    assert!(made.survey.end.unwrap().segment > newest);
    let left = pending(&store.reader, 1).len();
    assert!(left > 0);
    assert_eq!(made.survey.pending, left as u64);
    let copy = open_small(&order.to);
    assert_eq!(copy.reader.webhooks().len(), 2);
    assert_eq!(pending(&copy.reader, 1).len(), left);
    for entry in pending(&copy.reader, 1) {
        assert!(copy.reader.event_at(entry.event).is_ok());
    }
    copy.handle.stop().unwrap();
    store.handle.stop().unwrap();
}

/// Every file below a directory, with its bytes.
fn tree(directory: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

/// Events of a stopped store: enough for some sealed segments.
const STOPPED: usize = 80;

/// A stopped store with some sealed segments.
fn stopped(path: &Path) {
    let store = open_small(path);
    let runtime = runtime();
    runtime.block_on(async {
        register(&store.writer, [1]).await;
        for number in 0..STOPPED {
            accept(&store.writer, &format!("e{number}"), &[1]).await;
        }
    });
    store.handle.stop().unwrap();
}

/// Appends a record of these bytes to the last segment, as a newer version would.
fn append(path: &Path, payload: &[u8]) {
    let options = crate::journal::Options {
        path: journal_path(path),
        segment_bytes_max: 1 << 20,
        segment_age_max_ms: u64::MAX,
        filters_max: 32,
        end: crate::journal::KnownEnd::Unknown,
    };
    let (mut journal, _) =
        crate::journal::Journal::open(options, |_, _| Vec::new(), Metrics::new(), 0).unwrap();
    journal.stage(payload, Vec::new()).unwrap();
    journal.commit().unwrap();
}

#[test]
fn records_of_a_newer_version_are_refused_before_anything_is_touched() {
    for (payload, told) in [
        (&[6, 0, 9, 9][..], "encoding version 6"),
        (&[5, 200, 9, 9][..], "a record of kind 200"),
        (&[4, 200, 9, 9][..], "a record of kind 200"),
        (&[3, 200, 9, 9][..], "a record of kind 200"),
        (&[2, 200, 9, 9][..], "a record of kind 200"),
        (&[1, 0, 0, 0, 200, 9, 9][..], "a record of kind 200"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        stopped(directory.path());
        append(directory.path(), payload);
        // What an open would otherwise change: a torn tail, an index that is missing, an unfinished file.
        let last = tree(&journal_path(directory.path()))
            .into_keys()
            .rfind(|path| path.extension().is_some_and(|ending| ending == "log"))
            .unwrap();
        let mut bytes = std::fs::read(&last).unwrap();
        bytes.extend_from_slice(&[0; 9]);
        std::fs::write(&last, bytes).unwrap();
        std::fs::remove_file(journal_path(directory.path()).join("0000000001.idx")).unwrap();
        std::fs::write(journal_path(directory.path()).join("0000000001.tmp"), "x").unwrap();
        for lock in [true, false] {
            if !lock {
                std::fs::remove_file(directory.path().join("lock")).unwrap();
            }
            let before = tree(directory.path());
            let refused = open(options(directory.path()), Metrics::new())
                .err()
                .unwrap()
                .to_string();
            assert!(refused.contains(told), "{refused}");
            assert!(refused.contains(last.to_str().unwrap()), "{refused}");
            assert!(refused.contains("install the version"), "{refused}");
            assert_eq!(tree(directory.path()), before);
        }
    }
}

#[test]
fn headers_and_indexes_of_a_newer_version_are_refused_before_anything_is_touched() {
    for (name, newer, header) in [("0000000002.log", 2, 36), ("0000000001.idx", 3, 36)] {
        let directory = tempfile::tempdir().unwrap();
        stopped(directory.path());
        let path = journal_path(directory.path()).join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[11] = newer;
        let checksum = crc32c::crc32c(&bytes[..header - 4]);
        bytes[header - 4..header].copy_from_slice(&checksum.to_be_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let before = tree(directory.path());
        let refused = open(options(directory.path()), Metrics::new())
            .err()
            .unwrap()
            .to_string();
        assert!(refused.contains(name), "{refused}");
        assert!(
            refused.contains(&format!("format version {newer}")),
            "{refused}"
        );
        assert!(refused.contains("install the version"), "{refused}");
        assert_eq!(tree(directory.path()), before);
        assert!(registry_path(directory.path()).exists());
    }
}

#[test]
fn an_end_that_was_acknowledged_is_set_aside_and_told_when_it_is_cut() {
    for damaged in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        stopped(directory.path());
        let last = tree(&journal_path(directory.path()))
            .into_keys()
            .rfind(|path| path.extension().is_some_and(|ending| ending == "log"))
            .unwrap();
        let mut bytes = std::fs::read(&last).unwrap();
        if damaged {
            // The last record: sled has it, so it was synced.
            let at = bytes.len() - 2;
            bytes[at] ^= 4;
        } else {
            // A group that was being written when the process ended.
            bytes.extend_from_slice(&[0, 0, 0, 50, 1, 2, 3, 4, 5]);
        }
        std::fs::write(&last, &bytes).unwrap();
        let store = open_small(directory.path());
        assert_eq!(store.report.journal.torn_bytes > 0, !damaged);
        assert_eq!(store.report.journal.damaged, u64::from(damaged));
        assert_eq!(
            store.report.moved_aside, None,
            "sled knows more than the journal, and is kept"
        );
        assert_eq!(store.reader.backlog().set_aside, u64::from(damaged));
        let set_aside = journal_path(directory.path()).join("set-aside");
        if damaged {
            let kept: Vec<Vec<u8>> = tree(&set_aside).into_values().collect();
            assert!(kept.len() == 1 && bytes.ends_with(&kept[0]));
        } else {
            assert!(!set_aside.exists());
        }
        assert_eq!(pending(&store.reader, 1).len(), STOPPED);
        store.handle.stop().unwrap();
    }
}
