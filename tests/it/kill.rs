//! Nothing acknowledged is lost: the daemon is killed while events come in and their receiver is down.
//!
//! `HOOKWHEEL_KILL_ROUNDS` sets the number of rounds (a handful by default; 100 takes some minutes).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::client::Client;
use http::Method;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::support::{Daemon, Site, delivery_in, registered, rounds, until};
use crate::web::{Web, header};

/// Short, so that a round takes seconds; each attempt is at least this much later than the one before.
const DELAYS_MS: [u64; 6] = [100, 200, 400, 800, 1_600, 3_200];

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_event_arrives_after_kill_9() {
    let rounds = rounds("HOOKWHEEL_KILL_ROUNDS", 3);
    let mut totals = (0, 0);
    for round in 0..rounds {
        let (events, attempts) = one_round(round).await;
        totals = (totals.0 + events, totals.1 + attempts);
    }
    println!(
        "{rounds} rounds: {} events acknowledged, 0 lost, {} attempts",
        totals.0, totals.1
    );
}

async fn one_round(round: u64) -> (usize, usize) {
    let site = Site::new(&["standard"]);
    // The receiver's port is known, and nobody listens there yet.
    let web = Web::start(&site.authority, |_| 200).await;
    let receiver = web.address();
    let seen = web.stop().await;
    assert!(seen.is_empty());

    let daemon = site.start();
    let mut client = daemon.client("standard");
    let delays: Vec<String> = DELAYS_MS.iter().map(|ms| format!("{ms}ms")).collect();
    let body = json!({ "url": format!("https://{receiver}/"), "retry": { "delays": delays } });
    let webhook = registered(&mut client, body).await;

    let acknowledged = post_until_killed(daemon, round).await;
    assert!(
        acknowledged.len() >= 10,
        "only {} events were acknowledged",
        acknowledged.len()
    );

    // It also dies while it starts and while it retries.
    let daemon = site.start();
    tokio::time::sleep(Duration::from_millis(50 * (round % 5))).await;
    daemon.kill();

    let daemon = site.start();
    let web = Web::start_at(receiver, &site.authority, |_| 200).await;
    let mut client = daemon.client("standard");
    let mut attempts = 0;
    for event in &acknowledged {
        let shown = delivery_in(&mut client, &webhook, event, "delivered").await;
        attempts += check_schedule(event, &shown);
    }
    let mut counts: HashMap<String, usize> = HashMap::new();
    for request in web.stop().await {
        *counts.entry(header(&request, "webhook-id")).or_default() += 1;
    }
    for event in &acknowledged {
        assert_eq!(
            counts.get(event),
            Some(&1),
            "{event} was acknowledged and must arrive, once"
        );
    }
    assert!(daemon.terminate().success());
    (acknowledged.len(), attempts)
}

/// Posts over several connections until the daemon is killed in the middle of it; gives what was answered 202.
async fn post_until_killed(daemon: Daemon, round: u64) -> Vec<String> {
    let tasks = TaskTracker::new();
    let mut posters = Vec::new();
    let count = Arc::new(AtomicUsize::new(0));
    for _ in 0..4 {
        let client = daemon.client("standard");
        posters.push(tasks.spawn(post_until_refused(client, count.clone())));
    }
    // A busy machine may take longer for these than the instant leaves.
    until("ten events are acknowledged", async || {
        (count.load(Ordering::Relaxed) >= 10).then_some(())
    })
    .await;
    // A different instant in each round, over about a quarter of a second.
    tokio::time::sleep(Duration::from_millis(150 + (round * 37) % 250)).await;
    daemon.kill();
    let mut acknowledged = Vec::new();
    for poster in posters {
        acknowledged.extend(poster.await.unwrap());
    }
    acknowledged
}

