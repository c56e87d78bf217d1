//! One HTTPS request to one endpoint, and how it ended.
//!
//! [`Sender::send`] always answers with a typed [`Outcome`] within the request's one total deadline, which
//! spans name resolution, connection, handshake, request, head and body. Whatever the receiver does, a
//! bound stands against it: the answer's head (64 KiB, 100 headers, interim answers counted in), the part
//! of its body that is kept (the rest is not read, and the connection is closed), the idle connections.
//!
//! Every address that a name resolves to is judged by the [`AddressPolicy`], and one refused address
//! refuses the name; the connection goes to an address that was judged in the same call, so a name that
//! resolves differently the next time gains nothing. Certificates are verified, always: there is no
//! switch. Redirects are not followed, bodies are not decompressed.
//!
//! A proxy is asked only where the operator names one, and then for an address that was judged here; what tenants are told
//! of refused addresses and of the proxy is coarse, and the log has the rest.
//!
//! An open connection is used again where the receiver keeps it. If a reused one turns out to be closed
//! before a byte of an answer came, the request goes once more over a fresh one, in the same deadline.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use rustls::pki_types::CertificateDer;
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::model::{
    AccountName, AddressPolicy, Clock, Endpoint, FaultKind, Outcome, Phases, Response, UnixMillis,
    WebhookId,
};

mod connect;
mod dial;
mod exchange;
mod fault;
mod guard;
mod pool;
mod probe;
mod progress;
mod proxy;
mod resolve;
mod tally;
#[cfg(test)]
mod tests;
mod told;
mod trust;
mod validity;

pub use exchange::USER_AGENT_TEXT;
pub use guard::Guard;
pub use probe::Probe;
pub use proxy::{Bypass, ProxyLogin, ProxyOptions, ProxyProtocol};
pub use told::Told;
pub use trust::{ClientCertificate, ReadyTls, TlsIdentity, TlsNames, TlsSettings};
pub use validity::not_after;

use connect::{Connector, Destination};
use exchange::Message;
use fault::Fault;
use pool::Pool;
use progress::Progress;
use resolve::Names;
use trust::{Trust, Trusts};

/// Sockets besides one for each request: idle connections, and addresses that are dialled beside a name's first one. The
/// process's files are counted with these.
pub const SOCKETS_BESIDE_MAX: usize = 1024;
/// Longest deadline a request can have. Profiles set seconds; this only keeps the sum of the present and a
/// duration from another mouth in range.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// What the sender needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which addresses may be dialled.
    pub policy: AddressPolicy,
    /// Certificate authorities trusted besides the system's.
    pub extra_ca: Vec<CertificateDer<'static>>,
    /// How names are resolved.
    pub resolver: Resolver,
    /// The proxy through which requests go, if not all are dialled from here.
    pub proxy: Option<ProxyOptions>,
    /// Bytes of an answer's body that are kept; the rest is not read.
    pub response_body_max: usize,
    /// Open connections kept for one webhook's host, at most.
    pub idle_per_host_max: usize,
    /// An idle connection is closed after this time.
    pub idle_timeout: Duration,
}

/// How names are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// In this process, by the servers of `/etc/resolv.conf`, `/etc/hosts` first.
    BuiltIn,
    /// By the C library, as `nsswitch.conf` says; blocks a thread for each look-up.
    System,
}

/// Why a sender could not be built.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// A certificate of [`Options::extra_ca`] cannot be used.
    #[error("certificate {number} of the extra CAs cannot be used as a trust anchor: {reason}")]
    ExtraCa {
        /// Its place in the list, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A name for TLS cannot be used.
    #[error("[egress.tls.{name}] cannot be used: {reason}")]
    Identity {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: rustls::Error,
    },
    /// The system's resolver configuration cannot be read.
    #[error(
        "/etc/resolv.conf cannot be used: {0}; correct it, or let the C library resolve names \
         (resolver = \"system\")"
    )]
    ResolverConfig(String),
    /// The TLS library refuses its own settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// One request to make. It is a `POST`.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where to.
    pub endpoint: Endpoint,
    /// Headers to send. `Host`, and what frames the message or governs the connection, is set by the
    /// sender whatever stands here; `User-Agent` is set if missing.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The total deadline, from now to the answer's last byte; at most a day.
    pub timeout: Duration,
    /// The TLS settings to use, if not those for all. Where they do not hold any more nothing is sent.
    pub tls: Option<TlsSettings>,
    /// The account that it is made for, so that none takes what all need.
    pub account: Option<AccountName>,
    /// The webhook that it is made for; for the log.
    pub webhook: Option<WebhookId>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When it began, by the wall clock.
    pub started_at: UnixMillis,
    /// How it ended.
    pub outcome: Outcome,
    /// How long each phase took.
    pub phases: Phases,
    /// What the receiver answered, as far as it was read; there may be some with a fault, too.
    pub response: Option<Response>,
}

/// Sends requests. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Sender {
    shared: Arc<Shared>,
}

