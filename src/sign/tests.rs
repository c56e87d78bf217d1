//! The products' own receivers, rewritten from their pages, and the published vectors, against what is signed.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::profile::Profiles;

/// HMAC-SHA256 in hexadecimal from RFC 2104's definition alone, so that a slip in the signer's way of
/// using a library cannot hide here.
fn hmac_hex(key: &[u8], message: &[u8]) -> String {
    let mut block = [0_u8; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(message)
        .finalize();
    let outer = Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 000: `signature === hmac.digest('hex')`.
fn driftlock_accepts(signature: &str, body: &[u8], secret: &str) -> bool {
    signature == hmac_hex(secret.as_bytes(), body)
}

/// 001 and 003: `f"sha256={expected}" == signature`.
fn sha256_accepts(signature: &str, body: &[u8], secret: &str) -> bool {
    signature == format!("sha256={}", hmac_hex(secret.as_bytes(), body))
}

/// 002: splits by position, as the page's Node and Python samples do.
fn dataflow_accepts(signature: &str, body: &[u8], secret: &str) -> bool {
    let parts: Vec<&str> = signature.split(',').collect();
    let timestamp = parts[0].split('=').nth(1).unwrap();
    let hash = parts[1].split('=').nth(1).unwrap();
    let mut signed = format!("{timestamp}.").into_bytes();
    signed.extend_from_slice(body);
    hash == hmac_hex(secret.as_bytes(), &signed)
}

/// 004: `hmac.compare_digest(expected, signature_header)`.
fn driftguard_accepts(signature: &str, body: &[u8], secret: &str) -> bool {
    driftlock_accepts(signature, body, secret)
}

type Accepts = fn(&str, &[u8], &str) -> bool;

const SAMPLES: [(&str, &str, Accepts); 5] = [
    ("driftlock", "x-driftlock-signature", driftlock_accepts),
    ("anomalyarmor", "x-anomalyarmor-signature", sha256_accepts),
    ("dataflow", "x-dataflow-signature", dataflow_accepts),
    ("flock", "x-flock-signature", sha256_accepts),
    ("driftguard", "x-driftguard-signature", driftguard_accepts),
];

fn signer(name: &str) -> Signer {
    let profiles = Profiles::built_in();
    Signer::compile(profiles.get(name).unwrap())
}

const CONTEXT: SignContext<'_> = SignContext {
    id: "evt_1",
    event_type: "a.b",
    timestamp_s: 1_706_096_400,
    attempt: 2,
};

#[test]
fn the_test_hmac_is_that_of_rfc_4231() {
    let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(hmac_hex(b"Jefe", b"what do ya want for nothing?"), expected);
}

proptest! {
    #[test]
    fn every_product_s_receiver_accepts(body: Vec<u8>, secret in "[!-~]{8,100}") {
        for (name, header, accepts) in SAMPLES {
            let given = Secret::new(secret.clone());
            let headers = signer(name).sign(&body, &CONTEXT, &[&given]).unwrap();
            prop_assert_eq!(headers.len(), 1);
            prop_assert_eq!(headers[0].0.as_str(), header);
            let value = headers[0].1.to_str().unwrap();
            prop_assert!(accepts(value, &body, &secret), "{}: {}", name, value);
            prop_assert!(!accepts(value, &[body.as_slice(), b" "].concat(), &secret));
            prop_assert!(!accepts(value, &body, &[secret.as_str(), "x"].concat()));
        }
    }
}

#[test]
fn a_whsec_secret_is_used_whole_where_the_key_is_its_text() {
    let secret = Secret::new("whsec_1a2b3c4d5e6f7g8h9i0j".to_owned());
    let headers = signer("dataflow")
        .sign(b"{}", &CONTEXT, &[&secret])
        .unwrap();
    let value = headers[0].1.to_str().unwrap();
    let hash = hmac_hex(b"whsec_1a2b3c4d5e6f7g8h9i0j", b"1706096400.{}");
    assert_eq!(value, format!("t=1706096400,v1={hash}"));
}

#[test]
fn the_published_vector_of_standard_webhooks_holds() {
    let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
    let context = SignContext {
        id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp_s: 1_614_265_330,
        ..CONTEXT
    };
    let body = br#"{"test": 2432232314}"#;
    let headers = signer("standard").sign(body, &context, &[&secret]).unwrap();
    let text: Vec<(&str, &str)> = headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.to_str().unwrap()))
        .collect();
    let expected = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        (
            "webhook-signature",
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
    ];
    assert_eq!(text, expected);
}

#[test]
fn without_a_secret_there_is_no_signature_or_an_error() {
    for (name, signed) in [
        ("driftlock", false),
        ("flock", false),
        ("dataflow", true),
        ("standard", true),
    ] {
        let result = signer(name).sign(b"{}", &CONTEXT, &[]);
        if signed {
            assert_eq!(result, Err(SignError::SecretMissing), "{name}");
        } else {
            assert_eq!(result, Ok(vec![]), "{name}");
        }
    }
    let bad = Secret::new("not-whsec-at-all".to_owned());
    let result = signer("standard").sign(b"{}", &CONTEXT, &[&bad]);
    assert_eq!(result, Err(SignError::Secret(SecretError::Base64)));
}

