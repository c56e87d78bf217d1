//! From an endpoint to an open connection: resolve, vet, dial, shake hands.
//!
//! The addresses that are judged are those that are dialled, or that a proxy is asked for: they come from one look-up
//! and stay in one function. No packet goes to a host of which any address is refused, as nobody could say which of them
//! a receiver's DNS would offer next.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use super::exchange::Connection;
use super::fault::{self, Fault};
use super::guard;
use super::progress::{Phase, Progress};
use super::proxy::{ProxyOptions, Target, Way};
use super::resolve::Names;
use super::trust::Trust;
use crate::model::{AddressPolicy, AddressRule, BLOCKED_TEXT, Endpoint, FaultKind, Host};

/// Addresses of one name that are dialled, at most: if eight do not answer, the ninth will not before
/// the deadline.
pub(super) const DIALS_MAX: usize = 8;
/// How long an address is dialled before the next one is tried beside it (RFC 8305, 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Opens connections.
pub(super) struct Connector {
    policy: AddressPolicy,
    names: Names,
    proxy: Option<ProxyOptions>,
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
            tasks,
        }
    }

    /// Opens a connection to an endpoint's host and port.
    ///
    /// # Errors
    /// The fault of the phase that failed. The caller keeps the deadline.
    pub(super) async fn open(
        &self,
        endpoint: &Endpoint,
        trust: &Trust,
        progress: &mut Progress,
    ) -> Result<Connection, Fault> {
        let stream = self.handshake(endpoint, trust, progress).await?;
        Connection::start(stream, &self.tasks).await
    }

    /// As [`Connector::open`], up to the handshake's end.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn handshake(
        &self,
        endpoint: &Endpoint,
        trust: &Trust,
        progress: &mut Progress,
    ) -> Result<TlsStream<TcpStream>, Fault> {
        let (host, port) = (endpoint.host(), endpoint.port());
        let stream = match self.way(&host, port, progress).await? {
            Way::Direct(addresses) => {
                progress.enter(Phase::Connecting);
                let dialled = dial(&addresses, port).await;
                dialled.map_err(|failed| unreached(&host, port, failed))?
            }
            Way::Proxied(proxy, targets) => {
                progress.enter(Phase::Tunnelling);
                proxy.tunnel(&self.names, &targets, port).await?
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
    async fn way(&self, host: &Host, port: u16, progress: &mut Progress) -> Result<Way<'_>, Fault> {
        let judged = self.policy.judge_host(host);
        judged.map_err(|rule| blocked(&rule, &shown(host)))?;
        let (addresses, of) = match host {
            Host::Address(address) => (vec![*address], String::new()),
            Host::Name(name) => {
                if let Some(proxy) = self.proxy.as_ref().filter(|proxy| proxy.takes_name(name)) {
                    return Ok(Way::Proxied(proxy, vec![Target::Name(name.clone())]));
                }
                let addresses = self.names.addresses(name).await?;
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

/// Connects to the first address that answers. Each has a head start before the next one is tried beside
/// it, so that a dead one costs a moment and not the deadline.
///
/// # Errors
/// The last address that failed, and how; `None` where there is none.
pub(super) async fn dial(
    addresses: &[IpAddr],
    port: u16,
) -> Result<TcpStream, Option<(SocketAddr, io::Error)>> {
    let mut waiting = alternating(addresses)
        .into_iter()
        .take(DIALS_MAX)
        .map(|address| SocketAddr::new(address, port));
    let mut dials: Vec<Dial> = Vec::new();
    let mut failed = None;
    loop {
        if let Some(address) = waiting.next() {
            dials.push(Box::pin(async move {
                (address, TcpStream::connect(address).await)
            }));
        }
        if dials.is_empty() {
            return Err(failed);
        }
        tokio::select! {
            (address, result) = first(&mut dials) => match result.and_then(prompt) {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = Some((address, error)),
            },
            () = sleep(HEAD_START), if waiting.size_hint().0 > 0 => {}
        }
    }
}

type Dial = Pin<Box<dyn Future<Output = (SocketAddr, io::Result<TcpStream>)> + Send>>;

/// The first of the dials to end; it is taken out.
async fn first(dials: &mut Vec<Dial>) -> (SocketAddr, io::Result<TcpStream>) {
    poll_fn(|cx| {
        for (index, dial) in dials.iter_mut().enumerate() {
            if let Poll::Ready(ended) = dial.as_mut().poll(cx) {
                drop(dials.swap_remove(index));
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    })
    .await
}

/// A request is one write; it is not to wait for company.
fn prompt(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The addresses with their families taking turns (RFC 8305, 4), each once, the resolver's first one
/// first.
pub(super) fn alternating(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut unique: Vec<IpAddr> = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !unique.contains(address) {
            unique.push(*address);
        }
    }
    let Some(first_is_v6) = unique.first().map(IpAddr::is_ipv6) else {
        return unique;
    };
    let (same, other): (Vec<IpAddr>, Vec<IpAddr>) = unique
        .iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    unique.clear();
    while same.len() + other.len() > 0 {
        unique.extend(same.next());
        unique.extend(other.next());
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_nothing_is_lost() {
        let parse = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        assert_eq!(
            alternating(&parse(&["::1", "::2", "::1", "::3", "1.1.1.1", "1.1.1.2"])),
            parse(&["::1", "1.1.1.1", "::2", "1.1.1.2", "::3"])
        );
        assert_eq!(
            alternating(&parse(&["1.1.1.1", "::1"])),
            parse(&["1.1.1.1", "::1"])
        );
        assert_eq!(alternating(&[]), Vec::<IpAddr>::new());
    }
}
