//! The named set of profiles: the built-in ones and the operator's, each laid over what it extends.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::parse::{Faults, Partial, PlacedSchema, partial};
use super::{
    Algorithm, Exhausted, Field, KeyForm, Piece, Profile, ProfileError, Random, Rate, RawProfile,
    Schema, SecretRules, SignatureRule,
};
use crate::model::{RetryPolicy, did_you_mean};

/// The profiles that every installation has: their files, by name.
const BUILT_IN: [(&str, &str); 6] = [
    ("anomalyarmor", include_str!("anomalyarmor.toml")),
    ("dataflow", include_str!("dataflow.toml")),
    ("driftguard", include_str!("driftguard.toml")),
    ("driftlock", include_str!("driftlock.toml")),
    ("flock", include_str!("flock.toml")),
    ("standard", include_str!("standard.toml")),
];
/// The one built-in profile that extends no other.
const ROOT: &str = "standard";
/// Profiles that the operator may define; each is held compiled.
const USER_PROFILES_MAX: usize = 200;
/// Types of one profile that have a schema; each is held compiled, in some kilobytes.
const SCHEMAS_MAX: usize = 500;

/// Profiles by name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Profiles {
    by_name: Arc<BTreeMap<String, Arc<Profile>>>,
}

impl Profiles {
    /// The built-in profiles alone.
    #[must_use]
    pub fn built_in() -> Self {
        Self::build(BTreeMap::new()).expect("the built-in profiles are checked by a test")
    }

    /// The built-in profiles and those of `user`.
    ///
    /// # Errors
    /// Everything that is wrong with the profiles of `user`; spans are places in their text.
    pub fn build(user: BTreeMap<String, RawProfile>) -> Result<Self, Vec<ProfileError>> {
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, text) in BUILT_IN {
            match toml::from_str::<RawProfile>(text) {
                Ok(raw) => {
                    let mut table = Table::read(name, &raw, &mut errors);
                    table.partial = table.partial.unplaced();
                    tables.insert(name.to_owned(), table);
                }
                Err(error) => note(&mut errors, name, error.to_string()),
            }
        }
        if user.len() > USER_PROFILES_MAX {
            let message = format!("more than {USER_PROFILES_MAX} profiles are defined");
            note(&mut errors, "*", message);
        }
        for (name, raw) in user.iter().take(USER_PROFILES_MAX) {
            if let Some(message) = refused_name(name, raw) {
                let span = raw.extends.as_ref().map(toml::Spanned::span);
                errors.push(ProfileError {
                    profile: name.clone(),
                    span,
                    message,
                });
                continue;
            }
            tables.insert(name.clone(), Table::read(name, raw, &mut errors));
        }
        let mut by_name = BTreeMap::new();
        for (name, table) in &tables {
            match chain(name, &tables) {
                Ok(Some(merged)) => {
                    let mut faults = Faults {
                        profile: name,
                        found: Vec::new(),
                    };
                    let profile = complete(merged, &mut faults);
                    for error in &mut faults.found {
                        error.span = error.span.take().or_else(|| table.extends_span());
                    }
                    errors.append(&mut faults.found);
                    by_name.extend(profile.map(|profile| (name.clone(), Arc::new(profile))));
                }
                Ok(None) => {} // it or a parent of it has errors that are noted already
                Err(message) => errors.push(ProfileError {
                    profile: name.clone(),
                    span: table.extends_span(),
                    message,
                }),
            }
        }
        if errors.is_empty() {
            Ok(Self {
                by_name: Arc::new(by_name),
            })
        } else {
            Err(errors)
        }
    }

    /// The profile of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Profile>> {
        self.by_name.get(name)
    }

    /// All profiles, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.by_name.values()
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

/// The line and column, both from 1, of a byte `offset` into `text`; columns count characters.
#[must_use]
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}

fn note(errors: &mut Vec<ProfileError>, profile: &str, message: String) {
    errors.push(ProfileError {
        profile: profile.to_owned(),
        span: None,
        message,
    });
}

/// One profile's own table, read.
struct Table {
    extends: Option<toml::Spanned<String>>,
    partial: Partial,
    faulty: bool,
}

