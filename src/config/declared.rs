//! `[[webhooks]]`: webhooks that the config declares.
//!
//! An entry becomes the body of a registration and is read by the same code, so one set of rules holds for both; each
//! fault is told at its place in the file. What is a credential stands in a file of its own, headers aside. No message
//! shows any of it.

mod parts;

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::api::{DeclaredFault, Ground, as_shown, fingerprints, read_declared};
use crate::engine::{AlertOptions, Declaration};
use crate::model::{Account, AccountName, Endpoint, near};
use crate::profile::{Profile, Profiles};
use crate::render::Formats;
use crate::sender::{Guard, TlsIdentity};

use super::Config;
use super::reader::{Placed, Reader};
use super::reference::Form;
use super::tree::{Entries, Kind, Node, Origin};

/// A start waits until all are written; and what it changes is told to a scheduler that does not listen yet, with room
/// for some thousands.
const DECLARED_MAX: usize = 1_000;
/// A name stands in logs, in messages and on command lines.
const NAME_CHARS_MAX: usize = 64;
/// The keys of an entry, with their kinds; the profile's own name for a scope is one more.
const KEYS: [(&str, &str); 24] = [
    ("account", "string"),
    ("name", "string"),
    ("url", "string"),
    ("events", "list of strings"),
    ("scope", "string"),
    ("secret_file", "string"),
    ("active", "true or false"),
    ("description", "string"),
    ("filter", "table, or string of JSON"),
    ("format", "string"),
    ("order", "string or table"),
    ("tls", "string"),
    ("headers", "table"),
    ("bearer_token_file", "string"),
    ("api_key_file", "string"),
    ("api_key_header", "string"),
    ("auth_header", "string"),
    ("auth_value_file", "string"),
    ("oauth2", "table"),
    ("timeout", "duration"),
    ("retry", "table"),
    ("max_retries", "whole number"),
    ("retry_delay", "duration"),
    ("retry_backoff", "number"),
];
/// Those that must be there.
const REQUIRED: [&str; 3] = ["account", "name", "url"];
/// The fields of the API that stand in files here.
const IN_FILES: [&str; 4] = ["secret", "bearer_token", "api_key", "auth_value"];

/// What all entries are read by.
pub(super) struct Means<'a> {
    pub(super) base: &'a Path,
    pub(super) accounts: &'a [Account],
    pub(super) profiles: &'a Profiles,
    pub(super) formats: &'a Formats,
    pub(super) tls: &'a [TlsIdentity],
    pub(super) alerts: &'a AlertOptions,
    pub(super) guard: Guard,
}

/// Reads the list.
pub(super) fn read(root: &mut Reader<'_, '_>, means: &Means<'_>) -> Vec<Declaration> {
    let known = KEYS.iter().map(|(key, kind)| {
        let form = match REQUIRED.contains(key) {
            true => Form::new(*kind).required(),
            false => Form::new(*kind),
        };
        (format!("webhooks[].{key}"), form)
    });
    root.context().known.extend(known);
    let mut tables = root.tables_if_any("webhooks");
    if let Some(first_over) = tables.get(DECLARED_MAX) {
        let problem = format!("is one more than the {DECLARED_MAX} webhooks that can be declared");
        let fix = "register the others through the API";
        root.refuse(&first_over.clone(), problem, fix);
        tables.truncate(DECLARED_MAX);
    }
    let mut seen = HashMap::new();
    tables
        .into_iter()
        .filter_map(|table| {
            let entry = Entry::new(root, table, means);
            entry.read(&mut seen)
        })
        .collect()
}

/// A place in the file, by the pointer that the API has for it, and the name of the key there.
struct Spot {
    pointer: String,
    at: Origin,
    field: String,
}

/// One entry on its way to the body of a registration.
struct Entry<'r, 'c, 't, 'm> {
    root: &'r mut Reader<'c, 't>,
    means: &'m Means<'m>,
    table: Placed<()>,
    entries: Entries,
    body: Map<String, Value>,
    spots: Vec<Spot>,
    /// Whether a fault was told already that may make others seem to be there.
    faulty: bool,
}

