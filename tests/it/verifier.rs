//! The code that receivers are given, run: for each profile and language, on requests that the real signer made.
//!
//! Each language has one process for all profiles; one that the machine lacks is skipped, unless
//! `HOOKWHEEL_NO_SKIP=1`. Python's packages are looked for in `HOOKWHEEL_PYTHON_PACKAGES` too. The Rust ones stand in
//! `tests/it/verifier` as generated, so that they are compiled with the tests; `HOOKWHEEL_WRITE=1` writes them anew, and the
//! code in `docs/receivers.md` too.

mod made;
mod requests;
mod rust;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use hookwheel::verify::{Language, receiver_code};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Site, get, register, skip};
use requests::{Subject, subjects};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn is_writing() -> bool {
    std::env::var("HOOKWHEEL_WRITE").as_deref() == Ok("1")
}

/// Writes the programs of a language and all cases into a directory, as its runner expects them.
fn laid_out(directory: &Path, language: Language, subjects: &[Subject]) {
    let mut index = Vec::new();
    for subject in subjects {
        let made = receiver_code(&subject.profile, language);
        let own = directory.join(&subject.name);
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join(made.file_name), &made.code).unwrap();
        index.push(json!({
            "name": subject.name,
            "file": format!("{}/{}", subject.name, made.file_name),
            "cases": subject.cases.iter().map(requests::Case::json).collect::<Vec<_>>(),
        }));
    }
    std::fs::write(directory.join("cases.json"), json!(index).to_string()).unwrap();
}

/// Runs a command to its end and gives what it printed. `None`: it is not there.
fn output(command: &mut Command) -> Option<String> {
    let ran = match command.output() {
        Ok(ran) => ran,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("{command:?}: {error}"),
    };
    let (said, complained) = (
        ran.stdout,
        String::from_utf8_lossy(&ran.stderr).into_owned(),
    );
    assert!(ran.status.success(), "{command:?}: {complained}");
    Some(String::from_utf8(said).unwrap())
}

/// Holds what a runner printed to what was expected.
fn judge(language: Language, subjects: &[Subject], said: &str) {
    let (mut faults, mut judged) = (String::new(), BTreeMap::new());
    for line in said.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let at = usize::try_from(row["at"].as_u64().unwrap()).unwrap();
        let subject = subjects.iter().find(|one| row["name"] == one.name).unwrap();
        let case = &subject.cases[at];
        judged.insert((&subject.name, at), ());
        case.hold(
            &subject.name,
            language.as_str(),
            row["why"].as_str(),
            &mut faults,
        );
    }
    let expected: usize = subjects.iter().map(|subject| subject.cases.len()).sum();
    assert!(faults.is_empty(), "\n{faults}");
    assert_eq!(judged.len(), expected, "{}", language.as_str());
}

/// Python, with the packages that were installed for these tests.
fn python() -> Command {
    let mut python = Command::new("python3");
    if let Some(packages) = std::env::var_os("HOOKWHEEL_PYTHON_PACKAGES") {
        python.env("PYTHONPATH", packages);
    }
    python
}

fn run_with(language: Language, mut command: Command, options: &[&str], script: &str) {
    let (directory, subjects) = (tempfile::tempdir().unwrap(), subjects());
    laid_out(directory.path(), language, &subjects);
    command
        .args(options)
        .arg(root("tests/data/verifiers").join(script));
    match output(command.arg(directory.path())) {
        Some(said) => judge(language, &subjects, &said),
        None => skip(
            &format!("verifiers in {}", language.as_str()),
            &format!("there is no {}", command.get_program().display()),
        ),
    }
}

#[test]
fn node_judges_right() {
    run_with(Language::Node, Command::new("node"), &[], "run.mjs");
}

#[test]
fn python_judges_right() {
    let probe = output(python().args([
        "-c",
        "import importlib.util as u; print(u.find_spec('cryptography') is not None)",
    ]));
    match probe.as_deref().map(str::trim) {
        Some("True") => run_with(Language::Python, python(), &["-B"], "run.py"),
        Some(_) => skip(
            "verifiers in python",
            "the package `cryptography` is not installed",
        ),
        None => skip("verifiers in python", "there is no python3"),
    }
}

#[test]
fn php_judges_right() {
    match output(
        Command::new("php").args(["-r", "echo extension_loaded('sodium') ? 'yes' : 'no';"]),
    ) {
        Some(said) if said == "yes" => run_with(
            Language::Php,
            Command::new("php"),
            &["-d", "error_reporting=E_ALL"],
            "run.php",
        ),
        Some(_) => skip("verifiers in php", "the extension `sodium` is not there"),
        None => skip("verifiers in php", "there is no php"),
    }
}

#[test]
fn ruby_judges_right() {
    run_with(Language::Ruby, Command::new("ruby"), &["-w"], "run.rb");
}

