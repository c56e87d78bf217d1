//! What is printed: for people, with colours on a terminal (unless `NO_COLOR` is set, https://no-color.org),
//! or one JSON object a line.
//!
//! What came over the network is made harmless before a terminal gets it: control characters are escaped.
//! Credentials in headers are not shown.

use std::io::{self, IsTerminal as _, Stdout, Write as _};

use http::HeaderMap;
use serde_json::{Value, json};

use super::answers::Decision;
use super::contract::{Named, Verdict};
use crate::receiver::ReceivedRequest;
use crate::verify::Verified;

/// Of a longer body, people are shown the beginning; a screen has some two thousand characters.
const BODY_SHOWN_MAX: usize = 16 * 1024;
/// Headers whose values are credentials.
const CREDENTIALS: [&str; 4] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
];
/// Headers that say nothing about a delivery.
const PLAIN: [&str; 4] = ["host", "content-length", "accept", "connection"];

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// Standard output, for people or for machines.
#[derive(Debug)]
pub(super) struct Printer {
    out: Stdout,
    colours: bool,
    pretty: bool,
    machine: bool,
}

/// One request, with all that was found out about it.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    /// The request.
    pub(super) request: &'a ReceivedRequest,
    /// The event it is of.
    pub(super) named: &'a Named,
    /// Whether it verifies.
    pub(super) verdict: &'a Verdict,
    /// What it is answered.
    pub(super) decision: Decision,
}

impl Printer {
    /// Prints JSON if `machine`.
    pub(super) fn stdout(machine: bool) -> Self {
        let out = io::stdout();
        let terminal = out.is_terminal();
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            out,
            colours: terminal && !unwanted && !machine,
            pretty: terminal,
            machine,
        }
    }

    /// Whether JSON is wanted.
    pub(super) const fn is_machine(&self) -> bool {
        self.machine
    }

    /// Prints a JSON value as one line.
    pub(super) fn json(&mut self, value: &Value) -> io::Result<()> {
        let text = value.to_string();
        // In JSON they can stand in strings only, and there an escape is the same.
        let text = if self.pretty { on_a_line(&text) } else { text };
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Prints a text and a line's end.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{}", harmless(text))?;
        self.out.flush()
    }

    /// Prints a line about something that is as it should be.
    pub(super) fn good(&mut self, text: &str) -> io::Result<()> {
        self.line_in(GREEN, text)
    }

    /// Prints a line about something that is not.
    pub(super) fn bad(&mut self, text: &str) -> io::Result<()> {
        self.line_in(RED, text)
    }

    fn line_in(&mut self, colour: &str, text: &str) -> io::Result<()> {
        if self.colours {
            writeln!(self.out, "{colour}{}{RESET}", harmless(text))?;
            return self.out.flush();
        }
        self.line(text)
    }

    /// Prints one request.
    pub(super) fn request(&mut self, seen: &Seen<'_>) -> io::Result<()> {
        if self.machine {
            return self.json(&as_json(seen));
        }
        self.line_in(BOLD, &summary(seen))?;
        match seen.verdict {
            Verdict::Verified(verified) => self.good(&format!("  {}", praise(verified)))?,
            Verdict::Unchecked => self.line("  not checked: no secret was given")?,
            Verdict::Refused(why) => {
                self.bad(&format!("  NOT verified: {why}"))?;
                self.line(&format!("  What to do: {}", why.remedy()))?;
            }
        }
        for (name, value) in shown_headers(&seen.request.headers) {
            if !PLAIN.contains(&name.as_str()) {
                self.line_in(DIM, &format!("  {name}: {value}"))?;
            }
        }
        for line in body_text(&seen.request.body, self.pretty).lines() {
            self.line(&format!("  {line}"))?;
        }
        self.line("")
    }
}

/// What is said of a request that verifies.
pub(super) fn praise(verified: &Verified) -> String {
    let mut text = "verified".to_owned();
    if let Some(timestamp_s) = verified.timestamp_s {
        let at = i64::try_from(timestamp_s).ok();
        let at = at.and_then(|at| jiff::Timestamp::from_second(at).ok());
        let at = at.map_or_else(|| timestamp_s.to_string(), |at| at.to_string());
        text.push_str(&format!(", signed at {at}"));
    }
    if let Some(id) = &verified.id {
        text.push_str(&format!(", event {id}"));
    }
    text
}

