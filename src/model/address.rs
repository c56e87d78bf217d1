//! Which addresses a request may go to: public ones, and the ranges that the operator opens.
//!
//! A webhook's URL comes from outside, and a request to it leaves from inside the operator's network. So
//! every address is judged before it is dialled: by what the registries say it is for (IANA IPv4 and IPv6
//! Special-Purpose Address Registries), and by the operator's `allow` and `deny`. Link-local, the metadata
//! services of clouds, multicast, broadcast and the unspecified address are refused whatever is allowed.
//! Nothing here resolves a name or opens a connection.
//!
//! This daemon's own listeners are refused by address and port, also where their range is allowed: through them a webhook
//! would reach the API from inside.
//!
//! The order: an IPv4-mapped address is its IPv4 address; what can never be allowed; the IPv4 address
//! that a 6to4, NAT64 or IPv4-compatible address carries; `deny`; `allow`; the registries' ranges.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Host;

/// Which addresses may be dialled: everything public, and the private ranges that the operator allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    own: Vec<SocketAddr>,
}

/// All that a tenant is told of a refused address: neither the address, nor the rule, nor whether a name resolved.
pub const BLOCKED_TEXT: &str = "this address cannot be sent to; ask the operator if it should be";

/// The rule that refused an address or a host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRule {
    /// The rule's name, for the log: `loopback`, `private`, `link-local`, …
    pub name: &'static str,
    remedy: Remedy,
}

/// What an operator can do about a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Remedy {
    /// Allow this address.
    Allow(IpAddr),
    /// Take this range out of `deny`.
    Undeny(IpNet),
    /// Use the IPv4 address itself.
    UseIpv4(Ipv4Addr),
    /// Allow the loopback range.
    AllowLoopback,
    /// Allow the range that the name resolves to.
    AllowRange,
    /// Nothing.
    Never,
}

/// Why a range cannot stand in `allow` or `deny`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// All of it is refused whatever is allowed.
    #[error("{range} is {rule}: requests never go there, so it cannot be allowed; remove it")]
    Never {
        /// The range.
        range: IpNet,
        /// The rule's name.
        rule: &'static str,
    },
    /// Bits are set behind the prefix, so it is not clear what is meant.
    #[error("{range} has bits set behind its prefix; write {instead}, or {single} for one address")]
    HostBits {
        /// The range as written.
        range: IpNet,
        /// The range without those bits.
        instead: IpNet,
        /// The address alone.
        single: IpNet,
    },
    /// An IPv4-mapped range, which never matches, as such addresses are judged as IPv4.
    #[error(
        "{range} is a range of IPv4-mapped addresses, which are judged as IPv4; write the IPv4 range"
    )]
    Mapped {
        /// The range.
        range: IpNet,
    },
}

/// IPv4 ranges that nothing can allow. The single metadata addresses lie in public or allowable ranges:
/// 168.63.129.16 is Azure's, 100.100.100.200 Alibaba's, 192.0.0.192 Oracle's.
const NEVER_V4: [(Ipv4Net, &str); 7] = [
    (v4(0, 0, 0, 0, 8), "unspecified"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(168, 63, 129, 16, 32), "metadata"),
    (v4(100, 100, 100, 200, 32), "metadata"),
    (v4(192, 0, 0, 192, 32), "metadata"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(255, 255, 255, 255, 32), "broadcast"),
];

/// IPv6 ranges that nothing can allow. In fd00:ec2::/32 Amazon has its machines' own services: metadata (::254),
/// credentials of pods (::23), DNS (::253), time (::123); who makes a private prefix by chance, as RFC 4193 asks, does not
/// meet it. fd20:ce::254 is Google's metadata service.
const NEVER_V6: [(Ipv6Net, &str); 5] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32), "metadata"),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), "metadata"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

