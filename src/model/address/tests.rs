//! Every range of the registries with the addresses beside it, and what `allow` and `deny` change.

use proptest::prelude::*;

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn policy(allow: &[&str], deny: &[&str]) -> AddressPolicy {
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    AddressPolicy::new(nets(allow), nets(deny))
}

fn rule(policy: &AddressPolicy, text: &str) -> Option<&'static str> {
    policy.judge(address(text)).err().map(|rule| rule.name)
}

/// First and last address of each range, and the ones just outside of it.
#[test]
fn refuses_each_ipv4_range_up_to_its_edges() {
    let default = AddressPolicy::default();
    let refused = [
        ("0.0.0.0", "0.255.255.255", "unspecified"),
        ("10.0.0.0", "10.255.255.255", "private"),
        ("100.64.0.0", "100.127.255.255", "shared"),
        ("127.0.0.0", "127.255.255.255", "loopback"),
        ("169.254.0.0", "169.254.255.255", "link-local"),
        ("172.16.0.0", "172.31.255.255", "private"),
        ("192.0.0.0", "192.0.0.255", "protocol"),
        ("192.0.2.0", "192.0.2.255", "documentation"),
        ("192.31.196.0", "192.31.196.255", "as112"),
        ("192.52.193.0", "192.52.193.255", "amt"),
        ("192.88.99.0", "192.88.99.255", "6to4-relay"),
        ("192.168.0.0", "192.168.255.255", "private"),
        ("192.175.48.0", "192.175.48.255", "as112"),
        ("198.18.0.0", "198.19.255.255", "benchmark"),
        ("198.51.100.0", "198.51.100.255", "documentation"),
        ("203.0.113.0", "203.0.113.255", "documentation"),
        ("224.0.0.0", "239.255.255.255", "multicast"),
        ("240.0.0.0", "255.255.255.254", "reserved"),
        ("255.255.255.255", "255.255.255.255", "broadcast"),
        ("168.63.129.16", "168.63.129.16", "metadata"),
    ];
    for (first, last, name) in refused {
        assert_eq!(rule(&default, first), Some(name), "{first}");
        assert_eq!(rule(&default, last), Some(name), "{last}");
        assert_eq!(
            rule(&default, &format!("::ffff:{last}")),
            Some(name),
            "mapped {last}"
        );
    }
}

#[test]
fn takes_the_public_ipv4_neighbours_of_each_range() {
    let default = AddressPolicy::default();
    for public in [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.0",
        "192.0.1.255",
        "192.0.3.0",
        "192.31.195.255",
        "192.31.197.0",
        "192.52.192.255",
        "192.52.194.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "192.175.47.255",
        "192.175.49.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "168.63.129.15",
        "168.63.129.17",
        "8.8.8.8",
    ] {
        assert_eq!(rule(&default, public), None, "{public}");
        assert_eq!(
            rule(&default, &format!("::ffff:{public}")),
            None,
            "mapped {public}"
        );
    }
}

