//! TLS by name: client certificates and CAs of a webhook's own, never shared with others.

use super::*;

fn acme() -> AccountName {
    AccountName::new("acme").unwrap()
}

/// What a name means for the account now.
fn settings(bench: &Bench, name: &str) -> TlsSettings {
    bench.sender.tls_names()[&acme()][name].clone()
}

fn named(name: &str, client: Option<&Identity>, ca: &[&Authority]) -> TlsIdentity {
    TlsIdentity {
        name: name.to_owned(),
        accounts: vec![acme()],
        client: client.map(|identity| ClientCertificate {
            chain: identity.chain().to_vec(),
            key: Arc::new(identity.key().clone_key()),
        }),
        ca: ca
            .iter()
            .map(|authority| authority.certificate().clone())
            .collect(),
    }
}

async fn send(bench: &Bench, url: &str, tls: Option<&str>) -> Sent {
    let mut request = request(url, AMPLE);
    request.tls = tls.map(|name| settings(bench, name));
    bench.sender.send(request).await
}

async fn send_with(bench: &Bench, url: &str, settings: TlsSettings) -> Sent {
    let mut request = request(url, AMPLE);
    request.tls = Some(settings);
    bench.sender.send(request).await
}

/// A receiver's certificate, and that it asks clients for one of this authority.
fn asking(bench: &Bench, clients: &Authority) -> Identity {
    let own = bench.authority.issue(&["127.0.0.1"]).unwrap();
    own.asking_clients_of(clients)
}

