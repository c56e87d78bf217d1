//! Deliveries against receivers that misbehave: typed outcomes, and nobody else is held up.

use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::support::{Daemon, Site, delivery, delivery_in, post, register, registered, until};
use crate::web::{ANY, Web};
use hookwheel::receiver::Answer;

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_receiver_is_a_tls_outcome_without_its_ca() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = Daemon::start(&site.path("config.toml"), &site.config(false));
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "retry": { "delays": ["1h"] } });
    let webhook = registered(&mut client, body).await;
    let event = post(&mut client, "a", json!({})).await;
    let shown = until("the first attempt", async || {
        let shown = delivery(&mut client, &webhook, &event).await;
        (!shown["attempts"].as_array().unwrap().is_empty()).then_some(shown)
    })
    .await;
    assert_eq!(shown["attempts"][0]["outcome"]["kind"], "tls", "{shown}");
    assert_eq!(shown["state"], "waiting");
    assert_eq!(
        web.count(),
        0,
        "no request reaches a receiver that is not verified"
    );
    daemon.kill();
    // The same webhook with the CA in the config: sent again, it arrives.
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let retry = format!("/api/v1/webhooks/{webhook}/deliveries/{event}/retry");
    assert_eq!(
        client
            .call(Method::POST, &retry, None)
            .await
            .unwrap()
            .status,
        202
    );
    delivery_in(&mut client, &webhook, &event, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loopback_receiver_is_refused_unless_its_range_is_allowed() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "retry": { "delays": ["1h"] } });
    let webhook = registered(&mut client, body).await;
    assert!(daemon.terminate().success());
    // The operator takes the range back: the registered webhook is not dialled any more.
    let config = site.config(true).replace("allow = [\"127.0.0.0/8\"]\n", "");
    let daemon = Daemon::start(&site.path("config.toml"), &config);
    let mut client = daemon.client("standard");
    let event = post(&mut client, "a", json!({})).await;
    let shown = until("the first attempt", async || {
        let shown = delivery(&mut client, &webhook, &event).await;
        (!shown["attempts"].as_array().unwrap().is_empty()).then_some(shown)
    })
    .await;
    assert_eq!(
        shown["attempts"][0]["outcome"]["kind"], "address_blocked",
        "{shown}"
    );
    assert_eq!(web.count(), 0);
    // Its owner is told nothing of why, the operator all, once.
    assert_eq!(
        shown["attempts"][0]["outcome"]["detail"],
        "this address cannot be sent to; ask the operator if it should be"
    );
    // The log comes through a pipe, a moment after what it tells.
    let log = until("the operator is told", async || {
        let log = daemon.log();
        log.contains("refused as loopback").then_some(log)
    })
    .await;
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("refused as loopback"))
        .collect();
    assert_eq!(told.len(), 1, "{log}");
    for part in [&*webhook, "127.0.0.1", "allow = [\\\"127.0.0.1/32\\\"]"] {
        assert!(told[0].contains(part), "{part}: {}", told[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_receiver_with_a_backlog_delays_nobody_else() {
    let site = Site::new(&["standard"]);
    let hanging = Web::start_with(ANY, &site.authority, |_| Answer::hang(), Duration::ZERO).await;
    let healthy = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let slow = json!({ "url": hanging.url("/"), "events": ["slow"], "timeout": "60s" });
    let slow = registered(&mut client, slow).await;
    let fast = json!({ "url": healthy.url("/"), "events": ["fast"] });
    let fast = registered(&mut client, fast).await;
    for _ in 0..10 {
        let batch: Vec<_> = (0..200)
            .map(|n| json!({ "type": "slow", "data": n }))
            .collect();
        let answer = client
            .call(Method::POST, "/api/v1/events/batch", Some(&json!(batch)))
            .await
            .unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    until("the receiver hangs", async || {
        (hanging.count() > 0).then_some(())
    })
    .await;
    for number in 0..50 {
        let event = post(&mut client, "fast", json!(number)).await;
        delivery_in(&mut client, &fast, &event, "delivered").await;
    }
    assert!(
        hanging.count() <= 64,
        "{} attempts hang at once",
        hanging.count()
    );
    let path = format!("/api/v1/webhooks/{slow}/deliveries?state=delivered");
    let none = crate::support::get(&mut client, &path).await;
    assert_eq!(none.body["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 302).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "retry": { "delays": [] } });
    let webhook = registered(&mut client, body).await;
    let event = post(&mut client, "a", json!({})).await;
    let shown = delivery_in(&mut client, &webhook, &event, "failed").await;
    assert_eq!(shown["attempts"][0]["status"], 302);
    assert_eq!(web.stop().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_200_is_success_where_the_profile_says_so() {
    let site = Site::new(&["dataflow", "driftlock"]);
    let web = Web::start(&site.authority, |_| 204).await;
    let daemon = site.start();
    let url = web.url("/");
    let data = json!({ "pipeline_id": "p" });
    let mut strict = daemon.client("dataflow");
    let webhook = register(
        &mut strict,
        json!({ "url": url, "events": ["pipeline.*"], "retry": { "delays": [] } }),
    )
    .await;
    let event = post(&mut strict, "pipeline.created", data.clone()).await;
    delivery_in(
        &mut strict,
        webhook["id"].as_str().unwrap(),
        &event,
        "failed",
    )
    .await;
    let mut lenient = daemon.client("driftlock");
    let webhook = register(
        &mut lenient,
        json!({ "url": url, "events": ["anomaly.detected"] }),
    )
    .await;
    let event = post(&mut lenient, "anomaly.detected", data).await;
    delivery_in(
        &mut lenient,
        webhook["id"].as_str().unwrap(),
        &event,
        "delivered",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_is_counted_from_the_first_byte_out_to_the_last_one_in() {
    let site = Site::new(&["standard"]);
    let web = Web::start_with(ANY, &site.authority, |_| Answer::hang(), Duration::ZERO).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "timeout": "400ms", "retry": { "delays": [] } });
    let webhook = registered(&mut client, body).await;
    let event = post(&mut client, "a", json!({})).await;
    let shown = delivery_in(&mut client, &webhook, &event, "failed").await;
    let attempt = &shown["attempts"][0];
    assert_eq!(attempt["outcome"]["kind"], "timeout", "{shown}");
    let took = Duration::from_secs_f64(attempt["response_time_ms"].as_f64().unwrap() / 1000.0);
    assert!(took >= Duration::from_millis(400), "{took:?}");
}