#[test]
fn refuses_all_of_ipv6_that_is_not_public() {
    let default = AddressPolicy::default();
    for (text, name) in [
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::2", "not-public"),
        ("::7f00:1", "loopback"),
        ("::a01:203", "private"),
        ("::808:808", "not-public"),
        ("100::1", "not-public"),
        ("1fff:ffff::1", "not-public"),
        ("4000::", "not-public"),
        ("5f00::1", "not-public"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b::a00:1", "private"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("64:ff9b::808:808", "nat64"),
        ("64:ff9b:1::1", "nat64"),
        ("64:ff9b:1:ffff::1", "nat64"),
        ("64:ff9b:2::1", "not-public"),
        ("2001::", "protocol"),
        ("2001:0:4136:e378::1", "protocol"),
        ("2001:1ff:ffff::1", "protocol"),
        ("2001:db8::1", "documentation"),
        ("2001:db8:ffff:ffff::1", "documentation"),
        ("2002:7f00:1::1", "loopback"),
        ("2002:c0a8:101::1", "private"),
        ("2002:a9fe:a9fe::1", "link-local"),
        ("2002:808:808::1", "6to4"),
        ("2620:4f:8000::1", "as112"),
        ("2620:4f:8000:ffff::1", "as112"),
        ("3fff::1", "documentation"),
        ("3fff:fff:ffff::1", "documentation"),
        ("fc00::1", "private"),
        ("fdff::1", "private"),
        ("fd00:ec2::254", "metadata"),
        ("fd00:ec2::23", "metadata"),
        ("fd00:ec2:ffff::1", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "not-public"),
        ("ff02::1", "multicast"),
        ("ffff::1", "multicast"),
    ] {
        assert_eq!(rule(&default, text), Some(name), "{text}");
    }
    for public in [
        "2000::1",
        "2001:200::1",
        "2001:db7:ffff::1",
        "2001:db9::1",
        "2003::1",
        "2001:4860:4860::8888",
        "2620:4f:7fff::1",
        "2620:4f:8001::1",
        "2606:4700::1111",
        "3ffe::1",
        "3fff:1000::1",
    ] {
        assert_eq!(rule(&default, public), None, "{public}");
    }
}

#[test]
fn allowed_ranges_open_private_addresses_and_nothing_beside_them() {
    let open = policy(&["10.1.0.0/16", "fd12::/16", "127.0.0.0/8"], &[]);
    for taken in [
        "10.1.0.0",
        "10.1.255.255",
        "fd12::1",
        "127.0.0.1",
        "::ffff:10.1.2.3",
    ] {
        assert_eq!(rule(&open, taken), None, "{taken}");
    }
    for refused in ["10.0.255.255", "10.2.0.0", "fd13::1", "::1", "192.168.0.1"] {
        assert!(rule(&open, refused).is_some(), "{refused}");
    }
}

#[test]
fn no_range_opens_what_is_never_allowed() {
    let open = policy(&["0.0.0.0/0", "::/0"], &[]);
    for refused in [
        "169.254.169.254",
        "169.254.0.1",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "::",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::1",
        "ff02::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "::a9fe:a9fe",
    ] {
        let refusal = open.judge(address(refused)).expect_err(refused);
        if address(refused).to_canonical().is_ipv4() {
            assert_eq!(refusal.hint(), "no setting allows it", "{refused}");
        }
    }
    for taken in [
        "10.0.0.1",
        "127.0.0.1",
        "240.0.0.1",
        "::1",
        "fd00::1",
        "64:ff9b::808:808",
    ] {
        assert_eq!(rule(&open, taken), None, "{taken}");
    }
}

#[test]
fn an_embedded_address_needs_its_own_leave() {
    let nat64_only = policy(&["64:ff9b::/96"], &[]);
    assert_eq!(rule(&nat64_only, "64:ff9b::808:808"), None);
    assert_eq!(rule(&nat64_only, "64:ff9b::a00:1"), Some("private"));
    let both = policy(&["64:ff9b::/96", "10.0.0.0/8"], &[]);
    assert_eq!(rule(&both, "64:ff9b::a00:1"), None);
    let denied = policy(&["64:ff9b::/96"], &["8.8.8.0/24"]);
    assert_eq!(rule(&denied, "64:ff9b::808:808"), Some("denied"));
}

#[test]
fn denied_ranges_are_stronger_than_allowed_ones() {
    let policy = policy(
        &["10.0.0.0/8"],
        &["10.9.0.0/16", "198.41.0.0/24", "2606:4700::/32"],
    );
    assert_eq!(rule(&policy, "10.8.255.255"), None);
    for denied in [
        "10.9.0.1",
        "198.41.0.4",
        "::ffff:198.41.0.4",
        "2606:4700::1",
    ] {
        assert_eq!(rule(&policy, denied), Some("denied"), "{denied}");
    }
    let hint = policy.judge(address("10.9.0.1")).unwrap_err().hint();
    assert!(hint.contains("\"10.9.0.0/16\" in [egress] deny"), "{hint}");
}

#[test]
fn a_refusal_names_the_line_that_would_allow_it() {
    let default = AddressPolicy::default();
    let hint = default.judge(address("10.1.2.3")).unwrap_err().hint();
    assert!(
        hint.contains("[egress] allow = [\"10.1.2.3/32\"]"),
        "{hint}"
    );
    let hint = default.judge(address("fd12::1")).unwrap_err().hint();
    assert!(
        hint.contains("[egress] allow = [\"fd12::1/128\"]"),
        "{hint}"
    );
    let refusal = default.judge(address("2002:a00:1::")).unwrap_err();
    assert!(refusal.to_string().contains("10.0.0.1"), "{refusal}");
}

#[test]
fn local_names_are_refused_unless_a_range_is_open() {
    let name = |text: &str| Host::Name(text.to_owned());
    let default = AddressPolicy::default();
    let private = policy(&["10.0.0.0/8"], &[]);
    let loopback = policy(&["127.0.0.0/8"], &[]);
    for local in ["localhost", "x.localhost", "a.b.localhost"] {
        assert_eq!(
            default.judge_host(&name(local)).unwrap_err().name,
            "localhost",
            "{local}"
        );
        assert_eq!(
            private.judge_host(&name(local)).unwrap_err().name,
            "localhost",
            "{local}"
        );
        assert_eq!(loopback.judge_host(&name(local)), Ok(()), "{local}");
    }
    for local in [
        "printer.local",
        "local",
        "internal",
        "metadata.google.internal",
    ] {
        assert_eq!(
            default.judge_host(&name(local)).unwrap_err().name,
            "local-name",
            "{local}"
        );
        assert_eq!(private.judge_host(&name(local)), Ok(()), "{local}");
    }
    for public in [
        "example.com",
        "localhost.example.com",
        "notlocalhost",
        "internal.example",
    ] {
        assert_eq!(default.judge_host(&name(public)), Ok(()), "{public}");
    }
    let literal = Host::Address(address("10.0.0.1"));
    assert!(default.judge_host(&literal).is_err());
    assert!(private.judge_host(&literal).is_ok());
}

#[test]
fn ranges_of_the_config_are_checked() {
    let check = |text: &str| AddressPolicy::check_allowed_range(text.parse().unwrap());
    for taken in [
        "10.0.0.0/8",
        "10.1.2.3/32",
        "0.0.0.0/0",
        "::/0",
        "fd00::/8",
        "127.0.0.0/8",
    ] {
        assert_eq!(check(taken), Ok(()), "{taken}");
    }
    for never in [
        "169.254.0.0/16",
        "169.254.169.254/32",
        "224.0.0.0/8",
        "168.63.129.16/32",
        "fe80::/10",
        "fe80::1/128",
        "fd00:ec2::254/128",
        "::/128",
        "255.255.255.255/32",
    ] {
        assert!(
            matches!(check(never), Err(RangeError::Never { .. })),
            "{never}"
        );
        assert_eq!(
            AddressPolicy::check_denied_range(never.parse().unwrap()),
            Ok(())
        );
    }
    let error = check("10.1.2.3/8").unwrap_err().to_string();
    assert!(
        error.contains("10.0.0.0/8") && error.contains("10.1.2.3/32"),
        "{error}"
    );
    assert!(matches!(
        check("::ffff:10.0.0.0/104"),
        Err(RangeError::Mapped { .. })
    ));
}

proptest! {
    /// Whatever the ranges, an allowed address is never one of those that nothing allows.
    #[test]
    fn link_local_and_multicast_stay_refused(bits in any::<u32>(), prefix in 0u8..=32) {
        let inner = Ipv4Addr::from(bits);
        let range = IpNet::V4(Ipv4Net::new(inner, prefix).unwrap().trunc());
        let open = AddressPolicy::new(vec![range], Vec::new());
        if inner.is_link_local() || inner.is_multicast() || inner.is_broadcast() || inner.octets()[0] == 0 {
            prop_assert!(open.judge(IpAddr::V4(inner)).is_err());
        } else if never(IpAddr::V4(inner)).is_none() {
            prop_assert!(open.judge(IpAddr::V4(inner)).is_ok());
        }
        prop_assert_eq!(
            open.judge(IpAddr::V4(inner)).is_ok(),
            open.judge(IpAddr::V6(inner.to_ipv6_mapped())).is_ok()
        );
    }

    /// The standard library's own view of private IPv4 agrees where it has one.
    #[test]
    fn private_and_loopback_agree_with_the_standard_library(bits in any::<u32>()) {
        let inner = Ipv4Addr::from(bits);
        if inner.is_private() || inner.is_loopback() || inner.is_documentation() || inner.is_unspecified() {
            prop_assert!(AddressPolicy::default().judge(IpAddr::V4(inner)).is_err());
        }
    }
}

/// What the rule says of an address and port where this daemon listens at `own` and everything is allowed.
fn own(own: &str, target: &str, is_local: bool) -> Option<&'static str> {
    let policy = policy(&["0.0.0.0/0", "::/0"], &[]).guarding([own.parse().unwrap()]);
    let target: SocketAddr = target.parse().unwrap();
    let judged = policy.judge_at(target.ip(), target.port(), |_| is_local);
    judged.err().map(|rule| rule.name)
}

