//! What the store costs: `cargo bench --bench store`.
//!
//! In one run, on one disk: (a) the bare minimum, one thread that appends and syncs what 64 producers send;
//! (b) full life cycles through the store with as many producers; (c) opening a store with a million waiting
//! deliveries, in a fresh process. The goals are b at least 0.4 of a, and c within a second and 128 MiB.
//!
//! The data goes to `HOOKWHEEL_BENCH_DIR`, or to the target directory: a RAM disk would measure nothing.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench ends at the first surprise, prints its table, and reads the real clock"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hookwheel::metrics::Metrics;
use hookwheel::model::{
    AccountName, Attempt, Endpoint, Event, EventId, Next, Outcome, Phases, Position, QueueEntry,
    Response, SteadyMillis, Trigger, UnixMicros, UnixMillis, Webhook, WebhookId,
};
use hookwheel::store::{
    self, Accepted, Finish, NewEvent, Opened, Options, Reader, Writer, Written,
};
use tokio::sync::{mpsc, oneshot};

const PRODUCERS: usize = 64;
const PAYLOAD: usize = 1024;
const RUN: Duration = Duration::from_secs(5);
const WAITING: usize = 1_000_000;
const WEBHOOKS: u128 = 1_000;
/// Webhooks that each event of the million waiting goes to.
const FAN_OUT: usize = 10;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("--fill") => fill(Path::new(&arguments[2]), arguments[3] == "stop"),
        Some("--open") => open_and_report(Path::new(&arguments[2])),
        _ => table(),
    }
}

fn table() {
    let base = std::env::var_os("HOOKWHEEL_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let directory = tempfile::Builder::new()
        .prefix("store-bench")
        .tempdir_in(base)
        .unwrap();
    let filter = store::durable_sled();
    println!("seccomp filter on sync_file_range: {filter:?}");
    println!(
        "{PRODUCERS} producers, {PAYLOAD} byte events, {} s each\n",
        RUN.as_secs()
    );
    let bare = bare(&directory.path().join("bare"));
    println!("(a) bare append and fdatasync       {bare:>10.0} items/s");
    let (together, bytes) = cycles(&directory.path().join("together"), true);
    println!(
        "(b) life cycles, pipelined          {together:>10.0} /s   {:.2} of (a), goal 0.40",
        together / bare
    );
    println!("    disk for each, index included   {bytes:>10.0} bytes, goal 1,536");
    let (apart, _) = cycles(&directory.path().join("apart"), false);
    println!(
        "    life cycles, one after another  {apart:>10.0} /s   {:.2} of (a)",
        apart / bare
    );
    for how in ["stop", "abort"] {
        let path = directory.path().join(how);
        let started = Instant::now();
        let filled = child("--fill", &path, how);
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "\n(c) {WAITING} waiting over {WEBHOOKS} webhooks, filled in {seconds:.1} s, then {how}"
        );
        print!("    {filled}");
        print!("    {}", child("--open", &path, how));
    }
}

fn child(what: &str, path: &Path, how: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([what, path.to_str().unwrap(), how])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Items a second that one thread gathers, appends, syncs and answers.
fn bare(path: &Path) -> f64 {
    let mut file = std::fs::File::create(path).unwrap();
    let (sender, mut receiver) = mpsc::channel::<(Vec<u8>, oneshot::Sender<()>)>(1024);
    let thread = std::thread::spawn(move || {
        let (mut group, mut answers) = (Vec::new(), Vec::new());
        while let Some(first) = receiver.blocking_recv() {
            let mut next = Some(first);
            while let Some((payload, answer)) = next {
                group.extend_from_slice(&payload);
                answers.push(answer);
                next = receiver.try_recv().ok();
            }
            file.write_all(&group).unwrap();
            file.sync_data().unwrap();
            group.clear();
            answers
                .drain(..)
                .for_each(|answer: oneshot::Sender<()>| answer.send(()).unwrap());
        }
    });
    let runtime = runtime();
    let started = Instant::now();
    let items: u64 = runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..PRODUCERS {
            let sender = sender.clone();
            tasks.spawn(async move {
                let mut items = 0;
                while started.elapsed() < RUN {
                    let (answer, answered) = oneshot::channel();
                    sender.send((vec![b'x'; PAYLOAD], answer)).await.unwrap();
                    answered.await.unwrap();
                    items += 1;
                }
                items
            });
        }
        tasks.join_all().await.into_iter().sum()
    });
    let rate = items as f64 / started.elapsed().as_secs_f64();
    drop(sender);
    thread.join().unwrap();
    rate
}

/// Events accepted and delivered a second, and the bytes on disk for each. Pipelined: a producer does not wait
/// for the delivery of its last event before it sends the next, as no client of the daemon does.
fn cycles(path: &Path, pipelined: bool) -> (f64, f64) {
    let Opened {
        writer,
        reader,
        handle,
        ..
    } = store::open(options(path), Metrics::new()).unwrap();
    let runtime = runtime();
    runtime.block_on(register(&writer, PRODUCERS as u128));
    let started = Instant::now();
    let cycles: u64 = runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for producer in 0..PRODUCERS {
            tasks.spawn(produce(
                writer.clone(),
                WebhookId(producer as u128),
                started,
                pipelined,
            ));
        }
        tasks.join_all().await.into_iter().sum()
    });
    let rate = cycles as f64 / started.elapsed().as_secs_f64();
    handle.stop().unwrap();
    assert_eq!(pending(&reader), 0);
    let journal = std::fs::read_dir(path.join("journal")).unwrap();
    let bytes: u64 = journal
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    (rate, bytes as f64 / cycles as f64)
}

