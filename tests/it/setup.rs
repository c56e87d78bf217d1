//! The first minute: `init`, a listener that registers itself, completions, manual pages, and errors for scripts.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use http::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::support::{Daemon, Site, delivery_in, get, hookwheel, key_of, post, skip};

/// The command with nothing of this machine's own set-up in its environment.
fn bare(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = hookwheel();
    command
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null());
    for name in ["CONFIG", "URL", "API_KEY", "API_KEY_FILE", "CA", "SECRET"] {
        command.env_remove(format!("HOOKWHEEL_{name}"));
    }
    command.env("XDG_STATE_HOME", directory.join("state"));
    command
}

fn run(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    told(&bare(directory, arguments).output().unwrap())
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn what_init_writes_serves_and_its_key_opens_the_api() {
    let directory = tempfile::tempdir().unwrap();
    let site = directory.path().join("new place");
    let (code, out, errors) = run(
        directory.path(),
        &[
            "init",
            "new place",
            "--account",
            "acme",
            "--listen",
            "127.0.0.1:8999",
        ],
    );
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{out}");
    let (config, key_file) = (site.join("config.toml"), site.join("backend.key"));
    assert_eq!(
        (mode(&site), mode(&key_file), mode(&config)),
        (0o700, 0o600, 0o644)
    );
    let key = fs::read_to_string(&key_file).unwrap();
    assert!(!out.contains(&key), "the key is in its file only");
    // What is to be typed next can be copied, also where a path has a space in it.
    let export = out.lines().find(|line| line.contains("export")).unwrap();
    let printed = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "{export}\nprintf '%s|%s' \"$HOOKWHEEL_CONFIG\" \"$HOOKWHEEL_API_KEY_FILE\""
        ))
        .output()
        .unwrap();
    let expected = format!("{}|{}", config.display(), key_file.display());
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), expected);
    for text in [
        "hookwheel serve",
        "http://127.0.0.1:8999/ui/",
        "webhook add",
        "account acme",
    ] {
        assert!(out.contains(text), "{out}");
    }

    let mut serve = bare(&site, &["serve", "--config", config.to_str().unwrap()]);
    serve
        .env("HOOKWHEEL_SERVER__LISTEN", "127.0.0.1:0")
        .env("HOOKWHEEL_LOG__FORMAT", "json");
    let daemon = Daemon::spawn(serve);
    let mut client = Client::new(daemon.address, &key);
    assert_eq!(get(&mut client, "/api/v1/webhooks").await.status, 200);
    assert!(site.join("data").is_dir(), "the data lie beside the config");
}

#[test]
fn of_inits_at_once_one_writes_and_the_others_leave_it_alone() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..8 {
        let place = format!("above{round}/place");
        let start = |_| {
            let mut init = bare(directory.path(), &["init", &place]);
            init.stdout(Stdio::piped()).stderr(Stdio::piped());
            init.spawn().unwrap()
        };
        let running: Vec<Child> = (0..4).map(start).collect();
        let ended = running.into_iter().map(|init| {
            let output = init.wait_with_output().unwrap();
            told(&output)
        });
        let (done, refused): (Vec<_>, Vec<_>) = ended.partition(|(code, ..)| *code == Some(0));
        assert_eq!(done.len(), 1, "{done:?} {refused:?}");
        for (code, _, errors) in refused {
            assert_eq!(code, Some(1), "{errors}");
        }
        let place = directory.path().join(place);
        let key = fs::read_to_string(place.join("backend.key")).unwrap();
        let config = fs::read_to_string(place.join("config.toml")).unwrap();
        assert!(config.contains(&hookwheel::cli::key_hash(&key)), "{config}");
    }
}

