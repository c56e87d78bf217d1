//! The parts of both commands that can be tried without a network.

use std::os::unix::fs::PermissionsExt as _;

use clap::Parser as _;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::answers::Answers;
use super::capture;
use super::contract::{Contract, Named, event_key};
use super::keep;
use super::show::{harmless, indented};
use crate::cli::inspect::ListenOptions;
use crate::cli::{Cli, Command};
use crate::model::UnixMillis;
use crate::profile::Profiles;
use crate::receiver::Authority;

/// 2026-01-01T00:00:00Z.
const NOW: UnixMillis = UnixMillis(1_767_225_600_000);
const DAY_MS: u64 = 86_400_000;

fn options(arguments: &[&str]) -> ListenOptions {
    let all = ["hookwheel", "listen"].iter().chain(arguments);
    match Cli::try_parse_from(all).unwrap().command {
        Command::Listen(options) => options,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_requests_of_each_event_fail_and_then_every_so_many() {
    let mut answers = Answers::new(&options(&[
        "--fail",
        "1",
        "--fail-every",
        "4",
        "--status",
        "204",
    ]));
    let (a, b) = ([1; 32], [2; 32]);
    let given: Vec<(u32, u16)> = [
        (a, false),
        (b, false),
        (a, false),
        (a, false),
        (b, true),
        (b, false),
    ]
    .map(|(event, refused)| answers.to(event, refused))
    .iter()
    .map(|decision| (decision.of_event, decision.status))
    .collect();
    assert_eq!(
        given,
        [(1, 503), (1, 503), (2, 204), (3, 503), (2, 401), (3, 204)]
    );
}

#[test]
fn the_oldest_event_is_forgotten_first() {
    let mut answers = Answers::new(&options(&[]));
    let event = |number: u64| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        key
    };
    for number in 0..10_001 {
        assert_eq!(answers.to(event(number), false).of_event, 1);
    }
    assert_eq!(answers.to(event(10_000), false).of_event, 2);
    assert_eq!(answers.to(event(0), false).of_event, 1, "it was forgotten");
}

#[test]
fn every_profile_tells_its_event_where_it_has_it() {
    let profiles = Profiles::built_in();
    let mut found = 0;
    for (name, body, id, event_type) in [
        (
            "dataflow",
            json!({ "id": "e", "type": "t" }),
            Some("e"),
            Some("t"),
        ),
        (
            "driftguard",
            json!({ "id": "e", "type": "t" }),
            Some("e"),
            Some("t"),
        ),
        ("flock", json!({ "event": "t" }), None, Some("t")),
        (
            "standard",
            json!({ "type": "t" }),
            Some("of-the-header"),
            Some("t"),
        ),
    ] {
        let contract = Contract::new(profiles.get(name).unwrap().clone(), None).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", HeaderValue::from_static("of-the-header"));
        let named = contract.named(&headers, body.to_string().as_bytes());
        assert_eq!(
            (named.id.as_deref(), named.event_type.as_deref()),
            (id, event_type),
            "{name}"
        );
        found += 1;
    }
    assert_eq!(found, 4);
    let named = |id: Option<&str>| Named {
        id: id.map(str::to_owned),
        ..Named::default()
    };
    let key = |path, id, body: &str| event_key(path, &named(id), body.as_bytes());
    assert_eq!(key("/", Some("e"), "1"), key("/", Some("e"), "2"));
    assert_ne!(key("/", Some("e"), "1"), key("/b", Some("e"), "1"));
    assert_ne!(key("/", None, "1"), key("/", None, "2"));
    assert_ne!(key("/", None, "e"), key("/", Some("e"), "e"));
}

#[test]
fn a_ca_is_reused_and_renewed_before_its_end_with_the_same_key() {
    let directory = tempfile::tempdir().unwrap();
    let open = |days: u64| {
        let kept = keep::open(directory.path(), UnixMillis(NOW.0 + days * DAY_MS)).unwrap();
        (
            std::fs::read_to_string(kept.certificate).unwrap(),
            kept.authority.key_pem(),
        )
    };
    let first = open(0);
    assert_eq!(open(600), first);
    let renewed = open(700);
    assert_ne!(renewed.0, first.0, "a new certificate");
    assert_eq!(renewed.1, first.1, "with the old key");
    assert_eq!(open(1000), renewed);
    // Who has only the first certificate trusts what the renewed one issues.
    let mixed = format!("{}{}", *renewed.1, first.0);
    Authority::from_pem("Hookwheel local CA", &mixed, NOW).unwrap();
    let other = Authority::generate("Hookwheel local CA").unwrap();
    let foreign = format!("{}{}", *other.key_pem(), first.0);
    assert!(Authority::from_pem("Hookwheel local CA", &foreign, NOW).is_err());
    assert!(Authority::from_pem("Another CA", &mixed, NOW).is_err());
    // A copy that was lost or changed is written anew; the key's file is for its owner only.
    std::fs::write(directory.path().join("ca.pem"), "changed").unwrap();
    assert_eq!(open(1000), renewed);
    let key = directory.path().join("authority.pem").metadata().unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn listeners_that_start_at_once_use_one_ca() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let keys: Vec<String> = std::thread::scope(|scope| {
        let open = || {
            keep::open(place, NOW)
                .unwrap()
                .authority
                .key_pem()
                .to_string()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
    assert_eq!(std::fs::read_dir(place).unwrap().count(), 2);
}

#[test]
fn a_kept_request_is_read_to_the_byte() {
    let text = b"POST / HTTP/1.1\r\nA:  b \r\nA: c\r\ncontent-length: 3\r\n\r\n\r\nx\n";
    let captured = capture::request(text).unwrap();
    assert_eq!((&captured.body[..], captured.left_over), (&b"\r\nx"[..], 1));
    let values: Vec<_> = captured.headers.get_all("a").iter().collect();
    assert_eq!(values, ["b", "c"]);
    for bad in [
        &b""[..],
        b"POST / HTTP/1.1\n",
        b"not a request\n\n",
        b"POST / HTTP/1.1\n folded: a\n\n",
        b"POST / HTTP/1.1\n\xff: a\n\n",
        b"POST / HTTP/1.1\ncontent-length: 1\ncontent-length: 1\n\na",
        b"POST / HTTP/1.1\ncontent-length: -1\n\na",
    ] {
        assert!(
            capture::request(bad).is_err(),
            "{:?}",
            String::from_utf8_lossy(bad)
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        if let Ok(captured) = capture::request(&bytes) {
            prop_assert!(bytes.ends_with(&captured.body) || captured.left_over > 0);
        }
    }

    #[test]
    fn indenting_changes_white_space_only(
        text in r#"([\[\]{},:"\\ a1é]|\\"){0,40}"#,
        strings in prop::collection::vec(any::<String>(), 0..4),
    ) {
        let value = json!({ "a": strings, &text: [{}, [], { "b": [1.5, null, true] }] });
        let compact = value.to_string();
        let shown = indented(&compact);
        let again: Value = serde_json::from_str(&shown).unwrap();
        prop_assert_eq!(again.to_string(), compact);
        let without = |text: &str| text.replace(['\n', ' '], "");
        prop_assert_eq!(without(&shown), without(&value.to_string()));
        // Whatever it is given, it ends.
        indented(&text);
    }

    #[test]
    fn nothing_that_is_printed_acts_on_a_terminal(text: String) {
        prop_assert!(harmless(&text).chars().all(|c| !c.is_control() || c == '\t'));
    }
}

#[test]
fn json_is_shown_with_its_values_untouched() {
    let text = r#"{"a":[1e400,12345678901234567890123],"b":{},"c":"{\",}"}"#;
    let shown = "{\n  \"a\": [\n    1e400,\n    12345678901234567890123\n  ],\n  \"b\": {},\n  \"c\": \"{\\\",}\"\n}";
    assert_eq!(indented(text), shown);
    assert_eq!(harmless("a\u{1b}[31m\u{202e}"), "a\\u{1b}[31m\\u{202e}");
}
