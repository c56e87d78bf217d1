//! Webhooks over HTTP: register, list, read, change, remove, test.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::engine::{ChangeError, Contract, Engine, Live, WEBHOOKS_MAX};
use crate::model::{
    AccountName, AuditAction, Outcome, Scope, Secret, UnixMillis, Webhook, WebhookId,
};
use crate::profile::Profile;

use super::Api;
use super::access::Caller;
use super::audit::with_details;
use super::error::Problem;
use super::fields::Fields;
use super::input::Unread;
use super::page::{Asked, Named, Paging, json_answer, page, row_limit};

mod chosen;
mod declared;
pub(super) mod draft;

pub use declared::{DeclaredFault, Ground, as_shown, fingerprints, read_declared};
pub(super) use declared::{list as list_declared, refuse_declared};

use chosen::Chosen;
pub(super) use draft::SCOPE_MAX;

/// The webhook of a path, if it is the caller's.
pub(super) fn find(api: &Api, account: &AccountName, id: &str) -> Result<Arc<Live>, Problem> {
    id.parse::<WebhookId>()
        .ok()
        .and_then(|id| api.engine.webhook(account, id))
        .ok_or_else(|| Problem::not_found("webhook"))
}

pub(super) fn contract(api: &Api, caller: &Caller) -> Result<Arc<Contract>, Problem> {
    api.engine
        .contract(caller.account())
        .ok_or_else(Problem::unauthorized)
}

/// `POST /api/v1/webhooks`
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    body: Unread,
) -> Result<Response, Problem> {
    let text = body.read(&api, &caller, Scope::Admin).await?;
    let contract = contract(&api, &caller)?;
    if api.engine.webhooks(caller.account()).len() >= WEBHOOKS_MAX {
        return Err(ChangeError::TooManyWebhooks.into());
    }
    let mut fields = Fields::parse(text.as_str())?;
    let given = fields.names();
    let now = api.engine.clock().wall();
    let (account, profile) = (caller.account(), &contract.profile);
    let webhook = draft::create(&mut fields, account, now, profile, &api.guard);
    let tls = api.engine.tls_names(account);
    let chosen = Chosen::read(&mut fields, &contract.formats, &tls);
    fields.finish(&draft::known(&contract.profile))?;
    let mut webhook =
        webhook.ok_or_else(|| Problem::internal(&"a field was refused without a word"))?;
    chosen.put(&mut webhook);
    let entry = caller.does_to(AuditAction::WebhookCreated, webhook.id);
    let entry = with_details(entry, given);
    let live = api.engine.create_webhook(webhook, Some(entry)).await?;
    tracing::info!(webhook_id = %live.webhook.id, account = %caller.account(), key = caller.key_name(),
        peer = caller.peer().map(tracing::field::display), "webhook registered");
    let mut shown = show_whole(&api.engine, &live, now);
    if let Some(secret) = &live.webhook.secret {
        shown.insert("secret".to_owned(), json!(secret.expose()));
    }
    if let Some(hint) = chosen::hint(&live.webhook, &contract.formats) {
        shown.insert("hint".to_owned(), json!(hint));
    }
    let mut response = json_answer(StatusCode::CREATED, &Value::Object(shown));
    let location = format!("/api/v1/webhooks/{}", live.webhook.id);
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// `GET /api/v1/webhooks`: oldest first; the cursor is the last id shown.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<Paging>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let limit = row_limit(query.limit)?;
    let after = query.after::<WebhookId>()?;
    let now = api.engine.clock().wall();
    let (listed, next) = listed(&api, caller.account(), limit, after);
    let rows: Vec<Value> = listed
        .iter()
        .map(|live| Value::Object(show_webhook(&api.engine, live, now)))
        .collect();
    Ok(page(rows, next.map(|id| id.to_string())))
}

