//! Filters against the real binary: what they let through, how they are refused, and trying them out.

use http::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::support::{Site, get, register, registered, until};
use crate::web::Web;

async fn posted(client: &mut Client, body: &Value) -> Value {
    let answer = client
        .call(Method::POST, "/api/v1/events", Some(body))
        .await
        .unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.body["deliveries"].clone()
}

async fn call(client: &mut Client, method: Method, path: &str, body: Value) -> Answer {
    client.call(method, path, Some(&body)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_lets_through_what_fits_and_survives_a_restart() {
    let site = Site::new(&["flock"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("flock");
    let filter = json!({ "data": { "type": ["BugAnalysis"], "payload": { "severity": ["Critical", "High"] } } });
    let severe = json!({ "url": web.url("/severe"), "filter": filter });
    let webhook = register(&mut client, severe).await;
    assert_eq!(webhook["filter"], filter);
    register(&mut client, json!({ "url": web.url("/all") })).await;
    let artifact = |kind: &str, severity: &str| json!({ "type": "artifact.published", "data": { "type": kind, "payload": { "severity": severity } } });
    assert_eq!(
        posted(&mut client, &artifact("BugAnalysis", "High")).await,
        2
    );
    assert_eq!(
        posted(&mut client, &artifact("BugAnalysis", "Low")).await,
        1
    );
    assert_eq!(posted(&mut client, &artifact("Review", "High")).await, 1);
    until("four requests", async || (web.count() == 4).then_some(())).await;
    assert!(daemon.terminate().success());

    let daemon = site.start();
    let mut client = daemon.client("flock");
    let path = format!("/api/v1/webhooks/{}", webhook["id"].as_str().unwrap());
    assert_eq!(get(&mut client, &path).await.body["filter"], filter);
    assert_eq!(
        posted(&mut client, &artifact("BugAnalysis", "Low")).await,
        1
    );
    let cleared = call(&mut client, Method::PATCH, &path, json!({ "filter": null })).await;
    assert_eq!(cleared.body["filter"], Value::Null, "{}", cleared.body);
    assert_eq!(
        posted(&mut client, &artifact("BugAnalysis", "Low")).await,
        2
    );
    until("seven requests", async || (web.count() == 7).then_some(())).await;
    let severe = web.stop().await;
    let severe = severe.iter().filter(|request| request.path == "/severe");
    assert_eq!(severe.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_sees_the_whole_event() {
    let site = Site::new(&["driftguard"]);
    let daemon = site.start();
    let mut client = daemon.client("driftguard");
    for filter in [
        json!({ "contract_id": [{ "prefix": "c1" }] }),
        json!({ "contract_id": [null] }),
        json!({ "metadata": { "team": [{ "exists": true }] } }),
        json!({ "id": ["mine"], "type": [{ "anything-but": "pass" }], "created_at": [{ "prefix": "2026-" }] }),
        json!({ "$or": [{ "data": { "n": [{ "numeric": [">", 1, "<=", 5] }] } }, { "data": { "ip": [{ "cidr": "10.0.0.0/8" }] } }] }),
    ] {
        let body = json!({ "url": "https://hooks.example.com/", "events": ["*"], "active": false, "filter": filter });
        registered(&mut client, body).await;
    }
    for (event, deliveries) in [
        (
            json!({ "type": "breaking", "contract_id": "c1", "data": null }),
            1,
        ),
        (json!({ "type": "breaking", "data": { "n": 1 } }), 1),
        (
            json!({ "type": "breaking", "data": { "n": [9, 5.0] }, "metadata": { "team": "a" } }),
            3,
        ),
        (
            json!({ "type": "warning", "contract_id": "c2", "id": "mine", "data": { "ip": "10.1.1.1" },
                 "created_at": "2026-03-01T19:22:00Z" }),
            2,
        ),
        (
            json!({ "type": "pass", "contract_id": "c2", "data": {} }),
            0,
        ),
    ] {
        assert_eq!(posted(&mut client, &event).await, deliveries, "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_filter_is_refused_at_its_place_and_changes_nothing() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let url = "https://hooks.example.com/";
    for (filter, pointer, piece) in [
        (
            json!({ "data": { "severity": "High" } }),
            "/filter/data/severity",
            "[\"High\"]",
        ),
        (
            json!({ "data": { "n": [{ "numeric": [">"] }] } }),
            "/filter/data/n/0/numeric",
            "[\">\", 0]",
        ),
        (json!([]), "/filter", "must be an object"),
        (json!({ "a": ["x".repeat(5_000)] }), "/filter", "4096"),
    ] {
        let refused = call(
            &mut client,
            Method::POST,
            "/api/v1/webhooks",
            json!({ "url": url, "filter": filter }),
        )
        .await;
        assert_eq!(refused.status, 400, "{}", refused.body);
        assert_eq!(refused.body["code"], "filter_invalid", "{}", refused.body);
        assert_eq!(refused.body["errors"][0]["pointer"], pointer);
        assert!(
            refused.body["detail"].as_str().unwrap().contains(piece),
            "{}",
            refused.body
        );
    }
    assert_eq!(
        get(&mut client, "/api/v1/webhooks").await.body["data"],
        json!([])
    );
    let good = json!({ "type": ["a"] });
    let id = registered(&mut client, json!({ "url": url, "filter": good })).await;
    let path = format!("/api/v1/webhooks/{id}");
    let change = json!({ "name": "n", "filter": { "a": 1, "b": [] } });
    let refused = call(&mut client, Method::PATCH, &path, change).await;
    assert_eq!(refused.status, 400);
    assert_eq!(
        refused.body["errors"].as_array().unwrap().len(),
        2,
        "{}",
        refused.body
    );
    let shown = get(&mut client, &path).await.body;
    assert_eq!((&shown["filter"], &shown["name"]), (&good, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_can_be_tried_out() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let path = "/api/v1/filters/test";
    let pattern = json!({ "data": { "severity": ["High"] } });
    let fits = json!({ "pattern": pattern, "event": { "data": { "severity": "High" } } });
    let answer = call(&mut client, Method::POST, path, fits).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body, json!({ "matches": true, "why": null }));
    let other = json!({ "pattern": pattern, "event": { "data": [{ "severity": "Low" }] } });
    let answer = call(&mut client, Method::POST, path, other).await;
    let why = json!({ "pointer": "/data/severity", "detail": "no rule fits \"Low\"" });
    assert_eq!(answer.body, json!({ "matches": false, "why": why }));
    // What takes a while is tried out elsewhere, with the same answer.
    let rules: Vec<u32> = (0..100).map(|number| 1_000 + number).collect();
    let mut values = vec![7; 100_000];
    let great = |values: &[u32]| json!({ "pattern": { "a": rules }, "event": { "a": values } });
    let answer = call(&mut client, Method::POST, path, great(&values)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["matches"], false);
    assert_eq!(answer.body["why"]["pointer"], "/a");
    values.push(1_099);
    let answer = call(&mut client, Method::POST, path, great(&values)).await;
    assert_eq!(answer.body, json!({ "matches": true, "why": null }));
    for (body, pointer, code) in [
        (
            json!({ "pattern": { "a": 1 }, "event": {} }),
            "/pattern/a",
            "filter_invalid",
        ),
        (
            json!({ "pattern": pattern, "event": 5 }),
            "/event",
            "fields_invalid",
        ),
        (json!({ "pattern": pattern }), "/event", "missing"),
        (json!({ "event": {} }), "/pattern", "missing"),
        (
            json!({ "pattern": pattern, "event": {}, "x": 1 }),
            "/x",
            "unknown_field",
        ),
    ] {
        let refused = call(&mut client, Method::POST, path, body).await;
        assert_eq!(refused.status, 400, "{}", refused.body);
        assert_eq!(refused.body["code"], code);
        assert_eq!(refused.body["errors"][0]["pointer"], pointer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_event_is_matched_with_many_filters() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    for number in 0..40 {
        let filter = json!({ "data": { "list": { "n": [number] } } });
        let url = "https://hooks.example.com/";
        registered(
            &mut client,
            json!({ "url": url, "active": false, "filter": filter }),
        )
        .await;
    }
    let list: Vec<Value> = (20..10_000)
        .map(|n| json!({ "n": n, "pad": "xx" }))
        .collect();
    let event = json!({ "type": "a", "data": { "list": list } });
    assert!(event.to_string().len() * 40 > 4 << 20);
    assert_eq!(posted(&mut client, &event).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_over_the_largest_pattern_and_events_of_any_shape_answer() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let rules: Vec<Value> = (0..100)
        .map(|n| json!({ "wildcard": format!("*{n}*z") }))
        .collect();
    let filter = json!({ "data": rules });
    let url = "https://hooks.example.com/";
    registered(
        &mut client,
        json!({ "url": url, "active": false, "filter": filter }),
    )
    .await;
    for (data, deliveries) in [
        (json!(null), 0),
        (json!([[[], {}], ["a99z"]]), 1),
        (json!({ "a99z": "a99z" }), 0),
        (json!("9".repeat(100_000)), 0),
        (json!(vec!["99"; 10_000]), 0),
    ] {
        assert_eq!(
            posted(&mut client, &json!({ "type": "a", "data": data })).await,
            deliveries
        );
    }
}
