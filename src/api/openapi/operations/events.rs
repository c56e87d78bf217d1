//! Calls about events.

use serde_json::json;

use super::{PLACE, WEBHOOK};
use crate::api::events::BATCH_MAX;
use crate::api::openapi::operation::{Codes, OF_LOOK_UPS, OF_SCANS, OF_WRITES, Operation};
use crate::api::openapi::shapes::{list_of, named, page_of, text};
use crate::api::page::{ROWS_DEFAULT, ROWS_MAX};
use crate::api::{events, explain};
use crate::model::Scope;

const TAG: &str = "Events";
/// What can be wrong with an event.
const OF_EVENTS: Codes = &[
    "event_type_unknown",
    "event_type_reserved",
    "schema_mismatch",
    "id_invalid",
    "id_conflict",
];

pub(super) fn all() -> Vec<Operation> {
    let mut all = posting();
    all.extend(reading());
    all
}

fn posting() -> Vec<Operation> {
    let event = json!({ "id": "order-1042-paid", "type": "order.paid", "data": { "order": 1042, "amount": 129.9 } });
    let create = Operation::post("/api/v1/events", events::create)
        .named(
            "postEvent",
            TAG,
            "Post an event",
            "Answers once the event and its deliveries are on disk, synced. With an `id` of your own it is idempotent: \
             post it again whenever no answer came. Ids are remembered for the newest 32 segments of the journal.",
        )
        .needs(Scope::Send)
        .takes(
            named("EventDraft"),
            vec![
                ("With an id of its own", event.clone()),
                ("Only what must be there", json!({ "type": "user.created", "data": { "id": 7 } })),
            ],
        )
        .answers(202, "It was taken.", named("EventPosted"))
        .refuses(OF_EVENTS)
        .refuses(OF_WRITES);
    let create = traced(create);
    let batch = list_of(
        1,
        BATCH_MAX,
        named("EventDraft"),
        "Events, each for itself.",
    );
    let other = json!({ "type": "order.shipped", "data": { "order": 1042 } });
    // Its events' faults stand in the rows of a 207.
    let create_batch = Operation::post("/api/v1/events/batch", events::create_batch)
        .named(
            "postEvents",
            TAG,
            "Post a batch of events",
            "Each event stands for itself: 202 where all were taken, 207 where some were not, with each one's own result, \
             in order. The order of the batch is the order of its events.",
        )
        .needs(Scope::Send)
        .takes(batch, vec![("Two events", json!([event, other]))])
        .answers(202, "All were taken.", named("BatchResult"))
        .answers(207, "Some were not taken; each has its own result.", named("BatchResult"))
        .refuses(&["batch_size"]);
    vec![create, traced(create_batch)]
}

fn reading() -> Vec<Operation> {
    let list = Operation::get("/api/v1/events", events::list)
        .named(
            "listEvents",
            TAG,
            "List events",
            "The account's events, newest first. A page ends after 4 MiB of events, too.",
        )
        .needs(Scope::Read)
        .paged(ROWS_DEFAULT, ROWS_MAX, PLACE)
        .answers(
            200,
            "A page of events.",
            page_of(named("Event"), "A page of events."),
        )
        .refuses(OF_SCANS);
    let show = Operation::get("/api/v1/events/{id}", events::show)
        .named(
            "showEvent",
            TAG,
            "Read an event",
            "One event, and where each of its deliveries stands.",
        )
        .needs(Scope::Read)
        .answers(200, "The event.", named("EventWhole"))
        .refuses(OF_SCANS);
    let explain = Operation::get("/api/v1/events/{id}/explain", explain::explain)
        .named(
            "explainEvent",
            TAG,
            "Explain an event's deliveries",
            "For each webhook why the event was delivered, waits, failed or was not wanted: in words (`reason`) and for \
             programs (`verdict`, `rule`). Where there is no delivery it goes by the webhook's rules of today.",
        )
        .needs(Scope::Read)
        .paged(explain::WEBHOOKS_MAX, explain::WEBHOOKS_MAX, WEBHOOK)
        .answers(200, "A row for each webhook.", named("Explanation"))
        .refuses(OF_LOOK_UPS)
        .refuses(OF_SCANS);
    vec![list, show, explain]
}

/// A call that reads the trace that the request belongs to.
fn traced(call: Operation) -> Operation {
    call.reads_header(
        "traceparent",
        text(
            "The trace that the events belong to (W3C Trace Context). What is none is passed over.",
        ),
    )
    .reads_header(
        "tracestate",
        text("What tracing systems say of it to each other; only beside `traceparent`."),
    )
}
