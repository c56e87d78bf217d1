//! A replay beside live traffic: whether it keeps to its rate, and what the others feel of it.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::driver::{self, Load, Until};
use crate::workloads::{Bench, settle, text};

/// Deliveries that are sent again.
const REPLAYED: u64 = 100_000;
/// … in one second, at most.
const PER_SECOND: u64 = 2_000;
/// Live events in a second, and for how long.
const LIVE: u64 = 200;
const LIVE_TIME: Duration = Duration::from_secs(20);

pub async fn replay(bench: &mut Bench) {
    let daemon = Daemon::start(&bench.authority);
    let replayed = daemon
        .register(json!({ "url": bench.url("/replayed") }))
        .await;
    bench.arrivals.reset();
    let fill = Load {
        batch: 100,
        connections: 8,
        until: Until::Events(REPLAYED),
        ..bench.load(&daemon)
    };
    let posted = driver::flood(&fill, &bench.arrivals).await;
    bench.arrivals.wait_for(posted.events).await;
    settle(&daemon, posted.events).await;
    // From now on it gets what is sent again, and another one what is new.
    let path = format!("/api/v1/webhooks/{replayed}");
    let body = json!({ "events": ["never.posted"] });
    call(&daemon, Method::PATCH, &path, &body).await;
    daemon.register(json!({ "url": bench.url("/live") })).await;
    bench.arrivals.count_apart();

    let load = bench.load(&daemon);
    driver::steady(&load, LIVE, Duration::from_secs(2), &bench.arrivals).await;
    let alone = live(bench, &load, "live end to end, alone", LIVE).await;
    // What as much more of ordinary events costs: the replay can hardly be lighter.
    let ordinary = "live end to end, as many ordinary events";
    let ordinary = live(bench, &load, ordinary, LIVE + PER_SECOND).await;

    let cpu = daemon.cpu();
    let started = Instant::now();
    let body = json!({ "states": ["delivered"], "per_second": PER_SECOND });
    let job = call(&daemon, Method::POST, &format!("{path}/replay"), &body).await;
    let beside = live(bench, &load, "live end to end, beside it", LIVE).await;
    let path = format!("/api/v1/jobs/{}", text(&job, "id"));
    let (took, job) = loop {
        let job = call(&daemon, Method::GET, &path, &Value::Null).await;
        if job["state"] == "done" {
            break (started.elapsed(), job);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(job["progress"]["queued"], posted.events, "{job}");
    while (bench.arrivals.again().len() as u64) < posted.events {
        assert!(started.elapsed() < took + Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let spent = daemon.cpu().saturating_sub(cpu);
    let arrivals = bench.arrivals.again();
    let span = (arrivals[arrivals.len() - 1] - arrivals[0]) as f64 / 1e6;
    let cap = PER_SECOND as f64;
    let kept = posted.events as f64 / took.as_secs_f64() / cap;
    let arrived = (arrivals.len() - 1) as f64 / span / cap;
    let report = &mut bench.report;
    report.figure("replay", "queued, of the cap", kept, "", "0.95 to 1.00");
    report.figure("replay", "arrived, of the cap", arrived, "", "0.95 to 1.05");
    let most = most_in_a_second(&arrivals) as f64 / cap;
    report.figure("replay", "most in one second, of the cap", most, "", "");
    let ratio = beside / alone;
    report.figure("replay", "live p99 slower by", ratio, "", "at most 1.5");
    let of_ordinary = beside / ordinary;
    report.figure("replay", "p99 of ordinary events'", of_ordinary, "", "");
    let share = spent.as_secs_f64() / took.as_secs_f64();
    report.figure("replay", "daemon CPU, of one core", share, "", "");
}

/// Live traffic for a while; gives the p99 of its way end to end, milliseconds.
async fn live(bench: &mut Bench, load: &Load, what: &str, rate: u64) -> f64 {
    bench.arrivals.reset();
    let posted = driver::steady(load, rate, LIVE_TIME, &bench.arrivals).await;
    bench.arrivals.wait_for(posted.events).await;
    let latencies = bench.arrivals.latencies();
    let accept = what.replace("end to end", "accept");
    bench
        .report
        .percentiles("replay", &accept, posted.latencies, ["", "", ""]);
    bench
        .report
        .percentiles("replay", what, latencies, ["", "", ""]);
    bench
        .report
        .value("replay", &format!("{what} p99"))
        .unwrap()
}

/// The most arrivals in any stretch of a second.
fn most_in_a_second(arrivals: &[u64]) -> usize {
    let upto = |at: u64| arrivals.partition_point(|arrival| *arrival < at);
    let stretches = arrivals.iter().enumerate();
    let counts = stretches.map(|(index, at)| upto(at + 1_000_000) - index);
    counts.max().unwrap_or(0)
}

async fn call(daemon: &Daemon, method: Method, path: &str, body: &Value) -> Value {
    let body = (!body.is_null()).then_some(body);
    let answer = daemon.client().call(method, path, body).await.unwrap();
    assert!(answer.status.is_success(), "{}", answer.body);
    answer.body
}
