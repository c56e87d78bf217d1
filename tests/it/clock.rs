//! A wall clock that is set: ahead, back, by an hour, by ten years, while the daemon runs and while it is down.
//!
//! Retries keep to the time that has passed: none comes early, none is late, however often the clock is set. What
//! was accepted stays: history grows older by the time that has passed, and what waits does not expire. Signatures
//! carry the wall clock as it is. A clock that is set ahead while the daemon is down cannot be told from a stop as
//! long: what waits is due then, and goes out once.
//!
//! `HOOKWHEEL_CLOCK_JUMPS` adds jumps at random to the fixed ones (0 by default), `HOOKWHEEL_SEED` repeats them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::Client;
use hookwheel::receiver::ReceivedRequest;
use http::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::dice::Dice;
use crate::shim::Rig;
use crate::support::{Daemon, delivery, delivery_in, get, post, registered, rounds, until};
use crate::web::{Web, header};

const HOUR: i64 = 3_600_000;
const TEN_YEARS: i64 = 3_653 * 24 * HOUR;
const DELAY_MS: u64 = 600;
/// How much later than due an attempt may come on a machine with other work, or over a restart.
const LATE_MS: u64 = 2_500;
const STEP: Duration = Duration::from_millis(400);
/// Enough to seal a segment, so that retention has something it could delete.
const HISTORY: usize = 7;

/// A rig whose clock is set, and when it was set to what.
struct Times {
    rig: Rig,
    set: Vec<(u64, i64)>,
}

/// The real time, as the receivers of this process see it.
fn real_ms() -> u64 {
    hookwheel::model::Clock::system().wall().0
}

impl Times {
    fn shift(&mut self, ms: i64) {
        self.set.push((real_ms(), ms));
        self.rig.shift_clock(ms);
    }

    /// Sets the clock and lets the daemon work on for a while.
    async fn shift_and_wait(&mut self, ms: i64) {
        self.shift(ms);
        tokio::time::sleep(STEP).await;
    }

    /// What the wall clock may have shown shortly before `at`, seconds: a request is signed before it arrives.
    fn shown(&self, at: u64) -> Vec<i64> {
        let signed = i64::try_from(at).unwrap();
        let from = at.saturating_sub(LATE_MS);
        let before = self.set.iter().rfind(|(since, _)| *since <= from);
        let since_then = self
            .set
            .iter()
            .filter(|(since, _)| (from..=at).contains(since));
        let shifts = since_then.chain(before).map(|(_, shift)| *shift);
        let first = before.is_none().then_some(0);
        shifts
            .chain(first)
            .map(|shift| (signed + shift) / 1000)
            .collect()
    }
}

/// Requests by event, oldest first: when, and what timestamp they carried.
fn by_event(requests: &[ReceivedRequest]) -> BTreeMap<String, Vec<(u64, i64)>> {
    let mut events: BTreeMap<String, Vec<(u64, i64)>> = BTreeMap::new();
    for request in requests {
        let stamp = header(request, "webhook-timestamp").parse().unwrap();
        let arrived = (request.at.0, stamp);
        events
            .entry(header(request, "webhook-id"))
            .or_default()
            .push(arrived);
    }
    events
}

/// History that could be deleted: a sealed segment, all delivered.
async fn make_history(client: &mut Client, web: &Web) -> Vec<String> {
    let webhook = registered(client, json!({ "url": web.url("/"), "events": ["past.*"] })).await;
    let mut events = Vec::new();
    for _ in 0..HISTORY {
        events.push(post(client, "past.event", json!("x".repeat(200_000))).await);
    }
    for event in &events {
        delivery_in(client, &webhook, event, "delivered").await;
    }
    events
}

