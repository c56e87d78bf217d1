//! The receiver's own bounds and its end, tried with a bare TLS client.

use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// Long enough that no test on a busy machine meets it by accident.
const AMPLE: Duration = Duration::from_secs(20);

async fn client(authority: &Authority, receiver: &Receiver) -> TlsStream<TcpStream> {
    let server = ServerName::from(receiver.address().ip());
    connect(authority, receiver, server).await.unwrap()
}

async fn connect(
    authority: &Authority,
    receiver: &Receiver,
    server: ServerName<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(receiver.address()).await.unwrap();
    let tls = TlsConnector::from(Arc::new(config));
    tls.connect(server, stream).await
}

/// Writes a request and reads until the connection ends.
async fn say(stream: &mut TlsStream<TcpStream>, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Without TLS's end mark the read fails after what came; that is what the text is compared to.
    match timeout(AMPLE, stream.read_to_end(&mut answer))
        .await
        .unwrap()
    {
        Ok(_) => {}
        Err(error) => answer.extend(format!("<{:?}>", error.kind()).bytes()),
    }
    String::from_utf8(answer).unwrap()
}

async fn start(authority: &Authority, options: Options, answer: Answer) -> Receiver {
    let identity = authority.issue(&["127.0.0.1"]).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    Receiver::start(listener, &identity, options, move |_| {
        std::future::ready(answer.clone())
    })
    .unwrap()
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn answers_and_keeps_the_newest_requests() {
    let authority = Authority::generate("CA").unwrap();
    let options = Options {
        requests_kept_max: 2,
        ..Options::default()
    };
    let receiver = start(&authority, options, Answer::text(201, "made")).await;
    for path in ["/1", "/2", "/3"] {
        let answer = say(&mut client(&authority, &receiver).await, &post(path, "x")).await;
        assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nmade"), "{answer}");
    }
    timeout(AMPLE, receiver.wait_for_requests(3)).await.unwrap();
    let paths: Vec<String> = receiver.requests().into_iter().map(|r| r.path).collect();
    assert_eq!(paths, ["/2", "/3"]);
    assert_eq!(receiver.connections_count(), 3);
}

#[tokio::test]
async fn a_body_over_its_bound_is_refused() {
    let authority = Authority::generate("CA").unwrap();
    let options = Options {
        body_bytes_max: 10,
        ..Options::default()
    };
    let receiver = start(&authority, options, Answer::status(200)).await;
    for (body, status) in [("0123456789", "200"), ("0123456789a", "413")] {
        let answer = say(&mut client(&authority, &receiver).await, &post("/", body)).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    assert_eq!(receiver.requests_count(), 1);
}

#[tokio::test]
async fn scripts_are_played_to_the_byte() {
    let authority = Authority::generate("CA").unwrap();
    for (answer, expected) in [
        (Answer::raw("no HTTP"), "no HTTP"),
        (Answer::close(), ""),
        (
            Answer::Script(vec![Step::Send(Bytes::from_static(b"a")), Step::Truncate]),
            "a<UnexpectedEof>",
        ),
        (
            Answer::Script(vec![
                Step::Send(Bytes::from_static(b"a")),
                Step::Pause(Duration::from_millis(1)),
                Step::Send(Bytes::from_static(b"b")),
            ]),
            "ab",
        ),
    ] {
        let receiver = start(&authority, Options::default(), answer).await;
        let said = say(&mut client(&authority, &receiver).await, &post("/", "x")).await;
        assert_eq!(said, expected);
    }
}

#[tokio::test]
async fn a_handlers_nonsense_is_a_500() {
    let authority = Authority::generate("CA").unwrap();
    let header = |name: &str, value: &str| Answer::Status {
        code: 200,
        headers: vec![(name.to_owned(), value.to_owned())],
        body: Bytes::new(),
    };
    for answer in [
        Answer::status(7),
        header("a b", "c"),
        header("a", "b\r\nc: d"),
    ] {
        let receiver = start(&authority, Options::default(), answer).await;
        let said = say(&mut client(&authority, &receiver).await, &post("/", "x")).await;
        assert!(said.starts_with("HTTP/1.1 500 "), "{said}");
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let authority = Authority::generate("CA").unwrap();
    let options = Options {
        connections_max: 1,
        ..Options::default()
    };
    let receiver = start(&authority, options, Answer::status(200)).await;
    let first = client(&authority, &receiver).await;
    let mut second = Box::pin(client(&authority, &receiver));
    tokio::select! {
        biased;
        _ = &mut second => panic!("a second connection was served beside the first"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    assert_eq!(receiver.connections_count(), 1);
    drop(first);
    let mut second = timeout(AMPLE, second).await.unwrap();
    let said = say(&mut second, &post("/", "x")).await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
}

#[tokio::test]
async fn stopping_ends_idle_connections_and_scripts() {
    let authority = Authority::generate("CA").unwrap();
    let receiver = start(&authority, Options::default(), Answer::hang()).await;
    let mut idle = client(&authority, &receiver).await;
    let mut hung = client(&authority, &receiver).await;
    hung.write_all(post("/", "x").as_bytes()).await.unwrap();
    timeout(AMPLE, receiver.wait_for_requests(1)).await.unwrap();
    let address = receiver.address();
    timeout(AMPLE, receiver.stop()).await.unwrap();
    assert_eq!(bytes_until_end(&mut idle).await, 0);
    assert_eq!(bytes_until_end(&mut hung).await, 0);
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

/// Bytes that come until the connection ends.
async fn bytes_until_end(stream: &mut TlsStream<TcpStream>) -> usize {
    let mut answer = Vec::new();
    match timeout(AMPLE, stream.read_to_end(&mut answer))
        .await
        .unwrap()
    {
        Ok(_) | Err(_) => answer.len(),
    }
}

#[test]
fn an_authority_shows_its_certificate_as_pem() {
    let pem = Authority::generate("CA").unwrap().certificate_pem();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    assert!(
        Authority::generate("CA")
            .unwrap()
            .issue(&["not a name\u{7f}é"])
            .is_err()
    );
}

#[tokio::test]
async fn a_local_ca_is_trusted_for_this_machine_only() {
    let authority = Authority::local_until("CA", (2999, 12, 31), None).unwrap();
    let names = ["127.0.0.1", "localhost", "example.com", "10.0.0.1"];
    for (name, trusted) in names.into_iter().zip([true, true, false, false]) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let identity = authority.issue(&[name]).unwrap();
        let receiver = Receiver::start(listener, &identity, Options::default(), |_| {
            std::future::ready(Answer::status(200))
        })
        .unwrap();
        let mut failures = receiver.handshake_failures();
        let server = ServerName::try_from(name).unwrap();
        let connected = connect(&authority, &receiver, server).await;
        assert_eq!(connected.is_ok(), trusted, "{name}");
        if !trusted {
            timeout(AMPLE, failures.changed()).await.unwrap().unwrap();
            assert!(failures.borrow().is_some());
        }
    }
}
