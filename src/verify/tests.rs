//! What a receiver accepts and what it says about the rest, against the signer as the other side.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::model::Secret;
use crate::profile::Profiles;
use crate::sign::{SignContext, Signer};

const NOW: UnixMillis = UnixMillis(1_706_096_400_500);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &[u8] = br#"{"id":"evt_1","data":{"n":1}}"#;

fn signed(name: &str, secret: &str, body: &[u8]) -> HeaderMap {
    let context = SignContext {
        id: "evt_1",
        event_type: "a.b",
        timestamp_s: NOW.seconds(),
        attempt: 1,
    };
    let profiles = Profiles::built_in();
    let signer = Signer::compile(profiles.get(name).unwrap());
    let secret = Secret::new(secret.to_owned());
    signer
        .sign(body, &context, &[&secret])
        .unwrap()
        .into_iter()
        .collect()
}

fn check(
    name: &str,
    secret: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Verified, VerifyError> {
    let profiles = Profiles::built_in();
    verify(profiles.get(name).unwrap(), secret, headers, body, NOW)
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    headers.insert(
        HeaderName::from_static(name),
        HeaderValue::from_str(value).unwrap(),
    );
}

proptest! {
    #[test]
    fn accepts_what_the_signer_made_and_nothing_altered(body: Vec<u8>, flip in any::<prop::sample::Index>()) {
        let mut count = 0;
        for profile in Profiles::built_in().iter() {
            let headers = signed(&profile.name, SECRET, &body);
            let verified = verify(profile, SECRET, &headers, &body, NOW).unwrap();
            let timed = matches!(profile.name.as_str(), "dataflow" | "standard");
            prop_assert_eq!(verified.timestamp_s, timed.then_some(NOW.seconds()));
            let mut altered = body.clone();
            altered.push(b'x');
            let at = flip.index(altered.len());
            altered[at] ^= 1;
            prop_assert!(verify(profile, SECRET, &headers, &altered, NOW).is_err());
            count += 1;
        }
        prop_assert_eq!(count, 6);
    }
}

#[test]
fn accepts_the_published_vector() {
    let mut headers = HeaderMap::new();
    set(&mut headers, "webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek");
    set(&mut headers, "webhook-timestamp", "1614265330");
    let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let other = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let body = br#"{"test": 2432232314}"#;
    let profiles = Profiles::built_in();
    let standard = profiles.get("standard").unwrap();
    let at = |s: u64| UnixMillis(s * 1000);
    for list in [
        good.to_owned(),
        format!("{other} {good}"),
        format!("{good} v1a,abc"),
    ] {
        set(&mut headers, "webhook-signature", &list);
        let verified = verify(standard, SECRET, &headers, body, at(1_614_265_330)).unwrap();
        assert_eq!(verified.id.as_deref(), Some("msg_p5jXN8AQM9LWM0D4loKWxJek"));
    }
    assert!(
        verify(
            standard,
            SECRET,
            &headers,
            body,
            at(1_614_265_330 + TOLERANCE_S)
        )
        .is_ok()
    );
    for now_s in [
        1_614_265_330 + TOLERANCE_S + 1,
        1_614_265_330 - TOLERANCE_S - 1,
    ] {
        let stale = VerifyError::Stale {
            timestamp_s: 1_614_265_330,
            now_s,
        };
        assert_eq!(
            verify(standard, SECRET, &headers, body, at(now_s)),
            Err(stale)
        );
    }
}

#[test]
fn says_which_header_is_missing_or_malformed() {
    let missing = check("flock", SECRET, &HeaderMap::new(), BODY);
    assert_eq!(
        missing,
        Err(VerifyError::HeaderMissing("x-flock-signature".to_owned()))
    );
    let mut headers = signed("standard", SECRET, BODY);
    headers.remove("webhook-timestamp");
    let missing = check("standard", SECRET, &headers, BODY);
    assert_eq!(
        missing,
        Err(VerifyError::HeaderMissing("webhook-timestamp".to_owned()))
    );
    let good = signed("dataflow", SECRET, BODY)["x-dataflow-signature"]
        .to_str()
        .unwrap()
        .to_owned();
    let bad = [
        good.replace("t=", ""),
        good.replace(',', ", "),
        good.replace("v1", "v0"),
        good.replace("t=1", "t=-1"),
        format!("{good}0"),
        format!("{good},v1=00"),
        good.to_uppercase(),
        String::new(),
    ];
    for value in bad {
        let mut headers = HeaderMap::new();
        set(&mut headers, "x-dataflow-signature", &value);
        let error = check("dataflow", SECRET, &headers, BODY).unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains("t=<timestamp>,v1=<hex>"), "{value}: {shown}");
    }
    let mut headers = signed("flock", SECRET, BODY);
    headers.append("x-flock-signature", HeaderValue::from_static("sha256=00"));
    let repeated = check("flock", SECRET, &headers, BODY);
    assert_eq!(
        repeated,
        Err(VerifyError::HeaderRepeated("x-flock-signature".to_owned()))
    );
}

