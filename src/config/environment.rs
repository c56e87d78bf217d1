//! Overrides from the environment: `HOOKWHEEL_SERVER__LISTEN=0.0.0.0:8420` stands for `listen` in `[server]`.
//!
//! Two underscores stand between the levels; the name is the key's path in upper case. The value is
//! read as TOML (`1024`, `["10.0.0.0/8"]`), and as a plain text where it is none (`127.0.0.1:8420`,
//! `20s`). A variable without `__` is not an override and is left alone. Lists of tables
//! (`[[accounts]]`) and profiles cannot be set this way: they have no fixed path.

use std::collections::BTreeMap;

use crate::model::near;

use super::reader::Context;
use super::tree::{Node, Origin, from_environment};

const PREFIX: &str = "HOOKWHEEL_";

/// The overrides among `variables`, by the path of the key that each stands for.
pub(super) fn overrides(
    variables: impl IntoIterator<Item = (String, String)>,
) -> BTreeMap<String, Node> {
    variables
        .into_iter()
        .filter_map(|(name, value)| {
            let path = path_of(&name)?;
            let node = from_environment(&name, &value);
            Some((path, node))
        })
        .collect()
}

/// Reports the overrides that no reader took. To be called after all sections were read.
pub(super) fn report_unknown(context: &mut Context<'_>) {
    for (path, node) in std::mem::take(&mut context.overrides) {
        let Origin::Environment(_) = &node.at else {
            continue;
        };
        // A key inside a list has no path of its own.
        let keys = context.known.keys().filter(|known| !known.contains("[]"));
        let near: Vec<String> = near(&path, keys.map(String::as_str))
            .into_iter()
            .map(variable_of)
            .collect();
        let fix = if near.is_empty() {
            "unset it; every key of [server], [storage], [delivery], [egress], [secrets], [alerts], [metrics], [telemetry] and [log] can be set so, \
             such as HOOKWHEEL_SERVER__LISTEN"
                .to_owned()
        } else {
            format!("did you mean {}?", near.join(" or "))
        };
        let problem = "no such key can be set from the environment";
        context.faults.add(&node.at, &path, problem, fix);
    }
}

fn path_of(name: &str) -> Option<String> {
    let rest = name.strip_prefix(PREFIX)?;
    rest.contains("__")
        .then(|| rest.replace("__", ".").to_ascii_lowercase())
}

fn variable_of(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "__").to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_its_path_are_each_others_inverse() {
        assert_eq!(
            path_of("HOOKWHEEL_SERVER__BODY_LIMIT").as_deref(),
            Some("server.body_limit")
        );
        assert_eq!(
            variable_of("server.body_limit"),
            "HOOKWHEEL_SERVER__BODY_LIMIT"
        );
        for other in ["HOOKWHEEL_CONFIG", "SERVER__LISTEN", "PATH"] {
            assert_eq!(path_of(other), None, "{other}");
        }
    }
}
