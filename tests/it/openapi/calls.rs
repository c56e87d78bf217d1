//! Each call of the API made with success, with the examples of the document where these can be sent; from what is
//! answered come the document's examples of answers.
//!
//! `HOOKWHEEL_WRITE_GOLDEN=1` adds those that are missing to `src/api/openapi/examples.json`; to make one anew, take it
//! out there first.

use std::collections::BTreeMap;
use std::path::Path;

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::described::Described;
use crate::client::Client;
use crate::support::{Daemon, Site, delivery_in, until};
use crate::web::Web;

/// A stream of what happens; its own tests read it.
pub(super) const ENDLESS: &str = "live";

/// What is done with a daemon, and what it answered, by call and status.
struct Round {
    client: Client,
    answers: BTreeMap<(String, u16), Value>,
}

impl Round {
    /// Makes a call with these names in its path, this query and this body.
    async fn call(&mut self, id: &str, names: &[&str], query: &str, body: Option<Value>) -> Value {
        let call = Described::api().call(id);
        let mut names = names.iter();
        let parts: Vec<&str> = call
            .path
            .split('/')
            .map(|part| {
                if part.starts_with('{') {
                    *names.next().unwrap()
                } else {
                    part
                }
            })
            .collect();
        let target = parts.join("/") + query;
        let answer = self
            .client
            .call(call.method.clone(), &target, body.as_ref())
            .await
            .unwrap();
        assert!(
            answer.status.is_success(),
            "{id}: {} {}",
            answer.status,
            answer.body
        );
        let key = (id.to_owned(), answer.status.as_u16());
        self.answers
            .entry(key)
            .or_insert_with(|| answer.body.clone());
        answer.body
    }

    /// Makes a call with each example of its body; gives the answers.
    async fn try_examples(&mut self, id: &str, names: &[&str]) -> Vec<Value> {
        let mut answers = Vec::new();
        for body in examples(id) {
            answers.push(self.call(id, names, "", Some(body)).await);
        }
        answers
    }
}

/// The examples of a call's body.
fn examples(id: &str) -> Vec<Value> {
    let call = Described::api().call(id);
    let found = call
        .shown
        .pointer("/requestBody/content/application~1json/examples")
        .cloned();
    let found = found.unwrap_or_default();
    found
        .as_object()
        .into_iter()
        .flatten()
        .map(|(_, example)| example["value"].clone())
        .collect()
}

