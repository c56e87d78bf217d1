//! The audit log: `GET /api/v1/audit`, and the entries that handlers give along with what they do.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::model::{Actor, AuditAction, AuditEntry, Scope, WebhookId};
use crate::store::Audited;

use super::Api;
use super::access::Caller;
use super::error::Problem;
use super::page::{Asked, page, read_cursor, refused, row_limit, show_cursor};

/// Names of fields in one entry: as many as a webhook has, and some.
const DETAILS_MAX: usize = 40;

impl Caller {
    /// The entry for what this caller does.
    pub(super) fn does(&self, action: AuditAction) -> AuditEntry {
        AuditEntry {
            account: self.account().clone(),
            actor: Actor::Key {
                name: self.key_name().to_owned(),
                address: self.peer(),
            },
            action,
            webhook: None,
            subject: None,
            details: Vec::new(),
        }
    }

    /// The entry for what this caller does to a webhook.
    pub(super) fn does_to(&self, action: AuditAction, webhook: WebhookId) -> AuditEntry {
        AuditEntry {
            webhook: Some(webhook),
            ..self.does(action)
        }
    }
}

/// `entry`, with the names of what of it was changed.
pub(super) fn with_details(entry: AuditEntry, mut details: Vec<String>) -> AuditEntry {
    details.truncate(DETAILS_MAX);
    AuditEntry { details, ..entry }
}

/// Entries read at once: between two steps a read ends whose client is gone, and each step looks at all segments.
const READ_STEP: usize = 50;

/// The query of a list of entries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    webhook: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// `GET /api/v1/audit`: newest first; of one webhook, also a removed one, where it is named.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<ListQuery>,
) -> Result<Response, Problem> {
    caller.require(Scope::Admin)?;
    let limit = row_limit(query.limit)?;
    let before = read_cursor(query.cursor.as_deref())?;
    let webhook = match &query.webhook {
        None => None,
        Some(text) => Some(
            text.parse::<WebhookId>()
                .map_err(|_| refused("query_invalid", "webhook is a webhook's id, as `wh_…`"))?,
        ),
    };
    let (reader, account) = (api.engine.reader().clone(), caller.account().clone());
    let read = move |gone: &CancellationToken| {
        let (mut entries, mut next) = (Vec::new(), before);
        loop {
            let step = READ_STEP.min(limit - entries.len());
            let found = reader.audit(&account, webhook, next, step)?;
            next = found.next;
            entries.extend(found.entries);
            if next.is_none() || entries.len() == limit || gone.is_cancelled() {
                return Ok((entries, next));
            }
        }
    };
    let (entries, next) = api.reads.scan(caller.account(), read).await?;
    let rows = entries.iter().map(show).collect();
    Ok(page(rows, next.map(show_cursor)))
}

fn show(audited: &Audited) -> Value {
    let entry = &audited.entry;
    let actor = match &entry.actor {
        Actor::Key { name, address } => json!({
            "kind": "key", "name": name, "address": address.map(|address| address.to_string()),
        }),
        Actor::Config => json!({ "kind": "config" }),
        Actor::Daemon => json!({ "kind": "daemon" }),
    };
    json!({
        "at": audited.at.to_string(),
        "actor": actor,
        "action": entry.action.as_str(),
        "webhook_id": entry.webhook.map(|id| id.to_string()),
        "subject": entry.subject,
        "details": entry.details,
    })
}
