//! The API's client as tests use it: each answer that it gets is held against the API's own description, so a status, a
//! code, a field or a path that is not described there fails the test that meets it.

use std::net::SocketAddr;

use hookwheel::cli::client::{Client as Plain, Trust};
use http::Method;
use serde_json::Value;

pub use hookwheel::cli::client::Answer;

use crate::openapi::described::Described;

/// Bodies beyond this are not held against their schema: that takes long, and the short ones say the same.
const JUDGED_MAX: usize = 64 << 10;

/// A connection to a daemon's API with one key.
#[derive(Debug)]
pub struct Client(Plain);

impl Client {
    pub fn new(address: SocketAddr, key: &str) -> Self {
        Self(Plain::new(address, key))
    }

    pub fn over_tls(address: SocketAddr, key: &str, trust: Trust) -> Self {
        Self(Plain::over_tls(address, key, trust))
    }

    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.call_text(method, path, body).await
    }

    pub async fn call_text(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<Answer> {
        let given = (body.len() <= JUDGED_MAX).then(|| body.clone());
        let answer = self.0.call_text(method.clone(), path, body).await?;
        // No cache keeps what belongs to a key, and no browser takes it for something else.
        let has = |name: &str| {
            answer
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        assert!(
            has("cache-control").is_some(),
            "{method} {path}: {answer:?}"
        );
        assert_eq!(
            has("x-content-type-options"),
            Some("nosniff"),
            "{method} {path}"
        );
        let judged = Described::api().judge(&method, path, given.as_deref(), &answer);
        if let Err(why) = judged {
            panic!(
                "{method} {path} -> {} is not as /openapi.json describes it: {why}\n{}",
                answer.status, answer.body
            );
        }
        Ok(answer)
    }
}