#[test]
fn generated_secrets_pass_their_own_check_and_differ() {
    for profile in Profiles::built_in().iter() {
        let rules = &profile.secret;
        let (one, other) = (rules.generate().unwrap(), rules.generate().unwrap());
        assert_ne!(one, other);
        assert!(rules.check(one.expose()).is_ok(), "{}", profile.name);
        assert!(one.expose().starts_with("whsec_"));
        let random = &one.expose()["whsec_".len()..];
        if profile.name == "standard" {
            assert_eq!(BASE64.decode(random).unwrap().len(), 32);
        } else {
            assert_eq!(random.len(), 32, "{}", profile.name);
            assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
    }
}

#[test]
fn given_secrets_are_checked() {
    let profiles = Profiles::built_in();
    let text = &profiles.get("flock").unwrap().secret;
    assert!(text.check("your-hmac-secret").is_ok());
    assert_eq!(text.check("short"), Err(SecretError::Length(5)));
    assert_eq!(text.check(&"x".repeat(257)), Err(SecretError::Length(257)));
    assert_eq!(text.check("has a space"), Err(SecretError::Character));
    assert_eq!(text.check("pässword"), Err(SecretError::Character));
    assert_eq!(text.check("line\nfeed"), Err(SecretError::Character));
    let standard = &profiles.get("standard").unwrap().secret;
    assert!(
        standard
            .check("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .is_ok()
    );
    assert_eq!(
        standard.check("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        Err(SecretError::Base64)
    );
    assert_eq!(standard.check("whsec_%%%%%%%%"), Err(SecretError::Base64));
    assert_eq!(standard.check("whsec_AAAA"), Err(SecretError::KeyLength(3)));
    let long = format!("whsec_{}", BASE64.encode([7; 65]));
    assert_eq!(standard.check(&long), Err(SecretError::KeyLength(65)));
}

#[test]
fn custom_headers_are_judged() {
    let profiles = Profiles::built_in();
    let (dataflow, standard) = (
        profiles.get("dataflow").unwrap(),
        profiles.get("standard").unwrap(),
    );
    for (name, value) in [
        ("Authorization", "Bearer x"),
        ("X-API-Key", "k"),
        ("x-flock-signature", ""),
    ] {
        let (_, checked) = check_header(dataflow, name, value).unwrap();
        assert!(checked.is_sensitive());
    }
    let long = "x".repeat(8192);
    for (name, value) in [
        ("X-A", "a\r\nB: c"),
        ("X-A", "a\nb"),
        ("X-A", "nul\0"),
        ("X-A", "é"),
        ("X-A", " a"),
        ("", "a"),
        ("X A", "a"),
        ("X:A", "a"),
        ("X-É", "a"),
        ("X-A", long.as_str()),
    ] {
        let error = check_header(dataflow, name, value).unwrap_err();
        assert_eq!(error.code(), "header_invalid", "{name}: {value}");
    }
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "CONNECTION",
        "Content-Type",
        "TE",
        "Upgrade",
        "Keep-Alive",
        "X-DataFlow-Signature",
        "webhook-id",
        "Webhook-Anything",
        "Expect",
    ] {
        let error = check_header(dataflow, name, "a").unwrap_err();
        assert_eq!(error.code(), "header_reserved", "{name}");
    }
    assert_eq!(reserved_headers(standard).len(), 3);
}

#[test]
fn a_profile_s_own_headers_tell_of_the_event() {
    let text = "[p]\nextends = \"flock\"\nheaders = { X-Event = \"{type}/{id}\", X-Try = \"n{attempt} at {timestamp}\", X-Fixed = \"yes\" }";
    let profiles = Profiles::build(toml::from_str(text).unwrap()).unwrap();
    let signer = Signer::compile(profiles.get("p").unwrap());
    let mut headers = signer.sign(b"{}", &CONTEXT, &[]).unwrap();
    headers.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
    let text: Vec<(&str, &str)> = headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.to_str().unwrap()))
        .collect();
    assert_eq!(
        text,
        [
            ("x-event", "a.b/evt_1"),
            ("x-fixed", "yes"),
            ("x-try", "n2 at 1706096400")
        ]
    );
}

#[test]
fn a_header_with_the_retry_s_number_is_not_on_the_first_attempt() {
    let text = "[p]\nextends = \"flock\"\nheaders = { X-Retry = \"{retry}\" }";
    let profiles = Profiles::build(toml::from_str(text).unwrap()).unwrap();
    let signer = Signer::compile(profiles.get("p").unwrap());
    for (attempt, expected) in [(1, None), (2, Some("1")), (10, Some("9"))] {
        let context = SignContext { attempt, ..CONTEXT };
        let headers = signer.sign(b"{}", &context, &[]).unwrap();
        let values: Vec<&str> = headers.iter().map(|(_, v)| v.to_str().unwrap()).collect();
        assert_eq!(values.first().copied(), expected);
    }
}

