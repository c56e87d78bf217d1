//! Secret text that prints nothing and is wiped from memory when dropped.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A secret: a signing secret, a header's value, a key. `Debug` prints nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(#[serde(with = "zeroizing_text")] Zeroizing<String>);

impl Secret {
    /// How the text of a secret begins that is sealed. No secret that is given may begin so.
    pub const SEALED: &str = "hookwheel-sealed-1:";

    /// Takes a text as a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Takes a secret from a time before there were sealed ones, so that none of these is taken for one: what looks so gets
    /// a space before it.
    #[must_use]
    pub fn never_sealed(self) -> Self {
        if self.0.starts_with(Self::SEALED) {
            Self::new(format!(" {}", self.expose()))
        } else {
            self
        }
    }

    /// The secret's text. Every call is a place where it may leak: keep them few.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

mod zeroizing_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(
        text: &Zeroizing<String>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(from).map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_sealed_and_cannot_be_is_told_apart() {
        let text = format!("{}0:1", Secret::SEALED);
        let kept = Secret::new(text.clone()).never_sealed();
        assert_eq!(kept.expose(), format!(" {text}"));
        assert_eq!(Secret::new("a".to_owned()).never_sealed().expose(), "a");
    }

    #[test]
    fn debug_shows_nothing_of_it() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(secret.expose(), "hunter2");
    }
}
