//! What operators get to watch the daemon with: the dashboard, the rules and the lists name metrics that there are, and
//! Prometheus's own tool accepts them and the metrics.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hookwheel::cli::key_hash;
use hookwheel::metrics::Metrics;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Daemon, Site, delivery_in, get, post, registered, skip, until};
use crate::web::Web;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

/// The names of metrics in a text: words that begin as ours do.
fn named_in(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("hookwheel_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// All names that a query may have: those of the reference, and a histogram's parts.
fn known() -> BTreeSet<String> {
    let metrics = Metrics::new();
    let parts = |name: &str| ["", "_bucket", "_sum", "_count"].map(|part| format!("{name}{part}"));
    metrics.names().flat_map(parts).collect()
}

/// The panels of the dashboard.
fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&text("monitoring/grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let is_row = |panel: &&Value| panel["type"] == "row";
    panels
        .iter()
        .filter(|panel| !is_row(panel))
        .cloned()
        .collect()
}

fn expressions() -> String {
    let of_panel = |panel: &Value| -> Vec<String> {
        let targets = panel["targets"].as_array().unwrap();
        let expression = |target: &Value| target["expr"].as_str().unwrap().to_owned();
        targets.iter().map(expression).collect()
    };
    panels()
        .iter()
        .flat_map(of_panel)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_dashboard_and_the_rules_name_metrics_that_there_are() {
    let known = known();
    for (file, text) in [
        ("grafana.json", expressions()),
        ("alerts.yml", text("monitoring/alerts.yml")),
        ("alerts_test.yml", text("monitoring/alerts_test.yml")),
        ("operations.md", text("docs/operations.md")),
    ] {
        let named = named_in(&text);
        assert!(!named.is_empty(), "{file}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
    }
}

#[test]
fn each_panel_says_what_it_shows_and_in_which_unit() {
    let panels = panels();
    assert!(panels.len() > 30);
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(
            panel["description"]
                .as_str()
                .is_some_and(|text| text.len() > 10),
            "{title}"
        );
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{title}"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
    }
}

#[test]
fn each_alert_has_a_place_in_the_run_book_and_a_test() {
    let (rules, tests) = (
        text("monitoring/alerts.yml"),
        text("monitoring/alerts_test.yml"),
    );
    let page = text("docs/operations.md");
    let anchors: BTreeSet<String> = page
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim_start())
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    let linked: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("runbook: docs/operations.md#"))
        .collect();
    for anchor in &linked {
        assert!(
            anchors.contains(*anchor),
            "docs/operations.md has no part {anchor}"
        );
    }
    let names = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let names: Vec<&str> = names.collect();
    assert_eq!(names.len(), linked.len());
    for name in names {
        assert!(
            tests.contains(&format!("alertname: {name}\n")),
            "{name} has no test"
        );
    }
}

/// Some traffic of each kind that a quiet daemon has none of.
async fn traffic(site: &Site, daemon: &Daemon) {
    let web = Web::start(&site.authority, |_| 200).await;
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, json!({ "url": web.url("/") })).await;
    let event = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &webhook, &event, "delivered").await;
}

