//! Seeded randomness for tests: the seed is printed, and `HOOKWHEEL_SEED` gives it again.

use std::io::Write;

/// A generator of numbers (SplitMix64): a seed makes always the same ones.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The seed of this run: `HOOKWHEEL_SEED`, or a new one. It is printed, so that a failure can be repeated.
    pub fn seed(test: &str) -> u64 {
        let seed = match std::env::var("HOOKWHEEL_SEED") {
            Ok(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("HOOKWHEEL_SEED must be a number, not {text:?}")),
            Err(_) => {
                let mut bytes = [0; 8];
                getrandom::fill(&mut bytes).unwrap();
                u64::from_be_bytes(bytes)
            }
        };
        // Not by a macro: what macros print is shown of tests that fail only.
        let line = format!("{test}: HOOKWHEEL_SEED={seed}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        seed
    }

    /// The dice of this run, with a seed as [`Dice::seed`] has it.
    pub fn seeded(test: &str) -> Self {
        Self::new(Self::seed(test), 0)
    }

    /// Dice of their own for one part of a test, so that the parts do not disturb each other.
    pub const fn new(seed: u64, part: u64) -> Self {
        Self(seed ^ part.wrapping_mul(0xa076_1d64_78bd_642f))
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where there is none.
    pub const fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    pub const fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }

    /// One of `all`, which is not empty.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        *self.pick(all).expect("there is something to choose from")
    }

    /// One of `all`.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() {
            return None;
        }
        let count = u64::try_from(all.len()).unwrap();
        all.get(usize::try_from(self.below(count)).unwrap())
    }
}
