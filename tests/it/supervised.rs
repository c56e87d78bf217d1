//! The daemon under a service manager: what it tells it, by `sd_notify(3)`, and the socket that it is passed, as
//! `sd_listen_fds(3)` has it. The test takes the manager's part, with the real binary.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::client::Client;
use http::Method;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use crate::support::{Daemon, PATIENCE, Site, hookwheel, key_of, post, until};

/// Takes what comes in as descriptor 3, as the manager would pass it, and becomes the daemon.
const PASS: &str =
    "exec 3<&0 </dev/null; export LISTEN_FDS=\"$1\" LISTEN_PID=\"${2:-$$}\"; shift 2; exec \"$@\"";

/// A daemon to be started with `socket` as its only passed one.
fn passing(site: &Site, count: &str, id: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", PASS, "sh", count, id])
        .arg(hookwheel().get_program())
        .args(["serve", "--config"])
        .arg(site.path("config.toml"));
    command
}

fn write_config(site: &Site, listen: &str) {
    let text = site.config(true).replace("127.0.0.1:0", listen);
    std::fs::write(site.path("config.toml"), text).unwrap();
}

fn start(site: &Site, listener: &TcpListener) -> Daemon {
    let socket: OwnedFd = listener.try_clone().unwrap().into();
    Daemon::try_spawn_reading(passing(site, "1", ""), socket.into())
        .unwrap_or_else(|(status, log)| panic!("the daemon ended with {status}:\n{log}"))
}

