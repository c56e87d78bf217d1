//! Reads of the store for the API, on threads that may block, which deliveries need too: so few of them at a time.
//!
//! A look-up reads some records. A scan may read ten thousand, so there are few places for scans, an account has so many
//! under way or waiting, and nobody waits long. One account has half of the places for scans at most, so that others
//! never wait for all of its scans. A place is held until its read has ended and what it found was taken, also when the
//! client hangs up; a scan is told of that, to end early.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::engine::{Full, Places};
use crate::model::AccountName;
use crate::store;

use super::error::Problem;

/// Scans at once: each keeps a thread and the disk busy, which deliveries want as well.
const SCANS_MAX: usize = 4;
/// … of one account: another one finds a place at once, or comes after as many of the first as these.
const SCANS_OWN_MAX: usize = 2;
/// Scans under way or waiting: a queue that is not worked off in [`PATIENCE`] is of no use.
const SCANS_ASKED_MAX: usize = 128;
/// … of one account: more than a page for people asks for at once, and it leaves room for others.
const SCANS_ASKED_OWN_MAX: usize = 32;
/// Look-ups at once: some microseconds each, or a read of the disk.
const LOOK_UPS_MAX: usize = 16;
/// How long a client waits for a place.
const PATIENCE: Duration = Duration::from_secs(5);

/// The places for reads.
pub(super) struct Reads {
    look_ups: Arc<Semaphore>,
    scans: Arc<Semaphore>,
    /// The places of each account that has scans under way or waiting.
    own: Mutex<HashMap<AccountName, Arc<Semaphore>>>,
    asked: Places<AccountName>,
    patience: Duration,
}

impl Default for Reads {
    fn default() -> Self {
        Self {
            look_ups: Arc::new(Semaphore::new(LOOK_UPS_MAX)),
            scans: Arc::new(Semaphore::new(SCANS_MAX)),
            own: Mutex::default(),
            asked: Places::new(SCANS_ASKED_MAX, SCANS_ASKED_OWN_MAX),
            patience: PATIENCE,
        }
    }
}

impl Reads {
    /// Reads some records.
    ///
    /// # Errors
    /// 503 where there is no place for too long; 500 where it cannot be read.
    pub(super) async fn look_up<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, store::Error> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = timeout(self.patience, place(&self.look_ups)).await;
        let place = place.unwrap_or_else(|_| Err(busy()))?;
        run(move || (read(), place)).await
    }

    /// Reads what may be much, for this account. The read is given what tells that nobody waits for it any more.
    ///
    /// # Errors
    /// 429 where the account asks for too much at once, 503 where there is no place for too long; 500 where it cannot
    /// be read.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        account: &AccountName,
        read: impl FnOnce(&CancellationToken) -> Result<T, store::Error> + Send + 'static,
    ) -> Result<T, Problem> {
        let asked = self.asked.take(account).map_err(|full| match full {
            Full::Own => {
                let detail = format!(
                    "{SCANS_ASKED_OWN_MAX} lists or reports of this account are being made; wait for some of them"
                );
                let status = StatusCode::TOO_MANY_REQUESTS;
                Problem::new(status, "too_many_reads", detail)
                    .with(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            Full::All => busy(),
        })?;
        let own = self.own(account);
        // First its own, so that it has no more than those in the queue for all.
        let places = async { Ok((place(&own).await?, place(&self.scans).await?)) };
        let places = timeout(self.patience, places).await;
        let places = places.unwrap_or_else(|_| Err(busy()))?;
        let gone = CancellationToken::new();
        let _told = gone.clone().drop_guard();
        run(move || (read(&gone), (asked, places))).await
    }

    /// The places of an account. There are no more accounts here than scans under way or waiting.
    fn own(&self, account: &AccountName) -> Arc<Semaphore> {
        let mut own = self.own.lock().expect("no holder of this lock panics");
        // Each scan holds its account's until it has ended.
        own.retain(|name, places| name == account || Arc::strong_count(places) > 1);
        let places = own.entry(account.clone());
        Arc::clone(places.or_insert_with(|| Arc::new(Semaphore::new(SCANS_OWN_MAX))))
    }
}

async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    let place = Arc::clone(places).acquire_owned().await;
    place.map_err(|error| Problem::internal(&error))
}

/// The places come back with what was found, so there are never more finds in memory than places.
async fn run<T: Send + 'static, P: Send + 'static>(
    read: impl FnOnce() -> (Result<T, store::Error>, P) + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(read).await {
        Ok((Ok(value), _places)) => Ok(value),
        Ok((Err(error), _places)) => Err(error.into()),
        Err(error) => Err(Problem::internal(&error)),
    }
}

