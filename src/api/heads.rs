//! Finds requests that say their length in two ways, Content-Length and Transfer-Encoding.
//!
//! The HTTP library drops the one, serves the request by the other, and closes its connection; nobody above it can
//! see that there were two. A proxy before us may have gone by the other one, so what we take for the body is not what
//! it let through, and the request is better refused (RFC 9112, 6.3). So this looks at the bytes as they pass: where
//! heads begin and end, and which of them is the ambiguous one.
//!
//! It changes nothing and refuses nothing itself. What is no HTTP the library refuses. It holds 64 bytes of a line.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Both names and any length fit; of longer lines the beginning says enough.
const LINE_KEPT: usize = 64;

/// Which request of a connection is the ambiguous one, from 1; 0 while there is none. It is the last one.
#[derive(Clone, Debug, Default)]
pub(super) struct Ambiguous(Arc<AtomicU64>);

impl Ambiguous {
    /// Whether it is the request with this number.
    pub(super) fn is(&self, number: u64) -> bool {
        self.0.load(Ordering::Acquire) == number
    }
}

/// A stream whose incoming bytes are looked at.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    heads: Heads,
    ambiguous: Ambiguous,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, ambiguous: Ambiguous) -> Self {
        Self {
            stream,
            heads: Heads::default(),
            ambiguous,
        }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(number) = self
            .heads
            .look(buffer.filled().get(before..).unwrap_or(&[]))
        {
            self.ambiguous.0.store(number, Ordering::Release);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
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

/// Where in the stream of requests the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Place {
    /// In a head, or before it.
    #[default]
    Head,
    /// In a body, with so many bytes to come.
    Body(u64),
    /// In a line that says how long the next chunk is.
    ChunkSize,
    /// In a chunk, with so many bytes to come.
    Chunk(u64),
    /// In the end of a chunk's last line.
    ChunkEnd,
    /// In the lines behind the last chunk.
    Trailer,
    /// Behind an ambiguous head, where nothing is served any more.
    Over,
}

/// Follows one direction of a connection.
#[derive(Debug, Default)]
struct Heads {
    place: Place,
    line: Vec<u8>,
    /// Whether the head has a line yet: empty ones before it are skipped.
    begun: bool,
    length: Option<u64>,
    chunked: bool,
    /// Heads that have ended.
    count: u64,
}

impl Heads {
    /// Looks at the next bytes; gives the number of the ambiguous request once its head has ended.
    fn look(&mut self, mut bytes: &[u8]) -> Option<u64> {
        while let Some(first) = bytes.first() {
            match &mut self.place {
                Place::Over => return None,
                Place::Body(left) | Place::Chunk(left) => {
                    let step = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len());
                    *left -= step as u64;
                    bytes = bytes.get(step..).unwrap_or(&[]);
                    self.settle();
                }
                _ => {
                    bytes = bytes.get(1..).unwrap_or(&[]);
                    if *first != b'\n' {
                        if self.line.len() < LINE_KEPT {
                            self.line.push(*first);
                        }
                    } else if self.end_line() {
                        return Some(self.count);
                    }
                }
            }
        }
        None
    }

    /// Goes on where a body or a chunk has no bytes to come.
    fn settle(&mut self) {
        match self.place {
            Place::Body(0) => self.place = Place::Head,
            Place::Chunk(0) => self.place = Place::ChunkEnd,
            _ => {}
        }
    }

    /// A line has ended; gives whether it was the last one of an ambiguous head.
    fn end_line(&mut self) -> bool {
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        match self.place {
            Place::Head if line.is_empty() => return self.begun && self.end_head(),
            Place::Head => self.read_field(&line),
            Place::ChunkSize => {
                self.place = match chunk_size(&line) {
                    0 => Place::Trailer,
                    size => Place::Chunk(size),
                }
            }
            Place::ChunkEnd => self.place = Place::ChunkSize,
            Place::Trailer if line.is_empty() => self.place = Place::Head,
            _ => {}
        }
        // The next line uses the same room.
        line.clear();
        self.line = line;
        false
    }

    fn read_field(&mut self, line: &[u8]) {
        // The first line of a head is the request's own.
        if !std::mem::replace(&mut self.begun, true) {
            return;
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (
            parts.next().unwrap_or(&[]),
            parts.next().unwrap_or(&[]).trim_ascii(),
        );
        if name.eq_ignore_ascii_case(b"content-length") {
            // What is no length the library refuses.
            let text = std::str::from_utf8(value).unwrap_or("");
            self.length = Some(text.parse().unwrap_or(0));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = true;
        }
    }

    /// A head has ended; gives whether it is ambiguous.
    fn end_head(&mut self) -> bool {
        self.count += 1;
        self.begun = false;
        let (length, chunked) = (self.length.take(), std::mem::take(&mut self.chunked));
        self.place = match (length, chunked) {
            (Some(_), true) => Place::Over,
            (_, true) => Place::ChunkSize,
            (length, false) => Place::Body(length.unwrap_or(0)),
        };
        self.settle();
        self.place == Place::Over
    }
}

/// The size that a chunk's first line says; what follows it there is for others.
fn chunk_size(line: &[u8]) -> u64 {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    digits.fold(0_u64, |size, byte| {
        let digit = char::from(*byte).to_digit(16).unwrap_or(0);
        size.saturating_mul(16).saturating_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    const SIZED: &str = "POST / HTTP/1.1\r\ncontent-LENGTH: 45\r\n\r\nTransfer-Encoding: x\r\n\r\nContent-Length: 1\r\n\r\n";
    const CHUNKED: &str = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
        15;a=b\r\nContent-Length: 1\r\n\r\n\r\nA\r\n0123456789\r\n0\r\nContent-Length: 7\r\n\r\n";

    /// What is found in a text that comes in parts of this size.
    fn found(text: &str, part: usize) -> Option<u64> {
        let mut heads = Heads::default();
        text.as_bytes()
            .chunks(part)
            .filter_map(|bytes| heads.look(bytes))
            .last()
    }

    #[test]
    fn the_ambiguous_one_is_found_behind_others_and_in_either_order() {
        let first = "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n";
        let second = "transfer-encoding: chunked\r\nX: y\r\nCONTENT-LENGTH:2\r\n\r\n";
        for fields in [first, second] {
            let head = format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}");
            let text = format!("{PLAIN}\r\n{SIZED}{CHUNKED}{PLAIN}{head}0\r\n\r\n{PLAIN}");
            for part in [1, 2, 7, 1000] {
                assert_eq!(found(&text, part), Some(5), "{fields} in parts of {part}");
            }
        }
    }

    #[test]
    fn what_looks_so_in_a_body_is_none() {
        let text = format!("{SIZED}{CHUNKED}{SIZED}{PLAIN}{CHUNKED}");
        for part in [1, 3, 1000] {
            assert_eq!(found(&text, part), None);
        }
        assert_eq!(SIZED.len() - SIZED.find("\r\n\r\n").unwrap() - 4, 45);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_hold_much(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let mut heads = Heads::default();
            for bytes in parts {
                heads.look(&bytes);
                prop_assert!(heads.line.len() <= LINE_KEPT);
            }
        }
    }
}
