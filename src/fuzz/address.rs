//! Trials of where a request may go: URLs, and the addresses behind them.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::text;
use crate::model::{AddressPolicy, Endpoint, Host};

/// What is taken is HTTPS, is what was written, and reads the same for us, for the `url` crate, for HTTP, and for us
/// again; a host is judged by the address that would be dialled.
pub(super) fn url(bytes: &[u8]) {
    let Some(given) = text(bytes) else {
        return;
    };
    let endpoint = match Endpoint::parse(given) {
        Ok(endpoint) => endpoint,
        Err(refused) => {
            assert!(!refused.to_string().is_empty() && !refused.code().is_empty());
            return;
        }
    };
    let shown = endpoint.as_str();
    assert!(shown.starts_with("https://"), "{shown}");
    assert!(shown.eq_ignore_ascii_case(given), "{given:?} was repaired");
    assert!(shown.bytes().all(|byte| (0x21..0x7f).contains(&byte)));
    assert!(!shown.contains(['\\', '#']), "{shown}");
    assert_eq!(Endpoint::parse(shown).as_ref(), Ok(&endpoint));

    let read = url::Url::parse(shown).expect("what is taken is a URL");
    assert_eq!(read.scheme(), "https");
    assert!(read.username().is_empty() && read.password().is_none());
    assert!(endpoint.port() > 0);
    assert_eq!(read.port_or_known_default(), Some(endpoint.port()));
    let target = endpoint.path_and_query();
    let sent: http::uri::PathAndQuery = target.parse().expect("it can stand in a request line");
    assert_eq!(sent.as_str(), target);
    let authority: http::uri::Authority = endpoint.authority().parse().expect("so can the host");
    assert_eq!(authority.port_u16().unwrap_or(443), endpoint.port());

    match (endpoint.host(), read.host()) {
        (Host::Name(name), Some(url::Host::Domain(domain))) => {
            assert_eq!(name, domain);
            assert!(name.parse::<IpAddr>().is_err() && !name.ends_with('.'));
            // `127.1` and `0x7f000001` are addresses for the C library.
            let last = name.rsplit('.').next().unwrap_or_default();
            let (digits, hexadecimal) = match last.strip_prefix("0x") {
                Some(digits) => (digits, true),
                None => (last, false),
            };
            let digit = |byte: u8| byte.is_ascii_digit() || hexadecimal && byte.is_ascii_hexdigit();
            assert!(
                !digits.bytes().all(digit),
                "{name} can be read as an address"
            );
        }
        (Host::Address(address), Some(url::Host::Ipv4(_) | url::Host::Ipv6(_))) => {
            let policy = AddressPolicy::default();
            let judged = policy.judge_host(&endpoint.host());
            assert_eq!(judged, policy.judge(address));
            if judged.is_ok() {
                check_public(address);
            }
        }
        (ours, theirs) => assert!(theirs.is_none(), "{ours:?} and {theirs:?}"),
    }
}

/// What is never dialled is refused whatever is allowed, an IPv4 address is judged alike in both its forms, and
/// without a word of the operator only public addresses pass. The bytes: an address, a prefix, an address to allow.
pub(super) fn address(bytes: &[u8]) {
    let Some((judged, rest)) = bytes.split_first_chunk::<16>() else {
        return;
    };
    let judged = Ipv6Addr::from(*judged);
    let plain = AddressPolicy::default();
    let verdict = plain.judge(judged.into());
    if verdict.is_ok() {
        check_public(judged.into());
    }
    if let Some(mapped) = judged.to_ipv4_mapped() {
        assert_eq!(verdict, plain.judge(mapped.into()));
    }
    let everything = ["0.0.0.0/0", "::/0"].map(|range| range.parse().expect("a range"));
    let open = AddressPolicy::new(everything.to_vec(), Vec::new());
    if open.judge(judged.into()).is_ok() {
        check_never(judged.into());
    }
    let closed = AddressPolicy::new(everything.to_vec(), everything.to_vec());
    assert!(closed.judge(judged.into()).is_err(), "`deny` is stronger");

    let Some((prefix, rest)) = rest.split_first() else {
        return;
    };
    let range = match (rest.first_chunk::<16>(), rest.first_chunk::<4>()) {
        (Some(address), _) => IpNet::new(IpAddr::from(*address), prefix % 129),
        (None, Some(address)) => IpNet::new(IpAddr::from(*address), prefix % 33),
        (None, None) => return,
    };
    let range = range.expect("the prefix is in its bounds");
    if AddressPolicy::check_allowed_range(range).is_ok() {
        let policy = AddressPolicy::new(vec![range], Vec::new());
        let allowed = policy.judge(judged.into());
        assert!(
            allowed.is_ok() || verdict.is_err(),
            "allowing takes nothing"
        );
        if allowed.is_ok() {
            check_never(judged.into());
            let opened = range.contains(&IpAddr::from(judged).to_canonical());
            assert!(opened || verdict.is_ok(), "{range} opens {judged}");
        }
    }
}

/// What the standard library knows of addresses that are not public.
fn check_public(address: IpAddr) {
    check_never(address);
    match address.to_canonical() {
        IpAddr::V4(address) => assert!(
            !address.is_private() && !address.is_loopback() && !address.is_documentation(),
            "{address} is not public"
        ),
        IpAddr::V6(address) => assert!(
            address.segments()[0] & 0xe000 == 0x2000 && !address.is_loopback(),
            "{address} is not public"
        ),
    }
}

/// Nothing can allow these.
fn check_never(address: IpAddr) {
    let address = address.to_canonical();
    assert!(
        !address.is_unspecified() && !address.is_multicast(),
        "{address}"
    );
    match address {
        IpAddr::V4(address) => {
            assert!(
                !address.is_link_local() && !address.is_broadcast(),
                "{address}"
            );
        }
        IpAddr::V6(address) => assert!(!address.is_unicast_link_local(), "{address}"),
    }
}
