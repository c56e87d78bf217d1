//! Counts requests for the metrics: by method, route and status, and how long they took.
//!
//! The labels have few values whatever clients send: a route is named by its template, and what has none is `other`.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use tokio::time::Instant;

use super::Api;

/// Counts one request, once it is answered. One whose client has gone away before is not counted.
pub(super) async fn count(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("other", MatchedPath::as_str).to_owned();
    let (method, begun) = (method(request.method()), Instant::now());
    let response = next.run(request).await;
    let labels = [
        ("method", method.to_owned()),
        ("route", route.clone()),
        ("status", response.status().as_str().to_owned()),
    ];
    let metrics = &api.metrics;
    metrics.http_requests.get_or_create(&labels).inc();
    let durations = metrics
        .http_request_seconds
        .get_or_create(&[("route", route)]);
    durations.observe(begun.elapsed().as_secs_f64());
    response
}

/// A method may be any token.
const fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
