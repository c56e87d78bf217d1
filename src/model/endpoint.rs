//! Where a webhook sends: an HTTPS URL, judged on its raw text first.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A checked HTTPS URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    url: String,
}

/// The host part of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A DNS name, lower case.
    Name(String),
    /// An address literal.
    Address(IpAddr),
}

/// Why a URL is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Another scheme than https, or none.
    #[error("the URL must start with https://")]
    HttpsRequired,
    /// Not a URL that can be used.
    #[error("{0}")]
    Invalid(String),
}

impl Endpoint {
    /// Checks and takes a URL.
    ///
    /// # Errors
    /// [`EndpointError`] says what is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        Ok(Self {
            url: text.to_owned(),
        })
    }

    /// The URL as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }
}
