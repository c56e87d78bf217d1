//! What a person names: a webhook by its id, the beginning of it or its name, an event by the beginning of its id.
//!
//! A short name must be the only one of its kind among what was looked at; it is never guessed.

use std::collections::HashMap;

use http::{Method, StatusCode};
use serde_json::Value;

use super::PageOptions;
use super::fault::{Done, Fault};
use super::session::{Session, text};
use crate::model::near;
use crate::model::{EventId, JobId, WebhookId};

/// An account has at most so many webhooks, about; jobs are far fewer.
const LOOKED_AT_MAX: u32 = 10_000;
/// The beginning of an event's id is looked for among so many, the newest; of a webhook, or of the account, whose pages
/// hold the events' data as well.
const DELIVERIES_LOOKED_AT_MAX: u32 = 2_000;
const EVENTS_LOOKED_AT_MAX: u32 = 600;
/// Of several that are meant, so many are named.
const NAMED_MAX: usize = 5;

/// What was typed, without the mark of a table that has cut it.
fn typed(given: &str) -> &str {
    given.trim().trim_end_matches('…')
}

impl Session<'_> {
    /// All webhooks of the account, oldest first.
    pub(super) async fn webhooks(&mut self) -> Done<Vec<Value>> {
        let page = PageOptions {
            limit: LOOKED_AT_MAX,
            cursor: None,
        };
        Ok(self.list("/api/v1/webhooks", &[], &page).await?.rows)
    }

    /// What webhooks are called, by their ids.
    pub(super) async fn webhook_names(&mut self) -> Done<HashMap<String, String>> {
        let webhooks = self.webhooks().await?;
        Ok(webhooks
            .iter()
            .map(|webhook| (text(webhook, "id").to_owned(), called(webhook).to_owned()))
            .collect())
    }

    /// The id of the webhook that is meant.
    pub(super) async fn webhook_id(&mut self, given: &str) -> Done<String> {
        if given.parse::<WebhookId>().is_ok() {
            return Ok(given.to_owned());
        }
        let webhooks = self.webhooks().await?;
        choose_webhook(&webhooks, typed(given))
    }

    /// The id of the webhook that is meant; of the only one where none is named.
    pub(super) async fn webhook_id_or_only(&mut self, given: Option<&str>) -> Done<String> {
        if let Some(given) = given {
            return self.webhook_id(given).await;
        }
        let webhooks = self.webhooks().await?;
        match webhooks.as_slice() {
            [only] => Ok(text(only, "id").to_owned()),
            [] => Err(Fault::new("not_found", "there is no webhook yet")
                .hint("`hookwheel webhook add URL` registers one")),
            many => {
                let names: Vec<&str> = many.iter().map(called).take(NAMED_MAX).collect();
                let more = if many.len() > NAMED_MAX { ", …" } else { "" };
                let detail = format!(
                    "which of the {} webhooks? {}{more}",
                    many.len(),
                    names.join(", ")
                );
                Err(Fault::usage("webhook_missing", detail))
            }
        }
    }

    /// The id of the event that is meant; with a webhook it is looked for among its deliveries.
    pub(super) async fn event_id(&mut self, given: &str, webhook: Option<&str>) -> Done<String> {
        let given = typed(given);
        if EventId::new(given).is_err() {
            return Err(Fault::usage(
                "not_found",
                format!("`{given}` cannot be an event's id"),
            ));
        }
        let is_whole = given
            .strip_prefix("evt_")
            .is_some_and(|digits| digits.len() == 32);
        if is_whole {
            return Ok(given.to_owned());
        }
        let path = match webhook {
            Some(webhook) => format!("/api/v1/webhooks/{webhook}/deliveries/{given}?limit=1"),
            None => format!("/api/v1/events/{given}"),
        };
        let answer = self.ask(Method::GET, &path, String::new()).await?;
        match answer.status {
            StatusCode::NOT_FOUND => {}
            status if status.is_success() => return Ok(given.to_owned()),
            _ => return Err(self.refused(&answer)),
        }
        let (path, member, limit) = match webhook {
            Some(webhook) => (
                format!("/api/v1/webhooks/{webhook}/deliveries"),
                "event_id",
                DELIVERIES_LOOKED_AT_MAX,
            ),
            None => ("/api/v1/events".to_owned(), "id", EVENTS_LOOKED_AT_MAX),
        };
        let page = PageOptions {
            limit,
            cursor: None,
        };
        let listed = self.list(&path, &[], &page).await?;
        let ids = listed.rows.iter().map(|row| text(row, member));
        let found = choose(given, "evt_", ids, "event")?;
        found.ok_or_else(|| {
            let among = match listed.next {
                Some(_) => format!(" among the newest {limit}"),
                None => String::new(),
            };
            Fault::new("not_found", format!("there is no event `{given}`{among}"))
        })
    }

    /// The id of the job that is meant.
    pub(super) async fn job_id(&mut self, given: &str) -> Done<String> {
        let given = typed(given);
        if given.parse::<JobId>().is_ok() {
            return Ok(given.to_owned());
        }
        let page = PageOptions {
            limit: LOOKED_AT_MAX,
            cursor: None,
        };
        let jobs = self.list("/api/v1/jobs", &[], &page).await?.rows;
        let found = choose(given, "job_", jobs.iter().map(|job| text(job, "id")), "job")?;
        found.ok_or_else(|| {
            Fault::new("not_found", format!("there is no job `{given}`"))
                .hint("`hookwheel job list` shows them")
        })
    }
}

