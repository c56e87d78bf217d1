//! Why an event was, or was not, delivered to a webhook: decided from the webhook as it is now, the event, and where
//! the delivery stands.
//!
//! A delivery that there is tells its own story. Where there is none, the webhook's rules are held against the event
//! again, by the same code as at its arrival. Rules may have changed since, and what they were is not kept: the
//! reason says so. Nothing is written here, and no words for people are made: `api` does that.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::model::{
    DeliveryState, EndReason, Event, Inactive, Position, SteadyMillis, Trigger, WebhookId,
};
use crate::render::filter::{self, Subject};
use crate::render::pattern;
use crate::store::{self, DeliveryStanding};

use super::hints::FIGURES_MAX;
use super::registry::Obstacle;
use super::schedule::LaneFigures;
use super::{Engine, Hint, Live};

/// Of a type that was found in an event, no more than this is shown, characters: there it may be any string.
const TYPE_SHOWN_MAX: usize = 128;

/// What became of an event for one webhook, and why.
#[derive(Debug)]
pub struct Explained {
    /// Which webhook.
    pub webhook: WebhookId,
    /// The webhook as it is now; `None`: removed, or the config does not fit it any more.
    pub live: Option<Arc<Live>>,
    /// Where the delivery stands, where there is one.
    pub standing: Option<DeliveryStanding>,
    /// How the webhook's lane does.
    pub lane: Option<LaneFigures>,
    /// Why.
    pub reason: Reason,
}

/// Why an event was, or was not, delivered to a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was.
    Delivered,
    /// It waits for an attempt, or is being sent.
    Waits(Wait),
    /// It waits, and nothing is sent.
    Held(Hold),
    /// It ended undelivered.
    Ended(EndReason),
    /// A record of it is damaged, so it is not known.
    Unclear,
    /// The webhook was registered after the event had arrived; what of its rules keeps the event out today.
    NotRegisteredThen(Option<KeptOut>),
    /// This rule keeps it out.
    KeptOut {
        /// Which.
        by: KeptOut,
        /// Whether the webhook was changed after the event had arrived.
        changed_since: bool,
    },
    /// It would be sent if it arrived now.
    WouldMatchToday {
        /// Whether the webhook was changed after the event had arrived.
        changed_since: bool,
    },
}

/// What a delivery waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When its attempt may be made.
    pub due: SteadyMillis,
    /// Whether that has come: it is being sent, or waits for its turn.
    pub is_due: bool,
    /// The attempt's number in this run of the schedule.
    pub attempt: u32,
    /// How many attempts a run has.
    pub attempts_max: usize,
    /// Somebody asked for this attempt; else the schedule did, or the event's arrival.
    pub asked_for: bool,
}

/// Why nothing is sent of what waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The webhook is disabled.
    Inactive(Option<Inactive>),
    /// It names a format that there is none of.
    Misfit(String),
    /// The config does not fit it any more.
    LeftOut,
}

/// A rule that keeps an event out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptOut {
    /// None of the webhook's patterns names a type of the event.
    Type {
        /// The types that the profile finds in the event.
        types: Vec<String>,
    },
    /// The webhook wants another scope.
    Scope {
        /// The event's.
        given: Option<String>,
    },
    /// The filter.
    Filter {
        /// Where in the filter: an RFC 6901 pointer.
        pointer: String,
        /// Where in the event, as people write it.
        place: String,
        /// What the event has there, cut.
        found: Option<String>,
        /// What the filter wants there, in words.
        wanted: String,
        /// All of it in one sentence.
        sentence: String,
    },
}

/// An event, laid out once for all webhooks.
struct Looked<'a> {
    event: &'a Event,
    types: &'a [Cow<'a, str>],
    subject: &'a Subject<'a>,
}

