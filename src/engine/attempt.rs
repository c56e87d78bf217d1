//! One attempt: render, sign, send, decide, record. The async shell around pure parts.
//!
//! An attempt that is cut off (its task dropped at the end of the grace period) has written nothing, so
//! the delivery's queue key is still there and the next start sends it again.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};

use crate::metrics::Metrics;
use crate::model::{
    Attempt, EndReason, Event, FaultKind, Next, Order, Outcome, Phases, QueueEntry, SteadyMillis,
    Trigger, UnixMillis, after,
};
use crate::sender::{Request, Sent};
use crate::sign::SignContext;
use crate::store::{Finish, Written};

use super::read_back::{Shown, Stored};
use super::registry::Live;
use super::schedule::{Report, Verdict};
use super::{Alert, Engine, retry_after};

/// What the scheduler is told of an attempt.
pub(super) struct Made {
    /// How it ended.
    pub(super) report: Report,
    /// Until when the receiver asked to be left alone.
    pub(super) pause_until: Option<SteadyMillis>,
}

/// Nothing was sent: the webhook cannot be sent to as it was granted, since a reload has taken its TLS settings or
/// replaced them. That is no attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Withheld;

/// What came of a request, and the headers that were made for it alone.
pub(super) type SentSigned = (Sent, Vec<(String, String)>);

/// A request made from an event for one webhook, and what of it the log keeps.
pub(crate) struct Prepared {
    /// Every header that goes out, besides those of the connection.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
    /// The headers made for this attempt alone.
    pub(crate) signed: Vec<(String, String)>,
}

/// Renders and signs `event` for a webhook. Which secrets sign is told by the wall clock, `now`.
///
/// # Errors
/// Says in words why there can be no request; that is recorded as the attempt's outcome.
pub(crate) fn prepare(
    live: &Live,
    event: &Event,
    attempt: u32,
    now: UnixMillis,
) -> Result<Prepared, String> {
    if let Some(why) = live.misfit() {
        return Err(why);
    }
    let body = live.body(event).map_err(|why| why.to_string())?;
    let context = SignContext {
        id: event.id.as_str(),
        event_type: &event.event_type,
        timestamp_s: now.seconds(),
        attempt,
    };
    let secrets = live.contract.profile.signing_secrets(&live.webhook, now);
    let signed = live
        .contract
        .signer
        .sign(body.as_bytes(), &context, &secrets)
        .map_err(|why| why.to_string())?;
    let mut headers = HeaderMap::with_capacity(live.headers.len() + signed.len() + 1);
    headers.insert(CONTENT_TYPE, live.content_type());
    headers.extend(live.headers.clone());
    let mut kept = Vec::with_capacity(signed.len());
    for (name, value) in signed {
        let shown = String::from_utf8_lossy(value.as_bytes()).into_owned();
        kept.push((name.as_str().to_owned(), shown));
        headers.insert(name, value);
    }
    Ok(Prepared {
        headers,
        body: Bytes::from(body),
        signed: kept,
    })
}

/// The body that a webhook is sent for `event`, as the log shows it: made anew from the stored event, so
/// it is what was sent as long as the profile and the webhook's format have not been changed since.
#[must_use]
pub fn prepared_body(live: &Live, event: &Event) -> Option<String> {
    live.body(event).ok()
}

