//! The index of a segment: sorted (key, offset) entries, in memory while the segment is written, then a file.
//!
//! A file is blocks of 4 KiB, each with its own checksum, so that a look-up reads and checks a few blocks
//! and nothing else. It can always be made again from the segment, so it is replaced whole or not at all.
//!
//! ```text
//! header: magic 8, version 4, number 4, entries 4, filter bytes 4, blocks 4, crc32c of these 4, zeros to 4,096
//! block:  entries, zeros, count 4, crc32c 4
//! entry:  how many bytes its key shares with the one before it in the block 1, the key's others, offset 4
//! filter: its bits, crc32c 4
//! ```
//!
//! A key that ends with eight zeros, as those of ids do, has the highest bit of its first byte set, and is stored
//! without them. The first version had no count of blocks, and blocks of 146 whole entries; it is read for ever.

use std::collections::HashSet;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::disk::{Disk, File};
use super::filter::Filter;
use super::frame::{be32, be64};
use super::{Error, io};

/// Bytes of a key. Enough for a 16-byte subject and an 8-byte position.
pub const KEY_BYTES: usize = 24;
/// A key: its owner's bytes, sorted as bytes.
pub type Key = [u8; KEY_BYTES];

const MAGIC: &[u8; 8] = b"hwindex\n";
const VERSION: u32 = 2;
const BLOCK: usize = 4096;
/// Bytes of a block that entries may take.
const ROOM: usize = BLOCK - 8;
/// In the first version: bytes of an entry, and how many there are in a block.
const FIRST_ENTRY: usize = KEY_BYTES + 4;
const FIRST_PER_BLOCK: u32 = 146;
/// A newer version's header may have so many fields more than the first one's.
const FIELDS_MAX: usize = 16;
/// Set in an entry's first byte where the key's last eight bytes are zeros, and left out.
const ZEROS_LEFT_OUT: u8 = 0x80;
const ZEROS: usize = 8;

/// A key under which a record is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexKey {
    /// The key.
    pub key: Key,
    /// Whether the segment's filter covers it; then its first 16 bytes must be a hash.
    pub filtered: bool,
}

/// One entry: the record at `offset` of the segment is found under `key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The frame's offset in the segment.
    pub offset: u32,
}

/// The index of the segment that is being written: sorted runs that are merged as they grow, and an unsorted
/// tail. Keys come in random order, where a tree costs a cache miss or two for each; this costs far less, and
/// its memory is what it holds.
#[derive(Debug, Default)]
pub(super) struct Growing {
    /// Each at least twice as long as the next, so there are few; none holds an entry twice.
    runs: Vec<Vec<Entry>>,
    tail: Vec<Entry>,
    filtered: Vec<Key>,
    /// The first halves of the hashes in the filtered keys.
    heads: HashSet<u64>,
}

/// A tail of this length is sorted into a run: short enough to be looked through in some microseconds.
const TAIL_MAX: usize = 512;

impl Growing {
    pub(super) fn add(&mut self, keys: &[IndexKey], offset: u32) {
        for IndexKey { key, filtered } in keys {
            self.tail.push(Entry { key: *key, offset });
            if *filtered {
                self.filtered.push(*key);
                self.heads.insert(be64(key, 0));
            }
        }
        if self.tail.len() >= TAIL_MAX {
            self.settle();
        }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.tail.len() + self.runs.iter().map(Vec::len).sum::<usize>()
    }

    /// Whether a filtered key may be here; `false` is certain.
    pub(super) fn may_hold(&self, key: &Key) -> bool {
        self.heads.contains(&be64(key, 0))
    }

    /// Makes a run of the tail, and merges runs of like length.
    fn settle(&mut self) {
        let mut run = std::mem::take(&mut self.tail);
        run.sort_unstable();
        run.dedup();
        while let Some(longer) = self.runs.pop() {
            if longer.len() >= 2 * run.len() {
                self.runs.push(longer);
                break;
            }
            run = merge(&longer, &run);
        }
        self.runs.push(run);
    }

    /// All entries, sorted, none twice.
    pub(super) fn sorted(&self) -> Vec<Entry> {
        let mut all: Vec<Entry> = self
            .runs
            .iter()
            .flatten()
            .chain(&self.tail)
            .copied()
            .collect();
        // Stable: this sort finds the runs that are sorted already.
        all.sort();
        all.dedup();
        all
    }

    /// The filter over the filtered keys.
    pub(super) fn filter(&self) -> Filter {
        Filter::of(self.filtered.iter(), self.filtered.len())
    }

