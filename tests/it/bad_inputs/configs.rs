//! Configs that are refused: by `check`, at a start, and by a running daemon, which goes on with what it has.

use std::process::Command;

use http::Method;
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::json;

use super::{closed, shown, state, table, written_out};
use crate::support::{Site, get, hookwheel, post, until};

#[derive(Deserialize)]
struct Configs {
    configs: Vec<Refused>,
}

#[derive(Deserialize)]
pub struct Refused {
    text: String,
    /// `line:column: field`.
    faults: Vec<String>,
}

pub fn configs() -> Vec<Refused> {
    table::<Configs>("configs.toml").configs
}

/// A config with this before an account that is right.
fn with_account(text: &str) -> String {
    let key = "hash = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"";
    format!(
        "{}\n[[accounts]]\nname = \"acme\"\n[[accounts.keys]]\nname = \"k\"\nscopes = [\"read\"]\n{key}\n",
        written_out(text)
    )
}

/// How a command ended that reads the config, and what it said.
fn run(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn each_is_refused_with_all_its_faults_and_64() {
    let site = Site::new(&[]);
    let path = site.path("config.toml");
    let mut wrong = Vec::new();
    for (number, Refused { text, faults }) in configs().into_iter().enumerate() {
        std::fs::write(&path, with_account(&text)).unwrap();
        // A start refuses what `check` refuses; one of them in turn, as each takes a process.
        let verb = if number % 4 == 0 { "serve" } else { "check" };
        let mut command = hookwheel();
        command.args([verb, "--config"]).arg(&path);
        let (code, said) = run(command);
        let missing: Vec<&String> = faults
            .iter()
            .filter(|fault| !said.contains(&format!("config.toml:{fault}")))
            .collect();
        let count = match faults.len() {
            1 => "1 error in the config".to_owned(),
            many => format!("{many} errors in the config"),
        };
        if code != Some(64) || !missing.is_empty() || !said.contains(&count) {
            let said: String = said.chars().take(700).collect();
            wrong.push(format!(
                "{}: {code:?}, without {missing:?} or {count:?}:\n{said}",
                shown(&text)
            ));
        }
        assert!(!site.path("data").exists(), "{text}");
    }
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_config_that_cannot_be_read_is_named() {
    let site = Site::new(&[]);
    let missing = site.path("none.toml");
    let directory = site.path("");
    for path in [missing, directory] {
        let mut command = hookwheel();
        command.args(["serve", "--config"]).arg(&path);
        let (code, said) = run(command);
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains(path.to_str().unwrap()), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_daemon_keeps_its_config_whatever_is_wrong_with_the_new_one() {
    let site = Site::new(&["standard"]);
    let daemon = closed(&site);
    let mut client = daemon.client("standard");
    post(&mut client, "a", json!(1)).await;
    let before = state(&mut client).await;
    let path = site.path("config.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let mut from = 0;
    for Refused { text, faults } in configs() {
        // The key of the account that is right here is another: were it taken, ours would be refused.
        std::fs::write(&path, with_account(&text)).unwrap();
        daemon.signal(Signal::HUP);
        from = until("the reload is refused", async || {
            daemon.said_since(from, "the config has errors; the old one stays in force")
        })
        .await;
        let first = faults[0].split(": ").next().unwrap();
        assert!(daemon.log().contains(first), "{first} is not in the log");
        assert_eq!(
            get(&mut client, "/api/v1/webhooks").await.status,
            200,
            "{text}"
        );
    }
    assert_eq!(state(&mut client).await, before);
    // And a good one is taken after that.
    std::fs::write(&path, good.replace("name = \"all\"", "name = \"new\"")).unwrap();
    daemon.signal(Signal::HUP);
    until("the good one is taken", async || {
        daemon.said_since(from, "were read again")
    })
    .await;
    let answer = client.call(Method::GET, "/api/v1/webhooks", None).await;
    assert_eq!(answer.unwrap().status, 200);
    assert!(daemon.terminate().success());
}