impl Engine {
    /// Makes one attempt for `entry` and records it. Never fails: what goes wrong is the outcome. On a full disk it
    /// is not begun, as it could not be recorded. Calls `taken` when the receiver has taken it, before that is
    /// recorded.
    pub(super) async fn attempt(
        self: Arc<Self>,
        live: Arc<Live>,
        entry: QueueEntry,
        event: Option<Arc<Event>>,
        taken: impl FnOnce(),
    ) -> Made {
        self.writer.room().await;
        let number = entry.attempts.saturating_add(1);
        let event: Stored = match event {
            Some(event) => Ok(event),
            None => self.event_at(entry.event).await,
        };
        let shown = Shown(&event, entry.event);
        let work = async {
            match &event {
                Ok(event) => self.send_once(&live, event, number).await,
                Err(unread) => Ok((self.unsent(unread.why.clone()), Vec::new())),
            }
        };
        let made = contained(work).await.unwrap_or_else(|| {
            tracing::error!(webhook_id = %live.webhook.id, event_id = %shown, "an attempt panicked");
            Ok((self.unsent("internal error, see the log".to_owned()), Vec::new()))
        });
        let Ok((sent, signed)) = made else {
            return self.given_back(&live, entry, &shown);
        };
        let now = self.clock.steady();
        let run_attempts = entry.run_attempts.saturating_add(1);
        let pause_until = self.asked_pause(&live, &sent, now);
        let next = match &event {
            // No attempt of the schedule could send it either.
            Err(unread) if unread.for_good => Next::Failed(EndReason::Unreadable),
            _ => next_of(&live, &entry, &sent.outcome, (now, pause_until)),
        };
        self.count(&live, &sent, &next, &entry);
        self.log(&live, &shown, number, &sent, next);
        let sample = self.sample(&sent, next, &entry, event.as_deref().ok());
        let failed_at = was_sent(&sent.outcome).then_some(now);
        let verdict = verdict(&sent.outcome, &next);
        if verdict == Verdict::Success {
            self.note_success(&live, &sent);
            taken();
        }
        let attempt = Attempt {
            number,
            trigger: entry.trigger,
            started_at: sent.started_at,
            outcome: sent.outcome,
            phases: sent.phases,
            request_headers: signed,
            response: sent.response,
        };
        let (written, queued) = self.record(&live, entry, attempt, next, &shown).await;
        if written == Some(Written::Done) {
            let now = self.clock.steady();
            self.stats.attempted(live.webhook.id, now, &sample);
        }
        if let (Next::Failed(reason), Some(Written::Done)) = (next, written) {
            let event = entry.event;
            self.alert(&live, Alert::Failed { event, reason });
        }
        // What has arrived says that the receiver is well, whatever became of the delivery meanwhile.
        if next == Next::Delivered || written == Some(Written::Done) {
            let run = (entry.event, run_attempts);
            self.after_attempt(&live, run, next, failed_at).await;
        }
        Made {
            report: Report { queued, verdict },
            pause_until,
        }
    }

    /// What was granted and could not be sent as granted. It is as it was: who sends it next looks the webhook up anew.
    fn given_back(&self, live: &Live, entry: QueueEntry, event: &Shown<'_>) -> Made {
        tracing::info!(webhook_id = %live.webhook.id, event_id = %event,
            "a reload has taken or replaced the webhook's `tls`; nothing was sent, and no attempt is recorded");
        let report = Report {
            queued: Some(entry),
            verdict: Verdict::Neutral,
        };
        Made {
            report,
            pause_until: None,
        }
    }

    /// Until when the receiver asks to be left alone, where the profile heeds that and it is still the one
    /// that the webhook sends to.
    pub(super) fn asked_pause(
        &self,
        live: &Live,
        sent: &Sent,
        now: SteadyMillis,
    ) -> Option<SteadyMillis> {
        if !live.contract.profile.honour_retry_after {
            return None;
        }
        let now_there = self.registry.find(live.webhook.id);
        if now_there.is_some_and(|there| !live.speaks_for(&there)) {
            return None;
        }
        retry_after::asked_ms(sent, self.clock.wall()).map(|ms| now.plus(ms))
    }

    /// Each attempt is for whoever looks closely; a delivery that ends here undelivered is for everybody.
    pub(super) fn log(
        &self,
        live: &Live,
        event: &Shown<'_>,
        attempt: u32,
        sent: &Sent,
        next: Next,
    ) {
        let (webhook_id, outcome) = (live.webhook.id, &sent.outcome);
        let total_us = sent.phases.total_us;
        let trace_id = event.trace_id();
        match next {
            Next::Delivered => tracing::debug!(%webhook_id, event_id = %event, attempt, %outcome,
                trace_id, total_us, "delivered"),
            Next::RetryAt(due) | Next::RetryInPlace(due) => {
                tracing::debug!(%webhook_id, event_id = %event, attempt, %outcome,
                trace_id, total_us, retry_at = %self.clock.wall_of(due), "attempt failed")
            }
            Next::Probed => tracing::debug!(%webhook_id, event_id = %event, attempt, %outcome,
                trace_id, total_us, "probe failed"),
            Next::Failed(reason) => {
                tracing::warn!(%webhook_id, event_id = %event, attempt, %outcome,
                trace_id, total_us, reason = reason.as_str(), "delivery failed")
            }
        }
    }

