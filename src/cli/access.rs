//! Where a daemon's API is, and with which key: told by arguments, by the environment, or by the daemon's own config.
//!
//! A key is never an argument, which others on the machine could see, and stands in no message.

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::net::lookup_host;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::client::{Client, Trust};
use crate::config::Config;

/// Where a daemon listens unless its config says otherwise.
const URL_DEFAULT: &str = "http://127.0.0.1:8420";
const KEY_VARIABLE: &str = "HOOKWHEEL_API_KEY";
/// A key is a line; more is some other file.
const KEY_BYTES_MAX: u64 = 4 << 10;

/// How the API is reached.
#[derive(Debug, Args)]
pub struct ApiAccess {
    /// The API's URL [default: what the config says, or http://127.0.0.1:8420].
    #[arg(long, value_name = "URL", env = "HOOKWHEEL_URL")]
    pub url: Option<String>,
    /// A file that holds the API key; without it the variable HOOKWHEEL_API_KEY
    /// does.
    #[arg(long, value_name = "FILE", env = "HOOKWHEEL_API_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// A PEM file with the authority of the API's certificate, for https.
    #[arg(long, value_name = "FILE", env = "HOOKWHEEL_CA")]
    pub ca: Option<PathBuf>,
}

impl ApiAccess {
    /// A client of the API, and its URL for people. `config` is the daemon's, where it is known.
    ///
    /// # Errors
    /// What cannot be used, and what to do.
    pub async fn client(&self, config: Option<&Path>) -> Result<(Client, String), String> {
        let text = match &self.url {
            Some(url) => url.clone(),
            None => config
                .and_then(|path| Config::load(path).ok())
                .map_or_else(|| URL_DEFAULT.to_owned(), |config| url_of(&config)),
        };
        let (url, address) = resolved(&text).await?;
        let key = self.key()?;
        let shown = url.as_str().trim_end_matches('/').to_owned();
        if url.scheme() == "http" {
            return Ok((Client::new(address, &key), shown));
        }
        let Some(ca) = &self.ca else {
            return Err(format!(
                "{shown} speaks TLS; name its authority with --ca FILE, or HOOKWHEEL_CA"
            ));
        };
        let name = url.host_str().unwrap_or_default();
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let trust = Trust::of_file(name, ca).map_err(|error| format!("{error:#}"))?;
        Ok((Client::over_tls(address, &key, trust), shown))
    }

    fn key(&self) -> Result<Zeroizing<String>, String> {
        let Some(path) = &self.key_file else {
            let key = std::env::var(KEY_VARIABLE).ok();
            return key.filter(|key| !key.is_empty()).map(Zeroizing::new).ok_or_else(|| {
                format!(
                    "there is no API key; name its file with --key-file, or HOOKWHEEL_API_KEY_FILE, or set {KEY_VARIABLE}"
                )
            });
        };
        let shown = path.display();
        let mut key = Zeroizing::new(String::new());
        let read =
            File::open(path).and_then(|file| file.take(KEY_BYTES_MAX + 1).read_to_string(&mut key));
        match read {
            Err(error) => Err(format!("the API key cannot be read from {shown}: {error}")),
            Ok(0) => Err(format!("{shown} is empty; put the API key there")),
            Ok(count) if u64::try_from(count).is_ok_and(|count| count > KEY_BYTES_MAX) => Err(
                format!("{shown} is larger than {KEY_BYTES_MAX} bytes; is it the right file?"),
            ),
            Ok(_) => Ok(Zeroizing::new(key.trim().to_owned())),
        }
    }
}

/// The URL at which this machine reaches the daemon of a config.
#[must_use]
pub fn url_of(config: &Config) -> String {
    let mut address = config.server.listen;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let scheme = if config.identity.is_some() {
        "https"
    } else {
        "http"
    };
    format!("{scheme}://{address}")
}

async fn resolved(text: &str) -> Result<(Url, SocketAddr), String> {
    let refused = || {
        format!("`{text}` cannot be the API's URL; write one such as {URL_DEFAULT}, without a path")
    };
    let url = Url::parse(text).map_err(|_| refused())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && matches!(url.path(), "" | "/")
        && url.username().is_empty()
        && url.password().is_none();
    let (Some(host), Some(port), true) = (url.host(), url.port_or_known_default(), plain) else {
        return Err(refused());
    };
    let address = match host {
        Host::Ipv4(ip) => SocketAddr::from((ip, port)),
        Host::Ipv6(ip) => SocketAddr::from((ip, port)),
        Host::Domain(name) => lookup_host((name, port))
            .await
            .ok()
            .and_then(|mut found| found.next())
            .ok_or_else(|| format!("the host `{name}` of {text} has no address"))?,
    };
    Ok((url, address))
}