#[test]
fn init_overwrites_nothing_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("backend.key"), "precious").unwrap();
    let (code, _, errors) = run(directory.path(), &["init"]);
    assert_eq!(code, Some(1));
    assert!(
        errors.contains("backend.key is there already, and nothing is overwritten"),
        "{errors}"
    );
    assert!(!path("config.toml").exists());
    assert_eq!(fs::read_to_string(path("backend.key")).unwrap(), "precious");

    let (code, _, errors) = run(directory.path(), &["init", "a", "--profile", "standrad"]);
    assert_eq!(code, Some(64));
    assert!(errors.contains("did you mean `standard`?"), "{errors}");
    for arguments in [
        ["--account", "Not A Name"],
        ["--listen", "localhost"],
        ["--listen", "1.2.3.4:0"],
    ] {
        let (code, ..) = run(directory.path(), &[&["init", "a"][..], &arguments].concat());
        assert_eq!(code, Some(64), "{arguments:?}");
    }
    // What was written is read as a daemon would, so with what the environment overrides.
    let mut init = bare(directory.path(), &["init", "a/b", "--json"]);
    let output = init.env("HOOKWHEEL_LOG__LEVEL", "loud").output().unwrap();
    let (code, out, _) = told(&output);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, report["errors"][0]["variable"].as_str()),
        (Some(64), Some("HOOKWHEEL_LOG__LEVEL"))
    );
    assert!(!path("a").exists(), "nor what was made above it");

    let (code, out, _) = run(
        directory.path(),
        &["init", "a", "--json", "--data", "elsewhere"],
    );
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, report["url"].as_str()),
        (Some(0), Some("http://127.0.0.1:8420"))
    );
    assert!(
        report["data"].as_str().unwrap().ends_with("/elsewhere"),
        "{report}"
    );
    assert!(
        !report["data"].as_str().unwrap().ends_with("a/elsewhere"),
        "{report}"
    );
}