/// Asks for the metrics with header lines of one's own; gives the answer whole.
async fn scrape(daemon: &Daemon, lines: &str) -> String {
    let mut stream = TcpStream::connect(daemon.address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_gives_what_the_dashboard_and_the_rules_ask_for() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    traffic(&site, &daemon).await;
    // What somebody who watches would see of a daemon that has had no operational events.
    let absent_without = ["hookwheel_alerts_total"];
    let asked = named_in(&(expressions() + &text("monitoring/alerts.yml")));
    let mut client = daemon.client("standard");
    until("all series", async || {
        let shown = get(&mut client, "/metrics").await.body;
        let given = named_in(shown.as_str().unwrap());
        let missing: Vec<_> = asked.difference(&given).collect();
        (missing == absent_without).then_some(())
    })
    .await;
    let shown = get(&mut client, "/metrics").await.body;
    for line in [
        "hookwheel_webhooks{state=\"active\",reason=\"none\"} 1",
        "hookwheel_lanes{standing=\"doubted\"} 0",
        "hookwheel_ready 1",
        "hookwheel_http_requests_total{method=\"POST\",route=\"/api/v1/events\",status=\"202\"} 1",
        "hookwheel_delivery_attempts_sum{state=\"delivered\"} 1.0",
        "hookwheel_deliveries_held 0",
        "account=\"standard\",result=\"succeeded\"} ",
    ] {
        assert!(shown.as_str().unwrap().contains(line), "{line}:\n{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openmetrics_is_for_who_asks_and_a_key_is_asked_for_where_there_is_one() {
    let site = Site::new(&["standard"]);
    let config = format!(
        "{}[metrics]\nhash = \"{}\"\nwebhooks_max = 0\n",
        site.config(true),
        key_hash("watch")
    );
    let daemon = Daemon::start(&site.path("config.toml"), &config);
    assert!(scrape(&daemon, "").await.starts_with("HTTP/1.1 401 "));
    let tenant = format!(
        "authorization: Bearer {}\r\n",
        crate::support::key_of("standard")
    );
    let refused = scrape(&daemon, &tenant).await;
    assert!(
        refused.starts_with("HTTP/1.1 401 "),
        "a tenant's key reads nothing of all tenants: {refused}"
    );
    let key = "authorization: Bearer watch\r\n";
    let classic = scrape(&daemon, key).await;
    assert!(classic.contains("text/plain; version=0.0.4"), "{classic}");
    assert!(classic.contains("# TYPE hookwheel_events_accepted_total counter"));
    assert!(!classic.contains("# EOF") && !classic.contains("webhook_id"));
    let asked =
        format!("{key}accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n");
    let open = scrape(&daemon, &asked).await;
    assert!(open.contains("application/openmetrics-text; version=1.0.0"));
    assert!(open.contains("# TYPE hookwheel_events_accepted counter"));
    assert!(open.contains("# EOF"));
    // The next key is taken over while the daemon runs.
    fs::write(
        site.path("config.toml"),
        config.replace(&key_hash("watch"), &key_hash("next")),
    )
    .unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    until("the new key", async || {
        let answer = scrape(&daemon, "authorization: Bearer next\r\n").await;
        answer
            .contains("hookwheel_config_reloads_total{result=\"ok\"} 1")
            .then_some(())
    })
    .await;
    assert!(scrape(&daemon, key).await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_fails_shows() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    fs::write(site.path("config.toml"), "[server]\nlisten = 3\n").unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    until("the failed reload", async || {
        let shown = scrape(&daemon, "").await;
        let failed = shown.contains("hookwheel_config_reloads_total{result=\"failed\"} 1")
            && shown.contains("hookwheel_config_reload_successful 0");
        failed.then_some(())
    })
    .await;
}

/// Runs promtool; `None` where this machine has none.
fn promtool(arguments: &[&str], input: &str) -> Option<String> {
    let tool = std::env::var("HOOKWHEEL_PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let spawned = Command::new(tool)
        .args(arguments)
        .current_dir(file("monitoring"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        skip(
            "what promtool says of the monitoring files",
            "there is no promtool (Debian: prometheus)",
        );
        return None;
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    Some(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_accepts_the_files_and_the_metrics() {
    for arguments in [
        &["check", "rules", "alerts.yml"][..],
        &["test", "rules", "alerts_test.yml"],
        &["check", "config", "prometheus.yml"],
    ] {
        if promtool(arguments, "").is_none() {
            return;
        }
    }
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    traffic(&site, &daemon).await;
    let answer = scrape(&daemon, "").await;
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let said = promtool(&["check", "metrics"], body).unwrap();
    assert_eq!(said.trim(), "");
}
