//! The reference of the config's keys: what `docs/config.md` holds, made from what the reader reads.
//!
//! The type, default and range of a key are told by the reader, which cannot take a key without them ([`Form`]); here
//! are the words only. A key without words, and words without a key, end the making of the reference.

mod contracts;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write as _};

use contracts::CONTRACTS;
use words::{SECTIONS, Section, Words};

/// The profile that every other one extends in the end: what a profile's keys are where nobody says otherwise.
const ROOT_PROFILE: &str = include_str!("../profile/standard.toml");

/// How a key's value is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    kind: String,
    default: Option<String>,
    range: Option<(String, String)>,
    required: bool,
}

impl Form {
    /// A kind of value.
    pub(super) fn new(kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            default: None,
            range: None,
            required: false,
        }
    }

    /// What holds where the key is left out, as it would be written.
    pub(super) fn with_default(self, default: impl Display) -> Self {
        let default = Some(default.to_string());
        Self { default, ..self }
    }

    /// The least and the most that it can be, as they would be written.
    pub(super) fn within(self, least: impl Display, most: impl Display) -> Self {
        let range = Some((least.to_string(), most.to_string()));
        Self { range, ..self }
    }

    /// It cannot be left out.
    pub(super) fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }
}

/// The reference; `known` is what the reader asked for.
pub(super) fn render(known: &BTreeMap<String, Form>) -> String {
    let worded: BTreeSet<&str> = sections()
        .flat_map(|section| section.keys)
        .map(|words| words.path)
        .filter(|path| !is_free(path))
        .collect();
    let read: BTreeSet<&str> = known.keys().map(String::as_str).collect();
    let differs: Vec<&&str> = worded.symmetric_difference(&read).collect();
    assert!(
        differs.is_empty(),
        "read without words in reference/words.rs, or the other way round: {differs:?}"
    );
    let root: toml::Table = ROOT_PROFILE.parse().expect("the tests read this profile");
    let mut text = words::HEAD.to_owned();
    for section in sections() {
        put_section(section, known, &root, &mut text);
    }
    text
}

fn sections() -> impl Iterator<Item = &'static Section> {
    SECTIONS.iter().chain(CONTRACTS)
}

/// Whether a key belongs to a definition that another module reads.
fn is_free(path: &str) -> bool {
    path.starts_with("profiles.") || path.starts_with("formats.")
}

fn put_section(
    section: &Section,
    known: &BTreeMap<String, Form>,
    root: &toml::Table,
    text: &mut String,
) {
    let line = |text: &mut String, line: &str| {
        writeln!(text, "{line}").expect("writing to a String does not fail");
    };
    line(
        text,
        &format!("\n## {}\n\n{}\n", section.title, section.about),
    );
    line(
        text,
        "| key | value | default | takes effect | what it does |",
    );
    line(text, "|---|---|---|---|---|");
    for words in section.keys {
        let form = match known.get(words.path) {
            Some(form) => form.clone(),
            None => free_form(words, root),
        };
        let value = match &form.range {
            Some((least, most)) => format!("{}, {least} to {most}", form.kind),
            None => form.kind.clone(),
        };
        let default = match (&form.default, form.required || words.required) {
            (Some(default), _) => format!("`{default}`"),
            (None, true) => "must be given".to_owned(),
            (None, false) => "none".to_owned(),
        };
        let name = words.path.rsplit('.').next().unwrap_or(words.path);
        let effect = if section.reload.contains(&name) || section.reload == ["*"] {
            "on reload"
        } else {
            "on restart"
        };
        let row = format!(
            "| `{name}` | {value} | {default} | {effect} | {} |",
            words.what
        );
        // A bar would end the cell, also inside of code.
        debug_assert!(!words.what.contains('|'), "{}", words.path);
        line(
            text,
            &row.replace("created_at | millis", "created_at \\| millis"),
        );
    }
}

