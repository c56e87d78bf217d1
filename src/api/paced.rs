//! A client's connection on which an answer must get on.
//!
//! A client that asks and does not read fills the system's buffers, and then the answer would wait for
//! ever, with a place among the connections and memory. So the time for which writes wait is held against what is
//! written: a write that makes no headway for a given time fails, and so does one that goes on more slowly than a rate
//! for that long. Reads pass through: heads and bodies have deadlines of their own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// A TCP stream whose writes have a deadline.
#[derive(Debug)]
pub(super) struct Paced<S = TcpStream> {
    stream: S,
    limit: Duration,
    /// Bytes in a second; 0 for any.
    rate_min: u64,
    /// For how long writes have waited beyond what was written meanwhile; never more than the limit.
    waited: Duration,
    /// Runs while a write waits.
    stalled: Option<Stall>,
}

#[derive(Debug)]
struct Stall {
    begun: Instant,
    end: Pin<Box<Sleep>>,
}

impl<S> Paced<S> {
    /// Lets writes wait for `limit` at most, or for as long as what they write takes at `rate_min` bytes in a second.
    pub(super) const fn new(stream: S, limit: Duration, rate_min: u64) -> Self {
        Self {
            stream,
            limit,
            rate_min,
            waited: Duration::ZERO,
            stalled: None,
        }
    }

    pub(super) const fn get_ref(&self) -> &S {
        &self.stream
    }

    pub(super) const fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// What to say of a write that ended with `polled`.
    fn judge(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(ended) = &polled {
            if let Some(stall) = self.stalled.take() {
                self.waited += stall.begun.elapsed();
            }
            self.waited = match (ended, self.rate_min) {
                (Ok(bytes), rate @ 1..) => {
                    let covers = Duration::from_secs_f64(*bytes as f64 / rate as f64);
                    self.waited.saturating_sub(covers)
                }
                _ => Duration::ZERO,
            };
            return polled;
        }
        let left = self.limit.saturating_sub(self.waited);
        let stall = self.stalled.get_or_insert_with(|| Stall {
            begun: Instant::now(),
            end: Box::pin(tokio::time::sleep(left)),
        });
        stall.end.as_mut().poll(context).map(|()| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client does not take its answer, or takes it too slowly",
            ))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_write_without_headway_fails_after_the_limit() {
        let limit = Duration::from_millis(50);
        let (ours, mut theirs) = duplex(4);
        let mut paced = Paced::new(ours, limit, 1);
        paced.write_all(b"four").await.unwrap();
        let start = Instant::now();
        let error = paced.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= limit);
        assert_eq!(
            theirs.read_u32().await.unwrap(),
            u32::from_be_bytes(*b"four")
        );
    }

    #[tokio::test]
    async fn a_write_that_gets_on_has_the_whole_limit_again() {
        let (ours, mut theirs) = duplex(4);
        let mut paced = Paced::new(ours, Duration::from_secs(60), 0);
        let reading = async {
            let mut read = [0; 12];
            theirs.read_exact(&mut read).await.unwrap();
            read
        };
        let (written, read) = tokio::join!(paced.write_all(b"twelve bytes"), reading);
        written.unwrap();
        assert_eq!(&read, b"twelve bytes");
        assert!(paced.stalled.is_none(), "no write waits any more");
    }

    /// Takes so many bytes each 10 ms, for a second at most; gives whether it was cut off.
    async fn is_cut_off(rate_min: u64, bytes: usize) -> bool {
        let (ours, mut theirs) = duplex(1000);
        let mut paced = Paced::new(ours, Duration::from_millis(300), rate_min);
        let writing = async {
            let ended = paced.write_all(&vec![b'x'; 1 << 20]).await;
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        };
        let reading = async {
            let (mut part, start) = (vec![0; bytes], Instant::now());
            while start.elapsed() < Duration::from_secs(1) {
                tokio::time::sleep(Duration::from_millis(10)).await;
                theirs.read_exact(&mut part).await.unwrap();
            }
        };
        tokio::select! {
            () = writing => true,
            () = reading => false,
        }
    }

    #[tokio::test]
    async fn who_takes_an_answer_below_the_rate_is_cut_off_and_who_is_above_it_is_not() {
        // At most 10,000 bytes a second.
        let (far_above, far_below, any) = tokio::join!(
            is_cut_off(500, 100),
            is_cut_off(100_000, 100),
            is_cut_off(0, 100)
        );
        assert!(!far_above && far_below && !any);
    }
}
