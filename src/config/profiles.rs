//! The profiles that the config defines, and the names that an account may use.
//!
//! A profile's own fields are the profile module's matter. Here its tables are taken out of the document
//! with their places, and what that module refuses is reported at its place in the file.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};

use crate::model::did_you_mean;
use crate::profile::{ProfileError, Profiles, RawProfile, value_errors};
use crate::render::compile_all;

use super::report::Faults;
use super::tree::Origin;

/// Wrong names and shapes that are reported of one profile: more than it has fields.
const SHAPE_ERRORS_MAX: usize = 64;

/// The names that an account may use as its profile.
#[derive(Debug)]
pub(super) struct Known(Vec<String>);

impl Known {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// The profiles as the file has them.
#[derive(Debug, Default)]
struct Written {
    /// Where each one's name stands.
    places: BTreeMap<String, Origin>,
    /// What each one extends.
    extends: BTreeMap<String, String>,
    /// Those that have the right shape.
    tables: BTreeMap<String, RawProfile>,
}

/// Takes the `profiles` table out of the document: all profiles, the built-in ones among them, and their
/// names. A definition with faults counts as a name: an account that uses it is not at fault.
pub(super) fn take(document: &mut DeTable<'_>, faults: &mut Faults<'_>) -> (Profiles, Known) {
    let mut written = Written::default();
    for (key, value) in tables(document, "profiles", faults) {
        let (at, name) = (Origin::File(key.span()), key.into_inner().into_owned());
        if let Some(parent) = value.get_ref().get("extends")
            && let Some(parent) = parent.get_ref().as_str()
        {
            written.extends.insert(name.clone(), parent.to_owned());
        }
        if let Some(table) = shape(&name, value, faults) {
            written.tables.insert(name.clone(), table);
        }
        written.places.insert(name, at);
    }
    written.leave_out_what_rests_on_faults();
    let built_in = Profiles::built_in();
    let mut names: Vec<String> = built_in.names().map(str::to_owned).collect();
    let defined = written
        .places
        .keys()
        .filter(|name| built_in.get(name).is_none());
    names.extend(defined.cloned());
    let profiles = Profiles::build(written.tables).and_then(|profiles| {
        // A body template that does not compile is the operator's to mend, here and not at the first start.
        compile_all(&profiles).map(|_| profiles)
    });
    let profiles = profiles.unwrap_or_else(|errors| {
        for error in errors {
            let place = written.places.get(&error.profile);
            report(&error, place.unwrap_or(&Origin::Whole), faults);
        }
        built_in
    });
    (profiles, Known(names))
}

impl Written {
    /// A profile that extends one without the right shape cannot be judged yet: it would be told that
    /// its parent is unknown.
    fn leave_out_what_rests_on_faults(&mut self) {
        loop {
            let before = self.tables.len();
            let left: Vec<String> = self.tables.keys().cloned().collect();
            self.tables.retain(|name, _| {
                let parent = self.extends.get(name);
                parent
                    .is_none_or(|parent| !self.places.contains_key(parent) || left.contains(parent))
            });
            if self.tables.len() == before {
                return;
            }
        }
    }
}

/// Takes the table `name` out of the document, and gives each of its entries, which are tables themselves.
pub(super) fn tables<'i>(
    document: &mut DeTable<'i>,
    name: &str,
    faults: &mut Faults<'_>,
) -> Vec<(Spanned<DeString<'i>>, Spanned<DeValue<'i>>)> {
    let Some(value) = document.remove(name) else {
        return Vec::new();
    };
    let at = Origin::File(value.span());
    match value.into_inner() {
        DeValue::Table(table) => table.into_iter().collect(),
        other => {
            let problem = format!("must be a table, but is of type {}", other.type_str());
            let fix = format!("write each as a table of its own: [{name}.NAME]");
            faults.add(&at, name, problem, fix);
            Vec::new()
        }
    }
}

/// Reads one definition's fields. The spans of what fails are those of the config file.
///
/// The reader stops at the first entry that has a wrong name or shape. So that is reported and taken out, and
/// the rest is read again: one check names all mistakes.
fn shape(
    name: &str,
    mut value: Spanned<DeValue<'_>>,
    faults: &mut Faults<'_>,
) -> Option<RawProfile> {
    let (field, whole) = (format!("profiles.{name}"), value.span());
    // Each round takes one entry out or is the last; a definition with more mistakes is not one.
    for round in 0..SHAPE_ERRORS_MAX {
        let error = match RawProfile::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(profile) if round == 0 => return Some(profile),
            Ok(rest) => {
                // What remains is judged value by value: what goes together is not known yet.
                for error in value_errors(name, &rest) {
                    report(&error, &Origin::File(whole.clone()), faults);
                }
                return None;
            }
            Err(error) => error,
        };
        let span = error.span().unwrap_or_else(|| value.span());
        // What is missing may be what was just taken out, under a wrong name.
        if round == 0 || !error.message().starts_with("missing field") {
            let fix = remedy(error.message(), &field);
            faults.add(&Origin::File(span.clone()), &field, error.message(), fix);
        }
        // Without its parent a profile cannot be judged.
        let parent = value.get_ref().get("extends").map(Spanned::span);
        if parent.is_some_and(|parent| parent == span) || !take_out(value.get_mut(), &span) {
            return None;
        }
    }
    None
}

/// What to do about what the reader of a definition refused. Of an unknown field it names the known ones, each in
/// backquotes, behind the unknown one.
pub(super) fn remedy(message: &str, field: &str) -> String {
    let correct = format!("correct the field in [{field}]");
    let mut words = message.split('`').skip(1).step_by(2);
    let hint = match words.next() {
        Some(unknown) if message.starts_with("unknown field") => did_you_mean(unknown, words),
        _ => String::new(),
    };
    format!("{hint}{correct}")
}

/// Removes the entry whose key, value or list's item stands at `span`; says whether there was one. How deep
/// tables lie in each other is bounded by the TOML parser.
fn take_out(value: &mut DeValue<'_>, span: &Range<usize>) -> bool {
    let at = |value: &Spanned<DeValue<'_>>| value.span() == *span;
    match value {
        DeValue::Table(table) => {
            let wrong = table.iter().find(|(key, value)| {
                let items = value.get_ref().as_array();
                key.span() == *span || at(value) || items.is_some_and(|items| items.iter().any(at))
            });
            let wrong = wrong.map(|(key, _)| key.get_ref().to_string());
            match wrong {
                Some(key) => table.remove(key.as_str()).is_some(),
                None => table
                    .iter_mut()
                    .any(|(_, value)| take_out(value.get_mut(), span)),
            }
        }
        DeValue::Array(items) => items.iter_mut().any(|item| take_out(item.get_mut(), span)),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => false,
    }
}

/// Reports what the profile module refused, at `place` where it names none. Its messages put the fix behind a
/// semicolon.
fn report(error: &ProfileError, place: &Origin, faults: &mut Faults<'_>) {
    let at = match &error.span {
        Some(span) => Origin::File(span.clone()),
        None => place.clone(),
    };
    let field = format!("profiles.{}", error.profile);
    let (problem, fix) = error
        .message
        .split_once("; ")
        .unwrap_or((error.message.as_str(), "correct the profile"));
    faults.add(&at, &field, problem, fix);
}
