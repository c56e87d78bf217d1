//! Reading a request's body within its bounds: size, time, encoding, and memory for all bodies together.
//!
//! A body has a time for the whole of it, and a rate below which its client is not waited for: else a client that
//! sends a byte now and then keeps its place, and what it has sent in memory, for all of that time.
//!
//! Nothing is read for a caller who may not do what the request asks for.
//!
//! Invariant: what is held of bodies, half read ones too, is never more than the budget, and a body keeps its
//! share until its request is answered. A body that finds no room is refused at once, never made to wait: bodies
//! that wait for each other's room would do so for ever.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::model::Scope;

use super::Api;
use super::access::Caller;
use super::budget::{Budget, Full, Held, Owner};
use super::error::Problem;

/// A body is not judged by its rate before this time: connections begin slowly, and a lost packet costs seconds.
const RATE_GRACE: Duration = Duration::from_secs(5);
/// What has come covers this time at most: else who sends all but the last byte at once is waited for to the end.
const COVERED_MAX: Duration = Duration::from_secs(10);

/// A request whose body has not been read.
#[derive(Debug)]
pub(super) struct Unread(Request);

impl<S: Send + Sync> FromRequest<S> for Unread {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        Ok(Self(request))
    }
}

impl Unread {
    /// Reads the body, for a caller with this scope.
    ///
    /// # Errors
    /// 403 without the scope; 4xx or 503 where the body is of no use, too large, too slow, or finds no room.
    pub(super) async fn read(
        self,
        api: &Api,
        caller: &Caller,
        scope: Scope,
    ) -> Result<Text, Problem> {
        caller.require(scope)?;
        let (parts, body) = self.0.into_parts();
        let bounds = Bounds {
            limit: api.options.body_bytes_max,
            timeout: api.options.body_timeout,
            rate_min: api.options.body_rate_min,
        };
        let owner = Some(caller.account().clone());
        let announced = check_head(&parts.headers, bounds.limit, &api.bodies, &owner)?;
        let held = Held::new(api.bodies.room(owner));
        let held = read(body, announced, bounds, held).await?;
        match std::str::from_utf8(held.as_ref()) {
            Ok(_) => Ok(Text(held)),
            Err(error) => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "utf8_invalid",
                format!("the body is not UTF-8 at byte {}", error.valid_up_to()),
            )),
        }
    }
}

/// A whole body, valid UTF-8, and its room in the budget.
#[derive(Debug)]
pub(super) struct Text(Held);

impl Text {
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.0.as_ref()).expect("checked when it was read")
    }
}

/// Refuses what need not be read; gives the length that is announced.
fn check_head(
    headers: &HeaderMap,
    limit: usize,
    budget: &Budget,
    owner: &Owner,
) -> Result<Option<usize>, Problem> {
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
        // Before anything of it is read.
        Some(length) => match budget.check(owner, length) {
            Ok(()) => Ok(announced),
            Err(full) => Err(no_room(full)),
        },
        None => Ok(None),
    }
}

/// What holds for a body.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Bytes.
    limit: usize,
    timeout: Duration,
    /// Bytes in a second; 0 for any.
    rate_min: u64,
}

/// Which time of a body is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    Slow,
    Whole,
}

/// How long a body is waited for.
#[derive(Clone, Copy, Debug)]
struct Pace {
    rate_min: u64,
    /// Until when it must be there.
    whole: Instant,
    /// Until when more must come.
    covered: Instant,
}

impl Pace {
    fn new(bounds: Bounds, now: Instant) -> Self {
        Self {
            rate_min: bounds.rate_min,
            whole: now + bounds.timeout,
            covered: now + RATE_GRACE,
        }
    }

    /// So many bytes have come.
    fn came(&mut self, bytes: usize, now: Instant) {
        if self.rate_min == 0 {
            return;
        }
        let covers = Duration::from_secs_f64(bytes as f64 / self.rate_min as f64);
        self.covered = (self.covered + covers).min(now + COVERED_MAX);
    }

