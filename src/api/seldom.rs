//! Log lines that strangers can cause: told now and then, with how many there were.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Often enough to be noticed, and far too seldom to fill a disk.
const INTERVAL: Duration = Duration::from_secs(10);

/// Says when one kind of line may be written again.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// Counts one; gives how many there were since the last line, this one included, if it is time for one.
    pub(super) fn tell(&self) -> Option<u64> {
        self.tell_at(Instant::now())
    }

    fn tell_at(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().expect("no holder of this lock panics");
        told.untold += 1;
        if told
            .last
            .is_some_and(|last| now.duration_since(last) < INTERVAL)
        {
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_then_one_in_an_interval_with_the_count() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.tell_at(start), Some(1));
        for _ in 0..5 {
            assert_eq!(seldom.tell_at(start + INTERVAL / 2), None);
        }
        assert_eq!(seldom.tell_at(start + INTERVAL), Some(6));
        assert_eq!(seldom.tell_at(start + INTERVAL), None);
    }
}
