//! Problems (RFC 9457) and the one map from this crate's errors to HTTP.
//!
//! A problem has a stable `code` for programs, a `detail` for the person who meets it, saying what to do,
//! and `errors` with a JSON pointer (RFC 6901) for each field at fault.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::codes;
use crate::engine::{ChangeError, EngineError, IntakeError, JobError};
use crate::store::{self, WriteError};
use crate::vault::VaultError;

/// One field at fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct FieldError {
    /// RFC 6901 pointer to the field.
    pub(super) pointer: String,
    /// A stable code where programs may want one, else `invalid`.
    pub(super) code: &'static str,
    /// What is wrong and what to write instead.
    pub(super) detail: String,
}

/// An error answer.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    /// Fields at fault that `errors` does not name.
    more: usize,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<&'a FieldError>,
}

impl Problem {
    /// A problem with a code of the one list.
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        // A defect that tests are to find; who meets it otherwise is answered all the same.
        debug_assert_eq!(
            codes::find(code).map(|known| known.status),
            Some(status.as_u16()),
            "`{code}` does not stand in src/api/codes.rs with this status"
        );
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            more: 0,
            headers: Vec::new(),
        }
    }

    /// 400 with the fields at fault. A single fault lends the problem its code.
    pub(super) fn fields(errors: Vec<FieldError>) -> Self {
        Self::some_fields(errors, 0)
    }

    /// As [`Problem::fields`], with `more` at fault than those named.
    pub(super) fn some_fields(errors: Vec<FieldError>, more: usize) -> Self {
        debug_assert!(
            errors
                .iter()
                .all(|error| codes::of_fields().any(|known| known.name == error.code)),
            "a code does not stand in src/api/codes.rs: {errors:?}"
        );
        let code = match errors.as_slice() {
            [only] if only.code != "invalid" => only.code,
            _ => "fields_invalid",
        };
        let detail = match errors.as_slice() {
            [only] => format!("{}: {}", only.pointer, only.detail),
            many => format!("{} fields are wrong; see `errors`", many.len() + more),
        };
        Self {
            errors,
            more,
            ..Self::new(StatusCode::BAD_REQUEST, code, detail)
        }
    }

    /// The same naming at most so many fields at fault.
    pub(super) fn with_faults_up_to(mut self, faults_max: usize) -> Self {
        self.more += self.errors.len().saturating_sub(faults_max);
        self.errors.truncate(faults_max);
        self
    }

    /// The fields at fault, as many as are named.
    pub(super) fn into_faults(self) -> Vec<FieldError> {
        self.errors
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no such {what}"),
        )
    }

    pub(super) fn unauthorized() -> Self {
        let detail = "give a valid key in the header `X-API-Key: …` or `Authorization: Bearer …`";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// The server's own fault. The cause goes to the log, not to the client.
    pub(super) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed by our own fault");
        let detail = "something went wrong here; the log says what";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// The problem as a JSON value, for an answer that holds several.
    pub(super) fn to_json(&self) -> String {
        let more = (self.more > 0).then(|| FieldError {
            pointer: String::new(),
            code: "more_faults",
            detail: match self.more {
                1 => "and one more field is wrong".to_owned(),
                more => format!("and {more} more fields are wrong"),
            },
        });
        let shown = Shown {
            kind: format!("urn:hookwheel:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            errors: self.errors.iter().chain(&more).collect(),
        };
        serde_json::to_string(&shown).expect("a struct of text and numbers serialises")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        // Also where no request was read, so that nothing else could say so.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.extend(self.headers);
        response
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let detail = error.to_string();
        match error {
            WriteError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
                .with(RETRY_AFTER, HeaderValue::from_static("1")),
            WriteError::Stopped => Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail)
                .with(RETRY_AFTER, HeaderValue::from_static("5")),
            WriteError::DiskReserve => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", detail)
                    .with(RETRY_AFTER, HeaderValue::from_static("60"))
            }
            WriteError::TooLarge(_) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
            }
            WriteError::Failed(_) => Self::internal(&detail),
        }
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        Self::internal(&error)
    }
}

impl From<IntakeError> for Problem {
    fn from(error: IntakeError) -> Self {
        let detail = error.to_string();
        match error {
            IntakeError::Account(_) => Self::unauthorized(),
            IntakeError::EventType(_) => Self::fields(vec![FieldError {
                pointer: "/type".to_owned(),
                code: "event_type_unknown",
                detail,
            }]),
            IntakeError::Operational(_) => Self::fields(vec![FieldError {
                pointer: "/type".to_owned(),
                code: "event_type_reserved",
                detail,
            }]),
            IntakeError::Schema(faults) => Self::fields(
                faults
                    .into_iter()
                    .map(|fault| FieldError {
                        pointer: format!("/data{}", fault.pointer),
                        code: "schema_mismatch",
                        detail: fault.reason,
                    })
                    .collect(),
            ),
            IntakeError::Json { pointer, reason } => Self::fields(vec![FieldError {
                pointer: pointer.to_owned(),
                code: "json_invalid",
                detail: reason,
            }]),
            IntakeError::Conflict(_) => Self::new(StatusCode::CONFLICT, "id_conflict", detail),
            IntakeError::Store(error) => error.into(),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        match error {
            ChangeError::Stale => Self::new(StatusCode::CONFLICT, "changed_in_between", detail),
            ChangeError::NotFound(what) => Self::not_found(what),
            ChangeError::Unclear => Self::new(StatusCode::CONFLICT, "state_unclear", detail),
            ChangeError::Discarding => Self::new(StatusCode::CONFLICT, "discard_under_way", detail),
            ChangeError::TooManyDiscards => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_discards", detail)
                    .with(RETRY_AFTER, HeaderValue::from_static("5"))
            }
            ChangeError::TooManyTests(_) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tests", detail)
                    .with(RETRY_AFTER, HeaderValue::from_static("5"))
            }
            ChangeError::Active => Self::new(StatusCode::CONFLICT, "webhook_active", detail),
            ChangeError::Held(_) => Self::new(StatusCode::CONFLICT, "webhook_held", detail),
            ChangeError::TooManyWebhooks => {
                Self::new(StatusCode::CONFLICT, "too_many_webhooks", detail)
            }
            ChangeError::InFlight => Self::new(StatusCode::CONFLICT, "in_flight", detail),
            ChangeError::Engine(EngineError::Account(_)) => Self::unauthorized(),
            ChangeError::Engine(error) => Self::internal(&error),
            ChangeError::Vault(VaultError::Reserved { .. }) => {
                Self::new(StatusCode::BAD_REQUEST, "secret_reserved", detail)
            }
            ChangeError::Vault(error) => Self::internal(&error),
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<JobError> for Problem {
    fn from(error: JobError) -> Self {
        let detail = error.to_string();
        match error {
            JobError::TooMany => Self::new(StatusCode::CONFLICT, "too_many_jobs", detail),
            JobError::TooManyCounts => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_dry_runs", detail)
                    .with(RETRY_AFTER, HeaderValue::from_static("5"))
            }
            JobError::NotFound => Self::not_found("job"),
            JobError::Ended(_) => Self::new(StatusCode::CONFLICT, "job_ended", detail),
            JobError::Write(error) => error.into(),
            JobError::Read(error) => error.into(),
            JobError::Defect => Self::internal(&error),
        }
    }
}

/// The answer to an unknown path.
pub(super) async fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing at this path",
    )
}

/// The answer to a known path with another method. The router adds the path's own `Allow`.
pub(super) async fn method_not_allowed() -> Problem {
    let detail = "this path exists, but not with this method; see the header `Allow`";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
