//! A profile as the operator writes it: the TOML shape, nothing checked but names and types.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// A profile's table in a TOML text, every value with its place in that text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawProfile {
    pub(super) extends: Option<Spanned<String>>,
    pub(super) event_types: Option<Vec<Spanned<String>>>,
    pub(super) inner_types: Option<Vec<Spanned<String>>>,
    pub(super) events_required: Option<bool>,
    pub(super) match_on: Option<Vec<Spanned<String>>>,
    pub(super) scope_field: Option<Spanned<String>>,
    pub(super) success: Option<Vec<Spanned<String>>>,
    pub(super) timeout: Option<Spanned<String>>,
    pub(super) body: Option<Spanned<String>>,
    pub(super) on_gone: Option<Spanned<String>>,
    pub(super) honour_retry_after: Option<bool>,
    pub(super) secret: Option<RawSecret>,
    pub(super) signature: Option<Vec<RawSignature>>,
    pub(super) headers: Option<BTreeMap<Spanned<String>, Spanned<String>>>,
    pub(super) retry: Option<Spanned<RawRetry>>,
    pub(super) exhausted: Option<RawExhausted>,
    pub(super) rate: Option<Spanned<RawRate>>,
    pub(super) api: Option<RawApi>,
    pub(super) example: Option<Spanned<RawExample>>,
    pub(super) schemas: Option<BTreeMap<Spanned<String>, Spanned<String>>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecret {
    pub(super) required: Option<bool>,
    pub(super) generate: Option<Spanned<String>>,
    pub(super) rotation: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSignature {
    pub(super) header: Spanned<String>,
    pub(super) algorithm: Spanned<String>,
    pub(super) key: Option<Spanned<String>>,
    pub(super) signed: Spanned<String>,
    pub(super) value: Spanned<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRetry {
    pub(super) delays: Option<Vec<Spanned<String>>>,
    pub(super) initial: Option<Spanned<String>>,
    pub(super) multiplier: Option<Spanned<f64>>,
    pub(super) max_delay: Option<Spanned<String>>,
    pub(super) max_retries: Option<Spanned<u32>>,
    pub(super) jitter: Option<Spanned<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExhausted {
    pub(super) action: Option<Spanned<String>>,
    pub(super) unless_succeeded_since: Option<bool>,
    pub(super) disable_after: Option<Spanned<String>>,
    pub(super) probe_every: Option<Spanned<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRate {
    pub(super) per_second: Option<u32>,
    pub(super) per_hour: Option<u32>,
    pub(super) overflow: Option<Spanned<String>>,
    pub(super) backlog: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApi {
    pub(super) requests_per_minute: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExample {
    #[serde(rename = "type")]
    pub(super) event_type: Spanned<String>,
    pub(super) data: Spanned<String>,
    pub(super) metadata: Option<Spanned<String>>,
    pub(super) scope: Option<String>,
    pub(super) id: Option<Spanned<String>>,
    pub(super) created_at: Option<Spanned<String>>,
}
