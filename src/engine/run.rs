//! The scheduler's async shell: it carries messages to the pure core and carries out what the core says.
//!
//! One task owns the core. Attempts and page reads run as tasks of their own and report back over bounded
//! channels that are as large as the number that can be under way, so a report always finds room and
//! nobody waits for anybody in a circle.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::model::{Position, QueueEntry, SteadyMillis, WebhookId};

use super::attempt::Made;
use super::hints::Carried;
use super::schedule::{Core, Effect, Page, Report, Spot, Verdict};
use super::{Engine, Hint, Live, PAGES_MAX, order};

/// Messages taken in one go before effects are carried out.
const BATCH_MAX: usize = 256;

/// What an attempt's task reports.
enum Reported {
    /// The receiver has taken it; that is being recorded.
    Taken {
        webhook: WebhookId,
        event: Position,
    },
    Finished(Finished),
}

struct Finished {
    made_with: Arc<Live>,
    webhook: WebhookId,
    event: Position,
    made: Made,
}

struct PageRead {
    webhook: WebhookId,
    ticket: u64,
    page: Option<Page>,
}

/// What the scheduler's task owns.
pub(super) struct Scheduler {
    engine: Arc<Engine>,
    core: Core<Option<Carried>>,
    hints: mpsc::Receiver<Hint>,
    reports: (mpsc::Sender<Reported>, mpsc::Receiver<Reported>),
    pages: (mpsc::Sender<PageRead>, mpsc::Receiver<PageRead>),
}

impl Scheduler {
    pub(super) fn new(
        engine: Arc<Engine>,
        core: Core<Option<Carried>>,
        hints: mpsc::Receiver<Hint>,
        reports_max: usize,
    ) -> Self {
        Self {
            engine,
            core,
            hints,
            reports: mpsc::channel(reports_max.max(1)),
            pages: mpsc::channel(PAGES_MAX),
        }
    }

    /// Runs until `stop`, then waits up to `grace` for attempts under way and drops the rest unrecorded.
    pub(super) async fn run(mut self, stop: CancellationToken, grace: Duration) {
        loop {
            self.core.advance(self.engine.clock.steady());
            self.carry_out();
            self.engine.heartbeat.beat(self.engine.clock.steady());
            let sleep = self.until_wake();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(report) = self.reports.1.recv() => self.take_report(report),
                Some(read) = self.pages.1.recv() => self.page_came(read),
                hint = self.hints.recv() => match hint {
                    Some(hint) => self.take_hint(hint),
                    None => break,
                },
                () = self.engine.missed.notify.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
            self.take_what_waits();
        }
        self.drain(grace).await;
    }

    /// Takes a bounded batch from each channel, so that none of them waits behind another.
    fn take_what_waits(&mut self) {
        for (webhook, from) in self.engine.missed.take() {
            self.core.woken(webhook, from);
        }
        for _ in 0..BATCH_MAX {
            let Ok(report) = self.reports.1.try_recv() else {
                break;
            };
            self.take_report(report);
        }
        while let Ok(read) = self.pages.1.try_recv() {
            self.page_came(read);
        }
        for _ in 0..BATCH_MAX {
            let Ok(hint) = self.hints.try_recv() else {
                break;
            };
            self.take_hint(hint);
        }
    }

    fn take_report(&mut self, report: Reported) {
        match report {
            Reported::Taken { webhook, event } => self.core.taken(webhook, event),
            Reported::Finished(done) => self.finish(done),
        }
    }

    fn finish(&mut self, done: Finished) {
        // Where the webhook has changed since, the hint that ends its pause may have come before this.
        let there = self.engine.registry.find(done.webhook);
        if let Some(until) = done.made.pause_until
            && there.is_none_or(|there| done.made_with.speaks_for(&there))
        {
            self.core.pause(done.webhook, until);
        }
        self.core
            .finished(done.webhook, done.event, done.made.report);
    }

