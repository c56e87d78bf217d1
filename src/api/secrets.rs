//! Replacing a webhook's secret: `POST /api/v1/webhooks/{id}/secret/rotate`, and so on.
//!
//! A profile rotates by overlap (`rotate`: both secrets sign until the old one expires) or staged (`stage`,
//! then `promote`, or `abort`; `rollback` takes the old secret back). A new secret is in the answer that makes
//! it and in no other; no log line has one.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use crate::engine::KEEP_OLD_MS;
use crate::model::{
    AuditAction, RotationError, Scope, Secret, UnixMillis, Webhook, parse_duration,
};
use crate::profile::{Profile, Rotation};

use super::Api;
use super::access::Caller;
use super::error::Problem;
use super::fields::Fields;
use super::input::Unread;
use super::openapi::shapes;
use super::page::{Named, json_answer};
use super::webhooks::{find, refuse_declared, show_whole};

/// The bounds of how long the old secret is kept: below a minute attempts under way would be refused, and beyond a month it is no rotation.
const KEEP_OLD_MIN_MS: u64 = 60 * 1000;
const KEEP_OLD_MAX_MS: u64 = 30 * 24 * 3600 * 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Rotate,
    Stage,
    Promote,
    Abort,
    Rollback,
}

impl Verb {
    /// The fields that its body may have.
    const fn fields(self) -> &'static str {
        match self {
            Self::Rotate => "secret, keep_old",
            Self::Stage => "secret",
            Self::Promote => "keep_old",
            Self::Abort | Self::Rollback => "none",
        }
    }

    const fn action(self) -> AuditAction {
        match self {
            Self::Rotate => AuditAction::SecretRotated,
            Self::Stage => AuditAction::SecretStaged,
            Self::Promote => AuditAction::SecretPromoted,
            Self::Abort => AuditAction::SecretAborted,
            Self::Rollback => AuditAction::SecretRolledBack,
        }
    }

    const fn past(self) -> &'static str {
        match self {
            Self::Rotate => "secret rotated",
            Self::Stage => "secret staged",
            Self::Promote => "staged secret promoted",
            Self::Abort => "staged secret dropped",
            Self::Rollback => "secret rolled back",
        }
    }
}

type Kept = State<Arc<Api>>;

/// `POST /api/v1/webhooks/{id}/secret/rotate`
pub(super) async fn rotate(
    api: Kept,
    caller: Caller,
    id: Named<String>,
    body: Unread,
) -> Result<Response, Problem> {
    turn(Verb::Rotate, api, caller, id, body).await
}

/// `POST /api/v1/webhooks/{id}/secret/stage`
pub(super) async fn stage(
    api: Kept,
    caller: Caller,
    id: Named<String>,
    body: Unread,
) -> Result<Response, Problem> {
    turn(Verb::Stage, api, caller, id, body).await
}

/// `POST /api/v1/webhooks/{id}/secret/promote`
pub(super) async fn promote(
    api: Kept,
    caller: Caller,
    id: Named<String>,
    body: Unread,
) -> Result<Response, Problem> {
    turn(Verb::Promote, api, caller, id, body).await
}

/// `POST /api/v1/webhooks/{id}/secret/abort`
pub(super) async fn abort(
    api: Kept,
    caller: Caller,
    id: Named<String>,
    body: Unread,
) -> Result<Response, Problem> {
    turn(Verb::Abort, api, caller, id, body).await
}

/// `POST /api/v1/webhooks/{id}/secret/rollback`
pub(super) async fn rollback(
    api: Kept,
    caller: Caller,
    id: Named<String>,
    body: Unread,
) -> Result<Response, Problem> {
    turn(Verb::Rollback, api, caller, id, body).await
}

async fn turn(
    verb: Verb,
    State(api): Kept,
    caller: Caller,
    Named(id): Named<String>,
    body: Unread,
) -> Result<Response, Problem> {
    let text = body.read(&api, &caller, Scope::Admin).await?;
    let live = find(&api, caller.account(), &id)?;
    refuse_declared(&live.webhook)?;
    let profile = &live.contract.profile;
    check_offered(verb, profile)?;
    let now = api.engine.clock().wall();
    let mut webhook = live.webhook.clone();
    webhook.forget_expired_secret(now);
    let new = apply(verb, text.as_str(), &mut webhook, profile, now)?;
    webhook.updated_at = now;
    let entry = caller.does_to(verb.action(), webhook.id);
    let live = api.engine.change_webhook(webhook, Some(entry)).await?;
    tracing::info!(webhook_id = %live.webhook.id, account = %caller.account(), key = caller.key_name(),
        peer = caller.peer().map(tracing::field::display), "{}", verb.past());
    let mut shown = show_whole(&api.engine, &live, now);
    if let Some(secret) = new {
        shown.insert("secret".to_owned(), json!(secret.expose()));
        let public = live.contract.profile.secret.public_key(&secret);
        if verb == Verb::Stage && public.is_some() {
            shown.insert("staged_public_key".to_owned(), json!(public));
        }
    }
    Ok(json_answer(StatusCode::OK, &Value::Object(shown)))
}

/// Which verbs a profile's rotation has; what was staged or replaced before the profile changed can still be
/// dropped or taken back.
fn check_offered(verb: Verb, profile: &Profile) -> Result<(), Problem> {
    let conflict = |code, detail: String| Err(Problem::new(StatusCode::CONFLICT, code, detail));
    if profile.signatures.is_empty() {
        let detail = format!(
            "the profile `{}` signs nothing, so there is no secret",
            profile.name
        );
        return conflict("nothing_signed", detail);
    }
    let instead = match (verb, profile.secret.rotation) {
        (Verb::Stage | Verb::Promote | Verb::Rollback, Rotation::Overlap) => {
            "both secrets sign for a while: use POST …/secret/rotate"
        }
        (Verb::Rotate, Rotation::Staged) => {
            "its receivers know one signature at a time: use POST …/secret/stage, and when they have \
             the new secret POST …/secret/promote"
        }
        _ => return Ok(()),
    };
    let detail = format!("with the profile `{}` {instead}", profile.name);
    conflict("rotation_not_offered", detail)
}

