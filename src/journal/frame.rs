//! Headers and frames as bytes: encoding, checking, and walking a file frame by frame.
//!
//! Pure but for the file a [`Walk`] reads. Knows nothing of directories, indexes or positions in other files.

use super::PAYLOAD_BYTES_MAX;
use super::disk::File;
use super::search::Search;

/// Bytes before a frame's payload.
pub(super) const FRAME_HEAD: usize = 8;
/// The same, as offsets are counted.
const HEAD: u32 = 8;
const HEADER: usize = 36;
/// Bytes before a segment's first frame: the header stands there twice, because without its salt no frame
/// of the segment could be checked.
pub(super) const SEGMENT_HEAD: u32 = 72;
const MAGIC: &[u8; 8] = b"hwsegmnt";
const VERSION: u32 = 1;
/// How much is read at once when a file is walked.
const CHUNK: usize = 256 << 10;

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u32,
    pub(super) created_ms: u64,
    pub(super) salt: u64,
}

/// What the first bytes of a segment's file say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderRead {
    Good(Header),
    Newer(u32),
    Bad,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut one = Vec::with_capacity(HEADER);
        one.extend_from_slice(MAGIC);
        one.extend_from_slice(&VERSION.to_be_bytes());
        one.extend_from_slice(&self.number.to_be_bytes());
        one.extend_from_slice(&self.created_ms.to_be_bytes());
        one.extend_from_slice(&self.salt.to_be_bytes());
        one.extend_from_slice(&crc32c::crc32c(&one).to_be_bytes());
        one.repeat(2)
    }

    pub(super) fn decode(bytes: &[u8]) -> HeaderRead {
        for copy in bytes.chunks(HEADER).take(2) {
            match Self::decode_copy(copy) {
                HeaderRead::Bad => {}
                read => return read,
            }
        }
        HeaderRead::Bad
    }

    fn decode_copy(bytes: &[u8]) -> HeaderRead {
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
            return HeaderRead::Bad;
        };
        if bytes.len() != HEADER
            || !body.starts_with(MAGIC)
            || crc32c::crc32c(body) != u32::from_be_bytes(*crc)
        {
            return HeaderRead::Bad;
        }
        let version = be32(body, 8);
        if version != VERSION {
            return HeaderRead::Newer(version);
        }
        HeaderRead::Good(Self {
            number: be32(body, 12),
            created_ms: be64(body, 16),
            salt: be64(body, 24),
        })
    }
}

/// The checksum of a frame: of the segment's salt, the frame's offset, the payload's length, the payload.
fn checksum(salt: u64, offset: u32, payload: &[u8]) -> u32 {
    let length = u32::try_from(payload.len()).expect("a payload is at most PAYLOAD_BYTES_MAX");
    crc32c::crc32c_append(checksum_of_place(salt, offset, length), payload)
}

/// The first part of a frame's checksum.
fn checksum_of_place(salt: u64, offset: u32, length: u32) -> u32 {
    let mut head = [0; 16];
    head[..8].copy_from_slice(&salt.to_be_bytes());
    head[8..12].copy_from_slice(&offset.to_be_bytes());
    head[12..].copy_from_slice(&length.to_be_bytes());
    crc32c::crc32c(&head)
}

/// Appends a frame for `payload`, which will stand at `offset`, to `to`.
pub(super) fn encode(salt: u64, offset: u32, payload: &[u8], to: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("a payload is at most PAYLOAD_BYTES_MAX");
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(&checksum(salt, offset, payload).to_be_bytes());
    to.extend_from_slice(payload);
}

/// The payload length that a frame's first eight bytes announce, if it can be one.
pub(super) fn announced(head: &[u8]) -> Option<usize> {
    let length = usize::try_from(be32(head.get(..FRAME_HEAD)?, 0)).ok()?;
    (1..=PAYLOAD_BYTES_MAX).contains(&length).then_some(length)
}

