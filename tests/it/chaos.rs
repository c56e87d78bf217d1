//! One data directory, mixed traffic that never pauses, and `kill -9` again and again: nothing that was
//! acknowledged is lost, nothing that ended begins again, and nothing is sent twice without a kill to blame.
//!
//! `HOOKWHEEL_CHAOS_KILLS` sets the number of kills (12 by default; 1,000 takes some minutes), `HOOKWHEEL_SEED`
//! the instants and the traffic, as far as processes can repeat them.

mod judge;
mod ledger;
mod receiver;
mod traffic;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use crate::dice::Dice;
use crate::support::{Daemon, Site, hookwheel, rounds};
use ledger::{Hook, Ledger};
use receiver::Witness;
use traffic::Worker;

const WORKERS: u64 = 4;
/// Webhooks that are there from the first to the last minute; each gets every `main` event.
pub const STABLE: [&str; 2] = ["/stable-0", "/stable-1"];

/// A daemon's site with a port that stays the same over restarts.
struct Ground {
    site: Site,
    config: PathBuf,
    text: String,
    address: SocketAddr,
}

impl Ground {
    fn new(dice: &mut Dice) -> Self {
        let site = Site::new(&["standard"]);
        // Below the ports that the system gives to clients, so that none of them takes it between two starts.
        let port = (0..1000)
            .map(|_| u16::try_from(15_000 + dice.below(15_000)).unwrap())
            .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let text = site
            .config(true)
            .replace("127.0.0.1:0", &address.to_string())
            .replace(
                "path = \"data\"",
                "path = \"data\"\nsegment_size = \"1MiB\"",
            )
            .replace("level = \"debug,", "level = \"info,");
        let config = site.path("config.toml");
        std::fs::write(&config, &text).unwrap();
        Self {
            site,
            config,
            text,
            address,
        }
    }

    fn start(&self) -> Daemon {
        tokio::task::block_in_place(|| Daemon::start(&self.config, &self.text))
    }

    /// The number of the journal's last segment; 0 before there is one.
    fn last_segment(&self) -> u32 {
        let Ok(entries) = std::fs::read_dir(self.site.path("data/journal")) else {
            return 0;
        };
        let number = |name: String| name.strip_suffix(".log").and_then(|n| n.parse().ok());
        entries
            .flatten()
            .filter_map(|entry| number(entry.file_name().into_string().ok()?))
            .max()
            .unwrap_or(0)
    }
}

/// When a kill comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Work,
    Start,
    Stop,
    Roll,
}

impl Moment {
    /// The first of each kind come in turn, so that a short run has them all.
    fn of(number: u64, dice: &mut Dice) -> Self {
        match if number < 8 {
            number * 13
        } else {
            dice.below(100)
        } {
            0..=12 | 52..=77 => Self::Work,
            13..=25 => Self::Start,
            26..=38 => Self::Stop,
            39..=51 => Self::Roll,
            78..=90 => Self::Start,
            _ => Self::Work,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_over_kills_under_mixed_traffic() {
    let kills = rounds("HOOKWHEEL_CHAOS_KILLS", 12);
    let seed = Dice::seed("chaos");
    let mut dice = Dice::new(seed, 0);
    let began = Instant::now();
    let ground = Ground::new(&mut dice);
    let ledger = Arc::new(Ledger::default());
    let witness = Witness::start(&ground.site.authority, seed, &ledger);
    let daemon = ground.start();
    for path in STABLE {
        Hook::stable(&daemon, &ledger, path, &witness.url(path)).await;
    }
    let (tasks, stop) = (TaskTracker::new(), Arc::new(AtomicBool::new(false)));
    let mut workers = Vec::new();
    for number in 1..=WORKERS {
        let worker = Worker::new(
            number,
            Dice::new(seed, number),
            ground.address,
            Arc::clone(&ledger),
            witness.url(""),
        );
        workers.push(tasks.spawn(worker.run(Arc::clone(&stop))));
    }
    let mut tally = [0_u64; 4];
    let mut running = Some(daemon);
    for number in 0..kills {
        let moment = Moment::of(number, &mut dice);
        tally[moment as usize] += 1;
        running = Some(one_kill(&ground, &ledger, moment, &mut dice, running.take()).await);
        assert!(
            workers.iter().all(|worker| !worker.is_finished()),
            "the traffic has ended: see above"
        );
    }
    let killing = began.elapsed();
    sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::Relaxed);
    witness.calm();
    for worker in workers {
        worker.await.unwrap();
    }
    let daemon = running.unwrap();
    let verdict = judge::judge(&daemon, &ledger, &witness, &mut dice).await;
    println!(
        "{kills} kills in {killing:.1?} ({} at work, {} at the start, {} at the stop, {} at a new segment): {verdict}; \
         {} segments; {:.1?} in all",
        tally[0],
        tally[1],
        tally[2],
        tally[3],
        ground.last_segment(),
        began.elapsed()
    );
    assert!(daemon.terminate().success());
    witness.stop().await;
}

/// Brings a daemon to the moment, kills it there, and gives the next one, ready.
async fn one_kill(
    ground: &Ground,
    ledger: &Ledger,
    moment: Moment,
    dice: &mut Dice,
    running: Option<Daemon>,
) -> Daemon {
    let daemon = running.unwrap_or_else(|| ground.start());
    let chance = dice.below(1 << 20);
    match moment {
        Moment::Work => sleep(Duration::from_millis(30 + chance % 400)).await,
        Moment::Stop => {
            sleep(Duration::from_millis(60)).await;
            daemon.signal(Signal::TERM);
            sleep(Duration::from_micros(chance % 60_000)).await;
        }
        Moment::Roll => {
            let before = ground.last_segment();
            let limit = Instant::now() + Duration::from_secs(2);
            while ground.last_segment() == before && Instant::now() < limit {
                sleep(Duration::from_millis(1)).await;
            }
            sleep(Duration::from_micros(chance % 8_000)).await;
        }
        Moment::Start => {
            sleep(Duration::from_millis(30)).await;
            ledger.killed();
            daemon.kill();
            let mut child = hookwheel()
                .args(["serve", "--config"])
                .arg(&ground.config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            sleep(Duration::from_micros(chance % 120_000)).await;
            ledger.killed();
            child.kill().unwrap();
            child.wait().unwrap();
            return ground.start();
        }
    }
    ledger.killed();
    daemon.kill();
    ground.start()
}

impl Hook {
    /// Registers a webhook that stays.
    async fn stable(daemon: &Daemon, ledger: &Ledger, path: &str, url: &str) {
        let body = json!({
            "url": url,
            "events": ["main"],
            "retry": {
                "delays": ["100ms", "200ms", "400ms", "800ms", "1s", "1s", "1s", "1s", "1s", "1s"],
                "jitter": "0%",
            },
        });
        let shown = crate::support::register(&mut daemon.client("standard"), body).await;
        let id = shown["id"].as_str().unwrap();
        ledger.registered(path, id, shown["secret"].as_str().unwrap(), url);
    }
}
