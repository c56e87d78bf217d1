//! A plan: what a config's declared webhooks would change in one account of a running daemon. Pure.
//!
//! Of secrets a plan knows 16 bits each, as the API shows them, and shows none.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::cli::ask::harmless;
use crate::config::Config;
use crate::model::{AccountName, InactiveReason};

/// What an entry comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Change,
    Disable,
    Unchanged,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Disable => "disable",
            Self::Unchanged => "unchanged",
        }
    }

    const fn mark(self) -> char {
        match self {
            Self::Create => '+',
            Self::Change => '~',
            Self::Disable => '-',
            Self::Unchanged => '=',
        }
    }
}

/// A field that would be otherwise. Of a secret there is only that.
#[derive(Debug)]
struct Difference {
    field: String,
    values: Option<(Value, Value)>,
}

#[derive(Debug)]
struct Row {
    name: String,
    webhook: Option<String>,
    action: Action,
    differences: Vec<Difference>,
    /// What the daemon has otherwise, and would keep; and what else should be known.
    drift: Vec<String>,
}

/// What would change.
#[derive(Debug)]
pub(super) struct Plan {
    account: String,
    others: Vec<String>,
    revision: String,
    in_force: String,
    compares_secrets: bool,
    undone: Vec<Value>,
    rows: Vec<Row>,
}

/// What the daemon has.
struct There<'a> {
    webhooks: &'a [Value],
    declared: BTreeMap<&'a str, (&'a Value, &'a Value)>,
}

impl Plan {
    /// Compares the config with what the API has told: `head` and `declared` of the declared webhooks, and all webhooks.
    pub(super) fn make(
        config: &Config,
        head: &Value,
        declared: &[Value],
        webhooks: &[Value],
    ) -> anyhow::Result<Self> {
        let account = text(head, "account");
        let named = AccountName::new(account).context("the daemon names no account")?;
        anyhow::ensure!(
            config.profile_of(&named).is_some(),
            "the key is of the account `{account}`, which the config does not have"
        );
        let by_id: BTreeMap<&str, &Value> = webhooks
            .iter()
            .map(|webhook| (text(webhook, "id"), webhook))
            .collect();
        let of_declared = declared.iter().filter_map(|row| {
            let webhook = by_id.get(text(row, "webhook_id"))?;
            Some((text(row, "name"), (row, *webhook)))
        });
        let there = There {
            webhooks,
            declared: of_declared.collect(),
        };
        let mut rows = Vec::new();
        for wanted in config.webhooks.iter().filter(|one| *one.account() == named) {
            let shown = config
                .declared_as_shown(wanted)
                .context("the config was checked with this account")?;
            rows.push(match there.declared.get(wanted.name.as_str()) {
                None => created(&wanted.name, shown, &there),
                Some((row, webhook)) => {
                    let marks = config.declared_fingerprints(wanted);
                    let mut found = differences(&shown, webhook, &marks, &row["fingerprints"]);
                    let moved = |one: &Difference| {
                        matches!(one.field.as_str(), "url" | "tls")
                            || one.field.starts_with("oauth2")
                    };
                    let reason = reason_of(webhook);
                    let turned = wanted.turns(reason, found.iter().any(moved));
                    if let Some(active) = turned {
                        let values = Some((webhook["active"].clone(), json!(active)));
                        let field = "active".to_owned();
                        found.push(Difference { field, values });
                    }
                    let drift = drift(webhook, reason.filter(|_| turned != Some(true)));
                    existing(&wanted.name, webhook, found, drift)
                }
            });
        }
        let wanted: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
        let gone = there
            .declared
            .iter()
            .filter(|(name, _)| !wanted.iter().any(|one| one == *name));
        rows.extend(gone.map(|(name, (_, webhook))| gone_row(name, webhook)));
        let accounts = config.accounts.iter().map(|one| one.name.to_string());
        Ok(Self {
            account: account.to_owned(),
            others: accounts.filter(|name| name != account).collect(),
            revision: config.revision.clone(),
            in_force: text(&head["config"], "revision").to_owned(),
            compares_secrets: declared.iter().all(|row| !row["fingerprints"].is_null()),
            undone: head["undone"].as_array().cloned().unwrap_or_default(),
            rows,
        })
    }

    /// Whether anything would.
    pub(super) fn changes(&self) -> bool {
        self.rows.iter().any(|row| row.action != Action::Unchanged)
    }

