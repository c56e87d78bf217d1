//! Counts requests for the metrics: by method, route and status, and how long they took.
//!
//! The labels have few values whatever clients send: a route is named by its template, and what has none is `other`.

use axum::extract::{MatchedPath, Request};
use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::metrics::Metrics;

/// A request that is being answered. One whose client goes away before is not counted.
pub(super) struct Asked {
    method: &'static str,
    route: Option<MatchedPath>,
    begun: Instant,
}

impl Asked {
    /// A request that has just come.
    pub(super) fn now(request: &Request) -> Self {
        Self {
            method: method(request.method()),
            route: request.extensions().get::<MatchedPath>().cloned(),
            begun: Instant::now(),
        }
    }

    /// Counts it, as it is answered with this status.
    pub(super) fn answered(self, status: StatusCode, metrics: &Metrics) {
        let route = self.route.as_ref().map_or("other", MatchedPath::as_str);
        let labels = [
            ("method", self.method.to_owned()),
            ("route", route.to_owned()),
            ("status", status.as_str().to_owned()),
        ];
        metrics.http_requests.get_or_create(&labels).inc();
        let durations = metrics
            .http_request_seconds
            .get_or_create(&[("route", route.to_owned())]);
        durations.observe(self.begun.elapsed().as_secs_f64());
    }
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
