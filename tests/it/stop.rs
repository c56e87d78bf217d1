//! The daemon's end: bounded, whatever receivers and clients do, and nothing is recorded that did not happen.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::support::{Site, delivery_in, post, registered, until};
use crate::web::{ANY, Web};
use hookwheel::receiver::Answer;

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_cut_off_at_the_end_writes_nothing_and_is_made_again() {
    let site = Site::new(&["standard"]).with("[delivery]\nstop_grace = \"300ms\"\n");
    // The event's attempt and the test's hang; what comes after the restart is taken.
    let hang_two = |number| match number {
        1 | 2 => Answer::hang(),
        _ => Answer::status(200),
    };
    let web = Web::start_with(ANY, &site.authority, hang_two, Duration::ZERO).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(
        &mut client,
        json!({ "url": web.url("/"), "timeout": "5m", "retry": { "delays": ["1h"] } }),
    )
    .await;
    let event = post(&mut client, "a", json!({})).await;
    until("the event's attempt hangs", async || {
        (web.count() == 1).then_some(())
    })
    .await;
    let tests = TaskTracker::new();
    let path = format!("/api/v1/webhooks/{webhook}/test");
    let test = tests.spawn(async move { client.call(Method::POST, &path, None).await });
    until("the test's attempt hangs", async || {
        (web.count() == 2).then_some(())
    })
    .await;

    let start = Instant::now();
    assert!(daemon.terminate().success());
    let took = start.elapsed();
    assert!(took < Duration::from_secs(30), "the end took {took:?}");
    assert!(test.await.unwrap().is_err(), "the test was cut off");

    let daemon = site.start();
    let mut client = daemon.client("standard");
    let shown = delivery_in(&mut client, &webhook, &event, "delivered").await;
    let attempts = shown["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "{shown}");
    assert_eq!(attempts[0]["attempt"], 1);
    assert_eq!(web.count(), 3);
}
