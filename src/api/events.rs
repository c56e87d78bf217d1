//! Events over HTTP: intake, one or a batch, and reading them back.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::engine::{Draft, Posted};
use crate::model::{AccountName, Event, EventId, Position, Scope, TraceContext, WebhookId};

use super::Api;
use super::access::Caller;
use super::answers::no_room;
use super::deliveries;
use super::error::Problem;
use super::fields::Fields;
use super::input::Unread;
use super::openapi::shapes;
use super::page::{
    Asked, Named, Paging, Rows, counted_answer, read_cursor, row_limit, show_cursor, text_answer,
};
use super::stored::Stored;
use super::together::together;
use super::traced;
use super::webhooks::SCOPE_MAX;

/// Events in one batch: one answer names them all, and the body limit holds for all together.
pub(super) const BATCH_MAX: usize = 1_000;
/// Fields at fault that the answer to a batch names, over all of its events; of each it says how many more there are.
const BATCH_FAULTS_MAX: usize = 2_000;

/// Bytes of events in one page of a list, but for the last one's: a page of the largest events would be
/// hundreds of megabytes. It then has fewer rows than asked for, and a cursor.
const LIST_BYTES_MAX: usize = 4 << 20;
/// Events read at once for a list: what is read beyond the bound above is thrown away.
const LIST_STEP: usize = 16;

/// `POST /api/v1/events`: 202 once the event and its deliveries are synced to disk.
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    body: Unread,
) -> Result<Response, Problem> {
    let text = body.read(&api, &caller, Scope::Send).await?;
    let trace = traced::read(&headers);
    let posted = post(&api, caller.account(), text.as_str(), trace).await?;
    Ok(text_answer(StatusCode::ACCEPTED, posted_json(&posted)))
}

/// `POST /api/v1/events/batch`: each event of the array stands for itself. 202 if all were taken, else 207
/// with each one's own result, in order.
pub(super) async fn create_batch(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    body: Unread,
) -> Result<Response, Problem> {
    let text = body.read(&api, &caller, Scope::Send).await?;
    let trace = traced::read(&headers);
    let events: Vec<&RawValue> = serde_json::from_str(text.as_str()).map_err(|error| {
        let detail = format!("the body is not a JSON array of events: {error}");
        Problem::new(StatusCode::BAD_REQUEST, "json_invalid", detail)
    })?;
    if events.is_empty() || events.len() > BATCH_MAX {
        let detail = format!(
            "a batch has 1 to {BATCH_MAX} events, this one has {}",
            events.len()
        );
        return Err(Problem::new(StatusCode::BAD_REQUEST, "batch_size", detail));
    }
    caller.count_batch(&api, events.len())?;
    let faults_max = BATCH_FAULTS_MAX / events.len();
    let posts = events.iter().map(async |event| {
        let posted = post(&api, caller.account(), event.get(), trace.clone()).await;
        posted.map_err(|problem| problem.with_faults_up_to(faults_max))
    });
    // Side by side, so that a batch shares its syncs.
    let results = together(posts).await;
    let all_taken = results.iter().all(Result::is_ok);
    let rows: Vec<String> = results
        .iter()
        .map(|result| match result {
            Ok(posted) => posted_json(posted),
            Err(problem) => format!("{{\"error\":{}}}", problem.to_json()),
        })
        .collect();
    let status = if all_taken {
        StatusCode::ACCEPTED
    } else {
        StatusCode::MULTI_STATUS
    };
    Ok(text_answer(
        status,
        format!("{{\"data\":[{}]}}", rows.join(",")),
    ))
}

fn posted_json(posted: &Posted) -> String {
    // An id is of a checked alphabet and needs no escapes.
    match &posted.warning {
        None => format!(
            "{{\"id\":\"{}\",\"deliveries\":{}}}",
            posted.id, posted.deliveries
        ),
        Some(warning) => json!({
            "id": posted.id.as_str(), "deliveries": posted.deliveries, "warning": warning,
        })
        .to_string(),
    }
}

