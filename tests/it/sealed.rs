//! Secrets at rest: with a master key nothing of them is on disk, what is delivered verifies all the same, keys follow
//! one another without a restart, and a key that is missing is told before anything happens.

use std::path::Path;

use crate::client::Client;
use hookwheel::profile::Profiles;
use hookwheel::verify::verify;
use http::Method;
use rustix::process::Signal;
use serde_json::json;

use crate::support::{Daemon, Site, delivery_in, get, hookwheel, post, registered, until};
use crate::web::Web;

const SECRET: &str = "whsec_bm90aGluZyBvZiB0aGlzIG1heSBiZSBvbiBkaXNr";
const STAGED: &str = "whsec_YW5vdGhlciBvbmUgdGhhdCBpcyBmb3IgbGF0ZXIh";
const TOKEN: &str = "token-of-the-owner-4711";

/// Writes a new master key to a file of the site, as the command does.
fn make_key(site: &Site, name: &str) {
    let mut command = hookwheel();
    let made = command
        .args(["key", "master", "--out"])
        .arg(site.path(name))
        .output()
        .unwrap();
    let said = String::from_utf8(made.stdout).unwrap();
    assert!(made.status.success() && said.contains("key_file"), "{said}");
    assert!(said.contains(site.path(name).to_str().unwrap()), "{said}");
    let text = std::fs::read_to_string(site.path(name)).unwrap();
    assert!(!said.contains(text.trim()), "{said}");
}

/// Whether any file below `path` has this text in it.
pub fn is_on_disk(path: &Path, text: &str) -> bool {
    let mut paths = vec![path.to_owned()];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        if bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
        {
            return true;
        }
    }
    false
}

/// Sends an event; it must arrive, verify with the secret, and carry the owner's header.
async fn arrives(client: &mut Client, web: &Web, id: &str, secret: &str) {
    let event = post(client, "a", json!({ "n": 1 })).await;
    delivery_in(client, id, &event, "delivered").await;
    let request = web.received().pop().unwrap();
    let profiles = Profiles::built_in();
    let profile = profiles.get("standard").unwrap();
    verify(profile, secret, &request.headers, &request.body, request.at).unwrap();
    assert_eq!(request.headers["authorization"], format!("Bearer {TOKEN}"));
}

/// Registers a webhook with a secret and a token; what is sent to it arrives. Gives its id.
async fn with_secrets(client: &mut Client, web: &Web) -> String {
    let body = json!({ "url": web.url("/"), "secret": SECRET, "bearer_token": TOKEN });
    let id = registered(client, body).await;
    arrives(client, web, &id, SECRET).await;
    id
}

async fn said(daemon: &Daemon, from: usize, text: &str) {
    until(text, async || daemon.said_since(from, text)).await;
}

