//! What receivers answer, as the log keeps and shows it: in bounds, however much they answer and however often.

use std::time::Duration;

use crate::client::Client;
use bytes::Bytes;
use hookwheel::receiver::{Answer, Step};
use serde_json::{Value, json};

use crate::support::{Site, delivery_in, get, post, registered};
use crate::web::{ANY, Web};

/// 400 with 60 kB that are no text in its head.
fn great_head() -> Answer {
    let mut head = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nx-great: ".to_vec();
    head.extend([0xff; 30_000]);
    for number in 0..50 {
        head.extend(format!("\r\nx-{number}: ").bytes());
        head.extend([0xfe; 600]);
    }
    head.extend(b"\r\n\r\n");
    Answer::Script(vec![Step::Send(Bytes::from(head))])
}

/// Attempts `2..=made` fall on retries.
fn body(web: &Web, made: usize) -> Value {
    let delays = vec!["10ms"; made - 1];
    json!({ "url": web.url("/"), "retry": { "delays": delays, "jitter": "0%" } })
}

fn numbers(shown: &Value) -> Vec<u64> {
    let attempts = shown["attempts"].as_array().unwrap();
    let number = |attempt: &Value| attempt["attempt"].as_u64().unwrap();
    attempts.iter().map(number).collect()
}

/// All pages of a delivery, from the newest attempts to the oldest.
async fn pages(client: &mut Client, path: &str, query: &str) -> Vec<Value> {
    let mut pages: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    loop {
        let answer = get(client, &format!("{path}?{query}{cursor}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let next = answer.body["next_cursor"].as_str().map(str::to_owned);
        pages.push(answer.body);
        assert!(pages.len() < 100, "the pages do not end");
        match next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_great_head_is_kept_in_bounds_and_attempts_are_shown_in_pages() {
    let site = Site::new(&["standard"]);
    let web = Web::start_with(ANY, &site.authority, |_| great_head(), Duration::ZERO).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, body(&web, 25)).await;
    let event = post(&mut client, "a", json!({})).await;
    let shown = delivery_in(&mut client, &webhook, &event, "failed").await;
    // As ever: all of a usual delivery's attempts, oldest first.
    assert_eq!(numbers(&shown), Vec::from_iter(1..=25));
    assert_eq!(
        (&shown["attempts_made"], &shown["next_cursor"]),
        (&json!(25), &Value::Null)
    );
    for attempt in shown["attempts"].as_array().unwrap() {
        let headers = attempt["response"]["headers"].as_array().unwrap();
        let text = |pair: &Value, at: usize| pair[at].as_str().unwrap().to_owned();
        let bytes: usize = headers
            .iter()
            .map(|pair| text(pair, 0).len() + text(pair, 1).len())
            .sum();
        assert!((4_096..=8_200).contains(&bytes), "{bytes}");
        let great = headers.iter().find(|pair| pair[0] == "x-great").unwrap();
        let great = text(great, 1);
        assert!(great.len() <= 1_024 && great.starts_with('\u{fffd}') && great.ends_with('…'));
        assert_eq!(headers.last().unwrap(), &json!(["…", "…"]));
    }

    let path = format!("/api/v1/webhooks/{webhook}/deliveries/{event}");
    let shown = pages(&mut client, &path, "limit=10").await;
    let seen: Vec<Vec<u64>> = shown.iter().map(numbers).collect();
    let expected = [16..=25, 6..=15, 1..=5].map(Vec::from_iter);
    assert_eq!(seen, expected);
    assert!(shown.iter().all(|page| page["attempts_made"] == 25));
    for (query, code) in [
        ("limit=0", "limit_invalid"),
        ("limit=201", "limit_invalid"),
        ("cursor=x", "cursor_invalid"),
        ("page=2", "query_invalid"),
    ] {
        let answer = get(&mut client, &format!("{path}?{query}")).await;
        let refused = (answer.status.as_u16(), &answer.body["code"]);
        assert_eq!(refused, (400, &json!(code)), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_answer_holds_so_many_bytes_of_attempts_at_most() {
    const KEPT: usize = 64 << 10;
    let site = Site::new(&["standard"]).with("[delivery]\nresponse_body_max = \"64KiB\"\n");
    let great = |_| Answer::text(400, &"x".repeat(KEPT));
    let web = Web::start_with(ANY, &site.authority, great, Duration::ZERO).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, body(&web, 40)).await;
    let event = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &webhook, &event, "failed").await;
    let path = format!("/api/v1/webhooks/{webhook}/deliveries/{event}");
    let shown = pages(&mut client, &path, "").await;
    for page in &shown {
        let bytes = page.to_string().len();
        assert!(bytes <= (1 << 20) + (64 << 10), "{bytes}");
    }
    let seen: Vec<u64> = shown.iter().rev().flat_map(numbers).collect();
    assert_eq!(seen, Vec::from_iter(1..=40));
}
