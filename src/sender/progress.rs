//! How far a request has come: its phase now, the times of those behind it, and the answer so far.
//!
//! It outlives the request's future, so that a request which is cut off by its deadline can still say
//! what it was doing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fault::Fault;
use super::tally::Tally;
use crate::model::{FaultKind, Phases, Response};

/// What a request is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for addresses.
    Resolving,
    /// Waiting for a TCP connection.
    Connecting,
    /// Waiting for the proxy and for its connection to the receiver.
    Tunnelling,
    /// In the TLS handshake.
    Handshaking,
    /// Writing the request, waiting for the head of its answer.
    Awaiting,
    /// Reading the answer's body.
    Reading,
}

/// A request's course. Not shared: the request's own future writes it.
#[derive(Debug)]
pub(super) struct Progress {
    started: Instant,
    phase: Phase,
    phase_started: Instant,
    phases: Phases,
    /// The connection's count of received bytes, while an answer is awaited.
    tally: Option<Arc<Tally>>,
    /// The answer as far as it was read.
    response: Option<Response>,
}

impl Progress {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            phase: Phase::Resolving,
            phase_started: now,
            phases: Phases::default(),
            tally: None,
            response: None,
        }
    }

    /// When the request began.
    pub(super) const fn started(&self) -> Instant {
        self.started
    }

    /// Ends the phase, if it is one with a time of its own, and begins another.
    pub(super) fn enter(&mut self, phase: Phase) {
        let now = Instant::now();
        let took = Some(micros(now - self.phase_started));
        match self.phase {
            // A literal address is not resolved: the phase is left with no time passed in it.
            Phase::Resolving => {}
            Phase::Connecting | Phase::Tunnelling => self.phases.connect_us = took,
            Phase::Handshaking => self.phases.tls_us = took,
            Phase::Awaiting => self.phases.first_byte_us = took,
            Phase::Reading => {}
        }
        self.phase = phase;
        self.phase_started = now;
    }

    /// Notes that a name was resolved.
    pub(super) fn resolved(&mut self) {
        self.phases.dns_us = Some(micros(self.phase_started.elapsed()));
    }

    /// Begins the wait for an answer. A reused connection comes here directly.
    pub(super) fn await_answer(&mut self, tally: Arc<Tally>) {
        if self.phase == Phase::Handshaking {
            self.enter(Phase::Awaiting);
        } else {
            self.phase = Phase::Awaiting;
            self.phase_started = Instant::now();
        }
        self.tally = Some(tally);
    }

    /// Forgets an exchange over a connection that was closed already. Its time stays in the total.
    pub(super) fn restart(&mut self) {
        self.phase = Phase::Resolving;
        self.phase_started = Instant::now();
        self.phases = Phases::default();
        self.tally = None;
        self.response = None;
    }

    /// The answer so far, to be added to.
    pub(super) const fn response(&mut self) -> &mut Option<Response> {
        &mut self.response
    }

    /// The fault of a request whose deadline of `timeout` passed now.
    pub(super) fn timed_out(&self, timeout: Duration) -> Fault {
        let doing = match self.phase {
            Phase::Resolving => "resolving the host name",
            Phase::Connecting => "connecting",
            Phase::Tunnelling => "waiting for the proxy",
            Phase::Handshaking => "in the TLS handshake",
            Phase::Awaiting => match &self.tally {
                Some(tally) if tally.received() > 0 => "reading the head of the answer",
                _ => "waiting for the answer",
            },
            Phase::Reading => "reading the body of the answer",
        };
        Fault::new(
            FaultKind::Timeout,
            format!("timeout after {:.1} s while {doing}", timeout.as_secs_f64()),
        )
    }

    /// The times, and what was read of the answer.
    pub(super) fn finish(self) -> (Phases, Option<Response>) {
        let mut phases = self.phases;
        phases.total_us = micros(self.started.elapsed());
        (phases, self.response)
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
