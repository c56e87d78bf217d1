//! The config as an operator meets it: the example, the defaults, overrides, and every kind of mistake.

mod mistakes;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hookwheel::config::{Config, ConfigError, ConfigErrors, Place};
use hookwheel::model::Scope;

const KEY: &str = "[[accounts.keys]]\nname = \"k\"\nscopes = [\"read\"]\nhash = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n";

/// An account that is right, to stand below a part that is not.
fn account() -> String {
    format!("[[accounts]]\nname = \"acme\"\n{KEY}")
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, "c.toml", Path::new("/etc/hookwheel"), [])
}

fn parse_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(text, "c.toml", Path::new("/etc/hookwheel"), variables)
}

fn faults(result: Result<Config, ConfigErrors>) -> Vec<ConfigError> {
    let errors = result.expect_err("the config was taken");
    assert!(!errors.faults().is_empty(), "{errors}");
    errors.faults().to_vec()
}

fn at(fault: &ConfigError) -> (usize, usize) {
    match &fault.place {
        Place::File { line, column, .. } => (*line, *column),
        Place::Environment(name) => panic!("{name} is no place in a file"),
    }
}

/// Where in `text` the first `marked` begins: line and column from 1.
fn find(text: &str, marked: &str) -> (usize, usize) {
    let byte = text.find(marked).unwrap();
    let before = &text[..byte];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    (line, column)
}

#[test]
fn all_faults_of_a_file_are_reported_in_its_order() {
    let text = "[server]\nlisen = \"x\"\nbody_limit = \"9MB\"\n\n[log]\nlevel = \"loud\"\n\n[storage]\n\
                path = 7\n\n[egress]\nallow = [\"x\", \"224.0.0.1\"]\n\n[[accounts]]\nprofile = \"none\"\n";
    let errors = parse(text).unwrap_err();
    let places: Vec<(usize, usize)> = errors.faults().iter().map(at).collect();
    assert_eq!(
        places,
        [
            (2, 1),
            (3, 14),
            (6, 9),
            (9, 8),
            (12, 10),
            (12, 15),
            (14, 1),
            (14, 1),
            (15, 11)
        ]
    );
    let report = errors.to_string();
    assert!(report.ends_with("9 errors in the config"), "{report}");
    let line = "c.toml:3:14: server.body_limit: `MB` is not a unit here: sizes are counted in binary units; \
                write `9MiB`\n  |\n3 | body_limit = \"9MB\"\n  |              ^^^^^\n";
    assert!(report.contains(line), "{report}");
}

