//! What is asked of the store: real calls of its `Writer`, polled by hand, and what their answers mean.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::told::{Change, Registered};
use super::{Happening, World};
use crate::engine::schedule::{Report, Verdict};
use crate::model::{
    EndReason, Event, Job, Next, Outcome, Position, QueueEntry, SteadyMillis, UnixMillis, Webhook,
    WebhookId,
};
use crate::store::tests as stores;
use crate::store::{Accepted, Finish, NewEvent, Options, Requeued, WriteError, Written};

/// Who asked for what.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Post {
        post: usize,
        altered: bool,
    },
    Finish {
        hook: usize,
        entry: QueueEntry,
        serial: u64,
        next: Next,
    },
    Requeue {
        hook: usize,
        event: Position,
    },
    Cancel {
        hook: usize,
        entries: Vec<QueueEntry>,
        reason: EndReason,
        reserved: bool,
    },
    Put {
        hook: usize,
        now: Registered,
    },
    Remove {
        hook: usize,
    },
    /// The job's next step, which queues these.
    StepJob {
        picks: Vec<(usize, Position)>,
    },
    Delete,
}

/// The store's answer.
#[derive(Debug)]
pub(super) enum Answer {
    Accepted(Accepted),
    Written(Written),
    Requeued(Requeued),
    Count(u32),
    Job(Option<Job>),
}

type Answering = Pin<Box<dyn Future<Output = Result<Answer, WriteError>>>>;

/// A call that has not been answered.
pub(super) struct Request {
    pub(super) asked: Asked,
    answering: Answering,
}

pub(super) fn options(segment_bytes_max: u64, commit_queue_max: usize) -> Options {
    Options {
        segment_bytes_max,
        commit_queue_max,
        ..stores::options(Path::new("/model"))
    }
}

pub(super) fn webhook(id: WebhookId, registered: Registered) -> Webhook {
    Webhook {
        version: registered.version,
        active: registered.active,
        name: None,
        staged_secret: None,
        old_secret: None,
        format: None,
        filter: None,
        headers: Vec::new(),
        retry: None,
        inactive: None,
        ..stores::webhook(id.0)
    }
}

impl World {
    /// Asks the store, and sees to it that the committer works.
    pub(super) fn ask(&mut self, asked: Asked) {
        let answering = self.call(&asked);
        let mut request = Request { asked, answering };
        match poll(&mut request) {
            Poll::Ready(answer) => self.answered(request.asked, answer),
            Poll::Pending => self.requests.push_back(request),
        }
        self.plan_step();
    }

    fn call(&self, asked: &Asked) -> Answering {
        let writer = self.store().writer.clone();
        match asked.clone() {
            Asked::Post { post, altered } => {
                let new = self.new_event(post, altered);
                Box::pin(async move { writer.accept(new).await.map(Answer::Accepted) })
            }
            Asked::Finish {
                hook,
                entry,
                serial,
                next,
            } => {
                let mut attempt = stores::attempt(200);
                attempt.started_at = UnixMillis(serial);
                let webhook = self.ids[hook];
                let finish = Finish {
                    webhook,
                    entry,
                    attempt,
                    next,
                };
                Box::pin(async move { writer.finish(finish).await.map(Answer::Written) })
            }
            Asked::Requeue { hook, event } => {
                let id = self.ids[hook];
                Box::pin(async move { writer.requeue(id, event).await.map(Answer::Requeued) })
            }
            Asked::Cancel {
                hook,
                entries,
                reason,
                ..
            } => {
                let id = self.ids[hook];
                Box::pin(async move {
                    let count = writer.cancel(id, entries, reason).await;
                    count.map(Answer::Count)
                })
            }
            Asked::Put { hook, now } => {
                let put = webhook(self.ids[hook], now);
                let expected = self.told.hooks[hook].map(|told| told.version);
                Box::pin(async move {
                    let written = writer.put_webhook(put, expected).await;
                    written.map(Answer::Written)
                })
            }
            Asked::Remove { hook } => {
                let id = self.ids[hook];
                let version = self.told.hooks[hook].unwrap().version;
                Box::pin(async move {
                    let written = writer.remove_webhook(id, version).await;
                    written.map(Answer::Written)
                })
            }
            Asked::StepJob { picks } => {
                let step = self.job_step(&picks);
                Box::pin(async move { writer.step_job(step).await.map(Answer::Job) })
            }
            Asked::Delete => {
                let backlog = self.store().reader.backlog().segments;
                let last = backlog[self.deletes_to(backlog.len())].segment.number;
                Box::pin(async move { writer.delete_through(last).await.map(Answer::Count) })
            }
        }
    }

    fn deletes_to(&self, segments: usize) -> usize {
        usize::try_from(self.scheduled).unwrap() % segments
    }

    fn new_event(&self, post: usize, altered: bool) -> NewEvent {
        let post = &self.told.posts[post];
        let mut data = post.data.clone();
        if altered {
            data.insert(0, ' ');
        }
        let event = Event {
            metadata: None,
            ..stores::event(&post.id, &data)
        };
        NewEvent {
            event: Arc::new(event),
            client_id: true,
            with_time: true,
            webhooks: post.wanted.iter().map(|hook| self.ids[*hook]).collect(),
        }
    }