async fn post_until_refused(mut client: Client, count: Arc<AtomicUsize>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    // More than fit into the time, so that the kill comes first; fewer than would take minutes to check.
    for number in 0..150 {
        let body = json!({ "type": "user.created", "data": { "number": number } });
        match client
            .call(Method::POST, "/api/v1/events", Some(&body))
            .await
        {
            Ok(answer) => {
                assert_eq!(answer.status, 202, "{}", answer.body);
                acknowledged.push(answer.body["id"].as_str().unwrap().to_owned());
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => break,
        }
        if number > 100 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    acknowledged
}

/// Attempts are numbered without a gap, all but the last failed to connect, and none came earlier than its
/// delay. Returns their number.
fn check_schedule(event: &str, delivery: &Value) -> usize {
    let attempts = delivery["attempts"].as_array().unwrap();
    assert!(
        attempts.len() <= DELAYS_MS.len() + 1,
        "{event} had {} attempts",
        attempts.len()
    );
    let at = |attempt: &Value| -> jiff::Timestamp {
        attempt["started_at"].as_str().unwrap().parse().unwrap()
    };
    for (index, attempt) in attempts.iter().enumerate() {
        assert_eq!(attempt["attempt"], index + 1, "{delivery}");
        let last = index + 1 == attempts.len();
        let expected = if last { "status" } else { "connect" };
        assert_eq!(attempt["outcome"]["kind"], expected, "{delivery}");
        if index > 0 {
            let gap = at(attempt)
                .duration_since(at(&attempts[index - 1]))
                .as_millis();
            let delay = i128::from(DELAYS_MS[index - 1]);
            // Times are cut to whole milliseconds, and the wall clock may be slewed by a little.
            assert!(
                gap >= delay - 3,
                "attempt {} of {event} came {gap} ms after the one before",
                index + 1
            );
        }
    }
    attempts.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_state_stays_after_kill_9() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/") });
    let webhook = registered(&mut client, body).await;
    let mut events = Vec::new();
    for number in 0..20 {
        events.push(
            crate::support::post(&mut client, "user.created", json!({ "number": number })).await,
        );
    }
    for event in &events {
        delivery_in(&mut client, &webhook, event, "delivered").await;
    }
    daemon.kill();
    let daemon = site.start();
    let mut client = daemon.client("standard");
    for event in &events {
        let shown = crate::support::delivery(&mut client, &webhook, event).await;
        assert_eq!(shown["state"], "delivered");
        assert_eq!(shown["attempts"].as_array().unwrap().len(), 1);
    }
    // One more event arrives after all that could be sent again before it.
    let after = crate::support::post(&mut client, "user.created", json!({})).await;
    delivery_in(&mut client, &webhook, &after, "delivered").await;
    assert_eq!(
        web.stop().await.len(),
        events.len() + 1,
        "nothing that was delivered is sent again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_attempts_under_way_end_and_leaves_the_rest_waiting() {
    let site = Site::new(&["standard"])
        .with("[delivery]\nin_flight_per_webhook_max = 1\nin_flight_max = 8\n");
    let web = Web::start_slow(&site.authority, Duration::from_millis(700)).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/") });
    let webhook = registered(&mut client, body).await;
    let mut events = Vec::new();
    for number in 0..5 {
        events.push(
            crate::support::post(&mut client, "user.created", json!({ "number": number })).await,
        );
    }
    until("the first request is under way", async || {
        (web.count() == 1).then_some(())
    })
    .await;
    let status = daemon.terminate();
    assert_eq!(status.code(), Some(0));
    let sent = web.count();
    assert!(sent < events.len(), "a stop grants no new attempts");

    let daemon = site.start();
    let mut client = daemon.client("standard");
    for (index, event) in events.iter().enumerate() {
        let shown = delivery_in(&mut client, &webhook, event, "delivered").await;
        let attempts = shown["attempts"].as_array().unwrap().len();
        assert_eq!(attempts, 1, "event {index} was cut off and counted");
    }
    assert_eq!(
        web.stop().await.len(),
        events.len(),
        "what ended during the stop was recorded"
    );
}
