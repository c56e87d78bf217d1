//! `plan` and `apply`: what the webhooks that a config declares would change in the running daemon, and having it take
//! the config over.
//!
//! `plan` asks the API with one account's key and looks at that account. `apply` checks the config, shows the plan,
//! asks, and sends the daemon of the config's data directory SIGHUP; what came of that the daemon leaves there. Nothing
//! here writes to the daemon's data.

mod compare;
mod reach;
mod reload;

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::Value;

use crate::config::Config;

use super::{ConfigPath, EXIT_USAGE};
use compare::Plan;
use reach::Reach;

pub use reach::ReachOptions;

/// Exit code of a plan by which something would change.
pub const EXIT_CHANGES: u8 = 2;
/// Rows that are asked for at once, as many as the API gives.
const PAGE_ROWS: usize = 200;
/// Pages of one list: more than an account may have webhooks.
const PAGES_MAX: usize = 100;

/// How `plan` runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 nothing would change; 2 something would; 1 failed; 64 the command line or the config is wrong.")]
pub struct PlanOptions {
    #[command(flatten)]
    config: ConfigPath,
    #[command(flatten)]
    reach: ReachOptions,
    /// Print the plan as JSON.
    #[arg(long)]
    pub json: bool,
}

/// How `apply` runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Runs on the daemon's machine, as its user or as root. Without an API key it shows no plan.

Exit codes: 0 the config is in force; 1 failed, or refused by the daemon; 64 the command line or the config is wrong,
or nobody could be asked.")]
pub struct ApplyOptions {
    #[command(flatten)]
    config: ConfigPath,
    #[command(flatten)]
    reach: ReachOptions,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Print what came of it as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `plan`: shows what the config would change.
///
/// # Errors
/// Where the daemon cannot be asked.
pub async fn plan(options: PlanOptions) -> anyhow::Result<ExitCode> {
    let Some(config) = checked(&options.config) else {
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    let reach = Reach::find(&options.reach, &config)?;
    let plan = make(&config, reach).await?;
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
/// Where there is no daemon, it cannot be asked, or does not say what came of it.
pub async fn apply(options: ApplyOptions) -> anyhow::Result<ExitCode> {
    let Some(config) = checked(&options.config) else {
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    let daemon = reload::Daemon::of(&config.storage.path)?;
    if options.reach.has_key() {
        let plan = make(&config, Reach::find(&options.reach, &config)?).await?;
        tell(&plan.to_text())?;
    } else {
        tell("no plan is shown without an API key (--key-file FILE, or HOOKWHEEL_API_KEY_FILE)\n")?;
    }
    if !options.yes {
        match ask(&format!("Have the daemon {} take it over?", daemon.pid()))? {
            Some(true) => {}
            Some(false) => {
                tell("nothing was changed\n")?;
                return Ok(ExitCode::FAILURE);
            }
            None => {
                tell("nobody can be asked here, and nothing was changed; give --yes\n")?;
                return Ok(ExitCode::from(EXIT_USAGE));
            }
        }
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
fn checked(path: &ConfigPath) -> Option<Config> {
    match Config::load(&path.config) {
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("warning: {warning}\n");
            }
            Some(config)
        }
        Err(errors) => {
            eprintln!("{errors}");
            None
        }
    }
}

async fn make(config: &Config, mut reach: Reach) -> anyhow::Result<Plan> {
    let (head, declared) = list(&mut reach, "/api/v1/declared").await?;
    let (_, webhooks) = list(&mut reach, "/api/v1/webhooks").await?;
    Plan::make(config, &head, &declared, &webhooks)
}

/// All rows of a list, and the last page without them.
async fn list(reach: &mut Reach, path: &str) -> anyhow::Result<(Value, Vec<Value>)> {
    let (mut rows, mut query) = (Vec::new(), format!("?limit={PAGE_ROWS}"));
    for _ in 0..PAGES_MAX {
        let answer = reach
            .client
            .call(Method::GET, &format!("{path}{query}"), None)
            .await?;
        let mut page: Value = reach.read(answer, path)?;
        if let Some(Value::Array(more)) = page.get_mut("data").map(Value::take) {
            rows.extend(more);
        }
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(cursor) => query = format!("?limit={PAGE_ROWS}&cursor={cursor}"),
            None => return Ok((page, rows)),
        }
    }
    anyhow::bail!("{path} has no end: this daemon's lists are none of ours")
}

/// Asks a question; `None` where nobody is there to answer.
fn ask(question: &str) -> anyhow::Result<Option<bool>> {
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    tell(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    let answer = answer.trim();
    Ok(Some(
        answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes"),
    ))
}

/// To standard output: what was asked for.
fn print(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// To standard error: what goes with it.
fn tell(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stderr().write_all(text.as_bytes())?)
}
