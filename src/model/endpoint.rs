//! Where a webhook sends: an HTTPS URL, judged on its raw text first.
//!
//! URL parsers for browsers repair what they read: they drop tabs, turn back-slashes into slashes, read
//! `0x7f.1` as 127.0.0.1 and resolve `..`. What was checked is then not what was written. So the raw text
//! is judged by RFC 3986's own grammar, narrowed to what a webhook needs; then the `url` crate parses it,
//! and a text on which the two disagree is refused. Nothing is repaired: the request line carries the
//! path and query exactly as they were written.
//!
//! Nothing here resolves a name or judges whether an address may be dialled; that is
//! [`AddressPolicy`](super::AddressPolicy)'s.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A checked HTTPS URL, with its scheme and host in lower case and all else as given. Cheap to clone.
///
/// Serialised as its text. What is read back is trusted: it was checked when it was taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Endpoint {
    url: Arc<str>,
}

/// The host part of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A DNS name, lower case, without a dot at its end.
    Name(String),
    /// An address literal.
    Address(IpAddr),
}

/// Why a URL is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Another scheme than https, or none.
    #[error("the URL must start with https://")]
    HttpsRequired,
    /// Not a URL that can be used.
    #[error("{0}")]
    Invalid(String),
    /// A number where a host should be, which some parsers read as an address.
    #[error("{0}")]
    AddressBlocked(String),
}

impl EndpointError {
    /// The stable code, as API errors carry it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::HttpsRequired => "https_required",
            Self::Invalid(_) => "url_invalid",
            Self::AddressBlocked(_) => "address_blocked",
        }
    }
}

/// Longest URL, bytes. Servers and proxies take about 8,000; a webhook with a token in its path needs
/// a few hundred, and the URL is kept with each webhook in memory.
const URL_BYTES_MAX: usize = 2048;
/// Longest label of a DNS name, bytes (RFC 1035, 2.3.4).
const LABEL_BYTES_MAX: usize = 63;
/// Longest DNS name in text, bytes (RFC 1035, 2.3.4: 255 octets on the wire).
const NAME_BYTES_MAX: usize = 253;
/// The port of HTTPS (RFC 9110, 4.2.2).
const HTTPS_PORT: u16 = 443;
/// With which every endpoint's text begins.
const SCHEME: &str = "https://";

impl Endpoint {
    /// Checks and takes a URL.
    ///
    /// A host name with a dot at its end is refused: it names the same host, but certificates, `Host`
    /// headers and name rules know it without the dot.
    ///
    /// # Errors
    /// [`EndpointError`] says what is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let rest = after_scheme(text)?;
        if text.len() > URL_BYTES_MAX {
            return invalid(format!(
                "the URL has {} bytes; at most {URL_BYTES_MAX} are taken",
                text.len()
            ));
        }
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        check_authority(authority)?;
        check_tail(tail)?;
        let url: Arc<str> = format!("{SCHEME}{}{tail}", authority.to_ascii_lowercase()).into();
        let endpoint = Self { url };
        endpoint.check_agreement()?;
        Ok(endpoint)
    }

    /// The URL, with its scheme and host in lower case and all else as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Host and port as a `Host` header has them (RFC 9110, 7.2): without the port where it is 443,
    /// IPv6 addresses in brackets.
    #[must_use]
    pub fn authority(&self) -> &str {
        let authority = self.split().0;
        authority.strip_suffix(":443").unwrap_or(authority)
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> Host {
        let host = self.split_authority().0;
        let literal = match host
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
        {
            Some(inner) => inner.parse().map(IpAddr::V6),
            None => host.parse().map(IpAddr::V4),
        };
        match literal {
            Ok(address) => Host::Address(address),
            Err(_) => Host::Name(host.to_owned()),
        }
    }

    /// The port; 443 where none is written.
    #[must_use]
    pub fn port(&self) -> u16 {
        let port = self.split_authority().1;
        port.and_then(|port| port.parse().ok())
            .unwrap_or(HTTPS_PORT)
    }

    /// Path and query in origin form (RFC 9112, 3.2.1), as written; `/` where no path is.
    #[must_use]
    pub fn path_and_query(&self) -> Cow<'_, str> {
        match self.split().1 {
            "" => Cow::Borrowed("/"),
            tail if tail.starts_with('/') => Cow::Borrowed(tail),
            query => Cow::Owned(format!("/{query}")),
        }
    }

    /// The text behind the scheme: authority, and the rest.
    fn split(&self) -> (&str, &str) {
        let rest = self.url.strip_prefix(SCHEME).unwrap_or(&self.url);
        rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()))
    }

    /// Host and port as written.
    fn split_authority(&self) -> (&str, Option<&str>) {
        split_port(self.split().0)
    }

    /// Whether the `url` crate reads the same host, port, path and query out of it.
    fn check_agreement(&self) -> Result<(), EndpointError> {
        let url = url::Url::parse(&self.url)
            .or_else(|error| invalid(format!("the URL cannot be read: {error}")))?;
        let host = match (url.host(), self.host()) {
            (Some(url::Host::Domain(read)), Host::Name(name)) => read == name,
            (Some(url::Host::Ipv4(read)), Host::Address(IpAddr::V4(address))) => read == address,
            (Some(url::Host::Ipv6(read)), Host::Address(IpAddr::V6(address))) => read == address,
            _ => false,
        };
        let (path, query) = match self.split().1.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.split().1, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        // The one character of RFC 3986's query that the URL standard escapes.
        let query = query.map(|query| query.replace('\'', "%27"));
        if !host || url.port_or_known_default() != Some(self.port()) {
            return invalid("the URL's host can be read in two ways; write it plainly".to_owned());
        }
        if url.path() != path {
            return invalid(
                "the URL's path has `.` or `..` segments; write the path that is meant".to_owned(),
            );
        }
        if url.query() != query.as_deref() {
            return invalid(
                "the URL's query can be read in two ways; percent-encode it".to_owned(),
            );
        }
        Ok(())
    }
}

