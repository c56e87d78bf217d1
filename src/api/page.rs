//! Lists: how a page is asked for, and how it is answered.
//!
//! A page has `limit` rows at most and a cursor for the next one, which is taken back unchanged.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::model::Position;

use super::answers;
use super::budget::{Full, Held, Room};
use super::error::{self, Problem};

/// Rows of a list where the caller names no limit, and at most.
pub(super) const ROWS_DEFAULT: usize = 50;
pub(super) const ROWS_MAX: usize = 200;

/// What every list can be asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    /// Rows at most.
    pub(super) limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

impl Paging {
    /// The cursor, where it is the last id that was shown.
    ///
    /// # Errors
    /// 400 where it is none of ours.
    pub(super) fn after<T: FromStr>(&self) -> Result<Option<T>, Problem> {
        let cursor = self.cursor.as_deref().map(str::parse);
        cursor.transpose().map_err(|_| bad_cursor())
    }
}

/// The query of a request, read into a `T`.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => Err(refused("query_invalid", error.body_text())),
        }
    }
}

/// The names in a request's path, read into a `T`.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(names)) => Ok(Self(names)),
            // Not UTF-8 once decoded: nothing has such a name.
            Err(_) => Err(error::not_found().await),
        }
    }
}

/// 400 for a wrong query.
pub(super) fn refused(code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
}

/// The number of rows asked for.
///
/// # Errors
/// 400 outside 1 to 200.
pub(super) fn row_limit(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(ROWS_DEFAULT) {
        rows @ 1..=ROWS_MAX => Ok(rows),
        _ => Err(refused(
            "limit_invalid",
            format!("limit is a number from 1 to {ROWS_MAX}"),
        )),
    }
}

/// 400 for a cursor that is none of ours.
fn bad_cursor() -> Problem {
    refused(
        "cursor_invalid",
        "take the cursor from `next_cursor` of the page before, unchanged",
    )
}

/// Reads a cursor that is a place in the journal.
///
/// # Errors
/// 400 where it is none.
pub(super) fn read_cursor(cursor: Option<&str>) -> Result<Option<Position>, Problem> {
    let Some(text) = cursor else { return Ok(None) };
    match u64::from_str_radix(text, 16) {
        Ok(value) if text.len() == 16 => Ok(Some(Position::from_u64(value))),
        _ => Err(bad_cursor()),
    }
}

/// A place in the journal as a cursor.
pub(super) fn show_cursor(position: Position) -> String {
    format!("{:016x}", position.to_u64())
}

/// A page of a list.
pub(super) fn page(rows: Vec<Value>, next_cursor: Option<String>) -> Response {
    json_answer(
        StatusCode::OK,
        &json!({ "data": rows, "next_cursor": next_cursor }),
    )
}

/// The text of a page, made row by row in room that is counted.
#[derive(Debug)]
pub(super) struct Rows {
    text: Held,
    /// How long the whole may become, as far as that can be told.
    expected: usize,
}

impl Rows {
    pub(super) const fn new(room: Room, expected: usize) -> Self {
        let text = Held::new(room);
        Self { text, expected }
    }

    /// Adds a row, as JSON text.
    ///
    /// # Errors
    /// Where there is no room for it.
    pub(super) fn add(&mut self, row: &str) -> Result<(), Full> {
        let between = match self.text.len() {
            0 => "{\"data\":[",
            _ => ",",
        };
        self.text.extend(between.as_bytes(), self.expected)?;
        self.text.extend(row.as_bytes(), self.expected)
    }

    /// The whole page.
    ///
    /// # Errors
    /// Where there is no room for its end.
    pub(super) fn end(mut self, next_cursor: Option<String>) -> Result<Held, Full> {
        let begin = match self.text.len() {
            0 => "{\"data\":[",
            _ => "",
        };
        let end = format!("{begin}],\"next_cursor\":{}}}", json!(next_cursor));
        self.text.extend(end.as_bytes(), self.expected)?;
        self.text.fit();
        Ok(self.text)
    }
}

/// As [`json_answer`], of a text that is counted already.
pub(super) fn counted_answer(text: Held) -> Response {
    as_json(answers::counted(text))
}

/// JSON that must not be kept by caches: it may hold a secret or somebody's data.
pub(super) fn json_answer(status: StatusCode, body: &Value) -> Response {
    text_answer(status, body.to_string())
}

/// As [`json_answer`], from JSON text.
pub(super) fn text_answer(status: StatusCode, body: String) -> Response {
    as_json((status, body).into_response())
}

fn as_json(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
