//! Rude receivers: each ends as a typed outcome within its deadline, and a healthy one is served meanwhile.

use std::time::Duration;

use bytes::Bytes;
use hookwheel::receiver::{Answer, Identity, Options, Receiver};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Daemon, Site, delivery_in, post, registered, until};
use crate::web::{ANY, Web};

/// The deadline of each attempt. Long enough for a handshake on a machine that is busy with other tests.
const TIMEOUT: Duration = Duration::from_secs(4);

/// A receiver's name, what it answers, and how the attempt must end: a status, or a kind of fault.
pub fn answers() -> Vec<(&'static str, Answer, &'static str)> {
    let raw = |text: &str| Answer::raw(Bytes::copy_from_slice(text.as_bytes()));
    let long_line = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(1_000_000));
    let many_lines = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    vec![
        ("never answers", Answer::hang(), "timeout"),
        ("drips", Answer::drip(Duration::from_millis(500)), "timeout"),
        ("endless body", Answer::endless_body(), "200"),
        ("a long header line", raw(&long_line), "protocol"),
        ("many header lines", raw(&many_lines), "protocol"),
        ("garbage", raw("hello hello hello\r\n\r\n"), "protocol"),
        ("closes early", Answer::close(), "reset"),
        (
            "closes in its head",
            raw("HTTP/1.1 200 OK\r\ncontent-le"),
            "reset",
        ),
        (
            "closes in its body",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"),
            "reset",
        ),
        ("resets", Answer::reset(), "reset"),
        ("interim answers only", Answer::interim_flood(), "protocol"),
        (
            "redirects",
            raw("HTTP/1.1 302 Found\r\nlocation: https://127.0.0.1/\r\ncontent-length: 0\r\n\r\n"),
            "302",
        ),
        (
            "a status beyond all",
            raw("HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n"),
            "protocol",
        ),
        (
            "two lengths",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx"),
            "protocol",
        ),
    ]
}

async fn receiver_with(identity: &Identity) -> Receiver {
    let listener = TcpListener::bind(ANY).await.unwrap();
    Receiver::start(listener, identity, Options::default(), |_| async {
        Answer::status(200)
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_rudeness_has_its_outcome_and_delays_nobody() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let mut expected = Vec::new();
    let mut webs = Vec::new();
    for (name, answer, outcome) in answers() {
        let web = Web::start_with(
            ANY,
            &site.authority,
            move |_| answer.clone(),
            Duration::ZERO,
        )
        .await;
        expected.push((name, web.url("/"), outcome));
        webs.push(web);
    }
    let expired = receiver_with(&site.authority.issue_expired(&["127.0.0.1"]).unwrap()).await;
    expected.push(("expired", expired.url("/"), "tls"));
    let other = receiver_with(&site.authority.issue(&["other.example"]).unwrap()).await;
    expected.push(("wrong host", other.url("/"), "tls"));
    // Connections are made, by the system, and nobody ever says a word on them.
    let silent = TcpListener::bind(ANY).await.unwrap();
    let silent_url = format!("https://{}/", silent.local_addr().unwrap());
    expected.push(("TLS never starts", silent_url, "timeout"));

    let mut webhooks = Vec::new();
    for (name, url, outcome) in expected {
        let timeout = format!("{}ms", TIMEOUT.as_millis());
        let body = json!({ "url": url, "events": ["rude"], "timeout": timeout, "retry": { "delays": [] } });
        webhooks.push((name, registered(&mut client, body).await, outcome));
    }
    let healthy = Web::start(&site.authority, |_| 200).await;
    let body = json!({ "url": healthy.url("/"), "events": ["rude", "fine"] });
    let polite = registered(&mut client, body).await;

    let event = post(&mut client, "rude", json!({})).await;
    for number in 0..20 {
        let fine = post(&mut client, "fine", json!(number)).await;
        delivery_in(&mut client, &polite, &fine, "delivered").await;
    }
    delivery_in(&mut client, &polite, &event, "delivered").await;
    for (name, webhook, outcome) in webhooks {
        let state = if outcome == "200" {
            "delivered"
        } else {
            "failed"
        };
        let shown = delivery_in(&mut client, &webhook, &event, state).await;
        check(name, &shown, outcome);
        if state == "failed" {
            told(&daemon, name, &webhook, &event).await;
        }
    }
    drop((silent, expired, other));
    assert!(daemon.terminate().success());
}

/// One attempt was made, it ended so, and in time.
fn check(name: &str, delivery: &Value, outcome: &str) {
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "{name}: {delivery}");
    let (attempt, kind) = (&attempts[0], &attempts[0]["outcome"]["kind"]);
    let ended = if kind == "status" {
        attempt["status"].to_string()
    } else {
        kind.as_str().unwrap().to_owned()
    };
    assert_eq!(ended, outcome, "{name}: {attempt}");
    let took = attempt["response_time_ms"].as_f64().unwrap();
    let latest = TIMEOUT.as_secs_f64() * 1100.0;
    assert!(took <= latest, "{name} took {took} ms");
}

/// The log says that the delivery failed.
async fn told(daemon: &Daemon, name: &str, webhook: &str, event: &str) {
    until(
        &format!("{name}: the log says that the delivery failed"),
        async || {
            let log = daemon.log();
            let mut lines = log.lines().filter(|line| line.contains("delivery failed"));
            lines
                .any(|line| line.contains(webhook) && line.contains(event))
                .then_some(())
        },
    )
    .await;
}