    /// After a stop: nothing new is sent; what is under way may end within the grace period. Hints are still
    /// taken, as requests under way wait for what they ask.
    async fn drain(&mut self, grace: Duration) {
        self.core.stop();
        let deadline = tokio::time::Instant::now() + grace;
        while self.core.under_way() > 0 {
            tokio::select! {
                Some(report) = self.reports.1.recv() => self.take_report(report),
                Some(read) = self.pages.1.recv() => self.page_came(read),
                Some(hint) = self.hints.recv() => self.take_hint(hint),
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        let left = self.core.under_way();
        if left > 0 {
            tracing::warn!(
                attempts = left,
                "attempts were cut off at the end of the grace period; they will be made again"
            );
        }
    }

    fn until_wake(&self) -> Duration {
        // Also bounds how long a stopped watchdog beat or a missed wake could last.
        const LONGEST: Duration = Duration::from_secs(1);
        let now = self.engine.clock.steady();
        self.core.next_wake().map_or(LONGEST, |due| {
            Duration::from_millis(due.since(now)).min(LONGEST)
        })
    }

    fn take_hint(&mut self, hint: Hint) {
        match hint {
            Hint::Arrived {
                webhook,
                entry,
                event,
            } => self.core.arrived(webhook, entry, event),
            Hint::Changed { webhook } => match self.engine.registry.find(webhook) {
                // Its queue is looked at: what was stored before the lane was there has been hinted in vain.
                Some(live) => {
                    self.core
                        .open_lane(webhook, live.sends(), Some(SteadyMillis(0)));
                    self.core.set_order(webhook, live.lane_order());
                    self.core.set_rates(webhook, live.rates());
                }
                None => self.core.close_lane(webhook),
            },
            Hint::Unpause { webhook } => self.core.unpause(webhook),
            Hint::Reserve {
                webhook,
                event,
                answer,
            } => {
                let reserved = self.core.reserve(webhook, event);
                if answer.send(reserved).is_err() && reserved {
                    self.core.release(webhook, event, None);
                }
            }
            Hint::Release {
                webhook,
                event,
                entry,
            } => self.core.release(webhook, event, entry),
            Hint::Figures { webhooks, answer } => {
                let lane = |webhook| self.core.lane(webhook).map(|lane| (webhook, lane));
                let figures = webhooks.into_iter().filter_map(lane).collect();
                // Whoever asked may have gone.
                drop(answer.send(figures));
            }
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.core.next_effect() {
            match effect {
                Effect::Send {
                    webhook,
                    entry,
                    payload,
                } => self.send(webhook, entry, payload.flatten()),
                Effect::ReadPage {
                    webhook,
                    ticket,
                    from,
                    until,
                    limit,
                } => self.read_page(webhook, ticket, (from, until), limit),
            }
        }
    }

    fn send(&mut self, webhook: WebhookId, entry: QueueEntry, payload: Option<Carried>) {
        let Some(live) = self.engine.registry.find(webhook) else {
            // Removed in between: the store cancels what waits for it, and the lane is about to be closed.
            let report = Report {
                queued: None,
                verdict: Verdict::Neutral,
            };
            self.core.finished(webhook, entry.event, report);
            return;
        };
        if live.misfit().is_some() {
            // A reload has just taken its format or its TLS settings; that its gate is shut is told by a hint under way.
            let report = Report {
                queued: Some(entry),
                verdict: Verdict::Neutral,
            };
            self.core.finished(webhook, entry.event, report);
            return;
        }
        let (engine, report_to) = (Arc::clone(&self.engine), self.reports.0.clone());
        let cut = engine.cut.clone();
        // What can panic in an attempt by what it sends is contained there. A panic beside that would keep the
        // delivery, and its place in the lane, for ever.
        let alive = engine.deaths.watch_over("an attempt's task");
        Arc::clone(&engine).attempts.spawn(async move {
            let _alive = alive;
            let taken = || {
                let event = entry.event;
                // There is room by its size; without this report the next one is all there is.
                if report_to
                    .try_send(Reported::Taken { webhook, event })
                    .is_err()
                {
                    tracing::debug!("the scheduler is not told before the record");
                }
            };
            let event = payload.as_ref().map(Carried::event);
            let attempt = engine.attempt(Arc::clone(&live), entry, event, taken);
            let Some(made) = cut.run_until_cancelled(attempt).await else {
                return;
            };
            let done = Reported::Finished(Finished {
                made_with: live,
                webhook,
                event: entry.event,
                made,
            });
            if report_to.send(done).await.is_err() {
                tracing::debug!("the scheduler had already stopped");
            }
        });
    }

    fn read_page(
        &mut self,
        webhook: WebhookId,
        ticket: u64,
        span: (Spot, SteadyMillis),
        limit: usize,
    ) {
        self.engine.metrics.pages_read.inc();
        let reader = self.engine.reader.clone();
        let live = self.engine.registry.find(webhook);
        let answer_to = self.pages.0.clone();
        let tracker = &self.engine.tracker;
        let reading = tracker
            .spawn_blocking(move || order::page(&reader, live.as_deref(), (webhook, span), limit));
        tracker.spawn(async move {
            let page = match reading.await {
                Ok(Ok(page)) => Some(page),
                Ok(Err(error)) => {
                    tracing::error!(webhook_id = %webhook, %error, "the queue could not be read");
                    None
                }
                // It panicked. Its lane waits for an answer, and asks again.
                Err(error) => {
                    tracing::error!(webhook_id = %webhook, %error, "reading the queue failed");
                    None
                }
            };
            let read = PageRead {
                webhook,
                ticket,
                page,
            };
            if answer_to.send(read).await.is_err() {
                tracing::debug!("the scheduler had already stopped");
            }
        });
    }

    fn page_came(&mut self, read: PageRead) {
        match read.page {
            Some(page) => self.core.paged(read.webhook, read.ticket, page),
            None => self.core.page_failed(read.webhook, read.ticket),
        }
    }
}
