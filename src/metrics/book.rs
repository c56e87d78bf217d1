//! The registry of metrics, and beside each its labels and meaning for `docs/metrics.md`.

use std::fmt::Write as _;

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::process::{self, Process};

/// One metric, as the reference lists it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// As in queries.
    pub(super) name: String,
    kind: &'static str,
    unit: String,
    labels: &'static [&'static str],
    help: String,
}

impl Entry {
    fn new(
        name: &str,
        (unit, kind): (&str, MetricType),
        labels: &'static [&'static str],
        help: &str,
    ) -> Self {
        let (kind, suffix) = match kind {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Gauge => ("gauge", ""),
            MetricType::Histogram => ("histogram", ""),
            MetricType::Info => ("info", "_info"),
            MetricType::Unknown => ("unknown", ""),
        };
        Self {
            name: format!("{name}{suffix}"),
            kind,
            unit: unit.to_owned(),
            labels,
            help: help.to_owned(),
        }
    }
}

/// Where metrics are entered.
pub(super) struct Book {
    registry: Registry,
    entries: Vec<Entry>,
}

impl Book {
    pub(super) fn new() -> Self {
        Self {
            registry: Registry::with_prefix("hookwheel"),
            entries: Vec::new(),
        }
    }

    /// Enters a metric that has no unit and begins as all of its kind do.
    pub(super) fn add<M: Metric + Clone + Default>(
        &mut self,
        name: &str,
        labels: &'static [&'static str],
        help: &str,
    ) -> M {
        self.put((name, None), labels, help, M::default())
    }

    /// Enters a metric, by its name without the unit.
    pub(super) fn put<M: Metric + Clone>(
        &mut self,
        (name, unit): (&str, Option<Unit>),
        labels: &'static [&'static str],
        help: &str,
        metric: M,
    ) -> M {
        let kind = EncodeMetric::metric_type(&metric);
        self.list("hookwheel", (name, unit.as_ref(), kind), labels, help);
        match unit {
            Some(unit) => self
                .registry
                .register_with_unit(name, help, unit, metric.clone()),
            None => self.registry.register(name, help, metric.clone()),
        }
        metric
    }

    fn list(
        &mut self,
        prefix: &str,
        (name, unit, kind): (&str, Option<&Unit>, MetricType),
        labels: &'static [&'static str],
        help: &str,
    ) {
        let unit = unit.map_or("", Unit::as_str);
        let separator = if unit.is_empty() { "" } else { "_" };
        let name = format!("{prefix}_{name}{separator}{unit}");
        self.entries
            .push(Entry::new(&name, (unit, kind), labels, help));
    }

    /// What was entered, what is running, and what each process has.
    pub(super) fn close(mut self) -> ([Registry; 2], Vec<Entry>) {
        let help = "What is running; always 1";
        self.list(
            "hookwheel",
            ("build", None, MetricType::Info),
            &["version"],
            help,
        );
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        self.registry.register("build", help, version);
        for (name, unit, kind, help) in process::METRICS {
            self.list("process", (name, unit.as_ref(), kind), &[], help);
        }
        let mut of_process = Registry::default();
        of_process.register_collector(Box::new(Process));
        ([self.registry, of_process], self.entries)
    }
}

/// The entries as a page of the documentation.
pub(super) fn reference(entries: &[Entry]) -> String {
    let mut text = String::from(INTRODUCTION);
    for entry in entries {
        let labels: Vec<String> = entry
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let (name, kind, unit, help) = (&entry.name, entry.kind, &entry.unit, &entry.help);
        let labels = labels.join(", ");
        writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | {help} |")
            .expect("a text takes what is written to it");
    }
    text
}

const INTRODUCTION: &str = "\
# Metrics

`GET /metrics` in OpenMetrics, or in the older text format of Prometheus for whoever does not ask for that. This page is
made from the code: `HOOKWHEEL_WRITE_DOCS=1 cargo test --lib metrics::` writes it.

- Counters begin at 0 with each start. A histogram `x` has `x_bucket`, `x_sum` and `x_count`.
- `[metrics] hash` asks for a key, and `webhooks_max` bounds how many webhooks are named; see `config.example.toml`.
- Of the webhooks those are named that have the largest backlogs, fail most and are sent to most, looked at anew each
  minute; one that is named stays so until it is far from these. All others are summed as `webhook_id=\"other\"`. An
  attempt is counted under the name that its webhook had then, so sums are right whoever is named; a webhook that is
  named again begins at 0, which Prometheus takes for a restart.
- `monitoring/` has a dashboard for Grafana, rules for alerts with their tests, and an example of a scrape config.

| name | type | unit | labels | meaning |
|---|---|---|---|---|
";
