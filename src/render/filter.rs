//! Filters: event patterns as Amazon EventBridge defines them, matched against an event's JSON text.
//!
//! A pattern has the shape of the events that it fits. Each field is named in it with an array of rules,
//! of which one must fit; all fields must fit:
//! `{"data": {"type": ["BugAnalysis"], "payload": {"severity": ["Critical", "High"]}}}`. A rule is an exact
//! value or one of `prefix`, `suffix`, `equals-ignore-case`, `anything-but`, `numeric`, `exists`,
//! `wildcard` and `cidr`; `$or` takes patterns of which one must fit
//! (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>).
//!
//! Where an event has an array, one element must fit; of a pattern inside an array of objects, all fields
//! must fit in the same element, and what `exists: false` says is said of that element. As there, rules look
//! at strings, numbers, true, false and null only: for `exists`, an object or an empty array is not there.
//! Better than there: numbers are compared as exact decimals of any size, so `300`, `300.0` and `3e2` are
//! equal and integers beyond 2^53 are told apart.
//!
//! Matching is total, takes time in proportion to the event, and builds no tree of it.

mod decimal;
mod parse;
mod rule;
mod subject;
#[cfg(test)]
mod tests;
mod words;

use crate::model::Event;

use rule::{Rule, Scalar};
pub use subject::Subject;
use subject::{Kind, Members, elements};

/// A pattern's text may have this many bytes: it is kept in memory with its webhook, and EventBridge's
/// own bound is the same.
pub const BYTES_MAX: usize = 4 * 1024;
/// How deep a pattern may nest: each level is one more look at the same bytes of an event.
pub const DEPTH_MAX: usize = 16;
/// Rules in one pattern, list entries of `anything-but` included: each is tried on each value of its field.
pub const RULES_MAX: usize = 100;
/// Stars in one wildcard: each is one search in the rest of a value.
pub const STARS_MAX: usize = 20;

/// One thing that is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {message}")]
pub struct FilterError {
    /// Where in the pattern: an RFC 6901 pointer, empty for the pattern as a whole.
    pub pointer: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// A parsed event pattern.
#[derive(Clone, Debug)]
pub struct Filter {
    root: Pattern,
    rules: usize,
}

/// Fields and alternatives that must all fit.
#[derive(Clone, Debug)]
struct Pattern {
    fields: Vec<Field>,
    alternatives: Vec<Alternatives>,
}

#[derive(Clone, Debug)]
struct Field {
    /// With its quotes, as the stable form writes it.
    key: String,
    pointer: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Inside(Pattern),
    Value(Vec<Rule>),
}

/// A `$or`: one of these must fit.
#[derive(Clone, Debug)]
struct Alternatives {
    pointer: String,
    any: Vec<Pattern>,
}

/// Why an event does not fit: the first field of the pattern that does not. Its words are in `words`.
#[derive(Debug, Clone, Copy)]
pub struct Mismatch<'a> {
    /// Where in the pattern: an RFC 6901 pointer. Of a `$or` none of whose alternatives fits, its own.
    pub pointer: &'a str,
    /// Where in the pattern the field is; of a `$or`, the first alternative's.
    field: &'a str,
    /// Its rules.
    rules: &'a [Rule],
    /// What the event has there.
    found: Option<&'a str>,
    /// Whether that is one element of an array, the first of those that do not fit.
    of_array: bool,
    /// How many alternatives there are, where none of them fits; else 0.
    alternatives: usize,
}

impl Filter {
    /// Parses a pattern.
    ///
    /// # Errors
    /// Everything that is wrong with it, each at its place.
    pub fn parse(text: &str) -> Result<Self, Vec<FilterError>> {
        parse::parse(text).map(|(root, rules)| Self { root, rules })
    }

    /// How many rules it has: each may be tried on each value of an event.
    #[must_use]
    pub const fn rules(&self) -> usize {
        self.rules
    }

    /// Whether an event fits.
    #[must_use]
    pub fn matches(&self, event: &Subject<'_>) -> bool {
        self.check(event).is_ok()
    }

    /// As [`Filter::matches`], and says what does not fit.
    ///
    /// # Errors
    /// [`Mismatch`] names the first field of the pattern that does not fit.
    pub fn check<'a>(&'a self, event: &'a Subject<'_>) -> Result<(), Mismatch<'a>> {
        self.root.check(Some(event.text()), event, true)
    }

    /// What keeps an event out: nothing exactly where [`Filter::matches`].
    #[must_use]
    pub fn why_not<'a>(&'a self, event: &'a Subject<'_>) -> Option<Mismatch<'a>> {
        self.check(event).err()
    }
}

