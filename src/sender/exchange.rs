//! One HTTP/1.1 exchange on an open connection: the request out, the answer's head and body in.

use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{Method, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::fault::{self, Fault};
use super::progress::{Phase, Progress};
use super::tally::{Tallied, Tally};
use crate::model::{Endpoint, FaultKind, Response};

/// Headers of an answer, at most: what common servers and proxies allow.
const HEADERS_MAX: usize = 100;
/// Bytes of an answer's head, at most; also the library's read buffer.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an answer's head that are kept: each attempt is stored with them, and a tenant makes attempts.
const KEPT_BYTES_MAX: usize = 8 * 1024;
/// … of one value, and of one name.
const VALUE_BYTES_MAX: usize = 1024;
const NAME_BYTES_MAX: usize = 256;
/// Ends what was cut off.
const CUT: char = '…';
/// How long a connection may take to close in good order, with the TLS alert that says so. One to a
/// receiver that reads nothing would take for ever.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);
/// How long a connection taken from the pool may take to become ready. It is ready at once, or a task
/// switch later; one that is not has still to write a request that was answered before it was read.
const READY_TIME_MAX: Duration = Duration::from_millis(20);
/// Status codes of final answers (RFC 9110, 15).
const FINAL_STATUS: RangeInclusive<u16> = 200..=599;

/// What frames the message and governs the connection is the sender's own.
const SENDERS_OWN: [HeaderName; 7] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What a request says of its sender, unless its headers say it already.
pub const USER_AGENT_TEXT: &str = concat!("Hookwheel/", env!("CARGO_PKG_VERSION"));
const USER_AGENT_VALUE: HeaderValue = HeaderValue::from_static(USER_AGENT_TEXT);

/// A request in the form in which it goes out.
pub(super) type Message = http::Request<Full<Bytes>>;

/// An open connection. Dropping it closes it.
pub(super) struct Connection {
    // In this order: the task sees the requests' end before it is told to close.
    requests: http1::SendRequest<Full<Bytes>>,
    tally: Arc<Tally>,
    _open: oneshot::Sender<()>,
}

/// An exchange that brought an answer.
pub(super) struct Done {
    pub(super) status: u16,
    /// The connection, if it can be used again.
    pub(super) connection: Option<Connection>,
}

/// An exchange that brought none.
pub(super) struct Failure {
    pub(super) fault: Fault,
    /// Whether the connection ended before a byte of an answer came. On a reused connection that means that
    /// the receiver had closed it before.
    pub(super) unanswered: bool,
}

/// Makes the message of a request.
///
/// # Errors
/// A fault where the endpoint's text, read back from somewhere, is none that can be sent.
pub(super) fn message(
    endpoint: &Endpoint,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<Message, Fault> {
    let unusable = |part| {
        Fault::new(
            FaultKind::Render,
            format!("the URL's {part} cannot be sent"),
        )
    };
    for name in SENDERS_OWN {
        headers.remove(name);
    }
    let host = HeaderValue::from_str(endpoint.authority()).map_err(|_| unusable("host"))?;
    headers.insert(HOST, host);
    headers.entry(USER_AGENT).or_insert(USER_AGENT_VALUE);
    if body.is_empty() {
        // A POST says so (RFC 9110, 8.6); the library leaves it out.
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let target: Uri = endpoint
        .path_and_query()
        .parse()
        .map_err(|_| unusable("path"))?;
    let mut message = http::Request::new(Full::new(body));
    *message.method_mut() = Method::POST;
    *message.uri_mut() = target;
    *message.headers_mut() = headers;
    Ok(message)
}

impl Connection {
    /// Makes a connection of a stream, and starts the task that drives it.
    ///
    /// # Errors
    /// None is known; the library's signature has one.
    pub(super) async fn start<S>(stream: S, tasks: &TaskTracker) -> Result<Self, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let tally = Arc::new(Tally::default());
        let stream = TokioIo::new(Tallied::new(stream, Arc::clone(&tally)));
        let (requests, driver) = http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(stream)
            .await
            .map_err(|error| fault::exchange(&error, 0))?;
        let (open, closing) = oneshot::channel();
        tasks.spawn(drive(driver, closing));
        Ok(Self {
            requests,
            tally,
            _open: open,
        })
    }

    /// Whether it is closed already.
    pub(super) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Waits until it can take a request; `false` if it is closed, or still busy with the last one.
    pub(super) async fn is_ready(&mut self) -> bool {
        if self.requests.is_ready() {
            return true;
        }
        matches!(
            timeout(READY_TIME_MAX, self.requests.ready()).await,
            Ok(Ok(()))
        )
    }

    /// Sends a message and reads its answer, of the body at most `body_max` bytes.
    ///
    /// # Errors
    /// A [`Failure`]; what was read of the answer until then is in `progress`.
    pub(super) async fn exchange(
        mut self,
        message: Message,
        body_max: usize,
        progress: &mut Progress,
    ) -> Result<Done, Failure> {
        self.tally.begin();
        progress.await_answer(Arc::clone(&self.tally));
        let answer = match self.requests.send_request(message).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.failure(&error)),
        };
        self.tally.head_came();
        progress.enter(Phase::Reading);
        let (head, body) = answer.into_parts();
        let response = progress.response().insert(Response {
            headers: shown(&head.headers),
            body: Vec::new(),
            truncated: true,
        });
        let status = head.status.as_u16();
        if !FINAL_STATUS.contains(&status) {
            return Err(Failure::after_head(Fault::new(
                FaultKind::Protocol,
                format!("the receiver answered with the status {status}, which ends no request"),
            )));
        }
        match read(body, body_max, &mut response.body).await {
            Ok(whole) => {
                response.truncated = !whole;
                let connection = (whole && !self.is_closed()).then_some(self);
                Ok(Done { status, connection })
            }
            // A body that ends with the connection, and the connection without TLS's own end mark: whether
            // it was all cannot be known, but the status was read, and that decides. Python's http.server
            // answers like this.
            Err(error) if ends_with_connection(&head.headers) && fault::is_eof(&error) => {
                Ok(Done {
                    status,
                    connection: None,
                })
            }
            Err(error) => Err(Failure::after_head(fault::exchange(
                &error,
                self.tally.received(),
            ))),
        }
    }

    fn failure(&self, error: &hyper::Error) -> Failure {
        let received = self.tally.received();
        Failure {
            fault: fault::exchange(error, received),
            unanswered: received == 0 && fault::is_end(error),
        }
    }
}

