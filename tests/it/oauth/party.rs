//! Both ends of a webhook with an access token: a token endpoint that counts, and a receiver that checks.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::client::Client;
use bytes::Bytes;
use hookwheel::receiver::{Answer, Authority, ReceivedRequest, Receiver};
use http::Method;
use serde_json::{Value, json};

use crate::support::Daemon;
use crate::web::header;

/// The client's secret. Nobody but the token endpoint may ever see it.
pub const SECRET: &str = "cs-7Yq0-hidden";
/// With which every token begins.
pub const TOKEN: &str = "tok-4fJz-hidden";

/// What a token endpoint does.
#[derive(Clone)]
enum Mode {
    Issue { expires_in: u64 },
    Answer(Answer),
}

/// A token endpoint. The n-th request gets the token of that number.
pub struct Issuer {
    receiver: Receiver,
    mode: Arc<Mutex<Mode>>,
}

impl Issuer {
    pub async fn start(authority: &Authority) -> Self {
        let identity = authority.issue(&["127.0.0.1"]).unwrap();
        let mode = Arc::new(Mutex::new(Mode::Issue { expires_in: 3600 }));
        let (asked, shared) = (AtomicUsize::new(0), Arc::clone(&mode));
        let receiver = Receiver::local(&identity, move |_| {
            let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
            let answer = match shared.lock().unwrap().clone() {
                Mode::Answer(answer) => answer,
                Mode::Issue { expires_in } => json_answer(
                    200,
                    &json!({ "access_token": token(number), "token_type": "bearer", "expires_in": expires_in }),
                ),
            };
            std::future::ready(answer)
        });
        Self {
            receiver: receiver.await.unwrap(),
            mode,
        }
    }

    /// From now on gives tokens of this lifetime, seconds.
    pub fn issue(&self, expires_in: u64) {
        *self.mode.lock().unwrap() = Mode::Issue { expires_in };
    }

    /// From now on answers so.
    pub fn answer(&self, answer: Answer) {
        *self.mode.lock().unwrap() = Mode::Answer(answer);
    }

    pub fn url(&self) -> String {
        self.receiver.url("/oauth/token")
    }

    /// How often a token was asked for.
    pub fn asked(&self) -> usize {
        usize::try_from(self.receiver.requests_count()).unwrap()
    }

    /// What was asked last: the `Authorization` and the form.
    pub fn last(&self) -> (String, String) {
        let requests = self.receiver.requests();
        let last = requests.last().unwrap();
        let form = String::from_utf8(last.body.to_vec()).unwrap();
        (header(last, "authorization"), form)
    }

    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.receiver.requests()
    }

    /// The settings of a webhook that gets its tokens here.
    pub fn oauth2(&self) -> Value {
        json!({ "token_url": self.url(), "client_id": "hook wheel", "client_secret": SECRET })
    }
}

pub fn token(number: usize) -> String {
    format!("{TOKEN}-{number}")
}

pub fn bearer(number: usize) -> String {
    format!("Bearer {}", token(number))
}

pub fn json_answer(code: u16, body: &Value) -> Answer {
    Answer::Status {
        code,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Bytes::from(body.to_string()),
    }
}

/// A receiver that takes any token but those that are revoked.
pub struct Gate {
    receiver: Receiver,
    revoked: Arc<Mutex<HashSet<String>>>,
}

impl Gate {
    pub async fn start(authority: &Authority) -> Self {
        let identity = authority.issue(&["127.0.0.1"]).unwrap();
        let revoked = Arc::new(Mutex::new(HashSet::new()));
        let shared = Arc::clone(&revoked);
        let receiver = Receiver::local(&identity, move |request| {
            let given = header(&request, "authorization");
            let good = given.starts_with("Bearer ") && !shared.lock().unwrap().contains(&given);
            std::future::ready(Answer::status(if good { 200 } else { 401 }))
        });
        Self {
            receiver: receiver.await.unwrap(),
            revoked,
        }
    }

    pub fn revoke(&self, number: usize) {
        self.revoked.lock().unwrap().insert(bearer(number));
    }

    pub fn url(&self) -> String {
        self.receiver.url("/hook")
    }

    pub fn count(&self) -> usize {
        usize::try_from(self.receiver.requests_count()).unwrap()
    }

    /// The `Authorization` of each request, in their order.
    pub fn given(&self) -> Vec<String> {
        let requests = self.receiver.requests();
        let given = requests
            .iter()
            .map(|request| header(request, "authorization"));
        given.collect()
    }
}

/// Nothing of a secret or a token may be in a text.
#[track_caller]
pub fn assert_hides(what: &str, text: &str) {
    for hidden in [SECRET, TOKEN, "client_secret="] {
        assert!(!text.contains(hidden), "{what} shows {hidden}: {text}");
    }
}

/// Nothing of it in what the daemon says and shows, at the end of a test.
pub async fn assert_hidden(daemon: &Daemon, client: &mut Client, paths: &[String]) {
    for path in paths {
        let answer = client.call(Method::GET, path, None).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_hides(path, &answer.body.to_string());
    }
    assert_hides("the log", &daemon.log());
}

/// No token is in any file of a directory.
pub fn assert_not_on_disk(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_not_on_disk(&path);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes
            .windows(TOKEN.len())
            .any(|window| window == TOKEN.as_bytes());
        assert!(!found, "a token is in {}", path.display());
    }
}
