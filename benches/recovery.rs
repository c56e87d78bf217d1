//! How soon a daemon is back after a kill: `cargo bench --bench recovery`.
//!
//! A store is filled with waiting deliveries and as many in history, and its process killed with -9. Then, on
//! that directory: (a) the real daemon is started, and the time taken until `/readyz` answers 200, with the page
//! cache cold where the system lets us drop it, and warm; the goal is 2 s. (b) sled is made again from the
//! journal, beside a plain sequential read of the same files in the same run.
//!
//! `HOOKWHEEL_BENCH_EVENTS` is the number of waiting deliveries (1,000,000 if not set; the journal is about a
//! GiB then), `HOOKWHEEL_BENCH_RUNS` the number of starts (3). The data goes to `TMPDIR`, and has to be on a
//! disk.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "a bench ends at the first surprise, prints its table, reads the real clock, and shares the tests' helpers"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hookwheel::metrics::Metrics;
use hookwheel::model::{
    AccountName, Attempt, Endpoint, Event, EventId, Next, Outcome, Phases, QueueEntry, Response,
    Trigger, UnixMicros, UnixMillis, Webhook, WebhookId,
};
use hookwheel::store::{self, Accepted, Finish, NewEvent, Opened, Options, Writer, Written};
use support::{Daemon, Site, rounds};

/// The client that the tests' support uses; here nobody judges its answers.
mod client {
    pub(crate) use hookwheel::cli::client::{Answer, Client};
}
#[path = "../tests/it/support.rs"]
mod support;

const PRODUCERS: usize = 64;
const PAYLOAD: usize = 1024;
const WEBHOOKS: u128 = 1_000;
/// Webhooks that each event goes to.
const FAN_OUT: usize = 10;
/// When what waits is due: not while the bench runs.
const LATER_MS: u64 = 24 * 3_600_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        // cargo test runs benches too, with this argument; there is nothing to test here.
        Some("--test") => {}
        Some("--fill") => fill(Path::new(&arguments[2])),
        Some("--rebuild") => rebuild(Path::new(&arguments[2])),
        _ => table(),
    }
}

fn deliveries() -> usize {
    usize::try_from(rounds("HOOKWHEEL_BENCH_EVENTS", 1_000_000)).unwrap()
}

fn table() {
    let site = Site::new(&["standard"]);
    let data = site.path("data");
    let started = Instant::now();
    fill_and_kill(&data);
    let journal = megabytes(&data.join("journal"));
    println!(
        "{} deliveries wait over {WEBHOOKS} webhooks, as many in history; journal {journal:.0} MB; filled in {:.0} s, then killed with -9",
        deliveries(),
        started.elapsed().as_secs_f64()
    );
    println!("\n(a) start of the daemon until /readyz answers 200, goal 2.0 s");
    for cold in [true, false] {
        for run in 1..=rounds("HOOKWHEEL_BENCH_RUNS", 3) {
            if cold && !drop_caches() {
                println!("    cold: not measured, as the page cache cannot be dropped here");
                break;
            }
            let cache = if cold { "cold" } else { "warm" };
            let (took, memory) = start(&site);
            println!(
                "    {cache} run {run}: {:.2} s, resident {memory}",
                took.as_secs_f64()
            );
        }
    }
    println!("\n(b) making sled again from the journal, page cache warm");
    let read = read_all(&data.join("journal"));
    std::fs::remove_dir_all(data.join("registry")).unwrap();
    let made = child("--rebuild", &data);
    let mut words = made.split_whitespace();
    let seconds: f64 = words.next().unwrap().parse().unwrap();
    let rate = journal / seconds;
    println!("    plain sequential read  {read:>8.0} MB/s");
    println!(
        "    rebuild                {rate:>8.0} MB/s  {:.3} of the read; {made}",
        rate / read
    );
}

/// Starts the daemon, and kills it when it is ready. Its time, and its memory then.
fn start(site: &Site) -> (Duration, String) {
    let started = Instant::now();
    let daemon = site.start();
    let mut stream = std::net::TcpStream::connect(daemon.address).unwrap();
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let took = started.elapsed();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let memory = memory(&daemon.id().to_string());
    Daemon::kill(daemon);
    (took, memory)
}

fn memory(process: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes / 1024
    };
    format!("{} MiB (at most {} MiB)", of("VmRSS:"), of("VmHWM:"))
}

/// Writes out and forgets what is cached of files; `false` where that is not permitted.
fn drop_caches() -> bool {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

fn logs(journal: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(journal)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut logs: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|kind| kind == "log"))
        .collect();
    logs.sort();
    logs
}

fn megabytes(journal: &Path) -> f64 {
    let sizes = logs(journal)
        .into_iter()
        .map(|path| path.metadata().unwrap().len());
    sizes.sum::<u64>() as f64 / 1e6
}

/// MB a second of a plain sequential read, the second time.
fn read_all(journal: &Path) -> f64 {
    let mut buffer = vec![0; 256 << 10];
    let mut rate = 0.0;
    for _ in 0..2 {
        let started = Instant::now();
        for path in logs(journal) {
            let mut file = std::fs::File::open(path).unwrap();
            while file.read(&mut buffer).unwrap() > 0 {}
        }
        rate = megabytes(journal) / started.elapsed().as_secs_f64();
    }
    rate
}

