//! Access tokens of webhooks that have `oauth2`: fetched when an attempt needs one, kept in memory until they end.
//!
//! A token is shared by the webhooks of one account that ask for it in the same way, never by two accounts. Of those
//! that need it at the same time one asks, and the others wait. A token is renewed some time before its end, for
//! which nobody but the one who asks waits; where that fails it is used to its end. A failure is remembered for a
//! moment, so that a dead token endpoint is not asked by each attempt of a lane at once.
//!
//! All of this is within the attempt's deadline, and no request of its own stays behind: an attempt that is cut off
//! while it asks leaves the turn to the next. A token that its receiver refuses (401) is dropped, so the next attempt
//! asks for another; the refused one is not sent again with another token in the same attempt, as an attempt is one
//! request. A receiver that refuses every token does not make a request for one of each attempt: past three in a row,
//! one is dropped each half minute.
//!
//! Never on disk, never in a log, wiped when dropped. Keys of the table are digests, so no secret is in it.

mod answer;
mod ask;
mod slot;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::HeaderValue;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};

use crate::model::{
    AccountName, ClientAuth, FaultKind, OAuth2, Outcome, Phases, SteadyMillis, UnixMillis, Webhook,
};
use crate::sender::{Sent, Told};

use super::{Engine, Live, retry_after};
use slot::{Slot, Token};

/// Tokens kept at once: a kilobyte or two each, at most 8. Beyond that those go that were used least lately, of the
/// account that has the most.
const SLOTS_MAX: usize = 10_000;
/// How long one request for a token may take, whatever the attempt has left: others wait for its end.
const ASK_TIME_MAX: Duration = Duration::from_secs(30);

/// A digest of all that tells one token from another.
type Key = [u8; 32];

/// The tokens of all accounts.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    table: Mutex<Table>,
    told: Told,
}

#[derive(Debug, Default)]
struct Table {
    slots: HashMap<Key, Kept>,
    /// Counts the uses of all, to tell which one is the latest.
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    account: AccountName,
    used: u64,
    slot: Arc<Slot>,
}

/// What lets an attempt pass: its access token, and what is left of its time.
pub(super) struct Pass {
    token: Token,
    slot: Arc<Slot>,
    started_at: UnixMillis,
    begun: Instant,
    deadline: Instant,
}

impl Pass {
    /// The value of `Authorization`.
    pub(super) fn header(&self) -> HeaderValue {
        self.token.header.clone()
    }

    /// What is left for the request itself.
    pub(super) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Takes in how the request ended. The time before it counts as the attempt's.
    pub(super) fn used(self, mut sent: Sent, now: SteadyMillis) -> Sent {
        if sent.outcome == Outcome::Status(401) {
            self.slot.refused(&self.token, now);
        }
        sent.started_at = self.started_at;
        sent.phases.total_us = micros(self.begun.elapsed());
        sent
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// Whether two webhooks share their tokens.
fn ask_alike(a: &Webhook, b: &Webhook) -> bool {
    (&a.account, &a.oauth2, &a.tls) == (&b.account, &b.oauth2, &b.tls)
}

fn key(webhook: &Webhook, oauth2: &OAuth2) -> Key {
    let by = match oauth2.client_auth {
        ClientAuth::Basic => "basic",
        ClientAuth::Body => "body",
    };
    let mut digest = Sha256::new();
    let parts = [
        Some(webhook.account.as_str()),
        Some(oauth2.token_url.as_str()),
        Some(&oauth2.client_id),
        Some(oauth2.client_secret.expose()),
        oauth2.scope.as_deref(),
        oauth2.audience.as_deref(),
        Some(by),
        webhook.tls.as_deref(),
    ];
    for part in parts {
        // With its length, so that no two ways to ask are one text.
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        digest.update(length.to_be_bytes());
        digest.update(part.unwrap_or_default());
    }
    digest.finalize().into()
}

impl Tokens {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no holder of this lock panics")
    }
}

impl Table {
    /// Puts a fresh slot in; where there is no room, another one goes.
    fn put(&mut self, key: Key, account: &AccountName, slots_max: usize) -> Arc<Slot> {
        if self.slots.len() >= slots_max {
            self.make_room((slots_max / 100).max(1));
        }
        let slot = Arc::new(Slot::default());
        let kept = Kept {
            account: account.clone(),
            used: self.uses,
            slot: Arc::clone(&slot),
        };
        self.slots.insert(key, kept);
        slot
    }

