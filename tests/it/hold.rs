//! A webhook that is disabled: when that happens, what is held meanwhile, and what becomes of it, over kills too.

use std::time::Duration;

use crate::client::Client;
use hookwheel::cli::key_hash;
use hookwheel::receiver::{Answer, Step};
use http::Method;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::support::{
    Daemon, Site, delivery, delivery_in, get, key_of, post, register, registered, until,
};
use crate::web::{ANY, Web};

const NAME: &str = "quick";

/// A site with one account, whose profile extends `parent` and says this besides.
fn site(parent: &str, rules: &str) -> Site {
    let hash = key_hash(&key_of(NAME));
    Site::new(&[]).with(&format!(
        "[profiles.{NAME}]\nextends = \"{parent}\"\n{rules}[[accounts]]\nname = \"{NAME}\"\nprofile = \"{NAME}\"\n\
         [[accounts.keys]]\nname = \"all\"\nhash = \"{hash}\"\nscopes = [\"admin\", \"send\", \"read\"]\n"
    ))
}

async fn webhook(client: &mut Client, id: &str) -> Value {
    get(client, &format!("/api/v1/webhooks/{id}")).await.body
}

async fn disabled(client: &mut Client, id: &str, reason: &str) -> Value {
    until("it is disabled", async || {
        let shown = webhook(client, id).await;
        (shown["inactive"]["reason"] == reason).then_some(shown)
    })
    .await
}

