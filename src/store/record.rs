//! The records of the journal: one for each transition, and the keys under which history finds them.
//!
//! A variant is never changed once released; what must change becomes a new variant at the end. The golden
//! files in `tests/data/records/` hold every variant to that.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::journal::{IndexKey, Key};
use crate::model::{
    AccountName, Attempt, AuditEntry, EndReason, Event, EventId, Job, JobId, Position,
    SteadyMillis, TraceContext, UnixMillis, Webhook, WebhookId,
};

use super::earlier::{EarlierRow, OrderedWebhook, PlainWebhook, TokenWebhook};

/// When a record was made, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moment {
    pub(super) steady: SteadyMillis,
    pub(super) wall: UnixMillis,
}

/// How a delivery ended after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    Delivered,
    Failed(EndReason),
}

/// A registered webhook, or the tombstone of one whose pending deliveries are being cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) webhook: Webhook,
    pub(super) removed: bool,
}

/// A delivery that was cancelled: which queue key, and how many attempts it had seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cancellation {
    pub(super) due: SteadyMillis,
    pub(super) event: Position,
    pub(super) attempts: u32,
}

/// A delivery that a job queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Queued {
    pub(super) webhook: WebhookId,
    pub(super) event: Position,
    /// Attempts that it has seen.
    pub(super) attempts: u32,
    /// The event was not for this webhook when it was accepted: the delivery begins here.
    pub(super) added: bool,
}

/// One transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Record {
    /// An event arrived; each webhook's delivery is pending, due at once. The record's position is the
    /// event's identity.
    Accepted {
        event: Arc<Event>,
        webhooks: Vec<WebhookId>,
        due: SteadyMillis,
        client_id: bool,
    },
    /// An attempt failed and another will follow: the queue key moves from `due` to `next_due`.
    Attempted {
        webhook: WebhookId,
        event: Position,
        due: SteadyMillis,
        attempt: Attempt,
        run_attempts: u32,
        next_due: SteadyMillis,
        at: Moment,
    },
    /// An attempt was the last one: the queue key goes.
    Ended {
        webhook: WebhookId,
        event: Position,
        due: SteadyMillis,
        attempt: Attempt,
        end: End,
        at: Moment,
    },
    /// Somebody asked for another attempt now: the queue key moves, or, `from` being `None`, comes again.
    Requeued {
        webhook: WebhookId,
        event: Position,
        from: Option<SteadyMillis>,
        due: SteadyMillis,
        attempts: u32,
        run_attempts: u32,
        at: Moment,
    },
    /// A webhook was registered or changed, as it was written up to encoding 2.
    WebhookPut { webhook: PlainWebhook, at: Moment },
    /// A webhook was removed; its pending deliveries are cancelled from now on.
    WebhookRemoved { webhook: WebhookId, at: Moment },
    /// Nothing of a removed webhook is pending any more.
    WebhookForgotten { webhook: WebhookId, at: Moment },
    /// Deliveries ended without an attempt: the queue keys go.
    Cancelled {
        webhook: WebhookId,
        entries: Vec<Cancellation>,
        reason: EndReason,
        at: Moment,
    },
    /// The registry as it is, as it was written up to encoding 2.
    Snapshot {
        rows: Vec<EarlierRow<PlainWebhook>>,
        at: Moment,
    },
    /// A webhook was registered or changed, as encoding 3 has it.
    WebhookStored { webhook: OrderedWebhook, at: Moment },
    /// The registry as it is, as encoding 3 has it.
    Registry {
        rows: Vec<EarlierRow<OrderedWebhook>>,
        at: Moment,
    },
    /// An attempt failed and another will follow, from the same place in the queue.
    Deferred {
        webhook: WebhookId,
        event: Position,
        due: SteadyMillis,
        attempt: Attempt,
        run_attempts: u32,
        not_before: SteadyMillis,
        at: Moment,
    },
    /// A job was made or changed by somebody.
    JobStored { job: Job, at: Moment },
    /// A job made a step: these deliveries are due now, and it goes on as `job` says.
    JobStepped {
        job: Job,
        queued: Vec<Queued>,
        due: SteadyMillis,
        at: Moment,
    },
    /// A job that has ended is forgotten.
    JobForgotten { job: JobId, at: Moment },
    /// The jobs as they are, written when a segment begins.
    Jobs { jobs: Vec<Job>, at: Moment },
    /// A webhook was registered or changed, as encoding 4 has it.
    WebhookKept { webhook: TokenWebhook, at: Moment },
    /// The registry as it is, as encoding 4 has it.
    Roster {
        rows: Vec<EarlierRow<TokenWebhook>>,
        at: Moment,
    },
    /// Somebody did something. It stands before the record of what was done, where there is one.
    Audited { entry: AuditEntry, at: Moment },
    /// As `Accepted`, of an event that came with a trace. The event has it, too, once the record is read.
    AcceptedTraced {
        event: Arc<Event>,
        trace: TraceContext,
        webhooks: Vec<WebhookId>,
        due: SteadyMillis,
        client_id: bool,
    },
    /// A webhook was registered or changed.
    WebhookSaved { webhook: Webhook, at: Moment },
    /// The registry as it is, written when a segment begins, so that older ones can be deleted.
    Webhooks { rows: Vec<Row>, at: Moment },
}

