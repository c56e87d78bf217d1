//! The lives of a recorded daemon: what it is asked for, killed and started in between, and what it answered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::client::Client;
use http::Method;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::dice::Dice;
use crate::ledger::{Ledger, NEVER, Span};
use crate::shim::Rig;
use crate::support::{Daemon, get, register, until};
use crate::web::Web;

/// Sizes of payloads, bytes; the small ones come more often. The largest still fits the limit of a body.
const SIZES: [u64; 8] = [100, 1024, 1024, 1024, 8 << 10, 8 << 10, 64 << 10, 250 << 10];
const POSTERS: u64 = 3;
/// Small enough for some rolls, and for retention to find something to delete at a start two hours later.
pub const STORAGE: &str = "segment_size = \"1MiB\"\nretention_age = \"1h\"";
const TWO_HOURS_MS: i64 = 7_200_000;

/// A rig, the receivers, and the ledger of what was acknowledged.
pub struct Lives {
    pub rig: Arc<Rig>,
    pub ledger: Arc<Mutex<Ledger>>,
    pub well: Web,
    pub failing: Web,
    generation: u64,
    seed: u64,
}

impl Lives {
    pub async fn new(rig: Rig, ledger: Ledger, generation: u64, seed: u64) -> Self {
        Self {
            well: Web::start(&rig.site.authority, |_| 200).await,
            failing: Web::start(&rig.site.authority, |_| 500).await,
            rig: Arc::new(rig),
            ledger: Arc::new(Mutex::new(ledger)),
            generation,
            seed,
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        change(&mut self.ledger.lock().unwrap())
    }

    async fn register(
        &self,
        client: &mut Client,
        url: String,
        name: &str,
        delays: &[&str],
    ) -> String {
        let asked = self.rig.recorded();
        let description = format!("{name} of {}", self.generation);
        let body = json!({ "url": url, "description": description, "retry": { "delays": delays } });
        let shown = register(client, body).await;
        let id = shown["id"].as_str().unwrap().to_owned();
        let acked = self.rig.recorded();
        self.change(|ledger| ledger.webhook(&id, Some(&description), Span { asked, acked }));
        id
    }

    async fn describe(&self, client: &mut Client, id: &str, description: &str) {
        let (asked, path) = (self.rig.recorded(), format!("/api/v1/webhooks/{id}"));
        let body = json!({ "description": description });
        let answer = client
            .call(Method::PATCH, &path, Some(&body))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let acked = self.rig.recorded();
        self.change(|ledger| ledger.webhook(id, Some(description), Span { asked, acked }));
    }

    async fn remove(&self, client: &mut Client, id: &str) {
        let (asked, path) = (self.rig.recorded(), format!("/api/v1/webhooks/{id}"));
        // What waits when it is asked for may end in any instant from now on.
        let answer = client.call(Method::DELETE, &path, None).await.unwrap();
        assert_eq!(answer.status, 204, "{}", answer.body);
        let acked = self.rig.recorded();
        self.change(|ledger| ledger.webhook(id, None, Span { asked, acked }));
    }

    /// Posts `count` events from several clients at once; with `NEVER` as many as are taken until the daemon ends.
    fn post(
        &self,
        daemon: &Daemon,
        life: &str,
        count: u64,
    ) -> (TaskTracker, Vec<tokio::task::JoinHandle<()>>) {
        let tasks = TaskTracker::new();
        let handles = (0..POSTERS)
            .map(|poster| {
                let mut client = daemon.client("standard");
                let (rig, ledger) = (Arc::clone(&self.rig), Arc::clone(&self.ledger));
                let name = format!("{life}-{}-{poster}", self.generation);
                let mut dice = Dice::new(
                    self.seed ^ (poster << 32) ^ u64::from(life.as_bytes()[0]),
                    0,
                );
                tasks.spawn(async move {
                    for number in 0..count {
                        let data = payload(&mut dice, number);
                        let id = format!("{name}-{number}");
                        let body = json!({ "id": id, "type": "user.created", "data": data });
                        let asked = rig.recorded();
                        let answer = client
                            .call(Method::POST, "/api/v1/events", Some(&body))
                            .await;
                        let acked = if answer.as_ref().is_ok_and(|answer| answer.status == 202) {
                            rig.recorded()
                        } else {
                            NEVER
                        };
                        let span = Span { asked, acked };
                        ledger.lock().unwrap().posted(&id, &data, span);
                        if acked == NEVER {
                            assert!(count == NEVER, "{answer:?}");
                            return;
                        }
                    }
                })
            })
            .collect();
        (tasks, handles)
    }

    async fn posted(&self, daemon: &Daemon, life: &str, count: u64) {
        for handle in self.post(daemon, life, count).1 {
            handle.await.unwrap();
        }
    }

    /// Notes which deliveries are shown as ended; `all` waits until those for the webhooks are.
    async fn note_ended(&self, client: &mut Client, life: &str, wait_for: &[&str]) {
        let begins = format!("{life}-{}-", self.generation);
        let ids: Vec<String> = self.change(|ledger| {
            let mine = |id: &String| id.starts_with(&begins);
            ledger
                .events
                .iter()
                .map(|one| one.id.clone())
                .filter(mine)
                .collect()
        });
        for id in ids {
            let path = format!("/api/v1/events/{id}");
            let shown = until(&format!("deliveries of {id} end"), async || {
                let answer = get(client, &path).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                let deliveries = answer.body["deliveries"].as_array().unwrap().clone();
                let ended = |delivery: &Value| {
                    !wait_for.contains(&delivery["webhook_id"].as_str().unwrap())
                        || !delivery["ended_at"].is_null()
                };
                deliveries.iter().all(ended).then_some(answer.body)
            })
            .await;
            let mark = self.rig.recorded();
            self.change(|ledger| ledger.shown(&id, &shown, mark));
        }
    }

    /// One life that takes some events and is killed.
    pub async fn live_on(&self) {
        let daemon = self.rig.start();
        self.posted(&daemon, "killed", 2).await;
        daemon.kill();
    }

    /// Three lives: stopped, killed, killed. Ends with the recording complete.
    pub async fn live(&self) {
        let start = i64::try_from(self.generation).unwrap() * 2 * TWO_HOURS_MS;
        self.rig.shift_clock(start);
        let daemon = self.rig.start();
        let mut client = daemon.client("standard");
        let (well, failing) = (self.well.url("/"), self.failing.url("/"));
        let a = self
            .register(&mut client, well.clone(), "well", &["1h"])
            .await;
        let b = self
            .register(&mut client, failing.clone(), "failing", &["40ms", "80ms"])
            .await;
        let c = self
            .register(&mut client, failing.clone(), "leaving", &["1h"])
            .await;
        self.posted(&daemon, "first", 12).await;
        self.describe(&mut client, &a, "changed once").await;
        self.describe(&mut client, &b, "changed as well").await;
        self.note_ended(&mut client, "first", &[&a, &b]).await;
        self.remove(&mut client, &c).await;
        self.note_ended(&mut client, "first", &[&a, &b, &c]).await;
        assert_eq!(daemon.terminate().code(), Some(0));

        // Retention sweeps at this start. The daemon is killed while it works.
        self.rig.shift_clock(start + TWO_HOURS_MS);
        let daemon = self.rig.start();
        let mut client = daemon.client("standard");
        let waiting = self
            .register(&mut client, failing, "waiting", &["1h"])
            .await;
        let (_, posters) = self.post(&daemon, "second", NEVER);
        for number in 0..4 {
            self.describe(&mut client, &waiting, &format!("waiting {number}"))
                .await;
        }
        tokio::time::sleep(Duration::from_millis(120)).await;
        daemon.kill();
        for poster in posters {
            poster.await.unwrap();
        }

        let daemon = self.rig.start();
        let mut client = daemon.client("standard");
        self.posted(&daemon, "third", 3).await;
        self.describe(&mut client, &a, "changed at last").await;
        self.note_ended(&mut client, "third", &[&a, &b]).await;
        daemon.kill();
    }
}

/// A payload of one of the sizes, with bytes of its own.
fn payload(dice: &mut Dice, number: u64) -> Value {
    let size = usize::try_from(dice.one_of(&SIZES)).unwrap();
    let mut text = String::with_capacity(size + 16);
    while text.len() < size {
        text.push_str(&format!("{:016x}", dice.next()));
    }
    text.truncate(size);
    json!({ "number": number, "text": text })
}
