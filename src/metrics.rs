//! The daemon's counters, gauges and histograms, in Prometheus conventions. Cheap to clone; all clones share.
//!
//! A metric is registered where it is made, with its labels and its meaning, so `docs/metrics.md` is made from the same
//! place. Every label has few values: routes, outcomes, states; and webhooks by name, of which there is a bound.

mod book;
mod exposition;
mod process;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use book::{Book, Entry};

/// One label with a value that is known at compile time.
pub type Label = [(&'static str, &'static str); 1];
/// A webhook by its id and its account; both are `other` for all those that are not named.
pub type WebhookLabels = [(&'static str, String); 2];
/// The same, and what came of it.
pub type WebhookResult = [(&'static str, String); 3];
/// Method, route and status of a request.
pub type RequestLabels = [(&'static str, String); 3];
/// A histogram for each value of a label.
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Every metric there is. Fields are public: a module counts what it does.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Those of this daemon, and those that any process has.
    registries: Arc<[Registry; 2]>,
    entries: Arc<Vec<Entry>>,
    /// Events answered with 202, duplicates not counted.
    pub events_accepted: Counter,
    /// Events refused, by reason.
    pub events_refused: Family<Label, Counter>,
    /// Requests without a valid key, by reason.
    pub auth_failures: Family<Label, Counter>,
    /// Requests refused because a key was over its limit, by the limit.
    pub keys_over_limit: Family<Label, Counter>,
    /// Requests answered, by method, route and status.
    pub http_requests: Family<RequestLabels, Counter>,
    /// How long requests took, by route.
    pub http_request_seconds: Histograms<[(&'static str, String); 1]>,
    /// Clients' connections.
    pub http_connections: Gauge,
    /// Clients refused or sent away for want of places.
    pub http_connections_refused: Family<Label, Counter>,
    /// Operational events posted, by kind.
    pub alerts: Family<Label, Counter>,
    /// Deliveries made from accepted events.
    pub deliveries_created: Counter,
    /// Deliveries that jobs queued, again or for the first time.
    pub deliveries_queued_by_jobs: Counter,
    /// Jobs that go on: those that are paused do not count.
    pub jobs_running: Gauge,
    /// Deliveries that ended, by state.
    pub deliveries_ended: Family<Label, Counter>,
    /// Attempts, by outcome class (`2xx`, …, or a fault kind).
    pub attempts: Family<Label, Counter>,
    /// How long attempts took, by outcome class (`2xx`, …, or `fault`).
    pub attempt_seconds: Histograms<Label>,
    /// From an event's arrival to its delivery's success on the first attempt.
    pub delivery_seconds: Histogram,
    /// How many attempts deliveries took, by how they ended.
    pub delivery_attempts: Histograms<Label>,
    /// Requests for access tokens, by outcome: `issued` or `failed`.
    pub token_requests: Family<Label, Counter>,
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
    /// How many transitions a group had.
    pub journal_group_records: Histogram,
    /// How long a group took from the first check to the last answer.
    pub commit_seconds: Histogram,
    /// Transitions that came too late and were not written.
    pub stale_transitions: Counter,
    /// Frames that could not be read and were set aside.
    pub frames_set_aside: Counter,
    /// Pieces of damage that lie in `set-aside/`, those of earlier processes included.
    pub set_aside: Gauge,
    /// Deliveries that are pending, waiting and held.
    pub deliveries_pending: Gauge,
    /// Deliveries of webhooks that are sent to.
    pub deliveries_waiting: Gauge,
    /// Deliveries of webhooks that are not.
    pub deliveries_held: Gauge,
    /// How long the most overdue delivery of a webhook that sends has been due.
    pub oldest_due_seconds: Gauge<f64, AtomicU64>,
    /// Webhooks by state, and why they are not sent to.
    pub webhooks: Family<[(&'static str, &'static str); 2], Gauge>,
    /// Lanes by standing.
    pub lanes: Family<Label, Gauge>,
    /// Attempts of single webhooks, by result.
    pub webhook_attempts: Family<WebhookResult, Counter>,
    /// Pending deliveries of single webhooks.
    pub webhook_deliveries_pending: Family<WebhookLabels, Gauge>,
    /// How overdue single webhooks are.
    pub webhook_oldest_due_seconds: Family<WebhookLabels, Gauge<f64, AtomicU64>>,
    /// Whether single webhooks are sent to.
    pub webhook_sends: Family<WebhookLabels, Gauge>,
    /// Writes that wait for the committer.
    pub commit_queue_depth: Gauge,
    /// How long the committer has been in one round, or the oldest write has waited.
    pub store_stalled_seconds: Gauge<f64, AtomicU64>,
    /// Free space of the data directory's file system.
    pub disk_free_bytes: Gauge,
    /// Below this free space events are refused.
    pub disk_reserve_bytes: Gauge,
    /// The journal's size.
    pub journal_size_bytes: Gauge,
    /// The size above which the oldest history goes.
    pub journal_limit_bytes: Gauge,
    /// The age above which history goes.
    pub retention_age_seconds: Gauge<f64, AtomicU64>,
    /// The journal's segments.
    pub journal_segments: Gauge,
    /// Attempts that may be under way at once.
    pub in_flight_limit: Gauge,
    /// Clients' connections that may be open at once.
    pub http_connections_limit: Gauge,
    /// Whether the daemon would say that it is ready.
    pub ready: Gauge,
    /// The wall clock as the daemon sees it.
    pub clock_seconds: Gauge<f64, AtomicU64>,
    /// Reads of the config of a running daemon, by result.
    pub config_reloads: Family<Label, Counter>,
    /// Whether the last one was taken over.
    pub config_reload_successful: Gauge,
    /// When a config was last taken over.
    pub config_reload_success_seconds: Gauge<f64, AtomicU64>,
    /// When the listener's certificate ends; 0 without one.
    pub server_certificate_expiry_seconds: Gauge<f64, AtomicU64>,
    /// Spans of traced events, by whether the collector has them; in builds with OTLP.
    pub spans: Family<Label, Counter>,
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

/// 0.1 ms to about 100 s: from a local receiver to the longest timeout a profile may set.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 21))
}

/// 1 ms to about 16 s: there is one for each route, so the steps are wide.
fn request_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 8))
}

/// Most arrive by the first; the longest built-in schedule has 22.
fn attempts() -> Histogram {
    Histogram::new([1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0])
}

/// A group has as many records as writes were waiting, up to the committer's round.
fn records() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 13))
}

impl Metrics {
    /// A fresh set, all zero.
    #[must_use]
    #[expect(
        clippy::too_many_lines,
        reason = "one entry for each metric, and nothing else"
    )]
    pub fn new() -> Self {
        let mut book = Book::new();
        let per_route: fn() -> Histogram = request_seconds;
        let per_class: fn() -> Histogram = seconds;
        let per_end: fn() -> Histogram = attempts;
        let metrics = Self {
            registries: Arc::default(),
            entries: Arc::default(),
            events_accepted: book.add(
                "events_accepted",
                &[],
                "Events stored and answered with 202; a repetition of one does not count",
            ),
            events_refused: book.add(
                "events_refused",
                &["reason"],
                "Events refused, by the code of the answer",
            ),
            auth_failures: book.add(
                "auth_failures",
                &["reason"],
                "Requests without a valid key, by reason: missing or unknown",
            ),
            keys_over_limit: book.add(
                "keys_over_limit",
                &["limit"],
                "Requests answered with 429, by the key's limit that was met: events or requests",
            ),
            http_requests: book.add(
                "http_requests",
                &["method", "route", "status"],
                "Requests of the API that were answered; the route is its template, or other",
            ),
            http_request_seconds: book.put(
                ("http_request", Some(Unit::Seconds)),
                &["route"],
                "How long the API took to answer, from the request's head to the answer's",
                Family::new_with_constructor(per_route),
            ),
            http_connections: book.add("http_connections", &[], "Connections of clients that are open"),
            http_connections_limit: book.add(
                "http_connections_limit",
                &[],
                "Connections of clients that may be open at once ([server] connections_max, as far as files allow)",
            ),
            http_connections_refused: book.add(
                "http_connections_refused",
                &["how"],
                "Clients that found no place (refused), or had to give theirs to another (gave_way)",
            ),
            deliveries_created: book.add("deliveries_created", &[], "Deliveries made from events as they came"),
            deliveries_queued_by_jobs: book.add(
                "deliveries_queued_by_jobs",
                &[],
                "Deliveries queued by replays and re-matches",
            ),
            deliveries_ended: book.add(
                "deliveries_ended",
                &["state"],
                "Deliveries ended, by state: delivered, failed, or why they were given up",
            ),
            deliveries_pending: book.add(
                "deliveries_pending",
                &[],
                "Deliveries that have not ended: those that wait and those that are held",
            ),
            deliveries_waiting: book.add(
                "deliveries_waiting",
                &[],
                "Pending deliveries of webhooks that are sent to; those in flight count, too",
            ),
            deliveries_held: book.add(
                "deliveries_held",
                &[],
                "Pending deliveries of webhooks that are not sent to: inactive ones, and those that do not fit the config",
            ),
            oldest_due_seconds: book.put(
                ("oldest_due", Some(Unit::Seconds)),
                &[],
                "How long the most overdue delivery of an active webhook has been due; what is held does not count",
                Gauge::default(),
            ),
            in_flight: book.add("in_flight", &[], "Attempts under way"),
            in_flight_limit: book.add(
                "in_flight_limit",
                &[],
                "Attempts that may be under way at once ([delivery] in_flight_max)",
            ),
            attempts: book.add(
                "attempts",
                &["outcome"],
                "Attempts, by outcome: 2xx to 5xx, other, or the kind of fault (dns, connect, tls, timeout, …)",
            ),
            attempt_seconds: book.put(
                ("attempt", Some(Unit::Seconds)),
                &["outcome"],
                "How long attempts took, by outcome: 2xx to 5xx, other, or fault",
                Family::new_with_constructor(per_class),
            ),
            delivery_seconds: book.put(
                ("delivery", Some(Unit::Seconds)),
                &[],
                "From an event's arrival to its delivery, where the first attempt succeeded",
                seconds(),
            ),
            delivery_attempts: book.put(
                ("delivery_attempts", None),
                &["state"],
                "How many attempts a run of the schedule took until its delivery was delivered or failed",
                Family::new_with_constructor(per_end),
            ),
            token_requests: book.add(
                "token_requests",
                &["outcome"],
                "Requests for access tokens, by outcome: issued or failed",
            ),
            connections_opened: book.add("connections_opened", &[], "Connections to receivers opened"),
            connections_reused: book.add(
                "connections_reused",
                &[],
                "Requests to receivers over a connection that was open",
            ),
            jobs_running: book.add("jobs_running", &[], "Replays and re-matches that are running"),
            alerts: book.add("alerts", &["kind"], "Operational events posted, by kind"),
            webhooks: book.add(
                "webhooks",
                &["state", "reason"],
                "Webhooks, by state (active, held, inactive) and, of inactive ones, by reason",
            ),
            lanes: book.add(
                "lanes",
                &["standing"],
                "Webhooks in the scheduler, by how their receivers did lately: fresh, proven or doubted",
            ),
            webhook_attempts: book.add(
                "webhook_attempts",
                &["webhook_id", "account", "result"],
                "Attempts of the webhooks that are named, by result (succeeded, failed); other: of all the rest",
            ),
            webhook_deliveries_pending: book.add(
                "webhook_deliveries_pending",
                &["webhook_id", "account"],
                "Pending deliveries of the webhooks that are named; other: of all the rest",
            ),
            webhook_oldest_due_seconds: book.put(
                ("webhook_oldest_due", Some(Unit::Seconds)),
                &["webhook_id", "account"],
                "How long the first delivery has been due, of the webhooks that are named; other: the most of the rest",
                Family::default(),
            ),
            webhook_sends: book.add(
                "webhook_sends",
                &["webhook_id", "account"],
                "Whether a webhook that is named is sent to (1), or is inactive or held (0)",
            ),
            commit_queue_depth: book.add(
                "commit_queue_depth",
                &[],
                "Writes that wait to be taken up by the committer",
            ),
            commit_seconds: book.put(
                ("commit", Some(Unit::Seconds)),
                &[],
                "How long a group of writes took: checked, written, synced, applied, answered",
                seconds(),
            ),
            journal_sync_seconds: book.put(
                ("journal_sync", Some(Unit::Seconds)),
                &[],
                "How long the disk took to sync a group",
                seconds(),
            ),
            journal_group_records: book.put(
                ("journal_group_records", None),
                &[],
                "Records that were synced together",
                records(),
            ),
            journal_syncs: book.add("journal_syncs", &[], "Groups synced"),
            journal_records: book.add("journal_records", &[], "Records written to the journal"),
            journal_bytes: book.put(
                ("journal_written", Some(Unit::Bytes)),
                &[],
                "Bytes written to the journal",
                Counter::default(),
            ),
            store_stalled_seconds: book.put(
                ("store_stalled", Some(Unit::Seconds)),
                &[],
                "How long the committer has been in one round, or the oldest write has waited; over a second or so the disk is slow",
                Gauge::default(),
            ),
            stale_transitions: book.add(
                "stale_transitions",
                &[],
                "Changes that came too late, as another one had been there before, and were not written",
            ),
            frames_set_aside: book.add(
                "frames_set_aside",
                &[],
                "Frames of the journal that this process could not read",
            ),
            set_aside: book.add(
                "set_aside",
                &[],
                "Pieces of journal damage kept in set-aside/, those of earlier runs included",
            ),
            disk_free_bytes: book.put(
                ("disk_free", Some(Unit::Bytes)),
                &[],
                "Free space where the data directory is, as last looked at by the committer",
                Gauge::default(),
            ),
            disk_reserve_bytes: book.put(
                ("disk_reserve", Some(Unit::Bytes)),
                &[],
                "Free space below which events are refused ([storage] disk_reserve)",
                Gauge::default(),
            ),
            journal_size_bytes: book.put(
                ("journal_size", Some(Unit::Bytes)),
                &[],
                "Size of the journal, its indexes not counted",
                Gauge::default(),
            ),
            journal_limit_bytes: book.put(
                ("journal_limit", Some(Unit::Bytes)),
                &[],
                "Size above which the oldest history is deleted ([storage] retention_size)",
                Gauge::default(),
            ),
            journal_segments: book.add("journal_segments", &[], "Segments of the journal"),
            retention_age_seconds: book.put(
                ("retention_age", Some(Unit::Seconds)),
                &[],
                "Age above which history is deleted ([storage] retention_age)",
                Gauge::default(),
            ),
            hints_missed: book.add(
                "hints_missed",
                &[],
                "Hints the scheduler had no room for; each costs a page read, nothing else",
            ),
            pages_read: book.add("pages_read", &[], "Pages of queues read"),
            spans: book.add(
                "spans",
                &["result"],
                "Spans of traced events, by result: exported or dropped; only where [telemetry] otlp_endpoint is set",
            ),
            ready: book.add(
                "ready",
                &[],
                "Whether /readyz would answer 200: work is progressing, and the disk has room",
            ),
            clock_seconds: book.put(
                ("clock", Some(Unit::Seconds)),
                &[],
                "The machine's wall clock, seconds since 1970; signatures carry it, and receivers refuse it if it is wrong",
                Gauge::default(),
            ),
            config_reloads: book.add(
                "config_reloads",
                &["result"],
                "Reads of the config by SIGHUP, by result: ok or failed",
            ),
            config_reload_successful: book.add(
                "config_reload_successful",
                &[],
                "Whether the config was taken over when it was last read",
            ),
            config_reload_success_seconds: book.put(
                ("config_reload_success_timestamp", Some(Unit::Seconds)),
                &[],
                "When a config was last taken over, seconds since 1970; the start counts",
                Gauge::default(),
            ),
            server_certificate_expiry_seconds: book.put(
                ("server_certificate_expiry_timestamp", Some(Unit::Seconds)),
                &[],
                "When the API's certificate ([server.tls]) ends, seconds since 1970; 0 where it has none",
                Gauge::default(),
            ),
        };
        metrics.begin_at_zero();
        let (registries, entries) = book.close();
        Self {
            registries: Arc::new(registries),
            entries: Arc::new(entries),
            ..metrics
        }
    }

    /// Series that are there from the start: what appears with its first value hides that from `rate`.
    fn begin_at_zero(&self) {
        for reason in ["missing", "unknown"] {
            self.auth_failures
                .get_or_create_owned(&[("reason", reason)]);
        }
        for limit in ["events", "requests"] {
            self.keys_over_limit
                .get_or_create_owned(&[("limit", limit)]);
        }
        for how in ["refused", "gave_way"] {
            self.http_connections_refused
                .get_or_create_owned(&[("how", how)]);
        }
        for outcome in ["issued", "failed"] {
            self.token_requests
                .get_or_create_owned(&[("outcome", outcome)]);
        }
        for state in ["delivered", "failed"] {
            self.deliveries_ended
                .get_or_create_owned(&[("state", state)]);
            self.delivery_attempts
                .get_or_create_owned(&[("state", state)]);
        }
        for outcome in [
            "2xx", "3xx", "4xx", "5xx", "timeout", "connect", "tls", "dns",
        ] {
            self.attempts.get_or_create_owned(&[("outcome", outcome)]);
        }
        for outcome in ["2xx", "3xx", "4xx", "5xx", "fault"] {
            self.attempt_seconds
                .get_or_create_owned(&[("outcome", outcome)]);
        }
        for result in ["ok", "failed"] {
            self.config_reloads
                .get_or_create_owned(&[("result", result)]);
        }
        self.events_refused
            .get_or_create_owned(&[("reason", "disk_reserve")]);
        self.config_reload_successful.set(1);
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut registries = self.registries.iter();
        let encoded = registries.try_for_each(|registry| encode_registry(&mut text, registry));
        match encoded.and_then(|()| encode_eof(&mut text)) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }

    /// All metrics in the older text format of Prometheus, for whoever does not ask for OpenMetrics.
    #[must_use]
    pub fn render_classic(&self) -> String {
        exposition::classic(&self.render())
    }

    /// The list of all metrics, as `docs/metrics.md` has it.
    #[must_use]
    pub fn reference(&self) -> String {
        book::reference(&self.entries)
    }

    /// The names of all metrics, as they are written in queries; histograms without their suffixes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }
}

#[cfg(test)]
mod tests;
