//! The log's set-up: one line for each record on standard error, as text or as JSON.
//!
//! Where standard error is systemd's journal, each line begins with its priority, and text has no time: the journal has
//! its own. The filter can be changed while the daemon runs; the format cannot. Nothing here decides what is logged, and no
//! record carries bodies or secrets.

mod lines;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod spans;

use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use lines::Lines;

/// What the log shall look like.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Options {
    /// Which records are written.
    pub level: Filter,
    /// How they are written.
    pub format: Format,
}

/// Libraries whose records below a level bury all others: they write some for each request, for their own developers. Who
/// wants them names them.
const NOISY: [(&str, LevelFilter); 4] = [
    ("hickory", LevelFilter::WARN),
    ("hyper", LevelFilter::INFO),
    ("rustls", LevelFilter::INFO),
    ("tokio_util", LevelFilter::INFO),
];

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Which records are written: a level, and other levels for single modules.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Targets);

/// What went wrong with the log's set-up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Not a level.
    #[error("`{0}` is not a level")]
    Level(String),
    /// Not the path of a module.
    #[error("`{0}` is not the path of a module")]
    Target(String),
    /// The process has a log already.
    #[error("the log has been set up already")]
    Taken(#[from] tracing_subscriber::util::TryInitError),
    /// The log is gone.
    #[error("the log's filter cannot be changed: {0}")]
    Gone(#[from] reload::Error),
}

impl Default for Filter {
    fn default() -> Self {
        let targets = Targets::new().with_default(LevelFilter::INFO);
        Self(quietened(targets, &[]))
    }
}

impl Filter {
    /// How a filter is written, for messages.
    pub const FORM: &'static str = "write error, warn, info, debug, trace or off, and if need be levels of modules: \"info,hookwheel::sender=debug\"";

    /// Reads a filter: parts with commas between, each a level or `module::path=level`. What no part
    /// names is written from `info` on; what some libraries write for their developers only where a part names them.
    ///
    /// # Errors
    /// [`TelemetryError::Level`] and [`TelemetryError::Target`] name the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, TelemetryError> {
        let mut targets = Targets::new().with_default(LevelFilter::INFO);
        let mut named: Vec<&str> = Vec::new();
        for part in text.split(',').map(str::trim) {
            targets = match part.split_once('=') {
                None => targets.with_default(level(part)?),
                Some((target, name)) => {
                    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
                    if target.is_empty() || !target.chars().all(allowed) {
                        return Err(TelemetryError::Target(target.to_owned()));
                    }
                    named.push(target);
                    targets.with_target(target, level(name)?)
                }
            };
        }
        Ok(Self(quietened(targets, &named)))
    }
}

/// Keeps what is noisy at its own level, or at the level of all others where that is higher, unless it is named. A part of
/// such a library may be named, too: the longer path counts.
fn quietened(targets: Targets, named: &[&str]) -> Targets {
    let all = targets.default_level().unwrap_or(LevelFilter::OFF);
    let noisy = NOISY.iter().filter(|(name, _)| !named.contains(name));
    noisy.fold(targets, |targets, (name, most)| {
        targets.with_target(*name, all.min(*most))
    })
}

/// `LevelFilter` itself would also take digits and the empty text.
fn level(text: &str) -> Result<LevelFilter, TelemetryError> {
    match text {
        "off" | "error" | "warn" | "info" | "debug" | "trace" => LevelFilter::from_str(text).ok(),
        _ => None,
    }
    .ok_or_else(|| TelemetryError::Level(text.to_owned()))
}

/// The log that was set up.
#[derive(Clone, Debug)]
pub struct Log(reload::Handle<Targets, Registry>);

impl Log {
    /// Puts another filter in the place of the present one.
    ///
    /// # Errors
    /// [`TelemetryError::Gone`], which a process that is not ending does not meet.
    pub fn change(&self, filter: &Filter) -> Result<(), TelemetryError> {
        Ok(self.0.reload(filter.0.clone())?)
    }
}

