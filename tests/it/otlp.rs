//! Spans, in builds that send them; run by `cargo test --features otlp --test it otlp::`. Other builds say that they do
//! not.

use hookwheel::config::Config;

use crate::support::Site;

#[test]
fn a_build_that_sends_no_spans_says_so() {
    let site = Site::new(&["standard"]);
    let text = site.config(true) + "[telemetry]\notlp_endpoint = \"http://127.0.0.1:4318\"\n";
    let read = Config::parse(&text, "c.toml", site.directory.path(), []);
    if cfg!(feature = "otlp") {
        let export = read.unwrap().export.unwrap();
        assert_eq!(
            (&*export.host, export.port, &*export.path),
            ("127.0.0.1", 4318, "/v1/traces")
        );
        return;
    }
    let report = read.unwrap_err().to_string();
    assert!(
        report.contains("telemetry.otlp_endpoint: this build of Hookwheel sends no spans"),
        "{report}"
    );
    assert!(report.contains("--features otlp"), "{report}");
}

#[cfg(feature = "otlp")]
mod sending {
    use std::sync::{Arc, Mutex};

    use hookwheel::receiver::Authority;
    use http::Method;
    use serde_json::{Value, json};
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use crate::support::{Daemon, Site, delivery, delivery_in, get, registered, until};
    use crate::traces::{PARENT, TRACE_ID, post_with};
    use crate::web::{Web, header};

    /// A collector of spans: keeps the bodies that it is given at the path of traces.
    struct Collector {
        address: std::net::SocketAddr,
        taken: Arc<Mutex<Vec<Value>>>,
        _tasks: tokio_util::task::AbortOnDropHandle<()>,
    }

