//! Rotation of secrets with the real binary, seen by a receiver that verifies with the secrets it holds.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::support::{Daemon, Site, delivery_in, get, post, register, until};
use crate::web::{Web, header};
use hookwheel::profile::{Profiles, RawProfile};
use hookwheel::receiver::ReceivedRequest;
use hookwheel::verify::{VerifyError, verify};

/// The profile that the example of a config shows: HMAC and ed25519 in one header, a header of its own
/// beside it, and rotation by overlap.
fn twice() -> String {
    let example = include_str!("../../config.example.toml");
    let start = example.find("# [profiles.twice]").unwrap();
    let lines = example[start..].lines().take_while(|line| !line.is_empty());
    let bare = lines.map(|line| line.trim_start_matches('#').trim_start());
    bare.map(|line| format!("{line}\n")).collect()
}

fn profiles() -> Profiles {
    let mut file: BTreeMap<String, BTreeMap<String, RawProfile>> =
        toml::from_str(&twice()).unwrap();
    Profiles::build(file.remove("profiles").unwrap()).unwrap()
}

/// What a receiver with this secret or public key says of a request.
fn judged(profile: &str, secret: &str, request: &ReceivedRequest) -> Result<(), VerifyError> {
    let profiles = profiles();
    let profile = profiles.get(profile).unwrap();
    verify(profile, secret, &request.headers, &request.body, request.at).map(drop)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {value}"))
}

async fn turn(client: &mut Client, webhook: &str, verb: &str, body: Option<Value>) -> Answer {
    let path = format!("/api/v1/webhooks/{webhook}/secret/{verb}");
    client
        .call(Method::POST, &path, body.as_ref())
        .await
        .unwrap()
}

async fn turned(client: &mut Client, webhook: &str, verb: &str, body: Option<Value>) -> Value {
    let answer = turn(client, webhook, verb, body).await;
    assert_eq!(answer.status, 200, "{verb}: {}", answer.body);
    answer.body
}

/// Sends an event of the profile's example type and waits until it has arrived.
async fn send(client: &mut Client, webhook: &str, profile: &str) {
    let event_type = profiles().get(profile).unwrap().example.event_type.clone();
    let event = post(client, &event_type, json!({ "n": 1 })).await;
    delivery_in(client, webhook, &event, "delivered").await;
}

