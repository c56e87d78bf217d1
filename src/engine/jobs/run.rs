//! The runner: goes through the running jobs in turns, and makes their steps at their rates.
//!
//! One task, and one blocking thread at a time: whatever the number of jobs, looking takes half of one core at most. The
//! steps of one turn are committed together. A lane learns of what was queued by being told to look at its queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::Engine;
use crate::engine::backlog;
use crate::model::{AuditAction, Job, JobId, JobKind, JobState, SteadyMillis, WebhookId};
use crate::store::{self, CANCEL_MAX, JobStep, Space, WriteError};

use super::super::audit::own_job;
use super::course::Course;
use super::patience::Patience;

/// A turn comes this often: short enough for an even flow, long enough that a step is worth its record.
const TURN: Duration = Duration::from_millis(50);
/// Fast jobs have shorter turns, so that live traffic meets no bursts: a step of so many deliveries is worth its record.
const STEP_WORTH: u64 = 16;
const TURN_MIN: Duration = Duration::from_millis(5);
/// In one turn a job looks at this many deliveries or events, and for this long, at most.
const LOOK_MAX: usize = 2_000;
const LOOK_TIME_MAX: Duration = Duration::from_millis(10);
/// What a page gives beyond what is needed now is kept for the next turns, and for this long: what has changed since is
/// left alone by the committer, and would be missed without need.
const KEPT_MAX_MS: u64 = 2_000;
/// After a failure a job waits this long.
const FAILED_WAIT_MS: u64 = 1_000;
/// While the disk has no room it is looked at this often.
const SPACE_EVERY: Duration = Duration::from_millis(500);

/// A step that is being committed.
struct Committing {
    before: Job,
    step: JobStep,
    answer: tokio::task::JoinHandle<Result<Option<Job>, WriteError>>,
}

/// What the task owns.
pub(super) struct Runner {
    engine: Arc<Engine>,
    courses: BTreeMap<JobId, Course>,
    /// What the steps of this turn queue, by webhook.
    promised: BTreeMap<WebhookId, usize>,
    /// How long has been looked in this turn.
    looking: Duration,
    /// A job has more to queue at once than one step takes.
    hurries: bool,
}

impl Engine {
    /// Makes the steps of the running jobs until the engine stops.
    pub(in crate::engine) async fn run_jobs(self: Arc<Self>) {
        let mut runner = Runner {
            engine: Arc::clone(&self),
            courses: BTreeMap::new(),
            promised: BTreeMap::new(),
            looking: Duration::ZERO,
            hurries: false,
        };
        for job in runner.take_up() {
            tracing::info!(job_id = %job.id, account = %job.account, kind = job.kind.as_str(),
                matched = job.matched, queued = job.queued, "job goes on");
        }
        let mut had_room = true;
        loop {
            let room = self.writer.space() == Space::Enough;
            if room != had_room {
                had_room = room;
                if !room && !runner.courses.is_empty() {
                    tracing::warn!("jobs wait until there is room on the disk");
                }
            }
            let began = Instant::now();
            if room && runner.turn().await.is_err() {
                return;
            }
            let wait = if !room {
                SPACE_EVERY
            } else if runner.hurries {
                runner.looking
            } else {
                let turn = runner.turn_length();
                turn.saturating_sub(began.elapsed()).max(runner.looking)
            };
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = self.jobs.news.notified() => {
                    runner.take_up();
                }
                () = tokio::time::sleep(wait), if !runner.is_idle() => {}
            }
        }
    }

    /// Whether a job can be gone on with now. What the config or its owner took away meanwhile may come back, but for a
    /// webhook that was removed: that ends the job.
    fn readiness(&self, job: &Job) -> Readiness {
        let to = match job.kind {
            JobKind::Resend { to, .. } => Some(to),
            JobKind::Rematch { only } => only,
        };
        if to.is_some_and(|to| self.reader.webhook(to).is_none()) {
            return Readiness::Over;
        }
        let known = self.registry.contract(&job.account).is_some()
            && to.is_none_or(|to| self.registry.find(to).is_some());
        if known {
            Readiness::Ready
        } else {
            Readiness::Waits
        }
    }
}

enum Readiness {
    Ready,
    Waits,
    /// Who was to get the deliveries has been removed.
    Over,
}

/// The store has stopped or failed: nothing more can be done.
struct StoreEnded;

impl Runner {
    fn is_idle(&self) -> bool {
        self.courses.is_empty()
    }

