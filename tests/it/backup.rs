//! Backup and restore as an operator meets them: beside a daemon under load, over kills, and refused with a remedy.
//!
//! `HOOKWHEEL_BACKUP_ROUNDS` sets how many backups are made beside the load and restored (2 by default).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::Client;
use http::Method;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::support::{Daemon, Site, delivery_in, get, hookwheel, post, registered, rounds, until};
use crate::web::Web;

/// The config with segments as small as they may be.
pub fn small_segments(site: &Site) -> String {
    site.config(true).replace(
        "path = \"data\"",
        "path = \"data\"\nsegment_size = \"1MiB\"",
    )
}

/// A command on the site's config.
pub fn command(site: &Site, name: &str, arguments: &[&str]) -> Command {
    let mut command = hookwheel();
    command
        .args([name, "--config"])
        .arg(site.path("config.toml"))
        .args(arguments)
        .stdin(Stdio::null());
    command
}

pub fn run(site: &Site, name: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command(site, name, arguments).output().unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

/// Runs a command with `--json` that must end well, and gives what it says.
pub fn report(site: &Site, name: &str, arguments: &[&str]) -> Value {
    let (code, out, errors) = run(site, name, &[arguments, &["--json"]].concat());
    assert_eq!(code, Some(0), "{out}{errors}");
    serde_json::from_str(&out).unwrap()
}

/// Posts events of about `bytes` each, one after another, until told to stop; gives their ids as acknowledged.
async fn post_until(
    mut client: Client,
    stop: Arc<AtomicBool>,
    prefix: String,
    bytes: usize,
    acknowledged: Arc<std::sync::Mutex<Vec<String>>>,
) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = format!("{prefix}-{number}");
        let body = json!({ "id": id, "type": "a", "data": "x".repeat(bytes) });
        let answer = client
            .call(Method::POST, "/api/v1/events", Some(&body))
            .await
            .unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
        acknowledged.lock().unwrap().push(id);
        number += 1;
    }
}

/// Every event is there, and its delivery is delivered or arrives.
async fn all_arrive(client: &mut Client, webhook: &str, events: &[String]) {
    for event in events {
        delivery_in(client, webhook, event, "delivered").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_backup_began_is_delivered_after_its_restore() {
    let site = Site::new(&["standard"]);
    let config = small_segments(&site);
    let web = Web::start(
        &site.authority,
        |number| if number % 3 == 0 { 503 } else { 200 },
    )
    .await;
    let receiver = web.address();
    let daemon = Daemon::start(&site.path("config.toml"), &config);
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "retry": { "delays": vec!["300ms"; 20] } });
    let webhook = registered(&mut client, body).await;

    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tasks = TaskTracker::new();
    for number in 0..4 {
        tasks.spawn(post_until(
            daemon.client("standard"),
            Arc::clone(&stop),
            format!("load-{number}"),
            30_000,
            Arc::clone(&acknowledged),
        ));
    }
    tasks.close();
    let mut backups: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for round in 0..rounds("HOOKWHEEL_BACKUP_ROUNDS", 2) {
        let wanted = 60 * (usize::try_from(round).unwrap() + 1);
        until("enough events are acknowledged", async || {
            (acknowledged.lock().unwrap().len() >= wanted).then_some(())
        })
        .await;
        let before = acknowledged.lock().unwrap().clone();
        let to = site.path(&format!("backup-{round}"));
        let said = tokio::task::block_in_place(|| {
            report(&site, "backup", &["--to", to.to_str().unwrap()])
        });
        assert!(said["events"].as_u64().unwrap() >= before.len() as u64);
        assert_eq!(said["webhooks"], 1);
        assert_eq!(said["damaged"], 0);
        backups.push((to, before));
    }
    stop.store(true, Ordering::Relaxed);
    tasks.wait().await;
    daemon.kill();
    web.stop().await;

    let segments = fs::read_dir(site.path("data/journal")).unwrap().count();
    assert!(segments > 3, "the journal has rolled");
    for (from, before) in backups {
        fs::remove_dir_all(site.path("data")).unwrap();
        let said = report(&site, "restore", &["--from", from.to_str().unwrap()]);
        assert!(said["events"].as_u64().unwrap() >= before.len() as u64);
        let web = Web::start_at(receiver, &site.authority, |_| 200).await;
        let daemon = Daemon::start(&site.path("config.toml"), &config);
        assert!(!daemon.log().contains("moved aside"), "{}", daemon.log());
        all_arrive(&mut daemon.client("standard"), &webhook, &before).await;
        // And it goes on: what is posted now is delivered, too.
        let mut client = daemon.client("standard");
        let event = post(&mut client, "a", json!("after")).await;
        delivery_in(&mut client, &webhook, &event, "delivered").await;
        assert!(daemon.terminate().success());
        web.stop().await;
    }
}

