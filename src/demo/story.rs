//! The demo's story: registers, posts, and prints what happens as the API tells it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::cli::client::Client;
use crate::model::Clock;
use crate::profile::{Profile, Profiles};

use super::account_key;
use super::inbox::Inbox;

/// The story's end, whatever happens: the slowest first retry of those refused comes after five seconds.
const STORY_MAX: Duration = Duration::from_secs(25);
/// How often the log is asked what is new: often while much happens, and then less and less, as a profile may limit how
/// often a key may ask.
const POLL_FIRST: Duration = Duration::from_millis(40);
const POLL_LAST: Duration = Duration::from_millis(600);

/// One profile's part in the story.
struct Part {
    profile: String,
    client: Client,
    webhook: String,
    event: String,
    seen: usize,
    ended: bool,
}

#[derive(Serialize)]
struct Registration {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<[String; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

#[derive(Deserialize)]
struct Registered {
    id: String,
    secret: String,
}

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'a str,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Posted {
    id: String,
}

/// An event as the API shows it, as far as it tells whether there is news.
#[derive(Deserialize)]
struct Standing {
    deliveries: Vec<Made>,
}

#[derive(Deserialize)]
struct Made {
    attempts: usize,
}

#[derive(Deserialize)]
struct Delivery {
    state: String,
    next_attempt_at: Option<jiff::Timestamp>,
    attempts: Vec<Attempt>,
}

#[derive(Deserialize)]
struct Attempt {
    status: Option<u16>,
    outcome: Outcome,
    response_time_ms: f64,
}

#[derive(Deserialize)]
struct Outcome {
    kind: String,
}

/// Registers, posts, and tells what happens until every delivery has ended. True if all arrived and verified.
#[expect(
    clippy::print_stdout,
    reason = "telling the story is what the command is for"
)]
pub(super) async fn tell(
    api: SocketAddr,
    receiver: SocketAddr,
    key: &str,
    names: &[String],
    profiles: &Profiles,
    inbox: &Inbox,
) -> anyhow::Result<bool> {
    let start = Instant::now();
    let mut parts = Vec::new();
    for name in names {
        let profile = profiles
            .get(name)
            .context("a built-in profile is missing")?;
        let client = Client::new(api, &account_key(key, name));
        let mut part = register(client, receiver, profile, inbox).await?;
        post(&mut part, profile).await?;
        parts.push(part);
    }
    println!(
        "{} webhooks registered, {} events posted, each answered 202 once it was synced to disk\n",
        parts.len(),
        parts.len()
    );
    let mut pause = POLL_FIRST;
    while parts.iter().any(|part| !part.ended) && start.elapsed() < STORY_MAX {
        for part in &mut parts {
            follow(part, inbox, start).await?;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(POLL_LAST);
    }
    let arrived = parts.iter().filter(|part| part.ended).count();
    let (requests, unverified) = inbox.totals();
    println!(
        "\n{arrived} of {} deliveries arrived in {:.1} s; the receiver got {requests} requests and verified {}",
        parts.len(),
        start.elapsed().as_secs_f64(),
        requests - unverified
    );
    Ok(arrived == parts.len() && unverified == 0)
}

async fn register(
    mut client: Client,
    receiver: SocketAddr,
    profile: &Profile,
    inbox: &Inbox,
) -> anyhow::Result<Part> {
    let name = &profile.name;
    let events = profile
        .events_required
        .then(|| [profile.example.event_type.clone()]);
    let secret = if profile.secret.required {
        None
    } else {
        // Signing is by choice here; the demo chooses it.
        Some(profile.secret.generate()?.expose().to_owned())
    };
    let body = Registration {
        url: format!("https://{receiver}/{name}"),
        events,
        secret,
    };
    let body = serde_json::to_string(&body)?;
    let answer = client
        .call_text(Method::POST, "/api/v1/webhooks", body)
        .await?;
    let registered: Registered = answer.read(201, "registering a webhook")?;
    inbox.expect(name, registered.secret);
    Ok(Part {
        profile: name.clone(),
        client,
        webhook: registered.id,
        event: String::new(),
        seen: 0,
        ended: false,
    })
}

async fn post(part: &mut Part, profile: &Profile) -> anyhow::Result<()> {
    let example = &profile.example;
    let body = Event {
        r#type: &example.event_type,
        data: serde_json::from_str(&example.data)?,
        metadata: example
            .metadata
            .as_deref()
            .map(serde_json::from_str)
            .transpose()?,
    };
    let body = serde_json::to_string(&body)?;
    let answer = part
        .client
        .call_text(Method::POST, "/api/v1/events", body)
        .await?;
    let posted: Posted = answer.read(202, "posting an event")?;
    part.event = posted.id;
    Ok(())
}

/// Prints what is new about one delivery.
#[expect(
    clippy::print_stdout,
    reason = "telling the story is what the command is for"
)]
async fn follow(part: &mut Part, inbox: &Inbox, start: Instant) -> anyhow::Result<()> {
    if part.ended {
        return Ok(());
    }
    let path = format!("/api/v1/events/{}", part.event);
    let answer = part.client.call(Method::GET, &path, None).await?;
    let standing: Standing = answer.read(200, "reading an event")?;
    if standing
        .deliveries
        .iter()
        .all(|made| made.attempts == part.seen)
    {
        return Ok(());
    }
    let path = format!(
        "/api/v1/webhooks/{}/deliveries/{}",
        part.webhook, part.event
    );
    let answer = part.client.call(Method::GET, &path, None).await?;
    let delivery: Delivery = answer.read(200, "reading a delivery")?;
    for (at, attempt) in delivery.attempts.iter().enumerate().skip(part.seen) {
        let last = at + 1 == delivery.attempts.len();
        let what_next = if last {
            what_next(&delivery)
        } else {
            String::new()
        };
        let outcome = attempt
            .status
            .map_or_else(|| attempt.outcome.kind.clone(), |code| code.to_string());
        println!(
            "{:6.2} s  {:<13} attempt {}  {:<4} {:>6.1} ms  {:<20} {}",
            start.elapsed().as_secs_f64(),
            part.profile,
            at + 1,
            outcome,
            attempt.response_time_ms,
            inbox.verdict(&part.profile, at),
            what_next
        );
    }
    part.seen = delivery.attempts.len();
    part.ended = delivery.state == "delivered";
    Ok(())
}

fn what_next(delivery: &Delivery) -> String {
    match delivery.next_attempt_at {
        Some(at) => {
            let now = Clock::system().wall_micros().0;
            let left_ms = (at.as_microsecond() - now).max(0) / 1000;
            format!(
                "next retry in {}.{} s",
                left_ms / 1000,
                left_ms % 1000 / 100
            )
        }
        None => delivery.state.clone(),
    }
}
