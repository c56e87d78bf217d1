//! Certificates: how long they hold.

use rustls::pki_types::CertificateDer;

use super::Check;
use crate::model::UnixMillis;
use crate::sender::{TlsIdentity, not_after};

const DAY_MS: u64 = 24 * 3_600_000;
/// An authority's certificate takes some time to be replaced everywhere.
const AUTHORITY_WARN_MS: u64 = 30 * DAY_MS;

/// One that is renewed by itself is renewed earlier than this.
const CLIENT_WARN_MS: u64 = 14 * DAY_MS;

/// The authorities that the config adds, and the client certificates.
pub(super) fn checks(
    extra_ca: &[CertificateDer<'static>],
    tls: &[TlsIdentity],
    now: UnixMillis,
) -> Vec<Check> {
    let judged = |list: &[CertificateDer<'static>], of: &str| -> Vec<Check> {
        let judge = |(index, certificate): (usize, &CertificateDer<'static>)| {
            let what = format!("certificate {} of {of}", index + 1);
            authority(&what, not_after(certificate), now)
        };
        list.iter().enumerate().map(judge).collect()
    };
    let mut checks = judged(extra_ca, "[egress] extra_ca");
    for identity in tls {
        let name = &identity.name;
        checks.extend(judged(&identity.ca, &format!("ca in [egress.tls.{name}]")));
        // Those behind it end later, or are its authority's to renew.
        let own = identity
            .client
            .iter()
            .filter_map(|client| client.chain.first());
        checks.extend(own.map(|certificate| client(name, not_after(certificate), now)));
    }
    checks
}

fn client(name: &str, ends: Option<UnixMillis>, now: UnixMillis) -> Check {
    const CHECK: &str = "client certificate";
    let Some(ends) = ends else {
        let found = format!("that of [egress.tls.{name}]: its end cannot be read");
        return Check::warn(CHECK, found, "openssl x509 -enddate -noout -in FILE");
    };
    let found = format!("that of [egress.tls.{name}] holds until {ends}");
    if ends <= now {
        let found = format!("that of [egress.tls.{name}] has expired: {ends}");
        let remedy = "put the new certificate and key into the files, and reload the daemon";
        return Check::fail(CHECK, found, remedy);
    }
    if ends.0 - now.0 < CLIENT_WARN_MS {
        return Check::warn(CHECK, found, "get the next one in time");
    }
    Check::ok(CHECK, found)
}

fn authority(what: &str, ends: Option<UnixMillis>, now: UnixMillis) -> Check {
    let Some(ends) = ends else {
        return Check::warn(
            "extra CA",
            format!("{what}: its end cannot be read"),
            "openssl x509 -enddate -noout -in FILE",
        );
    };
    if ends <= now {
        return Check::fail(
            "extra CA",
            format!("{what} has expired: {ends}"),
            "put the authority's present certificate into the file, and start the daemon again",
        );
    }
    let found = format!("{what} holds until {ends}");
    if ends.0 - now.0 < AUTHORITY_WARN_MS {
        return Check::warn(
            "extra CA",
            found,
            "get the authority's next certificate in time",
        );
    }
    Check::ok("extra CA", found)
}
