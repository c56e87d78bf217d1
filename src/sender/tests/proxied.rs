//! Through a proxy: what it is asked for, and what comes of proxies that are hostile or broken.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::model::{Host, Secret};

/// A small CONNECT proxy that notes what it is asked for.
pub(super) struct Relay {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Relay {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (noted, tasks) = (Arc::clone(&asked), TaskTracker::new());
        let serving = TaskTracker::new().spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let noted = Arc::clone(&noted);
                tasks.spawn(async move {
                    let request = head(&mut stream).await;
                    let target = request.split(' ').nth(1).unwrap().to_owned();
                    noted.lock().unwrap().push(target.clone());
                    // Tests name receivers that this machine cannot resolve.
                    let target = target.replace("far.example", "127.0.0.1");
                    let mut there = TcpStream::connect(target).await.unwrap();
                    stream
                        .write_all(b"HTTP/1.1 200 Connected\r\n\r\n")
                        .await
                        .unwrap();
                    drop(copy_bidirectional(&mut stream, &mut there).await);
                });
            }
        });
        Self {
            port,
            asked,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    pub(super) fn options(&self) -> ProxyOptions {
        options(ProxyProtocol::Http, self.port)
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn options(protocol: ProxyProtocol, port: u16) -> ProxyOptions {
    ProxyOptions {
        protocol,
        host: Host::Address("127.0.0.1".parse().unwrap()),
        port,
        login: None,
        bypass: Bypass::default(),
        resolves_names: false,
    }
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn through(proxy: ProxyOptions) -> Bench {
    let table = names(&[
        ("hooks.example", &["127.0.0.1"]),
        ("dual.example", &["127.0.0.3", "127.0.0.1"]),
    ]);
    Bench::with(|options| options.proxy = Some(proxy), Some(table))
}

async fn receiver(bench: &Bench, host: &str) -> Receiver {
    let identity = bench.authority.issue(&[host, "127.0.0.1"]).unwrap();
    Receiver::local(&identity, |_| async { Answer::status(200) })
        .await
        .unwrap()
}

#[tokio::test]
async fn the_proxy_is_asked_for_an_address_and_tls_runs_inside() {
    let relay = Relay::start().await;
    let bench = through(relay.options());
    let receiver = receiver(&bench, "hooks.example").await;
    let url = format!("https://hooks.example:{}/", receiver.address().port());
    for _ in 0..3 {
        let sent = bench.send(&url).await;
        assert_eq!(sent.outcome, Outcome::Status(200));
    }
    // Once, as the tunnel is used again.
    assert_eq!(relay.asked(), [receiver.address().to_string()]);
    // The name is verified inside of the tunnel.
    let url = format!("https://dual.example:{}/", receiver.address().port());
    let alone = through(relay.options());
    assert_fault(&alone.send(&url).await, FaultKind::Connect, "the proxy");
    // What is refused is not asked for.
    let refused = bench.send("https://10.0.0.1/").await;
    assert_fault(&refused, FaultKind::AddressBlocked, BLOCKED_TEXT);
}

#[tokio::test]
async fn names_and_ranges_are_dialled_directly_as_configured() {
    let relay = Relay::start().await;
    for bypass in [
        Bypass {
            ranges: vec!["127.0.0.0/8".parse().unwrap()],
            names: Vec::new(),
        },
        Bypass {
            ranges: Vec::new(),
            names: vec![".example".to_owned()],
        },
    ] {
        let bench = through(ProxyOptions {
            bypass,
            ..relay.options()
        });
        let receiver = receiver(&bench, "hooks.example").await;
        let url = format!("https://hooks.example:{}/", receiver.address().port());
        assert_eq!(bench.send(&url).await.outcome, Outcome::Status(200));
    }
    assert!(relay.asked().is_empty());
}

#[tokio::test]
async fn a_name_is_handed_over_only_where_the_operator_says_so() {
    let relay = Relay::start().await;
    let options = ProxyOptions {
        resolves_names: true,
        ..relay.options()
    };
    let bench = through(options);
    let receiver = receiver(&bench, "far.example").await;
    let port = receiver.address().port();
    let sent = bench.send(&format!("https://far.example:{port}/")).await;
    assert_eq!(sent.outcome, Outcome::Status(200));
    assert!(sent.phases.dns_us.is_none());
    assert_eq!(relay.asked(), [format!("far.example:{port}")]);
    // Addresses are judged here, and names of the site resolved here.
    for url in ["https://10.0.0.1/", "https://169.254.169.254/"] {
        assert_fault(
            &bench.send(url).await,
            FaultKind::AddressBlocked,
            BLOCKED_TEXT,
        );
    }
    let sent = bench.send("https://db.internal/").await;
    assert_fault(&sent, FaultKind::Dns, "db.internal has no address");
    assert_eq!(relay.asked().len(), 1);
    let without = through(relay.options());
    let sent = without.send(&format!("https://far.example:{port}/")).await;
    assert_fault(&sent, FaultKind::Dns, "far.example has no address");
}

/// A proxy that reads something, sends these bytes whatever it was, and closes or holds the connection.
async fn scripted(answers: &'static [&'static [u8]], holds: bool) -> (u16, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = TaskTracker::new().spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                let mut sink = [0; 4096];
                drop(stream.read(&mut sink).await);
                drop(stream.write_all(answer).await);
            }
            if holds {
                held.push(stream);
            }
        }
    });
    (port, AbortOnDropHandle::new(serving))
}

