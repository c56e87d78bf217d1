//! The field `oauth2` as clients give it: what is taken, what is shown, what is refused.

use crate::client::Client;
use http::Method;
use serde_json::{Value, json};

use super::party::{Issuer, SECRET, assert_hides};
use crate::support::{Site, get, register};

fn good() -> Value {
    json!({ "token_url": "https://id.example.com/token", "client_id": "me", "client_secret": SECRET })
}

fn with(name: &str, value: Value) -> Value {
    let mut oauth2 = good();
    oauth2[name] = value;
    oauth2
}

/// The code and the pointers of a refusal.
async fn refused(
    client: &mut Client,
    method: Method,
    path: &str,
    body: &Value,
) -> (String, Vec<String>) {
    let answer = client.call(method, path, Some(body)).await.unwrap();
    assert_eq!(answer.status, 400, "{body}: {}", answer.body);
    assert_hides("a refusal", &answer.body.to_string());
    let errors = answer.body["errors"].as_array().unwrap();
    let pointers = errors
        .iter()
        .map(|error| error["pointer"].as_str().unwrap().to_owned());
    (
        answer.body["code"].as_str().unwrap().to_owned(),
        pointers.collect(),
    )
}

/// Members in the place of good ones as JSON text, and the code of the answer.
const MEMBERS: [(&str, &str, &str); 13] = [
    ("colour", "1", "unknown_field"),
    ("client_id", "\"\"", "fields_invalid"),
    ("client_id", "\"a\\nb\"", "fields_invalid"),
    ("client_id", "5", "fields_invalid"),
    ("client_secret", "\"é\"", "fields_invalid"),
    ("client_secret", "\"a\\n\"", "fields_invalid"),
    ("client_secret", "5", "fields_invalid"),
    ("client_secret", "null", "missing"),
    ("scope", "\"a \\\"b\\\"\"", "fields_invalid"),
    ("scope", "\"\"", "fields_invalid"),
    ("scope", "[\"a\"]", "fields_invalid"),
    ("audience", "[\"a\"]", "fields_invalid"),
    ("client_auth", "\"digest\"", "fields_invalid"),
];

/// Members and the bytes that they may have.
const BOUNDS: [(&str, usize); 4] = [
    ("client_id", 512),
    ("client_secret", 2_048),
    ("scope", 1_000),
    ("audience", 1_000),
];

