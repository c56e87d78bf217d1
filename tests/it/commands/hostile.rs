//! What answers may be no daemon, or one of another version: no answer makes a command panic, or reach the terminal
//! with more than text.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Map, Value, json};

use super::desk::{bare, ran};

const WEBHOOK: &str = "wh_00000000000000000000000000000000";
const EVENT: &str = "evt_00000000000000000000000000000000";
const JOB: &str = "job_00000000000000000000000000000000";

const COMMANDS: [&[&str]; 14] = [
    &["webhook", "list"],
    &["webhook", "show", WEBHOOK],
    &["webhook", "remove", WEBHOOK, "--yes"],
    &["webhook", "test", WEBHOOK],
    &["event", "list"],
    &["event", "show", EVENT],
    &["event", "explain", EVENT],
    &["delivery", "list", WEBHOOK],
    &["delivery", "show", WEBHOOK, EVENT],
    &["job", "list"],
    &["job", "show", JOB],
    &["status"],
    &["audit"],
    &["tail", "--limit", "2"],
];

/// Members that commands read.
const MEMBERS: &str = "id name url description events active state event_id webhook_id type created_at updated_at \
    next_attempt_at ended_at reason accepted_at order concurrency attempts_made in_flight waiting held standing \
    paused_until paused_because last_success_at last_failure last_day last_hour last_attempt hours done deliveries now \
    webhooks secret contract public_key metadata data counts queued sent failed succeeded progress attempts at actor \
    account action target version since ratio secret_rotation headers retry timeout format scope oauth2 filter tls \
    inactive failing profile own example started_at attempt status outcome trigger response_time_ms phases_ms \
    request_headers response language file_name code notes detail errors signed matched";

/// Answers every request with one text.
fn liar(status: u16, body: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        // It ends with the test's process.
        for stream in listener.incoming().flatten() {
            answer(stream, status, &body);
        }
    });
    address
}

/// Reads a request to its end, as who closes before that resets the connection; a client that goes is not missed.
fn answer(mut stream: TcpStream, status: u16, body: &str) {
    let (mut asked, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&asked).to_ascii_lowercase();
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if rest.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                break;
            }
        }
        match stream.read(&mut piece) {
            Ok(count) if count > 0 => asked.extend(&piece[..count]),
            _ => return,
        }
    }
    let is_live = asked.starts_with(b"GET /api/v1/live");
    let (kind, text) = match is_live {
        true => {
            let names = ["hello", "attempt", "ended", "webhook", "missed", "other"];
            let events = names.map(|name| format!("event: {name}\ndata: {body}\n\n"));
            ("text/event-stream", events.concat() + "data: [\n\n")
        }
        false => ("application/json", body.to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    if stream.write_all((head + &text).as_bytes()).is_err() {
        assert!(is_live, "a client has gone before its answer");
    }
}

/// An answer, and a page of answers, whose members are all this.
fn filled(value: &Value) -> Map<String, Value> {
    let members = MEMBERS.split_whitespace();
    members
        .map(|name| (name.to_owned(), value.clone()))
        .collect()
}

/// Answers with what no daemon says: far times, numbers at their ends, other kinds of values, and no end of depth.
fn lies() -> Vec<String> {
    let steering = json!("\u{1b}[2J\u{9b}31m\u{202e}\u{61c}\u{e0041}");
    let mut far = filled(&json!("9999-12-31T23:59:59.999Z"));
    let attempts: Vec<Value> = [
        ("9999-12-31T23:59:59.999Z", json!(1e300)),
        ("-009999-01-02T01:59:59Z", json!(-1e300)),
        ("2026-01-31T12:00:00.000Z", json!(u64::MAX)),
        ("2026-01-31T12:00:00.000Z", steering.clone()),
    ]
    .map(|(at, ms)| json!({ "started_at": at, "response_time_ms": ms, "attempt": u64::MAX, "outcome": [] }))
    .into();
    far.insert("attempts".to_owned(), json!(attempts));
    far.insert("next_cursor".to_owned(), Value::Null);
    for name in [
        "now",
        "last_day",
        "last_hour",
        "progress",
        "webhooks",
        "deliveries",
    ] {
        far.insert(name.to_owned(), Value::Object(filled(&json!(u64::MAX))));
    }
    let mut bodies = vec![far];
    for value in [
        json!(null),
        json!(-1),
        json!({ "a": {} }),
        json!([1, [], {}]),
        steering,
    ] {
        bodies.push(filled(&value));
    }
    for body in &mut bodies {
        let row = Value::Object(body.clone());
        body.insert("data".to_owned(), json!([row, row]));
        body.insert("next_cursor".to_owned(), Value::Null);
    }
    let mut texts: Vec<String> = bodies
        .into_iter()
        .map(|body| Value::Object(body).to_string())
        .collect();
    texts.push("[".repeat(100_000));
    texts
}

#[test]
fn no_answer_makes_a_command_panic_or_steer_the_terminal() {
    for text in lies() {
        for status in [200, 500] {
            let url = format!("http://{}", liar(status, text.clone()));
            // What failed is told by the same code for all.
            let tried = if status == 200 {
                &COMMANDS[..]
            } else {
                &COMMANDS[..1]
            };
            for arguments in tried
                .iter()
                .filter(|them| them[0] != "tail" || text.starts_with('{'))
            {
                let mut command = bare(arguments);
                command
                    .env("HOOKWHEEL_URL", &url)
                    .env("HOOKWHEEL_API_KEY", "k");
                let done = ran(command, "");
                assert!([0, 1, 64].contains(&done.code), "{arguments:?}: {done:?}");
                for shown in [&done.out, &done.err] {
                    let is_bad = |c: char| c.is_control() && c != '\n';
                    assert!(!shown.contains(is_bad), "{arguments:?}: {done:?}");
                }
            }
        }
    }
}
