//! What receivers answer that must lead nowhere: redirects, certificates that prove nothing, old TLS, a bomb.

use std::time::Duration;

use hookwheel::receiver::{Answer, Identity, Options, Receiver};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::Forbidden;
use crate::support::{Site, delivery_in, post, registered};
use crate::web::{ANY, Web};

/// Statuses that point elsewhere, with where they point. `PORT` is that of a listener that nobody may touch.
pub const REDIRECTS: [(u16, &str); 18] = [
    (300, "https://127.0.0.1:PORT/"),
    (301, "https://127.0.0.1:PORT/"),
    (302, "https://127.0.0.1:PORT/"),
    (303, "https://127.0.0.1:PORT/"),
    (304, "https://127.0.0.1:PORT/"),
    (305, "https://127.0.0.1:PORT/"),
    (307, "https://127.0.0.1:PORT/"),
    (308, "https://127.0.0.1:PORT/"),
    (301, "http://127.0.0.1:PORT/"),
    (302, "//127.0.0.1:PORT/"),
    (302, "/elsewhere"),
    (302, ""),
    (307, "https://169.254.169.254/latest/meta-data/"),
    (308, "https://[::1]:PORT/"),
    (302, "file:///etc/passwd"),
    (302, "https://2130706433:PORT/"),
    (301, "javascript:alert(1)"),
    (308, "https://user:hunter2@127.0.0.1:PORT/"),
];