#[test]
fn own_listeners_are_refused_where_their_range_is_allowed() {
    const OWN: Option<&str> = Some("own-listener");
    for (listens, target, is_local, expected) in [
        ("127.0.0.1:8420", "127.0.0.1:8420", true, OWN),
        ("127.0.0.1:8420", "127.0.0.1:8421", true, None),
        ("127.0.0.1:8420", "127.0.0.2:8420", true, None),
        ("127.0.0.1:8420", "[::ffff:127.0.0.1]:8420", true, OWN),
        ("127.0.0.1:8420", "[64:ff9b::7f00:1]:8420", true, OWN),
        ("10.0.0.5:8420", "10.0.0.5:8420", false, OWN),
        ("[::ffff:10.0.0.5]:8420", "10.0.0.5:8420", false, OWN),
        ("[::1]:8420", "[::1]:8420", true, OWN),
        ("[::1]:8420", "127.0.0.1:8420", true, None),
        ("0.0.0.0:8420", "10.0.0.5:8420", true, OWN),
        ("0.0.0.0:8420", "10.0.0.6:8420", false, None),
        ("0.0.0.0:8420", "10.0.0.5:443", true, None),
        ("0.0.0.0:8420", "[fd00::5]:8420", true, None),
        ("[::]:8420", "[fd00::5]:8420", true, OWN),
        ("[::]:8420", "10.0.0.5:8420", true, OWN),
        ("[::]:8420", "10.0.0.6:8420", false, None),
    ] {
        let found = own(listens, target, is_local);
        assert_eq!(found, expected, "{listens} and {target}");
    }
    let rule = policy(&["127.0.0.0/8"], &[])
        .guarding(["127.0.0.1:1".parse().unwrap()])
        .judge_at(address("127.0.0.1"), 1, |_| true)
        .unwrap_err();
    assert_eq!(rule.hint(), "no setting allows it");
    // What costs a call to the system is not asked for another port.
    let unasked = |_| unreachable!("the port is another one");
    let anywhere = policy(&[], &[]).guarding(["[::]:8420".parse().unwrap()]);
    let judged = anywhere.judge_at(address("198.41.0.4"), 443, unasked);
    assert_eq!(judged, Ok(()));
}

#[test]
fn local_names_are_known_by_their_last_label() {
    for name in [
        "localhost",
        "a.localhost",
        "printer.local",
        "db.internal",
        "localhost.localdomain",
        "nas.home.arpa",
        "home.arpa",
    ] {
        assert!(is_local_name(name), "{name}");
    }
    for name in [
        "internal.example",
        "localhost.example",
        "local-host",
        "myhome.arpa",
        "1.0.0.10.in-addr.arpa",
    ] {
        assert!(!is_local_name(name), "{name}");
    }
}
