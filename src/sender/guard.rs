//! The address rules where a URL is given, and what they need to know of this machine: which addresses are its own.
//!
//! No packet is sent to find out: binding or connecting a UDP socket only asks the system.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use super::told::Told;
use crate::model::{AccountName, AddressPolicy, AddressRule, Endpoint, Host};

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
        let Some(rule) = self.obstacle(endpoint) else {
            return true;
        };
        let host = endpoint.authority();
        if self.told.may_tell(format!("{account} {host}")) {
            tracing::warn!(%account, host, rule = rule.name, hint = rule.hint(),
                "a webhook's URL was refused by the address policy");
        }
        false
    }

    /// The rule that keeps requests from going to an endpoint, for who may know it: the operator.
    #[must_use]
    pub fn obstacle(&self, endpoint: &Endpoint) -> Option<AddressRule> {
        let judged = match endpoint.host() {
            Host::Address(address) => self.policy.judge_at(address, endpoint.port(), is_local),
            name @ Host::Name(_) => self.policy.judge_host(&name),
        };
        judged.err()
    }
}

/// Whether an address is this machine's. The system binds a socket to its own addresses only, be they a network card's
/// first, second or tenth; where it says anything else (no more files), the address is taken for ours: a listener that
/// is not guarded costs more than a request that is made later.
pub(super) fn is_local(address: IpAddr) -> bool {
    if address.is_loopback() {
        return true;
    }
    if !binds(address) {
        return false;
    }
    // Under `ip_nonlocal_bind` every address can be bound to, also these, which are nobody's. Then what the system would
    // send from tells.
    let nobodys: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    !binds(nobodys) || is_source(address)
}

/// `false` only where the system says that it has no such address.
fn binds(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
    }
}

/// Whether an address is what the system would send from to reach it.
fn is_source(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let route = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, ANY_PORT))?;
        socket.local_addr()
    });
    match route {
        Ok(from) => from.ip() == address,
        // No way there: a connection would fail for the same reason. Anything else says nothing.
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable
        ),
    }
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

    /// Is 1 where a test runs in a network namespace of its own, with the addresses below.
    const INSIDE: &str = "HOOKWHEEL_TEST_NAMESPACE";

    /// A second address of a network card: the system would send from the first one, there, too.
    #[test]
    fn the_second_address_of_a_card_is_local() {
        if std::env::var_os(INSIDE).is_some() {
            for (address, expected) in [
                ("10.9.0.5", true),
                ("10.9.0.6", true),
                ("198.41.0.4", false),
            ] {
                assert_eq!(is_local(address.parse().unwrap()), expected, "{address}");
            }
            assert!(!is_source("10.9.0.6".parse().unwrap()));
            return;
        }
        const SET_UP: &str = "ip link set lo up && ip address add 10.9.0.5/24 dev lo && \
                              ip address add 10.9.0.6/24 dev lo && exec \"$0\" --exact --nocapture \"$1\"";
        let name = "sender::guard::tests::the_second_address_of_a_card_is_local";
        let run = |arguments: &[&str]| {
            let mut command = std::process::Command::new("unshare");
            command.args(["--user", "--map-root-user", "--net", "--"]);
            command.args(arguments).env(INSIDE, "1").output()
        };
        if !run(&["ip", "link"]).is_ok_and(|output| output.status.success()) {
            // Not part of what `HOOKWHEEL_NO_SKIP` asks for: containers forbid namespaces.
            eprintln!(
                "SKIPPED: a second address of a card is not tried out, as unshare or ip cannot be run here"
            );
            return;
        }
        let program = std::env::current_exe().unwrap();
        let output = run(&["sh", "-c", SET_UP, program.to_str().unwrap(), name]).unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(said.contains("1 passed"), "{said}");
    }
}
