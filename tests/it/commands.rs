//! The commands as a person meets them: exit codes, what they print, signals.

mod asking;
mod desk;
mod following;
mod hostile;
mod live;
mod terminal;

use std::process::{Output, Stdio};

use serde_json::json;

use crate::client::Client;
use crate::support::{Site, hookwheel, key_of, register, until};
use http::Method;

fn run(arguments: &[&str]) -> Output {
    hookwheel()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn the_demo_tells_its_story_and_ends_well() {
    let output = run(&["demo", "--exit"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    assert!(text.contains("6 of 6 deliveries arrived"), "{text}");
    for profile in [
        "standard",
        "driftlock",
        "anomalyarmor",
        "dataflow",
        "flock",
        "driftguard",
    ] {
        let last = text.lines().rfind(|line| line.contains(profile)).unwrap();
        assert!(
            last.contains("signature verified") && last.contains("delivered"),
            "{last}"
        );
    }
    assert!(text.contains("503"), "a failure is seen: {text}");
    assert!(text.contains("next retry in"), "{text}");
}

#[test]
fn a_bad_config_ends_with_64_and_names_every_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.toml");
    std::fs::write(
        &path,
        "[server]\nlisten = 5\nlisen = 1\n[storage]\npath = \"data\"\n",
    )
    .unwrap();
    for command in ["check", "serve"] {
        let output = run(&[command, "--config", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(64), "{command}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("bad.toml:2:"), "{text}");
        assert!(text.contains("bad.toml:3:"), "{text}");
    }
    assert!(
        !directory.path().join("data").exists(),
        "a refused config touches nothing"
    );
    assert_eq!(
        run(&["check", "--config", "no-such-file.toml"])
            .status
            .code(),
        Some(64)
    );
    assert_eq!(run(&["sevre"]).status.code(), Some(64));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    let output = run(&["webhook", "list", "--json", "--limt", "5"]);
    assert_eq!(output.status.code(), Some(64));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["error"]["code"], "usage");
    let detail = told["error"]["detail"].as_str().unwrap();
    assert!(
        detail.contains("'--limt'") && detail.contains("'--limit'"),
        "{detail}"
    );
    for words in [&["help", "webhook"][..], &["help", "webhook", "add"]] {
        let output = run(words);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && text.contains("Examples:"),
            "{text}"
        );
    }
}

#[test]
fn the_example_config_is_good() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");
    let output = run(&["check", "--config", example]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_opens_the_api() {
    let directory = tempfile::tempdir().unwrap();
    let key_file = directory.path().join("backend.key");
    let key_path = key_file.to_str().unwrap();
    let output = run(&["key", "new", "--out", key_path]);
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    let key = std::fs::read_to_string(&key_file).unwrap();
    assert!(!lines.contains(&key), "with --out the key is not printed");
    assert_eq!(
        run(&["key", "new", "--out", key_path]).status.code(),
        Some(1),
        "no key is overwritten"
    );
    assert_eq!(std::fs::read_to_string(&key_file).unwrap(), key);
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[storage]\npath = \"data\"\n[log]\nformat = \"json\"\n\
         [[accounts]]\nname = \"acme\"\nprofile = \"standard\"\n{lines}"
    );
    let daemon = crate::support::Daemon::start(&directory.path().join("config.toml"), &config);
    register(
        &mut Client::new(daemon.address, &key),
        json!({ "url": "https://example.com/" }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_new_keys_and_keeps_the_old_config_where_the_new_one_is_bad() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let status = async |key: &str| {
        let mut client = Client::new(daemon.address, key);
        client
            .call(Method::GET, "/api/v1/webhooks", None)
            .await
            .unwrap()
            .status
            .as_u16()
    };
    let config_path = site.path("config.toml");
    std::fs::write(&config_path, "[server]\nlisten = 7\n").unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    until("the bad config is refused", async || {
        daemon
            .log()
            .contains("the old one stays in force")
            .then_some(())
    })
    .await;
    assert_eq!(status(&key_of("standard")).await, 200);

    let old = hookwheel::cli::key_hash(&key_of("standard"));
    let new = hookwheel::cli::key_hash("fresh");
    std::fs::write(&config_path, site.config(true).replace(&old, &new)).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    until("the new key opens", async || {
        (status("fresh").await == 200).then_some(())
    })
    .await;
    assert_eq!(
        status(&key_of("standard")).await,
        401,
        "the old key is shut"
    );
}
