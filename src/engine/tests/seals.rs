//! Keys that change while webhooks are written: nothing comes to disk under a key that is no longer there.

use std::time::Duration;

use super::*;
use crate::model::Secret;
use crate::vault::MasterKey;

fn vault(seals: Option<u8>, opens: &[u8]) -> Vault {
    let key =
        |text: u8| MasterKey::parse(&format!("hwmk_{}", format!("{text:02x}").repeat(32))).unwrap();
    Vault::new(
        seals.map(key),
        opens.iter().map(|text| key(*text)).collect(),
    )
}

fn secret_webhook() -> Webhook {
    Webhook {
        secret: Some(Secret::new(
            "whsec_c2VjcmV0IHRoYXQgaXMgbG9uZyBlbm91Z2g=".to_owned(),
        )),
        ..webhook()
    }
}

async fn current(site: &Site, vault: &Vault) {
    let sealed = async {
        while !site
            .engine
            .reader()
            .webhooks()
            .iter()
            .all(|it| vault.is_current(it))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), sealed)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_changes_only_once_what_is_being_written_is_on_disk() {
    let site = site();
    let new = secret_webhook();
    let id = new.id;
    site.engine.create_webhook(new, None).await.unwrap();
    let (one, both) = (vault(Some(1), &[]), vault(Some(2), &[1]));
    site.engine.set_vault(one.clone()).await.unwrap();
    current(&site, &one).await;
    let before = site.engine.reader().webhook(id).unwrap();
    assert_eq!(before.version, 1, "sealing is no change");
    // Somebody has sealed a webhook and not written it yet.
    let writing = site.engine.seals.writing().await;
    let engine = Arc::clone(&site.engine);
    let replacing = TaskTracker::new().spawn({
        let both = both.clone();
        async move { engine.set_vault(both).await }
    });
    // Whoever wants the keys to change is in line once nobody else can begin to write.
    while site.engine.seals.is_free() {
        tokio::task::yield_now().await;
    }
    assert!(!replacing.is_finished());
    assert_eq!(*site.engine.seals.vault(), one);
    drop(writing);
    replacing.await.unwrap().unwrap();
    current(&site, &both).await;
    // The keys are not let go while something needs them.
    let refused = site
        .engine
        .set_vault(vault(Some(3), &[]))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, EngineError::Sealed { webhooks: 1, .. }),
        "{refused}"
    );
    assert_eq!(*site.engine.seals.vault(), both);
    // A client's change goes through beside the sealing.
    let mut change = site.engine.webhook(&account(), id).unwrap().webhook.clone();
    change.name = Some("changed".to_owned());
    let changed = site.engine.change_webhook(change, None).await.unwrap();
    assert_eq!(
        (changed.webhook.version, &changed.webhook.secret),
        (2, &secret_webhook().secret)
    );
    site.engine.set_vault(vault(None, &[2])).await.unwrap();
    current(&site, &Vault::default()).await;
    assert_eq!(site.engine.reader().webhook(id).unwrap(), changed.webhook);
}
