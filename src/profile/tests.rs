//! The built-in profiles against the contract's table, and what is said about wrong ones.

use std::collections::BTreeMap;

use super::*;

fn user(text: &str) -> Result<Profiles, Vec<(String, usize, String)>> {
    let raw: BTreeMap<String, RawProfile> = toml::from_str(text).expect("the shape is right");
    Profiles::build(raw).map_err(|errors| {
        let place = |error: ProfileError| {
            let line = error.span.map_or(0, |span| line_column(text, span.start).0);
            (error.profile, line, error.message)
        };
        errors.into_iter().map(place).collect()
    })
}

/// name, attempts, delays in seconds, a success and a failure, timeout, header, value's beginning.
type Row = (
    &'static str,
    &'static [u64],
    u16,
    u16,
    u32,
    &'static str,
    &'static str,
);

const ROWS: [Row; 6] = [
    (
        "driftlock",
        &[30, 120, 480, 1920, 7680],
        299,
        301,
        10_000,
        "X-Driftlock-Signature",
        "{hex}",
    ),
    (
        "anomalyarmor",
        &[60, 300, 900, 3600],
        204,
        404,
        30_000,
        "X-AnomalyArmor-Signature",
        "sha256={hex}",
    ),
    (
        "dataflow",
        &[60, 300, 900, 3600, 21_600],
        200,
        202,
        5_000,
        "X-DataFlow-Signature",
        "t={timestamp},v1={hex}",
    ),
    (
        "flock",
        &[1, 2, 4],
        202,
        500,
        30_000,
        "X-Flock-Signature",
        "sha256={hex}",
    ),
    (
        "driftguard",
        &[5, 25],
        200,
        302,
        10_000,
        "X-DriftGuard-Signature",
        "{hex}",
    ),
    (
        "standard",
        &[5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400],
        201,
        410,
        20_000,
        "webhook-signature",
        "v1,{base64}",
    ),
];

#[test]
fn built_in_profiles_meet_the_contract() {
    let profiles = Profiles::built_in();
    assert_eq!(profiles.names().count(), ROWS.len());
    for (name, delays_s, success, failure, timeout_ms, header, value) in ROWS {
        let profile = profiles.get(name).unwrap();
        let delays_ms: Vec<u64> = delays_s.iter().map(|s| s * 1000).collect();
        assert_eq!(profile.retry.delays_ms(), delays_ms, "{name}");
        assert!(
            profile.success.accepts(success) && !profile.success.accepts(failure),
            "{name}"
        );
        assert_eq!(profile.timeout_ms, timeout_ms, "{name}");
        let [rule] = profile.signatures.as_slice() else {
            panic!("{name} has one signature")
        };
        assert_eq!(rule.header, header);
        let expected = [Field::Hex, Field::Base64, Field::Timestamp];
        assert_eq!(
            rule.value,
            Template::parse(value, &expected).unwrap(),
            "{name}"
        );
        let timed = matches!(name, "dataflow" | "standard");
        assert_eq!(
            rule.signed.count(Field::Timestamp),
            usize::from(timed),
            "{name}"
        );
    }
}

#[test]
fn built_in_profiles_differ_where_the_products_do() {
    let profiles = Profiles::built_in();
    let of = |name: &str| profiles.get(name).unwrap();
    for profile in profiles.iter() {
        let name = profile.name.as_str();
        let standard = name == "standard";
        let required = !matches!(name, "driftlock" | "flock");
        assert_eq!(profile.secret.required, required, "{name}");
        assert_eq!(
            profile.secret.key == KeyForm::WhsecBase64,
            standard,
            "{name}"
        );
        assert_eq!(
            profile.secret.rotation == Rotation::Overlap,
            standard,
            "{name}"
        );
        assert_eq!(profile.on_gone == GonePolicy::Disable, standard, "{name}");
        assert_eq!(
            profile.headers.len(),
            if standard { 2 } else { 0 },
            "{name}"
        );
        assert_eq!(
            profile.retry.jitter_percent(),
            if standard { 20 } else { 0 },
            "{name}"
        );
        let disables = profile.exhausted.action == ExhaustedAction::Disable;
        assert_eq!(disables, name == "dataflow");
        assert_eq!(profile.exhausted.unless_succeeded_since, name == "dataflow");
        let days = profile.exhausted.disable_after_ms.map(|ms| ms / 86_400_000);
        assert_eq!(days, standard.then_some(5), "{name}");
        assert_eq!(profile.exhausted.probe_every_ms, None, "{name}");
        let events_required = matches!(name, "driftlock" | "dataflow" | "driftguard");
        assert_eq!(profile.events_required, events_required, "{name}");
    }
    assert_eq!(of("dataflow").event_types.len(), 14);
    assert_eq!(of("driftguard").scope_field, "contract_id");
    assert_eq!(of("standard").event_types.len(), 0);
    let armor: Vec<&str> = of("anomalyarmor").subscribable().collect();
    assert_eq!(armor.len(), 5);
    assert_eq!(of("anomalyarmor").match_on.len(), 2);
    let rate = Rate {
        per_second: Some(100),
        per_hour: Some(10_000),
        overflow: Overflow::DropOldest,
        backlog: 10_000,
    };
    assert_eq!(of("dataflow").rate, rate);
    assert_eq!(of("flock").rate.per_second, None);
    assert_eq!(of("driftguard").requests_per_minute, Some(100));
    assert_eq!(of("standard").requests_per_minute, None);
}

