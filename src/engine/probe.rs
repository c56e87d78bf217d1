//! Probes: while a webhook is disabled automatically, the oldest of what it holds is sent from time to time, to see
//! whether its receiver answers again.
//!
//! A probe that arrives is a delivery like any other, and the webhook is activated, so that the rest flows. One that
//! fails is recorded, and its delivery's schedule stands where it stood. The interval counts from the disabling, then
//! from the last probe, and after a start from the start; with nothing held no probe is sent. A webhook that somebody
//! has disabled, or whose receiver said 410, is not probed.
//!
//! A delivery that the receiver refuses (most 4xx), or of which no request can be made, says nothing of the others, so
//! the next probe is made with the next one, and after the last with the first again. Which one was passed is in
//! memory only. An order is kept: of a FIFO webhook only the first is ever sent, of one that is ordered by a key the
//! first of each key.
//!
//! The arrival and the activation are two records: a crash between them leaves the webhook disabled until the next
//! probe. A probe that is under way when the daemon stops is cut off, unrecorded, and made again after the start.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::model::{
    Attempt, AuditAction, EndReason, FaultKind, GonePolicy, Inactive, InactiveReason, Next, Order,
    Outcome, QueueEntry, SteadyMillis, Trigger, UnixMillis, WebhookId,
};
use crate::sender::Sent;
use crate::store::{self, Reader, Space, Written};

use super::attempt::contained;
use super::audit::own;
use super::read_back::{Shown, Stored};
use super::schedule::{FIRST_SPOT, Spot};
use super::{Alert, Engine, Live, WINDOW_MAX, order};

/// How often is looked for probes that are due: the shortest interval is twenty times as long.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Probes under way at once, over all webhooks. Their receivers hang more often than others; what finds no place waits
/// for one, the longest due first.
const UNDER_WAY_MAX: usize = 16;

/// How often a webhook is probed, milliseconds; `None`: it is not.
fn every_ms(live: &Live) -> Option<u64> {
    let inactive = live.webhook.inactive.filter(|_| !live.webhook.active)?;
    let every_ms = live.contract.profile.exhausted.probe_every_ms?;
    (inactive.reason.may_pass() && live.misfit().is_none()).then_some(every_ms)
}

/// From when the interval of each probed webhook counts.
#[derive(Debug)]
pub(super) struct Probing {
    table: Mutex<HashMap<WebhookId, Interval>>,
    places: Arc<Semaphore>,
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    /// Of which time of being disabled.
    of: Option<Inactive>,
    from: SteadyMillis,
    under_way: bool,
    /// The place of the last one that was refused: the next probe is made with what comes after it.
    passed: Option<Spot>,
}

/// What a probe has led to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// From when the next interval counts.
    from: SteadyMillis,
    /// The place of its delivery, where that one was refused.
    passed: Option<Spot>,
}

impl Default for Probing {
    fn default() -> Self {
        Self {
            table: Mutex::default(),
            places: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
        }
    }
}

impl Probing {
    fn change<T>(&self, change: impl FnOnce(&mut HashMap<WebhookId, Interval>) -> T) -> T {
        change(&mut self.table.lock().expect("no holder of this lock panics"))
    }

    /// When the webhook's next probe is due; the interval begins `now` if it has not begun.
    fn due(&self, live: &Live, now: SteadyMillis) -> Option<(SteadyMillis, bool)> {
        let every_ms = every_ms(live)?;
        let fresh = Interval {
            of: live.webhook.inactive,
            from: now,
            under_way: false,
            passed: None,
        };
        self.change(|table| {
            let interval = table.entry(live.webhook.id).or_insert(fresh);
            if interval.of != fresh.of && !interval.under_way {
                *interval = fresh;
            }
            Some((interval.from.plus(every_ms), interval.under_way))
        })
    }

