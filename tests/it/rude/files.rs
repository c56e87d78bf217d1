//! A data directory that is not as it was left: what was acknowledged is still there, or the message names
//! the file and the remedy.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::{
    Daemon, Site, delivery, delivery_in, get, hookwheel, post, registered, until,
};
use crate::web::Web;

/// Starts the daemon where it cannot run; gives its exit code and what it says.
fn refused(site: &Site) -> (Option<i32>, String) {
    let config = site.path("config.toml");
    fs::write(&config, site.config(true)).unwrap();
    let output = hookwheel()
        .args(["serve", "--config"])
        .arg(config)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named_with_the_remedy() {
    let site = Site::new(&["standard"]);
    let data = site.path("data");
    fs::write(&data, "a file").unwrap();
    let (code, said) = refused(&site);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(data.to_str().unwrap()), "{said}");
    assert!(said.contains("it is a file: move it away"), "{said}");
    assert!(said.contains("storage.path"), "{said}");
    assert_eq!(said.matches("os error").count(), 1, "said twice: {said}");
    assert_eq!(fs::read_to_string(&data).unwrap(), "a file");

    fs::remove_file(&data).unwrap();
    fs::create_dir(&data).unwrap();
    fs::write(data.join("format"), "hookwheel data 7\n").unwrap();
    let (code, said) = refused(&site);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(data.join("format").to_str().unwrap()),
        "{said}"
    );
    assert!(said.contains("hookwheel data 7"), "{said}");
    assert_eq!(
        fs::read_to_string(data.join("format")).unwrap(),
        "hookwheel data 7\n"
    );
}

