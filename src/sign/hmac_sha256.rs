//! HMAC (RFC 2104) with SHA-256, fed piece by piece so that no body is copied for it.

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

/// A computation under way.
pub(super) struct Mac(Hmac<Sha256>);

impl Mac {
    pub(super) fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finalize().into_bytes().into()
    }
}
