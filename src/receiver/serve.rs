//! One connection of a receiver: TLS, then requests by the HTTP library, until a script takes over.
//!
//! A script's request ends the library's part with an error on purpose, before a byte of an answer is
//! written; the stream is then taken back and the script is played on it.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Answer, ReceivedRequest, State, Step};

/// How long a client may take for its handshake, and for a request's head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a client may take for a request's body.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a connection may take to be closed in good order.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);
/// Between two attempts to accept, after one that failed.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The end of the library's part, with the script that follows it.
#[derive(Debug, thiserror::Error)]
#[error("a script takes the connection")]
struct Scripted;

/// Where a request leaves its script for the connection.
type Slot = Arc<Mutex<Option<Vec<Step>>>>;

/// Serves a connection to its end. What its peer does wrong ends it, and is of no interest to others.
pub(super) async fn connection(stream: TcpStream, tls: TlsAcceptor, state: Arc<State>) {
    // An answer must not wait for the sender to acknowledge the session tickets: that takes 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let handshake = timeout(HEAD_TIME_MAX, tls.accept(stream));
    let stream = tokio::select! {
        done = handshake => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "no TLS");
                let failure = Some(error.to_string());
                state.handshake_failure.send_replace(failure);
                return;
            }
            Err(_) => return tracing::debug!("no TLS in time"),
        },
        () = state.stopping.cancelled() => return,
    };
    let slot = Slot::default();
    let stream = requests(stream, &state, &slot).await;
    let script = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(script) = script else {
        return close(stream).await;
    };
    let played = tokio::select! {
        played = play(stream, script) => played,
        () = state.stopping.cancelled() => return,
    };
    if let Err(error) = played {
        tracing::debug!(%error, "the peer left before the script's end");
    }
}

/// Serves requests; gives the stream back when the library's part is over.
async fn requests(
    stream: TlsStream<TcpStream>,
    state: &Arc<State>,
    slot: &Slot,
) -> TlsStream<TcpStream> {
    let service =
        service_fn(|request| Box::pin(answer(request, Arc::clone(state), Arc::clone(slot))));
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut stopping = pin!(state.stopping.cancelled());
    let mut is_stopping = false;
    let ended = poll_fn(|cx| {
        if !is_stopping && stopping.as_mut().poll(cx).is_ready() {
            is_stopping = true;
            Pin::new(&mut http).graceful_shutdown();
        }
        http.poll_without_shutdown(cx)
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP ended");
    }
    http.into_parts().io.into_inner()
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
    slot: Slot,
) -> Result<Response<Full<Bytes>>, Scripted> {
    let (head, body) = request.into_parts();
    let limited = Limited::new(body, state.options.body_bytes_max);
    let body = match timeout(BODY_TIME_MAX, limited.collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE)),
        Err(_) => return Ok(plain(StatusCode::REQUEST_TIMEOUT)),
    };
    let request = ReceivedRequest {
        method: head.method,
        path: head.uri.to_string(),
        headers: head.headers,
        body,
        at: state.clock.wall(),
    };
    state.received(&request);
    match (state.handler)(request).await {
        Answer::Status {
            code,
            headers,
            body,
        } => Ok(status(code, headers, body)),
        Answer::Script(steps) => {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(steps);
            Err(Scripted)
        }
    }
}

fn plain(code: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = code;
    response
}

/// A well-formed answer. A handler's mistake is answered with 500, and logged.
fn status(code: u16, headers: Vec<(String, String)>, body: Bytes) -> Response<Full<Bytes>> {
    let Ok(code) = StatusCode::from_u16(code) else {
        tracing::error!(code, "the handler's status code is none");
        return plain(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response = plain(code);
    *response.body_mut() = Full::new(body);
    for (name, value) in headers {
        match (HeaderName::try_from(&name), HeaderValue::try_from(&value)) {
            (Ok(name), Ok(value)) => {
                response.headers_mut().append(name, value);
            }
            _ => {
                tracing::error!(name, "the handler's header is none");
                return plain(StatusCode::INTERNAL_SERVER_ERROR);
            }
        }
    }
    response
}

/// Plays a script to its end, or until the peer is gone.
async fn play(mut stream: TlsStream<TcpStream>, script: Vec<Step>) -> io::Result<()> {
    for step in script {
        match step {
            Step::Send(bytes) => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
            }
            Step::Repeat { bytes, pause } => loop {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
                if !pause.is_zero() {
                    wait_with(&mut stream, pause).await?;
                }
            },
            Step::Pause(pause) => wait_with(&mut stream, pause).await?,
            Step::Hold => return gone(&mut stream).await,
            Step::Reset => return stream.get_ref().0.set_zero_linger(),
            Step::Truncate => return Ok(()),
        }
    }
    close(stream).await;
    Ok(())
}

/// Waits; ends with an error as soon as the peer is gone.
async fn wait_with(stream: &mut TlsStream<TcpStream>, pause: Duration) -> io::Result<()> {
    tokio::select! {
        () = sleep(pause) => Ok(()),
        ended = gone(stream) => ended.and(Err(io::ErrorKind::ConnectionAborted.into())),
    }
}

/// Waits until the peer is gone; what it sends is dropped.
async fn gone(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

/// Closes a connection with TLS's own end mark, if the peer lets that happen.
async fn close(mut stream: TlsStream<TcpStream>) {
    match timeout(CLOSE_TIME_MAX, stream.shutdown()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "not closed in good order"),
        Err(_) => tracing::debug!("not closed in time"),
    }
}
