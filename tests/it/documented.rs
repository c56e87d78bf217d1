//! The commands of the documents, run as they stand there: every ```sh block of the README and of the quick start.
//!
//! Each document is one shell, in an empty directory with an empty home. What is not run to the letter stands in a table
//! here, with its reason; an entry that fits no line is an error, so nothing is left out in silence.
//!
//! A command that stays in its terminal (`serve`, `listen`, `tail`) runs beside the others, and is waited for until it is up.
//! The port 8420 may be taken on this machine: a free one stands in its place.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::skip;

/// A document, and what must hold when all its commands were run, by shell commands that are tried until they succeed.
struct Document {
    path: &'static str,
    at_its_end: &'static [&'static str],
}

const DOCUMENTS: [Document; 2] = [
    Document {
        path: "README.md",
        at_its_end: &[
            "grep -q 'event first' out.1",
            "api events/first | grep -q '\"state\":\"delivered\"'",
            "api webhooks | grep -q 'https://example.com/hook'",
            "api events/order-7 | grep -q '\"type\":\"order.created\"'",
        ],
    },
    Document {
        path: "docs/quick-start.md",
        at_its_end: &[
            "grep -q 'verified, signed at .*, event first' out.1",
            "api events/first | grep -q '\"state\":\"delivered\"'",
            "grep -q 'user.renamed .* attempt 1  answered 503' out.2",
            "grep -q 'user.renamed .* attempt 2  answered 200' out.2",
            "api webhooks | grep -q 'https://example.com/hook'",
        ],
    },
];

/// Lines that are run in another form: how they begin, what is run, and why.
const OTHERWISE: [(&str, &str, &str); 5] = [
    (
        "cargo install --path . --root ~/.local",
        "install -D \"$BINARY\" ~/.local/bin/hookwheel",
        "the binary under test is what would be built",
    ),
    (
        "cargo run --release -- demo",
        "hookwheel demo --exit",
        "the demo would stay up; and a release build takes minutes",
    ),
    (
        "hookwheel restore --config config.toml",
        "HOOKWHEEL_STORAGE__PATH=restored hookwheel restore --config config.toml --from backup-1",
        "the data directory is in use by the document's daemon",
    ),
    (
        "hookwheel repair --config config.toml",
        "HOOKWHEEL_STORAGE__PATH=restored hookwheel repair --config config.toml",
        "the data directory is in use by the document's daemon",
    ),
    (
        "hookwheel doctor --config config.toml",
        "hookwheel doctor --config config.toml --offline",
        "there may be no network to look up example.com with",
    ),
];

/// Lines that are not run at all, and why.
const NOT_RUN: [(&str, &str); 2] = [
    ("cargo test", "this is one of its tests"),
    (
        "hookwheel verify --profile standard --secret-file hook.secret",
        "the request is one that the reader kept; listen/offline.rs runs it with one",
    ),
];

/// How a command begins that keeps its terminal.
const STAYS: [&str; 3] = ["hookwheel serve", "hookwheel listen", "hookwheel tail"];

#[test]
fn every_command_of_the_documents_does_what_they_say() {
    for tool in ["bash", "curl"] {
        if Command::new(tool)
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_err()
        {
            return skip("the documents' commands", &format!("there is no {tool}"));
        }
    }
    let mut used = Vec::new();
    std::thread::scope(|scope| {
        let runs: Vec<_> = DOCUMENTS
            .iter()
            .map(|document| {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document.path);
                let commands = commands(&fs::read_to_string(path).unwrap());
                assert!(commands.len() > 5, "{}: {commands:?}", document.path);
                let (script, of_tables) = script(document, &commands);
                used.extend(of_tables);
                scope.spawn(move || run(document.path, &script))
            })
            .collect();
        for run in runs {
            run.join().unwrap();
        }
    });
    let entries = OTHERWISE.iter().map(|(begin, ..)| *begin);
    for entry in entries.chain(NOT_RUN.iter().map(|(begin, _)| *begin)) {
        assert!(used.contains(&entry), "no document has `{entry}` any more");
    }
}