    /// Makes room for up to `rooms` slots at once, as the look at all of them is dear. An account with a great many tokens
    /// takes the room of none that has few.
    fn make_room(&mut self, rooms: usize) {
        let mut counts: HashMap<&AccountName, usize> = HashMap::new();
        for kept in self.slots.values() {
            *counts.entry(&kept.account).or_default() += 1;
        }
        let most = counts
            .into_iter()
            .max_by_key(|(account, count)| (*count, *account));
        let Some((most, count)) = most else {
            return;
        };
        let of_most = self.slots.iter().filter(|(_, kept)| kept.account == *most);
        let mut oldest: Vec<(u64, Key)> = of_most.map(|(key, kept)| (kept.used, *key)).collect();
        oldest.sort_unstable();
        // The half that is in use stays.
        for (_, key) in oldest.into_iter().take(rooms.min(count.div_ceil(2))) {
            self.slots.remove(&key);
        }
    }
}

impl Engine {
    /// Gets the access token for an attempt that may take `timeout` in all; `None` where it needs none.
    ///
    /// # Errors
    /// The attempt's end, where no token can be had.
    pub(super) async fn pass(&self, live: &Live, timeout: Duration) -> Result<Option<Pass>, Sent> {
        let Some(oauth2) = &live.webhook.oauth2 else {
            return Ok(None);
        };
        let (started_at, begun) = (self.clock.wall(), Instant::now());
        let deadline = begun + timeout;
        let slot = self.slot(live, oauth2);
        // Boxed, as asking is rare and large.
        let token = match Box::pin(self.token(live, oauth2, &slot, deadline)).await {
            Ok(_) if Instant::now() >= deadline => Err(TOO_LATE.to_owned()),
            token => token,
        };
        match token {
            Ok(token) => Ok(Some(Pass {
                token,
                slot,
                started_at,
                begun,
                deadline,
            })),
            Err(why) => Err(Sent {
                started_at,
                outcome: Outcome::Fault {
                    kind: FaultKind::Token,
                    detail: format!("no access token: the token endpoint {why}"),
                },
                phases: Phases {
                    total_us: micros(begun.elapsed()),
                    ..Phases::default()
                },
                response: None,
            }),
        }
    }

    /// The token of the slot, or a new one.
    async fn token(
        &self,
        live: &Live,
        oauth2: &OAuth2,
        slot: &Slot,
        deadline: Instant,
    ) -> Result<Token, String> {
        let left = || deadline.saturating_duration_since(Instant::now());
        if let Some(known) = slot.known(self.clock.steady(), left()) {
            return known;
        }
        // To be renewed, but still good: then nobody waits for who renews it, and that one leaves time for the request.
        let old = slot.usable(self.clock.steady());
        let turn = match &old {
            Some(old) => match slot.free_turn() {
                Some(turn) => Ok(turn),
                None => return Ok(old.clone()),
            },
            None => timeout_at(deadline, slot.turn()).await,
        };
        let Ok(_turn) = turn else {
            return Err(TOO_LATE.to_owned());
        };
        // Who had the turn before has found out.
        if let Some(known) = slot.known(self.clock.steady(), left()) {
            return known;
        }
        let whole = left().min(ASK_TIME_MAX);
        if whole.is_zero() {
            return Err(TOO_LATE.to_owned());
        }
        let time = if old.is_some() { whole / 4 } else { whole };
        let asked_at = self.clock.steady();
        // The wait for the turn may have taken its time. Nothing of the endpoint is learned by that.
        if self.stands(live).is_err() {
            return Err("was not asked: a reload has taken or replaced the `tls`".to_owned());
        }
        let Some(request) = ask::ask(&live.webhook, live.tls.as_ref(), oauth2, time) else {
            return Err("was not asked: the request cannot be sent".to_owned());
        };
        let sent = self
            .sender
            .send_keeping(request, answer::ANSWER_BYTES_MAX)
            .await;
        let (webhook_id, account) = (live.webhook.id, &live.webhook.account);
        let met = sent.outcome.clone();
        let asked_ms = retry_after::asked_ms(&sent, self.clock.wall());
        let read = answer::read(sent, &oauth2.client_secret);
        let outcome = if read.is_ok() { "issued" } else { "failed" };
        let count = self
            .metrics
            .token_requests
            .get_or_create(&[("outcome", outcome)]);
        count.inc();
        match read {
            Ok(issued) => {
                tracing::debug!(%webhook_id, %account, lifetime_s = issued.lifetime.as_secs(), "access token issued");
                Ok(slot.issued(issued, asked_at))
            }
            Err(why) => {
                self.tell_no_token(live, &why, &met);
                let timed_out = matches!(
                    &met,
                    Outcome::Fault {
                        kind: FaultKind::Timeout,
                        ..
                    }
                );
                let failure = slot::Failure {
                    why,
                    // The next attempt of the same webhook has a moment more or less.
                    speaks_up_to: (timed_out && whole < ASK_TIME_MAX).then(|| whole + whole / 4),
                    asked_ms,
                };
                slot.failed(failure, self.clock.steady())
            }
        }
    }

