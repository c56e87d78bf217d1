//! Keys that are none, keys without the scope, and what belongs to another account.

use crate::client::Client;
use hookwheel::cli::key_hash;
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{closed, state, webhook};
use crate::support::{Site, get, key_of, post};

/// Header lines that give no good key. `KEY` stands for the good one.
pub const KEYS: [&str; 19] = [
    "",
    "X-API-Key: ",
    "X-API-Key: wrong",
    "X-API-Key: KEYx",
    "X-API-Key: xKEY",
    "X-API-Key: KEY KEY",
    "X-API-Key: Bearer KEY",
    "X-API-Key: \u{e9}",
    "X-API-Key: sha256:0000000000000000000000000000000000000000000000000000000000000000",
    "X-API-Key: wrong\r\nAuthorization: Bearer KEY",
    "X-API-Key: wrong\r\nX-API-Key: KEY",
    "Authorization: KEY",
    "Authorization: Bearer",
    "Authorization: Bearer ",
    "Authorization: Bearer wrong",
    "Authorization: Basic KEY",
    "Authorization: Bearer KEY, Bearer KEY",
    "Cookie: key=KEY",
    "API-Key: KEY",
];

async fn talk(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_key_nothing_is_said_or_done() {
    let site = Site::new(&["standard"]);
    let daemon = closed(&site);
    let mut client = daemon.client("standard");
    let kept = webhook(&mut client, "*").await;
    let before = state(&mut client).await;
    let calls = [
        ("GET", "/api/v1/webhooks".to_owned(), ""),
        ("DELETE", format!("/api/v1/webhooks/{kept}"), ""),
        (
            "POST",
            "/api/v1/events".to_owned(),
            "{\"type\":\"a\",\"data\":1}",
        ),
    ];
    for lines in KEYS {
        let lines = lines.replace("KEY", &key_of("standard"));
        for (method, path, body) in &calls {
            let end = if lines.is_empty() { "" } else { "\r\n" };
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{lines}{end}\r\n{body}",
                body.len()
            );
            let answer = talk(daemon.address, &request).await;
            assert!(
                answer.starts_with("HTTP/1.1 401 "),
                "{method} {lines}: {answer}"
            );
            assert!(
                answer.contains("\"code\":\"unauthorized\"") && answer.contains("X-API-Key"),
                "{answer}"
            );
            assert!(
                answer.to_lowercase().contains("www-authenticate: bearer"),
                "{answer}"
            );
            assert!(!answer.contains(&kept), "{answer}");
        }
    }
    // Not in the path either, where logs of proxies would show it.
    let asked = format!("/api/v1/webhooks?api_key={}", key_of("standard"));
    let mut stranger = Client::new(daemon.address, "wrong");
    assert_eq!(get(&mut stranger, &asked).await.status, 401);
    assert_eq!(state(&mut client).await, before);
    assert!(
        !daemon.log().contains(&key_of("standard")),
        "the log shows a key"
    );
    assert!(daemon.terminate().success());
}

