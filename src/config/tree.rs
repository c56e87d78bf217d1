//! The parsed text as a tree in which every value knows where it was written.
//!
//! Made once from what the TOML parser gives, so that values from the file and values from the
//! environment look alike to the reader. It knows no key's meaning.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// At these bytes of the file.
    File(Range<usize>),
    /// In this environment variable.
    Environment(String),
    /// Nowhere: it is the file as a whole that lacks something.
    Whole,
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Origin,
    pub(super) kind: Kind,
}

/// The entries of a table: each key with the place of the key, and the value.
pub(super) type Entries = BTreeMap<String, (Origin, Node)>;

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Text(String),
    /// `None`: a number beyond 64 bits.
    Integer(Option<i64>),
    Boolean(bool),
    /// Its digits, as any reader of numbers takes them.
    Float(String),
    Datetime,
    Array(Vec<Node>),
    Table(Entries),
}

impl Kind {
    /// The kind's name in messages.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "a whole number",
            Self::Boolean(_) => "true or false",
            Self::Float(_) => "a number with a fraction",
            Self::Datetime => "a date",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// The tree of a whole document.
pub(super) fn entries(table: &DeTable<'_>) -> Entries {
    entries_at(table, &Origin::File)
}

/// The tree of an environment variable's value: TOML where it is TOML, the text itself where it is not.
pub(super) fn from_environment(name: &str, value: &str) -> Node {
    let place = |_: Range<usize>| Origin::Environment(name.to_owned());
    match DeValue::parse(value) {
        Ok(parsed) => node_at(&parsed, &place),
        Err(_) => Node {
            at: place(0..0),
            kind: Kind::Text(value.to_owned()),
        },
    }
}

fn entries_at(table: &DeTable<'_>, place: &impl Fn(Range<usize>) -> Origin) -> Entries {
    table
        .iter()
        .map(|(key, value)| {
            let entry = (place(key.span()), node_at(value, place));
            (key.get_ref().to_string(), entry)
        })
        .collect()
}

fn node_at(value: &Spanned<DeValue<'_>>, place: &impl Fn(Range<usize>) -> Origin) -> Node {
    let kind = match value.get_ref() {
        DeValue::String(text) => Kind::Text(text.to_string()),
        DeValue::Integer(number) => {
            Kind::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
        }
        DeValue::Boolean(value) => Kind::Boolean(*value),
        DeValue::Float(number) => Kind::Float(number.as_str().replace('_', "")),
        DeValue::Datetime(_) => Kind::Datetime,
        DeValue::Array(items) => {
            Kind::Array(items.iter().map(|item| node_at(item, place)).collect())
        }
        DeValue::Table(table) => Kind::Table(entries_at(table, place)),
    };
    Node {
        at: place(value.span()),
        kind,
    }
}
