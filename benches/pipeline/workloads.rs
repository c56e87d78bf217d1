//! The parts: limits first, then each workload with a daemon of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hookwheel::receiver::Authority;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::daemon::{Daemon, KEY};
use crate::driver::{self, Load, Posted, Until};
use crate::receiver::{self, Arrivals};
use crate::report::Report;
use crate::{dead, limits, scale, seconds, wanted};

/// Connections of the driver.
const CONNECTIONS: usize = 64;

/// What all parts share.
pub struct Bench {
    pub authority: Authority,
    pub arrivals: Arc<Arrivals>,
    pub receiver: std::net::SocketAddr,
    pub report: Report,
}

impl Bench {
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.receiver)
    }

    pub fn load(&self, daemon: &Daemon) -> Load {
        Load {
            address: daemon.address,
            key: KEY.to_owned(),
            connections: CONNECTIONS,
            batch: 1,
            types: 1,
            until: Until::Elapsed(seconds()),
        }
    }
}

pub async fn all() {
    let authority = Authority::generate("bench CA").unwrap();
    let arrivals = Arrivals::new();
    let receiver = receiver::start(&authority, &arrivals, &TaskTracker::new()).await;
    let mut bench = Bench {
        authority,
        arrivals,
        receiver,
        report: Report::default(),
    };
    measure_limits(&mut bench).await;
    if wanted("intake") || wanted("drain") {
        intake_and_drain(&mut bench).await;
    }
    if wanted("full") {
        flood(&mut bench, "full", 1, 1, 1).await;
    }
    if wanted("fanout") {
        flood(&mut bench, "fanout", 10, 1, 1).await;
    }
    if wanted("many") {
        flood(&mut bench, "many", 1_000, 1_000, 1).await;
    }
    if wanted("batch") {
        flood(&mut bench, "batch", 1, 1, 100).await;
    }
    if wanted("storm") {
        storm(&mut bench).await;
    }
    if wanted("steady") {
        steady(&mut bench).await;
    }
    scale::all(&mut bench).await;
    dead::all(&mut bench).await;
    println!("\n{}", bench.report.json());
}

async fn measure_limits(bench: &mut Bench) {
    let time = seconds().min(Duration::from_secs(5));
    let (mut child, address) = limits::child(&["--bare-server"]);
    let load = Load {
        address: address.parse().unwrap(),
        key: KEY.to_owned(),
        connections: CONNECTIONS,
        batch: 1,
        types: 1,
        until: Until::Elapsed(time),
    };
    let posted = driver::flood(&load, &bench.arrivals).await;
    child.kill().unwrap();
    child.wait().unwrap();
    bench
        .report
        .figure("limits", "bare 202 server", posted.rate(), "/s", "");

    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), bench.authority.certificate_pem()).unwrap();
    let (receiver, seconds) = (bench.receiver.to_string(), time.as_secs().to_string());
    let arguments = [
        "--bare-client".to_owned(),
        receiver,
        ca.path().to_str().unwrap().to_owned(),
        seconds,
    ];
    let looped = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (mut child, line) = limits::child(&arguments);
        child.wait().unwrap();
        line
    });
    let line = looped.await.unwrap();
    let (count, took) = line.split_once(' ').unwrap();
    let rate = count.parse::<f64>().unwrap() / took.parse::<f64>().unwrap();
    bench
        .report
        .figure("limits", "bare HTTPS client loop", rate, "/s", "");
    let rate = limits::append(time).await;
    bench
        .report
        .figure("limits", "bare append and fdatasync", rate, "/s", "");
}

/// Notes a rate and its ratio to one of the limits.
fn rate(report: &mut Report, part: &str, name: &str, value: f64, limit: &str, goal: &str) {
    report.figure(part, name, value, "/s", "");
    if let Some(bare) = report.value("limits", limit) {
        report.figure(part, &format!("{name} of {limit}"), value / bare, "", goal);
    }
}

