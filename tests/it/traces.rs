//! The trace that an event is posted with: kept with it, shown, and forwarded where the operator says so, on each
//! attempt and over a restart.

use crate::client::Client;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Daemon, Site, delivery, delivery_in, get, key_of, registered, until};
use crate::web::{Web, header};

pub const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
pub const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Posts with further header lines; gives the answer's body. The client of the commands sends none.
pub async fn post_with(daemon: &Daemon, path: &str, lines: &str, body: &Value) -> Value {
    let mut stream = TcpStream::connect(daemon.address).await.unwrap();
    let (key, body) = (key_of("standard"), body.to_string());
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n{lines}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

async fn post_traced(daemon: &Daemon, lines: &str) -> String {
    let body = json!({ "type": "a", "data": {} });
    let posted = post_with(daemon, "/api/v1/events", lines, &body).await;
    posted["id"].as_str().unwrap().to_owned()
}

async fn event(client: &mut Client, id: &str) -> Value {
    get(client, &format!("/api/v1/events/{id}")).await.body
}

fn forwarding(site: &Site) -> Daemon {
    let config = site
        .config(true)
        .replace("[egress]", "[delivery]\nforward_trace = true\n[egress]");
    Daemon::start(&site.path("config.toml"), &config)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_to_the_receiver_on_every_attempt_and_over_a_restart() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |number| match number {
        1 => 500,
        _ => 200,
    })
    .await;
    let daemon = forwarding(&site);
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "retry": { "delays": ["1h"] } });
    let webhook = registered(&mut client, body).await;
    let lines = format!("Traceparent: {PARENT}\r\ntracestate: a=1\r\ntracestate: b=2\r\n");
    let id = post_traced(&daemon, &lines).await;
    until("the attempt that fails", async || {
        let shown = delivery(&mut client, &webhook, &id).await;
        (shown["attempts"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    assert!(
        daemon
            .log()
            .contains(&format!("\"trace_id\":\"{TRACE_ID}\""))
    );
    daemon.kill();
    // The event is read back from the disk, by another process.
    let daemon = forwarding(&site);
    let mut client = daemon.client("standard");
    let retry = format!("/api/v1/webhooks/{webhook}/deliveries/{id}/retry");
    let asked = client.call(Method::POST, &retry, None).await.unwrap();
    assert_eq!(asked.status, 202, "{}", asked.body);
    let shown = delivery_in(&mut client, &webhook, &id, "delivered").await;
    let requests = web.received();
    assert_eq!(requests.len(), 2);
    for (request, attempt) in requests.iter().zip(shown["attempts"].as_array().unwrap()) {
        assert_eq!(header(request, "traceparent"), PARENT);
        assert_eq!(header(request, "tracestate"), "a=1,b=2");
        let kept = attempt["request_headers"].to_string();
        assert!(kept.contains(PARENT) && kept.contains("a=1,b=2"), "{kept}");
    }
    let shown = event(&mut client, &id).await;
    let expected = json!({ "trace_id": TRACE_ID, "traceparent": PARENT, "tracestate": "a=1,b=2" });
    assert_eq!(shown["trace"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_trace_goes_out_unless_the_operator_says_so() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, json!({ "url": web.url("/") })).await;
    let lines = format!("traceparent: {PARENT}\r\ntracestate: secret=1\r\n");
    let id = post_traced(&daemon, &lines).await;
    delivery_in(&mut client, &webhook, &id, "delivered").await;
    let request = &web.received()[0];
    assert_eq!(header(request, "traceparent"), "");
    assert_eq!(header(request, "tracestate"), "");
    assert_eq!(event(&mut client, &id).await["trace"]["trace_id"], TRACE_ID);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_trace_is_passed_over_and_a_webhooks_own_header_stands() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = forwarding(&site);
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/own"), "headers": { "TraceParent": "mine" } });
    let own = registered(&mut client, body).await;
    let broken = post_traced(&daemon, "traceparent: 00-zz-1-01\r\ntracestate: a=1\r\n").await;
    delivery_in(&mut client, &own, &broken, "delivered").await;
    assert_eq!(event(&mut client, &broken).await["trace"], Value::Null);
    let lines = format!("traceparent: {PARENT}\r\ntracestate: a=1\r\n");
    let batch = json!([{ "type": "a", "data": 1 }, { "type": "a", "data": 2 }]);
    let posted = post_with(&daemon, "/api/v1/events/batch", &lines, &batch).await;
    for row in posted["data"].as_array().unwrap() {
        let id = row["id"].as_str().unwrap();
        assert_eq!(event(&mut client, id).await["trace"]["traceparent"], PARENT);
        delivery_in(&mut client, &own, id, "delivered").await;
    }
    let requests = web.received();
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert_eq!(header(&request, "traceparent"), "mine");
        assert_eq!(header(&request, "tracestate"), "", "half of another trace");
    }
}