/// What is wrong with single values of a definition, whatever it extends.
#[must_use]
pub fn value_errors(name: &str, raw: &RawProfile) -> Vec<ProfileError> {
    let mut errors = Vec::new();
    Table::read(name, raw, &mut errors);
    errors
}

impl Table {
    fn read(name: &str, raw: &RawProfile, errors: &mut Vec<ProfileError>) -> Self {
        let mut faults = Faults {
            profile: name,
            found: Vec::new(),
        };
        let partial = partial(raw, &mut faults);
        let faulty = !faults.found.is_empty();
        errors.append(&mut faults.found);
        Self {
            extends: raw.extends.clone(),
            partial,
            faulty,
        }
    }

    fn extends_span(&self) -> Option<std::ops::Range<usize>> {
        self.extends.as_ref().map(toml::Spanned::span)
    }
}

fn refused_name(name: &str, raw: &RawProfile) -> Option<String> {
    let form = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if BUILT_IN.iter().any(|(built_in, _)| *built_in == name) {
        return Some(format!(
            "a built-in profile has this name; choose another one and write `extends = \"{name}\"`"
        ));
    }
    if name.is_empty() || name.len() > 64 || !name.chars().all(form) {
        return Some("a profile's name is 1 to 64 of a-z, 0-9, - and _".to_owned());
    }
    if raw.extends.is_none() {
        return Some(format!(
            "`extends` is missing; name the profile to start from, such as `extends = \"{ROOT}\"`"
        ));
    }
    None
}

/// `name`'s table laid over all that it extends; `None` where one of them is faulty by itself.
fn chain(name: &str, tables: &BTreeMap<String, Table>) -> Result<Option<Partial>, String> {
    let mut names = vec![name];
    let mut links: Vec<&Table> = Vec::new();
    let mut current = tables.get(name);
    while let Some(table) = current {
        links.push(table);
        let Some(parent) = table.extends.as_ref().map(|name| name.get_ref().as_str()) else {
            break;
        };
        if names.contains(&parent) {
            names.push(parent);
            return Err(format!("`extends` goes in a circle: {}", names.join(" → ")));
        }
        names.push(parent);
        current = tables.get(parent);
        if current.is_none() && links.len() == 1 {
            // The profile that is at fault is no answer.
            let others = tables.keys().map(String::as_str);
            let known: Vec<&str> = others.filter(|known| *known != name).collect();
            return Err(format!(
                "no profile is called `{parent}`; {}there are {}",
                did_you_mean(parent, known.iter().copied()),
                known.join(", ")
            ));
        }
        if current.is_none() {
            return Ok(None); // the parent's own error says it
        }
    }
    if links.iter().any(|table| table.faulty) {
        return Ok(None);
    }
    let root_first = links.iter().rev().map(|table| table.partial.clone());
    Ok(root_first.reduce(Partial::under))
}

/// Makes the profile, and checks what concerns more than one field.
fn complete(partial: Partial, faults: &mut Faults<'_>) -> Option<Profile> {
    let retry = retry(&partial, faults);
    let signatures = signatures(&partial, faults);
    let secret = secret(&partial, signatures.as_deref().unwrap_or_default(), faults);
    let example_span = partial.example_span.clone();
    let mut profile = Profile {
        name: faults.profile.to_owned(),
        event_types: need(partial.event_types, "event_types", faults)?,
        inner_types: need(partial.inner_types, "inner_types", faults)?,
        events_required: need(partial.events_required, "events_required", faults)?,
        match_on: need(partial.match_on, "match_on", faults)?,
        scope_field: need(partial.scope_field, "scope_field", faults)?,
        success: need(partial.success, "success", faults)?,
        timeout_ms: need(partial.timeout_ms, "timeout", faults)?,
        body: need(partial.body, "body", faults)?,
        body_span: partial.body_span,
        on_gone: need(partial.on_gone, "on_gone", faults)?,
        honour_retry_after: need(partial.honour_retry_after, "honour_retry_after", faults)?,
        secret: secret?,
        signatures: signatures?,
        headers: need(partial.headers, "headers", faults)?,
        retry: retry?,
        retry_delay_max_ms: partial.max_delay_ms.unwrap_or(u64::MAX),
        exhausted: Exhausted {
            action: need(partial.exhausted_action, "exhausted.action", faults)?,
            unless_succeeded_since: partial.unless_succeeded_since.unwrap_or(false),
            disable_after_ms: partial.disable_after_ms.flatten(),
            probe_every_ms: partial.probe_every_ms.flatten(),
        },
        rate: Rate {
            per_second: partial.per_second.filter(|count| *count > 0),
            per_hour: partial.per_hour.filter(|count| *count > 0),
            overflow: need(partial.overflow, "rate.overflow", faults)?,
            backlog: need(partial.backlog, "rate.backlog", faults)?,
        },
        requests_per_minute: partial.requests_per_minute.filter(|count| *count > 0),
        example: need(partial.example, "example", faults)?,
        schemas: BTreeMap::new(),
        operational: false,
    };
    profile.schemas = schemas(partial.schemas, &profile, faults);
    check_together(&profile, example_span, faults);
    Some(profile)
}

