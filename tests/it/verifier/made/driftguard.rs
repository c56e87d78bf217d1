//! Verifies that a request comes from who holds the webhook's secret. For the profile "driftguard": the header
//! X-DriftGuard-Signature has the form `<hex>`.
//!
//! Needs the crates hmac 0.13, sha2 0.11. Hand over the body's bytes as they came,
//! before any parser has read them:
//!
//! ```ignore
//! // axum: `headers: HeaderMap, body: Bytes`
//! let header = |name: &str| headers.get(name)?.to_str().ok();
//! let secrets = std::env::var("WEBHOOK_SECRET")?;
//! let secrets: Vec<&str> = secrets.split(' ').collect();
//! verify(&body, header, &secrets)?; // answer 401 otherwise, and 200 before the work begins
//! ```

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 32;

/// Why a request is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub &'static str);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Refused {}

/// Takes a request that was signed with one of these secrets.
/// Give the webhook's secret; while it is rotated, the new and the old one.
///
/// # Errors
/// Says why the request is not to be trusted.
pub fn verify<'h>(
    body: &[u8],
    header: impl Fn(&str) -> Option<&'h str>,
    secrets: &[&str],
) -> Result<(), Refused> {
    let line = header("x-driftguard-signature").ok_or(Refused("the header X-DriftGuard-Signature is missing"))?;
    let offers = [read(line).ok_or(Refused("the header X-DriftGuard-Signature has not the form <hex>"))?];
    for offer in offers {
        let mut signed = Vec::with_capacity(body.len() + 128);
        signed.extend_from_slice(body);
        let mut matched = false;
        for secret in secrets {
            matched |= matches(&signed, &offer.signature, secret)?;
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

fn matches(signed: &[u8], signature: &[u8], secret: &str) -> Result<bool, Refused> {
    let key = secret.as_bytes();
    if key.is_empty() {
        return Err(Refused("the secret is empty"));
    }
    let mac = Hmac::<Sha256>::new_from_slice(key);
    let mac = mac.expect("HMAC takes a key of any length");
    // In constant time.
    Ok(mac.chain_update(signed).verify_slice(signature).is_ok())
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