#[test]
fn a_missing_parent_directory_is_named_with_the_remedy() {
    let site = Site::new(&["standard"]);
    let config = site
        .config(true)
        .replace("path = \"data\"", "path = \"no/where/data\"");
    fs::write(site.path("config.toml"), config).unwrap();
    let output = hookwheel()
        .args(["serve", "--config"])
        .arg(site.path("config.toml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no/where/data"), "{said}");
    assert!(said.contains("create its parent directory"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_data_is_refused() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let (code, said) = refused(&site);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("in use by another hookwheel process"),
        "{said}"
    );
    assert_eq!(
        get(&mut daemon.client("standard"), "/readyz").await.status,
        200
    );
}

/// The journal's segments, oldest first.
fn segments(site: &Site) -> Vec<PathBuf> {
    let mut logs: Vec<_> = fs::read_dir(site.path("data/journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    logs
}

/// What a first daemon acknowledged, with a receiver that failed.
struct Left {
    site: Site,
    webhook: String,
    events: Vec<String>,
    receiver: std::net::SocketAddr,
}

impl Left {
    /// A webhook whose receiver fails, and events that wait for it an hour after a first attempt.
    async fn behind() -> Self {
        let site = Site::new(&["standard"]);
        let web = Web::start(&site.authority, |_| 503).await;
        let receiver = web.address();
        let daemon = site.start();
        let mut client = daemon.client("standard");
        let body = json!({ "url": format!("https://{receiver}/"), "retry": { "delays": ["1h"], "jitter": "0%" } });
        let webhook = registered(&mut client, body).await;
        let mut events = Vec::new();
        for number in 0..20 {
            let event = post(
                &mut client,
                "a",
                json!({ "number": number, "text": "x".repeat(500) }),
            )
            .await;
            attempted(&mut client, &webhook, &event).await;
            events.push(event);
        }
        assert!(daemon.terminate().success());
        assert_eq!(web.stop().await.len(), events.len());
        Self {
            site,
            webhook,
            events,
            receiver,
        }
    }

    fn registry(&self) -> PathBuf {
        self.site.path("data/registry")
    }

    fn last_segment(&self) -> PathBuf {
        segments(&self.site).pop().unwrap()
    }

    /// The events that a new daemon still has. Each must wait, and arrive when it is sent again.
    async fn check(&self, daemon: &Daemon) -> Vec<&str> {
        let web = Web::start_at(self.receiver, &self.site.authority, |_| 200).await;
        let mut client = daemon.client("standard");
        let webhook = format!("/api/v1/webhooks/{}", self.webhook);
        assert_eq!(get(&mut client, &webhook).await.status, 200);
        let mut there = Vec::new();
        for event in &self.events {
            let path = format!("{webhook}/deliveries/{event}");
            if get(&mut client, &path).await.status == 404 {
                continue;
            }
            // One whose attempt was lost with its record is due at once: before the receiver is there, or after.
            let shown = attempted(&mut client, &self.webhook, event).await;
            if shown["attempts"][0]["status"] != 200 {
                assert_eq!(shown["state"], "waiting", "{shown}");
                let retry = client
                    .call(Method::POST, &format!("{path}/retry"), None)
                    .await;
                assert_eq!(retry.unwrap().status, 202);
            }
            delivery_in(&mut client, &self.webhook, event, "delivered").await;
            there.push(event.as_str());
        }
        assert_eq!(web.stop().await.len(), there.len());
        there
    }
}

async fn attempted(client: &mut crate::client::Client, webhook: &str, event: &str) -> Value {
    until("a first attempt", async || {
        let shown = delivery(client, webhook, event).await;
        (!shown["attempts"].as_array().unwrap().is_empty()).then_some(shown)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_and_waiting_deliveries_survive_the_loss_of_the_registry() {
    let left = Left::behind().await;
    fs::remove_dir_all(left.registry()).unwrap();
    let daemon = left.site.start();
    assert_eq!(left.check(&daemon).await.len(), left.events.len());
    assert!(daemon.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_of_garbage_is_moved_aside_and_made_again() {
    let left = Left::behind().await;
    let mut files = 0;
    for entry in fs::read_dir(left.registry()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let length = fs::metadata(&path).unwrap().len();
            fs::write(&path, vec![0xa5; usize::try_from(length).unwrap()]).unwrap();
            files += 1;
        }
    }
    assert!(files > 0);
    let daemon = left.site.start();
    assert!(daemon.log().contains("moved aside"), "{}", daemon.log());
    assert_eq!(left.check(&daemon).await.len(), left.events.len());
    assert!(daemon.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_before_the_cut_of_a_journal_is_still_there() {
    let left = Left::behind().await;
    let segment = left.last_segment();
    let length = fs::metadata(&segment).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.set_len(length / 2).unwrap();
    // With sled there, its position would tell that more had been synced: that is damage, and no torn group.
    fs::remove_dir_all(left.registry()).unwrap();
    let daemon = left.site.start();
    let log = daemon.log();
    assert!(log.contains("torn tail cut"), "{log}");
    let there = left.check(&daemon).await;
    let kept = there.len();
    assert!(
        (5..20).contains(&kept),
        "{kept} of 20 events are there after half of the journal was cut"
    );
    assert_eq!(
        there,
        left.events[..kept],
        "those before the cut, without a gap"
    );
    assert!(daemon.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_record_costs_no_other_and_is_reported() {
    let left = Left::behind().await;
    // The body of the event in the middle.
    let segment = left.last_segment();
    let mut bytes = fs::read(&segment).unwrap();
    let marked = bytes
        .windows(12)
        .position(|window| window == b"\"number\":10,")
        .unwrap();
    bytes[marked] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let daemon = left.site.start();
    let log = daemon.log();
    assert!(log.contains("set aside"), "{log}");
    let mut others: Vec<&str> = left.events.iter().map(String::as_str).collect();
    others.remove(10);
    assert_eq!(left.check(&daemon).await, others);
    assert!(daemon.terminate().success());
}

/// `hookwheel serve` under a limit on open files, as `ulimit` sets it with these options.
fn limited(site: &Site, ulimit: &str) -> Command {
    let config = site.path("config.toml");
    let text = site.config(true).replace(
        "path = \"data\"",
        "path = \"data\"\nsegment_size = \"1MiB\"",
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!(
            "ulimit {ulimit}; exec \"$0\" serve --config \"$1\""
        ))
        .arg(env!("CARGO_BIN_EXE_hookwheel"))
        .arg(config);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_do_not_take_the_files_that_the_journal_needs() {
    let site = Site::new(&["standard"]);
    // 256 for itself, 1,024 for attempts and as many for idle connections leave 96 for clients.
    let daemon = Daemon::spawn(limited(&site, "-n 2400"));
    assert!(daemon.log().contains("fewer clients are let in"));
    let mut client = daemon.client("standard");
    let mut idle = Vec::new();
    post(&mut client, "a", json!("first")).await;
    for _ in 0..200 {
        idle.push(TcpStream::connect(daemon.address).await.unwrap());
    }
    until("clients are refused", async || {
        daemon.log().contains("clients are refused").then_some(())
    })
    .await;
    for _ in 0..40 {
        post(&mut client, "a", json!("x".repeat(50_000))).await;
    }
    assert!(
        segments(&site).len() > 1,
        "the journal has made its next files"
    );
    assert!(daemon.terminate().success());
}

#[test]
fn a_low_limit_on_open_files_is_raised_or_named() {
    let site = Site::new(&["standard"]);
    let daemon = Daemon::spawn(limited(&site, "-S -n 200"));
    assert!(!daemon.log().contains("fewer clients"), "{}", daemon.log());
    daemon.kill();
    let output = limited(&site, "-n 500").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("may open 500 files"), "{said}");
    assert!(said.contains("LimitNOFILE"), "{said}");
    // 256 of its own, 1,024 idle connections, 64 attempts, 32 tests, and 64 clients at least.
    let site = Site::new(&["standard"]).with("[delivery]\nin_flight_max = 64\n");
    let output = limited(&site, "-n 1439").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("may open 1439 files"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_files_and_many_clients_and_receivers_nothing_is_lost() {
    let site = Site::new(&["standard"]).with("[delivery]\nin_flight_max = 64\n");
    let mut webs = Vec::new();
    for _ in 0..3 {
        webs.push(Web::start(&site.authority, |_| 200).await);
    }
    let daemon = Daemon::spawn(limited(&site, "-n 1440"));
    assert!(daemon.log().contains("fewer clients are let in"));
    let mut client = daemon.client("standard");
    for number in 0..24 {
        let body = json!({ "url": webs[number % webs.len()].url(&format!("/{number}")) });
        registered(&mut client, body).await;
    }
    // More clients than there is room for, over and over, while segments are made and receivers connected to.
    let (mut idle, mut events) = (Vec::new(), Vec::new());
    for _ in 0..25 {
        for _ in 0..12 {
            idle.push(TcpStream::connect(daemon.address).await.unwrap());
        }
        events.push(post(&mut client, "a", json!("x".repeat(60_000))).await);
    }
    assert!(daemon.log().contains("clients are refused"));
    assert!(segments(&site).len() > 1);
    for event in &events {
        until("each delivery arrives", async || {
            let shown = get(&mut client, &format!("/api/v1/events/{event}")).await;
            assert_eq!(shown.status, 200, "{}", shown.body);
            let rows = shown.body["deliveries"].as_array().unwrap();
            assert_eq!(rows.len(), 24);
            let arrived = |row: &Value| row["state"] == "delivered" && row["attempts"] == 1;
            rows.iter().all(arrived).then_some(())
        })
        .await;
    }
    drop(idle);
    until("new clients are served again", async || {
        let mut new = daemon.client("standard");
        let answer = new.call(Method::GET, "/readyz", None).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
    assert!(daemon.terminate().success());
}