impl<'r, 'c, 't, 'm> Entry<'r, 'c, 't, 'm> {
    fn new(root: &'r mut Reader<'c, 't>, table: Placed<Entries>, means: &'m Means<'m>) -> Self {
        let (at, field) = (table.at, table.field);
        Self {
            root,
            means,
            table: Placed {
                value: (),
                at,
                field,
            },
            entries: table.value,
            body: Map::new(),
            spots: Vec::new(),
            faulty: false,
        }
    }

    fn read(mut self, seen: &mut HashMap<(AccountName, String), Origin>) -> Option<Declaration> {
        let account = self.account();
        let name = self.name();
        if let (Some(account), Some((name, at))) = (account, &name) {
            let key = (account.name.clone(), name.clone());
            if let Some(first) = seen.get(&key) {
                let line = self.root.context().faults.line_of(first);
                let problem = format!(
                    "the account `{}` has a webhook `{name}` already, in line {line}",
                    key.0
                );
                self.refuse(&at.clone(), "name", problem, "give this one another name");
            } else {
                seen.insert(key, at.clone());
            }
        }
        let profile = account.and_then(|account| self.profile(account));
        let active = match self.entries.get("active").map(|(_, node)| &node.kind) {
            Some(Kind::Boolean(active)) => Some(*active),
            _ => None,
        };
        let had_secret = self.entries.contains_key("secret_file");
        self.refuse_unknown(profile.as_ref());
        self.fill(profile.as_ref());
        let (Some(account), Some(profile)) = (account, profile) else {
            self.check_url();
            return None;
        };
        let name = name.map(|(name, _)| name).unwrap_or_default();
        if profile.secret.required && !had_secret && !self.body.contains_key("secret") {
            let fix = format!(
                "add secret_file = \"…\" with the path of a file that holds its signing secret; make one: hookwheel key \
                 secret --profile {} --out FILE",
                profile.name
            );
            let (at, table) = (self.table.at.clone(), self.table.field.clone());
            self.fault(&at, &format!("{table}.secret_file"), "is missing", fix);
        }
        let means = self.means;
        let tls: Vec<String> = means
            .tls
            .iter()
            .filter(|tls| tls.accounts.contains(&account.name))
            .map(|tls| tls.name.clone())
            .collect();
        let ground = Ground {
            account: &account.name,
            profile: &profile,
            formats: means.formats,
            tls: &tls,
            guard: &means.guard,
        };
        let text = Value::Object(std::mem::take(&mut self.body)).to_string();
        match read_declared(&text, ground) {
            Ok(webhook) if !self.faulty => Some(Declaration::new(webhook, &name, active)),
            Ok(_) => None,
            Err(faults) => {
                for fault in faults {
                    self.tell(&fault, &text);
                }
                None
            }
        }
    }

