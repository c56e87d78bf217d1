//! `hookwheel init`: a config and an API key for a new installation, and what to do next.
//!
//! Nothing is overwritten. What was written is read again as a daemon would; where that fails, nothing is left behind.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
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
    let [config, key_file] = &files;
    let mut made = Made::default();
    let written = write(options, &mut made, config, key_file, ca.as_deref());
    if let Err(error) = written {
        made.take_back()?;
        return Err(error);
    }
    let loaded = match Config::load(config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            made.take_back()?;
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

/// What this run has made, and may take back: what another put there at the same time is not among it.
#[derive(Default)]
struct Made {
    files: Vec<PathBuf>,
    /// The outermost first.
    directories: Vec<PathBuf>,
}

impl Made {
    /// Makes the directory, and those above it that are missing, for their owner only.
    fn directory(&mut self, directory: &Path) -> anyhow::Result<()> {
        let missing = directory.ancestors().take_while(|one| !one.is_dir());
        let mut missing: Vec<&Path> = missing.collect();
        missing.reverse();
        for one in missing {
            match DirBuilder::new().mode(0o700).create(one) {
                Ok(()) => self.directories.push(one.to_owned()),
                // Another has made it meanwhile.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && one.is_dir() => {}
                Err(error) => {
                    let shown = one.display();
                    let why = format!("the directory {shown} cannot be made; name another one");
                    return Err(error).context(why);
                }
            }
        }
        Ok(())
    }

    /// Writes a new file that everybody may read.
    fn file(&mut self, path: &Path, text: &str) -> io::Result<()> {
        let mut open = OpenOptions::new();
        let mut file = open.write(true).create_new(true).mode(0o644).open(path)?;
        self.files.push(path.to_owned());
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    fn key(&mut self, path: &Path, key: &str) -> anyhow::Result<()> {
        let written = write_key(path, key);
        let is_of_another = |error: &anyhow::Error| {
            let error = error.downcast_ref::<io::Error>();
            error.is_some_and(|error| error.kind() == ErrorKind::AlreadyExists)
        };
        if !written.as_ref().is_err_and(is_of_another) {
            self.files.push(path.to_owned());
        }
        written
    }

    fn take_back(self) -> anyhow::Result<()> {
        for path in self.files {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != ErrorKind::NotFound
            {
                return Err(error).with_context(|| format!("{} cannot be removed", path.display()));
            }
        }
        for directory in self.directories.into_iter().rev() {
            match fs::remove_dir(&directory) {
                Ok(()) => {}
                // Another uses it, or has removed it.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound
                    ) =>
                {
                    return Ok(());
                }
                Err(error) => {
                    let shown = directory.display();
                    return Err(error).with_context(|| format!("{shown} cannot be removed"));
                }
            }
        }
        Ok(())
    }
}

fn write(
    options: &InitOptions,
    made: &mut Made,
    config: &Path,
    key_file: &Path,
    ca: Option<&Path>,
) -> anyhow::Result<()> {
    let key = random_key()?;
    let data = match &options.data {
        Some(data) => std::path::absolute(data)?,
        None => PathBuf::from("data"),
    };
    for path in [Some(data.as_path()), ca].into_iter().flatten() {
        if path.to_str().is_none() {
            let shown = path.display();
            bail!("a config is UTF-8, and the path {shown} is not; name another one");
        }
    }
    let text = text(options, &data, &key_hash(&key), ca);
    if let Some(directory) = config.parent() {
        made.directory(directory)?;
    }
    // It holds no secret, and the user of a service must be able to read it.
    made.file(config, &text).with_context(|| {
        let shown = config.display();
        format!("{shown} cannot be written; name another directory, or make this one writable")
    })?;
    made.key(key_file, &key)
}

/// The config. What stands behind a `#` without a space can be taken into use by removing the `#`.
fn text(options: &InitOptions, data: &Path, hash: &str, ca: Option<&Path>) -> String {
    // A TOML basic string and a JSON one write the same characters the same way, but for one.
    let quoted = |text: &str| Value::from(text).to_string().replace('\u{7f}', "\\u007f");
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
