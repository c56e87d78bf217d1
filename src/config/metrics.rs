//! `[metrics]`: who may read the metrics, and how many webhooks they name.

use super::reader::Reader;
use super::values::parse_hash;

/// The old one and the new one, while one takes the place of the other.
const HASHES_MAX: usize = 2;
/// Six series each; far more than fit on a dashboard.
const WEBHOOKS_MAX: usize = 1_000;

/// What `/metrics` needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsOptions {
    /// Webhooks that are named.
    pub webhooks_max: usize,
    /// The SHA-256 of the key that is asked for; two while one takes the other's place, none: everybody may read.
    pub key: Vec<[u8; 32]>,
}

/// Reads the section.
pub(super) fn read(mut reader: Reader<'_, '_>) -> MetricsOptions {
    let webhooks_max = reader.count("webhooks_max", 100, 0..=WEBHOOKS_MAX);
    let hashes = reader.text_or_texts("hash");
    if let Some(over) = hashes.get(HASHES_MAX).cloned() {
        let fix = "keep the old one and the new one";
        reader.refuse(&over, "is one more than there may be", fix);
    }
    let key = hashes
        .iter()
        .filter_map(|text| reader.checked(text, parse_hash(&text.value)))
        .collect();
    reader.finish();
    MetricsOptions {
        webhooks_max: webhooks_max.value,
        key,
    }
}
