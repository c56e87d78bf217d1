//! What is on its way to a real receiver: which deliveries a probe is made with, what a change overtakes, what retention
//! leaves alone, and what counts as a success.

use std::collections::BTreeMap;

use super::*;
use crate::model::{DeliveryState, Inactive, ManualTime, Order, SteadyMillis};
use crate::profile::RawProfile;
use crate::receiver::{Answer, Authority, ReceivedRequest, Receiver};

/// `patient` probes, `fussy` makes no body of some events, `lenient` looks for a success before it disables.
const PROFILES: &str = "
[patient]
extends = \"standard\"
[patient.exhausted]
probe_every = \"10s\"
[fussy]
extends = \"patient\"
body = '{\"when\": {% if data.when %}{{ data.when | unix }}{% else %}0{% endif %}}'
[lenient]
extends = \"standard\"
[lenient.exhausted]
action = \"disable\"
unless_succeeded_since = true
";

struct Web {
    site: Site,
    time: ManualTime,
    receiver: Receiver,
}

impl Web {
    async fn start<F>(
        profile: &str,
        answer: impl Fn(String, usize) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let raw: BTreeMap<String, RawProfile> = toml::from_str(PROFILES).unwrap();
        let profiles = Profiles::build(raw).unwrap();
        let authority = Authority::generate("test CA").unwrap();
        let identity = authority.issue(&["127.0.0.1"]).unwrap();
        let seen = std::sync::Mutex::new(BTreeMap::<String, usize>::new());
        let handler = move |request: ReceivedRequest| {
            let id = event_of(&request);
            let number = {
                let mut seen = seen.lock().unwrap();
                let number = seen.entry(id.clone()).or_default();
                *number += 1;
                *number
            };
            answer(id, number)
        };
        let receiver = Receiver::local(&identity, handler).await.unwrap();
        let sender = sender::Options {
            policy: AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new()),
            extra_ca: vec![authority.certificate().clone()],
            resolver: Resolver::System,
            proxy: None,
            response_body_max: 1024,
            idle_per_host_max: 4,
            idle_timeout: PATIENCE,
        };
        let time = ManualTime::new(UnixMillis(Clock::system().wall().0 + 60_000));
        let clock = time.clock(SteadyMillis(0));
        let site = site_that(&profiles, profile, Some(clock), sender);
        Self {
            site,
            time,
            receiver,
        }
    }

    async fn webhook(&self, order: Order, active: bool) -> Arc<Live> {
        self.webhook_at("/", order, active).await
    }

    async fn webhook_at(&self, path: &str, order: Order, active: bool) -> Arc<Live> {
        let inactive = Inactive {
            reason: InactiveReason::Exhausted,
            since: UnixMillis(7),
        };
        let new = Webhook {
            url: Endpoint::parse(&self.receiver.url(path)).unwrap(),
            retry: Some(RetryPolicy::new(vec![3_600_000], 0).unwrap()),
            order,
            active,
            inactive: (!active).then_some(inactive),
            ..webhook()
        };
        self.site.engine.create_webhook(new, None).await.unwrap()
    }

    fn now(&self, live: &Live) -> Arc<Live> {
        let id = live.webhook.id;
        self.site.engine.webhook(&account(), id).unwrap()
    }

    async fn post(&self, id: &str, data: &str) -> Position {
        let draft = Draft {
            trace: None,
            data: data.to_owned(),
            ..draft(id)
        };
        self.site.engine.post(&account(), draft).await.unwrap();
        self.site.events()[0]
    }

    /// The events of the requests that came.
    fn received(&self) -> Vec<String> {
        self.receiver.requests().iter().map(event_of).collect()
    }

    fn state(&self, live: &Live, event: Position) -> DeliveryState {
        let reader = self.site.engine.reader();
        let delivery = reader.delivery(live.webhook.id, event).unwrap();
        delivery.unwrap().state
    }

    /// Lets the interval pass, and waits until the probe has ended.
    async fn probe(&self, live: &Live) {
        let engine = &self.site.engine;
        // The interval begins when it is first asked for.
        assert!(engine.next_probe_at(&self.now(live)).is_some());
        self.time.pass(10_000);
        let whole = UnixMillis(self.time.wall().0 + 10_000);
        until("a probe has ended", || {
            let live = self.now(live);
            live.webhook.active || engine.next_probe_at(&live) == Some(whole)
        })
        .await;
    }

    async fn stop(self) {
        self.site.stop().await;
        self.receiver.stop().await;
    }
}

