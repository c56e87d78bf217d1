//! What the listener shows of itself, and whom it lets in: certificate, key, and authorities of clients.
//!
//! TLS 1.2 and 1.3 with HTTP/1.1. It is replaced as a whole: a handshake is made with one or the other, and
//! connections that are open keep what they began with. Sessions are resumed within one of them only, so that no
//! client of an authority that was taken away comes back by an old session. Private keys are never printed.

use std::fmt;
use std::sync::{Arc, RwLock};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// A certificate with its key, and the authorities of the clients that are let in.
#[derive(Clone)]
pub struct Identity {
    settings: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
    asks_clients: bool,
}

impl Identity {
    /// A server's certificate with those that lead to its authority, and its key. With authorities in `client_ca`
    /// only clients are let in that show a certificate of one of them.
    ///
    /// # Errors
    /// Where there is no certificate, the key is of no use or does not fit it, or an authority is of no use.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        client_ca: Vec<CertificateDer<'static>>,
    ) -> Result<Self, rustls::Error> {
        let Some(certificate) = chain.first().cloned() else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let settings = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)?;
        let asks_clients = !client_ca.is_empty();
        let settings = if client_ca.is_empty() {
            settings.with_no_client_auth()
        } else {
            let mut authorities = RootCertStore::empty();
            for certificate in client_ca {
                authorities.add(certificate)?;
            }
            let authorities = Arc::new(authorities);
            let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider)
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
            settings.with_client_cert_verifier(verifier)
        };
        let mut settings = settings.with_single_cert(chain, key)?;
        settings.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            settings: Arc::new(settings),
            certificate,
            asks_clients,
        })
    }

    /// The server's own certificate.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// The identity that is in force.
#[derive(Debug)]
pub struct Tls(RwLock<Identity>);

impl Tls {
    /// Begins with this one.
    #[must_use]
    pub const fn new(identity: Identity) -> Self {
        Self(RwLock::new(identity))
    }

    /// Shows another one from the next handshake on. Who is let in by it is told where that is another question now.
    pub fn replace(&self, identity: Identity) {
        let asks = identity.asks_clients;
        let mut present = self.0.write().expect("no holder of this lock panics");
        let before = std::mem::replace(&mut *present, identity);
        drop(present);
        match (before.asks_clients, asks) {
            (true, false) => tracing::warn!(
                "clients are let in without a certificate from now on: server.tls.client_ca is gone"
            ),
            (false, true) => tracing::warn!(
                "only clients with a certificate of server.tls.client_ca are let in from now on; open connections go on"
            ),
            _ => {}
        }
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let identity = self.0.read().expect("no holder of this lock panics");
        TlsAcceptor::from(Arc::clone(&identity.settings))
    }
}