    /// Writes an attempt; gives what came of that, and the delivery as it then stands in the queue, if it does.
    pub(super) async fn record(
        &self,
        live: &Live,
        entry: QueueEntry,
        attempt: Attempt,
        next: Next,
        event: &Shown<'_>,
    ) -> (Option<Written>, Option<QueueEntry>) {
        let news = self.news_of(live, &attempt, next, event);
        let finish = Finish {
            webhook: live.webhook.id,
            entry,
            attempt,
            next,
        };
        match self.writer.finish(finish).await {
            Ok(Written::Done) => {
                self.tell_news(live, news);
                (Some(Written::Done), queued_after(entry, next))
            }
            Ok(Written::Stale) => {
                tracing::info!(webhook_id = %live.webhook.id, event_id = %event,
                    "the delivery was moved while its attempt ran; the attempt is not recorded");
                // Who moved it need not know of the lane.
                self.missed.add(live.webhook.id, SteadyMillis(0));
                (Some(Written::Stale), None)
            }
            Err(error) => {
                tracing::warn!(webhook_id = %live.webhook.id, event_id = %event, %error,
                    "the attempt could not be recorded; it will be made again");
                (None, Some(entry))
            }
        }
    }

    /// Sends an event once, outside of any schedule. Returns what came of it and the signed headers.
    ///
    /// # Errors
    /// [`Withheld`].
    pub(super) async fn send_once(
        &self,
        live: &Live,
        event: &Event,
        number: u32,
    ) -> Result<SentSigned, Withheld> {
        self.send_within(live, event, number, live.timeout).await
    }

    /// As [`Engine::send_once`], in a time of its own.
    ///
    /// # Errors
    /// [`Withheld`].
    pub(super) async fn send_within(
        &self,
        live: &Live,
        event: &Event,
        number: u32,
        timeout: Duration,
    ) -> Result<SentSigned, Withheld> {
        // Before anything goes out: a request for a token goes under the webhook's TLS settings, too.
        self.stands(live)?;
        let _under_way = UnderWay::begin(&self.metrics);
        let pass = match self.pass(live, timeout).await {
            Ok(pass) => pass,
            Err(sent) => return self.unless_withheld(live, sent, Vec::new()),
        };
        // The token may have taken its time.
        self.stands(live)?;
        // Not before the token is there: a signature carries the time at which it is sent.
        let mut prepared = match prepare(live, event, number, self.clock.wall()) {
            Ok(prepared) => prepared,
            Err(why) => return Ok((self.unsent(why), Vec::new())),
        };
        let step = self.traces.begin(event.trace.as_ref());
        self.traces.forward(event, step.as_ref(), &mut prepared);
        if let Some(pass) = &pass {
            // After `prepared.signed` was made, so no log has it.
            prepared.headers.insert(AUTHORIZATION, pass.header());
        }
        let request = Request {
            endpoint: live.webhook.url.clone(),
            headers: prepared.headers,
            body: prepared.body,
            timeout: pass.as_ref().map_or(timeout, |pass| pass.time_left()),
            tls: live.tls.clone(),
            account: Some(live.webhook.account.clone()),
            webhook: Some(live.webhook.id),
        };
        let sent = self.sender.send(request).await;
        let sent = match pass {
            Some(pass) => pass.used(sent, self.clock.steady()),
            None => sent,
        };
        self.traces.attempted(step, live, event, (number, &sent));
        self.unless_withheld(live, sent, prepared.signed)
    }

    /// Whether a webhook can be sent to as it was granted. The sender asks again in the moment of sending.
    pub(super) fn stands(&self, live: &Live) -> Result<(), Withheld> {
        let holds =
            live.misfit().is_none() && live.tls.as_ref().is_none_or(|tls| self.sender.holds(tls));
        if holds { Ok(()) } else { Err(Withheld) }
    }

    /// What was not sent, or had no token, because a reload came in between, is no attempt. What was sent is one.
    fn unless_withheld(
        &self,
        live: &Live,
        sent: Sent,
        signed: Vec<(String, String)>,
    ) -> Result<SentSigned, Withheld> {
        if let Outcome::Fault {
            kind: FaultKind::Render | FaultKind::Token,
            ..
        } = sent.outcome
        {
            self.stands(live)?;
        }
        Ok((sent, signed))
    }

    pub(super) fn unsent(&self, detail: String) -> Sent {
        Sent {
            started_at: self.clock.wall(),
            outcome: Outcome::Fault {
                kind: FaultKind::Render,
                detail,
            },
            phases: Phases::default(),
            response: None,
        }
    }

