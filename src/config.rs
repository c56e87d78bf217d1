//! The config: one TOML file, and overrides from the environment, become the `Options` of every module.
//!
//! All or nothing: either every value is checked and typed, or there is a list of *all* faults, each
//! with file, line, column, the line as written and the fix. Reading a config changes nothing, so a
//! running daemon can read a new one and keep the old. What is a secret is never printed.
//!
//! `config.example.toml` shows every key with its default. Relative paths are taken from the config
//! file's directory. `HOOKWHEEL_SERVER__LISTEN` stands for `listen` in `[server]`, two underscores
//! between the levels; so every key of `[server]`, `[storage]`, `[delivery]`, `[egress]`, `[alerts]`, `[metrics]`, `[telemetry]` and `[log]`
//! can be set, as TOML or as plain text; those of `[egress.tls.NAME]` cannot. An override of a key that there is not is an
//! error.

mod accounts;
mod alerts;
mod declared;
mod egress;
mod environment;
mod files;
mod formats;
mod identity;
mod metrics;
mod profiles;
mod reader;
mod reference;
mod report;
mod secrets;
mod sections;
mod spans;
mod tree;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use toml::de::DeTable;

use crate::api::Identity;
use crate::model::Account;
use crate::profile::Profiles;
use crate::render::Formats;
use crate::telemetry::spans::ExportOptions;
use crate::vault::Vault;
use crate::{engine, sender, store, telemetry};

pub use metrics::MetricsOptions;
pub use report::{ConfigError, ConfigErrors, Place};

use reader::{Context, Reader};
use reference::Form;
use report::Faults;
use tree::Origin;

/// Ten thousand accounts fit; more is some other file.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// A config in which every list has an entry: a key is known because it is read, and this makes the reader read them all.
const LEAST: &str = "[[accounts]]\n[[accounts.keys]]\n";
/// The same with a table of those whose names are free.
const WIDEST: &str = "[egress.tls.a]\n[[accounts]]\n[[accounts.keys]]\n";

/// A checked config.
#[derive(Clone, Debug)]
pub struct Config {
    /// The HTTP server.
    pub server: ServerOptions,
    /// What the HTTP server shows of itself, where it speaks TLS.
    pub identity: Option<Identity>,
    /// The store.
    pub storage: store::Options,
    /// The engine.
    pub delivery: engine::Options,
    /// The sender.
    pub sender: sender::Options,
    /// What webhooks may name as their `tls`, sorted by name. A running daemon takes it over.
    pub tls: Vec<sender::TlsIdentity>,
    /// The tenants, at least one, in the order of the file. Names are unique, and so are hashes of keys.
    pub accounts: Vec<Account>,
    /// All profiles: the built-in ones and those that the config defines. Each account's is among them.
    pub profiles: Profiles,
    /// All formats: the built-in ones and those that the config defines.
    pub formats: Formats,
    /// Who gets operational events, and which.
    pub alerts: engine::AlertOptions,
    /// The webhooks that the config declares, in the order of the file.
    pub webhooks: Vec<engine::Declaration>,
    /// The keys that webhooks' secrets are sealed with on disk.
    pub vault: Vault,
    /// Who may read the metrics, and which webhooks they name.
    pub metrics: MetricsOptions,
    /// Where spans of traced events go to, if anywhere.
    pub export: Option<ExportOptions>,
    /// The log.
    pub log: telemetry::Options,
    /// A mark of the file's text, by which it is told from another; empty where it was read from no file.
    pub revision: String,
    /// What is no fault, but should be known.
    pub warnings: Vec<ConfigError>,
}

/// What the HTTP server needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Where to listen. Port 0: any free one.
    pub listen: SocketAddr,
    /// Bytes of a request's body, at most; more is answered with 413.
    pub body_bytes_max: usize,
    /// Bytes of the bodies of all requests under way; beyond that clients are answered 503.
    pub body_memory: usize,
    /// Bytes of large answers that were not taken yet; beyond that clients are answered 503.
    pub answer_memory: usize,
    /// Connections that are open at once; further clients are answered 503.
    pub connections_max: usize,
    /// How long a client may take for a request's header.
    pub header_timeout: Duration,
    /// How long a client may take for a request's body, and take nothing of an answer.
    pub body_timeout: Duration,
    /// Bytes of a request's body that must come in a second; 0 for any.
    pub body_rate_min: u64,
    /// Bytes of an answer that must be taken in a second; 0 for any.
    pub answer_rate_min: u64,
    /// Whether `/ui/` is served.
    pub dashboard: bool,
}

/// Reads a size as the config has it: `512B`, `256KiB`, `64MiB`, `20GiB`, `1TiB`.
///
/// # Errors
/// What is wrong with it, and the fix.
pub fn parse_size(text: &str) -> Result<u64, String> {
    values::parse_size(text).map_err(|refusal| format!("{}; {}", refusal.problem, refusal.fix))
}

