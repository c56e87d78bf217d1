//! Gives spans to an OpenTelemetry collector: OTLP over HTTP, as JSON (the protocol's own mapping of protobuf).
//!
//! The encoder is a page of code and the client is there already, where OpenTelemetry's crates would bring a tree. It goes
//! beside everything else: nobody waits for it, a collector that is away costs its spans and no more, and they are counted.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::counter::Counter;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::spans::{ExportOptions, Kind, Span, Spans, Value};

/// Spans that wait, at most: some megabytes, and seconds of a busy daemon with every event traced.
const QUEUE_MAX: usize = 8 * 1024;
/// Spans in one request: collectors take 4 MiB by default, and one has below 2 KiB.
const BATCH_MAX: usize = 512;
/// Others gather for so long.
const GATHER: Duration = Duration::from_secs(1);
/// A request takes no longer.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Waits before a batch is sent again that the collector could not take; then it is dropped.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// At the end there is so much time for what is left.
const LAST_MAX: Duration = Duration::from_secs(2);
/// That spans are lost is logged no more often than this.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Why spans did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The system's authorities, or the given ones, cannot be used.
    #[error("no TLS to the collector: {0}")]
    Tls(String),
    /// No connection.
    #[error("no connection to the collector: {0}")]
    Connect(#[from] std::io::Error),
    /// No answer.
    #[error("no answer from the collector: {0}")]
    Http(#[from] hyper::Error),
    /// No request can be made of the config.
    #[error("no request can be made: {0}")]
    Request(#[from] http::Error),
    /// It took too long.
    #[error("the collector did not answer within {} s", REQUEST_MAX.as_secs())]
    Late,
    /// It answered that it did not take them.
    #[error("the collector answered {0}")]
    Refused(StatusCode),
}

impl ExportError {
    /// Whether the same may arrive a little later (OTLP/HTTP, "failures").
    const fn may_pass(&self) -> bool {
        match self {
            Self::Refused(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Tls(_) | Self::Request(_) => false,
            Self::Connect(_) | Self::Http(_) | Self::Late => true,
        }
    }
}

/// Takes spans from the queue and sends them.
pub struct Exporter {
    spans: mpsc::Receiver<Span>,
    options: ExportOptions,
    tls: Option<TlsConnector>,
    exported: Counter,
    dropped: Counter,
    logged: Option<Instant>,
}

impl Exporter {
    /// An exporter, and where spans are given to it.
    ///
    /// # Errors
    /// [`ExportError::Tls`] where there is no authority to trust.
    pub fn new(
        options: ExportOptions,
        (exported, dropped): (Counter, Counter),
    ) -> Result<(Self, Spans), ExportError> {
        let (queue, spans) = mpsc::channel(QUEUE_MAX);
        let tls = options.is_tls.then(|| connector(&options)).transpose()?;
        let giver = Spans::of(queue, dropped.clone());
        let exporter = Self {
            spans,
            options,
            tls,
            exported,
            dropped,
            logged: None,
        };
        Ok((exporter, giver))
    }

    /// Sends until `stop`, and then what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let mut batch = Vec::new();
            let gathered = tokio::select! {
                () = stop.cancelled() => false,
                there = self.gather(&mut batch) => there,
            };
            if !gathered {
                // What was gathered when the stop came goes first.
                self.end(batch).await;
                return;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.send_or_drop(&batch) => continue,
            }
            // It may be there already; a collector knows a span by its id.
            return self.end(batch).await;
        }
    }

    /// Waits for a span and then a while for others; `false`: nobody will give any more.
    async fn gather(&mut self, batch: &mut Vec<Span>) -> bool {
        if self.spans.recv_many(batch, BATCH_MAX).await == 0 {
            return false;
        }
        let until = Instant::now() + GATHER;
        while batch.len() < BATCH_MAX {
            let room = BATCH_MAX - batch.len();
            match tokio::time::timeout_at(until, self.spans.recv_many(batch, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        true
    }

    async fn end(&mut self, mut batch: Vec<Span>) {
        self.spans.close();
        let mut left = 0;
        let sending = async {
            loop {
                while batch.len() < BATCH_MAX
                    && let Ok(span) = self.spans.try_recv()
                {
                    batch.push(span);
                }
                if batch.is_empty() {
                    return;
                }
                left = batch.len();
                if self.send(&batch).await.is_ok() {
                    self.exported.inc_by(batch.len() as u64);
                    left = 0;
                }
                batch.clear();
                if left > 0 {
                    return;
                }
            }
        };
        let in_time = timeout(LAST_MAX, sending).await.is_ok();
        left += self.spans.len();
        if left > 0 {
            let why = if in_time {
                "the collector does not take them"
            } else {
                "the daemon stops"
            };
            self.lose(left, why);
        }
    }

    async fn send_or_drop(&mut self, batch: &[Span]) {
        let mut again = AGAIN_AFTER.into_iter();
        loop {
            let error = match self.send(batch).await {
                Ok(()) => {
                    self.exported.inc_by(batch.len() as u64);
                    return;
                }
                Err(error) => error,
            };
            match again.next().filter(|_| error.may_pass()) {
                Some(pause) => sleep(pause).await,
                None => return self.lose(batch.len(), &error.to_string()),
            }
        }
    }

    fn lose(&mut self, count: usize, why: &str) {
        self.dropped.inc_by(count as u64);
        let recently = |last: Instant| last.elapsed() < LOG_EVERY;
        if !self.logged.is_some_and(recently) {
            self.logged = Some(Instant::now());
            tracing::warn!(
                spans = count,
                why,
                "spans were dropped; deliveries are not affected"
            );
        }
    }

    async fn send(&self, batch: &[Span]) -> Result<(), ExportError> {
        let body = Bytes::from(encode(batch).to_string());
        let sending = async {
            let stream =
                TcpStream::connect((self.options.host.as_str(), self.options.port)).await?;
            match &self.tls {
                None => self.exchange(stream, body).await,
                Some(tls) => {
                    let name = server_name(&self.options.host)?;
                    self.exchange(tls.connect(name, stream).await?, body).await
                }
            }
        };
        timeout(REQUEST_MAX, sending)
            .await
            .unwrap_or(Err(ExportError::Late))
    }

    /// One request on a connection of its own: there is about one a second.
    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        body: Bytes,
    ) -> Result<(), ExportError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.options.path)
            .header(HOST, self.authority())
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close")
            .body(Full::new(body))?;
        let mut connection = pin!(connection);
        let mut answered = pin!(sender.send_request(request));
        let mut ended = false;
        let answer = poll_fn(|context| {
            if !ended && connection.as_mut().poll(context).is_ready() {
                ended = true;
            }
            answered.as_mut().poll(context)
        });
        let status = answer.await?.status();
        match status.is_success() {
            true => Ok(()),
            false => Err(ExportError::Refused(status)),
        }
    }

    fn authority(&self) -> String {
        let (host, port) = (&self.options.host, self.options.port);
        match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, ExportError> {
    let name = ServerName::try_from(host.to_owned());
    name.map_err(|error| ExportError::Tls(error.to_string()))
}

fn connector(options: &ExportOptions) -> Result<TlsConnector, ExportError> {
    let mut authorities = RootCertStore::empty();
    // What of the system's cannot be read is left out; the given ones were read by the config.
    authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    authorities.add_parsable_certificates(options.extra_ca.clone());
    if authorities.is_empty() {
        let why = "the system has no authorities, and [telemetry] otlp_ca names none";
        return Err(ExportError::Tls(why.to_owned()));
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let settings = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ExportError::Tls(error.to_string()))?;
    let settings = settings
        .with_root_certificates(authorities)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(settings)))
}

/// A request's body, `ExportTraceServiceRequest` in JSON: ids in hexadecimal digits, 64-bit numbers as texts.
fn encode(batch: &[Span]) -> Json {
    let spans: Vec<Json> = batch.iter().map(encode_span).collect();
    let resource = [
        ("service.name", Value::Text("hookwheel".to_owned())),
        (
            "service.version",
            Value::Text(env!("CARGO_PKG_VERSION").to_owned()),
        ),
    ];
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes(&resource) },
        "scopeSpans": [{
            "scope": { "name": "hookwheel", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans,
        }],
    }] })
}

