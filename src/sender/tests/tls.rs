//! Handshakes that fail, each by its name; nothing of the request is seen by such a receiver.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

async fn refused(identity: &Identity, bench: &Bench, reason: &str) {
    let receiver = Receiver::local(identity, |_| async { Answer::status(200) })
        .await
        .unwrap();
    let sent = bench.send(&receiver.url("/")).await;
    assert_fault(&sent, FaultKind::Tls, reason);
    assert!(sent.phases.connect_us.is_some() && sent.phases.first_byte_us.is_none());
    assert_eq!(receiver.requests_count(), 0);
    assert_eq!(receiver.connections_count(), 1);
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let bench = Bench::new();
    let identity = bench.authority.issue_expired(&["127.0.0.1"]).unwrap();
    refused(&identity, &bench, "has expired").await;
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused_and_its_names_shown() {
    let bench = Bench::new();
    let identity = bench
        .authority
        .issue(&["127.0.0.2", "other.example"])
        .unwrap();
    refused(&identity, &bench, "for another host than 127.0.0.1").await;
    refused(&identity, &bench, "it names: 127.0.0.2, other.example").await;
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let bench = Bench::new();
    let identity = Identity::self_signed(&["127.0.0.1"]).unwrap();
    refused(&identity, &bench, "self-signed").await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let bench = Bench::new();
    let other = Authority::generate("Another CA").unwrap();
    refused(
        &other.issue(&["127.0.0.1"]).unwrap(),
        &bench,
        "unknown issuer",
    )
    .await;
}

#[tokio::test]
async fn an_authority_of_the_same_name_is_not_the_same_authority() {
    let bench = Bench::new();
    let forged = Authority::generate("Hookwheel test CA").unwrap();
    refused(
        &forged.issue(&["127.0.0.1"]).unwrap(),
        &bench,
        "not signed by the CA",
    )
    .await;
}

#[tokio::test]
async fn without_the_extra_ca_its_receivers_are_refused() {
    let trusting = Bench::new();
    let identity = trusting.authority.issue(&["127.0.0.1"]).unwrap();
    let strict = Bench::with(|options| options.extra_ca.clear(), None);
    refused(&identity, &strict, "[egress] extra_ca").await;
    let receiver = Receiver::local(&identity, |_| async { Answer::status(200) })
        .await
        .unwrap();
    assert_eq!(
        trusting.send(&receiver.url("/")).await.outcome,
        Outcome::Status(200)
    );
}

/// A server that sends bytes in place of a handshake, and then reads until the peer is gone.
async fn raw_server(bytes: &'static [u8]) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let server = TaskTracker::new().spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut sink = [0; 4096];
        assert!(
            stream.read(&mut sink).await.unwrap() > 0,
            "a hello was sent"
        );
        stream.write_all(bytes).await.unwrap();
        while matches!(stream.read(&mut sink).await, Ok(read) if read > 0) {}
    });
    (url, server)
}

#[tokio::test]
async fn a_plain_http_server_is_a_tls_fault() {
    let bench = Bench::new();
    let (url, server) = raw_server(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    let sent = bench.send(&url).await;
    assert_fault(&sent, FaultKind::Tls, "does not speak TLS on this port");
    server.await.unwrap();
}

#[tokio::test]
async fn a_server_of_old_tls_alone_is_named_by_its_alert() {
    let bench = Bench::new();
    // A fatal alert, protocol_version (RFC 8446, 6), as a TLS 1.1 server answers.
    let (url, server) = raw_server(&[0x15, 0x03, 0x02, 0x00, 0x02, 0x02, 0x46]).await;
    let sent = bench.send(&url).await;
    assert_fault(&sent, FaultKind::Tls, "ProtocolVersion");
    server.await.unwrap();
}

#[tokio::test]
async fn a_handshake_that_never_starts_times_out() {
    let bench = Bench::new();
    let (url, server) = raw_server(b"").await;
    let sent = assert_timeout(&bench, &url, "in the TLS handshake").await;
    assert!(sent.phases.connect_us.is_some() && sent.phases.tls_us.is_none());
    server.await.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_up_is_a_tls_fault() {
    let bench = Bench::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let hang_up = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = [0; 16];
        stream.read_exact(&mut hello).await.unwrap();
    };
    let (sent, ()) = tokio::join!(bench.send(&url), hang_up);
    assert_fault(&sent, FaultKind::Tls, "during the TLS handshake");
}
