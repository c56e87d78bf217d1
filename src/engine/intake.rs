//! Intake: from an event as posted to an event on disk with its deliveries.

use std::sync::Arc;

use crate::model::{AccountName, Event, EventId, QueueEntry, TraceContext, UnixMicros, WebhookId};
use crate::profile::{Schema, SchemaFault};
use crate::render::ecma;
use crate::render::pattern::{self, PatternError};
use crate::store::{Accepted, NewEvent, WriteError};

use super::traces::Traces;
use super::unbroken::unbroken;
use super::{Contract, Engine, Hint, IntakeError};

/// Bytes of an event, times the rules that may be tried on each value, before it is matched elsewhere: some milliseconds.
/// An array of small values under many rules comes near to that; else it is far less.
const FILTERED_INLINE_MAX: usize = 4 << 20;
/// Events weighed elsewhere at once: deliveries need threads that may block too, and a batch may have a thousand events.
pub(super) const WEIGHED_MAX: usize = 4;
/// Bytes of data that are held against a schema here and now: about a millisecond.
const JUDGED_INLINE_MAX: usize = 64 << 10;

/// An event as a client posts it: fields read, nothing judged by the profile yet.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The client's own id.
    pub id: Option<EventId>,
    /// The type.
    pub event_type: String,
    /// When it happened; the time of arrival where absent.
    pub created_at: Option<UnixMicros>,
    /// The `data` member's JSON text as posted.
    pub data: String,
    /// The `metadata` member's JSON text as posted.
    pub metadata: Option<String>,
    /// The scope.
    pub scope: Option<String>,
    /// Where it stands in a distributed trace.
    pub trace: Option<TraceContext>,
}

/// The answer to an accepted event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The event's id.
    pub id: EventId,
    /// How many webhooks it goes to.
    pub deliveries: usize,
    /// Whether it had been posted before with the same content.
    pub duplicate: bool,
    /// Why the body cannot survive a re-serialisation by ECMAScript receivers, where it cannot.
    pub warning: Option<String>,
}

impl Engine {
    /// Stores an event and its deliveries. When this returns, both are synced to disk. A caller that does not
    /// wait for it leaves nothing half done.
    ///
    /// # Errors
    /// What is wrong with the event, or why the store cannot take it now. Nothing is stored then.
    pub async fn post(
        self: &Arc<Self>,
        account: &AccountName,
        draft: Draft,
    ) -> Result<Posted, IntakeError> {
        let contract = self.contract_of(account)?;
        pattern::check_posted(&contract.profile, &draft.event_type).map_err(|why| match why {
            PatternError::Operational(..) => IntakeError::Operational(why.to_string()),
            _ => IntakeError::EventType(why.to_string()),
        })?;
        let (client_id, with_time) = (draft.id.is_some(), draft.created_at.is_some());
        let (step, from) = (
            self.traces.begin(draft.trace.as_ref()),
            self.clock.wall_micros(),
        );
        let draft = Draft {
            trace: Traces::below(step.as_ref(), draft.trace.clone()),
            ..draft
        };
        let event = Arc::new(self.event_from(account, draft)?);
        if let Some(schema) = contract.profile.schemas.get(&event.event_type) {
            self.fits(schema, &event).await?;
        }
        let stored = Arc::clone(&event);
        let posted = self.store(&contract, event, (client_id, with_time)).await?;
        let times = (from, self.clock.wall_micros());
        self.traces.accepted(step, times, &stored, &posted);
        Ok(posted)
    }

    /// As [`Engine::post`], for the engine's own events: their types are in no profile.
    pub(super) async fn post_operational(
        self: &Arc<Self>,
        account: &AccountName,
        draft: Draft,
    ) -> Result<Posted, IntakeError> {
        let contract = self.contract_of(account)?;
        let event = Arc::new(self.event_from(account, draft)?);
        self.store(&contract, event, (false, true)).await
    }

    fn contract_of(&self, account: &AccountName) -> Result<Arc<Contract>, IntakeError> {
        let contract = self.registry.contract(account);
        contract.ok_or_else(|| IntakeError::Account(account.clone()))
    }