impl Looked<'_> {
    fn kept_out(&self, live: &Live) -> Option<KeptOut> {
        let scope = self.event.scope.as_deref();
        Some(match live.obstacle(scope, self.types, self.subject)? {
            Obstacle::Type => {
                let cut = |one: &Cow<'_, str>| one.chars().take(TYPE_SHOWN_MAX).collect();
                KeptOut::Type {
                    types: self.types.iter().map(cut).collect(),
                }
            }
            Obstacle::Scope => KeptOut::Scope {
                given: self.event.scope.clone(),
            },
            Obstacle::Filter(why) => KeptOut::Filter {
                pointer: why.pointer.to_owned(),
                place: why.place(),
                found: why.found(),
                wanted: why.wanted(),
                sentence: why.sentence(),
            },
        })
    }

    /// Why there is no delivery.
    fn without_delivery(&self, live: &Live) -> Reason {
        let (webhook, arrived) = (&live.webhook, self.event.received_at);
        let kept_out = self.kept_out(live);
        let changed_since = webhook.updated_at > arrived;
        match kept_out {
            today if webhook.created_at > arrived => Reason::NotRegisteredThen(today),
            Some(by) => Reason::KeptOut { by, changed_since },
            None => Reason::WouldMatchToday { changed_since },
        }
    }
}

/// Why a delivery stands where it stands. `live` is the webhook as it is now, `stored` whether it is registered.
fn of_delivery(
    live: Option<&Live>,
    stored: bool,
    standing: &DeliveryStanding,
    now: SteadyMillis,
) -> Reason {
    let (due, not_before) = match standing.state {
        DeliveryState::Delivered { .. } => return Reason::Delivered,
        DeliveryState::Ended { reason, .. } => return Reason::Ended(reason),
        DeliveryState::Pending { due, not_before } => (due, not_before),
    };
    let live = match live {
        Some(live) => live,
        None if stored => return Reason::Held(Hold::LeftOut),
        // Its cancelling is under way.
        None => return Reason::Ended(EndReason::WebhookRemoved),
    };
    if !live.webhook.active {
        return Reason::Held(Hold::Inactive(live.webhook.inactive));
    }
    if let Some(why) = live.misfit() {
        return Reason::Held(Hold::Misfit(why));
    }
    let due = due.max(not_before);
    // Without an entry it has just moved on; what its record says is near enough.
    let (run_attempts, trigger) = standing
        .entry
        .map_or((standing.attempts, Trigger::Schedule), |entry| {
            (entry.run_attempts, entry.trigger)
        });
    Reason::Waits(Wait {
        due,
        is_due: due <= now,
        attempt: run_attempts.saturating_add(1),
        attempts_max: live.policy.retry.attempts_max(),
        asked_for: matches!(trigger, Trigger::Manual | Trigger::Replay),
    })
}

impl Engine {
    /// Why an event was, or was not, delivered to each of these webhooks of its account, in their order. `recipients`
    /// are those that have a delivery of it, by id; `lanes` how lanes do. Reads the store, so it is for threads that
    /// may block. A webhook that has gone and has no delivery is left out.
    ///
    /// # Errors
    /// [`store::Error`] where the log cannot be read.
    pub fn explain(
        &self,
        (position, event): (Position, &Event),
        webhooks: &[WebhookId],
        recipients: &[WebhookId],
        lanes: &HashMap<WebhookId, LaneFigures>,
    ) -> Result<Vec<Explained>, store::Error> {
        let Some(contract) = self.registry.contract(&event.account) else {
            return Ok(Vec::new());
        };
        let types = pattern::subjects(&contract.profile, event);
        let text = filter::event_text(event, &contract.profile.scope_field);
        let subject = Subject::new(&text);
        let looked = Looked {
            event,
            types: &types,
            subject: &subject,
        };
        let mut all = Vec::with_capacity(webhooks.len());
        for id in webhooks.iter().copied() {
            let live = self.registry.find(id);
            let mut explained = Explained {
                webhook: id,
                standing: None,
                lane: lanes.get(&id).copied(),
                reason: Reason::Unclear,
                live,
            };
            if recipients.binary_search(&id).is_ok() {
                if let Some(standing) = self.reader.standing(id, position)? {
                    let stored = explained.live.is_some() || self.reader.webhook(id).is_some();
                    let (live, now) = (explained.live.as_deref(), self.clock.steady());
                    explained.reason = of_delivery(live, stored, &standing, now);
                    explained.standing = Some(standing);
                }
            } else if let Some(live) = &explained.live {
                explained.reason = looked.without_delivery(live);
            } else {
                continue;
            }
            all.push(explained);
        }
        Ok(all)
    }

