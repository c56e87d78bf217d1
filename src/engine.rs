//! (to be written)

pub mod schedule;

use std::time::Duration;

/// What the engine needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Attempts under way at once, over all webhooks.
    pub in_flight_max: usize,
    /// Attempts under way at once for one webhook.
    pub in_flight_per_webhook_max: usize,
    /// How long attempts may go on after a stop was asked for.
    pub stop_grace: Duration,
}
