//! URLs and addresses that no webhook may have: at registration, at a change, and none of them is ever connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{Forbidden, Input, all_refused, closed, table, webhook, written_out};
use crate::support::{Site, register};

#[derive(Deserialize)]
struct Urls {
    class: Vec<Class>,
}

#[derive(Deserialize)]
struct Class {
    name: String,
    code: String,
    says: String,
    urls: Vec<String>,
}

#[derive(Deserialize)]
struct Ranges {
    ranges: Vec<Range>,
}

#[derive(Deserialize)]
struct Range {
    first: IpAddr,
    last: IpAddr,
    before: Option<IpAddr>,
    after: Option<IpAddr>,
}

/// Each URL with the code of its answer and what that must say.
pub fn urls(port: u16) -> Vec<(String, String, String)> {
    let classes = table::<Urls>("urls.toml").class;
    assert!(
        classes
            .iter()
            .all(|class| class.urls.len() >= 5 && !class.name.is_empty())
    );
    let rows = classes.into_iter().flat_map(|class| {
        let (code, says) = (class.code, class.says);
        class.urls.into_iter().map(move |url| {
            let url = written_out(&url).replace("PORT", &port.to_string());
            (url, code.clone(), says.clone())
        })
    });
    rows.collect()
}

fn ranges() -> Vec<Range> {
    table::<Ranges>("addresses.toml").ranges
}

/// The addresses that carry an IPv4 address: mapped, compatible, NAT64 and 6to4.
fn forms(address: Ipv4Addr) -> Vec<IpAddr> {
    let [a, b, c, d] = address.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let forms = [
        address.to_ipv6_mapped(),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
    ];
    forms.map(IpAddr::V6).to_vec()
}

/// The ends of each range, and the other forms of those that are IPv4.
pub fn refused() -> Vec<IpAddr> {
    let ends = ranges()
        .into_iter()
        .flat_map(|range| [range.first, range.last]);
    let all = ends.flat_map(|address| match address {
        IpAddr::V4(inner) => [vec![address], forms(inner)].concat(),
        IpAddr::V6(_) => vec![address],
    });
    all.collect()
}

/// The public addresses right beside the ranges.
pub fn beside() -> Vec<IpAddr> {
    let ranges = ranges().into_iter();
    ranges
        .flat_map(|range| [range.before, range.after])
        .flatten()
        .collect()
}

fn url(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(address) => format!("https://{address}:{port}/"),
        IpAddr::V6(address) => format!("https://[{address}]:{port}/"),
    }
}

/// The inputs as a registration and as a change of a webhook.
fn both_ways(rows: &[(String, String, String)], webhook: &str) -> Vec<Input> {
    let ways = [
        (Method::POST, "/api/v1/webhooks".to_owned()),
        (Method::PATCH, format!("/api/v1/webhooks/{webhook}")),
    ];
    let inputs = rows.iter().flat_map(|(url, code, says)| {
        let input = |(method, path): &(Method, String)| Input {
            method: method.clone(),
            path: path.clone(),
            body: json!({ "url": url, "name": "changed" }).to_string(),
            status: 400,
            code: code.clone(),
            pointer: "/url".to_owned(),
            says: says.clone(),
        };
        ways.iter().map(input).collect::<Vec<_>>()
    });
    inputs.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_and_addresses_that_are_refused_change_nothing_and_are_not_connected_to() {
    let forbidden = Forbidden::listen();
    let site = Site::new(&["standard"]);
    let daemon = closed(&site);
    let mut client = daemon.client("standard");
    let kept = webhook(&mut client, "a").await;
    let mut rows = urls(forbidden.port());
    let blocked = |address| {
        let url = url(address, forbidden.port());
        (url, "address_blocked".to_owned(), String::new())
    };
    rows.extend(refused().into_iter().map(blocked));
    all_refused(&mut client, both_ways(&rows, &kept).into_iter()).await;
    // No answer says what the URL's password was, or the rule that refused it.
    let body = json!({ "url": "https://u:hunter2@127.0.0.1/" }).to_string();
    let answer = client.call_text(Method::POST, "/api/v1/webhooks", body);
    assert!(!answer.await.unwrap().body.to_string().contains("hunter2"));
    assert!(!daemon.log().contains("hunter2"));
    forbidden.check();
    assert!(daemon.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_addresses_beside_the_ranges_are_taken() {
    let site = Site::new(&["standard"]);
    let daemon = closed(&site);
    let mut client = daemon.client("standard");
    for address in beside() {
        // Nothing is ever sent to them: they are inactive, and there are no events.
        let body = json!({ "url": url(address, 443), "active": false });
        let registered = register(&mut client, body).await;
        let path = format!("/api/v1/webhooks/{}", registered["id"].as_str().unwrap());
        let removed = client.call(Method::DELETE, &path, None).await.unwrap();
        assert_eq!(removed.status, 204, "{address}");
    }
    assert!(daemon.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_allowed_stays_refused_where_all_is_allowed() {
    let forbidden = Forbidden::listen();
    let site = Site::new(&["standard"]);
    let open = "allow = [\"0.0.0.0/0\", \"::/0\"]\n";
    let config = site
        .config(true)
        .replace("allow = [\"127.0.0.0/8\"]\n", open);
    let daemon = crate::support::Daemon::start(&site.path("config.toml"), &config);
    let mut client = daemon.client("standard");
    let kept = webhook(&mut client, "a").await;
    let never = [
        "0.0.0.0",
        "0.255.255.255",
        "169.254.0.0",
        "169.254.169.254",
        "169.254.255.255",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "224.0.0.0",
        "239.255.255.255",
        "255.255.255.255",
    ];
    let never: Vec<IpAddr> = never.map(|text| text.parse().unwrap()).to_vec();
    let forms = never.iter().flat_map(|address| match address {
        IpAddr::V4(inner) => forms(*inner),
        IpAddr::V6(_) => Vec::new(),
    });
    let v6 = [
        "::",
        "fe80::1",
        "febf::1",
        "ff02::1",
        "ffff::1",
        "fd00:ec2::254",
        "fd20:ce::254",
    ];
    let v6 = v6.map(|text| text.parse().unwrap());
    let rows: Vec<_> = forms
        .chain(never.clone())
        .chain(v6)
        .map(|address| {
            (
                url(address, forbidden.port()),
                "address_blocked".to_owned(),
                String::new(),
            )
        })
        .collect();
    all_refused(&mut client, both_ways(&rows, &kept).into_iter()).await;
    forbidden.check();
    assert!(daemon.terminate().success());
}
