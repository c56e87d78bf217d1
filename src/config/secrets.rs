//! `[secrets]`: the master keys that webhooks' secrets are sealed with on disk.

use std::path::Path;

use crate::vault::{MasterKey, Vault};

use super::files::{master_key, readable_by_all};
use super::reader::{Placed, Reader};

/// Old keys are there for as long as stored secrets are sealed anew: one, as a rule.
const OLD_KEYS_MAX: usize = 8;

/// Reads the keys; relative paths are taken from `base`.
pub(super) fn read(mut reader: Reader<'_, '_>, base: &Path) -> Vault {
    let written = reader.text("key_file");
    let first = written.and_then(|path| key(&mut reader, base, &path));
    let mut others: Vec<MasterKey> = Vec::new();
    for (at, path) in reader.texts("old_key_files").iter().enumerate() {
        if at == OLD_KEYS_MAX {
            let problem = format!(
                "is entry {} of the list, which may have {OLD_KEYS_MAX}",
                at + 1
            );
            reader.refuse(
                path,
                problem,
                "remove keys that nothing is sealed with any more",
            );
            break;
        }
        let Some(found) = key(&mut reader, base, path) else {
            continue;
        };
        if first.iter().chain(&others).any(|other| *other == found) {
            let problem = format!("`{}` holds a key that is there already", path.value);
            reader.refuse(path, problem, "name each key once");
        } else {
            others.push(found);
        }
    }
    reader.finish();
    Vault::new(first, others)
}

fn key(reader: &mut Reader<'_, '_>, base: &Path, path: &Placed<String>) -> Option<MasterKey> {
    match master_key(base, &path.value) {
        Ok(key) => {
            warn_of_eyes(reader, base, path, "the master key");
            Some(key)
        }
        Err(refusal) => {
            reader.refuse(path, refusal.problem, refusal.fix);
            None
        }
    }
}

/// Warns of a file with a secret that everybody on the machine can read; `what` is the secret.
pub(super) fn warn_of_eyes(
    reader: &mut Reader<'_, '_>,
    base: &Path,
    path: &Placed<String>,
    what: &str,
) {
    if let Some(remedy) = readable_by_all(base, &path.value) {
        let problem = format!("{what} can be read by everybody");
        reader.warn(path, problem, remedy);
    }
}