/// The payload of the frame `bytes`, which stood at `offset`, if it checks.
pub(super) fn payload(salt: u64, offset: u32, bytes: &[u8]) -> Option<&[u8]> {
    let length = announced(bytes)?;
    let payload = bytes.get(FRAME_HEAD..FRAME_HEAD + length)?;
    (checksum(salt, offset, payload) == be32(bytes, 4)).then_some(payload)
}

/// One step of a walk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A good frame.
    Frame { offset: u32, payload: &'a [u8] },
    /// Bytes that are no frame, with a good frame after them.
    Bad { offset: u32, bytes: Vec<u8> },
    /// No good frame from here to the end of the file, which is `rest` bytes away.
    End { offset: u32, rest: u32 },
}

/// Walks the frames of a file up to a given end, in order, holding a chunk of it.
pub(super) struct Walk<'a> {
    file: &'a File,
    salt: u64,
    next: u32,
    end: u32,
    held: Vec<u8>,
    held_at: u32,
}

impl<'a> Walk<'a> {
    pub(super) fn new(file: &'a File, salt: u64, from: u32, end: u32) -> Self {
        Self {
            file,
            salt,
            next: from,
            // A file that was cut short may end before the place from which it is to be read.
            end: end.max(from),
            held: Vec::new(),
            held_at: from,
        }
    }

    /// The next step. After `End` it stays `End`.
    pub(super) fn step(&mut self) -> std::io::Result<Step<'_>> {
        let offset = self.next;
        if let Some(length) = self.good_frame(offset)? {
            self.next = offset + length;
            return Ok(Step::Frame {
                offset,
                payload: self
                    .window(offset, length)?
                    .get(FRAME_HEAD..)
                    .unwrap_or_default(),
            });
        }
        let mut search = Search::new(self.file, offset, self.end);
        let mut candidate = offset;
        while candidate < self.end {
            candidate += 1;
            let Some((length, announced)) = self.announced_at(candidate)? else {
                continue;
            };
            let head = checksum_of_place(self.salt, candidate, length);
            if search.checksum(head, candidate, length)? == announced {
                let bytes = self.window(offset, candidate - offset)?.to_vec();
                self.next = candidate;
                return Ok(Step::Bad { offset, bytes });
            }
        }
        Ok(Step::End {
            offset,
            rest: self.end - offset,
        })
    }

    /// The bytes from here to the end.
    pub(super) fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let (from, length) = (self.next, self.end - self.next);
        Ok(self.window(from, length)?.to_vec())
    }

    /// The length, head included, of the good frame at `offset`, if there is one.
    fn good_frame(&mut self, offset: u32) -> std::io::Result<Option<u32>> {
        let Some((length, _)) = self.announced_at(offset)? else {
            return Ok(None);
        };
        let (salt, length) = (self.salt, HEAD + length);
        Ok(payload(salt, offset, self.window(offset, length)?).map(|_| length))
    }

    /// The payload's length and the checksum that a frame at `offset` announces, if it fits before the end.
    fn announced_at(&mut self, offset: u32) -> std::io::Result<Option<(u32, u32)>> {
        let left = self.end.saturating_sub(offset);
        if left <= HEAD {
            return Ok(None);
        }
        let head = self.window(offset, HEAD)?;
        let checksum = be32(head, 4);
        Ok(announced(head)
            .map(|length| u32::try_from(length).expect("bounded by PAYLOAD_BYTES_MAX"))
            .filter(|length| left - HEAD >= *length)
            .map(|length| (length, checksum)))
    }

    /// `length` bytes at `offset`; both are inside the file.
    fn window(&mut self, offset: u32, length: u32) -> std::io::Result<&[u8]> {
        let size = usize::try_from(length).expect("32 bits fit");
        let inside = offset >= self.held_at
            && usize::try_from(offset - self.held_at).expect("32 bits fit") + size
                <= self.held.len();
        if !inside {
            let left = usize::try_from(self.end - offset).expect("32 bits fit");
            self.held.resize(size.max(CHUNK).min(left), 0);
            self.held_at = offset;
            self.file.read_exact_at(&mut self.held, u64::from(offset))?;
        }
        let from = usize::try_from(offset - self.held_at).expect("32 bits fit");
        Ok(self.held.get(from..from + size).unwrap_or_default())
    }
}