    impl Collector {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let taken = Arc::new(Mutex::new(Vec::new()));
            let kept = Arc::clone(&taken);
            let tracker = tokio_util::task::TaskTracker::new();
            let task = tracker.spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let body = take(stream).await;
                    kept.lock().unwrap().push(body);
                }
            });
            Self {
                address,
                taken,
                _tasks: tokio_util::task::AbortOnDropHandle::new(task),
            }
        }

        fn spans(&self) -> Vec<Value> {
            let taken = self.taken.lock().unwrap();
            let of = |body: &Value| {
                let spans = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
                spans.as_array().unwrap().clone()
            };
            taken.iter().flat_map(of).collect()
        }
    }

    async fn take(stream: TcpStream) -> Value {
        let mut stream = BufReader::new(stream);
        let (mut first, mut length) = (String::new(), 0);
        stream.read_line(&mut first).await.unwrap();
        assert_eq!(first.trim(), "POST /v1/traces HTTP/1.1");
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let line = line.trim().to_lowercase();
            if let Some(bytes) = line.strip_prefix("content-length: ") {
                length = bytes.parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let answer =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(answer).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    fn start(site: &Site, endpoint: &str) -> Daemon {
        let config = site.config(true) + &format!("[telemetry]\notlp_endpoint = \"{endpoint}\"\n");
        let config = config.replace("[egress]", "[delivery]\nforward_trace = true\n[egress]");
        Daemon::start(&site.path("config.toml"), &config)
    }

    fn attribute(span: &Value, key: &str) -> Value {
        let all = span["attributes"].as_array().unwrap();
        let found = all.iter().find(|one| one["key"] == key);
        found.map_or(Value::Null, |one| one["value"].clone())
    }

    /// Posts a sampled event, whose first attempt fails and whose second one arrives, and one that is not sampled; gives the
    /// webhook.
    async fn sent_twice(daemon: &Daemon, web: &Web) -> String {
        let mut client = daemon.client("standard");
        let body = json!({ "url": web.url("/secret-in-the-path"), "retry": { "delays": ["1h"] } });
        let webhook = registered(&mut client, body).await;
        let body = json!({ "type": "a", "data": {} });
        let lines = format!("traceparent: {PARENT}\r\ntracestate: a=1\r\n");
        let posted = post_with(daemon, "/api/v1/events", &lines, &body).await;
        let id = posted["id"].as_str().unwrap().to_owned();
        until("the first attempt", async || {
            let shown = delivery(&mut client, &webhook, &id).await;
            (shown["attempts"].as_array().unwrap().len() == 1).then_some(())
        })
        .await;
        // Not sampled, so nobody wants to see it.
        let unsampled = format!("traceparent: {}00\r\n", &PARENT[..PARENT.len() - 2]);
        let other = post_with(
            daemon,
            "/api/v1/events",
            &unsampled,
            &json!({ "type": "b", "data": {} }),
        )
        .await;
        delivery_in(
            &mut client,
            &webhook,
            other["id"].as_str().unwrap(),
            "delivered",
        )
        .await;
        let retry = format!("/api/v1/webhooks/{webhook}/deliveries/{id}/retry");
        assert_eq!(
            client
                .call(Method::POST, &retry, None)
                .await
                .unwrap()
                .status,
            202
        );
        delivery_in(&mut client, &webhook, &id, "delivered").await;
        webhook
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_event_and_its_attempts_are_spans_of_its_trace() {
        let collector = Collector::start().await;
        let site = Site::new(&["standard"]);
        let web = Web::start(
            &site.authority,
            |number| if number == 1 { 503 } else { 200 },
        )
        .await;
        let daemon = start(&site, &format!("http://{}", collector.address));
        let webhook = sent_twice(&daemon, &web).await;
        // What is left is sent at the end.
        assert!(daemon.terminate().success());
        let spans = collector.spans();
        assert_eq!(spans.len(), 3, "{spans:#?}");
        let named = |name: &str| -> Vec<&Value> {
            spans.iter().filter(|span| span["name"] == name).collect()
        };
        let [accepted] = named("accept event")[..] else {
            panic!("one event: {spans:#?}");
        };
        assert_eq!(accepted["traceId"], TRACE_ID);
        assert_eq!(accepted["parentSpanId"], "b7ad6b7169203331");
        assert_eq!(accepted["traceState"], "a=1");
        let attempts = named("POST");
        assert_eq!(attempts.len(), 2, "{spans:#?}");
        let sent: Vec<String> = web
            .received()
            .iter()
            .map(|request| header(request, "traceparent"))
            .collect();
        for (number, attempt) in (1..).zip(&attempts) {
            assert_eq!(attempt["parentSpanId"], accepted["spanId"]);
            assert_eq!(
                attribute(attempt, "hookwheel.webhook.id")["stringValue"],
                webhook
            );
            assert_eq!(
                attribute(attempt, "hookwheel.delivery.attempt")["intValue"],
                number.to_string()
            );
            // The receiver's own spans hang below the attempt.
            let parent = format!("00-{TRACE_ID}-{}-01", attempt["spanId"].as_str().unwrap());
            assert!(sent.contains(&parent), "{parent}: {sent:?}");
            assert!(
                !attempt.to_string().contains("secret-in-the-path"),
                "{attempt}"
            );
        }
        assert_eq!(attempts[0]["status"]["code"], 2);
        assert_eq!(
            attribute(attempts[0], "http.response.status_code")["intValue"],
            "503"
        );
        assert_eq!(attempts[1]["status"], json!({}));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_collector_that_is_not_there_holds_up_nothing() {
        let site = Site::new(&["standard"]);
        let web = Web::start(&site.authority, |_| 200).await;
        // A port that nobody listens on any more.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let daemon = start(&site, &format!("http://{address}"));
        let mut client = daemon.client("standard");
        let webhook = registered(&mut client, json!({ "url": web.url("/") })).await;
        let lines = format!("traceparent: {PARENT}\r\n");
        let body = json!({ "type": "a", "data": {} });
        let posted = post_with(&daemon, "/api/v1/events", &lines, &body).await;
        delivery_in(
            &mut client,
            &webhook,
            posted["id"].as_str().unwrap(),
            "delivered",
        )
        .await;
        until("the dropped spans", async || {
            let shown = get(&mut client, "/metrics").await.body;
            let line = "hookwheel_spans_total{result=\"dropped\"} 2";
            shown.as_str().unwrap().contains(line).then_some(())
        })
        .await;
        assert!(
            daemon
                .log()
                .contains("spans were dropped; deliveries are not affected")
        );
        assert!(daemon.terminate().success());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_collector_over_tls_is_verified() {
        let site = Site::new(&["standard"]);
        // The receiver of the tests speaks TLS and takes any path.
        let trusted = Authority::generate("collector CA").unwrap();
        std::fs::write(site.path("collector.pem"), trusted.certificate_pem()).unwrap();
        let good = Web::start(&trusted, |_| 200).await;
        let stranger = Web::start(&site.authority, |_| 200).await;
        for (collector, arrives) in [(&good, true), (&stranger, false)] {
            let port = collector.address().port();
            let endpoint =
                format!("https://127.0.0.1:{port}\"\notlp_ca = [\"collector.pem\"]\n# \"");
            let daemon = start(&site, &endpoint);
            let mut client = daemon.client("standard");
            let lines = format!("traceparent: {PARENT}\r\n");
            post_with(
                &daemon,
                "/api/v1/events",
                &lines,
                &json!({ "type": "a", "data": {} }),
            )
            .await;
            until("the span's end", async || {
                let shown = get(&mut client, "/metrics").await.body;
                let result = if arrives { "exported" } else { "dropped" };
                let line = format!("hookwheel_spans_total{{result=\"{result}\"}} 1");
                shown.as_str().unwrap().contains(&line).then_some(())
            })
            .await;
            assert_eq!(collector.count() > 0, arrives);
            assert!(daemon.terminate().success());
        }
    }
}
