//! Metrics of the daemon as a whole: what its config allows, and when one was taken over.

use std::time::Duration;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::model::Clock;
use crate::sender::not_after;

/// What the config allows, for alerts that compare with it. It holds until the next start.
pub(super) fn limits(metrics: &Metrics, config: &Config, connections_max: usize) {
    let level = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let storage = &config.storage;
    metrics
        .disk_reserve_bytes
        .set(level(storage.disk_reserve_bytes));
    metrics
        .journal_limit_bytes
        .set(level(storage.retention_bytes));
    let age = Duration::from_millis(storage.retention_age_ms);
    metrics.retention_age_seconds.set(age.as_secs_f64());
    let in_flight = config.delivery.in_flight_max;
    metrics.in_flight_limit.set(level(in_flight as u64));
    metrics
        .http_connections_limit
        .set(level(connections_max as u64));
}

/// A config is in force, from now on.
pub(super) fn taken_over(metrics: &Metrics, config: &Config, clock: &Clock) {
    metrics.config_reload_successful.set(1);
    let now = Duration::from_millis(clock.wall().0);
    metrics.config_reload_success_seconds.set(now.as_secs_f64());
    let certificate = config
        .identity
        .as_ref()
        .map(|identity| identity.certificate());
    let ends = certificate.and_then(|certificate| not_after(certificate));
    let ends = ends.map_or(Duration::ZERO, |ends| Duration::from_millis(ends.0));
    metrics
        .server_certificate_expiry_seconds
        .set(ends.as_secs_f64());
}
