//! What goes out, and what comes back as it was answered.

use super::*;

#[tokio::test]
async fn delivers_the_request_and_reads_the_answer() {
    let bench = Bench::new();
    let receiver = bench.receiver(Answer::text(200, "thank you")).await;
    let url = receiver.url("/hooks/a%2Fb?x=1&y[]=2");
    let sent = bench.send(&url).await;
    assert_eq!(sent.outcome, Outcome::Status(200));

    let response = sent.response.unwrap();
    assert_eq!(response.body, b"thank you");
    assert!(!response.truncated);
    assert!(
        response
            .headers
            .contains(&("content-type".to_owned(), "text/plain".to_owned()))
    );

    let requests = receiver.requests();
    assert_eq!(requests.len(), 1);
    let received = &requests[0];
    assert_eq!(received.method, http::Method::POST);
    assert_eq!(received.path, "/hooks/a%2Fb?x=1&y[]=2");
    assert_eq!(&received.body[..], b"{\"id\":\"evt_1\"}");
    let header = |name: &str| {
        received
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap())
    };
    assert_eq!(
        header("host"),
        Some(receiver.address().to_string().as_str())
    );
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!(header("content-length"), Some("14"));
    assert_eq!(
        header("user-agent"),
        Some(concat!("Hookwheel/", env!("CARGO_PKG_VERSION")))
    );
    assert!(header("transfer-encoding").is_none() && header("connection").is_none());
    assert!(received.at.0.abs_diff(sent.started_at.0) < 20_000);
}

#[tokio::test]
async fn phases_are_timed() {
    let bench = Bench::with_names(&[("hooks.example", &["127.0.0.1"])]);
    let identity = bench.authority.issue(&["hooks.example"]).unwrap();
    let receiver = Receiver::local(&identity, |_| async { Answer::status(204) })
        .await
        .unwrap();
    let url = format!("https://hooks.example:{}/", receiver.address().port());
    let sent = bench.send(&url).await;
    assert_eq!(sent.outcome, Outcome::Status(204));
    let phases = sent.phases;
    let parts = [
        phases.dns_us,
        phases.connect_us,
        phases.tls_us,
        phases.first_byte_us,
    ];
    let sum: u32 = parts.iter().map(|part| part.unwrap()).sum();
    assert!(
        phases.tls_us.unwrap() > 0 && sum <= phases.total_us,
        "{phases:?}"
    );

    let literal = bench.receiver(Answer::status(204)).await;
    let phases = bench.send(&literal.url("/")).await.phases;
    assert!(
        phases.dns_us.is_none() && phases.connect_us.is_some(),
        "{phases:?}"
    );
}

#[tokio::test]
async fn every_final_status_is_taken_as_it_is() {
    let bench = Bench::new();
    let codes = [
        200, 201, 202, 204, 299, 304, 400, 404, 410, 429, 500, 503, 599,
    ];
    let receiver = bench
        .scripted(move |number| Answer::status(codes[usize::try_from(number - 1).unwrap()]))
        .await;
    for code in codes {
        let sent = bench.send(&receiver.url("/")).await;
        assert_eq!(sent.outcome, Outcome::Status(code));
    }
    assert_eq!(receiver.requests_count(), 13);
}

#[tokio::test]
async fn redirects_are_answers_and_not_followed() {
    let bench = Bench::new();
    let target = bench.receiver(Answer::status(200)).await;
    let location = target.url("/elsewhere");
    for code in [301, 302, 303, 307, 308] {
        let answer = Answer::Status {
            code,
            headers: vec![("location".to_owned(), location.clone())],
            body: Bytes::new(),
        };
        let receiver = bench.receiver(answer).await;
        let sent = bench.send(&receiver.url("/")).await;
        assert_eq!(sent.outcome, Outcome::Status(code));
        let headers = sent.response.unwrap().headers;
        assert!(headers.contains(&("location".to_owned(), location.clone())));
    }
    assert_eq!(target.connections_count(), 0);
}

