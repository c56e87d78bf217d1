//! A small real HTTPS server for webhooks: it receives what the sender sends, and answers as it is told.
//!
//! The `demo` and `listen` commands and the tests use it. It speaks HTTP/1.1 over TLS with a certificate
//! from an [`Authority`] made on the spot, and hands each request to a handler that says what to answer:
//! a status, or a [script](Answer::Script) of bytes, pauses and ends, as receivers in the world have them.
//! It takes no part in delivery, keeps nothing on disk, and is not made to face the internet.
//!
//! Its bounds: [`Options`] has those for connections and bodies; a head has 10 seconds.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::{Clock, UnixMillis};

mod answer;
mod authority;
mod serve;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Step};
pub use authority::{Authority, Identity};

/// Why a receiver or its certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// A certificate could not be made.
    #[error("the certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A certificate and key could not be used for TLS.
    #[error("the certificate cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    /// The listening socket could not be used.
    #[error("the receiver cannot listen: {0}")]
    Listen(#[from] io::Error),
}

/// What bounds a receiver.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Connections served at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// Bytes of a request's body; a longer one is answered with 413.
    pub body_bytes_max: usize,
    /// Requests kept for [`Receiver::requests`], the newest; 0 keeps none.
    pub requests_kept_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // More than the sender has in flight by default.
            connections_max: 1024,
            // The largest event there is.
            body_bytes_max: 4 * 1024 * 1024,
            requests_kept_max: 0,
        }
    }
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
    /// When its body was complete.
    pub at: UnixMillis,
}

/// A handler's answer in the making.
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A running receiver. Dropping it stops it without waiting; [`stop`](Self::stop) waits.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
}

/// What all of a receiver's connections share.
struct State {
    handler: Box<dyn Fn(ReceivedRequest) -> Answering + Send + Sync>,
    options: Options,
    clock: Clock,
    stopping: CancellationToken,
    tasks: TaskTracker,
    connections: watch::Sender<u64>,
    requests: watch::Sender<u64>,
    handshake_failure: watch::Sender<Option<String>>,
    kept: Mutex<VecDeque<ReceivedRequest>>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Receiver {
    /// Serves on a listener of the caller's, with the certificate of `identity`. Must be called inside of
    /// a Tokio runtime.
    ///
    /// # Errors
    /// [`ReceiverError`] if the certificate or the socket cannot be used.
    pub fn start<H, F>(
        listener: TcpListener,
        identity: &Identity,
        options: Options,
        handler: H,
    ) -> Result<Self, ReceiverError>
    where
        H: Fn(ReceivedRequest) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let tls = TlsAcceptor::from(identity.server_config()?);
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            handler: Box::new(move |request| Box::pin(handler(request))),
            options,
            clock: Clock::system(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            connections: watch::Sender::new(0),
            requests: watch::Sender::new(0),
            handshake_failure: watch::Sender::new(None),
            kept: Mutex::default(),
        });
        state.tasks.spawn(accept(listener, tls, Arc::clone(&state)));
        Ok(Self { address, state })
    }

    /// Serves on a port of 127.0.0.1 that the system chooses, with the default bounds, keeping the last
    /// thousand requests. The certificate must be for `127.0.0.1`, or for the name that senders use.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn local<H, F>(identity: &Identity, handler: H) -> Result<Self, ReceiverError>
    where
        H: Fn(ReceivedRequest) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let options = Options {
            requests_kept_max: 1000,
            ..Options::default()
        };
        Self::start(listener, identity, options, handler)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path (with its leading slash) on this receiver's address.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections_count(&self) -> u64 {
        *self.state.connections.borrow()
    }

    /// Requests received so far.
    #[must_use]
    pub fn requests_count(&self) -> u64 {
        *self.state.requests.borrow()
    }

    /// The newest requests, oldest first, as far as they are [kept](Options::requests_kept_max).
    #[must_use]
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.state.kept().iter().cloned().collect()
    }

    /// The newest failure of a TLS handshake, in words. Of several at once the last one is told.
    #[must_use]
    pub fn handshake_failures(&self) -> watch::Receiver<Option<String>> {
        self.state.handshake_failure.subscribe()
    }

    /// Waits until `count` requests were received since the start. Set a deadline around it.
    pub async fn wait_for_requests(&self, count: u64) {
        let mut requests = self.state.requests.subscribe();
        // The sending half is in `self`, so there is no error to come.
        while *requests.borrow_and_update() < count && requests.changed().await.is_ok() {}
    }

    /// Stops: accepts nothing more, lets requests under way be answered, ends scripts, and waits for all
    /// of it.
    pub async fn stop(self) {
        self.state.stopping.cancel();
        self.state.tasks.close();
        self.state.tasks.wait().await;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.state.stopping.cancel();
    }
}

impl State {
    fn received(&self, request: &ReceivedRequest) {
        if self.options.requests_kept_max > 0 {
            let mut kept = self.kept();
            if kept.len() >= self.options.requests_kept_max {
                kept.pop_front();
            }
            kept.push_back(request.clone());
        }
        self.requests.send_modify(|count| *count += 1);
    }

    /// A panic under this lock could only be a failed allocation, after which the queue is still whole.
    fn kept(&self) -> MutexGuard<'_, VecDeque<ReceivedRequest>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>) {
    let slots = Arc::new(Semaphore::new(state.options.connections_max));
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            () = state.stopping.cancelled() => return,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = state.stopping.cancelled() => return,
        };
        match stream {
            Ok((stream, _)) => {
                state.connections.send_modify(|count| *count += 1);
                let (tls, shared) = (tls.clone(), Arc::clone(&state));
                state.tasks.spawn(async move {
                    // Held to the connection's end.
                    let _slot = slot;
                    serve::connection(stream, tls, shared).await;
                });
            }
            // A connection that was gone before it was taken, or no file descriptor left: either passes.
            Err(error) => {
                tracing::warn!(%error, "no connection accepted");
                tokio::time::sleep(serve::ACCEPT_PAUSE).await;
            }
        }
    }
}
