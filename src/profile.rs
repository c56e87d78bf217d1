//! Profiles: the wire contract as data. Header names, signature formats, envelope, event types, retry
//! schedule, success rule, limits and what happens when a schedule ends come from a [`Profile`], never
//! from code.
//!
//! A profile is TOML. The built-in ones are `profile/*.toml`; the operator defines more in the config.
//! Each extends one other and says only what differs: a field that it gives replaces its parent's;
//! `[secret]`, `[retry]`, `[exhausted]` and `[rate]` are merged field by field (a `delays` list and an
//! exponential schedule replace each other), `[schemas]` type by type, while `[headers]`, `[[signature]]` and
//! `[example]` are replaced whole.
//!
//! Signatures: any number of `[[signature]]` tables. Those of one header make one header line, their values
//! joined by one space. Each takes its key from the webhook's secret as its `key` says (`utf8`,
//! `whsec-base64` or `whsk-base64`; where it is not given, as `[secret] key` says, and for ed25519 always
//! `whsk-base64`). A profile that has both HMAC and ed25519 signatures needs two secrets: a webhook's secret
//! is then both, the HMAC one first and one space between, and `generate` has two such parts.
//!
//! What is parsed here is checked and typed, and trusted after it. This module renders nothing, signs
//! nothing and reads no file. Invariant: every profile in [`Profiles`] has every field, each template names
//! only what it may, and what a signature covers besides the body is carried by some header.

mod parse;
mod raw;
mod schema;
mod set;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::model::{
    AlertKind, GonePolicy, Policy, RetryPolicy, Secret, SuccessRule, UnixMicros, UnixMillis,
    Webhook,
};

pub use raw::RawProfile;
pub use schema::{Schema, SchemaFault};
pub use set::{Profiles, line_column, value_errors};
pub use template::{Field, Piece, Template};

/// One thing wrong with a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("profile `{profile}`: {message}")]
pub struct ProfileError {
    /// The profile's name.
    pub profile: String,
    /// Where in the text that it was read from, bytes; `None` where it is about the profile as a whole.
    pub span: Option<Range<usize>>,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// Types are shown in lists, headers and logs: no longer than this, bytes.
const TYPE_BYTES_MAX: usize = 128;

/// Checks the form of an event type: letters, digits and `. _ - : /`, up to 128 bytes.
///
/// # Errors
/// A sentence that says what a type looks like.
pub fn check_type(text: &str) -> Result<(), String> {
    let form = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
    if text.is_empty() || text.len() > TYPE_BYTES_MAX || !text.bytes().all(form) {
        let shown: String = text.chars().take(TYPE_BYTES_MAX).collect();
        return Err(format!(
            "`{}` is not an event type: 1 to {TYPE_BYTES_MAX} letters, digits and . _ - : /",
            shown.escape_debug()
        ));
    }
    Ok(())
}

/// Whether a header, by its lower-case name, describes the message or the connection: nobody but the
/// sender sets such a header.
#[must_use]
pub fn is_framing_header(name: &str) -> bool {
    parse::FRAMING_HEADERS.contains(&name)
}

/// A wire contract, complete and checked.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Types that may be posted and subscribed to; empty: any.
    pub event_types: Vec<String>,
    /// Further types that a subscription may name: they stand inside an event, where `match_on` finds
    /// them, and are never posted by themselves.
    pub inner_types: Vec<String>,
    /// Whether a registration must name its event types; otherwise none means all.
    pub events_required: bool,
    /// Where the type that a subscription names is looked for in an event.
    pub match_on: Vec<MatchPath>,
    /// What the API calls the scope, such as `contract_id`.
    pub scope_field: String,
    /// What counts as success.
    pub success: SuccessRule,
    /// The total deadline of one attempt, milliseconds, unless the webhook has its own.
    pub timeout_ms: u32,
    /// The envelope's template, as written.
    pub body: String,
    /// Where `body` stands in the operator's text; `None` if it comes from a built-in profile.
    pub body_span: Option<Range<usize>>,
    /// What 410 means.
    pub on_gone: GonePolicy,
    /// Whether `Retry-After` on 429 and 503 is waited for.
    pub honour_retry_after: bool,
    /// The rules for secrets.
    pub secret: SecretRules,
    /// The signature headers.
    pub signatures: Vec<SignatureRule>,
    /// Further headers of its own.
    pub headers: Vec<HeaderRule>,
    /// When to try again, unless the webhook has its own schedule.
    pub retry: RetryPolicy,
    /// No delay of an exponential schedule is longer, milliseconds; also where a webhook changes parts of it.
    pub retry_delay_max_ms: u64,
    /// What happens when a schedule ends without success.
    pub exhausted: Exhausted,
    /// How fast one webhook is sent to.
    pub rate: Rate,
    /// Calls that one API key may make in a minute, those that post events aside.
    pub requests_per_minute: Option<u32>,
    /// The test event.
    pub example: Example,
    /// What the data of events must look like, by type.
    pub schemas: BTreeMap<String, Arc<Schema>>,
    /// Whether it stands for the account that gets the operational events. No profile says so of itself.
    pub operational: bool,
}

