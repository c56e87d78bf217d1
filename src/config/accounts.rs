//! The accounts and their API keys. After this every name is unique and every hash belongs to one key.

use std::collections::HashMap;
use std::path::Path;

use crate::model::{Account, AccountName, ApiKey, Scope, Scopes, did_you_mean};

use super::files::{key_hash, readable_by_all};
use super::profiles::Known;
use super::reader::{Placed, Reader};
use super::tree::Origin;
use super::values::{Refusal, parse_hash};

/// The profile of an account that names none: Standard Webhooks, the one that is no product's own.
const PROFILE_DEFAULT: &str = "standard";
/// Names of keys appear in logs, on one line with other things.
const KEY_NAME_CHARS_MAX: usize = 64;
/// The old one and the new one.
const HASHES_MAX: usize = 2;
/// More than one process can take is no bound.
const LIMIT_MAX: usize = 1_000_000;

/// What must be unique over all accounts, and where it was first.
#[derive(Debug, Default)]
struct Seen {
    names: HashMap<AccountName, Origin>,
    hashes: HashMap<[u8; 32], Origin>,
}

/// Reads the accounts; key files with relative paths are taken from `base`.
pub(super) fn read(root: &mut Reader<'_, '_>, base: &Path, profiles: &Known) -> Vec<Account> {
    let tables = root.tables(
        "accounts",
        "add an [[accounts]] table with a name, and below it an [[accounts.keys]] table",
    );
    let mut seen = Seen::default();
    tables
        .into_iter()
        .filter_map(|table| account(root.enter("accounts", table), base, profiles, &mut seen))
        .collect()
}

fn account(
    mut reader: Reader<'_, '_>,
    base: &Path,
    profiles: &Known,
    seen: &mut Seen,
) -> Option<Account> {
    let name = account_name(&mut reader, seen);
    let profile = profile(&mut reader, profiles);
    let tables = reader.tables(
        "keys",
        "add an [[accounts.keys]] table below this account: nobody can use it without a key",
    );
    let mut names = HashMap::new();
    let keys = tables
        .into_iter()
        .filter_map(|table| key(reader.enter("keys", table), base, &mut names, seen))
        .collect();
    reader.finish();
    Some(Account {
        name: name?,
        profile,
        keys,
    })
}

fn account_name(reader: &mut Reader<'_, '_>, seen: &mut Seen) -> Option<AccountName> {
    let Some(text) = reader.text("name") else {
        return missing(reader, "name", "add name = \"…\"");
    };
    let name = match AccountName::new(&text.value) {
        Ok(name) => name,
        Err(cause) => {
            let problem = format!("`{}` cannot be a name", text.value);
            reader.refuse(&text, problem, cause.to_string());
            return None;
        }
    };
    if let Some(first) = seen.names.get(&name) {
        let line = reader.context().faults.line_of(first);
        reader.refuse(
            &text,
            format!("the account `{name}` is there already, in line {line}"),
            "give this one another name, or put its keys below the first",
        );
        return None;
    }
    seen.names.insert(name.clone(), text.at);
    Some(name)
}

fn profile(reader: &mut Reader<'_, '_>, profiles: &Known) -> String {
    let Some(text) = reader.text("profile") else {
        return PROFILE_DEFAULT.to_owned();
    };
    if !profiles.contains(&text.value) {
        let hint = did_you_mean(&text.value, profiles.names());
        let known: Vec<&str> = profiles.names().collect();
        reader.refuse(
            &text,
            format!("there is no profile `{}`", text.value),
            format!(
                "{hint}known: {}; or define it as [profiles.NAME]",
                known.join(", ")
            ),
        );
    }
    text.value
}

fn key(
    mut reader: Reader<'_, '_>,
    base: &Path,
    names: &mut HashMap<String, Origin>,
    seen: &mut Seen,
) -> Option<ApiKey> {
    let name = key_name(&mut reader, names);
    let hashes = hashes(&mut reader, base, seen);
    let scopes = scopes(&mut reader);
    let requests_per_minute = limit(&mut reader, "requests_per_minute");
    let events_per_second = limit(&mut reader, "events_per_second");
    reader.finish();
    let (sha256, sha256_other) = hashes?;
    Some(ApiKey {
        name: name?,
        sha256,
        sha256_other,
        scopes,
        requests_per_minute,
        events_per_second,
    })
}

