//! The commands that ask a daemon, each in text and in JSON, with a real daemon and a real receiver.

#![expect(
    clippy::too_many_lines,
    reason = "one command after the other, as a person types them in a day"
)]

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::desk::{Desk, bare, ran};
use crate::server_tls::ground::Ground;
use crate::support::{key_of, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_registered_shown_changed_tried_and_removed() {
    let desk = Desk::new(|_| 200).await;
    let none = desk.run(&["webhook", "list"]).good();
    assert!(
        none.out.is_empty() && none.err.contains("no webhooks yet"),
        "{none:?}"
    );
    let secret_file = desk.site.path("hook.secret");
    let secret_path = secret_file.to_str().unwrap();
    let url = desk.web.url("/billing");
    let add = [
        "webhook",
        "add",
        &url,
        "--name",
        "billing",
        "-e",
        "order.created,order.paid",
        "--secret-out",
        secret_path,
    ];
    let added = desk
        .run(
            &[
                &add[..],
                &["--retry", "1s,5s", "-H", "X-Team: pay", "--order", "fifo"],
            ]
            .concat(),
        )
        .good();
    let secret = std::fs::read_to_string(&secret_file).unwrap();
    assert!(
        secret.starts_with("whsec_") && !added.out.contains(&secret),
        "{added:?}"
    );
    let mode = std::fs::metadata(&secret_file)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    desk.run(&add).said(64, "no file is written over");
    let second = desk.add("ci", &["--inactive"]);
    assert!(
        second["secret"].as_str().unwrap().starts_with("whsec_"),
        "without a file it is shown"
    );

    let id = desk
        .run(&["webhook", "show", "billing", "--json"])
        .good()
        .json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let list = desk.run(&["webhook", "ls"]).good().out;
    let line = list.lines().find(|line| line.contains(&id)).unwrap();
    for part in ["billing", "active", "order.created, order.paid", &url] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    let page = desk
        .run(&["webhook", "list", "--json", "--limit", "1"])
        .good()
        .json();
    assert_eq!(
        (
            page["data"].as_array().unwrap().len(),
            page["next_cursor"].as_str()
        ),
        (1, Some(&*id))
    );
    let shown = desk
        .run(&["webhook", "show", &id[..id.len() - 4]])
        .good()
        .out;
    for part in ["fifo", "X-Team", "1s, 5s", "webhook-signature", "2xx"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    desk.run(&["webhook", "show", "wh_0"])
        .said(64, "write more of the id");
    desk.run(&["webhook", "show", "biling"])
        .said(1, "did you mean `billing`?");

    desk.run(&["webhook", "edit", "billing"])
        .said(64, "name what is to become another");
    desk.run(&[
        "webhook",
        "edit",
        "billing",
        "--name",
        "pay",
        "--clear",
        "events",
        "--set",
        "description=\"paid\"",
    ])
    .good();
    let shown = desk
        .run(&["webhook", "show", "pay", "--json"])
        .good()
        .json();
    assert_eq!(
        (&shown["events"], &shown["description"]),
        (&json!([]), &json!("paid"))
    );
    for (verb, active) in [("disable", false), ("enable", true)] {
        let turned = desk.run(&["webhook", verb, "pay", "--json"]).good().json();
        assert_eq!(turned["active"], active);
    }
    let tested = desk.run(&["webhook", "test", "pay"]).good();
    assert!(
        tested.out.contains("✓ taken") && tested.out.contains("attempt 1  200"),
        "{tested:?}"
    );
    assert_eq!(
        desk.run(&["webhook", "test", "pay", "--json"])
            .good()
            .json()["delivered"],
        true
    );

    desk.run(&["webhook", "remove", "pay"])
        .said(64, "add --yes");
    let removed = desk
        .run(&["webhook", "rm", "pay", "--yes", "--json"])
        .good()
        .json();
    assert_eq!(removed, json!({ "id": id, "removed": true }));
    desk.run(&["webhook", "show", &id])
        .said(1, "no such webhook");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_rotated_as_the_profile_has_it() {
    let desk = Desk::new(|_| 200).await;
    desk.add("a", &[]);
    let rotated = desk
        .run(&["webhook", "rotate", "a", "--keep-old", "1h"])
        .good();
    assert!(
        rotated.out.contains("whsec_") && rotated.out.contains("old secret"),
        "{rotated:?}"
    );
    let path = desk.site.path("new.secret");
    let path = path.to_str().unwrap();
    let rotated = desk
        .run(&["webhook", "rotate", "a", "--secret-out", path, "--json"])
        .good()
        .json();
    assert_eq!(
        (&rotated["secret"], rotated["secret_file"].as_str()),
        (&json!(null), Some(path))
    );
    assert!(std::fs::read_to_string(path).unwrap().starts_with("whsec_"));
    let other = desk.site.path("other.secret");
    let refused = desk.run(&[
        "webhook",
        "rotate",
        "a",
        "--stage",
        "--secret-out",
        other.to_str().unwrap(),
    ]);
    refused.said(1, "hookwheel webhook rotate");
    assert!(!other.exists(), "no empty file stays");

    let desk = Desk::of("driftlock", |_| 200).await;
    desk.add(
        "b",
        &[
            "-e",
            "anomaly.detected",
            "--set",
            "secret=\"a-secret-of-24-characters\"",
        ],
    );
    desk.run(&["webhook", "rotate", "b"]).said(1, "--stage");
    desk.run(&["webhook", "rotate", "b", "--stage", "--promote"])
        .said(64, "cannot be used with");
    for step in ["--stage", "--abort", "--stage", "--promote", "--rollback"] {
        desk.run(&["webhook", "rotate", "b", step]).good();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_posted_followed_and_explained() {
    let desk = Desk::new(|number| if number == 1 { 503 } else { 200 }).await;
    let webhook = desk.add("orders", &["-e", "order.*", "--retry", "100ms"]);
    let webhook = webhook["id"].as_str().unwrap();
    desk.add("users", &["-e", "user.*"]);
    std::fs::write(desk.site.path("data.json"), "{\"total\": 1.5}").unwrap();
    let data = format!("@{}", desk.site.path("data.json").display());
    let sent = desk
        .run(&["event", "send", "order.created", "--data", &data, "--json"])
        .good()
        .json();
    assert_eq!(sent["deliveries"], 1);
    let event = sent["id"].as_str().unwrap();
    let short = &event[..event.len() - 3];
    let show = |more: &[&str]| {
        desk.run(&[&["delivery", "show", "orders", short], more].concat())
            .good()
    };
    until("the retry has arrived", async || {
        show(&[]).out.contains("delivered").then_some(())
    })
    .await;
    let shown = show(&["--verbose"]).out;
    for part in [
        "attempt 1  503",
        "waited",
        "attempt 2  200",
        "first byte",
        "> webhook-id",
        "\"total\": 1.5",
        "order.created",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    assert_eq!(show(&["--json"]).json()["attempts_made"], 2);
    let explained = desk.run(&["event", "explain", short]).good().out;
    for part in [
        "✓ delivered  orders",
        "attempt 1  503",
        "– not wanted  users",
    ] {
        assert!(explained.contains(part), "{part} is not in {explained}");
    }
    assert_eq!(
        desk.run(&["event", "explain", event, "--json"])
            .good()
            .json()["webhooks"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let shown = desk.run(&["event", "show", short]).good().out;
    assert!(
        shown.contains("\"total\": 1.5") && shown.contains("orders"),
        "to the letter: {shown}"
    );

    let piped = desk
        .run_with(
            &[
                "event",
                "send",
                "user.created",
                "-d",
                "-",
                "--id",
                "u-1",
                "--wait",
            ],
            "[1, 2]",
        )
        .good()
        .out;
    assert!(
        piped.contains("accepted u-1  for 1 webhook") && piped.contains("delivered"),
        "{piped}"
    );
    let again = desk.run_with(
        &["event", "send", "user.created", "-d", "[2]", "--id", "u-1"],
        "",
    );
    again.said(1, "u-1");
    let unwanted = desk.run(&["event", "send", "other", "--data", "1"]).good();
    assert!(
        unwanted.out.contains("no webhook wants it") && unwanted.err.contains("explain"),
        "{unwanted:?}"
    );
    desk.run(&["event", "send", "other", "--data", "{x"]).said(
        64,
        "--data is no JSON: key must be a string at line 1 column 2",
    );
    desk.run(&["event", "send", "other", "--data", "@none.json"])
        .said(64, "none.json cannot be read");
    let list = desk.run(&["event", "list", "--limit", "2"]).good();
    assert_eq!(list.out.lines().count(), 3, "{list:?}");
    assert!(list.err.contains("--cursor"), "{list:?}");
    let pages = desk.run(&["event", "list", "--json"]).good();
    assert!(
        pages.json()["data"].as_array().unwrap().len() == 3 && pages.out.contains("1.5"),
        "{pages:?}"
    );

    let deliveries = desk
        .run(&[
            "delivery",
            "list",
            "orders",
            "--since",
            "1h",
            "--state",
            "delivered",
        ])
        .good()
        .out;
    assert!(
        deliveries.contains(event) && deliveries.contains("order.created"),
        "{deliveries}"
    );
    assert_eq!(
        desk.run(&["delivery", "list", "orders", "--type", "x", "--json"])
            .good()
            .json()["data"],
        json!([])
    );
    desk.run(&["delivery", "list"])
        .said(64, "which of the 2 webhooks? orders, users");
    desk.run(&["delivery", "list", "orders", "--since", "yesterday"])
        .said(64, "how long ago");
    let retried = desk
        .run(&["delivery", "retry", "orders", short, "--wait"])
        .good()
        .out;
    assert!(
        retried.contains("attempt 3  200") && retried.contains("(manual)"),
        "{retried}"
    );
    let retried = desk
        .run(&["delivery", "retry", webhook, event, "--json"])
        .good()
        .json();
    assert_eq!(retried["event_id"], event);
    desk.run(&["delivery", "show", "orders", "evt_none"])
        .said(1, "there is no event `evt_none`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_counts_asks_and_is_followed() {
    let desk = Desk::new(|_| 200).await;
    desk.add("a", &[]);
    for number in 0..5 {
        desk.run(&[
            "event",
            "send",
            "t",
            "--data",
            &number.to_string(),
            "--wait",
        ])
        .good();
    }
    let replay = |more: &[&str]| desk.run(&[&["replay", "a"], more].concat());
    assert_eq!(
        replay(&["--state", "delivered", "--dry-run"]).good().out,
        "5 would be queued\n"
    );
    assert_eq!(
        replay(&["--state", "delivered", "--dry-run", "--json"])
            .good()
            .json()["matched"],
        5
    );
    assert_eq!(
        replay(&[]).good().out,
        "nothing fits; nothing was started\n"
    );
    replay(&["--state", "delivered"]).said(64, "Send 5 deliveries again");
    assert_eq!(desk.web.count(), 5, "who was not sure has sent nothing");
    let done = replay(&["--state", "delivered", "--yes"]).good();
    assert_eq!(done.out, "done: 5 queued\n", "{done:?}");
    until("the replay has arrived", async || {
        (desk.web.count() == 10).then_some(())
    })
    .await;
    let started = replay(&[
        "--state",
        "delivered",
        "--since",
        "1h",
        "--yes",
        "--no-wait",
        "--json",
    ])
    .good()
    .json();
    let job = started["id"].as_str().unwrap();
    assert_eq!(
        desk.run(&["job", "wait", job]).good().out,
        "done: 5 queued\n"
    );
    let listed = desk.run(&["job", "list"]).good().out;
    assert!(
        listed.lines().nth(1).unwrap().contains(job) && listed.contains("100%"),
        "{listed}"
    );
    let shown = desk.run(&["job", "show", &job[..job.len() - 2]]).good().out;
    assert!(
        shown.contains("delivered") && shown.contains("since"),
        "{shown}"
    );
    assert_eq!(
        desk.run(&["job", "show", job, "--json"]).good().json()["state"],
        "done"
    );
    for verb in ["pause", "resume"] {
        desk.run(&["job", verb, job]).said(1, "ended");
    }
    desk.run(&["job", "cancel", job]).said(64, "add --yes");
    let rematched = desk
        .run(&["event", "rematch", "--type", "t", "--dry-run"])
        .good()
        .out;
    assert!(rematched.contains("0 would be queued"), "{rematched}");
    let failed = replay(&["--state", "sent", "--dry-run", "--json"]);
    assert_eq!(
        failed.json()["error"]["errors"][0]["pointer"],
        "/states/0",
        "{failed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_can_be_discarded_and_the_status_tells_of_it() {
    let desk = Desk::new(|_| 200).await;
    let held = desk.add("quiet", &["--inactive"]);
    for _ in 0..3 {
        desk.run(&["event", "send", "t", "--data", "{}"]).good();
    }
    let status = desk.run(&["status"]).good().out;
    for part in [
        "ready",
        "1 disabled",
        "3 held",
        "1 in trouble",
        "quiet",
        "disabled: as asked",
    ] {
        assert!(status.contains(part), "{part} is not in {status}");
    }
    let status = desk.run(&["status", "--json"]).good().json();
    assert_eq!(
        (&status["ready"], &status["trouble"][0]["id"]),
        (&json!(true), &held["id"])
    );
    desk.run(&["webhook", "discard", "quiet"])
        .said(64, "3 deliveries");
    let discarded = desk
        .run(&["webhook", "discard", "quiet", "--yes"])
        .good()
        .out;
    assert_eq!(discarded, "discarded 3 deliveries\n");
    let audit = desk.run(&["audit", "--webhook", "quiet"]).good().out;
    assert!(
        audit.contains("held.discarded") && audit.contains("all (127.0.0.1"),
        "{audit}"
    );
    let rows = desk.run(&["audit", "--json", "--limit", "1"]).good().json();
    assert_eq!(rows["data"][0]["action"], "held.discarded");

    let mut keyless = desk.command(&["status"]);
    keyless.env_remove("HOOKWHEEL_API_KEY_FILE");
    let keyless = ran(keyless, "").good();
    assert!(
        keyless.out.starts_with("ready") && keyless.err.contains("no key was given"),
        "{keyless:?}"
    );
    let address = format!("http://{}", desk.daemon.address);
    assert!(desk.daemon.terminate().success());
    let gone = ran(bare(&["status", "--url", &address, "--json"]), "");
    assert_eq!(
        (gone.code, gone.json()["error"]["code"].as_str()),
        (1, Some("unreachable")),
        "{gone:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_what_to_do_and_programs_get_json() {
    let desk = Desk::new(|_| 200).await;
    let url = format!("http://{}", desk.daemon.address);
    let bad = [
        "webhook",
        "add",
        "http://example.com/",
        "--timeout",
        "soon",
        "--json",
    ];
    let refused = desk.run(&bad).said(1, "/timeout");
    let error = &refused.json()["error"];
    assert_eq!(
        (
            error["status"].as_u64(),
            error["errors"].as_array().unwrap().len()
        ),
        (Some(400), 2),
        "{refused:?}"
    );
    assert!(refused.err.contains("/url"), "{refused:?}");

    let mut wrong = desk.command(&["webhook", "list"]);
    wrong
        .env_remove("HOOKWHEEL_API_KEY_FILE")
        .env("HOOKWHEEL_API_KEY", "wrong");
    let wrong = ran(wrong, "").said(1, "the variable HOOKWHEEL_API_KEY");
    assert!(
        !wrong.err.contains("key wrong") && wrong.out.is_empty(),
        "{wrong:?}"
    );
    ran(bare(&["webhook", "list", "--url", &url]), "").said(64, "no API key was given");
    let missing = ran(
        bare(&["webhook", "list", "--url", &url, "--key-file", "/none"]),
        "",
    );
    missing.said(64, "/none");
    ran(bare(&["job", "list", "--url", "127.0.0.1:1"]), "").said(64, "http://127.0.0.1:8420");
    let mut refused = bare(&["job", "list", "--url", "http://127.0.0.1:1"]);
    refused.env("HOOKWHEEL_API_KEY", "k");
    let refused = ran(refused, "").said(1, "is the daemon running?");
    assert!(
        refused.err.contains("http://127.0.0.1:1") && refused.err.contains("came from --url"),
        "{refused:?}"
    );
    ran(bare(&["webhook", "lsit"]), "").said(64, "list");
    ran(bare(&["evnt", "list"]), "").said(64, "event");
    let help = ran(bare(&["webhook", "--help"]), "").good().out;
    assert!(
        help.contains("Exit codes:") && help.contains("--key-file"),
        "{help}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_config_and_a_private_authority_lead_to_the_daemon() {
    let desk = Desk::new(|_| 200).await;
    let config = desk.site.path("client.toml");
    std::fs::write(
        &config,
        format!("[server]\nlisten = \"{}\"\n", desk.daemon.address),
    )
    .unwrap();
    let arguments = [
        "status",
        "--config",
        config.to_str().unwrap(),
        "--key-file",
        "api.key",
    ];
    let mut command = bare(&arguments);
    command.current_dir(desk.site.directory.path());
    let status = ran(command, "").good().out;
    assert!(
        status.contains("client.toml") && status.contains("0 active"),
        "{status}"
    );
    ran(bare(&["status", "--config", "/none.toml"]), "").said(64, "/none.toml cannot be read");

    let ground = Ground::new();
    let daemon = ground.start("", "");
    let url = format!("https://{}", daemon.address);
    let ca = ground.site.path("server-ca.pem");
    let mut trusted = bare(&[
        "webhook",
        "list",
        "--url",
        &url,
        "--ca",
        ca.to_str().unwrap(),
    ]);
    trusted.env("HOOKWHEEL_API_KEY", key_of("standard"));
    ran(trusted, "").said(0, "no webhooks yet");
    let other = ground.site.path("ca.pem");
    let mut strange = bare(&["webhook", "list", "--url", &url]);
    strange
        .env("HOOKWHEEL_API_KEY", key_of("standard"))
        .env("HOOKWHEEL_CA", other);
    ran(strange, "").said(1, "HOOKWHEEL_CA");
    let mut plain = bare(&["webhook", "list", "--url", &url.replace("https", "http")]);
    plain.env("HOOKWHEEL_API_KEY", key_of("standard"));
    assert_eq!(ran(plain, "").code, 1);
}