    fn account(&mut self) -> Option<&'m Account> {
        const FIX: &str = "add account = \"…\": whose webhook it is";
        let (at, name) = self.text("account", FIX)?;
        let accounts = self.means.accounts;
        let found = accounts.iter().find(|one| one.name.as_str() == name);
        if found.is_none() {
            let near = near(&name, accounts.iter().map(|one| one.name.as_str()));
            let fix = match near.is_empty() {
                true => "name one of the [[accounts]]".to_owned(),
                false => format!("did you mean `{}`?", near.join("` or `")),
            };
            let problem = format!("there is no account `{name}`");
            self.refuse(&at, "account", problem, fix);
        }
        found
    }

    /// Its name, which is shown as that of any webhook as well.
    fn name(&mut self) -> Option<(String, Origin)> {
        const FIX: &str =
            "add name = \"…\": what the webhook is known by; keep it, or it is another webhook";
        let (at, name) = self.text("name", FIX)?;
        let fits =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
        if !(1..=NAME_CHARS_MAX).contains(&name.len()) || !name.chars().all(fits) {
            let fix =
                format!("write 1 to {NAME_CHARS_MAX} characters of a-z, 0-9, `_`, `-` and `.`");
            self.refuse(&at, "name", format!("`{name}` cannot be a name"), fix);
            return None;
        }
        self.body.insert("name".to_owned(), name.clone().into());
        Some((name, at))
    }

    /// The profile of its account; without one that is right there is nothing to read it by.
    fn profile(&self, account: &Account) -> Option<Profile> {
        let mut profile = Profile::clone(self.means.profiles.get(&account.profile)?);
        profile.operational = self.means.alerts.account.as_ref() == Some(&account.name);
        Some(profile)
    }

    /// What can be told of an entry whose account is not known.
    fn check_url(&mut self) {
        let url = self.body.get("url").and_then(Value::as_str);
        if let Some(Err(error)) = url.map(Endpoint::parse) {
            let fault = DeclaredFault {
                pointer: "/url".to_owned(),
                code: error.code(),
                detail: error.to_string(),
            };
            self.tell(&fault, "{}");
        }
    }

    fn refuse_unknown(&mut self, profile: Option<&Profile>) {
        let own = profile.map(|profile| profile.scope_field.clone());
        // Of an account that is not known the field may be any profile's.
        let all = self.means.profiles;
        let known = |key: &str| {
            let of_some = || profile.is_none() && all.iter().any(|one| one.scope_field == key);
            KEYS.iter().any(|(known, _)| *known == key) || own.as_deref() == Some(key) || of_some()
        };
        let (kept, others) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|(key, _)| known(key));
        self.entries = kept;
        let others: Entries = others;
        for (key, (at, _)) in others {
            if IN_FILES.contains(&key.as_str()) {
                let fix = format!("put it into a file of its own, and write {key}_file = \"…\"");
                self.refuse(
                    &at,
                    &key,
                    "is a secret, which the config does not hold",
                    fix,
                );
                continue;
            }
            let names = KEYS.iter().map(|(name, _)| *name).chain(own.as_deref());
            let near = near(&key, names.clone());
            let fix = match near.is_empty() {
                true => format!(
                    "remove it; known here: {}",
                    names.collect::<Vec<_>>().join(", ")
                ),
                false => format!("did you mean `{}`?", near.join("` or `")),
            };
            self.refuse(&at, &key, "unknown key", fix);
        }
    }

    /// Makes the body of what is left.
    fn fill(&mut self, profile: Option<&Profile>) {
        let scope_field = profile.map_or("scope", |profile| profile.scope_field.as_str());
        for (key, (key_at, node)) in std::mem::take(&mut self.entries) {
            match key.as_str() {
                "secret_file" | "bearer_token_file" | "api_key_file" | "auth_value_file" => {
                    let name = key.trim_end_matches("_file").to_owned();
                    if let Some(value) = self.file(&key, &node) {
                        self.put(&name, &key, node.at, value);
                    }
                }
                "scope" if self.body.contains_key(scope_field) => {
                    let fix = format!("keep `{scope_field}`, or this one");
                    let problem = format!("says the same as `{scope_field}`");
                    self.refuse(&key_at, &key, problem, fix);
                }
                "scope" => self.put_node(scope_field, &key, node),
                "filter" => self.filter(node),
                "headers" => self.headers(node),
                "oauth2" => self.oauth2(node),
                _ => self.put_node(&key, &key, node),
            }
        }
    }

    fn put(&mut self, name: &str, key: &str, at: Origin, value: Value) {
        let field = format!("{}.{key}", self.table.field);
        self.note(format!("/{name}"), at, field);
        self.body.insert(name.to_owned(), value);
    }

    fn put_node(&mut self, name: &str, key: &str, node: Node) {
        let field = format!("{}.{key}", self.table.field);
        let at = node.at.clone();
        if let Some(value) = self.json(node, &format!("/{}", escaped(name)), &field) {
            self.put(name, key, at, value);
        }
    }

    fn note(&mut self, pointer: String, at: Origin, field: String) {
        self.spots.push(Spot { pointer, at, field });
    }

    /// Tells what the registration's reading refused, at its place.
    fn tell(&mut self, fault: &DeclaredFault, body: &str) {
        let within = |spot: &&Spot| {
            fault
                .pointer
                .strip_prefix(&spot.pointer)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let spot = self
            .spots
            .iter()
            .filter(within)
            .max_by_key(|spot| spot.pointer.len());
        let (at, field) = match spot {
            Some(spot) => (spot.at.clone(), spot.field.clone()),
            None => {
                let rest = fault.pointer.replace('/', ".");
                (self.table.at.clone(), format!("{}{rest}", self.table.field))
            }
        };
        let (problem, fix) = self.told(fault, body);
        self.fault(&at, &field, problem, fix);
    }

    /// What is wrong, and what the operator can do. Unlike a tenant, an operator is told which rule is in the way.
    fn told(&self, fault: &DeclaredFault, body: &str) -> (String, String) {
        let parted = || {
            let missing = || {
                fault
                    .detail
                    .split_once("is missing: ")
                    .map(|(_, fix)| ("is missing", fix))
            };
            let (problem, fix) = fault
                .detail
                .split_once("; ")
                .or_else(missing)
                .unwrap_or((fault.detail.as_str(), "correct the value"));
            (problem.to_owned(), fix.to_owned())
        };
        match fault.code {
            "https_required" => (
                "must start with https://".to_owned(),
                "write an https URL: nothing is sent without TLS, not even inside a network (a private CA can be named \
                 in [egress] extra_ca)"
                    .to_owned(),
            ),
            "secret_invalid" => (
                fault.detail.clone(),
                "put one of this form into the file; hookwheel key secret makes them".to_owned(),
            ),
            "address_blocked" => {
                let body: Value = serde_json::from_str(body).unwrap_or_default();
                let url = body.pointer(&fault.pointer).and_then(Value::as_str);
                let endpoint = url.and_then(|url| Endpoint::parse(url).ok());
                let rule = endpoint.and_then(|endpoint| self.means.guard.obstacle(&endpoint));
                rule.map_or_else(parted, |rule| {
                    let problem = format!("is an address that is refused (rule `{}`)", rule.name);
                    (problem, rule.hint())
                })
            }
            _ => parted(),
        }
    }

    fn text(&mut self, key: &str, remedy: &str) -> Option<(Origin, String)> {
        let Some((_, node)) = self.entries.remove(key) else {
            let (at, table) = (self.table.at.clone(), self.table.field.clone());
            self.fault(&at, &format!("{table}.{key}"), "is missing", remedy);
            return None;
        };
        match node.kind {
            Kind::Text(text) => Some((node.at, text)),
            other => {
                let problem = format!("must be a string, but is {}", other.name());
                self.refuse(&node.at, key, problem, "write the value in quotes");
                None
            }
        }
    }

    /// Tells a fault of the key `key` of this entry.
    fn refuse(
        &mut self,
        at: &Origin,
        key: &str,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let field = format!("{}.{key}", self.table.field);
        self.fault(at, &field, problem, fix);
    }

    fn fault(
        &mut self,
        at: &Origin,
        field: &str,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.faulty = true;
        self.root.context().faults.add(at, field, problem, fix);
    }
}

/// A member's name as RFC 6901 has it.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

impl Config {
    /// What a declared webhook is to be, as the API shows webhooks, and the name of its scope's field.
    #[must_use]
    pub fn declared_as_shown(&self, declared: &Declaration) -> Option<Map<String, Value>> {
        let profile = self.profile_of(declared.account())?;
        Some(as_shown(&declared.webhook, profile))
    }

    /// The marks of a declared webhook's secrets, as the API shows them.
    #[must_use]
    pub fn declared_fingerprints(&self, declared: &Declaration) -> Value {
        fingerprints(&declared.webhook)
    }

    /// The profile of an account.
    #[must_use]
    pub fn profile_of(&self, account: &AccountName) -> Option<&Profile> {
        let account = self.accounts.iter().find(|one| one.name == *account)?;
        self.profiles.get(&account.profile).map(|found| &**found)
    }
}
