//! Ten thousand slow clients and five hundred rude receivers at once: who behaves is served all the while, and memory
//! stays within the bounds of the config.
//!
//! The usual run is smaller. `HOOKWHEEL_SIEGE_CLIENTS` (1000) sets how many slow clients there are, for a tenth as many
//! places; `HOOKWHEEL_SIEGE_RECEIVERS` (100) how many rude receivers; `HOOKWHEEL_SIEGE_SECONDS` (4) for how long;
//! `HOOKWHEEL_SIEGE_PAUSE_MS` (half a millisecond for each client, so that two thousand come in a second) after what time
//! a client that was closed comes again; `HOOKWHEEL_SIEGE_ADDRESSES` (8) from how many addresses they come. The first of
//! these is the one that the healthy clients have, too. `HOOKWHEEL_SIEGE_WAIT_MS` (5 ms for each slow client, 30,000 at
//! most) is what a healthy client may wait for an answer: a client that comes anew also waits for its turn among those
//! that the system has not handed over yet, and how long that is is the machine's to say.
//! `ulimit -n` has to be above the clients and four times the receivers.

mod rude;
mod slow;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::{Daemon, PATIENCE, Site, get, post, registered, rounds, skip, until};
use crate::web::{Web, header};
use rude::Rude;

/// Healthy clients, each of which posts one event after another.
const HEALTHY: usize = 6;
/// The pause of a healthy client between two events.
const POST_PAUSE: Duration = Duration::from_millis(20);
/// `server.body_memory`, bytes.
const BODY_MEMORY: u64 = 8 << 20;
/// An event is held some times on its way: as text, as an event, as a record of the group being written.
const BODY_COPIES: u64 = 3;
/// `server.answer_memory`, bytes: the least there may be.
const ANSWER_MEMORY: u64 = 32 << 20;
/// Of a page that is being made, and its bytes as they were read; pages are made in so many places.
const PAGE_BYTES: u64 = 2 << 20;
const PAGES_MAX: u64 = 4;
/// Events that make a page large, and the bytes of each.
const LARGE_EVENTS: usize = 40;
const LARGE_BYTES: usize = 16 << 10;
/// The bound of a request's head and read-ahead, and the state of its task.
const CONNECTION_BYTES: u64 = (64 + 32) << 10;
/// Of an attempt: the answer's head (64 KiB), what is kept of its body (`response_body_max`), TLS and its task.
const ATTEMPT_BYTES: u64 = (64 + 16 + 64) << 10;

/// How large a siege is.
#[derive(Clone, Copy, Debug)]
struct Size {
    clients: u64,
    receivers: u64,
    places: u64,
    seconds: u64,
    pause: Duration,
    addresses: u64,
    /// A healthy client waits no longer for its answer, tries again included.
    wait_max: Duration,
}

impl Size {
    fn asked() -> Self {
        let clients = rounds("HOOKWHEEL_SIEGE_CLIENTS", 1_000);
        Self {
            clients,
            receivers: rounds("HOOKWHEEL_SIEGE_RECEIVERS", 100),
            places: (clients / 10).clamp(32, 1024),
            seconds: rounds("HOOKWHEEL_SIEGE_SECONDS", 4),
            pause: Duration::from_millis(rounds("HOOKWHEEL_SIEGE_PAUSE_MS", clients / 2)),
            addresses: rounds("HOOKWHEEL_SIEGE_ADDRESSES", 8).clamp(1, 200),
            wait_max: Duration::from_millis(rounds(
                "HOOKWHEEL_SIEGE_WAIT_MS",
                (clients * 5).clamp(5_000, 30_000),
            )),
        }
    }

    fn in_flight_max(&self) -> u64 {
        self.receivers.max(128)
    }

    /// What the daemon may take beyond its memory at rest, by its config.
    fn bounds(&self) -> u64 {
        self.places * CONNECTION_BYTES
            + BODY_MEMORY * BODY_COPIES
            + ANSWER_MEMORY
            + PAGES_MAX * PAGE_BYTES
            + self.in_flight_max() * ATTEMPT_BYTES
    }