/// IPv4 ranges that are not public, each with its name here and the registry's source.
const SPECIAL_V4: [(Ipv4Net, &str); 15] = [
    (v4(10, 0, 0, 0, 8), "private"),            // RFC 1918
    (v4(172, 16, 0, 0, 12), "private"),         // RFC 1918
    (v4(192, 168, 0, 0, 16), "private"),        // RFC 1918
    (v4(127, 0, 0, 0, 8), "loopback"),          // RFC 1122
    (v4(100, 64, 0, 0, 10), "shared"),          // RFC 6598, carrier-grade NAT
    (v4(192, 0, 0, 0, 24), "protocol"),         // RFC 6890
    (v4(192, 0, 2, 0, 24), "documentation"),    // RFC 5737
    (v4(198, 51, 100, 0, 24), "documentation"), // RFC 5737
    (v4(203, 0, 113, 0, 24), "documentation"),  // RFC 5737
    (v4(192, 31, 196, 0, 24), "as112"),         // RFC 7535
    (v4(192, 175, 48, 0, 24), "as112"),         // RFC 7534
    (v4(192, 52, 193, 0, 24), "amt"),           // RFC 7450
    (v4(192, 88, 99, 0, 24), "6to4-relay"),     // RFC 7526
    (v4(198, 18, 0, 0, 15), "benchmark"),       // RFC 2544
    (v4(240, 0, 0, 0, 4), "reserved"),          // RFC 1112
];

/// IPv6 ranges that are not public, first match first; what is not in 2000::/3 is refused after them.
const SPECIAL_V6: [(Ipv6Net, &str); 9] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"), // RFC 4291
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private"), // RFC 4193
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "nat64"), // RFC 6052
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "nat64"), // RFC 8215
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "protocol"), // RFC 2928, Teredo among them
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation"), // RFC 3849
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4"), // RFC 3056
    (v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), "as112"), // RFC 7534
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation"), // RFC 9637
];

/// All of IPv6 that is in use as public unicast (RFC 4291, IANA).
const PUBLIC_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = s;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

impl AddressPolicy {
    /// A policy that besides public addresses allows `allow`, and refuses `deny`; `deny` is stronger.
    #[must_use]
    pub const fn new(allow: Vec<IpNet>, deny: Vec<IpNet>) -> Self {
        Self {
            allow,
            deny,
            own: Vec::new(),
        }
    }

    /// The same policy, which besides refuses these addresses where this daemon listens.
    #[must_use]
    pub fn guarding(mut self, own: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.own.extend(own);
        self
    }

    /// Checks that a range can stand in `allow`. A wide range that merely contains addresses which are
    /// never dialled may stand there: they stay refused.
    ///
    /// # Errors
    /// [`RangeError`] says what to write instead.
    pub fn check_allowed_range(range: IpNet) -> Result<(), RangeError> {
        Self::check_denied_range(range)?;
        let rule = match range {
            IpNet::V4(range) => find(&NEVER_V4, |never| never.contains(&range)),
            IpNet::V6(range) => find(&NEVER_V6, |never| never.contains(&range)),
        };
        match rule {
            Some(rule) => Err(RangeError::Never { range, rule }),
            None => Ok(()),
        }
    }

    /// Checks that a range can stand in `deny`.
    ///
    /// # Errors
    /// [`RangeError`] says what to write instead.
    pub fn check_denied_range(range: IpNet) -> Result<(), RangeError> {
        let instead = range.trunc();
        if instead.addr() != range.addr() {
            let single = IpNet::from(range.addr());
            return Err(RangeError::HostBits {
                range,
                instead,
                single,
            });
        }
        match range {
            IpNet::V6(net) if net.prefix_len() >= 96 && net.addr().to_ipv4_mapped().is_some() => {
                Err(RangeError::Mapped { range })
            }
            IpNet::V4(_) | IpNet::V6(_) => Ok(()),
        }
    }

