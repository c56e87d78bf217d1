//! The place of one access token: what is known of it, and whose turn it is to ask for another.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use http::HeaderValue;

use super::answer::Issued;
use crate::model::SteadyMillis;

/// A token is renewed after nine tenths of its lifetime, but no longer than this before its end: a request that is on
/// its way must not meet its end, and clocks differ.
const EARLY_SHARE: u32 = 10;
const EARLY_MAX: Duration = Duration::from_secs(60);
/// How long a failure is remembered: doubled by each in a row. Short beside the gaps between the attempts of a lane
/// that meets nobody, or an attempt that comes after a long gap would not ask.
const FAILED_FOR_MS: u64 = 500;
const FAILED_FOR_MAX_MS: u64 = 5_000;
/// As far as the server's own `Retry-After` is heeded: a receiver does not wait longer for its token.
const ASKED_MAX_MS: u64 = 60_000;
/// Refused tokens that are dropped one right after the other, and then one in this time.
const DROPS_AT_ONCE: u64 = 3;
const DROP_EVERY_MS: u64 = 30_000;

/// An access token. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// The value of `Authorization`.
    pub(super) header: HeaderValue,
    /// Tells it from those before and after it.
    number: u64,
    renew_at: SteadyMillis,
    ends_at: SteadyMillis,
}

/// Why no token came.
#[derive(Debug)]
pub(super) struct Failure {
    /// A sentence about the token endpoint.
    pub(super) why: String,
    /// Of a timeout: it says nothing to those who may wait longer than this.
    pub(super) speaks_up_to: Option<Duration>,
    /// How long the server asks to be left alone, milliseconds.
    pub(super) asked_ms: Option<u64>,
}

/// The place of one token.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    /// Held by the one who asks.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    /// Tokens issued so far.
    issued: u64,
    /// The last failure, and until when it is remembered.
    failure: Option<(Failure, SteadyMillis)>,
    failures_in_a_row: u32,
    /// Up to when drops are paid for, each with its interval.
    drops_paid_until: SteadyMillis,
}

impl Slot {
    /// A panic under this lock could only be a failed allocation.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Waits for the turn to ask.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Takes the turn to ask if nobody has it.
    pub(super) fn free_turn(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        self.turn.try_lock().ok()
    }

    /// The token as long as it has not ended, though it should be renewed.
    pub(super) fn usable(&self, now: SteadyMillis) -> Option<Token> {
        self.lock().usable(now)
    }

    /// What is to be done `now` without asking, for somebody who can wait for `left`. `None`: ask.
    pub(super) fn known(&self, now: SteadyMillis, left: Duration) -> Option<Result<Token, String>> {
        let state = self.lock();
        if let Some(token) = state.token.as_ref().filter(|token| now < token.renew_at) {
            return Some(Ok(token.clone()));
        }
        let (failure, until) = state.failure.as_ref()?;
        if now >= *until || failure.speaks_up_to.is_some_and(|waited| left > waited) {
            return None;
        }
        Some(
            state
                .usable(now)
                .ok_or_else(|| format!("{}, a moment ago; it is asked again soon", failure.why)),
        )
    }

    /// Takes a token that was asked for at that time.
    pub(super) fn issued(&self, issued: Issued, asked_at: SteadyMillis) -> Token {
        let Issued { header, lifetime } = issued;
        let early = (lifetime / EARLY_SHARE).min(EARLY_MAX);
        let mut state = self.lock();
        state.issued += 1;
        let token = Token {
            header,
            number: state.issued,
            renew_at: asked_at.plus(millis(lifetime - early)),
            ends_at: asked_at.plus(millis(lifetime)),
        };
        state.token = Some(token.clone());
        (state.failure, state.failures_in_a_row) = (None, 0);
        token
    }

    /// Remembers a failure for a moment.
    ///
    /// # Errors
    /// The failure, unless the token from before is still good.
    pub(super) fn failed(&self, failure: Failure, now: SteadyMillis) -> Result<Token, String> {
        let mut state = self.lock();
        let doublings = state.failures_in_a_row.min(8);
        state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
        let own_ms = (FAILED_FOR_MS << doublings).min(FAILED_FOR_MAX_MS);
        let asked_ms = failure.asked_ms.unwrap_or_default().min(ASKED_MAX_MS);
        let why = failure.why.clone();
        state.failure = Some((failure, now.plus(own_ms.max(asked_ms))));
        state.usable(now).ok_or(why)
    }

