//! Sealed secrets: opened where a webhook becomes live, sealed where it is stored, and sealed anew when the master key
//! has changed.
//!
//! What is in the live table is open, what the store has is as the vault leaves it. Whoever changes a webhook here
//! sees open secrets only.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, RwLockReadGuard};
use tokio::time::timeout;

use crate::model::Webhook;
use crate::store::WriteError;
use crate::vault::{MasterKey, Vault, VaultError};

use super::{Engine, EngineError};

/// What could not be sealed anew is tried again after this time: the disk is full, or somebody changed it meanwhile.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// How long a reload waits for the changes under way to be on disk. They take a sync or two.
const WRITTEN_WAIT: Duration = Duration::from_secs(10);

/// The keys that there are now.
pub(super) struct Seals {
    vault: RwLock<Arc<Vault>>,
    changed: Notify,
    /// Held from the sealing of a webhook until it is on disk, and by whoever changes the keys: so no webhook comes to
    /// disk under keys that are no longer there.
    writing: tokio::sync::RwLock<()>,
}

impl Seals {
    pub(super) fn new(vault: Vault) -> Self {
        Self {
            vault: RwLock::new(Arc::new(vault)),
            changed: Notify::new(),
            writing: tokio::sync::RwLock::new(()),
        }
    }

    pub(super) fn vault(&self) -> Arc<Vault> {
        Arc::clone(&self.vault.read().expect("no holder of this lock panics"))
    }

    /// Whether a webhook could begin to be written at once: nobody is about to change the keys.
    #[cfg(test)]
    pub(super) fn is_free(&self) -> bool {
        self.writing.try_read().is_ok()
    }

    /// Nobody changes the keys while this is held.
    pub(super) async fn writing(&self) -> RwLockReadGuard<'_, ()> {
        self.writing.read().await
    }
}

/// What is left to do.
#[derive(Debug, Default)]
struct Pass {
    done: usize,
    damaged: usize,
    /// Why it could not be gone on with.
    stopped: Option<WriteError>,
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
    /// [`EngineError::Sealed`] where a stored webhook needs a key that is not among them, [`EngineError::Writing`] where
    /// changes under way do not come to disk; nothing is changed then.
    pub async fn set_vault(&self, vault: Vault) -> Result<(), EngineError> {
        if *self.seals.vault() == vault {
            return Ok(());
        }
        let alone = timeout(WRITTEN_WAIT, self.seals.writing.write()).await;
        let _alone = alone.map_err(|_| EngineError::Writing)?;
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
                // On a full disk nothing is written, and nothing is tried.
                self.writer.room().await;
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

    /// Whether there is no more to do: all of it is as the present key leaves it, but for what is damaged.
    async fn seal_anew(&self) -> bool {
        let mut pass = Pass::default();
        for stored in self.reader.webhooks() {
            if self.seals.vault().is_current(&stored) {
                continue;
            }
            let id = stored.id;
            match self.seal_one(stored).await {
                Ok(Ok(())) => pass.done += 1,
                Ok(Err(why)) => {
                    pass.damaged += 1;
                    tracing::warn!(webhook_id = %id, %why, "its secrets could not be sealed anew");
                }
                Err(error) => {
                    pass.stopped = Some(error);
                    break;
                }
            }
        }
        let Pass {
            done,
            damaged,
            stopped,
        } = pass;
        if let Some(error) = &stopped {
            tracing::warn!(webhooks = done, %error, "not all stored secrets are sealed anew yet; tried again soon");
        } else if done + damaged > 0 {
            let vault = self.seals.vault();
            let key = vault.sealing().map_or("none", MasterKey::name);
            tracing::info!(
                webhooks = done,
                damaged,
                master_key = key,
                "stored secrets were sealed anew"
            );
        }
        stopped.is_none()
    }

    /// Seals one. What it says does not change, so its version stays, nobody need know of it, and whoever changes it at the
    /// same time is not in the way: a change that comes first has been sealed with the present key.
    async fn seal_one(&self, stored: Webhook) -> Result<Result<(), VaultError>, WriteError> {
        let _writing = self.seals.writing().await;
        let vault = self.seals.vault();
        let (version, sealed) = (
            stored.version,
            vault.open(stored).and_then(|open| vault.seal(open)),
        );
        match sealed {
            Ok(sealed) => self
                .writer
                .put_webhook(sealed, Some(version))
                .await
                .map(|_| Ok(())),
            Err(why) => Ok(Err(why)),
        }
    }
}
