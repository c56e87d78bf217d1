//! What the log is told of faults that the operator can see to: each webhook and host once in a while.
//!
//! Tenants make the faults, so neither the lines nor the memory may grow with them.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::fault::Fault;
use crate::model::{Endpoint, WebhookId};

/// How long a webhook and its host are silent after they were told of.
const WINDOW: Duration = Duration::from_secs(600);
/// Webhooks and hosts that are told of in one window; of more, their number is told at its end.
const TOLD_MAX: usize = 200;

/// What was told in the window that runs: bounds the lines that tenants can make.
#[derive(Debug, Default)]
pub struct Told {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    seen: HashSet<Box<str>>,
    untold: u64,
}

/// What is to be said.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The fault itself, and how many of the window before were not told of.
    Tell {
        untold_before: u64,
    },
    Silence,
}

impl Told {
    /// Writes a fault to the log, if it has something for the operator and that was not told of lately.
    pub(super) fn tell(&self, webhook: Option<WebhookId>, endpoint: &Endpoint, fault: &Fault) {
        let Some(inside) = &fault.inside else { return };
        let webhook_id = webhook.map(tracing::field::display);
        let (host, kind) = (endpoint.authority(), fault.kind);
        if !inside.is_ours {
            tracing::debug!(
                webhook_id,
                host,
                kind = kind.as_str(),
                why = inside.text,
                "no connection"
            );
            return;
        }
        let who = webhook.map(|id| id.to_string()).unwrap_or_default();
        if !self.may_tell(format!("{who} {host} {}", kind.as_str())) {
            return;
        }
        tracing::warn!(
            webhook_id,
            host,
            kind = kind.as_str(),
            why = inside.text,
            "a request was not sent; of this webhook and host it is told every ten minutes"
        );
    }

    /// Whether something is to be told that `key` stands for.
    #[must_use]
    pub fn may_tell(&self, key: String) -> bool {
        let Verdict::Tell { untold_before } = self.judge(key, Instant::now()) else {
            return false;
        };
        if untold_before > 0 {
            tracing::warn!(
                count = untold_before,
                "in the ten minutes before, this many more failed or were refused than are told of one by one"
            );
        }
        true
    }

    fn judge(&self, key: String, now: Instant) -> Verdict {
        // A panic under this lock could only be a failed allocation, after which the set is still whole.
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let mut untold_before = 0;
        if window.began.is_none_or(|began| now - began >= WINDOW) {
            untold_before = window.untold;
            *window = Window {
                began: Some(now),
                ..Window::default()
            };
        }
        if window.seen.contains(key.as_str()) {
            return Verdict::Silence;
        }
        if window.seen.len() >= TOLD_MAX {
            window.untold += 1;
            return Verdict::Silence;
        }
        window.seen.insert(key.into_boxed_str());
        Verdict::Tell { untold_before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_in_a_window_and_no_more_than_fit() {
        let (told, began) = (Told::default(), Instant::now());
        let tell = |untold_before| Verdict::Tell { untold_before };
        let judge = |key: &str| told.judge(key.to_owned(), began);
        assert_eq!(judge("a"), tell(0));
        assert_eq!(judge("a"), Verdict::Silence);
        for number in 1..TOLD_MAX + 30 {
            let verdict = judge(&format!("host {number}"));
            assert_eq!(verdict == tell(0), number < TOLD_MAX, "{number}");
        }
        assert_eq!(told.window.lock().unwrap().seen.len(), TOLD_MAX);
        let later = began + WINDOW;
        assert_eq!(told.judge("a".to_owned(), later), tell(30));
        assert_eq!(told.judge("a".to_owned(), later), Verdict::Silence);
        assert_eq!(told.judge("b".to_owned(), later), tell(0));
    }
}
