//! The profiles of `docs/migration.md`: they stand on the page to the letter, sign as their products publish
//! it, and deliver.

use std::path::Path;

use hookwheel::config::Config;
use hookwheel::model::{Secret, UnixMillis};
use hookwheel::profile::Profiles;
use hookwheel::sign::{SignContext, Signer};
use hookwheel::verify::verify;
use http::{HeaderMap, HeaderName, Method};
use serde_json::{Value, json};

use crate::support::{Daemon, Site, delivery_in, key_of, register};
use crate::web::{Web, header};

const PROFILES: [&str; 4] = ["github", "stripe", "shopify", "slack"];

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn profile_text(name: &str) -> String {
    text(&format!("profiles/{name}.toml"))
}

fn profiles() -> Profiles {
    let account = format!(
        "[[accounts]]\nname = \"a\"\n[[accounts.keys]]\nname = \"k\"\nscopes = [\"read\"]\nhash = \"sha256:{}\"\n",
        "0".repeat(64)
    );
    let all: String = PROFILES.iter().map(|name| profile_text(name)).collect();
    let config = Config::parse(&(account + &all), "docs", Path::new(""), []);
    config.unwrap_or_else(|errors| panic!("{errors}")).profiles
}

/// A signature that somebody else made.
struct Vector {
    profile: &'static str,
    secret: &'static str,
    timestamp_s: u64,
    body: &'static str,
    header: &'static str,
    value: &'static str,
}