    /// Looks which calls are answered. Requests to send again come first and deletions last, as with the committer.
    pub(super) fn take_answers(&mut self) {
        let mut answers = Vec::new();
        let mut waiting = std::collections::VecDeque::new();
        for mut request in std::mem::take(&mut self.requests) {
            match poll(&mut request) {
                Poll::Ready(answer) => answers.push((request.asked, answer)),
                Poll::Pending => waiting.push_back(request),
            }
        }
        self.requests = waiting;
        answers.sort_by_key(|(asked, _)| match asked {
            Asked::Requeue { .. } => 0,
            Asked::Delete => 2,
            _ => 1,
        });
        for (asked, answer) in answers {
            self.answered(asked, answer);
        }
    }

    fn answered(&mut self, asked: Asked, answer: Result<Answer, WriteError>) {
        let answer = match answer {
            Ok(answer) => answer,
            // Nothing was written, and the client knows.
            Err(WriteError::Busy) => return,
            Err(WriteError::DiskReserve) => return self.refused(asked),
            Err(_) => {
                self.doubts.push(asked);
                return;
            }
        };
        self.figures.answers += 1;
        match (asked, answer) {
            (Asked::Post { post, altered }, Answer::Accepted(accepted)) => {
                self.accepted(post, altered, accepted);
            }
            (
                Asked::Finish {
                    hook,
                    entry,
                    serial,
                    next,
                },
                Answer::Written(written),
            ) => self.finished(hook, entry, (serial, next), written),
            (Asked::Requeue { hook, event }, Answer::Requeued(requeued)) => {
                self.requeued(hook, event, requeued);
            }
            (
                Asked::Cancel {
                    hook,
                    entries,
                    reason,
                    reserved,
                },
                Answer::Count(count),
            ) => self.cancelled(hook, &entries, reason, (count, reserved)),
            (Asked::Put { hook, now }, Answer::Written(written)) => {
                self.hooks[hook].changing = false;
                assert_eq!(written, Written::Done, "a webhook's version is not as told");
                self.told.hooks[hook] = Some(now);
                self.soon(Happening::Changed { hook });
            }
            (Asked::Remove { hook }, Answer::Written(written)) => {
                self.hooks[hook].changing = false;
                assert_eq!(written, Written::Done, "a webhook's version is not as told");
                self.told.hooks[hook] = None;
                self.soon(Happening::Changed { hook });
            }
            (Asked::StepJob { picks }, Answer::Job(job)) => self.job_stepped(&picks, job),
            (Asked::Delete, Answer::Count(deleted)) => {
                self.figures.deleted += u64::from(deleted);
                let (oldest, _) = self.bounds();
                self.told.forget_before(oldest);
            }
            (asked, answer) => panic!("{asked:?} was answered with {answer:?}"),
        }
    }

    /// The disk is full: nothing was written, and whoever asked tries again, or lets it be.
    fn refused(&mut self, asked: Asked) {
        match asked {
            Asked::Post { .. } | Asked::StepJob { .. } | Asked::Delete => {}
            Asked::Put { hook, .. } => {
                self.hooks[hook].changing = false;
                self.at(1_000, Happening::Toggle { hook });
            }
            Asked::Remove { hook } => {
                self.hooks[hook].changing = false;
                self.at(1_000, Happening::Remove { hook });
            }
            Asked::Requeue { hook, event } => {
                let entry = None;
                self.soon(Happening::Release { hook, event, entry });
            }
            Asked::Cancel {
                hook,
                entries,
                reserved,
                ..
            } => {
                for entry in entries.iter().filter(|_| reserved) {
                    let (event, entry) = (entry.event, None);
                    self.soon(Happening::Release { hook, event, entry });
                }
            }
            // It waits for room, until the process is stopped.
            Asked::Finish { .. } => {
                assert!(self.store().stopped, "an outcome was refused");
                self.doubts.push(asked);
            }
        }
    }

    /// The journal's first segment and its last.
    pub(super) fn bounds(&self) -> (u32, u32) {
        let segments = self.store().reader.backlog().segments;
        let (first, last) = (segments.first().unwrap(), segments.last().unwrap());
        (first.segment.number, last.segment.number)
    }

    fn accepted(&mut self, post: usize, altered: bool, accepted: Accepted) {
        let before = self.told.posts[post].at;
        match accepted {
            Accepted::New {
                event,
                due,
                webhooks,
            } => {
                let remembered = before.is_some_and(|at| event.segment - at.segment <= 32);
                assert!(!remembered, "an id at {before:?} was taken again: {event}");
                let got: Vec<usize> = webhooks.iter().map(|id| self.hook(*id)).collect();
                let mut wanted = self.told.posts[post].wanted.clone();
                wanted.retain(|hook| self.told.hooks[*hook].is_some());
                wanted.sort_by_key(|hook| self.ids[*hook]);
                assert_eq!(got, wanted, "who gets an event");
                if altered {
                    self.told.posts[post].data.insert(0, ' ');
                }
                self.told.accept(post, event, due, &got);
                for hook in got {
                    self.hint(hook, event, due);
                }
            }
            Accepted::Duplicate { event, .. } => {
                assert_eq!(Some(event), before, "a duplicate of what is not there");
                assert!(!altered);
                self.figures.duplicates += 1;
            }
            Accepted::Conflict => assert!(altered && before.is_some()),
        }
    }

