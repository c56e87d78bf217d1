//! A flood of large bodies, fast and slow, at a daemon whose memory has a limit: what is too much is refused with
//! a reason and a time, the process stays up, and nothing that was acknowledged is lost.
//!
//! `HOOKWHEEL_FLOOD_POSTS` sets how often each client posts (2 by default).

use std::process::Command;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::{Daemon, PATIENCE, Site, delivery_in, get, key_of, registered, rounds, until};
use crate::web::Web;

/// What the process may have of data, kilobytes (RLIMIT_DATA): an allocation beyond it ends the process.
const DATA_KB: u64 = 448 << 10;
/// What it may have in memory at its peak: bodies, their copies on the way to the disk, and what allocators keep.
const PEAK_MAX: u64 = 320 << 20;
const FAST: u64 = 120;
const LARGE: u64 = 12;
const SLOW: u64 = 60;

/// What became of the posts.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: Vec<String>,
    /// By code, with the status.
    refused: std::collections::BTreeMap<String, usize>,
    /// Connections that ended without an answer.
    broken: usize,
}

impl Tally {
    fn note(&mut self, id: &str, answer: &str) {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        if head.starts_with("HTTP/1.1 202") {
            self.acknowledged.push(id.to_owned());
            return;
        }
        if head.is_empty() {
            self.broken += 1;
            return;
        }
        assert!(head.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(head.contains("retry-after: 1"), "{answer}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        let code = problem["code"].as_str().unwrap().to_owned();
        *self.refused.entry(code).or_default() += 1;
    }
}

fn head(length: usize) -> String {
    format!(
        "POST /api/v1/events HTTP/1.1\r\nhost: h\r\nx-api-key: {}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n",
        key_of("standard")
    )
}

/// Posts one event over a connection of its own, and gives the whole answer; empty where there was none.
async fn post_raw(address: std::net::SocketAddr, id: &str, filling: &str) -> String {
    let body = format!("{{\"type\":\"a\",\"id\":\"{id}\",\"data\":\"{filling}\"}}");
    let mut answer = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return String::new();
    };
    let (mut from, mut to) = stream.split();
    let write = async {
        // A daemon that refuses does not read to the end.
        let head = head(body.len());
        to.write_all(head.as_bytes()).await?;
        to.write_all(body.as_bytes()).await
    };
    let both = async { tokio::join!(write, from.read_to_end(&mut answer)) };
    let (written, read) = timeout(PATIENCE, both).await.unwrap();
    assert!(read.is_ok() || written.is_err() || answer.is_empty());
    String::from_utf8(answer).unwrap()
}

/// Announces a large body and sends a part of it, and then nothing.
async fn dawdle(address: std::net::SocketAddr, stop: CancellationToken) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head(4 << 20).as_bytes()).await.unwrap();
    stream.write_all(&[b' '; 32 << 10]).await.unwrap();
    stop.cancelled().await;
}

fn limited(site: &Site) -> Daemon {
    let text = site.config(true).replacen(
        "[server]\n",
        "[server]\nbody_limit = \"4MiB\"\nbody_memory = \"16MiB\"\n",
        1,
    );
    let config = site.path("config.toml");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!(
            "ulimit -d {DATA_KB}; exec \"$0\" serve --config \"$1\""
        ))
        .arg(env!("CARGO_BIN_EXE_hookwheel"))
        .arg(config);
    Daemon::spawn(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_large_bodies_is_refused_with_a_reason_and_costs_nothing_acknowledged() {
    let posts = rounds("HOOKWHEEL_FLOOD_POSTS", 2);
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = limited(&site);
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, serde_json::json!({ "url": web.url("/") })).await;
    let before = daemon.memory("VmRSS");

    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let address = daemon.address;
    let tally = Arc::new(Mutex::new(Tally::default()));
    let slow: Vec<_> = (0..SLOW)
        .map(|_| tasks.spawn(dawdle(address, stop.clone())))
        .collect();
    let usual: Arc<str> = "x".repeat(256 << 10).into();
    let large: Arc<str> = "y".repeat((4 << 20) - 100).into();
    let mut clients = Vec::new();
    for number in 0..FAST + LARGE {
        let filling = Arc::clone(if number < FAST { &usual } else { &large });
        let tally = Arc::clone(&tally);
        clients.push(tasks.spawn(async move {
            for post in 0..posts {
                let id = format!("c{number}-{post}");
                let answer = post_raw(address, &id, &filling).await;
                tally.lock().await.note(&id, &answer);
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    stop.cancel();
    for one in slow {
        one.await.unwrap();
    }
    let tally = std::mem::take(&mut *tally.lock().await);
    assert!(!tally.acknowledged.is_empty(), "{tally:?}");
    assert!(
        tally.refused.contains_key("memory_full"),
        "{:?}",
        tally.refused
    );
    for id in &tally.acknowledged {
        delivery_in(&mut client, &webhook, id, "delivered").await;
    }
    // The memory for bodies is free again: all of it.
    until("a large body is taken again", async || {
        let answer = post_raw(address, "last", &large).await;
        answer.starts_with("HTTP/1.1 202").then_some(())
    })
    .await;
    assert_eq!(get(&mut client, "/readyz").await.status, 200);
    let (peak, after) = (daemon.memory("VmHWM"), daemon.memory("VmRSS"));
    println!(
        "flood: {} acknowledged, 0 lost; refused {:?}, {} without an answer; memory {} MB before, {} MB at the peak, {} MB \
         after (body_memory 16 MiB)",
        tally.acknowledged.len(),
        tally.refused,
        tally.broken,
        before >> 20,
        peak >> 20,
        after >> 20
    );
    assert!(peak < PEAK_MAX, "{peak} bytes at the peak");
    assert!(daemon.terminate().success());
}