fn accepted(report: &mut Report, part: &str, posted: &Posted) {
    rate(
        report,
        part,
        "accepted",
        posted.rate(),
        "bare 202 server",
        "",
    );
    report.percentiles(part, "accept", posted.latencies.clone(), ["", "", ""]);
    if posted.busy > 0 {
        report.figure(
            part,
            "answered 503 and posted again",
            posted.busy as f64,
            "",
            "",
        );
    }
}

fn costs(
    report: &mut Report,
    part: &str,
    daemon: &Daemon,
    cpu: Duration,
    deliveries: u64,
    disk: u64,
    goal: &str,
) {
    let spent = daemon.cpu().saturating_sub(cpu);
    report.figure(
        part,
        "daemon CPU for each delivery",
        spent.as_secs_f64() * 1e6 / deliveries as f64,
        "us",
        goal,
    );
    let (_, peak) = daemon.memory_kib();
    report.figure(
        part,
        "resident memory, peak",
        peak as f64 / 1024.0,
        "MiB",
        if goal.is_empty() { "" } else { "96" },
    );
    let bytes = daemon.disk_bytes().saturating_sub(disk);
    report.figure(
        part,
        "disk for each delivery",
        bytes as f64 / deliveries as f64,
        "B",
        if goal.is_empty() { "" } else { "1536" },
    );
}

/// As fast as it goes: `webhooks` of them, event types in turn, so many events in one request.
async fn flood(bench: &mut Bench, part: &str, webhooks: u64, types: u64, batch: usize) {
    let daemon = Daemon::start(&bench.authority);
    for number in 0..webhooks {
        let mut body = json!({ "url": bench.url(&format!("/{number}")) });
        if types > 1 {
            body["events"] = json!([driver::event_type(number)]);
        }
        daemon.register(body).await;
    }
    let fan_out = webhooks / types;
    bench.arrivals.reset();
    let (cpu, disk) = (daemon.cpu(), daemon.disk_bytes());
    let load = Load {
        types,
        batch,
        connections: if batch > 1 { 8 } else { CONNECTIONS },
        ..bench.load(&daemon)
    };
    let started = Instant::now();
    let posted = driver::flood(&load, &bench.arrivals).await;
    let waiting = posted.events * fan_out - bench.arrivals.count().min(posted.events * fan_out);
    bench.arrivals.wait_for(posted.events * fan_out).await;
    let delivered = (posted.events * fan_out) as f64 / started.elapsed().as_secs_f64();
    settle(&daemon, posted.events * fan_out).await;
    let report = &mut bench.report;
    accepted(report, part, &posted);
    let goal = if part == "full" {
        "0.15, stretch 0.25"
    } else {
        ""
    };
    rate(
        report,
        part,
        "end to end",
        delivered,
        "bare HTTPS client loop",
        goal,
    );
    report.figure(
        part,
        "waiting when the last was accepted",
        waiting as f64,
        "",
        "",
    );
    report.percentiles(part, "arrival", bench.arrivals.latencies(), ["", "", ""]);
    costs(
        report,
        part,
        &daemon,
        cpu,
        posted.events * fan_out,
        disk,
        if part == "full" { "80" } else { "" },
    );
}