#[test]
fn names_the_mistake_with_the_key() {
    let bare = &SECRET["whsec_".len()..];
    let decoded = BASE64.decode(bare).unwrap();
    let hex = |key: &[u8]| {
        let mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        let digest = mac.chain_update(BODY).finalize().into_bytes();
        digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let with = |key: &[u8]| {
        let mut headers = HeaderMap::new();
        set(&mut headers, "x-driftguard-signature", &hex(key));
        check("driftguard", SECRET, &headers, BODY)
            .unwrap_err()
            .to_string()
    };
    assert!(
        with(&decoded).contains("base64-decoded"),
        "{}",
        with(&decoded)
    );
    assert!(with(bare.as_bytes()).contains("is stripped"));
    assert_eq!(with(b"other"), VerifyError::Mismatch.to_string());
    let mut headers = HeaderMap::new();
    set(
        &mut headers,
        "x-driftguard-signature",
        &hex(SECRET.as_bytes()),
    );
    let pasted = format!("{SECRET}\n");
    let error = check("driftguard", &pasted, &headers, BODY).unwrap_err();
    assert!(error.to_string().contains("white space around the secret"));
    let error = check("standard", bare, &headers, BODY).unwrap_err();
    assert_eq!(
        error,
        VerifyError::SecretMalformed("it does not start with whsec_")
    );
}

#[test]
fn tells_a_changed_body_from_a_wrong_secret() {
    for name in ["driftlock", "dataflow", "standard"] {
        let headers = signed(name, SECRET, BODY);
        let pretty = "{\n  \"id\": \"evt_1\",\n  \"data\": { \"n\": 1.0 }\n}";
        let error = check(name, SECRET, &headers, pretty.as_bytes()).unwrap_err();
        assert!(
            matches!(error, VerifyError::BodyChanged(how) if how.contains("compact JSON")),
            "{name}"
        );
        let error = check(name, SECRET, &headers, &[BODY, b"\n"].concat()).unwrap_err();
        assert!(matches!(error, VerifyError::BodyChanged(how) if how.contains("white space")));
        let altered = String::from_utf8_lossy(BODY).replace('1', "2");
        let error = check(name, SECRET, &headers, altered.as_bytes()).unwrap_err();
        assert_eq!(error, VerifyError::Mismatch, "{name}");
    }
}

#[test]
fn a_profile_without_signatures_verifies_nothing() {
    let text = "[p]\nextends = \"flock\"\nsignature = []";
    let profiles = Profiles::build(toml::from_str(text).unwrap()).unwrap();
    let result = verify(
        profiles.get("p").unwrap(),
        "secret",
        &HeaderMap::new(),
        BODY,
        NOW,
    );
    assert_eq!(result, Err(VerifyError::NothingSigned));
}

const BOTH: &str = r#"
[p]
extends = "standard"
secret = { generate = "whsec_{base64:32} whsk_{base64:32}" }
[[p.signature]]
header = "webhook-signature"
algorithm = "hmac-sha256"
signed = "{id}.{timestamp}.{body}"
value = "v1,{base64}"
[[p.signature]]
header = "webhook-signature"
algorithm = "ed25519"
signed = "{id}.{timestamp}.{body}"
value = "v1a,{base64}"
"#;

#[test]
fn each_holder_of_a_key_accepts_its_part_of_a_shared_header() {
    let profiles = Profiles::build(toml::from_str(BOTH).unwrap()).unwrap();
    let profile = profiles.get("p").unwrap();
    let secret = profile.secret.generate().unwrap();
    let public = profile.secret.public_key(&secret).unwrap();
    let (hmac, private) = secret.expose().split_once(' ').unwrap();
    let context = SignContext {
        id: "evt_1",
        event_type: "a.b",
        timestamp_s: NOW.seconds(),
        attempt: 1,
    };
    let signer = Signer::compile(profile);
    let headers = signer.sign(BODY, &context, &[&secret]).unwrap();
    let headers: HeaderMap = headers.into_iter().collect();
    let both = format!("{hmac} {public}");
    for held in [
        hmac,
        private,
        public.as_str(),
        both.as_str(),
        secret.expose(),
    ] {
        let verified = verify(profile, held, &headers, BODY, NOW).unwrap();
        assert_eq!(verified.timestamp_s, Some(NOW.seconds()));
        let altered = verify(profile, held, &headers, b"{}", NOW);
        assert_eq!(altered, Err(VerifyError::Mismatch));
        let pretty = verify(profile, held, &headers, &[BODY, b"\n"].concat(), NOW);
        assert!(matches!(pretty, Err(VerifyError::BodyChanged(_))));
    }
    let other = profile.secret.generate().unwrap();
    let other = profile.secret.public_key(&other).unwrap();
    let refused = verify(profile, &other, &headers, BODY, NOW);
    assert_eq!(refused, Err(VerifyError::Mismatch));
    let refused = verify(profile, "whpk_AAAA", &headers, BODY, NOW);
    assert!(matches!(refused, Err(VerifyError::SecretMalformed(_))));
    // A key of small order, under which one signature would fit many messages.
    let small = format!(
        "whpk_{}",
        BASE64.encode([[1].as_slice(), &[0; 31]].concat())
    );
    assert!(verify(profile, &small, &headers, BODY, NOW).is_err());
}
