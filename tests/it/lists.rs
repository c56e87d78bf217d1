//! Lists, paths and counts: what a client meets at the edges.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use http::Method;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Site, delivery_in, get, key_of, post, registered};
use crate::web::Web;

/// The head of the answer to a request without a body.
fn head(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let key = key_of("standard");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split("\r\n\r\n").next().unwrap().to_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_method_or_name_is_a_problem_that_says_so() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let allowed = |path: &str| {
        let head = head(daemon.address, "PUT", path);
        assert!(head.starts_with("http/1.1 405 "), "{head}");
        assert!(head.contains("application/problem+json"), "{head}");
        let mut methods: Vec<String> = head
            .lines()
            .find_map(|line| line.strip_prefix("allow: "))
            .unwrap_or_else(|| panic!("no Allow in {head}"))
            .split(',')
            .map(|method| method.trim().to_owned())
            .collect();
        methods.sort_unstable();
        methods.join(" ")
    };
    assert_eq!(allowed("/api/v1/events"), "get head post");
    assert_eq!(allowed("/api/v1/events/batch"), "post");
    assert_eq!(allowed("/api/v1/webhooks/x"), "delete get head patch");
    let mut client = daemon.client("standard");
    for path in ["/api/v1/webhooks/%ff", "/api/v1/events/%ff", "/nowhere"] {
        let answer = get(&mut client, path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
        assert_eq!(answer.body["code"], "not_found", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_a_cursor_only_where_it_goes_on() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, json!({ "url": web.url("/") })).await;
    let mut posted = Vec::new();
    for number in 0..4 {
        posted.push(post(&mut client, "a", json!(number)).await);
    }
    for event in &posted {
        delivery_in(&mut client, &webhook, event, "delivered").await;
    }
    posted.reverse();
    let lists = [
        ("/api/v1/events".to_owned(), "id"),
        (format!("/api/v1/webhooks/{webhook}/deliveries"), "event_id"),
    ];
    for (list, id) in lists {
        let first = get(&mut client, &format!("{list}?limit=2")).await.body;
        let cursor = first["next_cursor"].as_str().unwrap();
        let path = format!("{list}?limit=2&cursor={cursor}");
        let second = get(&mut client, &path).await.body;
        let rows = [&first, &second].map(|page| page["data"].as_array().unwrap());
        let ids: Vec<&str> = rows
            .into_iter()
            .flatten()
            .map(|row| row[id].as_str().unwrap())
            .collect();
        assert_eq!(ids, posted, "{list}");
        assert_eq!(second["next_cursor"], Value::Null, "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_events_is_bounded_in_bytes() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let data = json!("x".repeat(250 * 1024));
    for _ in 0..20 {
        post(&mut client, "a", data.clone()).await;
    }
    let first = get(&mut client, "/api/v1/events?limit=200").await.body;
    let shown = first["data"].as_array().unwrap().len();
    assert!((16..20).contains(&shown), "{shown} rows of 250 KiB");
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = get(&mut client, &format!("/api/v1/events?cursor={cursor}")).await;
    assert_eq!(second.body["data"].as_array().unwrap().len(), 20 - shown);
    assert_eq!(second.body["next_cursor"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_is_counted_once() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, json!({ "url": web.url("/") })).await;
    let event = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &webhook, &event, "delivered").await;
    let bad = json!({ "type": "a" });
    let refused = client
        .call(Method::POST, "/api/v1/events", Some(&bad))
        .await
        .unwrap();
    assert_eq!(refused.status, 400);
    let metrics = get(&mut client, "/metrics").await.body;
    let metrics = metrics.as_str().unwrap();
    for line in [
        "hookwheel_events_accepted_total 1",
        "hookwheel_deliveries_created_total 1",
        "hookwheel_deliveries_ended_total{state=\"delivered\"} 1",
        "hookwheel_attempts_total{outcome=\"2xx\"} 1",
        "hookwheel_events_refused_total{reason=\"missing\"} 1",
        "hookwheel_in_flight 0",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in\n{metrics}"
        );
    }
}
