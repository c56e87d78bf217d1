//! Jobs over HTTP: replay a webhook's deliveries, match stored events anew, and look at what became of it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::engine::{COUNT_TIME_MAX, JobOrder, share_done};
use crate::model::{
    AuditAction, AuditEntry, ENDED_STATES, Job, JobFilter, JobId, JobKind, JobState, Scope,
    UnixMicros, WebhookId,
};
use crate::profile::Profile;
use crate::render::pattern;
use crate::store::SegmentBacklog;

use super::Api;
use super::access::Caller;
use super::error::Problem;
use super::fields::Fields;
use super::input::Unread;
use super::openapi::shapes;
use super::page::{Asked, Named, Paging, json_answer, page, row_limit};
use super::webhooks;

/// Event types that a job's filter names: as many as a person would list.
const TYPES_MAX: usize = 20;
/// Deliveries queued in a second where the caller names no rate: far below what a usual receiver takes.
const RATE_DEFAULT: u32 = 100;
/// … and at most.
const RATE_MAX: u32 = 10_000;

/// `POST /api/v1/webhooks/{id}/replay`: 202 with the job; 200 with a count for a dry run.
pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named<String>,
    body: Unread,
) -> Result<Response, Problem> {
    let text = body.read(&api, &caller, Scope::Admin).await?;
    let live = webhooks::find(&api, caller.account(), &id)?;
    let mut fields = Fields::parse(text.as_str())?;
    let mut draft = Draft::read(&mut fields, &live.contract.profile);
    draft.filter.states = read_states(&mut fields);
    let from = live.webhook.id;
    let to = read_webhook(&api, &caller, &mut fields, "to").unwrap_or(from);
    fields.finish("since, until, states, types, to, per_second, dry_run")?;
    let kind = JobKind::Resend { from, to };
    start(&api, &caller, kind, draft).await
}

/// `POST /api/v1/events/rematch`: 202 with the job; 200 with a count for a dry run.
pub(super) async fn rematch(
    State(api): State<Arc<Api>>,
    caller: Caller,
    body: Unread,
) -> Result<Response, Problem> {
    let text = body.read(&api, &caller, Scope::Admin).await?;
    let contract = webhooks::contract(&api, &caller)?;
    let mut fields = Fields::parse(text.as_str())?;
    let draft = Draft::read(&mut fields, &contract.profile);
    let only = read_webhook(&api, &caller, &mut fields, "webhook");
    fields.finish("since, until, types, webhook, per_second, dry_run")?;
    start(&api, &caller, JobKind::Rematch { only }, draft).await
}

/// The body of a replay and that of a rematch.
pub(super) fn schemas() -> [Value; 2] {
    let common = || {
        let since = "Only events created at this time or later.";
        let until = "Only events created up to this time.";
        let types = "Only events of these types.";
        let pace = "Deliveries queued in a second, evenly.";
        let dry = "Count what would be queued, for ten seconds at most, and change nothing.";
        vec![
            ("since", shapes::or_null(shapes::time(since))),
            ("until", shapes::or_null(shapes::time(until))),
            (
                "types",
                shapes::list_of(1, TYPES_MAX, shapes::named("EventType"), types),
            ),
            (
                "per_second",
                shapes::by_default(shapes::whole(1, RATE_MAX.into(), pace), json!(RATE_DEFAULT)),
            ),
            (
                "dry_run",
                shapes::by_default(shapes::flag(dry), json!(false)),
            ),
        ]
    };
    let states = "Only deliveries that ended in one of these states. Without it all but `delivered`: what arrived is \
                  sent again only where it is named.";
    let ended = shapes::one_of(&ENDED_STATES, "A state that a delivery ends in.");
    let to = "Another webhook that gets the events; null or nothing for the one in the path.";
    let only = "The only webhook that is to get events; null or nothing for all that match.";
    let mut replay = common();
    replay.push((
        "states",
        shapes::list_of(1, ENDED_STATES.len(), ended, states),
    ));
    replay.push(("to", shapes::or_null(shapes::named_as("WebhookId", to))));
    let mut rematch = common();
    rematch.push((
        "webhook",
        shapes::or_null(shapes::named_as("WebhookId", only)),
    ));
    [
        shapes::given(
            &[],
            replay,
            "Which deliveries of a webhook are sent again, where to and how fast.",
        ),
        shapes::given(
            &[],
            rematch,
            "Which stored events are matched anew, for whom and how fast.",
        ),
    ]
}