    /// Until when more must come, and what it is where it does not.
    fn deadline(&self) -> (Instant, Late) {
        if self.rate_min > 0 && self.covered < self.whole {
            (self.covered, Late::Slow)
        } else {
            (self.whole, Late::Whole)
        }
    }

    fn problem(self, late: Late) -> Problem {
        let status = StatusCode::REQUEST_TIMEOUT;
        match late {
            Late::Whole => {
                let detail = "the request's body did not arrive in time";
                Problem::new(status, "body_timeout", detail)
            }
            Late::Slow => {
                let rate = self.rate_min;
                let detail = format!(
                    "the request's body came more slowly than {rate} bytes in a second (server.body_rate_min); send it \
                     again over a better connection"
                );
                Problem::new(status, "body_too_slow", detail)
            }
        }
    }
}

/// Takes room as the body comes, so that a client that announces much and sends little holds little.
async fn read(
    mut body: Body,
    announced: Option<usize>,
    bounds: Bounds,
    mut held: Held,
) -> Result<Held, Problem> {
    let expected = announced.unwrap_or(bounds.limit);
    let mut pace = Pace::new(bounds, Instant::now());
    loop {
        let (until, late) = pace.deadline();
        let frame = tokio::time::timeout_at(until, body.frame()).await;
        let Some(frame) = frame.map_err(|_| pace.problem(late))? else {
            return Ok(held);
        };
        let frame = frame.map_err(|error| {
            let detail = format!("the body could not be read to its end: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "body_incomplete", detail)
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > bounds.limit - held.len() {
            return Err(too_large(bounds.limit));
        }
        // Copied, as a small part would keep the whole of what was read with it.
        held.extend(&data, expected).map_err(no_room)?;
        pace.came(data.len(), Instant::now());
    }
}

fn no_room(full: Full) -> Problem {
    let whose = match full {
        Full::Own => "the bodies of this account's other requests fill its half of",
        Full::All => "the bodies of other requests fill",
    };
    let detail = format!("{whose} the memory for them (server.body_memory); try again in a second");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "memory_full", detail)
        .with(RETRY_AFTER, HeaderValue::from_static("1"))
        // The body is not read, so nothing can follow on this connection.
        .with(CONNECTION, HeaderValue::from_static("close"))
}

fn too_large(limit: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("the body is over the limit of {limit} bytes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_a_grace_then_a_rate_and_a_time_for_the_whole() {
        let begun = Instant::now();
        let after = |ms| begun + Duration::from_millis(ms);
        let judged = |rate_min, parts: &[(u64, usize)]| {
            let bounds = Bounds {
                limit: 4 << 20,
                timeout: Duration::from_secs(30),
                rate_min,
            };
            let mut pace = Pace::new(bounds, begun);
            for (at, bytes) in parts {
                pace.came(*bytes, after(*at));
            }
            let (until, late) = pace.deadline();
            ((until - begun).as_millis(), late)
        };
        assert_eq!(judged(100, &[]), (5_000, Late::Slow));
        assert_eq!(judged(100, &[(0, 250)]), (7_500, Late::Slow));
        assert_eq!(judged(100, &[(0, 250), (7_000, 250)]), (10_000, Late::Slow));
        // What came at once does not cover all of the time.
        assert_eq!(judged(100, &[(0, 4 << 20)]), (10_000, Late::Slow));
        assert_eq!(
            judged(100, &[(0, 4 << 20), (9_000, 1)]),
            (10_010, Late::Slow)
        );
        assert_eq!(judged(100, &[(21_000, 4 << 20)]), (30_000, Late::Whole));
        assert_eq!(judged(0, &[]), (30_000, Late::Whole));
        assert_eq!(judged(0, &[(0, 1)]), (30_000, Late::Whole));
    }
}