/// A key of a profile or a format: its kind stands with its words, its default in the root profile.
fn free_form(words: &Words, root: &toml::Table) -> Form {
    let form = Form::new(words.kind);
    let Some(below) = words.path.strip_prefix("profiles.NAME.") else {
        return form;
    };
    let mut found = None;
    let mut table = Some(root);
    for part in below.split('.') {
        found = table.and_then(|table| table.get(part));
        table = found.and_then(toml::Value::as_table);
    }
    match found {
        Some(value) if table.is_none() => form.with_default(value),
        _ => form,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    const ACCOUNT: &str = "[[accounts]]\nname = \"a\"\n[[accounts.keys]]\nname = \"k\"\nscopes = [\"read\"]\n\
         hash = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, "c", Path::new(""), []).map_err(|errors| errors.to_string())
    }

    /// The page must say what the code does. After a change: `HOOKWHEEL_WRITE_GOLDEN=1 cargo test --lib reference`.
    #[test]
    fn the_page_is_what_the_code_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.md");
        let made = Config::reference();
        if std::env::var_os("HOOKWHEEL_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        for (at, (kept, made)) in kept.lines().zip(made.lines()).enumerate() {
            assert_eq!(kept, made, "docs/config.md, line {}", at + 1);
        }
        assert!(kept == made, "docs/config.md has other lines at its end");
    }

    /// A profile's and a format's keys are read by serde, which names them all when it meets one that it does not know.
    #[test]
    fn every_key_of_profiles_and_formats_has_words_and_no_other_has() {
        let tables = [
            ("profiles.NAME", "[profiles.p]"),
            ("profiles.NAME.secret", "[profiles.p.secret]"),
            ("profiles.NAME.signature[]", "[[profiles.p.signature]]"),
            ("profiles.NAME.retry", "[profiles.p.retry]"),
            ("profiles.NAME.exhausted", "[profiles.p.exhausted]"),
            ("profiles.NAME.rate", "[profiles.p.rate]"),
            ("profiles.NAME.api", "[profiles.p.api]"),
            ("profiles.NAME.example", "[profiles.p.example]"),
            ("formats.NAME", "[formats.f]"),
        ];
        let mut read = BTreeSet::new();
        for (path, header) in tables {
            let refusal = parse(&format!("{header}\nno_such_key = 1\n{ACCOUNT}")).unwrap_err();
            let line = refusal
                .lines()
                .find(|line| line.contains("unknown field"))
                .unwrap();
            let known = line.split('`').skip(1).step_by(2).skip(1);
            // What is not in backquotes any more is the fix.
            let names: Vec<&str> = known.take_while(|name| !name.is_empty()).collect();
            assert!(!names.is_empty(), "{line}");
            let is_table = |name: &&&str| {
                tables
                    .iter()
                    .any(|(other, _)| other.trim_end_matches("[]") == format!("{path}.{name}"))
            };
            read.extend(
                names
                    .iter()
                    .filter(|name| !is_table(name))
                    .map(|name| format!("{path}.{name}")),
            );
        }
        let keys = sections().flat_map(|section| section.keys);
        let worded = keys
            .map(|words| words.path.to_owned())
            .filter(|path| is_free(path))
            .collect();
        assert_eq!(read, worded);
    }

    #[test]
    fn what_is_said_to_take_effect_on_reload_does_and_nothing_else() {
        let running = parse(ACCOUNT).unwrap();
        let (_, known) = Config::read(crate::config::WIDEST, "", Path::new(""), []);
        let mut tried = 0;
        for section in sections() {
            for words in section
                .keys
                .iter()
                .filter(|words| !words.path.contains("[]"))
            {
                let (Some(form), Some((table, key))) =
                    (known.get(words.path), words.path.rsplit_once('.'))
                else {
                    continue;
                };
                // Without a proxy what concerns it changes nothing.
                if key.starts_with("proxy_") {
                    continue;
                }
                let other = |text: &String| form.default.as_ref() != Some(text);
                let mut values: Vec<String> = form
                    .range
                    .iter()
                    .flat_map(|(a, b)| [a.clone(), b.clone()])
                    .collect();
                values.extend(form.kind.split(" or ").map(str::to_owned));
                let changed = values.into_iter().filter(other).find_map(|value| {
                    parse(&format!("[{table}]\n{key} = {value}\n{ACCOUNT}")).ok()
                });
                let Some(changed) = changed else { continue };
                tried += 1;
                let reloads = section.reload.contains(&key) || section.reload == ["*"];
                assert_eq!(changed.needs_restart(&running), !reloads, "{}", words.path);
            }
        }
        assert!(tried > 15, "only {tried} keys could be changed");
    }
}
