//! Signing secrets: generating them, checking those that are given, and the key that one stands for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use crate::model::Secret;
use crate::profile::{Generate, KeyForm, Random, SecretRules};

use super::ed25519::SigningKey;

/// The prefix of Standard Webhooks secrets.
const PREFIX: &str = "whsec_";
/// The prefixes of its ed25519 secrets and public keys.
const SIGNING_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";
/// A given secret is at least this long: what the products' own pages show has 16 and more.
const TEXT_BYTES_MIN: usize = 8;
/// No secret needs more; HMAC hashes a key over 64 bytes down anyway.
const TEXT_BYTES_MAX: usize = 256;
/// Key sizes of Standard Webhooks 1.0, bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Random bytes below this map onto the alphabet evenly (4 x 62); others are thrown away.
const EVEN_BELOW: u8 = 248;

/// A secret that a profile cannot use. No message quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Too short or too long.
    #[error("a secret has {TEXT_BYTES_MIN} to {TEXT_BYTES_MAX} characters, not {0}")]
    Length(usize),
    /// A character that is not printable ASCII.
    #[error("a secret is printable ASCII without spaces")]
    Character,
    /// Not base64 behind the prefix.
    #[error("a secret here is `whsec_` and then base64 (with padding)")]
    Base64,
    /// A key of a wrong size.
    #[error("the base64 behind `whsec_` stands for 24 to 64 bytes, not {0}")]
    KeyLength(usize),
    /// Not an ed25519 secret.
    #[error(
        "an ed25519 secret is `whsk_` and then the base64 (with padding) of a seed of 32 bytes, or of the \
         seed and its public key, 64 bytes"
    )]
    Ed25519,
    /// Not as many secrets as the profile's signatures need.
    #[error(
        "a secret here is two, one space between: the HMAC secret, then the ed25519 one, `whsk_…`"
    )]
    Parts,
    /// The system gave no random bytes.
    #[error("the system's random number source failed: {0}")]
    Random(String),
}

impl SecretRules {
    /// Makes a new secret from the system's random numbers.
    ///
    /// # Errors
    /// [`SecretError::Random`] where the system has none.
    pub fn generate(&self) -> Result<Secret, SecretError> {
        // With room for both parts, so that no copy of it is left behind where it grew.
        let mut text = String::with_capacity(2 * TEXT_BYTES_MAX + 1);
        for (at, part) in self.generate.iter().enumerate() {
            if at > 0 {
                text.push(' ');
            }
            generate_part(part, &mut text)?;
        }
        Ok(Secret::new(text))
    }

    /// The public key that receivers verify with, `whpk_` and its base64, where a signature is ed25519.
    #[must_use]
    pub fn public_key(&self, secret: &Secret) -> Option<String> {
        if !self.keys.contains(&KeyForm::WhskBase64) {
            return None;
        }
        let part = self.part(KeyForm::WhskBase64, secret.expose())?;
        match key(KeyForm::WhskBase64, part) {
            Ok(Key::Ed25519(key)) => {
                Some(format!("{PUBLIC_PREFIX}{}", BASE64.encode(key.public())))
            }
            Ok(Key::Hmac(_)) | Err(_) => None,
        }
    }

    /// Checks a secret that somebody gives.
    ///
    /// # Errors
    /// [`SecretError`] says what a secret looks like here.
    pub fn check(&self, text: &str) -> Result<Secret, SecretError> {
        for form in &self.keys {
            let part = self.part(*form, text).ok_or(SecretError::Parts)?;
            if !(TEXT_BYTES_MIN..=TEXT_BYTES_MAX).contains(&part.len()) {
                return Err(SecretError::Length(part.len()));
            }
            if !part.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
                return Err(SecretError::Character);
            }
            key(*form, part)?;
        }
        Ok(Secret::new(text.to_owned()))
    }
}

/// A key, ready to sign.
pub(super) enum Key {
    Hmac(Zeroizing<Vec<u8>>),
    Ed25519(Box<SigningKey>),
}

/// The key that `text`, a secret's part for it, stands for.
pub(super) fn key(form: KeyForm, text: &str) -> Result<Key, SecretError> {
    match form {
        KeyForm::Utf8 => Ok(Key::Hmac(Zeroizing::new(text.as_bytes().to_vec()))),
        KeyForm::WhsecBase64 => {
            let encoded = text.strip_prefix(PREFIX).ok_or(SecretError::Base64)?;
            let key = Zeroizing::new(BASE64.decode(encoded).map_err(|_| SecretError::Base64)?);
            if KEY_BYTES.contains(&key.len()) {
                Ok(Key::Hmac(key))
            } else {
                Err(SecretError::KeyLength(key.len()))
            }
        }
        KeyForm::WhskBase64 => {
            let encoded = text.strip_prefix(SIGNING_PREFIX);
            let decoded = encoded.and_then(|encoded| BASE64.decode(encoded).ok());
            let bytes = Zeroizing::new(decoded.ok_or(SecretError::Ed25519)?);
            let key = SigningKey::read(&bytes).ok_or(SecretError::Ed25519)?;
            Ok(Key::Ed25519(Box::new(key)))
        }
    }
}

fn generate_part(part: &Generate, text: &mut String) -> Result<(), SecretError> {
    text.push_str(&part.prefix);
    match part.random {
        Random::Alphanumeric(count) => {
            let mut block = Zeroizing::new([0_u8; 64]);
            let end = text.len() + count;
            while text.len() < end {
                fill(&mut *block)?;
                let even = block.iter().filter(|byte| **byte < EVEN_BELOW);
                let letters = even.filter_map(|byte| ALPHABET.get(usize::from(byte % 62)));
                text.extend(letters.take(end - text.len()).map(|b| char::from(*b)));
            }
        }
        Random::Base64(count) => {
            let mut bytes = Zeroizing::new(vec![0_u8; count]);
            fill(&mut bytes)?;
            BASE64.encode_string(&*bytes, text);
        }
    }
    Ok(())
}

fn fill(bytes: &mut [u8]) -> Result<(), SecretError> {
    getrandom::fill(bytes).map_err(|error| SecretError::Random(error.to_string()))
}
