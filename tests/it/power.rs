//! Nothing acknowledged is lost when the power goes: images of a disk at random cuts of a recording are opened.
//!
//! The real daemon runs with a recorder between it and the C library (see `shim`). At random points of the recording
//! a disk is made that a power loss at that point may have left (`shim::disk`), opened, and held against what had
//! been acknowledged by then (`ledger`). Some images become the disk of another recorded daemon, so stores with a past
//! and starts after a power loss are cut, too. Most images are opened in this process, some by the real daemon.
//!
//! The same images with syncs that are not honoured must lose acknowledged events, or the harness would prove nothing.
//!
//! `HOOKWHEEL_POWER_CUTS` sets the number of cuts (12 by default; 500 take some minutes); `HOOKWHEEL_SEED` repeats
//! the choices of a run, though not the daemon's own timing.

mod life;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hookwheel::metrics::Metrics;
use hookwheel::store::{self, Options};
use serde_json::json;
use tempfile::TempDir;

use crate::dice::Dice;
use crate::ledger::{Found, Ledger, Posted, look};
use crate::shim::disk::{ALL, Disk, Honours};
use crate::shim::{Did, Recording, Rig};
use crate::support::{Daemon, get, post, rounds};
use life::{Lives, STORAGE};

/// Cuts of one recording; for more there are more recordings.
const CUTS_EACH: u64 = 12;

/// A life that is over: what it began with, what was done, and what was acknowledged.
struct Recorded {
    base: TempDir,
    lives: Lives,
    recording: Recording,
    ledger: Ledger,
}

impl Recorded {
    /// Lives on `base`, and proves that the recording is complete: played, it gives the directory to the byte.
    async fn new(base: TempDir, ledger: Ledger, generation: u64, seed: u64) -> Option<Self> {
        let rig = Rig::new("power cuts", STORAGE)?;
        copy(base.path(), &rig.disk());
        let lives = Lives::new(rig, ledger, generation, seed).await;
        lives.live().await;
        let recording = Recording::read(&lives.rig.recording());
        let mut disk = Disk::holding(base.path(), ALL);
        for op in &recording.ops {
            disk.play(&op.did, &recording);
        }
        let live = tempfile::tempdir().unwrap();
        disk.write_live(live.path(), &recording);
        assert_same(live.path(), &lives.rig.disk());
        let ledger = lives.ledger.lock().unwrap().clone();
        Some(Self {
            base,
            lives,
            recording,
            ledger,
        })
    }

    /// The disk after the first `ops` operations.
    fn disk(&self, ops: usize, honours: Honours) -> Disk {
        let mut disk = Disk::holding(self.base.path(), honours);
        for op in &self.recording.ops[..ops] {
            disk.play(&op.did, &self.recording);
        }
        disk
    }

    /// The length of the recording after the first `ops` operations.
    fn mark(&self, ops: usize) -> u64 {
        ops.checked_sub(1)
            .map_or(0, |last| self.recording.ops[last].end)
    }

    /// Whether retention may have deleted an event by `mark`: a segment in which it may lie was being deleted.
    fn deleted(&self, posted: &Posted, mark: u64) -> bool {
        let number = |path: &str| {
            let name = path.strip_prefix("data/journal/")?.strip_suffix(".log")?;
            name.parse::<u32>().ok()
        };
        let (mut gone, mut made) = (Vec::new(), Vec::new());
        let mut before = 0;
        for op in &self.recording.ops {
            match &op.did {
                Did::Unlink(path) if before <= mark => gone.extend(number(path)),
                Did::Create(path) => made.extend(number(path).map(|number| (number, op.end))),
                _ => {}
            }
            before = op.end;
        }
        if let Some(segment) = posted.segment {
            return gone.contains(&segment);
        }
        let made_at = |segment| {
            let made = made.iter().find(|(number, _)| *number == segment);
            made.map(|(_, end)| *end)
        };
        gone.into_iter().any(|segment| {
            made_at(segment).is_none_or(|end| end <= posted.span.acked)
                && made_at(segment + 1).is_none_or(|end| end >= posted.span.asked)
        })
    }

    fn look(&self, directory: &Path, mark: u64) -> Found {
        let data = directory.join("data");
        if !data.exists() {
            // Nothing of it reached the disk; then nothing may have been acknowledged.
            fs::create_dir(&data).unwrap();
        }
        match store::open(options(&data), Metrics::new()) {
            Ok(opened) => {
                let found = look(&self.ledger, &opened.reader, mark, |posted| {
                    self.deleted(posted, mark)
                });
                opened.handle.stop().unwrap();
                found
            }
            Err(error) => Found {
                faults: vec![format!("does not open: {error}")],
                ..Found::default()
            },
        }
    }
}

