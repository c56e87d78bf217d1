//! The audit log: an entry stands exactly where something was written, through restarts, in sealed segments too.

use super::*;
use crate::model::{Actor, AuditAction, AuditEntry};

fn entry(action: AuditAction, webhook: Option<u128>) -> AuditEntry {
    AuditEntry {
        account: account(),
        actor: Actor::Key {
            name: "backend".to_owned(),
            address: None,
        },
        action,
        webhook: webhook.map(WebhookId),
        subject: None,
        details: vec!["url".to_owned()],
    }
}

fn actions(reader: &Reader, webhook: Option<u128>) -> Vec<AuditAction> {
    let page = reader
        .audit(&account(), webhook.map(WebhookId), None, 100)
        .unwrap();
    assert_eq!(page.next, None);
    page.entries.iter().map(|one| one.entry.action).collect()
}

#[test]
fn what_is_written_is_noted_and_what_is_not_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_at(directory.path());
    let other = AccountName::new("other").unwrap();
    runtime().block_on(async {
        let by = |action| store.writer.noting(entry(action, Some(1)));
        let created = by(AuditAction::WebhookCreated);
        let put = |writer: Writer, from| async move { writer.put_webhook(webhook(1), from).await };
        assert_eq!(put(created.clone(), None).await.unwrap(), Written::Done);
        // There is one already, and this version is not the present one.
        assert_eq!(put(created, None).await.unwrap(), Written::Stale);
        let changed = by(AuditAction::WebhookChanged);
        assert_eq!(put(changed, Some(9)).await.unwrap(), Written::Stale);
        let large = Webhook {
            description: Some("x".repeat(crate::journal::PAYLOAD_BYTES_MAX)),
            ..webhook(2)
        };
        let refused = by(AuditAction::WebhookCreated)
            .put_webhook(large, None)
            .await;
        assert!(matches!(refused, Err(WriteError::TooLarge(_))));
        // One that is not noted, and a note alone.
        store.writer.put_webhook(webhook(3), None).await.unwrap();
        let note = store.writer.audit(entry(AuditAction::KeysChanged, None));
        assert_eq!(note.await.unwrap(), Written::Done);
        let of_other = AuditEntry {
            account: other.clone(),
            ..entry(AuditAction::WebhookRemoved, Some(1))
        };
        store.writer.audit(of_other).await.unwrap();
        let removing = by(AuditAction::WebhookRemoved);
        let removed = removing.remove_webhook(WebhookId(1), 1).await.unwrap();
        assert_eq!(removed, Written::Done);
    });
    let all = [
        AuditAction::WebhookRemoved,
        AuditAction::KeysChanged,
        AuditAction::WebhookCreated,
    ];
    let check = |reader: &Reader| {
        assert_eq!(actions(reader, None), all);
        // Another account's entry about the same webhook is not shown.
        assert_eq!(actions(reader, Some(1)), [all[0], all[2]]);
        assert_eq!(actions(reader, Some(3)), []);
        let page = reader.audit(&other, None, None, 10).unwrap();
        assert_eq!(page.entries.len(), 1);
        // Nor is it told how many there are.
        let of_ours = reader.audit(&other, Some(WebhookId(3)), None, 1).unwrap();
        assert_eq!(of_ours, AuditPage::default());
        let (theirs, ours) = (Some(WebhookId(1)), None);
        let page = reader.audit(&other, theirs, ours, 10).unwrap();
        assert_eq!((page.entries.len(), page.next), (1, None));
    };
    check(&store.reader);
    store.handle.stop().unwrap();
    drop((store.reader, store.writer));
    let store = open_at(directory.path());
    check(&store.reader);
    store.handle.stop().unwrap();
}

#[test]
fn a_list_goes_on_through_sealed_segments() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_small(directory.path());
    runtime().block_on(async {
        for number in 0..100_u32 {
            let note = AuditEntry {
                subject: Some(number.to_string()),
                ..entry(AuditAction::DeliveryRetried, Some(u128::from(number % 2)))
            };
            store.writer.audit(note).await.unwrap();
            accept(&store.writer, &format!("e{number}"), &[]).await;
        }
    });
    assert!(store.reader.backlog().segments.len() > 2);
    for (webhook, expected) in [
        (None, (0..100).rev().collect::<Vec<u32>>()),
        (Some(WebhookId(1)), (0..100).rev().step_by(2).collect()),
    ] {
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = store.reader.audit(&account(), webhook, before, 7).unwrap();
            let subjects = page
                .entries
                .iter()
                .map(|one| one.entry.subject.clone().unwrap());
            seen.extend(subjects.map(|subject| subject.parse::<u32>().unwrap()));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected);
    }
    store.handle.stop().unwrap();
}
