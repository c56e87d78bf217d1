//! A disk that is really full: a small file system of the test's own, which the test fills to the last byte.
//!
//! Needs the right to mount, which root has on most machines; skipped otherwise, loudly.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::Client;
use hookwheel::receiver::Answer;
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Daemon, Site, delivery, get, let_be, post, registered, until};
use crate::web::{ANY, Web};

/// Which file system is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// In memory: a block is there when it is written.
    Memory,
    /// As on most servers: in a file, over a loop device.
    Ext4,
}

/// A file system of its own; unmounted when dropped.
struct Disk {
    path: PathBuf,
}

/// Runs a command; says in words why it did not do its work.
fn done(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", why.trim()))
}

impl Disk {
    /// `None`, and a word about it, where this process may not mount.
    fn mount(kind: Kind, path: PathBuf) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        let mounted = match kind {
            Kind::Memory => done(
                mount
                    .args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"])
                    .arg(&path),
            ),
            Kind::Ext4 => {
                let image = path.with_extension("image");
                File::create(&image).unwrap().set_len(128 << 20).unwrap();
                let made = done(
                    Command::new("mkfs.ext4")
                        .args(["-q", "-m", "0"])
                        .arg(&image),
                );
                made.and_then(|()| done(mount.args(["-o", "loop"]).arg(&image).arg(&path)))
            }
        };
        match mounted {
            Ok(()) => Some(Self { path }),
            Err(why) => {
                let_be(&format!("a full disk, {kind:?}"), &why);
                None
            }
        }
    }

    fn filler(&self) -> PathBuf {
        self.path.join("of-another-process")
    }

    fn free(&self) -> u64 {
        let space = rustix::fs::statvfs(&self.path).unwrap();
        space.f_bavail * space.f_frsize
    }

    /// Another process takes all but `left` bytes, to the last one if that is 0.
    fn fill(&self, left: u64) {
        let mut file = append(&self.filler());
        let block = vec![0xff; 64 << 10];
        let mut size = block.len();
        while self.free() > left && size > 0 {
            if self.free() - left < size as u64 {
                size /= 2;
                continue;
            }
            match file.write(&block[..size]) {
                Ok(_) => {}
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error()) =>
                {
                    size /= 2
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The other process gives it all back.
    fn clear(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        assert!(std::thread::panicking() || unmounted.is_ok_and(|status| status.success()));
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
}

/// A daemon's site on a small disk, with a receiver that answers well or at length badly.
struct Ground {
    site: Site,
    disk: Disk,
    web: Web,
    well: Arc<AtomicBool>,
    text: String,
}

impl Ground {
    async fn new(kind: Kind) -> Option<Self> {
        let site = Site::new(&["standard"]);
        let disk = Disk::mount(kind, site.path("disk"))?;
        let text = site.config(true).replace(
            "path = \"data\"",
            "path = \"disk/data\"\nsegment_size = \"4MiB\"\ndisk_reserve = \"16MiB\"",
        ) + "[delivery]\nstop_grace = \"500ms\"\n";
        let well = Arc::new(AtomicBool::new(true));
        let answers = Arc::clone(&well);
        let answer = move |_| match answers.load(Ordering::Relaxed) {
            true => Answer::status(200),
            // Long, so that what is recorded of it soon fills what room there is.
            false => Answer::text(500, &"no ".repeat(5_000)),
        };
        let web = Web::start_with(ANY, &site.authority, answer, Duration::ZERO).await;
        Some(Self {
            site,
            disk,
            web,
            well,
            text,
        })
    }

    fn start(&self) -> Daemon {
        Daemon::start(&self.site.path("config.toml"), &self.text)
    }

    fn answer_well(&self, well: bool) {
        self.well.store(well, Ordering::Relaxed);
    }

    /// Takes what is free, again and again, until the daemon says that nothing can be written any more.
    async fn fill_until_full(&self, client: &mut Client) {
        until("the disk is found full", async || {
            self.disk.fill(0);
            let ready = get(client, "/readyz").await;
            (ready.status == 503 && ready.body.to_string().contains("deliveries pause"))
                .then_some(())
        })
        .await;
    }
}

async fn webhook(client: &mut Client, web: &Web) -> String {
    let delays = [["50ms"; 30].as_slice(), ["500ms"; 70].as_slice()].concat();
    let body = json!({ "url": web.url("/"), "retry": { "delays": delays, "jitter": "0%" } });
    registered(client, body).await
}

async fn refused(client: &mut Client) {
    let body = json!({ "type": "a", "data": {} });
    let answer = client
        .call(Method::POST, "/api/v1/events", Some(&body))
        .await
        .unwrap();
    assert_eq!(answer.status, 507, "{}", answer.body);
    assert_eq!(answer.body["code"], "disk_full");
}

/// A start on a full disk says so, and takes no events.
async fn refused_soon(client: &mut Client) {
    until("it says why it is not ready", async || {
        let shown = get(client, "/readyz").await;
        (shown.status == 503 && shown.body.to_string().contains("make room")).then_some(())
    })
    .await;
    refused(client).await;
}

async fn ready(client: &mut Client) {
    until("all is ready again", async || {
        (get(client, "/readyz").await.status == 200).then_some(())
    })
    .await;
}

/// Every event has arrived; gives how many attempts were recorded in all.
async fn delivered(client: &mut Client, webhook: &str, events: &[String]) -> usize {
    let mut attempts = 0;
    for event in events {
        let shown = until(&format!("{event} is delivered"), async || {
            let shown = delivery(client, webhook, event).await;
            assert_ne!(shown["state"], "failed", "{shown}");
            (shown["state"] == "delivered").then_some(shown)
        })
        .await;
        for (index, attempt) in shown["attempts"].as_array().unwrap().iter().enumerate() {
            assert_eq!(attempt["attempt"], index + 1);
            attempts += 1;
        }
    }
    attempts
}

async fn post_some(client: &mut Client, count: usize) -> Vec<String> {
    let mut events = Vec::new();
    for number in 0..count {
        events.push(post(client, "a", json!({ "number": number })).await);
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_filled_to_the_last_byte_costs_nothing_and_is_got_over_without_a_restart() {
    println!("full disk: {}", filled_and_cleared(Kind::Memory).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_on_ext4() {
    println!("full disk: {}", filled_and_cleared(Kind::Ext4).await);
}

/// Gives what there was, in words.
async fn filled_and_cleared(kind: Kind) -> String {
    let Some(ground) = Ground::new(kind).await else {
        return "skipped".to_owned();
    };
    let daemon = ground.start();
    let mut client = daemon.client("standard");
    let hook = webhook(&mut client, &ground.web).await;
    let mut events = post_some(&mut client, 20).await;
    delivered(&mut client, &hook, &events).await;

    // Below the reserve: no new events, and what waits is delivered and recorded.
    ground.answer_well(false);
    events.extend(post_some(&mut client, 20).await);
    ground.disk.fill(12 << 20);
    until("events are refused", async || {
        let shown = get(&mut client, "/readyz").await;
        (shown.status == 503 && shown.body.to_string().contains("deliveries go on")).then_some(())
    })
    .await;
    refused(&mut client).await;
    ground.answer_well(true);
    delivered(&mut client, &hook, &events).await;
    ground.disk.clear();
    ready(&mut client).await;

    // To the last byte, while attempts fail and are recorded at length.
    ground.answer_well(false);
    events.extend(post_some(&mut client, 40).await);
    ground.fill_until_full(&mut client).await;
    refused(&mut client).await;
    // What was under way ends, and then nothing more is sent.
    let (mut sent, mut since) = (ground.web.count(), Instant::now());
    until("nothing more is sent", async || {
        let now = ground.web.count();
        if now != sent {
            (sent, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_millis(600)).then_some(())
    })
    .await;
    assert_eq!(get(&mut client, "/healthz").await.status, 200);
    let path = format!("/api/v1/webhooks/{hook}");
    let change = client
        .call(Method::PATCH, &path, Some(&json!({ "name": "n" })))
        .await;
    assert_eq!(
        change.unwrap().status,
        507,
        "a change that cannot be written is refused"
    );
    assert_eq!(get(&mut client, &path).await.body["name"], Value::Null);

    ground.answer_well(true);
    ground.disk.clear();
    ready(&mut client).await;
    events.extend(post_some(&mut client, 20).await);
    let attempts = delivered(&mut client, &hook, &events).await;
    assert_eq!(
        attempts,
        ground.web.count(),
        "each request is recorded, and none was made twice"
    );
    let log = daemon.log();
    assert!(
        log.contains("the disk is full") && log.contains("disk space is back"),
        "{log}"
    );
    assert!(daemon.terminate().success());
    let count = events.len();
    format!("{kind:?}, {count} events, {attempts} attempts, all recorded")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_or_stopped_on_a_full_disk_starts_on_it() {
    // What is asked for ahead lasts over the end of the process there.
    let Some(ground) = Ground::new(Kind::Ext4).await else {
        return;
    };
    let daemon = ground.start();
    let mut client = daemon.client("standard");
    let hook = webhook(&mut client, &ground.web).await;
    let mut events = post_some(&mut client, 20).await;
    delivered(&mut client, &hook, &events).await;
    ground.answer_well(false);
    events.extend(post_some(&mut client, 40).await);
    ground.fill_until_full(&mut client).await;
    daemon.kill();

    // The ballast lets it open. What must wait waits for room, and it says so.
    ground.disk.fill(0);
    let daemon = ground.start();
    let mut client = daemon.client("standard");
    refused_soon(&mut client).await;
    for event in &events {
        let path = format!("/api/v1/events/{event}");
        assert_eq!(get(&mut client, &path).await.status, 200);
    }
    // A stop on a full disk is a clean one.
    ground.fill_until_full(&mut client).await;
    assert_eq!(daemon.terminate().code(), Some(0));

    // Again and again: what a start leaves of the ballast serves the next one.
    for _ in 0..2 {
        ground.disk.fill(0);
        let daemon = ground.start();
        refused_soon(&mut daemon.client("standard")).await;
        daemon.kill();
    }
    let broken = ground.disk.path.join("data/registry.broken-1");
    assert!(!broken.exists());

    ground.answer_well(true);
    ground.disk.clear();
    let daemon = ground.start();
    let mut client = daemon.client("standard");
    ready(&mut client).await;
    events.extend(post_some(&mut client, 20).await);
    delivered(&mut client, &hook, &events).await;
    assert!(daemon.log().contains("replayed"));
    assert!(daemon.terminate().success());
}
