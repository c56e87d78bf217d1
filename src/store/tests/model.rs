//! Overlay and sled together against a plain map, and `apply` against what it promises.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;
use crate::store::apply::{Change, QueueKey, QueueValue};
use crate::store::live::{Live, bounds_of};

#[derive(Clone, Debug)]
enum Step {
    /// A new delivery.
    Add(u8, u8),
    /// The n-th pending delivery moves to another due time.
    Move(prop::sample::Index, u8),
    /// The n-th pending delivery ends.
    End(prop::sample::Index),
    Flush,
    /// The two halves of a flush, with others between them.
    Freeze,
    Give,
    /// Everything is read again from sled.
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u8, any::<u8>()).prop_map(|(webhook, due)| Step::Add(webhook, due)),
        4 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(which, due)| Step::Move(which, due)),
        4 => any::<prop::sample::Index>().prop_map(Step::End),
        1 => Just(Step::Flush),
        2 => Just(Step::Freeze),
        2 => Just(Step::Give),
        1 => Just(Step::Reload),
    ]
}

fn walk_all(live: &Live, low: QueueKey, high: QueueKey) -> Vec<(QueueKey, QueueValue)> {
    let mut seen = Vec::new();
    live.walk(low, high, |key, value| {
        seen.push((key, value));
        ControlFlow::Continue(())
    })
    .unwrap();
    seen
}

fn take(model: &BTreeMap<QueueKey, QueueValue>, which: prop::sample::Index) -> Option<QueueKey> {
    (!model.is_empty()).then(|| *model.keys().nth(which.index(model.len())).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn overlay_and_sled_are_one_ordered_map(steps in prop::collection::vec(step(), 1..120)) {
        let directory = tempfile::tempdir().unwrap();
        let config = sled::Config::new().path(directory.path()).flush_every_ms(None);
        let mut live = recover::open_sled(&config, suspect::Suspect::new(directory.path())).unwrap();
        let mut model: BTreeMap<QueueKey, QueueValue> = BTreeMap::new();
        let mut offset = 72;
        for step in steps {
            offset += 100;
            let at = Position { segment: 1 + offset / 2_000, offset };
            let changes = match step {
                Step::Add(webhook, due) => {
                    let key = QueueKey { webhook: WebhookId(webhook.into()), due: SteadyMillis(due.into()), event: at };
                    model.insert(key, QueueValue::FRESH);
                    vec![
                        Change::Queue(key, Some(QueueValue::FRESH)),
                        Change::Pending { segment: at.segment, delta: 1 },
                    ]
                }
                Step::Move(which, due) => match take(&model, which) {
                    Some(old) => {
                        let mut value = model.remove(&old).unwrap();
                        value.attempts += 1;
                        let key = QueueKey { due: SteadyMillis(due.into()), ..old };
                        model.insert(key, value);
                        vec![Change::Queue(old, None), Change::Queue(key, Some(value))]
                    }
                    None => Vec::new(),
                },
                Step::End(which) => match take(&model, which) {
                    Some(old) => {
                        model.remove(&old);
                        let segment = old.event.segment;
                        vec![Change::Queue(old, None), Change::Pending { segment, delta: -1 }]
                    }
                    None => Vec::new(),
                },
                Step::Flush => { live.flush().unwrap(); Vec::new() }
                Step::Freeze => { live.freeze().unwrap(); Vec::new() }
                Step::Give => { live.give().unwrap(); Vec::new() }
                Step::Reload => {
                    live.flush().unwrap();
                    drop(live);
                    live = recover::open_sled(&config, suspect::Suspect::new(directory.path())).unwrap();
                    Vec::new()
                }
            };
            live.merge(changes, Some(at), SteadyMillis(offset.into()));
            let all = walk_all(&live, bounds_of(WebhookId(0)).0, bounds_of(WebhookId(u128::MAX)).1);
            prop_assert_eq!(all, model.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
            for webhook in 0..4 {
                let (low, high) = bounds_of(WebhookId(webhook));
                let own: Vec<_> = model.range(low..=high).map(|(key, value)| (*key, *value)).collect();
                prop_assert_eq!(walk_all(&live, low, high), own);
            }
            prop_assert!(model.iter().all(|(key, value)| live.pending(key).unwrap() == Some(*value)));
            let segments: BTreeMap<u32, i64> = model.keys().fold(BTreeMap::new(), |mut counts, key| {
                *counts.entry(key.event.segment).or_default() += 1;
                counts
            });
            for segment in 0..10 {
                let expected = segments.get(&segment).copied().unwrap_or_default();
                prop_assert_eq!(live.pending_in(segment), expected);
            }
            let mut waiting: BTreeMap<WebhookId, usize> = BTreeMap::new();
            for key in model.keys() {
                *waiting.entry(key.webhook).or_default() += 1;
            }
            prop_assert_eq!(&live.waiting().into_iter().collect::<BTreeMap<_, _>>(), &waiting);
            prop_assert_eq!(live.applied().0, Some(at));
        }
        live.flush().unwrap();
        prop_assert_eq!(live.unflushed(), (0, false));
        prop_assert_eq!(live.recount(false).unwrap().len(), model.keys().map(|key| key.webhook).collect::<std::collections::BTreeSet<_>>().len());
    }
}

#[test]
fn a_page_ends_where_it_should_and_says_what_comes_next() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_at(directory.path());
    let (reader, writer) = (&opened.reader, &opened.writer);
    runtime().block_on(async {
        register(writer, [1, 2]).await;
        let mut last = SteadyMillis(0);
        for number in 0..10 {
            last = accept(writer, &format!("e{number}"), &[1]).await.1;
        }
        let entries = pending(reader, 1);
        let far = Next::RetryAt(last.plus(500_000));
        writer.finish(finish(1, entries[4], far)).await.unwrap();
        let page = reader
            .page(WebhookId(1), (SteadyMillis(0), last), 4)
            .unwrap();
        assert_eq!(
            (&page.entries[..], page.next_due),
            (&entries[..4], Some(entries[5].due))
        );
        let page = reader
            .page(WebhookId(1), (SteadyMillis(0), last), 100)
            .unwrap();
        assert_eq!(
            (page.entries.len(), page.next_due),
            (9, Some(last.plus(500_000)))
        );
        assert_eq!(
            reader
                .page(WebhookId(2), (SteadyMillis(0), last), 4)
                .unwrap(),
            Page::default()
        );
        assert_eq!(
            reader.first_due(WebhookId(1)).unwrap(),
            Some(entries[0].due)
        );
        assert_eq!(reader.first_due(WebhookId(2)).unwrap(), None);
        assert_eq!(reader.pending_count(WebhookId(1)), 10);
        assert_eq!(reader.pending_count(WebhookId(2)), 0);
        assert_eq!(reader.pending_counts(), [(WebhookId(1), 10)]);
    });
}
