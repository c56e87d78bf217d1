//! `hookwheel repair`: what is wrong with a stopped daemon's data is told, put right if asked for, and nothing
//! acknowledged is lost by it.

use std::fs;
use std::path::PathBuf;

use http::Method;
use serde_json::{Value, json};

use crate::backup::{report, run, small_segments, tree};
use crate::support::{Daemon, Site, delivery_in, get, registered};
use crate::web::Web;

/// A stopped daemon's data: some segments, some deliveries delivered, some waiting.
struct Data {
    site: Site,
    webhook: String,
    waiting: Vec<String>,
    receiver: std::net::SocketAddr,
}

impl Data {
    async fn new() -> Self {
        let site = Site::new(&["standard"]);
        let web = Web::start(&site.authority, |_| 200).await;
        let receiver = web.address();
        let daemon = Daemon::start(&site.path("config.toml"), &small_segments(&site));
        let mut client = daemon.client("standard");
        let body = json!({ "url": web.url("/"), "retry": { "delays": ["1h"], "jitter": "0%" } });
        let webhook = registered(&mut client, body).await;
        let mut waiting = Vec::new();
        for number in 0..24 {
            let id = format!("e-{number}");
            let body = json!({ "id": id, "type": "a", "data": "x".repeat(200_000) });
            let answer = client
                .call(Method::POST, "/api/v1/events", Some(&body))
                .await
                .unwrap();
            assert_eq!(answer.status, 202, "{}", answer.body);
            if number == 11 {
                for earlier in 0..=11 {
                    delivery_in(&mut client, &webhook, &format!("e-{earlier}"), "delivered").await;
                }
                let answer = client
                    .call(
                        Method::PATCH,
                        &format!("/api/v1/webhooks/{webhook}"),
                        Some(&json!({ "active": false })),
                    )
                    .await
                    .unwrap();
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
            if number > 11 {
                waiting.push(id);
            }
        }
        assert!(daemon.terminate().success());
        web.stop().await;
        Self {
            site,
            webhook,
            waiting,
            receiver,
        }
    }

    fn data(&self, name: &str) -> PathBuf {
        self.site.path("data").join(name)
    }

    /// What a look finds wrong. Nothing is changed by it.
    fn found(&self) -> Value {
        let before = tree(&self.site.path("data"));
        let (code, out, errors) = run(&self.site, "repair", &["--json"]);
        assert_eq!(code, Some(1), "{out}{errors}");
        assert_eq!(tree(&self.site.path("data")), before);
        let (_, text, _) = run(&self.site, "repair", &[]);
        assert!(text.contains("nothing is changed"), "{text}");
        assert!(text.contains("--apply"), "{text}");
        serde_json::from_str(&out).unwrap()
    }

    /// Repairs, and looks again: nothing is wrong any more.
    fn repair(&self) -> Value {
        let said = report(&self.site, "repair", &["--apply"]);
        assert_eq!(said["applied"], true);
        let again = report(&self.site, "repair", &[]);
        assert_eq!(again["wrong"], false);
        said
    }

    /// Everything that waited is there, but for `lost`, and is delivered once the webhook is active again.
    async fn goes_on(&self, lost: &[&str]) {
        let web = Web::start_at(self.receiver, &self.site.authority, |_| 200).await;
        let daemon = Daemon::start(&self.site.path("config.toml"), &small_segments(&self.site));
        assert!(!daemon.log().contains("moved aside"), "{}", daemon.log());
        let mut client = daemon.client("standard");
        let answer = client
            .call(
                Method::PATCH,
                &format!("/api/v1/webhooks/{}", self.webhook),
                Some(&json!({ "active": true })),
            )
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        for event in &self.waiting {
            if lost.contains(&event.as_str()) {
                let answer = get(&mut client, &format!("/api/v1/events/{event}")).await;
                assert_eq!(answer.status, 404, "{}", answer.body);
            } else {
                delivery_in(&mut client, &self.webhook, event, "delivered").await;
            }
        }
        delivery_in(&mut client, &self.webhook, "e-3", "delivered").await;
        assert!(daemon.terminate().success());
        assert_eq!(web.stop().await.len(), self.waiting.len() - lost.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_data_is_called_so_and_a_running_daemon_is_left_alone() {
    let data = Data::new().await;
    let said = report(&data.site, "repair", &[]);
    assert_eq!(said["wrong"], false, "{said}");
    assert_eq!(said["registry"], "good", "{said}");
    assert_eq!(said["pending"], data.waiting.len(), "{said}");
    assert_eq!(said["events"], 24);
    assert_eq!(said["webhooks"], 1);
    let daemon = Daemon::start(&data.site.path("config.toml"), &small_segments(&data.site));
    for arguments in [&[][..], &["--apply"]] {
        let (code, _, errors) = run(&data.site, "repair", arguments);
        assert_eq!(code, Some(1));
        assert!(errors.contains("in use by another"), "{errors}");
    }
    drop(daemon);
    // After a kill, too: sled may be behind the journal, and must agree with it up to where it is.
    let said = report(&data.site, "repair", &[]);
    assert_eq!(said["registry"], "good", "{said}");
    data.goes_on(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ruined_registry_is_made_again() {
    let data = Data::new().await;
    let db = data.data("registry/db");
    let length = usize::try_from(fs::metadata(&db).unwrap().len()).unwrap();
    fs::write(&db, vec![0x5a; length]).unwrap();
    let found = data.found();
    assert_eq!(found["registry"], "unusable", "{found}");
    let said = data.repair();
    assert_eq!(said["after"]["registry"], "good", "{said}");
    assert!(data.data("registry.broken-1/db").exists());
    data.goes_on(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_of_another_time_is_noticed_and_made_again() {
    let data = Data::new().await;
    // One that says that it is up to date, and lacks a waiting delivery.
    let db = sled::open(data.data("registry")).unwrap();
    let (key, _) = db.scan_prefix(b"q").next().unwrap().unwrap();
    db.remove(key).unwrap();
    db.flush().unwrap();
    drop(db);
    let found = data.found();
    assert_eq!(found["registry"], "differs", "{found}");
    let detail = found["registry_detail"].as_str().unwrap();
    assert!(
        detail.contains("1 pending deliveries are missing, 0 too many"),
        "{detail}"
    );
    data.repair();
    data.goes_on(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_that_are_missing_damaged_or_wrong_are_made_again() {
    let data = Data::new().await;
    let mut indexes: Vec<PathBuf> = fs::read_dir(data.data("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "idx"))
        .collect();
    indexes.sort();
    assert!(indexes.len() >= 3, "{indexes:?}");
    let good: Vec<Vec<u8>> = indexes.iter().map(|path| fs::read(path).unwrap()).collect();
    fs::remove_file(&indexes[0]).unwrap();
    // In the middle of a block, where a start does not look.
    let mut damaged = good[1].clone();
    damaged[4096 + 30] ^= 1;
    fs::write(&indexes[1], damaged).unwrap();
    let found = data.found();
    let states: Vec<&str> = found["indexes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["found"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["missing", "damaged"], "{found}");
    assert_eq!(found["registry"], "good", "{found}");
    data.repair();
    for (path, bytes) in indexes.iter().zip(good) {
        assert_eq!(fs::read(path).unwrap(), bytes, "{}", path.display());
    }
    data.goes_on(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_set_aside_and_costs_no_other() {
    let data = Data::new().await;
    // The event in a sealed segment, whose bytes no start would read.
    let path = data.data("journal/0000000003.log");
    let mut bytes = fs::read(&path).unwrap();
    let marked = b"e-13";
    let at = bytes
        .windows(marked.len())
        .position(|window| window == marked)
        .expect("the event is in the third segment");
    bytes[at + 1_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    // And a torn tail.
    let last = tree(&data.data("journal"))
        .into_keys()
        .rfind(|path| path.extension().is_some_and(|ending| ending == "log"))
        .unwrap();
    let mut tail = fs::read(&last).unwrap();
    tail.extend_from_slice(&[0, 0, 1, 0, 7, 7, 7]);
    fs::write(&last, tail).unwrap();
    let found = data.found();
    assert_eq!(found["new_damage"], 1, "{found}");
    assert_eq!(found["torn_bytes"], 7, "{found}");
    assert!(
        found["damage"][0]["file"]
            .as_str()
            .unwrap()
            .ends_with("0000000003.log"),
        "{found}"
    );
    let said = data.repair();
    assert_eq!(said["after"]["set_aside"], 1, "{said}");
    assert_eq!(said["after"]["damaged"], 1, "{said}");
    assert_eq!(said["after"]["torn_bytes"], 0, "{said}");
    data.goes_on(&["e-13"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_was_acknowledged_is_kept_when_it_is_cut() {
    let data = Data::new().await;
    let last = tree(&data.data("journal"))
        .into_keys()
        .rfind(|path| path.extension().is_some_and(|ending| ending == "log"))
        .unwrap();
    // The last record: nothing good comes after it, so by the journal alone it is a tear.
    let mut bytes = fs::read(&last).unwrap();
    let at = bytes.len() - 3;
    bytes[at] ^= 1;
    fs::write(&last, &bytes).unwrap();
    let found = data.found();
    let torn = usize::try_from(found["torn_bytes"].as_u64().unwrap()).unwrap();
    assert!(torn > 3, "{found}");
    assert_eq!(found["registry"], "uncovered", "{found}");
    let said = data.repair();
    assert_eq!(said["after"]["registry"], "good", "{said}");
    assert_eq!(said["after"]["set_aside"], 1, "{said}");
    let kept = tree(&data.data("journal/set-aside"));
    let kept: Vec<&Vec<u8>> = kept.values().collect();
    assert_eq!(kept, [&bytes[bytes.len() - torn..].to_vec()]);
}
