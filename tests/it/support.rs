//! What the tests share: the real binary as a process of its own, and ways to wait for what it does.

use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::{Answer, Client};
use hookwheel::cli::key_hash;
use hookwheel::receiver::Authority;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

/// The key of every test account.
pub const KEY: &str = "test-key";
/// No test waits longer than this for one thing; these machines are slow at times.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with a config in it, for daemons started one after another.
pub struct Site {
    pub directory: TempDir,
    pub authority: Authority,
    accounts: Vec<(String, String)>,
    extra: String,
}

impl Site {
    /// A site with one account named after each profile.
    pub fn new(profiles: &[&str]) -> Self {
        let site = Self {
            directory: tempfile::tempdir().unwrap(),
            authority: Authority::generate("test CA").unwrap(),
            accounts: profiles
                .iter()
                .map(|p| ((*p).to_owned(), (*p).to_owned()))
                .collect(),
            extra: String::new(),
        };
        std::fs::write(site.path("ca.pem"), site.authority.certificate_pem()).unwrap();
        site
    }

    /// Adds config text at the end.
    pub fn with(mut self, extra: &str) -> Self {
        self.extra.push_str(extra);
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The config text, with the test CA trusted or not.
    pub fn config(&self, trusted: bool) -> String {
        let ca = if trusted {
            "extra_ca = [\"ca.pem\"]\n"
        } else {
            ""
        };
        let mut text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[storage]\npath = \"data\"\n\
             [egress]\nallow = [\"127.0.0.0/8\"]\n{ca}[log]\nformat = \"json\"\nlevel = \"debug,hyper=info,hickory_proto=info,hickory_resolver=info,rustls=info,sled=info\"\n"
        );
        for (account, profile) in &self.accounts {
            text.push_str(&format!(
                "[[accounts]]\nname = \"{account}\"\nprofile = \"{profile}\"\n[[accounts.keys]]\n\
                 name = \"all\"\nhash = \"{}\"\nscopes = [\"admin\", \"send\", \"read\"]\n",
                key_hash(&key_of(account))
            ));
        }
        text + &self.extra
    }

    /// Starts a daemon here and waits until it is ready.
    pub fn start(&self) -> Daemon {
        Daemon::start(&self.path("config.toml"), &self.config(true))
    }
}

/// The key of an account.
pub fn key_of(account: &str) -> String {
    format!("{KEY}-{account}")
}

/// The binary under test.
pub fn hookwheel() -> Command {
    Command::new(env!("CARGO_BIN_EXE_hookwheel"))
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    pub fn start(config_path: &Path, config: &str) -> Self {
        std::fs::write(config_path, config).unwrap();
        let mut command = hookwheel();
        command.args(["serve", "--config"]).arg(config_path);
        Self::spawn(command)
    }

    /// Runs a command that becomes a daemon, and waits until it is ready.
    pub fn spawn(command: Command) -> Self {
        Self::try_spawn(command)
            .unwrap_or_else(|(status, log)| panic!("the daemon ended with {status}:\n{log}"))
    }

    /// As [`Daemon::spawn`]; gives how it ended and what it said where it ends before it is ready.
    pub fn try_spawn(command: Command) -> Result<Self, (ExitStatus, String)> {
        Self::try_spawn_reading(command, Stdio::null())
    }

    /// As [`Daemon::try_spawn`], with something else than nothing as its standard input.
    pub fn try_spawn_reading(
        mut command: Command,
        stdin: Stdio,
    ) -> Result<Self, (ExitStatus, String)> {
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut address = None;
        for line in lines.by_ref() {
            let line = line.unwrap();
            address = ready_address(&line);
            log.lock().unwrap().push(line);
            if address.is_some() {
                break;
            }
        }
        let Some(address) = address else {
            let status = child.wait().unwrap();
            let said = log.lock().unwrap().join("\n");
            return Err((status, said));
        };
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Ok(Self {
            child,
            address,
            log,
            reader: Some(reader),
        })
    }

    pub fn client(&self, account: &str) -> Client {
        Client::new(self.address, &key_of(account))
    }

    /// A present or peak size of the process, by its name in `/proc/PID/status` (`VmRSS`, `VmHWM`), bytes.
    pub fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        let kilobytes = line.split_whitespace().nth(1).unwrap();
        kilobytes.parse::<u64>().unwrap() << 10
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and waits for its end.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.ended()
    }

    /// Waits for its end, and for its last words.
    pub fn ended(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }

    /// How it ended, once it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()?;
        Some(self.ended())
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(i32::try_from(self.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Looks for `text` in the log from line `from` on; gives the number of the line after.
    pub fn said_since(&self, from: usize, text: &str) -> Option<usize> {
        let log = self.log.lock().unwrap();
        let found = log.iter().skip(from).position(|line| line.contains(text));
        found.map(|at| from + at + 1)
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!(
                "the daemon's last log lines, newest first:\n{}",
                tail.join("\n")
            );
        }
    }
}

