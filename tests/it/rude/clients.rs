//! Rude clients: each gets an answer or is cut off by a deadline, and the others are served.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::start_with_server;
use crate::support::{Daemon, PATIENCE, Site, get, key_of, registered, until};
use crate::web::Web;

async fn connect(daemon: &Daemon) -> TcpStream {
    TcpStream::connect(daemon.address).await.unwrap()
}

/// Reads until the daemon closes its side. A reset is a failure: it can eat an answer.
async fn rest(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut read))
        .await
        .expect("the daemon must end the connection")
        .expect("the connection must end in order");
    String::from_utf8_lossy(&read).into_owned()
}

/// Sends bytes on a connection of its own and reads all that comes back.
async fn talk(daemon: &Daemon, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = connect(daemon).await;
    stream.write_all(bytes.as_ref()).await.unwrap();
    rest(&mut stream).await
}

/// A head with the account's key, without its end.
fn head(method: &str, path: &str) -> String {
    let key = key_of("standard");
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n")
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_silence_and_idleness_end_by_the_header_timeout() {
    let site = Site::new(&["standard"]);
    let daemon = start_with_server(&site, "header_timeout = \"1s\"");
    let start = Instant::now();
    let (mut half, mut silent, mut idle) = (
        connect(&daemon).await,
        connect(&daemon).await,
        connect(&daemon).await,
    );
    half.write_all(b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nX-A")
        .await
        .unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut client = daemon.client("standard");
    assert_eq!(get(&mut client, "/api/v1/webhooks").await.status, 200);
    assert_eq!(rest(&mut half).await, "");
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(status(&rest(&mut idle).await), "200");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_answered_by_the_body_timeout() {
    let site = Site::new(&["standard"]);
    let daemon = start_with_server(&site, "body_timeout = \"1s\"");
    let events = head("POST", "/api/v1/events");
    // One byte now and then, as long as it is taken.
    let (mut reading, mut writing) = connect(&daemon).await.into_split();
    let dripping = async {
        let announced = format!("{events}Content-Length: 1000\r\n\r\n");
        writing.write_all(announced.as_bytes()).await.unwrap();
        while writing.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut answer = vec![0; 1024];
    let answering = async {
        let length = timeout(PATIENCE, reading.read(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer[..length.unwrap()]).into_owned()
    };
    let answer = tokio::select! {
        answer = answering => answer,
        () = dripping => panic!("cut off without an answer"),
    };
    assert_eq!(status(&answer), "408");
    assert!(answer.contains("body_timeout"), "{answer}");

    let chunk = format!("{events}Transfer-Encoding: chunked\r\n\r\nfff\r\nno more");
    assert_eq!(status(&talk(&daemon, chunk).await), "408");
    let mut client = daemon.client("standard");
    let events = get(&mut client, "/api/v1/events").await;
    assert_eq!(events.body["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answers_is_cut_off() {
    let site = Site::new(&["standard"]);
    let daemon = start_with_server(&site, "body_timeout = \"1s\"");
    let mut rude = connect(&daemon).await;
    // It asks until nothing more is taken from it, as its answers are stuck; and then its connection is gone, though
    // there is place enough.
    let asking = async {
        loop {
            let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
            if rude.write_all(request).await.is_err() {
                return;
            }
        }
    };
    timeout(PATIENCE, asking).await.unwrap();
}

/// Asks once and keeps the connection.
async fn idle(daemon: &Daemon) -> TcpStream {
    let mut stream = connect(daemon).await;
    // An answer shows that it has its place.
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
    stream
}

/// A connection whose request the daemon is at work on: it is the `number`th that has come to `slow`. The place of a
/// client that has just left may not be free at once; then it asks again.
async fn at_work_on(daemon: &Daemon, asking: &str, (slow, number): (&Web, usize)) -> TcpStream {
    until("the daemon is at work on it", async || {
        let mut stream = connect(daemon).await;
        stream.write_all(asking.as_bytes()).await.unwrap();
        let arrived = async {
            while slow.count() < number {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let mut byte = [0];
        tokio::select! {
            () = arrived => Some(stream),
            _ = stream.read(&mut byte) => None,
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_room_are_told_so_and_room_comes_back() {
    let site = Site::new(&["standard", "flock"]);
    let daemon = start_with_server(&site, "connections_max = 8");
    let slow = Web::start_slow(&site.authority, PATIENCE).await;
    // Eight places, and the daemon is at work on all of them: four tests of each account that hang at their receivers.
    let mut at_work = Vec::new();
    for account in ["standard", "flock"] {
        let mut client = daemon.client(account);
        let body = json!({ "url": slow.url("/"), "timeout": "60s" });
        let webhook = registered(&mut client, body).await;
        drop(client);
        let asking = format!(
            "POST /api/v1/webhooks/{webhook}/test HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n\r\n",
            key_of(account)
        );
        for _ in 0..4 {
            at_work.push(at_work_on(&daemon, &asking, (&slow, at_work.len() + 1)).await);
        }
    }
    for _ in 0..30 {
        let answer = talk(&daemon, format!("{}\r\n", head("GET", "/api/v1/events"))).await;
        assert_eq!(status(&answer), "503", "{answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert!(body.contains("\"code\":\"connections_full\""), "{answer}");
    }
    let told = until("the log says it", async || {
        let told = daemon.log().matches("clients are refused").count();
        (told > 0).then_some(told)
    })
    .await;
    assert_eq!(told, 1, "and not for each client");
    drop(at_work);
    let mut client = daemon.client("standard");
    until("there is room again", async || {
        let answer = client.call(http::Method::GET, "/healthz", None).await;
        answer
            .is_ok_and(|answer| answer.status == 200)
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_places_are_taken_the_longest_wait_gives_way_to_who_comes() {
    let site = Site::new(&["standard"]);
    let daemon = start_with_server(&site, "connections_max = 8");
    let mut early = Vec::new();
    for _ in 0..7 {
        early.push(idle(&daemon).await);
    }
    // One is in the midst of its body, and has been so since before the others' last requests.
    let mut half = connect(&daemon).await;
    let asking = format!(
        "{}Expect: 100-continue\r\nContent-Length: 24\r\n\r\n",
        head("POST", "/api/v1/events")
    );
    half.write_all(asking.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    half.read_exact(&mut interim).await.unwrap();
    let mut late = Vec::new();
    for (number, first) in early.iter_mut().enumerate() {
        late.push(idle(&daemon).await);
        assert_eq!(rest(first).await, "", "the {number}th is closed");
    }
    // It is next; who was in the midst of a request is told.
    late.push(idle(&daemon).await);
    let answer = rest(&mut half).await;
    assert_eq!(status(&answer), "503", "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("\"code\":\"connections_full\""), "{answer}");
    for stream in &mut late {
        let again = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(again).await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
    }
    drop((early, late));
    let mut client = daemon.client("standard");
    let events = get(&mut client, "/api/v1/events").await;
    assert_eq!(
        events.body["data"],
        json!([]),
        "nothing of it was carried out"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_a_4xx_and_change_nothing() {
    let site = Site::new(&["standard"]);
    let daemon = start_with_server(&site, "body_limit = \"4KiB\"");
    let events = head("POST", "/api/v1/events");
    let chunked = format!("{events}Transfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
    let large = "x".repeat(600_000);
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = [
        ("two lengths", format!("{events}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}} "), "400", ""),
        ("unknown coding", format!("{events}Transfer-Encoding: gzip\r\n\r\n{{}}"), "400", ""),
        ("length and chunks", format!("{events}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "400", ""),
        ("not a chunk", format!("{chunked}zz\r\n{{}}\r\n"), "400", "body_incomplete"),
        ("chunks over the limit", format!("{chunked}{}", chunk.repeat(100)), "413", "too_large"),
        ("body over the limit", format!("{events}Content-Length: 600000\r\n\r\n{large}"), "413", "too_large"),
        ("refused before its body", format!("{events}Expect: 100-continue\r\nContent-Length: 600000\r\n\r\n"), "413", "too_large"),
        ("gzip", format!("{events}Connection: close\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{{}}"), "415", "encoding_unsupported"),
        ("too many header lines", format!("{events}{}\r\n", "a: b\r\n".repeat(100)), "431", ""),
        ("a large header line", format!("{events}a: {large}\r\n\r\n"), "431", ""),
        ("a long target", format!("GET /{large} HTTP/1.1\r\nHost: x\r\n\r\n"), "4", ""),
        ("a folded line", format!("{events}a: b\r\n c\r\n\r\n"), "400", ""),
        ("unknown path", "GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), "404", "not_found"),
        ("no HTTP", "hello\r\n\r\n".to_owned(), "400", ""),
    ]
    .into_iter()
    .map(|(name, text, status, code)| (name, text.into_bytes(), status, code))
    .chain([
        ("TLS", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[7; 300]].concat(), "400", ""),
        ("not UTF-8", [format!("{events}Connection: close\r\nContent-Length: 4\r\n\r\n").as_bytes(), b"{\"\xff\""].concat(), "400", "utf8_invalid"),
    ])
    .collect();
    for (name, bytes, expected, code) in cases {
        let (mut reading, mut writing) = connect(&daemon).await.into_split();
        // The daemon may stop reading at any point; what it said before must be readable all the same.
        let sending = async {
            if let Err(error) = writing.write_all(&bytes).await {
                eprintln!("{name}: not taken to its end: {error}");
            }
            writing
        };
        let mut answer = Vec::new();
        let (_writing, read) =
            tokio::join!(sending, timeout(PATIENCE, reading.read_to_end(&mut answer)));
        read.unwrap()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let answer = String::from_utf8_lossy(&answer);
        assert!(status(&answer).starts_with(expected), "{name}: {answer}");
        assert!(answer.contains(code), "{name}: {answer}");
    }
    let mut client = daemon.client("standard");
    let events = get(&mut client, "/api/v1/events").await;
    assert_eq!(events.body["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_method_is_told_the_right_ones_of_its_path() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    for (path, allowed) in [
        ("/api/v1/webhooks", "GET,HEAD,POST"),
        ("/api/v1/webhooks/wh_1", "GET,HEAD,PATCH,DELETE"),
        ("/api/v1/webhooks/wh_1/test", "POST"),
        ("/api/v1/webhooks/wh_1/deliveries", "GET,HEAD"),
        ("/api/v1/webhooks/wh_1/deliveries/evt_1/retry", "POST"),
        ("/api/v1/events", "GET,HEAD,POST"),
        ("/api/v1/events/batch", "POST"),
        ("/healthz", "GET,HEAD"),
    ] {
        for method in ["PUT", "BREW"] {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let answer = talk(&daemon, request).await;
            assert_eq!(status(&answer), "405", "{answer}");
            let allow = answer.lines().find_map(|line| line.strip_prefix("allow: "));
            assert_eq!(allow, Some(allowed), "{path}");
            assert!(answer.contains("method_not_allowed"), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_has_no_body_and_expect_is_met() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let answer = talk(
        &daemon,
        format!(
            "{}Connection: close\r\n\r\n",
            head("HEAD", "/api/v1/events")
        ),
    )
    .await;
    assert_eq!(status(&answer), "200");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");

    let mut stream = connect(&daemon).await;
    let asking = format!(
        "{}Expect: 100-continue\r\nContent-Length: 24\r\nConnection: close\r\n\r\n",
        head("POST", "/api/v1/events")
    );
    stream.write_all(asking.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    timeout(PATIENCE, stream.read_exact(&mut interim))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
        .write_all(b"{\"type\":\"a\",\"data\":null}")
        .await
        .unwrap();
    let answer = rest(&mut stream).await;
    assert_eq!(status(&answer), "202", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_behind_an_ambiguous_one_is_not_served() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let event = "{\"type\":\"a\",\"data\":null}";
    let smuggled = format!("{}\r\n", head("GET", "/api/v1/webhooks"));
    let request = format!(
        "{}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n18\r\n{event}\r\n0\r\n\r\n{smuggled}",
        head("POST", "/api/v1/events")
    );
    let answer = talk(&daemon, request).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}
