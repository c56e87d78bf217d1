//! The daemon under test: the real binary with its durable defaults, and what the system tells of its process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hookwheel::cli::client::Client;
use hookwheel::cli::key_hash;
use hookwheel::receiver::Authority;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

pub const KEY: &str = "bench-key";

/// A running daemon with a directory of its own; ended when dropped.
pub struct Daemon {
    child: Child,
    pub address: SocketAddr,
    directory: TempDir,
}

impl Daemon {
    pub fn start(authority: &Authority) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("pipeline-bench")
            .tempdir_in(crate::base())
            .unwrap();
        std::fs::write(directory.path().join("ca.pem"), authority.certificate_pem()).unwrap();
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[storage]\npath = \"data\"\n[egress]\n\
             allow = [\"127.0.0.0/8\"]\nextra_ca = [\"ca.pem\"]\n[delivery]\nresume_per_second = 0\n[log]\nformat = \"json\"\n[[accounts]]\n\
             name = \"bench\"\nprofile = \"standard\"\n[[accounts.keys]]\nname = \"all\"\nhash = \"{}\"\n\
             scopes = [\"admin\", \"send\", \"read\"]\n",
            key_hash(KEY)
        );
        std::fs::write(directory.path().join("config.toml"), config).unwrap();
        Self::spawn(directory)
    }

    fn spawn(directory: TempDir) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hookwheel"))
            .args(["serve", "--config"])
            .arg(directory.path().join("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let line: Value = serde_json::from_str(&line).ok()?;
                let fields = line.get("fields").unwrap_or(&line);
                let ready = fields["message"] == "ready";
                ready.then(|| fields["address"].as_str()?.parse().ok())?
            })
            .expect("the daemon did not start");
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if !line.contains("\"level\":\"INFO\"") {
                    eprintln!("daemon: {line}");
                }
            }
        });
        Self {
            child,
            address,
            directory,
        }
    }

    pub fn client(&self) -> Client {
        Client::new(self.address, KEY)
    }

    fn stat(&self) -> Vec<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after = text.rsplit(") ").next().unwrap();
        after
            .split_whitespace()
            .skip(1)
            .map(|word| word.parse().unwrap_or(0))
            .collect()
    }

    /// CPU time so far, user and system.
    pub fn cpu(&self) -> Duration {
        let stat = self.stat();
        // Fields 14 and 15 of proc(5), in ticks of 10 ms on every Linux there is.
        Duration::from_millis((stat[10] + stat[11]) * 10)
    }

    /// Resident memory now, and its peak, KiB.
    pub fn memory_kib(&self) -> (u64, u64) {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (value("VmRSS:"), value("VmHWM:"))
    }

    /// Bytes that the data directory takes on disk.
    pub fn disk_bytes(&self) -> u64 {
        fn of(path: &Path) -> u64 {
            let Ok(entries) = std::fs::read_dir(path) else {
                return 0;
            };
            entries
                .flatten()
                .map(|entry| match entry.metadata() {
                    Ok(meta) if meta.is_dir() => of(&entry.path()),
                    Ok(meta) => std::os::unix::fs::MetadataExt::blocks(&meta) * 512,
                    Err(_) => 0,
                })
                .sum()
        }
        of(&self.directory.path().join("data"))
    }

    /// A counter or gauge of `/metrics`, by the start of its line.
    pub async fn metric(&self, name: &str) -> f64 {
        let mut client = self.client();
        let answer = client.call(Method::GET, "/metrics", None).await.unwrap();
        let text = answer.body.as_str().unwrap().to_owned();
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.rsplit(' ').next())
            .map_or(0.0, |value| value.parse().unwrap())
    }

    /// Registers a webhook; gives its id.
    pub async fn register(&self, body: Value) -> String {
        let mut client = self.client();
        let answer = client
            .call(Method::POST, "/api/v1/webhooks", Some(&body))
            .await
            .unwrap();
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body["id"].as_str().unwrap().to_owned()
    }

    pub async fn set_active(&self, webhook: &str, active: bool) {
        let path = format!("/api/v1/webhooks/{webhook}");
        let body = json!({ "active": active });
        let answer = self
            .client()
            .call(Method::PATCH, &path, Some(&body))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
