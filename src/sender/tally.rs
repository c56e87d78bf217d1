//! A stream that counts what it receives, and ends when an answer's head takes too many bytes.
//!
//! The count answers two questions that the HTTP library does not: whether any byte of an answer came
//! before a connection ended, and how much a receiver has sent in interim answers (RFC 9110, 15.2), of
//! which the library skips any number.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes received until the final answer's head is complete, at most. The head alone has at most 64 KiB
/// (the library's read buffer), as have what may follow it in the buffer and one piece of the body read
/// ahead; the rest is for interim answers, of which a receiver has reason to send one or two.
const BEFORE_HEAD_BYTES_MAX: u64 = 256 * 1024;

/// Counts for one connection, shared by its stream and the exchange on it.
///
/// The counters carry no other data with them, so relaxed order is enough; an exchange reads the count
/// after the library's own channel has told it of the connection's end.
#[derive(Debug, Default)]
pub(super) struct Tally {
    received: AtomicU64,
    awaiting_head: AtomicBool,
}

/// The answer's head, with the interim answers before it, is over the bound.
#[derive(Debug, thiserror::Error)]
#[error("the head of the answer, with the interim answers before it, is over 256 KiB")]
pub(super) struct HeadTooLong;

/// A stream with a [`Tally`].
#[derive(Debug)]
pub(super) struct Tallied<S> {
    stream: S,
    tally: Arc<Tally>,
}

impl Tally {
    /// An exchange begins.
    pub(super) fn begin(&self) {
        self.received.store(0, Ordering::Relaxed);
        self.awaiting_head.store(true, Ordering::Relaxed);
    }

    /// The head has come.
    pub(super) fn head_came(&self) {
        self.awaiting_head.store(false, Ordering::Relaxed);
    }

    /// Bytes received since the exchange began, as plain text.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.awaiting_head.load(Ordering::Relaxed) && self.received() >= BEFORE_HEAD_BYTES_MAX
    }
}

impl<S> Tallied<S> {
    pub(super) const fn new(stream: S, tally: Arc<Tally>) -> Self {
        Self { stream, tally }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tallied<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.tally.is_over() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, HeadTooLong)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = u64::try_from(buf.filled().len() - before).unwrap_or(u64::MAX);
        self.tally.received.fetch_add(read, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tallied<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
