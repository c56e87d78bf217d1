//! The command line: what can be asked for, and the small commands that need no daemon.

mod ask;
pub mod client;
pub mod declared;
pub mod inspect;
mod keys;
mod overview;
pub mod setup;
pub mod upkeep;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use serde_json::{Value, json};

pub use ask::{Access, ClientCommand, client as client_of, run_client, url_of};
pub use keys::{
    KeyCommand, SecretOptions, key_hash, new_key, new_master_key, new_secret, random_key, write_key,
};

use crate::config::{Config, ConfigError, ConfigErrors, Place};

/// Exit code for a command line or a config that is wrong (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;
/// Help is no wider, as terminals and mails are not.
const HELP_WIDTH: usize = 80;
/// Examples come first: they answer most questions.
const HELP_TEMPLATE: &str =
    "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

/// A webhook delivery daemon in one binary.
#[derive(Debug, Parser)]
#[command(name = "hookwheel", version, about, before_help = EXAMPLES, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  hookwheel demo               see it work, nothing to set up
  hookwheel init --local       a config and an API key, here
  hookwheel serve              run the daemon
  hookwheel listen --register  see what is sent, and whether it verifies
  hookwheel doctor             look whether all is well";

const AFTER_HELP: &str = "\
`hookwheel help COMMAND` tells of one command, with examples.

Environment: HOOKWHEEL_CONFIG names the config, so that --config can be left
out. HOOKWHEEL_SERVER__LISTEN and the like override keys of the config.

Exit codes: 0 done, or stopped by SIGTERM with nothing lost; 1 failed, and why
is told; 64 the command line or the config is wrong, and every error is listed.";

const SERVE_EXAMPLES: &str = "\
Examples:
  hookwheel serve --config /etc/hookwheel/config.toml
  HOOKWHEEL_LOG__LEVEL=debug hookwheel serve --config config.toml";

const SERVE_HELP: &str = "\
The log goes to standard error. SIGTERM and Ctrl-C stop gracefully: what is
under way gets delivery.stop_grace. SIGHUP reads the config again: accounts,
keys, certificates, profiles, formats and the log's level; a config with errors
changes nothing.

Exit codes: 0 stopped, with nothing lost; 1 failed, the log says why; 64 the
config is wrong, and every error is listed.";

const CHECK_EXAMPLES: &str = "\
Examples:
  hookwheel check --config config.toml
  hookwheel check --json | jq .errors";

const CHECK_HELP: &str = "\
The files that the config names (keys, certificates) are read, too. Nothing is
changed, and a daemon may run meanwhile.

Exit codes: 0 the config is good (there may be warnings); 64 it is not, and
every error is listed with its line and its fix.";

const DEMO_EXAMPLES: &str = "\
Examples:
  hookwheel demo               see it work, then try the API; Ctrl-C ends
  hookwheel demo --exit        end after the story, for scripts";

const DEMO_HELP: &str = "\
Nothing is needed, and nothing is left behind.

Exit codes: 0 done; 1 something failed, or with --exit, some delivery did not
arrive or verify.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a config and an API key, and say what to do next.
    Init(setup::InitOptions),
    /// Run the daemon.
    #[command(before_help = SERVE_EXAMPLES, after_help = SERVE_HELP)]
    Serve(ConfigPath),
    /// Report every error in a config, with line, column and fix.
    Check(CheckOptions),
    /// Show what a config's declared webhooks would change in the daemon.
    Plan(declared::PlanOptions),
    /// Have the daemon take over its config, and say what came of it.
    Apply(declared::ApplyOptions),
    /// Make API keys, the master key, and signing secrets.
    #[command(subcommand, before_help = keys::KEY_EXAMPLES)]
    Key(KeyCommand),
    /// See it work: daemon, receiver, a failure and its retry.
    Demo(DemoOptions),
    /// Receive webhooks on this machine, show and verify each request.
    Listen(inspect::ListenOptions),
    /// Check the signature of a request that was kept, without a network.
    Verify(inspect::VerifyOptions),
    /// Copy the data of a daemon, which may run meanwhile.
    Backup(upkeep::BackupOptions),
    /// Make the data directory from a backup.
    Restore(upkeep::RestoreOptions),
    /// Check the data of a stopped daemon, and put right what can be.
    Repair(upkeep::RepairOptions),
    /// Look at all that a daemon leans on, and say what to do.
    Doctor(upkeep::DoctorOptions),
    /// Print what a shell needs to complete commands and options.
    Completions(setup::CompletionsOptions),
    /// Print or install the manual pages.
    Man(setup::ManOptions),
    /// What is asked of a running daemon.
    #[command(flatten)]
    Client(ClientCommand),
}

impl Command {
    /// Whether what it prints is to be JSON, errors included.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        match self {
            Self::Init(options) => options.json,
            Self::Check(options) => options.json,
            Self::Key(KeyCommand::New { json, .. } | KeyCommand::Master { json, .. }) => *json,
            Self::Key(KeyCommand::Secret(options)) => options.json,
            Self::Plan(options) => options.json,
            Self::Apply(options) => options.json,
            Self::Listen(options) => options.json,
            Self::Verify(options) => options.json,
            Self::Backup(options) => options.json,
            Self::Restore(options) => options.json,
            Self::Repair(options) => options.json,
            Self::Doctor(options) => options.json,
            Self::Client(command) => command.is_json(),
            Self::Serve(_) | Self::Demo(_) | Self::Completions(_) | Self::Man(_) => false,
        }
    }
}

