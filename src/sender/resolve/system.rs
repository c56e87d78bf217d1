//! Look-ups by the C library: each holds a thread until it ends, for half a minute where a DNS server is dead, and nothing
//! can stop it when the request's deadline passes. So a tenant whose names are slow must not take the threads of all.
//!
//! A name is looked up once at a time, whoever waits for it; an account has a share of the threads; and a name that
//! failed slowly is not looked up again for some seconds.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::model::AccountName;

/// Look-ups at once: the runtime has 512 threads, and the store's work needs some.
const LOOKUPS_MAX: usize = 64;
/// … for one account.
const LOOKUPS_OWN_MAX: usize = 8;
/// A failure that took longer than this is remembered: whoever comes next would wait as long.
const SLOW: Duration = Duration::from_secs(1);
/// … for so long: shorter than the gaps between the attempts of a lane that meets nobody.
const REMEMBERED: Duration = Duration::from_secs(5);
/// … and of so many names. Beyond that they are looked up each time, within the bounds above.
const FAILURES_MAX: usize = 1024;

/// What a look-up found, or why it failed.
type Found = Result<Vec<IpAddr>, String>;
/// `None` until it has ended.
type Answer = watch::Receiver<Option<Found>>;
type Ask = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The look-ups by the C library.
pub(in crate::sender) struct Lookups {
    places: Arc<Semaphore>,
    table: Arc<Mutex<Table>>,
    slow: Duration,
    ask: Arc<Ask>,
}

#[derive(Default)]
struct Table {
    /// By name; as many as there are places.
    under_way: HashMap<Box<str>, Answer>,
    /// The places of each account: as many as the config has had.
    own: HashMap<AccountName, Arc<Semaphore>>,
    /// Until when a name is known to fail slowly, and how.
    failed: HashMap<Box<str>, (Instant, String)>,
}

impl Lookups {
    pub(super) fn new() -> Self {
        Self::asking(SLOW, system_lookup)
    }

    fn asking(
        slow: Duration,
        ask: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            places: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            table: Arc::default(),
            slow,
            ask: Arc::new(ask),
        }
    }

    /// The addresses of a name.
    pub(super) async fn addresses(&self, name: &str, account: Option<&AccountName>) -> Found {
        let known = lock(&self.table).known(name);
        let mut answer = match known {
            Some(known) => known?,
            None => self.begin(name, account).await?,
        };
        let found = answer.wait_for(Option::is_some).await;
        let found = found.map_err(|_| "the look-up broke off".to_owned())?;
        found.clone().unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Begins a look-up as soon as there is room, unless somebody else has done so meanwhile.
    async fn begin(&self, name: &str, account: Option<&AccountName>) -> Result<Answer, String> {
        let own = match account {
            Some(account) => {
                let places = lock(&self.table).own_of(account);
                Some(place(&places).await?)
            }
            // The operator's own, such as a proxy's name: there is one, or a few.
            None => None,
        };
        let shared = place(&self.places).await?;
        let mut table = lock(&self.table);
        if let Some(known) = table.known(name) {
            return known;
        }
        let (tell, answer) = watch::channel(None);
        table.under_way.insert(name.into(), answer.clone());
        drop(table);
        let under_way = UnderWay {
            table: Arc::clone(&self.table),
            name: name.into(),
        };
        let (ask, slow) = (Arc::clone(&self.ask), self.slow);
        // The places are held by the look-up itself, as long as it has its thread. It is on no task tracker, for the same
        // reason: a shutdown would wait for a dead DNS server.
        spawn_blocking(move || {
            let _places = (own, shared);
            let began = Instant::now();
            let found = ask(&under_way.name).map_err(|error| error.to_string());
            if let Err(why) = &found
                && began.elapsed() >= slow
            {
                under_way.remember(why);
            }
            drop(under_way);
            tell.send_replace(Some(found));
        });
        Ok(answer)
    }
}

async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, String> {
    let place = Arc::clone(places).acquire_owned().await;
    place.map_err(|error| error.to_string())
}

