//! Webhooks that the config declares, as the API sees them: the same reading as a registration's, what the API may not
//! change of them, and `GET /api/v1/declared`.
//!
//! No answer has a secret of theirs; whoever may manage sees 16 bits of each, to tell whether it is another one.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::api::Api;
use crate::api::access::Caller;
use crate::api::error::Problem;
use crate::api::fields::Fields;
use crate::api::page::{Asked, Paging, json_answer, row_limit};
use crate::engine::fingerprint;
use crate::model::{AccountName, InactiveReason, Scope, UnixMillis, Webhook, WebhookId};
use crate::profile::Profile;
use crate::render::Formats;
use crate::sender::Guard;

use super::chosen::Chosen;
use super::{draft, settings};

/// What a declaration is read by: all that a registration of its account is.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// Whose it is.
    pub account: &'a AccountName,
    /// Its account's profile.
    pub profile: &'a Profile,
    /// The formats that there are.
    pub formats: &'a Formats,
    /// The names for TLS that its account may use.
    pub tls: &'a [String],
    /// The address rules.
    pub guard: &'a Guard,
}

/// What is wrong with a field of a declaration.
#[derive(Clone, Debug)]
pub struct DeclaredFault {
    /// RFC 6901 pointer to the field.
    pub pointer: String,
    /// The code that a registration is answered with.
    pub code: &'static str,
    /// What is wrong and what to write instead.
    pub detail: String,
}

/// Reads a declaration, which is a registration's body, by a registration's rules.
///
/// # Errors
/// Each field at fault.
pub fn read_declared(text: &str, ground: Ground<'_>) -> Result<Webhook, Vec<DeclaredFault>> {
    let faults = |problem: Problem| -> Vec<DeclaredFault> {
        let faults = problem.into_faults().into_iter();
        let told = faults.map(|fault| DeclaredFault {
            pointer: fault.pointer,
            code: fault.code,
            detail: fault.detail,
        });
        told.collect()
    };
    let mut fields = Fields::parse(text).map_err(|_| {
        // It is our own JSON text, so all that can be wrong with it is its size.
        vec![DeclaredFault {
            pointer: String::new(),
            code: "invalid",
            detail: "has more than 64 entries; write fewer".to_owned(),
        }]
    })?;
    let profile = ground.profile;
    let webhook = draft::create(
        &mut fields,
        ground.account,
        UnixMillis(0),
        profile,
        ground.guard,
    );
    let chosen = Chosen::read(&mut fields, ground.formats, ground.tls);
    fields.finish(&draft::known(profile)).map_err(faults)?;
    let mut webhook = webhook.ok_or_else(Vec::new)?;
    chosen.put(&mut webhook);
    Ok(webhook)
}

/// What a webhook is to be, as answers about it show that, but for its secrets.
#[must_use]
pub fn as_shown(webhook: &Webhook, profile: &Profile) -> Map<String, Value> {
    settings(webhook, profile)
}

/// Whether the config had declared it and does so no more.
pub(super) fn is_withdrawn(webhook: &Webhook) -> bool {
    let reason = webhook.inactive.map(|inactive| inactive.reason);
    webhook.declared.is_some() && reason == Some(InactiveReason::Undeclared)
}

/// Refuses what only the config may do to a webhook.
///
/// # Errors
/// 409 where the config declares it, or did.
pub(in crate::api) fn refuse_declared(webhook: &Webhook) -> Result<(), Problem> {
    let Some(name) = &webhook.declared else {
        return Ok(());
    };
    let detail = if is_withdrawn(webhook) {
        format!(
            "this webhook was declared in the config as `{name}` and is there no more: declare it again in [[webhooks]] \
             and have the config read again, or remove it here"
        )
    } else {
        format!(
            "this webhook is declared in the config as `{name}`: change its entry in [[webhooks]] and have the config \
             read again (hookwheel apply, or SIGHUP); here it can be held and activated (`active` alone), tested, and \
             its deliveries be sent again"
        )
    };
    Err(Problem::new(
        StatusCode::CONFLICT,
        "webhook_declared",
        detail,
    ))
}

/// `GET /api/v1/declared`: the declared webhooks, oldest first, what of them could not be done yet, and which config is
/// in force.
pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<Paging>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let limit = row_limit(query.limit)?;
    let after = query.after::<WebhookId>()?;
    let manages = caller.require(Scope::Admin).is_ok();
    let all = api.engine.webhooks(caller.account());
    let mut rest = all.iter().filter(|live| {
        live.webhook.declared.is_some() && after.is_none_or(|after| live.webhook.id > after)
    });
    let shown: Vec<_> = rest.by_ref().take(limit).collect();
    let next = rest
        .next()
        .and_then(|_| shown.last())
        .map(|live| live.webhook.id.to_string());
    let rows = shown.iter().map(|live| {
        let webhook = &live.webhook;
        json!({
            "name": webhook.declared,
            "webhook_id": webhook.id.to_string(),
            "declared": !is_withdrawn(webhook),
            "fingerprints": manages.then(|| fingerprints(webhook)),
        })
    });
    let rows: Vec<Value> = rows.collect();
    let undone = api.engine.undone(caller.account());
    let undone = undone
        .iter()
        .map(|one| json!({ "name": one.name, "why": one.why }));
    let in_force = api.in_force.read().expect("no holder of this lock panics");
    let body = json!({
        "account": caller.account().as_str(),
        "config": { "revision": in_force.revision, "since": in_force.since.to_string() },
        "undone": undone.collect::<Vec<_>>(),
        "data": rows,
        "next_cursor": next,
    });
    Ok(json_answer(StatusCode::OK, &body))
}

/// 16 bits of each secret of a webhook.
#[must_use]
pub fn fingerprints(webhook: &Webhook) -> Value {
    let of = |value| json!(fingerprint(&webhook.account, value));
    let headers = webhook.headers.iter();
    let headers = headers.map(|header| (header.name.clone(), of(&header.value)));
    let oauth2 = webhook.oauth2.as_ref();
    json!({
        "secret": webhook.secret.as_ref().map(of),
        "headers": headers.collect::<Map<_, _>>(),
        "client_secret": oauth2.map(|oauth2| of(&oauth2.client_secret)),
    })
}
