//! When a lane sends nothing, whatever waits: its receiver asked for it, a rate is used up, or nobody is there.

use crate::model::SteadyMillis;

use super::super::messages::Pause;
use super::super::rate::Rates;
use super::Lane;

impl<B> Lane<B> {
    /// Whether its receiver is only tried now and then.
    pub(in crate::engine::schedule) const fn probing(&self) -> bool {
        self.absence.probing()
    }

    /// Until when it sends nothing, whatever waits, and why.
    pub(in crate::engine::schedule) fn paused(
        &self,
        now: SteadyMillis,
    ) -> Option<(SteadyMillis, Pause)> {
        let until = self.free_at();
        let why = if until == self.paused_until {
            Pause::Asked
        } else if until == self.absence.free_at() {
            Pause::Absent
        } else {
            Pause::Rate
        };
        (until > now).then_some((until, why))
    }

    /// From when on the lane may send, as pause, rates and absence have it.
    pub(super) fn free_at(&self) -> SteadyMillis {
        let free_at = self.paused_until.max(self.pace.free_at());
        free_at.max(self.absence.free_at())
    }

    /// Sends nothing before `until`.
    pub(in crate::engine::schedule) fn pause(&mut self, until: SteadyMillis) {
        self.paused_until = until;
    }

    /// Another receiver is in the place of the one before, or is to be taken for another.
    pub(in crate::engine::schedule) fn unpause(&mut self) {
        self.paused_until = SteadyMillis(0);
        self.absence.over();
    }

    /// Sets the lane's rates.
    pub(in crate::engine::schedule) const fn set_rates(&mut self, rates: Rates) {
        self.pace.set(rates);
    }
}
