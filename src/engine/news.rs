//! News: what has just become of attempts, deliveries and webhooks, for who listens at this moment.
//!
//! Each account that somebody listens to has a ring of its own, so that what one account's webhooks do pushes nothing
//! out of another's. Who is slower than the ring is told how much it missed, and goes on with what is still there.
//! Nothing is kept for who comes later: the log has all of it. It never holds a body, a header or a secret.
//!
//! Invariants: what is told is on disk; telling waits for nobody; where nobody listens it costs one look at a counter.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use crate::model::{
    AccountName, Attempt, DeliveryState, EndReason, Event, EventId, Next, Outcome, Position,
    Trigger, UnixMillis, Webhook, WebhookId,
};
use crate::store::AttemptsAsked;

use super::places::{Full, Place, Places};
use super::read_back::Shown;
use super::{Engine, Live};

/// News that a ring holds: some seconds of a busy account, some hundred kilobytes.
const RING_MAX: usize = 1024;
/// Who may listen at once, over all accounts: each holds a connection, and a ring where it is its account's only one.
pub const LISTENERS_MAX: usize = 128;
/// … of one account: some people's dashboards and terminals.
pub const LISTENERS_OWN_MAX: usize = 16;

/// Something that has just happened to a webhook or to one of its deliveries.
#[derive(Clone, Debug)]
pub struct News {
    /// When it was told.
    pub at: UnixMillis,
    /// To which webhook.
    pub webhook: WebhookId,
    /// What.
    pub what: Happening,
}

/// What news are about.
#[derive(Clone, Debug)]
pub enum Happening {
    /// An attempt was recorded.
    Attempt {
        /// Of which event's delivery.
        event: Told,
        /// Its number in the delivery's life, from 1.
        number: u32,
        /// Why it was made.
        trigger: Trigger,
        /// How it ended.
        outcome: Outcome,
        /// How long it took.
        total_us: u32,
        /// The delivery's state after it, as the API names it.
        state: &'static str,
        /// Why it ended without arriving, where it did.
        reason: Option<EndReason>,
        /// When the next one is made, where it waits for that.
        next_attempt_at: Option<UnixMillis>,
    },
    /// A delivery ended without an attempt.
    Ended {
        /// Of which event.
        event: Told,
        /// Why.
        reason: EndReason,
    },
    /// A webhook was changed.
    Webhook(Change),
}

/// What news say of an event; `None` where it cannot be read.
pub type Told = Option<(EventId, String)>;

/// How a webhook was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was registered.
    Created,
    /// Anything but whether it is active, or the config that it depends on.
    Changed,
    /// It was removed; what waited for it is cancelled, and not told one by one.
    Removed,
    /// It is not sent to any more, by its owner or a rule.
    Disabled,
    /// It is sent to again.
    Activated,
}

impl Change {
    /// The stable name, as the API uses it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Disabled => "disabled",
            Self::Activated => "activated",
        }
    }

    /// What it was that made `after` of the webhook that was active, or not, `before`.
    pub(super) const fn between(before: Option<bool>, after: &Webhook) -> Self {
        match (before, after.active) {
            (None, _) => Self::Created,
            (Some(true), false) => Self::Disabled,
            (Some(false), true) => Self::Activated,
            (Some(_), _) => Self::Changed,
        }
    }
}

/// Who listens.
#[derive(Debug)]
pub(super) struct Newsroom {
    shared: Arc<Shared>,
    places: Places<AccountName>,
}

#[derive(Debug, Default)]
struct Shared {
    listeners: AtomicUsize,
    /// Of accounts that somebody listens to, and of no others.
    rings: RwLock<HashMap<AccountName, Sender<Arc<News>>>>,
}

impl Default for Newsroom {
    fn default() -> Self {
        Self {
            shared: Arc::default(),
            places: Places::new(LISTENERS_MAX, LISTENERS_OWN_MAX),
        }
    }
}

impl Newsroom {
    fn listen(&self, account: &AccountName, stop: CancellationToken) -> Result<Listener, Full> {
        let place = self.places.take(account)?;
        let mut rings = self
            .shared
            .rings
            .write()
            .expect("no holder of this lock panics");
        let ring = rings.entry(account.clone());
        let news = ring.or_insert_with(|| channel(RING_MAX).0).subscribe();
        self.shared.listeners.fetch_add(1, Ordering::Relaxed);
        drop(rings);
        Ok(Listener {
            account: account.clone(),
            news,
            shared: Arc::clone(&self.shared),
            stop,
            _place: place,
        })
    }

    /// The account's ring, where somebody listens to it.
    fn ring(&self, account: &AccountName) -> Option<Sender<Arc<News>>> {
        if self.shared.listeners.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let rings = self.shared.rings.read();
        let rings = rings.expect("no holder of this lock panics");
        rings.get(account).cloned()
    }