    /// How the lanes of webhooks do; those that have none are left out.
    pub async fn lanes(&self, webhooks: &[WebhookId]) -> HashMap<WebhookId, LaneFigures> {
        let mut lanes = HashMap::with_capacity(webhooks.len());
        for chunk in webhooks.chunks(FIGURES_MAX) {
            let (answer, answered) = oneshot::channel();
            let webhooks = chunk.to_vec();
            self.tell(Hint::Figures { webhooks, answer }).await;
            // Without an answer the scheduler has stopped, and has no lanes.
            lanes.extend(answered.await.unwrap_or_default());
        }
        lanes
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::{Registry, contracts};
    use super::*;
    use crate::model::{
        AccountName, Endpoint, EventId, InactiveReason, Order, QueueEntry, UnixMicros, UnixMillis,
        Webhook,
    };
    use crate::profile::Profiles;
    use crate::render::Formats;

    fn account() -> AccountName {
        AccountName::new("acme").unwrap()
    }

    fn registry() -> Registry {
        let accounts = [(account(), "driftguard".to_owned())];
        let made = contracts(&accounts, &Profiles::built_in(), &Formats::built_in(), None);
        Registry::new(made.unwrap(), HashMap::new())
    }

    fn webhook(id: u128) -> Webhook {
        Webhook {
            id: WebhookId(id),
            account: account(),
            version: 1,
            url: Endpoint::parse("https://hooks.example.com/").unwrap(),
            events: Vec::new(),
            scope: None,
            name: None,
            description: None,
            secret: None,
            staged_secret: None,
            old_secret: None,
            headers: Vec::new(),
            format: None,
            filter: None,
            timeout_ms: None,
            retry: None,
            active: true,
            inactive: None,
            created_at: UnixMillis(10),
            updated_at: UnixMillis(10),
            order: Order::None,
            tls: None,
            oauth2: None,
            declared: None,
        }
    }

    fn put(registry: &Registry, webhook: Webhook) -> Arc<Live> {
        let stored = || Ok(Some(webhook.clone()));
        registry.refresh(webhook.id, stored).unwrap().unwrap()
    }

    fn event(event_type: &str, scope: Option<&str>, data: &str) -> Event {
        Event {
            account: account(),
            id: EventId::new("e").unwrap(),
            event_type: event_type.to_owned(),
            created_at: UnixMicros(0),
            received_at: UnixMillis(20),
            data: data.to_owned(),
            metadata: None,
            scope: scope.map(str::to_owned),
            warning: None,
            trace: None,
        }
    }

    /// Why there is no delivery of an event, where none was made.
    fn why(registry: &Registry, live: &Live, event: &Event) -> Reason {
        let contract = registry.contract(&account()).unwrap();
        let types = pattern::subjects(&contract.profile, event);
        let text = filter::event_text(event, &contract.profile.scope_field);
        let looked = Looked {
            event,
            types: &types,
            subject: &Subject::new(&text),
        };
        let takes = registry
            .matching(event, &types, None)
            .contains(&live.webhook.id);
        assert_eq!(looked.kept_out(live).is_none(), takes, "{event:?}");
        looked.without_delivery(live)
    }

    #[test]
    fn what_keeps_an_event_out_is_named_exactly_where_it_is_not_taken() {
        let registry = registry();
        let mut all = Vec::new();
        for (id, events) in (1..).zip([vec![], vec!["breaking"], vec!["warn*", "pass"]]) {
            for (more, scope) in [(0, None), (10, Some("c1"))] {
                for (yet, filter) in [(0, None), (100, Some(r#"{"data":{"n":[1,2]}}"#))] {
                    let mut one = webhook(id + more + yet);
                    one.events = events.iter().map(|text| (*text).to_owned()).collect();
                    one.scope = scope.map(str::to_owned);
                    one.filter = filter.map(str::to_owned);
                    all.push(put(&registry, one));
                }
            }
        }
        for event_type in ["breaking", "warning", "pass"] {
            for scope in [None, Some("c1"), Some("c2")] {
                for data in ["null", r#"{"n":1}"#, r#"{"n":[7,8]}"#] {
                    let event = event(event_type, scope, data);
                    for live in &all {
                        match why(&registry, live, &event) {
                            Reason::KeptOut { by, .. } => match by {
                                KeptOut::Type { types } => assert_eq!(types, [event_type]),
                                KeptOut::Scope { given } => assert_eq!(given.as_deref(), scope),
                                KeptOut::Filter { place, .. } => assert_eq!(place, "data.n"),
                            },
                            other => assert_eq!(
                                other,
                                Reason::WouldMatchToday {
                                    changed_since: false
                                }
                            ),
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_registered_or_changed_later_says_so() {
        let (registry, event) = (registry(), event("breaking", None, "1"));
        let later = Webhook {
            created_at: UnixMillis(21),
            updated_at: UnixMillis(30),
            ..webhook(1)
        };
        let live = put(&registry, later.clone());
        assert_eq!(
            why(&registry, &live, &event),
            Reason::NotRegisteredThen(None)
        );
        let elsewhere = Webhook {
            scope: Some("c1".to_owned()),
            ..later
        };
        let live = put(&registry, elsewhere);
        let by = KeptOut::Scope { given: None };
        let expected = Reason::NotRegisteredThen(Some(by.clone()));
        assert_eq!(why(&registry, &live, &event), expected);
        let changed = Webhook {
            updated_at: UnixMillis(21),
            ..webhook(2)
        };
        let live = put(&registry, changed.clone());
        let changed_since = true;
        let expected = Reason::WouldMatchToday { changed_since };
        assert_eq!(why(&registry, &live, &event), expected);
        let elsewhere = Webhook {
            scope: Some("c1".to_owned()),
            ..changed
        };
        let live = put(&registry, elsewhere);
        let expected = Reason::KeptOut { by, changed_since };
        assert_eq!(why(&registry, &live, &event), expected);
    }

    #[test]
    fn a_delivery_tells_its_own_story() {
        let registry = registry();
        let live = put(&registry, webhook(1));
        let (now, at) = (SteadyMillis(1_000), UnixMillis(5));
        let standing = |state| DeliveryStanding {
            state,
            attempts: 4,
            last_attempt: None,
            entry: None,
        };
        let told = |live, stored, standing| of_delivery(live, stored, &standing, now);
        let done = standing(DeliveryState::Delivered { at });
        assert_eq!(told(None, false, done), Reason::Delivered);
        for reason in [EndReason::Expired, EndReason::Discarded, EndReason::Gone] {
            let ended = standing(DeliveryState::Ended { reason, at });
            assert_eq!(told(Some(&live), true, ended), Reason::Ended(reason));
        }
        let waiting = |not_before| {
            let due = SteadyMillis(900);
            standing(DeliveryState::Pending { due, not_before })
        };
        let soon = waiting(SteadyMillis(0));
        let left_out = Reason::Held(Hold::LeftOut);
        assert_eq!(told(None, true, soon.clone()), left_out);
        let removed = Reason::Ended(EndReason::WebhookRemoved);
        assert_eq!(told(None, false, soon.clone()), removed);
        // A run that was asked for counts its own attempts, and waits in its place.
        let mut again = waiting(SteadyMillis(1_001));
        again.entry = Some(QueueEntry {
            attempts: 4,
            run_attempts: 1,
            trigger: Trigger::Manual,
            ..QueueEntry::fresh(SteadyMillis(900), Position::from_u64(1))
        });
        let wait = Wait {
            due: SteadyMillis(1_001),
            is_due: false,
            attempt: 2,
            attempts_max: live.policy.retry.attempts_max(),
            asked_for: true,
        };
        assert_eq!(told(Some(&live), true, again), Reason::Waits(wait));
        let now_due = Wait {
            due: SteadyMillis(900),
            is_due: true,
            attempt: 5,
            asked_for: false,
            ..wait
        };
        assert_eq!(
            told(Some(&live), true, soon.clone()),
            Reason::Waits(now_due)
        );
        let mut disabled = webhook(2);
        disabled.set_active(false, InactiveReason::Failing, at);
        let disabled = put(&registry, disabled);
        let inactive = disabled.webhook.inactive;
        let held = Reason::Held(Hold::Inactive(inactive));
        assert_eq!(told(Some(&disabled), true, soon.clone()), held);
        let format = Some("gone".to_owned());
        let misfit = put(
            &registry,
            Webhook {
                format,
                ..webhook(3)
            },
        );
        let Reason::Held(Hold::Misfit(why)) = told(Some(&misfit), true, soon) else {
            panic!("it is held for its format");
        };
        assert!(why.contains("`gone`"), "{why}");
    }
}
