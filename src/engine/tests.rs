//! The engine over a real store, without a network: its webhooks point where the address policy lets nobody go,
//! so each attempt fails at once.

mod declared;
mod hold;
mod probes;
mod seals;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::model::{
    AddressPolicy, EndReason, Endpoint, InactiveReason, Position, RetryPolicy, Secret, UnixMillis,
    Webhook,
};
use crate::sender::{self, Resolver};
use crate::store::Opened;

const PATIENCE: Duration = Duration::from_secs(60);

struct Site {
    engine: Arc<Engine>,
    running: Running,
    store: Opened,
    _directory: TempDir,
}

fn account() -> AccountName {
    AccountName::new("acme").unwrap()
}

fn accounts() -> Vec<(AccountName, String)> {
    vec![(account(), "standard".to_owned())]
}

fn site() -> Site {
    site_with(&Profiles::built_in(), "standard", None)
}

/// A site whose account has this profile, at this time.
fn site_with(profiles: &Profiles, profile: &str, clock: Option<Clock>) -> Site {
    let sender = sender::Options {
        policy: AddressPolicy::new(Vec::new(), Vec::new()),
        extra_ca: Vec::new(),
        resolver: Resolver::System,
        proxy: None,
        response_body_max: 1024,
        idle_per_host_max: 1,
        idle_timeout: Duration::from_secs(1),
    };
    site_that(profiles, profile, clock, sender)
}

/// As [`site_with`], with a sender of this kind.
fn site_that(
    profiles: &Profiles,
    profile: &str,
    clock: Option<Clock>,
    sender: sender::Options,
) -> Site {
    let directory = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let options = store::Options {
        path: directory.path().to_owned(),
        segment_bytes_max: 1 << 24,
        segment_age_max_ms: 1 << 40,
        cache_bytes: 1 << 20,
        commit_queue_max: 1024,
        retention_age_ms: 1 << 40,
        retention_bytes: 1 << 40,
        disk_reserve_bytes: 0,
    };
    let store = store::open(options, metrics.clone()).unwrap();
    let parts = Parts {
        vault: Vault::default(),
        spans: Spans::default(),
        writer: store.writer.clone(),
        reader: store.reader.clone(),
        fatal: store.fatal.clone(),
        sender: Sender::new(sender, store.clock.clone(), metrics.clone()).unwrap(),
        clock: clock.unwrap_or_else(|| store.clock.clone()),
        metrics,
    };
    let options = Options {
        in_flight_max: 16,
        in_flight_per_webhook_max: 16,
        stop_grace: Duration::from_secs(5),
        resume_per_second: 0,
        forward_trace: false,
        webhooks_named_max: 0,
    };
    let (engine, running) = Engine::start(
        parts,
        &options,
        &[(account(), profile.to_owned())],
        profiles,
        &Formats::built_in(),
        &AlertOptions::default(),
    )
    .unwrap();
    Site {
        engine,
        running,
        store,
        _directory: directory,
    }
}

impl Site {
    async fn stop(self) {
        self.engine.stop(self.running).await.unwrap();
        tokio::task::spawn_blocking(move || self.store.handle.stop())
            .await
            .unwrap()
            .unwrap();
    }

    /// The accepted events, newest first.
    fn events(&self) -> Vec<Position> {
        let events = self.engine.reader().events(&account(), None, 1000).unwrap();
        events.iter().map(|(position, _)| *position).collect()
    }

    fn attempts(&self, webhook: WebhookId, event: Position) -> usize {
        let delivery = self.engine.reader().delivery(webhook, event).unwrap();
        delivery.unwrap().attempts.len()
    }
}

pub(super) fn webhook() -> Webhook {
    Webhook {
        id: WebhookId::generate(),
        account: account(),
        version: 1,
        url: Endpoint::parse("https://127.0.0.1/").unwrap(),
        events: Vec::new(),
        scope: None,
        name: None,
        description: None,
        secret: Some(Secret::new(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
        )),
        staged_secret: None,
        old_secret: None,
        format: None,
        filter: None,
        headers: Vec::new(),
        timeout_ms: None,
        retry: Some(RetryPolicy::new(vec![3_600_000; 20], 0).unwrap()),
        active: true,
        inactive: None,
        created_at: UnixMillis(0),
        updated_at: UnixMillis(0),
        order: crate::model::Order::None,
        tls: None,
        oauth2: None,
        declared: None,
    }
}

