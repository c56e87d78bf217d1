//! What a job finds: pages of history, looked at with its filter.
//!
//! Nothing is changed here, and nothing is kept in memory but one page. It reads the disk, so it runs on a blocking
//! thread.

use std::collections::{BTreeMap, HashSet};

use crate::engine::Engine;
use crate::model::{Job, JobFilter, JobKind, Position, WebhookId};
use crate::render::pattern;
use crate::store::{self, EventAt, Found, JobPick};

/// Events with their bodies read at once for a re-match: what they take in memory is bounded by the bodies' own bound.
const EVENTS_MAX: usize = 16;

/// What was found of one event.
#[derive(Clone, Debug)]
pub(super) struct Match {
    pub(super) event: Position,
    /// What is to be queued.
    pub(super) picks: Vec<JobPick>,
    /// What the filter took and is left alone.
    pub(super) skipped: u64,
}

/// A page, looked at.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// In the order of arrival; events of which nothing was taken are left out.
    pub(super) matches: Vec<Match>,
    /// Where to go on; `None`: all has been looked at.
    pub(super) next: Option<Position>,
    /// How many deliveries or events were looked at, about.
    pub(super) looked: usize,
}

impl Engine {
    /// Looks at one page of at most `limit` deliveries or events from `from` on.
    pub(super) fn look(
        &self,
        job: &Job,
        from: Position,
        limit: usize,
    ) -> Result<Seen, store::Error> {
        let span = (from, job.end);
        match job.kind {
            JobKind::Resend { from, to } => self.look_at_deliveries(job, from, to, span, limit),
            JobKind::Rematch { only } => self.look_at_events(job, only, span, limit),
        }
    }

    fn look_at_deliveries(
        &self,
        job: &Job,
        from: WebhookId,
        to: WebhookId,
        span: (Position, Position),
        limit: usize,
    ) -> Result<Seen, store::Error> {
        let filter: &JobFilter = &job.filter;
        let wanted = |event: &_| filter.takes_event(event);
        let (mut rows, next) = self.reader.deliveries_from(from, span, limit, wanted)?;
        let looked = next.map_or(rows.len(), |_| limit);
        rows.retain(|row| filter.takes_state(&row.state));
        let found = if from == to {
            let own = rows.iter().map(|row| match row.doubtful {
                true => Found::Unclear,
                false => Found::Delivery {
                    state: row.state,
                    attempts: row.attempts,
                },
            });
            own.collect()
        } else {
            let events: Vec<Position> = rows.iter().map(|row| row.event).collect();
            self.reader.found(to, &events)?
        };
        let matches = rows.iter().zip(found).map(|(row, found)| {
            let pick = pick(to, row.event, found);
            Match {
                event: row.event,
                skipped: u64::from(pick.is_none()),
                picks: pick.into_iter().collect(),
            }
        });
        Ok(Seen {
            matches: matches.collect(),
            next,
            looked,
        })
    }

    fn look_at_events(
        &self,
        job: &Job,
        only: Option<WebhookId>,
        span: (Position, Position),
        limit: usize,
    ) -> Result<Seen, store::Error> {
        let Some(contract) = self.registry.contract(&job.account) else {
            // A reload has just taken the account away. Nothing was looked at.
            let next = Some(span.0);
            return Ok(Seen {
                next,
                ..Seen::default()
            });
        };
        let limit = limit.min(EVENTS_MAX);
        let (events, next) = self.reader.events_from(&job.account, span, limit)?;
        let looked = events.len();
        // Those that want an event and did not get it when it was accepted.
        let mut missing: BTreeMap<WebhookId, Vec<Position>> = BTreeMap::new();
        for (position, event, accepted_for) in taken(&job.filter, &events) {
            let subjects = pattern::subjects(&contract.profile, event);
            let accepted_for: HashSet<WebhookId> = accepted_for.iter().copied().collect();
            for webhook in self.registry.matching(event, &subjects, only) {
                if !accepted_for.contains(&webhook) {
                    missing.entry(webhook).or_default().push(*position);
                }
            }
        }
        let mut picks: BTreeMap<Position, Vec<JobPick>> = BTreeMap::new();
        for (webhook, events) in missing {
            let found = self.reader.found(webhook, &events)?;
            for (event, found) in events.into_iter().zip(found) {
                if found == Found::Nothing {
                    let of_event = picks.entry(event).or_default();
                    of_event.extend(pick(webhook, event, found));
                }
            }
        }
        let matches = picks.into_iter().map(|(event, picks)| Match {
            event,
            picks,
            skipped: 0,
        });
        Ok(Seen {
            matches: matches.collect(),
            next,
            looked,
        })
    }
}

fn taken<'a>(filter: &'a JobFilter, events: &'a [EventAt]) -> impl Iterator<Item = &'a EventAt> {
    events
        .iter()
        .filter(|(_, event, _)| filter.takes_event(event))
}

/// How a delivery that stands so is queued; `None` where it is on its way already, or cannot be told.
fn pick(webhook: WebhookId, event: Position, found: Found) -> Option<JobPick> {
    let (attempts, added) = match found {
        Found::Nothing => (0, true),
        Found::Delivery { state, attempts } if state.ended_as().is_some() => (attempts, false),
        // With a second queue key it would be sent twice.
        Found::Delivery { .. } | Found::Unclear => return None,
    };
    Some(JobPick {
        webhook,
        event,
        attempts,
        added,
    })
}
