//! The binary: reads the command line and hands over.

use std::process::ExitCode;
use std::time::Duration;

use hookwheel::cli::{self, Command, ConfigPath, KeyCommand, setup};
use hookwheel::config::Config;
use hookwheel::{daemon, demo, inspect, store, systemd, telemetry, upkeep};

/// Events and attempts live for milliseconds and are freed by other threads than those that made them, which wait
/// for each other in the C library's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What is still running on blocking threads at the end gets this long.
const LEFTOVERS_MAX: Duration = Duration::from_millis(500);

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the last word of a process that fails"
)]
fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) => return refuse_line(&error),
    };
    let json = cli.command.is_json();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            let error = told(&error);
            if json {
                println!(
                    "{}",
                    serde_json::json!({ "error": { "code": "failed", "detail": error } })
                );
            } else {
                eprintln!("hookwheel: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Help that was asked for, or what is wrong with the command line: as JSON where that was asked for, too.
#[expect(clippy::print_stdout, reason = "programs read what is wrong there")]
fn refuse_line(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        let detail = text.split("\n\nUsage:").next().unwrap_or_default();
        let detail = detail.trim_start_matches("error: ").trim();
        println!(
            "{}",
            serde_json::json!({ "error": { "code": "usage", "detail": detail } })
        );
    }
    match error.print() {
        Ok(()) => ExitCode::from(cli::EXIT_USAGE),
        Err(_) => ExitCode::FAILURE,
    }
}

/// An error and its causes. Most of our errors tell their cause themselves, before the remedy: what was said
/// is not said again.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    // The data holds the webhooks' secrets and the events: what is written is for its owner only.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    match command {
        Command::Serve(ConfigPath { config: path }) => {
            let config = match Config::load(&path) {
                Ok(config) => config,
                Err(errors) => return Ok(cli::refuse_config(&path, &errors, false)),
            };
            // Before any other thread is there: it takes variables out of the environment.
            let passed = match systemd::listener(config.server.listen) {
                Ok(passed) => passed,
                Err(error) => return Ok(refuse_socket(&error)),
            };
            let log = telemetry::init(&config.log)?;
            // Before any other thread is there: a filter holds for the threads that come after it.
            if let Err(error) = store::durable_sled() {
                tracing::warn!(%error, "the store syncs sled's files itself");
            }
            block_on(daemon::serve::serve(config, &path, &log, passed))
        }
        Command::Init(options) => upkeep::init(&options),
        Command::Check(options) => Ok(cli::check(&options)),
        Command::Key(KeyCommand::New { name, out, json }) => {
            cli::new_key(&name, out.as_deref(), json)
        }
        Command::Key(KeyCommand::Master { out, json }) => cli::new_master_key(out.as_deref(), json),
        Command::Key(KeyCommand::Secret(options)) => cli::new_secret(&options),
        Command::Plan(options) => block_on(cli::declared::plan(options)),
        Command::Apply(options) => block_on(cli::declared::apply(options)),
        Command::Demo(options) => {
            filter_for_commands();
            block_on(demo::run(&options))
        }
        Command::Listen(options) => block_on(inspect::listen(options)),
        Command::Verify(options) => Ok(inspect::verify(&options)),
        Command::Backup(options) => upkeep::backup(&options),
        Command::Restore(options) => {
            filter_for_commands();
            upkeep::restore(&options)
        }
        Command::Repair(options) => {
            filter_for_commands();
            upkeep::repair(&options)
        }
        Command::Doctor(options) => {
            filter_for_commands();
            block_on(upkeep::doctor(options))
        }
        Command::Completions(options) => setup::completions(options.shell, cli::command()),
        Command::Man(options) => setup::man(&options, cli::command()),
        Command::Client(command) => block_on(cli::run_client(command)),
    }
}

/// Takes sync_file_range away before any other thread is there. Without the filter the store does the same by
/// other means, and these commands have no log to say so.
fn filter_for_commands() {
    if store::durable_sled().is_err() {
        tracing::debug!("no seccomp filter");
    }
}

/// As with the config: starting again would find the same socket.
#[expect(clippy::print_stderr, reason = "there is no log yet")]
fn refuse_socket(error: &systemd::PassedError) -> ExitCode {
    eprintln!("hookwheel: {error}");
    ExitCode::from(cli::EXIT_USAGE)
}

/// Runs `work` to its end on a runtime of its own.
fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("hookwheel")
        .build()?;
    let done = runtime.block_on(work);
    // By now everything is on disk. A name that the system still looks up must not hold up the end.
    runtime.shutdown_timeout(LEFTOVERS_MAX);
    done
}
