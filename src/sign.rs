//! Signatures and headers: a profile's rules, a body and a secret make the headers of one attempt.
//!
//! Pure: the time and the attempt's number are handed in, nothing is read or sent. A secret leaves this
//! module only as a key into an HMAC. A receiver's side of the same rules is `verify`, which shares
//! nothing with this but the profile.

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
use crate::profile::{
    Algorithm, Field, HeaderRule, KeyForm, Piece, Profile, SignatureRule, Template,
};

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
    key: KeyForm,
    secret_required: bool,
}

impl Signer {
    /// Takes a profile's rules.
    #[must_use]
    pub fn compile(profile: &Profile) -> Self {
        let rules = Rules {
            headers: profile.headers.clone(),
            signatures: profile.signatures.clone(),
            key: profile.secret.key,
            secret_required: profile.secret.required,
        };
        Self {
            rules: Arc::new(rules),
        }
    }

    /// The headers that the profile adds to a request with this `body`: its own, then its signatures.
    /// Without a secret there are no signatures, where the profile allows that.
    ///
    /// # Errors
    /// [`SignError`] where a secret is missing or malformed, or a value cannot stand in a header.
    pub fn sign(
        &self,
        body: &[u8],
        context: &SignContext<'_>,
        secret: Option<&Secret>,
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
        match secret {
            Some(secret) => {
                let key = secret::key(rules.key, secret)?;
                for rule in &rules.signatures {
                    headers.push((
                        rule.header_name.clone(),
                        signature(rule, &key, body, context)?,
                    ));
                }
            }
            None if rules.secret_required && !rules.signatures.is_empty() => {
                return Err(SignError::SecretMissing);
            }
            None => {}
        }
        Ok(headers)
    }
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
    key: &[u8],
    body: &[u8],
    context: &SignContext<'_>,
) -> Result<HeaderValue, SignError> {
    let digest = match rule.algorithm {
        Algorithm::HmacSha256 => {
            let mut mac = hmac_sha256::Mac::new(key);
            for piece in rule.signed.pieces() {
                match piece {
                    Piece::Text(text) => mac.update(text.as_bytes()),
                    Piece::Field(Field::Body) => mac.update(body),
                    Piece::Field(field) => mac.update(field_text(*field, context, &[]).as_bytes()),
                }
            }
            mac.finish()
        }
    };
    let text = fill(&rule.value, context, &digest);
    HeaderValue::try_from(text).map_err(|_| SignError::HeaderValue(rule.header_name.clone()))
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
