//! A webhook's fields as a client gives them: one reading for registering and for changing.

use std::collections::BTreeMap;

use http::header::HeaderName;
use serde::Deserialize;

use crate::api::fields::Fields;
use crate::model::{
    AccountName, AddressPolicy, Endpoint, Header, RetryPolicy, Secret, UnixMillis, Webhook,
    WebhookId, parse_duration,
};
use crate::profile::Profile;
use crate::render::pattern::Pattern;

/// Bounds on texts for people, bytes: they are shown in lists.
const NAME_MAX: usize = 200;
const DESCRIPTION_MAX: usize = 2_000;
/// Event patterns of one webhook: each is compared with each event of the account.
const PATTERNS_MAX: usize = 100;
/// Owner's headers, and bytes of all of them together: receivers refuse heads beyond some 8 kB.
const HEADERS_MAX: usize = 50;
const HEADER_BYTES_MAX: usize = 8 * 1024;
/// A scope's length, bytes, as for an event's.
pub(crate) const SCOPE_MAX: usize = 200;
/// No attempt may take longer: it holds a connection and a place among those under way.
const TIMEOUT_MAX_MS: u64 = 5 * 60 * 1000;
const TIMEOUT_MIN_MS: u64 = 100;

/// A webhook of a new identity with nothing set but where it sends.
fn blank(account: AccountName, now: UnixMillis, url: Endpoint) -> Webhook {
    Webhook {
        id: WebhookId::generate(),
        account,
        version: 1,
        url,
        events: Vec::new(),
        scope: None,
        name: None,
        description: None,
        secret: None,
        staged_secret: None,
        old_secret: None,
        format: None,
        filter: None,
        headers: Vec::new(),
        timeout_ms: None,
        retry: None,
        active: true,
        created_at: now,
        updated_at: now,
    }
}

/// The fields there are, for the answer to an unknown one.
pub(super) fn known(profile: &Profile) -> String {
    let mut names = vec!["url", "events"];
    names.push(&profile.scope_field);
    names.extend([
        "active",
        "name",
        "description",
        "headers",
        "format",
        "filter",
        "timeout",
        "retry",
        "secret",
    ]);
    names.join(", ")
}

/// Reads a registration. `None` where a field was refused; [`Fields::finish`] then says which.
pub(super) fn create(
    fields: &mut Fields<'_>,
    account: &AccountName,
    now: UnixMillis,
    profile: &Profile,
    policy: &AddressPolicy,
) -> Option<Webhook> {
    let url = fields
        .required::<String>("url", "the HTTPS URL to send to, as a string")
        .and_then(|url| read_url(fields, account, &url, policy));
    let url_good = url.is_some();
    // Without a URL the other fields are still read, so that one answer names all that is wrong.
    let url = url.or_else(|| Endpoint::parse("https://url.invalid/").ok())?;
    let mut webhook = blank(account.clone(), now, url);
    if profile.events_required && !fields.has("events") {
        let known = profile.subscribable().collect::<Vec<_>>().join(", ");
        fields.refuse_as(
            "missing",
            "events",
            format!("is missing: give a list of: {known}"),
        );
    }
    apply(fields, &mut webhook, profile, policy);
    let rules = &profile.secret;
    match fields.nullable::<String>("secret", "a string").flatten() {
        Some(text) => match rules.check(&text) {
            Ok(secret) => webhook.secret = Some(secret),
            Err(error) => fields.refuse_as("secret_invalid", "secret", error.to_string()),
        },
        None if rules.required => match rules.generate() {
            Ok(secret) => webhook.secret = Some(secret),
            Err(error) => fields.refuse("secret", error.to_string()),
        },
        None => {}
    }
    url_good.then_some(webhook)
}

/// Reads the fields that both a registration and a change may give, into `webhook`.
pub(super) fn apply(
    fields: &mut Fields<'_>,
    webhook: &mut Webhook,
    profile: &Profile,
    policy: &AddressPolicy,
) {
    if let Some(url) = fields.value::<String>("url", "a string")
        && let Some(endpoint) = read_url(fields, &webhook.account, &url, policy)
    {
        webhook.url = endpoint;
    }
    if let Some(events) = fields.value::<Vec<String>>("events", "a list of strings") {
        read_events(fields, webhook, events, profile);
    }
    if let Some(scope) = bounded(fields, &profile.scope_field, SCOPE_MAX) {
        webhook.scope = scope;
    }
    if let Some(active) = fields.value("active", "true or false") {
        webhook.active = active;
    }
    if let Some(name) = bounded(fields, "name", NAME_MAX) {
        webhook.name = name;
    }
    if let Some(description) = bounded(fields, "description", DESCRIPTION_MAX) {
        webhook.description = description;
    }
    let headers = "an object of header names and values";
    if let Some(given) = fields.value::<BTreeMap<String, Option<String>>>("headers", headers) {
        read_headers(fields, webhook, given, profile);
    }
    if let Some(timeout) = fields.nullable::<String>("timeout", "a duration such as \"10s\"") {
        read_timeout(fields, webhook, timeout.as_deref());
    }
    let retry = "an object such as {\"delays\": [\"5s\", \"5m\"]}";
    if let Some(given) = fields.nullable::<Retry>("retry", retry) {
        read_retry(fields, webhook, given);
    }
}

fn bounded(fields: &mut Fields<'_>, name: &str, bytes_max: usize) -> Option<Option<String>> {
    let text = fields.nullable::<String>(name, "a string or null")?;
    if text.as_ref().is_some_and(|text| text.len() > bytes_max) {
        fields.refuse(name, format!("is over {bytes_max} bytes"));
        return None;
    }
    Some(text)
}

