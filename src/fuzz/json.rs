//! Trials of JSON from outside: its stable form, pointers, filters and schemas.

use serde_json::Value;

use super::{text, two};
use crate::profile::Schema;
use crate::render::filter::{Filter, RULES_MAX, Subject};
use crate::render::{Pointer, ecma};

/// The stable form is JSON, stays as it is when it is made again, says what the text said, and is what the standard
/// parser reads where it reads the text. Any text in quotes is one JSON string.
pub(super) fn json(bytes: &[u8]) {
    let Some(given) = text(bytes) else {
        return;
    };
    let mut quoted = String::new();
    ecma::quote(given, &mut quoted);
    assert_eq!(
        serde_json::from_str::<String>(&quoted).ok().as_deref(),
        Some(given)
    );
    assert_eq!(stable(&quoted).as_deref(), Some(quoted.as_str()));

    let read = serde_json::from_str::<Value>(given);
    match ecma::normalise(given) {
        Ok(normal) => {
            let again = ecma::normalise(&normal.text).expect("the stable form is JSON");
            assert_eq!(again.text, normal.text);
            assert_eq!(again.warning, normal.warning);
            match (read, serde_json::from_str::<Value>(&normal.text)) {
                (Ok(before), Ok(after)) => assert!(same(&before, &after), "{given} {after}"),
                // Half of a surrogate pair and numbers beyond a double are kept, and serde reads neither.
                (Err(_), Err(_)) => {}
                // Of keys that come twice the first value is dropped, and that may have been such a one.
                (Err(_), Ok(_)) => {}
                (Ok(_), Err(error)) => panic_with("the stable form was broken", &error),
            }
        }
        Err(fault) => {
            assert!(fault.line > 0 && fault.column > 0 && fault.offset <= given.len());
            if let Ok(value) = read {
                assert!(
                    depth(&value) > ecma::DEPTH_MAX,
                    "serde reads {given}: {fault}"
                );
            }
        }
    }
}

/// A pointer finds what the standard parser's finds, and nothing where that finds nothing.
pub(super) fn pointer(bytes: &[u8]) {
    let Some((pointer, data)) = two(bytes) else {
        return;
    };
    let (Ok(parsed), Some(data)) = (Pointer::parse(pointer), stable(data)) else {
        return;
    };
    let Ok(value) = serde_json::from_str::<Value>(&data) else {
        return;
    };
    let found = parsed.find(&data).map(|found| {
        serde_json::from_str::<Value>(found).expect("a part of JSON that was found is JSON")
    });
    assert_eq!(
        found.as_ref(),
        value.pointer(pointer),
        "{pointer} in {data}"
    );
}

/// What a filter says does not depend on how often it is asked, on how the pattern is written, and on what was indexed
/// before; where it says no it says why, and where.
pub(super) fn filter(bytes: &[u8]) {
    let Some((pattern, event)) = two(bytes) else {
        return;
    };
    let filter = match Filter::parse(pattern) {
        Ok(filter) => filter,
        Err(faults) => {
            assert!(!faults.is_empty());
            for fault in faults {
                assert!(fault.pointer.is_empty() || fault.pointer.starts_with('/'));
                assert!(!fault.message.is_empty());
            }
            return;
        }
    };
    assert!(filter.rules() <= RULES_MAX);
    let Some(event) = stable(event) else {
        return;
    };
    let subject = Subject::new(&event);
    let fits = filter.matches(&subject);
    assert_eq!(fits, filter.matches(&subject));
    match filter.why_not(&subject) {
        None => assert!(fits),
        Some(why) => {
            assert!(!fits && why.pointer.starts_with('/'));
            assert!(!why.to_string().is_empty() && !why.place().is_empty());
        }
    }
    let pattern = stable(pattern).expect("a pattern is JSON");
    let rewritten = Filter::parse(&pattern).expect("and so is its stable form");
    assert_eq!(
        fits,
        rewritten.matches(&Subject::new(&event)),
        "{pattern} {event}"
    );
}

/// A schema that was taken judges any data, and names something wrong exactly where data does not fit.
pub(super) fn schema(bytes: &[u8]) {
    let Some((schema, data)) = two(bytes) else {
        return;
    };
    let schema = match Schema::read(schema) {
        Ok(schema) => schema,
        Err(refused) => return assert!(!refused.is_empty()),
    };
    if stable(data).is_none() || schema.fits(data) {
        return;
    }
    let faults = schema.faults(data);
    assert!(!faults.is_empty());
    for fault in faults {
        assert!(fault.pointer.is_empty() || fault.pointer.starts_with('/'));
        assert!(!fault.reason.is_empty());
    }
}

/// The stable form of a text, where it is JSON.
fn stable(text: &str) -> Option<String> {
    ecma::normalise(text).ok().map(|normal| normal.text)
}

/// Whether two values are the same where numbers are doubles. serde's reading of one may be off by its last digit.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64(), other.as_f64());
            one.zip(other)
                .is_some_and(|(one, other)| (one - other).abs() <= one.abs() * 1e-15)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let member = |(key, value)| other.get(key).is_some_and(|other| same(value, other));
            one.len() == other.len() && one.iter().all(member)
        }
        (one, other) => one == other,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn panic_with(what: &str, error: &serde_json::Error) {
    assert!(error.to_string().is_empty(), "{what}: {error}");
}
