//! The operator's proxy: which addresses are reached through it, and the tunnel that it makes to one of them.
//!
//! The proxy is asked for an address that was judged here, not for a name, unless the operator has handed names over to
//! it ([`ProxyOptions::resolves_names`]). TLS to the receiver runs inside the tunnel, so the proxy sees neither requests
//! nor secrets. Its own address is the operator's and is not judged.
//!
//! Whatever a proxy answers, a bound stands against it in bytes and in time, and the fault says that it was the proxy.
//! Tenants are told no more than its status; where it is stands in the log.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dial::{DIALS_MAX, Dialler, alternating};
use super::fault::Fault;
use super::resolve::Names;
use crate::model::{FaultKind, Host, Secret, is_local_name};

mod http;
mod socks;

/// How long the proxy may take for its connection to one address. Others of the same name may work, and the request's
/// deadline spans them all.
const TUNNEL_TIME_MAX: Duration = Duration::from_secs(15);

/// What the sender needs to know of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyOptions {
    /// How it is spoken to.
    pub protocol: ProxyProtocol,
    /// Its host.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// Who we are to it, if it asks.
    pub login: Option<ProxyLogin>,
    /// What is dialled directly.
    pub bypass: Bypass,
    /// Whether names are handed over to it unresolved. What they resolve to is not judged by anybody here then.
    pub resolves_names: bool,
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// HTTP `CONNECT` (RFC 9110, 9.3.6), with Basic credentials (RFC 7617).
    Http,
    /// SOCKS 5 (RFC 1928), with a user name and password (RFC 1929).
    Socks5,
}

/// A user name and password for a proxy. Neither has more than 255 bytes, which is what SOCKS 5 can carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyLogin {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// What is dialled directly though there is a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bypass {
    /// These addresses.
    pub ranges: Vec<IpNet>,
    /// These names, lower case: `host.example` is that one, `.corp.example` every name below.
    pub names: Vec<String>,
}

/// Where a connection leads, and how.
pub(super) enum Way<'a> {
    /// To one of these addresses, dialled from here.
    Direct(Vec<IpAddr>),
    /// To one of these targets, through the proxy.
    Proxied(&'a ProxyOptions, Vec<Target>),
}

/// What a proxy is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// An address that was judged.
    Address(IpAddr),
    /// A name that the operator lets the proxy resolve.
    Name(String),
}

/// Why a proxy made no tunnel.
#[derive(Debug)]
struct Refusal {
    /// What tenants are told, after "the proxy that requests go through".
    said: String,
    /// What the operator can do.
    remedy: &'static str,
    /// Whether another address of the same name may fare better.
    is_of_target: bool,
}

impl Bypass {
    fn has_name(&self, name: &str) -> bool {
        self.names
            .iter()
            .any(|entry| match entry.strip_prefix('.') {
                Some(_) => name.ends_with(entry.as_str()),
                None => name == entry,
            })
    }

    fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.ranges.iter().any(|range| range.contains(&address))
    }
}

impl ProxyOptions {
    /// Whether a name is to be given to the proxy as it is. Names that never leave the site are not, nor those of one
    /// label (`ip6-localhost`): they would mean the proxy's own machine, or what is beside it.
    pub(super) fn takes_name(&self, name: &str) -> bool {
        let stays = !name.contains('.') || is_local_name(name);
        self.resolves_names && !self.bypass.has_name(name) && !stays
    }

    /// Whether an address is dialled from here. A loopback one is, unless the proxy is on this machine itself: it was
    /// allowed as this machine's, and to the proxy it would mean the proxy's.
    fn is_direct(&self, address: IpAddr) -> bool {
        let is_far = match &self.host {
            Host::Address(own) => !own.to_canonical().is_loopback(),
            Host::Name(own) => own != "localhost",
        };
        self.bypass.has(address) || (is_far && address.to_canonical().is_loopback())
    }

    /// The way to a host with these addresses, all of them judged.
    pub(super) fn way(&self, host: &Host, addresses: Vec<IpAddr>) -> Way<'_> {
        if let Host::Name(name) = host
            && self.bypass.has_name(name)
        {
            return Way::Direct(addresses);
        }
        let is_direct = |address: &IpAddr| self.is_direct(*address);
        let (direct, proxied): (Vec<_>, Vec<_>) = addresses.into_iter().partition(is_direct);
        if direct.is_empty() {
            let targets = alternating(&proxied).into_iter().map(Target::Address);
            return Way::Proxied(self, targets.take(DIALS_MAX).collect());
        }
        Way::Direct(direct)
    }

    /// Has the proxy connect to the first of these targets that it can reach.
    ///
    /// # Errors
    /// A fault of the kind [`FaultKind::Connect`]. The caller keeps the deadline over all targets.
    pub(super) async fn tunnel(
        &self,
        by: (&Names, &Dialler),
        targets: &[Target],
        port: u16,
    ) -> Result<TcpStream, Fault> {
        let mut failed = None;
        for target in targets {
            let tried = timeout(TUNNEL_TIME_MAX, self.through(by, target, port)).await;
            let refusal = match tried {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(refusal)) => refusal,
                Err(_) => Refusal {
                    said: format!("did not answer in {} s", TUNNEL_TIME_MAX.as_secs()),
                    remedy: "see whether it is up, and may go there",
                    is_of_target: true,
                },
            };
            let fault = self.fault(&refusal, target, port);
            if !refusal.is_of_target {
                return Err(fault);
            }
            failed = Some(fault);
        }
        Err(failed.unwrap_or_else(|| Fault::new(FaultKind::Connect, "no address")))
    }

    async fn through(
        &self,
        by: (&Names, &Dialler),
        target: &Target,
        port: u16,
    ) -> Result<TcpStream, Refusal> {
        let mut stream = self.reach(by).await?;
        let login = self.login.as_ref();
        match self.protocol {
            ProxyProtocol::Http => http::connect(&mut stream, target, port, login).await?,
            ProxyProtocol::Socks5 => socks::connect(&mut stream, target, port, login).await?,
        }
        Ok(stream)
    }

    /// A connection to the proxy itself.
    async fn reach(&self, (names, dialler): (&Names, &Dialler)) -> Result<TcpStream, Refusal> {
        const REMEDY: &str = "see whether it is up, and whether [egress] proxy names it rightly";
        let addresses = match &self.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => names.addresses(name, None).await.map_err(|_| Refusal {
                said: "has a name that does not resolve".to_owned(),
                remedy: REMEDY,
                is_of_target: false,
            })?,
        };
        let dialled = dialler.dial(&addresses, self.port).await;
        dialled.map_err(|failed| {
            tracing::debug!(failed = ?failed, "no connection to the proxy");
            Refusal {
                said: "cannot be connected to".to_owned(),
                remedy: REMEDY,
                is_of_target: false,
            }
        })
    }

    fn fault(&self, refusal: &Refusal, target: &Target, port: u16) -> Fault {
        let said = &refusal.said;
        let detail = format!("the proxy that requests go through {said}");
        let target = target.with_port(port);
        let inside = format!(
            "the proxy {self} {said}; asked for {target}; {}",
            refusal.remedy
        );
        Fault::new(FaultKind::Connect, detail).warning(inside)
    }
}

