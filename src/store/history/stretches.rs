//! Stretches: what an account or a webhook has from the oldest on, a page at a time, for jobs.
//!
//! Who looks is asked between reads whether to go on. A page's share of each segment is read before its first event, so
//! until then a look can only be given up; from then on it ends where it stands. What cannot be read is passed, and told.

use std::collections::BTreeMap;

use crate::journal::{self, Direction, Key};
use crate::model::{Event, Position, WebhookId};

use super::super::Error;
use super::super::record::{Record, added_key, added_to_key, delivery_key, position_of};
use super::{DeliverySummary, event_at, record_at, summary, traces};

/// Index entries read at once.
const ENTRIES_MAX: usize = 256;

/// Asked whether to go on, with how many events of the page have been looked at. `false` at none gives the look up;
/// `false` later ends it where it stands.
pub type GoOn<'a> = dyn FnMut(usize) -> bool + 'a;

/// What a look at a stretch of history has found.
#[derive(Debug, PartialEq, Eq)]
pub struct Stretch<T> {
    /// In the order of arrival.
    pub found: Vec<T>,
    /// The events of which too much is damaged or gone to tell, in the order of arrival.
    pub lost: Vec<Position>,
    /// How many events were looked at.
    pub looked: usize,
    /// Where to go on; `None`: there are no more. Where the look began, if it was given up.
    pub next: Option<Position>,
}

impl<T> Stretch<T> {
    const fn new(next: Option<Position>) -> Self {
        Self {
            found: Vec::new(),
            lost: Vec::new(),
            looked: 0,
            next,
        }
    }