async fn start(
    api: &Api,
    caller: &Caller,
    kind: JobKind,
    draft: Draft,
) -> Result<Response, Problem> {
    let order = JobOrder {
        account: caller.account().clone(),
        kind,
        filter: draft.filter,
        per_second: draft.per_second,
    };
    if draft.dry_run {
        return dry_run(api, order).await;
    }
    let entry = match order.kind {
        JobKind::Resend { from, .. } => caller.does_to(AuditAction::ReplayStarted, from),
        JobKind::Rematch { only } => AuditEntry {
            webhook: only,
            ..caller.does(AuditAction::RematchStarted)
        },
    };
    let job = api.engine.start_job(order, Some(entry)).await?;
    let shown = show_job(&job, &api.engine.reader().backlog().segments);
    let mut response = json_answer(StatusCode::ACCEPTED, &shown);
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/jobs/{}", job.id)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

async fn dry_run(api: &Api, order: JobOrder) -> Result<Response, Problem> {
    let counted = api.engine.count_matches(order, COUNT_TIME_MAX).await?;
    let mut shown = Map::new();
    shown.insert("dry_run".to_owned(), json!(true));
    shown.insert("matched".to_owned(), json!(counted.matched));
    shown.insert("complete".to_owned(), json!(counted.complete));
    if !counted.complete {
        let seconds = COUNT_TIME_MAX.as_secs();
        let note = format!(
            "the count ended after {seconds} s without having looked at everything, so there may be more; the job itself \
             would look at everything"
        );
        shown.insert("note".to_owned(), json!(note));
    }
    Ok(json_answer(StatusCode::OK, &Value::Object(shown)))
}

/// What both kinds of job may be asked for.
struct Draft {
    filter: JobFilter,
    per_second: u32,
    dry_run: bool,
}

impl Draft {
    fn read(fields: &mut Fields<'_>, profile: &Profile) -> Self {
        let (since, until) = (fields.time("since"), fields.time("until"));
        if let (Some(since), Some(until)) = (since, until)
            && since > until
        {
            fields.refuse(
                "since",
                "is after `until`; give the earlier time as `since`",
            );
        }
        let filter = JobFilter {
            since,
            until,
            states: Vec::new(),
            types: read_types(fields, profile),
        };
        let expected = format!("a whole number from 1 to {RATE_MAX}");
        let per_second = match fields.value::<u32>("per_second", &expected) {
            Some(rate) if (1..=RATE_MAX).contains(&rate) => rate,
            Some(_) => {
                fields.refuse("per_second", format!("must be {expected}"));
                RATE_DEFAULT
            }
            None => RATE_DEFAULT,
        };
        let dry_run = fields.value::<bool>("dry_run", "true or false");
        Self {
            filter,
            per_second,
            dry_run: dry_run.unwrap_or(false),
        }
    }
}

fn read_types(fields: &mut Fields<'_>, profile: &Profile) -> Vec<String> {
    let Some(types) = fields.value::<Vec<String>>("types", "a list of event types") else {
        return Vec::new();
    };
    if types.is_empty() || types.len() > TYPES_MAX {
        let detail = format!("must name 1 to {TYPES_MAX} event types; leave it out for all");
        fields.refuse("types", detail);
        return Vec::new();
    }
    for (at, event_type) in types.iter().enumerate() {
        if let Err(why) = pattern::check_posted(profile, event_type) {
            let (code, path) = ("event_type_unknown", format!("types/{at}"));
            fields.refuse_as(code, &path, why.to_string());
        }
    }
    types
}

/// The states of the deliveries to be sent again. What arrived is among them only where it is named: nobody should
/// send everything a second time by leaving a field out.
fn read_states(fields: &mut Fields<'_>) -> Vec<String> {
    let fit = |state: &str| ENDED_STATES.contains(&state);
    match fields.value::<Vec<String>>("states", "a list of states") {
        Some(states) if states.is_empty() => {
            fields.refuse("states", "is empty; name a state, or leave it out");
        }
        Some(states) if states.len() > ENDED_STATES.len() => {
            let (given, all) = (states.len(), ENDED_STATES.len());
            let detail = format!("names {given} states; a delivery ends in one of {all}");
            fields.refuse("states", detail);
        }
        Some(states) => {
            for (at, state) in states.iter().enumerate() {
                if !fit(state) {
                    let detail = format!(
                        "is not a state that a delivery ends in; there are {}. What has not ended is sent by its schedule",
                        ENDED_STATES.join(", ")
                    );
                    fields.refuse(&format!("states/{at}"), detail);
                }
            }
            let mut named: Vec<String> = ENDED_STATES.map(str::to_owned).to_vec();
            named.retain(|state| states.contains(state));
            return named;
        }
        None => {}
    }
    let all = ENDED_STATES.iter().filter(|state| **state != "delivered");
    all.map(|state| (*state).to_owned()).collect()
}

/// A webhook of the caller's account; another account's is as unknown as one that never was.
fn read_webhook(
    api: &Api,
    caller: &Caller,
    fields: &mut Fields<'_>,
    name: &str,
) -> Option<WebhookId> {
    let text = fields
        .nullable::<String>(name, "a webhook's id or null")
        .flatten()?;
    let known = webhooks::find(api, caller.account(), &text);
    if known.is_err() {
        let detail = format!("there is no webhook `{text}`; GET /api/v1/webhooks lists them");
        fields.refuse_as("webhook_unknown", name, detail);
    }
    known.ok().map(|live| live.webhook.id)
}

/// `GET /api/v1/jobs`: newest first; the cursor is the last id shown.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<Paging>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let limit = row_limit(query.limit)?;
    let before = query.after::<JobId>()?;
    let mut jobs = api.engine.jobs(caller.account());
    jobs.retain(|job| before.is_none_or(|before| job.id < before));
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    let segments = api.engine.reader().backlog().segments;
    let rows: Vec<Value> = jobs.iter().map(|job| show_job(job, &segments)).collect();
    let next = jobs.last().filter(|_| more).map(|job| job.id.to_string());
    Ok(page(rows, next))
}

