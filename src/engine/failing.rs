//! How long a webhook has been failing without a single success, and disabling it when that is too long.
//!
//! The count is in steady time, from the first failed attempt since the last success, or since the webhook was
//! registered, activated or given another URL or `oauth2`. It is in memory; after a start it is read from the log,
//! when an attempt fails first or somebody asks. Only a failed attempt disables: a webhook without traffic is left
//! alone.

use std::sync::{Arc, Mutex};

use crate::model::{InactiveReason, Position, SteadyMillis, UnixMillis};
use crate::sender::Sent;

use super::{Engine, Live};

/// Records of attempts read of one webhook. One that fails more often than this within the time that its profile allows
/// it is disabled so much later, and that only after a start.
const RECORDS_MAX: usize = 10_000;
/// Logs read at once for this: after a start many webhooks may fail at about the same time.
pub(super) const LOOKS_MAX: usize = 2;

/// Since when a webhook has been failing, as answers show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failing {
    /// When the first attempt failed since the last success.
    pub since: UnixMillis,
    /// From when on a failed attempt disables it; `None` where its profile has no such rule.
    pub disables_at: Option<UnixMillis>,
}

/// When an attempt for a webhook arrived last, wherever that was sent to. Shared by all versions of the webhook.
///
/// It is told by the wall clock, and by the journal's end at that time, which no set clock moves. In memory only.
#[derive(Debug, Default)]
pub(super) struct LastSuccess(Mutex<Option<(UnixMillis, Position)>>);

impl LastSuccess {
    fn note(&self, at: UnixMillis, end: Position) {
        let mut last = self.0.lock().expect("no holder of this lock panics");
        // Each by itself is the latest.
        let before = last.unwrap_or((at, end));
        *last = Some((at.max(before.0), end.max(before.1)));
    }

    /// Whether it came after an attempt that was begun and recorded then.
    pub(super) fn is_since(&self, started_at: UnixMillis, recorded: Position) -> bool {
        let last = self.0.lock().expect("no holder of this lock panics");
        last.is_some_and(|(at, end)| at >= started_at || end > recorded)
    }
}

/// Since when all attempts have failed. Shared by all versions of a webhook that send to the same place without a stop
/// between, so what an attempt says of another place goes nowhere.
#[derive(Debug)]
pub(super) struct Streak(Mutex<Known>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing since the start; the log may tell.
    Unread,
    /// The latest attempt was no failure.
    Well,
    /// Failing since then; `read` if nothing earlier can be in the log.
    Failing { since: SteadyMillis, read: bool },
}

impl Streak {
    /// Of a webhook that the log may tell of.
    pub(super) fn unread() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Known::Unread)))
    }

    /// Of a webhook for which nothing has been tried.
    pub(super) fn well() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Known::Well)))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.0.lock().expect("no holder of this lock panics"))
    }

    /// An attempt arrived.
    pub(super) fn succeeded(&self) {
        self.change(|known| *known = Known::Well);
    }

    /// An attempt failed. Gives whether the log is to be read now.
    fn failed(&self, at: SteadyMillis) -> bool {
        self.change(|known| {
            let unread = *known == Known::Unread;
            if !matches!(known, Known::Failing { .. }) {
                *known = Known::Failing {
                    since: at,
                    read: !unread,
                };
            }
            unread
        })
    }

    /// The log was read. What has happened since it was begun to be read counts more.
    fn told(&self, found: Option<SteadyMillis>) {
        self.change(|known| {
            *known = match (*known, found) {
                (Known::Unread, None) => Known::Well,
                (Known::Unread, Some(since)) => Known::Failing { since, read: true },
                (Known::Failing { since, read: false }, found) => Known::Failing {
                    since: found.map_or(since, |found| found.min(since)),
                    read: true,
                },
                (known @ (Known::Well | Known::Failing { read: true, .. }), _) => known,
            }
        });
    }

    fn since(&self) -> Option<SteadyMillis> {
        self.change(|known| match known {
            Known::Failing { since, .. } => Some(*since),
            Known::Unread | Known::Well => None,
        })
    }

    pub(super) fn is_read(&self) -> bool {
        self.change(|known| !matches!(known, Known::Unread | Known::Failing { read: false, .. }))
    }
}

impl Engine {
    /// An attempt arrived. It counts from now on, before it is on record and whatever becomes of its delivery.
    pub(super) fn note_success(&self, live: &Live, sent: &Sent) {
        let took_ms = u64::from(sent.phases.total_us / 1_000);
        let at = UnixMillis(sent.started_at.0.saturating_add(took_ms));
        live.last_success.note(at, self.reader.end());
    }

