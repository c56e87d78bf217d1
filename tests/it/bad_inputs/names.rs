//! Names that lead to addresses which are refused: no packet is sent to any of them, whatever a DNS server says, and
//! when.
//!
//! The daemon runs under a mount of its own over `/etc/resolv.conf`, so that it asks a DNS server of the test. That needs
//! the right to mount and to listen on port 53; where a machine gives neither, the tests say so.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::Forbidden;
use crate::support::{Daemon, Site, delivery_in, let_be, post, registered};
use crate::web::{ANY, Web};

/// Where the DNS server of these tests listens: an address that nothing else uses.
const SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 53, 153);

/// A DNS server that answers the n-th question for the addresses of a name as a table says.
struct Dns {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

type Answers = fn(name: &str, nth: usize) -> Vec<Ipv4Addr>;

impl Dns {
    /// `None` where the port cannot be had.
    fn start(answers: Answers) -> Option<Self> {
        let socket = UdpSocket::bind((SERVER, 53)).ok()?;
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let (stop, asked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (ends, counts) = (Arc::clone(&stop), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            let mut nth = std::collections::HashMap::new();
            let mut question = [0; 1500];
            while !ends.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut question) else {
                    continue;
                };
                let (name, kind, end) = asked_for(&question[..length]);
                let mut addresses = Vec::new();
                // Type A; there are no other records.
                if kind == 1 {
                    let nth: &mut usize = nth.entry(name.clone()).or_default();
                    *nth += 1;
                    addresses = answers(&name, *nth);
                    counts.fetch_add(1, Ordering::Relaxed);
                }
                let answer = answer(&question[..end], &addresses);
                socket.send_to(&answer, from).unwrap();
            }
        });
        Some(Self {
            stop,
            asked,
            thread: Some(thread),
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}

/// The name and type that a message asks for, and where its question ends.
fn asked_for(message: &[u8]) -> (String, u16, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while message[at] != 0 {
        let length = usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..=at + length]).to_lowercase());
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([message[at + 1], message[at + 2]]);
    (labels.join("."), kind, at + 5)
}