/// `GET /api/v1/jobs/{id}`
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let job = read_id(&id)
        .ok()
        .and_then(|id| api.engine.job(caller.account(), id))
        .ok_or_else(|| Problem::not_found("job"))?;
    let shown = show_job(&job, &api.engine.reader().backlog().segments);
    Ok(json_answer(StatusCode::OK, &shown))
}

/// `POST /api/v1/jobs/{id}/pause`
pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Response, Problem> {
    turn(
        &api,
        &caller,
        &id,
        (JobState::Paused, AuditAction::JobPaused),
    )
    .await
}

/// `POST /api/v1/jobs/{id}/resume`
pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Response, Problem> {
    turn(
        &api,
        &caller,
        &id,
        (JobState::Running, AuditAction::JobResumed),
    )
    .await
}

/// `POST /api/v1/jobs/{id}/cancel`
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Response, Problem> {
    turn(
        &api,
        &caller,
        &id,
        (JobState::Cancelled, AuditAction::JobCancelled),
    )
    .await
}

async fn turn(
    api: &Api,
    caller: &Caller,
    id: &str,
    (state, action): (JobState, AuditAction),
) -> Result<Response, Problem> {
    caller.require(Scope::Admin)?;
    let id = read_id(id)?;
    let entry = AuditEntry {
        subject: Some(id.to_string()),
        ..caller.does(action)
    };
    let set = api.engine.set_job(caller.account(), id, state, Some(entry));
    let job = set.await?;
    let shown = show_job(&job, &api.engine.reader().backlog().segments);
    Ok(json_answer(StatusCode::OK, &shown))
}

fn read_id(id: &str) -> Result<JobId, Problem> {
    id.parse().map_err(|_| Problem::not_found("job"))
}

fn show_job(job: &Job, segments: &[SegmentBacklog]) -> Value {
    let filter = &job.filter;
    let mut asked = Map::new();
    let time = |at: Option<UnixMicros>| json!(at.map(|at| at.rfc3339(6)));
    asked.insert("since".to_owned(), time(filter.since));
    asked.insert("until".to_owned(), time(filter.until));
    asked.insert("types".to_owned(), json!(filter.types));
    let (webhook, to) = match job.kind {
        JobKind::Resend { from, to } => {
            asked.insert("states".to_owned(), json!(filter.states));
            (Some(from), Some(to))
        }
        JobKind::Rematch { only } => (only, None),
    };
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| {
        shown.insert(name.to_owned(), value);
    };
    put("id", json!(job.id.to_string()));
    put("kind", json!(job.kind.as_str()));
    put("webhook", json!(webhook.map(|id| id.to_string())));
    if let Some(to) = to {
        put("to", json!(to.to_string()));
    }
    put("filter", Value::Object(asked));
    put("per_second", json!(job.per_second));
    put("state", json!(job.state.as_str()));
    put(
        "progress",
        json!({
            "matched": job.matched,
            "queued": job.queued,
            "skipped": job.skipped,
            "share": share_done(job, segments),
        }),
    );
    put("created_at", json!(job.created_at.to_string()));
    let ended_at = job.ended_at.map(|at| at.to_string());
    put("ended_at", json!(ended_at));
    Value::Object(shown)
}
