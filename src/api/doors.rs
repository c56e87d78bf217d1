//! Who gives way when more clients come than there are places for connections.
//!
//! A client that keeps the daemon waiting, for a head, for the rest of a body, or for its answer to be taken, needs its
//! place less than one that has just come: a usual client is waited for some milliseconds, a slow one until a deadline
//! that is much longer. So where no place is left, the connection that has been waited for longest is closed, of the
//! address that has the most such connections; who comes from elsewhere is not pushed out by a crowd from one place.
//! A request that the daemon is at work on is never cut off for another client.
//!
//! Invariants: a connection stands in the table once, and if and only if it is waited for, so there are never more
//! entries than places, and whoever is picked to give way has a place to give; nothing of a request whose connection
//! was sent away is carried out after that.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CONNECTION, RETRY_AFTER};
use http::{HeaderValue, Request, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::error::Problem;

/// Connections that the system holds for us until they are accepted; it may have a lower bound (net.core.somaxconn). Who
/// finds no room there is not refused but tries again after 1 s, 3 s, 7 s, so in a crowd a usual client would wait longer
/// by itself than for its turn.
const BACKLOG: u32 = 4096;

/// Listens at an address.
///
/// # Errors
/// Where the system does not let us.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A port that was in use a moment ago is taken again.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The number of a visit that was never waited for.
const NEVER: u64 = 0;

/// The connections that are waited for.
#[derive(Clone, Debug, Default)]
pub(super) struct Doors(Arc<Mutex<Waits>>);

#[derive(Debug, Default)]
struct Waits {
    /// The number of the newest wait: who has a lower one has been waited for longer.
    next: u64,
    peers: HashMap<IpAddr, BTreeMap<u64, CancellationToken>>,
    /// How many each peer has, and its first one: the last of these is the one to give way.
    order: BTreeSet<(usize, Reverse<u64>, IpAddr)>,
}

impl Doors {
    /// A connection was accepted. It is waited for once it has been [looked at](Visit::looked_at).
    pub(super) fn enter(&self, address: IpAddr) -> Arc<Visit> {
        Arc::new(Visit {
            doors: self.clone(),
            peer: peer(address),
            number: AtomicU64::new(NEVER),
            is_new: AtomicBool::new(true),
            is_asking: AtomicBool::new(false),
            sent_away: CancellationToken::new(),
        })
    }

    /// Sends away the one that has kept us waiting longest, of the peer that has the most of them. False where all
    /// are at work.
    pub(super) fn send_one_away(&self) -> bool {
        let mut waits = self.waits();
        let Some((_, Reverse(number), peer)) = waits.order.last().copied() else {
            return false;
        };
        match waits.remove(peer, number) {
            Some(sent_away) => sent_away.cancel(),
            None => return false,
        }
        true
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Waits {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn insert(&mut self, peer: IpAddr, number: u64, sent_away: CancellationToken) {
        self.change(peer, |waits| waits.insert(number, sent_away));
    }

    fn remove(&mut self, peer: IpAddr, number: u64) -> Option<CancellationToken> {
        // A peer that has none gets no place in the table by this.
        self.peers.get(&peer)?;
        self.change(peer, |waits| waits.remove(&number))
    }

    /// Changes the waits of a peer, and its place in the order with them.
    fn change<T>(
        &mut self,
        peer: IpAddr,
        change: impl FnOnce(&mut BTreeMap<u64, CancellationToken>) -> T,
    ) -> T {
        let waits = self.peers.entry(peer).or_default();
        let key = |waits: &BTreeMap<u64, CancellationToken>| {
            let (first, _) = waits.first_key_value()?;
            Some((waits.len(), Reverse(*first), peer))
        };
        let before = key(waits);
        let changed = change(waits);
        let after = key(waits);
        if let Some(before) = before {
            self.order.remove(&before);
        }
        match after {
            Some(after) => {
                self.order.insert(after);
            }
            None => {
                self.peers.remove(&peer);
            }
        }
        changed
    }
}

/// Whom a connection counts for: an IPv4 address, or the /64 of an IPv6 one, of which one machine has all.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// One connection: whether its client is waited for, or the daemon is at work for it.
#[derive(Debug)]
pub(super) struct Visit {
    doors: Doors,
    peer: IpAddr,
    /// Of the present wait, or of the one before the work.
    number: AtomicU64,
    /// Whether nothing was read from it so far: what its client sent may be there already.
    is_new: AtomicBool,
    /// Whether what is waited for is the rest of a request's body.
    is_asking: AtomicBool,
    sent_away: CancellationToken,
}

impl Visit {
    /// Waits until this connection is to give way to another.
    pub(super) async fn sent_away(&self) {
        self.sent_away.cancelled().await;
    }

    /// Whether the connection was in the midst of a request, so that its client is to be told why it ends.
    pub(super) fn is_asking(&self) -> bool {
        self.is_asking.load(Ordering::Relaxed)
    }

    /// What was there to be read at once was read; if that was no head, its client is waited for from now on.
    pub(super) fn looked_at(&self) {
        if self.is_new.load(Ordering::Relaxed) {
            self.wait_anew();
        }
    }

    /// A new wait begins: for a first head, or for an answer to be taken and the next head to come.
    fn wait_anew(&self) {
        let mut waits = self.doors.waits();
        self.is_new.store(false, Ordering::Relaxed);
        // Sent away is for ever: such a connection does not come back into the table.
        if self.sent_away.is_cancelled() {
            return;
        }
        let number = waits.number();
        self.is_asking.store(false, Ordering::Relaxed);
        self.wait(&mut waits, number);
    }

    /// The rest of a body is waited for. The wait is that of the whole request, so dripping gains nothing.
    fn wait_for_body(&self) {
        let mut waits = self.doors.waits();
        if self.sent_away.is_cancelled() {
            return;
        }
        self.is_asking.store(true, Ordering::Relaxed);
        let number = match self.number.load(Ordering::Relaxed) {
            // Its head was there at once.
            NEVER => waits.number(),
            number => number,
        };
        self.wait(&mut waits, number);
    }

    /// Puts this visit into the table, in the place of the wait that it may have there: else that one would stay.
    fn wait(&self, waits: &mut Waits, number: u64) {
        let before = self.number.swap(number, Ordering::Relaxed);
        waits.remove(self.peer, before);
        waits.insert(self.peer, number, self.sent_away.clone());
    }

    /// The body is wanted no more, whether it came or not.
    fn leave_body(&self) {
        let mut waits = self.doors.waits();
        // Otherwise another wait has begun, which is not the body's to end.
        if self.is_asking() {
            waits.remove(self.peer, self.number.load(Ordering::Relaxed));
        }
    }

    /// What was waited for is there. False where the connection was sent away meanwhile.
    fn end_wait(&self) -> bool {
        let mut waits = self.doors.waits();
        if !self.is_new.swap(false, Ordering::Relaxed) {
            waits.remove(self.peer, self.number.load(Ordering::Relaxed));
        }
        !self.sent_away.is_cancelled()
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.end_wait();
    }
}

/// Has a request of this visit answered; with 503 where the connection is sent away before its body is there.
pub(super) async fn attend(
    router: Router,
    visit: Arc<Visit>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    if !visit.end_wait() {
        return Ok(sent_away());
    }
    let watched = request.map(|body| Watched {
        body,
        visit: Arc::clone(&visit),
        is_waiting: false,
    });
    let answer = tokio::select! {
        biased;
        () = visit.sent_away() => return Ok(sent_away()),
        answer = router.oneshot(watched) => answer,
    };
    visit.wait_anew();
    answer
}

/// The answer to a client for whom there is no place.
pub(super) fn no_room() -> Problem {
    let detail = "too many connections are open; close idle ones, and try again in a second";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "connections_full", detail)
        .with(RETRY_AFTER, HeaderValue::from_static("1"))
        .with(CONNECTION, HeaderValue::from_static("close"))
}

fn sent_away() -> Response {
    no_room().into_response()
}

/// A request's body, with the waits for its parts.
struct Watched {
    body: Incoming,
    visit: Arc<Visit>,
    is_waiting: bool,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match (&polled, self.is_waiting) {
            (Poll::Pending, false) => {
                self.is_waiting = true;
                self.visit.wait_for_body();
            }
            (Poll::Ready(_), true) => {
                self.is_waiting = false;
                if !self.visit.end_wait() {
                    // Whoever waits for the request sees that it was sent away, and drops this.
                    return Poll::Pending;
                }
            }
            (Poll::Pending, true) | (Poll::Ready(_), false) => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    /// A body that is dropped while it is waited for came too slowly, or is too large: the daemon is at work again.
    fn drop(&mut self) {
        if self.is_waiting {
            self.visit.leave_body();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A visit whose client is waited for.
    fn enter(doors: &Doors, text: &str) -> Arc<Visit> {
        let visit = doors.enter(address(text));
        visit.looked_at();
        visit
    }

    fn is_gone(visit: &Visit) -> bool {
        visit.sent_away.is_cancelled()
    }

    #[test]
    fn of_one_address_the_longest_wait_gives_way_first() {
        let doors = Doors::default();
        let visits: Vec<_> = (0..4).map(|_| enter(&doors, "198.41.0.4")).collect();
        assert!(visits[0].end_wait(), "the first is at work");
        assert!(doors.send_one_away());
        assert!(is_gone(&visits[1]));
        // An answer makes a new wait, which is the shortest now.
        visits[2].end_wait();
        visits[2].wait_anew();
        assert!(doors.send_one_away());
        assert!(is_gone(&visits[3]));
        assert!(doors.send_one_away());
        assert!(is_gone(&visits[2]));
        assert!(!doors.send_one_away(), "work is not cut off");
        assert!(!is_gone(&visits[0]));
    }

    #[test]
    fn who_was_not_looked_at_or_sent_its_head_at_once_is_not_sent_away() {
        let doors = Doors::default();
        let (new, prompt) = (
            doors.enter(address("198.41.0.4")),
            doors.enter(address("198.41.0.4")),
        );
        assert!(prompt.end_wait(), "its head was there");
        prompt.looked_at();
        assert!(!doors.send_one_away());
        prompt.wait_for_body();
        new.looked_at();
        assert!(doors.send_one_away());
        assert!(is_gone(&prompt) && !is_gone(&new));
    }

    #[test]
    fn a_body_is_waited_for_since_the_request_began() {
        let doors = Doors::default();
        let (first, second) = (enter(&doors, "198.41.0.4"), enter(&doors, "198.41.0.4"));
        for _ in 0..3 {
            assert!(first.end_wait());
            first.wait_for_body();
        }
        assert!(doors.send_one_away());
        assert!(is_gone(&first) && first.is_asking());
        assert!(!is_gone(&second) && !second.is_asking());
        // It does not come back.
        first.wait_for_body();
        first.wait_anew();
        assert!(!first.end_wait());
        assert!(doors.send_one_away());
        assert!(is_gone(&second));
    }

    #[test]
    fn a_body_that_is_given_up_leaves_nothing_behind() {
        let doors = Doors::default();
        let visit = doors.enter(address("198.41.0.4"));
        assert!(visit.end_wait(), "its head was there");
        for _ in 0..3 {
            // Its body is waited for in vain, and it is answered.
            visit.wait_for_body();
            visit.leave_body();
            assert!(!doors.send_one_away(), "an answer is made");
            visit.wait_anew();
            visit.leave_body();
            assert_eq!(doors.waits().order.len(), 1, "that wait is another one");
            // One wait takes the place of the other, whatever happens to the body.
            visit.wait_for_body();
            visit.wait_anew();
            assert_eq!(doors.waits().order.len(), 1);
            assert!(visit.end_wait());
        }
        visit.wait_for_body();
        drop(visit);
        let waits = doors.waits();
        assert!(waits.peers.is_empty() && waits.order.is_empty());
    }

    #[test]
    fn a_crowd_from_one_address_pushes_out_its_own_only() {
        let doors = Doors::default();
        let early = enter(&doors, "198.41.0.4");
        let crowd: Vec<_> = (0..10)
            .map(|host| enter(&doors, &format!("2001:db8::{host:x}")))
            .collect();
        let late = enter(&doors, "::ffff:198.41.0.5");
        for visit in &crowd[..9] {
            assert!(doors.send_one_away());
            assert!(is_gone(visit), "a /64 is one peer");
        }
        assert!(!is_gone(&early) && !is_gone(&late));
        // Each has one now: the oldest goes.
        assert!(doors.send_one_away());
        assert!(is_gone(&early) && !is_gone(&crowd[9]));
    }

    #[test]
    fn who_left_leaves_nothing_behind() {
        let doors = Doors::default();
        for _ in 0..3 {
            let visit = enter(&doors, "198.41.0.4");
            let at_work = enter(&doors, "198.41.0.4");
            at_work.end_wait();
            drop((visit, at_work));
        }
        assert!(!doors.send_one_away());
        let waits = doors.waits();
        assert!(waits.peers.is_empty() && waits.order.is_empty());
    }
}
