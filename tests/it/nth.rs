//! Each operation on the disk may fail: the daemon acknowledges nothing that is not so, and ends saying why.
//!
//! A script of 200 API operations runs against the real daemon; the n-th operation on its files fails, for many n:
//! with an input/output error, with a full disk from there on, with a write of half (which is gone on with), or at
//! the n-th sync, after which the system takes the pages for clean and a second sync would succeed. The daemon does
//! not start, or ends with 1 and names the file and the cause, or the operation was one that it can do without. Then
//! a start without faults has all that was acknowledged; after a failed sync, without what that sync was for.
//!
//! `HOOKWHEEL_NTH` is the number of faults (5 by default), `all` (each operation with each kind, which takes an hour or
//! two), or a list such as `7:eio,20:sync`, to try some again.
//! `HOOKWHEEL_SEED` sets where the stride begins.

mod script;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hookwheel::metrics::Metrics;
use hookwheel::store;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::dice::Dice;
use crate::ledger::{Ledger, Posted, look};
use crate::power::{copy, options};
use crate::shim::disk::{ALL, Disk};
use crate::shim::{Did, Recording, Rig};
use crate::support::{Daemon, PATIENCE};
use crate::web::Web;
use script::{OPERATIONS, Script};

const STORAGE: &str = "segment_size = \"1MiB\"\nretention_age = \"1h\"";
const TWO_HOURS_MS: i64 = 7_200_000;

/// What the runs begin with: a store with a past, of which retention deletes a part at the next start.
struct Past {
    disk: TempDir,
    ledger: Ledger,
    webs: [Web; 2],
    rig: Rig,
    operations: u64,
    syncs: u64,
}

/// How a run with a fault ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// It did not get ready.
    NotStarted,
    /// It ended by itself, with 1.
    Stopped,
    /// The stop that was asked for failed, with 1.
    NotStoppedWell,
    /// It waited for room on the disk, and was stopped in good order.
    Waited,
    /// It did without the operation.
    Survived,
    /// This run had fewer operations.
    NotReached,
}

impl Past {
    async fn new() -> Option<Self> {
        let rig = Rig::new("failing operations", STORAGE)?;
        let webs = [
            Web::start(&rig.site.authority, |_| 200).await,
            Web::start(&rig.site.authority, |_| 500).await,
        ];
        let daemon = rig.start();
        let client = daemon.client("standard");
        let mut script = Script::new(
            &rig,
            client,
            Ledger::default(),
            "past",
            [&webs[0], &webs[1]],
        );
        assert!(script.run().await.is_ok());
        let ledger = script.ledger;
        assert_eq!(daemon.terminate().code(), Some(0));
        let disk = tempfile::tempdir().unwrap();
        copy(&rig.disk(), disk.path());
        let segments = segments(&disk.path().join("data"), &ledger);
        let past = Self {
            disk,
            ledger: ledger.after_cut(rig.recorded(), &segments),
            webs,
            rig,
            operations: 0,
            syncs: 0,
        };
        // A run without a fault tells how many operations there are.
        let (end, recording, _) = past.run(None).await;
        assert_eq!(end, End::Survived);
        let (operations, syncs) = recording.counts();
        Some(Self {
            operations,
            syncs,
            ..past
        })
    }

    /// Starts on the past, runs the script, stops; gives how it ended and what was acknowledged.
    async fn run(&self, fail: Option<&str>) -> (End, Recording, Ledger) {
        let rig = &self.rig;
        fs::remove_dir_all(rig.disk()).unwrap();
        copy(self.disk.path(), &rig.disk());
        fs::write(rig.recording(), []).unwrap();
        rig.shift_clock(TWO_HOURS_MS);
        let what = fail.unwrap_or("no fault");
        let daemon = match Daemon::try_spawn(rig.command(fail)) {
            Ok(daemon) => daemon,
            Err((status, said)) => {
                assert_eq!(status.code(), Some(1), "{what}: {said}");
                says_why(what, &said);
                let recording = Recording::read(&rig.recording());
                return (End::NotStarted, recording, self.ledger.clone());
            }
        };
        let (client, [well, failing]) = (daemon.client("standard"), &self.webs);
        let mut script = Script::new(rig, client, self.ledger.clone(), "run", [well, failing]);
        let full = what.ends_with(":enospc");
        if full {
            script = script.on_full_disk();
        }
        let done = script.run().await;
        let end = match done {
            Ok(()) => stopped(what, daemon),
            // A full disk ends nothing: it waits for room, and can be stopped in good order.
            Err(_) if full => waited(what, daemon),
            Err(_) => ended(what, daemon).await,
        };
        let recording = Recording::read(&rig.recording());
        assert!(fail.is_some() || script.answered == OPERATIONS);
        (end, recording, script.ledger)
    }

