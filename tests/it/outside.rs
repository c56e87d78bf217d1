//! Receivers that others wrote accept what is sent: the samples of the products' own pages and the published
//! packages of Standard Webhooks, run by Node and Python on requests that the real daemon made.
//!
//! `HOOKWHEEL_NODE_PACKAGES` and `HOOKWHEEL_PYTHON_PACKAGES` name the directories in which the packages were
//! installed. What a machine lacks is skipped, unless `HOOKWHEEL_NO_SKIP=1`.

mod bodies;
mod json;
mod judge;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::client::Client;
use hookwheel::receiver::ReceivedRequest;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Daemon, Site, delivery_in, get, register, skip, until};
use crate::web::{Web, header};
use bodies::{Case, cases};
use judge::Judge;

/// A receiver: its product, its language, and whether it verifies `JSON.stringify(req.body)`.
type Sample = (&'static str, &'static str, bool);

/// The samples of the products' pages.
const SAMPLES: [Sample; 8] = [
    ("driftlock", "node", true),
    ("driftlock", "python", false),
    ("anomalyarmor", "python", false),
    ("dataflow", "node", true),
    ("dataflow", "python", false),
    ("flock", "node", false),
    ("flock", "python", false),
    ("driftguard", "python", false),
];

const PRODUCTS: [&str; 5] = [
    "driftlock",
    "anomalyarmor",
    "dataflow",
    "flock",
    "driftguard",
];

/// An event type of each profile, and the secret that its webhook is given (none: one is generated).
fn contract(profile: &str) -> (&'static str, Option<&'static str>) {
    match profile {
        "driftlock" => ("anomaly.detected", Some("a-secret-of-24-characters")),
        "anomalyarmor" => ("alert.triggered", None),
        "dataflow" => ("pipeline.run.completed", Some("whsec_1a2b3c4d5e6f7g8h9i0j")),
        "flock" => ("artifact.published", Some("your-hmac-secret")),
        "driftguard" => ("breaking", None),
        _ => ("user.created", None),
    }
}

/// The data to post so that a value reaches the receiver of a profile.
fn data(profile: &str, value: &str) -> String {
    if profile == "anomalyarmor" {
        format!(
            r#"{{"alert": {{"id": "alert_1", "value": {value}}}, "event": {{"type": "schema_change"}}, "links": {{}}}}"#
        )
    } else {
        value.to_owned()
    }
}

/// A request that the daemon sent.
struct Delivered {
    profile: &'static str,
    case: Case,
    secret: String,
    request: ReceivedRequest,
}

/// A profile's account, its webhook, and what the webhook's answer said.
struct Party {
    client: Client,
    webhook: String,
    secret: String,
}

async fn party(daemon: &Daemon, web: &Web, profile: &str, more: Value) -> Party {
    let mut client = daemon.client(profile);
    let (event_type, secret) = contract(profile);
    let mut body = json!({ "url": web.url(&format!("/{profile}")), "events": [event_type] });
    if let Some(secret) = secret {
        body["secret"] = json!(secret);
    }
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let created = register(&mut client, body).await;
    Party {
        client,
        webhook: created["id"].as_str().unwrap().to_owned(),
        secret: created["secret"].as_str().unwrap().to_owned(),
    }
}

