//! Operational events, as the webhooks of the account that the config names get them: what happened, to whom, how often,
//! and nothing about themselves.

use crate::client::Client;
use hookwheel::cli::key_hash;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Daemon, Site, delivery_in, get, key_of, post, register, registered, until};
use crate::web::Web;

/// An account of this name with this profile.
fn account(name: &str, profile: &str) -> String {
    format!(
        "[[accounts]]\nname = \"{name}\"\nprofile = \"{profile}\"\n[[accounts.keys]]\nname = \"all\"\n\
         hash = \"{}\"\nscopes = [\"admin\", \"send\", \"read\"]\n",
        key_hash(&key_of(name))
    )
}

/// A site whose operational events go to `ops`, whose profile has a fixed list of types.
fn site(profiles: &[&str], alerts: &str) -> Site {
    let ops = account("ops", "fixed");
    Site::new(profiles).with(&format!(
        "[alerts]\naccount = \"ops\"\n{alerts}\n{ops}[profiles.fixed]\nextends = \"standard\"\n\
         event_types = [\"user.created\"]\n"
    ))
}

/// The operational events that came to a receiver so far.
async fn told(ops: &mut Client, kind: &str) -> Vec<Value> {
    let listed = get(ops, "/api/v1/events?limit=200").await.body;
    let rows = listed["data"].as_array().unwrap();
    rows.iter()
        .filter(|row| row["type"] == kind)
        .map(|row| row["data"].clone())
        .collect()
}