/// The exit code and the words of a daemon that is passed something that it cannot use.
fn refused(site: &Site, socket: impl Into<OwnedFd>, count: &str) -> (Option<i32>, String) {
    let stdin: Stdio = socket.into().into();
    match Daemon::try_spawn_reading(passing(site, count, ""), stdin) {
        Ok(daemon) => panic!("it started at {}:\n{}", daemon.address, daemon.log()),
        Err((status, said)) => (status.code(), said),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passed_socket_is_listened_at_and_guarded() {
    let site = Site::new(&["standard"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    write_config(&site, &address.to_string());
    let daemon = start(&site, &listener);
    assert_eq!(daemon.address, address);
    let log = daemon.log();
    assert!(log.contains("passed by the service manager"), "{log}");
    let mut client = daemon.client("standard");
    post(&mut client, "a", json!({})).await;
    let body = json!({ "url": format!("https://{address}/") });
    let answer = client
        .call(Method::POST, "/api/v1/webhooks", Some(&body))
        .await
        .unwrap();
    assert_eq!(answer.body["errors"][0]["code"], "address_blocked");
    // Doctor goes by the config, which is held to the socket's address.
    let report = hookwheel()
        .args(["doctor", "--offline", "--config"])
        .arg(site.path("config.toml"))
        .output()
        .unwrap();
    let report = String::from_utf8(report.stdout).unwrap();
    let ready = format!("it runs, and http://{address}/readyz says ready");
    assert!(report.contains(&ready), "{report}");
    assert!(daemon.terminate().success());
    // The socket is the manager's: it outlives the daemon, and who comes now waits.
    drop(TcpStream::connect(address).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_another_process_is_left_alone() {
    let site = Site::new(&["standard"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    write_config(&site, "127.0.0.1:0");
    let other = std::process::id().to_string();
    let socket: OwnedFd = listener.try_clone().unwrap().into();
    let daemon = Daemon::try_spawn_reading(passing(&site, "1", &other), socket.into());
    let daemon = daemon.unwrap_or_else(|(status, log)| panic!("{status}:\n{log}"));
    assert_ne!(daemon.address, listener.local_addr().unwrap());
    let log = daemon.log();
    assert!(log.contains("\"socket\":\"its own\""), "{log}");
}

#[test]
fn what_is_no_listener_is_refused_with_what_to_change() {
    let site = Site::new(&["standard"]);
    write_config(&site, "127.0.0.1:0");
    let tcp = || TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = tcp();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let unix = UnixListener::bind(site.path("socket")).unwrap();
    let datagram = UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = std::fs::File::open(site.path("config.toml")).unwrap();
    let elsewhere = TcpListener::bind("127.0.0.2:0").unwrap();
    let bound = elsewhere.local_addr().unwrap();
    let cases = [
        (refused(&site, datagram, "1"), "ListenStream=127.0.0.1:0"),
        (refused(&site, unix, "1"), "ListenStream=127.0.0.1:0"),
        (refused(&site, file, "1"), "ListenStream=127.0.0.1:0"),
        (refused(&site, connected, "1"), "Accept=no"),
        (refused(&site, tcp(), "2"), "takes one socket"),
        (refused(&site, tcp(), "4000000000"), "takes one socket"),
        (refused(&site, tcp(), "one"), "takes one socket"),
        (refused(&site, elsewhere, "1"), "[server] listen"),
    ];
    for ((code, said), expected) in &cases {
        assert_eq!(*code, Some(64), "{said}");
        assert!(said.contains(expected), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert!(cases[7].0.1.contains(&bound.to_string()), "{:?}", cases[7]);
    assert!(!site.path("data").exists(), "nothing was touched");
}

/// What clients that post at the same time share.
#[derive(Default)]
struct Crowd {
    is_told_to_end: AtomicBool,
    acknowledged: AtomicUsize,
}

impl Crowd {
    /// Waits until so many more events have been acknowledged.
    async fn goes_on(&self, more: usize) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + more;
        until("the clients go on", async || {
            (self.acknowledged.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    }
}

/// Posts events, each on a connection of its own, until told to end; gives the ids of what was acknowledged.
async fn post_on(address: SocketAddr, crowd: Arc<Crowd>) -> Result<Vec<String>, String> {
    let mut ids = Vec::new();
    while !crowd.is_told_to_end.load(Ordering::Relaxed) {
        let mut client = Client::new(address, &key_of("standard"));
        let body = json!({ "type": "a", "data": {} });
        let answer = client.call(Method::POST, "/api/v1/events", Some(&body));
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let answer = answer.map_err(|_| "no answer in a minute".to_owned())?;
        let answer = answer.map_err(|error| format!("after {} events: {error:#}", ids.len()))?;
        if answer.status != 202 {
            return Err(format!("{}: {}", answer.status, answer.body));
        }
        ids.push(answer.body["id"].as_str().unwrap().to_owned());
        crowd.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    Ok(ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_with_a_passed_socket_refuse_nobody() {
    const CLIENTS: usize = 8;
    let site = Site::new(&["standard"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    write_config(&site, &address.to_string());
    let mut daemon = start(&site, &listener);
    let (tasks, crowd) = (TaskTracker::new(), Arc::new(Crowd::default()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tasks.spawn(post_on(address, Arc::clone(&crowd))))
        .collect();
    for _ in 0..3 {
        crowd.goes_on(4 * CLIENTS).await;
        let ended = tokio::task::block_in_place(|| daemon.terminate());
        assert!(ended.success());
        daemon = tokio::task::block_in_place(|| start(&site, &listener));
    }
    crowd.goes_on(4 * CLIENTS).await;
    crowd.is_told_to_end.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for client in clients {
        acknowledged.extend(client.await.unwrap().unwrap());
    }
    assert_eq!(
        acknowledged.len(),
        crowd.acknowledged.load(Ordering::Relaxed)
    );
    let mut client = daemon.client("standard");
    for id in [acknowledged.first(), acknowledged.last()] {
        let path = format!("/api/v1/events/{}", id.unwrap());
        assert_eq!(crate::support::get(&mut client, &path).await.status, 200);
    }
}

/// The manager's end of the notify socket.
struct Manager {
    socket: UnixDatagram,
    _directory: TempDir,
}

impl Manager {
    fn new() -> (Self, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let manager = Self {
            socket,
            _directory: directory,
        };
        (manager, path)
    }

    fn next(&self) -> String {
        let mut buffer = [0; 1024];
        let size = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..size].to_vec()).unwrap()
    }

    /// The next message that is no sign of life, and how many of these came before it.
    fn next_word(&self) -> (String, usize) {
        let mut alive = 0;
        loop {
            match self.next() {
                message if message == "WATCHDOG=1\n" => alive += 1,
                message => return (message, alive),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_when_it_is_ready_alive_reloading_and_stopping() {
    let site = Site::new(&["standard"]);
    write_config(&site, "127.0.0.1:0");
    let (manager, path) = Manager::new();
    let mut command = hookwheel();
    command
        .args(["serve", "--config"])
        .arg(site.path("config.toml"))
        .env("NOTIFY_SOCKET", path)
        .env("WATCHDOG_USEC", "200000");
    let daemon = Daemon::spawn(command);
    let (ready, alive) = manager.next_word();
    let status = format!("READY=1\nSTATUS=serving on {}\n", daemon.address);
    assert_eq!((ready, alive), (status, 0));
    // More than once in each interval: the messages go on by themselves.
    for _ in 0..5 {
        assert_eq!(manager.next(), "WATCHDOG=1\n");
    }

    daemon.signal(Signal::HUP);
    let (reloading, _) = manager.next_word();
    let since = reloading
        .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
        .unwrap_or_else(|| panic!("{reloading}"));
    assert!(since.trim_end().parse::<u64>().unwrap() > 0);
    let (ready, _) = manager.next_word();
    assert!(ready.starts_with("READY=1\n"), "{ready}");

    // A config with errors ends the reload as well, or the manager would wait for it for ever.
    let broken = site.config(true) + "[server]\nlisten = 1\n";
    std::fs::write(site.path("config.toml"), broken).unwrap();
    daemon.signal(Signal::HUP);
    assert!(manager.next_word().0.starts_with("RELOADING=1\n"));
    assert!(manager.next_word().0.starts_with("READY=1\n"));
    until("the log says that the old config stays", async || {
        daemon.said_since(0, "the old one stays in force")
    })
    .await;

    daemon.signal(Signal::TERM);
    let (stopping, _) = manager.next_word();
    let status = "STOPPING=1\nSTATUS=finishing what is under way\n";
    assert_eq!(stopping, status);
    assert!(daemon.terminate().success());
}