/// No secret of `secrets` is in any answer that reads, nor in the log.
async fn assert_hidden(daemon: &Daemon, client: &mut Client, webhook: &str, secrets: &[&str]) {
    let paths = [
        "/api/v1/webhooks".to_owned(),
        format!("/api/v1/webhooks/{webhook}"),
        format!("/api/v1/webhooks/{webhook}/deliveries"),
    ];
    let mut seen = daemon.log();
    for path in paths {
        let answer = get(client, &path).await;
        assert_eq!(answer.status, 200, "{path}");
        seen.push_str(&answer.body.to_string());
    }
    for part in secrets.iter().flat_map(|secret| secret.split(' ')) {
        assert!(part.len() >= 8);
        assert!(!seen.contains(part), "a secret was shown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_two_secrets_overlap_both_receivers_accept() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let created = register(&mut client, json!({ "url": web.url("/") })).await;
    let (id, old) = (text(&created, "id"), text(&created, "secret"));
    let unturned = json!({ "staged": false, "old_until": null });
    assert_eq!(created["secret_rotation"], unturned);
    send(&mut client, id, "standard").await;

    let rotated = turned(&mut client, id, "rotate", Some(json!({ "keep_old": "1h" }))).await;
    let new = text(&rotated, "secret");
    assert_ne!(new, old);
    assert!(rotated["secret_rotation"]["old_until"].is_string());
    send(&mut client, id, "standard").await;
    assert_hidden(&daemon, &mut client, id, &[old, new]).await;
    daemon.kill();

    let daemon = site.start();
    let mut client = daemon.client("standard");
    send(&mut client, id, "standard").await;
    // Again, with a secret of one's own: the first one is out, two are the most that sign.
    let own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let again = turned(&mut client, id, "rotate", Some(json!({ "secret": own }))).await;
    assert_eq!(text(&again, "secret"), own);
    send(&mut client, id, "standard").await;
    assert_hidden(&daemon, &mut client, id, &[old, new, own]).await;

    let requests = web.stop().await;
    assert_eq!(requests.len(), 4);
    let accepted = |secret: &str| -> Vec<bool> {
        let judge = |request| judged("standard", secret, request).is_ok();
        requests.iter().map(judge).collect()
    };
    assert_eq!(accepted(old), [true, true, true, false]);
    assert_eq!(accepted(new), [false, true, true, true]);
    assert_eq!(accepted(own), [false, false, false, true]);
    let lines = requests[1].headers.get_all("webhook-signature").iter();
    assert_eq!(lines.count(), 1, "one header line");
    let line = header(&requests[1], "webhook-signature");
    let values: Vec<&str> = line.split(' ').collect();
    assert_eq!(values.len(), 2, "{line}");
    assert!(values.iter().all(|value| value.starts_with("v1,")));
    // Newest first: alone, the first one is accepted with the new secret only.
    let mut first = requests[1].clone();
    first
        .headers
        .insert("webhook-signature", values[0].parse().unwrap());
    assert!(judged("standard", new, &first).is_ok());
    assert_eq!(judged("standard", old, &first), Err(VerifyError::Mismatch));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staged_secret_signs_nothing_until_it_is_promoted_and_can_be_rolled_back() {
    let site = Site::new(&["driftguard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("driftguard");
    let body = json!({ "url": web.url("/"), "events": ["breaking"] });
    let created = register(&mut client, body).await;
    let (id, old) = (text(&created, "id"), text(&created, "secret"));
    let staged = turned(&mut client, id, "stage", None).await;
    let new = text(&staged, "secret");
    assert_eq!(staged["secret_rotation"]["staged"], true);
    send(&mut client, id, "driftguard").await;
    let refused = turn(&mut client, id, "stage", None).await;
    assert_eq!(
        (refused.status.as_u16(), text(&refused.body, "code")),
        (409, "already_staged")
    );

    let promoted = turned(
        &mut client,
        id,
        "promote",
        Some(json!({ "keep_old": "7d" })),
    )
    .await;
    assert_eq!(
        promoted.get("secret"),
        None,
        "it was shown when it was staged"
    );
    assert_eq!(promoted["secret_rotation"]["staged"], false);
    send(&mut client, id, "driftguard").await;
    daemon.kill();

    let daemon = site.start();
    let mut client = daemon.client("driftguard");
    let back = turned(&mut client, id, "rollback", None).await;
    let expected = json!({ "staged": true, "old_until": null });
    assert_eq!(
        back["secret_rotation"], expected,
        "the promoted one is staged again"
    );
    send(&mut client, id, "driftguard").await;
    turned(&mut client, id, "promote", None).await;
    send(&mut client, id, "driftguard").await;
    turned(&mut client, id, "rollback", None).await;
    turned(&mut client, id, "abort", None).await;
    for (verb, code) in [
        ("promote", "nothing_staged"),
        ("abort", "nothing_staged"),
        ("rollback", "nothing_to_roll_back"),
    ] {
        let refused = turn(&mut client, id, verb, None).await;
        assert_eq!(
            (refused.status.as_u16(), text(&refused.body, "code")),
            (409, code)
        );
    }
    send(&mut client, id, "driftguard").await;
    assert_hidden(&daemon, &mut client, id, &[old, new]).await;

    let requests = web.stop().await;
    let signer = |request: &ReceivedRequest| {
        let good = [old, new].map(|secret| judged("driftguard", secret, request).is_ok());
        assert_ne!(good[0], good[1], "exactly one signs");
        if good[0] { "old" } else { "new" }
    };
    let signers: Vec<&str> = requests.iter().map(signer).collect();
    assert_eq!(signers, ["old", "new", "old", "new", "old"]);
    for request in &requests {
        assert_eq!(header(request, "x-driftguard-signature").len(), 64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_profile_does_not_offer_or_nobody_can_read_is_refused_and_changes_nothing() {
    let site = Site::new(&["standard", "driftguard"]);
    let daemon = site.start();
    for (account, events, wrong, right) in [
        (
            "standard",
            json!([]),
            ["stage", "promote", "rollback"].as_slice(),
            "rotate",
        ),
        ("driftguard", json!(["pass"]), &["rotate"], "stage"),
    ] {
        let mut client = daemon.client(account);
        let body = json!({ "url": "https://127.0.0.1:1/", "events": events });
        let created = register(&mut client, body).await;
        let (id, secret) = (text(&created, "id"), text(&created, "secret"));
        let path = format!("/api/v1/webhooks/{id}");
        let before = get(&mut client, &path).await.body;
        for verb in wrong {
            let refused = turn(&mut client, id, verb, None).await;
            assert_eq!(refused.status, 409, "{account} {verb}");
            assert_eq!(text(&refused.body, "code"), "rotation_not_offered");
            let instead = format!("/secret/{right}");
            assert!(
                text(&refused.body, "detail").contains(&instead),
                "{}",
                refused.body
            );
        }
        let mut bodies = vec![
            (json!({ "secret": "short" }), "/secret"),
            (json!({ "secret": 5 }), "/secret"),
            (json!({ "secret": secret }), "/secret"),
            (json!({ "colour": "blue" }), "/colour"),
        ];
        if right == "rotate" {
            let keeps = ["59s", "31d", "soon", ""].map(Value::from);
            let keeps = keeps.into_iter().chain([json!(5), json!([])]);
            bodies.extend(keeps.map(|keep| (json!({ "keep_old": keep }), "/keep_old")));
        }
        for (body, pointer) in bodies {
            let refused = turn(&mut client, id, right, Some(body.clone())).await;
            assert_eq!(refused.status, 400, "{body}: {}", refused.body);
            assert_eq!(
                text(&refused.body["errors"][0], "pointer"),
                pointer,
                "{body}"
            );
        }
        let unknown = turn(&mut client, id, "turn", None).await;
        assert_eq!(unknown.status, 404);
        let patch = json!({ "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" });
        let refused = client
            .call(Method::PATCH, &path, Some(&patch))
            .await
            .unwrap();
        assert_eq!(refused.status, 400);
        assert_eq!(get(&mut client, &path).await.body, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_of_the_secret_and_of_the_public_key_both_verify_through_a_rotation() {
    let site = Site::new(&["twice"]).with(&twice());
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("twice");
    let created = register(&mut client, json!({ "url": web.url("/") })).await;
    let id = text(&created, "id");
    let path = format!("/api/v1/webhooks/{id}");
    assert_eq!(
        get(&mut client, &path).await.body["public_key"],
        created["public_key"],
        "the public key is no secret"
    );
    let rotated = turned(&mut client, id, "rotate", None).await;
    assert_ne!(rotated["public_key"], created["public_key"]);
    send(&mut client, id, "twice").await;
    let secrets = [text(&created, "secret"), text(&rotated, "secret")];
    assert_hidden(&daemon, &mut client, id, &secrets).await;
    until("the request", async || (web.count() == 1).then_some(())).await;
    let requests = web.stop().await;
    let line = header(&requests[0], "webhook-signature");
    let versions: Vec<&str> = line
        .split(' ')
        .filter_map(|v| v.split(',').next())
        .collect();
    assert_eq!(versions, ["v1", "v1a", "v1", "v1a"], "{line}");
    let own = header(&requests[0], "x-acme-signature");
    assert_eq!(own.matches("sha256=").count(), 2, "{own}");
    for shown in [&created, &rotated] {
        let hmac = text(shown, "secret").split(' ').next().unwrap();
        for held in [hmac, text(shown, "public_key")] {
            assert_eq!(judged("twice", held, &requests[0]), Ok(()), "{held}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_the_profile_cannot_use_any_more_is_not_promoted() {
    let profile = "[profiles.own]\nextends = \"standard\"\n[profiles.own.secret]\nrotation = \"staged\"\n\
                key = \"utf8\"\ngenerate = \"whsec_{base64:32}\"\n";
    let site = Site::new(&["own"]).with(profile);
    let daemon = site.start();
    let mut client = daemon.client("own");
    let created = register(&mut client, json!({ "url": "https://127.0.0.1:1/" })).await;
    let id = created["id"].as_str().unwrap().to_owned();
    let staged = "no-base64-behind-a-prefix";
    turned(&mut client, &id, "stage", Some(json!({ "secret": staged }))).await;
    daemon.kill();
    let changed = site
        .config(true)
        .replace("key = \"utf8\"", "key = \"whsec-base64\"");
    let daemon = Daemon::start(&site.path("config.toml"), &changed);
    let mut client = daemon.client("own");
    let refused = turn(&mut client, &id, "promote", None).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert_eq!(text(&refused.body, "code"), "secret_unfit");
    assert!(!refused.body.to_string().contains(staged));
    turned(&mut client, &id, "abort", None).await;
    turned(&mut client, &id, "stage", None).await;
    turned(&mut client, &id, "promote", None).await;
}
