//! Liveness, readiness, metrics, and what can be used.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::model::Scope;
use crate::profile::Example;
use crate::render::pattern;

use super::Api;
use super::access::{self, Caller};
use super::error::Problem;
use super::page::{Named, json_answer, page};
use super::server::Arrival;
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

/// `GET /metrics`: OpenMetrics for who asks for it, else the older text format. With a key, where the config has one.
pub(super) async fn metrics(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    arrival: Option<Extension<Arrival>>,
) -> Result<Response, Problem> {
    let peer = arrival.map(|Extension(arrival)| arrival.peer);
    access::require_metrics_key(&api, &headers, peer)?;
    api.engine.measure().await;
    let faults = api.engine.faults(STALL_MS);
    let is_ready = faults.is_empty() && api.engine.space().complaint().is_none();
    api.metrics.ready.set(is_ready.into());
    let asks = |accepted: &HeaderValue| {
        let accepted = accepted.to_str().unwrap_or_default();
        accepted.contains("application/openmetrics-text")
    };
    let (kind, text) = if headers.get_all(ACCEPT).iter().any(asks) {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        (kind, api.metrics.render())
    } else {
        let kind = "text/plain; version=0.0.4; charset=utf-8";
        (kind, api.metrics.render_classic())
    };
    let mut response = text.into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
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
            "example": example(&profile.example),
            "contract": super::contract::show(profile, None),
        })
    });
    Ok(page(rows.collect(), None))
}

/// The event that a test sends, as it could be posted.
fn example(example: &Example) -> Value {
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    json!({
        "type": example.event_type,
        "data": value(&example.data),
        "metadata": example.metadata.as_deref().map(value),
        "scope": example.scope,
    })
}

/// `GET /api/v1/event-types`: what the caller's profile knows; an empty list means any type. Beside it the schemas
/// that events' data must fit, by type, and the operational types, where the caller's account gets them.
pub(super) async fn event_types(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let contract = contract(&api, &caller)?;
    let profile = &contract.profile;
    let operational: Vec<&str> = profile.operational_types().collect();
    let mut types: Vec<&str> = profile.subscribable().collect();
    if !types.is_empty() {
        types.extend(&operational);
    }
    let schemas = profile.schemas.iter();
    let schemas: Map<String, Value> = schemas
        .map(|(name, schema)| (name.clone(), schema.value().clone()))
        .collect();
    let shown = json!({ "data": types, "operational": operational, "schemas": schemas });
    Ok(json_answer(StatusCode::OK, &shown))
}

/// `GET /api/v1/event-types/{type}`: one type, and the schema that its data must fit.
pub(super) async fn event_type(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let contract = contract(&api, &caller)?;
    let profile = &contract.profile;
    let is_operational = profile.operational_types().any(|known| known == name);
    let may_be_posted = pattern::check_posted(profile, &name).is_ok();
    if !is_operational && !may_be_posted && !profile.inner_types.contains(&name) {
        return Err(Problem::not_found("event type"));
    }
    let schema = profile.schemas.get(&name).map(|schema| schema.value());
    let shown = json!({
        "type": name,
        "operational": is_operational,
        "postable": may_be_posted,
        "schema": schema,
    });
    Ok(json_answer(StatusCode::OK, &shown))
}
