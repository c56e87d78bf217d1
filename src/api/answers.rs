//! Memory for answers: a large one has its room in a budget until its client has taken it, or is gone.
//!
//! An answer is whole before its first byte is sent, and its client may take it slowly, or not at all. So its room goes
//! with its bytes into the connection's buffer, and comes back with the last of them. Small answers are not counted:
//! there is at most one for each connection.

use axum::body::{Body, to_bytes};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use hyper::body::Body as _;

use super::budget::{Budget, Full, Held, Owner, Room};
use super::error::Problem;

/// Answers up to this are not counted: a connection has more than that for itself.
const SMALL_MAX: usize = 16 << 10;

/// Marks an answer whose bytes have their room already.
#[derive(Clone, Copy, Debug)]
struct Counted;

/// A body whose bytes have their room.
pub(super) fn counted(held: Held) -> Response {
    let mut response = Body::from(Bytes::from_owner(held)).into_response();
    response.extensions_mut().insert(Counted);
    response
}

/// A body whose bytes all answers share, so that each of them takes no room.
pub(super) fn shared(bytes: Bytes) -> Response {
    let mut response = Body::from(bytes).into_response();
    response.extensions_mut().insert(Counted);
    response
}

/// Gives an answer its room, or 503 in its place where there is none.
pub(super) async fn hold(response: Response, budget: &Budget, owner: Owner) -> Response {
    // All answers are texts, of a known length, but for live streams, which hold little at a time.
    let length = response.body().size_hint().exact().unwrap_or(0);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length <= SMALL_MAX || response.extensions().get::<Counted>().is_some() {
        return response;
    }
    let mut room = budget.room(owner);
    // One that is larger than any account's part is to be had all the same, alone.
    if let Err(full) = room.grow(length.min(budget.own_max())) {
        return no_room(full).into_response();
    }
    let (mut head, body) = response.into_parts();
    match to_bytes(body, length).await {
        Ok(bytes) => {
            head.headers.remove(CONTENT_LENGTH);
            let owned = Owned { bytes, _room: room };
            Response::from_parts(head, Body::from(Bytes::from_owner(owned)))
        }
        Err(error) => Problem::internal(&error).into_response(),
    }
}

struct Owned {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

pub(super) fn no_room(full: Full) -> Problem {
    let whose = match full {
        Full::Own => "this account's answers that were not taken yet fill its half of",
        Full::All => "answers that were not taken yet fill",
    };
    let detail = format!(
        "{whose} the memory for them (server.answer_memory); read those that were asked for, and try again in a second"
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "memory_full", detail)
        .with(RETRY_AFTER, HeaderValue::from_static("1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_large_answer_has_its_room_until_its_last_byte_is_dropped() {
        let budget = Budget::new(100 << 10, 1);
        let large = || "x".repeat(40 << 10).into_response();
        let held = hold(large(), &budget, None).await;
        assert_eq!(held.status(), StatusCode::OK);
        assert_eq!(held.body().size_hint().exact(), Some(40 << 10));
        let refused = hold(large(), &budget, None).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()[RETRY_AFTER], "1");
        let small = hold("small".into_response(), &budget, None).await;
        assert_eq!(small.status(), StatusCode::OK);
        // The connection has the body's bytes, and the body is gone.
        let mut bytes = to_bytes(held.into_body(), 1 << 20).await.unwrap();
        let rest = bytes.split_off(100);
        drop(bytes);
        assert!(budget.check(&None, 40 << 10).is_err());
        drop(rest);
        assert!(budget.check(&None, 50 << 10).is_ok());
    }

    #[tokio::test]
    async fn one_that_is_larger_than_any_part_is_answered_alone_and_one_with_room_as_it_is() {
        let budget = Budget::new(100 << 10, 1);
        let huge = hold("x".repeat(200 << 10).into_response(), &budget, None).await;
        assert_eq!(huge.status(), StatusCode::OK);
        assert!(budget.check(&None, 1).is_err());
        drop(huge);
        let mut held = Held::new(budget.room(None));
        held.extend(&[b'x'; 30 << 10], 0).unwrap();
        let counted = hold(counted(held), &budget, None).await;
        assert_eq!(counted.status(), StatusCode::OK);
        assert!(budget.check(&None, 20 << 10).is_ok(), "not counted twice");
    }
}
