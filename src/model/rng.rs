//! The numbers from which simulations are drawn: the same seed gives the same run.

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn size(&mut self, min: u64, max: u64) -> usize {
        usize::try_from(min + self.below(max - min + 1)).unwrap()
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Mostly short, at times long: messages overtake each other.
    pub(crate) fn lag(&mut self) -> u64 {
        match self.below(10) {
            0..=3 => 0,
            4..=7 => self.below(5),
            8 => self.below(60),
            _ => self.below(1_500),
        }
    }
}