fn child(what: &str, path: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([what, path.to_str().unwrap()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn rebuild(path: &Path) {
    store::durable_sled().unwrap();
    let started = Instant::now();
    let opened = store::open(options(path), Metrics::new()).unwrap();
    let took = started.elapsed();
    let pending: u64 = opened
        .reader
        .backlog()
        .segments
        .iter()
        .map(|segment| segment.pending)
        .sum();
    assert_eq!(pending, deliveries() as u64);
    println!(
        "{:.2} s, {} records, memory {}",
        took.as_secs_f64(),
        opened.report.replayed,
        memory("self")
    );
}

fn fill_and_kill(path: &Path) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--fill", path.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "filled\n");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Fills a store and waits to be killed.
fn fill(path: &Path) {
    store::durable_sled().unwrap();
    let Opened {
        writer,
        handle: _handle,
        ..
    } = store::open(options(path), Metrics::new()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for number in 0..WEBHOOKS {
            let put = writer.put_webhook(webhook(spread(number)), None);
            assert_eq!(put.await.unwrap(), Written::Done);
        }
        let mut tasks = tokio::task::JoinSet::new();
        for producer in 0..PRODUCERS {
            let writer = writer.clone();
            tasks.spawn(async move {
                for number in (producer..2 * deliveries() / FAN_OUT).step_by(PRODUCERS) {
                    cycle(&writer, number).await;
                }
            });
        }
        tasks.join_all().await;
    });
    println!("filled");
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

/// An event of whose deliveries each is delivered, or, of every other event, waits for its retry.
async fn cycle(writer: &Writer, number: usize) {
    let webhooks: Vec<WebhookId> = (0..FAN_OUT as u128)
        .map(|step| spread((number as u128 * 7 + step * 101) % WEBHOOKS))
        .collect();
    let accepted = writer.accept(new_event(webhooks)).await.unwrap();
    let Accepted::New {
        event,
        due,
        webhooks,
    } = accepted
    else {
        unreachable!("ids are new")
    };
    let next = match number % 2 {
        0 => Next::Delivered,
        _ => Next::RetryAt(due.plus(LATER_MS)),
    };
    let finishing = webhooks.into_iter().map(|webhook| {
        let entry = QueueEntry {
            due,
            event,
            attempts: 0,
            run_attempts: 0,
            trigger: Trigger::Schedule,
            not_before: hookwheel::model::SteadyMillis(0),
        };
        let writer = writer.clone();
        async move {
            let attempt = attempt(next);
            let finish = Finish {
                webhook,
                entry,
                attempt,
                next,
            };
            assert_eq!(writer.finish(finish).await.unwrap(), Written::Done);
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    for one in finishing {
        tasks.spawn(one);
    }
    tasks.join_all().await;
}

fn options(path: &Path) -> Options {
    Options {
        path: path.to_owned(),
        segment_bytes_max: 64 << 20,
        segment_age_max_ms: 24 * 3_600_000,
        cache_bytes: 8 << 20,
        commit_queue_max: 4096,
        retention_age_ms: u64::MAX,
        retention_bytes: u64::MAX,
        disk_reserve_bytes: 0,
    }
}

/// Ids as spread as real ones.
fn spread(number: u128) -> WebhookId {
    WebhookId(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

fn account() -> AccountName {
    AccountName::new("standard").unwrap()
}

fn webhook(id: WebhookId) -> Webhook {
    Webhook {
        id,
        account: account(),
        version: 1,
        url: Endpoint::parse("https://receiver.example.com/hook").unwrap(),
        events: Vec::new(),
        scope: None,
        name: None,
        description: None,
        secret: None,
        staged_secret: None,
        old_secret: None,
        format: None,
        filter: None,
        headers: Vec::new(),
        timeout_ms: None,
        retry: None,
        active: true,
        inactive: None,
        created_at: UnixMillis(1),
        updated_at: UnixMillis(1),
        order: hookwheel::model::Order::None,
        tls: None,
        oauth2: None,
        declared: None,
    }
}

fn new_event(webhooks: Vec<WebhookId>) -> NewEvent {
    let event = Event {
        account: account(),
        id: EventId::generate(),
        event_type: "pipeline.run.completed".to_owned(),
        created_at: UnixMicros(1_700_000_000_000_000),
        received_at: UnixMillis(1_700_000_000_000),
        data: format!("\"{}\"", "x".repeat(PAYLOAD - 2)),
        metadata: None,
        scope: None,
        warning: None,
        trace: None,
    };
    NewEvent {
        event: Arc::new(event),
        client_id: true,
        with_time: false,
        webhooks,
    }
}

fn attempt(next: Next) -> Attempt {
    let status = if next == Next::Delivered { 200 } else { 503 };
    Attempt {
        number: 1,
        trigger: Trigger::Schedule,
        started_at: UnixMillis(1_700_000_000_000),
        outcome: Outcome::Status(status),
        phases: Phases {
            total_us: 1_000,
            ..Phases::default()
        },
        request_headers: vec![("X-Signature".to_owned(), "0".repeat(64))],
        response: Some(Response {
            headers: Vec::new(),
            body: b"ok".to_vec(),
            truncated: false,
        }),
    }
}
