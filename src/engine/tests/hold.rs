//! What disables a webhook by time, tries it out while it is disabled, and discards what it holds.

use std::collections::BTreeMap;

use super::*;
use crate::model::{
    Attempt, DeliveryState, Inactive, ManualTime, Next, Outcome, Phases, SteadyMillis, Trigger,
    UnixMicros,
};
use crate::profile::RawProfile;

const HOUR_MS: u64 = 3_600_000;

/// The built-in profiles and `patient`, which probes.
fn profiles() -> Profiles {
    let text = "[patient]\nextends = \"standard\"\n[patient.exhausted]\nprobe_every = \"10s\"\n";
    let raw: BTreeMap<String, RawProfile> = toml::from_str(text).unwrap();
    Profiles::build(raw).unwrap()
}

/// A site whose time is moved by hand. It is a little ahead of the store's, so what is posted is due.
fn site_in(profile: &str) -> (Site, ManualTime) {
    let time = ManualTime::new(UnixMillis(Clock::system().wall().0 + 60_000));
    let clock = time.clock(SteadyMillis(0));
    (site_with(&profiles(), profile, Some(clock)), time)
}

fn disabled(reason: InactiveReason) -> Webhook {
    Webhook {
        active: false,
        inactive: Some(Inactive {
            reason,
            since: UnixMillis(7),
        }),
        ..webhook()
    }
}

impl Site {
    fn live(&self, id: WebhookId) -> Arc<Live> {
        self.engine.webhook(&account(), id).unwrap()
    }

    async fn posted(&self, id: &str) -> Position {
        self.engine.post(&account(), draft(id)).await.unwrap();
        self.events()[0]
    }

