//! The way to read: sync calls, for threads that may block.
//!
//! What is read is what is synced. A reader never changes anything.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::journal;
use crate::model::{
    AccountName, DeliveryState, Event, EventId, Job, JobId, Position, QueueEntry, SteadyMillis,
    UnixMillis, Webhook, WebhookId,
};

use super::Error;
use super::apply::QueueKey;
use super::history::{
    self, AttemptsAsked, AuditPage, Delivery, DeliverySummary, EventAt, Found, GoOn, LastAttempt,
    Stretch, Tried,
};
use super::live::{Live, bounds_of};
use super::record::{account_key, delivery_key, event_id_key};

/// A page of a webhook's queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Pending deliveries that are due, in the queue's order. An attempt under way does not hide its entry.
    pub entries: Vec<QueueEntry>,
    /// When the first delivery that is not in this page is due.
    pub next_due: Option<SteadyMillis>,
}

/// What the journal amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Its size, bytes, indexes not counted.
    pub journal_bytes: u64,
    /// Its segments: oldest first, with the deliveries that are pending of each one's events.
    pub segments: Vec<SegmentBacklog>,
    /// Pieces of damage that lie in `set-aside/`.
    pub set_aside: u64,
}

/// One segment and what is pending of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentBacklog {
    /// The segment.
    pub segment: journal::SegmentInfo,
    /// Deliveries pending of its events.
    pub pending: u64,
}

/// Where one delivery stands, without its event and with no more than its last attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryStanding {
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts made.
    pub attempts: u32,
    /// The last one.
    pub last_attempt: Option<LastAttempt>,
    /// As the queue has it, while it is pending.
    pub entry: Option<QueueEntry>,
}

/// A place in the whole queue, to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueCursor(QueueKey);

/// A pending delivery, and whose it is.
pub type PendingOf = (WebhookId, QueueEntry);

/// Reads the store. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    pub(super) live: Arc<Live>,
    pub(super) journal: journal::Reader,
}

impl Reader {
    /// The registered webhooks, by id.
    #[must_use]
    pub fn webhooks(&self) -> Vec<Webhook> {
        self.live.rows(|rows| {
            rows.values()
                .filter(|row| !row.removed)
                .map(|row| row.webhook.clone())
                .collect()
        })
    }

    /// One registered webhook.
    #[must_use]
    pub fn webhook(&self, id: WebhookId) -> Option<Webhook> {
        self.live.rows(|rows| {
            rows.get(&id)
                .filter(|row| !row.removed)
                .map(|row| row.webhook.clone())
        })
    }

    /// At most `limit` deliveries of a webhook that are due from `from` to `until`, both included.
    ///
    /// # Errors
    /// [`Error::Sled`], [`Error::Broken`].
    pub fn page(
        &self,
        webhook: WebhookId,
        (from, until): (SteadyMillis, SteadyMillis),
        limit: usize,
    ) -> Result<Page, Error> {
        let from = (from, Position::from_u64(0));
        self.page_from(webhook, (from, until), limit)
    }

    /// As [`Reader::page`], from the queue's place of a due time and an event on.
    ///
    /// # Errors
    /// As [`Reader::page`].
    pub fn page_from(
        &self,
        webhook: WebhookId,
        ((due, event), until): ((SteadyMillis, Position), SteadyMillis),
        limit: usize,
    ) -> Result<Page, Error> {
        let (low, high) = bounds_of(webhook);
        let low = QueueKey { due, event, ..low };
        let mut page = Page::default();
        self.live.walk(low, high, |key, value| {
            if key.due > until || page.entries.len() == limit {
                page.next_due = Some(key.due);
                return ControlFlow::Break(());
            }
            page.entries.push(key.entry(value));
            ControlFlow::Continue(())
        })?;
        Ok(page)
    }

    /// When a webhook's first pending delivery is due.
    ///
    /// # Errors
    /// As [`Reader::page`].
    pub fn first_due(&self, webhook: WebhookId) -> Result<Option<SteadyMillis>, Error> {
        Ok(self.live.first(webhook, 1)?.first().map(|entry| entry.due))
    }