    /// Judges one address.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn judge(&self, address: IpAddr) -> Result<(), AddressRule> {
        let address = address.to_canonical();
        let refuse = |name, remedy| Err(AddressRule { name, remedy });
        if let Some(name) = never(address) {
            return refuse(name, Remedy::Never);
        }
        if let Some(inner) = embedded(address)
            && let Err(rule) = self.judge(IpAddr::V4(inner))
        {
            return refuse(rule.name, Remedy::UseIpv4(inner));
        }
        if let Some(range) = self.deny.iter().find(|range| range.contains(&address)) {
            return refuse("denied", Remedy::Undeny(*range));
        }
        if self.allow.iter().any(|range| range.contains(&address)) {
            return Ok(());
        }
        match special(address) {
            Some(name) => refuse(name, Remedy::Allow(address)),
            None => Ok(()),
        }
    }

    /// Judges one address together with the port that is to be dialled there. `is_local` tells whether an address is
    /// this machine's; it is asked only where a listener takes every local address.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn judge_at(
        &self,
        address: IpAddr,
        port: u16,
        is_local: impl Fn(IpAddr) -> bool,
    ) -> Result<(), AddressRule> {
        let address = address.to_canonical();
        let inner = embedded(address).map(IpAddr::V4);
        if [Some(address), inner]
            .into_iter()
            .flatten()
            .any(|address| self.is_own(address, port, &is_local))
        {
            return Err(AddressRule {
                name: "own-listener",
                remedy: Remedy::Never,
            });
        }
        self.judge(address)
    }

    fn is_own(&self, address: IpAddr, port: u16, is_local: impl Fn(IpAddr) -> bool) -> bool {
        // The port first: whether an address is local costs a call to the system.
        let mut of_port = self.own.iter().filter(|own| own.port() == port);
        of_port.any(|own| {
            let listens = own.ip().to_canonical();
            match listens {
                // `[::]` takes IPv4 as well, as Linux has it by default.
                IpAddr::V6(any) if any.is_unspecified() => is_local(address),
                IpAddr::V4(any) if any.is_unspecified() => address.is_ipv4() && is_local(address),
                listens => listens == address,
            }
        })
    }

    /// Judges a host before it is resolved: an address as [`judge`](Self::judge) does, and names that
    /// never leave the machine or the site.
    ///
    /// `localhost` and names under it pass only where `allow` opens 127.0.0.1 or ::1. Names under `local`
    /// and `internal` pass only where `allow` opens any range; what they resolve to is judged all the
    /// same when the request is made, as for every name.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn judge_host(&self, host: &Host) -> Result<(), AddressRule> {
        let name = match host {
            Host::Address(address) => return self.judge(*address),
            Host::Name(name) => name.as_str(),
        };
        let (name, remedy, open) = match last_label(name) {
            "localhost" => (
                "localhost",
                Remedy::AllowLoopback,
                self.opens(IpAddr::V4(Ipv4Addr::LOCALHOST))
                    || self.opens(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            ),
            "local" | "internal" => ("local-name", Remedy::AllowRange, !self.allow.is_empty()),
            _ => return Ok(()),
        };
        if open {
            Ok(())
        } else {
            Err(AddressRule { name, remedy })
        }
    }

    fn opens(&self, address: IpAddr) -> bool {
        self.allow.iter().any(|range| range.contains(&address))
    }
}

impl AddressRule {
    /// What an operator can do about it: the line of the config that would allow it, or that nothing can.
    #[must_use]
    pub fn hint(&self) -> String {
        match &self.remedy {
            Remedy::Allow(address) => {
                format!(
                    "an operator can allow it: [egress] allow = [\"{}\"]",
                    IpNet::from(*address)
                )
            }
            Remedy::Undeny(range) => {
                format!("the operator denies it: \"{range}\" in [egress] deny")
            }
            Remedy::UseIpv4(inner) => {
                format!("it carries the IPv4 address {inner}, which has to be allowed first")
            }
            Remedy::AllowLoopback => {
                "an operator can allow it: [egress] allow = [\"127.0.0.0/8\", \"::1/128\"]"
                    .to_owned()
            }
            Remedy::AllowRange => {
                "an operator can allow it: [egress] allow = [\"…\"] with the range it resolves to"
                    .to_owned()
            }
            Remedy::Never => "no setting allows it".to_owned(),
        }
    }
}

impl fmt::Display for AddressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.hint())
    }
}

/// Whether a name never leaves the machine or the site: `localhost`, and names under it, `local`, `internal`,
/// `localdomain` and `home.arpa` (RFC 8375).
#[must_use]
pub fn is_local_name(name: &str) -> bool {
    let inside = ["localhost", "local", "internal", "localdomain"];
    inside.contains(&last_label(name)) || name == "home.arpa" || name.ends_with(".home.arpa")
}

fn last_label(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn find<N>(table: &[(N, &'static str)], matches: impl Fn(&N) -> bool) -> Option<&'static str> {
    table
        .iter()
        .find(|(range, _)| matches(range))
        .map(|(_, name)| *name)
}

fn never(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => find(&NEVER_V4, |range| range.contains(&address)),
        IpAddr::V6(address) => find(&NEVER_V6, |range| range.contains(&address)),
    }
}

fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => find(&SPECIAL_V4, |range| range.contains(&address)),
        IpAddr::V6(address) => find(&SPECIAL_V6, |range| range.contains(&address))
            .or_else(|| (!PUBLIC_V6.contains(&address)).then_some("not-public")),
    }
}

/// The IPv4 address that an IPv6 address leads to: NAT64 (RFC 6052, 64:ff9b::/96), 6to4 (RFC 3056), and
/// IPv4-compatible (RFC 4291, deprecated; ::1 is no such address).
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
