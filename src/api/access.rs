//! Who may do what: keys as SHA-256 hashes, their scopes, and how much they may ask for.
//!
//! A presented key is hashed first and the hash is looked up, so the time of a look-up says nothing about
//! a key: whoever can make two hashes share a prefix has broken SHA-256. A wrong key is answered as none is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{self, CACHE_CONTROL, CONNECTION, HeaderMap, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::model::{Account, AccountName, ApiKey, Scope};

use super::Api;
use super::answers;
use super::counted::Asked;
use super::error::Problem;
use super::quota::{Limits, Quota};
use super::server::Arrival;

/// Where events are posted. Any other call with a key is one that manages.
const INTAKE: [&str; 2] = ["/api/v1/events", "/api/v1/events/batch"];

/// All keys of all accounts.
#[derive(Debug, Default)]
pub(super) struct Access {
    keys: HashMap<Digested, Arc<Key>>,
    /// The hashes of the key that reads the metrics; none: everybody may.
    metrics: Vec<Digested>,
}

#[derive(Debug)]
struct Key {
    account: AccountName,
    key: ApiKey,
    quota: Arc<Quota>,
}

/// The hash of a key.
type Digested = [u8; 32];

/// What a request has come in with, for what is said in its answer.
type Seen = Arc<OnceLock<Arc<Key>>>;

impl Access {
    /// The table of these accounts' keys.
    pub(super) fn new(accounts: &[Account], metrics: &[[u8; 32]]) -> Self {
        Self::default().followed_by(accounts, metrics)
    }

    /// The table of these accounts' keys, where keys that have kept their names keep their counts. There are as many
    /// counts as keys in the config.
    pub(super) fn followed_by(&self, accounts: &[Account], metrics: &[[u8; 32]]) -> Self {
        let old: HashMap<_, _> = self
            .keys
            .values()
            .map(|key| ((&key.account, &key.key.name), &key.quota))
            .collect();
        let mut keys = HashMap::new();
        for account in accounts {
            for key in &account.keys {
                let quota = old.get(&(&account.name, &key.name));
                let shared = Arc::new(Key {
                    account: account.name.clone(),
                    key: key.clone(),
                    quota: quota.map(|quota| Arc::clone(quota)).unwrap_or_default(),
                });
                for hash in key.hashes() {
                    keys.insert(*hash, Arc::clone(&shared));
                }
            }
        }
        Self {
            keys,
            metrics: metrics.to_vec(),
        }
    }

    fn find(&self, presented: &[u8]) -> Option<(Digested, Arc<Key>)> {
        let digest: Digested = Sha256::digest(presented).into();
        let key = self.keys.get(&digest)?;
        Some((digest, Arc::clone(key)))
    }
}

/// The caller of a request, by its key.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    key: Arc<Key>,
    digest: Digested,
    peer: Option<IpAddr>,
}

impl Caller {
    pub(super) fn account(&self) -> &AccountName {
        &self.key.account
    }

    /// The name that the config has for the key.
    pub(super) fn key_name(&self) -> &str {
        &self.key.key.name
    }

    /// What the config lets the key do.
    pub(super) fn scopes(&self) -> impl Iterator<Item = Scope> {
        let scopes = self.key.key.scopes;
        Scope::ALL
            .into_iter()
            .filter(move |scope| scopes.contains(*scope))
    }

    /// How much the key may ask for.
    pub(super) fn limits(&self, api: &Api) -> Limits {
        limits(api, &self.key)
    }

