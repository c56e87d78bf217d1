//! The metrics' text, and the page that lists them.

use std::path::Path;

use super::*;

#[test]
fn counts_show_in_the_text() {
    let metrics = Metrics::new();
    metrics.events_accepted.inc();
    metrics.attempts.get_or_create(&[("outcome", "2xx")]).inc();
    let text = metrics.render();
    for line in [
        "hookwheel_events_accepted_total 1",
        "hookwheel_attempts_total{outcome=\"2xx\"} 1",
        concat!(
            "hookwheel_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        ),
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn the_process_tells_of_itself() {
    let text = Metrics::new().render();
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}"))
            .trim()
            .parse()
            .unwrap()
    };
    assert!(value("process_resident_memory_bytes ") > 1e6);
    assert!(value("process_open_fds ") >= 3.0);
    assert!(value("process_open_fds ") <= value("process_max_fds "));
    // In this century, and not in the future by much.
    let start = value("process_start_time_seconds ");
    assert!((1.0e9..1.0e10).contains(&start), "{start}");
    assert!(value("process_cpu_seconds_total ") >= 0.0);
}

/// With `HOOKWHEEL_WRITE_DOCS=1` the page is written; then look at what changed.
#[test]
fn the_reference_lists_every_metric() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let reference = Metrics::new().reference();
    if std::env::var("HOOKWHEEL_WRITE_DOCS").as_deref() == Ok("1") {
        std::fs::write(&path, &reference).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    assert_eq!(page, reference, "docs/metrics.md is not what the code says");
}

#[test]
fn every_series_belongs_to_a_metric_of_the_reference() {
    let metrics = Metrics::new();
    let names: Vec<&str> = metrics.names().collect();
    for line in metrics
        .render()
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let name = line.split(['{', ' ']).next().unwrap();
        let suffixes = ["", "_bucket", "_sum", "_count"];
        let known = suffixes.iter().any(|suffix| {
            let stem = name.strip_suffix(suffix);
            stem.is_some_and(|stem| names.contains(&stem))
        });
        assert!(known, "{name}");
    }
}