impl std::fmt::Display for ProxyOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.protocol {
            ProxyProtocol::Http => "http",
            ProxyProtocol::Socks5 => "socks5",
        };
        match &self.host {
            Host::Name(name) => write!(f, "{scheme}://{name}:{}", self.port),
            Host::Address(address) => {
                write!(f, "{scheme}://{}", SocketAddr::new(*address, self.port))
            }
        }
    }
}

impl Target {
    fn with_port(&self, port: u16) -> String {
        match self {
            Self::Address(address) => SocketAddr::new(*address, port).to_string(),
            Self::Name(name) => format!("{name}:{port}"),
        }
    }
}

impl Refusal {
    /// The connection to the proxy broke.
    fn broken(error: &std::io::Error) -> Self {
        let said = match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "closed the connection before it answered",
            _ => "broke the connection before it answered",
        };
        Self {
            said: said.to_owned(),
            remedy: "see its log",
            is_of_target: false,
        }
    }

    /// What came is no answer.
    fn garbage(protocol: &str) -> Self {
        Self {
            said: format!("does not speak {protocol} on this port"),
            remedy: "correct [egress] proxy: http:// for CONNECT, socks5:// for SOCKS 5",
            is_of_target: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ranges_are_bypassed_as_written() {
        let bypass = Bypass {
            ranges: vec!["10.20.0.0/16".parse().unwrap()],
            names: vec![".corp.example".to_owned(), "one.example".to_owned()],
        };
        for (name, expected) in [
            ("a.corp.example", true),
            ("a.b.corp.example", true),
            ("corp.example", false),
            ("acorp.example", false),
            ("one.example", true),
            ("a.one.example", false),
        ] {
            assert_eq!(bypass.has_name(name), expected, "{name}");
        }
        assert!(bypass.has("10.20.1.1".parse().unwrap()));
        assert!(bypass.has("::ffff:10.20.1.1".parse().unwrap()));
        assert!(!bypass.has("10.21.1.1".parse().unwrap()));
    }

    #[test]
    fn of_a_name_with_addresses_inside_and_outside_those_inside_are_dialled() {
        let proxy = ProxyOptions {
            protocol: ProxyProtocol::Socks5,
            host: Host::Name("proxy.example".to_owned()),
            port: 1080,
            login: None,
            bypass: Bypass {
                ranges: vec!["10.0.0.0/8".parse().unwrap()],
                names: Vec::new(),
            },
            resolves_names: true,
        };
        let addresses = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let host = Host::Name("a.example".to_owned());
        let way = proxy.way(&host, addresses(&["198.41.0.4", "10.0.0.1"]));
        assert!(matches!(way, Way::Direct(found) if found == addresses(&["10.0.0.1"])));
        let way = proxy.way(&host, addresses(&["198.41.0.4"]));
        assert!(matches!(way, Way::Proxied(_, targets) if targets.len() == 1));
        assert!(proxy.takes_name("a.example"));
        for name in [
            "localhost",
            "db.internal",
            "localhost.localdomain",
            "ip6-localhost",
            "ip6-loopback",
            "localhost6",
            "nas.home.arpa",
            "intranet",
        ] {
            assert!(!proxy.takes_name(name), "{name}");
        }
        assert_eq!(proxy.to_string(), "socks5://proxy.example:1080");

        // A loopback address was allowed as this machine's: another machine's proxy is not asked for its own.
        for (own, is_direct) in [
            ("proxy.example", true),
            ("10.0.0.9", true),
            ("localhost", false),
            ("127.0.0.1", false),
            ("::1", false),
        ] {
            let host = match own.parse() {
                Ok(address) => Host::Address(address),
                Err(_) => Host::Name(own.to_owned()),
            };
            let proxy = ProxyOptions {
                host,
                ..proxy.clone()
            };
            for to in ["127.0.0.1", "::1", "::ffff:127.9.9.9"] {
                let host = Host::Address(to.parse().unwrap());
                let way = proxy.way(&host, addresses(&[to]));
                assert_eq!(matches!(way, Way::Direct(_)), is_direct, "{own} {to}");
            }
        }
    }
}