fn busy() -> Problem {
    let detail = "too many lists and reports are being made at this moment; try again soon";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
        .with(RETRY_AFTER, HeaderValue::from_static("1"))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::mpsc;

    use axum::response::IntoResponse as _;

    use super::*;

    type Scanning<'a> = Pin<Box<dyn Future<Output = Result<usize, Problem>> + 'a>>;

    /// Longer than anything here takes.
    const LONG: Duration = Duration::from_secs(20);

    fn account(name: &str) -> AccountName {
        AccountName::new(name).unwrap()
    }

    /// A scan that goes on until it is told to end, or that nobody waits for it; then it says which.
    fn scan<'a>(
        reads: &'a Reads,
        account: &'a AccountName,
        ended: &mpsc::Sender<&'static str>,
    ) -> (mpsc::Sender<()>, Scanning<'a>) {
        let (end, told) = mpsc::channel();
        let ended = ended.clone();
        let scan = reads.scan(account, move |gone| {
            let start = tokio::time::Instant::now();
            while start.elapsed() < LONG {
                if told.recv_timeout(Duration::from_millis(1)).is_ok() {
                    ended.send("told").unwrap();
                    return Ok(7);
                }
                if gone.is_cancelled() {
                    ended.send("gone").unwrap();
                    return Ok(0);
                }
            }
            panic!("nobody ended it");
        });
        (end, Box::pin(scan))
    }

    /// Begins a piece of work, which then waits.
    async fn begin(scan: &mut Scanning<'_>) {
        std::future::poll_fn(|context| {
            assert!(scan.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_fifth_scan_waits_in_vain_and_a_client_that_is_gone_makes_room() {
        let reads = Reads {
            patience: Duration::from_millis(50),
            ..Reads::default()
        };
        let (ended, ends) = mpsc::channel();
        let accounts: Vec<_> = (0..SCANS_MAX).map(|n| account(&format!("a{n}"))).collect();
        let account = account("acme");
        let mut running: Vec<_> = accounts
            .iter()
            .map(|account| scan(&reads, account, &ended))
            .collect();
        for (_, scan) in &mut running {
            begin(scan).await;
        }
        let refused = reads.scan(&account, |_| Ok(0)).await.unwrap_err();
        assert_eq!(refused.code, "busy");
        let answer = refused.into_response();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
        // Scans hold up no look-up.
        assert_eq!(reads.look_up(|| Ok(5)).await.unwrap(), 5);
        drop(running.pop());
        assert_eq!(ends.recv_timeout(LONG), Ok("gone"));
        // Its place is free a moment after it has said so: the wait for it is longer than that.
        let start = tokio::time::Instant::now();
        while let Err(refused) = reads.scan(&account, |_| Ok(0)).await {
            assert!(start.elapsed() < LONG, "{refused:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_account_cannot_fill_the_queue() {
        let reads = Reads::default();
        let (acme, other) = (account("acme"), account("other"));
        let (ended, ends) = mpsc::channel();
        let mut asked: Vec<_> = (0..SCANS_ASKED_OWN_MAX)
            .map(|_| scan(&reads, &acme, &ended))
            .collect();
        for (_, scan) in &mut asked {
            begin(scan).await;
        }
        let refused = reads.scan(&acme, |_| Ok(0)).await.unwrap_err();
        assert_eq!(refused.code, "too_many_reads");
        let answer = refused.into_response();
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
        let (end, mut theirs) = scan(&reads, &other, &ended);
        begin(&mut theirs).await;
        for (end, _) in &asked {
            end.send(()).unwrap();
        }
        end.send(()).unwrap();
        for (_, scan) in asked {
            assert_eq!(scan.await.unwrap(), 7);
        }
        assert_eq!(theirs.await.unwrap(), 7);
        assert_eq!(ends.try_iter().count(), SCANS_ASKED_OWN_MAX + 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_account_whose_scans_take_long_leaves_places_for_others() {
        let reads = Reads::default();
        let (acme, other) = (account("acme"), account("other"));
        let (ended, _ends) = mpsc::channel();
        let mut asked: Vec<_> = (0..SCANS_ASKED_OWN_MAX)
            .map(|_| scan(&reads, &acme, &ended))
            .collect();
        for (_, scan) in &mut asked {
            begin(scan).await;
        }
        assert_eq!(reads.scans.available_permits(), SCANS_MAX - SCANS_OWN_MAX);
        // Not behind all of those.
        assert_eq!(reads.scan(&other, |_| Ok(3)).await.unwrap(), 3);
        let tables = reads.own.lock().unwrap().len();
        assert_eq!(tables, 2);
        for (end, _) in &asked {
            end.send(()).unwrap();
        }
        for (_, scan) in asked {
            assert_eq!(scan.await.unwrap(), 7);
        }
        assert_eq!(reads.scan(&other, |_| Ok(3)).await.unwrap(), 3);
        assert_eq!(
            reads.own.lock().unwrap().len(),
            1,
            "who has none is forgotten"
        );
    }
}
