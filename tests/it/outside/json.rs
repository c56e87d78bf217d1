//! Any JSON at all: its value reaches the receiver whole, and survives Node's `JSON.parse` and
//! `JSON.stringify` byte for byte wherever no warning was given.

use std::fmt::Write as _;
use std::sync::Arc;

use hookwheel::model::{AccountName, Event, EventId, UnixMicros};
use hookwheel::profile::{Profile, Profiles};
use hookwheel::render::{self, Envelope, ecma};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::judge::Judge;
use crate::support::rounds;

/// White space between tokens, mostly none.
fn white() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\n\t"), 1 => Just("\r\n  ")]
}

/// One character of a string as it may be written.
fn character() -> impl Strategy<Value = String> {
    let escape = |unit: u16, upper: bool| {
        if upper {
            format!("\\u{unit:04X}")
        } else {
            format!("\\u{unit:04x}")
        }
    };
    prop_oneof![
        4 => "[ -!#-\\[\\]-~]".boxed(),
        2 => "\\PC".prop_map(|c: String| if c == "\"" || c == "\\" { "/".to_owned() } else { c }),
        2 => prop::sample::select(vec!["\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t"])
            .prop_map(str::to_owned),
        2 => (any::<u16>(), any::<bool>()).prop_map(move |(unit, upper)| escape(unit, upper)),
        1 => (0xd800_u16..0xe000, any::<bool>()).prop_map(move |(unit, upper)| escape(unit, upper)),
        1 => (0xd800_u16..0xdc00, 0xdc00_u16..0xe000)
            .prop_map(move |(high, low)| escape(high, true) + &escape(low, false)),
        1 => (0_u16..0x20).prop_map(move |unit| escape(unit, false)),
        1 => any::<char>().prop_filter_map("it must be escaped", |c| {
            (c >= ' ' && c != '"' && c != '\\').then(|| c.to_string())
        }),
    ]
}

fn string() -> impl Strategy<Value = String> {
    prop::collection::vec(character(), 0..12).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

/// Keys: of few letters, so that some come twice; array indices and their like; anything.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-c]{0,2}".prop_map(|text| format!("\"{text}\"")),
        2 => "(0|-)?[0-9]{1,2}".prop_map(|text| format!("\"{text}\"")),
        1 => (4_294_967_290_u64..4_294_967_300).prop_map(|index| format!("\"{index}\"")),
        1 => Just("\"__proto__\"".to_owned()),
        1 => Just("\"\\u0031\"".to_owned()),
        2 => string(),
    ]
}

/// Numbers in every form that JSON's grammar has.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,2})?",
        2 => "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        1 => prop::num::f64::ANY.prop_filter_map("JSON has no such number", |double| {
            double.is_finite().then(|| format!("{double:e}"))
        }),
        1 => prop::num::f64::NORMAL.prop_map(|double| format!("{double}")),
        1 => (-20_i64..20).prop_map(|off| ((1_i64 << 53) + off).to_string()),
        1 => any::<i64>().prop_map(|integer| integer.to_string()),
    ]
}

/// Any JSON text.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        1 => prop::sample::select(vec!["null", "true", "false", "[]", "{}"]).prop_map(str::to_owned),
        3 => number(),
        3 => string(),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let list = |parts: Vec<(&str, String)>, open: char, close: char| {
            let mut text = String::from(open);
            for (at, (white, part)) in parts.iter().enumerate() {
                let comma = if at > 0 { "," } else { "" };
                write!(text, "{white}{comma}{white}{part}").unwrap();
            }
            text.push(close);
            text
        };
        let member = (white(), key(), inner.clone())
            .prop_map(|(white, key, value)| (white, format!("{key}{white}:{white}{value}")));
        prop_oneof![
            prop::collection::vec((white(), inner), 0..6).prop_map(move |p| list(p, '[', ']')),
            prop::collection::vec(member, 0..8).prop_map(move |p| list(p, '{', '}')),
        ]
    })
}

/// A profile's envelope, the data that carries a value in it, and where the value then is.
struct Way {
    envelope: Envelope,
    profile: Arc<Profile>,
    data: fn(&str) -> String,
    path: &'static [&'static str],
}

fn ways() -> Vec<Way> {
    let profiles = Profiles::built_in();
    let mut envelopes = render::compile_all(&profiles).unwrap();
    let mut way = |name, data: fn(&str) -> String, path| Way {
        envelope: envelopes.remove(name).unwrap(),
        profile: Arc::clone(profiles.get(name).unwrap()),
        data,
        path,
    };
    vec![
        way("dataflow", str::to_owned, &["data"]),
        way("flock", str::to_owned, &["artifact"]),
        // This one takes parts out of the data.
        way(
            "anomalyarmor",
            |text| format!(r#"{{"links": [], "\u0061lert": {text}, "x": {text}}}"#),
            &["alert"],
        ),
    ]
}

/// The body for an event with this data, and whether there was a warning; `metadata` is the same object.
fn body_of(way: &Way, text: &str) -> (String, bool) {
    let data = ecma::normalise(&(way.data)(text)).unwrap();
    let metadata = ecma::normalise(&format!(r#"{{"m": {text}}}"#)).unwrap();
    let example = render::example(
        &way.profile,
        &AccountName::new("acme").unwrap(),
        EventId::new("evt_1").unwrap(),
        UnixMicros(1_706_096_400_123_456),
    );
    let event = Event {
        data: data.text,
        metadata: Some(metadata.text),
        warning: data.warning,
        ..example.unwrap()
    };
    let warned = event.warning.is_some() || metadata.warning.is_some();
    (way.envelope.render(&event).unwrap(), warned)
}

#[test]
fn any_json_arrives_whole_and_survives_node() {
    let (mut node, mut python) = (Judge::node(), Judge::python());
    let ways = ways();
    let config = Config {
        cases: u32::try_from(rounds("HOOKWHEEL_JSON_CASES", 2_000)).unwrap(),
        // A failure is shown in full; the cases that it teaches go into `bodies.rs`.
        failure_persistence: None,
        ..Config::default()
    };
    let (node, python) = (
        std::cell::RefCell::new(&mut node),
        std::cell::RefCell::new(&mut python),
    );
    let (unwarned, warned) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let outcome = TestRunner::new(config).run(&json_text(), |text| {
        for way in &ways {
            let (body, has_warning) = body_of(way, &text);
            let count = if has_warning { &warned } else { &unwarned };
            count.set(count.get() + 1);
            if let Some(node) = node.borrow_mut().as_mut().filter(|_| !has_warning) {
                prop_assert_eq!(node.stringify(&body), body.as_str(), "{}", way.profile.name);
            }
            if let Some(python) = python.borrow_mut().as_mut() {
                let same = python.same(&body, way.path, &text);
                prop_assert!(same, "{}: {} from {}", way.profile.name, body, text);
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    // Both kinds came up, so that neither half of the property is empty.
    assert!(
        unwarned.get() > 100 && warned.get() > 100,
        "{unwarned:?} {warned:?}"
    );
}