impl Failure {
    const fn after_head(fault: Fault) -> Self {
        Self {
            fault,
            unanswered: false,
        }
    }
}

/// Runs a connection to its end. When its handle is dropped it has a moment to close in good order.
async fn drive(driver: impl Future<Output = hyper::Result<()>>, closing: oneshot::Receiver<()>) {
    let mut driver = pin!(driver);
    let ended = tokio::select! {
        ended = &mut driver => Some(ended),
        _ = closing => timeout(CLOSE_TIME_MAX, driver).await.ok(),
    };
    match ended {
        Some(Ok(())) => {}
        // The exchange that was on it, if any, was told.
        Some(Err(error)) => tracing::trace!(%error, "connection ended"),
        None => tracing::trace!("connection dropped, as the receiver does not read"),
    }
}

/// Reads a body up to its end, or up to `max` bytes; `true` if that was all of it.
async fn read(mut body: Incoming, max: usize, kept: &mut Vec<u8>) -> hyper::Result<bool> {
    if let Some(length) = body.size_hint().exact() {
        kept.reserve_exact(usize::try_from(length).map_or(max, |length| length.min(max)));
    }
    while let Some(frame) = body.frame().await {
        // Trailers, the only other frame, are not kept.
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        let room = max - kept.len();
        match data.get(..room) {
            Some(part) if data.len() > room => {
                kept.extend_from_slice(part);
                return Ok(false);
            }
            _ => kept.extend_from_slice(&data),
        }
    }
    Ok(true)
}

