//! The mistakes that a config can have, one at a time: each with its place, its field and its fix.

use proptest::prelude::*;

use super::{account, at, example, faults, find, parse};

/// Each with a part of a config that is right but for one fault, the text at which the fault must be
/// reported, the field, and a piece of the message.
#[rustfmt::skip] // a table, one row a line
const ONE_FAULT: &[(&str, &str, &str, &str)] = &[
    ("[server]\nlisten = \"localhost:8420\"", "\"localhost", "server.listen", "as numbers: \"127.0.0.1:8420\""),
    ("[server]\nlisten = \"127.0.0.1\"", "\"127", "server.listen", "not an address with a port"),
    ("[server]\nlisten = \"127.0.0.1:99999\"", "\"127", "server.listen", "not an address with a port"),
    ("[server]\nlisten = 8420", "8420", "server.listen", "must be a string, but is a whole number"),
    ("[server]\nlisten = [\"127.0.0.1:1\"]", "[\"127", "server.listen", "but is a list"),
    ("[server]\nlisten = { port = 1 }", "{ port", "server.listen", "but is a table"),
    ("[server]\nlisten = true", "true", "server.listen", "but is true or false"),
    ("[server]\nlisten = 1.5", "1.5", "server.listen", "a number with a fraction"),
    ("[server]\nlisten = 2026-01-01", "2026", "server.listen", "but is a date"),
    ("[server]\nlisen = \"127.0.0.1:1\"", "lisen", "server.lisen", "did you mean `listen`?"),
    ("[server]\nxyzzy = 1", "xyzzy", "server.xyzzy", "known here: listen, body_limit"),
    ("[server]\nbody_limit = \"64MB\"", "\"64MB", "server.body_limit", "write `64MiB`"),
    ("[server]\nbody_limit = \"5MiB\"", "\"5MiB", "server.body_limit", "write \"1KiB\" to \"4MiB\""),
    ("[server]\nbody_limit = 262144", "262144", "server.body_limit", "without a unit; write it with a unit, in quotes, such as \"256KiB\""),
    ("[server]\nbody_limit = \"262144\"", "\"262144", "server.body_limit", "`262144B` for bytes"),
    ("[server]\nbody_limit = \"lots\"", "\"lots", "server.body_limit", "`lots` is not a size"),
    ("[server]\nconnections_max = 0", "0", "server.connections_max", "write a number from 1 to 32768"),
    ("[server]\nconnections_max = -1", "-1", "server.connections_max", "is out of range"),
    ("[server]\nconnections_max = 99999999999999999999", "9999", "server.connections_max", "is out of range"),
    ("[server]\nconnections_max = \"1024\"", "\"1024", "server.connections_max", "without quotes, such as 1024"),
    ("[server]\nheader_timeout = 10", "10", "server.header_timeout", "in quotes, such as \"10s\""),
    ("[server]\nheader_timeout = \"10 s\"", "\"10 s", "server.header_timeout", "`10 s` is not a duration"),
    ("[server]\nbody_timeout = \"1h\"", "\"1h", "server.body_timeout", "write \"1s\" to \"10m\""),
    ("[storage]\npath = \"\"", "\"\"", "storage.path", "is not a path"),
    ("[storage]\nretention_age = \"1w\"", "\"1w", "storage.retention_age", "such as \"30d\""),
    ("[storage]\nretention_size = \"100MiB\"", "\"100MiB", "storage.retention_size", "twice segment_size"),
    ("[storage]\nsegment_size = \"2GiB\"", "\"2GiB", "storage.segment_size", "write \"1MiB\" to \"1GiB\""),
    ("[storage]\ndisk_reserve = \"1MiB\"", "\"1MiB", "storage.disk_reserve", "write \"16MiB\" to \"1TiB\""),
    ("[server]\nbody_limit = \"4MiB\"\n[storage]\nsegment_size = \"8MiB\"", "\"8MiB", "storage.segment_size", "four times server.body_limit"),
    ("[storage]\ncahce = \"32MiB\"", "cahce", "storage.cahce", "did you mean `cache`?"),
    ("[delivery]\nin_flight_max = 10", "10", "delivery.in_flight_max", "all together only 10"),
    ("[delivery]\nin_flight_max = 10\nin_flight_per_webhook_max = 11", "11", "delivery.in_flight_per_webhook_max", "all together only 10"),
    ("[delivery]\nstop_grace = \"1h\"", "\"1h", "delivery.stop_grace", "write \"0s\" to \"10m\""),
    ("[delivery]\nresponse_body_max = \"16kb\"", "\"16kb", "delivery.response_body_max", "write `16KiB`"),
    ("[egress]\nallow = \"10.0.0.0/8\"", "\"10", "egress.allow", "write it in brackets"),
    ("[egress]\nallow = [\"10.0.0.0/8\", 7]", "7", "egress.allow[1]", "but is a whole number"),
    ("[egress]\nallow = [\"10.20.0.1/16\"]", "\"10.20", "egress.allow[0]", "write `10.20.0.0/16`"),
    ("[egress]\nallow = [\"intranet\"]", "\"intranet", "egress.allow[0]", "not an address range"),
    ("[egress]\nallow = [\"10.0.0.0/33\"]", "\"10.0", "egress.allow[0]", "not an address range"),
    ("[egress]\nallow = [\"169.254.169.254\"]", "\"169", "egress.allow[0]", "can never be allowed: it is link-local"),
    ("[egress]\nallow = [\"ff02::/16\"]", "\"ff02", "egress.allow[0]", "can never be allowed: it is multicast"),
    ("[egress]\nallow = [\"::ffff:10.0.0.1\"]", "\"::ffff", "egress.allow[0]", "write it as IPv4"),
    ("[egress]\nallow = [\"10.1.0.0/16\"]\ndeny = [\"10.0.0.0/8\"]", "\"10.1", "egress.allow[0]", "denied by egress.deny (`10.0.0.0/8`)"),
    ("[egress]\nextra_ca = [\"missing.pem\"]", "\"missing", "egress.extra_ca[0]", "`/etc/hookwheel/missing.pem` cannot be read"),
    ("[egress]\nresolver = \"dns\"", "\"dns", "egress.resolver", "write \"built-in\" or \"system\""),
    ("[egress]\nforwarder = \"x\"", "forwarder", "egress.forwarder", "unknown key"),
    ("[alerts]\naccount = \"acm\"", "\"acm", "alerts.account", "did you mean `acme`?"),
    ("[alerts]\naccount = \"nobody\"", "\"nobody", "alerts.account", "there is no account `nobody`; name one of the [[accounts]]"),
    ("[alerts]\naccount = 5", "5", "alerts.account", "must be a string"),
    ("[alerts]\nbacklog_high = -1", "-1", "alerts.backlog_high", "write a number from 0 to 1000000"),
    ("[alerts]\nbacklog_hihg = 1", "backlog_hihg", "alerts.backlog_hihg", "did you mean `backlog_high`?"),
    ("[log]\nlevel = \"inof\"", "\"inof", "log.level", "`inof` is not a level"),
    ("[log]\nformat = \"xml\"", "\"xml", "log.format", "write \"text\" or \"json\""),
    ("[sever]\nlisten = \"127.0.0.1:1\"", "sever", "sever", "did you mean `server`?"),
    ("server = 1", "1", "server", "must be a table, but is a whole number"),
    ("[[server]]\nlisten = \"127.0.0.1:1\"", "[[server", "server", "must be a table, but is a list"),
    ("profiles = 1", "1", "profiles", "[profiles.NAME]"),
    ("[profiles.standard]\ntimeout = \"1s\"", "standard]", "profiles.standard", "extends = \"standard\""),
    ("[profiles.mine]\ntimeout = \"1s\"", "mine]", "profiles.mine", "`extends` is missing"),
    ("[profiles.\"My Own\"]\ntimeout = \"1s\"", "\"My", "profiles.My Own", "a-z, 0-9"),
    ("[profiles]\nmine = 1", "1", "profiles.mine", "invalid type: integer"),
];

