//! What the store has told its callers, and what of it must be so after a crash.
//!
//! What was acknowledged must be there, exactly. What was asked for and not answered when the process ended may
//! have been done or not, each part of it whole; after that look it is settled for good.

use std::collections::BTreeMap;

use crate::model::{EndReason, Next, Position, QueueEntry, SteadyMillis, Trigger, WebhookId};

/// Where a delivery stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Pending {
        due: SteadyMillis,
        run_attempts: u32,
        trigger: Trigger,
        not_before: SteadyMillis,
    },
    Delivered,
    Ended(EndReason),
}

/// A delivery's life so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) state: State,
    /// Each recorded attempt, by the number that its making got in the simulation.
    pub(super) attempts: Vec<u64>,
}

/// What was asked for a delivery.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Finish {
        due: SteadyMillis,
        serial: u64,
        next: Next,
    },
    /// `due` is known from the answer; without one, from what is found.
    Requeue { due: SteadyMillis },
    /// A job queued it again.
    Replay { due: SteadyMillis },
    Cancel {
        due: SteadyMillis,
        reason: EndReason,
    },
}

impl Delivery {
    pub(super) const fn new(due: SteadyMillis) -> Self {
        let state = State::Pending {
            due,
            run_attempts: 0,
            trigger: Trigger::Schedule,
            not_before: SteadyMillis(0),
        };
        let attempts = Vec::new();
        Self { state, attempts }
    }

    /// The delivery after `change`; `None`: the change is stale.
    pub(super) fn after(&self, change: &Change) -> Option<Self> {
        let mut changed = self.clone();
        match change {
            Change::Finish { due, serial, next } => {
                let run_attempts = self.run_if_due(*due)?;
                changed.attempts.push(*serial);
                changed.state = match next {
                    Next::Delivered => State::Delivered,
                    Next::Failed(reason) => State::Ended(*reason),
                    Next::RetryAt(due) => State::Pending {
                        due: *due,
                        run_attempts: run_attempts + 1,
                        trigger: Trigger::Schedule,
                        not_before: SteadyMillis(0),
                    },
                    // No webhook of the simulation has an order, and none is probed.
                    Next::RetryInPlace(_) | Next::Probed => return None,
                };
            }
            Change::Requeue { due } => {
                let run_attempts = match self.state {
                    State::Pending { run_attempts, .. } => run_attempts,
                    _ => 0,
                };
                changed.state = State::Pending {
                    due: *due,
                    run_attempts,
                    trigger: Trigger::Manual,
                    not_before: SteadyMillis(0),
                };
            }
            Change::Replay { due } => {
                if matches!(self.state, State::Pending { .. }) {
                    return None;
                }
                changed.state = State::Pending {
                    due: *due,
                    run_attempts: 0,
                    trigger: Trigger::Replay,
                    not_before: SteadyMillis(0),
                };
            }
            Change::Cancel { due, reason } => {
                self.run_if_due(*due)?;
                changed.state = State::Ended(*reason);
            }
        }
        Some(changed)
    }

    fn run_if_due(&self, at: SteadyMillis) -> Option<u32> {
        match self.state {
            State::Pending {
                due, run_attempts, ..
            } if due == at => Some(run_attempts),
            _ => None,
        }
    }

    /// The queue's entry for it, if it is pending.
    pub(super) fn entry(&self, event: Position) -> Option<QueueEntry> {
        match self.state {
            State::Pending {
                due,
                run_attempts,
                trigger,
                not_before,
            } => Some(QueueEntry {
                due,
                event,
                attempts: u32::try_from(self.attempts.len()).unwrap(),
                run_attempts,
                trigger,
                not_before,
            }),
            _ => None,
        }
    }

    /// Everything that it can be after any of `changes`, in any order, were made.
    pub(super) fn after_any(&self, changes: &[Change]) -> Vec<Self> {
        let mut all = vec![self.clone()];
        for (at, change) in changes.iter().enumerate() {
            if let Some(after) = self.after(change) {
                let mut rest = changes.to_vec();
                rest.remove(at);
                all.extend(after.after_any(&rest));
            }
        }
        all
    }
}

/// A registered webhook as the store told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) version: u64,
    pub(super) active: bool,
}

/// Something that a client posts, perhaps more than once.
#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) id: String,
    pub(super) data: String,
    /// The hooks that are to get it.
    pub(super) wanted: Vec<usize>,
    /// The latest event made of it.
    pub(super) at: Option<Position>,
}

/// See the module's description.
pub(super) struct Told {
    pub(super) posts: Vec<Post>,
    /// Which post an event was made of.
    pub(super) events: BTreeMap<Position, usize>,
    pub(super) deliveries: BTreeMap<(usize, Position), Delivery>,
    /// `None`: removed.
    pub(super) hooks: Vec<Option<Registered>>,
    /// Where the journal ended, and the time of its last record.
    pub(super) end: Position,
    pub(super) steady: SteadyMillis,
}

impl Told {
    pub(super) fn new(hooks: usize) -> Self {
        Self {
            posts: Vec::new(),
            events: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            hooks: vec![None; hooks],
            end: Position::from_u64(0),
            steady: SteadyMillis(0),
        }
    }

    /// An event was stored.
    pub(super) fn accept(&mut self, post: usize, at: Position, due: SteadyMillis, to: &[usize]) {
        self.posts[post].at = Some(at);
        assert_eq!(self.events.insert(at, post), None, "two events at {at}");
        for hook in to {
            let delivery = Delivery::new(due);
            self.deliveries.insert((*hook, at), delivery);
        }
    }

    /// A change was acknowledged.
    pub(super) fn change(&mut self, hook: usize, event: Position, change: &Change) {
        let delivery = self.deliveries.get_mut(&(hook, event)).unwrap();
        *delivery = delivery
            .after(change)
            .unwrap_or_else(|| panic!("{change:?} was done to {delivery:?} of {event}"));
    }

    /// The journal now begins with this segment: whatever is gone must have ended.
    pub(super) fn forget_before(&mut self, oldest: u32) {
        let kept = Position {
            segment: oldest,
            offset: 0,
        };
        let hooks = &self.hooks;
        self.deliveries.retain(|(hook, event), delivery| {
            let gone = *event < kept;
            let pending = matches!(delivery.state, State::Pending { .. });
            assert!(
                !(gone && pending && hooks[*hook].is_some()),
                "what was acknowledged is lost: {event}, deleted while pending: {delivery:?}"
            );
            !gone
        });
        self.events = self.events.split_off(&kept);
        for post in &mut self.posts {
            post.at = post.at.filter(|at| *at >= kept);
        }
    }
}

/// One of the simulation's webhooks, by its id.
pub(super) fn index_of(ids: &[WebhookId], id: WebhookId) -> usize {
    ids.iter().position(|one| *one == id).unwrap()
}
