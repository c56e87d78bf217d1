//! `hookwheel init`: a config and an API key for a new installation, and what to do next.
//!
//! Nothing is overwritten. What was written is read again as a daemon would; where that fails, nothing is left behind.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::print;
use crate::cli::setup::InitOptions;
use crate::cli::url_of;
use crate::cli::{EXIT_USAGE, key_hash, random_key, refuse_config, write_key};
use crate::config::Config;
use crate::inspect;
use crate::model::did_you_mean;
use crate::profile::Profiles;

const CONFIG_NAME: &str = "config.toml";
const KEY_NAME: &str = "backend.key";

/// Writes both files. The exit code is 64 where an argument cannot be used, or what was written cannot, such as where
/// the environment overrides it wrongly.
///
/// # Errors
/// Where a file is there already or cannot be written. Nothing new is there then.
pub fn init(options: &InitOptions) -> anyhow::Result<ExitCode> {
    if let Some(refusal) = refuse_profile(&options.profile) {
        return Ok(refusal);
    }
    let directory = std::path::absolute(&options.directory)
        .context("the current directory is gone; change to another")?;
    let files = [directory.join(CONFIG_NAME), directory.join(KEY_NAME)];
    for path in &files {
        if path.symlink_metadata().is_ok() {
            bail!(
                "{} is there already, and nothing is overwritten; name another directory, or move it away",
                path.display()
            );
        }
    }
    let ca = options.local.then(inspect::local_ca).transpose()?;
    let made = make_directory(&directory)?;
    let [config, key_file] = &files;
    let written = write(options, config, key_file, ca.as_deref());
    if let Err(error) = written {
        take_back(&files, made.as_deref())?;
        return Err(error);
    }
    let loaded = match Config::load(config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            take_back(&files, made.as_deref())?;
            return Ok(refuse_config(config, &errors, options.json));
        }
    };
    if options.json {
        let report = json!({
            "config": config, "key_file": key_file, "url": url_of(&loaded), "account": options.account.as_str(),
            "profile": options.profile, "data": loaded.storage.path, "ca": ca,
        });
        print(&[report.to_string()]);
    } else {
        print(&told(options, config, key_file, &loaded));
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(
    clippy::print_stderr,
    reason = "the last word of a command that cannot start"
)]
fn refuse_profile(name: &str) -> Option<ExitCode> {
    let profiles = Profiles::built_in();
    if profiles.get(name).is_some() {
        return None;
    }
    let known: Vec<&str> = profiles.names().collect();
    let hint = did_you_mean(name, known.iter().copied());
    eprintln!(
        "hookwheel init: no built-in profile is called `{name}`; {hint}there are {}; one of your own can be defined \
         in the config afterwards",
        known.join(", ")
    );
    Some(ExitCode::from(EXIT_USAGE))
}

/// Makes the directory, for its owner only; gives it if it was not there.
fn make_directory(directory: &Path) -> anyhow::Result<Option<PathBuf>> {
    if directory.is_dir() {
        return Ok(None);
    }
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.with_context(|| {
        let shown = directory.display();
        format!("the directory {shown} cannot be made; name another one")
    })?;
    Ok(Some(directory.to_owned()))
}

fn write(
    options: &InitOptions,
    config: &Path,
    key_file: &Path,
    ca: Option<&Path>,
) -> anyhow::Result<()> {
    let key = random_key()?;
    let data = match &options.data {
        Some(data) => std::path::absolute(data)?,
        None => PathBuf::from("data"),
    };
    let text = text(options, &data, &key_hash(&key), ca);
    let mut open = OpenOptions::new();
    // It holds no secret, and the user of a service must be able to read it.
    let opened = open.write(true).create_new(true).mode(0o644).open(config);
    opened
        .and_then(|mut file| {
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .with_context(|| {
            let shown = config.display();
            format!("{shown} cannot be written; name another directory, or make this one writable")
        })?;
    write_key(key_file, &key)
}

fn take_back(files: &[PathBuf], directory: Option<&Path>) -> anyhow::Result<()> {
    for path in files {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("{} cannot be removed", path.display()));
        }
    }
    match directory {
        Some(directory) => fs::remove_dir(directory)
            .with_context(|| format!("{} cannot be removed", directory.display())),
        None => Ok(()),
    }
}

