//! The accept loop: HTTP/1.1 with a deadline for each handshake, head and answer, a bound on connections, and a
//! graceful end. Who gives way where that bound is met is `doors`'s to say.
//!
//! A connection takes its place before anything is read from it, and keeps it to its end: one whose TLS handshake
//! never ends costs what any other does.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

use super::Options;
use super::access;
use super::doors::{self, Doors, Visit};
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
/// This part of the places is made free ahead, so that who comes does not wait until who gives way is gone.
const SPARE_PART: usize = 16;
/// How long a connection that gives way may take to be gone: its task only has to be run.
const ROOM_WAIT_MAX: Duration = Duration::from_millis(250);
/// At a stop, a client that has just connected gets this long for its request to be there: it is about to send it, and
/// where systemd holds the socket it could not know that another process takes the next ones.
const NEWCOMER_MAX: Duration = Duration::from_millis(250);
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
    metrics: &Metrics,
) {
    let mut door = Door::new(options.connections_max, tls.is_some(), metrics.clone());
    let house = Arc::new(House {
        router: router.layer(from_fn(access::refuse_ambiguous)),
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
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(permit) = door.place().await else {
            door.refuse(stream, &connections);
            continue;
        };
        let visit = door.doors.enter(peer.ip());
        let stream = Paced::new(stream, options.body_timeout, options.answer_rate_min);
        let served = connection(stream, peer, Arc::clone(&house), Arc::clone(&visit));
        let (ended, refusals) = (ended.clone(), Arc::clone(&door.refusals));
        let open = Open::begin(metrics);
        connections.spawn(async move {
            let _open = open;
            let mut served = pin!(served);
            // Before it can be sent away it is looked at once: its request may be there already.
            let at_once = poll_fn(|context| Poll::Ready(served.as_mut().poll(context)));
            if at_once.await.is_ready() {
                return;
            }
            visit.looked_at();
            let gives_way = tokio::select! {
                () = &mut served => false,
                () = ended.cancelled() => false,
                () = visit.sent_away() => true,
            };
            // Its place is another's from here on; who was in the midst of a request is told why it ends.
            drop(permit);
            if gives_way
                && visit.is_asking()
                && let Ok(_telling) = refusals.try_acquire_owned()
                && timeout(LINGER_MAX, served).await.is_err()
            {
                tracing::debug!("a client that had to give way did not close its connection");
            }
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
    doors: Doors,
    connections_max: usize,
    refusals: Arc<Semaphore>,
    /// The whole answer to a client for whom there is no room. None where it would need a TLS handshake: who is
    /// refused is to cost nothing.
    no_room: Option<String>,
    logged: Option<Instant>,
    metrics: Metrics,
}

/// Counts a connection as open until it is dropped.
struct Open(Gauge);

impl Open {
    fn begin(metrics: &Metrics) -> Self {
        metrics.http_connections.inc();
        Self(metrics.http_connections.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Door {
    fn new(connections_max: usize, has_tls: bool, metrics: Metrics) -> Self {
        let problem = doors::no_room();
        Self {
            room: Arc::new(Semaphore::new(connections_max)),
            doors: Doors::default(),
            connections_max,
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            no_room: (!has_tls).then(|| closing_answer(&problem)),
            logged: None,
            metrics,
        }
    }

    /// A place for a new client: a free one, or that of a client that keeps us waiting. `None` where all are at work.
    async fn place(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            let spare = self.connections_max / SPARE_PART;
            if self.room.available_permits() < spare && self.send_one_away() {
                self.log_that_it_is_full();
            }
            return Some(permit);
        }
        self.log_that_it_is_full();
        if !self.send_one_away() {
            // Some may have come just now, and not have been looked at.
            tokio::task::yield_now().await;
            if !self.send_one_away() {
                return None;
            }
        }
        // Until then nobody else is accepted, so there are never more connections than places.
        let permit = timeout(ROOM_WAIT_MAX, Arc::clone(&self.room).acquire_owned());
        permit.await.ok()?.ok()
    }

    fn send_one_away(&self) -> bool {
        let sent = self.doors.send_one_away();
        if sent {
            self.count("gave_way");
        }
        sent
    }

    fn count(&self, how: &'static str) {
        let refused = &self.metrics.http_connections_refused;
        refused.get_or_create(&[("how", how)]).inc();
    }

    fn log_that_it_is_full(&mut self) {
        let recently = |last: Instant| last.elapsed() < REFUSAL_LOG_INTERVAL;
        if !self.logged.is_some_and(recently) {
            self.logged = Some(Instant::now());
            tracing::warn!(
                connections_max = self.connections_max,
                "clients are refused, or closed where they keep us waiting: too many connections are open"
            );
        }
    }

    /// Tells a client that there is no room, without waiting for it.
    fn refuse(&self, mut stream: TcpStream, tasks: &TaskTracker) {
        self.count("refused");
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

async fn connection(stream: Paced, peer: SocketAddr, house: Arc<House>, visit: Arc<Visit>) {
    if let Err(error) = stream.get_ref().set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let begun = tokio::select! {
        begun = Wire::begin(stream, house.tls.as_deref(), house.header_timeout) => begun,
        () = async { house.stop.cancelled().await; sleep(NEWCOMER_MAX).await } => return,
    };
    let wire = match begun {
        Ok(wire) => wire,
        Err(why) => return house.tell(peer, &why),
    };
    let ambiguous = Ambiguous::default();
    let wire = Watched::new(wire, ambiguous.clone());
    let peer = peer.ip().to_canonical();
    let (requests, router) = (Arc::new(AtomicU64::new(0)), house.router.clone());
    let counted = Arc::clone(&requests);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
        let is_ambiguous = ambiguous.is(number);
        let arrival = Arrival { peer, is_ambiguous };
        request.extensions_mut().insert(arrival);
        Box::pin(doors::attend(router.clone(), Arc::clone(&visit), request))
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(house.header_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(TokioIo::new(wire), service);
    let ended = tokio::select! {
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => ended,
        () = house.stop.cancelled() => {
            let awaited = if requests.load(Ordering::Relaxed) == 0 { NEWCOMER_MAX } else { Duration::ZERO };
            let in_time = timeout(awaited, poll_fn(|context| connection.poll_without_shutdown(context)));
            match in_time.await {
                Ok(ended) => ended,
                Err(_) => {
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                    poll_fn(|context| connection.poll_without_shutdown(context)).await
                }
            }
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