async fn activate(client: &mut Client, id: &str) -> Value {
    let path = format!("/api/v1/webhooks/{id}");
    let change = json!({ "active": true });
    let answer = client.call(Method::PATCH, &path, Some(&change)).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// Every delivery of a webhook, newest first.
async fn deliveries(client: &mut Client, id: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/webhooks/{id}/deliveries?limit=200{cursor}");
        let page = get(client, &path).await.body;
        rows.extend(page["data"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

fn count(rows: &[Value], state: &str) -> usize {
    rows.iter().filter(|row| row["state"] == state).count()
}

fn at(time: &Value) -> jiff::Timestamp {
    time.as_str().unwrap().parse().unwrap()
}

const SIX: &str =
    "[profiles.quick.retry]\ndelays = [\"20ms\", \"30ms\", \"40ms\", \"50ms\", \"60ms\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn six_attempts_then_disabled_and_what_comes_is_held_until_it_is_activated() {
    let site = site("dataflow", SIX);
    let web = Web::start(
        &site.authority,
        |number| if number <= 6 { 500 } else { 200 },
    )
    .await;
    let daemon = site.start();
    let mut client = daemon.client(NAME);
    let body = json!({ "url": web.url("/"), "events": ["pipeline.*"] });
    let shown = register(&mut client, body).await;
    let id = shown["id"].as_str().unwrap().to_owned();
    assert_eq!(shown["contract"]["attempts"], 6);
    assert_eq!(shown["failing"], Value::Null);
    let failed = post(&mut client, "pipeline.created", json!({})).await;
    let shown = delivery_in(&mut client, &id, &failed, "failed").await;
    assert_eq!(shown["reason"], "exhausted");
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 6);
    let shown = disabled(&mut client, &id, "exhausted").await;
    assert_eq!(shown["active"], false);
    assert_eq!(
        shown["inactive"]["next_probe_at"],
        Value::Null,
        "it is not probed"
    );
    let mut held = vec![post(&mut client, "pipeline.created", json!({})).await];
    daemon.kill();

    let daemon = site.start();
    let mut client = daemon.client(NAME);
    assert_eq!(webhook(&mut client, &id).await, shown);
    for number in 0..3 {
        held.push(post(&mut client, "pipeline.created", json!({ "number": number })).await);
    }
    let path = format!("/api/v1/webhooks/{id}/deliveries?state=held");
    let rows = get(&mut client, &path).await.body["data"].clone();
    let listed: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .collect::<Vec<_>>()
        .iter()
        .map(|row| row["event_id"].as_str().unwrap())
        .collect();
    assert_eq!(listed, held);
    assert_eq!(web.count(), 6, "a disabled webhook is sent nothing");
    assert_eq!(activate(&mut client, &id).await["inactive"], Value::Null);
    for event in &held {
        delivery_in(&mut client, &id, event, "delivered").await;
    }
    assert_eq!(delivery(&mut client, &id, &failed).await["state"], "failed");
    assert_eq!(web.count(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_for_too_long_is_disabled_with_a_countdown_that_outlives_a_kill() {
    let rules = "[profiles.quick.exhausted]\ndisable_after = \"5s\"\n[profiles.quick.retry]\ninitial = \"100ms\"\n\
                 multiplier = 1.0\nmax_retries = 100\njitter = \"0%\"\n";
    let site = site("standard", rules);
    let down = Web::start(&site.authority, |_| 500).await;
    let well = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client(NAME);
    let bad = registered(&mut client, json!({ "url": down.url("/") })).await;
    let good = registered(&mut client, json!({ "url": well.url("/") })).await;
    let event = post(&mut client, "a", json!({})).await;
    let failing = until("it fails", async || {
        let shown = webhook(&mut client, &bad).await;
        (shown["failing"] != Value::Null).then_some(shown["failing"].clone())
    })
    .await;
    let apart = at(&failing["disables_at"]).duration_since(at(&failing["since"]));
    assert!((apart.as_millis() - 5_000).abs() <= 5, "{failing}");
    delivery_in(&mut client, &good, &event, "delivered").await;
    assert_eq!(webhook(&mut client, &good).await["failing"], Value::Null);
    daemon.kill();

    let daemon = site.start();
    let mut client = daemon.client(NAME);
    let again = webhook(&mut client, &bad).await;
    // On a slow machine it may be over already.
    if again["active"] == true {
        let moved = at(&again["failing"]["since"]).duration_since(at(&failing["since"]));
        assert!(moved.as_millis().abs() < 500, "{failing} {again}");
    }
    let shown = disabled(&mut client, &bad, "failing").await;
    let took = at(&shown["inactive"]["since"]).duration_since(at(&failing["since"]));
    assert!(took.as_millis() >= 4_900, "{failing} {shown}");
    assert_eq!(shown["failing"], Value::Null);
    delivery_in(&mut client, &bad, &event, "held").await;
    assert_eq!(webhook(&mut client, &good).await["active"], true);
    let told = shown["contract"]["exhausted"]["means"].as_str().unwrap();
    assert!(told.contains("5s"), "{told}");
    // Activated, it starts anew.
    activate(&mut client, &bad).await;
    let failing = until("it fails again", async || {
        let shown = webhook(&mut client, &bad).await;
        (shown["failing"] != Value::Null).then_some(shown["failing"].clone())
    })
    .await;
    assert!(at(&failing["since"]) >= at(&shown["inactive"]["since"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_is_killed_is_made_again_and_one_that_arrives_activates() {
    let rules =
        "[profiles.quick.retry]\ndelays = []\n[profiles.quick.exhausted]\nprobe_every = \"10s\"\n";
    let site = site("dataflow", rules);
    // The first request fails for good, the second is the probe that hangs.
    let answer = |number: usize| match number {
        1 => Answer::status(500),
        2 => Answer::Script(vec![Step::Hold]),
        _ => Answer::status(200),
    };
    let web = Web::start_with(ANY, &site.authority, answer, Duration::ZERO).await;
    let daemon = site.start();
    let mut client = daemon.client(NAME);
    let body = json!({ "url": web.url("/"), "events": ["pipeline.*"], "timeout": "60s" });
    let id = registered(&mut client, body).await;
    let failed = post(&mut client, "pipeline.created", json!({})).await;
    delivery_in(&mut client, &id, &failed, "failed").await;
    let shown = disabled(&mut client, &id, "exhausted").await;
    let inactive = &shown["inactive"];
    let wait = at(&inactive["next_probe_at"]).duration_since(at(&inactive["since"]));
    assert!((9_000..=12_000).contains(&wait.as_millis()), "{shown}");
    let first = post(&mut client, "pipeline.created", json!(1)).await;
    let second = post(&mut client, "pipeline.created", json!(2)).await;
    until("the probe is under way", async || {
        (web.count() == 2).then_some(())
    })
    .await;
    let path = format!("/api/v1/webhooks/{id}/deliveries/{first}/retry");
    let refused = client.call(Method::POST, &path, None).await.unwrap();
    assert_eq!(refused.body["code"], "in_flight", "{}", refused.body);
    daemon.kill();

    let daemon = site.start();
    let mut client = daemon.client(NAME);
    for event in [&first, &second] {
        let shown = delivery(&mut client, &id, event).await;
        assert_eq!(
            (&shown["state"], &shown["attempts"]),
            (&json!("held"), &json!([]))
        );
    }
    let shown = webhook(&mut client, &id).await;
    assert_eq!(shown["inactive"]["reason"], "exhausted");
    let shown = delivery_in(&mut client, &id, &first, "delivered").await;
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(shown["attempts"][0]["trigger"], "probe");
    let shown = delivery_in(&mut client, &id, &second, "delivered").await;
    assert_eq!(shown["attempts"][0]["trigger"], "schedule");
    let shown = webhook(&mut client, &id).await;
    assert_eq!(
        (&shown["active"], &shown["inactive"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(web.count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_is_answered_with_410_is_the_last_one() {
    let rules = "[profiles.quick.retry]\ndelays = []\n[profiles.quick.exhausted]\naction = \"disable\"\n\
                 probe_every = \"10s\"\n";
    let site = site("standard", rules);
    let web = Web::start(
        &site.authority,
        |number| if number == 1 { 500 } else { 410 },
    )
    .await;
    let daemon = site.start();
    let mut client = daemon.client(NAME);
    let id = registered(&mut client, json!({ "url": web.url("/") })).await;
    post(&mut client, "a", json!(1)).await;
    let before = disabled(&mut client, &id, "exhausted").await;
    let event = post(&mut client, "a", json!(2)).await;
    let shown = disabled(&mut client, &id, "gone").await;
    assert_eq!(shown["inactive"]["since"], before["inactive"]["since"]);
    assert_eq!(shown["inactive"]["next_probe_at"], Value::Null);
    let shown = delivery(&mut client, &id, &event).await;
    assert_eq!(shown["state"], "held", "{shown}");
    assert_eq!(shown["attempts"][0]["trigger"], "probe");
    assert_eq!(web.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discard_is_killed_in_the_middle_and_the_rest_is_still_held() {
    const EVENTS: usize = 6_000;
    let site = site("standard", "");
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client(NAME);
    let body = json!({ "url": web.url("/"), "active": false });
    let id = registered(&mut client, body).await;
    for batch in 0..EVENTS / 1_000 {
        let events: Vec<Value> = (0..1_000)
            .map(|n| json!({ "id": format!("e{batch}-{n:03}"), "type": "a", "data": n }))
            .collect();
        let path = "/api/v1/events/batch";
        let answer = client.call(Method::POST, path, Some(&json!(events))).await;
        assert_eq!(answer.unwrap().status, 202);
    }
    let path = format!("/api/v1/webhooks/{id}/held/discard");
    let (tasks, mut other, asked) = (TaskTracker::new(), daemon.client(NAME), path.clone());
    // It is cut off, so there is no answer.
    let call = tasks.spawn(async move { other.call(Method::POST, &asked, None).await.is_err() });
    until("some are discarded", async || {
        let text = get(&mut client, "/metrics").await.body;
        let text = text.as_str().unwrap();
        text.contains("deliveries_ended_total{state=\"discarded\"}")
            .then_some(())
    })
    .await;
    daemon.kill();
    assert!(call.await.unwrap(), "it was not killed in the middle");

    let daemon = site.start();
    let mut client = daemon.client(NAME);
    let rows = deliveries(&mut client, &id).await;
    let (held, ended) = (count(&rows, "held"), count(&rows, "cancelled"));
    assert_eq!(held + ended, EVENTS);
    assert!(held > 0 && ended > 0, "{held} held, {ended} discarded");
    for row in rows.iter().filter(|row| row["state"] == "cancelled") {
        assert_eq!(row["reason"], "discarded");
    }
    // The oldest went first.
    let first_held = rows.iter().rposition(|row| row["state"] == "held").unwrap();
    assert_eq!(rows.len() - 1 - first_held, ended);
    let until_then = rows[0]["created_at"].clone();
    let late = post(&mut client, "a", json!("late")).await;
    let body = json!({ "until": until_then });
    let answer = client.call(Method::POST, &path, Some(&body)).await.unwrap();
    assert_eq!(answer.body, json!({ "discarded": held, "more": false }));
    until("it is in the daemon's log", async || {
        daemon.said_since(0, "held deliveries discarded")
    })
    .await;
    activate(&mut client, &id).await;
    delivery_in(&mut client, &id, &late, "delivered").await;
    let again = format!("/api/v1/webhooks/{id}/deliveries/e0-000/retry");
    let answer = client.call(Method::POST, &again, None).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    delivery_in(&mut client, &id, "e0-000", "delivered").await;
    assert_eq!(web.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discard_is_refused_with_what_to_do() {
    let site = site("standard", "");
    let daemon = site.start();
    let mut client = daemon.client(NAME);
    let id = registered(&mut client, json!({ "url": "https://127.0.0.1:1/" })).await;
    let path = format!("/api/v1/webhooks/{id}/held/discard");
    let mut call = async |path: &str, body: Option<Value>| {
        let answer = client.call(Method::POST, path, body.as_ref()).await;
        answer.unwrap()
    };
    let active = call(&path, None).await;
    assert_eq!(
        (active.status.as_u16(), &active.body["code"]),
        (409, &json!("webhook_active"))
    );
    let detail = active.body["detail"].as_str().unwrap();
    assert!(detail.contains("\"active\": false"), "{detail}");
    for (body, pointer) in [
        (json!({ "until": "yesterday" }), "/until"),
        (json!({ "until": 5 }), "/until"),
        (json!({ "state": "held" }), "/state"),
    ] {
        let wrong = call(&path, Some(body)).await;
        assert_eq!(wrong.status.as_u16(), 400);
        assert_eq!(wrong.body["errors"][0]["pointer"], pointer);
    }
    let missing = call("/api/v1/webhooks/wh_0/held/discard", None).await;
    assert_eq!(missing.status.as_u16(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_webhook_does_not_make_the_journal_grow_for_ever() {
    let site = site("standard", "");
    let small = "path = \"data\"\nretention_size = \"8MiB\"\nsegment_size = \"1MiB\"";
    let config = site.config(true).replace("path = \"data\"", small);
    let start = || Daemon::start(&site.path("config.toml"), &config);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = start();
    let mut client = daemon.client(NAME);
    let body = json!({ "url": web.url("/"), "active": false });
    let held = registered(&mut client, body).await;
    let sent = registered(&mut client, json!({ "url": web.url("/") })).await;
    let mut events = Vec::new();
    for _ in 0..70 {
        events.push(post(&mut client, "a", json!("x".repeat(200_000))).await);
    }
    for event in &events {
        delivery_in(&mut client, &sent, event, "delivered").await;
    }
    assert_eq!(count(&deliveries(&mut client, &held).await, "held"), 70);
    assert!(daemon.terminate().success());

    // Retention looks at the start, and then each minute.
    let daemon = start();
    let mut client = daemon.client(NAME);
    until("the journal is within its limit", async || {
        let text = get(&mut client, "/metrics").await.body;
        let text = text.as_str().unwrap();
        let bytes = text
            .lines()
            .find_map(|line| line.strip_prefix("hookwheel_journal_size_bytes "));
        let bytes: f64 = bytes.unwrap().parse().unwrap();
        (bytes <= 8_500_000.0).then_some(())
    })
    .await;
    let rows = deliveries(&mut client, &held).await;
    // What is gone with its event is in no list any more; the newest are held, and no more went than had to.
    let left = count(&rows, "held");
    assert!((30..=42).contains(&left), "{left} are held");
    assert!(rows[..left].iter().all(|row| row["state"] == "held"));
    until("it is in the daemon's log", async || {
        daemon.said_since(0, "held deliveries expired")
    })
    .await;
    let text = get(&mut client, "/metrics").await.body;
    let ended = format!("deliveries_ended_total{{state=\"expired\"}} {}", 70 - left);
    assert!(text.as_str().unwrap().contains(&ended), "{ended}");
    activate(&mut client, &held).await;
    delivery_in(&mut client, &held, &events[69], "delivered").await;
}