fn secrets(text: &str) -> String {
    format!("[secrets]\n{text}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_secret_is_on_disk() {
    let site = Site::new(&["standard"]).with(&secrets("key_file = \"one.key\""));
    make_key(&site, "one.key");
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let id = with_secrets(&mut client, &web).await;
    daemon.kill();
    let daemon = site.start();
    let mut client = daemon.client("standard");
    arrives(&mut client, &web, &id, SECRET).await;
    // What is changed is sealed anew, the secret and what came with it.
    let path = format!("/api/v1/webhooks/{id}");
    let rotated = json!({ "secret": STAGED });
    let answer = client
        .call(
            Method::POST,
            &format!("{path}/secret/rotate"),
            Some(&rotated),
        )
        .await;
    assert_eq!(answer.unwrap().status, 200);
    arrives(&mut client, &web, &id, STAGED).await;
    let reserved = json!({ "bearer_token": null, "headers": { "X-A": "hookwheel-sealed-1:0:0" } });
    let refused = client
        .call(Method::PATCH, &path, Some(&reserved))
        .await
        .unwrap();
    assert_eq!(
        (refused.status.as_u16(), &refused.body["code"]),
        (400, &json!("secret_reserved"))
    );
    assert!(daemon.terminate().success());
    for secret in [SECRET, &SECRET[6..], STAGED, &STAGED[6..], TOKEN] {
        assert!(!is_on_disk(&site.path("data"), secret), "{secret}");
    }
    // Not for want of looking.
    assert!(is_on_disk(&site.path("data"), "hookwheel-sealed-1:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_follow_one_another_without_a_restart() {
    let site = Site::new(&["standard"]);
    let config = site.path("config.toml");
    for name in ["one.key", "two.key", "three.key"] {
        make_key(&site, name);
    }
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let id = with_secrets(&mut client, &web).await;
    let reload = |keys: &str| {
        std::fs::write(&config, site.config(true) + &secrets(keys)).unwrap();
        let from = daemon.log().lines().count();
        daemon.signal(Signal::HUP);
        from
    };
    let sealing = [
        "key_file = \"one.key\"",
        "key_file = \"two.key\"\nold_key_files = [\"one.key\"]",
    ];
    for keys in sealing {
        let from = reload(keys);
        said(&daemon, from, "stored secrets were sealed anew").await;
        arrives(&mut client, &web, &id, SECRET).await;
    }
    let from = reload("key_file = \"two.key\"");
    said(&daemon, from, "were read again").await;
    // Keys that do not open what is stored are not taken over, and all goes on.
    for keys in ["key_file = \"three.key\"", ""] {
        let from = reload(keys);
        said(&daemon, from, "the config was not taken over").await;
        said(&daemon, from, "old_key_files").await;
        arrives(&mut client, &web, &id, SECRET).await;
    }
    let shown = get(&mut client, &format!("/api/v1/webhooks/{id}")).await;
    assert!(!shown.body.to_string().contains("sealed"), "{}", shown.body);
    daemon.kill();
    // Nor is a start made without the key.
    let mut command = hookwheel();
    command.args(["serve", "--config"]).arg(&config);
    let (status, told) = Daemon::try_spawn(command).err().unwrap();
    assert_eq!(status.code(), Some(1), "{told}");
    assert!(
        told.contains("of 1 stored webhook(s)") && told.contains("key_file"),
        "{told}"
    );
    // A key is given up by naming it as an old one only.
    std::fs::write(
        &config,
        site.config(true) + &secrets("old_key_files = [\"two.key\"]"),
    )
    .unwrap();
    let mut command = hookwheel();
    command.args(["serve", "--config"]).arg(&config);
    let daemon = Daemon::spawn(command);
    said(&daemon, 0, "stored secrets were sealed anew").await;
    assert!(daemon.terminate().success());
    let daemon = site.start();
    let mut client = daemon.client("standard");
    arrives(&mut client, &web, &id, SECRET).await;
}

#[test]
fn a_key_file_that_is_none_is_told_with_its_line() {
    let site = Site::new(&["standard"]);
    std::fs::write(site.path("short.key"), "hwmk_0123").unwrap();
    make_key(&site, "one.key");
    let text = secrets(
        "key_file = \"short.key\"\nold_key_files = [\"one.key\", \"none.key\", \"one.key\"]",
    );
    std::fs::write(site.path("config.toml"), site.config(true) + &text).unwrap();
    let mut command = hookwheel();
    let checked = command
        .args(["check", "--config"])
        .arg(site.path("config.toml"))
        .output()
        .unwrap();
    let told = String::from_utf8(checked.stderr).unwrap();
    assert_eq!(checked.status.code(), Some(64), "{told}");
    for part in [
        "holds no master key",
        "hookwheel key master",
        "none.key` cannot be read",
        "there already",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("0123"), "{told}");
    // A key is never written over.
    let before = std::fs::read(site.path("one.key")).unwrap();
    let mut command = hookwheel();
    let refused = command
        .args(["key", "master", "--out"])
        .arg(site.path("one.key"))
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(std::fs::read(site.path("one.key")).unwrap(), before);
}
