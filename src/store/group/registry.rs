//! Webhooks in a group: registered, changed, removed, restated; and what is noted of it in the audit log.

use crate::model::{AuditEntry, Webhook, WebhookId};

use super::super::record::{Record, Row};
use super::super::writer::Written;
use super::super::{Error, WriteError, codec};
use super::Group;

impl Group<'_> {
    pub(super) fn note(&mut self, entry: AuditEntry) -> Result<Result<Written, WriteError>, Error> {
        let at = self.staged.now;
        let staged = self.stage(&Record::Audited { entry, at })?;
        Ok(staged.map(|_| Written::Done))
    }

    pub(super) fn put(
        &mut self,
        webhook: Webhook,
        expected: Option<u64>,
    ) -> Result<Result<Written, WriteError>, Error> {
        let current = self
            .row(webhook.id)
            .map(|row| (row.webhook.version, row.removed));
        let fits = match (current, expected) {
            (None, None) => true,
            (Some((version, false)), Some(expected)) => version == expected,
            _ => false,
        };
        if !fits {
            return Ok(Ok(Written::Stale));
        }
        let record = Record::WebhookSaved {
            webhook,
            at: self.staged.now,
        };
        Ok(self.stage(&record)?.map(|_| Written::Done))
    }

    pub(super) fn remove(
        &mut self,
        webhook: WebhookId,
        expected: u64,
    ) -> Result<Result<Written, WriteError>, Error> {
        let fits = |row: Row| !row.removed && row.webhook.version == expected;
        if !self.row(webhook).is_some_and(fits) {
            return Ok(Ok(Written::Stale));
        }
        let record = Record::WebhookRemoved {
            webhook,
            at: self.staged.now,
        };
        Ok(self.stage(&record)?.map(|_| Written::Done))
    }

    /// Stages a part of the registry as it is. It restates what is, so it changes nothing now; recovery applies
    /// it when the records before it are gone.
    pub(in crate::store) fn snapshot(&mut self, rows: &[Row]) -> Result<(), Error> {
        let record = Record::Webhooks {
            rows: rows.to_vec(),
            at: self.staged.now,
        };
        codec::encode_record(&record, self.ground.buffer)?;
        self.ground.journal.stage(self.ground.buffer, Vec::new())?;
        Ok(())
    }
}
