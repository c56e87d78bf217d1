//! Envelopes: the body of a request, made from an event by a profile's template.
//!
//! A template is JSON with minijinja expressions where values stand. Every expression is written as
//! JSON: `{{ id }}` is a quoted string, `{{ data }}` the event's text byte for byte, `{{ data.alert }}` a
//! part of it, byte for byte too; what is missing is `null`. A template is the operator's only, never a
//! tenant's: fuel bounds its steps, and the output is bounded while it is written.
//!
//! Invariant: what `render` returns is JSON in the form of [`super::ecma`], whatever the template does.

use std::fmt;
use std::io;
use std::sync::Arc;

use minijinja::value::{Object, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};

use super::ecma::{self, JsonError};
use super::raw::Raw;
use super::shape;
use crate::model::{AccountName, Event, EventId, UnixMicros, UnixMillis};
use crate::profile::Profile;

/// Steps that one rendering may take: a loop over some thousand elements, no more.
const FUEL: u64 = 100_000;
/// How deep expressions and values made by a template may nest.
const RECURSION_MAX: usize = 32;
/// Bytes that one rendering may write: the largest event (4 MiB) a few times over.
const OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a template can name.
const NAMES: [&str; 6] = ["id", "type", "created_at", "data", "metadata", "scope"];
const TEMPLATE: &str = "body";

/// A template that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body template {0}")]
pub struct EnvelopeError(String);

/// An event that a template made no body of.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The template stopped: out of fuel, over the output bound, or a wrong operation on this data.
    #[error("the body template stopped: {0}")]
    Template(String),
    /// The template wrote something else than JSON.
    #[error("the body template did not write JSON: {0}")]
    NotJson(#[from] JsonError),
}

/// A profile's body template, compiled. Cheap to clone.
#[derive(Clone)]
pub struct Envelope {
    environment: Arc<Environment<'static>>,
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Envelope(…)")
    }
}

impl Envelope {
    /// Compiles a profile's body template, and tries it on the profile's example and on an event that
    /// has as little as an event can have.
    ///
    /// # Errors
    /// [`EnvelopeError`] says what is wrong with the template and where.
    pub fn compile(profile: &Profile) -> Result<Self, EnvelopeError> {
        let envelope = Self::read(&profile.body)?;
        let account = AccountName::new("example").expect("this is an account name");
        let id = EventId::new("evt_example").expect("this is an event id");
        let full = example(profile, &account, id, UnixMicros(0))
            .map_err(|error| EnvelopeError(format!("has an example that is not JSON: {error}")))?;
        envelope.try_out(&full)?;
        Ok(envelope)
    }

    /// Compiles a body template without trying it.
    pub(super) fn read(body: &str) -> Result<Self, EnvelopeError> {
        let source = without_white_space(body)?;
        let mut environment = Environment::empty();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION_MAX);
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_formatter(|out, _, value| write_json(out, value, 0));
        environment.add_filter("seconds", |value: Value| time(&value, 0));
        environment.add_filter("millis", |value: Value| time(&value, 3));
        environment.add_filter("micros", |value: Value| time(&value, 6));
        environment.add_filter("unix", |value: Value| unix_seconds(&value));
        shape::add_filters(&mut environment);
        environment
            .add_template_owned(TEMPLATE, source)
            .map_err(|error| refused(&error, body))?;
        let template = environment
            .get_template(TEMPLATE)
            .map_err(|error| refused(&error, body))?;
        let mut unknown: Vec<String> = template.undeclared_variables(false).into_iter().collect();
        unknown.retain(|name| !NAMES.contains(&name.as_str()));
        unknown.sort_unstable();
        if let Some(name) = unknown.first() {
            let known = NAMES.join(", ");
            return Err(EnvelopeError(format!("names `{name}`; there are {known}")));
        }
        Ok(Self {
            environment: Arc::new(environment),
        })
    }

    /// The body for `event`.
    ///
    /// # Errors
    /// [`RenderError`] where the template stops at its bounds or does not write JSON for this event.
    pub fn render(&self, event: &Event) -> Result<String, RenderError> {
        let template = self
            .environment
            .get_template(TEMPLATE)
            .expect("compile() has put it there");
        let mut out = Bounded(Vec::with_capacity(event.data.len() + 512));
        template
            .render_captured_to(Value::from_object(Context::of(event)), &mut out)
            .map_err(|error| RenderError::Template(describe(&error)))?;
        let text = String::from_utf8(out.0).expect("only whole texts are written");
        Ok(ecma::normalise_to(&text, ecma::BODY_DEPTH_MAX)?.text)
    }

    /// Renders `full`, and the same event with as little as an event can have.
    pub(super) fn try_out(&self, full: &Event) -> Result<(), EnvelopeError> {
        let bare = Event {
            data: "null".to_owned(),
            metadata: None,
            scope: None,
            ..full.clone()
        };
        for (event, which) in [
            (full, "the example"),
            (&bare, "an event whose data is null"),
        ] {
            self.render(event).map_err(|error| {
                EnvelopeError(match error {
                    RenderError::Template(message) => format!("stops on {which}: {message}"),
                    RenderError::NotJson(error) => {
                        format!("does not write JSON for {which}: {error}")
                    }
                })
            })?;
        }
        Ok(())
    }
}

