//! The command line: what can be asked for, and the small commands that need no daemon.

pub mod client;
pub mod declared;
pub mod inspect;
pub mod upkeep;

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use sha2::{Digest, Sha256};

use crate::config::{Config, built_in_profiles};
use crate::vault::MasterKey;

/// Exit code for a command line or a config that is wrong (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// A webhook delivery daemon in one binary.
#[derive(Debug, Parser)]
#[command(name = "hookwheel", version, about, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  hookwheel demo                                  see it work, nothing to set up
  hookwheel key new                               make an API key and the lines for the config
  hookwheel check --config /etc/hookwheel/config.toml
  hookwheel serve --config /etc/hookwheel/config.toml
  hookwheel plan --config /etc/hookwheel/config.toml   see what its [[webhooks]] would change
  hookwheel apply --config /etc/hookwheel/config.toml  and have the daemon take it over
  hookwheel listen --secret-file hook.secret      see what is sent, and whether it verifies
  hookwheel backup --to /backup/monday            copy the data of a running daemon
  hookwheel doctor --config /etc/hookwheel/config.toml

Exit codes: 0 done; 1 failed; 64 the command line or the config is wrong.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon. SIGTERM stops it gracefully, SIGHUP reads accounts, keys, profiles, formats and webhooks again.
    Serve(ConfigPath),
    /// Check a config and report every error in it, with line, column and fix.
    Check(ConfigPath),
    /// Show what the webhooks that a config declares would change in the running daemon.
    Plan(declared::PlanOptions),
    /// Have the running daemon take over its config, and say what came of it.
    Apply(declared::ApplyOptions),
    /// Make API keys, and secrets.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Run the real daemon with a local HTTPS receiver: events, a failure and its retry, six contracts.
    Demo(DemoOptions),
    /// Receive webhooks on this machine: print each request, and whether its signature verifies.
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

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Print a new key and the config lines that let it in. The key is shown this once only.
    New {
        /// The key's name in the config.
        #[arg(long, default_value = "backend")]
        name: String,
        /// Write the key to this new file, readable by its owner only; then only the config lines are printed.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Make a signing secret for a webhook that the config declares, in the form that its profile has.
    Secret(SecretOptions),
    /// Make a master key, which seals webhooks' secrets on disk. Without it they cannot be opened again.
    Master {
        /// Write the key to this new file, readable by its owner only, instead of printing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// For whom a secret is.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("form").required(true).args(["profile", "account"])))]
pub struct SecretOptions {
    /// The profile that signs with it: a built-in one, or one of the config that --config names.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The account of the config whose webhook it is for.
    #[arg(long, value_name = "NAME", requires = "config")]
    account: Option<String>,
    /// The config file.
    #[arg(long, short, value_name = "FILE", env = "HOOKWHEEL_CONFIG")]
    config: Option<PathBuf>,
    /// Write the secret to this new file, readable by its owner only, instead of printing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// How the demo runs.
#[derive(Debug, Args)]
pub struct DemoOptions {
    /// End after the story; exit code 0 only if every delivery arrived and verified.
    #[arg(long)]
    pub exit: bool,
}

/// `check`: reports on standard output what is wrong, or that nothing is.
#[must_use]
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is what the command is for"
)]
pub fn check(path: &Path) -> ExitCode {
    match Config::load(path) {
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("warning: {warning}\n");
            }
            println!(
                "{}: the config is good: {} account(s), {} declared webhook(s)",
                path.display(),
                config.accounts.len(),
                config.webhooks.len()
            );
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// `key new`: makes a fresh key and prints what to write into the config.
///
/// # Errors
/// Where the system gives no random bytes, or the file is there already or cannot be written.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub fn new_key(name: &str, out: Option<&Path>) -> anyhow::Result<ExitCode> {
    let key = random_key()?;
    match out {
        Some(path) => write_key(path, &key)?,
        None => {
            println!("# the key, shown this once only:\n# {key}");
            println!("# and what lets it in, for the account in the config:\n");
        }
    }
    println!(
        "[[accounts.keys]]\nname = {name:?}\nhash = \"{}\"",
        key_hash(&key)
    );
    println!("scopes = [\"admin\", \"send\", \"read\"]");
    Ok(ExitCode::SUCCESS)
}

/// `key master`: makes a fresh master key and says where it belongs.
///
/// # Errors
/// Where the system gives no random bytes, or the file is there already or cannot be written.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is what the command is for"
)]
pub fn new_master_key(out: Option<&Path>) -> anyhow::Result<ExitCode> {
    let key = MasterKey::generate()?;
    let Some(path) = out else {
        println!("{}", key.expose());
        eprintln!("keep it in a file of its own, and a copy where no backup of the data is");
        return Ok(ExitCode::SUCCESS);
    };
    write_key(path, key.expose())?;
    let shown = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    println!("[secrets]\nkey_file = {:?}", shown.display().to_string());
    eprintln!("keep a copy of it where no backup of the data is: without it the secrets are lost");
    Ok(ExitCode::SUCCESS)
}

