//! A daemon that speaks TLS: its authority, its files and its config, and clients that trust it.

use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;

use crate::client::Client;
use hookwheel::cli::client::Trust;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Daemon, PATIENCE, Site, hookwheel, key_of};

/// An authority whose certificates and keys are written to files.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Writes a server's certificate and key of these names beside each other.
    pub(super) fn issue_server(&self, site: &Site, name: &str, last_year: i32) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_after = date_time_ymd(last_year, 1, 1);
        self.write(site, name, &params);
    }

    pub(super) fn issue_client(&self, site: &Site, name: &str) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.write(site, name, &params);
    }

    fn write(&self, site: &Site, name: &str, params: &CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(site.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        write_secret(&site.path(&format!("{name}.key")), &key.serialize_pem());
    }
}

/// Writes what only its owner can read.
fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A site with a server's certificate, and what its config says of it.
pub struct Ground {
    pub site: Site,
    pub ca: Ca,
}

impl Ground {
    pub fn new() -> Self {
        let (site, ca) = (Site::new(&["standard"]), Ca::new("server CA"));
        std::fs::write(site.path("server-ca.pem"), &ca.pem).unwrap();
        ca.issue_server(&site, "server", 2090);
        Self { site, ca }
    }

    pub fn config(&self, server: &str, tls: &str) -> String {
        let tls = format!(
            "{server}\n[server.tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n{tls}\n[storage]\n"
        );
        self.site.config(true).replacen("[storage]\n", &tls, 1)
    }

    pub fn start(&self, server: &str, tls: &str) -> Daemon {
        Daemon::start(&self.site.path("config.toml"), &self.config(server, tls))
    }

    /// How a daemon with this config ends, and what it says.
    pub fn refused(&self, config: &str) -> (ExitStatus, String) {
        std::fs::write(self.site.path("config.toml"), config).unwrap();
        let mut command = hookwheel();
        command
            .args(["serve", "--config"])
            .arg(self.site.path("config.toml"));
        match Daemon::try_spawn(command) {
            Err(ended) => ended,
            Ok(daemon) => panic!("it started:\n{}", daemon.log()),
        }
    }

    pub fn trust(&self) -> Trust {
        Trust::of_file("127.0.0.1", &self.site.path("server-ca.pem")).unwrap()
    }

    pub fn client(&self, daemon: &Daemon) -> Client {
        Client::over_tls(daemon.address, &key_of("standard"), self.trust())
    }

    /// A connection by hand, without a certificate of the client's own.
    pub async fn connect(&self, daemon: &Daemon) -> TlsStream<TcpStream> {
        let settings = self.verifying().with_no_client_auth();
        self.connect_by(daemon, &Arc::new(settings)).await.unwrap()
    }

    /// A client with a certificate of the site's files. It keeps its sessions.
    pub fn settings_of(&self, name: &str) -> Arc<ClientConfig> {
        let path = |ending: &str| self.site.path(&format!("{name}.{ending}"));
        let certificate = CertificateDer::from_pem_file(path("pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(path("key")).unwrap();
        let settings = self.verifying();
        Arc::new(
            settings
                .with_client_auth_cert(vec![certificate], key)
                .unwrap(),
        )
    }

    fn verifying(&self) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let mut authorities = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca.pem.as_bytes()).unwrap();
        authorities.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(authorities)
    }

    /// A connection by hand of a client.
    pub async fn connect_by(
        &self,
        daemon: &Daemon,
        settings: &Arc<ClientConfig>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(daemon.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connecting = TlsConnector::from(Arc::clone(settings)).connect(name, tcp);
        timeout(PATIENCE, connecting).await.unwrap()
    }
}
