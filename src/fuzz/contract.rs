//! Trials of what receivers and webhooks' owners send: certificates, custom headers, signed requests.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{text, two};
use crate::model::{Secret, UnixMillis};
use crate::profile::{Profile, Profiles};
use crate::sender::not_after;
use crate::sign::{SignContext, Signer, check_header, reserved_headers};
use crate::verify::{TOLERANCE_S, VerifyError, verify as verify_request};

static PROFILES: LazyLock<Profiles> = LazyLock::new(Profiles::built_in);

const NOW: UnixMillis = UnixMillis(1_706_096_400_500);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The end of a certificate, where it can be read, is no later than the last year that the format has, and what
/// stands behind the certificate does not change it.
pub(super) fn certificate(bytes: &[u8]) {
    /// The end of the year 9999.
    const LAST: UnixMillis = UnixMillis(253_402_300_799_999);
    let Some(end) = not_after(bytes) else {
        return;
    };
    assert!(end <= LAST);
    assert_eq!(not_after(&[bytes, b"\x30\x80"].concat()), Some(end));
}

/// A header that was taken is one line of printable ASCII, and none that the delivery sets itself.
pub(super) fn header(bytes: &[u8]) {
    let Some((name, value)) = two(bytes) else {
        return;
    };
    for profile in PROFILES.iter() {
        let (name, taken) = match check_header(profile, name, value) {
            Ok(taken) => taken,
            Err(refused) => {
                let said = refused.to_string();
                assert!(!said.is_empty());
                // It may be a credential, so what is said is the same whatever its letters are.
                let veiled = value.replace(|c: char| c.is_ascii_alphanumeric(), "x");
                let again = check_header(profile, name, &veiled).map_err(|why| why.to_string());
                assert_eq!(again.err(), Some(said));
                continue;
            }
        };
        assert_eq!(taken.as_bytes(), value.as_bytes());
        assert!(taken.is_sensitive());
        assert!(
            value
                .bytes()
                .all(|byte| byte == b'\t' || (0x20..0x7f).contains(&byte))
        );
        assert!(!reserved_headers(profile).contains(&name));
        let lower = name.as_str();
        assert!(!lower.starts_with("webhook-"));
        let framing = [
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "proxy-authorization",
        ];
        assert!(!framing.contains(&lower), "{lower}");
    }
}

/// Nobody signs without the secret: a request that was made up is refused by each contract that signs. One that was
/// signed is accepted, and refused with another body, another key, or later. The bytes: lines of headers, an empty
/// line, the body.
pub(super) fn verify(bytes: &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end.and_then(|end| bytes.split_at_checked(end)) {
        Some((head, rest)) => (head, rest.get(2..).unwrap_or_default()),
        None => (bytes, &[][..]),
    };
    let headers = headers(head);
    for profile in PROFILES.iter() {
        let refused = verify_request(profile, SECRET, &headers, body, NOW);
        let refused = refused.expect_err("nobody has signed it");
        assert!(!refused.to_string().is_empty() && !refused.remedy().is_empty());

        let signed = signed(profile, body);
        let check = |body: &[u8], now| verify_request(profile, SECRET, &signed, body, now);
        let verified = check(body, NOW).expect("it was signed so");
        let later = UnixMillis(NOW.0 + (TOLERANCE_S + 1) * 1000);
        match verified.timestamp_s {
            Some(_) => assert!(matches!(check(body, later), Err(VerifyError::Stale { .. }))),
            None => assert!(check(body, later).is_ok()),
        }
        assert!(check(&[body, b"x"].concat(), NOW).is_err());
        let other = "whsec_NfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert!(verify_request(profile, other, &signed, body, NOW).is_err());
    }
}

fn signed(profile: &Profile, body: &[u8]) -> HeaderMap {
    let context = SignContext {
        id: "evt_1",
        event_type: "a.b",
        timestamp_s: NOW.seconds(),
        attempt: 1,
    };
    let secret = Secret::new(SECRET.to_owned());
    let signed = Signer::compile(profile).sign(body, &context, &[&secret]);
    signed.expect("the secret is one").into_iter().collect()
}

fn headers(head: &[u8]) -> HeaderMap {
    /// What a server takes of them.
    const HEADERS_MAX: usize = 100;
    let lines = head.split(|byte| *byte == b'\n').take(HEADERS_MAX);
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        let name = HeaderName::from_bytes(text(name)?.trim().as_bytes()).ok()?;
        let value = value.get(1..)?.trim_ascii();
        Some((name, HeaderValue::from_bytes(value).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(header) {
        headers.append(name, value);
    }
    headers
}
