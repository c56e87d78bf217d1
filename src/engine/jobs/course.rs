//! A running job as it stands in memory: what was found and not yet taken, and what its next step is. Pure.
//!
//! Nothing of it is needed after a restart: the job on disk says where to go on.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{Job, Position, SteadyMillis, WebhookId};
use crate::store::{CANCEL_MAX, JobPick, JobStep};

use super::look::Match;
use super::pace::Pace;
use super::page::PageSize;

/// A stretch without matches is put on record this often, so that a restart does not look at it again.
const MARK_EVERY_MS: u64 = 1_000;
const MARK_LOOKED: usize = 10_000;

/// How a running job stands in memory. All of it can be made again from the job.
pub(super) struct Course {
    pub(super) pace: Pace,
    pub(super) per_second: u32,
    pub(super) page: PageSize,
    /// What was found and not yet taken, in order.
    pub(super) found: VecDeque<Match>,
    /// Where looking goes on, and whether that is the end.
    pub(super) ahead: Position,
    pub(super) at_end: bool,
    /// The journal's end before the oldest page of `found` was read, and when that was.
    pub(super) read_at: Position,
    pub(super) read: SteadyMillis,
    /// What was taken since the last step without a pick: where it ended, and what of it was left alone.
    pub(super) reached: Position,
    pub(super) skipped: u64,
    /// Looked at since the last step, and when that was.
    pub(super) looked: usize,
    pub(super) stepped: SteadyMillis,
    pub(super) waits_until: SteadyMillis,
    /// Whether it has ever waited for a webhook's backlog, so that this is told once.
    pub(super) was_held_back: bool,
}

impl Course {
    pub(super) fn new(job: &Job, now: SteadyMillis) -> Self {
        Self {
            pace: Pace::new(job.per_second, now),
            per_second: job.per_second,
            page: PageSize::new(job.per_second),
            found: VecDeque::new(),
            ahead: job.next,
            at_end: job.next >= job.end,
            read_at: job.next,
            read: now,
            reached: job.next,
            skipped: 0,
            looked: 0,
            stepped: now,
            waits_until: SteadyMillis(0),
            was_held_back: false,
        }
    }

    /// Forgets what was found, and begins again where the job stands.
    pub(super) fn restart(&mut self, job: &Job) {
        self.found.clear();
        (self.ahead, self.at_end) = (job.next, job.next >= job.end);
        (self.reached, self.skipped) = (job.next, 0);
    }

    /// Looks anew at what was found and not taken: it was read too long ago.
    pub(super) fn look_again(&mut self, job: &Job) {
        self.found.clear();
        (self.ahead, self.at_end) = (self.reached, self.reached >= job.end);
    }

    pub(super) fn picks(&self) -> usize {
        self.found.iter().map(|one| one.picks.len()).sum()
    }

    /// How many of the next `count` picks can be taken before the first for which its webhook has no room.
    pub(super) fn fitting(
        &self,
        count: usize,
        mut room_for: impl FnMut(WebhookId) -> usize,
    ) -> usize {
        let mut rooms: BTreeMap<WebhookId, usize> = BTreeMap::new();
        let picks = self.found.iter().flat_map(|one| &one.picks).take(count);
        let fits = |pick: &&JobPick| {
            let webhook = pick.webhook;
            let room = rooms.entry(webhook).or_insert_with(|| room_for(webhook));
            let fits = *room > 0;
            *room = room.saturating_sub(1);
            fits
        };
        picks.take_while(fits).count()
    }

    /// Takes `count` picks at most from what was found. An event whose picks do not all fit is gone on with.
    fn take(&mut self, count: usize) -> Vec<JobPick> {
        let mut picks = Vec::with_capacity(count.min(self.picks()));
        while let Some(first) = self.found.front_mut() {
            let room = count - picks.len();
            if first.picks.len() > room {
                picks.extend(first.picks.drain(..room));
                // What is left of it has no delivery, and is found again whoever looks next.
                self.reached = first.event;
                return picks;
            }
            picks.append(&mut first.picks);
            self.skipped += first.skipped;
            self.reached = first.event.next();
            self.found.pop_front();
        }
        self.reached = self.ahead;
        picks
    }

