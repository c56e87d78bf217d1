//! Certificates: how long they hold.

use rustls::pki_types::CertificateDer;

use super::Check;
use crate::config::Config;
use crate::model::UnixMillis;
use crate::sender::{TlsIdentity, not_after};

const DAY_MS: u64 = 24 * 3_600_000;
/// An authority's certificate takes some time to be replaced everywhere.
const AUTHORITY_WARN_MS: u64 = 30 * DAY_MS;

/// One that is renewed by itself is renewed earlier than this.
const CLIENT_WARN_MS: u64 = 14 * DAY_MS;
const SERVER_WARN_MS: u64 = 7 * DAY_MS;

/// The authorities that the config adds, the client certificates, and the listener's own.
pub(super) fn checks(config: &Config, now: UnixMillis) -> Vec<Check> {
    let judged = |list: &[CertificateDer<'static>], of: &str| -> Vec<Check> {
        let judge = |(index, certificate): (usize, &CertificateDer<'static>)| {
            let what = format!("certificate {} of {of}", index + 1);
            authority(&what, not_after(certificate), now)
        };
        list.iter().enumerate().map(judge).collect()
    };
    let mut checks = judged(&config.sender.extra_ca, "[egress] extra_ca");
    for TlsIdentity {
        name,
        ca,
        client: own,
        ..
    } in &config.tls
    {
        checks.extend(judged(ca, &format!("ca in [egress.tls.{name}]")));
        // Those behind it end later, or are its authority's to renew.
        let own = own.iter().filter_map(|own| own.chain.first());
        checks.extend(own.map(|certificate| client(name, not_after(certificate), now)));
    }
    let own = config.identity.as_ref();
    checks.extend(own.map(|identity| server(not_after(identity.certificate()), now)));
    checks
}

fn server(ends: Option<UnixMillis>, now: UnixMillis) -> Check {
    const FIX: &str = "put a new certificate into the file of [server.tls], and have the config read again (SIGHUP)";
    let Some(ends) = ends else {
        return Check::warn("server TLS", "the certificate's end cannot be read", FIX);
    };
    if ends <= now {
        return Check::fail(
            "server TLS",
            format!("the certificate has expired: {ends}"),
            FIX,
        );
    }
    let found = format!("the certificate holds until {ends}");
    if ends.0 - now.0 < SERVER_WARN_MS {
        return Check::warn("server TLS", found, FIX);
    }
    Check::ok("server TLS", found)
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
