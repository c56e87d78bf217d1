//! The shapes of deliveries and of the events that they are of.

use serde_json::{Value, json};

use crate::api::deliveries::STATES;
use crate::api::openapi::shapes::{
    Named, answered, answered_with, anything, count, flag, list, named, number, one_of, or_null,
    text, time, with_more, with_scope,
};
use crate::api::webhooks::SCOPE_MAX;

pub(super) fn schemas() -> Vec<Named> {
    let last = answered(
        vec![
            ("at", time("When it began.")),
            (
                "status",
                or_null(count("The status; null where there was none.")),
            ),
            ("outcome", named("Outcome")),
            ("response_time_ms", number(0.0, "How long it took.")),
        ],
        "The newest attempt.",
    );
    let mut summary = vec![
        ("event_id", named("EventId")),
        ("type", text("The event's type.")),
        ("created_at", time("When the event happened.")),
    ];
    summary.extend(standing());
    summary.push(("attempts", count("Attempts made.")));
    summary.push(("last_attempt", or_null(last)));
    let mut whole = vec![
        ("webhook_id", named("WebhookId")),
        ("event_id", named("EventId")),
        ("type", text("The event's type.")),
    ];
    whole.extend(standing());
    whole.extend([
        (
            "request_body",
            or_null(text(
                "The body as it would be sent now; null where none can be made.",
            )),
        ),
        (
            "attempts",
            list(named("Attempt"), "The newest attempts, oldest first."),
        ),
        ("attempts_made", count("How many there are in all.")),
        (
            "next_cursor",
            or_null(text("Give it as `cursor` for the attempts before these.")),
        ),
    ]);
    let queued = vec![
        ("event_id", named("EventId")),
        ("webhook_id", named("WebhookId")),
    ];
    vec![
        (
            "DeliveryState",
            one_of(
                &STATES,
                "Where a delivery stands: it waits, is held, or has ended.",
            ),
        ),
        ("Outcome", outcome()),
        ("Attempt", attempt()),
        (
            "DeliverySummary",
            answered(summary, "A delivery in the log."),
        ),
        ("Delivery", answered(whole, "A delivery with its attempts.")),
        (
            "DeliveryQueued",
            answered(queued, "The delivery that is sent again."),
        ),
    ]
}

fn outcome() -> Value {
    let kinds = [
        "status",
        "dns",
        "connect",
        "tls",
        "timeout",
        "reset",
        "protocol",
        "address_blocked",
        "render",
        "token",
    ];
    answered(
        vec![
            (
                "kind",
                one_of(&kinds, "`status`: an answer came; else what went wrong."),
            ),
            ("detail", text("The status, or what went wrong in words.")),
        ],
        "How an attempt ended.",
    )
}

/// Where a delivery stands, as members of what is shown of it.
fn standing() -> Vec<Named> {
    let reasons = [
        "exhausted",
        "gone",
        "webhook_removed",
        "expired",
        "over_rate",
        "unreadable",
        "discarded",
    ];
    vec![
        ("state", named("DeliveryState")),
        (
            "reason",
            or_null(one_of(&reasons, "Why it ended without being delivered.")),
        ),
        ("next_attempt_at", or_null(time("When it is sent next."))),
        ("ended_at", or_null(time("When it ended."))),
    ]
}

fn attempt() -> Value {
    let pair =
        json!({ "type": "array", "items": { "type": "string" }, "minItems": 2, "maxItems": 2 });
    let ms = |means: &str| or_null(number(0.0, means));
    let phases = answered(
        vec![
            ("dns", ms("Resolving the name.")),
            ("connect", ms("Connecting.")),
            ("tls", ms("The TLS handshake.")),
            ("first_byte", ms("Until the answer began.")),
            ("total", ms("All of it.")),
        ],
        "Where the time went, milliseconds; null for what did not happen.",
    );
    let response = answered(
        vec![
            ("headers", list(pair.clone(), "Names and values.")),
            ("body", text("The beginning of the body.")),
            ("truncated", flag("Whether there was more.")),
        ],
        "What was answered; null where nothing was.",
    );
    let triggers = one_of(
        &["schedule", "manual", "replay", "probe"],
        "Why it was made.",
    );
    answered(
        vec![
            ("attempt", count("Its number.")),
            ("trigger", triggers),
            ("started_at", time("When it began.")),
            (
                "status",
                or_null(count("The status; null where there was none.")),
            ),
            ("outcome", named("Outcome")),
            ("response_time_ms", number(0.0, "How long it took.")),
            ("phases_ms", phases),
            (
                "request_headers",
                list(pair, "Names and values as sent; credentials are left out."),
            ),
            ("response", or_null(response)),
        ],
        "One HTTP request made for a delivery.",
    )
}

fn trace() -> Value {
    answered(
        vec![
            ("trace_id", text("The trace.")),
            ("traceparent", text("The header's value.")),
            ("tracestate", or_null(text("The other header's value."))),
        ],
        "The trace that it was posted in (W3C Trace Context).",
    )
}

pub(super) fn of_events(scope_fields: &[String]) -> Vec<Named> {
    let members = vec![
        ("id", named("EventId")),
        ("type", text("Its type.")),
        ("created_at", time("When it happened.")),
        ("received_at", time("When it arrived here.")),
        (
            "data",
            anything(
                "Its data. What usual parsers would refuse is shown as a string that holds its text.",
            ),
        ),
        (
            "metadata",
            json!({ "type": ["object", "string", "null"], "description": "What was posted with it." }),
        ),
        (
            "warning",
            or_null(text(
                "What may keep it from a receiver, noted when it arrived.",
            )),
        ),
        ("trace", or_null(trace())),
    ];
    let event = with_scope(answered(members, "An event."), scope_fields, SCOPE_MAX);
    let mut row = vec![];
    row.extend(standing());
    row.push(("webhook_id", named("WebhookId")));
    row.push(("attempts", count("Attempts made.")));
    let rows = list(
        named("EventDelivery"),
        "Where each of its deliveries stands.",
    );
    let shown = answered(vec![("deliveries", rows)], "");
    let posted = answered_with(
        vec![
            ("id", named("EventId")),
            ("deliveries", count("Webhooks that it goes to.")),
        ],
        vec![("warning", text("What may keep it from a receiver."))],
        "An event that was taken: it and its deliveries are on disk.",
    );
    let refused = answered(
        vec![("error", named("Problem"))],
        "An event that was not taken, and why.",
    );
    let rows = list(
        json!({ "anyOf": [named("EventPosted"), named("EventRefused")] }),
        "What came of each, in the order of the batch.",
    );
    vec![
        ("EventDraft", crate::api::events::schema(scope_fields)),
        ("Event", event.clone()),
        (
            "EventWhole",
            with_more(&event, &shown, "An event with its deliveries."),
        ),
        (
            "EventDelivery",
            answered(row, "Where a delivery of an event stands."),
        ),
        ("EventPosted", posted),
        ("EventRefused", refused),
        (
            "BatchResult",
            answered(vec![("data", rows)], "What came of a batch."),
        ),
    ]
}
