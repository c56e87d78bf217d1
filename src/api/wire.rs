//! A client's connection, with TLS or without: how it begins and how it ends.
//!
//! Invariant: what is below TLS is paced, so that bytes that TLS has taken from us but cannot get rid of have a
//! deadline as well.
//!
//! A connection whose client may still be sending is not simply closed: the system would answer what comes
//! after with a reset, and a reset can take the answer away from the client before it is read. So our side
//! is closed, and what still comes is dropped for a moment (RFC 9112, 9.6).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use http::header::CONNECTION;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::error::Problem;
use super::paced::Paced;
use super::tls::Tls;

/// How long what a client still sends is dropped after our side was closed: some round trips.
pub(super) const LINGER_MAX: Duration = Duration::from_secs(2);
/// The same while the daemon stops: a client's idle connection must not hold that up.
pub(super) const LINGER_STOPPING_MAX: Duration = Duration::from_millis(200);

/// The first byte of a TLS handshake, a record's type (RFC 8446, 5.1). No text begins with it.
const HANDSHAKE: u8 = 22;

/// A client's connection.
pub(super) enum Wire {
    Plain(Paced),
    Tls(Box<TlsStream<Paced>>),
}

/// Why a connection was over before its first request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Early {
    /// Such as a load balancer that looks whether the port is open.
    #[error("it was closed without a word")]
    Silent,
    #[error("it speaks something else than TLS; its requests go to https://")]
    NotTls,
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("the TLS handshake was not finished in time")]
    Slow,
}

impl Wire {
    /// Begins a connection; where there is TLS its handshake has the time `limit`. A client that does not come so
    /// far is told why, as far as that can be done, and its connection is closed.
    pub(super) async fn begin(
        stream: Paced,
        tls: Option<&Tls>,
        limit: Duration,
    ) -> Result<Self, Early> {
        match tls {
            None => Ok(Self::Plain(stream)),
            Some(tls) => timeout(limit, shake_hands(stream, tls))
                .await
                .unwrap_or(Err(Early::Slow)),
        }
    }

    /// Closes our side, and drops what the client still sends until it closes its own, or for a moment.
    pub(super) async fn end(&mut self, longest: Duration) {
        let closing = async {
            self.shutdown().await?;
            drain(self.tcp()).await
        };
        told(timeout(longest, closing).await);
    }

    fn tcp(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream.get_mut(),
            Self::Tls(stream) => stream.get_mut().0.get_mut(),
        }
    }
}

/// Closes our side of a TCP connection, and drops what the client still sends, for a moment.
pub(super) async fn linger(stream: &mut TcpStream, longest: Duration) {
    let closing = async {
        stream.shutdown().await?;
        drain(stream).await
    };
    told(timeout(longest, closing).await);
}

async fn drain(stream: &mut TcpStream) -> io::Result<()> {
    let mut dropped = [0; 4096];
    while stream.read(&mut dropped).await? > 0 {}
    Ok(())
}

fn told(ended: Result<io::Result<()>, tokio::time::error::Elapsed>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client's connection was not closed in order"),
        Err(_) => tracing::debug!("a client did not close its connection in time"),
    }
}

async fn shake_hands(mut stream: Paced, tls: &Tls) -> Result<Wire, Early> {
    let mut first = [0];
    let seen = stream.get_ref().peek(&mut first).await;
    if seen.map_err(Early::Handshake)? == 0 {
        return Err(Early::Silent);
    }
    if first[0] != HANDSHAKE {
        if first[0].is_ascii_alphabetic() {
            let answer = plain_answer();
            if let Err(error) = stream.get_ref().try_write(answer.as_bytes()) {
                tracing::debug!(%error, "a client without TLS could not be told");
            }
        }
        linger(stream.get_mut(), LINGER_MAX).await;
        return Err(Early::NotTls);
    }
    match tls.acceptor().accept(stream).into_fallible().await {
        Ok(stream) => Ok(Wire::Tls(Box::new(stream))),
        Err((error, mut stream)) => {
            // It has been sent an alert, which is to arrive.
            linger(stream.get_mut(), LINGER_MAX).await;
            Err(Early::Handshake(error))
        }
    }
}

/// The whole answer to a client that speaks HTTP without TLS.
fn plain_answer() -> String {
    let detail = "this port speaks TLS: use https:// instead of http://";
    closing_answer(&Problem::new(
        StatusCode::BAD_REQUEST,
        "tls_required",
        detail,
    ))
}

/// A problem as a whole answer that ends its connection.
pub(super) fn closing_answer(problem: &Problem) -> String {
    let body = problem.to_json();
    let (status, length) = (problem.status, body.len());
    let mut head = format!("HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\n");
    let others = problem
        .headers()
        .iter()
        .filter(|(name, _)| name != CONNECTION);
    for (name, value) in others {
        let value = value.to_str().expect("our own header values are ASCII");
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{head}connection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