/// A page of an account's webhooks, oldest first, and the cursor for the next one.
pub(super) fn listed(
    api: &Api,
    account: &AccountName,
    limit: usize,
    after: Option<WebhookId>,
) -> (Vec<Arc<Live>>, Option<WebhookId>) {
    let all = api.engine.webhooks(account);
    let from = after.map_or(0, |after| {
        all.partition_point(|live| live.webhook.id <= after)
    });
    let rest = all.get(from..).unwrap_or_default();
    let listed: Vec<_> = rest.iter().take(limit).map(Arc::clone).collect();
    let last = listed.last().filter(|_| rest.len() > limit);
    let next = last.map(|live| live.webhook.id);
    (listed, next)
}

/// `GET /api/v1/webhooks/{id}`
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let live = find(&api, caller.account(), &id)?;
    // After a start the log tells. A list shows it once an attempt has failed since.
    api.engine.read_failing(&live).await;
    let shown = show_whole(&api.engine, &live, api.engine.clock().wall());
    Ok(json_answer(StatusCode::OK, &Value::Object(shown)))
}

/// `PATCH /api/v1/webhooks/{id}`: the fields given replace those stored.
pub(super) async fn change(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named<String>,
    body: Unread,
) -> Result<Response, Problem> {
    let text = body.read(&api, &caller, Scope::Admin).await?;
    let live = find(&api, caller.account(), &id)?;
    let mut fields = Fields::parse(text.as_str())?;
    let given = fields.names();
    if given != ["active"] || declared::is_withdrawn(&live.webhook) {
        refuse_declared(&live.webhook)?;
    }
    let mut webhook = live.webhook.clone();
    let now = api.engine.clock().wall();
    webhook.updated_at = now;
    draft::apply(
        &mut fields,
        &mut webhook,
        &live.contract.profile,
        &api.guard,
    );
    let tls = api.engine.tls_names(caller.account());
    Chosen::read(&mut fields, &live.contract.formats, &tls).put(&mut webhook);
    if fields.raw("secret").is_some() {
        fields.refuse(
            "secret",
            "cannot be changed here; use POST …/secret/rotate, or …/secret/stage where the profile stages",
        );
    }
    fields.finish(&draft::known(&live.contract.profile))?;
    webhook.forget_expired_secret(now);
    let entry = caller.does_to(AuditAction::WebhookChanged, webhook.id);
    let entry = with_details(entry, given);
    let live = api.engine.change_webhook(webhook, Some(entry)).await?;
    tracing::info!(webhook_id = %live.webhook.id, account = %caller.account(), key = caller.key_name(),
        peer = caller.peer().map(tracing::field::display), "webhook changed");
    let shown = show_whole(&api.engine, &live, now);
    Ok(json_answer(StatusCode::OK, &Value::Object(shown)))
}