    fn tell(&self, account: &AccountName, news: News) {
        if let Some(ring) = self.ring(account)
            && ring.send(Arc::new(news)).is_err()
        {
            tracing::trace!(%account, "who listened has just left");
        }
    }
}

/// One who listens to an account's news, from the moment in which it was made.
#[derive(Debug)]
pub struct Listener {
    account: AccountName,
    news: Receiver<Arc<News>>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    _place: Place<AccountName>,
}

/// What a listener hears.
#[derive(Clone, Debug)]
pub enum Heard {
    /// The next of the news.
    News(Arc<News>),
    /// So many were pushed out of the ring before they were heard.
    Missed(u64),
}

impl Listener {
    /// Waits for the next of the news. `None`: the engine stops, and there will be none.
    pub async fn next(&mut self) -> Option<Heard> {
        let heard = tokio::select! {
            biased;
            () = self.stop.cancelled() => return None,
            heard = self.news.recv() => heard,
        };
        match heard {
            Ok(news) => Some(Heard::News(news)),
            Err(RecvError::Lagged(count)) => Some(Heard::Missed(count)),
            Err(RecvError::Closed) => None,
        }
    }

    /// The next of the news, if there is one already.
    pub fn at_once(&mut self) -> Option<Heard> {
        match self.news.try_recv() {
            Ok(news) => Some(Heard::News(news)),
            Err(TryRecvError::Lagged(count)) => Some(Heard::Missed(count)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut rings = self
            .shared
            .rings
            .write()
            .expect("no holder of this lock panics");
        // Its own receiver is still counted.
        let is_last = |ring: &Sender<_>| ring.receiver_count() <= 1;
        if rings.get(&self.account).is_some_and(is_last) {
            rings.remove(&self.account);
        }
        self.shared.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Engine {
    /// Listens to what happens to an account's webhooks from now on.
    ///
    /// # Errors
    /// Which bound is reached: [`LISTENERS_OWN_MAX`] or [`LISTENERS_MAX`].
    pub fn listen(&self, account: &AccountName) -> Result<Listener, Full> {
        self.news.listen(account, self.stopping.clone())
    }

    /// What there is to tell of an attempt once it is recorded; `None` where nobody listens.
    pub(super) fn news_of(
        &self,
        live: &Live,
        attempt: &Attempt,
        next: Next,
        event: &Shown<'_>,
    ) -> Option<News> {
        self.news.ring(&live.webhook.account)?;
        let id = live.webhook.id;
        let sends = || self.is_sending(id);
        let (state, reason, due) = match next {
            Next::Delivered => ("delivered", None, None),
            Next::RetryAt(due) | Next::RetryInPlace(due) if sends() => ("waiting", None, Some(due)),
            Next::RetryAt(_) | Next::RetryInPlace(_) | Next::Probed => ("held", None, None),
            Next::Failed(reason) => (reason.state(), Some(reason), None),
        };
        Some(News {
            at: self.clock.wall(),
            webhook: id,
            what: Happening::Attempt {
                event: event.0.as_ref().ok().map(|event| told(event)),
                number: attempt.number,
                trigger: attempt.trigger,
                outcome: attempt.outcome.clone(),
                total_us: attempt.phases.total_us,
                state,
                reason,
                next_attempt_at: due.map(|due| self.clock.wall_of(due)),
            },
        })
    }

    /// Tells what was made by [`Engine::news_of`], now that it is on disk.
    pub(super) fn tell_news(&self, live: &Live, news: Option<News>) {
        if let Some(news) = news {
            self.news.tell(&live.webhook.account, news);
        }
    }

    /// Tells how a webhook was changed, on disk and in the live table.
    pub(super) fn tell_change(&self, account: &AccountName, webhook: WebhookId, change: Change) {
        if self.news.ring(account).is_some() {
            let news = News {
                at: self.clock.wall(),
                webhook,
                what: Happening::Webhook(change),
            };
            self.news.tell(account, news);
        }
    }

    /// Tells that `ended` of these deliveries have ended for `reason`, without an attempt. The events are read only
    /// where somebody listens.
    pub(super) async fn tell_ended(
        &self,
        webhook: WebhookId,
        events: &[Position],
        (reason, ended): (EndReason, u32),
    ) {
        let Some(live) = self.registry.find(webhook) else {
            return;
        };
        let account = &live.webhook.account;
        if ended == 0 || self.news.ring(account).is_none() {
            return;
        }
        // Where some had ended before, the log tells which.
        let are_all = usize::try_from(ended) == Ok(events.len());
        let (reader, events) = (self.reader.clone(), events.to_vec());
        let read = move || {
            let asked = AttemptsAsked {
                before: None,
                limit: 1,
                bytes_max: 1,
            };
            let mut found = Vec::with_capacity(events.len());
            for position in events {
                let event = match are_all {
                    true => reader.event_at(position).ok(),
                    false => match reader.delivery_page(webhook, position, asked) {
                        Ok(Some(delivery)) if ended_for(&delivery.state, reason) => {
                            Some(delivery.event)
                        }
                        _ => continue,
                    },
                };
                found.push(event.as_ref().map(told));
            }
            found
        };
        let Ok(found) = self.tracker.spawn_blocking(read).await else {
            return;
        };
        let at = self.clock.wall();
        for event in found {
            let what = Happening::Ended { event, reason };
            self.news.tell(account, News { at, webhook, what });
        }
    }
}

fn ended_for(state: &DeliveryState, wanted: EndReason) -> bool {
    matches!(state, DeliveryState::Ended { reason, .. } if *reason == wanted)
}

fn told(event: &Event) -> (EventId, String) {
    (event.id.clone(), event.event_type.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> AccountName {
        AccountName::new(name).unwrap()
    }

    fn news(webhook: u128) -> News {
        News {
            at: UnixMillis(1),
            webhook: WebhookId(webhook),
            what: Happening::Webhook(Change::Changed),
        }
    }

    fn listen(room: &Newsroom, name: &str) -> Listener {
        room.listen(&account(name), CancellationToken::new())
            .unwrap()
    }

    fn heard(listener: &mut Listener) -> Vec<u128> {
        let mut all = Vec::new();
        while let Some(Heard::News(news)) = listener.at_once() {
            all.push(news.webhook.0);
        }
        all
    }

    #[test]
    fn each_account_hears_its_own_from_when_it_listens_on() {
        let room = Newsroom::default();
        let (acme, other) = (account("acme"), account("other"));
        room.tell(&acme, news(1));
        let mut first = listen(&room, "acme");
        room.tell(&acme, news(2));
        let (mut second, mut theirs) = (listen(&room, "acme"), listen(&room, "other"));
        room.tell(&acme, news(3));
        room.tell(&other, news(4));
        assert_eq!(heard(&mut first), [2, 3]);
        assert_eq!(heard(&mut second), [3]);
        assert_eq!(heard(&mut theirs), [4]);
        drop(first);
        room.tell(&acme, news(5));
        assert_eq!(heard(&mut second), [5]);
        drop((second, theirs));
        assert!(room.shared.rings.read().unwrap().is_empty());
        assert_eq!(room.shared.listeners.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn who_is_slower_than_the_ring_is_told_how_much_was_missed_and_goes_on() {
        let room = Newsroom::default();
        let (acme, mut slow) = (account("acme"), listen(&room, "acme"));
        let sent = RING_MAX as u128 + 300;
        for number in 0..sent {
            room.tell(&acme, news(number));
        }
        let Some(Heard::Missed(missed)) = slow.next().await else {
            panic!("nothing was missed");
        };
        let rest = heard(&mut slow);
        assert_eq!(u128::from(missed), rest[0], "the first ones");
        assert_eq!(u128::from(missed) + rest.len() as u128, sent);
        assert!(rest.is_sorted() && rest.last() == Some(&(sent - 1)));
    }

    #[tokio::test]
    async fn listeners_are_bounded_and_end_with_the_engine() {
        let room = Newsroom::default();
        let stop = CancellationToken::new();
        let mut own: Vec<Listener> = (0..LISTENERS_OWN_MAX)
            .map(|_| room.listen(&account("acme"), stop.clone()).unwrap())
            .collect();
        let full = room.listen(&account("acme"), stop.clone());
        assert_eq!(full.unwrap_err(), Full::Own);
        let mut left = own.pop().unwrap();
        room.tell(&account("acme"), news(1));
        stop.cancel();
        assert!(left.next().await.is_none(), "at once");
        drop(left);
        assert!(room.listen(&account("acme"), stop.clone()).is_ok());
        for number in own.len()..LISTENERS_MAX {
            let name = format!("a{}", number / LISTENERS_OWN_MAX);
            own.push(room.listen(&account(&name), stop.clone()).unwrap());
        }
        let full = room.listen(&account("late"), stop);
        assert_eq!(full.unwrap_err(), Full::All);
    }

    #[test]
    fn a_change_is_named_by_what_became_of_being_active() {
        let named = |before, active| {
            let mut webhook = crate::store::tests::webhook(1);
            webhook.active = active;
            Change::between(before, &webhook).as_str()
        };
        assert_eq!(named(None, true), "created");
        assert_eq!(named(None, false), "created");
        assert_eq!(named(Some(true), true), "changed");
        assert_eq!(named(Some(false), false), "changed");
        assert_eq!(named(Some(true), false), "disabled");
        assert_eq!(named(Some(false), true), "activated");
    }
}
