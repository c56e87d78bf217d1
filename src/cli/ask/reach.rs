//! How a command finds the daemon, and which key it shows: options, environment, config, in this order.
//!
//! A key is never an argument, as others on the machine can see these. What was found says where it came from, for the
//! messages when it does not work.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use url::{Host, Url};

use super::fault::{Done, Fault};
use crate::cli::client::{Client, Place, Trust};
use crate::config::Config;

const URL_DEFAULT: &str = "http://127.0.0.1:8420";
const CONFIG_DEFAULT: &str = "/etc/hookwheel/config.toml";
/// A daemon answers everything sooner: a test of a webhook takes 30 s, and a place for a list 5 s.
const PATIENCE: Duration = Duration::from_secs(90);
/// A config over this is none of ours, and neither is a key.
const CONFIG_BYTES_MAX: u64 = 4 << 20;
const KEY_BYTES_MAX: u64 = 4096;

/// Which daemon, and with which key.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Daemon")]
pub struct Access {
    /// The daemon's API [env: HOOKWHEEL_URL] [default: `listen` of the config, else http://127.0.0.1:8420].
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// A file that holds the API key [env: HOOKWHEEL_API_KEY_FILE; or the key itself in HOOKWHEEL_API_KEY].
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// PEM file with the authority of the daemon's certificate [env: HOOKWHEEL_CA] [default: the system's].
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file with a certificate to show to the daemon [env: HOOKWHEEL_CLIENT_CERT].
    #[arg(long, global = true, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// PEM file with the key of that certificate [env: HOOKWHEEL_CLIENT_KEY].
    #[arg(long, global = true, value_name = "FILE")]
    client_key: Option<PathBuf>,
}

impl Access {
    /// Whether a key is named.
    pub(in crate::cli) fn has_key(&self) -> bool {
        let names = ["HOOKWHEEL_API_KEY_FILE", "HOOKWHEEL_API_KEY"];
        self.key_file.is_some() || names.into_iter().any(|name| variable(name).is_some())
    }
}

/// What all commands take that ask a daemon and do nothing else.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Daemon")]
pub(super) struct ReachOptions {
    #[command(flatten)]
    pub(super) access: Access,
    /// The daemon's config, to find its address [env: HOOKWHEEL_CONFIG] [default: /etc/hookwheel/config.toml].
    #[arg(long, short, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print JSON: the API's answer as it is; of a failure {"error": {"code", "detail", …}}.
    #[arg(long, global = true, help_heading = "Output")]
    pub(super) json: bool,
}

/// A client, and where what it uses came from.
#[derive(Debug)]
pub(in crate::cli) struct Reached {
    pub(super) client: Client,
    /// What told where the daemon is.
    pub(super) url_from: String,
    /// What the key was read from; `None` without a key.
    pub(super) key_from: Option<String>,
}

/// Whether a command can do without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Need {
    Key,
    KeyIfAny,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn file(given: Option<&PathBuf>, name: &str) -> Option<PathBuf> {
    given.cloned().or_else(|| variable(name).map(PathBuf::from))
}

/// A client of the daemon that is meant. `config` is the one that was named, where the daemon's address is looked for.
pub(in crate::cli) fn reach(options: &Access, config: Option<&Path>, need: Need) -> Done<Reached> {
    let (url, url_from) = find_url(options, config)?;
    let (place, is_tls) = read_url(&url, &url_from)?;
    let ca = file(options.ca.as_ref(), "HOOKWHEEL_CA");
    let certificate = file(options.client_cert.as_ref(), "HOOKWHEEL_CLIENT_CERT");
    let certificate_key = file(options.client_key.as_ref(), "HOOKWHEEL_CLIENT_KEY");
    let own = match (&certificate, &certificate_key) {
        (Some(certificate), Some(key)) => Some((certificate.as_path(), key.as_path())),
        (None, None) => None,
        _ => {
            let detail = "a certificate to show needs both --client-cert and --client-key";
            return Err(Fault::usage("certificate_incomplete", detail));
        }
    };
    let trust = is_tls
        .then(|| Trust::of(&place.host, ca.as_deref(), own))
        .transpose();
    let trust = trust.map_err(|error| Fault::usage("tls_unusable", format!("{error:#}")))?;
    let key = find_key(options, need)?;
    let (key, key_from) = key.unzip();
    let client = Client::to(place, key, trust).patient_for(PATIENCE);
    Ok(Reached {
        client,
        url_from,
        key_from,
    })
}