    /// Forgets the webhooks that are not probed any more.
    fn keep(&self, probed: &[Arc<Live>]) {
        let ids: HashSet<_> = probed.iter().map(|live| live.webhook.id).collect();
        self.change(|table| table.retain(|id, interval| interval.under_way || ids.contains(id)));
    }

    /// Gives the place that the probe is to be made after.
    fn begin(&self, webhook: WebhookId) -> Option<Spot> {
        self.change(|table| {
            let interval = table.get_mut(&webhook)?;
            interval.under_way = true;
            interval.passed
        })
    }

    /// A probe has ended. `None`: there was none, and it is still due.
    fn end(&self, webhook: WebhookId, ended: Option<Ended>) {
        self.change(|table| {
            let Some(interval) = table.get_mut(&webhook) else {
                return;
            };
            interval.under_way = false;
            if let Some(Ended { from, passed }) = ended {
                interval.from = from;
                interval.passed = passed.or(interval.passed);
            }
        });
    }

    /// Whether a probe of it is under way.
    pub(super) fn is_under_way(&self, webhook: WebhookId) -> bool {
        self.change(|table| table.get(&webhook).is_some_and(|one| one.under_way))
    }
}

impl Engine {
    /// When a webhook that is disabled automatically is probed next; `None` where it is not.
    #[must_use]
    pub fn next_probe_at(&self, live: &Live) -> Option<UnixMillis> {
        let now = self.clock.steady();
        let (due, _) = self.probing.due(live, now)?;
        Some(self.clock.wall_of(due.max(now)))
    }