impl Record {
    /// When the record was made, on both clocks; of an event the wall clock is that of its arrival.
    pub(super) fn moment(&self) -> Moment {
        match self {
            Self::Accepted { event, due, .. } | Self::AcceptedTraced { event, due, .. } => Moment {
                steady: *due,
                wall: event.received_at,
            },
            Self::Attempted { at, .. }
            | Self::Ended { at, .. }
            | Self::Requeued { at, .. }
            | Self::WebhookPut { at, .. }
            | Self::WebhookRemoved { at, .. }
            | Self::WebhookForgotten { at, .. }
            | Self::Cancelled { at, .. }
            | Self::Snapshot { at, .. }
            | Self::WebhookStored { at, .. }
            | Self::Registry { at, .. }
            | Self::Deferred { at, .. }
            | Self::JobStored { at, .. }
            | Self::JobStepped { at, .. }
            | Self::JobForgotten { at, .. }
            | Self::Jobs { at, .. }
            | Self::WebhookKept { at, .. }
            | Self::Roster { at, .. }
            | Self::Audited { at, .. }
            | Self::WebhookSaved { at, .. }
            | Self::Webhooks { at, .. } => *at,
        }
    }

    /// Under which keys history finds this record, which stands at `position`.
    pub(super) fn keys(&self, position: Position) -> Vec<IndexKey> {
        let delivery = |webhook: &WebhookId, event: Position| plain(delivery_key(*webhook, event));
        match self {
            Self::Accepted {
                event, webhooks, ..
            }
            | Self::AcceptedTraced {
                event, webhooks, ..
            } => {
                let mut keys = Vec::with_capacity(2 + webhooks.len());
                keys.push(IndexKey {
                    key: event_id_key(&event.account, &event.id),
                    filtered: true,
                });
                keys.push(plain(account_key(&event.account, position)));
                keys.extend(webhooks.iter().map(|webhook| delivery(webhook, position)));
                keys
            }
            Self::Attempted { webhook, event, .. }
            | Self::Deferred { webhook, event, .. }
            | Self::Ended { webhook, event, .. }
            | Self::Requeued { webhook, event, .. } => vec![delivery(webhook, *event)],
            Self::JobStepped { queued, .. } => {
                let mut keys = Vec::with_capacity(queued.len());
                for one in queued {
                    keys.push(delivery(&one.webhook, one.event));
                    if one.added {
                        keys.push(plain(added_key(one.webhook, one.event)));
                        keys.push(plain(added_to_key(one.event)));
                    }
                }
                keys
            }
            Self::Cancelled {
                webhook, entries, ..
            } => entries
                .iter()
                .map(|entry| delivery(webhook, entry.event))
                .collect(),
            Self::WebhookPut { .. }
            | Self::WebhookRemoved { .. }
            | Self::WebhookForgotten { .. }
            | Self::Snapshot { .. }
            | Self::WebhookStored { .. }
            | Self::Registry { .. }
            | Self::JobStored { .. }
            | Self::JobForgotten { .. }
            | Self::Jobs { .. }
            | Self::WebhookKept { .. }
            | Self::Roster { .. }
            | Self::WebhookSaved { .. }
            | Self::Webhooks { .. } => Vec::new(),
            Self::Audited { entry, .. } => {
                let mut keys = vec![plain(audit_key(&entry.account, position))];
                if let Some(webhook) = entry.webhook {
                    let key = webhook_audit_key(&entry.account, webhook, position);
                    keys.push(plain(key));
                }
                keys
            }
        }
    }
}

