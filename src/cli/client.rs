//! A small client of the API over plain HTTP/1.1, for commands that talk to a daemon on this machine.

use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

/// An answer is a page of a list at most; beyond this it is none of ours.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// A connection to a daemon's API with one key.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    key: String,
    connection: Option<SendRequest<Full<Bytes>>>,
    tasks: TaskTracker,
}

/// An answer: status and JSON (null where there is none).
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
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

impl Client {
    /// A client; it connects when first used.
    #[must_use]
    pub fn new(address: SocketAddr, key: &str) -> Self {
        Self {
            address,
            key: key.to_owned(),
            connection: None,
            tasks: TaskTracker::new(),
        }
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
            .with_context(|| format!("no answer from http://{}", self.address))?;
        let status = response.status();
        let read = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await;
        let Ok(collected) = read else {
            bail!("the answer from http://{} broke off", self.address);
        };
        self.connection = Some(connection);
        let bytes = collected.to_bytes();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
        };
        Ok(Answer { status, body })
    }

    async fn connection(&mut self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        if let Some(mut open) = self.connection.take()
            && open.ready().await.is_ok()
        {
            return Ok(open);
        }
        let stream = TcpStream::connect(self.address)
            .await
            .with_context(|| format!("cannot connect to http://{}", self.address))?;
        stream.set_nodelay(true)?;
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
