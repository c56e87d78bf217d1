//! The dashboard in a real browser: the flows of `tests/browser/flows.mjs` against the real daemon and real receivers.
//!
//! It needs Node, Chromium (`HOOKWHEEL_CHROMIUM`, else `/usr/bin/chromium`), and `playwright-core` and `axe-core` in
//! `HOOKWHEEL_NODE_PACKAGES`. What a machine lacks is skipped, unless `HOOKWHEEL_NO_SKIP=1`. Screenshots of each page,
//! in both schemes and at the width of a phone, go to `screenshots` in the target directory.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use hookwheel::cli::key_hash;
use hookwheel::receiver::Answer;
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Daemon, KEY, Site, key_of, registered, skip};
use crate::web::{ANY, Web};

/// The whole run takes some 90 s on a machine that is busy with other tests, too.
const RUN_MAX: Duration = Duration::from_secs(600);

/// An answer in which every text is an attack on who shows it.
const HOSTILE: &str = concat!(
    r#"{"error":"<img src=x onerror=alert(1)></script><script>alert(2)</script>","#,
    r#""n":12345678901234567890.10}"#,
);

/// Data of a mebibyte of brackets, read by the dashboard's own code: time that grows with the square would be minutes.
const LARGE_JSON: &str = r#"
import { readFileSync } from "node:fs";
const source = readFileSync(process.argv[1], "utf8").replace(/^import .*$/m, "");
const { pretty } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
const expect = (given, wanted) => {
  if (pretty(given) !== wanted) throw new Error(`${given} is shown as ${pretty(given)}`);
};
expect('{"a":[],"b":{},"c":[[1e400,"{"]]}', '{\n  "a": [],\n  "b": {},\n  "c": [\n    [\n      1e400,\n      "{"\n    ]\n  ]\n}');
expect("[ ]", "[]");
expect("3", "3");
expect("no", null);
const flat = "[" + "{},".repeat(350000) + "{}]";
const deep = "[".repeat(5000) + "]".repeat(5000);
for (const large of [flat, deep]) {
  if (pretty(large).length > 4000000) throw new Error("more space than text");
}
"#;

#[test]
fn a_mebibyte_of_brackets_does_not_hang_the_page() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard/assets/json.js");
    let mut node = Command::new("node");
    node.args(["--input-type=module", "--eval", LARGE_JSON])
        .arg(script);
    let mut child = match node.stderr(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(why) => return skip("JSON in the dashboard", &why.to_string()),
    };
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it takes too long");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

/// What the account of the flows has beyond its webhooks. The schedule ends within seconds, and then disables.
const PROFILES: &str = r#"
[profiles.quick]
extends = "standard"
event_types = ["user.created", "user.removed", "invoice.paid", "invoice.failed", "pipeline.run.completed"]
exhausted = { action = "disable", probe_every = "10m" }
retry = { delays = ["100ms", "200ms"], jitter = "0%" }
"#;
const FORMAT: &str = r#"
[formats.old]
body = '{"text": {{ type }}}'
"#;

fn hostile(code: u16) -> Answer {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Answer::Status {
        code,
        headers: vec![
            header("content-type", "application/json"),
            header("x-note", "<b onmouseover=alert(3)>bold</b>"),
        ],
        body: Bytes::from_static(HOSTILE.as_bytes()),
    }
}

/// An account with a key of each scope, and all of them in one.
fn account(name: &str, profile: &str) -> String {
    let key = |key: &str, secret: &str, scopes: &str| {
        let hash = key_hash(secret);
        format!("[[accounts.keys]]\nname = \"{key}\"\nhash = \"{hash}\"\nscopes = [{scopes}]\n")
    };
    let mut text = format!("[[accounts]]\nname = \"{name}\"\nprofile = \"{profile}\"\n");
    text += &key("all", &key_of(name), "\"admin\", \"send\", \"read\"");
    text += &key("reads", &format!("{KEY}-{name}-read"), "\"read\"");
    text + &key("sends", &format!("{KEY}-{name}-send"), "\"send\"")
}

/// The directory that cargo builds into.
fn target() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_hookwheel"));
    let directory = binary.ancestors().nth(2).unwrap();
    directory.to_owned()
}

/// Why the flows cannot be run here.
fn missing() -> Option<String> {
    let Some(packages) = std::env::var_os("HOOKWHEEL_NODE_PACKAGES") else {
        return Some("HOOKWHEEL_NODE_PACKAGES is not set".to_owned());
    };
    for package in ["playwright-core", "axe-core"] {
        let place = Path::new(&packages).join("node_modules").join(package);
        if !place.is_dir() {
            return Some(format!("there is no {package} in HOOKWHEEL_NODE_PACKAGES"));
        }
    }
    let chromium = std::env::var("HOOKWHEEL_CHROMIUM").unwrap_or("/usr/bin/chromium".to_owned());
    if !Path::new(&chromium).exists() {
        return Some(format!("there is no {chromium}"));
    }
    (!runs("node")).then(|| "there is no node".to_owned())
}

fn runs(tool: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg("--version").stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Ends a child that is not waited for any more.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}

/// Receivers as there are in the world.
struct Receivers {
    good: Web,
    bad: Web,
    flaky: Web,
    slow: Web,
}

impl Receivers {
    async fn start(site: &Site) -> Self {
        let ca = &site.authority;
        let none = Duration::ZERO;
        Self {
            good: Web::start_with(ANY, ca, |_| hostile(200), none).await,
            bad: Web::start_with(ANY, ca, |_| hostile(500), none).await,
            flaky: Web::start_with(
                ANY,
                ca,
                |n| hostile(if n == 3 || n == 8 { 503 } else { 200 }),
                none,
            )
            .await,
            slow: Web::start_slow(ca, Duration::from_millis(80)).await,
        }
    }

