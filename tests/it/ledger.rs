//! What a daemon has acknowledged, and whether a store still holds it.
//!
//! Each thing has two marks: how long the recording was when it was asked for, and when its answer came. A store
//! as it was at a mark must hold all that was answered by then, may hold what was asked for by then, and nothing
//! else. The marks may be any numbers that grow.

use std::collections::{BTreeMap, BTreeSet};

use hookwheel::model::{AccountName, DeliveryState, EventId, Position, SteadyMillis, WebhookId};
use hookwheel::store::Reader;
use serde_json::Value;

/// It was not answered.
pub const NEVER: u64 = u64::MAX;

/// A span of time in which something was asked for and answered.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub asked: u64,
    pub acked: u64,
}

#[derive(Clone, Debug)]
pub struct Posted {
    pub id: String,
    pub data: String,
    pub span: Span,
    /// In which segment it lies, where that is known.
    pub segment: Option<u32>,
}

/// A webhook's state: its description, or none where it was removed.
#[derive(Clone, Debug)]
pub struct Version {
    pub description: Option<String>,
    pub span: Span,
}

/// A delivery that was shown as ended, until it was asked for again.
#[derive(Clone, Debug)]
pub struct Ended {
    pub webhook: String,
    pub event: String,
    pub seen: u64,
    pub until: u64,
}

#[derive(Clone, Default)]
pub struct Ledger {
    pub events: Vec<Posted>,
    pub webhooks: BTreeMap<String, Vec<Version>>,
    pub ended: Vec<Ended>,
    /// The descriptions of webhooks whose registration was never answered: nobody knows their ids.
    pub unanswered: BTreeSet<String>,
}

impl Ledger {
    pub fn posted(&mut self, id: &str, data: &Value, span: Span) {
        self.events.push(Posted {
            id: id.to_owned(),
            data: data.to_string(),
            span,
            segment: None,
        });
    }

    pub fn webhook(&mut self, id: &str, description: Option<&str>, span: Span) {
        let description = description.map(str::to_owned);
        let versions = self.webhooks.entry(id.to_owned()).or_default();
        versions.push(Version { description, span });
    }

    /// What the API shows of an event, at a mark taken after its answer.
    pub fn shown(&mut self, event: &str, shown: &Value, mark: u64) {
        for delivery in shown["deliveries"].as_array().unwrap() {
            let webhook = delivery["webhook_id"].as_str().unwrap();
            if !delivery["ended_at"].is_null() {
                self.ended.push(Ended {
                    webhook: webhook.to_owned(),
                    event: event.to_owned(),
                    seen: mark,
                    until: NEVER,
                });
            }
        }
    }

    /// An ended delivery is asked for again: what was seen of it holds no longer.
    pub fn asked_again(&mut self, webhook: &str, event: &str, mark: u64) {
        for ended in &mut self.ended {
            if ended.webhook == webhook && ended.event == event {
                ended.until = ended.until.min(mark);
            }
        }
    }

    /// How many events were answered by a mark.
    pub fn acknowledged(&self, mark: u64) -> usize {
        let by_then = |posted: &&Posted| posted.span.acked <= mark;
        self.events.iter().filter(by_then).count()
    }

    /// What is known after the power went at `mark`: marks begin anew at 0.
    pub fn after_cut(mut self, mark: u64, segments: &BTreeMap<String, u32>) -> Self {
        let anew = |span: &mut Span| {
            span.acked = if span.acked <= mark { 0 } else { NEVER };
            let known = span.asked < mark;
            span.asked = 0;
            known
        };
        self.events.retain_mut(|posted| {
            posted.segment = segments.get(&posted.id).copied();
            // What was deleted before is not asked for any more.
            anew(&mut posted.span) && (posted.segment.is_some() || posted.span.acked == NEVER)
        });
        for versions in self.webhooks.values_mut() {
            versions.retain_mut(|version| anew(&mut version.span));
        }
        self.webhooks.retain(|_, versions| !versions.is_empty());
        self.ended.retain_mut(|ended| {
            let holds = ended.seen <= mark && ended.until >= mark;
            ended.seen = 0;
            holds
        });
        self
    }