fn draft(id: &str) -> Draft {
    Draft {
        trace: None,
        id: Some(EventId::new(id).unwrap()),
        event_type: "a".to_owned(),
        data: "{}".to_owned(),
        ..Draft::default()
    }
}

/// Begins `work` and leaves it, as a handler does whose client hangs up.
async fn leave<T>(work: impl Future<Output = T>) {
    let mut work = Box::pin(work);
    std::future::poll_fn(|context| {
        drop(work.as_mut().poll(context));
        Poll::Ready(())
    })
    .await;
}

async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_client_hung_up_is_sent_all_the_same() {
    let site = site();
    let id = webhook().id;
    let wanting = Webhook { id, ..webhook() };
    site.engine.create_webhook(wanting, None).await.unwrap();
    leave(site.engine.post(&account(), draft("left"))).await;
    until("the event is stored", || site.events().len() == 1).await;
    let event = site.events()[0];
    until("its attempt", || site.attempts(id, event) == 1).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_whose_client_hung_up_reach_the_live_table() {
    let site = site();
    let new = webhook();
    let id = new.id;
    leave(site.engine.create_webhook(new.clone(), None)).await;
    until("registered", || {
        site.engine.webhook(&account(), id).is_some()
    })
    .await;
    let change = Webhook {
        name: Some("changed".to_owned()),
        ..new
    };
    leave(site.engine.change_webhook(change, None)).await;
    let version = || site.engine.webhook(&account(), id).unwrap().webhook.version;
    until("changed", || version() == 2).await;
    leave(site.engine.remove_webhook(id, 2, None)).await;
    until("removed", || site.engine.webhook(&account(), id).is_none()).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_asked_for_by_a_client_that_hung_up_is_not_kept_back() {
    let site = site();
    let new = webhook();
    let id = new.id;
    site.engine.create_webhook(new, None).await.unwrap();
    site.engine.post(&account(), draft("again")).await.unwrap();
    let event = site.events()[0];
    until("the first attempt", || site.attempts(id, event) == 1).await;
    for _ in 0..10 {
        let before = site.attempts(id, event);
        let start = Instant::now();
        // Refused while the attempt before is under way; a reservation left behind would refuse it for ever.
        while site.attempts(id, event) == before {
            assert!(start.elapsed() < PATIENCE, "it is kept back");
            leave(site.engine.send_again(id, event, None)).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    for _ in 0..5 {
        let before = site.attempts(id, event);
        // Refused as long as the scheduler has not been told of the attempt before.
        while let Err(error) = site.engine.send_again(id, event, None).await {
            assert!(matches!(error, ChangeError::InFlight), "{error}");
        }
        until("one more attempt", || site.attempts(id, event) > before).await;
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_posted_while_its_webhook_is_registered_is_sent() {
    let site = site();
    for round in 0..50 {
        let new = webhook();
        let id = new.id;
        let engine = Arc::clone(&site.engine);
        let registering = site.engine.tracker.spawn(async move {
            engine.create_webhook(new, None).await.unwrap();
        });
        until("it is in the live table", || {
            site.engine.webhook(&account(), id).is_some()
        })
        .await;
        let name = format!("e{round}");
        let posted = site.engine.post(&account(), draft(&name)).await.unwrap();
        assert_eq!(posted.deliveries, 1);
        registering.await.unwrap();
        let event = site.events()[0];
        until("its attempt", || site.attempts(id, event) == 1).await;
        site.engine.remove_webhook(id, 1, None).await.unwrap();
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_an_account_flows_when_a_reload_brings_it_back() {
    let site = site();
    let new = webhook();
    let id = new.id;
    site.engine.create_webhook(new, None).await.unwrap();
    let profiles = Profiles::built_in();
    let other = vec![(AccountName::new("other").unwrap(), "standard".to_owned())];
    for round in 0..10 {
        let name = format!("e{round}");
        site.engine.post(&account(), draft(&name)).await.unwrap();
        let formats = Formats::built_in();
        site.engine
            .set_accounts(&other, &profiles, &formats, &AlertOptions::default(), &[])
            .await
            .unwrap();
        assert!(site.engine.webhook(&account(), id).is_none());
        let refused = site.engine.post(&account(), draft("refused")).await;
        assert!(matches!(refused, Err(IntakeError::Account(_))));
        site.engine
            .set_accounts(
                &accounts(),
                &profiles,
                &formats,
                &AlertOptions::default(),
                &[],
            )
            .await
            .unwrap();
        let event = site.events()[0];
        until("its attempt", || site.attempts(id, event) > 0).await;
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_reloads_at_once_leave_what_is_on_disk() {
    let site = site();
    let (profiles, formats) = (Profiles::built_in(), Formats::built_in());
    for _ in 0..20 {
        let new = webhook();
        let id = new.id;
        site.engine.create_webhook(new, None).await.unwrap();
        let removing = site.engine.remove_webhook(id, 1, None);
        let accounts = accounts();
        let alerts = AlertOptions::default();
        let reloading = site
            .engine
            .set_accounts(&accounts, &profiles, &formats, &alerts, &[]);
        let (removed, reloaded) = tokio::join!(removing, reloading);
        removed.unwrap();
        reloaded.unwrap();
        assert!(site.engine.webhook(&account(), id).is_none());
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_disables_only_what_it_was_sent_to() {
    let site = site();
    let new = webhook();
    let id = new.id;
    let engine = &site.engine;
    engine.create_webhook(new, None).await.unwrap();
    engine.post(&account(), draft("e")).await.unwrap();
    let event = site.events()[0];
    let live = || engine.webhook(&account(), id).unwrap();
    let change = async |edit: &dyn Fn(&mut Webhook)| {
        let mut webhook = live().webhook.clone();
        edit(&mut webhook);
        engine.change_webhook(webhook, None).await.unwrap();
    };
    let switch = async |active: bool| {
        change(&|w| w.set_active(active, InactiveReason::Request, UnixMillis(1))).await;
    };
    let gone = async |made_with: &Live| {
        engine.after_end(made_with, event, EndReason::Gone, 1).await;
        live().webhook.inactive.map(|inactive| inactive.reason)
    };
    let first = live();
    switch(false).await;
    switch(true).await;
    assert_eq!(gone(&first).await, None, "it was activated again since");
    let second = live();
    change(&|w| w.url = Endpoint::parse("https://127.0.0.2/").unwrap()).await;
    assert_eq!(gone(&second).await, None, "it is sent elsewhere since");
    let third = live();
    change(&|w| w.name = Some("other".to_owned())).await;
    let (profiles, formats) = (Profiles::built_in(), Formats::built_in());
    let reloaded = engine
        .set_accounts(
            &accounts(),
            &profiles,
            &formats,
            &AlertOptions::default(),
            &[],
        )
        .await;
    reloaded.unwrap();
    assert_eq!(gone(&third).await, Some(InactiveReason::Gone));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_that_is_out_of_time_says_that_there_may_be_more() {
    let site = site();
    let live = site.engine.create_webhook(webhook(), None).await.unwrap();
    let id = live.webhook.id;
    site.engine.post(&account(), draft("one")).await.unwrap();
    let only = |only| JobOrder {
        account: account(),
        kind: crate::model::JobKind::Rematch { only },
        filter: crate::model::JobFilter::default(),
        per_second: 1,
    };
    let count = |order, time| site.engine.count_matches(order, time);
    let cut = count(only(None), Duration::ZERO).await.unwrap();
    assert_eq!((cut.matched, cut.complete), (0, false));
    let whole = count(only(Some(id)), PATIENCE).await.unwrap();
    assert_eq!((whole.matched, whole.complete), (0, true));
    // Of an account that is not configured nothing can be known, and nothing is waited for.
    let mut unknown = only(None);
    unknown.account = AccountName::new("nobody").unwrap();
    let unknown = count(unknown, PATIENCE).await.unwrap();
    assert_eq!((unknown.matched, unknown.complete), (0, false));
    site.stop().await;
}
