//! The keys that a secret's text can be read as, the right way and the usual wrong ways.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::profile::KeyForm;

use super::ed25519;

const PREFIX: &str = "whsec_";
/// Takes base64 with and without padding, as receivers' libraries do.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

type Key = Zeroizing<Vec<u8>>;

/// The key as the profile reads it.
pub(super) fn proper(form: KeyForm, secret: &str) -> Result<Key, &'static str> {
    match form {
        KeyForm::Utf8 => Ok(text(secret)),
        KeyForm::WhsecBase64 => {
            let encoded = secret.strip_prefix(PREFIX);
            let encoded = encoded.ok_or("it does not start with whsec_")?;
            decoded(encoded).ok_or("what stands behind whsec_ is not base64")
        }
        KeyForm::WhskBase64 => {
            const NO_KEY: &str = "what stands behind whpk_ or whsk_ is not the base64 of a key";
            if let Some(public) = secret.strip_prefix("whpk_") {
                return decoded(public).filter(|key| key.len() == 32).ok_or(NO_KEY);
            }
            let private = secret.strip_prefix("whsk_");
            let private = decoded(private.ok_or("it starts neither with whpk_ nor with whsk_")?);
            let public = private.and_then(|private| ed25519::public_of(&private));
            public.map(|key| Zeroizing::new(key.to_vec())).ok_or(NO_KEY)
        }
    }
}

/// The other readings of the same text, each with what must be done to get it.
pub(super) fn others(form: KeyForm, secret: &str) -> Vec<(&'static str, Key)> {
    if form == KeyForm::WhskBase64 {
        return Vec::new(); // a private key cannot be used in two ways
    }
    let bare = secret.strip_prefix(PREFIX);
    let mut keys = Vec::new();
    if form != KeyForm::Utf8 {
        keys.push((
            "the secret's text is the key, not base64-decoded",
            text(secret),
        ));
    }
    if form != KeyForm::WhsecBase64 {
        let key = bare.and_then(decoded);
        keys.extend(key.map(|key| {
            let how = "the secret behind whsec_ is base64-decoded; here the whole text is the key";
            (how, key)
        }));
    }
    if let Some(bare) = bare {
        keys.push(("the prefix whsec_ is stripped from the secret", text(bare)));
    }
    let key = decoded(secret);
    keys.extend(key.map(|key| ("the whole secret is base64-decoded", key)));
    let trimmed = secret.trim();
    if trimmed != secret {
        keys.extend(proper(form, trimmed).ok().map(|key| {
            let how = "the white space around the secret is removed";
            (how, key)
        }));
    }
    keys
}

fn text(secret: &str) -> Key {
    Zeroizing::new(secret.as_bytes().to_vec())
}

fn decoded(text: &str) -> Option<Key> {
    let key = LENIENT.decode(text).ok()?;
    (!key.is_empty()).then(|| Zeroizing::new(key))
}
