//! The store as the daemon meets it.

mod audit;
mod copies;
mod crash;
mod faults;
mod flips;
mod golden;
pub(crate) mod history;
mod jobs;
mod model;
pub(crate) mod stepped;
mod stretches;
mod transitions;
mod upgrade;

use std::path::Path;
use std::sync::Arc;

use crate::metrics::Metrics;
use crate::model::{
    AccountName, Attempt, Endpoint, Event, EventId, Header, Inactive, InactiveReason, Next,
    OldSecret, Outcome, Phases, Position, QueueEntry, Response, RetryPolicy, Secret, SteadyMillis,
    Trigger, UnixMicros, UnixMillis, Webhook, WebhookId,
};

use super::*;

pub(crate) fn options(path: &Path) -> Options {
    Options {
        path: path.to_owned(),
        segment_bytes_max: 64 << 20,
        segment_age_max_ms: u64::MAX,
        cache_bytes: 4 << 20,
        commit_queue_max: 1024,
        retention_age_ms: u64::MAX,
        retention_bytes: u64::MAX,
        disk_reserve_bytes: 0,
    }
}

pub(crate) fn open_at(path: &Path) -> Opened {
    open_with(options(path))
}

/// Opens, waiting for the lock: a process that another test starts holds a copy of it until it is executed.
pub(crate) fn open_with(options: Options) -> Opened {
    let mut opened = None;
    until("the lock is free", || {
        match open(options.clone(), Metrics::new()) {
            Err(Error::Locked { .. }) => false,
            result => {
                opened = Some(result.unwrap());
                true
            }
        }
    });
    opened.unwrap()
}

/// Segments so small that a few records fill one.
pub(crate) fn open_small(path: &Path) -> Opened {
    open_with(Options {
        segment_bytes_max: 4_000,
        ..options(path)
    })
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

pub(crate) fn account() -> AccountName {
    AccountName::new("acme").unwrap()
}

pub(crate) fn webhook(id: u128) -> Webhook {
    Webhook {
        id: WebhookId(id),
        account: account(),
        version: 1,
        url: Endpoint::parse("https://receiver.example.com/hook").unwrap(),
        events: vec!["pipeline.*".to_owned()],
        scope: None,
        name: Some("one".to_owned()),
        description: None,
        secret: Some(Secret::new("whsec_abc".to_owned())),
        staged_secret: Some(Secret::new("whsec_next".to_owned())),
        old_secret: Some(OldSecret {
            secret: Secret::new("whsec_old".to_owned()),
            expires_at: UnixMillis(1_700_000_000_002),
        }),
        format: Some("slack".to_owned()),
        filter: Some("{\"type\":[\"a\"]}".to_owned()),
        headers: vec![Header {
            name: "X-A".to_owned(),
            value: Secret::new("b".to_owned()),
        }],
        timeout_ms: Some(5_000),
        retry: Some(RetryPolicy::new(vec![1_000, 2_000], 10).unwrap()),
        active: true,
        inactive: Some(Inactive {
            reason: InactiveReason::Exhausted,
            since: UnixMillis(1_700_000_000_003),
        }),
        created_at: UnixMillis(1_700_000_000_000),
        updated_at: UnixMillis(1_700_000_000_001),
        order: crate::model::Order::None,
        tls: None,
        oauth2: None,
        declared: None,
    }
}

pub(crate) fn event(id: &str, data: &str) -> Event {
    Event {
        account: account(),
        id: EventId::new(id).unwrap(),
        event_type: "pipeline.run.completed".to_owned(),
        created_at: UnixMicros(1_700_000_000_000_000),
        received_at: UnixMillis(1_700_000_000_000),
        data: data.to_owned(),
        metadata: Some("{\"a\":1}".to_owned()),
        scope: None,
        warning: None,
        trace: None,
    }
}

pub(crate) fn new_event(id: &str, data: &str, webhooks: &[u128]) -> NewEvent {
    NewEvent {
        event: Arc::new(event(id, data)),
        client_id: true,
        with_time: true,
        webhooks: webhooks.iter().copied().map(WebhookId).collect(),
    }
}

pub(crate) fn attempt(status: u16) -> Attempt {
    Attempt {
        number: 0,
        trigger: Trigger::Schedule,
        started_at: UnixMillis(1_700_000_000_500),
        outcome: Outcome::Status(status),
        phases: Phases {
            total_us: 1_500,
            ..Phases::default()
        },
        request_headers: vec![("X-Signature".to_owned(), "t=1,v1=00".to_owned())],
        response: Some(Response {
            headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
            body: b"ok".to_vec(),
            truncated: false,
        }),
    }
}

pub(crate) fn finish(webhook: u128, entry: QueueEntry, next: Next) -> Finish {
    let status = if next == Next::Delivered { 200 } else { 503 };
    Finish {
        webhook: WebhookId(webhook),
        entry,
        attempt: attempt(status),
        next,
    }
}

/// Everything pending of a webhook.
pub(crate) fn pending(reader: &Reader, webhook: u128) -> Vec<QueueEntry> {
    let page = reader
        .page(
            WebhookId(webhook),
            (SteadyMillis(0), SteadyMillis(u64::MAX)),
            usize::MAX,
        )
        .unwrap();
    assert_eq!(page.next_due, None);
    page.entries
}

/// Accepts an event for webhooks that exist; its position and due time.
pub(crate) async fn accept(
    writer: &Writer,
    id: &str,
    webhooks: &[u128],
) -> (Position, SteadyMillis) {
    match writer.accept(new_event(id, "{}", webhooks)).await.unwrap() {
        Accepted::New { event, due, .. } => (event, due),
        other => panic!("{id} was answered with {other:?}"),
    }
}

pub(crate) async fn register(writer: &Writer, ids: impl IntoIterator<Item = u128>) {
    for id in ids {
        assert_eq!(
            writer.put_webhook(webhook(id), None).await.unwrap(),
            Written::Done
        );
    }
}

/// Looks until it is so, without an idea how long that takes; a minute is far beyond any honest wait.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let started = tokio::time::Instant::now();
    while !so() {
        assert!(started.elapsed().as_secs() < 60, "never came: {what}");
        std::thread::yield_now();
    }
}
