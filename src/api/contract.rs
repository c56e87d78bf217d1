//! The effective contract in words: what a receiver will see of a profile, or of one webhook with its own
//! settings in the profile's place. Made from the data that sending uses, so that it cannot say otherwise.
//!
//! No secret and no header's value that its owner gave is in it.

use serde_json::{Map, Value, json};

use crate::engine::Live;
use crate::model::{GonePolicy, Order, RetryPolicy, SuccessRule};
use crate::profile::{
    Algorithm, ExhaustedAction, Field, Overflow, Piece, Profile, Rotation, SignatureRule, Template,
};
use crate::sender::USER_AGENT_TEXT;

/// The contract of a profile, or of a webhook with it.
pub(super) fn show(profile: &Profile, live: Option<&Live>) -> Value {
    let webhook = live.map(|live| &live.webhook);
    let retry = match webhook {
        Some(webhook) => profile.policy(webhook).retry,
        None => profile.retry.clone(),
    };
    let timeout_ms = webhook.map_or(profile.timeout_ms, |webhook| profile.timeout_ms(webhook));
    let signed = webhook.is_none_or(|webhook| webhook.secret.is_some());
    json!({
        "profile": profile.name,
        "method": "POST",
        "headers": headers(profile, live, signed),
        "body": match webhook.and_then(|webhook| webhook.format.as_deref()) {
            Some(format) => format!("the format `{format}`"),
            None => "the profile's envelope".to_owned(),
        },
        "signatures": if signed { signatures(profile) } else { Vec::new() },
        "secret": secret(profile),
        "attempts": retry.attempts_max(),
        "schedule": schedule(&retry),
        "success": success(&profile.success),
        "timeout": wait_text(u64::from(timeout_ms)),
        "retry_after": match profile.honour_retry_after {
            true => "waited for on 429 and 503",
            false => "ignored",
        },
        "gone": match profile.on_gone {
            GonePolicy::Disable => "410 ends the delivery and disables the webhook",
            GonePolicy::Retry => "410 is a failure like any other",
        },
        "order": order(webhook.map_or(&Order::None, |webhook| &webhook.order)),
        "exhausted": exhausted(profile),
        "rate": rate(profile),
    })
}

/// Names and the form of each value.
fn headers(profile: &Profile, live: Option<&Live>, signed: bool) -> Map<String, Value> {
    let mut headers = Map::new();
    let own_type = live.map(Live::content_type);
    let own_type = own_type.as_ref().and_then(|value| value.to_str().ok());
    let content_type = own_type.unwrap_or("application/json");
    headers.insert("Content-Type".to_owned(), json!(content_type));
    headers.insert("User-Agent".to_owned(), json!(USER_AGENT_TEXT));
    for rule in &profile.headers {
        headers.retain(|name, _| !name.eq_ignore_ascii_case(rule.name.as_str()));
        headers.insert(rule.name.as_str().to_owned(), json!(form(&rule.value)));
    }
    for rule in profile.signatures.iter().filter(|_| signed) {
        let form = form(&rule.value);
        let known = headers
            .keys()
            .find(|name| name.eq_ignore_ascii_case(&rule.header));
        let name = known.unwrap_or(&rule.header).clone();
        let line = match headers.get(&name).and_then(Value::as_str) {
            Some(before) => format!("{before} {form}"),
            None => form,
        };
        headers.insert(name, json!(line));
    }
    for header in live.iter().flat_map(|live| &live.webhook.headers) {
        headers.retain(|name, _| !name.eq_ignore_ascii_case(&header.name));
        headers.insert(header.name.clone(), json!("<as given>"));
    }
    if live.is_some_and(|live| live.webhook.oauth2.is_some()) {
        headers.retain(|name, _| !name.eq_ignore_ascii_case("authorization"));
        headers.insert("Authorization".to_owned(), json!("Bearer <access token>"));
    }
    headers
}

