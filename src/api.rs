//! The HTTP API: JSON in and out, keys and scopes, and the one map from errors to status codes.
//!
//! Nothing is decided here that the engine decides: a handler reads and checks its input, calls one thing
//! below, and says what came of it. The accept loop is our own (`server`), because every connection, head
//! and body must have a bound and a deadline.

mod access;
mod answers;
mod audit;
mod budget;
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
mod webhooks;
mod wire;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::model::{Account, AddressPolicy};
use crate::sender::Guard;

pub use doors::listen;
pub use server::serve;
pub use tls::{Identity, Tls};

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

/// What every handler can reach.
pub struct Api {
    engine: Arc<Engine>,
    metrics: Metrics,
    guard: Guard,
    options: Options,
    bodies: budget::Budget,
    answers: budget::Budget,
    reads: reads::Reads,
    access: RwLock<Arc<Access>>,
    turned_away: seldom::Seldom,
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
            access: RwLock::new(Arc::new(Access::new(accounts, metrics_key))),
            turned_away: seldom::Seldom::default(),
        })
    }

    /// Replaces the keys, as a reload does; `metrics_key` has the hashes of the one that reads the metrics, none for
    /// everybody. Requests under way keep the ones they came with; what keys of the same
    /// name have asked for goes on counting.
    pub fn set_accounts(&self, accounts: &[Account], metrics_key: &[[u8; 32]]) {
        let mut access = self.access.write().expect("no holder of this lock panics");
        *access = Arc::new(access.followed_by(accounts, metrics_key));
    }

    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.read().expect("no holder of this lock panics"))
    }

    /// The routes.
    pub fn router(self: &Arc<Self>) -> Router {
        let webhook = get(webhooks::show)
            .patch(webhooks::change)
            .delete(webhooks::remove);
        Router::new()
            .route(
                "/api/v1/webhooks",
                get(webhooks::list).post(webhooks::create),
            )
            .route("/api/v1/webhooks/{id}", webhook)
            .route("/api/v1/webhooks/{id}/test", post(webhooks::test))
            .route("/api/v1/webhooks/{id}/stats", get(stats::of_webhook))
            .route("/api/v1/webhooks/{id}/secret/{verb}", post(secrets::turn))
            .route("/api/v1/webhooks/{id}/held/discard", post(held::discard))
            .route("/api/v1/webhooks/{id}/deliveries", get(deliveries::list))
            .route(
                "/api/v1/webhooks/{id}/deliveries/{event}",
                get(deliveries::show),
            )
            .route(
                "/api/v1/webhooks/{id}/deliveries/{event}/retry",
                post(deliveries::retry),
            )
            .route("/api/v1/webhooks/{id}/replay", post(jobs::replay))
            .route("/api/v1/events/rematch", post(jobs::rematch))
            .route("/api/v1/jobs", get(jobs::list))
            .route("/api/v1/jobs/{id}", get(jobs::show))
            .route("/api/v1/jobs/{id}/{verb}", post(jobs::turn))
            .route("/api/v1/events", get(events::list).post(events::create))
            .route("/api/v1/events/batch", post(events::create_batch))
            .route("/api/v1/events/{id}", get(events::show))
            .route("/api/v1/events/{id}/explain", get(explain::explain))
            .route("/api/v1/audit", get(audit::list))
            .route("/api/v1/stats", get(stats::of_account))
            .route("/api/v1/filters/test", post(filters::test))
            .route("/api/v1/profiles", get(health::profiles))
            .route("/api/v1/event-types", get(health::event_types))
            .route("/api/v1/event-types/{type}", get(health::event_type))
            .route("/healthz", get(health::healthz))
            .route("/readyz", get(health::readyz))
            .route("/metrics", get(health::metrics))
            .fallback(error::not_found)
            .method_not_allowed_fallback(error::method_not_allowed)
            .layer(from_fn_with_state(Arc::clone(self), access::attend))
            .layer(from_fn_with_state(Arc::clone(self), counted::count))
            .with_state(Arc::clone(self))
    }
}