fn ready_address(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    if fields["message"] != "ready" {
        return None;
    }
    fields["address"].as_str()?.parse().ok()
}

/// Asks until `check` gives something, or panics with `what` after a minute.
pub async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "waited a minute in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Registers a webhook and returns the whole answer.
pub async fn register(client: &mut Client, body: Value) -> Value {
    let answer = client
        .call(Method::POST, "/api/v1/webhooks", Some(&body))
        .await
        .unwrap();
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body
}

/// Registers a webhook and returns its id.
pub async fn registered(client: &mut Client, body: Value) -> String {
    register(client, body).await["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Posts an event and returns its id.
pub async fn post(client: &mut Client, event_type: &str, data: Value) -> String {
    let body = json!({ "type": event_type, "data": data });
    let answer = client
        .call(Method::POST, "/api/v1/events", Some(&body))
        .await
        .unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.body["id"].as_str().unwrap().to_owned()
}

/// Posts these as events of a type, up to 500 of them as one batch, in their order; gives their ids.
pub async fn post_all(
    client: &mut Client,
    event_type: &str,
    data: impl Iterator<Item = Value>,
) -> Vec<String> {
    let events: Vec<Value> = data
        .map(|data| json!({ "type": event_type, "data": data }))
        .collect();
    let mut ids = Vec::new();
    for batch in events.chunks(500) {
        let answer = client
            .call(Method::POST, "/api/v1/events/batch", Some(&json!(batch)))
            .await
            .unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
        let rows = answer.body["data"].as_array().unwrap();
        let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
        ids.extend(rows.iter().map(id));
    }
    ids
}

pub async fn get(client: &mut Client, path: &str) -> Answer {
    client.call(Method::GET, path, None).await.unwrap()
}

/// One delivery as the API shows it.
pub async fn delivery(client: &mut Client, webhook: &str, event: &str) -> Value {
    let answer = get(
        client,
        &format!("/api/v1/webhooks/{webhook}/deliveries/{event}"),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// Waits until a delivery is in a state, and returns it.
pub async fn delivery_in(client: &mut Client, webhook: &str, event: &str, state: &str) -> Value {
    until(&format!("{event} for {webhook} is {state}"), async || {
        let shown = delivery(client, webhook, event).await;
        (shown["state"] == state).then_some(shown)
    })
    .await
}

/// The value of a variable as a number, or `default`.
pub fn rounds(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}"))
    })
}

/// Says that something was not tested, and why. `HOOKWHEEL_NO_SKIP=1`, as in `.ci/run`, makes it a failure.
pub fn skip(what: &str, why: &str) {
    assert!(
        std::env::var("HOOKWHEEL_NO_SKIP").as_deref() != Ok("1"),
        "{what} was to be skipped, and HOOKWHEEL_NO_SKIP=1 forbids that: {why}"
    );
    let_be(what, why);
}

/// As [`skip`], for what a machine gives or does not give: rights that nobody can install.
pub fn let_be(what: &str, why: &str) {
    // Not by a macro: what macros print is shown of tests that fail only.
    let line = format!("SKIPPED {what}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
