//! Damaged files under the real daemon: it starts, sends what it can, ends on record what it cannot, and where
//! sled turns out to be damaged while it works, it ends with 1 and the next start heals it.
//!
//! `HOOKWHEEL_FLIPS_DAEMON` sets the number of rounds with random damage (2 by default), `HOOKWHEEL_SEED` the
//! first round's seed, which is printed. The many rounds are those of the store's own test, in one process.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use hookwheel::metrics::Metrics;
use hookwheel::model::{
    AccountName, Clock, Endpoint, Event, EventId, Secret, UnixMicros, UnixMillis, Webhook,
    WebhookId,
};
use hookwheel::store::{self, NewEvent, Options, Written};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Site, delivery_in, get, post, registered, rounds, until};
use crate::web::{Web, header};

fn files(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut waiting) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.metadata().unwrap().len() > 0 {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Finds `what` in a file.
fn find(file: &Path, what: &[u8]) -> usize {
    let bytes = std::fs::read(file).unwrap();
    let mut windows = bytes.windows(what.len());
    windows.position(|window| window == what).unwrap()
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

async fn metric(client: &mut Client, name: &str) -> Option<f64> {
    let text = get(client, "/metrics").await.body;
    let text = text.as_str().map(str::to_owned).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
    lines.find_map(|rest| rest.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_whose_event_is_damaged_ends_on_record_and_the_others_arrive() {
    let site = Site::new(&["standard"]);
    // The receiver is away until the damage is done.
    let web = Web::start(&site.authority, |_| 200).await;
    let receiver = web.address();
    web.stop().await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body =
        json!({ "url": format!("https://{receiver}/"), "retry": { "delays": ["1s", "1s", "1s"] } });
    let webhook = registered(&mut client, body).await;
    let mut events = Vec::new();
    for number in 0..5 {
        events.push(
            post(
                &mut client,
                "a",
                json!({ "mark": format!("mark-{number}") }),
            )
            .await,
        );
    }
    // Each has an attempt on record, so the journal tells of all five though one's event is lost.
    for event in &events {
        until("each has been attempted", async || {
            let path = format!("/api/v1/webhooks/{webhook}/deliveries/{event}");
            let shown = client.call(Method::GET, &path, None).await.ok()?.body;
            (!shown["attempts"].as_array()?.is_empty()).then_some(())
        })
        .await;
    }
    daemon.kill();
    let log = site.path("data/journal/0000000001.log");
    flip(&log, find(&log, b"mark-2"));

    let web = Web::start_at(receiver, &site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let damaged = events.remove(2);
    for event in &events {
        delivery_in(&mut client, &webhook, event, "delivered").await;
    }
    until("the damaged one has ended", async || {
        let name = "hookwheel_deliveries_ended_total{state=\"unreadable\"}";
        (metric(&mut client, name).await == Some(1.0)).then_some(())
    })
    .await;
    assert_eq!(metric(&mut client, "hookwheel_set_aside").await, Some(1.0));
    assert_eq!(
        std::fs::read_dir(site.path("data/journal/set-aside"))
            .unwrap()
            .count(),
        1
    );
    let oldest = metric(&mut client, "hookwheel_oldest_due_seconds").await;
    assert_eq!(oldest, Some(0.0), "nothing waits any more");
    assert_eq!(web.stop().await.len(), events.len());
    let log = daemon.log();
    assert!(log.contains("unreadable bytes set aside"));
    assert!(log.contains("\"reason\":\"unreadable\""));
    assert!(!events.contains(&damaged));
    assert!(daemon.terminate().success());
}

const WEBHOOKS: u128 = 20;
const EACH: u64 = 400;

fn options(path: &Path) -> Options {
    Options {
        path: path.to_owned(),
        segment_bytes_max: 64 << 20,
        segment_age_max_ms: u64::MAX,
        cache_bytes: 1 << 20,
        commit_queue_max: 1024,
        retention_age_ms: u64::MAX,
        retention_bytes: u64::MAX,
        disk_reserve_bytes: 0,
    }
}

/// A store in which so many deliveries wait for webhooks that are not active that sled needs many pages.
async fn fill(path: &Path) {
    let opened = store::open(options(path), Metrics::new()).unwrap();
    let account = AccountName::new("standard").unwrap();
    for number in 1..=WEBHOOKS {
        let webhook = webhook(WebhookId(number), account.clone());
        let put = opened.writer.put_webhook(webhook, None);
        assert_eq!(put.await.unwrap(), Written::Done);
    }
    for number in 0..EACH {
        let event = Event {
            account: account.clone(),
            id: EventId::generate(),
            event_type: "a".to_owned(),
            created_at: UnixMicros(1_700_000_000_000_000),
            received_at: UnixMillis(1_700_000_000_000),
            data: number.to_string(),
            metadata: None,
            scope: None,
            warning: None,
            trace: None,
        };
        let new = NewEvent {
            event: Arc::new(event),
            client_id: true,
            with_time: false,
            webhooks: (1..=WEBHOOKS).map(WebhookId).collect(),
        };
        opened.writer.accept(new).await.unwrap();
    }
    opened.handle.stop().unwrap();
}

fn webhook(id: WebhookId, account: AccountName) -> Webhook {
    Webhook {
        id,
        account,
        version: 1,
        url: Endpoint::parse("https://127.0.0.1:1/").unwrap(),
        events: Vec::new(),
        scope: None,
        name: None,
        description: None,
        secret: Some(Secret::new(
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned(),
        )),
        staged_secret: None,
        old_secret: None,
        format: None,
        filter: None,
        headers: Vec::new(),
        timeout_ms: None,
        retry: None,
        active: false,
        inactive: None,
        created_at: UnixMillis(1),
        order: hookwheel::model::Order::None,
        tls: None,
        oauth2: None,
        declared: None,
        updated_at: UnixMillis(1),
    }
}

/// Garbles all of sled's file, in its place, as a disk may that fails at work.
fn garble(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x5a);
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
}

/// sled checks what it reads at its start, so damage that is there by then is met by then. This is damage that
/// comes later: it is met when a page is read that is not in memory.
#[tokio::test(flavor = "multi_thread")]
async fn sled_that_is_damaged_at_work_ends_the_process_and_is_healed_by_the_next_start() {
    let site = Site::new(&["standard"]);
    let data = site.path("data");
    fill(&data).await;
    let mut daemon = site.start();
    garble(&data.join("registry/db"));
    let mut client = daemon.client("standard");
    // What waits for a webhook that is removed is cancelled, and for that it is read.
    let mut removed = 0;
    for number in 1..=WEBHOOKS {
        let path = format!("/api/v1/webhooks/{}", WebhookId(number));
        let Ok(answer) = client.call(Method::DELETE, &path, None).await else {
            break;
        };
        removed += u128::from(answer.status == 204);
    }
    until("it has ended", async || daemon.has_ended()).await;
    assert_eq!(daemon.ended().code(), Some(1), "{}", daemon.log());
    assert!(daemon.log().contains("the registry is damaged"));
    assert!(site.path("data/registry.suspect").exists());

    let daemon = site.start();
    assert!(site.path("data/registry.broken-1").is_dir());
    assert!(!site.path("data/registry.suspect").exists());
    let mut client = daemon.client("standard");
    let events = get(&mut client, "/api/v1/events?limit=1").await;
    assert_eq!(events.status, 200, "{}", events.body);
    assert!(daemon.terminate().success());
    // Nothing of the webhooks that were not removed is lost.
    let opened = store::open(options(&data), Metrics::new()).unwrap();
    let webhooks = opened.reader.webhooks();
    assert!(webhooks.len() as u128 + removed + 1 >= WEBHOOKS);
    for webhook in webhooks {
        let pending = opened.reader.pending_count(webhook.id);
        assert_eq!(pending as u64, EACH, "{}", webhook.id);
    }
}

/// All that is acknowledged arrives, whatever becomes of sled's files and the indexes: both are made from the
/// journal.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_arrives_whatever_becomes_of_what_is_made_from_the_journal() {
    let rounds = rounds("HOOKWHEEL_FLIPS_DAEMON", 2);
    let now = u64::try_from(Clock::system().wall_micros().0).unwrap();
    let seed = crate::support::rounds("HOOKWHEEL_SEED", now);
    println!("HOOKWHEEL_SEED={seed} HOOKWHEEL_FLIPS_DAEMON={rounds}");
    for round in 0..rounds {
        one_round(seed.wrapping_add(round)).await;
    }
}

async fn one_round(seed: u64) {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let receiver = web.address();
    web.stop().await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": format!("https://{receiver}/"), "retry": { "delays": ["1s", "2s", "4s", "8s", "16s", "30s"] } });
    registered(&mut client, body).await;
    let mut acknowledged = BTreeSet::new();
    for _ in 0..3 {
        let batch: Vec<Value> = (0..40)
            .map(|n| json!({ "type": "a", "data": { "n": n } }))
            .collect();
        let answer = client
            .call(Method::POST, "/api/v1/events/batch", Some(&json!(batch)))
            .await
            .unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
        let results = answer.body["data"]
            .as_array()
            .or(answer.body["results"].as_array());
        let results = results.unwrap_or_else(|| panic!("{}", answer.body));
        acknowledged.extend(
            results
                .iter()
                .map(|one| one["id"].as_str().unwrap().to_owned()),
        );
    }
    // The overlay has gone to sled by then, or not.
    tokio::time::sleep(Duration::from_millis(seed % 400)).await;
    daemon.kill();
    let targets: Vec<PathBuf> = files(&site.path("data/registry"));
    let mut random = seed;
    for _ in 0..3 {
        random = random
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        let mixed = usize::try_from(random >> 33).unwrap();
        let file = &targets[mixed % targets.len()];
        let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
        flip(file, (mixed / targets.len()) % length);
    }
    let web = Web::start_at(receiver, &site.authority, |_| 200).await;
    let mut daemon = site.start();
    let mut arrived = BTreeSet::new();
    until(&format!("all arrive, HOOKWHEEL_SEED={seed}"), async || {
        // Where it met damage at work it has ended, as it should; then it is started again, once.
        if daemon.has_ended().is_some() {
            assert_eq!(daemon.ended().code(), Some(1), "{}", daemon.log());
            assert!(site.path("data/registry.suspect").exists());
            daemon = site.start();
        }
        (web.count() >= acknowledged.len()).then_some(())
    })
    .await;
    assert!(daemon.terminate().success());
    for request in web.stop().await {
        arrived.insert(header(&request, "webhook-id"));
    }
    assert!(acknowledged.is_subset(&arrived), "HOOKWHEEL_SEED={seed}");
}
