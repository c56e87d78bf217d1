//! The sections with fixed keys, `[server]` to `[log]`: each becomes the `Options` of the module that owns it.
//!
//! The one place where defaults and bounds are written. `config.example.toml` repeats the defaults,
//! and a test holds the two together.

use std::path::Path;
use std::time::Duration;

use crate::api::Identity;
use crate::{engine, sender, store, telemetry};

use super::ServerOptions;
use super::egress::{self, WrittenTls};
use super::files::resolve;
use super::identity;
use super::reader::{Bounds, Placed, Reader};
use super::values::Refusal;

/// A segment is sealed after a day, so that retention by age is at most a day late.
const SEGMENT_AGE_MAX_MS: u64 = 24 * 3600 * 1000;
/// Some hundredths of a second of work for the committer: enough that a sync's group is never short
/// of company, little enough that a client hears 503 before it gives up waiting.
const COMMIT_QUEUE_MAX: usize = 4096;

/// All that the fixed sections say.
#[derive(Debug)]
pub(super) struct Sections {
    pub(super) server: ServerOptions,
    pub(super) identity: Option<Identity>,
    pub(super) storage: store::Options,
    pub(super) delivery: engine::Options,
    pub(super) sender: sender::Options,
    /// Whose accounts are still to be checked.
    pub(super) tls: Vec<WrittenTls>,
    pub(super) log: telemetry::Options,
}

/// Reads the fixed sections; relative paths are taken from `base`.
pub(super) fn read(root: &mut Reader<'_, '_>, base: &Path) -> Sections {
    let (server, body_limit, identity) = server(root.section("server"), base);
    let storage = storage(root.section("storage"), base, &body_limit);
    let (delivery, connections) = delivery(root.section("delivery"));
    let egress = egress::read(root.section("egress"), base);
    let log = log(root.section("log"));
    let sender = sender::Options {
        policy: egress.policy,
        extra_ca: egress.extra_ca,
        resolver: egress.resolver,
        proxy: egress.proxy,
        response_body_max: connections.response_body_max,
        idle_per_host_max: connections.idle_per_host_max,
        idle_timeout: connections.idle_timeout,
    };
    Sections {
        server,
        identity,
        storage,
        delivery,
        sender,
        tls: egress.tls,
        log,
    }
}

fn server(
    mut reader: Reader<'_, '_>,
    base: &Path,
) -> (ServerOptions, Placed<u64>, Option<Identity>) {
    let listen = reader.parsed("listen", "127.0.0.1:8420", |text| {
        text.parse().map_err(|_| {
            Refusal::new(
                format!("`{text}` is not an address with a port"),
                "write both, as numbers: \"127.0.0.1:8420\", or \"[::1]:8420\"",
            )
        })
    });
    let body_limit = reader.size(
        "body_limit",
        Bounds {
            default: "256KiB",
            least: "1KiB",
            most: "4MiB",
        },
    );
    // Two hundred and fifty-six of the largest bodies by default, and at least one where they are 4 MiB.
    let body_memory = reader.size(
        "body_memory",
        Bounds {
            default: "64MiB",
            least: "4MiB",
            most: "64GiB",
        },
    );
    // The largest page of a list has some 8 MiB, of which one account can have one or more at any value.
    let answer_memory = reader.size(
        "answer_memory",
        Bounds {
            default: "64MiB",
            least: "32MiB",
            most: "64GiB",
        },
    );
    // Each takes a file descriptor, of which the unit file grants 65,536.
    let connections_max = reader.count("connections_max", 1024, 1..=32_768).value;
    let bounds = |default, least, most| Bounds {
        default,
        least,
        most,
    };
    let header_timeout = reader.duration("header_timeout", bounds("10s", "1s", "5m"));
    let body_timeout = reader.duration("body_timeout", bounds("30s", "1s", "10m"));
    // Far below any link in use, and with it one who sends a byte now and then is cut off after the grace.
    let body_rate_min = reader.size("body_rate_min", bounds("256B", "0B", "1MiB"));
    // As far below any link in use; the largest page may take half an hour.
    let answer_rate_min = reader.size("answer_rate_min", bounds("4KiB", "0B", "1MiB"));
    let dashboard = reader.flag("dashboard", true);
    let identity = identity::read(reader.section("tls"), base);
    reader.finish();
    let options = ServerOptions {
        listen,
        body_bytes_max: bytes(body_limit.value),
        body_memory: bytes(body_memory.value),
        answer_memory: bytes(answer_memory.value),
        connections_max,
        header_timeout: header_timeout.value,
        body_timeout: body_timeout.value,
        body_rate_min: body_rate_min.value,
        answer_rate_min: answer_rate_min.value,
        dashboard,
    };
    (options, body_limit, identity)
}

