//! When a webhook is tried again, and how long an attempt may take: its own numbers instead of the profile's.
//!
//! A schedule is given whole, as `retry` (a list of delays, or the numbers of an exponential one), or in parts,
//! as `max_retries`, `retry_delay` and `retry_backoff`: a part that is not given stays as it is, and null
//! takes the profile's.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::fields::Fields;
use crate::api::openapi::shapes::{self, Named};
use crate::model::{RETRIES_MAX, RetryError, RetryPolicy, Webhook, parse_duration};
use crate::profile::Profile;

/// No attempt may take longer: it holds a connection and a place among those under way.
const TIMEOUT_MAX_MS: u64 = 5 * 60 * 1000;
/// Below this no TLS handshake over a network ends.
const TIMEOUT_MIN_MS: u64 = 100;
/// As [`RetryPolicy::new`] bounds delays: one that is longer is refused, not shortened.
const DELAY_MAX_MS: u64 = 30 * 24 * 3600 * 1000;
/// A length of time for people who are told that theirs is none.
const AMOUNT: &str = "a duration such as \"10s\", or seconds as a number";

/// A length of time as given: with a unit, or as seconds.
#[derive(Deserialize)]
#[serde(untagged)]
enum Amount {
    Text(String),
    Seconds(f64),
}

