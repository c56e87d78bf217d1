//! A small client of the API over HTTP/1.1, plain or with TLS, for commands that talk to a daemon.
//!
//! With TLS the daemon's certificate is verified against the authorities of one file, always.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

/// An answer is a page of a list at most; beyond this it is none of ours.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// A connection to a daemon's API with one key.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    key: String,
    tls: Option<Trust>,
    connection: Option<SendRequest<Full<Bytes>>>,
    tasks: TaskTracker,
}

/// Whom a client trusts, and what it shows of itself, over TLS.
#[derive(Clone)]
pub struct Trust {
    settings: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// An answer: status, headers and JSON (null where there is none).
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// Reads the body of an answer that must have this status; `what` was tried.
    ///
    /// # Errors
    /// Says what was answered instead.
    pub fn read<T: DeserializeOwned>(self, expected: u16, what: &str) -> anyhow::Result<T> {
        let status = self.status.as_u16();
        ensure!(
            status == expected,
            "{what}: answered {status}: {}",
            self.body
        );
        serde_json::from_value(self.body).with_context(|| format!("{what}: an unexpected answer"))
    }
}

impl Trust {
    /// Trusts the authorities whose certificates stand in the PEM file `ca`, for a daemon whose certificate has the
    /// name, or the address, `name`.
    ///
    /// # Errors
    /// Where the file cannot be read or holds no certificate, or the name cannot be one.
    pub fn of_file(name: &str, ca: &Path) -> anyhow::Result<Self> {
        Self::new(name, ca, None)
    }

    /// The same, and shows the certificate of one PEM file, whose key is in the other.
    ///
    /// # Errors
    /// As [`Trust::of_file`], and where certificate and key are of no use.
    pub fn with_certificate(
        name: &str,
        ca: &Path,
        certificate: &Path,
        key: &Path,
    ) -> anyhow::Result<Self> {
        Self::new(name, ca, Some((certificate, key)))
    }

    fn new(name: &str, ca: &Path, own: Option<(&Path, &Path)>) -> anyhow::Result<Self> {
        let mut authorities = RootCertStore::empty();
        for certificate in certificates(ca)? {
            let added = authorities.add(certificate);
            added.with_context(|| format!("{} holds no authority", ca.display()))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let settings = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(authorities);
        let mut settings = match own {
            None => settings.with_no_client_auth(),
            Some((certificate, key)) => {
                let secret = PrivateKeyDer::from_pem_file(key).with_context(|| {
                    format!("no private key can be read from {}", key.display())
                })?;
                settings
                    .with_client_auth_cert(certificates(certificate)?, secret)
                    .with_context(|| format!("{} cannot be used", certificate.display()))?
            }
        };
        settings.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(name.to_owned())
            .with_context(|| format!("`{name}` cannot be the name of a daemon"))?;
        Ok(Self {
            settings: Arc::new(settings),
            name,
        })
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let unreadable = || format!("no certificate can be read from {}", path.display());
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .with_context(unreadable)?
        .collect();
    let found = found.with_context(unreadable)?;
    ensure!(!found.is_empty(), "{}", unreadable());
    Ok(found)
}

impl Client {
    /// A client; it connects when first used.
    #[must_use]
    pub fn new(address: SocketAddr, key: &str) -> Self {
        Self {
            address,
            key: key.to_owned(),
            tls: None,
            connection: None,
            tasks: TaskTracker::new(),
        }
    }

    /// A client that speaks TLS; it connects when first used.
    #[must_use]
    pub fn over_tls(address: SocketAddr, key: &str, trust: Trust) -> Self {
        Self {
            tls: Some(trust),
            ..Self::new(address, key)
        }
    }

    /// Where it sends to, for people.
    fn shown(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Sends one request and reads the answer.
    ///
    /// # Errors
    /// Where the daemon cannot be reached or does not answer in HTTP. An error status is an answer.
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.call_text(method, path, body).await
    }

    /// As [`Client::call`], with the body as text, to the letter.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_text(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header("x-api-key", &self.key)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let mut connection = self.connection().await?;
        let response = connection
            .send_request(request)
            .await
            .with_context(|| format!("no answer from {}", self.shown()))?;
        let status = response.status();
        let headers = response.headers().clone();
        let read = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await;
        let Ok(collected) = read else {
            bail!("the answer from {} broke off", self.shown());
        };
        self.connection = Some(connection);
        let bytes = collected.to_bytes();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
        };
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    async fn connection(&mut self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        if let Some(mut open) = self.connection.take()
            && open.ready().await.is_ok()
        {
            return Ok(open);
        }
        let stream = TcpStream::connect(self.address)
            .await
            .with_context(|| format!("cannot connect to {}", self.shown()))?;
        stream.set_nodelay(true)?;
        match self.tls.clone() {
            None => self.speak_over(stream).await,
            Some(Trust { settings, name }) => {
                let shaken = TlsConnector::from(settings).connect(name, stream).await;
                let stream = shaken.with_context(|| format!("no TLS with {}", self.shown()))?;
                self.speak_over(stream).await
            }
        }
    }

    async fn speak_over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let (send, connection) = handshake(TokioIo::new(stream)).await?;
        self.tasks.spawn(async move {
            // An end of the connection shows at the next request.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the daemon ended");
            }
        });
        Ok(send)
    }
}
