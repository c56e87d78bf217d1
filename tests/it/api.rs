//! The API against the real binary: what it answers, what it refuses, and that a refusal changes nothing.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::Client;
use crate::support::{Site, delivery, delivery_in, get, key_of, post, register, registered, until};
use crate::web::Web;
use hookwheel::cli::key_hash;

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_lives_from_registration_to_removal() {
    let site = Site::new(&["driftguard"]);
    let daemon = site.start();
    let mut client = daemon.client("driftguard");
    let url = "https://hooks.example.com/in";
    let created = register(
        &mut client,
        json!({ "url": url, "events": ["breaking", "warning"], "contract_id": null }),
    )
    .await;
    assert_eq!(created["url"], url);
    assert_eq!(created["events"], json!(["breaking", "warning"]));
    assert_eq!(created["contract_id"], Value::Null);
    assert_eq!(created["active"], true);
    assert!(created["secret"].as_str().unwrap().starts_with("whsec_"));
    let path = format!("/api/v1/webhooks/{}", created["id"].as_str().unwrap());

    let shown = get(&mut client, &path).await;
    assert_eq!(shown.status, 200);
    assert_eq!(shown.body.get("secret"), None, "a secret is shown once");
    let listed = get(&mut client, "/api/v1/webhooks").await;
    let mut row = shown.body;
    assert!(
        row.as_object_mut().unwrap().remove("contract").is_some(),
        "lists leave the contract out"
    );
    assert_eq!(listed.body["data"], json!([row]));

    let change = json!({ "active": false, "name": "mine", "headers": { "X-Team": "blue" }, "timeout": "3s" });
    let changed = client
        .call(Method::PATCH, &path, Some(&change))
        .await
        .unwrap();
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!(changed.body["active"], false);
    assert_eq!(changed.body["timeout"], "3s");
    assert_eq!(
        changed.body["headers"],
        json!({ "X-Team": null }),
        "header values are not shown"
    );
    assert_eq!(
        changed.body["events"],
        json!(["breaking", "warning"]),
        "what is not given stays"
    );

    assert_eq!(
        client
            .call(Method::DELETE, &path, None)
            .await
            .unwrap()
            .status,
        204
    );
    assert_eq!(get(&mut client, &path).await.status, 404);
    assert!(daemon.terminate().success());

    let daemon = site.start();
    assert_eq!(
        get(&mut daemon.client("driftguard"), &path).await.status,
        404,
        "removed stays removed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_to_the_webhooks_that_want_it() {
    let site = Site::new(&["driftguard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("driftguard");
    let url = |path: &str| web.url(&format!("/{path}"));
    register(&mut client, json!({ "url": url("all"), "events": ["*"] })).await;
    register(
        &mut client,
        json!({ "url": url("breaking"), "events": ["breaking"] }),
    )
    .await;
    register(
        &mut client,
        json!({ "url": url("scoped"), "events": ["breaking"], "contract_id": "c1" }),
    )
    .await;
    let body = json!({ "type": "breaking", "contract_id": "c1", "data": {} });
    let first = client
        .call(Method::POST, "/api/v1/events", Some(&body))
        .await
        .unwrap();
    assert_eq!(
        (first.status.as_u16(), &first.body["deliveries"]),
        (202, &json!(3))
    );
    let body = json!({ "type": "breaking", "contract_id": "c2", "data": {} });
    let second = client
        .call(Method::POST, "/api/v1/events", Some(&body))
        .await
        .unwrap();
    assert_eq!(second.body["deliveries"], 2);
    let body = json!({ "type": "pass", "data": {} });
    let third = client
        .call(Method::POST, "/api/v1/events", Some(&body))
        .await
        .unwrap();
    assert_eq!(third.body["deliveries"], 1);
    until("six requests", async || (web.count() == 6).then_some(())).await;
    let shown = get(
        &mut client,
        &format!("/api/v1/events/{}", first.body["id"].as_str().unwrap()),
    )
    .await;
    assert_eq!(shown.body["deliveries"].as_array().unwrap().len(), 3);
    assert_eq!(shown.body["contract_id"], "c1");
    let listed = get(&mut client, "/api/v1/events?limit=2").await;
    let types: Vec<&str> = listed.body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["pass", "breaking"], "newest first");
    let cursor = listed.body["next_cursor"].as_str().unwrap();
    let rest = get(&mut client, &format!("/api/v1/events?cursor={cursor}")).await;
    assert_eq!(rest.body["data"].as_array().unwrap().len(), 1);
    assert_eq!(rest.body["next_cursor"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_is_one_event() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let event = json!({ "id": "order-1", "type": "order.paid", "data": { "n": 1.0 } });
    let first = client
        .call(Method::POST, "/api/v1/events", Some(&event))
        .await
        .unwrap();
    assert_eq!(first.status, 202);
    let again = client
        .call(Method::POST, "/api/v1/events", Some(&event))
        .await
        .unwrap();
    assert_eq!(
        (again.status, again.body),
        (StatusCode::ACCEPTED, first.body)
    );
    let other = json!({ "id": "order-1", "type": "order.paid", "data": { "n": 2 } });
    let conflict = client
        .call(Method::POST, "/api/v1/events", Some(&other))
        .await
        .unwrap();
    assert_eq!(
        (conflict.status.as_u16(), &conflict.body["code"]),
        (409, &json!("id_conflict"))
    );
    daemon.kill();
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let again = client
        .call(Method::POST, "/api/v1/events", Some(&event))
        .await
        .unwrap();
    assert_eq!(again.status, 202, "the id is remembered over a kill");
    assert_eq!(
        get(&mut client, "/api/v1/events").await.body["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_webhook_holds_what_comes_and_lets_it_flow_later() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "active": false });
    let webhook = registered(&mut client, body).await;
    let event = post(&mut client, "a", json!({})).await;
    assert_eq!(
        delivery(&mut client, &webhook, &event).await["state"],
        "held"
    );
    daemon.kill();
    let daemon = site.start();
    let mut client = daemon.client("standard");
    assert_eq!(
        delivery(&mut client, &webhook, &event).await["state"],
        "held"
    );
    let path = format!("/api/v1/webhooks/{webhook}");
    client
        .call(Method::PATCH, &path, Some(&json!({ "active": true })))
        .await
        .unwrap();
    delivery_in(&mut client, &webhook, &event, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_delivery_is_sent_again_on_request_and_a_waiting_one_at_once() {
    let site = Site::new(&["standard"]);
    let web = Web::start(
        &site.authority,
        |number| if number <= 3 { 500 } else { 200 },
    )
    .await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "retry": { "delays": ["50ms"] } });
    let webhook = registered(&mut client, body).await;
    let event = post(&mut client, "a", json!({})).await;
    let failed = delivery_in(&mut client, &webhook, &event, "failed").await;
    assert_eq!(failed["reason"], "exhausted");
    assert_eq!(failed["attempts"].as_array().unwrap().len(), 2);

    let patient = json!({ "retry": { "delays": ["1h"] } });
    client
        .call(
            Method::PATCH,
            &format!("/api/v1/webhooks/{webhook}"),
            Some(&patient),
        )
        .await
        .unwrap();
    let retry = format!("/api/v1/webhooks/{webhook}/deliveries/{event}/retry");
    assert_eq!(
        client
            .call(Method::POST, &retry, None)
            .await
            .unwrap()
            .status,
        202
    );
    // The third attempt fails too: the new run of the schedule waits for an hour.
    let waiting = until("the third attempt", async || {
        let shown = delivery(&mut client, &webhook, &event).await;
        (shown["attempts"].as_array().unwrap().len() == 3).then_some(shown)
    })
    .await;
    assert_eq!(waiting["state"], "waiting");
    assert_eq!(waiting["attempts"][2]["trigger"], "manual");
    assert_eq!(
        client
            .call(Method::POST, &retry, None)
            .await
            .unwrap()
            .status,
        202
    );
    let done = delivery_in(&mut client, &webhook, &event, "delivered").await;
    assert_eq!(done["attempts"].as_array().unwrap().len(), 4);
    assert_log(&mut client, &webhook, &event).await;
}

/// One delivered delivery in the log, found by its state and by no other.
async fn assert_log(client: &mut Client, webhook: &str, event: &str) {
    let other = format!("/api/v1/webhooks/{webhook}/deliveries/nothing/retry");
    assert_eq!(
        client
            .call(Method::POST, &other, None)
            .await
            .unwrap()
            .status,
        404
    );
    let listed = get(
        client,
        &format!("/api/v1/webhooks/{webhook}/deliveries?state=delivered"),
    )
    .await;
    assert_eq!(listed.body["data"][0]["event_id"], event);
    let none = get(
        client,
        &format!("/api/v1/webhooks/{webhook}/deliveries?state=failed"),
    )
    .await;
    assert_eq!(none.body["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_webhook_cancels_what_waits_for_it() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": "https://127.0.0.1:1/", "active": false });
    let webhook = registered(&mut client, body).await;
    let mut events = Vec::new();
    for number in 0..300 {
        events.push(post(&mut client, "a", json!(number)).await);
    }
    client
        .call(Method::DELETE, &format!("/api/v1/webhooks/{webhook}"), None)
        .await
        .unwrap();
    daemon.kill();
    let daemon = site.start();
    let mut client = daemon.client("standard");
    for event in [&events[0], &events[299]] {
        until("it is cancelled", async || {
            let shown = get(&mut client, &format!("/api/v1/events/{event}"))
                .await
                .body;
            (shown["deliveries"][0]["state"] == "cancelled").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_event_answers_with_status_and_phases() {
    let site = Site::new(&["anomalyarmor"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("anomalyarmor");
    let created = register(&mut client, json!({ "url": web.url("/alerts") })).await;
    let path = format!("/api/v1/webhooks/{}/test", created["id"].as_str().unwrap());
    let tested = client.call(Method::POST, &path, None).await.unwrap();
    assert_eq!(tested.status, 200, "{}", tested.body);
    assert_eq!(tested.body["delivered"], true);
    assert_eq!(tested.body["status"], 200);
    assert!(tested.body["response_time_ms"].as_f64().unwrap() > 0.0);
    assert!(tested.body["attempt"]["phases_ms"]["tls"].as_f64().unwrap() > 0.0);
    let listed = get(&mut client, "/api/v1/events").await;
    assert_eq!(listed.body["data"], json!([]), "a test event is not stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_open_only_what_they_may() {
    let site = Site::new(&["standard", "driftguard"]);
    let reader_key = "reader";
    let site = site.with(&format!(
        "[[accounts]]\nname = \"other\"\nprofile = \"standard\"\n[[accounts.keys]]\nname = \"reader\"\nhash = \"{}\"\nscopes = [\"read\"]\n",
        key_hash(reader_key)
    ));
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let created = register(&mut client, json!({ "url": "https://example.com/" })).await;
    let path = format!("/api/v1/webhooks/{}", created["id"].as_str().unwrap());
    let status = async |key: &str, method: Method, path: &str, body: Option<Value>| {
        let mut client = Client::new(daemon.address, key);
        client
            .call(method, path, body.as_ref())
            .await
            .unwrap()
            .status
            .as_u16()
    };
    assert_eq!(status("wrong", Method::GET, &path, None).await, 401);
    assert_eq!(status("", Method::GET, &path, None).await, 401);
    assert_eq!(
        status(&key_of("driftguard"), Method::GET, &path, None).await,
        404,
        "another account's"
    );
    assert_eq!(
        status(&key_of("driftguard"), Method::DELETE, &path, None).await,
        404
    );
    assert_eq!(
        status(reader_key, Method::GET, "/api/v1/webhooks", None).await,
        200
    );
    let event = json!({ "type": "a", "data": 1 });
    assert_eq!(
        status(reader_key, Method::POST, "/api/v1/events", Some(event)).await,
        403
    );
    let webhook = json!({ "url": "https://example.com/" });
    assert_eq!(
        status(reader_key, Method::POST, "/api/v1/webhooks", Some(webhook)).await,
        403
    );
    assert_eq!(
        status(&key_of("standard"), Method::GET, &path, None).await,
        200,
        "it is still there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_told_what_it_may_do_and_nothing_of_others() {
    let more = format!(
        "[[accounts]]\nname = \"shop\"\nprofile = \"driftguard\"\n[[accounts.keys]]\nname = \"till\"\nhash = \"{}\"\n\
         scopes = [\"send\"]\nevents_per_second = 50\n[[accounts.keys]]\nname = \"boss\"\nhash = \"{}\"\n\
         scopes = [\"read\", \"admin\"]\nrequests_per_minute = 30\n",
        key_hash("till-key"),
        key_hash("boss-key"),
    );
    let site = Site::new(&["standard"]).with(&more);
    let daemon = site.start();
    let told = async |key: &str| {
        let answer = get(&mut Client::new(daemon.address, key), "/api/v1/key").await;
        (answer.status.as_u16(), answer.body)
    };
    // The profile's limit holds for calls that manage, and for each key.
    let till = json!({
        "account": "shop", "name": "till", "scopes": ["send"], "profile": "driftguard",
        "limits": { "requests_per_minute": 100, "events_per_second": 50 },
    });
    assert_eq!(told("till-key").await, (200, till));
    let boss = json!({
        "account": "shop", "name": "boss", "scopes": ["admin", "read"], "profile": "driftguard",
        "limits": { "requests_per_minute": 30, "events_per_second": null },
    });
    assert_eq!(told("boss-key").await, (200, boss));
    let (status, all) = told(&key_of("standard")).await;
    assert_eq!((status, &all["account"]), (200, &json!("standard")));
    assert_eq!(all["limits"]["requests_per_minute"], Value::Null);
    for wrong in ["", "till-kez"] {
        let (status, answer) = told(wrong).await;
        assert_eq!((status, &answer["code"]), (401, &json!("unauthorized")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_answer_without_a_key() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = Client::new(daemon.address, "");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(&mut client, path).await.status, 200, "{path}");
    }
    let metrics = get(&mut client, "/metrics").await;
    assert!(
        metrics
            .body
            .as_str()
            .unwrap()
            .contains("hookwheel_events_accepted_total 0")
    );
}
