//! How fast a receiver is sent to that was not there, or that was not to be sent to for a while.

use std::time::Duration;

use crate::client::Client;
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Site, delivery_in, get, post_all, registered, until};
use crate::web::Web;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_flows_at_a_bounded_rate() {
    let site = Site::new(&["standard"]).with("[delivery]\nresume_per_second = 50\n");
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let id = registered(&mut client, json!({ "url": web.url("/"), "active": false })).await;
    let path = format!("/api/v1/webhooks/{id}");
    let events = post_all(&mut client, "a", (0..60).map(Value::from)).await;
    delivery_in(&mut client, &id, &events[59], "held").await;
    let active = json!({ "active": true });
    client
        .call(Method::PATCH, &path, Some(&active))
        .await
        .unwrap();
    for event in &events {
        delivery_in(&mut client, &id, event, "delivered").await;
    }
    // It has caught up: what comes now is bound by nothing.
    let start = Instant::now();
    post_all(&mut client, "a", (0..500).map(Value::from)).await;
    until("all arrive", async || (web.count() == 560).then_some(())).await;
    let took = start.elapsed();
    assert!(took < Duration::from_secs(8), "500 took {took:?}");
    let requests = web.stop().await;
    let took = requests[59].at.0 - requests[0].at.0;
    // Fifty-nine intervals of 20 ms; the first request may have been late by a connection's making.
    assert!(took >= 1_000, "60 at 50 a second took {took} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_not_there_is_tried_now_and_then_and_all_comes_when_it_is_back() {
    let site = Site::new(&["standard"]);
    // The receiver's port is known, and nobody listens there yet.
    let web = Web::start(&site.authority, |_| 200).await;
    let receiver = web.address();
    web.stop().await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let delays: Vec<&str> = std::iter::repeat_n("100ms", 10).collect();
    let body = json!({ "url": format!("https://{receiver}/"), "retry": { "delays": delays } });
    let id = registered(&mut client, body).await;
    let start = Instant::now();
    let events = post_all(&mut client, "a", (0..60).map(Value::from)).await;
    // Five in a row, those that were under way beside the fifth, and then one a second and one two seconds later.
    until("it is tried", async || {
        (attempts(&mut client).await >= 10).then_some(())
    })
    .await;
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(2_900),
        "ten tries in {took:?}"
    );

    let web = Web::start_at(receiver, &site.authority, |_| 200).await;
    let path = format!("/api/v1/webhooks/{id}/deliveries/{}/retry", events[0]);
    let again = client.call(Method::POST, &path, None).await.unwrap();
    assert_eq!(again.status, 202, "{}", again.body);
    for event in &events {
        delivery_in(&mut client, &id, event, "delivered").await;
    }
    assert_eq!(web.stop().await.len(), 60);
}

/// Attempts that met nobody.
async fn attempts(client: &mut Client) -> u64 {
    let metrics = get(client, "/metrics").await.body;
    let mut lines = metrics.as_str().unwrap().lines();
    let line = lines.find(|line| line.contains("attempts") && line.contains("outcome=\"connect\""));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0)
}
