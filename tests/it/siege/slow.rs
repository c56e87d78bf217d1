//! The slow clients of a siege, of nine kinds: each takes a place for as long as it can, and comes again.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Size;
use crate::support::key_of;

/// The pause between two bytes of a client that drips.
const DRIP: Duration = Duration::from_secs(1);

/// The clients around a daemon.
pub struct Crowd(Arc<AtomicU64>);

impl Crowd {
    /// How many connections they have made.
    pub fn made(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a slow client does with a connection.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Says nothing.
    Silent,
    /// Sends half a head.
    HalfHead,
    /// Sends a head, a byte a second.
    DripsHead,
    /// Sends a body, a byte a second, with a good key.
    DripsBody,
    /// Sends a part of a large body, with a good key, and nothing more.
    HalfBody,
    /// Asks again and again, each second, and takes no answer.
    TakesNothing,
    /// Asks for large lists, and takes nothing of them.
    TakesNoList,
    /// Sends what is no request, and does not close its side.
    Garbage,
    /// Asks once, and keeps its connection.
    Idle,
}

const KINDS: [Kind; 9] = [
    Kind::Silent,
    Kind::HalfHead,
    Kind::DripsHead,
    Kind::DripsBody,
    Kind::HalfBody,
    Kind::TakesNothing,
    Kind::TakesNoList,
    Kind::Garbage,
    Kind::Idle,
];

/// Sends them all to an address. They come within the first second, and go at `stop`.
pub fn surround(
    address: SocketAddr,
    size: Size,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Crowd {
    let made = Arc::new(AtomicU64::new(0));
    for number in 0..size.clients {
        let kind = KINDS[usize::try_from(number).unwrap() % KINDS.len()];
        let host = u8::try_from(number / 8 % size.addresses).unwrap();
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 1 + host), 0));
        let (made, stop) = (Arc::clone(&made), stop.clone());
        let begins_after = Duration::from_micros(number * 1_000_000 / size.clients);
        tasks.spawn(async move {
            let coming = async {
                tokio::time::sleep(begins_after).await;
                loop {
                    if let Ok(stream) = connect(from, address).await {
                        made.fetch_add(1, Ordering::Relaxed);
                        dawdle(kind, stream).await;
                    }
                    tokio::time::sleep(size.pause).await;
                }
            };
            tokio::select! {
                () = coming => {}
                () = stop.cancelled() => {}
            }
        });
    }
    Crowd(made)
}

async fn connect(from: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(from)?;
    socket.connect(to).await
}

/// Keeps a connection until the daemon ends it.
async fn dawdle(kind: Kind, stream: TcpStream) {
    let (mut from, mut to) = stream.into_split();
    let post = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: h\r\nX-API-Key: {}\r\nContent-Length: 100000\r\n\r\n",
        key_of("standard")
    );
    let list = format!(
        "GET /api/v1/events?limit=200 HTTP/1.1\r\nHost: h\r\nX-API-Key: {}\r\n\r\n",
        key_of("standard")
    );
    let ask = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    let (first, drips) = match kind {
        Kind::Silent => (String::new(), false),
        Kind::HalfHead => (
            "POST /api/v1/events HTTP/1.1\r\nHost: h\r\nX-A".to_owned(),
            false,
        ),
        Kind::DripsHead => ("POST /api/v1/events HTTP/1.1\r\nX-A: ".to_owned(), true),
        Kind::DripsBody => (post, true),
        Kind::HalfBody => (post + &" ".repeat(32 << 10), false),
        Kind::TakesNothing => (ask.repeat(4), true),
        Kind::TakesNoList => (list.repeat(4), true),
        Kind::Garbage => ("hello\r\n\r\n".to_owned(), false),
        Kind::Idle => ("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), false),
    };
    if to.write_all(first.as_bytes()).await.is_err() {
        return;
    }
    let dripping = async {
        loop {
            tokio::time::sleep(DRIP).await;
            let next: &[u8] = match kind {
                Kind::TakesNothing => ask.as_bytes(),
                // Before a head it is skipped.
                Kind::TakesNoList => b"\r\n",
                _ => b" ",
            };
            if drips && to.write_all(next).await.is_err() {
                return;
            }
        }
    };
    let reading = async {
        if matches!(kind, Kind::TakesNothing | Kind::TakesNoList) {
            // That the connection is gone shows where it writes.
            return std::future::pending().await;
        }
        let mut taken = [0; 4096];
        while from.read(&mut taken).await.is_ok_and(|length| length > 0) {}
    };
    tokio::select! {
        () = dripping => {}
        () = reading => {}
    }
}
