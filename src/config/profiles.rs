//! The profiles that the config defines, and the names that an account may use.
//!
//! A profile's own fields are the profile module's matter. Here its tables are taken out of the document
//! with their places, and what that module refuses is reported at its place in the file.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};

use crate::profile::{ProfileError, Profiles, RawProfile};
use crate::render::compile_all;

use super::report::Faults;
use super::tree::Origin;

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
            report(&error, &written.places, faults);
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
fn shape(name: &str, value: Spanned<DeValue<'_>>, faults: &mut Faults<'_>) -> Option<RawProfile> {
    let whole = value.span();
    match RawProfile::deserialize(ValueDeserializer::from(value)) {
        Ok(profile) => Some(profile),
        Err(error) => {
            let at = Origin::File(error.span().unwrap_or(whole));
            let field = format!("profiles.{name}");
            let fix = format!("correct the field in [{field}]");
            faults.add(&at, &field, error.message(), fix);
            None
        }
    }
}

/// Reports what the profile module refused. Its messages put the fix behind a semicolon.
fn report(error: &ProfileError, places: &BTreeMap<String, Origin>, faults: &mut Faults<'_>) {
    let at = match &error.span {
        Some(span) => Origin::File(span.clone()),
        None => places.get(&error.profile).cloned().unwrap_or(Origin::Whole),
    };
    let field = format!("profiles.{}", error.profile);
    let (problem, fix) = error
        .message
        .split_once("; ")
        .unwrap_or((error.message.as_str(), "correct the profile"));
    faults.add(&at, &field, problem, fix);
}