pub fn options(data: &Path) -> Options {
    Options {
        path: data.to_owned(),
        segment_bytes_max: 1 << 20,
        segment_age_max_ms: 86_400_000,
        cache_bytes: 1 << 20,
        commit_queue_max: 64,
        retention_age_ms: u64::MAX,
        retention_bytes: u64::MAX,
        disk_reserve_bytes: 0,
    }
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

fn assert_same(played: &Path, real: &Path) {
    let names = |path: &Path| -> Vec<_> {
        let entries = fs::read_dir(path).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(played), names(real), "in {}", real.display());
    for name in names(real) {
        let (played, real) = (played.join(&name), real.join(&name));
        if real.is_dir() {
            assert_same(&played, &real);
        } else {
            let same = fs::read(&played).unwrap() == fs::read(&real).unwrap();
            assert!(same, "{} is not what was recorded", real.display());
        }
    }
}

/// Half of the cuts are anywhere; the others where few operations are, around names, syncs of directories and starts.
fn cuts(recording: &Recording, count: u64, dice: &mut Dice) -> Vec<usize> {
    let rare: Vec<usize> = (1..=recording.ops.len())
        .filter(|at| {
            !matches!(&recording.ops[at - 1].did, Did::Write(..) | Did::Sync(_))
                || matches!(&recording.ops[at - 1].did, Did::Sync(path) if !path.contains('.') && !path.ends_with("db"))
        })
        .collect();
    let mut cuts: Vec<usize> = (0..count)
        .map(|_| {
            if dice.coin() {
                let near = dice.one_of(&rare) as u64 + dice.below(4);
                usize::try_from(near).unwrap().min(recording.ops.len())
            } else {
                usize::try_from(1 + dice.below(recording.ops.len() as u64)).unwrap()
            }
        })
        .collect();
    cuts.sort_unstable();
    cuts
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_power_goes() {
    let cuts_wanted = rounds("HOOKWHEEL_POWER_CUTS", 12);
    let mut dice = Dice::seeded("power cuts");
    let (mut cut, mut killed, mut daemons, mut waiting, mut promised) = (0, 0, 0, 0, 0);
    let (mut base, mut ledger) = (tempfile::tempdir().unwrap(), Ledger::default());
    let mut generation = 0;
    while cut < cuts_wanted {
        let Some(recorded) = Recorded::new(base, ledger, generation, dice.next()).await else {
            return;
        };
        let mut next = None;
        for ops in cuts(
            &recorded.recording,
            CUTS_EACH.min(cuts_wanted - cut),
            &mut dice,
        ) {
            let (image, mark) = (tempfile::tempdir().unwrap(), recorded.mark(ops));
            let disk = recorded.disk(ops, ALL);
            disk.write_cut(image.path(), &recorded.recording, &mut dice);
            let kept = tempfile::tempdir().unwrap();
            copy(image.path(), kept.path());
            let found = recorded.look(image.path(), mark);
            assert!(
                found.faults.is_empty(),
                "generation {generation}, cut after operation {ops} of {} ({:?}):\n{}\nthe image: {}",
                recorded.recording.ops.len(),
                recorded.recording.ops[ops - 1].did,
                found.faults.join("\n"),
                kept.keep().display()
            );
            if cut % 8 == 5 {
                start_daemon(&recorded, kept.path(), mark).await;
                daemons += 1;
            }
            promised += recorded.ledger.acknowledged(mark);
            waiting += found.pending;
            cut += 1;
            // The last cut that left enough behind has a next life.
            next = Some((
                kept,
                recorded.ledger.clone().after_cut(mark, &found.segments),
            ));
        }
        killed += kill_then_cut(&recorded, &mut dice).await;
        let (kept, known) = next.unwrap();
        // After three generations a young store again.
        generation += 1;
        (base, ledger) = if generation % 3 == 0 {
            (tempfile::tempdir().unwrap(), Ledger::default())
        } else {
            (kept, known)
        };
    }
    println!(
        "{cut} power cuts in {generation} recordings, {killed} after a kill, {daemons} of the images opened by the daemon itself: of {promised} \
         acknowledged events 0 lost, {waiting} deliveries waited"
    );
}

/// Where a kill leaves most undone: a segment is made and synced, and the directory that names it is not.
fn half_made(recording: &Recording) -> Vec<usize> {
    let makes = |did: &Did| matches!(did, Did::Create(path) if path.ends_with(".log"));
    let names = |did: &Did| matches!(did, Did::Sync(path) if path == "data/journal");
    let ops = &recording.ops;
    let made = (0..ops.len()).filter(|at| makes(&ops[*at].did));
    made.filter_map(|at| (at..ops.len()).find(|later| names(&ops[*later].did)))
        .collect()
}

/// Killed at an operation, started again, and the power goes while that one works: what is in memory only after the
/// kill is nobody's to lose. Gives the number of cuts.
async fn kill_then_cut(recorded: &Recorded, dice: &mut Dice) -> u64 {
    const CUTS: u64 = 4;
    let half_made = half_made(&recorded.recording);
    if half_made.is_empty() {
        return 0;
    }
    // The very first segment has nothing beside it, whose own syncs would cover its name.
    let ops = if dice.coin() {
        half_made[0]
    } else {
        dice.one_of(&half_made)
    };
    let mark = recorded.mark(ops);
    let rig = Rig::new("a kill and a power cut", STORAGE).unwrap();
    recorded
        .disk(ops, ALL)
        .write_live(&rig.disk(), &recorded.recording);
    let before = &recorded.recording.bytes[..usize::try_from(mark).unwrap()];
    fs::write(rig.recording(), before).unwrap();
    let ledger = recorded.ledger.clone().after_kill(mark);
    let lives = Lives::new(rig, ledger, 1_000 + ops as u64, dice.next()).await;
    lives.live_on().await;
    let recording = Recording::read(&lives.rig.recording());
    let ledger = lives.ledger.lock().unwrap().clone();
    let base = tempfile::tempdir().unwrap();
    copy(recorded.base.path(), base.path());
    let killed = Recorded {
        base,
        lives,
        recording,
        ledger,
    };
    let last = killed.recording.ops.len();
    let disk = killed.disk(last, ALL);
    for _ in 0..CUTS {
        let image = tempfile::tempdir().unwrap();
        disk.write_cut(image.path(), &killed.recording, dice);
        let found = killed.look(image.path(), killed.mark(last));
        let faults = found.faults.join("\n");
        assert!(
            faults.is_empty(),
            "killed after operation {ops}, then a power cut:\n{faults}"
        );
    }
    CUTS
}

/// The real daemon starts on an image, shows what was acknowledged, and takes and delivers an event.
async fn start_daemon(recorded: &Recorded, image: &Path, mark: u64) {
    let rig = Arc::clone(&recorded.lives.rig);
    let directory = image.to_str().unwrap().to_owned();
    let daemon = Daemon::spawn(rig.plain(&directory));
    let mut client = daemon.client("standard");
    for posted in &recorded.ledger.events {
        let answer = get(&mut client, &format!("/api/v1/events/{}", posted.id)).await;
        if posted.span.acked <= mark && !recorded.deleted(posted, u64::MAX) {
            assert_eq!(answer.status, 200, "{}: {}", posted.id, answer.body);
        }
        if answer.status == 200 {
            assert_eq!(answer.body["data"].to_string(), posted.data);
        }
    }
    let event = post(&mut client, "user.created", json!("after the power loss")).await;
    let shown = get(&mut client, &format!("/api/v1/events/{event}")).await;
    assert_eq!(shown.status, 200, "{}", shown.body);
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// More than half of them must lose something; nine of ten do.
const IMAGES: usize = 11;

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_honours_no_syncs_loses_what_was_acknowledged() {
    let mut dice = Dice::seeded("power cuts without syncs");
    let base = tempfile::tempdir().unwrap();
    let Some(recorded) = Recorded::new(base, Ledger::default(), 0, dice.next()).await else {
        return;
    };
    for (files, directories) in [(false, false), (false, true), (true, false)] {
        let honours = Honours { files, directories };
        let (mut lost, mut bad) = (0, 0);
        let late = recorded.recording.ops.len() as u64 * 3 / 4;
        for _ in 0..IMAGES {
            let ops = usize::try_from(late + dice.below(late / 3)).unwrap();
            let image = tempfile::tempdir().unwrap();
            let disk = recorded.disk(ops, honours);
            disk.write_cut(image.path(), &recorded.recording, &mut dice);
            let found = recorded.look(image.path(), recorded.mark(ops));
            lost += usize::from(found.lost_events > 0);
            bad += usize::from(!found.faults.is_empty());
        }
        println!(
            "syncs of files {}, of directories {}: {bad} of {IMAGES} images are bad, {lost} lost acknowledged events",
            honours.files, honours.directories
        );
        assert!(
            lost > IMAGES / 2,
            "the harness would not notice a daemon that does not sync: {lost} of {IMAGES}"
        );
    }
}
