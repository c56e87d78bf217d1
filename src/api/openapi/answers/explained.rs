//! The shape of an explanation: why each webhook got an event or did not.

use serde_json::Value;

use super::figures::{lane, said};
use crate::api::openapi::shapes::{
    Named, answered, answered_with, anything, count, flag, list, named, one_of, or_null, text, time,
};

const VERDICTS: [&str; 11] = [
    "delivered",
    "waiting",
    "held",
    "failed",
    "cancelled",
    "dropped",
    "expired",
    "not_wanted",
    "not_registered_then",
    "would_match_today",
    "unclear",
];

const RULES: [&str; 19] = [
    "schedule",
    "order",
    "pause",
    "absent",
    "rate",
    "inactive",
    "format",
    "tls",
    "config",
    "gone",
    "removed",
    "retention",
    "unreadable",
    "discarded",
    "type",
    "scope",
    "filter",
    "registration",
    "record",
];

pub(super) fn schemas() -> Vec<Named> {
    let last = answered(
        vec![("at", time("When it began.")), ("outcome", said())],
        "The newest attempt.",
    );
    let row = answered(
        vec![
            ("webhook_id", named("WebhookId")),
            (
                "name",
                or_null(text("Its name; null also where the webhook was removed.")),
            ),
            (
                "url",
                or_null(text(
                    "Where it sends to; null where the webhook was removed.",
                )),
            ),
            (
                "verdict",
                one_of(&VERDICTS, "What became of the event here."),
            ),
            ("reason", text("Why, for people.")),
            ("rule", or_null(rule())),
            ("attempts", count("Attempts made.")),
            ("last_attempt", or_null(last)),
            ("next_attempt_at", or_null(time("When it is sent next."))),
            ("ended_at", or_null(time("When the delivery ended."))),
            (
                "matches_today",
                or_null(flag(
                    "Whether the webhook's rules of today let it through, where there is no delivery.",
                )),
            ),
        ],
        "A webhook, and why it got the event or did not.",
    );
    let whole = answered(
        vec![
            ("event_id", named("EventId")),
            ("type", text("Its type.")),
            ("received_at", time("When it arrived.")),
            ("deliveries", count("How many deliveries it has.")),
            ("detail", or_null(text("What is to be said of the whole."))),
            (
                "webhooks",
                list(row, "A row for each webhook, oldest first."),
            ),
            (
                "next_cursor",
                or_null(text("Give it as `cursor` for the rows behind these.")),
            ),
        ],
        "Why an event was delivered, or not.",
    );
    vec![("Explanation", whole)]
}

/// Its members go by its kind.
fn rule() -> Value {
    let mut perhaps = vec![
        (
            "attempt",
            count("Of `schedule` and `order`: the attempt that it waits for."),
        ),
        ("of", count("… of so many.")),
        (
            "attempts",
            count("Of `schedule` at its end: the attempts that were made."),
        ),
        ("per_second", or_null(count("Of `rate`."))),
        ("per_hour", or_null(count("Of `rate`."))),
        ("backlog", or_null(count("Of `rate`: how much may wait."))),
        ("reason", or_null(text("Of `inactive`: why."))),
        ("since", or_null(time("Of `inactive`: since when."))),
        (
            "tls",
            or_null(text("Of `tls`: the settings that are gone.")),
        ),
        (
            "format",
            or_null(text("Of `format`: the format that is gone.")),
        ),
        (
            "registered_at",
            time("Of `registration`: when the webhook was registered."),
        ),
        ("field", text("Of `scope`: what the profile calls it.")),
        ("pointer", text("Of `filter`: the field of the pattern.")),
        ("place", text("Of `filter`: the field of the event.")),
        (
            "wanted",
            anything("Of `type`, `scope` and `filter`: what the webhook wants."),
        ),
        ("found", anything("… and what the event has.")),
    ];
    perhaps.extend(lane());
    let kind = one_of(&RULES, "The kind of rule.");
    answered_with(
        vec![("kind", kind)],
        perhaps,
        "The rule that decided, for programs; its members go by `kind`.",
    )
}
