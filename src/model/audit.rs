//! Who did what: the entries of the audit log. They name what was changed, and hold no value of it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{AccountName, WebhookId};

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// Who holds an API key of the account.
    Key {
        /// The key's name in the config.
        name: String,
        /// Where the request came from, as the daemon saw it: of a proxy before it, the proxy's address.
        address: Option<IpAddr>,
    },
    /// The operator, by a config that was taken over.
    Config,
    /// The daemon itself, by a rule of the profile.
    Daemon,
}

/// What was done. Names in the API are [`AuditAction::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AuditAction {
    /// A webhook was registered.
    WebhookCreated,
    /// A webhook was changed.
    WebhookChanged,
    /// A webhook was removed.
    WebhookRemoved,
    /// A webhook was sent a test event.
    WebhookTested,
    /// A rule of the profile disabled a webhook.
    WebhookDisabled,
    /// A probe arrived, and the webhook is active again.
    WebhookRecovered,
    /// A webhook's secret was replaced.
    SecretRotated,
    /// A secret was staged.
    SecretStaged,
    /// The staged secret became the one that signs.
    SecretPromoted,
    /// The staged secret was dropped.
    SecretAborted,
    /// The old secret signs again.
    SecretRolledBack,
    /// A delivery was asked for again.
    DeliveryRetried,
    /// What was held for a webhook was discarded.
    HeldDiscarded,
    /// A replay was asked for.
    ReplayStarted,
    /// Stored events were matched anew.
    RematchStarted,
    /// A job was paused.
    JobPaused,
    /// A paused job goes on.
    JobResumed,
    /// A job was cancelled.
    JobCancelled,
    /// The account's API keys are others than before.
    KeysChanged,
    /// The account's profile is another than before.
    ProfileChanged,
}

impl AuditAction {
    /// Every action, in the order in which they are listed to people.
    pub const ALL: [Self; 20] = [
        Self::WebhookCreated,
        Self::WebhookChanged,
        Self::WebhookRemoved,
        Self::WebhookTested,
        Self::WebhookDisabled,
        Self::WebhookRecovered,
        Self::SecretRotated,
        Self::SecretStaged,
        Self::SecretPromoted,
        Self::SecretAborted,
        Self::SecretRolledBack,
        Self::DeliveryRetried,
        Self::HeldDiscarded,
        Self::ReplayStarted,
        Self::RematchStarted,
        Self::JobPaused,
        Self::JobResumed,
        Self::JobCancelled,
        Self::KeysChanged,
        Self::ProfileChanged,
    ];

    /// The stable name, as the API and the log use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebhookCreated => "webhook.created",
            Self::WebhookChanged => "webhook.changed",
            Self::WebhookRemoved => "webhook.removed",
            Self::WebhookTested => "webhook.tested",
            Self::WebhookDisabled => "webhook.disabled",
            Self::WebhookRecovered => "webhook.recovered",
            Self::SecretRotated => "secret.rotated",
            Self::SecretStaged => "secret.staged",
            Self::SecretPromoted => "secret.promoted",
            Self::SecretAborted => "secret.aborted",
            Self::SecretRolledBack => "secret.rolled_back",
            Self::DeliveryRetried => "delivery.retried",
            Self::HeldDiscarded => "held.discarded",
            Self::ReplayStarted => "replay.started",
            Self::RematchStarted => "rematch.started",
            Self::JobPaused => "job.paused",
            Self::JobResumed => "job.resumed",
            Self::JobCancelled => "job.cancelled",
            Self::KeysChanged => "keys.changed",
            Self::ProfileChanged => "profile.changed",
        }
    }
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// In which account it was done.
    pub account: AccountName,
    /// Who did it.
    pub actor: Actor,
    /// What was done.
    pub action: AuditAction,
    /// To which webhook.
    pub webhook: Option<WebhookId>,
    /// To which other thing: an event's or a job's id.
    pub subject: Option<String>,
    /// What of it: names of fields or keys, a reason. Never a value.
    pub details: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_has_a_name_of_its_own() {
        let names: std::collections::HashSet<_> = AuditAction::ALL
            .iter()
            .map(|action| action.as_str())
            .collect();
        assert_eq!(names.len(), AuditAction::ALL.len());
    }
}
