//! What a receiver answers: a plain answer, or a script that is played on the connection in its stead.

use std::time::Duration;

use bytes::Bytes;

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A well-formed answer; the connection stays open.
    Status {
        /// The status code, 200 to 599.
        code: u16,
        /// Headers; those that frame the message are added.
        headers: Vec<(String, String)>,
        /// The body.
        body: Bytes,
    },
    /// These steps in place of an answer, as plain text inside TLS; then the connection is closed.
    Script(Vec<Step>),
}

/// One step of a script.
#[derive(Clone, Debug)]
pub enum Step {
    /// Writes bytes.
    Send(Bytes),
    /// Writes bytes again and again, with a pause after each time, until the peer is gone.
    Repeat {
        /// The bytes.
        bytes: Bytes,
        /// The pause; zero: as fast as the peer reads.
        pause: Duration,
    },
    /// Waits.
    Pause(Duration),
    /// Does nothing more until the peer is gone or the receiver is stopped.
    Hold,
    /// Resets the TCP connection, without an end of TLS.
    Reset,
    /// Closes the TCP connection, without an end of TLS, as servers do that take it lightly.
    Truncate,
}

impl Answer {
    /// A status without headers and body.
    #[must_use]
    pub const fn status(code: u16) -> Self {
        Self::Status {
            code,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// A status with a text.
    #[must_use]
    pub fn text(code: u16, text: &str) -> Self {
        Self::Status {
            code,
            headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
            body: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    /// Never answers.
    #[must_use]
    pub fn hang() -> Self {
        Self::Script(vec![Step::Hold])
    }

    /// Answers 200 at once, and then one byte of the body in each interval.
    #[must_use]
    pub fn drip(interval: Duration) -> Self {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
        let drop = Step::Repeat {
            bytes: Bytes::from_static(b"."),
            pause: interval,
        };
        Self::Script(vec![Step::Send(Bytes::from_static(head.as_bytes())), drop])
    }

    /// Answers 200, and then a body without end.
    #[must_use]
    pub fn endless_body() -> Self {
        let head = "HTTP/1.1 200 OK\r\n\r\n";
        let body = Step::Repeat {
            bytes: Bytes::from(vec![b'x'; 64 * 1024]),
            pause: Duration::ZERO,
        };
        Self::Script(vec![Step::Send(Bytes::from_static(head.as_bytes())), body])
    }

    /// Sends `100 Continue` again and again, as fast as the peer reads.
    #[must_use]
    pub fn interim_flood() -> Self {
        Self::Script(vec![Step::Repeat {
            bytes: Bytes::from("HTTP/1.1 100 Continue\r\n\r\n".repeat(100)),
            pause: Duration::ZERO,
        }])
    }

    /// Resets the connection.
    #[must_use]
    pub fn reset() -> Self {
        Self::Script(vec![Step::Reset])
    }

    /// Closes the connection in good order, with nothing said.
    #[must_use]
    pub const fn close() -> Self {
        Self::Script(Vec::new())
    }

    /// Sends these bytes, and closes the connection in good order.
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::Script(vec![Step::Send(bytes.into())])
    }
}
