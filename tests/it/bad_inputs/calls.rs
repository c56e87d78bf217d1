//! Registrations, changes, events and other calls that are refused.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{Input, all_refused, closed, table, webhook, written_out};
use crate::support::{Site, post};

#[derive(Deserialize)]
struct Calls {
    class: Vec<Class>,
}

#[derive(Clone, Deserialize)]
pub struct Class {
    name: String,
    account: String,
    method: String,
    path: String,
    /// Body, status, code and pointer.
    calls: Vec<(String, u16, String, String)>,
}

#[derive(Deserialize)]
struct Queries {
    /// Path, status and code.
    queries: Vec<(String, u16, String)>,
}

#[derive(Deserialize)]
struct Headers {
    /// Name, value and code.
    headers: Vec<(String, String, String)>,
    /// Account, an event type of its profile, and a header of its signature.
    signatures: Vec<(String, String, String)>,
}

fn classes() -> Vec<Class> {
    table::<Calls>("calls.toml").class
}

/// All calls, each with its class.
pub fn calls() -> Vec<(Class, String)> {
    let classes = classes().into_iter();
    let each = classes.flat_map(|class| {
        let bodies: Vec<String> = class.calls.iter().map(|call| call.0.clone()).collect();
        bodies.into_iter().map(move |body| (class.clone(), body))
    });
    each.collect()
}

pub fn queries() -> Vec<(String, u16, String)> {
    table::<Queries>("queries.toml").queries
}

/// Account, events, name, value, code.
pub fn headers() -> Vec<(String, String, String, String, String)> {
    let Headers {
        headers,
        signatures,
    } = table("headers.toml");
    let usual = headers.into_iter().map(|(name, value, code)| {
        let (name, value) = (written_out(&name), written_out(&value));
        ("standard".to_owned(), "*".to_owned(), name, value, code)
    });
    let own = signatures.into_iter().map(|(account, events, name)| {
        let code = "header_reserved".to_owned();
        (account, events, name, "x".to_owned(), code)
    });
    usual.chain(own).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_refused_name_their_field_and_change_nothing() {
    let site = Site::new(&["standard", "dataflow"]);
    let daemon = closed(&site);
    for class in classes() {
        let mut client = daemon.client(&class.account);
        let events = if class.account == "standard" {
            "*"
        } else {
            "pipeline.*"
        };
        let kept = webhook(&mut client, events).await;
        let known = json!({ "type": "pipeline.created", "id": "known", "data": { "n": 1 } });
        let posted = client
            .call(Method::POST, "/api/v1/events", Some(&known))
            .await;
        assert_eq!(posted.unwrap().status, 202);
        println!("{}", class.name);
        let path = class.path.replace("WH", &kept);
        let inputs = class
            .calls
            .iter()
            .map(|(body, status, code, pointer)| Input {
                method: class.method.parse().unwrap(),
                path: path.clone(),
                body: written_out(body),
                status: *status,
                code: code.clone(),
                pointer: pointer.clone(),
                says: String::new(),
            });
        all_refused(&mut client, inputs).await;
    }
    assert!(daemon.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_paths_that_are_refused() {
    let site = Site::new(&["standard"]);
    let daemon = closed(&site);
    let mut client = daemon.client("standard");
    let kept = webhook(&mut client, "*").await;
    post(&mut client, "a", json!(1)).await;
    let inputs = queries().into_iter().map(|(path, status, code)| Input {
        method: Method::GET,
        path: path.replace("WH", &kept),
        body: String::new(),
        status,
        code,
        pointer: String::new(),
        says: String::new(),
    });
    all_refused(&mut client, inputs).await;
    assert!(daemon.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_refused_at_registration_and_at_a_change() {
    let site = Site::new(&["standard", "dataflow", "driftguard", "flock"]);
    let daemon = closed(&site);
    for account in ["standard", "dataflow", "driftguard", "flock"] {
        let own: Vec<_> = headers()
            .into_iter()
            .filter(|row| row.0 == account)
            .collect();
        let mut client = daemon.client(account);
        let kept = webhook(&mut client, &own[0].1).await;
        let inputs = own.iter().flat_map(|(_, events, name, value, code)| {
            let pointer = name.replace('~', "~0").replace('/', "~1");
            let body = json!({
                "url": "https://example.com/", "events": [events], "headers": { "X-Good": "1", (name.as_str()): value }
            });
            let input = |method, path: String| Input {
                method,
                path,
                body: body.to_string(),
                status: 400,
                code: code.clone(),
                pointer: format!("/headers/{pointer}"),
                says: String::new(),
            };
            [
                input(Method::POST, "/api/v1/webhooks".to_owned()),
                input(Method::PATCH, format!("/api/v1/webhooks/{kept}")),
            ]
        });
        all_refused(&mut client, inputs).await;
    }
    // Fifty are taken, and eight kilobytes; one more is not.
    let mut client = daemon.client("standard");
    let many = |count: usize, length: usize| {
        let headers: serde_json::Map<_, _> = (0..count)
            .map(|at| (format!("X-{at}"), json!("v".repeat(length))))
            .collect();
        json!({ "url": "https://example.com/", "active": false, "headers": headers })
    };
    for (body, status) in [
        (many(50, 1), 201),
        (many(51, 1), 400),
        (many(8, 1000), 201),
        (many(8, 1030), 400),
    ] {
        let answer = client
            .call(Method::POST, "/api/v1/webhooks", Some(&body))
            .await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, status, "{}", answer.body);
        if status == 400 {
            assert_eq!(answer.body["errors"][0]["pointer"], "/headers");
        }
    }
    assert!(daemon.terminate().success());
}
