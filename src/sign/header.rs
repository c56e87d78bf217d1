//! Custom headers: which names and values a webhook's owner may set.

use http::{HeaderName, HeaderValue};

use crate::profile::{Profile, is_framing_header};

/// A webhook has no more custom headers than this: they are stored and sent with each request.
pub const HEADERS_MAX: usize = 50;
/// One header, name and value together, is at most this long: receivers refuse longer lines.
const HEADER_BYTES_MAX: usize = 8 * 1024;
/// Names of connection management that no message may carry (RFC 9110, 7.6.1), besides the framing ones.
const HOP_BY_HOP: [&str; 4] = [
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
];

/// A custom header that cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// `header_invalid`: not a header that HTTP can carry.
    #[error("{0}")]
    Invalid(String),
    /// `header_reserved`: the daemon sets it itself.
    #[error("the header `{0}` is set by the delivery itself; choose another name")]
    Reserved(String),
}

impl HeaderError {
    /// The stable code of the API.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "header_invalid",
            Self::Reserved(_) => "header_reserved",
        }
    }
}

/// The headers that this profile sets itself; every `webhook-…` name and the framing headers are
/// reserved besides.
#[must_use]
pub fn reserved_headers(profile: &Profile) -> Vec<HeaderName> {
    let signatures = profile.signatures.iter().map(|rule| &rule.header_name);
    let own = profile.headers.iter().map(|rule| &rule.name);
    signatures.chain(own).cloned().collect()
}

/// Checks one custom header of a webhook with this profile.
///
/// # Errors
/// [`HeaderError`] says which rule it breaks. No message quotes the value, which may be a credential.
pub fn check_header(
    profile: &Profile,
    name: &str,
    value: &str,
) -> Result<(HeaderName, HeaderValue), HeaderError> {
    let invalid = |message: String| Err(HeaderError::Invalid(message));
    let shown = || {
        name.chars()
            .take(64)
            .collect::<String>()
            .escape_debug()
            .to_string()
    };
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        return invalid(format!(
            "`{}` is not a header name (RFC 9110, 5.1)",
            shown()
        ));
    };
    if name.len() + value.len() > HEADER_BYTES_MAX {
        return invalid(format!(
            "the header `{}` is over {HEADER_BYTES_MAX} bytes",
            shown()
        ));
    }
    if !value
        .bytes()
        .all(|byte| (0x20..0x7f).contains(&byte) || byte == b'\t')
    {
        return invalid(format!(
            "the value of `{}` is not printable ASCII on one line",
            shown()
        ));
    }
    if value.trim() != value {
        return invalid(format!(
            "the value of `{}` starts or ends with a space",
            shown()
        ));
    }
    let lower = parsed.as_str();
    if is_framing_header(lower)
        || HOP_BY_HOP.contains(&lower)
        || lower.starts_with("webhook-")
        || reserved_headers(profile).contains(&parsed)
    {
        return Err(HeaderError::Reserved(shown()));
    }
    let Ok(mut value) = HeaderValue::from_str(value) else {
        return invalid(format!("the value of `{}` cannot be sent", shown()));
    };
    value.set_sensitive(true);
    Ok((parsed, value))
}
