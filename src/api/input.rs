//! Reading a request's body within its bounds: size, time, encoding, and memory for all bodies together.
//!
//! A body has a time for the whole of it, and a rate below which its client is not waited for: else a client that
//! sends a byte now and then keeps its place, and what it has sent in memory, for all of that time.
//!
//! Invariant: what is held of bodies, half read ones too, is never more than the budget, and a body keeps its
//! share until its request is answered. A body that finds no room is refused at once, never made to wait: bodies
//! that wait for each other's room would do so for ever.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Api;
use super::error::Problem;

/// A body is not judged by its rate before this time: connections begin slowly, and a lost packet costs seconds.
const RATE_GRACE: Duration = Duration::from_secs(5);

/// The memory for the bodies of all requests together, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// Whether a body of this length has room now.
    fn has(&self, bytes: usize) -> bool {
        bytes <= self.0.available_permits()
    }

    /// Takes room for a part of a body.
    fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(bytes).ok()
    }
}

/// A whole body, valid UTF-8, and its room in the budget.
#[derive(Debug)]
pub(super) struct Text {
    bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Text {
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("checked when it was read")
    }
}

impl FromRequest<Arc<Api>> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let limit = api.options.body_bytes_max;
        let (parts, body) = request.into_parts();
        check_head(&parts.headers, limit, &api.bodies)?;
        let pace = Pace {
            begun: Instant::now(),
            timeout: api.options.body_timeout,
            rate_min: api.options.body_rate_min,
        };
        let text = read(body, limit, pace, &api.bodies).await?;
        match std::str::from_utf8(&text.bytes) {
            Ok(_) => Ok(text),
            Err(error) => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "utf8_invalid",
                format!("the body is not UTF-8 at byte {}", error.valid_up_to()),
            )),
        }
    }
}

fn check_head(headers: &HeaderMap, limit: usize, budget: &Budget) -> Result<(), Problem> {
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
        Some(length) if !budget.has(length) => Err(no_room()),
        _ => Ok(()),
    }
}

/// How long a body is waited for.
#[derive(Clone, Copy, Debug)]
struct Pace {
    begun: Instant,
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

impl Pace {
    /// Until when more must come after so many bytes, and what it is where it does not.
    fn deadline(self, bytes: usize) -> (Instant, Late) {
        let whole = self.begun + self.timeout;
        if self.rate_min == 0 {
            return (whole, Late::Whole);
        }
        let covered = Duration::from_secs_f64(bytes as f64 / self.rate_min as f64);
        let slow = self.begun + RATE_GRACE + covered;
        if slow < whole {
            (slow, Late::Slow)
        } else {
            (whole, Late::Whole)
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
async fn read(mut body: Body, limit: usize, pace: Pace, budget: &Budget) -> Result<Text, Problem> {
    let (mut bytes, mut room) = (Vec::new(), None::<OwnedSemaphorePermit>);
    loop {
        let (until, late) = pace.deadline(bytes.len());
        let frame = tokio::time::timeout_at(until, body.frame()).await;
        let Some(frame) = frame.map_err(|_| pace.problem(late))? else {
            break;
        };
        let frame = frame.map_err(|error| {
            let detail = format!("the body could not be read to its end: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "body_incomplete", detail)
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > limit - bytes.len() {
            return Err(too_large(limit));
        }
        let more = budget.take(data.len()).ok_or_else(no_room)?;
        match &mut room {
            Some(room) => room.merge(more),
            None => room = Some(more),
        }
        // Copied, as a small part would keep the whole of what was read with it.
        bytes.extend_from_slice(&data);
    }
    Ok(Text { bytes, _room: room })
}

fn no_room() -> Problem {
    let detail = "the bodies of other requests fill the memory for them (server.body_memory); try again in a second";
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
        let pace = |rate_min| Pace {
            begun,
            timeout: Duration::from_secs(30),
            rate_min,
        };
        let judged = |rate_min, bytes| {
            let (until, late) = pace(rate_min).deadline(bytes);
            ((until - begun).as_millis(), late)
        };
        assert_eq!(judged(100, 0), (5_000, Late::Slow));
        assert_eq!(judged(100, 250), (7_500, Late::Slow));
        assert_eq!(judged(100, 2_500), (30_000, Late::Whole));
        assert_eq!(judged(100, 4 << 20), (30_000, Late::Whole));
        assert_eq!(judged(0, 0), (30_000, Late::Whole));
    }
}