/// A listener that registers itself with a daemon.
struct Registered {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Registered {
    fn start(site: &Site, daemon: &Daemon, arguments: &[&str]) -> Self {
        let url = format!("http://{}", daemon.address);
        let fixed = ["listen", "--register", "--json", "--url", url.as_str()];
        let mut child = bare(site.directory.path(), &[&fixed[..], arguments].concat())
            .env("HOOKWHEEL_API_KEY", key_of("standard"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn json(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    fn end(mut self, signal: rustix::process::Signal) -> Option<i32> {
        let id = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

/// A daemon that trusts the CA of the listeners of its site.
fn trusting(site: &Site) -> Daemon {
    // Makes the CA.
    let (code, out, _) = run(
        site.directory.path(),
        &["init", "unused", "--local", "--json"],
    );
    assert_eq!(code, Some(0), "{out}");
    let made: Value = serde_json::from_str(&out).unwrap();
    let config = site
        .config(true)
        .replace("\"ca.pem\"", &made["ca"].to_string());
    Daemon::start(&site.path("config.toml"), &config)
}

async fn webhooks(client: &mut Client) -> Vec<Value> {
    get(client, "/api/v1/webhooks").await.body["data"]
        .as_array()
        .unwrap()
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_registers_itself_verifies_and_is_gone_after_its_end() {
    let site = Site::new(&["standard"]);
    let daemon = trusting(&site);
    let mut client = daemon.client("standard");
    for signal in [
        rustix::process::Signal::INT,
        rustix::process::Signal::TERM,
        rustix::process::Signal::HUP,
    ] {
        let mut listener =
            Registered::start(&site, &daemon, &["--port", "0", "--events", "a.*,b.c"]);
        let greeting = listener.json();
        let webhook = greeting["webhook_id"].as_str().unwrap().to_owned();
        let shown = get(&mut client, &format!("/api/v1/webhooks/{webhook}"))
            .await
            .body;
        assert_eq!(shown["events"], json!(["a.*", "b.c"]), "{shown}");
        assert_eq!(shown["name"], "hookwheel listen");
        let event = post(&mut client, "a.b", json!({ "n": 1 })).await;
        let seen = listener.json();
        assert_eq!(
            (&seen["verified"], &seen["event_id"]),
            (&json!(true), &json!(event)),
            "{seen}"
        );
        delivery_in(&mut client, &webhook, &event, "delivered").await;
        assert_eq!(listener.end(signal), Some(0));
        assert!(webhooks(&mut client).await.is_empty(), "{signal:?}");
    }
    // It ends by itself, and what it took is recorded before its webhook goes.
    let mut listener = Registered::start(&site, &daemon, &["--port", "0", "--once", "1"]);
    listener.json();
    let event = post(&mut client, "x", json!({})).await;
    assert_eq!(listener.json()["verified"], true);
    assert_eq!(listener.child.wait().unwrap().code(), Some(0));
    let shown = get(&mut client, &format!("/api/v1/events/{event}"))
        .await
        .body;
    assert_eq!(shown["deliveries"][0]["state"], "delivered", "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_listener_left_is_removed_by_the_next_one_and_nothing_else_is() {
    let site = Site::new(&["standard"]);
    let daemon = trusting(&site);
    let mut client = daemon.client("standard");
    let mut killed = Registered::start(&site, &daemon, &["--port", "0"]);
    let url = killed.json()["url"].as_str().unwrap().to_owned();
    let port = url.rsplit(':').next().unwrap().to_owned();
    let other = json!({ "url": format!("{url}/"), "name": "not a listener's" });
    let other = crate::support::registered(&mut client, other).await;
    assert_eq!(killed.end(rustix::process::Signal::KILL), None);
    assert_eq!(webhooks(&mut client).await.len(), 2);
    let mut next = Registered::start(&site, &daemon, &["--port", &port]);
    let own = next.json()["webhook_id"].as_str().unwrap().to_owned();
    let ids: BTreeSet<String> = webhooks(&mut client)
        .await
        .iter()
        .map(|webhook| webhook["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, BTreeSet::from([own, other]));
    next.end(rustix::process::Signal::TERM);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_cannot_register_says_what_to_do() {
    let site = Site::new(&["standard"]);
    let config = site.config(true).replace("allow = [\"127.0.0.0/8\"]\n", "");
    let daemon = Daemon::start(&site.path("config.toml"), &config);
    let url = format!("http://{}", daemon.address);
    let listen = |key: &str, url: &str| {
        let mut command = bare(
            site.directory.path(),
            &["listen", "--register", "--port", "0", "--url", url],
        );
        told(&command.env("HOOKWHEEL_API_KEY", key).output().unwrap())
    };
    let (code, _, errors) = listen(&key_of("standard"), &url);
    assert_eq!(code, Some(1), "{errors}");
    for text in ["allow = [\"127.0.0.1/32\"]", "extra_ca = [", "init --local"] {
        assert!(errors.contains(text), "{errors}");
    }
    let (code, _, errors) = listen("wrong", &url);
    assert_eq!(code, Some(1));
    assert!(errors.contains("refuses"), "{errors}");
    let (code, _, errors) = listen("", &url);
    assert_eq!(code, Some(64));
    assert!(errors.contains("HOOKWHEEL_API_KEY_FILE"), "{errors}");
    let (code, _, errors) = listen("x", "ftp://here");
    assert_eq!(code, Some(64));
    assert!(
        errors.contains("write one such as http://127.0.0.1:8420"),
        "{errors}"
    );
    daemon.kill();
    let (code, _, errors) = listen("x", &url);
    assert_eq!(code, Some(1));
    assert!(errors.contains("start it (hookwheel serve)"), "{errors}");
}

#[test]
fn completions_and_pages_are_there_for_every_command() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, errors) = run(directory.path(), &["completions", shell]);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{shell}");
        for word in ["doctor", "listen", "register"] {
            assert!(out.contains(word), "{shell} has no {word}");
        }
    }
    let (_, script, _) = run(directory.path(), &["completions", "bash"]);
    let ask = format!(
        "{script}\nCOMP_WORDS=(hookwheel che); COMP_CWORD=1; _hookwheel hookwheel che hookwheel; echo \"${{COMPREPLY[*]}}\""
    );
    // It is longer than one argument may be.
    let path = directory.path().join("ask.bash");
    fs::write(&path, ask).unwrap();
    match Command::new("bash").arg(&path).output() {
        Err(why) => skip("the completion of a word", &why.to_string()),
        Ok(answer) => assert_eq!(String::from_utf8(answer.stdout).unwrap(), "check\n"),
    }
    let (code, ..) = run(directory.path(), &["completions", "csh"]);
    assert_eq!(code, Some(64));

    let (code, ..) = run(directory.path(), &["man", "--out", "man1"]);
    assert_eq!(code, Some(0));
    let pages: BTreeSet<String> = fs::read_dir(directory.path().join("man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for page in [
        "hookwheel.1",
        "hookwheel-serve.1",
        "hookwheel-key-new.1",
        "hookwheel-listen.1",
    ] {
        assert!(pages.contains(page), "{pages:?}");
    }
    let (_, first, _) = run(directory.path(), &["man"]);
    assert_eq!(
        first,
        fs::read_to_string(directory.path().join("man1/hookwheel.1")).unwrap()
    );
    for page in pages {
        let path = directory.path().join("man1").join(&page);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(mode(&path), 0o644);
        for part in [".TH ", ".SH NAME", ".SH EXAMPLES\n.nf\n"] {
            assert!(text.contains(part), "{page} has no {part}:\n{text}");
        }
    }
}

/// What a command says as JSON, with its exit code; nothing may go to standard error.
fn said(directory: &Path, arguments: &[&str], expected: i32) -> Value {
    let (code, out, errors) = run(directory, arguments);
    assert_eq!(
        (code, errors.as_str()),
        (Some(expected), ""),
        "{arguments:?}: {out}"
    );
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
}

#[test]
fn faults_of_a_config_are_json_where_json_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    let name = config.to_str().unwrap();
    let json = |arguments: &[&str]| {
        said(
            directory.path(),
            &[arguments, &["--json", "--config", name]].concat(),
            64,
        )
    };
    let report = json(&["check"]);
    assert!(
        report["errors"][0]["fix"]
            .as_str()
            .unwrap()
            .contains("create it"),
        "{report}"
    );
    fs::write(
        &config,
        "[server]\nlisen = 1\n[profiles.r]\ntimout = \"5s\"\n",
    )
    .unwrap();
    for arguments in [
        &["check"][..],
        &["doctor"],
        &["repair"],
        &["backup", "--to", "b"],
        &["restore", "--from", "b"],
    ] {
        let report = json(arguments);
        let errors = report["errors"].as_array().unwrap();
        let of = |field: &str| errors.iter().find(|error| error["field"] == field).unwrap();
        let listen = of("server.lisen");
        assert_eq!(
            (&listen["line"], &listen["fix"]),
            (&json!(2), &json!("did you mean `listen`?"))
        );
        assert!(
            of("profiles.r")["fix"]
                .as_str()
                .unwrap()
                .contains("did you mean `timeout`?"),
            "{report}"
        );
    }
    fs::write(&config, "[profiles.p]\nextends = \"standrad\"\n").unwrap();
    let refused = json(&["check"])["errors"].to_string();
    assert!(refused.contains("did you mean `standard`?"), "{refused}");
    assert!(
        refused.contains("flock, standard\""),
        "a profile is not told to extend itself: {refused}"
    );
}

#[test]
fn failures_and_results_are_json_where_json_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let json = |arguments: &[&str], expected: i32| said(directory.path(), arguments, expected);
    let made = json(&["init", "a", "--json"], 0);
    let good = made["config"].as_str().unwrap();
    assert_eq!(
        json(&["check", "--json", "--config", good], 0)["good"],
        true
    );
    let refused = json(&["backup", "--json", "--config", good, "--to", "b"], 1);
    assert!(
        refused["error"]["detail"]
            .as_str()
            .unwrap()
            .contains("there is no data directory"),
        "{refused}"
    );
    let refused = json(
        &["verify", "--json", "--profile", "standrad", "--body", "x"],
        64,
    );
    assert!(
        refused["error"]["detail"]
            .as_str()
            .unwrap()
            .contains("`standard`"),
        "{refused}"
    );
    let key = json(&["key", "new", "--json"], 0);
    let hash = hookwheel::cli::key_hash(key["key"].as_str().unwrap());
    assert_eq!(key["hash"], json!(hash));
    let kept = json(&["key", "master", "--json", "--out", "m.key"], 0);
    assert_eq!(
        (&kept["key"], &kept["file"]),
        (&Value::Null, &json!("m.key"))
    );
}

#[test]
fn before_the_first_start_doctor_looks_at_the_disk_and_the_port() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(directory.path(), &["init", ".", "--listen", &address]);
    let doctor = || {
        run(
            directory.path(),
            &["doctor", "--offline", "--config", "config.toml"],
        )
    };
    let (code, out, _) = doctor();
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("another server.listen"), "{out}");
    for line in ["the first start makes it", "space", "file system"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    drop(taken);
    let (code, out, _) = doctor();
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains(&format!("{address} is free")), "{out}");
}

#[test]
fn a_word_that_is_not_known_gets_the_one_that_was_meant() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, meant) in [
        (&["lisen"][..], "'listen'"),
        (&["check", "--confg", "x"], "'--config'"),
        (&["key", "mastr"], "'master'"),
        (&["listen", "--profile", "standrad"], "`standard`"),
    ] {
        let (code, _, errors) = run(directory.path(), arguments);
        assert_eq!(code, Some(64), "{arguments:?}");
        assert!(errors.contains(meant), "{arguments:?}: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_that_is_not_known_gets_the_one_that_was_meant() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": "https://example.com/", "format": "slakc" });
    let answer = client
        .call(Method::POST, "/api/v1/webhooks", Some(&body))
        .await
        .unwrap();
    assert_eq!(answer.status, 400);
    assert!(
        answer.body.to_string().contains("did you mean `slack`?"),
        "{}",
        answer.body
    );
    assert!(webhooks(&mut client).await.is_empty());
}
