//! The shapes of everything else: the audit log, event types, trials of filters.

use serde_json::Value;

use crate::api::openapi::shapes::{
    Named, answered, answered_with, anything, count, flag, given, list, named_as, one_of, or_null,
    table, text, time,
};

/// Everything else.
pub(super) fn schemas() -> Vec<Named> {
    vec![
        ("Key", key()),
        ("AuditEntry", audit_entry()),
        ("FilterTrial", crate::api::filters::schema()),
        ("FilterVerdict", verdict()),
        ("EventTypes", types()),
        ("EventTypeShown", one_type()),
        ("Empty", given(&[], vec![], "No fields.")),
    ]
}

/// A key, as its holder sees it.
fn key() -> Value {
    let limits = answered(
        vec![
            (
                "requests_per_minute",
                or_null(count("Calls that do not post events, in a minute.")),
            ),
            (
                "events_per_second",
                or_null(count("Events posted, in a second.")),
            ),
        ],
        "How much it may ask for; null: as much as it likes.",
    );
    let scope = one_of(&["admin", "send", "read"], "A scope.");
    answered(
        vec![
            ("account", text("The account that it is of.")),
            ("name", text("Its name in the config.")),
            (
                "scopes",
                list(scope, "What it may do, as the config says it."),
            ),
            ("profile", text("The account's profile.")),
            ("limits", limits),
        ],
        "A key.",
    )
}

/// An entry of the audit log.
fn audit_entry() -> Value {
    let actor = answered_with(
        vec![(
            "kind",
            one_of(
                &["key", "config", "daemon"],
                "A key, a change of the config, or the daemon itself.",
            ),
        )],
        vec![
            ("name", text("The key's name in the config.")),
            (
                "address",
                or_null(text("The address that the request came from.")),
            ),
        ],
        "Who did it.",
    );
    answered(
        vec![
            ("at", time("When.")),
            ("actor", actor),
            ("action", text("What was done, such as `webhook.created`.")),
            (
                "webhook_id",
                or_null(named_as("WebhookId", "To which webhook.")),
            ),
            (
                "subject",
                or_null(text("To which delivery, job or other thing.")),
            ),
            (
                "details",
                list(
                    text("A name."),
                    "The fields that were given, without their values.",
                ),
            ),
        ],
        "An entry of the audit log.",
    )
}

/// What a trial of a filter says.
fn verdict() -> Value {
    let why = answered(
        vec![
            (
                "pointer",
                text("The field of the pattern that does not fit."),
            ),
            ("detail", text("Why not, in words.")),
        ],
        "What does not fit; null where all does.",
    );
    answered(
        vec![
            ("matches", flag("Whether the event fits.")),
            ("why", or_null(why)),
        ],
        "Whether an event fits a filter.",
    )
}

/// All event types.
fn types() -> Value {
    let schemas = table(
        anything("A JSON Schema."),
        "The schemas that events' data must fit, by type.",
    );
    answered(
        vec![
            (
                "data",
                list(
                    text("A type."),
                    "The types that webhooks may name; none: any.",
                ),
            ),
            (
                "operational",
                list(
                    text("A type."),
                    "Types that the daemon posts, where the account gets them.",
                ),
            ),
            ("schemas", schemas),
        ],
        "The event types of the account's profile.",
    )
}

/// One event type.
fn one_type() -> Value {
    answered(
        vec![
            ("type", text("The type.")),
            ("operational", flag("Whether the daemon posts it.")),
            ("postable", flag("Whether it may be posted.")),
            (
                "schema",
                anything("The JSON Schema that its data must fit, or null."),
            ),
        ],
        "An event type.",
    )
}
