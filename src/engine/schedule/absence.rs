//! A receiver that is not there: after some attempts in a row that met nobody, its lane sends one at a time, and
//! ever more seldom. Pure.
//!
//! Each attempt is one of some delivery's schedule, and costs a connection that takes a whole timeout to fail. A dead
//! receiver with a backlog would have its deliveries use up their schedules one right after the other, and a
//! thousand such receivers would keep the daemon busy with nothing. The gap only ever delays.

use crate::model::SteadyMillis;

/// So many in a row, and the receiver is only tried now and then. A restart of a receiver costs a few.
const IN_A_ROW: u8 = 5;
/// The first gap between the beginnings of two attempts, doubled by each further one that meets nobody.
const GAP_MS: u64 = 1_000;
/// The longest gap: a receiver that is back is found after half a minute at most.
const GAP_MAX_MS: u64 = 30_000;
/// Doublings after which the longest gap is reached.
const DOUBLINGS_MAX: u8 = 5;

/// What a lane knows of its receiver's absence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Absence {
    in_a_row: u8,
    /// When the last attempt began; `None`: whenever that was, the next one need not wait for it.
    begun: Option<SteadyMillis>,
}

impl Absence {
    /// Whether the receiver is only tried now and then.
    pub(super) const fn probing(self) -> bool {
        self.in_a_row >= IN_A_ROW
    }

    /// From when on another attempt may begin; a time that has passed means now.
    pub(super) fn free_at(self) -> SteadyMillis {
        match self.begun {
            Some(begun) if self.probing() => {
                begun.plus((GAP_MS << (self.in_a_row - IN_A_ROW)).min(GAP_MAX_MS))
            }
            Some(_) | None => SteadyMillis(0),
        }
    }

    /// An attempt begins; gives whether it is one that tries whether anybody is there.
    pub(super) const fn begin(&mut self, now: SteadyMillis) -> bool {
        self.begun = Some(now);
        self.probing()
    }

    /// An attempt met nobody. What was in flight beside others when they met nobody lengthens no gap: only an attempt
    /// that was made after one does.
    pub(super) fn met_nobody(&mut self, tried: bool) {
        if tried || !self.probing() {
            self.in_a_row = (self.in_a_row + 1).min(IN_A_ROW + DOUBLINGS_MAX);
        }
    }

    /// Somebody answered, or another receiver is in its place.
    pub(super) const fn over(&mut self) {
        self.in_a_row = 0;
    }

    /// The next attempt need not wait for the gap's end.
    pub(super) const fn waive(&mut self) {
        self.begun = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_grows_from_the_fifth_in_a_row_on_and_ends_with_an_answer() {
        let mut absence = Absence::default();
        let mut gaps = Vec::new();
        for now in (1..14).map(|n| SteadyMillis(n * 100_000)) {
            let tried = absence.begin(now);
            absence.met_nobody(tried);
            gaps.push(absence.free_at().since(now) / 1_000);
        }
        assert_eq!(gaps, [0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30, 30]);
        absence.waive();
        assert_eq!(absence.free_at(), SteadyMillis(0));
        assert!(absence.begin(SteadyMillis(5_000)));
        assert_eq!(absence.free_at(), SteadyMillis(35_000));
        absence.over();
        assert_eq!(
            (absence.probing(), absence.free_at()),
            (false, SteadyMillis(0))
        );
    }

    #[test]
    fn what_failed_beside_others_lengthens_no_gap() {
        let mut absence = Absence::default();
        let tried: Vec<bool> = (0..8).map(|_| absence.begin(SteadyMillis(7))).collect();
        for tried in tried {
            absence.met_nobody(tried);
        }
        assert_eq!(absence.free_at(), SteadyMillis(1_007));
    }
}
