//! Keys and secrets made at the command line: API keys, the master key, signing secrets.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::config::{Config, built_in_profiles};
use crate::vault::MasterKey;

use super::{EXIT_USAGE, refuse_config};

pub(super) const KEY_EXAMPLES: &str = "\
Examples:
  hookwheel key new --name billing --out billing.key >> config.toml
  hookwheel key master --out master.key >> config.toml";

const KEY_NEW_EXAMPLES: &str = "\
Examples:
  hookwheel key new
  hookwheel key new --name billing --out billing.key >> config.toml";

const KEY_NEW_HELP: &str = "\
The lines belong below the [[accounts]] table of whom the key is for. A daemon
that runs takes them on SIGHUP.

Exit codes: 0 done; 1 the file is there already or cannot be written.";

const KEY_MASTER_EXAMPLES: &str = "\
Examples:
  hookwheel key master --out master.key >> config.toml
  hookwheel key master | systemd-creds encrypt - master.key.cred";

const KEY_MASTER_HELP: &str = "\
Keep a copy of it where no backup of the data is.

Exit codes: 0 done; 1 the file is there already or cannot be written.";

const KEY_SECRET_EXAMPLES: &str = "\
Examples:
  hookwheel key secret --profile standard --out orders.secret
  hookwheel key secret --config config.toml --account acme";

const KEY_SECRET_HELP: &str = "\
The file is what `secret_file` of a [[webhooks]] table names.

Exit codes: 0 done; 1 the file is there already or cannot be written; 64 there
is no such profile or account, or the config is wrong.";

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Print a new key and the config lines that let it in. The key is shown this
    /// once only.
    #[command(before_help = KEY_NEW_EXAMPLES, after_help = KEY_NEW_HELP)]
    New {
        /// The key's name in the config.
        #[arg(long, default_value = "backend")]
        name: String,
        /// Write the key to this new file, readable by its owner only; then only the
        /// config lines are printed.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Print the key and its hash as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a signing secret for a webhook that the config declares, in the form that
    /// its profile has.
    #[command(before_help = KEY_SECRET_EXAMPLES, after_help = KEY_SECRET_HELP)]
    Secret(SecretOptions),
    /// Make a master key, which seals webhooks' secrets on disk. Without it they
    /// cannot be opened again.
    #[command(before_help = KEY_MASTER_EXAMPLES, after_help = KEY_MASTER_HELP)]
    Master {
        /// Write the key to this new file, readable by its owner only, instead of
        /// printing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Print the key, or its file, as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// For whom a secret is.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("form").required(true).args(["profile", "account"])))]
pub struct SecretOptions {
    /// The profile that signs with it: a built-in one, or one of the config that
    /// --config names.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The account of the config whose webhook it is for.
    #[arg(long, value_name = "NAME", requires = "config")]
    account: Option<String>,
    /// The config file.
    #[arg(long, short, value_name = "FILE", env = "HOOKWHEEL_CONFIG")]
    config: Option<PathBuf>,
    /// Write the secret to this new file, readable by its owner only, instead of
    /// printing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the secret, or its file, as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `key new`: makes a fresh key and prints what to write into the config.
///
/// # Errors
/// Where the system gives no random bytes, or the file is there already or cannot be written.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub fn new_key(name: &str, out: Option<&Path>, json: bool) -> anyhow::Result<ExitCode> {
    let key = random_key()?;
    if let Some(path) = out {
        write_key(path, &key)?;
    }
    if json {
        let shown = if out.is_none() { Some(&key) } else { None };
        let made = json!({ "name": name, "key": shown, "file": out, "hash": key_hash(&key) });
        println!("{made}");
        return Ok(ExitCode::SUCCESS);
    }
    if out.is_none() {
        println!("# the key, shown this once only:\n# {key}");
        println!("# and what lets it in, for the account in the config:\n");
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
pub fn new_master_key(out: Option<&Path>, json: bool) -> anyhow::Result<ExitCode> {
    let key = MasterKey::generate()?;
    if json {
        if let Some(path) = out {
            write_key(path, key.expose())?;
        }
        let shown = out.is_none().then(|| key.expose());
        println!("{}", json!({ "key": shown, "file": out }));
        return Ok(ExitCode::SUCCESS);
    }
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
            Err(errors) => return Ok(refuse_config(path, &errors, options.json)),
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
    let public = profile.secret.public_key(&secret);
    let file = match &options.out {
        None => None,
        Some(path) => {
            write_key(path, secret.expose())?;
            Some(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        }
    };
    if options.json {
        let shown = file.is_none().then(|| secret.expose());
        let report = json!({ "secret": shown, "secret_file": file, "public_key": public });
        println!("{report}");
        return Ok(ExitCode::SUCCESS);
    }
    match file {
        None => println!("{}", secret.expose()),
        Some(file) => println!("secret_file = {:?}", file.display().to_string()),
    }
    if let Some(public) = public {
        eprintln!("receivers may verify with the public key: {public}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a key to a new file, and has it on disk when this returns: what is sealed with it may be there at once.
///
/// # Errors
/// Where the file is there already or cannot be written.
pub fn write_key(path: &Path, key: &str) -> anyhow::Result<()> {
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
