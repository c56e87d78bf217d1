//! What the API refuses: with which status and code, and that nothing is changed by it.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::support::{Daemon, Site, get, registered, until};
use crate::web::Web;

/// URLs, and the code of the answer.
const URLS: [(&str, &str); 24] = [
    ("http://example.com/", "https_required"),
    ("HTTP://127.0.0.1/", "https_required"),
    ("ftp://example.com/", "https_required"),
    ("file:///etc/passwd", "https_required"),
    ("//example.com/", "https_required"),
    ("", "https_required"),
    ("https:///path", "url_invalid"),
    ("https:example.com", "url_invalid"),
    ("https://example.com:0/", "url_invalid"),
    ("https://user:pw@example.com/", "url_invalid"),
    ("https://exa mple.com/", "url_invalid"),
    ("https://exa\tmple.com/", "url_invalid"),
    (" https://example.com/", "url_invalid"),
    ("https://example.com/#part", "url_invalid"),
    ("https://example..com/", "url_invalid"),
    ("https://10.0.0.1/", "address_blocked"),
    ("https://169.254.169.254/latest/", "address_blocked"),
    ("https://[::ffff:10.0.0.1]/", "address_blocked"),
    ("https://[fe80::1]/", "address_blocked"),
    ("https://0x7f.1/", "address_blocked"),
    ("https://2130706433/", "address_blocked"),
    ("https://0177.0.0.1/", "address_blocked"),
    ("https://db.internal/", "address_blocked"),
    ("https://localhost:8443/", "address_blocked"),
];

/// Fields beside a good URL and good events as JSON text, and the code of the answer.
const FIELDS: [(&str, &str, &str); 20] = [
    ("events", "[]", "fields_invalid"),
    ("events", "[\"braeking\"]", "event_type_unknown"),
    ("events", "\"breaking\"", "fields_invalid"),
    ("events", "null", "fields_invalid"),
    ("colour", "\"blue\"", "unknown_field"),
    ("active", "\"yes\"", "fields_invalid"),
    ("name", "5", "fields_invalid"),
    ("contract_id", "5", "fields_invalid"),
    ("timeout", "\"10\"", "fields_invalid"),
    ("timeout", "\"1h\"", "fields_invalid"),
    ("retry", "{\"delays\": [\"soon\"]}", "fields_invalid"),
    ("retry", "{\"delays\": [\"40d\"]}", "fields_invalid"),
    ("retry", "{\"delay\": []}", "fields_invalid"),
    ("headers", "{\"Host\": \"x\"}", "header_reserved"),
    (
        "headers",
        "{\"x-driftguard-signature\": \"x\"}",
        "header_reserved",
    ),
    ("headers", "{\"webhook-id\": \"x\"}", "header_reserved"),
    ("headers", "{\"X-A\": \"a\\r\\nX-B: b\"}", "header_invalid"),
    ("headers", "{\"\": \"a\"}", "header_invalid"),
    ("headers", "{\"X-A\": \"é\"}", "header_invalid"),
    ("secret", "\"short\"", "secret_invalid"),
];

