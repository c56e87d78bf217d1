//! The profiles that the config defines, and the names that an account may use.
//!
//! A profile's own fields are the profile module's matter: here a definition is taken as written, and
//! what fails is reported with its place in the file.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};

use crate::model::AccountName;

use super::report::Faults;
use super::tree::Origin;

/// The names of the profiles that come with the program.
const BUILT_IN: [&str; 6] = [
    "standard",
    "driftlock",
    "anomalyarmor",
    "dataflow",
    "flock",
    "driftguard",
];

/// A profile as the config defines it: `[profiles.NAME]`, with the fields as written.
pub type RawProfile = toml::Table;

/// The names that an account may use as its profile.
#[derive(Debug)]
pub(super) struct Known(Vec<String>);

impl Known {
    /// The built-in names and the defined ones. A definition that has faults counts: an account that
    /// names it is not at fault.
    fn new(defined: Vec<String>) -> Self {
        Self(
            BUILT_IN
                .into_iter()
                .map(str::to_owned)
                .chain(defined)
                .collect(),
        )
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Takes the `profiles` table out of the document: the definitions, and all names that can be used.
pub(super) fn take(
    document: &mut DeTable<'_>,
    faults: &mut Faults<'_>,
) -> (BTreeMap<String, RawProfile>, Known) {
    let mut defined = Vec::new();
    let mut profiles = BTreeMap::new();
    for (key, value) in tables(document, faults) {
        let (at, name) = (Origin::File(key.span()), key.into_inner().into_owned());
        let field = format!("profiles.{name}");
        if BUILT_IN.contains(&name.as_str()) {
            let fix = format!("choose another name, and in it write extends = \"{name}\"");
            faults.add(&at, &field, "is the name of a built-in profile", fix);
        } else if AccountName::new(&name).is_err() {
            let fix = "use 1 to 64 characters of a-z, 0-9, `_` and `-`";
            faults.add(&at, &field, "cannot be a profile's name", fix);
        } else {
            defined.push(name.clone());
            if let Some(profile) = define(&field, value, faults) {
                profiles.insert(name, profile);
            }
        }
    }
    (profiles, Known::new(defined))
}

/// Each entry of the `profiles` table.
fn tables<'i>(
    document: &mut DeTable<'i>,
    faults: &mut Faults<'_>,
) -> Vec<(Spanned<DeString<'i>>, Spanned<DeValue<'i>>)> {
    let Some(value) = document.remove("profiles") else {
        return Vec::new();
    };
    let at = Origin::File(value.span());
    match value.into_inner() {
        DeValue::Table(table) => table.into_iter().collect(),
        other => {
            let problem = format!("must be a table, but is of type {}", other.type_str());
            let fix = "write each profile as a table of its own: [profiles.NAME]";
            faults.add(&at, "profiles", problem, fix);
            Vec::new()
        }
    }
}

/// Reads one definition. The spans of what fails are those of the config file.
fn define(field: &str, value: Spanned<DeValue<'_>>, faults: &mut Faults<'_>) -> Option<RawProfile> {
    let whole = value.span();
    match RawProfile::deserialize(ValueDeserializer::from(value)) {
        Ok(profile) => Some(profile),
        Err(error) => {
            let at = Origin::File(error.span().unwrap_or(whole));
            let fix = format!("write it below a header [{field}]");
            faults.add(&at, field, error.message(), fix);
            None
        }
    }
}
