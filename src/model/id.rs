//! Identities: accounts, webhooks, events, and the place of a record in the journal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An identity text that does not have the required form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a webhook id.
    #[error("a webhook id is `wh_` and 32 hexadecimal digits")]
    Webhook,
    /// Not a job id.
    #[error("a job id is `job_` and 32 hexadecimal digits")]
    Job,
    /// Not an event id.
    #[error("an event id is 1 to 64 characters of A-Z, a-z, 0-9, `_` and `-`")]
    Event,
    /// Not an account name.
    #[error("an account name is 1 to 64 characters of a-z, 0-9, `_` and `-`")]
    Account,
}

/// The name of a tenant, as the config gives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountName(String);

impl AccountName {
    /// Checks and takes a name: 1 to 64 characters of `a-z`, `0-9`, `_`, `-`.
    ///
    /// # Errors
    /// [`IdError::Account`] where the form is another.
    pub fn new(name: &str) -> Result<Self, IdError> {
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name.to_owned()))
        } else {
            Err(IdError::Account)
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A webhook's identity: `wh_` and 32 hexadecimal digits (a UUID, version 7, so ids sort by creation).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WebhookId(pub u128);

impl WebhookId {
    /// A new identity, later than every one made before in this process.
    #[must_use]
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().as_u128())
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wh_{:032x}", self.0)
    }
}

impl fmt::Debug for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for WebhookId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        hex128(text, "wh_").map(Self).ok_or(IdError::Webhook)
    }
}

/// The number that stands behind `prefix` as 32 lower-case hexadecimal digits.
fn hex128(text: &str, prefix: &str) -> Option<u128> {
    let digits = text.strip_prefix(prefix)?;
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digits.len() != 32 || !digits.bytes().all(lower_hex) {
        return None;
    }
    u128::from_str_radix(digits, 16).ok()
}

/// A job's identity: `job_` and 32 hexadecimal digits (a UUID, version 7, so ids sort by creation).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub u128);

impl JobId {
    /// A new identity, later than every one made before in this process.
    #[must_use]
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().as_u128())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job_{:032x}", self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for JobId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        hex128(text, "job_").map(Self).ok_or(IdError::Job)
    }
}

/// An event's identity inside its account: the client's own, or `evt_` and 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId(String);

impl EventId {
    /// Checks and takes a client's id: `[A-Za-z0-9_-]{1,64}`.
    ///
    /// # Errors
    /// [`IdError::Event`] where the form is another.
    pub fn new(id: &str) -> Result<Self, IdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if (1..=64).contains(&id.len()) && id.bytes().all(allowed) {
            Ok(Self(id.to_owned()))
        } else {
            Err(IdError::Event)
        }
    }

    /// A new identity, later than every one made before in this process.
    #[must_use]
    pub fn generate() -> Self {
        Self(format!("evt_{:032x}", uuid::Uuid::now_v7().as_u128()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The place of a record in the journal: a segment's number and the byte offset of the frame in it.
///
/// The position of an event's `Accepted` record is the event's identity inside the store: it is unique,
/// grows with time, and finds the body without a look-up. It never changes while the record is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The segment's number, from 1.
    pub segment: u32,
    /// The byte offset of the frame's start in the segment's file.
    pub offset: u32,
}

impl Position {
    /// The position as one number that sorts as the position does.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        (u64::from(self.segment) << 32) | u64::from(self.offset)
    }

    /// The inverse of [`Position::to_u64`].
    #[must_use]
    pub const fn from_u64(value: u64) -> Self {
        Self {
            segment: (value >> 32) as u32,
            offset: (value & 0xffff_ffff) as u32,
        }
    }

    /// The place right behind this one: where to go on after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self::from_u64(self.to_u64().saturating_add(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.offset)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhook_ids_read_back_and_sort_by_creation() {
        let (a, b) = (WebhookId::generate(), WebhookId::generate());
        assert!(a < b);
        assert_eq!(a.to_string().parse::<WebhookId>().unwrap(), a);
        for bad in [
            "",
            "wh_",
            "wh_+0000000000000000000000000000000",
            "wh_0192F0C1D2E37000800000000000000A",
        ] {
            assert!(bad.parse::<WebhookId>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn event_ids_take_the_documented_alphabet_only() {
        for good in [
            "a",
            "evt_1234567890",
            "550e8400-e29b-41d4-a716-446655440000",
        ] {
            assert_eq!(EventId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a.b", "a b", "a\n", "é", &"x".repeat(65)] {
            assert!(EventId::new(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn positions_sort_as_their_numbers() {
        let a = Position {
            segment: 1,
            offset: u32::MAX,
        };
        let b = Position {
            segment: 2,
            offset: 0,
        };
        assert!(a < b && a.to_u64() < b.to_u64());
        assert_eq!(Position::from_u64(a.to_u64()), a);
    }
}
