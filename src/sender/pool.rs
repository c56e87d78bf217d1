//! Idle connections, by TLS settings, host and port, to be used again.
//!
//! The policy on addresses and the proxy are fixed for a sender, so a connection that was made under them stays within
//! them. TLS settings have numbers that are given once, so no connection of one name is ever another's.
//! The last one put back is the first one taken: the others age, and the sweep closes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::exchange::Connection;

/// Idle connections in all: each holds a file descriptor and about 40 kB for TLS and HTTP. With the
/// requests under way beside them a process stays far below the 65,536 files that its service may open.
const IDLE_MAX: usize = 1024;
/// The sweep runs this often for each idle timeout, so a connection may be idle half as long again.
const SWEEPS_PER_TIMEOUT: u32 = 2;
/// No sweep is sooner than this after the last, however short the timeout.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// The idle connections.
pub(super) struct Pool {
    idle: Mutex<Idle>,
    per_host_max: usize,
    timeout: Duration,
    closed: CancellationToken,
}

#[derive(Default)]
struct Idle {
    /// By the number of the TLS settings. Emptied entries stay until the sweep.
    trusts: HashMap<u64, Hosts>,
    count: usize,
    /// Whether a sweep is under way; it ends when nothing is idle.
    swept: bool,
}

/// By authority; the newest last.
type Hosts = HashMap<Box<str>, Vec<Resting>>;

struct Resting {
    connection: Connection,
    since: Instant,
}

impl Pool {
    pub(super) fn new(per_host_max: usize, timeout: Duration) -> Self {
        Self {
            idle: Mutex::default(),
            per_host_max,
            timeout,
            closed: CancellationToken::new(),
        }
    }

    /// An open connection to an authority, made under these TLS settings, that can take a request, if there is one.
    pub(super) async fn take(&self, trust: u64, authority: &str) -> Option<Connection> {
        while let Some(mut connection) = self.pop(trust, authority) {
            if connection.is_ready().await {
                return Some(connection);
            }
        }
        None
    }

    fn pop(&self, trust: u64, authority: &str) -> Option<Connection> {
        let mut idle = self.lock();
        let Idle { trusts, count, .. } = &mut *idle;
        let resting = trusts.get_mut(&trust)?.get_mut(authority)?;
        while let Some(Resting { connection, since }) = resting.pop() {
            *count -= 1;
            if since.elapsed() < self.timeout && !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    /// Puts a connection back. It is closed instead where there is no room; where its own host has too
    /// many, the oldest of them is.
    pub(super) fn put(
        self: &Arc<Self>,
        trust: u64,
        authority: &str,
        connection: Connection,
        tasks: &TaskTracker,
    ) {
        let resting = Resting {
            connection,
            since: Instant::now(),
        };
        let mut idle = self.lock();
        // Under the lock, so that nothing comes after the closing.
        if self.per_host_max == 0 || self.closed.is_cancelled() {
            return;
        }
        let Idle { trusts, count, .. } = &mut *idle;
        let hosts = trusts.entry(trust).or_default();
        match hosts.get_mut(authority) {
            Some(list) if list.len() >= self.per_host_max => {
                list.remove(0);
                list.push(resting);
            }
            _ if *count >= IDLE_MAX => return,
            Some(list) => {
                list.push(resting);
                *count += 1;
            }
            None => {
                hosts.insert(authority.into(), vec![resting]);
                *count += 1;
            }
        }
        if !idle.swept {
            idle.swept = true;
            tasks.spawn(sweep(Arc::downgrade(self), self.closed.clone()));
        }
    }

    /// Closes what is idle, and keeps nothing from now on.
    pub(super) fn close(&self) {
        self.closed.cancel();
        let mut idle = self.lock();
        idle.trusts.clear();
        idle.count = 0;
    }

    /// Closes what is idle under these TLS settings.
    pub(super) fn close_trusts(&self, numbers: &[u64]) {
        let mut idle = self.lock();
        idle.trusts.retain(|number, _| !numbers.contains(number));
        idle.recount();
    }

    /// Closes what is over its time or closed by its receiver; `false` if nothing is left.
    fn expire(&self) -> bool {
        let mut idle = self.lock();
        idle.trusts.retain(|_, hosts| {
            hosts.retain(|_, list| {
                list.retain(|resting| {
                    resting.since.elapsed() < self.timeout && !resting.connection.is_closed()
                });
                !list.is_empty()
            });
            !hosts.is_empty()
        });
        idle.recount();
        idle.swept = idle.count > 0;
        idle.swept
    }

    /// A panic under this lock could only be a failed allocation, after which the map is still whole.
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.lock().count
    }
}

impl Idle {
    fn recount(&mut self) {
        let lists = self.trusts.values().flat_map(HashMap::values);
        self.count = lists.map(Vec::len).sum();
    }
}

/// Expires connections until none is idle, the pool is closed, or nobody holds it any more.
async fn sweep(pool: Weak<Pool>, closed: CancellationToken) {
    loop {
        let Some(interval) = pool.upgrade().map(|pool| pool.timeout / SWEEPS_PER_TIMEOUT) else {
            return;
        };
        tokio::select! {
            () = sleep(interval.max(SWEEP_INTERVAL_MIN)) => {}
            () = closed.cancelled() => return,
        }
        if !pool.upgrade().is_some_and(|pool| pool.expire()) {
            return;
        }
    }
}
