//! The daemon's life: build, ready, reload, drain, join.
//!
//! [`Daemon::start`] opens the store, starts the engine and binds the listener; when it returns, the
//! daemon can take events. [`Daemon::run`] serves until it is told to stop or the store fails. A store
//! that fails ends the process: a failed sync is never tried again in place.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{self, Api, InForce, Tls};
use crate::config::{Config, ServerOptions};
use crate::dashboard;
use crate::engine::{self, Declared, Engine, EngineError, SchedulerDied, TaskDied};
use crate::metrics::Metrics;
use crate::model::{Account, AccountName, QueueEntry, WebhookId};
use crate::retention;
use crate::sender::{Sender, SenderError};
use crate::store;
use crate::store::{Opened, WriteError, Writer};

mod changes;
mod exports;
mod files;
mod measures;
pub mod serve;
mod told;

pub use files::room_for;

use exports::Exports;

/// How often retention looks: it deletes whole segments, so there is no hurry.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// The watchdog is fed until something has not moved for so long. A disk that is merely slow, or catches up
/// after a burst, takes some seconds for a sync, and killing the process would only cost it another start;
/// `/readyz` tells of that much sooner. With `WatchdogSec=30s` the process is ended after 30 to 65 s.
const WATCHDOG_STALL_MS: u64 = 20_000;
/// Connections to receivers get this long to close. Nothing goes over them any more, and the store waits.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// The store gets this long to stop: sled waits for ever for a write that has failed. With the grace period it stays
/// below the unit's TimeoutStopSec.
const STOP_MAX: Duration = Duration::from_secs(30);
/// A round of the committer that takes longer than this ends the process: it does not come back, as where sled waits
/// for ever, or the disk is as good as gone. Not everybody has a watchdog.
const ROUND_MAX: Duration = Duration::from_secs(60);
/// After this time of a round sled is asked how it is: a write of its that fails just before a thread begins to wait
/// for it wakes nobody up, but whoever asks next is told.
const ROUND_ASK: Duration = Duration::from_secs(5);
/// How often a round is looked at.
const ROUND_LOOK: Duration = Duration::from_secs(1);

