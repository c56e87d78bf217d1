//! Every mistake that `[egress]` can have beyond its ranges: each with the field, what is wrong, and the fix.

use std::fs;

use hookwheel::config::{Config, ConfigErrors};
use hookwheel::receiver::Authority;

use super::write_pem;
use crate::support::Site;

/// The faults of a config with these lines in `[egress]`: field, problem and fix.
fn faults(site: &Site, lines: &str) -> Vec<(String, String)> {
    let config = format!(
        "{}[egress]\n{lines}\n",
        site.config(true).replace(
            "[egress]\nallow = [\"127.0.0.0/8\"]\nextra_ca = [\"ca.pem\"]\n",
            ""
        )
    );
    match Config::parse(&config, "c.toml", site.directory.path(), []) {
        Ok(_) => Vec::new(),
        Err(ConfigErrors::Invalid(faults)) => faults
            .iter()
            .map(|fault| {
                (
                    fault.field.clone(),
                    format!("{}; {}", fault.problem, fault.fix),
                )
            })
            .collect(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of mistakes and little else")]
fn each_mistake_of_a_proxy_is_named_with_its_fix() {
    let site = Site::new(&["standard"]);
    fs::write(site.path("password"), "hunter2hunter2\n").unwrap();
    fs::write(site.path("empty"), "\n").unwrap();
    fs::write(site.path("two"), "hunter2\nhunter2\n").unwrap();
    fs::write(site.path("long"), "x".repeat(256)).unwrap();
    let with = "proxy = \"http://proxy.corp:3128\"\n";
    for (lines, field, text) in [
        ("proxy = \"proxy.corp:3128\"", "proxy", "http://HOST:PORT"),
        (
            "proxy = \"https://proxy.corp:3128\"",
            "proxy",
            "TLS to the proxy itself",
        ),
        (
            "proxy = \"socks5h://proxy.corp:1080\"",
            "proxy",
            "proxy_resolves_names = true",
        ),
        (
            "proxy = \"ftp://proxy.corp:1080\"",
            "proxy",
            "socks5://HOST:PORT",
        ),
        ("proxy = \"http://proxy.corp\"", "proxy", "no port"),
        ("proxy = \"http://proxy.corp:0\"", "proxy", "no port"),
        (
            "proxy = \"http://proxy.corp:3128/x\"",
            "proxy",
            "more than a host and a port",
        ),
        (
            "proxy = \"http://u:hunter2@proxy.corp:3128\"",
            "proxy",
            "proxy_password_file",
        ),
        ("proxy = \"http://pro xy:3128\"", "proxy", "no proper host"),
        ("proxy = 3128", "proxy", "must be a string"),
        ("proxy_user = \"u\"", "proxy_user", "without a proxy"),
        (
            "proxy_password_file = \"password\"",
            "proxy_password_file",
            "without a proxy",
        ),
        (
            &format!("{with}proxy_user = \"u\""),
            "proxy_user",
            "no password",
        ),
        (
            &format!("{with}proxy_password_file = \"password\""),
            "proxy_password_file",
            "add proxy_user",
        ),
        (
            &format!("{with}proxy_user = \"a:b\"\nproxy_password_file = \"password\""),
            "proxy_user",
            "without a colon",
        ),
        (
            &format!("{with}proxy_user = \"u\"\nproxy_password_file = \"none\""),
            "proxy_password_file",
            "create it",
        ),
        (
            &format!("{with}proxy_user = \"u\"\nproxy_password_file = \"empty\""),
            "proxy_password_file",
            "0 bytes",
        ),
        (
            &format!("{with}proxy_user = \"u\"\nproxy_password_file = \"two\""),
            "proxy_password_file",
            "line breaks",
        ),
        (
            &format!("{with}proxy_user = \"u\"\nproxy_password_file = \"long\""),
            "proxy_password_file",
            "256 bytes",
        ),
        (
            &format!("{with}proxy_bypass = [\"10.0.0.1/8\"]"),
            "proxy_bypass[0]",
            "10.0.0.0/8",
        ),
        (
            &format!("{with}proxy_bypass = [\"*.corp\"]"),
            "proxy_bypass[0]",
            "neither a range nor a name",
        ),
        (
            &format!("{with}proxy_resolves_names = \"yes\""),
            "proxy_resolves_names",
            "true or false",
        ),
        (
            &format!("{with}proxy_pass = \"x\""),
            "proxy_pass",
            "unknown key",
        ),
    ] {
        let found = faults(&site, lines);
        let [(at, said)] = &found[..] else {
            panic!("{lines}: {found:?}");
        };
        assert_eq!(*at, format!("egress.{field}"), "{lines}");
        assert!(said.contains(text), "`{text}` is not in: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let good = format!(
        "{with}proxy_user = \"u\"\nproxy_password_file = \"password\"\nproxy_resolves_names = true\n\
         proxy_bypass = [\"10.20.0.0/16\", \".corp.example\", \"one.example\", \"fd00::/8\"]"
    );
    assert_eq!(faults(&site, &good), []);
    assert_eq!(faults(&site, "proxy = \"socks5://[fd00::1]:1080\""), []);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of mistakes and little else")]
fn each_mistake_of_a_name_for_tls_is_named_with_its_fix() {
    let site = Site::new(&["standard"]);
    let authority = Authority::generate("Partner CA").unwrap();
    write_pem(&site, "client", &authority.issue_client("us").unwrap());
    write_pem(&site, "other", &authority.issue_client("them").unwrap());
    let accounts = "accounts = [\"standard\"]\n";
    let pair = "certificate = \"client.pem\"\nkey = \"client.key\"\n";
    for (name, table, field, text) in [
        (
            "p",
            accounts.to_owned(),
            "p.certificate",
            "add certificate and key, or ca",
        ),
        (
            "p",
            pair.to_owned(),
            "p.accounts",
            "whose webhooks may name it",
        ),
        (
            "p",
            format!("{pair}accounts = []"),
            "p.accounts",
            "is empty",
        ),
        (
            "p",
            format!("{pair}accounts = [\"standart\"]"),
            "p.accounts[0]",
            "did you mean `standard`?",
        ),
        (
            "p",
            format!("{accounts}certificate = \"client.pem\""),
            "p.certificate",
            "has no key",
        ),
        (
            "p",
            format!("{accounts}key = \"client.key\""),
            "p.key",
            "has no certificate",
        ),
        (
            "p",
            format!("{accounts}certificate = \"client.pem\"\nkey = \"other.key\""),
            "p.certificate",
            "belong together",
        ),
        (
            "p",
            format!("{accounts}certificate = \"client.key\"\nkey = \"client.key\""),
            "p.certificate",
            "no certificate",
        ),
        (
            "p",
            format!("{accounts}certificate = \"client.pem\"\nkey = \"client.pem\""),
            "p.key",
            "no private key",
        ),
        (
            "p",
            format!("{accounts}certificate = \"none.pem\"\nkey = \"client.key\""),
            "p.certificate",
            "create it",
        ),
        ("p", format!("{accounts}ca = []"), "p.ca", "is empty"),
        (
            "p",
            format!("{accounts}ca = [\"client.key\"]"),
            "p.ca[0]",
            "holds no certificate",
        ),
        (
            "p",
            format!("{accounts}{pair}verify = false"),
            "p.verify",
            "unknown key",
        ),
        (
            "\"Big Name\"",
            format!("{accounts}{pair}"),
            "Big Name",
            "a-z, 0-9",
        ),
    ] {
        let found = faults(&site, &format!("[egress.tls.{name}]\n{table}"));
        let [(at, said)] = &found[..] else {
            panic!("{table}: {found:?}");
        };
        assert_eq!(*at, format!("egress.tls.{field}"), "{table}");
        assert!(said.contains(text), "`{text}` is not in: {said}");
    }
    assert_eq!(faults(&site, "tls = 5")[0].0, "egress.tls");
    assert_eq!(faults(&site, "tls = { p = 5 }")[0].0, "egress.tls.p");
    let good = format!("[egress.tls.partner-1]\n{accounts}{pair}ca = [\"ca.pem\"]");
    assert_eq!(faults(&site, &good), []);
}