fn encode_span(span: &Span) -> Json {
    let kind = match span.kind {
        Kind::Server => 2,
        Kind::Client => 3,
    };
    let from_ns = u128::from(span.from_us) * 1_000;
    let until_ns = from_ns + u128::from(span.took_us) * 1_000;
    let status = match &span.fault {
        Some(fault) => json!({ "code": 2, "message": fault }),
        None => json!({}),
    };
    json!({
        "traceId": format!("{:032x}", span.trace_id),
        "spanId": format!("{:016x}", span.span_id),
        "parentSpanId": format!("{:016x}", span.parent_id),
        // Without one it is the empty text, as in protobuf.
        "traceState": span.state.as_deref().unwrap_or_default(),
        "flags": span.flags,
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": from_ns.to_string(),
        "endTimeUnixNano": until_ns.to_string(),
        "attributes": attributes(&span.attributes),
        "status": status,
    })
}

fn attributes(list: &[(&str, Value)]) -> Vec<Json> {
    let show = |(key, value): &(&str, Value)| match value {
        Value::Text(text) => json!({ "key": key, "value": { "stringValue": text } }),
        Value::Number(number) => json!({ "key": key, "value": { "intValue": number.to_string() } }),
    };
    list.iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Span {
        Span {
            trace_id: 0x0af7,
            span_id: 0xb7,
            parent_id: 1,
            state: Some("a=1".to_owned()),
            flags: 1,
            kind: Kind::Client,
            name: "POST",
            from_us: 1_700_000_000_000_001,
            took_us: 2,
            attributes: vec![("http.response.status_code", Value::Number(500))],
            fault: Some("500".to_owned()),
        }
    }

    #[test]
    fn spans_are_encoded_as_the_protocol_says() {
        let encoded = encode(&[span()]);
        let shown = &encoded["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        let expected = json!({
            "traceId": "00000000000000000000000000000af7", "spanId": "00000000000000b7",
            "parentSpanId": "0000000000000001", "flags": 1, "name": "POST", "kind": 3,
            "startTimeUnixNano": "1700000000000001000", "endTimeUnixNano": "1700000000000003000",
            "attributes": [{ "key": "http.response.status_code", "value": { "intValue": "500" } }],
            "status": { "code": 2, "message": "500" }, "traceState": "a=1",
        });
        assert_eq!(*shown, expected);
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts_and_nobody_waits() {
        let options = ExportOptions {
            host: "127.0.0.1".to_owned(),
            port: 1,
            is_tls: false,
            path: "/v1/traces".to_owned(),
            extra_ca: Vec::new(),
        };
        let (exported, dropped) = (Counter::default(), Counter::default());
        let counters = (exported.clone(), dropped.clone());
        let (exporter, spans) = Exporter::new(options, counters).unwrap();
        for _ in 0..QUEUE_MAX + 3 {
            spans.record(span());
        }
        assert_eq!(dropped.get(), 3);
        // Nobody is there to take the rest, and the end does not wait for that.
        let stop = CancellationToken::new();
        stop.cancel();
        timeout(2 * LAST_MAX, exporter.run(stop)).await.unwrap();
        assert_eq!((exported.get(), dropped.get()), (0, QUEUE_MAX as u64 + 3));
    }
}
