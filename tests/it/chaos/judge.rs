//! The judgement at the end: every acknowledged event, every delivery, every request and every webhook.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use crate::client::Client;
use http::Method;
use serde_json::{Value, json};

use super::STABLE;
use super::ledger::{Books, Ledger};
use super::receiver::{Seen, Witness};
use super::traffic::all_ended;
use crate::dice::Dice;
use crate::support::{Daemon, delivery, get, post, until};

/// An attempt whose answer came this long before a kill may not have been recorded yet.
const RECORDED_WITHIN: Duration = Duration::from_secs(2);
/// A request that a killed process had sent may wait this long for the receiver to take it.
const IN_TRANSIT: Duration = Duration::from_millis(500);
/// Deliveries of which each attempt is looked at.
const LOOKED_AT: usize = 800;

/// What there was; all of it right.
#[derive(Debug)]
pub struct Verdict {
    events: usize,
    deliveries: u64,
    requests: usize,
    doubles: usize,
    retried: usize,
    webhooks: usize,
    unanswered: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events acknowledged, 0 lost; {} deliveries, {} sent again as asked; {} requests, {} of them sent twice \
             around a kill; {} webhooks as acknowledged; {} requests that a killed daemon left waiting",
            self.events,
            self.deliveries,
            self.retried,
            self.requests,
            self.doubles,
            self.webhooks,
            self.unanswered
        )
    }
}

/// Waits until nothing is pending, and holds everything against the books.
pub async fn judge(
    daemon: &Daemon,
    ledger: &Ledger,
    witness: &Witness,
    dice: &mut Dice,
) -> Verdict {
    let mut client = daemon.client("standard");
    let mut pairs = Vec::new();
    let ids = ledger.books().ids.clone();
    for id in &ids {
        let shown = until(&format!("all of {id} has ended"), async || {
            let answer = get(&mut client, &format!("/api/v1/events/{id}")).await;
            assert_eq!(answer.status, 200, "{id} is lost: {}", answer.body);
            all_ended(&answer.body).then_some(answer.body)
        })
        .await;
        ledger.check_event(id, &shown);
        for row in shown["deliveries"].as_array().unwrap() {
            pairs.push((
                id.clone(),
                row["webhook_id"].as_str().unwrap().to_owned(),
                row.clone(),
            ));
        }
    }
    secrets(&mut client, ledger, witness).await;
    let books = ledger.books().clone();
    let webhooks = registry(&mut client, &books).await;
    let seen = witness.seen();
    let doubles = requests(&books, &pairs, &seen);
    attempts(&mut client, &books, &pairs, dice).await;
    assert!(witness.unsigned().is_empty(), "{:?}", witness.unsigned());
    Verdict {
        events: ids.len(),
        deliveries: pairs.len() as u64,
        requests: seen.len(),
        doubles,
        retried: books.attempts_min.len(),
        webhooks,
        unanswered: books.unanswered,
    }
}

/// Each secret is replaced once more, and what is sent then is signed with it and nothing else that fits.
async fn secrets(client: &mut Client, ledger: &Ledger, witness: &Witness) {
    for path in STABLE {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let id = ledger.books().hooks[path].id.clone();
        ledger.change(path, |hook| hook.secrets.push(secret.to_owned()));
        let there = format!("/api/v1/webhooks/{id}/secret/rotate");
        let body = json!({ "secret": secret });
        let answer = client.call(Method::POST, &there, Some(&body)).await;
        assert_eq!(answer.unwrap().status, 200);
        ledger.change(path, |hook| hook.secret_acknowledged(secret));
    }
    let event = post(client, "main", json!({ "last": true })).await;
    until("the last event has arrived", async || {
        let seen = witness.seen();
        let there = seen.iter().filter(|one| one.event == event).count();
        (there == STABLE.len()).then_some(())
    })
    .await;
}