    /// What is known after a kill at `mark`: later answers were never given, and marks go on.
    pub fn after_kill(mut self, mark: u64) -> Self {
        let cut = |span: &mut Span| {
            if span.acked > mark {
                span.acked = NEVER;
            }
            span.asked < mark
        };
        self.events.retain_mut(|posted| cut(&mut posted.span));
        for versions in self.webhooks.values_mut() {
            versions.retain_mut(|version| cut(&mut version.span));
        }
        self.webhooks.retain(|_, versions| !versions.is_empty());
        self.ended.retain(|ended| ended.seen <= mark);
        self
    }

    fn versions_at(&self, webhook: &str, mark: u64) -> &[Version] {
        let Some(versions) = self.webhooks.get(webhook) else {
            return &[];
        };
        let sure = versions.iter().rposition(|one| one.span.acked <= mark);
        let asked = versions.iter().filter(|one| one.span.asked < mark).count();
        &versions[sure.unwrap_or(0)..asked.max(sure.map_or(0, |at| at + 1))]
    }

    /// Whether a webhook was there, sure and whole, from one mark to another.
    fn there(&self, webhook: &str, span: Span) -> bool {
        let versions = &self.webhooks[webhook];
        versions
            .first()
            .is_some_and(|first| first.span.acked <= span.asked)
            && versions
                .iter()
                .all(|one| one.description.is_some() || one.span.asked > span.acked)
    }
}

/// What a look at a store found.
#[derive(Default)]
pub struct Found {
    /// What is wrong; empty if nothing is.
    pub faults: Vec<String>,
    /// How many of these are acknowledged events that are not there.
    pub lost_events: usize,
    /// The segment of each event that is there.
    pub segments: BTreeMap<String, u32>,
    /// Deliveries that wait.
    pub pending: usize,
}

struct Look<'a> {
    ledger: &'a Ledger,
    reader: &'a Reader,
    mark: u64,
    found: Found,
    /// What the queue holds: webhook, event → due, attempts.
    queue: BTreeMap<(WebhookId, Position), (SteadyMillis, u32)>,
}

/// Holds a store against what was acknowledged by a mark. `forgiven` are events that retention may have deleted.
pub fn look(
    ledger: &Ledger,
    reader: &Reader,
    mark: u64,
    forgiven: impl Fn(&Posted) -> bool,
) -> Found {
    let mut look = Look {
        ledger,
        reader,
        mark,
        found: Found::default(),
        queue: BTreeMap::new(),
    };
    look.settle();
    look.queue();
    look.events(&forgiven);
    look.webhooks();
    for ((webhook, event), _) in std::mem::take(&mut look.queue) {
        look.fault(format!(
            "the queue holds {event} for {webhook}, and no event's delivery waits so"
        ));
    }
    look.found
}

fn account() -> AccountName {
    AccountName::new("standard").unwrap()
}