impl Amount {
    /// The same in milliseconds.
    fn ms(&self) -> Result<u64, String> {
        let duration = match self {
            Self::Text(text) => parse_duration(text).map_err(|error| error.to_string())?,
            Self::Seconds(seconds) => Duration::try_from_secs_f64(*seconds)
                .map_err(|_| format!("{seconds} is not a number of seconds"))?,
        };
        Ok(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The fields that are read here.
pub(super) fn schema() -> Vec<Named> {
    let timeout = "How long an attempt may take, from `100ms` to `5m`; null takes the profile's.";
    let retry = "The schedule of retries; null takes the profile's.";
    let retries = || {
        shapes::whole(
            0,
            RETRIES_MAX as u64,
            "Retries, beside the first attempt; null takes the profile's.",
        )
    };
    let factor = || {
        shapes::also(
            shapes::number(
                1.0,
                "By how much each wait is longer than the one before; null takes the profile's.",
            ),
            "maximum",
            100,
        )
    };
    vec![
        (
            "timeout",
            shapes::or_null(shapes::named_as("Duration", timeout)),
        ),
        (
            "retry",
            shapes::or_null(shapes::named_as("RetrySchedule", retry)),
        ),
        ("max_retries", shapes::or_null(retries())),
        (
            "retry_delay",
            shapes::or_null(shapes::named_as(
                "Duration",
                "The first wait; null takes the profile's.",
            )),
        ),
        ("retry_backoff", shapes::or_null(factor())),
    ]
}

/// A schedule that is given whole.
pub(super) fn whole_schema() -> Value {
    let share = "How much longer a wait may be by chance, to spread retries.";
    let jitter = || {
        let share = shapes::text_like("^([0-9]|[1-9][0-9]|100)%$", share);
        (
            "jitter",
            shapes::by_default(shapes::or_null(share), json!("0%")),
        )
    };
    let delays = "The wait before each retry.";
    let multiplier = shapes::also(
        shapes::number(1.0, "By how much each wait is longer than the one before."),
        "maximum",
        100,
    );
    let listed = vec![
        (
            "delays",
            shapes::list_of(0, RETRIES_MAX, shapes::named("Duration"), delays),
        ),
        jitter(),
    ];
    let numbered = vec![
        (
            "max_retries",
            shapes::whole(0, RETRIES_MAX as u64, "Retries, beside the first attempt."),
        ),
        ("initial", shapes::named_as("Duration", "The first wait.")),
        ("multiplier", multiplier),
        (
            "max_delay",
            shapes::or_null(shapes::named_as("Duration", "No wait is longer than this.")),
        ),
        jitter(),
    ];
    json!({
        "description": "A schedule, given whole: a list of waits, or the numbers of an exponential one. No wait is \
                        longer than 30 days.",
        "anyOf": [
            shapes::given(&["delays"], listed, "A list of waits."),
            shapes::given(&["max_retries", "initial", "multiplier"], numbered, "Waits that grow."),
        ],
    })
}

/// A length of time.
pub(super) fn duration_schema() -> Value {
    json!({
        "description": "A whole number with a unit, or seconds as a number.",
        "anyOf": [
            { "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" },
            { "type": "number", "minimum": 0 },
        ],
        "examples": ["10s"],
    })
}

/// Reads `timeout` into `webhook`.
pub(super) fn read_timeout(fields: &mut Fields<'_>, webhook: &mut Webhook) {
    let Some(amount) = fields.nullable::<Amount>("timeout", AMOUNT) else {
        return;
    };
    let Some(amount) = amount else {
        webhook.timeout_ms = None;
        return;
    };
    let ms = match amount.ms() {
        Ok(ms) => ms,
        Err(detail) => return fields.refuse("timeout", detail),
    };
    match u32::try_from(ms) {
        Ok(short) if (TIMEOUT_MIN_MS..=TIMEOUT_MAX_MS).contains(&ms) => {
            webhook.timeout_ms = Some(short);
        }
        _ => fields.refuse("timeout", "must be from 100ms to 5m"),
    }
}

/// Reads `retry`, or its parts, into `webhook`.
pub(super) fn read_retry(fields: &mut Fields<'_>, webhook: &mut Webhook, profile: &Profile) {
    let parts = ["max_retries", "retry_delay", "retry_backoff"];
    let given: Vec<&str> = parts.into_iter().filter(|name| fields.has(name)).collect();
    let whole = fields.has("retry");
    let expected = "an object such as {\"delays\": [\"5s\", \"5m\"]}, or null";
    match fields.object("retry", expected) {
        None => {}
        Some(None) => webhook.retry = None,
        Some(Some(mut inner)) => {
            if let Some(policy) = whole_schedule(&mut inner) {
                webhook.retry = Some(policy);
            }
            fields.close(
                "retry",
                inner,
                "delays, jitter; or max_retries, initial, multiplier, max_delay, jitter",
            );
        }
    }
    let parts = Parts::take(fields);
    match given.first() {
        Some(first) if whole => {
            fields.refuse(first, "says the same as `retry`: give one of the two");
        }
        Some(_) => parts.apply(fields, webhook, profile),
        None => {}
    }
}

/// A schedule that is given whole; `None` where something was refused.
fn whole_schedule(fields: &mut Fields<'_>) -> Option<RetryPolicy> {
    let jitter = jitter(fields);
    let listed = fields.has("delays");
    let members = ["max_retries", "initial", "multiplier", "max_delay"];
    let numbered = members.into_iter().find(|name| fields.has(name));
    match (listed, numbered) {
        (true, None) => {
            let delays = delays(fields);
            made(
                fields,
                RetryPolicy::new(delays?, jitter?),
                "delays",
                "delays",
            )
        }
        (false, Some(_)) => exponential(fields, jitter),
        (true, Some(name)) => {
            fields.refuse(
                name,
                "stands beside `delays`: give a list or these numbers, not both",
            );
            for name in members.into_iter().chain(["delays"]) {
                fields.raw(name);
            }
            None
        }
        (false, None) => {
            let detail =
                "is missing: give a list of delays, or max_retries, initial and multiplier";
            fields.refuse_as("missing", "delays", detail);
            None
        }
    }
}

fn exponential(fields: &mut Fields<'_>, jitter: Option<u8>) -> Option<RetryPolicy> {
    let retries = fields.required::<usize>("max_retries", "a whole number from 0 to 100");
    let initial = fields.required::<Amount>("initial", AMOUNT);
    let initial = initial.and_then(|amount| delay(fields, "initial", &amount));
    let multiplier = fields.required::<f64>("multiplier", "a number from 1 to 100");
    let cap = match fields.nullable::<Amount>("max_delay", AMOUNT) {
        Some(Some(amount)) => delay(fields, "max_delay", &amount)?,
        Some(None) | None => DELAY_MAX_MS,
    };
    let policy = RetryPolicy::exponential(retries?, initial?, multiplier?, cap, jitter?);
    made(fields, policy, "max_retries", "multiplier")
}

fn delays(fields: &mut Fields<'_>) -> Option<Vec<u64>> {
    let expected = "a list of durations such as [\"5s\", \"5m\"]";
    let given = fields.value::<Vec<Amount>>("delays", expected)?;
    // Before each is looked at: of a list as long as a body, each may be wrong.
    if given.len() > RETRIES_MAX {
        fields.refuse("delays", RetryError::TooMany(given.len()).to_string());
        return None;
    }
    let read = given.iter().enumerate().map(|(at, amount)| {
        let name = format!("delays/{at}");
        delay(fields, &name, amount)
    });
    let read: Vec<Option<u64>> = read.collect();
    read.into_iter().collect()
}

fn delay(fields: &mut Fields<'_>, name: &str, amount: &Amount) -> Option<u64> {
    match amount.ms() {
        Ok(ms) if ms <= DELAY_MAX_MS => return Some(ms),
        Ok(_) => fields.refuse(name, RetryError::TooLong.to_string()),
        Err(detail) => fields.refuse(name, detail),
    }
    None
}

/// The share that is given, 0 where none is; `None` where it is none.
fn jitter(fields: &mut Fields<'_>) -> Option<u8> {
    if !fields.has("jitter") {
        return Some(0);
    }
    let expected = "a percentage such as \"20%\"";
    let text = fields.nullable::<String>("jitter", expected)?;
    let Some(text) = text else { return Some(0) };
    let percent = text
        .strip_suffix('%')
        .and_then(|digits| digits.parse().ok());
    let percent = percent.filter(|percent| *percent <= 100);
    if percent.is_none() {
        fields.refuse("jitter", format!("must be {expected}, up to \"100%\""));
    }
    percent
}

fn made(
    fields: &mut Fields<'_>,
    policy: Result<RetryPolicy, RetryError>,
    count: &str,
    multiplier: &str,
) -> Option<RetryPolicy> {
    let error = match policy {
        Ok(policy) => return Some(policy),
        Err(error) => error,
    };
    let field = match error {
        RetryError::TooMany(_) | RetryError::TooLong => count,
        RetryError::Multiplier => multiplier,
        RetryError::Jitter => "jitter",
    };
    fields.refuse(field, error.to_string());
    None
}

/// The parts of an exponential schedule as given. `Some(None)`: null, the profile's.
struct Parts {
    retries: Option<Option<usize>>,
    delay: Option<Option<Amount>>,
    backoff: Option<Option<f64>>,
    /// Whether a part was refused.
    faulty: bool,
}

impl Parts {
    fn take(fields: &mut Fields<'_>) -> Self {
        let names = ["max_retries", "retry_delay", "retry_backoff"];
        let given = names.map(|name| fields.has(name));
        let retries = fields.nullable("max_retries", "a whole number from 0 to 100, or null");
        let delay = fields.nullable("retry_delay", AMOUNT);
        let backoff = fields.nullable("retry_backoff", "a number from 1 to 100, or null");
        let read = [retries.is_some(), delay.is_some(), backoff.is_some()];
        Self {
            retries,
            delay,
            backoff,
            faulty: given != read,
        }
    }

    /// Puts the given parts into the schedule that holds so far.
    fn apply(self, fields: &mut Fields<'_>, webhook: &mut Webhook, profile: &Profile) {
        let own = webhook.retry.as_ref();
        let base = own.unwrap_or(&profile.retry);
        let jitter = base.jitter_percent();
        let (before, theirs) = (base.backoff(), profile.retry.backoff());
        // One delay tells where a schedule starts, and not how it goes on.
        let alone = base.delays_ms().first().copied();
        let alone = alone.filter(|_| base.delays_ms().len() == 1);
        // What fewer than two delays do not tell is the profile's.
        let short = theirs.filter(|_| base.delays_ms().len() < 2);
        let retries = match self.retries {
            None => base.delays_ms().len(),
            Some(None) => profile.retry.delays_ms().len(),
            Some(Some(count)) => count,
        };
        let nulls = !matches!(self.retries, Some(Some(_)))
            && !matches!(self.delay, Some(Some(_)))
            && !matches!(self.backoff, Some(Some(_)));
        let initial = match &self.delay {
            None => before
                .map(|numbers| numbers.initial_ms)
                .or(alone)
                .or(short.map(|numbers| numbers.initial_ms)),
            Some(None) => theirs.map(|numbers| numbers.initial_ms),
            Some(Some(amount)) => match delay(fields, "retry_delay", amount) {
                Some(ms) => Some(ms),
                None => return,
            },
        };
        let multiplier = match self.backoff {
            None => before.or(short).map(|numbers| numbers.multiplier),
            Some(None) => theirs.map(|numbers| numbers.multiplier),
            Some(Some(number)) => Some(number),
        };
        if self.faulty {
            return;
        }
        let detail = "is missing: the schedule so far has no such number; give it too";
        if initial.is_none() {
            fields.refuse_as("missing", "retry_delay", detail);
        }
        if multiplier.is_none() {
            fields.refuse_as("missing", "retry_backoff", detail);
        }
        let (Some(initial), Some(multiplier)) = (initial, multiplier) else {
            return;
        };
        let own_cap = own.and(before).and_then(|numbers| numbers.max_delay_ms);
        let cap = own_cap.unwrap_or(profile.retry_delay_max_ms).max(initial);
        let policy = RetryPolicy::exponential(retries, initial, multiplier, cap, jitter);
        if let Some(policy) = made(fields, policy, "max_retries", "retry_backoff") {
            // Nothing of its own is left: it follows the profile again.
            webhook.retry = Some(policy).filter(|policy| !(nulls && *policy == profile.retry));
        }
    }
}
