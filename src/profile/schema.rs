//! JSON Schemas of event types: what the `data` of a posted event must look like.
//!
//! A schema is the operator's, the data is anybody's. So a schema is held to bounds when it is read (`graph`):
//! it refers to nothing outside of itself, and however it is nested, judging takes a time and a stack that the
//! data's size bounds. Patterns run on an engine that is linear in the text. To say *why* data does not fit can
//! take far longer than to judge it (a recursive `anyOf` has as many reasons as it has ways to fail), so that has
//! a time limit, and what is said is then less, never wrong.
//!
//! Two validators are made of each schema: one that judges, and, when data is first refused, one that explains.

mod graph;

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;
use std::time::Duration;

use jsonschema::paths::Location;
use jsonschema::{Keyword, PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value};
use tokio::time::Instant;

/// A schema longer than this is a mistake; each is kept as text, as a tree and compiled.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Faults that one refusal names: enough to see what is wrong, and a bound on the answer.
const FAULTS_MAX: usize = 5;
/// A fault's text may quote the names of members, which are the client's: no longer than this, characters.
const FAULT_CHARS_MAX: usize = 300;
/// How long it may take to find out all that is wrong; an answer to an honest mistake takes some microseconds.
const EXPLAIN_ALL_MAX: Duration = Duration::from_millis(100);
/// And after that the first thing that is wrong.
const EXPLAIN_FIRST_MAX: Duration = Duration::from_millis(20);
/// A keyword of our own in every part of the explaining schema: it looks at the time.
const CLOCK_KEYWORD: &str = "hookwheel:clock";

/// One thing that is wrong with an event's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFault {
    /// RFC 6901 pointer into `data`; empty where it is `data` itself.
    pub pointer: String,
    /// What is wrong, and so what was wanted.
    pub reason: String,
}

/// A schema, compiled.
pub struct Schema {
    value: Value,
    judge: Validator,
    explain: OnceLock<Option<Validator>>,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", self.value)
    }
}

impl Schema {
    /// Reads a JSON Schema: draft 2020-12, or what its `$schema` says, down to draft 4.
    ///
    /// # Errors
    /// What is wrong with it, and the fix behind a semicolon.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!(
                "it is over {TEXT_BYTES_MAX} bytes; make it smaller"
            ));
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| format!("it is not JSON: {error}; write a JSON Schema"))?;
        if !value.is_object() && !value.is_boolean() {
            return Err(
                "it is neither an object nor true or false; write a JSON Schema".to_owned(),
            );
        }
        graph::check(&value)?;
        let judge = compile(&value).map_err(|error| refusal(&error))?;
        Ok(Self {
            value,
            judge,
            explain: OnceLock::new(),
        })
    }

    /// The schema, for those who ask what is wanted.
    #[must_use]
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// Whether `data`, a JSON text, fits.
    #[must_use]
    pub fn fits(&self, data: &str) -> bool {
        serde_json::from_str(data).is_ok_and(|data: Value| self.judge.is_valid(&data))
    }

    /// What is wrong with data that does not fit; at least one thing.
    #[must_use]
    pub fn faults(&self, data: &str) -> Vec<SchemaFault> {
        let data: Value = match serde_json::from_str(data) {
            Ok(data) => data,
            Err(error) => {
                return vec![SchemaFault {
                    pointer: String::new(),
                    reason: format!("cannot be held against the schema: {error}"),
                }];
            }
        };
        let explain = self.explain.get_or_init(|| {
            let mut value = self.value.clone();
            graph::mark(&mut value, CLOCK_KEYWORD);
            compile(&value).ok()
        });
        let found = explain.as_ref().and_then(|explain| {
            let all = || {
                explain
                    .iter_errors(&data)
                    .take(FAULTS_MAX)
                    .map(|e| fault(&e))
                    .collect()
            };
            let first = || {
                explain
                    .validate(&data)
                    .err()
                    .map(|e| fault(&e))
                    .into_iter()
                    .collect()
            };
            within(EXPLAIN_ALL_MAX, all).or_else(|| within(EXPLAIN_FIRST_MAX, first))
        });
        let found: Vec<SchemaFault> = found.unwrap_or_default();
        if found.is_empty() {
            return vec![SchemaFault {
                pointer: String::new(),
                reason: "does not fit the schema; in too many ways to name one".to_owned(),
            }];
        }
        found
    }
}

fn compile(value: &Value) -> Result<Validator, ValidationError<'static>> {
    jsonschema::options()
        .offline()
        .with_pattern_options(PatternOptions::regex())
        .with_keyword(CLOCK_KEYWORD, clock_keyword)
        .build(value)
}

fn clock_keyword<'a>(
    _: &'a Map<String, Value>,
    _: &'a Value,
    _: Location,
) -> Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'a>> {
    Ok(Box::new(ClockKeyword))
}

fn refusal(error: &ValidationError<'_>) -> String {
    let place = error.instance_path().as_str();
    let place = if place.is_empty() { "its root" } else { place };
    let what = cut(&error.to_string());
    let hint = if what.contains("\"regex\"") {
        "write the pattern without look-around and back references, and smaller"
    } else {
        "write a JSON Schema (https://json-schema.org)"
    };
    format!("it is not a JSON Schema: at {place}: {what}; {hint}")
}

fn fault(error: &ValidationError<'_>) -> SchemaFault {
    SchemaFault {
        pointer: error.instance_path().as_str().to_owned(),
        // What was posted is not repeated: it may be long.
        reason: cut(&error.masked_with("it").to_string()),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(FAULT_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Says, in each part of a schema that is gone through, whether there is time left.
struct ClockKeyword;

impl ClockKeyword {
    /// Nothing in the validator gives up in the middle, so its stack is unwound. That is no panic of ours: no hook
    /// runs, and [`within`] takes it up.
    fn look() {
        if DEADLINE
            .get()
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            resume_unwind(Box::new(OutOfTime));
        }
    }
}

impl<'i> Keyword<'i> for ClockKeyword {
    fn validate(&self, _: &'i Value) -> Result<(), ValidationError<'i>> {
        Self::look();
        Ok(())
    }

    fn is_valid(&self, _: &'i Value) -> bool {
        Self::look();
        true
    }
}

/// What is unwound with when the time is up.
struct OutOfTime;

thread_local! {
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What `work` gives; `None` if it takes longer than `time`.
fn within<T>(time: Duration, work: impl FnOnce() -> T) -> Option<T> {
    DEADLINE.set(Some(Instant::now() + time));
    let done = catch_unwind(AssertUnwindSafe(work));
    DEADLINE.set(None);
    match done {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<OutOfTime>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

#[cfg(test)]
mod tests;
