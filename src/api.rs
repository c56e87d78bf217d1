//! The HTTP API: JSON in and out, keys and scopes, and the one map from errors to status codes.
//!
//! Nothing is decided here that the engine decides: a handler reads and checks its input, calls one thing
//! below, and says what came of it. The accept loop is our own (`server`), because every connection, head
//! and body must have a bound and a deadline.

mod access;
mod answers;
mod audit;
mod budget;
mod codes;
mod contract;
mod counted;
mod deliveries;
mod doors;
mod error;
mod events;
mod explain;
mod fields;
mod filters;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod heads;
mod health;
mod held;
mod input;
mod jobs;
mod key;
mod live;
pub mod openapi;
mod paced;
mod page;
mod quota;
mod reads;
mod secrets;
mod seldom;
mod server;
mod stats;
mod stored;
mod tls;
mod together;
mod traced;
mod verifier;
mod webhooks;
mod wire;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tokio::sync::watch;

use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::model::{Account, AddressPolicy, UnixMillis};
use crate::sender::Guard;

pub use doors::listen;
pub use server::serve;
pub use tls::{Identity, Tls};
pub use webhooks::{DeclaredFault, Ground, as_shown, fingerprints, read_declared};

use access::Access;

/// What the API needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// A request body over this is refused, bytes.
    pub body_bytes_max: usize,
    /// The bodies of all requests under way together, bytes; beyond that a client is answered 503.
    pub body_memory: usize,
    /// Large answers that clients have not taken yet, bytes; beyond that a client is answered 503.
    pub answer_memory: usize,
    /// Connections open at once; beyond that one that keeps the daemon waiting gives way, or the new client is
    /// answered 503.
    pub connections_max: usize,
    /// A request's head must arrive within this time; also how long an idle connection is kept.
    pub header_timeout: Duration,
    /// A request's body must arrive within this time; also how long a client may take nothing of an answer.
    pub body_timeout: Duration,
    /// Bytes of a body that must come in a second, on average and after a grace; 0 for any.
    pub body_rate_min: u64,
    /// Bytes of an answer that a client must take in a second, on average and after `body_timeout`; 0 for any.
    pub answer_rate_min: u64,
}

/// Which config is in force.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// The mark of its text.
    pub revision: String,
    /// Since when.
    pub since: UnixMillis,
}

/// What every handler can reach.
pub struct Api {
    engine: Arc<Engine>,
    metrics: Metrics,
    guard: Guard,
    options: Options,
    bodies: budget::Budget,
    answers: budget::Budget,
    reads: reads::Reads,
    access: watch::Sender<Arc<Access>>,
    in_force: RwLock<InForce>,
    turned_away: seldom::Seldom,
    shelf: openapi::Shelf,
}

impl Api {
    /// An API over an engine.
    #[must_use]
    pub fn new(
        engine: Arc<Engine>,
        metrics: Metrics,
        policy: AddressPolicy,
        options: Options,
        accounts: &[Account],
        metrics_key: &[[u8; 32]],
    ) -> Arc<Self> {
        Arc::new(Self {
            engine,
            metrics,
            guard: Guard::new(policy),
            bodies: budget::Budget::new(options.body_memory, options.body_bytes_max),
            answers: budget::Budget::new(options.answer_memory, 0),
            reads: reads::Reads::default(),
            options,
            access: watch::Sender::new(Arc::new(Access::new(accounts, metrics_key))),
            in_force: RwLock::default(),
            turned_away: seldom::Seldom::default(),
            shelf: openapi::Shelf::default(),
        })
    }

    /// Replaces the keys, as a reload does; `metrics_key` has the hashes of the one that reads the metrics, none for
    /// everybody. Requests under way keep the ones they came with, but for live streams; what keys of the same name
    /// have asked for goes on counting.
    pub fn set_accounts(&self, accounts: &[Account], metrics_key: &[[u8; 32]]) {
        self.access
            .send_modify(|access| *access = Arc::new(access.followed_by(accounts, metrics_key)));
    }

    /// Says which config is in force from now on.
    pub fn set_in_force(&self, in_force: InForce) {
        let mut now = self
            .in_force
            .write()
            .expect("no holder of this lock panics");
        *now = in_force;
    }

    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.borrow())
    }

    /// The routes: those of the table of operations, and no others.
    pub fn router(self: &Arc<Self>) -> Router {
        openapi::routes()
            .fallback(error::not_found)
            .method_not_allowed_fallback(error::method_not_allowed)
            .layer(from_fn_with_state(Arc::clone(self), access::attend))
            .with_state(Arc::clone(self))
    }
}