fn signatures(profile: &Profile) -> Vec<Value> {
    let show = |rule: &SignatureRule| {
        json!({
            "header": rule.header,
            "algorithm": rule.algorithm.as_str(),
            "key": rule.key.as_str(),
            "signed": form(&rule.signed),
            "value": form(&rule.value),
            "verified_with": match rule.algorithm {
                Algorithm::HmacSha256 => "the secret",
                Algorithm::Ed25519 => "the public key",
            },
        })
    };
    profile.signatures.iter().map(show).collect()
}

fn secret(profile: &Profile) -> Value {
    let rotation = match profile.secret.rotation {
        Rotation::Staged => "staged: the old secret signs until the new one is promoted",
        Rotation::Overlap => {
            "overlap: both secrets sign until the old one expires, the newest first, one space between"
        }
    };
    json!({ "required": profile.secret.required, "rotation": rotation })
}

/// Each attempt with the wait before it and the waits so far; attempts themselves take time besides.
fn schedule(retry: &RetryPolicy) -> Vec<Value> {
    let (mut least, mut most) = (0_u64, 0_u64);
    let jitter = u64::from(retry.jitter_percent());
    let first = (0, 0);
    let waits = retry.delays_ms().iter().map(|ms| {
        let extra = u128::from(*ms) * u128::from(jitter) / 100;
        (
            *ms,
            ms.saturating_add(u64::try_from(extra).unwrap_or(u64::MAX)),
        )
    });
    let rows = std::iter::once(first).chain(waits).zip(1_u32..);
    rows.map(|((from, to), attempt)| {
        least = least.saturating_add(from);
        most = most.saturating_add(to);
        json!({ "attempt": attempt, "delay": range(from, to), "total_wait": range(least, most) })
    })
    .collect()
}

fn range(from: u64, to: u64) -> String {
    if from == to {
        return wait_text(from);
    }
    format!("{} up to {}", wait_text(from), wait_text(to))
}

/// The codes as a profile writes them.
fn success(rule: &SuccessRule) -> Vec<String> {
    let text = |from: u16, to: u16| match to - from {
        0 => from.to_string(),
        99 if from.is_multiple_of(100) => format!("{}xx", from / 100),
        _ => format!("{from}-{to}"),
    };
    rule.0
        .iter()
        .map(|range| text(range.from, range.to))
        .collect()
}

fn order(order: &Order) -> String {
    let next = "the next is sent when the one before has succeeded or failed for good";
    match order {
        Order::None => {
            "none: several at once, and a retry comes after what was posted since".to_owned()
        }
        Order::Fifo => format!("as accepted, one at a time: {next}"),
        Order::ByKey(key) => format!(
            "as accepted, one at a time, among events with the same value at `{key}` of `data`: {next}"
        ),
    }
}

fn exhausted(profile: &Profile) -> Value {
    let rule = &profile.exhausted;
    let mut text = "the delivery has failed; it can be sent again by hand".to_owned();
    match rule.action {
        ExhaustedAction::Fail => {}
        ExhaustedAction::Disable => {
            text.push_str("; the webhook is disabled, and what waits for it is held");
            if rule.unless_succeeded_since {
                text.push_str(
                    ", unless a delivery to it has succeeded since this one's first attempt",
                );
            }
        }
    }
    if let Some(ms) = rule.disable_after_ms {
        let time = wait_text(ms);
        text.push_str(&format!(
            "; a webhook whose every attempt has failed for {time} is disabled by the next failed attempt, and what \
             waits for it is held"
        ));
    }
    let disables = rule.action == ExhaustedAction::Disable || rule.disable_after_ms.is_some();
    let probe_every = rule.probe_every_ms.filter(|_| disables).map(wait_text);
    if let Some(time) = &probe_every {
        text.push_str(&format!(
            "; while it is disabled so, the oldest of what it holds is sent every {time}, and once one arrives it is \
             active again"
        ));
    }
    json!({
        "action": match rule.action {
            ExhaustedAction::Fail => "fail",
            ExhaustedAction::Disable => "disable",
        },
        "disable_after": rule.disable_after_ms.map(wait_text),
        "probe_every": probe_every,
        "means": text,
    })
}

