//! The engine: registry, intake, scheduler, attempts. What the daemon does, without HTTP in front of it.
//!
//! [`Engine::start`] reads the webhooks, opens a lane for each and starts the scheduler; from then on the
//! engine is a cheap handle. All state that must survive is in the store: the engine only decides.
//!
//! Stopping: [`Engine::stop`] grants no new attempts, gives those under way a grace period, and drops the
//! rest without a record, so that the next start makes them again.

mod alerts;
mod attempt;
mod audit;
mod backlog;
mod declared;
mod disable;
mod discard;
mod explain;
mod failing;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hints;
mod intake;
mod jobs;
mod named;
mod news;
mod order;
mod places;
mod probe;
mod progress;
mod read_back;
mod registry;
mod reserve;
mod retry_after;
mod run;
pub mod schedule;
mod seals;
mod start;
mod stats;
mod token;
mod traces;
mod unbroken;
mod webhooks;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::model::{AccountName, Clock, EventId, WebhookId};
use crate::profile::{Profiles, SchemaFault};
use crate::render::Formats;
use crate::sender::{Sender, SenderError, TlsIdentity};
use crate::store::{self, Reader, Space, WriteError, Writer};
use crate::telemetry::spans::Spans;
use crate::vault::Vault;

use alerts::Alerts;
use declared::Declarations;
use hints::{BodyBudget, Hint, Missed};
use probe::Probing;
use progress::{Deaths, Heartbeat};
use registry::Registry;
use seals::Seals;
use stats::Stats;
use token::Tokens;

pub use alerts::{Alert, AlertOptions};
pub use attempt::prepared_body;
pub use declared::{Declaration, Declared, KEEP_OLD_MS, Undone, WEBHOOKS_MAX, fingerprint};
pub use discard::Discarded;
pub use explain::{Explained, Hold, KeptOut, Reason, Wait};
pub use failing::Failing;
pub use intake::{Draft, Posted};
pub use jobs::{
    COUNT_TIME_MAX, Counted, JobError, JobOrder, KEPT_JOBS_MAX, OPEN_JOBS_MAX, share_done,
};
pub use news::{Change, Happening, Heard, LISTENERS_MAX, LISTENERS_OWN_MAX, Listener, News, Told};
pub use places::{Full, Place, Places};
pub use progress::TaskDied;
pub use registry::{Contract, Live};
pub use start::Built;
pub use stats::{Figures, Hour, Percentiles, Queued, Said, Waiting, Window};
pub use webhooks::{ChangeError, TESTS_MAX, Tested, TooManyTests};

/// What the engine needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Attempts under way at once, over all webhooks.
    pub in_flight_max: usize,
    /// Attempts under way at once for one webhook.
    pub in_flight_per_webhook_max: usize,
    /// How long attempts may go on after a stop was asked for.
    pub stop_grace: Duration,
    /// Attempts begun in a second for a webhook whose deliveries were held, until it has caught up. Zero: no bound.
    pub resume_per_second: u32,
    /// Whether receivers get the trace that an event came with, as headers.
    pub forward_trace: bool,
    /// Webhooks that the metrics name; all others are summed.
    pub webhooks_named_max: usize,
}

/// Hints that may wait for the scheduler. It takes hundreds at a time, so more would only be memory.
const HINTS_MAX: usize = 8 * 1024;
/// Deliveries that a lane keeps in memory.
const WINDOW_MAX: usize = 256;
/// A lane pages when fewer than this are left in its window.
const PAGE_LOW: usize = 64;
/// Page reads under way at once: each takes a blocking thread for some microseconds, or a disk read.
pub(crate) const PAGES_MAX: usize = 16;
/// Events kept in memory for deliveries that wait for their turn; their bytes have a bound of their own.
const PAYLOADS_MAX: usize = 16 * 1024;

/// The parts that the engine works with.
pub struct Parts {
    /// Where everything is written.
    pub writer: Writer,
    /// Where everything is read.
    pub reader: Reader,
    /// Tells when the store has failed, and how.
    pub fatal: watch::Receiver<Option<String>>,
    /// What sends.
    pub sender: Sender,
    /// The time.
    pub clock: Clock,
    /// The counters.
    pub metrics: Metrics,
    /// The keys that webhooks' secrets are sealed with on disk.
    pub vault: Vault,
    /// Where spans of traced events go to.
    pub spans: Spans,
}