/// `key secret`: makes a signing secret in the form of a profile, and says where it belongs.
///
/// # Errors
/// Where there is no such profile, the system gives no random bytes, or the file is there already or cannot be written.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is what the command is for"
)]
pub fn new_secret(options: &SecretOptions) -> anyhow::Result<ExitCode> {
    // A config is of use only where it is asked for; HOOKWHEEL_CONFIG may name one that has nothing to do with it.
    let built_in = built_in_profiles();
    let known = |name: &String| built_in.get(name).is_some();
    let config = match &options.config {
        Some(path) if !options.profile.as_ref().is_some_and(known) => match Config::load(path) {
            Ok(config) => Some(config),
            Err(errors) => {
                eprintln!("{errors}");
                return Ok(ExitCode::from(EXIT_USAGE));
            }
        },
        _ => None,
    };
    let accounts = config.iter().flat_map(|config| &config.accounts);
    let mut of_account = accounts
        .filter(|one| options.account.as_deref() == Some(one.name.as_str()))
        .map(|one| one.profile.clone());
    let Some(name) = options.profile.clone().or_else(|| of_account.next()) else {
        eprintln!("the config has no such account");
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    let profiles = config.as_ref().map_or(&built_in, |config| &config.profiles);
    let Some(profile) = profiles.get(&name) else {
        let known: Vec<&str> = profiles.names().collect();
        eprintln!(
            "there is no profile `{name}`; there are {}; one of your own is found with --config FILE",
            known.join(", ")
        );
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    if profile.signatures.is_empty() {
        eprintln!("the profile `{name}` signs nothing, so there is no secret");
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    let secret = profile.secret.generate()?;
    match &options.out {
        None => println!("{}", secret.expose()),
        Some(path) => {
            write_key(path, secret.expose())?;
            let shown = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            println!("secret_file = {:?}", shown.display().to_string());
        }
    }
    if let Some(public) = profile.secret.public_key(&secret) {
        eprintln!("receivers may verify with the public key: {public}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a key to a new file, and has it on disk when this returns: what is sealed with it may be there at once.
fn write_key(path: &Path, key: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| {
        let written = file
            .write_all(key.as_bytes())
            .and_then(|()| file.sync_all());
        if written.is_err() {
            // A half one would be in the way of the next.
            std::fs::remove_file(path)?;
        }
        written?;
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    });
    written.with_context(|| {
        format!(
            "the key cannot be written to the new file {}",
            path.display()
        )
    })
}

/// A new API key: `hwk_` and 32 random bytes in hexadecimal.
///
/// # Errors
/// Where the system gives no random bytes.
pub fn random_key() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(format!("hwk_{}", hex(&bytes)))
}

/// A key's hash as the config holds it: `sha256:` and 64 lower-case hexadecimal digits.
#[must_use]
pub fn key_hash(key: &str) -> String {
    format!("sha256:{}", hex(&Sha256::digest(key.as_bytes())))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String does not fail");
            text
        })
}
