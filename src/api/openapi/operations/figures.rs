//! Calls about figures, and about who did what.

use super::{PLACE, WEBHOOK};
use crate::api::openapi::operation::{OF_SCANS, Operation};
use crate::api::openapi::shapes::{named, named_as, page_of};
use crate::api::page::{ROWS_DEFAULT, ROWS_MAX};
use crate::api::{audit, stats};
use crate::model::Scope;

const TAG: &str = "Figures";

pub(super) fn all() -> Vec<Operation> {
    let of_account = Operation::get("/api/v1/stats", stats::of_account)
        .named(
            "accountStats",
            TAG,
            "Figures of the account",
            "The last hour and day of all webhooks together, and what waits now. Counted in memory, from the start of \
             the daemon on (`since`).",
        )
        .needs(Scope::Read)
        .answers(200, "The figures.", named("AccountStats"))
        .refuses(OF_SCANS);
    let of_webhook = Operation::get("/api/v1/webhooks/{id}/stats", stats::of_webhook)
        .named(
            "webhookStats",
            TAG,
            "Figures of a webhook",
            "The last hour and day of one webhook, what waits for it, and why nothing goes out for a while.",
        )
        .needs(Scope::Read)
        .answers(200, "The figures.", named("WebhookStats"))
        .refuses(OF_SCANS);
    let of_webhooks = Operation::get("/api/v1/stats/webhooks", stats::of_webhooks)
        .named(
            "listWebhookStats",
            TAG,
            "Figures of each webhook",
            "The last day of each webhook, hour by hour, and what waits for it, in the order and with the cursor of the \
             list of webhooks.",
        )
        .needs(Scope::Read)
        .paged(ROWS_DEFAULT, ROWS_MAX, WEBHOOK)
        .answers(200, "A page of figures.", page_of(named("WebhookStatsRow"), "A page of figures."))
        .refuses(OF_SCANS);
    let audit = Operation::get("/api/v1/audit", audit::list)
        .named(
            "listAudit",
            TAG,
            "List who did what",
            "The audit log, newest first: who, from where, what. With `webhook` only what was done to that one, also if \
             it was removed since.",
        )
        .needs(Scope::Admin)
        .asks("webhook", named_as("WebhookId", "Only what was done to this webhook."))
        .paged(ROWS_DEFAULT, ROWS_MAX, PLACE)
        .answers(200, "A page of entries.", page_of(named("AuditEntry"), "A page of entries."))
        .refuses(OF_SCANS);
    vec![of_account, of_webhook, of_webhooks, audit]
}
