//! A script of 200 API operations: the same each time, noted in a ledger, and ended by the first that is not answered.

use std::time::Duration;

use crate::client::{Answer, Client};
use http::Method;
use serde_json::{Value, json};

use crate::ledger::{Ledger, NEVER, Span};
use crate::shim::Rig;
use crate::support::PATIENCE;
use crate::web::Web;

pub const OPERATIONS: usize = 200;
/// As long as a client waits on a full disk.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// One run of the script.
pub struct Script<'a> {
    rig: &'a Rig,
    client: Client,
    pub ledger: Ledger,
    webhooks: Vec<String>,
    events: Vec<String>,
    run: String,
    urls: [String; 2],
    /// On a full disk a request may wait for room as long as its client does; else none waits.
    full: bool,
    /// How many operations were answered as they should be.
    pub answered: usize,
}

/// The daemon does not answer (any more).
pub struct Broken;

impl<'a> Script<'a> {
    pub fn new(rig: &'a Rig, client: Client, ledger: Ledger, run: &str, webs: [&Web; 2]) -> Self {
        Self {
            full: false,
            rig,
            client,
            ledger,
            webhooks: Vec::new(),
            events: Vec::new(),
            run: run.to_owned(),
            urls: webs.map(|web| web.url("/")),
            answered: 0,
        }
    }

    /// The disk is going to be full: clients do not wait for ever.
    pub fn on_full_disk(mut self) -> Self {
        self.full = true;
        self
    }

