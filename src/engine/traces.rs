//! The trace that an event came with: on its way to the receivers, and to a collector.
//!
//! Receivers are third parties, so nothing of a trace goes out unless the operator says so. What goes out is not signed
//! and not part of the contract; it is kept with the attempt like the other headers that were made for it. Where spans are
//! collected, accepting a sampled event is one, and each attempt is one below that; else the trace is passed on as it
//! came. Nothing here waits, and nothing here can fail an attempt.

use http::HeaderValue;
use http::header::HeaderName;

use crate::model::{Event, Host, Outcome, TraceContext, UnixMicros};
use crate::sender::Sent;
use crate::telemetry::spans::{Kind, Span, Spans, Value};

use super::attempt::Prepared;
use super::{Live, Posted};

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");
/// The flag of a trace that somebody records.
const SAMPLED: u8 = 1;

/// What is done with traces.
#[derive(Debug)]
pub(super) struct Traces {
    forward: bool,
    spans: Spans,
}

/// A step of a trace that is being made.
#[derive(Debug)]
pub(super) struct Step {
    /// The trace, with this step as the one that causes what comes next.
    context: TraceContext,
    parent_id: u64,
}

impl Step {
    fn span(self, kind: Kind, name: &'static str, (from_us, took_us): (u64, u64)) -> Span {
        Span {
            trace_id: self.context.trace_id,
            span_id: self.context.parent_id,
            parent_id: self.parent_id,
            state: self.context.state,
            flags: self.context.flags,
            kind,
            name,
            from_us,
            took_us,
            attributes: Vec::new(),
            fault: None,
        }
    }
}

impl Traces {
    pub(super) const fn new(forward: bool, spans: Spans) -> Self {
        Self { forward, spans }
    }

    /// Begins a step below `trace`, where it is sampled and somebody collects.
    pub(super) fn begin(&self, trace: Option<&TraceContext>) -> Option<Step> {
        if !self.spans.is_on() {
            return None;
        }
        let trace = trace.filter(|trace| trace.flags & SAMPLED != 0)?;
        let mut id = [0; 8];
        // Without random bytes the trace goes on without this step.
        getrandom::fill(&mut id).ok()?;
        // Zero is no id.
        let id = u64::from_be_bytes(id).max(1);
        Some(Step {
            context: trace.child(id),
            parent_id: trace.parent_id,
        })
    }

    /// The trace that goes on below a step; below `trace` itself where there is none.
    pub(super) fn below(step: Option<&Step>, trace: Option<TraceContext>) -> Option<TraceContext> {
        step.map(|step| step.context.clone()).or(trace)
    }

    /// An event was accepted, or had been before.
    pub(super) fn accepted(
        &self,
        step: Option<Step>,
        (from, until): (UnixMicros, UnixMicros),
        event: &Event,
        posted: &Posted,
    ) {
        let Some(step) = step else {
            return;
        };
        // Before 1970 there is nothing to be accepted; a clock that was set back gives no time.
        let us = |time: i64| u64::try_from(time).unwrap_or_default();
        let times = (us(from.0), us(until.0.saturating_sub(from.0)));
        let mut span = step.span(Kind::Server, "accept event", times);
        let deliveries = i64::try_from(posted.deliveries).unwrap_or(i64::MAX);
        span.attributes = vec![
            ("hookwheel.account", Value::Text(event.account.to_string())),
            (
                "hookwheel.event.id",
                Value::Text(posted.id.as_str().to_owned()),
            ),
            (
                "hookwheel.event.type",
                Value::Text(event.event_type.clone()),
            ),
            ("hookwheel.event.deliveries", Value::Number(deliveries)),
        ];
        self.spans.record(span);
    }

    /// An attempt was made.
    pub(super) fn attempted(
        &self,
        step: Option<Step>,
        live: &Live,
        event: &Event,
        (number, sent): (u32, &Sent),
    ) {
        let Some(step) = step else {
            return;
        };
        let times = (
            sent.started_at.0.saturating_mul(1_000),
            sent.phases.total_us.into(),
        );
        let mut span = step.span(Kind::Client, "POST", times);
        let text = |text: &str| Value::Text(text.to_owned());
        let host = match live.webhook.url.host() {
            Host::Name(name) => name,
            Host::Address(address) => address.to_string(),
        };
        // Not the URL: in path and query many receivers have a secret.
        span.attributes = vec![
            ("http.request.method", text("POST")),
            ("url.scheme", text("https")),
            ("server.address", Value::Text(host)),
            ("server.port", Value::Number(live.webhook.url.port().into())),
            ("hookwheel.account", text(live.webhook.account.as_str())),
            (
                "hookwheel.webhook.id",
                Value::Text(live.webhook.id.to_string()),
            ),
            ("hookwheel.event.id", text(event.id.as_str())),
            ("hookwheel.event.type", text(&event.event_type)),
            ("hookwheel.delivery.attempt", Value::Number(number.into())),
        ];
        if number > 1 {
            let again = Value::Number((number - 1).into());
            span.attributes.push(("http.request.resend_count", again));
        }
        match &sent.outcome {
            Outcome::Status(code) => {
                let status = Value::Number((*code).into());
                span.attributes.push(("http.response.status_code", status));
                if *code >= 400 {
                    span.attributes
                        .push(("error.type", Value::Text(code.to_string())));
                    span.fault = Some(String::new());
                }
            }
            Outcome::Fault { kind, detail } => {
                span.attributes.push(("error.type", text(kind.as_str())));
                span.fault = Some(detail.clone());
            }
        }
        self.spans.record(span);
    }

    /// Gives a request the trace of its event, or its own step in it, where receivers get that. What the webhook's owner,
    /// or the profile, has set under one of these names stands, and then neither is added: half of one trace and half of
    /// another is none.
    pub(super) fn forward(&self, event: &Event, step: Option<&Step>, prepared: &mut Prepared) {
        let trace = step.map(|step| &step.context).or(event.trace.as_ref());
        let Some(trace) = trace.filter(|_| self.forward) else {
            return;
        };
        let own = [PARENT, STATE].map(|name| prepared.headers.contains_key(name));
        if own != [false, false] {
            return;
        }
        for (name, value) in headers(trace) {
            // Both are of a checked alphabet; a value that were none would be left out, not sent in pieces.
            if let Ok(checked) = HeaderValue::from_str(&value) {
                prepared.headers.insert(name.clone(), checked);
                prepared.signed.push((name.as_str().to_owned(), value));
            }
        }
    }
}

fn headers(trace: &TraceContext) -> impl Iterator<Item = (HeaderName, String)> {
    let state = trace.state.clone().map(|state| (STATE, state));
    std::iter::once((PARENT, trace.parent())).chain(state)
}