    /// At most `limit` entries with keys from `low` to `high`, descending or ascending.
    pub(super) fn range(
        &self,
        low: &Key,
        high: &Key,
        descending: bool,
        limit: usize,
    ) -> Vec<Entry> {
        let inside = |entry: &&Entry| entry.key >= *low && entry.key <= *high;
        let mut found: Vec<Entry> = self.tail.iter().filter(inside).copied().collect();
        for run in &self.runs {
            let from = run.partition_point(|entry| entry.key < *low);
            let to = run.partition_point(|entry| entry.key <= *high);
            let part = run.get(from..to).unwrap_or_default();
            // Of each run only what could be among the first `limit` of all.
            if descending {
                found.extend(part.iter().rev().take(limit));
            } else {
                found.extend(part.iter().take(limit));
            }
        }
        found.sort_unstable();
        found.dedup();
        if descending {
            found.reverse();
        }
        found.truncate(limit);
        found
    }
}

fn merge(a: &[Entry], b: &[Entry]) -> Vec<Entry> {
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let next = if x <= y { a.next() } else { b.next() };
        merged.extend(next);
    }
    merged.extend(a);
    merged.extend(b);
    merged.dedup();
    merged
}

/// Writes a sealed segment's index: whole under its final name or not at all. Gives its filter. The name is the
/// caller's to sync.
pub(super) fn write(
    disk: &Disk,
    growing: &Growing,
    number: u32,
    to: &Path,
) -> Result<Filter, Error> {
    let filter = growing.filter();
    let temporary = to.with_extension("tmp");
    let file = disk.create(&temporary).map_err(io("create", &temporary))?;
    let written =
        write_to(&growing.sorted(), number, &filter, &file).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // On a full disk the part that was written would only take room from others.
        disk.remove(&temporary).map_err(io("delete", &temporary))?;
        return Err(io("write", &temporary)(error));
    }
    disk.rename(&temporary, to).map_err(io("rename to", to))?;
    Ok(filter)
}

fn write_to(entries: &[Entry], number: u32, filter: &Filter, file: &File) -> std::io::Result<()> {
    let length = |n: usize| u32::try_from(n).map_err(std::io::Error::other);
    let blocks = blocks_of(entries);
    let mut to = BufWriter::with_capacity(256 << 10, file.in_order());
    let mut header = Vec::with_capacity(BLOCK);
    header.extend_from_slice(MAGIC);
    for field in [
        VERSION,
        number,
        length(entries.len())?,
        length(filter.bytes().len())?,
        length(blocks.len())?,
    ] {
        header.extend_from_slice(&field.to_be_bytes());
    }
    header.extend_from_slice(&crc32c::crc32c(&header).to_be_bytes());
    header.resize(BLOCK, 0);
    to.write_all(&header)?;
    let mut block = Vec::with_capacity(BLOCK);
    for entries in blocks {
        block.clear();
        let mut before = None;
        for entry in entries {
            let short = Short::of(entry, before);
            block.push(short.first_byte);
            block.extend_from_slice(short.rest);
            block.extend_from_slice(&entry.offset.to_be_bytes());
            before = Some(&entry.key);
        }
        block.resize(ROOM, 0);
        block.extend_from_slice(&length(entries.len())?.to_be_bytes());
        block.extend_from_slice(&crc32c::crc32c(&block).to_be_bytes());
        to.write_all(&block)?;
    }
    to.write_all(filter.bytes())?;
    to.write_all(&crc32c::crc32c(filter.bytes()).to_be_bytes())?;
    to.flush()
}

/// A key as it is stored behind another one.
struct Short<'a> {
    first_byte: u8,
    rest: &'a [u8],
}

impl<'a> Short<'a> {
    fn of(entry: &'a Entry, before: Option<&Key>) -> Self {
        let pairs = before.into_iter().flatten().zip(&entry.key);
        let shared = pairs.take_while(|(a, b)| a == b).count();
        let rest = entry.key.get(shared..).unwrap_or_default();
        let flag = match rest.strip_suffix(&[0; ZEROS]) {
            Some(_) => ZEROS_LEFT_OUT,
            None => 0,
        };
        Self {
            first_byte: flag | u8::try_from(shared).expect("a key has 24 bytes"),
            rest: rest.strip_suffix(&[0; ZEROS]).unwrap_or(rest),
        }
    }

    fn bytes(&self) -> usize {
        1 + self.rest.len() + 4
    }
}

/// The entries of each block, as many as fit.
fn blocks_of(entries: &[Entry]) -> Vec<&[Entry]> {
    let (mut blocks, mut begin, mut used) = (Vec::new(), 0, 0);
    let mut before = None;
    for (at, entry) in entries.iter().enumerate() {
        let bytes = Short::of(entry, before).bytes();
        if used + bytes > ROOM {
            blocks.push(entries.get(begin..at).unwrap_or_default());
            (begin, used) = (at, Short::of(entry, None).bytes());
        } else {
            used += bytes;
        }
        before = Some(&entry.key);
    }
    if begin < entries.len() {
        blocks.push(entries.get(begin..).unwrap_or_default());
    }
    blocks
}

