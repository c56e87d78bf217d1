//! Webhooks that the config declares: brought into line with it at the start, at each reload, and again while something
//! of it could not be written.
//!
//! Each difference is one change by the usual path, noted as the config's. A webhook whose entry is gone is disabled, as
//! `undeclared`; what waits for it is held, and nothing is cancelled. What the API made is never touched, nor what a
//! rule has disabled, unless its receiver is another one now. To do it twice is to do it once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, Notify, Semaphore};

use crate::model::{
    AccountName, Actor, AuditAction, AuditEntry, Inactive, InactiveReason, OldSecret, Secret,
    UnixMillis, Webhook, WebhookId,
};
use crate::store::WriteError;

use super::{ChangeError, Engine};

/// How long a replaced secret is kept where nobody says: a day to change every receiver.
pub const KEEP_OLD_MS: u64 = 24 * 3600 * 1000;
/// Webhooks of one account: the live table is in memory. Below the store's bound on one event's fan-out by
/// more than registrations can come at once, so that an event which all of them want is never refused.
pub const WEBHOOKS_MAX: usize = 9_000;
/// What could not be written is tried again after this time: the disk is full, as a rule.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How often a webhook is read anew that somebody else changes at the same time.
const TRIES: usize = 5;
/// Changes that are written at the same time, so that one sync serves many: a thousand new webhooks are some tens of
/// syncs, not a thousand, which a start waits for.
const SIDE_BY_SIDE: usize = 64;

/// What tells a declared webhook from all others.
type Key = (AccountName, String);

/// A webhook as the config declares it.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// What it is to be. Its identity, its version and its times say nothing.
    pub webhook: Webhook,
    /// Its name, which tells it from all others of its account.
    pub name: String,
    /// Whether it is to be active; `None`: the config does not say, and who holds it by the API has the word.
    pub active: Option<bool>,
}

impl Declaration {
    /// Declares `webhook` under a name.
    #[must_use]
    pub fn new(mut webhook: Webhook, name: &str, active: Option<bool>) -> Self {
        webhook.declared = Some(name.to_owned());
        Self {
            webhook,
            name: name.to_owned(),
            active,
        }
    }

    /// Whose it is.
    #[must_use]
    pub const fn account(&self) -> &AccountName {
        &self.webhook.account
    }

    /// What this entry makes of a webhook's standing: `Some(true)` lets it flow, `Some(false)` holds it, `None` leaves
    /// it. `inactive` is why it is held now, if it is; `moved` whether its receiver is another one than before.
    #[must_use]
    pub fn turns(&self, inactive: Option<InactiveReason>, moved: bool) -> Option<bool> {
        match (self.active, inactive) {
            (Some(false), Some(InactiveReason::Request)) => None,
            (Some(false), _) => Some(false),
            (_, None) => None,
            (_, Some(InactiveReason::Undeclared)) => Some(true),
            (asked, Some(InactiveReason::Request)) => asked,
            (
                _,
                Some(InactiveReason::Exhausted | InactiveReason::Gone | InactiveReason::Failing),
            ) => moved.then_some(true),
        }
    }
}

/// What a pass over the declared webhooks came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Registered.
    pub created: usize,
    /// Changed, made active or held.
    pub changed: usize,
    /// Disabled, as they are declared no more.
    pub disabled: usize,
    /// As declared already.
    pub unchanged: usize,
    /// What could not be done yet.
    pub undone: Vec<Undone>,
}

/// What of the config could not be done yet. It is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// Whose.
    pub account: AccountName,
    /// The name of the declared webhook.
    pub name: String,
    /// Why.
    pub why: String,
}

/// What is declared, and how far it is done.
#[derive(Debug, Default)]
pub(super) struct Declarations {
    wanted: RwLock<Arc<[Arc<Declaration>]>>,
    undone: RwLock<Vec<Undone>>,
    /// One pass at a time: two would register the same webhook twice.
    pass: Mutex<()>,
    again: Notify,
}

