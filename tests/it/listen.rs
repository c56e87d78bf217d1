//! `listen` and `verify` as a person and a script meet them: the real binary as daemon and as receiver.

mod offline;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::support::{Daemon, PATIENCE, Site, delivery_in, hookwheel, post, registered};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// A running `hookwheel listen`; killed when dropped.
struct Listener {
    child: Child,
    lines: Receiver<String>,
}

impl Listener {
    /// Starts one with its CA in `directory`.
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut child = hookwheel()
            .arg("listen")
            .arg("--dir")
            .arg(directory)
            .args(arguments)
            .env_remove("HOOKWHEEL_SECRET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    fn json(&self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// All lines up to the end of its output.
    fn rest(&self) -> String {
        let mut rest = String::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            rest.push_str(&line);
            rest.push('\n');
        }
        rest
    }

    fn interrupt(&self) {
        let id = i32::try_from(self.child.id()).unwrap();
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

/// A daemon whose config has the two lines that the listener printed.
fn daemon_for(site: &Site, listening: &Value) -> Daemon {
    let egress = &listening["egress"];
    let config = site
        .config(true)
        .replace(
            "allow = [\"127.0.0.0/8\"]",
            &format!("allow = {}", egress["allow"]),
        )
        .replace(
            "extra_ca = [\"ca.pem\"]",
            &format!("extra_ca = {}", egress["extra_ca"]),
        );
    assert!(config.contains("allow = [\"127.0.0.1/32\"]"), "{config}");
    Daemon::start(&site.path("config.toml"), &config)
}

/// A webhook for the listener that is tried again at once.
fn webhook(listening: &Value, retries: usize) -> Value {
    let url = format!("{}/hook", listening["url"].as_str().unwrap());
    let delays = vec!["50ms"; retries];
    json!({ "url": url, "secret": SECRET, "retry": { "delays": delays } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_shown_with_its_verdict_and_its_retries() {
    let site = Site::new(&["standard"]);
    std::fs::write(site.path("hook.secret"), format!("{SECRET}\n")).unwrap();
    let secret_file = site.path("hook.secret");
    let arguments = [
        "--port",
        "0",
        "--json",
        "--fail",
        "2",
        "--once",
        "3",
        "--secret-file",
        secret_file.to_str().unwrap(),
    ];
    let mut listener = Listener::start(&site.path("ca"), &arguments);
    let listening = listener.json();
    assert_eq!(listening["kind"], "listening");
    let daemon = daemon_for(&site, &listening);
    let mut client = daemon.client("standard");
    let mut body = webhook(&listening, 3);
    body["headers"] = json!({ "Authorization": "Bearer token-of-the-receiver" });
    let webhook = registered(&mut client, body).await;
    let event = post(&mut client, "user.created", json!({ "n": 1 })).await;
    for (attempt, answered) in [(1, 503), (2, 503), (3, 200)] {
        let seen = listener.json();
        assert_eq!(seen["kind"], "request", "{seen}");
        assert_eq!(
            (&seen["attempt"], &seen["answered"]),
            (&json!(attempt), &json!(answered)),
            "{seen}"
        );
        assert_eq!(seen["verified"], true, "{seen}");
        assert_eq!(seen["event_id"], event.as_str());
        assert_eq!(seen["event_type"], "user.created");
        assert_eq!(
            (&seen["method"], &seen["path"]),
            (&json!("POST"), &json!("/hook"))
        );
        assert_eq!(seen["headers"]["webhook-id"], event.as_str());
        assert!(
            !seen.to_string().contains("token-of-the-receiver"),
            "{seen}"
        );
        let body: Value = serde_json::from_str(seen["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["data"], json!({ "n": 1 }));
    }
    assert_eq!(
        listener.json(),
        json!({ "kind": "end", "requests": 3, "verified": 3 })
    );
    assert_eq!(listener.ended().code(), Some(0));
    let shown = delivery_in(&mut client, &webhook, &event, "delivered").await;
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_verify_is_refused_and_says_why() {
    for (arguments, code) in [
        (&["--secret", OTHER_SECRET][..], json!("mismatch")),
        (
            &["--secret", SECRET, "--profile", "dataflow"][..],
            json!("header_missing"),
        ),
        // Without a secret nothing is refused, and nothing counts as verified.
        (&[][..], Value::Null),
    ] {
        let site = Site::new(&["standard"]);
        let arguments = [
            arguments,
            &["--port", "0", "--json", "--once", "1", "--status", "202"],
        ]
        .concat();
        let mut listener = Listener::start(&site.path("ca"), &arguments);
        let listening = listener.json();
        let daemon = daemon_for(&site, &listening);
        let mut client = daemon.client("standard");
        registered(&mut client, webhook(&listening, 0)).await;
        post(&mut client, "user.created", json!({})).await;
        let seen = listener.json();
        assert_eq!(seen["code"], code, "{seen}");
        let unchecked = code.is_null();
        assert_eq!(
            seen["verified"],
            if unchecked { Value::Null } else { json!(false) }
        );
        assert_eq!(seen["answered"], if unchecked { 202 } else { 401 });
        assert_eq!(seen["why"].is_string(), !unchecked, "{seen}");
        assert_eq!(seen["fix"].is_string(), !unchecked, "{seen}");
        assert_eq!(listener.ended().code(), Some(1), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_ca_is_kept_so_a_daemon_trusts_it_after_a_restart() {
    let site = Site::new(&["standard"]);
    let directory = site.path("state/deep");
    let first = Listener::start(&directory, &["--port", "0", "--json", "--secret", SECRET]);
    let listening = first.json();
    let ca = std::fs::read(listening["ca"].as_str().unwrap()).unwrap();
    let mode = |name: &str| {
        let metadata = directory.join(name).metadata().unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("authority.pem"), mode("ca.pem")), (0o600, 0o644));
    assert!(!String::from_utf8_lossy(&ca).contains("PRIVATE"));
    let daemon = daemon_for(&site, &listening);
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, webhook(&listening, 0)).await;
    drop(first);

    let port = listening["url"]
        .as_str()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap();
    let second = Listener::start(&directory, &["--port", port, "--json", "--secret", SECRET]);
    let again = second.json();
    assert_eq!(again, listening);
    assert_eq!(std::fs::read(again["ca"].as_str().unwrap()).unwrap(), ca);
    let event = post(&mut client, "a", json!({})).await;
    assert_eq!(second.json()["verified"], true);
    delivery_in(&mut client, &webhook, &event, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_does_not_trust_it_is_told_of() {
    let site = Site::new(&["standard"]);
    let listener = Listener::start(&site.path("ca"), &["--port", "0", "--json"]);
    let listening = listener.json();
    // The config trusts another CA.
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, webhook(&listening, 0)).await;
    let event = post(&mut client, "a", json!({})).await;
    let told = listener.json();
    assert_eq!(told["kind"], "no_tls", "{told}");
    assert!(
        told["why"].as_str().unwrap().contains("UnknownCA"),
        "{told}"
    );
    let ca = listening["ca"].as_str().unwrap();
    assert!(told["fix"].as_str().unwrap().contains(ca), "{told}");
    delivery_in(&mut client, &webhook, &event, "failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_reads_where_to_send_and_what_came() {
    let site = Site::new(&["standard"]);
    let extra = [
        "--port",
        "0",
        "--secret",
        SECRET,
        "--fail-every",
        "2",
        "--delay",
        "1ms",
    ];
    let mut listener = Listener::start(&site.path("ca"), &extra);
    let first = listener.line();
    let url = first
        .split_whitespace()
        .nth(2)
        .unwrap()
        .trim_end_matches(',');
    let mut greeting = String::new();
    while !greeting.contains("Ctrl-C ends") {
        greeting.push_str(&listener.line());
        greeting.push('\n');
    }
    let ca = site.path("ca").canonicalize().unwrap().join("ca.pem");
    let lines = format!(
        "  [egress]\n  allow = [\"127.0.0.1/32\"]\n  extra_ca = [\"{}\"]\n",
        ca.display()
    );
    assert!(greeting.contains(&lines), "{greeting}");
    let listening =
        json!({ "url": url, "egress": { "allow": ["127.0.0.1/32"], "extra_ca": [ca] } });
    let daemon = daemon_for(&site, &listening);
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, webhook(&listening, 1)).await;
    for data in ["one", "two \u{9b}31m \u{202e}"] {
        let event = post(&mut client, "user.created", json!(data)).await;
        delivery_in(&mut client, &webhook, &event, "delivered").await;
    }
    listener.interrupt();
    let text = listener.rest();
    assert_eq!(listener.ended().code(), Some(0));
    assert!(text.contains("POST /hook  user.created  evt_"), "{text}");
    assert!(
        text.contains("answered 503 (told to fail every so often)"),
        "{text}"
    );
    assert!(text.contains("  verified, signed at 20"), "{text}");
    assert!(text.contains("  webhook-signature: v1,"), "{text}");
    assert!(text.contains("requests: 3, verified: 3"), "{text}");
    let acting = |c: &char| c.is_control() && *c != '\n' || *c == '\u{202e}';
    assert_eq!(text.chars().find(acting), None, "{text:?}");
}

/// Runs `listen` where it cannot start.
fn refused(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = hookwheel()
        .arg("listen")
        .arg("--dir")
        .arg(directory)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn what_cannot_be_used_is_told_before_it_starts() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (arguments, code, said) in [
        (
            &["--profile", "standrad"][..],
            64,
            "no profile is called `standrad`; did you mean `standard`? there are",
        ),
        (
            &["--secret", "bare"][..],
            64,
            "it does not start with whsec_",
        ),
        (
            &["--secret-file", "no-such-file"][..],
            64,
            "the secret cannot be read from no-such-file",
        ),
        (
            &["--config", "no-such-file.toml"][..],
            64,
            "no-such-file.toml",
        ),
        (&["--status", "100"][..], 64, "200..=599"),
        (&["--delay", "1h"][..], 64, "10m at most"),
        (&["--fail-every", "0"][..], 64, "0"),
        (&["--port", &port][..], 1, "choose another port with --port"),
    ] {
        let (ended, text) = refused(place, arguments);
        assert_eq!(ended, Some(code), "{arguments:?}: {text}");
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
    let authority = place.join("authority.pem");
    let good = std::fs::read_to_string(&authority).unwrap();
    std::fs::write(&authority, "nonsense").unwrap();
    let (ended, text) = refused(place, &["--port", "0"]);
    assert_eq!(ended, Some(1));
    assert!(
        text.contains("remove it") && text.contains("first line"),
        "{text}"
    );
    std::fs::write(&authority, good).unwrap();
    std::fs::set_permissions(&authority, std::fs::Permissions::from_mode(0o640)).unwrap();
    let (ended, text) = refused(place, &["--port", "0"]);
    assert_eq!(ended, Some(1));
    assert!(
        text.contains("others can read it") && text.contains("chmod 600"),
        "{text}"
    );
}