/// A webhook that sends to a URL once for each event.
async fn once(client: &mut crate::client::Client, url: &str) -> String {
    let body = json!({ "url": url, "events": ["a"], "timeout": "5s", "retry": { "delays": [] } });
    registered(client, body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_a_failed_attempt_and_is_never_followed() {
    let forbidden = Forbidden::listen();
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let mut webs = Vec::new();
    for (status, location) in REDIRECTS {
        let location = location.replace("PORT", &forbidden.port().to_string());
        let text = format!(
            "HTTP/1.1 {status} Odd\r\nlocation: {location}\r\nrefresh: 0; url={location}\r\ncontent-length: 0\r\n\r\n"
        );
        let answer = move |_| Answer::raw(text.clone().into_bytes());
        let web = Web::start_with(ANY, &site.authority, answer, Duration::ZERO).await;
        let webhook = once(&mut client, &web.url("/")).await;
        webs.push((web, webhook, status, location));
    }
    let event = post(&mut client, "a", json!({})).await;
    for (web, webhook, status, location) in webs {
        let shown = delivery_in(&mut client, &webhook, &event, "failed").await;
        let attempts = shown["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), 1, "{shown}");
        assert_eq!(attempts[0]["status"], status, "{shown}");
        let headers = attempts[0]["response"]["headers"].as_array().unwrap();
        let recorded = headers.iter().find(|header| header[0] == "location");
        assert_eq!(recorded.unwrap()[1], location.as_str(), "{shown}");
        assert_eq!(web.count(), 1, "{status} to {location}");
    }
    forbidden.check();
    assert!(daemon.terminate().success());
}

/// Takes connections and says these bytes once the client has begun.
async fn says(bytes: Vec<u8>, tasks: &TaskTracker) -> String {
    let listener = TcpListener::bind(ANY).await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = [0; 4096];
        let length = stream.read(&mut hello).await.unwrap();
        assert!(length > 0, "a client's hello");
        stream.write_all(&bytes).await.unwrap();
        // Until the daemon has had enough.
        while stream.read(&mut hello).await.is_ok_and(|length| length > 0) {}
    });
    url
}

/// A server's hello that chooses a version of TLS, with a cipher suite that this version has.
fn server_hello(version: [u8; 2]) -> Vec<u8> {
    let mut hello = vec![version[0], version[1]];
    hello.extend([7; 32]);
    // No session, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, no compression.
    hello.extend([0, 0xc0, 0x13, 0]);
    let mut message = vec![2, 0, 0, u8::try_from(hello.len()).unwrap()];
    message.extend(hello);
    let mut record = vec![
        22,
        version[0],
        version[1],
        0,
        u8::try_from(message.len()).unwrap(),
    ];
    record.extend(message);
    record
}

fn outcome(delivery: &Value) -> &str {
    delivery["attempts"][0]["outcome"]["kind"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_receiver_gets_a_request_that_does_not_prove_who_it_is() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let tasks = TaskTracker::new();
    let own = |names: &[&str]| site.authority.issue(names).unwrap();
    let stranger = hookwheel::receiver::Authority::generate("another CA").unwrap();
    let identities = [
        (
            "self-signed",
            Identity::self_signed(&["127.0.0.1"]).unwrap(),
        ),
        (
            "of another authority",
            stranger.issue(&["127.0.0.1"]).unwrap(),
        ),
        ("for another address", own(&["127.0.0.2"])),
        ("for a name", own(&["localhost"])),
        (
            "expired",
            site.authority.issue_expired(&["127.0.0.1"]).unwrap(),
        ),
    ];
    let mut refused = Vec::new();
    let mut receivers = Vec::new();
    for (name, identity) in identities {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let handler = |_| std::future::ready(Answer::status(200));
        let receiver = Receiver::start(listener, &identity, Options::default(), handler).unwrap();
        refused.push((name, once(&mut client, &receiver.url("/")).await, "tls"));
        receivers.push((name, receiver));
    }
    for (name, bytes, kind) in [
        ("SSL 3.0", server_hello([3, 0]), "tls"),
        ("TLS 1.0", server_hello([3, 1]), "tls"),
        ("TLS 1.1", server_hello([3, 2]), "tls"),
        ("TLS of the future", server_hello([3, 9]), "tls"),
        ("no common version", vec![21, 3, 3, 0, 2, 2, 70], "tls"),
        (
            "plain HTTP",
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            "tls",
        ),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), "tls"),
    ] {
        let url = says(bytes, &tasks).await;
        refused.push((name, once(&mut client, &url).await, kind));
    }
    let event = post(&mut client, "a", json!({})).await;
    for (name, webhook, kind) in refused {
        let shown = delivery_in(&mut client, &webhook, &event, "failed").await;
        assert_eq!(outcome(&shown), kind, "{name}: {shown}");
        let detail = shown["attempts"][0]["outcome"]["detail"].as_str().unwrap();
        assert!(detail.len() > 10, "{name}: {detail}");
    }
    for (name, receiver) in receivers {
        assert_eq!(receiver.requests_count(), 0, "{name} got a request");
    }
    tasks.close();
    assert!(daemon.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_is_kept_as_it_came_and_only_in_part() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    // What unpacks to a thousand times its size is never unpacked, and what is not needed is not read.
    let bomb = |coding: &str| {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: 10485760\r\n\r\n"
        );
        let mut bytes = head.into_bytes();
        bytes.extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3]);
        bytes.resize(bytes.len() + (10 << 20) - 10, 0);
        bytes
    };
    let mut webs = Vec::new();
    for coding in ["gzip", "deflate", "br", "zstd", "gzip, gzip, gzip"] {
        let bytes = bytes::Bytes::from(bomb(coding));
        let answer = move |_| Answer::raw(bytes.clone());
        let web = Web::start_with(ANY, &site.authority, answer, Duration::ZERO).await;
        webs.push((once(&mut client, &web.url("/")).await, web));
    }
    let event = post(&mut client, "a", json!({})).await;
    for (webhook, web) in webs {
        let shown = delivery_in(&mut client, &webhook, &event, "delivered").await;
        let response = &shown["attempts"][0]["response"];
        assert_eq!(response["truncated"], true);
        // response_body_max is 16 KiB; what is no UTF-8 is shown as a sign of three bytes.
        assert!(response["body"].as_str().unwrap().chars().count() <= 16 << 10);
        let requests = web.stop().await;
        let asked = requests[0].headers.get("accept-encoding");
        assert!(asked.is_none_or(|coding| coding == "identity"), "{asked:?}");
    }
    assert!(daemon.terminate().success());
}