    /// Where the request came from: the client, or the last proxy before us.
    pub(super) const fn peer(&self) -> Option<IpAddr> {
        self.peer
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
            format!("the key `{}` has not the scope `{scope}`", self.key_name()),
        ))
    }

    /// Whether the key that was presented is still one of the same account, and may still read: a reload may have taken
    /// it away since.
    pub(super) fn may_still_read(&self, api: &Api) -> bool {
        let access = api.access();
        let key = access.keys.get(&self.digest);
        key.is_some_and(|key| {
            let now = Self {
                key: Arc::clone(key),
                ..self.clone()
            };
            now.account() == self.account() && now.require(Scope::Read).is_ok()
        })
    }

    /// Counts a batch's events against what the key may post; one was counted when the call came in.
    ///
    /// # Errors
    /// 429 where others came first and it has posted too many.
    pub(super) fn count_batch(&self, api: &Api, events: usize) -> Result<(), Problem> {
        let rest = u32::try_from(events.saturating_sub(1)).unwrap_or(u32::MAX);
        self.count_events(api, |quota, rate, now| quota.take_rest(rest, rate, now))
    }

    fn count_events(
        &self,
        api: &Api,
        take: impl FnOnce(&Quota, u32, Instant) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let Some(rate) = self.key.key.events_per_second else {
            return Ok(());
        };
        take(&self.key.quota, rate, Instant::now()).inspect_err(|problem| {
            api.metrics
                .events_refused
                .get_or_create(&[("reason", problem.code)])
                .inc();
            self.tell_refused(api, "events", problem);
        })
    }

    /// Counts a call against what the key may ask for. A batch counts as one event for now: how many it has is not
    /// known yet, and one that is no batch at all is not to be free.
    fn count(&self, api: &Api, method: &Method, path: &str) -> Result<(), Problem> {
        if method == Method::POST && INTAKE.contains(&path) {
            return self.count_events(api, Quota::take_event);
        }
        let Some(max) = limits(api, &self.key).requests else {
            return Ok(());
        };
        let taken = self.key.quota.take_request(max, Instant::now());
        taken.inspect_err(|problem| self.tell_refused(api, "requests", problem))
    }

    fn tell_refused(&self, api: &Api, limit: &'static str, problem: &Problem) {
        let over = &api.metrics.keys_over_limit;
        over.get_or_create(&[("limit", limit)]).inc();
        tracing::debug!(
            account = %self.account(),
            key = self.key_name(),
            peer = ?self.peer(),
            code = problem.code,
            "a key is over its limit"
        );
    }
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<Arrival>().map(|from| from.peer);
        let Some(presented) = presented(&parts.headers) else {
            return Err(api.turn_away(peer, "missing"));
        };
        let found = api.access().find(presented);
        let (digest, key) = found.ok_or_else(|| api.turn_away(peer, "unknown"))?;
        if let Some(seen) = parts.extensions.get::<Seen>() {
            seen.get_or_init(|| Arc::clone(&key));
        }
        let caller = Self { key, digest, peer };
        caller.count(api, &parts.method, parts.uri.path())?;
        Ok(caller)
    }
}

/// Refuses an ambiguous request, whatever it asks for: also one for what is served beside the API.
pub(super) async fn refuse_ambiguous(request: Request, next: Next) -> Response {
    let arrival = request.extensions().get::<Arrival>();
    if arrival.is_some_and(|arrival| arrival.is_ambiguous) {
        return ambiguous().into_response();
    }
    next.run(request).await
}

