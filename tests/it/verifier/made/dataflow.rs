//! Verifies that a request comes from who holds the webhook's secret. For the profile "dataflow": the header
//! X-DataFlow-Signature has the form `t=<timestamp>,v1=<hex>`.
//!
//! Needs the crates hmac 0.13, sha2 0.11. Hand over the body's bytes as they came,
//! before any parser has read them:
//!
//! ```ignore
//! // axum: `headers: HeaderMap, body: Bytes`
//! let header = |name: &str| headers.get(name)?.to_str().ok();
//! let secrets = std::env::var("WEBHOOK_SECRET")?;
//! let secrets: Vec<&str> = secrets.split(' ').collect();
//! let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
//! verify(&body, header, &secrets, now_s)?; // answer 401 otherwise, and 200 before the work begins
//! ```

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How far the signed time may be from this machine's clock, seconds.
const TOLERANCE_S: u64 = 300;
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
    now_s: u64,
) -> Result<(), Refused> {
    let line = header("x-dataflow-signature").ok_or(Refused("the header X-DataFlow-Signature is missing"))?;
    let offers = [read(line).ok_or(Refused("the header X-DataFlow-Signature has not the form t=<timestamp>,v1=<hex>"))?];
    for offer in offers {
        let mut signed = Vec::with_capacity(body.len() + 128);
        signed.extend_from_slice(offer.timestamp.as_bytes());
        signed.extend_from_slice(b".");
        signed.extend_from_slice(body);
        let mut matched = false;
        for secret in secrets {
            matched |= matches(&signed, &offer.signature, secret)?;
        }
        if matched {
            let at_s: u64 = offer.timestamp
                .parse()
                .map_err(|_| Refused("the signed time is no number"))?;
            if at_s.abs_diff(now_s) > TOLERANCE_S {
                return Err(Refused("the signed time is too far from now"));
            }
            return Ok(());
        }
    }
    Err(Refused("the signature does not match"))
}

/// What a value of the header says.
struct Offer<'h> {
    timestamp: &'h str,
    signature: Vec<u8>,
}

/// Reads `t=<timestamp>,v1=<hex>`.
fn read(value: &str) -> Option<Offer<'_>> {
    let rest = value.strip_prefix("t=")?;
    let (timestamp, rest) = rest.split_once(",v1=")?;
    let signature = rest;
    let signature = unhex(signature)?;
    (signature.len() == SIGNATURE_BYTES).then_some(Offer { timestamp, signature })
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