async fn sees_the_step(daemon: &Daemon, count: usize) {
    until("the daemon notices that the clock was set", async || {
        let seen = daemon.log().matches("the wall clock was set, or").count();
        (seen >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_keep_to_the_time_that_has_passed() {
    let Some(rig) = Rig::new("clock jumps", "segment_size = \"1MiB\"") else {
        return;
    };
    let mut times = Times {
        rig,
        set: Vec::new(),
    };
    let (web, past) = (
        Web::start(&times.rig.site.authority, |_| 500).await,
        Web::start(&times.rig.site.authority, |_| 200).await,
    );
    let daemon = times.rig.start();
    let mut client = daemon.client("standard");
    let history = make_history(&mut client, &past).await;
    let delays = vec![format!("{DELAY_MS}ms"); 60];
    let body = json!({ "url": web.url("/"), "events": ["now.*"], "retry": { "delays": delays, "jitter": "0%" } });
    let webhook = registered(&mut client, body).await;
    let mut events = Vec::new();
    for number in 0..3 {
        events.push(post(&mut client, "now.event", json!(number)).await);
    }
    for ms in [HOUR, -HOUR, TEN_YEARS, -TEN_YEARS, 0, TEN_YEARS] {
        times.shift_and_wait(ms).await;
    }
    let mut dice = Dice::seeded("clock jumps");
    for _ in 0..rounds("HOOKWHEEL_CLOCK_JUMPS", 0) {
        let shift = dice.one_of(&[HOUR, -HOUR, TEN_YEARS, -TEN_YEARS, 0, 30_000, -30_000]);
        times.shift_and_wait(shift).await;
    }
    // Killed after a jump: the next process knows of it.
    times.shift_and_wait(TEN_YEARS + HOUR).await;
    sees_the_step(&daemon, 1).await;
    daemon.kill();
    let daemon = times.rig.start();
    tokio::time::sleep(STEP).await;
    assert_eq!(daemon.terminate().code(), Some(0));
    // Set back while it is down.
    times.shift(-HOUR);
    let daemon = times.rig.start();
    tokio::time::sleep(STEP * 2).await;
    let mut client = daemon.client("standard");
    for event in &events {
        assert_eq!(
            delivery(&mut client, &webhook, event).await["state"],
            "waiting"
        );
    }
    for event in &history {
        let answer = get(&mut client, &format!("/api/v1/events/{event}")).await;
        assert_eq!(answer.status, 200, "history is deleted: {}", answer.body);
    }
    drop(daemon);
    let requests = web.stop().await;
    past.stop().await;
    let seen = by_event(&requests);
    assert_eq!(seen.len(), events.len());
    let mut count = 0;
    for (event, arrived) in &seen {
        check_gaps(event, arrived);
        for (at, stamp) in arrived {
            let shown = times.shown(*at);
            let near = shown.iter().any(|shown| shown.abs_diff(*stamp) <= 3);
            assert!(near, "{event} carried {stamp}, the clock showed {shown:?}");
        }
        count += arrived.len();
    }
    println!(
        "the clock was set {} times: {count} attempts, none early, none late, {} events of the past kept",
        times.set.len(),
        history.len()
    );
}

fn check_gaps(event: &str, arrived: &[(u64, i64)]) {
    assert!(
        arrived.len() >= 5,
        "{event} was tried {} times",
        arrived.len()
    );
    for pair in arrived.windows(2) {
        let gap = pair[1].0 - pair[0].0;
        assert!(
            (DELAY_MS - 10..DELAY_MS + LATE_MS).contains(&gap),
            "{event}: {gap} ms between two attempts that are {DELAY_MS} ms apart"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_ten_years_ahead_while_it_is_down_costs_nothing() {
    let Some(rig) = Rig::new("a clock set while down", "segment_size = \"1MiB\"") else {
        return;
    };
    let (web, past) = (
        Web::start(&rig.site.authority, |_| 500).await,
        Web::start(&rig.site.authority, |_| 200).await,
    );
    let daemon = rig.start();
    let mut client = daemon.client("standard");
    let history = make_history(&mut client, &past).await;
    let body = json!({ "url": web.url("/"), "events": ["now.*"], "retry": { "delays": ["2h", "2h", "2h"] } });
    let webhook = registered(&mut client, body).await;
    let waiting = post(&mut client, "now.event", json!(1)).await;
    until("the first attempt fails", async || {
        let shown = delivery(&mut client, &webhook, &waiting).await;
        (shown["attempts"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    assert_eq!(daemon.terminate().code(), Some(0));

    // Each start with the clock far off, either way, in a row: a day passes at most, and at the first jump only.
    for (start, shift) in [TEN_YEARS, TEN_YEARS, 0, 2 * TEN_YEARS]
        .into_iter()
        .enumerate()
    {
        rig.shift_clock(shift);
        let daemon = rig.start();
        let mut client = daemon.client("standard");
        if start == 0 {
            // Due two hours later, and that much may have passed: sent once, and then waiting again.
            until("the retry goes out", async || {
                (web.count() == 2).then_some(())
            })
            .await;
        }
        let answered = until("the delivery waits again", async || {
            let shown = delivery(&mut client, &webhook, &waiting).await;
            (shown["attempts"].as_array().unwrap().len() == web.count()).then_some(shown)
        })
        .await;
        assert!(answered["state"] != "expired", "{answered}");
        for event in &history {
            let answer = get(&mut client, &format!("/api/v1/events/{event}")).await;
            assert_eq!(answer.status, 200, "start {start}: {}", answer.body);
        }
        assert!(web.count() <= 3, "{} attempts", web.count());
        assert_eq!(daemon.terminate().code(), Some(0));
    }
    // At the last start the clock was ten years ahead once more.
    assert_eq!(web.stop().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_secrets_ids_and_quotas_meet_a_clock_that_is_set() {
    let Some(mut rig) = Rig::new("secrets and a clock that is set", "") else {
        return;
    };
    rig.site = rig.site.with(&account(
        "bounded",
        "[profiles.bounded.api]\nrequests_per_minute = 3\n",
    ));
    let web = Web::start(&rig.site.authority, |_| 200).await;
    let daemon = rig.start();
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, json!({ "url": web.url("/") })).await;
    let path = format!("/api/v1/webhooks/{webhook}/secret/rotate");
    let answer = client
        .call(Method::POST, &path, Some(&json!({ "keep_old": "1h" })))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let same = json!({ "id": "once", "type": "a", "data": 1 });
    // The old secret signs until its time by the wall clock, and again where that has gone back.
    for shift in [0, 2 * HOUR, 0, TEN_YEARS] {
        rig.shift_clock(shift);
        let event = post(&mut client, "a", json!(shift)).await;
        delivery_in(&mut client, &webhook, &event, "delivered").await;
        let again = client
            .call(Method::POST, "/api/v1/events", Some(&same))
            .await;
        assert_eq!(again.unwrap().status, 202);
    }
    let once = json!({ "id": "once", "type": "a", "data": 2 });
    let other = client
        .call(Method::POST, "/api/v1/events", Some(&once))
        .await
        .unwrap();
    assert_eq!(other.status, 409, "{}", other.body);
    delivery_in(&mut client, &webhook, "once", "delivered").await;

    // A key's minute is a minute that passes.
    let mut bounded = daemon.client("bounded");
    let start = Instant::now();
    let mut statuses = Vec::new();
    for shift in [0, HOUR, 0, TEN_YEARS, -HOUR, 0] {
        rig.shift_clock(shift);
        statuses.push(get(&mut bounded, "/api/v1/webhooks").await.status.as_u16());
    }
    if start.elapsed() < Duration::from_secs(50) {
        assert_eq!(statuses, [200, 200, 200, 429, 429, 429]);
    }
    drop(daemon);
    let requests = web.stop().await;
    let signatures: Vec<usize> = requests
        .iter()
        .filter(|request| header(request, "webhook-id") != "once")
        .map(|request| header(request, "webhook-signature").split(' ').count())
        .collect();
    assert_eq!(signatures, [2, 1, 2, 1]);
    assert_eq!(
        requests.len(),
        5,
        "the same id with the same content is one event"
    );
}

/// Config text: an account, and a profile of its own of the same name.
fn account(name: &str, rules: &str) -> String {
    let hash = hookwheel::cli::key_hash(&crate::support::key_of(name));
    format!(
        "[profiles.{name}]\nextends = \"standard\"\n{rules}[[accounts]]\nname = \"{name}\"\nprofile = \"{name}\"\n\
         [[accounts.keys]]\nname = \"all\"\nhash = \"{hash}\"\nscopes = [\"admin\", \"send\", \"read\"]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_counts_though_the_clock_went_back_before_it() {
    let Some(mut rig) = Rig::new("successes and a clock that is set", "") else {
        return;
    };
    let rules =
        "[profiles.strict.exhausted]\naction = \"disable\"\nunless_succeeded_since = true\n";
    rig.site = rig.site.with(&account("strict", rules));
    // The second request is the one that arrives.
    let web = Web::start(
        &rig.site.authority,
        |number| if number == 2 { 200 } else { 500 },
    )
    .await;
    let daemon = rig.start();
    let mut client = daemon.client("strict");
    let body = json!({ "url": web.url("/"), "retry": { "delays": ["2500ms"], "jitter": "0%" } });
    let webhook = registered(&mut client, body).await;
    let failing = post(&mut client, "a", json!(1)).await;
    until("the first attempt fails", async || {
        let shown = delivery(&mut client, &webhook, &failing).await;
        (shown["attempts"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    rig.shift_clock(-HOUR);
    let well = post(&mut client, "a", json!(2)).await;
    delivery_in(&mut client, &webhook, &well, "delivered").await;
    delivery_in(&mut client, &webhook, &failing, "failed").await;
    // One that follows shows that what came of the failure is done with.
    let next = post(&mut client, "a", json!(3)).await;
    until("the next one is tried", async || {
        (web.count() == 4).then_some(())
    })
    .await;
    let shown = delivery(&mut client, &webhook, &next).await;
    assert_eq!(shown["state"], "waiting", "{shown}");
    let shown = get(&mut client, &format!("/api/v1/webhooks/{webhook}")).await;
    assert_eq!(shown.body["active"], true, "{}", shown.body);
    daemon.kill();
    web.stop().await;
}
