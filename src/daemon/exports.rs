//! The task that gives spans to a collector, in builds that have one.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::telemetry::spans::{ExportOptions, Spans};

use super::DaemonError;

/// The task, if there is one.
#[derive(Debug, Default)]
pub(super) struct Exports {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Exports {
    /// Lets it send what it has, which it does in bounded time.
    pub(super) async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Starts it where the config has an endpoint.
#[cfg(feature = "otlp")]
pub(super) fn start(
    options: Option<ExportOptions>,
    metrics: &Metrics,
) -> Result<(Exports, Spans), DaemonError> {
    use crate::telemetry::otlp::Exporter;

    let exports = Exports::default();
    let Some(options) = options else {
        return Ok((exports, Spans::default()));
    };
    let counter = |result| metrics.spans.get_or_create_owned(&[("result", result)]);
    let counters = (counter("exported"), counter("dropped"));
    let made = Exporter::new(options, counters);
    let (exporter, spans) = made.map_err(|error| DaemonError::Export(error.to_string()))?;
    exports.tasks.spawn(exporter.run(exports.stop.clone()));
    Ok((exports, spans))
}

/// This build has none; the config has refused an endpoint.
#[cfg(not(feature = "otlp"))]
#[expect(clippy::unnecessary_wraps, reason = "with the feature it can fail")]
pub(super) fn start(
    _options: Option<ExportOptions>,
    _metrics: &Metrics,
) -> Result<(Exports, Spans), DaemonError> {
    Ok((Exports::default(), Spans::default()))
}
