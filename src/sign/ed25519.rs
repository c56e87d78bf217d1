//! ed25519 signatures (RFC 8032, PureEdDSA), as `v1a` of Standard Webhooks has them.

use ed25519_dalek::Signer as _;
use zeroize::Zeroizing;

/// A private key; wiped when dropped.
pub(super) struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// From a seed of 32 bytes, or from the seed and its public key, 64 bytes. `None` for another length, or
    /// where the two do not belong together.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        if let Ok(seed) = <[u8; 32]>::try_from(bytes).map(Zeroizing::new) {
            return Some(Self(ed25519_dalek::SigningKey::from_bytes(&seed)));
        }
        let pair = Zeroizing::new(<[u8; 64]>::try_from(bytes).ok()?);
        let key = ed25519_dalek::SigningKey::from_keypair_bytes(&pair);
        key.ok().map(Self)
    }

    pub(super) fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}