/// The lines of all blocks, those that end in a backslash together with the next.
fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let (mut inside, mut command) = (false, String::new());
    for line in text.lines() {
        match (inside, line.trim_end()) {
            (false, "```sh") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match line.strip_suffix('\\') {
                Some(begin) => command.push_str(begin),
                None => {
                    command.push_str(line);
                    commands.push(std::mem::take(&mut command));
                }
            },
            (false, _) => {}
        }
    }
    assert!(!inside, "a block without an end");
    commands.retain(|command| !command.trim().is_empty());
    commands
}

/// What the shell is given, and which entries of the tables were of use.
fn script(document: &Document, commands: &[String]) -> (String, Vec<&'static str>) {
    let mut text = "set -eu -o pipefail\n\
        trap 'status=$?; kill $(jobs -p) 2> kill.log || true; wait; exit $status' EXIT\n\
        api() { curl -sSf \"localhost:$PORT/api/v1/$1\" -H \"X-API-Key: $(cat backend.key)\"; }\n\
        try() { for _ in $(seq 600); do if eval \"$1\" > try.log 2>&1; then return; fi; sleep 0.1; done; \
        echo \"in vain: $1\" >&2; cat try.log out.* >&2; exit 1; }\n"
        .to_owned();
    let (mut used, mut staying) = (Vec::new(), 0);
    for command in commands {
        let fits = |begin: &str| command.starts_with(begin);
        if let Some((begin, _)) = NOT_RUN.iter().find(|(begin, _)| fits(begin)) {
            used.push(*begin);
            continue;
        }
        let shown = command.replace('\'', "'\\''");
        writeln!(text, "echo '$ {shown}'").unwrap();
        if let Some((begin, instead, _)) = OTHERWISE.iter().find(|(begin, ..)| fits(begin)) {
            used.push(*begin);
            writeln!(text, "{instead}").unwrap();
        } else if STAYS.iter().any(|begin| fits(begin)) {
            writeln!(text, "( exec {command}\n) > out.{staying} 2>&1 &").unwrap();
            let up = if fits("hookwheel serve") {
                "curl -sSf localhost:$PORT/readyz".to_owned()
            } else if fits("hookwheel tail") {
                format!("grep -q '^following' out.{staying}")
            } else {
                format!("grep -q '^registered as' out.{staying}")
            };
            writeln!(text, "try \"{up}\"").unwrap();
            staying += 1;
        } else {
            writeln!(
                text,
                "{}",
                command.replace("localhost:8420", "localhost:$PORT")
            )
            .unwrap();
        }
        writeln!(text, "echo").unwrap();
    }
    for check in document.at_its_end {
        writeln!(text, "try '{}'", check.replace('\'', "'\\''")).unwrap();
    }
    (text, used)
}

fn run(document: &str, script: &str) {
    let home = tempfile::tempdir().unwrap();
    let work = home.path().join("work");
    // Where `cargo install --root ~/.local` puts it; and, until then, nowhere.
    let installed = home.path().join(".local/bin");
    let before = home.path().join("before");
    fs::create_dir_all(&work).unwrap();
    fs::create_dir_all(&before).unwrap();
    symlink(env!("CARGO_BIN_EXE_hookwheel"), before.join("hookwheel")).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}:{}", installed.display(), before.display());
    let ran = Command::new("bash")
        .arg("-c")
        .arg(script)
        .current_dir(&work)
        .env_clear()
        .env("PATH", path)
        .env("HOME", home.path())
        .env("BINARY", env!("CARGO_BIN_EXE_hookwheel"))
        .env("PORT", port.to_string())
        .env("HOOKWHEEL_SERVER__LISTEN", format!("127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{document}: {}\n{}\n{}",
        ran.status,
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}