    fn turn_length(&self) -> Duration {
        let fastest = self.courses.values().map(|course| course.per_second).max();
        let worth = STEP_WORTH * 1000 / u64::from(fastest.unwrap_or(1).max(1));
        Duration::from_millis(worth).clamp(TURN_MIN, TURN)
    }

    /// Takes up the jobs that run and are not known yet; gives them.
    fn take_up(&mut self) -> Vec<Job> {
        let (mut jobs, now) = (self.engine.reader.jobs(), self.engine.clock.steady());
        jobs.retain(|job| job.state == JobState::Running);
        self.courses
            .retain(|id, _| jobs.iter().any(|job| job.id == *id));
        jobs.retain(|job| !self.courses.contains_key(&job.id));
        for job in &jobs {
            self.courses.insert(job.id, Course::new(job, now));
        }
        self.count_courses();
        jobs
    }

    fn count_courses(&self) {
        let running = i64::try_from(self.courses.len()).unwrap_or(i64::MAX);
        self.engine.metrics.jobs_running.set(running);
    }

    /// One turn of every job.
    async fn turn(&mut self) -> Result<(), StoreEnded> {
        (self.looking, self.hurries) = (Duration::ZERO, false);
        self.promised.clear();
        let jobs: Vec<JobId> = self.courses.keys().copied().collect();
        let mut committing = Vec::new();
        // Nothing that is queued in this turn is due before this.
        let began = self.engine.clock.steady();
        for id in jobs {
            if self.engine.stopping.is_cancelled() {
                break;
            }
            let Some(job) = self.running(id) else {
                self.courses.remove(&id);
                self.count_courses();
                continue;
            };
            if let Some(step) = self.prepare(&job).await? {
                let (writer, taken) = (self.engine.writer.clone(), step.clone());
                let answer = async move { writer.step_job(taken).await };
                committing.push(Committing {
                    before: job,
                    step,
                    answer: self.engine.tracker.spawn(answer),
                });
            }
        }
        for one in committing {
            let answer = one.answer.await;
            // It does nothing that could panic; if it did, the step is made again, or was made.
            let answer = answer.unwrap_or(Err(WriteError::Busy));
            self.committed(&one.before, &one.step, answer, began)?;
        }
        Ok(())
    }

    fn running(&self, id: JobId) -> Option<Job> {
        let job = self.engine.reader.job(id);
        job.filter(|job| job.state == JobState::Running)
    }

    /// Looks as far as the job's rate needs, and makes a step of what was found.
    async fn prepare(&mut self, job: &Job) -> Result<Option<JobStep>, StoreEnded> {
        let now = self.engine.clock.steady();
        match self.engine.readiness(job) {
            Readiness::Ready => {}
            Readiness::Waits => return Ok(None),
            Readiness::Over => return self.give_up(job).await.map(|()| None),
        }
        let Some(mut course) = self.courses.remove(&job.id) else {
            return Ok(None);
        };
        let count = course.pace.due(now).min(CANCEL_MAX);
        let step = if course.waits_until > now || count == 0 {
            None
        } else {
            if now.since(course.read) >= KEPT_MAX_MS && !course.found.is_empty() {
                course.look_again(job);
            }
            course = self.look_ahead(job, course, count).await;
            let fits = course.fitting(count, |webhook| self.room_for(webhook));
            if fits == 0 && course.picks() > 0 && !course.was_held_back {
                course.was_held_back = true;
                tracing::info!(job_id = %job.id,
                    "the job waits whenever what its profile lets wait for a webhook is half full");
            }
            course.step(job, fits, now)
        };
        for pick in step.iter().flat_map(|step| &step.picks) {
            *self.promised.entry(pick.webhook).or_default() += 1;
        }
        self.courses.insert(job.id, course);
        Ok(step)
    }

    /// How many deliveries jobs may queue for a webhook now.
    fn room_for(&self, webhook: WebhookId) -> usize {
        let engine = &self.engine;
        let live = engine.registry.find(webhook);
        let half = live.and_then(|live| backlog::half(&live));
        half.map_or(usize::MAX, |half| {
            let promised = self.promised.get(&webhook).copied().unwrap_or(0);
            half.saturating_sub(engine.reader.pending_count(webhook) + promised)
        })
    }