fn find_url(options: &Access, config: Option<&Path>) -> Done<(String, String)> {
    if let Some(url) = &options.url {
        return Ok((url.clone(), "--url".to_owned()));
    }
    if let Some(url) = variable("HOOKWHEEL_URL") {
        return Ok((url, "the variable HOOKWHEEL_URL".to_owned()));
    }
    let named = config
        .map(Path::to_owned)
        .or_else(|| variable("HOOKWHEEL_CONFIG").map(PathBuf::from));
    let path = named
        .clone()
        .unwrap_or_else(|| PathBuf::from(CONFIG_DEFAULT));
    match read_bounded(&path, CONFIG_BYTES_MAX) {
        Ok(text) => Ok((
            url_of_config(&text, &path)?,
            format!("`listen` of {}", path.display()),
        )),
        // The one that was named on the command line is meant.
        Err(error) if config.is_some() => {
            let detail = format!("{} cannot be read: {error}", path.display());
            Err(Fault::usage("config_unreadable", detail)
                .hint("or tell the daemon's address with --url"))
        }
        Err(error) => {
            let why = match named {
                Some(path) => format!("the default, as {} cannot be read: {error}", path.display()),
                None => "the default".to_owned(),
            };
            Ok((URL_DEFAULT.to_owned(), why))
        }
    }
}

/// Where the daemon of a config listens. Only that is read: the rest may be for the daemon's user only.
fn url_of_config(text: &str, path: &Path) -> Done<String> {
    let refused = |why: String| {
        let detail = format!("{}: {why}", path.display());
        Fault::usage("config_invalid", detail).hint(
            "`hookwheel check` says what is wrong with it; or tell the daemon's address with --url",
        )
    };
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| refused(error.message().to_owned()))?;
    let server = table.get("server").and_then(toml::Value::as_table);
    let listen = variable("HOOKWHEEL_SERVER__LISTEN").or_else(|| {
        let listen = server?.get("listen")?.as_str()?;
        Some(listen.to_owned())
    });
    let address = match &listen {
        None => SocketAddr::from(([127, 0, 0, 1], 8420)),
        Some(listen) => listen.parse().map_err(|_| {
            refused(format!(
                "`{listen}` in [server] listen is not an address with a port"
            ))
        })?,
    };
    if address.port() == 0 {
        return Err(refused(
            "the daemon takes any free port, which its log tells".to_owned(),
        ));
    }
    let is_tls = server.is_some_and(|server| server.contains_key("tls"));
    Ok(url_at(address, is_tls))
}

/// The URL at which this machine reaches the daemon of a config.
#[must_use]
pub fn url_of(config: &Config) -> String {
    url_at(config.server.listen, config.identity.is_some())
}

fn url_at(address: SocketAddr, is_tls: bool) -> String {
    // What listens on all addresses is reached on the loopback one.
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let scheme = if is_tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(ip, address.port()))
}

/// Where a URL leads, and whether over TLS.
fn read_url(text: &str, from: &str) -> Done<(Place, bool)> {
    let refused = |why: &str| {
        Fault::usage("url_invalid", format!("`{text}`, from {from}, {why}"))
            .hint("write one such as http://127.0.0.1:8420 or https://hooks.example.com")
    };
    let url = Url::parse(text).map_err(|error| refused(&format!("is no URL: {error}")))?;
    let is_tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return Err(refused("must begin with http:// or https://")),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused(
            "must not hold a user or a password: the key is told apart from it",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("must end before ? and #"));
    }
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => return Err(refused("has no host")),
    };
    let port = url.port_or_known_default().unwrap_or(80);
    let prefix = url.path().trim_end_matches('/').to_owned();
    Ok((Place { host, port, prefix }, is_tls))
}

fn find_key(options: &Access, need: Need) -> Done<Option<(String, String)>> {
    if let Some(path) = &options.key_file {
        return key_of_file(path, "--key-file").map(Some);
    }
    if let Some(path) = variable("HOOKWHEEL_API_KEY_FILE") {
        return key_of_file(Path::new(&path), "HOOKWHEEL_API_KEY_FILE").map(Some);
    }
    if let Some(key) = variable("HOOKWHEEL_API_KEY") {
        let from = "the variable HOOKWHEEL_API_KEY".to_owned();
        return Ok(Some((checked_key(&key, &from)?, from)));
    }
    if need == Need::KeyIfAny {
        return Ok(None);
    }
    if !std::io::stdin().is_terminal() {
        let detail = "no API key was given";
        return Err(Fault::usage("key_missing", detail)
            .hint("give one by --key-file FILE, HOOKWHEEL_API_KEY_FILE or HOOKWHEEL_API_KEY")
            .hint("`hookwheel key new` makes one, and the lines of the config that let it in"));
    }
    let from = "what was typed".to_owned();
    let typed = ask_key()
        .map_err(|error| Fault::new("key_missing", format!("no key could be read: {error}")))?;
    Ok(Some((checked_key(&typed, &from)?, from)))
}