/// Where the config is.
#[derive(Debug, Args)]
pub struct ConfigPath {
    /// The config file.
    #[arg(
        long,
        short,
        value_name = "FILE",
        env = "HOOKWHEEL_CONFIG",
        default_value = "/etc/hookwheel/config.toml"
    )]
    pub config: PathBuf,
}

/// What is checked.
#[derive(Debug, Args)]
#[command(before_help = CHECK_EXAMPLES, after_help = CHECK_HELP)]
pub struct CheckOptions {
    /// The config.
    #[command(flatten)]
    pub config: ConfigPath,
    /// Print the report as JSON, errors included.
    #[arg(long)]
    pub json: bool,
}

/// How the demo runs.
#[derive(Debug, Args)]
#[command(before_help = DEMO_EXAMPLES, after_help = DEMO_HELP)]
pub struct DemoOptions {
    /// End after the story; exit code 0 only if every delivery arrived and
    /// verified.
    #[arg(long)]
    pub exit: bool,
}

/// The whole command line, as it is parsed, helped with, completed and described.
#[must_use]
pub fn command() -> clap::Command {
    let command = ask::explained(templated(Cli::command()));
    let template = overview::template(&command);
    command.help_template(template).max_term_width(HELP_WIDTH)
}

fn templated(command: clap::Command) -> clap::Command {
    // What a variable is set to is no part of the help, and has no place in a page that is made from it.
    let command = command
        .help_template(HELP_TEMPLATE)
        .mut_args(|arg| arg.hide_env_values(true));
    // As deep as the enums of commands nest: two levels.
    command.mut_subcommands(templated)
}

/// Reads this process's command line.
///
/// # Errors
/// What is wrong with it, or the help that was asked for.
pub fn parse() -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches()?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
}

/// `check`: reports on standard output what is wrong, or that nothing is.
#[must_use]
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is what the command is for"
)]
pub fn check(options: &CheckOptions) -> ExitCode {
    let path = &options.config.config;
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(errors) => return refuse_config(path, &errors, options.json),
    };
    let (accounts, webhooks) = (config.accounts.len(), config.webhooks.len());
    if options.json {
        let warnings: Vec<Value> = config.warnings.iter().map(fault).collect();
        let report = json!({
            "config": path, "good": true, "accounts": accounts, "webhooks": webhooks,
            "warnings": warnings, "errors": [],
        });
        println!("{report}");
        return ExitCode::SUCCESS;
    }
    for warning in &config.warnings {
        eprintln!("warning: {warning}\n");
    }
    let shown = path.display();
    println!("{shown}: the config is good: {accounts} account(s), {webhooks} declared webhook(s)");
    ExitCode::SUCCESS
}

/// Reports what is wrong with a config, on standard error, or as JSON on standard output; gives the exit code.
#[must_use]
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the report is for whoever started the command"
)]
pub fn refuse_config(path: &Path, errors: &ConfigErrors, json: bool) -> ExitCode {
    if json {
        let list: Vec<Value> = match errors {
            ConfigErrors::Unreadable { cause, fix, .. } => {
                let problem = format!("the config file cannot be read: {cause}");
                vec![json!({ "file": path, "problem": problem, "fix": fix })]
            }
            ConfigErrors::Invalid(faults) => faults.iter().map(fault).collect(),
        };
        let report = json!({ "config": path, "good": false, "errors": list });
        println!("{report}");
    } else {
        eprintln!("{errors}");
    }
    ExitCode::from(EXIT_USAGE)
}

/// A fault of a config for scripts. The line as written is left out: it is for eyes.
fn fault(fault: &ConfigError) -> Value {
    let (field, problem, fix) = (&fault.field, &fault.problem, &fault.fix);
    match &fault.place {
        Place::File { name, line, column } => json!({
            "file": name, "line": line, "column": column, "field": field, "problem": problem, "fix": fix,
        }),
        Place::Environment(name) => json!({
            "variable": name, "field": field, "problem": problem, "fix": fix,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(command: clap::Command) -> Vec<(String, clap::Command)> {
        let mut command = command.disable_help_subcommand(true);
        command.build();
        let mut found = Vec::new();
        let mut open = vec![command];
        while let Some(command) = open.pop() {
            open.extend(command.get_subcommands().cloned());
            let name = command.get_bin_name().unwrap_or("hookwheel").to_owned();
            found.push((name, command));
        }
        found
    }

    #[test]
    fn help_fits_a_narrow_terminal_and_begins_with_examples() {
        let commands = all(command());
        assert!(commands.len() > 12, "{}", commands.len());
        for (name, mut command) in commands {
            let help = command.render_long_help().to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= HELP_WIDTH, "{name}: {line}");
            }
            let place = |text: &str| {
                let found = help.find(text);
                found.unwrap_or_else(|| panic!("{name} --help has no {text:?}:\n{help}"))
            };
            assert!(place("Examples:\n") < place("Usage:"), "{name}");
            assert!(place("Usage:") < place("Options:"), "{name}");
            let example = help
                .lines()
                .find(|line| line.starts_with(&format!("  {name}")));
            assert!(
                example.is_some(),
                "{name} has no example of itself:\n{help}"
            );
        }
    }

    #[test]
    fn every_command_says_what_it_does_and_ends_with_and_every_option_what_it_is() {
        for (name, command) in all(command()) {
            assert!(command.get_about().is_some(), "{name}");
            let after = command.get_after_help().map(ToString::to_string);
            let tells = after.is_some_and(|after| after.contains("Exit codes: 0 "));
            assert!(
                tells || (command.has_subcommands() && name != "hookwheel"),
                "{name}"
            );
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string);
                assert!(
                    help.is_some_and(|help| help.len() > 5),
                    "{name} {}",
                    argument.get_id()
                );
            }
        }
    }
}