    /// How many deliveries of a webhook are pending.
    #[must_use]
    pub fn pending_count(&self, webhook: WebhookId) -> usize {
        self.live.waiting_of(webhook)
    }

    /// The webhooks of which deliveries are pending, in no order, and how many.
    #[must_use]
    pub fn pending_counts(&self) -> Vec<(WebhookId, usize)> {
        self.live.waiting()
    }

    /// Looks at `look_at` pending deliveries of all webhooks from `from` on; gives those whose event is in
    /// `segment` or an older one, and where to go on, if there is more.
    ///
    /// # Errors
    /// As [`Reader::page`].
    pub fn pending_through(
        &self,
        segment: u32,
        from: Option<QueueCursor>,
        look_at: usize,
    ) -> Result<(Vec<PendingOf>, Option<QueueCursor>), Error> {
        let low = from.map_or(bounds_of(WebhookId(0)).0, |cursor| cursor.0);
        let high = bounds_of(WebhookId(u128::MAX)).1;
        let (mut found, mut next, mut seen) = (Vec::new(), None, 0);
        self.live.walk(low, high, |key, value| {
            if seen == look_at {
                next = Some(QueueCursor(key));
                return ControlFlow::Break(());
            }
            seen += 1;
            if key.event.segment <= segment {
                found.push((key.webhook, key.entry(value)));
            }
            ControlFlow::Continue(())
        })?;
        Ok((found, next))
    }

    /// Looks at `look_at` pending deliveries of a webhook from `from` on, in the queue's order, and where to go on, if
    /// there is more.
    ///
    /// # Errors
    /// As [`Reader::page`].
    pub fn pending_of(
        &self,
        webhook: WebhookId,
        from: Option<QueueCursor>,
        look_at: usize,
    ) -> Result<(Vec<QueueEntry>, Option<QueueCursor>), Error> {
        let (low, high) = bounds_of(webhook);
        let (mut found, mut next) = (Vec::new(), None);
        self.live
            .walk(from.map_or(low, |cursor| cursor.0), high, |key, value| {
                if found.len() == look_at {
                    next = Some(QueueCursor(key));
                    return ControlFlow::Break(());
                }
                found.push(key.entry(value));
                ControlFlow::Continue(())
            })?;
        Ok((found, next))
    }

