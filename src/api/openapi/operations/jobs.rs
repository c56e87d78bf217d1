//! Calls about jobs.

use serde_json::json;

use super::JOB;
use crate::api::jobs;
use crate::api::openapi::operation::{Codes, OF_WRITES, Operation};
use crate::api::openapi::shapes::{named, page_of};
use crate::api::page::{ROWS_DEFAULT, ROWS_MAX};
use crate::model::Scope;

const TAG: &str = "Jobs";
/// What can be wrong with a job's order.
const OF_ORDERS: Codes = &[
    "event_type_unknown",
    "webhook_unknown",
    "too_many_jobs",
    "too_many_dry_runs",
];

pub(super) fn all() -> Vec<Operation> {
    let mut all = orders();
    all.extend(hands());
    all
}

fn orders() -> Vec<Operation> {
    let counted = "What it would do: the answer to `dry_run`.";
    let replay = Operation::post("/api/v1/webhooks/{id}/replay", jobs::replay)
        .named(
            "replayWebhook",
            TAG,
            "Replay a webhook's deliveries",
            "Sends deliveries again that ended in one of `states`: all but `delivered` if none is named. What has not \
             ended is left alone. With `to` the same events go to another webhook. A job goes on after a restart, and \
             queues each delivery once.",
        )
        .takes(
            named("ReplayOrder"),
            vec![
                ("What failed since a time", json!({ "since": "2026-01-31T12:00:00Z", "states": ["failed"] })),
                ("Only count", json!({ "dry_run": true })),
            ],
        );
    let rematch = Operation::post("/api/v1/events/rematch", jobs::rematch)
        .named(
            "rematchEvents",
            TAG,
            "Match stored events anew",
            "Delivers stored events to webhooks that want them by now: those registered or changed since.",
        )
        .takes(
            named("RematchOrder"),
            vec![
                ("Some types, slowly", json!({ "types": ["order.paid"], "per_second": 20 })),
                ("Only count", json!({ "dry_run": true })),
            ],
        );
    [replay, rematch]
        .into_iter()
        .map(|call| {
            call.needs(Scope::Admin)
                .answers(200, counted, named("DryRun"))
                .answers(202, "The job.", named("Job"))
                .with_headers(&["Location"])
                .refuses(OF_ORDERS)
                .refuses(OF_WRITES)
        })
        .collect()
}

fn hands() -> Vec<Operation> {
    let list = Operation::get("/api/v1/jobs", jobs::list)
        .named(
            "listJobs",
            TAG,
            "List jobs",
            "The account's jobs, newest first.",
        )
        .needs(Scope::Read)
        .paged(ROWS_DEFAULT, ROWS_MAX, JOB)
        .answers(
            200,
            "A page of jobs.",
            page_of(named("Job"), "A page of jobs."),
        );
    let show = Operation::get("/api/v1/jobs/{id}", jobs::show)
        .named("showJob", TAG, "Read a job", "One job, and how far it is.")
        .needs(Scope::Read)
        .answers(200, "The job.", named("Job"));
    let pause = Operation::post("/api/v1/jobs/{id}/pause", jobs::pause).named(
        "pauseJob",
        TAG,
        "Pause a job",
        "It queues nothing until it is resumed. It takes no body.",
    );
    let resume = Operation::post("/api/v1/jobs/{id}/resume", jobs::resume).named(
        "resumeJob",
        TAG,
        "Resume a job",
        "It goes on where it was paused. It takes no body.",
    );
    let cancel = Operation::post("/api/v1/jobs/{id}/cancel", jobs::cancel).named(
        "cancelJob",
        TAG,
        "Cancel a job",
        "It queues nothing more; what it has queued is delivered. It takes no body.",
    );
    let turns = [pause, resume, cancel].into_iter().map(|call| {
        call.needs(Scope::Admin)
            .answers(200, "The job.", named("Job"))
            .refuses(&["job_ended"])
            .refuses(OF_WRITES)
    });
    [list, show].into_iter().chain(turns).collect()
}
