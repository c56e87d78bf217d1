//! A webhook for as long as a listener runs: registered with the daemon's API when it starts, removed when it ends.
//!
//! The secret is taken from the answer and kept in memory only. What an earlier listener left behind at the same
//! place, because it was killed, is removed first: it would be sent what nobody can verify.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::Usage;
use crate::cli::client::{Answer, Client};
use crate::cli::client_of;
use crate::cli::inspect::ListenOptions;
use crate::model::Secret;

/// What the webhook is called in lists.
const NAME: &str = "hookwheel listen";
/// A daemon on this machine answers at once, or is in trouble.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// What was answered here is recorded within this; then the webhook may go.
const RECORDED_TIME_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Pages of 100 that are looked at for what an earlier listener left; an account has 9,000 webhooks at most.
const PAGES_MAX: usize = 90;

/// A webhook that leads here.
#[derive(Debug)]
pub(super) struct Registration {
    client: Client,
    /// The API's URL.
    pub(super) api: String,
    /// The webhook's id.
    pub(super) id: String,
    /// The account's profile, by name.
    pub(super) profile: String,
    /// The webhook's secret, where the profile signs.
    pub(super) secret: Option<Secret>,
}

/// The daemon's config, where it is known.
pub(super) fn config(options: &ListenOptions) -> Option<PathBuf> {
    let named = || std::env::var_os("HOOKWHEEL_CONFIG").map(PathBuf::from);
    options.config.clone().or_else(named)
}

impl Registration {
    /// Registers `address`; `ca` is the file with the CA that a daemon has to trust.
    ///
    /// # Errors
    /// Where the daemon cannot be asked, or refuses; the inner error is for arguments that cannot be used.
    pub(super) async fn make(
        options: &ListenOptions,
        address: SocketAddr,
        ca: &Path,
    ) -> anyhow::Result<Result<Self, Usage>> {
        let mut client = match client_of(&options.api, options.config.as_deref()) {
            Ok(client) => client,
            Err(why) => return Ok(Err(Usage(why))),
        };
        let api = client.shown();
        let url = format!("https://{address}/");
        remove_left(&mut client, &api, &url).await?;
        let mut body = json!({
            "url": url, "name": NAME, "description": "removed when `hookwheel listen` ends",
        });
        if let (false, Some(body)) = (options.events.is_empty(), body.as_object_mut()) {
            body.insert("events".to_owned(), json!(options.events));
        }
        let path = "/api/v1/webhooks";
        let answer = ask(&mut client, &api, Method::POST, path, Some(&body)).await?;
        if answer.status != 201 {
            bail!("{}", refused(&answer, &api, ca));
        }
        let text = |pointer: &str| {
            let found = answer.body.pointer(pointer).and_then(Value::as_str);
            found.map(str::to_owned)
        };
        let (id, profile) = text("/id")
            .zip(text("/contract/profile"))
            .with_context(|| format!("{api} answers as no daemon of this version does"))?;
        Ok(Ok(Self {
            client,
            api,
            id,
            profile,
            secret: text("/secret").map(Secret::new),
        }))
    }

    /// What is registered, for people.
    pub(super) fn line(&self, events: &[String]) -> String {
        let events = match events {
            [] => "all events".to_owned(),
            events => events.join(", "),
        };
        format!("registered as {} at {}, for {events}", self.id, self.api)
    }

    /// Waits until what was answered here is recorded, and removes the webhook.
    ///
    /// # Errors
    /// Says why it is still there, and what to do.
    pub(super) async fn remove(mut self) -> anyhow::Result<()> {
        let (client, api) = (&mut self.client, self.api.as_str());
        let path = format!("/api/v1/webhooks/{}", self.id);
        let stats = format!("{path}/stats");
        let started = Instant::now();
        while started.elapsed() < RECORDED_TIME_MAX {
            let answer = ask(client, api, Method::GET, &stats, None).await;
            // Who cannot be asked, or does not say, is not waited for.
            let in_flight = answer.ok().and_then(|answer| in_flight(&answer.body));
            if in_flight.is_none_or(|count| count == 0) {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        let why = match ask(client, api, Method::DELETE, &path, None).await {
            Ok(answer) if answer.status.is_success() || answer.status == 404 => return Ok(()),
            Ok(answer) => told(&answer),
            Err(error) => format!("{error:#}"),
        };
        bail!(
            "the webhook {} is still registered: {why}; the next `hookwheel listen --register` at this port removes it",
            self.id
        );
    }
}

/// Removes the webhooks that earlier listeners at this place left behind. The port is ours now, so none of theirs
/// is in use.
async fn remove_left(client: &mut Client, api: &str, url: &str) -> anyhow::Result<()> {
    let mut page = "/api/v1/webhooks?limit=100".to_owned();
    for _ in 0..PAGES_MAX {
        let answer = ask(client, api, Method::GET, &page, None).await?;
        if answer.status != 200 {
            bail!("{api} refuses: {}", told(&answer));
        }
        let rows = answer.body.get("data").and_then(Value::as_array);
        for row in rows.into_iter().flatten() {
            let text = |name: &str| row.get(name).and_then(Value::as_str);
            if text("name") != Some(NAME) || text("url") != Some(url) {
                continue;
            }
            let Some(id) = text("id") else {
                continue;
            };
            let path = format!("/api/v1/webhooks/{id}");
            ask(client, api, Method::DELETE, &path, None).await?;
        }
        let Some(cursor) = answer.body.get("next_cursor").and_then(Value::as_str) else {
            return Ok(());
        };
        page = format!("/api/v1/webhooks?limit=100&cursor={cursor}");
    }
    Ok(())
}

async fn ask(
    client: &mut Client,
    api: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Answer> {
    let call = timeout(ANSWER_TIME_MAX, client.call(method, path, body));
    let answer = call
        .await
        .unwrap_or_else(|_| Err(anyhow::anyhow!("it does not answer")));
    answer.with_context(|| {
        format!("the daemon at {api} cannot be asked; start it (hookwheel serve), or name another with --url")
    })
}

/// Why a registration was refused, and what to do.
fn refused(answer: &Answer, api: &str, ca: &Path) -> String {
    let why = format!("{api} refuses to register this listener: {}", told(answer));
    let faults = answer.body.get("errors").and_then(Value::as_array);
    let is_of_url = |fault: &Value| fault.get("pointer").and_then(Value::as_str) == Some("/url");
    let of_url = faults.is_some_and(|faults| faults.iter().any(is_of_url));
    if !of_url {
        return why;
    }
    let ca = Value::from(ca.display().to_string());
    format!(
        "{why}\nThe daemon's config needs these lines (`hookwheel init --local` writes them), and the daemon a restart:\n\n  \
         [egress]\n  allow = [\"127.0.0.1/32\"]\n  extra_ca = [{ca}]\n"
    )
}

/// What a problem document says.
fn told(answer: &Answer) -> String {
    match answer.body.get("detail").and_then(Value::as_str) {
        Some(detail) => detail.to_owned(),
        None => format!("status {}", answer.status.as_u16()),
    }
}

fn in_flight(stats: &Value) -> Option<u64> {
    stats.pointer("/now/in_flight")?.as_u64()
}
