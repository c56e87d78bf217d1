//! The audit log: who did what, newest first, out of the journal.

use crate::journal;
use crate::model::{AccountName, AuditEntry, Position, UnixMillis, WebhookId};

use super::super::Error;
use super::super::record::{Record, audit_key, webhook_audit_key};
use super::lists::listing;
use super::record_at;

/// An entry, where it stands, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// Its place in the journal: the cursor of a list.
    pub position: Position,
    /// When, by the wall clock.
    pub at: UnixMillis,
    /// The entry.
    pub entry: AuditEntry,
}

/// A page of entries, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<Audited>,
    /// Where to go on, if there may be more.
    pub next: Option<Position>,
}

/// A page of an account's entries, or of those that are about one of its webhooks. What is damaged is left out.
pub(in crate::store) fn audit(
    journal: &journal::Reader,
    account: &AccountName,
    webhook: Option<WebhookId>,
    before: Option<Position>,
    limit: usize,
) -> Result<AuditPage, Error> {
    let positions = match webhook {
        None => listing(journal, |entry| audit_key(account, entry), before, limit)?,
        Some(webhook) => {
            let key_of = |entry| webhook_audit_key(account, webhook, entry);
            listing(journal, key_of, before, limit)?
        }
    };
    let full = positions.len() == limit;
    let mut page = AuditPage {
        next: positions.last().copied().filter(|_| full),
        entries: Vec::with_capacity(positions.len()),
    };
    for position in positions {
        match record_at(journal, position) {
            Ok(Record::Audited { entry, at }) if entry.account == *account => {
                page.entries.push(Audited {
                    position,
                    at: at.wall,
                    entry,
                })
            }
            Ok(_) => {}
            Err(error) if error.is_lost() => {
                tracing::warn!(entry = %position, "an entry of the audit log cannot be read; left out of the list");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}
