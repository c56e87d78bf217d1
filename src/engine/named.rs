//! Which webhooks the metrics name, and what is counted under a name.
//!
//! A series for each webhook would be without a bound, so a bounded number is named: those with the largest backlogs, the
//! most failures and the most traffic, looked at anew each minute. One that is named stays so while it is in twice as
//! many, so series do not come and go. An attempt is counted under the name that its webhook has in that moment, or
//! under `other`: no counter ever takes back what it has said, whoever is named next.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, RwLock};

use prometheus_client::metrics::counter::Counter;

use crate::metrics::{Metrics, WebhookLabels, WebhookResult};
use crate::model::{SteadyMillis, WebhookId};

use super::Live;

/// How often it is looked who should be named.
const CHOOSE_EVERY_MS: u64 = 60_000;
/// The name of all that have none.
const OTHER: &str = "other";

/// What a webhook is judged by.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weight {
    pub(super) pending: usize,
    pub(super) failed: u64,
    pub(super) attempts: u64,
}

/// One webhook's series.
#[derive(Debug)]
struct Series {
    labels: WebhookLabels,
    succeeded: Counter,
    failed: Counter,
}

impl Series {
    fn new(metrics: &Metrics, id: String, account: String) -> Self {
        let labels = [("webhook_id", id), ("account", account)];
        let counter = |result| {
            let result = with_result(&labels, result);
            metrics.webhook_attempts.get_or_create_owned(&result)
        };
        Self {
            succeeded: counter("succeeded"),
            failed: counter("failed"),
            labels,
        }
    }

    fn end(&self, metrics: &Metrics) {
        for result in ["succeeded", "failed"] {
            let result = with_result(&self.labels, result);
            metrics.webhook_attempts.remove(&result);
        }
        metrics.webhook_deliveries_pending.remove(&self.labels);
        metrics.webhook_oldest_due_seconds.remove(&self.labels);
        metrics.webhook_sends.remove(&self.labels);
    }
}

fn with_result([id, account]: &WebhookLabels, result: &str) -> WebhookResult {
    [id.clone(), account.clone(), ("result", result.to_owned())]
}

/// The webhooks that are named.
#[derive(Debug)]
pub(super) struct Named {
    max: usize,
    metrics: Metrics,
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    series: HashMap<WebhookId, Series>,
    other: Option<Series>,
    chosen: Option<SteadyMillis>,
}

impl Named {
    pub(super) fn new(max: usize, metrics: Metrics) -> Self {
        let other = (max > 0).then(|| Series::new(&metrics, OTHER.to_owned(), OTHER.to_owned()));
        let table = Table {
            other,
            ..Table::default()
        };
        Self {
            max,
            metrics,
            table: RwLock::new(table),
        }
    }

    /// Counts an attempt.
    pub(super) fn attempted(&self, webhook: WebhookId, succeeded: bool) {
        if self.max == 0 {
            return;
        }
        let table = self.table.read().expect("no holder of this lock panics");
        let Some(series) = table.series.get(&webhook).or(table.other.as_ref()) else {
            return;
        };
        match succeeded {
            true => series.succeeded.inc(),
            false => series.failed.inc(),
        };
    }

    /// Whether it is time to look who should be named.
    pub(super) fn wants_choice(&self, now: SteadyMillis) -> bool {
        let table = self.table.read().expect("no holder of this lock panics");
        let recently = |last: SteadyMillis| now.since(last) < CHOOSE_EVERY_MS;
        self.max > 0 && !table.chosen.is_some_and(recently)
    }

    /// Names those that should be, of all that there are.
    pub(super) fn choose(&self, all: &[(Arc<Live>, Weight)], now: SteadyMillis) {
        let weights: Vec<(WebhookId, Weight)> = all
            .iter()
            .map(|(live, weight)| (live.webhook.id, *weight))
            .collect();
        let ranked = ranking(&weights, 2 * self.max);
        let mut table = self.table.write().expect("no holder of this lock panics");
        table.chosen = Some(now);
        let near: HashSet<WebhookId> = ranked.iter().copied().collect();
        table.series.retain(|webhook, series| {
            let stays = near.contains(webhook);
            if !stays {
                series.end(&self.metrics);
            }
            stays
        });
        // Who is far up comes in, even if that costs the place of one that is only near.
        let top: HashSet<WebhookId> = ranked.iter().take(self.max).copied().collect();
        let accounts: HashMap<WebhookId, &Arc<Live>> = all
            .iter()
            .map(|(live, _)| (live.webhook.id, live))
            .collect();
        for webhook in ranked.iter().take(self.max) {
            if table.series.contains_key(webhook) {
                continue;
            }
            if table.series.len() >= self.max {
                let last = ranked.iter().rev();
                let mut last = last.filter(|id| !top.contains(id));
                let Some(gives_way) = last.find(|id| table.series.contains_key(id)) else {
                    break;
                };
                if let Some(series) = table.series.remove(gives_way) {
                    series.end(&self.metrics);
                }
            }
            if let Some(live) = accounts.get(webhook) {
                let account = live.webhook.account.to_string();
                let series = Series::new(&self.metrics, webhook.to_string(), account);
                table.series.insert(*webhook, series);
            }
        }
    }

