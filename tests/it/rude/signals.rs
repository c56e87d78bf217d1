//! Signals at the wrong moment: a stop under load, reloads in a row, a stop that is asked for twice, and a
//! store that fails in the middle of it all.

use std::time::Duration;

use crate::client::Client;
use hookwheel::receiver::Answer;
use http::Method;
use rustix::process::Signal;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::support::{Daemon, Site, delivery_in, get, post, registered, until};
use crate::web::{ANY, Web, header};

/// Posts until the daemon is gone; gives the events that were answered 202. Any other answer must be a clean
/// one that says that the daemon stops.
async fn post_until_stopped(mut client: Client) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0..100_000 {
        let body = json!({ "type": "a", "data": { "number": number } });
        match client
            .call(Method::POST, "/api/v1/events", Some(&body))
            .await
        {
            Ok(answer) if answer.status == 202 => {
                acknowledged.push(answer.body["id"].as_str().unwrap().to_owned());
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.body);
                assert_eq!(answer.body["code"], "stopping", "{}", answer.body);
            }
            Err(_) => break,
        }
    }
    acknowledged
}

/// Every one of these events arrives at the receiver, once.
async fn check_arrived(daemon: &Daemon, web: Web, webhook: &str, events: &[String]) {
    let mut client = daemon.client("standard");
    for event in events {
        delivery_in(&mut client, webhook, event, "delivered").await;
    }
    let mut seen: Vec<String> = web
        .stop()
        .await
        .iter()
        .map(|request| header(request, "webhook-id"))
        .collect();
    let requests = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), requests, "an event was sent twice");
    for event in events {
        assert!(seen.binary_search(event).is_ok(), "{event} did not arrive");
    }
}