/// Waits until the daemon has recorded what arrived.
async fn settle(daemon: &Daemon, count: u64) {
    let started = Instant::now();
    while (daemon
        .metric("hookwheel_deliveries_ended_total{state=\"delivered\"}")
        .await as u64)
        < count
    {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "deliveries were not recorded"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Events for a webhook that is held; then it is activated, and the backlog drained.
async fn intake_and_drain(bench: &mut Bench) {
    let daemon = Daemon::start(&bench.authority);
    let body = json!({ "url": bench.url("/drain"), "active": false });
    let webhook = daemon.register(body).await;
    bench.arrivals.reset();
    let (cpu, load) = (daemon.cpu(), bench.load(&daemon));
    let posted = driver::flood(&load, &bench.arrivals).await;
    let spent = daemon.cpu().saturating_sub(cpu).as_secs_f64() * 1e6 / posted.events as f64;
    let report = &mut bench.report;
    rate(
        report,
        "intake",
        "accepted",
        posted.rate(),
        "bare 202 server",
        "0.3",
    );
    rate(
        report,
        "intake",
        "stored",
        posted.rate(),
        "bare append and fdatasync",
        "",
    );
    report.percentiles("intake", "accept", posted.latencies.clone(), ["", "", ""]);
    report.figure("intake", "daemon CPU for each event", spent, "us", "");
    let cpu = daemon.cpu();
    let started = Instant::now();
    daemon.set_active(&webhook, true).await;
    bench.arrivals.wait_for(posted.events).await;
    let delivered = posted.events as f64 / started.elapsed().as_secs_f64();
    settle(&daemon, posted.events).await;
    rate(
        report,
        "drain",
        "delivered",
        delivered,
        "bare HTTPS client loop",
        "0.35",
    );
    let spent = daemon.cpu().saturating_sub(cpu).as_secs_f64() * 1e6 / posted.events as f64;
    report.figure("drain", "daemon CPU for each delivery", spent, "us", "");
    report.figure(
        "drain",
        "resident memory, peak",
        daemon.memory_kib().1 as f64 / 1024.0,
        "MiB",
        "",
    );
}

/// Every first attempt is refused; the second, a second later, is not. Over a thousand webhooks.
async fn storm(bench: &mut Bench) {
    let daemon = Daemon::start(&bench.authority);
    // Many webhooks, as one whose receiver fails is sent to one by one.
    let webhooks = 1_000;
    for number in 0..webhooks {
        let retry = json!({ "delays": ["1s", "1s", "1s"] });
        let events = json!([driver::event_type(number)]);
        let body = json!({ "url": bench.url("/storm"), "retry": retry, "events": events });
        daemon.register(body).await;
    }
    bench.arrivals.reset();
    bench.arrivals.fails_first.store(true, Ordering::Relaxed);
    let (cpu, disk) = (daemon.cpu(), daemon.disk_bytes());
    let load = Load {
        until: Until::Events(60_000),
        types: webhooks,
        ..bench.load(&daemon)
    };
    let started = Instant::now();
    let posted = driver::flood(&load, &bench.arrivals).await;
    bench.arrivals.wait_for(posted.events).await;
    let took = started.elapsed();
    bench.arrivals.fails_first.store(false, Ordering::Relaxed);
    settle(&daemon, posted.events).await;
    let report = &mut bench.report;
    accepted(report, "storm", &posted);
    let attempts = 2.0 * posted.events as f64 / took.as_secs_f64();
    rate(
        report,
        "storm",
        "attempts",
        attempts,
        "bare HTTPS client loop",
        "",
    );
    report.percentiles("storm", "arrival", bench.arrivals.latencies(), ["", "", ""]);
    costs(report, "storm", &daemon, cpu, posted.events, disk, "");
}

/// 200 events a second for 20 seconds: what a delivery takes when the machine is not busy.
async fn steady(bench: &mut Bench) {
    let daemon = Daemon::start(&bench.authority);
    daemon
        .register(json!({ "url": bench.url("/steady") }))
        .await;
    let load = bench.load(&daemon);
    // Connections are made, caches are warm.
    driver::steady(&load, 200, Duration::from_secs(2), &bench.arrivals).await;
    settle(&daemon, 400).await;
    bench.arrivals.reset();
    let cpu = daemon.cpu();
    let posted = driver::steady(&load, 200, Duration::from_secs(20), &bench.arrivals).await;
    bench.arrivals.wait_for(posted.events).await;
    let spent = daemon.cpu().saturating_sub(cpu).as_secs_f64() * 1e6 / posted.events as f64;
    let syncs = tokio::task::spawn_blocking(|| limits::syncs(500))
        .await
        .unwrap();
    let report = &mut bench.report;
    report.percentiles("steady", "bare write and fdatasync", syncs, ["", "", ""]);
    report.percentiles("steady", "accept", posted.latencies, ["", "", ""]);
    report.percentiles(
        "steady",
        "end to end",
        bench.arrivals.latencies(),
        ["1.5", "6", ""],
    );
    report.figure("steady", "daemon CPU for each delivery", spent, "us", "");
}

/// The value of a JSON answer's member as text.
pub fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap().to_owned()
}
