//! `[egress]`: where requests may go, which way, and whom they trust there.
//!
//! Files are read while checking, so a config that is taken has certificates and keys that belong together. What a key or
//! a password file holds stands in no message.

use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use rustls::pki_types::CertificateDer;

use crate::model::{Account, AccountName, AddressPolicy, Endpoint, Host, RangeError, did_you_mean};
use crate::sender::{
    Bypass, ClientCertificate, ProxyLogin, ProxyOptions, ProxyProtocol, Resolver, TlsIdentity,
};

use super::files::{PASSWORD_BYTES_MAX, certificates, chain, password, private_key};
use super::reader::{Placed, Reader};
use super::secrets::warn_of_eyes;
use super::values::{Refusal, parse_range, refused_range};

/// More authorities than this is a directory named by mistake.
pub(super) const EXTRA_CA_MAX: usize = 64;
/// Every address that is dialled is compared with every range.
const RANGES_MAX: usize = 1024;
/// Each has roots, sessions and connections of its own.
const TLS_NAMES_MAX: usize = 256;
/// Files with authorities of one name.
const CA_MAX: usize = 16;
/// A name's length: it stands in URLs' answers and in messages.
const TLS_NAME_CHARS_MAX: usize = 64;

/// What `[egress]` says.
pub(super) struct Egress {
    pub(super) policy: AddressPolicy,
    pub(super) extra_ca: Vec<CertificateDer<'static>>,
    pub(super) resolver: Resolver,
    pub(super) proxy: Option<ProxyOptions>,
    pub(super) tls: Vec<WrittenTls>,
}

/// A table of `[egress.tls]` whose accounts are still texts.
#[derive(Debug)]
pub(super) struct WrittenTls {
    identity: TlsIdentity,
    accounts: Vec<Placed<String>>,
}

/// Reads the section; relative paths are taken from `base`.
pub(super) fn read(mut reader: Reader<'_, '_>, base: &Path) -> Egress {
    let allow = ranges(&mut reader, "allow", AddressPolicy::check_allowed_range);
    let deny = ranges(&mut reader, "deny", AddressPolicy::check_denied_range);
    for range in &allow {
        if let Some(denied) = deny.iter().find(|net| net.value.contains(&range.value)) {
            reader.refuse(
                range,
                format!("is denied by egress.deny (`{}`), which wins", denied.value),
                "remove the one that you do not mean",
            );
        }
    }
    let paths = reader.texts("extra_ca");
    let extra_ca = authorities(&mut reader, base, paths, EXTRA_CA_MAX);
    let resolver = reader.choice(
        "resolver",
        ("built-in", Resolver::BuiltIn),
        &[("system", Resolver::System)],
    );
    let proxy = proxy(&mut reader, base);
    let tls = identities(&mut reader, base);
    reader.finish();
    let values = |list: Vec<Placed<IpNet>>| list.into_iter().map(|range| range.value).collect();
    Egress {
        policy: AddressPolicy::new(values(allow), values(deny)),
        extra_ca,
        resolver,
        proxy,
        tls,
    }
}

/// Checks that the accounts of each name are there.
pub(super) fn check_accounts(
    written: Vec<WrittenTls>,
    accounts: &[Account],
    reader: &mut Reader<'_, '_>,
) -> Vec<TlsIdentity> {
    let known = |text: &str| -> Option<AccountName> {
        let mut names = accounts.iter().map(|account| &account.name);
        names.find(|name| name.as_str() == text).cloned()
    };
    let checked = written.into_iter().map(|mut tls| {
        for text in &tls.accounts {
            match known(&text.value) {
                Some(name) => tls.identity.accounts.push(name),
                None => {
                    let names = accounts.iter().map(|account| account.name.as_str());
                    let hint = did_you_mean(&text.value, names);
                    let hint = format!("{hint}name some of the [[accounts]]");
                    let problem = format!("there is no account `{}`", text.value);
                    reader.refuse(text, problem, hint);
                }
            }
        }
        tls.identity
    });
    checked.collect()
}

pub(super) fn authorities(
    reader: &mut Reader<'_, '_>,
    base: &Path,
    paths: Vec<Placed<String>>,
    max: usize,
) -> Vec<CertificateDer<'static>> {
    let mut found = Vec::new();
    for path in bounded(
        reader,
        paths,
        max,
        "remove some, or put several into one file",
    ) {
        match certificates(base, &path.value) {
            Ok(more) => found.extend(more),
            Err(refusal) => reader.refuse(&path, refusal.problem, refusal.fix),
        }
    }
    found
}

