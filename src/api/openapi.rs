//! The API's own description: one table of [operations](operation::Operation), from which both the router and the
//! document at `/openapi.json` (OpenAPI 3.1) are made, so that no call is without its description.
//!
//! The document is made once and kept as text; it is made anew when profiles come that call a scope otherwise. Nothing
//! of an account is in it, and no key is asked for it.

mod answers;
mod document;
mod operation;
mod operations;
pub(super) mod shapes;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Api, answers as memory};
use crate::profile::Profiles;

/// The document for accounts with these profiles.
#[must_use]
pub fn document(profiles: &Profiles) -> Value {
    document::make(&scope_fields(profiles))
}

/// The router of all operations.
pub(super) fn routes() -> Router<Arc<Api>> {
    let add =
        |router: Router<Arc<Api>>, call: operation::Operation| router.route(call.path, call.route);
    let mut calls = operations::all();
    // In the order in which `Allow` names a path's methods.
    calls.sort_by_key(|call| call.method != http::Method::GET);
    calls.into_iter().fold(Router::new(), add)
}

/// What profiles call a scope, each name once.
fn scope_fields(profiles: &Profiles) -> Vec<String> {
    let mut names: Vec<String> = profiles
        .iter()
        .map(|profile| profile.scope_field.clone())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Where the document is kept.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<Option<Arc<Made>>>);

#[derive(Debug)]
struct Made {
    scope_fields: Vec<String>,
    text: Bytes,
    tag: HeaderValue,
}

impl Shelf {
    fn take(&self, scope_fields: Vec<String>) -> Arc<Made> {
        let mut kept = self.0.lock().expect("no holder of this lock panics");
        if let Some(made) = kept
            .as_ref()
            .filter(|made| made.scope_fields == scope_fields)
        {
            return Arc::clone(made);
        }
        let text = document::make(&scope_fields).to_string();
        let digest = Sha256::digest(&text);
        let half: String = digest
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let tag =
            HeaderValue::try_from(format!("\"{half}\"")).expect("hexadecimal digits are ASCII");
        let made = Arc::new(Made {
            scope_fields,
            text: text.into(),
            tag,
        });
        *kept = Some(Arc::clone(&made));
        made
    }
}

/// `GET /openapi.json`
async fn show(State(api): State<Arc<Api>>, asked: HeaderMap) -> Response {
    let made = api.shelf.take(scope_fields(&api.engine.profiles()));
    let mut response = if is_known(&asked, &made.tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = memory::shared(made.text.clone());
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, made.tag.clone());
    // May be kept, and is asked for again by its tag: another version of the daemon has another document.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Whether the client has it already (RFC 9110, 13.1.2: compared weakly).
fn is_known(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    let lists = asked
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|list| list.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one).as_bytes() == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_a_list_and_weakly_and_as_any() {
        let tag = HeaderValue::from_static("\"ab\"");
        let asked = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static(text));
            is_known(&headers, &tag)
        };
        assert!(asked("\"ab\"") && asked("\"x\", W/\"ab\"") && asked("*"));
        assert!(!asked("\"abc\"") && !asked("ab") && !asked(""));
        assert!(!is_known(&HeaderMap::new(), &tag));
    }

    #[test]
    fn the_document_is_made_once_and_anew_for_another_name_of_scopes() {
        let shelf = Shelf::default();
        let names = |name: &str| vec![name.to_owned()];
        let first = shelf.take(names("scope"));
        assert!(Arc::ptr_eq(&first, &shelf.take(names("scope"))));
        let other = shelf.take(names("tenant"));
        assert_ne!(first.tag, other.tag);
        assert!(
            std::str::from_utf8(&other.text)
                .unwrap()
                .contains("\"tenant\"")
        );
    }
}