    pub(super) fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let differences = row.differences.iter().map(|one| match &one.values {
                Some((from, to)) => json!({ "field": one.field, "from": from, "to": to }),
                None => json!({ "field": one.field, "secret": true }),
            });
            json!({
                "name": row.name,
                "webhook_id": row.webhook,
                "action": row.action.as_str(),
                "changes": differences.collect::<Vec<_>>(),
                "drift": row.drift,
            })
        });
        json!({
            "account": self.account,
            "accounts_not_looked_at": self.others,
            "config": { "revision": self.revision, "in_force": self.in_force },
            "would_change": self.changes(),
            "secrets_compared": self.compares_secrets,
            "undone": self.undone,
            "webhooks": rows.collect::<Vec<_>>(),
        })
    }

    pub(super) fn to_text(&self) -> String {
        let mut out = format!("account {}\n\n", self.account);
        for row in &self.rows {
            let id = row.webhook.as_deref().map(|id| format!("  {id}"));
            out.push_str(&format!(
                "  {} {:<9}  {}{}\n",
                row.action.mark(),
                row.action.as_str(),
                row.name,
                id.unwrap_or_default()
            ));
            let width = row.differences.iter().map(|one| one.field.len()).max();
            let width = width.unwrap_or(0);
            for one in &row.differences {
                // JSON escapes line breaks, and not what turns or hides text.
                let change = match &one.values {
                    Some((Value::Null, to)) if row.action == Action::Create => to.to_string(),
                    Some((from, to)) => format!("{from} → {to}"),
                    None => "changed (a secret)".to_owned(),
                };
                let change = harmless(&change);
                out.push_str(&format!("      {:<width$}  {change}\n", one.field));
            }
            for line in &row.drift {
                out.push_str(&format!("      ! {}\n", harmless(line)));
            }
        }
        for one in &self.undone {
            let (name, why) = (text(one, "name"), text(one, "why"));
            let line = format!("  ! the daemon has not done {name} yet: {why}");
            out.push_str(&harmless(&line));
            out.push('\n');
        }
        let count = |action| self.rows.iter().filter(|row| row.action == action).count();
        out.push_str(&format!(
            "\n{} to create, {} to change, {} to disable, {} unchanged\n",
            count(Action::Create),
            count(Action::Change),
            count(Action::Disable),
            count(Action::Unchanged)
        ));
        if !self.compares_secrets {
            out.push_str("secrets were not compared: the key has not the scope `admin`\n");
        }
        if !self.others.is_empty() {
            let others = self.others.join(", ");
            out.push_str(&format!(
                "not looked at, as the key is not theirs: {others}\n"
            ));
        }
        out
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("")
}

fn created(name: &str, shown: Map<String, Value>, there: &There<'_>) -> Row {
    let told = shown.into_iter().filter(|(field, value)| {
        let empty = match value {
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            other => other.is_null() || other == "none",
        };
        // What is the profile's is told once the webhook is there.
        !empty && !["name", "timeout", "retry"].contains(&field.as_str())
    });
    let differences = told.map(|(field, value)| Difference {
        field,
        values: Some((Value::Null, value)),
    });
    let same_name = there
        .webhooks
        .iter()
        .filter(|webhook| webhook["declared"].is_null() && text(webhook, "name") == name);
    let drift = same_name.map(|webhook| {
        format!(
            "the API made a webhook of this name, {}: it stays beside this one until it is removed",
            text(webhook, "id")
        )
    });
    Row {
        name: name.to_owned(),
        webhook: None,
        action: Action::Create,
        differences: differences.collect(),
        drift: drift.collect(),
    }
}

fn existing(name: &str, webhook: &Value, found: Vec<Difference>, drift: Vec<String>) -> Row {
    Row {
        name: name.to_owned(),
        webhook: Some(text(webhook, "id").to_owned()),
        action: match found.is_empty() {
            true => Action::Unchanged,
            false => Action::Change,
        },
        differences: found,
        drift,
    }
}

/// A webhook that is declared no more.
fn gone_row(name: &str, webhook: &Value) -> Row {
    let (action, drift) = match reason_of(webhook) {
        Some(InactiveReason::Undeclared) => (
            Action::Unchanged,
            format!(
                "declared no more since {}: remove it by the API, or declare it again",
                text(&webhook["inactive"], "since")
            ),
        ),
        _ => (
            Action::Disable,
            "is declared no more: what waits for it is held, and nothing is cancelled".to_owned(),
        ),
    };
    Row {
        name: name.to_owned(),
        webhook: Some(text(webhook, "id").to_owned()),
        action,
        differences: Vec::new(),
        drift: vec![drift],
    }
}

fn differences(
    wanted: &Map<String, Value>,
    webhook: &Value,
    marks: &Value,
    marks_there: &Value,
) -> Vec<Difference> {
    let differing = wanted
        .iter()
        .filter(|(field, value)| webhook.get(field) != Some(value));
    let mut found: Vec<Difference> = differing
        .map(|(field, value)| Difference {
            field: field.clone(),
            values: Some((webhook[field].clone(), value.clone())),
        })
        .collect();
    if marks_there.is_null() {
        return found;
    }
    let mut secret = |field: String, one: &Value, other: &Value| {
        if one != other {
            found.push(Difference {
                field,
                values: None,
            });
        }
    };
    secret(
        "secret".to_owned(),
        &marks["secret"],
        &marks_there["secret"],
    );
    let client = "client_secret";
    if !marks[client].is_null() && !marks_there[client].is_null() {
        secret(
            format!("oauth2.{client}"),
            &marks[client],
            &marks_there[client],
        );
    }
    // A header that only one side has is told as that already.
    for (name, one) in marks["headers"].as_object().into_iter().flatten() {
        if let Some(other) = marks_there["headers"].get(name) {
            secret(format!("headers.{name}"), one, other);
        }
    }
    found
}

fn reason_of(webhook: &Value) -> Option<InactiveReason> {
    const ALL: [InactiveReason; 5] = [
        InactiveReason::Request,
        InactiveReason::Exhausted,
        InactiveReason::Gone,
        InactiveReason::Failing,
        InactiveReason::Undeclared,
    ];
    let reason = text(&webhook["inactive"], "reason");
    ALL.into_iter().find(|one| one.as_str() == reason)
}

/// What the daemon has otherwise than its own config says, and keeps.
fn drift(webhook: &Value, held: Option<InactiveReason>) -> Vec<String> {
    let since = text(&webhook["inactive"], "since");
    let mut told = Vec::new();
    match held {
        None | Some(InactiveReason::Undeclared) => {}
        Some(InactiveReason::Request) => told.push(format!(
            "held on request since {since}; it stays so until it is activated by the API, or by active = true here"
        )),
        Some(rule) => told.push(format!(
            "disabled since {since} ({}); it stays so until it is activated by the API, or has another receiver",
            rule.as_str()
        )),
    }
    if let Some(why) = webhook["held"].as_str() {
        told.push(format!("held: {why}"));
    }
    told
}
