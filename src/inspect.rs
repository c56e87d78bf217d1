//! The commands on a receiver's side: `listen` is a local HTTPS receiver that shows what comes and whether
//! it verifies; `verify` judges a request that was kept.
//!
//! Both read requests by a profile and know nothing of any one contract. Nothing here takes part in delivery.
//! What comes from outside is made harmless before it reaches a terminal, and secrets are never printed.

mod answers;
mod capture;
mod contract;
mod keep;
mod listen;
mod register;
mod show;
#[cfg(test)]
mod tests;
mod verify;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::cli::EXIT_USAGE;
use crate::config::Config;
use crate::model::{Clock, Secret, did_you_mean};
use crate::profile::{Profile, Profiles};

pub use listen::listen;
pub use verify::verify;

/// Where both commands look for a secret when no file is named.
const SECRET_VARIABLE: &str = "HOOKWHEEL_SECRET";
/// The longest secret that a webhook can have is 256 bytes; more is some other file.
const SECRET_BYTES_MAX: u64 = 4 << 10;

/// The certificate of this machine's local CA, which `listen` shows itself with; the CA is made where there is none.
///
/// # Errors
/// Where its directory or a file in it cannot be used, with what to do.
pub fn local_ca() -> anyhow::Result<PathBuf> {
    let kept = keep::open(&keep::default_directory()?, Clock::system().wall())?;
    Ok(kept.certificate)
}

/// Something that was asked for or given cannot be used: told in one sentence, with what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

impl Usage {
    #[expect(
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "the last word of a command that cannot start"
    )]
    fn tell(&self, command: &str, json: bool) -> ExitCode {
        if json {
            let refusal =
                serde_json::json!({ "error": { "code": "usage", "detail": self.to_string() } });
            println!("{refusal}");
        } else {
            eprintln!("hookwheel {command}: {self}");
        }
        ExitCode::from(EXIT_USAGE)
    }
}

/// The profile of that name: a built-in one, or one that the config defines.
fn profile(name: &str, config: Option<&Path>) -> Result<Arc<Profile>, Usage> {
    let profiles = match config {
        Some(path) => {
            let config = Config::load(path).map_err(|errors| Usage(errors.to_string()))?;
            config.profiles
        }
        None => Profiles::built_in(),
    };
    profiles.get(name).cloned().ok_or_else(|| {
        let known: Vec<&str> = profiles.names().collect();
        let more = if config.is_some() {
            ""
        } else {
            "; --config FILE brings your own"
        };
        let hint = did_you_mean(name, known.iter().copied());
        let known = known.join(", ");
        Usage(format!(
            "no profile is called `{name}`; {hint}there are {known}{more}"
        ))
    })
}

/// The secret in a file, `-` being standard input, or else in the environment.
fn secret(file: Option<&Path>) -> Result<Option<Secret>, Usage> {
    let Some(path) = file else {
        let Some(value) = std::env::var_os(SECRET_VARIABLE) else {
            return Ok(None);
        };
        let text = value
            .into_string()
            .map_err(|_| Usage(format!("the variable {SECRET_VARIABLE} is not UTF-8")))?;
        return Ok(Some(Secret::new(text)));
    };
    let bytes = Zeroizing::new(read(path, SECRET_BYTES_MAX, "the secret")?);
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Usage(format!("the secret in {} is not UTF-8", path.display())))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        let place = path.display();
        return Err(Usage(format!("{place} is empty; put the secret there")));
    }
    Ok(Some(Secret::new(text.to_owned())))
}

/// Reads a file whole, `-` being standard input; `what` is what it should hold.
fn read(path: &Path, bytes_max: u64, what: &str) -> Result<Vec<u8>, Usage> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().take(bytes_max + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes))
    };
    let place = path.display();
    match read {
        Err(error) => Err(Usage(format!(
            "{what} cannot be read from {place}: {error}"
        ))),
        Ok(count) if u64::try_from(count).unwrap_or(u64::MAX) > bytes_max => Err(Usage(format!(
            "{what} in {place} is larger than {bytes_max} bytes; is it the right file?"
        ))),
        Ok(_) => Ok(bytes),
    }
}
