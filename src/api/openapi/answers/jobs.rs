//! The shapes of jobs.

use serde_json::Value;

use crate::api::openapi::shapes::{
    Named, answered, answered_with, count, flag, list, named, named_as, number, one_of, or_null,
    text, time,
};
use crate::model::ENDED_STATES;

pub(super) fn schemas() -> Vec<Named> {
    let [replay, rematch] = crate::api::jobs::schemas();
    let job = answered_with(
        vec![
            ("id", named("JobId")),
            (
                "kind",
                one_of(
                    &["resend", "rematch"],
                    "Deliveries sent again, or events matched anew.",
                ),
            ),
            (
                "webhook",
                or_null(named_as(
                    "WebhookId",
                    "Whose deliveries, or the only webhook that gets events.",
                )),
            ),
            ("filter", filter()),
            ("per_second", count("Deliveries queued in a second.")),
            (
                "state",
                one_of(
                    &["running", "paused", "done", "cancelled"],
                    "Where it stands.",
                ),
            ),
            ("progress", progress()),
            ("created_at", time("When it was begun.")),
            ("ended_at", or_null(time("When it ended."))),
        ],
        vec![(
            "to",
            named_as("WebhookId", "Who gets the deliveries of a replay."),
        )],
        "A great many deliveries, queued at a bounded rate.",
    );
    vec![
        ("ReplayOrder", replay),
        ("RematchOrder", rematch),
        ("Job", job),
        ("DryRun", dry()),
    ]
}

/// What a job looks for.
fn filter() -> Value {
    answered_with(
        vec![
            ("since", or_null(time("Events from then on."))),
            ("until", or_null(time("Events up to then."))),
            (
                "types",
                list(text("A type."), "Only these types; none: all."),
            ),
        ],
        vec![(
            "states",
            list(
                one_of(&ENDED_STATES, "A state."),
                "Deliveries that ended so, of a replay.",
            ),
        )],
        "What it looks for.",
    )
}

/// How far a job is.
fn progress() -> Value {
    answered(
        vec![
            ("matched", count("What fitted so far.")),
            ("queued", count("What was queued for delivery.")),
            (
                "skipped",
                count("What could not be read, or needed no delivery."),
            ),
            (
                "share",
                number(0.0, "How much of the history was looked at, 0 to 1."),
            ),
        ],
        "How far it is.",
    )
}

/// What a dry run says.
fn dry() -> Value {
    answered_with(
        vec![
            ("dry_run", flag("True: nothing was changed.")),
            ("matched", count("What the job would queue.")),
            ("complete", flag("Whether all was looked at.")),
        ],
        vec![("note", text("Where not: what that means."))],
        "What a job would do.",
    )
}
