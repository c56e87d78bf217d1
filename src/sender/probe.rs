//! A connection that is made for a look only: whether a receiver could be reached, and how long its certificate lasts.
//!
//! It goes the same way as a request — look-up, address rules, dial, verified handshake — and sends nothing over it.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout_at;

use super::connect::Destination;
use super::fault::Fault;
use super::progress::{Phase, Progress};
use super::{Sender, TlsSettings, not_after};
use crate::model::{Endpoint, FaultKind, Phases, UnixMillis};

/// What became of a look at a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// When its certificate ends, where a verified handshake was made and that can be read; or what stood
    /// against it.
    pub result: Result<Option<UnixMillis>, (FaultKind, String)>,
    /// How long the name's look-up, the connection and the handshake took.
    pub phases: Phases,
}

impl Sender {
    /// Connects to an endpoint's host as a request with these TLS settings would, and closes the connection. What stood
    /// against it is told in full: this is for the operator.
    pub async fn probe(
        &self,
        endpoint: &Endpoint,
        tls: Option<&TlsSettings>,
        timeout: Duration,
    ) -> Probe {
        let mut progress = Progress::start();
        let deadline = progress.started() + timeout;
        let looked = async {
            let shared = &self.shared;
            let trust = shared.trust(tls)?;
            let to = Destination {
                endpoint,
                trust: &trust,
                account: None,
            };
            let connector = &shared.connector;
            let mut stream = connector.handshake(to, &mut progress).await?;
            progress.enter(Phase::Awaiting);
            let (_, session) = stream.get_ref();
            let certificate = session.peer_certificates().and_then(<[_]>::first);
            let ends = certificate.and_then(|certificate| not_after(certificate));
            if let Err(error) = stream.shutdown().await {
                tracing::debug!(%error, "the receiver closed first");
            }
            Ok(ends)
        };
        let result = match timeout_at(deadline, looked).await {
            Ok(result) => result,
            Err(_) => Err(progress.timed_out(timeout)),
        };
        let (phases, _) = progress.finish();
        Probe {
            result: result.map_err(Fault::in_full),
            phases,
        }
    }
}