/// The big-endian number at `at`; 0 where the bytes end before, which no caller lets happen.
pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |chunk| u32::from_be_bytes(*chunk))
}

/// As [`be32`], 64 bits.
pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |chunk| u64::from_be_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const SALT: u64 = 0x1122_3344_5566_7788;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        File::Real(file)
    }

    fn walk_all(file: &File, end: u32) -> (Vec<Vec<u8>>, usize, u32) {
        let (mut walk, mut frames, mut bad) = (Walk::new(file, SALT, 0, end), Vec::new(), 0);
        loop {
            match walk.step().unwrap() {
                Step::Frame { payload, .. } => frames.push(payload.to_vec()),
                Step::Bad { .. } => bad += 1,
                Step::End { rest, .. } => return (frames, bad, rest),
            }
        }
    }

    #[test]
    fn a_header_survives_the_loss_of_one_copy() {
        let header = Header {
            number: 7,
            created_ms: 99,
            salt: SALT,
        };
        let bytes = header.encode();
        assert_eq!(bytes.len(), SEGMENT_HEAD as usize);
        for byte in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[byte] ^= 0x55;
            assert_eq!(Header::decode(&bad), HeaderRead::Good(header));
        }
        assert_eq!(Header::decode(&bytes[..10]), HeaderRead::Bad);
        assert_eq!(Header::decode(&[0; 72]), HeaderRead::Bad);
    }

    /// Each second byte begins what looks like a frame of 2 MiB: that must not cost the square of it.
    #[test]
    fn bytes_made_to_look_like_frames_do_not_hold_a_start_up() {
        let mut bytes = [0x00, 0x20].repeat(3 << 19);
        let end = u32::try_from(bytes.len()).unwrap();
        encode(SALT, end, b"after it", &mut bytes);
        let end = u32::try_from(bytes.len()).unwrap();
        assert_eq!(
            walk_all(&file_of(&bytes), end),
            (vec![b"after it".to_vec()], 1, 0)
        );
    }

    #[test]
    fn a_frame_inside_a_bad_frame_is_not_taken_for_one() {
        let mut inner = Vec::new();
        encode(0, 30, b"forged", &mut inner);
        let mut bytes = Vec::new();
        encode(SALT, 0, &inner, &mut bytes);
        let second = u32::try_from(bytes.len()).unwrap();
        encode(SALT, second, b"second", &mut bytes);
        bytes[6] ^= 1;
        let end = u32::try_from(bytes.len()).unwrap();
        assert_eq!(
            walk_all(&file_of(&bytes), end),
            (vec![b"second".to_vec()], 1, 0)
        );
    }

    proptest! {
        #[test]
        fn a_flipped_byte_costs_one_frame_and_no_other(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 2..12),
            at in any::<prop::sample::Index>(), flip in 1..=255u8,
        ) {
            let (mut bytes, mut starts) = (Vec::new(), Vec::new());
            for payload in &payloads {
                let offset = u32::try_from(bytes.len()).unwrap();
                starts.push(bytes.len());
                encode(SALT, offset, payload, &mut bytes);
            }
            let end = u32::try_from(bytes.len()).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let hit = starts.iter().rposition(|start| *start <= at).unwrap();
            let mut expected = payloads.clone();
            expected.remove(hit);
            let (frames, bad, rest) = walk_all(&file_of(&bytes), end);
            prop_assert_eq!(frames, expected);
            if hit + 1 == payloads.len() {
                prop_assert!(bad == 0 && rest > 0);
            } else {
                prop_assert!(bad == 1 && rest == 0);
            }
        }
    }
}
