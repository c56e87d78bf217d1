//! (to be written)

use std::path::PathBuf;

/// What the store needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory.
    pub path: PathBuf,
    /// A segment is sealed at this size, bytes.
    pub segment_bytes_max: u64,
    /// A segment is sealed at this age, milliseconds.
    pub segment_age_max_ms: u64,
    /// sled's page cache, bytes.
    pub cache_bytes: u64,
    /// Transitions that may wait for the committer; beyond that intake answers 503.
    pub commit_queue_max: usize,
    /// Delete history older than this, milliseconds.
    pub retention_age_ms: u64,
    /// Delete the oldest history when the journal is over this size, bytes.
    pub retention_bytes: u64,
    /// Below this free disk space intake answers 507, bytes.
    pub disk_reserve_bytes: u64,
}
