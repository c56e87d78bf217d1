//! Spans: the steps of a distributed trace that this process made, on their way to a collector.
//!
//! Whoever makes one never waits: where there is no room it is dropped, and counted. A build without the feature `otlp`
//! has nothing that takes them, so there `is_on` is false for the compiler, too.

#[cfg(feature = "otlp")]
use prometheus_client::metrics::counter::Counter;
#[cfg(feature = "otlp")]
use tokio::sync::mpsc;

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
}

/// What a span is for the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It answered somebody.
    Server,
    /// It asked somebody.
    Client,
}

/// One step of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The trace.
    pub trace_id: u128,
    /// The step.
    pub span_id: u64,
    /// The step that caused it.
    pub parent_id: u64,
    /// The trace's `tracestate`.
    pub state: Option<String>,
    /// The trace's flags.
    pub flags: u8,
    /// What it is.
    pub kind: Kind,
    /// Its name, one of few.
    pub name: &'static str,
    /// When it began, microseconds since 1970.
    pub from_us: u64,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// What is known of it, names by OpenTelemetry's conventions.
    pub attributes: Vec<(&'static str, Value)>,
    /// What went wrong.
    pub fault: Option<String>,
}

/// Where spans are given to. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    #[cfg(feature = "otlp")]
    queue: Option<(mpsc::Sender<Span>, Counter)>,
}

impl Spans {
    /// A queue that somebody empties; what finds no room in it is counted.
    #[cfg(feature = "otlp")]
    pub(super) const fn of(queue: mpsc::Sender<Span>, dropped: Counter) -> Self {
        Self {
            queue: Some((queue, dropped)),
        }
    }

    /// Whether somebody takes them.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        #[cfg(feature = "otlp")]
        return self.queue.is_some();
        #[cfg(not(feature = "otlp"))]
        false
    }

    /// Gives a span away.
    pub fn record(&self, span: Span) {
        #[cfg(feature = "otlp")]
        if let Some((queue, dropped)) = &self.queue
            && queue.try_send(span).is_err()
        {
            dropped.inc();
        }
        #[cfg(not(feature = "otlp"))]
        drop(span);
    }
}

/// Where spans go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// The collector's host, a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it is spoken to over TLS.
    pub is_tls: bool,
    /// The path of its traces.
    pub path: String,
    /// Authorities that are trusted besides the system's, as DER.
    pub extra_ca: Vec<rustls::pki_types::CertificateDer<'static>>,
}
