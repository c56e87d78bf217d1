//! One rule of a pattern, and the values that it is tried on.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;

use super::decimal::Decimal;
use crate::render::raw;

/// A value of an event that rules look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scalar<'a> {
    Null,
    True,
    False,
    Number(Decimal),
    Text(Cow<'a, str>),
    /// A string with lone surrogates, which Unicode text cannot hold: it is there, and equals nothing.
    Unreadable,
}

impl<'a> Scalar<'a> {
    /// Reads the text of one JSON value that is no array or object.
    pub(super) fn of(text: &'a str) -> Self {
        match text {
            "null" => Self::Null,
            "true" => Self::True,
            "false" => Self::False,
            _ => match Decimal::parse(text) {
                Some(number) => Self::Number(number),
                None => raw::string(text).map_or(Self::Unreadable, Self::Text),
            },
        }
    }

    /// The same value on its own.
    pub(super) fn into_owned(self) -> Scalar<'static> {
        match self {
            Self::Null => Scalar::Null,
            Self::True => Scalar::True,
            Self::False => Scalar::False,
            Self::Number(number) => Scalar::Number(number),
            Self::Text(text) => Scalar::Text(Cow::Owned(text.into_owned())),
            Self::Unreadable => Scalar::Unreadable,
        }
    }
}

/// A rule.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    /// This value.
    Exactly(Scalar<'static>),
    /// A string of this form.
    Text(TextRule),
    /// Anything that is there and is none of these values.
    NotExactly(Vec<Scalar<'static>>),
    /// Anything that is there and has none of these forms.
    NotText(Vec<TextRule>),
    /// A number between these bounds.
    Numeric(Range),
    /// Anything, or nothing.
    Exists(bool),
    /// A string that is an address in this range.
    Cidr(IpNet),
}

impl Rule {
    /// Whether a value that is there fits.
    pub(super) fn fits(&self, value: &Scalar<'_>) -> bool {
        let fits_text = |rule: &TextRule| match value {
            Scalar::Text(text) => rule.fits(text),
            _ => false,
        };
        match self {
            Self::Exactly(wanted) => same(wanted, value),
            Self::Text(rule) => fits_text(rule),
            Self::NotExactly(values) => !values.iter().any(|unwanted| same(unwanted, value)),
            Self::NotText(rules) => !rules.iter().any(fits_text),
            Self::Numeric(range) => match value {
                Scalar::Number(number) => range.contains(number),
                _ => false,
            },
            Self::Exists(exists) => *exists,
            Self::Cidr(range) => match value {
                Scalar::Text(text) => text
                    .parse::<IpAddr>()
                    .is_ok_and(|address| range.contains(&address)),
                _ => false,
            },
        }
    }

    /// Whether it fits where the event has nothing.
    pub(super) const fn fits_nothing(&self) -> bool {
        matches!(self, Self::Exists(false))
    }
}

fn same(wanted: &Scalar<'_>, value: &Scalar<'_>) -> bool {
    wanted == value && *value != Scalar::Unreadable
}

/// The form of a string.
#[derive(Clone, Debug)]
pub(super) enum TextRule {
    Prefix(String),
    Suffix(String),
    /// These three hold their text folded.
    PrefixIgnoringCase(String),
    SuffixIgnoringCase(String),
    EqualsIgnoringCase(String),
    Wildcard(Wildcard),
}

impl TextRule {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Self::PrefixIgnoringCase(prefix) => {
                let mut folded = fold(text);
                prefix.chars().all(|c| folded.next() == Some(c))
            }
            Self::SuffixIgnoringCase(suffix) => {
                fold(text).collect::<String>().ends_with(suffix.as_str())
            }
            Self::EqualsIgnoringCase(wanted) => fold(text).eq(wanted.chars()),
            Self::Wildcard(wildcard) => wildcard.fits(text),
        }
    }
}

/// A text's characters without the difference of upper and lower case (both mappings of Unicode, one
/// character at a time, so that beginnings and ends stay what they are).
pub(super) fn fold(text: &str) -> impl Iterator<Item = char> {
    text.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
}

/// A text with stars: literal parts, between which anything may stand.
#[derive(Clone, Debug)]
pub(super) struct Wildcard {
    pub(super) first: String,
    /// The parts after each star; the last one is at the end of a text. Empty: no star.
    pub(super) rest: Vec<String>,
}

impl Wildcard {
    /// Makes one of the parts between stars.
    pub(super) fn new(mut parts: Vec<String>) -> Self {
        let rest = parts.split_off(parts.len().min(1));
        Self {
            first: parts.pop().unwrap_or_default(),
            rest,
        }
    }

    /// The leftmost place for each part in turn is right whenever any is: no way back, so the time is
    /// linear.
    fn fits(&self, text: &str) -> bool {
        let Some((last, middle)) = self.rest.split_last() else {
            return text == self.first;
        };
        let Some(mut rest) = text.strip_prefix(self.first.as_str()) else {
            return false;
        };
        for part in middle {
            match rest.split_once(part.as_str()) {
                Some((_, behind)) => rest = behind,
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

/// Bounds of a number, each with whether it is inside.
#[derive(Clone, Debug, Default)]
pub(super) struct Range {
    pub(super) above: Option<(Decimal, bool)>,
    pub(super) below: Option<(Decimal, bool)>,
}

impl Range {
    pub(super) fn contains(&self, number: &Decimal) -> bool {
        let above = self
            .above
            .as_ref()
            .is_none_or(|(bound, inside)| number > bound || *inside && number == bound);
        let below = self
            .below
            .as_ref()
            .is_none_or(|(bound, inside)| number < bound || *inside && number == bound);
        above && below
    }
}
