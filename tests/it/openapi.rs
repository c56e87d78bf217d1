//! `/openapi.json` against the real daemon and against its own rules, and the reference that is made from it.
//!
//! Every call of the tests' client is held against the document (`client.rs`); here each call is made at least once, its
//! examples are tried, and what is the same for all calls is tried on all.

mod calls;
pub mod described;
mod outside;
mod reference;
mod refused;

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::Client;
use crate::support::{Daemon, Site, get};
use described::{Described, references};

/// The document as any client gets it, with its tag.
async fn document(daemon: &Daemon) -> (Value, String) {
    let answer = get(&mut Client::new(daemon.address, ""), "/openapi.json").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "application/json");
    let tag = answer.headers["etag"].to_str().unwrap().to_owned();
    (answer.body, tag)
}

/// A request as text, and the whole answer.
async fn exchange(daemon: &Daemon, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(daemon.address)
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_given_to_anybody_and_again_only_where_it_is_another() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let (shown, tag) = document(&daemon).await;
    assert_eq!(shown["openapi"], "3.1.0");
    assert_eq!(shown["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        shown,
        hookwheel::api::openapi::document(&hookwheel::profile::Profiles::built_in()),
        "it is what all tests are held against"
    );
    let ask = |tag: &str| {
        format!(
            "GET /openapi.json HTTP/1.1\r\nhost: a\r\nif-none-match: {tag}\r\nconnection: close\r\n\r\n"
        )
    };
    let same = exchange(&daemon, &ask(&tag)).await.to_lowercase();
    assert!(same.starts_with("http/1.1 304 "), "{same}");
    assert!(
        same.contains(&format!("etag: {tag}\r\n")) && same.ends_with("\r\n\r\n"),
        "{same}"
    );
    let other = exchange(&daemon, &ask("\"other\"")).await;
    assert!(other.starts_with("HTTP/1.1 200 "));
    let head = exchange(
        &daemon,
        "HEAD /openapi.json HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_names_its_scope_otherwise_is_in_the_document_from_a_reload_on() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let (shown, tag) = document(&daemon).await;
    let fields = |shown: &Value| shown["components"]["schemas"]["EventDraft"]["properties"].clone();
    assert!(fields(&shown).get("scope").is_some() && fields(&shown).get("tenant").is_none());
    let more = "[profiles.own]\nextends = \"standard\"\nscope_field = \"tenant\"\n";
    std::fs::write(site.path("config.toml"), site.config(true) + more).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    let after = crate::support::until("the new document", async || {
        let (shown, new_tag) = document(&daemon).await;
        (new_tag != tag).then_some(shown)
    })
    .await;
    assert!(fields(&after).get("tenant").is_some(), "{}", fields(&after));
}

#[test]
fn every_reference_leads_somewhere_and_every_named_part_is_used() {
    let document = &Described::api().document;
    let used: BTreeSet<String> = references(document).into_iter().collect();
    for reference in &used {
        let place = reference.strip_prefix('#').unwrap();
        assert!(
            document.pointer(place).is_some(),
            "{reference} leads nowhere"
        );
    }
    for kind in ["schemas", "responses", "headers"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(
                used.contains(&format!("#/components/{kind}/{name}")),
                "{kind}/{name} is not used"
            );
        }
    }
}

#[test]
fn every_call_is_named_once_and_says_what_it_does() {
    let api = Described::api();
    let tags: BTreeSet<&str> = api.document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let mut ids = BTreeSet::new();
    for call in api.calls() {
        assert!(
            ids.insert(call.id().to_owned()),
            "{} is there twice",
            call.id()
        );
        let words = |name: &str| call.shown[name].as_str().unwrap_or_default().to_owned();
        assert!(
            words("summary").len() > 3 && words("description").ends_with('.'),
            "{}",
            call.id()
        );
        assert!(
            tags.contains(call.shown["tags"][0].as_str().unwrap()),
            "{}",
            call.id()
        );
        let names: Vec<&str> = call
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{'))
            .collect();
        let parameters = call.shown["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let of_path = parameters.iter().filter(|one| one["in"] == "path").count();
        assert_eq!(of_path, names.len(), "{}", call.id());
        assert!(
            parameters.iter().all(|one| one["description"].is_string()),
            "{}",
            call.id()
        );
    }
}

#[test]
fn every_example_fits_its_schema_and_each_body_and_answer_has_one() {
    let api = Described::api();
    for call in api.calls() {
        let id = call.id();
        let body = "/requestBody/content/application~1json";
        if let Some(media) = call.shown.pointer(body) {
            let examples = media["examples"].as_object().unwrap();
            let is_empty = media["schema"]["$ref"] == "#/components/schemas/Empty";
            assert_eq!(examples.is_empty(), is_empty, "{id}: examples of the body");
            for (name, example) in examples {
                let judged = api.fits(&format!("{}{body}/schema", call.place), &example["value"]);
                judged.unwrap_or_else(|why| panic!("{id}, {name}: {why}"));
            }
        }
        for (status, response) in call.shown["responses"].as_object().unwrap() {
            let mut place = format!("{}/responses/{status}", call.place);
            let mut described = response;
            if let Some(reference) = response["$ref"].as_str() {
                place = reference.trim_start_matches('#').to_owned();
                described = api.document.pointer(&place).unwrap();
            }
            for (kind, media) in described["content"].as_object().into_iter().flatten() {
                let example = media.get("example");
                let example = example.unwrap_or_else(|| {
                    panic!(
                        "{id} {status} has no example: run calls:: with HOOKWHEEL_WRITE_GOLDEN=1"
                    )
                });
                let place = format!("{place}/content/{}/schema", described::escaped(kind));
                api.fits(&place, example)
                    .unwrap_or_else(|why| panic!("{id} {status}: {why}"));
            }
        }
    }
    for (name, schema) in api.document["components"]["schemas"].as_object().unwrap() {
        for example in schema["examples"].as_array().into_iter().flatten() {
            let judged = api.fits(&format!("/components/schemas/{name}"), example);
            judged.unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }
}

#[test]
fn the_document_is_one_of_openapi_3_1() {
    let text = include_str!("../data/openapi/openapi-3.1.schema.json");
    let schema: Value = serde_json::from_str(text).unwrap();
    let validator = jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .build(&schema)
        .unwrap();
    let document = hookwheel::api::openapi::document(&hookwheel::profile::Profiles::built_in());
    let faults: Vec<String> = validator
        .iter_errors(&document)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let mut broken = document.clone();
    broken["paths"]["/healthz"]["get"]["responses"]["200"] = json!({});
    assert!(
        !validator.is_valid(&broken),
        "the schema refuses what it should"
    );
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let judged = jsonschema::meta::validate(schema);
        judged.unwrap_or_else(|fault| panic!("{name} is no JSON Schema: {fault}"));
    }
}

#[test]
fn a_judge_of_answers_refuses_what_is_not_described() {
    let api = Described::api();
    let answer = |status: u16, kind: &'static str, body: Value| {
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static(kind));
        let status = StatusCode::from_u16(status).unwrap();
        let text = body.to_string();
        crate::client::Answer {
            status,
            headers,
            body,
            text,
        }
    };
    let judge = |method: Method, path: &str, answer| api.judge(&method, path, None, &answer);
    let good = || json!({ "matches": true, "why": null });
    let path = "/api/v1/filters/test";
    assert_eq!(
        judge(Method::POST, path, answer(200, "application/json", good())),
        Ok(())
    );
    let mut more = good();
    more["more"] = json!(1);
    let faults = [
        (
            "a member",
            judge(Method::POST, path, answer(200, "application/json", more)),
        ),
        (
            "a status",
            judge(Method::POST, path, answer(201, "application/json", good())),
        ),
        (
            "a type",
            judge(Method::POST, path, answer(200, "text/html", good())),
        ),
        (
            "a method",
            judge(Method::PUT, path, answer(200, "application/json", good())),
        ),
        (
            "a path",
            judge(
                Method::POST,
                "/api/v1/none",
                answer(200, "application/json", good()),
            ),
        ),
    ];
    for (what, judged) in faults {
        assert!(
            judged.is_err(),
            "{what} that is not described was let through"
        );
    }
}
