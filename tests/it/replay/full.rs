//! Jobs and a webhook whose profile drops the oldest beyond a backlog: what a job queues makes nothing be dropped.

use crate::client::Client;
use hookwheel::cli::key_hash;
use http::Method;
use serde_json::json;

use super::{all_in, ended, listed, moody, post_many, queued, replay_of, start};
use crate::support::{Site, get, registered, until};

/// An account whose receivers get 100 in a second, while 20 wait at most.
fn site() -> Site {
    let hash = key_hash("slow");
    Site::new(&[]).with(&format!(
        "[profiles.slow]\nextends = \"standard\"\n[profiles.slow.rate]\nper_second = 100\n\
         overflow = \"drop-oldest\"\nbacklog = 20\n[[accounts]]\nname = \"slow\"\nprofile = \"slow\"\n\
         [[accounts.keys]]\nname = \"all\"\nhash = \"{hash}\"\nscopes = [\"admin\", \"send\", \"read\"]\n"
    ))
}

/// Posts so slowly that nothing has to wait for long.
async fn delivered_each(client: &mut Client, webhook: &str, rounds: usize) {
    for round in 1..=rounds {
        post_many(client, "a", 15).await;
        all_in(client, webhook, round * 15, "delivered").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_leaves_half_of_a_backlog_to_live_traffic() {
    let site = site();
    let (web, _) = moody(&site).await;
    let daemon = site.start();
    let mut client = Client::new(daemon.address, "slow");
    let old = json!({ "url": web.url("/old"), "events": ["a"] });
    let old = registered(&mut client, old).await;
    delivered_each(&mut client, &old, 8).await;

    let new = json!({ "url": web.url("/new"), "events": ["b"] });
    let new = registered(&mut client, new).await;
    let body = json!({ "to": new, "states": ["delivered"], "per_second": 10_000 });
    let id = start(&mut client, &replay_of(&old), &body).await;
    let mut live = 0;
    let done = loop {
        // Fewer than the other half, whenever the last ones have gone.
        post_many(&mut client, "b", 5).await;
        live += 5;
        until("what is live has arrived", async || {
            let path = format!("/api/v1/webhooks/{new}/deliveries?limit=200&type=b&state=waiting");
            let page = get(&mut client, &path).await.body;
            page["data"].as_array().unwrap().is_empty().then_some(())
        })
        .await;
        let shown = super::job(&mut client, &id).await;
        if shown["state"] == "done" {
            break shown;
        }
        assert_eq!(shown["state"], "running");
    };
    assert_eq!(
        (queued(&done), done["progress"]["skipped"].as_u64()),
        (120, Some(0))
    );
    all_in(&mut client, &new, 120 + live, "delivered").await;
    assert_eq!(listed(&mut client, &new, "&state=dropped").await, 0);
    assert!(daemon.log().contains("half full"), "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rematch_waits_for_an_inactive_webhook_whose_backlog_is_half_full() {
    let site = site();
    let (web, _) = moody(&site).await;
    let daemon = site.start();
    let mut client = Client::new(daemon.address, "slow");
    let early = registered(&mut client, json!({ "url": web.url("/early") })).await;
    delivered_each(&mut client, &early, 3).await;
    let late = json!({ "url": web.url("/late"), "active": false });
    let late = registered(&mut client, late).await;
    let body = json!({ "per_second": 10_000 });
    let id = start(&mut client, "/api/v1/events/rematch", &body).await;
    until("the job waits", async || {
        daemon.log().contains("half full").then_some(())
    })
    .await;
    let waiting = super::job(&mut client, &id).await;
    assert_eq!(
        (&waiting["state"], queued(&waiting)),
        (&json!("running"), 10)
    );
    let path = format!("/api/v1/webhooks/{late}");
    let active = client
        .call(Method::PATCH, &path, Some(&json!({ "active": true })))
        .await;
    assert_eq!(active.unwrap().status, 200);
    assert_eq!(queued(&ended(&mut client, &id, "done").await), 45);
    all_in(&mut client, &late, 45, "delivered").await;
}