    fn config(&self, site: &Site) -> String {
        let server = format!(
            "[server]\nconnections_max = {}\nbody_memory = \"{}MiB\"\nanswer_memory = \"{}MiB\"\n",
            self.places,
            BODY_MEMORY >> 20,
            ANSWER_MEMORY >> 20
        );
        let delivery = format!(
            "[delivery]\nin_flight_max = {}\n[log]\n",
            self.in_flight_max()
        );
        let text = site.config(true).replacen("[server]\n", &server, 1);
        let text = text.replacen("[log]\n", &delivery, 1);
        text.replace("level = \"debug,", "level = \"info,")
    }
}

/// Whether this process may open so many files; raises its limit as far as needed.
fn may_open(files: u64) -> bool {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= files) {
        return true;
    }
    let wanted = Rlimit {
        current: Some(files),
        maximum,
    };
    maximum.is_none_or(|maximum| maximum >= files) && setrlimit(Resource::Nofile, wanted).is_ok()
}

/// What the healthy clients saw.
#[derive(Debug, Default)]
struct Seen {
    ids: HashSet<String>,
    waits: Vec<Duration>,
    /// Tries that were refused with 503, or whose connection ended without an answer.
    again: usize,
}

impl Seen {
    fn wait_at(&mut self, part: f64) -> Duration {
        self.waits.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list of some thousand"
        )]
        let at = ((self.waits.len() - 1) as f64 * part) as usize;
        self.waits[at]
    }
}

/// Posts one event after another under ids of its own, as a usual client does: what got no answer is sent again.
async fn behave(
    daemon: Arc<Daemon>,
    number: usize,
    stop: CancellationToken,
    seen: Arc<Mutex<Seen>>,
) {
    let mut client = daemon.client("standard");
    let mut count = 0;
    while !stop.is_cancelled() {
        let id = format!("h{number}-{count}");
        let body = json!({ "type": "fine", "id": id, "data": { "n": count } });
        let (start, mut again) = (Instant::now(), 0);
        loop {
            let answer = client.call(Method::POST, "/api/v1/events", Some(&body));
            match answer.await {
                Ok(answer) if answer.status == 202 => break,
                Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.body),
                // The connection was idle and closed just then.
                Err(_) => {}
            }
            again += 1;
            assert!(start.elapsed() < PATIENCE, "{id} was never taken");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut seen = seen.lock().await;
        seen.waits.push(start.elapsed());
        seen.ids.insert(id);
        seen.again += again;
        drop(seen);
        count += 1;
        // Some keep their connection, some come anew for each event.
        if number % 2 == 1 {
            client = daemon.client("standard");
        }
        tokio::time::sleep(POST_PAUSE).await;
    }
}