    pub(super) fn count(&self, live: &Live, sent: &Sent, next: &Next, entry: &QueueEntry) {
        let (outcome, class) = match &sent.outcome {
            Outcome::Status(code) => match code / 100 {
                2 => ("2xx", "2xx"),
                3 => ("3xx", "3xx"),
                4 => ("4xx", "4xx"),
                5 => ("5xx", "5xx"),
                _ => ("other", "other"),
            },
            Outcome::Fault { kind, .. } => (kind.as_str(), "fault"),
        };
        let metrics = &self.metrics;
        metrics
            .attempts
            .get_or_create(&[("outcome", outcome)])
            .inc();
        let total = Duration::from_micros(u64::from(sent.phases.total_us));
        let by_class = metrics.attempt_seconds.get_or_create(&[("outcome", class)]);
        by_class.observe(total.as_secs_f64());
        self.named
            .attempted(live.webhook.id, *next == Next::Delivered);
        let state = match next {
            Next::Delivered => Some("delivered"),
            Next::Failed(_) => Some("failed"),
            Next::RetryAt(_) | Next::RetryInPlace(_) | Next::Probed => None,
        };
        if let Some(state) = state {
            let took = metrics.delivery_attempts.get_or_create(&[("state", state)]);
            took.observe(f64::from(entry.run_attempts.saturating_add(1)));
        }
        if *next == Next::Delivered && entry.attempts == 0 {
            let since = self.clock.steady().since(entry.due);
            metrics
                .delivery_seconds
                .observe(Duration::from_millis(since).as_secs_f64());
        }
    }
}

/// Counts an attempt as under way until it is dropped: an attempt that is cut off or panics ends too.
struct UnderWay<'a>(&'a Metrics);

impl<'a> UnderWay<'a> {
    fn begin(metrics: &'a Metrics) -> Self {
        metrics.in_flight.inc();
        Self(metrics)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

/// Whether there was a request: one that cannot be made from its event says nothing of the receiver.
fn was_sent(outcome: &Outcome) -> bool {
    !matches!(
        outcome,
        Outcome::Fault {
            kind: FaultKind::Render,
            ..
        }
    )
}

/// What follows an attempt that ended at `now`, where the receiver may have asked for a pause.
fn next_of(
    live: &Live,
    entry: &QueueEntry,
    outcome: &Outcome,
    (now, pause_until): (SteadyMillis, Option<SteadyMillis>),
) -> Next {
    // Each delivery has its own jitter.
    let salt = live.webhook.id.0.to_be_bytes();
    let salt = salt.iter().fold(entry.event.to_u64(), |salt, byte| {
        salt.rotate_left(5) ^ u64::from(*byte)
    });
    let run_attempts = entry.run_attempts.saturating_add(1);
    match after(outcome, run_attempts, &live.policy, now, salt) {
        Next::RetryAt(due) => {
            // Never earlier than the schedule, and not before the receiver wants it.
            let due = pause_until.map_or(due, |until| due.max(until));
            if live.webhook.order == Order::None {
                Next::RetryAt(due)
            } else {
                Next::RetryInPlace(due)
            }
        }
        next => next,
    }
}

/// How the queue has a delivery after an attempt for `entry` was recorded with `next`; `None`: not any more.
fn queued_after(entry: QueueEntry, next: Next) -> Option<QueueEntry> {
    let tried = QueueEntry {
        attempts: entry.attempts.saturating_add(1),
        trigger: Trigger::Schedule,
        ..entry
    };
    let run_attempts = entry.run_attempts.saturating_add(1);
    match next {
        Next::RetryAt(due) => Some(QueueEntry {
            due,
            run_attempts,
            not_before: SteadyMillis(0),
            ..tried
        }),
        Next::RetryInPlace(not_before) => Some(QueueEntry {
            run_attempts,
            not_before,
            ..tried
        }),
        Next::Probed => Some(tried),
        Next::Delivered | Next::Failed(_) => None,
    }
}

/// What an outcome says of the receiver's health: only what shows overload or absence is a failure.
fn verdict(outcome: &Outcome, next: &Next) -> Verdict {
    match (outcome, next) {
        (_, Next::Delivered) => Verdict::Success,
        (Outcome::Status(429 | 500..=599), _) => Verdict::Failure,
        (Outcome::Status(_), _) => Verdict::Refusal,
        (Outcome::Fault { kind, .. }, _) => match kind {
            FaultKind::Render => Verdict::Neutral,
            FaultKind::Dns
            | FaultKind::Connect
            | FaultKind::Tls
            | FaultKind::Timeout
            | FaultKind::Reset
            | FaultKind::Protocol
            | FaultKind::AddressBlocked
            | FaultKind::Token => Verdict::Absent,
        },
    }
}

/// Runs `work` to its end; `None` if it panics. A defect in one attempt must not end the others, and the
/// attempt is then recorded as failed, so that it is not made again without end.
pub(super) async fn contained<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(
        |context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(polled) => polled.map(Some),
            Err(_) => Poll::Ready(None),
        },
    )
    .await
}
