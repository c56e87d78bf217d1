//! The API over TLS: who gets in, what becomes of those who do not, and certificates that are replaced under traffic.

mod eyes;
pub mod ground;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::client::Client;
use hookwheel::cli::client::Trust;
use http::Method;
use rcgen::KeyPair;
use rustix::process::Signal;
use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use crate::support::{Daemon, PATIENCE, get, hookwheel, key_of, post, until};
use ground::{Ca, Ground};

/// The certificate that a connection was shown.
fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn certificate(path: &Path) -> Vec<u8> {
    CertificateDer::from_pem_file(path).unwrap().to_vec()
}

/// Asks on an open connection, and reads the answer's head.
async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    let key = key_of("standard");
    let request = format!("GET /api/v1/webhooks HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = [0; 4096];
    let length = timeout(PATIENCE, stream.read(&mut read))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8_lossy(&read[..length]).into_owned()
}

/// Sends bytes without TLS, and reads to the end.
async fn talk(daemon: &Daemon, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(daemon.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut read = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut read))
        .await
        .expect("the daemon must end the connection")
        .expect("the connection must end in order");
    read
}

/// A ClientHello that offers a version at most.
fn hello(version: [u8; 2]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    // One extension: signature algorithms, without which a server says something else.
    body.extend([0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_served_over_tls_and_verified_by_its_file() {
    let ground = Ground::new();
    let daemon = ground.start("", "");
    let mut client = ground.client(&daemon);
    let event = post(&mut client, "a", json!({ "n": 1 })).await;
    let answer = get(&mut client, &format!("/api/v1/events/{event}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    // A large answer and a large body take many records.
    let large = json!({ "type": "a", "data": "x".repeat(200_000) });
    let answer = client
        .call(Method::POST, "/api/v1/events", Some(&large))
        .await
        .unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    let listed = get(&mut client, "/api/v1/events").await;
    assert!(listed.body.to_string().len() > 200_000);

    // Another authority, or another name, is none.
    let other = ground.site.path("ca.pem");
    let strangers = Trust::of_file("127.0.0.1", &other).unwrap();
    let misnamed = Trust::of_file("localhost", &ground.site.path("server-ca.pem")).unwrap();
    for trust in [strangers, misnamed] {
        let mut client = Client::over_tls(daemon.address, "", trust);
        let error = client
            .call(Method::GET, "/healthz", None)
            .await
            .unwrap_err();
        assert!(format!("{error:#}").contains("certificate"), "{error:#}");
    }
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_no_tls_is_told_or_closed_and_others_are_served() {
    let ground = Ground::new();
    let daemon = ground.start("header_timeout = \"3s\"", "");
    let plain = talk(&daemon, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let plain = String::from_utf8(plain).unwrap();
    assert!(plain.starts_with("HTTP/1.1 400 "), "{plain}");
    assert!(plain.contains("\"code\":\"tls_required\""), "{plain}");
    assert!(
        talk(&daemon, &[0x80, 0x2e, 1, 0, 2]).await.is_empty(),
        "SSL 2"
    );
    assert!(talk(&daemon, &[0; 5000]).await.is_empty());
    // An alert (type 21), fatal (2), protocol_version (70).
    for version in [[3, 2], [3, 1], [3, 0]] {
        let answer = talk(&daemon, &hello(version)).await;
        assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]), "{version:?}");
    }
    let mut garbage = vec![22, 3, 1, 2, 0];
    garbage.extend([7; 512]);
    // A message of half a megabyte is announced, of which nothing more comes: an alert, or the end of the time.
    let answer = talk(&daemon, &garbage).await;
    assert!(answer.first().is_none_or(|kind| *kind == 21), "{answer:?}");
    let told = until("the log says it", async || {
        let told = daemon.log().matches("a client was not let in").count();
        (told > 0).then_some(told)
    })
    .await;
    assert_eq!(told, 1, "and not for each client");
    assert!(
        daemon.log().contains("\"peer\":\"127.0.0.1\""),
        "{}",
        daemon.log()
    );
    assert_eq!(
        get(&mut ground.client(&daemon), "/readyz").await.status,
        200
    );
}

/// Waits until a usual client is let in.
async fn room_again(ground: &Ground, daemon: &Daemon) {
    until("there is room again", async || {
        let answer = ground
            .client(daemon)
            .call(Method::GET, "/healthz", None)
            .await;
        answer
            .is_ok_and(|answer| answer.status == 200)
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_stops_gives_its_place_back_in_time() {
    let ground = Ground::new();
    let daemon = ground.start("header_timeout = \"2s\"\nconnections_max = 3", "");
    let start = Instant::now();
    let mut stuck = Vec::new();
    for bytes in [&b""[..], &[22], &hello([3, 3])[..20]] {
        let mut stream = TcpStream::connect(daemon.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stuck.push(stream);
    }
    // They have all places, and give way.
    let answer = ground
        .client(&daemon)
        .call(Method::GET, "/healthz", None)
        .await;
    assert_eq!(answer.unwrap().status, 200);
    assert!(
        start.elapsed() < Duration::from_millis(1900),
        "before the deadline"
    );
    for mut stream in stuck {
        let mut read = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut read)).await;
        let told = ended.expect("cut off by the deadline");
        assert!(told.is_err() || read.is_empty(), "{read:?}");
    }
    assert!(start.elapsed() >= Duration::from_millis(1900));
    room_again(&ground, &daemon).await;
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answers_is_cut_off_below_tls_too() {
    let ground = Ground::new();
    let daemon = ground.start("body_timeout = \"1s\"\nconnections_max = 1", "");
    let mut rude = ground.connect(&daemon).await;
    let asking = async {
        let mut head = Ok(());
        while head.is_ok() {
            head = rude
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                .await;
            head = head.and(rude.flush().await);
        }
    };
    // It asks until nothing more is taken from it, as its answers are stuck, or until it is cut off.
    assert!(timeout(Duration::from_secs(20), asking).await.is_ok());
    room_again(&ground, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_with_a_certificate_of_the_named_authority_are_let_in() {
    let ground = Ground::new();
    let (clients, strangers) = (Ca::new("client CA"), Ca::new("another CA"));
    std::fs::write(ground.site.path("client-ca.pem"), &clients.pem).unwrap();
    clients.issue_client(&ground.site, "backend");
    strangers.issue_client(&ground.site, "stranger");
    clients.issue_server(&ground.site, "a-server", 2090);
    let daemon = ground.start("", "client_ca = [\"client-ca.pem\"]");
    let ca = ground.site.path("server-ca.pem");
    let with = |name: &str| {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        let (certificate, key) = (ground.site.path(&certificate), ground.site.path(&key));
        let trust = Trust::with_certificate("127.0.0.1", &ca, &certificate, &key).unwrap();
        Client::over_tls(daemon.address, &key_of("standard"), trust)
    };
    assert_eq!(
        get(&mut with("backend"), "/api/v1/webhooks").await.status,
        200
    );
    for mut client in [ground.client(&daemon), with("stranger"), with("a-server")] {
        let answer = client.call(Method::GET, "/healthz", None).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    // The certificate lets nobody past the key.
    let trust = Trust::with_certificate(
        "127.0.0.1",
        &ca,
        &ground.site.path("backend.pem"),
        &ground.site.path("backend.key"),
    );
    let mut keyless = Client::over_tls(daemon.address, "", trust.unwrap());
    assert_eq!(get(&mut keyless, "/api/v1/webhooks").await.status, 401);
}

/// Clients that post without a pause; each post must be acknowledged.
struct Traffic {
    stop: Arc<AtomicBool>,
    posted: Arc<AtomicUsize>,
    posting: Vec<tokio::task::JoinHandle<()>>,
}

impl Traffic {
    fn start(ground: &Ground, daemon: &Daemon) -> Self {
        let (tasks, stop) = (TaskTracker::new(), Arc::new(AtomicBool::new(false)));
        let posted = Arc::new(AtomicUsize::new(0));
        let poster = |number: usize| {
            let (address, trust) = (daemon.address, ground.trust());
            let (stop, posted) = (Arc::clone(&stop), Arc::clone(&posted));
            let mut client = Client::over_tls(address, &key_of("standard"), trust.clone());
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    post(&mut client, "a", json!(number)).await;
                    posted.fetch_add(1, Ordering::Relaxed);
                    if number.is_multiple_of(2) {
                        // Half of them come anew each time, in the middle of it all.
                        client = Client::over_tls(address, &key_of("standard"), trust.clone());
                    }
                }
            })
        };
        let posting = (0..4).map(poster).collect();
        Self {
            stop,
            posted,
            posting,
        }
    }

    async fn goes_on(&self) {
        let before = self.posted.load(Ordering::Relaxed);
        until("posts go on", async || {
            (self.posted.load(Ordering::Relaxed) > before + 20).then_some(())
        })
        .await;
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for poster in self.posting {
            poster.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_under_traffic_and_a_bad_one_is_not_taken() {
    let ground = Ground::new();
    let daemon = ground.start("", "");
    let path = ground.site.path("server.pem");
    let first = certificate(&path);
    let mut open = ground.connect(&daemon).await;
    assert_eq!(shown(&open), first);
    assert!(ask(&mut open).await.starts_with("HTTP/1.1 200 "));

    let traffic = Traffic::start(&ground, &daemon);
    traffic.goes_on().await;

    ground.ca.issue_server(&ground.site, "server", 2091);
    let second = certificate(&path);
    assert_ne!(first, second);
    daemon.signal(Signal::HUP);
    let mut read = until("it was read", async || {
        daemon.said_since(0, "were read again")
    })
    .await;
    assert_eq!(shown(&ground.connect(&daemon).await), second);
    assert!(
        ask(&mut open).await.starts_with("HTTP/1.1 200 "),
        "what is open goes on"
    );
    traffic.goes_on().await;

    // A key that does not fit, half a file, none at all: the old one stays.
    let key = std::fs::read_to_string(ground.site.path("server.key")).unwrap();
    let bad: [(PathBuf, Option<String>, &str); 3] = [
        (
            ground.site.path("server.key"),
            Some(KeyPair::generate().unwrap().serialize_pem()),
            "does not fit the certificate",
        ),
        (
            ground.site.path("server.key"),
            Some(key[..60].to_owned()),
            "server.key",
        ),
        (ground.site.path("server.pem"), None, "cannot be read"),
    ];
    for (path, text, said) in bad {
        let good = std::fs::read_to_string(&path).unwrap();
        match text {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        daemon.signal(Signal::HUP);
        read = until("it was refused", async || {
            daemon.said_since(read, "the old one stays in force")
        })
        .await;
        assert!(daemon.log().contains(said), "{}", daemon.log());
        assert_eq!(shown(&ground.connect(&daemon).await), second, "{said}");
        std::fs::write(&path, good).unwrap();
    }
    traffic.goes_on().await;
    traffic.stop().await;
    assert!(
        !daemon.log().contains(key.lines().nth(1).unwrap()),
        "a key was printed"
    );
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_authority_that_was_taken_away_lets_nobody_resume() {
    let ground = Ground::new();
    let (old, new) = (Ca::new("old clients"), Ca::new("new clients"));
    std::fs::write(ground.site.path("client-ca.pem"), &old.pem).unwrap();
    old.issue_client(&ground.site, "old");
    new.issue_client(&ground.site, "new");
    let daemon = ground.start("", "client_ca = [\"client-ca.pem\"]");
    let trust = |name: &str| {
        let path = |ending: &str| ground.site.path(&format!("{name}.{ending}"));
        let ca = ground.site.path("server-ca.pem");
        Trust::with_certificate("127.0.0.1", &ca, &path("pem"), &path("key")).unwrap()
    };
    let (old_trust, new_trust) = (trust("old"), trust("new"));
    let ask = async |trust: &Trust| {
        let mut client = Client::over_tls(daemon.address, "", trust.clone());
        client.call(Method::GET, "/healthz", None).await.is_ok()
    };
    assert!(ask(&old_trust).await && !ask(&new_trust).await);
    // One that keeps its sessions resumes them.
    let settings = ground.settings_of("old");
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut stream = ground.connect_by(&daemon, &settings).await.unwrap();
        assert!(self::ask(&mut stream).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind));
    }
    std::fs::write(ground.site.path("client-ca.pem"), &new.pem).unwrap();
    daemon.signal(Signal::HUP);
    until("it was read", async || {
        daemon.said_since(0, "were read again")
    })
    .await;
    assert!(!ask(&old_trust).await && ask(&new_trust).await);
    // A client learns that it is not let in by its first read.
    if let Ok(mut stream) = ground.connect_by(&daemon, &settings).await {
        assert_ne!(
            stream.get_ref().1.handshake_kind(),
            Some(HandshakeKind::Resumed)
        );
        let mut read = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut read))
            .await
            .unwrap();
        assert!(ended.is_err() && read.is_empty(), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_lets_in_others_says_so() {
    let ground = Ground::new();
    std::fs::write(ground.site.path("client-ca.pem"), &ground.ca.pem).unwrap();
    let with = ground.config("", "client_ca = [\"client-ca.pem\"]");
    let daemon = Daemon::start(&ground.site.path("config.toml"), &with);
    let mut read = 0;
    for (config, said) in [
        (
            ground.config("", ""),
            "clients are let in without a certificate from now on",
        ),
        (
            with.clone(),
            "only clients with a certificate of server.tls.client_ca are let in",
        ),
    ] {
        std::fs::write(ground.site.path("config.toml"), config).unwrap();
        daemon.signal(Signal::HUP);
        read = until("it was said", async || daemon.said_since(read, said)).await;
    }
    // An empty list is refused, and what was in force stays.
    let empty = with.replace("[\"client-ca.pem\"]", "[]");
    std::fs::write(ground.site.path("config.toml"), empty).unwrap();
    daemon.signal(Signal::HUP);
    until("it was refused", async || {
        daemon.said_since(read, "the old one stays in force")
    })
    .await;
    let mut client = ground.client(&daemon);
    assert!(client.call(Method::GET, "/healthz", None).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_and_a_key_for_all_eyes_are_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let ground = Ground::new();
    ground.ca.issue_server(&ground.site, "server", 2001);
    let for_all = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(ground.site.path("server.key"), for_all).unwrap();
    let daemon = ground.start("", "");
    for warning in [
        "the certificate has expired at 2001-01-01T00:00:00",
        "server.tls.key: the private key can be read by everybody; chmod o-rwx",
    ] {
        assert!(
            daemon.log().contains(warning),
            "{warning}: {}",
            daemon.log()
        );
    }
    drop(daemon);
    let output = hookwheel()
        .args(["check", "--config"])
        .arg(ground.site.path("config.toml"))
        .output()
        .unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.matches("warning: ").count(), 2, "{said}");
    assert!(said.contains("has expired"), "{said}");
    let output = hookwheel()
        .args(["doctor", "--offline", "--config"])
        .arg(ground.site.path("config.toml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("server TLS"), "{said}");
    assert!(said.contains("the certificate has expired: 2001"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_begins_and_ends_with_a_restart_only() {
    let ground = Ground::new();
    let path = ground.site.path("config.toml");
    let (plain, tls) = (ground.site.config(true), ground.config("", ""));
    let said = "other changes need a restart";
    let daemon = Daemon::start(&path, &plain);
    let mut client = daemon.client("standard");
    assert_eq!(get(&mut client, "/readyz").await.status, 200);
    std::fs::write(&path, &tls).unwrap();
    daemon.signal(Signal::HUP);
    until("it was read", async || daemon.said_since(0, said)).await;
    let mut client = daemon.client("standard");
    assert_eq!(get(&mut client, "/readyz").await.status, 200, "still plain");
    drop(daemon);

    let daemon = Daemon::start(&path, &tls);
    std::fs::write(&path, &plain).unwrap();
    daemon.signal(Signal::HUP);
    until("it was read", async || daemon.said_since(0, said)).await;
    let mut client = ground.client(&daemon);
    assert_eq!(get(&mut client, "/readyz").await.status, 200, "still TLS");
}

#[test]
fn each_mistake_in_the_files_is_named_with_its_line_and_what_to_do() {
    let ground = Ground::new();
    let write = |name: &str, text: &str| std::fs::write(ground.site.path(name), text).unwrap();
    let key = KeyPair::generate().unwrap().serialize_pem();
    write("other.key", &key);
    write("nothing.pem", "nothing\n");
    write("cut.key", &key[..80]);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    write("encrypted.key", encrypted);
    write(
        "bad.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let good = ground.config("", "");
    #[rustfmt::skip] // a table, one row a line
    let cases = [
        ("certificate = \"server.pem\"", "certificate = \"none.pem\"", "server.tls.certificate: `", "create it, or correct the path"),
        ("certificate = \"server.pem\"", "certificate = \"nothing.pem\"", "server.tls.certificate: `", "holds no certificate"),
        ("certificate = \"server.pem\"", "certificate = \"server.key\"", "server.tls.certificate: `", "holds no certificate"),
        ("certificate = \"server.pem\"", "certificate = \"bad.pem\"", "server.tls.certificate: `bad.pem`", "cannot be used"),
        ("certificate = \"server.pem\"", "", "server.tls.certificate: is missing", "add certificate ="),
        ("key = \"server.key\"", "key = \"none.key\"", "server.tls.key: `", "create it, or correct the path"),
        ("key = \"server.key\"", "key = \"server.pem\"", "server.tls.key: `", "holds no private key"),
        ("key = \"server.key\"", "key = \"other.key\"", "server.tls.key: `other.key`", "does not fit the certificate"),
        ("key = \"server.key\"", "key = \"cut.key\"", "server.tls.key: `", "cut.key` is not a proper PEM file"),
        ("key = \"server.key\"", "key = \"encrypted.key\"", "server.tls.key: the private key in `", "has a pass phrase"),
        ("key = \"server.key\"", "", "server.tls.key: is missing", "add key ="),
        ("key = \"server.key\"", "key = \"server.key\"\nclient_ca = [\"nothing.pem\"]", "server.tls.client_ca[0]: `", "holds no certificate"),
        ("key = \"server.key\"", "key = \"server.key\"\nclient_ca = \"ca.pem\"", "server.tls.client_ca: ", "write it in brackets"),
        ("key = \"server.key\"", "key = \"server.key\"\nclient_ca = []", "server.tls.client_ca: is empty", "without the key client_ca clients need no certificate"),
        ("key = \"server.key\"", "key = \"server.key\"\nkay = 1", "server.tls.kay: unknown key", "did you mean `key`?"),
        ("certificate = \"server.pem\"\nkey = \"server.key\"\n", "", "server.tls.key: is missing", "2 errors"),
    ];
    for (from, to, field, piece) in cases {
        assert!(good.contains(from), "{from}");
        let (status, said) = ground.refused(&good.replacen(from, to, 1));
        assert_eq!(status.code(), Some(64), "{to}: {said}");
        assert!(said.contains(field) && said.contains(piece), "{to}: {said}");
        assert!(said.contains("config.toml:"), "{to}: {said}");
        assert!(
            !said.contains(key.lines().nth(1).unwrap()),
            "a key was printed: {said}"
        );
    }
}

#[test]
fn beyond_this_machine_plain_http_is_warned_of_and_tls_is_not() {
    let ground = Ground::new();
    let warning = "the API speaks plain HTTP";
    let open = |config: String| config.replace("127.0.0.1:0", "0.0.0.0:0");
    let path = ground.site.path("config.toml");
    let daemon = Daemon::start(&path, &open(ground.config("", "")));
    assert!(!daemon.log().contains(warning), "{}", daemon.log());
    drop(daemon);
    let daemon = Daemon::start(&path, &open(ground.site.config(true)));
    assert!(daemon.log().contains(warning), "{}", daemon.log());
}
