//! Trials of what the operator writes: the config, profiles, templates, times and sizes.

use std::collections::BTreeMap;
use std::path::Path;

use super::{text, two};
use crate::config::{Config, Place, parse_size};
use crate::model::{AccountName, Event, EventId, UnixMicros, UnixMillis, parse_duration};
use crate::profile::{Profiles, RawProfile, line_column};
use crate::render::{self, Formats, RawFormat, ecma};

/// A config that was taken is the one that runs; of one that was not, each fault has its place in the text or names
/// its variable, says what is wrong and what to write. The bytes: the text, and behind a zero byte variables.
pub(super) fn config(bytes: &[u8]) {
    let Some(given) = text(bytes) else {
        return;
    };
    let (given, variables) = given.split_once('\0').unwrap_or((given, ""));
    let variables: Vec<(String, String)> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let names: Vec<String> = variables.iter().map(|(name, _)| name.clone()).collect();
    // Files are not under trial: a path leads nowhere from here.
    let base = Path::new("/nonexistent");
    let errors = match Config::parse(given, "c.toml", base, variables) {
        Ok(config) => return assert!(!config.needs_restart(&config)),
        Err(errors) => errors,
    };
    assert!(!errors.faults().is_empty());
    for fault in errors.faults() {
        assert!(
            !fault.problem.is_empty() && !fault.fix.is_empty(),
            "{fault}"
        );
        match &fault.place {
            Place::File { line, column, .. } => {
                let lines = given.matches('\n').count() + 1;
                assert!((1..=lines).contains(line), "{fault}");
                let written = given.split('\n').nth(line - 1).unwrap_or_default();
                assert!(
                    (1..=written.chars().count() + 1).contains(column),
                    "{fault}"
                );
            }
            Place::Environment(name) => assert!(names.contains(name), "{fault}"),
        }
    }
    assert!(!errors.to_string().is_empty());
}

/// A profile that was taken renders its example as JSON in the stable form; each fault of one that was not has a
/// place in the text.
pub(super) fn profile(bytes: &[u8]) {
    let Some(given) = text(bytes) else {
        return;
    };
    let Ok(raw) = toml::from_str::<RawProfile>(given) else {
        return;
    };
    let user = BTreeMap::from([("tried".to_owned(), raw)]);
    let built = Profiles::build(user).and_then(|profiles| {
        let envelopes = render::compile_all(&profiles)?;
        Ok((profiles, envelopes))
    });
    let (profiles, envelopes) = match built {
        Ok(built) => built,
        Err(faults) => {
            assert!(!faults.is_empty());
            for fault in faults {
                assert!(!fault.message.is_empty());
                let span = fault.span.unwrap_or_default();
                assert!(
                    span.start <= span.end && span.end <= given.len(),
                    "{span:?}"
                );
                let (line, column) = line_column(given, span.start);
                assert!(line > 0 && column > 0);
            }
            return;
        }
    };
    let profile = profiles.get("tried").expect("it was taken");
    let id = EventId::new("evt_1").expect("this is an id");
    let event = render::example(profile, &account(), id, UnixMicros(0));
    let event = event.expect("the example was looked at");
    let body = envelopes
        .get("tried")
        .map(|envelope| envelope.render(&event));
    let body = body.expect("it was compiled").expect("it was tried out");
    assert_stable(&body);
}

/// A template that was taken makes of any event JSON in the stable form, or stops at its bounds. The bytes: the
/// template, and behind a zero byte the event's data.
pub(super) fn template(bytes: &[u8]) {
    let Some((template, data)) = two(bytes) else {
        return;
    };
    let Ok(data) = ecma::normalise(data) else {
        return;
    };
    let table = format!("body = {}", toml::Value::from(template));
    let raw: RawFormat = toml::from_str(&table).expect("it is a table of that form");
    let formats = match Formats::build(&BTreeMap::from([("tried".to_owned(), raw)])) {
        Ok(formats) => formats,
        Err(faults) => return assert!(faults.iter().all(|fault| !fault.message.is_empty())),
    };
    let event = Event {
        account: account(),
        id: EventId::new("evt_1").expect("this is an id"),
        event_type: "a.b".to_owned(),
        created_at: UnixMicros(0),
        received_at: UnixMillis(0),
        data: data.text,
        metadata: None,
        scope: None,
        warning: None,
        trace: None,
    };
    let format = formats.get("tried").expect("it was taken");
    match format.render(&event) {
        Ok(body) => assert_stable(&body),
        Err(stopped) => assert!(!stopped.to_string().is_empty()),
    }
}

/// A time that was read is shown as one that reads the same; durations and sizes are in their bounds.
pub(super) fn times(bytes: &[u8]) {
    let Some(given) = text(bytes) else {
        return;
    };
    if let Ok(at) = UnixMicros::parse(given) {
        let shown = at.rfc3339(6);
        assert_eq!(UnixMicros::parse(&shown), Ok(at), "{given}");
        assert_eq!(shown.len(), "2026-01-01T00:00:00.000000Z".len(), "{given}");
    }
    match parse_duration(given) {
        Ok(duration) => assert!(duration.as_secs() <= 10 * 366 * 24 * 3600),
        Err(refused) => assert!(!refused.to_string().is_empty()),
    }
    if let Err(refused) = parse_size(given) {
        assert!(refused.contains("; "), "{refused} names no fix");
    }
}

fn account() -> AccountName {
    AccountName::new("tried").expect("this is a name")
}

fn assert_stable(body: &str) {
    // A body may be a few levels deeper than what is taken from outside.
    if let Ok(again) = ecma::normalise(body) {
        assert_eq!(again.text, body);
    }
    assert!(
        serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok(),
        "{body}"
    );
}
