//! The shape of the contract that is told of a profile or of a webhook.

use serde_json::{Value, json};

use crate::api::openapi::shapes::{
    Named, answered, anything, count, flag, list, named, one_of, or_null, table, text,
};

/// The contract, and a profile that has one.
pub(super) fn schemas() -> Vec<Named> {
    let example = answered(
        vec![
            ("type", text("Its type.")),
            ("data", anything("Its data.")),
            (
                "metadata",
                or_null(table(anything("Any value."), "Its metadata.")),
            ),
            ("scope", or_null(text("Its scope."))),
        ],
        "The event that a test sends.",
    );
    let profile = answered(
        vec![
            ("name", text("Its name.")),
            ("own", flag("Whether it is your account's.")),
            (
                "event_types",
                list(
                    text("A type."),
                    "The types that webhooks may name; none: any.",
                ),
            ),
            (
                "events_required",
                flag("Whether a webhook must name types."),
            ),
            (
                "scope_field",
                text("What it calls the scope of webhooks and events."),
            ),
            (
                "formats",
                list(
                    text("A format."),
                    "The formats that may stand in for its envelope.",
                ),
            ),
            (
                "requests_per_minute",
                or_null(count("How many calls a key may make in a minute.")),
            ),
            ("example", example),
            ("contract", named("Contract")),
        ],
        "A wire contract that accounts can have.",
    );
    vec![("Contract", contract()), ("Profile", profile)]
}

fn contract() -> Value {
    let signature = answered(
        vec![
            ("header", text("The header that it stands in.")),
            ("algorithm", text("How it is made.")),
            ("key", text("How the key comes from the secret's text.")),
            (
                "signed",
                text("What is signed, with names in angle brackets."),
            ),
            ("value", text("The header's value.")),
            (
                "verified_with",
                one_of(&["the secret", "the public key"], "What a receiver needs."),
            ),
        ],
        "A signature.",
    );
    let secret = answered(
        vec![
            ("required", flag("Whether every webhook has one.")),
            ("rotation", text("How it is replaced.")),
        ],
        "What there is to say of secrets.",
    );
    let row = answered(
        vec![
            ("attempt", count("Its number.")),
            ("delay", text("The wait before it.")),
            ("total_wait", text("The waits so far.")),
        ],
        "An attempt of the schedule.",
    );
    answered(
        vec![
            ("profile", text("The profile.")),
            ("method", json!({ "type": "string", "const": "POST" })),
            (
                "headers",
                table(
                    text("The form of its value."),
                    "The headers of each request.",
                ),
            ),
            ("body", text("What the body is.")),
            (
                "signatures",
                list(signature, "The signatures of each request."),
            ),
            ("secret", secret),
            ("attempts", count("Attempts at most.")),
            (
                "schedule",
                list(row, "Each attempt with the wait before it."),
            ),
            (
                "success",
                list(text("A status, or some."), "What counts as success."),
            ),
            ("timeout", text("How long an attempt may take.")),
            ("retry_after", text("What a receiver's `Retry-After` does.")),
            ("gone", text("What 410 does.")),
            ("order", text("In which order deliveries go out.")),
            ("exhausted", exhausted()),
            ("rate", or_null(rate())),
        ],
        "What a receiver sees, made from the rules that sending uses.",
    )
}

fn exhausted() -> Value {
    answered(
        vec![
            (
                "action",
                one_of(&["fail", "disable"], "What an ended schedule does."),
            ),
            (
                "disable_after",
                or_null(text(
                    "After how long without success a webhook is disabled.",
                )),
            ),
            (
                "probe_every",
                or_null(text("How often a disabled one is tried.")),
            ),
            ("means", text("The same in words.")),
        ],
        "What happens at the end.",
    )
}

fn rate() -> Value {
    answered(
        vec![
            ("per_second", or_null(count("Requests in a second."))),
            ("per_hour", or_null(count("Requests in an hour."))),
            ("over", text("What becomes of more.")),
        ],
        "How fast it is sent to; null: as fast as it takes.",
    )
}
