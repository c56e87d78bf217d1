//! Operational events: what happens to webhooks and deliveries, told to the webhooks of one account.
//!
//! Whoever sees such a thing calls [`Engine::alert`], which only notes it. A task of its own posts what was noted as
//! ordinary events of the account that the config names, so they are signed, delivered, retried and logged as all
//! others. A crash in between loses the event, not the fact: the log and the delivery log have that. What happens to
//! that account's own webhooks is never told so, or each failure to tell would be another thing to tell.

mod looks;
mod table;

use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::model::{AccountName, EndReason, InactiveReason, Position, UnixMillis, WebhookId};

use super::intake::Draft;
use super::{Engine, IntakeError, Live};

use looks::Looks;
use table::{About, Count, Fact, Raised, Table};

/// How often what was noted is told, and backlogs are looked at.
const ROUND_EVERY: Duration = Duration::from_secs(1);
/// After an event could not be posted, as on a full disk, it is tried again no sooner than this.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Events posted at once: they share the syncs of the journal.
const AT_ONCE_MAX: usize = 64;

/// What the config says of operational events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertOptions {
    /// Whose webhooks get them; `None`: there are log lines only.
    pub account: Option<AccountName>,
    /// More waiting deliveries of one webhook than this are told; 0: never.
    pub backlog_high: usize,
}

impl Default for AlertOptions {
    fn default() -> Self {
        Self {
            account: None,
            backlog_high: 10_000,
        }
    }
}

/// Something that happened to a webhook or its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// It was disabled, and not by its owner.
    Disabled {
        /// Why.
        reason: InactiveReason,
        /// Since when.
        since: UnixMillis,
    },
    /// It was disabled, and was activated again without its owner.
    Recovered,
    /// A delivery has failed for good.
    Failed {
        /// Its event.
        event: Position,
        /// Why.
        reason: EndReason,
    },
    /// Deliveries were dropped: too many waited.
    Dropped {
        /// One of their events.
        event: Option<Position>,
        /// How many.
        count: u32,
    },
    /// More deliveries wait than the config's bound.
    BacklogHigh {
        /// How many.
        waiting: usize,
        /// The bound.
        bound: usize,
    },
}

/// What is noted, and whom it is told.
#[derive(Debug)]
pub(super) struct Alerts {
    options: RwLock<AlertOptions>,
    table: Mutex<Table>,
    /// Held while what was noted is told, so that who tells the last waits for what is under way.
    telling: tokio::sync::Mutex<()>,
}