    fn urls(&self) -> Value {
        let url = |web: &Web| web.url("/").trim_end_matches('/').to_owned();
        json!({
            "good": url(&self.good), "bad": url(&self.bad), "flaky": url(&self.flaky), "slow": url(&self.slow),
        })
    }
}

/// A daemon whose account `shop` has a webhook that is held, as its format has left the config.
async fn prepared(site: &Site, receivers: &Receivers) -> (Daemon, String) {
    let path = site.path("config.toml");
    let more = account("shop", "quick") + &account("bare", "quick");
    let config = site.config(true) + PROFILES + &more;
    let daemon = Daemon::start(&path, &(config.clone() + FORMAT));
    let mut client = daemon.client("shop");
    let body = json!({
        "url": receivers.good.url("/old"), "events": ["pipeline.run.completed"], "name": "Old format", "format": "old",
    });
    let held = registered(&mut client, body).await;
    drop(client);
    assert!(daemon.terminate().success());
    (Daemon::start(&path, &config), held)
}

#[tokio::test(flavor = "multi_thread")]
async fn people_use_the_dashboard() {
    if let Some(why) = missing() {
        return skip("the dashboard in a browser", &why);
    }
    let site = Site::new(&["driftguard"]);
    let receivers = Receivers::start(&site).await;
    let (daemon, held) = prepared(&site, &receivers).await;
    let told = json!({
        "base": format!("http://{}", daemon.address),
        "key": key_of("shop"),
        "readKey": format!("{KEY}-shop-read"),
        "sendKey": format!("{KEY}-shop-send"),
        "emptyKey": key_of("bare"),
        "stagedKey": key_of("driftguard"),
        "heldWebhook": held,
        "receivers": receivers.urls(),
        "ca": site.path("ca.pem"),
        "hasCurl": runs("curl"),
        "screenshots": target().join("screenshots"),
    });
    let flows = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/flows.mjs");
    let log = site.path("flows.log");
    let output = std::fs::File::create(&log).unwrap();
    let child = Command::new("node")
        .arg(flows)
        .env("HOOKWHEEL_BROWSER_SITE", told.to_string())
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status;
        }
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(begun.elapsed() < RUN_MAX, "the flows do not end:\n{said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(status.success(), "{status}:\n{said}");
    assert!(said.contains("all flows passed"), "{said}");
    // What the browser's copied command sent came with a signature, as the daemon's own requests do.
    let requests = receivers.good.received();
    let made: Vec<_> = requests.iter().filter(|r| r.path == "/made").collect();
    let signed =
        |it: &&&hookwheel::receiver::ReceivedRequest| it.headers.contains_key("webhook-signature");
    assert_eq!(made.iter().filter(signed).count(), made.len());
    assert_eq!(daemon.log().matches("panicked").count(), 0);
}

/// An answer as `(status, lower-case head, body)`, over a connection of its own.
async fn ask(daemon: &Daemon, request: &str) -> (u16, String, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(daemon.address)
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_is_served_beside_the_api_and_changes_none_of_it() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let get = |method: &str, path: &str, more: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n")
    };
    let (status, head, _) = ask(&daemon, &get("GET", "/", "")).await;
    assert!(status == 303 && head.contains("location: /ui/"), "{head}");
    let (status, head, body) = ask(&daemon, &get("GET", "/ui/", "")).await;
    assert!(status == 200 && body.contains("<title>Hookwheel</title>"));
    assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'"));
    assert!(head.contains("require-trusted-types-for 'script'") && head.contains("nosniff"));
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: "));
    let known = format!("If-None-Match: {}\r\n", etag.unwrap());
    let (status, _, body) = ask(&daemon, &get("GET", "/ui/", &known)).await;
    assert_eq!((status, body.as_str()), (304, ""));
    let (status, head, body) = ask(&daemon, &get("HEAD", "/ui/app.js", "")).await;
    assert!(status == 200 && body.is_empty() && head.contains("text/javascript"));
    // An ambiguous length is refused here as it is by the API, and its connection closed.
    let both = "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n";
    let (status, _, body) = ask(&daemon, &(get("GET", "/ui/", both) + "0\r\n\r\n")).await;
    assert!(status == 400 && body.contains("length_ambiguous"), "{body}");
    // What the API says of paths that are none, and of keys, is what it was.
    for path in ["/nothing", "/api", "/api/v1/nothing"] {
        let (status, head, body) = ask(&daemon, &get("GET", path, "")).await;
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert!(
            status == 404 && head.contains("application/problem+json"),
            "{head}"
        );
        assert_eq!(problem["code"], "not_found");
    }
    let (status, _, _) = ask(&daemon, &get("GET", "/api/v1/webhooks", "")).await;
    assert_eq!(status, 401);
    // What a form is filled with: the event that a test sends.
    let mut client = daemon.client("standard");
    let profiles = client.call(Method::GET, "/api/v1/profiles", None).await;
    let profiles = profiles.unwrap().body;
    let rows = profiles["data"].as_array().unwrap();
    let own = rows.iter().find(|row| row["own"] == true).unwrap();
    assert_eq!(own["example"]["type"], "user.created");
    assert_eq!(own["example"]["data"]["attributes"]["name"], "John Doe");
    assert!(rows.iter().all(|row| row["example"]["data"].is_object()));
}
