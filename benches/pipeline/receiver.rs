//! The HTTPS receiver of the bench: hyper over rustls, answers 200, counts, and notes when what came.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookwheel::receiver::Authority;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::driver::number_in;

/// Events that can be told apart in one part.
const EVENTS_MAX: usize = 8 << 20;

/// What has arrived, and when it was posted.
pub struct Arrivals {
    started: Instant,
    next: AtomicU64,
    sent_us: Vec<AtomicU64>,
    tries: Vec<AtomicU8>,
    pub fails_first: AtomicBool,
    pub fails_all: AtomicBool,
    count: AtomicU64,
    latencies: Mutex<Vec<u32>>,
    /// Events below this number are sent again, and counted apart.
    again_below: AtomicU64,
    /// When each of them arrived, microseconds.
    again: Mutex<Vec<u64>>,
}

impl Arrivals {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            next: AtomicU64::new(0),
            sent_us: (0..EVENTS_MAX).map(|_| AtomicU64::new(0)).collect(),
            tries: (0..EVENTS_MAX).map(|_| AtomicU8::new(0)).collect(),
            fails_first: AtomicBool::new(false),
            fails_all: AtomicBool::new(false),
            count: AtomicU64::new(0),
            latencies: Mutex::new(Vec::new()),
            again_below: AtomicU64::new(0),
            again: Mutex::new(Vec::new()),
        })
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) % EVENTS_MAX as u64
    }

    pub fn sent(&self, number: u64) {
        let now = self.started.elapsed().as_micros() as u64;
        self.sent_us[number as usize].store(now, Ordering::Relaxed);
        self.tries[number as usize].store(0, Ordering::Relaxed);
    }

    /// Requests answered with 200 since the last [`Arrivals::reset`].
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Begins a new part.
    pub fn reset(&self) {
        self.count.store(0, Ordering::Relaxed);
        self.latencies.lock().unwrap().clear();
    }

    /// From post to arrival, microseconds, unsorted.
    pub fn latencies(&self) -> Vec<u32> {
        std::mem::take(&mut *self.latencies.lock().unwrap())
    }

    /// What was posted so far is sent again from now on: it is counted apart.
    pub fn count_apart(&self) {
        self.again_below
            .store(self.next.load(Ordering::Relaxed), Ordering::Relaxed);
        self.again.lock().unwrap().clear();
    }

    /// When what is counted apart arrived, in order, microseconds.
    pub fn again(&self) -> Vec<u64> {
        let mut again = self.again.lock().unwrap().clone();
        again.sort_unstable();
        again
    }

    fn arrived(&self, body: &[u8]) -> StatusCode {
        let Some(number) = number_in(body) else {
            return StatusCode::OK;
        };
        let first = self.tries[number as usize].fetch_add(1, Ordering::Relaxed) == 0;
        let fails_first = first && self.fails_first.load(Ordering::Relaxed);
        if fails_first || self.fails_all.load(Ordering::Relaxed) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let now = self.started.elapsed().as_micros() as u64;
        if number < self.again_below.load(Ordering::Relaxed) {
            self.again.lock().unwrap().push(now);
            return StatusCode::OK;
        }
        let sent = self.sent_us[number as usize].load(Ordering::Relaxed);
        self.latencies
            .lock()
            .unwrap()
            .push(now.saturating_sub(sent) as u32);
        self.count.fetch_add(1, Ordering::Relaxed);
        StatusCode::OK
    }

    /// Waits until so many have arrived; panics when nothing has come for a while.
    pub async fn wait_for(&self, count: u64) {
        let (mut last, mut since) = (self.count(), Instant::now());
        while self.count() < count {
            tokio::time::sleep(Duration::from_millis(2)).await;
            if self.count() != last {
                (last, since) = (self.count(), Instant::now());
            }
            assert!(
                since.elapsed() < Duration::from_secs(30),
                "{last} of {count} arrived, and no more"
            );
        }
    }
}

/// Serves until the process ends.
pub async fn start(
    authority: &Authority,
    arrivals: &Arc<Arrivals>,
    tasks: &TaskTracker,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let identity = authority.issue(&["127.0.0.1"]).unwrap();
    let acceptor = TlsAcceptor::from(identity.server_config().unwrap());
    let (arrivals, more) = (Arc::clone(arrivals), tasks.clone());
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (acceptor, arrivals) = (acceptor.clone(), Arc::clone(&arrivals));
            more.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
                    let arrivals = Arc::clone(&arrivals);
                    async move {
                        let body = request.into_body().collect().await?.to_bytes();
                        let mut response = Response::new(Full::new(Bytes::from_static(b"ok")));
                        *response.status_mut() = arrivals.arrived(&body);
                        Ok::<_, hyper::Error>(response)
                    }
                });
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // A client may hang up at any time.
                drop(served.await);
            });
        }
    });
    address
}
