//! Replacing a webhook's secret: the moves, pure. When a secret signs is the profile's to say.
//!
//! ```text
//! overlap   secret ──rotate(new)──► secret = new, old = the one before, until it expires
//! staged    secret ──stage(new)───► staged = new ──promote──► secret = new, old = the one before
//!                                          └─────abort──► as before
//!           after a promotion: rollback ► secret = old, staged = the one that was promoted
//! ```
//!
//! Invariant: no move loses a secret that a receiver may be verifying with, but the one before the last
//! (`rotate` and `promote` keep one old secret), and a secret that somebody aborts.

use super::{OldSecret, Secret, UnixMillis, Webhook};

/// A move that is not possible as things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// A secret is staged already.
    #[error("a secret is staged already: promote it or abort it first")]
    AlreadyStaged,
    /// No secret is staged.
    #[error("no secret is staged: stage one first")]
    NothingStaged,
    /// There is no old secret, or it has expired.
    #[error("there is no old secret to go back to: none was replaced, or it has expired")]
    NothingOld,
}

impl RotationError {
    /// The stable code of the API.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::AlreadyStaged => "already_staged",
            Self::NothingStaged => "nothing_staged",
            Self::NothingOld => "nothing_to_roll_back",
        }
    }
}

impl Webhook {
    /// Puts `new` in the place of the secret, which is kept until `old_until`. A secret that was staged under
    /// another profile is dropped.
    pub fn rotate_secret(&mut self, new: Secret, old_until: UnixMillis) {
        self.staged_secret = None;
        self.replace_secret(new, old_until);
    }

    /// Keeps `new` until it is promoted.
    ///
    /// # Errors
    /// Where another one is staged; it would be lost.
    pub fn stage_secret(&mut self, new: Secret) -> Result<(), RotationError> {
        if self.staged_secret.is_some() {
            return Err(RotationError::AlreadyStaged);
        }
        self.staged_secret = Some(new);
        Ok(())
    }

    /// Puts the staged secret in the place of the present one, which is kept until `old_until`.
    ///
    /// # Errors
    /// Where none is staged.
    pub fn promote_secret(&mut self, old_until: UnixMillis) -> Result<(), RotationError> {
        let staged = self.staged_secret.take();
        let staged = staged.ok_or(RotationError::NothingStaged)?;
        self.replace_secret(staged, old_until);
        Ok(())
    }

    /// Drops the staged secret.
    ///
    /// # Errors
    /// Where none is staged.
    pub fn abort_secret(&mut self) -> Result<(), RotationError> {
        let staged = self.staged_secret.take();
        staged.map(drop).ok_or(RotationError::NothingStaged)
    }

    /// Takes the old secret back; the one that had replaced it is staged again.
    ///
    /// # Errors
    /// Where the old one has expired at `now`, or a secret is staged that would be lost.
    pub fn roll_back_secret(&mut self, now: UnixMillis) -> Result<(), RotationError> {
        self.forget_expired_secret(now);
        if self.old_secret.is_some() && self.staged_secret.is_some() {
            return Err(RotationError::AlreadyStaged);
        }
        let old = self.old_secret.take().ok_or(RotationError::NothingOld)?;
        self.staged_secret = self.secret.replace(old.secret);
        Ok(())
    }

    /// Until when the old secret is kept, if there is one at `now`.
    #[must_use]
    pub fn old_secret_until(&self, now: UnixMillis) -> Option<UnixMillis> {
        let old = self.old_secret.as_ref()?;
        (now < old.expires_at).then_some(old.expires_at)
    }

    /// Drops an old secret that has expired: each change of a webhook does.
    pub fn forget_expired_secret(&mut self, now: UnixMillis) {
        if self.old_secret_until(now).is_none() {
            self.old_secret = None;
        }
    }