    fn hint(&mut self, hook: usize, event: Position, due: SteadyMillis) {
        let entry = QueueEntry {
            due,
            event,
            attempts: 0,
            run_attempts: 0,
            trigger: crate::model::Trigger::Schedule,
            not_before: SteadyMillis(0),
        };
        if self.rng.chance(90) {
            self.soon(Happening::Hint { hook, entry });
        } else {
            self.soon(Happening::Woken { hook, from: due });
        }
    }

    fn finished(
        &mut self,
        hook: usize,
        entry: QueueEntry,
        (serial, next): (u64, Next),
        written: Written,
    ) {
        let (due, event) = (entry.due, entry.event);
        let done = written == Written::Done;
        self.under_way -= 1;
        if done {
            self.figures.recorded += 1;
            let change = Change::Finish { due, serial, next };
            self.told.change(hook, event, &change);
        } else {
            self.figures.stale += 1;
            assert!(
                self.may_be_stale(hook, &entry),
                "an attempt is stale: {entry:?}"
            );
            let from = SteadyMillis(0);
            self.soon(Happening::Woken { hook, from });
        }
        let queued = self.told_entry(hook, event).filter(|_| done);
        let verdict = match (done, next) {
            (false, _) => Verdict::Neutral,
            (true, Next::Delivered) => Verdict::Success,
            (true, Next::RetryAt(_) | Next::RetryInPlace(_) | Next::Probed | Next::Failed(_)) => {
                Verdict::Failure
            }
        };
        if verdict == Verdict::Failure && self.rng.chance(10) {
            self.soon(Happening::Pause { hook });
        }
        let report = Report { queued, verdict };
        self.soon(Happening::Finished {
            hook,
            event,
            report,
        });
    }

    fn requeued(&mut self, hook: usize, event: Position, requeued: Requeued) {
        let entry = match requeued {
            Requeued::Now { entry } => {
                self.figures.requeued += 1;
                let change = Change::Requeue { due: entry.due };
                self.told.change(hook, event, &change);
                assert_eq!(self.told_entry(hook, event), Some(entry));
                Some(entry)
            }
            Requeued::Unclear => panic!("nothing is damaged here"),
            Requeued::NotFound => {
                let there = self.told.deliveries.contains_key(&(hook, event));
                assert!(!there || self.told.hooks[hook].is_none(), "{event} is lost");
                None
            }
        };
        let entry = entry.filter(|_| self.rng.chance(80));
        self.soon(Happening::Release { hook, event, entry });
    }

    fn cancelled(
        &mut self,
        hook: usize,
        entries: &[QueueEntry],
        reason: EndReason,
        (count, reserved): (u32, bool),
    ) {
        self.figures.cancelled += u64::from(count);
        // Of a removed webhook the store itself ends them meanwhile; the end of the run tells which way.
        if self.told.hooks[hook].is_some() {
            let mut ended = 0;
            for entry in entries {
                let told = self.told_entry(hook, entry.event).map(|told| told.due);
                if told == Some(entry.due) {
                    let due = entry.due;
                    let change = Change::Cancel { due, reason };
                    self.told.change(hook, entry.event, &change);
                    ended += 1;
                }
            }
            assert_eq!(count, ended, "cancelled of {entries:?}");
        }
        if reserved {
            let (event, entry) = (entries[0].event, None);
            self.soon(Happening::Release { hook, event, entry });
        }
    }

    /// The queue's entry of a delivery as it was told.
    pub(super) fn told_entry(&self, hook: usize, event: Position) -> Option<QueueEntry> {
        self.told.deliveries.get(&(hook, event))?.entry(event)
    }

    /// Whether a delivery may have been ended behind the scheduler's back.
    pub(super) fn may_be_stale(&self, hook: usize, entry: &QueueEntry) -> bool {
        let ended = self.told_entry(hook, entry.event).map(|told| told.due) != Some(entry.due);
        self.told.hooks[hook].is_none() || (ended && self.expired.contains(&(hook, entry.event)))
    }

    /// An attempt ended: what follows is decided and to be recorded.
    pub(super) fn record(&mut self, hook: usize, entry: QueueEntry, outcome: &Outcome) {
        let policy = &self.hooks[hook].hook.policy;
        let salt = entry.event.to_u64();
        let now = self.steady();
        let next = crate::model::after(outcome, entry.run_attempts + 1, policy, now, salt);
        self.serials += 1;
        let serial = self.serials;
        self.ask(Asked::Finish {
            hook,
            entry,
            serial,
            next,
        });
    }
}

fn poll(request: &mut Request) -> Poll<Result<Answer, WriteError>> {
    let mut context = Context::from_waker(Waker::noop());
    request.answering.as_mut().poll(&mut context)
}