#[test]
fn a_child_replaces_what_it_gives_and_inherits_the_rest() {
    let profiles = user(
        r#"
[relaxed]
extends = "dataflow"
success = ["200-204", "301"]
[relaxed.retry]
max_retries = 2
initial = "10s"
[patient]
extends = "flock"
retry = { max_retries = 4 }
[listed]
extends = "patient"
timeout = "7s"
retry = { delays = ["3s"], jitter = "50%" }
headers = { X-Kind = "{type}", X-Fixed = "yes" }
"#,
    )
    .unwrap();
    let relaxed = profiles.get("relaxed").unwrap();
    assert!(relaxed.success.accepts(204) && relaxed.success.accepts(301));
    assert!(!relaxed.success.accepts(205));
    assert_eq!(relaxed.retry.delays_ms(), [10_000, 10_000]);
    assert_eq!(relaxed.event_types.len(), 14);
    let patient = profiles.get("patient").unwrap();
    assert_eq!(patient.retry.delays_ms(), [1000, 2000, 4000, 8000]);
    let listed = profiles.get("listed").unwrap();
    assert_eq!(listed.retry.delays_ms(), [3000]);
    assert_eq!(listed.retry.jitter_percent(), 50);
    assert_eq!(listed.timeout_ms, 7000);
    assert_eq!(listed.headers.len(), 2);
    assert_eq!(listed.signatures, patient.signatures);
}

#[test]
fn says_everything_that_is_wrong_with_line_and_fix() {
    let errors = user(
        r#"[a]
extends = "standard"
timeout = "9"
success = ["200", "2x"]
event_types = ["ok", "not ok"]
match_on = ["id"]
[[a.signature]]
header = "Content-Length"
algorithm = "ed448"
signed = "{timestamp}"
value = "{hex}{base64}"
[b]
extends = "a"
[c]
extends = "nothing"
[d]
extends = "e"
[e]
extends = "d"
[standard]
extends = "flock"
[f]
timeout = "5s"
[g]
extends = "standard"
headers = {}
retry = { delays = [], initial = "1s" }
"#,
    )
    .unwrap_err();
    let expect = [
        ("a", 3, "write a number and a unit"),
        ("a", 4, "write \"2xx\", \"200\" or \"200-204\""),
        ("a", 5, "is not an event type"),
        ("a", 6, "neither `type` nor a path"),
        ("a", 8, "is set by the sender"),
        ("a", 9, "use \"hmac-sha256\" or \"ed25519\""),
        ("a", 10, "{body} exactly once"),
        ("a", 11, "exactly once"),
        (
            "c",
            15,
            "no profile is called `nothing`; there are a, anomalyarmor",
        ),
        ("d", 17, "in a circle: d → e → d"),
        ("e", 19, "in a circle: e → d → e"),
        ("standard", 21, "a built-in profile has this name"),
        ("f", 0, "`extends` is missing"),
        ("g", 27, "write either `delays`"),
    ];
    for (profile, line, message) in expect {
        let found = errors
            .iter()
            .any(|(p, l, m)| p == profile && *l == line && m.contains(message));
        assert!(found, "no ({profile}, {line}, {message}) in {errors:#?}");
    }
    assert_eq!(errors.len(), expect.len(), "{errors:#?}");
}