/// Lets the crowd come, has an event posted for the rude receivers, and the healthy clients at work all the while.
/// Gives the crowd, that event, and what the healthy clients saw.
async fn besiege(daemon: &Arc<Daemon>, size: Size) -> (slow::Crowd, String, Seen) {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let crowd = slow::surround(daemon.address, size, &tasks, &stop);
    until("all places are taken", async || {
        daemon.log().contains("clients are refused").then_some(())
    })
    .await;
    let first = post_through(daemon, "rude").await;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let posters: Vec<_> = (0..HEALTHY)
        .map(|number| {
            let task = behave(Arc::clone(daemon), number, stop.clone(), Arc::clone(&seen));
            tasks.spawn(task)
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(size.seconds)).await;
    stop.cancel();
    for poster in posters {
        poster.await.unwrap();
    }
    tasks.close();
    tasks.wait().await;
    let seen = std::mem::take(&mut *seen.lock().await);
    (crowd, first, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_and_rude_receivers_take_nothing_from_those_that_behave() {
    let size = Size::asked();
    // A receiver has its listener, and the ends of some connections.
    let files = size.clients + size.receivers * 4 + 1_000;
    if !may_open(files) {
        return skip(
            "the siege",
            &format!("this process may not open {files} files (ulimit -n)"),
        );
    }
    let site = Site::new(&["standard"]);
    let daemon = Arc::new(Daemon::start(
        &site.path("config.toml"),
        &size.config(&site),
    ));
    let mut client = daemon.client("standard");
    let rude = Rude::register(&site, &mut client, size.receivers).await;
    let healthy = Web::start(&site.authority, |_| 200).await;
    let body = json!({ "url": healthy.url("/"), "events": ["fine"] });
    registered(&mut client, body).await;
    // What is made at the first use of each part is made now.
    post(&mut client, "fine", json!("first")).await;
    until("the first arrives", async || {
        (healthy.count() == 1).then_some(())
    })
    .await;
    make_lists_large(&mut client).await;
    let idle = daemon.memory("VmRSS");

    let (crowd, first, mut seen) = besiege(&daemon, size).await;
    let peak = daemon.memory("VmHWM");
    until("all that was taken arrives", async || {
        (healthy.count() > seen.ids.len()).then_some(())
    })
    .await;
    let arrived = healthy.stop().await;
    let arrived: HashSet<String> = arrived.iter().map(|r| header(r, "webhook-id")).collect();
    assert!(seen.ids.is_subset(&arrived), "events are missing");
    let mut client = daemon.client("standard");
    rude.check(&mut client, &first).await;
    let (half, most, longest) = (seen.wait_at(0.5), seen.wait_at(0.99), seen.wait_at(1.0));
    println!(
        "siege: {size:?}; {} connections made by slow clients; {} events of healthy ones, all arrived; their wait \
         {half:?} p50, {most:?} p99, {longest:?} at most, {} tries again; memory {} MB idle, {} MB at the peak, \
         {} MB allowed",
        crowd.made(),
        seen.ids.len(),
        seen.again,
        idle >> 20,
        peak >> 20,
        (idle * 3 / 2 + size.bounds()) >> 20,
    );
    assert!(
        crowd.made() >= size.places * 2,
        "the crowd was too small to fill the places"
    );
    // Who is let in only once the crowd goes has waited for as long as it stayed.
    assert!(half < size.wait_max / 2, "healthy clients waited {half:?}");
    assert!(
        longest < size.wait_max,
        "a healthy client waited {longest:?}"
    );
    // Refusals are the exception, however many clients there are.
    assert!(
        seen.again <= seen.ids.len() / 4 + HEALTHY,
        "{} tries again for {} events",
        seen.again,
        seen.ids.len()
    );
    assert!(
        peak <= idle * 3 / 2 + size.bounds(),
        "{peak} bytes at the peak"
    );
    let daemon = Arc::into_inner(daemon).expect("all tasks have ended");
    assert!(daemon.terminate().success());
}

async fn make_lists_large(client: &mut crate::client::Client) {
    for _ in 0..LARGE_EVENTS {
        post(client, "large", json!("x".repeat(LARGE_BYTES))).await;
    }
}

/// Posts an event of a type while the crowd is there; gives its id.
async fn post_through(daemon: &Daemon, event_type: &str) -> String {
    let body = json!({ "type": event_type, "id": event_type, "data": {} });
    until("an event is taken", async || {
        let mut client = daemon.client("standard");
        let answer = client.call(Method::POST, "/api/v1/events", Some(&body));
        (answer.await.ok()?.status == 202).then_some(())
    })
    .await;
    event_type.to_owned()
}

/// The rows of a webhook's log.
async fn log_of(client: &mut crate::client::Client, webhook: &str) -> Vec<Value> {
    let path = format!("/api/v1/webhooks/{webhook}/deliveries");
    let answer = get(client, &path).await;
    answer.body["data"].as_array().unwrap().clone()
}
