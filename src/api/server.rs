//! The accept loop: HTTP/1.1 with a deadline for each handshake, head and answer, a bound on connections, and a
//! graceful end.
//!
//! A connection takes its place before anything is read from it, and keeps it to its end: one whose TLS handshake
//! never ends costs what any other does.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::Options;
use super::error::Problem;
use super::heads::{Ambiguous, Watched};
use super::paced::Paced;
use super::seldom::Seldom;
use super::tls::Tls;
use super::wire::{Early, LINGER_MAX, LINGER_STOPPING_MAX, Wire, closing_answer, linger};

/// Header lines of a request; usual clients send about ten.
const HEADERS_MAX: usize = 64;
/// Bytes of a request's head, and of what is read ahead of a body.
const BUFFER_MAX: usize = 64 * 1024;
/// A wait after an accept that failed for want of file descriptors or memory, so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Clients without room that are told so in good order, at once; further ones may see only a reset.
const REFUSALS_MAX: usize = 64;
/// That clients are refused is logged no more often than this.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How a request came in, for those who answer it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// The client's address, or that of the last proxy before us.
    pub(super) peer: IpAddr,
    /// Whether the head says in two ways how long the body is.
    pub(super) is_ambiguous: bool,
}

/// Serves until `stop`, over TLS where there is an identity for it; then accepts nothing more, lets the requests
/// under way end within `grace`, and returns.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: Options,
    tls: Option<Arc<Tls>>,
    stop: CancellationToken,
    grace: Duration,
) {
    let mut door = Door::new(options.connections_max, tls.is_some());
    let house = Arc::new(House {
        router,
        header_timeout: options.header_timeout,
        tls,
        stop: stop.clone(),
        turned_away: Seldom::default(),
    });
    let connections = TaskTracker::new();
    // Requests that have not ended when this function does are dropped: nobody waits for their answers.
    let ended = CancellationToken::new();
    let _guard = ended.clone().drop_guard();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&door.room).try_acquire_owned() else {
            door.refuse(stream, &connections);
            continue;
        };
        let stream = Paced::new(stream, options.body_timeout);
        let served = connection(stream, peer, Arc::clone(&house));
        let ended = ended.clone();
        connections.spawn(async move {
            tokio::select! {
                () = served => {}
                () = ended.cancelled() => {}
            }
            drop(permit);
        });
    }
    // Who comes now is turned away at once, and does not wait for a daemon that will not answer.
    drop(listener);
    connections.close();
    if timeout(grace, connections.wait()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "clients were cut off at the end of the grace period"
        );
    }
}

/// Who is let in, and how the others are told.
struct Door {
    room: Arc<Semaphore>,
    connections_max: usize,
    refusals: Arc<Semaphore>,
    /// The whole answer to a client for whom there is no room. None where it would need a TLS handshake: who is
    /// refused is to cost nothing.
    no_room: Option<String>,
    logged: Option<Instant>,
}

impl Door {
    fn new(connections_max: usize, has_tls: bool) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let detail = "too many connections are open; close idle ones, and try again in a second";
        let problem = Problem::new(status, "connections_full", detail)
            .with(RETRY_AFTER, HeaderValue::from_static("1"));
        Self {
            room: Arc::new(Semaphore::new(connections_max)),
            connections_max,
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            no_room: (!has_tls).then(|| closing_answer(&problem)),
            logged: None,
        }
    }

    /// Tells a client that there is no room, without waiting for it.
    fn refuse(&mut self, mut stream: TcpStream, tasks: &TaskTracker) {
        if self
            .logged
            .is_none_or(|last| last.elapsed() >= REFUSAL_LOG_INTERVAL)
        {
            self.logged = Some(Instant::now());
            tracing::warn!(
                connections_max = self.connections_max,
                "clients are refused: too many connections are open"
            );
        }
        // Beyond the bound it is best effort: nothing is owed to a client that is refused.
        let Some(no_room) = &self.no_room else {
            return;
        };
        if let Err(error) = stream.try_write(no_room.as_bytes()) {
            tracing::debug!(%error, "a client that was refused could not be told");
            return;
        }
        if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
            tasks.spawn(async move {
                linger(&mut stream, LINGER_MAX).await;
                drop(permit);
            });
        }
    }
}

/// What all connections share.
struct House {
    router: Router,
    header_timeout: Duration,
    tls: Option<Arc<Tls>>,
    stop: CancellationToken,
    turned_away: Seldom,
}

impl House {
    fn tell(&self, peer: SocketAddr, why: &Early) {
        match why {
            Early::Silent => tracing::debug!(%peer, "a connection was closed without a word"),
            _ => {
                if let Some(count) = self.turned_away.tell() {
                    tracing::warn!(peer = %peer.ip().to_canonical(), %why, count, "a client was not let in");
                }
            }
        }
    }
}

async fn connection(stream: Paced, peer: SocketAddr, house: Arc<House>) {
    if let Err(error) = stream.get_ref().set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let begun = tokio::select! {
        begun = Wire::begin(stream, house.tls.as_deref(), house.header_timeout) => begun,
        () = house.stop.cancelled() => return,
    };
    let wire = match begun {
        Ok(wire) => wire,
        Err(why) => return house.tell(peer, &why),
    };
    let ambiguous = Ambiguous::default();
    let wire = Watched::new(wire, ambiguous.clone());
    let peer = peer.ip().to_canonical();
    let number = Arc::new(AtomicU64::new(0));
    let service = house
        .router
        .clone()
        .map_request(move |mut request: Request<Incoming>| {
            let number = number.fetch_add(1, Ordering::Relaxed) + 1;
            let is_ambiguous = ambiguous.is(number);
            request
                .extensions_mut()
                .insert(Arrival { peer, is_ambiguous });
            request
        });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(house.header_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(TokioIo::new(wire), TowerToHyperService::new(service));
    let ended = tokio::select! {
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => ended,
        () = house.stop.cancelled() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|context| connection.poll_without_shutdown(context)).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended early");
    }
    let longest = if house.stop.is_cancelled() {
        LINGER_STOPPING_MAX
    } else {
        LINGER_MAX
    };
    let mut wire = connection.into_parts().io.into_inner().into_inner();
    wire.end(longest).await;
}
