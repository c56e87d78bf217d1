//! Who may do what: keys as SHA-256 hashes, and their scopes.
//!
//! A presented key is hashed first and the hash is looked up, so the time of a look-up says nothing about
//! a key: whoever can make two hashes share a prefix has broken SHA-256.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{StatusCode, header};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::model::{Account, AccountName, ApiKey, Scope};

use super::Api;
use super::error::Problem;
use super::quota::Quota;

/// Where webhooks are managed: the paths that a profile's `requests_per_minute` counts. Posting events is not
/// among them.
const MANAGED: &str = "/api/v1/webhooks";

/// All keys of all accounts.
#[derive(Debug, Default)]
pub struct Access {
    keys: HashMap<[u8; 32], Arc<Key>>,
}

#[derive(Debug)]
struct Key {
    account: AccountName,
    key: ApiKey,
    quota: Quota,
}

impl Access {
    /// The table of these accounts' keys.
    #[must_use]
    pub fn new(accounts: &[Account]) -> Self {
        let mut keys = HashMap::new();
        for account in accounts {
            for key in &account.keys {
                let (account, key) = (account.name.clone(), key.clone());
                let sha256 = key.sha256;
                let quota = Quota::default();
                let key = Key {
                    account,
                    key,
                    quota,
                };
                keys.insert(sha256, Arc::new(key));
            }
        }
        Self { keys }
    }

    fn find(&self, presented: &[u8]) -> Option<Arc<Key>> {
        let digest: [u8; 32] = Sha256::digest(presented).into();
        self.keys.get(&digest).cloned()
    }
}

/// The caller of a request, by its key.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    key: Arc<Key>,
}

impl Caller {
    pub(super) fn account(&self) -> &AccountName {
        &self.key.account
    }

    /// Who may manage may also read what there is to manage.
    ///
    /// # Errors
    /// 403 where the key has not this scope.
    pub(super) fn require(&self, scope: Scope) -> Result<(), Problem> {
        let scopes = self.key.key.scopes;
        let read_as_admin = scope == Scope::Read && scopes.contains(Scope::Admin);
        if scopes.contains(scope) || read_as_admin {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "scope_missing",
            format!(
                "the key `{}` has not the scope `{scope}`",
                self.key.key.name
            ),
        ))
    }
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let presented = match parts.headers.get("x-api-key") {
            Some(key) => key.as_bytes(),
            None => parts
                .headers
                .get(header::AUTHORIZATION)
                .and_then(|value| bearer(value.as_bytes()))
                .ok_or_else(Problem::unauthorized)?,
        };
        let key = api.access().find(presented);
        let key = key.ok_or_else(Problem::unauthorized)?;
        if parts.uri.path().starts_with(MANAGED)
            && let Some(contract) = api.engine.contract(&key.account)
            && let Some(max) = contract.profile.requests_per_minute
        {
            key.quota.take(max, Instant::now())?;
        }
        Ok(Self { key })
    }
}

/// The token of `Bearer <token>` (RFC 6750; the scheme in any case, RFC 9110).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scopes;

    #[test]
    fn reads_the_bearer_scheme_in_any_case() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        assert_eq!(bearer(b"Basic abc"), None);
        assert_eq!(bearer(b"Bearer"), None);
    }

    #[test]
    fn finds_a_key_by_its_hash_only() {
        let key = ApiKey {
            name: "backend".to_owned(),
            sha256: Sha256::digest(b"right").into(),
            scopes: Scopes::default().with(Scope::Send),
        };
        let access = Access::new(&[Account {
            name: AccountName::new("acme").unwrap(),
            profile: "standard".to_owned(),
            keys: vec![key],
        }]);
        assert!(access.find(b"right").is_some());
        assert!(access.find(b"wrong").is_none());
    }
}
