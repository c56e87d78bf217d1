//! JSON text that survives ECMAScript: `JSON.stringify(JSON.parse(text)) === text` (ECMA-262, 25.5).
//!
//! Many receivers verify a signature over `JSON.stringify(req.body)` and not over the raw body, so every
//! body that is sent has this form: no insignificant white space, only the escapes that `JSON.stringify`
//! writes, numbers in the shortest form, array-index keys first in ascending order, of duplicate keys the
//! last value at the first one's place. `-0` becomes `0`, because that is what `JSON.stringify` makes of it.
//!
//! A value is never altered: a number that a double cannot hold is left as written, and the result carries
//! a warning. Nothing here panics or recurses deeper than its bound, whatever the input. Time and memory are
//! linear in the input; objects that must be reordered cost one more copy for each level they are nested in.

mod number;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;

use number::Form;

/// How deep a posted value may nest. Common parsers stop at 128 levels; an envelope adds a few of its own.
pub const DEPTH_MAX: usize = 120;
/// How deep a whole body may nest: what serde_json, as one receiver's parser, still reads.
pub(super) const BODY_DEPTH_MAX: usize = 127;
/// Up to here the keys of one object are compared pair by pair, which is faster than hashing them.
const PAIRWISE_KEYS_MAX: usize = 16;
/// A warning quotes no more of a number than this, bytes: it is stored with the event.
const QUOTED_NUMBER_MAX: usize = 40;

/// A text that is not JSON, or nests too deep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at line {line}, column {column}")]
pub struct JsonError {
    /// What is wrong and what was expected.
    pub problem: &'static str,
    /// Where, bytes from the start.
    pub offset: usize,
    /// Where, lines from 1.
    pub line: usize,
    /// Where, characters of the line from 1.
    pub column: usize,
}

/// A JSON text in its stable form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normalised {
    /// The text.
    pub text: String,
    /// Which number cannot survive a round trip through a double, where there is one.
    pub warning: Option<String>,
}

/// Brings one JSON value (RFC 8259) into the form that survives `JSON.stringify(JSON.parse(text))`.
///
/// # Errors
/// [`JsonError`] where the text is not one JSON value, or nests deeper than [`DEPTH_MAX`].
pub fn normalise(text: &str) -> Result<Normalised, JsonError> {
    normalise_to(text, DEPTH_MAX)
}

pub(super) fn normalise_to(text: &str, depth_max: usize) -> Result<Normalised, JsonError> {
    let mut writer = Writer {
        input: text,
        pos: 0,
        pending: 0,
        out: String::with_capacity(text.len()),
        members: Vec::new(),
        unfit: None,
        unfit_count: 0,
        left_out: false,
        depth_max,
    };
    writer.document().map_err(|fault| fault.located(text))?;
    let mut warning = writer.warning();
    if warning.is_some() && writer.left_out {
        // What it tells of may have been left out. What is there now has no key twice, so this ends here.
        warning = normalise_to(&writer.out, depth_max)?.warning;
    }
    Ok(Normalised {
        text: writer.out,
        warning,
    })
}

/// Appends `text` as a JSON string with its quotes, escaped as `JSON.stringify` does (ECMA-262, 25.5.2.3).
pub fn quote(text: &str, out: &mut String) {
    out.push('"');
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        if is_plain(byte) {
            continue;
        }
        out.push_str(text.get(copied..at).unwrap_or_default());
        escape(char::from(byte), out);
        copied = at + 1;
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    out.push('"');
}

/// What `JSON.stringify` writes for one character inside a string.
fn escape(character: char, out: &mut String) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        control if control < ' ' => escape_unit(u32::from(control), out),
        other => out.push(other),
    }
}

fn escape_unit(unit: u32, out: &mut String) {
    write!(out, "\\u{unit:04x}").expect("writing to a String does not fail");
}

/// Whether a byte inside a JSON string stands for itself.
const fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

/// What is wrong, before its place is counted out in lines.
struct Fault {
    problem: &'static str,
    offset: usize,
}

impl Fault {
    fn located(self, text: &str) -> JsonError {
        let before = text.get(..self.offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        JsonError {
            problem: self.problem,
            offset: self.offset,
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).map_or(0, |s| s.chars().count()) + 1,
        }
    }
}

/// Where one member of an object lies in the output: its key with quotes, and the end of its value.
#[derive(Clone, Copy)]
struct Member {
    key_at: usize,
    key_end: usize,
    end: usize,
}

/// One pass over the input. `input[pending..pos]` has been read and goes to the output as it is; it is
/// copied only when something differs, so a text that is stable already costs one copy.
struct Writer<'a> {
    input: &'a str,
    pos: usize,
    pending: usize,
    out: String,
    /// The members of all open objects, innermost last.
    members: Vec<Member>,
    unfit: Option<&'a str>,
    /// Whether a value was left out, as its key came again.
    left_out: bool,
    unfit_count: usize,
    depth_max: usize,
}

