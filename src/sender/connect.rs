//! From an endpoint to an open connection: resolve, vet, dial, shake hands.
//!
//! The addresses that are judged are those that are dialled, or that a proxy is asked for: they come from one look-up
//! and stay in one function. No packet goes to a host of which any address is refused, as nobody could say which of them
//! a receiver's DNS would offer next.

use std::io;
use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use super::dial::Dialler;
use super::exchange::Connection;
use super::fault::{self, Fault};
use super::guard;
use super::progress::{Phase, Progress};
use super::proxy::{ProxyOptions, Target, Way};
use super::resolve::Names;
use super::trust::Trust;
use crate::model::{
    AccountName, AddressPolicy, AddressRule, BLOCKED_TEXT, Endpoint, FaultKind, Host,
};

/// Where a request goes.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    /// Its host and port.
    pub(super) endpoint: &'a Endpoint,
    /// Under which TLS settings.
    pub(super) trust: &'a Trust,
    /// For whom, where it is a tenant.
    pub(super) account: Option<&'a AccountName>,
}

/// Opens connections.
pub(super) struct Connector {
    policy: AddressPolicy,
    names: Names,
    proxy: Option<ProxyOptions>,
    dialler: Dialler,
    tasks: TaskTracker,
}

impl Connector {
    pub(super) const fn new(
        policy: AddressPolicy,
        names: Names,
        proxy: Option<ProxyOptions>,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            policy,
            names,
            proxy,
            dialler: Dialler::new(),
            tasks,
        }
    }

    /// Opens a connection to an endpoint's host and port.
    ///
    /// # Errors
    /// The fault of the phase that failed. The caller keeps the deadline.
    pub(super) async fn open(
        &self,
        to: Destination<'_>,
        progress: &mut Progress,
    ) -> Result<Connection, Fault> {
        let stream = self.handshake(to, progress).await?;
        Connection::start(stream, &self.tasks).await
    }

    /// As [`Connector::open`], up to the handshake's end.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn handshake(
        &self,
        to: Destination<'_>,
        progress: &mut Progress,
    ) -> Result<TlsStream<TcpStream>, Fault> {
        let Destination {
            endpoint, trust, ..
        } = to;
        let (host, port) = (endpoint.host(), endpoint.port());
        let stream = match self.way(&host, to, progress).await? {
            Way::Direct(addresses) => {
                progress.enter(Phase::Connecting);
                let dialled = self.dialler.dial(&addresses, port).await;
                dialled.map_err(|failed| unreached(&host, port, failed))?
            }
            Way::Proxied(proxy, targets) => {
                progress.enter(Phase::Tunnelling);
                let by = (&self.names, &self.dialler);
                proxy.tunnel(by, &targets, port).await?
            }
        };
        progress.enter(Phase::Handshaking);
        let shown = shown(&host);
        let server = match host {
            Host::Address(address) => ServerName::from(address),
            Host::Name(name) => ServerName::try_from(name).map_err(|_| {
                let detail = format!("no certificate can be for the host {shown}");
                Fault::new(FaultKind::Tls, detail)
            })?,
        };
        trust
            .connector()
            .connect(server, stream)
            .await
            .map_err(|error| fault::handshake(&error, &shown, &trust.missing_ca()))
    }

    /// How a host is reached: every address of it is judged, here and now, whoever dials it.
    async fn way(
        &self,
        host: &Host,
        to: Destination<'_>,
        progress: &mut Progress,
    ) -> Result<Way<'_>, Fault> {
        let port = to.endpoint.port();
        let judged = self.policy.judge_host(host);
        judged.map_err(|rule| blocked(&rule, &shown(host)))?;
        let (addresses, of) = match host {
            Host::Address(address) => (vec![*address], String::new()),
            Host::Name(name) => {
                if let Some(proxy) = self.proxy.as_ref().filter(|proxy| proxy.takes_name(name)) {
                    return Ok(Way::Proxied(proxy, vec![Target::Name(name.clone())]));
                }
                let addresses = self.names.addresses(name, to.account).await?;
                progress.resolved();
                (addresses, format!(", an address of {name}"))
            }
        };
        for address in &addresses {
            let judged = self.policy.judge_at(*address, port, guard::is_local);
            judged.map_err(|rule| {
                blocked(&rule, &format!("{}{of}", SocketAddr::new(*address, port)))
            })?;
        }
        Ok(match &self.proxy {
            Some(proxy) => proxy.way(host, addresses),
            None => Way::Direct(addresses),
        })
    }
}

fn shown(host: &Host) -> String {
    match host {
        Host::Name(name) => name.clone(),
        Host::Address(address) => address.to_string(),
    }
}

fn blocked(rule: &AddressRule, subject: &str) -> Fault {
    // The rule first: a long name may be cut off.
    Fault::new(FaultKind::AddressBlocked, BLOCKED_TEXT)
        .warning(format!("nothing was sent, refused as {rule}; {subject}"))
}

/// Tenants are told the host as they wrote it: what an inside name resolves to is not theirs to know.
fn unreached(host: &Host, port: u16, failed: Option<(SocketAddr, io::Error)>) -> Fault {
    let Some((address, error)) = failed else {
        return Fault::new(FaultKind::Connect, "no address");
    };
    let host = match host {
        Host::Name(name) => format!("{name}:{port}"),
        Host::Address(address) => SocketAddr::new(*address, port).to_string(),
    };
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            let detail = format!("{host} refused the connection");
            return Fault::new(FaultKind::Connect, detail)
                .noting(format!("{host} refused the connection ({address})"));
        }
        io::ErrorKind::ConnectionReset => "the connection was reset",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "there is no way there"
        }
        io::ErrorKind::TimedOut => "nobody answers",
        _ => "it failed",
    };
    Fault::new(
        FaultKind::Connect,
        format!("no connection to {host}: {why}"),
    )
    .noting(format!("no connection to {host} ({address}): {error}"))
}