    /// After a run with a fault: what is left opens, and holds what was acknowledged.
    fn check(
        &self,
        what: &str,
        recording: &Recording,
        ledger: &Ledger,
        dice: &mut Dice,
        with_daemon: bool,
    ) {
        let image = tempfile::tempdir().unwrap();
        let failed_sync = recording.count(|did| matches!(did, Did::FailedSync(_))) > 0;
        if failed_sync {
            let mut disk = Disk::holding(self.disk.path(), ALL);
            for op in &recording.ops {
                disk.play(&op.did, recording);
            }
            disk.write_cut(image.path(), recording, dice);
        } else {
            copy(&self.rig.disk(), image.path());
        }
        let kept = tempfile::tempdir().unwrap();
        copy(image.path(), kept.path());
        let opened = store::open(options(&image.path().join("data")), Metrics::new()).unwrap();
        let gone: Vec<u32> = recording
            .ops
            .iter()
            .filter_map(|op| match &op.did {
                Did::Unlink(path) => path
                    .strip_prefix("data/journal/")?
                    .strip_suffix(".log")?
                    .parse()
                    .ok(),
                _ => None,
            })
            .collect();
        let deleted = |posted: &Posted| {
            posted
                .segment
                .is_some_and(|segment| gone.contains(&segment))
        };
        let mark = recording.ops.last().unwrap().end;
        let found = look(ledger, &opened.reader, mark, deleted);
        let faults = found.faults.join("\n");
        assert!(
            faults.is_empty(),
            "{what}:\n{faults}\nthe image: {}",
            kept.keep().display()
        );
        opened.handle.stop().unwrap();
        // The daemon itself, without the library, on the same.
        if with_daemon {
            let daemon = Daemon::spawn(self.rig.plain(kept.path().to_str().unwrap()));
            assert_eq!(daemon.terminate().code(), Some(0), "{what}");
        }
    }
}

/// In which segment each event lies.
fn segments(data: &Path, ledger: &Ledger) -> BTreeMap<String, u32> {
    let opened = store::open(options(data), Metrics::new()).unwrap();
    let found = look(ledger, &opened.reader, u64::MAX - 1, |_| false);
    assert_eq!(found.faults, Vec::<String>::new());
    opened.handle.stop().unwrap();
    found.segments
}

/// The log names the cause, and a file of the data directory beside it.
fn says_why(what: &str, said: &str) {
    let why = said.lines().any(|line| {
        let cause = line.contains("Input/output error") || line.contains("No space left on device");
        cause && line.contains("/data")
    });
    assert!(why, "{what}: neither file nor cause is named:\n{said}");
}

fn stopped(what: &str, daemon: Daemon) -> End {
    daemon.signal(rustix::process::Signal::TERM);
    let mut daemon = daemon;
    let status = daemon.ended();
    match status.code() {
        Some(0) => End::Survived,
        Some(1) => {
            says_why(what, &daemon.log());
            End::NotStoppedWell
        }
        other => panic!("{what}: ended with {other:?}:\n{}", daemon.log()),
    }
}

/// Stops a daemon that waits for room on its disk, unless it met the full disk where it could not wait.
fn waited(what: &str, daemon: Daemon) -> End {
    daemon.signal(rustix::process::Signal::TERM);
    let mut daemon = daemon;
    let status = daemon.ended();
    match status.code() {
        Some(0) => End::Waited,
        Some(1) => {
            says_why(what, &daemon.log());
            End::Stopped
        }
        other => panic!("{what}: ended with {other:?}:\n{}", daemon.log()),
    }
}

