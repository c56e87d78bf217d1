//! DNS that answers differently the second time: the address that was judged is the one that is dialled, always.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, UdpSocket};
use tokio_util::task::AbortOnDropHandle;

use super::addresses::Untouched;
use super::*;

const NAME: &str = "hooks.example";
/// Stands for a public address: the only one that the policy allows here.
const PUBLIC: &str = "127.0.0.2";
/// Stands for a private one.
const PRIVATE: &str = "127.0.0.1";

fn turns(answers: &[&[&str]]) -> Names {
    let parse = |texts: &&[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Names::Turns(Mutex::new(answers.iter().map(parse).collect()))
}

fn bench(names: Names, proxy: Option<ProxyOptions>) -> Bench {
    let policy = AddressPolicy::new(vec![format!("{PUBLIC}/32").parse().unwrap()], Vec::new());
    let adjust = |options: &mut Options| {
        options.policy = policy;
        options.proxy = proxy;
    };
    Bench::with(adjust, Some(names))
}

/// A receiver at the public address, and a trap with the same port at the private one.
async fn receiver(
    bench: &Bench,
    answer: impl Fn(u64) -> Answer + Send + Sync + 'static,
) -> (Receiver, Untouched) {
    let identity = bench.authority.issue(&[NAME]).unwrap();
    let listener = TcpListener::bind((PUBLIC, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let trap = Untouched::bind_at(port).await;
    let number = std::sync::atomic::AtomicU64::new(0);
    let handler = move |_| std::future::ready(answer(number.fetch_add(1, Ordering::Relaxed) + 1));
    let receiver = Receiver::start(
        listener,
        &identity,
        crate::receiver::Options::default(),
        handler,
    );
    (receiver.unwrap(), trap)
}

fn url(receiver: &Receiver) -> String {
    format!("https://{NAME}:{}/", receiver.address().port())
}

fn blocked() -> Outcome {
    Outcome::Fault {
        kind: FaultKind::AddressBlocked,
        detail: BLOCKED_TEXT.to_owned(),
    }
}

#[tokio::test]
async fn each_connection_goes_to_what_was_judged_for_it() {
    // An answer that was good for the check would be worth nothing if there were another look-up for the dial.
    let bench = bench(turns(&[&[PUBLIC], &[PRIVATE]]), None);
    let (receiver, trap) = receiver(&bench, |_| Answer::close()).await;
    assert_fault(
        &bench.send(&url(&receiver)).await,
        FaultKind::Reset,
        "before it answered",
    );
    assert_eq!(receiver.connections_count(), 1);
    for _ in 0..2 {
        assert_eq!(bench.send(&url(&receiver)).await.outcome, blocked());
    }
    assert_eq!(receiver.connections_count(), 1);
    trap.assert_untouched().await;
}

#[tokio::test]
async fn a_retry_over_a_fresh_connection_is_judged_anew() {
    let bench = bench(turns(&[&[PUBLIC], &[PUBLIC, PRIVATE]]), None);
    let (receiver, trap) = receiver(&bench, |number| match number {
        1 => Answer::status(200),
        _ => Answer::close(),
    })
    .await;
    assert_eq!(
        bench.send(&url(&receiver)).await.outcome,
        Outcome::Status(200)
    );
    // The idle connection is taken, and ends without an answer; only then is there another look-up.
    assert_eq!(bench.send(&url(&receiver)).await.outcome, blocked());
    assert_eq!(receiver.requests_count(), 2);
    trap.assert_untouched().await;
}

#[tokio::test]
async fn a_pooled_connection_stays_where_it_was_judged() {
    let bench = bench(turns(&[&[PUBLIC], &[PRIVATE]]), None);
    let (receiver, trap) = receiver(&bench, |_| Answer::status(200)).await;
    for _ in 0..3 {
        assert_eq!(
            bench.send(&url(&receiver)).await.outcome,
            Outcome::Status(200)
        );
    }
    assert_eq!(receiver.connections_count(), 1);
    trap.assert_untouched().await;
}

#[tokio::test]
async fn a_proxy_is_asked_for_what_was_judged() {
    let proxy = proxied::Relay::start().await;
    let bench = bench(turns(&[&[PUBLIC], &[PRIVATE]]), Some(proxy.options()));
    let (receiver, trap) = receiver(&bench, |_| Answer::close()).await;
    let sent = bench.send(&url(&receiver)).await;
    assert_fault(&sent, FaultKind::Reset, "before it answered");
    assert_eq!(bench.send(&url(&receiver)).await.outcome, blocked());
    assert_eq!(proxy.asked(), [receiver.address().to_string()]);
    trap.assert_untouched().await;
}

/// A DNS server that answers its n-th question for an IPv4 address with the n-th address, to be forgotten at once.
async fn dns(answers: Vec<[u8; 4]>) -> (SocketAddr, AbortOnDropHandle<()>) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let served = AtomicUsize::new(0);
    let task = TaskTracker::new().spawn(async move {
        let mut question = [0; 512];
        loop {
            let (length, peer) = socket.recv_from(&mut question).await.unwrap();
            let question = &question[..length];
            // The name ends with an empty label; its type and class follow (RFC 1035, 4.1.2).
            let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let is_v4 = question[end - 4..end - 2] == [0, 1];
            let mut answer = question[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
            answer.extend(&question[12..end]);
            if is_v4 {
                let number = served
                    .fetch_add(1, Ordering::Relaxed)
                    .min(answers.len() - 1);
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                answer.extend(answers[number]);
            }
            socket.send_to(&answer, peer).await.unwrap();
        }
    });
    (address, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn a_dns_server_that_changes_its_mind_gains_nothing() {
    let (server, _serving) = dns(vec![[127, 0, 0, 2], [127, 0, 0, 1]]).await;
    let bench = bench(Names::asking(server), None);
    let (receiver, trap) = receiver(&bench, |_| Answer::close()).await;
    let sent = bench.send(&url(&receiver)).await;
    assert_fault(&sent, FaultKind::Reset, "before it answered");
    assert_eq!(bench.send(&url(&receiver)).await.outcome, blocked());
    assert_eq!(receiver.connections_count(), 1);
    trap.assert_untouched().await;
}