/// The calls that change something of a webhook.
fn changes_to(hook: &str, event: &str) -> Vec<(Method, String)> {
    vec![
        (Method::PATCH, hook.to_owned()),
        (Method::DELETE, hook.to_owned()),
        (Method::POST, format!("{hook}/test")),
        (Method::POST, format!("{hook}/secret/rotate")),
        (Method::POST, format!("{hook}/held/discard")),
        (Method::POST, format!("{hook}/replay")),
        (Method::POST, format!("{hook}/deliveries/{event}/retry")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_scopes_say_and_no_more() {
    let site = Site::new(&["standard"]);
    let key = |name: &str, scope: &str| {
        format!(
            "[[accounts.keys]]\nname = \"{name}\"\nhash = \"{}\"\nscopes = [\"{scope}\"]\n",
            key_hash(&format!("a-key-to-{scope}"))
        )
    };
    let site = site.with(&(key("s", "send") + &key("r", "read")));
    let daemon = closed(&site);
    let mut client = daemon.client("standard");
    let kept = webhook(&mut client, "*").await;
    let event = post(&mut client, "a", json!(1)).await;
    let before = state(&mut client).await;
    let hook = format!("/api/v1/webhooks/{kept}");
    let mut admin = changes_to(&hook, &event);
    admin.extend([
        (Method::POST, "/api/v1/webhooks".to_owned()),
        (Method::POST, "/api/v1/events/rematch".to_owned()),
        (Method::GET, "/api/v1/audit".to_owned()),
    ]);
    let read = [
        "/api/v1/webhooks",
        "/api/v1/events",
        "/api/v1/jobs",
        "/api/v1/stats",
        &hook,
    ];
    let read = read.map(|path| (Method::GET, path.to_owned()));
    let send = [
        (Method::POST, "/api/v1/events".to_owned()),
        (Method::POST, "/api/v1/events/batch".to_owned()),
    ];
    let refused = |key: &'static str, calls: Vec<(Method, String)>| {
        calls
            .into_iter()
            .map(move |(method, path)| (key, method, path))
    };
    let of_send = refused("a-key-to-send", [&admin[..], &read[..]].concat());
    let of_read = refused("a-key-to-read", [&admin[..], &send[..]].concat());
    for (key, method, path) in of_send.chain(of_read) {
        let mut holder = Client::new(daemon.address, key);
        let body = match method {
            Method::GET => String::new(),
            _ => "{}".to_owned(),
        };
        let answer = holder.call_text(method.clone(), &path, body).await.unwrap();
        let got = (answer.status.as_u16(), answer.body["code"].as_str());
        assert_eq!(
            got,
            (403, Some("scope_missing")),
            "{key}: {method} {path}: {}",
            answer.body
        );
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains("scope `"), "{detail}");
    }
    assert_eq!(state(&mut client).await, before);
    assert!(daemon.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_accounts_is_not_there() {
    let site = Site::new(&["standard", "flock"]);
    let daemon = closed(&site);
    let mut owner = daemon.client("standard");
    let kept = webhook(&mut owner, "*").await;
    let event = post(&mut owner, "a", json!("mine")).await;
    let job = owner
        .call(
            Method::POST,
            &format!("/api/v1/webhooks/{kept}/replay"),
            Some(&json!({})),
        )
        .await
        .unwrap();
    assert_eq!(job.status, 202, "{}", job.body);
    let job = job.body["id"].as_str().unwrap().to_owned();
    let before = state(&mut owner).await;
    let mut other = daemon.client("flock");
    let hook = format!("/api/v1/webhooks/{kept}");
    let mut calls = changes_to(&hook, &event);
    let read = [
        hook.clone(),
        format!("{hook}/stats"),
        format!("{hook}/deliveries"),
        format!("{hook}/deliveries/{event}"),
        format!("/api/v1/events/{event}"),
        format!("/api/v1/events/{event}/explain"),
        format!("/api/v1/jobs/{job}"),
    ];
    calls.extend(read.map(|path| (Method::GET, path)));
    calls.push((Method::POST, format!("/api/v1/jobs/{job}/cancel")));
    for (method, path) in calls {
        let body = match method {
            Method::GET | Method::DELETE => String::new(),
            _ => "{}".to_owned(),
        };
        let answer = other
            .call_text(method.clone(), &path, body.clone())
            .await
            .unwrap();
        let got = (answer.status.as_u16(), answer.body["code"].as_str());
        assert_eq!(
            got,
            (404, Some("not_found")),
            "{method} {path}: {}",
            answer.body
        );
        // Word for word as for what there never was.
        let none = path.replace(&kept, "wh_0196f0000000700080000000000000ff");
        let none = none.replace(&event, "nothing").replace(&job, "job_nothing");
        let nothing = other.call_text(method.clone(), &none, body).await.unwrap();
        assert_eq!(answer.body, nothing.body, "{method} {path}");
    }
    let own = json!([]);
    assert_eq!(get(&mut other, "/api/v1/webhooks").await.body["data"], own);
    assert_eq!(get(&mut other, "/api/v1/events").await.body["data"], own);
    assert_eq!(get(&mut other, "/api/v1/jobs").await.body["data"], own);
    assert_eq!(state(&mut owner).await, before);
    assert!(daemon.terminate().success());
}