    /// Looks at the events one by one, until `go_on` says that it is enough.
    fn look_at(
        mut self,
        events: &[Position],
        go_on: &mut GoOn<'_>,
        mut look: impl FnMut(Position) -> Result<Option<T>, Error>,
    ) -> Result<Self, Error> {
        for event in events {
            if self.looked > 0 && !go_on(self.looked) {
                self.next = Some(*event);
                break;
            }
            self.looked += 1;
            match look(*event) {
                Ok(found) => self.found.extend(found),
                Err(error) if error.is_lost() => {
                    tracing::warn!(event = %event, %error, "a job leaves out what cannot be read");
                    self.lost.push(*event);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self)
    }
}

/// An event, and for whom it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventAt {
    /// Where it stands.
    pub position: Position,
    /// The event.
    pub event: Event,
    /// Whom it was accepted for, and to whom deliveries were added later.
    pub webhooks: Vec<WebhookId>,
    /// Whether a record that added some of them cannot be read, so that there may be more.
    pub doubtful: bool,
}

/// Events, and the last one that all up to it were found; `None`: all were.
struct Listed {
    events: Vec<Position>,
    last: Option<Position>,
}

/// A page of a webhook's deliveries of the events from `from` on and before `end`, oldest first. At most `limit` are
/// looked at, and those whose event is `wanted` are given.
pub(in crate::store) fn deliveries_from(
    journal: &journal::Reader,
    webhook: WebhookId,
    (from, end): (Position, Position),
    limit: usize,
    wanted: &impl Fn(&Event) -> bool,
    go_on: &mut GoOn<'_>,
) -> Result<Stretch<DeliverySummary>, Error> {
    let given_up = Ok(Stretch::new(Some(from)));
    let Some(listed) = delivery_events(journal, webhook, (from, end), limit.max(1), go_on)? else {
        return given_up;
    };
    let stretch = Stretch::new(listed.last.map(Position::next));
    let (Some(low), Some(high)) = (listed.events.first(), listed.events.last()) else {
        return Ok(stretch);
    };
    let Some(traces) = traces(journal, webhook, (*low, *high), go_on)? else {
        return given_up;
    };
    stretch.look_at(&listed.events, go_on, |event| {
        let trace = traces.get(&event).map_or(&[][..], Vec::as_slice);
        summary(journal, webhook, event, trace, wanted)
    })
}

/// The events of a webhook's deliveries, those that were added later included. `None`: given up.
fn delivery_events(
    journal: &journal::Reader,
    webhook: WebhookId,
    (from, end): (Position, Position),
    limit: usize,
    go_on: &mut GoOn<'_>,
) -> Result<Option<Listed>, Error> {
    // Later segments still name events of those that retention has deleted: they must not take up the page's places.
    let from = from.max(journal.start_of(journal.bounds().0));
    let key_of = |event| delivery_key(webhook, event);
    let Some(mut listed) = listing_from(journal, key_of, (from, end), limit, go_on)? else {
        return Ok(None);
    };
    let Some(newest) = before(end).filter(|newest| *newest >= from) else {
        return Ok(Some(listed));
    };
    let low = added_key(webhook, from);
    for segment in journal.numbers(from.segment, u32::MAX) {
        if !go_on(0) {
            return Ok(None);
        }
        let high = added_key(webhook, listed.last.unwrap_or(newest));
        // One more than fits shows that there are more.
        let most = limit.saturating_add(1);
        let entries = journal.range(segment, &low, &high, Direction::Ascending, most)?;
        let late = entries.iter().map(|entry| position_of(&entry.key));
        listed.events.extend(late);
        if let Some(last) = entries.last().filter(|_| entries.len() == most) {
            listed.last = Some(position_of(&last.key));
        }
    }
    if let Some(last) = listed.last {
        listed.events.retain(|event| *event <= last);
    }
    listed.events.sort_unstable();
    listed.events.dedup();
    if listed.events.len() > limit {
        listed.events.truncate(limit);
        listed.last = listed.events.last().copied();
    }
    Ok(Some(listed))
}

/// The events under keys of one subject from `from` on and before `end`, oldest first, at most `limit`. `None`: given up.
fn listing_from(
    journal: &journal::Reader,
    key_of: impl Fn(Position) -> Key,
    (from, end): (Position, Position),
    limit: usize,
    go_on: &mut GoOn<'_>,
) -> Result<Option<Listed>, Error> {
    let mut listed = Listed {
        events: Vec::new(),
        last: None,
    };
    let Some(newest) = before(end).filter(|newest| *newest >= from) else {
        return Ok(Some(listed));
    };
    let mut segments = journal.numbers(from.segment, newest.segment);
    segments.sort_unstable();
    for segment in segments {
        let mut low = from.max(Position { segment, offset: 0 });
        let high = key_of(newest.min(Position {
            segment,
            offset: u32::MAX,
        }));
        loop {
            if !go_on(0) {
                return Ok(None);
            }
            let low_key = key_of(low);
            let entries =
                journal.range(segment, &low_key, &high, Direction::Ascending, ENTRIES_MAX)?;
            for event in entries.iter().map(|entry| position_of(&entry.key)) {
                if listed.events.last() == Some(&event) {
                    continue;
                }
                if listed.events.len() == limit {
                    listed.last = listed.events.last().copied();
                    return Ok(Some(listed));
                }
                listed.events.push(event);
            }
            match entries.last().map(|entry| position_of(&entry.key)) {
                Some(highest) if entries.len() == ENTRIES_MAX => low = highest.next(),
                _ => break,
            }
        }
    }
    Ok(Some(listed))
}

/// Shows `look` the events under keys of one subject from `from` on and before `end`, oldest first, at most `limit`.
pub(in crate::store) fn events_from<T>(
    journal: &journal::Reader,
    key_of: impl Fn(Position) -> Key,
    (from, end): (Position, Position),
    limit: usize,
    mut look: impl FnMut(EventAt) -> Result<Option<T>, Error>,
    go_on: &mut GoOn<'_>,
) -> Result<Stretch<T>, Error> {
    let given_up = Ok(Stretch::new(Some(from)));
    let Some(listed) = listing_from(journal, key_of, (from, end), limit.max(1), go_on)? else {
        return given_up;
    };
    let Some(mut additions) = Additions::to(journal, &listed.events, go_on)? else {
        return given_up;
    };
    let stretch = Stretch::new(listed.last.map(Position::next));
    stretch.look_at(&listed.events, go_on, |position| {
        let (event, mut webhooks) = event_at(journal, position)?;
        let (added, doubtful) = additions.of(journal, position)?;
        webhooks.extend(added);
        look(EventAt {
            position,
            event,
            webhooks,
            doubtful,
        })
    })
}

/// The records that added deliveries to the events of a page. Each is read once, when the first event that needs it is
/// looked at: a slow job may have written one for each delivery.
struct Additions<'a> {
    events: &'a [Position],
    records: BTreeMap<Position, Vec<Position>>,
    /// Of the records that were read, what they added to the page's events; `None`: it is lost.
    read: BTreeMap<Position, Option<Vec<(Position, WebhookId)>>>,
}

