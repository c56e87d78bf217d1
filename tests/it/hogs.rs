//! Clients that hold what others need: places for connections, memory for bodies and for answers.

use std::time::Duration;

use crate::client::Client;
use hookwheel::cli::key_hash;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::support::{Daemon, PATIENCE, Site, get, key_of, post, until};

/// A part of a body is sent; gives the answer, if there is one, once the daemon has closed its side.
async fn stall(daemon: &Daemon, key: &str, announced: usize, sent: usize) -> TcpStream {
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: {announced}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(daemon.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; sent]).await.unwrap();
    stream
}

async fn answer_of(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the daemon must end the connection")
        .expect("the connection must end in order");
    String::from_utf8(answer).unwrap()
}

fn start_with(site: &Site, server: &str) -> Daemon {
    let lines = format!("[server]\n{server}\n");
    let config = site.config(true).replacen("[server]\n", &lines, 1);
    Daemon::start(&site.path("config.toml"), &config)
}

/// A second account of the same profile, with a key of some scopes.
fn account(name: &str, key: &str, scopes: &str) -> String {
    format!(
        "[[accounts]]\nname = \"{name}\"\nprofile = \"standard\"\n[[accounts.keys]]\nname = \"k\"\n\
         hash = \"{}\"\nscopes = [{scopes}]\n",
        key_hash(key)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_came_leave_no_claim_to_a_place() {
    let site = Site::new(&["standard"]);
    let daemon = start_with(&site, "connections_max = 24\nbody_timeout = \"1s\"");
    let daemon = std::sync::Arc::new(daemon);
    // All at once they still find places beside those that are being closed.
    let mut given_up = 0;
    for _ in 0..2 {
        let tasks = TaskTracker::new();
        let slow: Vec<_> = (0..12)
            .map(|_| {
                let daemon = std::sync::Arc::clone(&daemon);
                tasks.spawn(async move {
                    answer_of(stall(&daemon, &key_of("standard"), 10, 1).await).await
                })
            })
            .collect();
        for one in slow {
            let answer = one.await.unwrap();
            given_up += usize::from(answer.starts_with("HTTP/1.1 408 "));
        }
    }
    assert!(given_up >= 20, "{given_up} of 24 were answered 408");
    let mut silent = Vec::new();
    for _ in 0..24 {
        silent.push(TcpStream::connect(daemon.address).await.unwrap());
    }
    // Each healthy client takes the place of one of them. On a machine at its limits one may have to come again, but not
    // as many as there were bodies.
    let (mut kept, mut served) = (Vec::new(), 0);
    for _ in 0..30 {
        let mut client = Client::new(daemon.address, "");
        let answer = client.call(Method::GET, "/healthz", None).await;
        served += usize::from(answer.is_ok_and(|answer| answer.status == 200));
        // It stays open, so that the next one needs another's place.
        kept.push(client);
    }
    assert!(served >= 20, "{served} of 30 were served");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_accounts_bodies_leave_room_for_those_of_others() {
    let site = Site::new(&["standard"]).with(&account("other", "others-key-0000", "\"send\""));
    let daemon = start_with(&site, "body_memory = \"4MiB\"");
    let mut other = Client::new(daemon.address, "others-key-0000");
    let mut client = daemon.client("standard");
    let event = json!({ "type": "a", "data": "x".repeat(100_000) });
    // All but the last byte of each: more than the account's half, whichever find room.
    let mut stalled = Vec::new();
    for _ in 0..60 {
        stalled.push(stall(&daemon, &key_of("standard"), 65_536, 65_535).await);
    }
    until("the account's own half is full", async || {
        let answer = client.call(Method::POST, "/api/v1/events", Some(&event));
        let answer = answer.await.unwrap();
        (answer.body["code"] == "memory_full").then(|| {
            assert_eq!(answer.status, 503);
            assert_eq!(answer.headers["retry-after"], "1");
            let detail = answer.body["detail"].as_str().unwrap();
            assert!(detail.contains("this account's"), "{detail}");
        })
    })
    .await;
    for _ in 0..5 {
        let answer = other.call(Method::POST, "/api/v1/events", Some(&event));
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    drop(stalled);
    until("there is room again", async || {
        let answer = client.call(Method::POST, "/api/v1/events", Some(&event));
        (answer.await.unwrap().status == 202).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_caller_without_the_scope_no_body_is_awaited() {
    let site = Site::new(&["standard"]).with(&account("other", "a-reading-key-0", "\"read\""));
    let daemon = site.start();
    let start = Instant::now();
    let mut stream = stall(&daemon, "a-reading-key-0", 10_000, 1).await;
    let mut answer = vec![0; 4096];
    let length = timeout(PATIENCE, stream.read(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..length.unwrap()]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("scope_missing"), "{answer}");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "before any deadline"
    );
}

/// Asks for the same large page some times and takes nothing of it.
async fn ask_and_take_nothing(daemon: &Daemon) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(daemon.address).await.unwrap();
    let ask = format!(
        "GET /api/v1/events?limit=200 HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n\r\n",
        key_of("standard")
    );
    stream.write_all(ask.repeat(3).as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_takes_are_bounded_and_hold_up_no_other_account() {
    let site =
        Site::new(&["standard"]).with(&account("other", "others-key-0000", "\"send\", \"read\""));
    let daemon = start_with(&site, "answer_memory = \"32MiB\"");
    let (mut client, mut other) = (
        daemon.client("standard"),
        Client::new(daemon.address, "others-key-0000"),
    );
    for number in 0..18 {
        post(
            &mut client,
            "a",
            json!({ "n": number, "text": "x".repeat(250_000) }),
        )
        .await;
        if number < 2 {
            post(&mut other, "a", json!("y".repeat(100_000))).await;
        }
    }
    let page = get(&mut client, "/api/v1/events?limit=200").await;
    let rows = page.body["data"].as_array().unwrap();
    assert!(
        rows.len() > 15 && page.body["next_cursor"].is_string(),
        "{}",
        rows.len()
    );
    let rest = format!(
        "/api/v1/events?cursor={}",
        page.body["next_cursor"].as_str().unwrap()
    );
    let rest = get(&mut client, &rest).await;
    let rest = rest.body["data"].as_array().unwrap();
    let numbers = rows
        .iter()
        .chain(rest)
        .map(|row| row["data"]["n"].as_u64().unwrap());
    assert_eq!(
        numbers.collect::<Vec<_>>(),
        (0..18).rev().collect::<Vec<_>>()
    );

    let mut stuck = Vec::new();
    for _ in 0..6 {
        stuck.push(ask_and_take_nothing(&daemon).await);
    }
    let full = until("the account's half is full", async || {
        let answer = client.call(Method::GET, "/api/v1/events?limit=200", None);
        let answer = answer.await.unwrap();
        (answer.body["code"] == "memory_full").then_some(answer)
    })
    .await;
    assert_eq!(
        (full.status.as_u16(), &full.headers["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    // Small answers, other accounts' large ones, and events go on.
    assert_eq!(get(&mut client, "/api/v1/webhooks").await.status, 200);
    post(&mut client, "a", json!("small")).await;
    let theirs = get(&mut other, "/api/v1/events").await;
    assert_eq!(
        theirs.body["data"].as_array().map(Vec::len),
        Some(2),
        "{}",
        theirs.status
    );
    drop(stuck);
    until("there is room again", async || {
        let answer = client.call(Method::GET, "/api/v1/events?limit=200", None);
        (answer.await.unwrap().status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_does_not_parse_counts_as_an_event() {
    let extra = account("posting", "posting-key-000", "\"send\"");
    let extra = extra.replacen("scopes", "events_per_second = 1\nscopes", 1);
    let site = Site::new(&["standard"]).with(&extra);
    let daemon = site.start();
    let mut client = Client::new(daemon.address, "posting-key-000");
    let no_batch = json!("no batch");
    let mut codes = Vec::new();
    let start = Instant::now();
    // Of three calls within a second one is let in; a slow machine has more calls.
    while codes
        .iter()
        .filter(|code| *code == "too_many_events")
        .count()
        < 2
    {
        let answer = client.call(Method::POST, "/api/v1/events/batch", Some(&no_batch));
        let answer = answer.await.unwrap();
        codes.push(answer.body["code"].as_str().unwrap().to_owned());
        assert!(start.elapsed() < PATIENCE, "{codes:?}");
    }
    assert_eq!(codes[0], "json_invalid", "{codes:?}");
    // One of one event is taken at a rate of one.
    until("it is taken", async || {
        let batch = json!([{ "type": "a", "data": Value::Null }]);
        let answer = client.call(Method::POST, "/api/v1/events/batch", Some(&batch));
        (answer.await.unwrap().status == 202).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_in_unusual_writing_hides_no_second_one_behind_it() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n",
        key_of("standard")
    );
    let event = "{\"type\":\"a\",\n\n\"data\":null}";
    let (length, chunked) = (event.len(), "Transfer-Encoding: chunked\r\n");
    let (far, zeros) = (" ".repeat(60), "0".repeat(70));
    let firsts = [
        format!("{head}Content-Length:{far}{length}\r\n\r\n{event}"),
        format!("{head}{chunked}\r\n{zeros}{length:x}\r\n{event}\r\n0\r\n\r\n"),
        format!("{head}{chunked}\r\n{length:x}\r\n{event}\r\n0\r\nX: y\n\nGET / HTTP/1.1\r\n\r\n"),
    ];
    for first in firsts {
        let both =
            format!("{head}{chunked}Content-Length: 5\r\n\r\n{length:x}\r\n{event}\r\n0\r\n\r\n");
        let mut stream = TcpStream::connect(daemon.address).await.unwrap();
        let text = format!("{first}{both}");
        stream.write_all(text.as_bytes()).await.unwrap();
        let answer = answer_of(stream).await;
        assert_eq!(
            answer.matches("HTTP/1.1 202 ").count(),
            1,
            "{first}: {answer}"
        );
        assert_eq!(
            answer.matches("\"code\":\"length_ambiguous\"").count(),
            1,
            "{first}: {answer}"
        );
    }
    let events = get(&mut daemon.client("standard"), "/api/v1/events").await;
    assert_eq!(
        events.body["data"].as_array().map(Vec::len),
        Some(3),
        "none of the ambiguous ones"
    );
}