impl Alerts {
    pub(super) fn new(options: &AlertOptions) -> Self {
        Self {
            options: RwLock::new(options.clone()),
            table: Mutex::default(),
            telling: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn set(&self, options: &AlertOptions) {
        *self.options.write().expect("no holder of this lock panics") = options.clone();
        if options.account.is_none() {
            *self.table.lock().expect("no holder of this lock panics") = Table::default();
        }
    }

    fn options(&self) -> AlertOptions {
        self.options
            .read()
            .expect("no holder of this lock panics")
            .clone()
    }

    fn are_for(&self, live: &Live) -> bool {
        let options = self.options.read().expect("no holder of this lock panics");
        let account = options.account.as_ref();
        account.is_some_and(|account| *account != live.webhook.account)
    }
}

impl About {
    fn of(live: &Live) -> Arc<Self> {
        Arc::new(Self {
            account: live.webhook.account.clone(),
            webhook: live.webhook.id,
            host: live.webhook.url.authority().to_owned(),
            name: live.webhook.name.clone(),
        })
    }
}

impl Engine {
    /// Notes what happened to a webhook, to be told to those who get operational events. Costs next to nothing; the
    /// caller writes its own line to the log.
    pub fn alert(&self, live: &Live, alert: Alert) {
        if !self.alerts.are_for(live) {
            return;
        }
        let at = self.clock.wall();
        let counted = |count: u64, reason, example| Count {
            count,
            reason,
            example,
            first_at: at,
            last_at: at,
        };
        let fact = match alert {
            Alert::Disabled { reason, since } => Fact::Disabled { reason, since },
            Alert::Recovered => Fact::Recovered,
            Alert::Failed { event, reason } => Fact::Failed(counted(1, reason, Some(event))),
            Alert::Dropped { event, count } => {
                Fact::Dropped(counted(count.into(), EndReason::OverRate, event))
            }
            Alert::BacklogHigh { waiting, bound } => Fact::BacklogHigh { waiting, bound },
        };
        self.noted()
            .note(live.webhook.id, fact, at, || About::of(live));
    }

    /// As [`Engine::alert`], where only the webhook's id is at hand.
    pub(super) fn alert_of(&self, webhook: WebhookId, alert: Alert) {
        if let Some(live) = self.registry.find(webhook) {
            self.alert(&live, alert);
        }
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, Table> {
        self.alerts
            .table
            .lock()
            .expect("no holder of this lock panics")
    }

    /// Tells what was noted, and looks after backlogs, until the engine stops.
    pub(super) async fn keep_alerts(self: Arc<Self>) {
        let mut ticks = interval(ROUND_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut looks, mut not_before) = (Looks::default(), Instant::now());
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.look_at_backlogs(&mut looks);
            if Instant::now() >= not_before && !self.tell_alerts(false).await {
                not_before = Instant::now() + TRY_AGAIN_AFTER;
            }
        }
    }

    fn look_at_backlogs(&self, looks: &mut Looks) {
        let bound = self.alerts.options().backlog_high;
        if bound == 0 {
            return;
        }
        let mut waiting = self.reader.pending_counts();
        waiting.retain(|(webhook, _)| self.registry.find(*webhook).is_some());
        for (webhook, waiting) in looks.look(&waiting, bound) {
            tracing::warn!(webhook_id = %webhook, waiting, bound,
                "more deliveries wait for the webhook than [alerts] backlog_high");
            self.alert_of(webhook, Alert::BacklogHigh { waiting, bound });
        }
    }

    /// Posts what is to be told now; all there is where nothing comes after it. Says whether nothing is left over.
    pub(super) async fn tell_alerts(self: &Arc<Self>, at_once: bool) -> bool {
        let Some(account) = self.alerts.options().account else {
            return true;
        };
        let _telling = self.alerts.telling.lock().await;
        let (due, left_out) = {
            let mut table = self.noted();
            (table.due(self.clock.steady(), at_once), table.left_out())
        };
        if left_out > 0 {
            tracing::warn!(
                left_out,
                "operational events were left out, as they are about too many webhooks at once; the log has them all"
            );
        }
        let mut due = due.into_iter();
        loop {
            let some: Vec<Raised> = due.by_ref().take(AT_ONCE_MAX).collect();
            if some.is_empty() {
                return true;
            }
            let posts = some.into_iter().map(|raised| {
                let (engine, account) = (Arc::clone(self), account.clone());
                self.tracker.spawn(async move {
                    let told = engine.post_alert(&account, &raised).await;
                    told.err().map(|error| (raised, error))
                })
            });
            // They are spawned before the first is waited for.
            let posts: Vec<_> = posts.collect();
            let mut why = None;
            for post in posts {
                if let Ok(Some((raised, error))) = post.await {
                    self.noted().take_back(raised);
                    why = Some(error);
                }
            }
            if let Some(error) = why {
                let then = if at_once {
                    "are lost"
                } else {
                    "are tried again"
                };
                tracing::warn!(%account, %error, "operational events could not be posted, and {then}");
                let mut table = self.noted();
                due.for_each(|raised| table.take_back(raised));
                return false;
            }
        }
    }

    async fn post_alert(
        self: &Arc<Self>,
        account: &AccountName,
        raised: &Raised,
    ) -> Result<(), IntakeError> {
        let kind = raised.fact.kind();
        let draft = Draft {
            trace: None,
            event_type: kind.event_type().to_owned(),
            created_at: Some(raised.at.micros()),
            data: self.data_of(raised).await.to_string(),
            ..Draft::default()
        };
        self.post_operational(account, draft).await?;
        let kind = [("kind", kind.event_type())];
        self.metrics.alerts.get_or_create(&kind).inc();
        Ok(())
    }

    /// The event's `data`.
    async fn data_of(self: &Arc<Self>, raised: &Raised) -> Value {
        let about = &raised.about;
        let mut data = Map::new();
        let mut put = |name: &str, value: Value| {
            data.insert(name.to_owned(), value);
        };
        put("account", json!(about.account.as_str()));
        put("webhook_id", json!(about.webhook.to_string()));
        put("host", json!(about.host));
        put("name", json!(about.name));
        put("at", json!(raised.at.to_string()));
        match &raised.fact {
            Fact::Disabled { reason, since } => {
                put("reason", json!(reason.as_str()));
                put("since", json!(since.to_string()));
                put("held", json!(self.reader.pending_count(about.webhook)));
            }
            Fact::Recovered => {}
            Fact::Failed(count) => {
                put("reason", json!(count.reason.as_str()));
                put_count(put, count, self.example_of(count.example).await);
            }
            Fact::Dropped(count) => {
                put_count(put, count, self.example_of(count.example).await);
            }
            Fact::BacklogHigh { waiting, bound } => {
                put("waiting", json!(waiting));
                put("bound", json!(bound));
            }
        }
        Value::Object(data)
    }

    /// One of the events that it is about; null where it cannot be read.
    async fn example_of(&self, event: Option<Position>) -> Value {
        match event {
            Some(position) => match self.event_at(position).await {
                Ok(event) => json!({ "event_id": event.id.as_str(), "type": event.event_type }),
                Err(_) => Value::Null,
            },
            None => Value::Null,
        }
    }
}

fn put_count(mut put: impl FnMut(&str, Value), count: &Count, example: Value) {
    put("count", json!(count.count));
    put("first_at", json!(count.first_at.to_string()));
    put("last_at", json!(count.last_at.to_string()));
    put("example", example);
}
