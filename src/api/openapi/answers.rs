//! The shapes of what is answered: the document's named schemas. Those of what is given stand beside the code that
//! reads it; `tests/it/openapi.rs` holds both to what the real daemon answers.

mod contract;
mod deliveries;
mod explained;
mod figures;
mod jobs;
mod records;
mod webhooks;

use serde_json::json;

use super::shapes::{
    Named, answered, answered_with, list, named, one_of, such_as, text, text_like, whole,
};
use crate::api::codes;
use crate::api::webhooks::draft;

/// Every named schema; `scope_fields` are what the profiles call a scope.
pub(super) fn schemas(scope_fields: &[String]) -> Vec<Named> {
    let mut all = words();
    all.extend(problems());
    all.extend(draft::parts());
    all.extend(webhooks::schemas(scope_fields));
    all.extend(contract::schemas());
    all.extend(deliveries::schemas());
    all.extend(deliveries::of_events(scope_fields));
    all.extend(jobs::schemas());
    all.extend(explained::schemas());
    all.extend(figures::schemas());
    all.extend(records::schemas());
    all
}

/// Ids, types, and other short things.
fn words() -> Vec<Named> {
    let webhook = such_as(
        text_like("^wh_[0-9a-f]{32}$", "A webhook's id."),
        json!("wh_0197f3c2a1b87d5e9c40aa12bb34cc56"),
    );
    let job = such_as(
        text_like("^job_[0-9a-f]{32}$", "A job's id."),
        json!("job_0197f3c2a1b87d5e9c40aa12bb34cc57"),
    );
    let event = such_as(
        text_like(
            "^[A-Za-z0-9_-]{1,64}$",
            "An event's id: yours, or one that was made.",
        ),
        json!("order-1042-paid"),
    );
    let event_type = such_as(
        text_like(
            "^[A-Za-z0-9._:/-]{1,128}$",
            "An event type, one of the profile's where it has a list.",
        ),
        json!("order.paid"),
    );
    let url = json!({
        "type": "string", "format": "uri", "pattern": "^https://", "maxLength": 2048,
        "description": "An HTTPS URL. Nothing of it is repaired: what is unclear is refused.",
        "examples": ["https://hooks.example.com/in"],
    });
    let filter = json!({
        "type": "object",
        "description": "An event pattern as Amazon EventBridge has them: fields of the event, each with the values or \
                        rules of which one must fit.",
        "examples": [{ "data": { "amount": [{ "numeric": [">", 100] }] } }],
    });
    vec![
        ("WebhookId", webhook),
        ("JobId", job),
        ("EventId", event),
        ("EventType", event_type),
        ("Url", url),
        ("Filter", filter),
    ]
}

/// What goes wrong (RFC 9457).
fn problems() -> Vec<Named> {
    let of_fields: Vec<&str> = codes::of_fields().map(|code| code.name).collect();
    let of_problems: Vec<&str> = codes::of_problems().map(|code| code.name).collect();
    let field = answered(
        vec![
            (
                "pointer",
                text("A JSON pointer (RFC 6901) to the field; empty for the whole."),
            ),
            ("code", one_of(&of_fields, "What is wrong, for programs.")),
            (
                "detail",
                text("What is wrong and what to write instead, for people."),
            ),
        ],
        "One field at fault.",
    );
    let kind = "`urn:hookwheel:problem:` and the code.";
    let problem = answered_with(
        vec![
            ("type", text_like("^urn:hookwheel:problem:", kind)),
            ("title", text("The status in words.")),
            ("status", whole(400, 599, "The status.")),
            (
                "code",
                one_of(
                    &of_problems,
                    "What is wrong, for programs: it stays the same.",
                ),
            ),
            (
                "detail",
                text("What is wrong and what to do, for people: its words may change."),
            ),
        ],
        vec![(
            "errors",
            list(
                named("FieldError"),
                "Each field at fault: 100 at most, and one that says how many more there are.",
            ),
        )],
        "An error (RFC 9457).",
    );
    let example = json!({
        "type": "urn:hookwheel:problem:fields_invalid",
        "title": "Bad Request",
        "status": 400,
        "code": "fields_invalid",
        "detail": "2 fields are wrong; see `errors`",
        "errors": [
            { "pointer": "/url", "code": "https_required", "detail": "the URL must start with https://" },
            { "pointer": "/nmae", "code": "unknown_field", "detail": "is not known here; the fields are: url, events, …" },
        ],
    });
    vec![
        ("FieldError", field),
        ("Problem", such_as(problem, example)),
    ]
}
