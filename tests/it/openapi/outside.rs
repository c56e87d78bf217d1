//! Others judge the API by its document: schemathesis makes requests of it, good ones and bad ones, and looks at what the
//! real daemon answers.
//!
//! `HOOKWHEEL_PYTHON_PACKAGES` names the directory that schemathesis was installed in; a machine that lacks it skips this,
//! unless `HOOKWHEEL_NO_SKIP=1`. `HOOKWHEEL_SCHEMATHESIS_SECONDS` lets it look for longer.

use std::io::Read as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Site, key_of, post, registered, rounds, skip};
use crate::web::Web;

/// How long it looks, where the environment does not say.
const SECONDS: u64 = 40;
/// The same requests each time: what it finds is found again.
const SEED: &str = "1";

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_that_is_not_as_described() {
    let Some(mut command) = schemathesis() else {
        return;
    };
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    // Something to be found by those requests that ask for what there is.
    registered(
        &mut client,
        json!({ "url": web.url("/in"), "name": "there" }),
    )
    .await;
    post(&mut client, "order.paid", json!({ "order": 1 })).await;
    let config = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/openapi/schemathesis.toml"
    );
    let seconds = rounds("HOOKWHEEL_SCHEMATHESIS_SECONDS", SECONDS);
    command
        .args(["--config-file", config, "run"])
        .arg(format!("http://{}/openapi.json", daemon.address))
        .args([
            "--max-time",
            &seconds.to_string(),
            "--seed",
            SEED,
            "--generation-database",
            "none",
        ])
        .env("HOOKWHEEL_TEST_KEY", key_of("standard"))
        .current_dir(site.directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ran = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let said =
        String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success(),
        "schemathesis ended with {}:\n{said}",
        ran.status
    );
    assert!(said.contains("passed"), "it looked at nothing:\n{said}");
}

/// Its command, where this machine has it.
fn schemathesis() -> Option<Command> {
    let mut python = Command::new("python3");
    // -B: no compiled files beside the packages.
    python.args(["-B", "-m", "schemathesis.cli"]);
    if let Some(packages) = std::env::var_os("HOOKWHEEL_PYTHON_PACKAGES") {
        python.env("PYTHONPATH", packages);
    }
    let mut probe = Command::new(python.get_program());
    probe
        .args(python.get_args())
        .arg("--version")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    for (name, value) in python.get_envs() {
        probe.env(name, value.unwrap_or_default());
    }
    let mut version = String::new();
    let found = probe.spawn().is_ok_and(|mut child| {
        let read = child
            .stdout
            .take()
            .map(|mut out| out.read_to_string(&mut version));
        child.wait().is_ok_and(|status| status.success()) && read.is_some()
    });
    if !found {
        skip(
            "the API by schemathesis",
            "python3 has no schemathesis 4 (pip install schemathesis)",
        );
        return None;
    }
    Some(python)
}
