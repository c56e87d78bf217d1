//! What tells an operator that work is progressing: levels that grow while it does not, and go back.

use std::time::Duration;

use serde_json::json;

use crate::client::Client;
use crate::support::{Site, get, post, registered, until};
use crate::web::Web;

async fn level(client: &mut Client, name: &str) -> f64 {
    let text = get(client, "/metrics").await.body;
    let text = text.as_str().unwrap();
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("{name} is not in\n{text}"));
    found.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_overdue_shows_until_it_is_sent_and_what_is_held_does_not() {
    let site = Site::new(&["standard"]);
    // The receiver takes its time, so that what waits behind the first attempts becomes overdue.
    let web = Web::start_slow(&site.authority, Duration::from_millis(600)).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let held = json!({ "url": web.url("/held"), "active": false });
    registered(&mut client, held).await;
    let name = "hookwheel_oldest_due_seconds";
    post(&mut client, "a", json!(0)).await;
    let free = level(&mut client, "hookwheel_disk_free_bytes").await;
    assert!(free > 0.0);
    assert!(level(&mut client, "hookwheel_journal_size_bytes").await > 72.0);
    assert!(level(&mut client, "hookwheel_journal_segments").await >= 1.0);
    assert!(level(&mut client, "hookwheel_store_stalled_seconds").await < 5.0);
    assert!(level(&mut client, name).await < f64::EPSILON, "it is held");

    registered(&mut client, json!({ "url": web.url("/") })).await;
    for number in 0..4 {
        post(&mut client, "a", json!(number)).await;
    }
    let mut last = 0.0;
    for _ in 0..2 {
        until("it grows", async || {
            let now = level(&mut client, name).await;
            (now > last + 0.1).then(|| last = now)
        })
        .await;
    }
    until("it is 0 again", async || {
        (level(&mut client, name).await < f64::EPSILON).then_some(())
    })
    .await;
    assert_eq!(web.count(), 4);
    assert!(daemon.terminate().success());
}
