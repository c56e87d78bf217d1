//! The receiver that lives through all: it notes each request, checks its signature, and answers well, badly
//! or late, as the seed says, until it is told to be calm.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hookwheel::profile::Profiles;
use hookwheel::receiver::{Answer, Authority, Options, ReceivedRequest, Receiver};
use hookwheel::verify::verify;
use tokio::time::{Instant, sleep};

use super::ledger::Ledger;
use crate::dice::Dice;
use crate::web::{ANY, header};

/// One request as it came and was answered.
#[derive(Clone, Debug)]
pub struct Seen {
    pub event: String,
    pub path: String,
    pub arrived: Instant,
    pub answered: Instant,
    pub status: u16,
}

#[derive(Default)]
struct Notes {
    seen: Mutex<Vec<Seen>>,
    /// Requests that no secret fits that was acknowledged or in doubt.
    unsigned: Mutex<Vec<String>>,
    calm: AtomicBool,
    count: AtomicU64,
}

pub struct Witness {
    receiver: Receiver,
    notes: Arc<Notes>,
}

impl Witness {
    pub fn start(authority: &Authority, seed: u64, ledger: &Arc<Ledger>) -> Self {
        let identity = authority.issue(&["127.0.0.1"]).unwrap();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(ANY).unwrap();
        let listener = socket.listen(1024).unwrap();
        let notes = Arc::new(Notes::default());
        let (noting, ledger) = (Arc::clone(&notes), Arc::clone(ledger));
        let profiles = Arc::new(Profiles::build(std::collections::BTreeMap::new()).unwrap());
        let handler = move |request: ReceivedRequest| {
            answer(
                request,
                Arc::clone(&noting),
                Arc::clone(&ledger),
                Arc::clone(&profiles),
                seed,
            )
        };
        let receiver = Receiver::start(listener, &identity, Options::default(), handler).unwrap();
        Self { receiver, notes }
    }

    pub fn url(&self, path: &str) -> String {
        self.receiver.url(path)
    }

    /// From now on every request is answered 200 at once.
    pub fn calm(&self) {
        self.notes.calm.store(true, Ordering::Relaxed);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.notes.seen.lock().unwrap().clone()
    }

    pub fn unsigned(&self) -> Vec<String> {
        self.notes.unsigned.lock().unwrap().clone()
    }

    pub async fn stop(self) {
        self.receiver.stop().await;
    }
}

async fn answer(
    request: ReceivedRequest,
    notes: Arc<Notes>,
    ledger: Arc<Ledger>,
    profiles: Arc<Profiles>,
    seed: u64,
) -> Answer {
    let arrived = Instant::now();
    let path = request.path.split('?').next().unwrap().to_owned();
    let event = header(&request, "webhook-id");
    check_signature(&request, &path, &event, &notes, &ledger, &profiles);
    let number = notes.count.fetch_add(1, Ordering::Relaxed);
    let mut dice = Dice::new(seed, 1_000 + number);
    let status = match dice.below(100) {
        _ if notes.calm.load(Ordering::Relaxed) => 200,
        0..=11 => 500,
        12..=13 => {
            // It hangs, and then it is none the wiser.
            sleep(Duration::from_millis(1_500)).await;
            500
        }
        14..=30 => {
            sleep(Duration::from_millis(dice.below(60))).await;
            200
        }
        _ => 200,
    };
    notes.seen.lock().unwrap().push(Seen {
        event,
        path,
        arrived,
        answered: Instant::now(),
        status,
    });
    Answer::status(status)
}

fn check_signature(
    request: &ReceivedRequest,
    path: &str,
    event: &str,
    notes: &Notes,
    ledger: &Ledger,
    profiles: &Profiles,
) {
    // One that is not in the books was registered by a request that got no answer.
    let Some(secrets) = ledger.books().hooks.get(path).map(super::Hook::signing) else {
        return;
    };
    let profile = profiles.get("standard").unwrap();
    let fits = |secret: &String| {
        verify(profile, secret, &request.headers, &request.body, request.at).is_ok()
    };
    if !secrets.iter().any(fits) {
        notes.unsigned.lock().unwrap().push(format!(
            "{event} for {path}: none of {} secrets fits",
            secrets.len()
        ));
    }
}