async fn post(
    api: &Api,
    account: &AccountName,
    text: &str,
    trace: Option<TraceContext>,
) -> Result<Posted, Problem> {
    let posted = read_and_post(api, account, text, trace).await;
    if let Err(problem) = &posted {
        api.metrics
            .events_refused
            .get_or_create(&[("reason", problem.code)])
            .inc();
    }
    posted
}

async fn read_and_post(
    api: &Api,
    account: &AccountName,
    text: &str,
    trace: Option<TraceContext>,
) -> Result<Posted, Problem> {
    let contract = api
        .engine
        .contract(account)
        .ok_or_else(Problem::unauthorized)?;
    let draft = Draft {
        trace,
        ..read_draft(text, &contract.profile.scope_field)?
    };
    Ok(api.engine.post(account, draft).await?)
}

/// An event as it is posted; `scope_fields` are what the profiles call its scope.
pub(super) fn schema(scope_fields: &[String]) -> Value {
    let id = "Your own id makes posting idempotent: the same id with the same content is answered as the first time, \
              with other content it is refused. Without one, or with null, one is made.";
    let data = "The event's data, any JSON. Where the type has a schema it must fit that.";
    let created = "When it happened; without it, or with null, the time at which it arrives.";
    let metadata =
        "What is kept with the event and sent nowhere, for your own use; filters see it.";
    let fields = vec![
        ("type", shapes::named("EventType")),
        ("data", shapes::anything(data)),
        ("id", shapes::or_null(shapes::named_as("EventId", id))),
        ("created_at", shapes::or_null(shapes::time(created))),
        (
            "metadata",
            json!({ "type": ["object", "null"], "description": metadata }),
        ),
    ];
    let whole = shapes::given(&["type", "data"], fields, "An event to be delivered.");
    shapes::with_scope(whole, scope_fields, SCOPE_MAX)
}

fn read_draft(text: &str, scope_field: &str) -> Result<Draft, Problem> {
    let mut fields = Fields::parse(text)?;
    let mut draft = Draft::default();
    if let Some(event_type) = fields.required("type", "the event's type as a string") {
        draft.event_type = event_type;
    }
    match fields.raw("data") {
        Some(data) => draft.data = data.to_owned(),
        None => fields.refuse_as(
            "missing",
            "data",
            "is missing: give the event's data, any JSON",
        ),
    }
    match fields
        .nullable::<String>("id", "a string")
        .flatten()
        .map(|id| EventId::new(&id))
    {
        Some(Ok(id)) => draft.id = Some(id),
        Some(Err(error)) => fields.refuse_as("id_invalid", "id", error.to_string()),
        None => {}
    }
    draft.created_at = fields.time("created_at");
    match fields.raw("metadata") {
        None | Some("null") => {}
        Some(object) if object.starts_with('{') => draft.metadata = Some(object.to_owned()),
        Some(_) => fields.refuse("metadata", "must be an object"),
    }
    match fields
        .nullable::<String>(scope_field, "a string or null")
        .flatten()
    {
        Some(scope) if scope.len() > SCOPE_MAX => {
            fields.refuse(scope_field, format!("is over {SCOPE_MAX} bytes"));
        }
        scope => draft.scope = scope,
    }
    fields.finish(&format!(
        "type, data, id, created_at, metadata, {scope_field}"
    ))?;
    Ok(draft)
}

