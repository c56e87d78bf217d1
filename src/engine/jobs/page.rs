//! How much of history a job reads at once. Pure.
//!
//! Small pages let live traffic meet short bursts. But a page costs something for each segment of the journal, whatever
//! its size; where that outweighs its events, larger ones are read, so that the rate is kept on a long journal too.

use std::time::Duration;

/// A page, at least and at most.
const PAGE_MIN: usize = 32;
const PAGE_MAX: usize = 256;
/// A page that takes no longer is as small as it may be: nobody notices such a burst.
const QUICK: Duration = Duration::from_millis(3);
/// What is read and not used within two seconds is read again, so no page is larger than what a job queues in them.
const USED_SECONDS: usize = 2;

/// The size of a job's next page.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageSize {
    least: usize,
    most: usize,
    size: usize,
}

impl PageSize {
    pub(super) fn new(per_second: u32) -> Self {
        let rate = usize::try_from(per_second).unwrap_or(PAGE_MAX);
        let least = (rate / 60).clamp(PAGE_MIN, PAGE_MAX);
        Self {
            least,
            most: rate.saturating_mul(USED_SECONDS).clamp(PAGE_MIN, PAGE_MAX),
            size: least,
        }
    }

    pub(super) const fn size(self) -> usize {
        self.size
    }

    /// A page took so long before its first event, of so long in all.
    pub(super) fn took(&mut self, waited: Duration, taken: Duration) {
        let events = taken.saturating_sub(waited);
        if taken > QUICK && waited > events {
            self.size = (self.size * 2).min(self.most);
        } else if taken <= QUICK / 2 || waited < events / 4 {
            // Half of it costs no more than a fifth more for each event.
            self.size = (self.size / 2).max(self.least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads pages of a journal on which each costs `waited_us`, and `event_us` for each event; gives the last sizes.
    fn settled(per_second: u32, waited_us: u64, event_us: u64) -> Vec<usize> {
        let mut page = PageSize::new(per_second);
        let mut sizes = Vec::new();
        for _ in 0..20 {
            sizes.push(page.size());
            let waited = Duration::from_micros(waited_us);
            let events = Duration::from_micros(event_us * page.size() as u64);
            page.took(waited, waited + events);
        }
        sizes.split_off(16)
    }

    #[test]
    fn pages_are_short_on_a_short_journal_and_grow_with_a_long_one() {
        assert_eq!(settled(1_000, 100, 15), [32; 4]);
        assert_eq!(settled(10_000, 100, 15), [166; 4], "a fast job needs them");
        assert_eq!(settled(1_000, 6_000, 15), [256; 4]);
        assert_eq!(settled(10_000, 50_000, 15), [256; 4]);
        // It stops growing where the events take as long as what comes before them.
        assert_eq!(settled(1_000, 3_000, 30), [128; 4]);
        // Events that are slow to read make no page larger.
        assert_eq!(settled(1_000, 3_000, 1_000), [32; 4]);
        assert_eq!(
            settled(1, 50_000, 15),
            [32; 4],
            "the rest would be read in vain"
        );
        assert_eq!(settled(50, 50_000, 15), [100; 4]);
    }

    #[test]
    fn a_page_shrinks_again() {
        let mut page = PageSize::new(600);
        for _ in 0..5 {
            page.took(Duration::from_millis(20), Duration::from_millis(21));
        }
        assert_eq!(page.size(), 256);
        for _ in 0..5 {
            page.took(Duration::from_micros(100), Duration::from_millis(1));
        }
        assert_eq!(page.size(), 32);
    }
}
