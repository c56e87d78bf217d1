//! Liveness, readiness, metrics, and what can be used.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::model::Scope;

use super::Api;
use super::access::Caller;
use super::error::Problem;
use super::page::{json_answer, page};
use super::webhooks::contract;

/// The scheduler goes round at least every second, and the committer's rounds take a fraction of one: after so
/// long clients had better go elsewhere. The watchdog waits for longer.
const STALL_MS: u64 = 5_000;

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: work is progressing. 503 says what is not.
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Response {
    let mut faults = api.engine.faults(STALL_MS);
    faults.extend(api.engine.space().complaint().map(str::to_owned));
    if faults.is_empty() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, faults.join("\n") + "\n").into_response()
    }
}

/// `GET /metrics`: OpenMetrics text.
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    api.engine.measure().await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let mut response = api.metrics.render().into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// `GET /api/v1/profiles`: all that an account can have, each with its contract and the formats that may stand
/// in for its envelope; `own` is the caller's. There are some hundreds at most, so they are one page.
pub(super) async fn profiles(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let own = contract(&api, &caller)?;
    let profiles = api.engine.profiles();
    let rows = profiles.iter().map(|profile| {
        json!({
            "name": profile.name,
            "own": profile.name == own.profile.name,
            "event_types": profile.subscribable().collect::<Vec<_>>(),
            "events_required": profile.events_required,
            "scope_field": profile.scope_field,
            "formats": own.formats.names().collect::<Vec<_>>(),
            "requests_per_minute": profile.requests_per_minute,
            "contract": super::contract::show(profile, None),
        })
    });
    Ok(page(rows.collect(), None))
}

/// `GET /api/v1/event-types`: what the caller's profile knows; an empty list means any type.
pub(super) async fn event_types(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let contract = contract(&api, &caller)?;
    let shown = json!({ "data": contract.profile.subscribable().collect::<Vec<_>>() });
    Ok(json_answer(StatusCode::OK, &shown))
}