/// What goes around each request: a large answer gets its room in memory, the answer to a key that has limits says how
/// it stands, no answer is kept or taken for something else, and it is counted. One layer for all of that: each costs every
/// event.
pub(super) async fn attend(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Response {
    let asked = Asked::now(&request);
    let seen = Seen::default();
    request.extensions_mut().insert(Arc::clone(&seen));
    let response = next.run(request).await;
    let owner = seen.get().map(|key| key.account.clone());
    let mut response = answers::hold(response, &api.answers, owner).await;
    if let Some(key) = seen.get() {
        let limits = limits(&api, key);
        key.quota
            .show(limits, Instant::now(), response.headers_mut());
    }
    let headers = response.headers_mut();
    // Caches keep some failures by themselves (RFC 9111, 4.2.2), and know nothing of `X-API-Key`: what one key is told
    // does not exist, another may have.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    // Browsers come to this port for the dashboard: what others wrote is shown as what it is said to be.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    asked.answered(response.status(), &api.metrics);
    response
}

impl Api {
    /// Counts and tells a request without a valid key, and gives its answer: the same for any.
    fn turn_away(&self, peer: Option<IpAddr>, reason: &'static str) -> Problem {
        self.metrics
            .auth_failures
            .get_or_create(&[("reason", reason)])
            .inc();
        if let Some(count) = self.turned_away.tell() {
            let peer = peer.map(|peer| peer.to_string());
            tracing::warn!(
                peer = peer.as_deref().unwrap_or("unknown"),
                reason,
                count,
                "a request had no valid key"
            );
        }
        Problem::unauthorized()
    }
}

/// Asks for the key of the metrics, where the config has one. It is of no account: accounts are tenants, and the metrics
/// are of all of them.
///
/// # Errors
/// 401 without that key.
pub(super) fn require_metrics_key(
    api: &Api,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Result<(), Problem> {
    let access = api.access();
    if access.metrics.is_empty() {
        return Ok(());
    }
    let Some(presented) = presented(headers) else {
        return Err(api.turn_away(peer, "missing"));
    };
    let digest: [u8; 32] = Sha256::digest(presented).into();
    match access.metrics.contains(&digest) {
        true => Ok(()),
        false => Err(api.turn_away(peer, "unknown")),
    }
}

/// The bounds of a key: of the calls that manage the lower one of its own and its account's profile's.
fn limits(api: &Api, key: &Key) -> Limits {
    let contract = api.engine.contract(&key.account);
    let of_profile = contract.and_then(|contract| contract.profile.requests_per_minute);
    let own = key.key.requests_per_minute;
    Limits {
        requests: own.into_iter().chain(of_profile).min(),
        events: key.key.events_per_second,
    }
}

/// The key that a request comes with.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    match headers.get("x-api-key") {
        Some(key) => Some(key.as_bytes()),
        None => bearer(headers.get(header::AUTHORIZATION)?.as_bytes()),
    }
}

/// The token of `Bearer <token>` (RFC 6750; the scheme in any case, RFC 9110).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

fn ambiguous() -> Problem {
    let detail = "the request has both Content-Length and Transfer-Encoding, or follows one on its connection whose \
                  length is written in an unusual way: send one of them, written plainly and once";
    Problem::new(StatusCode::BAD_REQUEST, "length_ambiguous", detail)
        .with(CONNECTION, HeaderValue::from_static("close"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scopes;

    fn accounts(keys: Vec<ApiKey>) -> [Account; 1] {
        [Account {
            name: AccountName::new("acme").unwrap(),
            profile: "standard".to_owned(),
            keys,
        }]
    }

    fn key(name: &str, keys: &[&str]) -> ApiKey {
        let mut hashes = keys.iter().map(|key| Sha256::digest(key).into());
        ApiKey {
            name: name.to_owned(),
            sha256: hashes.next().unwrap(),
            sha256_other: hashes.next(),
            scopes: Scopes::default().with(Scope::Send),
            requests_per_minute: None,
            events_per_second: None,
        }
    }

    #[test]
    fn reads_the_bearer_scheme_in_any_case() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        assert_eq!(bearer(b"Basic abc"), None);
        assert_eq!(bearer(b"Bearer"), None);
    }

    #[test]
    fn finds_a_key_by_its_hash_only() {
        let access = Access::new(&accounts(vec![key("backend", &["right"])]), &[]);
        assert!(access.find(b"right").is_some());
        assert!(access.find(b"wrong").is_none());
        let hash = Sha256::digest(b"right");
        assert!(access.find(&hash).is_none(), "the hash is no key");
    }

    #[test]
    fn counts_stay_with_the_name_and_are_shared_by_both_hashes() {
        let first = Access::new(&accounts(vec![key("a", &["old"]), key("b", &["b"])]), &[]);
        let now = Instant::now();
        let take = |access: &Access, presented: &[u8]| {
            let (_, key) = access.find(presented).unwrap();
            key.quota.take_request(2, now).is_ok()
        };
        assert!(take(&first, b"old"));
        let second = first.followed_by(
            &accounts(vec![key("a", &["new", "old"]), key("c", &["c"])]),
            &[],
        );
        assert!(take(&second, b"new"));
        assert!(!take(&second, b"old"), "both are one key");
        assert!(take(&second, b"c"), "another key has its own");
        assert!(second.find(b"b").is_none());
        let third = second.followed_by(&accounts(vec![key("a", &["new"])]), &[]);
        assert!(third.find(b"old").is_none());
        assert!(!take(&third, b"new"));
    }
}