async fn produce(writer: Writer, webhook: WebhookId, started: Instant, pipelined: bool) -> u64 {
    let mut cycles = 0;
    let mut last = None;
    while started.elapsed() < RUN {
        let accept = writer.accept(new_event(&[webhook]));
        let answer = match last.take() {
            Some(entry) => {
                let (answer, ()) = tokio::join!(accept, deliver(&writer, webhook, entry));
                cycles += 1;
                answer
            }
            None => accept.await,
        };
        let Accepted::New { event, due, .. } = answer.unwrap() else {
            unreachable!("ids are new")
        };
        if pipelined {
            last = Some((event, due));
        } else {
            deliver(&writer, webhook, (event, due)).await;
            cycles += 1;
        }
    }
    if let Some(entry) = last {
        deliver(&writer, webhook, entry).await;
        cycles += 1;
    }
    cycles
}

async fn deliver(writer: &Writer, webhook: WebhookId, (event, due): (Position, SteadyMillis)) {
    let entry = QueueEntry {
        due,
        event,
        attempts: 0,
        run_attempts: 0,
        trigger: Trigger::Schedule,
        not_before: SteadyMillis(0),
    };
    let finish = Finish {
        webhook,
        entry,
        attempt: attempt(),
        next: Next::Delivered,
    };
    assert_eq!(writer.finish(finish).await.unwrap(), Written::Done);
}

fn pending(reader: &Reader) -> u64 {
    reader
        .backlog()
        .segments
        .iter()
        .map(|segment| segment.pending)
        .sum()
}

/// Makes a store with a million waiting deliveries, and leaves it cleanly or not.
fn fill(path: &Path, stop: bool) {
    store::durable_sled().unwrap();
    let Opened {
        writer,
        reader,
        handle,
        ..
    } = store::open(options(path), Metrics::new()).unwrap();
    let runtime = runtime();
    runtime.block_on(async {
        register(&writer, WEBHOOKS).await;
        let mut tasks = tokio::task::JoinSet::new();
        for producer in 0..PRODUCERS {
            let writer = writer.clone();
            tasks.spawn(async move {
                for number in (producer..WAITING / FAN_OUT).step_by(PRODUCERS) {
                    let webhooks: Vec<WebhookId> = (0..FAN_OUT as u128)
                        .map(|step| WebhookId(spread((number as u128 * 7 + step * 101) % WEBHOOKS)))
                        .collect();
                    writer.accept(new_event(&webhooks)).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
    });
    println!(
        "filled with {} pending, peak memory {} kB",
        pending(&reader),
        peak_kb()
    );
    std::io::stdout().flush().unwrap();
    if stop {
        handle.stop().unwrap();
    } else {
        std::process::abort();
    }
}

fn open_and_report(path: &Path) {
    store::durable_sled().unwrap();
    let started = Instant::now();
    let opened = store::open(options(path), Metrics::new()).unwrap();
    let opened_in = started.elapsed();
    let webhooks = opened.reader.webhooks();
    let due = webhooks
        .iter()
        .filter(|one| opened.reader.first_due(one.id).unwrap().is_some())
        .count();
    let ready_in = started.elapsed();
    println!(
        "open {} ms, with the first due time of {due} webhooks {} ms (goal 1000), peak memory {} kB (goal 131072), {} replayed, {} pending",
        opened_in.as_millis(),
        ready_in.as_millis(),
        peak_kb(),
        opened.report.replayed,
        pending(&opened.reader),
    );
}

fn peak_kb() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
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
fn spread(number: u128) -> u128 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

async fn register(writer: &Writer, count: u128) {
    for number in 0..count {
        let id = WebhookId(if count == WEBHOOKS {
            spread(number)
        } else {
            number
        });
        let webhook = Webhook {
            id,
            account: AccountName::new("acme").unwrap(),
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
        };
        assert_eq!(
            writer.put_webhook(webhook, None).await.unwrap(),
            Written::Done
        );
    }
}

fn new_event(webhooks: &[WebhookId]) -> NewEvent {
    let event = Event {
        account: AccountName::new("acme").unwrap(),
        id: EventId::generate(),
        event_type: "pipeline.run.completed".to_owned(),
        created_at: UnixMicros(1_700_000_000_000_000),
        received_at: UnixMillis(1_700_000_000_000),
        data: "x".repeat(PAYLOAD),
        metadata: None,
        scope: None,
        warning: None,
        trace: None,
    };
    NewEvent {
        event: Arc::new(event),
        client_id: true,
        with_time: false,
        webhooks: webhooks.to_vec(),
    }
}

fn attempt() -> Attempt {
    Attempt {
        number: 1,
        trigger: Trigger::Schedule,
        started_at: UnixMillis(1_700_000_000_000),
        outcome: Outcome::Status(200),
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
