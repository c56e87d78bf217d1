//! A webhook's fields as a client gives them: one reading for registering and for changing.

mod headers;
mod oauth2;
mod schedule;

pub(super) use oauth2::show as show_oauth2;

use serde_json::Value;

use super::chosen;
use crate::api::fields::Fields;
use crate::api::openapi::shapes::{self, Named};
use crate::model::{
    AccountName, BLOCKED_TEXT, Endpoint, InactiveReason, Order, UnixMillis, Webhook, WebhookId,
};
use crate::profile::Profile;
use crate::render::pattern::Pattern;
use crate::sender::Guard;

/// Bounds on texts for people, bytes: they are shown in lists.
const NAME_MAX: usize = 200;
const DESCRIPTION_MAX: usize = 2_000;
/// Event patterns of one webhook: each is compared with each event of the account.
const PATTERNS_MAX: usize = 100;
/// A scope's length, bytes, as for an event's.
pub(crate) const SCOPE_MAX: usize = 200;

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
        inactive: None,
        created_at: now,
        updated_at: now,
        order: Order::None,
        tls: None,
        oauth2: None,
        declared: None,
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
        "bearer_token",
        "api_key",
        "api_key_header",
        "auth_header",
        "auth_value",
        "oauth2",
        "format",
        "filter",
        "order",
        "tls",
        "timeout",
        "retry",
        "max_retries",
        "retry_delay",
        "retry_backoff",
        "secret",
    ]);
    names.join(", ")
}

/// What a registration and a change take; `scope_fields` are what the profiles call a webhook's scope.
pub(in crate::api) fn schemas(scope_fields: &[String]) -> [Value; 2] {
    let secret = "A secret of your own, in the form that the profile's receivers know; without one, or with null, one \
                  is made where the profile signs.";
    let mut fields = common();
    fields.push(("secret", shapes::or_null(shapes::text(secret))));
    let draft = shapes::given(&["url"], fields, "A webhook to be registered.");
    let means = "What of a webhook is changed: what is not given stays. Its secret is replaced by calls of their own.";
    let change = shapes::given(&[], common(), means);
    [draft, change].map(|schema| shapes::with_scope(schema, scope_fields, SCOPE_MAX))
}

/// The fields that both may give.
fn common() -> Vec<Named> {
    let events = "Event types, beginnings of types as `user.*`, or `*`. None: every type, where the profile lets that be.";
    let active = "An inactive webhook gets nothing; what comes for it is held.";
    let oauth2 = "Client credentials by which its requests get an access token; null for none.";
    let mut fields = vec![
        ("url", shapes::named("Url")),
        (
            "events",
            shapes::list_of(0, PATTERNS_MAX, shapes::text("A type or pattern."), events),
        ),
        ("active", shapes::flag(active)),
        (
            "name",
            shapes::or_null(shapes::text_up_to(
                NAME_MAX,
                "A name for people, up to 200 bytes.",
            )),
        ),
        (
            "description",
            shapes::or_null(shapes::text_up_to(
                DESCRIPTION_MAX,
                "Words for people, up to 2,000 bytes.",
            )),
        ),
    ];
    fields.extend(headers::schema());
    fields.push((
        "oauth2",
        shapes::or_null(shapes::named_as("OAuth2", oauth2)),
    ));
    fields.extend(chosen::schema());
    fields.extend(schedule::schema());
    fields
}

/// The parts of these that have names of their own.
pub(in crate::api) fn parts() -> Vec<Named> {
    vec![
        ("OAuth2", oauth2::schema()),
        ("RetrySchedule", schedule::whole_schema()),
        ("Duration", schedule::duration_schema()),
        ("Order", chosen::order_schema()),
    ]
}

/// Reads a registration. `None` where a field was refused; [`Fields::finish`] then says which.
pub(super) fn create(
    fields: &mut Fields<'_>,
    account: &AccountName,
    now: UnixMillis,
    profile: &Profile,
    guard: &Guard,
) -> Option<Webhook> {
    let url = fields
        .required::<String>("url", "the HTTPS URL to send to, as a string")
        .and_then(|url| read_url(fields, "url", account, &url, guard));
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
    apply(fields, &mut webhook, profile, guard);
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
    guard: &Guard,
) {
    if let Some(url) = fields.value::<String>("url", "a string")
        && let Some(endpoint) = read_url(fields, "url", &webhook.account, &url, guard)
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
        webhook.set_active(active, InactiveReason::Request, webhook.updated_at);
    }
    if let Some(name) = bounded(fields, "name", NAME_MAX) {
        webhook.name = name;
    }
    if let Some(description) = bounded(fields, "description", DESCRIPTION_MAX) {
        webhook.description = description;
    }
    let giver = oauth2::giver(fields);
    headers::read(fields, webhook, profile);
    oauth2::read(fields, webhook, guard);
    oauth2::check_alone(fields, webhook, profile, giver);
    schedule::read_timeout(fields, webhook);
    schedule::read_retry(fields, webhook, profile);
}

fn bounded(fields: &mut Fields<'_>, name: &str, bytes_max: usize) -> Option<Option<String>> {
    let text = fields.nullable::<String>(name, "a string or null")?;
    if text.as_ref().is_some_and(|text| text.len() > bytes_max) {
        fields.refuse(name, format!("is over {bytes_max} bytes"));
        return None;
    }
    Some(text)
}

/// Checks the URL that the field `name` gives.
fn read_url(
    fields: &mut Fields<'_>,
    name: &str,
    account: &AccountName,
    url: &str,
    guard: &Guard,
) -> Option<Endpoint> {
    let endpoint = match Endpoint::parse(url) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            fields.refuse_as(error.code(), name, error.to_string());
            return None;
        }
    };
    if !guard.lets(account, &endpoint) {
        fields.refuse_as("address_blocked", name, BLOCKED_TEXT);
        return None;
    }
    Some(endpoint)
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
