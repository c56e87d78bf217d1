//! `tail`, held against a small server of live streams that breaks them off, and against a daemon that has none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::desk::{bare, ran};

const WEBHOOK: &str = "wh_00000000000000000000000000000001";
const FIRST: &str = "event: hello\ndata: {\"at\":\"2026-01-31T12:00:00.000Z\"}\n\n: alive\n\n\
    event: attempt\ndata: {\"at\":\"2026-01-31T12:00:01.000Z\",\"webhook_id\":\"wh_00000000000000000000000000000001\",\
    \"event_id\":\"evt_1\",\"type\":\"order.created\",\"attempt\":1,\"trigger\":\"schedule\",\"status\":503,\
    \"outcome\":{\"kind\":\"status\",\"detail\":\"503\"},\"response_time_ms\":12.5,\"state\":\"waiting\",\
    \"next_attempt_at\":\"2026-01-31T12:00:06.000Z\"}\n\nevent: missed\ndata: {\"missed\":7}\n\nevent: att";
const SECOND: &str = "event: hello\ndata: {\"at\":\"2026-01-31T12:05:00.000Z\"}\n\n\
    event: ended\ndata: {\"at\":\"2026-01-31T12:05:01.000Z\",\"webhook_id\":\"wh_00000000000000000000000000000001\",\
    \"event_id\":\"evt_2\",\"type\":\"order.paid\",\"state\":\"expired\",\"reason\":\"retention\\u001b[2J\"}\n\n";

fn page() -> String {
    let row = format!("{{\"id\":\"{WEBHOOK}\",\"name\":\"billing\"}}");
    let page = format!("{{\"data\":[{row}],\"next_cursor\":null}}");
    let length = page.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}")
}

fn live(head: &str, number: usize) -> String {
    let asked = format!("GET /api/v1/live?webhook={WEBHOOK}&state=failed");
    assert!(head.starts_with(&asked), "{head}");
    let kind = "Content-Type: text/event-stream\r\nConnection: close";
    match number % 3 {
        0 => format!("HTTP/1.1 200 OK\r\n{kind}\r\n\r\n{FIRST}"),
        1 => "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
        _ => format!("HTTP/1.1 200 OK\r\n{kind}\r\n\r\n{SECOND}"),
    }
}

/// A server whose first stream breaks off, whose next one is refused as it starts, and whose third goes on.
async fn server(tasks: &TaskTracker) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let streams = Arc::new(AtomicUsize::new(0));
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = vec![0; 4096];
            let length = stream.read(&mut read).await.unwrap();
            let head = String::from_utf8_lossy(&read[..length]).into_owned();
            let answer = match head.starts_with("GET /api/v1/webhooks") {
                true => page(),
                false => live(&head, streams.fetch_add(1, Ordering::SeqCst)),
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_is_taken_up_again_and_the_gap_is_told() {
    let tasks = TaskTracker::new();
    let url = server(&tasks).await;
    let tail = |more: &[&str]| {
        let arguments = [
            &[
                "tail",
                "--url",
                &url,
                "--webhook",
                "billing",
                "--state",
                "failed",
                "--limit",
                "2",
            ],
            more,
        ]
        .concat();
        let mut command = bare(&arguments);
        command.env("HOOKWHEEL_API_KEY", "k");
        ran(command, "").good()
    };
    let told = tail(&[]);
    let lines: Vec<&str> = told.out.lines().collect();
    assert_eq!(lines.len(), 3, "{told:?}");
    assert!(
        lines[0].starts_with(
            "12:00:01.000  … waiting    503       order.created → billing  12 ms  attempt 1"
        ),
        "{told:?}"
    );
    assert!(lines[1].contains("7 were not seen"), "{told:?}");
    assert!(
        lines[2].contains("✗ expired") && lines[2].contains("retention\\u{1b}[2J"),
        "{told:?}"
    );
    assert!(told.err.contains("broke off"), "{told:?}");
    assert!(
        told.err
            .contains("from 2026-01-31 12:00:01Z to 2026-01-31 12:05:00Z was not seen here"),
        "{told:?}"
    );

    let told = tail(&["--json"]);
    let rows: Vec<serde_json::Value> = told
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<&str> = rows
        .iter()
        .map(|row| row["event"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["hello", "attempt", "missed", "hello", "ended"]);
    assert_eq!(rows[3]["not_seen_since"], "2026-01-31T12:00:01.000Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_refuses_the_stream_ends_it() {
    let desk = super::desk::Desk::new(|_| 200).await;
    let mut keyless = desk.command(&["tail", "--state", "nonsense"]);
    keyless
        .env_remove("HOOKWHEEL_API_KEY_FILE")
        .env("HOOKWHEEL_API_KEY", "wrong");
    ran(keyless, "").said(1, "the variable HOOKWHEEL_API_KEY");
    desk.run(&["tail", "--webhook", "none"])
        .said(1, "there is no webhook `none`");
}