    async fn store(
        self: &Arc<Self>,
        contract: &Arc<Contract>,
        event: Arc<Event>,
        (client_id, with_time): (bool, bool),
    ) -> Result<Posted, IntakeError> {
        let webhooks = self.matching(contract, &event).await?;
        let (id, warning) = (event.id.clone(), event.warning.clone());
        let new = NewEvent {
            event,
            client_id,
            with_time,
            webhooks,
        };
        let engine = Arc::clone(self);
        let accept = unbroken(&self.tracker, async move { engine.accept(new).await });
        let (deliveries, duplicate) = match accept.await.map_err(IntakeError::Store)? {
            Accepted::New { webhooks, .. } => (webhooks.len(), false),
            Accepted::Duplicate { deliveries, .. } => (deliveries as usize, true),
            Accepted::Conflict => return Err(IntakeError::Conflict(id)),
        };
        Ok(Posted {
            id,
            deliveries,
            duplicate,
            warning,
        })
    }

    /// The webhooks that want an event. Many filters over a large event take their time on a thread of their
    /// own, so that nobody else waits for it.
    async fn matching(
        self: &Arc<Self>,
        contract: &Arc<Contract>,
        event: &Arc<Event>,
    ) -> Result<Vec<WebhookId>, IntakeError> {
        let find = |engine: &Self, contract: &Contract, event: &Event| {
            let subjects = pattern::subjects(&contract.profile, event);
            engine.registry.matching(event, &subjects, None)
        };
        let rules = self.registry.rules_of(&event.account);
        if event.bytes().saturating_mul(rules) <= FILTERED_INLINE_MAX {
            return Ok(find(self, contract, event));
        }
        let (engine, contract) = (Arc::clone(self), Arc::clone(contract));
        let event = Arc::clone(event);
        self.weighed(move || find(&engine, &contract, &event)).await
    }

    /// Does what takes a while on a thread of its own, when one of few is free.
    async fn weighed<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, IntakeError> {
        let stopped = || IntakeError::Store(WriteError::Stopped);
        let place = Arc::clone(&self.weighing).acquire_owned().await;
        let place = place.map_err(|_| stopped())?;
        let work = move || {
            let _place = place;
            work()
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| stopped())
    }

    /// Holds an event's data against the schema of its type, on a thread of its own where that may take a while. To
    /// find out what is wrong always may.
    async fn fits(&self, schema: &Arc<Schema>, event: &Arc<Event>) -> Result<(), IntakeError> {
        let is_small = event.data.len() <= JUDGED_INLINE_MAX;
        if is_small && schema.fits(&event.data) {
            return Ok(());
        }
        let (schema, event) = (Arc::clone(schema), Arc::clone(event));
        let judge = move || match !is_small && schema.fits(&event.data) {
            true => Vec::new(),
            false => schema.faults(&event.data),
        };
        let faults: Vec<SchemaFault> = self.weighed(judge).await?;
        match faults.is_empty() {
            true => Ok(()),
            false => Err(IntakeError::Schema(faults)),
        }
    }

    /// Stores an event, and tells the scheduler of its deliveries.
    async fn accept(&self, new: NewEvent) -> Result<Accepted, WriteError> {
        let event = Arc::clone(&new.event);
        let accepted = self.writer.accept(new).await?;
        if let Accepted::New {
            event: position,
            due,
            webhooks,
        } = &accepted
        {
            let entry = QueueEntry::fresh(*due, *position);
            for webhook in webhooks {
                self.hint_arrival(*webhook, entry, &event);
            }
        }
        Ok(accepted)
    }

    /// Makes a stored event of a draft: JSON brought into its stable form.
    fn event_from(&self, account: &AccountName, draft: Draft) -> Result<Event, IntakeError> {
        let stable = |pointer: &'static str, text: &str| {
            ecma::normalise(text).map_err(|why| IntakeError::Json {
                pointer,
                reason: why.to_string(),
            })
        };
        let data = stable("/data", &draft.data)?;
        let metadata = draft
            .metadata
            .map(|text| stable("/metadata", &text))
            .transpose()?;
        let received_at = self.clock.wall();
        let warning = data
            .warning
            .or_else(|| metadata.as_ref().and_then(|part| part.warning.clone()));
        Ok(Event {
            account: account.clone(),
            id: draft.id.unwrap_or_else(EventId::generate),
            event_type: draft.event_type,
            created_at: draft.created_at.unwrap_or_else(|| self.clock.wall_micros()),
            received_at,
            data: data.text,
            metadata: metadata.map(|part| part.text),
            scope: draft.scope,
            warning,
            trace: draft.trace,
        })
    }

    fn hint_arrival(&self, webhook: WebhookId, entry: QueueEntry, event: &Arc<Event>) {
        let carried = self.budget.carry(event);
        let hint = Hint::Arrived {
            webhook,
            entry,
            event: carried,
        };
        if self.hints.try_send(hint).is_err() {
            self.missed.add(webhook, entry.due);
            self.metrics.hints_missed.inc();
        }
    }
}