/// Standard Webhooks' own header with HMAC and ed25519 in it, and a header of one's own beside it.
const THREE_SIGNATURES: &str = r#"
[p]
extends = "standard"
[p.secret]
generate = "whsec_{base64:32} whsk_{base64:32}"
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
[[p.signature]]
header = "X-Own-Signature"
algorithm = "hmac-sha256"
key = "utf8"
signed = "{body}"
value = "sha256={hex}"
"#;

/// The vector of svix-server's tests of its asymmetric keys.
const KEY_PAIR: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";

#[test]
fn several_signatures_stand_in_one_line_and_in_lines_of_their_own() {
    let profiles = Profiles::build(toml::from_str(THREE_SIGNATURES).unwrap()).unwrap();
    let profile = profiles.get("p").unwrap();
    let hmac = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let secret = profile.secret.check(&format!("{hmac} {KEY_PAIR}")).unwrap();
    let context = SignContext {
        id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp_s: 1_614_265_330,
        ..CONTEXT
    };
    let body = br#"{"test": 2432232314}"#;
    let headers = Signer::compile(profile)
        .sign(body, &context, &[&secret])
        .unwrap();
    let lines: Vec<(&str, &str)> = headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.to_str().unwrap()))
        .collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(
        lines[2],
        (
            "webhook-signature",
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= \
             v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
        )
    );
    let own = format!("sha256={}", hmac_hex(hmac.as_bytes(), body));
    assert_eq!(lines[3], ("x-own-signature", own.as_str()));
    let generated = profile.secret.generate().unwrap();
    assert!(profile.secret.check(generated.expose()).is_ok());
    for half in [hmac, KEY_PAIR] {
        assert_eq!(profile.secret.check(half), Err(SecretError::Parts));
    }
    let three = format!("{hmac} {KEY_PAIR} {hmac}");
    assert_eq!(profile.secret.check(&three), Err(SecretError::Character));
}

#[test]
fn while_two_secrets_sign_the_newest_comes_first() {
    let [new, old] = ["new-secret", "old-secret"].map(|text| Secret::new(text.to_owned()));
    let headers = signer("flock")
        .sign(b"{}", &CONTEXT, &[&new, &old])
        .unwrap();
    let expected = [&new, &old].map(|secret| {
        let hex = hmac_hex(secret.expose().as_bytes(), b"{}");
        format!("sha256={hex}")
    });
    assert_eq!(headers.len(), 1);
    assert_eq!(headers[0].1.to_str().unwrap(), expected.join(" "));
    // An old secret that is no key here must not keep the new one from signing.
    let good = signer("standard");
    let new = good_secret();
    let headers = good.sign(b"{}", &CONTEXT, &[&new, &old]).unwrap();
    assert_eq!(headers, good.sign(b"{}", &CONTEXT, &[&new]).unwrap());
}

fn good_secret() -> Secret {
    Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned())
}

#[test]
fn ed25519_secrets_are_seeds_or_pairs_that_belong_together() {
    let text = "[p]\nextends = \"standard\"\nsecret = { key = \"whsk-base64\", generate = \"whsk_{base64:32}\" }\n\
                [[p.signature]]\nheader = \"webhook-signature\"\nalgorithm = \"ed25519\"\n\
                signed = \"{id}.{timestamp}.{body}\"\nvalue = \"v1a,{base64}\"";
    let profiles = Profiles::build(toml::from_str(text).unwrap()).unwrap();
    let rules = &profiles.get("p").unwrap().secret;
    let pair = BASE64.decode(&KEY_PAIR["whsk_".len()..]).unwrap();
    let seed = format!("whsk_{}", BASE64.encode(&pair[..32]));
    let public = format!("whpk_{}", BASE64.encode(&pair[32..]));
    for text in [KEY_PAIR, &seed] {
        let secret = rules.check(text).unwrap();
        assert_eq!(rules.public_key(&secret).as_deref(), Some(public.as_str()));
    }
    let mut torn = pair;
    torn[63] ^= 1;
    let torn = format!("whsk_{}", BASE64.encode(torn));
    for text in [
        torn.as_str(),
        "whsk_AAAAAAAA",
        "whsk_%%%%%%%%",
        &seed[5..],
        &public,
    ] {
        assert_eq!(rules.check(text), Err(SecretError::Ed25519), "{text}");
    }
    assert!(rules.check(rules.generate().unwrap().expose()).is_ok());
    let standard = &Profiles::built_in();
    let standard = &standard.get("standard").unwrap().secret;
    assert_eq!(standard.public_key(&good_secret()), None);
}
