//! Finds requests that say their length in two ways, Content-Length and Transfer-Encoding.
//!
//! The HTTP library drops the one, serves the request by the other, and closes its connection; nobody above it can
//! see that there were two. A proxy before us may have gone by the other one, so what we take for the body is not what
//! it let through, and the request is better refused (RFC 9112, 6.3). So this looks at the bytes as they pass: where
//! heads begin and end, and which of them is the ambiguous one.
//!
//! Invariant: it is in step with the library, or it says that it is not. What says a length otherwise than usual
//! clients do (in a long line, with many zeros, twice, with a bare line feed) is not interpreted: all later requests of
//! the connection count as ambiguous.
//!
//! It changes nothing and refuses nothing itself. What is no HTTP the library refuses. It holds 64 bytes of a line.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Both names and any length fit; of longer lines the beginning says whether they are of any interest.
const LINE_KEPT: usize = 64;
/// Digits of a length that surely fits 64 bits.
const DECIMALS_MAX: usize = 19;
const HEX_DIGITS_MAX: usize = 16;

/// The first request of a connection that is ambiguous, from 1; the greatest number while there is none.
#[derive(Clone, Debug)]
pub(super) struct Ambiguous(Arc<AtomicU64>);

impl Default for Ambiguous {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }
}

impl Ambiguous {
    /// Whether the request with this number is ambiguous, or comes after what could not be told.
    pub(super) fn is(&self, number: u64) -> bool {
        number >= self.0.load(Ordering::Acquire)
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
    /// Behind an ambiguous head, or what cannot be told, where nothing is served any more.
    Over,
}

/// The line that is being read.
#[derive(Debug, Default)]
struct Line {
    kept: Vec<u8>,
    is_cut: bool,
    returns: u32,
    last: u8,
}

impl Line {
    fn push(&mut self, byte: u8) {
        if self.kept.len() < LINE_KEPT {
            self.kept.push(byte);
        } else {
            self.is_cut = true;
        }
        self.returns = self.returns.saturating_add(u32::from(byte == b'\r'));
        self.last = byte;
    }

    /// Whether it ends with CRLF and has no other CR: then nobody can see another end of it.
    const fn is_strict(&self) -> bool {
        self.returns == 1 && self.last == b'\r'
    }

    /// What it says, without its end.
    fn text(&self) -> &[u8] {
        match (self.is_cut, self.kept.split_last()) {
            (false, Some((b'\r', text))) => text,
            _ => &self.kept,
        }
    }

    fn clear(&mut self) {
        self.kept.clear();
        (self.is_cut, self.returns, self.last) = (false, 0, 0);
    }
}

/// What the fields of a head say of its body's length.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    length: Option<u64>,
    chunked: bool,
    /// Whether it is said in a way that leaves room for another reading.
    unusual: bool,
}

impl Said {
    fn read(&mut self, line: &Line) {
        let mut parts = line.text().splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or(&[]), parts.next().unwrap_or(&[]));
        let known = name.trim_ascii();
        if known.eq_ignore_ascii_case(b"content-length") {
            let digits = value.trim_ascii();
            let is_usual = self.length.is_none() && digits.len() <= DECIMALS_MAX;
            let length = number(digits, 10).filter(|_| is_usual);
            self.unusual |= length.is_none();
            self.length = Some(length.unwrap_or(0));
        } else if known.eq_ignore_ascii_case(b"transfer-encoding") {
            let is_usual = !self.chunked && value.trim_ascii().eq_ignore_ascii_case(b"chunked");
            self.unusual |= !is_usual;
            self.chunked = true;
        } else {
            return;
        }
        // The library refuses a name with spaces around it.
        self.unusual |= line.is_cut || known.len() != name.len();
    }
}

/// Follows one direction of a connection.
#[derive(Debug, Default)]
struct Heads {
    place: Place,
    line: Line,
    /// Whether the head has a line yet: empty ones before it are skipped.
    begun: bool,
    said: Said,
    /// Heads that have ended.
    count: u64,
}

