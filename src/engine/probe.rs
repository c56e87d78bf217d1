//! Probes: while a webhook is disabled automatically, the oldest of what it holds is sent from time to time, to see
//! whether its receiver answers again.
//!
//! A probe that arrives is a delivery like any other, and the webhook is activated, so that the rest flows. One that
//! fails is recorded, and its delivery's schedule stands where it stood. The interval counts from the disabling, then
//! from the last probe, and after a start from the start; with nothing held no probe is sent. A webhook that somebody
//! has disabled, or whose receiver said 410, is not probed.
//!
//! The arrival and the activation are two records: a crash between them leaves the webhook disabled until the next
//! probe. A probe that is under way when the daemon stops is cut off, unrecorded, and made again after the start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::model::{
    Attempt, EndReason, GonePolicy, Inactive, InactiveReason, Next, Outcome, QueueEntry,
    SteadyMillis, Trigger, UnixMillis, WebhookId,
};
use crate::store::{Space, Written};

use super::attempt::contained;
use super::read_back::{Shown, Stored};
use super::{Alert, Engine, Live};

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
        let ids: std::collections::HashSet<_> = probed.iter().map(|live| live.webhook.id).collect();
        self.change(|table| table.retain(|id, interval| interval.under_way || ids.contains(id)));
    }

    fn begin(&self, webhook: WebhookId) {
        self.change(|table| {
            if let Some(interval) = table.get_mut(&webhook) {
                interval.under_way = true;
            }
        });
    }

    /// A probe has ended; the next interval counts from then. `None`: there was none, and it is still due.
    fn end(&self, webhook: WebhookId, from: Option<SteadyMillis>) {
        self.change(|table| {
            if let Some(interval) = table.get_mut(&webhook) {
                interval.under_way = false;
                interval.from = from.unwrap_or(interval.from);
            }
        });
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
            self.probing.begin(id);
            let (engine, alive) = (Arc::clone(self), self.deaths.watch_over("a probe's task"));
            self.attempts.spawn(async move {
                let (_alive, _place) = (alive, place);
                let probe = engine.probe(&live);
                if let Some(from) = engine.cut.run_until_cancelled(probe).await {
                    engine.probing.end(id, from);
                }
            });
        }
    }

    /// Sends the oldest of what is held, if there is anything. Gives from when the next interval counts; `None`: try
    /// again soon.
    async fn probe(self: &Arc<Self>, live: &Live) -> Option<SteadyMillis> {
        let id = live.webhook.id;
        let Some(oldest) = self.oldest_held(id).await else {
            return Some(self.clock.steady());
        };
        // It may be under way since before the webhook was disabled, or somebody has just asked for it.
        if !self.reserve(id, oldest.event).await? {
            return None;
        }
        let from = match self.oldest_held(id).await {
            // Nothing has moved or ended it before it was reserved.
            Some(entry) if entry == oldest => Some(self.probe_with(live, entry).await),
            _ => None,
        };
        self.release(id, oldest.event, None).await;
        let (from, arrived) = from?;
        if arrived {
            self.activate(live).await;
        }
        Some(from)
    }

    async fn oldest_held(&self, webhook: WebhookId) -> Option<QueueEntry> {
        let reader = self.reader.clone();
        let read = move || reader.pending_of(webhook, None, 1);
        match self.tracker.spawn_blocking(read).await {
            Ok(Ok((entries, _))) => entries.first().copied(),
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

    /// Makes the probe and records it. Gives from when the next interval counts, and whether it arrived, on record.
    async fn probe_with(self: &Arc<Self>, live: &Live, entry: QueueEntry) -> (SteadyMillis, bool) {
        let number = entry.attempts.saturating_add(1);
        let event: Stored = self.event_at(entry.event).await;
        let shown = Shown(&event, entry.event);
        let sent = match &event {
            Ok(event) => contained(self.send_once(live, event, number)).await,
            Err(unread) => Some((self.unsent(unread.why.clone()), Vec::new())),
        };
        let (sent, signed) = sent.unwrap_or_else(|| {
            tracing::error!(webhook_id = %live.webhook.id, event_id = %shown, "a probe panicked");
            (
                self.unsent("internal error, see the log".to_owned()),
                Vec::new(),
            )
        });
        let now = self.clock.steady();
        let next = match (&event, &sent.outcome) {
            (Err(unread), _) if unread.for_good => Next::Failed(EndReason::Unreadable),
            (Ok(_), Outcome::Status(code)) if live.policy.success.accepts(*code) => Next::Delivered,
            _ => Next::Probed,
        };
        let gone = live.policy.on_gone == GonePolicy::Disable
            && next == Next::Probed
            && sent.outcome == Outcome::Status(410);
        // A receiver that asks for a longer pause than the interval gets it.
        let pause_until = self.asked_pause(live, &sent, now).unwrap_or(now);
        let every_ms = every_ms(live).unwrap_or_default();
        let from = now.max(SteadyMillis(pause_until.0.saturating_sub(every_ms)));
        self.count(&sent, &next, &entry);
        self.log(live, &shown, number, &sent, next);
        let sample = self.sample(
            &sent,
            next,
            &entry,
            event.as_ref().ok().map(|event| &**event),
        );
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
        if written == Some(Written::Done) {
            self.stats
                .attempted(live.webhook.id, self.clock.steady(), &sample);
        }
        if let (Next::Failed(reason), Some(Written::Done)) = (next, written) {
            let event = entry.event;
            self.alert(live, Alert::Failed { event, reason });
        }
        if gone && written == Some(Written::Done) {
            self.take_at_its_word(live).await;
        }
        (
            from,
            next == Next::Delivered && written == Some(Written::Done),
        )
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
            .amend(probed.webhook.id, fits, |webhook, now| {
                webhook.set_active(true, InactiveReason::Request, now);
            })
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
            .amend(probed.webhook.id, fits, |webhook, _| {
                if let Some(inactive) = &mut webhook.inactive {
                    inactive.reason = InactiveReason::Gone;
                }
            })
            .await;
        if gone {
            tracing::warn!(webhook_id = %probed.webhook.id,
                "the receiver of a disabled webhook is gone (410); it is not probed any more");
        }
    }
}