/// Why the daemon could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The store did not open; the cause names the file and the remedy.
    #[error(transparent)]
    Open(#[from] store::Error),
    /// Opening the store panicked.
    #[error("opening the store panicked; the log says where")]
    Panic,
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The sender did not start.
    #[error("the sender: {0}")]
    Sender(#[from] SenderError),
    /// Spans cannot be sent to where the config says.
    #[error("[telemetry] otlp_endpoint: {0}")]
    Export(String),
    /// The listener could not be bound.
    #[error(
        "cannot listen on {address}: {source}; change [server] listen, or end what uses the port"
    )]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The process may open too few files.
    #[error(
        "the process may open {limit} files, and needs {needed}; raise LimitNOFILE of the unit (ulimit -n), or \
         lower [delivery] in_flight_max and [server] connections_max"
    )]
    Files {
        /// What the system grants.
        limit: u64,
        /// What the config asks for.
        needed: u64,
    },
    /// The store failed while running.
    #[error(
        "the store failed: {0}; what was acknowledged is on disk, start again once the cause is gone"
    )]
    Store(String),
    /// The store did not stop, or a round of its committer did not end.
    #[error(
        "the store has not moved for {0} s, as its disk does not answer; what was acknowledged is in the journal, start again once the disk is well"
    )]
    StoreHangs(u64),
    /// A reload that came to a stop in the middle.
    #[error(
        "{0}; the new master keys are in force, and whatever comes after that in a reload may not be: restart to be sure"
    )]
    Partly(String),
    /// The scheduler died: nothing would be sent any more.
    #[error(transparent)]
    Scheduler(#[from] SchedulerDied),
    /// Another task died that should have gone on.
    #[error(transparent)]
    Task(#[from] TaskDied),
}

/// A started daemon.
pub struct Daemon {
    address: SocketAddr,
    listener: TcpListener,
    engine: Arc<Engine>,
    running: engine::Running,
    api: Arc<Api>,
    options: api::Options,
    has_dashboard: bool,
    tls: Option<Arc<Tls>>,
    accounts: Arc<Mutex<Vec<Account>>>,
    sender: Sender,
    store: Opened,
    retention: retention::Limits,
    grace: Duration,
    metrics: Metrics,
    exports: Exports,
}

/// A handle on a running daemon, for reloads and the watchdog.
#[derive(Clone)]
pub struct Handle {
    engine: Arc<Engine>,
    api: Arc<Api>,
    tls: Option<Arc<Tls>>,
    /// As they are in force, so that a reload can tell what it changes.
    accounts: Arc<Mutex<Vec<Account>>>,
    metrics: Metrics,
}

impl Daemon {
    /// Opens, starts and binds everything.
    ///
    /// # Errors
    /// [`DaemonError`] says which part and what to do.
    pub async fn start(config: Config) -> Result<Self, DaemonError> {
        let address = config.server.listen;
        let listen = |source| DaemonError::Listen { address, source };
        let listener = api::listen(address).map_err(listen)?;
        Self::start_at(config, listener).await
    }

    /// As [`Daemon::start`], with a listener that is bound already.
    ///
    /// # Errors
    /// [`DaemonError`] says which part and what to do.
    pub async fn start_at(config: Config, listener: TcpListener) -> Result<Self, DaemonError> {
        let metrics = Metrics::new();
        let connections_max =
            room_for(config.server.connections_max, config.delivery.in_flight_max)?;
        let address = listener
            .local_addr()
            .map_err(|source| DaemonError::Listen {
                address: config.server.listen,
                source,
            })?;
        let (storage, counters) = (config.storage.clone(), metrics.clone());
        warn_of(&config, address);
        let opened = tokio::task::spawn_blocking(move || store::open(storage, counters));
        let store = opened.await.map_err(|_| DaemonError::Panic)??;
        let mut options = config.sender.clone();
        // What it was bound to, as the config may leave the port to the system.
        options.policy = options.policy.guarding([address]);
        let policy = options.policy.clone();
        let sender = Sender::new(options, store.clock.clone(), metrics.clone())?;
        sender.set_tls(&config.tls)?;
        let (exports, spans) = exports::start(config.export.clone(), &metrics)?;
        let parts = engine::Parts {
            writer: store.writer.clone(),
            reader: store.reader.clone(),
            fatal: store.fatal.clone(),
            sender: sender.clone(),
            clock: store.clock.clone(),
            metrics: metrics.clone(),
            vault: config.vault.clone(),
            spans,
        };
        let names = accounts(&config);
        let (profiles, formats) = (&config.profiles, &config.formats);
        let delivery = engine::Options {
            webhooks_named_max: named_max(&config, address),
            ..config.delivery.clone()
        };
        let built = Engine::build(parts, &delivery, &names, profiles, formats, &config.alerts)?;
        // Before anything is sent from webhooks that are declared otherwise by now.
        let engine = Arc::clone(built.engine());
        engine.set_declared(config.webhooks.clone()).await;
        let (engine, running) = built.launch(&delivery)?;
        let options = api_options(&config.server, connections_max);
        measures::limits(&metrics, &config, connections_max);
        measures::taken_over(&metrics, &config, engine.clock());
        let api = Api::new(
            Arc::clone(&engine),
            metrics.clone(),
            policy,
            options.clone(),
            &config.accounts,
            &config.metrics.key,
        );
        api.set_in_force(in_force(&config, &engine));
        Ok(Self {
            api,
            tls: config.identity.map(|identity| Arc::new(Tls::new(identity))),
            accounts: Arc::new(Mutex::new(config.accounts)),
            grace: config.delivery.stop_grace,
            has_dashboard: config.server.dashboard,
            retention: (&config.storage).into(),
            address,
            listener,
            engine,
            running,
            options,
            sender,
            store,
            metrics,
            exports,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle for reloads and the watchdog.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            engine: Arc::clone(&self.engine),
            api: Arc::clone(&self.api),
            tls: self.tls.clone(),
            accounts: Arc::clone(&self.accounts),
            metrics: self.metrics.clone(),
        }
    }

    /// Serves until `stop`, then drains: no new connections and no new attempts, those under way get the
    /// grace period, what ended is synced.
    ///
    /// # Errors
    /// [`DaemonError::Store`] where the store failed, [`DaemonError::Scheduler`] and
    /// [`DaemonError::Task`] where a task died that should have gone on.
    pub async fn run(self, stop: CancellationToken) -> Result<(), DaemonError> {
        let tasks = TaskTracker::new();
        let mut sweeping = tasks.spawn(sweep(
            Arc::clone(&self.engine),
            self.store.writer,
            self.retention,
        ));
        let mut router = self.api.router();
        if self.has_dashboard {
            router = router.merge(dashboard::router());
        }
        let serving = api::serve(
            self.listener,
            router,
            self.options,
            self.tls,
            stop.clone(),
            self.grace,
            &self.metrics,
        );
        let draining = async {
            stop.cancelled().await;
            self.engine.stop(self.running).await
        };
        // The last one to hold sled is to be the store's own thread, where what it says at its end is heard.
        let reader = self.store.reader;
        let ask = move || {
            let reader = reader.clone();
            // What comes of it the store tells itself, and it may wait as long as the committer does.
            drop(tokio::task::spawn_blocking(move || {
                drop(reader.ask_registry())
            }));
        };
        let done = tokio::select! {
            ((), drained) = async { tokio::join!(serving, draining) } => drained.map_err(DaemonError::from),
            fault = store_failed(self.store.fatal) => Err(DaemonError::Store(fault)),
            busy = stalled(|| self.engine.committer_busy(), ask, ROUND_LOOK) => {
                tracing::error!(seconds = busy.as_secs(), "the disk under [storage] path does not answer");
                Err(DaemonError::StoreHangs(busy.as_secs()))
            }
            died = self.engine.scheduler_died() => Err(died.into()),
            died = self.engine.task_died() => Err(died.into()),
            _ = &mut sweeping => Err(TaskDied("the task that deletes old history").into()),
        };
        sweeping.abort();
        self.engine.cut_off().await;
        // Nobody gives it spans any more; what it has gets its moment beside the store's last writes.
        self.exports.end().await;
        if tokio::time::timeout(CLOSE_MAX, self.sender.close())
            .await
            .is_err()
        {
            tracing::warn!("connections to receivers did not close in time");
        }
        let handle = self.store.handle;
        let stopping = tokio::task::spawn_blocking(move || handle.stop());
        // Where it hangs already it is not waited for again.
        let patience = match done {
            Err(DaemonError::StoreHangs(_)) => CLOSE_MAX,
            _ => STOP_MAX,
        };
        let stopped = tokio::time::timeout(patience, stopping).await;
        done?;
        match stopped {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(DaemonError::Store(error.to_string())),
            Ok(Err(panic)) => Err(DaemonError::Store(panic.to_string())),
            Err(_) => Err(DaemonError::StoreHangs(STOP_MAX.as_secs())),
        }
    }
}

/// Waits until the store has failed, and says how.
async fn store_failed(mut fatal: watch::Receiver<Option<String>>) -> String {
    match fatal.wait_for(Option::is_some).await {
        Ok(fault) => fault.clone().unwrap_or_default(),
        Err(_) => "the committer ended without a word".to_owned(),
    }
}

/// Waits until a round of the committer has taken too long, and says how long. Calls `ask` once for each that is long.
async fn stalled(busy: impl Fn() -> Duration, ask: impl Fn(), look_every: Duration) -> Duration {
    let mut ticks = tokio::time::interval(look_every);
    let mut asked = false;
    loop {
        ticks.tick().await;
        let busy = busy();
        if busy > ROUND_MAX {
            return busy;
        }
        let long = busy > ROUND_ASK;
        if long && !asked {
            ask();
        }
        asked = long;
    }
}

impl retention::Queues for Engine {
    fn is_held(&self, webhook: WebhookId) -> bool {
        !self.is_sending(webhook)
    }

    async fn expire(&self, webhook: WebhookId, entries: &[QueueEntry]) -> Result<u32, WriteError> {
        Self::expire(self, webhook, entries).await
    }
}

/// Deletes what history has outlived its limits, every minute.
async fn sweep(engine: Arc<Engine>, writer: Writer, limits: retention::Limits) {
    let (reader, clock) = (engine.reader().clone(), engine.clock().clone());
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        ticks.tick().await;
        let now = clock.steady();
        let swept = retention::sweep(&reader, &writer, limits, now, &*engine).await;
        if let Err(error) = swept {
            tracing::error!(%error, "retention could not sweep; it tries again in a minute");
        }
    }
}

impl Handle {
    /// Takes over accounts, keys, certificates, profiles, formats, alerts, webhooks, `[egress.tls]` and master keys of a
    /// new config.
    /// What else changed needs a restart.
    ///
    /// # Errors
    /// Where a master key is missing or cannot be changed now; nothing is changed then. [`DaemonError::Partly`] where a
    /// profile does not compile or a certificate cannot be used after all. What of the declared webhooks could not be
    /// written is in the answer: it is tried again.
    pub async fn reload(&self, config: &Config) -> Result<Declared, DaemonError> {
        // The only step that meets the disk, and so may fail: after it the rest is what the config's reading has checked.
        self.engine.set_vault(config.vault.clone()).await?;
        let taken = self.take_over(config).await;
        taken.map_err(|error| DaemonError::Partly(error.to_string()))?;
        self.note_changes(&config.accounts).await;
        let declared = self.engine.set_declared(config.webhooks.clone()).await;
        self.api.set_in_force(in_force(config, &self.engine));
        Ok(declared)
    }

    async fn take_over(&self, config: &Config) -> Result<(), DaemonError> {
        let names = accounts(config);
        let (profiles, formats) = (&config.profiles, &config.formats);
        self.engine
            .set_accounts(&names, profiles, formats, &config.alerts, &config.tls)
            .await?;
        self.api.set_accounts(&config.accounts, &config.metrics.key);
        if let (Some(tls), Some(identity)) = (&self.tls, &config.identity) {
            tls.replace(identity.clone());
        }
        Ok(())
    }

    /// Notes what accounts have otherwise than before, one account after the other. What could not be noted is noted by
    /// the next reload.
    async fn note_changes(&self, accounts: &[Account]) {
        let mut before = self.accounts.lock().await;
        let names = before.iter().chain(accounts).map(|one| one.name.clone());
        let names: BTreeSet<AccountName> = names.collect();
        for name in names {
            let of = |list: &[Account]| -> Vec<Account> {
                let of_name = list.iter().filter(|one| one.name == name);
                of_name.cloned().collect()
            };
            let (old, new) = (of(&before), of(accounts));
            for entry in changes::entries(&old, &new) {
                if let Err(error) = self.engine.note(entry).await {
                    tracing::warn!(account = %name, %error,
                        "what the config changes could not be noted in the audit log; the next reload tries again");
                    return;
                }
            }
            before.retain(|one| one.name != name);
            before.extend(new);
        }
    }

    /// Counts a reload, and from when on which config is in force.
    pub fn count_reload(&self, taken_over: Option<&Config>) {
        let result = if taken_over.is_some() { "ok" } else { "failed" };
        let reloads = &self.metrics.config_reloads;
        reloads.get_or_create(&[("result", result)]).inc();
        match taken_over {
            Some(config) => measures::taken_over(&self.metrics, config, self.engine.clock()),
            None => {
                self.metrics.config_reload_successful.set(0);
            }
        }
    }

    /// Whether work is progressing, not only a port open.
    #[must_use]
    pub fn is_progressing(&self) -> bool {
        self.engine.faults(WATCHDOG_STALL_MS).is_empty()
    }
}

/// Tells what an operator should know of a config that is right.
fn warn_of(config: &Config, address: SocketAddr) {
    for warning in &config.warnings {
        tracing::warn!("{}", warning.line());
    }
    if config.identity.is_none() && !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "the API speaks plain HTTP: beyond this machine, set [server.tls], or put a proxy that ends TLS before it"
        );
    }
}

