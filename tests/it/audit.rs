//! The audit log with the real binary: who did what, by key name and address, and nobody else's; none of what was refused.

use crate::client::Client;
use hookwheel::cli::key_hash;
use http::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Daemon, Site, delivery_in, get, post, registered, until};
use crate::web::Web;

async fn entries(client: &mut Client, query: &str) -> Vec<Value> {
    let answer = get(client, &format!("/api/v1/audit{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["data"].as_array().unwrap().clone()
}

/// Actions from the oldest to the newest.
async fn actions(client: &mut Client, query: &str) -> Vec<String> {
    let mut actions: Vec<String> = entries(client, query)
        .await
        .iter()
        .map(|entry| entry["action"].as_str().unwrap().to_owned())
        .collect();
    actions.reverse();
    actions
}

async fn call(client: &mut Client, method: Method, path: &str, body: Option<Value>) -> u16 {
    let answer = client.call(method, path, body.as_ref()).await.unwrap();
    answer.status.as_u16()
}

/// A second account with a key that may only read, and one that may do all.
fn other_account() -> String {
    format!(
        "[[accounts]]\nname = \"other\"\nprofile = \"standard\"\n\
         [[accounts.keys]]\nname = \"all\"\nhash = \"{}\"\nscopes = [\"admin\", \"send\", \"read\"]\n\
         [[accounts.keys]]\nname = \"looks\"\nhash = \"{}\"\nscopes = [\"read\"]\n",
        key_hash("test-key-other"),
        key_hash("test-key-looks"),
    )
}

/// Does a little of everything to a webhook of the account, in vain and not, and removes it. Gives the webhook and the
/// event that was sent to it.
async fn do_everything(client: &mut Client, web: &Web) -> (String, String) {
    let hook = registered(client, json!({ "url": web.url("/"), "name": "one" })).await;
    let path = format!("/api/v1/webhooks/{hook}");
    let event = post(client, "a", json!({})).await;
    delivery_in(client, &hook, &event, "delivered").await;
    let changed = json!({ "name": "two", "bearer_token": "of-the-owner" });
    let calls = [
        (Method::PATCH, path.clone(), Some(changed), 200),
        // Refused, or of no effect.
        (
            Method::PATCH,
            path.clone(),
            Some(json!({ "url": "http://a" })),
            400,
        ),
        (
            Method::POST,
            "/api/v1/webhooks".to_owned(),
            Some(json!({})),
            400,
        ),
        (Method::POST, format!("{path}/held/discard"), None, 409),
        (
            Method::POST,
            format!("{path}/replay"),
            Some(json!({ "dry_run": true })),
            200,
        ),
        (Method::POST, format!("{path}/test"), None, 200),
        (Method::POST, format!("{path}/secret/rotate"), None, 200),
        (
            Method::POST,
            format!("{path}/deliveries/{event}/retry"),
            None,
            202,
        ),
        (Method::POST, format!("{path}/replay"), Some(json!({})), 202),
    ];
    for (method, path, body, status) in calls {
        let shown = format!("{method} {path}");
        assert_eq!(call(client, method, &path, body).await, status, "{shown}");
    }
    // A job whose webhook is removed would be cancelled.
    until("the replay is done", async || {
        let jobs = get(client, "/api/v1/jobs").await;
        (jobs.body["data"][0]["state"] == "done").then_some(())
    })
    .await;
    for (method, path, body, status) in [
        (
            Method::PATCH,
            path.clone(),
            Some(json!({ "active": false })),
            200,
        ),
        (Method::POST, format!("{path}/held/discard"), None, 200),
        (Method::DELETE, path.clone(), None, 204),
        (Method::DELETE, path.clone(), None, 404),
    ] {
        let shown = format!("{method} {path}");
        assert_eq!(call(client, method, &path, body).await, status, "{shown}");
    }
    (hook, event)
}

/// All entries, two at a time.
async fn paged(client: &mut Client) -> Vec<Value> {
    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let answer = get(client, &format!("/api/v1/audit{query}")).await;
        seen.extend(answer.body["data"].as_array().unwrap().clone());
        match answer.body["next_cursor"].as_str() {
            Some(cursor) => query = format!("?limit=2&cursor={cursor}"),
            None => return seen,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_told_with_its_key_and_what_is_refused_is_not() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let (hook, event) = do_everything(&mut client, &web).await;
    let expected = [
        "webhook.created",
        "webhook.changed",
        "webhook.tested",
        "secret.rotated",
        "delivery.retried",
        "replay.started",
        "webhook.changed",
        "held.discarded",
        "webhook.removed",
    ];
    assert_eq!(actions(&mut client, "").await, expected);
    // Of a removed webhook, too.
    let query = format!("?webhook={hook}&limit=100");
    assert_eq!(actions(&mut client, &query).await, expected);
    let all = entries(&mut client, "").await;
    assert_eq!(paged(&mut client).await, all);
    let of = |action: &str| all.iter().rfind(|entry| entry["action"] == action).unwrap();
    let key = json!({ "kind": "key", "name": "all", "address": "127.0.0.1" });
    for entry in &all {
        assert_eq!(entry["actor"], key);
        assert!(entry["at"].is_string());
    }
    assert_eq!(
        of("webhook.changed")["details"],
        json!(["name", "bearer_token"])
    );
    assert_eq!(of("delivery.retried")["subject"], event.as_str());
    let job = of("replay.started")["subject"].as_str().unwrap();
    assert!(job.starts_with("job_"), "{job}");
    assert!(!json!(all).to_string().contains("of-the-owner"));
    daemon.kill();
    let daemon = site.start();
    assert_eq!(entries(&mut daemon.client("standard"), "").await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_the_log_but_who_manages_the_account() {
    let site = Site::new(&["standard"]).with(&other_account());
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let hook = registered(&mut client, json!({ "url": web.url("/") })).await;
    let query = format!("?webhook={hook}");
    assert_eq!(entries(&mut client, &query).await.len(), 1);
    // A webhook of another account is answered as one that never was, to the cursor.
    let mut other = daemon.client("other");
    let unknown = "?webhook=wh_01a1fed6d0cd70049f2958fe9eae0321&limit=1";
    let expected = get(&mut other, &format!("/api/v1/audit{unknown}")).await;
    assert_eq!(expected.body, json!({ "data": [], "next_cursor": null }));
    for query in ["?limit=1", &format!("{query}&limit=1")] {
        let answer = get(&mut other, &format!("/api/v1/audit{query}")).await;
        assert_eq!(answer.body, expected.body, "{query}");
    }
    let mut looks = Client::new(daemon.address, "test-key-looks");
    assert_eq!(get(&mut looks, "/api/v1/audit").await.status, 403);
    for (query, code) in [
        ("?webhook=7", "query_invalid"),
        ("?cursor=x", "cursor_invalid"),
        ("?of=me", "query_invalid"),
    ] {
        let answer = get(&mut client, &format!("/api/v1/audit{query}")).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.body["code"], code, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_daemon_and_the_config_do_is_told_as_theirs() {
    let site = Site::new(&["standard"]).with(
        "[profiles.once]\nextends = \"standard\"\nretry = { delays = [\"10ms\"], jitter = \"0%\" }\n\
         exhausted = { action = \"disable\", probe_every = \"10s\" }\n\
         [[accounts]]\nname = \"fragile\"\nprofile = \"once\"\n[[accounts.keys]]\nname = \"all\"\n\
         hash = \"HASH\"\nscopes = [\"admin\", \"send\", \"read\"]\n"
            .replace("HASH", &key_hash("test-key-fragile"))
            .as_str(),
    );
    let web = Web::start(&site.authority, |_| 500).await;
    let daemon = site.start();
    let mut client = daemon.client("fragile");
    let hook = registered(&mut client, json!({ "url": web.url("/") })).await;
    post(&mut client, "a", json!({})).await;
    let told = until("the webhook is disabled", async || {
        let all = entries(&mut client, &format!("?webhook={hook}")).await;
        (all.len() > 1).then(|| all[0].clone())
    });
    let told = told.await;
    assert_eq!(told["action"], "webhook.disabled");
    assert_eq!(told["actor"], json!({ "kind": "daemon" }));
    assert_eq!(told["details"], json!(["exhausted"]));
    // The same config again is no change; another key is.
    let config = site.config(true);
    let reload = |daemon: &Daemon, text: &str| {
        std::fs::write(site.path("config.toml"), text).unwrap();
        let from = daemon.log().lines().count();
        daemon.signal(Signal::HUP);
        from
    };
    let from = reload(&daemon, &config);
    until("the config is read", async || {
        daemon.said_since(from, "were read again")
    })
    .await;
    let swapped = config.replace(
        &key_hash("test-key-fragile"),
        &key_hash("another-key-of-fragile"),
    );
    let from = reload(&daemon, &swapped);
    until("the config is read", async || {
        daemon.said_since(from, "were read again")
    })
    .await;
    let mut client = Client::new(daemon.address, "another-key-of-fragile");
    let newest = entries(&mut client, "?limit=1").await;
    assert_eq!(newest[0]["action"], "keys.changed");
    assert_eq!(newest[0]["actor"], json!({ "kind": "config" }));
    assert_eq!(newest[0]["details"], json!(["changed all"]));
    assert_eq!(entries(&mut client, "").await.len(), 3);
}