fn proxy(reader: &mut Reader<'_, '_>, base: &Path) -> Option<ProxyOptions> {
    let written = reader.text("proxy");
    let user = reader.text("proxy_user");
    let password_file = reader.text("proxy_password_file");
    let bypass = bypass(reader);
    let resolves_names = reader.flag("proxy_resolves_names", false);
    let Some(written) = written else {
        for lonely in [&user, &password_file].into_iter().flatten() {
            let fix = "add proxy = \"http://…\", or remove this line";
            reader.refuse(lonely, "is of no use without a proxy", fix);
        }
        return None;
    };
    let login = login(reader, base, user, password_file);
    match parse_proxy(&written.value) {
        Ok((protocol, host, port)) => Some(ProxyOptions {
            protocol,
            host,
            port,
            login,
            bypass,
            resolves_names,
        }),
        Err(refusal) => {
            reader.refuse(&written, refusal.problem, refusal.fix);
            None
        }
    }
}

fn login(
    reader: &mut Reader<'_, '_>,
    base: &Path,
    user: Option<Placed<String>>,
    file: Option<Placed<String>>,
) -> Option<ProxyLogin> {
    let (user, file) = match (user, file) {
        (Some(user), Some(file)) => (user, file),
        (None, None) => return None,
        (Some(user), None) => {
            let fix = "add proxy_password_file with the path of a file that holds its password";
            reader.refuse(&user, "has no password", fix);
            return None;
        }
        (None, Some(file)) => {
            reader.refuse(&file, "is nobody's password", "add proxy_user");
            return None;
        }
    };
    let length = 1..=PASSWORD_BYTES_MAX;
    // Basic credentials end the name at the first colon (RFC 7617, 2).
    let unfit = |c: char| c.is_control() || c == ':';
    if !length.contains(&user.value.len()) || user.value.contains(unfit) {
        let fix = format!("write 1 to {PASSWORD_BYTES_MAX} bytes, without a colon");
        reader.refuse(&user, "cannot be a user's name", fix);
    }
    match password(base, &file.value) {
        Ok(password) => {
            warn_of_eyes(reader, base, &file, "the proxy's password");
            Some(ProxyLogin {
                user: user.value,
                password,
            })
        }
        Err(refusal) => {
            reader.refuse(&file, refusal.problem, refusal.fix);
            None
        }
    }
}

/// Reads `http://proxy.corp:3128` or `socks5://10.0.0.1:1080`. No message repeats the text: there may be a password in it.
fn parse_proxy(text: &str) -> Result<(ProxyProtocol, Host, u16), Refusal> {
    const FIX: &str = "write \"http://HOST:PORT\" (CONNECT) or \"socks5://HOST:PORT\", such as \"http://proxy.corp:3128\"";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Refusal::new("is not a proxy's URL", FIX));
    };
    let protocol = match scheme.to_ascii_lowercase().as_str() {
        "http" => ProxyProtocol::Http,
        "socks5" => ProxyProtocol::Socks5,
        "socks5h" => {
            return Err(Refusal::new(
                "says `socks5h`, by which others let the proxy resolve names",
                "write \"socks5://…\", and proxy_resolves_names = true if you mean that",
            ));
        }
        "https" => {
            return Err(Refusal::new(
                "says `https`, and TLS to the proxy itself is not spoken here",
                "write \"http://…\": TLS to the receivers runs inside the tunnel all the same",
            ));
        }
        _ => return Err(Refusal::new("is of a kind that is not known here", FIX)),
    };
    if rest.contains('@') {
        return Err(Refusal::new(
            "has a user in it",
            "write the name as proxy_user, and the password into the file of proxy_password_file",
        ));
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(Refusal::new("has more than a host and a port", FIX));
    }
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    if !port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err(Refusal::new("has no port", FIX));
    }
    // The rules for a host are those of any URL here.
    let endpoint = Endpoint::parse(&format!("https://{authority}/"))
        .map_err(|cause| Refusal::new(format!("has no proper host: {cause}"), FIX))?;
    Ok((protocol, endpoint.host(), endpoint.port()))
}

fn bypass(reader: &mut Reader<'_, '_>) -> Bypass {
    const FIX: &str = "write a range (\"10.20.0.0/16\"), a name (\"hooks.example\"), or with a dot before it all names \
                       below (\".corp.example\")";
    let mut bypass = Bypass::default();
    let entries = reader.texts("proxy_bypass");
    let entries = bounded(reader, entries, RANGES_MAX, "remove some");
    for text in entries {
        if let Ok(range) = parse_range(&text.value) {
            match AddressPolicy::check_denied_range(range) {
                Ok(()) => bypass.ranges.push(range),
                Err(error) => {
                    let refusal = refused_range(&error);
                    reader.refuse(&text, refusal.problem, refusal.fix);
                }
            }
            continue;
        }
        let lower = text.value.to_ascii_lowercase();
        let name = lower.strip_prefix('.').unwrap_or(&lower);
        let host = Endpoint::parse(&format!("https://{name}/")).map(|endpoint| endpoint.host());
        match host {
            Ok(Host::Name(found)) if found == name => bypass.names.push(lower),
            _ => reader.refuse(&text, "is neither a range nor a name", FIX),
        }
    }
    bypass
}

