//! Rude receivers: each gets a typed outcome, in time, and takes no more memory than its bound.

use tokio::net::TcpListener;

use super::*;

#[tokio::test]
async fn a_receiver_that_never_answers_times_out() {
    let bench = Bench::new();
    let receiver = bench.receiver(Answer::hang()).await;
    let sent = assert_timeout(
        &bench,
        &receiver.url("/"),
        "timeout after 1.5 s while waiting for the answer",
    )
    .await;
    assert!(sent.response.is_none() && sent.phases.first_byte_us.is_none());
    assert!(sent.phases.tls_us.is_some());
    assert_eq!(receiver.requests_count(), 1);
}

#[tokio::test]
async fn a_dripping_body_times_out_with_what_came() {
    let bench = Bench::new();
    let receiver = bench
        .receiver(Answer::drip(Duration::from_millis(100)))
        .await;
    let sent = assert_timeout(&bench, &receiver.url("/"), "reading the body").await;
    let response = sent.response.unwrap();
    assert!(response.truncated);
    assert!(
        (2..=16).contains(&response.body.len()),
        "{}",
        response.body.len()
    );
    assert!(sent.phases.first_byte_us.is_some());
}

#[tokio::test]
async fn a_dripping_head_times_out() {
    let bench = Bench::new();
    let drip = Step::Repeat {
        bytes: Bytes::from_static(b"x-drip: 1\r\n"),
        pause: Duration::from_millis(100),
    };
    let start = Step::Send(Bytes::from_static(b"HTTP/1.1 200 OK\r\n"));
    let receiver = bench.receiver(Answer::Script(vec![start, drip])).await;
    let sent = assert_timeout(&bench, &receiver.url("/"), "reading the head").await;
    assert!(sent.response.is_none());
}

#[tokio::test]
async fn an_endless_body_is_cut_and_its_connection_closed() {
    let bench = Bench::new();
    let receiver = bench.receiver(Answer::endless_body()).await;
    for _ in 0..2 {
        let sent = bench.send(&receiver.url("/")).await;
        assert_eq!(sent.outcome, Outcome::Status(200));
        let response = sent.response.unwrap();
        assert!(response.truncated);
        assert_eq!(response.body.len(), BODY_MAX);
        assert!(
            response.body.capacity() <= 2 * BODY_MAX,
            "{}",
            response.body.capacity()
        );
    }
    assert_eq!(receiver.connections_count(), 2);
    // The connections are closed, not drained: their tasks end while the receiver still writes.
    tokio::time::timeout(AMPLE, bench.sender.close())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_body_of_exactly_the_cap_is_whole() {
    let bench = Bench::new();
    for (length, truncated) in [
        (BODY_MAX - 1, false),
        (BODY_MAX, false),
        (BODY_MAX + 1, true),
    ] {
        for framing in ["content-length", "chunked", "close"] {
            let body = "x".repeat(length);
            let answer = match framing {
                "content-length" => Answer::text(200, &body),
                "chunked" => Answer::raw(format!(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
                )),
                _ => Answer::raw(format!("HTTP/1.1 200 OK\r\n\r\n{body}")),
            };
            let receiver = bench.receiver(answer).await;
            let sent = bench.send(&receiver.url("/")).await;
            assert_eq!(sent.outcome, Outcome::Status(200), "{framing} {length}");
            let response = sent.response.unwrap();
            assert_eq!(response.truncated, truncated, "{framing} {length}");
            assert_eq!(
                response.body.len(),
                length.min(BODY_MAX),
                "{framing} {length}"
            );
        }
    }
}

#[tokio::test]
async fn a_lying_content_length_reserves_nothing_beyond_the_cap() {
    let bench = Bench::new();
    let raw = "HTTP/1.1 200 OK\r\ncontent-length: 9999999999999\r\n\r\nshort";
    let receiver = bench.receiver(Answer::raw(raw)).await;
    let sent = bench.send(&receiver.url("/")).await;
    assert_fault(&sent, FaultKind::Reset, "in the middle of its answer");
    let response = sent.response.unwrap();
    assert_eq!(response.body, b"short");
    assert!(response.truncated && response.body.capacity() <= BODY_MAX);
}

#[tokio::test]
async fn connections_that_end_early_are_resets() {
    let bench = Bench::new();
    for (answer, text) in [
        (Answer::reset(), "the connection"),
        (Answer::close(), "before it answered"),
        (Answer::Script(vec![Step::Truncate]), "before it answered"),
        (Answer::raw("HTTP/1.1 20"), "in the middle"),
        (
            Answer::raw("HTTP/1.1 200 OK\r\ncontent-le"),
            "in the middle",
        ),
        (
            Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"),
            "in the middle",
        ),
        (
            Answer::raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"),
            "in the middle",
        ),
    ] {
        let receiver = bench.receiver(answer.clone()).await;
        let sent = bench.send(&receiver.url("/")).await;
        assert_fault(&sent, FaultKind::Reset, text);
        assert_eq!(
            receiver.requests_count(),
            1,
            "sent again over a fresh connection: {answer:?}"
        );
    }
}

#[tokio::test]
async fn answers_that_are_not_http_are_protocol_faults() {
    let bench = Bench::new();
    let many: String = (0..10_000).map(|n| format!("h{n}: v\r\n")).collect();
    let some: String = (0..101).map(|n| format!("h{n}: v\r\n")).collect();
    for raw in [
        "garbage garbage garbage\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
        "HTTP/2.0 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 abc OK\r\n\r\n".to_owned(),
        "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 600 Odd\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nnul: a\0b\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{some}\r\n"),
        format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
        format!(
            "HTTP/1.1 200 OK\r\nlong: {}\r\n\r\n",
            "x".repeat(1024 * 1024)
        ),
        format!("HTTP/1.1 200 OK\r\n{}: x\r\n\r\n", "x".repeat(100_000)),
        "x".repeat(1024 * 1024),
    ] {
        let receiver = bench.receiver(Answer::raw(raw.clone())).await;
        let sent = bench.send(&receiver.url("/")).await;
        let shown = &raw[..raw.len().min(60)];
        match &sent.outcome {
            Outcome::Fault { kind, .. } if *kind == FaultKind::Protocol => {}
            other => panic!("{shown:?} ended as {other}"),
        }
        assert_eq!(receiver.requests_count(), 1, "{shown:?}");
    }
}

