//! `hookwheel doctor` on machines that are well and on some that are not: each check says what it found, and what to
//! do.

use std::collections::BTreeMap;
use std::fs;

use hookwheel::receiver::Authority;
use serde_json::{Value, json};

use crate::backup::{run, small_segments, tree};
use crate::support::{Daemon, Site, delivery_in, post, registered};
use crate::web::Web;

/// The checks by name, and the exit code. Where a name has more than one line, the last is taken.
fn diagnosis(site: &Site, arguments: &[&str]) -> (Option<i32>, BTreeMap<String, Value>) {
    let (code, out, errors) = run(site, "doctor", &[arguments, &["--json"]].concat());
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{errors}"));
    let checks = report["checks"].as_array().unwrap();
    for check in checks {
        assert_eq!(check["remedy"].is_null(), check["state"] == "ok", "{check}");
    }
    let failed = checks
        .iter()
        .filter(|check| check["state"] == "fail")
        .count();
    assert_eq!(report["failures"], failed);
    assert_eq!(code, Some(i32::from(failed > 0)), "{report}");
    let by_name = checks
        .iter()
        .map(|check| (check["check"].as_str().unwrap().to_owned(), check.clone()))
        .collect();
    (code, by_name)
}

fn state(checks: &BTreeMap<String, Value>, name: &str, state: &str, says: &str) {
    let check = checks
        .get(name)
        .unwrap_or_else(|| panic!("no check {name}: {checks:?}"));
    assert_eq!(check["state"], state, "{check}");
    assert!(check["found"].as_str().unwrap().contains(says), "{check}");
}

/// A stopped daemon's data, with a delivery made to a receiver.
async fn used(site: &Site, web: &Web) -> String {
    let daemon = Daemon::start(&site.path("config.toml"), &small_segments(site));
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, json!({ "url": web.url("/") })).await;
    let event = post(&mut client, "a", json!({ "n": 1 })).await;
    delivery_in(&mut client, &webhook, &event, "delivered").await;
    assert!(daemon.terminate().success());
    webhook
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_machine_passes_with_the_daemon_down_and_up() {
    let site = Site::new(&["standard"]);
    let config = site.path("config.toml");
    fs::write(&config, small_segments(&site)).unwrap();
    let (_, checks) = diagnosis(&site, &[]);
    state(&checks, "data", "ok", "the first start makes it");
    assert!(!site.path("data").exists());

    let web = Web::start(&site.authority, |_| 200).await;
    used(&site, &web).await;
    let requests = web.count();
    let before = tree(&site.path("data"));
    let (_, checks) = diagnosis(&site, &[]);
    assert_eq!(tree(&site.path("data")), before, "nothing is changed");
    state(&checks, "data", "ok", "writable");
    state(&checks, "daemon", "ok", "none runs");
    state(&checks, "space", "ok", "free");
    state(&checks, "format", "ok", "of this version");
    state(&checks, "journal", "ok", "records that check");
    state(&checks, "registry", "ok", "it opens");
    state(&checks, "set aside", "ok", "no damage");
    state(&checks, "clock order", "ok", "newest record 20");
    // How fast the disk is depends on who else uses it.
    let syncs = checks["disk sync"]["found"].as_str().unwrap();
    assert!(syncs.contains("syncs of 4096 B: p50"), "{syncs}");
    assert_ne!(checks["disk sync"]["state"], "fail");
    state(
        &checks,
        "receivers",
        "ok",
        "1 of 1 hosts looked at, 1 without",
    );
    assert!(!checks.contains_key("receiver"), "{checks:?}");
    assert_eq!(web.count(), requests, "nothing is posted");

    // With a daemon that says at which port it listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let text = small_segments(&site).replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let daemon = Daemon::start(&config, &text);
    let (_, checks) = diagnosis(&site, &[]);
    state(&checks, "daemon", "ok", "says ready");
    state(&checks, "registry", "ok", "the running daemon's");
    state(
        &checks,
        "receivers",
        "ok",
        "1 of 1 hosts looked at, 1 without",
    );
    assert!(daemon.terminate().success());
    web.stop().await;
    let (_, out, _) = run(&site, "doctor", &["--offline"]);
    assert!(out.contains("ok    receivers     left out"), "{out}");
    assert!(out.contains("0 failed"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_with_what_to_do() {
    let site = Site::new(&["standard"]);
    let config = site.path("config.toml");
    let web = Web::start(&site.authority, |_| 200).await;
    used(&site, &web).await;

    // A receiver that is down, an authority that has expired, a reserve that no disk has, an open directory.
    web.stop().await;
    let expired = Authority::local_until("old CA", (2024, 2, 29), None).unwrap();
    let pem = format!(
        "{}{}",
        site.authority.certificate_pem(),
        expired.certificate_pem()
    );
    fs::write(site.path("ca.pem"), pem).unwrap();
    let text = small_segments(&site).replace(
        "path = \"data\"",
        "path = \"data\"\ndisk_reserve = \"1TiB\"",
    );
    fs::write(&config, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(site.path("data"), mode).unwrap();
    let (code, checks) = diagnosis(&site, &[]);
    assert_eq!(code, Some(1));
    state(
        &checks,
        "extra CA",
        "fail",
        "certificate 2 of [egress] extra_ca has expired: 2024-02-29",
    );
    state(&checks, "space", "fail", "with a reserve of 1.0 TiB");
    state(&checks, "data", "warn", "mode 755");
    state(&checks, "receiver", "warn", "connect");

    // Data from another time, a ruined registry, damage in the newest segment.
    fs::write(site.path("data/registry/db"), vec![0xa5; 524_287]).unwrap();
    let segment = site.path("data/journal/0000000001.log");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[200] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let before = tree(&site.path("data"));
    let (code, checks) = diagnosis(&site, &["--offline"]);
    assert_eq!(code, Some(1));
    state(&checks, "registry", "warn", "it does not open");
    state(&checks, "journal", "fail", "0000000001.log");
    state(&checks, "receivers", "ok", "left out");
    assert_eq!(tree(&site.path("data")), before, "nothing is changed");

    fs::write(site.path("data/format"), "hookwheel data 9\n").unwrap();
    let (_, checks) = diagnosis(&site, &["--offline"]);
    state(&checks, "format", "fail", "hookwheel data 9");

    fs::write(&config, "[server]\nlisten = 7\n").unwrap();
    let (code, _, errors) = run(&site, "doctor", &[]);
    assert_eq!(code, Some(64));
    assert!(errors.contains("config.toml:2:"), "{errors}");
}