    /// The next step, if there is anything to be put on record.
    pub(super) fn step(&mut self, job: &Job, count: usize, now: SteadyMillis) -> Option<JobStep> {
        let picks = self.take(count.min(CANCEL_MAX));
        let next = if self.at_end && self.found.is_empty() {
            job.end
        } else {
            self.reached
        };
        let marks = next > job.next
            && (self.looked >= MARK_LOOKED || now.since(self.stepped) >= MARK_EVERY_MS);
        (!picks.is_empty() || next >= job.end || marks).then_some(JobStep {
            job: job.id,
            from: job.next,
            next,
            read_at: self.read_at,
            picks,
            skipped: self.skipped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountName, JobFilter, JobId, JobKind, JobState, UnixMillis, WebhookId};

    const fn at(offset: u32) -> Position {
        Position { segment: 1, offset }
    }

    fn job(next: u32, end: u32) -> Job {
        Job {
            id: JobId(1),
            account: AccountName::new("acme").unwrap(),
            kind: JobKind::Rematch { only: None },
            filter: JobFilter::default(),
            per_second: 100,
            state: JobState::Running,
            next: at(next),
            end: at(end),
            matched: 0,
            queued: 0,
            skipped: 0,
            created_at: UnixMillis(0),
            ended_at: None,
        }
    }

    fn found(offset: u32, webhooks: u128, skipped: u64) -> Match {
        let pick = |webhook| JobPick {
            webhook: WebhookId(webhook),
            event: at(offset),
            attempts: 0,
            added: true,
        };
        Match {
            event: at(offset),
            picks: (0..webhooks).map(pick).collect(),
            skipped,
        }
    }

    fn course(job: &Job, found: Vec<Match>, ahead: u32) -> Course {
        let mut course = Course::new(job, SteadyMillis(0));
        course.found = found.into();
        (course.ahead, course.at_end) = (at(ahead), at(ahead) >= job.end);
        course
    }

    #[test]
    fn a_step_goes_to_the_event_after_the_last_that_is_taken_whole() {
        let job = job(10, 100);
        let all = vec![
            found(20, 2, 0),
            found(30, 0, 1),
            found(40, 3, 0),
            found(50, 1, 0),
        ];
        let mut course = course(&job, all, 60);
        let step = course.step(&job, 2, SteadyMillis(1)).unwrap();
        // What is left alone costs nothing of the rate, and the next event has not been begun.
        assert_eq!((step.from, step.next, step.skipped), (at(10), at(40), 1));
        assert_eq!(step.picks.len(), 2);
        course.skipped = 0;
        let job = Job {
            next: at(40),
            ..job
        };
        let step = course.step(&job, 2, SteadyMillis(2)).unwrap();
        // Of an event for many webhooks a part is taken, and it is gone on with.
        assert_eq!(
            (step.from, step.next, step.picks.len()),
            (at(40), at(40), 2)
        );
        let step = course.step(&job, 9, SteadyMillis(3)).unwrap();
        let webhooks: Vec<u128> = step.picks.iter().map(|pick| pick.webhook.0).collect();
        assert_eq!((webhooks, step.next), (vec![2, 0], at(60)));
    }

    #[test]
    fn a_step_ends_before_the_first_pick_for_which_there_is_no_room() {
        let job = job(10, 100);
        let all = vec![found(20, 0, 1), found(30, 2, 0), found(40, 2, 0)];
        let mut course = course(&job, all, 60);
        let room_of_first = |room| move |webhook: WebhookId| if webhook.0 == 0 { room } else { 9 };
        for (room, fits) in [(0, 0), (1, 2), (2, 4), (9, 4)] {
            assert_eq!(course.fitting(9, room_of_first(room)), fits, "{room}");
        }
        assert_eq!(course.fitting(1, room_of_first(9)), 1);
        let step = course.step(&job, 2, SteadyMillis(1)).unwrap();
        assert_eq!((step.next, step.skipped, step.picks.len()), (at(40), 1, 2));
        // The job waits before the event, and passes it by no other webhook's delivery either.
        assert_eq!(course.fitting(9, room_of_first(0)), 0);
        assert!(course.step(&job, 0, SteadyMillis(2)).is_none());
        assert_eq!(course.reached, at(40));
    }

    #[test]
    fn a_stretch_without_matches_is_marked_now_and_then_and_the_end_at_once() {
        let job = job(10, 100);
        let mut course = course(&job, vec![found(20, 0, 1)], 60);
        assert!(
            course
                .step(&job, 5, SteadyMillis(MARK_EVERY_MS - 1))
                .is_none()
        );
        let step = course.step(&job, 5, SteadyMillis(MARK_EVERY_MS)).unwrap();
        assert_eq!((step.next, step.skipped, step.picks.len()), (at(60), 1, 0));
        course.stepped = SteadyMillis(MARK_EVERY_MS);
        course.looked = MARK_LOOKED;
        assert!(course.step(&job, 5, SteadyMillis(MARK_EVERY_MS)).is_some());
        (course.looked, course.ahead, course.at_end) = (0, job.end, true);
        let step = course.step(&job, 5, SteadyMillis(MARK_EVERY_MS)).unwrap();
        assert_eq!(step.next, job.end);
    }

    #[test]
    fn what_was_read_too_long_ago_is_looked_at_again_and_what_was_passed_is_not() {
        let job = job(10, 100);
        let mut course = course(&job, vec![found(20, 0, 1), found(40, 1, 0)], 100);
        assert!(course.step(&job, 0, SteadyMillis(1)).is_none());
        course.look_again(&job);
        assert_eq!(
            (course.ahead, course.at_end, course.skipped),
            (at(40), false, 1)
        );
        course.restart(&job);
        assert_eq!((course.ahead, course.skipped), (at(10), 0));
    }
}
