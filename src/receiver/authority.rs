//! Certificates made on the spot: a CA of one's own, what it issues, and what a sender must refuse.
//!
//! Keys live in memory only, unless the caller writes them out and reads them back. They are for local
//! receivers and tests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use super::ReceiverError;
use crate::model::UnixMillis;

/// The last year that a certificate can be of use in; RFC 5280 has four digits for it.
const YEAR_MAX: i32 = 4096;

/// A certificate authority of one's own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
}

/// A certificate chain and its key, of a server or a client.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// Whose clients alone are let in, as a server; everybody where there is none.
    clients_of: Option<CertificateDer<'static>>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Authority {
    /// A new CA with this common name and a new key.
    ///
    /// # Errors
    /// [`ReceiverError::Certificate`] if the name cannot stand in a certificate.
    pub fn generate(name: &str) -> Result<Self, ReceiverError> {
        Self::signed_by_itself(params(name), KeyPair::generate()?)
    }

    /// A CA for this machine with this common name, whose certificate ends with a day (year, month, day in
    /// UTC). It is trusted for loopback addresses and `localhost` only (name constraints, RFC 5280, 4.2.1.10),
    /// so a stolen key is of no use elsewhere. With the key of an earlier one of the same name
    /// ([`key_pem`](Self::key_pem)) it stands in its place: who trusts the earlier one trusts what this one
    /// issues.
    ///
    /// # Errors
    /// [`ReceiverError::Certificate`] if the name cannot stand in a certificate or the key is none.
    pub fn local_until(
        name: &str,
        last_day: (i16, u8, u8),
        key_pem: Option<&str>,
    ) -> Result<Self, ReceiverError> {
        let key = match key_pem {
            Some(pem) => KeyPair::from_pem(pem)?,
            None => KeyPair::generate()?,
        };
        let (year, month, day) = last_day;
        let mut params = params(name);
        params.not_after = date_time_ymd(i32::from(year).min(YEAR_MAX), month, day);
        let permitted_subtrees = vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([127, 0, 0, 0], [255, 0, 0, 0])),
            GeneralSubtree::DnsName("localhost".to_owned()),
        ];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees,
            excluded_subtrees: Vec::new(),
        });
        Self::signed_by_itself(params, key)
    }

    /// The CA of this common name whose key and certificate stand in `text`, as they were written out in
    /// PEM. What it issues is tried against its own certificate, with the time that is `now`.
    ///
    /// # Errors
    /// [`ReceiverError::Certificate`] if there is no key in the text, [`ReceiverError::Tls`] if there is no
    /// certificate in it, or one of another name or key.
    pub fn from_pem(name: &str, text: &str, now: UnixMillis) -> Result<Self, ReceiverError> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
        let key = KeyPair::try_from(&key)?;
        let certificate = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|_| rustls::CertificateError::BadEncoding)
            .map_err(rustls::Error::from)?;
        let begin = text.find("-----BEGIN CERTIFICATE-----");
        let certificate_pem = begin.and_then(|at| text.get(at..)).unwrap_or_default();
        let authority = Self {
            issuer: Issuer::new(params(name), key),
            certificate,
            certificate_pem: certificate_pem.to_owned(),
        };
        authority.check(now)?;
        Ok(authority)
    }

    fn signed_by_itself(params: CertificateParams, key: KeyPair) -> Result<Self, ReceiverError> {
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            certificate: certificate.into(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Issues a certificate and verifies it as a sender would that trusts this CA.
    fn check(&self, now: UnixMillis) -> Result<(), ReceiverError> {
        let name = "localhost";
        let issued = self.issue(&[name])?;
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let server = ServerName::try_from(name).expect("this is a host name");
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now.0));
        let leaf = issued
            .chain
            .first()
            .expect("what is issued has a certificate");
        verifier.verify_server_cert(leaf, &[], &server, &[], now)?;
        Ok(())
    }

    /// The CA's key in PEM (PKCS #8), to be written to a file that nobody else can read.
    #[must_use]
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// The CA's certificate, to be trusted.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The CA's certificate in PEM, to be written to a file for `[egress] extra_ca`.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        self.certificate_pem.clone()
    }

    /// A server certificate for these names; those that are IP addresses become IP entries.
    ///
    /// # Errors
    /// [`ReceiverError::Certificate`] if a name cannot stand in a certificate.
    pub fn issue(&self, names: &[&str]) -> Result<Identity, ReceiverError> {
        self.issue_from(server_params(names)?)
    }

    /// The same, but it ran out in 2001.
    ///
    /// # Errors
    /// As [`issue`](Self::issue).
    pub fn issue_expired(&self, names: &[&str]) -> Result<Identity, ReceiverError> {
        let mut params = server_params(names)?;
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
        self.issue_from(params)
    }

    /// A client certificate with this common name.
    ///
    /// # Errors
    /// As [`issue`](Self::issue).
    pub fn issue_client(&self, name: &str) -> Result<Identity, ReceiverError> {
        let mut params = server_params(&[])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue_from(params)
    }

    fn issue_from(&self, params: CertificateParams) -> Result<Identity, ReceiverError> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity::new(certificate.into(), &key))
    }
}

impl Identity {
    /// A server certificate for these names that is signed by its own key.
    ///
    /// # Errors
    /// [`ReceiverError::Certificate`] if a name cannot stand in a certificate.
    pub fn self_signed(names: &[&str]) -> Result<Self, ReceiverError> {
        let key = KeyPair::generate()?;
        let certificate = server_params(names)?.self_signed(&key)?;
        Ok(Self::new(certificate.into(), &key))
    }

    fn new(certificate: CertificateDer<'static>, key: &KeyPair) -> Self {
        Self {
            chain: vec![certificate],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            clients_of: None,
        }
    }

    /// The same, which as a server lets in only clients with a certificate of this authority.
    #[must_use]
    pub fn asking_clients_of(mut self, authority: &Authority) -> Self {
        self.clients_of = Some(authority.certificate.clone());
        self
    }

    /// Its chain, the first one its own.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Its key, in DER (PKCS #8).
    #[must_use]
    pub const fn key(&self) -> &PrivateKeyDer<'static> {
        &self.key
    }

    /// TLS settings of a server that shows this certificate.
    ///
    /// # Errors
    /// [`ReceiverError::Tls`] if certificate and key do not belong together.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, ReceiverError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
        let builder = match &self.clients_of {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.clone())?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                let verifier = verifier.map_err(|why| rustls::Error::General(why.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server_params(names: &[&str]) -> Result<CertificateParams, ReceiverError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let common_name = names.first().cloned().unwrap_or_default();
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