/// Null where there is no limit.
fn rate(profile: &Profile) -> Value {
    let rate = &profile.rate;
    if rate.per_second.is_none() && rate.per_hour.is_none() {
        return Value::Null;
    }
    let over = match rate.overflow {
        Overflow::Delay => "what is over it waits".to_owned(),
        Overflow::DropOldest => format!(
            "what is over it waits; of more than {} never attempted the oldest are dropped, and recorded as such",
            rate.backlog
        ),
    };
    json!({ "per_second": rate.per_second, "per_hour": rate.per_hour, "over": over })
}

/// A template for people: what stands for each placeholder, in angle brackets.
fn form(template: &Template) -> String {
    template.pieces().iter().map(part).collect()
}

fn part(piece: &Piece) -> &str {
    match piece {
        Piece::Text(text) => text,
        Piece::Field(Field::Id) => "<event id>",
        Piece::Field(Field::Timestamp) => "<unix seconds>",
        Piece::Field(Field::Type) => "<event type>",
        Piece::Field(Field::Attempt) => "<attempt>",
        Piece::Field(Field::Retry) => "<retry, from the second attempt on>",
        Piece::Field(Field::Body) => "<body>",
        Piece::Field(Field::Hex) => "<hex>",
        Piece::Field(Field::Base64) => "<base64>",
    }
}

/// A length of time in whole units, the largest first: `2h 8m`, `1m 30s`, `250ms`, `0s`.
fn wait_text(ms: u64) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
        (1, "ms"),
    ];
    let mut rest = ms;
    let mut parts = Vec::new();
    for (unit_ms, unit) in units {
        if rest >= unit_ms {
            parts.push(format!("{}{unit}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    if parts.is_empty() {
        return "0s".to_owned();
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profiles;

    #[test]
    fn waits_are_whole_units() {
        let texts = [0, 250, 90_000, 7_680_000, 86_400_000, 183_605_000].map(wait_text);
        assert_eq!(texts, ["0s", "250ms", "1m 30s", "2h 8m", "1d", "2d 3h 5s"]);
    }

    #[test]
    fn every_profile_tells_a_value_form_for_each_of_its_headers() {
        let mut count = 0;
        for profile in Profiles::built_in().iter() {
            let shown = show(profile, None);
            let headers = shown["headers"].as_object().unwrap();
            let rules = &profile.signatures;
            assert_eq!(headers.len(), 2 + profile.headers.len() + rules.len());
            let text = shown.to_string();
            assert!(
                !text.contains("{hex}") && !text.contains("{base64}"),
                "{text}"
            );
            assert_eq!(
                shown["schedule"].as_array().unwrap().len(),
                profile.retry.attempts_max()
            );
            count += 1;
        }
        assert_eq!(count, 6);
    }

    #[test]
    fn the_end_is_told_with_disabling_and_probes_as_the_profile_has_them() {
        let profiles = Profiles::built_in();
        let mut profile = Profile::clone(profiles.get("standard").unwrap());
        let told = exhausted(&profile);
        assert_eq!(
            (&told["disable_after"], &told["probe_every"]),
            (&json!("5d"), &Value::Null)
        );
        let means = told["means"].as_str().unwrap();
        assert!(means.contains("for 5d is disabled") && !means.contains("every 5"));
        profile.exhausted.probe_every_ms = Some(900_000);
        let told = exhausted(&profile);
        assert!(told["means"].as_str().unwrap().contains("sent every 15m"));
        // Where nothing disables, nothing is probed.
        profile.exhausted.disable_after_ms = None;
        assert_eq!(exhausted(&profile)["probe_every"], Value::Null);
    }

    #[test]
    fn jitter_is_told_as_the_most_that_it_adds() {
        let retry = RetryPolicy::new(vec![5_000, 300_000], 20).unwrap();
        assert_eq!(
            json!(schedule(&retry)),
            json!([
                { "attempt": 1, "delay": "0s", "total_wait": "0s" },
                { "attempt": 2, "delay": "5s up to 6s", "total_wait": "5s up to 6s" },
                { "attempt": 3, "delay": "5m up to 6m", "total_wait": "5m 5s up to 6m 6s" },
            ])
        );
    }
}
