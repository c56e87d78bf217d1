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

use super::SOCKETS_BESIDE_MAX;
use super::connect::Destination;
use super::dial::DIALS_BESIDE_MAX;
use super::exchange::Connection;
use crate::model::AccountName;

/// Idle connections in all: each holds a file descriptor and about 40 kB for TLS and HTTP. With the
/// requests under way beside them a process stays far below the 65,536 files that its service may open.
const IDLE_MAX: usize = SOCKETS_BESIDE_MAX - DIALS_BESIDE_MAX;
/// The sweep runs this often for each idle timeout, so a connection may be idle half as long again.
const SWEEPS_PER_TIMEOUT: u32 = 2;
/// No sweep is sooner than this after the last, however short the timeout.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// The idle connections.
pub(super) struct Pool {
    idle: Mutex<Idle>,
    per_host_max: usize,
    idle_max: usize,
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
    /// Who used it last.
    account: Option<AccountName>,
}

impl Pool {
    pub(super) fn new(per_host_max: usize, timeout: Duration) -> Self {
        Self {
            idle: Mutex::default(),
            per_host_max,
            idle_max: IDLE_MAX,
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
        while let Some(Resting {
            connection, since, ..
        }) = resting.pop()
        {
            *count -= 1;
            if since.elapsed() < self.timeout && !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    /// Puts a connection back. Where its own host has too many, the oldest of them is closed; where there are too many in
    /// all, the oldest of the account that has the most.
    pub(super) fn put(
        self: &Arc<Self>,
        to: Destination<'_>,
        connection: Connection,
        tasks: &TaskTracker,
    ) {
        let (trust, authority) = (to.trust.number(), to.endpoint.authority());
        let resting = Resting {
            connection,
            since: Instant::now(),
            account: to.account.cloned(),
        };
        let mut idle = self.lock();
        // Under the lock, so that nothing comes after the closing.
        if self.per_host_max == 0 || self.closed.is_cancelled() {
            return;
        }
        let is_at = |list: &Vec<Resting>| list.len() >= self.per_host_max;
        let own = idle.list(trust, authority);
        if let Some(list) = own.filter(|list| is_at(list)) {
            list.remove(0);
            idle.count -= 1;
        } else if idle.count >= self.idle_max {
            idle.make_room();
        }
        match idle.list(trust, authority) {
            Some(list) => list.push(resting),
            None => {
                let hosts = idle.trusts.entry(trust).or_default();
                hosts.insert(authority.into(), vec![resting]);
            }
        }
        idle.count += 1;
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
    fn list(&mut self, trust: u64, authority: &str) -> Option<&mut Vec<Resting>> {
        self.trusts.get_mut(&trust)?.get_mut(authority)
    }

    /// Closes the oldest of the account that has the most. Whoever comes to a full pool has just made a handshake, which
    /// costs more than this look at all.
    fn make_room(&mut self) {
        let lists = || self.trusts.values().flat_map(HashMap::values);
        let mut counts: HashMap<Option<&AccountName>, usize> = HashMap::new();
        for resting in lists().flatten() {
            *counts.entry(resting.account.as_ref()).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(who, count)| (*count, *who));
        let Some((most, _)) = most else { return };
        let of_most = lists().flatten();
        let of_most = of_most.filter(|resting| resting.account.as_ref() == most);
        let Some((oldest, most)) = of_most
            .map(|resting| resting.since)
            .min()
            .map(|since| (since, most.cloned()))
        else {
            return;
        };
        for list in self.trusts.values_mut().flat_map(HashMap::values_mut) {
            let is_it = |resting: &Resting| resting.since == oldest && resting.account == most;
            if let Some(at) = list.iter().position(is_it) {
                list.remove(at);
                self.count -= 1;
                return;
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Endpoint;
    use crate::sender::trust::Trusts;

    fn account(name: &str) -> AccountName {
        AccountName::new(name).unwrap()
    }

    #[tokio::test]
    async fn a_full_pool_takes_from_the_account_that_has_the_most() {
        let pool = Arc::new(Pool {
            idle_max: 4,
            ..Pool::new(2, Duration::from_secs(20))
        });
        let (tasks, trust) = (TaskTracker::new(), Trusts::new(&[]).unwrap().unnamed());
        let mut far_ends = Vec::new();
        for (host, who) in [
            ("a.large.example", "large"),
            ("b.large.example", "large"),
            ("a.small.example", "small"),
            ("c.large.example", "large"),
            ("d.large.example", "large"),
            ("b.small.example", "small"),
        ] {
            let (near, far) = tokio::io::duplex(64);
            far_ends.push(far);
            let connection = Connection::start(near, &tasks).await.unwrap_or_else(|_| {
                unreachable!("it is only started");
            });
            let endpoint = Endpoint::parse(&format!("https://{host}/")).unwrap();
            let to = Destination {
                endpoint: &endpoint,
                trust: &trust,
                account: Some(&account(who)),
            };
            pool.put(to, connection, &tasks);
            assert!(pool.idle() <= 4);
        }
        for (host, expected) in [
            ("a.large.example", false),
            ("b.large.example", false),
            ("c.large.example", true),
            ("d.large.example", true),
            ("a.small.example", true),
            ("b.small.example", true),
        ] {
            let found = pool.pop(trust.number(), host);
            assert_eq!(found.is_some(), expected, "{host}");
        }
        assert_eq!(pool.idle(), 0);
        pool.close();
        tasks.close();
        tasks.wait().await;
    }
}
