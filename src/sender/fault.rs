//! What went wrong, in the words of [`FaultKind`] and one sentence for the person who looks for the cause.
//!
//! A detail has a bounded length and no control characters, as receivers have a say in it. It never has
//! the request in it: no path, no header, no body. Tenants read it, so it names no address that they did not write, no
//! rule and no proxy's place; those stand in `inside`, which goes to the log and the operator's commands only.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError};

use super::tally::HeadTooLong;
use crate::model::{FaultKind, Outcome};

/// Longest detail, bytes: it is stored with every failed attempt.
const DETAIL_BYTES_MAX: usize = 300;

/// No usable answer, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) detail: String,
    /// What only the operator is told.
    pub(super) inside: Option<Inside>,
}

/// What only the operator is told of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inside {
    pub(super) text: String,
    /// Whether the operator can do something about it, so that it is logged as a warning.
    pub(super) is_ours: bool,
}

impl Fault {
    pub(super) fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: bounded(detail.into()),
            inside: None,
        }
    }

    /// The same, with what a log for close looks is told besides.
    pub(super) fn noting(self, text: impl Into<String>) -> Self {
        self.with_inside(text.into(), false)
    }

    /// The same, with what the operator is to see to.
    pub(super) fn warning(self, text: impl Into<String>) -> Self {
        self.with_inside(text.into(), true)
    }

    fn with_inside(mut self, text: String, is_ours: bool) -> Self {
        let text = bounded(text);
        self.inside = Some(Inside { text, is_ours });
        self
    }

    /// The kind, and the detail for the operator.
    pub(super) fn in_full(self) -> (FaultKind, String) {
        let full = self.inside.map(|inside| inside.text);
        (self.kind, full.unwrap_or(self.detail))
    }

    pub(super) fn into_outcome(self) -> Outcome {
        Outcome::Fault {
            kind: self.kind,
            detail: self.detail,
        }
    }
}

/// Cuts a text to its bound and shows control characters as what they are not.
fn bounded(mut text: String) -> String {
    if text.chars().any(char::is_control) {
        text = text.replace(char::is_control, "\u{fffd}");
    }
    if text.len() > DETAIL_BYTES_MAX {
        // The mark has three bytes.
        text.truncate(text.floor_char_boundary(DETAIL_BYTES_MAX - 3));
        text.push('…');
    }
    text
}

/// The connection ended with not a byte of an answer.
fn closed_before_answer() -> Fault {
    Fault::new(
        FaultKind::Reset,
        "the receiver closed the connection before it answered",
    )
}

/// A failed handshake with `host`, by the CAs of `trusts` (words for them).
pub(super) fn handshake(error: &io::Error, host: &str, trusts: &str) -> Fault {
    let detail = match find::<rustls::Error>(error) {
        Some(error) => tls_detail(error, host, trusts),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the receiver closed the connection during the TLS handshake".to_owned()
        }
        None => format!("the connection broke during the TLS handshake: {error}"),
    };
    Fault::new(FaultKind::Tls, detail)
}

fn tls_detail(error: &rustls::Error, host: &str, trusts: &str) -> String {
    use rustls::Error as E;
    match error {
        E::InvalidCertificate(error) => certificate_detail(error, host, trusts),
        E::AlertReceived(alert) if wants_certificate(*alert) => CLIENT_CERTIFICATE.to_owned(),
        E::AlertReceived(alert) => {
            format!("the receiver ended the TLS handshake with the alert {alert:?}")
        }
        E::InvalidMessage(_) => {
            format!("the receiver does not speak TLS on this port ({error})")
        }
        E::PeerIncompatible(reason) => {
            format!("the receiver offers no TLS 1.2 or 1.3 in common with us ({reason:?})")
        }
        E::NoCertificatesPresented => "the receiver presented no certificate".to_owned(),
        _ => format!("the TLS handshake failed: {error}"),
    }
}

/// Said where a receiver asks for a client certificate, and has none or takes not the one it got.
const CLIENT_CERTIFICATE: &str = "the receiver wants a client certificate, or does not take the one that it was shown; the \
                                  webhook's `tls` names one, which the operator sets up";

/// Whether an alert is about a client's certificate (RFC 8446, 6.2; TLS 1.2 has handshake_failure for all things).
const fn wants_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::CertificateRequired
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
    )
}

