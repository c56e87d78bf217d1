//! The table of all calls. To add one, add it here: the router, the document, `docs/api.md` and the tests follow.

mod deliveries;
mod events;
mod figures;
mod jobs;
mod secrets;
mod service;
mod webhooks;

use super::operation::Operation;

/// The groups that calls are listed in, in their order.
pub(super) const TAGS: [(&str, &str); 8] = [
    (
        "Webhooks",
        "Registered destinations: where events go, which of them, and in what form.",
    ),
    (
        "Secrets",
        "Replacing the secret that signs a webhook's requests, in the way that the profile has for it.",
    ),
    (
        "Deliveries",
        "The log: one event for one webhook, with its attempts.",
    ),
    (
        "Events",
        "What happened: posted once, stored, and delivered to every webhook that wants it.",
    ),
    (
        "Jobs",
        "A great many deliveries, queued at a bounded rate: replays, and stored events matched anew.",
    ),
    ("Figures", "Counts, success and latency, and who did what."),
    (
        "Contracts",
        "What receivers see: profiles, event types, filters; and what a key may do.",
    ),
    (
        "Service",
        "Liveness, readiness, metrics and this document; without a key.",
    ),
];

/// What cursors look like: a place in the journal, or the last id that was shown.
const PLACE: &str = "^[0-9a-f]{16}$";
const WEBHOOK: &str = "^wh_[0-9a-f]{32}$";
const JOB: &str = "^job_[0-9a-f]{32}$";

/// Every call there is.
pub(super) fn all() -> Vec<Operation> {
    [
        webhooks::all(),
        secrets::all(),
        deliveries::all(),
        events::all(),
        jobs::all(),
        figures::all(),
        service::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
