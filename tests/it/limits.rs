//! Keys and what they may ask for: limits of calls and of events, rotation without a gap, refusals that tell nothing,
//! and bodies that come too slowly or say their length twice.

use std::time::Duration;

use crate::client::{Answer, Client};
use hookwheel::cli::key_hash;
use http::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::{Daemon, PATIENCE, Site, get, key_of, until};

/// An account with one key, which has these lines.
fn account(name: &str, lines: &str) -> String {
    format!(
        "[[accounts]]\nname = \"{name}\"\nprofile = \"standard\"\n[[accounts.keys]]\nname = \"k\"\n\
         scopes = [\"admin\", \"send\", \"read\"]\n{lines}\n"
    )
}

fn hash_of(key: &str) -> String {
    format!("hash = \"{}\"", key_hash(key))
}

async fn call(client: &mut Client, path: &str, body: &Value) -> Answer {
    client.call(Method::POST, path, Some(body)).await.unwrap()
}

fn event(number: usize) -> Value {
    json!({ "type": "a", "data": number })
}

fn text<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap())
}

/// The value of a parameter of one policy in a field: `"requests";r=2;t=60` has 2 for `r`.
fn parameter(answer: &Answer, field: &str, policy: &str, name: &str) -> u64 {
    let shown = text(answer, field).unwrap_or_else(|| panic!("no {field}: {:?}", answer.headers));
    let item = shown
        .split(", ")
        .find(|item| item.starts_with(&format!("\"{policy}\"")))
        .unwrap();
    let found = item
        .split(';')
        .find_map(|part| part.strip_prefix(&format!("{name}=")));
    found.unwrap().parse().unwrap()
}

async fn metric(client: &mut Client, name: &str) -> u64 {
    let shown = get(client, "/metrics").await.body;
    let lines = shown.as_str().unwrap().lines();
    let found = lines
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .next();
    found.map_or(0, |number| number.parse().unwrap())
}

