//! Calls about deliveries.

use super::PLACE;
use crate::api::deliveries::{self, STATES};
use crate::api::live;
use crate::api::openapi::operation::{OF_LOOK_UPS, OF_SCANS, OF_WRITES, Operation};
use crate::api::openapi::shapes::{named, named_as, one_of, page_of, text, time};
use crate::api::page::{ROWS_DEFAULT, ROWS_MAX};
use crate::model::Scope;

const TAG: &str = "Deliveries";

pub(super) fn all() -> Vec<Operation> {
    let list = Operation::get("/api/v1/webhooks/{id}/deliveries", deliveries::list)
        .named(
            "listDeliveries",
            TAG,
            "List deliveries",
            "A webhook's log, newest first. A page of a filter that fits little may have fewer rows than asked for, and \
             a cursor all the same: 10,000 deliveries are looked at for one.",
        )
        .needs(Scope::Read)
        .asks("state", one_of(&STATES, "Only deliveries in this state."))
        .asks("type", text("Only deliveries of events of this type."))
        .asks("since", time("Only deliveries of events created at this time or later."))
        .asks("until", time("Only deliveries of events created up to this time."))
        .paged(ROWS_DEFAULT, ROWS_MAX, PLACE)
        .answers(200, "A page of deliveries.", page_of(named("DeliverySummary"), "A page of deliveries."))
        .refuses(OF_SCANS);
    let show = Operation::get("/api/v1/webhooks/{id}/deliveries/{event}", deliveries::show)
        .named(
            "showDelivery",
            TAG,
            "Read a delivery",
            "One delivery with its newest attempts, as many as 200 or a mebibyte, oldest first; behind the cursor are \
             those before them. `attempts_made` counts all.",
        )
        .needs(Scope::Read)
        .paged(ROWS_MAX, ROWS_MAX, PLACE)
        .answers(200, "The delivery.", named("Delivery"))
        .refuses(OF_LOOK_UPS);
    let retry = Operation::post("/api/v1/webhooks/{id}/deliveries/{event}/retry", deliveries::retry)
        .named(
            "retryDelivery",
            TAG,
            "Send a delivery again",
            "Sends it again now, whatever became of it: one that waits goes out at once, one that has ended gets a new \
             run of the schedule. It takes no body.",
        )
        .needs(Scope::Admin)
        .answers(202, "It is queued.", named("DeliveryQueued"))
        .refuses(&["in_flight", "state_unclear"])
        .refuses(OF_LOOK_UPS)
        .refuses(OF_WRITES);
    vec![list, show, retry, live()]
}

fn live() -> Operation {
    Operation::get("/api/v1/live", live::listen)
        .named(
            "live",
            TAG,
            "Follow what happens",
            "A stream of Server-Sent Events that does not end by itself: `hello` first, then `attempt`, `ended` for \
             deliveries that end without an attempt, `webhook` for changes of webhooks, and `missed` where a slow reader \
             lost some; a comment every 15 s. With `type` or `state` changes of webhooks are left out.",
        )
        .needs(Scope::Read)
        .asks("webhook", named_as("WebhookId", "Only what happens to this webhook; ends when it is removed."))
        .asks("type", text("Only deliveries of events of this type, or of those that begin so (`user.*`)."))
        .asks("state", one_of(&STATES, "Only what leaves a delivery in this state."))
        .answers_text(
            200,
            "What happens, from now on.",
            &["text/event-stream"],
            "event: hello\ndata: {\"at\":\"2026-01-31T12:00:00.000Z\"}\n\n",
        )
        .refuses(&["not_found", "too_many_streams"])
}