#[test]
fn all_syntax_errors_are_reported_with_their_lines() {
    for (text, place, piece) in [
        ("[server\n", (1, 8), "unclosed table"),
        ("a =\n", (1, 4), "write the value in quotes"),
        ("a = 1\na = 2\n", (2, 1), "duplicate key; keep one"),
        ("[log]\n[log]\n", (2, 2), "duplicate key"),
        ("a = \"x\n", (1, 7), "invalid basic string"),
        ("a = [1,\n", (1, 8), "unclosed array"),
        ("hash = hunter2\n", (1, 8), "not TOML"),
    ] {
        let found = faults(parse(text));
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        let shown = found[0].to_string();
        assert_eq!(at(&found[0]), place, "{text}: {shown}");
        assert!(shown.contains(piece), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let two = faults(parse("listen = 127.0.0.1:80\n[log]\nlevel = info\n"));
    assert_eq!(
        two.iter().map(|fault| at(fault).0).collect::<Vec<_>>(),
        [1, 3]
    );
}

#[test]
fn the_least_config_has_the_documented_defaults() {
    let config = parse(&account()).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8420");
    assert_eq!(config.server.body_bytes_max, 256 * 1024);
    assert_eq!(config.server.body_memory, 64 << 20);
    assert_eq!(config.server.answer_memory, 64 << 20);
    assert_eq!(config.server.answer_rate_min, 4 << 10);
    assert!(config.server.dashboard);
    assert_eq!(config.storage.path, PathBuf::from("/var/lib/hookwheel"));
    assert_eq!(config.storage.retention_age_ms, 30 * 86_400_000);
    assert_eq!(config.storage.retention_bytes, 20 << 30);
    assert_eq!(config.storage.disk_reserve_bytes, 256 << 20);
    assert_eq!(config.delivery.in_flight_max, 1024);
    assert_eq!(config.delivery.in_flight_per_webhook_max, 64);
    assert_eq!(config.delivery.stop_grace, Duration::from_secs(20));
    assert_eq!(config.delivery.resume_per_second, 100);
    assert_eq!(config.sender.response_body_max, 16 * 1024);
    assert!(config.sender.extra_ca.is_empty());
    assert_eq!(config.accounts[0].profile, "standard");
    let scopes = config.accounts[0].keys[0].scopes;
    assert!(scopes.contains(Scope::Read) && !scopes.contains(Scope::Admin));
}

#[test]
fn the_example_says_exactly_the_defaults() {
    let example = parse(&example()).unwrap();
    let least = parse(
        "[[accounts]]\nname = \"acme\"\n[[accounts.keys]]\nname = \"backend\"\nscopes = [\"admin\", \"send\", \"read\"]\n\
         hash = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n",
    )
    .unwrap();
    // The options of other modules have no equality of their own; what they print is all of them.
    assert_eq!(format!("{example:#?}"), format!("{least:#?}"));
}

#[test]
fn the_example_shows_every_key_and_no_other() {
    let shown = keys_shown(&example());
    let known = Config::known_keys();
    assert!(known.len() > 20, "{known:?}");
    assert_eq!(shown, known);
}

fn example() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml")).unwrap()
}

/// The keys that an example sets or shows in a comment (`# key = value`), outside of tables whose names are free.
fn keys_shown(text: &str) -> BTreeSet<String> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if line.starts_with('[') && line.ends_with(']') {
            let list = line.starts_with("[[");
            let name = line
                .trim_matches(['[', ']'])
                .replace("accounts.", "accounts[].");
            section = if list { format!("{name}[]") } else { name };
        } else if let Some((key, _)) = line.split_once(" = ")
            && key
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && !section.starts_with("profiles")
            && !section.starts_with("formats")
            && !section.starts_with("egress.tls")
        {
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}

#[test]
fn the_environment_overrides_the_file() {
    let text = format!("[server]\nlisten = \"127.0.0.1:1\"\n{}", account());
    let config = parse_with(
        &text,
        &[
            ("HOOKWHEEL_SERVER__LISTEN", "[::1]:99"),
            ("HOOKWHEEL_SERVER__CONNECTIONS_MAX", "7"),
            ("HOOKWHEEL_STORAGE__PATH", "data"),
            ("HOOKWHEEL_EGRESS__ALLOW", "[\"10.0.0.0/8\"]"),
            ("HOOKWHEEL_DELIVERY__STOP_GRACE", "5s"),
            ("HOOKWHEEL_API_KEY", "not an override"),
            ("OTHER__THING", "not ours"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.listen.to_string(), "[::1]:99");
    assert_eq!(config.server.connections_max, 7);
    assert_eq!(config.storage.path, PathBuf::from("/etc/hookwheel/data"));
    assert_eq!(config.delivery.stop_grace, Duration::from_secs(5));
}

#[test]
fn faults_of_overrides_name_the_variable() {
    for (name, value, field, piece) in [
        (
            "HOOKWHEEL_SERVER__LISTEN",
            "nowhere",
            "server.listen",
            "not an address",
        ),
        (
            "HOOKWHEEL_SERVER__LISTN",
            "x",
            "server.listn",
            "did you mean HOOKWHEEL_SERVER__LISTEN?",
        ),
        (
            "HOOKWHEEL_ACCOUNTS__NAME",
            "x",
            "accounts.name",
            "unset it; every key of [server]",
        ),
        (
            "HOOKWHEEL_SERVER__CONNECTIONS_MAX",
            "many",
            "server.connections_max",
            "but is a string",
        ),
        (
            "HOOKWHEEL_LOG__LEVEL",
            "7",
            "log.level",
            "but is a whole number",
        ),
    ] {
        let found = faults(parse_with(&account(), &[(name, value)]));
        assert_eq!(found.len(), 1, "{name}: {found:#?}");
        assert_eq!(found[0].place, Place::Environment(name.to_owned()));
        assert_eq!(found[0].field, field);
        assert!(found[0].to_string().contains(piece), "{}", found[0]);
    }
}

#[test]
fn a_defined_profile_can_be_used() {
    let text = format!(
        "[profiles.patient]\nextends = \"standard\"\ntimeout = \"30s\"\n{}",
        account().replace("name = \"acme\"", "name = \"acme\"\nprofile = \"patient\"")
    );
    let config = parse(&text).unwrap();
    assert_eq!(config.accounts[0].profile, "patient");
    assert_eq!(config.profiles.get("patient").unwrap().timeout_ms, 30_000);
    assert_eq!(config.profiles.get("standard").unwrap().timeout_ms, 20_000);
}

#[test]
fn all_faults_of_profiles_are_reported_and_none_that_only_follows() {
    let text = format!(
        "[profiles.a]\nextends = \"standard\"\ntimeot = \"1s\"\n\
         events_required = 5\nevent_types = [1, \"x.y\"]\ntimeout = \"late\"\n\
         [[profiles.a.signature]]\nheadr = \"X\"\n[profiles.a.secret]\nrotation = \"no\"\n[profiles.b]\nextends = \"a\"\n\
         [profiles.c]\nextends = \"d\"\n[profiles.d]\nextends = \"c\"\n\
         [profiles.e]\nextends = \"standard\"\ntimeout = \"soon\"\n[profiles.f]\nextends = \"none\"\n{}",
        account().replace("\"acme\"", "\"acme\"\nprofile = \"a\"")
    );
    let found = faults(parse(&text));
    let shown: Vec<((usize, usize), &str)> = found
        .iter()
        .map(|fault| (at(fault), fault.field.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ((3, 1), "profiles.a"),
            ((4, 19), "profiles.a"),
            ((5, 16), "profiles.a"),
            ((6, 11), "profiles.a"),
            ((8, 1), "profiles.a"),
            ((10, 12), "profiles.a"),
            ((14, 11), "profiles.c"),
            ((16, 11), "profiles.d"),
            ((19, 11), "profiles.e"),
            ((21, 11), "profiles.f"),
        ],
        "{found:#?}"
    );
}

#[test]
fn files_are_found_beside_the_config_read_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    let authority = {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .self_signed(&rcgen::KeyPair::generate().unwrap())
            .unwrap()
            .pem()
    };
    let cut = authority.replacen("-----END", "====", 1);
    let files: [(&str, &[u8]); 7] = [
        ("ca.pem", authority.as_bytes()),
        ("cut.pem", cut.as_bytes()),
        ("empty.pem", b""),
        ("good.key", b"0123456789abcdef\n"),
        ("short.key", b"hunter2\n"),
        ("two.key", b"0123456789abcdef\n\n"),
        ("empty.key", b"\n"),
    ];
    for (name, bytes) in files {
        fs::write(base.join(name), bytes).unwrap();
    }
    let config = |ca: &str, key: &str| {
        let text = format!(
            "[egress]\nextra_ca = [\"{ca}\"]\n[[accounts]]\nname = \"a\"\n[[accounts.keys]]\nname = \"k\"\n\
             scopes = [\"send\"]\nfile = \"{key}\"\n"
        );
        Config::parse(&text, "c.toml", base, [])
    };
    let good = config("ca.pem", "good.key").unwrap();
    assert_eq!(good.sender.extra_ca.len(), 1);
    // printf %s 0123456789abcdef | sha256sum
    assert_eq!(
        good.accounts[0].keys[0].sha256[..4],
        [0x9f, 0x9f, 0x51, 0x11]
    );
    for (ca, key, line, piece) in [
        ("cut.pem", "good.key", 2, "cut.pem`"),
        ("empty.pem", "good.key", 2, "holds no certificate"),
        ("good.key", "good.key", 2, "holds no certificate"),
        (".", "good.key", 2, "cannot be read"),
        ("ca.pem", "short.key", 8, "shorter than 16"),
        ("ca.pem", "two.key", 8, "line breaks"),
        ("ca.pem", "empty.key", 8, "is empty"),
        ("ca.pem", "/dev/zero", 8, "larger than 4096 bytes"),
    ] {
        let found = faults(config(ca, key));
        assert_eq!(found.len(), 1, "{ca} {key}: {found:#?}");
        assert_eq!(at(&found[0]).0, line, "{}", found[0]);
        assert!(found[0].to_string().contains(piece), "{}", found[0]);
        assert!(!found[0].to_string().contains("hunter2"), "{}", found[0]);
    }
}

#[test]
fn a_file_that_is_not_there_or_not_text_has_a_message_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    let missing = Config::load(&path).unwrap_err();
    assert!(missing.faults().is_empty());
    let shown = missing.to_string();
    assert!(
        shown.contains("config.toml") && shown.contains("create it"),
        "{shown}"
    );

    fs::write(&path, b"[log]\nlevel = \"\xff\"\n").unwrap();
    let found = faults(Config::load(&path));
    assert_eq!(at(&found[0]), (2, 10), "{}", found[0]);
    assert!(found[0].fix.contains("UTF-8"));

    fs::write(&path, account()).unwrap();
    assert_eq!(Config::load(&path).unwrap().accounts.len(), 1);
}
