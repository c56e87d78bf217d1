//! How long a look at history may go on. It never ends one that has seen nothing, but where nobody waits for it any more.
//!
//! What a page takes before its first event grows with the journal's segments, and is lost if the look ends there. So a
//! turn's look may take as long for its events as it had to wait for the first, however short the turn.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The patience of who looks.
#[derive(Debug)]
pub(super) struct Patience {
    stop: CancellationToken,
    /// Then it is over, whatever has been seen.
    until: Option<Instant>,
    /// For the events of a page, at least.
    share: Duration,
    began: Instant,
    /// What the page took before its first event.
    waited: Duration,
}

impl Patience {
    /// For one page of a job's turn.
    pub(super) fn of_turn(share: Duration, stop: CancellationToken) -> Self {
        Self {
            stop,
            until: None,
            share,
            began: Instant::now(),
            waited: Duration::ZERO,
        }
    }

    /// For as many pages as there is time for.
    pub(super) fn until(until: Instant, stop: CancellationToken) -> Self {
        Self {
            until: Some(until),
            ..Self::of_turn(Duration::MAX, stop)
        }
    }

    /// Whether the look goes on, now that it has seen so many events of a page.
    pub(super) fn goes_on(&mut self, looked: usize) -> bool {
        self.goes_on_at(Instant::now(), looked)
    }

    fn goes_on_at(&mut self, now: Instant, looked: usize) -> bool {
        if self.stop.is_cancelled() || self.until.is_some_and(|until| now >= until) {
            return false;
        }
        let taken = now.saturating_duration_since(self.began);
        if looked == 0 {
            self.waited = taken;
            return true;
        }
        taken.saturating_sub(self.waited) < self.share.max(self.waited)
    }

    /// What the page took before its first event.
    pub(super) const fn waited(&self) -> Duration {
        self.waited
    }

    /// What it took in all.
    pub(super) fn taken(&self) -> Duration {
        self.began.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_turn_gives_its_events_a_share_and_no_less_than_what_came_before_them() {
        for (before, share) in [(1, 10), (9, 10), (30, 30)] {
            let mut patience = Patience::of_turn(ms(10), CancellationToken::new());
            let first = patience.began + ms(before);
            assert!(patience.goes_on_at(patience.began, 0));
            assert!(patience.goes_on_at(first, 0), "it has seen nothing");
            assert!(patience.goes_on_at(first + ms(share - 1), 1), "{before}");
            assert!(!patience.goes_on_at(first + ms(share), 2), "{before}");
            assert_eq!(patience.waited(), ms(before));
        }
    }

    #[test]
    fn a_deadline_and_a_stop_end_it_wherever_it_is() {
        let stop = CancellationToken::new();
        let until = Instant::now() + ms(100);
        let mut patience = Patience::until(until, stop.clone());
        let before = until.checked_sub(ms(1)).unwrap();
        assert!(patience.goes_on_at(before, 0) && patience.goes_on_at(before, 50));
        assert!(!patience.goes_on_at(until, 0) && !patience.goes_on_at(until, 50));
        let mut patience = Patience::of_turn(ms(10), stop.clone());
        assert!(patience.goes_on(0));
        stop.cancel();
        assert!(!patience.goes_on(0) && !patience.goes_on(1));
    }
}
