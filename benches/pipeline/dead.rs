//! What dead receivers cost a live one: a million deliveries wait for a thousand webhooks that nobody answers for,
//! and one live webhook gets its events beside them. Its latency is held against that of the same daemon before.

use std::time::Duration;

use serde_json::json;

use crate::daemon::Daemon;
use crate::driver::{self, Load, Until};
use crate::workloads::Bench;
use crate::{number, wanted};

const WEBHOOKS: u64 = 1_000;
/// Events a second to the live webhook.
const RATE: u64 = 200;
const TIME: Duration = Duration::from_secs(20);
/// Beside the dead: twice the longest pause, so that each has two probes in it.
const TIME_BESIDE: Duration = Duration::from_secs(60);
/// Long enough for the pauses between probes to have grown: 1, 2, 4, 8, 16 and 30 seconds.
const SETTLE: Duration = Duration::from_secs(75);
/// The longest pause between two probes of a dead receiver, seconds.
const PROBE_SECONDS: f64 = 30.0;

pub async fn all(bench: &mut Bench) {
    if !wanted("dead") {
        return;
    }
    let daemon = Daemon::start(&bench.authority);
    let live = json!({ "url": bench.url("/live"), "events": [driver::event_type(0)] });
    daemon.register(live).await;
    // Connections are made, caches are warm.
    live_latency(bench, &daemon, Duration::from_secs(2)).await;
    let before = live_latency(bench, &daemon, TIME).await;
    for _ in 0..WEBHOOKS {
        let dead = json!({ "url": "https://127.0.0.1:1/", "events": [driver::event_type(1)] });
        daemon.register(dead).await;
    }
    let waiting = number("HOOKWHEEL_BENCH_WAITING", 1_000_000);
    // Every second event is one that the dead ones want.
    let load = Load {
        batch: 100,
        connections: 4,
        types: 2,
        until: Until::Events(2 * waiting / WEBHOOKS),
        ..bench.load(&daemon)
    };
    driver::flood(&load, &bench.arrivals).await;
    tokio::time::sleep(SETTLE).await;
    let attempts = attempts(&daemon).await;
    let cpu = daemon.cpu();
    let beside = live_latency(bench, &daemon, TIME_BESIDE).await;
    let attempts = self::attempts(&daemon).await - attempts;
    let spent = daemon.cpu().saturating_sub(cpu);
    let report = &mut bench.report;
    report.percentiles("dead", "live alone", before.clone(), ["", "", ""]);
    report.percentiles("dead", "live beside the dead", beside.clone(), ["", "", ""]);
    let ratio = f64::from(p99(beside)) / f64::from(p99(before));
    report.figure("dead", "p99 of alone", ratio, "", "at most 1.2");
    let probes = WEBHOOKS as f64 / PROBE_SECONDS;
    let rate = attempts / TIME_BESIDE.as_secs_f64();
    report.figure("dead", "attempts at dead receivers", rate, "/s", "");
    report.figure("dead", "of their probes", rate / probes, "", "at most 1.1");
    let share = spent.as_secs_f64() / TIME_BESIDE.as_secs_f64() * 100.0;
    report.figure("dead", "CPU", share, "%", "");
    let (now, peak) = daemon.memory_kib();
    let mib = |kib: u64| kib as f64 / 1024.0;
    report.figure("dead", "resident memory", mib(now), "MiB", "256");
    report.figure("dead", "resident memory, peak", mib(peak), "MiB", "256");
}

/// Attempts that found nobody, so far.
async fn attempts(daemon: &Daemon) -> f64 {
    daemon
        .metric("hookwheel_attempts_total{outcome=\"connect\"}")
        .await
}

/// From post to arrival at the live webhook, microseconds.
async fn live_latency(bench: &mut Bench, daemon: &Daemon, time: Duration) -> Vec<u32> {
    bench.arrivals.reset();
    let posted = driver::steady(&bench.load(daemon), RATE, time, &bench.arrivals).await;
    bench.arrivals.wait_for(posted.events).await;
    bench.arrivals.latencies()
}

fn p99(mut latencies: Vec<u32>) -> u32 {
    latencies.sort_unstable();
    latencies[latencies.len() * 99 / 100]
}
