//! Formats against the real binary: what a receiver gets, what is refused, and what the config may define.

use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use crate::support::{
    Daemon, Site, delivery_in, get, hookwheel, post, register, registered, until,
};
use crate::web::{Web, header};
use hookwheel::config::Config;
use hookwheel::model::UnixMillis;
use hookwheel::profile::Profiles;
use hookwheel::verify::verify;

const PAGER: &str = "[formats.pager]\ncontent_type = \"application/vnd.pager+json\"\n\
                     body = '{\"summary\": {{ (type ~ \" \" ~ data.name) | truncate(12) }}}'\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_the_format_that_it_names_and_the_profiles_signature() {
    let site = Site::new(&["driftguard"]).with(PAGER);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("driftguard");
    let mut secrets = Vec::new();
    for format in ["slack", "discord", "teams", "pager"] {
        let body = json!({ "url": web.url(&format!("/{format}")), "events": ["breaking"], "format": format });
        let created = register(&mut client, body).await;
        assert_eq!(created["format"], format);
        let kind = match format {
            "pager" => "application/vnd.pager+json",
            _ => "application/json",
        };
        let told = &created["contract"];
        assert_eq!(told["headers"]["Content-Type"], kind);
        assert_eq!(told["body"], format!("the format `{format}`"));
        secrets.push((format, created["secret"].as_str().unwrap().to_owned()));
    }
    post(&mut client, "breaking", json!({ "name": "orders <api>" })).await;
    until("four requests", async || (web.count() == 4).then_some(())).await;
    let requests = web.stop().await;
    let profiles = Profiles::built_in();
    for (format, secret) in secrets {
        let path = format!("/{format}");
        let request = requests.iter().find(|r| r.path == path).unwrap();
        let profile = profiles.get("driftguard").unwrap();
        verify(
            profile,
            &secret,
            &request.headers,
            &request.body,
            UnixMillis(0),
        )
        .unwrap();
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let (shown, expected) = match format {
            "slack" => (
                &body["blocks"][1]["text"]["text"],
                "*name:* orders &lt;api&gt;",
            ),
            "discord" => (&body["embeds"][0]["fields"][0]["value"], "orders <api>"),
            "teams" => (
                &body["attachments"][0]["content"]["body"][1]["facts"][0]["value"],
                "orders <api>",
            ),
            _ => (&body["summary"], "breaking or…"),
        };
        assert_eq!(shown, expected, "{body}");
        let kind = match format {
            "pager" => "application/vnd.pager+json",
            _ => "application/json",
        };
        assert_eq!(header(request, "content-type"), kind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_shows_in_the_test_and_the_log_and_can_be_changed() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "format": "discord" });
    let webhook = registered(&mut client, body).await;
    let path = format!("/api/v1/webhooks/{webhook}");
    let tested = client
        .call(Method::POST, &format!("{path}/test"), None)
        .await
        .unwrap();
    let sent = tested.body["request_body"].as_str().unwrap();
    assert!(sent.starts_with("{\"content\":"), "{sent}");
    let event = post(&mut client, "a.b", json!({})).await;
    let shown = delivery_in(&mut client, &webhook, &event, "delivered").await;
    let sent = shown["request_body"].as_str().unwrap();
    assert!(sent.starts_with("{\"content\":\"a.b\""), "{sent}");
    let cleared = client
        .call(Method::PATCH, &path, Some(&json!({ "format": null })))
        .await
        .unwrap();
    assert_eq!(cleared.body["format"], Value::Null, "{}", cleared.body);
    post(&mut client, "a.b", json!({})).await;
    until("three requests", async || (web.count() == 3).then_some(())).await;
    let requests = web.stop().await;
    let body = String::from_utf8(requests[2].body.to_vec()).unwrap();
    assert!(body.starts_with("{\"type\":\"a.b\""), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_format_is_refused_and_a_known_host_gets_a_hint() {
    let site = Site::new(&["standard"]).with(PAGER);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let url = "https://hooks.slack.com/services/x";
    let body = json!({ "url": url, "format": "slak" });
    let refused = client
        .call(Method::POST, "/api/v1/webhooks", Some(&body))
        .await
        .unwrap();
    assert_eq!(refused.status, 400);
    assert_eq!(refused.body["code"], "format_unknown");
    assert_eq!(refused.body["errors"][0]["pointer"], "/format");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("discord, pager, slack, teams"), "{detail}");
    assert_eq!(
        get(&mut client, "/api/v1/webhooks").await.body["data"],
        json!([])
    );
    let hinted = register(&mut client, json!({ "url": url })).await;
    let hint = hinted["hint"].as_str().unwrap();
    assert!(hint.contains("\"slack\""), "{hint}");
    for body in [
        json!({ "url": url, "format": "slack" }),
        json!({ "url": "https://hooks.example.com/" }),
    ] {
        assert_eq!(register(&mut client, body).await.get("hint"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_whose_format_is_gone_is_held_until_it_is_back() {
    let site = Site::new(&["standard"]).with(PAGER);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(
        &mut client,
        json!({ "url": web.url("/"), "format": "pager" }),
    )
    .await;
    assert!(daemon.terminate().success());
    let without = site.config(true).replace(PAGER, "");
    let daemon = Daemon::start(&site.path("config.toml"), &without);
    assert!(
        daemon
            .log()
            .contains("no format is called `pager` any more")
    );
    let mut client = daemon.client("standard");
    let path = format!("/api/v1/webhooks/{webhook}");
    let shown = get(&mut client, &path).await.body;
    let why = shown["held"].as_str().unwrap();
    assert!(why.contains("`pager`"), "{why}");
    assert_eq!(shown["active"], true);
    let event = post(&mut client, "a.b", json!({ "name": "x" })).await;
    delivery_in(&mut client, &webhook, &event, "held").await;
    let tested = client
        .call(Method::POST, &format!("{path}/test"), None)
        .await
        .unwrap();
    let refused = (tested.status.as_u16(), &tested.body["code"]);
    assert_eq!(refused, (409, &json!("webhook_held")), "{}", tested.body);
    assert!(tested.body["detail"].as_str().unwrap().contains("`pager`"));
    std::fs::write(site.path("config.toml"), site.config(true)).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    until("the webhook is back", async || {
        let shown = get(&mut client, &path).await.body;
        shown["held"].is_null().then_some(())
    })
    .await;
    delivery_in(&mut client, &webhook, &event, "delivered").await;
    assert_eq!(web.stop().await[0].body, r#"{"summary":"a.b x"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_whose_format_is_gone_can_be_changed_and_removed() {
    let site = Site::new(&["standard"]).with(PAGER);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "format": "pager" });
    let one = registered(&mut client, body.clone()).await;
    let other = registered(&mut client, body).await;
    let without = site.config(true).replace(PAGER, "");
    std::fs::write(site.path("config.toml"), without).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    let path = |id: &str| format!("/api/v1/webhooks/{id}");
    until("both are held", async || {
        let listed = get(&mut client, "/api/v1/webhooks").await.body;
        let rows = listed["data"].as_array().unwrap();
        assert_eq!(rows.len(), 2);
        rows.iter().all(|row| row["held"].is_string()).then_some(())
    })
    .await;
    let event = post(&mut client, "a.b", json!({})).await;
    delivery_in(&mut client, &one, &event, "held").await;
    let removed = client.call(Method::DELETE, &path(&other), None).await;
    assert_eq!(removed.unwrap().status, 204);
    let renamed = json!({ "name": "still held" });
    let renamed = client
        .call(Method::PATCH, &path(&one), Some(&renamed))
        .await;
    assert!(renamed.unwrap().body["held"].is_string());
    let changed = json!({ "format": null });
    let changed = client
        .call(Method::PATCH, &path(&one), Some(&changed))
        .await;
    assert_eq!(changed.unwrap().body["held"], Value::Null);
    delivery_in(&mut client, &one, &event, "delivered").await;
    assert_eq!(web.stop().await.len(), 1);
}

#[test]
fn check_reports_each_fault_of_a_format_at_its_place() {
    let site = Site::new(&["standard"]);
    let text = site.config(true)
        + "[formats.slack]\nbody = '1'\n[formats.a]\nbody = '{{ dta }}'\n[formats.b]\nbdy = '1'\n\
           [formats.c]\nbody = '[{{ data.x }'\n[profiles.p]\nextends = \"standard\"\nbody = '{{ dta }}'\n";
    let path = site.path("config.toml");
    std::fs::write(&path, &text).unwrap();
    let output = hookwheel()
        .args(["check", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let report = String::from_utf8(output.stderr).unwrap();
    for (marked, offset, piece) in [
        (
            "[formats.slack]",
            9,
            "formats.slack: a built-in format has this name",
        ),
        (
            "body = '{{ dta }}'",
            7,
            "formats.a: the body template names `dta`",
        ),
        ("bdy", 0, "formats.b: unknown field `bdy`"),
        ("body = '[{{", 7, "formats.c: the body template"),
        (
            "extends = \"standard\"\nbody",
            28,
            "profiles.p: the body template names `dta`",
        ),
    ] {
        let at = text.find(marked).unwrap() + offset;
        let line = text[..at].matches('\n').count() + 1;
        let column = at - text[..at].rfind('\n').map_or(0, |at| at + 1) + 1;
        let place = format!("config.toml:{line}:{column}: {piece}");
        assert!(report.contains(&place), "{place}\n{report}");
    }
}

#[test]
fn the_format_that_the_example_config_shows_is_right() {
    let example =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml"));
    let example = example.unwrap();
    let (before, shown) = example.split_once("# [formats.").unwrap();
    let shown: Vec<&str> = shown.lines().map(|l| l.trim_start_matches("# ")).collect();
    let text = format!("{before}[formats.{}", shown.join("\n"));
    let config = Config::parse(&text, "c.toml", Path::new(""), []).unwrap();
    assert!(config.formats.get("pager").is_some());
}
