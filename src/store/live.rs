//! The live state: what is pending, the registry, and how far the journal is applied.
//!
//! sled needs only to be a consistent prefix of the journal. So changes go to an overlay in memory first. From
//! time to time the overlay is frozen, a new one begins, and the frozen one goes to sled as one batch, which also
//! moves `applied`. A delivery that is accepted and ended before its overlay is frozen never touches sled.
//!
//! Invariants:
//! - Overlay, frozen overlay and sled together are the journal up to `applied` (of the overlay). The newer wins.
//! - Only the committer, and recovery before it starts, change anything; what was frozen is given to sled by one
//!   thread at a time. Readers may come at any time: sled is given the batch first and the frozen overlay goes
//!   after, so what they merge is the same at every instant.
//! - A queue key that sled does not hold leaves nothing behind when it goes.
//! - sled's files may be damaged where nobody has looked yet. Whoever meets that first, by an error or a panic
//!   of sled's, leaves a mark beside them ([`super::suspect`]): nothing more is read from them or written to
//!   them, the store fails, and the next start makes sled anew from the journal.

mod overlay;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::model::{Job, JobId, Position, QueueEntry, SteadyMillis, WebhookId};

use super::Error;
use super::apply::{Change, QueueKey, QueueValue};
use super::codec;
use super::error::sled_at;
use super::keys;
use super::record::Row;
use super::suspect::Suspect;
use super::table::{Batch, Table};
use overlay::{Overlay, Slot};

/// How many keys go to sled in one batch while it is being made again.
const PART_KEYS: usize = 4096;
/// Queue keys that a walk looks at in one go. Writers wait for as long as that takes: a millisecond, by what sled has
/// to read from its file.
const WALK_STEP: usize = if cfg!(test) { 3 } else { 1024 };

/// Overlay and sled as one.
pub(super) struct Live {
    db: Table,
    /// Where sled's files are, for errors.
    path: PathBuf,
    overlay: RwLock<Overlay>,
    suspect: Suspect,
    /// The lock on the data directory, held as long as anything here is read or written.
    lock: Option<File>,
}

/// What sled is given as one batch.
#[derive(Debug)]
struct Frozen {
    queue: BTreeMap<QueueKey, Slot>,
    /// Registry rows that changed, encoded; `None`: it goes.
    rows: Vec<(WebhookId, Option<Vec<u8>>)>,
    /// Jobs that changed, encoded; `None`: it goes.
    jobs: Vec<(JobId, Option<Vec<u8>>)>,
    counts: Vec<(u32, i64)>,
    /// Counts of webhooks; where it is zero it goes.
    waiting: Vec<(WebhookId, i64)>,
    /// `None`: sled is being made again, and not whole with this.
    applied: Option<(Position, SteadyMillis)>,
}

impl Live {
    /// Reads what is not in the queue: the registry, the counts, `applied`.
    pub(super) fn load(db: Table, suspect: Suspect) -> Result<Self, Error> {
        let path = suspect.registry();
        let path = path.as_path();
        let (mut overlay, mut counts_webhooks) = (Overlay::default(), true);
        if let Some(meta) = db.get(keys::META).map_err(sled_at(path))? {
            let meta = keys::parse_meta(&meta).ok_or(Error::Broken("meta row"))?;
            (overlay.applied, overlay.steady) = (Some(meta.applied), meta.steady);
            counts_webhooks = meta.counts_webhooks;
        }
        for count in db.scan_prefix(keys::WAITING) {
            let (key, value) = count.map_err(sled_at(path))?;
            let (webhook, count) =
                keys::parse_waiting(&key, &value).ok_or(Error::Broken("pending count"))?;
            overlay.waiting.load(webhook, count);
        }
        for count in db.scan_prefix(keys::COUNTS) {
            let (key, value) = count.map_err(sled_at(path))?;
            let (segment, count) =
                keys::parse_count(&key, &value).ok_or(Error::Broken("pending count"))?;
            overlay.counts.insert(segment, count);
        }
        let mut parts: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for part in db.scan_prefix(keys::ROWS) {
            let (key, value) = part.map_err(sled_at(path))?;
            let webhook = key.get(..17).ok_or(Error::Broken("registry key"))?;
            parts
                .entry(webhook.to_vec())
                .or_default()
                .extend_from_slice(&value);
        }
        for bytes in parts.values() {
            let row = codec::decode_row(bytes)?;
            overlay.rows.insert(row.webhook.id, row);
        }
        for job in db.scan_prefix(keys::JOBS) {
            let job = codec::decode_job(&job.map_err(sled_at(path))?.1)?;
            overlay.jobs.insert(job.id, job);
        }
        let live = Self {
            db,
            path: path.to_owned(),
            overlay: RwLock::new(overlay),
            suspect,
            lock: None,
        };
        if !counts_webhooks {
            live.recount(false)?;
        }
        Ok(live)
    }