/// `GET /api/v1/events`: newest first. The answer's text is made while events are read, so what is in memory beside it
/// is a step.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<Paging>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let limit = row_limit(query.limit)?;
    let before = read_cursor(query.cursor.as_deref())?;
    let (reader, account) = (api.engine.reader().clone(), caller.account().clone());
    let scope_field = scope_field(&api, &account);
    let room = api.answers.room(Some(account.clone()));
    let mut rows = Rows::new(room, LIST_BYTES_MAX + api.options.body_bytes_max);
    let read = move |gone: &CancellationToken| {
        let (mut before, mut count, mut bytes) = (before, 0, 0);
        loop {
            let step = LIST_STEP.min(limit + 1 - count);
            let found = reader.events(&account, before, step)?;
            if found.is_empty() || gone.is_cancelled() {
                // Fewer than asked for is not the end: events that cannot be read are left out.
                return Ok(rows.end(None));
            }
            for (position, event) in found {
                if count == limit || bytes > LIST_BYTES_MAX {
                    return Ok(rows.end(before.map(show_cursor)));
                }
                if let Err(full) = rows.add(&text(&event, &scope_field, None)) {
                    return Ok(Err(full));
                }
                before = Some(position);
                bytes += event.bytes();
                count += 1;
            }
        }
    };
    let rows = api.reads.scan(caller.account(), read).await?;
    Ok(counted_answer(rows.map_err(no_room)?))
}

/// `GET /api/v1/events/{id}`: the event and where each of its deliveries stands.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let (position, event) = find(&api, caller.account(), &id).await?;
    let reader = api.engine.reader().clone();
    let scope_field = scope_field(&api, caller.account());
    let shown = Arc::clone(&api);
    let read = move |_: &_| {
        let deliveries = reader.deliveries_of(position)?;
        let rows: Vec<Value> = deliveries
            .iter()
            .map(|(webhook, state, attempts)| show_delivery(&shown, *webhook, state, *attempts))
            .collect();
        Ok(text(&event, &scope_field, Some(&rows)))
    };
    let text = api.reads.scan(caller.account(), read).await?;
    Ok(text_answer(StatusCode::OK, text))
}

fn show_delivery(
    api: &Api,
    webhook: WebhookId,
    state: &crate::model::DeliveryState,
    attempts: u32,
) -> Value {
    let active = api.engine.is_sending(webhook);
    let mut shown = deliveries::show_state(state, active, api.engine.clock());
    shown.insert("webhook_id".to_owned(), json!(webhook.to_string()));
    shown.insert("attempts".to_owned(), json!(attempts));
    Value::Object(shown)
}

/// The event of a path, if it is the caller's.
pub(super) async fn find(
    api: &Api,
    account: &AccountName,
    id: &str,
) -> Result<(Position, Event), Problem> {
    let id = EventId::new(id).map_err(|_| Problem::not_found("event"))?;
    let (reader, account) = (api.engine.reader().clone(), account.clone());
    let find = move || reader.find_event(&account, &id);
    let found = api.reads.look_up(find).await?;
    found.ok_or_else(|| Problem::not_found("event"))
}

/// What an account's profile calls an event's scope, where the config knows the account.
fn scope_field(api: &Api, account: &AccountName) -> Option<String> {
    let contract = api.engine.contract(account)?;
    Some(contract.profile.scope_field.clone())
}

/// An event as JSON text, with its deliveries where they are asked for.
fn text(event: &Event, scope_field: &Option<String>, deliveries: Option<&[Value]>) -> String {
    let shown = Shown {
        event,
        scope_field: scope_field.as_deref(),
        deliveries,
    };
    serde_json::to_string(&shown).expect("all keys are strings, and it is written to memory")
}

struct Shown<'a> {
    event: &'a Event,
    scope_field: Option<&'a str>,
    deliveries: Option<&'a [Value]>,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.event;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", event.id.as_str())?;
        map.serialize_entry("type", &event.event_type)?;
        map.serialize_entry("created_at", &event.created_at.rfc3339(6))?;
        map.serialize_entry("received_at", &event.received_at.to_string())?;
        map.serialize_entry("data", &Stored::of(&event.data))?;
        let metadata = event.metadata.as_deref().map(Stored::of);
        map.serialize_entry("metadata", &metadata)?;
        map.serialize_entry("warning", &event.warning)?;
        map.serialize_entry("trace", &event.trace.as_ref().map(traced::show))?;
        if let Some(name) = self.scope_field {
            map.serialize_entry(name, &event.scope)?;
        }
        if let Some(deliveries) = self.deliveries {
            map.serialize_entry("deliveries", deliveries)?;
        }
        map.end()
    }
}