/// The config. What stands behind a `#` without a space can be taken into use by removing the `#`.
fn text(options: &InitOptions, data: &Path, hash: &str, ca: Option<&Path>) -> String {
    // A TOML basic string and a JSON one write the same characters the same way.
    let quoted = |text: &str| Value::from(text).to_string();
    let egress = match ca {
        Some(ca) => format!(
            "# For `hookwheel listen` on this machine: its address is allowed, and its local CA is trusted.\n\
             allow = [\"127.0.0.1/32\"]\nextra_ca = [{}]",
            quoted(&ca.display().to_string())
        ),
        None => "# Webhooks go to public addresses only, unless private ones are allowed here.\n\
                 #allow = [\"10.20.0.0/16\"]\n\
                 # PEM files with authorities that are trusted besides the system's.\n\
                 #extra_ca = [\"company-ca.pem\"]"
            .to_owned(),
    };
    format!(
        "# Hookwheel's config. Every key with its default stands in docs/config.md; check a change with\n\
         # `hookwheel check`. Relative paths are taken from this file's directory.\n\
         \n[server]\n\
         # Where the API listens: plain HTTP, unless [server.tls] is there.\n\
         listen = \"{listen}\"\n\
         \n#[server.tls]\n\
         # PEM: the server's certificate first, and its private key.\n\
         #certificate = \"tls.pem\"\n\
         #key = \"tls.key\"\n\
         \n[storage]\n\
         # The data directory; on a local disk.\n\
         path = {path}\n\
         # Events and the delivery log are deleted when they are older, or larger in all, than this.\n\
         #retention_age = \"30d\"\n\
         #retention_size = \"20GiB\"\n\
         \n[egress]\n{egress}\n\
         \n[secrets]\n\
         # Seals the webhooks' secrets on disk; `hookwheel key master --out master.key` makes it.\n\
         #key_file = \"master.key\"\n\
         \n[log]\n\
         #level = \"info\"\n\
         # \"text\" or \"json\".\n\
         #format = \"text\"\n\
         \n# An account is a tenant: it sees only its own. Any number of these tables.\n\
         [[accounts]]\n\
         # Data belong to the name: it cannot be changed later.\n\
         name = \"{account}\"\n\
         # How requests look to the receivers.\n\
         profile = {profile}\n\
         \n[[accounts.keys]]\n\
         name = \"backend\"\n\
         # The SHA-256 of the key in {KEY_NAME}. `hookwheel key new` makes another.\n\
         hash = \"{hash}\"\n\
         scopes = [\"admin\", \"send\", \"read\"]\n\
         #requests_per_minute = 600\n\
         #events_per_second = 200\n",
        listen = options.listen,
        path = quoted(&data.display().to_string()),
        account = options.account,
        profile = quoted(&options.profile),
    )
}

fn told(options: &InitOptions, config: &Path, key_file: &Path, loaded: &Config) -> Vec<String> {
    let url = url_of(loaded);
    let webhook = if options.local {
        "  hookwheel listen --register             # shows what is sent, on this machine"
    } else {
        "  hookwheel webhook add https://…         # your receiver; or, with `init --local`,\n  \
         hookwheel listen --register             # one on this machine, to look at"
    };
    vec![
        format!(
            "{}  account {}, profile {}, data in {}",
            config.display(),
            options.account,
            options.profile,
            loaded.storage.path.display()
        ),
        format!("{}  the API key: keep it secret", key_file.display()),
        String::new(),
        "Next, in each terminal:".to_owned(),
        String::new(),
        format!(
            "  export HOOKWHEEL_CONFIG={} HOOKWHEEL_API_KEY_FILE={}",
            for_shell(config),
            for_shell(key_file)
        ),
        String::new(),
        "then in one:".to_owned(),
        String::new(),
        "  hookwheel serve".to_owned(),
        String::new(),
        "and in another:".to_owned(),
        String::new(),
        webhook.to_owned(),
        String::new(),
        format!("The dashboard is at {url}/ui/"),
    ]
}

/// A path as a shell takes it as one word.
fn for_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn options(arguments: &[&str]) -> InitOptions {
        let all = ["hookwheel", "init"].iter().chain(arguments);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Init(options) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_line_that_is_shown_as_a_comment_can_be_taken_into_use() {
        let text = text(
            &options(&["--account", "acme"]),
            Path::new("data"),
            &key_hash("k"),
            None,
        );
        let uncommented: Vec<&str> = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => rest,
                _ => line,
            })
            .collect();
        assert_ne!(uncommented.join("\n"), text.trim_end());
        let parsed = Config::parse(&uncommented.join("\n"), "c", Path::new("/nowhere"), []);
        // The files that it then names are not there; nothing else is wrong.
        let errors = parsed.unwrap_err();
        for fault in errors.faults() {
            assert!(fault.problem.contains("cannot be read"), "{fault}");
        }
    }

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        assert_eq!(for_shell(Path::new("/etc/a.toml")), "/etc/a.toml");
        assert_eq!(for_shell(Path::new("/my dir/it's")), r"'/my dir/it'\''s'");
    }
}
