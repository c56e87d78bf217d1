//! Replay and re-match: jobs of the real daemon, over what a real receiver refused or never saw.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::Client;
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Site, delivery, delivery_in, get, post, post_all, registered, until};
use crate::web::{Web, header};

mod edges;
mod full;

/// Posts a body and gives status and answer.
async fn call(client: &mut Client, path: &str, body: &Value) -> (u16, Value) {
    let answer = client.call(Method::POST, path, Some(body)).await.unwrap();
    (answer.status.as_u16(), answer.body)
}

/// Starts a job; gives its id.
async fn start(client: &mut Client, path: &str, body: &Value) -> String {
    let (status, job) = call(client, path, body).await;
    assert_eq!(status, 202, "{job}");
    assert_eq!(job["state"], "running");
    job["id"].as_str().unwrap().to_owned()
}

fn replay_of(webhook: &str) -> String {
    format!("/api/v1/webhooks/{webhook}/replay")
}

async fn job(client: &mut Client, id: &str) -> Value {
    let answer = get(client, &format!("/api/v1/jobs/{id}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

async fn turn(client: &mut Client, id: &str, verb: &str) -> (u16, Value) {
    call(client, &format!("/api/v1/jobs/{id}/{verb}"), &json!({})).await
}

fn queued(job: &Value) -> u64 {
    job["progress"]["queued"].as_u64().unwrap()
}

async fn ended(client: &mut Client, id: &str, state: &str) -> Value {
    until(&format!("{id} is {state}"), async || {
        let shown = job(client, id).await;
        (shown["state"] == state).then_some(shown)
    })
    .await
}

/// Posts `count` events of a type as batches; gives their ids.
async fn post_many(client: &mut Client, event_type: &str, count: usize) -> Vec<String> {
    let data = (0..count).map(|number| json!({ "number": number }));
    post_all(client, event_type, data).await
}

/// How many rows a list of deliveries has, all its pages together.
async fn listed(client: &mut Client, webhook: &str, query: &str) -> usize {
    let (mut count, mut cursor) = (0, String::new());
    loop {
        let path = format!("/api/v1/webhooks/{webhook}/deliveries?limit=200{query}{cursor}");
        let page = get(client, &path).await.body;
        count += page["data"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return count,
        }
    }
}

async fn all_in(client: &mut Client, webhook: &str, count: usize, state: &str) {
    until(&format!("{count} are {state}"), async || {
        let found = listed(client, webhook, &format!("&state={state}")).await;
        (found == count).then_some(())
    })
    .await;
}

async fn counted(client: &mut Client, path: &str, mut body: Value) -> usize {
    body["dry_run"] = json!(true);
    let (status, answer) = call(client, path, &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["dry_run"], &answer["complete"]),
        (&json!(true), &json!(true))
    );
    usize::try_from(answer["matched"].as_u64().unwrap()).unwrap()
}

/// A receiver that refuses everything while the flag is up.
async fn moody(site: &Site) -> (Web, Arc<AtomicBool>) {
    let broken = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&broken);
    let web = Web::start(&site.authority, move |_| {
        if seen.load(Ordering::Relaxed) {
            500
        } else {
            200
        }
    })
    .await;
    (web, broken)
}

fn triggers(delivery: &Value) -> Vec<&str> {
    let attempts = delivery["attempts"].as_array().unwrap().iter();
    attempts
        .map(|one| one["trigger"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_sent_again_once_its_receiver_is_mended() {
    let site = Site::new(&["standard"]);
    let (web, broken) = moody(&site).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "retry": { "delays": [] } });
    let webhook = registered(&mut client, body).await;
    let fine = post_many(&mut client, "a", 6).await;
    all_in(&mut client, &webhook, 6, "delivered").await;
    broken.store(true, Ordering::Relaxed);
    let mut failed = post_many(&mut client, "a", 10).await;
    all_in(&mut client, &webhook, 10, "failed").await;
    let middle = get(&mut client, &format!("/api/v1/events/{}", failed[9]))
        .await
        .body["created_at"]
        .clone();
    let others = post_many(&mut client, "b", 7).await;
    all_in(&mut client, &webhook, 17, "failed").await;
    failed.extend(others);

    // What a dry run counts is what the list shows.
    let path = replay_of(&webhook);
    let until_middle = format!("&until={}", middle.as_str().unwrap());
    for (body, query) in [
        (json!({}), "&state=failed"),
        (json!({ "states": ["failed", "expired"] }), "&state=failed"),
        (json!({ "states": ["delivered"] }), "&state=delivered"),
        (json!({ "states": ["delivered", "failed"] }), ""),
        (json!({ "types": ["b"] }), "&state=failed&type=b"),
        (json!({ "types": ["c"] }), "&type=c"),
        (
            json!({ "until": middle, "states": ["failed", "delivered"] }),
            until_middle.as_str(),
        ),
    ] {
        let (matched, list) = (
            counted(&mut client, &path, body.clone()).await,
            listed(&mut client, &webhook, query).await,
        );
        assert_eq!(matched, list, "{body}");
    }
    assert_eq!(
        counted(&mut client, &path, json!({ "until": middle })).await,
        10
    );

    broken.store(false, Ordering::Relaxed);
    let id = start(&mut client, &path, &json!({ "per_second": 1000 })).await;
    let done = ended(&mut client, &id, "done").await;
    check_mended(&mut client, &webhook, &done, &fine, &failed).await;
    assert_eq!(web.count(), 6 + 17 + 17);
    let log = daemon.log();
    assert!(
        log.contains("job started") && log.contains("job done"),
        "{log}"
    );
}

/// What had failed has arrived by one more attempt, and what had not was let be.
async fn check_mended(
    client: &mut Client,
    webhook: &str,
    done: &Value,
    fine: &[String],
    failed: &[String],
) {
    let progress = json!({ "matched": 17, "queued": 17, "skipped": 0, "share": 1.0 });
    assert_eq!(done["progress"], progress, "{done}");
    assert_eq!(
        done["filter"]["states"],
        json!(["failed", "cancelled", "dropped", "expired"])
    );
    assert!(done["ended_at"].is_string());
    for event in failed {
        let shown = delivery_in(client, webhook, event, "delivered").await;
        assert_eq!(triggers(&shown), ["schedule", "replay"], "{shown}");
    }
    for event in fine {
        let shown = delivery(client, webhook, event).await;
        assert_eq!(triggers(&shown), ["schedule"], "{shown}");
    }
    let lines = [
        "hookwheel_deliveries_queued_by_jobs_total 17",
        "hookwheel_jobs_running 0",
    ];
    until("the metrics say so", async || {
        let metrics = get(client, "/metrics").await.body;
        let metrics = metrics.as_str().unwrap();
        let there = |line: &&str| metrics.lines().any(|found| found == *line);
        lines.iter().all(there).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deliveries_of_one_webhook_go_to_another() {
    let site = Site::new(&["standard"]);
    let (web, broken) = moody(&site).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    broken.store(true, Ordering::Relaxed);
    let old = json!({ "url": web.url("/old"), "retry": { "delays": [] } });
    let old = registered(&mut client, old).await;
    let events = post_many(&mut client, "a", 9).await;
    all_in(&mut client, &old, 9, "failed").await;
    broken.store(false, Ordering::Relaxed);
    let new = json!({ "url": web.url("/new"), "events": ["never.posted"] });
    let new = registered(&mut client, new).await;
    assert_eq!(listed(&mut client, &new, "").await, 0);

    let body = json!({ "to": new, "per_second": 500 });
    let id = start(&mut client, &replay_of(&old), &body).await;
    let done = ended(&mut client, &id, "done").await;
    assert_eq!((&done["webhook"], &done["to"]), (&json!(old), &json!(new)));
    assert_eq!(queued(&done), 9);
    all_in(&mut client, &new, 9, "delivered").await;
    for event in &events {
        let shown = delivery(&mut client, &new, event).await;
        assert_eq!(triggers(&shown), ["replay"]);
        let shown = get(&mut client, &format!("/api/v1/events/{event}"))
            .await
            .body;
        let states: HashMap<&str, &str> = shown["deliveries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                (
                    row["webhook_id"].as_str().unwrap(),
                    row["state"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            states,
            HashMap::from([(&*old, "failed"), (&*new, "delivered")])
        );
    }
    // Those that ended there get a new run; there is one delivery for each event and webhook.
    let id = start(&mut client, &replay_of(&old), &body).await;
    assert_eq!(queued(&ended(&mut client, &id, "done").await), 9);
    for event in &events {
        until("it arrived again", async || {
            let shown = delivery(&mut client, &new, event).await;
            (triggers(&shown) == ["replay", "replay"]).then_some(())
        })
        .await;
    }
    assert_eq!(listed(&mut client, &new, "").await, 9);
    // What waits there is on its way, and is left alone.
    let path = format!("/api/v1/webhooks/{new}");
    let held = client
        .call(Method::PATCH, &path, Some(&json!({ "active": false })))
        .await;
    assert_eq!(held.unwrap().status, 200);
    for skipped in [0, 9] {
        let id = start(&mut client, &replay_of(&old), &body).await;
        let done = ended(&mut client, &id, "done").await;
        assert_eq!(done["progress"]["matched"], 9, "{done}");
        assert_eq!(done["progress"]["skipped"], skipped, "{done}");
    }
    assert_eq!(listed(&mut client, &new, "&state=held").await, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_paused_resumed_and_cancelled() {
    let site = Site::new(&["standard"]);
    let (web, _) = moody(&site).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let slow = registered(
        &mut client,
        json!({ "url": web.url("/slow"), "events": ["a"] }),
    )
    .await;
    let clock = registered(
        &mut client,
        json!({ "url": web.url("/clock"), "events": ["b"] }),
    )
    .await;
    post_many(&mut client, "a", 80).await;
    post_many(&mut client, "b", 80).await;
    all_in(&mut client, &slow, 80, "delivered").await;
    all_in(&mut client, &clock, 80, "delivered").await;
    let body = json!({ "states": ["delivered"], "per_second": 40 });
    let id = start(&mut client, &replay_of(&slow), &body).await;
    until("some are queued", async || {
        (queued(&job(&mut client, &id).await) >= 5).then_some(())
    })
    .await;
    let (status, paused) = turn(&mut client, &id, "pause").await;
    assert_eq!((status, &paused["state"]), (200, &json!("paused")));
    assert_eq!(
        turn(&mut client, &id, "pause").await.0,
        200,
        "twice is no error"
    );
    // Another job goes on, for as long as this one would have queued as much again.
    let body_of_clock = json!({ "states": ["delivered"], "per_second": 200 });
    let other = start(&mut client, &replay_of(&clock), &body_of_clock).await;
    ended(&mut client, &other, "done").await;
    let still = job(&mut client, &id).await;
    assert_eq!(still, paused, "a paused job does nothing");
    let share = still["progress"]["share"].as_f64().unwrap();
    assert!((0.0..1.0).contains(&share), "{share}");
    let left = 80 - queued(&paused);
    let resumed = Instant::now();
    assert_eq!(turn(&mut client, &id, "resume").await.1["state"], "running");
    let done = ended(&mut client, &id, "done").await;
    assert_eq!(queued(&done), 80);
    // At 40 in a second, with a quarter of a second's worth at once at most.
    let least = Duration::from_millis(left * 25).saturating_sub(Duration::from_millis(300));
    assert!(
        resumed.elapsed() >= least,
        "the pause was made up for by a burst"
    );
    until("all have arrived twice", async || {
        (web.count() == 320).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_stays_so_and_what_it_had_queued_is_sent() {
    let site = Site::new(&["standard"]);
    let (web, _) = moody(&site).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let slow = registered(&mut client, json!({ "url": web.url("/") })).await;
    post_many(&mut client, "a", 80).await;
    all_in(&mut client, &slow, 80, "delivered").await;
    let body = json!({ "states": ["delivered"], "per_second": 40 });
    let id = start(&mut client, &replay_of(&slow), &body).await;
    until("some are queued", async || {
        (queued(&job(&mut client, &id).await) >= 5).then_some(())
    })
    .await;
    let (status, cancelled) = turn(&mut client, &id, "cancel").await;
    assert_eq!((status, &cancelled["state"]), (200, &json!("cancelled")));
    assert!(cancelled["ended_at"].is_string());
    let sent = queued(&cancelled);
    assert!(sent < 80);
    for verb in ["resume", "pause", "cancel"] {
        let (status, problem) = turn(&mut client, &id, verb).await;
        assert_eq!(
            (status, &problem["code"]),
            (409, &json!("job_ended")),
            "{verb}"
        );
    }
    // What it had queued is sent all the same.
    let all = 80 + usize::try_from(sent).unwrap();
    until("what was queued is sent", async || {
        (web.count() == all).then_some(())
    })
    .await;
    assert_eq!(job(&mut client, &id).await, cancelled);
    assert_eq!(turn(&mut client, &id, "repeat").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_after_kill_9_and_queues_each_delivery_once() {
    let site = Site::new(&["standard"]);
    let (web, _) = moody(&site).await;
    let mut daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, json!({ "url": web.url("/") })).await;
    let events = post_many(&mut client, "a", 400).await;
    all_in(&mut client, &webhook, 400, "delivered").await;
    let body = json!({ "states": ["delivered"], "per_second": 300 });
    let id = start(&mut client, &replay_of(&webhook), &body).await;
    let mut before = 0;
    // The last kill comes well before the end, at whatever speed this machine asks.
    for least in [60, 200] {
        before = until("it is in the middle", async || {
            let queued = queued(&job(&mut client, &id).await);
            (queued >= least).then_some(queued)
        })
        .await;
        daemon.kill();
        daemon = site.start();
        client = daemon.client("standard");
        let after = job(&mut client, &id).await;
        assert!(queued(&after) >= before, "what was queued stays so");
        until("it goes on", async || {
            (daemon.log().contains("job goes on")).then_some(())
        })
        .await;
    }
    assert!(before < 400, "the kill came in the middle");
    let done = ended(&mut client, &id, "done").await;
    let progress = json!({ "matched": 400, "queued": 400, "skipped": 0, "share": 1.0 });
    assert_eq!(done["progress"], progress);
    for event in &events {
        let shown = until("it has its second attempt", async || {
            let shown = delivery(&mut client, &webhook, event).await;
            (shown["state"] == "delivered" && triggers(&shown).len() >= 2).then_some(shown)
        })
        .await;
        assert_eq!(triggers(&shown), ["schedule", "replay"], "{shown}");
    }
    let mut arrived: HashMap<String, usize> = HashMap::new();
    for request in web.stop().await {
        *arrived.entry(header(&request, "webhook-id")).or_default() += 1;
    }
    for event in &events {
        let times = arrived.get(event).copied().unwrap_or(0);
        // Once more for each kill at most: what was in flight is made again.
        assert!((2..=4).contains(&times), "{event} arrived {times} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_kept_from_the_first_to_the_last() {
    let site = Site::new(&["standard"]);
    let (web, _) = moody(&site).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, json!({ "url": web.url("/") })).await;
    post_many(&mut client, "a", 300).await;
    all_in(&mut client, &webhook, 300, "delivered").await;
    let body = json!({ "states": ["delivered"], "per_second": 200 });
    let started = Instant::now();
    let id = start(&mut client, &replay_of(&webhook), &body).await;
    let mut last = 0;
    until("all are queued", async || {
        let queued = queued(&job(&mut client, &id).await);
        // Never ahead of the rate, but for what may have waited for a slow disk.
        let most = 200.0 * started.elapsed().as_secs_f64() + 51.0;
        assert!(
            queued as f64 <= most,
            "{queued} after {:?}",
            started.elapsed()
        );
        last = queued;
        (queued == 300).then_some(())
    })
    .await;
    assert!(
        started.elapsed() >= Duration::from_millis(1_400),
        "{:?}",
        started.elapsed()
    );
    until("all have arrived", async || {
        (web.count() == 600).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_target_is_removed_ends_by_itself() {
    let site = Site::new(&["standard"]);
    let (web, _) = moody(&site).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let source = registered(&mut client, json!({ "url": web.url("/"), "events": ["a"] })).await;
    let target = registered(&mut client, json!({ "url": web.url("/"), "events": ["b"] })).await;
    post_many(&mut client, "a", 50).await;
    all_in(&mut client, &source, 50, "delivered").await;
    let body = json!({ "states": ["delivered"], "to": target, "per_second": 20 });
    let id = start(&mut client, &replay_of(&source), &body).await;
    until("some are queued", async || {
        (queued(&job(&mut client, &id).await) >= 2).then_some(())
    })
    .await;
    let removed = client
        .call(Method::DELETE, &format!("/api/v1/webhooks/{target}"), None)
        .await;
    assert_eq!(removed.unwrap().status, 204);
    let cancelled = ended(&mut client, &id, "cancelled").await;
    assert!(queued(&cancelled) < 50, "{cancelled}");
    until("the log says why", async || {
        daemon.log().contains("has been removed").then_some(())
    })
    .await;
    // The source is untouched, and what is new still arrives there.
    let event = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &source, &event, "delivered").await;
}
