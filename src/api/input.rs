//! Reading a request's body within its bounds: size, time, encoding.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::Api;
use super::error::Problem;

/// A whole body, valid UTF-8.
#[derive(Debug)]
pub(super) struct Text(Bytes);

impl Text {
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked when it was read")
    }
}

impl FromRequest<Arc<Api>> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let limit = api.options.body_bytes_max;
        let (parts, body) = request.into_parts();
        check_head(&parts.headers, limit)?;
        let read = read(body, limit);
        let bytes = tokio::time::timeout(api.options.body_timeout, read)
            .await
            .map_err(|_| {
                let detail = "the request's body did not arrive in time";
                Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail)
            })??;
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(error) => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "utf8_invalid",
                format!("the body is not UTF-8 at byte {}", error.valid_up_to()),
            )),
        }
    }
}

fn check_head(headers: &HeaderMap, limit: usize) -> Result<(), Problem> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let detail = "send the body as it is, without Content-Encoding";
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "encoding_unsupported",
            detail,
        ));
    }
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<usize>().ok());
    match announced {
        Some(length) if length > limit => Err(too_large(limit)),
        _ => Ok(()),
    }
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Err(error) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "body_incomplete",
            format!("the body could not be read to its end: {error}"),
        )),
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("the body is over the limit of {limit} bytes"),
    )
}