/// Time, method, path, event, and the answer.
fn summary(seen: &Seen<'_>) -> String {
    let (request, named, decision) = (seen.request, seen.named, seen.decision);
    let mut text = format!("{}  {} {}", request.at, request.method, request.path);
    if let Some(event_type) = &named.event_type {
        text.push_str(&format!("  {event_type}"));
    }
    if let Some(id) = &named.id {
        text.push_str(&format!("  {id}"));
    }
    let attempt = named.attempt.unwrap_or(decision.of_event);
    text.push_str(&format!(
        "  attempt {attempt}  answered {}",
        decision.status
    ));
    if !decision.because.is_empty() {
        text.push_str(&format!(" ({})", decision.because));
    }
    text
}

/// A request as one JSON object.
fn as_json(seen: &Seen<'_>) -> Value {
    let (request, named, decision) = (seen.request, seen.named, seen.decision);
    let mut headers = serde_json::Map::new();
    for (name, value) in shown_headers(&request.headers) {
        // A name that came several times has its values in a list.
        match headers.get_mut(&name) {
            Some(Value::Array(values)) => values.push(value.into()),
            Some(one) => *one = json!([one.take(), value]),
            None => {
                headers.insert(name, value.into());
            }
        }
    }
    let (verified, code, why, fix) = match seen.verdict {
        Verdict::Verified(_) => (Some(true), None, None, None),
        Verdict::Unchecked => (None, None, None, None),
        Verdict::Refused(error) => (
            Some(false),
            Some(error.code()),
            Some(error.to_string()),
            Some(error.remedy()),
        ),
    };
    let body = std::str::from_utf8(&request.body);
    json!({
        "kind": "request",
        "number": decision.number,
        "at": request.at.to_string(),
        "method": request.method.as_str(),
        "path": request.path,
        "event_id": named.id,
        "event_type": named.event_type,
        "attempt": named.attempt.unwrap_or(decision.of_event),
        "answered": decision.status,
        "verified": verified,
        "code": code,
        "why": why,
        "fix": fix,
        "headers": headers,
        // null where the body is not text.
        "body": body.ok(),
        "body_bytes": request.body.len(),
    })
}

fn shown_headers(headers: &HeaderMap) -> impl Iterator<Item = (String, String)> {
    headers.iter().map(|(name, value)| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let shown = if CREDENTIALS.contains(&name.as_str()) {
            format!("({} bytes, not shown)", value.len())
        } else {
            text
        };
        (name.as_str().to_owned(), shown)
    })
}

/// A body for people: JSON with its members on lines of their own if `pretty`, values untouched.
fn body_text(body: &[u8], pretty: bool) -> String {
    let Ok(text) = std::str::from_utf8(body) else {
        return format!("({} bytes that are not text)", body.len());
    };
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let mut text = if pretty && is_json {
        indented(text)
    } else {
        text.to_owned()
    };
    let whole = text.len();
    if whole > BODY_SHOWN_MAX {
        text.truncate(text.floor_char_boundary(BODY_SHOWN_MAX));
        let more = whole - text.len();
        text.push_str(&format!("\n… {more} bytes more; --json shows all of it"));
    }
    text
}

/// JSON with line ends and indents instead of its own white space; no other byte is changed.
pub(super) fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let mut opened = false; // the last character but white space opened a list or an object
    for c in json.chars() {
        if in_text {
            out.push(c);
            in_text = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        if opened != closes && (opened || closes) {
            new_line(&mut out, depth);
        }
        opened = matches!(c, '{' | '[');
        out.push(c);
        match c {
            '{' | '[' => depth += 1,
            ',' => new_line(&mut out, depth),
            ':' => out.push(' '),
            '"' => in_text = true,
            _ => {}
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    /// Deeper values are not indented further: a hostile body would fill the screen with spaces.
    const INDENTED_MAX: usize = 40;
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth.min(INDENTED_MAX)));
}

/// JSON text with what a terminal would obey escaped as JSON escapes it.
fn on_a_line(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if acts(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a terminal obeys it, or turns the direction of writing by it. All of them are below 65,536.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with its control characters escaped, those that change the direction of writing among them.
pub(super) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(c),
            c if acts(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}
