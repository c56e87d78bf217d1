//! A delivery: one event for one webhook, and the pure decision on what follows an attempt.
//!
//! States and moves (each move is one journal record):
//!
//! ```text
//! accepted ─► pending ──success──► delivered
//!               │ ▲ └─schedule ended, 410, event unreadable──► failed
//!       failure │ │ retry at              ┌► cancelled (webhook removed)
//!               └─┘                       ├► cancelled (discarded while it was held)
//!                                         ├► dropped   (over the rate's backlog)
//!             pending ────────────────────┴► expired   (older than retention)
//! any ended state ──asked to send again──► pending
//! ```

use serde::{Deserialize, Serialize};

use super::{GonePolicy, Outcome, Policy, Position, SteadyMillis, Trigger, UnixMillis};

/// One pending delivery as the queue keeps it. Key: webhook, due, event; value: the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueEntry {
    /// When it is to be sent.
    pub due: SteadyMillis,
    /// Which event.
    pub event: Position,
    /// Attempts made in the delivery's whole life.
    pub attempts: u32,
    /// Attempts made in the current run of the schedule; sending again by hand starts a new run.
    pub run_attempts: u32,
    /// Why the next attempt will be made.
    pub trigger: Trigger,
    /// It is not sent before then, though its place in the order is by `due`: a retry to a webhook with an order
    /// keeps its place. Zero where there is nothing to wait for.
    pub not_before: SteadyMillis,
}

impl QueueEntry {
    /// A delivery that has not been attempted.
    #[must_use]
    pub const fn fresh(due: SteadyMillis, event: Position) -> Self {
        Self {
            due,
            event,
            attempts: 0,
            run_attempts: 0,
            trigger: Trigger::Schedule,
            not_before: SteadyMillis(0),
        }
    }

    /// When it may be sent.
    #[must_use]
    pub fn ready_at(&self) -> SteadyMillis {
        self.due.max(self.not_before)
    }
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// It arrived.
    Delivered,
    /// Try again then.
    RetryAt(SteadyMillis),
    /// Try again then, from the same place in the queue: nothing that comes after it in its webhook's order is
    /// sent before it.
    RetryInPlace(SteadyMillis),
    /// It was sent only to see whether its receiver answers again: its schedule stands where it stood.
    Probed,
    /// It will not be tried again by itself.
    Failed(EndReason),
}

/// Why a delivery ended without arriving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EndReason {
    /// Every attempt of the schedule failed.
    Exhausted,
    /// The receiver answered 410 and the profile takes it at its word.
    Gone,
    /// The webhook was removed.
    WebhookRemoved,
    /// Older than retention allows.
    Expired,
    /// Over the backlog that the webhook's rate allows.
    OverRate,
    /// The stored event is damaged or missing, so there is nothing to send.
    Unreadable,
    /// Somebody asked for what was held to be discarded.
    Discarded,
}

impl EndReason {
    /// The stable name, as API, logs and metrics use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Gone => "gone",
            Self::WebhookRemoved => "webhook_removed",
            Self::Expired => "expired",
            Self::OverRate => "over_rate",
            Self::Unreadable => "unreadable",
            Self::Discarded => "discarded",
        }
    }

    /// The state that a delivery is in which ended for this reason.
    #[must_use]
    pub const fn state(self) -> &'static str {
        match self {
            Self::Exhausted | Self::Gone | Self::Unreadable => "failed",
            Self::WebhookRemoved | Self::Discarded => "cancelled",
            Self::Expired => "expired",
            Self::OverRate => "dropped",
        }
    }
}

/// The states in which a delivery has ended, as the API names them.
pub const ENDED_STATES: [&str; 5] = ["delivered", "failed", "cancelled", "dropped", "expired"];

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// Waits until `due`, or is being sent.
    Pending {
        /// When its next attempt is to be made, and its place in the queue.
        due: SteadyMillis,
        /// Not before then, where it waits in its place.
        not_before: SteadyMillis,
    },
    /// Arrived.
    Delivered {
        /// When that was recorded.
        at: UnixMillis,
    },
    /// Ended without arriving.
    Ended {
        /// Why.
        reason: EndReason,
        /// When that was recorded.
        at: UnixMillis,
    },
}