/// What is known of an index file; its blocks are read when asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    version: u32,
    blocks: u32,
    entries: u32,
    filter_bytes: u32,
}

impl Stored {
    /// Reads and checks the header of `file`. `None`: it is not a whole index of a known version and this segment.
    pub(super) fn open(file: &File, number: u32) -> std::io::Result<Option<Self>> {
        let mut header = [0; 32];
        let length = file.len()?;
        if length < BLOCK as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut header, 0)?;
        let version = be32(&header, 8);
        let (body, crc) = header.split_at(if version == 1 { 24 } else { 28 });
        if !body.starts_with(MAGIC)
            || crc32c::crc32c(body) != be32(crc, 0)
            || !(1..=VERSION).contains(&version)
            || be32(body, 12) != number
        {
            return Ok(None);
        }
        let (entries, filter_bytes) = (be32(body, 16), be32(body, 20));
        let blocks = match version {
            1 => entries.div_ceil(FIRST_PER_BLOCK),
            _ => be32(body, 24),
        };
        let expected = (u64::from(blocks) + 1) * BLOCK as u64 + u64::from(filter_bytes) + 4;
        Ok((length == expected).then_some(Self {
            version,
            blocks,
            entries,
            filter_bytes,
        }))
    }

    /// The version of an index file that is newer than this one's. Its header must check: else it is damage.
    pub(super) fn newer_version(file: &File) -> std::io::Result<Option<u32>> {
        let mut header = [0; BLOCK];
        if file.len()? < header.len() as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut header, 0)?;
        let version = be32(&header, 8);
        // Each version added one field of four bytes, or none; what comes after the checksum is zeros.
        let whole = (24..BLOCK - 4).step_by(4).take(FIELDS_MAX).any(|end| {
            let (body, rest) = header.split_at(end);
            crc32c::crc32c(body) == be32(rest, 0)
        });
        let known = header.starts_with(MAGIC) && whole;
        Ok((known && version > VERSION).then_some(version))
    }

    /// How many entries there are.
    pub(super) const fn entries(self) -> u32 {
        self.entries
    }

    /// Reads the filter; `None` if its bytes do not check.
    pub(super) fn filter(self, file: &File) -> std::io::Result<Option<Filter>> {
        let mut bits = vec![0; usize::try_from(self.filter_bytes).expect("32 bits fit") + 4];
        file.read_exact_at(&mut bits, (u64::from(self.blocks) + 1) * BLOCK as u64)?;
        let crc = be32(&bits, bits.len() - 4);
        bits.truncate(bits.len() - 4);
        Ok((crc32c::crc32c(&bits) == crc)
            .then(|| Filter::from_bytes(bits))
            .flatten())
    }

    /// As [`Growing::range`]. `None`: a block does not check, and the index must be made again.
    pub(super) fn range(
        self,
        file: &File,
        low: &Key,
        high: &Key,
        descending: bool,
        limit: usize,
    ) -> std::io::Result<Option<Vec<Entry>>> {
        let mut found = Vec::new();
        let Some(start) =
            self.first_block_from(file, if descending { high } else { low }, descending)?
        else {
            return Ok(None);
        };
        let mut number = Some(start);
        while let Some(at) = number.filter(|at| *at < self.blocks) {
            let Some(mut block) = self.read_block(file, at, usize::MAX)? else {
                return Ok(None);
            };
            if descending {
                block.reverse();
            }
            for entry in block {
                let past = if descending {
                    entry.key < *low
                } else {
                    entry.key > *high
                };
                if past || found.len() == limit {
                    return Ok(Some(found));
                }
                if entry.key >= *low && entry.key <= *high {
                    found.push(entry);
                }
            }
            number = if descending {
                at.checked_sub(1)
            } else {
                Some(at + 1)
            };
        }
        Ok(Some(found))
    }

    /// The block where a walk over keys from `key` on begins: ascending the last block whose first key is
    /// below `key`, descending the last whose first key is not above it.
    fn first_block_from(
        self,
        file: &File,
        key: &Key,
        descending: bool,
    ) -> std::io::Result<Option<u32>> {
        let (mut from, mut to) = (0, self.blocks);
        while from < to {
            let middle = from + (to - from) / 2;
            let Some(block) = self.read_block(file, middle, 1)? else {
                return Ok(None);
            };
            let Some(first) = block.first() else {
                return Ok(None);
            };
            let before = if descending {
                first.key <= *key
            } else {
                first.key < *key
            };
            if before {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        Ok(Some(from.saturating_sub(1)))
    }

    /// The entries of a block, the first `limit` of them; `None` if it does not check.
    fn read_block(
        self,
        file: &File,
        number: u32,
        limit: usize,
    ) -> std::io::Result<Option<Vec<Entry>>> {
        let mut block = [0; BLOCK];
        file.read_exact_at(&mut block, (u64::from(number) + 1) * BLOCK as u64)?;
        let (body, crc) = block.split_at(BLOCK - 4);
        if crc32c::crc32c(body) != be32(crc, 0) {
            return Ok(None);
        }
        let count = usize::try_from(be32(body, ROOM)).expect("32 bits fit");
        let body = body.get(..ROOM).unwrap_or_default();
        let entries = match self.version {
            1 => first_entries(body, count.min(limit)),
            _ => entries_of(body, count.min(limit)),
        };
        Ok(entries)
    }
}

/// Entries as the first version wrote them.
fn first_entries(body: &[u8], count: usize) -> Option<Vec<Entry>> {
    let entries = body.chunks_exact(FIRST_ENTRY).take(count).map(|bytes| {
        Some(Entry {
            key: *bytes.first_chunk()?,
            offset: be32(bytes, KEY_BYTES),
        })
    });
    entries.collect()
}

/// The entries of a block. `None`: they are none, although the block checks.
fn entries_of(mut body: &[u8], count: usize) -> Option<Vec<Entry>> {
    let mut entries = Vec::with_capacity(count.min(ROOM / 5));
    let mut key = [0; KEY_BYTES];
    for _ in 0..count {
        let (first, rest) = body.split_first()?;
        let shared = usize::from(first & !ZEROS_LEFT_OUT);
        let end = KEY_BYTES
            - if first & ZEROS_LEFT_OUT == 0 {
                0
            } else {
                ZEROS
            };
        let (given, rest) = rest.split_at_checked(end.checked_sub(shared)?)?;
        key.get_mut(shared..end)?.copy_from_slice(given);
        key.get_mut(end..)?.fill(0);
        let (offset, rest) = rest.split_first_chunk()?;
        entries.push(Entry {
            key,
            offset: u32::from_be_bytes(*offset),
        });
        body = rest;
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Most end with zeros, some do not.
    fn key(number: u16) -> Key {
        let mut key = [0; KEY_BYTES];
        key[3..5].copy_from_slice(&number.to_be_bytes());
        key[23] = u8::from(number.is_multiple_of(3));
        key
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_stored_index_answers_as_the_one_in_memory(
            numbers in prop::collection::vec((0..900u16, 0..5u32), 0..2_600),
            ranges in prop::collection::vec((0..950u16, 0..950u16, any::<bool>(), 0..400usize), 20),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("1.idx");
            let mut growing = Growing::default();
            let mut model = std::collections::BTreeSet::new();
            for (number, offset) in numbers {
                growing.add(&[IndexKey { key: key(number), filtered: true }], offset);
                model.insert(Entry { key: key(number), offset });
                prop_assert!(growing.may_hold(&key(number)));
            }
            let filter = write(&Disk::Real, &growing, 1, &path).unwrap();
            let file = Disk::Real.open(&path).unwrap();
            prop_assert!(Stored::open(&file, 2).unwrap().is_none());
            let stored = Stored::open(&file, 1).unwrap().unwrap();
            prop_assert_eq!(Stored::newer_version(&file).unwrap(), None);
            prop_assert_eq!(stored.filter(&file).unwrap(), Some(filter));
            prop_assert_eq!(stored.entries() as usize, model.len());
            for (a, b, descending, limit) in ranges {
                let (low, high) = (key(a.min(b)), key(a.max(b)));
                let inside = model.iter().filter(|entry| entry.key >= low && entry.key <= high);
                let expected: Vec<Entry> = if descending {
                    inside.rev().take(limit).copied().collect()
                } else {
                    inside.take(limit).copied().collect()
                };
                prop_assert_eq!(growing.range(&low, &high, descending, limit), expected.clone());
                prop_assert_eq!(
                    stored.range(&file, &low, &high, descending, limit).unwrap(),
                    Some(expected)
                );
            }
        }
    }

    #[test]
    fn a_flipped_byte_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.idx");
        let mut growing = Growing::default();
        for number in 0..2_000 {
            growing.add(
                &[IndexKey {
                    key: key(number),
                    filtered: false,
                }],
                1,
            );
        }
        write(&Disk::Real, &growing, 1, &path).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in [3, BLOCK + 50, 2 * BLOCK + 9, good.len() - 2] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(&path, &bad).unwrap();
            let file = Disk::Real.open(&path).unwrap();
            let noticed = match Stored::open(&file, 1).unwrap() {
                None => true,
                Some(stored) => {
                    stored.filter(&file).unwrap().is_none()
                        || stored
                            .range(&file, &key(0), &key(5_000), false, 9_999)
                            .unwrap()
                            .is_none()
                }
            };
            assert!(noticed, "the flipped byte at {at} was not noticed");
        }
    }
}