#[test]
fn go_judges_right_and_is_formatted() {
    let (directory, subjects) = (tempfile::tempdir().unwrap(), subjects());
    let path = directory.path();
    laid_out(path, Language::Go, &subjects);
    std::fs::write(path.join("go.mod"), "module receivers\n\ngo 1.19\n").unwrap();
    let (mut imports, mut calls) = (String::new(), String::new());
    for subject in &subjects {
        let name = &subject.name;
        writeln!(imports, "\t{name} \"receivers/{name}\"").unwrap();
        let now = if subject.is_timed() { ", now" } else { "" };
        writeln!(
            calls,
            "\t\"{name}\": func(body []byte, header http.Header, keys []string, now time.Time) error {{\n\
             \t\treturn {name}.Verify(body, header, keys{now})\n\t}},"
        )
        .unwrap();
    }
    let main = std::fs::read_to_string(root("tests/data/verifiers/run.go")).unwrap();
    let main = main
        .replace("\t// imports\n", &imports)
        .replace("\t// verifiers\n", &calls);
    std::fs::write(path.join("main.go"), main).unwrap();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache");
    let mut run = Command::new("go");
    run.args(["run", ".", "."]).current_dir(path);
    run.env("GOCACHE", cache)
        .env("GOFLAGS", "-mod=mod")
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local");
    let Some(said) = output(&mut run) else {
        return skip("verifiers in go", "there is no go");
    };
    judge(Language::Go, &subjects, &said);
    let paths = subjects.iter().map(|subject| path.join(&subject.name));
    if let Some(ill_formed) = output(Command::new("gofmt").arg("-d").args(paths)) {
        assert_eq!(ill_formed, "", "not as gofmt writes it");
    }
}

#[test]
fn rust_is_as_generated_and_judges_right() {
    let subjects = subjects();
    for subject in &subjects {
        let code = receiver_code(&subject.profile, Language::Rust).code;
        let path = root(&format!("tests/it/verifier/made/{}.rs", subject.name));
        if is_writing() {
            std::fs::write(&path, &code).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            written,
            code,
            "{} is not as generated: HOOKWHEEL_WRITE=1 writes it",
            path.display()
        );
    }
    let mut faults = String::new();
    for subject in &subjects {
        for case in &subject.cases {
            let verdict = rust::verdict(&subject.name, case);
            case.hold(&subject.name, "rust", verdict.err(), &mut faults);
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn the_guide_has_the_code_of_the_standard_profile_as_generated() {
    let path = root("docs/receivers.md");
    let mut guide = std::fs::read_to_string(&path).unwrap();
    let subjects = subjects();
    let standard = subjects
        .iter()
        .find(|subject| subject.name == "standard")
        .unwrap();
    for language in Language::ALL {
        let code = receiver_code(&standard.profile, language).code;
        let fence = match language {
            Language::Node => "js",
            other => other.as_str(),
        };
        let begin = format!("<!-- code: {} -->\n", language.as_str());
        let from = guide.find(&begin).unwrap_or_else(|| panic!("no {begin}")) + begin.len();
        let to = from + guide[from..].find("<!-- end -->").unwrap();
        let block = format!("```{fence}\n{code}```\n");
        if is_writing() {
            guide.replace_range(from..to, &block);
            std::fs::write(&path, &guide).unwrap();
        } else {
            assert_eq!(&guide[from..to], block, "HOOKWHEEL_WRITE=1 writes it");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhooks_owner_gets_its_code_and_never_its_secret() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": "https://127.0.0.1:9/" , "format": "slack" });
    let created = register(&mut client, body).await;
    let (id, secret) = (
        created["id"].as_str().unwrap(),
        created["secret"].as_str().unwrap(),
    );
    for language in Language::ALL {
        let path = format!(
            "/api/v1/webhooks/{id}/verifier?language={}",
            language.as_str()
        );
        let answer = get(&mut client, &path).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let (shown, profile) = (answer.body, &subjects()[0].profile);
        let made = receiver_code(profile, language);
        assert_eq!(shown["language"], language.as_str());
        assert_eq!(
            (shown["code"].as_str(), shown["file_name"].as_str()),
            (Some(&*made.code), Some(made.file_name))
        );
        let notes = shown["notes"].as_array().unwrap();
        assert_eq!(notes.len(), made.notes.len() + 1, "the format is told of");
        assert!(!shown.to_string().contains(secret));
    }
    for wrong in ["", "?language=", "?language=cobol", "?language=node&x=1"] {
        let path = format!("/api/v1/webhooks/{id}/verifier{wrong}");
        let refused = get(&mut client, &path).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["code"]),
            (400, &json!("query_invalid"))
        );
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(
            wrong.contains('x') || detail.contains("node, python, go, rust, php, ruby"),
            "{detail}"
        );
    }
    let other = get(&mut client, "/api/v1/webhooks/wh_0/verifier?language=go").await;
    assert_eq!(other.status, 404);
    let posted = client
        .call(
            Method::POST,
            &format!("/api/v1/webhooks/{id}/verifier"),
            None,
        )
        .await
        .unwrap();
    assert_eq!(posted.status, 405);
}
