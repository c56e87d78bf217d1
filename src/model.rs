//! The domain, pure: identities, time, webhooks, events, deliveries, attempts and the decisions made on them.
//!
//! Nothing here does I/O, reads the system's clock (except through [`Clock`]) or names another module of
//! this crate. What crosses a module boundary is one of these types; text from outside becomes one of
//! them at the edge and is trusted after it.

mod account;
mod address;
mod alert;
mod attempt;
mod audit;
mod delivery;
mod endpoint;
mod event;
mod id;
mod job;
mod near;
mod retry;
#[cfg(test)]
pub(crate) mod rng;
mod rotation;
mod secret;
mod short_names;
mod time;
mod trace;
mod webhook;

pub use account::{Account, ApiKey, Scope, Scopes};
pub use address::{AddressPolicy, AddressRule, BLOCKED_TEXT, RangeError, is_local_name};
pub use alert::{AlertKind, OPERATIONAL};
pub use attempt::{Attempt, FaultKind, Header, Outcome, Phases, Response, Trigger};
pub use audit::{Actor, AuditAction, AuditEntry};
pub use delivery::{DeliveryState, ENDED_STATES, EndReason, Next, QueueEntry, after};
pub use endpoint::{Endpoint, EndpointError, Host};
pub use event::Event;
pub use id::{AccountName, EventId, IdError, JobId, Position, WebhookId};
pub use job::{Job, JobFilter, JobKind, JobState};
pub use near::{did_you_mean, near};
pub(crate) use retry::RETRIES_MAX;
pub use retry::{Backoff, GonePolicy, Policy, RetryError, RetryPolicy, StatusRange, SuccessRule};
pub use rotation::RotationError;
pub use secret::Secret;
#[cfg(test)]
pub(crate) use time::ManualTime;
pub use time::{Clock, SteadyMillis, TimeError, UnixMicros, UnixMillis, parse_duration};
pub use trace::TraceContext;
pub use webhook::{ClientAuth, Inactive, InactiveReason, OAuth2, OldSecret, Order, Webhook};