/// A site with a stopped daemon's data: so many megabytes, all pending.
async fn filled(megabytes: usize) -> (Site, String, usize) {
    let site = Site::new(&["standard"]);
    let config = small_segments(&site);
    let web = Web::start(&site.authority, |_| 200).await;
    let receiver = web.address();
    web.stop().await;
    let daemon = Daemon::start(&site.path("config.toml"), &config);
    let mut client = daemon.client("standard");
    let body = json!({ "url": format!("https://{receiver}/"), "retry": { "delays": ["1h"], "jitter": "0%" } });
    let webhook = registered(&mut client, body).await;
    let events = megabytes * 5;
    for number in 0..events {
        let body = json!({ "id": format!("e-{number}"), "type": "a", "data": "x".repeat(210_000) });
        let answer = client
            .call(Method::POST, "/api/v1/events", Some(&body))
            .await
            .unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    assert!(daemon.terminate().success());
    (site, webhook, events)
}

/// Starts a command and kills it as soon as `reached` holds; gives whether it was still running.
fn killed_when(mut command: Command, reached: impl Fn() -> bool) -> bool {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if reached() {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn files_in(directory: &Path) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_or_restore_that_is_killed_leaves_nothing_that_is_taken_for_one() {
    let (site, _, events) = filled(12).await;
    let (to, partial) = (site.path("b"), site.path("b.partial"));
    let (target, shown) = (to.to_str().unwrap(), partial.to_str().unwrap());
    let mut killed = 0;
    for files in [1, 5, 12] {
        // Slow enough that it is caught in the middle.
        let slow = command(&site, "backup", &["--to", target, "--rate", "8MiB"]);
        killed += u32::from(killed_when(slow, || {
            files_in(&partial.join("journal")) >= files
        }));
        assert!(!to.exists());
        let (code, _, errors) = run(&site, "restore", &["--from", shown]);
        assert_eq!(code, Some(1));
        assert!(errors.contains("cut off"), "{errors}");
    }
    assert_eq!(killed, 3, "each was killed before its end");
    let said = report(&site, "backup", &["--to", target]);
    assert_eq!(said["events"], events);
    assert!(!partial.exists());
    let (code, _, errors) = run(&site, "backup", &["--to", target]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("it is there already"), "{errors}");

    // The restore: to an absent directory, killed at some file, then again.
    let (code, _, errors) = run(&site, "restore", &["--from", target]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("it is not empty"), "{errors}");
    fs::rename(site.path("data"), site.path("old")).unwrap();
    let mut killed = 0;
    for files in [1, 4, 8] {
        let restore = command(&site, "restore", &["--from", target]);
        if !killed_when(restore, || files_in(&site.path("data/journal")) >= files) {
            break;
        }
        killed += 1;
        let format = fs::read_to_string(site.path("data/format")).unwrap();
        if format.contains("unfinished") {
            let (code, _, errors) = run(&site, "serve", &[]);
            assert_eq!(code, Some(1), "no daemon takes it for a store: {errors}");
            assert!(errors.contains("cut off"), "{errors}");
        } else {
            fs::remove_dir_all(site.path("data")).unwrap();
        }
    }
    assert!(killed > 0, "no restore was caught in the middle");
    let said = report(&site, "restore", &["--from", target]);
    assert_eq!(said["events"], events);
    assert_eq!(said["pending"], events);
    let daemon = Daemon::start(&site.path("config.toml"), &small_segments(&site));
    let mut client = daemon.client("standard");
    for number in [0, events - 1] {
        let answer = get(&mut client, &format!("/api/v1/events/e-{number}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    // A daemon holds the directory now.
    let (code, _, errors) = run(&site, "restore", &["--from", target]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("stop the daemon"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_and_a_backup_that_lost_a_file_is_refused() {
    let (site, _, events) = filled(3).await;
    let mut logs: Vec<PathBuf> = fs::read_dir(site.path("data/journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .collect();
    logs.sort();
    let damaged = &logs[1];
    let mut bytes = fs::read(damaged).unwrap();
    bytes[500_000] ^= 0x10;
    fs::write(damaged, &bytes).unwrap();
    let before = tree(&site.path("data"));
    let to = site.path("b");
    let (code, out, errors) = run(&site, "backup", &["--to", to.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{out}{errors}");
    let name = damaged.file_name().unwrap().to_str().unwrap();
    assert!(out.contains(damaged.to_str().unwrap()), "{out}");
    assert!(out.contains("at offset"), "{out}");
    assert!(
        to.join("backup.json").exists(),
        "the backup is there all the same"
    );
    assert_eq!(tree(&site.path("data")), before, "the source is as it was");

    fs::rename(site.path("data"), site.path("old")).unwrap();
    let (code, out, errors) = run(
        &site,
        "restore",
        &["--from", to.to_str().unwrap(), "--json"],
    );
    assert_eq!(code, Some(1), "{out}{errors}");
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(said["events"], events - 1);
    assert_eq!(said["damaged"], 1);

    fs::remove_dir_all(site.path("data")).unwrap();
    let lost = to.join("journal").join(name);
    fs::remove_file(&lost).unwrap();
    let (code, _, errors) = run(&site, "restore", &["--from", to.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(
        errors.contains(name) && errors.contains("missing"),
        "{errors}"
    );
    assert!(!site.path("data").exists(), "nothing was begun");
}

/// Every file below a directory, with its bytes.
pub fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    found
}
