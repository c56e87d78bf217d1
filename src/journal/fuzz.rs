//! The trial of headers and frames; see `crate::fuzz`.

use std::fs::File as RealFile;
use std::io::Write as _;

use rustix::fs::{MemfdFlags, memfd_create};

use super::disk::File;
use super::frame::{Header, HeaderRead, Step, Walk, encode, payload};

const SALT: u64 = 0x1122_3344_5566_7788;
/// More of one input is not walked: a search goes over it for each byte that may begin a frame.
const BYTES_MAX: usize = 64 << 10;

/// A walk over any bytes gives back all of them, piece by piece, and takes for frames only what encodes to the same
/// bytes at that place. What was framed reads back, and damage to one frame costs no other.
pub(crate) fn frames(bytes: &[u8]) {
    let bytes = bytes.get(..BYTES_MAX).unwrap_or(bytes);
    if let HeaderRead::Good(header) = Header::decode(bytes) {
        let again = header.encode();
        assert_eq!(Header::decode(&again), HeaderRead::Good(header));
    }
    check_walk(SALT, bytes);

    // As in a segment, no payload can be made for the salt: a frame inside a damaged one would be taken for one.
    let salt = u64::from(crc32c::crc32c(bytes)) ^ !SALT;
    // The first bytes say how long each payload is and what is damaged; the rest is framed.
    let Some(([lengths @ .., at, flip], rest)) = bytes.split_first_chunk::<8>() else {
        return;
    };
    let (mut framed, mut ends, mut rest) = (Vec::new(), Vec::new(), rest);
    let mut payloads = Vec::new();
    for length in lengths {
        let length = usize::from(*length).min(rest.len());
        let (one, behind) = rest.split_at(length);
        if one.is_empty() {
            break;
        }
        encode(salt, offset(framed.len()), one, &mut framed);
        ends.push(framed.len());
        payloads.push(one.to_vec());
        rest = behind;
    }
    assert_eq!(check_walk(salt, &framed), payloads);
    let hit = usize::from(*at) * framed.len() / 256;
    if let Some(byte) = framed.get_mut(hit).filter(|_| *flip != 0) {
        *byte ^= flip;
        let damaged = ends.iter().position(|end| hit < *end);
        payloads.remove(damaged.expect("the byte is inside a frame"));
        assert_eq!(check_walk(salt, &framed), payloads);
    }
}

/// The payloads of all frames in these bytes.
fn check_walk(salt: u64, bytes: &[u8]) -> Vec<Vec<u8>> {
    let fd = memfd_create("frames", MemfdFlags::CLOEXEC).expect("memory for a file");
    let mut file = RealFile::from(fd);
    file.write_all(bytes).expect("it is in memory");
    let file = File::Real(file);
    let (mut walk, mut next, mut found) = (
        Walk::new(&file, salt, 0, offset(bytes.len())),
        0,
        Vec::new(),
    );
    loop {
        match walk.step().expect("it is in memory") {
            Step::Frame {
                offset: at,
                payload: held,
            } => {
                assert_eq!(at, next);
                let mut again = Vec::new();
                encode(salt, at, held, &mut again);
                let own = bytes.get(position(at)..position(at) + again.len());
                assert_eq!(own, Some(again.as_slice()));
                assert_eq!(payload(salt, at, &again), Some(held));
                next += offset(again.len());
                found.push(held.to_vec());
            }
            Step::Bad {
                offset: at,
                bytes: bad,
            } => {
                assert_eq!(at, next);
                let own = bytes.get(position(at)..position(at) + bad.len());
                assert!(!bad.is_empty() && own == Some(bad.as_slice()));
                next += offset(bad.len());
            }
            Step::End { offset: at, rest } => {
                assert_eq!((at, at + rest), (next, offset(bytes.len())));
                return found;
            }
        }
    }
}

fn offset(length: usize) -> u32 {
    u32::try_from(length).expect("an input is short")
}

fn position(offset: u32) -> usize {
    usize::try_from(offset).expect("32 bits fit")
}
