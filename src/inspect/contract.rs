//! A request read by its profile: which event it is of, and whether it verifies.
//!
//! Where the envelope has the event's id and type is found out by trying: an event with marked values is
//! rendered, and the marks are looked up in what came out.

use std::sync::Arc;

use anyhow::Context;
use http::HeaderMap;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::{AccountName, EventId, Secret, UnixMicros, UnixMillis};
use crate::profile::{Field, Profile};
use crate::render::{Envelope, example};
use crate::verify::{Verified, VerifyError, verify};

/// Marks that no profile's text has.
const ID_MARK: &str = "hookwheel-mark-of-the-id";
const TYPE_MARK: &str = "hookwheel.mark.of.the.type";

/// A profile with a webhook's secret, as its receiver has them.
#[derive(Debug)]
pub(super) struct Contract {
    /// The profile.
    pub(super) profile: Arc<Profile>,
    secret: Option<Secret>,
    /// Where the body has the event's id, as a JSON pointer (RFC 6901).
    id_at: Option<String>,
    type_at: Option<String>,
}

/// What was found out about a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It verifies.
    Verified(Verified),
    /// It does not.
    Refused(VerifyError),
    /// There is no secret to verify it with.
    Unchecked,
}

/// Which event a request is of, as far as it says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// The event's id.
    pub(super) id: Option<String>,
    /// The event's type.
    pub(super) event_type: Option<String>,
    /// The attempt's number, where a header carries it.
    pub(super) attempt: Option<u32>,
}

impl Contract {
    /// Takes a profile, and a secret where there is one.
    ///
    /// # Errors
    /// Where the profile's body template cannot be used.
    pub(super) fn new(profile: Arc<Profile>, secret: Option<Secret>) -> anyhow::Result<Self> {
        let envelope = Envelope::compile(&profile)
            .with_context(|| format!("the profile `{}` cannot be used", profile.name))?;
        let account = AccountName::new("example").expect("this is an account name");
        let id = EventId::new(ID_MARK).expect("this is an event id");
        let mut event = example(&profile, &account, id, UnixMicros(0))
            .context("the profile's example is not JSON")?;
        event.event_type = TYPE_MARK.to_owned();
        let body = envelope.render(&event)?;
        let body: Value = serde_json::from_str(&body).context("the envelope is not JSON")?;
        Ok(Self {
            id_at: pointer_to(&body, ID_MARK),
            type_at: pointer_to(&body, TYPE_MARK),
            profile,
            secret,
        })
    }

    /// Whether there is a secret.
    pub(super) const fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// Whether a request carries the signature that the profile promises.
    pub(super) fn judge(&self, headers: &HeaderMap, body: &[u8], now: UnixMillis) -> Verdict {
        let Some(secret) = &self.secret else {
            return Verdict::Unchecked;
        };
        match verify(&self.profile, secret.expose(), headers, body, now) {
            Ok(verified) => Verdict::Verified(verified),
            Err(why) => Verdict::Refused(why),
        }
    }

    /// Which event a request is of. Nothing here is verified.
    pub(super) fn named(&self, headers: &HeaderMap, body: &[u8]) -> Named {
        let json: Option<Value> = serde_json::from_slice(body).ok();
        let in_body = |at: &Option<String>| {
            let found = json.as_ref()?.pointer(at.as_deref()?)?;
            found.as_str().map(str::to_owned)
        };
        let in_header = |field| crate::verify::own_field(&self.profile, headers, field);
        let number = |field| in_header(field)?.parse::<u32>().ok();
        let after_retry = || number(Field::Retry)?.checked_add(1);
        Named {
            id: in_header(Field::Id).or_else(|| in_body(&self.id_at)),
            event_type: in_header(Field::Type).or_else(|| in_body(&self.type_at)),
            attempt: number(Field::Attempt).or_else(after_retry),
        }
    }
}

/// What tells the requests of one event from those of others, on one path: its id, or else its body, which is
/// the same at each attempt.
pub(super) fn event_key(path: &str, named: &Named, body: &[u8]) -> [u8; 32] {
    let (kind, bytes) = match &named.id {
        Some(id) => ("id", id.as_bytes()),
        None => ("body", body),
    };
    let hash = Sha256::new()
        .chain_update(path)
        .chain_update([0])
        .chain_update(kind)
        .chain_update([0]);
    hash.chain_update(bytes).finalize().into()
}

/// Where `text` stands in `value`, first from the top.
fn pointer_to(value: &Value, text: &str) -> Option<String> {
    let below = |key: String, value| {
        let rest = pointer_to(value, text)?;
        Some(format!(
            "/{}{rest}",
            key.replace('~', "~0").replace('/', "~1")
        ))
    };
    match value {
        Value::String(found) => (found == text).then(String::new),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(at, item)| below(at.to_string(), item))
        }
        Value::Object(members) => {
            let mut members = members.iter();
            members.find_map(|(key, member)| below(key.clone(), member))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}
