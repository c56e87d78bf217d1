//! Certificates: how long they hold.

use rustls::pki_types::CertificateDer;

use super::Check;
use crate::model::UnixMillis;
use crate::sender::not_after;

const DAY_MS: u64 = 24 * 3_600_000;
/// An authority's certificate takes some time to be replaced everywhere.
const AUTHORITY_WARN_MS: u64 = 30 * DAY_MS;

/// The authorities that the config adds.
pub(super) fn checks(extra_ca: &[CertificateDer<'static>], now: UnixMillis) -> Vec<Check> {
    let judged = |(index, certificate): (usize, &CertificateDer<'static>)| {
        let what = format!("certificate {} of [egress] extra_ca", index + 1);
        authority(&what, not_after(certificate), now)
    };
    extra_ca.iter().enumerate().map(judged).collect()
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
