//! The schemas of event types: each compiled where it is written, and inherited type by type.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;

use super::{Faults, event_type};
use crate::profile::Schema;

/// A schema and where its type stands in the table that has just been read; `None` where it is inherited.
#[derive(Clone, Debug)]
pub(in crate::profile) struct PlacedSchema {
    pub(in crate::profile) schema: Arc<Schema>,
    pub(in crate::profile) own: Option<Range<usize>>,
}

/// Reads a table of schemas, by type.
pub(super) fn read(
    raw: &BTreeMap<Spanned<String>, Spanned<String>>,
    faults: &mut Faults<'_>,
) -> BTreeMap<String, PlacedSchema> {
    let mut found = BTreeMap::new();
    for (name, text) in raw {
        let Some(event_type) = faults.take(name, event_type) else {
            continue;
        };
        let read = |text: &String| {
            Schema::read(text).map_err(|why| format!("the schema of `{event_type}`: {why}"))
        };
        if let Some(schema) = faults.take(text, read) {
            let own = Some(name.span());
            let schema = Arc::new(schema);
            found.insert(event_type, PlacedSchema { schema, own });
        }
    }
    found
}

/// Those of a parent.
pub(super) fn inherited(
    schemas: BTreeMap<String, PlacedSchema>,
) -> impl Iterator<Item = (String, PlacedSchema)> {
    let inherit = |(name, placed)| {
        (
            name,
            PlacedSchema {
                own: None,
                ..placed
            },
        )
    };
    schemas.into_iter().map(inherit)
}