impl Profile {
    /// The rules that decide what follows an attempt for `webhook`.
    #[must_use]
    pub fn policy(&self, webhook: &Webhook) -> Policy {
        Policy {
            retry: webhook.retry.as_ref().unwrap_or(&self.retry).clone(),
            success: self.success.clone(),
            on_gone: self.on_gone,
        }
    }

    /// The total deadline of one attempt for `webhook`, milliseconds.
    #[must_use]
    pub fn timeout_ms(&self, webhook: &Webhook) -> u32 {
        webhook.timeout_ms.unwrap_or(self.timeout_ms)
    }

    /// The secrets that sign a request made at `now`, the newest first: where rotation is by overlap, the
    /// one before the present one too, until it expires.
    #[must_use]
    pub fn signing_secrets<'w>(&self, webhook: &'w Webhook, now: UnixMillis) -> Vec<&'w Secret> {
        let old = webhook
            .old_secret
            .as_ref()
            .filter(|old| self.secret.rotation == Rotation::Overlap && now < old.expires_at);
        let old = old.map(|old| &old.secret);
        webhook.secret.iter().chain(old).collect()
    }

    /// Whether the value of this signature header is a list, one space between: old and new secret both
    /// sign, or several signatures share the header.
    #[must_use]
    pub fn is_list(&self, header: &HeaderName) -> bool {
        let rules = self.signatures.iter();
        let sharing = rules.filter(|rule| rule.header_name == *header).count();
        sharing > 1 || self.secret.rotation == Rotation::Overlap
    }

    /// The types of the operational events, where its account gets them.
    pub fn operational_types(&self) -> impl Iterator<Item = &'static str> {
        AlertKind::event_types().filter(|_| self.operational)
    }

    /// Every type that a subscription may name: those posted, then those inside events. Empty: any. The operational
    /// ones stand beside it.
    pub fn subscribable(&self) -> impl Iterator<Item = &str> {
        self.event_types
            .iter()
            .chain(&self.inner_types)
            .map(String::as_str)
    }
}

/// Where a subscription's type is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatchPath {
    /// `type`: the event's own type.
    Type,
    /// `data.a.b`: a member inside `data`, by its keys.
    Data(Vec<String>),
}

/// The rules for signing secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRules {
    /// Whether every webhook has a secret: one is generated where none is given.
    pub required: bool,
    /// How a secret is generated: one part, or two where HMAC and ed25519 both sign.
    pub generate: Vec<Generate>,
    /// How secrets are rotated.
    pub rotation: Rotation,
    /// How the key of a signature that names none comes from the secret's text.
    pub key: KeyForm,
    /// The forms of all signatures, each once, HMAC's first; `key` where nothing is signed.
    pub keys: Vec<KeyForm>,
}

impl SecretRules {
    /// The part of a secret's text that a key of this form is made from: all of it, unless HMAC and ed25519
    /// both sign. Then it is the part before or behind the space, and of a text with one part only (as a
    /// receiver may hold) the one that its prefix tells. `None`: the text has no such part.
    #[must_use]
    pub fn part<'s>(&self, form: KeyForm, secret: &'s str) -> Option<&'s str> {
        let signing = |form: KeyForm| form == KeyForm::WhskBase64;
        let both = self.keys.iter().any(|form| signing(*form))
            && self.keys.iter().any(|form| !signing(*form));
        if !both {
            return Some(secret);
        }
        match secret.split_once(' ') {
            Some((_, behind)) if signing(form) => Some(behind),
            Some((before, _)) => Some(before),
            None => {
                let alone = secret.starts_with("whsk_") || secret.starts_with("whpk_");
                (alone == signing(form)).then_some(secret)
            }
        }
    }
}

