//! Signing secrets: generating them, checking those that are given, and the key that one stands for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use crate::model::Secret;
use crate::profile::{KeyForm, Random, SecretRules};

/// The prefix of Standard Webhooks secrets.
const PREFIX: &str = "whsec_";
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
        let mut text = String::with_capacity(128);
        text.push_str(&self.generate.prefix);
        match self.generate.random {
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
                BASE64.encode_string(&*bytes, &mut text);
            }
        }
        Ok(Secret::new(text))
    }

    /// Checks a secret that somebody gives.
    ///
    /// # Errors
    /// [`SecretError`] says what a secret looks like here.
    pub fn check(&self, text: &str) -> Result<Secret, SecretError> {
        if !(TEXT_BYTES_MIN..=TEXT_BYTES_MAX).contains(&text.len()) {
            return Err(SecretError::Length(text.len()));
        }
        if !text.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
            return Err(SecretError::Character);
        }
        let secret = Secret::new(text.to_owned());
        key(self.key, &secret)?;
        Ok(secret)
    }
}

/// The HMAC key that `secret` stands for.
pub(super) fn key(form: KeyForm, secret: &Secret) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let text = secret.expose();
    match form {
        KeyForm::Utf8 => Ok(Zeroizing::new(text.as_bytes().to_vec())),
        KeyForm::WhsecBase64 => {
            let encoded = text.strip_prefix(PREFIX).ok_or(SecretError::Base64)?;
            let key = BASE64.decode(encoded).map_err(|_| SecretError::Base64)?;
            if KEY_BYTES.contains(&key.len()) {
                Ok(Zeroizing::new(key))
            } else {
                Err(SecretError::KeyLength(key.len()))
            }
        }
    }
}

fn fill(bytes: &mut [u8]) -> Result<(), SecretError> {
    getrandom::fill(bytes).map_err(|error| SecretError::Random(error.to_string()))
}