/// Events as JSON text, and the code of the answer, which is a 400.
const EVENTS: [(&str, &str); 13] = [
    (r#"{"type": "pass"}"#, "missing"),
    (r#"{"data": 1}"#, "missing"),
    (r#"{"type": "unheard.of", "data": 1}"#, "event_type_unknown"),
    (r#"{"type": "", "data": 1}"#, "event_type_unknown"),
    (r#"{"type": 5, "data": 1}"#, "fields_invalid"),
    (r#"{"type": "pass", "data": 1, "id": "a.b"}"#, "id_invalid"),
    (r#"{"type": "pass", "data": 1, "id": ""}"#, "id_invalid"),
    (
        r#"{"type": "pass", "data": 1, "created_at": "now"}"#,
        "fields_invalid",
    ),
    (
        r#"{"type": "pass", "data": 1, "metadata": []}"#,
        "fields_invalid",
    ),
    (r#"{"type": "pass", "data": 1, "more": 1}"#, "unknown_field"),
    (
        r#"{"type": "pass", "data": 1, "data": 2}"#,
        "fields_invalid",
    ),
    (r#"{"type": "pass", "data": nul}"#, "json_invalid"),
    (r#"{"type": "pass", "data": 1} x"#, "json_invalid"),
];

/// Posts text to a path; gives status and code.
async fn refused(daemon: &Daemon, path: &str, text: &str) -> (u16, String) {
    let mut client = daemon.client("driftguard");
    let answer = client
        .call_text(Method::POST, path, text.to_owned())
        .await
        .unwrap();
    let code = answer.body["code"].as_str().unwrap_or("").to_owned();
    (answer.status.as_u16(), code)
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_registrations_are_refused_with_a_code_and_change_nothing() {
    let site = Site::new(&["driftguard"]);
    // As an operator's config is without private receivers.
    let config = site.config(true).replace("allow = [\"127.0.0.0/8\"]\n", "");
    let daemon = Daemon::start(&site.path("config.toml"), &config);
    let mut cases: Vec<(String, &str)> = Vec::new();
    for (url, code) in URLS {
        cases.push((
            json!({ "url": url, "events": ["breaking"] }).to_string(),
            code,
        ));
    }
    for (field, value, code) in FIELDS {
        let value: Value = serde_json::from_str(value).unwrap();
        let mut body = json!({ "url": "https://example.com/", "events": ["breaking"] });
        body[field] = value;
        cases.push((body.to_string(), code));
    }
    cases.push((json!({ "events": ["breaking"] }).to_string(), "missing"));
    cases.push((
        json!({ "url": "https://example.com/" }).to_string(),
        "missing",
    ));
    for text in ["{", "[]", "", "null"] {
        cases.push((text.to_owned(), "json_invalid"));
    }
    for (text, code) in &cases {
        let got = refused(&daemon, "/api/v1/webhooks", text).await;
        assert_eq!((got.0, got.1.as_str()), (400, *code), "{text}");
    }
    let mut client = daemon.client("driftguard");
    assert_eq!(
        get(&mut client, "/api/v1/webhooks").await.body["data"],
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn several_fields_at_fault_are_all_named() {
    let site = Site::new(&["driftguard"]);
    let daemon = site.start();
    let body = json!({ "url": "http://x/", "events": ["braeking"], "colour": 1, "headers": { "Host": "x" } });
    let answer = daemon
        .client("driftguard")
        .call(Method::POST, "/api/v1/webhooks", Some(&body))
        .await
        .unwrap();
    let mut pointers: Vec<&str> = answer.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/colour", "/events/0", "/headers/Host", "/url"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_events_are_refused_with_a_code_and_change_nothing() {
    let site = Site::new(&["driftguard"]);
    let daemon = site.start();
    let deep = format!(
        r#"{{"type": "pass", "data": {}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let big = format!(
        r#"{{"type": "pass", "data": "{}"}}"#,
        "x".repeat(300 * 1024)
    );
    let mut cases: Vec<(&str, u16, &str)> = EVENTS
        .iter()
        .map(|(text, code)| (*text, 400, *code))
        .collect();
    cases.push((&deep, 400, "json_invalid"));
    cases.push((&big, 413, "too_large"));
    for (text, status, code) in &cases {
        let got = refused(&daemon, "/api/v1/events", text).await;
        let shown: String = text.chars().take(80).collect();
        assert_eq!((got.0, got.1.as_str()), (*status, *code), "{shown}");
    }
    let mut client = daemon.client("driftguard");
    assert_eq!(
        get(&mut client, "/api/v1/events").await.body["data"],
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_batch_each_event_stands_for_itself() {
    let site = Site::new(&["driftguard"]);
    let daemon = site.start();
    let mut client = daemon.client("driftguard");
    let batch = json!([{ "type": "pass", "data": 1 }, { "type": "unheard.of", "data": 1 }]);
    let answer = client
        .call(Method::POST, "/api/v1/events/batch", Some(&batch))
        .await
        .unwrap();
    assert_eq!(answer.status, 207);
    assert!(answer.body["data"][0]["id"].is_string(), "{}", answer.body);
    assert_eq!(
        answer.body["data"][1]["error"]["code"],
        "event_type_unknown"
    );
    assert_eq!(
        get(&mut client, "/api/v1/events").await.body["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_101st_request_in_a_minute_is_refused_where_the_limit_is_100() {
    let site = Site::new(&["driftguard", "standard"]);
    let daemon = site.start();
    let mut client = daemon.client("driftguard");
    for _ in 0..100 {
        assert_eq!(get(&mut client, "/api/v1/webhooks").await.status, 200);
    }
    let body = json!({ "url": "https://example.com/", "events": ["pass"] });
    let refused = client.call(Method::POST, "/api/v1/webhooks", Some(&body));
    let refused = refused.await.unwrap();
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert_eq!(refused.body["code"], "too_many_requests");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("100 requests in a minute"), "{detail}");
    // Events are taken all the same, and another account has no such limit.
    let event = json!({ "type": "pass", "data": {} });
    let posted = client.call(Method::POST, "/api/v1/events", Some(&event));
    assert_eq!(posted.await.unwrap().status, 202);
    let mut other = daemon.client("standard");
    for _ in 0..101 {
        assert_eq!(get(&mut other, "/api/v1/webhooks").await.status, 200);
    }
}

/// Posts text to a path as a POST of `standard`; gives the status and the answer.
async fn answered(daemon: &Daemon, path: &str, text: String) -> (u16, Value) {
    let mut client = daemon.client("standard");
    let answer = client.call_text(Method::POST, path, text).await.unwrap();
    (answer.status.as_u16(), answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_full_of_faults_gets_a_small_answer() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let id = registered(&mut client, json!({ "url": "https://127.0.0.1/" })).await;

    let many = vec!["x"; 60_000];
    let body = json!({ "url": "https://127.0.0.1/", "retry": { "delays": many } });
    let (status, shown) = answered(&daemon, "/api/v1/webhooks", body.to_string()).await;
    assert_eq!(
        (status, shown["errors"].as_array().unwrap().len()),
        (400, 1)
    );
    assert_eq!(shown["errors"][0]["pointer"], "/retry/delays");
    assert!(
        shown["detail"].as_str().unwrap().contains("at most 100"),
        "{shown}"
    );
    // As many as there may be are each looked at.
    let body = json!({ "url": "https://127.0.0.1/", "retry": { "delays": vec!["x"; 100] } });
    let (_, shown) = answered(&daemon, "/api/v1/webhooks", body.to_string()).await;
    assert_eq!(shown["errors"][99]["pointer"], "/retry/delays/99");

    let path = format!("/api/v1/webhooks/{id}/replay");
    let (status, shown) = answered(&daemon, &path, json!({ "states": many }).to_string()).await;
    assert_eq!(
        (status, &shown["errors"][0]["pointer"]),
        (400, &json!("/states"))
    );
    assert!(
        shown["detail"]
            .as_str()
            .unwrap()
            .contains("names 60000 states"),
        "{shown}"
    );

    // Four hundred events with sixty faults each, of which the answer names two thousand.
    let members: Vec<String> = (0..58).map(|number| format!("\"{number}\":1")).collect();
    let event = format!("{{{}}}", members.join(","));
    let batch = format!("[{}]", vec![event.as_str(); 400].join(","));
    assert!(batch.len() < 200 * 1024);
    let (status, shown) = answered(&daemon, "/api/v1/events/batch", batch).await;
    assert_eq!(status, 207);
    let first = &shown["data"][0]["error"];
    assert_eq!(first["detail"], "60 fields are wrong; see `errors`");
    let errors = first["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 6);
    assert_eq!(errors[5]["detail"], "and 55 more fields are wrong");
    assert!(shown.to_string().len() < 512 * 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_test_of_an_account_is_refused_until_one_ends() {
    let site = Site::new(&["standard", "dataflow"]);
    let slow = Web::start_slow(&site.authority, Duration::from_secs(60)).await;
    let quick = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let hanging = registered(&mut client, json!({ "url": slow.url("/") })).await;
    let well = registered(&mut client, json!({ "url": quick.url("/") })).await;
    let hanging = format!("/api/v1/webhooks/{hanging}/test");
    let mut tests = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (mut client, path) = (daemon.client("standard"), hanging.clone());
        tests.spawn(async move { client.call(Method::POST, &path, None).await });
    }
    until("four are sent", async || (slow.count() == 4).then_some(())).await;
    let path = format!("/api/v1/webhooks/{well}/test");
    let refused = client.call(Method::POST, &path, None).await.unwrap();
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert_eq!(refused.body["code"], "too_many_tests");
    assert_eq!(quick.count(), 0, "nothing is sent then");
    // Another account has places of its own.
    let mut other = daemon.client("dataflow");
    let body = json!({ "url": quick.url("/"), "events": ["pipeline.*"] });
    let theirs = registered(&mut other, body).await;
    let theirs = format!("/api/v1/webhooks/{theirs}/test");
    let tested = other.call(Method::POST, &theirs, None).await.unwrap();
    assert_eq!(tested.body["delivered"], true, "{}", tested.body);
    // Clients that hang up leave their places.
    tests.shutdown().await;
    let tested = until("there is a place", async || {
        let tested = client.call(Method::POST, &path, None).await.unwrap();
        (tested.status == 200).then_some(tested)
    })
    .await;
    assert_eq!(tested.body["delivered"], true, "{}", tested.body);
}
