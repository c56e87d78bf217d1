//! The contracts' table through the real daemon, column by column: what a product's users register and post,
//! and what its receivers get. What the registration refuses in general is in `refusals`; whether receivers
//! written by others accept what is sent, in `outside`.

mod rows;
mod schedule;

use std::time::Duration;

use crate::client::{Answer, Client};
use hookwheel::model::{Clock, UnixMicros};
use hookwheel::receiver::{Answer as Reply, Authority, Receiver};
use http::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{
    Daemon, PATIENCE, Site, delivery, delivery_in, get, post, register, registered, until,
};
use crate::web::{ANY, Web, header};
use rows::{Form, ROWS};

/// A URL that nobody sends to: its webhooks are registered inactive.
const NOWHERE: &str = "https://127.0.0.1:1/";

fn site() -> Site {
    Site::new(&ROWS.map(|row| row.profile))
}

async fn call(client: &mut Client, method: Method, path: &str, body: &Value) -> Answer {
    client.call(method, path, Some(body)).await.unwrap()
}

async fn create(client: &mut Client, body: &Value) -> Answer {
    call(client, Method::POST, "/api/v1/webhooks", body).await
}

/// A refusal's status, the code and the pointer of its first field.
fn refusal(answer: &Answer) -> (u16, &str, &str) {
    let pointer = answer.body["errors"][0]["pointer"].as_str();
    let code = answer.body["code"].as_str();
    (
        answer.status.as_u16(),
        code.unwrap_or(""),
        pointer.unwrap_or(""),
    )
}

