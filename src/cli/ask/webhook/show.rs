//! A webhook for people: how it stands, and what its receiver will see.

use serde_json::Value;

use crate::cli::ask::fault::Done;
use crate::cli::ask::session::{Session, part, text, text_if, words};
use crate::cli::ask::text::{Style, Text};
use crate::cli::ask::when;

/// The word for how a webhook stands, and why where it does not send.
pub(in crate::cli::ask) fn standing(webhook: &Value) -> (&'static str, String) {
    let inactive = &webhook["inactive"];
    if webhook["active"] == false {
        let why = match text(inactive, "reason") {
            "" | "request" => "as asked",
            "exhausted" => "a delivery's schedule ended without success",
            "gone" => "its receiver answered 410",
            "failing" => "nothing had arrived for too long",
            "undeclared" => "the config no longer declares it",
            other => other,
        };
        let since =
            text_if(inactive, "since").map(|since| format!(" since {}", when::plain(since)));
        return ("disabled", format!("{why}{}", since.unwrap_or_default()));
    }
    match text_if(webhook, "held") {
        Some(why) => ("held", why.to_owned()),
        None => ("active", String::new()),
    }
}

/// The events that a webhook wants.
pub(super) fn events(webhook: &Value) -> String {
    let events: Vec<&str> = words(webhook, "events").collect();
    if events.is_empty() {
        "all".to_owned()
    } else {
        events.join(", ")
    }
}

/// A webhook with all that is known of it.
pub(super) fn show(session: &Session<'_>, webhook: &Value) -> Done<()> {
    let screen = session.screen;
    screen.fact("id", text(webhook, "id"))?;
    if let Some(name) = text_if(webhook, "name") {
        screen.fact("name", Text::styled(Style::Bold, name))?;
    }
    screen.fact("url", text(webhook, "url"))?;
    let (state, why) = standing(webhook);
    let why = if why.is_empty() {
        why
    } else {
        format!(": {why}")
    };
    screen.fact("state", Text::state(state).put(&why))?;
    if let Some(at) = text_if(&webhook["inactive"], "next_probe_at") {
        screen.fact("next probe", screen.moment(at))?;
    }
    if let Some(since) = text_if(&webhook["failing"], "since") {
        let end = text_if(&webhook["failing"], "disables_at");
        let end = end.map(|at| format!("; disabled at {} if nothing arrives", screen.moment(at)));
        let failing = format!("since {}{}", screen.moment(since), end.unwrap_or_default());
        screen.fact("failing", Text::styled(Style::Bad, &failing))?;
    }
    screen.fact("events", events(webhook))?;
    for name in ["description", "format", "tls"] {
        if let Some(value) = text_if(webhook, name) {
            screen.fact(name, value)?;
        }
    }
    for name in ["filter", "oauth2"] {
        if !webhook[name].is_null() {
            screen.fact(name, webhook[name].to_string())?;
        }
    }
    match &webhook["order"] {
        order if order.is_object() => {
            screen.fact("order", format!("by the key at {}", text(order, "key")))?;
        }
        order if order == "fifo" => screen.fact("order", "fifo: one after the other")?,
        _ => {}
    }
    let headers: Vec<&str> = webhook["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    if !headers.is_empty() {
        screen.fact("own headers", headers.join(", "))?;
    }
    let delays = part(part(webhook, "retry"), "delays")
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let delays: Vec<&str> = delays.collect();
    if !delays.is_empty() {
        screen.fact("retries after", delays.join(", "))?;
    }
    screen.fact("timeout", text(webhook, "timeout"))?;
    contract(session, &webhook["contract"])?;
    secrets(session, webhook)?;
    screen.fact("created", screen.moment(text(webhook, "created_at")))?;
    if webhook["updated_at"] != webhook["created_at"] {
        screen.fact("changed", screen.moment(text(webhook, "updated_at")))?;
    }
    Ok(())
}

/// What its receiver sees.
fn contract(session: &Session<'_>, contract: &Value) -> Done<()> {
    let screen = session.screen;
    if contract.is_null() {
        return Ok(());
    }
    screen.fact("profile", text(contract, "profile"))?;
    let success: Vec<&str> = words(contract, "success").collect();
    screen.fact("success", success.join(", "))?;
    let width = contract["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.len())
        .max();
    for (at, (name, value)) in contract["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let name = Text::from(name.as_str()).fill(width.unwrap_or(0) + 2, false);
        let value = value.as_str().unwrap_or_default();
        screen.fact(
            if at == 0 { "sends" } else { "" },
            name.with(Style::Dim, value),
        )?;
    }
    Ok(())
}

/// How its secrets stand.
pub(super) fn secrets(session: &Session<'_>, webhook: &Value) -> Done<()> {
    let screen = session.screen;
    let rotation = &webhook["secret_rotation"];
    if rotation["staged"] == true {
        screen.fact(
            "rotation",
            "a new secret is staged; --promote makes it sign, --abort drops it",
        )?;
    }
    if let Some(until) = text_if(rotation, "old_until") {
        screen.fact("old secret", format!("kept until {}", screen.moment(until)))?;
    }
    if webhook["signed"] == false {
        screen.fact("signed", Text::styled(Style::Doubt, "no"))?;
    }
    for (name, shown) in [
        ("public_key", "public key"),
        ("staged_public_key", "staged key"),
    ] {
        if let Some(key) = text_if(webhook, name) {
            screen.fact(shown, key)?;
        }
    }
    Ok(())
}

/// A webhook as a sentence names it.
pub(super) fn shown_as(webhook: &Value) -> String {
    match text_if(webhook, "name") {
        Some(name) => format!("{name} ({})", text(webhook, "id")),
        None => text(webhook, "id").to_owned(),
    }
}