async fn metric(daemon: &Daemon, line: &str) -> bool {
    let text = get(&mut daemon.client("ops"), "/metrics").await.body;
    let text = text
        .as_str()
        .map_or_else(|| text.to_string(), str::to_owned);
    text.contains(line)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_and_disabled_webhook_is_told_signed_and_delivered() {
    let site = site(&["dataflow"], "");
    let (bad, good) = (
        Web::start(&site.authority, |_| 500).await,
        Web::start(&site.authority, |_| 200).await,
    );
    let daemon = site.start();
    let (mut client, mut ops) = (daemon.client("dataflow"), daemon.client("ops"));
    let hook = register(
        &mut ops,
        json!({ "url": good.url("/"), "events": ["hookwheel.*"] }),
    )
    .await;
    let body = json!({
        "url": bad.url("/path?token=hidden"), "name": "nightly", "events": ["pipeline.*"], "retry": { "delays": ["50ms"] },
    });
    let id = registered(&mut client, body).await;
    let failed = post(&mut client, "pipeline.created", json!({})).await;
    delivery_in(&mut client, &id, &failed, "failed").await;
    until("both are told", async || (good.count() >= 2).then_some(())).await;
    let until_sent = async |kind: &'static str| {
        until(kind, async || {
            told(&mut daemon.client("ops"), kind).await.pop()
        })
        .await
    };
    let disabled = until_sent("hookwheel.webhook.disabled").await;
    assert_eq!(disabled["webhook_id"], json!(id));
    assert_eq!(disabled["account"], "dataflow");
    assert_eq!(disabled["name"], "nightly");
    assert_eq!(disabled["reason"], "exhausted");
    assert_eq!(disabled["held"], 0);
    let shown = get(&mut client, &format!("/api/v1/webhooks/{id}"))
        .await
        .body;
    assert_eq!(disabled["since"], shown["inactive"]["since"]);
    let failure = until_sent("hookwheel.delivery.failed").await;
    assert_eq!(failure["count"], 1);
    assert_eq!(failure["reason"], "exhausted");
    assert_eq!(
        failure["example"],
        json!({ "event_id": failed, "type": "pipeline.created" })
    );
    assert_eq!(failure["host"], json!(bad.address().to_string()));
    assert!(
        !failure.to_string().contains("hidden"),
        "paths and queries are not told: {failure}"
    );
    for kind in ["hookwheel.webhook.disabled", "hookwheel.delivery.failed"] {
        let line = format!("hookwheel_alerts_total{{kind=\"{kind}\"}} 1");
        until("it is counted", async || {
            metric(&daemon, &line).await.then_some(())
        })
        .await;
    }
    drop(daemon);
    let verifier = standardwebhooks::Webhook::new(hook["secret"].as_str().unwrap()).unwrap();
    let requests = good.stop().await;
    assert_eq!(requests.len(), 2);
    for request in requests {
        verifier.verify(&request.body, &request.headers).unwrap();
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert!(
            body["type"].as_str().unwrap().starts_with("hookwheel."),
            "{body}"
        );
        assert_eq!(body["data"]["webhook_id"], json!(id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_failures_are_told_together_and_what_is_left_at_the_stop() {
    let site = site(&["standard"], "");
    let bad = Web::start(&site.authority, |_| 500).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": bad.url("/"), "retry": { "delays": ["10ms"] } });
    let id = registered(&mut client, body).await;
    let batch = async |client: &mut Client| {
        let events: Vec<Value> = (0..30).map(|n| json!({ "type": "a", "data": n })).collect();
        let answer = client
            .call(Method::POST, "/api/v1/events/batch", Some(&json!(events)))
            .await
            .unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
    };
    let failed = async |client: &mut Client, count: usize| {
        until("all have failed", async || {
            let path = format!("/api/v1/webhooks/{id}/deliveries?state=failed&limit=200");
            (get(client, &path).await.body["data"]
                .as_array()
                .unwrap()
                .len()
                == count)
                .then_some(())
        })
        .await;
    };
    batch(&mut client).await;
    failed(&mut client, 30).await;
    let mut ops = daemon.client("ops");
    until("the first is told", async || {
        told(&mut ops, "hookwheel.delivery.failed").await.pop()
    })
    .await;
    batch(&mut client).await;
    failed(&mut client, 60).await;
    assert!(daemon.terminate().success());

    let daemon = site.start();
    let told = told(&mut daemon.client("ops"), "hookwheel.delivery.failed").await;
    assert_eq!(
        told.len(),
        2,
        "one at once and the rest at the stop: {told:?}"
    );
    let counts: u64 = told
        .iter()
        .map(|data| data["count"].as_u64().unwrap())
        .sum();
    assert_eq!(counts, 60, "none is left out: {told:?}");
    for data in told {
        assert!(
            data["first_at"].as_str() <= data["last_at"].as_str(),
            "{data}"
        );
        assert_eq!(data["example"]["type"], "a");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_a_probe_activates_is_told_to_have_recovered() {
    let probed = account("probed", "probed");
    let site = site(&[], "").with(&format!(
        "{probed}[profiles.probed]\nextends = \"standard\"\n[profiles.probed.exhausted]\n\
         action = \"disable\"\nprobe_every = \"10s\"\n"
    ));
    let web = Web::start(
        &site.authority,
        |number| if number <= 2 { 500 } else { 200 },
    )
    .await;
    let daemon = site.start();
    let mut client = daemon.client("probed");
    let body = json!({ "url": web.url("/"), "retry": { "delays": ["50ms"] } });
    let id = registered(&mut client, body).await;
    let failed = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &id, &failed, "failed").await;
    let held = post(&mut client, "a", json!({})).await;
    let mut ops = daemon.client("ops");
    for kind in ["hookwheel.webhook.disabled", "hookwheel.webhook.recovered"] {
        let data = until(kind, async || told(&mut ops, kind).await.pop()).await;
        assert_eq!(data["webhook_id"], json!(id));
    }
    delivery_in(&mut client, &id, &held, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_deliveries_are_told() {
    let slow = account("slow", "slow");
    let site = site(&[], "").with(&format!(
        "{slow}[profiles.slow]\nextends = \"standard\"\n[profiles.slow.rate]\nper_second = 2\n\
         overflow = \"drop-oldest\"\nbacklog = 10\n"
    ));
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("slow");
    let id = registered(&mut client, json!({ "url": web.url("/") })).await;
    let events: Vec<Value> = (0..100)
        .map(|n| json!({ "id": format!("e{n:03}"), "type": "a", "data": n }))
        .collect();
    let answer = client
        .call(Method::POST, "/api/v1/events/batch", Some(&json!(events)))
        .await
        .unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    let mut ops = daemon.client("ops");
    let data = until("it is told", async || {
        told(&mut ops, "hookwheel.deliveries.dropped").await.pop()
    })
    .await;
    assert_eq!(data["webhook_id"], json!(id));
    let example = data["example"]["event_id"].as_str().unwrap();
    // Also where the oldest one was being sent at that moment, and so was not dropped.
    delivery_in(&mut client, &id, example, "dropped").await;
    let dropped = get(
        &mut client,
        &format!("/api/v1/webhooks/{id}/deliveries?state=dropped&limit=200"),
    )
    .await
    .body;
    let dropped = dropped["data"].as_array().unwrap().len();
    assert!(
        (1..=dropped).contains(&usize::try_from(data["count"].as_u64().unwrap()).unwrap()),
        "{data} {dropped}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_high_backlog_is_told_once() {
    let site = site(&["standard"], "backlog_high = 5");
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": "https://127.0.0.1:1/", "active": false });
    let (high, low) = (
        registered(&mut client, body.clone()).await,
        registered(&mut client, body).await,
    );
    for count in [5, 3] {
        for n in 0..count {
            post(&mut client, "a", json!(n)).await;
        }
        if count == 5 {
            let path = format!("/api/v1/webhooks/{low}");
            assert_eq!(
                client
                    .call(Method::DELETE, &path, None)
                    .await
                    .unwrap()
                    .status,
                204
            );
        }
    }
    let mut ops = daemon.client("ops");
    let data = until("it is told", async || {
        told(&mut ops, "hookwheel.backlog.high").await.pop()
    })
    .await;
    assert_eq!(
        (&data["webhook_id"], &data["bound"]),
        (&json!(high), &json!(5))
    );
    // It may have been found before the last was posted.
    assert!(
        (6..=8).contains(&data["waiting"].as_u64().unwrap()),
        "{data}"
    );
    assert_eq!(told(&mut ops, "hookwheel.backlog.high").await.len(), 1);
    assert!(
        daemon.said_since(0, "backlog_high").is_some(),
        "the log has it too"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_those_who_are_told_is_only_logged() {
    let site = site(&["standard"], "");
    let (bad, good) = (
        Web::start(&site.authority, |_| 410).await,
        Web::start(&site.authority, |_| 200).await,
    );
    let daemon = site.start();
    let (mut client, mut ops) = (daemon.client("standard"), daemon.client("ops"));
    // Without a list a webhook gets every type, those of operational events too.
    registered(&mut ops, json!({ "url": good.url("/") })).await;
    let own = registered(
        &mut ops,
        json!({ "url": bad.url("/"), "events": ["user.created"] }),
    )
    .await;
    let event = post(&mut ops, "user.created", json!({})).await;
    delivery_in(&mut ops, &own, &event, "failed").await;
    until("it is disabled", async || {
        let shown = get(&mut ops, &format!("/api/v1/webhooks/{own}")).await.body;
        (shown["active"] == false).then_some(())
    })
    .await;
    // What happens to another account after that is told after that.
    let other = registered(&mut client, json!({ "url": bad.url("/") })).await;
    let event = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &other, &event, "failed").await;
    until("the other is told", async || {
        (good.count() >= 3).then_some(())
    })
    .await;
    let listed = get(&mut ops, "/api/v1/events?limit=200").await.body;
    assert_eq!(listed["data"].as_array().unwrap().len(), 3, "{listed}");
    drop(daemon);
    let bodies: Vec<Value> = good
        .stop()
        .await
        .iter()
        .map(|request| serde_json::from_slice(&request.body).unwrap())
        .collect();
    let about: Vec<&Value> = bodies
        .iter()
        .map(|body| &body["data"]["webhook_id"])
        .collect();
    assert_eq!(bodies.len(), 3, "{bodies:?}");
    assert!(!about.contains(&&json!(own)), "{bodies:?}");
    assert_eq!(
        about.iter().filter(|id| ***id == json!(other)).count(),
        2,
        "{bodies:?}"
    );
}

async fn refused(client: &mut Client, method: Method, path: &str, body: Value) -> Value {
    let answer = client.call(method, path, Some(&body)).await.unwrap();
    assert_eq!(answer.status, 400, "{}", answer.body);
    answer.body
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_posts_operational_types() {
    let site = site(&["standard", "dataflow"], "");
    let daemon = site.start();
    for name in ["standard", "dataflow", "ops"] {
        let body = json!({ "type": "hookwheel.webhook.disabled", "data": {} });
        let why = refused(
            &mut daemon.client(name),
            Method::POST,
            "/api/v1/events",
            body,
        )
        .await;
        assert_eq!(why["code"], "event_type_reserved");
        assert_eq!(why["errors"][0]["pointer"], "/type");
        assert!(why.to_string().contains("nobody posts them"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_their_account_may_subscribe_to_operational_types() {
    let site = site(&["standard", "dataflow"], "");
    let daemon = site.start();
    let url = "https://127.0.0.1:1/";
    for (name, events) in [
        ("standard", json!(["a", "hookwheel.*"])),
        ("dataflow", json!(["*", "hookwheel.backlog.high"])),
    ] {
        let mut client = daemon.client(name);
        let body = json!({ "url": url, "events": events });
        let why = refused(&mut client, Method::POST, "/api/v1/webhooks", body.clone()).await;
        assert_eq!(why["errors"][0]["pointer"], "/events/1");
        assert!(
            why["detail"].as_str().unwrap().contains("[alerts]"),
            "{why}"
        );
        let id = registered(&mut client, json!({ "url": url, "events": ["*"] })).await;
        let path = format!("/api/v1/webhooks/{id}");
        let why = refused(
            &mut client,
            Method::PATCH,
            &path,
            json!({ "events": events }),
        )
        .await;
        assert_eq!(why["errors"][0]["pointer"], "/events/1");
    }
    let mut ops = daemon.client("ops");
    let why = refused(
        &mut ops,
        Method::POST,
        "/api/v1/webhooks",
        json!({ "url": url, "events": ["hookwheel.gone"] }),
    )
    .await;
    assert!(
        why["detail"]
            .as_str()
            .unwrap()
            .contains("there are hookwheel.webhook.disabled"),
        "{why}"
    );
    registered(
        &mut ops,
        json!({ "url": url, "events": ["user.created", "hookwheel.webhook.*"] }),
    )
    .await;
    // What it may post is as its profile says.
    refused(
        &mut ops,
        Method::POST,
        "/api/v1/events",
        json!({ "type": "other", "data": {} }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operational_types_are_listed_for_their_account() {
    let site = site(&["standard", "dataflow"], "");
    let daemon = site.start();
    for name in ["standard", "dataflow"] {
        let mut client = daemon.client(name);
        let types = get(&mut client, "/api/v1/event-types").await.body;
        assert_eq!(types["operational"], json!([]));
        assert!(!types["data"].to_string().contains("hookwheel."), "{types}");
        assert_eq!(
            get(&mut client, "/api/v1/event-types/hookwheel.backlog.high")
                .await
                .status,
            404
        );
    }
    let mut ops = daemon.client("ops");
    let types = get(&mut ops, "/api/v1/event-types").await.body;
    assert_eq!(types["operational"].as_array().unwrap().len(), 5);
    assert_eq!(types["data"].as_array().unwrap().len(), 6);
    let one = get(&mut ops, "/api/v1/event-types/hookwheel.backlog.high")
        .await
        .body;
    assert_eq!(
        (&one["operational"], &one["postable"]),
        (&json!(true), &json!(false))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_names_another_account() {
    let site = Site::new(&["standard", "dataflow"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": "https://127.0.0.1:1/", "events": ["hookwheel.*"] });
    refused(&mut client, Method::POST, "/api/v1/webhooks", body.clone()).await;
    let config = site.config(true) + "[alerts]\naccount = \"standard\"\n";
    std::fs::write(site.path("config.toml"), config).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    let path = "/api/v1/webhooks";
    until("it may subscribe", async || {
        let answer = client.call(Method::POST, path, Some(&body)).await.unwrap();
        (answer.status == 201).then_some(())
    })
    .await;
    assert!(
        daemon.said_since(0, "restart").is_none(),
        "alerts are taken over by a reload"
    );
}
