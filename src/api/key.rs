//! What a key may do, as its holder may ask: a page or a command that was given one need not try it out.
//!
//! It tells nothing that the config does not say of this very key, and nothing of others; hashes are never told.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::Api;
use super::access::Caller;
use super::error::Problem;
use super::page::json_answer;
use super::webhooks::contract;

/// `GET /api/v1/key`: any valid key may ask.
pub(super) async fn show(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, Problem> {
    let contract = contract(&api, &caller)?;
    let limits = caller.limits(&api);
    let scopes: Vec<&str> = caller.scopes().map(|scope| scope.as_str()).collect();
    let shown = json!({
        "account": caller.account().as_str(),
        "name": caller.key_name(),
        "scopes": scopes,
        "profile": contract.profile.name,
        "limits": { "requests_per_minute": limits.requests, "events_per_second": limits.events },
    });
    Ok(json_answer(StatusCode::OK, &shown))
}
