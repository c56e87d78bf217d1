//! The arguments of `backup`, `restore`, `repair` and `doctor`.

use std::path::PathBuf;

use clap::Args;

use super::ConfigPath;
use crate::config::parse_size;

const BACKUP_EXAMPLES: &str = "\
Examples:
  hookwheel backup --to /backup/hookwheel-monday
  hookwheel backup --config config.toml --to /mnt/nas/hw-1 --rate 50MiB --json";

const BACKUP_HELP: &str = "\
The daemon may run meanwhile, and is not asked. All that it had acknowledged
before the backup began is in it. DIR must not be there yet; until all is
copied, synced and checked it is called DIR.partial.

Not in it: the config, and the files that it names (keys, certificates). Keep
copies of those apart. Webhooks' secrets are in it: keep it as safe as the data
directory.

A daemon that goes on from a backup knows nothing of what came later:
deliveries that were made since are made again, with the same ids, and events
that were posted since are unknown.

Exit codes: 0 done; 1 not done, or done and the journal has damage, which is
named; 64 the config is wrong.";

const RESTORE_EXAMPLES: &str = "\
Examples:
  hookwheel restore --config config.toml --from /backup/hookwheel-monday

  A service, whose user systemd makes for it (DynamicUser=yes); at its start
  systemd gives the directory to that user:
    systemctl stop hookwheel
    mv /var/lib/private/hookwheel /var/lib/private/hookwheel.old
    install -d -m 0700 /var/lib/private/hookwheel
    hookwheel restore --from /backup/hookwheel-monday
    systemctl start hookwheel";

const RESTORE_HELP: &str = "\
The data directory is the config's storage.path. It must be absent or empty,
and no daemon may run on it: to replace data, stop the daemon and move the old
directory away. Run as another user than the daemon's, give the files to that
user afterwards (chown). A restore that is cut off leaves what no daemon starts
on; the same command begins it anew.

The daemon then goes on from the moment of the backup: deliveries that were
made since are made again (at least once), and what was posted since is
unknown.

Exit codes: 0 done; 1 not done, or done and the backup has damage, which is
named; 64 the config is wrong.";

const REPAIR_EXAMPLES: &str = "\
Examples:
  hookwheel repair --config /etc/hookwheel/config.toml
  hookwheel repair --config /etc/hookwheel/config.toml --apply";

const REPAIR_HELP: &str = "\
The daemon must be stopped. Without --apply nothing is changed: the whole
journal is read, each index is made again and compared, and so is the registry,
of which a copy is made in the data directory for that time. A million waiting
deliveries take some 200 MB of memory.

With --apply a torn tail is cut, damage is copied to journal/set-aside, indexes
at fault are made again, and a registry that does not open, or differs from an
undamaged journal, is moved aside and made from the journal; then all is looked
at once more. A daemon does most of that itself when it starts.

Exit codes: 0 nothing is wrong, or all is put right; 1 something is wrong; 64
the config is wrong.";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  hookwheel doctor --config /etc/hookwheel/config.toml
  hookwheel doctor --offline --json";

const DOCTOR_HELP: &str = "\
Looks at the config, the data directory, the disk, the clock, names,
certificates and the store, and says for each whether it is as it should be,
and what to do if not. The daemon may run meanwhile. Nothing is changed, but for
a file in the data directory that is written to time the disk, and is removed.

The hosts of registered webhooks are looked up, and a TLS handshake is made
with each, 200 at most; nothing is posted. --offline leaves that out.

Exit codes: 0 nothing fails (there may be warnings); 1 something fails; 64 the
config is wrong.";

/// What is backed up, and where to.
#[derive(Debug, Args)]
#[command(before_help = BACKUP_EXAMPLES, after_help = BACKUP_HELP)]
pub struct BackupOptions {
    /// The config.
    #[command(flatten)]
    pub config: ConfigPath,
    /// The directory to be made.
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Copy at most so much in a second, such as 50MiB [default: no bound].
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    pub rate: Option<u64>,
    /// Print the result as JSON, errors included.
    #[arg(long)]
    pub json: bool,
}

/// What is restored.
#[derive(Debug, Args)]
#[command(before_help = RESTORE_EXAMPLES, after_help = RESTORE_HELP)]
pub struct RestoreOptions {
    /// The config.
    #[command(flatten)]
    pub config: ConfigPath,
    /// The backup's directory.
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Print the result as JSON, errors included.
    #[arg(long)]
    pub json: bool,
}

/// Whether anything is changed.
#[derive(Debug, Args)]
#[command(before_help = REPAIR_EXAMPLES, after_help = REPAIR_HELP)]
pub struct RepairOptions {
    /// The config.
    #[command(flatten)]
    pub config: ConfigPath,
    /// Put right what is wrong; without this it is only told.
    #[arg(long)]
    pub apply: bool,
    /// Print the result as JSON, errors included.
    #[arg(long)]
    pub json: bool,
}

/// What is looked at.
#[derive(Debug, Args)]
#[command(before_help = DOCTOR_EXAMPLES, after_help = DOCTOR_HELP)]
pub struct DoctorOptions {
    /// The config.
    #[command(flatten)]
    pub config: ConfigPath,
    /// Look up no names and connect to no receiver.
    #[arg(long)]
    pub offline: bool,
    /// Print the result as JSON, errors included.
    #[arg(long)]
    pub json: bool,
}

fn rate(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("a rate of nothing copies nothing; leave --rate out for no bound".to_owned()),
        rate => Ok(rate),
    }
}