fn invalid<T>(message: String) -> Result<T, EndpointError> {
    Err(EndpointError::Invalid(message))
}

/// What stands behind `https://`.
fn after_scheme(text: &str) -> Result<&str, EndpointError> {
    let trimmed = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    let Some((scheme, rest)) = trimmed.split_once(':') else {
        return Err(EndpointError::HttpsRequired);
    };
    if !scheme.eq_ignore_ascii_case("https") {
        return Err(EndpointError::HttpsRequired);
    }
    if trimmed.len() != text.len() {
        return invalid("remove the white space around the URL".to_owned());
    }
    match rest.strip_prefix("//") {
        Some(rest) if !rest.starts_with(['/', '\\']) => Ok(rest),
        _ => invalid("write the host directly behind https://".to_owned()),
    }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    // The colons of an IPv6 address stand inside its brackets.
    let behind_brackets = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, rest) = authority.split_at(behind_brackets);
    match rest.split_once(':') {
        Some((name, port)) if host.is_empty() => (name, Some(port)),
        Some(("", port)) => (host, Some(port)),
        _ => (authority, None),
    }
}

fn check_authority(authority: &str) -> Result<(), EndpointError> {
    if authority.contains('@') {
        return invalid(
            "remove the user name and password from the URL; set an Authorization header instead"
                .to_owned(),
        );
    }
    let (host, port) = split_port(authority);
    if host.is_empty() {
        return invalid("the URL has no host".to_owned());
    }
    if let Some(port) = port {
        let plain = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
        if !plain || !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return invalid(
                "the URL's port must be a number from 1 to 65535, or be left out with its colon"
                    .to_owned(),
            );
        }
    }
    check_host(host)
}

fn check_host(host: &str) -> Result<(), EndpointError> {
    if let Some(literal) = host.strip_prefix('[') {
        let address = literal.strip_suffix(']').map(str::parse::<Ipv6Addr>);
        return match address {
            Some(Ok(_)) => Ok(()),
            _ => invalid(
                "what stands in brackets must be an IPv6 address, without a zone".to_owned(),
            ),
        };
    }
    if host.parse::<Ipv4Addr>().is_ok() {
        return Ok(());
    }
    if reads_as_number(host) {
        return Err(EndpointError::AddressBlocked(
            "the URL's host is a number that can be read as an address; write a name, or the address \
             as four decimal numbers such as 198.41.0.4"
                .to_owned(),
        ));
    }
    if !host.is_ascii() {
        return invalid(
            "the URL's host has letters beyond ASCII; write its punycode form (xn--…)".to_owned(),
        );
    }
    check_name(host)
}

/// Whether a host is no name but a number in one of the ways that URL parsers and `inet_aton` read:
/// decimal, octal or hexadecimal, in one to four parts, or in letters that are folded to digits.
fn reads_as_number(host: &str) -> bool {
    let number = |label: &str| {
        let hex = label
            .strip_prefix("0x")
            .or_else(|| label.strip_prefix("0X"));
        match hex {
            Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
            None => !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit()),
        }
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_ascii() && !host.contains('%') {
        return host.split('.').all(number);
    }
    match url::Host::parse(host) {
        Ok(url::Host::Ipv4(_)) => true,
        Ok(url::Host::Domain(name)) => name.split('.').all(number),
        _ => false,
    }
}

fn check_name(host: &str) -> Result<(), EndpointError> {
    if host.ends_with('.') {
        return invalid("remove the dot at the end of the URL's host".to_owned());
    }
    if host.len() > NAME_BYTES_MAX {
        return invalid(format!(
            "the URL's host has {} bytes; a name has at most {NAME_BYTES_MAX}",
            host.len()
        ));
    }
    for label in host.split('.') {
        if label.is_empty() {
            return invalid("the URL's host has an empty part between its dots".to_owned());
        }
        if label.len() > LABEL_BYTES_MAX {
            return invalid(format!(
                "a part of the URL's host has {} bytes; at most {LABEL_BYTES_MAX} are allowed",
                label.len()
            ));
        }
        // The underscore is no host name's letter (RFC 952), but names inside of companies have it.
        let letters = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !letters || label.starts_with('-') || label.ends_with('-') {
            return invalid(
                "the URL's host may have letters, digits and hyphens between its dots, no hyphen first \
                 or last"
                    .to_owned(),
            );
        }
    }
    Ok(())
}

/// Path and query: RFC 3986's characters, and brackets in the query, which many services use.
fn check_tail(tail: &str) -> Result<(), EndpointError> {
    let mut in_query = false;
    let mut bytes = tail.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'#' => {
                return invalid(
                    "remove the fragment (`#…`) from the URL; it is never sent".to_owned(),
                );
            }
            b'?' => in_query = true,
            b'[' | b']' if in_query => {}
            b'%' => {
                let digits = [bytes.next(), bytes.next()];
                if !digits
                    .iter()
                    .all(|digit| digit.is_some_and(|b| b.is_ascii_hexdigit()))
                {
                    return invalid(
                        "a `%` in the URL must be followed by two hexadecimal digits; write `%25` for \
                         the sign itself"
                            .to_owned(),
                    );
                }
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {}
            b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b'@' => {}
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => {}
            _ => {
                return invalid(
                    "the URL has white space, a control character, a back-slash or another character \
                     that has to be percent-encoded"
                        .to_owned(),
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
