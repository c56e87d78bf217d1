//! Calls about contracts, and about the daemon itself.

use serde_json::json;

use crate::api::openapi::operation::{OF_SCANS, Operation};
use crate::api::openapi::shapes::{named, page_of};
use crate::api::{filters, health, key, openapi};
use crate::model::Scope;

const CONTRACTS: &str = "Contracts";
const SERVICE: &str = "Service";
const TEXT: &str = "text/plain";

pub(super) fn all() -> Vec<Operation> {
    let mut all = contracts();
    all.extend(service());
    all
}

fn contracts() -> Vec<Operation> {
    let profiles = Operation::get("/api/v1/profiles", health::profiles)
        .named(
            "listProfiles",
            CONTRACTS,
            "List profiles",
            "Every wire contract there is: headers, forms of values, schedule, success, what happens at the end. One page.",
        )
        .needs(Scope::Read)
        .answers(200, "The profiles.", page_of(named("Profile"), "All profiles."));
    let types = Operation::get("/api/v1/event-types", health::event_types)
        .named(
            "listEventTypes",
            CONTRACTS,
            "List event types",
            "The types that the account's profile knows, and their schemas. An empty list means any type.",
        )
        .needs(Scope::Read)
        .answers(200, "The types.", named("EventTypes"));
    let one_type = Operation::get("/api/v1/event-types/{type}", health::event_type)
        .named(
            "showEventType",
            CONTRACTS,
            "Read an event type",
            "One type, and the schema that its events' data must fit.",
        )
        .needs(Scope::Read)
        .answers(200, "The type.", named("EventTypeShown"));
    let pattern =
        json!({ "type": ["order.paid"], "data": { "amount": [{ "numeric": [">", 100] }] } });
    let event = json!({ "type": "order.paid", "data": { "amount": 129.9 } });
    let filter = Operation::post("/api/v1/filters/test", filters::test)
        .named(
            "testFilter",
            CONTRACTS,
            "Try a filter",
            "Whether `event` fits `pattern`, and if not, the first field that does not. Nothing is stored.",
        )
        .needs(Scope::Read)
        .takes(named("FilterTrial"), vec![("An order that is large enough", json!({ "pattern": pattern, "event": event }))])
        .answers(200, "Whether it fits.", named("FilterVerdict"))
        .refuses(&["filter_invalid"])
        .refuses(OF_SCANS);
    let key = Operation::get("/api/v1/key", key::show)
        .named(
            "showKey",
            CONTRACTS,
            "Read your key",
            "Whose the key is that the call is made with, and what it may do: its account, name, scopes and limits. Any \
             key may ask. A key with `admin` may read, too, also where `scopes` has no `read`.",
        )
        .needs_any_key()
        .answers(200, "The key.", named("Key"));
    vec![key, profiles, types, one_type, filter]
}

fn service() -> Vec<Operation> {
    let live = Operation::get("/healthz", health::healthz)
        .named("healthz", SERVICE, "Liveness", "The process answers.")
        .answers_text(200, "It does.", &[TEXT], "ok\n");
    let ready = Operation::get("/readyz", health::readyz)
        .named(
            "readyz",
            SERVICE,
            "Readiness",
            "Whether work is progressing: the scheduler, the disk, the room on it.",
        )
        .answers_text(200, "It is.", &[TEXT], "ready\n")
        .answers_text(
            503,
            "It is not: a line for each reason.",
            &[TEXT],
            "the scheduler has not moved for 5 s\n",
        );
    let metrics = Operation::get("/metrics", health::metrics)
        .named(
            "metrics",
            SERVICE,
            "Metrics",
            "For Prometheus, in its text format, or in OpenMetrics for who asks for that. Where the config has `[metrics] \
             hash` it asks for that key, in the same headers as any other.",
        )
        .answers_text(
            200,
            "The metrics.",
            &[TEXT, "application/openmetrics-text"],
            "# TYPE hookwheel_events_accepted counter\nhookwheel_events_accepted_total 12\n# EOF\n",
        )
        .refuses(&["memory_full", "unauthorized"]);
    let document = Operation::get("/openapi.json", openapi::show)
        .named(
            "openapi",
            SERVICE,
            "This document",
            "The API as an OpenAPI 3.1 document. It has an ETag: with `If-None-Match` the answer is 304 where it is the \
             same.",
        )
        .answers(200, "The document.", json!({ "type": "object", "required": ["openapi", "info", "paths"] }))
        .with_headers(&["ETag"])
        .answers_nothing(304, "It is the same.")
        .with_headers(&["ETag"]);
    vec![live, ready, metrics, document]
}