fn id_of(shown: &Value) -> String {
    shown["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_does_what_the_document_says_and_answers_as_it_shows() {
    let site = Site::new(&["standard", "driftguard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut round = Round {
        client: daemon.client("standard"),
        answers: BTreeMap::new(),
    };
    let webhook = webhooks(&mut round, &web).await;
    let event = events(&mut round, &webhook).await;
    deliveries(&mut round, &webhook, &event).await;
    jobs(&mut round, &webhook).await;
    secrets(&mut round, &daemon, &webhook).await;
    figures(&mut round, &webhook).await;
    held(&mut round, &web).await;
    round.call("removeWebhook", &[&webhook], "", None).await;

    let api = Described::api();
    let mut missing = Vec::new();
    for call in api.calls() {
        for status in call.shown["responses"].as_object().unwrap().keys() {
            let status: u16 = status.parse().unwrap();
            let seen = round.answers.contains_key(&(call.id().to_owned(), status));
            // A stream has no end that could be waited for here.
            if (200..300).contains(&status) && !seen && call.id() != ENDLESS {
                missing.push(format!("{} {status}", call.id()));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new(), "calls that were not made");
    write_examples(&round.answers);
}

async fn webhooks(round: &mut Round, web: &Web) -> String {
    for created in round.try_examples("createWebhook", &[]).await {
        round
            .call("showWebhook", &[&id_of(&created)], "", None)
            .await;
        // It sends nothing to places that are there for reading only.
        round
            .call("removeWebhook", &[&id_of(&created)], "", None)
            .await;
    }
    let body =
        json!({ "url": web.url("/in"), "events": ["user.*", "order.paid"], "name": "orders" });
    let created = round.call("createWebhook", &[], "", Some(body)).await;
    let webhook = id_of(&created);
    round.try_examples("changeWebhook", &[&webhook]).await;
    let back = json!({ "active": true, "retry": null });
    round
        .call("changeWebhook", &[&webhook], "", Some(back))
        .await;
    round.call("listWebhooks", &[], "?limit=1", None).await;
    round.call("listDeclared", &[], "", None).await;
    round.call("testWebhook", &[&webhook], "", None).await;
    webhook
}

async fn events(round: &mut Round, webhook: &str) -> String {
    let posted = round.try_examples("postEvent", &[]).await;
    let batch = examples("postEvents").swap_remove(0);
    round.call("postEvents", &[], "", Some(batch)).await;
    let mixed = json!([{ "type": "order.paid", "data": 1 }, { "data": 1 }]);
    round.call("postEvents", &[], "", Some(mixed)).await;
    let event = posted
        .iter()
        .map(id_of)
        .find(|id| id == "order-1042-paid")
        .unwrap();
    delivery_in(&mut round.client, webhook, &event, "delivered").await;
    round.call("listEvents", &[], "?limit=1", None).await;
    round.call("showEvent", &[&event], "", None).await;
    round.call("explainEvent", &[&event], "", None).await;
    event
}

async fn deliveries(round: &mut Round, webhook: &str, event: &str) {
    round
        .call(
            "listDeliveries",
            &[webhook],
            "?state=delivered&limit=1",
            None,
        )
        .await;
    round
        .call("showDelivery", &[webhook, event], "", None)
        .await;
    round
        .call("retryDelivery", &[webhook, event], "", None)
        .await;
    delivery_in(&mut round.client, webhook, event, "delivered").await;
}

async fn jobs(round: &mut Round, webhook: &str) {
    round.try_examples("replayWebhook", &[webhook]).await;
    round.try_examples("rematchEvents", &[]).await;
    // Slow enough to be there for a pause.
    let slow = json!({ "states": ["delivered"], "per_second": 1 });
    let job = id_of(
        &round
            .call("replayWebhook", &[webhook], "", Some(slow))
            .await,
    );
    round.call("pauseJob", &[&job], "", None).await;
    round.call("showJob", &[&job], "", None).await;
    round.call("resumeJob", &[&job], "", None).await;
    round.call("cancelJob", &[&job], "", None).await;
    round.call("listJobs", &[], "?limit=1", None).await;
}

/// One profile rotates by overlap, the other one in stages.
async fn secrets(round: &mut Round, daemon: &Daemon, webhook: &str) {
    round.try_examples("rotateSecret", &[webhook]).await;
    round.call("rotateSecret", &[webhook], "", None).await;
    let first = std::mem::replace(&mut round.client, daemon.client("driftguard"));
    let body = json!({ "url": "https://hooks.example.com/in", "events": ["*"], "active": false });
    let staged = id_of(&round.call("createWebhook", &[], "", Some(body)).await);
    round.try_examples("stageSecret", &[&staged]).await;
    round.call("abortSecret", &[&staged], "", None).await;
    round.call("stageSecret", &[&staged], "", None).await;
    round.try_examples("promoteSecret", &[&staged]).await;
    round.call("rollbackSecret", &[&staged], "", None).await;
    round.client = first;
}

async fn figures(round: &mut Round, webhook: &str) {
    round.call("accountStats", &[], "", None).await;
    round.call("webhookStats", &[webhook], "", None).await;
    round.call("listWebhookStats", &[], "?limit=1", None).await;
    round
        .call("receiverCode", &[webhook], "?language=python", None)
        .await;
    round
        .call(
            "listAudit",
            &[],
            &format!("?webhook={webhook}&limit=2"),
            None,
        )
        .await;
    round.call("listProfiles", &[], "", None).await;
    round.call("listEventTypes", &[], "", None).await;
    round.call("showEventType", &["order.paid"], "", None).await;
    round.try_examples("testFilter", &[]).await;
    for id in ["healthz", "readyz", "metrics", "openapi"] {
        round.call(id, &[], "", None).await;
    }
}

async fn held(round: &mut Round, web: &Web) {
    let body = json!({ "url": web.url("/held"), "active": false });
    let webhook = id_of(&round.call("createWebhook", &[], "", Some(body)).await);
    let old = json!({ "type": "a", "data": 1, "created_at": "2026-01-01T00:00:00Z" });
    round.call("postEvent", &[], "", Some(old)).await;
    until("it is held", async || {
        let listed = round
            .call("listDeliveries", &[&webhook], "?state=held", None)
            .await;
        (listed["data"] != json!([])).then_some(())
    })
    .await;
    let discarded = round.try_examples("discardHeld", &[&webhook]).await;
    assert_eq!(discarded[0]["discarded"], 1, "{discarded:?}");
    round.call("discardHeld", &[&webhook], "", None).await;
}

/// Adds to the recorded examples what is not there yet.
fn write_examples(answers: &BTreeMap<(String, u16), Value>) {
    if std::env::var_os("HOOKWHEEL_WRITE_GOLDEN").is_none() {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/openapi/examples.json");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let kept = kept.as_object().unwrap().clone();
    let mut all: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (id, of_call) in kept {
        all.insert(id, of_call.as_object().unwrap().clone());
    }
    for ((id, status), body) in answers
        .iter()
        .filter(|(_, body)| !body.is_null() && !body.is_string())
    {
        let of_call = all.entry(id.clone()).or_default();
        of_call
            .entry(status.to_string())
            .or_insert_with(|| presentable(id, body.clone()));
    }
    // The source names no product: what stands in for one is anybody's own profile.
    let text = serde_json::to_string_pretty(&all).unwrap() + "\n";
    let text = text
        .replace("X-DriftGuard-Signature", "X-Own-Signature")
        .replace("\"driftguard\"", "\"own\"");
    std::fs::write(path, text).unwrap();
}

/// Short, without a test's addresses, and without what looks like a secret of anybody.
fn presentable(id: &str, mut body: Value) -> Value {
    match id {
        "openapi" => {
            return json!({ "openapi": "3.1.0", "info": { "title": "Hookwheel" }, "paths": {} });
        }
        "listProfiles" => body["data"]
            .as_array_mut()
            .unwrap()
            .retain(|row| row["own"] == true),
        _ => {}
    }
    tidy(&mut body);
    body
}

fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(members) => {
            for (name, value) in members {
                match name.as_str() {
                    "secret" if value.is_string() => {
                        *value = json!("whsec_ZXhhbXBsZS1vbmx5LW5vdC1hLXNlY3JldA==")
                    }
                    // A schedule tells what it is by its beginning.
                    "schedule" => value.as_array_mut().unwrap().truncate(3),
                    _ => tidy(value),
                }
            }
        }
        Value::String(text) => {
            if let Some(at) = text.find("127.0.0.1:") {
                let rest = &text[at + 10..];
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                *text = format!("{}hooks.example.com{}", &text[..at], &rest[digits..]);
            }
            if text == "127.0.0.1" {
                *text = "192.0.2.7".to_owned();
            }
            // A signature, and not the form of one.
            if text.starts_with("v1,") && !text.contains('<') {
                *text = "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=".to_owned();
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_are_answered_in_the_form_of_all_errors() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    for path in [
        // `/` itself is the dashboard's.
        "/api",
        "/api/v1",
        "/api/v1/webhooks/",
        "/api/v1/jobs/x/stop",
        "/openapi.yaml",
    ] {
        let answer = client.call(Method::POST, path, None).await.unwrap();
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (StatusCode::NOT_FOUND, &json!("not_found")),
            "{path}"
        );
    }
    for call in Described::api().calls() {
        let path = call
            .path
            .replace("{id}", "x")
            .replace("{event}", "x")
            .replace("{type}", "x");
        // The client holds `Allow` against the document.
        let answer = client.call(Method::PUT, &path, None).await.unwrap();
        assert_eq!(answer.body["code"], "method_not_allowed", "{path}");
    }
}