async fn webhooks(client: &mut Client) -> usize {
    let listed = get(client, "/api/v1/webhooks").await;
    listed.body["data"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_takes_the_products_fields() {
    let site = site();
    let daemon = site.start();
    for row in &ROWS {
        let mut client = daemon.client(row.profile);
        let mut given: Value = serde_json::from_str(row.registration).unwrap();
        given["url"] = json!("https://hooks.example.com/in?a=b");
        let created = register(&mut client, given.clone()).await;
        for (name, value) in given.as_object().unwrap() {
            let shown = &created[name];
            match name.as_str() {
                "headers" => {
                    let names: Vec<&String> = shown.as_object().unwrap().keys().collect();
                    let given: Vec<&String> = value.as_object().unwrap().keys().collect();
                    assert_eq!(names, given, "{}", row.profile);
                }
                "retry" => assert_eq!(shown["delays"], value["delays"], "{}", row.profile),
                _ => assert_eq!(shown, value, "{}: {name}", row.profile),
            }
        }
        assert_eq!(created["active"], true);
        assert_eq!(created.get("secret").is_some(), created["signed"] == true);
        let path = format!("/api/v1/webhooks/{}", created["id"].as_str().unwrap());
        let shown = get(&mut client, &path).await.body;
        assert_eq!(shown.get("secret"), None, "{}: shown once", row.profile);
        let text = shown.to_string();
        assert!(!text.contains("your-"), "no header's value: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_product_takes_https_only() {
    let site = site();
    let daemon = site.start();
    for row in &ROWS {
        let mut client = daemon.client(row.profile);
        let answer = create(&mut client, &row.least("http://example.com/hook")).await;
        let expected = (400, "https_required", "/url");
        assert_eq!(refusal(&answer), expected, "{}", row.profile);
        assert_eq!(webhooks(&mut client).await, 0, "{}", row.profile);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_must_be_named_or_mean_all() {
    let site = site();
    let daemon = site.start();
    for row in &ROWS {
        let mut client = daemon.client(row.profile);
        let answer = create(&mut client, &json!({ "url": NOWHERE, "active": false })).await;
        if row.events_required {
            let expected = (400, "missing", "/events");
            assert_eq!(refusal(&answer), expected, "{}", row.profile);
            continue;
        }
        assert_eq!(answer.status, 201, "{}: {}", row.profile, answer.body);
        let event = json!({ "type": row.some_type(), "data": {} });
        let posted = call(&mut client, Method::POST, "/api/v1/events", &event).await;
        assert_eq!(posted.body["deliveries"], 1, "{}", row.profile);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_products_types_are_taken_and_no_other() {
    let site = site();
    let daemon = site.start();
    for row in &ROWS {
        let mut client = daemon.client(row.profile);
        let every: Vec<&str> = row.types.iter().chain(row.inner_types).copied().collect();
        for name in &every {
            let body = json!({ "url": NOWHERE, "events": [name], "active": false });
            register(&mut client, body).await;
        }
        for name in row.types {
            let event = json!({ "type": name, "data": {} });
            let posted = call(&mut client, Method::POST, "/api/v1/events", &event).await;
            assert_eq!(posted.status, 202, "{name}: {}", posted.body);
            assert_eq!(posted.body["deliveries"], 1, "{name}: its own webhook only");
        }
        let body = json!({ "url": NOWHERE, "events": ["un.heard.of"], "active": false });
        let unknown = create(&mut client, &body).await;
        let event = json!({ "type": "un.heard.of", "data": {} });
        let posted = call(&mut client, Method::POST, "/api/v1/events", &event).await;
        if row.types.is_empty() {
            assert_eq!(
                (unknown.status.as_u16(), posted.status.as_u16()),
                (201, 202)
            );
            continue;
        }
        let (status, code, pointer) = refusal(&unknown);
        assert_eq!((status, pointer), (400, "/events/0"), "{}", row.profile);
        assert_eq!(code, "event_type_unknown", "{}", row.profile);
        let (status, code, _) = refusal(&posted);
        assert_eq!((status, code), (400, "event_type_unknown"));
        assert_eq!(webhooks(&mut client).await, every.len(), "{}", row.profile);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_may_name_a_type_that_stands_inside_the_event() {
    let site = site();
    let daemon = site.start();
    for row in ROWS.iter().filter(|row| !row.inner_types.is_empty()) {
        let mut client = daemon.client(row.profile);
        for name in row.inner_types {
            let body = json!({ "url": NOWHERE, "events": [name], "active": false });
            register(&mut client, body).await;
        }
        let outer = json!({ "url": NOWHERE, "events": [row.some_type()], "active": false });
        register(&mut client, outer).await;
        for name in row.inner_types {
            let event = json!({ "type": row.some_type(), "data": { "event": { "type": name } } });
            let posted = call(&mut client, Method::POST, "/api/v1/events", &event).await;
            assert_eq!(posted.body["deliveries"], 2, "{name}: {}", posted.body);
            let direct = json!({ "type": name, "data": {} });
            let posted = call(&mut client, Method::POST, "/api/v1/events", &direct).await;
            assert_eq!(posted.status, 400, "{name} is posted inside an event only");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_example_is_sent_byte_for_byte_and_signed_with_the_whole_secret() {
    let site = site();
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    for row in &ROWS {
        let mut client = daemon.client(row.profile);
        let mut body = row.least(&web.url(&format!("/{}", row.profile)));
        body["secret"] = json!(row.secret);
        body["headers"] = json!({ "Authorization": "Bearer your-token", "X-API-Key": "your-key" });
        let webhook = registered(&mut client, body).await;
        let posted = call(&mut client, Method::POST, "/api/v1/events", &row.event()).await;
        assert_eq!(posted.status, 202, "{}: {}", row.profile, posted.body);
        let event = posted.body["id"].as_str().unwrap();
        delivery_in(&mut client, &webhook, event, "delivered").await;
    }
    let now_s = Clock::system().wall().seconds();
    let requests = web.stop().await;
    assert_eq!(requests.len(), ROWS.len());
    for (row, request) in ROWS.iter().zip(&requests) {
        let name = row.profile;
        assert_eq!(request.path, format!("/{name}"));
        assert_eq!(request.method, Method::POST);
        assert_eq!(header(request, "content-type"), "application/json");
        assert_eq!(std::str::from_utf8(&request.body).unwrap(), row.body());
        // Both ways of authentication may stand beside the signature.
        assert_eq!(header(request, "authorization"), "Bearer your-token");
        assert_eq!(header(request, "x-api-key"), "your-key");
        let value = header(request, row.header);
        let timestamp = match row.form {
            Form::Timed => value["t=".len()..].split(',').next().unwrap().to_owned(),
            Form::Standard => header(request, "webhook-timestamp"),
            Form::Hex | Form::Prefixed => String::new(),
        };
        let id = header(request, "webhook-id");
        assert_eq!(
            value,
            row.signature(&id, &timestamp, &request.body),
            "{name}"
        );
        assert_eq!(request.headers.get_all(row.header).iter().count(), 1);
        if !timestamp.is_empty() {
            let off = timestamp.parse::<u64>().unwrap().abs_diff(now_s);
            assert!(off <= PATIENCE.as_secs(), "{name}: {timestamp} at {now_s}");
        }
        for other in ROWS.iter().filter(|other| other.header != row.header) {
            assert!(
                !request.headers.contains_key(other.header),
                "{name}: {}",
                other.header
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_there_is_no_signature_or_a_secret_is_made() {
    let site = site();
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    for row in &ROWS {
        let mut client = daemon.client(row.profile);
        let created = register(&mut client, row.least(&web.url("/"))).await;
        let secret = created["secret"].as_str();
        assert_eq!(secret.is_some(), row.secret_required, "{}", row.profile);
        assert!(secret.is_none_or(|secret| secret.starts_with("whsec_") && secret.len() >= 38));
        let event = post(&mut client, &row.some_type(), json!({})).await;
        let id = created["id"].as_str().unwrap();
        delivery_in(&mut client, id, &event, "delivered").await;
    }
    let requests = web.stop().await;
    assert_eq!(requests.len(), ROWS.len());
    for (row, request) in ROWS.iter().zip(&requests) {
        let signed = request.headers.contains_key(row.header);
        assert_eq!(signed, row.secret_required, "{}", row.profile);
    }
}

fn micros(shown: &Value) -> i64 {
    UnixMicros::parse(shown.as_str().unwrap()).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_retry_is_set_as_the_table_says() {
    let site = site();
    let web = Web::start(&site.authority, |_| 500).await;
    let daemon = site.start();
    // A first delay of a second may be over before it is read; that schedule is run to its end below.
    for row in ROWS.iter().filter(|row| row.delays_s[0] > 1) {
        let mut client = daemon.client(row.profile);
        let webhook = registered(&mut client, row.least(&web.url("/"))).await;
        let event = post(&mut client, &row.some_type(), json!({})).await;
        let shown = until("the first attempt", async || {
            let shown = delivery(&mut client, &webhook, &event).await;
            (!shown["attempts"].as_array().unwrap().is_empty()).then_some(shown)
        })
        .await;
        let (now, second) = (Clock::system().wall_micros().0, 1_000_000);
        assert_eq!(shown["state"], "waiting", "{}: {shown}", row.profile);
        let due = micros(&shown["next_attempt_at"]);
        let started = micros(&shown["attempts"][0]["started_at"]);
        let delay = i64::try_from(row.delays_s[0]).unwrap() * second;
        let jitter = delay * i64::try_from(row.jitter_percent).unwrap() / 100;
        // A second for the clocks' rounding; the attempt ended between its start and now.
        let expected = started + delay - second..=now + delay + jitter + second;
        assert!(
            expected.contains(&due),
            "{}: {due} in {expected:?}",
            row.profile
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shortest_schedule_runs_to_its_end() {
    let row = ROWS.iter().find(|row| row.delays_s == [1, 2, 4]).unwrap();
    let site = Site::new(&[row.profile]);
    let web = Web::start(&site.authority, |_| 500).await;
    let daemon = site.start();
    let mut client = daemon.client(row.profile);
    let webhook = registered(&mut client, row.least(&web.url("/"))).await;
    let event = post(&mut client, &row.some_type(), json!({})).await;
    let shown = delivery_in(&mut client, &webhook, &event, "failed").await;
    assert_eq!(shown["reason"], "exhausted");
    let attempts = shown["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), row.delays_s.len() + 1);
    for (pair, delay_s) in attempts.windows(2).zip(row.delays_s) {
        let gap = micros(&pair[1]["started_at"]) - micros(&pair[0]["started_at"]);
        let least = i64::try_from(*delay_s).unwrap() * 1_000_000 - 100_000;
        assert!(gap >= least, "{gap} µs for {delay_s} s");
    }
    let later = post(&mut client, &row.some_type(), json!({})).await;
    assert_ne!(later, event, "the publisher is not held up");
}

/// A receiver that answers with the status in the path, or never.
async fn as_told(authority: &Authority) -> Receiver {
    let identity = authority.issue(&["127.0.0.1"]).unwrap();
    Receiver::local(&identity, |request| async move {
        match request.path.trim_start_matches('/').parse() {
            Ok(status) => Reply::status(status),
            Err(_) => Reply::hang(),
        }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_counts_as_success_is_the_products_own_rule() {
    const STATUSES: [u16; 12] = [200, 201, 202, 204, 206, 301, 304, 400, 404, 410, 429, 503];
    let site = site();
    let receiver = as_told(&site.authority).await;
    let daemon = site.start();
    for row in &ROWS {
        let mut client = daemon.client(row.profile);
        let mut made = Vec::new();
        for status in STATUSES {
            let mut body = row.least(&receiver.url(&format!("/{status}")));
            body["retry"] = json!({ "delays": [] });
            made.push((status, registered(&mut client, body).await));
        }
        let event = post(&mut client, &row.some_type(), json!({})).await;
        for (status, webhook) in made {
            let expected = if (row.success)(status) {
                "delivered"
            } else {
                "failed"
            };
            let what = format!("{}: {status} is {expected}", row.profile);
            let ended = until(&what, async || {
                let shown = delivery(&mut client, &webhook, &event).await;
                (shown["state"] != "waiting").then_some(shown)
            })
            .await;
            assert_eq!(ended["state"], expected, "{what}");
            assert_eq!(ended["attempts"][0]["status"], status, "{what}");
        }
    }
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_is_the_products_own() {
    let site = site();
    let receiver = as_told(&site.authority).await;
    let daemon = site.start();
    for row in &ROWS {
        let mut client = daemon.client(row.profile);
        let created = register(&mut client, row.least(&receiver.url("/hang"))).await;
        assert_eq!(created["timeout"], row.timeout, "{}", row.profile);
        if row.timeout != "5s" {
            continue; // the others take longer, and the rule is the same
        }
        let event = post(&mut client, &row.some_type(), json!({})).await;
        let webhook = created["id"].as_str().unwrap();
        let shown = until("the timeout", async || {
            let shown = delivery(&mut client, webhook, &event).await;
            (!shown["attempts"].as_array().unwrap().is_empty()).then_some(shown)
        })
        .await;
        let attempt = &shown["attempts"][0];
        assert_eq!(attempt["outcome"]["kind"], "timeout", "{shown}");
        assert!(
            attempt["response_time_ms"].as_f64().unwrap() >= 5000.0,
            "{shown}"
        );
    }
    // Scripts that hang end with the receiver.
    timeout(Duration::from_secs(10), receiver.stop())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_ends_leaves_a_failed_delivery() {
    let site = site();
    let web = Web::start(&site.authority, |_| 500).await;
    let daemon = site.start();
    for row in &ROWS {
        let mut client = daemon.client(row.profile);
        let mut body = row.least(&web.url("/"));
        body["retry"] = json!({ "delays": ["10ms", "10ms"] });
        let webhook = registered(&mut client, body).await;
        let event = post(&mut client, &row.some_type(), json!({})).await;
        let shown = delivery_in(&mut client, &webhook, &event, "failed").await;
        assert_eq!(shown["reason"], "exhausted", "{}", row.profile);
        assert_eq!(shown["next_attempt_at"], Value::Null);
        assert_eq!(shown["attempts"].as_array().unwrap().len(), 3);
        let failed = format!("/api/v1/webhooks/{webhook}/deliveries?state=failed");
        let listed = get(&mut client, &failed).await.body;
        assert_eq!(listed["data"][0]["event_id"], event, "{}", row.profile);
        // One contract disables the webhook here; all the others leave it as it is.
        let stays = row.profile != "dataflow";
        let path = format!("/api/v1/webhooks/{webhook}");
        until("it is as the contract says", async || {
            (get(&mut client, &path).await.body["active"] == stays).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_on_request_says_status_and_response_time() {
    let site = site();
    let web = Web::start_with(ANY, &site.authority, |_| Reply::status(200), Duration::ZERO).await;
    let daemon = site.start();
    for row in &ROWS {
        let mut client = daemon.client(row.profile);
        let webhook = registered(&mut client, row.least(&web.url("/"))).await;
        let path = format!("/api/v1/webhooks/{webhook}/test");
        let tested = client.call(Method::POST, &path, None).await.unwrap();
        assert_eq!(tested.status, 200, "{}: {}", row.profile, tested.body);
        assert_eq!(tested.body["status"], 200, "{}", row.profile);
        assert!(tested.body["response_time_ms"].as_f64().unwrap() > 0.0);
    }
    let requests = web.stop().await;
    for (row, request) in ROWS.iter().zip(&requests) {
        let keys = |text: &[u8]| -> Vec<String> {
            let body: serde_json::Map<String, Value> = serde_json::from_slice(text).unwrap();
            body.keys().cloned().collect()
        };
        assert_eq!(
            keys(&request.body),
            keys(row.page.as_bytes()),
            "{}",
            row.profile
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_entry_shows_both_sides_of_an_attempt() {
    let site = Site::new(&["dataflow"]);
    let reply = |_| Reply::text(200, "taken");
    let web = Web::start_with(ANY, &site.authority, reply, Duration::ZERO).await;
    let daemon = site.start();
    let mut client = daemon.client("dataflow");
    let row = ROWS.iter().find(|row| row.profile == "dataflow").unwrap();
    let webhook = registered(&mut client, row.least(&web.url("/"))).await;
    let posted = call(&mut client, Method::POST, "/api/v1/events", &row.event()).await;
    let event = posted.body["id"].as_str().unwrap();
    let shown = delivery_in(&mut client, &webhook, event, "delivered").await;
    assert_eq!(shown["type"], row.some_type());
    assert_eq!(shown["request_body"], row.body());
    let attempt = &shown["attempts"][0];
    assert_eq!(attempt["status"], 200);
    assert_eq!(attempt["response"]["body"], "taken");
    assert!(attempt["response_time_ms"].as_f64().unwrap() > 0.0);
    assert!(micros(&attempt["started_at"]) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_scoped_product_answers_201_with_its_fields() {
    let row = ROWS.iter().find(|row| row.scope_field != "scope").unwrap();
    let site = Site::new(&[row.profile]);
    let daemon: Daemon = site.start();
    let mut client = daemon.client(row.profile);
    let url = "https://hooks.example.com/services/your/webhook";
    let text =
        format!(r#"{{"url": "{url}", "events": ["breaking", "warning"], "contract_id": null}}"#);
    let answer = client
        .call_text(Method::POST, "/api/v1/webhooks", text)
        .await
        .unwrap();
    assert_eq!(answer.status, 201, "{}", answer.body);
    let created = &answer.body;
    assert!(!created["id"].as_str().unwrap().is_empty());
    assert_eq!(created["url"], url);
    assert_eq!(created["events"], json!(["breaking", "warning"]));
    assert_eq!(created.get("contract_id"), Some(&Value::Null));
    assert_eq!(created["active"], true);
    let secret = created["secret"].as_str().unwrap();
    assert_eq!(
        (&secret[..6], secret.len()),
        ("whsec_", "whsec_".len() + 32)
    );
    let made = created["created_at"].as_str().unwrap();
    assert!(
        made.ends_with('Z') && UnixMicros::parse(made).is_ok(),
        "{made}"
    );
    let path = format!("/api/v1/webhooks/{}", created["id"].as_str().unwrap());
    let change = json!({ "events": ["pass"] });
    let changed = call(&mut client, Method::PATCH, &path, &change).await;
    let listed = get(&mut client, "/api/v1/webhooks").await;
    let shown = get(&mut client, &path).await;
    for later in [changed, listed, shown] {
        assert_eq!(later.status, 200);
        assert!(!later.body.to_string().contains(secret), "shown once");
    }
    for key in ["", "wrong"] {
        let mut other = Client::new(daemon.address, key);
        let answer = create(&mut other, &row.least(url)).await;
        assert_eq!(answer.status, 401, "{}", answer.body);
    }
}
