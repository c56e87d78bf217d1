//! Secrets at rest: whether the stored ones open with the keys of the config, and are sealed with the newest.

use super::Check;
use crate::model::Webhook;
use crate::vault::Vault;

pub(super) fn check(vault: &Vault, webhooks: &[Webhook]) -> Check {
    const NAME: &str = "secrets";
    let why_not = |webhook: &Webhook| {
        let opened = vault.open(webhook.clone());
        opened
            .err()
            .map(|why| format!("webhook {}: {why}", webhook.id))
    };
    let closed: Vec<String> = webhooks.iter().filter_map(why_not).collect();
    if let Some(first) = closed.first() {
        let found = format!("those of {} webhook(s) do not open; {first}", closed.len());
        return Check::fail(NAME, found, "without its key they cannot be opened");
    }
    let behind = webhooks.iter().filter(|it| !vault.is_current(it)).count();
    match vault.sealing() {
        Some(key) if behind > 0 => Check::warn(
            NAME,
            format!(
                "those of {behind} webhook(s) are not sealed with the master key {} yet",
                key.name()
            ),
            "a running daemon does that by itself; start it, or look at its log",
        ),
        Some(key) => Check::ok(NAME, format!("sealed with the master key {}", key.name())),
        None if behind > 0 => Check::warn(
            NAME,
            format!("those of {behind} webhook(s) are sealed, with no key that seals"),
            "name the key's file as [secrets] key_file, unless you mean to give up sealing",
        ),
        None => Check::ok(
            NAME,
            "not sealed: who reads the data directory reads them; see [secrets] key_file",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::store::tests::webhook;
    use crate::vault::MasterKey;

    fn key() -> MasterKey {
        MasterKey::parse(MasterKey::generate().unwrap().expose()).unwrap()
    }

    #[test]
    fn each_state_of_the_secrets_is_told() {
        let (one, two) = (key(), key());
        let old = Vault::new(Some(one.clone()), Vec::new());
        let sealed = [old.seal(webhook(1)).unwrap(), old.seal(webhook(2)).unwrap()];
        let state = |vault: &Vault, webhooks: &[Webhook]| check(vault, webhooks).state;
        assert_eq!(state(&old, &sealed), State::Ok);
        assert_eq!(state(&Vault::default(), &[webhook(1)]), State::Ok);
        let both = Vault::new(Some(two.clone()), vec![one.clone()]);
        assert_eq!(state(&both, &sealed), State::Warn);
        assert_eq!(
            state(&Vault::new(None, vec![one.clone()]), &sealed),
            State::Warn
        );
        let lost = check(&Vault::new(Some(two), Vec::new()), &sealed);
        assert_eq!(lost.state, State::Fail);
        assert!(lost.found.contains("of 2 webhook(s)") && lost.found.contains(one.name()));
    }
}
