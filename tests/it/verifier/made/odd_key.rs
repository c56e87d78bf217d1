//! Verifies that a request comes from who holds the webhook's secret. For the profile "odd_key": the header
//! X-Odd-Key has the form `<hex>`.
//!
//! Needs the crates ed25519-dalek 3, base64 0.22 or newer. Hand over the body's bytes as they came,
//! before any parser has read them:
//!
//! ```ignore
//! // axum: `headers: HeaderMap, body: Bytes`
//! let header = |name: &str| headers.get(name)?.to_str().ok();
//! let public_keys = std::env::var("WEBHOOK_PUBLIC_KEY")?;
//! let public_keys: Vec<&str> = public_keys.split(' ').collect();
//! verify(&body, header, &public_keys)?; // answer 401 otherwise, and 200 before the work begins
//! ```

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};

/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 64;

/// Why a request is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub &'static str);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Refused {}

/// Takes a request that was signed with one of these public keys.
/// Give the webhook's public key; while it is rotated, the new and the old one.
///
/// # Errors
/// Says why the request is not to be trusted.
pub fn verify<'h>(
    body: &[u8],
    header: impl Fn(&str) -> Option<&'h str>,
    public_keys: &[&str],
) -> Result<(), Refused> {
    let line = header("x-odd-key").ok_or(Refused("the header X-Odd-Key is missing"))?;
    let offers = [read(line).ok_or(Refused("the header X-Odd-Key has not the form <hex>"))?];
    for offer in offers {
        let mut signed = Vec::with_capacity(body.len() + 128);
        signed.extend_from_slice(body);
        let mut matched = false;
        for public_key in public_keys {
            matched |= matches(&signed, &offer.signature, public_key)?;
        }
        if matched {
            return Ok(());
        }
    }
    Err(Refused("the signature does not match"))
}

/// What a value of the header says.
struct Offer {
    signature: Vec<u8>,
}

/// Reads `<hex>`.
fn read(value: &str) -> Option<Offer> {
    let signature = value;
    let signature = unhex(signature)?;
    (signature.len() == SIGNATURE_BYTES).then_some(Offer { signature })
}

fn matches(signed: &[u8], signature: &[u8], public_key: &str) -> Result<bool, Refused> {
    let malformed = Refused("a public key is whpk_ and the base64 of 32 bytes");
    let encoded = public_key.strip_prefix("whpk_").ok_or(malformed)?;
    let key = STANDARD.decode(encoded).map_err(|_| malformed)?;
    let key = <[u8; 32]>::try_from(key).map_err(|_| malformed)?;
    let key = VerifyingKey::from_bytes(&key).map_err(|_| malformed)?;
    let signature = Signature::from_slice(signature);
    Ok(signature.is_ok_and(|signature| key.verify_strict(signed, &signature).is_ok()))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}
