//! What the help of each command that asks a daemon has besides its options: examples, and what its exit codes mean.
//!
//! They stand in one table, so that they can be read side by side. A command without an entry fails the tests of `cli`.

use clap::Command;

const NAMES: &str = "\
A webhook is named by its id, by the beginning of it, or by its name; events and
jobs by the beginning of their ids.";

const CODES: &str = "\
Exit codes: 0 done; 1 failed, or refused by the daemon; 64 the command line is
wrong, or a question was not answered.";

const CODES_ARRIVED: &str = "\
Exit codes: 0 done, and with --wait all of it arrived; 1 failed, refused by the
daemon, or something did not arrive; 64 the command line is wrong.";

/// A command: its words behind `hookwheel`, its examples without that word, and its exit codes.
type Entry = (&'static str, &'static [&'static str], &'static str);

const ENTRIES: &[Entry] = &[
    (
        "webhook",
        &[
            "webhook add https://example.com/hook --name shop -e 'order.*'",
            "webhook list",
            "webhook test shop",
        ],
        CODES,
    ),
    (
        "webhook list",
        &["webhook list", "webhook list --json | jq -r '.data[].url'"],
        CODES,
    ),
    (
        "webhook add",
        &[
            "webhook add https://example.com/hook --name shop",
            "webhook add https://example.com/hook -e order.created,order.paid \\\n    --secret-out hook.secret",
            "webhook add https://example.com/hook --format slack \\\n    --filter '{\"data\": {\"severity\": [\"Critical\", \"High\"]}}'",
            "webhook add --from webhook.json",
        ],
        CODES,
    ),
    (
        "webhook show",
        &["webhook show shop", "webhook show wh_0198"],
        CODES,
    ),
    (
        "webhook edit",
        &[
            "webhook edit shop --to https://example.com/new",
            "webhook edit shop -e 'order.*' --retry 5s,5m,1h",
            "webhook edit shop --timeout 10s --clear filter",
        ],
        CODES,
    ),
    (
        "webhook remove",
        &["webhook remove shop", "webhook remove shop --yes"],
        CODES,
    ),
    ("webhook enable", &["webhook enable shop"], CODES),
    ("webhook disable", &["webhook disable shop"], CODES),
    (
        "webhook test",
        &["webhook test shop"],
        "Exit codes: 0 its receiver took the example; 1 it did not, or the daemon\n\
         refused; 64 the command line is wrong.",
    ),
    (
        "webhook rotate",
        &[
            "webhook rotate shop --keep-old 24h --secret-out new.secret",
            "webhook rotate shop --stage       then, once it is deployed:",
            "webhook rotate shop --promote",
        ],
        CODES,
    ),
    (
        "webhook discard",
        &[
            "webhook discard shop",
            "webhook discard shop --until 2d --yes",
        ],
        CODES,
    ),
    (
        "webhook verifier",
        &[
            "webhook verifier shop --language python > verify.py",
            "webhook verifier shop -l go",
        ],
        CODES,
    ),
    (
        "event",
        &[
            "event send order.created --data '{\"order\": 7}' --wait",
            "event list --limit 10",
            "event explain evt_0198",
        ],
        CODES,
    ),
    (
        "event send",
        &[
            "event send order.created --data '{\"order\": 7}'",
            "event send order.created --data @order.json --id order-7",
            "event send order.created --data - --wait < order.json",
        ],
        CODES_ARRIVED,
    ),
    (
        "event list",
        &[
            "event list",
            "event list --limit 500 --json | jq -r '.data[].id'",
        ],
        CODES,
    ),
    ("event show", &["event show evt_0198"], CODES),
    ("event explain", &["event explain evt_0198"], CODES),
    (
        "event rematch",
        &[
            "event rematch --since 2h --dry-run",
            "event rematch --webhook shop --since 2026-01-31T12:00:00Z",
        ],
        CODES,
    ),
    (
        "delivery",
        &[
            "delivery list shop --state failed --since 2h",
            "delivery show shop evt_0198 --verbose",
            "delivery retry shop evt_0198 --wait",
        ],
        CODES,
    ),
    (
        "delivery list",
        &[
            "delivery list shop",
            "delivery list shop --state failed --since 2h",
        ],
        CODES,
    ),
    (
        "delivery show",
        &[
            "delivery show shop evt_0198",
            "delivery show shop evt_0198 --verbose",
        ],
        CODES,
    ),
    (
        "delivery retry",
        &["delivery retry shop evt_0198 --wait"],
        CODES_ARRIVED,
    ),
    (
        "replay",
        &[
            "replay shop --since 2h",
            "replay shop --state failed --type order.paid --dry-run",
            "replay shop --to new-shop --state delivered,failed --yes",
        ],
        CODES,
    ),
    (
        "job",
        &["job list", "job show job_0198", "job cancel job_0198"],
        CODES,
    ),
    ("job list", &["job list"], CODES),
    ("job show", &["job show job_0198"], CODES),
    (
        "job wait",
        &["job wait job_0198 && echo done"],
        "Exit codes: 0 it was carried to its end; 1 it was cancelled, or it cannot be\n\
         told; 64 the command line is wrong.",
    ),
    ("job pause", &["job pause job_0198"], CODES),
    ("job resume", &["job resume job_0198"], CODES),
    ("job cancel", &["job cancel job_0198 --yes"], CODES),
    (
        "tail",
        &[
            "tail                          follow everything; Ctrl-C ends it",
            "tail --webhook shop --state failed",
            "tail --type 'order.*' --json | jq -c .",
        ],
        CODES,
    ),
    (
        "status",
        &[
            "status",
            "status --ready || echo 'not ready'",
            "status --json | jq .trouble",
        ],
        "Exit codes: 0 the daemon is ready; 1 it is not, or it cannot be asked; 64 the\n\
         command line is wrong.",
    ),
    (
        "audit",
        &["audit", "audit --webhook shop --limit 20"],
        CODES,
    ),
];

/// The commands that ask a daemon, with their examples, and what their exit codes mean.
pub(in crate::cli) fn explained(command: Command) -> Command {
    ENTRIES.iter().fold(command, |command, entry| {
        let mut words = entry.0.split(' ');
        let first = words.next().unwrap_or_default();
        command.mut_subcommand(first, |outer| match words.next() {
            None => with(outer, entry),
            Some(second) => outer.mut_subcommand(second, |inner| with(inner, entry)),
        })
    })
}

fn with(command: Command, (words, examples, codes): &Entry) -> Command {
    let lines: String = examples
        .iter()
        .map(|example| format!("\n  hookwheel {example}"))
        .collect();
    let after = match *words {
        "status" => (*codes).to_owned(),
        _ => format!("{NAMES}\n\n{codes}"),
    };
    command
        .before_help(format!("Examples:{lines}"))
        .after_help(after)
}