/// The body of `rotate`, `stage` and `promote`, in this order.
pub(super) fn schemas() -> [Value; 3] {
    let secret = || {
        let means = "A secret of your own, in the form that the profile's receivers know; without one, or with null, \
                     one is made.";
        ("secret", shapes::or_null(shapes::text(means)))
    };
    let keep_old = || {
        let means = "How long the old secret is kept, from `1m` to `30d`.";
        let kept = shapes::such_as(
            shapes::text_like("^[0-9]+(ms|s|m|h|d)$", means),
            json!("24h"),
        );
        (
            "keep_old",
            shapes::by_default(shapes::or_null(kept), json!("24h")),
        )
    };
    [
        shapes::given(&[], vec![secret(), keep_old()], "How a secret is replaced."),
        shapes::given(&[], vec![secret()], "The secret to stage."),
        shapes::given(&[], vec![keep_old()], "How a staged secret is promoted."),
    ]
}

/// Makes the move. Gives the secret that is new with it.
fn apply(
    verb: Verb,
    text: &str,
    webhook: &mut Webhook,
    profile: &Profile,
    now: UnixMillis,
) -> Result<Option<Secret>, Problem> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let mut fields = Fields::parse(text)?;
    let made = match verb {
        Verb::Rotate => {
            let new = new_secret(&mut fields, webhook, profile);
            let until = keep_old(&mut fields, now);
            fields.finish(verb.fields())?;
            let (new, until) = both(new, until)?;
            webhook.rotate_secret(new.clone(), until);
            return Ok(Some(new));
        }
        Verb::Stage => {
            let new = new_secret(&mut fields, webhook, profile);
            fields.finish(verb.fields())?;
            let (new, ()) = both(new, Some(()))?;
            webhook.stage_secret(new.clone()).map_err(refused)?;
            return Ok(Some(new));
        }
        Verb::Promote => {
            let until = keep_old(&mut fields, now);
            fields.finish(verb.fields())?;
            let ((), until) = both(Some(()), until)?;
            check_fits(webhook.staged_secret.as_ref(), profile)?;
            webhook.promote_secret(until)
        }
        Verb::Abort => {
            fields.finish(verb.fields())?;
            webhook.abort_secret()
        }
        Verb::Rollback => {
            fields.finish(verb.fields())?;
            check_fits(webhook.old_secret.as_ref().map(|old| &old.secret), profile)?;
            webhook.roll_back_secret(now)
        }
    };
    made.map_err(refused)?;
    Ok(None)
}

/// A secret that was stored while the profile had another form of keys could sign nothing.
fn check_fits(secret: Option<&Secret>, profile: &Profile) -> Result<(), Problem> {
    let Some(Err(error)) = secret.map(|secret| profile.secret.check(secret.expose())) else {
        return Ok(());
    };
    let detail = format!(
        "the profile has changed since this secret was stored: {error}; nothing was changed; \
         abort a staged secret and stage another one"
    );
    let code = "secret_unfit";
    Err(Problem::new(StatusCode::CONFLICT, code, detail))
}

fn both<A, B>(one: Option<A>, other: Option<B>) -> Result<(A, B), Problem> {
    one.zip(other)
        .ok_or_else(|| Problem::internal(&"a field was refused without a word"))
}

fn refused(error: RotationError) -> Problem {
    Problem::new(StatusCode::CONFLICT, error.code(), error.to_string())
}

/// The secret that is given, or a new one; `None` where it was refused.
fn new_secret(fields: &mut Fields<'_>, webhook: &Webhook, profile: &Profile) -> Option<Secret> {
    let given = fields.has("secret");
    let text = fields.nullable::<String>("secret", "a string");
    if given && text.is_none() {
        return None;
    }
    let made = match text.flatten() {
        Some(text) => profile.secret.check(&text),
        None => profile.secret.generate(),
    };
    match made {
        Ok(new) if webhook.secret.as_ref() == Some(&new) => {
            let detail =
                "is the secret that signs already; give another one, or none to have one made";
            fields.refuse_as("secret_invalid", "secret", detail);
            None
        }
        Ok(new) => Some(new),
        Err(error) => {
            fields.refuse_as("secret_invalid", "secret", error.to_string());
            None
        }
    }
}

/// Until when the old secret is kept; `None` where `keep_old` was refused.
fn keep_old(fields: &mut Fields<'_>, now: UnixMillis) -> Option<UnixMillis> {
    let given = fields.has("keep_old");
    let text = fields.nullable::<String>("keep_old", "a duration such as \"24h\"");
    let keep_ms = match text {
        None if given => return None,
        None | Some(None) => KEEP_OLD_MS,
        Some(Some(text)) => match parse_duration(&text) {
            Ok(keep) => u64::try_from(keep.as_millis()).unwrap_or(u64::MAX),
            Err(error) => {
                fields.refuse("keep_old", error.to_string());
                return None;
            }
        },
    };
    if !(KEEP_OLD_MIN_MS..=KEEP_OLD_MAX_MS).contains(&keep_ms) {
        fields.refuse("keep_old", "must be from 1m to 30d");
        return None;
    }
    Some(UnixMillis(now.0.saturating_add(keep_ms)))
}