impl DeliveryState {
    /// The state that it has ended in, one of [`ENDED_STATES`]; `None` while it waits or is being sent.
    #[must_use]
    pub const fn ended_as(&self) -> Option<&'static str> {
        match self {
            Self::Pending { .. } => None,
            Self::Delivered { .. } => Some("delivered"),
            Self::Ended { reason, .. } => Some(reason.state()),
        }
    }
}

/// Decides what follows an attempt that ended with `outcome` at `now`, when `run_attempts` attempts
/// (this one included) have been made in the current run. `salt` spreads jitter.
#[must_use]
pub fn after(
    outcome: &Outcome,
    run_attempts: u32,
    policy: &Policy,
    now: SteadyMillis,
    salt: u64,
) -> Next {
    match outcome {
        Outcome::Status(code) if policy.success.accepts(*code) => return Next::Delivered,
        Outcome::Status(410) if policy.on_gone == GonePolicy::Disable => {
            return Next::Failed(EndReason::Gone);
        }
        Outcome::Status(_) | Outcome::Fault { .. } => {}
    }
    match policy.retry.delay_after(run_attempts, salt) {
        Some(delay) => Next::RetryAt(now.plus(delay)),
        None => Next::Failed(EndReason::Exhausted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FaultKind, RetryPolicy, StatusRange, SuccessRule};

    fn policy() -> Policy {
        Policy {
            retry: RetryPolicy::new(vec![5_000, 25_000], 0).unwrap(),
            success: SuccessRule(vec![StatusRange { from: 200, to: 299 }]),
            on_gone: GonePolicy::Retry,
        }
    }

    #[test]
    fn follows_the_schedule_and_then_fails() {
        let (policy, now) = (policy(), SteadyMillis(1_000));
        let failure = Outcome::Status(503);
        assert_eq!(
            after(&failure, 1, &policy, now, 7),
            Next::RetryAt(SteadyMillis(6_000))
        );
        assert_eq!(
            after(&failure, 2, &policy, now, 7),
            Next::RetryAt(SteadyMillis(26_000))
        );
        assert_eq!(
            after(&failure, 3, &policy, now, 7),
            Next::Failed(EndReason::Exhausted)
        );
        let fault = Outcome::Fault {
            kind: FaultKind::Timeout,
            detail: String::new(),
        };
        assert_eq!(
            after(&fault, 1, &policy, now, 7),
            Next::RetryAt(SteadyMillis(6_000))
        );
    }

    #[test]
    fn only_the_named_codes_are_success() {
        let mut policy = policy();
        assert_eq!(
            after(&Outcome::Status(204), 1, &policy, SteadyMillis(0), 0),
            Next::Delivered
        );
        policy.success = SuccessRule(vec![StatusRange { from: 200, to: 200 }]);
        assert!(matches!(
            after(&Outcome::Status(204), 1, &policy, SteadyMillis(0), 0),
            Next::RetryAt(_)
        ));
        assert!(matches!(
            after(&Outcome::Status(302), 1, &policy, SteadyMillis(0), 0),
            Next::RetryAt(_)
        ));
    }

    #[test]
    fn gone_ends_it_only_where_the_profile_says_so() {
        let mut policy = policy();
        let gone = Outcome::Status(410);
        assert!(matches!(
            after(&gone, 1, &policy, SteadyMillis(0), 0),
            Next::RetryAt(_)
        ));
        policy.on_gone = GonePolicy::Disable;
        assert_eq!(
            after(&gone, 1, &policy, SteadyMillis(0), 0),
            Next::Failed(EndReason::Gone)
        );
    }
}
