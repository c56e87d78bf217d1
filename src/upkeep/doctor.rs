//! `hookwheel doctor`: looks at everything a daemon leans on, and says for each whether it is as it should be.
//!
//! Each check is one line: ok, warn or fail, and what to do. A check that cannot be made is a warning, never silence.

mod certificates;
mod clock;
mod data;
mod place;
mod receivers;
mod secrets;

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{config, print};
use crate::cli::upkeep::DoctorOptions;
use crate::config::Config;
use crate::model::Clock;
use crate::store;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    Warn,
    Fail,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    /// What to do; nothing where all is well.
    remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    fn warn(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Warn,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn fail(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            state: State::Fail,
            ..Self::warn(name, found, remedy)
        }
    }

    fn line(&self) -> String {
        let remedy = match &self.remedy {
            Some(remedy) => format!("; {remedy}"),
            None => String::new(),
        };
        let text = format!("{}{remedy}", self.found).replace(char::is_control, " ");
        format!("{:4}  {:13} {text}", self.state.as_str(), self.name)
    }

    fn json(&self) -> Value {
        json!({
            "check": self.name, "state": self.state.as_str(), "found": self.found, "remedy": self.remedy,
        })
    }
}

/// Makes all checks and prints what they found. The exit code is 1 where one of them fails.
///
/// # Errors
/// None at present: whatever goes wrong is a line of the report.
pub async fn doctor(options: DoctorOptions) -> anyhow::Result<ExitCode> {
    let path = &options.config.config;
    let config = match config(path, options.json) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let mut checks = vec![Check::ok(
        "config",
        format!("{}: {} account(s)", path.display(), config.accounts.len()),
    )];
    for warning in &config.warnings {
        let found = format!("{}: {}: {}", warning.place, warning.field, warning.problem);
        checks.push(Check::warn("config", found, warning.fix.clone()));
    }
    look(&config, options.offline, &mut checks).await;
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let (warnings, failures) = (count(State::Warn), count(State::Fail));
    if options.json {
        let list: Vec<Value> = checks.iter().map(Check::json).collect();
        let report = json!({ "checks": list, "warnings": warnings, "failures": failures });
        print(&[report.to_string()]);
    } else {
        let mut lines: Vec<String> = checks.iter().map(Check::line).collect();
        lines.push(format!(
            "{} checks: {failures} failed, {warnings} with a warning",
            checks.len()
        ));
        print(&lines);
    }
    Ok(if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn look(config: &Config, offline: bool, checks: &mut Vec<Check>) {
    let path = &config.storage.path;
    checks.extend(place::checks(&config.storage));
    checks.push(place::files(config));
    let running = match store::is_held(path) {
        Ok(running) => running,
        Err(error) => {
            checks.push(Check::fail(
                "lock",
                error.to_string(),
                "see the directory's owner",
            ));
            false
        }
    };
    let (webhooks, newest) = data::checks(config, running, checks).await;
    checks.push(secrets::check(&config.vault, &webhooks));
    let now = Clock::system().wall();
    checks.extend(clock::checks(now, newest));
    checks.extend(certificates::checks(config, now));
    if offline {
        checks.push(Check::ok("receivers", "left out, as --offline asks for"));
    } else {
        receivers::checks(config, &webhooks, now, checks).await;
    }
}
