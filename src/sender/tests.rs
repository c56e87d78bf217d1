//! The sender against real HTTPS receivers on the loopback, well-behaved and rude.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::resolve::Names;
use super::*;
use crate::model::{BLOCKED_TEXT, FaultKind};
use crate::receiver::{Answer, Authority, Identity, Receiver, Step};

mod addresses;
mod answers;
mod bounds;
mod identities;
mod proxied;
mod rebinding;
mod reuse;
mod tls;

/// Long enough that no test on a busy machine meets it by accident.
const AMPLE: Duration = Duration::from_secs(20);
/// For tests that wait for the deadline.
const SHORT: Duration = Duration::from_millis(1500);
/// Bytes of an answer's body that are kept.
const BODY_MAX: usize = 4096;

/// A sender with all its parts at hand.
struct Bench {
    sender: Sender,
    metrics: Metrics,
    authority: Authority,
}

impl Bench {
    /// Trusts a CA of its own, may dial 127.0.0.0/8, and resolves by the system's configuration.
    fn new() -> Self {
        Self::with(|_| {}, None)
    }

    /// The same, with a table of names.
    fn with_names(table: &[(&'static str, &[&str])]) -> Self {
        Self::with(|_| {}, Some(names(table)))
    }

    fn with(adjust: impl FnOnce(&mut Options), names: Option<Names>) -> Self {
        let authority = Authority::generate("Hookwheel test CA").unwrap();
        let metrics = Metrics::new();
        let mut options = Options {
            policy: AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new()),
            extra_ca: vec![authority.certificate().clone()],
            resolver: Resolver::BuiltIn,
            proxy: None,
            response_body_max: BODY_MAX,
            idle_per_host_max: 4,
            idle_timeout: AMPLE,
        };
        adjust(&mut options);
        let names = names.unwrap_or_else(|| Names::new(options.resolver).unwrap());
        let sender = Sender::with_names(options, names, Clock::system(), metrics.clone()).unwrap();
        Self {
            sender,
            metrics,
            authority,
        }
    }

    /// A receiver for 127.0.0.1 that answers all requests alike.
    async fn receiver(&self, answer: Answer) -> Receiver {
        self.scripted(move |_| answer.clone()).await
    }

    /// A receiver that answers by the number of the request, from 1.
    async fn scripted(&self, answer: impl Fn(u64) -> Answer + Send + Sync + 'static) -> Receiver {
        let identity = self.authority.issue(&["127.0.0.1"]).unwrap();
        let number = std::sync::atomic::AtomicU64::new(0);
        Receiver::local(&identity, move |_| {
            let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            std::future::ready(answer(number))
        })
        .await
        .unwrap()
    }

    async fn send(&self, url: &str) -> Sent {
        self.sender.send(request(url, AMPLE)).await
    }
}

fn names(table: &[(&'static str, &[&str])]) -> Names {
    let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let table: HashMap<&'static str, Vec<IpAddr>> = table
        .iter()
        .map(|(name, addresses)| (*name, parse(addresses)))
        .collect();
    Names::Table(table)
}

fn request(url: &str, timeout: Duration) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    Request {
        endpoint: Endpoint::parse(url).unwrap(),
        headers,
        body: Bytes::from_static(b"{\"id\":\"evt_1\"}"),
        timeout,
        tls: None,
        account: None,
        webhook: None,
    }
}

/// Asserts a fault of a kind whose detail has a text in it.
#[track_caller]
fn assert_fault(sent: &Sent, expected: FaultKind, text: &str) {
    match &sent.outcome {
        Outcome::Fault { kind, detail } => {
            assert_eq!(*kind, expected, "{detail}");
            assert!(detail.contains(text), "`{text}` is not in: {detail}");
            assert!(detail.len() <= 300, "{} bytes", detail.len());
        }
        Outcome::Status(status) => panic!("status {status} in place of {expected:?}"),
    }
}

/// Sends and asserts a timeout at the deadline, a tenth more or less.
async fn assert_timeout(bench: &Bench, url: &str, doing: &str) -> Sent {
    let started = Instant::now();
    let sent = bench.sender.send(request(url, SHORT)).await;
    let took = started.elapsed();
    assert_fault(&sent, FaultKind::Timeout, doing);
    assert!(took >= SHORT.mul_f64(0.9), "{took:?}");
    assert!(took <= SHORT.mul_f64(1.1), "{took:?}");
    assert!(sent.phases.total_us >= 1_400_000, "{:?}", sent.phases);
    sent
}

/// Polls until a condition holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < AMPLE, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn an_unusable_extra_ca_is_named_by_its_place() {
    let authority = Authority::generate("CA").unwrap();
    let options = Options {
        policy: AddressPolicy::default(),
        extra_ca: vec![
            authority.certificate().clone(),
            CertificateDer::from(vec![1, 2, 3]),
        ],
        resolver: Resolver::System,
        proxy: None,
        response_body_max: BODY_MAX,
        idle_per_host_max: 1,
        idle_timeout: AMPLE,
    };
    let error = Sender::new(options, Clock::system(), Metrics::new()).unwrap_err();
    assert!(
        matches!(error, SenderError::ExtraCa { number: 2, .. }),
        "{error}"
    );
}

#[test]
fn a_sender_is_built_outside_of_a_runtime() {
    let options = Options {
        policy: AddressPolicy::default(),
        extra_ca: Vec::new(),
        resolver: Resolver::BuiltIn,
        proxy: None,
        response_body_max: BODY_MAX,
        idle_per_host_max: 1,
        idle_timeout: AMPLE,
    };
    let sender = Sender::new(options, Clock::system(), Metrics::new()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let sent = runtime.block_on(sender.send(request("https://nobody.invalid/", AMPLE)));
    assert_fault(&sent, FaultKind::Dns, "nobody.invalid does not exist");
}
