//! A webhook's own settings and the contract that is told of it, against what a receiver gets.

use http::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::support::{Site, delivery_in, get, post, register};
use crate::web::{Web, header};
use hookwheel::profile::Profiles;
use hookwheel::verify::verify;

async fn patch(client: &mut Client, path: &str, body: Value) -> Value {
    let answer = client.call(Method::PATCH, path, Some(&body)).await.unwrap();
    assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    answer.body
}

fn agent() -> String {
    format!("Hookwheel/{}", env!("CARGO_PKG_VERSION"))
}

fn path_of(shown: &Value) -> String {
    format!("/api/v1/webhooks/{}", shown["id"].as_str().unwrap())
}

/// The delays of a schedule, in seconds.
fn delays(shown: &Value) -> Vec<String> {
    let list = shown["retry"]["delays"].as_array().unwrap();
    let texts = list.iter().map(|delay| delay.as_str().unwrap().to_owned());
    texts.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_stand_beside_the_signature_and_are_never_shown() {
    let site = Site::new(&["anomalyarmor", "flock"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("anomalyarmor");
    let body = json!({
        "url": web.url("/"), "name": "alerts", "headers": { "X-Team": "blue" },
        "bearer_token": "hidden-token", "api_key": "hidden-key",
        "auth_header": "X-Extra", "auth_value": "hidden extra",
    });
    let created = register(&mut client, body).await;
    let names =
        json!({ "X-Team": null, "Authorization": null, "X-API-Key": null, "X-Extra": null });
    assert_eq!(created["headers"], names);
    assert!(!created.to_string().contains("hidden"), "{created}");
    let told = &created["contract"]["headers"];
    assert_eq!(told["Authorization"], "<as given>", "{told}");
    let path = path_of(&created);
    let data = json!({ "alert": {}, "event": {}, "links": {} });
    let id = created["id"].as_str().unwrap();
    let event = post(&mut client, "alert.triggered", data.clone()).await;
    delivery_in(&mut client, id, &event, "delivered").await;

    let change = json!({ "bearer_token": null, "api_key": "other-key", "auth_header": "x-extra", "auth_value": null });
    let changed = patch(&mut client, &path, change).await;
    assert_eq!(
        changed["headers"],
        json!({ "X-Team": null, "X-API-Key": null })
    );
    let event = post(&mut client, "alert.triggered", data).await;
    delivery_in(&mut client, id, &event, "delivered").await;
    assert!(!daemon.log().contains("hidden"));

    let requests = web.stop().await;
    let get = |name: &str| [header(&requests[0], name), header(&requests[1], name)];
    assert_eq!(get("authorization"), ["Bearer hidden-token", ""]);
    assert_eq!(get("x-api-key"), ["hidden-key", "other-key"]);
    assert_eq!(get("x-extra"), ["hidden extra", ""]);
    assert_eq!(get("x-team"), ["blue", "blue"]);
    let profiles = Profiles::built_in();
    let profile = profiles.get("anomalyarmor").unwrap();
    let secret = created["secret"].as_str().unwrap();
    for request in &requests {
        verify(profile, secret, &request.headers, &request.body, request.at).unwrap();
    }
}

/// Changes made one after another, and the delays that hold after each.
fn changes() -> Vec<(Value, Vec<&'static str>)> {
    vec![
        (
            json!({ "max_retries": 5 }),
            vec!["1s", "2s", "4s", "8s", "16s"],
        ),
        (
            json!({ "retry_delay": 0.25 }),
            vec!["250ms", "500ms", "1s", "2s", "4s"],
        ),
        (
            json!({ "retry_backoff": 1.5, "max_retries": 2 }),
            vec!["250ms", "375ms"],
        ),
        (
            json!({ "retry": { "delays": ["5s", 90] } }),
            vec!["5s", "90s"],
        ),
        (
            json!({ "retry": { "max_retries": 3, "initial": "10s", "multiplier": 3, "max_delay": "1m" } }),
            vec!["10s", "30s", "1m"],
        ),
        (
            json!({ "retry": { "max_retries": 4, "initial": 5, "multiplier": 2.0, "max_delay": "12s" } }),
            vec!["5s", "10s", "12s", "12s"],
        ),
        (
            json!({ "max_retries": 5 }),
            vec!["5s", "10s", "12s", "12s", "12s"],
        ),
        (
            json!({ "max_retries": null, "retry_delay": null, "retry_backoff": null }),
            vec!["1s", "2s", "4s"],
        ),
        (json!({ "max_retries": 1, "retry_delay": 3 }), vec!["3s"]),
        (json!({ "max_retries": 3 }), vec!["3s", "6s", "12s"]),
        (json!({ "max_retries": 0 }), vec![]),
        (json!({ "max_retries": 2 }), vec!["1s", "2s"]),
        (json!({ "retry": null }), vec!["1s", "2s", "4s"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_given_whole_or_in_parts() {
    let site = Site::new(&["flock", "dataflow"]);
    let daemon = site.start();
    let mut client = daemon.client("flock");
    let url = "https://127.0.0.1:1/";
    let body = json!({ "url": url, "max_retries": 3, "retry_delay": 1.0, "retry_backoff": 2.0, "timeout": 30.0,
        "auth_header": null, "auth_value": null });
    let created = register(&mut client, body).await;
    assert_eq!(delays(&created), ["1s", "2s", "4s"]);
    assert_eq!(created["timeout"], "30s");
    let path = path_of(&created);
    for (change, expected) in changes() {
        let shown = patch(&mut client, &path, change.clone()).await;
        assert_eq!(delays(&shown), expected, "{change}");
        let rows = shown["contract"]["schedule"].as_array().unwrap().len();
        assert_eq!(rows, expected.len() + 1);
    }
    assert_eq!(
        patch(&mut client, &path, json!({ "timeout": 2.5 })).await["timeout"],
        "2500ms"
    );
    assert_eq!(
        patch(&mut client, &path, json!({ "timeout": null })).await["timeout"],
        "30s"
    );
    // A list has no multiplier to keep.
    let mut client = daemon.client("dataflow");
    let body = json!({ "url": url, "events": ["*"], "max_retries": 2 });
    let refused = client
        .call(Method::POST, "/api/v1/webhooks", Some(&body))
        .await
        .unwrap();
    assert_eq!(refused.status, 400);
    let errors = refused.body["errors"].as_array().unwrap();
    let pointers: Vec<&str> = errors
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/retry_delay", "/retry_backoff"]);
}

/// Fields of a change, and the pointer of the one error.
fn mistaken_credentials() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "bearer_token": "" }), "/bearer_token"),
        (json!({ "bearer_token": "Bearer abc" }), "/bearer_token"),
        (json!({ "bearer_token": "a b" }), "/bearer_token"),
        (json!({ "bearer_token": "a\r\nX: y" }), "/bearer_token"),
        (json!({ "bearer_token": 5 }), "/bearer_token"),
        (
            json!({ "bearer_token": "a", "headers": { "authorization": "b" } }),
            "/bearer_token",
        ),
        (
            json!({ "bearer_token": "a", "auth_header": "Authorization", "auth_value": "b" }),
            "/auth_value",
        ),
        (
            json!({ "api_key": "a", "headers": { "X-Api-Key": "b" } }),
            "/api_key",
        ),
        (
            json!({ "api_key": "a", "api_key_header": "Host" }),
            "/api_key_header",
        ),
        (
            json!({ "api_key": "a", "api_key_header": "X-Flock-Signature" }),
            "/api_key_header",
        ),
        (
            json!({ "api_key": "é", "api_key_header": "X-K" }),
            "/api_key",
        ),
        (json!({ "api_key_header": "X-K" }), "/api_key"),
        (json!({ "auth_header": "X-A" }), "/auth_value"),
        (json!({ "auth_value": "a" }), "/auth_header"),
        (
            json!({ "auth_value": "a", "auth_header": 5 }),
            "/auth_header",
        ),
        (
            json!({ "auth_header": "X A", "auth_value": "a" }),
            "/auth_header",
        ),
    ]
}

/// As above, for the times.
fn mistaken_times() -> Vec<(Value, &'static str)> {
    let retry = |value: Value| json!({ "retry": value });
    vec![
        (json!({ "timeout": 0.01 }), "/timeout"),
        (json!({ "timeout": 1e300 }), "/timeout"),
        (json!({ "timeout": -1 }), "/timeout"),
        (json!({ "max_retries": 101 }), "/max_retries"),
        (json!({ "max_retries": -1 }), "/max_retries"),
        (json!({ "max_retries": 2.5 }), "/max_retries"),
        (json!({ "retry_delay": -1 }), "/retry_delay"),
        (json!({ "retry_delay": 3e6 }), "/retry_delay"),
        (json!({ "retry_delay": "soon" }), "/retry_delay"),
        (json!({ "retry_backoff": 0.5 }), "/retry_backoff"),
        (json!({ "retry_backoff": "2" }), "/retry_backoff"),
        (
            json!({ "max_retries": 2, "retry": { "delays": [] } }),
            "/max_retries",
        ),
        (retry(json!({})), "/retry/delays"),
        (retry(json!([])), "/retry"),
        (
            retry(json!({ "delays": ["1s"], "initial": "1s" })),
            "/retry/initial",
        ),
        (retry(json!({ "delays": ["1s", "x"] })), "/retry/delays/1"),
        (
            retry(json!({ "delays": ["1s"], "jitter": "101%" })),
            "/retry/jitter",
        ),
        (
            retry(json!({ "delays": ["1s"], "colour": 1 })),
            "/retry/colour",
        ),
        (
            retry(json!({ "max_retries": 2, "initial": "1s" })),
            "/retry/multiplier",
        ),
        (
            retry(json!({ "max_retries": 101, "initial": "1s", "multiplier": 2 })),
            "/retry/max_retries",
        ),
        (
            retry(json!({ "max_retries": 2, "initial": "1s", "multiplier": 0 })),
            "/retry/multiplier",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_refused_with_a_pointer_and_change_nothing() {
    let site = Site::new(&["flock"]);
    let daemon = site.start();
    let mut client = daemon.client("flock");
    let created = register(&mut client, json!({ "url": "https://127.0.0.1:1/" })).await;
    let path = path_of(&created);
    let before = get(&mut client, &path).await.body;
    for (change, pointer) in mistaken_credentials().into_iter().chain(mistaken_times()) {
        let answer = client
            .call(Method::PATCH, &path, Some(&change))
            .await
            .unwrap();
        assert_eq!(answer.status, 400, "{change}: {}", answer.body);
        assert_eq!(
            answer.body["errors"][0]["pointer"], pointer,
            "{change}: {}",
            answer.body
        );
        let count = answer.body["errors"].as_array().unwrap().len();
        assert_eq!(count, 1, "{change}: {}", answer.body);
    }
    assert_eq!(get(&mut client, &path).await.body, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_tells_the_contract_that_the_receiver_sees() {
    let site = Site::new(&["dataflow"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("dataflow");
    let body =
        json!({ "url": web.url("/"), "events": ["pipeline.*"], "headers": { "X-Team": "blue" } });
    let created = register(&mut client, body).await;
    let contract = &created["contract"];
    let headers = json!({ "Content-Type": "application/json", "User-Agent": agent(),
        "X-DataFlow-Signature": "t=<unix seconds>,v1=<hex>", "X-Team": "<as given>" });
    assert_eq!(contract["headers"], headers);
    assert_eq!(contract["method"], "POST");
    assert_eq!(contract["success"], json!(["200"]));
    assert_eq!(contract["timeout"], "5s");
    let rows = contract["schedule"].as_array().unwrap();
    let row =
        |at: usize| [&rows[at]["delay"], &rows[at]["total_wait"]].map(|v| v.as_str().unwrap());
    assert_eq!(
        (rows.len(), row(0), row(5)),
        (6, ["0s", "0s"], ["6h", "7h 21m"])
    );
    let end = contract["exhausted"]["means"].as_str().unwrap();
    assert!(end.contains("disabled") && end.contains("unless"), "{end}");
    assert_eq!(contract["rate"]["per_second"], 100);
    assert_eq!(
        get(&mut client, &path_of(&created)).await.body["contract"],
        *contract
    );

    let event = post(&mut client, "pipeline.created", json!({})).await;
    delivery_in(
        &mut client,
        created["id"].as_str().unwrap(),
        &event,
        "delivered",
    )
    .await;
    let requests = web.stop().await;
    assert_eq!(requests[0].method, Method::POST);
    for name in contract["headers"].as_object().unwrap().keys() {
        assert!(!header(&requests[0], name).is_empty(), "{name} is promised");
    }
    assert_eq!(header(&requests[0], "user-agent"), agent());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_without_a_secret_is_promised_no_signature() {
    let site = Site::new(&["flock"]);
    let daemon = site.start();
    let mut client = daemon.client("flock");
    let created = register(&mut client, json!({ "url": "https://127.0.0.1:1/" })).await;
    let contract = &created["contract"];
    assert_eq!(
        contract["headers"],
        json!({ "Content-Type": "application/json", "User-Agent": agent() })
    );
    assert_eq!(contract["signatures"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_profiles_are_listed_with_their_contracts() {
    let mine = "[profiles.mine]\nextends = \"standard\"\ntimeout = \"7s\"\n";
    let site = Site::new(&["standard"]).with(mine);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let listed = get(&mut client, "/api/v1/profiles").await;
    let rows = listed.body["data"].as_array().unwrap();
    assert_eq!(rows.len(), 7);
    let own: Vec<&Value> = rows.iter().filter(|row| row["own"] == true).collect();
    assert_eq!((own.len(), &own[0]["name"]), (1, &json!("standard")));
    let mine = rows.iter().find(|row| row["name"] == "mine").unwrap();
    assert_eq!(mine["contract"]["timeout"], "7s");
    let form = &mine["contract"]["headers"]["webhook-signature"];
    assert_eq!(form, "v1,<base64>");
    assert_eq!(mine["contract"]["schedule"][1]["delay"], "5s up to 6s");
    // A profile that a reload brings is listed, too.
    let config = site.config(true) + "[profiles.more]\nextends = \"mine\"\n";
    std::fs::write(site.path("config.toml"), config).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    crate::support::until("the new profile is listed", async || {
        let listed = get(&mut client, "/api/v1/profiles").await;
        (listed.body["data"].as_array().unwrap().len() == 8).then_some(())
    })
    .await;
}