/// Webhooks are there, are gone, and send where it was acknowledged or is in doubt.
async fn registry(client: &mut Client, books: &Books) -> usize {
    for (path, hook) in &books.hooks {
        let answer = get(client, &format!("/api/v1/webhooks/{}", hook.id)).await;
        match (hook.removed, answer.status.as_u16()) {
            (Some(true | false), 404) => {}
            (None | Some(false), 200) => {
                let url = answer.body["url"].as_str().unwrap();
                assert!(
                    hook.urls.iter().any(|one| one == url),
                    "{path} sends to {url}, not {:?}",
                    hook.urls
                );
            }
            (removed, status) => panic!("{path}: removed {removed:?}, and answered {status}"),
        }
    }
    books.hooks.len()
}

/// What ended as delivered was answered 200; and twice only where the first was under way when a kill came, or
/// it was asked for. Gives how many were sent twice around a kill.
fn requests(books: &Books, pairs: &[(String, String, Value)], seen: &[Seen]) -> usize {
    let mut good: HashMap<(&str, &str), Vec<&Seen>> = HashMap::new();
    for one in seen.iter().filter(|one| one.status == 200) {
        good.entry((&one.event, &one.path)).or_default().push(one);
    }
    let path_of: HashMap<&str, &str> = books
        .hooks
        .iter()
        .map(|(path, hook)| (hook.id.as_str(), path.as_str()))
        .collect();
    for (event, webhook, row) in pairs {
        let Some(path) = path_of.get(webhook.as_str()) else {
            continue;
        };
        let state = row["state"].as_str().unwrap();
        if state == "delivered" {
            assert!(
                good.contains_key(&(event.as_str(), *path)),
                "{event} for {path} is said to be delivered, and never was"
            );
        } else {
            assert!(!STABLE.contains(path), "{event} for {path} ended as {row}");
        }
    }
    let mut doubles = 0;
    for ((event, path), mut all) in good {
        all.sort_by_key(|one| one.arrived);
        let webhook = books.hooks.get(path).map(|hook| hook.id.clone());
        let asked = webhook.and_then(|id| books.retried.get(&(event.to_owned(), id)));
        for pair in all.windows(2) {
            let (first, second) = (pair[0], pair[1]);
            // The first was on its way, or its answer not yet recorded, when a kill came before the second.
            let latest = second.arrived.min(first.answered + RECORDED_WITHIN);
            let mut kills = books.kills.range(first.arrived - IN_TRANSIT..=latest);
            let killed = kills.next().is_some();
            let asked = asked.is_some_and(|times| times.iter().any(|at| *at <= second.arrived));
            assert!(
                killed || asked,
                "{event} for {path} was sent twice without a kill: {first:?}, {second:?}, last kill before {:?}",
                books.kills.range(..second.arrived).next_back()
            );
            doubles += usize::from(!asked);
        }
    }
    doubles
}

/// Attempts are numbered from 1 without a gap, the last of a delivered one is its success, and there are as
/// many as asking for more has promised.
async fn attempts(
    client: &mut Client,
    books: &Books,
    pairs: &[(String, String, Value)],
    dice: &mut Dice,
) {
    let there: BTreeSet<&str> = books
        .hooks
        .values()
        .filter(|hook| hook.removed.is_none())
        .map(|hook| hook.id.as_str())
        .collect();
    let share = u64::try_from(pairs.len() / LOOKED_AT + 1).unwrap();
    for (event, webhook, row) in pairs {
        let asked = books.attempts_min.get(&(event.clone(), webhook.clone()));
        let kept = asked.is_some() || dice.below(share) == 0;
        if !kept || !there.contains(webhook.as_str()) {
            continue;
        }
        let shown = delivery(client, webhook, event).await;
        let made = shown["attempts"].as_array().unwrap();
        for (index, attempt) in made.iter().enumerate() {
            assert_eq!(attempt["attempt"], index + 1, "{shown}");
        }
        let count = u64::try_from(made.len()).unwrap();
        assert_eq!(row["attempts"], count, "{shown}");
        assert!(
            count >= asked.copied().unwrap_or(1),
            "{event} was to be sent again as acknowledged, and was not: {shown}"
        );
    }
}
