//! Sealed secrets: opened where a webhook becomes live, sealed where it is stored, and sealed anew when the master key
//! has changed.
//!
//! What is in the live table is open, what the store has is as the vault leaves it. Whoever changes a webhook here
//! sees open secrets only.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::model::{Webhook, WebhookId};
use crate::store::{WriteError, Written};
use crate::vault::{MasterKey, Vault, VaultError};

use super::{Engine, EngineError};

/// What could not be sealed anew is tried again after this time: the disk is full, or somebody changed it meanwhile.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// The keys that there are now.
pub(super) struct Seals {
    vault: RwLock<Arc<Vault>>,
    changed: Notify,
}

impl Seals {
    pub(super) fn new(vault: Vault) -> Self {
        Self {
            vault: RwLock::new(Arc::new(vault)),
            changed: Notify::new(),
        }
    }

    pub(super) fn vault(&self) -> Arc<Vault> {
        Arc::clone(&self.vault.read().expect("no holder of this lock panics"))
    }
}

impl Engine {
    /// A stored webhook with its secrets open.
    pub(super) fn opened(&self, webhook: Webhook) -> Result<Webhook, EngineError> {
        let id = webhook.id;
        let opened = self.seals.vault().open(webhook);
        opened.map_err(|why| EngineError::Webhook {
            id,
            reason: why.to_string(),
        })
    }

    /// A webhook as it is to be stored.
    pub(super) fn sealed(&self, webhook: Webhook) -> Result<Webhook, VaultError> {
        self.seals.vault().seal(webhook)
    }

    /// Whether `vault` has the keys that the stored webhooks need. Without them these would be held, and events that
    /// come meanwhile would not be meant for them.
    ///
    /// # Errors
    /// [`EngineError::Sealed`].
    pub(super) fn check_sealed(&self, vault: &Vault) -> Result<(), EngineError> {
        let (mut webhooks, mut lacking) = (0, None);
        for webhook in self.reader.webhooks() {
            if let Err(VaultError::UnknownKey { key }) = vault.open(webhook) {
                webhooks += 1;
                lacking = Some(key);
            }
        }
        lacking.map_or(Ok(()), |key| Err(EngineError::Sealed { key, webhooks }))
    }

    /// Replaces the master keys, as a reload does. What is stored is sealed anew in the background.
    ///
    /// # Errors
    /// [`EngineError::Sealed`] where a stored webhook needs a key that is not among them; nothing is changed then.
    pub fn set_vault(&self, vault: Vault) -> Result<(), EngineError> {
        self.check_sealed(&vault)?;
        *self
            .seals
            .vault
            .write()
            .expect("no holder of this lock panics") = Arc::new(vault);
        self.seals.changed.notify_one();
        Ok(())
    }

    /// Seals what is stored otherwise than under the present key, at the start and after each change of the keys, until
    /// the engine stops.
    pub(super) async fn keep_sealed(self: Arc<Self>) {
        loop {
            let again = async {
                if self.seal_anew().await {
                    self.seals.changed.notified().await;
                } else {
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            };
            tokio::select! {
                () = again => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }

    /// Whether all of it is as the present key leaves it now.
    async fn seal_anew(&self) -> bool {
        let vault = self.seals.vault();
        let (mut done, mut left) = (0_usize, 0_usize);
        for stored in self.reader.webhooks() {
            if vault.is_current(&stored) {
                continue;
            }
            let id = stored.id;
            match self.seal_one(&vault, stored).await {
                Ok(()) => done += 1,
                Err(why) => {
                    left += 1;
                    tracing::warn!(webhook_id = %id, %why, "its secrets could not be sealed anew");
                }
            }
        }
        if done + left > 0 {
            let key = vault.sealing().map_or("none", MasterKey::name);
            tracing::info!(
                webhooks = done,
                left,
                master_key = key,
                "stored secrets were sealed anew"
            );
        }
        left == 0
    }

    async fn seal_one(&self, vault: &Vault, stored: Webhook) -> Result<(), String> {
        let (id, version): (WebhookId, u64) = (stored.id, stored.version);
        let opened = vault.open(stored).map_err(|why| why.to_string())?;
        let fresh = Webhook {
            version: version + 1,
            ..vault.seal(opened).map_err(|why| why.to_string())?
        };
        let written = self.writer.put_webhook(fresh, Some(version)).await;
        match written.map_err(|why: WriteError| why.to_string())? {
            // Whoever changed it meanwhile has sealed it.
            Written::Stale => Ok(()),
            Written::Done => {
                // One whose account is not configured is not in the table.
                if let Err(error) = self.refresh(id).await {
                    tracing::debug!(webhook_id = %id, %error, "the webhook stays held");
                }
                Ok(())
            }
        }
    }
}
