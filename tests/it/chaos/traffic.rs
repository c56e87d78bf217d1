//! A client that never pauses: posts, batches, the same id again, retries, changes of webhooks, reads. What is
//! not answered is asked for again where an own id allows it, and noted as in doubt where not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::{Answer, Client};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::STABLE;
use super::ledger::{Acked, Hook, Ledger, is_end};
use crate::dice::Dice;
use crate::support::{PATIENCE, key_of};

/// Webhooks of its own that a client has at once.
const OWN_MAX: usize = 3;
/// Ids are remembered for 32 segments; those asked for again are among the newest.
const NEWEST: usize = 200;
/// An own id that has no answer yet is posted again this often at most before it is given up as in doubt.
const PENDING_MAX: usize = 64;
/// A client waits this long for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);
const EVENTS: &str = "/api/v1/events";
const HOOKS: &str = "/api/v1/webhooks";

pub struct Worker {
    number: u64,
    dice: Dice,
    address: SocketAddr,
    client: Client,
    ledger: Arc<Ledger>,
    receiver: String,
    made: u64,
    /// Posts with own ids that got no answer: they are made again until they do.
    pending: Vec<Value>,
    /// Paths of the webhooks of its own.
    own: Vec<String>,
}

impl Worker {
    pub fn new(
        number: u64,
        dice: Dice,
        address: SocketAddr,
        ledger: Arc<Ledger>,
        receiver: String,
    ) -> Self {
        Self {
            number,
            dice,
            address,
            client: Client::new(address, &key_of("standard")),
            ledger,
            receiver,
            made: 0,
            pending: Vec::new(),
            own: Vec::new(),
        }
    }

