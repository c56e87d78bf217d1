//! The receiver's side: does this request carry the signature that its profile promises, and if not,
//! why not.
//!
//! It shares nothing with `sign` but the profile, so that each checks the other: header values are read
//! backwards along the profile's templates, and the signed bytes are put together anew. A mismatch is
//! explored: the usual mistakes with keys and bodies are tried, and the one that explains it is named.
//! Signatures are compared in constant time. Nothing here reads a clock or logs a secret.

mod code;
mod ed25519;
mod key;
mod reading;
#[cfg(test)]
mod tests;

use hmac::{Hmac, KeyInit, Mac as _};
use http::HeaderMap;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::model::UnixMillis;
use crate::profile::{Algorithm, Field, Piece, Profile, SignatureRule};
use crate::render::ecma;
use reading::Reading;

pub use code::{Language, ReceiverCode, receiver_code};

/// How far a signed timestamp may be from the receiver's clock, seconds: what Standard Webhooks and the
/// products' pages name.
pub const TOLERANCE_S: u64 = 300;

/// What a verified request says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The signed time of the attempt, whole seconds since 1970, where the profile sends one.
    pub timestamp_s: Option<u64>,
    /// The event's id, where a header carries it.
    pub id: Option<String>,
}

/// Why a request is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The profile has no signatures.
    #[error("the profile signs nothing, so nothing can be verified")]
    NothingSigned,
    /// A header that the profile promises is not there.
    #[error("the header `{0}` is missing")]
    HeaderMissing(String),
    /// A header that may come once came several times.
    #[error("the header `{0}` came more than once")]
    HeaderRepeated(String),
    /// A header's value has not the promised form.
    #[error("the header `{header}` has not the form `{expected}`")]
    Malformed {
        /// The header's name.
        header: String,
        /// The form, with placeholders in angle brackets.
        expected: String,
    },
    /// The secret cannot be a key of this profile.
    #[error("the secret has not the form that this profile needs: {0}")]
    SecretMalformed(&'static str),
    /// The signature is right, its time is not.
    #[error("the timestamp {timestamp_s} is more than {TOLERANCE_S} s from now ({now_s})")]
    Stale {
        /// The signed time.
        timestamp_s: u64,
        /// The receiver's time.
        now_s: u64,
    },
    /// The signature was made with another reading of the same secret.
    #[error("the signature matches when {0}")]
    KeyForm(&'static str),
    /// The signature is that of the body as it was before something changed it.
    #[error("the body was changed after it was signed: the signature matches {0}")]
    BodyChanged(&'static str),
    /// No usual mistake explains it: another secret or another body.
    #[error("the signature does not match: another secret, or an altered body")]
    Mismatch,
}

impl VerifyError {
    /// A stable word for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NothingSigned => "nothing_signed",
            Self::HeaderMissing(_) => "header_missing",
            Self::HeaderRepeated(_) => "header_repeated",
            Self::Malformed { .. } => "header_malformed",
            Self::SecretMalformed(_) => "secret_malformed",
            Self::Stale { .. } => "timestamp_stale",
            Self::KeyForm(_) => "key_form",
            Self::BodyChanged(_) => "body_changed",
            Self::Mismatch => "mismatch",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::NothingSigned => "choose the profile that the sender's account uses",
            Self::HeaderMissing(_) => {
                "check that the sender's account uses this profile and that its webhook has a secret; a \
                 proxy on the way may drop headers"
            }
            Self::HeaderRepeated(_) => "find what adds the header a second time on the way",
            Self::Malformed { .. } => {
                "choose the profile that the sender's account uses; this header follows another one"
            }
            Self::SecretMalformed(_) => {
                "give the secret as it was shown at registration, its prefix included"
            }
            Self::Stale { .. } => {
                "compare the two clocks; a request that was kept is verified with the time at which it came"
            }
            Self::KeyForm(_) => {
                "take the secret's bytes as the profile's `secret.key` says, on both sides"
            }
            Self::BodyChanged(_) => {
                "verify the bytes as they came, before a parser, a framework or an editor touches them"
            }
            Self::Mismatch => {
                "compare the secret with the one that the webhook's registration showed; after a rotation \
                 it is another one"
            }
        }
    }
}