/// Waits for a daemon to end that answers no more.
async fn ended(what: &str, mut daemon: Daemon) -> End {
    let start = Instant::now();
    let status = loop {
        if let Some(status) = daemon.has_ended() {
            break status;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: it does not end by itself:\n{}",
            daemon.log()
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!(status.code(), Some(1), "{what}:\n{}", daemon.log());
    says_why(what, &daemon.log());
    End::Stopped
}

/// A short write is gone on with. A full disk is met before anything is written; what there is room for goes on.
fn goes_on(fail: &str) -> bool {
    fail.ends_with(":short") || fail.ends_with(":enospc")
}

/// What the daemon can do without: indexes are made again from the segments, and sled from the journal.
fn can_do_without(path: &str) -> bool {
    path.ends_with(".tmp") || path.ends_with(".idx") || path.starts_with("data/registry")
}

/// Whether the sync of the journal's directory that failed at `at` was for an index's name, and no segment was begun
/// after it: its own sync would have failed too.
fn for_an_index(recording: &Recording, at: u64, path: &str) -> bool {
    let ops = &recording.ops;
    let named = ops.iter().rev().find_map(|op| match &op.did {
        Did::Create(name) | Did::Rename(_, name) if op.end < at => Some(name),
        _ => None,
    });
    let begun = |op: &crate::shim::Op| {
        op.end > at && matches!(&op.did, Did::Create(name) if name.ends_with(".log"))
    };
    path == "data/journal"
        && named.is_some_and(|name| name.ends_with(".idx"))
        && !ops.iter().any(begun)
}

/// What is to fail: a stride through all operations, or all of them.
fn faults(past: &Past, dice: &mut Dice) -> Vec<String> {
    const KINDS: [&str; 4] = ["eio", "sync", "enospc", "short"];
    let of = |kind: &str| {
        if kind == "sync" {
            past.syncs
        } else {
            past.operations
        }
    };
    let wanted = std::env::var("HOOKWHEEL_NTH").unwrap_or_else(|_| "5".to_owned());
    if wanted == "all" {
        let each = |kind: &str| {
            let kind = kind.to_owned();
            (1..=of(&kind))
                .map(move |number| format!("{number}:{kind}"))
                .collect::<Vec<_>>()
        };
        return KINDS.iter().flat_map(|kind| each(kind)).collect();
    }
    if wanted.contains(':') {
        return wanted.split(',').map(str::to_owned).collect();
    }
    let wanted: u64 = wanted
        .parse()
        .expect("HOOKWHEEL_NTH must be a number, all, or a list");
    (0..wanted)
        .map(|number| {
            let kind = KINDS[usize::try_from(number % 4).unwrap()];
            let step = of(kind) / wanted;
            // The first is one of the start's.
            let step = if number == 0 { 12 } else { step.max(1) };
            let at = 1 + (number * step + dice.below(step)).min(of(kind) - 1);
            format!("{at}:{kind}")
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_operation_fails_nothing_acknowledged_is_lost() {
    let mut dice = Dice::seeded("failing operations");
    let Some(past) = Past::new().await else {
        return;
    };
    let mut ends: BTreeMap<End, usize> = BTreeMap::new();
    for (number, fail) in faults(&past, &mut dice).into_iter().enumerate() {
        let (end, recording, ledger) = past.run(Some(&fail)).await;
        let failed = recording.ops.iter().find_map(|op| match &op.did {
            Did::Fault(path) => Some((op.end, path.clone())),
            _ => None,
        });
        let what = format!(
            "{fail} at {:?} ended as {end:?}",
            failed.as_ref().map(|(_, path)| path)
        );
        let end = match &failed {
            None => End::NotReached,
            Some((at, path)) => {
                let may_go_on =
                    goes_on(&fail) || can_do_without(path) || for_an_index(&recording, *at, path);
                assert!(end != End::Survived || may_go_on, "{what}");
                end
            }
        };
        if let Some((at, path)) = &failed
            && path.ends_with(".log")
            && !goes_on(&fail)
        {
            let after = |op: &&crate::shim::Op| {
                op.end > *at && matches!(&op.did, Did::Sync(path) if path.ends_with(".log"))
            };
            let synced = recording.ops.iter().find(after);
            assert!(
                synced.is_none(),
                "{what}: the journal was synced again: {synced:?}"
            );
        }
        let with_daemon = number % 3 == 0;
        past.check(&what, &recording, &ledger, &mut dice, with_daemon);
        println!("{what}");
        *ends.entry(end).or_default() += 1;
    }
    println!(
        "of {} operations and {} syncs of {OPERATIONS} API operations: {ends:?}; nothing acknowledged was lost",
        past.operations, past.syncs
    );
}