    /// Since when every attempt for a webhook has failed: when the earliest failure after the latest success was
    /// recorded, among the webhook's newest `records_max` records; attempts begun before `changed_at` are left out.
    /// `None`: the latest attempt was no failure. What the bound leaves out makes it later, never earlier.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn failing_since(
        &self,
        webhook: WebhookId,
        changed_at: UnixMillis,
        records_max: usize,
    ) -> Result<Option<SteadyMillis>, Error> {
        history::failing_since(&self.journal, webhook, changed_at, records_max)
    }

    /// The event accepted at `position`.
    ///
    /// # Errors
    /// [`Error::Journal`]: [`journal::Error::Gone`] after retention has deleted it,
    /// [`journal::Error::Damaged`] where it cannot be read.
    pub fn event_at(&self, position: Position) -> Result<Event, Error> {
        Ok(history::event_at(&self.journal, position)?.0)
    }

    /// The event accepted at `position`, if it can be read without waiting for a disk. `None` says nothing else.
    #[must_use]
    pub fn cached_event_at(&self, position: Position) -> Option<Event> {
        history::cached_event_at(&self.journal, position)
    }

    /// The newest event of an account with this id.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn find_event(
        &self,
        account: &AccountName,
        id: &EventId,
    ) -> Result<Option<(Position, Event)>, Error> {
        for position in self
            .journal
            .find_filtered(&event_id_key(account, id), usize::MAX)?
        {
            match self.event_at(position) {
                Ok(event) if event.account == *account && event.id == *id => {
                    return Ok(Some((position, event)));
                }
                Ok(_)
                | Err(Error::Journal(journal::Error::Gone(_) | journal::Error::Damaged(_))) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// At most `limit` events of an account, newest first, that were accepted before `before`.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn events(
        &self,
        account: &AccountName,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<(Position, Event)>, Error> {
        let positions = history::listing(
            &self.journal,
            |event| account_key(account, event),
            before,
            limit,
        )?;
        let mut events = Vec::with_capacity(positions.len());
        for position in positions {
            match self.event_at(position) {
                Ok(event) => events.push((position, event)),
                Err(Error::Journal(journal::Error::Gone(_) | journal::Error::Damaged(_))) => {
                    tracing::warn!(event = %position, "event cannot be read; left out of the list");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(events)
    }

    /// At most `limit` deliveries of a webhook, newest event first, of events accepted before `before`.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn deliveries(
        &self,
        webhook: WebhookId,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<DeliverySummary>, Error> {
        history::deliveries(&self.journal, webhook, before, limit)
    }

    /// Looks at `limit` deliveries of a webhook, oldest event first, of the events from `from` on and before `end`; gives
    /// those whose event is `wanted`.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn deliveries_from(
        &self,
        webhook: WebhookId,
        span: (Position, Position),
        limit: usize,
        wanted: impl Fn(&Event) -> bool,
        go_on: &mut GoOn<'_>,
    ) -> Result<Stretch<DeliverySummary>, Error> {
        history::deliveries_from(&self.journal, webhook, span, limit, &wanted, go_on)
    }

    /// Where the deliveries of these events to a webhook stand, in their order. `events` go from the oldest to the newest;
    /// many of them cost about as much as one.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn found(&self, webhook: WebhookId, events: &[Position]) -> Result<Vec<Found>, Error> {
        history::found(&self.journal, webhook, events)
    }

    /// Shows `look` at most `limit` events of an account, oldest first, from `from` on and before `end`; gives what it
    /// makes of them. One event is in memory at a time.
    ///
    /// # Errors
    /// [`Error::Journal`], and what `look` gives.
    pub fn events_from<T>(
        &self,
        account: &AccountName,
        span: (Position, Position),
        limit: usize,
        look: impl FnMut(EventAt) -> Result<Option<T>, Error>,
        go_on: &mut GoOn<'_>,
    ) -> Result<Stretch<T>, Error> {
        let key_of = |event| account_key(account, event);
        history::events_from(&self.journal, key_of, span, limit, look, go_on)
    }

    /// The oldest event that can be there, and the end of what is on disk now.
    #[must_use]
    pub fn extent(&self) -> (Position, Position) {
        let (oldest, _) = self.journal.bounds();
        (self.journal.start_of(oldest), self.end())
    }

    /// Where the next record will stand.
    #[must_use]
    pub fn end(&self) -> Position {
        self.journal.end()
    }

    /// At most `limit` entries of an account's audit log, newest first, from before `before` on; of one webhook, where
    /// one is named.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn audit(
        &self,
        account: &AccountName,
        webhook: Option<WebhookId>,
        before: Option<Position>,
        limit: usize,
    ) -> Result<AuditPage, Error> {
        history::audit(&self.journal, account, webhook, before, limit)
    }

    /// The jobs, by id.
    #[must_use]
    pub fn jobs(&self) -> Vec<Job> {
        self.live.jobs(|jobs| jobs.values().cloned().collect())
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<Job> {
        self.live.jobs(|jobs| jobs.get(&id).cloned())
    }

    /// One delivery with all its attempts. What receivers answered may be much of it.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn delivery(&self, webhook: WebhookId, event: Position) -> Result<Option<Delivery>, Error> {
        let all = AttemptsAsked {
            before: None,
            limit: usize::MAX,
            bytes_max: usize::MAX,
        };
        self.delivery_page(webhook, event, all)
    }

    /// One delivery with the attempts that are asked for.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn delivery_page(
        &self,
        webhook: WebhookId,
        event: Position,
        asked: AttemptsAsked,
    ) -> Result<Option<Delivery>, Error> {
        history::delivery(&self.journal, webhook, event, asked)
    }

    /// The attempts of a delivery without what was sent and answered, oldest first. Empty: there is none.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn tries(&self, webhook: WebhookId, event: Position) -> Result<Vec<Tried>, Error> {
        history::tries(&self.journal, webhook, event)
    }

    /// Where each delivery of an event stands, and how many attempts it has seen.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn deliveries_of(
        &self,
        event: Position,
    ) -> Result<Vec<(WebhookId, DeliveryState, u32)>, Error> {
        let webhooks = self.recipients(event)?;
        let mut states = Vec::with_capacity(webhooks.len());
        for webhook in webhooks {
            let trace = history::trace(&self.journal, webhook, event)?;
            if let Some(standing) = history::standing(&self.journal, webhook, event, &trace)? {
                states.push((webhook, standing.state, standing.attempts));
            }
        }
        Ok(states)
    }

    /// The webhooks that have, or had, a delivery of an event, by id.
    ///
    /// # Errors
    /// As [`Reader::event_at`].
    pub fn recipients(&self, event: Position) -> Result<Vec<WebhookId>, Error> {
        let (_, mut webhooks) = history::event_at(&self.journal, event)?;
        webhooks.extend(history::added_to(&self.journal, event)?);
        webhooks.sort_unstable();
        webhooks.dedup();
        Ok(webhooks)
    }

    /// Where one delivery stands. `None`: there is none, or no record of it can be read.
    ///
    /// # Errors
    /// [`Error::Journal`], [`Error::Sled`].
    pub fn standing(
        &self,
        webhook: WebhookId,
        event: Position,
    ) -> Result<Option<DeliveryStanding>, Error> {
        let trace = history::trace(&self.journal, webhook, event)?;
        let Some(standing) = history::standing(&self.journal, webhook, event, &trace)? else {
            return Ok(None);
        };
        let last_attempt = match standing.attempts {
            // All there is to read is the event's own record, which may be large.
            0 => None,
            _ => history::last_attempt(&self.journal, &trace)?,
        };
        let entry = match standing.state {
            DeliveryState::Pending { due, .. } => {
                let key = QueueKey {
                    webhook,
                    due,
                    event,
                };
                self.live.pending(&key)?.map(|value| key.entry(value))
            }
            DeliveryState::Delivered { .. } | DeliveryState::Ended { .. } => None,
        };
        Ok(Some(DeliveryStanding {
            state: standing.state,
            attempts: standing.attempts,
            last_attempt,
            entry,
        }))
    }

    /// Whether an event was ever to be delivered to a webhook, whatever became of it.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn has_delivery(&self, webhook: WebhookId, event: Position) -> Result<bool, Error> {
        let key = delivery_key(webhook, event);
        for segment in self.journal.numbers(event.segment, u32::MAX) {
            let entries =
                self.journal
                    .range(segment, &key, &key, journal::Direction::Ascending, 1)?;
            if !entries.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks sled whether a write of its has failed, which it may not have told whoever waits for it. If so, the store
    /// fails. It blocks while sled's file is being written.
    ///
    /// # Errors
    /// As sled tells them.
    pub fn ask_registry(&self) -> Result<(), Error> {
        self.live.sync()
    }

    /// Reads the whole journal, so that all damage in it is set aside. Gives how many pieces were met.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn read_through(&self) -> Result<u64, Error> {
        let start = self.journal.start_of(self.journal.bounds().0);
        self.journal.scan(start, |_, _| Ok(()))
    }

    /// What the journal amounts to. Cheap: nothing is read from disk.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let segments: Vec<SegmentBacklog> = self
            .journal
            .segments()
            .into_iter()
            .map(|segment| {
                let pending = self.live.pending_in(segment.number);
                SegmentBacklog {
                    segment,
                    pending: u64::try_from(pending).unwrap_or(0),
                }
            })
            .collect();
        Backlog {
            journal_bytes: segments.iter().map(|one| one.segment.bytes).sum(),
            segments,
            set_aside: self.journal.set_aside(),
        }
    }
}