/// GitHub and Slack: as their documentation has them ("Validating webhook deliveries", "Verifying requests from
/// Slack").
///
/// Stripe publishes no fixed signature: secret and payload are those of its SDKs' tests, the timestamp that
/// of its documentation, and the signature was computed with
/// `printf '1492774577.{\n  "id": "evt_test_webhook",\n  "object": "event"\n}' | openssl dgst -sha256 -hmac whsec_test_secret`.
///
/// Shopify publishes none for a webhook either. The first of its two is the digest that its documentation
/// computed for OAuth with the secret `hush` (hexadecimal 700e2dadb827fcc8609e9d5ce208b2e9cdaab9df07390d2cbca10d7c328fc4bf),
/// the same HMAC written in base64. The second was computed with
/// `printf '{"id":820982911946154508}' | openssl dgst -sha256 -hmac hush -binary | base64`.
const VECTORS: [Vector; 5] = [
    Vector {
        profile: "github",
        secret: "It's a Secret to Everybody",
        timestamp_s: 0,
        body: "Hello, World!",
        header: "x-hub-signature-256",
        value: "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    },
    Vector {
        profile: "slack",
        secret: "8f742231b10e8888abcd99yyyzzz85a5",
        timestamp_s: 1_531_420_618,
        body: "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
               &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
               &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
               &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
        header: "x-slack-signature",
        value: "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    },
    Vector {
        profile: "stripe",
        secret: "whsec_test_secret",
        timestamp_s: 1_492_774_577,
        body: "{\n  \"id\": \"evt_test_webhook\",\n  \"object\": \"event\"\n}",
        header: "stripe-signature",
        value: "t=1492774577,v1=c2f890decbc5ede7c5060bb9a6d31e0626a4342bacb9aeae2adb1bcea72f9812",
    },
    Vector {
        profile: "shopify",
        secret: "hush",
        timestamp_s: 0,
        body: "code=0907a61c0c8d55e99db179b68161bc00&shop=some-shop.myshopify.com\
               &state=0.6784241404160823&timestamp=1337178173",
        header: "x-shopify-hmac-sha256",
        value: "cA4trbgn/Mhgnp1c4giy6c2qud8HOQ0svKENfDKPxL8=",
    },
    Vector {
        profile: "shopify",
        secret: "hush",
        timestamp_s: 0,
        body: "{\"id\":820982911946154508}",
        header: "x-shopify-hmac-sha256",
        value: "qBvrsZF7RfB1iS6BX6IHqJTp5L911P7intnPeTPsH0I=",
    },
];

#[test]
fn the_page_has_each_profile_to_the_letter() {
    let page = text("migration.md");
    for name in PROFILES {
        let block = format!("```toml\n{}```\n", profile_text(name));
        assert!(
            page.contains(&block),
            "docs/profiles/{name}.toml and the page differ"
        );
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/profiles");
    let files = std::fs::read_dir(directory).unwrap().count();
    assert_eq!(files, PROFILES.len(), "each file is tested here");
}

#[test]
fn each_profile_signs_as_its_product_publishes_it() {
    let profiles = profiles();
    for vector in &VECTORS {
        let profile = profiles.get(vector.profile).unwrap();
        let context = SignContext {
            id: "evt_1",
            event_type: "a",
            timestamp_s: vector.timestamp_s,
            attempt: 1,
        };
        let secret = Secret::new(vector.secret.to_owned());
        let signed = Signer::compile(profile)
            .sign(vector.body.as_bytes(), &context, &[&secret])
            .unwrap();
        let headers: HeaderMap = signed.into_iter().collect();
        assert_eq!(headers[vector.header], vector.value, "{}", vector.profile);
        let now = UnixMillis(vector.timestamp_s * 1000);
        let verified = verify(
            profile,
            vector.secret,
            &headers,
            vector.body.as_bytes(),
            now,
        );
        assert!(verified.is_ok(), "{}: {verified:?}", vector.profile);
    }
}

/// What is posted for each profile, the headers that must arrive besides the signature, and the body.
fn deliveries() -> [(&'static str, Value, Value, &'static str); 4] {
    [
        (
            "github",
            json!({ "id": "72d3162e-cc78-11e3-81ab-4c9367dc0958", "type": "push", "data": { "ref": "refs/heads/main" } }),
            json!({ "x-github-event": "push", "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958" }),
            r#"{"ref":"refs/heads/main"}"#,
        ),
        (
            "stripe",
            json!({
                "id": "evt_1", "type": "charge.succeeded", "data": { "id": "ch_1", "object": "charge" },
                "created_at": "2017-04-21T11:36:17.9Z",
                "metadata": { "api_version": "2024-06-20", "livemode": false },
            }),
            json!({}),
            r#"{"id":"evt_1","object":"event","api_version":"2024-06-20","created":1492774577,"data":{"object":{"id":"ch_1","object":"charge"}},"livemode":false,"pending_webhooks":1,"request":null,"type":"charge.succeeded"}"#,
        ),
        (
            "shopify",
            json!({ "id": "b54557e4", "type": "orders/create", "data": { "id": 820982911946154508_u64 } }),
            json!({
                "x-shopify-topic": "orders/create", "x-shopify-webhook-id": "b54557e4",
                "x-shopify-api-version": "2025-01", "x-shopify-shop-domain": "some-shop.myshopify.com",
            }),
            r#"{"id":820982911946154508}"#,
        ),
        (
            "slack",
            json!({
                "id": "Ev123ABC456", "type": "app_mention", "data": { "type": "app_mention", "text": "hello" },
                "created_at": "2018-07-12T20:23:38Z", "metadata": { "team_id": "T1", "api_app_id": "A1" },
            }),
            json!({}),
            r#"{"team_id":"T1","api_app_id":"A1","event":{"type":"app_mention","text":"hello"},"type":"event_callback","event_id":"Ev123ABC456","event_time":1531427018}"#,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_says_so_and_is_signed_anew() {
    let site = Site::new(&["slack"]).with(&profile_text("slack"));
    let secret = "0123456789abcdef";
    let web = Web::start(&site.authority, |n| if n == 3 { 200 } else { 500 }).await;
    let daemon = site.start();
    let mut client = daemon.client("slack");
    let delays = ["1s", "1s"]; // so that the timestamps differ
    let body = json!({ "url": web.url("/"), "secret": secret, "retry": { "delays": delays } });
    let webhook = register(&mut client, body).await;
    let event = json!({ "id": "Ev1", "type": "app_mention", "data": {} });
    let answer = client
        .call(Method::POST, "/api/v1/events", Some(&event))
        .await;
    assert_eq!(answer.unwrap().status, 202);
    let webhook = webhook["id"].as_str().unwrap();
    delivery_in(&mut client, webhook, "Ev1", "delivered").await;
    let requests = web.stop().await;
    let retries: Vec<String> = requests
        .iter()
        .map(|r| header(r, "x-slack-retry-num"))
        .collect();
    assert_eq!(retries, ["", "1", "2"]);
    let profiles = profiles();
    for request in &requests {
        let profile = profiles.get("slack").unwrap();
        verify(profile, secret, &request.headers, &request.body, request.at).unwrap();
    }
    let times: Vec<String> = requests
        .iter()
        .map(|r| header(r, "x-slack-request-timestamp"))
        .collect();
    assert!(times[0] < times[1] && times[1] < times[2], "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_profile_delivers_through_the_daemon() {
    let extra: String = PROFILES.iter().map(|name| profile_text(name)).collect();
    let site = Site::new(&PROFILES).with(&extra);
    let profiles = profiles();
    let secret = "0123456789abcdef";
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon: Daemon = site.start();
    for (name, event, _, _) in deliveries() {
        let mut client = daemon.client(name);
        let mut webhook = json!({ "url": web.url(&format!("/{name}")), "secret": secret });
        if name == "shopify" {
            webhook["headers"] = json!({ "X-Shopify-Shop-Domain": "some-shop.myshopify.com" });
        }
        let webhook = register(&mut client, webhook).await;
        let answer = client
            .call(Method::POST, "/api/v1/events", Some(&event))
            .await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, 202, "{} {}", key_of(name), answer.body);
        let webhook = webhook["id"].as_str().unwrap();
        delivery_in(
            &mut client,
            webhook,
            event["id"].as_str().unwrap(),
            "delivered",
        )
        .await;
    }
    let requests = web.stop().await;
    assert_eq!(requests.len(), PROFILES.len());
    for (request, (name, _, headers, body)) in requests.iter().zip(deliveries()) {
        assert_eq!(request.path, format!("/{name}"));
        assert_eq!(String::from_utf8_lossy(&request.body), body);
        for (wanted, value) in headers.as_object().unwrap() {
            assert_eq!(
                header(request, wanted),
                value.as_str().unwrap(),
                "{name}: {wanted}"
            );
        }
        let profile = profiles.get(name).unwrap();
        let verified = verify(profile, secret, &request.headers, &request.body, request.at);
        assert!(verified.is_ok(), "{name}: {verified:?}");
        let foreign = HeaderName::from_static("webhook-id");
        assert!(
            !request.headers.contains_key(foreign),
            "{name}: a header of its parent"
        );
    }
}