fn certificate_detail(error: &CertificateError, host: &str, trusts: &str) -> String {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => {
            "the receiver's certificate has expired".to_owned()
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "the receiver's certificate is not valid yet".to_owned()
        }
        E::UnknownIssuer => {
            format!(
                "the receiver's certificate has an unknown issuer: it is self-signed, or its CA is {trusts}"
            )
        }
        E::NotValidForName => format!("the receiver's certificate is for another host than {host}"),
        E::NotValidForNameContext { presented, .. } => {
            format!(
                "the receiver's certificate is for another host than {host}; it names: {}",
                presented
                    .iter()
                    .map(|name| plain_name(name))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        }
        E::Revoked => "the receiver's certificate is revoked".to_owned(),
        E::BadSignature => {
            "the receiver's certificate is not signed by the CA that it names".to_owned()
        }
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "the receiver's certificate is not meant for a server".to_owned()
        }
        E::Other(_) if error.to_string().contains("CaUsedAsEndEntity") => {
            "the receiver's certificate is a CA's own, self-signed and not a server's".to_owned()
        }
        _ => format!("the receiver's certificate does not verify: {error}"),
    }
}

/// The name in the library's way to show one: `DnsName("a.example")`, `IpAddress(198.41.0.4)`.
fn plain_name(shown: &str) -> &str {
    let inner = shown
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(shown).trim_matches('"')
}

/// An exchange that ended with the library's error, `received` bytes after it began.
pub(super) fn exchange(error: &hyper::Error, received: u64) -> Fault {
    if find::<HeadTooLong>(error).is_some() {
        return Fault::new(FaultKind::Protocol, HeadTooLong.to_string());
    }
    if let Some(error) = find::<rustls::Error>(error) {
        // TLS 1.3: a receiver that wants a client certificate says so after our handshake is done.
        let detail = match error {
            rustls::Error::AlertReceived(alert) if wants_certificate(*alert) => {
                CLIENT_CERTIFICATE.to_owned()
            }
            _ => format!("the TLS connection failed: {error}"),
        };
        return Fault::new(FaultKind::Tls, detail);
    }
    if error.is_parse() {
        return Fault::new(
            FaultKind::Protocol,
            format!("the answer is not valid HTTP/1.1, or over its bounds: {error}"),
        );
    }
    let io_error = find::<io::Error>(error);
    match io_error.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Fault::new(
            FaultKind::Protocol,
            format!("the answer is not valid HTTP/1.1: {}", root(error)),
        ),
        Some(io::ErrorKind::ConnectionReset) => {
            Fault::new(FaultKind::Reset, "the receiver reset the connection")
        }
        _ if received == 0 => closed_before_answer(),
        _ => Fault::new(
            FaultKind::Reset,
            "the receiver closed the connection in the middle of its answer",
        ),
    }
}

/// Whether a connection ended, as opposed to an answer that cannot be read.
pub(super) fn is_end(error: &hyper::Error) -> bool {
    !error.is_parse() && find::<rustls::Error>(error).is_none()
}

/// Whether the stream ended, with TLS or without, where more was awaited.
pub(super) fn is_eof(error: &hyper::Error) -> bool {
    find::<io::Error>(error).is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}

/// The first error of a type in a chain of causes. I/O errors hide theirs.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>() {
            Some(io_error) => io_error
                .get_ref()
                .map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

/// The innermost cause.
fn root(error: &hyper::Error) -> &(dyn StdError + 'static) {
    let mut root: &(dyn StdError + 'static) = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_shown_plainly() {
        assert_eq!(plain_name("DnsName(\"*.a.example\")"), "*.a.example");
        assert_eq!(plain_name("IpAddress(198.41.0.4)"), "198.41.0.4");
        assert_eq!(plain_name("other"), "other");
    }

    #[test]
    fn the_cause_behind_an_io_error_is_found() {
        let inner = rustls::Error::InvalidCertificate(CertificateError::Expired);
        let outer = io::Error::new(io::ErrorKind::InvalidData, inner);
        let fault = handshake(&outer, "a.example", "unknown");
        assert_eq!(fault.kind, FaultKind::Tls);
        assert_eq!(fault.detail, "the receiver's certificate has expired");
    }

    proptest! {
        #[test]
        fn details_are_bounded_and_have_no_control_characters(text in ".{0,400}", tail in "\\PC*") {
            let fault = Fault::new(FaultKind::Dns, format!("{text}{tail}\r\n"));
            prop_assert!(fault.detail.len() <= DETAIL_BYTES_MAX);
            prop_assert!(!fault.detail.chars().any(char::is_control));
            let short: String = text.chars().filter(|c| !c.is_control()).take(50).collect();
            prop_assert_eq!(bounded(short.clone()), short);
        }
    }
}
