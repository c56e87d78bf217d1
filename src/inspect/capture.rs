//! A request that was kept: one header line, or a whole HTTP/1.1 message (RFC 9112) as it came.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Usage;

/// No sender has more; a file with more is something else.
const HEADERS_MAX: usize = 256;

/// A request as it was kept.
#[derive(Debug)]
pub(super) struct Captured {
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// Its body.
    pub(super) body: Vec<u8>,
    /// Bytes that stand behind the body's end.
    pub(super) left_over: usize,
}

/// Reads header lines, `Name: value`.
pub(super) fn headers<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<HeaderMap, Usage> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = header(line)?;
        if headers.len() >= HEADERS_MAX {
            return Err(Usage(format!("there are more than {HEADERS_MAX} headers")));
        }
        headers.append(name, value);
    }
    Ok(headers)
}

/// Reads one header line. What is quoted of it in an error is the name only: values may be credentials.
fn header(line: &str) -> Result<(HeaderName, HeaderValue), Usage> {
    let form = "a header is written `Name: value`, on one line";
    let Some((name, value)) = line.split_once(':') else {
        return Err(Usage(format!("there is a header without a colon; {form}")));
    };
    let shown = name.escape_debug();
    let parsed = HeaderName::from_bytes(name.as_bytes());
    let parsed = parsed.map_err(|_| Usage(format!("`{shown}` is not a header's name; {form}")))?;
    let value = HeaderValue::from_str(value.trim_matches([' ', '\t']));
    let value = value.map_err(|_| {
        Usage(format!(
            "the value of `{shown}` cannot stand in a header; {form}"
        ))
    })?;
    Ok((parsed, value))
}

/// Reads a whole request: request line, headers, an empty line, and the body to the byte. Lines of the head may
/// end in CRLF or LF, as editors leave them.
pub(super) fn request(bytes: &[u8]) -> Result<Captured, Usage> {
    let form = "a request is kept as its request line, its headers, an empty line, and its body";
    let (head, rest) = split_head(bytes).ok_or_else(|| {
        Usage(format!(
            "the request has no empty line behind its headers; {form}"
        ))
    })?;
    let head = std::str::from_utf8(head)
        .map_err(|_| Usage(format!("the request's headers are not text; {form}")))?;
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    if !first.contains(" HTTP/") {
        return Err(Usage(format!(
            "the request does not begin with a line such as `POST /hook HTTP/1.1`; {form}"
        )));
    }
    let headers = headers(lines)?;
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err(Usage(
            "the request's body is in a transfer encoding; keep the decoded body, and give it with --body \
             and the headers with --header"
                .to_owned(),
        ));
    }
    let length = content_length(&headers)?.unwrap_or(rest.len());
    let Some((body, left_over)) = rest.split_at_checked(length) else {
        let count = rest.len();
        return Err(Usage(format!(
            "the request's content-length is {length}, but {count} bytes stand behind its headers; it was cut \
             off or changed when it was kept"
        )));
    };
    Ok(Captured {
        headers,
        body: body.to_vec(),
        left_over: left_over.len(),
    })
}

fn content_length(headers: &HeaderMap) -> Result<Option<usize>, Usage> {
    let refused = || Usage("the request's content-length is not one number".to_owned());
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(refused());
    }
    let digits = value.to_str().map_err(|_| refused())?;
    digits.parse().map(Some).map_err(|_| refused())
}

/// The head without its empty line, and what stands behind that.
fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        let line = bytes.get(from..)?;
        let end = line.iter().position(|byte| *byte == b'\n')?;
        let behind = from + end + 1;
        if matches!(line.get(..end)?, b"" | b"\r") {
            return Some((bytes.get(..from)?, bytes.get(behind..)?));
        }
        from = behind;
    }
}
