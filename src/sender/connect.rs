//! From an endpoint to an open connection: resolve, vet, dial, shake hands.
//!
//! The addresses that are vetted are those that are dialled: they come from one look-up and stay in one
//! function. No packet goes to a host of which any address is refused, as nobody could say which of them
//! a receiver's DNS would offer next.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use super::exchange::Connection;
use super::fault::{self, Fault};
use super::progress::{Phase, Progress};
use super::resolve::Names;
use crate::model::{AddressPolicy, AddressRule, Endpoint, FaultKind, Host};

/// Addresses of one name that are dialled, at most: if eight do not answer, the ninth will not before
/// the deadline.
const DIALS_MAX: usize = 8;
/// How long an address is dialled before the next one is tried beside it (RFC 8305, 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Opens connections.
pub(super) struct Connector {
    policy: AddressPolicy,
    names: Names,
    tls: TlsConnector,
    tasks: TaskTracker,
}

impl Connector {
    pub(super) fn new(
        policy: AddressPolicy,
        names: Names,
        tls: Arc<ClientConfig>,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            policy,
            names,
            tls: TlsConnector::from(tls),
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
        progress: &mut Progress,
    ) -> Result<Connection, Fault> {
        let stream = self.handshake(endpoint, progress).await?;
        Connection::start(stream, &self.tasks).await
    }

    /// As [`Connector::open`], up to the handshake's end.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn handshake(
        &self,
        endpoint: &Endpoint,
        progress: &mut Progress,
    ) -> Result<TlsStream<TcpStream>, Fault> {
        let host = endpoint.host();
        let addresses = self.vetted(&host, progress).await?;
        progress.enter(Phase::Connecting);
        let stream = dial(&addresses, endpoint.port()).await?;
        progress.enter(Phase::Handshaking);
        let (server, shown) = match host {
            Host::Address(address) => (ServerName::from(address), address.to_string()),
            Host::Name(name) => match ServerName::try_from(name.clone()) {
                Ok(server) => (server, name),
                Err(_) => {
                    let detail = format!("no certificate can be for the host {name}");
                    return Err(Fault::new(FaultKind::Tls, detail));
                }
            },
        };
        self.tls
            .connect(server, stream)
            .await
            .map_err(|error| fault::handshake(&error, &shown))
    }

    /// The host's addresses, every one of them allowed.
    async fn vetted(&self, host: &Host, progress: &mut Progress) -> Result<Vec<IpAddr>, Fault> {
        self.policy
            .judge_host(host)
            .map_err(|rule| blocked(&rule, &shown(host)))?;
        let name = match host {
            Host::Address(address) => return Ok(vec![*address]),
            Host::Name(name) => name,
        };
        let addresses = self.names.addresses(name).await?;
        progress.resolved();
        for address in &addresses {
            self.policy
                .judge(*address)
                .map_err(|rule| blocked(&rule, &format!("{address}, an address of {name}")))?;
        }
        Ok(addresses)
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
    Fault::new(
        FaultKind::AddressBlocked,
        format!("nothing was sent, refused as {rule}; {subject}"),
    )
}

/// Connects to the first address that answers. Each has a head start before the next one is tried beside
/// it, so that a dead one costs a moment and not the deadline.
async fn dial(addresses: &[IpAddr], port: u16) -> Result<TcpStream, Fault> {
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
            return Err(failed.unwrap_or_else(|| Fault::new(FaultKind::Connect, "no address")));
        }
        tokio::select! {
            (address, result) = first(&mut dials) => match result.and_then(prompt) {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = Some(refused(address, &error)),
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

fn refused(address: SocketAddr, error: &io::Error) -> Fault {
    let detail = match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("{address} refused the connection"),
        _ => format!("no connection to {address}: {error}"),
    };
    Fault::new(FaultKind::Connect, detail)
}

/// The addresses with their families taking turns (RFC 8305, 4), each once, the resolver's first one
/// first.
fn alternating(addresses: &[IpAddr]) -> Vec<IpAddr> {
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
