//! A job that replays deliveries: its steps, and what must be so of it after a restart.

use super::requests::Asked;
use super::told::Change;
use super::{Happening, State, World};
use crate::model::{
    DeliveryState, Job, JobFilter, JobId, JobKind, JobState, Position, SteadyMillis, UnixMillis,
};
use crate::store::tests::account;
use crate::store::{JobPick, JobStep};

/// Deliveries in one step, at most.
const PICKS_MAX: u64 = 4;

impl World {
    /// Stores the job, on a sound disk.
    pub(super) fn begin_job(&mut self) {
        let job = Job {
            id: JobId(7),
            account: account(),
            kind: JobKind::Rematch { only: None },
            filter: JobFilter::default(),
            per_second: 1,
            state: JobState::Running,
            next: Position::from_u64(0),
            end: Position::from_u64(u64::MAX),
            matched: 0,
            queued: 0,
            skipped: 0,
            created_at: UnixMillis(1),
            ended_at: None,
        };
        let writer = self.store().writer.clone();
        let stored = job.clone();
        let mut put = Box::pin(async move { writer.put_job(stored).await });
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while put.as_mut().poll(&mut context).is_pending() {
            self.store_mut().step(usize::MAX).unwrap();
        }
        self.job = Some(job);
    }

    fn told_job(&self) -> &Job {
        self.job.as_ref().expect("it was stored at the beginning")
    }

    /// Some deliveries that have ended are to be sent again.
    pub(super) fn replay(&mut self) {
        let is_step = |asked: &Asked| matches!(asked, Asked::StepJob { .. });
        if self.requests.iter().any(|request| is_step(&request.asked)) {
            return;
        }
        let ended = self.told.deliveries.iter();
        let mut ended: Vec<(usize, Position)> = ended
            .filter(|(_, delivery)| !matches!(delivery.state, State::Pending { .. }))
            .map(|(key, _)| *key)
            .collect();
        let mut picks = Vec::new();
        for _ in 0..self.rng.below(PICKS_MAX + 1) {
            if !ended.is_empty() {
                let at = self.rng.size(0, ended.len() as u64 - 1);
                picks.push(ended.swap_remove(at));
            }
        }
        self.ask(Asked::StepJob { picks });
    }

    pub(super) fn job_step(&self, picks: &[(usize, Position)]) -> JobStep {
        let job = self.told_job();
        let pick = |(hook, event): &(usize, Position)| {
            let attempts = self.told.deliveries[&(*hook, *event)].attempts.len();
            JobPick {
                webhook: self.ids[*hook],
                event: *event,
                attempts: u32::try_from(attempts).unwrap(),
                added: false,
            }
        };
        JobStep {
            job: job.id,
            from: job.next,
            next: Position::from_u64(job.next.to_u64() + 1),
            read_at: self.store().reader.end(),
            picks: picks.iter().map(pick).collect(),
            skipped: 0,
        }
    }

    pub(super) fn job_stepped(&mut self, picks: &[(usize, Position)], job: Option<Job>) {
        if self.machine.disk.is_off() {
            // Where the deliveries stand now cannot be read; the restart tells.
            let picks = picks.to_vec();
            self.doubts.push(Asked::StepJob { picks });
            return;
        }
        let job = job.expect("what was acknowledged is lost: the job");
        let before = self.job.replace(job.clone()).expect("there is one");
        assert_eq!(job.next.to_u64(), before.next.to_u64() + 1);
        let mut queued = 0;
        for (hook, event) in picks.iter().copied() {
            let told = self.told.deliveries.get(&(hook, event));
            let ended = told.is_some_and(|told| !matches!(told.state, State::Pending { .. }));
            if !ended || self.told.hooks[hook].is_none() {
                continue;
            }
            queued += 1;
            let due = self.queued_at(hook, event);
            self.told.change(hook, event, &Change::Replay { due });
            // As the runner has it: a time from before the step was made.
            let from = SteadyMillis(due.0.saturating_sub(self.rng.below(3)));
            self.soon(Happening::Woken { hook, from });
        }
        assert_eq!(job.queued - before.queued, queued, "queued of {picks:?}");
        assert_eq!(job.matched - before.matched, picks.len() as u64);
        self.figures.replayed += queued;
    }

    fn queued_at(&mut self, hook: usize, event: Position) -> SteadyMillis {
        let id = self.ids[hook];
        let found = self.quietly(|world| world.store().reader.delivery(id, event));
        match found.unwrap().map(|delivery| delivery.state) {
            Some(DeliveryState::Pending { due, .. }) => due,
            other => panic!("{event} of {hook} was queued, and is {other:?}"),
        }
    }

    /// Whether the job on disk has made a step that was not answered.
    pub(super) fn job_moved(&self) -> bool {
        let found = self.store().reader.job(self.told_job().id);
        found.is_some_and(|found| found.next != self.told_job().next)
    }

    /// The job is what was told, or one step further if that was asked for.
    pub(super) fn settle_job(&mut self, doubts: &[Asked]) {
        let told = self.told_job().clone();
        let found = self.store().reader.job(told.id);
        let found = found.expect("what was acknowledged is lost: the job");
        if found != told {
            let asked = doubts.iter().find_map(|asked| match asked {
                Asked::StepJob { picks } => Some(picks),
                _ => None,
            });
            let picks = asked.expect("what was acknowledged is lost: the job's step");
            assert_eq!(found.next.to_u64(), told.next.to_u64() + 1);
            let pending = |key: &&(usize, Position)| {
                let told = self.told.deliveries.get(key);
                told.is_some_and(|told| matches!(told.state, State::Pending { .. }))
            };
            let queued = found.queued - told.queued;
            let pending = picks.iter().filter(pending).count() as u64;
            assert!(
                queued <= pending,
                "the job queued {queued} of {picks:?}, and {pending} are pending"
            );
            self.figures.replayed += queued;
        }
        self.job = Some(found);
    }
}