    /// Sets the levels of those that are named, and of all others together.
    pub(super) fn set_levels(&self, all: &[Level]) {
        if self.max == 0 {
            return;
        }
        let table = self.table.read().expect("no holder of this lock panics");
        let (mut rest, mut rest_late) = (0, 0.0_f64);
        let mut seen = HashSet::new();
        for level in all {
            let Some(series) = table.series.get(&level.webhook) else {
                rest += level.pending;
                rest_late = rest_late.max(level.oldest_due_seconds);
                continue;
            };
            seen.insert(level.webhook);
            self.show(series, level.pending, level.oldest_due_seconds);
            let sends = self
                .metrics
                .webhook_sends
                .get_or_create_owned(&series.labels);
            sends.set(i64::from(level.sends));
        }
        if let Some(other) = &table.other {
            self.show(other, rest, rest_late);
        }
        // Removed since they were chosen.
        for (_, series) in table.series.iter().filter(|(id, _)| !seen.contains(id)) {
            self.show(series, 0, 0.0);
            self.metrics.webhook_sends.remove(&series.labels);
        }
    }

    fn show(&self, series: &Series, pending: usize, oldest_due_seconds: f64) {
        let count = i64::try_from(pending).unwrap_or(i64::MAX);
        let metrics = &self.metrics;
        let levels = &metrics.webhook_deliveries_pending;
        levels.get_or_create_owned(&series.labels).set(count);
        let late = &metrics.webhook_oldest_due_seconds;
        late.get_or_create_owned(&series.labels)
            .set(oldest_due_seconds);
    }
}

/// A webhook's levels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) webhook: WebhookId,
    pub(super) pending: usize,
    pub(super) oldest_due_seconds: f64,
    pub(super) sends: bool,
}

/// The first `count` by backlog, failures and traffic in turn. What has none of these comes last, the oldest first.
fn ranking(weights: &[(WebhookId, Weight)], count: usize) -> Vec<WebhookId> {
    let by = |key: fn(&Weight) -> u64| {
        let mut sorted: Vec<(u64, WebhookId)> = weights
            .iter()
            .map(|(id, weight)| (key(weight), *id))
            .collect();
        sorted.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        sorted
    };
    let lists = [
        by(|weight| weight.pending as u64),
        by(|weight| weight.failed),
        by(|weight| weight.attempts),
    ];
    let mut ranked = Vec::new();
    let mut seen = HashSet::new();
    // First who has something of a kind, then whoever there is.
    for least in [1, 0] {
        for place in 0..weights.len() {
            for list in &lists {
                let Some((_, id)) = list.get(place).filter(|(weight, _)| *weight >= least) else {
                    continue;
                };
                if ranked.len() < count && seen.insert(*id) {
                    ranked.push(*id);
                }
            }
            if ranked.len() >= count {
                return ranked;
            }
        }
    }
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(pending: usize, failed: u64, attempts: u64) -> Weight {
        Weight {
            pending,
            failed,
            attempts,
        }
    }

    #[test]
    fn each_kind_of_trouble_has_its_turn() {
        let weights = [
            (WebhookId(1), weight(0, 0, 0)),
            (WebhookId(2), weight(900, 0, 1)),
            (WebhookId(3), weight(800, 0, 1)),
            (WebhookId(4), weight(0, 50, 50)),
            (WebhookId(5), weight(0, 0, 7_000)),
        ];
        let ids = |count| -> Vec<u128> {
            let ranked = ranking(&weights, count);
            ranked.into_iter().map(|id| id.0).collect()
        };
        assert_eq!(ids(3), [2, 4, 5]);
        assert_eq!(ids(4), [2, 4, 5, 3]);
        assert_eq!(ids(9), [2, 4, 5, 3, 1], "all there are");
        assert_eq!(ids(0), [0_u128; 0]);
    }

    #[test]
    fn attempts_of_the_unnamed_are_counted_together_and_none_where_nobody_is_named() {
        let metrics = Metrics::new();
        let named = Named::new(2, metrics.clone());
        named.attempted(WebhookId(1), true);
        named.attempted(WebhookId(2), false);
        let text = metrics.render();
        for result in ["succeeded", "failed"] {
            let line = format!(
                "hookwheel_webhook_attempts_total{{webhook_id=\"other\",account=\"other\",result=\"{result}\"}} 1"
            );
            assert!(text.contains(&line), "{line}: {text}");
        }
        let metrics = Metrics::new();
        Named::new(0, metrics.clone()).attempted(WebhookId(1), true);
        assert!(!metrics.render().contains("webhook_id"));
    }
}
