//! The real binary on a data directory of the first format (`tests/data/store/v1.txt`, see `src/store/tests/upgrade.rs`),
//! and on one of a format that is to come.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::backup::{report, run, tree};
use crate::support::{Daemon, Site, get, post, until};

/// Writes the files that the text holds.
fn unpack(text: &str, directory: &Path) {
    let mut open: Option<(PathBuf, Vec<u8>)> = None;
    for line in text.lines().chain(["file . 0"]) {
        let Some(file) = line.strip_prefix("file ") else {
            let (at, hex) = line.split_once(' ').unwrap();
            let at = usize::from_str_radix(at, 16).unwrap();
            for index in 0..hex.len() / 2 {
                let byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap();
                open.as_mut().unwrap().1[at + index] = byte;
            }
            continue;
        };
        if let Some((path, bytes)) = open.take() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let (name, length) = file.rsplit_once(' ').unwrap();
        open = Some((directory.join(name), vec![0; length.parse().unwrap()]));
    }
}

/// A site with an account as the fixture has, and the fixture for its data.
fn site() -> Site {
    let site = Site::new(&["acme"]);
    let text = include_str!("../data/store/v1.txt");
    unpack(text, &site.path("data"));
    let config = site
        .config(true)
        .replace("profile = \"acme\"", "profile = \"standard\"")
        // What is in the fixture must not grow too old.
        .replace(
            "path = \"data\"",
            "path = \"data\"\nretention_age = \"3650d\"",
        );
    fs::write(site.path("config.toml"), config).unwrap();
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_goes_on_with_data_of_the_first_format() {
    let site = site();
    let found = report(&site, "repair", &[]);
    assert_eq!(found["wrong"], false, "{found}");
    assert_eq!(found["registry"], "good", "{found}");
    assert_eq!(found["events"], 69, "{found}");
    assert_eq!(found["pending"], 2, "{found}");
    assert_eq!(found["webhooks"], 2, "{found}");
    assert_eq!(found["set_aside"], 1, "{found}");

    // Damage that is known makes no backup a failure.
    let to = site.path("b");
    let copied = report(&site, "backup", &["--to", to.to_str().unwrap()]);
    assert_eq!(copied["events"], 69, "{copied}");
    assert_eq!(copied["damage"][0]["set_aside"], true, "{copied}");

    let config = fs::read_to_string(site.path("config.toml")).unwrap();
    let daemon = Daemon::start(&site.path("config.toml"), &config);
    assert!(!daemon.log().contains("moved aside"), "{}", daemon.log());
    let mut client = daemon.client("acme");
    let webhooks = get(&mut client, "/api/v1/webhooks").await.body;
    assert_eq!(webhooks["data"].as_array().unwrap().len(), 2, "{webhooks}");
    for (event, state) in [
        ("delivered", "delivered"),
        ("failed", "failed"),
        ("again", "delivered"),
        ("expired", "expired"),
        ("tried", "held"),
        ("waiting", "held"),
    ] {
        let shown = get(&mut client, &format!("/api/v1/events/{event}")).await;
        assert_eq!(shown.status, 200, "{event}: {}", shown.body);
        let deliveries = shown.body["deliveries"].as_array().unwrap();
        assert_eq!(deliveries.len(), 1, "{}", shown.body);
        assert_eq!(deliveries[0]["state"], state, "{}", shown.body);
    }
    // And it goes on: a new event's delivery is attempted.
    let event = post(&mut client, "a", json!({ "n": 1 })).await;
    until("an attempt", async || {
        let shown = get(&mut client, &format!("/api/v1/events/{event}"))
            .await
            .body;
        (shown["deliveries"][0]["attempts"] != 0).then_some(())
    })
    .await;
    assert!(daemon.terminate().success());
}

#[test]
fn data_of_a_format_to_come_is_refused_by_every_command_and_left_as_it_is() {
    let site = site();
    fs::write(site.path("data/format"), "hookwheel data 2\n").unwrap();
    let before = tree(&site.path("data"));
    let to = site.path("b");
    for (command, arguments) in [
        ("serve", &[][..]),
        ("backup", &["--to", to.to_str().unwrap()]),
        ("repair", &[]),
        ("repair", &["--apply"]),
    ] {
        let (code, out, errors) = run(&site, command, arguments);
        assert_eq!(code, Some(1), "{command}: {out}{errors}");
        for part in [
            "data/format",
            "hookwheel data 2",
            "install the version that wrote it",
        ] {
            assert!(errors.contains(part), "{command}: {errors}");
        }
        assert_eq!(tree(&site.path("data")), before, "{command}");
    }
    assert!(!to.exists());
}
