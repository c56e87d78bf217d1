//! `plan` and `apply`: what the webhooks that a config declares would change in the running daemon, and having it take
//! the config over.
//!
//! `plan` asks the API with one account's key and looks at that account. `apply` checks the config, shows the plan,
//! asks, and sends the daemon of the config's data directory SIGHUP; what came of that the daemon leaves there. Nothing
//! here writes to the daemon's data.

mod compare;
mod reload;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::config::Config;

use super::ask::conclude;
use super::ask::fault::{Done, Fault};
use super::ask::reach::{Access, Need, reach};
use super::ask::screen::Screen;
use super::ask::session::Session;
use super::{ConfigPath, refuse_config};
use compare::Plan;

/// Exit code of a plan by which something would change.
pub const EXIT_CHANGES: u8 = 2;
/// Rows that are asked for at once, as many as the API gives.
const PAGE_ROWS: usize = 200;
/// Pages of one list: more than an account may have webhooks.
const PAGES_MAX: usize = 100;

const PLAN_EXAMPLES: &str = "\
Examples:
  hookwheel plan --config config.toml
  hookwheel plan --json | jq '.webhooks[] | select(.action != \"unchanged\")'";

const PLAN_HELP: &str = "\
It looks at the account of the key. Nothing is changed.

Exit codes: 0 nothing would change; 2 something would; 1 failed; 64 the command
line or the config is wrong.";

const APPLY_EXAMPLES: &str = "\
Examples:
  hookwheel apply --config config.toml         show the plan, ask, do it
  hookwheel apply --yes --json                 for scripts";

const APPLY_HELP: &str = "\
Runs on the daemon's machine, as its user or as root. Without an API key it
shows no plan.

Exit codes: 0 the config is in force; 1 failed, or refused by the daemon; 64 the
command line or the config is wrong, or nobody could be asked.";

/// How `plan` runs.
#[derive(Debug, Args)]
#[command(before_help = PLAN_EXAMPLES, after_help = PLAN_HELP)]
pub struct PlanOptions {
    #[command(flatten)]
    config: ConfigPath,
    /// Print the plan as JSON, errors included.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    access: Access,
}

/// How `apply` runs.
#[derive(Debug, Args)]
#[command(before_help = APPLY_EXAMPLES, after_help = APPLY_HELP)]
pub struct ApplyOptions {
    #[command(flatten)]
    config: ConfigPath,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Print what came of it as JSON, errors included.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    access: Access,
}

/// `plan`: shows what the config would change.
///
/// # Errors
/// Where standard output cannot be written.
pub async fn plan(options: PlanOptions) -> anyhow::Result<ExitCode> {
    let config = match checked(&options.config, options.json) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let screen = Screen::find(options.json);
    let plan = match planned(&options.config, &options.access, &config, &screen).await {
        Ok(plan) => plan,
        Err(fault) => return Ok(conclude(&screen, Err(fault))),
    };
    print(&match options.json {
        true => format!("{:#}\n", plan.to_json()),
        false => plan.to_text(),
    })?;
    Ok(match plan.changes() {
        true => ExitCode::from(EXIT_CHANGES),
        false => ExitCode::SUCCESS,
    })
}

/// `apply`: has the running daemon take the config over.
///
/// # Errors
/// Where there is no daemon, it cannot be signalled, or does not say what came of it.
pub async fn apply(options: ApplyOptions) -> anyhow::Result<ExitCode> {
    let config = match checked(&options.config, options.json) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let daemon = reload::Daemon::of(&config.storage.path)?;
    let screen = Screen::find(options.json);
    if options.access.has_key() {
        match planned(&options.config, &options.access, &config, &screen).await {
            Ok(plan) => tell(&plan.to_text())?,
            Err(fault) => return Ok(conclude(&screen, Err(fault))),
        }
    } else {
        tell("no plan is shown without an API key (--key-file FILE, or HOOKWHEEL_API_KEY_FILE)\n")?;
    }
    let question = format!("Have the daemon {} take it over?", daemon.pid());
    if let Err(fault) = screen.confirm(&question, options.yes) {
        return Ok(conclude(&screen, Err(fault)));
    }
    let came = daemon.reload().await?;
    let good = came.is_good(&config.revision);
    if options.json {
        print(&format!("{:#}\n", came.to_json(&config.revision)))?;
    } else if good {
        print(&came.to_text(&options.config.config, &config.revision))?;
    } else {
        tell(&came.to_text(&options.config.config, &config.revision))?;
    }
    Ok(match good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The config; what is wrong with it is told.
#[expect(
    clippy::print_stderr,
    reason = "the report on a config is for whoever started the command"
)]
fn checked(path: &ConfigPath, json: bool) -> Result<Config, ExitCode> {
    match Config::load(&path.config) {
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("warning: {warning}\n");
            }
            Ok(config)
        }
        Err(errors) => Err(refuse_config(&path.config, &errors, json)),
    }
}

/// The plan, for the account of the key.
async fn planned(
    path: &ConfigPath,
    access: &Access,
    config: &Config,
    screen: &Screen,
) -> Done<Plan> {
    let reached = reach(access, Some(&path.config), Need::Key)?;
    let session = &mut Session::new(reached, screen);
    let (head, declared) = list(session, "/api/v1/declared").await?;
    let (_, webhooks) = list(session, "/api/v1/webhooks").await?;
    let plan = Plan::make(config, &head, &declared, &webhooks);
    plan.map_err(|error| Fault::new("plan_impossible", format!("{error:#}")))
}

/// All rows of a list, and the last page without them.
async fn list(session: &mut Session<'_>, path: &str) -> Done<(Value, Vec<Value>)> {
    let (mut rows, mut query) = (Vec::new(), format!("?limit={PAGE_ROWS}"));
    for _ in 0..PAGES_MAX {
        let mut page = session.get(&format!("{path}{query}")).await?.body;
        if let Some(Value::Array(more)) = page.get_mut("data").map(Value::take) {
            rows.extend(more);
        }
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(cursor) => query = format!("?limit={PAGE_ROWS}&cursor={cursor}"),
            None => return Ok((page, rows)),
        }
    }
    let detail = format!("{path} has no end: this daemon's lists are none of ours");
    Err(Fault::new("unexpected_answer", detail))
}

/// To standard output: what was asked for.
fn print(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// To standard error: what goes with it.
fn tell(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stderr().write_all(text.as_bytes())?)
}
