//! Code for a webhook's receiver, over HTTP: what verifies its requests, without its secret.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::engine::Live;
use crate::model::Scope;
use crate::verify::{Language, receiver_code};

use super::Api;
use super::access::Caller;
use super::error::Problem;
use super::page::{Asked, Named, json_answer, refused};
use super::webhooks;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifierQuery {
    language: Option<String>,
}

/// `GET /api/v1/webhooks/{id}/verifier`
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named<String>,
    Asked(query): Asked<VerifierQuery>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let language = query.language.as_deref().and_then(Language::named);
    let language = language.ok_or_else(|| {
        let names = Language::ALL.map(Language::as_str).join(", ");
        refused("query_invalid", format!("language is one of: {names}"))
    })?;
    let live = webhooks::find(&api, caller.account(), &id)?;
    let mut made = receiver_code(&live.contract.profile, language);
    made.notes.extend(own_notes(&live));
    let shown = json!({
        "language": language.as_str(),
        "file_name": made.file_name,
        "code": made.code,
        "notes": made.notes,
    });
    Ok(json_answer(StatusCode::OK, &shown))
}

/// What is true of this webhook beyond its profile.
fn own_notes(live: &Live) -> impl Iterator<Item = String> {
    let is_signed = !live.contract.profile.signatures.is_empty();
    let unsigned = (is_signed && live.webhook.secret.is_none()).then(|| {
        "This webhook has no secret, so its requests carry no signature yet: give it one with POST \
         …/secret/rotate, or …/secret/stage where the profile stages."
            .to_owned()
    });
    let format = live.webhook.format.as_ref().map(|name| {
        format!("This webhook's bodies have the format `{name}`; they are signed as any others.")
    });
    unsigned.into_iter().chain(format)
}
