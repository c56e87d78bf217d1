//! What follows when a receiver fails for good, wants no more, or wants to be left alone for a while.

use std::time::Duration;

use hookwheel::receiver::Answer;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Site, delivery_in, get, post, registered, until};
use crate::web::{ANY, Web};

async fn webhook(client: &mut crate::client::Client, id: &str) -> Value {
    get(client, &format!("/api/v1/webhooks/{id}")).await.body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_disabled_when_a_schedule_ends_and_holds_what_comes() {
    let site = Site::new(&["dataflow"]);
    let web = Web::start(
        &site.authority,
        |number| if number <= 2 { 500 } else { 200 },
    )
    .await;
    let daemon = site.start();
    let mut client = daemon.client("dataflow");
    let body =
        json!({ "url": web.url("/"), "events": ["pipeline.*"], "retry": { "delays": ["50ms"] } });
    let id = registered(&mut client, body).await;
    let failed = post(&mut client, "pipeline.created", json!({})).await;
    delivery_in(&mut client, &id, &failed, "failed").await;
    let shown = until("it is disabled", async || {
        let shown = webhook(&mut client, &id).await;
        (shown["active"] == false).then_some(shown)
    })
    .await;
    assert_eq!(shown["inactive"]["reason"], "exhausted");
    let held = post(&mut client, "pipeline.created", json!({})).await;
    delivery_in(&mut client, &id, &held, "held").await;
    daemon.kill();

    let daemon = site.start();
    let mut client = daemon.client("dataflow");
    assert_eq!(
        webhook(&mut client, &id).await["inactive"],
        shown["inactive"]
    );
    delivery_in(&mut client, &id, &held, "held").await;
    assert_eq!(web.count(), 2, "a disabled webhook is sent nothing");
    let path = format!("/api/v1/webhooks/{id}");
    let active = client
        .call(Method::PATCH, &path, Some(&json!({ "active": true })))
        .await
        .unwrap();
    assert_eq!(active.body["inactive"], Value::Null);
    delivery_in(&mut client, &id, &held, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_to_which_something_arrived_meanwhile_stays_active() {
    let site = Site::new(&["dataflow"]);
    // The first event fails both times, what comes between arrives.
    let web = Web::start(
        &site.authority,
        |number| if number == 2 { 200 } else { 500 },
    )
    .await;
    let daemon = site.start();
    let mut client = daemon.client("dataflow");
    let body =
        json!({ "url": web.url("/"), "events": ["pipeline.*"], "retry": { "delays": ["1s"] } });
    let id = registered(&mut client, body).await;
    let failing = post(&mut client, "pipeline.created", json!({})).await;
    until("the first attempt", async || {
        (web.count() == 1).then_some(())
    })
    .await;
    let good = post(&mut client, "pipeline.created", json!({})).await;
    delivery_in(&mut client, &id, &good, "delivered").await;
    delivery_in(&mut client, &id, &failing, "failed").await;
    // The next event is sent after the decision, so its attempt shows what was decided.
    let next = post(&mut client, "pipeline.created", json!({})).await;
    until("the next event's attempt", async || {
        (web.count() >= 4).then_some(())
    })
    .await;
    assert_eq!(webhook(&mut client, &id).await["active"], true);
    let stays = format!("/api/v1/webhooks/{id}/deliveries/{next}");
    assert_ne!(get(&mut client, &stays).await.body["state"], "held");
}

#[tokio::test(flavor = "multi_thread")]
async fn gone_disables_the_webhook_where_the_profile_says_so() {
    let site = Site::new(&["standard", "driftlock"]);
    let web = Web::start(&site.authority, |_| 410).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let id = registered(&mut client, json!({ "url": web.url("/") })).await;
    let event = post(&mut client, "a", json!({})).await;
    let shown = delivery_in(&mut client, &id, &event, "failed").await;
    assert_eq!(shown["reason"], "gone");
    until("it is disabled", async || {
        let shown = webhook(&mut client, &id).await;
        (shown["inactive"]["reason"] == "gone").then_some(())
    })
    .await;
    let mut client = daemon.client("driftlock");
    let id = registered(
        &mut client,
        json!({ "url": web.url("/"), "events": ["anomaly.detected"] }),
    )
    .await;
    let event = post(&mut client, "anomaly.detected", json!({})).await;
    until("the first attempt", async || {
        (web.count() == 2).then_some(())
    })
    .await;
    delivery_in(&mut client, &id, &event, "waiting").await;
    assert_eq!(webhook(&mut client, &id).await["active"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_asks_for_a_pause_gets_it() {
    let site = Site::new(&["standard"]);
    let pause = |number: usize| match number {
        1 => Answer::Status {
            code: 503,
            headers: vec![("retry-after".to_owned(), "2".to_owned())],
            body: bytes::Bytes::new(),
        },
        _ => Answer::status(200),
    };
    let web = Web::start_with(ANY, &site.authority, pause, Duration::ZERO).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "retry": { "delays": ["50ms", "50ms"] } });
    let id = registered(&mut client, body).await;
    let first = post(&mut client, "a", json!({})).await;
    until("the first attempt", async || {
        (web.count() == 1).then_some(())
    })
    .await;
    let shown = until("it is recorded", async || {
        let path = format!("/api/v1/webhooks/{id}/deliveries/{first}");
        let shown = get(&mut client, &path).await.body;
        (shown["attempts"].as_array().unwrap().len() == 1).then_some(shown)
    })
    .await;
    assert_eq!(shown["state"], "waiting", "{shown}");
    // Neither its own retry nor another event comes within the pause.
    let second = post(&mut client, "a", json!({})).await;
    let shown = delivery_in(&mut client, &id, &second, "delivered").await;
    delivery_in(&mut client, &id, &first, "delivered").await;
    let requests = web.stop().await;
    assert_eq!(requests.len(), 3, "{shown}");
    let waited = requests[1].at.0 - requests[0].at.0;
    assert!(
        waited >= 1_900,
        "the receiver was left alone for {waited} ms only"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_kept() {
    let site = Site::new(&[])
        .with("[profiles.slow]\nextends = \"standard\"\n[profiles.slow.rate]\nper_second = 5\n");
    let key = hookwheel::cli::key_hash("slow");
    let site = site.with(&format!(
        "[[accounts]]\nname = \"slow\"\nprofile = \"slow\"\n[[accounts.keys]]\nname = \"all\"\n\
         hash = \"{key}\"\nscopes = [\"admin\", \"send\", \"read\"]\n"
    ));
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = crate::client::Client::new(daemon.address, "slow");
    registered(&mut client, json!({ "url": web.url("/") })).await;
    let batch: Vec<Value> = (0..16).map(|n| json!({ "type": "a", "data": n })).collect();
    client
        .call(Method::POST, "/api/v1/events/batch", Some(&json!(batch)))
        .await
        .unwrap();
    until("all arrive", async || (web.count() == 16).then_some(())).await;
    let requests = web.stop().await;
    let took = requests[15].at.0 - requests[0].at.0;
    // Sixteen at five a second: the last of them not before the fourth second has begun.
    assert!(
        took >= 1_900,
        "16 requests at 5 a second took only {took} ms"
    );
    let most = (0..requests.len())
        .map(|i| {
            requests[i..]
                .iter()
                .take_while(|r| r.at.0 - requests[i].at.0 < 900)
                .count()
        })
        .max();
    assert!(
        most.is_some_and(|most| most <= 11),
        "{most:?} requests within a second"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_rates_of_what_is_registered() {
    let key = hookwheel::cli::key_hash("slow");
    let account = format!(
        "[[accounts]]\nname = \"slow\"\nprofile = \"slow\"\n[[accounts.keys]]\nname = \"all\"\n\
         hash = \"{key}\"\nscopes = [\"admin\", \"send\", \"read\"]\n\
         [profiles.slow]\nextends = \"standard\"\n"
    );
    let rate = "[profiles.slow.rate]\nper_hour = 1\n";
    let site = Site::new(&[]).with(&account).with(rate);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = crate::client::Client::new(daemon.address, "slow");
    let id = registered(&mut client, json!({ "url": web.url("/") })).await;
    let first = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &id, &first, "delivered").await;
    let second = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &id, &second, "waiting").await;
    std::fs::write(
        site.path("config.toml"),
        site.config(true).replace(rate, ""),
    )
    .unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    delivery_in(&mut client, &id, &second, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_url_is_not_kept_waiting_by_the_old_receivers_pause() {
    let site = Site::new(&["standard"]);
    let pause = |_: usize| Answer::Status {
        code: 503,
        headers: vec![("retry-after".to_owned(), "3600".to_owned())],
        body: bytes::Bytes::new(),
    };
    let busy = Web::start_with(ANY, &site.authority, pause, Duration::ZERO).await;
    let free = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let id = registered(&mut client, json!({ "url": busy.url("/") })).await;
    let first = post(&mut client, "a", json!({})).await;
    until("the pause is known", async || {
        let path = format!("/api/v1/webhooks/{id}/deliveries/{first}");
        let shown = get(&mut client, &path).await.body;
        (shown["attempts"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    let path = format!("/api/v1/webhooks/{id}");
    let change = json!({ "url": free.url("/") });
    let changed = client.call(Method::PATCH, &path, Some(&change)).await;
    assert_eq!(changed.unwrap().status, 200);
    let second = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &id, &second, "delivered").await;
    let again = format!("{path}/deliveries/{first}/retry");
    let again = client.call(Method::POST, &again, None).await.unwrap();
    assert!(again.status.is_success(), "{}", again.body);
    delivery_in(&mut client, &id, &first, "delivered").await;
    assert_eq!((busy.count(), free.count()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_backlog_the_oldest_are_dropped_on_record_and_can_be_sent_again() {
    let key = hookwheel::cli::key_hash("slow");
    let site = Site::new(&[]).with(&format!(
        "[profiles.slow]\nextends = \"standard\"\n[profiles.slow.rate]\nper_second = 5\noverflow = \"drop-oldest\"\n\
         backlog = 20\n[[accounts]]\nname = \"slow\"\nprofile = \"slow\"\n[[accounts.keys]]\nname = \"all\"\n\
         hash = \"{key}\"\nscopes = [\"admin\", \"send\", \"read\"]\n"
    ));
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = crate::client::Client::new(daemon.address, "slow");
    let id = registered(&mut client, json!({ "url": web.url("/") })).await;
    let batch: Vec<Value> = (0..200)
        .map(|n| json!({ "id": format!("e{n:03}"), "type": "a", "data": n }))
        .collect();
    let answer = client
        .call(Method::POST, "/api/v1/events/batch", Some(&json!(batch)))
        .await
        .unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    let listed = async |client: &mut crate::client::Client, state: &str| -> Vec<String> {
        let path = format!("/api/v1/webhooks/{id}/deliveries?limit=200&state={state}");
        let rows = get(client, &path).await.body["data"]
            .as_array()
            .unwrap()
            .clone();
        rows.iter()
            .map(|row| row["event_id"].as_str().unwrap().to_owned())
            .collect()
    };
    let waiting = until("the backlog is within its bound", async || {
        let waiting = listed(&mut client, "waiting").await;
        (waiting.len() <= 21).then_some(waiting)
    })
    .await;
    let dropped = listed(&mut client, "dropped").await;
    assert!(dropped.len() >= 150, "only {} were dropped", dropped.len());
    // What is left is the newest; the lists are newest first.
    assert_eq!(waiting[0], "e199");
    assert!(
        dropped[0] < waiting[waiting.len() - 1],
        "{dropped:?} {waiting:?}"
    );
    let shown = delivery_in(&mut client, &id, &dropped[0], "dropped").await;
    assert_eq!(shown["reason"], "over_rate");
    let all = dropped.len() + waiting.len() + listed(&mut client, "delivered").await.len();
    assert!(
        all >= 199,
        "each is delivered, waits, or was dropped on record: {all}"
    );
    every_drop_is_in_the_log(&mut client, &id).await;
    daemon.kill();

    let daemon = site.start();
    let mut client = crate::client::Client::new(daemon.address, "slow");
    delivery_in(&mut client, &id, &dropped[0], "dropped").await;
    let again = format!("/api/v1/webhooks/{id}/deliveries/{}/retry", dropped[0]);
    let answer = client.call(Method::POST, &again, None).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    delivery_in(&mut client, &id, &dropped[0], "delivered").await;
}

/// One look at all of 200 events: each is in the log, the oldest went, and those were never tried.
async fn every_drop_is_in_the_log(client: &mut crate::client::Client, id: &str) {
    let path = format!("/api/v1/webhooks/{id}/deliveries?limit=200");
    let rows = get(client, &path).await.body["data"].clone();
    let rows = rows.as_array().unwrap();
    let ids: Vec<String> = (0..200).rev().map(|n| format!("e{n:03}")).collect();
    assert_eq!(
        rows.iter().map(|row| &row["event_id"]).collect::<Vec<_>>(),
        ids.iter().collect::<Vec<_>>()
    );
    let mut oldest_left = None;
    for row in rows {
        match row["state"].as_str().unwrap() {
            "dropped" => {
                assert_eq!(
                    (&row["reason"], &row["attempts"]),
                    (&json!("over_rate"), &json!(0))
                );
                assert!(
                    oldest_left.is_none_or(|left| row["event_id"].as_str() < left),
                    "{row}"
                );
            }
            "waiting" => oldest_left = Some(row["event_id"].as_str()),
            state => assert_eq!(state, "delivered"),
        }
    }
}
