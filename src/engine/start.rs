//! The beginning: the webhooks of the disk become the live table, then each gets its lane, then the scheduler runs.
//!
//! Between the first and the second nothing is sent, and webhooks can be changed.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::hints::{Carried, Hint};
use super::schedule::{Core, Limits};
use super::{
    Engine, EngineError, Options, PAGE_LOW, PAGES_MAX, PAYLOADS_MAX, Running, WINDOW_MAX, run,
};

/// An engine whose scheduler does not run yet: its webhooks are there and can be changed, and nothing is sent.
pub struct Built {
    pub(super) engine: Arc<Engine>,
    /// Holds what is told the scheduler meanwhile. Nothing but declared webhooks tells it anything before it runs, and
    /// of these there are few enough.
    pub(super) hints_in: mpsc::Receiver<Hint>,
}

impl Built {
    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Opens the lanes and starts the scheduler.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn launch(self, options: &Options) -> Result<(Arc<Engine>, Running), EngineError> {
        let Self { engine, hints_in } = self;
        let now = engine.clock.steady();
        engine.heartbeat.beat(now);
        let limits = Limits {
            in_flight_max: options.in_flight_max,
            lane_in_flight_max: options.in_flight_per_webhook_max,
            window_max: WINDOW_MAX,
            page_low: PAGE_LOW,
            pages_max: PAGES_MAX,
            payloads_max: PAYLOADS_MAX,
            resume_per_second: options.resume_per_second,
        };
        let mut core = Core::new(limits, now);
        engine.open_lanes(&mut core)?;
        // Each may have reported twice.
        let reports_max = 2 * limits.under_way_max();
        let scheduler = run::Scheduler::new(Arc::clone(&engine), core, hints_in, reports_max);
        let (stop, grace) = (engine.stopping.clone(), options.stop_grace);
        let ended = engine.ended.clone().drop_guard();
        engine.keep();
        let task = engine.tracker.spawn(async move {
            let _ended = ended;
            scheduler.run(stop, grace).await;
        });
        Ok((engine, Running { task }))
    }
}

impl Engine {
    pub(super) fn fill_registry(&self) {
        for webhook in self.reader.webhooks() {
            let id = webhook.id;
            if let Err(error) = self.registry.refresh(id, || self.opened(webhook).map(Some)) {
                tracing::warn!(webhook_id = %id, %error,
                    "the webhook is held: its deliveries wait until the config fits it again");
            }
        }
    }

    fn open_lanes(&self, core: &mut Core<Option<Carried>>) -> Result<(), EngineError> {
        for live in self.registry.chosen(|_| true) {
            let id = live.webhook.id;
            if let Some(reason) = live.misfit() {
                tracing::warn!(webhook_id = %id, %reason, "the webhook is held");
            }
            core.open_lane(id, live.sends(), self.reader.first_due(id)?);
            core.set_order(id, live.lane_order());
            core.set_rates(id, live.rates());
        }
        Ok(())
    }
}