/// The profile's test event, as one of `account` with this id and time.
///
/// # Errors
/// [`JsonError`] where the example's data is not JSON; a compiled [`Envelope`] has ruled that out.
pub fn example(
    profile: &Profile,
    account: &AccountName,
    id: EventId,
    at: UnixMicros,
) -> Result<Event, JsonError> {
    let example = &profile.example;
    let metadata = example.metadata.as_deref().map(ecma::normalise);
    let data = ecma::normalise(&example.data)?;
    Ok(Event {
        account: account.clone(),
        id,
        event_type: example.event_type.clone(),
        created_at: at,
        received_at: UnixMillis(u64::try_from(at.0 / 1000).unwrap_or(0)),
        data: data.text,
        metadata: metadata.transpose()?.map(|metadata| metadata.text),
        scope: example.scope.clone(),
        warning: data.warning,
        trace: None,
    })
}

/// What a template's names stand for, for one event.
#[derive(Debug)]
struct Context {
    id: Value,
    event_type: Value,
    created_at: Value,
    data: Value,
    metadata: Option<String>,
    scope: Option<String>,
}

impl Context {
    fn of(event: &Event) -> Self {
        Self {
            id: Value::from(event.id.as_str()),
            event_type: Value::from(event.event_type.as_str()),
            created_at: Value::from_object(Time(event.created_at)),
            data: Raw::whole(&event.data),
            metadata: event.metadata.clone(),
            scope: event.scope.clone(),
        }
    }
}

impl Object for Context {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            "id" => Some(self.id.clone()),
            "type" => Some(self.event_type.clone()),
            "created_at" => Some(self.created_at.clone()),
            "data" => Some(self.data.clone()),
            // Receivers read members of it without asking whether it is there.
            "metadata" => Some(Raw::whole(self.metadata.as_deref().unwrap_or("{}"))),
            "scope" => Some(Value::from(self.scope.as_deref())),
            _ => None,
        }
    }
}

/// An instant; without a filter it is written with microseconds.
#[derive(Debug)]
pub(super) struct Time(UnixMicros);

impl Object for Time {
    fn repr(self: &Arc<Self>) -> minijinja::value::ObjectRepr {
        minijinja::value::ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.rfc3339(6))
    }
}

fn time(value: &Value, digits: u8) -> Result<String, Error> {
    match value.downcast_object_ref::<Time>() {
        Some(time) => Ok(time.0.rfc3339(digits)),
        None => Err(no_time()),
    }
}

/// Whole seconds since 1970, a number; before 1970 rounded down.
fn unix_seconds(value: &Value) -> Result<i64, Error> {
    let time = value.downcast_object_ref::<Time>().ok_or_else(no_time)?;
    Ok(time.0.0.div_euclid(1_000_000))
}

fn no_time() -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        "seconds, millis, micros and unix are for created_at",
    )
}