/// Posts every case to every profile and gives the requests that came of it.
async fn deliver(profiles: &[&'static str]) -> Vec<Delivered> {
    let site = Site::new(profiles);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut parties = BTreeMap::new();
    for profile in profiles {
        parties.insert(*profile, party(&daemon, &web, profile, json!({})).await);
    }
    let mut delivered = Vec::new();
    for number in 0..cases().len() {
        for (profile, party) in &mut parties {
            let case = cases().swap_remove(number);
            post_case(profile, &mut party.client, &case).await;
            delivered.push((*profile, case, party.secret.clone()));
        }
        // One round after the other: so a request is known by its path.
        until("the round's requests", async || {
            (web.count() == delivered.len()).then_some(())
        })
        .await;
    }
    let mut requests = web.stop().await;
    assert_eq!(requests.len(), delivered.len());
    let mut found = Vec::new();
    for (number, (profile, case, secret)) in delivered.into_iter().enumerate() {
        let path = format!("/{profile}");
        let at = requests.iter().position(|request| request.path == path);
        let request = requests.remove(at.unwrap());
        let body = std::str::from_utf8(&request.body).unwrap();
        let shown: String = body.chars().take(500).collect();
        assert!(body.contains(&case.sent), "{number} {}: {shown}", case.name);
        found.push(Delivered {
            profile,
            case,
            secret,
            request,
        });
    }
    found
}

/// Posts one case; a number that no double holds is told of, in the answer and in the event's record.
async fn post_case(profile: &str, client: &mut Client, case: &Case) {
    let event_type = contract(profile).0;
    let data = data(profile, &case.posted);
    let text = format!(r#"{{"type": "{event_type}", "data": {data}}}"#);
    let answer = client
        .call_text(Method::POST, "/api/v1/events", text)
        .await
        .unwrap();
    let name = case.name;
    assert_eq!(answer.status, 202, "{profile}, {name}: {}", answer.body);
    assert_eq!(answer.body["deliveries"], 1, "{profile}, {name}");
    let warned = answer.body["warning"].is_string();
    assert_eq!(warned, !case.fits, "{profile}, {name}: {}", answer.body);
    if warned {
        let path = format!("/api/v1/events/{}", answer.body["id"].as_str().unwrap());
        let shown = get(client, &path).await.body;
        assert_eq!(shown["warning"], answer.body["warning"], "{name}");
    }
}

/// The body with something put into it that every parser sees.
fn altered(body: &[u8]) -> Vec<u8> {
    let mut body = body.strip_suffix(b"}").unwrap().to_vec();
    body.extend_from_slice(br#","more":1}"#);
    body
}

/// The receiver accepts the request, or not, as `expected`; and never another body or another secret.
fn judge(judge: &mut Judge, delivered: &Delivered, expected: bool, faults: &mut String) {
    let Delivered {
        profile,
        case,
        secret,
        request,
    } = delivered;
    let (altered, other) = (altered(&request.body), other_secret(secret));
    for (what, secret, body, expected) in [
        ("as sent", secret, &request.body[..], expected),
        ("another body", secret, &altered, false),
        ("another secret", &other, &request.body, false),
    ] {
        let verdict = judge.accepts(profile, secret, request, body);
        if verdict.is_ok() != expected {
            let (language, case) = (judge.language(), case.name);
            writeln!(
                faults,
                "{profile} in {language}: {case}, {what}: {verdict:?}"
            )
            .unwrap();
        }
    }
}

/// A secret of the same form and length.
fn other_secret(secret: &str) -> String {
    let text = secret.strip_prefix("whsec_").unwrap_or(secret);
    let key = text.trim_end_matches('=');
    let other: String = key
        .chars()
        .map(|c| if c == 'A' { 'B' } else { 'A' })
        .collect();
    secret.replacen(key, &other, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_products_own_receivers_accept_every_body() {
    let mut judges = Judge::all();
    let delivered = deliver(&PRODUCTS).await;
    assert_eq!(delivered.len(), cases().len() * PRODUCTS.len());
    let (mut faults, mut judged) = (String::new(), 0);
    for each in &mut judges {
        for (profile, language, serialises_again) in SAMPLES {
            if language != each.language() {
                continue;
            }
            for one in delivered.iter().filter(|one| one.profile == profile) {
                // What no double holds is lost on the way through JSON.parse, and said to be.
                let expected = one.case.fits || !serialises_again;
                judge(each, one, expected, &mut faults);
                judged += 1;
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
    let languages: Vec<&str> = judges.iter().map(Judge::language).collect();
    let samples = SAMPLES
        .iter()
        .filter(|sample| languages.contains(&sample.1));
    assert_eq!(judged, samples.count() * cases().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_packages_accept_the_standard_profile() {
    let delivered = deliver(&["standard"]).await;
    let mut faults = String::new();
    for one in &delivered {
        let verifier = standardwebhooks::Webhook::new(&one.secret).unwrap();
        let headers = &one.request.headers;
        if let Err(error) = verifier.verify(&one.request.body, headers) {
            writeln!(faults, "Rust: {}: {error}", one.case.name).unwrap();
        }
        assert!(
            verifier
                .verify(&altered(&one.request.body), headers)
                .is_err()
        );
    }
    for mut each in Judge::all() {
        if let Err(why) = each.package() {
            skip(&format!("standardwebhooks in {}", each.language()), why);
            continue;
        }
        for one in &delivered {
            judge(&mut each, one, true, &mut faults);
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_signed_anew_and_accepted_too() {
    let profiles = [&PRODUCTS[..], &["standard"]].concat();
    let site = Site::new(&profiles);
    let count = profiles.len();
    let web = Web::start(
        &site.authority,
        move |number| if number <= count { 503 } else { 200 },
    )
    .await;
    let daemon = site.start();
    // Over a second, so that the second attempt's timestamp is another one.
    let more = json!({ "retry": { "delays": ["1100ms"] }, "timeout": "60s" });
    let mut parties = Vec::new();
    for profile in &profiles {
        let mut party = party(&daemon, &web, profile, more.clone()).await;
        let text = format!(
            r#"{{"type": "{}", "data": {}}}"#,
            contract(profile).0,
            data(profile, "1.0")
        );
        let answer = party
            .client
            .call_text(Method::POST, "/api/v1/events", text)
            .await
            .unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
        parties.push((
            *profile,
            party,
            answer.body["id"].as_str().unwrap().to_owned(),
        ));
    }
    for (profile, party, event) in &mut parties {
        let shown = delivery_in(&mut party.client, &party.webhook, event, "delivered").await;
        assert_eq!(
            shown["attempts"].as_array().unwrap().len(),
            2,
            "{profile}: {shown}"
        );
    }
    let requests = web.stop().await;
    let mut judges = Judge::all();
    for (profile, party, event) in &parties {
        let path = format!("/{profile}");
        let mine: Vec<&ReceivedRequest> = requests.iter().filter(|r| r.path == path).collect();
        let [first, second] = mine.as_slice() else {
            panic!("{profile}: {} requests", mine.len());
        };
        assert_signed_anew(profile, event, first, second);
        for each in &mut judges {
            let sample = |s: &Sample| s.0 == *profile && s.1 == each.language();
            let package = *profile == "standard" && each.package().is_ok();
            if package || SAMPLES.iter().any(sample) {
                for request in [first, second] {
                    let verdict = each.accepts(profile, &party.secret, request, &request.body);
                    assert_eq!(verdict, Ok(()), "{profile} ({})", each.language());
                }
            }
        }
    }
}

/// The same body; what carries a time is made anew, what carries the event's id is not.
fn assert_signed_anew(
    profile: &str,
    event: &str,
    first: &ReceivedRequest,
    second: &ReceivedRequest,
) {
    assert_eq!(first.body, second.body, "{profile}");
    let timed: &[&str] = match profile {
        "dataflow" => &["x-dataflow-signature"],
        "standard" => &["webhook-timestamp", "webhook-signature"],
        _ => &[],
    };
    for name in timed {
        assert_ne!(
            header(first, name),
            header(second, name),
            "{profile}: {name}"
        );
    }
    if profile == "standard" {
        assert_eq!(header(first, "webhook-id"), event);
        assert_eq!(header(second, "webhook-id"), event);
    }
}
