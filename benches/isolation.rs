//! Does a receiver that hangs, with a long backlog behind it, delay anybody else?
//!
//! Two daemons, alike but for one thing: behind the second one a webhook with 10,000 waiting deliveries
//! hangs for ever. Events for a healthy webhook are posted to the two in turn, block by block, so that both
//! see the same machine; the time is from before the post to the arrival at the receiver. The figure is the
//! ratio of the two p99.
//!
//! `cargo bench --bench isolation`; `HOOKWHEEL_BENCH_BLOCKS` sets the number of blocks (default 20).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    dead_code,
    reason = "a bench prints and stops at the first surprise; it uses a part of the tests' support"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hookwheel::cli::client::Client;
use hookwheel::receiver::{Answer, Options, Receiver};
use http::Method;
use serde_json::json;
use support::{Daemon, Site, register, rounds, until};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The client that the tests' support uses; here nobody judges its answers.
mod client {
    pub(crate) use hookwheel::cli::client::{Answer, Client};
}
#[path = "../tests/it/support.rs"]
mod support;

const WAITING: usize = 10_000;
const BLOCK: usize = 100;

struct Side {
    name: &'static str,
    _site: Site,
    _daemon: Daemon,
    client: Client,
    samples: Vec<Duration>,
}

fn main() {
    // cargo test runs benches too, with this argument; there is nothing to test here.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(run());
}

async fn run() {
    let (arrived, mut arrivals) = mpsc::channel::<Instant>(16);
    let mut sides = Vec::new();
    let mut receivers = Vec::new();
    let hangs = Arc::new(Mutex::new(0_usize));
    for (name, waiting) in [("alone", 0), ("beside a hanging one", WAITING)] {
        let site = Site::new(&["standard"]);
        let identity = site.authority.issue(&["127.0.0.1"]).unwrap();
        let (arrived, hangs) = (arrived.clone(), Arc::clone(&hangs));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Receiver::start(listener, &identity, Options::default(), move |request| {
            let arrived = arrived.clone();
            let hang = request.path == "/hang";
            if hang {
                *hangs.lock().unwrap() += 1;
            }
            async move {
                if hang {
                    return Answer::hang();
                }
                arrived.send(Instant::now()).await.unwrap();
                Answer::status(200)
            }
        })
        .unwrap();
        let daemon = site.start();
        let mut client = daemon.client("standard");
        register(
            &mut client,
            json!({ "url": receiver.url("/ok"), "events": ["fast"] }),
        )
        .await;
        let slow = json!({ "url": receiver.url("/hang"), "events": ["slow"], "timeout": "5m" });
        register(&mut client, slow).await;
        fill(&mut client, waiting).await;
        receivers.push(receiver);
        sides.push(Side {
            name,
            _site: site,
            _daemon: daemon,
            client,
            samples: Vec::new(),
        });
    }
    until("the receiver hangs", async || {
        (*hangs.lock().unwrap() > 0).then_some(())
    })
    .await;
    let blocks = rounds("HOOKWHEEL_BENCH_BLOCKS", 20);
    for block in 0..=blocks {
        for side in &mut sides {
            measure(side, &mut arrivals, block > 0).await;
        }
    }
    report(&mut sides);
}

async fn fill(client: &mut Client, waiting: usize) {
    let batch: Vec<_> = (0..500)
        .map(|n| json!({ "type": "slow", "data": { "n": n } }))
        .collect();
    let body = json!(batch);
    for _ in 0..waiting / batch.len() {
        let answer = client
            .call(Method::POST, "/api/v1/events/batch", Some(&body))
            .await
            .unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
}

async fn measure(side: &mut Side, arrivals: &mut mpsc::Receiver<Instant>, keep: bool) {
    let body = json!({ "type": "fast", "data": { "text": "x".repeat(1_000) } }).to_string();
    for _ in 0..BLOCK {
        let start = Instant::now();
        let answer = side
            .client
            .call_text(Method::POST, "/api/v1/events", body.clone())
            .await
            .unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
        let at = arrivals.recv().await.unwrap();
        if keep {
            side.samples.push(at - start);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn report(sides: &mut [Side]) {
    println!(
        "{:<22} {:>8} {:>10} {:>10} {:>10}",
        "healthy webhook", "events", "p50", "p99", "max"
    );
    let mut p99 = Vec::new();
    for side in sides {
        side.samples.sort_unstable();
        let at = |percent: usize| side.samples[side.samples.len() * percent / 100];
        let last = side.samples[side.samples.len() - 1];
        p99.push(at(99).as_secs_f64());
        println!(
            "{:<22} {:>8} {:>10.1?} {:>10.1?} {:>10.1?}",
            side.name,
            side.samples.len(),
            at(50),
            at(99),
            last
        );
    }
    println!("p99 ratio: {:.2} (goal: at most 1.2)", p99[1] / p99[0]);
}