async fn posters(daemon: &Daemon) -> Vec<tokio::task::JoinHandle<Vec<String>>> {
    let tasks = TaskTracker::new();
    (0..8)
        .map(|_| tasks.spawn(post_until_stopped(daemon.client("standard"))))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_keeps_what_it_acknowledged() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, json!({ "url": web.url("/") })).await;
    let posting = posters(&daemon).await;
    until("deliveries are under way", async || {
        (web.count() >= 50).then_some(())
    })
    .await;
    let status = daemon.terminate();
    assert_eq!(status.code(), Some(0));
    let mut acknowledged = Vec::new();
    for poster in posting {
        acknowledged.extend(poster.await.unwrap());
    }
    assert!(acknowledged.len() >= 50);
    let daemon = site.start();
    check_arrived(&daemon, web, &webhook, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_reloads_under_load_lose_nothing() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, json!({ "url": web.url("/") })).await;
    let posting = posters(&daemon).await;
    for _ in 0..100 {
        daemon.signal(Signal::HUP);
        assert_eq!(get(&mut client, "/api/v1/webhooks").await.status, 200);
    }
    let last = post(&mut client, "a", json!("last")).await;
    delivery_in(&mut client, &webhook, &last, "delivered").await;
    until("the log says so", async || {
        daemon.log().contains("were read again").then_some(())
    })
    .await;
    assert!(daemon.terminate().success());
    let mut acknowledged = vec![last];
    for poster in posting {
        acknowledged.extend(poster.await.unwrap());
    }
    let daemon = site.start();
    check_arrived(&daemon, web, &webhook, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_twice_or_by_the_keyboard_it_stops_as_well() {
    let site = Site::new(&["standard"]);
    for signals in [vec![Signal::TERM; 3], vec![Signal::INT, Signal::HUP]] {
        let web = Web::start_slow(&site.authority, Duration::from_millis(500)).await;
        let mut daemon = site.start();
        let mut client = daemon.client("standard");
        let webhook = registered(&mut client, json!({ "url": web.url("/") })).await;
        post(&mut client, "a", json!({})).await;
        until("an attempt is under way", async || {
            (web.count() > 0).then_some(())
        })
        .await;
        for signal in signals {
            daemon.signal(signal);
        }
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.ended().code(), Some(0));
        let told = daemon.log().matches("no new attempts").count();
        assert_eq!(told, 1, "a stop that is asked for again is none anew");
        // The attempt was let end, and recorded.
        let daemon = site.start();
        let mut client = daemon.client("standard");
        let path = format!("/api/v1/webhooks/{webhook}/deliveries?state=delivered");
        let delivered = get(&mut client, &path).await;
        assert_eq!(
            delivered.body["data"].as_array().unwrap().len(),
            1,
            "{}",
            delivered.body
        );
        let gone = client
            .call(Method::DELETE, &format!("/api/v1/webhooks/{webhook}"), None)
            .await
            .unwrap();
        assert_eq!(gone.status, 204);
        assert!(daemon.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_grace_period_is_the_end() {
    let site = Site::new(&["standard"]).with("[delivery]\nstop_grace = \"1s\"\n");
    let web = Web::start_with(ANY, &site.authority, |_| Answer::hang(), Duration::ZERO).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(
        &mut client,
        json!({ "url": web.url("/"), "timeout": "60s" }),
    )
    .await;
    let event = post(&mut client, "a", json!({})).await;
    until("the attempt hangs", async || {
        (web.count() == 1).then_some(())
    })
    .await;
    // Neither a test event that hangs nor a client that has not finished holds it up.
    let testing = {
        let (mut client, path) = (
            daemon.client("standard"),
            format!("/api/v1/webhooks/{webhook}/test"),
        );
        TaskTracker::new()
            .spawn(async move { client.call(Method::POST, &path, None).await.is_ok() })
    };
    until("the test event hangs", async || {
        (web.count() == 2).then_some(())
    })
    .await;
    let mut half = TcpStream::connect(daemon.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut half, b"POST /api/v1/ev")
        .await
        .unwrap();
    let start = Instant::now();
    assert_eq!(daemon.terminate().code(), Some(0));
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(900),
        "cut off before its time: {took:?}"
    );
    assert!(
        took < Duration::from_secs(15),
        "held up by its receivers: {took:?}"
    );
    assert!(!testing.await.unwrap());
    let mut nothing = Vec::new();
    let _end = half.read_to_end(&mut nothing).await;
    assert!(nothing.is_empty());

    let daemon = site.start();
    let shown = crate::support::delivery(&mut daemon.client("standard"), &webhook, &event).await;
    assert_eq!(
        shown["attempts"],
        json!([]),
        "an attempt that was cut off is none"
    );
    assert_ne!(shown["state"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_ends_the_process_at_once() {
    let site = Site::new(&["standard"]);
    let config = site.config(true).replace(
        "path = \"data\"",
        "path = \"data\"\nsegment_size = \"1MiB\"",
    );
    let web = Web::start_with(ANY, &site.authority, |_| Answer::hang(), Duration::ZERO).await;
    let mut daemon = Daemon::start(&site.path("config.toml"), &config);
    let mut client = daemon.client("standard");
    registered(
        &mut client,
        json!({ "url": web.url("/"), "events": ["first"], "timeout": "60s" }),
    )
    .await;
    let first = post(&mut client, "first", json!({})).await;
    until("the attempt hangs", async || {
        (web.count() == 1).then_some(())
    })
    .await;
    // The next segment can be made no more.
    let (journal, aside) = (site.path("data/journal"), site.path("data/aside"));
    std::fs::rename(&journal, &aside).unwrap();
    let start = Instant::now();
    let mut acknowledged = vec![first];
    for number in 0..100 {
        let body =
            json!({ "type": "second", "data": { "number": number, "text": "x".repeat(50_000) } });
        match client
            .call(Method::POST, "/api/v1/events", Some(&body))
            .await
        {
            Ok(answer) if answer.status == 202 => {
                acknowledged.push(answer.body["id"].as_str().unwrap().to_owned());
            }
            Ok(answer) => assert_eq!(answer.status, 500, "{}", answer.body),
            Err(_) => break,
        }
    }
    assert!(acknowledged.len() < 100, "the segment was never full");
    assert_eq!(daemon.ended().code(), Some(1));
    let took = start.elapsed();
    assert!(
        took < Duration::from_secs(30),
        "held up by its receivers: {took:?}"
    );
    let log = daemon.log();
    assert!(log.contains("the store failed"), "{log}");

    std::fs::rename(&aside, &journal).unwrap();
    let daemon = Daemon::start(&site.path("config.toml"), &config);
    let mut client = daemon.client("standard");
    for event in &acknowledged {
        let path = format!("/api/v1/events/{event}");
        assert_eq!(
            get(&mut client, &path).await.status,
            200,
            "{event} was acknowledged"
        );
    }
}