fn key_name(reader: &mut Reader<'_, '_>, names: &mut HashMap<String, Origin>) -> Option<String> {
    let Some(text) = reader.text("name") else {
        return missing(
            reader,
            "name",
            "add name = \"…\": logs show which key was used by it",
        );
    };
    let chars = text.value.chars().count();
    let printable = |c: char| !c.is_control();
    if chars == 0 || chars > KEY_NAME_CHARS_MAX || !text.value.chars().all(printable) {
        let fix = format!("write 1 to {KEY_NAME_CHARS_MAX} printable characters");
        reader.refuse(&text, "cannot be a key's name", fix);
        return None;
    }
    if let Some(first) = names.get(&text.value) {
        let line = reader.context().faults.line_of(first);
        reader.refuse(
            &text,
            format!(
                "this account has a key `{}` already, in line {line}",
                text.value
            ),
            "give this one another name",
        );
        return None;
    }
    names.insert(text.value.clone(), text.at);
    Some(text.value)
}

/// The hashes of a key: one, or two while one takes the other's place.
fn hashes(
    reader: &mut Reader<'_, '_>,
    base: &Path,
    seen: &mut Seen,
) -> Option<([u8; 32], Option<[u8; 32]>)> {
    let (hashes, files) = (reader.text_or_texts("hash"), reader.text_or_texts("file"));
    if let (Some(_), Some(file)) = (hashes.first(), files.first()) {
        reader.refuse(
            file,
            "the key has a hash already",
            "keep either hash or file",
        );
        return None;
    }
    if hashes.is_empty() && files.is_empty() {
        let fix =
            "add hash = \"sha256:…\", or file = \"…\" with the path of a file that holds the key";
        return missing(reader, "hash", fix);
    }
    let first_over = hashes.iter().chain(&files).nth(HASHES_MAX).cloned();
    if let Some(text) = first_over {
        let fix = "keep the old one and the new one; for another use make a key of its own";
        reader.refuse(&text, "is one more than a key may have", fix);
        return None;
    }
    let mut found = Vec::new();
    for text in hashes {
        let parsed = parse_hash(&text.value);
        found.push(unique(reader, &text, parsed, seen));
    }
    for text in files {
        let read = key_hash(base, &text.value);
        if let (Ok(_), Some(remedy)) = (&read, readable_by_all(base, &text.value)) {
            reader.warn(&text, "the key can be read by everybody", remedy);
        }
        found.push(unique(reader, &text, read, seen));
    }
    let mut found = found.into_iter();
    // A fault of either is a fault of the key.
    let first = found.next()??;
    match found.next() {
        None => Some((first, None)),
        Some(other) => Some((first, Some(other?))),
    }
}

/// A hash that no other key has.
fn unique(
    reader: &mut Reader<'_, '_>,
    text: &Placed<String>,
    found: Result<[u8; 32], Refusal>,
    seen: &mut Seen,
) -> Option<[u8; 32]> {
    let hash = reader.checked(text, found)?;
    if let Some(first) = seen.hashes.get(&hash) {
        let line = reader.context().faults.line_of(first);
        reader.refuse(
            text,
            format!("the same key is there already, in line {line}"),
            "make a key of its own for each use, so that one can be withdrawn",
        );
        return None;
    }
    seen.hashes.insert(hash, text.at.clone());
    Some(hash)
}

fn scopes(reader: &mut Reader<'_, '_>) -> Scopes {
    const FIX: &str = "write some of scopes = [\"admin\", \"send\", \"read\"]";
    let list = reader.some_texts("scopes", FIX);
    let mut scopes = Scopes::default();
    for text in list {
        match scope(&text) {
            Some(scope) if scopes.contains(scope) => {
                reader.refuse(&text, format!("`{scope}` is there twice"), "remove one");
            }
            Some(scope) => scopes = scopes.with(scope),
            None => {
                let hint = did_you_mean(&text.value, Scope::ALL.map(Scope::as_str));
                let problem = format!("there is no scope `{}`", text.value);
                reader.refuse(&text, problem, format!("{hint}{FIX}"));
            }
        }
    }
    scopes
}

fn scope(text: &Placed<String>) -> Option<Scope> {
    Scope::ALL
        .into_iter()
        .find(|scope| scope.as_str() == text.value)
}

fn limit(reader: &mut Reader<'_, '_>, key: &'static str) -> Option<u32> {
    let count = reader.count_if_any(key, 1..=LIMIT_MAX)?;
    Some(u32::try_from(count).expect("the bound is below 2^32"))
}

fn missing<T>(reader: &mut Reader<'_, '_>, key: &str, fix: &str) -> Option<T> {
    reader.lacks(key, fix);
    None
}
