//! A real HTTPS receiver for tests: keeps what it receives, answers as told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hookwheel::receiver::{Answer, Authority, Options, ReceivedRequest, Receiver};

/// Any free port of this machine.
pub const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A receiver that keeps every request.
pub struct Web {
    receiver: Receiver,
}

impl Web {
    /// Answers the n-th request (from 1) with the status that `status` gives.
    pub async fn start(
        authority: &Authority,
        status: impl Fn(usize) -> u16 + Send + Sync + 'static,
    ) -> Self {
        Self::start_at(ANY, authority, status).await
    }

    /// As [`Web::start`], at a given address.
    pub async fn start_at(
        address: SocketAddr,
        authority: &Authority,
        status: impl Fn(usize) -> u16 + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(
            address,
            authority,
            move |number| Answer::status(status(number)),
            Duration::ZERO,
        )
        .await
    }

    /// Answers 200 after a while.
    pub async fn start_slow(authority: &Authority, after: Duration) -> Self {
        Self::start_with(ANY, authority, |_| Answer::status(200), after).await
    }

    /// Answers the n-th request (from 1) as `answer` says.
    pub async fn start_with(
        address: SocketAddr,
        authority: &Authority,
        answer: impl Fn(usize) -> Answer + Send + Sync + 'static,
        after: Duration,
    ) -> Self {
        Self::start_as(address, authority, &["127.0.0.1"], answer, after).await
    }

    /// As [`Web::start_with`], at once and with a certificate for these names.
    pub async fn start_for(
        address: SocketAddr,
        authority: &Authority,
        names: &[&str],
        answer: impl Fn(usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_as(address, authority, names, answer, Duration::ZERO).await
    }

    async fn start_as(
        address: SocketAddr,
        authority: &Authority,
        names: &[&str],
        answer: impl Fn(usize) -> Answer + Send + Sync + 'static,
        after: Duration,
    ) -> Self {
        let identity = authority.issue(names).unwrap();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        // A port that was in use a moment ago is taken again.
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1024).unwrap();
        let options = Options {
            requests_kept_max: 1_000_000,
            ..Options::default()
        };
        let count = AtomicUsize::new(0);
        let handler = move |_: ReceivedRequest| {
            let answer = answer(count.fetch_add(1, Ordering::Relaxed) + 1);
            async move {
                if !after.is_zero() {
                    tokio::time::sleep(after).await;
                }
                answer
            }
        };
        Self {
            receiver: Receiver::start(listener, &identity, options, handler).unwrap(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.receiver.address()
    }

    pub fn url(&self, path: &str) -> String {
        self.receiver.url(path)
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        usize::try_from(self.receiver.requests_count()).unwrap()
    }

    /// What was received so far, oldest first.
    pub fn received(&self) -> Vec<ReceivedRequest> {
        self.receiver.requests()
    }

    /// Stops and gives what was received.
    pub async fn stop(self) -> Vec<ReceivedRequest> {
        let requests = self.received();
        self.receiver.stop().await;
        requests
    }
}

/// A header's value as text; empty where absent.
pub fn header(request: &ReceivedRequest, name: &str) -> String {
    let value = request.headers.get(name);
    value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
}