const fn plain(key: Key) -> IndexKey {
    IndexKey {
        key,
        filtered: false,
    }
}

/// The key of all records of one delivery: the webhook, then the event's position.
pub(super) fn delivery_key(webhook: WebhookId, event: Position) -> Key {
    subject_key(webhook.0.to_be_bytes(), event.to_u64())
}

/// The key of a delivery that was added to an event after it was accepted, in its webhook's listing of these: an
/// event's own segment does not tell of them.
pub(super) fn added_key(webhook: WebhookId, event: Position) -> Key {
    let subject = hash128_bytes(&[b"added", &webhook.0.to_be_bytes()]);
    subject_key(subject, event.to_u64())
}

/// The key of the records that added deliveries to an event.
pub(super) fn added_to_key(event: Position) -> Key {
    subject_key(hash128_bytes(&[b"added to"]), event.to_u64())
}

/// The key of an event in its account's listing.
pub(super) fn account_key(account: &AccountName, event: Position) -> Key {
    subject_key(hash128(&[account.as_str()]), event.to_u64())
}

/// The key of an entry in its account's audit log.
pub(super) fn audit_key(account: &AccountName, entry: Position) -> Key {
    let subject = hash128_bytes(&[b"audit", account.as_str().as_bytes()]);
    subject_key(subject, entry.to_u64())
}

/// The key of an entry in its webhook's audit log. What another account might say of the webhook stands elsewhere.
pub(super) fn webhook_audit_key(account: &AccountName, webhook: WebhookId, entry: Position) -> Key {
    let webhook = webhook.0.to_be_bytes();
    let subject = hash128_bytes(&[b"audit of", account.as_str().as_bytes(), &webhook]);
    subject_key(subject, entry.to_u64())
}

/// The key of an event by its id. Clients choose ids, so the hash is a cryptographic one, and whoever
/// finds an event under this key compares account and id.
pub(super) fn event_id_key(account: &AccountName, id: &EventId) -> Key {
    subject_key(hash128(&[account.as_str(), id.as_str()]), 0)
}

fn subject_key(subject: [u8; 16], rest: u64) -> Key {
    let mut key = [0; 24];
    let (head, tail) = key.split_at_mut(16);
    head.copy_from_slice(&subject);
    tail.copy_from_slice(&rest.to_be_bytes());
    key
}

/// The first half of SHA-256 over the parts, each ended by a zero byte, which none of them can contain.
fn hash128(parts: &[&str]) -> [u8; 16] {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    hash128_bytes(&parts)
}

/// As [`hash128`]; a part that can contain a zero byte must be the last, and of one length.
fn hash128_bytes(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    *hash.finalize().first_chunk().expect("SHA-256 has 32 bytes")
}

/// The event's position in a delivery's or an account's key.
pub(super) fn position_of(key: &Key) -> Position {
    Position::from_u64(key.last_chunk().map_or(0, |tail| u64::from_be_bytes(*tail)))
}
