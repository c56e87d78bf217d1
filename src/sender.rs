//! (to be written)

use std::time::Duration;

use rustls::pki_types::CertificateDer;

use crate::model::AddressPolicy;

/// What the sender needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which addresses may be dialled.
    pub policy: AddressPolicy,
    /// Certificate authorities trusted besides the system's.
    pub extra_ca: Vec<CertificateDer<'static>>,
    /// How names are resolved.
    pub resolver: Resolver,
    /// Bytes of an answer's body that are kept; the rest is not read.
    pub response_body_max: usize,
    /// Open connections kept for one webhook's host, at most.
    pub idle_per_host_max: usize,
    /// An idle connection is closed after this time.
    pub idle_timeout: Duration,
}

/// How names are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// In this process, by the servers of `/etc/resolv.conf`, `/etc/hosts` first.
    BuiltIn,
    /// By the C library, as `nsswitch.conf` says; blocks a thread for each look-up.
    System,
}
