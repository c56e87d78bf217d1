//! Formats: bodies that a webhook may ask for instead of its profile's envelope, such as a chat's messages.
//!
//! A format is data, as a profile is: a body template, a content type, and the hosts that take such bodies.
//! The built-in ones are `formats/built_in.toml`; the operator defines more in the config. A format is
//! compiled and bounded like an envelope, and writes JSON in the form of [`super::ecma`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use http::HeaderValue;
use serde::Deserialize;
use toml::Spanned;

use super::envelope::{Envelope, RenderError};
use crate::model::{AccountName, Event, EventId, Host, UnixMicros, UnixMillis};

/// The formats that every installation has.
const BUILT_IN: &str = include_str!("formats/built_in.toml");
/// Formats that the operator may define; each is held compiled.
const USER_FORMATS_MAX: usize = 200;
/// Templates longer than this are a mistake.
const TEMPLATE_BYTES_MAX: usize = 64 * 1024;
/// Hosts of one format: each is compared at each registration.
const HOSTS_MAX: usize = 100;
/// A content type is a header's value, bytes.
const CONTENT_TYPE_MAX: usize = 128;
/// What a body is if nobody says otherwise.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A format's table in a TOML text, every value with its place in that text.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawFormat {
    body: Spanned<String>,
    content_type: Option<Spanned<String>>,
    hosts: Option<Spanned<Vec<String>>>,
}

/// One thing wrong with a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("format `{format}`: {message}")]
pub struct FormatError {
    /// The format's name.
    pub format: String,
    /// Where in the text that it was read from, bytes; `None` where it is about its name.
    pub span: Option<Range<usize>>,
    /// What is wrong, and behind a semicolon what to write instead.
    pub message: String,
}

/// A format, compiled.
#[derive(Debug)]
pub struct Format {
    /// Its name.
    pub name: String,
    /// The `Content-Type` of its bodies.
    pub content_type: HeaderValue,
    hosts: Vec<String>,
    body: Envelope,
}

impl Format {
    /// The body for `event`.
    ///
    /// # Errors
    /// [`RenderError`] as for an envelope.
    pub fn render(&self, event: &Event) -> Result<String, RenderError> {
        self.body.render(event)
    }

    fn build(name: &str, raw: &RawFormat) -> Result<Self, FormatError> {
        let refused = |span: Range<usize>, message: String| FormatError {
            format: name.to_owned(),
            span: Some(span),
            message,
        };
        let body = compile(raw.body.get_ref()).map_err(|why| refused(raw.body.span(), why))?;
        let content_type = match &raw.content_type {
            None => JSON,
            Some(text) => content_type(text.get_ref()).map_err(|why| refused(text.span(), why))?,
        };
        let hosts = match &raw.hosts {
            None => Vec::new(),
            Some(hosts) => {
                check_hosts(hosts.get_ref()).map_err(|why| refused(hosts.span(), why))?;
                hosts.get_ref().clone()
            }
        };
        Ok(Self {
            name: name.to_owned(),
            content_type,
            hosts,
            body,
        })
    }

    fn takes(&self, host: &str) -> bool {
        self.hosts
            .iter()
            .any(|known| match known.strip_prefix('*') {
                Some(ending) => host.len() > ending.len() && host.ends_with(ending),
                None => host == known,
            })
    }
}

/// Formats by name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Formats {
    by_name: Arc<BTreeMap<String, Arc<Format>>>,
}

impl Formats {
    /// The built-in formats alone.
    #[must_use]
    pub fn built_in() -> Self {
        Self::build(&BTreeMap::new()).expect("the built-in formats are checked by a test")
    }