/// A panic under this lock could only be a failed allocation, after which the maps are still whole.
fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    /// What there is of a name without asking: a look-up under way, or a failure of late.
    fn known(&self, name: &str) -> Option<Result<Answer, String>> {
        if let Some(answer) = self.under_way.get(name) {
            return Some(Ok(answer.clone()));
        }
        let (until, why) = self.failed.get(name)?;
        (Instant::now() < *until).then(|| Err(format!("{why} (a moment ago)")))
    }

    fn own_of(&mut self, account: &AccountName) -> Arc<Semaphore> {
        if let Some(own) = self.own.get(account) {
            return Arc::clone(own);
        }
        let own = Arc::new(Semaphore::new(LOOKUPS_OWN_MAX));
        self.own.insert(account.clone(), Arc::clone(&own));
        own
    }
}

/// A name that is being looked up; not any more when this is dropped, also by a panic.
struct UnderWay {
    table: Arc<Mutex<Table>>,
    name: Box<str>,
}

impl UnderWay {
    fn remember(&self, why: &str) {
        let mut table = lock(&self.table);
        let now = Instant::now();
        if table.failed.len() >= FAILURES_MAX {
            table.failed.retain(|_, (until, _)| now < *until);
        }
        if table.failed.len() < FAILURES_MAX {
            let failure = (now + REMEMBERED, why.to_owned());
            table.failed.insert(self.name.clone(), failure);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        lock(&self.table).under_way.remove(&self.name);
    }
}

fn system_lookup(name: &str) -> io::Result<Vec<IpAddr>> {
    let found = (name, 0).to_socket_addrs()?;
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    // One for each socket type.
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    fn account(name: &str) -> AccountName {
        AccountName::new(name).unwrap()
    }

    /// Look-ups that hang for names in `slow.example` until the sender is dropped, and then fail; how many began.
    fn hanging(slow: Duration) -> (Arc<Lookups>, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (end, ended) = mpsc::channel::<()>();
        let (ended, began) = (Mutex::new(ended), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&began);
        let ask = move |name: &str| {
            count.fetch_add(1, Ordering::SeqCst);
            if name.ends_with("slow.example") {
                assert!(ended.lock().is_ok_and(|ended| ended.recv().is_err()));
                return Err(io::Error::other("nobody answers"));
            }
            Ok(vec![IpAddr::from([198, 41, 0, 4])])
        };
        (Arc::new(Lookups::asking(slow, ask)), end, began)
    }

    async fn until(what: &str, holds: impl Fn() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < Duration::from_secs(20), "{what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_account_with_many_slow_names_holds_up_no_other() {
        let (lookups, end, began) = hanging(SLOW);
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..100 {
            let lookups = Arc::clone(&lookups);
            waiting.spawn(async move {
                let name = format!("{number}.slow.example");
                lookups.addresses(&name, Some(&account("slow"))).await
            });
        }
        until("its share is taken", || {
            began.load(Ordering::SeqCst) == LOOKUPS_OWN_MAX
        })
        .await;
        let found = lookups
            .addresses("a.example", Some(&account("other")))
            .await;
        assert_eq!(found, Ok(vec![IpAddr::from([198, 41, 0, 4])]));
        assert!(lookups.addresses("proxy.example", None).await.is_ok());
        assert_eq!(began.load(Ordering::SeqCst), LOOKUPS_OWN_MAX + 2);
        drop(end);
        assert!(waiting.join_all().await.iter().all(Result::is_err));
        assert!(lock(&lookups.table).under_way.is_empty());
        assert_eq!(lookups.places.available_permits(), LOOKUPS_MAX);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_name_is_looked_up_once_at_a_time_and_not_again_when_it_failed_slowly() {
        let (lookups, end, began) = hanging(Duration::ZERO);
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..20 {
            let lookups = Arc::clone(&lookups);
            waiting.spawn(async move {
                let account = account(if number % 2 == 0 { "one" } else { "two" });
                lookups.addresses("slow.example", Some(&account)).await
            });
        }
        until("it is asked", || began.load(Ordering::SeqCst) == 1).await;
        drop(end);
        for found in waiting.join_all().await {
            assert!(found.unwrap_err().starts_with("nobody answers"));
        }
        let found = lookups.addresses("slow.example", None).await;
        assert_eq!(found.unwrap_err(), "nobody answers (a moment ago)");
        assert_eq!(began.load(Ordering::SeqCst), 1);
        assert!(lookups.addresses("a.example", None).await.is_ok());
    }

    #[tokio::test]
    async fn the_c_library_is_asked() {
        let found = Lookups::new().addresses("localhost", None).await;
        assert!(found.unwrap().iter().all(IpAddr::is_loopback));
        let failed = Lookups::new().addresses("nobody.invalid", None).await;
        assert!(failed.is_err());
    }
}
