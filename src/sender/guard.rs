//! The address rules where a URL is given, and what they need to know of this machine: which addresses are its own.
//!
//! No packet is sent to find out: connecting a UDP socket only asks the system for a route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use super::told::Told;
use crate::model::{AccountName, AddressPolicy, Endpoint, Host};

/// Any port but 0 will do: nothing is sent there.
const ANY_PORT: u16 = 9;

/// Judges URLs when they are given, as far as that can be done without a look-up, and tells the log of those refused.
pub struct Guard {
    policy: AddressPolicy,
    told: Told,
}

impl Guard {
    /// A guard that judges by this policy.
    #[must_use]
    pub fn new(policy: AddressPolicy) -> Self {
        Self {
            policy,
            told: Told::default(),
        }
    }

    /// Whether a webhook of an account may be sent to an endpoint. Why not, and what the operator can do, stands in the
    /// log only. Its path and query may hold a token, so they do not.
    #[must_use]
    pub fn lets(&self, account: &AccountName, endpoint: &Endpoint) -> bool {
        let judged = match endpoint.host() {
            Host::Address(address) => self.policy.judge_at(address, endpoint.port(), is_local),
            name @ Host::Name(_) => self.policy.judge_host(&name),
        };
        let Err(rule) = judged else { return true };
        let host = endpoint.authority();
        if self.told.may_tell(format!("{account} {host}")) {
            tracing::warn!(%account, host, rule = rule.name, hint = rule.hint(),
                "a webhook's URL was refused by the address policy");
        }
        false
    }
}

/// Whether an address is this machine's: a loopback one, or one that the system would also send from. An address that
/// cannot be judged is not; a connection to it would fail for the same reason.
pub(super) fn is_local(address: IpAddr) -> bool {
    if address.is_loopback() {
        return true;
    }
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let route = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, ANY_PORT))?;
        socket.local_addr()
    });
    route.is_ok_and(|from| from.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_local_and_a_public_address_is_not() {
        for address in ["127.0.0.1", "127.8.9.10", "::1"] {
            assert!(is_local(address.parse().unwrap()), "{address}");
        }
        for address in ["198.41.0.4", "2001:503:ba3e::2:30"] {
            assert!(!is_local(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn the_address_that_this_machine_sends_from_is_local() {
        // Without a route there is none to find.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("198.41.0.4:9").is_ok() {
            assert!(is_local(socket.local_addr().unwrap().ip()));
        }
    }
}
