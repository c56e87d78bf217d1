//! Operational events: what the daemon itself has to say, as events of types of its own.
//!
//! Their types begin with [`OPERATIONAL`]. Nobody posts such a type, and no profile has one: they come from the
//! engine alone, and go to the account that the config names for them.

/// How the type of every operational event begins.
pub const OPERATIONAL: &str = "hookwheel.";

/// A kind of operational event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertKind {
    /// A webhook was disabled, by its profile's rule and not by its owner.
    WebhookDisabled,
    /// A webhook that had been disabled was activated again by itself.
    WebhookRecovered,
    /// Deliveries have failed for good.
    DeliveryFailed,
    /// Deliveries were dropped over a webhook's rate.
    DeliveriesDropped,
    /// More deliveries wait for a webhook than the config's bound.
    BacklogHigh,
}

impl AlertKind {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 5] = [
        Self::WebhookDisabled,
        Self::WebhookRecovered,
        Self::DeliveryFailed,
        Self::DeliveriesDropped,
        Self::BacklogHigh,
    ];

    /// The type of its events.
    #[must_use]
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::WebhookDisabled => "hookwheel.webhook.disabled",
            Self::WebhookRecovered => "hookwheel.webhook.recovered",
            Self::DeliveryFailed => "hookwheel.delivery.failed",
            Self::DeliveriesDropped => "hookwheel.deliveries.dropped",
            Self::BacklogHigh => "hookwheel.backlog.high",
        }
    }

    /// All types, as [`AlertKind::ALL`].
    pub fn event_types() -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().map(Self::event_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_begins_as_operational_events_do() {
        assert!(AlertKind::event_types().all(|name| name.starts_with(OPERATIONAL)));
    }
}
