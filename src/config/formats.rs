//! The formats that the config defines.
//!
//! A format's own fields are the render module's matter. Here its tables are taken out of the document with
//! their places, and what that module refuses is reported at its place in the file.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::de::{DeTable, ValueDeserializer};

use crate::render::{FormatError, Formats, RawFormat};

use super::profiles::{remedy, tables};
use super::report::Faults;
use super::tree::Origin;

/// Takes the `formats` table out of the document: all formats, the built-in ones among them.
pub(super) fn take(document: &mut DeTable<'_>, faults: &mut Faults<'_>) -> Formats {
    let mut places = BTreeMap::new();
    let mut written = BTreeMap::new();
    for (key, value) in tables(document, "formats", faults) {
        let (at, name) = (Origin::File(key.span()), key.into_inner().into_owned());
        let whole = value.span();
        match RawFormat::deserialize(ValueDeserializer::from(value)) {
            Ok(format) => {
                written.insert(name.clone(), format);
            }
            Err(error) => {
                let at = Origin::File(error.span().unwrap_or(whole));
                let field = format!("formats.{name}");
                let fix = remedy(error.message(), &field);
                faults.add(&at, &field, error.message(), fix);
            }
        }
        places.insert(name, at);
    }
    Formats::build(&written).unwrap_or_else(|errors| {
        for error in errors {
            report(&error, &places, faults);
        }
        Formats::built_in()
    })
}

/// Reports what the render module refused. Its messages put the fix behind a semicolon.
fn report(error: &FormatError, places: &BTreeMap<String, Origin>, faults: &mut Faults<'_>) {
    let at = match &error.span {
        Some(span) => Origin::File(span.clone()),
        None => places.get(&error.format).cloned().unwrap_or(Origin::Whole),
    };
    let field = format!("formats.{}", error.format);
    let (problem, fix) = error
        .message
        .split_once("; ")
        .unwrap_or((error.message.as_str(), "correct the format"));
    faults.add(&at, &field, problem, fix);
}