impl<'a> Additions<'a> {
    /// Finds those of these events, which go from the oldest to the newest. `None`: given up.
    fn to(
        journal: &journal::Reader,
        events: &'a [Position],
        go_on: &mut GoOn<'_>,
    ) -> Result<Option<Self>, Error> {
        let mut additions = Self {
            events,
            records: BTreeMap::new(),
            read: BTreeMap::new(),
        };
        let Some(oldest) = events.first() else {
            return Ok(Some(additions));
        };
        for segment in journal.numbers(oldest.segment, u32::MAX) {
            let mut left = events;
            while let (Some(low), Some(high)) = (left.first(), left.last()) {
                if !go_on(0) {
                    return Ok(None);
                }
                left = additions.find(journal, segment, (*low, *high), left)?;
            }
        }
        Ok(Some(additions))
    }

    /// Finds those of some events in one segment; gives the events that are left.
    fn find<'b>(
        &mut self,
        journal: &journal::Reader,
        segment: u32,
        (low, high): (Position, Position),
        left: &'b [Position],
    ) -> Result<&'b [Position], Error> {
        let (low, high) = (added_to_key(low), added_to_key(high));
        let mut entries = journal.range(segment, &low, &high, Direction::Ascending, ENTRIES_MAX)?;
        let mut rest: &[Position] = &[];
        let highest = entries.last().map(|entry| entry.key);
        if let Some(highest) = highest.filter(|_| entries.len() == ENTRIES_MAX) {
            // Of the highest event there may be more: as many as an account has webhooks, and they are read at once.
            entries.retain(|entry| entry.key != highest);
            let all = (Direction::Ascending, usize::MAX);
            entries.extend(journal.range(segment, &highest, &highest, all.0, all.1)?);
            let seen = left.partition_point(|event| *event <= position_of(&highest));
            rest = left.get(seen..).unwrap_or_default();
        }
        for entry in entries {
            let event = position_of(&entry.key);
            if left.binary_search(&event).is_ok() {
                let offset = entry.offset;
                let records = self.records.entry(event).or_default();
                records.push(Position { segment, offset });
            }
        }
        Ok(rest)
    }

    /// To whom an event was added, and whether there may be more.
    fn of(
        &mut self,
        journal: &journal::Reader,
        event: Position,
    ) -> Result<(Vec<WebhookId>, bool), Error> {
        let (mut webhooks, mut doubtful) = (Vec::new(), false);
        for record in self.records.remove(&event).unwrap_or_default() {
            if !self.read.contains_key(&record) {
                let read = self.read(journal, record)?;
                self.read.insert(record, read);
            }
            match self.read.get(&record) {
                Some(Some(added)) => {
                    let of_event = added.iter().filter(|one| one.0 == event);
                    webhooks.extend(of_event.map(|one| one.1));
                }
                _ => doubtful = true,
            }
        }
        Ok((webhooks, doubtful))
    }

    fn read(
        &self,
        journal: &journal::Reader,
        record: Position,
    ) -> Result<Option<Vec<(Position, WebhookId)>>, Error> {
        let queued = match record_at(journal, record) {
            Ok(Record::JobStepped { queued, .. }) => queued,
            Ok(_) => return Ok(Some(Vec::new())),
            Err(error) if error.is_lost() => return Ok(None),
            Err(error) => return Err(error),
        };
        let of_page = |event| self.events.binary_search(&event).is_ok();
        let added = queued.iter().filter(|one| one.added && of_page(one.event));
        Ok(Some(added.map(|one| (one.event, one.webhook)).collect()))
    }
}

fn before(position: Position) -> Option<Position> {
    position.to_u64().checked_sub(1).map(Position::from_u64)
}
