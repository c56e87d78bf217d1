//! The rules of the source that no compiler holds: which module may name which, and how files look.
//!
//! The table is the one of `ARCHITECTURE.md`. A module may name only what stands beside it here; code that
//! is compiled for tests may also name what is on its own floor or below.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use source::{Kind, Source};

/// Floor, module, and the modules it may name.
type Row = (u8, &'static str, &'static [&'static str]);

const FLOOR_0: &[&str] = &["model", "metrics", "systemd", "telemetry"];
const FLOOR_1: &[&str] = &[
    "wheel", "profile", "render", "sign", "journal", "store", "sender", "receiver", "verify",
    "vault",
];
const FLOOR_2: &[&str] = &["engine", "retention"];
const FLOOR_3: &[&str] = &["api", "dashboard"];
const FLOOR_4: &[&str] = &["config", "cli"];
const FLOOR_5: &[&str] = &["daemon", "demo", "fuzz", "inspect", "upkeep"];

/// The table. `main` uses the library from outside.
fn table() -> Vec<(u8, &'static str, Vec<&'static str>)> {
    let rows: &[Row] = &[
        (0, "model", &[]),
        (0, "metrics", &[]),
        (0, "systemd", &[]),
        (0, "telemetry", &[]),
        (1, "wheel", &["model"]),
        (1, "profile", &["model"]),
        (1, "render", &["model", "profile"]),
        (1, "sign", &["model", "profile"]),
        (1, "journal", &["model", "metrics"]),
        (1, "store", &["model", "metrics", "journal"]),
        (1, "sender", &["model", "metrics"]),
        (1, "receiver", &["model"]),
        (1, "verify", &["model", "profile", "render"]),
        (1, "vault", &["model"]),
        (2, "retention", &["model", "metrics", "store"]),
        (3, "dashboard", &[]),
        (4, "cli", &["model", "vault", "config"]),
    ];
    let mut table: Vec<_> = rows
        .iter()
        .map(|(floor, module, names)| (*floor, *module, names.to_vec()))
        .collect();
    let below = [FLOOR_0, FLOOR_1, FLOOR_2, FLOOR_3, FLOOR_4, FLOOR_5];
    table.push((2, "engine", below[..2].concat()));
    table.push((3, "api", [&below[..2].concat()[..], &["engine"]].concat()));
    table.push((4, "config", below[..4].concat()));
    for module in ["daemon", "demo", "fuzz", "inspect", "upkeep", "main"] {
        table.push((5, module, below.concat()));
    }
    table
}

/// The names that only profiles' data may contain: no code knows a vendor.
const VENDORS: [&str; 5] = [
    "driftlock",
    "anomalyarmor",
    "dataflow",
    "flock",
    "driftguard",
];
/// Where they may stand all the same. An entry that is no longer needed is an error too.
const VENDORS_MAY_STAND_IN: &[&str] = &["src/profile/set.rs"];

const LINES_MAX: usize = 600;
/// The walk has found the source, and not an empty directory, if it found this many files.
const FILES_MIN: usize = 20;

#[test]
fn the_source_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let src = sources(root, "src");
    let tests = sources(root, "tests");
    assert!(src.len() >= FILES_MIN, "only {} files in src", src.len());
    assert!(tests.len() >= 4, "only {} files in tests", tests.len());
    let mut faults = Vec::new();
    for source in src.iter().chain(&tests) {
        faults.extend(form(source));
    }
    for source in &src {
        faults.extend(unfinished(source));
        faults.extend(vendors(source, is_test_file(source, &src)));
    }
    faults.extend(stale_exceptions(&src));
    faults.extend(floors(&src));
    faults.extend(cycles(&src));
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn sources(root: &Path, below: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open = vec![root.join(below)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                found.push(Source::new(name, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// A module doc first, a bounded length, `foo.rs` beside `foo/`.
fn form(source: &Source) -> Vec<String> {
    let path = &source.path;
    let mut faults = Vec::new();
    if !source.text.starts_with("//! ") {
        faults.push(format!("{path}:1: does not begin with a module doc (//!)"));
    }
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        faults.push(format!("{path}: has {lines} lines, more than {LINES_MAX}"));
    }
    if path.ends_with("/mod.rs") {
        faults.push(format!(
            "{path}: is to be named for its directory, beside it"
        ));
    }
    faults
}

/// Nothing that is left for later, and no lint that is silenced for ever.
fn unfinished(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(source.text.lines()) {
        for word in ["TODO", "FIXME", "todo!", "unimplemented!"] {
            if has_word(line, word) {
                faults.push(format!("{}:{number}: {word}", source.path));
            }
        }
        if line.contains("#[allow(") || line.contains("#![allow(") {
            let path = &source.path;
            faults.push(format!("{path}:{number}: write #[expect(…, reason = …)]"));
        }
    }
    faults
}

/// The lines outside of tests that name a vendor. The word `flock` is also a system call: there only
/// literals count.
fn vendors(source: &Source, whole_file_is_test: bool) -> Vec<String> {
    if whole_file_is_test || VENDORS_MAY_STAND_IN.contains(&source.path.as_str()) {
        return Vec::new();
    }
    vendor_lines(source)
        .into_iter()
        .map(|(line, name)| format!("{}:{line}: names {name}", source.path))
        .collect()
}

fn vendor_lines(source: &Source) -> Vec<(usize, &'static str)> {
    let lines = (1..).zip(source.text.lines());
    let in_text = lines.flat_map(|(number, line)| {
        let line = line.to_lowercase();
        let named = move |name: &&str| *name != "flock" && line.contains(name);
        VENDORS
            .into_iter()
            .filter(named)
            .map(move |name| (number, name))
    });
    let in_literals = source.tokens.iter().filter_map(|token| match &token.kind {
        Kind::Literal(text) if has_word(&text.to_lowercase(), "flock") => {
            Some((token.line, "flock"))
        }
        _ => None,
    });
    in_text
        .chain(in_literals)
        .filter(|(line, _)| !source.is_test_line(*line))
        .collect()
}

fn stale_exceptions(src: &[Source]) -> Vec<String> {
    VENDORS_MAY_STAND_IN
        .iter()
        .filter(|path| {
            let source = src.iter().find(|source| source.path == **path);
            source.is_none_or(|source| vendor_lines(source).is_empty())
        })
        .map(|path| format!("{path}: names no vendor any more; take it off the list of exceptions"))
        .collect()
}

/// Whether the file is a module that its parent declares for tests only, or stands below such a one.
fn is_test_file(source: &Source, src: &[Source]) -> bool {
    let Some((parent, name)) = source.path.trim_end_matches(".rs").rsplit_once('/') else {
        return false;
    };
    let parent = format!("{parent}.rs");
    let mut parents = src.iter().filter(|candidate| candidate.path == parent);
    parents.any(|parent| {
        parent.declares.contains(&(name.to_owned(), true)) || is_test_file(parent, src)
    })
}

/// Every module names only what the table lists for it.
fn floors(src: &[Source]) -> Vec<String> {
    let table = table();
    let row = |module: &str| table.iter().find(|row| row.1 == module);
    let mut faults = Vec::new();
    for source in src.iter().filter(|source| source.path != "src/lib.rs") {
        let (path, module) = (&source.path, source.module());
        let Some((floor, _, may_name)) = row(module) else {
            faults.push(format!("{path}: the module `{module}` is not in the table"));
            continue;
        };
        let test_file = is_test_file(source, src);
        for named in &source.names {
            let name = named.module.as_str();
            let known = row(name);
            let in_test = named.in_test || test_file;
            let allowed = name == module
                || may_name.contains(&name)
                || in_test && known.is_some_and(|known| known.0 <= *floor);
            if !allowed {
                let line = named.line;
                faults.push(format!("{path}:{line}: `{module}` may not name `{name}`"));
            }
        }
    }
    for (declared, _) in src
        .iter()
        .filter(|source| source.path == "src/lib.rs")
        .flat_map(|source| &source.declares)
    {
        if row(declared).is_none() {
            faults.push(format!(
                "src/lib.rs: the module `{declared}` is not in the table"
            ));
        }
    }
    faults
}

/// No module names itself by way of others. Tests are not part of the program and do not count.
fn cycles(src: &[Source]) -> Vec<String> {
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in src.iter().filter(|source| !is_test_file(source, src)) {
        let module = source.module();
        let named = source.names.iter().filter(|named| !named.in_test);
        names.entry(module).or_default().extend(
            named
                .map(|named| named.module.as_str())
                .filter(|name| *name != module),
        );
    }
    // What names nothing that is left cannot be in a cycle; when no more of it is found, the rest is one.
    loop {
        let left: BTreeSet<&str> = names.keys().copied().collect();
        let before = names.len();
        names.retain(|_, named| named.iter().any(|name| left.contains(name)));
        if names.len() == before {
            break;
        }
    }
    names
        .iter()
        .map(|(module, named)| {
            let named: Vec<&str> = named
                .iter()
                .copied()
                .filter(|n| names.contains_key(n))
                .collect();
            format!(
                "`{module}` is in a cycle, or above one: it names {}",
                named.join(", ")
            )
        })
        .collect()
}

/// Whether `word` stands in `text` with no letter, digit or underscore around it.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn src(files: &[(&str, &str)]) -> Vec<Source> {
        files
            .iter()
            .map(|(path, text)| Source::new(path, text))
            .collect()
    }

    #[test]
    fn the_table_has_no_cycle_and_leads_down_or_sideways_only() {
        let table = table();
        for (floor, module, names) in &table {
            for name in names.iter().filter(|name| *name != module) {
                let named = table.iter().find(|row| row.1 == *name).unwrap();
                assert!(
                    named.0 <= *floor,
                    "{module} on {floor} may name {name} above it"
                );
            }
        }
    }

    #[test]
    fn a_name_from_above_is_found_at_its_line() {
        let faults = floors(&src(&[
            ("src/model/id.rs", "use crate::store;\n"),
            (
                "src/wheel.rs",
                "\nuse super::{engine};\nfn f() { super::journal::g() }\n",
            ),
            ("src/helper.rs", ""),
            ("src/lib.rs", "pub mod gadget;\n"),
            ("src/sign.rs", "use crate::model::Secret;\nuse crate::*;\n"),
        ]));
        assert_eq!(
            faults,
            [
                "src/model/id.rs:1: `model` may not name `store`",
                "src/wheel.rs:2: `wheel` may not name `engine`",
                "src/wheel.rs:3: `wheel` may not name `journal`",
                "src/helper.rs: the module `helper` is not in the table",
                "src/sign.rs:2: `sign` may not name `*`",
                "src/lib.rs: the module `gadget` is not in the table",
            ]
        );
    }

    #[test]
    fn tests_may_name_their_own_floor_and_no_higher() {
        let text =
            "#[cfg(test)]\nmod tests {\n    use crate::receiver;\n    use crate::engine;\n}\n";
        let faults = floors(&src(&[("src/sender.rs", text)]));
        assert_eq!(faults, ["src/sender.rs:4: `sender` may not name `engine`"]);
        let files = [
            ("src/sender.rs", "#[cfg(test)]\nmod trials;\n"),
            ("src/sender/trials.rs", "use crate::receiver;\n"),
        ];
        assert!(floors(&src(&files)).is_empty());
    }

    #[test]
    fn a_cycle_is_found_and_a_chain_is_none() {
        let chain = [
            ("src/daemon.rs", "use crate::demo;"),
            ("src/demo.rs", "use crate::api;"),
        ];
        assert!(cycles(&src(&chain)).is_empty());
        let ring = [
            ("src/daemon.rs", "use crate::demo;"),
            ("src/demo.rs", "use crate::api;"),
            ("src/api.rs", "use crate::daemon;"),
            ("src/model.rs", ""),
        ];
        assert_eq!(cycles(&src(&ring)).len(), 3);
    }

    #[test]
    fn form_and_leftovers_are_found() {
        let long = format!("//! Long.\n{}", "\n".repeat(LINES_MAX));
        assert_eq!(form(&Source::new("src/a.rs", &long)).len(), 1);
        assert_eq!(form(&Source::new("src/a/mod.rs", "//! A.\n")).len(), 1);
        assert_eq!(form(&Source::new("src/a.rs", "use x;\n//! A.\n")).len(), 1);
        let text =
            "// TODO later\nfn f() { todo!() }\n#[allow(dead_code)]\nlet mastodon = TODOS;\n";
        assert_eq!(unfinished(&Source::new("src/a.rs", text)).len(), 3);
    }

    #[test]
    fn a_vendor_is_found_outside_of_tests_only() {
        let text = "// as DataFlow does\nconst A: &str = \"X-Flock-Signature\";\nfn f() { rustix::fs::flock(); }\n\
                    #[cfg(test)]\nmod tests {\n    const B: &str = \"driftguard\";\n}\nlet x = DRIFTLOCK;\n";
        let faults = vendors(&Source::new("src/a.rs", text), false);
        assert_eq!(
            faults,
            [
                "src/a.rs:1: names dataflow",
                "src/a.rs:8: names driftlock",
                "src/a.rs:2: names flock",
            ]
        );
    }
}
