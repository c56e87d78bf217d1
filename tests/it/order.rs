//! Webhooks with an order: what a receiver sees of it, whatever fails and however often the daemon is killed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hookwheel::receiver::{Answer, Authority, Options, Receiver};
use http::Method;
use serde_json::{Value, json};

use crate::support::{
    Site, delivery, delivery_in, get, post, post_all, register, registered, until,
};

/// A request as the receiver took it.
#[derive(Clone, Debug, PartialEq)]
struct Took {
    customer: String,
    number: u64,
    status: u16,
}

/// A receiver that keeps what it was asked, in order, and notices requests that overlap.
struct Desk {
    receiver: Receiver,
    took: Arc<Mutex<Vec<Took>>>,
    overlapped: Arc<AtomicBool>,
}

impl Desk {
    /// Answers with what `status` gives for customer, number and the try's number (from 1).
    async fn start(
        authority: &Authority,
        status: impl Fn(&str, u64, usize) -> u16 + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let identity = authority.issue(&["127.0.0.1"]).unwrap();
        let took: Arc<Mutex<Vec<Took>>> = Arc::default();
        let overlapped = Arc::new(AtomicBool::new(false));
        let busy: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let (kept, overlap) = (Arc::clone(&took), Arc::clone(&overlapped));
        let handler = move |request: hookwheel::receiver::ReceivedRequest| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let data = &body["data"];
            let customer = data["customer"]["id"].as_str().unwrap_or("").to_owned();
            let number = data["n"].as_u64().unwrap();
            let status = {
                let mut kept = kept.lock().unwrap();
                let same = kept.iter().filter(|took| took.number == number);
                let status = status(&customer, number, same.count() + 1);
                kept.push(Took {
                    customer: customer.clone(),
                    number,
                    status,
                });
                status
            };
            let (busy, overlap) = (Arc::clone(&busy), Arc::clone(&overlap));
            let others = {
                let mut busy = busy.lock().unwrap();
                let count = busy.entry(customer.clone()).or_default();
                *count += 1;
                *count - 1
            };
            overlap.fetch_or(others > 0, Ordering::Relaxed);
            async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                *busy.lock().unwrap().get_mut(&customer).unwrap() -= 1;
                Answer::status(status)
            }
        };
        let receiver = Receiver::start(listener, &identity, Options::default(), handler).unwrap();
        Self {
            receiver,
            took,
            overlapped,
        }
    }

    fn took(&self) -> Vec<Took> {
        self.took.lock().unwrap().clone()
    }

    fn numbers(&self) -> Vec<u64> {
        self.took().iter().map(|took| took.number).collect()
    }

    /// The numbers that one customer's requests had.
    fn of(&self, customer: &str) -> Vec<u64> {
        let took = self.took().into_iter();
        took.filter(|took| took.customer == customer)
            .map(|took| took.number)
            .collect()
    }

    fn succeeded(&self) -> usize {
        self.took().iter().filter(|took| took.status == 200).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn first_in_first_out_whatever_fails() {
    let site = Site::new(&["standard"]);
    // Every third fails once, number 5 each time, and number 7 is taken as refused for good by its schedule's end.
    let desk = Desk::start(&site.authority, |_, number, tries| match number {
        5 => 500,
        7 => 404,
        n if n % 3 == 0 && tries == 1 => 503,
        _ => 200,
    })
    .await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({
        "url": desk.receiver.url("/"), "order": "fifo", "retry": { "delays": ["20ms", "40ms"] },
    });
    let id = registered(&mut client, body).await;
    let events = post_all(&mut client, "a", (0..40).map(|n| json!({ "n": n }))).await;
    delivery_in(&mut client, &id, &events[39], "delivered").await;
    let mut expected = Vec::new();
    for n in 0..40 {
        let times = match n {
            5 | 7 => 3,
            n if n % 3 == 0 => 2,
            _ => 1,
        };
        expected.extend(std::iter::repeat_n(n, times));
    }
    assert_eq!(desk.numbers(), expected);
    assert!(!desk.overlapped.load(Ordering::Relaxed), "two at once");
    let failed = delivery(&mut client, &id, &events[5]).await;
    assert_eq!(
        (&failed["state"], &failed["reason"]),
        (&json!("failed"), &json!("exhausted"))
    );
    assert_eq!(failed["attempts"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_waits_does_not_stop_the_others() {
    let site = Site::new(&["standard"]);
    let well = Arc::new(AtomicBool::new(false));
    let now_well = Arc::clone(&well);
    let desk = Desk::start(&site.authority, move |customer, _, _| {
        match customer != "b" || now_well.load(Ordering::Relaxed) {
            true => 200,
            false => 503,
        }
    })
    .await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({
        "url": desk.receiver.url("/"), "order": { "key": "/customer/id" },
        "retry": { "delays": ["1h"] },
    });
    let id = registered(&mut client, body).await;
    // The fourth customer is none: those without have one common key.
    let data = |n: u64| match ["a", "b", "c", ""][usize::try_from(n % 4).unwrap()] {
        "" => json!({ "n": n }),
        customer => json!({ "n": n, "customer": { "id": customer } }),
    };
    let events = post_all(&mut client, "a", (0..200).map(data)).await;
    for event in [196, 198, 199] {
        delivery_in(&mut client, &id, &events[event], "delivered").await;
    }
    for (customer, first) in [("a", 0), ("c", 2), ("", 3)] {
        let expected: Vec<u64> = (0..50).map(|n| first + 4 * n).collect();
        assert_eq!(desk.of(customer), expected);
    }
    assert_eq!(desk.of("b"), [1], "its second waits for its first");
    let waits = delivery(&mut client, &id, &events[1]).await;
    assert_eq!(waits["state"], "waiting");
    let due: jiff::Timestamp = waits["next_attempt_at"].as_str().unwrap().parse().unwrap();
    let minutes = due.duration_since(jiff::Timestamp::now()).as_mins();
    assert!((55..=65).contains(&minutes), "{waits}");
    // A try by hand keeps its place, and so lets the others of its key follow in theirs.
    well.store(true, Ordering::Relaxed);
    let path = format!("/api/v1/webhooks/{id}/deliveries/{}/retry", events[1]);
    let again = client.call(Method::POST, &path, None).await.unwrap();
    assert_eq!(again.status, 202, "{}", again.body);
    delivery_in(&mut client, &id, &events[197], "delivered").await;
    let expected: Vec<u64> = [1].into_iter().chain((0..50).map(|n| 1 + 4 * n)).collect();
    assert_eq!(desk.of("b"), expected);
    assert!(
        !desk.overlapped.load(Ordering::Relaxed),
        "two of a key at once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_holds_across_kill_9() {
    for order in [json!("fifo"), json!({ "key": "/customer/id" })] {
        killed_and_in_order(order).await;
    }
}

async fn killed_and_in_order(order: Value) {
    let site = Site::new(&["standard"]);
    let fifo = order == "fifo";
    // One in four fails, some of them twice.
    let desk = Desk::start(&site.authority, |_, number, tries| {
        match (number * 7 + 3) % 4 == 0 && tries <= 1 + usize::from(number % 8 == 3) {
            true => 503,
            false => 200,
        }
    })
    .await;
    let mut daemon = site.start();
    let mut client = daemon.client("standard");
    let delays: Vec<&str> = std::iter::repeat_n("30ms", 8).collect();
    let body = json!({
        "url": desk.receiver.url("/"), "order": order, "retry": { "delays": delays },
    });
    let id = registered(&mut client, body).await;
    let data = |n: u64| {
        let customer = ["x", "y", "z"][usize::try_from(n % 3).unwrap()];
        json!({ "n": n, "customer": { "id": customer } })
    };
    let mut events = Vec::new();
    for round in 0..4 {
        let from = round * 30;
        events.extend(post_all(&mut client, "a", (from..from + 30).map(data)).await);
        let before = desk.succeeded();
        until("a part of them arrives", async || {
            (desk.succeeded() >= before + 12).then_some(())
        })
        .await;
        daemon.kill();
        daemon = site.start();
        client = daemon.client("standard");
    }
    for event in &events {
        delivery_in(&mut client, &id, event, "delivered").await;
    }
    let customers = if fifo { &[""][..] } else { &["x", "y", "z"] };
    for customer in customers {
        let numbers = if fifo {
            desk.numbers()
        } else {
            desk.of(customer)
        };
        // One that was being sent or recorded when the daemon was killed comes again, before any later one.
        assert!(numbers.is_sorted(), "{order} {customer}: {numbers:?}");
    }
    let mut all = desk.numbers();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (0..120).collect::<Vec<u64>>());
    let failed = desk.took().iter().filter(|took| took.status == 503).count();
    assert!(failed >= 30, "the receiver failed {failed} times only");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_taken_away_lets_go_what_waited_behind() {
    let site = Site::new(&["standard"]);
    let desk = Desk::start(&site.authority, |_, number, tries| {
        if number == 0 && tries == 1 { 503 } else { 200 }
    })
    .await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({
        "url": desk.receiver.url("/"), "order": "fifo", "retry": { "delays": ["2s"] },
    });
    let id = registered(&mut client, body).await;
    let path = format!("/api/v1/webhooks/{id}");
    let events = post_all(&mut client, "a", (0..10).map(|n| json!({ "n": n }))).await;
    until("the first has failed", async || {
        (!desk.took().is_empty()).then_some(())
    })
    .await;
    let changed = client
        .call(Method::PATCH, &path, Some(&json!({ "order": null })))
        .await;
    assert_eq!(changed.unwrap().body["order"], "none");
    for event in &events {
        delivery_in(&mut client, &id, event, "delivered").await;
    }
    let numbers = desk.numbers();
    assert_eq!(
        (numbers.len(), numbers[0], numbers[10]),
        (11, 0, 0),
        "{numbers:?}"
    );
    // And given again, it holds again.
    let change = json!({ "order": "fifo" });
    let changed = client.call(Method::PATCH, &path, Some(&change)).await;
    assert_eq!(changed.unwrap().body["order"], "fifo");
    let events = post_all(&mut client, "a", (10..30).map(|n| json!({ "n": n }))).await;
    delivery_in(&mut client, &id, &events[19], "delivered").await;
    assert_eq!(desk.numbers()[11..], (10..30).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_checked_shown_and_told() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let url = "https://127.0.0.1:9/";
    let long = format!("/{}", "x".repeat(200));
    for (order, pointer, word) in [
        (json!("lifo"), "/order", "\"fifo\""),
        (json!(true), "/order", "\"fifo\""),
        (json!({}), "/order", "\"key\""),
        (json!({ "key": 5 }), "/order", "\"key\""),
        (json!({ "key": "/a", "more": 1 }), "/order", "\"key\""),
        (json!({ "key": "customer" }), "/order/key", "begin with `/`"),
        (json!({ "key": "" }), "/order/key", "the whole"),
        (json!({ "key": "/a~5" }), "/order/key", "`~1`"),
        (json!({ "key": long }), "/order/key", "200 bytes"),
    ] {
        let body = json!({ "url": url, "order": order });
        let answer = client
            .call(Method::POST, "/api/v1/webhooks", Some(&body))
            .await
            .unwrap();
        assert_eq!(answer.status, 400, "{order}");
        let error = &answer.body["errors"][0];
        assert_eq!(error["pointer"], pointer, "{}", answer.body);
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.contains(word), "{order}: {detail}");
    }
    let plain = register(&mut client, json!({ "url": url })).await;
    assert_eq!(plain["order"], "none");
    let path = format!("/api/v1/webhooks/{}", plain["id"].as_str().unwrap());
    for (order, told) in [
        (json!("fifo"), "as accepted"),
        (json!({ "key": "/a~1b/0" }), "`/a~1b/0`"),
        (json!("none"), "none"),
    ] {
        let change = json!({ "order": order });
        let changed = client
            .call(Method::PATCH, &path, Some(&change))
            .await
            .unwrap();
        assert_eq!(
            (changed.status.as_u16(), &changed.body["order"]),
            (200, &order)
        );
        let shown = get(&mut client, &path).await.body;
        assert_eq!(shown["order"], order);
        let text = shown["contract"]["order"].as_str().unwrap();
        assert!(text.contains(told), "{text}");
    }
    // A change of something else leaves it as it is, over a restart too.
    let change = json!({ "order": { "key": "/k" } });
    client
        .call(Method::PATCH, &path, Some(&change))
        .await
        .unwrap();
    client
        .call(Method::PATCH, &path, Some(&json!({ "name": "n" })))
        .await
        .unwrap();
    post(&mut client, "a", json!({})).await;
    daemon.kill();
    let daemon = site.start();
    let mut client = daemon.client("standard");
    assert_eq!(get(&mut client, &path).await.body["order"], change["order"]);
}
