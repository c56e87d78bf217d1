//! What nobody may send gets a clear answer, and changes nothing.
//!
//! The inputs stand in `tests/data/refused`, a table for each kind. Each answer must have its status, its stable code, a
//! pointer to the field and a word on what to do; lists of webhooks and events are the same before and after; and nobody
//! connects to an address that is refused.

mod access;
mod addresses;
mod calls;
mod configs;
mod names;
mod receivers;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use crate::client::{Answer, Client};
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::{Daemon, Site, get};

/// There are at least so many inputs.
const INPUTS_MIN: usize = 800;

#[test]
fn there_are_many_inputs() {
    let counts = [
        ("URLs", addresses::urls(1).len()),
        ("addresses", addresses::refused().len()),
        ("addresses beside them", addresses::beside().len()),
        ("headers", calls::headers().len()),
        ("calls", calls::calls().len()),
        ("queries", calls::queries().len()),
        ("configs", configs::configs().len()),
        ("keys", access::KEYS.len()),
        ("redirects", receivers::REDIRECTS.len()),
    ];
    let all: usize = counts.iter().map(|(_, count)| count).sum();
    println!("{all} inputs: {counts:?}");
    assert!(all >= INPUTS_MIN, "{counts:?}");
    for (what, count) in counts {
        assert!(count >= 5, "only {count} {what}");
    }
}

/// A table of `tests/data/refused`, with `«a*70»` written out.
fn table<T: DeserializeOwned>(name: &str) -> T {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("tests/data/refused").join(name);
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A text with `«a*70»` written out as seventy times `a`.
fn written_out(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('«') {
        let (short, behind) = after.split_once('»').unwrap();
        let (part, times) = short.rsplit_once('*').unwrap();
        out.push_str(before);
        out.push_str(&part.repeat(times.parse().unwrap()));
        rest = behind;
    }
    out + rest
}

/// The beginning of a text, to show it.
fn shown(text: &str) -> String {
    text.escape_debug().take(160).collect()
}

/// A listener on each address of this machine, to which nobody may connect.
struct Forbidden(TcpListener);

impl Forbidden {
    fn listen() -> Self {
        let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        // The one for IPv6 takes IPv4 as well; there are machines without IPv6.
        let listener = TcpListener::bind(all)
            .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Fails where somebody has connected; who did is in the queue of the listener by then.
    fn check(&self) {
        if let Ok((_, from)) = self.0.accept() {
            panic!("{from} has connected to an address that is refused");
        }
    }
}

/// A site as an operator has it who allows no private addresses.
fn closed(site: &Site) -> Daemon {
    let config = site.config(true).replace("allow = [\"127.0.0.0/8\"]\n", "");
    Daemon::start(&site.path("config.toml"), &config)
}

/// All that a refused input could have changed, as the API shows it.
async fn state(client: &mut Client) -> (Value, Value) {
    let webhooks = get(client, "/api/v1/webhooks?limit=200").await;
    let events = get(client, "/api/v1/events?limit=200").await;
    assert_eq!(
        (webhooks.status.as_u16(), events.status.as_u16()),
        (200, 200)
    );
    (webhooks.body, events.body)
}

/// A webhook that gets nothing, to be changed.
async fn webhook(client: &mut Client, events: &str) -> String {
    let body = json!({
        "url": "https://example.com/", "events": [events], "active": false, "headers": { "X-Kept": "1" }
    });
    crate::support::registered(client, body).await
}

/// What is wrong with an answer to an input that is refused. `pointer` is empty where the answer is about the whole.
fn fault(answer: &Answer, status: u16, code: &str, pointer: &str, says: &str) -> Option<String> {
    let body = &answer.body;
    let got = (answer.status.as_u16(), body["code"].as_str().unwrap_or(""));
    if got != (status, code) {
        return Some(format!("{got:?} instead of {:?}: {body}", (status, code)));
    }
    if body["type"] != format!("urn:hookwheel:problem:{code}").as_str() && body["status"] != status
    {
        return Some(format!("no problem document: {body}"));
    }
    let errors = body["errors"].as_array();
    let named: Vec<&str> = errors
        .into_iter()
        .flatten()
        .filter_map(|error| error["pointer"].as_str())
        .collect();
    if !pointer.is_empty() && !named.contains(&pointer) {
        return Some(format!("names {named:?}, and not {pointer}: {body}"));
    }
    let detail = body["detail"].as_str().unwrap_or("");
    if detail.len() < 20 || !detail.contains(' ') || !detail.contains(says) {
        return Some(format!("does not say what to do ({says:?}): {detail:?}"));
    }
    None
}

/// Sends each input and collects what is wrong with the answers, so that one run tells all.
async fn all_refused(client: &mut Client, inputs: impl Iterator<Item = Input>) {
    let before = state(client).await;
    let mut faults = Vec::new();
    for input in inputs {
        let (method, path, body) = (&input.method, &input.path, &input.body);
        let sent = client.call_text(method.clone(), path, body.clone()).await;
        if input.status == 413 {
            // The connection is closed, as its body was not read; a client learns that when it next uses it.
            if let Ok(next) = client.call(Method::GET, "/healthz", None).await {
                assert_eq!(next.status, 200);
            }
        }
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => {
                faults.push(format!("{}: no answer: {error:#}", shown(&input.body)));
                continue;
            }
        };
        let Input {
            status,
            code,
            pointer,
            says,
            ..
        } = &input;
        if let Some(fault) = fault(&answer, *status, code, pointer, says) {
            let fault: String = fault.chars().take(400).collect();
            faults.push(format!("{} {}: {fault}", input.path, shown(&input.body)));
        }
    }
    assert!(
        faults.is_empty(),
        "{} answers are wrong:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert_eq!(state(client).await, before, "something was changed");
}

/// One input and the answer that it must get.
struct Input {
    method: Method,
    path: String,
    body: String,
    status: u16,
    code: String,
    pointer: String,
    says: String,
}
