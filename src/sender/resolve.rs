//! From a host name to its addresses. Judges none of them: that is for the one who dials.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::config::ResolveHosts;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};

use super::fault::Fault;
use super::{Resolver, SenderError};
use crate::model::{AccountName, FaultKind};

mod system;

use system::Lookups;

/// Addresses that a name may have. Each is judged, and of real names nobody has so many; an answer over TCP has room for
/// thousands.
const ADDRESSES_MAX: usize = 64;
/// Names whose answers are remembered.
const CACHE_NAMES_MAX: u64 = 4096;
/// Questions under way at once over one connection to a DNS server (TCP; UDP has one socket for each). The
/// library's 32 would fail look-ups when many webhooks of many hosts are due at once.
const QUESTIONS_MAX: usize = 512;
/// An answer is believed no longer than this, whatever its own time to live says, so that a receiver
/// that moves is found again before its retries are used up.
const ANSWER_TTL_MAX: Duration = Duration::from_secs(300);
/// The same for the answer that there is no such name.
const NO_ANSWER_TTL_MAX: Duration = Duration::from_secs(10);

/// Where addresses come from.
pub(super) enum Names {
    /// See [`Resolver::BuiltIn`].
    BuiltIn(Box<TokioResolver>),
    /// See [`Resolver::System`].
    System(Lookups),
    /// From a table, for tests that need a name to resolve to what they choose.
    #[cfg(test)]
    Table(std::collections::HashMap<&'static str, Vec<IpAddr>>),
    /// From a list of answers, one for each look-up; the last one stays.
    #[cfg(test)]
    Turns(std::sync::Mutex<std::collections::VecDeque<Vec<IpAddr>>>),
}

impl Names {
    pub(super) fn new(resolver: Resolver) -> Result<Self, SenderError> {
        match resolver {
            Resolver::BuiltIn => built_in()
                .map(|resolver| Self::BuiltIn(Box::new(resolver)))
                .map_err(|error| SenderError::ResolverConfig(error.to_string())),
            Resolver::System => Ok(Self::System(Lookups::new())),
        }
    }

    /// The built-in resolver, asking the DNS server at `server` over UDP.
    #[cfg(test)]
    pub(super) fn asking(server: std::net::SocketAddr) -> Self {
        use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};

        let mut udp = ConnectionConfig::udp();
        udp.port = server.port();
        let server = NameServerConfig::new(server.ip(), true, vec![udp]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let provider = TokioRuntimeProvider::default();
        let resolver = bounded(TokioResolver::builder_with_config(config, provider));
        Self::BuiltIn(Box::new(resolver.expect("the config has a server")))
    }

    /// All addresses of a name, IPv4 and IPv6, at least one. Whose request it is for is told, where it is a tenant's.
    ///
    /// # Errors
    /// A fault of the kind [`FaultKind::Dns`].
    pub(super) async fn addresses(
        &self,
        name: &str,
        account: Option<&AccountName>,
    ) -> Result<Vec<IpAddr>, Fault> {
        let addresses = match self {
            Self::BuiltIn(resolver) => resolver
                .lookup_ip(name)
                .await
                .map_err(|error| built_in_fault(name, &error))?
                .iter()
                .collect(),
            Self::System(lookups) => lookups
                .addresses(name, account)
                .await
                .map_err(|error| unresolved(name, &error))?,
            #[cfg(test)]
            Self::Table(table) => table.get(name).cloned().unwrap_or_default(),
            #[cfg(test)]
            Self::Turns(answers) => {
                let mut answers = answers.lock().expect("no holder of this lock panics");
                match answers.len() {
                    0 | 1 => answers.front().cloned().unwrap_or_default(),
                    _ => answers.pop_front().unwrap_or_default(),
                }
            }
        };
        let addresses: Vec<IpAddr> = addresses;
        if addresses.is_empty() {
            return Err(fault(format!("{name} has no address")));
        }
        if addresses.len() > ADDRESSES_MAX {
            let detail = format!("{name} has more than {ADDRESSES_MAX} addresses");
            return Err(fault(detail));
        }
        Ok(addresses)
    }
}

fn fault(detail: String) -> Fault {
    Fault::new(FaultKind::Dns, detail)
}

fn built_in() -> Result<TokioResolver, NetError> {
    bounded(TokioResolver::builder_tokio()?)
}

fn bounded(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<TokioResolver, NetError> {
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Always;
    options.cache_size = CACHE_NAMES_MAX;
    options.max_active_requests = QUESTIONS_MAX;
    options.positive_max_ttl = Some(ANSWER_TTL_MAX);
    options.negative_max_ttl = Some(NO_ANSWER_TTL_MAX);
    builder.build()
}

fn built_in_fault(name: &str, error: &NetError) -> Fault {
    if error.is_nx_domain() {
        return fault(format!("{name} does not exist"));
    }
    if error.is_no_records_found() {
        return fault(format!("{name} has no address"));
    }
    unresolved(name, error)
}

/// The resolver's own words may name its servers.
fn unresolved(name: &str, error: &dyn std::fmt::Display) -> Fault {
    fault(format!(
        "{name} does not resolve: the look-up failed, or nobody answered it"
    ))
    .noting(format!("{name} does not resolve: {error}"))
}
