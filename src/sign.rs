//! Signatures and headers: a profile's rules, a body and a secret make the headers of one attempt.
//!
//! Pure: the time and the attempt's number are handed in, nothing is read or sent. A secret leaves this
//! module only as a key into an HMAC or an ed25519 signature. A receiver's side of the same rules is `verify`, which shares
//! nothing with this but the profile.

mod ed25519;
mod header;
mod hmac_sha256;
mod secret;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderName, HeaderValue};

pub use header::{HEADERS_MAX, HeaderError, check_header, reserved_headers};
pub use secret::SecretError;

use crate::model::Secret;
use crate::profile::{Field, HeaderRule, Piece, Profile, SecretRules, SignatureRule, Template};

/// What is known of one attempt besides its body.
#[derive(Clone, Copy, Debug)]
pub struct SignContext<'a> {
    /// The event's id: the same on every attempt.
    pub id: &'a str,
    /// The event's type.
    pub event_type: &'a str,
    /// The wall clock at this attempt, whole seconds since 1970.
    pub timestamp_s: u64,
    /// The attempt's number, from 1.
    pub attempt: u32,
}

/// A request that cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The profile signs every request, and the webhook has no secret.
    #[error("the profile requires a signature and the webhook has no secret")]
    SecretMissing,
    /// The stored secret has not the form that the profile's key needs.
    #[error("the secret does not fit the profile: {0}")]
    Secret(#[from] SecretError),
    /// A value is not one that HTTP can carry.
    #[error("the header `{0}` would have a value that HTTP cannot carry")]
    HeaderValue(HeaderName),
}

/// A profile's signature rules, ready for use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Signer {
    rules: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    headers: Vec<HeaderRule>,
    signatures: Vec<SignatureRule>,
    secret: SecretRules,
}

impl Signer {
    /// Takes a profile's rules.
    #[must_use]
    pub fn compile(profile: &Profile) -> Self {
        let rules = Rules {
            headers: profile.headers.clone(),
            signatures: profile.signatures.clone(),
            secret: profile.secret.clone(),
        };
        Self {
            rules: Arc::new(rules),
        }
    }

    /// The headers that the profile adds to a request with this `body`: its own, then its signatures, one
    /// header line for each name. `secrets` are the newest first, and so are the signatures of a line, with
    /// one space between. Without a secret there are no signatures, where the profile allows that. An older
    /// secret that does not fit the profile any more signs nothing: whoever has only that one could not
    /// verify by this profile anyway.
    ///
    /// # Errors
    /// [`SignError`] where a secret is missing or malformed, or a value cannot stand in a header.
    pub fn sign(
        &self,
        body: &[u8],
        context: &SignContext<'_>,
        secrets: &[&Secret],
    ) -> Result<Vec<(HeaderName, HeaderValue)>, SignError> {
        let rules = &*self.rules;
        let count = rules.headers.len() + rules.signatures.len();
        let mut headers = Vec::with_capacity(count);
        for rule in &rules.headers {
            if context.attempt <= 1 && rule.value.count(Field::Retry) > 0 {
                continue;
            }
            headers.push((rule.name.clone(), own_value(rule, context)?));
        }
        if secrets.is_empty() && rules.secret.required && !rules.signatures.is_empty() {
            return Err(SignError::SecretMissing);
        }
        for (age, secret) in secrets.iter().enumerate() {
            for rule in &rules.signatures {
                let key = match rules.key(rule, secret) {
                    Ok(key) => key,
                    Err(_) if age > 0 => continue,
                    Err(error) => return Err(error.into()),
                };
                let value = signature(rule, &key, body, context)?;
                let lines = headers.get_mut(rules.headers.len()..).unwrap_or_default();
                match lines.iter_mut().find(|(name, _)| *name == rule.header_name) {
                    Some((name, line)) => *line = joined(name, line, &value)?,
                    None => headers.push((rule.header_name.clone(), value)),
                }
            }
        }
        Ok(headers)
    }
}

impl Rules {
    fn key(&self, rule: &SignatureRule, secret: &Secret) -> Result<secret::Key, SecretError> {
        let part = self.secret.part(rule.key, secret.expose());
        secret::key(rule.key, part.ok_or(SecretError::Parts)?)
    }
}

/// Two values of one header line.
fn joined(
    name: &HeaderName,
    line: &HeaderValue,
    value: &HeaderValue,
) -> Result<HeaderValue, SignError> {
    let bytes = [line.as_bytes(), b" ", value.as_bytes()].concat();
    HeaderValue::from_maybe_shared(bytes::Bytes::from(bytes))
        .map_err(|_| SignError::HeaderValue(name.clone()))
}

fn own_value(rule: &HeaderRule, context: &SignContext<'_>) -> Result<HeaderValue, SignError> {
    if let Some(constant) = &rule.constant {
        return Ok(constant.clone());
    }
    let text = fill(&rule.value, context, &[]);
    HeaderValue::try_from(text).map_err(|_| SignError::HeaderValue(rule.name.clone()))
}

fn signature(
    rule: &SignatureRule,
    key: &secret::Key,
    body: &[u8],
    context: &SignContext<'_>,
) -> Result<HeaderValue, SignError> {
    let digest = match key {
        secret::Key::Hmac(key) => {
            let mut mac = hmac_sha256::Mac::new(key);
            signed(rule, body, context, |bytes| mac.update(bytes));
            mac.finish().to_vec()
        }
        secret::Key::Ed25519(key) => {
            // It goes over the message twice (RFC 8032, 5.1.6), so the message must be in one piece.
            let mut message = Vec::with_capacity(body.len() + 128);
            signed(rule, body, context, |bytes| {
                message.extend_from_slice(bytes);
            });
            key.sign(&message).to_vec()
        }
    };
    let text = fill(&rule.value, context, &digest);
    HeaderValue::try_from(text).map_err(|_| SignError::HeaderValue(rule.header_name.clone()))
}

/// Hands over the signed bytes, piece by piece.
fn signed(
    rule: &SignatureRule,
    body: &[u8],
    context: &SignContext<'_>,
    mut take: impl FnMut(&[u8]),
) {
    for piece in rule.signed.pieces() {
        match piece {
            Piece::Text(text) => take(text.as_bytes()),
            Piece::Field(Field::Body) => take(body),
            Piece::Field(field) => take(field_text(*field, context, &[]).as_bytes()),
        }
    }
}

fn fill(template: &Template, context: &SignContext<'_>, digest: &[u8]) -> String {
    let mut text = String::with_capacity(96);
    for piece in template.pieces() {
        match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Field(field) => text.push_str(&field_text(*field, context, digest)),
        }
    }
    text
}

/// A field's text; the body's place is in the signed bytes alone, and the profile's check holds it there.
fn field_text(field: Field, context: &SignContext<'_>, digest: &[u8]) -> String {
    match field {
        Field::Id => context.id.to_owned(),
        Field::Timestamp => context.timestamp_s.to_string(),
        Field::Type => context.event_type.to_owned(),
        Field::Attempt => context.attempt.to_string(),
        Field::Retry => context.attempt.saturating_sub(1).to_string(),
        Field::Hex => lower_hex(digest),
        Field::Base64 => BASE64.encode(digest),
        Field::Body => String::new(),
    }
}

fn lower_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).expect("four bits are a digit");
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)])
        .collect()
}
