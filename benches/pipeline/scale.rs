//! What it costs to have much: memory at rest and with large backlogs, CPU at rest, history look-ups, and
//! whether full speed depends on what waits.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use crate::daemon::Daemon;
use crate::driver::{self, Load, Until};
use crate::workloads::{Bench, text};
use crate::{number, wanted};

/// Webhooks that the events of a large backlog go to.
const FAN_OUT: u64 = 10;
const IDLE_TIME: Duration = Duration::from_secs(10);

pub async fn all(bench: &mut Bench) {
    if wanted("idle") {
        idle(bench).await;
    }
    if wanted("waiting") {
        waiting(bench).await;
    }
    if wanted("tenfold") {
        tenfold(bench).await;
    }
}

/// Share of one core that the daemon takes in some time.
async fn cpu_share(daemon: &Daemon) -> f64 {
    let before = daemon.cpu();
    tokio::time::sleep(IDLE_TIME).await;
    daemon.cpu().saturating_sub(before).as_secs_f64() / IDLE_TIME.as_secs_f64()
}

/// Memory at rest, and CPU with 100,000 retries waiting.
async fn idle(bench: &mut Bench) {
    let daemon = Daemon::start(&bench.authority);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (now, _) = daemon.memory_kib();
    bench.report.figure(
        "idle",
        "resident memory at rest",
        now as f64 / 1024.0,
        "MiB",
        "24",
    );
    // Nobody would be tried now and then only; who refuses each attempt is tried for each delivery.
    bench.arrivals.fails_all.store(true, Ordering::Relaxed);
    for index in 0..FAN_OUT {
        let url = bench.url(&format!("/refuses{index}"));
        daemon
            .register(json!({ "url": url, "retry": { "delays": ["1h"] } }))
            .await;
    }
    let load = Load {
        batch: 100,
        connections: 4,
        until: Until::Events(10_000),
        ..bench.load(&daemon)
    };
    let posted = driver::flood(&load, &bench.arrivals).await;
    let wanted = posted.events * FAN_OUT;
    let started = Instant::now();
    while (daemon
        .metric("hookwheel_attempts_total{outcome=\"5xx\"}")
        .await as u64)
        < wanted
    {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "attempts were not made"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bench.arrivals.fails_all.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let share = cpu_share(&daemon).await;
    bench.report.figure(
        "idle",
        "CPU with 100,000 retries waiting",
        share * 100.0,
        "%",
        "0.5",
    );
    let (now, peak) = daemon.memory_kib();
    bench.report.figure(
        "idle",
        "resident memory with them",
        now as f64 / 1024.0,
        "MiB",
        "",
    );
    bench.report.figure(
        "idle",
        "resident memory, peak",
        peak as f64 / 1024.0,
        "MiB",
        "",
    );
}

/// A million deliveries wait for webhooks that are held; then they are looked for in history.
async fn waiting(bench: &mut Bench) {
    let daemon = Daemon::start(&bench.authority);
    let mut webhooks = Vec::new();
    for index in 0..FAN_OUT {
        webhooks.push(
            daemon
                .register(json!({ "url": bench.url(&format!("/w{index}")), "active": false }))
                .await,
        );
    }
    let count = number("HOOKWHEEL_BENCH_WAITING", 1_000_000);
    let load = Load {
        batch: 100,
        connections: 8,
        until: Until::Events(count / FAN_OUT),
        ..bench.load(&daemon)
    };
    let posted = driver::flood(&load, &bench.arrivals).await;
    let stored = posted.rate() * FAN_OUT as f64;
    bench
        .report
        .figure("waiting", "deliveries stored", stored, "/s", "");
    // What was begun for the flood is done: sled has it, indexes are written.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (now, peak) = daemon.memory_kib();
    bench.report.figure(
        "waiting",
        "resident memory",
        now as f64 / 1024.0,
        "MiB",
        "256",
    );
    bench.report.figure(
        "waiting",
        "resident memory, peak",
        peak as f64 / 1024.0,
        "MiB",
        "256",
    );
    bench.report.figure(
        "waiting",
        "CPU at rest",
        cpu_share(&daemon).await * 100.0,
        "%",
        "0.5",
    );
    look_ups(bench, &daemon, &webhooks[3]).await;
}

/// The newest deliveries of a webhook, and events by id.
async fn look_ups(bench: &mut Bench, daemon: &Daemon, webhook: &str) {
    let mut client = daemon.client();
    let path = format!("/api/v1/webhooks/{webhook}/deliveries?limit=50");
    let (mut lists, mut shows) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let before = Instant::now();
        let answer = client.call(Method::GET, &path, None).await.unwrap();
        lists.push(before.elapsed().as_micros() as u32);
        assert_eq!(answer.body["data"].as_array().unwrap().len(), 50);
    }
    let answer = client
        .call(Method::GET, "/api/v1/events?limit=50", None)
        .await
        .unwrap();
    for event in answer.body["data"].as_array().unwrap() {
        let path = format!("/api/v1/events/{}", text(event, "id"));
        let before = Instant::now();
        let answer = client.call(Method::GET, &path, None).await.unwrap();
        shows.push(before.elapsed().as_micros() as u32);
        assert_eq!(answer.status, 200);
    }
    bench
        .report
        .percentiles("waiting", "newest 50 of a webhook", lists, ["10", "", ""]);
    bench
        .report
        .percentiles("waiting", "an event by id", shows, ["2", "", ""]);
}

/// End to end at full speed with a tenth of the backlog and of the webhooks, and with all of it.
async fn tenfold(bench: &mut Bench) {
    let mut rates = Vec::new();
    for (webhooks, backlog) in [(100_u64, 20_000_u64), (1_000, 200_000)] {
        let daemon = Daemon::start(&bench.authority);
        for index in 0..webhooks {
            let held = json!({ "url": bench.url("/held"), "active": false, "events": [driver::event_type(index + 1)] });
            daemon.register(held).await;
        }
        // The load's types count from 0, which nobody but the live webhook wants.
        let fill = Load {
            batch: 100,
            connections: 8,
            types: webhooks + 1,
            until: Until::Events(backlog),
            ..bench.load(&daemon)
        };
        driver::flood(&fill, &bench.arrivals).await;
        daemon
            .register(json!({ "url": bench.url("/live"), "events": [driver::event_type(0)] }))
            .await;
        bench.arrivals.reset();
        let cpu = daemon.cpu();
        let started = Instant::now();
        let posted = driver::flood(&bench.load(&daemon), &bench.arrivals).await;
        bench.arrivals.wait_for(posted.events).await;
        let rate = posted.events as f64 / started.elapsed().as_secs_f64();
        let spent = daemon.cpu().saturating_sub(cpu).as_secs_f64() * 1e6 / posted.events as f64;
        let part = format!("end to end with {webhooks} webhooks, {backlog} held");
        bench.report.figure("tenfold", &part, rate, "/s", "");
        bench.report.figure(
            "tenfold",
            &format!("CPU with {webhooks} webhooks"),
            spent,
            "us",
            "",
        );
        rates.push(rate);
    }
    bench.report.figure(
        "tenfold",
        "slower by",
        rates[0] / rates[1],
        "",
        "at most 1.3",
    );
}