fn event_of(request: &ReceivedRequest) -> String {
    let id = request.headers.get("webhook-id");
    id.map_or(String::new(), |id| id.to_str().unwrap().to_owned())
}

async fn probed_in(order: Order) -> Vec<String> {
    let refused = |_, _| std::future::ready(Answer::status(422));
    let web = Web::start("patient", refused).await;
    let live = web.webhook(order, false).await;
    for (id, data) in [
        ("a1", r#"{"k":"a"}"#),
        ("a2", r#"{"k":"a"}"#),
        ("b1", r#"{"k":"b"}"#),
    ] {
        web.post(id, data).await;
    }
    for _ in 0..4 {
        web.probe(&live).await;
    }
    assert!(!web.now(&live).webhook.active);
    let received = web.received();
    web.stop().await;
    received
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_refusal_the_next_one_is_probed_with_as_far_as_the_order_allows() {
    assert_eq!(probed_in(Order::None).await, ["a1", "a2", "b1", "a1"]);
    assert_eq!(probed_in(Order::Fifo).await, ["a1"; 4]);
    let by_key = probed_in(Order::ByKey("/k".to_owned())).await;
    assert_eq!(by_key, ["a1", "b1", "a1", "b1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_receiver_is_probed_with_the_same_one_again() {
    let answer = |_, number| {
        let codes = [500, 408, 429, 422];
        std::future::ready(Answer::status(codes[(number - 1) % 4]))
    };
    let web = Web::start("patient", answer).await;
    let live = web.webhook(Order::None, false).await;
    web.post("a", "{}").await;
    web.post("b", "{}").await;
    for _ in 0..5 {
        web.probe(&live).await;
    }
    assert_eq!(web.received(), ["a", "a", "a", "a", "b"]);
    web.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_refused_or_cannot_be_rendered_does_not_hide_a_healthy_receiver() {
    let answer = |id: String, _| {
        let code = if id == "refused" { 400 } else { 200 };
        std::future::ready(Answer::status(code))
    };
    let web = Web::start("fussy", answer).await;
    let live = web.webhook(Order::None, false).await;
    let unfit = web.post("unfit", r#"{"when":"soon"}"#).await;
    let refused = web.post("refused", "{}").await;
    let well = web.post("well", "{}").await;
    let last = web.post("last", "{}").await;
    let id = live.webhook.id;
    web.probe(&live).await;
    assert_eq!((web.site.attempts(id, unfit), web.received().len()), (1, 0));
    web.probe(&live).await;
    assert_eq!(web.received(), ["refused"]);
    web.probe(&live).await;
    assert!(web.now(&live).webhook.active);
    for event in [well, last] {
        until("it is delivered", || {
            matches!(web.state(&live, event), DeliveryState::Delivered { .. })
        })
        .await;
    }
    assert!(matches!(
        web.state(&live, refused),
        DeliveryState::Pending { .. }
    ));
    web.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_is_overtaken_by_the_owners_change() {
    let web = Web::start("patient", |_, _| std::future::ready(Answer::status(200))).await;
    let engine = &web.site.engine;
    let due = web.webhook(Order::None, false).await;
    let id = due.webhook.id;
    let event = web.post("a", "{}").await;
    let change = async |edit: &dyn Fn(&mut Webhook)| {
        let mut webhook = web.now(&due).webhook.clone();
        edit(&mut webhook);
        engine.change_webhook(webhook, None).await.unwrap();
    };
    // Each change comes after the probe has been begun with what was there before.
    let elsewhere = Endpoint::parse(&web.receiver.url("/new")).unwrap();
    change(&|webhook| webhook.url = elsewhere.clone()).await;
    assert!(engine.probe(&due, None).await.is_none());
    let moved = web.now(&due);
    change(&|webhook| webhook.order = Order::Fifo).await;
    assert!(engine.probe(&moved, None).await.is_none());
    let ordered = web.now(&due);
    change(&|w| w.set_active(false, InactiveReason::Request, UnixMillis(9))).await;
    assert!(engine.probe(&ordered, None).await.is_none());
    assert_eq!(
        (web.receiver.requests_count(), web.site.attempts(id, event)),
        (0, 0)
    );
    // It is not kept back: it can be reserved, and is sent when its owner wants it.
    assert_eq!(engine.reserve(id, event).await, Some(true));
    engine.release(id, event, None).await;
    change(&|w| w.set_active(true, InactiveReason::Request, UnixMillis(9))).await;
    until("it is sent", || web.site.attempts(id, event) == 1).await;
    assert_eq!(web.receiver.requests()[0].path, "/new");
    web.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_takes_what_its_owner_has_changed_besides() {
    let web = Web::start("patient", |_, _| std::future::ready(Answer::status(500))).await;
    let due = web.webhook(Order::None, false).await;
    let event = web.post("a", "{}").await;
    let mut webhook = due.webhook.clone();
    webhook.headers = vec![crate::model::Header {
        name: "x-since".to_owned(),
        value: Secret::new("now".to_owned()),
    }];
    web.site.engine.change_webhook(webhook, None).await.unwrap();
    assert!(web.site.engine.probe(&due, None).await.is_some());
    assert_eq!(web.site.attempts(due.webhook.id, event), 1);
    assert_eq!(web.receiver.requests()[0].headers["x-since"], "now");
    web.stop().await;
}

/// A gate for a receiver's answers.
fn gate() -> (Arc<Semaphore>, impl Fn() -> Arc<Semaphore> + Send + Sync) {
    let gate = Arc::new(Semaphore::new(0));
    let other = Arc::clone(&gate);
    (gate, move || Arc::clone(&other))
}

/// A receiver that answers 500 once the gate is closed for good.
async fn shut(profile: &'static str) -> (Arc<Semaphore>, Web) {
    let (open, gate) = gate();
    let answer = move |_, _| {
        let gate = gate();
        async move {
            drop(gate.acquire().await);
            Answer::status(500)
        }
    };
    (open, Web::start(profile, answer).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_sent_does_not_expire_under_its_attempt() {
    let (open, web) = shut("patient").await;
    let engine = &web.site.engine;
    let probed = web.webhook_at("/probed", Order::None, false).await;
    let sent = web.webhook_at("/sent", Order::None, true).await;
    let mut events = Vec::new();
    for number in 0..60 {
        events.push(web.post(&format!("e{number}"), "{}").await);
    }
    let expired = |live: &Live, event: &Position| {
        let reason = match web.state(live, *event) {
            DeliveryState::Ended { reason, .. } => Some(reason),
            _ => None,
        };
        reason == Some(EndReason::Expired)
    };
    // Of the active one as many are under way as may be at first, of the other one the probe.
    assert!(engine.next_probe_at(&probed).is_some());
    web.time.pass(10_000);
    until("a probe and an attempt are under way", || {
        let received = web.receiver.requests();
        let of = |path| received.iter().any(|request| request.path == path);
        of("/probed") && of("/sent")
    })
    .await;
    let held = |id| engine.reader().pending_of(id, None, 99).unwrap().0;
    for live in [&probed, &sent] {
        let id = live.webhook.id;
        let ended = engine.expire(id, &held(id)).await.unwrap();
        let left = events.iter().filter(|event| !expired(live, event)).count();
        assert!((1..60).contains(&left), "{left} are left");
        assert_eq!(ended as usize + left, 60);
        assert_eq!(engine.expire(id, &held(id)).await.unwrap(), 0);
    }
    let left = |live: &Live| held(live.webhook.id).len();
    assert_eq!(left(&probed), 1);
    let away = left(&sent);
    open.close();
    for (live, away) in [(&probed, 1), (&sent, away)] {
        let id = live.webhook.id;
        // Each attempt is on record, and what waits again is met by the next sweep.
        let made = || events.iter().filter(|e| web.site.attempts(id, **e) == 1);
        until("they are recorded", || made().count() == away).await;
        let (mut ended, start) = (0, Instant::now());
        while ended < away {
            ended += engine.expire(id, &held(id)).await.unwrap() as usize;
            assert!(start.elapsed() < PATIENCE, "{ended} of {away}");
        }
        assert!(events.iter().all(|event| expired(live, event)));
        assert_eq!(made().count(), away, "nothing was sent as it ended");
    }
    web.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_an_account_that_is_gone_expires_all_the_same() {
    let (open, web) = shut("standard").await;
    let engine = &web.site.engine;
    let live = web.webhook(Order::None, true).await;
    let id = live.webhook.id;
    for number in 0..60 {
        web.post(&format!("e{number}"), "{}").await;
    }
    until("one is under way", || web.receiver.requests_count() > 0).await;
    let other = vec![(AccountName::new("other").unwrap(), "standard".to_owned())];
    let (profiles, formats) = (Profiles::built_in(), Formats::built_in());
    let alerts = AlertOptions::default();
    let reloaded = engine.set_accounts(&other, &profiles, &formats, &alerts, &[]);
    reloaded.await.unwrap();
    assert!(!engine.is_sending(id));
    let held = || engine.reader().pending_of(id, None, 99).unwrap().0;
    assert_eq!(
        engine.expire(id, &held()).await.unwrap(),
        0,
        "its lane is not over"
    );
    open.close();
    let (mut ended, start) = (0, Instant::now());
    while ended < 60 {
        ended += engine.expire(id, &held()).await.unwrap();
        assert!(start.elapsed() < PATIENCE, "{ended} of 60");
    }
    let events = web.site.events();
    let made = events
        .iter()
        .filter(|event| web.site.attempts(id, **event) == 1);
    assert_eq!(
        made.count(),
        web.received().len(),
        "each attempt is on record"
    );
    web.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_counts_though_its_delivery_is_being_sent_again() {
    let (open, gate) = gate();
    let answer = move |id: String, number| {
        let gate = gate();
        async move {
            if id == "well" && number == 1 {
                return Answer::status(200);
            }
            if id == "well" {
                drop(gate.acquire().await);
            }
            Answer::status(500)
        }
    };
    let web = Web::start("lenient", answer).await;
    let engine = &web.site.engine;
    let live = web.webhook(Order::None, true).await;
    let id = live.webhook.id;
    let failing = web.post("failing", "{}").await;
    until("it fails", || web.site.attempts(id, failing) == 1).await;
    let well = web.post("well", "{}").await;
    until("it arrives", || {
        matches!(web.state(&live, well), DeliveryState::Delivered { .. })
    })
    .await;
    while let Err(error) = engine.send_again(id, well, None).await {
        assert!(matches!(error, ChangeError::InFlight), "{error}");
    }
    until("it is sent again", || web.receiver.requests_count() == 3).await;
    assert!(matches!(
        web.state(&live, well),
        DeliveryState::Pending { .. }
    ));
    assert_eq!(engine.failing(&web.now(&live)), None);
    web.time.pass(3_600_000);
    // What its end may disable is decided before its failure is counted.
    until("the schedule has ended", || {
        engine.failing(&web.now(&live)).is_some()
    })
    .await;
    assert!(matches!(
        web.state(&live, failing),
        DeliveryState::Ended {
            reason: EndReason::Exhausted,
            ..
        }
    ));
    assert!(web.now(&live).webhook.active, "it is healthy");
    // After that one everything fails: the next end finds no success.
    open.close();
    until("it fails", || web.site.attempts(id, well) == 2).await;
    web.time.pass(3_600_000);
    until("it is disabled", || !web.now(&live).webhook.active).await;
    web.stop().await;
}