    /// Keeps the lock on the data directory for as long as anything reads or writes here.
    pub(super) fn hold(&mut self, lock: File) {
        self.lock = Some(lock);
    }

    /// Whether the directory at `path` is still the one whose lock is held.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let Some(held) = self.lock.as_ref().and_then(|lock| lock.metadata().ok()) else {
            return true;
        };
        let there = std::fs::metadata(path.join("lock"));
        there.is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino()))
    }

    /// Makes changes, and moves `applied` to the position after the record they come from. Without a position
    /// sled is being made again and not yet whole: until there is one, what is flushed is not taken for it.
    pub(super) fn merge(
        &self,
        changes: Vec<Change>,
        applied: Option<Position>,
        steady: SteadyMillis,
    ) {
        let mut overlay = self.write();
        for change in changes {
            overlay.change(change);
        }
        overlay.applied = applied.or(overlay.applied);
        overlay.steady = overlay.steady.max(steady);
        overlay.dirty = true;
    }

    /// What makes sled suspect, if anything has.
    pub(super) const fn suspect(&self) -> &Suspect {
        &self.suspect
    }

    /// Freezes the overlay and gives it to sled, and before it what was frozen and not given.
    pub(super) fn flush(&self) -> Result<(), Error> {
        self.give()?;
        self.freeze()?;
        self.give().map(drop)
    }

    /// Freezes the overlay, if anything is new in it and none is frozen.
    pub(super) fn freeze(&self) -> Result<(), Error> {
        let mut overlay = self.write();
        if !overlay.dirty || overlay.frozen.is_some() {
            return Ok(());
        }
        let row = |webhook: &WebhookId| {
            let row = overlay.rows.get(webhook).map(codec::encode_row);
            Ok((*webhook, row.transpose()?))
        };
        let rows: Result<Vec<_>, Error> = overlay.dirty_rows.iter().map(row).collect();
        let job = |id: &JobId| {
            let job = overlay.jobs.get(id).map(codec::encode_job);
            Ok((*id, job.transpose()?))
        };
        let jobs: Result<Vec<_>, Error> = overlay.dirty_jobs.iter().map(job).collect();
        let count = |segment: &u32| overlay.counts.get(segment).copied().unwrap_or_default();
        let counts = overlay.dirty_counts.iter().map(|one| (*one, count(one)));
        let frozen = Frozen {
            rows: rows?,
            jobs: jobs?,
            counts: counts.collect(),
            waiting: overlay.waiting.changed(),
            applied: overlay.applied.map(|applied| (applied, overlay.steady)),
            queue: std::mem::take(&mut overlay.queue),
        };
        overlay.frozen = Some(Arc::new(frozen));
        overlay.dirty_rows.clear();
        overlay.dirty_jobs.clear();
        overlay.dirty_counts.clear();
        overlay.counts.retain(|_, count| *count != 0);
        overlay.dirty = false;
        Ok(())
    }

    /// Gives what was frozen to sled as one batch, which sled holds in memory until it writes it; as long as sled is
    /// being made again and is not whole, it need not be one. Gives how far sled is applied then, if it was moved.
    pub(super) fn give(&self) -> Result<Option<Position>, Error> {
        let Some(frozen) = self.read().frozen.clone() else {
            return Ok(None);
        };
        self.suspect.watch(|| self.give_to_sled(&frozen))?;
        Ok(frozen.applied.map(|(applied, _)| applied))
    }

    fn give_to_sled(&self, frozen: &Frozen) -> Result<(), Error> {
        let mut queue = frozen.queue.iter().peekable();
        if frozen.applied.is_none() {
            while queue.peek().is_some() {
                let mut batch = self.db.batch();
                for (key, slot) in queue.by_ref().take(PART_KEYS) {
                    put(&mut batch, key, slot);
                }
                self.db.apply_batch(batch).map_err(sled_at(&self.path))?;
                self.collect_garbage(PART_KEYS)?;
            }
        }
        let mut batch = self.db.batch();
        let mut changes = 1;
        for (key, slot) in queue {
            put(&mut batch, key, slot);
            changes += 1;
        }
        for (webhook, row) in &frozen.rows {
            for part in self.db.scan_prefix(keys::row_prefix(*webhook)) {
                batch.remove(part.map_err(sled_at(&self.path))?.0);
                changes += 1;
            }
            for (key, part) in row.iter().flat_map(|row| keys::row_parts(*webhook, row)) {
                batch.insert(key, part);
                changes += 1;
            }
        }
        for (job, bytes) in &frozen.jobs {
            match bytes {
                Some(bytes) => batch.insert(keys::job_key(*job), &bytes[..]),
                None => batch.remove(keys::job_key(*job)),
            }
            changes += 1;
        }
        for (segment, count) in &frozen.counts {
            match count {
                0 => batch.remove(&keys::count_key(*segment)[..]),
                count => batch.insert(&keys::count_key(*segment)[..], &count.to_be_bytes()[..]),
            }
        }
        for (webhook, count) in &frozen.waiting {
            match count {
                0 => batch.remove(&keys::waiting_key(*webhook)[..]),
                count => {
                    batch.insert(&keys::waiting_key(*webhook)[..], &count.to_be_bytes()[..]);
                }
            }
            changes += 1;
        }
        if let Some((applied, steady)) = frozen.applied {
            batch.insert(keys::META, &keys::meta_value(applied, steady)[..]);
        }
        self.db.apply_batch(batch).map_err(sled_at(&self.path))?;
        self.write().frozen = None;
        self.collect_garbage(changes)
    }

    /// sled collects its garbage some steps at a time, as threads enter it, and a batch enters once. Without
    /// this, a batch of thousands leaves about 3 kB for each key in memory, for ever (measured).
    fn collect_garbage(&self, changes: usize) -> Result<(), Error> {
        for _ in 0..changes {
            self.db.get(keys::META).map_err(sled_at(&self.path))?;
        }
        Ok(())
    }

    /// Writes what sled holds in memory to its file.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.suspect.watch(|| {
            self.db.flush().map_err(sled_at(&self.path))?;
            Ok(())
        })
    }

    /// The pending delivery under `key`.
    pub(super) fn pending(&self, key: &QueueKey) -> Result<Option<QueueValue>, Error> {
        let in_memory = self.read().slot(key);
        if let Some(slot) = in_memory {
            return Ok(slot.value);
        }
        self.suspect.watch(|| {
            let found = self.db.get(keys::queue_key(key));
            match found.map_err(sled_at(&self.path))? {
                Some(bytes) => keys::parse_queue_value(&bytes)
                    .map(Some)
                    .ok_or(Error::Broken("queue value")),
                None => Ok(None),
            }
        })
    }

    /// Shows pending deliveries with keys from `low` to `high`, in order, until `see` breaks. Each [`WALK_STEP`] of
    /// them are as they are at one instant; a delivery that moves meanwhile may be shown twice, or be missed.
    pub(super) fn walk(
        &self,
        low: QueueKey,
        high: QueueKey,
        mut see: impl FnMut(QueueKey, QueueValue) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut next = Some(low);
        while let Some(low) = next {
            let step = self.suspect.watch(|| self.walk_step(low, high, &mut see));
            next = step?;
        }
        Ok(())
    }

    /// Shows the first of them, and gives where to go on, if there is more.
    fn walk_step(
        &self,
        low: QueueKey,
        high: QueueKey,
        mut see: impl FnMut(QueueKey, QueueValue) -> ControlFlow<()>,
    ) -> Result<Option<QueueKey>, Error> {
        let mut looked_at = 0;
        let overlay = self.read();
        let mut newer = overlay.range(low, high).peekable();
        let stored = self
            .db
            .range(keys::queue_key(&low)..=keys::queue_key(&high));
        let mut stored = stored
            .map(|item| parse_stored(item.map_err(sled_at(&self.path))?))
            .peekable();
        loop {
            let next_stored = match stored.peek() {
                Some(Ok((key, _))) => Some(*key),
                Some(Err(_)) => match stored.next() {
                    Some(Err(error)) => return Err(error),
                    _ => None,
                },
                None => None,
            };
            let next_newer = newer.peek().map(|(key, _)| *key);
            let (key, value) = match (next_newer, next_stored) {
                (None, None) => return Ok(None),
                _ if looked_at == WALK_STEP => {
                    return Ok(next_newer.into_iter().chain(next_stored).min());
                }
                (Some(newer_key), stored_key) if stored_key.is_none_or(|key| newer_key <= key) => {
                    if stored_key == Some(newer_key) {
                        stored.next();
                    }
                    (newer_key, newer.next().and_then(|(_, slot)| slot.value))
                }
                (_, Some(key)) => (
                    key,
                    stored.next().and_then(Result::ok).map(|(_, value)| value),
                ),
                (Some(_), None) => return Err(Error::Broken("order of the queue")),
            };
            if let Some(value) = value
                && see(key, value).is_break()
            {
                return Ok(None);
            }
            looked_at += 1;
        }
    }

    /// At most `limit` pending deliveries of a webhook from its first on.
    pub(super) fn first(&self, webhook: WebhookId, limit: usize) -> Result<Vec<QueueEntry>, Error> {
        let (low, high) = bounds_of(webhook);
        let mut entries = Vec::new();
        self.walk(low, high, |key, value| {
            if entries.len() == limit {
                return ControlFlow::Break(());
            }
            entries.push(key.entry(value));
            ControlFlow::Continue(())
        })?;
        Ok(entries)
    }

    /// Counts what is pending by looking at all of it: after damage, when differences cannot be trusted.
    /// Gives the webhooks that have pending deliveries and no row.
    ///
    /// A record that is lost may have moved a delivery, and then its old key is still there beside the next
    /// one. Of two keys for one delivery the one with more attempts stays, or the later one.
    pub(super) fn recount(&self, damaged: bool) -> Result<Vec<WebhookId>, Error> {
        let mut counts: BTreeMap<u32, i64> = BTreeMap::new();
        let mut waiting: HashMap<WebhookId, i64> = HashMap::new();
        let mut webhooks = BTreeSet::new();
        let (low, high) = (bounds_of(WebhookId(0)).0, bounds_of(WebhookId(u128::MAX)).1);
        // Of one webhook at a time, as the walk goes.
        let mut newest: HashMap<Position, (u32, QueueKey)> = HashMap::new();
        let mut left_behind = Vec::new();
        self.walk(low, high, |key, value| {
            if webhooks.insert(key.webhook) {
                newest.clear();
            }
            if damaged {
                let here = (value.attempts, key);
                let kept = newest.entry(key.event).or_insert(here);
                if *kept != here {
                    left_behind.push((*kept).min(here).1);
                    *kept = (*kept).max(here);
                    return ControlFlow::Continue(());
                }
            }
            *counts.entry(key.event.segment).or_default() += 1;
            *waiting.entry(key.webhook).or_default() += 1;
            ControlFlow::Continue(())
        })?;
        let mut overlay = self.write();
        if !left_behind.is_empty() {
            tracing::warn!(
                deliveries = left_behind.len(),
                "a lost record had left deliveries in the queue twice; the newer entries stay"
            );
        }
        for key in left_behind {
            overlay.change(Change::Queue(key, None));
        }
        overlay.waiting.replace(waiting);
        let old = std::mem::replace(&mut overlay.counts, counts);
        let all: Vec<u32> = old.keys().chain(overlay.counts.keys()).copied().collect();
        overlay.dirty_counts.extend(all);
        overlay.dirty = true;
        webhooks.retain(|webhook| !overlay.rows.contains_key(webhook));
        Ok(webhooks.into_iter().collect())
    }

    /// Shows everything that is pending.
    pub(super) fn each_pending(
        &self,
        mut see: impl FnMut(QueueKey, QueueValue),
    ) -> Result<(), Error> {
        let (low, high) = (bounds_of(WebhookId(0)).0, bounds_of(WebhookId(u128::MAX)).1);
        self.walk(low, high, |key, value| {
            see(key, value);
            ControlFlow::Continue(())
        })
    }

    /// How many deliveries are pending of each segment's events, as they are counted.
    pub(super) fn counts(&self) -> BTreeMap<u32, i64> {
        self.read().counts.clone()
    }

    /// Up to where the journal is applied (`None`: never), and the highest steady time recorded.
    pub(super) fn applied(&self) -> (Option<Position>, SteadyMillis) {
        let overlay = self.read();
        (overlay.applied, overlay.steady)
    }

    /// Keys in the overlay, and whether there is anything to flush.
    pub(super) fn unflushed(&self) -> (usize, bool) {
        let overlay = self.read();
        (
            overlay.queue.len() + overlay.dirty_rows.len() + overlay.dirty_jobs.len(),
            overlay.dirty,
        )
    }

    /// Whether sled has everything.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        let overlay = self.read();
        !overlay.dirty && overlay.frozen.is_none()
    }

    /// Whether sled has never been written to.
    pub(super) fn is_empty(&self) -> bool {
        self.db.is_empty()
    }

    /// How many pending deliveries are of events in a segment.
    pub(super) fn pending_in(&self, segment: u32) -> i64 {
        self.read()
            .counts
            .get(&segment)
            .copied()
            .unwrap_or_default()
    }

    /// How many deliveries of a webhook are pending.
    pub(super) fn waiting_of(&self, webhook: WebhookId) -> usize {
        self.read().waiting.of(webhook)
    }

    /// The webhooks of which deliveries are pending, and how many.
    pub(super) fn waiting(&self) -> Vec<(WebhookId, usize)> {
        self.read().waiting.all().collect()
    }

    /// The segments of whose events deliveries are pending.
    pub(super) fn segments(&self) -> Vec<u32> {
        let overlay = self.read();
        let pending = overlay.counts.iter().filter(|(_, count)| **count > 0);
        pending.map(|(segment, _)| *segment).collect()
    }

    /// Looks at the registry, tombstones included.
    pub(super) fn rows<T>(&self, look: impl FnOnce(&BTreeMap<WebhookId, Row>) -> T) -> T {
        look(&self.read().rows)
    }

    /// Looks at the jobs.
    pub(super) fn jobs<T>(&self, look: impl FnOnce(&BTreeMap<JobId, Job>) -> T) -> T {
        look(&self.read().jobs)
    }

    fn read(&self) -> RwLockReadGuard<'_, Overlay> {
        self.overlay.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Overlay> {
        self.overlay.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(batch: &mut Batch, key: &QueueKey, slot: &Slot) {
    let bytes = &keys::queue_key(key)[..];
    match slot.value {
        Some(value) => batch.insert(bytes, keys::queue_value(&value)),
        None if slot.in_sled => batch.remove(bytes),
        None => {}
    }
}

/// The first and the last key that a webhook's queue can have.
pub(super) const fn bounds_of(webhook: WebhookId) -> (QueueKey, QueueKey) {
    (
        QueueKey {
            webhook,
            due: SteadyMillis(0),
            event: Position::from_u64(0),
        },
        QueueKey {
            webhook,
            due: SteadyMillis(u64::MAX),
            event: Position::from_u64(u64::MAX),
        },
    )
}

fn parse_stored((key, value): (sled::IVec, sled::IVec)) -> Result<(QueueKey, QueueValue), Error> {
    keys::parse_queue_key(&key)
        .zip(keys::parse_queue_value(&value))
        .ok_or(Error::Broken("queue row"))
}