/// How a secret is generated: fixed text around one random part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generate {
    /// What stands before the random part.
    pub prefix: String,
    /// The random part.
    pub random: Random,
}

/// The random part of a generated secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Random {
    /// `{random:n}`: n letters and digits.
    Alphanumeric(usize),
    /// `{base64:n}`: n random bytes in base64 with padding.
    Base64(usize),
}

/// How a secret is replaced while receivers are being changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The old one signs until the new one is promoted: one signature at a time.
    Staged,
    /// Both sign until the old one expires: a list of signatures, one space between.
    Overlap,
}

/// How a signature's key comes from the secret's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyForm {
    /// HMAC: the UTF-8 bytes of the whole text, any prefix included.
    Utf8,
    /// HMAC: the bytes that the text behind `whsec_` is the base64 of (Standard Webhooks 1.0).
    WhsecBase64,
    /// ed25519: the text behind `whsk_` is the base64 of a 32-byte seed, or of the seed and the public key
    /// (64 bytes). Receivers hold the public key, `whpk_` and its base64 (Standard Webhooks 1.0).
    WhskBase64,
}

impl KeyForm {
    /// Its name in a profile.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::WhsecBase64 => "whsec-base64",
            Self::WhskBase64 => "whsk-base64",
        }
    }
}

/// One signature header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureRule {
    /// The header's name, as the product writes it.
    pub header: String,
    /// The same name, as HTTP compares it.
    pub header_name: HeaderName,
    /// How it is made.
    pub algorithm: Algorithm,
    /// How its key comes from the secret.
    pub key: KeyForm,
    /// Which bytes are signed: `{timestamp}`, `{id}`, `{body}` and text. Has the body once.
    pub signed: Template,
    /// The header's value: `{hex}` or `{base64}` once, `{timestamp}`, `{id}` and text.
    pub value: Template,
}

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC (RFC 2104) with SHA-256.
    HmacSha256,
    /// PureEdDSA over Curve25519 (RFC 8032, Ed25519).
    Ed25519,
}

impl Algorithm {
    /// Its name in a profile.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// A header that the profile adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRule {
    /// Its name, as HTTP compares it.
    pub name: HeaderName,
    /// Its value: `{id}`, `{timestamp}`, `{type}`, `{attempt}`, `{retry}` and text.
    pub value: Template,
    /// The value, where it is the same for every event.
    pub constant: Option<HeaderValue>,
}

/// What happens when a schedule ends without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// What happens to the webhook.
    pub action: ExhaustedAction,
    /// The webhook is not disabled if anything reached it since the failed delivery's first attempt.
    pub unless_succeeded_since: bool,
    /// The webhook is disabled after failing without a success for this long, milliseconds.
    pub disable_after_ms: Option<u64>,
    /// While it is disabled by one of these rules, the oldest of what it holds is tried out this often,
    /// milliseconds.
    pub probe_every_ms: Option<u64>,
}

/// What happens to a webhook when one delivery's schedule ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExhaustedAction {
    /// Nothing: the delivery has failed.
    Fail,
    /// It is disabled, and what waits for it is held.
    Disable,
}

/// How fast one webhook is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Deliveries in one second, at most.
    pub per_second: Option<u32>,
    /// Deliveries in one hour, at most.
    pub per_hour: Option<u32>,
    /// What happens to what is over the rate.
    pub overflow: Overflow,
    /// How many never-attempted deliveries may wait where the oldest are dropped.
    pub backlog: u32,
}

/// What happens to deliveries over the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// They wait.
    Delay,
    /// They wait in a bounded backlog; when it is full the oldest is dropped, and recorded as such.
    DropOldest,
}

/// The test event, as the product's page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Its type.
    pub event_type: String,
    /// Its data: one JSON value as text.
    pub data: String,
    /// Its metadata: one JSON object as text.
    pub metadata: Option<String>,
    /// Its scope.
    pub scope: Option<String>,
    /// The id that the page shows; a test that is sent has its own.
    pub id: Option<String>,
    /// The time that the page shows; a test that is sent has its own.
    pub created_at: Option<UnixMicros>,
}