    /// Since when an active webhook has been failing, as far as memory tells.
    #[must_use]
    pub fn failing(&self, live: &Live) -> Option<Failing> {
        let since = live.streak.since().filter(|_| live.webhook.active)?;
        let after_ms = live.contract.profile.exhausted.disable_after_ms;
        Some(Failing {
            since: self.clock.wall_of(since),
            disables_at: after_ms.map(|ms| self.clock.wall_of(since.plus(ms))),
        })
    }

    /// Reads in the log since when a webhook has been failing, where that is not known since the start.
    pub async fn read_failing(&self, live: &Live) {
        if live.streak.is_read() || !live.webhook.active {
            return;
        }
        let Ok(_place) = self.looks.acquire().await else {
            return;
        };
        if live.streak.is_read() {
            return;
        }
        let (reader, webhook) = (self.reader.clone(), live.webhook.id);
        let changed_at = live.webhook.updated_at;
        let look = move || reader.failing_since(webhook, changed_at, RECORDS_MAX);
        match self.tracker.spawn_blocking(look).await {
            Ok(Ok(found)) => live.streak.told(found),
            // It counts from the first failure after the start, so it can only be disabled later.
            Ok(Err(error)) => {
                tracing::error!(webhook_id = %webhook, %error, "the log could not be read");
            }
            Err(error) => {
                tracing::error!(webhook_id = %webhook, %error, "reading the log failed");
            }
        }
    }

    /// Takes in that an attempt failed `at` this time, and disables the webhook where its profile says that it has
    /// been failing for too long.
    pub(super) async fn after_failure(self: &Arc<Self>, live: &Arc<Live>, at: SteadyMillis) {
        let read = live.streak.failed(at);
        self.disable_failing(live, at).await;
        if read {
            let (engine, live) = (Arc::clone(self), Arc::clone(live));
            self.tracker.spawn(async move {
                engine.read_failing(&live).await;
                engine.disable_failing(&live, at).await;
            });
        }
    }

    async fn disable_failing(self: &Arc<Self>, live: &Live, at: SteadyMillis) {
        let rule = live.contract.profile.exhausted.disable_after_ms;
        if let (Some(after_ms), Some(since)) = (rule, live.streak.since())
            && at.since(since) >= after_ms
        {
            self.disable(live, InactiveReason::Failing).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_is_since_by_either_clock_or_journal() {
        let place = Position::from_u64;
        let last = LastSuccess::default();
        assert!(!last.is_since(UnixMillis(0), place(0)));
        last.note(UnixMillis(50), place(7));
        // Of the wall clock alone, as in the middle of an attempt; of the journal alone, as after a clock was set back.
        assert!(last.is_since(UnixMillis(50), place(9)));
        assert!(last.is_since(UnixMillis(90), place(6)));
        assert!(!last.is_since(UnixMillis(51), place(7)));
        // One that came later by the journal, and earlier by the clock, takes nothing back.
        last.note(UnixMillis(20), place(30));
        assert!(last.is_since(UnixMillis(50), place(40)));
        assert!(last.is_since(UnixMillis(90), place(29)));
        // Nor does one that is told late.
        last.note(UnixMillis(60), place(10));
        assert!(last.is_since(UnixMillis(60), place(40)));
        assert!(last.is_since(UnixMillis(90), place(29)));
    }

    fn at(ms: u64) -> SteadyMillis {
        SteadyMillis(ms)
    }

    #[test]
    fn counts_from_the_first_failure_after_a_success() {
        let streak = Streak::well();
        assert!(!streak.failed(at(5)) && !streak.failed(at(9)));
        assert_eq!(streak.since(), Some(at(5)));
        streak.succeeded();
        assert_eq!((streak.since(), streak.is_read()), (None, true));
        assert!(!streak.failed(at(12)));
        assert_eq!(streak.since(), Some(at(12)));
    }

    #[test]
    fn the_log_is_read_once_and_what_came_meanwhile_counts_more() {
        let streak = Streak::unread();
        assert!(streak.failed(at(50)));
        assert!(!streak.failed(at(60)) && !streak.is_read());
        streak.told(Some(at(7)));
        assert_eq!((streak.since(), streak.is_read()), (Some(at(7)), true));

        let streak = Streak::unread();
        streak.failed(at(50));
        streak.succeeded();
        streak.told(Some(at(7)));
        assert_eq!(streak.since(), None);
        streak.failed(at(80));
        streak.told(Some(at(7)));
        assert_eq!(streak.since(), Some(at(80)));

        let streak = Streak::unread();
        streak.told(None);
        assert!(streak.is_read() && !streak.failed(at(90)));
        assert_eq!(streak.since(), Some(at(90)));
    }
}
