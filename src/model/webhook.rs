//! A webhook: a registered destination and what its owner wants to be sent.

use serde::{Deserialize, Serialize};

use super::{AccountName, Endpoint, Header, RetryPolicy, Secret, UnixMillis, WebhookId};

/// Why a webhook is inactive, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inactive {
    /// Why.
    pub reason: InactiveReason,
    /// Since when.
    pub since: UnixMillis,
}

/// Why a webhook is inactive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InactiveReason {
    /// Somebody asked for it.
    Request,
    /// A delivery's schedule ended without success, and the profile disables then.
    Exhausted,
    /// The receiver answered 410, and the profile takes it at its word.
    Gone,
    /// Nothing has arrived for as long as the profile allows.
    Failing,
    /// It was declared in the config, and is there no more.
    Undeclared,
}

impl InactiveReason {
    /// The stable name, as API and logs use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Exhausted => "exhausted",
            Self::Gone => "gone",
            Self::Failing => "failing",
            Self::Undeclared => "undeclared",
        }
    }

    /// Whether nobody asked for it and the receiver may do well again: it can be tried out.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(self, Self::Exhausted | Self::Failing)
    }
}

impl Webhook {
    /// Lets deliveries go out, or holds them for `reason` from `now` on. A webhook that is held already keeps
    /// its first reason, unless somebody asks for it: then it is held by request, and probed no more.
    pub fn set_active(&mut self, active: bool, reason: InactiveReason, now: UnixMillis) {
        self.active = active;
        self.inactive = match (active, self.inactive) {
            (true, _) => None,
            (false, Some(before)) => Some(match reason {
                InactiveReason::Request => Inactive { reason, ..before },
                _ => before,
            }),
            (false, None) => Some(Inactive { reason, since: now }),
        };
    }
}

/// A secret that has been replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldSecret {
    /// The secret.
    pub secret: Secret,
    /// Until when it is kept: for signing beside the new one, or for a rollback, as the profile rotates.
    pub expires_at: UnixMillis,
}

/// In which order a webhook's deliveries are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// As they are due, several at once: a retry waits beside what came after it.
    #[default]
    None,
    /// One at a time, the next only after success or the end of the schedule.
    Fifo,
    /// As [`Order::Fifo`] among the events that have the same value at this place, a JSON pointer (RFC 6901)
    /// into `data`; different values do not wait for each other.
    ByKey(String),
}

/// How a client shows a token endpoint who it is (RFC 6749, 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientAuth {
    /// By HTTP Basic, which every server must support.
    #[default]
    Basic,
    /// By `client_id` and `client_secret` in the body.
    Body,
}

/// The client credentials grant (RFC 6749, 4.4) by which a webhook's requests get their access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuth2 {
    /// The token endpoint.
    pub token_url: Endpoint,
    /// Who asks.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Secret,
    /// What is asked for, as the server names it, space-delimited.
    pub scope: Option<String>,
    /// For whom the token is meant, where the server wants to be told; no part of the RFC, but common.
    pub audience: Option<String>,
    /// How the client shows who it is.
    pub client_auth: ClientAuth,
}

/// A registered destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its identity.
    pub id: WebhookId,
    /// The tenant it belongs to.
    pub account: AccountName,
    /// Grows by one with each change; a change names the version it was made from.
    pub version: u64,
    /// Where to send.
    pub url: Endpoint,
    /// Event patterns: a type, or a prefix ending in `*` (`pipeline.*`). Empty: every type.
    pub events: Vec<String>,
    /// Only events of this scope; `None`: of every scope.
    pub scope: Option<String>,
    /// A short name for people.
    pub name: Option<String>,
    /// A longer text for people.
    pub description: Option<String>,
    /// The secret that signs.
    pub secret: Option<Secret>,
    /// A secret that waits to be promoted; it signs nothing yet.
    pub staged_secret: Option<Secret>,
    /// The secret that signed before the present one.
    pub old_secret: Option<OldSecret>,
    /// Headers sent with each request, besides the profile's own. Values may be credentials.
    pub headers: Vec<Header>,
    /// The format of its bodies instead of the profile's envelope: a built-in name or one of the config's.
    pub format: Option<String>,
    /// An event pattern as JSON text; only events that fit it are sent.
    pub filter: Option<String>,
    /// Instead of the profile's timeout, milliseconds.
    pub timeout_ms: Option<u32>,
    /// Instead of the profile's retry schedule.
    pub retry: Option<RetryPolicy>,
    /// Whether deliveries go out; while not, they are held.
    pub active: bool,
    /// Why deliveries do not go out, while they do not.
    pub inactive: Option<Inactive>,
    /// When it was registered.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
    /// In which order its deliveries are sent.
    pub order: Order,
    /// The TLS settings of the config that its requests are made with, by name; `None`: the usual ones.
    pub tls: Option<String>,
    /// How its requests get an access token, where they carry one.
    pub oauth2: Option<OAuth2>,
    /// The name under which the config declares it; `None`: the API made it.
    pub declared: Option<String>,
}