    fn replace_secret(&mut self, new: Secret, old_until: UnixMillis) {
        let old = self.secret.replace(new);
        self.old_secret = old.map(|secret| OldSecret {
            secret,
            expires_at: old_until,
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{AccountName, Endpoint, WebhookId};

    fn webhook() -> Webhook {
        Webhook {
            id: WebhookId(1),
            account: AccountName::new("acme").unwrap(),
            version: 1,
            url: Endpoint::parse("https://example.com/").unwrap(),
            events: Vec::new(),
            scope: None,
            name: None,
            description: None,
            secret: Some(secret(0)),
            staged_secret: None,
            old_secret: None,
            headers: Vec::new(),
            format: None,
            filter: None,
            timeout_ms: None,
            retry: None,
            active: true,
            inactive: None,
            created_at: UnixMillis(0),
            updated_at: UnixMillis(0),
            order: crate::model::Order::None,
            tls: None,
            oauth2: None,
            declared: None,
        }
    }

    fn secret(number: u32) -> Secret {
        Secret::new(format!("secret-{number}"))
    }

    #[derive(Clone, Copy, Debug)]
    enum Move {
        Rotate(u64),
        Stage,
        Promote(u64),
        Abort,
        RollBack,
        Wait(u64),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            (1..100_u64).prop_map(Move::Rotate),
            Just(Move::Stage),
            (1..100_u64).prop_map(Move::Promote),
            Just(Move::Abort),
            Just(Move::RollBack),
            (1..100_u64).prop_map(Move::Wait),
        ];
        prop::collection::vec(one, 0..30)
    }

    /// The same by numbers: present, staged, old with its end.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    struct Plain {
        present: u32,
        staged: Option<u32>,
        old: Option<(u32, u64)>,
    }

    impl Plain {
        fn after(self, step: Move, fresh: u32, now: u64) -> Option<Self> {
            let old = self.old.filter(|(_, end)| now < *end);
            let (present, staged) = (self.present, self.staged);
            let kept = |keep: u64| Some((present, now + keep));
            Some(match step {
                Move::Rotate(keep) => Self {
                    present: fresh,
                    staged: None,
                    old: kept(keep),
                },
                Move::Stage if staged.is_none() => Self {
                    staged: Some(fresh),
                    ..self
                },
                Move::Promote(keep) => Self {
                    present: staged?,
                    staged: None,
                    old: kept(keep),
                },
                Move::Abort => staged.map(|_| Self {
                    staged: None,
                    ..self
                })?,
                Move::RollBack if staged.is_none() => Self {
                    present: old?.0,
                    staged: Some(present),
                    old: None,
                },
                Move::Stage | Move::RollBack => return None,
                Move::Wait(_) => self,
            })
        }
    }

    proptest! {
        #[test]
        fn moves_as_the_plain_model_does_and_a_refused_one_changes_no_secret(moves in moves()) {
            let (mut webhook, mut plain, mut now) = (webhook(), Plain::default(), 0);
            for (fresh, step) in (1..).zip(moves) {
                let until = |keep: u64| UnixMillis(now + keep);
                let done = match step {
                    Move::Rotate(keep) => { webhook.rotate_secret(secret(fresh), until(keep)); Ok(()) }
                    Move::Stage => webhook.stage_secret(secret(fresh)),
                    Move::Promote(keep) => webhook.promote_secret(until(keep)),
                    Move::Abort => webhook.abort_secret(),
                    Move::RollBack => webhook.roll_back_secret(UnixMillis(now)),
                    Move::Wait(ms) => { now += ms; Ok(()) }
                };
                let expected = plain.after(step, fresh, now);
                prop_assert_eq!(done.is_ok(), expected.is_some(), "{:?}", step);
                plain = expected.unwrap_or(plain);
                prop_assert_eq!(&webhook.secret, &Some(secret(plain.present)));
                prop_assert_eq!(&webhook.staged_secret, &plain.staged.map(secret));
                let old = plain.old.filter(|(_, end)| now < *end);
                let until = webhook.old_secret_until(UnixMillis(now));
                prop_assert_eq!(until, old.map(|(_, end)| UnixMillis(end)));
                if let Some((number, _)) = old {
                    let kept = webhook.old_secret.as_ref().map(|old| old.secret.clone());
                    prop_assert_eq!(kept, Some(secret(number)));
                }
            }
        }
    }

    #[test]
    fn a_webhook_without_a_secret_gets_one_and_has_nothing_to_go_back_to() {
        let mut webhook = webhook();
        webhook.secret = None;
        webhook.stage_secret(secret(1)).unwrap();
        webhook.promote_secret(UnixMillis(10)).unwrap();
        assert_eq!(webhook.secret, Some(secret(1)));
        let back = webhook.roll_back_secret(UnixMillis(1));
        assert_eq!(back, Err(RotationError::NothingOld));
    }
}