/// The schemas of the types that there are. One that is inherited for a type that is not among these any more goes
/// with the type; one that is written for it is a mistake.
fn schemas(
    all: BTreeMap<String, PlacedSchema>,
    profile: &Profile,
    faults: &mut Faults<'_>,
) -> BTreeMap<String, Arc<Schema>> {
    let types = &profile.event_types;
    let mut kept = BTreeMap::new();
    for (name, PlacedSchema { schema, own }) in all {
        if types.is_empty() || types.contains(&name) {
            kept.insert(name, schema);
        } else if let Some(span) = own {
            faults.push(
                Some(span),
                format!(
                    "`{name}` has a schema and is not in `event_types`; there are {}",
                    types.join(", ")
                ),
            );
        }
    }
    if kept.len() > SCHEMAS_MAX {
        faults.push(
            None,
            format!("more than {SCHEMAS_MAX} types have a schema; give fewer"),
        );
    }
    kept
}

fn need<T>(value: Option<T>, name: &str, faults: &mut Faults<'_>) -> Option<T> {
    if value.is_none() {
        faults.push(
            None,
            format!("`{name}` is missing here and in all that it extends"),
        );
    }
    value
}

fn retry(partial: &Partial, faults: &mut Faults<'_>) -> Option<RetryPolicy> {
    let jitter = partial.jitter_percent.unwrap_or(0);
    let made = if let Some(delays) = &partial.delays_ms {
        RetryPolicy::new(delays.clone(), jitter)
    } else {
        let initial = need(partial.initial_ms, "retry.initial", faults);
        let retries = need(partial.max_retries, "retry.max_retries", faults);
        let multiplier = partial.multiplier.unwrap_or(1.0);
        let cap = partial.max_delay_ms.unwrap_or(u64::MAX);
        let retries = usize::try_from(retries?).unwrap_or(usize::MAX);
        RetryPolicy::exponential(retries, initial?, multiplier, cap, jitter)
    };
    made.map_err(|error| faults.push(partial.retry_span.clone(), error.to_string()))
        .ok()
}

/// The signatures, each with its key's form: its own, or the profile's.
fn signatures(partial: &Partial, faults: &mut Faults<'_>) -> Option<Vec<SignatureRule>> {
    let all = need(partial.signatures.clone(), "signature", faults)?;
    let settled = all.into_iter().map(|(mut rule, own)| {
        rule.key = match (rule.algorithm, own.or(partial.key)) {
            (Algorithm::Ed25519, _) => KeyForm::WhskBase64,
            (Algorithm::HmacSha256, Some(KeyForm::WhskBase64)) => {
                faults.push(
                    None,
                    format!(
                        "`{}` is an HMAC and [secret] has an ed25519 key; give this signature \
                         `key = \"whsec-base64\"` or \"utf8\"",
                        rule.header
                    ),
                );
                KeyForm::Utf8
            }
            (Algorithm::HmacSha256, form) => form.unwrap_or(KeyForm::Utf8),
        };
        rule
    });
    Some(settled.collect())
}

