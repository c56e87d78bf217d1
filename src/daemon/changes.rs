//! What a config that was taken over changes for accounts, as entries of their audit logs. A config that is changed
//! while no daemon runs is not seen here.

use crate::model::{Account, Actor, ApiKey, AuditAction, AuditEntry};

/// Keys that one entry names; further ones are counted.
const NAMED_MAX: usize = 20;

/// The entries for what is otherwise in `new` than in `old`.
pub(super) fn entries(old: &[Account], new: &[Account]) -> Vec<AuditEntry> {
    let find = |accounts: &[Account], like: &Account| {
        let found = accounts.iter().find(|account| account.name == like.name);
        found.cloned()
    };
    let mut entries = Vec::new();
    for account in new {
        let before = find(old, account);
        let keys = before.as_ref().map_or(&[][..], |before| &before.keys);
        entries.extend(keys_changed(account, keys, &account.keys));
        if let Some(before) = before.filter(|before| before.profile != account.profile) {
            let names = vec![before.profile, account.profile.clone()];
            entries.push(entry(account, AuditAction::ProfileChanged, names));
        }
    }
    for account in old {
        if find(new, account).is_none() {
            entries.extend(keys_changed(account, &account.keys, &[]));
        }
    }
    entries
}

fn keys_changed(account: &Account, old: &[ApiKey], new: &[ApiKey]) -> Option<AuditEntry> {
    let in_old = |key: &ApiKey| old.iter().find(|other| other.name == key.name);
    let mut told = Vec::new();
    for key in new {
        match in_old(key) {
            None => told.push(format!("added {}", key.name)),
            Some(before) if before != key => told.push(format!("changed {}", key.name)),
            Some(_) => {}
        }
    }
    let gone = old
        .iter()
        .filter(|key| new.iter().all(|other| other.name != key.name));
    told.extend(gone.map(|key| format!("removed {}", key.name)));
    let more = told.len().saturating_sub(NAMED_MAX);
    told.truncate(NAMED_MAX);
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    (!told.is_empty()).then(|| entry(account, AuditAction::KeysChanged, told))
}

fn entry(account: &Account, action: AuditAction, details: Vec<String>) -> AuditEntry {
    AuditEntry {
        account: account.name.clone(),
        actor: Actor::Config,
        action,
        webhook: None,
        subject: None,
        details,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountName, Scopes};

    fn account(name: &str, profile: &str, keys: &[(&str, u8)]) -> Account {
        let key = |(name, byte): &(&str, u8)| ApiKey {
            name: (*name).to_owned(),
            sha256: [*byte; 32],
            sha256_other: None,
            scopes: Scopes::default(),
            requests_per_minute: None,
            events_per_second: None,
        };
        Account {
            name: AccountName::new(name).unwrap(),
            profile: profile.to_owned(),
            keys: keys.iter().map(key).collect(),
        }
    }

    #[test]
    fn what_changes_is_told_by_name_and_what_does_not_is_not() {
        let old = [
            account("same", "standard", &[("a", 1)]),
            account("acme", "standard", &[("a", 2), ("b", 3), ("c", 4)]),
            account("gone", "standard", &[("a", 5)]),
        ];
        let new = [
            account("same", "standard", &[("a", 1)]),
            account("acme", "flat", &[("a", 2), ("b", 9), ("d", 4)]),
            account("new", "standard", &[("a", 6)]),
        ];
        let told: Vec<(String, &str, Vec<String>)> = entries(&old, &new)
            .into_iter()
            .map(|one| (one.account.to_string(), one.action.as_str(), one.details))
            .collect();
        let row = |account: &str, action, details: &[&str]| {
            let details = details.iter().map(|detail| (*detail).to_owned()).collect();
            (account.to_owned(), action, details)
        };
        let expected = [
            row(
                "acme",
                "keys.changed",
                &["changed b", "added d", "removed c"],
            ),
            row("acme", "profile.changed", &["standard", "flat"]),
            row("new", "keys.changed", &["added a"]),
            row("gone", "keys.changed", &["removed a"]),
        ];
        assert_eq!(told, expected);
        assert_eq!(entries(&new, &new), []);
    }

    #[test]
    fn an_entry_stays_short_whatever_the_config_has() {
        let names: Vec<String> = (0..50).map(|number| format!("k{number}")).collect();
        let keys: Vec<(&str, u8)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let [only] = &entries(&[], &[account("acme", "standard", &keys)])[..] else {
            panic!("one entry");
        };
        assert_eq!(only.details.len(), NAMED_MAX + 1);
        assert_eq!(only.details[NAMED_MAX], "and 30 more");
    }
}