    /// Each attempt of a tenant can make such a line, so they are bounded.
    fn tell_no_token(&self, live: &Live, why: &str, met: &Outcome) {
        let (webhook_id, account) = (live.webhook.id, &live.webhook.account);
        if self.tokens.told.may_tell(webhook_id.to_string()) {
            tracing::info!(%webhook_id, %account, why, %met,
                "no access token could be had; of this webhook it is told every ten minutes");
        } else {
            tracing::debug!(%webhook_id, %account, why, %met, "no access token could be had");
        }
    }

    fn slot(&self, live: &Live, oauth2: &OAuth2) -> Arc<Slot> {
        let webhook = &live.webhook;
        let key = key(webhook, oauth2);
        let mut table = self.tokens.lock();
        table.uses += 1;
        let uses = table.uses;
        if let Some(kept) = table.slots.get_mut(&key) {
            kept.used = uses;
            return Arc::clone(&kept.slot);
        }
        // Of an attempt that its owner's change has overtaken nothing stays behind. The change is in the live table
        // before it comes to this lock, so it either is seen here or forgets what is put here.
        let now = self.registry.find(webhook.id);
        if now.is_some_and(|now| ask_alike(&now.webhook, webhook)) {
            return table.put(key, &webhook.account, SLOTS_MAX);
        }
        Arc::new(Slot::default())
    }

    /// Drops the token of a webhook as it was `before` a change, unless it still is somebody's.
    pub(super) fn forget_token(&self, before: &Live) {
        let Some(oauth2) = &before.webhook.oauth2 else {
            return;
        };
        let mut table = self.tokens.lock();
        let all = self.registry.of_account(&before.webhook.account);
        if !all
            .iter()
            .any(|live| ask_alike(&live.webhook, &before.webhook))
        {
            table.slots.remove(&key(&before.webhook, oauth2));
        }
    }

    /// Drops the tokens of accounts that are no longer configured.
    pub(super) fn forget_tokens_of_strangers(&self) {
        let mut table = self.tokens.lock();
        table
            .slots
            .retain(|_, kept| self.registry.contract(&kept.account).is_some());
    }
}

/// Said of a token endpoint that takes all of an attempt's time.
const TOO_LATE: &str = "did not answer within the attempt's time";

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> AccountName {
        AccountName::new(name).unwrap()
    }

    #[test]
    fn the_account_with_the_most_tokens_gives_up_the_one_used_least_lately() {
        let mut table = Table::default();
        for (n, name) in (0_u8..).zip(["small", "large", "large", "large"]) {
            table.uses += 1;
            table.put([n; 32], &account(name), 4);
        }
        table.uses += 1;
        if let Some(kept) = table.slots.get_mut(&[1; 32]) {
            kept.used = table.uses;
        }
        table.put([9; 32], &account("small"), 4);
        let mut left: Vec<u8> = table.slots.keys().map(|key| key[0]).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [0, 1, 3, 9],
            "the second of `large` was used least lately"
        );
    }

    #[test]
    fn room_is_made_for_many_at_once_and_never_by_an_account_with_few() {
        let mut table = Table::default();
        let key = |number: u16| {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&number.to_be_bytes());
            key
        };
        for number in 0..1000 {
            table.uses += 1;
            let name = if number < 10 { "small" } else { "large" };
            table.put(key(number), &account(name), 1000);
        }
        table.uses += 1;
        table.put(key(1000), &account("small"), 1000);
        assert_eq!(table.slots.len(), 991);
        for number in 0..=1000 {
            let is_gone = (10..20).contains(&number);
            assert_eq!(table.slots.contains_key(&key(number)), !is_gone, "{number}");
        }
    }
}