/// The answer to a question, with nothing to be kept of it (a time to live of 0).
fn answer(question: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    let mut answer = question.to_vec();
    // An answer, recursion available, no error; one question, so many records, and no more.
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[4..12].copy_from_slice(&[0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
    for address in addresses {
        // The name of the question, type A, class IN.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}

/// A daemon that asks our DNS server; `None` where this machine gives no right to mount.
fn start(site: &Site, resolver: &str) -> Option<Daemon> {
    let conf = site.path("resolv.conf");
    std::fs::write(
        &conf,
        format!("nameserver {SERVER}\noptions timeout:1 attempts:1\n"),
    )
    .unwrap();
    let text = site.config(true).replace(
        "allow = [\"127.0.0.0/8\"]\n",
        &format!("allow = [\"127.0.0.1\"]\nresolver = \"{resolver}\"\n"),
    );
    let config = site.path("config.toml");
    std::fs::write(&config, text).unwrap();
    let mut trial = Command::new("unshare");
    trial
        .args(["-m", "mount", "--bind"])
        .arg(&conf)
        .arg("/etc/resolv.conf");
    let may = trial.output().is_ok_and(|output| output.status.success());
    if !may {
        return None;
    }
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c"])
        .arg("mount --bind \"$0\" /etc/resolv.conf && exec \"$1\" serve --config \"$2\"")
        .arg(conf)
        .arg(env!("CARGO_BIN_EXE_hookwheel"))
        .arg(config);
    Some(Daemon::spawn(command))
}

const GOOD: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Of this machine, and not allowed by the config.
const BAD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn answers(name: &str, nth: usize) -> Vec<Ipv4Addr> {
    match name {
        "good.example" => vec![GOOD],
        "loop.example" => vec![BAD],
        "metadata.example" => vec![Ipv4Addr::new(169, 254, 169, 254)],
        "private.example" => vec![Ipv4Addr::new(10, 0, 0, 1)],
        "unspecified.example" => vec![Ipv4Addr::UNSPECIFIED],
        "both.example" => vec![GOOD, BAD],
        "bad-first.example" => vec![BAD, GOOD],
        "one-of-many.example" => [vec![GOOD; 12], vec![Ipv4Addr::new(192, 168, 0, 1)]].concat(),
        // Good at first, bad ever after; and the other way round.
        "turns-bad.example" if nth == 1 => vec![GOOD],
        "turns-bad.example" => vec![BAD],
        "turns-good.example" if nth == 1 => vec![BAD],
        "turns-good.example" => vec![GOOD],
        _ => Vec::new(),
    }
}

fn kinds(delivery: &Value) -> Vec<String> {
    let attempts = delivery["attempts"].as_array().unwrap();
    let kind = |attempt: &Value| match attempt["outcome"]["kind"].as_str().unwrap() {
        "status" => attempt["status"].to_string(),
        kind => kind.to_owned(),
    };
    attempts.iter().map(kind).collect()
}

/// A receiver at the good address with a certificate for the names that lead there. It answers 500 and closes, so that all
/// is tried again, and each time over a connection of its own.
async fn receiver(site: &Site) -> Web {
    Web::start_for(
        ANY,
        &site.authority,
        &[
            "good.example",
            "turns-bad.example",
            "turns-good.example",
            "both.example",
            "bad-first.example",
            "one-of-many.example",
        ],
        |_| {
            hookwheel::receiver::Answer::raw(
                "HTTP/1.1 500 Odd\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            )
        },
    )
    .await
}

/// At the port of the receiver, on every other address of this machine, nobody is to be met.
fn forbidden_at(port: u16) -> Forbidden {
    let listener = std::net::TcpListener::bind((BAD, port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    Forbidden(listener)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_or_turns_to_a_refused_address_is_not_connected_to() {
    let site = Site::new(&["standard"]);
    let Some(dns) = Dns::start(answers) else {
        return let_be("names and rebinding", "port 53 cannot be had here");
    };
    let Some(daemon) = start(&site, "built-in") else {
        return let_be(
            "names and rebinding",
            "this machine gives no right to mount (unshare -m)",
        );
    };
    let web = receiver(&site).await;
    let forbidden = forbidden_at(web.address().port());
    let mut client = daemon.client("standard");
    let blocked = vec!["address_blocked"; 3];
    let cases: Vec<(&str, Vec<&str>)> = vec![
        ("good.example", vec!["500"; 3]),
        ("loop.example", blocked.clone()),
        ("metadata.example", blocked.clone()),
        ("private.example", blocked.clone()),
        ("unspecified.example", blocked.clone()),
        ("both.example", blocked.clone()),
        ("bad-first.example", blocked.clone()),
        ("one-of-many.example", blocked),
        ("nothing.example", vec!["dns"; 3]),
        (
            "turns-bad.example",
            vec!["500", "address_blocked", "address_blocked"],
        ),
        ("turns-good.example", vec!["address_blocked", "500", "500"]),
    ];
    let mut webhooks = Vec::new();
    for (name, expected) in cases {
        // Registered without a look at what it leads to: that would be another moment than that of sending.
        let url = format!("https://{name}:{}/{name}", web.address().port());
        let body = json!({ "url": url, "retry": { "delays": ["10ms", "10ms"] }, "timeout": "5s" });
        webhooks.push((name, registered(&mut client, body).await, expected));
    }
    assert_eq!(dns.asked(), 0);
    let event = post(&mut client, "a", json!({})).await;
    for (name, webhook, expected) in webhooks {
        let shown = delivery_in(&mut client, &webhook, &event, "failed").await;
        assert_eq!(kinds(&shown), expected, "{name}: {shown}");
    }
    forbidden.check();
    let paths: Vec<String> = web
        .stop()
        .await
        .into_iter()
        .map(|request| request.path)
        .collect();
    let count = |name: &str| paths.iter().filter(|path| path.ends_with(name)).count();
    let counts = ["/good.example", "/turns-bad.example", "/turns-good.example"].map(count);
    assert_eq!((counts, paths.len()), ([3, 1, 2], 6), "{paths:?}");
    assert!(daemon.terminate().success());
}
