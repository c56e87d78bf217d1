//! The daemon's counters and histograms, in Prometheus conventions. Cheap to clone; all clones share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Every metric there is. Fields are public: a module counts what it does.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Events answered with 202, duplicates not counted.
    pub events_accepted: Counter,
    /// Events refused, by reason.
    pub events_refused: Family<[(&'static str, &'static str); 1], Counter>,
    /// Requests without a valid key, by reason.
    pub auth_failures: Family<[(&'static str, &'static str); 1], Counter>,
    /// Operational events posted, by kind.
    pub alerts: Family<[(&'static str, &'static str); 1], Counter>,
    /// Deliveries made from accepted events.
    pub deliveries_created: Counter,
    /// Deliveries that jobs queued, again or for the first time.
    pub deliveries_queued_by_jobs: Counter,
    /// Jobs that go on: those that are paused do not count.
    pub jobs_running: Gauge,
    /// Deliveries that ended, by state.
    pub deliveries_ended: Family<[(&'static str, &'static str); 1], Counter>,
    /// Attempts, by outcome class (`2xx`, …, or a fault kind).
    pub attempts: Family<[(&'static str, &'static str); 1], Counter>,
    /// How long attempts took.
    pub attempt_seconds: Histogram,
    /// From an event's arrival to its delivery's success on the first attempt.
    pub delivery_seconds: Histogram,
    /// Requests for access tokens, by outcome: `issued` or `failed`.
    pub token_requests: Family<[(&'static str, &'static str); 1], Counter>,
    /// Attempts under way.
    pub in_flight: Gauge,
    /// Connections to receivers opened.
    pub connections_opened: Counter,
    /// Requests sent over a connection that was already open.
    pub connections_reused: Counter,
    /// Transitions written to the journal.
    pub journal_records: Counter,
    /// Bytes written to the journal.
    pub journal_bytes: Counter,
    /// Groups synced.
    pub journal_syncs: Counter,
    /// How long a group's sync took.
    pub journal_sync_seconds: Histogram,
    /// Transitions that came too late and were not written.
    pub stale_transitions: Counter,
    /// Frames that could not be read and were set aside.
    pub frames_set_aside: Counter,
    /// Pieces of damage that lie in `set-aside/`, those of earlier processes included.
    pub set_aside: Gauge,
    /// Deliveries that are pending, waiting and held.
    pub deliveries_pending: Gauge,
    /// How long the most overdue delivery of a webhook that sends has been due.
    pub oldest_due_seconds: Gauge<f64, AtomicU64>,
    /// Writes that wait for the committer.
    pub commit_queue_depth: Gauge,
    /// How long the committer has been in one round, or the oldest write has waited.
    pub store_stalled_seconds: Gauge<f64, AtomicU64>,
    /// Free space of the data directory's file system.
    pub disk_free_bytes: Gauge,
    /// The journal's size.
    pub journal_size_bytes: Gauge,
    /// The journal's segments.
    pub journal_segments: Gauge,
    /// Hints that the scheduler had no room for (each costs a page read, nothing else).
    pub hints_missed: Counter,
    /// Pages of the queue read.
    pub pages_read: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A fresh set, all zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("hookwheel");
        // 0.1 ms to about 100 s: from a local receiver to the longest timeout a profile may set.
        let seconds = || Histogram::new(exponential_buckets(0.000_1, 2.0, 21));
        let mut metrics = Self {
            registry: Arc::new(Registry::default()),
            events_accepted: Counter::default(),
            events_refused: Family::default(),
            auth_failures: Family::default(),
            alerts: Family::default(),
            deliveries_created: Counter::default(),
            deliveries_queued_by_jobs: Counter::default(),
            jobs_running: Gauge::default(),
            deliveries_ended: Family::default(),
            attempts: Family::default(),
            attempt_seconds: seconds(),
            delivery_seconds: seconds(),
            token_requests: Family::default(),
            in_flight: Gauge::default(),
            connections_opened: Counter::default(),
            connections_reused: Counter::default(),
            journal_records: Counter::default(),
            journal_bytes: Counter::default(),
            journal_syncs: Counter::default(),
            journal_sync_seconds: seconds(),
            stale_transitions: Counter::default(),
            frames_set_aside: Counter::default(),
            set_aside: Gauge::default(),
            deliveries_pending: Gauge::default(),
            oldest_due_seconds: Gauge::default(),
            commit_queue_depth: Gauge::default(),
            store_stalled_seconds: Gauge::default(),
            disk_free_bytes: Gauge::default(),
            journal_size_bytes: Gauge::default(),
            journal_segments: Gauge::default(),
            hints_missed: Counter::default(),
            pages_read: Counter::default(),
        };
        metrics.register(&mut registry);
        metrics.registry = Arc::new(registry);
        metrics
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one line for each metric, and nothing else"
    )]
    fn register(&self, to: &mut Registry) {
        to.register(
            "events_accepted",
            "Events stored and answered with 202",
            self.events_accepted.clone(),
        );
        to.register(
            "events_refused",
            "Events refused, by reason",
            self.events_refused.clone(),
        );
        to.register(
            "auth_failures",
            "Requests without a valid key, by reason: missing or unknown",
            self.auth_failures.clone(),
        );
        to.register(
            "alerts",
            "Operational events posted, by kind",
            self.alerts.clone(),
        );
        to.register(
            "deliveries_created",
            "Deliveries made from events",
            self.deliveries_created.clone(),
        );
        to.register(
            "deliveries_queued_by_jobs",
            "Deliveries queued by replays and re-matches",
            self.deliveries_queued_by_jobs.clone(),
        );
        to.register(
            "jobs_running",
            "Replays and re-matches that are running",
            self.jobs_running.clone(),
        );
        to.register(
            "deliveries_ended",
            "Deliveries ended, by state",
            self.deliveries_ended.clone(),
        );
        to.register("attempts", "Attempts, by outcome", self.attempts.clone());
        to.register_with_unit(
            "attempt",
            "Duration of attempts",
            Unit::Seconds,
            self.attempt_seconds.clone(),
        );
        to.register_with_unit(
            "delivery",
            "From arrival to first-attempt success",
            Unit::Seconds,
            self.delivery_seconds.clone(),
        );
        to.register(
            "token_requests",
            "Requests for access tokens, by outcome",
            self.token_requests.clone(),
        );
        to.register("in_flight", "Attempts under way", self.in_flight.clone());
        to.register(
            "connections_opened",
            "Connections to receivers opened",
            self.connections_opened.clone(),
        );
        to.register(
            "connections_reused",
            "Requests over an open connection",
            self.connections_reused.clone(),
        );
        to.register(
            "journal_records",
            "Transitions written",
            self.journal_records.clone(),
        );
        to.register_with_unit(
            "journal_written",
            "Journal bytes written",
            Unit::Bytes,
            self.journal_bytes.clone(),
        );
        to.register("journal_syncs", "Groups synced", self.journal_syncs.clone());
        to.register_with_unit(
            "journal_sync",
            "Duration of a sync",
            Unit::Seconds,
            self.journal_sync_seconds.clone(),
        );
        to.register(
            "stale_transitions",
            "Transitions that came too late",
            self.stale_transitions.clone(),
        );
        to.register(
            "frames_set_aside",
            "Unreadable journal frames",
            self.frames_set_aside.clone(),
        );
        to.register(
            "hints_missed",
            "Hints the scheduler had no room for",
            self.hints_missed.clone(),
        );
        to.register("pages_read", "Queue pages read", self.pages_read.clone());
        self.register_levels(to);
    }

    /// What is measured when it is asked for, rather than counted.
    fn register_levels(&self, to: &mut Registry) {
        to.register(
            "set_aside",
            "Pieces of journal damage kept in set-aside/, those of earlier runs included",
            self.set_aside.clone(),
        );
        to.register(
            "deliveries_pending",
            "Deliveries that wait for an attempt, those that are held for inactive webhooks included",
            self.deliveries_pending.clone(),
        );
        to.register_with_unit(
            "oldest_due",
            "How long the most overdue delivery of an active webhook has been due; what is held does not count",
            Unit::Seconds,
            self.oldest_due_seconds.clone(),
        );
        to.register(
            "commit_queue_depth",
            "Writes that wait to be taken up by the committer",
            self.commit_queue_depth.clone(),
        );
        to.register_with_unit(
            "store_stalled",
            "How long the committer has been in one round, or the oldest write has waited; over a second or so the disk is slow",
            Unit::Seconds,
            self.store_stalled_seconds.clone(),
        );
        to.register_with_unit(
            "disk_free",
            "Free space where the data directory is, as last looked at by the committer",
            Unit::Bytes,
            self.disk_free_bytes.clone(),
        );
        to.register_with_unit(
            "journal_size",
            "Size of the journal, its indexes not counted",
            Unit::Bytes,
            self.journal_size_bytes.clone(),
        );
        to.register(
            "journal_segments",
            "Segments of the journal",
            self.journal_segments.clone(),
        );
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_show_in_the_text() {
        let metrics = Metrics::new();
        metrics.events_accepted.inc();
        metrics.attempts.get_or_create(&[("outcome", "2xx")]).inc();
        let text = metrics.render();
        assert!(text.contains("hookwheel_events_accepted_total 1"), "{text}");
        assert!(
            text.contains("hookwheel_attempts_total{outcome=\"2xx\"} 1"),
            "{text}"
        );
    }
}
