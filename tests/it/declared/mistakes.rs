//! Entries that are refused: all that is wrong at once, each with line, column and what to do, and no secret in it.

use super::{SECRET, entry, secret, site};
use crate::support::{Site, hookwheel};

/// What `check` says of a config with these lines at its end; the line of the first of them is 1 here.
fn check(site: &Site, entries: &str) -> (Option<i32>, String) {
    let before = site.config(true).lines().count();
    let path = site.path("config.toml");
    std::fs::write(&path, site.config(true) + entries).unwrap();
    let output = hookwheel()
        .args(["check", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let mut shown = String::new();
    for line in said.lines() {
        let place = line
            .split_once("config.toml:")
            .and_then(|(_, rest)| rest.split_once(':'));
        match place.and_then(|(number, rest)| Some((number.parse::<usize>().ok()?, rest))) {
            Some((number, rest)) => shown.push_str(&format!("{}:{rest}\n", number - before)),
            None => shown.push_str(&format!("{line}\n")),
        }
    }
    (output.status.code(), shown)
}

const URL: &str = "https://hooks.example/in";

/// What is done to an entry that is right.
enum Change {
    Url(&'static str),
    /// A further line.
    More(&'static str),
    Swap(&'static str, &'static str),
    Twice,
}

use Change::{More, Swap, Twice, Url};

const MISTAKES: [(Change, &[&str]); 30] = [
    (
        Url("http://hooks.example/"),
        &["4:7: webhooks[0].url: must start with https://; write an https URL"],
    ),
    (
        Url("https://169.254.169.254/"),
        &[
            "4:7: webhooks[0].url: is an address that is refused (rule `",
            "no setting allows it",
        ],
    ),
    (
        Url("https://10.1.2.3/"),
        &["4:7: webhooks[0].url: ", "allow = [\"10.1.2.3/32\"]"],
    ),
    (
        Url("https://user:pw@hooks.example/"),
        &["4:7: webhooks[0].url: "],
    ),
    (
        Swap("\"standard\"", "\"standart\""),
        &["2:11: webhooks[0].account: there is no account `standart`; did you mean `standard`?"],
    ),
    (
        Swap("account", "acount"),
        &[
            "1:1: webhooks[0].account: is missing",
            "2:1: webhooks[0].acount: unknown key; did you mean `account`?",
        ],
    ),
    (
        Swap("name = \"a\"", "name = \"Big One\""),
        &["3:8: webhooks[0].name: `Big One` cannot be a name; write 1 to 64"],
    ),
    (
        Twice,
        &[
            "9:8: webhooks[1].name: the account `standard` has a webhook `a` already",
            "another name",
        ],
    ),
    (
        Swap("hook.secret", "gone.secret"),
        &[
            "5:15: webhooks[0].secret_file: `",
            "create it, or correct the path",
        ],
    ),
    (
        Swap("hook.secret", "short"),
        &[
            "5:15: webhooks[0].secret_file: ",
            "24 to 64 bytes",
            "hookwheel key secret",
        ],
    ),
    (
        Swap("hook.secret", "two-lines"),
        &["5:15: webhooks[0].secret_file: ", "one line of text"],
    ),
    (
        Swap("secret_file", "# "),
        &[
            "1:1: webhooks[0].secret_file: is missing; add secret_file = \"…\"",
            "hookwheel key secret --profile standard",
        ],
    ),
    (
        More("secret = \"hunter2hunter2\""),
        &[
            "6:1: webhooks[0].secret: is a secret, which the config does not hold; put it into a file",
            "secret_file",
        ],
    ),
    (
        More("bearer_token = \"hunter2hunter2\""),
        &["6:1: webhooks[0].bearer_token: ", "bearer_token_file"],
    ),
    (
        More("format = \"slak\""),
        &["6:10: webhooks[0].format: is not a format here; did you mean `slack`? there are"],
    ),
    (
        More("tls = \"partner\""),
        &["6:7: webhooks[0].tls: names no TLS settings of this account"],
    ),
    (
        More("events = [\"ok\", \"a*b\"]"),
        &["6:17: webhooks[0].events[1]: "],
    ),
    (
        More("events = \"all\""),
        &["6:10: webhooks[0].events: must be a list of strings"],
    ),
    (
        More("filter = { data = { plan = 7 } }"),
        &["6:28: webhooks[0].filter.data.plan: "],
    ),
    (
        More("filter = '{\"data\": '"),
        &[
            "6:10: webhooks[0].filter: is not JSON",
            "write an event pattern",
        ],
    ),
    (
        More("filter = { at = [2020-01-01] }"),
        &["6:18: webhooks[0].filter.at[0]: must not be a date"],
    ),
    (
        More("timeout = \"1h\""),
        &["6:11: webhooks[0].timeout: must be from 100ms to 5m"],
    ),
    (
        More("retry = { delays = [\"5s\", \"soon\"] }"),
        &["6:27: webhooks[0].retry.delays[1]: "],
    ),
    (
        More("order = \"lifo\""),
        &["6:9: webhooks[0].order: must be \"none\""],
    ),
    (
        More("headers = { Host = \"hunter2hunter2\" }"),
        &["6:13: webhooks[0].headers.Host: "],
    ),
    (
        More("headers = { X-A = { file = \"x\" } }"),
        &["6:19: webhooks[0].headers.X-A: is no header's value; write a table"],
    ),
    (
        More(
            "oauth2 = { token_url = \"http://auth.example/\", client_id = \"a\", client_secret = \"hunter2hunter2\" }",
        ),
        &[
            "6:65: webhooks[0].oauth2.client_secret: is a secret",
            "client_secret_file",
            "6:24: webhooks[0].oauth2.token_url: must start with https://",
            "2 errors",
        ],
    ),
    (
        More("oauth2 = { token_url = \"https://auth.example/\", client_id = \"a\" }"),
        &[
            "6:10: webhooks[0].oauth2.client_secret_file: is missing; add",
            "1 error",
        ],
    ),
    (
        More("active = \"no\""),
        &["6:10: webhooks[0].active: must be true or false"],
    ),
    (
        More("retry_backoff = inf"),
        &["6:17: webhooks[0].retry_backoff: is a number that JSON has not"],
    ),
];

#[test]
fn each_mistake_is_told_at_its_place_with_what_to_do() {
    let site = site();
    std::fs::write(site.path("short"), "whsec_AAAA").unwrap();
    std::fs::write(site.path("two-lines"), "a\nb\n").unwrap();
    let right = entry("a", URL, "");
    let mut wrong = Vec::new();
    for (change, expected) in MISTAKES {
        let text = match change {
            Url(url) => entry("a", url, ""),
            More(line) => entry("a", URL, line),
            Swap(from, to) => right.replace(from, to),
            Twice => right.repeat(2),
        };
        let (code, said) = check(&site, &text);
        if code != Some(64) || !expected.iter().all(|piece| said.contains(piece)) {
            wrong.push(format!("not {code:?} with all of {expected:?}:\n{said}"));
        }
        for hidden in ["hunter2", SECRET, "AAAA", "user:pw"] {
            assert!(!said.contains(hidden), "{hidden} is shown:\n{said}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_that_is_wrong_is_told_at_once_and_what_is_right_is_counted() {
    let site = site();
    let wrong = entry(
        "a",
        "http://x.example/",
        "format = \"slak\"\ncolour = \"blue\"",
    ) + &entry("B", "https://10.0.0.1/", "timeout = 1000");
    let (code, said) = check(&site, &wrong);
    assert_eq!(code, Some(64));
    assert!(said.ends_with("6 errors in the config\n"), "{said}");

    let all = entry(
        "a.b-c_1",
        URL,
        "events = [\"order.*\"]\nscope = \"eu\"\nactive = false\ndescription = \"…\"\nfilter = { data = { n = [{ numeric \
         = [\">\", 1.5] }] } }\nformat = \"slack\"\norder = { key = \"/id\" }\ntimeout = 2.5\nretry = { max_retries = 3, \
         initial = \"1s\", multiplier = 1_0.5 }\nauth_header = \"X-Auth\"\nauth_value_file = \"hook.secret\"\noauth2 = { \
         token_url = \"https://auth.example/\", client_id = \"a\", client_secret_file = \"hook.secret\" }",
    );
    let (code, said) = check(&site, &all);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 declared webhook(s)"), "{said}");
    let (code, said) = check(&site, "");
    assert!(
        code == Some(0) && said.contains("0 declared webhook(s)"),
        "{said}"
    );

    let many: String = (0..1001)
        .map(|number| entry(&format!("n{number}"), URL, ""))
        .collect();
    let (code, said) = check(&site, &many);
    assert_eq!(code, Some(64));
    assert!(
        said.contains("webhooks[1000]: is one more than the 1000 webhooks"),
        "{said}"
    );
    assert!(said.ends_with("1 error in the config\n"), "{said}");
    secret(&site, "hookwheel-sealed-1:aaaa");
    let (code, said) = check(&site, &entry("a", URL, ""));
    assert!(
        code == Some(64) && said.contains("as sealed secrets do"),
        "{said}"
    );
}