/// The engine. Shared as an `Arc`.
pub struct Engine {
    registry: Registry,
    /// The profiles that an account can have; replaced by a reload.
    profiles: RwLock<Profiles>,
    writer: Writer,
    reader: Reader,
    seals: Seals,
    declarations: Declarations,
    sender: Sender,
    clock: Clock,
    metrics: Metrics,
    hints: mpsc::Sender<Hint>,
    missed: Missed,
    budget: BodyBudget,
    jobs: jobs::Jobs,
    heartbeat: Heartbeat,
    /// Who is told what happens, as it happens.
    news: news::Newsroom,
    stats: Stats,
    /// Who may read in the log since when a webhook has been failing.
    looks: Semaphore,
    probing: Probing,
    /// Who may discard what is held, by webhook.
    discards: Places<WebhookId>,
    /// Who may hold a great event against filters or a schema, on a thread of its own.
    weighing: Arc<Semaphore>,
    /// Who may send a test, by account.
    tests: Places<AccountName>,
    /// The access tokens that attempts carry.
    tokens: Tokens,
    /// When the queues' heads were last looked at for the metrics, steady time.
    measured: AtomicU64,
    traces: traces::Traces,
    named: named::Named,
    tracker: TaskTracker,
    attempts: TaskTracker,
    stopping: CancellationToken,
    /// Ends the attempts under way, without a record.
    cut: CancellationToken,
    /// Cancelled when the scheduler's task has ended, by a panic too.
    ended: CancellationToken,
    deaths: Deaths,
    alerts: Alerts,
    store_fatal: watch::Receiver<Option<String>>,
}

/// Why the engine cannot start or take a change.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A profile is unknown or does not compile.
    #[error("profile `{name}`: {reason}")]
    Profile {
        /// The profile's name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A webhook's account is not in the config.
    #[error("the account `{0}` is not configured")]
    Account(AccountName),
    /// A stored webhook does not fit its profile any more.
    #[error("webhook {id}: {reason}")]
    Webhook {
        /// Which webhook.
        id: WebhookId,
        /// What is wrong.
        reason: String,
    },
    /// The secrets of stored webhooks are sealed with keys that are not there.
    #[error(
        "the secrets of {webhooks} stored webhook(s) are sealed with the master key {key}, which the config does not \
         have; name its file as [secrets] key_file, or among old_key_files after a new one"
    )]
    Sealed {
        /// The name of one such key.
        key: String,
        /// How many webhooks that is.
        webhooks: usize,
    },
    /// Changes to webhooks are not coming to disk, so the keys they are sealed with cannot change.
    #[error(
        "changes to webhooks are still being written to disk; reload once the disk answers again"
    )]
    Writing,
    /// A name for TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] SenderError),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Why an event is refused.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The account is not configured (any more).
    #[error("the account `{0}` is not configured")]
    Account(AccountName),
    /// The profile does not know the type.
    #[error("{0}")]
    EventType(String),
    /// The type is one of the daemon's own.
    #[error("{0}")]
    Operational(String),
    /// The data does not fit the schema of its type.
    #[error("the data does not fit the schema of its type")]
    Schema(Vec<SchemaFault>),
    /// A member is not JSON that can be sent on.
    #[error("{pointer}: {reason}")]
    Json {
        /// JSON pointer of the member.
        pointer: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The id was posted before with other content.
    #[error("an event with the id `{0}` and other content was posted before; use a new id")]
    Conflict(EventId),
    /// The store cannot take it now.
    #[error(transparent)]
    Store(WriteError),
}

/// A running scheduler, to be given to [`Engine::stop`].
#[derive(Debug)]
pub struct Running {
    task: tokio::task::JoinHandle<()>,
}

#[cfg(test)]
impl Running {
    /// Ends the scheduler in the middle of its work, as a panic does.
    pub(crate) fn break_off(&self) {
        self.task.abort();
    }
}

/// The scheduler ended by a defect of ours: nothing is sent any more, so the process must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scheduler ended by a defect; the log says where")]
pub struct SchedulerDied;

impl Engine {
    /// Compiles the contracts, loads the webhooks, opens their lanes and starts the scheduler.
    ///
    /// # Errors
    /// Where a profile does not compile or the store cannot be read. A webhook whose account is no longer
    /// configured is left alone, held, and logged.
    pub fn start(
        parts: Parts,
        options: &Options,
        accounts: &[(AccountName, String)],
        profiles: &Profiles,
        formats: &Formats,
        alerts: &AlertOptions,
    ) -> Result<(Arc<Self>, Running), EngineError> {
        Self::build(parts, options, accounts, profiles, formats, alerts)?.launch(options)
    }

