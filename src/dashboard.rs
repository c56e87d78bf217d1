//! The dashboard: the static files under `/ui/`, embedded in the binary.
//!
//! They are a client of the public API like any other, so this module names no other one, asks for no key and holds no
//! state: what a browser gets here is the same for everybody, and says nothing about anybody. Invariants: every answer
//! carries the same strict policy; nothing is loaded from elsewhere; a file's `ETag` is the hash of its bytes.

mod files;

use std::fmt::Write as _;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    IF_NONE_MATCH, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use files::{FILES, File, MISSING};

/// Where the dashboard is.
const HOME: &str = "/ui/";

/// Scripts, styles and images of our own only, no text is ever taken for a script, and nobody frames it. Forms are read
/// by scripts and sent nowhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// What goes with every answer.
const SAFE: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=(), clipboard-read=(), clipboard-write=(self)",
    ),
];

/// The routes of the dashboard, to be served beside the API's: its files, and `/`, which leads to them.
pub fn router() -> Router {
    let home = || async { see_home() };
    let mut router = Router::new()
        .route("/", get(home))
        .route("/ui", get(home))
        .route("/ui/{*path}", get(|| async { missing() }));
    for file in FILES {
        let etag = etag(file.bytes);
        let answer = move |headers: HeaderMap| async move { show(file, &etag, &headers) };
        router = router.route(file.path, get(answer));
    }
    router.method_not_allowed_fallback(|| async { method_not_allowed() })
}

fn show(file: &File, etag: &HeaderValue, headers: &HeaderMap) -> Response {
    let mut response = if is_known(headers, etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        whole(StatusCode::OK, file)
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, etag.clone());
    // It is kept, and asked for each time, so that an upgrade is seen at once.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    safe(response)
}