#[test]
fn checks_fields_against_each_other() {
    let cases = [
        (
            "extends = \"standard\"\nheaders = {}",
            "signs {timestamp}, but no header carries it",
        ),
        (
            "extends = \"standard\"\nheaders = { webhook-id = \"{id}\", X-T = \"{retry}:{timestamp}\" }",
            "signs {timestamp}, but no header carries it",
        ),
        (
            "extends = \"standard\"\nevent_types = [\"x\"]",
            "not in `event_types`",
        ),
        (
            "extends = \"standard\"\nsecret = { generate = \"whsec_{random:32}\" }",
            "whsec_{base64:32}",
        ),
        ("extends = \"flock\"\nsuccess = []", "no status code"),
        (
            "extends = \"flock\"\nretry = { multiplier = 0.5 }",
            "from 1 to 100",
        ),
        (
            "extends = \"standard\"\n[[p.signature]]\nheader = \"webhook-signature\"\nalgorithm = \"ed25519\"\nsigned = \"{body}\"\nvalue = \"v1a,{base64}\"",
            "secrets are generated as \"whsk_{base64:32}\"",
        ),
        (
            "extends = \"standard\"\n[[p.signature]]\nheader = \"a\"\nalgorithm = \"ed25519\"\nkey = \"utf8\"\nsigned = \"{body}\"\nvalue = \"v1a,{base64}\"",
            "leave `key` out",
        ),
        (
            "extends = \"standard\"\nsecret = { key = \"whsk-base64\" }",
            "is an HMAC and [secret] has an ed25519 key",
        ),
        (
            "extends = \"standard\"\n[[p.signature]]\nheader = \"a\"\nalgorithm = \"hmac-sha256\"\nsigned = \"{body}\"\nvalue = \"v1 {base64}\"",
            "no value may hold a space",
        ),
        (
            "extends = \"flock\"\nheaders = { x-flock-signature = \"a\" }",
            "defined twice",
        ),
        (
            "extends = \"flock\"\nsecret = { generate = \"{random:8}\" }",
            "24 to 128",
        ),
        (
            "extends = \"flock\"\nscope_field = \"events\"",
            "choose another name",
        ),
        (
            "extends = \"flock\"\nexample = { type = \"artifact.published\", data = \"{\" }",
            "not JSON",
        ),
        ("extends = \"flock\"\ntimeout = \"1ms\"", "from 100ms to 5m"),
        (
            "extends = \"flock\"\nheaders = { x-a = \"{body}\" }",
            "use {id}, {timestamp}",
        ),
    ];
    for (text, expected) in cases {
        let errors = user(&format!("[p]\n{text}")).unwrap_err();
        assert!(
            errors
                .iter()
                .any(|(_, line, message)| message.contains(expected) && *line > 0),
            "{text}: {errors:?}"
        );
    }
}

#[test]
fn a_probe_interval_is_bounded_and_inherited() {
    let text = "[a]\nextends = \"dataflow\"\n[a.exhausted]\nprobe_every = \"15m\"\n\
                [b]\nextends = \"a\"\n[c]\nextends = \"a\"\n[c.exhausted]\nprobe_every = \"never\"\n";
    let profiles = user(text).unwrap();
    let every = |name: &str| profiles.get(name).unwrap().exhausted.probe_every_ms;
    assert_eq!(
        (every("a"), every("b"), every("c")),
        (Some(900_000), Some(900_000), None)
    );
    for wrong in ["9s", "25h", "often", "0s"] {
        let text = format!("[a]\nextends = \"flock\"\n[a.exhausted]\nprobe_every = \"{wrong}\"\n");
        let errors = user(&text).unwrap_err();
        let told = |(_, line, message): &(String, usize, String)| {
            *line == 4 && message.contains(wrong) && message.contains("never")
        };
        assert!(errors.iter().any(told), "{errors:?}");
    }
}

#[test]
fn refuses_unknown_fields_with_their_place() {
    let error = toml::from_str::<RawProfile>("extends = \"flock\"\ntimeuot = \"5s\"").unwrap_err();
    assert!(error.to_string().contains("timeuot"), "{error}");
    assert_eq!(error.span().map(|span| span.start), Some(18));
}

#[test]
fn counts_lines_and_columns_in_characters() {
    assert_eq!(line_column("é=1\nüb", 0), (1, 1));
    assert_eq!(line_column("é=1\nüb", 7), (2, 2));
    assert_eq!(line_column("a", 99), (1, 2));
}

#[test]
fn an_old_secret_signs_until_it_expires_and_only_where_secrets_overlap() {
    use crate::model::{AccountName, Endpoint, OldSecret, WebhookId};
    let [new, old] = ["new", "old"].map(|text| Secret::new(text.to_owned()));
    let webhook = Webhook {
        id: WebhookId(1),
        account: AccountName::new("acme").unwrap(),
        version: 1,
        url: Endpoint::parse("https://example.com/").unwrap(),
        events: Vec::new(),
        scope: None,
        name: None,
        description: None,
        secret: Some(new.clone()),
        staged_secret: Some(Secret::new("staged".to_owned())),
        old_secret: Some(OldSecret {
            secret: old.clone(),
            expires_at: UnixMillis(1_000),
        }),
        headers: Vec::new(),
        format: None,
        filter: None,
        timeout_ms: None,
        retry: None,
        active: true,
        inactive: None,
        created_at: UnixMillis(0),
        updated_at: UnixMillis(0),
        order: crate::model::Order::None,
        tls: None,
        oauth2: None,
        declared: None,
    };
    let profiles = Profiles::built_in();
    let overlap = profiles.get("standard").unwrap();
    let staged = profiles.get("flock").unwrap();
    assert_eq!(
        overlap.signing_secrets(&webhook, UnixMillis(999)),
        [&new, &old]
    );
    assert_eq!(overlap.signing_secrets(&webhook, UnixMillis(1_000)), [&new]);
    assert_eq!(staged.signing_secrets(&webhook, UnixMillis(0)), [&new]);
}
