//! What a job finds: pages of history, looked at with its filter.
//!
//! Nothing is changed here, and nothing is kept in memory but one page. It reads the disk, so it runs on a blocking
//! thread. What cannot be read is left alone and counted as skipped: a job does not come to a halt there.

use std::collections::HashSet;

use crate::engine::Engine;
use crate::model::{Job, JobFilter, JobKind, Position, WebhookId};
use crate::render::pattern;
use crate::store::{self, EventAt, Found, JobPick};

use super::patience::Patience;

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
    /// How many deliveries or events were looked at.
    pub(super) looked: usize,
}

impl Seen {
    fn new(
        mut matches: Vec<Match>,
        lost: &[Position],
        next: Option<Position>,
        looked: usize,
    ) -> Self {
        if !lost.is_empty() {
            matches.extend(lost.iter().map(|event| Match {
                event: *event,
                picks: Vec::new(),
                skipped: 1,
            }));
            matches.sort_by_key(|one| one.event);
        }
        Self {
            matches,
            next,
            looked,
        }
    }
}

impl Engine {
    /// Looks at one page of at most `limit` deliveries or events from `from` on, for as long as the patience lasts.
    pub(super) fn look(
        &self,
        job: &Job,
        from: Position,
        limit: usize,
        patience: &mut Patience,
    ) -> Result<Seen, store::Error> {
        let span = (from, job.end);
        match job.kind {
            JobKind::Resend { from, to } => {
                self.look_at_deliveries(job, (from, to), span, limit, patience)
            }
            JobKind::Rematch { only } => self.look_at_events(job, only, span, limit, patience),
        }
    }

    fn look_at_deliveries(
        &self,
        job: &Job,
        (from, to): (WebhookId, WebhookId),
        span: (Position, Position),
        limit: usize,
        patience: &mut Patience,
    ) -> Result<Seen, store::Error> {
        let filter: &JobFilter = &job.filter;
        let wanted = |event: &_| filter.takes_event(event);
        let go_on = &mut |looked| patience.goes_on(looked);
        let seen = self
            .reader
            .deliveries_from(from, span, limit, wanted, go_on)?;
        let mut rows = seen.found;
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
        Ok(Seen::new(
            matches.collect(),
            &seen.lost,
            seen.next,
            seen.looked,
        ))
    }

    fn look_at_events(
        &self,
        job: &Job,
        only: Option<WebhookId>,
        span: (Position, Position),
        limit: usize,
        patience: &mut Patience,
    ) -> Result<Seen, store::Error> {
        let Some(contract) = self.registry.contract(&job.account) else {
            // A reload has just taken the account away. Nothing was looked at.
            let next = Some(span.0);
            return Ok(Seen {
                next,
                ..Seen::default()
            });
        };
        let look = |at: EventAt| {
            if !job.filter.takes_event(&at.event) {
                return Ok(None);
            }
            let subjects = pattern::subjects(&contract.profile, &at.event);
            let wanting = self.registry.matching(&at.event, &subjects, only);
            self.missing(&at, wanting)
        };
        let go_on = &mut |looked| patience.goes_on(looked);
        let seen = self
            .reader
            .events_from(&job.account, span, limit, look, go_on)?;
        Ok(Seen::new(seen.found, &seen.lost, seen.next, seen.looked))
    }

    /// What is to be queued of an event for those that want it and have no delivery of it.
    fn missing(
        &self,
        at: &EventAt,
        wanting: Vec<WebhookId>,
    ) -> Result<Option<Match>, store::Error> {
        let having: HashSet<WebhookId> = at.webhooks.iter().copied().collect();
        let (mut picks, mut skipped) = (Vec::new(), 0);
        for webhook in wanting {
            if having.contains(&webhook) {
                continue;
            }
            // Only where damage hides to whom it was added, each is asked for on its own.
            let found = match at.doubtful {
                true => self.reader.found(webhook, &[at.position])?.pop(),
                false => None,
            };
            match found {
                None | Some(Found::Nothing) => {
                    picks.extend(pick(webhook, at.position, Found::Nothing));
                }
                Some(Found::Unclear) => skipped += 1,
                Some(Found::Delivery { .. }) => {}
            }
        }
        Ok((!picks.is_empty() || skipped > 0).then_some(Match {
            event: at.position,
            picks,
            skipped,
        }))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_skipped_at_its_place() {
        let at = |offset| Position { segment: 1, offset };
        let one = |offset, skipped| Match {
            event: at(offset),
            picks: Vec::new(),
            skipped,
        };
        let seen = Seen::new(vec![one(10, 0), one(30, 0)], &[at(20), at(40)], None, 4);
        let skipped: Vec<(u32, u64)> = seen
            .matches
            .iter()
            .map(|one| (one.event.offset, one.skipped))
            .collect();
        assert_eq!(skipped, [(10, 0), (20, 1), (30, 0), (40, 1)]);
    }
}
