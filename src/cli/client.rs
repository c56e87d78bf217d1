//! A small client of the API over HTTP/1.1, plain or with TLS, for commands that talk to a daemon.
//!
//! With TLS the daemon's certificate is verified always: against the authorities of one file, or of the system. A
//! redirect is not followed, so a key goes to no other place than the one that was named.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
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
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

/// An answer is a page of a list at most; beyond this it is none of ours.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// To reach a daemon, and to speak TLS with it, takes no longer where somebody waits.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// Where a daemon's API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The host: a name or an address, this one without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What stands before the API's paths, where it is not at the root: empty, or `/…` without a slash at its end.
    pub prefix: String,
}

impl Place {
    /// Host and port, as in a URL.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
            prefix: String::new(),
        }
    }
}

/// A connection to a daemon's API with one key.
#[derive(Debug)]
pub struct Client {
    place: Place,
    key: Option<String>,
    /// How long an answer may take; `None`: as long as it takes.
    patience: Option<Duration>,
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
    /// The body to the letter.
    pub text: String,
}

/// What came of asking for a stream.
#[derive(Debug)]
pub enum Opened {
    /// It has begun.
    Stream(Stream),
    /// Something else was answered.
    Answer(Answer),
}

/// An answer that goes on, read as it comes.
#[derive(Debug)]
pub struct Stream {
    body: Incoming,
    /// Dropped, it would end the connection.
    _connection: SendRequest<Full<Bytes>>,
}

impl Stream {
    /// The next bytes; `None` at its end.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(bytes) = frame.context("the stream broke off")?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
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
        Self::new(name, authorities(ca)?, None)
    }

    /// Trusts the authorities of the PEM file `ca`, or of the system where there is none, and shows the certificate
    /// of one PEM file, whose key is in the other, where these are given.
    ///
    /// # Errors
    /// As [`Trust::of_file`], and where the system has no authorities, or certificate and key are of no use.
    pub fn of(name: &str, ca: Option<&Path>, own: Option<(&Path, &Path)>) -> anyhow::Result<Self> {
        let authorities = match ca {
            Some(ca) => authorities(ca)?,
            None => authorities_of_system()?,
        };
        Self::new(name, authorities, own)
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
        Self::new(name, authorities(ca)?, Some((certificate, key)))
    }

    fn new(
        name: &str,
        authorities: RootCertStore,
        own: Option<(&Path, &Path)>,
    ) -> anyhow::Result<Self> {
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

fn authorities(ca: &Path) -> anyhow::Result<RootCertStore> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(ca)? {
        let added = authorities.add(certificate);
        added.with_context(|| format!("{} holds no authority", ca.display()))?;
    }
    Ok(authorities)
}

fn authorities_of_system() -> anyhow::Result<RootCertStore> {
    let mut authorities = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Some systems have one or two that are of no use.
    authorities.add_parsable_certificates(found.certs);
    ensure!(
        !authorities.is_empty(),
        "this system has no certificate authorities; name a PEM file with --ca"
    );
    Ok(authorities)
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
        Self::to(address.into(), Some(key.to_owned()), None)
    }

    /// A client of what is at a place, with a key or without one, over TLS where somebody is trusted; it connects when
    /// first used.
    #[must_use]
    pub fn to(place: Place, key: Option<String>, tls: Option<Trust>) -> Self {
        Self {
            place,
            key,
            patience: None,
            tls,
            connection: None,
            tasks: TaskTracker::new(),
        }
    }

    /// The same, which gives up where a daemon cannot be reached in time, or does not answer for so long.
    #[must_use]
    pub fn patient_for(self, patience: Duration) -> Self {
        Self {
            patience: Some(patience),
            ..self
        }
    }

    /// A client that speaks TLS; it connects when first used.
    #[must_use]
    pub fn over_tls(address: SocketAddr, key: &str, trust: Trust) -> Self {
        Self::to(address.into(), Some(key.to_owned()), Some(trust))
    }

    /// Where it sends to, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.place.authority(), self.place.prefix)
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
        let patience = self.patience;
        let work = self.exchange(method, path, body);
        match patience {
            None => work.await,
            Some(patience) => timeout(patience, work)
                .await
                .unwrap_or_else(|_| bail!("no answer within {} s", patience.as_secs())),
        }
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<Answer> {
        let (response, connection) = self.send(method, path, body).await?;
        let answer = self.read(response).await?;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// Asks for an answer that goes on, on a connection of its own.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn open(&mut self, path: &str) -> anyhow::Result<Opened> {
        let patience = self.patience;
        let sent = self.send(Method::GET, path, String::new());
        let (response, connection) = match patience {
            None => sent.await?,
            Some(patience) => timeout(patience, sent)
                .await
                .unwrap_or_else(|_| bail!("no answer within {} s", patience.as_secs()))?,
        };
        let kind = response.headers().get(CONTENT_TYPE);
        let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if response.status() == StatusCode::OK && is_stream {
            return Ok(Opened::Stream(Stream {
                body: response.into_body(),
                _connection: connection,
            }));
        }
        let read = self.read(response);
        let answer = match patience {
            None => read.await?,
            Some(patience) => timeout(patience, read)
                .await
                .unwrap_or_else(|_| bail!("no answer within {} s", patience.as_secs()))?,
        };
        Ok(Opened::Answer(answer))
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<(Response<Incoming>, SendRequest<Full<Bytes>>)> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.place.prefix))
            .header(HOST, self.place.authority())
            .header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let mut connection = self.connection().await?;
        let response = connection
            .send_request(request)
            .await
            .with_context(|| format!("no answer from {}", self.shown()))?;
        Ok((response, connection))
    }

    /// Reads a whole answer.
    async fn read(&self, response: Response<Incoming>) -> anyhow::Result<Answer> {
        let status = response.status();
        let headers = response.headers().clone();
        let read = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await;
        let Ok(collected) = read else {
            bail!("the answer from {} broke off", self.shown());
        };
        let bytes = collected.to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(text.clone())),
        };
        Ok(Answer {
            status,
            headers,
            body,
            text,
        })
    }

    async fn connection(&mut self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        if let Some(mut open) = self.connection.take()
            && open.ready().await.is_ok()
        {
            return Ok(open);
        }
        match self.patience {
            None => self.connect().await,
            Some(_) => timeout(CONNECT_TIME_MAX, self.connect())
                .await
                .unwrap_or_else(|_| {
                    let seconds = CONNECT_TIME_MAX.as_secs();
                    bail!("{} cannot be reached within {seconds} s", self.shown())
                }),
        }
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect((self.place.host.as_str(), self.place.port))
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
