//! What Prometheus expects any process to tell of itself, read from `/proc` when somebody asks.
//!
//! What cannot be read is left out; nothing here fails.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Name without the unit, unit, type and meaning of each, in the order of [`Figures`].
pub(super) const METRICS: [(&str, Option<Unit>, MetricType, &str); 6] = [
    (
        "cpu",
        Some(Unit::Seconds),
        MetricType::Counter,
        "Processor time used, by the system on its behalf included",
    ),
    (
        "resident_memory",
        Some(Unit::Bytes),
        MetricType::Gauge,
        "Memory that is in use and not swapped out",
    ),
    (
        "virtual_memory",
        Some(Unit::Bytes),
        MetricType::Gauge,
        "Address space that is taken; far more than memory",
    ),
    (
        "open_fds",
        None,
        MetricType::Gauge,
        "Files and sockets that are open",
    ),
    (
        "max_fds",
        None,
        MetricType::Gauge,
        "Files and sockets that may be open (LimitNOFILE)",
    ),
    (
        "start_time",
        Some(Unit::Seconds),
        MetricType::Gauge,
        "When it was started, seconds since 1970",
    ),
];

/// Linux shows times to processes in hundredths of a second (USER_HZ) on all machines in use.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads the figures of this process on each scrape.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for ((name, unit, kind, help), value) in METRICS.into_iter().zip(figures()) {
            let Some(value) = value else {
                continue;
            };
            let name = format!("process_{name}");
            let metric = encoder.encode_descriptor(&name, help, unit.as_ref(), kind)?;
            match kind {
                MetricType::Counter => ConstCounter::new(value).encode(metric)?,
                _ => ConstGauge::new(value).encode(metric)?,
            }
        }
        Ok(())
    }
}

/// The values, in the order of [`METRICS`].
fn figures() -> [Option<f64>; 6] {
    let stat = fs::read_to_string("/proc/self/stat").ok();
    // The name in brackets may have spaces; behind it stands the third field of proc(5).
    let fields = stat.as_deref().and_then(|stat| stat.rsplit_once(')'));
    let field = |number: usize| -> Option<f64> {
        let text = fields?.1.split_whitespace().nth(number.checked_sub(3)?)?;
        text.parse().ok()
    };
    let page = page_bytes();
    [
        field(14)
            .zip(field(15))
            .map(|(own, system)| (own + system) / TICKS_PER_SECOND),
        field(24).map(|pages| pages * page),
        field(23),
        open_files(),
        files_max(),
        booted_at()
            .zip(field(22))
            .map(|(boot, ticks)| boot + ticks / TICKS_PER_SECOND),
    ]
}

fn page_bytes() -> f64 {
    u32::try_from(rustix::param::page_size()).map_or(4096.0, f64::from)
}

fn open_files() -> Option<f64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory that is being read.
    u32::try_from(count.saturating_sub(1)).ok().map(f64::from)
}

fn files_max() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn booted_at() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}
