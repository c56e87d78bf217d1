//! Looking for the next good frame in bytes that are none.
//!
//! Any byte may be the first of a frame, and what stands there may look like a length: a receiver may answer with
//! bytes that do, at every place. Taking the checksum of what each of them announces would cost the square of the
//! damage. So checksums of the bytes from the start of the damage are kept, one at every few hundred bytes, and that
//! of any stretch is made from the two at its ends: CRCs are linear, and the rest is moving one over zeros.

use std::io;
use std::sync::LazyLock;

use super::disk::File;
use super::frame::FRAME_HEAD;

/// So many bytes lie between two checksums that are kept.
const STEP: u32 = 512;
/// What is read at once to make them.
const CHUNK: u32 = 256 << 10;

/// Moves a CRC-32C over 2^n zero bytes, for each n: what it does to each of the 32 bits.
static ZEROS: LazyLock<[[u32; 32]; 32]> = LazyLock::new(|| {
    // CRC-32C, reflected: one zero bit shifts right, and what falls out brings the polynomial in.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut bit = [0; 32];
    for (n, column) in bit.iter_mut().enumerate() {
        *column = if n == 0 { POLYNOMIAL } else { 1 << (n - 1) };
    }
    let mut operator = bit;
    for _ in 0..3 {
        operator = twice(&operator);
    }
    let mut operators = [[0; 32]; 32];
    for one in &mut operators {
        *one = operator;
        operator = twice(&operator);
    }
    operators
});

fn moved(operator: &[u32; 32], crc: u32) -> u32 {
    operator
        .iter()
        .enumerate()
        .filter(|(n, _)| crc >> n & 1 == 1)
        .fold(0, |sum, (_, column)| sum ^ column)
}

fn twice(operator: &[u32; 32]) -> [u32; 32] {
    operator.map(|column| moved(operator, column))
}

/// `crc` as it is after so many zero bytes more, but for the inversions, which cancel out in a difference.
fn over_zeros(crc: u32, bytes: u32) -> u32 {
    ZEROS
        .iter()
        .enumerate()
        .filter(|(n, _)| bytes >> n & 1 == 1)
        .fold(crc, |crc, (_, operator)| moved(operator, crc))
}

/// Checks frames in a part of a file.
pub(super) struct Search<'a> {
    file: &'a File,
    from: u32,
    end: u32,
    /// The checksum of the bytes from `from` to each step.
    kept: Vec<u32>,
    buffer: Vec<u8>,
}

impl<'a> Search<'a> {
    pub(super) const fn new(file: &'a File, from: u32, end: u32) -> Self {
        Self {
            file,
            from,
            end,
            kept: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// The checksum that goes on from `head` with the payload, of `length` bytes, of the frame at `offset`; all of it
    /// lies between `from` and the end.
    pub(super) fn checksum(&mut self, head: u32, offset: u32, length: u32) -> io::Result<u32> {
        let head_bytes = u32::try_from(FRAME_HEAD).expect("it is 8");
        let payload = offset + head_bytes;
        let before = self.until(payload)?;
        let after = self.until(payload + length)?;
        Ok(over_zeros(head ^ before, length) ^ after)
    }

    /// The checksum of the bytes from `from` to `at`.
    fn until(&mut self, at: u32) -> io::Result<u32> {
        let steps = (at - self.from) / STEP;
        while self.kept.len() <= steps as usize {
            self.keep_more()?;
        }
        let kept = self.kept.get(steps as usize).copied().unwrap_or_default();
        let start = self.from + steps * STEP;
        self.read(start, at - start)?;
        Ok(crc32c::crc32c_append(kept, &self.buffer))
    }

    fn keep_more(&mut self) -> io::Result<()> {
        let Some(mut crc) = self.kept.last().copied() else {
            self.kept.push(0);
            return Ok(());
        };
        let known = u32::try_from(self.kept.len() - 1).expect("an offset has 32 bits");
        let start = self.from + known * STEP;
        self.read(start, CHUNK.min(self.end - start))?;
        for step in self.buffer.chunks_exact(STEP as usize) {
            crc = crc32c::crc32c_append(crc, step);
            self.kept.push(crc);
        }
        Ok(())
    }

    fn read(&mut self, from: u32, length: u32) -> io::Result<()> {
        self.buffer.resize(length as usize, 0);
        self.file.read_exact_at(&mut self.buffer, u64::from(from))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        File::Real(file)
    }

    proptest! {
        #[test]
        fn the_checksum_of_any_stretch_is_that_of_its_bytes(
            bytes in prop::collection::vec(any::<u8>(), 100..5_000),
            from in 0..50_u32, head in any::<u32>(),
            places in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..20),
        ) {
            let (file, end) = (file_of(&bytes), u32::try_from(bytes.len()).unwrap());
            let mut search = Search::new(&file, from, end);
            for (offset, length) in places {
                let offset = from as usize + offset.index(bytes.len() - from as usize - 8);
                let length = length.index(bytes.len() - offset - 8 + 1);
                let payload = &bytes[offset + 8..offset + 8 + length];
                let expected = crc32c::crc32c_append(head, payload);
                let (offset, length) = (u32::try_from(offset).unwrap(), u32::try_from(length).unwrap());
                prop_assert_eq!(search.checksum(head, offset, length).unwrap(), expected);
            }
        }
    }
}
