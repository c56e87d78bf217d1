//! The demo's receiver: verifies every request by its profile and refuses some first attempts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::profile::{Profile, Profiles};
use crate::receiver::{Answer, ReceivedRequest};
use crate::verify;

/// What the receiver knows and has seen, by profile.
pub(super) struct Inbox {
    boxes: Mutex<HashMap<String, Letters>>,
}

struct Letters {
    profile: Arc<Profile>,
    refuse_first: bool,
    secret: Option<String>,
    verdicts: Vec<Result<(), String>>,
}

impl Inbox {
    /// An inbox for these profiles; it refuses the first attempt where the first retry comes within
    /// `short_retry_ms`.
    pub(super) fn new(profiles: &Profiles, short_retry_ms: u64) -> Self {
        let boxes = profiles.iter().map(|profile| {
            let first_delay = profile.retry.delays_ms().first();
            let letters = Letters {
                refuse_first: first_delay.is_some_and(|delay| *delay <= short_retry_ms),
                secret: None,
                verdicts: Vec::new(),
                profile: Arc::clone(profile),
            };
            (profile.name.clone(), letters)
        });
        Self {
            boxes: Mutex::new(boxes.collect()),
        }
    }

    /// Tells the receiver a webhook's secret, as its owner would.
    pub(super) fn expect(&self, profile: &str, secret: String) {
        let mut boxes = self.boxes.lock().expect("no holder of this lock panics");
        if let Some(letters) = boxes.get_mut(profile) {
            letters.secret = Some(secret);
        }
    }

    /// Verifies a request and answers it.
    pub(super) fn answer(&self, request: &ReceivedRequest) -> Answer {
        let mut boxes = self.boxes.lock().expect("no holder of this lock panics");
        let Some(letters) = boxes.get_mut(request.path.trim_start_matches('/')) else {
            return Answer::status(404);
        };
        let verdict = match &letters.secret {
            Some(secret) => verify::verify(
                &letters.profile,
                secret,
                &request.headers,
                &request.body,
                request.at,
            )
            .map(|_| ())
            .map_err(|why| why.to_string()),
            None => Err("came before its webhook was registered".to_owned()),
        };
        let good = verdict.is_ok();
        letters.verdicts.push(verdict);
        match (good, letters.verdicts.len()) {
            (false, _) => Answer::status(401),
            (true, 1) if letters.refuse_first => Answer::status(503),
            (true, _) => Answer::status(200),
        }
    }

    /// What the receiver found about the `at`-th request of a profile.
    pub(super) fn verdict(&self, profile: &str, at: usize) -> String {
        let boxes = self.boxes.lock().expect("no holder of this lock panics");
        match boxes
            .get(profile)
            .and_then(|letters| letters.verdicts.get(at))
        {
            Some(Ok(())) => "signature verified".to_owned(),
            Some(Err(why)) => format!("NOT VERIFIED: {why}"),
            None => "not received".to_owned(),
        }
    }

    /// Requests received, and those that did not verify.
    pub(super) fn totals(&self) -> (usize, usize) {
        let boxes = self.boxes.lock().expect("no holder of this lock panics");
        let all = boxes.values().flat_map(|letters| &letters.verdicts);
        all.fold((0, 0), |(all, bad), verdict| {
            (all + 1, bad + usize::from(verdict.is_err()))
        })
    }
}