impl Heads {
    /// Looks at the next bytes; gives the number of the first request that is ambiguous once that is known.
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
                    if *first == b'\n' {
                        self.end_line();
                        if self.place == Place::Over {
                            return Some(self.count);
                        }
                    } else {
                        self.line.push(*first);
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

    fn end_line(&mut self) {
        let is_empty = self.line.text().is_empty();
        let is_strict = self.line.is_strict();
        match self.place {
            Place::Head if !is_empty => {
                // The first line of a head is the request's own.
                if std::mem::replace(&mut self.begun, true) {
                    self.said.read(&self.line);
                }
            }
            Place::Head if self.begun => self.end_head(),
            Place::Head => {}
            Place::ChunkSize => match chunk_size(self.line.text()).filter(|_| is_strict) {
                Some(0) => self.place = Place::Trailer,
                Some(size) => self.place = Place::Chunk(size),
                None => self.give_up(),
            },
            Place::ChunkEnd if is_empty && is_strict => self.place = Place::ChunkSize,
            Place::Trailer if is_empty && is_strict => self.place = Place::Head,
            Place::Trailer if is_strict => {}
            _ => self.give_up(),
        }
        self.line.clear();
    }

    fn end_head(&mut self) {
        self.count += 1;
        self.begun = false;
        self.place = match std::mem::take(&mut self.said) {
            Said {
                length: Some(_),
                chunked: true,
                ..
            } => Place::Over,
            Said { unusual: true, .. } => return self.give_up(),
            Said { chunked: true, .. } => Place::ChunkSize,
            Said { length, .. } => Place::Body(length.unwrap_or(0)),
        };
        self.settle();
    }

    /// Where the next head begins cannot be told.
    fn give_up(&mut self) {
        self.count += 1;
        self.place = Place::Over;
    }
}

/// The size that a chunk's first line says, if it says so plainly; an extension is for others.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or(&[]);
    (digits.len() <= HEX_DIGITS_MAX)
        .then(|| number(digits, 16))
        .flatten()
}