    fn state(&self, webhook: WebhookId, event: Position) -> DeliveryState {
        let delivery = self.engine.reader().delivery(webhook, event).unwrap();
        delivery.unwrap().state
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_days_of_failing_disable_a_webhook_and_a_wait_without_attempts_does_not() {
    let (site, time) = site_in("standard");
    let new = webhook();
    let id = new.id;
    site.engine.create_webhook(new, None).await.unwrap();
    assert_eq!(site.engine.failing(&site.live(id)), None);
    let event = site.posted("e").await;
    until("the first attempt", || site.attempts(id, event) == 1).await;
    // The record of it is of the store's time.
    until("the log is read", || site.live(id).streak.is_read()).await;
    let failing = site.engine.failing(&site.live(id)).unwrap();
    let disables_at = failing.disables_at.unwrap();
    assert_eq!(disables_at.0 - failing.since.0, 5 * 24 * HOUR_MS);
    time.pass(5 * 24 * HOUR_MS - HOUR_MS);
    until("the retry", || site.attempts(id, event) == 2).await;
    let failing = site.engine.failing(&site.live(id)).unwrap();
    assert_eq!(failing.disables_at, Some(disables_at), "it stands");
    assert!(site.live(id).webhook.active);
    // Time alone disables nothing: only the next failed attempt does.
    time.pass(HOUR_MS - 1);
    assert!(site.live(id).webhook.active);
    time.pass(1);
    until("it is disabled", || !site.live(id).webhook.active).await;
    let live = site.live(id);
    let reason = live.webhook.inactive.map(|inactive| inactive.reason);
    assert_eq!(reason, Some(InactiveReason::Failing));
    assert_eq!(site.engine.failing(&live), None, "it is not tried any more");
    assert_eq!(site.engine.next_probe_at(&live), None, "nor by probes");
    // Activated again, it counts from its next failure.
    let mut change = live.webhook.clone();
    change.set_active(true, InactiveReason::Request, UnixMillis(8));
    site.engine.change_webhook(change, None).await.unwrap();
    time.pass(HOUR_MS);
    until("one more attempt", || site.attempts(id, event) == 4).await;
    let failing = until_some(|| site.engine.failing(&site.live(id))).await;
    assert!(failing.since > disables_at && site.live(id).webhook.active);
    site.stop().await;
}

async fn until_some<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    until("it is there", || {
        found = look();
        found.is_some()
    })
    .await;
    found.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_counts_only_for_where_it_was_sent() {
    let (site, _time) = site_in("standard");
    let new = webhook();
    let id = new.id;
    site.engine.create_webhook(new, None).await.unwrap();
    let before = site.live(id);
    let mut change = before.webhook.clone();
    change.url = Endpoint::parse("https://127.0.0.2/").unwrap();
    site.engine.change_webhook(change, None).await.unwrap();
    let now = site.engine.clock().steady();
    site.engine.after_failure(&before, now).await;
    assert_eq!(site.engine.failing(&site.live(id)), None);
    let between = site.live(id);
    let mut change = between.webhook.clone();
    change.name = Some("other".to_owned());
    site.engine.change_webhook(change, None).await.unwrap();
    site.engine.after_failure(&between, now).await;
    assert!(site.engine.failing(&site.live(id)).is_some());
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_fails_leaves_the_schedule_where_it_stood() {
    let (site, time) = site_in("patient");
    let new = disabled(InactiveReason::Exhausted);
    let id = new.id;
    site.engine.create_webhook(new, None).await.unwrap();
    let asked = disabled(InactiveReason::Request);
    let asked_id = asked.id;
    site.engine.create_webhook(asked, None).await.unwrap();
    let (first, second) = (site.posted("a").await, site.posted("b").await);
    let due = |number: u64| UnixMillis(time.wall().0 + number);
    assert_eq!(site.engine.next_probe_at(&site.live(id)), Some(due(10_000)));
    for number in 1..=2 {
        time.pass(9_999);
        assert_eq!(site.engine.next_probe_at(&site.live(id)), Some(due(1)));
        assert_eq!(site.attempts(id, first), number - 1);
        time.pass(1);
        until("a probe", || site.attempts(id, first) == number).await;
        until("its end is known", || {
            site.engine.next_probe_at(&site.live(id)) == Some(due(10_000))
        })
        .await;
    }
    let delivery = site.engine.reader().delivery(id, first).unwrap().unwrap();
    let probes = delivery.attempts.iter().map(|attempt| attempt.trigger);
    assert_eq!(probes.collect::<Vec<_>>(), [Trigger::Probe; 2]);
    let (entries, _) = site.engine.reader().pending_of(id, None, 9).unwrap();
    let stand = |event| {
        let entry = entries.iter().find(|entry| entry.event == event).unwrap();
        (entry.attempts, entry.run_attempts)
    };
    assert_eq!((stand(first), stand(second)), ((2, 0), (0, 0)));
    assert!(!site.live(id).webhook.active);
    // What somebody asked for is not tried out, and whoever asks now ends the probes.
    let live = site.live(asked_id);
    assert_eq!(site.engine.next_probe_at(&live), None);
    assert_eq!(site.attempts(asked_id, first), 0);
    let mut change = site.live(id).webhook.clone();
    change.set_active(false, InactiveReason::Request, UnixMillis(9));
    site.engine.change_webhook(change, None).await.unwrap();
    let live = site.live(id);
    assert_eq!(live.webhook.inactive.unwrap().since, UnixMillis(7));
    assert_eq!(site.engine.next_probe_at(&live), None);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_no_attempts_of_the_run_that_a_success_is_looked_for_in() {
    let (site, _time) = site_in("standard");
    let new = disabled(InactiveReason::Exhausted);
    let id = new.id;
    site.engine.create_webhook(new, None).await.unwrap();
    let (failing, other) = (site.posted("a").await, site.posted("b").await);
    let finish = async |event: Position, trigger: Trigger, next: Next| {
        let (entries, _) = site.engine.reader().pending_of(id, None, 9).unwrap();
        let entry = entries.into_iter().find(|entry| entry.event == event);
        let attempt = Attempt {
            number: 0,
            trigger,
            started_at: site.store.clock.wall(),
            outcome: Outcome::Status(if next == Next::Delivered { 200 } else { 500 }),
            phases: Phases::default(),
            request_headers: Vec::new(),
            response: None,
        };
        let finish = store::Finish {
            webhook: id,
            entry: entry.unwrap(),
            attempt,
            next,
        };
        let written = site.store.writer.finish(finish).await.unwrap();
        assert_eq!(written, store::Written::Done);
        let clock = &site.store.clock;
        let at = clock.wall();
        until("time goes on", || clock.wall() > at).await;
    };
    let retry = Next::RetryAt(site.store.clock.steady());
    finish(failing, Trigger::Schedule, retry).await;
    finish(other, Trigger::Schedule, Next::Delivered).await;
    for _ in 0..2 {
        finish(failing, Trigger::Probe, Next::Probed).await;
    }
    let end = Next::Failed(EndReason::Exhausted);
    finish(failing, Trigger::Schedule, end).await;
    assert!(site.engine.succeeded_since(id, failing, 2).await);
    assert!(!site.engine.succeeded_since(id, failing, 1).await);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_discarded_up_to_a_time_and_what_comes_later_is_not() {
    let (site, _time) = site_in("standard");
    let new = disabled(InactiveReason::Gone);
    let id = new.id;
    let engine = &site.engine;
    engine.create_webhook(new, None).await.unwrap();
    let mut events = Vec::new();
    for number in 0..120 {
        let mut draft = draft(&format!("e{number}"));
        draft.created_at = Some(UnixMicros(1_000 + number));
        engine.post(&account(), draft).await.unwrap();
        events.push(site.events()[0]);
    }
    let until = Some(UnixMicros(1_059));
    let discarded = engine.discard_held(id, until, None).await.unwrap();
    assert_eq!((discarded.count, discarded.more), (60, false));
    let ended = |event: &Position| {
        matches!(
            site.state(id, *event),
            DeliveryState::Ended {
                reason: EndReason::Discarded,
                ..
            }
        )
    };
    assert!(events[..60].iter().all(ended) && !events[60..].iter().any(ended));
    // Sent again while the webhook is inactive, it is held again.
    engine.send_again(id, events[3], None).await.unwrap();
    assert!(!ended(&events[3]));
    let discarded = engine.discard_held(id, None, None).await.unwrap();
    assert_eq!((discarded.count, discarded.more), (61, false));
    assert!(events.iter().all(ended));
    assert_eq!(engine.discard_held(id, None, None).await.unwrap().count, 0);
    let mut change = site.live(id).webhook.clone();
    change.set_active(true, InactiveReason::Request, UnixMillis(8));
    engine.change_webhook(change, None).await.unwrap();
    let refused = engine.discard_held(id, None, None).await;
    assert!(matches!(refused, Err(ChangeError::Active)), "{refused:?}");
    engine.send_again(id, events[5], None).await.unwrap();
    super::until("it is sent", || site.attempts(id, events[5]) == 1).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_discard_has_looked_at_is_carried_to_its_end_when_nobody_waits_for_it() {
    let (site, _time) = site_in("standard");
    let new = disabled(InactiveReason::Request);
    let id = new.id;
    site.engine.create_webhook(new, None).await.unwrap();
    for number in 0..150 {
        site.posted(&format!("e{number}")).await;
    }
    leave(site.engine.discard_held(id, None, None)).await;
    until("all is discarded", || {
        site.engine.reader().pending_count(id) == 0
    })
    .await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discard_that_nobody_waits_for_looks_at_no_more() {
    let (site, _time) = site_in("standard");
    let new = disabled(InactiveReason::Request);
    let id = new.id;
    site.engine.create_webhook(new, None).await.unwrap();
    // So many at once as surely fit into the committer's queue.
    for part in 0..13 {
        let mut posts = tokio::task::JoinSet::new();
        for number in 0..80 {
            let (engine, event) = (Arc::clone(&site.engine), format!("e{part}-{number}"));
            posts.spawn(async move {
                engine.post(&account(), draft(&event)).await.unwrap();
            });
        }
        posts.join_all().await;
    }
    leave(site.engine.discard_held(id, None, None)).await;
    until("it has ended", || site.engine.discards.take(&id).is_ok()).await;
    let left = site.engine.reader().pending_count(id);
    assert_eq!(left, 40, "a page is looked at, and ended as a whole");
    let discarded = site.engine.discard_held(id, None, None).await.unwrap();
    assert_eq!((discarded.count, discarded.more), (40, false));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_discard_runs_for_a_webhook_and_few_in_all() {
    let (site, _time) = site_in("standard");
    let engine = &site.engine;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let new = disabled(InactiveReason::Request);
        ids.push(new.id);
        engine.create_webhook(new, None).await.unwrap();
    }
    site.posted("e").await;
    let places: Vec<_> = ids[..2]
        .iter()
        .map(|id| engine.discards.take(id).unwrap())
        .collect();
    let refused = engine.discard_held(ids[0], None, None).await;
    assert!(
        matches!(refused, Err(ChangeError::Discarding)),
        "{refused:?}"
    );
    let refused = engine.discard_held(ids[2], None, None).await;
    assert!(
        matches!(refused, Err(ChangeError::TooManyDiscards)),
        "{refused:?}"
    );
    drop(places);
    // A call gives its place back, whether it discards or is refused.
    for id in ids {
        assert_eq!(engine.discard_held(id, None, None).await.unwrap().count, 1);
        let unknown = engine.discard_held(WebhookId::generate(), None, None).await;
        assert!(matches!(unknown, Err(ChangeError::NotFound(_))));
    }
    site.stop().await;
}
