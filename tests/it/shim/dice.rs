//! Randomness that can be had again: from a seed that is printed, and taken from `HOOKWHEEL_SEED`.

/// SplitMix64: any seed gives a long sequence.
pub struct Dice(u64);

impl Dice {
    /// From `HOOKWHEEL_SEED`, or another one each time; it is printed with what it is for.
    pub fn seeded(what: &str) -> Self {
        let seed = match std::env::var("HOOKWHEEL_SEED") {
            Ok(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("HOOKWHEEL_SEED must be a number, not {text:?}")),
            Err(_) => {
                let mut bytes = [0; 4];
                getrandom::fill(&mut bytes).unwrap();
                u64::from(u32::from_be_bytes(bytes))
            }
        };
        eprintln!("{what}: HOOKWHEEL_SEED={seed}");
        Self(seed)
    }

    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `below`, not included; 0 where that is nothing.
    pub const fn below(&mut self, below: u64) -> u64 {
        if below == 0 { 0 } else { self.next() % below }
    }

    pub const fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}
