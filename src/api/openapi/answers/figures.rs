//! The shapes of figures: of one webhook, and of an account.

use serde_json::Value;

use crate::api::openapi::shapes::{
    Named, answered, count, list_of, named, number, one_of, or_null, time, with_more,
};

pub(super) fn schemas() -> Vec<Named> {
    let figures = answered(
        vec![
            (
                "since",
                time("From when on was counted: the start of the daemon, or the registration."),
            ),
            ("last_hour", named("Window")),
            ("last_day", named("Window")),
            ("hours", hours()),
            (
                "last_success_at",
                or_null(time("When an attempt succeeded last.")),
            ),
            ("last_failure", or_null(failure())),
        ],
        "",
    );
    let queue = answered(queued(), "What waits now.");
    let of_lane = answered(lane(), "");
    let now = with_more(&queue, &of_lane, "What waits now, and how it is sent.");
    let of_webhook = answered(vec![("webhook_id", named("WebhookId")), ("now", now)], "");
    let in_flight = answered(vec![("in_flight", count("Requests under way."))], "");
    let now = with_more(&queue, &in_flight, "What waits now.");
    let webhooks = answered(
        vec![
            ("total", count("All.")),
            ("active", count("Active ones.")),
            ("disabled", count("Inactive ones.")),
            (
                "held",
                count("Active ones to which nothing is sent, as the config lacks what they name."),
            ),
        ],
        "How many webhooks there are.",
    );
    let of_account = answered(vec![("webhooks", webhooks), ("now", now)], "");
    let of_each = with_more(
        &of_list(),
        &answered(lane(), ""),
        "The figures of a webhook, in a list.",
    );
    vec![
        ("Window", window()),
        ("WebhookStatsRow", of_each),
        ("Percentiles", percentiles()),
        (
            "WebhookStats",
            with_more(&figures, &of_webhook, "The figures of a webhook."),
        ),
        (
            "AccountStats",
            with_more(&figures, &of_account, "The figures of an account."),
        ),
    ]
}

/// What a list has of each webhook, besides its lane.
fn of_list() -> Value {
    answered(
        vec![
            ("webhook_id", named("WebhookId")),
            ("waiting", count("Deliveries that wait.")),
            ("held", count("Deliveries that are held.")),
            (
                "next_attempt_at",
                or_null(time("When the next one is sent.")),
            ),
            (
                "since",
                time("From when on was counted: the start of the daemon, or the registration."),
            ),
            ("last_day", named("Window")),
            ("hours", hours()),
            (
                "last_success_at",
                or_null(time("When an attempt succeeded last.")),
            ),
            ("last_failure", or_null(failure())),
        ],
        "",
    )
}

fn hours() -> Value {
    let hour = answered(
        vec![
            ("from", time("Its beginning.")),
            ("attempts", count("Attempts.")),
            ("succeeded", count("… that succeeded.")),
            ("delivered", count("Deliveries that arrived.")),
            ("failed", count("… that failed for good.")),
        ],
        "An hour.",
    );
    list_of(24, 24, hour, "The last 24 hours, the oldest first.")
}

fn window() -> Value {
    let ratio = |means: &str| or_null(number(0.0, means));
    let delivery = answered(
        vec![
            ("first_attempt", or_null(named("Percentiles"))),
            ("all", or_null(named("Percentiles"))),
        ],
        "From an event's arrival to its delivery: by the first attempt, and by any.",
    );
    answered(
        vec![
            ("from", time("Its beginning.")),
            ("attempts", count("Attempts.")),
            ("succeeded", count("… that succeeded.")),
            (
                "attempts_success_ratio",
                ratio("Their share; null where there were none."),
            ),
            ("delivered", count("Deliveries that arrived.")),
            ("failed", count("… that failed for good.")),
            (
                "dropped",
                count("… that were dropped, as more waited than the profile lets."),
            ),
            ("expired", count("… that had waited for too long.")),
            (
                "cancelled",
                count("… that were not to be delivered any more."),
            ),
            (
                "deliveries_success_ratio",
                ratio("The share that arrived, without what was cancelled."),
            ),
            ("response_time_ms", or_null(named("Percentiles"))),
            ("delivery_time_ms", delivery),
        ],
        "What happened in a stretch of time.",
    )
}

fn percentiles() -> Value {
    let ms = |means: &str| number(0.0, means);
    answered(
        vec![
            ("p50", ms("The median.")),
            ("p95", ms("95 of 100 are below.")),
            ("p99", ms("99 of 100 are below.")),
        ],
        "Milliseconds, near and not exact.",
    )
}

fn failure() -> Value {
    answered(
        vec![
            ("at", time("When.")),
            ("webhook_id", named("WebhookId")),
            ("outcome", said()),
        ],
        "The last attempt that failed.",
    )
}

/// An outcome without its details.
pub(super) fn said() -> Value {
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
            ("status", or_null(count("The status."))),
        ],
        "How it ended.",
    )
}

fn queued() -> Vec<Named> {
    let first = answered(
        vec![
            ("webhook_id", named("WebhookId")),
            ("event_id", or_null(named("EventId"))),
            ("received_at", or_null(time("When its event arrived."))),
            ("due_at", time("When it is due.")),
            ("attempts", count("Attempts made.")),
        ],
        "The first in the queue.",
    );
    vec![
        ("waiting", count("Deliveries that wait.")),
        ("held", count("Deliveries that are held.")),
        ("first", or_null(first)),
        (
            "next_attempt_at",
            or_null(time("When the next one is sent.")),
        ),
    ]
}

/// How a webhook is sent to at this moment.
pub(super) fn lane() -> Vec<Named> {
    let standing = one_of(
        &["fresh", "proven", "doubted"],
        "What is thought of its receiver.",
    );
    let because = one_of(
        &["asked", "rate", "absent"],
        "Why nothing goes out until then.",
    );
    vec![
        ("in_flight", count("Requests under way.")),
        (
            "concurrency",
            or_null(count("Requests at once at most, by how its receiver does.")),
        ),
        ("standing", or_null(standing)),
        (
            "paused_until",
            or_null(time("From when on something may go out again.")),
        ),
        ("paused_because", or_null(because)),
    ]
}
