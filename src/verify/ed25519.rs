//! ed25519 on the receiver's side: the public key, and the check of a signature (RFC 8032).

use ed25519_dalek::{Signature, SigningKey, VerifyingKey};

/// Bytes of a signature.
pub(super) const BYTES: usize = Signature::BYTE_SIZE;

/// The public key to a private one: a seed of 32 bytes, or the seed and the public key.
pub(super) fn public_of(private: &[u8]) -> Option<[u8; 32]> {
    let seed: &[u8; 32] = private.first_chunk()?;
    let public = SigningKey::from_bytes(seed).verifying_key().to_bytes();
    match private.get(32..)? {
        [] => Some(public),
        claimed => (claimed == public).then_some(public),
    }
}

/// Whether `given` is a signature of `message` by the holder of this public key. Points of small order,
/// under which signatures would fit many messages, are refused.
pub(super) fn matches(public: &[u8], message: &[u8], given: &[u8]) -> bool {
    let public = <[u8; 32]>::try_from(public).ok();
    let public = public.and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
    match (public, Signature::from_slice(given)) {
        (Some(public), Ok(given)) => public.verify_strict(message, &given).is_ok(),
        _ => false,
    }
}