impl<'a> Writer<'a> {
    fn document(&mut self) -> Result<(), Fault> {
        self.white();
        self.value(1)?;
        self.white();
        if self.peek().is_some() {
            return Err(self.fault("text after the end of the JSON value"));
        }
        self.flush();
        Ok(())
    }

    fn warning(&self) -> Option<String> {
        let number = self.unfit?;
        let shown = number.get(..QUOTED_NUMBER_MAX).unwrap_or(number);
        let cut = if shown.len() < number.len() {
            "…"
        } else {
            ""
        };
        let more = match self.unfit_count {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        Some(format!(
            "the number {shown}{cut}{more} does not fit a double and is sent as written; \
             a receiver that verifies JSON.stringify(JSON.parse(body)) will not get the same text"
        ))
    }

    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'{' | b'[') if depth > self.depth_max => {
                Err(self.fault("arrays and objects are nested too deep"))
            }
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(_) => Err(self.fault("expected a JSON value")),
            None => Err(self.fault("the text ends where a JSON value is expected")),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Fault> {
        if self.rest().starts_with(word.as_bytes()) {
            self.pos += word.len();
            Ok(())
        } else {
            Err(self.fault("expected a JSON value"))
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Fault> {
        self.pos += 1;
        self.white();
        if self.eat(b']') {
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.white();
            if self.eat(b']') {
                return Ok(());
            }
            if !self.eat(b',') {
                return Err(self.fault("expected `,` or `]`"));
            }
            self.white();
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), Fault> {
        self.pos += 1;
        let first = self.members.len();
        self.white();
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            let key_at = self.here();
            if self.peek() != Some(b'"') {
                return Err(self.fault("expected a key in quotes"));
            }
            if self.string()? {
                self.flush(); // so that a key lies in one place, not half copied
            }
            let key_end = self.here();
            self.white();
            if !self.eat(b':') {
                return Err(self.fault("expected `:` after the key"));
            }
            self.white();
            self.value(depth + 1)?;
            self.members.push(Member {
                key_at,
                key_end,
                end: self.here(),
            });
            self.white();
            match self.peek() {
                Some(b'}') => break,
                Some(b',') => self.pos += 1,
                _ => return Err(self.fault("expected `,` or `}`")),
            }
            self.white();
        }
        if self.needs_order(first) {
            self.reorder(first);
        }
        self.members.truncate(first);
        self.pos += 1;
        Ok(())
    }

    /// Whether the object whose members start at `first` has array-index keys or duplicates.
    fn needs_order(&self, first: usize) -> bool {
        let members = self.members.get(first..).unwrap_or_default();
        if members.len() < 2 {
            return false;
        }
        if members.iter().any(|m| array_index(self.key(m)).is_some()) {
            return true;
        }
        if members.len() <= PAIRWISE_KEYS_MAX {
            return members.iter().enumerate().any(|(at, member)| {
                let key = self.key(member);
                members.iter().skip(at + 1).any(|m| self.key(m) == key)
            });
        }
        let mut seen = HashMap::with_capacity(members.len());
        members
            .iter()
            .any(|member| seen.insert(self.key(member), ()).is_some())
    }

    /// Rewrites the object whose members start at `first`: the last of duplicates at the first one's
    /// place, array indices first.
    fn reorder(&mut self, first: usize) {
        self.flush();
        let members = self.members.get(first..).unwrap_or_default();
        let mut kept: Vec<Member> = Vec::with_capacity(members.len());
        let mut places = HashMap::with_capacity(members.len());
        for member in members {
            let place = *places.entry(self.key(member)).or_insert(kept.len());
            match kept.get_mut(place) {
                Some(earlier) => *earlier = *member,
                None => kept.push(*member),
            }
        }
        let left_out = kept.len() < members.len();
        kept.sort_by_key(|member| array_index(self.key(member)).map_or(u64::MAX, u64::from));
        let start = members.first().map_or(self.out.len(), |m| m.key_at);
        let mut body = String::with_capacity(self.out.len() - start);
        for member in &kept {
            if !body.is_empty() {
                body.push(',');
            }
            body.push_str(self.out.get(member.key_at..member.end).unwrap_or_default());
        }
        self.out.truncate(start);
        self.out.push_str(&body);
        self.left_out |= left_out;
    }

    /// A key with its quotes, wherever it lies now.
    fn key(&self, member: &Member) -> &str {
        let (from, to) = (member.key_at, member.key_end);
        let text = match from.checked_sub(self.out.len()) {
            None => self.out.get(from..to),
            Some(ahead) => self
                .input
                .get(self.pending + ahead..self.pending + ahead + (to - from)),
        };
        text.expect("a key is copied whole, and starts and ends with a quote")
    }

    /// Reads a string; whether its text had to be changed.
    fn string(&mut self) -> Result<bool, Fault> {
        let mut changed = false;
        self.pos += 1;
        loop {
            let rest = self.rest();
            match rest.iter().position(|byte| !is_plain(*byte)) {
                Some(plain) => self.pos += plain,
                None => {
                    self.pos = self.input.len();
                    return Err(self.fault("the text ends inside a string"));
                }
            }
            match self.peek() {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(changed);
                }
                Some(b'\\') => changed |= self.escaped()?,
                _ => return Err(self.fault("a control character inside a string; write \\u00xx")),
            }
        }
    }

    /// Reads one escape; whether it had to be changed.
    fn escaped(&mut self) -> Result<bool, Fault> {
        match self.byte_at(self.pos + 1) {
            Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.pos += 2;
                Ok(false)
            }
            Some(b'/') => {
                self.replace(self.pos + 2, "/");
                Ok(true)
            }
            Some(b'u') => self.escaped_unit(),
            _ => Err(self.fault("an escape that JSON does not have")),
        }
    }