/// A mark of a secret value: 16 bits, salted with its account. Enough to see that the value is another one, and too
/// little to find it: whoever knows it has 16 bits of the value, and never more. So neither the webhook nor the field is
/// in the salt: a weak value that a hundred webhooks share would give away 16 other bits at each of them.
#[must_use]
pub fn fingerprint(account: &AccountName, value: &Secret) -> String {
    let mut hash = Sha256::new();
    for part in [account.as_str(), value.expose()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let [first, second, ..]: [u8; 32] = hash.finalize().into();
    format!("{first:02x}{second:02x}")
}

impl Engine {
    /// Takes these for what is declared, and brings the webhooks into line with it. What cannot be done now is told,
    /// and tried again until it is done.
    pub async fn set_declared(self: &Arc<Self>, wanted: Vec<Declaration>) -> Declared {
        *self
            .declarations
            .wanted
            .write()
            .expect("no holder of this lock panics") = wanted.into_iter().map(Arc::new).collect();
        let done = self.declare().await;
        self.declarations.again.notify_one();
        done
    }

    /// What of an account's declared webhooks could not be done yet.
    #[must_use]
    pub fn undone(&self, account: &AccountName) -> Vec<Undone> {
        let undone = self.declarations.undone.read();
        let undone = undone.expect("no holder of this lock panics");
        let own = undone.iter().filter(|one| one.account == *account);
        own.cloned().collect()
    }

    /// Tries again what could not be done, until the engine stops.
    pub(super) async fn keep_declared(self: Arc<Self>) {
        loop {
            let again = async {
                self.declarations.again.notified().await;
                while self.is_undone() {
                    tokio::time::sleep(AGAIN_AFTER).await;
                    self.declare().await;
                }
            };
            tokio::select! {
                () = again => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }

    fn is_undone(&self) -> bool {
        let undone = self.declarations.undone.read();
        !undone.expect("no holder of this lock panics").is_empty()
    }

    /// One pass: what is declared is registered or changed, what is declared no more is disabled.
    async fn declare(self: &Arc<Self>) -> Declared {
        let _alone = self.declarations.pass.lock().await;
        let wanted = self.declarations.wanted.read();
        let wanted = Arc::clone(&wanted.expect("no holder of this lock panics"));
        let mut stored: HashMap<Key, WebhookId> = HashMap::new();
        let mut strays = Vec::new();
        let mut done = Declared::default();
        for webhook in self.reader.webhooks() {
            let (id, account) = (webhook.id, webhook.account);
            let Some(name) = webhook.declared else {
                continue;
            };
            // Without its account it is held as it is, and judged when the account is back.
            if self.contract(&account).is_none() {
                continue;
            }
            if let Some(other) = stored.insert((account.clone(), name.clone()), id) {
                strays.push((account, name, other));
            }
        }
        let mut kept = HashSet::new();
        let mut tasks = Vec::new();
        for one in wanted.iter() {
            let key = (one.account().clone(), one.name.clone());
            let id = stored.get(&key).copied();
            // Made here, so that new ones are listed in the order of the file.
            let fresh = WebhookId::generate();
            let task = Arc::clone(self).bring(Arc::clone(one), id, fresh);
            tasks.push((key.clone(), task));
            kept.insert(key);
        }
        for (key, made) in self.side_by_side(tasks).await {
            match made {
                Ok(Some(true)) => done.created += 1,
                Ok(Some(false)) => done.changed += 1,
                Ok(None) => done.unchanged += 1,
                Err(error) => done.undone.push(undone(&key, &error)),
            }
        }
        let gone = stored.into_iter().filter(|(key, _)| !kept.contains(key));
        let strays = strays
            .into_iter()
            .map(|(account, name, id)| ((account, name), id));
        let tasks = gone.chain(strays).map(|(key, id)| {
            let engine = Arc::clone(self);
            (key, async move { engine.withdraw(id).await })
        });
        for (key, made) in self.side_by_side(tasks.collect()).await {
            match made {
                Ok(true) => done.disabled += 1,
                Ok(false) => {}
                Err(error) => done.undone.push(undone(&key, &error)),
            }
        }
        self.tell_declared(&done);
        done
    }

    /// Registers or changes what is declared; `id` has its webhook, where there is one.
    async fn bring(
        self: Arc<Self>,
        wanted: Arc<Declaration>,
        id: Option<WebhookId>,
        fresh: WebhookId,
    ) -> Result<Option<bool>, ChangeError> {
        match id {
            Some(id) => self.align(id, &wanted).await,
            None => self.register(&wanted, fresh).await.map(|()| Some(true)),
        }
    }

    /// Does the work of many webhooks, a bounded number at a time, and gives what came of it in the same order.
    async fn side_by_side<T: Send + 'static>(
        &self,
        work: Vec<(
            Key,
            impl Future<Output = Result<T, ChangeError>> + Send + 'static,
        )>,
    ) -> Vec<(Key, Result<T, ChangeError>)> {
        let places = Arc::new(Semaphore::new(SIDE_BY_SIDE));
        let mut tasks = Vec::with_capacity(work.len());
        for (key, one) in work {
            let place = Arc::clone(&places).acquire_owned().await;
            let task = self.tracker.spawn(async move {
                let done = one.await;
                drop(place);
                done
            });
            tasks.push((key, task));
        }
        let mut done = Vec::with_capacity(tasks.len());
        for (key, task) in tasks {
            match task.await {
                Ok(one) => done.push((key, one)),
                // A panic goes on as if the work had been done here. Else the process is ending.
                Err(ended) => match ended.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => done.push((key, Err(WriteError::Stopped.into()))),
                },
            }
        }
        done
    }

    /// Tells what a pass has done, and of what could not be done each reason once.
    fn tell_declared(&self, done: &Declared) {
        if done.created + done.changed + done.disabled > 0 {
            let Declared {
                created,
                changed,
                disabled,
                unchanged,
                ..
            } = *done;
            tracing::info!(
                created,
                changed,
                disabled,
                unchanged,
                "declared webhooks were brought into line with the config"
            );
        }
        let mut before = self
            .declarations
            .undone
            .write()
            .expect("no holder of this lock panics");
        for one in done.undone.iter().filter(|one| !before.contains(one)) {
            tracing::error!(account = %one.account, name = one.name, why = one.why,
                "a declared webhook could not be brought into line with the config; tried again every 10 s");
        }
        if done.undone.is_empty() && !before.is_empty() {
            tracing::info!("what could not be done of the declared webhooks is done now");
        }
        before.clone_from(&done.undone);
    }

    async fn register(
        self: &Arc<Self>,
        wanted: &Declaration,
        id: WebhookId,
    ) -> Result<(), ChangeError> {
        let count = self.webhooks(wanted.account()).len();
        if count >= WEBHOOKS_MAX {
            return Err(ChangeError::TooManyWebhooks);
        }
        let now = self.clock.wall();
        let mut webhook = Webhook {
            id,
            version: 1,
            active: true,
            inactive: None,
            created_at: now,
            updated_at: now,
            ..wanted.webhook.clone()
        };
        if wanted.active == Some(false) {
            webhook.set_active(false, InactiveReason::Request, now);
        }
        let id = webhook.id;
        let note = entry(&webhook, AuditAction::WebhookCreated, Vec::new());
        self.create_webhook(webhook, Some(note)).await?;
        tracing::info!(webhook_id = %id, account = %wanted.account(), name = wanted.name,
            "a declared webhook was registered");
        Ok(())
    }

    /// Brings a stored webhook into line with its entry: `Some(false)` where it was changed, `Some(true)` where it had
    /// to be registered anew, `None` where it was so already.
    async fn align(
        self: &Arc<Self>,
        id: WebhookId,
        wanted: &Declaration,
    ) -> Result<Option<bool>, ChangeError> {
        for _ in 0..TRIES {
            let Some(stored) = self.reader.webhook(id) else {
                let fresh = WebhookId::generate();
                return self.register(wanted, fresh).await.map(|()| Some(true));
            };
            let stored = self.opened(stored)?;
            let now = self.clock.wall();
            let Some(change) = Change::between(&stored, wanted, now) else {
                return Ok(None);
            };
            let fields = change.fields.join(", ");
            let names = change.fields.iter().map(|name| (*name).to_owned());
            let note = entry(&change.webhook, change.action, names.collect());
            match self.change_webhook(change.webhook, Some(note)).await {
                Ok(_) => {
                    tracing::info!(webhook_id = %id, account = %wanted.account(), name = wanted.name, fields,
                        "a declared webhook was changed");
                    return Ok(Some(false));
                }
                Err(ChangeError::Stale) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ChangeError::Stale)
    }

    /// Disables a webhook that is declared no more, whatever it was before. Gives whether there was anything to do.
    async fn withdraw(self: &Arc<Self>, id: WebhookId) -> Result<bool, ChangeError> {
        const REASON: InactiveReason = InactiveReason::Undeclared;
        for _ in 0..TRIES {
            let Some(stored) = self.reader.webhook(id) else {
                return Ok(false);
            };
            if stored.inactive.is_some_and(|one| one.reason == REASON) {
                return Ok(false);
            }
            let mut webhook = self.opened(stored)?;
            let now = self.clock.wall();
            webhook.active = false;
            // Another reason would have it probed, and activated again.
            webhook.inactive = Some(Inactive {
                reason: REASON,
                since: now,
            });
            webhook.updated_at = now;
            let (account, name) = (webhook.account.clone(), webhook.declared.clone());
            let details = vec![REASON.as_str().to_owned()];
            let note = entry(&webhook, AuditAction::WebhookDisabled, details);
            match self.change_webhook(webhook, Some(note)).await {
                Ok(_) => {
                    let held = self.reader.pending_count(id);
                    tracing::warn!(webhook_id = %id, %account, name, held,
                        "a webhook is declared no more and was disabled; what waits for it is held until it is declared \
                         again, is removed, or expires");
                    return Ok(true);
                }
                Err(ChangeError::Stale) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ChangeError::Stale)
    }
}

fn undone((account, name): &Key, error: &ChangeError) -> Undone {
    Undone {
        account: account.clone(),
        name: name.clone(),
        why: error.to_string(),
    }
}

fn entry(webhook: &Webhook, action: AuditAction, details: Vec<String>) -> AuditEntry {
    AuditEntry {
        account: webhook.account.clone(),
        actor: Actor::Config,
        action,
        webhook: Some(webhook.id),
        subject: None,
        details,
    }
}

/// What makes of a stored webhook the declared one.
#[derive(Debug)]
struct Change {
    webhook: Webhook,
    /// The names of what it changes.
    fields: Vec<&'static str>,
    action: AuditAction,
}

impl Change {
    /// `None` where nothing differs.
    fn between(stored: &Webhook, wanted: &Declaration, now: UnixMillis) -> Option<Self> {
        let (old, new) = (stored, &wanted.webhook);
        let differing = [
            ("url", old.url != new.url),
            ("events", old.events != new.events),
            ("scope", old.scope != new.scope),
            ("name", old.name != new.name),
            ("description", old.description != new.description),
            ("headers", old.headers != new.headers),
            ("oauth2", old.oauth2 != new.oauth2),
            (
                "filter",
                !same_json(old.filter.as_deref(), new.filter.as_deref()),
            ),
            ("format", old.format != new.format),
            ("order", old.order != new.order),
            ("tls", old.tls != new.tls),
            ("timeout", old.timeout_ms != new.timeout_ms),
            ("retry", old.retry != new.retry),
        ];
        let differing = differing.into_iter().filter(|(_, differs)| *differs);
        let mut fields: Vec<&'static str> = differing.map(|(name, _)| name).collect();
        let mut webhook = Webhook {
            id: old.id,
            version: old.version,
            secret: old.secret.clone(),
            staged_secret: old.staged_secret.clone(),
            old_secret: old.old_secret.clone(),
            active: old.active,
            inactive: old.inactive,
            created_at: old.created_at,
            updated_at: now,
            ..new.clone()
        };
        webhook.forget_expired_secret(now);
        if old.secret != new.secret {
            fields.push("secret");
            take_secret(&mut webhook, new.secret.clone(), now);
        }
        let moved = ["url", "tls", "oauth2"]
            .iter()
            .any(|name| fields.contains(name));
        let reason = old.inactive.map(|inactive| inactive.reason);
        let reason = reason.filter(|_| !old.active);
        if let Some(active) = wanted.turns(reason, moved) {
            webhook.set_active(active, InactiveReason::Request, now);
            fields.push("active");
        }
        let action = match fields.as_slice() {
            [] => return None,
            ["secret"] => AuditAction::SecretRotated,
            _ => AuditAction::WebhookChanged,
        };
        Some(Self {
            webhook,
            fields,
            action,
        })
    }
}

/// Puts another secret in the place of the present one. With overlap the old one goes on signing beside it for a day.
/// Where a profile stages, the file itself is the stage: its receivers have been given the new secret before the file
/// has, so it signs from now on, and the old one is kept to go back to.
fn take_secret(webhook: &mut Webhook, new: Option<Secret>, now: UnixMillis) {
    let until = UnixMillis(now.0.saturating_add(KEEP_OLD_MS));
    match new {
        Some(new) => webhook.rotate_secret(new, until),
        None => {
            webhook.secret = None;
            webhook.staged_secret = None;
            webhook.old_secret = None::<OldSecret>;
        }
    }
}

/// Whether two JSON texts say the same, however they are spaced.
fn same_json(one: Option<&str>, other: Option<&str>) -> bool {
    let tree = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    one == other
        || matches!((one.and_then(tree), other.and_then(tree)), (Some(a), Some(b)) if a == b)
}