fn storage(mut reader: Reader<'_, '_>, base: &Path, body_limit: &Placed<u64>) -> store::Options {
    let path = reader.parsed("path", "/var/lib/hookwheel", |text| resolve(base, text));
    let bounds = |default, least, most| Bounds {
        default,
        least,
        most,
    };
    let retention_age = reader.duration("retention_age", bounds("30d", "1h", "3650d"));
    let retention_size = reader.size("retention_size", bounds("20GiB", "8MiB", "64TiB"));
    let disk_reserve = reader.size("disk_reserve", bounds("256MiB", "16MiB", "1TiB"));
    // A position in a segment has 32 bits; 1 GiB leaves room for the group that crosses the mark.
    let segment_size = reader.size("segment_size", bounds("64MiB", "1MiB", "1GiB"));
    let cache = reader.size("cache", bounds("8MiB", "1MiB", "64GiB"));
    if segment_size.value.saturating_mul(2) > retention_size.value {
        reader.refuse(
            &retention_size,
            "is less than two segments, and history is deleted by whole segments",
            "raise retention_size to twice segment_size or more, or lower segment_size",
        );
    }
    if body_limit.value.saturating_mul(4) > segment_size.value {
        reader.refuse(
            &segment_size,
            "is less than four events of the largest size",
            "raise segment_size to four times server.body_limit or more",
        );
    }
    reader.finish();
    store::Options {
        path,
        segment_bytes_max: segment_size.value,
        segment_age_max_ms: SEGMENT_AGE_MAX_MS,
        cache_bytes: cache.value,
        commit_queue_max: COMMIT_QUEUE_MAX,
        retention_age_ms: u64::try_from(retention_age.value.as_millis())
            .expect("the bound of ten years is below 2^64 milliseconds"),
        retention_bytes: retention_size.value,
        disk_reserve_bytes: disk_reserve.value,
    }
}

/// What `[delivery]` says to the sender.
struct Connections {
    response_body_max: usize,
    idle_per_host_max: usize,
    idle_timeout: Duration,
}

fn delivery(mut reader: Reader<'_, '_>) -> (engine::Options, Connections) {
    // Each takes a connection and with it a file descriptor, of which the unit file grants 65,536.
    let in_flight_max = reader.count("in_flight_max", 1024, 1..=16_384);
    let per_webhook = reader.count("in_flight_per_webhook_max", 64, 1..=1024);
    if per_webhook.value > in_flight_max.value {
        // The place to mend is the one that the operator wrote.
        let concerned = if per_webhook.at == *reader.place() {
            &in_flight_max
        } else {
            &per_webhook
        };
        reader.refuse(
            concerned,
            format!(
                "one webhook may have {} attempts under way, but all together only {}",
                per_webhook.value, in_flight_max.value
            ),
            "set in_flight_per_webhook_max to in_flight_max or less",
        );
    }
    // Kept in the journal with each attempt: a receiver must not fill the disk.
    let response_body_max = reader.size(
        "response_body_max",
        Bounds {
            default: "16KiB",
            least: "0B",
            most: "1MiB",
        },
    );
    let stop_grace = reader.duration(
        "stop_grace",
        Bounds {
            default: "20s",
            least: "0s",
            most: "10m",
        },
    );
    let idle_per_host_max = reader.count("idle_connections_per_host", 512, 0..=1024);
    // Shorter than the 60 s after which load balancers hang up, so that few requests meet a closed door.
    let idle_timeout = reader.duration(
        "idle_timeout",
        Bounds {
            default: "30s",
            least: "1s",
            most: "10m",
        },
    );
    // More than one webhook's attempts can be begun in a second is no bound.
    let resume_per_second = reader.count("resume_per_second", 100, 0..=100_000);
    let forward_trace = reader.flag("forward_trace", false);
    reader.finish();
    let engine = engine::Options {
        in_flight_max: in_flight_max.value,
        in_flight_per_webhook_max: per_webhook.value,
        stop_grace: stop_grace.value,
        resume_per_second: u32::try_from(resume_per_second.value).expect("the bound is below 2^32"),
        forward_trace,
        // `[metrics]` says how many.
        webhooks_named_max: 0,
    };
    let connections = Connections {
        response_body_max: bytes(response_body_max.value),
        idle_per_host_max: idle_per_host_max.value,
        idle_timeout: idle_timeout.value,
    };
    (engine, connections)
}

fn log(mut reader: Reader<'_, '_>) -> telemetry::Options {
    let level = reader.parsed("level", "info", |text| {
        telemetry::Filter::parse(text)
            .map_err(|cause| Refusal::new(cause.to_string(), telemetry::Filter::FORM))
    });
    let format = reader.choice(
        "format",
        ("text", telemetry::Format::Text),
        &[("json", telemetry::Format::Json)],
    );
    reader.finish();
    telemetry::Options { level, format }
}

fn bytes(size: u64) -> usize {
    usize::try_from(size).expect("sizes in memory are bounded by 64 GiB, on a machine of 64 bits")
}
