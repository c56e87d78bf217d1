//! What a filter says in words: its rules, and why an event does not fit.
//!
//! Values, keys and lists are cut: an event may have megabytes, and the words are for people.

use std::borrow::Cow;
use std::fmt;

use super::Mismatch;
use super::rule::{Range, Rule, Scalar, TextRule, Wildcard};
use super::subject::Kind;
use crate::render::ecma;

/// Of a value that does not fit, no more than this is quoted, characters.
const QUOTED_MAX: usize = 80;
/// Of a value or a key in a sentence, no more than this is shown, characters.
const SHOWN_MAX: usize = 64;
/// Rules of a field that a sentence names: nobody reads a hundred.
const NAMED_MAX: usize = 8;

/// The first `max` characters of a text, with an ellipsis where there are more.
fn cut(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        Some((end, _)) => Cow::Owned(format!("{}…", text.split_at(end).0)),
        None => Cow::Borrowed(text),
    }
}

/// A string as JSON writes it, cut.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    ecma::quote(&cut(text, SHOWN_MAX), &mut out);
    out
}

/// The first of `all`, and how many more there are.
fn listed(all: &[impl fmt::Display]) -> String {
    let named: Vec<String> = all
        .iter()
        .take(NAMED_MAX)
        .map(ToString::to_string)
        .collect();
    let list = named.join(", ");
    match all.len() {
        1 => list,
        count if count > NAMED_MAX => format!("one of {list} and {} more", count - NAMED_MAX),
        _ => format!("one of {list}"),
    }
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.alternatives > 0 {
            return f.write_str("no alternative fits");
        }
        match self.found {
            None => f.write_str("the event has no value there, and no rule fits that"),
            Some(text) => write!(f, "no rule fits {}", cut(text, QUOTED_MAX)),
        }
    }
}

impl Mismatch<'_> {
    /// The place in the event, as people write it: `data.payload.severity`.
    #[must_use]
    pub fn place(&self) -> String {
        let plain = |key: &str| {
            let form = |byte: u8| byte.is_ascii_alphanumeric() || b"_-$".contains(&byte);
            key.bytes().all(form) && !key.is_empty()
        };
        let keys: Vec<String> = self
            .keys()
            .map(|key| match plain(&key) {
                true => cut(&key, SHOWN_MAX).into_owned(),
                false => quoted(&key),
            })
            .collect();
        keys.join(".")
    }

    /// The keys down to that place. The steps of a `$or` are the pattern's alone.
    pub(super) fn keys(&self) -> impl Iterator<Item = String> {
        let mut steps = self.field.split('/').skip(1);
        std::iter::from_fn(move || {
            let mut step = steps.next()?;
            while step == "$or" {
                steps.next();
                step = steps.next()?;
            }
            Some(step.replace("~1", "/").replace("~0", "~"))
        })
    }

    /// What the event has there, as JSON and cut; `None` where it has nothing.
    #[must_use]
    pub fn found(&self) -> Option<String> {
        self.found.map(|text| cut(text, SHOWN_MAX).into_owned())
    }

    /// What the filter wants there, in words.
    #[must_use]
    pub fn wanted(&self) -> String {
        listed(self.rules)
    }

    /// All of it in one sentence, without its full stop.
    #[must_use]
    pub fn sentence(&self) -> String {
        let (place, wanted) = (self.place(), self.wanted());
        let is = match self.found() {
            None => "is not there".to_owned(),
            Some(found) if self.found.is_some_and(|text| Kind::of(text) == Kind::Array) => {
                format!("is {found}, of which no element fits")
            }
            Some(found) => format!("is {found}"),
        };
        let of = if self.of_array {
            " (in the first element of an array none of which fits)"
        } else {
            ""
        };
        let field = format!("{place} {is}{of}; the filter wants {wanted}");
        match self.alternatives {
            0 => field,
            1 => format!("the only alternative of $or does not fit: {field}"),
            count => {
                format!("none of the {count} alternatives of $or fits; of the first one, {field}")
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(value) => value.fmt(f),
            Self::Text(rule) => rule.fmt(f),
            Self::NotExactly(values) => write!(f, "anything but {}", listed(values)),
            Self::NotText(rules) => write!(f, "anything but {}", listed(rules)),
            Self::Numeric(range) => range.fmt(f),
            Self::Exists(true) => f.write_str("any value"),
            Self::Exists(false) => f.write_str("no value"),
            Self::Cidr(range) => write!(f, "an address in {range}"),
        }
    }
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::True => f.write_str("true"),
            Self::False => f.write_str("false"),
            Self::Number(number) => f.write_str(&cut(&number.to_string(), SHOWN_MAX)),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Unreadable => f.write_str("a string that is no Unicode text"),
        }
    }
}

impl fmt::Display for TextRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(text) => write!(f, "a string that begins with {}", quoted(text)),
            Self::Suffix(text) => write!(f, "a string that ends with {}", quoted(text)),
            Self::PrefixIgnoringCase(text) => {
                write!(f, "a string that begins with {}, in any case", quoted(text))
            }
            Self::SuffixIgnoringCase(text) => {
                write!(f, "a string that ends with {}, in any case", quoted(text))
            }
            Self::EqualsIgnoringCase(text) => write!(f, "{}, in any case", quoted(text)),
            Self::Wildcard(wildcard) => {
                write!(f, "a string like {}", quoted(&pattern_of(wildcard)))
            }
        }
    }
}

/// A wildcard as it is written.
fn pattern_of(wildcard: &Wildcard) -> String {
    let escaped = |part: &String| part.replace('\\', "\\\\").replace('*', "\\*");
    let parts = std::iter::once(&wildcard.first).chain(&wildcard.rest);
    parts.map(escaped).collect::<Vec<_>>().join("*")
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = |inside: bool, sign: &str| format!("{sign}{}", if inside { "=" } else { "" });
        match (&self.above, &self.below) {
            (Some((above, _)), Some((below, _))) if above == below => {
                write!(f, "the number {above}")
            }
            (Some((above, from)), Some((below, to))) => {
                let (from, to) = (bound(*from, ">"), bound(*to, "<"));
                write!(f, "a number {from} {above} and {to} {below}")
            }
            (Some((above, from)), None) => write!(f, "a number {} {above}", bound(*from, ">")),
            (None, Some((below, to))) => write!(f, "a number {} {below}", bound(*to, "<")),
            (None, None) => f.write_str("a number"),
        }
    }
}