/// The bytes are static: an answer holds no memory, however slowly it is taken.
fn whole(status: StatusCode, file: &File) -> Response {
    let mut response = Response::new(Body::from(file.bytes));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(file.kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn safe(mut response: Response) -> Response {
    for (name, value) in SAFE {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    // What says nothing of it is made anew each time.
    let kept = response.headers_mut().entry(CACHE_CONTROL);
    kept.or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The same for every path that is none: what was asked for is not repeated.
fn missing() -> Response {
    safe(whole(StatusCode::NOT_FOUND, &MISSING))
}

fn see_home() -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let home = HeaderValue::from_static(HOME);
    response.headers_mut().insert(LOCATION, home);
    safe(response)
}

/// In the form of the API's own answer to a method that a path has not.
fn method_not_allowed() -> Response {
    let problem = concat!(
        r#"{"type":"urn:hookwheel:problem:method_not_allowed","title":"Method Not Allowed","status":405,"#,
        r#""code":"method_not_allowed","detail":"the dashboard's files can only be read; see the header `Allow`"}"#,
    );
    let mut response = Response::new(Body::from(problem));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/problem+json");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(ALLOW, HeaderValue::from_static("GET,HEAD"));
    safe(response)
}

fn etag(bytes: &[u8]) -> HeaderValue {
    let mut text = String::from("\"");
    // Half of the hash is more than enough to tell two versions of a file from each other.
    for byte in Sha256::digest(bytes).iter().take(16) {
        write!(text, "{byte:02x}").expect("a String takes everything");
    }
    text.push('"');
    HeaderValue::try_from(text).expect("quotes and hexadecimal digits fit into a header")
}

/// Whether the client has this version, by one of the tags that it names (RFC 9110, 13.1.2: compared weakly).
fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).iter();
    let mut tags = lists.flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
    tags.any(|tag| {
        let tag = tag.trim_ascii();
        let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
        tag == b"*" || tag == etag.as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use http::{Method, Request};
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(method: Method, path: &str, if_none_match: Option<&str>) -> (Response, String) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(tags) = if_none_match {
            request = request.header(IF_NONE_MATCH, tags);
        }
        let request = request.body(Body::empty()).unwrap();
        let (head, body) = router().oneshot(request).await.unwrap().into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (Response::from_parts(head, Body::empty()), text)
    }

    #[tokio::test]
    async fn every_file_is_served_safe_and_asked_for_anew() {
        for file in FILES {
            let (answer, text) = ask(Method::GET, file.path, None).await;
            let headers = answer.headers();
            assert_eq!(answer.status(), 200, "{}", file.path);
            assert_eq!(text.as_bytes(), file.bytes, "{}", file.path);
            assert_eq!(headers[CONTENT_TYPE], file.kind);
            assert_eq!(headers[CACHE_CONTROL], "no-cache");
            for (name, value) in SAFE {
                assert_eq!(headers[&name], value, "{}: {name}", file.path);
            }
            let etag = headers[ETAG].to_str().unwrap();
            for tags in [
                etag,
                &format!("\"other\", W/{etag}"),
                &format!("{etag} , \"b\""),
                "*",
            ] {
                let (again, text) = ask(Method::GET, file.path, Some(tags)).await;
                assert_eq!(
                    (again.status().as_u16(), text.as_str()),
                    (304, ""),
                    "{tags}"
                );
                assert_eq!(again.headers()[ETAG], etag);
            }
            let (other, _) = ask(Method::GET, file.path, Some("\"other\"")).await;
            assert_eq!(other.status(), 200);
            let (head, text) = ask(Method::HEAD, file.path, None).await;
            assert_eq!((head.status().as_u16(), text.as_str()), (200, ""));
            assert_eq!(head.headers()[ETAG], etag);
        }
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_told_so() {
        for path in ["/", "/ui"] {
            let (answer, _) = ask(Method::GET, path, None).await;
            assert_eq!(answer.status(), 303, "{path}");
            assert_eq!(answer.headers()[LOCATION], HOME);
        }
        for path in ["/ui/no", "/ui/../Cargo.toml", "/ui/%3Cimg%3E", "/ui/a/b"] {
            let (answer, text) = ask(Method::GET, path, None).await;
            assert_eq!(answer.status(), 404, "{path}");
            assert_eq!(answer.headers()[CONTENT_SECURITY_POLICY], POLICY);
            assert!(text.contains("There is no page here") && !text.contains("img"));
        }
        for path in ["/", "/ui/", "/ui/no"] {
            let (answer, text) = ask(Method::POST, path, None).await;
            assert_eq!(answer.status(), 405, "{path}");
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json");
            assert!(answer.headers().contains_key(ALLOW));
            assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
            let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(problem["code"], "method_not_allowed");
        }
    }

    /// The files as they lie beside the source, by name.
    fn sources() -> Vec<(String, String)> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard/assets");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
        found.sort();
        found
    }

    #[test]
    fn every_file_there_is_served_and_every_import_is_there() {
        let served = |name: &str| FILES.iter().any(|file| file.path == format!("/ui/{name}"));
        let mut scripts = 0;
        for (name, text) in sources() {
            let by_name = served(&name);
            assert!(
                by_name || name == "index.html" || name == "404.html",
                "{name}"
            );
            assert!(text.lines().count() < 600, "{name} is too long");
            if !name.ends_with(".js") {
                continue;
            }
            scripts += 1;
            for line in text.lines().filter(|line| line.contains(" from \"")) {
                let module = line.split('"').nth(1).unwrap();
                let module = module.strip_prefix("./").unwrap();
                assert!(served(module), "{name} imports {module}");
            }
        }
        assert!(scripts > 10, "only {scripts} scripts");
    }

    /// What came from outside is shown as text, and as nothing else.
    #[test]
    fn no_text_can_become_markup_style_or_script() {
        let banned = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "DOMParser",
            "createContextualFragment",
            "setHTML",
            "srcdoc",
            "eval(",
            "new Function",
            "javascript:",
            "cssText",
            "setAttribute(\"style\"",
            " style=\"",
            "<style",
            " onclick=",
            " onload=",
            " onerror=",
            "http://",
        ];
        for (name, text) in sources() {
            for word in banned {
                // A namespace's name is no address.
                let text = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!text.contains(word), "{name} has {word}");
            }
            if name.ends_with(".html") {
                let inline = text.matches("<script").count();
                assert_eq!(
                    inline,
                    text.matches("<script src=").count()
                        + text.matches("<script type=\"module\" src=").count()
                );
            }
        }
    }
}
