//! Re-match, the bounds on jobs, and what is said to who asks for one wrongly.

use crate::client::Client;
use hookwheel::cli::key_hash;
use serde_json::{Value, json};

use super::{
    all_in, call, counted, ended, listed, moody, post_many, queued, replay_of, start, turn,
};
use crate::support::{Site, get, registered, until};

#[tokio::test(flavor = "multi_thread")]
async fn stored_events_reach_webhooks_that_were_registered_later() {
    let site = Site::new(&["standard", "driftlock"]);
    let (web, _) = moody(&site).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let early = json!({ "url": web.url("/early"), "events": ["a"] });
    let early = registered(&mut client, early).await;
    post_many(&mut client, "a", 20).await;
    post_many(&mut client, "b", 20).await;
    all_in(&mut client, &early, 20, "delivered").await;
    let rematch = "/api/v1/events/rematch";
    assert_eq!(
        counted(&mut client, rematch, json!({})).await,
        0,
        "nobody lacks anything"
    );
    let late = registered(&mut client, json!({ "url": web.url("/late") })).await;
    let picky = json!({ "url": web.url("/picky"), "filter": { "data": { "number": [{ "numeric": [">=", 15] }] } } });
    let picky = registered(&mut client, picky).await;
    for (body, matched) in [
        (json!({}), 50),
        (json!({ "types": ["a"] }), 25),
        (json!({ "webhook": late }), 40),
        (json!({ "webhook": picky, "types": ["b"] }), 5),
        (json!({ "webhook": early }), 0),
        (json!({ "until": "2001-01-01T00:00:00Z" }), 0),
    ] {
        assert_eq!(
            counted(&mut client, rematch, body.clone()).await,
            matched,
            "{body}"
        );
    }
    let only = start(
        &mut client,
        rematch,
        &json!({ "webhook": picky, "per_second": 10_000 }),
    )
    .await;
    let done = ended(&mut client, &only, "done").await;
    assert_eq!((queued(&done), &done["kind"]), (10, &json!("rematch")));
    assert_eq!(listed(&mut client, &late, "").await, 0);
    let id = start(&mut client, rematch, &json!({ "per_second": 10_000 })).await;
    let done = ended(&mut client, &id, "done").await;
    let progress = json!({ "matched": 40, "queued": 40, "skipped": 0, "share": 1.0 });
    assert_eq!(done["progress"], progress);
    all_in(&mut client, &late, 40, "delivered").await;
    all_in(&mut client, &picky, 10, "delivered").await;
    assert_eq!(listed(&mut client, &early, "").await, 20);
    // All have theirs now, those that were added included.
    assert_eq!(counted(&mut client, rematch, json!({})).await, 0);
    assert_eq!(web.count(), 20 + 40 + 10);
    // Another account sees and touches nothing of it.
    let mut other = daemon.client("driftlock");
    assert_eq!(
        get(&mut other, &format!("/api/v1/jobs/{id}")).await.status,
        404
    );
    assert_eq!(turn(&mut other, &id, "cancel").await.0, 404);
    assert_eq!(
        get(&mut other, "/api/v1/jobs").await.body["data"],
        json!([])
    );
    let (status, problem) = call(&mut other, rematch, &json!({ "webhook": late })).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (400, &json!("/webhook"))
    );
    assert_eq!(call(&mut other, &replay_of(&late), &json!({})).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_a_bounded_number_of_jobs() {
    let site = Site::new(&["standard", "driftlock"]);
    let (web, _) = moody(&site).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, json!({ "url": web.url("/") })).await;
    post_many(&mut client, "a", 100).await;
    all_in(&mut client, &webhook, 100, "delivered").await;
    let path = replay_of(&webhook);
    let slow = json!({ "states": ["delivered"], "per_second": 1 });
    let mut open = Vec::new();
    for number in 0..10 {
        let id = start(&mut client, &path, &slow).await;
        if number % 2 == 0 {
            assert_eq!(turn(&mut client, &id, "pause").await.0, 200);
        }
        open.push(id);
    }
    let (status, problem) = call(&mut client, &path, &slow).await;
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("too_many_jobs")),
        "{problem}"
    );
    assert!(
        problem["detail"].as_str().unwrap().contains("10 jobs"),
        "{problem}"
    );
    // A dry run is no job, and another account has a bound of its own.
    counted(&mut client, &path, json!({})).await;
    let mut other = daemon.client("driftlock");
    start(&mut other, "/api/v1/events/rematch", &json!({})).await;
    for id in &open {
        assert_eq!(turn(&mut client, id, "cancel").await.0, 200);
    }
    let quick = json!({ "types": ["never.posted"], "per_second": 10_000 });
    let mut newest = String::new();
    for _ in 0..10 {
        for _ in 0..10 {
            newest = start(&mut client, &path, &quick).await;
        }
        until("the ten have ended", async || {
            let page = get(&mut client, "/api/v1/jobs?limit=10").await.body;
            let rows = page["data"].as_array().unwrap();
            rows.iter().all(|row| row["state"] == "done").then_some(())
        })
        .await;
    }
    let first = get(&mut client, "/api/v1/jobs?limit=60").await.body;
    assert_eq!(first["data"][0]["id"], json!(newest), "newest first");
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = get(
        &mut client,
        &format!("/api/v1/jobs?limit=60&cursor={cursor}"),
    )
    .await
    .body;
    let rows = |page: &Value| page["data"].as_array().unwrap().len();
    assert_eq!(
        (rows(&first), rows(&second)),
        (60, 40),
        "the oldest are forgotten"
    );
    assert_eq!(second["next_cursor"], Value::Null);
    assert_eq!(
        get(&mut client, &format!("/api/v1/jobs/{}", open[0]))
            .await
            .status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_job_is_named_field_by_field() {
    let hash = key_hash("reads-only");
    let site = Site::new(&["standard", "driftlock"]).with(&format!(
        "[[accounts.keys]]\nname = \"reader\"\nhash = \"{hash}\"\nscopes = [\"read\"]\n"
    ));
    let (web, _) = moody(&site).await;
    let daemon = site.start();
    let mut client = daemon.client("driftlock");
    let body = json!({ "url": web.url("/"), "events": ["anomaly.detected"] });
    let webhook = registered(&mut client, body).await;
    let mut standard = daemon.client("standard");
    let foreign = registered(&mut standard, json!({ "url": web.url("/") })).await;
    let path = replay_of(&webhook);
    let many: Vec<String> = (0..21).map(|_| "anomaly.detected".to_owned()).collect();
    for (field, body) in [
        ("/since", json!({ "since": "yesterday" })),
        (
            "/since",
            json!({ "since": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z" }),
        ),
        ("/until", json!({ "until": 5 })),
        ("/states", json!({ "states": [] })),
        ("/states/1", json!({ "states": ["failed", "waiting"] })),
        ("/types", json!({ "types": many })),
        ("/types/0", json!({ "types": ["anomaly.undetected"] })),
        ("/to", json!({ "to": foreign })),
        ("/to", json!({ "to": "wh_nobody" })),
        ("/per_second", json!({ "per_second": 0 })),
        ("/per_second", json!({ "per_second": 10_001 })),
        ("/dry_run", json!({ "dry_run": "yes" })),
        ("/webhook", json!({ "webhook": webhook })),
    ] {
        let (status, problem) = call(&mut client, &path, &body).await;
        assert_eq!(status, 400, "{body}: {problem}");
        assert_eq!(problem["errors"][0]["pointer"], field, "{body}: {problem}");
    }
    let (_, problem) = call(
        &mut client,
        &path,
        &json!({ "types": ["nope"], "per_second": 0, "x": 1 }),
    )
    .await;
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3, "{problem}");
    let rematch = "/api/v1/events/rematch";
    for (field, body) in [
        ("/states", json!({ "states": ["failed"] })),
        ("/webhook", json!({ "webhook": foreign })),
    ] {
        let (status, problem) = call(&mut client, rematch, &body).await;
        assert_eq!(
            (status, &problem["errors"][0]["pointer"]),
            (400, &json!(field)),
            "{problem}"
        );
    }
    assert_eq!(
        call(&mut client, &replay_of(&foreign), &json!({})).await.0,
        404
    );
    assert_eq!(get(&mut client, "/api/v1/jobs/job_x").await.status, 404);
    assert_eq!(
        get(&mut client, "/api/v1/jobs?cursor=x").await.body["code"],
        "cursor_invalid"
    );
    // Who may only read may look.
    let mut reader = Client::new(daemon.address, "reads-only");
    assert_eq!(get(&mut reader, "/api/v1/jobs").await.status, 200);
    let (status, problem) = call(&mut reader, &path, &json!({})).await;
    assert_eq!((status, &problem["code"]), (403, &json!("scope_missing")));
}
