//! Why an event was, or was not, delivered, as the real daemon tells it.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::support::{Daemon, Site, delivery_in, get, key_of, post, register, registered, until};
use crate::web::{ANY, Web};
use hookwheel::cli::key_hash;
use hookwheel::receiver::Answer;

async fn explained(client: &mut Client, event: &str) -> Value {
    let answer = get(client, &format!("/api/v1/events/{event}/explain")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// The row of a webhook.
async fn row(client: &mut Client, event: &str, webhook: &str) -> Value {
    let all = explained(client, event).await;
    let rows = all["webhooks"].as_array().unwrap();
    let found = rows.iter().find(|row| row["webhook_id"] == webhook);
    found
        .unwrap_or_else(|| panic!("{webhook} in {all}"))
        .clone()
}

/// Checks a row's verdict, its rule's kind and pieces of its reason.
fn check(row: &Value, verdict: &str, kind: Option<&str>, pieces: &[&str]) {
    assert_eq!(row["verdict"], verdict, "{row}");
    assert_eq!(row["rule"]["kind"], json!(kind), "{row}");
    let reason = row["reason"].as_str().unwrap();
    for piece in pieces {
        assert!(reason.contains(piece), "{piece:?} is not in {reason:?}");
    }
}

async fn changed(client: &mut Client, method: Method, webhook: &str, body: Option<Value>) {
    let path = format!("/api/v1/webhooks/{webhook}");
    let answer = client.call(method, &path, body.as_ref()).await.unwrap();
    assert!(answer.status.is_success(), "{}", answer.body);
}

/// Registers a webhook that wants all, but for `more`.
async fn add(client: &mut Client, web: &Web, more: Value) -> String {
    let mut body = json!({ "url": web.url("/"), "events": ["*"], "name": "mine" });
    let fields = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    registered(client, body).await
}

/// Posts an event and gives its id and how many deliveries it has.
async fn post_low(client: &mut Client) -> (String, Value) {
    let data = json!({ "payload": { "severity": "Low" } });
    let body = json!({ "type": "breaking", "contract_id": "c1", "data": data });
    let posted = client.call(Method::POST, "/api/v1/events", Some(&body));
    let posted = posted.await.unwrap().body;
    let id = posted["id"].as_str().unwrap().to_owned();
    (id, posted["deliveries"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_webhook_is_told_which_rule_decided() {
    let site = Site::new(&["driftguard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("driftguard");
    let gets = add(&mut client, &web, json!({})).await;
    let types = json!({ "events": ["warning", "pa*"] });
    let other_type = add(&mut client, &web, types).await;
    let other_scope = add(&mut client, &web, json!({ "contract_id": "c2" })).await;
    let severe = json!({ "data": { "payload": { "severity": ["Critical", "High"] } } });
    let filtered = add(&mut client, &web, json!({ "filter": severe })).await;
    let held = add(&mut client, &web, json!({ "active": false })).await;
    let (event, deliveries) = post_low(&mut client).await;
    assert_eq!(deliveries, 2);
    delivery_in(&mut client, &gets, &event, "delivered").await;

    let all = explained(&mut client, &event).await;
    assert_eq!(
        (&all["event_id"], &all["type"]),
        (&json!(event), &json!("breaking"))
    );
    assert_eq!(
        (&all["deliveries"], &all["next_cursor"]),
        (&json!(2), &Value::Null)
    );
    assert!(all["received_at"].is_string());
    assert_eq!(all["webhooks"].as_array().unwrap().len(), 5);
    let sent = row(&mut client, &event, &gets).await;
    check(&sent, "delivered", None, &["delivered: attempt 1 got 200"]);
    assert_eq!(
        (&sent["attempts"], &sent["name"]),
        (&json!(1), &json!("mine"))
    );
    assert_eq!(sent["url"], web.url("/"));
    assert!(sent["ended_at"].is_string() && sent["next_attempt_at"].is_null());
    let told = row(&mut client, &event, &other_type).await;
    let pieces = ["\"breaking\"", "\"warning\", \"pa*\""];
    check(&told, "not_wanted", Some("type"), &pieces);
    assert_eq!(told["rule"]["found"], json!(["breaking"]));
    assert_eq!(
        (&told["attempts"], &told["matches_today"]),
        (&json!(0), &json!(false))
    );
    let told = row(&mut client, &event, &other_scope).await;
    let pieces = ["contract_id is \"c1\"", "wants \"c2\""];
    check(&told, "not_wanted", Some("scope"), &pieces);
    let told = row(&mut client, &event, &filtered).await;
    check(&told, "not_wanted", Some("filter"), &[]);
    assert_eq!(
        told["reason"],
        "data.payload.severity is \"Low\"; the filter wants one of \"Critical\", \"High\""
    );
    assert_eq!(
        told["rule"],
        json!({ "kind": "filter", "pointer": "/data/payload/severity", "place": "data.payload.severity",
                "wanted": "one of \"Critical\", \"High\"", "found": "\"Low\"" })
    );
    let told = row(&mut client, &event, &held).await;
    check(
        &told,
        "held",
        Some("inactive"),
        &["disabled since", "(request)"],
    );
    assert!(told["next_attempt_at"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_registered_changed_or_removed_since_says_so() {
    let site = Site::new(&["driftguard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("driftguard");
    let wider = add(&mut client, &web, json!({ "events": ["pass"] })).await;
    let renamed = add(&mut client, &web, json!({ "events": ["pass"] })).await;
    let removed = add(&mut client, &web, json!({ "active": false })).await;
    let (event, deliveries) = post_low(&mut client).await;
    assert_eq!(deliveries, 1);
    let late = add(&mut client, &web, json!({})).await;
    let late_other = add(&mut client, &web, json!({ "events": ["pass"] })).await;
    let all = Some(json!({ "events": ["*"] }));
    changed(&mut client, Method::PATCH, &wider, all).await;
    let name = Some(json!({ "name": "n" }));
    changed(&mut client, Method::PATCH, &renamed, name).await;
    changed(&mut client, Method::DELETE, &removed, None).await;

    let told = row(&mut client, &event, &late).await;
    let pieces = [
        "after the event arrived",
        "would be sent today",
        "/api/v1/events/rematch",
    ];
    check(&told, "not_registered_then", Some("registration"), &pieces);
    assert_eq!(told["matches_today"], true);
    let told = row(&mut client, &event, &late_other).await;
    let pieces = [
        "after the event arrived",
        "not be sent today either",
        "wants \"pass\"",
    ];
    check(&told, "not_registered_then", Some("registration"), &pieces);
    assert_eq!(told["matches_today"], false);
    let told = row(&mut client, &event, &wider).await;
    let pieces = [
        "would be sent today",
        "changed since",
        "/api/v1/events/rematch",
    ];
    check(&told, "would_match_today", None, &pieces);
    assert_eq!(told["matches_today"], true);
    let told = row(&mut client, &event, &renamed).await;
    check(&told, "not_wanted", Some("type"), &["changed since"]);
    let told = row(&mut client, &event, &removed).await;
    let reason = "cancelled: the webhook was removed";
    check(&told, "cancelled", Some("removed"), &[reason]);
    assert_eq!((&told["url"], &told["name"]), (&Value::Null, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_says_for_which_attempt_and_why() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 503).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "retry": { "delays": ["0s", "1h", "1h", "1h"] } });
    let id = registered(&mut client, body).await;
    let event = post(&mut client, "a", json!({})).await;
    let attempted = async |client: &mut Client, attempts: u64| {
        until("the attempts are on record", async || {
            let told = row(client, &event, &id).await;
            (told["attempts"] == attempts).then_some(told)
        })
        .await
    };
    let told = attempted(&mut client, 2).await;
    let pieces = [
        "waits for attempt 3 of 5, due 2",
        "because attempt 2 got 503",
    ];
    check(&told, "waiting", Some("schedule"), &pieces);
    let rule = &told["rule"];
    assert_eq!((&rule["attempt"], &rule["of"]), (&json!(3), &json!(5)));
    assert!(told["next_attempt_at"].is_string());
    let outcome = json!({ "kind": "status", "status": 503 });
    assert_eq!(told["last_attempt"]["outcome"], outcome);
    // Asked to be sent ahead of its time, it goes on where it was.
    let again = format!("/api/v1/webhooks/{id}/deliveries/{event}/retry");
    let answer = client.call(Method::POST, &again, None).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    let told = attempted(&mut client, 3).await;
    let pieces = [
        "waits for attempt 4 of 5, due 2",
        "because attempt 3 got 503",
    ];
    check(&told, "waiting", Some("schedule"), &pieces);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_run_counts_from_one_and_says_how_many_there_were() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 500).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "retry": { "delays": ["0s"] } });
    let id = registered(&mut client, body).await;
    let event = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &id, &event, "failed").await;
    let slower = json!({ "retry": { "delays": ["1h", "1h"] } });
    changed(&mut client, Method::PATCH, &id, Some(slower)).await;
    let again = format!("/api/v1/webhooks/{id}/deliveries/{event}/retry");
    let answer = client.call(Method::POST, &again, None).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    let told = until("the new run's first attempt", async || {
        let told = row(&mut client, &event, &id).await;
        (told["attempts"] == 3).then_some(told)
    })
    .await;
    let pieces = [
        "waits for attempt 2 of 3 (4 in all), due 2",
        "because the last one got 500",
    ];
    check(&told, "waiting", Some("schedule"), &pieces);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_says_why() {
    let site = Site::new(&["standard", "dataflow"]);
    let error = Web::start(&site.authority, |_| 503).await;
    let gone = Web::start(&site.authority, |_| 410).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": error.url("/"), "retry": { "delays": ["0s", "0s"] } });
    let fails = registered(&mut client, body).await;
    let leaves = registered(&mut client, json!({ "url": gone.url("/") })).await;
    let event = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &fails, &event, "failed").await;
    let told = row(&mut client, &event, &fails).await;
    let reason = "failed: its schedule has ended; the last of 3 attempts got 503";
    check(&told, "failed", Some("schedule"), &[reason]);
    delivery_in(&mut client, &leaves, &event, "failed").await;
    let told = row(&mut client, &event, &leaves).await;
    check(
        &told,
        "failed",
        Some("gone"),
        &["the receiver answered 410"],
    );
    let held = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &leaves, &held, "held").await;
    let told = row(&mut client, &held, &leaves).await;
    check(
        &told,
        "held",
        Some("inactive"),
        &["(gone), as its receiver answered 410"],
    );

    let mut client = daemon.client("dataflow");
    let body =
        json!({ "url": error.url("/"), "events": ["pipeline.*"], "retry": { "delays": [] } });
    let id = registered(&mut client, body).await;
    let event = post(&mut client, "pipeline.created", json!({})).await;
    delivery_in(&mut client, &id, &event, "failed").await;
    let told = row(&mut client, &event, &id).await;
    check(
        &told,
        "failed",
        Some("schedule"),
        &["failed: its only attempt got 503"],
    );
    let held = post(&mut client, "pipeline.created", json!({})).await;
    delivery_in(&mut client, &id, &held, "held").await;
    let told = row(&mut client, &held, &id).await;
    check(
        &told,
        "held",
        Some("inactive"),
        &["(exhausted), as a delivery's schedule ended"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_address_is_told_without_the_address() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": "https://127.0.0.1:9/", "format": "slack", "active": false });
    let id = registered(&mut client, body).await;
    let event = post(&mut client, "a", json!({})).await;
    daemon.kill();
    let allowed = "allow = [\"127.0.0.0/8\"]";
    let config = site.config(true);
    assert!(config.contains(allowed));
    let daemon = Daemon::start(&site.path("config.toml"), &config.replace(allowed, ""));
    let mut client = daemon.client("standard");
    changed(
        &mut client,
        Method::PATCH,
        &id,
        Some(json!({ "active": true })),
    )
    .await;
    let told = until("its first attempt", async || {
        let told = row(&mut client, &event, &id).await;
        (told["attempts"] == 1).then_some(told)
    })
    .await;
    let pieces = ["attempt 1 was not sent: the destination's address is refused"];
    check(&told, "waiting", Some("schedule"), &pieces);
    assert_eq!(
        told["last_attempt"]["outcome"],
        json!({ "kind": "address_blocked", "status": null })
    );
    assert!(!told["reason"].as_str().unwrap().contains("127."), "{told}");
}

/// What waits behind a receiver that asked for a pause, or that nobody answers at, says that and nothing of its rate.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_and_an_absent_receiver_are_named() {
    let site = Site::new(&[]).with(&slow("per_second = 100"));
    let pause = |_: usize| Answer::Status {
        code: 503,
        headers: vec![("retry-after".to_owned(), "3600".to_owned())],
        body: bytes::Bytes::new(),
    };
    let busy = Web::start_with(ANY, &site.authority, pause, Duration::ZERO).await;
    let daemon = site.start();
    let mut client = daemon.client("slow");
    let retry = json!({ "delays": ["10ms", "10ms", "10ms", "10ms", "10ms", "1m"] });
    let asked = registered(&mut client, json!({ "url": busy.url("/"), "retry": retry })).await;
    let absent = json!({ "url": "https://127.0.0.1:1/", "retry": retry });
    let absent = registered(&mut client, absent).await;
    let first = post(&mut client, "a", json!({})).await;
    let named = async |client: &mut Client, event: &str, id: &str, kind: &str| {
        until("the pause is named", async || {
            let told = row(client, event, id).await;
            (told["rule"]["kind"] == kind).then_some(told)
        })
        .await
    };
    let told = named(&mut client, &first, &absent, "absent").await;
    let pieces = ["nobody has answered at its receiver lately"];
    check(&told, "waiting", Some("absent"), &pieces);
    let second = post(&mut client, "a", json!({})).await;
    let told = named(&mut client, &second, &asked, "pause").await;
    let pieces = ["its receiver asked for a pause until 20"];
    check(&told, "waiting", Some("pause"), &pieces);
    let path = format!("/api/v1/webhooks/{asked}/stats");
    let now = get(&mut client, &path).await.body["now"].clone();
    assert_eq!(now["paused_because"], "asked", "{now}");
    assert!(now["paused_until"].is_string(), "{now}");
}

fn slow(rate: &str) -> String {
    format!(
        "[profiles.slow]\nextends = \"standard\"\n[profiles.slow.rate]\n{rate}\n[[accounts]]\nname = \"slow\"\n\
         profile = \"slow\"\n[[accounts.keys]]\nname = \"all\"\nhash = \"{}\"\n\
         scopes = [\"admin\", \"send\", \"read\"]\n[formats.mine]\nbody = \"{{{{ data | json }}}}\"\n",
        key_hash(&key_of("slow"))
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_a_rate_and_what_has_no_format_say_so() {
    let rate = slow("per_hour = 1\noverflow = \"drop-oldest\"\nbacklog = 2");
    let site = Site::new(&[]).with(&rate);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("slow");
    let id = registered(&mut client, json!({ "url": web.url("/") })).await;
    let first = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &id, &first, "delivered").await;
    let mut events = Vec::new();
    for number in 0..4 {
        events.push(post(&mut client, "a", json!(number)).await);
    }
    delivery_in(&mut client, &id, &events[1], "dropped").await;
    let told = row(&mut client, &events[0], &id).await;
    let pieces = ["dropped: more than 2 deliveries waited over the webhook's rate of 1 per hour"];
    check(&told, "dropped", Some("rate"), &pieces);
    let told = row(&mut client, &events[3], &id).await;
    check(
        &told,
        "waiting",
        Some("rate"),
        &[
            "attempt 1 of ",
            "due since",
            "its rate of 1 per hour is used up until",
        ],
    );
    assert_eq!(told["rule"]["paused_because"], "rate");
    assert_eq!(told["rule"]["in_flight"], 0);

    let body = json!({ "url": web.url("/"), "format": "mine", "active": false });
    let formed = registered(&mut client, body).await;
    let event = post(&mut client, "a", json!({})).await;
    changed(
        &mut client,
        Method::PATCH,
        &id,
        Some(json!({ "active": false })),
    )
    .await;
    let config = site
        .config(true)
        .replace("[formats.mine]", "[formats.other]");
    daemon.kill();
    let daemon = Daemon::start(&site.path("config.toml"), &config);
    let mut client = daemon.client("slow");
    changed(
        &mut client,
        Method::PATCH,
        &formed,
        Some(json!({ "active": true })),
    )
    .await;
    let told = row(&mut client, &event, &formed).await;
    check(
        &told,
        "held",
        Some("format"),
        &["held: no format is called `mine`"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_and_what_cannot_be_is_refused() {
    let site = Site::new(&["standard", "flock"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let event = post(&mut client, "a", json!({})).await;
    let empty = explained(&mut client, &event).await;
    assert_eq!(
        (&empty["webhooks"], &empty["deliveries"]),
        (&json!([]), &json!(0))
    );
    assert!(
        empty["detail"].as_str().unwrap().contains("no webhook"),
        "{empty}"
    );
    let mut ids = Vec::new();
    for _ in 0..3 {
        let body = json!({ "url": "https://hooks.example.com/", "active": false });
        let shown = register(&mut client, body).await;
        ids.push(shown["id"].as_str().unwrap().to_owned());
    }
    let path = format!("/api/v1/events/{event}/explain");
    let first = get(&mut client, &format!("{path}?limit=2")).await.body;
    assert_eq!(first["detail"], Value::Null);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = get(&mut client, &format!("{path}?limit=2&cursor={cursor}"))
        .await
        .body;
    let rows = [&first, &second].map(|page| page["webhooks"].as_array().unwrap());
    let shown = rows
        .into_iter()
        .flatten()
        .map(|row| row["webhook_id"].as_str().unwrap());
    assert_eq!(shown.collect::<Vec<_>>(), ids, "oldest first");
    assert_eq!(second["next_cursor"], Value::Null);
    for (query, code) in [
        ("limit=0", "limit_invalid"),
        ("limit=1001", "limit_invalid"),
        ("cursor=x", "cursor_invalid"),
        ("since=x", "query_invalid"),
    ] {
        let refused = get(&mut client, &format!("{path}?{query}")).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["code"]),
            (400, &json!(code))
        );
    }
    let mut other = daemon.client("flock");
    let foreign = get(&mut other, &path).await;
    assert_eq!(foreign.status, 404, "another account's event is not there");
    assert_eq!(
        get(&mut client, "/api/v1/events/nope/explain").await.status,
        404
    );
}
