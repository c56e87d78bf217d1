//! What the whole costs, end to end: `cargo bench --bench pipeline`.
//!
//! The real daemon as a process of its own with its durable defaults, a driver with keep-alive connections that
//! posts 1 KiB events, and a local HTTPS receiver that answers 200 and counts. In the same run the limits of the
//! machine under the same driver and the same receiver: a bare hyper server that only answers 202, a bare
//! hyper and rustls client loop, and a bare append with fdatasync. Prints a table with the ratios, then JSON.
//!
//! `HOOKWHEEL_BENCH_ONLY=full,drain` runs some of the parts; `HOOKWHEEL_BENCH_SECONDS` (6) is how long a part
//! posts; `HOOKWHEEL_BENCH_WAITING` (1000000) how many deliveries the large backlog has. The data goes to
//! `HOOKWHEEL_BENCH_DIR`, or to the target directory: a RAM disk would measure nothing.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub,
    reason = "a bench ends at the first surprise, prints its table, and reads the real clock"
)]

mod daemon;
mod dead;
mod driver;
mod limits;
mod receiver;
mod report;
mod scale;
mod workloads;

use std::path::PathBuf;
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let rest = arguments.get(2..).unwrap_or_default();
    match arguments.get(1).map(String::as_str) {
        // cargo test runs benches too, with this argument; there is nothing to test here.
        Some("--test") => {}
        Some("--bare-server") => runtime().block_on(limits::serve()),
        Some("--bare-client") => runtime().block_on(limits::client_loop(rest)),
        _ => runtime().block_on(workloads::all()),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Where the data goes.
fn base() -> PathBuf {
    std::env::var_os("HOOKWHEEL_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// How long a part posts.
fn seconds() -> Duration {
    Duration::from_secs(number("HOOKWHEEL_BENCH_SECONDS", 6))
}

/// Whether this part is asked for.
fn wanted(part: &str) -> bool {
    std::env::var("HOOKWHEEL_BENCH_ONLY")
        .map_or(true, |only| only.split(',').any(|name| name == part))
}
