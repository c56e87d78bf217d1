//! One HTTP request made for a delivery, and how it ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Secret, UnixMillis};

/// One attempt, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number in the delivery's life, from 1.
    pub number: u32,
    /// Why it was made.
    pub trigger: Trigger,
    /// When the request began.
    pub started_at: UnixMillis,
    /// How it ended.
    pub outcome: Outcome,
    /// How long each phase took.
    pub phases: Phases,
    /// The headers made for this attempt alone (signatures, ids, timestamps), as sent.
    #[serde(with = "super::short_names")]
    pub request_headers: Vec<(String, String)>,
    /// What the receiver answered, as far as it was read.
    pub response: Option<Response>,
}

impl Attempt {
    /// How many bytes its texts and bodies have.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let pairs = |list: &[(String, String)]| -> usize {
            let pair = |(name, value): &(String, String)| name.len() + value.len();
            list.iter().map(pair).sum()
        };
        let response = self.response.as_ref();
        let response = response.map_or(0, |it| pairs(&it.headers) + it.body.len());
        let detail = match &self.outcome {
            Outcome::Fault { detail, .. } => detail.len(),
            Outcome::Status(_) => 0,
        };
        pairs(&self.request_headers) + response + detail
    }
}

/// Why an attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Trigger {
    /// The event's arrival or the retry schedule.
    Schedule,
    /// Somebody asked for it.
    Manual,
    /// A replay.
    Replay,
    /// To see whether the receiver of a disabled webhook answers again.
    Probe,
}

impl Trigger {
    /// The stable name, as the API uses it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Manual => "manual",
            Self::Replay => "replay",
            Self::Probe => "probe",
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The receiver answered with this status code, and the answer was read to its end or its cap.
    Status(u16),
    /// No usable answer.
    Fault {
        /// The phase or the side at fault.
        kind: FaultKind,
        /// What exactly, for the person who looks for the cause.
        detail: String,
    },
}

/// Why there was no usable answer. Names in the API and in metrics are [`FaultKind::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FaultKind {
    /// The name did not resolve.
    Dns,
    /// No TCP connection.
    Connect,
    /// The TLS handshake failed, or the certificate did not verify.
    Tls,
    /// The total deadline passed.
    Timeout,
    /// The connection ended before an answer was complete.
    Reset,
    /// The answer was not valid HTTP, or beyond the caps for its head.
    Protocol,
    /// The destination's address is refused by policy; nothing was sent.
    AddressBlocked,
    /// The request could not be made from the event and the profile.
    Render,
    /// No access token could be had for it; the receiver was not asked.
    Token,
}

impl FaultKind {
    /// The stable name, as API, logs and metrics use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::AddressBlocked => "address_blocked",
            Self::Render => "render",
            Self::Token => "token",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code) => write!(f, "{code}"),
            Self::Fault { kind, detail } => write!(f, "{}: {detail}", kind.as_str()),
        }
    }
}

/// How long each phase took, microseconds. `None`: the phase did not happen (a reused connection
/// has no dns, connect and tls) or did not end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    /// Name resolution.
    pub dns_us: Option<u32>,
    /// TCP connect.
    pub connect_us: Option<u32>,
    /// TLS handshake.
    pub tls_us: Option<u32>,
    /// From the request's first byte out to the answer's head in.
    pub first_byte_us: Option<u32>,
    /// All of it, up to the end of the answer or the failure.
    pub total_us: u32,
}

/// What a receiver answered, cut to the configured caps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// Header names and values in the order received; values that are not text are shown lossily.
    #[serde(with = "super::short_names")]
    pub headers: Vec<(String, String)>,
    /// The first bytes of the body.
    pub body: Vec<u8>,
    /// Whether there was more than was kept.
    pub truncated: bool,
}

/// A header that a webhook's owner set. The value may be a credential and is treated as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The name as given.
    pub name: String,
    /// The value.
    pub value: Secret,
}
