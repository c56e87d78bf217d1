//! How many files the process may open, and that clients cannot use them up.
//!
//! A journal that cannot make its next file ends the process, so connections must never take the last file
//! descriptor. The soft limit of a login shell is often 1,024, which is less than clients and receivers may
//! take together: it is raised as far as the system lets, and clients get what is left by the others.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::DaemonError;
use crate::engine::TESTS_MAX;
use crate::sender::SOCKETS_BESIDE_MAX;

/// Files besides sockets: the journal's segments and indexes, sled, the log, timers and name look-ups.
const OWN_FILES: u64 = 256;
/// With room for fewer clients than this the daemon had better not start.
const CONNECTIONS_MIN: u64 = 64;

/// Raises the soft limit on open files to the hard one, and gives how many connections of clients there may be
/// at once: `connections_max`, or fewer where the limit asks for it.
///
/// # Errors
/// [`DaemonError::Files`] where next to nothing would be left for clients.
pub fn room_for(connections_max: usize, in_flight_max: usize) -> Result<usize, DaemonError> {
    let limit = raised();
    let wanted = connections_max as u64;
    let others = OWN_FILES + (SOCKETS_BESIDE_MAX + in_flight_max + TESTS_MAX) as u64;
    let left = limit.saturating_sub(others);
    if left >= wanted {
        return Ok(connections_max);
    }
    let needed = others + wanted;
    if left < CONNECTIONS_MIN {
        return Err(DaemonError::Files { limit, needed });
    }
    tracing::warn!(
        limit,
        needed,
        connections_max = left,
        "fewer clients are let in, as the process may open too few files: raise LimitNOFILE, or ulimit -n"
    );
    Ok(usize::try_from(left).unwrap_or(connections_max))
}

/// The limit after it was raised; 2^64 - 1 where there is none.
fn raised() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current.unwrap_or(u64::MAX);
    }
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(%error, "the limit on open files could not be raised");
            current.unwrap_or(u64::MAX)
        }
    }
}