#[tokio::test]
async fn framing_and_connection_headers_are_the_senders_own() {
    let bench = Bench::new();
    let receiver = bench.receiver(Answer::status(200)).await;
    let mut request = request(&receiver.url("/"), AMPLE);
    for (name, value) in [
        ("host", "evil.example"),
        ("content-length", "3"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("upgrade", "h2c"),
        ("expect", "100-continue"),
        ("x-custom", "kept"),
        ("user-agent", "Product/1"),
    ] {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers.insert(name, value.parse().unwrap());
    }
    assert_eq!(
        bench.sender.send(request).await.outcome,
        Outcome::Status(200)
    );
    let received = receiver.requests().pop().unwrap();
    assert_eq!(received.headers["host"], receiver.address().to_string());
    assert_eq!(received.headers["content-length"], "14");
    assert_eq!(received.headers["x-custom"], "kept");
    assert_eq!(received.headers["user-agent"], "Product/1");
    for gone in ["transfer-encoding", "connection", "upgrade", "expect"] {
        assert!(!received.headers.contains_key(gone), "{gone}");
    }
    assert_eq!(&received.body[..], b"{\"id\":\"evt_1\"}");
}

#[tokio::test]
async fn an_empty_body_is_announced() {
    let bench = Bench::new();
    let receiver = bench.receiver(Answer::status(200)).await;
    let mut request = request(&receiver.url("/"), AMPLE);
    request.body = Bytes::new();
    assert_eq!(
        bench.sender.send(request).await.outcome,
        Outcome::Status(200)
    );
    assert_eq!(receiver.requests()[0].headers["content-length"], "0");
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let bench = Bench::new();
    let receiver = bench.receiver(Answer::status(200)).await;
    let mut request = request(&receiver.url("/"), AMPLE);
    let body: Vec<u8> = (0..4 * 1024 * 1024_u32)
        .map(|n| n.to_be_bytes()[3])
        .collect();
    request.body = Bytes::from(body.clone());
    assert_eq!(
        bench.sender.send(request).await.outcome,
        Outcome::Status(200)
    );
    assert_eq!(receiver.requests()[0].body, body);
}

#[tokio::test]
async fn an_interim_answer_is_passed_over() {
    let bench = Bench::new();
    let raw = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
               HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok";
    let receiver = bench.receiver(Answer::raw(raw)).await;
    let sent = bench.send(&receiver.url("/")).await;
    assert_eq!(sent.outcome, Outcome::Status(202));
    assert_eq!(sent.response.unwrap().body, b"ok");
}

#[tokio::test]
async fn a_compressed_body_is_kept_as_it_came() {
    let bench = Bench::new();
    let bomb = vec![0x1f; 100];
    let receiver = bench
        .receiver(Answer::Status {
            code: 200,
            headers: vec![("content-encoding".to_owned(), "gzip".to_owned())],
            body: Bytes::from(bomb.clone()),
        })
        .await;
    let sent = bench.send(&receiver.url("/")).await;
    assert_eq!(sent.outcome, Outcome::Status(200));
    assert_eq!(sent.response.unwrap().body, bomb);
}

#[tokio::test]
async fn header_values_that_are_no_text_are_shown_lossily() {
    let bench = Bench::new();
    let raw = b"HTTP/1.1 200 OK\r\nx-bytes: a\xffb\r\ncontent-length: 0\r\n\r\n".as_slice();
    let receiver = bench.receiver(Answer::raw(raw)).await;
    let sent = bench.send(&receiver.url("/")).await;
    assert_eq!(sent.outcome, Outcome::Status(200));
    let headers = sent.response.unwrap().headers;
    assert!(
        headers.contains(&("x-bytes".to_owned(), "a\u{fffd}b".to_owned())),
        "{headers:?}"
    );
}