    /// Reads pages until there are `count` picks, or the turn's share is used up.
    async fn look_ahead(&mut self, job: &Job, course: Course, count: usize) -> Course {
        if course.at_end || course.picks() >= count {
            return course;
        }
        let (engine, of, began) = (Arc::clone(&self.engine), job.clone(), Instant::now());
        let reading = self.engine.tracker.spawn_blocking(move || {
            let mut course = course;
            let looked = look_on(&engine, &of, &mut course, count);
            (course, looked)
        });
        let (mut course, looked) = match reading.await {
            Ok((course, looked)) => (course, looked.map_err(|error| error.to_string())),
            Err(panic) => {
                let now = self.engine.clock.steady();
                (Course::new(job, now), Err(panic.to_string()))
            }
        };
        self.looking += began.elapsed();
        if let Err(error) = looked {
            tracing::error!(job_id = %job.id, %error, "a job could not look at history; it is tried again");
            course.restart(job);
            course.waits_until = self.engine.clock.steady().plus(FAILED_WAIT_MS);
        }
        course
    }

    /// Takes in what came of a step.
    fn committed(
        &mut self,
        before: &Job,
        step: &JobStep,
        answer: Result<Option<Job>, WriteError>,
        began: SteadyMillis,
    ) -> Result<(), StoreEnded> {
        let now = self.engine.clock.steady();
        let Some(course) = self.courses.get_mut(&before.id) else {
            return Ok(());
        };
        let job = match answer {
            Ok(Some(job)) => job,
            // Somebody forgot it: it had ended.
            Ok(None) => return Ok(()),
            Err(WriteError::Stopped | WriteError::Failed(_)) => return Err(StoreEnded),
            Err(error) => {
                tracing::warn!(job_id = %before.id, %error, "a job's step could not be recorded; it is made again");
                course.restart(before);
                course.waits_until = now.plus(FAILED_WAIT_MS);
                return Ok(());
            }
        };
        if job.next != step.next || matches!(job.state, JobState::Paused | JobState::Cancelled) {
            course.restart(&job);
            return Ok(());
        }
        course.pace.spend(step.picks.len());
        (course.skipped, course.looked, course.stepped) = (0, 0, now);
        self.hurries |= step.picks.len() == CANCEL_MAX;
        let queued = job.queued.saturating_sub(before.queued);
        self.engine.metrics.deliveries_queued_by_jobs.inc_by(queued);
        let webhooks: BTreeSet<WebhookId> = step.picks.iter().map(|pick| pick.webhook).collect();
        for webhook in webhooks {
            self.engine.missed.add(webhook, began);
        }
        if job.state == JobState::Done {
            tracing::info!(job_id = %job.id, account = %job.account, matched = job.matched,
                queued = job.queued, skipped = job.skipped, "job done");
        }
        Ok(())
    }

    async fn give_up(&mut self, job: &Job) -> Result<(), StoreEnded> {
        let note = own_job(job, AuditAction::JobCancelled, "webhook removed");
        let writer = self.engine.writer_for(Some(note));
        let set = writer.set_job(job.id, JobState::Cancelled);
        match set.await {
            Ok(_) => {
                let why = "the webhook that was to get its deliveries has been removed";
                tracing::warn!(job_id = %job.id, account = %job.account, matched = job.matched,
                    queued = job.queued, skipped = job.skipped, "job cancelled: {why}");
            }
            Err(WriteError::Stopped | WriteError::Failed(_)) => return Err(StoreEnded),
            Err(error) => {
                tracing::debug!(job_id = %job.id, %error, "the job is cancelled at its next turn");
            }
        }
        Ok(())
    }
}

/// Looks on until there are `count` picks, everything has been looked at, or the turn's share is used up.
fn look_on(
    engine: &Engine,
    job: &Job,
    course: &mut Course,
    count: usize,
) -> Result<(), store::Error> {
    let (began, mut looked) = (Instant::now(), 0);
    while !course.at_end && course.picks() < count {
        if looked >= LOOK_MAX || began.elapsed() >= LOOK_TIME_MAX {
            break;
        }
        // Before the page, so that what changes while it is read is told by records that are looked at.
        let end = engine.reader.end();
        let mut patience = Patience::of_turn(LOOK_TIME_MAX, engine.stopping.clone());
        let seen = engine.look(job, course.ahead, course.page.size(), &mut patience)?;
        course.page.took(patience.waited(), patience.taken());
        if course.found.is_empty() {
            (course.read_at, course.read) = (end, engine.clock.steady());
        }
        course.found.extend(seen.matches);
        looked += seen.looked;
        course.looked += seen.looked;
        match seen.next {
            Some(next) if next > course.ahead => course.ahead = next,
            Some(_) => break,
            None => (course.ahead, course.at_end) = (job.end, true),
        }
    }
    Ok(())
}
