//! What is the same for all calls: who may make them, and how what is wrong is refused.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::calls::ENDLESS;
use super::described::{Call, Described};
use crate::client::Client;
use crate::support::{Daemon, Site, get, registered};
use hookwheel::cli::key_hash;

/// A webhook that there is not.
const NOBODY: &str = "wh_0197f3c2a1b87d5e9c40aa12bb34cc56";

/// A call's path with things of these names in it.
fn path_of(call: &Call, webhook: &str) -> String {
    let of_webhook = call.path.starts_with("/api/v1/webhooks/");
    let id = match call.path.split('/').nth(3) {
        Some("webhooks") if of_webhook => webhook,
        Some("jobs") => "job_0197f3c2a1b87d5e9c40aa12bb34cc57",
        _ => "nothing",
    };
    call.path
        .replace("{id}", id)
        .replace("{event}", "nothing")
        .replace("{type}", "nothing")
}

async fn ask(client: &mut Client, call: &Call, path: &str, body: Option<&str>) -> (u16, Value) {
    let body = body.unwrap_or_default().to_owned();
    let answer = client
        .call_text(call.method.clone(), path, body)
        .await
        .unwrap();
    (answer.status.as_u16(), answer.body)
}

/// A site with keys of one scope each.
fn site() -> Site {
    let mut more = "[[accounts]]\nname = \"scoped\"\nprofile = \"standard\"\n".to_owned();
    for scope in ["admin", "send", "read"] {
        let hash = key_hash(&format!("only-{scope}"));
        more += &format!(
            "[[accounts.keys]]\nname = \"{scope}\"\nhash = \"{hash}\"\nscopes = [\"{scope}\"]\n"
        );
    }
    Site::new(&["standard", "driftguard"]).with(&more)
}

