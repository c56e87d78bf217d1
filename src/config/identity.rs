//! `[server.tls]`: the listener's certificate, its key, and the authorities of clients, read from their files.
//!
//! Nothing of a key is ever in a message.

use std::path::Path;

use rustls::Error;
use rustls::pki_types::CertificateDer;

use crate::api::Identity;
use crate::model::Clock;
use crate::sender::not_after;

use super::egress::{EXTRA_CA_MAX, authorities};
use super::files::{chain, private_key};
use super::reader::{Placed, Reader};
use super::secrets::warn_of_eyes;
use super::tree::Origin;

/// Before an end that is nearer than this a certificate that is renewed by itself has been renewed.
const ENDS_SOON_MS: u64 = 7 * 24 * 3_600_000;

/// Reads the table; none where it is not there.
pub(super) fn read(mut reader: Reader<'_, '_>, base: &Path) -> Option<Identity> {
    let certificate = reader.text("certificate");
    let key = reader.text("key");
    // An empty list would let everybody in without a certificate, where somebody meant nobody, or forgot a name.
    let remedy = "name a PEM file with the authority of the clients that are let in; without the key client_ca clients \
                  need no certificate";
    let client_ca = reader.texts_if_any("client_ca", remedy);
    let is_there = *reader.place() != Origin::Whole
        || certificate.is_some()
        || key.is_some()
        || !client_ca.is_empty();
    let trusted = authorities(&mut reader, base, client_ca, EXTRA_CA_MAX);
    if is_there && certificate.is_none() {
        let fix = "add certificate = \"…\" with the path of a PEM file: the server's certificate, and those between \
                   it and its authority";
        reader.lacks("certificate", fix);
    }
    if is_there && key.is_none() {
        let fix =
            "add key = \"…\" with the path of a PEM file that holds the certificate's private key";
        reader.lacks("key", fix);
    }
    let identity = identity(&mut reader, base, certificate, key, trusted);
    reader.finish();
    identity
}

fn identity(
    reader: &mut Reader<'_, '_>,
    base: &Path,
    certificate: Option<Placed<String>>,
    key: Option<Placed<String>>,
    trusted: Vec<CertificateDer<'static>>,
) -> Option<Identity> {
    let (certificate, key) = (certificate?, key?);
    let found = chain(base, &certificate.value);
    let secret = private_key(base, &key.value);
    let found = reader.checked(&certificate, found);
    let secret = reader.checked(&key, secret);
    match Identity::new(found?, secret?, trusted) {
        Ok(identity) => {
            warn_of_eyes(reader, base, &key, "the private key");
            warn_of_end(reader, &certificate, &identity);
            Some(identity)
        }
        Err(Error::InconsistentKeys(_)) => {
            let problem = format!("`{}` does not fit the certificate", key.value);
            let fix = "name the key that the certificate was requested with; the server's own certificate must be \
                       the first one of its file";
            reader.refuse(&key, problem, fix);
            None
        }
        Err(Error::InvalidCertificate(cause)) => {
            let problem = format!("`{}` cannot be used: {cause}", certificate.value);
            let fix = "put the server's certificate (X.509 v3) first";
            reader.refuse(&certificate, problem, fix);
            None
        }
        // The cause may name what was found in the key's file, never what the key is.
        Err(cause) => {
            let problem = format!("`{}` cannot be used: {cause}", key.value);
            let fix = "use an RSA key of 2048 bits or more, an ECDSA (P-256, P-384) or an Ed25519 one, as PEM";
            reader.refuse(&key, problem, fix);
            None
        }
    }
}

/// An expired certificate is no fault of the config: the daemon is to come up all the same, as its deliveries need none.
fn warn_of_end(reader: &mut Reader<'_, '_>, at: &Placed<String>, identity: &Identity) {
    let Some(ends) = not_after(identity.certificate()) else {
        return;
    };
    let now = Clock::system().wall();
    let problem = if ends <= now {
        format!("the certificate has expired at {ends}: clients will not connect")
    } else if ends.0 - now.0 < ENDS_SOON_MS {
        format!("the certificate expires at {ends}")
    } else {
        return;
    };
    let fix = "put a new one into the file, and have the config read again (SIGHUP)";
    reader.warn(at, problem, fix);
}