/// Token endpoints, and the code of the answer.
const URLS: [(&str, &str); 9] = [
    ("http://id.example.com/", "https_required"),
    ("https://user:pw@id.example.com/", "url_invalid"),
    ("https:///token", "url_invalid"),
    ("https://id.example.com/#a", "url_invalid"),
    ("https://169.254.169.254/latest", "address_blocked"),
    ("https://10.0.0.1/", "address_blocked"),
    ("https://0x7f.1/", "address_blocked"),
    ("https://2130706433/", "address_blocked"),
    ("https://[::ffff:10.0.0.1]/", "address_blocked"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_by_its_place() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let mut cases: Vec<(Value, &str, String)> = Vec::new();
    for (name, text, code) in MEMBERS {
        let value = serde_json::from_str(text).unwrap();
        cases.push((with(name, value), code, format!("/oauth2/{name}")));
    }
    for (name, bytes_max) in BOUNDS {
        let value = json!("x".repeat(bytes_max + 1));
        let pointer = format!("/oauth2/{name}");
        cases.push((with(name, value), "fields_invalid", pointer));
    }
    for (url, code) in URLS {
        let pointer = "/oauth2/token_url".to_owned();
        cases.push((with("token_url", json!(url)), code, pointer));
    }
    for other in [json!("token"), json!([]), json!(5)] {
        cases.push((other, "fields_invalid", "/oauth2".to_owned()));
    }
    for (oauth2, code, pointer) in cases {
        let body = json!({ "url": "https://example.com/", "oauth2": oauth2 });
        let got = refused(&mut client, Method::POST, "/api/v1/webhooks", &body).await;
        assert_eq!(got, (code.to_owned(), vec![pointer]), "{body}");
    }
    // All that is missing at once.
    let body = json!({ "url": "https://example.com/", "oauth2": {} });
    let (_, pointers) = refused(&mut client, Method::POST, "/api/v1/webhooks", &body).await;
    let expected = [
        "/oauth2/token_url",
        "/oauth2/client_id",
        "/oauth2/client_secret",
    ];
    assert_eq!(pointers, expected);
    let all = get(&mut client, "/api/v1/webhooks").await.body;
    assert_eq!(all["data"], json!([]), "nothing was registered");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ways_to_authorize_are_refused_whichever_comes_second() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let ways = [
        ("bearer_token", json!({ "bearer_token": "t" })),
        (
            "headers",
            json!({ "headers": { "authorization": "Basic x" } }),
        ),
        (
            "auth_value",
            json!({ "auth_header": "Authorization", "auth_value": "x" }),
        ),
        (
            "api_key",
            json!({ "api_key_header": "AUTHORIZATION", "api_key": "x" }),
        ),
    ];
    for (field, way) in ways {
        let mut both = way.clone();
        both["url"] = json!("https://example.com/");
        let mut alone = both.clone();
        both["oauth2"] = good();
        let got = refused(&mut client, Method::POST, "/api/v1/webhooks", &both).await;
        assert_eq!(
            got,
            ("header_conflict".to_owned(), vec!["/oauth2".to_owned()])
        );
        // The other one is stored.
        let shown = register(&mut client, alone.clone()).await;
        let path = format!("/api/v1/webhooks/{}", shown["id"].as_str().unwrap());
        let got = refused(
            &mut client,
            Method::PATCH,
            &path,
            &json!({ "oauth2": good() }),
        )
        .await;
        assert_eq!(
            got,
            ("header_conflict".to_owned(), vec!["/oauth2".to_owned()])
        );
        alone = json!({ "url": "https://example.com/", "oauth2": good() });
        let shown = register(&mut client, alone).await;
        let path = format!("/api/v1/webhooks/{}", shown["id"].as_str().unwrap());
        let got = refused(&mut client, Method::PATCH, &path, &way).await;
        assert_eq!(
            got,
            ("header_conflict".to_owned(), vec![format!("/{field}")])
        );
        // One for the other, in one change.
        let mut swap = way;
        swap["oauth2"] = Value::Null;
        let answer = client
            .call(Method::PATCH, &path, Some(&swap))
            .await
            .unwrap();
        assert_eq!(
            (answer.status.as_u16(), &answer.body["oauth2"]),
            (200, &Value::Null),
            "{}",
            answer.body
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_hide_the_secret_and_it_goes_to_no_other_place_than_it_was_given_for() {
    let site = Site::new(&["standard"]);
    let issuer = Issuer::start(&site.authority).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": "https://example.com/", "oauth2": issuer.oauth2() });
    let created = register(&mut client, body).await;
    let expected = json!({
        "token_url": issuer.url(), "client_id": "hook wheel", "client_secret": null,
        "scope": null, "audience": null, "client_auth": "basic",
    });
    assert_eq!(created["oauth2"], expected);
    let told = &created["contract"]["headers"]["Authorization"];
    assert_eq!(told, "Bearer <access token>");
    assert_hides("the answer", &created.to_string());
    let path = format!("/api/v1/webhooks/{}", created["id"].as_str().unwrap());

    // As shown, it changes nothing; other texts may change beside the kept secret.
    let same = json!({ "oauth2": created["oauth2"] });
    let mut wider = created["oauth2"].clone();
    wider["scope"] = json!("a b");
    wider.as_object_mut().unwrap().remove("client_secret");
    for (change, scope) in [
        (same, Value::Null),
        (json!({ "oauth2": wider }), json!("a b")),
    ] {
        let answer = client
            .call(Method::PATCH, &path, Some(&change))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body["oauth2"]["scope"], scope);
    }
    for elsewhere in [
        issuer.url() + "?to=me",
        "https://evil.example.com/token".to_owned(),
    ] {
        for kept in [json!({}), json!({ "client_secret": null })] {
            let mut oauth2 = kept;
            oauth2["token_url"] = json!(elsewhere);
            oauth2["client_id"] = json!("hook wheel");
            let body = json!({ "oauth2": oauth2 });
            let (code, pointers) = refused(&mut client, Method::PATCH, &path, &body).await;
            assert_eq!(
                (code.as_str(), &*pointers),
                ("missing", &["/oauth2/client_secret".to_owned()][..])
            );
        }
    }
    let shown = get(&mut client, &path).await.body;
    assert_eq!(shown["oauth2"]["token_url"], json!(issuer.url()));
    // Nor by way of none: what was removed is not kept.
    client
        .call(Method::PATCH, &path, Some(&json!({ "oauth2": null })))
        .await
        .unwrap();
    let back = json!({ "oauth2": expected });
    let (code, _) = refused(&mut client, Method::PATCH, &path, &back).await;
    assert_eq!(code, "missing");
    assert_hides("the log", &daemon.log());
}