    fn escaped_unit(&mut self) -> Result<bool, Fault> {
        let Some(unit) = self.hex4(self.pos + 2) else {
            return Err(self.fault("\\u needs four hexadecimal digits"));
        };
        let mut end = self.pos + 6;
        let mut canonical = String::new();
        match char::from_u32(unit) {
            Some(character) => escape(character, &mut canonical),
            None => match self.low_surrogate(end).filter(|_| unit < 0xdc00) {
                Some(low) => {
                    end += 6;
                    let scalar = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                    canonical.extend(char::from_u32(scalar));
                }
                None => escape_unit(unit, &mut canonical),
            },
        }
        if self.input.get(self.pos..end) == Some(canonical.as_str()) {
            self.pos = end;
            return Ok(false);
        }
        self.replace(end, &canonical);
        Ok(true)
    }

    fn low_surrogate(&self, at: usize) -> Option<u32> {
        if self.byte_at(at)? != b'\\' || self.byte_at(at + 1)? != b'u' {
            return None;
        }
        self.hex4(at + 2)
            .filter(|unit| (0xdc00..0xe000).contains(unit))
    }

    fn hex4(&self, at: usize) -> Option<u32> {
        let digits = self.input.get(at..at + 4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None; // from_str_radix would take a sign
        }
        u32::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Result<(), Fault> {
        let start = self.pos;
        self.eat(b'-');
        let whole = self.pos;
        if self.eat(b'0') {
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.fault("a number does not start with 0"));
            }
        } else {
            self.digits()?;
        }
        let whole = whole..self.pos;
        let mut fraction = None;
        if self.eat(b'.') {
            let from = self.pos;
            self.digits()?;
            fraction = Some(from..self.pos);
        }
        let exponent = self.eat(b'e') || self.eat(b'E');
        if exponent {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        let part = |range| self.input.get::<Range<usize>>(range).unwrap_or_default();
        let text = part(start..self.pos);
        if !exponent && text != "-0" && number::is_plain(part(whole), fraction.map(part)) {
            return Ok(());
        }
        match number::form(text) {
            Form::AsWritten => {}
            Form::Shortest(shortest) => {
                let end = self.pos;
                self.pos = start;
                self.replace(end, &shortest);
            }
            Form::Unfit => {
                self.unfit.get_or_insert(text);
                self.unfit_count += 1;
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let count = self
            .rest()
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        if count == 0 {
            return Err(self.fault("expected a digit"));
        }
        self.pos += count;
        Ok(())
    }

    /// Skips white space, so that it does not reach the output.
    fn white(&mut self) {
        if !matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            return;
        }
        self.flush();
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.pos += 1;
        }
        self.pending = self.pos;
    }

    /// Puts `text` in the place of the input from here to `end`.
    fn replace(&mut self, end: usize, text: &str) {
        self.flush();
        self.out.push_str(text);
        self.pos = end;
        self.pending = end;
    }

    fn flush(&mut self) {
        let read = self.input.get(self.pending..self.pos);
        self.out
            .push_str(read.expect("tokens start and end between characters"));
        self.pending = self.pos;
    }

    /// Where the next byte will stand in the output.
    const fn here(&self) -> usize {
        self.out.len() + (self.pos - self.pending)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.pos += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.byte_at(self.pos)
    }

    fn byte_at(&self, at: usize) -> Option<u8> {
        self.input.as_bytes().get(at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.input.as_bytes().get(self.pos..).unwrap_or_default()
    }

    const fn fault(&self, problem: &'static str) -> Fault {
        Fault {
            problem,
            offset: self.pos,
        }
    }
}

/// The array index (ECMA-262, 6.1.7: 0 to 2^32 - 2, in canonical digits) that a key in quotes is.
fn array_index(key: &str) -> Option<u32> {
    let digits = key.strip_prefix('"')?.strip_suffix('"')?;
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    digits.parse().ok().filter(|index| *index != u32::MAX)
}
