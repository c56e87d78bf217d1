//! What a token endpoint answers (RFC 6749, 5.1 and 5.2), read with nothing taken on trust.
//!
//! Of an answer only the token, its lifetime and the error's code are used. No message has anything else of it: a
//! server's description of an error may quote the request, with the secret.

use std::time::Duration;

use http::HeaderValue;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::ask::hidden;
use crate::model::{FaultKind, Outcome, Response, Secret};
use crate::sender::Sent;

/// Bytes of an answer, at most. Of a token endpoint's some kilobytes are usual.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a token, at most: receivers refuse heads beyond some 8 kB.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// The lifetime of a token where the answer tells none: in minutes it is asked for seldom enough.
const LIFETIME_UNTOLD: Duration = Duration::from_secs(5 * 60);
/// Bounds on a lifetime, seconds: one that ends at once must not make a request of each attempt, and one without end
/// would outlive what the server has long forgotten.
const LIFETIME_MIN_S: f64 = 1.0;
const LIFETIME_MAX_S: f64 = 24.0 * 3600.0;
/// Bytes of an error's code that is shown, at most: the RFC's have up to 25.
const CODE_BYTES_MAX: usize = 40;

/// An access token, ready to be sent.
#[derive(Debug)]
pub(super) struct Issued {
    /// The value of `Authorization`.
    pub(super) header: HeaderValue,
    /// For how long it is good, from the request on.
    pub(super) lifetime: Duration,
}

#[derive(Deserialize)]
struct Granted {
    access_token: Option<Secret>,
    token_type: Option<String>,
    expires_in: Option<Value>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Refused {
    error: Option<String>,
}

/// Reads what a request for a token has led to.
///
/// # Errors
/// Why there is no token, as a sentence about the token endpoint.
pub(super) fn read(sent: Sent, secret: &Secret) -> Result<Issued, String> {
    let status = match sent.outcome {
        Outcome::Status(status) => status,
        Outcome::Fault { kind, .. } => return Err(unreached(kind).to_owned()),
    };
    let (body, cut) = body(sent.response);
    match status {
        200..=299 if cut && body.len() >= ANSWER_BYTES_MAX => {
            Err(format!("answered with more than {ANSWER_BYTES_MAX} bytes"))
        }
        200..=299 => granted(&body, secret),
        300..=399 => Err(format!(
            "answered with the redirect {status}, which is not followed; give the address that it leads to as token_url"
        )),
        _ => {
            let refused = serde_json::from_slice::<Refused>(&body).ok();
            Err(refusal(status, refused.and_then(|body| body.error), secret))
        }
    }
}

/// The body, wiped when it is dropped, and whether there was more of it.
fn body(response: Option<Response>) -> (Zeroizing<Vec<u8>>, bool) {
    let (body, cut) = response.map_or((Vec::new(), false), |response| {
        (response.body, response.truncated)
    });
    (Zeroizing::new(body), cut)
}

fn granted(body: &[u8], secret: &Secret) -> Result<Issued, String> {
    // What the library says of a text may quote it.
    let answer = serde_json::from_slice::<Granted>(body).ok();
    // It also takes the members one after another in an array.
    let Some(answer) = answer.filter(|_| body.trim_ascii_start().starts_with(b"{")) else {
        return Err(
            "answered with something else than the JSON object of RFC 6749, 5.1".to_owned(),
        );
    };
    let Some(token) = answer.access_token else {
        return Err(match answer.error {
            Some(code) => refusal(200, Some(code), secret),
            None => "answered without an access_token".to_owned(),
        });
    };
    match answer.token_type.as_deref() {
        Some(kind) if kind.eq_ignore_ascii_case("bearer") => {}
        Some(_) => return Err("answered with another token_type than Bearer".to_owned()),
        None => return Err("answered without a token_type".to_owned()),
    }
    let text = token.expose();
    if text.len() > TOKEN_BYTES_MAX {
        return Err(format!(
            "answered with a token of over {TOKEN_BYTES_MAX} bytes"
        ));
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("answered with a token that no header can carry".to_owned());
    }
    let mut value = Zeroizing::new(String::with_capacity("Bearer ".len() + text.len()));
    value.push_str("Bearer ");
    value.push_str(text);
    let header = hidden(value).ok_or("answered with a token that no header can carry")?;
    Ok(Issued {
        header,
        lifetime: lifetime(answer.expires_in.as_ref()),
    })
}

/// A number of seconds, as some servers write it in quotes.
fn lifetime(told: Option<&Value>) -> Duration {
    let seconds = match told {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        Some(_) | None => None,
    };
    seconds
        .filter(|seconds| !seconds.is_nan())
        .map_or(LIFETIME_UNTOLD, |seconds| {
            Duration::from_secs_f64(seconds.clamp(LIFETIME_MIN_S, LIFETIME_MAX_S))
        })
}

fn refusal(status: u16, code: Option<String>, secret: &Secret) -> String {
    let code = code.filter(|code| is_code(code, secret.expose()));
    match code {
        Some(code) => format!("answered with {status} and the error `{code}`"),
        None => format!("answered with {status}"),
    }
}

/// Whether a text is an error's code that can be shown: in the form of the RFC's own, and nothing of the secret.
fn is_code(text: &str, secret: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !text.is_empty()
        && text.len() <= CODE_BYTES_MAX
        && text.bytes().all(letter)
        && !text.contains(secret)
        && !secret.contains(text)
}

/// A fault on the way there. Its details may name addresses inside the operator's network, so they are for the log.
const fn unreached(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Dns => "was not reached: its host's name did not resolve",
        FaultKind::Connect => "was not reached: no connection could be made",
        FaultKind::Tls => {
            "was not asked: the TLS handshake failed, or its certificate did not verify"
        }
        FaultKind::Timeout => "did not answer in time",
        FaultKind::Reset => "closed the connection before its answer was complete",
        FaultKind::Protocol => "gave an answer that is not valid HTTP, or over its bounds",
        FaultKind::AddressBlocked => "was not asked: its address is refused",
        FaultKind::Render | FaultKind::Token => "was not asked: the request cannot be sent",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Phases, UnixMillis};

