//! The rude receivers of a siege, and what must come of their deliveries.

use std::time::Duration;

use crate::client::Client;
use hookwheel::receiver::{Answer, Options, Receiver};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::log_of;
use crate::rude::receivers::answers;
use crate::support::{Site, registered, until};
use crate::web::ANY;

/// How long a rude receiver may keep an attempt.
const TIMEOUT: &str = "2s";
/// How long an attempt took at most. Elsewhere it is held to its deadline to the tenth; here it shares two cores, or
/// fewer, with thousands of clients that come again and again.
const TOOK_MAX: Duration = Duration::from_secs(10);

/// Receivers, each with a webhook of its own.
pub struct Rude {
    webhooks: Vec<(&'static str, String, &'static str)>,
    _receivers: Vec<Receiver>,
    _silent: Vec<TcpListener>,
}

impl Rude {
    /// Starts so many and registers them.
    pub async fn register(site: &Site, client: &mut Client, count: u64) -> Self {
        let identity = site.authority.issue(&["127.0.0.1"]).unwrap();
        let other = site.authority.issue(&["other.example"]).unwrap();
        let kinds = answers();
        let (mut webhooks, mut receivers, mut silent) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..usize::try_from(count).unwrap() {
            let listener = TcpListener::bind(ANY).await.unwrap();
            let mut url = format!("https://{}/", listener.local_addr().unwrap());
            let kind = number % (kinds.len() + 2);
            let (name, outcome) = match kinds.get(kind) {
                Some((name, answer, outcome)) => {
                    let answer = answer.clone();
                    let handler = move |_| std::future::ready(answer.clone());
                    let options = Options::default();
                    let receiver = Receiver::start(listener, &identity, options, handler).unwrap();
                    receivers.push(receiver);
                    (*name, *outcome)
                }
                None if kind == kinds.len() => {
                    let handler = |_| std::future::ready(Answer::status(200));
                    let receiver = Receiver::start(listener, &other, Options::default(), handler);
                    receivers.push(receiver.unwrap());
                    ("wrong host", "tls")
                }
                None => {
                    silent.push(listener);
                    ("TLS never starts", "timeout")
                }
            };
            url.push_str(&number.to_string());
            let body = json!({
                "url": url, "events": ["rude"], "timeout": TIMEOUT, "retry": { "delays": ["100ms"] }
            });
            webhooks.push((name, registered(client, body).await, outcome));
        }
        Self {
            webhooks,
            _receivers: receivers,
            _silent: silent,
        }
    }

    /// Each delivery of the event has ended with the outcome of its receiver's kind. A machine at its limits may have
    /// run out of an attempt's time first.
    pub async fn check(&self, client: &mut Client, event: &str) {
        for (name, webhook, outcome) in &self.webhooks {
            let row = until(&format!("{name}: {event} has ended"), async || {
                let rows = log_of(client, webhook).await;
                let row = rows.into_iter().find(|row| row["event_id"] == event)?;
                matches!(row["state"].as_str(), Some("failed" | "delivered")).then_some(row)
            })
            .await;
            let ended = ended(&row["last_attempt"]);
            assert!(
                ended == *outcome || ended == "timeout",
                "{name}: {ended} instead of {outcome}"
            );
            let took = row["last_attempt"]["response_time_ms"].as_f64().unwrap();
            let latest = TOOK_MAX.as_secs_f64() * 1000.0;
            assert!(took <= latest, "{name} took {took} ms");
        }
    }
}

fn ended(attempt: &Value) -> String {
    let kind = attempt["outcome"]["kind"].as_str().unwrap();
    match kind {
        "status" => attempt["status"].to_string(),
        kind => kind.to_owned(),
    }
}
