//! Secrets at rest: a webhook's secrets as the disk has them, sealed under the operator's master key.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) with a random nonce for each secret. What is authenticated besides
//! is the account, the webhook, and the place of the secret in it, so a sealed text that is moved elsewhere does not
//! open. A sealed text names its key, so keys can follow one another: the first one seals, all of them open. Without a
//! key secrets are stored as they are.
//!
//! The store knows nothing of this: it keeps texts. So copies, checks and repairs need no key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::model::{Secret, Webhook};

const SEALED: &str = Secret::SEALED;
/// How the text of a master key begins.
const KEY_TEXT: &str = "hwmk_";
const NONCE_BYTES: usize = 24;

/// A master key.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    name: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl MasterKey {
    /// Reads the text that [`MasterKey::generate`] makes.
    ///
    /// # Errors
    /// Says what it should be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "a master key is `hwmk_` and 64 hexadecimal digits".to_owned();
        let digits = text.strip_prefix(KEY_TEXT).ok_or_else(wrong)?;
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        let mut bytes = Zeroizing::new([0; 32]);
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(wrong());
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let digit = |c: u8| char::from(c).to_digit(16).ok_or_else(wrong);
            let [high, low] = *pair;
            *byte = u8::try_from(digit(high)? * 16 + digit(low)?).map_err(|_| wrong())?;
        }
        let mut hash = Sha256::new();
        hash.update(b"the name of a master key\0");
        hash.update(bytes.as_slice());
        let name = hash
            .finalize()
            .iter()
            .take(4)
            .fold(String::new(), |mut name, byte| {
                name.push_str(&format!("{byte:02x}"));
                name
            });
        Ok(Self { name, bytes })
    }

    /// The text of a new key.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn generate() -> Result<Secret, VaultError> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        random(bytes.as_mut_slice())?;
        // Enough for all of it, so that no half of it is left behind where the text grew.
        let mut text = String::with_capacity(KEY_TEXT.len() + 64);
        text.push_str(KEY_TEXT);
        for byte in bytes.iter() {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        Ok(Secret::new(text))
    }

    /// A name for logs, made from the key by a hash; it says nothing of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.name)
    }
}

/// The keys that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vault {
    seals: Option<MasterKey>,
    opens: Vec<MasterKey>,
}

/// Why a webhook's secrets cannot be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// A secret that was given looks like a sealed one.
    #[error("{slot} begins with `{SEALED}`, as no secret may; choose another one")]
    Reserved {
        /// Which secret.
        slot: String,
    },
    /// No key of this name is there.
    #[error(
        "its secrets are sealed with the master key {key}, which the config does not have; add the key's file to \
         [secrets] old_key_files"
    )]
    UnknownKey {
        /// The key's name.
        key: String,
    },
    /// The key is there, and the text does not open.
    #[error("its sealed {slot} is damaged, or was moved here from elsewhere")]
    Damaged {
        /// Which secret.
        slot: String,
    },
    /// The system gives no random bytes.
    #[error("no random bytes: {0}")]
    Random(String),
}

impl Vault {
    /// The first key seals, where there is one; it and the others open.
    #[must_use]
    pub fn new(seals: Option<MasterKey>, others: Vec<MasterKey>) -> Self {
        let opens = seals.iter().cloned().chain(others).collect();
        Self { seals, opens }
    }

    /// The key that seals.
    #[must_use]
    pub const fn sealing(&self) -> Option<&MasterKey> {
        self.seals.as_ref()
    }

    /// A webhook as the disk is to have it.
    ///
    /// # Errors
    /// [`VaultError::Reserved`], [`VaultError::Random`].
    pub fn seal(&self, mut webhook: Webhook) -> Result<Webhook, VaultError> {
        let owner = Owner::of(&webhook);
        for (slot, secret) in slots(&mut webhook) {
            if secret.expose().starts_with(SEALED) {
                return Err(VaultError::Reserved { slot });
            }
            if let Some(key) = &self.seals {
                *secret = seal(key, &owner.bound(&slot), secret)?;
            }
        }
        Ok(webhook)
    }