    /// As [`Engine::start`], without the scheduler: for what must be done before anything is sent.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn build(
        parts: Parts,
        options: &Options,
        accounts: &[(AccountName, String)],
        profiles: &Profiles,
        formats: &Formats,
        alerts: &AlertOptions,
    ) -> Result<Built, EngineError> {
        let told = alerts.account.as_ref();
        let contracts = registry::contracts(accounts, profiles, formats, told)?;
        let registry = Registry::new(contracts, parts.sender.tls_names());
        let (hints, hints_in) = mpsc::channel(HINTS_MAX);
        let clock = parts.clock;
        let named = named::Named::new(options.webhooks_named_max, parts.metrics.clone());
        let engine = Arc::new(Self {
            registry,
            profiles: RwLock::new(profiles.clone()),
            writer: parts.writer,
            reader: parts.reader,
            seals: Seals::new(parts.vault),
            declarations: Declarations::default(),
            sender: parts.sender,
            metrics: parts.metrics,
            hints,
            missed: Missed::default(),
            budget: BodyBudget::default(),
            jobs: jobs::Jobs::default(),
            heartbeat: Heartbeat::default(),
            news: news::Newsroom::default(),
            stats: Stats::new(clock.steady()),
            looks: Semaphore::new(failing::LOOKS_MAX),
            probing: Probing::default(),
            discards: Places::new(discard::DISCARDS_MAX, 1),
            weighing: Arc::new(Semaphore::new(intake::WEIGHED_MAX)),
            tests: Places::new(TESTS_MAX, webhooks::TESTS_OWN_MAX),
            tokens: Tokens::default(),
            measured: AtomicU64::new(0),
            traces: traces::Traces::new(options.forward_trace, parts.spans),
            named,
            tracker: TaskTracker::new(),
            attempts: TaskTracker::new(),
            stopping: CancellationToken::new(),
            cut: CancellationToken::new(),
            ended: CancellationToken::new(),
            deaths: Deaths::default(),
            alerts: Alerts::new(alerts),
            store_fatal: parts.fatal,
            clock,
        });
        engine.check_sealed(&engine.seals.vault())?;
        engine.fill_registry();
        Ok(Built { engine, hints_in })
    }

    /// Starts the tasks that go on until the engine stops.
    fn keep(self: &Arc<Self>) {
        let backlogs = Arc::clone(self).keep_backlogs();
        self.keep_on("the task that bounds backlogs", backlogs);
        let probing = Arc::clone(self).keep_probing();
        self.keep_on("the task that probes", probing);
        let jobs = Arc::clone(self).run_jobs();
        self.keep_on("the task that runs jobs", jobs);
        let alerts = Arc::clone(self).keep_alerts();
        self.keep_on("the task that raises operational events", alerts);
        let seals = Arc::clone(self).keep_sealed();
        self.keep_on("the task that seals secrets", seals);
        let declared = Arc::clone(self).keep_declared();
        self.keep_on("the task that follows the config's webhooks", declared);
    }

    /// That such a task ends before, by a panic, is told.
    fn keep_on(&self, what: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let alive = self.deaths.watch_over(what);
        self.tracker.spawn(async move {
            let _alive = alive;
            work.await;
        });
    }

    /// Replaces the accounts, their profiles, the formats, who gets operational events and the names for TLS, as a reload
    /// does. Webhooks that no longer fit are held.
    ///
    /// # Errors
    /// Where a profile does not compile or a name for TLS cannot be used; nothing is changed then.
    pub async fn set_accounts(
        &self,
        accounts: &[(AccountName, String)],
        profiles: &Profiles,
        formats: &Formats,
        alerts: &AlertOptions,
        tls: &[TlsIdentity],
    ) -> Result<(), EngineError> {
        let told = alerts.account.as_ref();
        let contracts: HashMap<_, _> = registry::contracts(accounts, profiles, formats, told)?;
        let tls = self.sender.ready_tls(tls)?;
        self.alerts.set(alerts);
        *self
            .profiles
            .write()
            .expect("no holder of this lock panics") = profiles.clone();
        let reloaded = self
            .registry
            .set_contracts(contracts, tls.names(), || self.sender.put_tls(tls));
        self.forget_tokens_of_strangers();
        for live in reloaded.changed {
            let webhook = live.webhook.id;
            if let Some(reason) = live.misfit() {
                tracing::warn!(webhook_id = %webhook, %reason, "the webhook is held");
            }
            self.tell(Hint::Changed { webhook }).await;
            self.tell_change(&live.webhook.account, webhook, Change::Changed);
        }
        for (webhook, error) in reloaded.left {
            tracing::warn!(webhook_id = %webhook, %error, "the webhook is held");
            self.tell(Hint::Changed { webhook }).await;
        }
        for webhook in self.reader.webhooks() {
            let id = webhook.id;
            if self.registry.find(id).is_none()
                && let Err(error) = self.refresh(id).await
            {
                tracing::debug!(webhook_id = %id, %error, "the webhook stays held");
            }
        }
        Ok(())
    }

    /// Brings the live table and the scheduler into line with the disk for one webhook: gives it as it is
    /// now, or `None` if it has been removed.
    async fn refresh(&self, id: WebhookId) -> Result<Option<Arc<Live>>, EngineError> {
        let before = self.registry.find(id);
        let stored = || {
            self.reader
                .webhook(id)
                .map(|it| self.opened(it))
                .transpose()
        };
        let refreshed = self.registry.refresh(id, stored);
        if let Some(before) = &before {
            self.forget_token(before);
        }
        self.tell(Hint::Changed { webhook: id }).await;
        if let (Some(before), Ok(Some(now))) = (before, &refreshed)
            && !before.speaks_for(now)
        {
            self.tell(Hint::Unpause { webhook: id }).await;
        }
        refreshed
    }

    /// Sends a message that must not be lost. The scheduler never waits for anybody, so this ends soon.
    async fn tell(&self, hint: Hint) {
        if self.hints.send(hint).await.is_err() {
            tracing::debug!("the scheduler has stopped");
        }
    }

    /// The contract of an account, for what the API shows and checks.
    #[must_use]
    pub fn contract(&self, account: &AccountName) -> Option<Arc<Contract>> {
        self.registry.contract(account)
    }

    /// The names for TLS that an account's webhooks may use, in order.
    #[must_use]
    pub fn tls_names(&self, account: &AccountName) -> Vec<String> {
        self.registry.tls_of(account)
    }

    /// The profiles that an account can have.
    #[must_use]
    pub fn profiles(&self) -> Profiles {
        let profiles = self.profiles.read();
        profiles.expect("no holder of this lock panics").clone()
    }

    /// The webhooks of an account, oldest first.
    #[must_use]
    pub fn webhooks(&self, account: &AccountName) -> Arc<Vec<Arc<Live>>> {
        self.registry.of_account(account)
    }

    /// A webhook of this account; another account's is not found.
    #[must_use]
    pub fn webhook(&self, account: &AccountName, id: WebhookId) -> Option<Arc<Live>> {
        self.registry
            .find(id)
            .filter(|live| live.webhook.account == *account)
    }

    /// Whether a webhook exists and what waits for it is sent.
    #[must_use]
    pub fn is_sending(&self, id: WebhookId) -> bool {
        self.registry.find(id).is_some_and(|live| live.sends())
    }

    /// Why the store takes nothing more, if that is so.
    #[must_use]
    pub fn store_fault(&self) -> Option<String> {
        self.store_fatal.borrow().clone()
    }

    /// What the disk has room for.
    #[must_use]
    pub fn space(&self) -> Space {
        self.writer.space()
    }

    /// Where history is read.
    #[must_use]
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The time.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Stops: no new attempts from now on; waits for those under way up to the grace period, and drops the
    /// rest. When this returns, none is under way, and what was noted for operational events is posted.
    ///
    /// # Errors
    /// [`SchedulerDied`] where it ended by a defect.
    pub async fn stop(self: &Arc<Self>, running: Running) -> Result<(), SchedulerDied> {
        self.stopping.cancel();
        let ended = running.task.await;
        self.cut_off().await;
        if self.store_fault().is_none() {
            self.tell_alerts(true).await;
        }
        ended.map_err(|_| SchedulerDied)
    }

    /// Stops at once, as when the store has failed: nothing more is sent, and the attempts under way are
    /// dropped. What they would find out could not be recorded, and would be asked of the receivers again.
    pub async fn cut_off(&self) {
        self.stopping.cancel();
        self.cut.cancel();
        self.attempts.close();
        self.attempts.wait().await;
    }

    /// Waits until the scheduler ends though nobody has stopped it: then nothing is sent any more.
    pub async fn scheduler_died(&self) -> SchedulerDied {
        self.ended.cancelled().await;
        if self.stopping.is_cancelled() {
            // That end is told by `stop`.
            std::future::pending::<()>().await;
        }
        SchedulerDied
    }
}

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
