//! What an inactive webhook holds: `POST /api/v1/webhooks/{id}/held/discard`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use crate::model::{AuditAction, Scope, UnixMicros};

use super::Api;
use super::access::Caller;
use super::error::Problem;
use super::fields::Fields;
use super::input::Unread;
use super::openapi::shapes;
use super::page::{Named, json_answer};
use super::webhooks::find;

/// `POST /api/v1/webhooks/{id}/held/discard`: ends what is held now, of events created up to `until` if that is given.
pub(super) async fn discard(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named<String>,
    body: Unread,
) -> Result<Response, Problem> {
    let text = body.read(&api, &caller, Scope::Admin).await?;
    let live = find(&api, caller.account(), &id)?;
    let until = read_until(text.as_str())?;
    let id = live.webhook.id;
    let entry = caller.does_to(AuditAction::HeldDiscarded, id);
    let discarded = api.engine.discard_held(id, until, Some(entry)).await?;
    let shown = json!({ "discarded": discarded.count, "more": discarded.more });
    Ok(json_answer(StatusCode::OK, &shown))
}

/// The body of a discard.
pub(super) fn schema() -> Value {
    let until =
        "Only deliveries of events created up to this time; without it all that is held now.";
    let fields = vec![("until", shapes::or_null(shapes::time(until)))];
    shapes::given(&[], fields, "What of a webhook's held deliveries is ended.")
}

fn read_until(text: &str) -> Result<Option<UnixMicros>, Problem> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let mut fields = Fields::parse(text)?;
    let until = fields.time("until");
    fields.finish("until")?;
    Ok(until)
}
