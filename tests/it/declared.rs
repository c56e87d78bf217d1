//! Webhooks that the config declares, with the real daemon: registered at the start, changed and withdrawn at reloads,
//! rotated by their files, and never twice.

mod api;
mod mistakes;
mod plan;

use std::process::Stdio;
use std::time::Duration;

use crate::client::Client;
use hookwheel::profile::Profiles;
use hookwheel::receiver::ReceivedRequest;
use hookwheel::verify::verify;
use http::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Daemon, Site, delivery_in, get, hookwheel, post, registered, until};
use crate::web::Web;

const SECRET: &str = "whsec_bm90aGluZyBvZiB0aGlzIG1heSBiZSBvbiBkaXNr";
const OTHER: &str = "whsec_YW5vdGhlciBvbmUgdGhhdCBpcyBmb3IgbGF0ZXIh";

/// A site of one account, with the file of a secret.
fn site() -> Site {
    let site = Site::new(&["standard"]);
    secret(&site, SECRET);
    site
}

fn secret(site: &Site, text: &str) {
    std::fs::write(site.path("hook.secret"), format!("{text}\n")).unwrap();
}

/// An entry of the account `standard`, with further lines.
fn entry(name: &str, url: &str, more: &str) -> String {
    format!(
        "[[webhooks]]\naccount = \"standard\"\nname = \"{name}\"\nurl = \"{url}\"\nsecret_file = \"hook.secret\"\n{more}\n"
    )
}

fn start(site: &Site, entries: &str) -> Daemon {
    Daemon::start(&site.path("config.toml"), &(site.config(true) + entries))
}

/// Has the daemon read a config with these entries, and waits until it has.
async fn reload(site: &Site, daemon: &Daemon, entries: &str) {
    std::fs::write(site.path("config.toml"), site.config(true) + entries).unwrap();
    let from = daemon.log().lines().count();
    daemon.signal(Signal::HUP);
    until("the reload", async || {
        daemon.said_since(from, "were read again")
    })
    .await;
}

async fn webhooks(client: &mut Client) -> Vec<Value> {
    let answer = get(client, "/api/v1/webhooks?limit=200").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["data"].as_array().unwrap().clone()
}