fn secret(
    partial: &Partial,
    signatures: &[SignatureRule],
    faults: &mut Faults<'_>,
) -> Option<SecretRules> {
    let key = need(partial.key, "secret.key", faults)?;
    let mut keys: Vec<KeyForm> = signatures.iter().map(|rule| rule.key).collect();
    if keys.is_empty() {
        keys.push(key);
    }
    keys.sort_unstable();
    keys.dedup();
    let rules = SecretRules {
        required: need(partial.secret_required, "secret.required", faults)?,
        generate: need(partial.generate.clone(), "secret.generate", faults)?,
        rotation: need(partial.rotation, "secret.rotation", faults)?,
        key,
        keys,
    };
    if let Some(fit) = unfit_generate(&rules) {
        let names: Vec<&str> = rules.keys.iter().map(|form| form.as_str()).collect();
        faults.push(
            partial.generate_span.clone(),
            format!(
                "with `key = \"{}\"` secrets are generated as \"{fit}\"; write that as [secret] `generate`",
                names.join("\"` and `key = \"")
            ),
        );
    }
    Some(rules)
}

/// What `generate` should be, where the secrets that it makes are not those that the signatures need.
fn unfit_generate(rules: &SecretRules) -> Option<String> {
    let needs = |form: KeyForm| rules.keys.contains(&form);
    let mut expected = Vec::with_capacity(2);
    if needs(KeyForm::WhsecBase64) {
        expected.push(("whsec_", "{base64:32}"));
    } else if needs(KeyForm::Utf8) {
        expected.push(("", "whsec_{random:32}"));
    }
    if needs(KeyForm::WhskBase64) {
        expected.push(("whsk_", "{base64:32}"));
    }
    let fits = expected.len() == rules.generate.len()
        && expected
            .iter()
            .zip(&rules.generate)
            .all(|((prefix, _), made)| {
                let base64 = match made.random {
                    Random::Alphanumeric(_) => false,
                    // A seed has 32 bytes (RFC 8032, 5.1.5), an HMAC key as many as the profile likes.
                    Random::Base64(count) => *prefix != "whsk_" || count == 32,
                };
                prefix.is_empty() || (base64 && made.prefix == *prefix)
            });
    let shown = expected
        .iter()
        .map(|(prefix, random)| format!("{prefix}{random}"));
    (!fits).then(|| shown.collect::<Vec<_>>().join(" "))
}

fn check_together(
    profile: &Profile,
    example_span: Option<std::ops::Range<usize>>,
    faults: &mut Faults<'_>,
) {
    let example = &profile.example.event_type;
    if !profile.event_types.is_empty() && !profile.event_types.contains(example) {
        faults.push(
            example_span.clone(),
            format!("the example's type `{example}` is not in `event_types`; give an `[example]`"),
        );
    }
    if let Some(schema) = profile.schemas.get(example)
        && !schema.fits(&profile.example.data)
    {
        let fault = schema.faults(&profile.example.data).into_iter().next();
        let why = fault.map_or_else(String::new, |f| {
            format!(" (/data{}: {})", f.pointer, f.reason)
        });
        faults.push(
            example_span.clone(),
            format!("the example does not fit the schema of its type `{example}`{why}; give an `[example]` that does"),
        );
    }
    if profile.success.0.is_empty() {
        faults.push(None, "`success` names no status code");
    }
    if profile.match_on.is_empty() {
        faults.push(None, "`match_on` is empty; write [\"type\"]");
    }
    for rule in &profile.signatures {
        for field in [Field::Timestamp, Field::Id] {
            let carried = rule.value.count(field) > 0
                || profile.headers.iter().any(|header| {
                    // One with {retry} is not there on the first attempt.
                    header.value.count(field) > 0 && header.value.count(Field::Retry) == 0
                });
            if rule.signed.count(field) > 0 && !carried {
                let name = field.name();
                faults.push(
                    None,
                    format!(
                        "`{}` signs {{{name}}}, but no header carries it, so no receiver can verify",
                        rule.header
                    ),
                );
            }
        }
        let same = |name: &http::HeaderName| *name == rule.header_name;
        let twice = profile.signatures.iter().filter(|other| *other == rule);
        if twice.count() > 1 || profile.headers.iter().any(|header| same(&header.name)) {
            faults.push(
                None,
                format!("the header `{}` is defined twice", rule.header),
            );
        }
        let spaced = |piece: &Piece| matches!(piece, Piece::Text(text) if text.contains(' '));
        if profile.is_list(&rule.header_name) && rule.value.pieces().iter().any(spaced) {
            faults.push(
                None,
                format!(
                    "`{}` is a list with one space between its values, so no value may hold a space",
                    rule.header
                ),
            );
        }
    }
}