/// What one of the profile's own headers says in the place of `field`, such as the event's id; `None` where
/// the profile sends no such header, or this request has it not in that form.
#[must_use]
pub fn own_field(profile: &Profile, headers: &HeaderMap, field: Field) -> Option<String> {
    let rules = profile.headers.iter();
    let mut carriers = rules.filter(|rule| rule.value.count(field) > 0);
    carriers.find_map(|rule| {
        let text = headers.get(&rule.name)?.to_str().ok()?;
        let reading = Reading::of(&rule.value, text, 0)?;
        reading.text(field).map(str::to_owned)
    })
}

/// Verifies a request as a receiver that holds `secret` would: every signature for which it holds a key. For
/// an ed25519 signature that is the public key, `whpk_…` (or the private one, `whsk_…`); where HMAC and ed25519
/// both sign, `secret` may be either one or both with a space between.
///
/// # Errors
/// [`VerifyError`] says why the request is not to be trusted.
pub fn verify(
    profile: &Profile,
    secret: &str,
    headers: &HeaderMap,
    body: &[u8],
    now: UnixMillis,
) -> Result<Verified, VerifyError> {
    let mut keyed = Vec::with_capacity(profile.signatures.len());
    for rule in &profile.signatures {
        if let Some(part) = profile.secret.part(rule.key, secret) {
            let key = key::proper(rule.key, part).map_err(VerifyError::SecretMalformed)?;
            keyed.push((rule, part, key));
        }
    }
    if keyed.is_empty() {
        return Err(VerifyError::NothingSigned);
    }
    let own = own_headers(profile, headers)?;
    let mut verified = Verified {
        timestamp_s: own.timestamp_s(),
        id: own.text(Field::Id).map(str::to_owned),
    };
    for (rule, secret, key) in keyed {
        let candidates = candidates(profile, rule, headers, &own)?;
        if !any_matches(rule, &candidates, &key, body) {
            return Err(explain(rule, &candidates, secret, body));
        }
        let signed_s = candidates.iter().find_map(Reading::timestamp_s);
        verified.timestamp_s = verified.timestamp_s.or(signed_s);
    }
    let now_s = now.seconds();
    match verified.timestamp_s {
        Some(timestamp_s) if timestamp_s.abs_diff(now_s) > TOLERANCE_S => {
            Err(VerifyError::Stale { timestamp_s, now_s })
        }
        _ => Ok(verified),
    }
}

/// What the profile's own headers say (`webhook-id`, `webhook-timestamp`).
fn own_headers(profile: &Profile, headers: &HeaderMap) -> Result<Reading, VerifyError> {
    let mut all = Reading::default();
    for rule in &profile.headers {
        let carries = |field| rule.value.count(field) > 0;
        if !carries(Field::Id) && !carries(Field::Timestamp) || carries(Field::Retry) {
            continue; // it says nothing that a signature needs
        }
        let text = one(headers, rule.name.as_str())?;
        match Reading::of(&rule.value, text, 0) {
            Some(reading) => all.add(reading),
            None => return Err(malformed(rule.name.as_str(), &rule.value)),
        }
    }
    Ok(all)
}

/// The signatures that the header of `rule` offers, each with what else its value says.
fn candidates(
    profile: &Profile,
    rule: &SignatureRule,
    headers: &HeaderMap,
    own: &Reading,
) -> Result<Vec<Reading>, VerifyError> {
    let text = one(headers, rule.header_name.as_str())?;
    let bytes = match rule.algorithm {
        Algorithm::HmacSha256 => 32,
        Algorithm::Ed25519 => ed25519::BYTES,
    };
    let readings: Option<Vec<Reading>> = if profile.is_list(&rule.header_name) {
        // A list may hold signatures of versions that are not known here: they are passed over.
        let all = text.split(' ');
        let known = all.filter_map(|value| Reading::of(&rule.value, value, bytes));
        Some(known.collect::<Vec<_>>()).filter(|readings| !readings.is_empty())
    } else {
        Reading::of(&rule.value, text, bytes).map(|reading| vec![reading])
    };
    let mut readings = readings.ok_or_else(|| malformed(&rule.header, &rule.value))?;
    for reading in &mut readings {
        reading.add(own.clone());
        if reading.signature().is_none() {
            return Err(malformed(&rule.header, &rule.value));
        }
    }
    Ok(readings)
}

fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, VerifyError> {
    let mut values = headers.get_all(name).iter();
    let value = values
        .next()
        .ok_or_else(|| VerifyError::HeaderMissing(name.to_owned()))?;
    if values.next().is_some() {
        return Err(VerifyError::HeaderRepeated(name.to_owned()));
    }
    value.to_str().map_err(|_| VerifyError::Malformed {
        header: name.to_owned(),
        expected: "printable ASCII".to_owned(),
    })
}

fn malformed(header: &str, template: &crate::profile::Template) -> VerifyError {
    VerifyError::Malformed {
        header: header.to_owned(),
        expected: reading::form(template),
    }
}

/// Whether one of the offered signatures is that of `body` under `key`. All are compared.
fn any_matches(rule: &SignatureRule, offered: &[Reading], key: &[u8], body: &[u8]) -> bool {
    offered.iter().fold(false, |matched, reading| {
        let signed = signed_bytes(rule, reading, body);
        let equal = reading
            .signature()
            .is_some_and(|given| matches(rule.algorithm, key, &signed, &given));
        matched | equal
    })
}

fn matches(algorithm: Algorithm, key: &[u8], signed: &[u8], given: &[u8]) -> bool {
    match algorithm {
        Algorithm::HmacSha256 => {
            let mac = Hmac::<Sha256>::new_from_slice(key);
            let mac = mac.expect("HMAC takes a key of any length");
            let expected = mac.chain_update(signed).finalize().into_bytes();
            bool::from(given.ct_eq(&expected))
        }
        Algorithm::Ed25519 => ed25519::matches(key, signed, given),
    }
}

fn signed_bytes(rule: &SignatureRule, reading: &Reading, body: &[u8]) -> Vec<u8> {
    let mut signed = Vec::with_capacity(body.len() + 64);
    for piece in rule.signed.pieces() {
        match piece {
            Piece::Text(text) => signed.extend_from_slice(text.as_bytes()),
            Piece::Field(Field::Body) => signed.extend_from_slice(body),
            Piece::Field(field) => {
                signed.extend_from_slice(reading.text(*field).unwrap_or_default().as_bytes());
            }
        }
    }
    signed
}

/// Tries the usual mistakes, and names the first that explains the signature.
fn explain(rule: &SignatureRule, offered: &[Reading], secret: &str, body: &[u8]) -> VerifyError {
    for (how, key) in key::others(rule.key, secret) {
        if any_matches(rule, offered, &key, body) {
            return VerifyError::KeyForm(how);
        }
    }
    let Ok(key) = key::proper(rule.key, secret) else {
        return VerifyError::Mismatch;
    };
    for (how, body) in other_bodies(body) {
        if any_matches(rule, offered, &key, &body) {
            return VerifyError::BodyChanged(how);
        }
    }
    VerifyError::Mismatch
}

/// Bodies that `body` may have been before a framework or an editor touched it.
fn other_bodies(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut bodies = Vec::new();
    let trimmed = body.trim_ascii();
    if trimmed.len() < body.len() {
        bodies.push(("without the white space around it", trimmed.to_vec()));
    }
    let text = std::str::from_utf8(body).ok();
    if let Some(normalised) = text.and_then(|text| ecma::normalise(text).ok())
        && normalised.text.as_bytes() != body
    {
        let how =
            "the compact JSON of the same value; verify the raw bytes, before they are parsed";
        bodies.push((how, normalised.text.into_bytes()));
    }
    bodies
}
