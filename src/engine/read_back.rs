//! Reading a stored event back for an attempt whose event did not come with a hint.

use std::fmt;
use std::sync::Arc;

use crate::model::{Event, Position};

use super::Engine;

/// A stored event, or why there is none.
pub(super) type Stored = Result<Arc<Event>, Unread>;

/// Why a stored event could not be read.
#[derive(Debug)]
pub(super) struct Unread {
    pub(super) why: String,
    /// Whether it never will be: its bytes are damaged or gone.
    pub(super) for_good: bool,
}

/// An event as the log names it: by its id, or by its place in the journal where it cannot be read.
pub(super) struct Shown<'a>(pub(super) &'a Stored, pub(super) Position);

impl Shown<'_> {
    /// The trace that the event came with, as tracing systems write it.
    pub(super) fn trace_id(&self) -> Option<String> {
        let trace = self.0.as_ref().ok()?.trace.as_ref()?;
        Some(format!("{:032x}", trace.trace_id))
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(event) => f.write_str(event.id.as_str()),
            Err(_) => write!(f, "unknown, at {}", self.1),
        }
    }
}

impl Engine {
    /// The event at a position. What is in the page cache, as most of a backlog is, is read here and now: a hop to
    /// a thread that may block costs more than the reading.
    pub(super) async fn event_at(&self, position: Position) -> Stored {
        if let Some(event) = self.reader.cached_event_at(position) {
            return Ok(Arc::new(event));
        }
        let reader = self.reader.clone();
        let read = self
            .tracker
            .spawn_blocking(move || reader.event_at(position));
        match read.await {
            Ok(Ok(event)) => Ok(Arc::new(event)),
            Ok(Err(error)) => {
                tracing::error!(%position, %error, "a stored event cannot be read");
                Err(Unread {
                    why: format!("the stored event cannot be read: {error}"),
                    for_good: error.is_lost(),
                })
            }
            Err(_) => Err(Unread {
                why: "the stored event could not be read".to_owned(),
                for_good: false,
            }),
        }
    }
}
