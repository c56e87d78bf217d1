//! Accounts: the tenants that the config names, and what their API keys may do.

use std::fmt;

use super::AccountName;

/// A tenant. It sees only its own webhooks and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name, unique in the config.
    pub name: AccountName,
    /// The name of its wire contract: a built-in profile or one that the config defines.
    pub profile: String,
    /// Its keys, at least one.
    pub keys: Vec<ApiKey>,
}

/// An API key, known by its hashes only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name, unique in the account; this is what logs show.
    pub name: String,
    /// SHA-256 of the key's bytes (FIPS 180-4).
    pub sha256: [u8; 32],
    /// The hash of a second one that is as good, while the one takes the other's place.
    pub sha256_other: Option<[u8; 32]>,
    /// What it may do, at least one thing.
    pub scopes: Scopes,
    /// Calls that manage in a minute, at most; `None` for no bound of its own.
    pub requests_per_minute: Option<u32>,
    /// Events in a second, at most; `None` for no bound.
    pub events_per_second: Option<u32>,
}

impl ApiKey {
    /// Each hash by which the key is known.
    pub fn hashes(&self) -> impl Iterator<Item = &[u8; 32]> {
        std::iter::once(&self.sha256).chain(&self.sha256_other)
    }
}

/// One thing that a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Register, change and remove webhooks, rotate secrets, retry and replay.
    Admin,
    /// Post events.
    Send,
    /// Read webhooks, events, deliveries and statistics.
    Read,
}

impl Scope {
    /// Every scope, in the order in which they are listed to people.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Send, Self::Read];

    /// The scope's name in the config and in the API's answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Send => "send",
            Self::Read => "read",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a key may do: a set of scopes, none of which implies another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Scopes {
    admin: bool,
    send: bool,
    read: bool,
}

impl Scopes {
    /// The set with `scope` added.
    #[must_use]
    pub const fn with(mut self, scope: Scope) -> Self {
        match scope {
            Scope::Admin => self.admin = true,
            Scope::Send => self.send = true,
            Scope::Read => self.read = true,
        }
        self
    }

    /// Whether `scope` is in the set.
    #[must_use]
    pub const fn contains(self, scope: Scope) -> bool {
        match scope {
            Scope::Admin => self.admin,
            Scope::Send => self.send,
            Scope::Read => self.read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_added_and_nothing_else() {
        for scope in Scope::ALL {
            let set = Scopes::default().with(scope);
            for other in Scope::ALL {
                assert_eq!(set.contains(other), scope == other, "{scope} and {other}");
            }
        }
    }
}