impl Config {
    /// Reads and checks the config file at `path`, with the overrides of this process's environment.
    ///
    /// # Errors
    /// [`ConfigErrors::Unreadable`] says what to do about the file; [`ConfigErrors::Invalid`] lists
    /// every fault in it.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let bytes = files::read_bounded(path, CONFIG_BYTES_MAX).map_err(|cause| {
            ConfigErrors::Unreadable {
                path: path.to_owned(),
                fix: files::remedy(&cause),
                cause,
            }
        })?;
        let name = path.display().to_string();
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => return Err(not_utf8(&name, &bytes, error.valid_up_to())),
        };
        let base = path.parent().unwrap_or(Path::new(""));
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            Some((name, value.to_string_lossy().into_owned()))
        });
        let config = Self::parse(text, &name, base, environment)?;
        Ok(Self {
            revision: revision(&bytes),
            ..config
        })
    }

    /// Whether what differs from `running` is more than a running daemon takes over: anything but
    /// accounts, keys, certificates, profiles, formats, alerts, webhooks, master keys, `[egress.tls]`, the metrics' key and
    /// the log's level. With TLS and without it are two different servers.
    #[must_use]
    pub fn needs_restart(&self, running: &Self) -> bool {
        self.server != running.server
            || self.identity.is_some() != running.identity.is_some()
            || self.storage != running.storage
            || self.delivery != running.delivery
            || self.sender != running.sender
            || self.export != running.export
            || self.metrics.webhooks_max != running.metrics.webhooks_max
            || self.log.format != running.log.format
    }

    /// Checks a config's text. `file` is its name in messages, `base` the directory from which
    /// relative paths are taken, `environment` the variables that may override values.
    ///
    /// # Errors
    /// [`ConfigErrors::Invalid`], with every fault.
    pub fn parse(
        text: &str,
        file: &str,
        base: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        Self::read(text, file, base, environment).0
    }

    /// Every key that a config can have outside of profiles and formats: its path, `[]` for a place in a list, such
    /// as `server.listen` and `accounts[].keys[].hash`.
    #[must_use]
    pub fn known_keys() -> BTreeSet<String> {
        let (_, known) = Self::read(LEAST, "", Path::new(""), []);
        known.into_keys().collect()
    }

    /// The reference of all keys, as Markdown: what `docs/config.md` holds.
    ///
    /// # Panics
    /// Where a key that is read has no words, or the other way round; a test makes the reference.
    #[must_use]
    pub fn reference() -> String {
        let (_, known) = Self::read(WIDEST, "", Path::new(""), []);
        reference::render(&known)
    }

    /// What the text says, and all keys that were asked for while reading it.
    fn read(
        text: &str,
        file: &str,
        base: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> (Result<Self, ConfigErrors>, BTreeMap<String, Form>) {
        let mut faults = Faults::new(file, text);
        let (document, errors) = DeTable::parse_recoverable(text);
        // What was recovered from a broken text is a guess: faults found in it would mislead.
        if !errors.is_empty() {
            report_syntax(text, &errors, &mut faults);
            return (Err(faults.into_errors()), BTreeMap::new());
        }
        let mut document = document.into_inner();
        let (profiles, names) = profiles::take(&mut document, &mut faults);
        let formats = formats::take(&mut document, &mut faults);
        let mut context = Context {
            faults,
            overrides: environment::overrides(environment),
            known: BTreeMap::new(),
        };
        let mut root = Reader::root(&mut context, tree::entries(&document));
        let sections = sections::read(&mut root, base);
        let accounts = accounts::read(&mut root, base, &names);
        let tls = egress::check_accounts(sections.tls, &accounts, &mut root);
        let alerts = alerts::read(root.section("alerts"), &accounts);
        let vault = secrets::read(root.section("secrets"), base);
        let policy = sections.sender.policy.clone();
        let means = declared::Means {
            base,
            accounts: &accounts,
            profiles: &profiles,
            formats: &formats,
            tls: &tls,
            alerts: &alerts,
            guard: sender::Guard::new(policy.guarding([sections.server.listen])),
        };
        let webhooks = declared::read(&mut root, &means);
        let metrics = metrics::read(root.section("metrics"));
        let export = spans::read(root.section("telemetry"), base);
        root.also_known("profiles");
        root.also_known("formats");
        root.finish();
        environment::report_unknown(&mut context);
        if !context.faults.is_empty() {
            return (Err(context.faults.into_errors()), context.known);
        }
        let config = Self {
            server: sections.server,
            identity: sections.identity,
            storage: sections.storage,
            delivery: sections.delivery,
            sender: sections.sender,
            tls,
            accounts,
            profiles,
            formats,
            alerts,
            webhooks,
            vault,
            metrics,
            export,
            log: sections.log,
            revision: String::new(),
            warnings: context.faults.into_warnings(),
        };
        (Ok(config), context.known)
    }
}

/// The profiles that every installation has.
#[must_use]
pub fn built_in_profiles() -> Profiles {
    Profiles::built_in()
}

fn revision(text: &[u8]) -> String {
    let hash: [u8; 32] = Sha256::digest(text).into();
    // Half of it tells any two files apart, and is short enough to be read out.
    let shown = hash.iter().take(8);
    shown.map(|byte| format!("{byte:02x}")).collect()
}

/// Reports what the TOML parser refused, one fault for each line: what follows on the same line is
/// mostly the first one's echo.
fn report_syntax(text: &str, errors: &[toml::de::Error], faults: &mut Faults<'_>) {
    let mut spans: Vec<_> = errors
        .iter()
        .map(|error| (error.span().unwrap_or(0..0), error.message()))
        .collect();
    spans.sort_by_key(|(span, _)| span.start);
    spans.dedup_by_key(|(span, _)| {
        text.get(..span.start)
            .map(|before| before.matches('\n').count())
    });
    for (span, message) in spans {
        let fix = match message {
            "duplicate key" => "keep one of the two",
            _ if message.starts_with("string values must be quoted") => "write the value in quotes",
            _ => "write the line as TOML (https://toml.io)",
        };
        faults.add(&Origin::File(span), "", format!("not TOML: {message}"), fix);
    }
}

fn not_utf8(file: &str, bytes: &[u8], valid: usize) -> ConfigErrors {
    let text = String::from_utf8_lossy(bytes.get(..valid).unwrap_or(bytes));
    let mut faults = Faults::new(file, &text);
    faults.add(
        &Origin::File(valid..valid),
        "",
        "not TOML: a byte that is not UTF-8",
        "save the file as UTF-8",
    );
    faults.into_errors()
}