#[tokio::test]
async fn a_hundred_headers_are_still_taken() {
    let bench = Bench::new();
    let some: String = (0..99).map(|n| format!("h{n}: v\r\n")).collect();
    let raw = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{some}\r\n");
    let receiver = bench.receiver(Answer::raw(raw)).await;
    let sent = bench.send(&receiver.url("/")).await;
    assert_eq!(sent.outcome, Outcome::Status(200));
    assert_eq!(sent.response.unwrap().headers.len(), 100);
}

#[tokio::test]
async fn a_flood_of_interim_answers_is_ended_by_its_bytes() {
    let bench = Bench::new();
    let receiver = bench.receiver(Answer::interim_flood()).await;
    let sent = bench.send(&receiver.url("/")).await;
    assert_fault(&sent, FaultKind::Protocol, "256 KiB");
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_counts_without_tls_end_mark() {
    let bench = Bench::new();
    for (head, body) in [
        ("HTTP/1.0 200 OK\r\n\r\n", "done"),
        ("HTTP/1.1 200 OK\r\n\r\n", ""),
        (
            "HTTP/1.1 202 Accepted\r\nconnection: close\r\n\r\n",
            "partly",
        ),
    ] {
        let send = Step::Send(Bytes::from(format!("{head}{body}")));
        let receiver = bench
            .receiver(Answer::Script(vec![send, Step::Truncate]))
            .await;
        let sent = bench.send(&receiver.url("/")).await;
        assert!(
            matches!(sent.outcome, Outcome::Status(200 | 202)),
            "{head}: {}",
            sent.outcome
        );
        let response = sent.response.unwrap();
        assert_eq!(response.body, body.as_bytes());
        assert!(response.truncated, "whether it was all is not known");
    }
}

#[tokio::test]
async fn a_receiver_that_reads_nothing_times_out_and_leaves_no_task() {
    let bench = Bench::new();
    let identity = bench.authority.issue(&["127.0.0.1"]).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let tls = tokio_rustls::TlsAcceptor::from(identity.server_config().unwrap());
    let held = async {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = tls.accept(stream).await.unwrap();
        std::future::pending::<()>().await;
        drop(stream);
    };
    let mut big = request(&url, SHORT);
    // Far beyond what socket buffers take.
    big.body = Bytes::from(vec![b'x'; 32 * 1024 * 1024]);
    let client = async {
        let sent = bench.sender.send(big).await;
        assert_fault(&sent, FaultKind::Timeout, "waiting for the answer");
        tokio::time::timeout(AMPLE, bench.sender.close()).await
    };
    // The receiver holds its end all the time, so the connection ends from this side or never.
    tokio::select! {
        closed = client => closed.unwrap(),
        () = held => unreachable!("it is held for ever"),
    }
}