async fn reload(daemon: &Daemon, from: usize, said: &str) -> usize {
    daemon.signal(Signal::HUP);
    until("the config was read", async || {
        daemon.said_since(from, said)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_manage_are_counted_and_every_answer_says_how_the_key_stands() {
    let site = Site::new(&["standard"]).with(&account(
        "bounded",
        &format!("{}\nrequests_per_minute = 6", hash_of("bounded-key")),
    ));
    let daemon = site.start();
    let start = Instant::now();
    let mut client = Client::new(daemon.address, "bounded-key");
    // Whatever it is that it manages, and also where it is refused or finds nothing.
    let calls = [
        (Method::GET, "/api/v1/webhooks", 200),
        (Method::GET, "/api/v1/events", 200),
        (Method::GET, "/api/v1/jobs", 200),
        (Method::GET, "/api/v1/webhooks/wh_none", 404),
        (Method::POST, "/api/v1/events/rematch", 400),
        (Method::GET, "/api/v1/profiles", 200),
    ];
    for (number, (method, path, status)) in calls.into_iter().enumerate() {
        let body = (method == Method::POST).then(|| json!({ "nothing": 1 }));
        let answer = client.call(method, path, body.as_ref()).await.unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert_eq!(
            text(&answer, "ratelimit-policy"),
            Some("\"requests\";q=6;w=60")
        );
        assert_eq!(
            parameter(&answer, "ratelimit", "requests", "r"),
            5 - number as u64
        );
        assert!((1..=60).contains(&parameter(&answer, "ratelimit", "requests", "t")));
    }
    // Posting goes on, and says how the key stands as well.
    for number in 0..3 {
        let answer = call(&mut client, "/api/v1/events", &event(number)).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        assert_eq!(parameter(&answer, "ratelimit", "requests", "r"), 0);
    }
    let over = get(&mut client, "/api/v1/stats").await;
    if start.elapsed() > Duration::from_secs(50) {
        return; // Another minute may have begun: this machine is too slow for the rest.
    }
    assert_eq!(over.status, 429, "{}", over.body);
    assert_eq!(over.body["code"], "too_many_requests");
    let wait: u64 = text(&over, "retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(parameter(&over, "ratelimit", "requests", "r"), 0);
    assert!(wait.abs_diff(parameter(&over, "ratelimit", "requests", "t")) <= 1);

    // The count is the key's, whatever is read again, and another key has its own.
    reload(&daemon, 0, "were read again").await;
    assert_eq!(get(&mut client, "/api/v1/webhooks").await.status, 429);
    let mut free = daemon.client("standard");
    let answer = get(&mut free, "/api/v1/webhooks").await;
    assert_eq!(answer.status, 200);
    assert_eq!(text(&answer, "ratelimit"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lower_one_of_a_keys_and_its_profiles_limit_holds() {
    let limits = [
        ("wide", "requests_per_minute = 9", 2),
        ("narrow", "requests_per_minute = 1", 1),
    ];
    let mut extra = "[profiles.bounded]\nextends = \"standard\"\n[profiles.bounded.api]\nrequests_per_minute = 2\n".to_owned();
    for (name, line, _) in limits {
        let text = account(
            name,
            &format!("{}\n{line}", hash_of(&format!("{name}-key-of-it"))),
        );
        extra.push_str(&text.replace("\"standard\"", "\"bounded\""));
    }
    let site = Site::new(&["standard"]).with(&extra);
    let daemon = site.start();
    for (name, _, max) in limits {
        let mut client = Client::new(daemon.address, &format!("{name}-key-of-it"));
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(get(&mut client, "/api/v1/events").await.status.as_u16());
        }
        let expected: Vec<u16> = (0..3)
            .map(|number| if number < max { 200 } else { 429 })
            .collect();
        assert_eq!(answers, expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_limited_by_the_second_and_a_batch_by_its_events() {
    let site = Site::new(&["standard"]).with(&account(
        "posting",
        &format!("{}\nevents_per_second = 2", hash_of("posting-key")),
    ));
    let daemon = site.start();
    let mut client = Client::new(daemon.address, "posting-key");
    // A batch of more than a second's worth is taken, and what comes next waits for it.
    let start = Instant::now();
    let batch: Vec<Value> = (0..6).map(event).collect();
    let answer = call(&mut client, "/api/v1/events/batch", &json!(batch)).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(
        text(&answer, "ratelimit-policy"),
        Some("\"events\";q=2;w=1")
    );
    assert_eq!(parameter(&answer, "ratelimit", "events", "r"), 0);
    for (path, body) in [
        ("/api/v1/events", event(7)),
        ("/api/v1/events/batch", json!([event(8)])),
    ] {
        let over = call(&mut client, path, &body).await;
        if start.elapsed() > Duration::from_secs(2) {
            break; // It has been paid for already, on a machine this slow.
        }
        assert_eq!(over.status, 429, "{path}: {}", over.body);
        assert_eq!(over.body["code"], "too_many_events");
        let wait: u64 = text(&over, "retry-after").unwrap().parse().unwrap();
        assert!((1..=3).contains(&wait), "{wait}");
    }
    // Managing is no posting.
    assert_eq!(get(&mut client, "/api/v1/events").await.status, 200);
    let mut taken = 6;
    while taken < 10 {
        let answer = call(&mut client, "/api/v1/events", &event(taken)).await;
        match answer.status.as_u16() {
            202 => taken += 1,
            status => assert_eq!(status, 429, "{}", answer.body),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Ten events at two a second, with a second's worth at once.
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(3_900), "{took:?}");
    assert!(
        metric(
            &mut client,
            "hookwheel_events_refused_total{reason=\"too_many_events\"}"
        )
        .await
            > 0
    );
}

/// The answer to a request without its date, which is no part of its shape.
async fn refused(daemon: &Daemon, headers: &str) -> String {
    let mut stream = TcpStream::connect(daemon.address).await.unwrap();
    let request =
        format!("GET /api/v1/webhooks HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let lines = answer.lines().filter(|line| !line.starts_with("date: "));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_answered_as_none_counted_and_told_now_and_then() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let none = refused(&daemon, "").await;
    assert!(none.starts_with("HTTP/1.1 401 "), "{none}");
    let key = key_of("standard");
    let nearly = &key[..key.len() - 1];
    for headers in [
        format!("X-API-Key: {nearly}\r\n"),
        "X-API-Key: \r\n".to_owned(),
        format!("X-API-Key: {}\r\n", key_hash(&key)),
        format!("Authorization: Bearer {nearly}x\r\n"),
        format!("Authorization: Basic {key}\r\n"),
        format!("X-API-Key: \u{e9}{key}\r\n"),
    ] {
        assert_eq!(refused(&daemon, &headers).await, none, "{headers}");
    }
    let mut client = daemon.client("standard");
    let missing = metric(
        &mut client,
        "hookwheel_auth_failures_total{reason=\"missing\"}",
    )
    .await;
    let unknown = metric(
        &mut client,
        "hookwheel_auth_failures_total{reason=\"unknown\"}",
    )
    .await;
    assert_eq!((missing, unknown), (2, 5));
    let log = daemon.log();
    assert!(
        log.matches("a request had no valid key").count() <= 2,
        "{log}"
    );
    let line = log
        .lines()
        .find(|line| line.contains("a request had no valid key"))
        .unwrap();
    assert!(line.contains("\"peer\":\"127.0.0.1\""), "{line}");
    assert!(!log.contains(nearly), "a key was printed");
}

fn write_key(site: &Site, name: &str, key: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = site.path(name);
    std::fs::write(&path, format!("{key}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_replaced_on_an_open_connection_at_once_or_with_an_overlap() {
    const KEYS: [&str; 3] = [
        "first-key-of-backend",
        "second-key-of-backend",
        "third-key-of-backend",
    ];
    let lines = "file = \"backend.key\"\nrequests_per_minute = 1000";
    let site = Site::new(&["standard"]).with(&account("other", lines));
    write_key(&site, "backend.key", KEYS[0]);
    let daemon = site.start();
    assert!(
        !daemon.log().contains("can be read by everybody"),
        "{}",
        daemon.log()
    );
    // One connection each, open all the while.
    let mut streams = Vec::new();
    for _ in KEYS {
        streams.push(TcpStream::connect(daemon.address).await.unwrap());
    }
    let mut statuses = async || {
        let mut found = Vec::new();
        for (stream, key) in streams.iter_mut().zip(KEYS) {
            let head = format!(
                "HEAD /api/v1/webhooks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut read = [0; 2048];
            let length = timeout(PATIENCE, stream.read(&mut read))
                .await
                .unwrap()
                .unwrap();
            let answer = String::from_utf8_lossy(&read[..length]).into_owned();
            found.push(answer[9..12].to_owned());
        }
        found
    };
    assert_eq!(statuses().await, ["200", "401", "401"]);
    write_key(&site, "backend.key", KEYS[1]);
    let mut read = reload(&daemon, 0, "were read again").await;
    assert_eq!(statuses().await, ["401", "200", "401"]);

    let base = site.config(true);
    let path = site.path("config.toml");
    for (line, expected) in [
        (
            "file = [\"backend.key\", \"next.key\"]".to_owned(),
            ["401", "200", "200"],
        ),
        ("file = \"next.key\"".to_owned(), ["401", "401", "200"]),
        (
            format!(
                "hash = [\"{}\", \"{}\"]",
                key_hash(KEYS[2]),
                key_hash(KEYS[0])
            ),
            ["200", "401", "200"],
        ),
    ] {
        write_key(&site, "next.key", KEYS[2]);
        std::fs::write(&path, base.replace("file = \"backend.key\"", &line)).unwrap();
        read = reload(&daemon, read, "were read again").await;
        assert_eq!(statuses().await, expected, "{line}");
    }
    // What is no key changes nothing.
    for line in [
        "hash = [\"sha256:00\"]".to_owned(),
        format!("hash = [\"{0}\", \"{0}\"]", key_hash(KEYS[1])),
        "file = [\"backend.key\", \"next.key\", \"backend.key\"]".to_owned(),
    ] {
        std::fs::write(&path, base.replace("file = \"backend.key\"", &line)).unwrap();
        read = reload(&daemon, read, "the old one stays in force").await;
        assert_eq!(statuses().await, ["200", "401", "200"], "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_for_all_eyes_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new(&["standard"]).with(&account("other", "file = \"backend.key\""));
    write_key(&site, "backend.key", "a-key-of-the-backend");
    let for_all = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(site.path("backend.key"), for_all).unwrap();
    let daemon = site.start();
    let warning = "accounts[1].keys[0].file: the key can be read by everybody; chmod o-rwx";
    assert!(daemon.log().contains(warning), "{}", daemon.log());
    assert!(!daemon.log().contains("a-key-of-the-backend"));
}

/// Starts a daemon with more lines in its `[server]` section.
fn start_with_server(site: &Site, lines: &str) -> Daemon {
    let config = site
        .config(true)
        .replacen("[server]\n", &format!("[server]\n{lines}\n"), 1);
    Daemon::start(&site.path("config.toml"), &config)
}

fn events_head() -> String {
    let key = key_of("standard");
    format!("POST /api/v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_is_cut_off_long_before_its_time_is_over() {
    let site = Site::new(&["standard"]);
    let daemon = start_with_server(&site, "body_timeout = \"5m\"\nbody_rate_min = \"1KiB\"");
    let drip = async |head: String, drop_of: &'static [u8]| {
        let stream = TcpStream::connect(daemon.address).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        writing.write_all(head.as_bytes()).await.unwrap();
        let dripping = async {
            while writing.write_all(drop_of).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let mut answer = vec![0; 4096];
        let answering = async {
            let length = timeout(PATIENCE, reading.read(&mut answer))
                .await
                .unwrap()
                .unwrap();
            String::from_utf8_lossy(&answer[..length]).into_owned()
        };
        tokio::select! {
            answer = answering => answer,
            () = dripping => panic!("cut off without an answer"),
        }
    };
    let start = Instant::now();
    let head = events_head();
    let sized = drip(format!("{head}Content-Length: 100000\r\n\r\n"), b" ");
    let chunked = drip(
        format!("{head}Transfer-Encoding: chunked\r\n\r\n"),
        b"1\r\n \r\n",
    );
    // Fast enough, and slower than the whole would be: it is waited for.
    let patient = async {
        let mut stream = TcpStream::connect(daemon.address).await.unwrap();
        let body = format!("{{\"type\": \"a\", \"data\": \"{}\"}}", "x".repeat(40_000));
        let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        for part in body.as_bytes().chunks(body.len() / 14) {
            stream.write_all(part).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let mut answer = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut answer))
            .await
            .unwrap()
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let (sized, chunked, patient) = tokio::join!(sized, chunked, patient);
    for answer in [sized, chunked] {
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(
            answer.contains("body_too_slow") && answer.contains("body_rate_min"),
            "{answer}"
        );
    }
    assert_eq!(patient, "HTTP/1.1 202");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(4_900), "{took:?}");
    assert!(took < Duration::from_secs(40), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_said_in_two_ways_is_refused_also_behind_other_requests() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let head = events_head();
    let event = "{\"type\":\"a\",\"data\":null}";
    let chunked = format!("18\r\n{event}\r\n0\r\n\r\n");
    let before = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunked}");
    let sized = format!("{head}Content-Length: {}\r\n\r\n{event}", event.len());
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\ncontent-length: 24\r\n",
        "Content-Length: 0\r\nX: y\r\nTRANSFER-ENCODING: chunked\r\n",
    ] {
        let request = format!("{before}{sized}{head}{fields}\r\n{chunked}{sized}");
        let mut stream = TcpStream::connect(daemon.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        let statuses: Vec<&str> = answer
            .matches("HTTP/1.1 202")
            .chain(answer.matches("HTTP/1.1 400"))
            .collect();
        assert_eq!(statuses.len(), 3, "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 3, "{answer}");
        assert!(
            answer.contains("length_ambiguous") && answer.contains("connection: close"),
            "{answer}"
        );
    }
    let mut client = daemon.client("standard");
    let events = get(&mut client, "/api/v1/events").await;
    assert_eq!(
        events.body["data"].as_array().unwrap().len(),
        6,
        "none of the ambiguous ones"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_without_end_ends_at_the_limit() {
    let site = Site::new(&["standard"]);
    let daemon = start_with_server(&site, "body_limit = \"4KiB\"");
    let head = format!("{}Transfer-Encoding: chunked\r\n\r\n", events_head());
    let (size, extension) = (format!("{head}ffffffffff\r\n"), format!("{head}1;"));
    for (begin, status) in [(size, "413"), (extension, "400")] {
        let stream = TcpStream::connect(daemon.address).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        writing.write_all(begin.as_bytes()).await.unwrap();
        let flooding = async { while writing.write_all(&[b'x'; 1024]).await.is_ok() {} };
        let mut answer = vec![0; 4096];
        let answering = async {
            let length = timeout(PATIENCE, reading.read(&mut answer))
                .await
                .unwrap()
                .unwrap();
            String::from_utf8_lossy(&answer[..length]).into_owned()
        };
        let answer = tokio::select! {
            answer = answering => answer,
            () = async { flooding.await; std::future::pending().await } => unreachable!(),
        };
        assert_eq!(&answer[9..12], status, "{answer}");
    }
}