    /// Probes until the engine stops.
    pub(super) async fn keep_probing(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return,
                _ = ticks.tick() => {}
            }
            // On a full disk nothing that it would find out could be recorded.
            if self.space() != Space::Full {
                self.probe_what_is_due();
            }
        }
    }

    fn probe_what_is_due(self: &Arc<Self>) {
        let now = self.clock.steady();
        let probed = self.registry.chosen(|live| every_ms(live).is_some());
        self.probing.keep(&probed);
        let mut due: Vec<(SteadyMillis, Arc<Live>)> = Vec::new();
        for live in probed {
            match self.probing.due(&live, now) {
                Some((at, false)) if at <= now => due.push((at, live)),
                _ => {}
            }
        }
        due.sort_unstable_by_key(|(at, live)| (*at, live.webhook.id));
        for (_, live) in due {
            let Ok(place) = Arc::clone(&self.probing.places).try_acquire_owned() else {
                return;
            };
            let id = live.webhook.id;
            let passed = self.probing.begin(id);
            let (engine, alive) = (Arc::clone(self), self.deaths.watch_over("a probe's task"));
            self.attempts.spawn(async move {
                let (_alive, _place) = (alive, place);
                let probe = engine.probe(&live, passed);
                if let Some(ended) = engine.cut.run_until_cancelled(probe).await {
                    engine.probing.end(id, ended);
                }
            });
        }
    }

    /// Sends the next of what is held, if there is anything. `None`: try again soon.
    pub(super) async fn probe(
        self: &Arc<Self>,
        due: &Arc<Live>,
        passed: Option<Spot>,
    ) -> Option<Ended> {
        let id = due.webhook.id;
        let Some(entry) = self.next_held(due, passed).await else {
            let from = self.clock.steady();
            return Some(Ended { from, passed: None });
        };
        // It may be under way since before the webhook was disabled, or somebody has just asked for it.
        if !self.reserve(id, entry.event).await? {
            return None;
        }
        let probed = self.probe_reserved(due, entry, passed).await;
        self.release(id, entry.event, None).await;
        let (live, ended, arrived) = probed?;
        if arrived {
            self.activate(&live).await;
        }
        Some(ended)
    }

    /// Makes the probe with what is reserved. Gives the webhook as it was sent to, what it led to, and whether it
    /// arrived, on record. `None`: it is no longer to be made so.
    async fn probe_reserved(
        self: &Arc<Self>,
        due: &Arc<Live>,
        entry: QueueEntry,
        passed: Option<Spot>,
    ) -> Option<(Arc<Live>, Ended, bool)> {
        // Before it was reserved it may have been moved or ended.
        if self.next_held(due, passed).await != Some(entry) {
            return None;
        }
        let event = self.event_at(entry.event).await;
        // All of this has taken time, and the owner's word counts: nothing waits from here to the sending.
        let live = self.still_probed(due)?;
        if every_ms(&live).is_none() || live.webhook.order != due.webhook.order {
            return None;
        }
        let (ended, arrived) = self.probe_with(&live, entry, event).await;
        Some((live, ended, arrived))
    }

    async fn next_held(&self, live: &Arc<Live>, passed: Option<Spot>) -> Option<QueueEntry> {
        let (reader, of) = (self.reader.clone(), Arc::clone(live));
        let read = move || next_held(&reader, &of, passed);
        let webhook = live.webhook.id;
        match self.tracker.spawn_blocking(read).await {
            Ok(Ok(entry)) => entry,
            Ok(Err(error)) => {
                tracing::error!(webhook_id = %webhook, %error, "the queue could not be read");
                None
            }
            Err(error) => {
                tracing::error!(webhook_id = %webhook, %error, "reading the queue failed");
                None
            }
        }
    }

    /// Makes the probe and records it. Gives what it led to, and whether it arrived, on record.
    async fn probe_with(
        self: &Arc<Self>,
        live: &Live,
        entry: QueueEntry,
        event: Stored,
    ) -> (Ended, bool) {
        let number = entry.attempts.saturating_add(1);
        let shown = Shown(&event, entry.event);
        let sent = match &event {
            Ok(event) => contained(self.send_once(live, event, number)).await,
            Err(unread) => Some(Ok((self.unsent(unread.why.clone()), Vec::new()))),
        };
        let made = sent.unwrap_or_else(|| {
            tracing::error!(webhook_id = %live.webhook.id, event_id = %shown, "a probe panicked");
            let why = "internal error, see the log".to_owned();
            Ok((self.unsent(why), Vec::new()))
        });
        let Ok((sent, signed)) = made else {
            // A reload came in between. Whether it is probed any more is looked up before the next one.
            let (from, passed) = (self.clock.steady(), None);
            return (Ended { from, passed }, false);
        };
        let next = match (&event, &sent.outcome) {
            (Err(unread), _) if unread.for_good => Next::Failed(EndReason::Unreadable),
            (Ok(_), Outcome::Status(code)) if live.policy.success.accepts(*code) => Next::Delivered,
            _ => Next::Probed,
        };
        let ended = self.ended(live, &entry, &sent, next);
        let gone = live.policy.on_gone == GonePolicy::Disable
            && next == Next::Probed
            && sent.outcome == Outcome::Status(410);
        if next == Next::Delivered {
            self.note_success(live, &sent);
        }
        self.count(live, &sent, &next, &entry);
        self.log(live, &shown, number, &sent, next);
        let sample = self.sample(&sent, next, &entry, event.as_deref().ok());
        let attempt = Attempt {
            number,
            trigger: Trigger::Probe,
            started_at: sent.started_at,
            outcome: sent.outcome,
            phases: sent.phases,
            request_headers: signed,
            response: sent.response,
        };
        let (written, _) = self.record(live, entry, attempt, next, &shown).await;
        if written != Some(Written::Done) {
            return (ended, false);
        }
        self.stats
            .attempted(live.webhook.id, self.clock.steady(), &sample);
        if let Next::Failed(reason) = next {
            let event = entry.event;
            self.alert(live, Alert::Failed { event, reason });
        }
        if gone {
            self.take_at_its_word(live).await;
        }
        (ended, next == Next::Delivered)
    }

    fn ended(&self, live: &Live, entry: &QueueEntry, sent: &Sent, next: Next) -> Ended {
        let now = self.clock.steady();
        // A receiver that asks for a longer pause than the interval gets it.
        let pause_until = self.asked_pause(live, sent, now).unwrap_or(now);
        let every_ms = every_ms(live).unwrap_or_default();
        let refused = next == Next::Probed && is_refused(&sent.outcome);
        Ended {
            from: now.max(SteadyMillis(pause_until.0.saturating_sub(every_ms))),
            passed: refused.then_some((entry.due, entry.event)),
        }
    }

    /// The webhook as it is now, if it is still disabled as it was when the probe was made, and sent to the same place.
    fn still_probed(&self, probed: &Live) -> Option<Arc<Live>> {
        let now = self.registry.find(probed.webhook.id)?;
        let same = now.webhook.inactive == probed.webhook.inactive
            && now.webhook.url == probed.webhook.url;
        (same && !now.webhook.active).then_some(now)
    }

    async fn activate(self: &Arc<Self>, probed: &Live) {
        let fits = || self.still_probed(probed);
        let activated = self
            .amend(
                probed.webhook.id,
                fits,
                |webhook, now| webhook.set_active(true, InactiveReason::Request, now),
                own(&probed.webhook, AuditAction::WebhookRecovered, "probe"),
            )
            .await;
        if activated {
            tracing::info!(webhook_id = %probed.webhook.id,
                "webhook activated: a probe of it has arrived; what it held is sent");
            self.alert(probed, Alert::Recovered);
        }
    }

    /// The receiver wants no more: the webhook is disabled for that from now on, and not probed again.
    async fn take_at_its_word(self: &Arc<Self>, probed: &Live) {
        let fits = || self.still_probed(probed);
        let gone = self
            .amend(
                probed.webhook.id,
                fits,
                |webhook, _| {
                    if let Some(inactive) = &mut webhook.inactive {
                        inactive.reason = InactiveReason::Gone;
                    }
                },
                own(&probed.webhook, AuditAction::WebhookDisabled, "gone"),
            )
            .await;
        if gone {
            tracing::warn!(webhook_id = %probed.webhook.id,
                "the receiver of a disabled webhook is gone (410); it is not probed any more");
        }
    }
}