/// The only webhook that there is.
async fn only(client: &mut Client) -> Value {
    let all = webhooks(client).await;
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

fn id(webhook: &Value) -> String {
    webhook["id"].as_str().unwrap().to_owned()
}

fn is_signed(request: &ReceivedRequest, profile: &str, secret: &str) -> bool {
    let profiles = Profiles::built_in();
    let profile = profiles.get(profile).unwrap();
    verify(profile, secret, &request.headers, &request.body, request.at).is_ok()
}

/// Sends an event and gives the request that arrived.
async fn sent(client: &mut Client, web: &Web, webhook: &str, event_type: &str) -> ReceivedRequest {
    let event = post(client, event_type, json!({ "n": 1 })).await;
    delivery_in(client, webhook, &event, "delivered").await;
    web.received().pop().unwrap()
}

fn owned((action, details): (&str, &str)) -> (String, String) {
    (action.to_owned(), details.to_owned())
}

/// What the audit log has of a webhook, newest first; all of it the config must have done.
async fn audited(client: &mut Client, webhook: &str) -> Vec<(String, String)> {
    let audit = get(client, &format!("/api/v1/audit?webhook={webhook}"))
        .await
        .body;
    let rows = audit["data"].as_array().unwrap().iter();
    let told = rows.map(|row| {
        assert_eq!(row["actor"], json!({ "kind": "config" }), "{row}");
        (
            row["action"].as_str().unwrap().to_owned(),
            row["details"].to_string(),
        )
    });
    told.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_registered_once_and_changed_as_the_same_webhook() {
    let site = site();
    let (web, next) = (
        Web::start(&site.authority, |_| 200).await,
        Web::start(&site.authority, |_| 200).await,
    );
    let first = entry("crm", &web.url("/"), "events = [\"order.*\"]");
    let daemon = start(&site, &first);
    let mut client = daemon.client("standard");
    let own = registered(
        &mut client,
        json!({ "url": web.url("/own"), "events": ["never"] }),
    )
    .await;
    let all = webhooks(&mut client).await;
    let crm = all.iter().find(|one| one["declared"] == "crm").unwrap();
    let (crm_id, updated) = (id(crm), crm["updated_at"].clone());
    assert_eq!(
        (&crm["name"], &crm["active"]),
        (&json!("crm"), &json!(true))
    );
    let request = sent(&mut client, &web, &crm_id, "order.paid").await;
    assert!(is_signed(&request, "standard", SECRET));

    // The same again, at a start and at a reload, changes nothing.
    daemon.kill();
    let daemon = start(&site, &first);
    let mut client = daemon.client("standard");
    reload(&site, &daemon, &first).await;
    let all = webhooks(&mut client).await;
    assert_eq!(all.len(), 2, "{all:?}");
    let crm = all.iter().find(|one| id(one) == crm_id).unwrap();
    assert_eq!(crm["updated_at"], updated);

    // Another URL, and headers, one of them from a file.
    std::fs::write(site.path("token"), "tok-4711").unwrap();
    let moved = entry(
        "crm",
        &next.url("/in"),
        "events = [\"order.*\"]\nheaders = { X-Plain = \"a\", X-Token = { value_file = \"token\" } }",
    );
    reload(&site, &daemon, &moved).await;
    let request = sent(&mut client, &next, &crm_id, "order.paid").await;
    assert_eq!(request.headers["x-token"], "tok-4711");
    assert_eq!(request.headers["x-plain"], "a");
    assert!(!daemon.log().contains("tok-4711"));
    let shown = get(&mut client, &format!("/api/v1/webhooks/{own}"))
        .await
        .body;
    assert_eq!(shown["active"], true, "what the API made is left alone");
    let expected = [
        ("webhook.changed", "[\"url\",\"headers\"]"),
        ("webhook.created", "[]"),
    ];
    assert_eq!(audited(&mut client, &crm_id).await, expected.map(owned));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_gone_holds_its_webhook_and_cancels_nothing() {
    let site = site();
    let web = Web::start(&site.authority, |_| 200).await;
    let declared = entry("crm", &web.url("/"), "");
    let daemon = start(&site, &declared);
    let mut client = daemon.client("standard");
    let crm_id = id(&only(&mut client).await);
    reload(&site, &daemon, "").await;
    let shown = get(&mut client, &format!("/api/v1/webhooks/{crm_id}"))
        .await
        .body;
    assert_eq!(shown["inactive"]["reason"], "undeclared", "{shown}");
    let since = shown["inactive"]["since"].clone();
    let held = post(&mut client, "order.paid", json!({ "n": 2 })).await;
    delivery_in(&mut client, &crm_id, &held, "held").await;
    daemon.kill();
    let daemon = start(&site, "");
    let mut client = daemon.client("standard");
    let shown = get(&mut client, &format!("/api/v1/webhooks/{crm_id}"))
        .await
        .body;
    assert_eq!(shown["inactive"]["since"], since, "it is withdrawn once");
    reload(&site, &daemon, &declared).await;
    delivery_in(&mut client, &crm_id, &held, "delivered").await;

    let expected = [
        ("webhook.changed", "[\"active\"]"),
        ("webhook.disabled", "[\"undeclared\"]"),
        ("webhook.created", "[]"),
    ];
    assert_eq!(audited(&mut client, &crm_id).await, expected.map(owned));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_to_an_old_url_after_a_start_with_another_one() {
    let site = site();
    let (old, new) = (
        Web::start(&site.authority, |_| 503).await,
        Web::start(&site.authority, |_| 200).await,
    );
    let retry = "retry = { delays = [\"1s\"] }";
    let daemon = start(&site, &entry("crm", &old.url("/"), retry));
    let mut client = daemon.client("standard");
    let crm = id(&only(&mut client).await);
    let event = post(&mut client, "a", json!(1)).await;
    until("the first attempt", async || {
        (old.count() == 1).then_some(())
    })
    .await;
    delivery_in(&mut client, &crm, &event, "waiting").await;
    daemon.kill();
    // Its retry is due at the start, or a moment later.
    let daemon = start(&site, &entry("crm", &new.url("/"), retry));
    let mut client = daemon.client("standard");
    delivery_in(&mut client, &crm, &event, "delivered").await;
    assert_eq!((old.count(), new.count()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_another_secret_is_a_rotation_that_no_receiver_notices() {
    let site = site();
    let web = Web::start(&site.authority, |_| 200).await;
    let declared = entry("crm", &web.url("/"), "");
    let daemon = start(&site, &declared);
    let mut client = daemon.client("standard");
    let crm = id(&only(&mut client).await);
    secret(&site, OTHER);
    let request = sent(&mut client, &web, &crm, "a").await;
    assert!(
        is_signed(&request, "standard", SECRET),
        "not before the reload"
    );
    reload(&site, &daemon, &declared).await;
    let request = sent(&mut client, &web, &crm, "a").await;
    assert!(is_signed(&request, "standard", SECRET), "the old one");
    assert!(is_signed(&request, "standard", OTHER), "and the new one");
    let shown = only(&mut client).await;
    assert!(shown["secret_rotation"]["old_until"].is_string(), "{shown}");
    daemon.kill();
    let daemon = start(&site, &declared);
    let mut client = daemon.client("standard");
    let request = sent(&mut client, &web, &crm, "a").await;
    assert!(is_signed(&request, "standard", SECRET) && is_signed(&request, "standard", OTHER));
    assert_eq!(
        only(&mut client).await["secret_rotation"],
        shown["secret_rotation"]
    );
    // A wrong one is refused, and nothing changes.
    secret(&site, "whsec_short");
    daemon.signal(Signal::HUP);
    until("the refusal", async || {
        daemon
            .said_since(0, "hook.secret")
            .or_else(|| daemon.said_since(0, "secret_file"))
    })
    .await;
    let request = sent(&mut client, &web, &crm, "a").await;
    assert!(is_signed(&request, "standard", OTHER));
    let audit = get(&mut client, "/api/v1/audit").await.body;
    assert_eq!(audit["data"][0]["action"], "secret.rotated", "{audit}");
    for text in [SECRET, OTHER, "whsec_short"] {
        assert!(!daemon.log().contains(text), "a secret was logged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_profile_stages_the_file_is_the_stage() {
    let site = Site::new(&["driftguard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let make = |name: &str| {
        let made = hookwheel()
            .args(["key", "secret", "--profile", "driftguard", "--out"])
            .arg(site.path(name))
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        std::fs::read_to_string(site.path(name)).unwrap()
    };
    let (old, new) = (make("one"), make("two"));
    let declared = |file: &str| {
        format!(
            "[[webhooks]]\naccount = \"driftguard\"\nname = \"crm\"\nurl = \"{}\"\nevents = [\"breaking\"]\nsecret_file = \
             \"{file}\"\n",
            web.url("/")
        )
    };
    let daemon = start(&site, &declared("one"));
    let mut client = daemon.client("driftguard");
    let crm = id(&only(&mut client).await);
    let request = sent(&mut client, &web, &crm, "breaking").await;
    assert!(is_signed(&request, "driftguard", &old));
    reload(&site, &daemon, &declared("two")).await;
    let request = sent(&mut client, &web, &crm, "breaking").await;
    assert!(is_signed(&request, "driftguard", &new));
    assert!(!is_signed(&request, "driftguard", &old));
    reload(&site, &daemon, &declared("one")).await;
    let request = sent(&mut client, &web, &crm, "breaking").await;
    assert!(is_signed(&request, "driftguard", &old), "back by the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_has_disabled_stays_so_until_it_has_another_receiver() {
    let site = site();
    let (gone, well) = (
        Web::start(&site.authority, |_| 410).await,
        Web::start(&site.authority, |_| 200).await,
    );
    let daemon = start(&site, &entry("crm", &gone.url("/"), "active = true"));
    let mut client = daemon.client("standard");
    let crm = id(&only(&mut client).await);
    post(&mut client, "a", json!(1)).await;
    until("it is disabled", async || {
        (only(&mut client).await["inactive"]["reason"] == "gone").then_some(())
    })
    .await;
    reload(
        &site,
        &daemon,
        &entry("crm", &gone.url("/"), "active = true\ntimeout = \"7s\""),
    )
    .await;
    let shown = only(&mut client).await;
    assert_eq!(
        (&shown["inactive"]["reason"], &shown["timeout"]),
        (&json!("gone"), &json!("7s"))
    );
    reload(&site, &daemon, &entry("crm", &well.url("/"), "")).await;
    let shown = only(&mut client).await;
    assert_eq!((&shown["active"], id(&shown)), (&json!(true), crm));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_a_webhook_at_night_finds_it_held_in_the_morning() {
    let site = site();
    let silent = entry("crm", "https://127.0.0.1:1/", "");
    let daemon = start(&site, &silent);
    let mut client = daemon.client("standard");
    let crm = id(&only(&mut client).await);
    let held = json!({ "active": false });
    let path = format!("/api/v1/webhooks/{crm}");
    let answer = client
        .call(Method::PATCH, &path, Some(&held))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    reload(&site, &daemon, &silent).await;
    daemon.kill();
    let daemon = start(&site, &silent);
    let mut client = daemon.client("standard");
    assert_eq!(only(&mut client).await["inactive"]["reason"], "request");
    // Unless the config says that it is to flow, or not to.
    reload(
        &site,
        &daemon,
        &entry("crm", "https://127.0.0.1:1/", "active = true"),
    )
    .await;
    assert_eq!(only(&mut client).await["active"], true);
    reload(
        &site,
        &daemon,
        &entry("crm", "https://127.0.0.1:1/", "active = false"),
    )
    .await;
    assert_eq!(only(&mut client).await["inactive"]["reason"], "request");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_new_webhooks_share_the_syncs_that_a_start_waits_for() {
    const COUNT: u64 = 150;
    let site = site();
    let entries: String = (0..COUNT)
        .map(|number| entry(&format!("hook-{number}"), "https://127.0.0.1:1/", ""))
        .collect();
    let daemon = start(&site, &entries);
    let mut client = daemon.client("standard");
    assert_eq!(webhooks(&mut client).await.len() as u64, COUNT);
    let shown = get(&mut client, "/metrics").await.body;
    let mut lines = shown.as_str().unwrap().lines();
    let syncs = lines
        .find_map(|line| line.strip_prefix("hookwheel_journal_syncs_total "))
        .unwrap();
    let syncs: u64 = syncs.parse().unwrap();
    assert!(
        (1..COUNT / 3).contains(&syncs),
        "{syncs} syncs for {COUNT} webhooks"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_registers_none_twice() {
    // More than are written at the same time.
    const COUNT: usize = 200;
    let site = site();
    let entries: String = (0..COUNT)
        .map(|number| entry(&format!("hook-{number}"), "https://127.0.0.1:1/", ""))
        .collect();
    std::fs::write(site.path("config.toml"), site.config(true) + &entries).unwrap();
    let journal = || {
        let directory = std::fs::read_dir(site.path("data/journal"));
        let sizes = directory.into_iter().flatten().flatten();
        sizes
            .filter_map(|file| file.metadata().ok())
            .map(|file| file.len())
            .sum::<u64>()
    };
    for _ in 0..4 {
        let before = journal();
        let mut child = hookwheel()
            .args(["serve", "--config"])
            .arg(site.path("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Some webhooks are some kilobytes. Where all have been written before, there are none to wait for.
        let start = Instant::now();
        until("some are written", async || {
            let done = journal() > before + 3_000 || start.elapsed() > Duration::from_secs(3);
            done.then_some(())
        })
        .await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let daemon = start(&site, &entries);
    let mut client = daemon.client("standard");
    let mut names: Vec<String> = webhooks(&mut client)
        .await
        .iter()
        .map(|one| one["declared"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), COUNT);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_master_key_nothing_of_a_declared_secret_is_on_disk() {
    let site = Site::new(&["standard"]).with("[secrets]\nkey_file = \"master.key\"\n");
    secret(&site, SECRET);
    let made = hookwheel()
        .args(["key", "master", "--out"])
        .arg(site.path("master.key"))
        .output()
        .unwrap();
    assert!(made.status.success());
    let web = Web::start(&site.authority, |_| 200).await;
    let declared = entry("crm", &web.url("/"), "");
    let daemon = start(&site, &declared);
    let mut client = daemon.client("standard");
    let crm = id(&only(&mut client).await);
    sent(&mut client, &web, &crm, "a").await;
    let updated = only(&mut client).await["updated_at"].clone();
    reload(&site, &daemon, &declared).await;
    assert_eq!(
        only(&mut client).await["updated_at"],
        updated,
        "sealed is no change"
    );
    secret(&site, OTHER);
    reload(&site, &daemon, &declared).await;
    let request = sent(&mut client, &web, &crm, "a").await;
    assert!(is_signed(&request, "standard", OTHER));
    assert!(daemon.terminate().success());
    for text in [SECRET, OTHER] {
        let found = crate::sealed::is_on_disk(&site.path("data"), text);
        assert!(!found, "a secret is on disk");
    }
}