    fn sent(status: u16, body: &[u8], truncated: bool) -> Sent {
        Sent {
            started_at: UnixMillis(0),
            outcome: Outcome::Status(status),
            phases: Phases::default(),
            response: Some(Response {
                headers: Vec::new(),
                body: body.to_vec(),
                truncated,
            }),
        }
    }

    fn answered(status: u16, body: &str) -> Result<Issued, String> {
        read(
            sent(status, body.as_bytes(), false),
            &Secret::new("s3cret".to_owned()),
        )
    }

    #[test]
    fn a_good_answer_gives_a_header_and_a_bounded_lifetime() {
        let cases = [
            ("3600", 3600),
            ("\"3599\"", 3599),
            ("3600.5", 3600),
            ("0", 1),
            ("-5", 1),
            ("1e300", 86_400),
            ("\"inf\"", 86_400),
            ("\"nan\"", 300),
            ("null", 300),
            ("{\"a\": 1}", 300),
            ("\"soon\"", 300),
        ];
        for (told, expected) in cases {
            let text = format!(
                r#"{{"access_token": "abc.d~e/f==", "token_type": "bEaReR", "expires_in": {told}, "extra": [1]}}"#
            );
            let issued = answered(200, &text).unwrap();
            assert_eq!(issued.header, "Bearer abc.d~e/f==");
            assert!(issued.header.is_sensitive());
            assert!(!format!("{issued:?}").contains("abc"), "{issued:?}");
            assert_eq!(issued.lifetime.as_secs(), expected, "{told}");
        }
        let untold = answered(201, r#"{"access_token": "a", "token_type": "Bearer"}"#).unwrap();
        assert_eq!(untold.lifetime, LIFETIME_UNTOLD);
    }

    /// A status, a body, and what is said of them.
    const HOSTILE: [(u16, &str, &str); 14] = [
        (200, "", "RFC 6749, 5.1"),
        (200, "<html>", "RFC 6749, 5.1"),
        (200, "null", "RFC 6749, 5.1"),
        (200, r#"["a", "Bearer", 9, null]"#, "RFC 6749, 5.1"),
        (200, "{}", "without an access_token"),
        (
            200,
            r#"{"access_token": 5, "token_type": "Bearer"}"#,
            "RFC 6749, 5.1",
        ),
        (
            200,
            r#"{"access_token": "a", "access_token": "b"}"#,
            "RFC 6749, 5.1",
        ),
        (200, r#"{"access_token": "a"}"#, "without a token_type"),
        (
            200,
            r#"{"access_token": "a", "token_type": "mac"}"#,
            "another token_type",
        ),
        (
            200,
            r#"{"error": "invalid_client"}"#,
            "200 and the error `invalid_client`",
        ),
        (302, "{}", "redirect 302"),
        (
            400,
            r#"{"error": "invalid_scope"}"#,
            "400 and the error `invalid_scope`",
        ),
        (401, "no", "answered with 401"),
        (503, "", "answered with 503"),
    ];

    #[track_caller]
    fn assert_refused(status: u16, body: &str, expected: &str) {
        let why = answered(status, body).unwrap_err();
        assert!(why.contains(expected), "{body:.80}: {why}");
        assert!(
            why.len() < 150 && !why.chars().any(char::is_control),
            "{why}"
        );
    }

    #[test]
    fn hostile_answers_give_a_reason_and_no_token() {
        for (status, body, expected) in HOSTILE {
            assert_refused(status, body, expected);
        }
        let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        assert_refused(200, &deep, "RFC 6749, 5.1");
        let deep = format!("{{\"access_token\": \"a\", \"expires_in\": {deep}}}");
        assert_refused(200, &deep, "RFC 6749, 5.1");
        let long = vec![b' '; ANSWER_BYTES_MAX];
        let why = read(sent(200, &long, true), &Secret::new("s".to_owned())).unwrap_err();
        assert!(why.contains("more than 65536 bytes"), "{why}");
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused() {
        let with =
            |token: &str| serde_json::json!({ "access_token": token, "token_type": "Bearer" });
        for token in ["", "a b", "a\r\nX-Evil: 1", "a\u{0}", "cl\u{e9}"] {
            assert_refused(200, &with(token).to_string(), "no header can carry");
        }
        let long = with(&"a".repeat(TOKEN_BYTES_MAX + 1)).to_string();
        assert_refused(200, &long, "over 8192 bytes");
        assert!(answered(200, &with(&"a".repeat(TOKEN_BYTES_MAX)).to_string()).is_ok());
    }

    #[test]
    fn an_errors_code_is_shown_only_in_its_own_form_and_its_description_never() {
        let shown = |error: &str| {
            let body = serde_json::json!({
                "error": error, "error_description": "wrong secret hunter2", "error_uri": "https://hunter2/"
            });
            answered(401, &body.to_string()).unwrap_err()
        };
        assert_eq!(
            shown("invalid_client"),
            "answered with 401 and the error `invalid_client`"
        );
        let long = "a".repeat(CODE_BYTES_MAX + 1);
        for hidden in [
            "",
            "s3cret",
            "is_s3cret",
            "cret",
            "two words",
            "a\nb",
            "<b>",
            "é",
            long.as_str(),
        ] {
            assert_eq!(shown(hidden), "answered with 401", "{hidden:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_nothing_of_them_is_told(
            status in 200..600_u16, body in prop::collection::vec(any::<u8>(), 0..200), cut: bool,
        ) {
            let read = read(sent(status, &body, cut), &Secret::new("s3cret".to_owned()));
            prop_assert!(read.is_err());
        }

        #[test]
        fn any_members_give_a_sendable_header_or_a_reason(
            token in ".{0,40}", kind in "(?i)bearer|.{0,9}", expires in "-?[0-9]{1,30}(\\.[0-9]{1,9})?",
        ) {
            let body = format!(
                r#"{{"access_token": {}, "token_type": {}, "expires_in": {expires}}}"#,
                Value::from(token.as_str()), Value::from(kind.as_str())
            );
            if let Ok(issued) = answered(200, &body) {
                let expected = format!("Bearer {token}");
                prop_assert_eq!(issued.header.as_bytes(), expected.as_bytes());
                prop_assert!(issued.lifetime >= Duration::from_secs(1));
                prop_assert!(issued.lifetime <= Duration::from_secs(86_400));
            }
        }
    }
}