fn in_force(config: &Config, engine: &Engine) -> InForce {
    InForce {
        revision: config.revision.clone(),
        since: engine.clock().wall(),
    }
}

/// The API's part of the config; there may be fewer connections than the config says.
const fn api_options(server: &ServerOptions, connections_max: usize) -> api::Options {
    api::Options {
        body_bytes_max: server.body_bytes_max,
        body_memory: server.body_memory,
        answer_memory: server.answer_memory,
        connections_max,
        header_timeout: server.header_timeout,
        body_timeout: server.body_timeout,
        body_rate_min: server.body_rate_min,
        answer_rate_min: server.answer_rate_min,
    }
}

/// How many webhooks the metrics name. Ids and accounts are not for everybody on the network.
fn named_max(config: &Config, address: SocketAddr) -> usize {
    let is_open = config.metrics.key.is_empty() && !address.ip().is_loopback();
    if is_open && config.metrics.webhooks_max > 0 {
        tracing::info!(
            "/metrics names no webhooks, as everybody on the network may read it; [metrics] hash asks for a key"
        );
        return 0;
    }
    config.metrics.webhooks_max
}

fn accounts(config: &Config) -> Vec<(AccountName, String)> {
    config
        .accounts
        .iter()
        .map(|account| (account.name.clone(), account.profile.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
[storage]
path = "data"
[[accounts]]
name = "acme"
profile = "standard"
[[accounts.keys]]
name = "all"
hash = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
scopes = ["admin", "send", "read"]
"#;

    #[tokio::test]
    async fn a_round_that_takes_too_long_is_noticed_and_a_long_one_is_not() {
        let (looks, asked) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let busy = || {
            let seconds = [0, 5, 6, 60, 0, 1, 59, 80];
            let look = looks.replace(looks.get() + 1);
            Duration::from_secs(seconds[look])
        };
        let ask = || asked.set(asked.get() + 1);
        let found = stalled(busy, ask, Duration::from_millis(1)).await;
        assert_eq!((found.as_secs(), looks.get(), asked.get()), (80, 8, 2));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_daemon_whose_scheduler_died_ends_with_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config::parse(CONFIG, "config.toml", directory.path(), []).unwrap();
        let daemon = Daemon::start(config.clone()).await.unwrap();
        daemon.running.break_off();
        let ended = daemon.run(CancellationToken::new()).await;
        assert!(matches!(ended, Err(DaemonError::Scheduler(_))), "{ended:?}");
        // It has let go of everything: the same directory opens again, and a stop is clean.
        let daemon = Daemon::start(config).await.unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        daemon.run(stop).await.unwrap();
    }
}
