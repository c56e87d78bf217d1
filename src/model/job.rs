//! A job: a great many deliveries to be made again, or made for the first time, at a bounded rate.

use serde::{Deserialize, Serialize};

use super::{
    AccountName, DeliveryState, Event, JobId, Position, UnixMicros, UnixMillis, WebhookId,
};

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobKind {
    /// Sends the deliveries of one webhook again: to itself, or the same events to another webhook.
    Resend {
        /// Whose deliveries are chosen from.
        from: WebhookId,
        /// Who gets them.
        to: WebhookId,
    },
    /// Matches stored events against the webhooks as they are now, and delivers to those that want an event and
    /// have no delivery of it.
    Rematch {
        /// Only this one; `None`: every webhook of the account.
        only: Option<WebhookId>,
    },
}

impl JobKind {
    /// The stable name, as API and logs use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resend { .. } => "resend",
            Self::Rematch { .. } => "rematch",
        }
    }
}

/// Which deliveries or events a job takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFilter {
    /// Events of this time (`created_at`) and later.
    pub since: Option<UnixMicros>,
    /// Events of this time (`created_at`) and earlier.
    pub until: Option<UnixMicros>,
    /// Deliveries in one of these states, by the API's names; empty: in any state that has ended.
    pub states: Vec<String>,
    /// Events of one of these types; empty: of any.
    pub types: Vec<String>,
}

impl JobFilter {
    /// Whether it takes an event, by its time and type.
    #[must_use]
    pub fn takes_event(&self, event: &Event) -> bool {
        self.since.is_none_or(|since| event.created_at >= since)
            && self.until.is_none_or(|until| event.created_at <= until)
            && (self.types.is_empty() || self.types.contains(&event.event_type))
    }

    /// Whether it takes a delivery that stands so. One that has not ended is on its way, and none of its business.
    #[must_use]
    pub fn takes_state(&self, state: &DeliveryState) -> bool {
        state.ended_as().is_some_and(|ended| {
            self.states.is_empty() || self.states.iter().any(|taken| taken == ended)
        })
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// It goes on.
    Running,
    /// It waits until somebody lets it go on.
    Paused,
    /// It has looked at everything.
    Done,
    /// Somebody ended it; what it had queued is sent all the same.
    Cancelled,
}

impl JobState {
    /// The stable name, as API and logs use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen to it.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }
}

/// A job, as it is kept: every step moves `next` in the same record that queues the deliveries of that step, so
/// none is queued twice or left out, whenever the process ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its identity.
    pub id: JobId,
    /// The tenant it belongs to.
    pub account: AccountName,
    /// What it does.
    pub kind: JobKind,
    /// What it takes.
    pub filter: JobFilter,
    /// Deliveries queued in one second, at most.
    pub per_second: u32,
    /// Where it stands.
    pub state: JobState,
    /// The next event to look at, in order of arrival.
    pub next: Position,
    /// The end: what arrived later is none of its business.
    pub end: Position,
    /// Deliveries that its filter took; of a re-match, those that were found missing.
    pub matched: u64,
    /// Deliveries queued.
    pub queued: u64,
    /// Those of `matched` that were left alone: waiting already, queued by somebody else meanwhile, or unreadable.
    pub skipped: u64,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
}