#[test]
fn each_mistake_has_its_place_its_field_and_its_fix() {
    assert!(ONE_FAULT.len() >= 40);
    for (part, marked, field, piece) in ONE_FAULT {
        let text = format!("{part}\n{}", account());
        let found = faults(parse(&text));
        assert_eq!(found.len(), 1, "{part}: {found:#?}");
        let fault = &found[0];
        assert_eq!(at(fault), find(&text, marked), "{part}: {fault}");
        assert_eq!(fault.field, *field, "{part}: {fault}");
        assert!(fault.to_string().contains(piece), "{part}: {fault}");
        assert!(!fault.fix.is_empty(), "{part}: {fault}");
    }
}

#[test]
fn each_mistake_in_an_account_has_its_place_its_field_and_its_fix() {
    let hash = |digit: &str| format!("hash = \"sha256:{}\"", digit.repeat(64));
    let key = |name: &str, digit: &str| {
        format!(
            "[[accounts.keys]]\nname = \"{name}\"\nscopes = [\"read\"]\n{}\n",
            hash(digit)
        )
    };
    let account = "[[accounts]]\nname = \"acme\"\n";
    let with_key = |lines: &str| format!("{account}[[accounts.keys]]\n{lines}");
    let (a, b) = (key("a", "a"), key("b", "b"));
    let full = "name = \"k\"\nscopes = [\"read\"]\n";
    #[rustfmt::skip] // a table, one row a line
    let cases: Vec<(String, (usize, usize), &str, &str)> = vec![
        (String::new(), (1, 1), "accounts", "add an [[accounts]] table"),
        ("[accounts]\nname = \"a\"".into(), (1, 1), "accounts", "[[accounts]]"),
        ("accounts = [1]".into(), (1, 13), "accounts[0]", "must be a table"),
        (account.into(), (1, 1), "accounts[0].keys", "add an [[accounts.keys]] table"),
        (format!("[[accounts]]\n{a}"), (1, 1), "accounts[0].name", "is missing"),
        (format!("[[accounts]]\nname = \"Acme\"\n{a}"), (2, 8), "accounts[0].name", "1 to 64 characters of a-z"),
        (format!("{account}{a}{account}{b}"), (8, 8), "accounts[1].name", "already, in line 2"),
        (format!("{account}{a}[[accounts]]\nname = \"b\"\n{a}"), (12, 8), "accounts[1].keys[0].hash", "already, in line 6"),
        (format!("{account}{a}{}", key("a", "b")), (8, 8), "accounts[0].keys[1].name", "already, in line 4"),
        (format!("{account}profile = \"standart\"\n{a}"), (3, 11), "accounts[0].profile", "did you mean `standard`? known: "),
        (format!("{account}profle = \"standard\"\n{a}"), (3, 1), "accounts[0].profle", "did you mean `profile`?"),
        (with_key(&format!("scopes = [\"read\"]\n{}", hash("a"))), (3, 1), "accounts[0].keys[0].name", "is missing"),
        (with_key(&format!("name = \"\"\nscopes = [\"read\"]\n{}", hash("a"))), (4, 8), "accounts[0].keys[0].name", "printable"),
        (with_key(full), (3, 1), "accounts[0].keys[0].hash", "or file ="),
        (with_key(&format!("{full}{}\nfile = \"x\"", hash("a"))), (7, 8), "accounts[0].keys[0].file", "either hash or file"),
        (with_key(&format!("{full}hash = \"md5:00\"")), (6, 8), "accounts[0].keys[0].hash", "does not start with `sha256:`"),
        (with_key(&format!("{full}hash = \"sha256:00\"")), (6, 8), "accounts[0].keys[0].hash", "has 2 characters"),
        (with_key(&format!("{full}{}", hash("A"))), (6, 8), "accounts[0].keys[0].hash", "upper-case"),
        (with_key(&format!("{full}file = \"none.key\"")), (6, 8), "accounts[0].keys[0].file", "create it, or correct the path"),
        (with_key(&format!("name = \"k\"\n{}", hash("a"))), (3, 1), "accounts[0].keys[0].scopes", "is missing"),
        (with_key(&format!("name = \"k\"\nscopes = [\"write\"]\n{}", hash("a"))), (5, 11), "accounts[0].keys[0].scopes[0]", "no scope `write`"),
        (with_key(&format!("name = \"k\"\nscopes = [\"read\", \"read\"]\n{}", hash("a"))), (5, 19), "accounts[0].keys[0].scopes[1]", "twice"),
        (with_key(&format!("{full}{}\nkey = \"hunter2\"", hash("a"))), (7, 1), "accounts[0].keys[0].key", "known here: name, hash, file, scopes"),
        (format!("{account}keys = [{{ name = \"k\", hash = \"hunter2\", scopes = [\"read\"] }}]"), (3, 30), "accounts[0].keys[0].hash", "does not start"),
    ];
    for (text, place, field, piece) in cases {
        let found = faults(parse(&text));
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        let shown = found[0].to_string();
        assert_eq!(at(&found[0]), place, "{text}\n{shown}");
        assert_eq!(found[0].field, field, "{text}\n{shown}");
        assert!(shown.contains(piece), "{text}\n{shown}");
        assert!(!shown.contains("hunter2"), "a secret was printed: {shown}");
    }
}

proptest! {
    /// Whatever a slip of the hand makes of a config, the answer is a config, or faults with places in it.
    #[test]
    fn a_slip_anywhere_is_answered_and_never_a_panic(
        at_char in 0usize..8000, cut in 0usize..12, typed in "[a-z0-9\"'=\\[\\]{}.,#\n é-]{0,4}",
    ) {
        // Without its comments: a slip in one changes nothing.
        let text: String = example()
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(|line| [line, "\n"])
            .collect();
        let chars: Vec<char> = text.chars().collect();
        let from = at_char % chars.len();
        let until = (from + cut).min(chars.len());
        let slipped: String = chars[..from]
            .iter()
            .copied()
            .chain(typed.chars())
            .chain(chars[until..].iter().copied())
            .collect();
        if let Err(errors) = parse(&slipped) {
            prop_assert!(!errors.faults().is_empty());
            let lines = slipped.lines().count() + 1;
            for fault in errors.faults() {
                let (line, column) = at(fault);
                prop_assert!((1..=lines).contains(&line) && column >= 1, "{}", fault);
                prop_assert!(!fault.problem.is_empty() && !fault.fix.is_empty(), "{}", fault);
            }
        }
    }
}
