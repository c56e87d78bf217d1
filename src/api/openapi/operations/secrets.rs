//! Calls that replace a webhook's secret.

use serde_json::json;

use crate::api::openapi::operation::{Codes, OF_CHANGES, OF_WRITES, Operation};
use crate::api::openapi::shapes::named;
use crate::api::secrets;
use crate::model::Scope;

const TAG: &str = "Secrets";
const OF_SECRETS: Codes = &["nothing_signed", "rotation_not_offered"];
const OF_NEW: Codes = &["secret_invalid", "secret_reserved"];

pub(super) fn all() -> Vec<Operation> {
    let rotate = Operation::post("/api/v1/webhooks/{id}/secret/rotate", secrets::rotate)
        .named(
            "rotateSecret",
            TAG,
            "Rotate, by overlap",
            "Answers with a new secret. Requests carry both signatures until the old secret expires, after `keep_old`. \
             At most two sign: rotating again drops the older one at once.",
        )
        .may_take(
            named("SecretRotation"),
            vec![("Keep the old one for two days", json!({ "keep_old": "2d" }))],
        )
        .answers(200, "The webhook, with its new secret.", named("WebhookRotated"))
        .refuses(OF_NEW);
    let stage = Operation::post("/api/v1/webhooks/{id}/secret/stage", secrets::stage)
        .named(
            "stageSecret",
            TAG,
            "Stage a new secret",
            "Answers with a new secret, which signs nothing yet: for receivers that compare with one value. Give it to \
             the receiver, then promote it.",
        )
        .may_take(named("SecretStaging"), vec![("One that is made", json!({}))])
        .answers(200, "The webhook, with the staged secret.", named("WebhookRotated"))
        .refuses(OF_NEW)
        .refuses(&["already_staged"]);
    let promote = Operation::post("/api/v1/webhooks/{id}/secret/promote", secrets::promote)
        .named(
            "promoteSecret",
            TAG,
            "Promote the staged secret",
            "From now on the staged secret signs. The old one is kept for `keep_old`, so that it can be taken back.",
        )
        .may_take(
            named("SecretPromotion"),
            vec![("Keep the old one for an hour", json!({ "keep_old": "1h" }))],
        )
        .answers(200, "The webhook.", named("WebhookWhole"))
        .refuses(&["nothing_staged", "secret_unfit"]);
    let abort = Operation::post("/api/v1/webhooks/{id}/secret/abort", secrets::abort)
        .named(
            "abortSecret",
            TAG,
            "Drop the staged secret",
            "Drops what is staged; what signs stays as it is.",
        )
        .may_take(named("Empty"), vec![])
        .answers(200, "The webhook.", named("WebhookWhole"))
        .refuses(&["nothing_staged"]);
    let rollback = Operation::post("/api/v1/webhooks/{id}/secret/rollback", secrets::rollback)
        .named(
            "rollbackSecret",
            TAG,
            "Take the old secret back",
            "The old secret signs again, as long as it is kept, and the promoted one is staged again.",
        )
        .may_take(named("Empty"), vec![])
        .answers(200, "The webhook.", named("WebhookWhole"))
        .refuses(&["nothing_to_roll_back", "secret_unfit", "already_staged"]);
    [rotate, stage, promote, abort, rollback]
        .into_iter()
        .map(|call| {
            call.needs(Scope::Admin)
                .refuses(OF_SECRETS)
                .refuses(&["webhook_declared"])
                .refuses(OF_CHANGES)
                .refuses(OF_WRITES)
        })
        .collect()
}
