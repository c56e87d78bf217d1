//! A Bloom filter over index keys: says "not here" for certain, without a read.
//!
//! The first sixteen bytes of a filtered key are a hash already, so they are used as two.

use super::frame::be64;
use super::index::Key;

/// Ten bits a key and seven probes: about 0.8 % of look-ups read an index for nothing.
const BITS_PER_KEY: usize = 10;
const PROBES: u64 = 7;

/// A filter over the filtered keys of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    bits: Vec<u8>,
}

impl Filter {
    pub(super) fn of<'a>(keys: impl Iterator<Item = &'a Key>, count: usize) -> Self {
        let mut filter = Self {
            bits: vec![0; (count * BITS_PER_KEY).div_ceil(8).max(8)],
        };
        for key in keys {
            for probe in 0..PROBES {
                let bit = filter.bit(key, probe);
                if let Some(byte) = filter.bits.get_mut(bit / 8) {
                    *byte |= 1 << (bit % 8);
                }
            }
        }
        filter
    }

    pub(super) fn from_bytes(bits: Vec<u8>) -> Option<Self> {
        (!bits.is_empty()).then_some(Self { bits })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bits
    }

    /// Whether the key may be there; `false` is certain.
    pub(super) fn may_hold(&self, key: &Key) -> bool {
        (0..PROBES).all(|probe| {
            let bit = self.bit(key, probe);
            self.bits
                .get(bit / 8)
                .is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
        })
    }

    fn bit(&self, key: &Key, probe: u64) -> usize {
        let mixed = be64(key, 0).wrapping_add(probe.wrapping_mul(be64(key, 8) | 1));
        let bits = self.bits.len() as u64 * 8;
        usize::try_from(mixed % bits).expect("smaller than the filter's size in bits")
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn key(number: u32) -> Key {
        let mut key = [0; 24];
        key[..16].copy_from_slice(&Sha256::digest(number.to_be_bytes())[..16]);
        key
    }

    #[test]
    fn holds_what_was_put_in_and_little_else() {
        let keys: Vec<Key> = (0..5_000).map(key).collect();
        let filter = Filter::of(keys.iter(), keys.len());
        assert!(keys.iter().all(|key| filter.may_hold(key)));
        let wrong = (5_000..25_000)
            .filter(|number| filter.may_hold(&key(*number)))
            .count();
        assert!(wrong < 400, "{wrong} of 20,000 are wrongly held");
        assert_eq!(Filter::from_bytes(filter.bytes().to_vec()), Some(filter));
        assert!(!Filter::of([].iter(), 0).may_hold(&key(1)));
    }
}