#[tokio::test]
async fn what_an_account_was_given_does_not_outlast_a_reload_that_takes_or_replaces_it() {
    let bench = Bench::new();
    let partner = Authority::generate("Partner CA").unwrap();
    let identity = bench.authority.issue(&["127.0.0.1"]).unwrap();
    let identity = identity.asking_clients_of(&partner);
    let receiver = Receiver::local(&identity, |_| async { Answer::status(200) })
        .await
        .unwrap();
    let url = receiver.url("/");
    let ours = named("partner", Some(&partner.issue_client("1").unwrap()), &[]);
    let of_other = TlsIdentity {
        accounts: vec![AccountName::new("other").unwrap()],
        ..ours.clone()
    };
    let replaced = named("partner", Some(&partner.issue_client("2").unwrap()), &[]);
    for after in [of_other, replaced] {
        bench.sender.set_tls(std::slice::from_ref(&ours)).unwrap();
        let given = settings(&bench, "partner");
        let sent = send_with(&bench, &url, given.clone()).await;
        assert_eq!(sent.outcome, Outcome::Status(200));
        let requests = receiver.requests_count();
        bench.sender.set_tls(&[after]).unwrap();
        assert!(!bench.sender.holds(&given));
        let sent = send_with(&bench, &url, given.clone()).await;
        assert_fault(&sent, FaultKind::Render, "or another account's");
        let probe = bench
            .sender
            .probe(&Endpoint::parse(&url).unwrap(), Some(&given), AMPLE)
            .await;
        assert_eq!(probe.result.unwrap_err().0, FaultKind::Render);
        assert_eq!(receiver.requests_count(), requests);
    }
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_certificate_gets_the_named_one_only() {
    let bench = Bench::new();
    let partner = Authority::generate("Partner CA").unwrap();
    let (ours, stranger) = (
        partner.issue_client("us").unwrap(),
        Authority::generate("Other CA")
            .unwrap()
            .issue_client("us")
            .unwrap(),
    );
    let identity = asking(&bench, &partner);
    let receiver = Receiver::local(&identity, |_| async { Answer::status(200) })
        .await
        .unwrap();
    let set = [
        named("partner", Some(&ours), &[]),
        named("stranger", Some(&stranger), &[]),
    ];
    bench.sender.set_tls(&set).unwrap();
    let url = receiver.url("/");
    for _ in 0..2 {
        assert_eq!(
            send(&bench, &url, Some("partner")).await.outcome,
            Outcome::Status(200)
        );
    }
    assert_eq!(receiver.connections_count(), 1);
    // Neither the idle connection nor its TLS session serves anybody else.
    for other in [None, Some("stranger")] {
        let sent = send(&bench, &url, other).await;
        assert_fault(&sent, FaultKind::Tls, "wants a client certificate");
    }
    let kept = settings(&bench, "partner");
    bench.sender.set_tls(&set[1..]).unwrap();
    let sent = send_with(&bench, &url, kept).await;
    assert_fault(&sent, FaultKind::Render, "not in the config any more");
    assert_eq!(receiver.requests_count(), 2);
}

#[tokio::test]
async fn the_cas_of_a_name_are_the_only_ones_there_and_trusted_nowhere_else() {
    let bench = Bench::new();
    let partner = Authority::generate("Partner CA").unwrap();
    bench
        .sender
        .set_tls(&[named("partner", None, &[&partner])])
        .unwrap();
    let theirs = partner.issue(&["127.0.0.1"]).unwrap();
    let theirs = Receiver::local(&theirs, |_| async { Answer::status(200) })
        .await
        .unwrap();
    let others = bench.receiver(Answer::status(200)).await;
    assert_eq!(
        send(&bench, &theirs.url("/"), Some("partner"))
            .await
            .outcome,
        Outcome::Status(200)
    );
    assert_eq!(
        send(&bench, &others.url("/"), None).await.outcome,
        Outcome::Status(200)
    );
    let sent = send(&bench, &others.url("/"), Some("partner")).await;
    assert_fault(
        &sent,
        FaultKind::Tls,
        "not among those of [egress.tls.partner]",
    );
    let sent = send(&bench, &theirs.url("/"), None).await;
    assert_fault(&sent, FaultKind::Tls, "[egress] extra_ca");
}

#[tokio::test]
async fn a_name_that_means_something_else_begins_anew() {
    let bench = Bench::new();
    let partner = Authority::generate("Partner CA").unwrap();
    let identity = asking(&bench, &partner);
    let receiver = Receiver::local(&identity, |_| async { Answer::status(200) })
        .await
        .unwrap();
    let url = receiver.url("/");
    let first = named("partner", Some(&partner.issue_client("1").unwrap()), &[]);
    let second = named("partner", Some(&partner.issue_client("2").unwrap()), &[]);
    bench.sender.set_tls(std::slice::from_ref(&first)).unwrap();
    let idle = || bench.sender.shared.pool.idle();
    assert_eq!(
        send(&bench, &url, Some("partner")).await.outcome,
        Outcome::Status(200)
    );
    assert_eq!(idle(), 1);
    // The same again, and the same for other accounts: nothing is closed.
    let shared = TlsIdentity {
        accounts: vec![acme(), AccountName::new("other").unwrap()],
        ..first.clone()
    };
    bench.sender.set_tls(std::slice::from_ref(&shared)).unwrap();
    assert_eq!(idle(), 1);
    assert_eq!(bench.sender.tls_names().len(), 2);
    bench.sender.set_tls(std::slice::from_ref(&second)).unwrap();
    assert_eq!(idle(), 0);
    assert_eq!(
        send(&bench, &url, Some("partner")).await.outcome,
        Outcome::Status(200)
    );
    assert_eq!((idle(), receiver.connections_count()), (1, 2));
    // A set that cannot be used changes nothing.
    let mut broken = second.clone();
    broken.ca = vec![CertificateDer::from(vec![1, 2, 3])];
    assert!(matches!(
        bench.sender.set_tls(&[broken]),
        Err(SenderError::Identity { .. })
    ));
    assert_eq!(idle(), 1);
    bench.sender.set_tls(&[]).unwrap();
    assert_eq!(idle(), 0);
}

#[tokio::test]
async fn a_request_under_way_at_a_reload_leaves_no_connection_behind() {
    let bench = Bench::new();
    let partner = Authority::generate("Partner CA").unwrap();
    let identity = asking(&bench, &partner);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let receiver = Receiver::local(&identity, move |_| {
        let opened = Arc::clone(&opened);
        async move {
            opened.acquire().await.unwrap().forget();
            Answer::status(200)
        }
    })
    .await
    .unwrap();
    let client = partner.issue_client("1").unwrap();
    bench
        .sender
        .set_tls(&[named("partner", Some(&client), &[])])
        .unwrap();
    let url = receiver.url("/");
    let reload = async {
        receiver.wait_for_requests(1).await;
        bench.sender.set_tls(&[]).unwrap();
        gate.add_permits(1);
    };
    let (sent, ()) = tokio::join!(send(&bench, &url, Some("partner")), reload);
    assert_eq!(sent.outcome, Outcome::Status(200));
    assert_eq!(bench.sender.shared.pool.idle(), 0);
}
