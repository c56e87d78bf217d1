//! `hookwheel plan`, `apply` and `key secret`, as an operator meets them.

use std::process::{Output, Stdio};

use crate::client::Client;
use http::Method;
use serde_json::{Value, json};

use super::{OTHER, SECRET, entry, id, only, secret, site, start, webhooks};
use crate::support::{Daemon, Site, hookwheel, key_of, register};

fn run(site: &Site, daemon: &Daemon, verb: &str, more: &[&str]) -> Output {
    hookwheel()
        .args([verb, "--config"])
        .arg(site.path("config.toml"))
        .args(more)
        .env("HOOKWHEEL_URL", format!("http://{}", daemon.address))
        .env("HOOKWHEEL_API_KEY", key_of("standard"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A plan as JSON, with its exit code.
fn planned(site: &Site, daemon: &Daemon) -> (Option<i32>, Value) {
    let output = run(site, daemon, "plan", &["--json"]);
    let said = text(&output.stdout);
    let plan = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    (output.status.code(), plan)
}

fn write(site: &Site, entries: &str) {
    std::fs::write(site.path("config.toml"), site.config(true) + entries).unwrap();
}

fn row<'a>(plan: &'a Value, name: &str) -> &'a Value {
    let rows = plan["webhooks"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap()
}

/// A daemon with two declared webhooks, and one of the API's; both secrets and the header's value are known.
async fn two_declared(site: &Site) -> (Daemon, Client) {
    let url = "https://127.0.0.1:1/";
    let more = "headers = { X-Token = \"one\" }";
    let first = entry("crm", url, more) + &entry("old", url, "");
    let daemon = start(site, &first);
    let mut client = daemon.client("standard");
    register(&mut client, json!({ "url": url, "name": "fresh" })).await;
    (daemon, client)
}

/// Writes a config with another URL, secret and header's value, one webhook more, and one less.
fn change(site: &Site) {
    secret(site, OTHER);
    let moved = "headers = { X-Token = \"two\" }\nevents = [\"a\"]";
    let second =
        entry("crm", "https://127.0.0.1:2/", moved) + &entry("fresh", "https://127.0.0.1:1/", "");
    write(site, &second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_names_each_field_that_would_change_and_no_secret() {
    let site = site();
    let (daemon, _) = two_declared(&site).await;
    let (code, plan) = planned(&site, &daemon);
    assert_eq!(
        (code, &plan["would_change"]),
        (Some(0), &json!(false)),
        "{plan}"
    );
    assert_eq!(plan["config"]["revision"], plan["config"]["in_force"]);

    change(&site);
    let (code, plan) = planned(&site, &daemon);
    assert_eq!(
        (code, &plan["would_change"]),
        (Some(2), &json!(true)),
        "{plan}"
    );
    let changes = row(&plan, "crm")["changes"].as_array().unwrap().clone();
    let fields: Vec<&str> = changes
        .iter()
        .map(|one| one["field"].as_str().unwrap())
        .collect();
    assert_eq!(
        fields,
        ["url", "events", "secret", "headers.X-Token"],
        "{plan}"
    );
    assert_eq!(
        changes[0],
        json!({ "field": "url", "from": "https://127.0.0.1:1/", "to": "https://127.0.0.1:2/" })
    );
    assert_eq!(changes[2], json!({ "field": "secret", "secret": true }));
    assert_eq!(row(&plan, "fresh")["action"], "create");
    let drift = row(&plan, "fresh")["drift"][0].as_str().unwrap();
    assert!(
        drift.contains("the API made a webhook of this name"),
        "{drift}"
    );
    assert_eq!(row(&plan, "old")["action"], "disable");
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_does_what_the_plan_says() {
    let site = site();
    let (daemon, mut client) = two_declared(&site).await;
    change(&site);
    let output = run(&site, &daemon, "plan", &[]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(2));
    for piece in [
        "account standard",
        "~ change",
        "\"https://127.0.0.1:1/\" → \"https://127.0.0.1:2/\"",
        "changed (a secret)",
        "+ create",
        "- disable",
        "1 to create, 1 to change, 1 to disable, 0 unchanged",
    ] {
        assert!(said.contains(piece), "no {piece} in:\n{said}");
    }
    assert!(
        !said.contains(SECRET) && !said.contains(OTHER) && !said.contains("\"two\""),
        "{said}"
    );

    // Nobody can be asked: nothing is done.
    let output = run(&site, &daemon, "apply", &[]);
    assert_eq!(output.status.code(), Some(64), "{}", text(&output.stderr));
    assert_eq!(planned(&site, &daemon).0, Some(2));
    let output = run(&site, &daemon, "apply", &["--yes"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        said.contains("is in force") && said.contains("1 created, 1 changed, 1 disabled"),
        "{said}"
    );
    assert!(
        text(&output.stderr).contains("1 to create"),
        "the plan is shown"
    );
    let (code, plan) = planned(&site, &daemon);
    assert_eq!(code, Some(0), "{plan}");
    assert!(
        row(&plan, "old")["drift"][0]
            .as_str()
            .unwrap()
            .contains("declared no more since")
    );
    assert_eq!(webhooks(&mut client).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_says_why_a_config_is_not_in_force() {
    let site = site();
    let daemon = start(&site, &entry("crm", "https://127.0.0.1:1/", ""));
    let mut client = daemon.client("standard");
    let before = only(&mut client).await;
    // What the check finds never gets to the daemon.
    write(&site, &entry("crm", "http://127.0.0.1:2/", ""));
    let output = run(&site, &daemon, "apply", &["--yes"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("must start with https://"), "{said}");
    // A config that another file than the daemon's has.
    let other = site.path("other.toml");
    write(&site, &entry("crm", "https://127.0.0.1:1/", ""));
    let text_of = site.config(true) + &entry("crm", "https://127.0.0.1:3/", "");
    std::fs::write(&other, text_of).unwrap();
    let output = hookwheel()
        .args(["apply", "--yes", "--config"])
        .arg(&other)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("no plan is shown without an API key"),
        "{said}"
    );
    assert!(
        said.contains("the daemon has read another config"),
        "{said}"
    );
    // What only the daemon finds: it no longer may read a file that the check could read, or the like. Here its own
    // file has been broken while the other one was good.
    std::fs::write(site.path("config.toml"), "nonsense = 1\n").unwrap();
    let output = hookwheel()
        .args(["apply", "--yes", "--json", "--config"])
        .arg(&other)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let came: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(
        (&came["reload"]["taken"], &came["in_force"]),
        (&json!(false), &json!(false))
    );
    assert!(
        came["reload"]["detail"]
            .as_str()
            .unwrap()
            .contains("nonsense"),
        "{came}"
    );
    assert_eq!(only(&mut client).await, before, "nothing was changed");
    assert!(daemon.terminate().success());
    let output = hookwheel()
        .args(["apply", "--yes", "--config"])
        .arg(&other)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("start it, and it takes the config over"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_drift_and_whom_it_did_not_look_at() {
    let site = Site::new(&["standard", "flock"]);
    secret(&site, SECRET);
    let daemon = start(&site, &entry("crm", "https://127.0.0.1:1/", ""));
    let mut client = daemon.client("standard");
    let path = format!("/api/v1/webhooks/{}", id(&only(&mut client).await));
    let held = json!({ "active": false });
    client
        .call(Method::PATCH, &path, Some(&held))
        .await
        .unwrap();
    let output = run(&site, &daemon, "plan", &[]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("! held on request since") && said.contains("active = true"),
        "{said}"
    );
    assert!(
        said.contains("not looked at, as the key is not theirs: flock"),
        "{said}"
    );
    write(
        &site,
        &entry("crm", "https://127.0.0.1:1/", "active = true"),
    );
    let (code, plan) = planned(&site, &daemon);
    assert_eq!(code, Some(2));
    let expected = json!([{ "field": "active", "from": false, "to": true }]);
    assert_eq!(row(&plan, "crm")["changes"], expected);
    // A key that there is not.
    let output = hookwheel()
        .args(["plan", "--config"])
        .arg(site.path("config.toml"))
        .env("HOOKWHEEL_URL", format!("http://{}", daemon.address))
        .env("HOOKWHEEL_API_KEY", "wrong")
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(
        output.status.code() == Some(1) && said.contains("does not know the key"),
        "{said}"
    );
}

#[test]
fn a_secret_is_made_in_the_form_of_its_profile() {
    let site = Site::new(&["standard"]);
    write(
        &site,
        "[profiles.own]\nextends = \"standard\"\nsecret = { key = \"utf8\", generate = \"own_{random:24}\" }\n",
    );
    let config = site.path("config.toml");
    let config = config.to_str().unwrap();
    for (arguments, begin) in [
        (&["--profile", "standard"][..], "whsec_"),
        (&["--account", "standard", "--config", config], "whsec_"),
        (&["--profile", "own", "--config", config], "own_"),
    ] {
        let output = hookwheel()
            .args(["key", "secret"])
            .args(arguments)
            .output()
            .unwrap();
        let said = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(said.starts_with(begin), "{said}");
    }
    for (arguments, piece) in [
        (
            &["--profile", "none"][..],
            "there is no profile `none`; there are",
        ),
        (
            &["--account", "nobody", "--config", config],
            "no such account",
        ),
        (&[], "--profile"),
    ] {
        let output = hookwheel()
            .args(["key", "secret"])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains(piece), "{said}");
    }
    let file = site.path("hook.secret");
    let output = hookwheel()
        .args(["key", "secret", "--profile", "standard", "--out"])
        .arg(&file)
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert!(
        said.starts_with("secret_file = ") && !said.contains("whsec_"),
        "{said}"
    );
    write(&site, &entry("crm", "https://127.0.0.1:1/", ""));
    let output = hookwheel()
        .args(["check", "--config", config])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}