    /// Works until told to stop, and then until its own ids have their answers.
    pub async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            self.step().await;
            sleep(Duration::from_millis(4 + self.dice.below(24))).await;
        }
        let limit = Instant::now() + PATIENCE;
        while let Some(body) = self.pending.pop() {
            assert!(Instant::now() < limit, "posts are not answered any more");
            self.post_all(vec![body]).await;
        }
    }

    async fn step(&mut self) {
        if let Some(body) = self.pending.pop() {
            return self.post_all(vec![body]).await;
        }
        match self.dice.below(100) {
            0..=37 => {
                let body = self.new_event(true);
                self.post_all(vec![body]).await;
            }
            38..=50 => {
                let body = self.new_event(false);
                self.post_all(vec![body]).await;
            }
            51..=58 => {
                let count = 2 + self.dice.below(9);
                let bodies = (0..count).map(|_| self.new_event(true)).collect();
                self.post_all(bodies).await;
            }
            59..=68 => self.post_again(true).await,
            69..=72 => self.post_again(false).await,
            73..=82 => self.read(None).await,
            83..=90 => self.retry().await,
            91..=96 => self.change_own().await,
            _ => self.rotate().await,
        }
    }

    /// Asks; `None` where there is no answer, or a daemon that stops has no time for it. A client may wait in
    /// vain for a daemon that was killed; one that was not must answer.
    async fn ask(&mut self, method: Method, path: &str, body: Option<&Value>) -> Option<Answer> {
        let asked = Instant::now();
        match timeout(ANSWER_MAX, self.client.call(method, path, body)).await {
            Ok(Ok(answer)) if answer.status == 503 => return None,
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(_)) => sleep(Duration::from_millis(10)).await,
            Err(_) => {
                let mut books = self.ledger.books();
                assert!(
                    books.kills.range(asked..).next().is_some(),
                    "{path} had no answer in {ANSWER_MAX:?}, and nobody was killed"
                );
                books.unanswered += 1;
            }
        }
        self.client = Client::new(self.address, &key_of("standard"));
        None
    }

    fn new_event(&mut self, own_id: bool) -> Value {
        self.made += 1;
        let filling = "x".repeat(usize::try_from(self.dice.below(6_000)).unwrap());
        let event_type = if self.dice.below(8) == 0 {
            "passing"
        } else {
            "main"
        };
        let mut body = json!({ "type": event_type, "data": { "by": self.number, "n": self.made, "filling": filling } });
        if own_id {
            body["id"] = json!(format!("w{}-{}", self.number, self.made));
        }
        body
    }

    async fn post_all(&mut self, bodies: Vec<Value>) {
        let single = bodies.len() == 1;
        let answer = if single {
            self.ask(Method::POST, EVENTS, bodies.first()).await
        } else {
            let batch = Value::Array(bodies.clone());
            self.ask(Method::POST, "/api/v1/events/batch", Some(&batch))
                .await
        };
        let results = match answer {
            None => vec![Value::Null; bodies.len()],
            Some(answer) if single => {
                assert_eq!(answer.status, 202, "{}", answer.body);
                vec![answer.body]
            }
            Some(answer) => {
                assert!(
                    answer.status == 202 || answer.status == 207,
                    "{}",
                    answer.body
                );
                answer.body["data"].as_array().unwrap().clone()
            }
        };
        assert_eq!(results.len(), bodies.len());
        for (body, result) in bodies.into_iter().zip(results) {
            if let Some(id) = result["id"].as_str() {
                assert!(body["id"].is_null() || body["id"] == id);
                self.ledger.acknowledged(id, acked(&body, &result));
            } else {
                let status = &result["error"]["status"];
                assert!(status.is_null() || status == 503, "{result}");
                if body["id"].is_string() && self.pending.len() < PENDING_MAX {
                    self.pending.push(body);
                }
            }
        }
    }

    fn recent(&mut self) -> Option<(String, Acked)> {
        let books = self.ledger.books();
        let newest = &books.ids[books.ids.len().saturating_sub(NEWEST)..];
        let id = self.dice.pick(newest)?;
        Some((id.clone(), books.events[id].clone()))
    }

    /// The same id again: the same answer for the same content, a conflict for other content.
    async fn post_again(&mut self, same: bool) {
        let Some((id, acked)) = self.recent() else {
            return;
        };
        let mut body = json!({ "id": id, "type": acked.event_type, "data": acked.data });
        if !same {
            body["data"] = json!({ "other": true });
        }
        let Some(answer) = self.ask(Method::POST, EVENTS, Some(&body)).await else {
            return;
        };
        if same {
            assert_eq!(answer.status, 202, "{id} again: {}", answer.body);
            assert_eq!(
                answer.body["deliveries"], acked.deliveries,
                "{id} again: {}",
                answer.body
            );
        } else {
            assert_eq!(
                answer.status, 409,
                "{id} with other content: {}",
                answer.body
            );
        }
    }

    /// Reads an event, any if none is given, and holds it against the books.
    async fn read(&mut self, id: Option<String>) {
        let id = id.or_else(|| self.dice.pick(&self.ledger.books().ids).cloned());
        let Some(id) = id else { return };
        let Some(answer) = self.ask(Method::GET, &format!("{EVENTS}/{id}"), None).await else {
            return;
        };
        assert_eq!(answer.status, 200, "{id} is lost: {}", answer.body);
        self.ledger.check_event(&id, &answer.body);
    }

    /// Asks for an ended delivery once more.
    async fn retry(&mut self) {
        let Some((id, _)) = self.recent() else { return };
        self.read(Some(id.clone())).await;
        let picked = {
            let books = self.ledger.books();
            let hook = &books.hooks[*self.dice.pick(&STABLE).unwrap()];
            let pair = (id, hook.id.clone());
            let ended = books.ended.get(&pair).cloned();
            ended.map(|ended| (pair, ended))
        };
        let Some((pair, ended)) = picked else { return };
        let asked = Instant::now();
        self.ledger
            .books()
            .retried
            .entry(pair.clone())
            .or_default()
            .push(asked);
        let path = format!("{HOOKS}/{}/deliveries/{}/retry", pair.1, pair.0);
        if let Some(answer) = self.ask(Method::POST, &path, None).await {
            match answer.status.as_u16() {
                202 => {
                    let mut books = self.ledger.books();
                    let least = books.attempts_min.entry(pair).or_default();
                    *least = (*least).max(ended.attempts + 1);
                }
                409 => assert_eq!(answer.body["code"], "in_flight"),
                other => panic!("{path}: {other} {}", answer.body),
            }
        }
    }

    /// Registers a webhook of its own, changes one, or removes one.
    async fn change_own(&mut self) {
        self.made += 1;
        if self.own.len() < OWN_MAX {
            let path = format!("/own-{}-{}", self.number, self.made);
            let url = format!("{}{path}", self.receiver);
            let body = json!({ "url": url, "events": ["passing"], "retry": { "delays": ["200ms", "1s", "1s"] } });
            if let Some(answer) = self.ask(Method::POST, HOOKS, Some(&body)).await {
                assert_eq!(answer.status, 201, "{}", answer.body);
                let text = |name: &str| answer.body[name].as_str().unwrap();
                self.ledger
                    .registered(&path, text("id"), text("secret"), &url);
                self.own.push(path);
            }
            return;
        }
        let at = usize::try_from(self.dice.below(3)).unwrap();
        let path = self.own[at].clone();
        let id = self.ledger.books().hooks[&path].id.clone();
        let there = format!("{HOOKS}/{id}");
        if self.dice.below(3) == 0 {
            self.own.remove(at);
            self.ledger.change(&path, |hook| hook.removed = Some(false));
            if let Some(answer) = self.ask(Method::DELETE, &there, None).await {
                assert_eq!(answer.status, 204, "{}", answer.body);
                self.ledger.change(&path, |hook| hook.removed = Some(true));
            }
            return;
        }
        let url = format!("{}{path}?v={}", self.receiver, self.made);
        self.ledger
            .change(&path, |hook| hook.urls.push(url.clone()));
        let body = json!({ "url": url });
        if let Some(answer) = self.ask(Method::PATCH, &there, Some(&body)).await {
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert_eq!(answer.body["url"], url.as_str());
            self.ledger.change(&path, |hook| hook.urls = vec![url]);
        }
    }

    /// Replaces a secret. Each worker has a webhook whose secret it alone replaces, or none.
    async fn rotate(&mut self) {
        let at = usize::try_from(self.number).unwrap();
        let Some(path) = STABLE.get(at) else { return };
        let mut key = Vec::new();
        for _ in 0..4 {
            key.extend(self.dice.next().to_be_bytes());
        }
        let secret = format!("whsec_{}", BASE64.encode(key));
        let id = self.ledger.books().hooks[*path].id.clone();
        self.ledger
            .change(path, |hook| hook.secrets.push(secret.clone()));
        let body = json!({ "secret": secret });
        let there = format!("{HOOKS}/{id}/secret/rotate");
        if let Some(answer) = self.ask(Method::POST, &there, Some(&body)).await {
            assert_eq!(answer.status, 200, "{}", answer.body);
            self.ledger
                .change(path, |hook: &mut Hook| hook.secret_acknowledged(&secret));
        }
    }
}

fn acked(body: &Value, result: &Value) -> Acked {
    Acked {
        event_type: if body["type"] == "main" {
            "main"
        } else {
            "passing"
        },
        data: body["data"].clone(),
        deliveries: result["deliveries"].as_u64().unwrap(),
    }
}

/// Whether every delivery of an event has ended.
pub fn all_ended(shown: &Value) -> bool {
    let rows = shown["deliveries"].as_array().unwrap();
    rows.iter()
        .all(|row| is_end(row["state"].as_str().unwrap()))
}