impl Look<'_> {
    fn fault(&mut self, text: String) {
        self.found.faults.push(text);
    }

    /// What waits for a removed webhook is cancelled at once after a start, beside all else.
    fn settle(&mut self) {
        let there: BTreeSet<WebhookId> = self.reader.webhooks().iter().map(|one| one.id).collect();
        let ids = self.ledger.webhooks.keys();
        for webhook in ids.map(|id| id.parse::<WebhookId>().unwrap()) {
            let waits = || self.reader.pending_count(webhook) > 0;
            let mut tries = 0;
            while !there.contains(&webhook) && waits() {
                assert!(
                    tries < 4_000,
                    "what waits for the removed {webhook} is not cancelled"
                );
                tries += 1;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }

    fn queue(&mut self) {
        let everything = (SteadyMillis(0), SteadyMillis(u64::MAX));
        let ids: Vec<WebhookId> = self
            .ledger
            .webhooks
            .keys()
            .map(|id| id.parse().unwrap())
            .collect();
        for webhook in ids {
            for entry in self
                .reader
                .page(webhook, everything, 1_000_000)
                .unwrap()
                .entries
            {
                self.found.pending += 1;
                let value = (entry.due, entry.attempts);
                if self.queue.insert((webhook, entry.event), value).is_some() {
                    self.fault(format!("two keys for {} of {webhook}", entry.event));
                }
            }
        }
    }

    fn events(&mut self, forgiven: &impl Fn(&Posted) -> bool) {
        let listed = self.reader.events(&account(), None, 1_000_000).unwrap();
        let mut by_id = BTreeMap::new();
        for (position, event) in listed {
            let id = event.id.as_str().to_owned();
            if by_id.insert(id.clone(), (position, event)).is_some() {
                self.fault(format!("{id} is listed twice"));
            }
        }
        let ledger = self.ledger;
        for posted in &ledger.events {
            let there = by_id.remove(&posted.id);
            let found = self
                .reader
                .find_event(&account(), &EventId::new(&posted.id).unwrap())
                .unwrap();
            if found != there {
                self.fault(format!(
                    "{} is not the same in the list and by its id",
                    posted.id
                ));
            }
            let Some((position, event)) = there else {
                if posted.span.acked <= self.mark && !forgiven(posted) {
                    self.found.lost_events += 1;
                    self.fault(format!("{} was acknowledged and is lost", posted.id));
                }
                continue;
            };
            if posted.span.asked >= self.mark {
                self.fault(format!("{} is there before it was posted", posted.id));
            }
            if event.data != posted.data {
                self.fault(format!("{} has other bytes than were posted", posted.id));
            }
            self.found
                .segments
                .insert(posted.id.clone(), position.segment);
            self.deliveries(posted, position);
        }
        for id in by_id.into_keys() {
            self.fault(format!("{id} was never posted"));
        }
    }

    fn deliveries(&mut self, posted: &Posted, position: Position) {
        let states = self.reader.deliveries_of(position).unwrap();
        let there: BTreeSet<String> = states.iter().map(|(id, ..)| id.to_string()).collect();
        if posted.span.acked <= self.mark && posted.segment.is_none() {
            let ledger = self.ledger;
            for webhook in ledger.webhooks.keys() {
                if ledger.there(webhook, posted.span) && !there.contains(webhook) {
                    self.fault(format!("{} has no delivery for {webhook}", posted.id));
                }
            }
        }
        for (webhook, state, attempts) in states {
            let what = format!("{} for {webhook}", posted.id);
            self.attempts(&what, webhook, position, (state, attempts));
            let waits = self.queue.remove(&(webhook, position));
            match (state, waits) {
                (DeliveryState::Pending { due, .. }, Some((key, tried)))
                    if due == key && tried == attempts =>
                {
                    if self.was_ended(&webhook.to_string(), &posted.id) {
                        self.fault(format!("{what} had ended and waits again"));
                    }
                }
                (DeliveryState::Pending { .. }, waits) => {
                    self.fault(format!(
                        "{what}: history says {state:?}, the queue {waits:?}"
                    ));
                }
                (_, Some(_)) => self.fault(format!("{what} has ended and is in the queue")),
                (_, None) => {}
            }
        }
    }

    fn was_ended(&self, webhook: &str, event: &str) -> bool {
        self.ledger.ended.iter().any(|ended| {
            ended.webhook == webhook
                && ended.event == event
                && ended.seen <= self.mark
                && ended.until >= self.mark
        })
    }

    fn attempts(
        &mut self,
        what: &str,
        webhook: WebhookId,
        position: Position,
        shown: (DeliveryState, u32),
    ) {
        let Some(delivery) = self.reader.delivery(webhook, position).unwrap() else {
            return self.fault(format!("{what} has no history"));
        };
        let numbers: Vec<u32> = delivery.attempts.iter().map(|one| one.number).collect();
        let count = u32::try_from(numbers.len()).unwrap();
        if !numbers.iter().copied().eq(1..=count) || (delivery.state, count) != shown {
            self.fault(format!(
                "{what}: attempts {numbers:?}, {:?}; elsewhere {shown:?}",
                delivery.state
            ));
        }
    }

    fn webhooks(&mut self) {
        let mut there: BTreeMap<String, Option<String>> = self
            .reader
            .webhooks()
            .into_iter()
            .map(|webhook| (webhook.id.to_string(), webhook.description))
            .collect();
        let ledger = self.ledger;
        for (id, versions) in &ledger.webhooks {
            let now = there.remove(id);
            let may = ledger.versions_at(id, self.mark);
            let sure = versions.iter().any(|one| one.span.acked <= self.mark);
            let fits = match &now {
                Some(description) => may
                    .iter()
                    .any(|one| one.description.is_some() && one.description == *description),
                None => !sure || may.iter().any(|one| one.description.is_none()),
            };
            if !fits {
                self.fault(format!(
                    "webhook {id} is {now:?}, and may be one of {may:?}"
                ));
            }
        }
        for (id, description) in there {
            if !description.is_some_and(|text| ledger.unanswered.contains(&text)) {
                self.fault(format!("webhook {id} was never registered"));
            }
        }
    }
}