/// What a tenant and an operator are told of such a proxy.
async fn told(
    protocol: ProxyProtocol,
    answers: &'static [&'static [u8]],
    holds: bool,
) -> (String, String) {
    let (port, _serving) = scripted(answers, holds).await;
    let mut options = options(protocol, port);
    options.login = Some(ProxyLogin {
        user: "wheel".to_owned(),
        password: Secret::new("hunter2".to_owned()),
    });
    let bench = through(options);
    let sent = bench.send("https://hooks.example:9/").await;
    assert_fault(
        &sent,
        FaultKind::Connect,
        "the proxy that requests go through",
    );
    let endpoint = Endpoint::parse("https://hooks.example:9/").unwrap();
    let (_, full) = bench
        .sender
        .probe(&endpoint, None, AMPLE)
        .await
        .result
        .unwrap_err();
    let detail = sent.outcome.to_string();
    for secret in ["127.0.0.1", &port.to_string(), "wheel", "hunter2"] {
        assert!(!detail.contains(secret), "{detail}");
    }
    assert!(full.contains(&format!("127.0.0.1:{port}")), "{full}");
    assert!(!full.contains("hunter2"), "{full}");
    (detail, full)
}

#[tokio::test]
async fn what_http_proxies_do_wrong_is_told_apart() {
    let cases: [(&'static [&'static [u8]], bool, &str); 8] = [
        (&[b"HTTP/1.1 407 Who\r\n\r\n"], true, "status 407"),
        (
            &[b"HTTP/1.1 403 No\r\ncontent-length: 9\r\n\r\nforbidden"],
            true,
            "status 403",
        ),
        (&[b"HTTP/1.0 502 Bad Gateway\r\n\r\n"], true, "status 502"),
        (&[b"SSH-2.0-OpenSSH_9.9\r\n"], true, "does not speak HTTP"),
        (
            &[b"HTTP/1.1 200 OK\r\n\r\nsmuggled"],
            true,
            "does not speak HTTP",
        ),
        (&[b"HTTP/1.1 2"], false, "closed the connection"),
        (&[b""], false, "closed the connection"),
        (&LONG_ANSWER, true, "over 16 KiB"),
    ];
    for (answers, holds, expected) in cases {
        let (detail, _) = told(ProxyProtocol::Http, answers, holds).await;
        assert!(
            detail.contains(expected),
            "`{expected}` is not in: {detail}"
        );
    }
}

static LONG_ANSWER: [&[u8]; 1] = [&LONG_HEAD];
/// A head that begins well and does not end.
static LONG_HEAD: [u8; 20_000] = {
    let mut head = [b'a'; 20_000];
    let (version, _) = head.split_at_mut(13);
    version.copy_from_slice(b"HTTP/1.1 200 ");
    head
};

#[tokio::test]
async fn what_socks_proxies_do_wrong_is_told_apart() {
    let cases: [(&'static [&'static [u8]], bool, &str); 7] = [
        (&[&[5, 0xff]], true, "wants credentials"),
        (&[&[5, 2], &[1, 1]], true, "does not take the credentials"),
        (
            &[&[5, 0], &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]],
            true,
            "SOCKS status 2",
        ),
        (
            &[&[5, 0], &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]],
            true,
            "refused the connection (SOCKS status 5)",
        ),
        (
            &[b"HTTP/1.1 400 Bad Request\r\n\r\n"],
            true,
            "does not speak SOCKS 5",
        ),
        (&[&[5, 0], &[5, 0, 0, 9, 0]], true, "does not speak SOCKS 5"),
        (&[&[5]], false, "closed the connection"),
    ];
    for (answers, holds, expected) in cases {
        let (detail, _) = told(ProxyProtocol::Socks5, answers, holds).await;
        assert!(
            detail.contains(expected),
            "`{expected}` is not in: {detail}"
        );
    }
}

#[tokio::test]
async fn a_proxy_that_never_answers_ends_with_the_deadline_and_one_that_is_gone_at_once() {
    let (port, _serving) = scripted(&[b""], true).await;
    let bench = through(options(ProxyProtocol::Http, port));
    assert_timeout(&bench, "https://hooks.example:9/", "waiting for the proxy").await;
    let closed = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let bench = through(options(ProxyProtocol::Socks5, port));
    let sent = bench.send("https://hooks.example:9/").await;
    assert_fault(&sent, FaultKind::Connect, "cannot be connected to");
}