    /// A webhook from the disk, with its secrets open.
    ///
    /// # Errors
    /// [`VaultError::UnknownKey`], [`VaultError::Damaged`].
    pub fn open(&self, mut webhook: Webhook) -> Result<Webhook, VaultError> {
        let owner = Owner::of(&webhook);
        for (slot, secret) in slots(&mut webhook) {
            if let Some((key, sealed)) = parts(secret) {
                let Some(key) = self.opens.iter().find(|one| one.name == key) else {
                    let key = key.to_owned();
                    return Err(VaultError::UnknownKey { key });
                };
                let opened = open(key, &owner.bound(&slot), sealed);
                *secret = opened.ok_or(VaultError::Damaged { slot })?;
            }
        }
        Ok(webhook)
    }

    /// Whether a webhook from the disk is as [`Vault::seal`] would leave it now.
    #[must_use]
    pub fn is_current(&self, webhook: &Webhook) -> bool {
        let name = self.seals.as_ref().map(MasterKey::name);
        let mut webhook = webhook.clone();
        slots(&mut webhook)
            .iter()
            .all(|(_, secret)| parts(secret).map(|(key, _)| key) == name)
    }
}

/// Whose secrets they are.
struct Owner(String);

impl Owner {
    fn of(webhook: &Webhook) -> Self {
        Self(format!("{}\0{}\0", webhook.account.as_str(), webhook.id))
    }

    /// What is authenticated beside a secret. Neither an account's name nor an id has a zero byte.
    fn bound(&self, slot: &str) -> Vec<u8> {
        [self.0.as_bytes(), slot.as_bytes()].concat()
    }
}

/// Every secret of a webhook, and what each one is called.
fn slots(webhook: &mut Webhook) -> Vec<(String, &mut Secret)> {
    let mut slots = Vec::new();
    if let Some(secret) = &mut webhook.secret {
        slots.push(("secret".to_owned(), secret));
    }
    if let Some(secret) = &mut webhook.staged_secret {
        slots.push(("staged secret".to_owned(), secret));
    }
    if let Some(old) = &mut webhook.old_secret {
        slots.push(("old secret".to_owned(), &mut old.secret));
    }
    if let Some(oauth2) = &mut webhook.oauth2 {
        slots.push(("client secret".to_owned(), &mut oauth2.client_secret));
    }
    for header in &mut webhook.headers {
        let slot = format!("header {}", header.name.to_ascii_lowercase());
        slots.push((slot, &mut header.value));
    }
    slots
}

/// The name of the key of a sealed text, and what is sealed.
fn parts(secret: &Secret) -> Option<(&str, &str)> {
    let rest = secret.expose().strip_prefix(SEALED)?;
    // What begins so and goes on otherwise is damaged, and no plain secret.
    Some(rest.split_once(':').unwrap_or((rest, "")))
}

fn seal(key: &MasterKey, bound: &[u8], secret: &Secret) -> Result<Secret, VaultError> {
    let mut nonce = [0; NONCE_BYTES];
    random(&mut nonce)?;
    let payload = Payload {
        msg: secret.expose().as_bytes(),
        aad: bound,
    };
    let sealed = cipher(key)
        .encrypt(&XNonce::from(nonce), payload)
        .expect("a secret is far below the 256 GiB that one nonce serves");
    let text = URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat());
    Ok(Secret::new(format!("{SEALED}{}:{text}", key.name)))
}

fn open(key: &MasterKey, bound: &[u8], sealed: &str) -> Option<Secret> {
    let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let (nonce, msg) = bytes.split_first_chunk::<NONCE_BYTES>()?;
    let payload = Payload { msg, aad: bound };
    let opened = cipher(key).decrypt(&XNonce::from(*nonce), payload).ok()?;
    String::from_utf8(opened).ok().map(Secret::new)
}

fn cipher(key: &MasterKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new_from_slice(key.bytes.as_slice()).expect("the key has 32 bytes")
}

fn random(bytes: &mut [u8]) -> Result<(), VaultError> {
    getrandom::fill(bytes).map_err(|error| VaultError::Random(error.to_string()))
}

#[cfg(test)]
mod tests;