/// Whether an outcome speaks of the delivery rather than of the receiver: with another one a probe may arrive.
fn is_refused(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Status(408 | 410 | 425 | 429) => false,
        Outcome::Status(code) => (400..500).contains(code),
        Outcome::Fault { kind, .. } => *kind == FaultKind::Render,
    }
}

/// What a webhook is probed with: the first that it holds, or the one after the place that was `passed`, as far as its
/// order lets that go ahead of the first; at the end it begins anew. For threads that may block.
fn next_held(
    reader: &Reader,
    live: &Live,
    passed: Option<Spot>,
) -> Result<Option<QueueEntry>, store::Error> {
    let (id, last_due) = (live.webhook.id, SteadyMillis(u64::MAX));
    let is_next = |entry: &QueueEntry, passed| (entry.due, entry.event) > passed;
    let next = match (passed, &live.webhook.order) {
        (None, _) | (_, Order::Fifo) => None,
        (Some(passed), Order::None) => {
            let page = reader.page_from(id, (passed, last_due), 2)?;
            let mut after = page.entries.into_iter();
            after.find(|entry| is_next(entry, passed))
        }
        (Some(passed), Order::ByKey(_)) => {
            // As many as its lane would look at.
            let page = order::page(reader, Some(live), (id, (FIRST_SPOT, last_due)), WINDOW_MAX)?;
            let mut keys = HashSet::new();
            let entries = page.entries.into_iter().zip(page.keys);
            let mut firsts = entries.filter(|(_, key)| keys.insert(*key));
            let next = firsts.find(|(entry, _)| is_next(entry, passed));
            next.map(|(entry, _)| entry)
        }
    };
    if next.is_some() {
        return Ok(next);
    }
    let page = reader.page_from(id, (FIRST_SPOT, last_due), 1)?;
    Ok(page.entries.first().copied())
}