    /// Runs it. The last operations wait for nothing; what is under way then is the daemon's business.
    pub async fn run(&mut self) -> Result<(), Broken> {
        self.register(0, &["1h"]).await?;
        self.register(1, &["10ms", "20ms"]).await?;
        self.register(0, &["1h"]).await?;
        for number in 3..OPERATIONS {
            match number % 20 {
                0 => self.batch(number).await?,
                4 => self.describe(number).await?,
                8 => self.again().await?,
                11 => self.rotate().await?,
                14 if number == 134 => self.remove().await?,
                15 => self.register(number % 2, &["1h"]).await?,
                _ if number % 5 == 2 => self.show().await?,
                _ => self.post(number).await?,
            }
        }
        Ok(())
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, Broken> {
        let call = self.client.call(method, path, body.as_ref());
        // A daemon that is ending answers 503, or not at all; one that hangs is a fault: where sled
        // waits for ever for a write that failed, the process ends itself after a minute.
        let patience = if self.full { WAIT_MAX } else { 2 * PATIENCE };
        let answer = match tokio::time::timeout(patience, call).await {
            Ok(answer) => answer,
            Err(_) if self.full => return Err(Broken),
            Err(_) => panic!("no answer to {path} in two minutes"),
        };
        match answer {
            // 409: the delivery that is asked for again is being sent.
            Ok(answer) if answer.status.is_success() || answer.status == 409 => {
                self.answered += 1;
                Ok(answer)
            }
            Ok(answer) => {
                assert!(answer.status.is_server_error(), "{path}: {}", answer.body);
                Err(Broken)
            }
            Err(_) => Err(Broken),
        }
    }

    /// A call, and the span from before it to its answer.
    async fn spanned(
        &mut self,
        method: Method,
        path: &str,
        body: Value,
    ) -> (Result<Answer, Broken>, Span) {
        let asked = self.rig.recorded();
        let answer = self.call(method, path, Some(body)).await;
        let acked = answer.as_ref().map_or(NEVER, |_| self.rig.recorded());
        (answer, Span { asked, acked })
    }

    async fn register(&mut self, url: usize, delays: &[&str]) -> Result<(), Broken> {
        let description = format!("{} {}", self.run, self.answered);
        let body = json!({
            "url": self.urls[url], "description": description, "retry": { "delays": delays }
        });
        let (answer, span) = self.spanned(Method::POST, "/api/v1/webhooks", body).await;
        let Ok(answer) = answer else {
            self.ledger.unanswered.insert(description);
            return Err(Broken);
        };
        let id = answer.body["id"].as_str().unwrap().to_owned();
        self.ledger.webhook(&id, Some(&description), span);
        self.webhooks.push(id);
        Ok(())
    }

    async fn describe(&mut self, number: usize) -> Result<(), Broken> {
        let id = self.webhooks[0].clone();
        let description = format!("{} changed {number}", self.run);
        let path = format!("/api/v1/webhooks/{id}");
        let body = json!({ "description": description });
        let (answer, span) = self.spanned(Method::PATCH, &path, body).await;
        self.ledger.webhook(&id, Some(&description), span);
        answer.map(drop)
    }

    async fn rotate(&mut self) -> Result<(), Broken> {
        let path = format!("/api/v1/webhooks/{}/secret/rotate", self.webhooks[0]);
        self.call(Method::POST, &path, Some(json!({ "keep_old": "1h" })))
            .await
            .map(drop)
    }

    async fn remove(&mut self) -> Result<(), Broken> {
        let id = self.webhooks.remove(2);
        let (answer, span) = self
            .spanned(
                Method::DELETE,
                &format!("/api/v1/webhooks/{id}"),
                Value::Null,
            )
            .await;
        self.ledger.webhook(&id, None, span);
        answer.map(drop)
    }

    async fn post(&mut self, number: usize) -> Result<(), Broken> {
        let id = format!("{}-{number}", self.run);
        let data = data(number);
        let body = json!({ "id": id, "type": "user.created", "data": data });
        let (answer, span) = self.spanned(Method::POST, "/api/v1/events", body).await;
        self.ledger.posted(&id, &data, span);
        self.events.push(id);
        answer.map(drop)
    }

    async fn batch(&mut self, number: usize) -> Result<(), Broken> {
        let (ids, data): (Vec<String>, Value) = (
            (0..5)
                .map(|one| format!("{}-{number}-{one}", self.run))
                .collect(),
            data(number),
        );
        let events: Vec<Value> = ids
            .iter()
            .map(|id| json!({ "id": id, "type": "user.created", "data": data }))
            .collect();
        let body = json!(events);
        let (answer, span) = self
            .spanned(Method::POST, "/api/v1/events/batch", body)
            .await;
        // Each event has its own answer; with 207 some were not taken.
        let mut whole = true;
        for (number, id) in ids.iter().enumerate() {
            let taken = answer
                .as_ref()
                .is_ok_and(|answer| answer.body["data"][number]["id"] == **id);
            let acked = if taken { span.acked } else { NEVER };
            self.ledger.posted(id, &data, Span { acked, ..span });
            whole &= taken;
        }
        if whole { Ok(()) } else { Err(Broken) }
    }

    /// Asks for a delivery again that may have ended or not.
    async fn again(&mut self) -> Result<(), Broken> {
        let (webhook, event) = (
            self.webhooks[0].clone(),
            self.events[self.events.len() / 2].clone(),
        );
        self.ledger
            .asked_again(&webhook, &event, self.rig.recorded());
        let path = format!("/api/v1/webhooks/{webhook}/deliveries/{event}/retry");
        self.call(Method::POST, &path, None).await.map(drop)
    }

    /// Looks at an event; what is shown as ended has ended.
    async fn show(&mut self) -> Result<(), Broken> {
        let event = self.events[self.events.len() / 3].clone();
        let answer = self
            .call(Method::GET, &format!("/api/v1/events/{event}"), None)
            .await?;
        let mark = self.rig.recorded();
        self.ledger.shown(&event, &answer.body, mark);
        // Time for attempts: they are a part of what is recorded.
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(())
    }
}

/// Small ones, and now and then one that brings the segment's end nearer.
fn data(number: usize) -> Value {
    let size = if number.is_multiple_of(7) {
        45_000
    } else {
        300
    };
    json!({ "number": number, "text": format!("{number:07}").repeat(size / 7) })
}