    /// The receiver has refused a token. It is dropped, unless too many were of late: then it is not the token.
    pub(super) fn refused(&self, token: &Token, now: SteadyMillis) {
        let mut state = self.lock();
        let is_current = state
            .token
            .as_ref()
            .is_some_and(|own| own.number == token.number);
        let ahead_ms = state.drops_paid_until.since(now);
        if is_current && ahead_ms <= (DROPS_AT_ONCE - 1) * DROP_EVERY_MS {
            state.token = None;
            state.drops_paid_until = state.drops_paid_until.max(now).plus(DROP_EVERY_MS);
        }
    }
}

impl State {
    fn usable(&self, now: SteadyMillis) -> Option<Token> {
        self.token.clone().filter(|token| now < token.ends_at)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMPLE: Duration = Duration::from_secs(20);

    fn at(ms: u64) -> SteadyMillis {
        SteadyMillis(1_000_000 + ms)
    }

    fn issued(text: &'static str, lifetime_s: u64) -> Issued {
        Issued {
            header: HeaderValue::from_static(text),
            lifetime: Duration::from_secs(lifetime_s),
        }
    }

    fn failure(why: &str) -> Failure {
        Failure {
            why: why.to_owned(),
            speaks_up_to: None,
            asked_ms: None,
        }
    }

    /// The token's header, the reason for none, or `ask`.
    fn known(slot: &Slot, now: SteadyMillis) -> String {
        match slot.known(now, AMPLE) {
            None => "ask".to_owned(),
            Some(Ok(token)) => token.header.to_str().unwrap().to_owned(),
            Some(Err(why)) => why,
        }
    }

    #[test]
    fn a_token_is_renewed_before_its_end_and_used_to_its_end_where_that_fails() {
        let slot = Slot::default();
        assert_eq!(known(&slot, at(0)), "ask");
        slot.issued(issued("a", 100), at(0));
        assert_eq!(known(&slot, at(89_999)), "a");
        assert_eq!(known(&slot, at(90_000)), "ask");
        let kept = slot.failed(failure("is down"), at(90_000)).unwrap();
        assert_eq!(kept.header, "a");
        assert_eq!(known(&slot, at(90_499)), "a");
        assert_eq!(known(&slot, at(90_500)), "ask");
        assert_eq!(
            slot.failed(failure("is down"), at(100_000)).unwrap_err(),
            "is down"
        );
        assert!(known(&slot, at(100_999)).starts_with("is down, a moment ago"));
        slot.issued(issued("b", 7_200), at(101_000));
        // A minute before its end at the earliest.
        assert_eq!(known(&slot, at(101_000 + 7_139_999)), "b");
        assert_eq!(known(&slot, at(101_000 + 7_140_000)), "ask");
    }

    #[test]
    fn a_failure_is_remembered_for_longer_the_more_there_are_and_as_long_as_is_asked() {
        let slot = Slot::default();
        let mut lengths = Vec::new();
        for round in 0..7 {
            let now = at(round * 100_000);
            slot.failed(failure("is down"), now).unwrap_err();
            let asks = |after: &u64| known(&slot, now.plus(*after)) == "ask";
            lengths.push((0..10_000).step_by(250).find(asks).unwrap());
        }
        assert_eq!(lengths, [500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000]);
        let asked_ms = Some(3_600_000);
        let busy = Failure {
            asked_ms,
            ..failure("is busy")
        };
        slot.failed(busy, at(0)).unwrap_err();
        assert_ne!(known(&slot, at(59_999)), "ask");
        assert_eq!(known(&slot, at(60_000)), "ask");
    }

    #[test]
    fn a_timeout_says_nothing_to_who_can_wait_longer() {
        let slot = Slot::default();
        let speaks_up_to = Some(Duration::from_secs(1));
        let slow = Failure {
            speaks_up_to,
            ..failure("is slow")
        };
        slot.failed(slow, at(0)).unwrap_err();
        assert!(slot.known(at(1), Duration::from_secs(1)).is_some());
        assert!(slot.known(at(1), Duration::from_secs(2)).is_none());
    }

    #[test]
    fn a_refused_token_is_dropped_once_and_not_each_time_without_end() {
        let slot = Slot::default();
        let old = slot.issued(issued("old", 3_600), at(0));
        slot.refused(&old, at(1));
        assert_eq!(known(&slot, at(1)), "ask");
        let mut last = slot.issued(issued("new", 3_600), at(2));
        slot.refused(&old, at(3));
        assert_eq!(known(&slot, at(3)), "new", "an older one was refused");
        for _ in 0..2 {
            slot.refused(&last, at(4));
            assert_eq!(known(&slot, at(4)), "ask");
            last = slot.issued(issued("new", 3_600), at(4));
        }
        slot.refused(&last, at(5));
        assert_eq!(known(&slot, at(5)), "new", "three were dropped already");
        slot.refused(&last, at(30_001));
        assert_eq!(
            known(&slot, at(30_001)),
            "ask",
            "half a minute pays for another"
        );
    }
}
