//! A data directory of the first format opens for ever: `tests/data/store/v1.txt` is one, as text.
//!
//! It has records of every kind, sealed segments with indexes, a damaged record that was set aside, and a sled that
//! is behind the journal's end. What must be found in it is written out here. A file is never changed once it is
//! released. For a new format: give the file's name the next number, and run with `HOOKWHEEL_WRITE_GOLDEN=1`.

use std::fmt::Write as _;

use super::*;
use crate::model::{DeliveryState, EndReason};
use crate::store::directory::{journal_path, registry_path};
use crate::store::record::Record;

const NAME: &str = "tests/data/store/v1.txt";
/// Bytes in a line of the text; lines of zeros are left out.
const LINE: usize = 32;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(NAME)
}

fn files(directory: &Path, below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory.join(below)).unwrap() {
        let name = below.join(entry.unwrap().file_name());
        if directory.join(&name).is_dir() {
            found.extend(files(directory, &name));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// A directory as text: each file's name and length, then its lines that are not all zeros.
fn to_text(directory: &Path) -> String {
    let mut text = String::new();
    for name in files(directory, Path::new("")) {
        let bytes = std::fs::read(directory.join(&name)).unwrap();
        writeln!(text, "file {} {}", name.display(), bytes.len()).unwrap();
        for (number, line) in bytes.chunks(LINE).enumerate() {
            if line.iter().any(|byte| *byte != 0) {
                let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(text, "{:x} {hex}", number * LINE).unwrap();
            }
        }
    }
    text
}

fn from_text(text: &str, directory: &Path) {
    let mut open: Option<(PathBuf, Vec<u8>)> = None;
    for line in text.lines().chain(["file . 0"]) {
        if let Some(file) = line.strip_prefix("file ") {
            if let Some((path, bytes)) = open.take() {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            let (name, length) = file.rsplit_once(' ').unwrap();
            open = Some((directory.join(name), vec![0; length.parse().unwrap()]));
            continue;
        }
        let (at, hex) = line.split_once(' ').unwrap();
        let at = usize::from_str_radix(at, 16).unwrap();
        let bytes = &mut open.as_mut().unwrap().1;
        for (index, byte) in (0..hex.len()).step_by(2).enumerate() {
            bytes[at + index] = u8::from_str_radix(&hex[byte..byte + 2], 16).unwrap();
        }
    }
}

fn destination(id: u128, active: bool) -> Webhook {
    Webhook {
        // Nobody listens there, and it is no one else's machine.
        url: Endpoint::parse("https://127.0.0.1:1/hook").unwrap(),
        events: Vec::new(),
        filter: None,
        format: None,
        active,
        ..webhook(id)
    }
}

async fn end(store: &Opened, webhook: u128, next: Next) {
    let entry = pending(&store.reader, webhook)[0];
    assert_eq!(
        store
            .writer
            .finish(finish(webhook, entry, next))
            .await
            .unwrap(),
        Written::Done
    );
}

/// The history of the fixture; `check` says what must be found of it.
async fn write_first(store: &Opened) {
    let writer = &store.writer;
    for (id, active) in [(1, true), (2, false), (3, false)] {
        let written = writer.put_webhook(destination(id, active), None).await;
        assert_eq!(written.unwrap(), Written::Done);
    }
    accept(writer, "delivered", &[1]).await;
    end(store, 1, Next::Delivered).await;
    accept(writer, "failed", &[1]).await;
    let later = pending(&store.reader, 1)[0].due.plus(5);
    end(store, 1, Next::RetryAt(later)).await;
    end(store, 1, Next::Failed(EndReason::Exhausted)).await;
    let (event, _) = accept(writer, "again", &[1]).await;
    end(store, 1, Next::Failed(EndReason::Gone)).await;
    let again = writer.requeue(WebhookId(1), event).await.unwrap();
    assert!(matches!(again, Requeued::Now { .. }), "{again:?}");
    end(store, 1, Next::Delivered).await;
    accept(writer, "expired", &[2]).await;
    let entries = pending(&store.reader, 2);
    let expired = writer.cancel(WebhookId(2), entries, EndReason::Expired);
    assert_eq!(expired.await.unwrap(), 1);
    accept(writer, "removed", &[3]).await;
    writer.remove_webhook(WebhookId(3), 1).await.unwrap();
    until("the webhook is forgotten", || {
        pending(&store.reader, 3).is_empty()
    });
    accept(writer, "tried", &[2]).await;
    let later = pending(&store.reader, 2)[0].due.plus(5);
    end(store, 2, Next::RetryAt(later)).await;
    // Enough for a roll or two.
    for number in 0..60 {
        accept(writer, &format!("plain-{number}"), &[]).await;
    }
}

fn write(to: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let runtime = runtime();
    let store = open_small(path);
    runtime.block_on(write_first(&store));
    runtime.block_on(accept(&store.writer, "damaged", &[]));
    // A good record after it: else it would be a torn tail.
    runtime.block_on(accept(&store.writer, "plain-60", &[]));
    store.handle.stop().unwrap();
    drop((store.reader, store.writer));
    let last = tree_of_logs(path).pop().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    let at = bytes
        .windows(7)
        .position(|window| window == b"damaged")
        .unwrap();
    bytes[at] ^= 1;
    std::fs::write(&last, bytes).unwrap();
    // Opened again, so that it is set aside.
    let store = open_small(path);
    runtime.block_on(accept(&store.writer, "plain-61", &[]));
    store.handle.stop().unwrap();
    drop((store.reader, store.writer));
    // This sled is put back, so that the last records are only in the journal.
    let before: Vec<(PathBuf, Vec<u8>)> = files(path, Path::new("registry"))
        .into_iter()
        .map(|name| (name.clone(), std::fs::read(path.join(name)).unwrap()))
        .collect();
    let store = open_small(path);
    runtime.block_on(accept(&store.writer, "waiting", &[2]));
    store.handle.stop().unwrap();
    drop((store.reader, store.writer));
    std::fs::remove_dir_all(registry_path(path)).unwrap();
    for (name, bytes) in before {
        std::fs::create_dir_all(path.join(&name).parent().unwrap()).unwrap();
        std::fs::write(path.join(name), bytes).unwrap();
    }
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::write(to, to_text(path)).unwrap();
}

fn tree_of_logs(path: &Path) -> Vec<PathBuf> {
    let mut logs = files(&journal_path(path), Path::new(""));
    logs.retain(|name| name.extension().is_some_and(|ending| ending == "log"));
    logs.iter()
        .map(|name| journal_path(path).join(name))
        .collect()
}

/// Where each delivery stands: webhook, event, its state's name, attempts.
const STANDINGS: [(u128, &str, &str, u32); 7] = [
    (1, "delivered", "delivered", 1),
    (1, "failed", "exhausted", 2),
    (1, "again", "delivered", 2),
    (2, "expired", "expired", 0),
    (3, "removed", "webhook_removed", 0),
    (2, "tried", "pending", 1),
    (2, "waiting", "pending", 0),
];

const fn name_of(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Pending { .. } => "pending",
        DeliveryState::Delivered { .. } => "delivered",
        DeliveryState::Ended { reason, .. } => reason.as_str(),
    }
}

fn check(store: &Opened) {
    let reader = &store.reader;
    assert_eq!(
        reader.webhooks(),
        [destination(1, true), destination(2, false)]
    );
    let find = |id: &str| reader.find_event(&account(), &EventId::new(id).unwrap());
    for (webhook, id, state, attempts) in STANDINGS {
        let (position, found) = find(id).unwrap().unwrap();
        assert_eq!(found, event(id, "{}"));
        let found: Vec<_> = reader
            .deliveries_of(position)
            .unwrap()
            .into_iter()
            .map(|(webhook, state, attempts)| (webhook, name_of(state), attempts))
            .collect();
        assert_eq!(found, [(WebhookId(webhook), state, attempts)], "{id}");
    }
    for number in 0..62 {
        assert!(find(&format!("plain-{number}")).unwrap().is_some());
    }
    assert_eq!(find("damaged").unwrap(), None);
    assert_eq!(reader.events(&account(), None, 100).unwrap().len(), 69);
    let attempts: Vec<u32> = pending(reader, 2).iter().map(|one| one.attempts).collect();
    assert_eq!(attempts, [1, 0]);
    // sled had no counts of webhooks when this was written.
    assert_eq!(reader.pending_counts(), [(WebhookId(2), 2)]);
    assert!(pending(reader, 1).is_empty() && pending(reader, 3).is_empty());
    let (position, _) = find("failed").unwrap().unwrap();
    let delivery = reader.delivery(WebhookId(1), position).unwrap().unwrap();
    assert_eq!(delivery.attempts.len(), 2);
    assert_eq!(delivery.attempts[1].outcome, Outcome::Status(503));
    let kinds: std::collections::HashSet<_> = open::records(&reader.journal)
        .iter()
        // This open has written the registry in the present form.
        .filter(|(_, record)| !matches!(record, Record::Webhooks { .. }))
        .map(|(_, record)| std::mem::discriminant(record))
        .collect();
    assert_eq!(kinds.len(), 9, "records of every kind of the first format");
    let backlog = reader.backlog();
    assert!(backlog.segments.len() >= 3, "{}", backlog.segments.len());
    assert_eq!(backlog.set_aside, 1);
    assert_eq!(
        backlog.segments.iter().map(|one| one.pending).sum::<u64>(),
        2
    );
}

#[test]
fn a_directory_of_the_first_format_opens_with_all_that_was_in_it() {
    let path = fixture();
    if std::env::var_os("HOOKWHEEL_WRITE_GOLDEN").is_some() && !path.exists() {
        write(&path);
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.len() < 60_000, "{} bytes", text.len());
    for registry in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        from_text(&text, directory.path());
        assert_eq!(to_text(directory.path()), text, "it reads back");
        if !registry {
            std::fs::remove_dir_all(registry_path(directory.path())).unwrap();
        }
        let store = open_at(directory.path());
        assert_eq!(store.report.moved_aside, None);
        assert_eq!(store.report.journal.indexes_made, 0);
        assert_eq!(store.report.journal.torn_bytes, 0);
        if registry {
            assert!(
                (2..6).contains(&store.report.replayed),
                "{:?}",
                store.report
            );
        }
        check(&store);
        store.handle.stop().unwrap();
        drop((store.reader, store.writer));
        let store = open_at(directory.path());
        assert_eq!(store.reader.pending_counts(), [(WebhookId(2), 2)]);
        store.handle.stop().unwrap();
    }
}
