//! Where the daemon is and which key it is shown: options, environment, config, in this order.
//!
//! A key is never an argument, as others on the machine can see these.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::cli::client::{Answer, Client, Trust};
use crate::config::Config;

/// Which daemon, and with which key.
#[derive(Debug, Args)]
pub struct ReachOptions {
    /// The daemon's API; the default is `listen` of the config.
    #[arg(long, value_name = "URL", env = "HOOKWHEEL_URL")]
    url: Option<String>,
    /// A file that holds an API key of the account to look at; or the key itself in HOOKWHEEL_API_KEY.
    #[arg(long, value_name = "FILE", env = "HOOKWHEEL_API_KEY_FILE")]
    key_file: Option<PathBuf>,
    /// PEM file with the authority of the daemon's certificate.
    #[arg(long, value_name = "FILE", env = "HOOKWHEEL_CA")]
    ca: Option<PathBuf>,
}

/// A client, and where its daemon is.
pub(super) struct Reach {
    pub(super) client: Client,
    url: String,
}

impl ReachOptions {
    /// Whether a key is named.
    pub(super) fn has_key(&self) -> bool {
        self.key_file.is_some() || std::env::var_os("HOOKWHEEL_API_KEY").is_some()
    }

    fn key(&self) -> anyhow::Result<String> {
        if let Some(path) = &self.key_file {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("the key file {} cannot be read", path.display()))?;
            return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
        }
        std::env::var("HOOKWHEEL_API_KEY").context(
            "no API key: name a file that holds one, --key-file FILE or HOOKWHEEL_API_KEY_FILE, or put the key into \
             HOOKWHEEL_API_KEY",
        )
    }
}

impl Reach {
    /// Finds it.
    pub(super) fn find(options: &ReachOptions, config: &Config) -> anyhow::Result<Self> {
        let key = options.key()?;
        let url = match &options.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let scheme = match &config.identity {
                    Some(_) => "https",
                    None => "http",
                };
                format!("{scheme}://{}", reachable(config.server.listen))
            }
        };
        let (scheme, authority) = url.split_once("://").with_context(|| {
            format!("`{url}` is no URL; write http://HOST:PORT or https://HOST:PORT")
        })?;
        let (host, port) = parted(authority, scheme);
        let mut found = (host, port)
            .to_socket_addrs()
            .with_context(|| format!("`{host}` cannot be resolved"))?;
        let address = found
            .next()
            .with_context(|| format!("`{host}` has no address"))?;
        let client = match scheme {
            "http" => Client::new(address, &key),
            "https" => {
                let ca = options.ca.as_deref().context(
                    "the daemon speaks TLS: name the authority of its certificate, --ca FILE or HOOKWHEEL_CA",
                )?;
                Client::over_tls(address, &key, Trust::of_file(host, ca)?)
            }
            _ => bail!("`{url}` is neither http:// nor https://"),
        };
        Ok(Self { client, url })
    }

    /// Reads a good answer; says what to do about another one.
    pub(super) fn read(&self, answer: Answer, path: &str) -> anyhow::Result<Value> {
        let (status, url) = (answer.status, &self.url);
        ensure!(
            status != 401,
            "{url} does not know the key; name one of the account that is to be looked at"
        );
        ensure!(
            status != 404,
            "{url} has nothing at {path}: it is another server, or an older version"
        );
        let detail = answer.body.get("detail").and_then(Value::as_str);
        let detail = detail.unwrap_or("no reason given");
        ensure!(status == 200, "{url} answered {status}: {detail}");
        Ok(answer.body)
    }
}

/// The host without brackets, and the port.
fn parted<'u>(authority: &'u str, scheme: &str) -> (&'u str, u16) {
    let default = if scheme == "https" { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => {
            (host, port.parse().unwrap_or(default))
        }
        _ => (authority, default),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

/// An address that can be connected to, of one that is listened on.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_its_host_and_port() {
        assert_eq!(parted("127.0.0.1:8420", "http"), ("127.0.0.1", 8420));
        assert_eq!(parted("[::1]:8420", "http"), ("::1", 8420));
        assert_eq!(parted("hooks.example", "https"), ("hooks.example", 443));
        let any = "0.0.0.0:7".parse().unwrap();
        assert_eq!(reachable(any).to_string(), "127.0.0.1:7");
    }
}
