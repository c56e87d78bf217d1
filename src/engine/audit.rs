//! Who did what: the entries that stand before what is written, and those of what writes nothing of its own.

use crate::model::{Actor, AuditAction, AuditEntry, Job, Webhook};
use crate::store::{WriteError, Writer};

use super::Engine;

impl Engine {
    /// Writes that are noted in the audit log as `by`, where somebody is named.
    pub(super) fn writer_for(&self, by: Option<AuditEntry>) -> Writer {
        match by {
            Some(entry) => self.writer.noting(entry),
            None => self.writer.clone(),
        }
    }

    /// Adds an entry of its own: of what is done without a record, such as a test, or in many.
    ///
    /// # Errors
    /// [`WriteError`]: then it is not to be done either.
    pub async fn note(&self, entry: AuditEntry) -> Result<(), WriteError> {
        self.writer.audit(entry).await.map(drop)
    }
}

/// What the daemon did to a webhook of its own accord.
pub(super) fn own(webhook: &Webhook, action: AuditAction, reason: &str) -> AuditEntry {
    AuditEntry {
        account: webhook.account.clone(),
        actor: Actor::Daemon,
        action,
        webhook: Some(webhook.id),
        subject: None,
        details: vec![reason.to_owned()],
    }
}

/// What the daemon did to a job of its own accord.
pub(super) fn own_job(job: &Job, action: AuditAction, reason: &str) -> AuditEntry {
    AuditEntry {
        account: job.account.clone(),
        actor: Actor::Daemon,
        action,
        webhook: None,
        subject: Some(job.id.to_string()),
        details: vec![reason.to_owned()],
    }
}
