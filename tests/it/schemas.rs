//! Schemas of event types: what a config may say, what a profile inherits, and what a client is told whose data does
//! not fit.

use std::path::Path;

use hookwheel::config::Config;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Site, get, key_of, registered};

const RUN: &str = r#"'''{"type": "object", "required": ["records"], "properties": {
  "records": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9007199254740992}}}}}}'''"#;

fn config(profiles: &str) -> String {
    let hash = hookwheel::cli::key_hash(&key_of("own"));
    format!(
        "{profiles}\n[[accounts]]\nname = \"own\"\nprofile = \"own\"\n[[accounts.keys]]\nname = \"all\"\n\
         hash = \"{hash}\"\nscopes = [\"admin\", \"send\", \"read\"]\n"
    )
}

/// Where and why a config with these profiles is refused: line, field, text.
fn fault(profiles: &str) -> String {
    let errors = Config::parse(&config(profiles), "c.toml", Path::new("/"), []).unwrap_err();
    assert_eq!(errors.faults().len(), 1, "{errors}");
    errors.faults()[0].to_string()
}

#[test]
fn mistakes_are_told_with_file_line_and_type() {
    let own = "[profiles.own]\nextends = \"standard\"\n";
    let typed =
        "[profiles.own]\nextends = \"standard\"\nevent_types = [\"user.created\", \"run\"]\n";
    for (profiles, place, pieces) in [
        (
            format!("{own}[profiles.own.schemas]\n\"run\" = '{{'"),
            "c.toml:4:9: profiles.own: ",
            ["`run`", "not JSON"],
        ),
        (
            format!("{own}[profiles.own.schemas]\n\"run\" = '{{\"type\": \"strin\"}}'"),
            "c.toml:4:9: ",
            ["`run`", "at /type"],
        ),
        (
            format!(
                "{own}[profiles.own.schemas]\n\"run\" = '{{\"$ref\": \"https://example.com\"}}'"
            ),
            "c.toml:4:9: ",
            ["`run`", "nothing is fetched"],
        ),
        (
            format!("{own}[profiles.own.schemas]\n\"run\" = 5"),
            "c.toml:4:9: ",
            ["profiles.own", "string"],
        ),
        (
            format!("{own}[profiles.own.schemas]\n\"a run\" = '{{}}'"),
            "c.toml:4:1: ",
            ["`a run`", "not an event type"],
        ),
        (
            format!("{own}[profiles.own.schemas]\n\"hookwheel.x\" = '{{}}'"),
            "c.toml:4:1: ",
            ["`hookwheel.x`", "choose another"],
        ),
        (
            format!("{typed}[profiles.own.schemas]\n\"ran\" = '{{}}'"),
            "c.toml:5:1: ",
            [
                "`ran` has a schema and is not in `event_types`",
                "user.created, run",
            ],
        ),
        (
            format!(
                "{own}[profiles.own.schemas]\n\"user.created\" = '{{\"required\": [\"nobody\"]}}'"
            ),
            "c.toml:",
            [
                "does not fit the schema of its type `user.created`",
                "nobody",
            ],
        ),
        (
            "[profiles.own]\nextends = \"standard\"\nevent_types = [\"hookwheel.x\"]\n".to_owned(),
            "c.toml:3:16: ",
            ["`hookwheel.x`", "operational events"],
        ),
    ] {
        let told = fault(&profiles);
        assert!(told.starts_with(place), "{place} {told}");
        for piece in pieces {
            assert!(told.contains(piece), "{piece} is not in {told}");
        }
    }
}

#[test]
fn schemas_are_inherited_type_by_type() {
    let text = config(
        r#"
[profiles.base]
extends = "standard"
event_types = ["user.created", "b", "c"]
[profiles.base.schemas]
"user.created" = '{"type": "object"}'
b = '{"type": "string"}'
c = '{"type": "string"}'
[profiles.own]
extends = "base"
[profiles.own.schemas]
b = '{"type": "integer"}'
c = 'true'
[profiles.less]
extends = "base"
event_types = ["user.created", "b"]
"#,
    );
    let config = Config::parse(&text, "c.toml", Path::new("/"), []).unwrap();
    let shown = |profile: &str| -> Value {
        let schemas = &config.profiles.get(profile).unwrap().schemas;
        schemas
            .iter()
            .map(|(name, schema)| (name.clone(), schema.value().clone()))
            .collect()
    };
    let object = json!({ "type": "object" });
    assert_eq!(
        shown("own"),
        json!({ "user.created": object, "b": { "type": "integer" }, "c": true })
    );
    assert_eq!(
        shown("less"),
        json!({ "user.created": object, "b": { "type": "string" } })
    );
    assert_eq!(shown("standard"), json!({}));
    assert!(config.profiles.get("own").unwrap().schemas["c"].fits("null"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_with_its_place() {
    let site = Site::new(&[]).with(&config(&format!(
        "[profiles.own]\nextends = \"standard\"\n[profiles.own.schemas]\n\"run\" = {RUN}\n"
    )));
    let daemon = site.start();
    let mut client = daemon.client("own");
    registered(
        &mut client,
        json!({ "url": "https://127.0.0.1:1/", "active": false }),
    )
    .await;
    let mut send =
        async |path: &str, body: &Value| client.call(Method::POST, path, Some(body)).await.unwrap();
    let event = |data: Value| json!({ "type": "run", "data": data });
    let events = "/api/v1/events";

    assert_eq!(
        send(events, &event(json!({ "records": [{ "n": 1 }, {}] })))
            .await
            .status,
        202
    );
    assert_eq!(
        send(events, &json!({ "type": "other", "data": 5 }))
            .await
            .status,
        202
    );
    let refused = send(events, &event(json!({ "records": [{ "n": "1" }] }))).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.body["code"], "schema_mismatch");
    assert_eq!(refused.body["errors"][0]["pointer"], "/data/records/0/n");
    assert_eq!(
        refused.body["detail"],
        "/data/records/0/n: it is not of type \"integer\""
    );
    let refused = send(
        events,
        &event(json!({ "records": vec![json!({ "n": null }); 50_000 / 10] })),
    )
    .await;
    assert_eq!(refused.body["code"], "fields_invalid");
    assert_eq!(refused.body["errors"].as_array().unwrap().len(), 5);
    let refused = send(events, &event(Value::Null)).await;
    assert_eq!(refused.body["errors"][0]["pointer"], "/data");
    // A large one is judged elsewhere, and just so.
    let mut large = vec![json!({ "n": 7, "text": "x".repeat(100) }); 1_000];
    assert_eq!(
        send(events, &event(json!({ "records": large })))
            .await
            .status,
        202
    );
    large[999] = json!({ "n": 9_007_199_254_740_993_u64 });
    let refused = send(events, &event(json!({ "records": large }))).await;
    assert_eq!(refused.body["errors"][0]["pointer"], "/data/records/999/n");

    let listed = get(&mut client, "/api/v1/events").await.body;
    let stored = listed["data"].as_array().unwrap().len();
    assert_eq!(stored, 3, "nothing refused is stored");
    let metrics = get(&mut client, "/metrics").await.body.to_string();
    assert!(metrics.contains("schema_mismatch"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_loses_what_does_not_fit_and_schemas_are_shown() {
    let site = Site::new(&[]).with(&config(&format!(
        "[profiles.own]\nextends = \"standard\"\n[profiles.own.schemas]\n\"run\" = {RUN}\n"
    )));
    let daemon = site.start();
    let mut client = daemon.client("own");
    let event = |data: Value| json!({ "type": "run", "data": data });
    let batch =
        json!([event(json!({ "records": [] })), event(json!([])), { "type": "other", "data": 1 }]);
    let path = "/api/v1/events/batch";
    let answer = client.call(Method::POST, path, Some(&batch)).await.unwrap();
    assert_eq!(answer.status, 207, "{}", answer.body);
    let rows = answer.body["data"].as_array().unwrap();
    assert!(
        rows[0]["id"].is_string() && rows[2]["id"].is_string(),
        "{rows:?}"
    );
    assert_eq!(rows[1]["error"]["errors"][0]["pointer"], "/data");

    let types = get(&mut client, "/api/v1/event-types").await.body;
    assert_eq!(types["schemas"]["run"]["required"], json!(["records"]));
    assert_eq!(types["data"], json!([]));
    let one = get(&mut client, "/api/v1/event-types/run").await.body;
    assert_eq!(one["schema"], types["schemas"]["run"]);
    assert_eq!(
        get(&mut client, "/api/v1/event-types/other").await.body["schema"],
        Value::Null
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_repeated_members_counts_as_it_is_the_one_that_is_sent() {
    let site = Site::new(&[]).with(&config(
        "[profiles.own]\nextends = \"standard\"\n[profiles.own.schemas]\nrun = '{\"properties\": {\"n\": {\"type\": \"integer\"}}}'\n",
    ));
    let daemon = site.start();
    let mut client = daemon.client("own");
    for (data, status) in [
        (r#"{"n": 1, "n": "x"}"#, 400),
        (r#"{"n": "x", "n": 1}"#, 202),
        (r#"{"n": 1e400}"#, 400),
    ] {
        let body = format!(r#"{{"type": "run", "data": {data}}}"#);
        let answer = raw(&daemon, &body).await;
        assert_eq!(answer, status, "{data}");
    }
    assert_eq!(
        get(&mut client, "/api/v1/events").await.body["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// Posts a text as it is, and gives the status.
async fn raw(daemon: &crate::support::Daemon, body: &str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(daemon.address)
        .await
        .unwrap();
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n{body}",
        key_of("own"),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
