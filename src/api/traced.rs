//! The W3C Trace Context headers of a request that posts events, and how an event shows what they said.
//!
//! A trace is company for an event, no part of it: what is no trace by the recommendation is passed over in silence, as
//! the recommendation asks, and never a reason to refuse an event.

use http::HeaderMap;
use serde_json::{Value, json};

use crate::model::TraceContext;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// The trace that a request belongs to. Several `tracestate` headers are one list; with several `traceparent` headers
/// nobody can say which one is meant, so there is none.
pub(super) fn read(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all(PARENT).iter();
    let parent = parents.next()?.to_str().ok()?;
    if parents.next().is_some() {
        return None;
    }
    // One that is no text spoils the list, not the trace.
    let states: Result<Vec<&str>, _> = headers
        .get_all(STATE)
        .iter()
        .map(|state| state.to_str())
        .collect();
    let state = states.ok().filter(|states| !states.is_empty());
    let state = state.map(|states| states.join(","));
    TraceContext::parse(parent.trim(), state.as_deref())
}

/// An event's trace, as the API shows it.
pub(super) fn show(trace: &TraceContext) -> Value {
    json!({
        "trace_id": format!("{:032x}", trace.trace_id),
        "traceparent": trace.parent(),
        "tracestate": trace.state,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(*name, value);
        }
        headers
    }

    #[test]
    fn several_states_are_one_list_and_several_parents_are_none() {
        let one = read(&headers(&[(PARENT, TEXT), (STATE, "a=1"), (STATE, "b=2")])).unwrap();
        assert_eq!(one.parent(), TEXT);
        assert_eq!(one.state.as_deref(), Some("a=1,b=2"));
        assert_eq!(read(&headers(&[(PARENT, TEXT), (PARENT, TEXT)])), None);
        assert_eq!(read(&headers(&[(STATE, "a=1")])), None);
        assert_eq!(read(&headers(&[(PARENT, "01-what")])), None);
        let spoilt = read(&headers(&[(PARENT, TEXT), (STATE, "a=\u{e9}")])).unwrap();
        assert_eq!(spoilt.state, None);
    }
}