/// A webhook's name, or its id where it has none.
pub(super) fn called(webhook: &Value) -> &str {
    match text(webhook, "name") {
        "" => text(webhook, "id"),
        name => name,
    }
}

/// The one id that begins so, with the prefix of its kind or without.
fn choose<'i>(
    given: &str,
    prefix: &str,
    ids: impl Iterator<Item = &'i str>,
    kind: &str,
) -> Done<Option<String>> {
    let given = given.to_ascii_lowercase();
    let fits = |id: &&str| {
        let id = id.to_ascii_lowercase();
        !given.is_empty()
            && (id.starts_with(&given)
                || id
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with(&given)))
    };
    let found: Vec<&str> = ids.filter(fits).collect();
    match found.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some((*only).to_owned())),
        many => {
            let named: Vec<&str> = many.iter().copied().take(NAMED_MAX).collect();
            let more = if many.len() > NAMED_MAX { ", …" } else { "" };
            let detail = format!(
                "`{given}` begins {} {kind}s: {}{more}",
                many.len(),
                named.join(", ")
            );
            Err(Fault::usage("not_unique", detail).hint("write more of the id"))
        }
    }
}

fn choose_webhook(webhooks: &[Value], given: &str) -> Done<String> {
    let named: Vec<&Value> = webhooks
        .iter()
        .filter(|webhook| text(webhook, "name") == given && !given.is_empty())
        .collect();
    match named.as_slice() {
        [only] => return Ok(text(only, "id").to_owned()),
        [] => {}
        many => {
            let ids: Vec<&str> = many
                .iter()
                .map(|webhook| text(webhook, "id"))
                .take(NAMED_MAX)
                .collect();
            let detail = format!(
                "{} webhooks are named `{given}`: {}",
                many.len(),
                ids.join(", ")
            );
            return Err(Fault::usage("not_unique", detail).hint("name it by its id"));
        }
    }
    let ids = webhooks.iter().map(|webhook| text(webhook, "id"));
    if let Some(id) = choose(given, "wh_", ids, "webhook")? {
        return Ok(id);
    }
    let names = webhooks
        .iter()
        .map(|webhook| text(webhook, "name"))
        .filter(|name| !name.is_empty());
    let fault = Fault::new("not_found", format!("there is no webhook `{given}`"));
    Err(match near(given, names).first() {
        Some(name) => fault.hint(format!("did you mean `{name}`?")),
        None => fault.hint("`hookwheel webhook list` shows them"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn webhooks() -> Vec<Value> {
        vec![
            json!({ "id": "wh_0197aa", "name": "billing" }),
            json!({ "id": "wh_0197ab", "name": "ci" }),
            json!({ "id": "wh_0298cd", "name": "ci" }),
            json!({ "id": "wh_0311ee", "name": null }),
        ]
    }

    #[test]
    fn a_webhook_is_named_by_its_name_or_the_beginning_of_its_id() {
        let webhooks = webhooks();
        for (given, id) in [
            ("billing", "wh_0197aa"),
            ("wh_03", "wh_0311ee"),
            ("02", "wh_0298cd"),
            ("0197AB", "wh_0197ab"),
        ] {
            assert_eq!(choose_webhook(&webhooks, typed(given)).unwrap(), id);
            assert_eq!(
                choose_webhook(&webhooks, typed(&format!("{given}…"))).unwrap(),
                id
            );
        }
        for (given, code, exit) in [
            ("ci", "not_unique", 64),
            ("wh_0197", "not_unique", 64),
            ("", "not_found", 1),
        ] {
            let fault = choose_webhook(&webhooks, given).unwrap_err();
            assert_eq!(
                (fault.code.as_str(), fault.exit),
                (code, exit),
                "{given}: {}",
                fault.detail
            );
        }
        let fault = choose_webhook(&webhooks, "biling").unwrap_err();
        assert!(
            fault
                .to_json()
                .to_string()
                .contains("did you mean `billing`?")
        );
    }
}