/// A number of nothing but digits, at least one.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_plain = text.chars().all(|digit| digit.is_digit(radix));
    u64::from_str_radix(text, radix).ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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

    #[test]
    fn after_an_unusual_length_all_is_ambiguous() {
        let far = " ".repeat(60);
        let zeros = "0".repeat(70);
        let chunked = "Transfer-Encoding: chunked\r\n\r\n";
        for unusual in [
            format!("Content-Length:{far}27\r\n\r\n{{\"type\":\"a\",\n\n\"data\":null}}"),
            "Content-Length: 1\r\nContent-Length: 1\r\n\r\n ".to_owned(),
            "Content-Length: +1\r\n\r\n ".to_owned(),
            "Content-Length : 1\r\n\r\n ".to_owned(),
            format!("Content-Length: {zeros}1\r\n\r\n "),
            format!("Transfer-Encoding:{far}chunked\r\n\r\n0\r\n\r\n"),
            "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(),
            format!("{chunked}{zeros}1\r\n \r\n0\r\n\r\n"),
            format!("{chunked}0\r\nX: y\n\nGET / HTTP/1.1\r\n\r\n"),
            format!("{chunked}1\n \r\n0\r\n\r\n"),
            format!("{chunked}0\r\nX: y\rz\r\n\r\n"),
            format!("{chunked}0;\r\r\n\r\n"),
        ] {
            let text = format!("{PLAIN}POST / HTTP/1.1\r\nHost: x\r\n{unusual}{PLAIN}");
            for part in [1, 7, 1000] {
                assert_eq!(found(&text, part), Some(3), "{unusual} in parts of {part}");
            }
        }
        let ambiguous = Ambiguous::default();
        assert!(!ambiguous.is(1) && !ambiguous.is(1 << 60));
        ambiguous.0.store(3, Ordering::Release);
        assert!(!ambiguous.is(2) && ambiguous.is(3) && ambiguous.is(4));
    }

    /// A head that must not be served, wherever it stands.
    const BOTH: &str = "POST /both HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
        0\r\n\r\n";

    /// What may stand in a body.
    fn content() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "",
            "x",
            "\n\n",
            "\r\n\r\n",
            "{\"type\":\"a\",\n\n\"data\":null}",
            "0\r\n\r\n",
            "GET /inner HTTP/1.1\r\nContent-Length: 400\r\n\r\n",
            "GET /inner HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n190\r\n",
            BOTH,
        ])
        .prop_map(str::to_owned)
    }

    /// A piece of text that may be long.
    fn spaces(wild: bool, piece: &'static str) -> impl Strategy<Value = String> {
        let lengths = if wild {
            vec![0, 1, 40, 60, 70]
        } else {
            vec![0, 1]
        };
        prop::sample::select(lengths).prop_map(move |count| piece.repeat(count))
    }

    fn one_of(
        wild: bool,
        usual: &[&'static str],
        others: &[&'static str],
    ) -> impl Strategy<Value = &'static str> {
        let mut all = usual.to_vec();
        if wild {
            all.extend(others);
        }
        prop::sample::select(all)
    }

    /// A request with a length.
    fn sized(wild: bool) -> impl Strategy<Value = String> {
        let again = one_of(
            wild,
            &[""],
            &["Content-Length: 3\r\n", "Content-Length: 999\r\n"],
        );
        let parts = (content(), spaces(wild, " "), spaces(wild, "0"), again);
        parts.prop_map(|(body, far, zeros, again)| {
            let length = body.len();
            format!("POST /sized HTTP/1.1\r\nHost: x\r\ncontent-length:{far}{zeros}{length}\r\n{again}\r\n{body}")
        })
    }

    /// A request in two chunks.
    fn chunked(wild: bool) -> impl Strategy<Value = String> {
        let coding = one_of(
            wild,
            &["chunked", "Chunked "],
            &[
                "gzip, chunked",
                "gzip",
                "chunked\r\nTransfer-Encoding: chunked",
            ],
        );
        let after = one_of(wild, &["", ";a=b"], &[" ", ";a\nb", ";\r", "\t;x"]);
        let end = one_of(
            wild,
            &["", "X: y\r\n"],
            &[
                "X: y\n\n",
                "X: y\n",
                "X: y\rz\r\n",
                "X: y\n\nGET /end HTTP/1.1\r\nContent-Length: 400\r\n\r\n",
            ],
        );
        let parts = (
            content(),
            content(),
            coding,
            spaces(wild, " "),
            spaces(wild, "0"),
            after,
            end,
        );
        parts.prop_map(|(first, second, coding, far, zeros, after, end)| {
            let mut text = format!(
                "POST /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:{far}{coding}\r\n\r\n"
            );
            for chunk in [first, second].iter().filter(|chunk| !chunk.is_empty()) {
                text += &format!("{zeros}{:x}{after}\r\n{chunk}\r\n", chunk.len());
            }
            text + &format!("{zeros}0\r\n{end}\r\n")
        })
    }

    fn requests(wild: bool) -> impl Strategy<Value = String> {
        let plain = Just(PLAIN.to_owned());
        let one = prop_oneof![plain, sized(wild), chunked(wild), Just(BOTH.to_owned())];
        prop::collection::vec(one, 1..6).prop_map(|all| all.concat())
    }

    /// What the real library serves of a text that comes in parts of this size: the paths, and whether each counts
    /// as ambiguous. As in the server, nothing is served after one that does.
    fn served(text: &str, part: usize) -> Vec<(String, bool)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut theirs, ours) = tokio::io::duplex(part.max(16));
            let ambiguous = Ambiguous::default();
            let wire = TokioIo::new(Watched::new(ours, ambiguous.clone()));
            let seen = std::cell::RefCell::new(Vec::new());
            let service = service_fn(async |request: http::Request<Incoming>| {
                let path = request.uri().path().to_owned();
                let number = seen.borrow().len() as u64 + 1;
                let is_ambiguous = ambiguous.is(number);
                seen.borrow_mut().push((path, is_ambiguous));
                let mut answer = http::Response::new(String::new());
                if is_ambiguous {
                    let close = http::HeaderValue::from_static("close");
                    answer.headers_mut().insert(http::header::CONNECTION, close);
                } else {
                    request.into_body().collect().await.ok();
                }
                Ok::<_, std::convert::Infallible>(answer)
            });
            let serving = hyper::server::conn::http1::Builder::new()
                .half_close(true)
                .serve_connection(wire, service);
            let asking = async {
                let (mut from, mut to) = tokio::io::split(&mut theirs);
                let writing = async {
                    for bytes in text.as_bytes().chunks(part) {
                        if to.write_all(bytes).await.is_err() {
                            return;
                        }
                    }
                    to.shutdown().await.ok();
                };
                let mut answers = Vec::new();
                let reading = from.read_to_end(&mut answers);
                tokio::join!(writing, reading)
            };
            let (_, (_, read)) = tokio::join!(async { serving.await.ok() }, asking);
            read.ok();
            seen.into_inner()
        })
    }

    proptest! {
        #[test]
        fn no_ambiguous_request_is_served_unseen(text in requests(true), part in 1_usize..400) {
            for (path, is_ambiguous) in served(&text, part) {
                prop_assert!(path != "/both" || is_ambiguous, "{text}");
            }
        }

        #[test]
        fn of_usual_requests_only_ambiguous_ones_are_refused(text in requests(false), part in 1_usize..400) {
            let served = served(&text, part);
            for (path, is_ambiguous) in &served {
                prop_assert_eq!(path == "/both", *is_ambiguous, "{}", text);
            }
            prop_assert!(!served.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic_or_hold_much(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let mut heads = Heads::default();
            for bytes in parts {
                heads.look(&bytes);
                prop_assert!(heads.line.kept.len() <= LINE_KEPT);
            }
        }
    }
}