struct Shared {
    connector: Connector,
    trusts: Trusts,
    pool: Arc<Pool>,
    told: Told,
    response_body_max: usize,
    clock: Clock,
    metrics: Metrics,
    tasks: TaskTracker,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Sender {
    /// A sender with no connection yet. Reads the system's trusted roots and resolver configuration.
    ///
    /// # Errors
    /// [`SenderError`] says which setting cannot be used.
    pub fn new(options: Options, clock: Clock, metrics: Metrics) -> Result<Self, SenderError> {
        let names = Names::new(options.resolver)?;
        Self::with_names(options, names, clock, metrics)
    }

    fn with_names(
        options: Options,
        names: Names,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, SenderError> {
        let tasks = TaskTracker::new();
        let trusts = Trusts::new(&options.extra_ca)?;
        Ok(Self {
            shared: Arc::new(Shared {
                connector: Connector::new(options.policy, names, options.proxy, tasks.clone()),
                trusts,
                told: Told::default(),
                pool: Arc::new(Pool::new(options.idle_per_host_max, options.idle_timeout)),
                response_body_max: options.response_body_max,
                clock,
                metrics,
                tasks,
            }),
        })
    }

    /// Puts these names for TLS in the place of the present ones, as a start and a reload do. The idle connections of
    /// those that mean something else now, or nothing, are closed; requests under way go on with what they began with.
    ///
    /// # Errors
    /// [`SenderError::Identity`]; nothing is changed then.
    pub fn set_tls(&self, identities: &[TlsIdentity]) -> Result<(), SenderError> {
        let ready = self.ready_tls(identities)?;
        self.put_tls(ready);
        Ok(())
    }

    /// The first half of [`Sender::set_tls`], which can fail and changes nothing.
    ///
    /// # Errors
    /// [`SenderError::Identity`].
    pub fn ready_tls(&self, identities: &[TlsIdentity]) -> Result<ReadyTls, SenderError> {
        self.shared.trusts.ready(identities)
    }

    /// The second half, which cannot fail.
    pub fn put_tls(&self, ready: ReadyTls) {
        let gone = self.shared.trusts.set(ready);
        self.shared.pool.close_trusts(&gone);
    }

    /// The names for TLS that each account's webhooks may use, and what they mean.
    #[must_use]
    pub fn tls_names(&self) -> TlsNames {
        self.shared.trusts.of_accounts()
    }

    /// Whether TLS settings still mean what they meant when the account was given them, and still are that account's.
    #[must_use]
    pub fn holds(&self, settings: &TlsSettings) -> bool {
        self.shared.trusts.holds(settings)
    }

    /// Makes one request. Never takes longer than the request's timeout, but for the time the process
    /// itself is held up.
    ///
    /// Dropping the future cuts the request off and closes its connection.
    pub async fn send(&self, request: Request) -> Sent {
        let body_max = self.shared.response_body_max;
        self.send_keeping(request, body_max).await
    }

    /// As [`Sender::send`], keeping `body_max` bytes of the answer's body, whatever the options say: for a caller that
    /// needs what is in it.
    pub async fn send_keeping(&self, request: Request, body_max: usize) -> Sent {
        let started_at = self.shared.clock.wall();
        let mut progress = Progress::start();
        let timeout = request.timeout.min(TIMEOUT_MAX);
        let deadline = progress.started() + timeout;
        let Request {
            endpoint,
            headers,
            body,
            account,
            ..
        } = request;
        let message = exchange::message(&endpoint, headers, body);
        let attempt = async {
            let shared = &self.shared;
            let trust = shared.trust(request.tls.as_ref())?;
            let message = (message?, body_max);
            let to = Destination {
                endpoint: &endpoint,
                trust: &trust,
                account: account.as_ref(),
            };
            shared.attempt(to, message, &mut progress).await
        };
        let result = match timeout_at(deadline, attempt).await {
            Ok(result) => result,
            Err(_) => Err(progress.timed_out(timeout)),
        };
        if let Err(fault) = &result {
            self.shared.told.tell(request.webhook, &endpoint, fault);
        }
        let (phases, response) = progress.finish();
        Sent {
            started_at,
            outcome: match result {
                Ok(status) => Outcome::Status(status),
                Err(fault) => fault.into_outcome(),
            },
            phases,
            response,
        }
    }

    /// Closes the idle connections, keeps no further ones, and waits for those in use: at most as long as
    /// the longest request under way has left, and a moment for the closing itself.
    pub async fn close(&self) {
        self.shared.pool.close();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    /// What a request goes out with.
    fn trust(&self, settings: Option<&TlsSettings>) -> Result<Arc<Trust>, Fault> {
        match settings {
            None => Ok(self.trusts.unnamed()),
            Some(settings) if self.trusts.holds(settings) => Ok(Arc::clone(settings.trust())),
            Some(_) => Err(no_such_tls()),
        }
    }

    async fn attempt(
        &self,
        to: Destination<'_>,
        (message, body_max): (Message, usize),
        progress: &mut Progress,
    ) -> Result<u16, Fault> {
        let number = to.trust.number();
        if let Some(connection) = self.pool.take(number, to.endpoint.authority()).await {
            self.metrics.connections_reused.inc();
            let end = connection
                .exchange(message.clone(), body_max, progress)
                .await;
            match end {
                Ok(done) => return Ok(self.keep(to, done)),
                // The receiver had closed it while it was idle; it cannot have answered, so once more.
                Err(failure) if failure.unanswered => progress.restart(),
                Err(failure) => return Err(failure.fault),
            }
        }
        // Boxed, as it is rare and large: most requests go over an open connection.
        let connection = Box::pin(self.connector.open(to, progress)).await?;
        self.metrics.connections_opened.inc();
        let end = connection.exchange(message, body_max, progress).await;
        end.map(|done| self.keep(to, done))
            .map_err(|failure| failure.fault)
    }

    fn keep(&self, to: Destination<'_>, done: exchange::Done) -> u16 {
        let Some(connection) = done.connection else {
            return done.status;
        };
        // What a name meant before a reload is closed with its request. A reload between this look and the next line
        // leaves a connection that nobody takes, as its number is given to nothing else; the sweep closes it.
        if self.trusts.is_current(to.trust) {
            self.pool.put(to, connection, &self.tasks);
        }
        done.status
    }
}

/// The name for TLS has gone from the config since the request was asked for.
fn no_such_tls() -> Fault {
    Fault::new(
        FaultKind::Render,
        "the `tls` that this webhook names is not in the config any more, or another account's",
    )
}