/// Writes a value as `JSON.stringify` does; what is undefined is `null`.
pub(super) fn write_json(
    out: &mut dyn fmt::Write,
    value: &Value,
    depth: usize,
) -> Result<(), Error> {
    if let Some(raw) = value.downcast_object_ref::<Raw>() {
        return Ok(out.write_str(raw.as_str())?);
    }
    if let Some(time) = value.downcast_object_ref::<Time>() {
        return write_string(out, &time.0.rfc3339(6));
    }
    if depth > RECURSION_MAX {
        return Err(unwritable("a value that is nested too deep"));
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => out.write_str("null")?,
        ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" })?,
        ValueKind::Number => write_number(out, value)?,
        ValueKind::String => write_string(out, value.as_str().unwrap_or_default())?,
        ValueKind::Seq | ValueKind::Iterable => {
            out.write_str("[")?;
            for (at, element) in value.try_iter()?.enumerate() {
                out.write_str(if at == 0 { "" } else { "," })?;
                write_json(out, &element, depth + 1)?;
            }
            out.write_str("]")?;
        }
        ValueKind::Map => {
            out.write_str("{")?;
            for (at, key) in value.try_iter()?.enumerate() {
                out.write_str(if at == 0 { "" } else { "," })?;
                write_string(out, &key.to_string())?;
                out.write_str(":")?;
                write_json(out, &value.get_item(&key)?, depth + 1)?;
            }
            out.write_str("}")?;
        }
        _ => return Err(unwritable("a value that JSON does not have")),
    }
    Ok(())
}

fn write_string(out: &mut dyn fmt::Write, text: &str) -> Result<(), Error> {
    let mut quoted = String::with_capacity(text.len() + 2);
    ecma::quote(text, &mut quoted);
    Ok(out.write_str(&quoted)?)
}

fn write_number(out: &mut dyn fmt::Write, value: &Value) -> Result<(), Error> {
    if value.is_integer() {
        return Ok(write!(out, "{value}")?);
    }
    let double = f64::try_from(value.clone())?;
    if double.is_finite() {
        Ok(out.write_str(ryu_js::Buffer::new().format_finite(double))?)
    } else {
        Ok(out.write_str("null")?)
    }
}

fn unwritable(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// The template without the white space between JSON's tokens, so that no rendering has to drop it.
fn without_white_space(template: &str) -> Result<String, EnvelopeError> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(next) = rest.chars().next() {
        let length = match (next, rest.get(1..2)) {
            ('{', Some("{" | "%" | "#")) => tag_length(rest),
            ('"', _) => {
                let length = literal_length(rest);
                let literal = rest.get(..length).unwrap_or_default();
                if literal.contains("{{") || literal.contains("{%") {
                    return Err(EnvelopeError(format!(
                        "has an expression inside a string: {literal}; write {{{{ \"text \" ~ type }}}}"
                    )));
                }
                length
            }
            _ => next.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        if !next.is_ascii_whitespace() {
            if out.ends_with('{') && token.starts_with('{') {
                out.push(' '); // or the two would read as the start of an expression
            }
            out.push_str(token);
        }
        rest = behind;
    }
    Ok(out)
}

/// The length of the minijinja tag at the start of `text`; strings inside it may hold its end.
fn tag_length(text: &str) -> usize {
    let end = match text.get(1..2) {
        Some("{") => "}}",
        Some("%") => "%}",
        _ => return text.find("#}").map_or(text.len(), |at| at + 2),
    };
    let mut quote = None;
    for (at, c) in text.char_indices().skip(2) {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if text.get(at..).is_some_and(|rest| rest.starts_with(end)) => return at + 2,
            None => {}
        }
    }
    text.len()
}

/// The length of the JSON string literal at the start of `text`.
fn literal_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn refused(error: &Error, body: &str) -> EnvelopeError {
    // The source that was read has no lines any more; the one that the operator wrote has.
    let written = Environment::empty().add_template_owned(TEMPLATE, body.to_owned());
    let line = written.err().and_then(|error| error.line());
    let place = line.map_or(String::new(), |line| format!(", in its line {line}"));
    EnvelopeError(format!("cannot be read: {}{place}", describe(error)))
}

fn describe(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{} ({detail})", error.kind()),
        None => error.kind().to_string(),
    }
}

/// Takes bytes up to the bound.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_BYTES_MAX {
            return Err(io::Error::other("the body is over 16 MiB"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