fn with_scope(daemon: &Daemon, scope: &str) -> Client {
    Client::new(daemon.address, &format!("only-{scope}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_needs_the_scope_that_the_document_names_and_a_key() {
    let site = site();
    let daemon = site.start();
    let mut nobody = Client::new(daemon.address, "");
    for call in Described::api().calls() {
        let mut path = path_of(&call, NOBODY);
        if call.id() == ENDLESS {
            path = format!("{path}?webhook={NOBODY}");
        }
        let (status, answer) = ask(&mut nobody, &call, &path, None).await;
        if !call.has_key() {
            assert_eq!(status, 200, "{}: {answer}", call.id());
            continue;
        }
        assert_eq!(
            (status, &answer["code"]),
            (401, &json!("unauthorized")),
            "{}",
            call.id()
        );
        for scope in ["admin", "send", "read"] {
            let (status, answer) = ask(&mut with_scope(&daemon, scope), &call, &path, None).await;
            let may = call
                .scope()
                .is_none_or(|needed| scope == needed || (needed == "read" && scope == "admin"));
            assert_eq!(
                status != 403,
                may,
                "{} with {scope}: {status} {answer}",
                call.id()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_body_takes_the_fields_that_the_document_names_and_no_others() {
    let site = site();
    let daemon = site.start();
    let hooks = [
        ("standard", json!({ "url": "https://hooks.example.com/in" })),
        (
            "driftguard",
            json!({ "url": "https://hooks.example.com/in", "events": ["*"] }),
        ),
    ];
    for (account, body) in hooks {
        let mut client = daemon.client(account);
        let webhook = registered(&mut client, body).await;
        let calls = Described::api().calls();
        for call in calls
            .iter()
            .filter(|call| call.shown.get("requestBody").is_some())
        {
            let path = path_of(call, &webhook);
            let (status, answer) = ask(&mut client, call, &path, Some("{\"a\":")).await;
            if answer["code"] == "rotation_not_offered" {
                continue; // The other account's profile offers it.
            }
            assert_eq!(
                (status, &answer["code"]),
                (400, &json!("json_invalid")),
                "{}",
                call.id()
            );
            if call.id() != "postEvents" {
                takes_what_is_named(&mut client, call, &path, account).await;
            }
        }
    }
}

/// The daemon names its fields when it is given another one; a field of an account's scope is the account's own.
async fn takes_what_is_named(client: &mut Client, call: &Call, path: &str, account: &str) {
    let (status, answer) = ask(client, call, path, Some("{\"zzz\": 1}")).await;
    assert_eq!(status, 400, "{}: {answer}", call.id());
    let faults = answer["errors"].as_array().unwrap();
    let fault = faults
        .iter()
        .find(|fault| fault["pointer"] == "/zzz")
        .unwrap();
    assert_eq!(fault["code"], "unknown_field", "{}", call.id());
    let said = fault["detail"]
        .as_str()
        .unwrap()
        .split_once("the fields are: ")
        .unwrap()
        .1;
    let mut taken: BTreeSet<&str> = said.split(", ").collect();
    taken.remove("none");
    let reference = call
        .shown
        .pointer("/requestBody/content/application~1json/schema/$ref")
        .unwrap();
    let place = reference.as_str().unwrap().trim_start_matches('#');
    let schema = Described::api().document.pointer(place).unwrap();
    assert_eq!(schema["additionalProperties"], false, "{}", call.id());
    let named = schema["properties"].as_object().unwrap();
    let mut named: BTreeSet<&str> = named.keys().map(String::as_str).collect();
    let (own, other) = match account {
        "standard" => ("scope", "contract_id"),
        _ => ("contract_id", "scope"),
    };
    if named.contains(own) {
        named.remove(other);
    }
    if call.id() == "changeWebhook" {
        // It is refused there with a word on where to go instead.
        assert!(taken.remove("secret"));
    }
    assert_eq!(taken, named, "{}", call.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_query_or_a_path_names_wrongly_is_refused() {
    let site = site();
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(
        &mut client,
        json!({ "url": "https://hooks.example.com/in" }),
    )
    .await;
    for call in Described::api().calls() {
        if call.path.contains('{') {
            let path = call
                .path
                .replace("{id}", "no%ff")
                .replace("{event}", "no")
                .replace("{type}", "no%ff");
            let (status, answer) = ask(&mut client, &call, &path, Some("{}")).await;
            assert_eq!(
                (status, &answer["code"]),
                (404, &json!("not_found")),
                "{}",
                call.id()
            );
        }
        let parameters = call.shown["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let asked = parameters.iter().filter(|one| one["in"] == "query");
        let mut wrong = vec!["zzz=1".to_owned()];
        for parameter in asked.clone() {
            match parameter["name"].as_str().unwrap() {
                "type" => {} // Any text is one.
                "limit" => wrong.extend(["limit=0", "limit=1001", "limit=x"].map(str::to_owned)),
                name => wrong.push(format!("{name}=%00")),
            }
        }
        if asked.count() == 0 || call.path.contains("{event}") || call.path.contains("/events/{id}")
        {
            continue; // There is nothing behind the path to be asked for.
        }
        for query in wrong {
            let path = format!("{}?{query}", path_of(&call, &webhook));
            let (status, answer) = ask(&mut client, &call, &path, None).await;
            assert_eq!(status, 400, "{} {query}: {answer}", call.id());
        }
    }
}

/// A request, and the status and code of its answer.
type Row<'a> = (Method, &'a str, Value, u16, &'a str);

fn at_the_registry(of_webhook: &str) -> Vec<Row<'_>> {
    vec![
        (Method::POST, "/api/v1/webhooks", json!({}), 400, "missing"),
        (
            Method::POST,
            "/api/v1/webhooks",
            json!({ "url": "http://a.example" }),
            400,
            "https_required",
        ),
        (
            Method::POST,
            "/api/v1/webhooks",
            json!({ "url": "https://10.0.0.1/" }),
            400,
            "address_blocked",
        ),
        (
            Method::POST,
            "/api/v1/webhooks",
            json!({ "url": "https://a.example", "secret": "x" }),
            400,
            "secret_invalid",
        ),
        (
            Method::PATCH,
            of_webhook,
            json!({ "format": "none" }),
            400,
            "format_unknown",
        ),
        (
            Method::PATCH,
            of_webhook,
            json!({ "tls": "none" }),
            400,
            "tls_unknown",
        ),
        (
            Method::PATCH,
            of_webhook,
            json!({ "filter": { "data": 1 } }),
            400,
            "filter_invalid",
        ),
        (
            Method::PATCH,
            of_webhook,
            json!({ "headers": { "Host": "a" } }),
            400,
            "header_reserved",
        ),
    ]
}

fn of_events() -> Vec<Row<'static>> {
    let event = json!({ "id": "e", "type": "a", "data": 1 });
    vec![
        (Method::POST, "/api/v1/events", event, 202, ""),
        (
            Method::POST,
            "/api/v1/events",
            json!({ "id": "e", "type": "a", "data": 2 }),
            409,
            "id_conflict",
        ),
        (
            Method::POST,
            "/api/v1/events",
            json!({ "type": "hookwheel.x", "data": 2 }),
            400,
            "event_type_reserved",
        ),
        (
            Method::POST,
            "/api/v1/events/batch",
            json!([]),
            400,
            "batch_size",
        ),
        (
            Method::POST,
            "/api/v1/events/rematch",
            json!({ "webhook": "none" }),
            400,
            "webhook_unknown",
        ),
        (
            Method::POST,
            "/api/v1/events",
            json!({ "type": "a", "data": 1, "id": "a b" }),
            400,
            "id_invalid",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn typical_refusals_are_as_described() {
    let site = site();
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(
        &mut client,
        json!({ "url": "https://hooks.example.com/in" }),
    )
    .await;
    let of_webhook = format!("/api/v1/webhooks/{webhook}");
    // The client judges each of these.
    for (method, path, body, status, code) in
        at_the_registry(&of_webhook).into_iter().chain(of_events())
    {
        let answer = client.call(method, path, Some(&body)).await.unwrap();
        let said = answer.body["code"].as_str().unwrap_or_default();
        assert_eq!(
            (answer.status.as_u16(), said),
            (status, code),
            "{body}: {}",
            answer.body
        );
    }
    for (path, code) in [
        ("secret/stage", "rotation_not_offered"),
        ("held/discard", "webhook_active"),
    ] {
        let path = format!("{of_webhook}/{path}");
        let answer = client.call(Method::POST, &path, None).await.unwrap();
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (StatusCode::CONFLICT, &json!(code))
        );
    }
    assert_eq!(get(&mut client, &of_webhook).await.status, 200);
}
