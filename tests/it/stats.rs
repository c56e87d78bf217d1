//! Figures of webhooks, as the real daemon counts them.

use http::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::support::{Site, delivery_in, get, key_of, post, registered, until};
use crate::web::Web;
use hookwheel::cli::key_hash;
use hookwheel::model::UnixMicros;

async fn stats(client: &mut Client, webhook: &str) -> Value {
    let answer = get(client, &format!("/api/v1/webhooks/{webhook}/stats")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

async fn of_account(client: &mut Client) -> Value {
    let answer = get(client, "/api/v1/stats").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// These members of an object.
fn of<const COUNT: usize>(object: &Value, names: [&str; COUNT]) -> [i64; COUNT] {
    names.map(|name| {
        let value = object[name].as_i64();
        value.unwrap_or_else(|| panic!("{name} in {object}"))
    })
}

/// Both windows after six attempts for four events.
fn check_windows(shown: &Value) {
    check_hours(shown);
    for window in ["last_hour", "last_day"] {
        let window = &shown[window];
        assert_eq!(
            of(window, ["attempts", "succeeded", "delivered", "failed"]),
            [6, 3, 3, 1]
        );
        assert_eq!(of(window, ["dropped", "expired", "cancelled"]), [0; 3]);
        assert_eq!(window["attempts_success_ratio"], 0.5);
        assert_eq!(window["deliveries_success_ratio"], 0.75);
        assert_eq!(
            window["from"], shown["since"],
            "counted since the start only"
        );
        for times in [
            &window["response_time_ms"],
            &window["delivery_time_ms"]["first_attempt"],
            &window["delivery_time_ms"]["all"],
        ] {
            let [p50, p95, p99] = ["p50", "p95", "p99"].map(|name| times[name].as_f64().unwrap());
            assert!(
                0.0 < p50 && p50 <= p95 && p95 <= p99 && p99 < 60_000.0,
                "{times}"
            );
        }
        let all = window["delivery_time_ms"]["all"]["p99"].as_f64().unwrap();
        assert!(all >= 32.0, "one waited for its retry: {window}");
    }
}

/// The day hour by hour: 24 in a row, of which only the last ones have seen anything.
fn check_hours(shown: &Value) {
    let hours = shown["hours"].as_array().unwrap();
    assert_eq!(hours.len(), 24);
    let times: Vec<UnixMicros> = hours
        .iter()
        .map(|hour| UnixMicros::parse(hour["from"].as_str().unwrap()).unwrap())
        .collect();
    assert!(
        times
            .windows(2)
            .all(|two| two[1].0 - two[0].0 == 3_600_000_000),
        "{times:?}"
    );
    let names = ["attempts", "succeeded", "delivered", "failed"];
    let mut sums = [0; 4];
    for hour in hours {
        for (sum, count) in sums.iter_mut().zip(of(hour, names)) {
            *sum += count;
        }
    }
    assert_eq!(sums, of(&shown["last_day"], names));
    assert_eq!(of(&hours[0], names), [0; 4], "the daemon did not run");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_webhook_has_its_figures_in_the_order_of_the_list() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let mut ids = Vec::new();
    for body in [
        json!({ "url": web.url("/") }),
        json!({ "url": web.url("/"), "active": false }),
        json!({ "url": web.url("/"), "events": ["other"] }),
    ] {
        ids.push(registered(&mut client, body).await);
    }
    for _ in 0..3 {
        let event = post(&mut client, "a", json!({})).await;
        delivery_in(&mut client, &ids[0], &event, "delivered").await;
    }
    let path = "/api/v1/stats/webhooks";
    let shown = until("all three attempts are counted", async || {
        let shown = get(&mut client, path).await.body;
        (shown["data"][0]["last_day"]["attempts"] == 3).then_some(shown)
    })
    .await;
    let rows = shown["data"].as_array().unwrap();
    let listed: Vec<&str> = rows
        .iter()
        .map(|row| row["webhook_id"].as_str().unwrap())
        .collect();
    assert_eq!(listed, ids);
    assert_eq!(shown["next_cursor"], Value::Null);
    let counts = ["waiting", "held", "in_flight"];
    assert_eq!(of(&rows[0], counts), [0; 3]);
    assert_eq!(of(&rows[1], counts), [0, 3, 0]);
    assert_eq!(of(&rows[2], counts), [0; 3]);
    assert_eq!(rows[0]["standing"], "proven");
    assert!(rows[0]["last_success_at"].is_string() && rows[0]["last_failure"].is_null());
    for row in rows {
        check_hours(row);
        assert!(row["since"].is_string() && row.get("paused_until").is_some());
    }
    let of_one = stats(&mut client, &ids[0]).await;
    assert_eq!(of_one["hours"], rows[0]["hours"]);
    let first = get(&mut client, &format!("{path}?limit=2")).await.body;
    assert_eq!(first["data"].as_array().unwrap().len(), 2);
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(cursor, ids[1]);
    let rest = get(&mut client, &format!("{path}?limit=2&cursor={cursor}"))
        .await
        .body;
    assert_eq!(rest["data"][0]["webhook_id"], json!(ids[2]));
    assert_eq!(rest["next_cursor"], Value::Null);
    for wrong in ["limit=0", "limit=201", "cursor=x", "page=1"] {
        let refused = get(&mut client, &format!("{path}?{wrong}")).await;
        assert_eq!(refused.status, 400, "{wrong}: {}", refused.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_and_ends_are_counted_and_begin_anew_with_a_restart() {
    let site = Site::new(&["standard"]);
    // The second event needs a retry; the fourth fails for good.
    let answers = [200, 500, 200, 200, 500, 500];
    let web = Web::start(&site.authority, move |number| answers[number - 1]).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "retry": { "delays": ["50ms"] } });
    let id = registered(&mut client, body).await;
    let fresh = stats(&mut client, &id).await;
    assert_eq!(fresh["webhook_id"], json!(id));
    assert_eq!(fresh["last_hour"]["attempts"], 0);
    assert_eq!(fresh["last_hour"]["attempts_success_ratio"], Value::Null);
    assert_eq!(fresh["last_hour"]["response_time_ms"], Value::Null);
    assert_eq!(
        (&fresh["last_success_at"], &fresh["last_failure"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(fresh["now"]["first"], Value::Null);
    for state in ["delivered", "delivered", "delivered", "failed"] {
        let event = post(&mut client, "a", json!({})).await;
        delivery_in(&mut client, &id, &event, state).await;
    }
    // What is on record is counted a moment later.
    let shown = until("all is counted", async || {
        let shown = stats(&mut client, &id).await;
        (shown["last_day"]["attempts"] == 6).then_some(shown)
    })
    .await;
    check_windows(&shown);
    assert!(shown["last_success_at"].is_string());
    let outcome = json!({ "kind": "status", "status": 500 });
    assert_eq!(shown["last_failure"]["outcome"], outcome);
    assert_eq!(of(&shown["now"], ["waiting", "held", "in_flight"]), [0; 3]);
    assert_eq!(shown["now"]["standing"], "doubted");
    assert!(shown["now"]["concurrency"].as_u64() >= Some(1));
    let all = of_account(&mut client).await;
    assert_eq!(
        of(&all["last_hour"], ["attempts", "delivered", "failed"]),
        [6, 3, 1]
    );
    assert_eq!(all["last_failure"]["webhook_id"], json!(id));
    assert_eq!(all["now"]["in_flight"], 0);
    let since = all["since"].as_str().unwrap().to_owned();
    assert!(daemon.terminate().success());

    let daemon = site.start();
    let mut client = daemon.client("standard");
    let anew = stats(&mut client, &id).await;
    assert_eq!(anew["last_day"]["attempts"], 0);
    assert!(anew["since"].as_str().unwrap() > since.as_str(), "{anew}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_and_what_is_held_is_counted_now() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 503).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "retry": { "delays": ["1h", "1h"] } });
    let waits = registered(&mut client, body).await;
    let body = json!({ "url": web.url("/"), "active": false });
    let holds = registered(&mut client, body).await;
    let first = post(&mut client, "a", json!({})).await;
    for _ in 0..4 {
        post(&mut client, "a", json!({})).await;
    }
    let shown = until("each has been tried", async || {
        let shown = stats(&mut client, &waits).await;
        // The lanes are asked before the figures: what ends in between is in both.
        let idle = shown["now"]["in_flight"] == 0;
        (shown["last_hour"]["attempts"] == 5 && idle).then_some(shown)
    })
    .await;
    assert_eq!(
        of(&shown["now"], ["waiting", "held", "in_flight"]),
        [5, 0, 0]
    );
    assert!(shown["now"]["next_attempt_at"].is_string());
    assert_eq!(shown["now"]["first"]["attempts"], 1);
    assert_eq!(shown["last_hour"]["attempts_success_ratio"], 0.0);
    assert_eq!(shown["last_hour"]["deliveries_success_ratio"], Value::Null);
    let shown = stats(&mut client, &holds).await;
    assert_eq!(of(&shown["now"], ["waiting", "held"]), [0, 5]);
    assert_eq!(shown["now"]["next_attempt_at"], Value::Null);
    assert_eq!(shown["now"]["first"]["event_id"], json!(first));
    assert!(shown["now"]["first"]["received_at"].is_string());
    let all = of_account(&mut client).await;
    assert_eq!(
        of(&all["webhooks"], ["total", "active", "disabled", "held"]),
        [2, 1, 1, 0]
    );
    assert_eq!(of(&all["now"], ["waiting", "held"]), [5, 5]);
    assert_eq!(
        all["now"]["first"]["webhook_id"],
        json!(waits),
        "of those that are sent to"
    );
    // A removed webhook's figures are no part of the account's.
    let path = format!("/api/v1/webhooks/{waits}");
    let removed = client.call(Method::DELETE, &path, None).await.unwrap();
    assert_eq!(removed.status, 204);
    let all = of_account(&mut client).await;
    assert_eq!(of(&all["last_day"], ["attempts"]), [0]);
    assert_eq!(get(&mut client, &format!("{path}/stats")).await.status, 404);
    assert_eq!(
        get(&mut client, "/api/v1/webhooks/x/stats").await.status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_over_a_rate_is_counted() {
    let site = Site::new(&[]).with(&format!(
        "[profiles.slow]\nextends = \"standard\"\n[profiles.slow.rate]\nper_hour = 1\n\
         overflow = \"drop-oldest\"\nbacklog = 2\n[[accounts]]\nname = \"slow\"\nprofile = \"slow\"\n\
         [[accounts.keys]]\nname = \"all\"\nhash = \"{}\"\nscopes = [\"admin\", \"send\"]\n\
         [[accounts.keys]]\nname = \"poster\"\nhash = \"{}\"\nscopes = [\"send\"]\n",
        key_hash(&key_of("slow")),
        key_hash(&key_of("poster")),
    ));
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("slow");
    let id = registered(&mut client, json!({ "url": web.url("/") })).await;
    let event = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &id, &event, "delivered").await;
    let batch: Vec<Value> = (0..10).map(|n| json!({ "type": "a", "data": n })).collect();
    client
        .call(Method::POST, "/api/v1/events/batch", Some(&json!(batch)))
        .await
        .unwrap();
    let shown = until("eight are dropped", async || {
        let shown = stats(&mut client, &id).await;
        (shown["last_hour"]["dropped"] == 8).then_some(shown)
    })
    .await;
    assert_eq!(
        of(&shown["last_day"], ["attempts", "delivered", "dropped"]),
        [1, 1, 8]
    );
    assert_eq!(shown["last_hour"]["deliveries_success_ratio"], 0.1111);
    assert_eq!(of(&shown["now"], ["waiting"]), [2]);
    assert_eq!(shown["now"]["standing"], "proven");
    let mut poster = daemon.client("poster");
    for path in [
        "/api/v1/stats".to_owned(),
        "/api/v1/stats/webhooks".to_owned(),
        format!("/api/v1/webhooks/{id}/stats"),
    ] {
        let refused = get(&mut poster, &path).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["code"]),
            (403, &json!("scope_missing"))
        );
    }
}