/// `DELETE /api/v1/webhooks/{id}`: what waits for it is cancelled.
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<StatusCode, Problem> {
    caller.require(Scope::Admin)?;
    let live = find(&api, caller.account(), &id)?;
    if !declared::is_withdrawn(&live.webhook) {
        refuse_declared(&live.webhook)?;
    }
    let (id, version) = (live.webhook.id, live.webhook.version);
    let entry = caller.does_to(AuditAction::WebhookRemoved, id);
    api.engine.remove_webhook(id, version, Some(entry)).await?;
    tracing::info!(webhook_id = %id, account = %caller.account(), key = caller.key_name(),
        peer = caller.peer().map(tracing::field::display), "webhook removed");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/webhooks/{id}/test`: sends the profile's example now and says what came of it.
pub(super) async fn test(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Admin)?;
    let live = find(&api, caller.account(), &id)?;
    let entry = caller.does_to(AuditAction::WebhookTested, live.webhook.id);
    let tested = api.engine.test(&live, Some(entry)).await?;
    let attempt = super::deliveries::show_attempt(&tested.attempt);
    let shown = json!({
        "delivered": tested.delivered,
        "status": status_of(&tested.attempt.outcome),
        "response_time_ms": f64::from(tested.attempt.phases.total_us) / 1000.0,
        "event_id": tested.event.as_str(),
        "attempt": attempt,
        "request_body": tested.body,
    });
    Ok(json_answer(StatusCode::OK, &shown))
}

pub(super) fn status_of(outcome: &Outcome) -> Option<u16> {
    match outcome {
        Outcome::Status(code) => Some(*code),
        Outcome::Fault { .. } => None,
    }
}

/// A webhook with its effective contract, as answers about one webhook show it.
pub(super) fn show_whole(engine: &Engine, live: &Live, now: UnixMillis) -> Map<String, Value> {
    let mut shown = show_webhook(engine, live, now);
    let told = super::contract::show(&live.contract.profile, Some(live));
    shown.insert("contract".to_owned(), told);
    shown
}

/// A webhook as lists show it: no secret, and of its headers only the names.
fn show_webhook(engine: &Engine, live: &Live, now: UnixMillis) -> Map<String, Value> {
    let (webhook, contract) = (&live.webhook, &live.contract);
    let mut settings = settings(webhook, &contract.profile);
    let mut shown = Map::new();
    shown.insert("id".to_owned(), json!(webhook.id.to_string()));
    for name in ["url", "events", &contract.profile.scope_field] {
        shown.extend(settings.shift_remove_entry(name));
    }
    let mut put = |name: &str, value: Value| {
        shown.insert(name.to_owned(), value);
    };
    put("active", json!(webhook.active));
    let inactive = webhook.inactive.map(|inactive| {
        json!({
            "reason": inactive.reason.as_str(),
            "since": inactive.since.to_string(),
            "next_probe_at": engine.next_probe_at(live).map(|at| at.to_string()),
        })
    });
    put("inactive", json!(inactive));
    let failing = engine.failing(live).map(|failing| {
        json!({
            "since": failing.since.to_string(),
            "disables_at": failing.disables_at.map(|at| at.to_string()),
        })
    });
    put("failing", json!(failing));
    // Why an active one is held, where the config no longer has what it names.
    put("held", json!(live.misfit()));
    put("declared", json!(webhook.declared));
    for (name, value) in settings {
        put(&name, value);
    }
    put(
        "signed",
        json!(webhook.secret.as_ref().map(Secret::expose).is_some()),
    );
    if let Some(secret) = &webhook.secret
        && let Some(key) = contract.profile.secret.public_key(secret)
    {
        put("public_key", json!(key));
    }
    let old_until = webhook.old_secret_until(now);
    put(
        "secret_rotation",
        json!({
            "staged": webhook.staged_secret.is_some(),
            "old_until": old_until.map(|until| until.to_string()),
        }),
    );
    put("created_at", json!(webhook.created_at.to_string()));
    put("updated_at", json!(webhook.updated_at.to_string()));
    shown
}

/// What the owner of a webhook says of it, as answers show it: no secret, and of its headers only the names.
fn settings(webhook: &Webhook, profile: &Profile) -> Map<String, Value> {
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| {
        shown.insert(name.to_owned(), value);
    };
    put("url", json!(webhook.url.as_str()));
    put("events", json!(webhook.events));
    put(&profile.scope_field, json!(webhook.scope));
    put("name", json!(webhook.name));
    put("description", json!(webhook.description));
    let headers = webhook
        .headers
        .iter()
        .map(|header| (header.name.clone(), Value::Null));
    put("headers", Value::Object(headers.collect()));
    put("oauth2", draft::show_oauth2(webhook.oauth2.as_ref()));
    put("format", json!(webhook.format));
    put("filter", chosen::show_filter(webhook.filter.as_deref()));
    put("order", chosen::show_order(&webhook.order));
    put("tls", json!(webhook.tls));
    let timeout = profile.timeout_ms(webhook);
    put("timeout", json!(draft::duration_text(u64::from(timeout))));
    let retry = profile.policy(webhook).retry;
    let delays: Vec<String> = retry
        .delays_ms()
        .iter()
        .map(|ms| draft::duration_text(*ms))
        .collect();
    put(
        "retry",
        json!({ "delays": delays, "jitter": format!("{}%", retry.jitter_percent()) }),
    );
    shown
}