fn identities(reader: &mut Reader<'_, '_>, base: &Path) -> Vec<WrittenTls> {
    let mut named = reader.named("tls");
    if let Some((first_over, _)) = named.get(TLS_NAMES_MAX) {
        let problem = format!("is one more than the {TLS_NAMES_MAX} names there may be");
        reader.refuse(&first_over.clone(), problem, "remove some");
        named.truncate(TLS_NAMES_MAX);
    }
    let mut found = Vec::with_capacity(named.len());
    for (name, node) in named {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let length = 1..=TLS_NAME_CHARS_MAX;
        if !length.contains(&name.value.len()) || !name.value.chars().all(fits) {
            let fix =
                format!("write 1 to {TLS_NAME_CHARS_MAX} characters of a-z, 0-9, `_` and `-`");
            reader.refuse(&name, "cannot be a name", fix);
        }
        found.extend(identity(
            reader.enter_named("tls", &name, node),
            base,
            name.value,
        ));
    }
    found
}

fn identity(mut reader: Reader<'_, '_>, base: &Path, name: String) -> Option<WrittenTls> {
    let client = client(&mut reader, base);
    let has_ca = reader.has("ca");
    // An empty list would mean the CAs of all others, where somebody wrote down that there are some of its own.
    let paths = reader.texts_if_any("ca", "name at least one PEM file, or remove the line");
    let ca = authorities(&mut reader, base, paths, CA_MAX);
    let remedy = "add accounts = [\"…\"]: whose webhooks may name it; no other account's can";
    let accounts = reader.some_texts("accounts", remedy);
    if matches!(client, Ok(None)) && !has_ca {
        let fix = "add certificate and key, or ca = [\"…\"], or remove the table";
        reader.lacks("certificate", fix);
    }
    reader.finish();
    let identity = TlsIdentity {
        name,
        accounts: Vec::new(),
        client: client.ok()?,
        ca,
    };
    Some(WrittenTls { identity, accounts })
}

/// The client certificate, if there is one; an error where it was refused.
fn client(reader: &mut Reader<'_, '_>, base: &Path) -> Result<Option<ClientCertificate>, ()> {
    let (certificate, key) = match (reader.text("certificate"), reader.text("key")) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return Ok(None),
        (Some(certificate), None) => {
            let fix = "add key = \"…\" with the path of its PEM file";
            reader.refuse(&certificate, "has no key", fix);
            return Err(());
        }
        (None, Some(key)) => {
            let fix = "add certificate = \"…\" with the path of its PEM file";
            reader.refuse(&key, "has no certificate", fix);
            return Err(());
        }
    };
    let found_chain = chain(base, &certificate.value);
    let found_key = private_key(base, &key.value);
    let (chain, found_key) = match (found_chain, found_key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, found_key) => {
            if let Err(refusal) = chain {
                reader.refuse(&certificate, refusal.problem, refusal.fix);
            }
            if let Err(refusal) = found_key {
                reader.refuse(&key, refusal.problem, refusal.fix);
            }
            return Err(());
        }
    };
    let client = ClientCertificate {
        chain,
        key: Arc::new(found_key),
    };
    if let Err(error) = client.check() {
        let fix = "name the certificate (first in its file) and the key that belong together";
        let problem = format!("cannot be used with its key: {error}");
        reader.refuse(&certificate, problem, fix);
        return Err(());
    }
    warn_of_eyes(reader, base, &key, "the private key");
    Ok(Some(client))
}

fn ranges(
    reader: &mut Reader<'_, '_>,
    key: &'static str,
    check: impl Fn(IpNet) -> Result<(), RangeError>,
) -> Vec<Placed<IpNet>> {
    let mut found = Vec::new();
    let texts = reader.texts(key);
    for text in bounded(
        reader,
        texts,
        RANGES_MAX,
        "remove some, or write larger ranges",
    ) {
        let checked = parse_range(&text.value).and_then(|range| {
            check(range).map_err(|error| refused_range(&error))?;
            Ok(range)
        });
        match checked {
            Ok(value) => found.push(Placed {
                value,
                at: text.at,
                field: text.field,
            }),
            Err(refusal) => reader.refuse(&text, refusal.problem, refusal.fix),
        }
    }
    found
}

fn bounded(
    reader: &mut Reader<'_, '_>,
    mut list: Vec<Placed<String>>,
    max: usize,
    fix: &str,
) -> Vec<Placed<String>> {
    if let Some(first_over) = list.get(max).cloned() {
        let problem = format!("is entry {} of the list, which may have {max}", max + 1);
        reader.refuse(&first_over, problem, fix);
        list.truncate(max);
    }
    list
}