    /// The built-in formats and those of `user`.
    ///
    /// # Errors
    /// Everything that is wrong with the formats of `user`; spans are places in their text.
    pub fn build(user: &BTreeMap<String, RawFormat>) -> Result<Self, Vec<FormatError>> {
        let built_in: BTreeMap<String, RawFormat> =
            toml::from_str(BUILT_IN).expect("the built-in formats are checked by a test");
        let mut by_name = BTreeMap::new();
        let mut errors = Vec::new();
        let mut take = |name: &str, raw: &RawFormat| match Format::build(name, raw) {
            Ok(format) => {
                by_name.insert(name.to_owned(), Arc::new(format));
            }
            Err(error) => errors.push(error),
        };
        for (name, raw) in &built_in {
            take(name, raw);
        }
        let mut refused = Vec::new();
        for (at, (name, raw)) in user.iter().enumerate() {
            match refused_name(name, at, &built_in) {
                Some(message) => refused.push(FormatError {
                    format: name.clone(),
                    span: None,
                    message,
                }),
                None => take(name, raw),
            }
        }
        errors.append(&mut refused);
        if errors.is_empty() {
            Ok(Self {
                by_name: Arc::new(by_name),
            })
        } else {
            Err(errors)
        }
    }

    /// The format of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Format>> {
        self.by_name.get(name)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// The format whose bodies a host takes, where one is known.
    #[must_use]
    pub fn of_host(&self, host: &Host) -> Option<&Arc<Format>> {
        match host {
            Host::Name(name) => self.by_name.values().find(|format| format.takes(name)),
            Host::Address(_) => None,
        }
    }
}

fn refused_name(name: &str, at: usize, built_in: &BTreeMap<String, RawFormat>) -> Option<String> {
    let form = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if built_in.contains_key(name) {
        return Some("a built-in format has this name; choose another one".to_owned());
    }
    if name.is_empty() || name.len() > 64 || !name.chars().all(form) {
        return Some("is no name for a format; write 1 to 64 of a-z, 0-9, - and _".to_owned());
    }
    (at >= USER_FORMATS_MAX).then(|| format!("over {USER_FORMATS_MAX} formats; remove some"))
}

fn compile(template: &str) -> Result<Envelope, String> {
    if template.len() > TEMPLATE_BYTES_MAX {
        return Err(format!(
            "the body template is over {TEMPLATE_BYTES_MAX} bytes; make it shorter"
        ));
    }
    let body = Envelope::read(template).map_err(|why| why.to_string())?;
    body.try_out(&sample()).map_err(|why| why.to_string())?;
    Ok(body)
}

/// An event with something of every kind in it, on which a format is tried.
fn sample() -> Event {
    Event {
        account: AccountName::new("example").expect("this is an account name"),
        id: EventId::new("evt_example").expect("this is an event id"),
        event_type: "example.created".to_owned(),
        created_at: UnixMicros(0),
        received_at: UnixMillis(0),
        data: r#"{"type":"Example","count":3,"list":["a","b"],"inner":{"text":"<&>","no":null}}"#
            .to_owned(),
        metadata: Some(r#"{"key":"value"}"#.to_owned()),
        scope: Some("example".to_owned()),
        warning: None,
        trace: None,
    }
}

/// A media type (RFC 9110, 8.3.1), with parameters or without.
fn content_type(text: &str) -> Result<HeaderValue, String> {
    let media = text.split(';').next().unwrap_or_default().trim_end();
    let token = |part: &str| {
        let form = |c: u8| c.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&c);
        !part.is_empty() && part.bytes().all(form)
    };
    let well_formed = media
        .split_once('/')
        .is_some_and(|(kind, subtype)| token(kind) && token(subtype));
    match HeaderValue::from_str(text) {
        Ok(value) if well_formed && text.is_ascii() && text.len() <= CONTENT_TYPE_MAX => Ok(value),
        _ => Err(format!(
            "`{}` is no content type; write one such as \"application/json\"",
            text.escape_debug()
        )),
    }
}

fn check_hosts(hosts: &[String]) -> Result<(), String> {
    if hosts.len() > HOSTS_MAX {
        return Err(format!("names over {HOSTS_MAX} hosts; remove some"));
    }
    let form = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let good = |host: &&String| {
        let name = host.strip_prefix("*.").unwrap_or(host);
        !name.is_empty() && !name.starts_with('.') && name.chars().all(form)
    };
    match hosts.iter().find(|host| !good(host)) {
        None => Ok(()),
        Some(host) => Err(format!(
            "`{}` is no host; write a name in lower case, such as \"chat.example.com\" or \"*.example.com\"",
            host.escape_debug()
        )),
    }
}

#[cfg(test)]
mod tests;
