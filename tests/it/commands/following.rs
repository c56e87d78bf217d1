//! `tail`, `status` and `webhook verifier` with a real daemon: over a restart, with a webhook that a rule has disabled,
//! and for each language.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};

use super::desk::Desk;
use crate::support::{Daemon, hookwheel, until};

/// No line of a test comes later.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command that goes on; killed when dropped.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Following {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

fn pour(from: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            if line.is_ok_and(|line| lines.send(line).is_ok()) {
                continue;
            }
            return;
        }
    });
}

impl Following {
    fn start(desk: &Desk, arguments: &[&str]) -> Self {
        let mut child = desk
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        pour(child.stdout.take().unwrap(), sender.clone());
        pour(child.stderr.take().unwrap(), sender);
        Self { child, lines }
    }

    /// The next line that has this in it; those before it are passed over.
    fn line(&self, piece: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|why| panic!("{piece:?} is not told: {why}"));
            if line.contains(piece) {
                return line;
            }
        }
    }

    fn json(&self, event: &str) -> Value {
        let line = self.line(&format!("\"event\":\"{event}\""));
        serde_json::from_str(&line).unwrap()
    }

    async fn ended(&mut self) -> Option<i32> {
        let status = until("the command ends", async || self.child.try_wait().unwrap()).await;
        status.code()
    }
}

/// The same daemon again, at the same address. Somebody's connection may have the port for a moment.
async fn again(desk: &Desk, address: std::net::SocketAddr) -> Daemon {
    until("the daemon is back", async || {
        let mut command = hookwheel();
        command
            .args(["serve", "--config"])
            .arg(desk.site.path("config.toml"))
            .env("HOOKWHEEL_SERVER__LISTEN", address.to_string());
        Daemon::try_spawn(command).ok()
    })
    .await
}

fn send(desk: &Desk, event_type: &str, id: &str) {
    let arguments = ["event", "send", event_type, "-d", "{}", "--id", id];
    desk.run(&arguments).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_followed_over_a_restart_of_the_daemon() {
    let mut desk = Desk::new(|number| if number == 1 { 503 } else { 200 }).await;
    let id = desk.add("shop", &["--retry", "1s,1s"])["id"].clone();
    desk.add("other", &["--event", "other"]);
    let address = desk.daemon.address;
    let mut programs = Following::start(
        &desk,
        &["tail", "--json", "--webhook", "shop", "--limit", "3"],
    );
    assert!(programs.json("hello")["not_seen_since"].is_null());
    let mut people = Following::start(
        &desk,
        &[
            "tail",
            "--type",
            "order.*",
            "--state",
            "delivered",
            "--limit",
            "2",
        ],
    );
    people.line("following http://");

    send(&desk, "order.created", "one");
    let (refused, taken) = (programs.json("attempt"), programs.json("attempt"));
    assert_eq!(
        (&refused["webhook_id"], &refused["event_id"]),
        (&id, &json!("one"))
    );
    assert_eq!(
        (&refused["status"], &refused["state"]),
        (&json!(503), &json!("waiting"))
    );
    assert!(refused["next_attempt_at"].is_string(), "{refused}");
    assert_eq!(
        (&taken["attempt"], &taken["state"]),
        (&json!(2), &json!("delivered"))
    );
    let line = people.line("one");
    assert!(
        line.contains("✓ delivered")
            && line.contains("order.created → shop")
            && line.contains("attempt 2"),
        "{line}"
    );

    desk.daemon.signal(rustix::process::Signal::TERM);
    assert!(desk.daemon.ended().success());
    desk.daemon = again(&desk, address).await;
    let hello = programs.json("hello");
    assert_eq!(hello["not_seen_since"], taken["at"], "{hello}");
    let line = people.line("following again");
    assert!(line.contains("was not seen here"), "{line}");
    send(&desk, "order.paid", "two");
    assert_eq!(programs.json("attempt")["event_id"], "two");
    assert!(people.line("two").contains("order.paid → shop"));
    assert_eq!(
        (programs.ended().await, people.ended().await),
        (Some(0), Some(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_a_rule_has_disabled_is_told_of() {
    let desk = Desk::new(|_| 410).await;
    let id = desk.add("gone", &[])["id"].clone();
    let mut tail = Following::start(&desk, &["tail", "--limit", "1"]);
    tail.line("following http://");
    let sent = desk.run(&["event", "send", "t", "-d", "{}", "--wait"]);
    assert_eq!(sent.code, 1, "{sent:?}");
    assert!(tail.line(" t → gone").contains("410"));
    assert_eq!(tail.ended().await, Some(0));
    let status = until("it is disabled", async || {
        let status = desk.run(&["status", "--json"]).good().json();
        (status["stats"]["webhooks"]["disabled"] == 1).then_some(status)
    })
    .await;
    assert_eq!(status["trouble"][0]["id"], id, "{status}");
    let status = desk.run(&["status"]).good().out;
    for part in ["1 disabled", "1 in trouble", "gone", "410", "disabled: "] {
        assert!(status.contains(part), "{part} is not in {status}");
    }
    assert!(
        desk.run(&["webhook", "list"])
            .good()
            .out
            .contains("disabled")
    );
    desk.run(&["webhook", "remove", "gone", "--yes"]).good();
    let status = desk.run(&["status"]).good().out;
    assert!(status.contains("no webhook is in trouble"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receivers_code_comes_in_each_language_and_without_the_secret() {
    let desk = Desk::new(|_| 200).await;
    let added = desk.add("shop", &[]);
    let secret = added["secret"].as_str().unwrap();
    for (language, piece) in [
        ("node", "node:crypto"),
        ("python", "import hmac"),
        ("go", "crypto/hmac"),
        ("rust", "fn "),
        ("php", "<?php"),
        ("ruby", "require"),
    ] {
        let arguments = ["webhook", "verifier", "shop", "--language", language];
        let code = desk.run(&arguments).good();
        assert!(code.out.contains(piece), "{language}: {code:?}");
        assert!(!code.out.contains(secret), "{language}");
        let told = desk.run(&[&arguments[..], &["--json"]].concat()).good();
        let told = told.json();
        assert_eq!(told["code"], code.out, "{language}");
        for note in told["notes"].as_array().unwrap() {
            assert!(code.err.contains(note.as_str().unwrap()), "{code:?}");
        }
    }
    desk.run(&["webhook", "verifier", "shop", "-l", "cobol"])
        .said(1, "python");
}
