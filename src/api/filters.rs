//! Trying out a filter: `POST /api/v1/filters/test`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use crate::model::Scope;
use crate::render::ecma;
use crate::render::filter::{Filter, FilterError, Subject};

use super::Api;
use super::access::Caller;
use super::error::Problem;
use super::fields::Fields;
use super::input::Unread;
use super::openapi::shapes;
use super::page::json_answer;

/// Bytes of an event, times the rules that may be tried on each value, that are tried out here and now: about a
/// millisecond. More is done on a thread that may be held up.
const TRIED_INLINE_MAX: usize = 1 << 20;

/// `POST /api/v1/filters/test`: whether `event` fits `pattern`, and if not, `why`: the first field of the
/// pattern that does not, with its pointer. The event is given as filters see it: `id`, `type`,
/// `created_at`, the scope field, `data` and `metadata`, or as much of it as the pattern asks for.
pub(super) async fn test(
    State(api): State<Arc<Api>>,
    caller: Caller,
    body: Unread,
) -> Result<Response, Problem> {
    let text = body.read(&api, &caller, Scope::Read).await?;
    let mut fields = Fields::parse(text.as_str())?;
    let filter = required(&mut fields, "pattern", "an event pattern").map(Filter::parse);
    let event = required(&mut fields, "event", "an event").map(ecma::normalise);
    match &event {
        Some(Err(error)) => fields.refuse("event", error.to_string()),
        Some(Ok(event)) if !event.text.starts_with('{') => {
            fields.refuse("event", "must be an object");
        }
        _ => {}
    }
    if let Some(Err(faults)) = &filter {
        refuse_filter(&mut fields, "pattern", faults);
    }
    fields.finish("pattern, event")?;
    let (Some(Ok(filter)), Some(Ok(event))) = (filter, event) else {
        return Err(Problem::internal(&"a field was refused without a word"));
    };
    let why = if event.text.len().saturating_mul(filter.rules()) <= TRIED_INLINE_MAX {
        try_out(&filter, &event.text)
    } else {
        let account = caller.account();
        let elsewhere = move |_: &_| Ok(try_out(&filter, &event.text));
        api.reads.scan(account, elsewhere).await?
    };
    let shown = json!({ "matches": why.is_null(), "why": why });
    Ok(json_answer(StatusCode::OK, &shown))
}

/// The body of a trial.
pub(super) fn schema() -> Value {
    let event = "An event as filters see it: `id`, `type`, `created_at`, the scope field, `data` and `metadata`, or as \
                 much of it as the pattern asks for.";
    let fields = vec![
        ("pattern", shapes::named("Filter")),
        ("event", json!({ "type": "object", "description": event })),
    ];
    shapes::given(
        &["pattern", "event"],
        fields,
        "A filter and an event to try it on.",
    )
}

/// What does not fit; null where all does.
fn try_out(filter: &Filter, event: &str) -> Value {
    match filter.check(&Subject::new(event)) {
        Ok(()) => Value::Null,
        Err(why) => json!({ "pointer": why.pointer, "detail": why.to_string() }),
    }
}

fn required<'a>(fields: &mut Fields<'a>, name: &str, expected: &str) -> Option<&'a str> {
    let raw = fields.raw(name);
    if raw.is_none() {
        fields.refuse_as("missing", name, format!("is missing: give {expected}"));
    }
    raw
}

/// Notes what is wrong with a filter that stands in the field `name`.
pub(super) fn refuse_filter(fields: &mut Fields<'_>, name: &str, faults: &[FilterError]) {
    for fault in faults {
        let path = format!("{name}{}", fault.pointer);
        fields.refuse_as("filter_invalid", &path, fault.message.as_str());
    }
}
