//! Calls about webhooks.

use serde_json::json;

use super::WEBHOOK;
use crate::api::openapi::operation::{Codes, OF_CHANGES, OF_WRITES, Operation};
use crate::api::openapi::shapes::{named, one_of, page_of};
use crate::api::page::{ROWS_DEFAULT, ROWS_MAX};
use crate::api::{held, verifier, webhooks};
use crate::model::Scope;
use crate::verify::Language;

const TAG: &str = "Webhooks";
/// What can be wrong with a field of a webhook.
const OF_FIELDS: Codes = &[
    "https_required",
    "url_invalid",
    "address_blocked",
    "event_type_unknown",
    "header_invalid",
    "header_reserved",
    "header_conflict",
    "format_unknown",
    "filter_invalid",
    "tls_unknown",
];

pub(super) fn all() -> Vec<Operation> {
    let mut all = registry();
    all.push(declared());
    all.extend(doings());
    all
}

fn registry() -> Vec<Operation> {
    let list = Operation::get("/api/v1/webhooks", webhooks::list)
        .named(
            "listWebhooks",
            TAG,
            "List webhooks",
            "The account's webhooks, oldest first, without their contracts.",
        )
        .needs(Scope::Read)
        .paged(ROWS_DEFAULT, ROWS_MAX, WEBHOOK)
        .answers(
            200,
            "A page of webhooks.",
            page_of(named("Webhook"), "A page of webhooks."),
        );
    let show = Operation::get("/api/v1/webhooks/{id}", webhooks::show)
        .named(
            "showWebhook",
            TAG,
            "Read a webhook",
            "One webhook with its effective contract; never its secret.",
        )
        .needs(Scope::Read)
        .answers(200, "The webhook.", named("WebhookWhole"));
    let remove = Operation::delete("/api/v1/webhooks/{id}", webhooks::remove)
        .named(
            "removeWebhook",
            TAG,
            "Remove a webhook",
            "Removes it. What waits for it is cancelled, on record.",
        )
        .needs(Scope::Admin)
        .answers_nothing(204, "It is removed.")
        .refuses(OF_CHANGES)
        .refuses(&["webhook_declared"])
        .refuses(OF_WRITES);
    vec![list, create(), show, change(), remove]
}

fn create() -> Operation {
    Operation::post("/api/v1/webhooks", webhooks::create)
        .named(
            "createWebhook",
            TAG,
            "Register a webhook",
            "Registers a destination. The answer has the signing secret, this once, and the effective contract: headers, \
             signatures, schedule, and what happens at the end. Where the URL is one of a known chat without a `format`, \
             `hint` says so.",
        )
        .needs(Scope::Admin)
        .takes(
            named("WebhookDraft"),
            vec![
                (
                    "Some types, with a name",
                    json!({ "url": "https://hooks.example.com/in", "events": ["user.*", "order.paid"], "name": "orders" }),
                ),
                (
                    "Filtered, in order, with credentials and a schedule of its own",
                    json!({
                        "url": "https://hooks.example.com/large", "events": ["order.*"],
                        "filter": { "data": { "amount": [{ "numeric": [">", 100] }] } },
                        "order": { "key": "/customer/id" }, "headers": { "X-Team": "blue" },
                        "bearer_token": "a-token-of-the-receiver", "timeout": "10s",
                        "retry": { "delays": ["5s", "5m", "1h"], "jitter": "20%" },
                    }),
                ),
                (
                    "A chat, by a format",
                    json!({ "url": "https://chat.example.com/services/T0/B0/xyz", "format": "slack" }),
                ),
            ],
        )
        .answers(201, "The webhook, with its secret.", named("WebhookCreated"))
        .with_headers(&["Location"])
        .refuses(OF_FIELDS)
        .refuses(&["secret_invalid", "secret_reserved", "too_many_webhooks"])
        .refuses(OF_WRITES)
}

fn change() -> Operation {
    Operation::patch("/api/v1/webhooks/{id}", webhooks::change)
        .named(
            "changeWebhook",
            TAG,
            "Change a webhook",
            "The fields given replace those stored; what is not given stays. `\"active\": true` lets what was held flow. \
             The secret is replaced by calls of their own.",
        )
        .needs(Scope::Admin)
        .takes(
            named("WebhookChange"),
            vec![
                ("Hold it", json!({ "active": false })),
                ("Another schedule", json!({ "max_retries": 5, "retry_delay": "10s", "retry_backoff": 2 })),
            ],
        )
        .answers(200, "The webhook as it is now.", named("WebhookWhole"))
        .refuses(OF_FIELDS)
        .refuses(OF_CHANGES)
        .refuses(&["secret_reserved", "webhook_declared"])
        .refuses(OF_WRITES)
}

fn declared() -> Operation {
    Operation::get("/api/v1/declared", webhooks::list_declared)
        .named(
            "listDeclared",
            TAG,
            "List declared webhooks",
            "The webhooks that the config declares, or did, what of them could not be done yet, and which config is in \
             force. Keys with the scope `admin` are shown 16 bits of each secret, to compare them with a config.",
        )
        .needs(Scope::Read)
        .paged(ROWS_DEFAULT, ROWS_MAX, WEBHOOK)
        .answers(200, "A page of declared webhooks.", named("DeclaredPage"))
}

fn doings() -> Vec<Operation> {
    let test = Operation::post("/api/v1/webhooks/{id}/test", webhooks::test)
        .named(
            "testWebhook",
            TAG,
            "Send a test",
            "Sends the profile's example event now and answers with what came of it, after 30 s at most. It is signed \
             like any other, and not stored. It takes no body.",
        )
        .needs(Scope::Admin)
        .answers(200, "What came of it.", named("TestResult"))
        .refuses(&["webhook_held", "too_many_tests"])
        .refuses(OF_WRITES);
    let discard = Operation::post("/api/v1/webhooks/{id}/held/discard", held::discard)
        .named(
            "discardHeld",
            TAG,
            "Discard what is held",
            "Ends what an inactive webhook holds, on record; with `until` only deliveries of events created up to then. \
             Where `more` is true the call is to be repeated. Who hangs up ends it.",
        )
        .needs(Scope::Admin)
        .may_take(named("HeldDiscard"), vec![("Up to a time", json!({ "until": "2026-01-31T12:00:00Z" }))])
        .answers(200, "What was ended.", named("Discarded"))
        .refuses(&["webhook_active", "discard_under_way", "too_many_discards"])
        .refuses(OF_CHANGES)
        .refuses(OF_WRITES);
    let languages = Language::ALL.map(Language::as_str);
    let verifier = Operation::get("/api/v1/webhooks/{id}/verifier", verifier::show)
        .named(
            "receiverCode",
            TAG,
            "Code for the receiver",
            "Code that verifies this webhook's requests, in the way of its profile, without its secret. `notes` say what \
             else a receiver should know. Without a signature in the profile `code` is empty.",
        )
        .needs(Scope::Read)
        .must_ask("language", one_of(&languages, "The language of the code."))
        .answers(200, "The code.", named("ReceiverCode"));
    vec![test, discard, verifier]
}