fn read_url(
    fields: &mut Fields<'_>,
    account: &AccountName,
    url: &str,
    policy: &AddressPolicy,
) -> Option<Endpoint> {
    let endpoint = match Endpoint::parse(url) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            fields.refuse_as(error.code(), "url", error.to_string());
            return None;
        }
    };
    match policy.judge_host(&endpoint.host()) {
        Ok(()) => Some(endpoint),
        Err(rule) => {
            // Which range it is and how it could be allowed is the operator's business, not the tenant's.
            tracing::info!(%account, %url, rule = rule.name, hint = rule.hint(),
                "a webhook's URL was refused by the address policy");
            let detail = "this address cannot be sent to; ask the operator if it should be";
            fields.refuse_as("address_blocked", "url", detail);
            None
        }
    }
}

fn read_events(
    fields: &mut Fields<'_>,
    webhook: &mut Webhook,
    events: Vec<String>,
    profile: &Profile,
) {
    if profile.events_required && events.is_empty() {
        let known = profile.subscribable().collect::<Vec<_>>().join(", ");
        return fields.refuse("events", format!("is empty: name at least one of: {known}"));
    }
    if events.len() > PATTERNS_MAX {
        return fields.refuse("events", format!("has over {PATTERNS_MAX} entries"));
    }
    let mut good = true;
    for (at, text) in events.iter().enumerate() {
        if let Err(error) = Pattern::parse(profile, text) {
            fields.refuse_as(
                "event_type_unknown",
                &format!("events/{at}"),
                error.to_string(),
            );
            good = false;
        }
    }
    if good {
        webhook.events = events;
    }
}

fn read_headers(
    fields: &mut Fields<'_>,
    webhook: &mut Webhook,
    given: BTreeMap<String, Option<String>>,
    profile: &Profile,
) {
    if given.len() > HEADERS_MAX {
        return fields.refuse("headers", format!("has over {HEADERS_MAX} entries"));
    }
    let bytes: usize = given
        .iter()
        .map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len))
        .sum();
    if bytes > HEADER_BYTES_MAX {
        return fields.refuse(
            "headers",
            format!("are over {HEADER_BYTES_MAX} bytes together"),
        );
    }
    let mut headers: Vec<Header> = Vec::with_capacity(given.len());
    for (name, value) in given {
        match header(webhook, &name, value, profile) {
            Ok(new)
                if headers
                    .iter()
                    .any(|had| had.name.eq_ignore_ascii_case(&new.name)) =>
            {
                fields.refuse_as(
                    "header_invalid",
                    "headers",
                    format!("{name} is given twice"),
                );
            }
            Ok(new) => headers.push(new),
            Err((code, detail)) => {
                let pointer = name.replace('~', "~0").replace('/', "~1");
                fields.refuse_as(code, &format!("headers/{pointer}"), detail);
            }
        }
    }
    webhook.headers = headers;
}

/// A header as given; null keeps the value that is stored, which no answer shows.
fn header(
    webhook: &Webhook,
    name: &str,
    value: Option<String>,
    profile: &Profile,
) -> Result<Header, (&'static str, String)> {
    let value = match value {
        Some(value) => Secret::new(value),
        None => webhook
            .headers
            .iter()
            .find(|stored| stored.name.eq_ignore_ascii_case(name))
            .map(|stored| stored.value.clone())
            .ok_or_else(|| {
                (
                    "header_invalid",
                    "has no stored value to keep: give one".to_owned(),
                )
            })?,
    };
    crate::sign::check_header(profile, name, value.expose())
        .map_err(|error| (error.code(), error.to_string()))?;
    debug_assert!(HeaderName::try_from(name).is_ok());
    Ok(Header {
        name: name.to_owned(),
        value,
    })
}

fn read_timeout(fields: &mut Fields<'_>, webhook: &mut Webhook, text: Option<&str>) {
    let Some(text) = text else {
        webhook.timeout_ms = None;
        return;
    };
    let ms = match parse_duration(text) {
        Ok(timeout) => u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        Err(error) => return fields.refuse("timeout", error.to_string()),
    };
    match u32::try_from(ms) {
        Ok(short) if (TIMEOUT_MIN_MS..=TIMEOUT_MAX_MS).contains(&ms) => {
            webhook.timeout_ms = Some(short);
        }
        _ => fields.refuse("timeout", "must be from 100ms to 5m"),
    }
}

/// A retry schedule as a list of delays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retry {
    delays: Vec<String>,
    jitter: Option<String>,
}

fn read_retry(fields: &mut Fields<'_>, webhook: &mut Webhook, given: Option<Retry>) {
    let Some(given) = given else {
        webhook.retry = None;
        return;
    };
    let mut delays = Vec::with_capacity(given.delays.len());
    for (at, text) in given.delays.iter().enumerate() {
        match parse_duration(text) {
            Ok(delay) => delays.push(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
            Err(error) => {
                fields.refuse_as("invalid", &format!("retry/delays/{at}"), error.to_string())
            }
        }
    }
    let jitter = match given.jitter.as_deref().unwrap_or("0%").strip_suffix('%') {
        Some(digits) => digits.parse::<u8>().ok(),
        None => None,
    };
    let Some(jitter) = jitter else {
        let detail = "must be a percentage such as \"20%\"";
        return fields.refuse_as("invalid", "retry/jitter", detail);
    };
    if delays.len() == given.delays.len() {
        match RetryPolicy::new(delays, jitter) {
            Ok(policy) => webhook.retry = Some(policy),
            Err(error) => fields.refuse("retry", error.to_string()),
        }
    }
}

/// A duration with its largest whole unit: `90s`, `2m`, `250ms`.
pub(super) fn duration_text(ms: u64) -> String {
    match ms {
        0 => "0s".to_owned(),
        _ if ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}