/// Whether an answer's body has no length of its own (RFC 9112, 6.3, the last rule).
fn ends_with_connection(headers: &HeaderMap) -> bool {
    !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING)
}

/// The headers as the log keeps them: text within bounds. What is cut off ends with `…`; where there is no room for more,
/// the last one is `…` alone. `Retry-After`, which is heeded, is kept wherever it stands.
fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut kept = Vec::with_capacity(headers.len());
    let mut room = KEPT_BYTES_MAX;
    for (name, value) in headers {
        let name = text(name.as_str().as_bytes(), NAME_BYTES_MAX);
        let value = text(value.as_bytes(), VALUE_BYTES_MAX);
        let Some(left) = room.checked_sub(name.len() + value.len()) else {
            let is_kept = kept.iter().any(|(name, _)| *name == RETRY_AFTER.as_str());
            if let Some(value) = headers.get(RETRY_AFTER).filter(|_| !is_kept) {
                let value = text(value.as_bytes(), VALUE_BYTES_MAX);
                kept.push((RETRY_AFTER.as_str().to_owned(), value));
            }
            kept.push((CUT.to_string(), CUT.to_string()));
            break;
        };
        room = left;
        kept.push((name, value));
    }
    kept
}

/// Bytes as text of at most `max` bytes. Each byte that is no UTF-8 is shown as U+FFFD; what it takes counts.
fn text(bytes: &[u8], max: usize) -> String {
    let mut text = String::with_capacity(bytes.len().min(max));
    for chunk in bytes.utf8_chunks() {
        let unreadable = chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER);
        for character in chunk.valid().chars().chain(unreadable) {
            text.push(character);
            if text.len() > max {
                let end = text.floor_char_boundary(max - CUT.len_utf8());
                text.truncate(end);
                text.push(CUT);
                return text;
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_whole_up_to_its_bound() {
        assert_eq!(text(b"plain", 5), "plain");
        assert_eq!(text(b"plain!", 5), "pl…");
        assert_eq!(text("é é".as_bytes(), 5), "é é");
        assert_eq!(text("éééé".as_bytes(), 7), "éé…");
        assert_eq!(text(b"a\xff\xfeb", 10), "a\u{fffd}\u{fffd}b");
        assert_eq!(text(b"a\xff\xfeb", 7), "a\u{fffd}…");
        assert_eq!(text(&[0xff; 5000], 1024).len(), 1023);
    }

    #[test]
    fn a_head_is_kept_up_to_its_bound_and_says_where_it_is_cut() {
        let mut headers = HeaderMap::new();
        for number in 0..HEADERS_MAX {
            let name: HeaderName = format!("x-{number}").parse().unwrap();
            headers.insert(name, HeaderValue::from_bytes(&[0xff; 200]).unwrap());
        }
        let kept = shown(&headers);
        let bytes: usize = kept.iter().map(|(n, v)| n.len() + v.len()).sum();
        assert!(bytes <= KEPT_BYTES_MAX + 2 * CUT.len_utf8(), "{bytes}");
        assert!(bytes > KEPT_BYTES_MAX - 700, "{bytes}");
        assert_eq!(kept.last().unwrap().0, "…");
        headers.insert(RETRY_AFTER, HeaderValue::from_static("120"));
        let more = shown(&headers);
        assert_eq!(more.len(), kept.len() + 1);
        assert!(more.contains(&("retry-after".to_owned(), "120".to_owned())));
        assert_eq!(kept[0].1, "\u{fffd}".repeat(200));
        headers.clear();
        headers.insert(HOST, HeaderValue::from_static("a"));
        assert_eq!(shown(&headers), [("host".to_owned(), "a".to_owned())]);
    }
}
