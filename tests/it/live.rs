//! The live stream, as a client reads it from the real daemon.

mod stream;

use std::time::Duration;

use hookwheel::cli::key_hash;
use http::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Daemon, Site, delivery_in, get, key_of, post, post_all, registered, until};
use crate::web::Web;
use stream::Stream;

const LIVE: &str = "/api/v1/live";

/// Streams that one account may have, as docs/api-guide.md says.
const OWN_MAX: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_told_as_the_log_has_them_and_only_to_their_account() {
    let site = Site::new(&["standard", "flock"]);
    let web = Web::start(
        &site.authority,
        |number| if number == 1 { 503 } else { 200 },
    )
    .await;
    let daemon = site.start();
    let (mut client, mut theirs) = (daemon.client("standard"), daemon.client("flock"));
    let mut stream = Stream::open(&daemon, "standard", LIVE).await;
    let mut other = Stream::open(&daemon, "flock", LIVE).await;
    assert!(
        stream.head.contains("content-type: text/event-stream\r\n"),
        "{}",
        stream.head
    );
    assert!(
        stream.head.contains("cache-control: no-store\r\n"),
        "{}",
        stream.head
    );
    let body = json!({ "url": web.url("/"), "retry": { "delays": ["100ms"] }, "secret": null });
    let id = registered(&mut client, body).await;
    let told = stream.next("webhook").await;
    assert_eq!(
        (&told["webhook_id"], &told["change"]),
        (&json!(id), &json!("created"))
    );
    let event = post(
        &mut client,
        "user.created",
        json!({ "of": "nobody's business" }),
    )
    .await;
    let (first, second) = (stream.next("attempt").await, stream.next("attempt").await);
    for (told, attempt, status, state) in
        [(&first, 1, 503, "waiting"), (&second, 2, 200, "delivered")]
    {
        assert_eq!(
            (&told["webhook_id"], &told["event_id"]),
            (&json!(id), &json!(event))
        );
        assert_eq!(told["type"], "user.created");
        assert_eq!(
            (&told["attempt"], &told["status"]),
            (&json!(attempt), &json!(status))
        );
        assert_eq!(told["trigger"], "schedule");
        assert_eq!(told["state"], state);
        assert!(told["response_time_ms"].as_f64().unwrap() > 0.0);
    }
    // What is told is on disk, in the same words.
    let logged = delivery_in(&mut client, &id, &event, "delivered").await;
    for (told, logged) in [&first, &second]
        .into_iter()
        .zip(logged["attempts"].as_array().unwrap())
    {
        assert_eq!(told["outcome"], logged["outcome"]);
        assert_eq!(told["response_time_ms"], logged["response_time_ms"]);
    }
    assert!(first["next_attempt_at"].is_string() && second["next_attempt_at"].is_null());
    assert!(!stream.seen.contains("nobody's business") && !stream.seen.contains("whsec_"));
    // The other account has heard of nothing, and hears of its own.
    let body = json!({ "url": web.url("/"), "events": ["artifact.published"], "secret": "your-hmac-secret" });
    let own = registered(&mut theirs, body).await;
    assert_eq!(other.next("webhook").await["webhook_id"], json!(own));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_ends_without_an_attempt_are_told_and_removal_ends_a_stream_of_one() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 410).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let id = registered(&mut client, json!({ "url": web.url("/") })).await;
    let path = format!("/api/v1/webhooks/{id}");
    let mut stream = Stream::open(&daemon, "standard", &format!("{LIVE}?webhook={id}")).await;
    let mut ended = Stream::open(
        &daemon,
        "standard",
        &format!("{LIVE}?state=cancelled&type=user.*"),
    )
    .await;
    let change = async |stream: &mut Stream, expected: &str| {
        assert_eq!(stream.next("webhook").await["change"], expected);
    };
    let gone = post(&mut client, "user.created", json!({})).await;
    let told = stream.next("attempt").await;
    assert_eq!(
        (&told["state"], &told["reason"]),
        (&json!("failed"), &json!("gone"))
    );
    assert_eq!(told["event_id"], json!(gone));
    change(&mut stream, "disabled").await;
    for (body, expected) in [
        (json!({ "active": true }), "activated"),
        (json!({ "name": "x" }), "changed"),
        (json!({ "active": false }), "disabled"),
    ] {
        let changed = client
            .call(Method::PATCH, &path, Some(&body))
            .await
            .unwrap();
        assert_eq!(changed.status, 200, "{}", changed.body);
        change(&mut stream, expected).await;
    }
    let data = (0..3).map(|n| json!(n));
    let held = post_all(&mut client, "user.deleted", data).await;
    post(&mut client, "order.paid", json!({})).await;
    let discarded = client
        .call(Method::POST, &format!("{path}/held/discard"), None)
        .await
        .unwrap();
    assert_eq!(discarded.body["discarded"], 4, "{}", discarded.body);
    for _ in 0..4 {
        let told = stream.next("ended").await;
        assert_eq!(
            (&told["state"], &told["reason"]),
            (&json!("cancelled"), &json!("discarded"))
        );
    }
    for event in held {
        let told = ended.next("ended").await;
        assert_eq!(
            (&told["event_id"], &told["type"]),
            (&json!(event), &json!("user.deleted"))
        );
    }
    client.call(Method::DELETE, &path, None).await.unwrap();
    change(&mut stream, "removed").await;
    stream.end().await;
    let gone = get(&mut client, &format!("{LIVE}?webhook={id}")).await;
    assert_eq!(gone.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_for_is_refused_with_what_can() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    for (wrong, named) in [
        ("state=gone", "waiting, held, delivered"),
        ("type=a%20b", "type: "),
        ("webhooks=x", "webhook"),
    ] {
        let refused = get(&mut client, &format!("{LIVE}?{wrong}")).await;
        let (status, code) = (refused.status.as_u16(), &refused.body["code"]);
        assert_eq!((status, code), (400, &json!("query_invalid")));
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains(named), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_key_and_others_go_on() {
    let key = |name: &str, scope: &str| {
        format!(
            "[[accounts.keys]]\nname = \"{name}\"\nhash = \"{}\"\nscopes = [\"{scope}\"]\n",
            key_hash(&key_of(name))
        )
    };
    let mut site = Site::new(&["standard"]);
    let base = site.config(true);
    site = site.with(&(key("leaver", "read") + &key("poster", "read")));
    let daemon = site.start();
    let mut stays = Stream::open(&daemon, "standard", LIVE).await;
    let mut leaver = Stream::open(&daemon, "leaver", LIVE).await;
    let mut poster = Stream::open(&daemon, "poster", LIVE).await;
    std::fs::write(site.path("config.toml"), base + &key("poster", "send")).unwrap();
    daemon.signal(Signal::HUP);
    leaver.end().await;
    poster.end().await;
    let mut client = daemon.client("standard");
    registered(&mut client, json!({ "url": "https://127.0.0.1:9/" })).await;
    assert_eq!(stays.next("webhook").await["change"], "created");
    let refused = get(&mut daemon.client("poster"), LIVE).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["code"]),
        (403, &json!("scope_missing"))
    );
    assert_eq!(get(&mut daemon.client("leaver"), LIVE).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_bounded_and_hold_up_no_stop() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut streams = Vec::new();
    for _ in 0..OWN_MAX {
        streams.push(Stream::open(&daemon, "standard", LIVE).await);
    }
    let mut client = daemon.client("standard");
    let refused = get(&mut client, LIVE).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["code"]),
        (429, &json!("too_many_streams"))
    );
    assert!(refused.headers.contains_key("retry-after"));
    drop(streams.pop());
    // That it has gone is seen by the daemon a moment later.
    let mut again = until("a place is free again", async || {
        Stream::try_open(&daemon, "standard", LIVE).await.ok()
    })
    .await;
    let start = Instant::now();
    assert!(daemon.terminate().success());
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "the grace period is 30 s"
    );
    again.end().await;
    for mut stream in streams {
        stream.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_outlives_every_timeout_and_says_that_it_is_alive() {
    let site = Site::new(&["standard"]);
    let short =
        "[server]\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"\nanswer_rate_min = \"1MiB\"\n";
    let config = site.config(true).replacen("[server]\n", short, 1);
    let daemon = Daemon::start(&site.path("config.toml"), &config);
    let mut stream = Stream::open(&daemon, "standard", LIVE).await;
    // The comment comes after 15 s: far beyond both timeouts.
    stream.comment("alive").await;
    registered(
        &mut daemon.client("standard"),
        json!({ "url": "https://127.0.0.1:9/" }),
    )
    .await;
    assert_eq!(stream.next("webhook").await["change"], "created");
}

/// Registers a webhook that is held and posts so many events for it.
async fn held(daemon: &Daemon, count: usize) -> String {
    let mut client = daemon.client("standard");
    let body = json!({ "url": "https://127.0.0.1:9/", "active": false });
    let id = registered(&mut client, body).await;
    let event_type = format!("a.{}", "long".repeat(30));
    post_all(&mut client, &event_type, (0..count).map(|n| json!(n))).await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_told_how_much_was_missed_and_hinders_nobody() {
    const COUNT: usize = 10_000;
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let id = held(&daemon, COUNT).await;
    let mut slow = Stream::open(&daemon, "standard", LIVE).await;
    let mut client = daemon.client("standard");
    let path = format!("/api/v1/webhooks/{id}/held/discard");
    let discarded = client.call(Method::POST, &path, None).await.unwrap();
    assert_eq!(discarded.body["discarded"], COUNT, "{}", discarded.body);
    registered(&mut client, json!({ "url": "https://127.0.0.1:9/" })).await;
    let (mut told, mut missed) = (0, 0);
    loop {
        match slow.any().await {
            (name, _) if name == "ended" => told += 1,
            (name, data) if name == "missed" => {
                let count: Value = data["missed"].clone();
                missed += usize::try_from(count.as_u64().unwrap()).unwrap();
            }
            (name, data) => {
                assert_eq!(
                    (name.as_str(), &data["change"]),
                    ("webhook", &json!("created"))
                );
                break;
            }
        }
    }
    assert_eq!(
        told + missed,
        COUNT,
        "nothing is left out without saying so"
    );
    assert!(missed > 0, "the connection took all of it");
}