impl Pattern {
    /// Whether the value at its place fits, `None` where the event has nothing there. `shared`: no array is
    /// above it, so it is looked at once for all filters.
    fn check<'a>(
        &'a self,
        value: Option<&'a str>,
        event: &'a Subject<'_>,
        shared: bool,
    ) -> Result<(), Mismatch<'a>> {
        let Some((text, Kind::Array)) = value.map(|text| (text, Kind::of(text))) else {
            return self.check_one(value, event, shared);
        };
        let mut first = None;
        for element in elements(text) {
            match self.check_one(Some(element), event, false) {
                Ok(()) => return Ok(()),
                Err(mismatch) => {
                    let of_array = true;
                    first = first.or(Some(Mismatch {
                        of_array,
                        ..mismatch
                    }));
                }
            }
        }
        match first {
            Some(mismatch) => Err(mismatch),
            None => self.check_one(None, event, shared),
        }
    }

    fn check_one<'a>(
        &'a self,
        value: Option<&'a str>,
        event: &'a Subject<'_>,
        shared: bool,
    ) -> Result<(), Mismatch<'a>> {
        let members = value
            .filter(|text| Kind::of(text) == Kind::Object)
            .map(|text| event.members(text, shared));
        self.check_members(members.as_ref(), event, shared)
    }

    /// As [`Pattern::check_one`], for the members of an object, found once for all alternatives.
    fn check_members<'a>(
        &'a self,
        members: Option<&Members<'a>>,
        event: &'a Subject<'_>,
        shared: bool,
    ) -> Result<(), Mismatch<'a>> {
        for field in &self.fields {
            let value = members.and_then(|members| members.find(&field.key));
            match &field.test {
                Test::Inside(pattern) => pattern.check(value, event, shared)?,
                Test::Value(rules) if fits(rules, value) => {}
                Test::Value(rules) => {
                    return Err(Mismatch {
                        pointer: &field.pointer,
                        field: &field.pointer,
                        rules,
                        found: value,
                        of_array: false,
                        alternatives: 0,
                    });
                }
            }
        }
        for alternatives in &self.alternatives {
            alternatives.check(members, event, shared)?;
        }
        Ok(())
    }
}

impl Alternatives {
    fn check<'a>(
        &'a self,
        members: Option<&Members<'a>>,
        event: &'a Subject<'_>,
        shared: bool,
    ) -> Result<(), Mismatch<'a>> {
        let mut first = None;
        for pattern in &self.any {
            match pattern.check_members(members, event, shared) {
                Ok(()) => return Ok(()),
                Err(mismatch) => first = first.or(Some(mismatch)),
            }
        }
        let (pointer, alternatives) = (self.pointer.as_str(), self.any.len());
        Err(match first {
            Some(mismatch) => Mismatch {
                pointer,
                alternatives,
                ..mismatch
            },
            // A `$or` without alternatives is refused when a pattern is parsed.
            None => Mismatch {
                pointer,
                field: pointer,
                rules: &[],
                found: None,
                of_array: false,
                alternatives,
            },
        })
    }
}

/// Whether one of the rules fits what the event has.
fn fits(rules: &[Rule], value: Option<&str>) -> bool {
    let mut some = false;
    // `elements` of a value that is no array is that value.
    for element in value.into_iter().flat_map(elements) {
        if Kind::of(element) == Kind::Object {
            continue;
        }
        some = true;
        let scalar = Scalar::of(element);
        if rules.iter().any(|rule| rule.fits(&scalar)) {
            return true;
        }
    }
    !some && rules.iter().any(Rule::fits_nothing)
}

/// An event's text as filters see it:
/// `{"id", "type", "created_at", "<scope field>", "data", "metadata"}`, with `created_at` as the API shows it,
/// null for no scope and `{}` for no metadata.
#[must_use]
pub fn event_text(event: &Event, scope_field: &str) -> String {
    let mut text = String::with_capacity(event.data.len() + 256);
    let mut member = |key: &str, value: &dyn Fn(&mut String)| {
        text.push(if text.is_empty() { '{' } else { ',' });
        super::ecma::quote(key, &mut text);
        text.push(':');
        value(&mut text);
    };
    let quote = super::ecma::quote;
    member("id", &|out| quote(event.id.as_str(), out));
    member("type", &|out| quote(&event.event_type, out));
    member("created_at", &|out| {
        quote(&event.created_at.rfc3339(6), out)
    });
    member(scope_field, &|out| match &event.scope {
        Some(scope) => quote(scope, out),
        None => out.push_str("null"),
    });
    member("data", &|out| out.push_str(&event.data));
    member("metadata", &|out| {
        out.push_str(event.metadata.as_deref().unwrap_or("{}"));
    });
    text.push('}');
    text
}