fn key_of_file(path: &Path, from: &str) -> Done<(String, String)> {
    let text = read_bounded(path, KEY_BYTES_MAX).map_err(|error| {
        let detail = format!(
            "the key file {} ({from}) cannot be read: {error}",
            path.display()
        );
        Fault::usage("key_unreadable", detail)
    })?;
    let from = format!("the file {}, told by {from}", path.display());
    Ok((checked_key(&text, &from)?, from))
}

/// A key as it goes into a header. What is wrong with it is told without it.
fn checked_key(text: &str, from: &str) -> Done<String> {
    let key = text.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let detail = format!("{from} holds no API key: it must be one word of visible characters");
        return Err(Fault::usage("key_invalid", detail));
    }
    Ok(key.to_owned())
}

/// Reads a text file that must not be longer than so many bytes.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> std::io::Result<String> {
    text_of(std::fs::File::open(path)?, bytes_max)
}

/// Reads text to its end, which must not be longer than so many bytes.
pub(super) fn text_of(source: impl std::io::Read, bytes_max: u64) -> std::io::Result<String> {
    let mut text = String::new();
    source.take(bytes_max + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes > bytes_max) {
        return Err(std::io::Error::other(format!(
            "it has more than {bytes_max} bytes"
        )));
    }
    Ok(text)
}

/// Asks for the key on the terminal, without showing what is typed. Its keys come one by one, and those that would
/// end the process too: so the terminal is always left as it was.
fn ask_key() -> std::io::Result<String> {
    const INTERRUPT: u8 = 3;
    const END: u8 = 4;
    const ERASE: [u8; 2] = [8, 127];
    let mut terminal = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent
        .local_modes
        .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    silent.special_codes[SpecialCodeIndex::VMIN] = 1;
    silent.special_codes[SpecialCodeIndex::VTIME] = 0;
    write!(terminal, "API key: ")?;
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let mut typed = Vec::new();
    let mut byte = [0_u8];
    let read = loop {
        if let Err(error) = terminal.read_exact(&mut byte) {
            break Err(error);
        }
        let [byte] = byte;
        match byte {
            b'\r' | b'\n' | END => break Ok(()),
            INTERRUPT => break Err(std::io::Error::other("interrupted")),
            byte if ERASE.contains(&byte) => {
                typed.pop();
            }
            byte if u64::try_from(typed.len()).is_ok_and(|bytes| bytes < KEY_BYTES_MAX) => {
                typed.push(byte)
            }
            _ => break Err(std::io::Error::other("it is too long")),
        }
    };
    tcsetattr(&terminal, OptionalActions::Now, &before)?;
    writeln!(terminal)?;
    read?;
    String::from_utf8(typed).map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(config: &str) -> Result<String, String> {
        url_of_config(config, Path::new("c.toml")).map_err(|fault| fault.detail)
    }

    #[test]
    fn a_config_tells_where_its_daemon_listens() {
        assert_eq!(url("").unwrap(), "http://127.0.0.1:8420");
        assert_eq!(
            url("[server]\nlisten = \"0.0.0.0:99\"").unwrap(),
            "http://127.0.0.1:99"
        );
        assert_eq!(
            url("[server]\nlisten = \"[::]:99\"\n[server.tls]\nkey = \"k\"").unwrap(),
            "https://[::1]:99"
        );
        assert!(
            url("[server]\nlisten = \"127.0.0.1:0\"")
                .unwrap_err()
                .contains("any free port")
        );
        assert!(
            url("[server]\nlisten = \"here\"")
                .unwrap_err()
                .contains("`here`")
        );
        assert!(url("[server").unwrap_err().starts_with("c.toml: "));
    }

    #[test]
    fn urls_lead_to_places() {
        let (place, is_tls) = read_url("https://[::1]:8420/hooks/", "--url").unwrap();
        assert!(is_tls);
        assert_eq!(
            (place.authority().as_str(), place.prefix.as_str()),
            ("[::1]:8420", "/hooks")
        );
        let (place, is_tls) = read_url("http://hooks.example.com", "--url").unwrap();
        assert_eq!(
            (place.authority().as_str(), is_tls),
            ("hooks.example.com:80", false)
        );
        for bad in [
            "127.0.0.1:8420",
            "ftp://a",
            "http://u:p@a",
            "http://a/?x",
            "here",
        ] {
            let fault = read_url(bad, "--url").unwrap_err();
            assert!(
                fault.detail.contains(bad) && fault.exit == 64,
                "{}",
                fault.detail
            );
        }
    }

    #[test]
    fn a_key_that_is_none_is_not_repeated() {
        assert_eq!(checked_key(" hwk_1\n", "here").unwrap(), "hwk_1");
        for bad in ["", " \n", "two words", "schlüssel"] {
            let fault = checked_key(bad, "the file f").unwrap_err();
            assert!(
                fault.detail.starts_with("the file f holds no API key"),
                "{}",
                fault.detail
            );
        }
    }
}