/// Sets up the log of this process.
///
/// # Errors
/// [`TelemetryError::Taken`] where it was set up before.
pub fn init(options: &Options) -> Result<Log, TelemetryError> {
    let (filter, handle) = reload::Layer::new(options.level.0.clone());
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let writer = Lines {
        is_journal: lines::is_journal(stream.as_deref()),
    };
    let text = || fmt::layer().with_writer(writer);
    let lines = match options.format {
        Format::Text if writer.is_journal => text().with_ansi(false).without_time().boxed(),
        Format::Text => text().with_ansi(io::stderr().is_terminal()).boxed(),
        Format::Json => text().json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()?;
    Ok(Log(handle))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tracing::Level;

    use super::*;

    #[test]
    fn a_filter_is_a_level_and_exceptions() {
        let filter = Filter::parse("warn, hookwheel::sender=debug").unwrap().0;
        assert!(filter.would_enable("sled", &Level::WARN));
        assert!(!filter.would_enable("hookwheel::engine", &Level::INFO));
        assert!(filter.would_enable("hookwheel::sender", &Level::DEBUG));
        let only_exception = Filter::parse("sled=off").unwrap().0;
        assert!(!only_exception.would_enable("sled", &Level::ERROR));
        assert!(only_exception.would_enable("hookwheel", &Level::INFO));
    }

    #[test]
    fn libraries_are_quiet_unless_they_are_named() {
        let debug = Filter::parse("debug").unwrap().0;
        for (target, level, enabled) in [
            ("hookwheel::sender", Level::DEBUG, true),
            ("hickory_proto::udp", Level::INFO, false),
            ("hickory_resolver", Level::WARN, true),
            ("hickory_net", Level::DEBUG, false),
            ("hyper::proto", Level::DEBUG, false),
            ("hyper_util::client", Level::INFO, true),
            ("rustls::client", Level::DEBUG, false),
            ("tokio_rustls", Level::DEBUG, true),
        ] {
            assert_eq!(debug.would_enable(target, &level), enabled, "{target}");
        }
        let named = Filter::parse("hickory_proto=trace,rustls=debug,debug").unwrap();
        assert!(named.0.would_enable("hickory_proto::udp", &Level::TRACE));
        assert!(!named.0.would_enable("hickory_resolver", &Level::DEBUG));
        assert!(named.0.would_enable("rustls::client", &Level::DEBUG));
        let quiet = Filter::parse("error").unwrap().0;
        assert!(!quiet.would_enable("hickory_proto", &Level::WARN));
        let off = Filter::parse("off").unwrap().0;
        assert!(!off.would_enable("rustls", &Level::ERROR));
        assert!(
            !Filter::default()
                .0
                .would_enable("hickory_proto", &Level::INFO)
        );
    }

    #[test]
    fn a_misspelt_level_is_refused_and_not_taken_for_a_module() {
        for text in [
            "inof",
            "",
            "INFO",
            "3",
            "info,",
            "sled=verbose",
            "=info",
            "a b=info",
        ] {
            assert!(Filter::parse(text).is_err(), "{text:?} was taken");
        }
    }

    /// Runs only inside the process that the next test starts: a log is set up once for a process.
    #[test]
    #[ignore = "a part of writes_json_lines_and_heeds_a_changed_filter"]
    fn as_a_process_of_its_own() {
        let options = Options {
            level: Filter::default(),
            format: Format::Json,
        };
        let log = init(&options).unwrap();
        tracing::info!(webhook_id = "wh_1", "first");
        tracing::debug!("not written");
        log.change(&Filter::parse("debug").unwrap()).unwrap();
        tracing::debug!("second");
        assert!(matches!(init(&options), Err(TelemetryError::Taken(_))));
    }

    #[test]
    fn writes_json_lines_and_heeds_a_changed_filter() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "telemetry::tests::as_a_process_of_its_own"])
            .args(["--ignored", "--nocapture"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let records: Vec<serde_json::Value> = String::from_utf8(output.stderr)
            .unwrap()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let messages: Vec<_> = records.iter().map(|record| &record["message"]).collect();
        assert_eq!(messages, ["first", "second"]);
        assert_eq!(records[0]["webhook_id"], "wh_1");
        assert_eq!(records[0]["level"], "INFO");
    }
}
