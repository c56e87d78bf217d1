//! Resolution and the guard on addresses: what is refused sees no packet.

use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Asserts that a request is refused, that its tenant is told nothing of why, and that the operator is.
async fn assert_blocked(bench: &Bench, url: &str, why: &str) -> Sent {
    let sent = bench.send(url).await;
    let told = Outcome::Fault {
        kind: FaultKind::AddressBlocked,
        detail: BLOCKED_TEXT.to_owned(),
    };
    assert_eq!(sent.outcome, told, "{url}");
    assert!(sent.phases.connect_us.is_none());
    let endpoint = Endpoint::parse(url).unwrap();
    let probe = bench.sender.probe(&endpoint, None, AMPLE).await;
    let (kind, full) = probe.result.unwrap_err();
    assert_eq!(kind, FaultKind::AddressBlocked);
    assert!(full.contains(why), "`{why}` is not in: {full}");
    sent
}

/// A listener that can tell whether anybody connected.
pub(super) struct Untouched(TcpListener);

impl Untouched {
    async fn bind() -> Self {
        Self::bind_at(0).await
    }

    pub(super) async fn bind_at(port: u16) -> Self {
        Self(TcpListener::bind(("127.0.0.1", port)).await.unwrap())
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Connections are accepted in their order: if the first is ours, there was none before.
    pub(super) async fn assert_untouched(&self) {
        let ours = TcpStream::connect(self.0.local_addr().unwrap())
            .await
            .unwrap();
        let (_, peer) = self.0.accept().await.unwrap();
        assert_eq!(
            peer,
            ours.local_addr().unwrap(),
            "somebody connected before"
        );
    }
}

fn nothing_allowed(table: &[(&'static str, &[&str])]) -> Bench {
    Bench::with(
        |options| options.policy = AddressPolicy::default(),
        Some(names(table)),
    )
}

#[tokio::test]
async fn a_refused_literal_sees_no_packet() {
    let bench = nothing_allowed(&[]);
    let listener = Untouched::bind().await;
    for host in [
        "127.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ] {
        let url = format!("https://{host}:{}/", listener.port());
        assert_blocked(&bench, &url, "loopback").await;
    }
    let metadata = "https://169.254.169.254/latest/meta-data/";
    assert_blocked(&bench, metadata, "no setting allows it").await;
    let line = "[egress] allow = [\"10.1.2.3/32\"]";
    assert_blocked(&bench, "https://10.1.2.3/", line).await;
    listener.assert_untouched().await;
}

#[tokio::test]
async fn a_name_with_one_refused_address_sees_no_packet() {
    // 127.0.0.1 is allowed here, its neighbours in the answers are not.
    let bench = Bench::with_names(&[
        ("good-first.example", &["127.0.0.1", "10.0.0.1"]),
        ("bad-first.example", &["169.254.169.254", "127.0.0.1"]),
        ("mapped.example", &["127.0.0.1", "::ffff:192.168.0.1"]),
        ("v6.example", &["127.0.0.1", "fe80::1"]),
        ("bad.example", &["10.0.0.1"]),
    ]);
    let listener = Untouched::bind().await;
    for (host, named) in [
        ("good-first.example", "10.0.0.1"),
        ("bad-first.example", "169.254.169.254"),
        ("mapped.example", "192.168.0.1"),
        ("v6.example", "fe80::1"),
        ("bad.example", "10.0.0.1"),
    ] {
        let url = format!("https://{host}:{}/", listener.port());
        let sent = assert_blocked(&bench, &url, named).await;
        assert!(sent.phases.dns_us.is_some());
    }
    listener.assert_untouched().await;
}

#[tokio::test]
async fn local_names_are_refused_before_they_are_resolved() {
    let bench = nothing_allowed(&[
        ("localhost", &["198.41.0.4"]),
        ("a.internal", &["198.41.0.4"]),
    ]);
    for host in ["localhost", "x.localhost", "printer.local", "a.internal"] {
        let sent = assert_blocked(&bench, &format!("https://{host}/"), host).await;
        assert!(sent.phases.dns_us.is_none());
    }
}

#[tokio::test]
async fn a_name_without_address_is_a_dns_fault() {
    let bench = Bench::with_names(&[("empty.example", &[])]);
    let sent = bench.send("https://empty.example/").await;
    assert_fault(&sent, FaultKind::Dns, "empty.example has no address");
    // RFC 6761: `invalid` does not exist, and no server is asked.
    let sent = Bench::new().send("https://nobody.invalid/").await;
    assert_fault(&sent, FaultKind::Dns, "nobody.invalid");
}

#[tokio::test]
async fn both_resolvers_find_what_the_hosts_file_has() {
    for resolver in [Resolver::BuiltIn, Resolver::System] {
        let loopback = ["127.0.0.0/8", "::1/128"].map(|range| range.parse().unwrap());
        let bench = Bench::with(
            |options| {
                options.resolver = resolver;
                options.policy = AddressPolicy::new(loopback.to_vec(), Vec::new());
            },
            None,
        );
        let identity = bench.authority.issue(&["localhost"]).unwrap();
        let receiver = Receiver::local(&identity, |_| async { Answer::status(200) })
            .await
            .unwrap();
        let url = format!("https://localhost:{}/", receiver.address().port());
        let sent = bench.send(&url).await;
        assert_eq!(sent.outcome, Outcome::Status(200), "{resolver:?}");
        assert!(sent.phases.dns_us.is_some());
    }
}

#[tokio::test]
async fn a_closed_port_is_a_connect_fault() {
    let bench = Bench::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let sent = bench.send(&format!("https://{address}/")).await;
    assert_fault(
        &sent,
        FaultKind::Connect,
        &format!("{address} refused the connection"),
    );
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses() {
    let bench = Bench::with_names(&[
        ("hooks.example", &["127.0.0.2", "127.0.0.3", "127.0.0.1"]),
        ("dead.example", &["127.0.0.2", "127.0.0.3"]),
    ]);
    let identity = bench.authority.issue(&["hooks.example"]).unwrap();
    let receiver = Receiver::local(&identity, |_| async { Answer::status(200) })
        .await
        .unwrap();
    let port = receiver.address().port();
    let sent = bench.send(&format!("https://hooks.example:{port}/")).await;
    assert_eq!(sent.outcome, Outcome::Status(200));
    let requests = receiver.requests();
    assert_eq!(requests[0].headers["host"], format!("hooks.example:{port}"));
    let sent = bench.send(&format!("https://dead.example:{port}/")).await;
    let told = format!("dead.example:{port} refused the connection");
    assert_fault(&sent, FaultKind::Connect, &told);
    assert!(
        !sent.outcome.to_string().contains("127."),
        "{}",
        sent.outcome
    );
}

#[tokio::test]
async fn a_name_is_verified_against_the_certificate() {
    let bench = Bench::with_names(&[
        ("hooks.example", &["127.0.0.1"]),
        ("alias.example", &["127.0.0.1"]),
    ]);
    let identity = bench.authority.issue(&["hooks.example"]).unwrap();
    let receiver = Receiver::local(&identity, |_| async { Answer::status(200) })
        .await
        .unwrap();
    let port = receiver.address().port();
    let sent = bench.send(&format!("https://HOOKS.example:{port}/")).await;
    assert_eq!(sent.outcome, Outcome::Status(200));
    let sent = bench.send(&format!("https://alias.example:{port}/")).await;
    assert_fault(&sent, FaultKind::Tls, "alias.example");
    assert_eq!(receiver.requests_count(), 1);
}

#[tokio::test]
async fn a_name_with_more_addresses_than_anybody_has_is_not_dialled() {
    let many: Vec<String> = (0..65).map(|n| format!("127.0.1.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let bench = Bench::with_names(&[("many.example", &many)]);
    let sent = bench.send("https://many.example/").await;
    assert_fault(&sent, FaultKind::Dns, "has more than 64 addresses");
    let bench = Bench::with_names(&[("many.example", &many[..64])]);
    let listener = Untouched::bind().await;
    let sent = bench
        .send(&format!("https://many.example:{}/", listener.port()))
        .await;
    assert_fault(&sent, FaultKind::Connect, "refused the connection");
}
