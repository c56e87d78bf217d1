//! The load driver: keep-alive connections that post prepared requests as fast as they are answered, or at a
//! steady rate. As lean as it can be: what it costs is taken from what is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::receiver::Arrivals;

/// Bytes of an event's data, so that the event is 1 KiB.
const DATA: usize = 1024;
/// Digits of an event's number in its data.
const DIGITS: usize = 10;

/// What is posted.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub key: String,
    pub connections: usize,
    /// Events in one request; more than one are a batch.
    pub batch: usize,
    /// Event types `bench.0` to `bench.{types - 1}`, in turn.
    pub types: u64,
    pub until: Until,
}

/// When to stop.
#[derive(Clone, Copy)]
pub enum Until {
    Elapsed(Duration),
    Events(u64),
}

/// What was answered.
#[derive(Default)]
pub struct Posted {
    pub events: u64,
    pub elapsed: Duration,
    /// Of each request, microseconds.
    pub latencies: Vec<u32>,
    /// Requests answered with 503, which were sent again.
    pub busy: u64,
}

impl Posted {
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64()
    }
}

/// A request whose events' numbers can be changed in place.
struct Prepared {
    bytes: Vec<u8>,
    numbers: Vec<usize>,
    types: u64,
}

impl Prepared {
    /// A request with `batch` events; `kind` is the number in their type.
    fn new(load: &Load) -> Self {
        let mut body = String::new();
        let mut at = Vec::new();
        if load.batch > 1 {
            body.push('[');
        }
        for index in 0..load.batch {
            if index > 0 {
                body.push(',');
            }
            body.push_str("{\"type\":\"bench.");
            at.push(body.len());
            body.push_str(&format!("{:010}\",\"data\":{{\"n\":\"", 0));
            body.push_str(&"0".repeat(DIGITS));
            body.push_str("\",\"pad\":\"");
            body.push_str(&"x".repeat(DATA - 40));
            body.push_str("\"}}");
        }
        if load.batch > 1 {
            body.push(']');
        }
        let path = if load.batch > 1 {
            "/api/v1/events/batch"
        } else {
            "/api/v1/events"
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nx-api-key: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            load.address,
            load.key,
            body.len()
        );
        let numbers = at.iter().map(|at| at + head.len()).collect();
        let bytes = [head.into_bytes(), body.into_bytes()].concat();
        Self {
            bytes,
            numbers,
            types: load.types,
        }
    }

    fn set(&mut self, index: usize, number: u64) {
        let at = self.numbers[index];
        write_digits(&mut self.bytes[at..at + DIGITS], number % self.types);
        let at = at + DIGITS + "\",\"data\":{\"n\":\"".len();
        write_digits(&mut self.bytes[at..at + DIGITS], number);
    }
}

fn write_digits(into: &mut [u8], mut number: u64) {
    for digit in into.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The event type that `kind` stands for.
pub fn event_type(kind: u64) -> String {
    format!("bench.{kind:010}")
}

/// The number of an event, from its body as it arrives.
pub fn number_in(body: &[u8]) -> Option<u64> {
    let needle = b"\"n\":\"";
    let at = body
        .windows(needle.len())
        .position(|window| window == needle)?;
    let digits = body.get(at + needle.len()..at + needle.len() + DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Posts as fast as answers come.
pub async fn flood(load: &Load, arrivals: &Arc<Arrivals>) -> Posted {
    let (started, taken) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..load.connections {
        let (load, arrivals, taken) = (load.clone(), Arc::clone(arrivals), Arc::clone(&taken));
        tasks.spawn(async move { connection(&load, &arrivals, &taken, started).await });
    }
    let mut all = Posted::default();
    while let Some(part) = tasks.join_next().await {
        let part = part.unwrap();
        all.events += part.events;
        all.busy += part.busy;
        all.latencies.extend(part.latencies);
    }
    all.elapsed = started.elapsed();
    all
}

async fn connection(
    load: &Load,
    arrivals: &Arrivals,
    taken: &AtomicU64,
    started: Instant,
) -> Posted {
    let mut wire = Wire::open(load.address).await;
    let mut request = Prepared::new(load);
    let mut posted = Posted::default();
    loop {
        let first = taken.fetch_add(load.batch as u64, Ordering::Relaxed);
        let over = match load.until {
            Until::Elapsed(time) => started.elapsed() >= time,
            Until::Events(count) => first >= count,
        };
        if over {
            return posted;
        }
        for index in 0..load.batch {
            let number = arrivals.next();
            request.set(index, number);
            arrivals.sent(number);
        }
        let before = Instant::now();
        while wire.call(&request.bytes).await == 503 {
            posted.busy += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        posted.latencies.push(before.elapsed().as_micros() as u32);
        posted.events += load.batch as u64;
    }
}

/// Posts at a steady rate, whatever the answers do.
pub async fn steady(
    load: &Load,
    per_second: u64,
    time: Duration,
    arrivals: &Arc<Arrivals>,
) -> Posted {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / per_second));
    let lanes = 8;
    let mut senders = Vec::new();
    let mut tasks = JoinSet::new();
    for _ in 0..lanes {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<()>(1024);
        senders.push(sender);
        let (load, arrivals) = (load.clone(), Arc::clone(arrivals));
        tasks.spawn(async move {
            let mut wire = Wire::open(load.address).await;
            let mut request = Prepared::new(&load);
            let mut latencies = Vec::new();
            while receiver.recv().await.is_some() {
                let number = arrivals.next();
                request.set(0, number);
                arrivals.sent(number);
                let before = Instant::now();
                assert_eq!(wire.call(&request.bytes).await, 202);
                latencies.push(before.elapsed().as_micros() as u32);
            }
            latencies
        });
    }
    for turn in 0..per_second * time.as_secs() {
        ticks.tick().await;
        senders[turn as usize % lanes].send(()).await.unwrap();
    }
    drop(senders);
    let mut posted = Posted::default();
    while let Some(latencies) = tasks.join_next().await {
        posted.latencies.extend(latencies.unwrap());
    }
    posted.events = posted.latencies.len() as u64;
    posted.elapsed = started.elapsed();
    posted
}

/// A connection, and what was read ahead on it.
struct Wire {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Wire {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            held: Vec::with_capacity(16 << 10),
        }
    }

    /// Sends a request and reads the whole answer; gives its status.
    async fn call(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).await.unwrap();
        self.held.clear();
        loop {
            assert!(
                self.stream.read_buf(&mut self.held).await.unwrap() > 0,
                "the server hung up"
            );
            let Some(end) = find(&self.held, b"\r\n\r\n") else {
                continue;
            };
            let head = std::str::from_utf8(&self.held[..end]).unwrap();
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |text| text.parse().unwrap());
            let status: u16 = head[9..12].parse().unwrap();
            while self.held.len() < end + 4 + length {
                assert!(
                    self.stream.read_buf(&mut self.held).await.unwrap() > 0,
                    "the answer broke off"
                );
            }
            assert!(
                matches!(status, 202 | 503),
                "{}",
                String::from_utf8_lossy(&self.held)
            );
            return status;
        }
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}
