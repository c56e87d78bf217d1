//! A person's desk: a daemon, a receiver, and the real binary run as a person or a script runs it, without a terminal.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Daemon, Site, hookwheel, key_of};
use crate::web::Web;

/// What a command came to.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// What it printed, as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    /// It must have ended well.
    pub fn good(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// It must have ended with this code, and said this.
    pub fn said(self, code: i32, text: &str) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(text), "{text:?} is not in {self:?}");
        self
    }
}

impl std::fmt::Debug for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "exit code {}\n{}\n--- stderr\n{}",
            self.code, self.out, self.err
        )
    }
}

pub struct Desk {
    pub site: Site,
    pub daemon: Daemon,
    pub web: Web,
}

impl Desk {
    /// Of the standard profile; its receiver answers the n-th request as told.
    pub async fn new(status: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Self {
        Self::of("standard", status).await
    }

    pub async fn of(profile: &str, status: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Self {
        let site = Site::new(&[profile]);
        let web = Web::start(&site.authority, status).await;
        let daemon = site.start();
        std::fs::write(site.path("api.key"), key_of(profile) + "\n").unwrap();
        Self { site, daemon, web }
    }

    /// A command with nothing of this process's environment that it would take.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(arguments);
        command
            .env("HOOKWHEEL_URL", format!("http://{}", self.daemon.address))
            .env("HOOKWHEEL_API_KEY_FILE", self.site.path("api.key"));
        command
    }

    /// Runs a command.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments), "")
    }

    /// Runs a command, and gives it this on standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        ran(self.command(arguments), input)
    }

    /// Registers the receiver by the command; gives the answer.
    pub fn add(&self, name: &str, more: &[&str]) -> Value {
        let url = self.web.url(&format!("/{name}"));
        let arguments = [&["webhook", "add", &url, "--name", name, "--json"], more].concat();
        self.run(&arguments).good().json()
    }
}

/// The binary without settings from outside.
pub fn bare(arguments: &[&str]) -> Command {
    let mut command = hookwheel();
    command.args(arguments);
    for name in [
        "URL",
        "CA",
        "CONFIG",
        "API_KEY",
        "API_KEY_FILE",
        "CLIENT_CERT",
        "CLIENT_KEY",
    ] {
        command.env_remove(format!("HOOKWHEEL_{name}"));
    }
    command.env_remove("NO_COLOR").env_remove("COLUMNS");
    command
}

pub fn ran(mut command: Command, input: &str) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing may have gone by now.
    if let Err(error) = child.stdin.take().unwrap().write_all(input.as_bytes()) {
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
