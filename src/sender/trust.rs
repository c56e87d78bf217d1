//! Whom a connection trusts: the system's roots, Mozilla's where the system has none, and the operator's
//! extra CAs. TLS 1.2 and 1.3, sessions resumed. Nothing here turns verification off.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::SenderError;

/// Receivers whose TLS sessions are remembered for resumption. Each takes a few kilobytes; a receiver
/// beyond it costs a full handshake, no more.
const SESSIONS_MAX: usize = 1024;

/// The TLS settings of every connection.
///
/// # Errors
/// [`SenderError::ExtraCa`] for a certificate that cannot be a trust anchor.
pub(super) fn client_config(
    extra_ca: &[CertificateDer<'static>],
) -> Result<Arc<ClientConfig>, SenderError> {
    let mut roots = system_roots();
    for (index, certificate) in extra_ca.iter().enumerate() {
        roots
            .add(certificate.clone())
            .map_err(|error| SenderError::ExtraCa {
                number: index + 1,
                reason: error.to_string(),
            })?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        tracing::warn!(
            errors = ?found.errors,
            roots = roots.len(),
            "the system has no trusted roots; using those compiled in"
        );
    } else {
        tracing::debug!(added, ignored, "system roots read");
    }
    roots
}
